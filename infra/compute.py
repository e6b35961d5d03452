"""Dask clusters and threads: what the machine may use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, LocalCluster

from infra.settings import Settings
from irnet_core.errors import IRNetError

# Workers are processes of one thread each: numerical libraries must not start their own.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@contextmanager
def dask_client(settings: Settings, most_workers: int | None = None) -> Iterator[Client]:
    """Client of the Dask cluster in the settings, by default one on this machine.

    Call it from a flow's process, once per stage; a cluster that it started ends with it.

    Parameters
    ----------
    settings : Settings
    most_workers : int, optional
        No more local workers than this, e.g. the number of partitions.
    """
    # a cluster's comings and goings are no news; its errors reach us as exceptions
    logging.getLogger("distributed").setLevel(logging.ERROR)
    if settings.dask_address:
        with _running(settings.dask_address) as client:
            yield client
        return
    workers = settings.dask_workers or os.cpu_count() or 1
    with (
        LocalCluster(
            n_workers=max(1, min(workers, most_workers or workers)),
            threads_per_worker=1,
            processes=True,
            memory_limit=settings.dask_memory_limit,
            dashboard_address="127.0.0.1:0",  # any free port, and for this machine alone
            silence_logs=logging.ERROR,
            env=_ONE_THREAD,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _running(address: str) -> Client:
    try:
        return Client(address, set_as_default=False)
    except OSError as error:
        raise IRNetError(
            f"no Dask scheduler answers at {address}: start it, or unset IRNET_DASK_ADDRESS"
        ) from error


def use_threads(settings: Settings) -> int:
    """Set and return the number of threads that torch uses in this process."""
    import torch  # heavy, and only the stages with a network need it

    if settings.threads:
        torch.set_num_threads(settings.threads)
    return torch.get_num_threads()
