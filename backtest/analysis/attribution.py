"""Where the money of a run came from: by name, by cost, by factor; and what was predicted against what came.

Every table adds up. A book's wealth changes by what its names gained (`gross`), less each cost, plus interest; its
gross by what its factors earned, and the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backtest.analysis.attribution_costs import ChargedCosts, charged_again
from backtest.analysis.attribution_risk import (
    FactorGains,
    expected_volatility,
    factor_gains,
    forecast_table,
    risk_model,
)
from backtest.costs import Cost, FactorRisk
from backtest.errors import SettingsError
from backtest.market import MarketPanel
from backtest.simulation import SimulationResult

__all__ = ["Attribution", "attribute"]

CASH = "(cash)"
"""The row of a table by asset that holds what no name earned: interest."""

MOST_SHOWN = 5
"""Names at each end of a printed table, and books in one."""


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """Gains by source. "currency" is the sum over all periods; "per_year" the mean return times the periods in a year.

    Of a ruined book the periods up to its ruin count.

    Attributes:
        total: a row for each (name, line), a column for each unit. Lines: gross; each cost, negative; interest; net,
            the sum of all these, which in currency is the change of wealth. The line "of it delisting" is a part of
            gross.
        by_asset: a row for each (name, asset), a column for each (unit, line). Lines: gross, each cost, interest, net.
            Interest is earned on the cash of the whole book: it stands in a row of its own, "(cash)". Without the costs
            and the panel of the run the costs by asset are known in currency alone.
        by_factor: a row for each (name, factor), a column for each unit, and `exposure`, the mean over periods of the
            book's exposure. The row "specific" is what the factors leave of gross, so that a book's rows add up to it.
            Statistical factors are those of each estimate, numbered by what they explain: a number means another
            portfolio after a refit. None without factor risk.
        factor_returns: (S, k) of each factor over each period, per unit of exposure; None without factor risk.
        forecast: one row a book. `predicted` and `realized` gross return a year, and `difference_t`, the t statistic of
            their difference. `correlation` of the two over periods, and `slope` of realized on predicted: 1 where
            forecasts have the right scale. `realized_volatility` a year and `realized_ratio`, the information ratio of
            gross. With risk also `expected_volatility` a year; `predicted_ratio`, the information ratio that the
            forecasts promised; and `bias`, the standard deviation of gross over its expected volatility: 1 where the
            risk is right, above where it is more than expected.
        forecast_path: a row for each (name, date): predicted and gross, and with risk expected_volatility, a period.
    """

    total: pd.DataFrame
    by_asset: pd.DataFrame
    by_factor: pd.DataFrame | None
    factor_returns: pd.DataFrame | None
    forecast: pd.DataFrame
    forecast_path: pd.DataFrame

    def __repr__(self) -> str:
        return "\n\n".join(f"{title}\n{table.to_string()}" for title, table in self._tables())

    def _repr_html_(self) -> str:
        return "\n".join(f"<h4>{title}</h4>\n{table.to_html()}" for title, table in self._tables())

    def _tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield what is shown, with its title: of several books what can stand side by side."""
        names = self.forecast.index
        shown = names[:MOST_SHOWN]
        more = f", {len(shown)} of {len(names)} books" if len(names) > len(shown) else ""
        if len(names) == 1:
            yield "Gains", _rounded(self.total.loc[names[0]])
            net = self.by_asset.loc[names[0]].drop(index=CASH)
            net = net.sort_values([("currency", "net")], ascending=False, kind="stable")
            some = {"Best names": net.head(MOST_SHOWN), "Worst names": net.tail(MOST_SHOWN)[::-1]}
            for title, part in some.items() if len(net) > 2 * MOST_SHOWN else (("Names", net),):
                yield f"{title}, currency", _rounded(part["currency"].rename_axis(columns=None))
            if self.by_factor is not None:
                yield "Factors", _rounded(self.by_factor.loc[names[0]])
        else:
            lines = self.total.index.get_level_values("line").unique()
            table = self.total["per_year"].unstack("name").loc[lines, list(shown)]
            yield f"Gains, % a year{more}", (100 * table).round(2).rename_axis(index=None, columns=None)
        yield f"Prediction against risk{more}", self.forecast.loc[shown].T.round(4).rename_axis(columns=None)


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table to show: returns in percent."""
    shown = table.rename_axis(index=None)
    if "per_year" not in shown:
        return shown.map(lambda value: f"{value:,.6g}")
    shown = shown.assign(per_year=[f"{100 * value:.2f}" for value in shown["per_year"]])
    for column in shown.columns.drop("per_year"):
        shown[column] = [f"{value:,.6g}" for value in shown[column]]
    return shown.rename(columns={"per_year": "% a year"})


def attribute(
    result: SimulationResult, costs: Cost | None = None, panel: MarketPanel | None = None, risk: Cost | None = None
) -> Attribution:
    """Attribute the gains of every book of a run.

    Args:
        result: of the run.
        costs: of the run, all of them, as it was given; a trading cost is then split into spread, fees and impact.
        panel: of the run; costs and risk need it.
        risk: a `FactorRisk`, for gains by factor, or another risk; None takes the first one among the costs.

    Raises:
        SettingsError: costs or risk without the panel; other costs than those of the run; a risk that is none.
        LabelError: the panel is not that of the run.
        CostError: the risk has no estimate at a decision of the run.
    """
    if panel is None and (costs is not None or risk is not None):
        raise SettingsError("attribute: costs and risk are valued at the market of the run: give panel= too")
    charged = None if costs is None or panel is None else charged_again(result, costs, panel)
    model = None if panel is None else risk_model(risk, costs, panel)
    volatility = None if model is None or panel is None else expected_volatility(result, model, panel)
    factors = factor_gains(result, model, panel) if isinstance(model, FactorRisk) and panel is not None else None
    periods = np.isfinite(result.net).sum(axis=1)
    yearly = np.divide(result.periods_per_year, periods, out=np.full(len(periods), np.nan), where=periods > 0)
    path = {"predicted": result.predicted, "gross": result.gross}
    if volatility is not None:
        path["expected_volatility"] = volatility
    index = pd.MultiIndex.from_product([result.names, result.dates], names=["name", "date"])
    return Attribution(
        total=_total(result, charged, yearly),
        by_asset=_by_asset(result, charged, yearly),
        by_factor=None if factors is None else _by_factor(result, factors, yearly),
        factor_returns=None if factors is None else _factor_returns(result, factors),
        forecast=forecast_table(result, volatility),
        forecast_path=pd.DataFrame({name: values.ravel() for name, values in path.items()}, index=index),
    )


def _total(result: SimulationResult, charged: ChargedCosts | None, yearly: np.ndarray) -> pd.DataFrame:
    paths = {"gross": result.gross, "of it delisting": result.delisting}
    paths |= {name: 0.0 - values for name, values in (result.costs if charged is None else charged.paths).items()}
    paths |= {"interest": result.interest, "net": result.net}
    wealth = result.wealth[:, :-1]
    currency = {name: np.nansum(values * wealth, axis=1) for name, values in paths.items()}
    last = np.isfinite(result.net).sum(axis=1)
    currency["net"] = result.wealth[np.arange(len(last)), last] - result.wealth[:, 0]
    fractions = {name: np.nansum(values, axis=1) * yearly for name, values in paths.items()}
    index = pd.MultiIndex.from_product([result.names, list(paths)], names=["name", "line"])
    columns = {
        unit: np.stack(list(values.values()), axis=1).ravel()
        for unit, values in (("currency", currency), ("per_year", fractions))
    }
    return pd.DataFrame(columns, index=index)


def _by_asset(result: SimulationResult, charged: ChargedCosts | None, yearly: np.ndarray) -> pd.DataFrame:
    n_books, n_assets = len(result.names), len(result.assets)
    gross, fractions = np.zeros((n_books, n_assets)), np.zeros((n_books, n_assets))
    for book, name in enumerate(result.names):
        gains = np.nan_to_num(result.gains(name))
        gross[book] = gains.sum(axis=0)
        fractions[book] = np.nan_to_num(gains / result.wealth[book, :-1, None]).sum(axis=0)
    currency = result.asset_costs if charged is None else charged.currency
    interest = np.nansum(result.interest * result.wealth[:, :-1], axis=1)
    units = {"currency": _lines(gross, currency, interest)}
    scale = yearly[:, None]
    returns = None if charged is None else {name: values * scale for name, values in charged.returns.items()}
    units["per_year"] = _lines(fractions * scale, returns, np.nansum(result.interest, axis=1) * yearly)
    index = pd.MultiIndex.from_product([result.names, [*result.assets, CASH]], names=["name", "asset"])
    tables = {unit: pd.DataFrame(lines).set_axis(index) for unit, lines in units.items()}
    return pd.concat(tables, axis=1, names=["unit", "line"])


def _lines(gross: np.ndarray, costs: Mapping[str, np.ndarray] | None, interest: np.ndarray) -> dict[str, np.ndarray]:
    """Return the lines of a table by asset (B (N + 1),), the last row of each book its cash."""
    without = np.zeros((len(gross), 1))
    lines = {"gross": np.hstack([gross, without])}
    lines |= {name: 0.0 - np.hstack([values, without]) for name, values in (costs or {}).items()}
    lines["interest"] = np.hstack([np.zeros_like(gross), interest[:, None]])
    if costs is not None:
        lines["net"] = np.sum(list(lines.values()), axis=0)
    return {name: values.ravel() for name, values in lines.items()}


def _factor_returns(result: SimulationResult, factors: FactorGains) -> pd.DataFrame:
    whole = (1.0 + factors.returns_to_fill) * (1.0 + factors.returns) - 1.0
    return pd.DataFrame(whole, index=result.dates, columns=factors.names)


def _by_factor(result: SimulationResult, factors: FactorGains, yearly: np.ndarray) -> pd.DataFrame:
    gross = np.nansum(result.gross * result.wealth[:, :-1], axis=1)
    currency = np.column_stack([factors.currency, gross - factors.currency.sum(axis=1)])
    returns = np.column_stack([factors.fractions, np.nansum(result.gross, axis=1) - factors.fractions.sum(axis=1)])
    exposures = np.column_stack([factors.exposures, np.full(len(gross), np.nan)])
    index = pd.MultiIndex.from_product([result.names, [*factors.names, "specific"]], names=["name", "factor"])
    columns = {"currency": currency, "per_year": returns * yearly[:, None], "exposure": exposures}
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index)
