"""What validation chooses, the same for every model and objective: holding period and scale, by net utility.

Arrays of utilities are (H, Z, S): holding periods, shrinkages, books. A book trades the forecast of a seed, or of
several seeds' mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backtest.errors import SettingsError
from backtest.solver import PositionSolver
from backtest.training.fitted import FittedObjective
from backtest.training.models import ForecastModel
from backtest.training.path import walk
from backtest.training.runs import runs_of
from backtest.training.samples import Samples
from backtest.training.settings import TrainingSettings
from backtest.training.sizing import SizedModel, groups_of, search_factor, search_group_factors

__all__ = ["Choices"]


@dataclass(frozen=True, eq=False)
class Choices:
    """The validation rows of one window, and what is chosen there.

    Attributes:
        samples: features and targets.
        solver: estimated on the samples' panel.
        rows: validation rows, consecutive.
        n_books: S.
        settings: the choices.
    """

    samples: Samples
    solver: PositionSolver
    rows: np.ndarray
    n_books: int
    settings: TrainingSettings

    def __post_init__(self) -> None:
        if len(runs_of(self.rows)) > 1:
            raise SettingsError(
                f"validation rows must be consecutive, for positions are carried through them: got {len(self.rows)} "
                f"rows from {self.rows[0]} to {self.rows[-1]}"
            )

    @property
    def periods(self) -> tuple[float, ...]:
        """The holding periods to choose from."""
        choices = self.settings.choices(depends_on_held=self.solver.depends_on_held)
        return tuple(dict.fromkeys(period for period, _ in choices))

    def utility(self, p: Tensor, holding_periods: Tensor) -> np.ndarray:
        """Return the mean utility a period (R,) of forecasts (R, L, N) of the rows, from nothing held."""
        n_replicas, length, n_assets = p.shape
        shape = (1, length) if self.solver.depends_on_held else (length, 1)
        path = walk(
            self.samples,
            self.solver,
            p=p.reshape(n_replicas, *shape, n_assets),
            rows=torch.as_tensor(self.rows).reshape(shape).expand(n_replicas, *shape),
            held=torch.zeros(n_replicas, shape[0], n_assets, dtype=torch.float64),
            holding_periods=holding_periods,
            with_utility=True,
        )
        assert path.utility is not None
        return path.utility.mean((1, 2)).numpy()

    def utilities(self, models: Mapping[str, ForecastModel], *, by_period: bool) -> dict[str, np.ndarray]:
        """Return the utility (H, Z, S) of each model under every choice, in one walk.

        Args:
            models: one replica a book; or, `by_period`, one a holding period and book, books moving fastest.
            by_period: whether each holding period has replicas of its own.
        """
        n_periods, n_shrinkages = len(self.periods), len(self.settings.shrinkage)
        shape = (len(models), n_periods, n_shrinkages, self.n_books)
        by_model = (len(models), n_periods if by_period else 1, 1, self.n_books)
        # Every replica forecasts once, however many choices it is tried under.
        p = torch.stack([self._forecast(model) for model in models.values()])
        p = p.reshape(*by_model, *p.shape[-2:])
        shrinkage = torch.tensor(self.settings.shrinkage, dtype=torch.float64).reshape(-1, 1, 1, 1)
        periods = torch.tensor(self.periods, dtype=torch.float64).reshape(-1, 1, 1).expand(shape).reshape(-1)
        tried = (p * shrinkage).expand(*shape, *p.shape[-2:]).flatten(0, 3)
        return dict(zip(models, self.utility(tried, periods).reshape(shape), strict=True))

    def best(self, utility: np.ndarray) -> tuple[int, int]:
        """Return the indices of the holding period and shrinkage with the best mean utility over books."""
        return divmod(int(utility.mean(axis=2).argmax()), len(self.settings.shrinkage))

    def best_starts(self, utilities: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return which model is best under which shrinkage, both (H, S) indices, for each holding period and book."""
        options = np.concatenate(list(utilities.values()), axis=1)
        model, shrinkage = np.divmod(options.argmax(axis=1), len(self.settings.shrinkage))
        return model, shrinkage

    def fitted(
        self,
        name: str,
        model: ForecastModel,
        utility: np.ndarray,
        *,
        epoch: np.ndarray,
        warm_start: tuple[str, ...],
        moved: float,
        failed: int,
        details: Mapping[str, Any],
    ) -> FittedObjective:
        """Return the fit under the choice that is best on validation, on average over books, sized as settings ask.

        Args:
            name: the objective.
            model: one replica a book.
            utility: (H, Z, S) of the model under every choice.
            epoch, warm_start, moved, failed, details: as in `FittedObjective`.
        """
        period, place = self.best(utility)
        factor, holding_periods = self.settings.shrinkage[place], self.periods[period]
        tried = [utility.reshape(-1, self.n_books)]
        found: dict[str, Any] = dict(details)
        sized = model
        if self.settings.sizing != "choices":
            p = self._forecast(model)

            def under(factors: Tensor) -> np.ndarray:
                """Return utilities (C, S) of forecasts multiplied by factors (C, 1 or L, 1 or N)."""
                candidates = (factors.unsqueeze(1) * p).flatten(0, 1)
                periods = torch.full((len(candidates),), holding_periods, dtype=torch.float64)
                values = self.utility(candidates, periods).reshape(-1, self.n_books)
                tried.append(values)
                return values

            factor, _ = search_factor(
                lambda factors: under(torch.as_tensor(factors).reshape(-1, 1, 1)),
                factor,
                choices=self.settings.shrinkage,
            )
            if self.settings.sizing != "search":
                kind, n_groups = self.settings.sizing, self.settings.sizing_groups
                groups = groups_of(self.samples, torch.as_tensor(self.rows), kind=kind, n_groups=n_groups)
                factors = search_group_factors(
                    lambda factors: under(factor * torch.as_tensor(factors)[:, groups]), n_groups
                )
                found["group_factors"] = factors.tolist()
                sized = SizedModel(model, kind, torch.as_tensor(factors).expand(self.n_books, -1))
        return FittedObjective(
            objective=name,
            network=sized.scaled(torch.full((self.n_books,), factor, dtype=torch.float64)),
            holding_periods=holding_periods,
            shrinkage=factor,
            validation_utility=np.concatenate(tried),
            epoch=epoch,
            warm_start=warm_start,
            moved=moved,
            failed=failed,
            details=found,
        )

    def _forecast(self, model: ForecastModel) -> Tensor:
        with torch.no_grad():
            return model.forecast(self.samples, torch.as_tensor(self.rows))
