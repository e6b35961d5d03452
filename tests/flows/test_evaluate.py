"""Rows held out of training, and models judged on rows with known values."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.csv as pa_csv
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from flows.models import open_model
from flows.seen import seen_by
from infra.store import Store
from irnet_core.bundle import WEIGHTS

pytestmark = pytest.mark.timeout(600)  # it trains, on a machine that may be busy
PAIRS = [(a, b) for a in ("Li", "Mg", "Fe", "Cu", "La", "Bi") for b in ("O", "F", "S", "Cl", "N")]
FORMULAS = [f"{a}{i}{b}{j}" for a, b in PAIRS for i in range(1, 6) for j in (1, 7, 11, 13)]
HELD = np.array(["Li" in formula for formula in FORMULAS])


def table(path, held):
    """A table whose rows with lithium have other values."""
    rng = np.random.default_rng(0)
    values = np.array([len(f) + 0.2 * FORMULAS.index(f) % 7 for f in FORMULAS])
    values += rng.normal(size=len(values)) / 4
    rows = [
        f"{f},{held(value) if out else value}"
        for f, value, out in zip(FORMULAS, values, HELD, strict=True)
    ]
    path.write_text("\n".join(["formula,gap_ev", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cluster):
    """A store with an ensemble that met no lithium, and one whose lithium had other values."""
    from flows.cli import app

    folder = tmp_path_factory.mktemp("evaluate")
    tables = {
        "gaps": table(folder / "a.csv", lambda value: value),
        "altered": table(folder / "b.csv", lambda value: "" if value > 9 else 1000 + value),
    }
    options = ["--hold-out", "element:Li", "--network", "16BARx1-1"]
    options += ["--epochs", "3", "--members", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IRNET_STORE", str(folder / "store"))
        patch.setenv("IRNET_DASK_ADDRESS", cluster)
        patch.setenv("IRNET_THREADS", "1")
        for name, path in tables.items():
            arguments = ["train", "--data", str(path), "--target", "gap_ev", "--name", name]
            result = CliRunner().invoke(app, [*arguments, *options])
            assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(trained, store):
    """A copy of that store, which this process works in."""
    shutil.copytree(trained / "store", store)
    return trained


def judged(cli, tmp_path, *options):
    output = tmp_path / "found.json"
    result = cli("evaluate", "--target", "gap_ev", "--output", output, *options)
    assert result.exit_code == 0, result.output
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    return json.loads(output.read_text()), warnings, result.stdout


def test_held_out_rows_change_nothing_in_a_model(folder, store):
    one, other = (Store(store).open(name, "models") for name in ("gaps", "altered"))
    assert one.id != other.id  # each names its own snapshot
    assert one.read_bytes(WEIGHTS) == other.read_bytes(WEIGHTS)
    cards = [open_model(name, Store(store))[0].card for name in ("gaps", "altered")]
    assert cards[0].metrics == cards[1].metrics
    assert cards[0].calibration == cards[1].calibration
    assert cards[0].calibration
    rows = cards[0].data["rows"]
    assert rows["train"] + rows["validation"] == (~HELD).sum()
    assert cards[0].split["kind"] == "random"
    held = cards[0].split["hold_out"]
    assert (held["kind"], held["which"], held["rows"]) == ("element", "Li", HELD.sum())
    assert one.manifest.parameters["hold_out"] == "element:Li"


def test_figures_are_those_of_predict(folder, cli, tmp_path):
    data = folder / "a.csv"
    options = ("--model", "gaps", "--data", data, "--rows", "element:Li", "--below", "8")
    picture = tmp_path / "found.png"
    found, warnings, said = judged(cli, tmp_path, *options, "--figure", picture)
    assert f"picture -> {picture}" in said
    height, width, _ = imread(picture).shape
    assert width > height > 200
    assert warnings == []
    cli("predict", "--model", "gaps", "--input", data, "--output", tmp_path / "p.csv")
    rows = pa_csv.read_csv(tmp_path / "p.csv").to_pandas()[HELD]
    truth, error = rows["gap_ev"], (rows["prediction"] - rows["gap_ev"]).abs()
    (one,) = found["models"]
    assert one["all"]["rows"] == HELD.sum()
    assert one["all"]["mae"] == pytest.approx(error.mean(), rel=1e-5)
    near = truth.abs() <= 8
    assert 0 < near.sum() < HELD.sum()
    assert found["counts"]["within_below"] == one["below"]["rows"] == near.sum()
    assert one["below"]["mae"] == pytest.approx(error[near].mean(), rel=1e-5)
    covered = (rows["lower_90"] <= truth) & (truth <= rows["upper_90"])
    assert one["all"]["coverage"][2]["covered"] == pytest.approx(covered.mean(), abs=0.011)
    width = (rows["upper_90"] - rows["lower_90"]).mean()
    assert one["all"]["coverage"][2]["mean_width"] == pytest.approx(width, rel=1e-5)
    assert sum(entry["rows"] for entry in one["all"]["domain"]) == HELD.sum()
    assert (one["cost"]["members"], one["single"]["cost"]["members"]) == (2, 1)
    assert one["single"]["all"]["mae"] != one["all"]["mae"]
    assert one["single"]["all"]["coverage"] is None
    for text in (f"{one['all']['mae']:.4f}", f"{one['single']['all']['mae']:.4f}", "  single "):
        assert text in said
    assert "without " in said
    assert "beyond ±8 eV" in said


def test_rows_that_a_model_has_met_are_warned_of(folder, cli, store, tmp_path):
    options = ("--model", "gaps", "--model", "altered", "--data", folder / "a.csv")
    found, warnings, _ = judged(cli, tmp_path, *options)
    card = open_model("gaps", Store(store))[0].card
    seen = found["models"][0]["seen"]
    rows = card.data["rows"]  # no two formulas of the table are one composition
    assert (seen["trained"], seen["validated"]) == (rows["train"], rows["validation"])
    for name, warning in zip(("gaps", "altered"), warnings, strict=True):
        assert warning.startswith(f"warning: model {name!r} was trained on the compositions of ")
    shutil.rmtree(store / "features")
    _, (warning,), _ = judged(cli, tmp_path, "--model", "gaps", "--data", folder / "a.csv")
    again = f"are not in the store: run irnet featurize {card.data['snapshot']})"
    assert warning.endswith(again)
    shutil.rmtree(store / "snapshots")
    _, warnings, _ = judged(cli, tmp_path, "--model", "gaps", "--data", folder / "a.csv")
    assert len(warnings) == 1
    assert "whether model 'gaps' has met the judged rows in training could not be" in warnings[0]


def test_a_unit_that_is_not_stated_is_taken_for_the_models(folder, cli, tmp_path):
    (tmp_path / "b.csv").write_text((folder / "a.csv").read_text().replace("gap_ev", "gap", 1))
    output = tmp_path / "found.json"
    options = ("--model", "gaps", "--data", tmp_path / "b.csv", "--target", "gap")
    said = cli("evaluate", *options, "--output", output).stderr
    assert "the unit of 'gap' is not stated: it is taken for eV, as model 'gaps' has it" in said
    assert "always their median" in cli("evaluate", *options).stdout


def test_what_a_card_says_is_not_relied_upon(folder, store):
    store = Store(store)
    card = open_model("gaps", store)[0].card
    whole = seen_by(card, store)
    assert whole.unknown == ""
    assert len(whole.validated) > 0
    for changed in ({"data": {}}, {"split": {"kind": "random"}}, {"parent": {"model": "gaps"}}):
        assert seen_by(replace(card, **changed), store).unknown
    # what its ancestors have met counts, as far as it can be found
    parent = {"model": store.open("altered", "models").id}
    child = replace(card, split=card.split | {"seed": 1})  # another tenth validates
    alone, both = seen_by(child, store), seen_by(replace(child, parent=parent), store)
    assert both.unknown == ""
    assert set(both.trained) == set(alone.trained) | set(whole.trained)
    assert len(both.trained) > len(alone.trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "none"), "answers to 'none'"),
        (("--model", "gaps", "--target", "x"), "column 'x': there is no such column: the table"),
        (("--model", "gaps", "--target", "note"), "known values must be numbers, this column hol"),
        (("--model", "gaps", "--target", "empty"), "of the 3 rows to be judged has a finite valu"),
        (("--model", "gaps", "--target", "gap_k"), "predicts in eV, column 'gap_k' of "),
        (("--model", "gaps", "--rows", "element:Xe"), "no row belongs to the element 'Xe'"),
        (("--model", "gaps", "--rows", "cluster:2"), "this one is several (0, 1, ...)"),
        (("--model", "gaps", "--rows", "given:role"), "column 'role': there is no such column"),
        (("--model", "gaps", "--below", "-1"), "--below is -1: give a positive number"),
        (("--model", "gaps", "--below", "0.1"), "no value is within --below 0.1"),
        (("--model", "gaps", "--output", "a.csv"), "a.csv: name a file that ends in .json"),
        (("--model", "gaps", "--figure", "a.pdf"), "a.pdf: name a file that ends in .png"),
        (("--model", "gaps", "--formula-column", "note"), "rename it"),
        (("--model", "gaps", "--data", "none.csv"), "there is no file none.csv: check the path"),
    ],
)
def test_what_cannot_be_judged(folder, fails, tmp_path, options, message):
    (tmp_path / "a.csv").write_text(
        "formula,gap_ev,gap_k,note,empty\nNaCl,1,2,a,nan\nKBr,2,3,b,nan\nMgO,2,3,b,nan\nXx,9,9,c,9\n"
    )
    given = {"--data": tmp_path / "a.csv", "--target": "gap_ev"}
    given |= dict(zip(options[::2], options[1::2], strict=True))
    assert message in fails("evaluate", *[part for pair in given.items() for part in pair])


def test_models_of_different_units_are_judged_apart(folder, fails, tmp_path):
    (tmp_path / "a.csv").write_text("formula,plain\nNaCl,1\nKBr,2\nMgO,3\n")
    both = ("--model", "gaps", "--model", "oqmd-formation-enthalpy")
    said = fails("evaluate", *both, "--data", tmp_path / "a.csv", "--target", "plain")
    assert "predicts in eV/atom, what model 'gaps' predicts is in eV: convert" in said


def test_a_hold_out_that_leaves_nothing_is_refused(fails, tmp_path):
    path = table(tmp_path / "a.csv", lambda value: value)
    arguments = ("train", "--data", path, "--target", "gap_ev", "--hold-out")
    assert "no row belongs to the element 'Xe'" in fails(*arguments, "element:Xe")
    assert "'elements:Li' is no split: write one like" in fails(*arguments, "elements:Li")
    assert "column 'fold': there is no such column" in fails(*arguments, "folds:fold/0")
