"""The peer's side: runs in the peer's environment, started by `against_cvxportfolio.py`; one JSON line in, one out.

    {"versions": []}                                              versions of these packages
    {"case": PATH, "setting": [aversion, multiplier], "days": n, "solver": {...}, "out": PATH}

"out" may be left out. Uses the public interface of cvxportfolio alone, with data given as tables, so that nothing is
forecast or downloaded. Times are processor time of this process, read at the start of each simulated day.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version

import cvxportfolio as cvx
import numpy as np
import pandas as pd

CASH = "cash"


class Market:
    """A case, as the tables that the peer takes."""

    def __init__(self, path: str) -> None:
        self.arrays = dict(np.load(path))
        arrays = self.arrays
        self.dates = pd.DatetimeIndex(arrays["dates"])
        self.assets = pd.Index(arrays["assets"])
        # The first row is there for the cash rate before the first trade alone.
        self.trades = self.dates[1:]
        self.wealth, self.half_spread, self.fee, self.periods, self.leverage, self.lowest, self.highest = (
            float(number) for number in arrays["numbers"]
        )
        returns = self.table("returns")
        returns[CASH] = arrays["cash"]
        self.simulator = cvx.MarketSimulator(
            returns=returns,
            volumes=self.table("volume") if "volume" in arrays else None,
            cash_key=CASH,
            min_history=pd.Timedelta(0),
            base_location=tempfile.mkdtemp(),
            round_trades=False,
            costs=[self.trading_cost(expected=False), self.holding_cost()],
        )

    def table(self, name: str) -> pd.DataFrame:
        return pd.DataFrame(self.arrays[name], index=self.dates, columns=self.assets)

    def trading_cost(self, *, expected: bool) -> cvx.TransactionCost:
        """Return the cost as decided on, or as charged: then the volume is the market's of the day."""
        if "volume" not in self.arrays:
            return cvx.TransactionCost(a=self.half_spread, b=None)
        if expected:
            volume, sigma = self.table("expected_volume"), self.table("expected_volatility")
            return cvx.TransactionCost(a=self.half_spread, b=1.0, volume_hat=volume, sigma=sigma)
        return cvx.TransactionCost(a=self.half_spread, b=1.0, sigma=self.table("volatility"))

    def holding_cost(self) -> cvx.HoldingCost:
        return cvx.HoldingCost(short_fees=self.fee, periods_per_year=self.periods)

    def risk(self) -> cvx.FullCovariance | cvx.FactorModelCovariance:
        arrays = self.arrays
        if "covariance" in arrays:
            return cvx.FullCovariance(Sigma=pd.DataFrame(arrays["covariance"], index=self.assets, columns=self.assets))
        models = [pd.DataFrame(loadings.T, columns=self.assets) for loadings in arrays["loadings"]]
        exposures = pd.concat({date: models[model] for date, model in zip(self.dates, arrays["model"], strict=True)})
        specific = pd.DataFrame(arrays["specific"][arrays["model"]], index=self.dates, columns=self.assets)
        return cvx.FactorModelCovariance(F=exposures, d=specific)

    def policy(self, aversion: float, multiplier: float, solver: dict) -> cvx.SinglePeriodOptimization:
        objective = (
            cvx.ReturnsForecast(r_hat=self.table("forecast"))
            - aversion * self.risk()
            - multiplier * self.trading_cost(expected=True)
            - self.holding_cost()
        )
        limits = [cvx.LeverageLimit(self.leverage), cvx.MinWeights(self.lowest), cvx.MaxWeights(self.highest)]
        return cvx.SinglePeriodOptimization(objective, limits, **solver)

    def run(self, setting: list[float], days: int, solver: dict, out: str | None) -> dict:
        policy = self.policy(*setting, solver)
        starts: list[float] = []
        simulate_day = self.simulator.simulate

        def stamped(**given):
            starts.append(time.process_time())
            return simulate_day(**given)

        self.simulator.simulate = stamped
        begin = time.process_time()
        try:
            result = self.simulator.backtest(
                policy, start_time=self.trades[0], end_time=self.trades[days], initial_value=self.wealth
            )
        finally:
            del self.simulator.simulate
        whole = time.process_time() - begin
        # The first day compiles the problem.
        each = np.diff(starts)[1:]
        if out is not None:
            # Its tables have a row for the end, at which nothing is traded.
            trades = result.u.to_numpy()[:days]
            np.savez(out, wealth=result.v.to_numpy(), holdings=result.h.to_numpy(), trades=trades)
        policy_part = result.policy_times.iloc[1:].sum()
        simulator_part = result.simulator_times.iloc[1:].sum()
        return {
            "day_ms": 1e3 * float(each.mean()) if len(each) else None,
            "whole_ms": 1e3 * whole / days,
            "policy_share": float(policy_part / (policy_part + simulator_part)),
        }


def main() -> None:
    markets: dict[str, Market] = {}
    # Whatever the peer prints must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        if "versions" in asked:
            answer = {name: version(name) for name in asked["versions"]}
        else:
            path = asked["case"]
            if path not in markets:
                markets[path] = Market(path)
            answer = markets[path].run(asked["setting"], asked["days"], asked["solver"], asked.get("out"))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
