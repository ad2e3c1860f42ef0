"""Combinatorial splits from end to end on a small simulated market, and what is said about paths."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from backtest.analysis import compare, sharpe_ratio
from backtest.analysis.comparison_books import Books
from backtest.analysis.comparison_plan import ComparisonPlan, WindowFit
from backtest.costs import DollarNeutral, FactorRisk, LeverageLimit, TradingCost
from backtest.errors import SettingsError
from backtest.market import simulate_market
from backtest.report import print_comparison
from backtest.report.page import page_html
from backtest.solver import PositionSolver
from backtest.training import CombinatorialSplits, TrainingSettings, WalkForward

TRAINING = TrainingSettings(
    hidden=(), path_epochs=1, chunk_length=10, holding_periods=(1.0, 2.0), shrinkage=(0.5, 1.0), ridge=(0.0, 0.1)
)
NETWORK = replace(TRAINING, hidden=(3,), epochs=2, patience=2, ridge=TrainingSettings().ridge)
SPLITS = CombinatorialSplits(4, 2, validation=12, embargo=1)
OBJECTIVES = ("squared", "whitened", "aligned")
SEEDS = (3, 5)


@pytest.fixture(scope="module")
def drawn():
    return simulate_market(8, 130, 3, seed=5, signal=4e-3, half_spread=5e-4)


def solver(drawn):
    risk = FactorRisk(loadings=np.array(drawn.loadings), specific_variance=np.array(drawn.specific_variance))
    costs = 5.0 * risk + TradingCost(half_spread=np.array(drawn.half_spread))
    return PositionSolver(costs, [DollarNeutral(), LeverageLimit(4.0)])


def run(drawn, **options):
    options = {"seeds": SEEDS, "training": TRAINING, "combinatorial": SPLITS, "n_jobs": 1} | options
    return compare(drawn, OBJECTIVES, solver=solver(drawn), **options)


def plan_of(drawn, data=None, **options):
    options = {"seeds": SEEDS, "training": TRAINING, "combinatorial": SPLITS} | options
    return ComparisonPlan.of(drawn if data is None else data, OBJECTIVES, solver=solver(drawn), **options)


@pytest.fixture(scope="module")
def comparison(drawn):
    return run(drawn)


def test_every_seed_has_a_book_a_path_on_all_dates(comparison, drawn):
    assert (comparison.n_seeds, comparison.n_paths, comparison.n_books) == (2, 3, 6)
    for name, result in comparison.results.items():
        assert list(result.names) == [f"{name}, seed {seed}, path {path}" for seed in SEEDS for path in (1, 2, 3)]
        # Forecast at the close of row 0, filled at row 1, earned at row 2; and so on to the end.
        assert result.dates.equals(drawn.panel.dates[2:])
        assert np.isfinite(result.net).all()
        assert result.turnover.mean() > 0
    assert len(comparison.settings["windows"]) == len(comparison.training["aligned"]) == 6


def test_a_block_of_a_path_trades_the_forecasts_and_holding_period_of_the_split_that_tests_it_there(drawn):
    plan = plan_of(drawn)
    # What each split says is its own number.
    fits = [
        WindowFit(
            {name: np.full((2, len(window.test), 8), number + 0.25 * place) for place, name in enumerate(OBJECTIVES)},
            {name: 10.0 * number + place for place, name in enumerate(OBJECTIVES)},
            {},
        )
        for number, window in enumerate(plan.windows)
    ]

    books = Books.of(plan, fits)

    assert books.forecasts.shape == (3, 2, 3, 130, 8)
    # Folds of 32 rows tested together: 01, 02, 03, 12, 13, 23; path by path, the split that tests each fold.
    expected = [[0, 0, 1, 2], [1, 3, 3, 4], [2, 4, 5, 5]]
    for path, splits in enumerate(expected):
        for fold, split in enumerate(splits):
            rows = slice(32 * fold, 32 * (fold + 1))
            assert (books.forecasts[2, :, path, rows] == split + 0.5).all()
            fills = slice(rows.start + 1, rows.stop + 1)
            assert (books.holding_periods[fills, 2, :, path] == 10 * split + 2).all()
    assert np.isnan(books.forecasts[..., 128:, :]).all()


def same(comparison, again):
    for name, result in comparison.results.items():
        assert np.array_equal(result.positions, again.results[name].positions)
    return json.dumps(comparison.to_dict()) == json.dumps(again.to_dict())


def test_splits_trained_in_another_order_make_the_same_to_the_last_bit(comparison, drawn):
    plan = plan_of(drawn)
    fits = {number: plan.fit_window(number) for number in reversed(range(len(plan.windows)))}

    assert same(comparison, plan.finish([fits[number] for number in range(len(plan.windows))]))


@pytest.mark.slow
def test_two_processes_make_the_same_to_the_last_bit(comparison, drawn):
    assert same(comparison, run(drawn, n_jobs=2))


def test_a_seed_does_not_depend_on_its_company(drawn):
    settings = replace(NETWORK, holding_periods=(2.0,), shrinkage=(1.0,))
    together, alone = (plan_of(drawn, training=settings, seeds=seeds).fit_window(1) for seeds in ((3, 5), (5,)))

    for name in OBJECTIVES:
        np.testing.assert_allclose(together.forecasts[name][1:], alone.forecasts[name], rtol=1e-4, atol=1e-9)


def test_differences_are_of_the_mean_over_paths_and_count_seeds(comparison):
    difference = comparison.headline[0]
    net = {name: comparison.results[name].net.reshape(2, 3, -1).mean(axis=1) for name in ("aligned", "squared")}
    by_seed = (net["aligned"] - net["squared"]).mean(axis=1)

    assert difference.n_seeds == 2
    assert difference.seeds_above_zero == (by_seed > 0).sum()
    assert difference.interval.mean == pytest.approx(comparison.periods_per_year * by_seed.mean())


def test_paths_are_told_by_their_sharpe_ratios(comparison):
    spreads = {spread.objective: spread for spread in comparison.paths}
    by_hand = {
        name: [
            float(sharpe_ratio(result.net[[path, 3 + path]].mean(axis=0), periods_per_year=252)) for path in range(3)
        ]
        for name, result in comparison.results.items()
    }

    for name, spread in spreads.items():
        assert spread.sharpe == pytest.approx(by_hand[name])
        assert spread.mean == pytest.approx(np.mean(by_hand[name]))
        assert spread.sd == pytest.approx(np.std(by_hand[name], ddof=1))
        assert spread.lowest == min(by_hand[name])
    ahead = np.mean([a > s for a, s in zip(by_hand["aligned"], by_hand["squared"], strict=True)])
    assert spreads["squared"].lead_ahead == pytest.approx(ahead)
    assert (spreads["aligned"].lead, spreads["aligned"].lead_ahead) == (None, None)


def test_the_document_the_page_and_the_verdict_name_the_protocol(comparison, capsys):
    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    page = page_html(comparison)
    print_comparison(comparison)

    expected = {"folds": 4, "test_folds": 2, "validation": 12, "embargo": 1, "splits": 6, "paths": 3}
    assert document["settings"]["combinatorial"] == expected
    assert "walk_forward" not in document["settings"]
    assert document["settings"]["windows"][1]["train"].count(" to ") == 2
    assert [path["objective"] for path in document["paths"]] == list(OBJECTIVES)
    assert document["sample"]["n_paths"] == 3
    assert "mean of 2 seeds in each of 3 paths, 128 dates" in comparison.verdict
    assert "trained on data after the test too, so this checks robustness" in comparison.verdict
    assert "Over 3 backtest paths" in page
    assert "in which aligned is above" in page
    assert "Spread over books" in page
    assert "no standard error" in capsys.readouterr().out


def test_ensembles_have_a_book_a_path(drawn):
    training = replace(NETWORK, ensemble=2)
    found = run(drawn, training=training, combinatorial=CombinatorialSplits(3, 2, validation=12, embargo=1))

    assert (found.n_seeds, found.n_paths) == (1, 2)
    for name, result in found.results.items():
        assert list(result.names) == [f"{name}, seeds 3, 5, path {path}" for path in (1, 2)]
    assert found.sample.startswith("one ensemble of 2 seeds in each of 2 paths")


def test_without_paths_nothing_is_said_of_them(make_comparison):
    gross = np.random.default_rng(0).normal(0.002, 0.01, (2, 6, 60))
    of_seeds = make_comparison({"squared": gross[0], "aligned": gross[1]})
    of_paths = make_comparison({"squared": gross[0], "aligned": gross[1]}, n_paths=3)

    assert (of_seeds.n_seeds, of_paths.n_seeds) == (6, 2)
    assert of_seeds.paths == ()
    assert "paths" not in of_seeds.to_dict()
    assert "robustness" not in of_seeds.verdict
    assert "Spread over seeds" in page_html(of_seeds)
    # What is averaged over all books is the same, however they are counted.
    assert of_seeds.table()["net (% a year)"].equals(of_paths.table()["net (% a year)"])
    assert of_seeds.headline[0].interval.mean == pytest.approx(of_paths.headline[0].interval.mean)


def test_books_that_are_not_seeds_by_paths_are_refused(make_comparison):
    with pytest.raises(SettingsError, match="6 books are not those of seeds in each of 4 paths"):
        make_comparison({"squared": np.zeros((6, 30))}, n_paths=4)


def test_ruined_books_are_counted_as_books(make_comparison):
    gross = np.random.default_rng(0).normal(0.002, 0.01, (2, 6, 60))
    comparison = make_comparison({"squared": gross[0], "aligned": gross[1]}, ruined_at={"aligned": {4: 9}}, n_paths=3)

    assert "aligned: 1 of 6 books ruined" in comparison.verdict
    assert "books ruined" in " ".join(comparison.notes)
    assert comparison.paths[1].lead is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"walk_forward": WalkForward(train=50, validation=10, test=20)}, "not both"),
        ({"combinatorial": CombinatorialSplits(40, 2)}, "take fewer folds than 40"),
    ],
)
def test_impossible_requests_are_refused_before_any_training(drawn, options, message):
    with pytest.raises(SettingsError, match=message):
        plan_of(drawn, **options)


def test_garbling_all_from_the_first_test_row_on_changes_nothing_trained_before_it(drawn):
    """The split that tests folds 2 and 3 trains on folds 0 and 1: what is later may be anything."""
    plan = plan_of(drawn)
    number = 5
    window = plan.windows[number]
    first = int(window.test[0])
    assert window.train[-1] < window.validation[-1] < window.test[0]
    garbled = plan_of(drawn, drawn.panel.garbled_after(first - 1))

    true, other = (which.fit_window(number) for which in (plan, garbled))

    assert not np.array_equal(drawn.panel.returns[first + 1], garbled.panel.returns[first + 1])
    assert true.holding_periods == other.holding_periods
    assert repr(true.records) == repr(other.records)
