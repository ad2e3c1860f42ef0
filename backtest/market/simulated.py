"""Markets whose expected returns, risk and costs are known, because they were written down first.

    x[t, i]           features, N(0, 1); on request an autoregression x[t] = a x[t-1] + sqrt(1 - a^2) z, so that
                      signals last
    E[t, i]           = E[y[t, i] | x[t, i]], with the target y[t] = returns[t + lag + 1]
    returns[t+lag+1]  = E[t] + B f + e,   f ~ N(0, F),   e_i ~ N(0, s_i^2), independent over time

E is a linear function of the features plus, on request, a Hermite polynomial of one combination of them, that
no linear model can fit (Hermite polynomials of different degree are uncorrelated under N(0, 1)).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from backtest.errors import SettingsError
from backtest.market.panel import MarketPanel

__all__ = ["SimulatedMarket", "assemble_market", "draw_risk", "simulate_market"]

_FIRST_DATE = pd.Timestamp("1990-01-01")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SimulatedMarket:
    """A panel and the truth behind it.

    Attributes:
        panel: returns (T, N) and features (T, N, K); business days; no prices, volumes or cash rate.
        expected_returns: (T, N), row t is E[y_t | x_t] for the target y_t = returns[t + lag + 1].
        loadings: (N, k) on the risk factors.
        factor_covariance: (k, k) per period.
        specific_variance: (N,) per period.
        half_spread: (N,) cost of trading one unit of wealth, as a fraction.
        holding_fee: (N,) cost of holding |position| for a period, as a fraction.
        lag: rows between a forecast and its fill.
    """

    panel: MarketPanel
    expected_returns: np.ndarray
    loadings: np.ndarray
    factor_covariance: np.ndarray
    specific_variance: np.ndarray
    half_spread: np.ndarray
    holding_fee: np.ndarray
    lag: int

    def __repr__(self) -> str:
        return f"SimulatedMarket({self.panel!r}, {self.loadings.shape[1]} risk factors, lag {self.lag})"

    @property
    def covariance(self) -> np.ndarray:
        """Covariance (N, N) of the returns given the features, per period."""
        return self.loadings @ self.factor_covariance @ self.loadings.T + np.diag(self.specific_variance)


def simulate_market(
    n_assets: int = 50,
    n_periods: int = 1000,
    n_features: int = 5,
    *,
    seed: int,
    lag: int = 1,
    signal: float = 1e-3,
    volatility: float = 0.02,
    volatility_dispersion: float = 0.25,
    n_factors: int = 5,
    correlated_noise: float = 0.4,
    feature_factor_alignment: float = 0.0,
    persistence: float = 0.0,
    misspecification: float = 0.0,
    degree: int = 3,
    half_spread: float = 2.5e-4,
    holding_fee: float = 0.0,
    cost_dispersion: float = 0.0,
) -> SimulatedMarket:
    """Draw a market with known expected returns, risk and costs.

    Args:
        n_assets: N, the number of assets.
        n_periods: T, the number of business days.
        n_features: K, the number of features.
        seed: of everything drawn; the same seed and settings give the same bytes.
        lag: rows between a forecast and its fill.
        signal: standard deviation of E[y | x], per period.
        volatility: standard deviation of the noise of the median asset, per period.
        volatility_dispersion: standard deviation of the logarithm of volatility between assets.
        n_factors: k, the number of risk factors.
        correlated_noise: share of every asset's noise variance that comes from the factors, in [0, 1).
        feature_factor_alignment: a in [0, 1]. Feature j is sqrt(1 - a^2) z + a (loading on factor j mod k,
            scaled to mean square 1) times a new N(0, 1) draw a period: at 1 a forecast is a bet on factors.
        persistence: a in [0, 1), what a feature keeps of itself from one period to the next; at 0 it is new in each. A
            signal has a half-life of log(1/2) / log(a) periods.
        misspecification: share of the variance of E[y | x] in the polynomial part, in [0, 1].
        degree: of that polynomial, 2 or more; 3 makes the slope steeper in the tails, where names are traded.
        half_spread: mean cost of trading one unit, as a fraction.
        holding_fee: mean cost of holding one unit for a period, as a fraction.
        cost_dispersion: standard deviation of the logarithm of both costs between assets (one draw for both).

    Raises:
        SettingsError: a setting is outside its range; names it.
    """
    _require(n_assets >= 1 and n_features >= 1 and n_factors >= 1, "n_assets, n_features and n_factors: 1 or more")
    _require(0 <= feature_factor_alignment <= 1, f"feature_factor_alignment={feature_factor_alignment}: 0 to 1")
    _require(0 <= persistence < 1, f"persistence={persistence}: 0 or more and below 1")
    _require(0 <= misspecification <= 1, f"misspecification={misspecification}: 0 to 1")
    _require(degree >= 2, f"degree={degree}: 2 or more")
    for label, value in (
        ("signal", signal),
        ("volatility_dispersion", volatility_dispersion),
        ("half_spread", half_spread),
        ("holding_fee", holding_fee),
        ("cost_dispersion", cost_dispersion),
    ):
        _require(value >= 0, f"{label}={value}: 0 or more")
    rng = np.random.default_rng(seed)
    loadings, specific_variance = draw_risk(
        rng,
        volatility * np.exp(volatility_dispersion * rng.standard_normal(n_assets)),
        n_factors=n_factors,
        correlated_noise=correlated_noise,
    )
    features = _features(rng, loadings, shape=(n_periods, n_assets, n_features), aligned=feature_factor_alignment)
    if persistence:
        features = _lasting(features, persistence)
    linear, bent = (_direction(rng, n_features) for _ in range(2))
    expected = signal * (
        np.sqrt(1 - misspecification) * (features @ linear)
        + np.sqrt(misspecification) * _hermite(features @ bent, degree)
    )
    dearness = np.exp(cost_dispersion * rng.standard_normal(n_assets) - cost_dispersion**2 / 2)
    return assemble_market(
        rng,
        features,
        expected,
        loadings=loadings,
        specific_variance=specific_variance,
        half_spread=half_spread * dearness,
        holding_fee=holding_fee * dearness,
        lag=lag,
        name=f"simulated-{seed}",
    )


def draw_risk(
    rng: np.random.Generator, volatility: np.ndarray, *, n_factors: int, correlated_noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Loadings (N, k) on factors of unit variance and specific variances (N,), with the volatility given.

    The first factor is a market: every loading on it is positive. Each asset's factor variance is exactly
    `correlated_noise` times its variance.

    Raises:
        SettingsError: a volatility is not positive, or the share is outside [0, 1).
    """
    _require(bool((volatility > 0).all()), f"volatility: the lowest is {volatility.min()}: above 0")
    _require(0 <= correlated_noise < 1, f"correlated_noise={correlated_noise}: 0 or more and below 1")
    raw = rng.standard_normal((len(volatility), n_factors))
    raw[:, 0] = np.abs(raw[:, 0]) + 1
    scale = volatility * np.sqrt(correlated_noise) / np.linalg.norm(raw, axis=1)
    return raw * scale[:, None], (1 - correlated_noise) * volatility**2


