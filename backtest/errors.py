"""Every error this library raises, under one base class.

BacktestError
├── DataError            a file or panel is not what it must be; names file, row, column, value and the cure
│   └── LabelError       asset or date labels are missing, extra, repeated or of the wrong kind
├── CostError            a cost or constraint has an impossible parameter
├── SolverError          a problem could not be solved; carries the status of every row
│   ├── InfeasibleError  the constraints contradict each other
│   └── UnboundedError   no cost or limit bounds the positions
├── FeatureError         a feature breaks its contract (shape, look-ahead, a field that it does not declare)
├── StrategyError        a strategy breaks its contract (shape, finite values, look-ahead)
├── SimulationError      the ledger broke an identity, or the inputs to a simulation disagree
├── SettingsError        a setting is unknown or outside its range; names the key and what is allowed
└── WorkerError          a process or machine that was working for a sweep died
"""

from __future__ import annotations

__all__ = [
    "BacktestError",
    "CostError",
    "DataError",
    "FeatureError",
    "InfeasibleError",
    "LabelError",
    "SettingsError",
    "SimulationError",
    "SolverError",
    "StrategyError",
    "UnboundedError",
    "WorkerError",
]


class BacktestError(Exception):
    """Base class of every error of this library."""


class DataError(BacktestError):
    """A file or panel is not what it must be."""


class LabelError(DataError):
    """Asset or date labels are missing, extra, repeated or of the wrong kind."""


class CostError(BacktestError):
    """A cost or constraint has an impossible parameter."""


class SolverError(BacktestError):
    """A problem could not be solved."""


class InfeasibleError(SolverError):
    """The constraints contradict each other."""


class UnboundedError(SolverError):
    """No cost or limit bounds the positions."""


class FeatureError(BacktestError):
    """A feature breaks its contract."""


class StrategyError(BacktestError):
    """A strategy breaks its contract."""


class SimulationError(BacktestError):
    """The ledger broke an identity, or the inputs to a simulation disagree."""


class SettingsError(BacktestError):
    """A setting is unknown or outside its range."""


class WorkerError(BacktestError):
    """A process or machine that was working for a sweep died."""
