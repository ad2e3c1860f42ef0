"""Boosted trees: their gradients and curvatures, where they converge, and that they repeat."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.costs import FactorRisk, RiskLimit
from backtest.errors import SettingsError
from backtest.solver import PositionSolver
from backtest.training import BoostingSettings, Samples, fit_objectives
from backtest.training.choices import Choices
from backtest.training.curvature import map_diagonal, metric_diagonal, walk_with_curvature
from backtest.training.objectives import euclidean_metric, risk_metric
from backtest.training.path import walk

TRAIN, VALIDATION = np.arange(14, 70), np.arange(74, 100)
OBJECTIVES = ("squared", "whitened", "aligned")


def gappy(toolbox):
    panel, _ = toolbox.panel(signal=0.02)
    features, returns = panel.features.copy(), panel.returns.copy()
    features[18, 2, 1], returns[:20, 4] = np.nan, np.nan
    return replace(panel, features=features, returns=returns, tradable=None)


def grown(panel, solver, settings, *, objectives=OBJECTIVES, seeds=(0, 1), validation=VALIDATION):
    return fit_objectives(
        Samples.of(panel),
        solver,
        objectives,
        train=TRAIN,
        validation=validation,
        seeds=seeds,
        settings=settings,
    )


@pytest.mark.parametrize("name", ["squared", "whitened"])
def test_the_diagonal_of_a_metric_is_that_of_its_matrix(toolbox, name):
    samples, solver, rows = Samples.of(gappy(toolbox)), toolbox.solver(), np.arange(15, 30)
    metric = euclidean_metric(samples) if name == "squared" else risk_metric(samples, solver, rows)

    found = metric_diagonal(metric, rows)

    units = torch.eye(6, dtype=torch.float64).unsqueeze(1).expand(6, len(rows), 6)
    dense = metric.apply(units, torch.as_tensor(rows))
    torch.testing.assert_close(found, torch.stack([dense[asset, :, asset] for asset in range(6)], dim=-1))
    assert (found[~samples.scored[rows]] == 0).all()


@pytest.mark.parametrize(
    "limits", [[], [RiskLimit(FactorRisk(loadings=np.full((6, 1), 0.01), specific_variance=np.full(6, 4e-4)), 0.005)]]
)
def test_the_diagonal_of_the_solution_map_is_that_of_its_action(toolbox, limits):
    rng = np.random.default_rng(0)
    p, held = rng.normal(0, 0.01, (40, 6)), rng.normal(0, 0.1, (40, 6))
    plain = toolbox.solver()
    solution = replace(plain, constraints=[*plain.constraints, *limits]).solve(
        torch.as_tensor(p), torch.as_tensor(held)
    )

    found = map_diagonal(solution)

    for asset in range(6):
        unit = torch.zeros(40, 6, dtype=torch.float64)
        unit[:, asset] = 1
        torch.testing.assert_close(found[:, asset], solution.solution_map(unit)[:, asset], rtol=1e-9, atol=1e-9)
    assert (found == 0).any()
    assert (found > 0).any()
    assert (solution.solution_map.bent is not None) == bool(limits)


def test_gradients_along_the_path_are_those_of_the_training_loop(toolbox):
    samples = Samples.of(gappy(toolbox))
    solver = replace(toolbox.solver(), smoothing=0.05)
    rows = torch.arange(15, 45).reshape(1, 3, 10).expand(2, 3, 10)
    generator = torch.Generator().manual_seed(0)
    p = 0.01 * torch.randn(2, 3, 10, 6, generator=generator, dtype=torch.float64)
    options = {
        "p": p,
        "rows": rows,
        "held": 0.1 * torch.randn(2, 3, 6, generator=generator, dtype=torch.float64),
        "holding_periods": torch.tensor([1.0, 3.0], dtype=torch.float64),
    }

    found = walk_with_curvature(samples, solver, **options)
    expected = walk(samples, solver, objectives=["aligned", "aligned"], **options)

    for part in ("gradient", "held", "moved", "failed"):
        torch.testing.assert_close(getattr(found, part), getattr(expected, part))


def test_one_tree_is_a_newton_step_on_the_whitened_loss(toolbox):
    panel = gappy(toolbox)
    samples, solver = Samples.of(panel), toolbox.solver()
    growth = BoostingSettings(
        trees=1,
        learning_rate=1.0,
        leaves=2,
        samples_in_leaf=1,
        ridge=0.0,
        features_share=1.0,
        dates_share=1.0,
        check_every=1,
        patience=5,
        curvature_floor=1e-9,
    )
    settings = replace(toolbox.small_trees, shrinkage=(1.0,), holding_periods=(1.0,), boosting=growth)

    fit = grown(panel, solver, settings, objectives=["whitened"], seeds=(0,))["whitened"]

    metric = risk_metric(samples, solver, TRAIN)
    gradient = -metric.apply(samples.target[TRAIN], torch.as_tensor(TRAIN)).numpy()
    curvature = metric_diagonal(metric, TRAIN).numpy()
    p = fit.network.forecast(samples, torch.as_tensor(TRAIN))[0].numpy()
    leaves = np.unique(p[samples.usable[TRAIN].numpy()])
    assert fit.epoch.tolist() == [1]
    assert len(leaves) == 2
    for value in leaves:
        inside = (p == value) & samples.usable[TRAIN].numpy()
        assert value == pytest.approx(-gradient[inside].sum() / curvature[inside].sum(), rel=1e-4)


def test_aligned_trees_on_a_quadratic_cost_go_where_whitened_trees_go(toolbox):
    panel = gappy(toolbox)
    rng = np.random.default_rng(3)
    risk = FactorRisk(loadings=0.01 * rng.standard_normal((6, 1)), specific_variance=rng.uniform(2e-4, 6e-4, 6))
    samples, solver = Samples.of(panel), PositionSolver(20.0 * risk)
    growth = replace(toolbox.small_trees.boosting, trees=6, path_trees=30, features_share=1.0, dates_share=1.0)
    settings = replace(toolbox.small_trees, shrinkage=(1.0,), smoothing=0.0, boosting=growth)
    more = replace(settings, boosting=replace(growth, trees=36))
    metric, rows = risk_metric(samples, solver, TRAIN), torch.as_tensor(TRAIN)

    # Validation on the training rows: what is asked here is where the loss goes, not what generalises.
    fits = grown(panel, solver, settings, seeds=(0,), validation=TRAIN)
    longer = grown(panel, solver, more, objectives=["whitened"], seeds=(0,), validation=TRAIN)

    def loss(fit):
        error = fit.network.forecast(samples, rows)[0] - samples.target[rows]
        return float((error * metric.apply(error, rows)).sum())

    # J is the metric there: 6 trees on whitened and 30 on aligned are the 36 on whitened, but for the Hessian's unit.
    assert fits["aligned"].warm_start == ("whitened",)
    assert loss(fits["aligned"]) < loss(fits["whitened"])
    assert loss(fits["aligned"]) == pytest.approx(loss(longer["whitened"]), rel=0.01)


def test_two_fits_are_equal_to_the_last_bit_and_nothing_later_moves_them(toolbox):
    panel, settings = gappy(toolbox), toolbox.small_trees
    samples, rows = Samples.of(panel), np.arange(101, 115)

    first = grown(panel, toolbox.solver(trading=0.0), settings)
    again = grown(panel, toolbox.solver(trading=0.0), settings)
    garbled = grown(panel.garbled_after(int(VALIDATION[-1]) + 2), toolbox.solver(trading=0.0), settings)

    for name in OBJECTIVES:
        p = first[name].forecast(samples, rows)
        assert np.array_equal(p, again[name].forecast(samples, rows), equal_nan=True)
        assert np.array_equal(p, garbled[name].forecast(samples, rows), equal_nan=True)
        assert repr(first[name].record()) == repr(garbled[name].record())
    assert not np.array_equal(*first["squared"].forecast(samples, rows)[:2])


def test_a_seed_does_not_depend_on_its_company(toolbox):
    panel = gappy(toolbox)
    settings = replace(toolbox.small_trees, holding_periods=(2.0,), shrinkage=(1.0,))
    samples, rows = Samples.of(panel), np.arange(101, 115)

    together = grown(panel, toolbox.solver(), settings, seeds=(4, 0, 9))
    alone = grown(panel, toolbox.solver(), settings, seeds=(9,))

    for name in OBJECTIVES:
        assert together[name].epoch[2] == alone[name].epoch[0]
        np.testing.assert_array_equal(together[name].forecast(samples, rows)[2], alone[name].forecast(samples, rows)[0])


def test_the_utility_chosen_on_is_that_of_the_trees_returned_and_aligned_can_only_gain(toolbox):
    panel = gappy(toolbox)
    samples, settings = Samples.of(panel), replace(toolbox.small_trees, holding_periods=(2.0,))
    choices = Choices(samples, toolbox.solver(trading=0.0), VALIDATION, 2, settings)

    fits = grown(panel, toolbox.solver(trading=0.0), settings)

    for fit in fits.values():
        p = fit.network.forecast(samples, torch.as_tensor(VALIDATION))
        found = choices.utility(p, torch.full((2,), fit.holding_periods, dtype=torch.float64))
        best = fit.validation_utility[fit.validation_utility.mean(axis=1).argmax()]
        np.testing.assert_allclose(found, best, rtol=1e-9)
    for seed in range(2):
        start = fits[fits["aligned"].warm_start[seed]].validation_utility[:, seed].max()
        assert fits["aligned"].validation_utility[:, seed].max() >= start - 1e-12


def test_trees_survive_pickling_and_forecast_each_replicas_own_rows(toolbox):
    panel = gappy(toolbox)
    samples, rows = Samples.of(panel), torch.arange(101, 115)
    model = grown(panel, toolbox.solver(trading=0.0), toolbox.small_trees, objectives=["squared"])["squared"].network
    assert float(model.forecast(samples, rows).abs().max()) > 0

    copy = pickle.loads(pickle.dumps(model))
    own = torch.stack([rows.flip(0), rows]).reshape(2, 2, 7)

    torch.testing.assert_close(copy.forecast(samples, rows), model.forecast(samples, rows), rtol=1e-12, atol=1e-15)
    found, shared = model.forecast(samples, own), model.forecast(samples, rows)
    assert torch.equal(found[0].reshape(14, 6), shared[0].flip(0))
    assert torch.equal(found[1].reshape(14, 6), shared[1])


def test_noise_without_signal_may_end_without_any_tree(toolbox):
    panel = gappy(toolbox)
    growth = replace(toolbox.small_trees.boosting, samples_in_leaf=10_000)  # no split is possible

    fits = grown(panel, toolbox.solver(trading=0.0), replace(toolbox.small_trees, boosting=growth))

    for fit in fits.values():
        assert fit.epoch.tolist() == [0, 0]
        assert np.nanmax(np.abs(fit.forecast(Samples.of(panel), np.arange(101, 115)))) == 0


def test_objectives_that_trees_cannot_be_grown_on_are_refused(toolbox):
    with pytest.raises(SettingsError, match=r'"boosted_trees" cannot be trained on sharpe: it takes squared, whitened'):
        grown(gappy(toolbox), toolbox.solver(), toolbox.small_trees, objectives=["sharpe"])


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"dates_share": 0.0}, {"leaves": 1}, {"ridge": -1.0}])
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        BoostingSettings(**wrong)
