"""A pulling process is killed, or runs out of disk: the next one goes on where it was."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from standins.disk import small_disk
from standins.plain import PlainDatabase, PlainStandIn

from infra.snapshots.snapshot import build_snapshot
from infra.store import Store
from irnet_core.errors import StoreError

pytestmark = pytest.mark.timeout(300)
REPOSITORY = Path(__file__).parents[3]
UNITS = 6

#: Forks a process per pull, so that no time goes into imports; says its id, then what it made.
PULLS = """
import os, sys
sys.path[:0] = ["tests"]
from infra.snapshots.snapshot import build_snapshot
from infra.store import Store
from standins.plain import PlainDatabase

for line in sys.stdin:
    url, root = line.split()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, build_snapshot(PlainDatabase(url), Store(root)).id.encode())
        os._exit(0)
    os.close(write)
    print(child, flush=True)
    os.waitpid(child, 0)
    print(os.read(read, 100).decode() or "killed", flush=True)
    os.close(read)
"""


def units_asked(requests):
    return {request.params["unit"] for request in requests if request.path == "/rows"}


def test_killed_at_ten_random_moments(tmp_path, quick):
    quick(http_timeout_s=20)  # on a busy machine
    rng = random.Random(4)
    command = [sys.executable, "-c", PULLS]
    pipe = subprocess.PIPE
    with (
        PlainStandIn(rows=1200, units=UNITS) as server,
        subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def pull(root, most=None):
            """Pull, and kill the process a little after so many requests."""
            before = len(server.requests)
            process.stdin.write(f"{server.url} {tmp_path / root}\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            if most is not None:
                while len(server.requests) < before + most:
                    time.sleep(0.001)
                time.sleep(0.02 * rng.random() if most < len(requests) else 0)
                os.kill(pid, signal.SIGKILL)
            return process.stdout.readline().strip(), server.requests[before:]

        whole, requests = pull("whole")
        assert len(units_asked(requests)) == UNITS
        moments = [*(rng.randrange(len(requests)) for _ in range(9)), len(requests)]
        kept = []
        for n, moment in enumerate(moments):
            said, before = pull(f"s{n}", moment)
            assert said == "killed"
            store = Store(tmp_path / f"s{n}")
            assert store.list() == []
            assert store.names("snapshots") == {}
            resumed, after = pull(f"s{n}")
            assert resumed == whole
            assert store.verify(whole) == []
            assert store.open("latest").id == whole
            # again comes what was under way, and the first one that is kept, to be compared
            assert len(units_asked(before) & units_asked(after)) <= 2
            assert units_asked(before) | units_asked(after) == units_asked(requests)
            kept.append(UNITS - len(units_asked(after)))
        process.stdin.close()
    assert len(set(kept)) >= 4
    assert kept[-1] == UNITS - 1


@pytest.mark.parametrize("kibibytes", [8, 45, 100])
def test_disk_full(tmp_path, quick, kibibytes):
    settings = quick()
    with PlainStandIn(rows=30_000, units=5) as server:
        database = PlainDatabase(server.url, settings=settings, page_size=2000, most_page_size=2000)
        whole = build_snapshot(database, Store(tmp_path / "whole"))
        with small_disk(tmp_path / "disk", kibibytes) as lift:
            store = Store(tmp_path / "disk" / "store")
            before = len(server.requests)
            with pytest.raises(StoreError, match="cannot write .*: (No space left|File too large)"):
                build_snapshot(database, store)
            first = units_asked(server.requests[before:])
            assert len(first) == 1 or kibibytes > 8
            assert store.list() == []
            assert store.names("snapshots") == {}
            temporary = [p.name for p in (tmp_path / "disk").rglob("*") if "tmp" in p.name]
            assert temporary == []
            lift()
            before = len(server.requests)
            assert build_snapshot(database, store).id == whole.id
            assert len(first & units_asked(server.requests[before:])) <= 2
            assert store.verify(whole.id) == []
