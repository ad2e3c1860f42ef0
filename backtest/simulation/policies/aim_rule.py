"""Dynamic trading with quadratic costs: how fast to trade, and towards what.

The investor maximises, over all times t = 0, 1, ... and with `d` the discount,

    E sum_t d^(t+1) (x_t' B f_t - g/2 x_t' Sigma x_t) - d^t / 2 (x_t - x_(t-1))' Lambda (x_t - x_(t-1))

for factors that revert to 0, `E[f_(t+1)] = (I - Phi) f_t`. The best trade is linear:

    x_t = x_(t-1) + rate (aim_t - x_(t-1)).

Take the eigenvectors V of `g Sigma` against `Lambda`: `V' Lambda V = I`, `V' g Sigma V = diag(s)`. Along each, the
value function's curvature m is the positive root of

    d m^2 + (1 - d + d s) m - d s = 0,

and `rate = V diag(m) V' Lambda`, `aim = V y` with `y_i = (V'B)_i (s_i I + m_i Phi)^-1 f`. With `Lambda = lambda Sigma`
every s is `g / lambda`, the rate is the number `m = a / lambda`, and `aim = (g Sigma)^-1 B (I + a Phi / g)^-1 f`.

Source: Garleanu & Pedersen (2013), "Dynamic Trading with Predictable Returns and Transaction Costs", Journal of Finance
68(6), propositions 1 to 4; the eigenvectors are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

__all__ = ["AimRule"]


@dataclass(frozen=True, eq=False)
class AimRule:
    """The best linear trading rule of one model.

    Attributes:
        rate: (N, N), the share of the way to the aim that is traded in one period.
        vectors: (N, N), the columns of V.
        priced: (N, K), `B`.
        decay: (N, K, K), `(s_i I + m_i Phi)^-1` of each column of V.
        persistence: (K, K), `I - Phi`.
    """

    rate: np.ndarray
    vectors: np.ndarray
    priced: np.ndarray
    decay: np.ndarray
    persistence: np.ndarray

    @staticmethod
    def of(
        covariance: np.ndarray,
        trading_cost: np.ndarray,
        loadings: np.ndarray,
        mean_reversion: np.ndarray,
        *,
        risk_aversion: float,
        discount: float,
    ) -> AimRule:
        """Return the rule.

        Args:
            covariance: `Sigma`, (N, N), positive definite.
            trading_cost: `Lambda`, (N, N), positive definite.
            loadings: `B`, (N, K), return per unit of factor.
            mean_reversion: `Phi`, (K, K), a period; eigenvalues from 0.
            risk_aversion: `g`, above 0.
            discount: `d`, in (0, 1].
        """
        s, vectors = linalg.eigh(risk_aversion * covariance, trading_cost)
        slope = 1 - discount + discount * s
        # The root without a difference of almost equal numbers, which it would be where trading is dear.
        m = 2 * discount * s / (slope + np.sqrt(slope**2 + 4 * discount**2 * s))
        eye = np.eye(len(mean_reversion))
        return AimRule(
            rate=(vectors * m) @ vectors.T @ trading_cost,
            vectors=vectors,
            priced=loadings,
            decay=np.linalg.inv(s[:, None, None] * eye + m[:, None, None] * mean_reversion),
            persistence=eye - mean_reversion,
        )

    def aim(self, factors: np.ndarray, *, age: int = 0) -> np.ndarray:
        """Return the aim portfolio (N,).

        Args:
            factors: (K,) that all assets load on, or (N, K), each asset's own.
            age: periods since they were observed; what is left of them is their mean now.
        """
        now = factors @ np.linalg.matrix_power(self.persistence, age).T
        worth = np.einsum("jk,ikl,jl->ij", self.priced, self.decay, np.broadcast_to(now, self.priced.shape))
        return np.asarray(self.vectors @ (self.vectors.T * worth).sum(axis=1))
