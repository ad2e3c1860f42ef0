"""The comparison as a reader sees it: console table, charts and one self-contained page."""

from backtest.report.page import write_report
from backtest.report.single import PALETTE, blank_chart, chart, chart_names
from backtest.report.tables import comparison_html, comparison_table, print_comparison

__all__ = [
    "PALETTE",
    "blank_chart",
    "chart",
    "chart_names",
    "comparison_html",
    "comparison_table",
    "print_comparison",
    "write_report",
]
