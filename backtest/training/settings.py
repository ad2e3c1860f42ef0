"""Settings of training, the same for every objective."""

from __future__ import annotations

from dataclasses import dataclass

from backtest.errors import SettingsError

__all__ = ["TrainingSettings"]


@dataclass(frozen=True)
class TrainingSettings:
    """How models are trained.

    Attributes:
        hidden: sizes of the hidden layers; empty for a linear model.
        learning_rate: of Adam; None takes 1e-3 with hidden layers, and 1e-2 without: one step of a network moves all of
            its layers, and a large one overshoots a signal that is a hundredth of the noise.
        weight_decay: of Adam, decoupled (AdamW).
        epochs: most passes over the training rows for squared and whitened, and for the first fit of all.
        path_epochs: most passes along the path for the decision objectives, which start from the first fit.
        patience: passes without a better validation loss after which a replica stops.
        batch_rows: rows (dates) in a minibatch of squared and whitened.
        chunk_length: consecutive rows in a chunk of the path.
        batch_chunks: chunks in a minibatch of the path.
        smoothing: weight over which kinks are smoothed (Huber) in the training loss; None takes a fifth of an equal
            share of one unit of leverage, about a typical trade.
        holding_periods: values to choose from, on validation: trading costs are divided by it in decisions.
        shrinkage: values to choose from, on validation: forecasts are multiplied by it. A network's forecasts are
            larger than their accuracy warrants, and scale decides leverage.
    """

    hidden: tuple[int, ...] = (32, 32)
    learning_rate: float | None = None
    weight_decay: float = 1e-4
    epochs: int = 30
    path_epochs: int = 8
    patience: int = 3
    batch_rows: int = 64
    chunk_length: int = 13
    batch_chunks: int = 8
    smoothing: float | None = None
    holding_periods: tuple[float, ...] = (4.0, 13.0)
    shrinkage: tuple[float, ...] = (0.1, 0.3, 1.0)

    def __post_init__(self) -> None:
        for name in ("epochs", "path_epochs", "patience", "batch_rows", "chunk_length", "batch_chunks"):
            if not getattr(self, name) > 0:
                raise SettingsError(f"training: {name} must be above 0, got {getattr(self, name)!r}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise SettingsError(f"training: learning_rate must be above 0, got {self.learning_rate!r}")
        for name in ("weight_decay", "smoothing"):
            if not (getattr(self, name) or 0.0) >= 0:
                raise SettingsError(f"training: {name} must be at least 0, got {getattr(self, name)!r}")
        for name in ("holding_periods", "shrinkage"):
            values = getattr(self, name)
            if not values or min(values) <= 0 or len(set(values)) != len(values):
                raise SettingsError(f"training: {name} must be different numbers above 0, got {list(values)}")

    def choices(self, *, depends_on_held: bool) -> tuple[tuple[float, float], ...]:
        """Return every (holding period, shrinkage) that validation chooses from.

        Args:
            depends_on_held: whether costs depend on what is held; the holding period means nothing where they do not.
        """
        periods = self.holding_periods if depends_on_held else self.holding_periods[:1]
        return tuple((period, factor) for period in periods for factor in self.shrinkage)

    @property
    def step_size(self) -> float:
        """The learning rate in force."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 1e-3 if self.hidden else 1e-2

    def smoothing_for(self, n_assets: int) -> float:
        """Return the smoothing width for N assets, as a weight."""
        return 0.2 / n_assets if self.smoothing is None else self.smoothing
