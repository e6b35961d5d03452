"""Ensembles, small weights and continued models, from the command line."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flows.choices import check_same_quantity
from flows.models import open_model
from flows.train import say_what_continues, starts_of
from infra.store import Store
from irnet_core.errors import ModelError
from irnet_core.references import TargetScaler
from irnet_core.training import TrainingData

pytestmark = pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine
TRAIN = ("train", "--data", "latest", "--target", "formation_energy_ev_atom", "--epochs", "1")


def test_an_ensemble_that_continues_a_model(filled, cli):
    options = ("--name", "next", "--from", "small", "--members", "2", "--weights", "bf16")
    result = cli(*TRAIN, *options)
    assert result.exit_code == 0, result.output
    assert "90 % intervals: " in result.stdout
    store = Store(filled)
    bundle, _ = open_model("next", store)
    parent, identity = open_model("small", store)
    card = bundle.card
    assert card.parent == {
        "model": identity,
        "target": "formation_energy_ev_atom",
        "validation_rows_it_trained_on": 0,  # both drew the same tenth
    }
    assert card.network == parent.card.network
    assert card.weights == "bfloat16"
    assert [member["seed"] for member in card.members] == [0, 1]
    assert len(bundle.networks) == 2
    assert card.recipe["learning_rate"] == pytest.approx(0.1 * parent.card.recipe["learning_rate"])
    assert card.metrics["validation_mae_before_rounding"] == pytest.approx(
        card.metrics["validation"]["mae"], rel=0.01
    )
    # formation energies are mostly their elements', and a model continued for them agrees
    assert parent.target.references is not None
    assert torch.equal(bundle.target.references, parent.target.references)
    # the output goes along where the target is the same
    assert [start.same_target for start in starts_of(parent, card.target)] == [True]
    assert [start.same_target for start in starts_of(parent, "band_gap_ev")] == [False]
    # who continues an ensemble by a single network is told so
    result = cli(*TRAIN, "--name", "single", "--from", "next")
    assert "continue 1 of the 2 networks of 'next': --members 2 takes all" in result.output
    assert len(open_model("single", store)[0].networks) == 1


def test_what_cannot_be_checked_is_said(filled, capsys):
    parent, _ = open_model("small", Store(filled))
    say_what_continues(parent, 1, {"not_checked": "no snapshot is there"}, 10)
    said = capsys.readouterr().err
    assert "whether 'small' was trained on validation rows is not known: no snapshot" in said


def test_a_target_of_the_same_name_in_another_unit(filled):
    parent, _ = open_model("small", Store(filled))
    target, unit = parent.card.target, parent.card.unit
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, parent.card.n_inputs)).astype(np.float32)
    y = draw.normal(size=200) + parent.target.explained(torch.from_numpy(x)).numpy()
    data = TrainingData(x, y, x, y, fractions=True)
    check_same_quantity(parent, target, unit, data)
    with pytest.raises(ModelError, match=f"predicts {target} in eV/atom, here its unit is meV"):
        check_same_quantity(parent, target, "meV/atom", data)
    far = replace(data, train_y=1000 * draw.normal(size=200))
    with pytest.raises(ModelError, match="times as much as those that model 'small' was trained"):
        check_same_quantity(parent, target, unit, far)
    check_same_quantity(parent, "band_gap_ev", "meV", far)
    unscaled = replace(parent, target=TargetScaler.identity())  # as by the recipe of the paper
    check_same_quantity(unscaled, target, unit, data)
    with pytest.raises(ModelError, match="times as much"):
        check_same_quantity(unscaled, target, unit, far)
    stranger = replace(parent, card=replace(parent.card, metrics={"validation": 3}))
    check_same_quantity(stranger, target, unit, far)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--from", "small", "--network", "irnet-10"), "not irnet-10: leave out --network"),
        (("--from", "small", "--recipe", "paper"), "recipe 'paper' trains on magpie: choose the"),
        (("--from", "other"), "answers to 'other': there are models/latest, models/small"),
        (("--members", "65"), "an ensemble has 1 to 64 members, not 65"),
        (
            ("--from", "small", "--hold-out", "element:Fe"),
            "it anew with the same --hold-out, or train from scratch",
        ),
        (
            ("--from", "oqmd-formation-enthalpy", "--hold-out", "element:Fe"),
            "whether model 'oqmd-formation-enthalpy' has met rows to be held out is not known (",
        ),
    ],
)
def test_choices_that_cannot_be_made(filled, fails, options, message):
    before = Store(filled).list("models")
    assert message in fails(*TRAIN, "--name", "next", *options)
    assert Store(filled).list("models") == before
