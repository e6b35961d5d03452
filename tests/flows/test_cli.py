import os
import subprocess
import sys

import pytest

from infra.sources import SOURCES
from infra.store import Store

COMMANDS = (
    "snapshot",
    "prepare",
    "featurize",
    "train",
    "predict",
    "screen",
    "demo",
    "query",
    "verify",
    "ls",
)


def test_no_command_is_the_help(cli):
    result = cli()
    assert result.exit_code == 2  # nothing was done
    for command in COMMANDS:
        assert f" {command} " in result.output
    assert "Try irnet demo first" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cli, command):
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: irnet {command}" in result.output.replace("root ", "irnet ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("prepare",), "Missing argument"),
        (("train", "--data", "x"), "Missing option '--target'"),
        (("train", "--data", "x", "--target", "y", "--epochs", "0"), "'--epochs': "),
        (("train", "--data", "x", "--target", "y", "--seed", "-1"), "'--seed': "),
        (("query", "SELECT 1", "--rows", "0"), "'--rows': "),
        (("screen", "ternaries", "--top", "many"), "'--top': "),
    ],
)
def test_misuse_is_status_2(cli, arguments, message):
    result = cli(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_real_process(irnet_process, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("formula,gap\nNaCl,1\nKCl,inf\n")
    with irnet_process(tmp_path / "store", "train", "--data", path, "--target", "gap") as process:
        output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert errors == (
        f"error: {path}, column 'gap', row 1: 1 of 2 values are not finite numbers, the first is "
        "inf for KCl: remove these rows from the table\n"
    )


def test_source_that_is_not_there(fails, store, tmp_path):
    assert fails("snapshot", tmp_path / "missing.csv") == (
        f"there is no file and no source '{tmp_path}/missing.csv': check the path, or choose among "
        f"{', '.join(SOURCES)}"
    )
    assert not store.exists()


def test_help_needs_no_heavy_library():
    code = "import sys, flows.cli; print({'torch', 'prefect', 'distributed'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_snapshot_of_a_table(cli, store, tmp_path):
    path = tmp_path / "my [draft] :table:.csv"
    path.write_text("comp,gap\nNaCl,8.5\nQq2,1\nNaCl2,\nXx,2\nXxO,3\n")
    result = cli("snapshot", path, "--formula-column", "comp")
    assert result.exit_code == 0
    made = Store(store).open("snapshots/file")
    assert result.stdout.splitlines() == [
        f"snapshots/{made.id}: Rows of my [draft] :table:.csv, 2 rows",
        "3 of 5 rows cannot be used: unknown element 'Xx' (2), unknown element 'Qq' (1); see "
        + made.path("rejected.parquet"),
        f"data quality: {made.path('report.md')}",
    ]
    same = cli("snapshot", "file", "--path", path, "--formula-column", "comp")
    assert same.stdout == result.stdout
    assert "[draft] :table:" in cli("query", "SELECT 'my [draft] :table:' AS a").stdout


def test_brackets_in_messages_are_kept(fails, tmp_path):
    path = tmp_path / "[b].csv"
    path.write_text("formula,energy [eV/atom]\nNaCl,1\nKCl,[/red]\n")
    assert fails("train", "--data", path, "--target", "energy [eV/atom]") == (
        f"{path}, column 'energy [eV/atom]', row 1: a target must be numbers, this column holds "
        "string such as '[/red]': correct the table or choose another column"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("DASK_WORKERS", "0"), ("THREADS", "many"), ("DASK_WORKERS", "-1")]
)
def test_settings_that_cannot_be_used(fails, monkeypatch, name, value):
    monkeypatch.setenv(f"IRNET_{name}", value)
    message = fails("snapshot", "pymatgen-expt")
    assert message.startswith(f"IRNET_{name} is '{value}': Input should be ")
    assert message.endswith("; correct or unset it")


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_device_that_is_not_there(fails, monkeypatch, device):
    monkeypatch.setenv("IRNET_DEVICE", device)
    arguments = ("--data", "latest", "--target", "x")
    if device.startswith("cuda") and os.path.exists("/dev/nvidia0"):
        pytest.skip("there is a GPU")
    assert fails("train", *arguments).startswith(f"device '{device}' is not ")


def test_ls_of_an_empty_store(cli):
    result = cli("ls")
    assert (result.exit_code, result.stdout) == (0, "the store is empty, try irnet demo\n")


def test_ls_names_what_is_damaged(cli, store, tmp_path):
    (tmp_path / "a.csv").write_text("formula\nNaCl\n")
    assert cli("snapshot", tmp_path / "a.csv").exit_code == 0
    (manifest,) = store.glob("snapshots/*/manifest.json")
    manifest.write_text("{")
    result = cli("ls")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {manifest} is damaged (")
    assert "\n" not in result.stderr.strip()


def test_unknown_kind_and_name(fails):
    assert fails("ls", "things").startswith("'things' is no kind of artifact: take one of snapsh")
    assert "answers to 'x': it is empty, run a flow first" in fails("verify", "x")
    assert fails("verify", "../x").startswith("'../x' is no name: use letters, digits")
    assert "answers to 'latest'" in fails("featurize")
    assert "answers to 'x'" in fails("featurize", "snapshots/x")
    assert fails("featurize", "--features", "y").startswith("there are no 'y' features: choose")
    assert fails("snapshot", "file").startswith("the source 'file' needs --path FILE")


@pytest.mark.slow
def test_demo(cli, store, cluster, monkeypatch):
    monkeypatch.setenv("IRNET_DASK_ADDRESS", cluster)
    monkeypatch.setattr("flows.demo.EPOCHS", 1)
    monkeypatch.setattr("flows.demo.MAX_ATOMS", 3)
    result = cli("demo")
    assert result.exit_code == 0, result.output
    assert "minimise energy_above_hull" in result.stdout
    assert "Go on with" in result.stdout
    assert (
        Store(store).open("models/demo").manifest.what.startswith("irnet-elements for formation_en")
    )
