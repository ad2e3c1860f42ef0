"""`backtest data check` and `backtest data clean`: what is wrong with files of prices, and panels without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backtest.commands.shared import errors_as_messages
from backtest.errors import SettingsError

if TYPE_CHECKING:
    from backtest.market import Bars, Findings

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Check files of prices, and clean them: what is wrong, where, and what cures it."
)

FileArgument = Annotated[Path, typer.Argument(help="Text, Parquet or Feather file, zip, or folder of them.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="FIELD=LABEL", help="Where a column has an unusual name, as in close=PX_LAST."),
]
KindOption = Annotated[str, typer.Option(help="What the numbers are: prices or returns.")]
ScaleOption = Annotated[
    float | None, typer.Option(help="Currency in one unit of the file's prices: 0.01 for pence, 1e-4 for Lean's files.")
]
DateOption = Annotated[str | None, typer.Option(help="Format of dates, as in %d/%m/%Y.")]
DecimalOption = Annotated[str | None, typer.Option(help="Decimal sign of numbers: . or ,")]
SymbolOption = Annotated[str | None, typer.Option(help="Label of the security in a file without symbols.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def check(
    file: FileArgument,
    column: ColumnOption = None,
    symbol: SymbolOption = None,
    kind: KindOption = "prices",
    price_scale: ScaleOption = None,
    date_format: DateOption = None,
    decimal: DecimalOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is wrong with a file; exits with 1 where something is, with 0 where nothing is."""
    with errors_as_messages():
        from backtest.market import find_problems

        bars = _read(file, column, symbol, kind, price_scale, date_format, decimal)
        findings = find_problems(bars)
        if as_json:
            document = {"file": file.name, "rows": len(bars.rows), "findings": [f.to_dict() for f in findings]}
            json.dump(document, sys.stdout, allow_nan=False, indent=2)
            sys.stdout.write("\n")
        else:
            _print(bars, findings)
    raise typer.Exit(1 if findings else 0)


@app.command()
def clean(
    file: FileArgument,
    out: Annotated[Path, typer.Option(help="Parquet file to write; the log of changes is written next to it.")],
    repair: Annotated[
        list[str] | None,
        typer.Option(
            help="A repair by name, or safe: those whose evidence leaves no doubt. Repeat, or separate by commas."
        ),
    ] = None,
    column: ColumnOption = None,
    symbol: SymbolOption = None,
    kind: KindOption = "prices",
    price_scale: ScaleOption = None,
    date_format: DateOption = None,
    decimal: DecimalOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a file that reads as a clean panel, and OUT.changes.csv with every value before and after.

    Exits with 1 where findings are left that were not asked to be repaired, and says which.
    """
    with errors_as_messages():
        from backtest.market import find_problems, repair_bars
        from backtest.whole_files import write_text

        if out.suffix not in (".parquet", ".pq"):
            raise SettingsError(f"--out is {out.name}: name a .parquet file")
        names = [name.strip() for text in repair or [] for name in text.split(",") if name.strip()]
        bars = _read(file, column, symbol, kind, price_scale, date_format, decimal)
        cleaned, log = repair_bars(bars, names)
        left = find_problems(cleaned)
        changes = out.with_suffix(".changes.csv")
        # the log first: a panel never stands there without it
        table = log.table(bars)
        write_text(changes, table.to_csv(index=False))
        cleaned.write(out)
        if as_json:
            document = {
                "panel": str(out),
                "changes": str(changes),
                "changed": len(table),
                "left": [f.to_dict() for f in left],
            }
            json.dump(document, sys.stdout, allow_nan=False, indent=2)
            sys.stdout.write("\n")
        else:
            typer.echo(f"Panel: {out}")
            typer.echo(f"Changes: {changes} ({len(table)} lines)")
            _print(cleaned, left)
    raise typer.Exit(1 if left else 0)


def _read(
    file: Path,
    column: list[str] | None,
    symbol: str | None,
    kind: str,
    price_scale: float | None,
    date_format: str | None,
    decimal: str | None,
) -> Bars:
    from backtest.market import read_bars

    columns: dict[str, str] = {}
    for text in column or []:
        field, equals, label = text.partition("=")
        if not equals:
            raise SettingsError(f"--column takes FIELD=LABEL, as in close=PX_LAST, got {text!r}")
        columns[field.strip()] = label
    return read_bars(
        file,
        columns=columns or None,
        symbol=symbol,
        kind=kind,
        price_scale=price_scale,
        date_format=date_format,
        decimal=decimal,
    )


def _print(bars: Bars, findings: Findings) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    dates = bars.dates
    span = f"{dates.min():%Y-%m-%d} to {dates.max():%Y-%m-%d}"
    console = Console()
    console.print(
        f"{bars.name}: {len(bars.rows)} rows, {len(bars.symbols)} symbols, {span}", highlight=False, markup=False
    )
    if not findings:
        console.print("Nothing wrong was found.")
        return
    table = Table("repair", "rows", "what, and the cure", show_lines=True)
    for found in findings:
        name = found.kind + (" (safe)" if found.safe else "" if found.edits else " (by hand)")
        span = f"{found.first:%Y-%m-%d}" + ("" if found.last == found.first else f" to {found.last:%Y-%m-%d}")
        cells = (name, f"{found.symbol}\n{span}\n{found.where}", f"{found.message}.\nCure: {found.cure}.")
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    console.print(f"{count}. Repair with: backtest data clean FILE --repair NAME --out panel.parquet")
