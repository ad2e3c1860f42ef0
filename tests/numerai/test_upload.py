"""A model upload runs where this library is not, and says what the model says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from backtest.errors import DataError
from backtest.numerai import EraBatch, make_predict, write_submission, write_upload
from backtest.numerai.transforms import ranked
from backtest.training.models import Network

NAMES = [f"feature_{i}" for i in range(5)]


def network(hidden=(3, 4), seeds=(0, 1)):
    made = Network.initial(5, hidden=hidden, seeds=seeds, scale=0.2)
    noise = torch.Generator().manual_seed(9)
    return made.with_parameters([part + 0.3 * torch.randn(part.shape, generator=noise) for part in made.parameters])


def live(whole=True, n=40, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (n, 5)).astype(np.int8) if whole else rng.random((n, 5)).astype(np.float32)
    values[:, 3] = 2 if whole else 0.5
    return pd.DataFrame(values, columns=NAMES, index=pd.Index([f"n{i}" for i in range(n)], name="id"))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("hidden", [(), (6,), (3, 4)])
def test_predictions_are_the_ranks_of_the_models_mean_forecast(whole, hidden):
    frame, model = live(whole), network(hidden)
    features = frame.to_numpy().T.copy()
    batch = EraBatch(1, features, np.arange(5) == 3, None)
    expected = ranked(model(batch.inputs()).mean(0).detach().numpy())

    found = make_predict(model, NAMES, whole=whole)(frame, None)

    assert list(found.columns) == ["prediction"]
    assert found.index.equals(frame.index)
    np.testing.assert_allclose(found["prediction"], expected, atol=1e-12)


def test_columns_in_another_order_and_others_beside_them_change_nothing():
    predict, frame = make_predict(network(), NAMES, whole=True), live()
    other = frame[NAMES[::-1]].assign(extra=1.0, data_type="live")

    pd.testing.assert_frame_equal(predict(other, None), predict(frame))


def test_several_eras_are_ranked_each_by_itself():
    predict, frame = make_predict(network(), NAMES, whole=True), live()
    both = pd.concat([frame.assign(era="0001"), live(seed=1).add_prefix("m", axis=0).assign(era="0002")])

    found = predict(both.sample(frac=1, random_state=0), None)

    pd.testing.assert_frame_equal(found.loc[frame.index], predict(frame))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.drop(columns="feature_2"), "lacks 1 features, the first is 'feature_2'"),
        (lambda d: d.astype(float).replace({"feature_1": {3.0: np.nan}}), "feature_1 is nan"),
        (lambda d: d.assign(feature_1=7), "id 'n0': feature_1 is 7"),
        (lambda d: pd.concat([d, d]), "an id more than once"),
    ],
)
def test_live_features_that_are_not_right_are_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        make_predict(network(), NAMES, whole=True)(spoil(live()), None)


def test_the_upload_runs_without_this_library(tmp_path):
    predict, frame = make_predict(network(), NAMES, whole=True), live()
    write_upload(tmp_path / "predict.pkl", predict)
    frame.to_parquet(tmp_path / "live.parquet")
    code = """
import sys
sys.modules.update(backtest=None, torch=None)  # importing either fails
import pandas, pickle
predict = pickle.load(open("predict.pkl", "rb"))
predict(pandas.read_parquet("live.parquet"), pandas.DataFrame()).to_csv("found.csv")
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)

    found = pd.read_csv(tmp_path / "found.csv", index_col="id")

    pd.testing.assert_frame_equal(found, predict(frame))


def test_a_submission_is_id_and_prediction(tmp_path):
    write_submission(tmp_path / "sub.csv", pd.Series([0.25, 0.75], index=["na", "nb"]))

    assert (tmp_path / "sub.csv").read_text(encoding="utf-8") == "id,prediction\nna,0.25\nnb,0.75\n"


@pytest.mark.parametrize(
    ("values", "ids", "message"),
    [
        ([0.5, 1.0], ["a", "b"], "id 'b': 1.0 is not between 0 and 1"),
        ([0.5, np.nan], ["a", "b"], "id 'b': nan is not"),
        ([0.4, 0.5], ["a", "a"], "'a' is there more than once"),
        ([], [], "nothing to submit"),
    ],
)
def test_a_faulty_submission_is_refused_and_leaves_the_old_file(tmp_path, values, ids, message):
    path = tmp_path / "sub.csv"
    path.write_text("old", encoding="utf-8")

    with pytest.raises(DataError, match=message):
        write_submission(path, pd.Series(values, index=ids, dtype=float))
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
