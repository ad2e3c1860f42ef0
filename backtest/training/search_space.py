"""Where tuning looks: values or ranges of fields of `TrainingSettings`, as plain data that a file can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from backtest.errors import SettingsError
from backtest.training.settings import TrainingSettings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["SearchSpace", "check_space", "default_space"]

CHOSEN_IN_EVERY_FIT = ("holding_periods", "shrinkage")
"""Fields whose values are all tried in every fit; validation chooses among them already."""

COUPLED = frozenset({"model", "hidden", "history", "ridge", "path", "through_time", "boosting", "regressor"})
"""Fields that restrict each other, so that a value may be allowed only beside another one's."""


def check_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space with its values in the types of their fields: lists as tuples, whole numbers as such.

    Args:
        space: field -> list of values, or table of `low`, `high` (both included) and `log`.

    Raises:
        SettingsError: an unknown field, no values, a range that is none; the message names the field.
    """
    if not isinstance(space, Mapping) or not space:
        raise SettingsError(f"tuning: space must be a table of at least one field of training, got {space!r}")
    types = get_type_hints(TrainingSettings)
    known = [each.name for each in fields(TrainingSettings)]
    checked: dict[str, Any] = {}
    for name, values in space.items():
        if name in CHOSEN_IN_EVERY_FIT:
            raise SettingsError(f"tuning: {name} is chosen on validation in every fit: give its values in training")
        if name == "ensemble":
            raise SettingsError("tuning: ensemble is how many models a book has, which is no way of training one")
        if name not in known:
            raise SettingsError(f"tuning: unknown field {name!r} in space: choose from {', '.join(known)}")
        if isinstance(values, Mapping):
            checked[name] = _range(name, values, types[name])
        elif isinstance(values, list | tuple):
            checked[name] = _values(name, values, types[name])
        else:
            raise SettingsError(
                f"tuning: space.{name} must be a list of values or a table of low, high and log, got {values!r}"
            )
    return checked


def default_space(settings: TrainingSettings) -> dict[str, Any]:
    """Return a space that suits the model of some settings, and holds those settings unless they are unusual.

    Squared and whitened error of a linear model have one solution, so all that can be tuned for them is the ridge.

    Raises:
        SettingsError: the model is a scikit-learn regressor, of whose parameters nothing is known here.
    """
    if "regressor" in settings.kind.reads:
        raise SettingsError(
            f"tuning: no space is known for {settings.model!r}: give one, such as "
            'space={"regressor": [{"n_estimators": 100}, {"n_estimators": 300}]}'
        )
    if "boosting" in settings.kind.reads:
        grown = [(leaves, rate) for leaves in (4, 15, 31) for rate in (0.02, 0.05, 0.1)]
        others = (replace(settings.boosting, leaves=leaves, learning_rate=rate) for leaves, rate in grown)
        return check_space({"boosting": tuple(dict.fromkeys((settings.boosting, *others)))})
    if settings.is_linear:
        ridges = (settings.ridge, (0.0,), (0.01,), (0.1,), (1.0,), (10.0,))
        return check_space(
            {
                "learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
                "smoothing_start": {"low": 1.0, "high": 30.0, "log": True},
                "ridge": tuple(dict.fromkeys(tuple(ridge) for ridge in ridges)),
            }
        )
    space: dict[str, Any] = {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
        "smoothing_start": {"low": 1.0, "high": 30.0, "log": True},
    }
    if settings.model == "mlp":
        space["hidden"] = tuple(dict.fromkeys((tuple(settings.hidden), (8,), (32,), (32, 32))))
    return check_space(space)


@dataclass(frozen=True)
class SearchSpace:
    """Settings that tuning may try.

    Attributes:
        base: what is tried first, and holds for every field that is not in the space.
        space: from `check_space`.
    """

    base: TrainingSettings
    space: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse before anything is trained what no trial could use."""
        coupled = COUPLED & self.space.keys()
        for name, values in self.space.items():
            if name in coupled and len(coupled) > 1:
                continue
            for value in (values["low"], values["high"]) if isinstance(values, Mapping) else values:
                try:
                    replace(self.base, **{name: value})
                except SettingsError as error:
                    raise SettingsError(f"tuning: space.{name} has {value!r}: {error}") from error

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the fields as Optuna knows them; of a list of values, the place in the list."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, BaseDistribution] = {}
        for name, values in self.space.items():
            if not isinstance(values, Mapping):
                found[name] = CategoricalDistribution(tuple(range(len(values))))
            elif isinstance(values["low"], int):
                found[name] = IntDistribution(values["low"], values["high"], log=values["log"])
            else:
                found[name] = FloatDistribution(values["low"], values["high"], log=values["log"])
        return found

    def settings(self, place: Mapping[str, Any]) -> TrainingSettings:
        """Return the settings at a place: for each field a number in its range, or a place in its list."""
        return replace(
            self.base,
            **{
                name: place[name] if isinstance(values, Mapping) else values[place[name]]
                for name, values in self.space.items()
            },
        )

    def place_of_base(self) -> dict[str, Any] | None:
        """Return where the base settings stand; None if they are outside the space."""
        place: dict[str, Any] = {}
        for name, values in self.space.items():
            value = self._in_force(name)
            if not isinstance(values, Mapping):
                if value not in values:
                    return None
                place[name] = values.index(value)
            elif value is None or not values["low"] <= value <= values["high"]:
                return None
            else:
                place[name] = value
        return place

    def described(self, settings: TrainingSettings) -> dict[str, Any]:
        """Return the fields of the space in some settings, as a file can hold them."""
        described = settings.described()
        return {name: described[name] for name in self.space}

    def _in_force(self, name: str) -> Any:
        """Return a setting of the base; where None stands for a number, that number if it is known here."""
        value = getattr(self.base, name)
        if value is None and name in ("learning_rate", "history"):
            listed = self.space[name]
            if isinstance(listed, Mapping) or None not in listed:
                return self.base.step_size if name == "learning_rate" else self.base.rows_of_history
        return tuple(value) if isinstance(value, list) else value


