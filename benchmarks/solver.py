"""The position solver beside the general differentiable layers, on the same problems, in one process run.

    python benchmarks/solver.py                              the sizes of the table in docs, some minutes
    python benchmarks/solver.py --cells 431x15x64 3000x50x8  assets x factors x rows
    python benchmarks/solver.py --all --budget 120           five sizes, batches of 1, 8 and 64: hours
    python benchmarks/solver.py --json

Peers come with `pip install -c constraints.txt .[peers]`; one that is not installed is skipped and named, one that
fails is listed with its error. The problem is in `solver_problem.py`, the peers in `solver_peers.py`, the exact
solution that all are judged by in `solver_judge.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from solver_clock import describe_clock, on_one_core

if __name__ == "__main__":
    on_one_core()

import torch
from solver_floor import floor_seconds
from solver_judge import exact_row, finite_difference_error
from solver_measure import PROBE, measure_ours, measure_peer, probe
from solver_peers import DEFAULT_CVXPYLAYERS, PEERS, Peer
from solver_problem import draw_problem

SIZES = ((100, 10), (431, 15), (1000, 20), (3000, 50), (5000, 50))
BATCHES = (1, 8, 64)
CELLS = ((100, 10, 8), (431, 15, 64), (1000, 20, 8), (3000, 50, 8), (5000, 50, 8))
JUDGED_ROWS = 8
USELESS_GRADIENT = 0.5
"""A peer whose gradient is wrong by this much of its length does not count as the fastest."""

FASTER_THAN_PEERS, FASTER_THAN_DEFAULT, TIMES_FLOOR = 100, 500, 3
LIBRARIES = ("torch", "numpy", "numba", "cvxpy", "scs", "clarabel")
PACKAGES = (*LIBRARIES, "diffcp", "cvxpylayers", "moreau", "proxsuite", "qpth")

EXPLANATION = """\
Times are for the whole batch, best of several runs. Memory is by how much resident memory peaks in build and first run.
Errors are the worst of the first {rows} rows that were run, against an exact solution: the gradient's relative to its
length, position and violation in fractions of wealth. A run that should take over {budget:g} s is cut to fewer rows."""


class Bench:
    """The peers that are here, and what a row of each took last, by which its next cell is predicted."""

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.absent = [peer for peer in PEERS if peer.missing]
        self.present = [peer for peer in PEERS if not peer.missing]
        self.row_seconds = {peer.name: (PROBE, probe(peer)) for peer in self.present}

    def predicted(self, peer: Peer, n_assets: int, n_factors: int) -> float:
        """Return the seconds a row of this size should take."""
        size, seconds = self.row_seconds[peer.name]
        return seconds * peer.growth(n_assets, n_factors) / peer.growth(*size)

    def cell(self, n_assets: int, n_factors: int, n_rows: int) -> dict[str, Any]:
        """Measure every solver on one size and batch."""
        problem = draw_problem(n_assets, n_factors, n_rows)
        exact = [exact_row(problem, row) for row in range(min(n_rows, JUDGED_ROWS))]
        solvers = [measure_ours(problem, exact, autograd=autograd) for autograd in (False, True)]
        for peer in self.present:
            seconds = self.predicted(peer, n_assets, n_factors)
            measured = measure_peer(peer, problem, exact, row_seconds=seconds, budget=self.budget)
            if measured.rows:
                self.row_seconds[peer.name] = ((n_assets, n_factors), measured.total_ms / 1e3 / n_rows)
            solvers.append(measured)
        steps = solvers[0].steps
        assert steps is not None
        moving = round(sum(row.free.sum() for row in exact) / len(exact))
        return {
            "n_assets": n_assets,
            "n_factors": n_factors,
            "batch": n_rows,
            "steps": steps / n_rows,
            "floor_ms": 1e3 * floor_seconds(problem, steps),
            "moving": moving,
            "floor_moving_ms": 1e3 * floor_seconds(problem, steps, names=moving),
            "finite_difference_error": finite_difference_error(problem, exact[0]),
            "nearest_kink": min(row.margin for row in exact),
            "solvers": [asdict(measured) | {"total_ms": measured.total_ms} for measured in solvers],
        }


def claims(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is claimed of a cell, each with its number, target and whether it is met; None when unmeasured."""
    ours, *others = cell["solvers"]
    peers = [solver for solver in others[1:] if solver["rows"]]
    useful = [peer for peer in peers if peer["gradient_error"] < USELESS_GRADIENT]
    fastest = min(useful, key=lambda peer: peer["total_ms"], default=None)
    default = next((peer for peer in peers if peer["solver"] == DEFAULT_CVXPYLAYERS), None)

    def faster(peer: dict[str, Any] | None) -> float | None:
        return None if peer is None else peer["total_ms"] / ours["total_ms"]

    name = fastest["solver"] if fastest else "none measured"
    found = [
        (f"faster than the fastest peer ({name})", faster(fastest), FASTER_THAN_PEERS),
        ("faster than default cvxpylayers", faster(default), FASTER_THAN_DEFAULT),
    ]
    stated = [
        {"claim": name, "value": value, "target": target, "met": None if value is None else value >= target}
        for name, value, target in found
    ]
    limits = [("gradient error", ours["gradient_error"], 1e-8), ("position error", ours["position_error"], 1e-7)]
    if cell["n_assets"] >= 1000:
        limits.append(("forward over the floor", ours["forward_ms"] / cell["floor_ms"], TIMES_FLOOR))
    return stated + [
        {"claim": name, "value": value, "target": target, "met": value <= target} for name, value, target in limits
    ]


