"""Numerai's scores once more, name by name in plain loops: slow, and independent of the library's."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np


def normal_scores(p: list[float]) -> list[float]:
    found = []
    for value in p:
        below, equal = sum(other < value for other in p), sum(other == value for other in p)
        found.append(NormalDist().inv_cdf((below + (equal + 1) / 2 - 0.5) / len(p)))
    return found


def tails(v: list[float]) -> list[float]:
    return [abs(x) ** 1.5 * (1 if x > 0 else -1 if x < 0 else 0) for x in v]


def correlation(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    bottom = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return top / bottom**0.5


def centred(y: list[float]) -> list[float]:
    mean = sum(y) / len(y)
    return [value - mean for value in y]


def corr20v2(p: list[float], y: list[float]) -> float:
    return correlation(tails(normal_scores(p)), tails(centred(y)))


def top_bottom(p: list[float], y: list[float], count: int) -> float:
    scores, t = tails(normal_scores(p)), tails(centred(y))
    order = sorted(range(len(p)), key=lambda i: scores[i])
    ends = order[:count] + order[-count:]
    return correlation([scores[i] for i in ends], [t[i] for i in ends])


def contribution(p: list[float], m: list[float], y: list[float]) -> float:
    g, h = normal_scores(p), normal_scores(m)
    slope = sum(a * b for a, b in zip(g, h, strict=True)) / sum(b * b for b in h)
    left = [a - slope * b for a, b in zip(g, h, strict=True)]
    return sum(a * 4 * b for a, b in zip(left, centred(y), strict=True)) / len(y)


def feature_neutral(p: list[float], features: np.ndarray, y: list[float]) -> float:
    x = np.column_stack([np.ones(len(p)), features])
    g = np.array(normal_scores(p))
    # The normal equations: another way than the library's.
    left = g - x @ np.linalg.solve(x.T @ x, x.T @ g)
    return corr20v2(left.tolist(), y)


def meta_correlation(p: list[float], m: list[float]) -> float:
    return correlation(tails(normal_scores(p)), m)


def exposures(p: list[float], features: np.ndarray) -> tuple[float, float]:
    each = [correlation(p, column.tolist()) for column in features.T]
    return max(abs(c) for c in each), (sum(c * c for c in each) / len(each)) ** 0.5