def _values(name: str, values: list[Any] | tuple[Any, ...], kind: Any) -> tuple[Any, ...]:
    from pydantic import TypeAdapter, ValidationError

    if not values:
        raise SettingsError(f"tuning: space.{name} has no values")
    found = []
    for value in values:
        if name == "model" and not isinstance(value, str):
            raise SettingsError(f"tuning: space.model takes names of models, got {value!r}")
        try:
            found.append(TypeAdapter(kind).validate_python(value))
        except ValidationError as error:
            faults = "; ".join(fault["msg"] for fault in error.errors())
            raise SettingsError(f"tuning: space.{name} has {value!r}: {faults}") from error
    if any(value in found[:place] for place, value in enumerate(found)):
        raise SettingsError(f"tuning: the values of space.{name} must be different, got {values!r}")
    return tuple(found)


def _range(name: str, table: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    kinds = [each for each in (get_args(kind) if isinstance(kind, UnionType) else (kind,)) if each in (int, float)]
    if not kinds:
        raise SettingsError(f"tuning: space.{name} is no number: give a list of values, got {dict(table)!r}")
    unknown = sorted(table.keys() - {"low", "high", "log"})
    if unknown or not {"low", "high"} <= table.keys():
        raise SettingsError(f"tuning: space.{name} takes low, high and log, the first two always, got {dict(table)!r}")
    low, high, log = table["low"], table["high"], table.get("log", False)
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end) or kinds[0](end) != end:
            whole = "whole numbers" if kinds[0] is int else "numbers"
            raise SettingsError(f"tuning: space.{name}: low and high must be {whole}, got {end!r}")
    if not low < high:
        raise SettingsError(f"tuning: space.{name}: low must be below high, got {low!r} and {high!r}")
    if not isinstance(log, bool):
        raise SettingsError(f"tuning: space.{name}: log must be true or false, got {log!r}")
    if log and low <= 0:
        raise SettingsError(f"tuning: space.{name}: low must be above 0 for log, got {low!r}")
    return {"low": kinds[0](low), "high": kinds[0](high), "log": log}
