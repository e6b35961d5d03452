"""Real processes are killed with SIGKILL in the middle of their work, then run again."""

import json
import random
import re
import shutil
import time

import psutil
import pytest

from infra.manifest import request_digest
from infra.snapshots.snapshot import build_snapshot
from infra.sources import TableFile
from infra.store import Store
from irnet_core.bundle import CARD, WEIGHTS
from irnet_core.checkpoint import CHECKPOINT

pytestmark = pytest.mark.timeout(600)  # many processes, on a busy machine
MOST_SECONDS = 240.0

TRAIN_DRIVER = """
from irnet_core import ensemble
from irnet_core.training import fit

def eager(*arguments, **options):
    fitted = fit(*arguments, **options, seconds_between_checkpoints=0.0)
    print("resumed at", fitted.resumed_at)
    return fitted

ensemble.fit = eager
from flows.cli import main
main()
"""

SCREEN_DRIVER = """
import flows.screen
flows.screen.SHARD = 20_000
from flows.cli import main
if __name__ == "__main__":  # Dask's workers import the script that they are started from
    main()
"""


@pytest.fixture
def driver(tmp_path):
    """A script that changes a constant and is the command line otherwise."""

    def write(code):
        path = tmp_path / "driver.py"
        path.write_text(code)
        return path

    return write


def wait_for(condition, process):
    end = time.monotonic() + MOST_SECONDS
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the process ended before it could be killed: {process.communicate()}")
        if time.monotonic() > end:
            process.kill()
            pytest.fail("nothing has happened")
        time.sleep(0.002)


