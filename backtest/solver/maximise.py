"""The dual's maximum: compiled row by row on the CPU, batched tensors elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from backtest.solver.compiled import maximise_dual_compiled
from backtest.solver.compiled_response import known_curves
from backtest.solver.dual import Dual
from backtest.solver.newton import DualPoint, maximise_dual

__all__ = ["maximise"]


def maximise(dual: Dual, start: Tensor | None = None) -> DualPoint:
    """Maximise the dual function of every row.

    Args:
        dual: without gradients.
        start: (B, R) multipliers to start from; None starts from 0.
    """
    plain = dual.c.device.type == "cpu" and dual.c.dtype == torch.float64
    if plain and known_curves(dual.separable.curves):
        return maximise_dual_compiled(dual, start)
    return maximise_dual(dual, start)
