"""The risk that a cost's model predicts for the positions taken, read off what the cost said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backtest.costs import Cost, DenseRisk, FactorRisk
from backtest.costs.base import ScaledCost

__all__ = ["predicted_volatility"]


def predicted_volatility(opinions: Sequence[tuple[str, Cost]], valued: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the standard deviation of each period's return, or None where the costs have no risk model, or several.

    Args:
        opinions: (name, cost) of what is not charged.
        valued: name -> (B, S) of each, at the positions taken; NaN after a ruin.
    """
    models = []
    for name, cost in opinions:
        aversion, inner = 1.0, cost
        while isinstance(inner, ScaledCost):
            aversion, inner = aversion * float(inner.weight), inner.cost
        if isinstance(inner, FactorRisk | DenseRisk):
            models.append((aversion, valued[name]))
    if len(models) != 1 or models[0][0] == 0:
        return None
    # The cost is half the variance, times the aversion.
    aversion, values = models[0]
    return np.where(np.isnan(values), np.nan, np.sqrt(2.0 / aversion * np.fmax(values, 0.0)))
