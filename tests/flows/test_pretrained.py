"""The models that come with the package: small, whole, and as good as their cards say."""

import numpy as np
import pandas as pd
import pytest

from featurizers.blocks import BLOCKS, encode
from featurizers.formula import parse_formulas
from flows.models import open_model
from infra.store import Store
from irnet_core import bundle
from irnet_core.errors import StoreError
from irnet_core.inference import Predictor
from irnet_core.pretrained import pretrained_folder, pretrained_names

pytestmark = pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine
OQMD = "oqmd-formation-enthalpy"


def test_the_bundle():
    assert pretrained_names() == [OQMD]
    folder = pretrained_folder(OQMD)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25e6
    found = bundle.read(folder)
    found.check_inputs([block.schema for block in BLOCKS.values()])
    card = found.card
    assert (card.name, card.target, card.unit) == (OQMD, "delta_e_ev_atom", "eV/atom")
    assert card.weights == "bfloat16"
    assert found.calibration is not None
    assert found.domain is not None
    assert card.metrics["coverage"]["coverage_90"] == pytest.approx(0.9, abs=0.01)
    assert card.data["database"] == "oqmd"
    assert "/home" not in card.to_json()
    assert "/work" not in card.to_json()
    by_distance = [part["mae"] for part in card.metrics["domain"]]
    assert by_distance[-1] > 1.5 * by_distance[0]


def test_it_predicts_at_once(store, cli, tmp_path):
    """In an empty store; values are those of OQMD's own compounds, roughly."""
    path = tmp_path / "formulas.csv"
    path.write_text("formula\nNaCl\nFe2O3\nXx\nAl2O3\nMgO\n")
    output = tmp_path / "output.parquet"
    result = cli("predict", "--model", OQMD, "--input", path, "--output", output)
    assert result.exit_code == 0, result.output
    frame = pd.read_parquet(output)
    known = frame[frame.prediction.notna()]
    assert known.formula.tolist() == ["NaCl", "Fe2O3", "Al2O3", "MgO"]
    assert known.prediction.to_numpy() == pytest.approx([-1.9, -1.5, -3.1, -2.9], abs=0.4)
    assert (known.lower_90 < known.prediction).all()
    assert (known.prediction < known.upper_90).all()
    assert known.domain_percentile.between(0, 100).all()


def test_names_that_no_model_has(store):
    with pytest.raises(StoreError, match=f"the package has {OQMD}"):
        open_model("none", Store(store))


def test_its_digest_names_it_too(store):
    """Cards of models that continue it know it by that."""
    digest = bundle.digest(pretrained_folder(OQMD))
    assert open_model(digest, Store(store))[0].card.name == OQMD


def test_a_model_of_ones_own_goes_first(filled):
    own = Store(filled)
    assert open_model(OQMD, own)[1] == bundle.digest(pretrained_folder(OQMD))
    small = own.open("small", "models")
    own.name(small.manifest, [OQMD])
    assert open_model(OQMD, own)[1] == small.id


def test_errors_on_rows_never_trained_on(shared_data):
    """Of 4,000 validation rows, against the card's figures of all."""
    table = pd.read_parquet(shared_data / "oqmd" / "formation_enthalpy.parquet")
    rows = table[(table.split == "val") & (table.delta_e_ev_atom.abs() < 10)]
    rows = rows.sample(4000, random_state=0)
    parsed = parse_formulas(rows.formula.tolist())
    found = bundle.read(pretrained_folder(OQMD))
    names = [block["name"] for block in found.card.inputs]
    inputs = encode(parsed.numbers, parsed.amounts, names)
    predicted = Predictor(found).predict(inputs)
    truth = rows.delta_e_ev_atom.to_numpy()
    error = np.abs(predicted.mean.numpy() - truth)
    # products in bfloat16, where the processor has them, cost less than a thousandth
    exact = np.abs(Predictor(found, precision="fp32")(inputs).numpy() - truth)
    assert error.mean() == pytest.approx(exact.mean(), rel=1e-3)
    # faulty rows add some 0.004 to the card's
    assert error.mean() < found.card.metrics["validation"]["mae"]
    covered = (predicted.lower_90.numpy() <= truth) & (truth <= predicted.upper_90.numpy())
    assert covered.mean() == pytest.approx(0.9, abs=0.015)
