"""What may be trained on: features, targets, and where they are missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backtest.errors import DataError
from backtest.training import Samples


def test_a_name_without_any_data_is_neither_usable_nor_scored(toolbox):
    panel, _ = toolbox.panel(20)
    features, returns = panel.features.copy(), panel.returns.copy()
    features[:, 2], returns[:, 2] = np.nan, np.nan
    panel = replace(panel, features=features, returns=returns, tradable=None)

    samples = Samples.of(panel)

    assert not samples.usable[:, 2].any()
    assert not samples.scored[:, 2].any()
    assert samples.features.isfinite().all()
    assert samples.target.isfinite().all()
    assert samples.usable[:19, 0].all()


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_late_listing_is_usable_once_it_can_be_filled(toolbox, lag):
    panel, _ = toolbox.panel(20)
    returns = panel.returns.copy()
    returns[:10, 1] = np.nan
    panel = replace(panel, returns=returns, tradable=None)

    usable = Samples.of(panel, lag=lag).usable[:, 1].numpy()

    assert not usable[: 10 - lag].any()
    assert usable[10 - lag : 20 - lag].all()
    assert not usable[20 - lag :].any()


def test_an_unknown_target_is_usable_but_not_scored(toolbox):
    panel, _ = toolbox.panel(20)
    returns, tradable = panel.returns.copy(), np.ones_like(panel.tradable)
    returns[9, 3] = np.nan
    panel = replace(panel, returns=returns, tradable=tradable)

    samples = Samples.of(panel)  # the target of row 7 is the return of row 9

    assert bool(samples.usable[7, 3])
    assert not bool(samples.scored[7, 3])
    assert float(samples.target[7, 3]) == 0
    assert bool(samples.scored[6, 3])


def test_first_row_waits_for_half_of_the_names(toolbox):
    panel, _ = toolbox.panel(20)
    features = panel.features.copy()
    features[:5], features[5:8, 2:] = np.nan, np.nan
    samples = Samples.of(replace(panel, features=features))

    assert samples.first_row == 8


def test_a_panel_without_features_is_refused_with_the_cure(toolbox):
    panel, _ = toolbox.panel(20)

    with pytest.raises(DataError, match="price_features"):
        Samples.of(replace(panel, features=None, feature_names=()))


def test_rows_without_a_single_target_have_no_scale(toolbox):
    panel, _ = toolbox.panel(20)

    with pytest.raises(DataError, match="no asset has features and a target"):
        Samples.of(panel).target_scale(np.array([18, 19]))
