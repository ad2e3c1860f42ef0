"""Modules that read a window of feature history: a gated recurrent unit and a causal convolution.

Both are written in plain operations, so that many replicas run under `vmap`. A window is (..., L, I): L rows, oldest
first, the last being the row of the forecast; nothing later is in it, so nothing later can move a forecast.

Sources: Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder", in PyTorch's variant (the reset
gate after the product with the state); van den Oord et al. (2016), "WaveNet", for dilated causal convolutions; He et
al. (2015) for the initial draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from backtest.training.models import LAST_LAYER_GAIN

__all__ = ["GatedRecurrentUnit", "TemporalConvolution", "perceptron"]


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Return dense layers with SiLU between them, of `sizes` from inputs to outputs; the last one starts small."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [_dense(inputs, outputs, gain=2**0.5), nn.SiLU()]
    layers.pop()
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.normal_(last.weight, std=LAST_LAYER_GAIN / last.in_features**0.5)
    return nn.Sequential(*layers)


def _dense(inputs: int, outputs: int, *, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=gain / inputs**0.5)
    nn.init.zeros_(layer.bias)
    return layer


class GatedRecurrentUnit(nn.Module):
    """One recurrent layer over the window, and dense layers on its last state."""

    def __init__(self, n_inputs: int, *, hidden: Sequence[int]) -> None:
        """Make the layers: `hidden` is the size of the state, then of the dense layers."""
        super().__init__()
        state = hidden[0]
        self.of_inputs = _dense(n_inputs, 3 * state, gain=1.0)
        self.of_state = _dense(state, 3 * state, gain=1.0)
        self.head = perceptron([*hidden, 1])

    def forward(self, window: Tensor) -> Tensor:
        """Return (..., 1) for windows (..., L, I)."""
        state = window.new_zeros(*window.shape[:-2], self.of_state.in_features)
        for step in range(window.shape[-2]):
            from_inputs = self.of_inputs(window[..., step, :]).chunk(3, dim=-1)
            from_state = self.of_state(state).chunk(3, dim=-1)
            reset = torch.sigmoid(from_inputs[0] + from_state[0])
            keep = torch.sigmoid(from_inputs[1] + from_state[1])
            new = torch.tanh(from_inputs[2] + reset * from_state[2])
            state = new + keep * (state - new)
        output: Tensor = self.head(state)
        return output


class TemporalConvolution(nn.Module):
    """Causal convolutions with SiLU, each dilated by the reach of those before it, read at the last row.

    All layers have the smallest width with which they see the whole window together. Since only the last row's output
    is asked for, a layer needs every `width`-th output of the one before, and is a dense layer on `width` rows in a
    row: the cost of a window is that of its first layer, not of all layers on all rows.
    """

    def __init__(self, n_inputs: int, *, hidden: Sequence[int], history: int) -> None:
        """Make the layers: `hidden` are their channels, `history` is L."""
        super().__init__()
        depth = len(hidden)
        self.width = next(width for width in range(1, history + 1) if width**depth >= history)
        self.reach = self.width**depth
        self.layers = nn.ModuleList(
            _dense(self.width * inputs, outputs, gain=2**0.5) for inputs, outputs in pairwise([n_inputs, *hidden])
        )
        self.head = perceptron([hidden[-1], 1])

    def forward(self, window: Tensor) -> Tensor:
        """Return (..., 1) for windows (..., L, I); rows before the window count as missing."""
        before = window.new_zeros(*window.shape[:-2], self.reach - window.shape[-2], window.shape[-1])
        x = torch.cat([before, window], dim=-2)
        for layer in self.layers:
            x = nn.functional.silu(layer(x.reshape(*x.shape[:-2], x.shape[-2] // self.width, -1)))
        output: Tensor = self.head(x.squeeze(-2))
        return output
