"""The deployments on a real server with a real worker, started as the Makefile starts them."""

import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from prefect import flow
from prefect.context import TaskRunContext
from prefect.server.schemas.schedules import CronSchedule
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_HOME,
    temporary_settings,
)

from flows.deployments import listed
from flows.server import wait_until_ready
from flows.stage import run, stage
from infra.query import RANKED
from infra.sources import SOURCES
from infra.store import Store
from irnet_core.errors import IRNetError

MARKDOWN = {"any_": ["markdown"]}
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DATABASES = ["oqmd", "aflow", "mp", "jarvis", "optimade"]
PATIENCE = 600.0  # seconds, on a busy machine


@stage("look")
def look():
    """Name of the task that this is called in."""
    context = TaskRunContext.get()
    return context and context.task.name


@flow(name="looks")
def looks():
    return look()


@contextmanager
def running(arguments, served, log):
    """A process of Prefect, and all that it starts, while the block runs."""
    with (served.folder / log).open("wb") as file:
        process = subprocess.Popen(
            [BIN / "prefect", "--no-prompt", *arguments],
            cwd=served.folder,
            env=served.env,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Ctrl-C is for pytest, which then ends it
        )
    try:
        yield process
    finally:
        # a flow run is in a session of its own, so no process group holds all of them
        family = []
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()


class Served:
    """A server with a home, a store and a database of its own."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.folder, self.store = folder, Store(folder / "store")
        others = {k: v for k, v in os.environ.items() if not k.startswith(("IRNET_", "PREFECT_"))}
        self.env = others | {
            "DO_NOT_TRACK": "1",
            "IRNET_DASK_WORKERS": "1",
            "IRNET_STORE": str(folder / "store"),
            "IRNET_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PWD": str(ROOT),  # as a shell sets it, prefect.yaml uses it
        }

    def __call__(self, program, *arguments):
        return subprocess.run(
            [BIN / program, *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def deploy(self):
        """What ``make deploy`` does and says."""
        said = ""
        for command in ("python -m flows.deployments", "prefect --no-prompt deploy --all"):
            done = self(*command.split())
            assert done.returncode == 0, done.stdout + done.stderr
            said += done.stdout
        return said

    def start(self, deployment, **parameters):
        """Run a deployment to its end; returns its flow run and the names of its tasks."""
        options = [f"--param={name}={json.dumps(value)}" for name, value in parameters.items()]
        done = self("prefect", "deployment", "run", deployment, *options, "--watch")
        log = (self.folder / "worker.log").read_text(encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr + log
        name = {"name": {"any_": [deployment.partition("/")[2]]}}
        *_, made = self.runs(deployments=name)
        tasks = self.ask("task_runs/filter", flow_runs={"id": {"any_": [made["id"]]}})
        assert {task["state_type"] for task in tasks} == {"COMPLETED"}
        return made, sorted(task["name"].rpartition("-")[0] for task in tasks)

    def ask(self, what, **filters):
        return self.post(what, filters)

    def post(self, what, body):
        """Answer of the server, which says 503 while its database is busy, as its clients know."""
        end = time.monotonic() + PATIENCE
        while True:
            answer = httpx.post(f"{self.url}/{what}", json=body, timeout=60)
            if answer.status_code != 503 or time.monotonic() > end:
                return answer.raise_for_status().json()
            time.sleep(1)

    def log(self, made, wanted):
        """Log of a flow run, once it holds some words: Prefect sends it in batches."""
        found, end = "", time.monotonic() + PATIENCE
        while wanted not in found and time.monotonic() < end:
            time.sleep(0.5)
            lines = self.ask("logs/filter", logs={"flow_run_id": {"any_": [made["id"]]}})
            found = "\n".join(line["message"] for line in lines)
        assert wanted in found
        return found

    def runs(self, **filters):
        """Flow runs that have begun, oldest first."""
        runs = self.ask("flow_runs/filter", sort="START_TIME_ASC", **filters)
        return [made for made in runs if made["state_type"] != "SCHEDULED"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with the deployments, and a worker."""
    served = Served(tmp_path_factory.mktemp("served"))
    server = f"server start --port {served.port}".split()
    worker = ["worker", "start", "--pool", "irnet", "--type", "process", "--limit", "1"]
    with ExitStack() as stack:
        stack.enter_context(running(server, served, "server.log"))
        served.deploy()
        stack.enter_context(running(worker, served, "worker.log"))
        yield served


def served_test(test):
    # one server for all of them, however many processes run tests
    together = pytest.mark.xdist_group("server")
    return together(pytest.mark.slow(pytest.mark.timeout(2 * PATIENCE)(test)))


def test_deployments_name_flows_and_their_parameters():
    names = []
    for deployment in listed(ROOT / "prefect.yaml"):
        module, _, function = deployment["entrypoint"].rpartition(".")
        entry = getattr(importlib.import_module(module), function)
        names.append(f"{entry.name}/{deployment['name']}")
        assert entry.validate_parameters(deployment.get("parameters", {})) is not None
    assert names == [
        *("screen/ternaries", "retrain/weekly", "train/trial"),
        *(f"snapshot/{name}" for name in DATABASES),
        *("prepare/oqmd-ready", "study/small", "demo/demo"),
    ]


