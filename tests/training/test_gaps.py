"""Training on rows with gaps is training on their runs, each by itself, and what is in a gap teaches nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from backtest.errors import SettingsError
from backtest.training import (
    OBJECTIVES,
    BoostingSettings,
    CombinatorialSplits,
    Samples,
    TrainingSettings,
    fit_objectives,
    loops,
)
from backtest.training.descent import Descent
from backtest.training.models import Network
from backtest.training.path import walk
from backtest.training.runs import chunks_of, runs_of

RUNS = (np.arange(0, 23), np.arange(37, 60), np.arange(71, 82))
TRAIN = np.concatenate(RUNS)
VALIDATION = np.arange(90, 112)
GROWTH = BoostingSettings(trees=4, path_trees=3, learning_rate=0.3, leaves=4, samples_in_leaf=20, check_every=2)
OF_TREES = ("path", "chunk_length", "smoothing", "smoothing_form", "holding_periods", "shrinkage", "sizing")


def test_chunks_stay_within_runs_and_keep_the_most_recent_rows_of_each():
    rows = np.array([0, 1, 2, 3, 4, 8, 9, 10, 20, 21, 22])

    assert [run.tolist() for run in runs_of(rows)] == [[0, 1, 2, 3, 4], [8, 9, 10], [20, 21, 22]]
    assert chunks_of(rows, 2).tolist() == [[1, 2], [3, 4], [9, 10], [21, 22]]
    assert chunks_of(rows, 4).tolist() == [[1, 2, 3, 4]]
    assert chunks_of(rows, 50).tolist() == [[0, 1, 2, 3, 4]]
    assert chunks_of(rows, 1).ravel().tolist() == rows.tolist()


@pytest.mark.parametrize("wrong", [[], [3, 2], [1, 1]])
def test_rows_that_do_not_increase_are_refused(wrong):
    with pytest.raises(SettingsError, match="increasing"):
        runs_of(np.array(wrong, dtype=int))


def fits_of(samples, solver, small, **options):
    rows = {"train": TRAIN, "validation": VALIDATION} | options
    fits = fit_objectives(samples, solver, OBJECTIVES, **rows, seeds=(0, 1), settings=small)
    trees = TrainingSettings(
        model="boosted_trees", boosting=GROWTH, **{name: getattr(small, name) for name in OF_TREES}
    )
    grown = fit_objectives(samples, solver, ["squared", "aligned"], **rows, seeds=(0,), settings=trees)
    return fits | {f"trees on {name}": fit for name, fit in grown.items()}


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_garbled_targets_of_tested_and_purged_rows_change_no_fitted_number(toolbox, hidden):
    panel, _ = toolbox.panel()
    samples, solver = Samples.of(panel), toolbox.solver()
    small = replace(toolbox.small, hidden=hidden, holding_periods=(2.0,), epochs=2, path_epochs=2)
    window = CombinatorialSplits(4, 2, validation=12, embargo=2).windows(first_row=2, n_rows=120, lag=1)[1]
    rows = {"train": window.train, "validation": window.validation}
    assert len(runs_of(window.train)) > 1
    assert len(runs_of(window.test)) > 1
    left_out = np.setdiff1d(np.arange(120), np.concatenate([*rows.values()]))
    target = samples.target.clone()
    target[left_out] = torch.as_tensor(np.random.default_rng(0).standard_normal((len(left_out), 6)))
    garbled = replace(samples, target=target)

    true, other = (fits_of(part, solver, small, **rows) for part in (samples, garbled))

    for name in true:
        # As text, in which NaN equals NaN.
        assert json.dumps(true[name].record()) == json.dumps(other[name].record())
        before, after = (fit[name].forecast(samples, window.test) for fit in (true, other))
        assert np.array_equal(before, after)


def test_what_is_not_carried_is_the_same_on_rows_put_together(toolbox):
    """Error losses, and decisions that do not depend on what is held, see rows one by one."""
    panel, _ = toolbox.panel()
    samples, solver = Samples.of(panel), toolbox.solver(trading=0.0)
    # Features and targets of the same rows, one after the other, at the same costs.
    kept = np.concatenate([TRAIN, VALIDATION])
    moved = {"features", "available", "target", "usable", "scored"}
    together = replace(samples, **{name: getattr(samples, name)[kept] for name in moved})
    small = replace(toolbox.small, epochs=2, path_epochs=2)

    gapped = fits_of(samples, solver, small)
    joined = fits_of(together, solver, small, train=np.arange(len(TRAIN)), validation=np.arange(len(TRAIN), len(kept)))

    for name in gapped:
        assert json.dumps(gapped[name].record()) == json.dumps(joined[name].record())


@pytest.mark.parametrize("objective", ["aligned", "spo_plus"])
def test_a_path_with_gaps_is_each_run_walked_by_itself(toolbox, objective):
    """A plain loop over runs, which keeps what was held in a dictionary, takes the same steps."""
    panel, _ = toolbox.panel()
    samples, solver = Samples.of(panel), toolbox.solver()
    settings = replace(toolbox.small, path_epochs=3, patience=3, batch_chunks=100, smoothing_form="sqrt")
    start = Network.initial(3, hidden=(4,), seeds=(0,), scale=samples.target_scale(TRAIN)).scaled(torch.tensor([3.0]))
    periods = torch.tensor([2.0], dtype=torch.float64)

    trained = loops.train_on_path(
        samples,
        start,
        solver,
        train=TRAIN,
        validation=VALIDATION,
        seeds=(0,),
        holding_periods=periods,
        objectives=[objective],
        settings=settings,
    )

    descent = Descent(start, step_size=settings.step_size, weight_decay=settings.weight_decay)
    held = {int(run[0]): torch.zeros(6, dtype=torch.float64) for run in RUNS}
    # Chunks of five; the oldest rows of a run, which do not fill one, start nothing.
    chunks = [run[i : i + 5] for run in RUNS for i in range(len(run) % 5, len(run), 5)]
    nothing = torch.zeros(6, dtype=torch.float64)

    def walked(model, chunk, **options):
        rows = torch.as_tensor(chunk).reshape(1, 1, -1)
        forecast = model.forecast(samples, rows)
        path = walk(
            samples,
            replace(solver, smoothing=settings.smoothing_at(0, 6), smoothing_form="sqrt"),
            p=forecast.detach(),
            rows=rows,
            held=held.get(int(chunk[0]), nothing).reshape(1, 1, 6),
            holding_periods=periods,
            **options,
        )
        return forecast, path

    best, least = None, np.inf
    for epoch in range(settings.path_epochs + 1):
        with torch.no_grad():
            found = loops.evaluate_path(samples, solver, descent.network, VALIDATION, holding_periods=periods)
        if epoch == 0 or -float(found.utility.mean()) < least - 1e-12:
            best = [part.detach().clone() for part in descent.network.parameters]
            least = -float(found.utility.mean())
        if epoch == settings.path_epochs:
            break
        after = {}
        if epoch == 0:
            for chunk in chunks:
                _, path = walked(descent.network, chunk)
                after[int(chunk[-1]) + 1] = path.held[0, 0, -1]
            held = after
        results = [walked(descent.network, chunk, objectives=[objective]) for chunk in chunks]
        held = {int(chunk[-1]) + 1: path.held[0, 0, -1] for chunk, (_, path) in zip(chunks, results, strict=True)}
        # What was held at the end of a run is nothing to the next one.
        assert not {int(run[0]) for run in RUNS} & held.keys()
        descent.step(
            torch.cat([forecast for forecast, _ in results], dim=1),
            torch.cat([path.gradient for _, path in results], dim=1),
        )

    assert int(trained.epoch[0]) > 0
    for ours, theirs in zip(trained.network.parameters, best, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_positions_held_before_a_gap_are_not_held_after_it(toolbox):
    panel, _ = toolbox.panel()
    samples, solver = Samples.of(panel), toolbox.solver()
    book = loops._Carried.nothing(samples, TRAIN, holding_periods=torch.ones(1, dtype=torch.float64))
    model = Network.initial(3, hidden=(4,), seeds=(0,), scale=1.0)
    chunks = torch.as_tensor(chunks_of(TRAIN, 1))

    # Single rows: had anything been carried over a gap, the second walk of the first row after it would start from it.
    for _ in range(2):
        book.walk_shared(solver, model, chunks)

    starts = [int(run[0]) for run in RUNS]
    assert all(float(book.held[0, start].abs().max()) == 0 for start in starts)
    assert all(float(book.held[0, start + 1].abs().max()) > 0 for start in starts)


def test_validation_with_a_gap_is_refused(toolbox):
    panel, _ = toolbox.panel()
    gapped = np.concatenate([np.arange(90, 100), np.arange(104, 112)])

    with pytest.raises(SettingsError, match="validation rows must be consecutive"):
        fits_of(Samples.of(panel), toolbox.solver(), toolbox.small, validation=gapped)
