"""Everything that decides a run, in one record that is written beside its result and can be run again."""

from backtest.configuration.building import (
    RECORDED,
    build_solver,
    describe_run,
    load_market,
    load_panel,
    plan_comparison,
    source_name,
)
from backtest.configuration.files import Recorded, read_settings
from backtest.configuration.own_costs import costs_of_file
from backtest.configuration.presets import settings_with_presets
from backtest.configuration.running import carry_out
from backtest.configuration.settings import CostSettings, RunSettings, parse_settings

__all__ = [
    "RECORDED",
    "CostSettings",
    "Recorded",
    "RunSettings",
    "build_solver",
    "carry_out",
    "costs_of_file",
    "describe_run",
    "load_market",
    "load_panel",
    "parse_settings",
    "plan_comparison",
    "read_settings",
    "settings_with_presets",
    "source_name",
]
