"""A long daily backtest of many names: how long it takes, and how much memory at its peak.

504 names over about 5,400 days under one `SolverPolicy`, 15 factors re-estimated each month, spread and market impact,
borrow fees, neutrality, position and leverage limits. Real prices where the shared data is present, else random ones of
the same shape. Memory is what the process grew by from before the data were there, against the bytes of what the
simulation is given: the panel and the forecasts.

    python benchmarks/simulation_scale.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from backtest.costs import BorrowFee, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, TradingCost
from backtest.market import MarketPanel
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "panels" / "us_large_cap_daily_1999_2021.parquet"
N_DAYS, N_NAMES = 5400, 504


def write_prices(folder: Path) -> None:
    """Write prices and dollar volume, dates by names, and in words where they are from."""
    if DATA.exists():
        table = pd.read_parquet(DATA, columns=["date", "symbol", "close", "adjusted_close", "volume"])
        table = table[table["adjusted_close"] > 0]
        table["dollars"] = table["close"] * table["volume"]
        prices = table.pivot(index="date", columns="symbol", values="adjusted_close").iloc[-N_DAYS:]
        dollars = table.pivot(index="date", columns="symbol", values="dollars").iloc[-N_DAYS:]
        origin = "US large caps, 1999 to 2021"
    else:
        rng = np.random.default_rng(0)
        dates, names = pd.bdate_range("1999-11-01", periods=N_DAYS), [f"N{i:03d}" for i in range(N_NAMES)]
        returns = 0.01 * rng.normal(size=(N_DAYS, 1)) + 0.02 * rng.standard_t(4, size=(N_DAYS, N_NAMES))
        prices = pd.DataFrame(50 * np.exp(np.cumsum(np.clip(returns, -0.5, 0.5), axis=0)), dates, names)
        dollars = pd.DataFrame(np.exp(rng.normal(17, 1, prices.shape)), dates, names)
        origin = "random prices"
    np.save(folder / "dates.npy", prices.index.to_numpy(dtype="datetime64[ns]"))
    np.save(folder / "names.npy", prices.columns.to_numpy(dtype=str))
    np.save(folder / "prices.npy", prices.to_numpy(dtype=float))
    np.save(folder / "dollars.npy", dollars.to_numpy(dtype=float))
    (folder / "origin.txt").write_text(origin)


def read_panel(folder: Path) -> MarketPanel:
    dates, names, prices, dollars = (
        np.load(folder / f"{name}.npy") for name in ("dates", "names", "prices", "dollars")
    )
    return MarketPanel.from_prices(
        pd.DataFrame(prices, dates, names),
        dollar_volume=pd.DataFrame(dollars, dates, names),
        cash_rate=5e-5,
        periods_per_year=252,
        name="scale",
    )


def size_in_bytes(panel: MarketPanel) -> int:
    fields = ("returns", "prices", "dollar_volume", "cash_rate", "tradable")
    return sum(getattr(panel, field).nbytes for field in fields)


def reversal(panel: MarketPanel) -> np.ndarray:
    """Return forecasts (T, N): a fiftieth of last week's loss, known at the close of each row."""
    gains = pd.DataFrame(np.log1p(np.clip(panel.returns, -0.9, None))).rolling(5, min_periods=3).sum()
    forecasts: np.ndarray = np.clip(-0.02 * gains.to_numpy(), -5e-3, 5e-3)
    return forecasts


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    torch.set_num_threads(1)
    costs = (
        5.0 * FactorRisk(n_factors=15)
        + TradingCost(half_spread=2.5e-4, impact=1.0)
        + BorrowFee(0.0255, day_count="actual/365")
    )
    solver = PositionSolver(costs, [DollarNeutral(), PositionLimit(0.05), LeverageLimit(3)], holding_periods=5)
    before = peak_megabytes()
    clock = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: the long table is no part of the backtest.
        subprocess.run([sys.executable, __file__, folder], check=True)
        panel, origin = read_panel(Path(folder)), (Path(folder) / "origin.txt").read_text()
    forecasts = reversal(panel)
    read = peak_megabytes()
    given = (size_in_bytes(panel) + forecasts.nbytes) / 2**20
    print(f"{origin}: {panel.n_periods} days, {panel.n_assets} names, {given:.0f} MB of panel and forecasts")
    print(f"read and checked in {time.perf_counter() - clock:.1f} s, peak + {read - before:.0f} MB")
    clock = time.perf_counter()
    solver = solver.estimate(panel)
    print(
        f"risk and liquidity estimated in {time.perf_counter() - clock:.1f} s, "
        f"peak + {peak_megabytes() - before:.0f} MB"
    )
    clock = time.perf_counter()
    result = simulate(
        panel, SolverPolicy(solver), forecasts, costs=solver.costs, initial_wealth=1e7, first_row=solver.first_row
    )
    seconds = time.perf_counter() - clock
    peak = peak_megabytes() - before
    print(
        f"simulated {len(result.dates)} days in {seconds:.1f} s, {1e3 * seconds / len(result.dates):.2f} ms a day; "
        f"peak + {peak:.0f} MB, {peak / given:.1f} times what it was given"
    )
    failed = result.events["kind"].value_counts().to_dict()
    print(f"net {100 * 252 * result.net.mean():.2f}% a year, events {failed}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_prices(Path(sys.argv[1]))
    else:
        main()
