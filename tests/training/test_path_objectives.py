"""Sharpe, blends, flat training and the smoothing schedule: gradients, shares, and what each replica descends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from backtest.errors import SettingsError
from backtest.solver import PositionSolver
from backtest.training import Network, Samples, TrainingSettings, fit_objectives, loops
from backtest.training.error_losses import error_loss
from backtest.training.loops import train_on_path
from backtest.training.path import walk
from backtest.training.path_objectives import PathObjectives, sharpe_weights

TRAIN, VALIDATION = np.arange(0, 30), np.arange(34, 46)
C, L = 3, 5


@dataclass(frozen=True)
class Batch:
    """A minibatch of every objective in `names`, one a replica, with its forecasts."""

    samples: Samples
    solver: PositionSolver
    names: tuple[str, ...]
    p: torch.Tensor
    rows: torch.Tensor
    held: torch.Tensor

    @staticmethod
    def of(toolbox, *names, seed=0):
        samples = Samples.of(toolbox.panel(40)[0])
        rng = np.random.default_rng(seed)
        p = torch.tensor(0.01 * rng.standard_normal((len(names), C, L, 6)))
        rows = torch.arange(C * L).reshape(1, C, L).repeat(len(names), 1, 1)
        held = torch.tensor(0.1 * rng.standard_normal((len(names), C, 6)))
        return Batch(samples, replace(toolbox.solver(), smoothing=0.02), names, p, rows, held)

    def aims(self):
        return PathObjectives(self.names, self.samples, self.solver, np.arange(C * L))

    def walk(self, p, rows, *, held=None, **options):
        return walk(
            self.samples,
            self.solver,
            p=p,
            rows=rows,
            held=self.held if held is None else held,
            holding_periods=torch.ones(len(p), dtype=torch.float64),
            **options,
        )

    def gradient(self, aims=None, *, through_time=False):
        aims = aims or self.aims()

        def walked(p, rows):
            return self.walk(
                p,
                rows,
                held=self.held[aims.owner],
                objectives=aims.walked,
                weigh=aims.weigh,
                through_time=through_time,
            )

        return aims.gradient(self.p, self.rows, walked)


def test_sharpe_weights_are_the_derivative_of_the_ratio():
    loss = torch.tensor(np.random.default_rng(0).normal(-0.2, 1.0, (2, 3, 4))).requires_grad_()
    utility = -loss.flatten(1)
    ratio = utility.mean(1) / utility.std(1, correction=0)
    (expected,) = torch.autograd.grad(-ratio.sum(), loss)

    torch.testing.assert_close(sharpe_weights(loss.detach()), expected, rtol=1e-12, atol=1e-15)


def test_sharpe_weights_of_rows_that_are_all_alike_are_0():
    assert torch.equal(sharpe_weights(torch.full((1, 3, 4), 0.1).double()), torch.zeros(1, 3, 4).double())
    assert torch.equal(sharpe_weights(torch.tensor([[[0.3]]]).double()), torch.zeros(1, 1, 1).double())


@pytest.mark.parametrize("through_time", [False, True])
def test_the_gradient_of_sharpe_is_that_of_the_ratio_of_the_whole_minibatch(toolbox, through_time):
    batch = Batch.of(toolbox, "sharpe")
    found, path = batch.gradient(through_time=through_time)

    # What was held is given, or follows from the forecasts.
    held = torch.cat([batch.held.unsqueeze(2), path.held[:, :, :-1]], dim=2).reshape(1, C * L, 6)

    def ratio(p):
        n_bumps = len(p)
        rows = batch.rows.repeat(n_bumps, 1, 1)
        if through_time:
            met = batch.walk(p, rows, held=batch.held.repeat(n_bumps, 1, 1), objectives=["aligned"] * n_bumps)
        else:
            apart = (n_bumps, C * L, 1)
            met = batch.walk(
                p.reshape(*apart, 6),
                rows.reshape(apart),
                held=held.repeat(n_bumps, 1, 1),
                objectives=["aligned"] * n_bumps,
            )
        utility = -met.loss.flatten(1)
        return -utility.mean(1) / utility.std(1, correction=0)

    step = 1e-6
    bumps = step * torch.eye(C * L * 6).double().reshape(-1, C, L, 6)
    expected = ((ratio(batch.p + bumps) - ratio(batch.p - bumps)) / (2 * step)).reshape(batch.p.shape)
    error = (found - expected).abs().amax(-1) / expected.abs().amax()
    # A row is left out where a bump crosses the edge of a limit.
    assert int((error > 1e-6).sum()) <= 1, error


def test_a_blend_is_the_sum_of_its_parts_in_units_of_their_first_size(toolbox):
    names = ("0.3 squared + 0.7 aligned", "0.5 whitened + 0.25 rank_correlation + 0.25 sharpe")
    batch = Batch.of(toolbox, *names)
    aims = batch.aims()
    first, _ = batch.gradient(aims)
    later = replace(batch, p=3 * batch.p)
    second, _ = later.gradient(aims)  # its units are those of the first

    shares = [{"squared": 0.3, "aligned": 0.7}, {"whitened": 0.5, "rank_correlation": 0.25, "sharpe": 0.25}]
    for replica, parts in enumerate(shares):
        expected = [torch.zeros(C, L, 6).double(), torch.zeros(C, L, 6).double()]
        for name, share in parts.items():
            alone = [self_gradient(each, replica, name) for each in (batch, later)]
            for total, gradient in zip(expected, alone, strict=True):
                total += share * gradient / alone[0].norm()
        torch.testing.assert_close(first[replica], expected[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(second[replica], expected[1], rtol=1e-9, atol=1e-12)


def self_gradient(batch, replica, name):
    """The gradient (C, L, N) of one objective on one replica's forecasts."""
    if name in ("squared", "whitened", "rank_correlation"):
        loss = error_loss(name, batch.samples, batch.solver, np.arange(C * L))
        rows, p = batch.rows[replica].flatten(), batch.p[replica].flatten(0, 1)
        return loss.gradient(p, batch.samples.target[rows], rows).reshape(C, L, 6)
    p, rows, held = (part[replica : replica + 1] for part in (batch.p, batch.rows, batch.held))
    path = batch.walk(p, rows, held=held, objectives=["aligned"])
    weight = sharpe_weights(path.loss) if name == "sharpe" else torch.ones_like(path.loss)
    return (path.gradient * weight.unsqueeze(-1))[0]


