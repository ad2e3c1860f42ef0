"""What the README shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)

    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})

    assert blocks
    assert "aligned - squared: net" in capsys.readouterr().out
    assert (tmp_path / "runs" / "first" / "report.html").exists()


def test_the_example_is_short() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)

    assert len(block.splitlines()) <= 15


def test_every_file_the_readme_points_to_exists() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)

    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]

    assert missing == []
    assert targets


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    for target in set(re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
