"""What commands that make a run have in common: it is carried out, and its folder written."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from backtest.commands.telling import Telling
from backtest.whole_files import write_text

if TYPE_CHECKING:
    from backtest.analysis import Comparison
    from backtest.configuration import Recorded

__all__ = ["carry_out_and_write"]

_log = logging.getLogger(__name__)


def carry_out_and_write(
    recorded: Recorded, *, jobs: int | None, out: Path | None, as_json: bool, teller: Telling
) -> None:
    """Carry a run out, write its folder, and print the verdict and the table, or the JSON document."""
    from backtest.configuration import carry_out, source_name

    with teller.progress() as progress:
        comparison = carry_out(recorded, n_jobs=jobs, progress=progress)
    name = source_name(recorded.settings)
    if recorded.settings.strategies:
        name = f"{'-'.join(comparison.results).lower()}-{name}"
    _write(comparison, name=name, out=out, as_json=as_json, teller=teller)


def _write(comparison: Comparison, *, name: str, out: Path | None, as_json: bool, teller: Telling) -> None:
    from backtest.configuration import RECORDED

    description = {key: comparison.settings[key] for key in RECORDED}
    text = json.dumps(description, indent=2, sort_keys=True) + "\n"
    if out is None:
        # The folder is named after what decides the run: the same settings and data write the same folder.
        out = Path("runs") / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    page = comparison.report(out)
    write_text(out / "config.json", text)
    _log.info("written: %s", out)
    if as_json:
        json.dump(comparison.to_dict(), sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    elif not teller.quiet:
        comparison.render()
        typer.echo(f"Report: {page}")
