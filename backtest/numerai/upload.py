"""A trained model as one function that Numerai can run: `predict(live_features, live_benchmark_models)`.

What is uploaded is pickled by value and needs NumPy and pandas alone: this library is not there where it runs. So the
function below has all it uses inside, and raises `ValueError` rather than this library's errors.

Source: docs.numer.ai, "Model uploads".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backtest.training.models import Network
from backtest.whole_files import whole_file

__all__ = ["make_predict", "write_upload"]


def make_predict(network: Network, features: Sequence[str], *, whole: bool) -> Callable[..., Any]:
    """Return a function of live features (a frame by id), and of benchmark models, which it does not read.

    It returns a frame by id with one column, "prediction": the ranks in (0, 1), within each era where there is a
    column `era`, of the mean of the seeds' forecasts.

    Args:
        network: the seeds.
        features: K names, in the order the network takes them.
        whole: whether features are integers 0 to 4, as `EraBatch` has them.
    """
    weights = [part.detach().numpy().astype(np.float32) for part in network.weights]
    biases = [part.detach().numpy().astype(np.float32) for part in network.biases]
    names = list(features)

    def predict(live_features: Any, live_benchmark_models: Any = None) -> Any:
        """Return the predictions of live features, ranked."""
        import numpy
        import pandas

        missing = [name for name in names if name not in live_features.columns]
        if missing:
            raise ValueError(f"live_features lacks {len(missing)} features, the first is {missing[0]!r}")
        if not live_features.index.is_unique:
            raise ValueError("live_features has an id more than once")
        eras = live_features["era"] if "era" in live_features.columns else pandas.Series("X", live_features.index)
        score = pandas.Series(0.0, live_features.index)
        for _, rows in eras.groupby(eras, sort=False):
            x = live_features.loc[rows.index, names].to_numpy(dtype=numpy.float32, na_value=numpy.nan)
            if whole:
                bad = ~((x >= 0) & (x <= 4))
                if bad.any():
                    row, column = numpy.argwhere(bad)[0]
                    raise ValueError(f"id {rows.index[row]!r}: {names[column]} is {x[row, column]}: it must be 0 to 4")
                x = (x - 2) / numpy.float32(2**0.5)
            else:
                x = numpy.where(numpy.isnan(x).all(axis=0), numpy.float32(0.5), x)
                bad = ~((x >= 0) & (x <= 1))
                if bad.any():
                    row, column = numpy.argwhere(bad)[0]
                    raise ValueError(f"id {rows.index[row]!r}: {names[column]} is {x[row, column]}: it must be 0 to 1")
                x = x - x.mean(axis=0)
                deviation = x.std(axis=0)
                x = numpy.where(deviation > 1e-6, x / numpy.where(deviation > 1e-6, deviation, 1), 0)
            total = numpy.zeros(len(x))
            for seed in range(len(weights[0])):
                layer = x
                for depth, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                    layer = layer @ weight[seed] + bias[seed]
                    if depth < len(weights) - 1:
                        layer = layer * (1 + numpy.tanh(layer / 2)) / 2
                total = total + layer[:, 0].astype(float)
            ranks = pandas.Series(total, rows.index).rank(method="average")
            score[rows.index] = (ranks - 0.5) / len(ranks)
        return score.to_frame("prediction")

    return predict


def write_upload(path: str | Path, predict: Callable[..., Any]) -> None:
    """Write the function `predict`, as of `make_predict`, to `path` with cloudpickle, whole or not at all."""
    import cloudpickle

    with whole_file(Path(path)) as file:
        file.write(cloudpickle.dumps(predict))
