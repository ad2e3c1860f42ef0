"""A limit on risk: a volatility target, alone or with a risk cost; on tracking error with a benchmark."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from torch import Tensor

from backtest.costs.base import Cost
from backtest.costs.limits import Constraint
from backtest.costs.parameters import Parameter, check_parameter, one_a_row, periods_in_a_year
from backtest.costs.relative import RelativeTo
from backtest.costs.terms import LimitTerms, QuadraticLimit
from backtest.costs.terms_key import believed_key
from backtest.errors import CostError
from backtest.market import MarketPanel, MarketSnapshot

__all__ = ["RiskLimit"]


@dataclass(frozen=True, eq=False)
class RiskLimit(Constraint):
    """`q' Sigma q <= volatility^2`, with `1/2 q' Sigma q` the risk.

    Give `volatility` in the unit of the covariance, return per period; or `annual_volatility`, which is divided by the
    square root of the periods in a year.

    Attributes:
        risk: a quadratic cost, as `FactorRisk` or `DenseRisk`, or a sum of some; counted as it stands, so leave risk
            aversion out of it.
        volatility: most standard deviation of the portfolio's return in one period; scalar, or (B, 1), above 0.
        annual_volatility: the same in a year: scalar, or (B, 1), above 0.
        benchmark: weights, (N,), (B, N) or a Series by asset, as in `RelativeTo`: limits the tracking error, that of `q
            - benchmark`; None is cash.
        periods_per_year: for `annual_volatility`; None takes it from the market at hand.

    Raises:
        CostError: the risk is no cost, or not exactly one volatility above 0 is given.
    """

    risk: Cost
    volatility: Parameter | None = None
    annual_volatility: Parameter | None = None
    benchmark: Parameter | None = None
    periods_per_year: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.risk, Cost):
            raise CostError(f"RiskLimit: risk must be a Cost, such as FactorRisk, got {self.risk!r}")
        if (self.volatility is None) == (self.annual_volatility is None):
            raise CostError("RiskLimit takes either volatility= (a period) or annual_volatility=")
        for name in ("volatility", "annual_volatility"):
            if getattr(self, name) is not None:
                check_parameter(getattr(self, name), "RiskLimit", name, minimum=1e-12)

    def terms(self, held: Tensor, market: MarketSnapshot | None) -> LimitTerms:
        """Return a limit on a quadratic.

        Raises:
            CostError: the risk is not quadratic, or a limit of a year meets a market without the length of a period.
        """
        risk = self.risk if self.benchmark is None else RelativeTo(self.risk, self.benchmark)
        terms = risk.terms(held, market)
        if terms.ramps or terms.bends or terms.curves or terms.smooth or terms.soft:
            raise CostError(
                f"RiskLimit needs a quadratic risk, such as FactorRisk, DenseRisk or Ridge; {risk!r} is not quadratic"
            )
        return LimitTerms(quadratic=(QuadraticLimit(terms, self._variance(held, market) / 2),))

    def terms_key(self, market: MarketSnapshot | None) -> Hashable | None:
        """That of the risk, and the length of a period where the limit is one of a year."""
        if self.benchmark is not None:
            return None
        if self.volatility is not None:
            return believed_key(self.risk, market)
        key = believed_key(self.risk, market)
        periods = self.periods_per_year or (None if market is None else market.periods_per_year)
        return None if key is None else (key, periods)

    def estimate(self, panel: MarketPanel) -> RiskLimit:
        """Return this limit with its risk fitted."""
        return replace(self, risk=self.risk.estimate(panel))

    @property
    def first_row(self) -> int:
        """First panel row at which the risk is known."""
        return self.risk.first_row

    @property
    def depends_on_held(self) -> bool:
        """Whether the risk depends on what was held before."""
        return self.risk.depends_on_held

    def _variance(self, held: Tensor, market: MarketSnapshot | None) -> Tensor:
        """Return the most variance in one period, (B | 1, 1)."""
        if self.volatility is not None:
            return one_a_row(self.volatility, held, "RiskLimit volatility").square()
        periods = periods_in_a_year(self.periods_per_year, market, "RiskLimit annual_volatility")
        return one_a_row(self.annual_volatility, held, "RiskLimit annual_volatility").square() / periods
