"""The comparison's numbers, its order of pairs and its words, on stand-in simulations."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from backtest.analysis import (
    equal_risk,
    power_statement,
    sharpe_difference_bootstrap,
    stationary_bootstrap_interval,
    superior_ability,
)
from backtest.errors import SettingsError, SimulationError

N_DATES = 104


@pytest.fixture
def gross():
    """Objective -> (2, S) gross returns of one market plus a little of their own."""
    rng = np.random.default_rng(0)
    market = rng.normal(0.002, 0.02, N_DATES)
    return {
        name: market + rng.normal(drift, 0.002, (2, N_DATES))
        for name, drift in (("squared", 0.0), ("whitened", 0.0), ("aligned", 0.004), ("misaligned", -0.004))
    }


def test_gross_less_each_cost_plus_interest_is_net(make_comparison, gross):
    for name, summary in make_comparison(gross).objectives.items():
        assert summary.gross == pytest.approx(52 * gross[name].mean())
        assert summary.costs == pytest.approx({"trading_cost": 0.052, "borrow_fee": 0.0104})
        assert summary.net == pytest.approx(summary.gross - 0.052 - 0.0104 + summary.interest)
        assert summary.utility == pytest.approx(summary.net - 52 * 0.0005)


def test_activity_is_counted_over_seeds_dates_and_names(make_comparison, gross):
    """One name of four changes by 0.1 on every second date, at leverage 1."""
    summary = make_comparison(gross).objectives["aligned"]

    assert summary.turnover == pytest.approx(52 * 0.1 / 2)
    assert summary.names_traded == pytest.approx(1 / 8)
    assert summary.leverage == pytest.approx(1.0)


def test_sharpe_and_spread_are_those_of_the_net_returns(make_comparison, gross):
    summary = make_comparison(gross).objectives["aligned"]
    net = gross["aligned"] - 0.0012
    book = net.mean(axis=0)

    assert summary.sharpe == pytest.approx(book.mean() / book.std(ddof=1) * np.sqrt(52))
    assert summary.net_by_seed == pytest.approx(tuple(52 * net.mean(axis=1)))
    assert summary.net_sd == pytest.approx(np.std(52 * net.mean(axis=1), ddof=1))
    assert summary.worst_drawdown <= summary.max_drawdown <= 0
    assert 0 <= summary.deflated_sharpe <= 1


def test_differences_pair_every_two_objectives_with_aligned_first(make_comparison, gross):
    shuffled = {name: gross[name] for name in ("misaligned", "aligned", "whitened", "squared")}

    pairs = [(d.a, d.b, d.quantity) for d in make_comparison(shuffled).differences]

    assert pairs[:4] == [
        ("aligned", "squared", "net"),
        ("aligned", "squared", "utility"),
        ("aligned", "whitened", "net"),
        ("aligned", "whitened", "utility"),
    ]
    assert len(pairs) == len(set(pairs)) == 12


def test_a_blend_is_measured_against_what_it_is_to_beat(make_comparison, gross):
    named = {"squared": gross["squared"], "0.5 aligned + 0.5 squared": gross["aligned"], "aligned": gross["whitened"]}

    pairs = [(d.a, d.b) for d in make_comparison(named).differences if d.quantity == "net"]

    assert pairs == [
        ("aligned", "squared"),
        ("aligned", "0.5 aligned + 0.5 squared"),
        ("0.5 aligned + 0.5 squared", "squared"),
    ]


def test_a_difference_is_the_interval_of_the_seed_average_paired_series(make_comparison, gross):
    comparison = make_comparison(gross, seed=5)
    difference = comparison.differences[0]

    paired = (gross["aligned"] - gross["squared"]).mean(axis=0)
    expected = stationary_bootstrap_interval(paired, seed=5, n_resamples=300)
    assert difference.interval.mean == pytest.approx(52 * expected.mean, abs=1e-14)
    assert difference.interval.low == pytest.approx(52 * expected.low, abs=1e-12)
    assert difference.interval.high == pytest.approx(52 * expected.high, abs=1e-12)
    assert difference.seeds_above_zero == 2


def test_verdict_names_both_rivals_their_intervals_and_the_sample(make_comparison, gross):
    comparison = make_comparison(gross)
    first, second = comparison.headline

    assert comparison.verdict == (
        f"aligned - squared: net {100 * first.interval.mean:+.1f}% a year, 95% interval "
        f"[{100 * first.interval.low:.1f}, {100 * first.interval.high:.1f}]: aligned earns more; "
        f"aligned - whitened: net {100 * second.interval.mean:+.1f}% a year, 95% interval "
        f"[{100 * second.interval.low:.1f}, {100 * second.interval.high:.1f}]: aligned earns more "
        "(mean of 2 seeds, 104 dates from 2001-01-05 to 2002-12-27)"
    )


@pytest.mark.parametrize(
    ("drift", "words"),
    [(0.004, "aligned earns more"), (-0.004, "aligned earns less"), (0.0, "no difference shown")],
)
def test_verdict_says_what_the_interval_shows(make_comparison, drift, words):
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 0.003, N_DATES)
    noise -= noise.mean()
    market = rng.normal(0.0, 0.02, (2, N_DATES))

    comparison = make_comparison({"squared": market, "aligned": market + noise + drift})

    assert words in comparison.verdict
    assert "\n" not in comparison.verdict


def test_without_aligned_the_first_two_objectives_are_compared(make_comparison, gross):
    comparison = make_comparison(
        {"momentum": gross["squared"], "reversal": gross["aligned"], "other": gross["whitened"]}
    )

    assert comparison.verdict.startswith("momentum - reversal: net")


def test_equal_books_have_no_interval_and_the_verdict_says_so(make_comparison, gross):
    comparison = make_comparison({"squared": gross["squared"], "aligned": gross["squared"]})

    assert "aligned - squared: net the same on every date: no difference" in comparison.verdict
    assert comparison.to_dict()["differences"][0]["interval"] == [None, None]


def test_a_small_difference_that_excludes_zero_never_shows_a_bound_of_zero(make_comparison):
    rng = np.random.default_rng(2)
    market = rng.normal(0.0, 0.02, (2, N_DATES))
    edge = rng.normal(0.0, 1e-6, N_DATES)
    edge += 2.6e-7 - edge.mean()

    comparison = make_comparison({"squared": market, "aligned": market + edge})

    assert comparison.headline[0].interval.excludes_zero
    assert "[0.00, " not in comparison.verdict
    assert "[0.0, " not in comparison.verdict


def test_a_ruined_seed_is_flagged_and_its_loss_counts_in_full(make_comparison, gross):
    comparison = make_comparison(gross, ruined_at={"misaligned": {1: 60}})
    summary = comparison.objectives["misaligned"]
    survivor = gross["misaligned"][0] - 0.0012
    lost = np.concatenate([gross["misaligned"][1, :60] - 0.0012, [-1.2], np.zeros(N_DATES - 61)])

    assert summary.ruined == ("seed 1",)
    assert "misaligned: 1 of 2 seeds ruined" in comparison.verdict
    assert summary.net == pytest.approx(52 * np.mean([survivor, lost]))
    assert summary.worst_drawdown < -1
    assert np.isfinite(comparison.table().to_numpy(dtype=float)).all()


def test_an_unknown_return_of_a_living_seed_is_an_error_that_names_it(make_comparison, make_result, gross):
    broken = make_result(gross["squared"])
    broken.net[1, 3] = np.nan

    with pytest.raises(SimulationError, match=r"squared, seed 'seed 1', 2001-01-26: net is nan"):
        _ = make_comparison({"aligned": gross["aligned"]}, results={"squared": broken}).objectives


def test_costs_that_do_not_add_up_are_an_error(make_comparison, make_result, gross):
    broken = make_result(gross["squared"])
    del broken.costs["borrow_fee"]

    with pytest.raises(SimulationError, match=r"squared, seed 'seed 0'.*misses net by 0.0002"):
        _ = make_comparison({"aligned": gross["aligned"]}, results={"squared": broken}).objectives


def test_objectives_on_different_dates_or_seeds_are_refused(make_comparison, make_result, gross):
    with pytest.raises(SettingsError, match="not simulated on the same dates: 4 differ, the first 2002-12-06"):
        make_comparison({"a": gross["squared"], "b": gross["aligned"][:, :100]})
    with pytest.raises(SettingsError, match="b has 1 seeds and a 2"):
        make_comparison({"a": gross["squared"], "b": gross["aligned"][:1]})


def test_names_without_a_result_and_no_results_are_refused(make_comparison, gross):
    with pytest.raises(SettingsError, match=r"information_coefficients names \['other'\]"):
        make_comparison(gross, information_coefficients={"other": (0.1, 2.0)})
    with pytest.raises(SettingsError, match="empty"):
        make_comparison({})


def test_the_document_is_strict_json_with_the_promised_keys(make_comparison, gross):
    settings = {
        "nan": np.nan,
        "array": np.arange(3),
        "date": pd.Timestamp("2020-01-01"),
        "nested": {"x": np.float64(0.5)},
    }
    comparison = make_comparison(
        {name: values[:1] for name, values in gross.items()},
        settings=settings,
        training={"aligned": [{"loss": np.inf}]},
    )

    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))

    assert {"verdict", "objectives", "differences", "settings"} <= set(document)
    assert {
        "gross",
        "costs",
        "net",
        "utility",
        "sharpe",
        "turnover",
        "leverage",
        "max_drawdown",
        "information_coefficient",
    } <= set(document["objectives"]["aligned"])
    assert {"a", "b", "mean", "interval", "level"} <= set(document["differences"][0])
    assert document["objectives"]["aligned"]["net_over_seeds"]["sd"] is None
    assert document["settings"] == {
        "nan": None,
        "array": [0, 1, 2],
        "date": "2020-01-01 00:00:00",
        "nested": {"x": 0.5},
    }
    assert document["training"] == {"aligned": [{"loss": None}]}


def test_table_has_a_row_an_objective_and_units_in_its_columns(make_comparison, gross):
    comparison = make_comparison(gross, expected={"aligned": {"regret": 0.01}})
    table = comparison.table()

    assert list(table.index) == list(gross)
    assert table.columns.is_unique
    assert table.loc["aligned", "net (% a year)"] == pytest.approx(100 * comparison.objectives["aligned"].net)
    assert table.loc["aligned", "regret (% a year)"] == pytest.approx(1.0)
    assert np.isnan(table.loc["squared", "regret (% a year)"])


def test_coefficients_by_seed_are_averaged(make_comparison, gross):
    comparison = make_comparison(
        gross, information_coefficients={"aligned": (np.array([0.01, 0.03]), np.array([1.0, 2.0]))}
    )

    assert comparison.objectives["aligned"].information_coefficient == pytest.approx(0.02)
    assert comparison.objectives["aligned"].information_coefficient_t == pytest.approx(1.5)
    assert np.isnan(comparison.objectives["squared"].information_coefficient)


def test_two_comparisons_of_the_same_results_are_the_same_document(make_comparison, gross):
    assert make_comparison(gross).to_dict() == make_comparison(gross).to_dict()


def test_one_objective_gives_its_numbers_and_compares_nothing(make_comparison, gross):
    comparison = make_comparison({"aligned": gross["aligned"]})

    assert comparison.verdict.startswith("aligned: net ")
    assert "a year after costs of" in comparison.verdict
    assert comparison.differences == ()


def test_every_pair_states_its_power_and_net_returns_at_equal_risk(make_comparison, gross):
    comparison = make_comparison(gross, seed=5)

    for d in comparison.differences:
        paired = comparison.paired(d.a, d.b, d.quantity).mean(axis=0)
        assert d.power == power_statement(paired, periods_per_year=52)
        assert (d.equal_risk is None) == (d.equal_risk_forward is None) == (d.quantity == "utility")
    first = comparison.differences[0]
    a, b = (comparison.series[name].net.mean(axis=0) for name in (first.a, first.b))
    for rescaled, factors in (
        (first.equal_risk, equal_risk(a, b)),
        (first.equal_risk_forward, equal_risk(a, b, warm_up=52)),
    ):
        expected = stationary_bootstrap_interval(factors.difference(a, b), seed=5, n_resamples=300)
        assert rescaled.interval.mean == pytest.approx(52 * expected.mean)
        assert rescaled.interval.low == pytest.approx(52 * expected.low)
    assert first.equal_risk.factor == pytest.approx(a.std() / b.std())
    assert first.equal_risk_forward.interval.n_periods == N_DATES - 53


def test_the_sharpe_difference_is_the_bootstrap_test_a_year(make_comparison, gross):
    comparison = make_comparison(gross, seed=5)
    difference = comparison.differences[0]

    a, b = (comparison.series[name].net.mean(axis=0) for name in (difference.a, difference.b))
    expected = sharpe_difference_bootstrap(a, b, seed=5, n_resamples=300)
    assert difference.sharpe.p_value == expected.p_value
    assert difference.sharpe.difference == pytest.approx(expected.difference * np.sqrt(52))
    assert difference.sharpe.standard_error == pytest.approx(expected.standard_error * np.sqrt(52))


def test_all_objectives_are_tested_against_squared_together(make_comparison, gross):
    comparison = make_comparison(gross, seed=5)

    others = [name for name in gross if name != "squared"]
    expected = superior_ability(
        np.stack([comparison.series[name].net.mean(axis=0) for name in others], axis=1),
        comparison.series["squared"].net.mean(axis=0),
        seed=5,
        names=others,
        n_resamples=300,
        benchmark_name="squared",
    )
    assert comparison.superior_ability == expected
    assert expected.best == "aligned"
    assert expected.n_variants == 3
    assert expected.sentence.startswith("aligned, the best of 3 variants, earned more than squared")


def test_without_squared_error_or_alone_there_is_no_such_test(make_comparison, gross):
    for names in (("aligned", "whitened"), ("squared",)):
        comparison = make_comparison({name: gross[name] for name in names})
        assert comparison.superior_ability is None
        assert comparison.to_dict()["superior_ability"] is None


def test_the_document_holds_every_statistic(make_comparison, gross):
    document = json.loads(json.dumps(make_comparison(gross).to_dict(), allow_nan=False))

    difference = document["differences"][0]
    assert {"periods_needed", "years_needed", "smallest_difference", "sentence"} <= set(difference["power"])
    assert {"factor", "warm_up", "mean", "interval", "reason"} <= set(difference["equal_risk"])
    assert difference["equal_risk"]["warm_up"] is None
    assert difference["equal_risk_forward"]["warm_up"] == 52
    assert difference["sharpe_difference"]["block"] >= 1
    assert document["superior_ability"]["benchmark"] == "squared"
    assert 0 < document["superior_ability"]["consistent"] <= 1
    summary = document["objectives"]["aligned"]
    assert summary["deflated_sharpe"] <= summary["probabilistic_sharpe"] <= 1


def test_no_difference_shown_says_how_long_it_would_need(make_comparison):
    rng = np.random.default_rng(3)
    market = rng.normal(0.0, 0.02, (2, N_DATES))
    noise = rng.normal(0.0, 0.003, N_DATES)

    comparison = make_comparison({"squared": market, "aligned": market + noise - noise.mean() + 1e-4})

    assert f"no difference shown ({comparison.headline[0].power.needed}) (mean of" in comparison.verdict
    assert "years to be told from luck" in comparison.verdict
    power, at_equal_risk = comparison.readings
    assert power == f"aligned - squared: {comparison.headline[0].power.could_show}"
    assert at_equal_risk.startswith("aligned - squared: with squared x ")
    assert "in hindsight" in at_equal_risk


def test_books_too_short_or_equal_give_reasons_in_place_of_numbers(make_comparison, gross):
    """A year of warm-up leaves nothing of 52 dates; 10 dates are too few for anything."""
    year, days = ({name: values[:, :n] for name, values in gross.items()} for n in (52, 10))

    forward = make_comparison(year).differences[0].equal_risk_forward
    short = make_comparison(days)

    assert "52 periods leave none after a warm-up of 52" in forward.interval.reason
    assert len(short.readings) == 1
    assert "no test of superior ability: whitened less squared: 10 periods are too few" in short.readings[0]
    document = json.loads(json.dumps(short.to_dict(), allow_nan=False))
    assert document["differences"][0]["power"]["years_needed"] is None
    assert "too few" in document["differences"][0]["equal_risk"]["reason"]


def test_blocks_longer_than_what_a_warm_up_leaves_are_cut_to_it(make_comparison, gross):
    forward = make_comparison(gross, block=60).differences[0].equal_risk_forward

    assert forward.interval.block == forward.interval.n_periods == N_DATES - 53


def test_pairs_are_the_differences_with_their_intervals_in_percent(make_comparison, gross):
    comparison = make_comparison(gross)

    pairs = comparison.pairs()

    for difference in comparison.differences:
        row = pairs.loc[(difference.quantity, f"{difference.a} - {difference.b}")]
        assert row["difference (% a year)"] == 100 * difference.interval.mean
        assert row["low (% a year)"] < row["difference (% a year)"] < row["high (% a year)"]
        assert row["shown"] == difference.interval.excludes_zero
        assert row["could show (% a year)"] == pytest.approx(
            100 * difference.power.to_dict()["smallest_difference"], rel=1e-12
        )
    assert len(pairs) == len(comparison.differences)
