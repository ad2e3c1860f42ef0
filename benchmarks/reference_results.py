"""Published results beside ours: numbers that no one here made.

    python benchmarks/reference_results.py [R1] [R2] [R3] [R4] [--trials N] [--json]

R1  Boyd et al. (2017), "Multi-Period Trading via Convex Optimization", Foundations and Trends in Optimization 3(1),
    table 7.1: periodic rebalancing. Its data may not be passed on; where it is absent, the result is left out.
R2  Elmachtoub & Grigas (2022), "Smart Predict, then Optimize", Management Science 68(1), the portfolio experiment:
    least squares and SPO+, with the aligned objective beside them.
R3  Butler & Kwon (2023), "Integrating prediction in mean-variance portfolio optimization", Quantitative Finance 23(3),
    experiment 1: least squares against the aligned quadratic objective.
R4  Garleanu & Pedersen (2013), "Dynamic Trading with Predictable Returns and Transaction Costs", Journal of Finance
    68(6): the closed form, and strategies with and without it.

A result is one function of the number of trials that returns `Line`s; `RESULTS` names it and says how the paper was
read. Seeds are trial numbers. The last column says whether ours, give or take two of its standard errors (R2: three),
reaches the published range; published numbers are means over few trials too, but how uncertain they are was not
printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from backtest.costs import DenseRisk
from backtest.solver import PositionSolver

__all__ = [
    "CELLS",
    "RESULTS",
    "Draw",
    "Line",
    "Result",
    "butler_kwon",
    "draw_market",
    "fit_closed_form",
    "fit_through_solver",
    "run_cell",
    "table_7_1",
]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "paper_2017"


@dataclass(frozen=True)
class Line:
    """One published number and ours.

    Attributes:
        what: which.
        ours: mean over trials.
        error: standard error of that mean; 0 for a number without chance in it.
        published: lowest and highest value that fits what was printed; None where nothing was.
        allowed: standard errors by which ours may be outside.
    """

    what: str
    ours: float
    error: float
    published: tuple[float, float] | None = None
    allowed: float = 2.0

    @property
    def outside(self) -> float | None:
        """How far ours lies outside the published range; 0 inside, None where nothing was published."""
        if self.published is None:
            return None
        low, high = self.published
        return max(low - self.ours, self.ours - high, 0.0)

    @property
    def within(self) -> bool | None:
        """Whether ours reaches the published range within the standard errors that are allowed."""
        return None if self.outside is None else self.outside <= self.allowed * self.error


@dataclass(frozen=True)
class Result:
    """One published result: what it is, how it was read where the paper leaves a choice, and what computes it.

    Attributes:
        needs: a folder of data that may be absent.
        trials: how many unless told.
    """

    title: str
    reading: str
    run: Callable[[int], list[Line]]
    needs: Path | None = None
    trials: int = 100


# R3. Butler & Kwon, experiment 1.

N_ASSETS, N_FEATURES, NOISE, N_ROWS = 10, 3, 10.0, 1000
"""Assets; features of each; tau, so that the signal-to-noise ratio is .1; rows in sample, and out of sample."""


@dataclass(frozen=True)
class Cell:
    """One cell of the experiment: resolution, correlation, and the published losses with half a digit on each side."""

    resolution: int
    correlation: float
    aligned: tuple[float, float]
    least_squares: tuple[float, float]


CELLS = (
    Cell(5, 0.0, (-0.1865, -0.1855), (0.0475, 0.0605)),
    Cell(10, 0.0, (-0.2775, -0.2765), (-0.2225, -0.2215)),
    Cell(20, 0.0, (-0.335, -0.315), (-0.325, -0.305)),
    Cell(20, 0.75, (-1.125, -1.105), (-1.095, -1.065)),
)
EXPLAINED = {"aligned": (0.05865, 0.05875), "least squares": (0.07815, 0.07825)}
"""Share of the variance of returns explained out of sample, at resolution 5 without correlation."""


@dataclass(frozen=True)
class Draw:
    """One trial: T = 2000 rows, the first half to fit on.

    Attributes:
        x: (T, N, 3) features of each asset.
        y: (T, N) returns, of unit variance.
        covariance: (N, N), `V`, of the noise: what the loss charges.
        estimates: (T, N, N), `V_hat`, rolling: what positions are chosen with.
    """

    x: np.ndarray
    y: np.ndarray
    covariance: np.ndarray
    estimates: np.ndarray


def draw_market(seed: int, resolution: int, correlation: float, *, sees_own_return: bool = True) -> Draw:
    """Draw one trial.

    Args:
        seed: of the trial.
        resolution: rows in the rolling covariance, over the number of assets.
        correlation: of the noise of neighbouring assets; its power for those further apart.
        sees_own_return: as published, the window of row t ends on the return of row t, which the position of row t is
            yet to earn; False ends it one row earlier, where it is known.
    """
    rng = np.random.default_rng(seed)
    lookback = resolution * N_ASSETS
    n_rows = 2 * N_ROWS + lookback + 1
    theta = rng.uniform(-3, 3, (N_ASSETS, N_FEATURES))
    x = rng.normal(size=(n_rows, N_ASSETS, N_FEATURES))
    covariance = correlation ** np.abs(np.subtract.outer(np.arange(N_ASSETS), np.arange(N_ASSETS)))
    noise = rng.multivariate_normal(np.zeros(N_ASSETS), covariance, size=n_rows)
    y = (np.einsum("tnk,nk->tn", x, theta) + NOISE * noise) / (1 + NOISE)
    deviation = y.std(axis=0)
    y, x = y / deviation, x / deviation[:, None]
    first = lookback + 1
    windows = np.lib.stride_tricks.sliding_window_view(y, lookback, axis=0)
    windows = windows[2 if sees_own_return else 1 :][: 2 * N_ROWS]
    centred = windows - windows.mean(axis=-1, keepdims=True)
    estimates = centred @ centred.transpose(0, 2, 1) / (lookback - 1)
    return Draw(x[first:], y[first:], covariance, estimates)


def fit_closed_form(draw: Draw) -> np.ndarray:
    """Return theta (N, 3) that is best in sample for `mean(-y'z + z'Vz / 2)`, `z = V_hat^-1 y_hat`, `y_hat = theta x`.

    The loss is quadratic in theta: proposition 1 of the paper.
    """
    x, y, estimates = draw.x[:N_ROWS], draw.y[:N_ROWS], draw.estimates[:N_ROWS]
    # Column j of theta's effect on the positions: V_hat^-1 times the features of one asset, 0 for the others.
    inverse = np.linalg.inv(estimates)
    effect = (inverse[:, :, :, None] * x[:, None]).reshape(N_ROWS, N_ASSETS, N_ASSETS * N_FEATURES)
    flat = effect.reshape(-1, effect.shape[-1])
    charged = (draw.covariance @ effect).reshape(flat.shape)
    return np.linalg.solve(flat.T @ charged, flat.T @ y.ravel()).reshape(N_ASSETS, N_FEATURES)


def fit_least_squares(draw: Draw) -> np.ndarray:
    """Return theta (N, 3) of one regression an asset, in sample."""
    x, y = draw.x[:N_ROWS], draw.y[:N_ROWS]
    return np.stack([np.linalg.lstsq(x[:, asset], y[:, asset], rcond=None)[0] for asset in range(N_ASSETS)])


def fit_through_solver(draw: Draw, *, steps: int = 100) -> np.ndarray:
    """Return theta (N, 3) by descent on the same loss, its gradient through `solver(p)`."""
    x, y = torch.as_tensor(draw.x[:N_ROWS]), torch.as_tensor(draw.y[:N_ROWS])
    solver = PositionSolver(DenseRisk(draw.estimates[:N_ROWS]))
    charged = DenseRisk(draw.covariance)
    nothing = torch.zeros_like(y)
    theta = torch.zeros(N_ASSETS, N_FEATURES, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS(
        [theta], max_iter=steps, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        descent.zero_grad()
        q = solver((x * theta).sum(-1))
        value = (charged.value(q, nothing, None) - y * q).sum(-1).mean()
        value.backward()
        return value

    descent.step(loss)
    return theta.detach().numpy()


def out_of_sample(draw: Draw, *fits: np.ndarray) -> list[float]:
    """Return, of each theta, the mean loss with positions from the solver, and the share of variance it explains."""
    x, y = draw.x[N_ROWS:], draw.y[N_ROWS:]
    solver = PositionSolver(DenseRisk(draw.estimates[N_ROWS:]))
    found = []
    for theta in fits:
        forecast = (x * theta).sum(-1)
        z = solver.solve(forecast).q
        loss = (z * (z @ draw.covariance)).sum(-1) / 2 - (y * z).sum(-1)
        found += [float(loss.mean()), float(1 - ((y - forecast) ** 2).mean() / (y**2).mean())]
    return found


def run_cell(cell: Cell, seeds: range, *, sees_own_return: bool = True) -> np.ndarray:
    """Return (trials, 4): loss and share of variance explained, aligned, then the same of least squares."""
    draws = (draw_market(seed, cell.resolution, cell.correlation, sees_own_return=sees_own_return) for seed in seeds)
    return np.array([out_of_sample(draw, fit_closed_form(draw), fit_least_squares(draw)) for draw in draws])


def butler_kwon(trials: int = 100) -> list[Line]:
    """R3: out-of-sample losses of both fits in four cells."""
    lines = []
    for cell in CELLS:
        where = f"resolution {cell.resolution}, correlation {cell.correlation:g}"
        published = run_cell(cell, range(trials))
        causal = run_cell(cell, range(trials), sees_own_return=False)
        lines += [
            _line(f"{where}: loss, aligned", published[:, 0], cell.aligned),
            _line(f"{where}: loss, least squares", published[:, 2], cell.least_squares),
            _line(f"{where}: loss, aligned - least squares", published[:, 0] - published[:, 2]),
        ]
        if cell is CELLS[0]:
            lines += [
                _line(f"{where}: explained, aligned", published[:, 1], EXPLAINED["aligned"]),
                _line(f"{where}: explained, least squares", published[:, 3], EXPLAINED["least squares"]),
            ]
        lines += [
            _line(f"{where}: window ends a row earlier, aligned", causal[:, 0]),
            _line(f"{where}: window ends a row earlier, least squares", causal[:, 2]),
        ]
    draw = draw_market(0, CELLS[0].resolution, CELLS[0].correlation)
    best = fit_closed_form(draw)
    gap = np.abs(fit_through_solver(draw) - best).max() / np.abs(best).max()
    return [*lines, Line("theta trained through solver(p) against closed form, largest relative gap", float(gap), 0.0)]


# R2. Elmachtoub & Grigas, the portfolio experiment.

PORTFOLIO_REGRET = {
    (1.0, 1): (1.96, 2.03),
    (1.0, 4): (2.63, 2.64),
    (1.0, 8): (1.82, 1.66),
    (1.0, 16): (2.17, 1.02),
    (2.0, 1): (6.52, 6.62),
    (2.0, 4): (8.21, 8.25),
    (2.0, 8): (5.73, 5.61),
    (2.0, 16): (4.08, 2.99),
}
"""(noise, degree) -> normalised regret of least squares and of SPO+, %, for 100 rows to fit on."""


def spo_portfolio(trials: int = 12) -> list[Line]:
    """R2: regret of least squares, SPO+ and aligned, at two noises and four degrees of misspecification."""
    from joblib import Parallel, delayed
    from spo_portfolio import regrets

    work = [(*cell, seed) for cell in PORTFOLIO_REGRET for seed in range(trials)]
    found = list(Parallel(n_jobs=-1)(delayed(regrets)(*each) for each in work))
    lines = []
    for number, ((noise, degree), published) in enumerate(PORTFOLIO_REGRET.items()):
        mine = found[number * trials : (number + 1) * trials]
        of = {name: np.array([each[name] for each in mine]) for name in mine[0]}
        where = f"noise {noise:g}, degree {degree}: regret, %"
        for name, printed in (("least squares", published[0]), ("SPO+", published[1]), ("aligned", None)):
            lines.append(_line(f"{where}, {name}", of[name], _around(printed, 0.005), allowed=3.0))
        lines.append(_line(f"{where}, aligned - SPO+", of["aligned"] - of["SPO+"]))
    return lines


def _line(what: str, values: np.ndarray, published: tuple[float, float] | None = None, *, allowed: float = 2.0) -> Line:
    return Line(what, float(values.mean()), float(stats.sem(values)), published, allowed)


def table_7_1(_: int = 0) -> list[Line]:
    """R1: turnover, active risk and active return of six rebalancing periods; there is no chance in it."""
    # The simulator and the data are of no use to the other results.
    from periodic_rebalancing import PUBLISHED, measure, read_panel

    panel, first_row = read_panel()
    lines = []
    for every, published in PUBLISHED.items():
        row = measure(every, panel, first_row)
        lines += [
            Line(f"{every}: turnover, % a year", row.turnover, 0.0, _around(published.turnover, 0.01)),
            Line(f"{every}: active risk, %", row.active_risk, 0.0, _around(published.active_risk, 0.005)),
            Line(f"{every}: active return, %", row.active_return, 0.0, _around(published.active_return, 0.005)),
        ]
    return lines


def dynamic_trading(trials: int = 100) -> list[Line]:
    """R4: first trades of plans beside the closed form, and Sharpe ratios of three strategies."""
    from garleanu_pedersen import (
        HORIZONS,
        closed_form,
        draw_model,
        draw_signals,
        first_trade,
        first_trade_by_recursion,
        sharpe_by_simulator,
        sharpe_ratios,
    )

    lines = []
    models = [draw_model(seed) for seed in range(10)]
    for horizon, most in zip(HORIZONS, (1e-1, 2e-6, 1e-13), strict=True):
        trades = [first_trade(model, horizon) for model in models]
        pairs = {
            "the closed form": closed_form,
            "dynamic programming": partial(first_trade_by_recursion, horizon=horizon),
        }
        for other, solution in pairs.items():
            weights = [solution(model) for model in models]
            gaps = [np.abs(x - y).max() / np.abs(y).max() for x, y in zip(trades, weights, strict=True)]
            published = (0.0, most) if other == "the closed form" else None
            what = f"first trade of {horizon} against {other}, largest relative gap"
            lines.append(Line(what, float(max(gaps)), 0.0, published))
    signals, returns = draw_signals(np.random.default_rng(0), trials)
    gross, net = sharpe_ratios(signals, returns)
    best = 1 + net[:, 1:-1].argmax(axis=1)
    row = np.arange(trials)
    for name, of_gross, of_net, printed_gross, printed_net in (
        ("Markowitz", gross[:, 0], net[:, 0], 2.27, -16.45),
        ("best static", gross[row, best], net[row, best], 1.94, 1.82),
        ("dynamic", gross[:, -1], net[:, -1], 1.94, 1.88),
    ):
        lines += [
            _one_path(f"{name}: gross Sharpe ratio", of_gross, _around(printed_gross, 0.005)),
            _one_path(f"{name}: net Sharpe ratio", of_net, _around(printed_net, 0.005)),
        ]
    lines.append(_line("dynamic - best static of the same path: net Sharpe ratio", net[:, -1] - net[row, best]))
    through, through_net = sharpe_by_simulator(signals[:, 0], returns[:, 0])
    gap = max(np.abs(through - gross[0]).max(), np.abs(through_net - net[0]).max())
    return [*lines, Line("first path through simulate(): largest gap of 24 Sharpe ratios, by drift", float(gap), 0.0)]


def _one_path(what: str, values: np.ndarray, published: tuple[float, float]) -> Line:
    return Line(what, float(values.mean()), float(values.std(ddof=1)), published)


def _around(printed: float | None, half_width: float) -> tuple[float, float] | None:
    return None if printed is None else (printed - half_width, printed + half_width)


RESULTS = {
    "R1": Result(
        "Boyd et al. (2017), table 7.1, periodic rebalancing to the uniform benchmark, 424 stocks, 2012 to 2016",
        "Volumes are not published with the data, so no market impact is charged: the half spread of 2.5 bp alone.\n"
        "A printed turnover counts as reached within 0.01 points, the other numbers within half their last digit.",
        table_7_1,
        needs=DATA,
    ),
    "R2": Result(
        "Elmachtoub & Grigas (2022), portfolio experiment, 100 rows to fit on",
        "Judged on 2,000 rows a trial, where the paper has 10,000. SPO+ and aligned begin at least squares and take\n"
        "40 steps of L-BFGS. Nothing is paid here, so the aligned objective is what positions earn, its gradient\n"
        "taken through the limit on risk. Within: three standard errors.",
        spo_portfolio,
        trials=12,
    ),
    "R3": Result(
        "Butler & Kwon (2023), experiment 1, signal-to-noise ratio .1",
        "The loss charges the covariance that the noise was drawn with; positions come from the rolling one, whose\n"
        "window ends on the very return that the position is to earn, as in the authors' code (ipo-lab/ipo_mvo on\n"
        "GitHub). So the published losses cannot be had by trading; those of 'window ends a row earlier' can.",
        butler_kwon,
    ),
    "R4": Result(
        "Garleanu & Pedersen (2013), the first trade of a plan, and a simulated experiment",
        "Gaps are the largest of ten random models of five assets and two factors, with g = 1, l = 50, r = .01.\n"
        "Those printed, 1e-2, 2e-7 and 5e-16, are of a model that was not: they count as reached within a factor of\n"
        "ten, and the last, which is rounding, at 1e-13.\n"
        "Experiment: each of 15 independent contracts has three signals of its own, AR(1) with the half-lives\n"
        "given, and a return of .02 times their sum plus noise; Lambda = 100 Sigma, g = 1, r = 2% a year, 260 days,\n"
        "13 years; fills at the close that the signals are known at; static goes 1% to 10% of the way to Markowitz,\n"
        "the best of these in hindsight. What was printed is of one path of unknown length, so (se) is the\n"
        "deviation of one path.",
        dynamic_trading,
    ),
}


def report(name: str, result: Result, lines: list[Line]) -> None:
    """Print the lines of one result."""
    print(f"\n{name}: {result.title}\n{result.reading}")
    print(f"  {'':72}{'ours':>10}{'(se)':>10}   {'published':20} within")
    for line in lines:
        published = "-" if line.published is None else "{:.6g} to {:.6g}".format(*line.published)
        error = f"({line.error:.4f})" if line.error else ""
        print(f"  {line.what:72}{line.ours:10.5g}{error:>10}   {published:20} {_verdict(line)}")


def _verdict(line: Line) -> str:
    if line.outside is None:
        return ""
    answer = "yes" if line.within else "NO"
    if line.outside == 0:
        return answer
    by = f"{line.outside / line.error:.1f} se" if line.error else f"{line.outside:.2g}"
    return f"{answer}, {by} outside"


def _trials(text: str) -> int:
    trials = int(text)
    if trials < 2:
        raise argparse.ArgumentTypeError("a standard error takes two trials or more")
    return trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", choices=[[], *RESULTS], help="which; all when left out")
    parser.add_argument("--trials", type=_trials, help="independent draws, 2 or more; each result has its own default")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    torch.set_num_threads(1)
    asked = options.results or list(RESULTS)
    absent = {name: needs for name in asked if (needs := RESULTS[name].needs) is not None and not needs.exists()}
    for name, needs in absent.items():
        print(f"{name} left out: {needs} is not there", file=sys.stderr)
    wanted = [name for name in asked if name not in absent]
    found = {name: RESULTS[name].run(options.trials or RESULTS[name].trials) for name in wanted}
    if options.json:
        document = {
            name: {
                "title": RESULTS[name].title,
                "reading": RESULTS[name].reading,
                "trials": options.trials or RESULTS[name].trials,
                "lines": [asdict(line) | {"outside": line.outside, "within": line.within} for line in lines],
            }
            for name, lines in found.items()
        }
        print(json.dumps(document, indent=1))
        return
    for name, lines in found.items():
        report(name, RESULTS[name], lines)


if __name__ == "__main__":
    main()
