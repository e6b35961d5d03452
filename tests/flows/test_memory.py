"""Memory is bounded by the partition, not by the data: peaks of real processes, measured."""

import time

import psutil
import pyarrow.parquet as pq
import pytest
from thorough import few_or_all

from infra.snapshots.snapshot import build_snapshot
from infra.sources import TableFile
from infra.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
GB = 1e9


def peaks(process):
    """Peak resident memory in bytes: of the client, and of a worker with its isolated process."""
    client = worker = 0
    top = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            client = max(client, top.memory_info().rss)
            for child in top.children():
                family = [child, *child.children()]
                worker = max(worker, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.05)
    return client, worker


def test_many_formulas(irnet_process, store, tmp_path):
    amounts = range(1, 41)
    pairs = [(a, b) for a in ("Li", "Mg", "Fe", "Cu", "La", "Bi") for b in ("O", "F", "S", "Cl")]
    triples = [
        (a, b, c) for a, b in pairs for c in ("N", "P", "Se", "I", "H", "C", "Te", "Si", "B")
    ]
    formulas = [f"{a}{i}{b}{j}{c}2" for a, b, c in triples for i in amounts for j in amounts]
    n = few_or_all(120_000, 340_000)
    (tmp_path / "many.csv").write_text("formula\n" + "\n".join(formulas[:n]))
    assert build_snapshot(TableFile(tmp_path / "many.csv"), Store(store)).rows == n
    process = irnet_process(store, "featurize", "latest", IRNET_DASK_WORKERS="2")
    client, worker = peaks(process)
    assert process.returncode == 0, process.communicate()
    assert client < 1.0 * GB
    assert worker < 1.5 * GB


def test_many_structures(irnet_process, store, shared_data, tmp_path):
    rows = pq.read_table(shared_data / "structures" / "mp20.parquet")
    rows = rows.slice(0, few_or_all(6000, len(rows)))
    pq.write_table(rows, tmp_path / "some.parquet")
    build_snapshot(TableFile(tmp_path / "some.parquet"), Store(store))
    command = ["featurize", "latest", "--features", "both"]
    process = irnet_process(store, *command, IRNET_DASK_WORKERS="2")
    client, worker = peaks(process)
    assert process.returncode == 0, process.communicate()
    features = Store(store).open("features/latest").manifest
    assert features.rows + features.counts["failed"] == len(rows)
    assert client < 1.0 * GB
    assert worker < 1.5 * GB