def print_cell(cell: dict[str, Any], file: Any) -> None:
    ours = cell["solvers"][0]
    print(f"\nN = {cell['n_assets']}, k = {cell['n_factors']}, {cell['batch']} rows", file=file)
    heads = ("forward ms", "backward ms", "build ms", "memory MB", "obj. gap", "position", "gradient", "violation")
    print(f"  {'':22}" + "".join(f"{head:>12}" for head in heads) + f"{'x ours':>10}", file=file)
    for solver in cell["solvers"]:
        if solver["note"]:
            print(f"  {solver['solver']:22}  {solver['note']}", file=file)
            continue
        memory = "-" if solver["memory_mb"] is None else f"{solver['memory_mb']:.1f}"
        times = "".join(f"{solver[name]:12.2f}" for name in ("forward_ms", "backward_ms", "build_ms"))
        errors = ("objective_gap", "position_error", "gradient_error", "violation")
        line = f"  {solver['solver']:22}{times}{memory:>12}" + "".join(f"{solver[name]:12.1e}" for name in errors)
        line += f"{solver['total_ms'] / ours['total_ms']:10.1f}"
        if solver["rows"] < cell["batch"]:
            line += f"  timed on {solver['rows']} of {cell['batch']} rows x {cell['batch'] / solver['rows']:g}"
        print(line, file=file)
    print(f"  floor: {cell['steps']:.1f} steps a row; forward, and forward + backward, over the products", file=file)
    for floor, names in ((cell["floor_ms"], cell["n_assets"]), (cell["floor_moving_ms"], cell["moving"])):
        ratios = f"{ours['forward_ms'] / floor:6.2f} {ours['total_ms'] / floor:6.2f}"
        print(f"    with {names:4d} names in G'WG, {floor:8.2f} ms: {ratios}", file=file)
    print(
        f"  exact gradient against central differences of proved solutions: {cell['finite_difference_error']:.0e}; "
        f"nearest kink: {cell['nearest_kink']:.0e} of a weight or price",
        file=file,
    )


def print_claims(cells: list[dict[str, Any]], file: Any) -> None:
    print("\nClaims (peers with a gradient error below 50% count)", file=file)
    for cell in cells:
        for claim in claims(cell):
            value = "not measured" if claim["value"] is None else f"{claim['value']:.3g}"
            verdict = {None: "-", True: "met", False: "NOT MET"}[claim["met"]]
            size = f"{cell['n_assets']}x{cell['n_factors']}x{cell['batch']}"
            print(f"  {size:13} {claim['claim']:60} {value:>12}  target {claim['target']:<6g} {verdict}", file=file)


def machine(bench: Bench) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        named = (line for line in listing.read_text().splitlines() if line.startswith("model name"))
        cpu = next(named, f": {cpu}").split(":")[1].strip()
    missing = {package for peer in bench.absent for package in peer.missing}
    return {
        "cpu": cpu,
        "clock": describe_clock(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES if name not in missing},
    }


def read_cell(text: str) -> tuple[int, int, int]:
    n_assets, n_factors, n_rows = (int(part) for part in text.split("x"))
    return n_assets, n_factors, n_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", type=read_cell, default=CELLS, help="assets x factors x rows")
    parser.add_argument("--all", action="store_true", help="every size with every batch")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds of one run of a peer in a cell")
    parser.add_argument("--json", action="store_true", help="print one JSON document; the table goes to stderr")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = [(*size, batch) for size in SIZES for batch in BATCHES] if options.all else options.cells
    file = sys.stderr if options.json else sys.stdout

    bench = Bench(options.budget)
    described = machine(bench)
    print(f"{described['cpu']}, Python {described['python']}; {described['clock']}", file=file)
    print(", ".join(f"{name} {number}" for name, number in described["versions"].items()), file=file)
    for peer in bench.absent:
        print(f"{peer.name}: skipped, not installed: {', '.join(peer.missing)}", file=file)
    print(EXPLANATION.format(rows=JUDGED_ROWS, budget=options.budget), file=file)
    for peer in bench.present:
        print(f"  {peer.name:22} {peer.form}", file=file)
    results = []
    for cell in cells:
        results.append(bench.cell(*cell))
        print_cell(results[-1], file)
        file.flush()
    print_claims(results, file)
    if options.json:
        absent = {peer.name: list(peer.missing) for peer in bench.absent}
        document = {"machine": described, "absent": absent, "cells": results, "claims": [claims(c) for c in results]}
        print(json.dumps(_plain(document), indent=1))


def _plain(value: Any) -> Any:
    """Return the document with NaN and infinity as null, which JSON has no words for."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
