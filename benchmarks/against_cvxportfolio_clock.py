"""Where our day goes: the policy, in it the compiled kernel, and the simulator around it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from against_cvxportfolio_cases import Case, Setting
from solver_floor import floor_seconds

import backtest.solver.compiled as compiled
from backtest.costs import FactorRisk
from backtest.market import MarketSnapshot
from backtest.simulation import Decision, Policy

__all__ = ["split_of_day"]

KERNEL = "_maximise"
"""The compiled function in `backtest.solver.compiled` that solves a batch; its last argument gets each row's steps."""


@dataclass(frozen=True)
class TimedPolicy(Policy):
    """A policy, and the seconds that each of its decisions took."""

    policy: Policy
    seconds: list[float]

    def prepare(self, dates: pd.DatetimeIndex, assets: pd.Index, *, lag: int) -> Policy:
        return TimedPolicy(self.policy.prepare(dates, assets, lag=lag), self.seconds)

    def memory(self) -> dict[str, np.ndarray]:
        return self.policy.memory()

    def restore(self, memory: Mapping[str, np.ndarray]) -> None:
        self.policy.restore(memory)

    def decide(
        self, p: np.ndarray, held: np.ndarray, market: MarketSnapshot, tradable: np.ndarray
    ) -> np.ndarray | Decision:
        start = time.process_time()
        decision = self.policy.decide(p, held, market, tradable)
        self.seconds.append(time.process_time() - start)
        return decision


def split_of_day(case: Case, *settings: Setting) -> dict[str, float]:
    """Return milliseconds a policy and day: in all, in the policy, in the kernel, and of the kernel's floor.

    The floor is the matrix products of as many Newton steps as were taken; see `solver_floor`.
    """
    decisions: list[float] = []
    kernel: list[float] = []
    steps: list[int] = []
    run_kernel = getattr(compiled, KERNEL)

    def timed_kernel(*given: Any) -> None:
        start = time.process_time()
        run_kernel(*given)
        kernel.append(time.process_time() - start)
        steps.append(int(given[-1].sum()))

    policy = TimedPolicy(case.policy(*settings), decisions)
    with mock.patch.object(compiled, KERNEL, timed_kernel):
        start = time.process_time()
        case.simulate(policy, n_books=len(settings))
        whole = time.process_time() - start
    if not kernel:
        raise RuntimeError(f"the solver never called {KERNEL}: name the kernel that it calls now")
    assert isinstance(case.risk, FactorRisk)
    assert case.risk.history is not None
    floor = floor_seconds(SimpleNamespace(loadings=case.risk.history.loadings[-1]), sum(steps))
    parts = {"day": whole, "policy": sum(decisions), "kernel": sum(kernel), "floor": floor}
    days = case.days * len(settings)
    return {name: 1e3 * seconds / days for name, seconds in parts.items()} | {"steps": sum(steps) / days}
