"""A process is killed with SIGKILL before every single change it makes to the disk."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.store import Store

pytestmark = pytest.mark.timeout(300)  # many processes, on a busy machine
REPOSITORY = Path(__file__).parents[2]

WORK = """
import json, os, signal, sys
import pyarrow as pa
from infra.store import Store, request_digest

def work(root, value):
    store = Store(root)
    request = request_digest("features", {}, {"value": value})
    if found := store.find("features", request):
        return found
    with store.staging("features", request) as staging:
        if not staging.has("part.parquet"):
            staging.write_table("part.parquet", pa.table({"n": [value, 1]}))
        staging.write_table("data.parquet", staging.read_table("part.parquet"))
        return store.publish(staging, ["data.parquet"], what="x", rows=2, names=["it"])
"""

EVERY_STEP = (
    WORK
    + """
STEPS = ("fsync", "replace", "rename", "remove", "rmdir", "unlink", "mkdir")

def die_at(step):
    left = [step]
    def watched(real):
        def call(*args, **kwargs):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*args, **kwargs)
        return call
    for name in STEPS:
        setattr(os, name, watched(getattr(os, name)))

def states(root):
    '''What a reader finds, or what is wrong.'''
    store = Store(root)
    return [(m.id, store.verify(m.id)) for m in store.list()]

results = []
for step in range(200):
    root = os.path.join(sys.argv[1], str(step))
    if sys.argv[2] == "damaged":
        open(os.path.join(root, "features", work(root, 7).id, "data.parquet"), "wb").close()
    child = os.fork()
    if child == 0:
        die_at(step)
        work(root, 7)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    visible = states(root)
    names = Store(root).names("features")
    again = work(root, 7)
    store = Store(root)
    results.append({
        "killed": killed,
        "visible": visible,
        "names": names,
        "id": again.id,
        "sha256": again.files["data.parquet"].sha256,
        "after": states(root),
        "named": store.open("it").id,
        "found": store.find("features", again.request) is not None,
        "left": sorted(
            os.path.relpath(os.path.join(folder, file), root)
            for folder, _, files in os.walk(root) for file in files
            if not (os.path.basename(folder) == "features" and file.startswith(".tmp-"))
        ),
    })
    if not killed:
        break
print(json.dumps(results))
"""
)

LOOP = (
    WORK
    + """
for value in range(100000):
    work(sys.argv[1], value)
    print(value, flush=True)
"""
)


def run(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("there", ["nothing", "damaged"])
def test_killed_at_every_step(tmp_path, there):
    with run(EVERY_STEP, str(tmp_path), there) as process:
        assert process.stdout is not None
        results = json.loads(process.stdout.read())
    assert process.returncode == 0
    *killed, whole = results
    assert not whole["killed"]
    assert all(result["killed"] for result in killed)
    assert len(killed) > 20
    for result in results:
        # before the rerun: what was there, nothing, or the artifact as it should be
        assert result["visible"] in ([], [[whole["id"], []]]) or (
            there == "damaged" and result["visible"][0][1]
        )
        assert set(result["names"].values()) <= {whole["id"]}
        assert there == "damaged" or not result["names"] or result["visible"]
        # after it: the same files, byte for byte, and nothing else
        assert result["after"] == [[whole["id"], []]]
        assert (result["id"], result["sha256"]) == (whole["id"], whole["sha256"])
        assert result["named"] == whole["id"]
        assert result["found"]
        assert result["left"] == whole["left"]
    assert any(not result["visible"] for result in killed)
    assert any(result["visible"] for result in killed)


def test_killed_at_random_moments(tmp_path):
    rng = random.Random(0)
    for _ in range(3):
        with run(LOOP, str(tmp_path)) as process:
            assert process.stdout is not None
            for value in range(5):
                assert process.stdout.readline() == f"{value}\n"
            time.sleep(0.1 * rng.random())
            process.send_signal(signal.SIGKILL)
    store = Store(tmp_path)
    manifests = store.list()
    assert len(manifests) >= 5
    assert len(manifests) == len(list((tmp_path / "features").iterdir()))
    assert [problem for m in manifests for problem in store.verify(m.id)] == []
    for name, id_ in store.names("features").items():
        assert store.open(name, "features").id == id_
