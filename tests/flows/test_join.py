"""Models that are joined to one ensemble."""

import json
from dataclasses import replace

import pyarrow.csv as pa_csv
import pytest
import safetensors.torch
import torch

from flows.join import difference
from flows.models import open_model
from infra.store import Store
from irnet_core.bundle import CARD, WEIGHTS, pack

pytestmark = pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine
TRAIN = ("train", "--data", "latest", "--target", "formation_energy_ev_atom", "--from", "small")


@pytest.fixture
def several(filled, cli):
    """A store with the model `small`, and two that continue it, one on another split."""
    for name, seed in (("longer", 0), ("elsewhere", 1)):
        result = cli(*TRAIN, "--epochs", "2", "--seed", str(seed), "--name", name)
        assert result.exit_code == 0, result.output
    return Store(filled)


def test_an_ensemble_is_the_mean_of_its_models(several, cli, tmp_path):
    result = cli("join", "--model", "small", "--model", "longer", "--name", "both")
    assert result.exit_code == 0, result.output
    assert "90 % intervals: " in result.stdout
    (small, first), (longer, second), (both, _) = (
        open_model(name, several) for name in ("small", "longer", "both")
    )
    assert len(both.networks) == 2
    card = both.card
    assert [member["model"] for member in card.members] == [first, second]
    assert "recipe" not in card.members[0]
    assert card.members[1]["recipe"] == longer.card.recipe != card.recipe
    assert card.recipe == small.card.recipe
    assert card.parent == longer.card.parent
    assert card.metrics["validation"]["rows"] == small.card.metrics["validation"]["rows"]
    assert card.calibration["scores"] not in (
        small.card.calibration["scores"],
        longer.card.calibration["scores"],
    )
    (tmp_path / "in.csv").write_text("formula\nFe2O3\nNaCl\nCu3Al\n")
    found = {}
    for name in ("small", "longer", "both"):
        path = tmp_path / f"{name}.csv"
        result = cli("predict", "--model", name, "--input", tmp_path / "in.csv", "--output", path)
        assert result.exit_code == 0, result.output
        found[name] = pa_csv.read_csv(path).column("prediction").to_numpy()
    assert found["both"] == pytest.approx((found["small"] + found["longer"]) / 2, rel=1e-4)
    # joined again, it is the same model under another name
    models = several.list("models")
    cli("join", "--model", "small", "--model", "longer", "--name", "again")
    assert several.list("models") == models
    assert open_model("again", several)[1] == open_model("both", several)[1]


def test_parents_must_be_one_also_beside_a_model_without(several, cli, fails):
    result = cli(*TRAIN[:-1], "longer", "--epochs", "2", "--name", "third")
    assert result.exit_code == 0, result.output
    models = ("--model", "small", "--model", "longer", "--model", "third")
    message = "models 'longer' and 'third' differ in their parents"
    assert message in fails("join", *models, "--name", "all")


def old_format(bundle, folder):
    """A bundle of format 1: one bare network."""
    card = json.loads(bundle.card.to_json()) | {"format": 1}
    for field in ("members", "weights", "calibration", "domain", "parent"):
        del card[field]
    tensors = safetensors.torch.load(pack(bundle)[WEIGHTS])
    tensors = {
        name.replace("members.0.", "network."): tensor
        for name, tensor in tensors.items()
        if not name.startswith("domain.")
    }
    folder.mkdir()
    (folder / CARD).write_text(json.dumps(card))
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors))
    return folder


def test_models_of_format_1(several, cli, tmp_path):
    small, _ = open_model("small", several)
    old = old_format(small, tmp_path / "old")
    result = cli("join", "--model", old, "--model", "longer", "--name", "both")
    assert result.exit_code == 0, result.output
    both, _ = open_model("both", several)
    own = {"seed": small.card.seed, "epochs": small.card.epochs}
    assert both.card.members[0].items() >= own.items()
    assert len(both.networks) == len(both.card.members) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"rows": 5}}, None),
        ({"data": {"rows": None}}, None),
        ({"target": "formula"}, "column 'formula'"),
        ({"target": "nowhere"}, "no such column"),
    ],
)
def test_cards_of_strangers(several, cli, fails, tmp_path, change, message):
    options = []
    for name in ("small", "longer"):
        made, _ = open_model(name, several)
        card = json.loads(made.card.to_json())
        card |= change | {"data": card["data"] | change.get("data", {})}
        folder = tmp_path / name
        folder.mkdir()
        (folder / CARD).write_text(json.dumps(card))
        (folder / WEIGHTS).write_bytes(pack(made)[WEIGHTS])
        options += ["--model", folder]
    before = several.list("models")
    if message is not None:
        assert message in fails("join", *options, "--name", "both")
        assert several.list("models") == before
        return
    result = cli("join", *options, "--name", "both")
    assert result.exit_code == 0, result.output
    assert open_model("both", several)[0].card.data["rows"] == made.card.data["rows"]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["small"], "only model 'small' is named"),
        (["small", "longer", "small"], "model 'small' is named twice"),
        (["small", "nowhere"], "answers to 'nowhere'"),
        (["small", "elsewhere"], "models 'small' and 'elsewhere' differ in their splits: only"),
        (["longer", "oqmd-formation-enthalpy"], "differ in their networks: only"),
    ],
)
def test_models_that_cannot_be_joined(several, fails, models, message):
    before = several.list("models")
    options = [part for model in models for part in ("--model", model)]
    assert message in fails("join", *options, "--name", "both")
    assert several.list("models") == before


def test_what_makes_a_difference(several):
    small, longer = (open_model(name, several)[0] for name in ("small", "longer"))
    assert difference(small, longer) == ""
    assert small.inputs.center is not longer.inputs.center
    bounded = replace(longer, target=replace(longer.target, bounds=torch.zeros(2).double()))
    assert difference(small, bounded) == ""  # they are found anew
    longer.inputs.center[0] += 1
    assert difference(small, longer) == "scaling"
