"""Run the notebooks and keep what they print and draw.

    python notebooks/execute.py [NAME ...]

All of them without a name. Each runs from clean, in an interpreter and an empty working
directory of its own, so that nothing is left behind and nothing is found that a reader
would lack. Every plotly figure is kept twice, as it is and as a picture, because code
hosts show no plotly. Pictures are drawn afterwards, by one Chromium; without one nothing
is written. A notebook's file is there whole or as it was before.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from backtest.whole_files import write_text

__all__ = ["PLOTLY", "add_pictures", "notebooks_named", "run_notebook", "tidy"]

HERE = Path(__file__).parent
PLOTLY = "application/vnd.plotly.v1+json"
CELL_SECONDS = 300
PICTURE_WIDTH = 860  # pixels; about what code hosts show
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class ThisInterpreter(KernelSpecManager):
    """Starts the Python that runs this script, whatever kernels the machine knows of."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The kernel of this interpreter, under any name."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def run_notebook(notebook: NotebookNode) -> tuple[NotebookNode, float]:
    """Return a copy of the notebook with new outputs, and the seconds it took.

    The start of the kernel is counted.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as place:
        work, home = Path(place, "work"), Path(place, "ipython")
        work.mkdir()
        environment = {
            **os.environ,
            "IPYTHONDIR": str(home),  # no history is kept
            "PLOTLY_RENDERER": "plotly_mimetype",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a warning about debugging
            "PYTHONWARNINGS": "default",  # what a reader would see
        }
        manager = AsyncKernelManager(
            kernel_spec_manager=ThisInterpreter(),
            connection_file=str(Path(place, "kernel.json")),
            transport="ipc" if os.name == "posix" else "tcp",  # nobody else can listen
        )
        client = NotebookClient(
            copy,
            km=manager,
            timeout=CELL_SECONDS,
            resources={"metadata": {"path": str(work)}},
            record_timing=False,
        )
        client.owns_km = True  # so that it ends the kernel
        started = time.perf_counter()
        client.execute(env=environment)
        seconds = time.perf_counter() - started
    return tidy(copy), seconds


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Take out what depends on the machine and the day; name cells by their place."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for place, cell in enumerate(notebook.cells, start=1):
        cell.id, cell.metadata = f"cell-{place}", {}
        if "outputs" in cell:
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = {}
    return notebook


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs, what was printed in one piece: a kernel cuts it anywhere."""
    whole: list[NotebookNode] = []
    for output in outputs:
        name = output.get("name")
        if whole and name is not None and whole[-1].get("name") == name:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def figures_of(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the data of each output that is a plotly figure."""
    data = [
        output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    return [each for each in data if PLOTLY in each]


def add_pictures(notebook: NotebookNode) -> None:
    """Put a PNG beside every plotly figure. `kaleido` is running already."""
    for data in figures_of(notebook):
        data["image/png"] = base64.b64encode(picture(data[PLOTLY])).decode()


def picture(figure: dict[str, Any]) -> bytes:
    """Draw a figure, as plotly wrote it for a notebook, on white."""
    import kaleido
    import plotly.graph_objects as go
    from PIL import Image

    drawn = go.Figure({"data": figure["data"], "layout": figure["layout"]})
    size = {
        "width": drawn.layout.width or PICTURE_WIDTH,
        "height": drawn.layout.height or 450,
    }
    drawn_as = {"format": "png", "scale": 1, **size}
    image = Image.open(io.BytesIO(kaleido.calc_fig_sync(drawn.to_dict(), opts=drawn_as)))
    small = io.BytesIO()
    # A chart has few colours: with a palette it is a third as large.
    image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
        small, "png", optimize=True
    )
    return small.getvalue()


def notebooks_named(names: list[str]) -> list[Path]:
    """Return the files of notebooks named by number, name or path; all without a name."""
    files = sorted(HERE.glob("[0-9]*.ipynb"))
    if not names:
        return files
    chosen = []
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        found = [
            file for file in files if file.stem == stem or file.stem.split("_")[0] == stem
        ]
        if len(found) != 1:
            sys.exit(
                f"{name}: no such notebook: there are {', '.join(f.stem for f in files)}"
            )
        chosen += found
    return chosen


def main(names: list[str]) -> None:
    """Execute notebooks in place, and say how long each took."""
    import kaleido
    from choreographer.browsers.chromium import Chromium

    files = notebooks_named(names)
    if not (os.environ.get("BROWSER_PATH") or Chromium.find_browser(skip_local=False)):
        sys.exit(
            "no Chromium to draw the pictures with, so that nothing was executed: "
            "install one, or set BROWSER_PATH"
        )
    kaleido.start_sync_server(silence_warnings=True)
    try:
        for file in files:
            notebook, seconds = run_notebook(nbformat.read(file, as_version=4))
            add_pictures(notebook)
            nbformat.validate(notebook)
            text = nbformat.writes(notebook).rstrip("\n") + "\n"
            write_text(file, text)
            drawn = len(figures_of(notebook))
            print(f"{file.name}: {seconds:.1f} s, {drawn} figures, {len(text) // 1000} kB")
    finally:
        kaleido.stop_sync_server(silence_warnings=True)


if __name__ == "__main__":
    main(sys.argv[1:])
