"""Limits on sums of weights: of cash, of groups, of factors, of any linear combination."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backtest.costs.limits import Constraint
from backtest.costs.parameters import (
    Parameter,
    as_tensor,
    check_bound,
    check_labels,
    check_ordered,
    check_parameter,
    features_of,
    loadings_of,
    one_a_row,
)
from backtest.costs.terms import LimitTerms
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["CashFloor", "FactorLimit", "GroupLimit", "LinearLimit"]

Bounds = Parameter | Mapping[Any, Any] | None
"""Limits of k sums: a scalar, (k,), (B, 1), (B, k), or a Series or mapping by name; None is none."""


@dataclass(frozen=True, eq=False)
class CashFloor(Constraint):
    """`1'q <= 1 - minimum`: at least `minimum` of wealth stays cash.

    Attributes:
        minimum: scalar, or (B, 1) with one a row; fraction of wealth, negative where borrowing is allowed.

    Raises:
        CostError: the minimum is not finite.
    """

    minimum: Parameter = 0.0

    def __post_init__(self) -> None:
        check_parameter(self.minimum, "CashFloor", "minimum", minimum=-np.inf)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return one inequality."""
        bound = 1 - one_a_row(self.minimum, held, "CashFloor minimum")
        return LimitTerms(inequality=(torch.ones_like(held[:1]).unsqueeze(1), bound))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class LinearLimit(Constraint):
    """`lower <= M q <= upper`, an equality where both are equal in all rows.

    Attributes:
        matrix: `M`, (m, N), (B, m, N), or a DataFrame with a column for each asset and a name for each row.
        lower, upper: scalar, (m,), (B, 1), (B, m), or a Series or mapping by the name of the row, where a row that is
            not named has no limit; None and infinite are none.

    Raises:
        CostError: there is no limit, a limit is NaN, or a lower one is above its upper one.
    """

    matrix: np.ndarray | pd.DataFrame | Tensor
    lower: Bounds = None
    upper: Bounds = None

    def __post_init__(self) -> None:
        _check_bounds(self.lower, self.upper, "LinearLimit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return equalities and inequalities.

        Raises:
            CostError: the matrix or a limit does not fit the problem's assets, rows or names.
            LabelError: the matrix is labelled, and its labels are not the problem's.
        """
        names: Sequence[Any] | None = None
        if isinstance(self.matrix, pd.DataFrame):
            names = list(self.matrix.index)
            matrix = loadings_of(self.matrix.T, held, market, "LinearLimit matrix").mT
        else:
            matrix = as_tensor(self.matrix, held)
            matrix = matrix.unsqueeze(0) if matrix.ndim == 2 else matrix
            if matrix.ndim != 3 or matrix.shape[0] not in (1, len(held)) or matrix.shape[2] != held.shape[1]:
                raise CostError(
                    f"LinearLimit matrix has shape {tuple(matrix.shape)}, which does not fit {len(held)} rows "
                    f"of {held.shape[1]} assets: give (m, N) or (B, m, N)"
                )
        return _between(matrix, self.lower, self.upper, names, held, "LinearLimit")

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


@dataclass(frozen=True, eq=False)
class FactorLimit(Constraint):
    """`lower <= F'q <= upper`, the exposure to each factor; neutral where both are 0.

    Attributes:
        loadings: `F`, (N, k), (B, N, k), or a DataFrame by asset with a column for each factor.
        features: names of panel features that are the columns of `F`, as known at each row; an asset whose feature is
            not available counts as having none (0).
        lower, upper: scalar, (k,), (B, 1), (B, k), or a Series or mapping by the name of the factor, where a factor
            that is not named has no limit; None and infinite are none. Weight times the unit of the loading.

    Raises:
        CostError: both or neither of loadings and features are given, there is no limit, a limit is NaN, or a lower one
            is above its upper one.
    """

    loadings: np.ndarray | pd.DataFrame | Tensor | None = None
    features: Sequence[str] = ()
    lower: Bounds = None
    upper: Bounds = None

    def __post_init__(self) -> None:
        if (self.loadings is None) == (not self.features):
            raise CostError("FactorLimit takes either loadings= or features=, and one of them is needed")
        _check_bounds(self.lower, self.upper, "FactorLimit")

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return equalities and inequalities.

        Raises:
            CostError: the loadings or a limit do not fit the problem, or a feature is not there.
            LabelError: the loadings are labelled, and their labels are not the problem's.
        """
        names: Sequence[Any] | None = list(self.features) or None
        if self.loadings is None:
            loadings = features_of(self.features, held, market, "FactorLimit")
        else:
            loadings = loadings_of(self.loadings, held, market, "FactorLimit loadings")
            names = list(self.loadings.columns) if isinstance(self.loadings, pd.DataFrame) else None
        return _between(loadings.mT, self.lower, self.upper, names, held, "FactorLimit")

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same for given loadings; features change with every row."""
        return None if self.loadings is None else ()


@dataclass(frozen=True, eq=False)
class GroupLimit(Constraint):
    """`lower <= sum of q over a group <= upper`, for each group, as a sector; an equality where both are equal.

    Attributes:
        groups: (N,) name of the group of each asset, or a Series by asset; an asset without a name (None, NaN) is in no
            group.
        lower, upper: scalar, (B, 1), (G,) or (B, G) in the order of `names`, or a Series or mapping by the name of the
            group, where a group that is not named has no limit; None and infinite are none. Fraction of wealth.

    Raises:
        CostError: no asset is in a group, there is no limit, a limit is NaN, or a lower one is above its upper one.
    """

    groups: Sequence[Any] | np.ndarray | pd.Series
    lower: Bounds = None
    upper: Bounds = None

    def __post_init__(self) -> None:
        _check_bounds(self.lower, self.upper, "GroupLimit")
        if not self.names:
            raise CostError("GroupLimit: no asset is in a group: name the group of one at least")

    @property
    def names(self) -> list[Any]:
        """The G groups, sorted."""
        return sorted(pd.Series(self.groups).dropna().unique())

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return equalities and inequalities.

        Raises:
            CostError: the groups are not one an asset, or a limit names no group.
            LabelError: the groups are labelled, and their labels are not the problem's.
        """
        groups = self.groups
        if isinstance(groups, pd.Series):
            groups = groups.reindex(check_labels(groups.index, market, "GroupLimit groups"))
        if len(groups) != held.shape[1]:
            raise CostError(f"GroupLimit: {len(groups)} assets have a group, the problem has {held.shape[1]} assets")
        codes = pd.Index(self.names).get_indexer(pd.Index(groups))
        members = torch.as_tensor(codes == np.arange(len(self.names))[:, None])
        return _between(members.to(held).unsqueeze(0), self.lower, self.upper, self.names, held, "GroupLimit")

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """Always the same: what is given does not change."""
        return ()


def _check_bounds(lower: Bounds, upper: Bounds, owner: str) -> None:
    if lower is None and upper is None:
        raise CostError(f"{owner} needs lower= or upper=")
    for name, value, never in (("lower", lower, np.inf), ("upper", upper, -np.inf)):
        if isinstance(value, Mapping):
            for key, bound in value.items():
                check_bound(bound, owner, f"{name} of {key!r}", never=never)
        elif value is not None:
            check_bound(value, owner, name, never=never)
    if isinstance(lower, Mapping) and isinstance(upper, Mapping):
        for key in lower.keys() & upper.keys():
            check_ordered(lower[key], upper[key], f"{owner} {key!r}")
    elif not (lower is None or upper is None or isinstance(lower, Mapping) or isinstance(upper, Mapping)):
        check_ordered(lower, upper, owner)


def _bounds_of(
    value: Bounds, names: Sequence[Any] | None, count: int, held: Tensor, *, missing: float, what: str
) -> Tensor:
    """Return limits (B | 1, k) of `count` sums; `missing` where there is none."""
    if value is None:
        return held.new_full((1, count), missing)
    if isinstance(value, Mapping | pd.Series):
        if names is None:
            raise CostError(f"{what} is given by name, but the sums have no names: give (k,) numbers")
        unknown = [name for name in value.keys() if name not in names]  # noqa: SIM118  # of a Series, keys are labels
        if unknown:
            raise CostError(f"{what}: unknown names {unknown}; there are {list(names)}")
        columns = [one_a_row(value.get(name, missing), held, f"{what} of {name!r}") for name in names]
        rows = max(len(column) for column in columns)
        return torch.cat([column.expand(rows, 1) for column in columns], dim=1)
    bounds = as_tensor(value, held)
    bounds = bounds.reshape(1, -1) if bounds.ndim < 2 else bounds
    if bounds.ndim != 2 or bounds.shape[0] not in (1, len(held)) or bounds.shape[1] not in (1, count):
        raise CostError(
            f"{what} has shape {tuple(bounds.shape)}, which does not fit {len(held)} rows of {count} sums: "
            "give a scalar, (k,), (B, 1) or (B, k)"
        )
    return bounds.expand(-1, count)


def _between(
    matrix: Tensor, lower: Bounds, upper: Bounds, names: Sequence[Any] | None, held: Tensor, owner: str
) -> LimitTerms:
    """Return `lower <= M x <= upper` of a matrix (B | 1, m, N)."""
    count = matrix.shape[1]
    low = _bounds_of(lower, names, count, held, missing=-torch.inf, what=f"{owner} lower")
    high = _bounds_of(upper, names, count, held, missing=torch.inf, what=f"{owner} upper")
    equal = (low == high).all(0)
    equality = None
    if bool(equal.any()):
        # The mean, so that a derivative in either limit is half of that in both.
        equality = (matrix[:, equal], (low[:, equal] + high[:, equal]) / 2)
    sides = [_finite(sign * matrix[:, ~equal], sign * bound[:, ~equal]) for sign, bound in ((-1.0, low), (1.0, high))]
    kept = [(rows, bound) for rows, bound in sides if rows.shape[1]]
    if not kept:
        return LimitTerms(equality=equality)
    batch = max(max(len(rows), len(bound)) for rows, bound in kept)
    shared = max(len(rows) for rows, _ in kept)
    return LimitTerms(
        equality=equality,
        inequality=(
            torch.cat([rows.expand(shared, -1, -1) for rows, _ in kept], dim=1),
            torch.cat([bound.expand(batch, -1) for _, bound in kept], dim=1),
        ),
    )


def _finite(matrix: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Return `M x <= bound` without the rows that have no limit."""
    limited = torch.isfinite(bound)
    some = limited.any(0)
    matrix, bound, limited = matrix[:, some], bound[:, some], limited[:, some]
    if bool(limited.all()):
        return matrix, bound
    # A sum that is limited in some rows of the batch alone reads 0 <= 1 in the others.
    return torch.where(limited.unsqueeze(-1), matrix, 0.0), torch.where(limited, bound, 1.0)
