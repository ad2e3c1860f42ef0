"""Sessions of an exchange against the rows of a panel."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError, LabelError, SettingsError
from backtest.market import MarketPanel, load_dataset, read_prices, to_frequency
from backtest.market.exchange_sessions import missing_sessions, suggest_calendar

pytest.importorskip("exchange_calendars", reason="needs the package exchange_calendars")


def panel_on(dates, prices=None, **more) -> MarketPanel:
    dates = pd.DatetimeIndex(dates)
    prices = np.full((len(dates), 3), 10.0) if prices is None else prices
    return MarketPanel.from_prices(
        pd.DataFrame(prices, dates, ["A", "B", "C"]), periods_per_year=252, name="made", **more
    )


HOLIDAYS = ["2020-01-01", "2020-01-20", "2020-02-17", "2020-04-10"]
NEW_YORK = pd.bdate_range("2020-01-01", "2020-04-30").difference(pd.DatetimeIndex(HOLIDAYS))


def test_a_panel_on_every_session_has_nothing_to_report():
    report = missing_sessions(panel_on(NEW_YORK), "XNYS")

    assert report.sessions == len(NEW_YORK)
    assert [len(report.missing_rows), len(report.extra_rows), len(report.gaps), len(report.extra_prices)] == [0] * 4


def test_missing_rows_extra_rows_and_gaps_of_names_are_told_apart_with_symbol_and_dates():
    lost, extra = pd.Timestamp("2020-03-04"), pd.Timestamp("2020-02-17")
    dates = NEW_YORK.drop(lost).append(pd.DatetimeIndex([extra])).sort_values()
    prices = np.full((len(dates), 3), 10.0)
    prices[:5, 0] = np.nan  # lists late: no gap
    prices[-5:, 1] = np.nan  # ends early: no gap
    where = dates.get_indexer(pd.DatetimeIndex(["2020-03-02", "2020-03-03", "2020-03-05", "2020-04-01"]))
    prices[where, 2] = np.nan
    prices[dates.get_loc(extra), :2] = np.nan

    report = missing_sessions(panel_on(dates, prices), "XNYS")

    assert list(report.missing_rows) == [lost]
    assert list(report.extra_rows) == [extra]
    assert report.gaps.values.tolist() == [
        ["C", pd.Timestamp("2020-03-02"), pd.Timestamp("2020-03-05"), 3],
        ["C", pd.Timestamp("2020-04-01"), pd.Timestamp("2020-04-01"), 1],
    ]
    assert report.extra_prices.values.tolist() == [[extra, 1, "C"]]
    assert "C: 3 from 2020-03-02 to 2020-03-05" in str(report)
    assert "1 sessions are no row: 2020-03-04" in str(report)


def test_the_calendar_of_a_panel_is_found_and_those_out_of_reach_stand_last():
    table = suggest_calendar(panel_on(NEW_YORK), ["XLON", "24/7", "XNYS", "XTKS"])

    assert table["calendar"].tolist() == ["XNYS", "XLON", "XTKS", "24/7"]
    assert table.loc[0, ["agreement", "missing", "extra"]].tolist() == [1.0, 0.0, 0.0]
    early = suggest_calendar(panel_on(pd.bdate_range("1975-01-01", "1976-12-31")), ["XTKS", "XNYS"])
    assert early["calendar"].tolist() == ["XNYS", "XTKS"]
    assert np.isnan(early["agreement"][1])


def test_the_bundled_stocks_trade_on_every_session_of_new_york():
    report = missing_sessions(load_dataset("sp500-20"), "XNYS")

    assert (report.sessions, len(report.extra_rows), len(report.gaps)) == (8313, 0, 0)
    assert list(report.missing_rows) == []


@pytest.mark.slow
def test_the_504_stocks_miss_27_single_sessions_of_five_names(shared_data):
    report = missing_sessions(read_prices(shared_data("panels/us_large_cap_daily_1999_2021.parquet")), "XNYS")

    assert (len(report.missing_rows), len(report.extra_rows)) == (0, 0)
    assert report.gaps["symbol"].value_counts().to_dict() == {"WELL": 12, "SPGI": 6, "VIAC": 5, "KIM": 3, "RHI": 1}
    assert set(report.gaps["sessions"]) == {1}


def test_unknown_calendars_coarse_panels_and_dates_out_of_reach_are_refused():
    panel = panel_on(NEW_YORK)

    with pytest.raises(SettingsError, match="no calendar is called 'XNEW': give a code as XNYS"):
        missing_sessions(panel, "XNEW")
    with pytest.raises(DataError, match="made: 52 periods a year: sessions are days"):
        missing_sessions(to_frequency(panel, "W"), "XNYS")
    with pytest.raises(DataError, match="calendar XTKS does not reach from 1975-01-01 to 1976"):
        missing_sessions(panel_on(pd.bdate_range("1975-01-01", "1976-12-31")), "XTKS")
    with pytest.raises(LabelError, match="row 0 is at 2020-01-02 16:00:00, not at midnight"):
        missing_sessions(panel_on(NEW_YORK + pd.Timedelta(hours=16)), "XNYS")


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)

    with pytest.raises(SettingsError, match="pip install exchange_calendars"):
        missing_sessions(panel_on(NEW_YORK), "XNYS")
