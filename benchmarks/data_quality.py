"""What the finders say about 504 stocks over 21 years, and what reading them costs.

    python benchmarks/data_quality.py [PATH of us_large_cap_daily_1999_2021.parquet]

Prints a table of findings by kind with the number for each 1,000 symbol-years, of which how many are known to be true,
and the time and peak memory of reading the file into a panel, in a process of its own. A finding is known to be true
where a look at the row, or a source outside the file, says so; see docs/data.md. All others count as false alarms.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from backtest.market import Bars, find_problems, panel_from_bars, read_bars, repair_bars, revert

DEFAULT = Path(__file__).resolve().parents[1] / "../shared/data/panels/us_large_cap_daily_1999_2021.parquet"
KNOWN = {
    ("splits", "ANTM", "2002-03-18"),  # a split of another company
    ("splits", "GNRC", "2010-02-12"),  # the reverse split before its first day
    ("splits", "SO", "2001-04-03"),  # recorded beside the spin-off of Mirant, which the dividend has
    ("splits", "TMUS", "2013-05-01"),  # one for two, which the adjusted close has
    ("splits", "TRMB", "2007-02-23"),
    ("splits", "ZBRA", "2003-08-21"),
    ("splits", "ZBRA", "2004-08-25"),
    ("splits", "ANTM", "2005-06-02"),  # two for one, not recorded
    ("splits", "WST", "2004-09-30"),  # two for one, not recorded
    ("dividends", "KSU", "2000-07-13"),  # one for two on the day of the spin-off of Stilwell
}
# nothing traded on these rows: the file itself says so
PLAIN = {"zero_volume", "stale"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--read-only", action="store_true", help="only read the panel, and print seconds and bytes")
    arguments = parser.parse_args()
    if not arguments.path.is_file():
        sys.exit(f"needs the 504-stock file, {arguments.path.name}: pass its path")
    if arguments.read_only:
        _read_panel(arguments.path)
        return
    _findings(arguments.path)
    command = [sys.executable, __file__, str(arguments.path), "--read-only"]
    seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    print(f"file to panel: {float(seconds):.1f} s, peak memory {float(peak):.2f} GB (targets: 20 s, 3 GB)")


def _read_panel(path: Path) -> None:
    start = time.perf_counter()
    panel_from_bars(read_bars(path))
    seconds = time.perf_counter() - start
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def _findings(path: Path) -> None:
    start = time.perf_counter()
    bars = read_bars(path)
    read = time.perf_counter()
    findings = find_problems(bars)
    found = time.perf_counter()
    cured, log = repair_bars(bars, "safe")
    repaired = time.perf_counter()
    same = revert(cured, log).table.equals(bars.table)
    firsts, lasts = bars.starts()[:-1], bars.starts()[1:] - 1
    years = float(np.sum((bars.dates[lasts] - bars.dates[firsts]).days) / 365.25)
    print(f"{len(bars.rows):,} rows, {len(bars.symbols)} symbols, {years:,.0f} symbol-years\n")
    print(f"{'kind':12} {'found':>6} {'safe':>5} {'known':>6} {'others':>7} {'others / 1,000 symbol-years':>28}")
    for kind in sorted({f.kind for f in findings}):
        mine = findings.of(kind)
        known = sum((f.kind, f.symbol, f"{f.first:%Y-%m-%d}") in KNOWN or f.kind in PLAIN for f in mine)
        others = len(mine) - known
        safe = sum(f.safe for f in mine)
        print(f"{kind:12} {len(mine):6} {safe:5} {known:6} {others:7} {others / years * 1000:28.2f}")
    missed = KNOWN - {(f.kind, f.symbol, f"{f.first:%Y-%m-%d}") for f in findings}
    print(f"\nknown and not found: {sorted(missed) or 'none'}")
    wrong = [f for f in findings if f.safe and (f.kind, f.symbol, f"{f.first:%Y-%m-%d}") not in KNOWN]
    print(f"safe repairs of what is not known to be wrong: {[str(f) for f in wrong] or 'none'}")
    left = [f for f in find_problems(cured) if f.safe]
    print(f"safe findings after the safe repairs: {len(left)}; undone to the last bit: {same}")
    print(f"read {read - start:.1f} s, find {found - read:.1f} s, repair {repaired - found:.1f} s")
    _closes_alone(bars)
    for finding in findings:
        if finding.kind not in PLAIN:
            print(f"  {finding.kind} {'(safe)' if finding.safe else ''} {finding}")


def _closes_alone(bars: Bars) -> None:
    """How far a file without splits and adjusted closes shows its splits: against those that this one records."""
    table = bars.table[["date", "symbol", "open", "high", "low", "close", "volume"]]
    found = find_problems(Bars(table, bars.rows, bars.origin, bars.name), ["splits"])
    wrong = {(symbol, date) for kind, symbol, date in KNOWN if kind == "splits"}
    large = bars.table[np.abs(np.log(bars.values("split"))) > 0.35]
    real = {(str(s), f"{d:%Y-%m-%d}") for s, d in zip(large["symbol"], large["date"], strict=True)} - wrong
    claimed = {(f.symbol, f"{f.first:%Y-%m-%d}") for f in found}
    shown = len(claimed & real)
    print(f"from closes alone: {shown} of {len(real)} splits suggested, and {len(claimed - real)} more:")
    print(f"  {sorted(claimed - real)}")


if __name__ == "__main__":
    main()
