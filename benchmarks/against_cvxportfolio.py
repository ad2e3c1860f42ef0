"""Our simulator beside cvxportfolio's, on the same data, forecasts, risk, costs and limits, in one run.

    python benchmarks/against_cvxportfolio.py                 a year of days, some minutes
    python benchmarks/against_cvxportfolio.py --days 40 --rounds 1
    python benchmarks/against_cvxportfolio.py --json

First whether they agree: wealth paths, weights, and how much of what is left is accounting (the peer's weights through
our ledger). Then how long a day takes, alternating, both on the same core. The data of the paper must lie beside the
project; the peer's environment is made when it is missing (`against_cvxportfolio_process.py`). What both are given is
in `against_cvxportfolio_cases.py`, the peer's side in `against_cvxportfolio_peer.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from solver_clock import describe_clock, on_one_core, timed

if __name__ == "__main__":
    on_one_core()

import numpy as np
import torch
from against_cvxportfolio_cases import BORROW_FEE, DAYS_A_YEAR, GRID, Case, few_names, many_names
from against_cvxportfolio_clock import split_of_day
from against_cvxportfolio_process import PeerProcess
from paper_2017 import DATA

from backtest.costs import BorrowFee

AGREE, FASTER_ALONE, FASTER_IN_BATCH = 1e-4, 50, 200
TIGHT = {"solver": "CLARABEL", "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
SOLVERS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "Clarabel": {"solver": "CLARABEL"},
    "Clarabel, 1e-12": TIGHT,
}
"""Ours always solves to 1e-13; of the peer, the fastest of these counts."""

PEER_DAYS, PEER_BATCH_DAYS = 20, 4
"""Days of the peer that are timed, alone and in each setting of the batch: without the first, which compiles, and the
last."""

DIFFERENCES = """\
What the engines do differently, and how it was bridged
  dates        the peer's row t begins a period (trade at t, earn row t), ours ends one: our panel holds row t of the
               returns one row later, under the same date of the trade, with volume, volatility, rate and days of it
  forecast     the peer adds to its objective the cash weight times the last cash rate: ours is given the forecast less
               that rate
  risk         the peer charges g w'Sigma w, ours g/2: ours is given 2 g
  borrow fee   both on the short weights after the trade, before costs, paid from cash as the period begins. The peer
               compounds: (1 + fee)^(days / 365.24) - 1, where ours is a rate times days / 365: ours is given the
               logarithm, and what compounding adds within a period is left. In the objective both count 252
               equal periods
  trading      both charge half spread and impact on the trade as a fraction of wealth before it, at the volume and
               volatility of the day, and decide on the same estimates of them. The peer adds 1e-8 to a volume
  cash         both earn the rate of the day on what is left of cash after costs, short proceeds included, and pay it
               on debt
  rounding     none: its MarketSimulator with round_trades=False and no cap on the part of volume; its
               StockMarketSimulator rounds to whole shares, caps at 5% of volume, and has other default costs
  universe     min_history=0, so that all names are there from the first day, and none has a missing return"""


def agreement(case: Case, peer: PeerProcess, folder: Path) -> dict[str, Any]:
    """Return how far wealth and weights are apart, and what each bridge is worth, relative to final wealth."""
    written, answer = folder / f"{case.name}.npz", folder / f"{case.name} answer.npz"
    case.export(written)
    setting = [case.setting.risk_aversion, case.setting.trading]
    peer.ask(case=str(written), setting=setting, days=case.days, solver=TIGHT, out=str(answer))
    theirs = np.load(answer)
    wealth = theirs["wealth"]
    weights = (theirs["holdings"][:-1] + theirs["trades"])[:, :-1] / wealth[:-1, None]
    policy = case.policy(case.setting)
    ours = case.simulate(policy)
    replayed = case.replay(weights)

    gaps = np.diff(case.panel.dates[case.first_row : case.first_row + case.days + 1]) / np.timedelta64(1, "D")
    logarithms = np.log1p(BORROW_FEE) * gaps / DAYS_A_YEAR
    compounding = (np.expm1(logarithms) - logarithms) * -np.minimum(weights, 0.0).sum(axis=1)

    def apart(path: np.ndarray) -> float:
        return float(np.abs(path / wealth - 1).max())

    left_out = {
        "forecast not in excess of cash": case.simulate(policy, excess=False),
        "borrow fee by equal periods": case.simulate(
            policy, costs=case.trading + BorrowFee(np.log1p(BORROW_FEE), periods_per_year=252)
        ),
    }
    if case.trading.history is not None:
        left_out["charged at expected volume, volatility"] = case.simulate(policy, panel=case.charged_as_expected())
    return {
        "case": case.name,
        "days": case.days,
        "wealth": apart(ours.wealth[0]),
        "accounting": apart(replayed.wealth[0]),
        "fee_compounding": float(compounding.sum()),
        "weights": float(np.abs(ours.positions[0] - weights).max()),
        "final": float(ours.wealth[0, -1] / ours.wealth[0, 0]),
        "turnover": float(ours.turnover.mean()),
        "leverage": float(ours.leverage.mean()),
        "costs": {name: float((cost * ours.wealth[:, :-1]).sum()) for name, cost in ours.costs.items()},
        "left_out": {name: float(result.wealth[0, -1] / wealth[-1] - 1) for name, result in left_out.items()},
    }


def timing(case: Case, peer: PeerProcess, folder: Path, rounds: int) -> dict[str, Any]:
    """Return milliseconds a policy and day of each side, alternating, `rounds` times each."""
    written = str(folder / f"{case.name}.npz")
    alone, batch = case.policy(case.setting), case.policy(*GRID)
    # Compiles what is compiled the first time.
    case.simulate(alone, days=2)
    case.simulate(batch, n_books=len(GRID), days=2)
    peer_days, batch_days = min(PEER_DAYS + 2, case.days), min(PEER_BATCH_DAYS + 2, case.days)
    found: dict[str, list[float]] = {}

    def note(name: str, milliseconds: float) -> None:
        found.setdefault(name, []).append(milliseconds)

    shares = []
    for _ in range(rounds):
        note("ours, one policy", 1e3 * timed(lambda: case.simulate(alone))[1] / case.days)
        for name, solver in SOLVERS.items():
            setting = [case.setting.risk_aversion, case.setting.trading]
            answer = peer.ask(case=written, setting=setting, days=peer_days, solver=solver)
            note(f"peer, one policy, {name}", answer["day_ms"])
            shares.append(answer["policy_share"])
        work = timed(lambda: case.simulate(batch, n_books=len(GRID)))[1]
        note(f"ours, batch of {len(GRID)}", 1e3 * work / case.days / len(GRID))
        fastest = min(SOLVERS, key=lambda name: min(found[f"peer, one policy, {name}"]))
        days = [
            peer.ask(case=written, setting=[s.risk_aversion, s.trading], days=batch_days, solver=SOLVERS[fastest])
            for s in GRID
        ]
        note(f"peer, mean of {len(GRID)}, {fastest}", float(np.mean([day["day_ms"] for day in days])))
    best = {name: min(times) for name, times in found.items()}
    peers = {
        kind: min(best[name] for name in best if name.startswith(f"peer, {kind}")) for kind in ("one policy", "mean of")
    }
    return {
        "case": case.name,
        "rounds": rounds,
        "ms": found,
        "one_policy_ratio": peers["one policy"] / best["ours, one policy"],
        "batch_ratio": peers["mean of"] / best[f"ours, batch of {len(GRID)}"],
        "peer_policy_share": float(np.mean(shares)),
        "split_ms": {"one policy": split_of_day(case, case.setting), "batch": split_of_day(case, *GRID)},
    }


def claims(agreements: list[dict[str, Any]], times: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is claimed, each with its number, target and whether it is met."""
    stated = [
        {"claim": f"wealth apart: {one['case']}", "value": one["wealth"], "target": AGREE, "met": one["wealth"] < AGREE}
        for one in agreements
    ]
    for name, key, target in (
        ("one policy", "one_policy_ratio", FASTER_ALONE),
        (f"a policy of {len(GRID)}", "batch_ratio", FASTER_IN_BATCH),
    ):
        stated.append(
            {"claim": f"times faster a day, {name}", "value": times[key], "target": target, "met": times[key] >= target}
        )
    return stated


