"""The peers: which there are, what each needs installed, and how its time grows, so that a hopeless cell is skipped.

cvxpylayers 1.2 takes `solver=` (None is diffcp, "MOREAU" its own interface); diffcp takes `solve_method` (SCS when
left out, or Clarabel). moreau has a torch layer of its own. proxsuite and qpth take dense quadratic programs.
Every peer has the tolerances that it comes with. Moreau is told to use its interior-point method: left to choose, it
takes small problems to an active-set method that answers this one wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from solver_peer_conic import cvxpy_layer
from solver_peer_dense import proxsuite_layer, qpth_layer
from solver_peer_moreau import moreau_layer
from solver_problem import Problem

__all__ = ["DEFAULT_CVXPYLAYERS", "PEERS", "Layer", "Peer"]

Layer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Maps `p` and `held` (B, N) to weights (B, N), differentiable in `p`."""

DEFAULT_CVXPYLAYERS = "cvxpylayers"


@dataclass(frozen=True)
class Peer:
    """One way to solve the problem with somebody else's program.

    Attributes:
        name: as printed.
        packages: what must be installed.
        build: makes the layer for a problem; called once a cell.
        growth: how the time of one row grows with (N, k), up to a factor.
        batches: False for one that loops over rows: a few rows tell its time.
        form: how the problem is put to it.
    """

    name: str
    packages: tuple[str, ...]
    build: Callable[[Problem], Layer]
    growth: Callable[[int, int], float]
    batches: bool
    form: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Packages that are not installed."""
        return tuple(package for package in self.packages if find_spec(package) is None)


def _sparse(n_assets: int, n_factors: int) -> float:
    return n_assets * n_factors**1.5


def _dense(n_assets: int, n_factors: int) -> float:
    return float(n_assets) ** 3


EPIGRAPH = "x, f = G'x, short part, trade part"
SPLIT = "x+, x-, trades+, trades-, f = G'x"
DENSE = "x, short part, trade part, dense"
PEERS = (
    Peer(DEFAULT_CVXPYLAYERS, ("cvxpylayers", "diffcp", "scs"), cvxpy_layer(), _sparse, False, EPIGRAPH),
    Peer(
        "cvxpylayers, Clarabel",
        ("cvxpylayers", "diffcp", "clarabel"),
        cvxpy_layer(solve_method="Clarabel"),
        _sparse,
        False,
        EPIGRAPH,
    ),
    Peer(
        "cvxpylayers, Moreau",
        ("cvxpylayers", "moreau"),
        cvxpy_layer(solver="MOREAU", settings={"solver": "ipm"}),
        _sparse,
        True,
        EPIGRAPH,
    ),
    Peer("moreau", ("moreau",), moreau_layer("epigraph"), _sparse, True, EPIGRAPH),
    Peer("moreau, split", ("moreau",), moreau_layer("split"), _sparse, True, SPLIT),
    Peer("proxsuite", ("proxsuite",), proxsuite_layer, _dense, False, DENSE),
    Peer("qpth", ("qpth",), qpth_layer, _dense, True, DENSE),
)
