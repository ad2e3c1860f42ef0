"""The page as a browser shows it: drawn without a fault at the widths of a phone and a desk, and tables that work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backtest.report.charts import CHARTS
from backtest.report.page import page_html
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
  return {drawn: drawn.map(box => box.dataset.chart), hidden: hidden.map(box => box.dataset.chart), before, up, upward,
    down: column(), saved, csv: csvOf(measures),
    small: drawn.filter(box => box.clientHeight < 80).map(box => box.dataset.chart)};
"""


@pytest.fixture
def comparison(make_comparison):
    rng = np.random.default_rng(0)
    return make_comparison({name: rng.normal(0.003, 0.02, (2, 60)) for name in ("squared", "aligned")})


@pytest.mark.timeout(180)
@pytest.mark.parametrize("width", [390, 1440])
def test_every_chart_is_drawn_and_tables_sort_and_download(browser, comparison, width):
    found = browser.open(page_html(comparison), PROBE, width=width)

    assert found["faults"] == []
    assert found["drawn"] == [chart.key for chart in CHARTS]
    assert found["hidden"] == found["small"] == []
    assert found["inner"] == width
    assert found["width"] <= width  # nothing to scroll sideways
    assert (found["up"], found["upward"]) == (["0.00", "20.00", "30.00", "50.00"], "ascending")
    assert found["down"] == found["up"][::-1] == found["before"]
    assert found["saved"] == [len(found["csv"].encode()), "measures.csv"]
    lines = found["csv"].splitlines()
    assert lines[0] == "group,,squared,aligned"
    net = next(line for line in lines if "net % a year" in line).split(",")
    assert [float(number) for number in net[2:]] == [100 * each.net for each in comparison.objectives.values()]


@pytest.mark.timeout(120)
def test_runs_side_by_side_fit_a_phone(browser, comparison):
    document = comparison.to_dict()
    page = runs_html([Run("first", document), Run("a/very/long/path/of/a/run", document)])

    found = browser.open(page, "return {buttons: document.querySelectorAll('th button').length}", width=390)

    assert found["faults"] == []
    assert found["width"] <= 390
    assert found["buttons"] > 10


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_a_screenshot_is_kept_to_be_looked_at(browser, comparison, width, dark, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(page_html(comparison))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"report-{width}-{'dark' if dark else 'light'}.png"
    path.unlink(missing_ok=True)

    browser.screenshot(page, path, width=width, height=10000 if width < 500 else 5600, dark=dark)

    assert path.stat().st_size > 50_000
