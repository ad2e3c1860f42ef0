"""Files in Numerai's classic schema whose truth is known, of any size, written era by era in bounded memory.

Each era is drawn by itself, from the seed and its number. With `u` the era's common factors and `e` noise, all standard
normal:

    features   the quintile bins (0 to 4) of sqrt(r) u_g + sqrt(1 - r) e for a block of 42 features, g the factor of
               each; of noise alone for the others. In early eras some of the others are all 2: not there yet.
    latent     s (signal over some of the features) + f (sum over factors of b_g times the block's mean) + noise, with
               b_g drawn anew in every era: exposure to factors earns nothing on average and moves every era.
    target     latent in bins of 5, 20, 50, 20 and 5% of the era: 0, .25, .5, .75, 1.

The meta model and the benchmark models are ranks of the signal with noise of their own. Ids are 64-bit numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backtest.errors import SettingsError
from backtest.numerai.eras import LIVE, era_name
from backtest.numerai.transforms import ranked
from backtest.whole_files import whole_file

__all__ = ["GeneratedFiles", "generate_files"]

TOGETHER = 2**27
"""Bytes of features in a row group, about; a row group has whole eras."""

FACTORS, IN_BLOCK, CORRELATION = 7, 6, 0.5
SMALL = FACTORS * IN_BLOCK
SIGNAL, FACTOR = 0.05, 0.15
"""Correlation of the target with the signal, and about that with all factors together."""

SHARE_NEW, UNTIL = 0.1, 0.2
"""Share of the features that begin late, and of the eras that lack them."""

BENCHMARKS = ("v5_benchmark_a", "v5_benchmark_b")
_EDGES = np.array([0.05, 0.25, 0.75, 0.95])
_QUINTILES = np.array([-0.8416212, -0.2533471, 0.2533471, 0.8416212])


@dataclass(frozen=True)
class GeneratedFiles:
    """Where the files are.

    Attributes:
        train: eras with a target, to train on.
        validation: later eras with a target.
        live: one era without.
        meta_model: predictions by id for the validation eras.
        benchmark_models: predictions by id for the validation eras, a column a model.
        live_benchmark_models: the same for the live era.
        features: features.json, with sets of features.
    """

    train: Path
    validation: Path
    live: Path
    meta_model: Path
    benchmark_models: Path
    live_benchmark_models: Path
    features: Path


def generate_files(
    folder: str | Path,
    *,
    rows: int,
    features: int,
    eras: int,
    seed: int,
    validation: float = 0.25,
    live: bool = True,
) -> GeneratedFiles:
    """Write train.parquet, validation.parquet, live.parquet, features.json, and models to compare with.

    Args:
        folder: made where it is not there.
        rows: of train and validation together, spread evenly over the eras.
        features: how many, 42 at least.
        eras: of train and validation together.
        seed: the same gives the same files.
        validation: share of the eras, the last ones, that are in validation.parquet.
        live: whether live files are written too (they have as many rows as an era).

    Raises:
        SettingsError: a size that is not possible.
    """
    count = round(eras * validation)
    if features < SMALL or not 0 < count < eras or rows < 20 * eras:
        raise SettingsError(
            f"rows={rows}, features={features}, eras={eras}, validation={validation:g}: at least 20 rows an era, "
            f"{SMALL} features, and an era on each side are needed"
        )
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    files = GeneratedFiles(
        train=place / "train.parquet",
        validation=place / "validation.parquet",
        live=place / "live.parquet",
        meta_model=place / "meta_model.parquet",
        benchmark_models=place / "validation_benchmark_models.parquet",
        live_benchmark_models=place / "live_benchmark_models.parquet",
        features=place / "features.json",
    )
    names = [f"feature_{number:04d}" for number in range(features)]
    sets = {"small": names[:SMALL], "medium": names[: max(SMALL, round(0.3 * features))], "all": names}
    with whole_file(files.features) as beside:
        beside.write(json.dumps({"feature_sets": sets, "targets": ["target"]}).encode())
    bounds = np.linspace(0, rows, eras + 1).round().astype(int)
    world = _World(seed, features, eras)
    first = eras - count
    _write(files.train, world, range(first), bounds, "train", names)
    _write(files.validation, world, range(first, eras), bounds, "validation", names)
    _write_models(files.meta_model, world, range(first, eras), bounds, ("numerai_meta_model",))
    _write_models(files.benchmark_models, world, range(first, eras), bounds, BENCHMARKS)
    if live:
        after = np.append(bounds, rows + bounds[1])
        _write(files.live, world, range(eras, eras + 1), after, "live", names)
        _write_models(files.live_benchmark_models, world, range(eras, eras + 1), after, BENCHMARKS)
    return files


@dataclass(frozen=True)
class _World:
    """What all eras share: which features carry signal, and with which sign."""

    seed: int
    n_features: int
    n_eras: int

    def weights(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 0])
        return rng.normal(size=min(4 * SMALL, self.n_features))

    def features(self, era: int, n_rows: int) -> np.ndarray:
        """Return (K, N) int8."""
        rng = np.random.default_rng([self.seed, 1, era])
        values = rng.integers(0, 5, (self.n_features, n_rows), dtype=np.int8)
        common = rng.normal(size=(FACTORS, 1, n_rows))
        own = rng.normal(size=(FACTORS, IN_BLOCK, n_rows))
        block = CORRELATION**0.5 * common + (1 - CORRELATION) ** 0.5 * own
        values[:SMALL] = np.searchsorted(_QUINTILES, block).reshape(SMALL, n_rows)
        if era < UNTIL * self.n_eras:
            new = round(SHARE_NEW * (self.n_features - SMALL))
            values[self.n_features - new :] = 2
        return values

    def outcome(self, era: int, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the signal and the latent outcome (N,) each, both of about unit size."""
        rng = np.random.default_rng([self.seed, 2, era])
        weights = self.weights()
        signal = _unit(weights @ (values[: len(weights)] - 2.0))
        blocks = (values[:SMALL] - 2.0).reshape(FACTORS, IN_BLOCK, -1).mean(axis=1)
        factor = _unit(rng.normal(size=FACTORS) @ blocks)
        noise = rng.normal(size=values.shape[1])
        return signal, SIGNAL * signal + FACTOR * factor + (1 - SIGNAL**2 - FACTOR**2) ** 0.5 * noise

    def model(self, era: int, name: str, values: np.ndarray) -> np.ndarray:
        """Return the ranks (N,) of a model that sees half of the signal."""
        rng = np.random.default_rng([self.seed, 3, era, *name.encode()])
        signal, _ = self.outcome(era, values)
        return ranked(signal + rng.normal(size=len(signal)))


