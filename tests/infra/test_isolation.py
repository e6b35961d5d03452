"""Real processes that hang, die and eat memory."""

import multiprocessing
import subprocess
import sys
import time

import psutil
import pytest
from standins.rows import isolate, slow_start, work

from featurizers.rows import Failure
from infra.isolation import Isolated

GIB = 2**30


@pytest.mark.parametrize(
    ("row", "failure"),
    [
        ("sleep", Failure("time limit", "it took longer than 0.5 s")),
        ("spin", Failure("time limit", "it took longer than 0.5 s")),
        ("die", Failure("worker", "it ended its process (SIGKILL)")),
        ("exit", Failure("worker", "it ended its process (status 3)")),
        ("eat", Failure("memory", "it needs more memory than 1.00 GiB")),
    ],
)
def test_only_the_row_at_fault_fails(row, failure):
    with Isolated(work, seconds=0.5, memory=GIB) as isolated:
        assert isolated.run([1, 2]) == [1, 2]
        assert isolated.run([1, row, 2, row, 3]) == [1, failure, 2, failure, 3]
        assert isolated.run([4]) == [4]


def test_a_death_that_is_not_repeated_is_forgiven(tmp_path):
    innocent = tmp_path / "innocent"
    with Isolated(work, seconds=5, memory=GIB) as isolated:
        assert isolated.run([1, innocent]) == [1, innocent]


def test_a_bug_is_no_failure_of_the_row():
    with Isolated(work, seconds=5, memory=GIB) as isolated, pytest.raises(KeyError, match="bug"):
        isolated.run(["bug"])


def test_what_a_new_process_loads_takes_no_row_s_time():
    with Isolated(slow_start, seconds=0.5, memory=GIB) as isolated:
        assert isolated.run([1, 2]) == [1, 2]


def test_no_row():
    with Isolated(work, seconds=5, memory=GIB) as isolated:
        assert isolated.run([]) == []


def test_the_child_does_not_outlive_its_parent(tmp_path):
    note = tmp_path / "pid"
    code = (
        "from infra.isolation import Isolated\nfrom standins.rows import work\n"
        "if __name__ == '__main__':\n"
        "    with Isolated(work, seconds=500, memory=2**30) as isolated:\n"
        "        isolated.run(['wait'])\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p), "ISOLATED_PID": str(note)}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], env=environment)
    end = time.monotonic() + 60
    while not (note.exists() and note.read_text()):
        assert parent.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    child = psutil.Process(int(note.read_text()))
    parent.kill()
    parent.wait()
    assert child.wait(timeout=30) is None  # it is no child of ours, so it has no status


def test_a_daemon_may_not():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=isolate, args=(queue,), daemon=True)
    process.start()
    assert "DASK_DISTRIBUTED__WORKER__DAEMON=False" in queue.get(timeout=60)
    process.join()
