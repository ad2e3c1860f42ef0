"""What a sweep shows, on series made by hand: planted winners, noise, and the analysis called directly."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backtest.analysis import (
    deflated_sharpe_ratio,
    probability_of_overfitting,
    sharpe_ratio,
    stationary_bootstrap_interval,
    superior_ability,
)
from backtest.analysis.power import power_statement
from backtest.errors import DataError
from backtest.sweep.judge import CellSeries, judge_cells

S, SEEDS, YEAR = 260, 3, 52
DATES = pd.date_range("2001-01-05", periods=S, freq="W-FRI")
OBJECTIVES = ("squared", "whitened", "aligned")
OPTIONS = {"n_cells": 4, "periods_per_year": YEAR, "n_resamples": 400}


def cell_of(model, cost, *, seed, edge=None, objectives=OBJECTIVES, validation=None):
    """A cell of noise that all of its books share in part; `edge` maps an objective to what it earns more a period."""
    rng = np.random.default_rng(seed)
    market = 0.02 * rng.standard_normal(S)
    net = {
        name: (edge or {}).get(name, 0.0)
        + market
        + 0.01 * rng.standard_normal(S)
        + 0.004 * rng.standard_normal((SEEDS, S))
        for name in objectives
    }
    return CellSeries(
        model=model,
        cost=cost,
        dates=DATES,
        net=net,
        utility={name: values - 0.001 for name, values in net.items()},
        validation_utility=validation or {name: 0.01 * i for i, name in enumerate(objectives)},
        trials=30,
    )


@pytest.fixture(scope="module")
def cells():
    """Two models under two costs; aligned earns 0.4% a week more in one of the four, and squared 0.2% less."""
    return [
        cell_of("net", "low", seed=1),
        cell_of(
            "line",
            "low",
            seed=2,
            edge={"aligned": 0.004, "squared": -0.002},
            validation=dict.fromkeys(OBJECTIVES, 0.005),
        ),
        cell_of("net", "high", seed=3),
        cell_of("line", "high", seed=4),
    ]


@pytest.fixture(scope="module")
def judged(cells):
    return judge_cells(cells, **OPTIONS)


def book(cell, objective):
    return cell.net[objective].mean(axis=0)


def test_the_numbers_of_a_cost_level_are_those_of_the_analysis_called_directly(cells, judged):
    high, low = judged.levels
    assert (high.cost, low.cost) == ("high", "low")
    line, net = cells[1], cells[0]
    keys = [(cell, name) for cell in (line, net) for name in sorted(OBJECTIVES)]
    names = [f"{cell.model} {name}" for cell, name in keys]
    books = np.stack([book(*key) for key in keys], axis=1)

    direct = probability_of_overfitting(books - 0.001, names=names, performance="mean")
    assert low.overfitting.probability == direct.probability
    assert low.overfitting.chosen == direct.chosen
    # Of squared error, line has 0.5% on validation and net 0%.
    benchmark = names.index("line squared")
    others = [i for i in range(len(names)) if i != benchmark]
    assert low.superior_ability == superior_ability(
        books[:, others],
        books[:, benchmark],
        seed=0,
        names=[names[i] for i in others],
        n_resamples=400,
        benchmark_name="line squared",
    )
    # On validation net's aligned has 2%, the most.
    spread = np.concatenate([sharpe_ratio(cell.net[name], periods_per_year=1) for cell, name in keys]).var(ddof=1)
    direct = deflated_sharpe_ratio(book(net, "aligned"), n_trials=120, trial_sharpe_variance=spread)
    assert low.sharpe.probability == direct.probability
    assert low.sharpe.probabilistic == direct.probabilistic
    assert judged.trials == 120


def test_what_validation_chose_stands_beside_what_hindsight_would(cells, judged):
    low = judged.levels[1]
    assert low.chosen.name == "net aligned"
    assert low.hindsight.name == "line aligned"
    assert low.chosen.net == pytest.approx(cells[0].net["aligned"].mean() * YEAR)
    assert low.chosen.utility == pytest.approx((cells[0].net["aligned"].mean() - 0.001) * YEAR)
    assert low.chosen.net_sd == pytest.approx(cells[0].net["aligned"].mean(axis=1).std(ddof=1) * YEAR)
    utilities = sorted((variant.utility for variant in low.variants), reverse=True)
    assert utilities[low.rank - 1] == low.chosen.utility
    assert "best in hindsight, which nobody could know: line aligned" in low.lines[1]


def test_pairs_are_paired_differences_with_interval_power_and_spread_over_seeds(cells, judged):
    assert len(judged.differences) == 4 * 3 * 2
    found = next(each for each in judged.differences if (each.model, each.cost) == ("line", "low"))
    assert (found.difference.a, found.difference.b, found.difference.quantity) == ("aligned", "squared", "net")
    paired = (cells[1].net["aligned"] - cells[1].net["squared"]).mean(axis=0)
    interval = stationary_bootstrap_interval(paired, seed=0, n_resamples=400).scaled(YEAR)
    assert found.difference.interval == interval
    assert found.difference.power == power_statement(paired, periods_per_year=YEAR)
    by_seed = (cells[1].net["aligned"] - cells[1].net["squared"]).mean(axis=1) * YEAR
    assert found.by_seed == tuple(by_seed.tolist())
    assert found.by_seed_sd == pytest.approx(by_seed.std(ddof=1))
    assert found.difference.seeds_above_zero == 3
    assert "above 0 in 3 of 3 seeds, sd" in found.line


def test_a_planted_winner_is_found_and_what_is_noise_is_not(judged):
    assert judged.n_family == 8
    shown = [(each.model, each.cost, each.difference.b) for each in judged.differences if each.is_shown]
    assert shown == [("line", "low", "squared"), ("line", "low", "whitened")]
    assert judged.lines[0].startswith(
        "A difference is shown in 2 of 8 pairs, all counted together: line, low: aligned - "
    )
    high, low = judged.levels
    assert low.superior_ability.best == "line aligned"
    assert low.superior_ability.consistent < 0.01 < high.superior_ability.consistent
    assert low.overfitting.probability < 0.05 < high.overfitting.probability


def test_the_interval_that_counts_all_is_at_the_bonferroni_level(cells, judged):
    found = next(each for each in judged.differences if each.is_shown)
    paired = (cells[1].net["aligned"] - cells[1].net["squared"]).mean(axis=0)
    wide = stationary_bootstrap_interval(paired, seed=0, level=1 - 0.05 / 8, n_resamples=800).scaled(YEAR)
    assert found.together == wide
    assert wide.low < found.difference.interval.low < found.difference.interval.high < wide.high


def test_noise_is_not_shown_in_the_first_line():
    noise = [cell_of(model, cost, seed=10 + i) for i, (model, cost) in enumerate([("a", "x"), ("b", "x"), ("a", "y")])]
    judged = judge_cells(noise, **OPTIONS)
    assert judged.lines[0].startswith("No difference shown in any of 6 pairs")
    assert "; 3 of 4 cells, 90 models tried, 260 dates from 2001-01-05 to 2005-12-23)" in judged.lines[0]


def test_an_interval_that_leaves_zero_out_alone_is_not_enough():
    many = [cell_of(f"m{i:02d}", "x", seed=50 + i) for i in range(9)]
    paired = many[0].net["aligned"] - many[0].net["squared"]
    error = paired.mean(axis=0).std() / S**0.5
    # Two and a half standard errors: shown at 95%, not at 95% for 18 at once.
    moved = {**many[0].net, "squared": many[0].net["squared"] + paired.mean() - 2.5 * error}
    judged = judge_cells([replace(many[0], net=moved), *many[1:]], **OPTIONS)
    alone = [each for each in judged.differences if each.together is not None]
    assert ("m00", "squared") in [(each.model, each.difference.b) for each in alone]
    assert not any(each.is_shown for each in alone)
    assert judged.verdict.startswith("No difference shown in any of 18 pairs (net return, ")
    assert "alone" in judged.verdict
    assert judged.lines[-1] == "  ... and 6 more"
    assert "none does when all are counted together" in judged.verdict


def test_false_findings_in_the_first_line_are_rare():
    found = alone = 0
    for draw in range(12):
        noise = [cell_of(f"m{i}", "x", seed=1000 * draw + i) for i in range(4)]
        judged = judge_cells(noise, n_cells=4, periods_per_year=YEAR, n_resamples=100)
        found += judged.verdict.startswith("A difference")
        alone += any(each.together is not None for each in judged.differences)
    assert found <= 2 < alone


def test_the_order_of_cells_moves_no_number(cells, judged):
    for order in ([3, 1, 0, 2], [2, 3, 1, 0]):
        assert judge_cells([cells[i] for i in order], **OPTIONS).to_dict() == judged.to_dict()


def test_the_order_of_seeds_moves_no_number_but_by_rounding(cells, judged):
    turned = [
        replace(cell, **{kind: {n: v[::-1] for n, v in getattr(cell, kind).items()} for kind in ("net", "utility")})
        for cell in cells
    ]
    again = judge_cells(turned, **OPTIONS)
    for ours, theirs in zip(again.differences, judged.differences, strict=True):
        assert ours.difference.interval.low == pytest.approx(theirs.difference.interval.low, rel=1e-9)
    assert again.levels[0].superior_ability.consistent == judged.levels[0].superior_ability.consistent


def test_models_may_have_other_objectives_and_seeds(cells):
    few = cell_of("trees", "low", seed=9, objectives=("squared", "whitened"))
    one = replace(few, net={n: v[:1] for n, v in few.net.items()}, utility={n: v[:1] for n, v in few.utility.items()})
    judged = judge_cells([cells[0], one], **OPTIONS)
    assert [(each.model, each.difference.a, each.difference.b) for each in judged.differences[-2:]] == [
        ("trees", "whitened", "squared")
    ] * 2
    assert judged.n_family == 2
    assert "above 0 in" in judged.differences[-1].line
    assert "sd" not in judged.differences[-1].line
    assert len(judged.levels[0].variants) == 5


def test_a_sweep_with_nothing_to_compare_says_so():
    alone = cell_of("a", "x", seed=1, objectives=("whitened",))
    judged = judge_cells([alone], **OPTIONS)
    assert judged.verdict.startswith("Nothing to compare: no model has")
    level = judged.levels[0]
    assert level.superior_ability is None
    assert "needs a model trained on squared error" in level.lines[3]
    assert "one variant leaves nothing to choose" in level.lines[2]


def test_two_books_that_are_one_are_no_finding():
    same = cell_of("a", "x", seed=1)
    same = replace(same, net=dict.fromkeys(OBJECTIVES, same.net["squared"]))
    judged = judge_cells([same], **OPTIONS)
    assert judged.n_family == 0
    assert "the same on every date: no difference" in judged.differences[0].line


def test_other_dates_within_a_cost_level_are_refused(cells):
    late = replace(cells[1], dates=DATES + pd.Timedelta(days=7))
    with pytest.raises(DataError, match="net and line under costs low were not tested on the same dates"):
        judge_cells([cells[0], late], **OPTIONS)


def test_it_is_written_as_strict_json_and_shown_as_a_page(judged, tmp_path):
    judged.write(tmp_path / "judgement.json")
    text = (tmp_path / "judgement.json").read_text()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document == judged.to_dict()
    assert document["cells"] == {"finished": 4, "of": 4}
    assert document["levels"][1]["chosen_on_validation"]["model"] == "net"
    assert repr(judged).splitlines()[0] == judged.verdict
    page = judged._repr_html_()
    assert page.startswith("<p><b>A difference is shown in 2 of 8 pairs")
    assert page.count("<ul>") == page.count("</ul>") == 3
