"""The kinds of model that settings can ask for: what each can be trained on, and which settings it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from backtest.errors import SettingsError
from backtest.training.objectives import DEFAULT_OBJECTIVES, check_objectives

__all__ = ["MODELS", "TORCH_MODELS", "ModelKind", "default_objectives", "kind_of", "read_of"]

TORCH_MODELS = ("linear", "mlp", "gru", "convolution")
"""Those that gradient descent trains, on any objective."""

MODELS = (*TORCH_MODELS, "boosted_trees")
"""Models that settings can name, beside scikit-learn's regressors; docs/models.md says what each is for."""

_EVERY = {"model", "holding_periods", "shrinkage", "sizing", "sizing_groups", "ensemble"}
_PATH = {"path", "chunk_length", "smoothing", "smoothing_form"}
_DESCENT = {"learning_rate", "weight_decay", "epochs", "path_epochs", "patience", "batch_rows", "batch_chunks"}
_TORCH = _EVERY | _PATH | _DESCENT | {"smoothing_start", "through_time"}
_ALL = _TORCH | {"hidden", "history", "ridge", "boosting", "regressor"}


@dataclass(frozen=True)
class Package:
    """A package by the module it has, its name, and how it is installed."""

    module: str
    name: str
    cure: str


@dataclass(frozen=True)
class ModelKind:
    """What is alike in all models that are trained in one way.

    Attributes:
        title: in messages.
        reads: settings that mean something to it.
        objectives: names it can be trained on; None for all and their blends.
        package: what it needs beside torch.
    """

    title: str
    reads: frozenset[str]
    objectives: tuple[str, ...] | None = None
    package: Package | None = None

    def taken(self, objectives: Sequence[str]) -> tuple[str, ...]:
        """Return the objectives in their one spelling.

        Raises:
            SettingsError: one is unknown, is there twice, or is none that this kind of model can be trained on.
        """
        found = check_objectives(objectives)
        wrong = [name for name in found if self.objectives is not None and name not in self.objectives]
        if wrong:
            raise SettingsError(
                f"training: {self.title} cannot be trained on {', '.join(wrong)}: it takes "
                f"{', '.join(self.objectives or ())}. Ask for those, or for a model that takes all: "
                f"{', '.join(TORCH_MODELS)}"
            )
        return found

    def check_installed(self) -> None:
        """Raise `SettingsError` with the cure where what the model needs is not installed."""
        if self.package is not None and find_spec(self.package.module) is None:
            raise SettingsError(
                f"training: {self.title} needs {self.package.name}, which is not installed: {self.package.cure}"
            )


_LIGHTGBM = Package("lightgbm", "lightgbm", 'pip install "aligned-backtest[boosting]"')
_SKLEARN = Package("sklearn", "scikit-learn", "pip install scikit-learn")
_TREE_OBJECTIVES = ("squared", "whitened", "aligned")


def kind_of(model: Any, hidden: Sequence[int] = (32, 32)) -> ModelKind | None:
    """Return the kind of a model; None if there is no such model.

    Args:
        model: as `TrainingSettings.model`.
        hidden: as `TrainingSettings.hidden`; without any a perceptron is linear.
    """
    if callable(model):
        return ModelKind("a module of your own", frozenset(_TORCH | {"history"}))
    if not isinstance(model, str):
        return None
    title = f'model "{model}"'
    if model in ("linear", "mlp") and not hidden:
        return ModelKind(title, frozenset(_TORCH | {"hidden", "ridge"}))
    if model in TORCH_MODELS:
        own = {"linear": {"ridge"}, "mlp": {"hidden"}}.get(model, {"hidden", "history"})
        return ModelKind(title, frozenset(_TORCH | own))
    if model == "boosted_trees":
        return ModelKind(title, frozenset(_EVERY | _PATH | {"boosting"}), _TREE_OBJECTIVES, _LIGHTGBM)
    if is_regressor(model):
        return ModelKind(title, frozenset(_EVERY | {"regressor"}), ("squared",), _SKLEARN)
    return None


def is_regressor(model: str | Callable[[int], Any]) -> bool:
    """Whether a model is a scikit-learn regressor: its dotted name, or "sklearn" for a function of the seed."""
    return isinstance(model, str) and (model == "sklearn" or model.startswith("sklearn."))


def default_objectives(model: Any) -> tuple[str, ...]:
    """Return the default objectives of a comparison, less those that a `model` (of `TrainingSettings`) cannot take."""
    kind = kind_of(model)
    taken = None if kind is None else kind.objectives
    return tuple(name for name in DEFAULT_OBJECTIVES if taken is None or name in taken)


def read_of(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the settings `shared` by several models that one of them reads.

    What is given for one model must be read by it, or is refused; what is given for all holds where it is read. A name
    that no model reads stays, to be refused with the settings.

    Args:
        shared: settings of training, as a file has them.
        own: the model's own, which go before.
    """
    both = {**shared, **own}
    kind = kind_of(both.get("model", "mlp"), both.get("hidden", (32, 32)))
    # A model that does not exist is refused with the settings too.
    unread = set() if kind is None else _ALL - kind.reads
    return {name: value for name, value in shared.items() if name not in unread}
