"""`backtest data check` and `clean`: findings and exit codes, a panel with its log, files whole or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent / "market"))

from messy_twins import good, write

from backtest.cli import app
from backtest.errors import DataError
from backtest.market import read_bars, read_prices
from backtest.whole_files import whole_file, write_text


def _run(*arguments: object):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def right(tmp_path: Path) -> Path:
    return write(good("yahoo"), tmp_path / "right.csv", "yahoo")


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    table = good("yahoo")
    table.loc[:149, ["open", "high", "low", "close", "adjusted_close"]] *= 100
    table.loc[:149, "volume"] /= 50
    return write(table, tmp_path / "wrong.csv", "yahoo")


def test_a_good_file_has_no_findings_and_exit_code_0(right: Path) -> None:
    done = _run("check", right)

    assert done.exit_code == 0
    assert "right: 300 rows, 1 symbols, 2010-01-04 to 2011-02-25" in done.output
    assert "Nothing wrong was found." in done.output


def test_a_wrong_file_lists_its_findings_and_has_exit_code_1(wrong: Path) -> None:
    done = _run("check", wrong)
    document = json.loads(_run("check", wrong, "--json").stdout)

    assert done.exit_code == 1
    for part in ("units (safe)", "wrong.csv: line 2", "2010-01-04 to 2010-07-30", "150 rows are 100 times above"):
        assert part in done.output
    (found,) = document["findings"]
    assert (found["kind"], found["symbol"], found["rows"], found["safe"]) == ("units", "wrong", 150, True)
    assert found["values"]["factor"] == 0.01


def test_what_is_no_file_of_prices_is_an_error_with_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "error.csv"
    path.write_text('{"Error Message": "limit"}')
    for arguments in (
        ["check", path],
        ["check", tmp_path / "none.csv"],
        ["clean", path, "--out", tmp_path / "p.parquet"],
    ):
        done = _run(*arguments)
        assert done.exit_code == 2
        assert "Error: " in done.output
    assert not (tmp_path / "p.parquet").exists()


def test_cleaning_writes_a_panel_and_the_log_of_every_change(wrong: Path, right: Path, tmp_path: Path) -> None:
    out = tmp_path / "panel.parquet"
    done = _run("clean", wrong, "--repair", "safe", "--out", out)
    changes = pd.read_csv(tmp_path / "panel.changes.csv", dtype={"before": float, "after": float})

    assert done.exit_code == 0
    np.testing.assert_allclose(read_prices(out).returns[1:], read_prices(right).returns[1:], rtol=1e-9)
    assert len(changes) == 150 * 5
    assert set(changes["repair"]) == {"units"}
    assert changes.loc[0, ["symbol", "date", "file", "line", "column"]].tolist() == [
        *("wrong", "2010-01-04", "wrong.csv", 2, "open")
    ]
    original = read_bars(wrong).values("open")[:150]
    np.testing.assert_array_equal(changes.loc[changes["column"] == "open", "before"], original)


def test_nothing_is_repaired_that_is_not_named(wrong: Path, tmp_path: Path) -> None:
    out = tmp_path / "panel.parquet"
    done = _run("clean", wrong, "--out", out, "--json")
    document = json.loads(done.stdout)

    assert done.exit_code == 1
    assert document["changed"] == 0
    assert [found["kind"] for found in document["left"]] == ["units"]
    assert read_bars(out).table["close"].tolist() == read_bars(wrong).table["close"].tolist()


def test_mistakes_in_options_say_what_is_allowed(right: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["--repair", "all", "--out", tmp_path / "p.parquet"], "no repair is called 'all'"),
        (["--out", tmp_path / "p.csv"], "name a .parquet file"),
        (["--column", "close", "--out", tmp_path / "p.parquet"], "--column takes FIELD=LABEL"),
        (["--out", right / "p.parquet"], "right.csv"),
    ):
        done = _run("clean", right, *arguments)
        assert done.exit_code == 2
        assert message in done.output
    assert sorted(os.listdir(tmp_path)) == ["right.csv"]


def test_options_reach_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("when;last traded;Volume\n01/02/2020;100,5;1\n02/02/2020;101,5;1\n")
    options = ["--column", "date=when", "--column", "close=last traded", "--decimal", ",", "--date-format", "%d/%m/%Y"]
    done = _run("clean", path, *options, "--symbol", "ACME", "--price-scale", "0.01", "--out", tmp_path / "p.parquet")
    bars = read_bars(tmp_path / "p.parquet")

    assert done.exit_code == 0
    assert list(bars.symbols) == ["ACME"]
    np.testing.assert_allclose(bars.values("close"), [1.005, 1.015], rtol=1e-15)
    assert list(bars.dates) == [pd.Timestamp("2020-02-01"), pd.Timestamp("2020-02-02")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    """CASES 46."""
    path = tmp_path / "panel.parquet"
    path.write_bytes(b"good")

    def cut() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        cut()
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["panel.parquet"]


def test_a_panel_that_was_cut_short_names_the_file(right: Path, tmp_path: Path) -> None:
    """CASES 46."""
    path = tmp_path / "panel.parquet"
    bars = read_bars(right)
    bars.write(path)
    assert read_bars(path).table.equals(bars.table)
    whole = path.read_bytes()
    for share in (0.2, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"panel\.parquet: not a whole Parquet file .*write it again"):
            read_bars(path)


def test_a_whole_file_can_be_read_by_whoever_may_read_what_its_writer_makes(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "whole", "")

    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
