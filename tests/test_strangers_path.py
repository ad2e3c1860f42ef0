"""A stranger's path: the wheel in a fresh environment, another folder, and nothing but what the README says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Runs in a browser where one is installed, with the fixture of the report's tests.
_spec = spec_from_file_location("report_stand_ins", ROOT / "tests" / "report" / "conftest.py")
_stand_ins = module_from_spec(_spec)
sys.modules[_spec.name] = _stand_ins  # dataclasses look their module up by name
_spec.loader.exec_module(_stand_ins)
browser = _stand_ins.browser

DRAWN = """
  const charts = [...document.querySelectorAll("[data-chart]")];
  return {charts: charts.length, empty: charts.filter(box => !box.querySelector(".main-svg")).length};
"""


def files_in_the_readme() -> dict[str, str]:
    """The blocks that begin with a comment of a file's name, and the file of settings."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, flags=re.DOTALL)
    (settings,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    return {**dict(blocks), "experiment.toml": settings}


def commands_in_the_readme() -> list[list[str]]:
    """The shell lines of the section about one's own strategy and cost."""
    section = README.split("## Your own strategy, your own cost")[1].split("\n## ")[0]
    (block,) = re.findall(r"```\n(backtest check.*?)```", section, flags=re.DOTALL)
    return [line.split("#")[0].split() for line in block.strip().splitlines()]


def test_the_readme_has_what_the_path_needs() -> None:
    assert set(files_in_the_readme()) == {"winners.py", "stamp_duty.py", "experiment.toml"}
    assert [command[1] for command in commands_in_the_readme()] == ["check", "run", "compare", "report", "positions"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_stranger_installs_writes_checks_compares_looks_and_trades(tmp_path: Path, browser) -> None:
    def run(*words: str | Path) -> str:
        # Without what the checkout would lend: its folder, its packages, its threads.
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "OMP", "VIRTUAL_ENV"))
        }
        done = subprocess.run([str(word) for word in words], cwd=folder, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    folder = tmp_path / "elsewhere"
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python, backtest = (tmp_path / "venv" / "bin" / name for name in ("python", "backtest"))
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    assert str(tmp_path) in run(python, "-c", "import backtest; print(backtest.__file__)")

    for name, text in files_in_the_readme().items():
        (folder / name).write_text(text)
    check, *rest = commands_in_the_readme()
    told = run(backtest, *check[1:])
    assert "winners.py: strategy Winners: passed" in told
    assert "stamp_duty.py: cost StampDuty: passed" in told
    for command in rest:
        run(backtest, *command[1:])

    document = json.loads((folder / "runs" / "winners" / "comparison.json").read_text())
    assert document["objectives"]["Winners"]["costs"]["stamp_duty"] > 0
    trained = json.loads((folder / "runs" / "trained" / "comparison.json").read_text())
    assert set(trained["objectives"]) == {"squared", "whitened", "aligned", "misaligned"}
    assert all(objective["costs"]["stamp_duty"] > 0 for objective in trained["objectives"].values())
    for page in ("runs/winners/report.html", "runs/trained/report.html", "both.html"):
        seen = browser.open((folder / page).read_text(encoding="utf-8"), DRAWN, width=1440)
        assert seen["faults"] == [], page
        assert seen["charts"] > 0, page
        assert seen["empty"] == 0, page

    orders = pd.read_csv(folder / "orders.csv")
    assert len(orders) > 0
    assert (orders["shares"] == orders["shares"].round()).all()
    assert "Why no more of each" in (folder / "orders.html").read_text()
    # The next day begins with what was bought, and has next to nothing to do.
    orders.set_index("symbol")["shares_after"].rename("shares").to_csv(folder / "held.csv")
    again = [*rest[-1][1:-1], "again.csv", "--holdings", "held.csv"]
    run(backtest, *again)
    assert pd.read_csv(folder / "again.csv")["value"].abs().sum() < 0.1 * orders["value"].abs().sum()

    run(backtest, "run", "experiment.toml", "--quiet", "--out", "runs/experiment")
    assert (folder / "runs" / "experiment" / "comparison.json").exists()
