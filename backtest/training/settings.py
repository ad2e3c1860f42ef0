"""Settings of training, the same for every objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal

from backtest.errors import SettingsError
from backtest.training.model_kinds import MODELS, ModelKind, is_regressor, kind_of
from backtest.training.tree_growth import BoostingSettings

__all__ = ["SIZINGS", "TrainingSettings"]

SIZINGS = ("choices", "search", "volatility", "liquidity")
"""How validation sets the scale of forecasts; see `backtest.training.sizing`."""

DEFAULT_HISTORY = 12
"""Rows that a sequence model sees unless told otherwise."""


@dataclass(frozen=True)
class TrainingSettings:
    """How models are trained. A setting that the model does not read is refused, unless it has its default.

    Attributes:
        hidden: sizes of the hidden layers; empty for a linear model. For "gru" the first is the size of the state, the
            others are dense layers on it; for "convolution" they are the channels of its layers.
        learning_rate: of Adam; None takes 1e-2 for a linear model, 1e-3 for others: one step of a network moves all of
            its layers, and a large one overshoots a signal that is a hundredth of the noise.
        weight_decay: of Adam, decoupled (AdamW).
        epochs: most passes over the training rows for squared and whitened, and for the first fit of all.
        path_epochs: most passes along the path for the decision objectives, which start from the first fit.
        patience: passes without a better validation loss after which a replica stops.
        batch_rows: rows (dates) in a minibatch of squared and whitened.
        chunk_length: consecutive rows in a chunk of the path.
        batch_chunks: chunks in a minibatch of the path.
        smoothing: weight over which kinks are smoothed in the training loss, by the end of it; None takes a fifth of an
            equal share of one unit of leverage, about a typical trade.
        smoothing_start: how many times wider in the first pass along the path; the width falls by the same factor from
            pass to pass, to `smoothing` in the last one.
        smoothing_form: "huber" or "sqrt" (see `backtest.solver.canonical.add_up`); "hard" leaves the kinks.
        path: whether positions are carried from row to row in training; False trades every row from nothing held.
        through_time: whether the gradient of a chunk counts what each forecast does to the positions held after it;
            False takes what is held as given.
        holding_periods: values to choose from, on validation: trading costs are divided by it in decisions.
        shrinkage: values to choose from, on validation: forecasts are multiplied by it. A network's forecasts are
            larger than their accuracy warrants, and scale decides leverage.
        model: a name from `MODELS`; the dotted name of a scikit-learn regressor, such as
            "sklearn.ensemble.ExtraTreesRegressor"; "sklearn", for a `regressor` that is a function; or a function of
            the number of inputs that makes a `torch.nn.Module`, as `backtest.training.ModuleReplicas` describes.
        history: rows of features up to its own that a forecast sees; None is 12 for "gru" and "convolution" and 1 for
            any other model.
        ridge: values to choose from, on validation, for a linear model on squared and whitened error, which is fitted
            in closed form: in units of the curvature of each feature's coefficient, so that 0.1 shrinks a lone
            coefficient by 1/11.
        sizing: "choices" scales forecasts by one of `shrinkage`; "search" looks on between them; "volatility" and
            "liquidity" go on to a factor for each group of assets alike in it.
        sizing_groups: how many such groups.
        boosting: how boosted trees are grown.
        regressor: parameters of a scikit-learn regressor, plain values that a file can hold; its `random_state` is the
            seed. With model "sklearn" a function of the seed that makes a regressor.
        ensemble: how many seeds' models are averaged into one book, in the order of the seeds; it divides their number.
            Holding period and scale are chosen for the mean forecast.

    Raises:
        SettingsError: a setting is out of its range, unknown, or one that the model does not read.
    """

    hidden: tuple[int, ...] = (32, 32)
    learning_rate: float | None = None
    weight_decay: float = 1e-4
    epochs: int = 30
    path_epochs: int = 8
    patience: int = 3
    batch_rows: int = 64
    chunk_length: int = 13
    batch_chunks: int = 8
    smoothing: float | None = None
    smoothing_start: float = 1.0
    smoothing_form: Literal["huber", "sqrt", "hard"] = "huber"
    path: bool = True
    through_time: bool = False
    holding_periods: tuple[float, ...] = (4.0, 13.0)
    shrinkage: tuple[float, ...] = (0.1, 0.3, 1.0)
    model: str | Callable[[int], Any] = "mlp"
    history: int | None = None
    ridge: tuple[float, ...] = (0.0, 1e-3, 1e-2, 0.1, 1.0)
    sizing: str = "choices"
    sizing_groups: int = 3
    boosting: BoostingSettings = field(default_factory=BoostingSettings)
    regressor: Mapping[str, Any] | Callable[[int], Any] = field(default_factory=dict)
    ensemble: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "path_epochs", "patience", "batch_rows", "chunk_length", "batch_chunks", "ensemble"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"training: {name} must be above 0, got {getattr(self, name)!r}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise SettingsError(f"training: learning_rate must be above 0, got {self.learning_rate!r}")
        for name in ("weight_decay", "smoothing"):
            if not (getattr(self, name) or 0.0) >= 0:
                raise SettingsError(f"training: {name} must be at least 0, got {getattr(self, name)!r}")
        if not self.smoothing_start >= 1:
            raise SettingsError(f"training: smoothing_start must be at least 1, got {self.smoothing_start!r}")
        if self.smoothing_form not in ("huber", "sqrt", "hard"):
            raise SettingsError(
                f'training: smoothing_form must be "huber", "sqrt" or "hard", got {self.smoothing_form!r}'
            )
        if self.through_time and not self.path:
            raise SettingsError("training: through_time needs positions that are carried: leave path=True")
        for name in ("holding_periods", "shrinkage"):
            values = getattr(self, name)
            if not values or min(values) <= 0 or len(set(values)) != len(values):
                raise SettingsError(f"training: {name} must be different numbers above 0, got {list(values)}")
        self._check_model()
        if not self.ridge or min(self.ridge) < 0 or len(set(self.ridge)) != len(self.ridge):
            raise SettingsError(f"training: ridge must be different numbers of at least 0, got {list(self.ridge)}")
        if self.sizing not in SIZINGS:
            raise SettingsError(f"training: unknown sizing {self.sizing!r}: choose from {', '.join(SIZINGS)}")
        if self.sizing_groups < 2:
            raise SettingsError(f"training: sizing_groups must be at least 2, got {self.sizing_groups}")

    def _check_model(self) -> None:
        kind = kind_of(self.model, self.hidden)
        if kind is None:
            raise SettingsError(
                f"training: unknown model {self.model!r}: choose from {', '.join(MODELS)}, the dotted name of a "
                'scikit-learn regressor such as "sklearn.ensemble.ExtraTreesRegressor", or give a function of the '
                "number of inputs that makes a torch module"
            )
        if any(size < 1 for size in self.hidden):
            raise SettingsError(f"training: hidden layers need at least one unit each, got {list(self.hidden)}")
        if self.model in ("gru", "convolution") and not self.hidden:
            raise SettingsError(f'training: model "{self.model}" needs at least one size in hidden, got none')
        if self.history is not None:
            if self.history < 1:
                raise SettingsError(f"training: history must be at least 1 row, got {self.history}")
            if self.history > 1 and "history" not in kind.reads:
                raise SettingsError(
                    f'training: {kind.title} sees one row, got history {self.history}: take "gru", '
                    '"convolution" or a module of your own, or make features of the past'
                )
        self._check_read(kind)
        if is_regressor(self.model):
            self._check_regressor()

    def _check_read(self, kind: ModelKind) -> None:
        """Refuse what would be ignored."""
        unread = []
        for each in fields(self):
            default = each.default_factory() if each.default_factory is not MISSING else each.default
            if each.name not in kind.reads and getattr(self, each.name) != default and each.name != "history":
                unread.append(f"{each.name} = {getattr(self, each.name)!r} (default {default!r})")
        if unread:
            raise SettingsError(f"training: {kind.title} does not read {', '.join(unread)}: leave it at its default")

    def _check_regressor(self) -> None:
        if callable(self.regressor) != (self.model == "sklearn"):
            raise SettingsError(
                f"training: model {self.model!r} with regressor {self.regressor!r}: give a dotted name and parameters "
                '(model="sklearn.linear_model.Ridge", regressor={"alpha": 1.0}), or model="sklearn" and a function of '
                "the seed that makes a regressor"
            )
        if not callable(self.regressor) and not _is_plain(self.regressor):
            raise SettingsError(
                f"training: regressor must have plain values that a file can hold, got {self.regressor!r}: for others "
                'give model="sklearn" and a function of the seed that makes a regressor'
            )

    def choices(self, *, depends_on_held: bool) -> tuple[tuple[float, float], ...]:
        """Return every (holding period, shrinkage) that validation chooses from.

        Args:
            depends_on_held: whether costs depend on what is held; the holding period means nothing where they do not.
        """
        periods = self.holding_periods if depends_on_held else self.holding_periods[:1]
        return tuple((period, factor) for period in periods for factor in self.shrinkage)

    @property
    def is_linear(self) -> bool:
        """Whether the model is linear in the features of its row, and squared and whitened have a closed form."""
        return self.model == "linear" or (self.model == "mlp" and not self.hidden)

    @property
    def rows_of_history(self) -> int:
        """The history in force."""
        if self.history is not None:
            return self.history
        return DEFAULT_HISTORY if self.model in ("gru", "convolution") else 1

    @property
    def kind(self) -> ModelKind:
        """What is alike in all models that are trained in this way."""
        kind = kind_of(self.model, self.hidden)
        assert kind is not None  # or there would be no settings
        return kind

    def described(self) -> dict[str, Any]:
        """Return every setting as what a file can hold: a function that makes a model by its name."""
        made = {name: _name_of(getattr(self, name)) for name in ("model", "regressor") if callable(getattr(self, name))}
        return asdict(self) | made

    @property
    def step_size(self) -> float:
        """The learning rate in force."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-2 if self.is_linear else 1e-3

    def smoothing_at(self, epoch: int, n_assets: int) -> float:
        """Return the width of smoothing, a weight, in pass `epoch` along the path (from 0), with `n_assets` assets."""
        if self.smoothing_form == "hard":
            return 0.0
        floor = 0.2 / n_assets if self.smoothing is None else self.smoothing
        passes = self.path_epochs - 1
        return float(floor * self.smoothing_start ** (1 - epoch / passes)) if passes else floor


def _name_of(function: Callable[..., Any]) -> str:
    kind = type(function)
    module = getattr(function, "__module__", kind.__module__)
    return f"{module}.{getattr(function, '__qualname__', kind.__name__)}"


def _is_plain(value: Any) -> bool:
    """Whether TOML or JSON can hold a value."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)
