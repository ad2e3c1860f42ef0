"""How much is tuned, and where: the same for every objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from backtest.errors import SettingsError
from backtest.training.search_space import SearchSpace, check_space, default_space
from backtest.training.settings import TrainingSettings

__all__ = ["TuningSettings", "require_optuna"]


@dataclass(frozen=True)
class TuningSettings:
    """How much is tried for every objective in every window, and where.

    Attributes:
        trials: settings tried for each objective, the first of them those that stand.
        space: field of `TrainingSettings` -> list of values, or table of `low`, `high` and `log`; None takes a space
            that suits the model (`default_space`).
        seed: of the sampler, the same for every objective.
        startup: trials, the first included, before the sampler looks at what came of them; those after the first are
            drawn at random, the same for every objective.
        pruning: whether a trial whose first seeds are below the median is given up. There is nothing to prune with one
            seed.

    Raises:
        SettingsError: an unknown field, an empty list, a range that is none.
    """

    trials: int = 20
    space: Mapping[str, Any] | None = None
    seed: int = 0
    startup: int = 10
    pruning: bool = True

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("startup", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingsError(f"tuning: {name} must be a whole number of at least {least}, got {value!r}")
        if self.seed >= 2**32:
            raise SettingsError(f"tuning: seed must be below 2**32, got {self.seed}")
        if self.space is not None:
            object.__setattr__(self, "space", check_space(self.space))

    def space_for(self, training: TrainingSettings) -> SearchSpace:
        """Return the space about the settings that stand, `training`.

        Raises:
            SettingsError: a value is not allowed beside them.
        """
        return SearchSpace(training, self.space if self.space is not None else default_space(training))

    def described(self, training: TrainingSettings) -> dict[str, Any]:
        """Return every setting, with the space in force about `training`."""
        return asdict(self) | {"space": dict(self.space_for(training).space)}


def require_optuna() -> ModuleType:
    """Return Optuna.

    Raises:
        SettingsError: it is not installed; says what to install.
    """
    try:
        import optuna
    except ImportError as error:
        raise SettingsError('tuning needs Optuna: pip install "aligned-backtest[tuning]"') from error
    return optuna
