"""Real files as users have them: each is found and cured, equal to its right twin; the good one stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError, LabelError
from backtest.market import find_problems, panel_from_bars, read_bars, read_prices, repair_bars, revert

PAIRS = [
    ("4063-T-1d-bad-stock-split", "splits"),
    ("8TRA-DE-1d-missing-div-adjust", "dividends"),
    ("AET-L-1d-100x-error", "units"),
    ("AV-L-1wk-bad-stock-split", "splits"),
    ("SPM-MI-1d-bad-stock-split", "splits"),
]


@pytest.mark.parametrize(("name", "repair"), PAIRS)
@pytest.mark.parametrize("asked", ["named", "safe"])
def test_a_wrong_file_is_found_and_equals_its_right_twin_after_the_repair(shared_data, name, repair, asked) -> None:
    """All columns that the twin has right, on its dates; nothing of that kind is found afterwards."""
    bars = read_bars(shared_data(f"messy/yahoo/{name}.csv"), symbol="X")
    twin = read_bars(shared_data(f"messy/yahoo/{name}-fixed.csv"), symbol="X")
    found = find_problems(bars, [repair])

    if asked == "safe" and name.startswith("SPM"):
        # its price also halved on that day: a person decides
        assert not any(f.safe for f in found)
        assert len(repair_bars(bars, "safe")[1]) == 0
        return
    cured, log = repair_bars(bars, repair if asked == "named" else "safe")

    assert len(found) >= 1
    assert all(f.symbol == "X" and f.cure and name in f.where for f in found)
    assert list(cured.dates) == list(twin.dates)
    for field in twin.fields:
        np.testing.assert_allclose(cured.values(field), twin.values(field), rtol=1e-6, err_msg=field)
    np.testing.assert_allclose(cured.values("adjusted_close"), twin.values("adjusted_close"), rtol=1e-6, atol=1e-6)
    assert not find_problems(cured, [repair])
    assert revert(cured, log).table.equals(bars.table)
    assert {change.finding.kind for change in log} == {repair}


@pytest.mark.parametrize(("name", "repair"), PAIRS)
def test_a_right_twin_needs_no_repair(shared_data, name, repair) -> None:
    twin = read_bars(shared_data(f"messy/yahoo/{name}-fixed.csv"))

    assert [f for f in find_problems(twin) if f.safe or f.kind == repair] == []
    assert len(repair_bars(twin, "safe")[1]) == 0


def test_the_clean_control_is_unchanged(shared_data) -> None:
    bars = read_bars(shared_data("messy/yahoo/EWG-1d-no-bad-divs.csv"))

    assert len(find_problems(bars)) == 0
    cured, log = repair_bars(bars, ["safe", "splits", "units", "dividends", "stale", "frequency"])
    assert len(log) == 0
    assert cured.table.equals(bars.table)


def test_washington_mutual_and_waste_management_are_two_securities(shared_data) -> None:
    """Lean's file has prices in 1/10,000 dollar and no header; CASES 43."""
    path = shared_data("messy/lean/wm.zip")
    with pytest.raises(DataError, match=r"wm\.zip: wm\.csv: line 1: .*price_scale=1e-4"):
        read_bars(path)
    bars = read_bars(path, price_scale=1e-4)
    (reuse,) = find_problems(bars, ["reuse"])
    cured, log = repair_bars(bars, ["reuse"])
    panel = panel_from_bars(cured, periods_per_year=252)

    assert (reuse.symbol, str(reuse.last.date()), reuse.values["gap_days"]) == ("wm", "2008-09-26", 313)
    assert list(panel.assets) == ["wm.until-2008-09-26", "wm"]
    mutual, waste = panel.prices.T
    assert np.isfinite(mutual).sum() == 2465
    assert mutual[panel.row("2008-09-26")] == pytest.approx(0.16)
    assert waste[panel.row("2009-08-05")] == pytest.approx(28.58)
    assert np.isnan(panel.returns[panel.row("2009-08-05"), 1])
    assert revert(cured, log).table.equals(bars.table)


def test_washington_mutuals_real_split_is_suggested_and_never_made_unasked(shared_data) -> None:
    """Three for two on 2001-05-16, in a file without splits."""
    bars = read_bars(shared_data("messy/lean/wm.zip"), price_scale=1e-4)
    (split,) = find_problems(bars, ["splits"])

    assert (str(split.first.date()), split.values["split"], split.safe) == ("2001-05-16", pytest.approx(1.5), False)
    assert len(repair_bars(bars, "safe")[1]) == 0


def test_trimbles_bad_split_day_is_cured_and_other_splits_stay(shared_data) -> None:
    bars = read_bars(shared_data("messy/alphavantage/TRMB.csv"))
    (found,) = [f for f in find_problems(bars) if f.safe]
    cured, _ = repair_bars(bars, "safe")
    panel = panel_from_bars(cured)
    raw = panel_from_bars(cured, prices="raw")

    assert (found.kind, str(found.first.date())) == ("splits", "2007-02-23")
    row = panel.row("2007-02-23")
    np.testing.assert_allclose(panel.returns[row : row + 2, 0], [0.0, 2 * 27.62 / 56.09 - 1], atol=1e-6)
    np.testing.assert_allclose(raw.returns[1:], panel.returns[1:], atol=2e-6)
    changed = cured.values("adjusted_close") != bars.values("adjusted_close")
    assert changed.sum() == 1


