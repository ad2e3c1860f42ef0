"""The paths of a run in one file: exact, whole or not there, and drawn run beside run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError
from backtest.report import write_report
from backtest.report.recorded_series import SERIES, read_series, series_of
from backtest.report.runs_page import Run, read_runs, runs_html


@pytest.fixture
def comparison(make_comparison):
    rng = np.random.default_rng(0)
    return make_comparison({name: rng.normal(0.003, 0.02, (3, 60)) for name in ("squared", "aligned")})


def test_what_is_written_is_read_with_the_same_bits(comparison, tmp_path):
    write_report(comparison, tmp_path)

    pd.testing.assert_frame_equal(read_series(tmp_path / SERIES), series_of(comparison), check_exact=True)


def test_the_paths_are_those_of_the_wealth_chart(comparison):
    frame = series_of(comparison).query("objective == 'aligned'")
    paths = comparison.series["aligned"].wealth

    assert frame["wealth"].tolist() == paths.mean(axis=0).tolist()
    assert frame["lowest"].tolist() == paths.min(axis=0).tolist()
    assert frame["wealth"].iloc[0] == 1
    assert np.isnan(frame["net"].iloc[0])
    assert frame["net"].iloc[1:].tolist() == comparison.series["aligned"].net.mean(axis=0).tolist()


def test_a_run_without_series_has_none(tmp_path):
    assert read_series(tmp_path / SERIES) is None


@pytest.mark.parametrize("cut", [True, False])
def test_a_file_that_is_no_series_is_refused_by_its_path(tmp_path, cut):
    path = tmp_path / SERIES
    pd.DataFrame({"date": [1], "objective": ["a"]}).to_parquet(path)
    if cut:
        path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(DataError, match=r"series\.parquet: (not a Parquet file|has no column wealth)"):
        read_series(path)


def test_runs_with_series_are_drawn_and_those_without_are_named(comparison, tmp_path):
    write_report(comparison, tmp_path / "first")
    write_report(comparison, tmp_path / "second")
    (tmp_path / "second" / SERIES).unlink()
    page = runs_html(read_runs([tmp_path / "first", tmp_path / "second"]))

    assert "second: has no series.parquet" in page
    for title in ("Wealth after costs: squared", "Paired differences in net return", "From gross to net"):
        assert f"<h2>{title}</h2>" in page


def test_runs_without_any_series_still_open(comparison):
    document = comparison.to_dict()
    page = runs_html([Run("a", document), Run("b", document)])

    assert "a, b: has no series.parquet" in page
    assert "Wealth after costs" not in page
    assert "Paired differences" in page
