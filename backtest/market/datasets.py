"""Real data sets that come with installed packages: no network, the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from backtest.errors import DataError, SettingsError
from backtest.market.panel import MarketPanel

__all__ = ["dataset_names", "load_dataset"]


def load_dataset(name: str) -> MarketPanel:
    """Return the data set called `name`, as a panel.

    - "sp500-20": daily prices, adjusted for dividends and splits, of 20 US large caps, 1990-01-02 to
      2022-12-28, from the skfolio package (BSD-3; `skfolio.datasets.load_sp500_dataset`). Chosen by their
      survival until 2022. Rounded to $0.001: up to 1% of the lowest early prices (AAPL, BBY, UNH), so part of
      their daily reversal before 2004 is rounding; RRC's price stands still on 60% of the days of 1990-1994.
      No volumes.
    - "sp500-index": the S&P 500 index itself, daily, the same dates and package (`load_sp500_index`); a price
      index, without dividends.
    - "factor-etfs": daily adjusted prices of 5 US exchange-traded funds of factors (MTUM, QUAL, SIZE, USMV, VLUE),
      2014-01-02 to 2022-12-28, same package (`load_factors_dataset`).

    Sets that skfolio downloads (FTSE 100, Nasdaq) are not offered: they need a network.

    Raises:
        SettingsError: no data set has that name; lists those that exist.
        DataError: the package that carries it is missing, or keeps it elsewhere.
    """
    if name not in _LOADERS:
        raise SettingsError(f"no data set is called {name!r}: choose one of {', '.join(dataset_names())}")
    return _LOADERS[name]()


def dataset_names() -> list[str]:
    """Return the names that `load_dataset` knows, sorted."""
    return sorted(_LOADERS)


def _from_skfolio(name: str, stem: str) -> MarketPanel:
    # Read from the package's folder: importing skfolio takes longer than all the rest of a quick comparison's set-up.
    # Tests hold these equal to what `skfolio.datasets` loads.
    package = find_spec("skfolio")
    if package is None or not package.submodule_search_locations:
        raise DataError(f'the data set "{name}" comes with the package skfolio, which is not installed')
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / f"{stem}.csv.gz"
    if not file.is_file():
        raise DataError(
            f'the data set "{name}" is not where skfolio keeps it, {file}: install the version in constraints.txt'
        )
    prices = pd.read_csv(file, index_col=0, parse_dates=True)
    return MarketPanel.from_prices(prices, periods_per_year=252, name=name)


_LOADERS: dict[str, Callable[[], MarketPanel]] = {
    name: partial(_from_skfolio, name, stem)
    for name, stem in (
        ("sp500-20", "sp500_dataset"),
        ("sp500-index", "sp500_index"),
        ("factor-etfs", "factors_dataset"),
    )
}
