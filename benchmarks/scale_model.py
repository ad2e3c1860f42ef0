"""The cost model of `benchmarks/scale.py`: what seconds and megabytes are fitted with, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from backtest.training import TrainingSettings

UNITS, LOOKBACK = 32, 252
SETTINGS = TrainingSettings(epochs=1, path_epochs=1, patience=10_000, hidden=(UNITS, UNITS), shrinkage=(0.3, 1.0))
PIECES = ("squared pass", "whitened pass", "aligned start", "aligned pass", "look at validation", "trading", "estimate")
ROWS = ("train", "validation", "test")


@dataclass(frozen=True)
class Size:
    """One point: T rows, N names, K features, S seeds, H holding periods, k factors."""

    T: int = 192
    N: int = 200
    K: int = 10
    S: int = 2
    H: int = 1
    k: int = 5

    @property
    def weights(self) -> int:
        """Weights of a network, nearly."""
        return self.K * UNITS + UNITS**2


def books(piece: str, size: Size) -> int:
    return size.S if piece.startswith(("squared", "whitened", "trading")) else size.S * size.H


def terms(piece: str, size: Size, n_books: float) -> np.ndarray:
    """Return what the coefficients of a piece's seconds multiply."""
    if piece == "estimate":
        return size.T * np.array([1.0, size.N, size.N * LOOKBACK, 0.0])
    by_name = n_books * size.N
    return size.T * np.array(
        [
            1.0,
            by_name,
            by_name * size.weights * ("look" not in piece and piece != "trading"),
            by_name * size.k * (piece != "squared pass"),
        ]
    )


def memory_terms(piece: str, size: Size, n_books: float, *, trained: int | None = None) -> np.ndarray:
    """Return what the coefficients of a piece's megabytes multiply, in millions of numbers: `trained` rows of T."""
    panel = (LOOKBACK + size.T) * size.N / 1e6
    common = [1.0, panel * size.K, panel]
    if piece == "training, MB":
        by_name = n_books * size.N / 1e6
        return np.array(
            [*common, by_name * SETTINGS.chunk_length * SETTINGS.batch_chunks * UNITS, by_name * (trained or size.T)]
        )
    return np.array([*common, n_books * panel, 0.0])


