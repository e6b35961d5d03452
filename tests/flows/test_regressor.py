"""The scikit-learn regressor: the same model as the command line's, in scikit-learn's own hands."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict

from flows.predict import predict
from flows.regressor import IRNetRegressor
from irnet_core.errors import DataError, ModelError, NotationError, TrainingError

SMALL = {"network": "32BARx2-1", "epochs": 2}


@pytest.fixture(scope="module")
def rows():
    """150 compositions and a value that their elements explain."""
    table = pd.DataFrame(
        [
            (f"{a}{i}{b}{j}", i * len(a) - j * len(b))
            for a in ("Li", "Mg", "K", "Fe", "Al")
            for b in ("O", "F", "S", "Cl", "P")
            for i, j in ((1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (1, 3))
        ],
        columns=["formula", "gap_ev"],
    )
    return table.set_index(np.arange(1000, 1000 + len(table)))


@pytest.fixture(scope="module")
def fitted(rows):
    return IRNetRegressor(**SMALL, validation="random:0.4").fit(rows.formula, rows.gap_ev)


def test_learns_and_says_how_well(rows):
    model = IRNetRegressor(network="32BARx2-1", epochs=60).fit(rows.formula, rows.gap_ev)
    assert model.score(rows.formula, rows.gap_ev) > 0.5
    card = model.bundle_.card
    assert (card.target, card.data["rows"]) == ("gap_ev", {"train": 135, "validation": 15})
    assert card.metrics["validation"]["rows"] == 15


def test_the_same_seed_gives_the_same_model(rows, fitted):
    again = clone(fitted).fit(rows.formula.tolist(), rows.gap_ev.tolist())
    assert np.array_equal(again.predict(rows.formula), fitted.predict(rows.formula))
    other = clone(fitted).set_params(random_state=1).fit(rows.formula, rows.gap_ev)
    assert not np.array_equal(other.predict(rows.formula), fitted.predict(rows.formula))


def test_saved_it_is_what_the_command_line_reads(rows, fitted, tmp_path, store):
    fitted.save(tmp_path / "model")
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    predict(str(tmp_path / "model"), str(tmp_path / "rows.parquet"), str(tmp_path / "out.parquet"),
            "formula")  # fmt: skip
    told = pq.read_table(tmp_path / "out.parquet").to_pandas().drop(columns="gap_ev")
    table = fitted.predict_table(rows.formula)
    assert table.index.equals(rows.index)
    pd.testing.assert_frame_equal(table.reset_index(drop=True), told)
    assert list(table)[-1] == "domain_percentile"  # 60 rows calibrate
    loaded = IRNetRegressor.load(tmp_path / "model")
    mean, std = loaded.predict(rows.formula, return_std=True)
    assert np.array_equal(mean, table.prediction)
    assert np.array_equal(std, table.prediction_std)
    anew = clone(loaded).set_params(epochs=1).fit(rows.formula, rows.gap_ev)
    assert anew.bundle_.card.network == loaded.bundle_.card.network
    with pytest.raises(ModelError, match="is there already: name another"):
        fitted.save(tmp_path / "model")


def test_the_model_of_the_package_by_its_name(store):
    model = IRNetRegressor.load("oqmd-formation-enthalpy")
    table = model.predict_table(["NaCl", "Xx2", None])
    assert table.prediction[0] == pytest.approx(-1.95, abs=0.2)  # eV/atom
    assert table.prediction[1:].isna().all()
    assert table.reason.tolist()[1] == "unknown element 'Xx'"
    with pytest.raises(DataError, match=r"row 1: 'Xx2' cannot be used: unknown element 'Xx'"):
        model.predict(["NaCl", "Xx2"])


def test_an_element_that_no_training_row_has_is_out_of_the_domain(fitted, rows):
    table = fitted.predict_table(["NaBr", "KBr"])
    assert table.domain_percentile.tolist() == [100, 100]
    assert (fitted.predict_table(rows.formula).domain_percentile < 100).sum() > 100


def test_in_the_hands_of_scikit_learn(rows):
    model = IRNetRegressor(**SMALL)
    across = cross_val_predict(model, rows.formula, rows.gap_ev, cv=3)
    assert np.isfinite(across).all()
    search = GridSearchCV(model, {"epochs": [1, 8]}, cv=2, scoring="neg_mean_absolute_error")
    search.fit(rows[["formula"]].to_numpy(), rows.gap_ev.to_numpy())
    assert search.best_params_ == {"epochs": 8}


def test_compositions_of_pymatgen_and_a_frame_of_one_column(rows, fitted):
    from pymatgen.core import Composition

    objects = [Composition(formula) for formula in rows.formula]
    np.testing.assert_allclose(fitted.predict(objects), fitted.predict(rows.formula), rtol=1e-6)
    assert np.array_equal(fitted.predict(rows[["formula"]]), fitted.predict(rows.formula))
    with pytest.raises(DataError, match="formulas are one column, not 2"):
        fitted.predict(rows)


def test_given_roles_and_rules(rows):
    roles = np.resize(["train", "train", "val", "test"], len(rows))
    model = IRNetRegressor(**SMALL).fit(rows.formula, rows.gap_ev, roles)
    assert model.bundle_.card.split["test_rows_left_out"] == 37
    poisoned = np.where(roles == "test", 1e9, rows.gap_ev)
    again = IRNetRegressor(**SMALL).fit(rows.formula, poisoned, roles)
    assert np.array_equal(model.predict(rows.formula), again.predict(rows.formula))
    held = IRNetRegressor(**SMALL, validation="element:Fe").fit(rows.formula, rows.gap_ev)
    assert held.bundle_.card.data["rows"]["validation"] == rows.formula.str.contains("Fe").sum()
    twice = pd.concat([rows, rows])
    with pytest.raises(DataError, match="are in train and in val"):
        IRNetRegressor(**SMALL).fit(
            twice.formula, twice.gap_ev, np.repeat(["train", "val"], len(rows))
        )


def test_an_ensemble(rows):
    model = IRNetRegressor(**SMALL, members=2).fit(rows.formula, rows.gap_ev)
    single = IRNetRegressor(**SMALL).fit(rows.formula, rows.gap_ev)
    assert len(model.bundle_.networks) == 2
    for ours, alone in zip(
        model.bundle_.networks[0].parameters(),
        single.bundle_.networks[0].parameters(),
        strict=True,
    ):
        np.testing.assert_allclose(ours.detach(), alone.detach(), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"y": "values"}, DataError, "150 formulas have 149 values"),
        ({"y": "missing"}, DataError, "row 7: 1 of 150 values are not finite numbers"),
        ({"y": "words"}, DataError, "the values to learn must be numbers"),
        ({"formula": "Xx2O3"}, DataError, "row 7: 1 of 150 formulas cannot be used, the first, "
         "'Xx2O3', because: unknown element 'Xx'"),
        ({"formula": 12}, DataError, "row 7: 1 of 150 formulas cannot be used"),
        ({"network": "irnet-9"}, NotationError, "irnet-9"),
        ({"epochs": 0}, TrainingError, "at least 1 epoch"),
        ({"members": 0}, ModelError, "1 to 64 members"),
        ({"validation": "given:split"}, DataError, "needs a column 'split' of 150 values"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned(rows, change, error, match):
    formulas, y = rows.formula.tolist(), rows.gap_ev.astype(object).tolist()
    changed = dict(change)
    if "formula" in changed:
        formulas[7] = changed.pop("formula")
    kind = changed.pop("y", None)
    y = {"values": y[1:], "missing": [*y[:7], None, *y[8:]], "words": ["wide", *y[1:]], None: y}[
        kind
    ]
    with pytest.raises(error, match=match):
        IRNetRegressor(**SMALL | changed).fit(formulas, y)


def test_not_fitted_yet_and_one_formula(fitted):
    with pytest.raises(NotFittedError):
        IRNetRegressor().predict(["NaCl"])
    with pytest.raises(DataError, match="give a list of them"):
        fitted.predict("NaCl")


def test_no_standard_deviation_without_calibration(rows):
    model = IRNetRegressor(**SMALL).fit(rows.formula, rows.gap_ev)  # 15 rows validate
    assert "prediction_std" not in model.predict_table(["NaCl"])
    with pytest.raises(ModelError, match="fit it with more validation rows"):
        model.predict(["NaCl"], return_std=True)


def test_needs_neither_prefect_nor_dask():
    code = (
        "import sys, flows.regressor; heavy = {'prefect', 'dask', 'pymatgen', 'matminer'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
