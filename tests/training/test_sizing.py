"""The scale of forecasts: where a search ends, which assets are alike, and what it may see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.costs import FactorRisk
from backtest.errors import DataError
from backtest.solver import PositionSolver
from backtest.training import Samples, fit_objectives
from backtest.training.choices import Choices
from backtest.training.sizing import LOOKBACK, SizedModel, groups_of, search_factor, search_group_factors

TRAIN, VALIDATION = np.arange(14, 60), np.arange(64, 90)


@pytest.mark.parametrize("best", [0.13, 0.3, 0.8, 2.5])
def test_a_search_comes_near_the_best_factor_from_the_nearest_choice(best):
    choices = (0.1, 0.3, 1.0)
    start = min(choices, key=lambda factor: (np.log(factor) - np.log(best)) ** 2)

    found, value = search_factor(lambda factors: -((factors - best) ** 2)[:, None], start, choices=choices)

    assert found == pytest.approx(best, rel=0.04)
    assert value >= -((start - best) ** 2)


def test_a_search_stays_where_nothing_is_better():
    assert search_factor(lambda factors: np.zeros((len(factors), 2)), 0.3, choices=(0.3,))[0] == 0.3


def test_group_factors_come_to_the_best_of_their_steps():
    best = np.array([0.1, 1.0, 1.6])

    found = search_group_factors(lambda factors: -((factors - best) ** 2).sum(axis=1)[:, None], 3)

    np.testing.assert_allclose(found, best)


def test_without_limits_the_search_ends_at_the_closed_form(toolbox):
    panel, _ = toolbox.panel(signal=0.02)
    samples = Samples.of(panel)
    risk = FactorRisk(loadings=np.full((6, 1), 0.01), specific_variance=np.full(6, 4e-4))
    settings = replace(toolbox.small, shrinkage=(0.3, 1.0, 3.0), sizing="search", epochs=2)
    solver = PositionSolver(20.0 * risk)

    plain = fit_objectives(
        samples, solver, ["squared"], train=TRAIN, validation=VALIDATION, seeds=(0,), settings=settings
    )["squared"]

    # Utility of s p is s p'H^-1 y - s^2/2 p'H^-1 p: best at the ratio of the two, which is 1 once p is sized.
    p = plain.network.forecast(samples, torch.as_tensor(VALIDATION))[0].numpy()
    hessian = 20.0 * (risk.loadings @ risk.loadings.T + np.diag(risk.specific_variance))
    inverse = np.linalg.inv(hessian)
    y = samples.target[VALIDATION].numpy()
    ratio = np.einsum("ti,ij,tj", p, inverse, y) / np.einsum("ti,ij,tj", p, inverse, p)
    assert ratio == pytest.approx(1.0, abs=0.05)
    assert plain.shrinkage not in settings.shrinkage
    assert len(plain.validation_utility) > 2


@pytest.mark.parametrize("sizing", ["search", "volatility", "liquidity"])
def test_what_was_chosen_is_the_best_of_all_that_was_tried(toolbox, sizing):
    panel, _ = toolbox.panel()
    volume = np.random.default_rng(0).uniform(1e6, 1e7, panel.returns.shape)
    samples = Samples.of(replace(panel, dollar_volume=volume))
    settings = replace(toolbox.small, sizing=sizing, path_epochs=1)

    fits = fit_objectives(
        samples,
        toolbox.solver(trading=0.0),
        ["squared", "aligned"],
        train=TRAIN,
        validation=VALIDATION,
        seeds=(0, 1),
        settings=settings,
    )

    choices = Choices(samples, toolbox.solver(trading=0.0), VALIDATION, 2, settings)
    for fit in fits.values():
        p = fit.network.forecast(samples, torch.as_tensor(VALIDATION))
        found = choices.utility(p, torch.full((2,), fit.holding_periods, dtype=torch.float64))
        assert found.mean() == pytest.approx(fit.validation_utility.mean(axis=1).max(), rel=1e-5)
        assert ("group_factors" in fit.record()) == (sizing != "search")


@pytest.mark.parametrize("sizing", ["volatility", "liquidity"])
def test_groups_rank_the_names_of_each_date_by_what_is_known_then(toolbox, sizing):
    panel, _ = toolbox.panel()
    rng = np.random.default_rng(0)
    volume = np.exp(rng.normal(0, 1, 6)) * rng.uniform(1e6, 2e6, panel.returns.shape)
    volume[:, 5] = np.nan  # never measured
    returns = panel.returns.copy()
    returns[:, 5] = np.nan
    panel = replace(panel, returns=returns, dollar_volume=volume, tradable=None)
    rows = torch.tensor([[40, 100], [100, 7]])

    found = groups_of(Samples.of(panel), rows, kind=sizing, n_groups=3)

    for place in np.ndindex(2, 2):
        row = int(rows[place])
        recent = (panel.returns if sizing == "volatility" else volume)[max(0, row - LOOKBACK + 1) : row + 1, :5]
        size = recent.std(axis=0) if sizing == "volatility" else recent.mean(axis=0)
        expected = size.argsort().argsort() * 3 // 5 if len(recent) >= 10 else np.ones(5)
        assert found[place].tolist() == [*expected, 1]
    later = groups_of(Samples.of(panel.garbled_after(100)), rows, kind=sizing, n_groups=3)
    assert torch.equal(later, found)


def test_groups_by_liquidity_need_traded_values(toolbox):
    with pytest.raises(DataError, match='size by "volatility"'):
        groups_of(Samples.of(toolbox.panel()[0]), torch.tensor([50]), kind="liquidity", n_groups=3)


def test_a_sized_model_multiplies_by_the_factor_of_each_assets_group(toolbox):
    samples = Samples.of(toolbox.panel()[0])
    rows = torch.arange(90, 100)
    settings = replace(toolbox.small, sizing="volatility")
    base = fit_objectives(
        samples,
        toolbox.solver(trading=0.0),
        ["squared"],
        train=TRAIN,
        validation=VALIDATION,
        seeds=(0, 1),
        settings=replace(settings, sizing="choices"),
    )["squared"]
    model = SizedModel(base.network, "volatility", torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 3.0]]).double())
    groups = groups_of(samples, rows, kind="volatility", n_groups=3)

    found = model.forecast(samples, rows)

    for replica in range(2):
        torch.testing.assert_close(
            found[replica], base.network.forecast(samples, rows)[replica] * model.factors[replica][groups]
        )
    assert torch.equal(model.forecast(samples, rows.expand(2, -1)), found)
    picked = model.stacked([model.scaled(torch.tensor([2.0, 2.0]))]).replicas(torch.tensor([3]))
    torch.testing.assert_close(picked.forecast(samples, rows)[0], 2 * found[1])
    sized = replace(base, network=model)
    torch.testing.assert_close(torch.tensor(sized.today(samples.panel.until(95))), found[:, 5])
