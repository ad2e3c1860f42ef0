"""Small generated twins of the files that users have: a good table, and the same with one fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from backtest.market import Bars, read_bars

COLUMNS = {
    "alpha_vantage": [
        "timestamp",
        "open",
        "high",
        "low",
        "close",
        "adjusted_close",
        "volume",
        "dividend_amount",
        "split_coefficient",
    ],
    "yahoo": ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits"],
}
NAMES = ["date", "open", "high", "low", "close", "adjusted_close", "volume", "dividend", "split"]


def good(style: str, *, rows: int = 300, seed: int = 0, deviation: float = 0.02) -> pd.DataFrame:
    """One security, adjusted as that source does.

    A split of 4 at row 100 and dividends at rows 50, 150 and 250 of 300, or as far along in others.
    """
    rng = np.random.default_rng(seed)
    value = 40 * np.exp(np.cumsum(rng.normal(0, deviation, rows)))
    split, dividend = np.ones(rows), np.zeros(rows)
    split[rows // 3] = 4.0
    dividend[[rows // 6, rows // 2, 5 * rows // 6]] = 0.3
    after = np.cumprod(split[::-1])[::-1] / split  # shares of the end for one share of the row
    raw = style == "alpha_vantage"
    close = value * after if raw else value
    for k in np.flatnonzero(dividend):
        close[k:] -= 0.3 * (after[k:] if raw else 1)
    dividend = dividend * after if raw else dividend
    steps = split * (1 + dividend / close) if raw else 1 / (1 - dividend / np.r_[close[0], close[:-1]])
    factor = np.cumprod(steps[::-1])[::-1] / steps
    wide = 1 + np.abs(rng.normal(0, deviation / 3, rows))
    opened = close * np.exp(rng.normal(0, deviation / 5, rows))
    table = {
        "date": pd.bdate_range("2010-01-04", periods=rows),
        "open": opened,
        "high": np.maximum(opened, close) * wide,
        "low": np.minimum(opened, close) / wide,
        "close": close,
        "adjusted_close": close / factor,
        "volume": np.round(np.exp(rng.normal(13, 0.3, rows)) / (after if raw else 1)),
        "dividend": dividend,
        "split": split if raw else np.where(split == 1, 0, split),
    }
    return pd.DataFrame(table)


def several(style: str, *, symbols: int = 4, rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Several such securities in one long table."""
    parts = [good(style, rows=rows, seed=seed + k).assign(symbol=f"S{k}") for k in range(symbols)]
    return pd.concat(parts, ignore_index=True)


def write(table: pd.DataFrame, path: Path, style: str = "alpha_vantage") -> Path:
    """As that source names its columns; text files."""
    table.rename(columns=dict(zip(NAMES, COLUMNS[style], strict=True))).to_csv(path, index=False)
    return path


def bars_of(table: pd.DataFrame) -> Bars:
    """Read as a frame."""
    return read_bars(table, name="twin")
