"""Replicas of any torch module: a seed is the same in any company, and wrong modules are refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from backtest.errors import SettingsError
from backtest.training import ModuleReplicas, Network, Samples, TrainingSettings, fit_objectives
from backtest.training.initial import initial_model
from backtest.training.loops import train_on_error
from backtest.training.models import stack_replicas
from backtest.training.objectives import euclidean_metric

ROWS = torch.tensor([3, 50, 20])


class AcrossAssets(nn.Module):
    """Looks at how each asset differs from the others of its date."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.weights = nn.Linear(n_inputs, 1)
        self.register_buffer("drawn", torch.rand(1))
        self.level = nn.Parameter(torch.rand(()))  # a parameter without an axis
        self.frozen = nn.Parameter(torch.rand(2), requires_grad=False)

    def forward(self, x):
        return self.weights(x - x.mean(dim=-2, keepdim=True)).squeeze(-1) + self.level * self.drawn + self.frozen.sum()


def perceptron(n_inputs):
    return nn.Sequential(nn.Linear(n_inputs, 4), nn.Tanh(), nn.Linear(4, 1))


def replicated(make, seeds=(3, 7), *, history=1, vectorised=False):
    return ModuleReplicas.initial(make, n_features=3, history=history, seeds=seeds, scale=0.02, vectorised=vectorised)


@pytest.fixture
def samples(toolbox):
    return Samples.of(toolbox.panel()[0])


@pytest.mark.parametrize("make", [perceptron, AcrossAssets])
def test_a_replica_of_a_seed_is_the_same_in_any_company(make, samples):
    torch.manual_seed(99)
    company = replicated(make, (3, 7, 11))
    torch.rand(5)
    alone = replicated(make, (7,))

    assert torch.equal(company.forecast(samples, ROWS)[1], alone.forecast(samples, ROWS)[0])
    assert not torch.equal(company.forecast(samples, ROWS)[0], alone.forecast(samples, ROWS)[0])


def test_making_replicas_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)

    torch.manual_seed(5)
    replicated(perceptron)

    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("make", [perceptron, AcrossAssets])
def test_each_replica_is_the_module_itself_with_that_seed(make, samples):
    model = replicated(make)

    for replica, seed in enumerate((3, 7)):
        torch.manual_seed(seed)
        module = make(3)
        with torch.no_grad():
            expected = 0.02 * module(samples.features[ROWS]).reshape(3, 6).double()
        torch.testing.assert_close(model.forecast(samples, ROWS)[replica], expected)


@pytest.mark.parametrize("history", [1, 4])
def test_one_call_for_all_replicas_gives_what_a_call_each_gives(samples, history):
    def make(n_inputs):
        return perceptron(n_inputs) if history == 1 else nn.Sequential(nn.Flatten(-2), perceptron(4 * n_inputs))

    model = replicated(make, history=history)
    shared, own = ROWS, torch.stack([ROWS.flip(0), ROWS]).reshape(2, 3, 1)
    for rows in (shared, own):
        slow = model.with_parameters([part.clone().requires_grad_() for part in model.parameters])
        fast = replace(slow, vectorised=True)
        p, q = slow.forecast(samples, rows), fast.forecast(samples, rows)
        left = torch.autograd.grad(p.square().sum(), slow.parameters)
        right = torch.autograd.grad(q.square().sum(), slow.parameters)

        torch.testing.assert_close(p, q)
        assert p.shape == (2, *rows.shape[rows.ndim > 1 :], 6)
        for one, other in zip(left, right, strict=True):
            torch.testing.assert_close(one, other)


def test_own_rows_and_shared_rows_give_the_same_forecasts(samples):
    model = replicated(AcrossAssets)

    shared, own = model.forecast(samples, ROWS), model.forecast(samples, ROWS.expand(2, 3))

    assert torch.equal(shared, own)


def test_forecasts_of_many_rows_are_made_in_parts_where_no_graph_is_kept(samples, monkeypatch):
    model, rows = replicated(perceptron), torch.arange(100)
    with torch.no_grad():
        whole = model.forecast(samples, rows)
        monkeypatch.setattr("backtest.training.module_replicas.LARGEST_INPUT", 7 * 24)
        parts = model.forecast(samples, rows)

    torch.testing.assert_close(parts, whole)


