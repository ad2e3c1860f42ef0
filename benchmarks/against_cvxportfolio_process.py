"""The peer as a process: its environment, made when it is missing, and a conversation in JSON lines.

cvxportfolio wants a pandas older than ours, so it has an environment of its own beside ours, with the versions of
`cvxportfolio-constraints.txt`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["PeerProcess"]

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-cvxportfolio"
PINS = HERE / "cvxportfolio-constraints.txt"
WORKER = HERE / "against_cvxportfolio_peer.py"


def peer_python() -> Path:
    """Return the interpreter of the peer's environment, made anew when the pins have changed."""
    python, made = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".made-from"
    pins = PINS.read_text()
    if made.exists() and made.read_text() == pins:
        return python
    print(f"making {ENVIRONMENT} from {PINS.name}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
    # Git sees nothing of it.
    (ENVIRONMENT / ".gitignore").write_text("*\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", PINS], check=True)
    made.write_text(pins)
    return python


class PeerProcess:
    """One process of the peer, kept for the whole run, so that its imports and caches are paid once."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [peer_python(), WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def ask(self, **question: Any) -> Any:
        """Return the answer to one question; see `against_cvxportfolio_peer`.

        Raises:
            RuntimeError: the peer ended instead; its own words are on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"cvxportfolio ended with {self._process.wait()} on {question}: see its error above")
        return json.loads(answer)
