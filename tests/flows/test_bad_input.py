"""What cannot be used is refused in one sentence, and nothing half-done is left behind."""

import json
import re
import shutil
import subprocess
from contextlib import contextmanager

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from infra.store import Store
from irnet_core.bundle import CARD, WEIGHTS

pytestmark = pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine
GOOD = "formula,gap,role\nNaCl,8.5,train\nKCl,8.4,train\nMgO,7.8,val\nSi,1.1,test\n"


@pytest.fixture
def refused(fails, files, store):
    """The error of a command, which leaves nothing in the store."""

    def run(*arguments):
        before = files(store)
        found = fails(*arguments)
        assert files(store).keys() == before.keys()
        for manifest in Store(store).list():
            assert Store(store).verify(manifest.id) == []
        return found

    return run


@pytest.fixture
def table(tmp_path):
    """Writes a CSV table and returns its path."""

    def write(text, name="a.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def train_arguments(path, *options, target="gap", split="role"):
    return ("train", "--data", path, "--target", target, "--split-column", split, *options)


# tables that are none -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["snapshot", "train"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read {path} as .csv: Empty CSV file; correct the file or its name"),
        ("formula,gap,role\n", "{path}: there are no rows, nothing can be done with it"),
        ("a,gap,role\nNaCl,1,train\n", "{path}, column 'formula': there is no such column of form"),
        (
            "formula,gap,role\nXx,1,train\n,2,val\n",
            "{path}, column 'formula', row 0: no row has a formula that can be read, the first "
            "because: unknown element 'Xx'; correct the formulas or name another column",
        ),
        ("formula,gap,role\nNaCl,1\n", "cannot read {path} as .csv: "),
    ],
)
def test_tables_that_are_none(refused, table, command, text, message):
    path = table(text)
    arguments = ("snapshot", path) if command == "snapshot" else train_arguments(path)
    assert refused(*arguments).startswith(message.format(path=path))


def test_files_that_are_not_there(refused, tmp_path):
    path = tmp_path / "missing.csv"
    assert refused(*train_arguments(path)) == f"there is no file {path}: check the path"
    assert refused(*train_arguments("b.csv")) == "there is no file b.csv: check the path"
    assert refused(*train_arguments("b")).startswith("no artifact among the snapshots in ")
    (tmp_path / "folder.csv").mkdir()
    found = refused(*train_arguments(tmp_path / "folder.csv"))
    assert found == f"{tmp_path}/folder.csv is a folder: name one file in it"


# columns and values -------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["nope", "Gap", "row", "composition", "formula"])
def test_unknown_column(refused, table, column):
    path = table(GOOD)
    for arguments in ({"target": column}, {"split": column}):
        assert refused(*train_arguments(path, **arguments)) == (
            f"{path}, column '{column}': there is no such column: beside its formulas the table "
            "has gap, role"
        )


def test_a_target_that_is_the_same_everywhere(refused, table):
    path = table("formula,gap,role\nNaCl,2,train\nKCl,2.0,train\nLiF,2,val\n")
    assert refused(*train_arguments(path)) == (
        f"{path}, column 'gap': all 3 values are 2.0, so that there is nothing to learn: choose "
        "another column"
    )


def test_a_column_whose_name_a_terminal_would_obey(refused, tmp_path):
    path = tmp_path / "gaps.parquet"
    columns = {
        "formula": ["NaCl", "KCl", "LiF"],
        "gap\n(eV)": [1.0, 2.0, 3.0],
        "role": ["train", "train", "val"],
    }
    pq.write_table(pa.table(columns), path)
    found = refused(*train_arguments(path, target="gap\n(eV)"))
    assert found.endswith(
        "give the column a short name and unit, without line breaks or other control codes"
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nan", "1 of 3 values are not finite numbers, the first is None for KCl: remove these"),
        ("", "1 of 3 values are not finite numbers, the first is None for KCl: remove these"),
        ("inf", "1 of 3 values are not finite numbers, the first is inf for KCl: remove these"),
        ("-inf", "1 of 3 values are not finite numbers, the first is -inf for KCl: remove these"),
        ("8.4 eV", "a target must be numbers, this column holds string such as '8.4 eV': correct"),
    ],
)
def test_target_that_is_no_number(refused, table, value, message):
    path = table(GOOD.replace("NaCl", "Xx,1,train\nNaCl").replace("8.4", value))
    found = refused(*train_arguments(path))
    assert found.startswith(f"{path}, column 'gap', row 2: {message}")  # row 0 holds Xx
    found = refused("train", "--data", path, "--target", "gap")
    assert found.startswith(f"{path}, column 'gap', row 2: ")