def test_every_database_has_a_schedule():
    deployments = listed(ROOT / "prefect.yaml")
    pulls = {d["name"]: d for d in deployments if d["entrypoint"] == "flows.snapshot.snapshot"}
    assert list(pulls) == DATABASES
    starts = []
    for name, deployment in pulls.items():
        assert deployment["parameters"] == {"source": name}
        assert (deployment["work_pool"]["name"], deployment["concurrency_limit"]) == (
            "irnet-pulls",
            1,
        )
        (schedule,) = deployment["schedules"]
        starts.append(schedule["cron"])
        assert schedule["active"] == (name != "optimade")
        assert CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    assert len(set(starts)) == len(starts)
    one_by_one = {"file", "matminer", "pymatgen-expt"}  # never change, or are somebody's own
    assert set(SOURCES) - one_by_one <= set(DATABASES)


def test_the_docs_name_every_deployment():
    text = (ROOT / "docs" / "deployments.md").read_text(encoding="utf-8")
    for deployment in listed(ROOT / "prefect.yaml"):
        flow_name = deployment["entrypoint"].rpartition(".")[2]
        assert f"`{flow_name}/{deployment['name']}`" in text


def test_stages_are_plain_functions_without_a_server(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert look() is None
        assert run(looks) is None


def test_a_server_that_is_down_is_named():
    with pytest.raises(IRNetError, match="no Prefect server answers at http://127.0.0.1:9/api"):
        wait_until_ready("http://127.0.0.1:9/api", seconds=0)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://127.0.0.1:port/api", "PREFECT_API_URL is 'http://127.0.0.1:port/api', no address"),
        ("http://me:secret@127.0.0.1:9/api", "answers at http://127.0.0.1:9/api: start one"),
    ],
)
def test_an_address_that_is_none_and_one_with_a_password(url, match):
    with pytest.raises(IRNetError, match=match):
        wait_until_ready(url, seconds=0)


def test_a_web_server_that_is_no_api_of_prefect():
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(IRNetError, match=f"{url} is no API of Prefect: .* end in /api"):
            wait_until_ready(url, seconds=0)
        server.shutdown()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"parameters": {"netwrk": "irnet-17"}}, "no parameter 'netwrk'; choose among .*network"),
        ({"entrypoint": "flows.train.training"}, "there is no flow flows.train.training"),
        ({"entrypoint": "flows.nothing.train"}, "there is no flow flows.nothing.train"),
        ({"entrypoint": "flows.train.starts_of"}, "there is no flow flows.train.starts_of"),
    ],
)
def test_what_no_flow_has_is_not_registered(tmp_path, change, match):
    good = {"name": "trial", "entrypoint": "flows.train.train", "parameters": {"epochs": 3}}
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": [good]}))
    assert listed(file) == [good]
    file.write_text(yaml.safe_dump({"deployments": [good | change]}))
    with pytest.raises(IRNetError, match=f"prefect.yaml, deployment 'trial': .*{match}"):
        listed(file)


@pytest.mark.slow
@pytest.mark.xdist_group("server")
@pytest.mark.timeout(PATIENCE)
def test_a_server_that_goes_away_is_named(tmp_path):
    served = Served(tmp_path)
    home = tmp_path / "home"
    with ExitStack() as stack:
        server = stack.enter_context(
            running(f"server start --port {served.port}".split(), served, "server.log")
        )
        wait_until_ready(served.url, seconds=PATIENCE)

        @flow(name="outlives")
        def outlives():
            server.terminate()
            server.wait(60)
            return "done"

        settings = {
            PREFECT_API_URL: served.url,
            PREFECT_HOME: home,
            PREFECT_CLIENT_MAX_RETRIES: 0,
        }
        with (
            temporary_settings(settings),
            pytest.raises(IRNetError, match=f"the Prefect server at {served.url} was lost on"),
        ):
            run(outlives)


@served_test
def test_what_the_file_no_longer_has_is_removed_or_named(served):
    found = {made["name"]: made for made in served.ask("deployments/filter")}
    daily = {"schedule": {"interval": 86400}, "active": True, "slug": "daily"}
    for name in ("trial", "mp"):
        served.post(f"deployments/{found[name]['id']}/schedules", [daily])
    old = {key: found["trial"][key] for key in ("flow_id", "entrypoint", "path")}
    served.post("deployments/", old | {"name": "old"})
    said = served("python", "-m", "flows.deployments").stdout
    assert "removed the schedule mp: daily, which prefect.yaml no longer has\n" in said
    assert "removed the schedule trial: daily" in said
    assert "train/old is on the server but not in prefect.yaml" in said
    found = {made["name"]: made for made in served.ask("deployments/filter")}
    assert [s["slug"] for s in found["mp"]["schedules"]] == ["weekly"]
    assert found["trial"]["schedules"] == []
    served("prefect", "--no-prompt", "deployment", "delete", "train/old")
    assert "train/old" not in served.deploy()  # again, as after every change of prefect.yaml
    names = [made["name"] for made in served.ask("deployments/filter")]
    assert sorted(names) == sorted(found.keys() - {"old"})


