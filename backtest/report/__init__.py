"""The comparison as a reader sees it: console table, charts and one self-contained page."""

from backtest.report.capacity_figure import capacity_figure
from backtest.report.drawing import COLOURS, STYLES
from backtest.report.page import write_report
from backtest.report.response_figure import response_figure
from backtest.report.single import PALETTE, blank_chart, chart, chart_names, titled
from backtest.report.steps import attribution_figure
from backtest.report.tables import comparison_html, comparison_table, print_comparison
from backtest.report.weight_figure import weight_figure

__all__ = [
    "COLOURS",
    "PALETTE",
    "STYLES",
    "attribution_figure",
    "blank_chart",
    "capacity_figure",
    "chart",
    "chart_names",
    "comparison_html",
    "comparison_table",
    "print_comparison",
    "response_figure",
    "titled",
    "weight_figure",
    "write_report",
]
