"""Sweeps on real clusters: tasks run on the workers, one of which is killed, and the table is that of this machine."""

from __future__ import annotations

import os
import signal
import sys

import pandas as pd
import pytest

from backtest.errors import SettingsError
from backtest.sweep import Sweep, run_sweep
from backtest.sweep.workplace import Workplace

SWEEP = Sweep.of(
    {
        "run": {
            "dataset": "sp500-20",
            "frequency": "M",
            "objectives": ["squared", "whitened"],
            "seeds": 1,
            "walk_forward": {"train": 120, "validation": 24, "test": 20},
            "training": {"epochs": 1, "hidden": [], "holding_periods": [2.0], "shrinkage": [1.0]},
        },
        "costs": {"low": {"half_spread": 2}, "high": {"half_spread": 20}},
    }
)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return run_sweep(SWEEP, tmp_path_factory.mktemp("local"), n_jobs=1)


def killing(place, killed):
    """Return a report that kills the worker of the first window that is finished, with SIGKILL."""

    def report(what, done, total, table):
        files = sorted(place.folder.glob("fits/*/*.npz"))
        if files and not killed:
            cell, number = files[0].parent.name, int(files[0].stem.split("-")[1])
            killed.append(int(place.worker_of(cell, number).split(":")[1]))
            os.kill(killed[0], signal.SIGKILL)

    return report


def workers_of(place):
    return {
        int(place.worker_of(file.parent.name, int(file.stem.split("-")[1])).split(":")[1])
        for file in place.folder.glob("fits/*/*.npz")
    }


@pytest.mark.slow
def test_a_dask_cluster_that_loses_a_worker_gives_the_same_table(local, tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    killed: list[int] = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        pids = {worker.pid for worker in cluster.workers.values()}
        address = cluster.scheduler_address.removeprefix("tcp://")
        table = run_sweep(SWEEP, tmp_path, engine=f"dask://{address}", report=killing(Workplace(tmp_path), killed))

    pd.testing.assert_frame_equal(table, local, check_exact=True)
    used = workers_of(Workplace(tmp_path))
    assert killed[0] in pids
    assert os.getpid() not in used
    assert len(used) >= 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Ray's test cluster starts its nodes on Linux")
def test_a_ray_cluster_that_loses_a_worker_gives_the_same_table(local, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    killed: list[int] = []
    node = {"num_cpus": 1, "object_store_memory": 100 * 1024 * 1024, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(**node)
        cluster.wait_for_nodes()
        table = run_sweep(
            SWEEP, tmp_path, engine=f"ray://{cluster.address}", report=killing(Workplace(tmp_path), killed)
        )
    finally:
        cluster.shutdown()

    pd.testing.assert_frame_equal(table, local, check_exact=True)
    used = workers_of(Workplace(tmp_path))
    assert killed
    assert os.getpid() not in used
    assert len(used) >= 2


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_named(tmp_path):
    pytest.importorskip("distributed", reason="Dask is not installed")
    with pytest.raises(SettingsError, match=r"dask://127\.0\.0\.1:1: no Dask scheduler answers"):
        run_sweep(SWEEP, tmp_path, engine="dask://127.0.0.1:1")
