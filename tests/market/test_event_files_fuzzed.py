"""Whatever the bytes of a small table or of a folder are: read, or refused by one of our errors that names the file."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backtest.errors import BacktestError
from backtest.market import read_delistings, read_membership, scan_folder, scan_rows

DATES = ["2020-01-02", "20200103", "2020-13-01", "01/02/2020"]
CELLS = st.sampled_from(["AAA", "NA", *DATES, "-0.3", "1e400", "nan", "", " ", '"', "x", "-30%"])
HEADERS = st.sampled_from(
    ["ticker,start_date,end_date", "symbol,date,return,reason", "date,close", "date,symbol,close", "<DATE>;<CLOSE>", ""]
)
LINES = st.builds(
    lambda header, rows, end: (end.join([header, *(",".join(row) for row in rows)])).encode(),
    HEADERS,
    st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
FILES = st.one_of(LINES, st.binary(max_size=80), st.builds(lambda a, b: a + b, LINES, st.binary(max_size=5)))

READERS = {
    "members": lambda path: read_membership(path, end_is_member=False),
    "delistings": read_delistings,
    "folder": lambda path: scan_folder(path.parent, columns={"prices": "close"}, periods_per_year=252),
}


@pytest.mark.parametrize("reader", list(READERS))
@settings(max_examples=100)
@given(content=FILES)
@example(content=b"date,close\n2020-01-02,\x00\n")
@example(content=b'ticker,start_date,end_date\n"A,2020-01-02,\n')
@example(content=b"\xff\xfed\x00a\x00")
def test_only_our_errors_come_and_they_name_the_file(reader, content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "odd.csv"
    path.write_bytes(content)

    message = "odd.csv"
    try:
        READERS[reader](path)
    except BacktestError as error:
        message = str(error)

    assert "odd" in message or folder.name in message


def test_damaged_parquet_files_are_refused_by_one_of_our_errors_or_read(tmp_path):
    """Bytes changed and files cut, four hundred times; among them names that are no text and dates beyond all years."""
    file = tmp_path / "odd.parquet"
    frame = pd.DataFrame({"date": pd.bdate_range("2020", periods=50), "close": np.arange(50) + 1.0})
    frame.to_parquet(file, index=False)
    good = file.read_bytes()
    rng = np.random.default_rng(0)
    read = 0
    for number in range(400):
        damaged = bytearray(good)
        for place in rng.integers(len(good), size=3):
            damaged[place] = rng.integers(256)
        file.write_bytes(damaged[: rng.integers(1, len(good))] if number % 3 == 0 else damaged)
        with contextlib.suppress(BacktestError):
            read += len(list(scan_rows(tmp_path, columns={"price": "close"}, start="2020-01-05", end="2021-01-01")))

    assert 0 < read < 200
