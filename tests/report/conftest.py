"""The comparison fixtures of the analysis tests, on which the report is tested too, and a headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

_spec = spec_from_file_location("analysis_stand_ins", Path(__file__).parents[1] / "analysis" / "conftest.py")
_stand_ins = module_from_spec(_spec)
_spec.loader.exec_module(_stand_ins)

make_result = _stand_ins.make_result
make_comparison = _stand_ins.make_comparison

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Errors are counted from before the page's own scripts. What the probe finds is left in the page for --dump-dom.
LISTEN = """<script>
window.faults = [];
window.addEventListener("error", event => faults.push(String(event.message)), true);
window.addEventListener("unhandledrejection", event => faults.push(String(event.reason)));
window.addEventListener("securitypolicyviolation", event => faults.push("policy: " + event.violatedDirective));
console.error = (...parts) => faults.push(parts.join(" "));
console.warn = console.error;
</script>"""
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const found = (() => { %s })();
  const box = document.createElement("pre");
  box.id = "found";
  box.textContent = JSON.stringify({...found, faults, inner: innerWidth,
    width: document.documentElement.scrollWidth});
  document.body.append(box);
}, 500));
</script>"""


@dataclass(frozen=True)
class Browser:
    """An installed Chromium, and a folder of its own."""

    program: str
    folder: Path

    def open(self, page: str, probe: str, *, width: int, height: int = 900) -> dict:
        """Open the page, run the probe (the body of a function) once it is drawn, and return what it found.

        Chromium's window is never narrower than 500 pixels, so a phone is a frame of its width.
        """
        inside = page.replace("<head>", f"<head>{LISTEN}", 1).replace("</body>", f"{PROBE % probe}</body>", 1)
        (self.folder / "inside.html").write_text(inside, encoding="utf-8")
        frame = self.folder / "frame.html"
        frame.write_text(
            f'<!doctype html><body style="margin:0"><iframe src="inside.html" style="border:0;width:{width}px;'
            f'height:{height}px"></iframe><script>addEventListener("load", () => setInterval(() => {{'
            "const found = frames[0].document.getElementById('found');"
            "if (found && !document.getElementById('found')) document.body.append(found.cloneNode(true)); }, 100));"
            "</script>"
        )
        done = self._run("--virtual-time-budget=8000", "--dump-dom", f"--window-size=1500,{height}", frame.as_uri())
        text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
        assert text, f"the page's scripts did not run to their end: {done.stderr[-2000:]}"
        return json.loads(unescape(text[1]))

    def screenshot(self, page: Path, to: Path, *, width: int, height: int, dark: bool = False) -> Path:
        """Draw the page as a PNG file of its width."""
        frame = self.folder / "shot.html"
        frame.write_text(
            f'<!doctype html><body style="margin:0"><iframe src="{page.as_uri()}" style="border:0;width:{width}px;'
            f'height:{height}px"></iframe>'
        )
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        size = f"--window-size={max(width, 500)},{height}"
        self._run("--virtual-time-budget=8000", *scheme, size, f"--screenshot={to}", frame.as_uri())
        return to

    def _run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
        command += ["--hide-scrollbars", f"--user-data-dir={self.folder / 'profile'}", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture
def browser(tmp_path):
    """The browser of this machine; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium on this machine: install Debian's `chromium`")
    return Browser(program, tmp_path)
