"""The decision losses: against CVXPY and finite differences, and the inequalities that make them what they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from backtest.costs import L1, DollarNeutral, FactorRisk, LeverageLimit, PositionLimit, Ridge, TradingCost
from backtest.errors import InfeasibleError, SettingsError, SolverError
from backtest.solver import PositionSolver, Status, reference_solve
from backtest.training import aligned_loss, fenchel_young_loss, misaligned_loss, regret, spo_plus_loss

LOSSES = {
    "aligned": aligned_loss,
    "misaligned": misaligned_loss,
    "regret": regret,
    "spo_plus": spo_plus_loss,
    "fenchel_young": fenchel_young_loss,
}
CONVEX = ("spo_plus", "fenchel_young")
N_ROWS, N_ASSETS = 24, 6


@dataclass(frozen=True)
class Case:
    """Forecasts, returns and weights held, with a solver in which everything binds somewhere."""

    solver: PositionSolver
    p: torch.Tensor
    y: torch.Tensor
    held: torch.Tensor


def make_case(*, seed=0, smoothing=0.0, holding_periods=2.0, rate=4e-3, order=None, n_rows=N_ROWS):
    """A case; `order` puts its assets in another order; `rate` is what it costs to trade."""
    rng = np.random.default_rng(seed)
    loadings, specific = 0.01 * rng.standard_normal((N_ASSETS, 2)), rng.uniform(2e-4, 6e-4, N_ASSETS)
    penalty = rng.uniform(5e-4, 3e-3, N_ASSETS)
    p, y = 0.015 * rng.standard_normal((n_rows, N_ASSETS)), 0.02 * rng.standard_normal((n_rows, N_ASSETS))
    held = 0.15 * rng.standard_normal((n_rows, N_ASSETS))
    order = np.arange(N_ASSETS) if order is None else order
    risk = FactorRisk(loadings=loadings[order], specific_variance=specific[order])
    costs = 20.0 * risk + L1(penalty[order]) + 1e-3 * Ridge() + TradingCost(half_spread=rate)
    limits = [DollarNeutral(), PositionLimit(0.5), LeverageLimit(1.5)]
    solver = PositionSolver(costs, limits, holding_periods=holding_periods, smoothing=smoothing)
    return Case(solver, *(torch.tensor(part[:, order]).contiguous() for part in (p, y, held)))


def value_and_gradient(name, case, p=None, y=None, **options):
    forecast = (case.p if p is None else p).clone().requires_grad_()
    loss = LOSSES[name](case.solver, forecast, case.y if y is None else y, case.held, **options)
    (gradient,) = torch.autograd.grad(loss.sum(), forecast)
    return loss.detach(), gradient


def reference(name, case):
    """The losses as their papers write them, with positions from CVXPY."""

    def optimum(forecast):
        problem = case.solver.problem(forecast, case.held)
        solution = reference_solve(problem)
        assert (solution.statuses == Status.SOLVED).all()
        return solution.q, problem.cost(solution.q)

    def conjugate(forecast):
        q, cost = optimum(forecast)
        return (forecast * q).sum(-1) - cost

    p, y = case.p, case.y
    (q, cost), (label, label_cost) = optimum(p), optimum(y)
    earned = (y * q).sum(-1)
    return {
        "aligned": lambda: cost - earned,
        "misaligned": lambda: -earned,
        "regret": lambda: conjugate(y) - (earned - cost),
        "spo_plus": lambda: conjugate(2 * p - y) - 2 * (p * label).sum(-1) + (y * label).sum(-1) + label_cost,
        "fenchel_young": lambda: conjugate(p) + label_cost - (p * label).sum(-1),
    }[name]()


@pytest.mark.parametrize("smoothing", [0.0, 0.03])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_that_of_the_paper_with_positions_from_cvxpy(name, smoothing):
    case = make_case(smoothing=smoothing, n_rows=8)

    found, _ = value_and_gradient(name, case)

    torch.testing.assert_close(found, reference(name, case), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("smoothing", [0.0, 0.03])
@pytest.mark.parametrize("name", LOSSES)
def test_a_gradient_is_that_of_the_loss(name, smoothing):
    case = make_case(smoothing=smoothing)
    _, found = value_and_gradient(name, case)

    step = 1e-6
    differences = torch.zeros_like(found)
    for asset in range(N_ASSETS):
        bump = torch.zeros_like(case.p)
        bump[:, asset] = step
        up, down = (value_and_gradient(name, case, case.p + sign * bump)[0] for sign in (1, -1))
        differences[:, asset] = (up - down) / (2 * step)

    # Losses are piecewise quadratic in p: exact but for rounding, unless a bump crosses the edge of a piece.
    error = (found - differences).abs().amax(-1)
    assert int((error <= 1e-8).sum()) >= N_ROWS - 1
    assert float(found.abs().max()) > 0.1


def test_the_cases_have_names_stuck_and_every_limit_binding_somewhere():
    case = make_case()
    solution = case.solver.solve(case.p, case.held)

    stuck = (solution.solution_map.flexibility == 0).double()
    assert 0.1 < float(stuck.mean()) < 0.9
    assert float((solution.q.abs() > 0.5 - 1e-9).double().mean()) > 0.02
    assert 0.1 < float((solution.q.abs().sum(-1) > 1.5 - 1e-9).double().mean()) < 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("smoothing", [0.0, 0.03])
def test_regret_is_between_nothing_and_spo_plus(seed, smoothing):
    case = make_case(seed=seed, smoothing=smoothing)
    values = {name: value_and_gradient(name, case)[0] for name in LOSSES}

    assert float(values["regret"].min()) >= -1e-14
    assert float(values["fenchel_young"].min()) >= -1e-14
    assert float((values["spo_plus"] - values["regret"]).min()) >= -1e-14
    assert float(values["regret"].max()) > 1e-3


def test_regret_is_aligned_loss_plus_what_hindsight_earns():
    case = make_case()
    label = case.solver.solve(case.y, case.held)
    hindsight = (case.y * label.q).sum(-1) - label.problem.cost(label.q)

    (loss, gradient), (aligned, of_aligned) = (value_and_gradient(name, case) for name in ("regret", "aligned"))

    torch.testing.assert_close(loss, aligned + hindsight, rtol=0, atol=1e-15)
    assert torch.equal(gradient, of_aligned)


@pytest.mark.parametrize("name", ["regret", *CONVEX])
def test_a_perfect_forecast_loses_nothing_and_is_left_alone(name):
    case = make_case()

    loss, gradient = value_and_gradient(name, case, p=case.y)

    assert float(loss.abs().max()) <= 1e-15
    assert float(gradient.abs().max()) <= 1e-12


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", CONVEX)
def test_spo_plus_and_fenchel_young_are_convex_in_the_forecast(name, seed):
    case = make_case(seed=seed)
    rng = np.random.default_rng(seed)
    other = torch.tensor(0.015 * rng.standard_normal(case.p.shape))
    share = torch.tensor(rng.random((N_ROWS, 1)))
    (here, slope), (there, slope_there) = (value_and_gradient(name, case, p) for p in (case.p, other))

    between, _ = value_and_gradient(name, case, share * case.p + (1 - share) * other)

    share = share[:, 0]
    assert float((share * here + (1 - share) * there - between).min()) >= -1e-14
    # A convex function is above its tangents.
    assert float((there - here - (slope * (other - case.p)).sum(-1)).min()) >= -1e-14
    assert float(((slope_there - slope) * (other - case.p)).sum(-1).min()) >= -1e-14


def test_the_aligned_loss_is_not_convex_in_the_forecast():
    case = make_case()
    other = torch.tensor(0.015 * np.random.default_rng(7).standard_normal(case.p.shape))
    here, there, middle = (value_and_gradient("aligned", case, p)[0] for p in (case.p, other, (case.p + other) / 2))

    assert float((here / 2 + there / 2 - middle).min()) < -1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_assets_does_not_matter(name):
    order = np.array([3, 5, 0, 1, 4, 2])
    loss, gradient = value_and_gradient(name, make_case())

    shuffled, of_shuffled = value_and_gradient(name, make_case(order=order))

    torch.testing.assert_close(shuffled, loss, rtol=0, atol=1e-14)
    torch.testing.assert_close(of_shuffled, gradient[:, order], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_equals_a_loop_whose_rows_have_their_own_rates_and_holding_periods(name):
    rng = np.random.default_rng(9)
    rates = torch.tensor(rng.uniform(0, 8e-3, (N_ROWS, N_ASSETS)))
    periods = torch.tensor(rng.uniform(1, 5, N_ROWS))
    case = make_case(rate=rates, holding_periods=periods)
    together = value_and_gradient(name, case)

    for row in range(N_ROWS):
        one = make_case(rate=rates[row], holding_periods=float(periods[row]))
        at = slice(row, row + 1)
        alone = value_and_gradient(name, replace(one, p=case.p[at], y=case.y[at], held=case.held[at]))
        for many, single in zip(together, alone, strict=True):
            torch.testing.assert_close(many[at], single, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "times"), [("fenchel_young", 1), ("spo_plus", 4)])
def test_with_a_quadratic_cost_the_convex_losses_are_regret_in_another_unit(name, times):
    case = make_case()
    risk = dict(case.solver.costs.parts)["factor_risk"].cost
    case = replace(case, solver=PositionSolver(20.0 * risk, [DollarNeutral()]))
    missing = case.y.clone()
    missing[::3, 2] = torch.nan
    expected, slope = value_and_gradient("regret", case, y=missing)

    loss, gradient = value_and_gradient(name, case, y=missing)

    torch.testing.assert_close(loss, times * expected, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(gradient, times * slope, rtol=1e-9, atol=1e-11)


def test_spo_plus_and_aligned_are_minimised_by_the_mean_of_symmetric_returns_and_fenchel_young_is_not():
    case = make_case()
    centre = case.p
    slopes = {
        name: sum(value_and_gradient(name, case, centre, centre + sign * case.y)[1] for sign in (1, -1))
        for name in LOSSES
    }

    for name in ("aligned", "regret", "spo_plus"):
        assert float(slopes[name].abs().max()) < 1e-11
    assert float(slopes["fenchel_young"].abs().max()) > 0.1
    assert float(slopes["misaligned"].abs().max()) > 0.1


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_return_counts_as_no_error(name):
    case = make_case()
    missing, filled = case.y.clone(), case.y.clone()
    missing[::2, 1] = torch.nan
    filled[::2, 1] = 0.0 if name == "misaligned" else case.p[::2, 1]

    found, expected = value_and_gradient(name, case, y=missing), value_and_gradient(name, case, y=filled)

    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    nothing, gradient = value_and_gradient(name, case, y=torch.full_like(case.y, torch.nan))
    assert float(gradient.abs().max()) <= 1e-12
    if name in ("regret", *CONVEX):
        assert float(nothing.abs().max()) <= 1e-15


@pytest.mark.parametrize("name", LOSSES)
def test_an_asset_that_cannot_be_traded_needs_no_forecast_and_gets_no_gradient(name):
    case = make_case()
    held = 0.3 * case.held  # within every limit, so that the others can always be traded
    tradable = torch.ones_like(case.p, dtype=torch.bool)
    tradable[:, 4] = False
    unknown = torch.where(tradable, case.p, torch.nan)
    expected = value_and_gradient(name, replace(case, held=held), p=torch.where(tradable, case.p, 0), tradable=tradable)

    loss, gradient = value_and_gradient(name, replace(case, held=held), p=unknown, tradable=tradable)

    assert torch.equal(loss, expected[0])
    assert torch.equal(gradient, expected[1])
    assert float(gradient[:, 4].abs().max()) == 0
    assert float(gradient.abs().max()) > 0.1


@pytest.mark.parametrize("name", LOSSES)
def test_one_row_gives_a_scalar_and_precision_is_that_of_the_forecast(name):
    case = make_case()
    batch, gradient = value_and_gradient(name, case)
    p = case.p[0].float().requires_grad_()

    loss = LOSSES[name](case.solver, p, case.y[0], case.held[0])
    loss.backward()

    assert loss.shape == ()
    assert loss.dtype == p.grad.dtype == torch.float32
    assert loss.item() == pytest.approx(batch[0].item(), rel=1e-4, abs=1e-7)
    torch.testing.assert_close(p.grad.double(), gradient[0], rtol=1e-3, atol=1e-4)


def test_a_gradient_passes_on_to_what_made_the_forecast():
    case = make_case()
    features = torch.tensor(np.random.default_rng(1).standard_normal((N_ROWS, N_ASSETS, 3)))
    coefficients = torch.full((3,), 0.01, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(1.0, N_ROWS + 1, dtype=torch.float64)

    loss = fenchel_young_loss(case.solver, features @ coefficients, case.y, case.held)
    (loss * weights).sum().backward()

    _, gradient = value_and_gradient("fenchel_young", case, (features @ coefficients).detach())
    expected = torch.einsum("b,bn,bnk->k", weights, gradient, features)
    torch.testing.assert_close(coefficients.grad, expected, rtol=1e-12, atol=1e-12)


def test_a_second_derivative_is_refused_rather_than_wrong():
    case = make_case()
    p = case.p.clone().requires_grad_()
    loss = aligned_loss(case.solver, p, case.y, case.held).sum()
    (gradient,) = torch.autograd.grad(loss, p, create_graph=True)

    with pytest.raises(SolverError, match="no second derivative"):
        (loss + gradient.square().sum()).backward()


@pytest.mark.parametrize("name", LOSSES)
def test_the_layout_in_memory_does_not_matter(name):
    case = make_case()
    turned = Case(case.solver, *(part.mT.contiguous().mT for part in (case.p, case.y, case.held)))

    found, expected = value_and_gradient(name, turned), value_and_gradient(name, case)

    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_losses_leave_their_inputs_alone():
    case = make_case()
    before = [part.clone() for part in (case.p, case.y, case.held)]

    for name in LOSSES:
        value_and_gradient(name, case)

    assert all(torch.equal(now, was) for now, was in zip((case.p, case.y, case.held), before, strict=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"p": np.zeros((2, N_ASSETS))}, "p has type ndarray: give a tensor"),
        ({"p": torch.zeros(2, 2, N_ASSETS)}, r"p has shape \(2, 2, 6\)"),
        ({"y": torch.zeros(3, N_ASSETS)}, r"y has shape \(3, 6\), p has \(24, 6\)"),
        ({"held": torch.zeros(5)}, r"held has shape \(1, 5\), p has \(24, 6\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(wrong, message):
    case = make_case()
    given = {"p": case.p, "y": case.y, "held": case.held} | wrong

    with pytest.raises(SettingsError, match=message):
        spo_plus_loss(case.solver, **given)


def test_a_row_that_cannot_be_solved_is_an_error():
    case = make_case()
    held = torch.zeros_like(case.held)
    held[2, 0] = 0.4
    tradable = torch.ones_like(case.p, dtype=torch.bool)
    tradable[2] = False  # and what is held is not neutral

    with pytest.raises(InfeasibleError, match="row 2"):
        fenchel_young_loss(case.solver, case.p, case.y, held, tradable=tradable)
