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
    assert dataset_names() == ["factor-etfs", "sp500-20", "sp500-index"]
    with pytest.raises(SettingsError, match="'sp500': choose one of factor-etfs, sp500-20, sp500-index"):
        load_dataset("sp500")


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("sp500-20", "load_sp500_dataset"),
        ("sp500-index", "load_sp500_index"),
        ("factor-etfs", "load_factors_dataset"),
    ],
)
def test_each_set_is_the_one_that_skfolio_itself_loads(name, loader):
    import skfolio.datasets

    expected = getattr(skfolio.datasets, loader)()
    panel = load_dataset(name)

    assert list(panel.assets) == list(expected.columns)
    assert list(panel.dates) == list(expected.index)
    assert (panel.prices == expected.to_numpy()).all()
    assert panel.name == name
