"""What a risk model says of a run: gains by factor, and what was predicted against what came.

A factor model says `y = B f + e` of the returns of a period, with exposures `B` known before. The factor returns `f`
are fitted to each period's returns across names, by least squares weighted with 1 / specific variance (Grinold & Kahn,
*Active Portfolio Management* (2000), chapter 3); what a position earned is then `q'B f`, by factor, and `q'e`, the
rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from backtest.analysis.attribution_costs import rows_of
from backtest.costs import Cost, DenseRisk, FactorRisk
from backtest.costs.base import ScaledCost
from backtest.costs.parameters import aligned, loadings_of
from backtest.errors import SettingsError
from backtest.market import MarketPanel
from backtest.simulation import SimulationResult

__all__ = ["FactorGains", "expected_volatility", "factor_gains", "forecast_table", "risk_model"]

CHUNK = 128
"""Periods fitted at once."""

SMALLEST = 1e-10
"""Directions of the exposures that are this much weaker than the strongest have no return of their own."""


@dataclass(frozen=True, eq=False)
class FactorGains:
    """What each factor earned.

    Attributes:
        names: (k,) of the factors.
        returns: (S, k) of each factor from each fill to the end of its period, per unit of exposure.
        returns_to_fill: (S, k) from the decision to the fill; 0 where orders are filled at the close of the decision.
        currency: (B, k) over all periods.
        fractions: (B, k) sum over all periods of fractions of wealth at the decision.
        exposures: (B, k) mean over periods of `B'q`, after each fill.
    """

    names: list[str]
    returns: np.ndarray
    returns_to_fill: np.ndarray
    currency: np.ndarray
    fractions: np.ndarray
    exposures: np.ndarray


def risk_model(risk: Cost | None, costs: Cost | None, panel: MarketPanel) -> FactorRisk | DenseRisk | None:
    """Return the risk without its weight, estimated: the one given, or else the first among the costs, or None.

    Raises:
        SettingsError: what is given is no risk.
    """
    parts = () if costs is None else costs.parts
    found: FactorRisk | DenseRisk | None = None
    for _, cost in parts if risk is None else (("risk", risk),):
        while isinstance(cost, ScaledCost):
            cost = cost.cost
        if isinstance(cost, FactorRisk | DenseRisk):
            found = cost
            break
    if found is None:
        if risk is not None:
            raise SettingsError(f"risk is {risk!r}: give a FactorRisk or a DenseRisk, scaled or not")
        return None
    estimates = found.n_factors is not None if isinstance(found, FactorRisk) else found.lookback is not None
    return found.estimate(panel) if estimates and found.history is None else found


def factor_gains(result: SimulationResult, risk: FactorRisk, panel: MarketPanel) -> FactorGains:
    """Return what each factor earned. The exposures are those of the model in force at each decision.

    A name counts for the returns of factors in a period when it has a price at the decision and a return. Where orders
    are filled in the next row, what is held at the decision earns the factors' returns up to the fill, and what is held
    after it those from there; a dividend that goes ex between is specific.

    Raises:
        LabelError: the panel is not that of the run.
        CostError: the risk has no model at a decision.
    """
    rows = rows_of(result, panel)
    n_books, n_periods = result.net.shape
    known = panel.tradable[rows] & np.isfinite(panel.returns[rows + 1])
    groups = list(_models(risk, panel, rows))
    n_factors = groups[0][1].shape[1]
    to_fill = None if result.before_fill is None else _returns_to_fill(result, panel, rows)
    # The name's first trade is the fill: what it did up to there is not known where it is not filled.
    usable = known if to_fill is None else known & (to_fill != 0)
    after, before = np.zeros((n_periods, n_factors)), np.zeros((n_periods, n_factors))
    currency, fractions, exposures = (np.zeros((n_books, n_factors)) for _ in range(3))
    for periods, loadings, specific in groups:
        after[periods] = _fitted(loadings, specific, result.returns_from_fill[periods], usable[periods])
        if to_fill is not None:
            before[periods] = _fitted(loadings, specific, to_fill[periods], usable[periods])
    for book in range(n_books):
        n = int(np.isfinite(result.net[book]).sum())
        wealth, at_fill = result.wealth[book, :n, None], result.fill_wealth[book, :n, None]
        position, gained = np.zeros((n, n_factors)), np.zeros((n, n_factors))
        for periods, loadings, _ in groups:
            some = periods[periods < n]
            position[some] = result.positions[book, some] @ loadings
            gained[some] = at_fill[some] * position[some] * after[some]
            if to_fill is not None:
                # What is held at the decision, in currency: at the fill it has earned the way there.
                held = result.held[book, some] * at_fill[some] / (1.0 + to_fill[some])
                gained[some] += (held @ loadings) * before[some]
        currency[book], fractions[book] = gained.sum(axis=0), (gained / wealth).sum(axis=0)
        exposures[book] = position.mean(axis=0) if n else np.nan
    return FactorGains(_factor_names(risk, n_factors), after, before, currency, fractions, exposures)


def _returns_to_fill(result: SimulationResult, panel: MarketPanel, rows: np.ndarray) -> np.ndarray:
    """Return the return (S, N) of each name from the decision to the fill, by its price alone; 0 where unknown."""
    assert panel.prices is not None
    splits = 1.0 if panel.splits is None else panel.splits[rows + 1]
    change = splits * result.fill_prices / panel.prices[rows] - 1.0
    return np.where((change > -1) & np.isfinite(change), change, 0.0)


def _models(
    risk: FactorRisk, panel: MarketPanel, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield periods (R,), loadings (N, k) and specific variance (N,) of each model that was in force."""
    if risk.history is not None:
        models = risk.history.at(rows)
        for model in np.unique(models).tolist():
            periods = np.flatnonzero(models == model)
            yield periods, risk.history.loadings[model], risk.history.specific_variance[model]
        return
    like = torch.zeros(1, panel.n_assets, dtype=torch.float64)
    market = panel.at(rows[:1])
    loadings = loadings_of(risk.loadings, like, market, "FactorRisk loadings")[0]
    specific = aligned(risk.specific_variance, like, market, "FactorRisk specific_variance")[0]
    yield np.arange(len(rows)), loadings.detach().numpy(), specific.detach().numpy()


