"""Training forecast models on forecast error, or through the solver on what the portfolio does with the forecast."""

from backtest.training.boosting import BOOSTING_OBJECTIVES, fit_boosting
from backtest.training.combinatorial import CombinatorialSplits
from backtest.training.diagnostics import gradient_weights
from backtest.training.fit import fit_objectives
from backtest.training.fitted import FittedObjective
from backtest.training.losses import aligned_loss, fenchel_young_loss, misaligned_loss, regret, spo_plus_loss
from backtest.training.models import ForecastModel, Network, TrainableModel
from backtest.training.module_replicas import ModuleReplicas
from backtest.training.objectives import DEFAULT_OBJECTIVES, OBJECTIVES, Objective, blend, check_objectives
from backtest.training.regressors import fit_regressor
from backtest.training.samples import Samples
from backtest.training.settings import MODELS, TrainingSettings
from backtest.training.threads import one_thread
from backtest.training.tree_growth import BoostingSettings
from backtest.training.windows import WalkForward, Window

__all__ = [
    "BOOSTING_OBJECTIVES",
    "DEFAULT_OBJECTIVES",
    "MODELS",
    "OBJECTIVES",
    "BoostingSettings",
    "CombinatorialSplits",
    "FittedObjective",
    "ForecastModel",
    "ModuleReplicas",
    "Network",
    "Objective",
    "Samples",
    "TrainableModel",
    "TrainingSettings",
    "WalkForward",
    "Window",
    "aligned_loss",
    "blend",
    "check_objectives",
    "fenchel_young_loss",
    "fit_boosting",
    "fit_objectives",
    "fit_regressor",
    "gradient_weights",
    "misaligned_loss",
    "one_thread",
    "regret",
    "spo_plus_loss",
]
