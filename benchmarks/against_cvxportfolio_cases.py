"""What both engines are given, and our side of it.

A case is one market with everything that is not decided: forecasts, risk, liquidity, rates and limits. A setting is a
risk aversion and a multiplier of the trading cost in the objective; what is charged is the cost once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from paper_2017 import CASH, dated_by_trade, read_table

from backtest.costs import (
    BorrowFee,
    Constraint,
    Cost,
    DenseRisk,
    FactorRisk,
    LeverageLimit,
    PositionBounds,
    TradingCost,
)
from backtest.market import MarketPanel
from backtest.simulation import Policy, SimulationResult, SolverPolicy, TargetWeights, simulate
from backtest.solver import PositionSolver

__all__ = ["GRID", "Case", "Setting", "few_names", "many_names"]

WEALTH, HALF_SPREAD, BORROW_FEE, DAYS_A_YEAR, PERIODS_A_YEAR = 1e8, 5e-4, 0.05, 365.24, 252
FACTORS, RISK_ROWS, REFIT_ROWS, DENSE_ROWS = 15, 500, 21, 60


@dataclass(frozen=True)
class Setting:
    """One policy: risk aversion `g` in `g w'Sigma w`, and the multiplier of the trading cost in the objective."""

    risk_aversion: float
    trading: float


GRID = tuple(Setting(g, m) for g in np.geomspace(1.0, 50.0, 9).tolist() for m in (5.0, 7.5, 10.0, 14.0, 20.0))
"""The batch of 45."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """One market and all that is given.

    Attributes:
        name: as printed.
        panel: T + 1 rows; row t of a table is earned by the fill at row t (see `paper_2017`).
        forecast: (T, N) total return of the period that a trade of row t earns.
        cash_forecast: (T,) cash rate of the period before, which stands for that of the period ahead.
        risk: `Sigma / 2`, estimated.
        trading: as decided on, with what was expected of volume and volatility.
        limits: leverage, and the lowest and highest weight.
        first_row: of the first trade.
        days: how many trades.
        setting: for a single policy.
    """

    name: str
    panel: MarketPanel
    forecast: np.ndarray
    cash_forecast: np.ndarray
    risk: FactorRisk | DenseRisk
    trading: TradingCost
    limits: tuple[float, float, float]
    first_row: int
    days: int
    setting: Setting

    @property
    def rows(self) -> slice:
        """Rows of the trades."""
        return slice(self.first_row, self.first_row + self.days)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        leverage, lowest, highest = self.limits
        return LeverageLimit(leverage), PositionBounds(lowest, highest)

    @property
    def charged(self) -> Cost:
        """What the ledger charges: the peer compounds the fee over the year, and counts calendar days of 365.24."""
        fee = np.log1p(BORROW_FEE) * 365 / DAYS_A_YEAR
        return self.trading + BorrowFee(fee, day_count="actual/365")

    def policy(self, *settings: Setting) -> SolverPolicy:
        """Return the policy of one book a setting. Half a squared risk is charged here, a whole one by the peer."""
        aversion, trading = (self._each(settings, name) for name in ("risk_aversion", "trading"))
        fee = BorrowFee(
            PERIODS_A_YEAR * ((1 + BORROW_FEE) ** (1 / PERIODS_A_YEAR) - 1), periods_per_year=PERIODS_A_YEAR
        )
        costs = 2 * aversion * self.risk + trading * self.trading + fee
        return SolverPolicy(PositionSolver(costs, self.constraints))

    def _each(self, settings: tuple[Setting, ...], name: str) -> float | torch.Tensor:
        values = [getattr(setting, name) for setting in settings]
        return values[0] if len(values) == 1 else torch.tensor(values, dtype=torch.float64).unsqueeze(1)

    def simulate(
        self,
        policy: Policy,
        *,
        n_books: int = 1,
        days: int | None = None,
        costs: Cost | None = None,
        excess: bool = True,
        panel: MarketPanel | None = None,
    ) -> SimulationResult:
        """Run our simulator.

        Args:
            policy: of `n_books` books.
            n_books: how many.
            days: trades; None takes those of the case.
            costs: charged; None takes those of the case.
            excess: what cash is expected to earn is taken off the forecast, as the peer's objective does.
            panel: instead of the case's.
        """
        panel = panel or self.panel
        forecast = self.forecast - self.cash_forecast[:, None] if excess else self.forecast
        forecast = np.vstack([forecast, np.full(panel.n_assets, np.nan)])
        return simulate(
            panel,
            policy,
            np.broadcast_to(forecast, (n_books, *forecast.shape)),
            costs=costs or self.charged,
            lag=0,
            first_row=self.first_row,
            last_row=self.first_row + (days or self.days),
            initial_wealth=WEALTH,
            on_failure="raise",
        )

    def replay(self, weights: np.ndarray) -> SimulationResult:
        """Run our ledger on weights (days, N) that somebody else decided."""
        frame = pd.DataFrame(weights, index=self.panel.dates[self.rows], columns=self.panel.assets)
        return self.simulate(TargetWeights(frame))

    def charged_as_expected(self) -> MarketPanel:
        """Return the panel without what came out of volume and volatility."""
        return replace(self.panel, dollar_volume=None, volatility=None)

    def export(self, path: Path) -> None:
        """Write what the peer needs, rows from the one before the first trade to the one after the last."""
        rows = slice(self.first_row - 1, self.first_row + self.days + 1)
        after = slice(rows.start + 1, rows.stop + 1)
        returns = self.panel.returns[after]
        if len(returns) < self.days + 2:
            # The row after the last trade has no return yet; the peer reads no value of it but wants one.
            returns = np.vstack([returns, np.zeros(returns.shape[1])])
        arrays = {
            "dates": self.panel.dates[rows].to_numpy(dtype="datetime64[ns]").astype(np.int64),
            "assets": self.panel.assets.to_numpy(dtype=str),
            "returns": returns,
            "cash": self.panel.cash_rate[rows],
            "forecast": _rows(self.forecast, rows),
            "numbers": np.array([WEALTH, HALF_SPREAD, 100 * BORROW_FEE, PERIODS_A_YEAR, *self.limits]),
        }
        if isinstance(self.risk, FactorRisk):
            models = self.risk.history.at(np.arange(self.first_row, rows.stop - 1))
            used, model = np.unique(models, return_inverse=True)
            arrays |= {
                "loadings": self.risk.history.loadings[used],
                "specific": self.risk.history.specific_variance[used],
                "model": np.concatenate([model[:1], model, model[-1:]]),
            }
        else:
            arrays["covariance"] = np.asarray(self.risk.covariance)
        if self.trading.history is not None:
            arrays |= {
                "volume": _rows(self.panel.dollar_volume, rows),
                "volatility": _rows(self.panel.volatility, rows),
                "expected_volume": _rows(self.trading.history.dollar_volume, rows),
                "expected_volatility": _rows(self.trading.history.volatility, rows),
            }
        np.savez(path, **arrays)


def _rows(table: np.ndarray, rows: slice) -> np.ndarray:
    """Return rows of a table; what the row after the last trade lacks is as in the row before."""
    part = table[rows]
    part = np.vstack([part, part[-1:]]) if len(part) < rows.stop - rows.start else part.copy()
    part[-1] = np.where(np.isfinite(part[-1]), part[-1], part[-2])
    return part


def many_names(days: int, *, long_only: bool = False) -> Case:
    """Return 424 stocks in 2012, the paper's forecasts, 15 factors refreshed each month, half spread 5 bp.

    Args:
        days: trades.
        long_only: no shorts and no debt; else weights of up to 5% either way and a leverage of 3.
    """
    returns, forecast = read_table("returns.csv.gz"), read_table("return_estimate.csv.gz")
    start = returns.index.get_loc(pd.Timestamp("2012-01-03"))
    rows = slice(start - RISK_ROWS - 1, start + days + 1)
    returns, forecast = returns.iloc[rows], forecast.iloc[rows]
    panel = dated_by_trade(returns.drop(columns=CASH), returns[CASH], name="paper 2017")
    risk = FactorRisk(n_factors=FACTORS, lookback=RISK_ROWS, refit_every=REFIT_ROWS).estimate(panel)
    return Case(
        name=f"424 stocks, {'long only' if long_only else 'long and short'}, factor risk",
        panel=panel,
        forecast=forecast[panel.assets].to_numpy(),
        cash_forecast=returns[CASH].shift(1).to_numpy(),
        risk=risk,
        trading=TradingCost(half_spread=HALF_SPREAD),
        limits=(1.0, 0.0, 0.05) if long_only else (3.0, -0.05, 0.05),
        first_row=RISK_ROWS + 1,
        days=days,
        setting=Setting(5.0, 10.0),
    )


def few_names(days: int) -> Case:
    """Return 28 stocks in 2014 with three-halves impact at realized volume and volatility, one dense covariance.

    The forecast is a reversal of the last five returns; nothing of the paper's is published for all 28.
    """
    returns, volume, volatility = (read_table(f"dow28_2014_{name}.csv") for name in ("returns", "volumes", "sigmas"))
    cash = returns.pop("cash")
    days = min(days, len(returns) - DENSE_ROWS - 1)
    panel = dated_by_trade(
        returns,
        cash,
        name="dow 2014",
        dollar_volume=volume.loc[returns.index, returns.columns],
        volatility=volatility.loc[returns.index, returns.columns],
    )
    return Case(
        name="28 stocks, long and short, dense risk, three-halves impact",
        panel=panel,
        forecast=-0.2 * returns.shift(1).rolling(5).mean().to_numpy(),
        cash_forecast=cash.shift(1).to_numpy(),
        risk=DenseRisk(np.cov(returns.to_numpy()[:DENSE_ROWS].T)),
        trading=TradingCost(half_spread=HALF_SPREAD, impact=1.0, lookback=DENSE_ROWS).estimate(panel),
        limits=(2.0, -0.2, 0.2),
        first_row=DENSE_ROWS + 1,
        days=days,
        setting=Setting(5.0, 1.0),
    )
