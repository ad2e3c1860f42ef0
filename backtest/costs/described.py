"""A cost in a line for a reader: what was set, and of arrays their size and range."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

__all__ = ["described"]


def described(value: Any) -> str:
    """Say how a cost was made, without what has its default: `TradingCost(half_spread=12 numbers, 0.0001 to 0.001)`."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | pd.Series | pd.DataFrame):
        numbers = np.asarray(value)
        size = " x ".join(str(length) for length in numbers.shape)
        if numbers.dtype.kind not in "iuf" or not numbers.size:
            return f"{size} values"
        return f"{size} numbers, {np.nanmin(numbers):.2g} to {np.nanmax(numbers):.2g}"
    if isinstance(value, float):
        return f"{value:g}"
    if not is_dataclass(value) or isinstance(value, type):
        # What a class inherits from `object` ends in an address, which tells a reader nothing.
        return f"{type(value).__name__}()" if type(value).__repr__ is object.__repr__ else repr(value)
    given = [
        f"{each.name}={described(getattr(value, each.name))}"
        for each in fields(value)
        if each.repr and _set(value, each)
    ]
    return f"{type(value).__name__}({', '.join(given)})"


def _set(cost: Any, each: Any) -> bool:
    value = getattr(cost, each.name)
    if each.default is MISSING or isinstance(value, Tensor | np.ndarray | pd.Series | pd.DataFrame):
        return True
    return bool(value != each.default)
