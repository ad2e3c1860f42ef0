"""Training forecast models on forecast error, or through the solver on what the portfolio does with the forecast."""

from backtest.training.combinatorial import CombinatorialSplits
from backtest.training.diagnostics import gradient_weights
from backtest.training.ensembles import ensemble_labels
from backtest.training.fit import check_training, fit_objectives, fit_with
from backtest.training.fitted import FittedObjective
from backtest.training.learners import Learner, WindowData
from backtest.training.losses import aligned_loss, fenchel_young_loss, misaligned_loss, regret, spo_plus_loss
from backtest.training.model_kinds import MODELS, TORCH_MODELS, default_objectives, read_of
from backtest.training.models import ForecastModel, Network, TrainableModel
from backtest.training.module_replicas import ModuleReplicas
from backtest.training.objectives import DEFAULT_OBJECTIVES, OBJECTIVES, Objective, blend, check_objectives
from backtest.training.regressors import RegressorLearner
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings
from backtest.training.threads import one_thread
from backtest.training.tree_growth import BoostingSettings
from backtest.training.tuning import tune_objectives
from backtest.training.tuning_settings import TuningSettings, require_optuna
from backtest.training.windows import WalkForward, Window

__all__ = [
    "DEFAULT_OBJECTIVES",
    "MODELS",
    "OBJECTIVES",
    "TORCH_MODELS",
    "BoostingSettings",
    "CombinatorialSplits",
    "FittedObjective",
    "ForecastModel",
    "Learner",
    "ModuleReplicas",
    "Network",
    "Objective",
    "RegressorLearner",
    "Samples",
    "TrainableModel",
    "TrainingSettings",
    "TuningSettings",
    "WalkForward",
    "Window",
    "WindowData",
    "aligned_loss",
    "blend",
    "check_objectives",
    "check_training",
    "default_objectives",
    "ensemble_labels",
    "fenchel_young_loss",
    "fit_objectives",
    "fit_with",
    "gradient_weights",
    "misaligned_loss",
    "one_thread",
    "read_of",
    "regret",
    "require_optuna",
    "spo_plus_loss",
    "tune_objectives",
]
