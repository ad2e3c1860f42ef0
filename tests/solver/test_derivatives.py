"""Derivatives of positions and of the aligned loss: closed form, graph, finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backtest.costs import (
    L1,
    BorrowFee,
    DollarNeutral,
    Exposure,
    FactorRisk,
    LeverageLimit,
    PositionLimit,
    Ridge,
    SoftL1,
    TradingCost,
    TurnoverLimit,
)
from backtest.errors import SolverError
from backtest.solver import PositionSolver

N = 12
RNG = np.random.default_rng(7)
PARAMETERS = {
    "p": RNG.normal(size=(2, N)) * 3e-3,
    "held": RNG.normal(size=(2, N)) * 0.1,
    "loadings": RNG.normal(size=(N, 3)) * 0.01,
    "specific": RNG.uniform(2e-4, 9e-4, N),
    "half_spread": RNG.uniform(2e-4, 2e-3, N),
    "l1": RNG.uniform(1e-4, 1e-3, N),
    "borrow": RNG.uniform(0.01, 0.3, N),
    "soft": RNG.uniform(1e-4, 3e-4, N),
    "ridge": RNG.uniform(1e-4, 5e-4, N),
    "exposure": RNG.normal(size=(N, 1)) * 0.02,
    "limit": RNG.uniform(0.15, 0.3, N),
    "leverage": np.array(0.8),
    "turnover": np.array(1.2),
    "aversion": np.array(4.0),
}
TARGET = torch.as_tensor(RNG.normal(size=(2, N)) * 3e-3)


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(value).clone() for name, value in PARAMETERS.items()}


def solver_of(t: dict[str, torch.Tensor], *, smoothing: float = 0.0) -> PositionSolver:
    costs = (
        t["aversion"] * FactorRisk(loadings=t["loadings"], specific_variance=t["specific"])
        + TradingCost(t["half_spread"])
        + L1(t["l1"])
        + BorrowFee(t["borrow"], periods_per_year=252)
        + SoftL1(width=0.05, weight=t["soft"])
        + Ridge(t["ridge"])
        + Exposure(loadings=t["exposure"])
    )
    limits = [DollarNeutral(), PositionLimit(t["limit"]), LeverageLimit(t["leverage"]), TurnoverLimit(t["turnover"])]
    return PositionSolver(costs, limits, smoothing=smoothing)


def aligned_loss(t: dict[str, torch.Tensor], q: torch.Tensor) -> torch.Tensor:
    return solver_of(t).problem(t["p"], t["held"]).cost(q) - (TARGET * q).sum(-1)


def test_every_kind_of_kink_and_limit_is_active_in_these_tests():
    t = tensors()
    solution = solver_of(t).solve(t["p"], t["held"])
    q = solution.q

    assert (q == 0).any()
    assert (q == t["held"]).any()
    assert (q.abs() == t["limit"]).any()
    assert (solution.multipliers.leverage > 0).any()
    assert (solution.multipliers.turnover > 0).any()
    assert (solution.optimum.point.flexibility > 0).sum() >= 6
    torch.testing.assert_close(q.sum(-1), torch.zeros(2, dtype=q.dtype), rtol=0, atol=1e-12)


def test_the_gradient_of_the_aligned_loss_is_J_times_p_minus_y():
    t = tensors()
    solution = solver_of(t).solve(t["p"], t["held"])
    closed = solution.solution_map(t["p"] - TARGET)

    p = t["p"].clone().requires_grad_()
    aligned_loss({**t, "p": p}, solver_of(t)(p, t["held"])).sum().backward()
    torch.testing.assert_close(p.grad, closed, rtol=1e-8, atol=1e-8)

    step = 1e-7
    for asset in range(N):
        up, down = t["p"].clone(), t["p"].clone()
        up[:, asset] += step
        down[:, asset] -= step
        losses = [aligned_loss(t, solver_of(t).solve(at, t["held"]).q) for at in (up, down)]
        torch.testing.assert_close((losses[0] - losses[1]) / (2 * step), closed[:, asset], rtol=1e-8, atol=1e-8)


def test_the_gradient_of_the_misaligned_loss_is_minus_J_times_y():
    t = tensors()
    solution = solver_of(t).solve(t["p"], t["held"])
    closed = -solution.solution_map(TARGET)

    p = t["p"].clone().requires_grad_()
    (-(TARGET * solver_of(t)(p, t["held"])).sum()).backward()
    torch.testing.assert_close(p.grad, closed, rtol=1e-8, atol=1e-8)

    step = 1e-7
    for asset in range(N):
        up, down = t["p"].clone(), t["p"].clone()
        up[:, asset] += step
        down[:, asset] -= step
        earned = [-(TARGET * solver_of(t).solve(at, t["held"]).q).sum(-1) for at in (up, down)]
        torch.testing.assert_close((earned[0] - earned[1]) / (2 * step), closed[:, asset], rtol=1e-8, atol=1e-8)


def test_at_the_solution_the_gradient_of_C_is_p_where_nothing_is_stuck():
    costs = 5.0 * FactorRisk(loadings=PARAMETERS["loadings"], specific_variance=4e-4) + Ridge(1e-3)
    solver = PositionSolver(costs)
    q = torch.as_tensor(solver.solve(PARAMETERS["p"]).q).requires_grad_()
    problem = solver.problem(torch.as_tensor(PARAMETERS["p"]), torch.zeros(2, N, dtype=torch.float64))
    problem.cost(q).sum().backward()

    torch.testing.assert_close(q.grad, torch.as_tensor(PARAMETERS["p"]), rtol=1e-11, atol=1e-15)


def test_the_graph_attached_to_a_solution_has_the_closed_form_derivative():
    t = tensors()
    solution = solver_of(t).solve(t["p"], t["held"])
    weights = torch.as_tensor(RNG.normal(size=(2, N)))
    p, held = t["p"].clone().requires_grad_(), t["held"].clone().requires_grad_()
    q = solver_of(t)(p, held)
    (weights * q).sum().backward()

    torch.testing.assert_close(q.detach(), solution.q, rtol=0, atol=1e-12)
    torch.testing.assert_close(p.grad, solution.solution_map(weights), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.02])
@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_derivative_in_every_parameter_is_that_of_finite_differences(name, smoothing):
    t = tensors()
    weights = torch.as_tensor(np.random.default_rng(3).normal(size=(2, N)))
    direction = torch.as_tensor(np.random.default_rng(4).uniform(0.5, 1.5, PARAMETERS[name].shape)) * t[name].abs()
    leaf = t[name].clone().requires_grad_()
    inputs = {**t, name: leaf}
    (weights * solver_of(inputs, smoothing=smoothing)(inputs["p"], inputs["held"])).sum().backward()
    slope = float((leaf.grad * direction).sum())

    def value(step: float) -> float:
        moved = {**t, name: t[name] + step * direction}
        q = solver_of(moved, smoothing=smoothing).solve(moved["p"], moved["held"]).q
        return float((weights * q).sum())

    step = 1e-5
    expected = (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)
    assert slope == pytest.approx(expected, rel=1e-7, abs=1e-8)


def test_the_solution_map_is_symmetric_positive_semidefinite_and_zero_where_it_must_be():
    t = tensors()
    solution = solver_of(t).solve(t["p"], t["held"])
    identity = torch.eye(N, dtype=torch.float64)
    columns = [solution.solution_map(identity[i].expand(2, N)) for i in range(N)]
    jacobian = torch.stack(columns, dim=-1)
    stuck = solution.optimum.point.flexibility == 0

    torch.testing.assert_close(jacobian, jacobian.mT, rtol=0, atol=1e-10)
    torch.testing.assert_close(solution.solution_map.dense(), jacobian, rtol=1e-9, atol=1e-9)
    assert float(torch.linalg.eigvalsh(jacobian).min()) >= -1e-9
    assert bool((jacobian[stuck] == 0).all())
    assert bool((jacobian.mT[stuck] == 0).all())
    along = [torch.ones(2, N, dtype=torch.float64)]
    for multiplier, sign in (
        (solution.multipliers.leverage, torch.sign(solution.q)),
        (solution.multipliers.turnover, torch.sign(solution.q - t["held"])),
    ):
        along.append(torch.where(multiplier > 0, sign, 0.0))
    for normal in along:
        assert float((jacobian.mT @ normal.unsqueeze(-1)).abs().max()) <= 1e-9


def test_exactly_on_a_kink_the_derivative_is_that_of_the_stuck_side():
    solver = PositionSolver(Ridge(2.0) + L1(0.5) + TradingCost(0.25), [PositionLimit(1.0)])
    # From held 0: |p| <= .75 stays at 0, p = 2.75 reaches the limit; both edges count as stuck.
    p = torch.tensor([[0.75, -0.75, 0.74, 0.76, 2.75, 2.74]], dtype=torch.float64, requires_grad=True)
    q = solver(p, torch.zeros_like(p.detach()))
    q.sum().backward()

    torch.testing.assert_close(q.detach(), torch.tensor([[0, 0, 0, 0.005, 1, 0.995]], dtype=torch.float64))
    assert p.grad.tolist() == [[0.0, 0.0, 0.0, 0.5, 0.0, 0.5]]


def test_exactly_on_a_kink_that_meets_a_norm_limit_nothing_moves_either():
    solver = PositionSolver(Ridge(2.0) + L1(0.5), [LeverageLimit(10.0)])
    p = torch.tensor([[0.5, -0.5, 1.5]], dtype=torch.float64, requires_grad=True)
    solver(p).sum().backward()

    assert p.grad.tolist() == [[0.0, 0.0, 0.5]]


def test_costs_without_curvature_have_a_derivative_where_positions_are_a_function_of_the_forecast():
    rng = np.random.default_rng(5)
    loadings = rng.normal(size=(6, 6)) * 0.02
    solver = PositionSolver(Exposure(loadings=loadings) + 1e-4 * L1(), [DollarNeutral()])
    p = torch.as_tensor(rng.normal(size=(1, 6)) * 1e-3).requires_grad_()
    weights = torch.as_tensor(rng.normal(size=(1, 6)))
    (weights * solver(p)).sum().backward()
    step = 1e-8
    for asset in range(6):
        up, down = p.detach().clone(), p.detach().clone()
        up[0, asset] += step
        down[0, asset] -= step
        slope = float((weights * (solver.solve(up).q - solver.solve(down).q)).sum()) / (2 * step)
        assert slope == pytest.approx(float(p.grad[0, asset]), rel=1e-5, abs=1e-4)


def test_no_derivative_is_made_up_where_positions_are_not_a_function_of_the_forecast():
    solver = PositionSolver(Exposure(loadings=np.ones((2, 1))))
    solution = solver.solve(np.array([1.0, 1.0]))

    assert solution.q.sum() == pytest.approx(1.0)
    with pytest.raises(SolverError, match=r"not a function of the forecast here: .* Add Ridge"):
        solution.solution_map(torch.ones(1, 2, dtype=torch.float64))


def test_a_failed_row_has_no_gradient_and_leaves_the_others_theirs():
    t = tensors()
    p = t["p"][:1].repeat(3, 1)
    p[1, 2] = torch.nan
    p.requires_grad_()
    held = t["held"][:1].repeat(3, 1)
    q = solver_of(t)(p, held, on_failure="hold")
    q.square().sum().backward()

    torch.testing.assert_close(q.detach()[1], held[1])
    assert bool((p.grad[1] == 0).all())
    torch.testing.assert_close(p.grad[0], p.grad[2])
    assert bool((p.grad[0] != 0).any())
