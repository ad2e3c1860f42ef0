"""Eras: their names, their order, and what has to be left out between those trained on and those judged.

An era is a date (in the classic data, one a week). Its name is a number, "0001" or "era1"; the era without a number,
"eraX" or "X", is the live one, whose targets are not known yet. The order is that of the numbers: era10 comes after
era2. A target over 20 trading days overlaps those of the next three eras, one over 60 days those of the next eleven;
4 and 12 eras are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from backtest.errors import DataError, SettingsError

__all__ = ["LIVE", "era_name", "era_number", "era_range", "purge_eras", "split_eras"]

LIVE = 2**31 - 1
"""The number of the live era: after every other."""

_ERA = re.compile(r"(?:era)?(\d+|X)", re.IGNORECASE)
_DAYS = re.compile(r"_(20|60)(?:d)?(?:_|$)|(20|60)$")


def era_number(name: object) -> int:
    """Return the number of the era `name`: 1 for "0001", "era1" or 1; `LIVE` for "eraX" and "X".

    Raises:
        DataError: it is neither; the message says what it may be.
    """
    found = _ERA.fullmatch(str(name).strip())
    if found is None or isinstance(name, float):
        raise DataError(f'era {name!r}: give "0001", "era1", or "eraX" for the live one')
    return LIVE if found[1] in "Xx" else int(found[1])


def era_name(number: int) -> str:
    """Return how era `number` is written: "0001", or "X" for the live one."""
    return "X" if number == LIVE else f"{number:04d}"


def era_range(text: str) -> range:
    """Return the eras of "81:132", both ends included.

    Raises:
        SettingsError: it is no such range.
    """
    found = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text)
    if found is None or int(found[1]) > int(found[2]):
        raise SettingsError(f'eras {text!r}: give the first and the last, as in "81:132"')
    return range(int(found[1]), int(found[2]) + 1)


def purge_eras(target: str) -> int:
    """Return how many eras to leave out between training and what comes after: 12 for a 60-day target, else 4.

    The days are the number at the end of the name `target` ("target_cyrusd_60"); without one they are 20.
    """
    found = _DAYS.search(target)
    return 12 if found is not None and "60" in found.groups() else 4


def split_eras(eras: Sequence[int], *, selection: float, purge: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut eras into those to train on and, after `purge` left out, the last ones, on which training is stopped.

    Args:
        eras: numbers, in any order; the live one is left out.
        selection: share of the eras that are for stopping, between 0 and 1.
        purge: eras left out between the two, by number: what is not in the file counts too.

    Returns:
        Both, in increasing order.

    Raises:
        SettingsError: nothing is left of one of the two.
    """
    if not 0 < selection < 1:
        raise SettingsError(f"selection must be a share between 0 and 1, got {selection}")
    if purge < 0:
        raise SettingsError(f"purge must be at least 0 eras, got {purge}")
    ordered = np.unique([era for era in eras if era != LIVE])
    count = round(selection * len(ordered))
    last = ordered[len(ordered) - count :]
    first = ordered[ordered < last[0] - purge] if count else ordered[:0]
    if not len(first) or not len(last):
        raise SettingsError(
            f"{len(ordered)} eras, a purge of {purge} and a selection share of {selection:g} leave {len(first)} to "
            f"train on and {len(last)} to stop on: give more eras, or another share"
        )
    return first, last
