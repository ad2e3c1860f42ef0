"""A folder larger than memory, by column and date: peak memory and time of `scan_folder` on files made here.

    python benchmarks/scan.py --gigabytes 10 --kind parquet      # one file a symbol, 12 columns, 20 years daily

Prints a row for each request: all dates of one column, two columns of one year, and three symbols. Each runs in a
process of its own, whose peak resident memory is what the system counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = (
    "open",
    "high",
    "low",
    "close",
    "adjusted_close",
    "volume",
    "dividend",
    "split",
    "vwap",
    "bid",
    "ask",
    "trades",
)
REQUESTS = {
    "one column, all dates": {"columns": {"prices": "adjusted_close"}},
    "three columns, one year": {
        "columns": {"prices": "adjusted_close", "dollar_volume": ("close", "volume")},
        "start": "2010-01-01",
        "end": "2010-12-31",
    },
    "three symbols, all dates": {"columns": {"prices": "adjusted_close"}, "symbols": ["S00001", "S00002", "S00003"]},
}
ROWS = 5040


def write_folder(folder: Path, *, kind: str, gigabytes: float) -> tuple[int, float]:
    """Write files until the folder has the size; return how many, and gigabytes."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2001-01-01", periods=ROWS)
    size, count = 0, 0
    while size < gigabytes * 1e9:
        count += 1
        close = np.round(50 * np.exp(np.cumsum(rng.normal(0, 0.02, ROWS))), 4)
        frame = pd.DataFrame(close[:, None] * np.exp(rng.normal(0, 0.01, (ROWS, len(COLUMNS)))), columns=list(COLUMNS))
        if kind == "csv":
            frame = frame.round(4)
        frame.insert(0, "date", dates)
        path = folder / f"S{count:05d}.{kind}"
        if kind == "parquet":
            frame.to_parquet(path, index=False, row_group_size=1260)  # five years
        else:
            frame.to_csv(path, index=False)
        size += path.stat().st_size
    return count, size / 1e9


def measure(folder: str, request: str) -> None:
    """Run one request and print what it took."""
    from backtest.market.scanning import scan_folder

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    panel = scan_folder(folder, **REQUESTS[request], periods_per_year=252)
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    tables = [panel.returns, panel.prices, panel.dollar_volume, panel.tradable]
    held = sum(table.nbytes for table in tables if table is not None) / 2**30
    print(json.dumps({"shape": panel.returns.shape, "s": took, "before": before, "peak": peak, "panel": held}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the folder")
    parser.add_argument("--kind", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--folder", help="where the files are, or go; a temporary one unless given")
    parser.add_argument("--measure", choices=list(REQUESTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.folder, options.measure)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(options.folder or place)
        folder.mkdir(parents=True, exist_ok=True)
        count, size = write_folder(folder, kind=options.kind, gigabytes=options.gigabytes)
        print(f"{count} files of {options.kind}, {size:.2f} GB, {ROWS} rows of {len(COLUMNS)} columns each")
        print(f"{'request':28}{'panel':>14}{'seconds':>9}{'peak GB':>9}{'of it library':>15}{'panel GB':>10}")
        for request in REQUESTS:
            command = [sys.executable, __file__, "--folder", str(folder), "--measure", request]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            shape = " x ".join(map(str, found["shape"]))
            print(
                f"{request:28}{shape:>14}{found['s']:9.1f}{found['peak']:9.2f}{found['before']:15.2f}{found['panel']:10.2f}"
            )


if __name__ == "__main__":
    main()
