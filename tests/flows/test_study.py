import io
import json
import re
import signal
import time

import numpy as np
import pandas as pd
import pytest

import flows.study
from flows.models import open_model
from flows.study import CURVES, PAGE, RESULTS
from infra.store import Store
from irnet_core.errors import TrainingError

TARGET = "formation_energy_ev_atom"


def grid(folder, learners, **more):
    path = folder / "grid.json"
    data = {"name": "expt", "source": "pymatgen-expt", "target": TARGET}
    absent = {"name": "absent", "table": "absent.parquet", "target": "y"}
    run = {"sizes": [200], "epochs": 2, "tuning_rows": 50, "depths": [10]}
    runs = [{"data": ["expt", "absent"], "learners": learners, **run, **more}]
    path.write_text(json.dumps({"data": [data, absent], "run": runs}))
    return path


def study_of(store):
    artifact = Store(store).open("latest", "studies")
    return artifact, artifact.read_table(RESULTS).to_pandas()


def test_a_study_and_its_continuation(store, cli, tmp_path, monkeypatch):
    result = cli("study", "--grid", grid(tmp_path, ["ridge", "irnet"]))
    assert result.exit_code == 0, result.output
    artifact, results = study_of(store)
    assert "report: " + artifact.path(PAGE) in result.stdout
    done, absent = results[results.data == "expt"], results[results.data == "absent"]
    assert done.status.tolist() == ["done", "done"]
    assert done.n_inputs.tolist() == [145, 257]
    assert done.train_rows.tolist() == [200, 200]
    assert done.validation_rows.tolist() == [214, 214]
    assert (done.mae < done.mae_of_median).all()
    assert set(absent.status) == {"not run"}
    assert absent.reason.str.contains("--data").all()
    curves = artifact.read_table(CURVES).to_pandas()
    assert curves.epoch.tolist() == [1, 2]
    assert curves.mae.min() == pytest.approx(done.mae.iloc[1], rel=1e-5)

    # the same again makes nothing; one more learner is all that is run
    assert study_of(store)[0].id == artifact.id
    run, ran = flows.study.run_cell, []
    monkeypatch.setattr(
        flows.study, "run_cell", lambda cell, *rest: ran.append(cell.name) or run(cell, *rest)
    )
    assert cli("study", "--grid", tmp_path / "grid.json").exit_code == 0
    assert (ran, study_of(store)[0].id) == ([], artifact.id)
    more = grid(tmp_path, ["ridge", "irnet", "tree", "plain"])
    assert cli("study", "--grid", more, "--minutes", 0).exit_code == 0
    assert ran == []
    assert study_of(store)[1].status.tolist()[:4] == ["done", "done", "not run", "not run"]
    assert cli("study", "--grid", more).exit_code == 0
    assert ran == ["tree", "plain-10"]
    again = study_of(store)[1]
    assert again[again.data == "expt"].mae.tolist()[:2] == done.mae.tolist()
    assert not [p for p in (store / ".staging" / "studies" / "cells").iterdir() if p.is_dir()]


def test_cells_are_run_in_the_order_of_the_grid(store, cli, tmp_path, monkeypatch):
    """What stands first is what a limit of time leaves: a data set may come again later."""
    one, other = (
        {"name": name, "source": "pymatgen-expt", "target": TARGET} for name in ("one", "other")
    )
    runs = [(["one", "other"], "ridge"), (["one"], "tree"), (["other"], "linear")]
    content = {
        "data": [one, other],
        "run": [
            {"data": data, "learners": [learner], "sizes": [100], "tuning_rows": 50}
            for data, learner in runs
        ],
    }
    (tmp_path / "grid.json").write_text(json.dumps(content))
    ran, run = [], flows.study.run_cell
    monkeypatch.setattr(
        flows.study,
        "run_cell",
        lambda cell, *rest: ran.append((cell.data, cell.name)) or run(cell, *rest),
    )
    assert cli("study", "--grid", tmp_path / "grid.json").exit_code == 0
    assert ran == [("one", "ridge"), ("other", "ridge"), ("one", "tree"), ("other", "linear")]
    assert set(study_of(store)[1].status) == {"done"}


