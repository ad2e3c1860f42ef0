"""Whatever the bytes or the frame: bars, or one of our errors that names the file."""

from __future__ import annotations

import logging
import string
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from backtest.errors import BacktestError
from backtest.market import find_problems, read_bars, read_prices, repair_bars, revert

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    # shrinking a failure of this many parts takes minutes; the failing example is printed as it is
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
ODD_CELLS = [
    *("", "1", "-1", "1.5", "1e400", "inf", "nan", "NA", "13.88M", "-1.09%", "1,234.5", "2020-01-02", "01/02/2020"),
    *("20200102", "2020-01-02 00:00:00+01:00", "TRUE", "9999-99-99", "0001-01-01", "AAA", "\x00", "\ufeff", '"', "é"),
]
ODD_CELLS = [
    *("", "1", "-1", "1.5", "1e400", "inf", "nan", "NA", "13.88M", "-1.09%", "1,234.5", "2020-01-02", "01/02/2020"),
    *("20200102", "2020-01-02 00:00:00+01:00", "TRUE", "9999-99-99", "0001-01-01", "AAA", "\x00", "\ufeff", '"', "é"),
]
CELLS = st.one_of(
    st.sampled_from(ODD_CELLS),
    st.text(max_size=6),
    st.floats().map(str),
)
HEADERS = st.sampled_from(
    ["Date", "date", "", "symbol", "Close", "Adj Close", "Volume", "Stock Splits", "Dividends", "A", "B", "Time"]
)


@pytest.fixture(autouse=True)
def quiet():
    """The logger says a line for each of thousands of files otherwise."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _read(source: object, name: str) -> None:
    """Read, find, repair and undo; or refuse with the file's name."""
    named = {} if isinstance(source, Path) else {"name": name}
    message = name
    try:
        bars = read_bars(source, **named)
        findings = find_problems(bars)
        cured, log = repair_bars(bars, ["safe", *{f.kind for f in findings}])
        undone = revert(cured, log)
        read_prices(source, **named)
    except BacktestError as error:
        message = str(error)
    else:
        assert undone.table.equals(bars.table)

    assert name in message
    assert len(message) < 2000


@SETTINGS
@given(content=st.binary(max_size=300), ending=st.sampled_from(["csv", "txt", "csv.gz", "parquet", "feather", "zip"]))
@example(content=b"PAR1", ending="parquet")
@example(content=b"PK\x03\x04", ending="zip")
@example(content=b"ARROW1\x00\x00", ending="feather")
@example(content=b"\x1f\x8b", ending="csv.gz")
@example(content=b"Date,A\r2020-01-02,1\r2020-01-03,2\r", ending="csv")
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"fuzz.{ending}"
    path.write_bytes(content)

    _read(path, path.name)


@SETTINGS
@given(
    header=st.lists(HEADERS, min_size=1, max_size=5),
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=6),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_any_table_of_text_is_read_or_refused(
    tmp_path: Path, header: list[str], rows: list[list[str]], delimiter: str
) -> None:
    path = tmp_path / "fuzz.csv"
    lines = [header, *rows]
    path.write_bytes("\n".join(delimiter.join(line) for line in lines).encode("utf-8", errors="surrogatepass"))

    _read(path, path.name)


@SETTINGS
@given(
    data=st.dictionaries(
        st.one_of(HEADERS, st.text(string.ascii_letters, min_size=1, max_size=3), st.integers(0, 2)),
        st.lists(
            st.one_of(
                st.none(), st.booleans(), st.integers(-3, 10**12), st.floats(), CELLS, st.datetimes().map(pd.Timestamp)
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_frame_is_read_or_refused(data: dict) -> None:
    _read(pd.DataFrame(data), "fuzz frame")


@SETTINGS
@given(
    values=st.lists(
        st.tuples(
            st.sampled_from(["A", "B"]),
            st.dates(min_value=pd.Timestamp("2000-01-01").date(), max_value=pd.Timestamp("2003-01-01").date()),
            *[st.one_of(st.floats(1e-3, 1e6), st.floats(), st.sampled_from([1.0, 100.0, 10_000.0]))] * 3,
            st.sampled_from([0.0, 1.0, 2.0, 0.1, -1.0, float("nan"), float("inf")]),
            st.sampled_from([0.0, 0.5, 100.0, float("nan"), -2.0]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_numbers_are_checked_and_repairs_can_be_undone(values: list[tuple]) -> None:
    """Every repair at once, on prices, splits and dividends of any value."""
    columns = ["symbol", "date", "close", "adjusted_close", "volume", "split", "dividend"]
    frame = pd.DataFrame(values, columns=columns)
    frame["date"] = pd.to_datetime(frame["date"])

    _read(frame, "fuzz frame")
