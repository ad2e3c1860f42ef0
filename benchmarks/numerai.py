"""One pass over a file of Numerai's full size: time and peak memory of squared and aligned, on the same model.

    python benchmarks/numerai.py                         2.7 M rows x 2,748 int8 features, 1,000 eras; 3 GB of disk
    python benchmarks/numerai.py --rows 200000           a small machine: as many rows an era, fewer eras
    python benchmarks/numerai.py --folder FOLDER         keep the file there, and use it again

The file is generated (see `backtest.numerai.generator`). Each objective trains in a process of its own, so that peak
memory is its own, one pass over all eras from the seed's start: an MLP of 64 x 64, an era a batch, all rows; aligned
with exposure to the 42 features of the set "small", ridge, L1, position limits and neutrality. Times are of the wall
clock, reading included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_GB, LIMIT_RATIO = 4.0, 1.5
ROWS_PER_ERA = 2700
HIDDEN = (64, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_700_000)
    parser.add_argument("--features", type=int, default=2748)
    parser.add_argument("--folder", type=Path, help="where the files are, or will be")
    parser.add_argument("--rounds", type=int, default=1, help="passes of each, alternating; the best counts")
    parser.add_argument("--one", choices=["generate", "squared", "aligned"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one == "generate":
        print(json.dumps(generate(options.folder, options.rows, options.features)))
    elif options.one:
        print(json.dumps(one_pass(options.folder, options.one)))
    elif options.folder:
        compare(options.folder, options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    size = ["--rows", str(options.rows), "--features", str(options.features)]
    if not (folder / "train.parquet").exists():
        made = in_process(folder, "generate", size)
        print(f"generated: {made['seconds']:.0f} s, {made['gigabytes']:.2f} GB of memory", flush=True)
    disk = (folder / "train.parquet").stat().st_size / 1e9
    best: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for name in ("squared", "aligned"):
            found = in_process(folder, name, size)
            if name not in best or found["seconds"] < best[name]["seconds"]:
                best[name] = found
            print(f"{name}: {found['seconds']:.1f} s", file=sys.stderr, flush=True)
    shape = best["squared"]
    rows, eras = f"{shape['rows']:,.0f} rows x {shape['features']:,.0f} features", f"{shape['eras']:.0f} eras"
    print(f"{rows}, {eras}, {disk:.2f} GB on disk")
    for name, found in best.items():
        print(
            f"{name:8} {found['seconds']:7.1f} s a pass, {found['cpu']:7.1f} s of processors, peak memory "
            f"{found['gigabytes']:.2f} GB, mean loss {found['loss']:.6g}"
        )
    ratio = best["aligned"]["seconds"] / best["squared"]["seconds"]
    work = best["aligned"]["cpu"] / best["squared"]["cpu"]
    print(f"aligned / squared: {ratio:.2f} by the clock, {work:.2f} in processor time (at most {LIMIT_RATIO})")
    most = max(found["gigabytes"] for found in best.values())
    if most > LIMIT_GB or ratio > LIMIT_RATIO:
        sys.exit(f"over the limits of {LIMIT_GB:g} GB and {LIMIT_RATIO:g}")


def in_process(folder: Path, what: str, size: list[str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", what, "--folder", str(folder), *size]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def generate(folder: Path, rows: int, features: int) -> dict[str, float]:
    from backtest.numerai import generate_files

    eras = max(2, rows // ROWS_PER_ERA)
    begun = time.perf_counter()
    # One more era, for validation: all rows asked for are trained on.
    more = {"rows": rows + rows // eras, "eras": eras + 1, "validation": 1 / (eras + 1)}
    generate_files(folder, features=features, seed=0, live=False, **more)
    return {"seconds": time.perf_counter() - begun, "gigabytes": peak()}


def one_pass(folder: Path, objective: str) -> dict[str, float]:
    import numpy as np

    from backtest.numerai import EraCosts, EraFile, EraProblem, EraTraining, feature_set
    from backtest.numerai.era_losses import EraLosses
    from backtest.numerai.training import descent_of, train_pass
    from backtest.training.models import Network

    file = EraFile.open(folder / "train.parquet")
    names = file.columns.features
    exposed = np.array([names.index(name) for name in feature_set(folder / "features.json", "small")])
    problem = EraProblem(file, EraCosts(), exposed)
    settings = EraTraining(hidden=HIDDEN)
    network = Network.initial(len(names), hidden=HIDDEN, seeds=[0], scale=0.2)
    descent = descent_of(network, settings)
    losses = EraLosses((objective,))
    # The solver is compiled before the clock starts, on one era and a model that is thrown away.
    train_pass(problem, descent_of(network, settings), losses, file.eras[:1], settings=settings, seed=1)
    begun, worked = time.perf_counter(), time.process_time()
    loss = train_pass(problem, descent, losses, file.eras, settings=settings, seed=0)
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - worked,
        "gigabytes": peak(),
        "loss": float(loss),
        "rows": len(file.row_eras),
        "features": len(names),
        "eras": len(file.eras),
    }


def peak() -> float:
    """Return the most memory this process ever had, GB, pages of mapped files included."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e9


if __name__ == "__main__":
    main()
