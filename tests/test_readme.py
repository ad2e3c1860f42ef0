"""What the README shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README, "docs/solver.md": (ROOT / "docs" / "solver.md").read_text(encoding="utf-8")}


def blocks_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)


def test_the_python_examples_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    defined: dict[str, object] = {}
    for name, page in PAGES.items():
        for block in blocks_of(page):
            names: dict[str, object] = {"__name__": "__main__"}
            exec(compile(block, name, "exec"), names)
            defined |= names

    printed = capsys.readouterr().out
    assert "aligned - squared: net" in printed
    assert printed.count("StampDuty keeps its contract") == 1
    # What the README has as files is checked as files by the test of a stranger's path.
    assert {"Winners", "StampDuty"} <= defined.keys()
    assert (tmp_path / "runs" / "first" / "report.html").exists()


def test_the_examples_are_short() -> None:
    assert [len(block.splitlines()) for block in blocks_of(README) if len(block.splitlines()) > 15] == []


def test_every_file_the_pages_point_to_exists() -> None:
    for name, page in PAGES.items():
        targets = re.findall(r"\]\(([^)#]+)\)", page)
        place = (ROOT / name).parent

        assert targets
        assert [target for target in targets if "://" not in target and not (place / target).exists()] == []


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for target in set(re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
