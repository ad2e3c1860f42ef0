"""Where tasks run: processes here, or a Ray or Dask cluster, all through joblib.

A task is a function of small arguments: paths and numbers. What it makes it writes down itself, so that a worker that
dies loses no more than what it was at.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from backtest.errors import SettingsError, WorkerError

__all__ = ["ENGINES", "Run", "open_engine"]

ENGINES = ("local", "ray", "dask")
ROUND = 2
"""Tasks a worker in each round, on an engine that tells of its results all at once."""

Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterable[Any]]
"""Takes a function and the arguments of each task; gives results as they come, in any order."""


@contextmanager
def open_engine(engine: str, *, n_jobs: int | None = None) -> Iterator[Run]:
    """Open an engine for as long as tasks are run on it.

    Args:
        engine: "local"; "ray://HOST:PORT" of a Ray cluster's head, or "ray://auto" for the one of this machine;
            "dask://HOST:PORT" of a Dask scheduler. Workers need this library, and to see the folder of the sweep.
        n_jobs: processes of the local engine, tasks at a time on a cluster; None takes all there are.

    Raises:
        SettingsError: there is no such engine, it is not installed, or cannot be reached.
    """
    if engine == "local":
        yield _local(n_jobs or os.cpu_count() or 1)
        return
    parts = urlsplit(engine)
    if parts.scheme not in ENGINES or not parts.netloc:
        raise SettingsError(
            f'engine is {engine!r}: give "local", "ray://HOST:PORT" (or "ray://auto") or "dask://HOST:PORT"'
        )
    opened = _ray if parts.scheme == "ray" else _dask
    with opened(parts.netloc, n_jobs) as run:
        yield run


def _local(n_jobs: int) -> Run:
    def run(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        from joblib import Parallel, delayed
        from joblib.externals.loky.process_executor import BrokenProcessPool

        try:
            yield from Parallel(n_jobs=min(n_jobs, len(arguments)), return_as="generator_unordered")(
                delayed(task)(*given) for given in arguments
            )
        except BrokenProcessPool as error:
            raise WorkerError(f"a process died: {_first_line(error)}") from error

    return run


@contextmanager
def _ray(address: str, n_jobs: int | None) -> Iterator[Run]:
    try:
        import ray
        from ray.exceptions import RayActorError, WorkerCrashedError
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise SettingsError('engine ray:// needs Ray: install "aligned-backtest[ray]"') from error
    from joblib import Parallel, delayed, parallel_config

    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise SettingsError(
                f"engine ray://{address}: no Ray cluster answers there: {_first_line(error)}"
            ) from error
    register_ray()
    workers = n_jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def run(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        for first in range(0, len(arguments), ROUND * workers):
            part = arguments[first : first + ROUND * workers]
            try:
                with parallel_config(backend="ray", n_jobs=min(workers, len(part))):
                    yield from Parallel(batch_size=1, pre_dispatch="all")(delayed(task)(*given) for given in part)
            except (RayActorError, WorkerCrashedError) as error:
                raise WorkerError(f"a Ray worker died: {_first_line(error)}") from error

    try:
        yield run
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _dask(address: str, n_jobs: int | None) -> Iterator[Run]:
    try:
        from dask.distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise SettingsError('engine dask:// needs Dask: install "aligned-backtest[dask]"') from error
    from joblib import Parallel, delayed, parallel_config

    try:
        client = Client(address, timeout="10s", set_as_default=True)
    except (OSError, TimeoutError) as error:
        raise SettingsError(f"engine dask://{address}: no Dask scheduler answers: {_first_line(error)}") from error

    def run(task: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        try:
            with parallel_config(backend="dask", n_jobs=n_jobs or -1):
                yield from Parallel(batch_size=1, pre_dispatch="all", return_as="generator_unordered")(
                    delayed(task)(*given) for given in arguments
                )
        except KilledWorker as error:
            raise WorkerError(f"a Dask worker died: {_first_line(error)}") from error

    with client:
        yield run


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
