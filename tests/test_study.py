"""The study's words: what is in its page follows from its tables."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_can_be_imported():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def drawn(advantage):
    """Return a map's table of two places and five draws, in which aligned has `advantage` (place, draw) more."""
    rows = []
    for place, noise in enumerate((10.0, 20.0)):
        for draw in range(5):
            for objective, utility in (("squared", 0.1), ("whitened", 0.2), ("aligned", 0.2 + advantage[place][draw])):
                rows.append({"noise": noise, "draw": draw, "objective": objective, "utility": utility})
    return pd.DataFrame(rows)


def test_a_place_speaks_for_the_side_that_its_draws_are_on():
    from study_words import map_differences, map_sentences, map_summary

    ahead, mixed = [0.01, 0.011, 0.012, 0.013, 0.014], [-0.02, 0.02, -0.01, 0.01, 0.0]
    differences = map_differences(drawn([ahead, mixed]), ["noise"])

    pair = differences[differences["pair"] == "aligned − whitened"]
    np.testing.assert_allclose(np.sort(pair["difference"]), np.sort([*ahead, *mixed]), atol=1e-12)
    first = map_sentences(differences, ["noise"])[0]
    assert "aligned has more in 1 of 2 places, whitened in 0, nothing is shown in 1" in first
    behind = map_sentences(map_differences(drawn([[-x for x in ahead], mixed]), ["noise"]), ["noise"])[0]
    assert "aligned has more in 0 of 2 places, whitened in 1, nothing is shown in 1" in behind
    line = next(row for row in map_summary(differences, {"noise": (10.0, 20.0)}).splitlines() if "noise 10" in row)
    assert line.startswith("| noise 10 | **+1.2 [1.0, 1.4]** |")


def test_prices_known_to_be_false_are_missing():
    from study_real import without_false_prices

    weeks = pd.to_datetime(["2002-03-15", "2002-03-22", "2002-03-29", "2007-02-23"])
    table = pd.DataFrame([(week, symbol) for symbol in ("ANTM", "TRMB", "IBM") for week in weeks])
    kept = without_false_prices(table.set_axis(["week_ending", "symbol"], axis=1))
    assert kept.groupby("symbol").size().to_dict() == {"ANTM": 2, "IBM": 4, "TRMB": 3}
    assert kept.loc[kept["symbol"] == "ANTM", "week_ending"].min() == weeks[2]
    assert weeks[3] not in set(kept.loc[kept["symbol"] == "TRMB", "week_ending"])


def test_a_market_of_the_map_is_traded_neutral_to_its_factors():
    from study_map import OBJECTIVES, Place, run_place

    place = Place(20.0, 0.6, 4.0, 1.0, 0.5, draw=0)
    market = place.market()
    q = place.solver(market).solve(market.expected_returns[[5]]).q
    assert np.abs(q).sum() > 0.1
    np.testing.assert_allclose(q @ market.loadings, 0, atol=1e-9)
    assert [row["objective"] for row in run_place(place)] == list(OBJECTIVES)
