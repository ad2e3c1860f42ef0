"""What docs/protocol.md shows is run."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_the_example_runs_as_it_stands(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)

    exec(compile(block, str(PAGE), "exec"), {"__name__": "__main__"})

    printed = capsys.readouterr().out
    assert printed.startswith("2 paths: {'squared'")
    assert "no record of what could have been earned" in printed