def print_agreement(one: dict[str, Any], file: Any) -> None:
    print(f"\n{one['case']}, {one['days']} days", file=file)
    print(
        f"  wealth x {one['final']:.4f}, turnover {one['turnover']:.3f} and leverage {one['leverage']:.2f} a day; "
        + ", ".join(f"{name} {amount:,.0f}" for name, amount in one["costs"].items()),
        file=file,
    )
    print(f"  largest gap on the path of wealth, relative   {one['wealth']:.1e}", file=file)
    print(f"    with the peer's weights in our ledger       {one['accounting']:.1e}", file=file)
    print(f"      of which the fee's compounding explains     {one['fee_compounding']:.1e}", file=file)
    print(f"  largest gap between weights                   {one['weights']:.1e}", file=file)
    for name, moved in one["left_out"].items():
        print(f"  not bridged: {name:39} final wealth {moved:+.1e}", file=file)


def print_timing(times: dict[str, Any], file: Any) -> None:
    print(f"\nMilliseconds a policy and day: {times['case']}; best (and all) of {times['rounds']} rounds", file=file)
    for name, each in times["ms"].items():
        print(f"  {name:38}{min(each):10.3f}   ({', '.join(f'{value:.3f}' for value in each)})", file=file)
    for name, split in times["split_ms"].items():
        print(
            f"  {name}: of {split['day']:.3f} ms the policy takes {split['policy']:.3f}, in it the kernel "
            f"{split['kernel']:.3f} ({split['steps']:.1f} steps, whose products alone take {split['floor']:.3f}); the "
            f"simulator {split['day'] - split['policy']:.3f}",
            file=file,
        )
    print(f"  of the peer's day its policy takes {times['peer_policy_share']:.0%}, its simulator the rest", file=file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=250, help="trades of each case; fewer where the data ends")
    parser.add_argument("--rounds", type=int, default=3, help="of alternating timed runs")
    parser.add_argument("--json", action="store_true", help="print one JSON document; the tables go to stderr")
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} is not there: this benchmark needs the data of the paper beside the project")
    if options.days < 3 or options.rounds < 1:
        parser.error("give 3 days and a round at least")
    torch.set_num_threads(1)
    file = sys.stderr if options.json else sys.stdout
    cases = [many_names(options.days), many_names(options.days, long_only=True), few_names(options.days)]
    with PeerProcess() as peer, tempfile.TemporaryDirectory() as folder:
        versions = peer.ask(versions=["cvxportfolio", "cvxpy", "clarabel", "osqp", "numpy", "pandas"])
        print(f"{describe_clock()}", file=file)
        print("peer: " + ", ".join(f"{name} {number}" for name, number in versions.items()), file=file)
        print(DIFFERENCES, file=file)
        agreements = []
        for case in cases:
            agreements.append(agreement(case, peer, Path(folder)))
            print_agreement(agreements[-1], file)
            file.flush()
        times = timing(cases[0], peer, Path(folder), options.rounds)
    print_timing(times, file)
    stated = claims(agreements, times)
    print("\nClaims", file=file)
    for claim in stated:
        verdict = "met" if claim["met"] else "NOT MET"
        print(f"  {claim['claim']:75}{claim['value']:10.2g}  target {claim['target']:<7g} {verdict}", file=file)
    if options.json:
        document = {"peer": versions, "agreement": agreements, "timing": times, "claims": stated}
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
