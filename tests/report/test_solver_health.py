"""What the page says of the solver: counts, residuals and steps of every decision, and times that stand apart."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from backtest.report.page import page_html, without_clock
from backtest.report.solver_health import health_html, iterations_figure, residuals_figure, times_html
from backtest.simulation.decision_times import DecisionTimes
from backtest.solver import Status


@pytest.fixture
def comparison(make_comparison):
    """Two objectives, 2 books and 50 dates each; the first book of the second has what goes wrong."""
    rng = np.random.default_rng(0)
    made = make_comparison({name: rng.normal(0.003, 0.02, (2, 50)) for name in ("squared", "aligned")})
    odd = made.results["aligned"]
    odd.solve_statuses[0, :3] = [Status.FAILED, Status.INACCURATE, Status.INFEASIBLE]
    odd.solve_residuals[0, :3] = [0.5, 1e-7, np.inf]
    odd.solve_iterations[0, :4] = [100, 30, 7, 9]
    return made


def numbers_of(html: str) -> dict[str, list[str]]:
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    return {label: re.findall(r'data-value="(.*?)"', cells) for label, cells in rows}


def test_every_status_is_counted_and_they_add_up_to_the_decisions(comparison):
    rows = numbers_of(health_html(comparison))
    counts = {status: rows[status.name.lower().replace("_", " ")] for status in Status}

    assert rows["decisions"] == ["100.0", "100.0"]
    assert [float(count) for count in counts[Status.SOLVED]] == [100, 97]
    assert [counts[status][1] for status in (Status.INACCURATE, Status.INFEASIBLE, Status.FAILED)] == ["1.0"] * 3
    for column in (0, 1):
        assert sum(float(each[column]) for each in counts.values()) == 100


def test_residuals_and_steps_are_those_of_decisions_with_a_solution(comparison):
    rows = numbers_of(health_html(comparison))
    solved = np.r_[1e-7, np.full(97, 1e-14)]

    assert rows["residual, worst"] == ["1e-14", "1e-07"]
    assert float(rows["residual, 99th percentile"][1]) == pytest.approx(np.quantile(solved, 0.99))
    assert rows["iterations, most"] == ["5.0", "30.0"]


def test_the_charts_count_every_decision_once(comparison):
    for figure in (residuals_figure(comparison), iterations_figure(comparison)):
        for bars in figure.data:
            assert sum(bars.y) == pytest.approx(100, abs=0.01)
    assert list(iterations_figure(comparison).data[0].x)[-1] == "≥15"
    assert next(iter(residuals_figure(comparison).data[0].x)) == "10⁻¹⁴"


def test_a_book_decided_by_rules_is_called_so(comparison):
    for result in comparison.results.values():
        result.solve_statuses[:] = -1

    page = page_html(comparison)

    assert "No solver was asked" in page
    assert 'data-chart="residuals"' not in page


def test_times_are_of_calls_and_said_to_be_of_all_books(comparison):
    times = DecisionTimes(4, np.r_[np.nan, np.full(49, 2e-3)])
    for result in comparison.results.values():
        result.times = times

    html = times_html(comparison)
    rows = numbers_of(html)

    assert "all objectives" in html
    assert rows["books decided in one call"] == ["4.0"]
    assert rows["calls"] == ["49.0"]
    assert float(rows["median call divided by its books, ms"][0]) == pytest.approx(0.5)


def test_a_loaded_result_has_no_times(comparison):
    for result in comparison.results.values():
        result.times = None

    assert "Not known" in times_html(comparison)


def test_pages_of_two_runs_differ_in_the_times_alone(comparison):
    first = page_html(comparison)
    for result in comparison.results.values():
        result.times = replace(result.times, seconds=result.times.seconds * 3)
    again = page_html(comparison)

    assert first != again
    assert without_clock(first) == without_clock(again)