@served_test
def test_stages_are_tasks_in_a_flow_run(served):
    home = served.folder / "home"
    with temporary_settings({PREFECT_API_URL: served.url, PREFECT_HOME: home}):
        assert run(looks) == "look"
        assert look() is None
    (made,) = served.runs(flows={"name": {"any_": ["looks"]}})
    assert made["state_type"] == "COMPLETED"


@served_test
def test_the_worker_screens_with_the_model_of_the_schedule(served):
    retrained, tasks = served.start("retrain/weekly", network="32BARx2-1", epochs=2)
    assert retrained["state_type"] == "COMPLETED"
    assert tasks == ["featurize", "snapshot", "train"]

    model = served.store.open("default", "models")
    mae = f"{model.manifest.counts['validation_mae']:.4g}"
    assert f"models/{model.id}: {model.manifest.what}, validation MAE {mae}\n" in served.log(
        retrained, "models/"
    )
    again, _ = served.start("retrain/weekly", network="32BARx2-1", epochs=2)
    assert f"MAE {mae}; nothing is new since {model.manifest.finished}" in served.log(
        again, "models/"
    )

    screened, tasks = served.start("screen/ternaries", elements=["Li", "Fe", "O"])
    assert screened["state_type"] == "COMPLETED"
    assert tasks == ["screen"]
    artifact = served.store.open("latest", "screens")
    assert artifact.manifest.inputs["model formation_energy_ev_atom"] == model.id
    assert artifact.manifest.parameters["elements"] == ["Li", "O", "Fe"]
    ranked = artifact.read_table(RANKED)
    assert ranked.num_rows == artifact.manifest.rows > 0
    assert set(ranked.column("chemical_system").to_pylist()) == {"Fe-Li-O"}
    predictions = ranked.column("score").to_pylist()
    assert predictions == sorted(predictions)


@served_test
def test_the_schedule_plans_runs_once(served):
    found = {made["name"]: made for made in served.ask("deployments/filter")}
    assert sorted(found) == sorted(
        ["demo", "oqmd-ready", "small", "ternaries", "trial", "weekly", *DATABASES]
    )
    assert not any(
        found[n]["schedules"] for n in ("demo", "oqmd-ready", "small", "ternaries", "trial")
    )
    for name in DATABASES:
        (schedule,) = found[name]["schedules"]
        assert schedule["active"] == (name != "optimade")
        assert found[name]["global_concurrency_limit"]["limit"] == 1
    (schedule,) = found["weekly"]["schedules"]
    assert (schedule["active"], schedule["slug"]) == (True, "weekly")
    assert schedule["schedule"]["cron"] == "0 3 * * 1"
    assert schedule["schedule"]["timezone"] == "Etc/UTC"

    weekly = found["weekly"]["id"]
    planned, end = [], time.monotonic() + PATIENCE
    while weekly not in {made["deployment_id"] for made in planned} and time.monotonic() < end:
        time.sleep(1)
        planned = served.ask(
            "flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}}
        )
    log = (served.folder / "server.log").read_text(encoding="utf-8")
    assert planned, log
    scheduled = {found[name]["id"] for name in ("weekly", *DATABASES) if name != "optimade"}
    assert {made["deployment_id"] for made in planned} <= scheduled
    times = [made["expected_start_time"] for made in planned if made["deployment_id"] == weekly]
    assert times
    assert len(set(times)) == len(times)
    assert all("T03:00:00" in moment for moment in times)


@served_test
def test_the_command_line_goes_through_the_server(served):
    done = served("irnet", "snapshot", "pymatgen-expt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("snapshots/")
    assert done.stderr == ""
    *_, made = served.runs(flows={"name": {"any_": ["snapshot"]}})
    assert made["state_type"] == "COMPLETED"
    (shown,) = served.ask(
        "artifacts/filter", artifacts={"flow_run_id": {"any_": [made["id"]]}, "type": MARKDOWN}
    )
    snapshot = served.store.open("pymatgen-expt")
    assert shown["key"] == "quality-pymatgen-expt"
    assert shown["data"] == snapshot.read_bytes("report.md").decode()


@served_test
def test_a_failure_is_one_sentence_here_and_a_traceback_there(served):
    done = served("irnet", "screen", "ternaries", "--model", "none", "--elements", "Li,Fe,O")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no artifact among the models")
    assert done.stderr.count("\n") == 1
    *_, made = served.runs(flows={"name": {"any_": ["screen"]}})
    assert made["state_type"] == "FAILED"

    assert "StoreError" in served.log(made, "Traceback")
