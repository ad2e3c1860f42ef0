"""Settings that stand in for the defaults, by the market at hand and for a first look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backtest.configuration.settings import OF_MODELS, RunSettings, parse_settings
from backtest.training import default_objectives, read_of

__all__ = ["PRESETS", "merged", "settings_with_presets"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # A first look: fewer models, one holding period, fewer passes, longer test windows.
    "quick": {
        "seeds": 2,
        "max_windows": 2,
        "training": {
            "epochs": 5,
            "path_epochs": 2,
            "patience": 2,
            "holding_periods": [4.0],
            "boosting": {"trees": 60, "path_trees": 10},
        },
    },
    # The setting in which alignment must win (liquidity_market): one linear model for names cheap and dear to hold.
    "liquidity": {
        "seeds": 4,
        "leverage": 30.0,  # seldom binding: a limit that binds leaves the scale of a forecast undetermined
        "dollar_neutral": False,
        "costs": {"risk_aversion": 20.0, "l1": 0.0},
        "training": {"hidden": [], "shrinkage": [1.0]},
        "walk_forward": {"train": 400, "validation": 100, "test": 600, "embargo": 2},
    },
    "correlated": {
        "leverage": 10.0,
        "costs": {"l1": 0.0},
        "training": {"hidden": [], "shrinkage": [1.0]},
        "walk_forward": {"train": 200, "validation": 50, "test": 720, "embargo": 2},
    },
    "simulated": {"leverage": 5.0, "costs": {"l1": 0.0}, "training": {"holding_periods": [1.0, 2.0]}},
}
"""Settings that stand in for the defaults under `--quick` and on each simulated market; options given go before. Of
those of training, the ones that the model at hand reads."""


def settings_with_presets(options: Mapping[str, Any], *, quick: bool) -> RunSettings:
    """Return the settings for the options given, with the presets that apply where an option is not given.

    Without objectives they are the default ones, less those that the model cannot be trained on.

    Args:
        options: fields of `RunSettings`, those that were given.
        quick: whether the preset of a first look applies.

    Raises:
        SettingsError: a key is unknown, or a value out of its range.
    """
    preset: dict[str, Any] = {}
    for name in (options.get("market"), "quick" if quick else None):
        preset = merged(preset, PRESETS.get(name or "", {}))
    if options.get("strategies"):
        # Nothing is trained, so presets of training are nobody's.
        return parse_settings(merged({key: value for key, value in preset.items() if key not in OF_MODELS}, options))
    if options.get("combinatorial") is not None:
        # A preset's windows are those of the way that is not taken.
        preset.pop("walk_forward", None)
    given, shared = options.get("training", {}), preset.get("training", {})
    own = given if isinstance(given, Mapping) else {}  # parsing refuses what is no table
    if "model" in own:
        # A model that is asked for by name is not the preset's, nor are its layers.
        shared = {key: value for key, value in shared.items() if key != "hidden"}
    document = merged({**preset, "training": read_of(shared, own)}, options)
    return parse_settings({"objectives": default_objectives(own.get("model", "mlp")), **document})


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `over` in place of its own, table by table."""
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both
