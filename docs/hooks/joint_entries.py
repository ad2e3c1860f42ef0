"""Parameters that a docstring describes together, `lower, upper: limits on each weight`, as one entry each.

The tool that reads docstrings would take the second name for the type of the first.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$")
JOINT = re.compile(r"^    ((?:\w+, )+\w+):( .*)$")


class JointEntries(Extension):
    """Writes out the joint entries of every docstring."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Look at one function or class."""
        if obj.docstring is not None:
            obj.docstring.value = written_out(obj.docstring.value)


def written_out(text: str) -> str:
    """Return a docstring with a copy of each joint entry for every name in it; errors, which have no type, stay."""
    lines: list[str] = []
    waiting: list[str] = []  # names that still need the entry which is being read
    entry: list[str] = []
    section = ""
    for line in [*text.splitlines(), ""]:
        if waiting and not line.startswith("        "):
            for name in waiting:
                lines += [f"    {name}:{entry[0]}", *entry[1:]]
            waiting = []
        if found := SECTION.match(line):
            section = found[1]
        joint = JOINT.match(line)
        if joint and section in ("Args", "Attributes"):
            name, *waiting = joint[1].split(", ")
            entry = [joint[2]]
            lines.append(f"    {name}:{joint[2]}")
            continue
        if waiting:
            entry.append(line)
        lines.append(line)
    return "\n".join(lines[:-1])