def test_a_cell_that_another_study_is_at_is_left_to_it(store, cli, tmp_path):
    path = grid(tmp_path, ["linear", "tree"])
    assert cli("study", "--grid", path, "--minutes", 0).exit_code == 0
    key = study_of(store)[1].cell[0]
    with flows.study.Results(Store(store)).at_work(key):
        result = cli("study", "--grid", path)
    assert "linear: left to another study" in result.stderr
    results = study_of(store)[1]
    assert results.status.tolist()[:2] == ["not run", "done"]
    assert results.reason[0] == flows.study.AT_WORK
    assert cli("study", "--grid", path).exit_code == 0
    assert study_of(store)[1].status.tolist()[:2] == ["done", "done"]


def test_a_table_that_another_study_makes_is_left_to_it(store, cli, tmp_path):
    path = grid(tmp_path, ["linear"])
    assert cli("study", "--grid", path).exit_code == 0
    features = Store(store).open("latest", "features").manifest
    Store(store).folder.child("features").remove_all()
    other = {"name": "other", "source": "pymatgen-expt", "target": TARGET}
    content = json.loads(path.read_text())
    content["data"][0] = other
    content["run"][0] |= {"data": ["other"], "learners": ["tree"]}
    path.write_text(json.dumps(content))
    with Store(store).staging("features", features.request):
        result = cli("study", "--grid", path)
    assert result.exit_code == 0, result.output
    assert "other: left to another study (another run is making the features" in result.stderr
    assert study_of(store)[1].reason.tolist() == [flows.study.AT_WORK]
    assert cli("study", "--grid", path).exit_code == 0
    assert study_of(store)[1].status.tolist() == ["done"]


def test_a_cell_that_fails_is_a_result(store, cli, tmp_path, monkeypatch):
    def diverge(*_, **__):
        raise TrainingError("the loss is nan")

    with monkeypatch.context() as patch:
        patch.setattr("flows.study_cells.fit_members", diverge)
        assert cli("study", "--grid", grid(tmp_path, ["irnet", "tree"])).exit_code == 0
    _, results = study_of(store)
    assert results.status.tolist()[:2] == ["failed", "done"]
    assert results.reason[0] == "TrainingError: the loss is nan"
    assert cli("study", "--grid", tmp_path / "grid.json").exit_code == 0  # it is tried again
    assert study_of(store)[1].status.tolist()[:2] == ["done", "done"]


def test_errors(store, fails, tmp_path):
    assert "leave out one of" in fails("study", "--small", "--grid", "paper")
    path = tmp_path / "grid.json"
    data = {"name": "a", "table": "a.parquet", "target": "y"}
    path.write_text(json.dumps({"data": [data], "run": [{"data": ["a"], "learners": ["svm"]}]}))
    said = fails("study", "--grid", path, "--data", tmp_path)
    assert said.startswith(f"{tmp_path}: no table of the grid is there: name the folder")


def test_folds_are_judged_together_and_ensembles_beside_single_networks(store, cli, tmp_path):
    table = pd.read_csv(io.StringIO(TABLE))
    table["fold"] = np.arange(len(table)) % 3
    table.to_parquet(tmp_path / "folds.parquet")
    data = {"name": "folds", "table": "folds.parquet", "target": "y", "split": "folds:fold"}
    run = {
        "data": ["folds"],
        "learners": ["irnet-elements", "ridge"],
        "epochs": 2,
        "tuning_rows": 40,
    }
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"data": [data], "run": [run | {"members": [1, 2]}]}))
    result = cli("study", "--grid", path, "--data", tmp_path)
    assert result.exit_code == 0, result.output
    _, results = study_of(store)
    assert results.status.tolist() == ["done"] * 3
    assert results.learner.tolist() == ["irnet-elements", "irnet-elements", "ridge"]
    assert results.members.tolist() == [1, 2, 1]
    assert results.folds.tolist() == [3] * 3
    assert results.validation_rows.tolist() == [72] * 3
    assert results.rows_at_hand.tolist() == [48] * 3
    assert results.mae.nunique() == 3
    # an ensemble's first member is the single network, but for how threads sum
    assert results.single_mae.isna().tolist() == [True, False, True]
    assert results.single_mae[1] == pytest.approx(results.mae[0], rel=0.01)


