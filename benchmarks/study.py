"""The study: does the aligned objective make more money after costs? Real prices, and a map of simulated markets.

    python benchmarks/study.py [--out runs/study] [--jobs N] [--quick]

Runs the sweep of benchmarks/study_real.py and the grid of benchmarks/study_map.py, or goes on with what is in the
folder, and writes docs/study.md with its pictures from benchmarks/study_template.md: every number and every sentence
about a result is made here. --quick runs a small version of both into another page; its numbers are worth nothing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from study_map import AXES, WINDOW, run_map
from study_pictures import draw_differences, draw_map
from study_real import DOCUMENT, FALSE_BEFORE, FALSE_WEEKS, OBJECTIVES, PANEL, run_real
from study_words import (
    earned_table,
    map_differences,
    map_sentences,
    map_summary,
    pairs_table,
    where_lines,
    windows_table,
)

from backtest.sweep import judge
from backtest.sweep.judgement import Judgement
from backtest.whole_files import whole_file

ROOT = Path(__file__).resolve().parents[1]
DRAWS = 8


def as_asked(judgement: Judgement) -> Judgement:
    """Return the judgement with cells in the order of the design, not of their names."""
    costs, models = (list(DOCUMENT[name]) for name in ("costs", "models"))
    return replace(
        judgement,
        levels=tuple(sorted(judgement.levels, key=lambda level: costs.index(level.cost))),
        differences=tuple(
            sorted(judgement.differences, key=lambda found: (models.index(found.model), costs.index(found.cost)))
        ),
    )


def found(table: pd.DataFrame, judgement: Judgement, drawn: pd.DataFrame) -> dict[str, Any]:
    """Return what the template asks for of results."""
    differences = map_differences(drawn, list(AXES))
    levels = [
        f"\n**Costs {level.cost}.**\n\n" + "\n".join(f"- {line}" for line in level.lines) for level in judgement.levels
    ]
    return {
        "verdict": judgement.verdict,
        "where": "\n".join(where_lines(judgement)),
        "utility": pairs_table(judgement, "utility"),
        "net": pairs_table(judgement, "net"),
        "windows": windows_table(table, "aligned", "whitened"),
        "earned": earned_table(table),
        "trials": f"{judgement.trials:,}",
        "levels": "\n".join(levels),
        "draws": drawn["draw"].nunique(),
        "map_where": "\n".join(map_sentences(differences, list(AXES))),
        "map_means": map_summary(differences, AXES),
    }


def design() -> dict[str, Any]:
    """Return what the template asks for of the design."""
    run, costs = DOCUMENT["run"], DOCUMENT["costs"]
    false = [f"{symbol} up to {day}" for symbol, day in FALSE_BEFORE.items()]
    false += [f"{symbol} in the week to {day}" for symbol, day in FALSE_WEEKS.items()]
    return {
        "seeds": run["seeds"],
        "train": WINDOW.train,
        "validation": WINDOW.validation,
        "test": WINDOW.test,
        "panel": PANEL.name,
        "false": ", ".join(false),
        "objectives": ", ".join(OBJECTIVES),
        "walk": run["walk_forward"],
        **run["training"],
        **run["costs"],
        **{name: level["half_spread"] for name, level in costs.items()},
    }


def main() -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "study", help="folder of what is run")
    parser.add_argument("--jobs", type=int, default=None, help="processes; one a core unless given")
    parser.add_argument("--quick", action="store_true", help="a small version, to see that all works")
    arguments = parser.parse_args()
    folder: Path = arguments.out / "quick" if arguments.quick else arguments.out
    if not PANEL.exists():
        parser.error(f"{PANEL} is not there: the part on real prices needs it")
    began = time.perf_counter()

    def tell(what: str, done: int, of: int, _: pd.DataFrame | None) -> None:
        print(f"{time.perf_counter() - began:7.0f} s  {done} of {of}  {what}", flush=True)

    table = run_real(folder / "sweep", n_jobs=arguments.jobs, quick=arguments.quick, report=tell)
    judgement = as_asked(judge(folder / "sweep"))
    draws = 2 if arguments.quick else DRAWS
    kept = folder / f"map-{draws}.parquet"
    if not kept.exists():
        drawn = run_map(draws=draws, n_jobs=arguments.jobs, n_places=6 if arguments.quick else None)
        with whole_file(kept) as file:
            drawn.to_parquet(file, index=False)
    drawn = pd.read_parquet(kept)

    docs = folder if arguments.quick else ROOT / "docs"
    pictures = docs / "images" / "study"
    draw_differences(judgement, pictures / "differences.png")
    differences = map_differences(drawn, list(AXES))
    for other in ("whitened", "squared"):
        draw_map(differences, AXES, f"aligned − {other}", pictures / f"map-{other}.png")
    template = Path(__file__).with_name("study_template.md").read_text(encoding="utf-8")
    (docs / "study.md").write_text(template.format(**found(table, judgement, drawn), **design()), encoding="utf-8")
    print(f"{docs / 'study.md'}\n{judgement.verdict}")


if __name__ == "__main__":
    main()
