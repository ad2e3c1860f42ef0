"""Scores of models over eras, their table, and its verdict."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backtest.analysis.contribution import true_contribution
from backtest.errors import DataError, SettingsError
from backtest.numerai import EraCosts, EraFile, EraModels, EraProblem, JoinedModels, ScoreTable, score_eras
from backtest.numerai.scores import contribution, corr20v2
from backtest.training.models import Network

EXPOSED = np.arange(42)


def models_of(k=60):
    made = Network.initial(k, hidden=(3,), seeds=(0, 1, 2, 3), scale=0.02)
    return EraModels(made, ("squared", "squared", "aligned", "aligned"), (0, 1, 0, 1), torch.ones(4), torch.ones(4))


@pytest.fixture(scope="module")
def problem(generated):
    return EraProblem(EraFile.open(generated.validation), EraCosts(), EXPOSED)


@pytest.fixture(scope="module")
def table(generated, problem):
    return score_eras(
        models_of(),
        problem,
        problem.file.eras,
        neutral=EXPOSED,
        lags=1,
        meta_model=JoinedModels.read(generated.meta_model),
        benchmarks=JoinedModels.read(generated.benchmark_models),
    )


def test_every_score_is_that_of_its_era_and_model(generated, problem, table):
    batch = next(problem.file.stream(ids=True))
    p = models_of().forecast(batch).numpy().T
    meta = JoinedModels.read(generated.meta_model).of(batch)[:, 0]

    np.testing.assert_allclose(table.values[0, table.scores.index("CORR20v2")], corr20v2(p, batch.target))
    np.testing.assert_allclose(table.values[0, table.scores.index("MMC")], contribution(p, meta, batch.target))
    assert table.eras == problem.file.eras


def test_utility_is_what_positions_earn_less_what_they_cost_and_contributions_sum_to_nothing(problem, table):
    batch = next(problem.file.stream())
    p, y = models_of().forecast(batch), torch.from_numpy(batch.centred_target())
    solver = problem.costs.solver(batch, EXPOSED)
    solution = solver.solve(p)
    earned = solution.q @ y
    own = true_contribution(solver, p[:, None], y[None], stakes=np.ones(4))[:, 0]

    found = {name: table.values[0, table.scores.index(name)] for name in ("gross", "utility", "TC")}

    np.testing.assert_allclose(found["gross"], 1e4 * earned)
    np.testing.assert_allclose(found["utility"], 1e4 * (earned - solution.problem.cost(solution.q)))
    np.testing.assert_allclose(found["TC"], 1e4 * own)
    assert abs(found["TC"].sum()) < 1e-9


def test_the_closed_form_of_true_contribution_holds_where_costs_are_smooth(problem):
    batch = next(problem.file.stream())
    solver = EraCosts(l1=0.0, limit=None, neutral=False).solver(batch, EXPOSED)
    p, y = models_of().forecast(batch), torch.from_numpy(batch.centred_target())
    loadings = torch.from_numpy(batch.loadings(EXPOSED))
    hessian = loadings @ loadings.T + 0.01 * len(batch) * torch.eye(len(batch), dtype=torch.float64)
    blend = p.mean(0)
    expected = (p - blend) @ torch.linalg.solve(hessian, y - blend)

    found = true_contribution(solver, p[:, None], y[None], stakes=np.ones(4))[:, 0]

    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_scores_that_cannot_be_had_are_left_out_and_named(problem):
    table = score_eras(models_of(), problem, problem.file.eras[:2], neutral=EXPOSED, lags=1)

    assert not set(table.scores) & {"MMC", "BMC", "CWMM", "TB200"}
    assert table.notes == ("not there: MMC, BMC, TB200, CWMM",)


def test_eras_without_targets_cannot_be_scored(generated):
    live = EraProblem(EraFile.open(generated.live), EraCosts(), EXPOSED)

    with pytest.raises(DataError, match="none of the eras"):
        score_eras(models_of(), live, live.file.eras, neutral=EXPOSED, lags=1)


def table_of(squared, aligned, score="CORR20v2"):
    values = np.stack([squared, aligned], axis=-1)[:, None, :]
    return ScoreTable(values, tuple(range(len(squared))), (score,), ("squared", "aligned"), (0, 0), lags=3)


def test_differences_are_taken_era_by_era():
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=60), 0.01 * rng.normal(size=60)
    table = table_of(common, common + 0.02 + own)

    found = table.difference("CORR20v2", "aligned", "squared")

    assert found.mean == pytest.approx(0.02 + own.mean())
    assert found.error < 0.1 * table.statistics("CORR20v2", "squared").error


def test_a_clear_difference_is_shown_and_luck_seldom():
    rng = np.random.default_rng(1)

    def verdict(shift):
        common = rng.normal(size=100)
        # As overlapping targets make it: each era shares three quarters with the next.
        own = np.convolve(rng.normal(size=103), np.ones(4) / 4, mode="valid")
        return table_of(common, common + shift + own).verdict()

    assert verdict(0.5).startswith("Shown (100 eras, 1 seed, 5%")
    assert "aligned above squared in CORR20v2" in verdict(0.5)
    assert sum(not verdict(0.0).startswith("No difference") for _ in range(300)) <= 0.1 * 300


def test_too_few_eras_show_nothing():
    few = table_of(np.arange(14) * 0.1, np.arange(14) * 0.1 + 1.0).verdict()

    assert few == "Too few eras to tell a difference from luck (14 eras, 1 seed; 15 are needed)."


def test_the_table_has_a_row_a_score_and_a_column_an_objective(table):
    lines = table.markdown().splitlines()

    assert lines[0] == "| score | squared | aligned |"
    assert {line.split(" | ")[0].strip("| ") for line in lines} >= set(table.scores)
    assert "| less squared | aligned |" in lines
    assert any(line.startswith(("No difference shown", "Shown", "Too few")) for line in lines)


def test_what_is_not_in_the_table_is_refused(table):
    with pytest.raises(SettingsError, match="no 'CORR' of"):
        table.by_era("CORR", "squared")