def test_apples_splits_and_dividends_agree_with_its_adjusted_close(shared_data) -> None:
    """Raw closes, splits of 2, 2, 7 and 4: the two ways to total returns give the same."""
    path = shared_data("messy/alphavantage/AAPL.csv")

    assert len(find_problems(read_bars(path))) == 0
    adjusted, raw = read_prices(path), read_prices(path, prices="raw")
    np.testing.assert_allclose(raw.returns[1:], adjusted.returns[1:], atol=2e-6)


def test_old_dominions_days_without_trade_are_missing_on_request(shared_data) -> None:
    bars = read_bars(shared_data("messy/alphavantage/ODFL.csv"))
    (found,) = find_problems(bars)
    panel = panel_from_bars(repair_bars(bars, "zero_volume")[0])

    assert (found.kind, found.n_rows, found.safe) == ("zero_volume", 68, False)
    assert (~panel.tradable).sum() == 68


@pytest.mark.parametrize(
    ("name", "rows", "last", "volume"),
    [("Avaya", 1311, ("2023-03-10", 0.01), np.nan), ("NYSE_Euronext", 1082, ("2013-11-12", 45.29), 10.8e6)],
)
def test_delisted_files_are_read_as_they_are(shared_data, name, rows, last, volume) -> None:
    """Byte-order mark, MM/DD/YYYY, newest first, "10.80M"; CASES 39 and 40."""
    bars = read_bars(shared_data(f"messy/delisted/{name}_Stock_Price_History.csv"), symbol=name)

    assert len(bars.rows) == rows
    assert bars.dates.is_monotonic_increasing
    assert (str(bars.dates[-1].date()), bars.values("close")[-1]) == last
    np.testing.assert_equal(bars.values("volume")[-1], volume)
    assert bars.place(rows - 1) == "line 2"
    assert not [f for f in find_problems(bars) if f.safe]
    assert read_prices(shared_data(f"messy/delisted/{name}_Stock_Price_History.csv")).n_periods == rows


def test_traps_are_refused_with_a_cure(shared_data) -> None:
    with pytest.raises(DataError, match=r"Error Message.*download it again"):
        read_bars(shared_data("messy/traps/api_error_saved_as_csv.csv"))
    returns = shared_data("messy/traps/returns_labelled_prices_nasdaq100.csv")
    with pytest.raises(DataError, match=r"these are returns.*kind='returns'"):
        read_bars(returns)
    with pytest.raises(LabelError, match="'NASDAQ100': line 2: 'T1' is not a date"):
        read_bars(returns, kind="returns")


EXTREMES = [("AIG", "2008-09-15"), ("HIG", "2008-12-05"), ("MS", "2008-10-13"), ("REGN", "2003-03-31")]
WRONG = [
    ("ANTM", "2002-03-18", 2.5e-2),
    ("ZBRA", "2003-08-21", 4e-2),
    ("ZBRA", "2004-08-25", 4e-2),
    ("KSU", "2000-07-13", 4e-2),
    ("GNRC", "2010-02-12", 5e-2),
    ("TRMB", "2007-02-23", 1e-9),
]


def _securities(path: Path, symbols: list[str]):
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, filters=[("symbol", "in", symbols)]).to_pandas()
    return read_bars(table.astype({"symbol": str}), name="panel")


def test_the_large_panels_wrong_rows_are_found_and_its_extremes_are_not(shared_data) -> None:
    """The six that its README names, each cured to an ordinary day; of the extremes nothing is said."""
    path = shared_data("panels/us_large_cap_daily_1999_2021.parquet")
    symbols = sorted({s for s, *_ in WRONG} | {s for s, _ in EXTREMES} | {"AAPL", "JCI", "GE"})
    bars = _securities(path, symbols)
    found = find_problems(bars)
    cured, log = repair_bars(bars, "safe")
    panel = panel_from_bars(cured)

    assert {(f.symbol, str(f.first.date())) for f in found if f.safe} == {(s, d) for s, d, _ in WRONG}
    for symbol, date, size in WRONG:
        assert abs(panel.returns[panel.row(date), panel.assets.get_loc(symbol)]) <= size, symbol
    touched = {change.finding.symbol for change in log}
    assert touched.isdisjoint(s for s, _ in EXTREMES)
    for symbol, date in EXTREMES:
        assert not [f for f in found if f.symbol == symbol and f.first <= pd.Timestamp(date) <= f.last]
    assert revert(cured, log).table.equals(bars.table)


def test_extremes_stay_where_a_file_has_a_close_alone(shared_data) -> None:
    """Without splits and an adjusted close to compare with, the day of REGN opens at half the price."""
    bars = _securities(shared_data("panels/us_large_cap_daily_1999_2021.parquet"), [s for s, _ in EXTREMES])
    table = bars.table[["date", "symbol", "open", "high", "low", "close", "volume"]].astype({"symbol": str})
    found = find_problems(read_bars(table, name="closes"), ["splits", "units", "reuse"])

    for symbol, date in EXTREMES:
        assert not [f for f in found if f.symbol == symbol and f.first == pd.Timestamp(date)]