def _fitted(loadings: np.ndarray, specific: np.ndarray, returns: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return factor returns (R, k) of R periods by weighted least squares across names; the shortest where many fit."""
    # A name without specific risk would fix the factors alone: it weighs as much as any, and no more.
    floor = max(float(specific.max(initial=0.0)) * SMALLEST, np.finfo(float).tiny)
    weight = usable / np.maximum(specific, floor)
    known = np.where(usable, returns, 0.0)
    fitted = np.zeros((len(returns), loadings.shape[1]))
    for first in range(0, len(returns), CHUNK):
        some = slice(first, first + CHUNK)
        normal = loadings.T @ (weight[some, :, None] * loadings)
        right = (weight[some] * known[some]) @ loadings
        fitted[some] = (np.linalg.pinv(normal, rcond=SMALLEST, hermitian=True) @ right[:, :, None])[:, :, 0]
    return fitted


def _factor_names(risk: FactorRisk, n_factors: int) -> list[str]:
    if isinstance(risk.loadings, pd.DataFrame):
        return [str(name) for name in risk.loadings.columns]
    return [f"factor {number + 1}" for number in range(n_factors)]


def expected_volatility(result: SimulationResult, risk: FactorRisk | DenseRisk, panel: MarketPanel) -> np.ndarray:
    """Return the volatility (B, S) that the risk model expected of each period, a fraction of wealth at the decision.

    It is that of the positions after the fill, by the model in force at the decision.
    """
    volatility = np.full(result.net.shape, np.nan)
    for period, row in enumerate(rows_of(result, panel).tolist()):
        alive = np.isfinite(result.net[:, period])
        q, held = (
            torch.from_numpy(np.where(alive[:, None], w[:, period], 0.0)) for w in (result.positions, result.held)
        )
        variance = 2.0 * risk.value(q, held, panel.at(row)).detach().cpu().numpy().sum(axis=1)
        part = result.fill_wealth[:, period] / result.wealth[:, period]
        volatility[:, period] = np.where(alive, np.sqrt(np.maximum(variance, 0.0)) * part, np.nan)
    return volatility


def forecast_table(result: SimulationResult, volatility: np.ndarray | None) -> pd.DataFrame:
    """Return what was predicted against what came, a row a book; see `Attribution.forecast`."""
    year = result.periods_per_year
    rows = []
    for book in range(len(result.names)):
        alive = np.isfinite(result.net[book])
        predicted, gross = result.predicted[book, alive], result.gross[book, alive]
        missed = gross - predicted
        row = {
            "predicted": _mean(predicted) * year,
            "realized": _mean(gross) * year,
            "difference_t": _ratio(_mean(missed), _deviation(missed)) * np.sqrt(len(missed)),
            "correlation": _ratio(_covariance(predicted, gross), _deviation(predicted) * _deviation(gross)),
            "slope": _ratio(_covariance(predicted, gross), _deviation(predicted) ** 2),
            "realized_volatility": _deviation(gross) * np.sqrt(year),
            "realized_ratio": _ratio(_mean(gross), _deviation(gross)) * np.sqrt(year),
        }
        if volatility is not None:
            expected = volatility[book, alive]
            invested = expected > 0
            root = np.sqrt(_mean(expected**2))
            row |= {
                "expected_volatility": root * np.sqrt(year),
                "predicted_ratio": _ratio(_mean(predicted), root) * np.sqrt(year),
                "bias": _deviation(gross[invested] / expected[invested]),
            }
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(result.names, name="name"))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _covariance(one: np.ndarray, other: np.ndarray) -> float:
    return float(((one - one.mean()) * (other - other.mean())).sum() / (len(one) - 1)) if len(one) > 1 else np.nan


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else np.nan
