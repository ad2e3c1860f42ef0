"""The folder of a sweep: its settings, its data, and every finished piece of work, each file whole or not there.

sweep.json              settings of all cells, hash of the data; another sweep is refused
market.joblib           the data, read by every worker as a memory map
fits/CELL/window-N.npz  what training in one window left, and where it was done
series/CELL.parquet     net return and net utility of every objective, seed and date of a finished cell
rows/CELL.parquet       its rows of the table, written last: a cell that has them is finished
sweep.parquet           one row a model, cost, objective, seed and window
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.analysis.comparison_plan import ComparisonPlan, WindowFit
from backtest.configuration import RunSettings, describe_run, load_market, parse_settings, plan_comparison
from backtest.errors import SettingsError
from backtest.market import MarketPanel, SimulatedMarket
from backtest.market.whole_file import whole_file
from backtest.sweep.settings import Sweep

__all__ = ["Workplace"]


@dataclass(frozen=True)
class Workplace:
    """A folder that all workers see.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @staticmethod
    def open(folder: str | Path, sweep: Sweep) -> Workplace:
        """Begin a sweep in a folder, or go on with it.

        Raises:
            SettingsError: the folder is of another sweep.
        """
        place = Workplace(Path(folder).resolve())
        market = load_market(sweep.cells[0].settings)
        described = [describe_run(cell.settings, market) for cell in sweep.cells]
        document = {"cells": sweep.described(), **{key: described[0][key] for key in ("data_hash", "versions")}}
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        known = place.folder / "sweep.json"
        if known.exists() and known.read_text(encoding="utf-8") != text:
            raise SettingsError(
                f"{place.folder} holds another sweep, or the same with other data or package versions: {known} says "
                "which. Give another folder, or delete this one to begin anew"
            )
        # What a run that was cut off before it had written its settings left may be other data.
        if not (known.exists() and place.market_file.exists()):
            import joblib

            written = io.BytesIO()
            joblib.dump(market, written)
            with whole_file(place.market_file) as file:
                file.write(written.getbuffer())
        with whole_file(known) as file:
            file.write(text.encode())
        return place

    @property
    def market_file(self) -> Path:
        """The data."""
        return self.folder / "market.joblib"

    @property
    def table_file(self) -> Path:
        """The table of results."""
        return self.folder / "sweep.parquet"

    def fit_file(self, cell: str, window: int) -> Path:
        """What training in a window left."""
        return self.folder / "fits" / cell / f"window-{window:03d}.npz"

    def plan(self, cell: str) -> ComparisonPlan:
        """Return the plan of a cell; its data are mapped from the file, so that processes share them."""
        return _plan(self, cell)

    def rows_file(self, cell: str) -> Path:
        """The rows of a finished cell."""
        return self.folder / "rows" / f"{cell}.parquet"

    def series_file(self, cell: str) -> Path:
        """The series of a finished cell."""
        return self.folder / "series" / f"{cell}.parquet"

    def settings(self) -> dict[str, RunSettings]:
        """Return the settings of all cells, by name and in the order of names.

        Raises:
            SettingsError: the folder holds no sweep.
        """
        try:
            document = json.loads((self.folder / "sweep.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self.folder} is not the folder of a sweep: {error}") from error
        return {cell: parse_settings(given) for cell, given in sorted(document["cells"].items())}

    def market(self) -> MarketPanel | SimulatedMarket:
        """Return the data, mapped from the file, so that processes share them."""
        import joblib

        market: MarketPanel | SimulatedMarket = joblib.load(self.market_file, mmap_mode="r")
        return market

    def is_finished(self, cell: str) -> bool:
        """Whether a cell was trained and traded."""
        return self.rows_file(cell).exists() and self.series_file(cell).exists()

    def finish(self, cell: str, rows: pd.DataFrame, series: pd.DataFrame) -> None:
        """Write down what a cell that was traded gave."""
        for file, table in ((self.series_file(cell), series), (self.rows_file(cell), rows)):
            with whole_file(file) as opened:
                table.to_parquet(opened, index=False)

    def rows(self, cell: str) -> pd.DataFrame:
        """Return the rows of a finished cell."""
        return _read(self.rows_file(cell))

    def series(self, cell: str) -> pd.DataFrame:
        """Return the series of a finished cell; see `backtest.sweep.table.series_of`."""
        return _read(self.series_file(cell))

    def keep(self, cell: str, window: int, fit: WindowFit, worker: str) -> None:
        """Write down what training in a window left, and who did it; what was made of an earlier fit is gone."""
        self.rows_file(cell).unlink(missing_ok=True)
        arrays = {f"forecasts {name}": values for name, values in fit.forecasts.items()}
        head = {"holding_periods": dict(fit.holding_periods), "records": dict(fit.records), "worker": worker}
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
        with whole_file(self.fit_file(cell, window)) as file:
            np.savez(file, allow_pickle=False, **arrays)

    def kept(self, cell: str, window: int) -> WindowFit:
        """Return what training in a window left.

        Raises:
            SettingsError: the file cannot be read.
        """
        file = self.fit_file(cell, window)
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
                head = json.loads(bytes(archive["head"]))
                forecasts = {name: archive[f"forecasts {name}"] for name in head["records"]}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise SettingsError(f"{file}: cannot be read ({error}): delete it, and run the sweep again") from error
        return WindowFit(forecasts, head["holding_periods"], head["records"])

    def worker_of(self, cell: str, window: int) -> str:
        """Return who trained in a window: "host:process"."""
        with np.load(self.fit_file(cell, window), allow_pickle=False) as archive:
            return str(json.loads(bytes(archive["head"]))["worker"])


def _read(file: Path) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(file)
    except (OSError, pyarrow.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise SettingsError(f"{file}: cannot be read ({first}): delete it, and run the sweep again") from error


@lru_cache(maxsize=2)
def _plan(place: Workplace, cell: str) -> ComparisonPlan:
    return plan_comparison(place.settings()[cell], place.market())
