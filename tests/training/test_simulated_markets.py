"""Guards of benchmarks/simulated_markets.py: the two markets where training through the solver must win."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "simulated_markets.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("simulated_markets_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_under_correlated_noise_whitened_and_aligned_beat_squared(benchmark):
    # The benchmark's setting with half of its draws and test days.
    outcomes = benchmark.run_draws(replace(benchmark.CORRELATED, test=200), range(8))

    for book in ("whitened", "aligned"):
        for measure in ("realized", "expected"):
            _, low, _ = benchmark.t_interval(outcomes[book][measure] - outcomes["squared"][measure])
            assert low > 0, (book, measure, outcomes)


def test_where_liquidity_differs_aligned_comes_near_the_oracle_and_the_others_lose_money(benchmark):
    def market(seed, *, n_periods):
        return benchmark.liquidity_market(seed, n_periods=n_periods, n_assets=60)

    outcomes = benchmark.run_draws(replace(benchmark.LIQUIDITY, market=market, test=150), range(3))

    mean = {book: {name: values.mean() for name, values in measures.items()} for book, measures in outcomes.items()}
    assert mean["aligned"]["realized"] > 0.75 * mean["oracle"]["realized"] > 0
    assert mean["aligned"]["expected"] > 0.75 * mean["oracle"]["expected"] > 0
    for book in ("squared", "whitened"):
        for measure in ("realized", "expected"):
            _, _, high = benchmark.t_interval(outcomes[book][measure])
            assert high < 0
        assert 1.5 < mean["aligned"]["error"] / mean[book]["error"] < 3
