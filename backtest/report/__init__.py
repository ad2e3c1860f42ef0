"""The comparison as a reader sees it: console table, one self-contained page, and charts that stand by themselves."""

from backtest.report.capacity_figure import capacity_figure
from backtest.report.drawing import COLOURS, HUES
from backtest.report.page import write_report
from backtest.report.response_figure import response_figure
from backtest.report.standalone import standalone
from backtest.report.steps import attribution_figure
from backtest.report.tables import comparison_html, comparison_table, print_comparison
from backtest.report.weight_figure import weight_figure

__all__ = [
    "COLOURS",
    "HUES",
    "attribution_figure",
    "capacity_figure",
    "comparison_html",
    "comparison_table",
    "print_comparison",
    "response_figure",
    "standalone",
    "weight_figure",
    "write_report",
]
