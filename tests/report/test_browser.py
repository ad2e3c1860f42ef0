"""The page as a browser shows it: drawn without a fault at the widths of a phone and a desk, and tables that work."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from backtest.report.charts import CHARTS, SOLVER_CHARTS
from backtest.report.orders_page import orders_html
from backtest.report.page import page_html
from backtest.report.recorded_series import series_of
from backtest.report.runs_page import Run, runs_html

SCREENSHOTS = Path(__file__).parents[2] / "runs" / "screenshots"
PROBE = """
  const drawn = [...document.querySelectorAll("[data-chart]")].filter(box => box.querySelector(".main-svg"));
  const hidden = drawn.filter(box => !(box.querySelector(".plot, .heatmaplayer, .cartesianlayer")?.childElementCount));
  const table = document.querySelector('table[data-csv="assets"]');
  const column = () => [...table.tBodies[0].rows].map(row => row.cells[3].textContent);
  const head = table.tHead.rows[0].cells[3];
  const before = column();
  head.querySelector("button").click();
  const up = column(), upward = head.getAttribute("aria-sort");
  head.querySelector("button").click();
  const saved = [];
  URL.createObjectURL = blob => { saved.push(blob.size); return "blob:none"; };
  HTMLAnchorElement.prototype.click = function () { saved.push(this.download); };
  const measures = document.querySelector('table[data-csv="measures"]');
  measures.closest("section").querySelector(".csv").click();
  const files = {};
  for (const box of drawn) files[box.dataset.chart] = chartCsv(box);
  drawn[0].closest("figure").querySelector(".csv").click();
  return {files, drawn: drawn.map(box => box.dataset.chart), hidden: hidden.map(box => box.dataset.chart), before,
    up, upward,
    down: column(), saved, csv: csvOf(measures),
    small: drawn.filter(box => box.clientHeight < 80).map(box => box.dataset.chart)};
