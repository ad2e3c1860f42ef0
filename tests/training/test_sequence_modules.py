"""Models of feature history: what they compute, and that they see the window and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from backtest.training import Samples, TrainingSettings, fit_objectives
from backtest.training.initial import initial_model
from backtest.training.samples import RecentInputs, windows
from backtest.training.sequence_modules import GatedRecurrentUnit, TemporalConvolution

HISTORY = 6


def gappy(toolbox, **changes):
    panel, _ = toolbox.panel()
    features, returns = panel.features.copy(), panel.returns.copy()
    features[18, 2, 1], returns[:12, 4] = np.nan, np.nan
    return replace(panel, features=features, returns=returns, tradable=None, **changes)


def model_of(name, seeds=(0, 1)):
    settings = TrainingSettings(model=name, hidden=(5, 4), history=HISTORY)
    return initial_model(settings, n_features=3, seeds=seeds, scale=0.02)


def test_windows_are_the_rows_up_to_today_with_a_mark_of_what_is_there(toolbox):
    samples = Samples.of(gappy(toolbox))
    rows = torch.tensor([[1, 20], [19, 4]])

    found = windows(samples, rows, 4)

    assert found.shape == (2, 2, 6, 4, 4)
    for place in np.ndindex(2, 2):
        for asset in range(6):
            for step in range(4):
                row = int(rows[place]) - 3 + step
                there = row >= 0 and bool(samples.available[row, asset])
                expected = torch.cat([samples.features[row, asset], torch.ones(1)]) if there else torch.zeros(4)
                assert torch.equal(found[place][asset, step], expected)
    assert float(found[0, 1, 2, 1, -1]) == 0  # row 18 lacks a feature


def test_the_recurrent_layer_is_torchs_own():
    torch.manual_seed(0)
    module, reference = GatedRecurrentUnit(3, hidden=(5, 4)), nn.GRU(3, 5, batch_first=True)
    x = torch.randn(7, HISTORY, 3)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(module.of_inputs.weight)
        reference.weight_hh_l0.copy_(module.of_state.weight)
        reference.bias_ih_l0.copy_(module.of_inputs.bias.normal_())
        reference.bias_hh_l0.copy_(module.of_state.bias.normal_())

        torch.testing.assert_close(module(x), module.head(reference(x)[1][0]))


@pytest.mark.parametrize("history", [1, 3, 6, 9])
def test_the_convolution_is_a_dilated_causal_one_read_at_the_last_row(history):
    torch.manual_seed(0)
    module = TemporalConvolution(3, hidden=(5, 4), history=history)
    x = torch.randn(7, history, 3)
    assert (module.width - 1) ** 2 < history <= module.width**2

    with torch.no_grad():
        whole = torch.cat([torch.zeros(7, module.reach - history, 3), x], dim=1).mT  # (batch, channels, rows)
        for number, layer in enumerate(module.layers):
            dilation = module.width**number
            weight = layer.weight.reshape(layer.out_features, module.width, -1).permute(0, 2, 1)
            whole = nn.functional.silu(nn.functional.conv1d(whole, weight, layer.bias, dilation=dilation))

        assert whole.shape[-1] == 1
        torch.testing.assert_close(module(x), module.head(whole[..., 0]))


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_nothing_before_the_window_and_nothing_after_today_changes_a_forecast(toolbox, name):
    panel, model, today = gappy(toolbox), model_of(name), 40
    forecast = model.forecast(Samples.of(panel), torch.tensor([today]))

    garbled = panel.garbled_after(today)
    features = garbled.features.copy()
    features[: today - HISTORY + 1] = 7.0
    features[10:20, 1] = np.nan
    other = Samples.of(replace(garbled, features=features, tradable=None))

    assert not np.array_equal(garbled.features[today + 1], panel.features[today + 1])
    assert torch.equal(model.forecast(other, torch.tensor([today])), forecast)
    # But the first and the last row inside do.
    for row in (today - HISTORY + 1, today):
        features = panel.features.copy()
        features[row] += 1.0
        changed = Samples.of(replace(panel, features=features))
        assert (model.forecast(changed, torch.tensor([today])) != forecast).all()


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_whether_past_rows_could_be_filled_later_is_not_seen(toolbox, name):
    panel, today = gappy(toolbox), 40
    tradable = panel.tradable.copy()
    tradable[today + 1 :] = False

    model = model_of(name)
    forecasts = [
        model.forecast(Samples.of(replace(panel, tradable=mask)), torch.tensor([today]))
        for mask in (panel.tradable, tradable)
    ]

    assert torch.equal(*forecasts)


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_a_replica_of_a_seed_is_the_same_in_any_company(toolbox, name):
    samples, rows = Samples.of(gappy(toolbox)), torch.arange(30, 50)

    company, alone = model_of(name, (3, 7, 11)), model_of(name, (7,))

    assert torch.equal(company.forecast(samples, rows)[1], alone.forecast(samples, rows)[0])


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_gradients_are_those_of_finite_differences(toolbox, name):
    samples, rows = Samples.of(gappy(toolbox)), torch.tensor([[25, 30], [31, 7]])
    model = model_of(name)
    model.module.double()
    samples = replace(samples, features=samples.features.double())
    parts = [part.double().requires_grad_() for part in model.parameters]

    def loss(values):
        return model.with_parameters(values).forecast(samples, rows).square().sum() * 1e4

    gradients = torch.autograd.grad(loss(parts), parts)

    generator = torch.Generator().manual_seed(0)
    for number, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            ends = []
            for step in (1e-5, -1e-5):
                moved = list(parts)
                moved[number] = parts[number] + step * direction
                ends.append(loss(moved))
        slope = float((ends[0] - ends[1]) / 2e-5)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_objectives_train_a_sequence_model_and_repeat(toolbox, name):
    panel = gappy(toolbox)
    settings = replace(toolbox.small, model=name, hidden=(3,), history=4, epochs=1, path_epochs=1)
    rows = np.arange(95, 110)

    def fits(data):
        samples = Samples.of(data)
        found = fit_objectives(
            samples,
            toolbox.solver(trading=0.0),
            ["squared", "aligned"],
            train=np.arange(14, 60),
            validation=np.arange(64, 90),
            seeds=(0, 1),
            settings=settings,
        )
        return samples, found

    samples, first = fits(panel)
    _, again = fits(panel)
    _, garbled = fits(panel.garbled_after(91))  # the row at which the last validation target is known

    for objective, fit in first.items():
        p = fit.forecast(samples, rows)
        assert np.isfinite(p).all()
        assert np.array_equal(p, again[objective].forecast(samples, rows))
        assert np.array_equal(p, garbled[objective].forecast(samples, rows))
        assert repr(fit.record()) == repr(garbled[objective].record())


def test_a_forecast_made_today_needs_only_the_last_rows(toolbox):
    panel = gappy(toolbox)
    samples, today = Samples.of(panel), 50
    fits = fit_objectives(
        samples,
        toolbox.solver(trading=0.0),
        ["squared"],
        train=np.arange(14, 40),
        validation=np.arange(44, 50),
        seeds=(0, 1),
        settings=replace(toolbox.small, model="convolution", history=HISTORY, epochs=1),
    )
    fit = fits["squared"]

    found = fit.today(panel.until(today))

    torch.testing.assert_close(torch.tensor(found), torch.tensor(fit.forecast(samples, np.array([today]))[:, 0]))
    assert len(RecentInputs.of(panel, fit.network.history).features) == HISTORY
