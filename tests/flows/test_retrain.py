"""Pull, prepare, featurize and train in one run."""

import random

import pytest

from flows.models import open_model
from flows.retrain import retrain
from infra.store import Store
from irnet_core.errors import DataError, ModelError

SMALL = {"network": "16BARx2-1", "epochs": 2, "name": "small", "target": "gap_ev"}


@pytest.fixture
def table(tmp_path):
    """Compositions with two entries each, one of them without a value, as databases have them."""
    random.seed(0)
    rows = [
        f"{a}{i}{b}{j}"
        for a in ("Li", "Mg", "Fe")
        for b in "OFS"
        for i in (1, 2, 3)
        for j in (1, 2)
    ]
    lines = [
        f"{formula},{random.random()},{-random.random()}" for formula in rows for _ in range(2)
    ]
    lines[7] = lines[7].split(",")[0] + ",,-1"
    (tmp_path / "entries.csv").write_text(
        "\n".join(["formula,gap_ev,formation_energy_ev_atom", *lines])
    )
    return str(tmp_path / "entries.csv")


def test_with_steps_the_snapshot_becomes_a_training_table(store, table):
    model = retrain.fn(source="file", path=table, steps="lowest", **SMALL)
    store = Store(store)
    prepared = store.open("snapshots/small-table")
    compositions = prepared.dataset().to_table(columns=["composition"])["composition"].to_pylist()
    assert len(compositions) == len(set(compositions)) >= 30
    assert store.open(model, "models").manifest.inputs["snapshot"] == prepared.id
    assert retrain.fn(source="file", path=table, steps="lowest", **SMALL) == model


def test_an_ensemble_that_continues_a_model(store, table):
    asked = {"source": "file", "path": table, "steps": "lowest", **SMALL}
    first = retrain.fn(**asked | {"name": "first"})
    model = retrain.fn(**asked, members=2, weights="bfloat16", parent="first")
    found, _ = open_model(model, Store(store))
    assert (len(found.networks), found.card.weights) == (2, "bfloat16")
    assert found.card.parent["model"] == first
    with pytest.raises(ModelError, match="1 to"):
        retrain.fn(**asked, members=0)


def test_without_steps_missing_values_are_refused_and_nothing_is_published(store, table):
    with pytest.raises(DataError, match=r"entries.csv, column 'gap_ev', row 7: 1 of 108 values"):
        retrain.fn(source="file", path=table, **SMALL)
    assert Store(store).list() == []
