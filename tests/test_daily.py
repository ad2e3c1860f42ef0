"""Orders of today from a recorded run: the trades that a backtest of today makes, from files, with clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from backtest.cli import app
from backtest.configuration import load_panel, parse_settings, plan_comparison
from backtest.daily import day_of_run, read_holdings
from backtest.errors import DataError, LabelError, SettingsError
from backtest.simulation import SolverPolicy, simulate
from backtest.solver import PositionSolver

TWO = ["--quick", "--hidden", "", "--seeds", "1", "--objectives", "squared,whitened", "--jobs", "1"]
MOMENTUM = Path(__file__).parents[1] / "strategies" / "momentum.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prices of six names by month, a run of two objectives and one of a strategy."""
    folder = tmp_path_factory.mktemp("daily")
    rng = np.random.default_rng(8)
    dates = pd.bdate_range("2001-01-01", "2013-12-31", freq="BME")
    prices = 50 * np.exp(np.cumsum(rng.normal(4e-3, 0.05, (len(dates), 6)), axis=0))
    pd.DataFrame(prices, index=dates.rename("date"), columns=list("ABCDEF")).to_csv(folder / "prices.csv")
    common = ["--prices", str(folder / "prices.csv"), "--frequency", "M", "--no-dollar-neutral", "--cost", "factors=2"]
    for done in (
        CliRunner().invoke(
            app,
            ["compare", *common, *TWO, "--out", str(folder / "run")],
        ),
        CliRunner().invoke(app, ["run", str(MOMENTUM), *common, "--out", str(folder / "momentum")]),
    ):
        assert done.exit_code == 0, done.output
    return folder


def recorded(folder, name):
    document = json.loads((folder / name / "config.json").read_text())
    settings = parse_settings(document["settings"])
    return document, settings, load_panel(settings)


def held_at(result, panel, number, *, book=0):
    shares = result.held[book, number] * result.fill_wealth[book, number] / result.fill_prices[number]
    return pd.Series(shares, index=panel.assets)


def test_a_day_of_a_comparison_is_traded_again(folder):
    """Window, model, holding period, forecast and solver of that day are those of the backtest, on prices cut there."""
    _, settings, panel = recorded(folder, "run")
    comparison = plan_comparison(settings, panel).run(n_jobs=1)
    result = comparison.results["whitened"]
    assert settings.walk_forward is not None  # or its lengths would change with the day
    for number in (3, 20):
        row = panel.dates.get_loc(result.fill_dates[number])
        wealth = float(result.fill_wealth[0, number])
        day = day_of_run(
            folder / "run",
            holdings=held_at(result, panel, number),
            wealth=wealth,
            objective="whitened",
            panel=panel.until(row),
            whole_shares=False,
        )

        assert day.forecast_date == panel.dates[row - settings.lag]
        assert day.orders.date == panel.dates[row]
        # Forecasts are products of single precision, whose last digit depends on how many rows are asked for.
        np.testing.assert_allclose(day.orders.q, result.positions[0, number], rtol=0, atol=1e-6)
        assert len(day.reasons.table) == len(day.orders.table()) > 0


def test_a_day_of_a_strategy_is_traded_again(folder):
    document, _, panel = recorded(folder, "momentum")
    assert document["settings"]["refit_every"] == 12
    row = panel.n_periods - 5
    held = pd.Series({"A": 3.0, "C": -2.0})
    day = day_of_run(folder / "momentum", holdings=held, wealth=1e4, panel=panel.until(row), whole_shares=False)

    # What the simulator does from those holdings, with forecasts of a run over the whole history.
    from backtest.configuration import build_solver
    from backtest.strategy import forecast, load_strategy

    _, settings, _ = recorded(folder, "momentum")
    first = panel.row(document["settings"]["start"])
    forecasts = forecast(load_strategy(MOMENTUM), panel, first_row=first, refit_every=12)
    solver: PositionSolver = build_solver(settings, panel).estimate(panel)
    weights = held.reindex(panel.assets, fill_value=0.0) * panel.prices[row] / 1e4
    result = simulate(
        panel,
        SolverPolicy(solver),
        forecasts,
        costs=solver.costs,
        first_row=row,
        last_row=row + 1,
        initial_wealth=1e4,
        initial_weights=weights,
    )

    np.testing.assert_allclose(day.orders.q, result.positions[0, 0], rtol=0, atol=1e-9)
    assert day.source.startswith("Momentum (momentum.py), fitted on ")


