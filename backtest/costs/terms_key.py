"""What the terms of a cost or constraint are a function of, where it can be believed."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

from backtest.market import MarketSnapshot

__all__ = ["believed_key"]


def believed_key(part: Any, market: MarketSnapshot | None) -> Hashable | None:
    """Return the `terms_key` of a cost or constraint; None where it was not written for the class at hand.

    A class that a user derived from one of the library, and that overrides what its terms are made of, inherits a key
    that knows nothing of it. Parts that contain others ask for theirs through this function too.
    """
    kind: type = type(part)
    return part.terms_key(market) if _speaks_for_itself(kind) else None


@cache
def _speaks_for_itself(kind: type) -> bool:
    """Return whether no class below the one that wrote `terms_key` has code of its own."""
    for level in kind.__mro__:
        if "terms_key" in vars(level):
            return True
        named = (value for name, value in vars(level).items() if not name.startswith("__"))
        if any(callable(value) or isinstance(value, property | staticmethod | classmethod) for value in named):
            return False
    return False
