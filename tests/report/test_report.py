"""The page, the charts and the console table: complete, self-contained, safe to open, replaced whole."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from backtest.report import write_report
from backtest.report.charts import CHARTS
from backtest.report.drawing import DARK
from backtest.report.page import page_html
from backtest.report.tables import number

HOSTILE = '<img src=x onerror=alert(1)>"&</script>'


@pytest.fixture
def comparison(make_comparison):
    rng = np.random.default_rng(0)
    market = rng.normal(0.002, 0.02, 120)
    gross = {
        name: market + rng.normal(0.0, 0.003, (3, 120))
        for name in ("squared", "whitened", "aligned", "misaligned", HOSTILE)
    }
    return make_comparison(
        gross,
        ruined_at={"misaligned": {2: 70}},
        settings={"data": HOSTILE, "costs": {"half_spread": 0.00025}, "seeds": [0, 1, 2], "quick": False},
        training={"aligned": [{"epochs": 12, "loss": -0.00123456, "curve": [1.0, 2.0]}]},
    )


@pytest.fixture
def page(comparison):
    """The page without plotly's own text."""
    from plotly.offline import get_plotlyjs

    whole = page_html(comparison)
    assert whole.count(get_plotlyjs()) == 1
    return whole.replace(get_plotlyjs(), "")


class Elements(HTMLParser):
    """Every element, its attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script":
            self.scripts.append(data)


def test_report_writes_the_page_and_the_document_and_nothing_else(comparison, tmp_path):
    path = comparison.report(tmp_path / "runs" / "first")

    assert path == tmp_path / "runs" / "first" / "report.html"
    assert sorted(p.name for p in path.parent.iterdir()) == ["comparison.json", "report.html", "series.parquet"]
    assert json.loads((path.parent / "comparison.json").read_text()) == comparison.to_dict()


def test_two_reports_of_one_comparison_are_the_same_bytes(comparison, tmp_path):
    first, second = (write_report(comparison, tmp_path / name).read_bytes() for name in "ab")

    assert first == second


def test_a_failed_write_leaves_the_earlier_page_whole(comparison, tmp_path, monkeypatch):
    path = write_report(comparison, tmp_path)
    path.write_text("earlier")

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(comparison, tmp_path)

    assert path.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["comparison.json", "report.html", "series.parquet"]


def test_the_page_fetches_nothing(page):
    """No element names an address, and the page's own policy forbids the network."""
    elements = Elements(page).elements

    assert not [e for e in elements if set(e[1]) & {"src", "href", "srcset", "action"}]
    assert not re.search(r"url\(|@import|https?:", page)
    policy = next(attrs["content"] for _, attrs in elements if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_names_and_settings_cannot_become_markup(page):
    elements = Elements(page).elements

    assert "img" not in {tag for tag, _ in elements}
    assert "<img" not in page
    assert page.count("</script>") == sum(tag == "script" for tag, _ in elements)


def test_the_verdict_comes_first_and_in_words(page, comparison):
    body = page[page.index("<body>") :]

    assert body.index("<h1>") < body.index("aligned − squared: net") < body.index('class="grid"')
    assert comparison.headline[0].conclusion in body
    assert "misaligned: 1 of 3 seeds ruined (seed 2)" in body


def test_every_chart_has_a_title_a_unit_and_data(page):
    for chart in CHARTS:
        assert f"<h2>{chart.title}</h2>" in page
        assert chart.unit in page
        data = re.search(rf'id="data-{chart.key}">(.*?)</script>', page, re.DOTALL).group(1)
        assert json.loads(data)["data"]


def test_every_setting_is_shown(page):
    for text in ("costs.<wbr>half_<wbr>spread", "0.00025", "0, 1, 2", "quick", "no"):
        assert f">{text}<" in page


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.key)
def test_every_colour_of_a_chart_is_known_to_the_dark_palette_or_good_on_both(chart, comparison):
    colours = set(re.findall(r"#[0-9a-fA-F]{6}", chart.draw(comparison).to_json(engine="json").split('"template"')[0]))

    assert colours <= set(DARK) | {"#d55e00", "#009e73", "#cc79a7", "#e69f00"}


def test_cost_steps_run_from_gross_to_net(comparison):
    figure = next(chart for chart in CHARTS if chart.key == "costs").draw(comparison)
    bars = figure.data[0]
    gross, trading, borrow, net = (bars.base[i] + bars.x[i] for i in range(4))
    summary = comparison.objectives["squared"]

    assert gross == pytest.approx(100 * summary.gross)
    assert trading == pytest.approx(100 * (summary.gross - summary.costs["trading_cost"]))
    assert borrow == pytest.approx(net)
    assert net == pytest.approx(100 * summary.net)


def test_the_difference_ends_at_its_mean_times_the_years(comparison):
    figure = next(chart for chart in CHARTS if chart.key == "difference").draw(comparison)
    cone, line = figure.data[:2]
    interval, years = comparison.headline[0].interval, 120 / 52

    assert line.y[-1] == pytest.approx(100 * interval.mean * years, rel=1e-5)
    assert sorted(cone.y[1:3]) == pytest.approx([100 * interval.low * years, 100 * interval.high * years])


def test_thinning_keeps_the_deepest_drawdown(make_comparison):
    values = np.full((1, 5000), 0.0012)
    values[0, 2503] = -0.5
    figure = next(c for c in CHARTS if c.key == "drawdown").draw(make_comparison({"a": values, "b": values + 1e-4}))

    assert min(figure.data[0].y) == pytest.approx(-50.12)
    assert len(figure.data[0].y) <= 1200


@pytest.mark.parametrize("n_dates", [1, 2, 25])
def test_a_short_run_of_one_seed_still_makes_a_page(make_comparison, n_dates):
    """CASES 28: constant returns have no Sharpe ratio and the report is still written."""
    flat = np.full((1, n_dates), 0.001)

    page = page_html(make_comparison({"squared": flat, "aligned": flat}))

    assert "the same on every date: no difference" in page


def test_the_console_shows_verdict_table_and_notes(comparison):
    console = Console(file=io.StringIO(), width=100)

    comparison.render(console)

    text = console.file.getvalue()
    assert text.startswith(comparison.verdict)
    for words in ("trading cost", "net utility", "deflated Sharpe", "Note: misaligned: 1 of 3 seeds ruined"):
        assert words in text


def test_a_notebook_shows_verdict_and_table(comparison):
    fragment = comparison._repr_html_()

    assert fragment.startswith("<div><p><strong>aligned - squared")
    assert "<table" in fragment
    assert "<img" not in fragment


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [(1.005, 1, "1.0"), (-0.001, 2, "0.00"), (-1.5, 1, "−1.5"), (12345.6, 2, "12,346"), (np.nan, 2, "–")],
)
def test_numbers_carry_the_digits_worth_reading(value, digits, expected):
    assert number(value, digits) == expected
