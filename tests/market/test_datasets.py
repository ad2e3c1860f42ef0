"""Data sets by name."""

from __future__ import annotations

import socket

import pytest

from backtest.errors import SettingsError
from backtest.market import dataset_names, load_dataset


def test_the_20_stocks_load_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    panel = load_dataset("sp500-20")

    assert (panel.n_periods, panel.n_assets, panel.periods_per_year) == (8313, 20, 252)
    assert panel.tradable.all()
    assert panel.data_hash == load_dataset("sp500-20").data_hash


def test_unknown_names_list_the_known_ones() -> None:
    assert dataset_names() == ["sp500-20"]
    with pytest.raises(SettingsError, match="'sp500': choose one of sp500-20"):
        load_dataset("sp500")


def test_the_20_stocks_are_those_that_skfolio_itself_loads():
    from skfolio.datasets import load_sp500_dataset

    expected = load_sp500_dataset()
    panel = load_dataset("sp500-20")

    assert list(panel.assets) == list(expected.columns)
    assert list(panel.dates) == list(expected.index)
    assert (panel.prices == expected.to_numpy()).all()
