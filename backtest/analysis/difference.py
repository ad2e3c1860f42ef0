"""One pair of objectives: how much more one earns, its interval, what it would take to show, and at equal risk.

A difference is paired: the seed-average series of one less that of the other, date by date, so that what the
market did to both cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backtest.analysis.equal_risk import equal_risk
from backtest.analysis.power import PowerStatement, power_statement
from backtest.analysis.series_checks import LEAST_PERIODS
from backtest.analysis.sharpe_inference import SharpeDifference, sharpe_difference_bootstrap
from backtest.analysis.significance import BootstrapInterval, stationary_bootstrap_interval

__all__ = ["Difference", "RescaledDifference", "interval_in_words", "paired_difference"]


@dataclass(frozen=True)
class RescaledDifference:
    """Annual net return of `a` less that of `b` with `b` rescaled to the volatility of `a`.

    A hypothetical: costs scale with positions only approximately (`equal_risk`).

    Attributes:
        factor: what `b` is multiplied by; its mean over dates where it differs from date to date.
        interval: of the difference, a fraction of wealth a year.
        warm_up: None where the factor is that of all dates, known only in hindsight; else the factor of each date comes
            from the dates before it, and the first `warm_up` dates are left out.
    """

    factor: float
    interval: BootstrapInterval
    warm_up: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the difference in the words of the comparison's JSON document: fractions of wealth a year."""
        return {"factor": self.factor, "warm_up": self.warm_up, **_interval_document(self.interval)}


