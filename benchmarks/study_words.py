"""Tables and sentences of the study, from the judgement of its sweep and the table of its map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from simulated_markets import t_interval

from backtest.sweep.judgement import Judgement
from backtest.sweep.table import totals

__all__ = [
    "earned_table",
    "map_differences",
    "map_sentences",
    "map_summary",
    "markdown",
    "pairs_table",
    "where_lines",
    "windows_table",
]

PAIRS = (("aligned", "whitened"), ("aligned", "squared"), ("whitened", "squared"))


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table: the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def percent(value: float, *, sign: bool = False) -> str:
    """Return a fraction as per cent with one digit."""
    return f"{100 * value:{'+' if sign else ''}.1f}"


def interval(mean: float, low: float, high: float) -> str:
    """Return a difference and its interval, in per cent a year; bold where it leaves zero out."""
    text = f"{percent(mean, sign=True)} [{percent(low)}, {percent(high)}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def earned_table(table: pd.DataFrame) -> str:
    """Return what each objective earned, a row a model, cost and objective, means over seeds, per cent a year."""
    whole = totals(table)
    charged = [name for name in whole.columns if str(name).startswith("cost: ")]
    rows = []
    for (model, cost, objective), part in whole.groupby(["model", "cost", "objective"], sort=False):
        mean = part.mean(numeric_only=True)
        rows.append(
            [
                f"{model}, {cost}, {objective}",
                percent(mean["gross"]),
                percent(mean[charged].sum()),
                percent(mean["net"]),
                percent(part["net"].std()),
                percent(mean["utility"]),
                f"{mean['sharpe']:.2f}",
                f"{mean['turnover']:.0f}",
                f"{mean['leverage']:.2f}",
                percent(mean["max_drawdown"]),
                f"{mean['information_coefficient']:.4f}",
            ]
        )
    head = (
        "model, cost, objective; gross; costs; net; sd of seeds; net utility; Sharpe; turnover; leverage; drawdown; IC"
    )
    return markdown(head.split("; "), rows)


def pairs_table(judgement: Judgement, quantity: str) -> str:
    """Return the paired differences of a quantity, "net" or "utility"."""
    rows = []
    for found in judgement.differences:
        d = found.difference
        if d.quantity != quantity:
            continue
        years = "" if d.power.reason is not None else _years(d.power.years_needed)
        rows.append(
            [
                f"{found.model}, {found.cost}: {d.a} − {d.b}",
                interval(d.interval.mean, d.interval.low, d.interval.high),
                f"{d.seeds_above_zero} of {d.n_seeds}",
                percent(found.by_seed_sd),
                years,
            ]
        )
    return markdown(["model, cost: pair", "% a year [95%]", "seeds above 0", "sd of seeds", "years needed"], rows)


def windows_table(table: pd.DataFrame, a: str, b: str) -> str:
    """Return the difference in net utility of two objectives, window by window, per cent a year, means over seeds."""
    rows = table[table["window"] != "all"]
    wide = rows.pivot_table(
        index=["model", "cost", "window"], columns="objective", values="utility", aggfunc="mean", sort=False
    )
    difference = (wide[a] - wide[b]).unstack("window")
    difference = difference[sorted(difference.columns, key=int)]
    first = rows.groupby("window")[["test_start", "test_end"]].first()
    head = [f"{first.loc[w, 'test_start']:%Y-%m} to {first.loc[w, 'test_end']:%Y-%m}" for w in difference.columns]
    return markdown(
        ["model, cost", *head],
        [
            [f"{model}, {cost}", *(percent(v, sign=True) for v in values)]
            for (model, cost), values in zip(difference.index, difference.to_numpy(), strict=True)
        ],
    )


def where_lines(judgement: Judgement) -> list[str]:
    """Return, for every pair and quantity, where it is shown and where not, in plain words."""
    lines = []
    for quantity, spoken in (("net", "net return"), ("utility", "net utility")):
        for a, b in PAIRS:
            found = [
                f
                for f in judgement.differences
                if (f.difference.a, f.difference.b, f.difference.quantity) == (a, b, quantity)
            ]
            more = [_place(f) for f in found if f.difference.interval.low > 0]
            less = [_place(f) for f in found if f.difference.interval.high < 0]
            parts = [f"{a} more than {b} in {_listed(more)}"] if more else []
            parts += [f"{b} more than {a} in {_listed(less)}"] if less else []
            rest = len(found) - len(more) - len(less)
            parts += [f"nothing shown in {rest} of {len(found)} cells"] if rest else []
            lines.append(f"- {spoken}, {a} and {b}: {'; '.join(parts)}.")
    return lines


def map_differences(table: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return the difference of every pair in net utility a year, a row a place, draw and pair."""
    wide = table.pivot(index=[*axes, "draw"], columns="objective", values="utility")
    parts = [(wide[a] - wide[b]).rename("difference").reset_index().assign(pair=f"{a} − {b}") for a, b in PAIRS]
    return pd.concat(parts, ignore_index=True)


def map_sentences(differences: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """Return where on the grid each pair's difference is told from luck, and on which side, in plain words."""
    lines = []
    for a, b in PAIRS:
        part = differences[differences["pair"] == f"{a} − {b}"]
        found = part.groupby(list(axes))["difference"].agg(lambda x: np.sign(t_interval(x.to_numpy())[1:]).sum() / 2)
        counts = [int((found == side).sum()) for side in (1, -1)]
        lines.append(
            f"- {a} and {b}: {a} has more in {counts[0]} of {len(found)} places, {b} in {counts[1]}, nothing is shown "
            f"in {len(found) - sum(counts)} (each alone; about {0.025 * len(found):.0f} on each side would be luck)."
        )
    return lines


def map_summary(differences: pd.DataFrame, axes: dict[str, tuple[float, ...]]) -> str:
    """Return the mean difference at each value of each axis, over all places that have it; draws are independent."""
    pairs = [f"{a} − {b}" for a, b in PAIRS]
    rows = []
    for axis, values in [("all places", (np.nan,)), *axes.items()]:
        for value in values:
            part = differences if np.isnan(value) else differences[differences[axis] == value]
            if part.empty:  # a small version of the grid
                continue
            of_draws = part.groupby(["pair", "draw"])["difference"].mean()
            name = axis if np.isnan(value) else f"{axis.replace('_', ' ')} {value:g}"
            rows.append([name, *(interval(*t_interval(of_draws[pair].to_numpy())) for pair in pairs)])
    return markdown(["", *pairs], rows)


def _place(found: Any) -> str:
    return f"{found.model}, {found.cost}"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} cells ({'; '.join(names)})" if len(names) > 1 else names[0]


def _years(years: float) -> str:
    if not np.isfinite(years) or years > 9999:
        return "over 9,999"
    return f"{years:,.0f}"
