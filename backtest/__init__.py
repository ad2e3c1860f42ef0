"""Cost-aware portfolio backtests, and the question whether training on what the portfolio does beats squared error."""

# Names are imported when they are first used: importing torch and pandas takes seconds, and `backtest --help` needs
# neither. `__init__.pyi` lists them, once for this and for type checkers.
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
