"""Random markets: every book is what it is alone, nothing comes from the future, nothing is lost, to the last bit."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pandas as pd
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from random_markets import Run, runs

from backtest.simulation import SimulationResult, simulate

SHARED = ("fill_prices", "returns_from_fill")
AT_DECISION = ("positions", "held", "turnover", "leverage", "net_exposure", "fill_wealth", "interest")
"""What is known at the close of the decision, where orders are filled at that close."""

# Shrinking says little here: most of a market comes from one seed.
MANY = settings(max_examples=35, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))


def simulated(run: Run, names: tuple[str, ...] | None = None) -> SimulationResult:
    return simulate(
        run.panel,
        run.policy,
        run.forecasts,
        costs=run.rates.cost(run.panel),
        initial_wealth=run.wealth,
        initial_weights=run.weights,
        names=names or tuple(f"book {i}" for i in range(len(run.wealth))),
        **run.options,
    )


def arrays(result: SimulationResult) -> dict[str, np.ndarray]:
    """Return every array of a result by name, those in mappings too."""
    found = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray):
            found[field.name] = value
        elif isinstance(value, dict):
            found |= {f"{field.name}: {name}": part for name, part in value.items()}
    return found


@MANY
@given(run=runs(n_books=4, solver=True, whole=True))
def test_a_book_among_others_is_what_it_is_alone_to_the_last_bit(run):
    together = simulated(run)
    for book, name in enumerate(together.names):
        alone = simulated(run.book(book), names=(name,))
        for field, values in arrays(together).items():
            own = values if field in SHARED else values[book]
            single = arrays(alone)[field]
            assert own.tobytes() == (single if field in SHARED else single[0]).tobytes(), field
        events = together.events[together.events["name"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(events, alone.events, check_dtype=False)


@MANY
@given(run=runs(n_books=2, solver=True, whole=True), part=st.floats(0, 1))
def test_garbage_after_a_row_changes_no_byte_up_to_it(run, part):
    first, last = run.options["first_row"], run.options["last_row"]
    row = first + round(part * (last - first))
    forecasts = run.forecasts.copy()
    forecasts[:, row + 1 :] = np.random.default_rng(0).normal(0, 0.5, forecasts[:, row + 1 :].shape)
    as_it_was, garbled = (
        simulated(run),
        simulated(replace(run, panel=run.panel.garbled_after(row), forecasts=forecasts)),
    )
    whole, other = arrays(as_it_was), arrays(garbled)

    done = row - first
    for field, values in whole.items():
        if field in ("ruined",) or field.startswith("asset_costs"):
            continue
        if field in SHARED:
            same = values[:done].tobytes() == other[field][:done].tobytes()
        else:
            known = done + 1 if field == "wealth" else done
            same = values[:, :known].tobytes() == other[field][:, :known].tobytes()
        assert same, field
    if as_it_was.before_fill is None and done < last - first:
        for field in [*AT_DECISION, *(name for name in whole if name.startswith("costs"))]:
            assert whole[field][:, : done + 1].tobytes() == other[field][:, : done + 1].tobytes(), field
    until = run.panel.dates[row]
    known = [each.events[each.events["date"] < until].reset_index(drop=True) for each in (as_it_was, garbled)]
    pd.testing.assert_frame_equal(*known, check_dtype=False)


@MANY
@given(run=runs(n_books=2, solver=True, whole=True), part=st.floats(0, 1))
def test_a_run_that_ends_earlier_is_the_first_part_of_the_whole_to_the_last_bit(run, part):
    first, last = run.options["first_row"], run.options["last_row"]
    end = first + 1 + round(part * (last - first - 1))
    whole = arrays(simulated(run))
    shorter = arrays(simulated(replace(run, options={**run.options, "last_row": end})))

    for field, values in shorter.items():
        if field == "ruined" or field.startswith("asset_costs"):
            continue
        start = whole[field][: len(values)] if field in SHARED else whole[field][:, : values.shape[1]]
        assert start.tobytes() == values.tobytes(), field


@MANY
@given(run=runs(solver=True, whole=True))
def test_wealth_gross_interest_and_costs_add_up_and_nothing_is_lost(run):
    result = simulated(run)
    alive = np.isfinite(result.net[0])
    costs = sum(result.costs.values())
    by_asset = sum(values.sum() for values in result.asset_costs.values())

    size = 1 + np.maximum.accumulate(result.leverage[0, alive])
    assert (np.abs((result.gross + result.interest - costs - result.net)[0, alive]) <= 1e-12 * size).all()
    assert (alive == (result.wealth[0, :-1] > 0)).all()
    assert result.ruined[0] or alive.all()
    np.testing.assert_allclose(by_asset, (costs * result.wealth[:, :-1])[0, alive].sum(), rtol=1e-9, atol=1e-9)
    assert all((values[0, alive] >= 0).all() for values in result.costs.values())


@MANY
@given(run=runs(n_books=2), seed=st.integers(0, 99))
def test_another_order_of_the_names_is_the_same_run(run, seed):
    order = np.random.default_rng(seed).permutation(run.panel.n_assets)
    # A failing forecast stands in the first column.
    failing = np.nan_to_num(run.forecasts[:, :, 0]) >= 9
    forecasts = run.forecasts[:, :, order].copy()
    forecasts[failing, 0] = 9.0
    panel = run.panel.select(run.panel.assets[order])
    other = simulated(replace(run, panel=panel, forecasts=forecasts, weights=run.weights[:, order]))
    first = simulated(run)

    size = np.nan_to_num(1 + first.leverage).max() * np.nanmax(first.wealth, axis=1, keepdims=True)
    assert (np.isnan(first.wealth) == np.isnan(other.wealth)).all()
    assert (np.nan_to_num(np.abs(first.wealth - other.wealth)) <= 1e-9 * size).all()
    assert (first.ruined == other.ruined).all()
