"""Dask clusters: on this machine, at an address, or of a scheduler of jobs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, KilledWorker, LocalCluster
from distributed.comm.core import CommClosedError
from distributed.core import rpc
from distributed.security import Security

from infra.settings import Settings
from irnet_core.errors import IRNetError

# Workers are processes of one thread each: numerical libraries must not start their own.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


# Dask has its workers return freed memory at once, which makes them fetch every array anew, page by
# page: a seventh of a network's time. glibc, left alone, would come to keep about as much as this.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": 256 << 20, "MALLOC_MMAP_THRESHOLD_": 32 << 20}
_NATIVE = {f"distributed.nanny.pre-spawn-environ.{k}": size for k, size in _ALLOCATOR.items()}

#: So many workers of tasks in native code are threads; Python's lock would hold up more of them.
FEW = 4

# Workers start processes of their own to isolate rows (infra.isolation), so they are no daemons.
# Dask's profiler looks at the frames of running threads a hundred times a second, which nobody asks
# for; in Python 3.11 it finds broken ones, which can end a worker (dask/distributed, issue 8163).
_EVERYWHERE = {"distributed.worker.daemon": False, "distributed.worker.profile.enabled": False}

#: Clusters that the settings may name: package, class. All are scaled to ``dask_workers``.
CLUSTERS = {
    "htcondor": ("dask_jobqueue", "HTCondorCluster"),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster"),
    "lsf": ("dask_jobqueue", "LSFCluster"),
    "pbs": ("dask_jobqueue", "PBSCluster"),
    "sge": ("dask_jobqueue", "SGECluster"),
    "slurm": ("dask_jobqueue", "SLURMCluster"),
}


@contextmanager
def dask_client(
    settings: Settings,
    most_workers: int | None = None,
    native: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Client]:
    """Client of the Dask cluster in the settings, by default one on this machine.

    Call it from a flow's process, once per stage; a cluster that it started ends with it.

    Parameters
    ----------
    settings : Settings
    most_workers : int, optional
        No more workers than this, e.g. the number of partitions.
    native : bool
        The tasks spend their time in torch and numpy, which release Python's lock, and can share
        memory. On this machine up to :data:`FEW` workers are then threads of this process, which
        start at once and hold what they read once; tasks take :func:`infra.threads.one_thread`.
    say : callable, optional
        Told that the cluster has no worker yet, which work then waits for.

    Raises
    ------
    IRNetError
        If no scheduler answers, or the named cluster cannot be started.
    """
    # a cluster's comings and goings are no news; its errors reach us as exceptions
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if settings.dask_address:
        with _running(settings.dask_address) as client:
            _say_who_is_missing(client, f"the scheduler at {settings.dask_address}", say)
            yield client
        return
    configuration: dict[str, int] = _EVERYWHERE | (_NATIVE if native else {})
    with dask.config.set(configuration):
        if settings.dask_cluster == "local":
            made = _local(settings, most_workers, native)
        else:
            made = _named(settings, most_workers)
        with made as cluster, _client(cluster) as client:
            _say_who_is_missing(client, f"the cluster {settings.dask_cluster!r}", say)
            yield client


@contextmanager
def cluster_errors(part: str, during: str, again: str, raised: str | None = None) -> Iterator[None]:
    """Turn the end of workers, or of the scheduler, into a sentence.

    Parameters
    ----------
    part : str
        What a worker works on, such as ``"one shard"``.
    during : str
        When the scheduler was lost, such as ``"during the screen"``.
    again : str
        What to do next, and what is kept then.
    raised : str, optional
        The same where the memory of workers has been raised, if that is something else.

    Raises
    ------
    IRNetError
        If a worker has died too often, or the scheduler is gone.
    """
    try:
        yield
    except KilledWorker as error:
        raise IRNetError(
            f"a Dask worker died again and again on {part}: raise IRNET_DASK_MEMORY_LIMIT and "
            f"{raised or again}"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise IRNetError(f"the Dask scheduler was lost {during}: start it and {again}") from error


def _client(address: Any) -> Client:
    return Client(address, set_as_default=False)


def _say_who_is_missing(client: Client, cluster: str, say: Callable[[str], None]) -> None:
    if not client.scheduler_info()["workers"]:
        say(f"{cluster} has no Dask worker yet: waiting for one to start")


def _running(address: str) -> Client:
    """Client of a scheduler at an address, once it is sure that one is there."""
    try:
        kind = asyncio.run(_kind(address))
    except (OSError, ValueError) as error:  # nobody there, somebody else, or no address at all
        raise IRNetError(
            f"no Dask scheduler answers at {address}: start it, or unset IRNET_DASK_ADDRESS"
        ) from error
    if kind != "Scheduler":
        raise IRNetError(
            f"the Dask process at {address} is a {kind.lower()}: name the scheduler's own address "
            "in IRNET_DASK_ADDRESS"
        )
    return _client(address)


async def _kind(address: str) -> str:
    """What a Dask process says it is; Dask's own client waits for ever where a web server is."""
    seconds = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
    async with asyncio.timeout(seconds):
        connection = Security().get_connection_args("client")
        async with rpc(address, connection_args=connection) as process:
            identity = await process.identity()
    return str(identity["type"])