@dataclass(frozen=True)
class Difference:
    """Annual `quantity` of objective `a` less that of `b`: a fraction of wealth a year, with its interval.

    Attributes:
        a: objective that speaks for a positive difference.
        b: objective that it is compared with.
        quantity: "net" return or net "utility".
        interval: of the mean of the seed-average difference, a year.
        power: how long a difference of this size would need.
        seeds_above_zero: seeds whose own difference is positive.
        n_seeds: of each objective.
        sharpe: compares the annual Sharpe ratios of the two seed-average books; of net returns alone.
        equal_risk: the difference at the volatility of `a`, in hindsight; of net returns alone.
        equal_risk_forward: the same with factors known before each date; of net returns alone.
    """

    a: str
    b: str
    quantity: str
    interval: BootstrapInterval
    power: PowerStatement
    seeds_above_zero: int
    n_seeds: int
    sharpe: SharpeDifference | None = None
    equal_risk: RescaledDifference | None = None
    equal_risk_forward: RescaledDifference | None = None

    @property
    def sentence(self) -> str:
        """The difference, its interval and what they show, in one clause."""
        i = self.interval
        head = f"{self.a} - {self.b}: {self.quantity}"
        if i.reason is not None and i.mean == 0:
            return f"{head} the same on every date: no difference"
        if i.reason is not None:
            return f"{head}: no interval can be given: {i.reason}"
        shown = self.conclusion if i.excludes_zero else f"{self.conclusion} ({self.power.needed})"
        return f"{head} {interval_in_words(i)}: {shown}"

    @property
    def conclusion(self) -> str:
        """What the interval shows, in words."""
        if not self.interval.excludes_zero:
            return "no difference shown"
        more = "more" if self.interval.mean > 0 else "less"
        return f"{self.a} earns {more}" if self.quantity == "net" else f"{self.a} has {more} {self.quantity}"

    @property
    def at_equal_risk(self) -> str | None:
        """The difference at equal risk in one clause; None where none is given."""
        rescaled = self.equal_risk
        if rescaled is None or rescaled.interval.reason is not None:
            return None
        return (
            f"with {self.b} x {rescaled.factor:.2f}, the volatility of {self.a} (in hindsight, costs in proportion): "
            f"{self.quantity} {interval_in_words(rescaled.interval)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the difference in the words of the comparison's JSON document: fractions of wealth a year."""
        return {
            "a": self.a,
            "b": self.b,
            "quantity": self.quantity,
            **_interval_document(self.interval),
            "seeds_above_zero": self.seeds_above_zero,
            "n_seeds": self.n_seeds,
            "power": self.power.to_dict(),
            "sharpe_difference": None if self.sharpe is None else asdict(self.sharpe),
            "equal_risk": None if self.equal_risk is None else self.equal_risk.to_dict(),
            "equal_risk_forward": None if self.equal_risk_forward is None else self.equal_risk_forward.to_dict(),
        }


def paired_difference(
    names: tuple[str, str],
    quantity: str,
    a: np.ndarray,
    b: np.ndarray,
    *,
    bootstrap: Mapping[str, Any],
    periods_per_year: float,
    lag: int,
    brief: bool = False,
) -> Difference:
    """Compare `quantity`, "net" or "utility", of two objectives: (seeds, S) each, per period, on the same dates.

    `bootstrap` holds level, seed, n_resamples and block of `stationary_bootstrap_interval`; `lag` is the number
    of periods from a decision to its fill. `brief` leaves out the Sharpe ratios and equal risk, nine tenths of
    the time; the rest is the same.
    """
    by_seed = a - b
    paired = by_seed.mean(axis=0)
    book_a, book_b = a.mean(axis=0), b.mean(axis=0)

    def rescaled(warm_up: int | None) -> RescaledDifference:
        factors = equal_risk(book_a, book_b, warm_up=warm_up, lag=lag)
        if factors.reason is not None:
            undefined = BootstrapInterval(
                np.nan, np.nan, np.nan, bootstrap["level"], np.nan, bootstrap["n_resamples"], 0, factors.reason
            )
            return RescaledDifference(np.nan, undefined, warm_up)
        left = factors.difference(book_a, book_b)
        block = bootstrap["block"] and min(bootstrap["block"], len(left))
        interval = stationary_bootstrap_interval(left, **{**bootstrap, "block": block})
        return RescaledDifference(
            float(factors.factor_b[factors.first :].mean()), interval.scaled(periods_per_year), warm_up
        )

    net = quantity == "net" and not brief
    sharpe = None
    if net:
        test = sharpe_difference_bootstrap(book_a, book_b, seed=bootstrap["seed"], n_resamples=bootstrap["n_resamples"])
        sharpe = test.scaled(math.sqrt(periods_per_year))
    return Difference(
        *names,
        quantity,
        interval=stationary_bootstrap_interval(paired, **bootstrap).scaled(periods_per_year),
        power=power_statement(paired, periods_per_year=periods_per_year, level=bootstrap["level"]),
        seeds_above_zero=int((by_seed.mean(axis=1) > 0).sum()),
        n_seeds=len(by_seed),
        sharpe=sharpe,
        equal_risk=rescaled(None) if net else None,
        equal_risk_forward=rescaled(max(LEAST_PERIODS, round(periods_per_year))) if net else None,
    )


def interval_in_words(interval: BootstrapInterval) -> str:
    """An annual mean and its interval in percent, with the digits worth reading."""
    digits = _digits(interval)
    return (
        f"{_percent(interval.mean, digits, sign=True)}% a year, {100 * interval.level:g}% interval "
        f"[{_percent(interval.low, digits)}, {_percent(interval.high, digits)}]"
    )


def _interval_document(interval: BootstrapInterval) -> dict[str, Any]:
    return {
        "mean": interval.mean,
        "interval": [interval.low, interval.high],
        "level": interval.level,
        "block": interval.block,
        "n_dates": interval.n_periods,
        "reason": interval.reason,
    }


def _digits(interval: BootstrapInterval) -> int:
    """Decimals of a percentage: more than one where all is small or a bound is close to zero."""
    largest = 100 * max(abs(interval.low), abs(interval.high), 1e-6)
    digits = min(max(1, 1 - math.floor(math.log10(largest))), 4)
    nearest = min(abs(interval.low), abs(interval.high))
    while interval.excludes_zero and digits < 6 and round(100 * nearest, digits) == 0:
        digits += 1
    return digits


def _percent(fraction: float, digits: int, *, sign: bool = False) -> str:
    rounded = round(100 * fraction, digits) + 0.0  # + 0.0: no "-0.0"
    return f"{rounded:+.{digits}f}" if sign else f"{rounded:.{digits}f}"
