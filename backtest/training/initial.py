"""The model that settings ask for, with its initial parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from backtest.training.models import Network, TrainableModel
from backtest.training.module_replicas import ModuleReplicas
from backtest.training.sequence_modules import GatedRecurrentUnit, TemporalConvolution
from backtest.training.settings import TrainingSettings

__all__ = ["initial_model"]


def initial_model(settings: TrainingSettings, *, n_features: int, seeds: Sequence[int], scale: float) -> TrainableModel:
    """Return one replica a seed, drawn from the seed alone.

    Args:
        settings: `model`, `hidden` and `history`.
        n_features: K.
        seeds: one a replica.
        scale: unit of the output, a return per period.
    """
    if settings.is_linear or settings.model == "mlp":
        hidden = () if settings.is_linear else settings.hidden
        return Network.initial(n_features, hidden=hidden, seeds=seeds, scale=scale)
    return ModuleReplicas.initial(
        _maker(settings), n_features=n_features, history=settings.rows_of_history, seeds=seeds, scale=scale
    )


def _maker(settings: TrainingSettings) -> Callable[[int], nn.Module]:
    if callable(settings.model):
        return settings.model
    if settings.model == "gru":
        return partial(GatedRecurrentUnit, hidden=settings.hidden)
    return partial(TemporalConvolution, hidden=settings.hidden, history=settings.rows_of_history)
