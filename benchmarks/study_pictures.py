"""Pictures of the study: intervals of the paired differences, and the map of simulated markets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from simulated_markets import t_interval

from backtest.sweep.judgement import Judgement

__all__ = ["draw_differences", "draw_map"]

COLOURS = {"aligned − whitened": "#0072b2", "aligned − squared": "#d55e00", "whitened − squared": "#009e73"}
MARKS = {"aligned − whitened": "o", "aligned − squared": "s", "whitened − squared": "^"}
WORDS = {"net": "net return", "utility": "net utility"}


def draw_differences(judgement: Judgement, path: Path) -> None:
    """Draw every paired difference with its interval: net return beside net utility, a row a model and cost."""
    plt = _pyplot()
    cells = list(dict.fromkeys((found.model, found.cost) for found in judgement.differences))
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.9 * len(cells) + 1.6), sharey=True, layout="constrained")
    for axis, quantity in zip(axes, WORDS, strict=True):
        axis.axvline(0, color="#8b949e", linewidth=1)
        for found in judgement.differences:
            d = found.difference
            if d.quantity != quantity or d.interval.reason is not None:
                continue
            pair = f"{d.a} − {d.b}"
            place = cells.index((found.model, found.cost)) + 0.24 * (list(COLOURS).index(pair) - 1)
            axis.plot([100 * d.interval.low, 100 * d.interval.high], [place, place], color=COLOURS[pair], linewidth=2)
            axis.plot(100 * d.interval.mean, place, MARKS[pair], color=COLOURS[pair], markersize=6)
        axis.set_xlabel(f"difference in {WORDS[quantity]}, % of wealth a year")
        axis.set_yticks(range(len(cells)), [f"{model}, {cost} costs" for model, cost in cells])
        axis.grid(axis="x", color="#e1e4e8")
        axis.set_axisbelow(True)
    axes[0].invert_yaxis()
    handles = [plt.Line2D([], [], color=COLOURS[p], marker=MARKS[p], linewidth=2, label=p) for p in COLOURS]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    _save(figure, path)


def draw_map(differences: pd.DataFrame, axes: Mapping[str, Sequence[float]], pair: str, path: Path) -> None:
    """Draw one pair over the whole grid: a square a place, its colour the mean over draws; a dot where the interval of
    its draws leaves zero out.

    Down: noise, within misspecification. Across: half-spread, within the spread of costs, within what is neutralised.
    """
    plt = _pyplot()
    part = differences[differences["pair"] == pair]
    down, across = ["misspecification", "noise"], ["neutralised", "cost_dispersion", "half_spread"]
    values = part.pivot_table(index=down, columns=across, values="difference", aggfunc="mean")
    shown = part.pivot_table(
        index=down, columns=across, values="difference", aggfunc=lambda x: float(np.prod(t_interval(x)[1:]) > 0)
    )
    limit = 100 * float(np.nanquantile(values.abs().to_numpy(), 0.95))
    figure, axis = plt.subplots(figsize=(10, 5.2), layout="constrained")
    image = axis.imshow(100 * values.to_numpy(), cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for row, column in zip(*np.nonzero(shown.to_numpy()), strict=True):
        axis.plot(column, row, "o", color="#1d2329", markersize=3)
    axis.set_yticks(range(len(values)), [f"noise {noise:g}" for _, noise in values.index])
    axis.set_xticks(range(values.shape[1]), [f"{spread:g} bp" for *_, spread in values.columns])
    n_down, n_across = len(axes["noise"]), len(axes["half_spread"])
    for block, (wrong, _) in enumerate(list(values.index)[::n_down]):
        axis.text(
            -1.9,
            block * n_down + (n_down - 1) / 2,
            f"misspecified\n{100 * wrong:.0f}%",
            ha="center",
            va="center",
            rotation=90,
        )
        if block:
            axis.axhline(block * n_down - 0.5, color="white", linewidth=3)
    for block, (along, dispersion, _) in enumerate(list(values.columns)[::n_across]):
        alike = "alike" if dispersion == 0 else f"differ (sd of log {dispersion:g})"
        words = f"costs {alike}\n{100 * along:.0f}% neutralised"
        axis.text(block * n_across + (n_across - 1) / 2, -0.75, words, ha="center", va="bottom")
        if block:
            axis.axvline(block * n_across - 0.5, color="white", linewidth=3)
    axis.set_xlabel("mean half-spread")
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    figure.colorbar(image, label=f"net utility, {pair}, % a year", extend="both")
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.edgecolor": "#8b949e", "axes.labelcolor": "#1d2329"})
    return plt


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the date and version of the library, so that the same numbers give the same file.
    figure.savefig(path, dpi=130, metadata={"Software": None})
    _pyplot().close(figure)