def alive(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def kill(process):
    """Kill a process alone; those that it started must notice and end. Returns their number."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    end = time.monotonic() + 60.0
    while alive(children):
        assert time.monotonic() < end, f"orphans: {alive(children)}"
        time.sleep(0.05)
    return len(children)


def staged(store, kind, pattern):
    """Files in the staging folder of the only request, with their times of writing."""
    found = {}
    for path in (store / ".staging" / kind).glob(f"*/{pattern}"):
        try:
            found[path.name] = path.stat().st_mtime_ns
        except FileNotFoundError:  # published in this moment
            continue
    return found


def published(store, kind):
    """The only artifact of a kind: its files with their times of writing."""
    (home,) = (store / kind).iterdir()
    assert Store(store).verify(home.name) == []
    return {path.name: path.stat().st_mtime_ns for path in home.iterdir()}


def test_featurize(irnet, irnet_process, cli, cluster, store, files, tmp_path, monkeypatch):
    amounts = range(1, 21)
    formulas = [
        f"{a}{i}{b}{j}" for a in ("Mg", "Fe") for b in "OF" for i in amounts for j in amounts
    ]
    random.Random(0).shuffle(formulas)
    formulas[777] = "OgO"
    (tmp_path / "a.csv").write_text("formula\n" + "\n".join(formulas))
    monkeypatch.setattr("infra.snapshots.snapshot.ROW_GROUP", 100)
    build_snapshot(TableFile(tmp_path / "a.csv"), Store(store))
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(store, undisturbed)

    process = irnet_process(store, "featurize", "latest")
    wait_for(lambda: len(staged(store, "features", "part-*")) >= 3, process)
    assert kill(process) >= 1  # Dask workers
    before = staged(store, "features", "part-*.parquet")
    assert 3 <= len(before) < 16
    assert not (store / "features").exists()

    irnet(store, "featurize", "latest")
    after = published(store, "features")
    assert before.items() <= after.items()
    assert sum(name.startswith("part-") for name in after) == 16
    assert staged(store, "features", "*") == {}

    monkeypatch.setenv("IRNET_STORE", str(undisturbed))
    monkeypatch.setenv("IRNET_DASK_ADDRESS", cluster)
    assert cli("featurize", "latest").exit_code == 0
    assert files(store) == files(undisturbed)  # data, names and requests; so ids as well


@pytest.mark.parametrize("members", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_train(members, irnet, irnet_process, cli, filled, files, driver, tmp_path, monkeypatch):
    for kind in ("models", "screens"):
        shutil.rmtree(filled / kind)
        shutil.rmtree(filled / "refs" / kind)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(filled, undisturbed)
    command = ["train", "--data", "latest", "--target", "formation_energy_ev_atom"]
    command += ["--network", "32BARx2-16BARx1-1", "--epochs", "30", "--name", "killed"]
    command += ["--members", str(members)]
    last = f"member-1-{CHECKPOINT}" if members > 1 else CHECKPOINT
    program = {"driver": driver(TRAIN_DRIVER)}

    process = irnet_process(filled, *command, **program)
    seen = set()

    def has_written_three():
        seen.update(staged(filled, "models", last).values())
        return len(seen) >= 3

    wait_for(has_written_three, process)
    kill(process)
    assert len(staged(filled, "models", f"*{CHECKPOINT}")) == members
    assert not (filled / "models").exists()

    said = irnet(filled, *command, **program)
    *earlier, resumed_at = [int(epoch) for epoch in re.findall(r"resumed at (\d+)", said)]
    assert earlier == [30] * (members - 1)  # members that were finished are not trained again
    assert 3 <= resumed_at < 30
    assert published(filled, "models").keys() == {WEIGHTS, CARD, "manifest.json"}
    assert staged(filled, "models", "*") == {}

    monkeypatch.setenv("IRNET_STORE", str(undisturbed))
    result = cli(*command)
    assert result.exit_code == 0, result.output
    (mine,) = (filled / "models").iterdir()
    (other,) = (undisturbed / "models").iterdir()
    assert mine.name == other.name
    assert (mine / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    cards = [json.loads((home / CARD).read_text()) for home in (mine, other)]
    assert [card.pop("created") for card in cards]
    assert cards[0] == cards[1]
    assert cards[0]["epochs"] == 30
    assert said.splitlines()[-1] == result.stdout.splitlines()[-1]  # the metrics
    assert files(filled / "refs") == files(undisturbed / "refs")


def test_screen(irnet, irnet_process, cli, filled, files, driver, tmp_path, monkeypatch):
    shutil.rmtree(filled / "screens")
    shutil.rmtree(filled / "refs" / "screens")
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(filled, undisturbed)
    command = ["screen", "ternaries", "--model", "small", "--max-atoms", "6", "--top", "500"]
    command += ["--exclude", "U,Th"]
    program = {"driver": driver(SCREEN_DRIVER)}

    process = irnet_process(filled, *command, **program)
    wait_for(lambda: len(staged(filled, "screens", "shard-*")) >= 3, process)
    kill(process)
    before = staged(filled, "screens", "shard-*.parquet")
    assert len(before) >= 3
    assert not (filled / "screens").exists()
    with irnet_process(filled, *command, **program) as process:
        # a shard that is there is not computed again: it would be written anew
        wait_for(lambda: len(staged(filled, "screens", "shard-*")) > len(before), process)
        assert before.items() <= staged(filled, "screens", "shard-*.parquet").items()
        said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert published(filled, "screens").keys() == {
        "ranked.parquet",
        "screen.json",
        "manifest.json",
    }
    assert staged(filled, "screens", "*") == {}

    monkeypatch.setenv("IRNET_STORE", str(undisturbed))
    monkeypatch.setattr("flows.screen.SHARD", 20_000)
    result = cli(*command)
    assert result.exit_code == 0, result.output
    assert files(filled) == files(undisturbed)
    counts = [Store(root).open("screens/latest").manifest.counts for root in (filled, undisturbed)]
    assert counts[0] == counts[1]
    assert said.splitlines()[:-1] == result.stdout.splitlines()[:-1]


def test_two_runs_of_one_request_do_not_meet(fails, store, tmp_path):
    (tmp_path / "a.csv").write_text("formula\nNaCl\n")
    source = TableFile(tmp_path / "a.csv")
    with Store(store).staging("snapshots", request_digest("snapshots", {}, source.fingerprint())):
        assert fails("snapshot", tmp_path / "a.csv").startswith("another run is making the snapsh")