def _local(settings: Settings, most_workers: int | None, native: bool) -> LocalCluster:
    workers = settings.dask_workers or os.cpu_count() or 1
    workers = max(1, min(workers, most_workers or workers))
    if native and workers <= FEW:
        return LocalCluster(
            n_workers=1,
            threads_per_worker=workers,
            processes=False,
            memory_limit=0,  # Dask would count this whole process
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    with _without_allocator():
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=int(settings.dask_memory_limit),
            dashboard_address="127.0.0.1:0",  # any free port, and for this machine alone
            silence_logs=logging.CRITICAL,
            env=_ONE_THREAD,
        )


@contextmanager
def _without_allocator() -> Iterator[None]:
    """Dask leaves what it told earlier workers in the environment, which then has the last word."""
    before = {name: os.environ[name] for name in _ALLOCATOR if name in os.environ}
    if before.get("MALLOC_TRIM_THRESHOLD_") == "65536":  # Dask's; a user's own choice stands
        del os.environ["MALLOC_TRIM_THRESHOLD_"]
    try:
        yield
    finally:
        for name in _ALLOCATOR:
            os.environ.pop(name, None)
        os.environ.update(before)


def _named(settings: Settings, most_workers: int | None) -> Any:
    """A cluster of :data:`CLUSTERS` with the options in the settings, scaled."""
    name = settings.dask_cluster
    package, class_name = CLUSTERS[name]
    try:
        made = getattr(import_module(package), class_name)
    except ImportError as error:
        raise IRNetError(
            f"the cluster {name!r} needs {package.partition('.')[0]}, which is not installed: pip "
            "install 'irnet-screening[clusters]', or unset IRNET_DASK_CLUSTER"
        ) from error
    workers = settings.dask_workers or 1
    options = _worker_environment(name, settings.dask_cluster_options)
    try:
        cluster = made(**options)
        cluster.scale(max(1, min(workers, most_workers or workers)))
    # each kind of cluster has exceptions of its own, of its scheduler's or its client's library
    except Exception as error:
        reason = " ".join(str(error).split())
        raise IRNetError(
            f"the cluster {name!r} cannot be started ({type(error).__name__}: {reason}): correct "
            "IRNET_DASK_CLUSTER_OPTIONS or Dask's own configuration of it"
        ) from error
    return cluster


def _worker_environment(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options with what workers elsewhere need in their environment."""
    told = {f"DASK_{k.replace('.', '__').upper()}": str(v) for k, v in _EVERYWHERE.items()}
    variables = {**_ONE_THREAD, **told}
    if name == "kubernetes":
        return {**options, "env": {**variables, **options.get("env", {})}}
    exports = [f"export {key}={value}" for key, value in variables.items()]
    return {**options, "job_script_prologue": [*exports, *options.get("job_script_prologue", [])]}
