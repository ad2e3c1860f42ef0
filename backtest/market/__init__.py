"""Market data: panels of dates by assets, and where they come from."""

from __future__ import annotations

from backtest.market.bar_reader import read_bars
from backtest.market.bars import Bars
from backtest.market.corporate_actions import Delisting, SpinOff
from backtest.market.datasets import dataset_names, load_dataset
from backtest.market.delistings import DELISTING_RETURNS, read_delistings, with_delistings
from backtest.market.download import download
from backtest.market.exchange_sessions import missing_sessions, suggest_calendar
from backtest.market.features import Feature, price_features, with_features
from backtest.market.finders import find_problems
from backtest.market.findings import Finding, Findings
from backtest.market.liquid_universe import LiquidityRule
from backtest.market.membership import read_membership, with_members
from backtest.market.panel import MarketPanel
from backtest.market.preset_markets import correlated_market, liquidity_market
from backtest.market.readers import panel_from_bars, read_prices
from backtest.market.repairs import ChangeLog, repair_bars, revert
from backtest.market.resample import to_frequency
from backtest.market.scanning import scan_folder, scan_rows
from backtest.market.simulated import SimulatedMarket, simulate_market
from backtest.market.snapshot import MarketSnapshot

__all__ = [
    "DELISTING_RETURNS",
    "Bars",
    "ChangeLog",
    "Delisting",
    "Feature",
    "Finding",
    "Findings",
    "LiquidityRule",
    "MarketPanel",
    "MarketSnapshot",
    "SimulatedMarket",
    "SpinOff",
    "correlated_market",
    "dataset_names",
    "download",
    "find_problems",
    "liquidity_market",
    "load_dataset",
    "missing_sessions",
    "panel_from_bars",
    "price_features",
    "read_bars",
    "read_delistings",
    "read_membership",
    "read_prices",
    "repair_bars",
    "revert",
    "scan_folder",
    "scan_rows",
    "simulate_market",
    "suggest_calendar",
    "to_frequency",
    "with_delistings",
    "with_features",
    "with_members",
]
