"""A run that is cut off goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd
import pytest

from backtest.costs import BorrowFee, FactorRisk, LeverageLimit, TradingCost
from backtest.errors import SettingsError, SimulationError
from backtest.simulation import Execution, Policy, SolverPolicy, simulate
from backtest.solver import PositionSolver

COSTS = 5.0 * FactorRisk(loadings=np.zeros((5, 1)), specific_variance=4e-4) + TradingCost(1e-3) + BorrowFee(0.03)


@dataclass(frozen=True, eq=False)
class Follows(Policy):
    """Moves half of the way from what it wanted last, which it remembers, to the forecast."""

    last: dict = field(default_factory=dict)

    def prepare(self, dates, assets, *, lag):
        return Follows()

    def memory(self):
        return dict(self.last)

    def restore(self, memory):
        self.last.update(memory)

    def decide(self, p, held, market, tradable):
        q = 0.5 * self.last.get("q", np.zeros_like(p)) + 0.5 * p
        self.last["q"] = q
        return q


def same_bytes(first, second) -> bool:
    for each in fields(first):
        a, b = getattr(first, each.name), getattr(second, each.name)
        if isinstance(a, dict):
            assert list(a) == list(b)
            assert all(a[name].tobytes() == b[name].tobytes() for name in a), each.name
        elif isinstance(a, np.ndarray):
            assert a.tobytes() == b.tobytes(), each.name
        elif isinstance(a, pd.DataFrame):
            pd.testing.assert_frame_equal(a, b)
        elif isinstance(a, pd.Index):
            assert a.equals(b), each.name
        else:
            assert a == b, each.name
    return True


def forecasts_of(panel, n_books=2, seed=1):
    return np.random.default_rng(seed).normal(0, 0.2, (n_books, panel.n_periods, panel.n_assets))


def cut_off_at(period):
    class Cut(Exception):
        pass

    def progress(done, total):
        if done == period:
            raise Cut

    return Cut, progress


@pytest.mark.parametrize("period", [1, 7, 10, 11, 39, 57])
@pytest.mark.parametrize(
    "policy",
    [Follows(), SolverPolicy(PositionSolver(COSTS, [LeverageLimit(1.5)])), [Follows(), Follows()]],
    ids=["memory", "solver", "side by side"],
)
def test_a_run_cut_off_goes_on_and_ends_with_the_same_bytes(random_panel, tmp_path, policy, period):
    panel = random_panel()
    given = {"policy": policy, "forecasts": forecasts_of(panel), "costs": COSTS, "checkpoint_every": 10}
    whole = simulate(panel, **given)
    cut, progress = cut_off_at(period)
    with pytest.raises(cut):
        simulate(panel, **given, checkpoint=tmp_path / "run", progress=progress)
    seen = []
    again = simulate(panel, **given, checkpoint=tmp_path / "run", progress=lambda done, total: seen.append(done))

    assert same_bytes(again, whole)
    assert seen[0] == 10 * (period // 10) + 1


def test_events_and_ruin_are_kept_too(price_panel, tmp_path):
    panel = price_panel(A=[100, 300, 150, 150, 150], B=[10, 10, np.nan, 11, 12])
    forecasts = np.zeros((2, 5, 2))
    forecasts[0, :, 0], forecasts[1, :, 0] = 0.5, -1.0
    forecasts[:, :, 1] = 0.1
    given = {"policy": Follows(), "forecasts": 2 * forecasts, "costs": COSTS.summands[1], "lag": 0}
    whole = simulate(panel, **given)
    cut, progress = cut_off_at(3)
    with pytest.raises(cut):
        simulate(panel, **given, checkpoint=tmp_path, checkpoint_every=1, progress=progress)

    assert same_bytes(simulate(panel, **given, checkpoint=tmp_path, checkpoint_every=2), whole)
    assert whole.ruined.any()
    assert len(whole.events) >= 2


def test_a_finished_run_is_read_back_without_a_step(random_panel, tmp_path):
    panel = random_panel()
    given = {"policy": Follows(), "forecasts": forecasts_of(panel), "costs": COSTS, "checkpoint": tmp_path}
    first, seen = simulate(panel, **given), []

    assert same_bytes(simulate(panel, **given, progress=lambda done, total: seen.append(done)), first)
    assert not seen


@pytest.mark.parametrize(
    "change",
    [
        {"costs": TradingCost(2e-3)},
        {"forecasts": 0.5},
        {"initial_wealth": 2.0},
        {"execution": Execution(borrow_cash=False)},
        {"lag": 2},
        {"policy": SolverPolicy(PositionSolver(COSTS, [LeverageLimit(1.0)]))},
        {"names": ("x", "y")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_checkpoint_of_another_run_is_refused(random_panel, tmp_path, change):
    panel = random_panel()
    given = {
        "policy": SolverPolicy(PositionSolver(COSTS, [LeverageLimit(1.5)])),
        "forecasts": forecasts_of(panel),
        "costs": COSTS,
        "checkpoint": tmp_path,
        "last_row": 20,
    }
    simulate(panel, **given)
    if "forecasts" in change:
        change = {"forecasts": change["forecasts"] * given["forecasts"]}
    with pytest.raises(SimulationError, match=r"is of another run.*Give another folder, or delete"):
        simulate(panel, **{**given, **change})
    with pytest.raises(SimulationError, match="is of another run"):
        simulate(random_panel(seed=5), **given)


def test_an_unreadable_checkpoint_is_an_error_that_names_the_file(random_panel, tmp_path):
    panel = random_panel()
    given = {"policy": Follows(), "forecasts": forecasts_of(panel), "costs": COSTS, "checkpoint": tmp_path}
    simulate(panel, **given)
    (file,) = tmp_path.glob("periods-*.npz")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(SimulationError, match=rf"{file.name} cannot be read.*delete it"):
        simulate(panel, **given)


def test_a_policy_that_cannot_be_pickled_is_refused_before_the_first_day(random_panel, tmp_path):
    class Local(Policy):
        def decide(self, p, held, market, tradable):
            return held

    with pytest.raises(SettingsError, match="cannot be pickled"):
        simulate(random_panel(), Local(), costs=None, checkpoint=tmp_path)


def slow_run(panel, forecasts, folder, sleep):
    def wait(done, total):
        time.sleep(sleep)

    return simulate(
        panel,
        Follows(),
        forecasts,
        costs=COSTS,
        checkpoint=folder,
        checkpoint_every=3,
        progress=wait if sleep else None,
    )


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(random_panel, tmp_path, kills):
    """kill -9 while it decides, fills or writes: nothing that was kept is lost, and nothing half written is read."""
    panel = random_panel(n_rows=400, n_assets=5)
    forecasts = forecasts_of(panel)
    whole = slow_run(panel, forecasts, tmp_path / "whole", 0.0)
    rng, context = np.random.default_rng(), multiprocessing.get_context("fork")
    killed = 0
    for _ in range(kills):
        child = context.Process(target=slow_run, args=(panel, forecasts, tmp_path / "cut", 0.001))
        child.start()
        child.join(rng.uniform(0.02, 0.25))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
        child.join()

    assert killed > 0
    assert same_bytes(slow_run(panel, forecasts, tmp_path / "cut", 0.0), whole)
