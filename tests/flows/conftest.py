"""The command line as users run it, in its own process and in this one, and a small store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from typer.testing import CliRunner, Result

from irnet_core.schema import FORMATION_ENERGY

#: What every process of these tests runs under: one thread, so that numbers are the same.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "IRNET_DASK_WORKERS": "1",
    "IRNET_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
}
PIPELINE = {
    "snapshot": "pymatgen-expt",
    "featurize": "latest",
    "train": f"--data latest --target {FORMATION_ENERGY.name} --name small"
    " --network 32BARx2-16BARx1-1 --epochs 5",
    "study": "--small --minutes 0",
    "screen": "ternaries --model small --elements Li,Na,Mg,Al,O,S,F,Cl --max-atoms 7 --top 50",
}

#: A cluster as a flow starts it, until its input ends.
CLUSTER = """
import sys
from infra.compute import dask_client
from infra.settings import Settings

with dask_client(Settings(dask_workers=1)) as client:
    print(client.scheduler.address, flush=True)
    sys.stdin.read()
"""

Cli = Callable[..., Result]
Files = Callable[[Path], dict[str, bytes]]


def environment(store: Path) -> dict[str, str]:
    """Environment of a process that works in a store."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("IRNET_", "PREFECT_"))}
    paths = {"IRNET_STORE": str(store), "PREFECT_HOME": str(store.parent / ".prefect")}
    return mine | ENVIRONMENT | paths


def start(
    store: Path, *arguments: object, driver: str = "", **variables: str
) -> subprocess.Popen[str]:
    """Start ``irnet``, or a Python script in its place, in a process of its own."""
    program = [sys.executable, driver] if driver else [str(Path(sys.executable).parent / "irnet")]
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        env=environment(store) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(store: Path, *arguments: object, driver: str = "") -> str:
    """Run it to its end; returns what it printed."""
    with start(store, *arguments, driver=driver) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="session")
def irnet_process() -> Callable[..., subprocess.Popen[str]]:
    """Starts ``irnet``."""
    return start


@pytest.fixture(scope="session")
def irnet() -> Callable[..., str]:
    """Runs ``irnet`` to its end."""
    return run


@pytest.fixture(scope="session")
def files() -> Files:
    """Reads all files below a folder, by path; no locks, no manifests, which hold the time, and not
    the hulls, which are a cache."""
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix != ".lock"
        and path.name != "manifest.json"
        and path.relative_to(folder).parts[0] != "hulls"
    }


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Dask cluster with one worker, which knows nothing of what tests do to this
    process for minutes on end."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CLUSTER]
    mine = environment(tmp_path_factory.mktemp("cluster") / "store")
    with subprocess.Popen(command, env=mine, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address
        yield address
        process.stdin.close()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty store that this process works in, under the same environment."""
    for name in [*os.environ]:
        if name.startswith(("IRNET_", "PREFECT_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "store"
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def cli(store: Path) -> Cli:
    """Runs ``irnet`` in this process."""
    from flows.cli import app

    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def fails(cli: Cli) -> Callable[..., str]:
    """Runs ``irnet`` in this process; returns the one sentence that it fails with."""

    def fail(*arguments: object) -> str:
        result = cli(*arguments)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        *before, last = result.stderr.splitlines()
        assert last.startswith("error: ")
        assert not any(line.startswith(("error:", "Traceback")) for line in before)
        return last.removeprefix("error: ")

    return fail


@pytest.fixture(scope="session")
def commands() -> dict[str, list[str]]:
    """The commands that make a store with one thing of each kind."""
    return {name: arguments.split() for name, arguments in PIPELINE.items()}


@pytest.fixture(scope="session")
def pipeline(
    tmp_path_factory: pytest.TempPathFactory, commands: dict[str, list[str]]
) -> tuple[Path, dict[str, str]]:
    """A store filled by these commands on the embedded data, and what each printed."""
    base = tmp_path_factory.getbasetemp()
    # made once for all processes that run tests, each of which has a folder in that of the run
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pipeline"
    folder.mkdir(exist_ok=True)
    store, printed = folder / "store", folder / "printed.json"
    with FileLock(folder / "lock"):
        if not printed.exists():
            shutil.rmtree(store, ignore_errors=True)
            found = {name: run(store, name, *commands[name]) for name in commands}
            printed.write_text(json.dumps(found))
        return store, json.loads(printed.read_text())


@pytest.fixture
def filled(store: Path, pipeline: tuple[Path, dict[str, str]]) -> Path:
    """A copy of that store, which this process works in."""
    return Path(shutil.copytree(pipeline[0], store))
