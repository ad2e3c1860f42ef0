"""Training forecast models on forecast error, or through the solver on what the portfolio does with the forecast."""

from backtest.training.fit import FittedObjective, fit_objectives
from backtest.training.models import Network
from backtest.training.objectives import OBJECTIVES, check_objectives
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings
from backtest.training.threads import one_thread
from backtest.training.windows import WalkForward, Window

__all__ = [
    "OBJECTIVES",
    "FittedObjective",
    "Network",
    "Samples",
    "TrainingSettings",
    "WalkForward",
    "Window",
    "check_objectives",
    "fit_objectives",
    "one_thread",
]
