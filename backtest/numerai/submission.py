"""A submission: `id,prediction`, ranked in (0, 1), written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from backtest.errors import DataError
from backtest.whole_files import whole_file

__all__ = ["write_submission"]


def write_submission(path: str | Path, predictions: pd.Series) -> None:
    """Write predictions as CSV with the columns id and prediction.

    Args:
        path: of the file.
        predictions: indexed by id, each once; above 0 and below 1.

    Raises:
        DataError: nothing to write, an id that is there twice, a prediction that is not between 0 and 1.
    """
    values = predictions.to_numpy(dtype=float)
    if not len(values):
        raise DataError(f"{path}: there is nothing to submit")
    if not predictions.index.is_unique:
        raise DataError(f"{path}: id {predictions.index[predictions.index.duplicated()][0]!r} is there more than once")
    wrong = ~((values > 0) & (values < 1))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataError(f"{path}: id {predictions.index[place]!r}: {values[place]} is not between 0 and 1")
    frame = pd.DataFrame({"id": predictions.index, "prediction": values})
    with whole_file(Path(path)) as file:
        file.write(frame.to_csv(index=False).encode())
