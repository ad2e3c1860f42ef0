"""A run kept on disk as it goes, so that it goes on after it was cut off, and ends with the same bytes.

The folder has one file for each stretch of periods, written whole or not at all: first beside its place, then moved
there. A file holds the stretch, and what is owned and remembered at its end.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from backtest.errors import SettingsError, SimulationError
from backtest.market import MarketPanel
from backtest.market.whole_file import whole_file
from backtest.simulation.ledger import Ledger
from backtest.simulation.policies import Policy
from backtest.simulation.record import Record

__all__ = ["Checkpoint", "fingerprint"]


def fingerprint(panel: MarketPanel, *parts: Any) -> str:
    """Return a text that is equal for equal runs: of the panel's data and all of `parts`, arrays by their bytes.

    Of a class or function of the user's it knows the name and the settings, not the code.

    Raises:
        SettingsError: a part cannot be pickled.
    """
    digest = hashlib.sha256(panel.data_hash.encode())
    for part in parts:
        try:
            digest.update(joblib.hash(part, hash_name="sha1").encode())
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise SettingsError(
                f"checkpoint: a policy or cost cannot be pickled ({error}): define its classes and functions by name, "
                "in a module"
            ) from error
    return digest.hexdigest()


class Checkpoint:
    """The folder of one run.

    Args:
        folder: made when it is not there.
        run: the run's `fingerprint`.
    """

    def __init__(self, folder: str | Path, run: str) -> None:
        self.folder, self.run, self.done = Path(folder), run, 0
        self.folder.mkdir(parents=True, exist_ok=True)

    def resume(self, record: Record, policy: Policy, ledger: Ledger) -> tuple[int, Ledger]:
        """Fill in what was kept, and return the row to go on at and what is owned there; else the run's beginning.

        Raises:
            SimulationError: what was kept is of another run, or cannot be read.
        """
        files = {}
        for path in self.folder.glob("periods-*.npz"):
            match = re.fullmatch(r"periods-(\d+)-(\d+)", path.stem)
            if match:
                files[int(match[1])] = (int(match[2]), path)
        memory: dict[str, np.ndarray] = {}
        while self.done in files:
            end, path = files[self.done]
            kept = self._read(path)
            record.take_up(self.done, end, kept, _read_events(kept["events"]))
            ledger = Ledger(kept["shares"], kept["cash"])
            memory = {name.removeprefix("memory:"): kept[name] for name in kept if name.startswith("memory:")}
            self.done = end
        if self.done:
            policy.restore(memory)
        return record.start + self.done, ledger

    def keep(self, record: Record, policy: Policy, ledger: Ledger, row: int) -> None:
        """Write down the periods since the last time, up to the one that ends at `row`."""
        end = row - record.start
        kept = self.folder / f"periods-{self.done:06d}-{end:06d}.npz"
        with whole_file(kept) as file:
            np.savez(
                file,
                allow_pickle=False,
                run=np.array(self.run),
                events=_written_events(record.new_events()),
                shares=ledger.shares,
                cash=ledger.cash,
                **{f"memory:{name}": value for name, value in policy.memory().items()},
                **record.stretch(self.done, end),
            )
        self.done = end

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                kept = dict(file)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise SimulationError(
                f"checkpoint: {path} cannot be read ({error}): delete it, and the run goes on from before it"
            ) from error
        if str(kept.get("run")) != self.run:
            raise SimulationError(
                f"checkpoint: {path} is of another run: its panel, forecasts, policy, costs or settings differ. Give "
                "another folder, or delete this one to begin anew"
            )
        return kept


def _written_events(events: list[tuple[pd.Timestamp, str, str, str, str]]) -> np.ndarray:
    lines = [(date.isoformat(), *rest) for date, *rest in events]
    return np.frombuffer(json.dumps(lines).encode(), dtype=np.uint8)


def _read_events(written: np.ndarray) -> list[tuple[pd.Timestamp, str, str, str, str]]:
    return [(pd.Timestamp(date), *rest) for date, *rest in json.loads(written.tobytes())]