"""


@pytest.fixture
def comparison(make_comparison):
    rng = np.random.default_rng(0)
    return make_comparison({name: rng.normal(0.003, 0.02, (2, 60)) for name in ("squared", "aligned")})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("width", [390, pytest.param(1440, marks=pytest.mark.slow)])
def test_every_chart_is_drawn_and_tables_sort_and_download(browser, comparison, width):
    found = browser.open(page_html(comparison), PROBE, width=width)

    assert found["faults"] == []
    assert found["drawn"] == [chart.key for chart in (*CHARTS, *SOLVER_CHARTS)]
    assert found["hidden"] == found["small"] == []
    assert found["inner"] == width
    assert found["width"] <= width  # nothing to scroll sideways
    assert (found["up"], found["upward"]) == (["0.00", "20.00", "30.00", "50.00"], "ascending")
    assert found["down"] == found["up"][::-1] == found["before"]
    wealth = len(found["files"]["wealth"].encode())
    assert found["saved"] == [len(found["csv"].encode()), "measures.csv", wealth, "chart-wealth.csv"]
    lines = found["csv"].splitlines()
    assert lines[0] == "group,,squared,aligned"
    net = next(line for line in lines if "net % a year" in line).split(",")
    assert [float(number) for number in net[2:]] == [100 * each.net for each in comparison.objectives.values()]


@pytest.mark.timeout(120)
def test_every_chart_saves_the_numbers_it_draws(browser, comparison):
    found = browser.open(page_html(comparison), PROBE, width=1440)["files"]
    tables = {key: pd.read_csv(io.StringIO(text)) for key, text in found.items()}
    wealth, drawn = tables["wealth"].set_index("date"), comparison.series["aligned"].wealth

    assert list(wealth) == [f"{name}{end}" for name in comparison.results for end in (", lowest", ", highest", "")]
    np.testing.assert_allclose(wealth["aligned"], drawn.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(wealth["aligned, lowest"], drawn.min(axis=0), rtol=1e-6)
    assert list(tables["sides"]) == ["date", "squared, longs", "squared, shorts", "aligned, longs", "aligned, shorts"]
    assert list(tables["difference"]) == ["date", "aligned − squared"]
    assert list(tables["costs"]) == ["book", "step", "% a year"]
    held = tables["holdings"]
    assert held[(held["objective"] == "squared") & (held["asset"] == "AA")]["value"].unique().tolist() == [50.0]
    assert all(len(table) and not table.isna().all().any() for table in tables.values())


@pytest.mark.timeout(120)
def test_runs_side_by_side_fit_a_phone(browser, comparison):
    document = comparison.to_dict()
    page = runs_html([Run("first", document), Run("a/very/long/path/of/a/run", document)])

    found = browser.open(page, "return {buttons: document.querySelectorAll('th button').length}", width=390)

    assert found["faults"] == []
    assert found["width"] <= 390
    assert found["buttons"] > 10


@pytest.fixture
def day():
    """A day of orders with two names, of whose page only the look is tested."""
    listed = pd.DataFrame(
        {
            "symbol": ["AA", "<b>"],
            "side": ["buy", "sell"],
            "shares": [10.0, 2.5],
            "price": [12.34, 1000.0],
            "value": [123.4, -2500.0],
            "shares_after": [10.0, -2.5],
            "weight_before": [0.0, 0.0],
            "weight_after": [0.01, -0.2],
            "expected_trading_cost": [0.06, 1.25],
        }
    )
    why = {"symbol": ["AA", "<b>"], "direction": ["buy", "sell"], "forecast": [6.7, 1.3], "l1": [1.0, 1.0]}
    reasons = SimpleNamespace(table=pd.DataFrame(why | {"why": ["a limit stops it: " * 3, "all is sold"]}))
    orders = SimpleNamespace(
        table=lambda: listed,
        date=pd.Timestamp("2022-12-28"),
        costs={"trading_cost": np.array([0.06, 1.25])},
        wealth=12_500.0,
        held=np.zeros(2),
        q=np.array([0.01, -0.2]),
        broken={},
        events=pd.DataFrame(columns=["asset", "kind", "detail"]),
    )
    return SimpleNamespace(
        orders=orders,
        reasons=reasons,
        untraded=reasons,
        source="aligned, seed 0",
        forecast_date=pd.Timestamp("2022-12-23"),
    )


@pytest.mark.timeout(120)
def test_orders_fit_a_phone_sort_and_download(browser, day):
    probe = """
      const table = document.querySelector('table[data-csv="orders"]');
      table.tHead.rows[0].cells[4].querySelector("button").click();
      return {first: table.tBodies[0].rows[0].cells[0].textContent, csv: csvOf(table)};
    """
    found = browser.open(orders_html(day), probe, width=390)

    assert found["faults"] == []
    assert found["width"] <= 390
    assert found["first"] == "<b>"
    table = pd.read_csv(io.StringIO(found["csv"])).set_index("symbol")
    assert table.loc["AA", ["shares", "price", "value", "weight after"]].tolist() == [10, 12.34, 123.4, 1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("kind", ["report", "runs", "orders"])
def test_a_screenshot_is_kept_to_be_looked_at(browser, comparison, day, kind, width, dark, tmp_path):
    runs = [Run(name, comparison.to_dict(), series_of(comparison)) for name in ("first", "second")]
    pages = {
        "report": lambda: page_html(comparison),
        "runs": lambda: runs_html(runs),
        "orders": lambda: orders_html(day),
    }
    page = tmp_path / "page.html"
    page.write_text(pages[kind]())
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{kind}-{width}-{'dark' if dark else 'light'}.png"
    path.unlink(missing_ok=True)
    tall = "return {height: document.documentElement.scrollHeight}"
    height = browser.open(page.read_text(), tall, width=width)["height"]

    browser.screenshot(page, path, width=width, height=height, dark=dark)

    assert path.stat().st_size > 20_000
