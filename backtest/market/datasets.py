"""Real data sets that come with installed packages: no network, the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable

from backtest.errors import SettingsError
from backtest.market.panel import MarketPanel

__all__ = ["dataset_names", "load_dataset"]


def load_dataset(name: str) -> MarketPanel:
    """Load a data set by name.

    - "sp500-20": daily prices, adjusted for dividends and splits, of 20 US large caps, 1990-01-02 to
      2022-12-28, from the skfolio package (BSD-3; `skfolio.datasets.load_sp500_dataset`). Chosen by their
      survival until 2022. Rounded to $0.001: up to 1% of the lowest early prices (AAPL, BBY, UNH), so part of
      their daily reversal before 2004 is rounding; RRC's price stands still on 60% of the days of 1990-1994.
      No volumes.

    Raises:
        SettingsError: no data set has that name; lists those that exist.
    """
    if name not in _LOADERS:
        raise SettingsError(f"no data set is called {name!r}: choose one of {', '.join(dataset_names())}")
    return _LOADERS[name]()


def dataset_names() -> list[str]:
    """Names that `load_dataset` knows."""
    return sorted(_LOADERS)


def _load_sp500_20() -> MarketPanel:
    from skfolio.datasets import load_sp500_dataset

    return MarketPanel.from_prices(load_sp500_dataset(), periods_per_year=252, name="sp500-20")


_LOADERS: dict[str, Callable[[], MarketPanel]] = {"sp500-20": _load_sp500_20}
