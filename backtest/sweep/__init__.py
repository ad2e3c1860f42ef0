"""Sweeps: a comparison for every combination of models and costs, resumable, on one machine or many."""

from backtest.sweep.run import run_sweep
from backtest.sweep.settings import Cell, Sweep, read_sweep

__all__ = ["Cell", "Sweep", "read_sweep", "run_sweep"]