def test_target_in_parquet_with_nan(refused, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"formula": ["NaCl", "KCl"], "gap": [1.0, float("nan")]}), path)
    found = refused("train", "--data", path, "--target", "gap")
    assert found.startswith(
        f"{path}, column 'gap', row 1: 1 of 2 values are not finite numbers, the"
    )


@pytest.mark.parametrize("values", [[True, False], ["1.5", "2.5"], [[1.0], [2.0]]])
def test_target_of_another_type(refused, tmp_path, values):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"formula": ["NaCl", "KCl"], "gap": values}), path)
    found = refused("train", "--data", path, "--target", "gap")
    assert found.startswith(f"{path}, column 'gap', row 0: a target must be numbers, this column ")


@pytest.mark.parametrize("label", ["Train", "", "validation"])
def test_wrong_label(refused, table, label):
    path = table(GOOD.replace("NaCl", "Xx,1,train\nNaCl").replace("8.4,train", f"8.4,{label}"))
    assert refused(*train_arguments(path)) == (
        f"{path}, column 'role', row 2: {label!r} is no role: a split column holds train, val or "
        "test"
    )


@pytest.mark.parametrize("role", ["train", "val"])
def test_role_without_rows(refused, table, role):
    path = table(GOOD.replace(role, "test"))
    found = refused(*train_arguments(path))
    assert found.startswith(f"{path}, column 'role': no row is marked '{role}': mark some, or")


def test_composition_on_both_sides(refused, table):
    path = table(GOOD + "Cl2Na2,8.5,val\n")
    assert refused(*train_arguments(path)) == (
        f"{path}, column 'role', row 4: 1 compositions, such as ClNa, are in train and in val, "
        "which makes the validation error too good: give each composition one role"
    )


def test_one_composition_cannot_be_split(refused, table, cluster, monkeypatch, fails):
    monkeypatch.setenv("IRNET_DASK_ADDRESS", cluster)
    path = table("formula,gap\nNaCl,1\nNa2Cl2,2\n")
    found = fails("train", "--data", path, "--target", "gap")
    assert found == f"{path}: the rows hold 1 distinct compositions: a split needs at least 2"


def test_no_row_has_features(fails, store, table, cluster, monkeypatch, files):
    monkeypatch.setenv("IRNET_DASK_ADDRESS", cluster)
    path = table("formula,gap\nXx,0\nOgO,1\nTs2O,2\n")
    assert fails("train", "--data", path, "--target", "gap") == (
        f"{path}, column 'formula', row 1: no row has features, the first because: no Magpie data "
        "for element 'Og'; take a table with other elements"
    )
    assert not (store / "features").exists()
    assert not any(name.startswith(".staging") for name in files(store))


def test_same_rows_in_another_file(refused, table):
    text = GOOD.replace("8.4", "inf")
    for name in ("a.csv", "b.csv"):
        path = table(text, name)
        found = refused(*train_arguments(path))
        assert found.startswith(f"{path}, column 'gap', row 1: ")


def test_scheduler_that_does_not_answer(cli, fails, table, monkeypatch):
    assert cli("snapshot", table(GOOD)).exit_code == 0
    monkeypatch.setenv("IRNET_DASK_ADDRESS", "tcp://127.0.0.1:9")
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        found = fails("featurize")
    assert found == (
        "no Dask scheduler answers at tcp://127.0.0.1:9: start it, or unset IRNET_DASK_ADDRESS"
    )


