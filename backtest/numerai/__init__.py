"""Numerai's classic data: read era by era, trained on era by era, scored as Numerai scores."""

from backtest.numerai.era_batch import EraBatch
from backtest.numerai.era_costs import EraCosts
from backtest.numerai.era_losses import ERA_OBJECTIVES, EraLosses
from backtest.numerai.era_statistics import EraStatistics
from backtest.numerai.eras import era_name, era_number, purge_eras, split_eras
from backtest.numerai.files import EraFile
from backtest.numerai.generator import GeneratedFiles, generate_files
from backtest.numerai.joined_models import JoinedModels
from backtest.numerai.schema import feature_set
from backtest.numerai.training import EraModels, EraProblem, EraTraining, train_eras

__all__ = [
    "ERA_OBJECTIVES",
    "EraBatch",
    "EraCosts",
    "EraFile",
    "EraLosses",
    "EraModels",
    "EraProblem",
    "EraStatistics",
    "EraTraining",
    "GeneratedFiles",
    "JoinedModels",
    "era_name",
    "era_number",
    "feature_set",
    "generate_files",
    "purge_eras",
    "split_eras",
    "train_eras",
]
