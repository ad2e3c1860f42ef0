"""Market data: panels of dates by assets, and where they come from."""

from __future__ import annotations

from backtest.market.corporate_actions import Delisting, SpinOff
from backtest.market.datasets import dataset_names, load_dataset
from backtest.market.delistings import DELISTING_RETURNS, read_delistings, with_delistings
from backtest.market.download import download
from backtest.market.exchange_sessions import missing_sessions, suggest_calendar
from backtest.market.features import Feature, price_features, with_features
from backtest.market.liquid_universe import LiquidityRule
from backtest.market.membership import read_membership, with_members
from backtest.market.panel import MarketPanel
from backtest.market.preset_markets import correlated_market, liquidity_market
from backtest.market.readers import read_prices
from backtest.market.resample import to_frequency
from backtest.market.scanning import scan_folder, scan_rows
from backtest.market.simulated import SimulatedMarket, simulate_market
from backtest.market.snapshot import MarketSnapshot

__all__ = [
    "DELISTING_RETURNS",
    "Delisting",
    "Feature",
    "LiquidityRule",
    "MarketPanel",
    "MarketSnapshot",
    "SimulatedMarket",
    "SpinOff",
    "correlated_market",
    "dataset_names",
    "download",
    "liquidity_market",
    "load_dataset",
    "missing_sessions",
    "price_features",
    "read_delistings",
    "read_membership",
    "read_prices",
    "scan_folder",
    "scan_rows",
    "simulate_market",
    "suggest_calendar",
    "to_frequency",
    "with_delistings",
    "with_features",
    "with_members",
]