def test_scaling_stacking_and_picking_keep_each_replica(samples):
    model = replicated(AcrossAssets, (3, 7))
    other = replicated(AcrossAssets, (5,)).scaled(torch.tensor([3.0]))

    picked = stack_replicas([model, other]).replicas(torch.tensor([2, 0])).scaled(torch.tensor([0.5, 2.0]))

    found = picked.forecast(samples, ROWS)
    torch.testing.assert_close(found[0], 1.5 * replicated(AcrossAssets, (5,)).forecast(samples, ROWS)[0])
    torch.testing.assert_close(found[1], 2 * model.forecast(samples, ROWS)[0])


def test_a_perceptron_of_ones_own_trains_as_the_network_does(samples, toolbox):
    network = Network.initial(3, hidden=(4,), seeds=(0, 1), scale=0.02)

    def make(n_inputs):
        return nn.Sequential(nn.Linear(n_inputs, 4), nn.SiLU(), nn.Linear(4, 1))

    model = replicated(make, (0, 1))
    parameters = (network.weights[0].mT, network.biases[0][:, 0], network.weights[1].mT, network.biases[1][:, 0])
    model = model.with_parameters([part.clone() for part in parameters])
    train, validation = np.arange(60), np.arange(64, 90)

    def trained(start):
        return train_on_error(
            samples,
            start,
            euclidean_metric(samples),
            train=train,
            validation=validation,
            seeds=(0, 1),
            settings=toolbox.small,
        )

    ours, theirs = trained(model), trained(network)
    torch.testing.assert_close(
        ours.network.forecast(samples, ROWS), theirs.network.forecast(samples, ROWS), rtol=1e-3, atol=1e-6
    )
    assert torch.equal(ours.epoch, theirs.epoch)


def test_what_training_must_not_move_stays(samples, toolbox):
    settings = replace(toolbox.small, model=AcrossAssets, hidden=TrainingSettings.hidden)
    fits = fit_objectives(
        samples,
        toolbox.solver(trading=0.0),
        ["squared"],
        train=np.arange(60),
        validation=np.arange(64, 90),
        seeds=(0,),
        settings=settings,
    )

    start = initial_model(settings, n_features=3, seeds=(0,), scale=1.0)
    found = fits["squared"].network
    assert start.names == ("level", "weights.weight", "weights.bias")
    assert torch.equal(found.fixed["frozen"], start.fixed["frozen"])
    assert torch.equal(found.fixed["drawn"], start.fixed["drawn"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: nn.Sequential(nn.Linear(n, 2), nn.BatchNorm1d(6), nn.Linear(2, 1)), "BatchNorm1d.*use LayerNorm"),
        (lambda n: nn.Sequential(nn.Linear(n, 1), nn.Dropout(0.1)), "Dropout.*weight_decay"),
        (lambda n: nn.Tanh(), "no parameters"),
        (lambda n: 3, "got int"),
    ],
)
def test_modules_that_cannot_be_replicated_are_refused_with_the_cure(make, message):
    with pytest.raises(SettingsError, match=message):
        replicated(make)


def test_a_module_that_gives_more_than_one_number_an_asset_is_refused(samples):
    with pytest.raises(SettingsError, match=r"Linear gave \(3, 6, 2\).*\(3, 6\)"):
        replicated(lambda n: nn.Linear(n, 2)).forecast(samples, ROWS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "lstm"}, "'lstm': choose from linear, mlp, gru, convolution"),
        ({"history": 0}, "at least 1 row"),
        ({"history": 5}, "sees one row"),
        ({"model": "gru", "hidden": ()}, "at least one size"),
        ({"hidden": (4, 0)}, "at least one unit"),
        ({"ridge": (-1.0,)}, "ridge"),
        ({"sizing": "guess"}, "unknown sizing 'guess'"),
        ({"sizing_groups": 1}, "sizing_groups"),
    ],
)
def test_impossible_settings_of_a_model_are_refused(wrong, message):
    with pytest.raises(SettingsError, match=message):
        TrainingSettings(**wrong)


def test_settings_with_a_module_can_be_written_down():
    assert TrainingSettings(model=AcrossAssets).described()["model"].endswith("AcrossAssets")
    assert TrainingSettings(model="gru").described()["model"] == "gru"