def test_a_table_that_is_refused_stops_no_other(store, cli, tmp_path):
    table = pd.read_csv(io.StringIO(TABLE))
    table["split"] = np.where(np.arange(len(table)) % 3 == 0, "val", "train")
    twice = pd.concat([table, table[:1].assign(split="train")])
    twice.to_parquet(tmp_path / "twice.parquet")
    common = {"table": "twice.parquet", "target": "y", "split": "given:split"}
    data = [{"name": "refused", **common}, {"name": "dropped", **common, "drop_shared": True}]
    data.append({"name": "texts", **common, "target": "split"})
    run = {"data": ["refused", "texts", "dropped"], "learners": ["ridge"], "tuning_rows": 40}
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"data": data, "run": [run]}))
    result = cli("study", "--grid", path, "--data", tmp_path)
    assert result.exit_code == 0, result.output
    _, results = study_of(store)
    assert results.status.tolist() == ["failed", "failed", "done"]
    assert "are in train and in val" in results.reason[0]
    assert "a target must be numbers, this column holds string" in results.reason[1]
    assert results.rows_at_hand[2] == (table.split == "train").sum()  # not the row given twice


@pytest.mark.slow
def test_a_killed_study_goes_on(store, irnet_process, irnet, tmp_path):
    path = grid(tmp_path, ["tree", "irnet"], epochs=300)
    cells = store / ".staging" / "studies" / "cells"
    with irnet_process(store, "study", "--grid", path) as process:
        end = time.monotonic() + 100
        while not list(cells.glob("*.json")) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    (first,) = cells.glob("*.json")
    before = first.stat().st_mtime_ns
    irnet(store, "study", "--grid", grid(tmp_path, ["tree", "irnet"]))
    assert study_of(store)[1].status.tolist()[:2] == ["done", "done"]
    assert first.stat().st_mtime_ns == before


TABLE = "formula,year,y\n" + "".join(
    f"{metal}{n}{other},{2000 + n},{n / 7}\n"
    for metal in ("Fe", "Ca", "Al", "Mg")
    for other in ("O", "F")
    for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("split", "validation"), [("element:Fe", 18), ("time:year<2007", 24), ("cluster:3/0", None)]
)
def test_training_takes_a_rule(store, cli, tmp_path, split, validation):
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    options = ("--target", "y", "--split-column", split, "--network", "8BARx1-1", "--epochs", 1)
    result = cli("train", "--data", path, *options, "--name", "small")
    assert result.exit_code == 0, result.output
    card = open_model("small", Store(store))[0].card
    assert card.split["kind"] == split.partition(":")[0]
    rows = card.data["rows"]
    assert rows["train"] + rows["validation"] == 72
    assert validation in (None, rows["validation"])


def test_rows_marked_test_that_a_rule_does_not_go_by_are_named(store, cli, tmp_path):
    header, *lines = TABLE.splitlines()
    roles = ["test" if i % 6 == 0 else "val" if i % 6 == 1 else "train" for i in range(len(lines))]
    rows = [f"{line},{role}" for line, role in zip(lines, roles, strict=True)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join([f"{header},split", *rows]))
    options = ("train", "--data", path, "--target", "y", "--network", "8BARx1-1", "--epochs", 1)
    said = cli(*options, "--split-column", "element:Fe", "--name", "small").stderr
    assert "12 of these rows are marked test in the column split, which" in said
    assert "marked test" not in cli(*options, "--split-column", "split", "--name", "other").stderr


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("element:*", r"this one is several \(Al, Ca, ...\): name one as in element:Fe$"),
        ("element:Xe", "no row belongs to the element 'Xe': choose among Al, Ca, F, Fe, Mg, O$"),
        ("colour:red", "'colour:red' is no split: write one like given:split"),
        (
            "folds:fold/1",
            "column 'fold': there is no such column: .* has year, y$",
        ),
    ],
)
def test_rules_that_do_not_fit(store, fails, tmp_path, split, message):
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    said = fails("train", "--data", path, "--target", "y", "--split-column", split)
    assert re.search(message, said), said


def test_a_table_that_cannot_be_read_stops_no_other(store, cli, tmp_path):
    content = json.loads(grid(tmp_path, ["linear"]).read_text())
    (tmp_path / "absent.parquet").write_bytes(b"no table")
    content["run"][0]["data"] = ["absent", "expt"]
    (tmp_path / "grid.json").write_text(json.dumps(content))
    result = cli("study", "--grid", tmp_path / "grid.json", "--data", tmp_path)
    assert result.exit_code == 0, result.output
    results = study_of(store)[1]
    assert results.status.tolist() == ["failed", "done"]
    assert "absent.parquet as .parquet" in results.reason[0]
