"""Sweeps: a comparison for every combination of models and costs, resumable, on one machine or many; and judged."""

from backtest.sweep.judge import judge
from backtest.sweep.judgement import Judgement
from backtest.sweep.run import run_sweep
from backtest.sweep.settings import Cell, Sweep, read_sweep

__all__ = ["Cell", "Judgement", "Sweep", "judge", "read_sweep", "run_sweep"]
