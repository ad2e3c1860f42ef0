"""Commands of the shell, a file each; `backtest.cli` puts them together."""
