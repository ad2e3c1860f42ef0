"""Attribution adds up, on markets in which everything happens, and says what small books say by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.analysis import attribute
from backtest.costs import L1, BorrowFee, DenseRisk, FactorRisk, RelativeTo, TradingCost
from backtest.errors import LabelError, SettingsError
from backtest.market import Delisting, MarketPanel, simulate_market
from backtest.simulation import EqualWeight, Execution, Policy, simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

from traded_runs import drawn_run, simulated, size_of

PARTS_OF_NET = ["net", "of it delisting"]


class Given(Policy):
    """Holds the forecast where there is one."""

    def decide(self, p, held, market, tradable):
        return np.where(np.isnan(p), held, p)


def priced(**columns):
    frame = pd.DataFrame(columns, index=pd.date_range("2020-01-01", periods=len(next(iter(columns.values())))))
    return MarketPanel.from_prices(frame.astype(float), periods_per_year=252)


@pytest.mark.parametrize("seed", range(60))
def test_gains_by_name_costs_and_interest_add_up_to_the_change_of_wealth(seed):
    run = drawn_run(seed, n_books=2)
    result = simulated(run)
    with_costs = attribute(result, run.rates.cost(run.panel), run.panel)
    for attribution in (with_costs, attribute(result)):
        for book, name in enumerate(result.names):
            room = 1e-9 * size_of(result, book)
            last = int(np.isfinite(result.net[book]).sum())
            change = result.wealth[book, last] - result.wealth[book, 0]
            total, by_asset = attribution.total.loc[name], attribution.by_asset.loc[name]

            assert by_asset["currency", "net"].sum() == pytest.approx(change, abs=room)
            assert total.loc["net", "currency"] == pytest.approx(change, abs=room)
            lines = total.drop(index=PARTS_OF_NET)
            assert lines["currency"].sum() == pytest.approx(change, abs=room)
            assert lines["per_year"].sum() == pytest.approx(total.loc["net", "per_year"], rel=1e-9, abs=1e-9)
            # Each line is the sum of its names.
            assert by_asset["currency"][lines.index].sum().to_numpy() == pytest.approx(lines["currency"], abs=room)
            if attribution is with_costs:
                by_year = by_asset["per_year"][lines.index].sum().to_numpy()
                assert by_year == pytest.approx(lines["per_year"].to_numpy(), rel=1e-9, abs=1e-9)


def test_a_book_by_hand():
    """Weights 0.5 and -0.25 of 1000, +10% and +20%, and a trade back to nothing."""
    panel = replace(priced(A=[10, 11, 11], B=[10, 12, 12]), cash_rate=np.array([0.001, 0.0, 0.0]))
    costs = TradingCost(0.001, buy_fee=0.002) + BorrowFee(0.252) + 0.1 * L1()
    weights = np.array([[0.5, -0.25], [0.0, 0.0], [0.0, 0.0]])
    result = simulate(panel, Given(), weights, costs=costs, lag=0, last_row=2, initial_wealth=1000)
    attribution = attribute(result, costs, panel)
    total = attribution.total.loc["portfolio", "currency"]

    assert total["gross"] == pytest.approx(50 - 50)
    # Sold 550 and bought back 300 at the end.
    assert total["trading_cost: spread"] == pytest.approx(-0.001 * (750 + 850))
    assert total["trading_cost: fees"] == pytest.approx(-0.002 * (500 + 300))
    assert total["borrow_fee"] == pytest.approx(-0.25)
    assert total["interest"] == pytest.approx(0.001 * (1000 - 500 + 250 - 0.75 - 1.0 - 0.25))
    assert "trading_cost: impact" not in total
    by_asset = attribution.by_asset.loc["portfolio", "currency"]
    assert by_asset.loc["B"].tolist() == pytest.approx([-50, -0.55, -0.6, -0.25, 0.0, -51.4])
    assert by_asset.loc["(cash)", "interest"] == total["interest"]
    gross = attribution.by_asset.loc[("portfolio", "A"), ("per_year", "gross")]
    assert gross == pytest.approx(0.05 / 2 * 252)


@pytest.mark.parametrize("wrapped", [lambda cost: cost, lambda cost: 2.0 * (0.5 * cost), lambda c: RelativeTo(c, 0.1)])
def test_a_trading_cost_is_spread_fees_and_impact(wrapped):
    panel = priced(A=[10, 11, 12, 11], B=[10, 12, 11, 10])
    trading = TradingCost(
        0.001, buy_fee=0.002, sell_fee=0.003, quadratic=0.01, impact=0.5, volatility=0.02, dollar_volume=1e4
    )
    weights = np.array([[0.5, -0.25], [0.1, 0.2], [0.0, 0.6], [0.0, 0.0]])
    costs = wrapped(trading)
    result = simulate(panel, Given(), weights, costs=costs, lag=0, last_row=3, initial_wealth=1000)
    total = attribute(result, costs, panel).total.loc["portfolio", "per_year"]
    trade = result.positions[0] - result.held[0]
    wealth = result.wealth[0, :-1, None]
    impact = 0.01 / 2 * trade**2 + 0.5 * 0.02 * np.abs(trade) ** 1.5 * (wealth / 1e4) ** 0.5
    name = next(iter(result.costs))

    assert total[f"{name}: spread"] == pytest.approx(-84 * (0.001 * np.abs(trade)).sum())
    assert total[f"{name}: fees"] == pytest.approx(-84 * np.where(trade > 0, 0.002 * trade, -0.003 * trade).sum())
    assert total[f"{name}: impact"] == pytest.approx(-84 * impact.sum())


def test_a_delisting_is_a_part_of_gross():
    frame = pd.DataFrame({"A": [10.0, 12.0, np.nan], "B": 1.0}, index=pd.date_range("2020-01-01", periods=3))
    gone = [Delisting("A", frame.index[1], -0.3)]
    panel = MarketPanel.from_prices(frame, delistings=gone, periods_per_year=252)
    result = simulate(panel, Given(), np.full((3, 2), 0.5), costs=None, lag=0, last_row=2, initial_wealth=100)
    total = attribute(result).total.loc["portfolio", "currency"]

    assert total["gross"] == pytest.approx(50 * (1.2 * 0.7 - 1))
    assert total["of it delisting"] == pytest.approx(60 * -0.3)


def test_other_costs_and_other_panels_are_refused():
    panel = priced(A=[10, 11, 12], B=[10, 9, 10])
    result = simulate(panel, EqualWeight(), costs=TradingCost(0.001), lag=0)

    with pytest.raises(SettingsError, match=r"2020-01-01: trading_cost was charged 0\.001 .* come to 0\.002"):
        attribute(result, TradingCost(0.002), panel)
    with pytest.raises(SettingsError, match=r"the run was charged \['trading_cost'\], these are \['borrow_fee'\]"):
        attribute(result, BorrowFee(0.1), panel)
    with pytest.raises(SettingsError, match="give panel= too"):
        attribute(result, TradingCost(0.001))
    with pytest.raises(SettingsError, match="give a FactorRisk or a DenseRisk"):
        attribute(result, None, panel, TradingCost(0.001))
    for other in (panel.select(["B", "A"]), priced(A=[10, 11], B=[10, 9])):
        with pytest.raises(LabelError, match="has other assets or dates than the run"):
            attribute(result, TradingCost(0.001), other)


def fitted_by_lstsq(loadings, specific, returns):
    root = 1 / np.sqrt(specific)
    return np.linalg.lstsq(loadings * root[:, None], returns * root, rcond=None)[0]


def test_gains_by_factor_are_exposures_times_fitted_returns_and_the_rest_is_specific():
    market = simulate_market(12, 80, 2, seed=3, lag=0, n_factors=3)
    panel = market.panel
    risk = FactorRisk(n_factors=3, lookback=30, refit_every=10).estimate(panel)
    weights = np.random.default_rng(0).normal(0, 0.1, (2, 80, 12))
    result = simulate(panel, Given(), weights, costs=None, lag=0, first_row=20, initial_wealth=[10.0, 500.0])
    attribution = attribute(result, None, panel, 3.0 * risk)
    expected = np.zeros((2, 3))
    for period, row in enumerate(range(20, 79)):
        model = int(risk.history.model_of[row])
        loadings, specific = risk.history.loadings[model], risk.history.specific_variance[model]
        factor_return = fitted_by_lstsq(loadings, specific, panel.returns[row + 1])
        for book in range(2):
            q = result.positions[book, period]
            expected[book] += result.wealth[book, period] * (q @ loadings) * factor_return

        found = attribution.factor_returns.loc[panel.dates[row + 1]]
        assert found.to_numpy() == pytest.approx(factor_return, rel=1e-8, abs=1e-10)
    for book, name in enumerate(result.names):
        by_factor = attribution.by_factor.loc[name]
        gross = attribution.total.loc[(name, "gross")]

        assert by_factor["currency"].to_numpy()[:3] == pytest.approx(expected[book], rel=1e-8)
        assert by_factor.index.tolist() == ["factor 1", "factor 2", "factor 3", "specific"]
        assert by_factor["currency"].sum() == pytest.approx(gross["currency"], rel=1e-12)
        assert by_factor["per_year"].sum() == pytest.approx(gross["per_year"], rel=1e-12)


def test_returns_made_of_factors_alone_leave_nothing_specific():
    rng = np.random.default_rng(1)
    loadings = pd.DataFrame(rng.normal(1, 0.5, (6, 2)), index=[f"N{i}" for i in range(6)], columns=["market", "value"])
    factors = rng.normal(0, 0.01, (40, 2))
    index = pd.bdate_range("2020-01-01", periods=40)
    returns = pd.DataFrame(factors @ loadings.to_numpy().T, index=index, columns=loadings.index)
    # A gap, whose return is not one of a period, and a name that comes late.
    returns.iloc[10, 0], returns.iloc[:15, 1] = np.nan, np.nan
    panel = MarketPanel.from_returns(returns, periods_per_year=252)
    risk = FactorRisk(loadings=loadings.iloc[::-1], specific_variance=pd.Series(1e-4, index=loadings.index))
    weights = rng.normal(0, 0.1, (40, 6))
    weights[:, :2] = 0.0
    result = simulate(panel, Given(), weights, costs=None, lag=0)
    attribution = attribute(result, None, panel, risk)

    assert attribution.factor_returns.columns.tolist() == ["market", "value"]
    assert attribution.factor_returns.to_numpy() == pytest.approx(factors[1:], abs=1e-12)
    assert attribution.by_factor.loc[("portfolio", "specific"), "currency"] == pytest.approx(0, abs=1e-12)


def test_orders_filled_at_the_open_have_factor_gains_before_and_after_the_fill():
    rng = np.random.default_rng(2)
    loadings = np.column_stack([np.ones(5), rng.normal(size=5)])
    index = pd.bdate_range("2020-01-01", periods=30)
    night, day = (np.exp(rng.normal(0, 0.01, (30, 2)) @ loadings.T) for _ in range(2))
    prices = 20 * np.cumprod(night * day, axis=0)
    names = [f"N{i}" for i in range(5)]
    panel = MarketPanel.from_prices(
        pd.DataFrame(prices, index=index, columns=names),
        open_prices=pd.DataFrame(prices / day, index=index, columns=names),
        periods_per_year=252,
    )
    specific = rng.uniform(1e-4, 4e-4, 5)
    risk = FactorRisk(loadings=loadings, specific_variance=specific)
    weights = rng.normal(0, 0.2, (30, 5))
    result = simulate(
        panel, Given(), weights, costs=None, lag=1, execution=Execution(fill="open"), initial_wealth=1000.0
    )
    attribution = attribute(result, None, panel, risk)
    expected = np.zeros(2)
    shares = np.zeros(5)
    for period in range(len(result.dates)):
        row = panel.row(result.fill_dates[period])
        before = fitted_by_lstsq(loadings, specific, night[row + 1] - 1)
        after = fitted_by_lstsq(loadings, specific, day[row + 1] - 1)
        expected += (shares * prices[row] @ loadings) * before
        shares = shares + result.shares_traded[0, period]
        expected += (shares * panel.open_prices[row + 1] @ loadings) * after
    by_factor = attribution.by_factor.loc["portfolio", "currency"]

    assert by_factor.to_numpy()[:2] == pytest.approx(expected, rel=1e-9)
    assert by_factor.sum() == pytest.approx(result.wealth[0, -1] - 1000.0, rel=1e-9)


def test_a_risk_that_is_right_has_a_bias_of_1_and_the_volatility_that_it_expects():
    market = simulate_market(20, 1500, 2, seed=5, lag=0, n_factors=3, signal=1e-3)
    risk = FactorRisk(
        loadings=market.loadings,
        factor_covariance=market.factor_covariance,
        specific_variance=market.specific_variance,
    )
    forecasts = market.expected_returns
    result = simulate(market.panel, _Scaled(), forecasts, costs=10.0 * risk, lag=0)
    dense = attribute(result, None, market.panel, DenseRisk(market.covariance))
    forecast = attribute(result, 10.0 * risk, market.panel).forecast.iloc[0]

    # Two standard errors of a standard deviation.
    assert forecast["bias"] == pytest.approx(1.0, abs=2 / np.sqrt(2 * 1500))
    assert forecast["realized_volatility"] == pytest.approx(forecast["expected_volatility"], rel=0.1)
    assert forecast["predicted"] == pytest.approx(252 * result.predicted.mean())
    assert forecast["predicted_ratio"] == pytest.approx(forecast["predicted"] / forecast["expected_volatility"])
    assert abs(forecast["difference_t"]) < 3
    assert forecast["slope"] == pytest.approx(np.polyfit(result.predicted[0], result.gross[0], 1)[0])
    assert forecast["correlation"] == pytest.approx(np.corrcoef(result.predicted[0], result.gross[0])[0, 1])
    assert dense.by_factor is None
    assert dense.forecast["bias"].iloc[0] == pytest.approx(forecast["bias"], rel=1e-9)
    variance = np.einsum("sn,nm,sm->s", result.positions[0], market.covariance, result.positions[0])
    assert dense.forecast_path["expected_volatility"].to_numpy() == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_an_attribution_of_one_book_prints_all_its_tables_and_of_several_what_stands_side_by_side():
    panel = simulate_market(15, 60, 2, seed=1, lag=0).panel
    risk = FactorRisk(n_factors=2, lookback=20)
    costs = 5.0 * risk + TradingCost(0.001)
    weights = np.random.default_rng(0).normal(0, 0.1, (7, 60, 15))
    several = simulate(panel, Given(), weights, costs=costs.estimate(panel), lag=0, first_row=12)
    one = attribute(several.books(slice(0, 1)), costs, panel)
    all_of_them = attribute(several, costs, panel)

    for title in ("Gains", "Best names, currency", "Worst names, currency", "Factors", "Prediction against risk"):
        assert f"{title}\n" in repr(one)
        assert f"<h4>{title}</h4>\n<table" in one._repr_html_()
    assert "Gains, % a year, 5 of 7 books" in repr(all_of_them)
    assert repr(all_of_them).count("trading_cost: spread") == 1


class _Scaled(Policy):
    """Holds the forecast, scaled to weights."""

    def decide(self, p, held, market, tradable):
        return np.where(np.isnan(p), held, 20.0 * p)
