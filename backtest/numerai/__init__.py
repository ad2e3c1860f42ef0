"""Numerai's classic data: read era by era, trained on era by era, scored as Numerai scores."""

from backtest.numerai.era_batch import EraBatch
from backtest.numerai.era_costs import EraCosts
from backtest.numerai.era_losses import ERA_OBJECTIVES, EraLosses
from backtest.numerai.era_statistics import EraStatistics
from backtest.numerai.eras import era_name, era_number, purge_eras, split_eras
from backtest.numerai.evaluation import score_eras
from backtest.numerai.figures import era_figure, score_difference_figure
from backtest.numerai.files import EraFile
from backtest.numerai.generator import GeneratedFiles, generate_files
from backtest.numerai.joined_models import JoinedModels
from backtest.numerai.run import NumeraiRun, NumeraiSettings, predict_live, run_numerai
from backtest.numerai.schema import feature_set
from backtest.numerai.score_table import ScoreTable
from backtest.numerai.submission import write_submission
from backtest.numerai.training import EraModels, EraProblem, EraTraining, train_eras
from backtest.numerai.upload import make_predict, write_upload

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
    "NumeraiRun",
    "NumeraiSettings",
    "ScoreTable",
    "era_figure",
    "era_name",
    "era_number",
    "feature_set",
    "generate_files",
    "make_predict",
    "predict_live",
    "purge_eras",
    "run_numerai",
    "score_difference_figure",
    "score_eras",
    "split_eras",
    "train_eras",
    "write_submission",
    "write_upload",
]
