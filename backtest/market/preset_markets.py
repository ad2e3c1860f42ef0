"""Two simulated markets that answer one question each: does training know about costs, and about risk?"""

from __future__ import annotations

import numpy as np

from backtest.errors import SettingsError
from backtest.market.simulated import SimulatedMarket, assemble_market, draw_risk, simulate_market

__all__ = ["correlated_market", "liquidity_market"]


def liquidity_market(
    seed: int,
    *,
    n_periods: int = 1000,
    n_assets: int = 200,
    lag: int = 1,
    volatility: float = 0.02,
    n_factors: int = 5,
    correlated_noise: float = 0.4,
) -> SimulatedMarket:
    """A signal that differs between cheap and dear names, under features that do not tell which is which.

    The first half of the names costs 2 bp of |position| a period to hold, the second half 80 bp. Then
    E[y | x] = -0.0010 x1 + 0.0005 x2 on the cheap half and 0.0030 x1 + 0.0005 x2 on the dear half, with x iid
    N(0, 1). Squared error over all names learns the signal of the names that can never be traded (DESIGN.md,
    section 4, "Where alignment must win").

    Args:
        seed: of everything drawn.
        n_periods: T, the number of business days.
        n_assets: N, an even number.
        lag: rows between a forecast and its fill.
        volatility: of every name's noise, per period.
        n_factors: k, the number of risk factors.
        correlated_noise: share of the noise variance that comes from the factors.

    Raises:
        SettingsError: a setting is outside its range.
    """
    if n_assets < 2 or n_assets % 2:
        raise SettingsError(f"liquidity market: n_assets={n_assets}: an even number, 2 or more")
    rng = np.random.default_rng(seed)
    loadings, specific_variance = draw_risk(
        rng, np.full(n_assets, volatility), n_factors=n_factors, correlated_noise=correlated_noise
    )
    cheap = np.arange(n_assets) < n_assets // 2
    features = rng.standard_normal((n_periods, n_assets, 2))
    expected = np.where(cheap, -0.0010, 0.0030) * features[:, :, 0] + 0.0005 * features[:, :, 1]
    return assemble_market(
        rng,
        features,
        expected,
        loadings=loadings,
        specific_variance=specific_variance,
        half_spread=np.zeros(n_assets),
        holding_fee=np.where(cheap, 2e-4, 80e-4),
        lag=lag,
        name=f"liquidity-{seed}",
    )


def correlated_market(
    seed: int,
    *,
    n_periods: int = 1000,
    n_assets: int = 50,
    n_features: int = 5,
    lag: int = 1,
    half_spread: float = 0.0,
) -> SimulatedMarket:
    """A well-specified linear signal under strongly correlated noise, with features that share its factors.

    80% of the noise variance is common, and features carry factor loadings, so factor noise enters least
    squares coefficients; generalised least squares (whitening) removes it.

    Args:
        seed: of everything drawn.
        n_periods: T, the number of business days.
        n_assets: N, the number of assets.
        n_features: K, the number of features.
        lag: rows between a forecast and its fill.
        half_spread: cost of trading one unit, as a fraction.

    Raises:
        SettingsError: a setting is outside its range.
    """
    return simulate_market(
        n_assets,
        n_periods,
        n_features,
        seed=seed,
        lag=lag,
        correlated_noise=0.8,
        feature_factor_alignment=0.5,
        half_spread=half_spread,
    )
