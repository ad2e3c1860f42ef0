"""Books that trade the mean forecast of several seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.analysis.comparison_plan import ComparisonPlan
from backtest.costs import FactorRisk, LeverageLimit, TradingCost
from backtest.errors import SettingsError
from backtest.market import simulate_market
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver
from backtest.training import Network, Samples, WalkForward, ensemble_labels, fit_objectives
from backtest.training.choices import Choices
from backtest.training.ensembles import Ensembles, ensembles_of
from backtest.training.sizing import SizedModel

TRAIN, VALIDATION, ROWS = np.arange(0, 60), np.arange(64, 90), np.arange(95, 115)
KINDS = {
    "small": ["squared", "whitened", "aligned", "spo_plus"],
    "small_trees": ["squared", "whitened", "aligned"],
    "small_forest": ["squared"],
}


def fitted(toolbox, kind, *, seeds=(0, 1, 2, 3), **settings):
    panel, _ = toolbox.panel(signal=0.02)
    features = panel.features.copy()
    features[100, 2] = np.nan
    samples = Samples.of(replace(panel, features=features))
    fits = fit_objectives(
        samples,
        toolbox.solver(),
        KINDS[kind],
        train=TRAIN,
        validation=VALIDATION,
        seeds=seeds,
        settings=replace(getattr(toolbox, kind), **settings),
    )
    return samples, fits


@pytest.mark.parametrize("own_rows", [False, True])
def test_the_forecast_is_the_mean_of_the_members_and_stays_so_when_chosen_scaled_and_stacked(toolbox, own_rows):
    samples = Samples.of(toolbox.panel()[0])
    members = Network.initial(3, hidden=(4,), seeds=range(6), scale=0.02)
    model, other = Ensembles(members, 2), Ensembles(members.replicas(torch.tensor([5, 0])), 2)
    shared = torch.arange(20, 30)

    changed = model.replicas(torch.tensor([2, 0])).scaled(torch.tensor([0.5, 2.0])).stacked([other])
    rows = torch.stack([shared, shared + 3, shared.flip(0)]) if own_rows else shared
    p = changed.forecast(samples, rows)

    assert (model.n_replicas, changed.n_replicas, changed.history) == (3, 3, 1)
    groups, factors = [(4, 5), (0, 1), (5, 0)], [0.5, 2.0, 1.0]
    for number, (group, factor) in enumerate(zip(groups, factors, strict=True)):
        own = rows[number] if own_rows else rows
        each = [members.replicas(torch.tensor([seed])).forecast(samples, own)[0] for seed in group]
        torch.testing.assert_close(p[number], factor * (each[0] + each[1]) / 2, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_trained_members_is_what_is_chosen_for_and_forecast(toolbox, kind):
    """Slow reference: the same seeds without ensembles, averaged by hand, and every choice walked by itself."""
    one = {"holding_periods": (2.0,), "shrinkage": (1.0,)}
    samples, apart = fitted(toolbox, kind, **one)
    _, joined = fitted(toolbox, kind, ensemble=2, **one)

    for name, fit in joined.items():
        each = apart[name].forecast(samples, ROWS)
        expected = np.stack([(each[0] + each[1]) / 2, (each[2] + each[3]) / 2])
        p = fit.forecast(samples, ROWS)
        np.testing.assert_allclose(p, expected, rtol=1e-6, atol=1e-10)
        assert np.isnan(p[:, 5, 2]).all()
        assert np.isnan(p).sum() == 2
        assert fit.today(samples.panel).shape == (2, 6)
        # What was trained is one model a seed all the same.
        assert fit.epoch.tolist() == apart[name].epoch.tolist()
        assert fit.warm_start == apart[name].warm_start
        assert fit.validation_utility.shape == (1, 2)
        for number in range(2):
            alone = Choices(samples, toolbox.solver(), VALIDATION, 1, replace(getattr(toolbox, kind), **one))
            book = fit.network.replicas(torch.tensor([number]))
            utility = alone.utilities({name: book}, by_period=False)[name]
            np.testing.assert_allclose(utility.ravel(), fit.validation_utility[:, number], rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_choices_are_those_best_for_the_mean_forecast(toolbox, kind):
    samples, fits = fitted(toolbox, kind, ensemble=4)
    settings = getattr(toolbox, kind)

    for fit in fits.values():
        best = fit.validation_utility.mean(axis=1)
        assert fit.validation_utility.shape == (4, 1)
        assert (fit.holding_periods, fit.shrinkage) == settings.choices(depends_on_held=True)[int(best.argmax())]
        # The utility chosen on is that of the book returned: the factor is in it, and the members of one period.
        choices = Choices(samples, toolbox.solver(), VALIDATION, 1, settings)
        with torch.no_grad():
            p = fit.network.forecast(samples, torch.as_tensor(VALIDATION))
        found = choices.utility(p, torch.tensor([fit.holding_periods], dtype=torch.float64))
        np.testing.assert_allclose(found, fit.validation_utility[int(best.argmax())], rtol=1e-6)


def test_an_ensemble_of_one_is_the_model_itself(toolbox):
    members = Network.initial(3, hidden=(4,), seeds=range(2), scale=0.02)
    samples, rows = Samples.of(toolbox.panel()[0]), torch.arange(20, 30)

    assert ensembles_of(members, 1) is members
    assert torch.equal(Ensembles(members, 1).forecast(samples, rows), members.forecast(samples, rows))


@pytest.mark.parametrize("kind", ["small", "small_trees"])
def test_the_order_of_seeds_in_an_ensemble_changes_nothing_but_rounding(toolbox, kind):
    # Descent makes much of rounding in many steps.
    options = {"epochs": 1, "path_epochs": 1} if kind == "small" else {}
    samples, first = fitted(toolbox, kind, ensemble=2, seeds=(5, 1, 2, 9), **options)
    _, second = fitted(toolbox, kind, ensemble=2, seeds=(1, 5, 9, 2), **options)

    for name in KINDS[kind]:
        p, q = first[name].forecast(samples, ROWS), second[name].forecast(samples, ROWS)
        np.testing.assert_allclose(p, q, rtol=1e-4, atol=1e-9)
        assert first[name].holding_periods == second[name].holding_periods


def test_groups_of_assets_are_sized_for_the_ensemble(toolbox):
    samples, fits = fitted(toolbox, "small_forest", ensemble=2, sizing="volatility", sizing_groups=2)

    fit = fits["squared"]
    assert isinstance(fit.network, SizedModel)
    assert isinstance(fit.network.model, Ensembles)
    assert fit.forecast(samples, ROWS).shape == (2, 20, 6)


def planned(toolbox, settings, **options):
    market = simulate_market(6, 150, 3, seed=5, signal=4e-3, half_spread=5e-4)
    risk = FactorRisk(loadings=np.array(market.loadings), specific_variance=np.array(market.specific_variance))
    return ComparisonPlan.of(
        market,
        options.pop("objectives", ["squared", "aligned"]),
        solver=PositionSolver(5.0 * risk + TradingCost(half_spread=5e-4), [LeverageLimit(4.0)]),
        seeds=4,
        training=settings,
        walk_forward=WalkForward(train=60, validation=25, test=30),
        **options,
    )


@pytest.mark.parametrize("kind", ["small", "small_trees"])
def test_the_book_of_an_ensemble_is_the_mean_forecast_traded(toolbox, kind):
    settings = replace(getattr(toolbox, kind), holding_periods=(2.0,), shrinkage=(1.0,))
    apart, joined = planned(toolbox, settings), planned(toolbox, replace(settings, ensemble=2))

    fits = [apart.fit_window(number) for number in range(len(apart.windows))]
    comparison = joined.run(n_jobs=1)

    panel = joined.panel
    for name in joined.objectives:
        forecasts = np.full((2, panel.n_periods, panel.n_assets), np.nan)
        for window, fit in zip(joined.windows, fits, strict=True):
            forecasts[:, window.test] = fit.forecasts[name].reshape(2, 2, len(window.test), -1).mean(axis=1)
        by_hand = simulate(
            panel,
            SolverPolicy(replace(joined.solver, holding_periods=2.0)),
            forecasts,
            costs=joined.solver.costs,
            lag=1,
            first_row=int(joined.windows[0].test[0]) + 1,
            last_row=int(joined.windows[-1].test[-1]) + 2,
        )
        result = comparison.results[name]
        assert list(result.names) == [f"{name}, seeds 0-1", f"{name}, seeds 2-3"]
        np.testing.assert_allclose(result.positions, by_hand.positions, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(result.net, by_hand.net, rtol=1e-5, atol=1e-9)


def test_a_comparison_counts_every_model_and_says_which_seeds_are_in_a_book(toolbox):
    settings = replace(toolbox.small_forest, ensemble=2)
    apart = planned(toolbox, toolbox.small_forest, objectives=["squared"]).run(n_jobs=1)

    comparison = planned(toolbox, settings, objectives=["squared"]).run(n_jobs=1)

    assert comparison.n_seeds == 2
    assert comparison.n_trials == apart.n_trials == 4 * len(settings.choices(depends_on_held=True))
    assert comparison.settings["seeds"] == ["0-1", "2-3"]
    assert comparison.settings["training"]["ensemble"] == 2
    assert len(comparison.information_coefficients["squared"][0]) == 2
    assert "mean of 2 ensembles of 2 seeds" in comparison.sample
    assert apart.settings["seeds"] == [0, 1, 2, 3]
    assert "mean of 4 seeds" in apart.sample


def test_labels_say_which_seeds():
    assert ensemble_labels((0, 1, 2, 3), 2) == ("0-1", "2-3")
    assert ensemble_labels((7, 3, 4, 5), 2) == ("7, 3", "4-5")
    assert ensemble_labels((7, 3), 1) == ("7", "3")


def test_an_ensemble_that_does_not_divide_the_seeds_is_refused(toolbox):
    with pytest.raises(SettingsError, match="ensemble is 3, which does not divide 4 seeds: ask for 3 or 6 seeds"):
        planned(toolbox, replace(toolbox.small, ensemble=3))
    with pytest.raises(SettingsError, match="ensemble is 8, which does not divide 4 seeds: ask for 8"):
        fitted(toolbox, "small_forest", ensemble=8)
    with pytest.raises(SettingsError, match="ensemble must be above 0, got 0"):
        replace(toolbox.small, ensemble=0)
