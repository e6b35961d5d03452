"""Real Dask clusters: local, by address, and through a batch system that runs jobs at once."""

import os
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import dask
import pytest
import torch
from distributed import LocalCluster

from infra.compute import CLUSTERS, dask_client
from infra.settings import Settings
from infra.threads import one_thread
from irnet_core.errors import IRNetError

SBATCH = """#!/bin/sh
# hands out a number, keeps the script and runs it in the background
cp "$1" "$JOBS/script-$$"
setsid sh "$JOBS/script-$$" > "$JOBS/log-$$" 2>&1 &
echo $! > "$JOBS/pid-$$"
echo "Submitted batch job $$"
"""
SCANCEL = """#!/bin/sh
touch "$JOBS/cancelled-$1"
kill -- -$(cat "$JOBS/pid-$1")
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder of jobs, and ``sbatch`` and ``scancel`` that run them on this machine."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(jobs))
    return jobs


def _way():
    """A function that says whether its process is a daemon and profiled; sent by value."""

    def way():
        import multiprocessing

        from distributed import get_worker

        return (
            multiprocessing.current_process().daemon,
            "profile" in get_worker().periodic_callbacks,
        )

    return way


def test_local_workers_may_have_children_and_are_not_profiled():
    settings = Settings(dask_workers=2, dask_memory_limit="1GiB")
    with dask_client(settings, most_workers=1) as client:
        (worker,) = client.scheduler_info()["workers"].values()
        assert (worker["nthreads"], worker["memory_limit"]) == (1, 2**30)
        assert client.submit(_way()).result() == (False, False)


def test_few_workers_of_native_tasks_are_threads_of_this_process():
    with dask_client(Settings(dask_workers=2), native=True) as client:
        assert sum(client.nthreads().values()) == 2
        assert client.submit(os.getpid).result() == os.getpid()


def test_more_of_them_are_processes_that_keep_their_memory(monkeypatch):
    monkeypatch.setattr("infra.compute.FEW", 1)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")  # as earlier workers of Dask leave it
    with dask_client(Settings(dask_workers=2), most_workers=2, native=True) as client:
        pids = client.run(os.getpid).values()
        limits = client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()
    assert len({os.getpid(), *pids}) == 3
    assert [*limits] == [str(256 << 20)] * 2


def test_one_thread_for_a_while():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    with one_thread():
        assert torch.get_num_threads() == 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_slurm(slurm):
    settings = Settings(
        dask_cluster="slurm",
        dask_workers=1,
        dask_cluster_options={
            "cores": 1,
            "memory": "1GB",
            "queue": "normal",
            "python": sys.executable,
            "job_script_prologue": ["export HERE=1"],
            "local_directory": str(slurm),
        },
    )
    with dask_client(settings) as client:
        threads = client.submit(os.getenv, "OMP_NUM_THREADS").result(timeout=60)
        assert client.submit(_way()).result(timeout=60) == (False, False)
    assert threads == "1"
    (script,) = slurm.glob("script-*")
    assert {"#SBATCH -p normal", "export HERE=1"} <= set(script.read_text().splitlines())
    assert len(list(slurm.glob("cancelled-*"))) == 1


@pytest.mark.parametrize("options", [{}, {"cores": 1, "memory": "1GB", "nonsense": 1}])
def test_a_cluster_that_cannot_be_started(options):
    settings = Settings(dask_cluster="slurm", dask_cluster_options=options)
    with (
        pytest.raises(IRNetError, match=r"'slurm' cannot be started .* IRNET_DASK_CLUSTER_OPTIONS"),
        dask_client(settings),
    ):
        pass


def test_a_cluster_whose_package_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", None)
    with (
        pytest.raises(IRNetError, match=r"needs dask_kubernetes, .*irnet-screening\[clusters\]"),
        dask_client(Settings(dask_cluster="kubernetes")),
    ):
        pass


def test_each_named_cluster_is_offered_by_the_settings():
    offered = Settings.model_fields["dask_cluster"].annotation.__args__
    assert sorted(offered) == sorted(["local", *CLUSTERS])


def test_by_address():
    with dask_client(Settings(dask_workers=1)) as theirs:
        with dask_client(Settings(dask_address=theirs.scheduler.address)) as client:
            assert client.submit(sum, [1, 2]).result() == 3
        assert len(theirs.scheduler_info()["workers"]) == 1  # it is not ours to end


def test_nobody_answers():
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(IRNetError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9: start"),
        dask_client(Settings(dask_address="tcp://127.0.0.1:9")),
    ):
        pass


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web_server():
    """A server that speaks HTTP alone, as Dask's own dashboard does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_somebody_else_answers(web_server):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(IRNetError, match=r"no Dask scheduler answers at tcp://127.0.0.1:\d+: start"),
        dask_client(Settings(dask_address=web_server)),
    ):
        pass


def test_a_worker_is_no_scheduler():
    with dask_client(Settings(dask_workers=1)) as theirs:
        (worker,) = theirs.scheduler_info()["workers"]
        with (
            pytest.raises(IRNetError, match=f"the Dask process at {worker} is a worker: name"),
            dask_client(Settings(dask_address=worker)),
        ):
            pass


def test_who_waits_for_workers_is_told():
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        heard = []
        address = cluster.scheduler_address
        with dask_client(Settings(dask_address=address), say=heard.append) as client:
            assert heard == [
                f"the scheduler at {address} has no Dask worker yet: waiting for one to start"
            ]
            cluster.scale(1)
            assert client.submit(sum, [1, 2]).result() == 3
