"""The table of a sweep: what its rows say, and that they add up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backtest.sweep.table import best_so_far, rows_of, totals
from backtest.sweep.workplace import Workplace


def test_a_cell_is_the_comparison_of_its_settings_to_the_last_bit(sweep, finished, compared):
    _, table, _ = finished
    cell, comparison = sweep.cells[1], compared
    for objective, result in comparison.results.items():
        rows = totals(table)
        rows = rows[(rows["cost"] == cell.cost) & (rows["objective"] == objective)]
        assert rows["net"].tolist() == (result.net.mean(axis=1) * 12).tolist()
        assert rows["turnover"].tolist() == [float(each.mean() * 12) for each in result.turnover]
        assert rows["cost: trading_cost"].tolist() == [float(each.mean() * 12) for each in result.costs["trading_cost"]]


def test_the_table_has_a_row_a_cell_objective_seed_and_window_and_counts_every_trial(finished):
    folder, table, told = finished
    keys = table[["model", "cost", "objective", "seed", "window"]]
    assert len(table) == len(keys.drop_duplicates()) == 2 * 2 * 2 * 3
    assert list(table["window"][:3]) == ["all", "0", "1"]
    assert list(totals(table)["seed"].unique()) == ["0", "1"]
    assert list(keys["cost"].unique()) == ["low", "high"]
    # Two costs, two objectives, two seeds, two shrinkages.
    assert (table["trials"] == 16).all()
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "sweep.parquet"), table)
    assert [(done, total) for _, done, total, _ in told][-1] == (4, 4)


def test_windows_add_up_to_their_total(finished):
    _, table, _ = finished
    key = ["model", "cost", "objective", "seed"]
    sums = [name for name in table if name.startswith("cost: ")]
    sums += ["net", "gross", "utility", "turnover", "leverage"]
    whole = totals(table).set_index(key)
    windows = table[table["window"] != "all"]
    for group, part in windows.groupby(key):
        total = whole.loc[group]
        weights = part["periods"] / total["periods"]
        assert part["periods"].sum() == total["periods"]
        assert len(part) == total["windows"] == 2
        for name in sums:
            assert (part[name] * weights).sum() == pytest.approx(total[name], rel=1e-12, abs=1e-15)
        assert part["validation_utility"].mean() == pytest.approx(total["validation_utility"], rel=1e-12)
        assert (part["test_start"].min(), part["test_end"].max()) == (total["test_start"], total["test_end"])
        assert part["max_drawdown"].min() >= total["max_drawdown"] - 1e-15
        assert part["net"].nunique() == 2


def test_the_series_kept_are_those_of_the_comparison_and_make_the_table(sweep, finished, compared):
    folder, table, _ = finished
    cell, comparison = sweep.cells[1], compared
    kept = Workplace(folder).series(cell.name)
    for objective, result in comparison.results.items():
        for seed in (0, 1):
            part = kept[(kept["objective"] == objective) & (kept["seed"] == str(seed))]
            assert pd.DatetimeIndex(part["date"]).equals(comparison.dates)
            assert part["net"].tolist() == result.net[seed].tolist()
            assert part["utility"].tolist() == result.utility[seed].tolist()
    for _, row in table[table["cost"] == cell.cost].iterrows():
        part = kept[(kept["objective"] == row["objective"]) & (kept["seed"] == row["seed"])]
        part = part[part["date"].between(row["test_start"], row["test_end"])]
        assert set(part["window"]) == ({"0", "1"} if row["window"] == "all" else {row["window"]})
        assert (len(part), part["net"].mean() * 12) == (row["periods"], pytest.approx(row["net"], abs=1e-15))
        assert _sharpe(part["net"]) == pytest.approx(row["sharpe"])


def _sharpe(net):
    return net.mean() / net.std(ddof=1) * 12**0.5


def test_information_coefficients_of_windows_are_those_of_their_forecasts(sweep, finished):
    folder, table, _ = finished
    cell, place = sweep.cells[0], Workplace(folder)
    plan = place.plan(cell.name)
    targets = plan.panel.targets(plan.lag)
    for number, window in enumerate(plan.windows):
        p, y = place.kept(cell.name, number).forecasts["aligned"][1], targets[window.test]
        by_date = [pd.Series(p[t]).corr(pd.Series(y[t]), method="spearman") for t in range(len(y))]
        row = table[
            (table["cost"] == "low")
            & (table["objective"] == "aligned")
            & (table["seed"] == "1")
            & (table["window"] == str(number))
        ]
        assert row["information_coefficient"].item() == pytest.approx(np.nanmean(by_date))


def test_a_ruined_book_counts_in_full_and_shows_where_it_was_ruined(sweep, finished):
    folder, _, _ = finished
    cell, place = sweep.cells[0], Workplace(folder)
    plan = place.plan(cell.name)
    fits = [place.kept(cell.name, number) for number in (0, 1)]
    comparison = plan.finish(fits)
    result = comparison.results["squared"]
    first = len(plan.windows[0].test)
    net, wealth = result.net.copy(), result.wealth.copy()
    net[0, first], net[0, first + 1 :] = -1.0, np.nan
    wealth[0, first + 1], wealth[0, first + 2 :] = 0.0, np.nan
    after = np.arange(net.shape[1]) > first
    blank = {
        name: np.where(after & (np.arange(2) == 0)[:, None], np.nan, getattr(result, name))
        for name in ("gross", "interest", "utility", "turnover", "leverage")
    }
    costs = {name: np.where(np.isnan(blank["gross"]), np.nan, cost) for name, cost in result.costs.items()}
    ruined = replace(result, net=net, wealth=wealth, costs=costs, ruined=np.array([True, False]), **blank)
    table = rows_of(
        "m", "c", replace(comparison, results={**comparison.results, "squared": ruined}), plan=plan, fits=fits
    )
    rows = table[(table["objective"] == "squared") & (table["seed"] == "0")].set_index("window")

    assert rows["ruined"].to_dict() == {"all": True, "0": False, "1": True}
    assert rows.loc["1", "net"] == pytest.approx(-12 / rows.loc["1", "periods"])
    assert rows.loc["all", "net"] == pytest.approx((result.net[0, :first].sum() - 1) * 12 / net.shape[1])


def test_best_so_far_is_judged_on_validation_within_each_cost_level(finished):
    _, table, _ = finished
    best = best_so_far(table)
    assert len(best) == 4
    for _, level in best.groupby("cost"):
        assert level["validation_utility"].is_monotonic_decreasing
    first = totals(table)
    first = first[(first["cost"] == "high") & (first["objective"] == "squared")]
    row = best[(best["cost"] == "high") & (best["objective"] == "squared")].iloc[0]
    assert row["net"] == pytest.approx(first["net"].mean())
    assert np.isfinite(best["validation_utility"]).all()
