"""Checks of a cost against its contract, in plain words; `backtest.contracts.check_cost` is how users run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.custom import SeparableCost, SmoothCost
from backtest.costs.custom_rows import CustomRows
from backtest.costs.scanning import Break, Lines, Scan
from backtest.errors import CostError
from backtest.market import MarketSnapshot

__all__ = ["CheckedCost", "Kink"]

RANDOM_LINES = 4
"""Lines in random directions along which a cost of all weights together is looked at, besides one an asset."""

STEPS = (1e-4, 1e-5, 1e-6)
"""Widths of the differences that derivatives are compared with; one must agree, as a kink may lie within the others."""

AGREES = 1e-5
SAME = 1e-12
"""Relative difference between two costs that is rounding."""

ONE_PLACE = 1e-9
EITHER = "0 or held"


@dataclass(frozen=True)
class Kink:
    """A weight at which the slope of a cost jumps, or is vertical.

    Attributes:
        where: "0"; "held"; "0 or held" where no other place tells which; "kinks()[2]" for another one that the user
            declares; or the weight as text.
        jump: largest jump of the slope found there; None where it is vertical but does not jump.
        declared: whether a SeparableCost names the place in `kinks`; None for other costs.
    """

    where: str
    jump: float | None
    declared: bool | None

    def __str__(self) -> str:
        shape = "the slope is vertical" if self.jump is None else f"the slope jumps by up to {self.jump:.3g}"
        return f"{self.where}: {shape}" + ("; not declared by kinks()" if self.declared is False else "")


class CheckedCost:
    """One cost, what it is tried on, and the checks: each raises `CostError` when the cost breaks its contract.

    Attributes:
        cost: the cost.
        held: (B, N) float64 weights before trading.
        market: the market at the B rows, or None.
        q: (B, N) random weights after trading.
        shape: (B, N).
        apart: whether the cost of an asset depends on that asset's weight alone, as its terms say.
    """

    def __init__(self, cost: Cost, held: Tensor, market: MarketSnapshot | None, seed: int) -> None:
        self.cost, self.held, self.market = cost, held, market
        self.name, self.shape = type(cost).__name__, (held.shape[0], held.shape[1])
        self.generator = torch.Generator().manual_seed(seed)
        self.q = self._random(0.2)
        terms = cost.terms(held, market)
        self.apart = not (terms.loadings or terms.smooth or terms.soft)

    def value(self, q: Tensor, held: Tensor | None = None) -> Tensor:
        """Return the cost by asset (B, N)."""
        return self.cost.value(q, self.held if held is None else held, self.market)

    def slope_size(self, size: float) -> float:
        """Return the largest marginal cost after trades of `size`, or 1 where there is none."""
        slope = CustomRows(self.cost, self.held, self.market).slope(self.held + size)
        return float(slope.abs().max()) or 1.0

    def check_calls(self) -> None:
        """Check shape, finite numbers, the same answer twice, and inputs left alone."""
        q, held = self.q.clone(), self.held.clone()
        first = self.value(q, held)
        if not isinstance(first, Tensor):
            raise CostError(f"{self.name}.value returned {type(first).__name__}: return a torch tensor (B, N)")
        if first.ndim != 2 or first.shape[1] != q.shape[1] or first.shape[0] not in (1, len(q)):
            raise CostError(
                f"{self.name}.value returned shape {tuple(first.shape)} for weights {tuple(q.shape)}: return the cost "
                "by asset, (B, N)"
            )
        if not torch.equal(q, self.q) or not torch.equal(held, self.held):
            changed = "q" if not torch.equal(q, self.q) else "held"
            raise CostError(f"{self.name}.value changes {changed}: leave out operations in place, as clamp_ or +=")
        if not torch.equal(first.nan_to_num(nan=0.5), self.value(q, held).nan_to_num(nan=0.5)):
            raise CostError(f"{self.name}.value returns other numbers when it is called again: keep no state in it")
        self._refuse_infinite(first.expand(q.shape), q)

    def check_rows_and_assets(self) -> None:
        """Check that rows do not depend on each other, nor assets of a separable cost."""
        moved = self.q.clone()
        moved[0] += self._random(0.1)[0]
        before, after = self.value(self.q), self.value(moved)
        if _differ(before[1:], after[1:]):
            raise CostError(
                f"{self.name}: the cost of row 1 changed with the weights of row 0: rows are separate problems; "
                "sum over assets (dim=-1), never over rows"
            )
        if not self.apart:
            return
        for asset in range(self.q.shape[1]):
            moved = self.q.clone()
            moved[:, asset] += 0.1
            after = self.value(moved)
            others = [other for other in range(self.q.shape[1]) if other != asset]
            if _differ(before[:, others], after[:, others]):
                other = others[int((before - after).abs()[:, others].amax(0).argmax())]
                raise CostError(
                    f"{self.name}: the cost of {self._label(other)} changed with the weight of {self._label(asset)}: a "
                    "SeparableCost is one of each asset's own weight; write this one as a SmoothCost"
                )

    def check_derivatives(self) -> None:
        """Check that automatic differentiation agrees with differences."""
        slope = CustomRows(self.cost, self.held, self.market).slope(self.q)
        gap = torch.full_like(slope, torch.inf)
        for step in STEPS:
            columns = []
            for asset in range(self.q.shape[1]):
                by = torch.zeros_like(self.q)
                by[:, asset] = step / 2
                rise = self.value(self.q + by) - self.value(self.q - by)
                columns.append(rise.expand(self.q.shape).sum(-1) / step)
            gap = torch.minimum(gap, (torch.stack(columns, dim=-1) - slope).abs())
        worst = int((gap / slope.abs().max().clamp(min=1e-300)).argmax())
        row, asset = divmod(worst, self.q.shape[1])
        if not bool(gap[row, asset] <= AGREES * slope.abs().max() + 1e-9 * self.value(self.q).abs().max()):
            raise CostError(
                f"{self.name}: automatic differentiation gives {float(slope[row, asset])!r} for "
                f"{self._label(asset)} (row {row}) at weight {float(self.q[row, asset])!r}, differences of its value "
                f"give something else by {float(gap[row, asset]):.3g}: compute with torch from q to the end, without "
                "detach, item, numpy or rounding"
            )

    def scan(self) -> tuple[float, tuple[Kink, ...], list[str]]:
        """Check finite numbers, sign and convexity along lines; return the lowest cost, kinks and other findings."""
        lowest, kinks, findings = torch.inf, list[tuple[Scan, Break]](), list[str]()
        for scan in self._scans():
            lines = scan.lines
            bad = torch.argwhere(~torch.isfinite(scan.values))
            if len(bad):
                point = lines.base + scan.places[int(bad[0, 0])] * lines.direction
                self._refuse_infinite(self.value(point).expand(point.shape), point)
            unknown = torch.isnan(scan.slopes) & scan.off_centre
            if bool(unknown.any()):
                point = lines.base + scan.places[int(torch.argwhere(unknown)[0, 0])] * lines.direction
                rows = CustomRows(self.cost, self.held, self.market)
                rows.refuse(rows.slope(point), point, "the derivative of its value")
            proof = scan.proof_of_nonconvexity()
            if proof is not None:
                if self._is_axis(lines):
                    asset = proof.asset if self.apart else int(lines.direction[0].argmax())
                    told = proof.told(f"{self._label(asset)} (row {proof.row})")
                else:
                    row = slice(proof.row, proof.row + 1)
                    told = proof.along(lines.base[row], lines.direction[row])
                raise CostError(f"{self.name} is not convex: {told}")
            lowest = min(lowest, self._lowest(scan, findings))
            if bool((torch.isnan(scan.curvatures) & scan.off_centre).any()):
                findings.append(
                    "its second derivative is NaN in places: positions are right, derivatives of them in held and in "
                    "the cost's own tensors are not; write powers as u.clamp(min=1e-30).pow(1.5)"
                )
            kinks += [(scan, each) for each in scan.breaks]
        return lowest, self._named(kinks), list(dict.fromkeys(findings))

    def check_held(self) -> list[str]:
        """Check that what is said of the weights held is so; return findings."""
        findings = []
        moves = _differ(self.value(self.q), self.value(self.q, self.held + self._random(0.1)))
        if moves and not self.cost.depends_on_held:
            raise CostError(
                f"{self.name} depends on held, but says it does not, and training would not follow what is held: set "
                "paid_per_trade = True, as a cost of trades does"
            )
        if self.cost.depends_on_held and not moves:
            findings.append("said to depend on what is held, but it did not at the weights tried")
        rest = self.held if self.cost.depends_on_held else torch.zeros_like(self.held)
        at_rest = self.value(rest).expand(rest.shape)
        if bool((at_rest.abs() > SAME * self.value(self.q).abs().max()).any()):
            row, asset = torch.nonzero(at_rest.abs() == at_rest.abs().max())[0].tolist()
            what = "no trade" if self.cost.depends_on_held else "no position"
            findings.append(f"{what} costs {float(at_rest[row, asset])!r} in {self._label(asset)} (row {row})")
        return findings

    def check_curvature(self) -> None:
        """Check a smooth cost's Hessian at random weights of several sizes: finite, positive semidefinite."""
        for function in self.cost.terms(self.held, self.market).smooth:
            for size in (0.0, 1e-3, 0.1, 1.0, 3.0):
                point = self._random(size)
                diagonal, loadings = function.curvature(point)
                direction = self._random(1.0)
                product = diagonal * direction + (loadings @ (loadings.mT @ direction.unsqueeze(-1))).squeeze(-1)
                step = 1e-5 * max(size, 1e-3)
                rise = function.gradient(point + step * direction) - function.gradient(point - step * direction)
                gap = (product - rise / (2 * step)).abs().max()
                if not bool(gap <= 1e-4 * torch.maximum(product.abs().max(), function.gradient(point).abs().max())):
                    raise CostError(
                        f"{self.name}: its curvature differs by {float(gap):.3g} from differences of its gradient near "
                        f"weights of size {size:g}: correct its curvature method, or leave it out"
                    )

    def _scans(self) -> list[Scan]:
        held, market = self.held, self.market
        if self.apart:
            zero = torch.zeros_like(held)
            lines = Lines(self.cost, held, market, zero, torch.ones_like(held), apart=True)
            return [Scan(lines, (zero, held, *self._declared()))]
        scans = []
        for asset in range(held.shape[1]):
            direction = torch.zeros_like(held)
            direction[:, asset] = 1.0
            base = self._random(0.2) * (1 - direction)
            centres = (torch.zeros_like(held[:, :1]), held[:, asset : asset + 1])
            scans.append(Scan(Lines(self.cost, held, market, base, direction, apart=False), centres))
        for number in range(RANDOM_LINES):
            base, direction = self._random(0.1 if number % 2 else 0.0), self._random(1.0)
            centre = torch.zeros_like(held[:, :1])
            scans.append(Scan(Lines(self.cost, held, market, base, direction, apart=False), (centre,)))
        return scans

    def _declared(self) -> tuple[Tensor, ...]:
        curves = self.cost.terms(self.held, self.market).curves
        return tuple(place.expand(self.held.shape) for curve in curves for place in curve.breaks)

    def _named(self, found: list[tuple[Scan, Break]]) -> tuple[Kink, ...]:
        """Return the distinct places of breaks along single assets."""
        separable = isinstance(self.cost, SeparableCost)
        declared = self._declared() if separable else ()
        places: dict[str, Kink] = {}
        for scan, each in found:
            if not self._is_axis(scan.lines):
                if isinstance(self.cost, SmoothCost):
                    raise self._kinked(scan.lines.base[each.row] + each.place * scan.lines.direction[each.row])
                continue
            asset = each.line if self.apart else int(scan.lines.direction[0].argmax())
            if isinstance(self.cost, SmoothCost):
                raise self._kinked(f"{each.place!r} of {self._label(asset)}")
            at = [float(place[each.row, asset]) for place in declared]
            known = [number for number, place in enumerate(at) if _near(place, each.place)]
            at_zero, at_held = abs(each.place) < ONE_PLACE, _near(float(self.held[each.row, asset]), each.place)
            if at_zero or at_held:
                where = EITHER if at_zero and at_held else "0" if at_zero else "held"
            else:
                where = f"kinks()[{known[0]}]" if known else f"{each.place:.6g}"
            old = places.get(where)
            jumps = [kink.jump for kink in (old, each) if kink is not None and kink.jump is not None]
            places[where] = Kink(where, max(jumps, default=None), bool(known) if separable else None)
        if {"0", "held"} & places.keys():
            places.pop(EITHER, None)
        return tuple(places[where] for where in sorted(places))

    def _kinked(self, where: Any) -> CostError:
        return CostError(
            f"{self.name} has a kink at weight {where}: a SmoothCost has two derivatives everywhere; write the part "
            "with the kink as a SeparableCost, and add the two"
        )

    def _lowest(self, scan: Scan, findings: list[str]) -> float:
        lowest, largest = float(scan.values.min()), float(scan.values.abs().max())
        if lowest < -SAME * largest:
            place, row, line = torch.argwhere(scan.values == scan.values.min())[0].tolist()
            point = scan.lines.base[row] + scan.places[place, row] * scan.lines.direction[row]
            asset = line if self.apart else 0
            where = (
                f"{self._label(asset)} (row {row}) at weight {float(point[asset])!r} after "
                f"{float(self.held[row, asset])!r}"
                if self.apart
                else f"row {row} at weights {point.tolist()}"
            )
            if self.cost.cash:
                raise CostError(f"{self.name} costs {lowest!r} for {where}: a cash cost is never negative, nor a gain")
            findings.append(f"it is negative, {lowest!r} for {where}: a reward")
        return lowest

    def _refuse_infinite(self, values: Tensor, q: Tensor) -> None:
        bad = torch.argwhere(~torch.isfinite(values))
        if len(bad):
            row, asset = bad[0].tolist()
            raise CostError(
                f"{self.name} costs {float(values[row, asset])} for {self._label(asset)} (row {row}) at weight "
                f"{float(q[row, asset])!r} after {float(self.held[row, asset])!r}: give it a finite value at every "
                "weight, and say where weights may not be by a constraint"
            )

    def _is_axis(self, lines: Lines) -> bool:
        return self.apart or bool((lines.direction[0] == 1).any())

    def _label(self, asset: int) -> str:
        known = self.market is not None and self.market.assets is not None
        return f"asset {self.market.assets[asset]!r}" if known else f"asset {asset}"  # type: ignore[union-attr, index]

    def _random(self, size: float) -> Tensor:
        return size * torch.randn(self.held.shape, generator=self.generator, dtype=self.held.dtype)


def _differ(one: Tensor, other: Tensor) -> bool:
    if not one.numel():
        return False
    return bool(((one - other).abs() > SAME * torch.maximum(one.abs().max(), other.abs().max())).any())


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= ONE_PLACE * max(abs(one), abs(other), 1.0)