def fitted(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    coefficients: np.ndarray = nnls(features / values[:, None], np.ones(len(values)))[0]
    return coefficients


def report_points(points: tuple[Size, ...], results: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Print each piece at each point beside what the model says; return the coefficients."""
    coefficients = {}
    for piece in (*PIECES, "training, MB", "trading, MB"):
        of_piece = memory_terms if piece.endswith("MB") else terms
        features = np.array([of_piece(piece, size, books(piece, size)) for size in points])
        values = np.array([result[piece] for result in results])
        coefficients[piece] = fitted(features, values)
        model = features @ coefficients[piece]
        print(f"\n{piece}: coefficients {', '.join(f'{c:.3g}' for c in coefficients[piece])}")
        print(
            f"  {'T':>5}{'N':>6}{'K':>4}{'S':>3}{'H':>3}{'k':>4}{'measured':>11}{'x base':>8}{'model':>9}{'off by':>8}"
        )
        for size, value, said in zip(points, values, model, strict=True):
            print(
                f"  {size.T:5}{size.N:6}{size.K:4}{size.S:3}{size.H:3}{size.k:4}{value:11.3f}"
                f"{value / values[0]:8.2f}{said:9.3f}{100 * (said / value - 1):+7.0f}%"
            )
    return coefficients


def predicted(size: Size, coefficients: dict[str, np.ndarray], *, window: dict[str, int]) -> dict[str, float]:
    """Return seconds of one window: `window` has train, validation, test, epochs, path_epochs, shrinkages."""

    def piece(name: str, rows: int, n_books: float) -> float:
        return float(terms(name, replace(size, T=rows), n_books) @ coefficients[name])

    train, validation = window["train"], window["validation"]
    replicas, tried = size.S * size.H, size.S * size.H * window["shrinkages"]
    errors = window["epochs"] * sum(piece(f"{name} pass", train, size.S) for name in ("squared", "whitened"))
    aligned = window["path_epochs"] * piece("aligned pass", train, replicas)
    aligned += piece("aligned start", train, replicas)
    looks = 0.0
    looks += (1 + window["path_epochs"]) * piece("look at validation", validation, replicas)
    looks += piece("look at validation", validation, 2 * tried) + piece("look at validation", validation, tried)
    return {"training": errors + aligned + looks, "trading": piece("trading", window["test"], 3 * size.S)}


def report_held_out(size: Size, result: dict[str, float], coefficients: dict[str, np.ndarray]) -> None:
    window = {name: int(result.pop(name)) for name in ROWS}
    said = predicted(size, coefficients, window=window | {"epochs": 3, "path_epochs": 2, "shrinkages": 2})
    said["estimate"] = float(terms("estimate", size, 1) @ coefficients["estimate"])
    said["training, MB"] = float(
        memory_terms("training, MB", size, size.S * size.H, trained=window["train"]) @ coefficients["training, MB"]
    )
    said["trading, MB"] = float(memory_terms("trading, MB", size, 3 * size.S) @ coefficients["trading, MB"])
    print(f"\nHeld out, a whole window of {window}: {size}")
    for name, value in result.items():
        print(
            f"  {name:14} measured {value:9.2f}, model {said[name]:9.2f}, off by {100 * (said[name] / value - 1):+.0f}%"
        )


def report_sweeps(coefficients: dict[str, np.ndarray]) -> None:
    """Print what 200 settings of 5,000 stocks over 20 years would cost: 4 seeds, 2 holding periods, 3 objectives."""
    for name, year in (("daily", 252), ("weekly", 52)):
        size = Size(T=20 * year, N=5000, K=20, S=4, H=2, k=15)
        length = {"train": 8 * year, "validation": 2 * year, "test": round(2.5 * year)}
        window = length | {"epochs": 30, "path_epochs": 8, "shrinkages": 3}
        n_windows = round((20 - 1 - 10) / 2.5)
        said = predicted(size, coefficients, window=window)
        trade = n_windows * said["trading"]
        estimate = float(terms("estimate", size, 1) @ coefficients["estimate"])
        hours = {key: value / 3600 for key, value in {**said, "trading": trade, "estimate": estimate}.items()}
        hours["training"] += hours["estimate"]  # a worker estimates when it begins a cell
        total = 200 * (n_windows * hours["training"] + hours["trading"])
        print(f"\n200 settings, 5,000 stocks, 20 years {name}, {n_windows} windows, 3 objectives, {size}")
        print(
            f"  a window {hours['training']:.2f} h with estimates, trading a cell {hours['trading']:.2f} h, "
            f"estimates of a cell {3600 * hours['estimate']:.0f} s; in all {total:,.0f} processor hours"
        )
        for label, cores in (("2 cores", 2), ("16 cores", 16), ("100 machines of 16 cores", 1600)):
            # A task is a window; the last of a cell's trades it. Whole rounds: the last one waits for its slowest task.
            wall = -(-200 * n_windows // cores) * hours["training"] + -(-200 // cores) * hours["trading"]
            print(f"  {label:26} {wall:8,.1f} h = {wall / 24:6,.1f} days")
        features = size.T * size.N * size.K
        train_mb = (
            memory_terms("training, MB", size, size.S * size.H, trained=length["train"]) @ coefficients["training, MB"]
        )
        trade_mb = memory_terms("trading, MB", size, 3 * size.S) @ coefficients["trading, MB"]
        print(
            f"  data {8 * features / 1e9:.1f} GB of features and {5 * 8 * size.T * size.N / 1e9:.1f} GB beside them "
            f"a machine, once; a worker {train_mb / 1e3:.1f} GB of its own; trading a cell {trade_mb / 1e3:.1f} GB"
        )
