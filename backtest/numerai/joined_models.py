"""The meta model and benchmark models: predictions of others, joined to eras by id, with how much they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from backtest.errors import DataError
from backtest.numerai.era_batch import EraBatch
from backtest.numerai.eras import era_name
from backtest.numerai.schema import id_column, open_parquet

__all__ = ["JoinedModels"]

_LABELS = ("id", "era", "data_type")


@dataclass(eq=False)
class JoinedModels:
    """Predictions by id.

    A file need not have every era (the meta model begins late), but of an era that it has, `least` of the rows.

    Attributes:
        path: of the file, for messages.
        values: (n, B) of n ids and B models, float64, indexed by id.
        least: share of an era's rows that must be there.
        coverage: share of the rows that were there, by era, for all eras joined so far.
    """

    path: Path
    values: pd.DataFrame
    least: float = 0.8
    coverage: dict[int, float] = field(default_factory=dict)

    @staticmethod
    def read(path: str | Path, *, columns: Sequence[str] | None = None, least: float = 0.8) -> JoinedModels:
        """Read a file of predictions by id, in a column or as the index.

        Args:
            path: Parquet.
            columns: of the models; None takes all that are neither id, era nor data_type.
            least: share of the rows of an era it has that must be there; 0.8 is Numerai's own rule.

        Raises:
            DataError: no ids, an id that is there twice, no such columns, values that are no numbers.
        """
        import pyarrow as pa

        place = Path(path)
        try:
            table = open_parquet(place).read()
            frame = table.to_pandas(ignore_metadata=True)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise DataError(f"{place}: it breaks off or is damaged ({error}): fetch it again") from error
        label = id_column(table.schema)
        if label is None:
            raise DataError(f"{place}: no column or index 'id': it has {list(frame.columns)}")
        frame = frame.set_index(label)
        chosen = [name for name in frame if name not in _LABELS] if columns is None else list(columns)
        if not chosen or (unknown := [name for name in chosen if name not in frame]):
            raise DataError(f"{place}: no models {unknown if chosen else ''}: it has {list(frame.columns)}")
        if not frame.index.is_unique:
            raise DataError(f"{place}: id {frame.index[frame.index.duplicated()][0]!r} is there more than once")
        for name in chosen:
            if not pd.api.types.is_numeric_dtype(frame[name]):
                raise DataError(f"{place}: column {name!r} is {frame[name].dtype}: predictions are numbers")
        return JoinedModels(place, frame[chosen].astype(float), least)

    def of(self, batch: EraBatch) -> np.ndarray | None:
        """Return the predictions (N, B) for the rows of `batch`, an era, NaN where one is not there; None for an era
        without any.

        Raises:
            DataError: the era is covered, but by less than `least`, or the batch has no ids.
        """
        if batch.ids is None:
            raise DataError(f"era {era_name(batch.era)}: joining {self.path} needs ids")
        found = self.values.reindex(batch.ids).to_numpy()
        covered = float(np.isfinite(found).all(axis=1).mean()) if len(batch) else 0.0
        self.coverage[batch.era] = covered
        if not covered:
            return None
        if covered < self.least:
            raise DataError(
                f"{self.path}: era {era_name(batch.era)}: it covers {covered:.1%} of the rows, at least "
                f"{self.least:.0%} are asked for: give the file of the same release, or ask for less"
            )
        return found

    def summary(self) -> str:
        """Return how much was covered, in words."""
        shares = [share for share in self.coverage.values() if share]
        if not shares:
            return f"{self.path.name}: none of {len(self.coverage)} eras"
        return (
            f"{self.path.name}: {len(shares)} of {len(self.coverage)} eras, {np.mean(shares):.1%} of their rows "
            f"(at least {min(shares):.1%})"
        )