def assemble_market(
    rng: np.random.Generator,
    features: np.ndarray,
    expected: np.ndarray,
    *,
    loadings: np.ndarray,
    specific_variance: np.ndarray,
    half_spread: np.ndarray,
    holding_fee: np.ndarray,
    lag: int,
    name: str,
) -> SimulatedMarket:
    """Add noise to expected returns and label everything; rows 0..lag have no forecast, so noise only.

    Args:
        rng: draws the noise.
        features: (T, N, K).
        expected: (T, N), E[y | x].
        loadings: (N, k) on factors of unit variance.
        specific_variance: (N,).
        half_spread: (N,).
        holding_fee: (N,).
        lag: rows between a forecast and its fill.
        name: of the panel.

    Raises:
        SettingsError: too few or too many periods, a negative lag, or a return below -1 was drawn.
    """
    periods, assets, _ = features.shape
    last_day = pd.Timestamp("2261-12-31")
    longest = int(np.busday_count(_FIRST_DATE.date(), last_day.date()))
    _require(lag >= 0, f"lag={lag}: 0 or more")
    _require(lag + 2 <= periods <= longest, f"n_periods={periods}: from lag + 2 to {longest}")
    factors = rng.standard_normal((periods, loadings.shape[1]))
    returns = factors @ loadings.T + rng.standard_normal((periods, assets)) * np.sqrt(specific_variance)
    returns[lag + 1 :] += expected[: periods - lag - 1]
    _require(bool((returns > -1).all()), f"a return of {returns.min():.2f} was drawn: lower volatility or signal")
    width = len(str(assets - 1))
    panel = MarketPanel(
        dates=pd.bdate_range(_FIRST_DATE, periods=periods),
        assets=pd.Index([f"A{i:0{width}d}" for i in range(assets)]),
        returns=returns,
        features=features,
        feature_names=tuple(f"x{k + 1}" for k in range(features.shape[2])),
        periods_per_year=252,
        name=name,
    )
    truth = {
        "expected_returns": expected,
        "loadings": loadings,
        "factor_covariance": np.eye(loadings.shape[1]),
        "specific_variance": specific_variance,
        "half_spread": half_spread,
        "holding_fee": holding_fee,
    }
    for values in truth.values():
        values.setflags(write=False)
    return SimulatedMarket(panel=panel, lag=lag, **truth)


def _features(
    rng: np.random.Generator, loadings: np.ndarray, *, shape: tuple[int, int, int], aligned: float
) -> np.ndarray:
    features = rng.standard_normal(shape)
    strength = rng.standard_normal((shape[0], shape[2]))
    if not (aligned and loadings.any()):
        return features
    scaled = loadings / np.sqrt(np.mean(loadings**2, axis=0))
    columns = scaled[:, np.arange(shape[2]) % loadings.shape[1]]
    return np.sqrt(1 - aligned**2) * features + aligned * columns * strength[:, None, :]


def _lasting(features: np.ndarray, kept: float) -> np.ndarray:
    """Return an autoregression over time whose news are `features`; each period has the same distribution."""
    lasting = features.copy()
    for before, now in pairwise(lasting):
        now *= np.sqrt(1 - kept**2)
        now += kept * before
    return lasting


def _direction(rng: np.random.Generator, size: int) -> np.ndarray:
    direction = rng.standard_normal(size)
    return direction / np.linalg.norm(direction)


def _hermite(u: np.ndarray, degree: int) -> np.ndarray:
    """Probabilists' Hermite polynomial scaled to variance 1 under u ~ N(0, 1)."""
    from math import factorial

    return np.polynomial.hermite_e.hermeval(u, [0.0] * degree + [1.0]) / np.sqrt(factorial(degree))


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise SettingsError(f"simulated market: {what}")