def test_settings_that_a_user_wrote_do_for_a_run(folder, tmp_path):
    """A run of a strategy and a TOML file with the same settings place the same orders; the file needs no run."""
    (tmp_path / "today.toml").write_text(
        f'prices = "{folder / "prices.csv"}"\nfrequency = "M"\nstrategies = ["{MOMENTUM}"]\ndollar_neutral = false\n'
        "[costs]\nfactors = 2\n"
    )
    given = {"holdings": pd.Series({"A": 3.0}), "wealth": 1e4}

    of_run, of_file = (day_of_run(run, **given) for run in (folder / "momentum", tmp_path / "today.toml"))

    pd.testing.assert_frame_equal(of_run.orders.table(), of_file.orders.table())
    assert of_run.source == of_file.source
    assert len(of_run.orders.table()) > 0


def test_orders_of_a_strategy_that_was_changed_since_its_run_are_refused(folder, tmp_path):
    strategy = tmp_path / "momentum.py"
    strategy.write_text(MOMENTUM.read_text())
    document, _, _ = recorded(folder, "momentum")
    document["settings"]["strategies"] = [str(strategy)]
    document["files"] = {str(strategy): document["files"][str(MOMENTUM)]}
    (tmp_path / "config.json").write_text(json.dumps(document))
    given = {"holdings": pd.Series(dtype=float), "wealth": 1e4}
    assert day_of_run(tmp_path, **given).source.startswith("Momentum")

    strategy.write_text(MOMENTUM.read_text() + "# a better idea\n")

    with pytest.raises(SettingsError, match=r"momentum\.py: changed since the recorded run"):
        day_of_run(tmp_path, **given)


def test_the_command_writes_whole_shares_and_explains_them(folder, tmp_path):
    (tmp_path / "held.csv").write_text("symbol,shares,note\nA,100,x\nB,-40,y\n")
    given = ["positions", "--config", str(folder / "run"), "--holdings", str(tmp_path / "held.csv"), "--wealth", "1e5"]
    given += ["--objective", "squared", "--out", str(tmp_path / "orders.csv")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    document = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)

    orders = pd.read_csv(tmp_path / "orders.csv")
    assert len(orders) > 0
    assert (orders["shares"] == orders["shares"].round()).all()
    assert document["orders"][0]["symbol"] == orders["symbol"][0]
    assert document["broken"] == {}
    assert len(document["reasons"]) == len(orders)
    before = orders.set_index("symbol")["shares_before"]
    assert all(before.get(name, shares) == shares for name, shares in (("A", 100), ("B", -40)))
    page = (tmp_path / "orders.html").read_text()
    assert "Why no more of each" in page
    assert all(f'<th scope="row">{name}</th>' in page for name in orders["symbol"])
    assert "All limits hold after the trades." in done.output


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"objective": "aligned"}, SettingsError, "no objective 'aligned': choose from squared, whitened"),
        ({"objective": "squared", "book": 3}, SettingsError, "book is 3: the run has 1"),
        ({"objective": "squared", "holdings": pd.Series({"Z": 1.0})}, LabelError, "has no Z"),
        ({"objective": "squared", "wealth": -1.0}, SettingsError, "wealth is"),
        ({"run": "nowhere"}, SettingsError, "nowhere: there is no such file: give a TOML file"),
    ],
)
def test_what_cannot_be_is_refused(folder, change, error, message):
    given = {"run": folder / "run", "holdings": pd.Series(dtype=float), "wealth": 1e5} | change

    with pytest.raises(error, match=message):
        day_of_run(given.pop("run"), **given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol,amount\nA,1\n", "0 columns of .* are called shares or quantity"),
        ("symbol,shares\nA,1\nA,2\n", "line 3: A is there twice"),
        ("symbol,shares\nA,many\n", "line 2: A: 'many' is no number of shares"),
        ("symbol,shares\nA\n", "line 2: 1 fields, 2 in the header"),
        ("symbol,shares\n,3\n", "line 2: no symbol"),
    ],
)
def test_holdings_that_cannot_be_read_are_named(tmp_path, text, message):
    path = tmp_path / "held.csv"
    path.write_text(text)

    with pytest.raises(DataError, match=rf"held\.csv: .*{message}"):
        read_holdings(path)


def test_holdings_are_text_and_numbers(tmp_path):
    path = tmp_path / "held.csv"
    path.write_text("\ufeffTicker,Quantity\nNA,10\n\nTRUE,-2.5\n", encoding="utf-8")

    assert read_holdings(path).to_dict() == {"NA": 10.0, "TRUE": -2.5}
    with pytest.raises(DataError, match="no such file"):
        read_holdings(tmp_path / "missing.csv")
