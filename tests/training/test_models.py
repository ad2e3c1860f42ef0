"""Networks of many replicas."""

from __future__ import annotations

import pytest
import torch

from backtest.errors import SettingsError
from backtest.training import Network
from backtest.training.models import stack_replicas


def drawn(seeds, hidden=(5, 4)):
    return Network.initial(3, hidden=hidden, seeds=seeds, scale=0.02)


def test_a_replica_of_a_seed_is_the_same_in_any_company():
    company, alone = drawn([3, 7, 11]), drawn([7])

    for many, one in zip(company.parameters, alone.parameters, strict=True):
        assert torch.equal(many[1], one[0])


def test_scaling_multiplies_forecasts_and_leaves_the_original_alone():
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    network = drawn([0, 1])
    before = network(x)

    scaled = network.scaled(torch.tensor([0.5, 3.0]))(x)

    torch.testing.assert_close(scaled, before * torch.tensor([[0.5], [3.0]]), rtol=1e-5, atol=1e-12)
    assert torch.equal(network(x), before)


def test_without_hidden_layers_the_model_starts_at_zero_and_is_linear():
    network = drawn([0], hidden=())
    moved = network.with_parameters([torch.tensor([[[1.0], [-2.0], [0.5]]]), torch.tensor([[[0.25]]])])
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))

    assert float(network(x).abs().max()) == 0
    torch.testing.assert_close(
        moved(x)[0], 0.02 * (x.double() @ torch.tensor([1.0, -2.0, 0.5]).double() + 0.25), rtol=1e-5, atol=1e-8
    )


def test_shared_features_and_features_of_each_replica_give_the_same_forecasts():
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    network = drawn([0, 1])

    torch.testing.assert_close(network(x), network(x.expand(2, 10, 3)))


def test_stacking_and_picking_replicas_are_inverse():
    a, b = drawn([0, 1]), drawn([2])

    picked = stack_replicas([a, b]).replicas(torch.tensor([2]))

    for left, right in zip(picked.parameters, b.parameters, strict=True):
        assert torch.equal(left, right)


def test_a_layer_without_units_is_refused():
    with pytest.raises(SettingsError, match="at least one unit"):
        drawn([0], hidden=(4, 0))