def _unit(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean()
    return centred / max(float(centred.std()), 1e-12)


def _target(latent: np.ndarray) -> np.ndarray:
    return (np.searchsorted(_EDGES, ranked(latent), side="right") / 4).astype(np.float32)


def _ids(world: _World, start: int, stop: int) -> list[str]:
    """Return ids that no two rows share: a bijection of 64-bit numbers (Steele, Lea & Flood 2014, splitmix)."""
    with np.errstate(over="ignore"):
        z = np.arange(start, stop, dtype=np.uint64) + np.uint64(world.seed * 2**40)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return [f"n{number:016x}" for number in z.tolist()]


def _name(world: _World, era: int) -> str:
    return era_name(LIVE if era == world.n_eras else era + 1)


def _batches(eras: range, bounds: np.ndarray, n_features: int) -> Iterator[list[int]]:
    """Cut eras into row groups of whole ones."""
    held: list[int] = []
    for era in eras:
        if held and int(bounds[era + 1] - bounds[held[0]]) * n_features > TOGETHER:
            yield held
            held = []
        held.append(era)
    yield held


def _write(path: Path, world: _World, eras: range, bounds: np.ndarray, kind: str, names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("era", pa.string()), ("data_type", pa.string()), *((name, pa.int8()) for name in names)]
    schema = _labelled(pa.schema([*fields, ("target", pa.float32()), ("id", pa.string())]))
    # Written beside the file and moved at the end: an interrupted run leaves no half file under its name.
    with whole_file(path) as beside, pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        for group in _batches(eras, bounds, world.n_features):
            first, last = int(bounds[group[0]]), int(bounds[group[-1] + 1])
            features = np.empty((world.n_features, last - first), np.int8)
            targets, labels = [], []
            for era in group:
                a, b = int(bounds[era]), int(bounds[era + 1])
                values = world.features(era, b - a)
                features[:, a - first : b - first] = values
                known = np.full(b - a, np.nan, np.float32) if kind == "live" else _target(world.outcome(era, values)[1])
                targets.append(known)
                labels += [_name(world, era)] * (b - a)
            columns = [pa.array(labels), pa.array([kind] * len(labels)), *(pa.array(column) for column in features)]
            columns += [pa.array(np.concatenate(targets)), pa.array(_ids(world, first, last))]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(labels))


def _write_models(path: Path, world: _World, eras: range, bounds: np.ndarray, models: tuple[str, ...]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("era", pa.string()), *((name, pa.float32()) for name in models), ("id", pa.string())]
    schema = _labelled(pa.schema(fields))
    with whole_file(path) as beside, pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        for era in eras:
            a, b = int(bounds[era]), int(bounds[era + 1])
            values = world.features(era, b - a)
            found = [pa.array(world.model(era, name, values), pa.float32()) for name in models]
            columns = [pa.array([_name(world, era)] * (b - a)), *found, pa.array(_ids(world, a, b))]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _labelled(schema: Any) -> Any:
    """Return the schema with the note by which pandas takes `id` as the index."""
    index = {"name": "id", "field_name": "id", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    note = {"index_columns": ["id"], "column_indexes": [], "columns": [index], "pandas_version": "2.2.0"}
    return schema.with_metadata({"pandas": json.dumps(note)})
