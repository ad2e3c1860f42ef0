"""What the pages on features and universes show is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("page", ["features.md", "universe.md"])
def test_the_examples_run_as_they_stand(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)

    for block in blocks:
        exec(compile(block, page, "exec"), {"__name__": "__main__"})

    assert len(blocks) == 2
    assert capsys.readouterr().out
