"""Market data: panels of dates by assets, and where they come from."""

from __future__ import annotations

from backtest.market.bar_reader import read_bars
from backtest.market.bars import Bars
from backtest.market.corporate_actions import Delisting, SpinOff
from backtest.market.datasets import dataset_names, load_dataset
from backtest.market.features import price_features
from backtest.market.finders import find_problems
from backtest.market.findings import Finding, Findings
from backtest.market.panel import MarketPanel
from backtest.market.preset_markets import correlated_market, liquidity_market
from backtest.market.readers import panel_from_bars, read_prices
from backtest.market.repairs import ChangeLog, repair_bars, revert
from backtest.market.resample import to_frequency
from backtest.market.simulated import SimulatedMarket, simulate_market
from backtest.market.snapshot import MarketSnapshot

__all__ = [
    "Bars",
    "ChangeLog",
    "Delisting",
    "Finding",
    "Findings",
    "MarketPanel",
    "MarketSnapshot",
    "SimulatedMarket",
    "SpinOff",
    "correlated_market",
    "dataset_names",
    "find_problems",
    "liquidity_market",
    "load_dataset",
    "panel_from_bars",
    "price_features",
    "read_bars",
    "read_prices",
    "repair_bars",
    "revert",
    "simulate_market",
    "to_frequency",
]
