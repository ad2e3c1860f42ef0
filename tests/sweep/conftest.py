"""The small sweep, run once for all tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backtest.configuration import load_market, plan_comparison
from backtest.sweep import Sweep, run_sweep

sys.path.insert(0, str(Path(__file__).parent))
from small_sweep import DOCUMENT


@pytest.fixture(scope="session")
def sweep():
    return Sweep.of(DOCUMENT)


@pytest.fixture(scope="session")
def finished(sweep, tmp_path_factory):
    """A folder with the sweep run in it by one process, its table, and what was told."""
    told = []
    folder = tmp_path_factory.mktemp("sweep")
    table = run_sweep(sweep, folder, n_jobs=1, report=lambda *what: told.append(what))
    return folder, table, told


@pytest.fixture(scope="session")
def compared(sweep):
    """The comparison of the second cell's settings."""
    settings = sweep.cells[1].settings
    return plan_comparison(settings, load_market(settings)).run(n_jobs=1)
