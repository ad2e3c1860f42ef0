"""The data of Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", read as the paper reads it.

There row t holds the return of the period that *begins* with the trade of row t, and a trade of row t pays for the
volume and volatility of row t. A panel's row ends a period. So a panel made here has the dates of the tables as dates
of fills, and each return one row later: what fills at the close of `dates[t]` earns row t of the table, at the cash
rate, volume and volatility of row t.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from backtest.market import MarketPanel

__all__ = ["CASH", "DATA", "dated_by_trade", "read_table"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "paper_2017"
CASH = "USDOLLAR"
"""The column of returns.csv.gz that is no stock."""


def read_table(name: str) -> pd.DataFrame:
    """Return a table of dates by names.

    Raises:
        FileNotFoundError: the data, which may not be passed on, is not beside the project.
    """
    path = DATA / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: this result needs the data of the paper beside the project")
    return pd.read_csv(path, index_col=0, parse_dates=[0])


def dated_by_trade(
    returns: pd.DataFrame,
    cash: pd.Series,
    *,
    name: str,
    dollar_volume: pd.DataFrame | None = None,
    volatility: pd.DataFrame | None = None,
) -> MarketPanel:
    """Return the panel of T + 1 rows on which a fill at row t earns row t of the tables.

    The last row has no trade; its date is the business day after the last one of the tables.

    Args:
        returns: (T, N) of the assets, without cash.
        cash: (T,) return of cash.
        name: of the panel.
        dollar_volume, volatility: (T, N) in which a trade of row t is made.
    """
    first = pd.DataFrame(np.nan, index=returns.index[:1], columns=returns.columns)
    last = returns.index[-1] + pd.offsets.BDay()
    earned = pd.concat([first, returns]).set_axis(returns.index.append(pd.DatetimeIndex([last])))
    return MarketPanel(
        dates=earned.index,
        assets=returns.columns,
        returns=earned.to_numpy(),
        cash_rate=np.append(cash.to_numpy(), cash.iloc[-1]),
        tradable=np.ones(earned.shape, dtype=bool),
        dollar_volume=None if dollar_volume is None else _with_last_row(dollar_volume),
        volatility=None if volatility is None else _with_last_row(volatility),
        periods_per_year=252,
        name=name,
    )


def _with_last_row(table: pd.DataFrame) -> np.ndarray:
    return np.vstack([table.to_numpy(dtype=float), np.full(table.shape[1], np.nan)])
