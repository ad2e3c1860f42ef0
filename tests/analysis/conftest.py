"""A stand-in for the simulator's result, so that the comparison is tested on numbers worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from backtest.analysis import Comparison
from backtest.simulation.decision_times import DecisionTimes


def stand_in(gross, *, cost=0.001, borrow=0.0002, interest=0.0, opinion=0.0005, ruined_at=None):
    """The fields of a `SimulationResult` that a comparison reads, from gross returns (B, S): B seeds, S
    dates, 4 names.

    `ruined_at` maps a seed to the period that takes more than all its wealth.
    """
    gross = np.array(gross, dtype=float)
    n_seeds, n_dates = gross.shape
    costs = {"trading_cost": np.full_like(gross, cost), "borrow_fee": np.full_like(gross, borrow)}
    paid = np.full_like(gross, interest)
    net = gross - cost - borrow + interest
    positions = np.zeros((n_seeds, n_dates, 4))
    positions[:, :, 0], positions[:, :, 1] = 0.5, -0.5
    held = positions.copy()
    held[:, ::2, 0] -= 0.1  # one name of four, every second date
    wealth = np.concatenate([np.ones((n_seeds, 1)), np.cumprod(1 + net, axis=1)], axis=1)
    ruined = np.zeros(n_seeds, dtype=bool)
    for seed, t in (ruined_at or {}).items():
        ruined[seed] = True
        net[seed, t], net[seed, t + 1 :] = -1.2, np.nan
        gross[seed, t], gross[seed, t + 1 :] = -1.2 + cost + borrow - interest, np.nan
        wealth[seed, t + 1 :] = np.nan
    return SimpleNamespace(
        names=tuple(f"seed {i}" for i in range(n_seeds)),
        dates=pd.date_range("2001-01-05", periods=n_dates, freq="W-FRI"),
        wealth=wealth,
        gross=gross,
        costs=costs,
        interest=paid,
        net=net,
        utility=net - opinion,
        turnover=np.abs(positions - held).sum(axis=2),
        leverage=np.abs(positions).sum(axis=2),
        positions=positions,
        held=held,
        ruined=ruined,
        net_exposure=positions.sum(axis=2),
        predicted_volatility=np.where(np.isnan(net), np.nan, 0.02),
        solve_statuses=np.where(np.isnan(net), -1, 0).astype(np.int8),
        solve_residuals=np.where(np.isnan(net), np.nan, 1e-14),
        solve_iterations=np.where(np.isnan(net), -1, 5).astype(np.int32),
        times=DecisionTimes(n_seeds, np.full(n_dates, 2e-3)),
        assets=pd.Index(["AA", "BB", "CC", "DD"]),
        asset_costs={name: np.nansum(paid, axis=1)[:, None] * [0.5, 0.3, 0.2, 0.0] for name, paid in costs.items()},
        events=pd.DataFrame(columns=["date", "name", "asset", "kind", "detail"]),
    )


@pytest.fixture
def make_result():
    return stand_in


@pytest.fixture
def make_comparison():
    """A comparison of objective -> gross returns (B, S), weekly, with few resamples."""

    def make(gross, **changes):
        options = {"ruined_at": {}, "results": {}} | {
            k: changes.pop(k) for k in ("ruined_at", "results") if k in changes
        }
        results = {
            name: stand_in(values, ruined_at=options["ruined_at"].get(name)) for name, values in gross.items()
        } | options["results"]
        defaults = {
            "rank_correlations": {
                name: pd.Series(np.linspace(-0.1, 0.2, len(result.dates)), index=result.dates)
                for name, result in results.items()
            },
            "information_coefficients": dict.fromkeys(results, (0.02, 1.5)),
            "settings": {"seeds": 2, "costs": {"half_spread": 2.5e-4}},
            "periods_per_year": 52,
            "n_trials": 8,
            "n_resamples": 300,
        }
        return Comparison(results=results, **(defaults | changes))

    return make