# choices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--network", "irnet-18"), "network 'irnet-18' is not known: irnet comes with 10, 17, 24"),
        (("--network", "nonsense"), "network 'nonsense' must end in the number of outputs"),
        (("--network", "8BAR-3"), "network '8BAR-3' has 3 outputs: end it in -1"),
        (
            ("--network", "irnet-elements", "--recipe", "paper"),
            "network '128EPx3-512BARx4-256BARx3-128BARx3-64BARx2-32BARx1-1' needs element ",
        ),
        (("--database", "nist"), "'nist' is no database: choose among aflow, jarvis, mp, oqmd"),
        (("--recipe", "french"), "recipe 'french' is not known: choose one of paper, modern"),
        (("--name", "my model"), "'my model' is no name: use letters, digits, dots"),
        (("--name", "latest"), "'latest' means something else to the store: choose another name"),
        (("--name", "0123456789abcdef"), "'0123456789abcdef' means something else to the store"),
    ],
)
def test_choices_are_checked_before_any_work(refused, table, option, message):
    assert refused(*train_arguments(table(GOOD), *option)).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quinaries",), "there is no family 'quinaries': choose among binaries, ternaries"),
        (("ternaries", "--rules", "lax"), "there are no rules 'lax': choose among none, neutral"),
        (("ternaries", "--top", 0), "--top is 0: keep at least 1 candidate"),
        (("ternaries", "--top", -5), "--top is -5: keep at least 1 candidate"),
        (("ternaries", "--elements", "Li,Xx,O"), "there is no element 'Xx': write symbols such as"),
        (("ternaries", "--elements", "li,o"), "there is no element 'li': write symbols such as"),
        (("ternaries", "--elements", "Li,Og,O"), "there is no Magpie data for element 'Og': leave"),
        (("ternaries", "--exclude", "Xx"), "there is no element 'Xx': write symbols such as"),
        (("ternaries", "--elements", "Li,O"), "2 elements cannot form compositions of 3; allow"),
        (("ternaries", "--elements", ""), "these limits leave no element: allow more elements"),
        (
            ("binaries", "--elements", "Li,O,F", "--exclude", "O,F,S"),
            "F, O is in --elements and in --exclude",
        ),
        (("ternaries", "--max-atoms", 2), "max_atoms 2 does not fit compositions of 3 elements;"),
        (("binaries", "--max-atoms", 1000), "max_atoms 1000 does not fit compositions of 2 eleme"),
        (("binaries", "--max-atoms", -1), "max_atoms -1 does not fit compositions of 2 elements"),
        (("binaries", "--known", "nope"), "no artifact among the snapshots in "),
        (("binaries", "--model", "nope"), "no artifact among the models in "),
        (
            ("binaries", "--elements", "Li,Na"),
            "no candidate is left: 31 generated, 0 after rules, 0 known, 0 after known; allow more "
            "elements or atoms, other rules, or weaker constraints",
        ),
    ],
)
def test_limits_that_cannot_be_met(filled, refused, files, arguments, message):
    model = () if "--model" in arguments else ("--model", "small")
    assert refused("screen", *arguments, *model).startswith(message)
    assert not any(name.startswith(".staging") for name in files(filled))


# models -------------------------------------------------------------------------------------------


@pytest.fixture
def bundle(filled, tmp_path):
    """A copy of the model in a folder, whose files can be changed."""
    model = Store(filled).open("models/small")
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in (CARD, WEIGHTS):
        shutil.copy(model.path(name), folder)
    return folder


def change_card(folder, **changes):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | changes))


def change_weights(folder, **changes):
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    safetensors.torch.save_file(tensors | changes, folder / WEIGHTS)


@pytest.fixture
def useless(refused, table, bundle, tmp_path):
    """The error of predicting and of screening with a model."""

    def run(model=bundle):
        output = tmp_path / "b.csv"
        arguments = ("--input", table(GOOD), "--output", output)
        found = refused("predict", "--model", model, *arguments)
        assert not output.exists()
        assert refused("screen", "binaries", "--model", model, "--elements", "Li,O") == found
        return found

    return run


def test_other_feature_schema(bundle, useless):
    inputs = json.loads((bundle / CARD).read_text())["inputs"]
    trained = inputs[0]["hash"]
    inputs[0]["hash"] = "0" * 16
    change_card(bundle, inputs=inputs)
    assert useless() == (
        "model 'small' was trained on other magpie features (145 of schema 0000000000000000) than "
        f"there are here (145 of schema {trained}): train the model anew, or use the version of "
        "the package it was trained with"
    )
    inputs[0] |= {"hash": trained, "name": "unheard"}
    change_card(bundle, inputs=inputs)
    assert "other unheard features" in useless()


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_files(bundle, useless, name, share):
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data[: int(share * len(data))])
    assert useless().startswith(f"{bundle}/{name} is ")


def test_missing_weights(bundle, useless):
    (bundle / WEIGHTS).unlink()
    assert useless() == f"{bundle} is no model: it has no {WEIGHTS}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": 17}, "network must be of type str"),
        ({"network": "16384BARx9-1"}, "does not hold the networks of its card"),
        ({"network": "1024Ex9-8BAR-1"}, "does not hold the networks of its card"),
        ({"network": "16384Ex9-8BAR-1"}, "must have a width up to 1024"),
        ({"network": "99999999BAR-1"}, "outside 1-16384 units"),
        ({"inputs": "magpie"}, "inputs must be of type list"),
        ({"data": {"snapshot": {"a": 1}}}, "data.snapshot must be of type str"),
        ({"extra": 1}, "must have the fields"),
    ],
)
def test_hostile_cards(bundle, useless, changes, message):
    change_card(bundle, **changes)
    found = useless()
    assert found.startswith(f"{bundle}/")
    assert message in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members.0.output.bias": torch.tensor([float("nan")])}, "not finite, in 'members.0.outp"),
        ({"extra": torch.zeros(3)}, "tensor 'extra' is .* not part of it"),
        ({"members.0.output.bias": torch.zeros(2)}, "tensor 'members.0.output.bias' is"),
        (
            {"members.0.output.bias": torch.zeros(1, dtype=torch.int32)},
            "tensor 'members.0.output.bias'",
        ),
    ],
)
def test_hostile_weights(bundle, useless, changes, message):
    change_weights(bundle, **changes)
    found = useless()
    assert found.startswith(f"{bundle}/{WEIGHTS} ")
    assert re.search(message, found)