def test_parts_side_by_side_equal_each_replica_alone(toolbox):
    names = ("sharpe", "0.5 aligned + 0.5 spo_plus", "0.5 squared + 0.5 rank_correlation", "aligned")
    batch = Batch.of(toolbox, *names)
    together, path = batch.gradient()

    assert path.gradient.shape[0] == 4  # sharpe, aligned, SPO+, aligned
    for r, name in enumerate(names):
        one = slice(r, r + 1)
        alone = Batch(batch.samples, batch.solver, (name,), batch.p[one], batch.rows[one], batch.held[one])
        torch.testing.assert_close(together[r], alone.gradient()[0][0], rtol=1e-9, atol=1e-12)


def trained(toolbox, names, settings, *, seeds=None, trading=2e-3):
    samples = Samples.of(toolbox.panel()[0])
    network = Network.initial(3, hidden=(4,), seeds=seeds or [3] * len(names), scale=0.02)
    return train_on_path(
        samples,
        network,
        toolbox.solver(trading=trading),
        train=TRAIN,
        validation=VALIDATION,
        seeds=seeds or [3] * len(names),
        holding_periods=torch.full((len(names),), 2.0, dtype=torch.float64),
        objectives=names,
        settings=settings,
    )


SCHEMES = {
    "rounded": {"smoothing_form": "sqrt", "smoothing_start": 8.0},
    "hard": {"smoothing_form": "hard"},
    "flat": {"path": False},
    "through time": {"through_time": True},
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_replica_does_not_depend_on_its_company_and_two_runs_are_equal(toolbox, scheme):
    settings = replace(toolbox.small, path_epochs=2, patience=9, **SCHEMES[scheme])
    names = ["sharpe", "0.5 whitened + 0.5 aligned", "0.5 squared + 0.5 rank_correlation", "aligned"]

    together, again = trained(toolbox, names, settings), trained(toolbox, names, settings)

    assert together.moved.isnan().tolist() == [False, False, True, False]
    for left, right in zip(together.network.parameters, again.network.parameters, strict=True):
        assert torch.equal(left, right)
    for r, name in enumerate(names):
        alone = trained(toolbox, [name], settings)
        assert int(alone.epoch[0]) == int(together.epoch[r])
        for left, right in zip(together.network.parameters, alone.network.parameters, strict=True):
            torch.testing.assert_close(left[r], right[0], rtol=1e-3, atol=1e-5)


def test_a_direction_without_a_gradient_is_not_moved_by_rounding(toolbox):
    # The level of forecasts is nothing to a dollar-neutral book: 0 but for the rounding of sums in single precision.
    network = trained(toolbox, ["aligned"], replace(toolbox.small, path_epochs=6, patience=9)).network

    assert float(network.biases[-1]) == 0
    assert float(network.biases[0].abs().min()) > 0


def test_every_scheme_trains_something_else(toolbox):
    settings = replace(toolbox.small, path_epochs=2, patience=9, smoothing=0.02, smoothing_start=4.0)
    schemes = [{}, *SCHEMES.values(), {"smoothing_start": 1.0}]

    found = [trained(toolbox, ["aligned"], replace(settings, **scheme)).network for scheme in schemes]

    weights = [tuple(network.weights[0].flatten().tolist()) for network in found]
    assert len(set(weights)) == len(schemes)


def test_flat_training_is_path_training_where_nothing_depends_on_what_is_held(toolbox):
    path, flat = (
        trained(toolbox, ["aligned"], replace(toolbox.small, path=carried), trading=0.0) for carried in (True, False)
    )

    assert torch.equal(path.network.weights[0], flat.network.weights[0])


def test_flat_training_trades_every_row_from_nothing_held(toolbox, monkeypatch):
    seen = []

    def recorded(samples, solver, **options):
        if options.get("objectives"):
            seen.append((options["rows"].shape[2], float(options["held"].abs().max())))
        return walk(samples, solver, **options)

    monkeypatch.setattr(loops, "walk", recorded)
    trained(toolbox, ["aligned"], replace(toolbox.small, path=False))
    flat = set(seen)
    seen.clear()
    trained(toolbox, ["aligned"], toolbox.small)

    assert flat == {(1, 0.0)}
    assert {length for length, _ in seen} == {5}
    assert max(held for _, held in seen) > 0


def test_smoothing_falls_by_the_same_factor_to_its_floor():
    settings = TrainingSettings(path_epochs=4, smoothing=0.01, smoothing_start=8.0)

    widths = [settings.smoothing_at(epoch, 50) for epoch in range(4)]

    np.testing.assert_allclose(widths, [0.08, 0.04, 0.02, 0.01], rtol=1e-12)
    assert TrainingSettings().smoothing_at(0, 50) == TrainingSettings().smoothing_at(7, 50) == 0.2 / 50
    assert TrainingSettings(path_epochs=1, smoothing_start=9.0).smoothing_at(0, 50) == 0.2 / 50
    assert TrainingSettings(smoothing_form="hard").smoothing_at(3, 50) == 0


@pytest.mark.parametrize("wrong", [{"smoothing_start": 0.5}, {"smoothing_form": "soft"}])
def test_impossible_smoothing_is_refused_by_name(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_a_blend_is_fitted_from_a_warm_start_under_its_one_spelling(toolbox):
    fits = fit_objectives(
        Samples.of(toolbox.panel()[0]),
        toolbox.solver(),
        [".5 aligned + .5 whitened", "rank_correlation"],
        train=TRAIN,
        validation=VALIDATION,
        seeds=(0,),
        settings=replace(toolbox.small, holding_periods=(2.0,), shrinkage=(1.0,), path_epochs=1),
    )

    assert list(fits) == ["0.5 whitened + 0.5 aligned", "rank_correlation"]
    assert fits["0.5 whitened + 0.5 aligned"].warm_start[0] in ("squared", "whitened")
    assert fits["rank_correlation"].warm_start == ("",)
