"""Growing boosted trees (LightGBM) tree by tree, from gradients and curvatures that are worked out elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.errors import SettingsError
from backtest.training.boosted_trees import BoostedTrees, Term
from backtest.training.samples import Samples

if TYPE_CHECKING:
    import lightgbm

__all__ = ["BoostingSettings", "GrowingTrees", "TreeData"]

REPEATABLE = {"deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1, "data_random_seed": 0}


@dataclass(frozen=True)
class BoostingSettings:
    """How trees are grown.

    Attributes:
        trees: most trees for squared and whitened.
        path_trees: most trees that aligned adds to them; each needs a walk along the training path.
        learning_rate: share of a Newton step that a tree takes.
        leaves: of a tree, at most.
        samples_in_leaf: fewest samples (an asset on a date) in a leaf.
        ridge: LightGBM's `lambda_l2`, in samples of mean curvature.
        features_share: share of the features that a tree may use, drawn anew for each.
        dates_share: share of the dates (for aligned, of the chunks of the path) that a tree is grown on.
        check_every: trees between two looks at validation.
        patience: looks without a better one after which a replica is done.
        curvature_floor: smallest Hessian of a sample, in shares of the mean of those above 0.

    Raises:
        SettingsError: a number is out of its range.

    Source: Ke et al. (2017), "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", which grows the trees.
    """

    trees: int = 200
    path_trees: int = 60
    learning_rate: float = 0.05
    leaves: int = 15
    samples_in_leaf: int = 200
    ridge: float = 1.0
    features_share: float = 0.7
    dates_share: float = 0.7
    check_every: int = 5
    patience: int = 4
    curvature_floor: float = 0.1

    def __post_init__(self) -> None:
        for name in ("trees", "path_trees", "learning_rate", "samples_in_leaf", "check_every", "patience"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"boosting: {name} must be above 0, got {getattr(self, name)!r}")
        for name in ("features_share", "dates_share", "curvature_floor"):
            if not 0 < getattr(self, name) <= 1:
                raise SettingsError(f"boosting: {name} must be above 0 and at most 1, got {getattr(self, name)!r}")
        if self.leaves < 2:
            raise SettingsError(f"boosting: leaves must be at least 2, got {self.leaves}")
        if not self.ridge >= 0:
            raise SettingsError(f"boosting: ridge must be at least 0, got {self.ridge!r}")


@dataclass(frozen=True, eq=False)
class TreeData:
    """The samples as LightGBM wants them.

    Attributes:
        dataset: of the training samples.
        used: (T, N) bool, which assets of the training rows are samples: the usable ones.
        train_features: (samples, K) float32.
        validation_features: (rows * N, K) float32.
        validation_shape: (rows, N).
    """

    dataset: lightgbm.Dataset
    used: np.ndarray
    train_features: np.ndarray
    validation_features: np.ndarray
    validation_shape: tuple[int, int]

    @staticmethod
    def of(samples: Samples, train: np.ndarray, validation: np.ndarray) -> TreeData:
        """Bin the features of the training rows."""
        import lightgbm

        used = samples.usable[train].numpy()
        features = samples.features[train].numpy()[used]
        # LightGBM wants labels; the gradient is ours.
        dataset = lightgbm.Dataset(features, label=np.zeros(len(features)), params=REPEATABLE, free_raw_data=False)
        on_validation = samples.features[validation].reshape(-1, samples.n_features).numpy()
        return TreeData(dataset.construct(), used, features, on_validation, (len(validation), samples.n_assets))


class GrowingTrees:
    """One ensemble that grows.

    Attributes:
        train: (T, N) its output on the training rows, in units of the target's scale; 0 where not a sample.
        validation: (rows, N) the same on validation.
        draws: for the dates of each tree; from the seed alone.
        done: whether validation has not been better for `patience` looks.
        best_count: its trees at the best look.
    """

    def __init__(self, data: TreeData, seed: int, settings: BoostingSettings) -> None:
        """Begin without a tree; `seed` draws the features and dates of every one."""
        import lightgbm

        parameters = {
            "objective": "none",
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.samples_in_leaf,
            "lambda_l2": settings.ridge,
            "feature_fraction": settings.features_share,
            "feature_fraction_seed": seed,
            **REPEATABLE,
        }
        self.train = np.zeros(data.used.shape)
        self.validation = np.zeros(data.validation_shape)
        self.draws = np.random.default_rng(seed)
        self.done = False
        self.best_count = 0
        self._booster = lightgbm.Booster(parameters, data.dataset)
        self._data = data
        self._patience = settings.patience
        self._best_loss = np.inf
        self._looks_since = 0

    def grow(self, gradient: np.ndarray, curvature: np.ndarray) -> None:
        """Add a tree, unless no split is worth it.

        Args:
            gradient, curvature: (T, N) first and second derivative of the loss in the output at the training rows; both
                0 where a sample has no part in this tree.
        """
        used, before = self._data.used, self._booster.num_trees()
        self._booster.update(fobj=lambda *_: (gradient[used], curvature[used]))
        if self._booster.num_trees() == before:
            return
        tree: dict[str, Any] = {"start_iteration": before, "num_iteration": 1, "raw_score": True, "num_threads": 1}
        self.train[used] += self._booster.predict(self._data.train_features, **tree)
        added = np.asarray(self._booster.predict(self._data.validation_features, **tree))
        self.validation += added.reshape(self._data.validation_shape)

    def look(self, loss: float) -> None:
        """Compare a validation loss to the best so far."""
        self._looks_since += 1
        if loss < self._best_loss:
            self._best_loss, self.best_count, self._looks_since = loss, self._booster.num_trees(), 0
        self.done = self._looks_since >= self._patience

    @staticmethod
    def best(ensembles: Sequence[GrowingTrees], scale: float) -> BoostedTrees:
        """Return the ensembles at their best on validation, as replicas of one model."""
        terms = ((Term(trees._booster, trees.best_count, 1.0),) if trees.best_count else () for trees in ensembles)
        return BoostedTrees(tuple(terms), scale)
