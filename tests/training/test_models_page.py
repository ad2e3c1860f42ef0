"""What docs/models.md shows is run, block after block."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_examples_run_as_they_stand(capsys):
    namespace = {"__name__": "models_page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), namespace)

    assert capsys.readouterr().out.startswith("(2, 20)\n")