def test_columns_that_do_not_fit_the_features(bundle, useless):
    inputs = json.loads((bundle / CARD).read_text())["inputs"]
    inputs[0]["columns"] -= 5
    inputs[1]["columns"] += 5  # in all as many as the weights want
    change_card(bundle, inputs=inputs)
    assert "other magpie features (140 of schema" in useless()


def test_changed_weights_in_the_store(filled, cli, table, tmp_path):
    model = Store(filled).open("models/small")
    path = filled / "models" / model.id / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-2] ^= 1  # still finite numbers, but others
    path.write_bytes(data)
    arguments = ("--input", table(GOOD), "--output", tmp_path / "b.csv")
    for command in (("predict", *arguments), ("screen", "binaries", "--elements", "Li,O")):
        result = cli(*command, "--model", "small")
        assert result.exit_code == 1
        assert result.stderr == (
            f"error: {path} has another content than when it was published: remove "
            f"{path.parent} and train the model again\n"
        )


def test_snapshot_of_the_model_is_elsewhere(filled, bundle, fails, cli):
    id_ = json.loads((bundle / CARD).read_text())["data"]["snapshot"]
    shutil.rmtree(filled / "snapshots")
    shutil.rmtree(filled / "refs" / "snapshots")
    command = ("screen", "binaries", "--model", bundle, "--elements", "Li,O", "--max-atoms", 5)
    assert fails(*command) == (
        f"snapshot {id_}, which model 'small' was trained on, is not in {filled}: name another one "
        "with --snapshot, or do without known phases: --snapshot none"
    )
    assert cli(*command, "--snapshot", "none").exit_code == 0


# stores -------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder, options):
    """A small file system, where that is allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_store_below_a_file(fails, monkeypatch, table):
    path = table(GOOD)
    monkeypatch.setenv("IRNET_STORE", str(path / "store"))
    found = fails("snapshot", path)
    assert found.startswith(f"cannot create {path}/store")
    assert found.endswith("a file lies where a folder should be, move it or set IRNET_STORE")
    monkeypatch.setenv("IRNET_STORE", str(path))
    assert fails("snapshot", path) == f"the store {path} is a file: set IRNET_STORE to a folder"
    assert path.read_text() == GOOD


def test_read_only_store(fails, cli, monkeypatch, table, tmp_path):
    path = table(GOOD)
    with mounted(tmp_path / "m", "size=1m") as folder:
        monkeypatch.setenv("IRNET_STORE", str(folder / "store"))
        assert cli("snapshot", path).exit_code == 0
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        other = table(GOOD.replace("8.4", "8.3"), "b.csv")
        found = fails("snapshot", other)
        assert found.startswith(f"cannot lock {folder}/store/.staging/snapshots/")
        assert found.endswith(
            "Read-only file system; set IRNET_STORE to a folder that can be written"
        )
        assert cli("ls").exit_code == 0
        assert cli("verify", "snapshots/latest").exit_code == 0


def test_full_store(fails, cli, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    rows = pa.table({"formula": ["NaCl"] * 40_000, "gap": rng.normal(size=40_000)})
    pq.write_table(rows, tmp_path / "large.parquet")
    with mounted(tmp_path / "m", "size=128k") as folder:
        monkeypatch.setenv("IRNET_STORE", str(folder / "store"))
        found = fails("snapshot", tmp_path / "large.parquet")
        assert found.startswith(f"cannot write {folder}/store/.staging/snapshots/")
        assert found.endswith(
            "No space left on device; free some space and run again, finished parts are kept"
        )
        assert [path for path in folder.rglob("*.parquet*") if path.is_file()] == []
        assert cli("ls").stdout == "the store is empty, try irnet demo\n"
        subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
        assert cli("snapshot", tmp_path / "large.parquet").exit_code == 0
