"""The meta model and benchmark models, joined by id."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtest.errors import DataError
from backtest.numerai import EraFile, JoinedModels


def first_eras(generated, count=3):
    file = EraFile.open(generated.validation)
    return list(file.stream(file.eras[:count], ids=True))


def test_rows_are_matched_by_id_in_any_order(generated, tmp_path):
    data = pd.read_parquet(generated.meta_model)
    data.sample(frac=1, random_state=0).to_parquet(tmp_path / "shuffled.parquet")
    batch = first_eras(generated)[0]

    found = JoinedModels.read(tmp_path / "shuffled.parquet").of(batch)

    np.testing.assert_array_equal(found[:, 0], data.loc[batch.ids, "numerai_meta_model"].astype(float))


def test_coverage_is_told_by_era_and_an_era_without_any_is_no_error(generated, tmp_path):
    batches = first_eras(generated)
    data = pd.read_parquet(generated.meta_model)
    data = data[data["era"] != data["era"].iloc[0]].drop(index=batches[1].ids[:12])
    data.to_parquet(tmp_path / "partly.parquet")
    joined = JoinedModels.read(tmp_path / "partly.parquet")

    found = [joined.of(batch) for batch in batches]

    assert found[0] is None
    assert np.isnan(found[1][:12]).all()
    assert list(joined.coverage.values()) == pytest.approx([0.0, 0.9, 1.0])
    assert joined.summary() == "partly.parquet: 2 of 3 eras, 95.0% of their rows (at least 90.0%)"


def test_too_little_coverage_is_an_error_with_the_era_and_the_shares(generated, tmp_path):
    batch = first_eras(generated)[0]
    pd.read_parquet(generated.meta_model).drop(index=batch.ids[:60]).to_parquet(tmp_path / "half.parquet")

    with pytest.raises(DataError, match=r"half.parquet: era 0019: it covers 50.0% of the rows, at least 80%"):
        JoinedModels.read(tmp_path / "half.parquet").of(batch)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: pd.concat([d, d.iloc[:1]]), "is there more than once"),
        (lambda d: d.reset_index(drop=True), "no column or index 'id'"),
        (lambda d: d[["era"]], "no models"),
        (lambda d: d.assign(numerai_meta_model="high"), "predictions are numbers"),
    ],
)
def test_faulty_files_are_refused(generated, tmp_path, spoil, message):
    spoil(pd.read_parquet(generated.meta_model)).to_parquet(tmp_path / "faulty.parquet")

    with pytest.raises(DataError, match=message) as caught:
        JoinedModels.read(tmp_path / "faulty.parquet")
    assert "faulty.parquet" in str(caught.value)


def test_a_truncated_file_is_refused_by_name(generated, tmp_path):
    whole = generated.meta_model.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(DataError, match=r"cut.parquet: not a whole Parquet file"):
        JoinedModels.read(tmp_path / "cut.parquet")
