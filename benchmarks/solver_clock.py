"""One core for everybody, a clock that other programs on the machine do not move, and the peak of memory.

Some peers start threads of their own whatever they are told, so the process is pinned to one core where the system
allows it. Time is then processor time of that core: what other programs take of it does not count.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["describe_clock", "on_one_core", "peak_memory", "timed"]

Result = TypeVar("Result")

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
CAN_PIN = hasattr(os, "sched_setaffinity")


def on_one_core() -> None:
    """Pin this process to one core, and start it again with one thread in every library if need be.

    Libraries read these variables when they are first imported, which is before any line of a script runs.
    """
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **ONE_THREAD})
    if CAN_PIN:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def describe_clock() -> str:
    """Say what a time is."""
    if CAN_PIN:
        return "1 thread a library, process pinned to 1 core; times are processor time of that core"
    return "1 thread a library, process not pinned (no sched_setaffinity here); times are wall time"


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what `work` returns and the seconds it took."""
    clock = time.process_time if CAN_PIN else time.perf_counter
    start = clock()
    result = work()
    return result, clock() - start


def peak_memory(work: Callable[[], Result]) -> tuple[Result, float | None]:
    """Return what `work` returns and the MB by which the resident memory of the process peaked above its start.

    Native memory counts too. None where the system cannot reset the peak (Linux can).
    """
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not (reset.exists() and os.access(reset, os.W_OK)):
        return work(), None
    gc.collect()
    # Freed memory that the allocator keeps would hide what `work` takes.
    ctypes.CDLL(None).malloc_trim(0)
    reset.write_text("5")
    before = _status_mb(status, "VmRSS")
    result = work()
    return result, max(0.0, _status_mb(status, "VmHWM") - before)


def _status_mb(status: Path, name: str) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
