"""Training forecast models on forecast error, or through the solver on what the portfolio does with the forecast."""

from backtest.training.fit import FittedObjective, fit_objectives
from backtest.training.losses import aligned_loss, fenchel_young_loss, misaligned_loss, regret, spo_plus_loss
from backtest.training.models import Network
from backtest.training.objectives import DEFAULT_OBJECTIVES, OBJECTIVES, check_objectives
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings
from backtest.training.threads import one_thread
from backtest.training.windows import WalkForward, Window

__all__ = [
    "DEFAULT_OBJECTIVES",
    "OBJECTIVES",
    "FittedObjective",
    "Network",
    "Samples",
    "TrainingSettings",
    "WalkForward",
    "Window",
    "aligned_loss",
    "check_objectives",
    "fenchel_young_loss",
    "fit_objectives",
    "misaligned_loss",
    "one_thread",
    "regret",
    "spo_plus_loss",
]
