import gzip
import json

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from featurizers.formula import canonical_formula, parse_formula
from infra.sources import SOURCES, PymatgenExpt
from infra.sources import pymatgen_expt as module
from irnet_core.errors import SourceError

KJ_MOL = 96.48533212  # kJ/mol in one eV (CODATA 2018)

# Standard enthalpies of formation at 298 K in kJ/mol of formula units, as handbooks give them.
HANDBOOK = {
    "NaCl": -411.2,
    "MgO": -601.6,
    "CaO": -634.9,
    "Al2O3": -1675.7,
    "TiO2": -944.0,
    "Fe2O3": -824.2,
    "SiO2": -910.7,
    "LiF": -616.0,
    "ZnS": -206.0,
    "Si3N4": -743.5,
    "Mg2Si": -77.8,
    "CaCO3": -1207.6,
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return PymatgenExpt().read().to_pandas()


def test_counts_are_those_of_the_publication(frame):
    # matminer's description of the same set: 2,135 materials, 1,834 uncertainties, 1,580 mp-ids
    assert len(frame) == frame["formula"].nunique() == 2135
    assert frame["formation_energy_uncertainty_ev_atom"].notna().sum() == 1834
    assert frame["source_id"].notna().sum() == 1580
    assert frame["formation_energy_ev_atom"].notna().all()
    assert frame["source_id"].dropna().str.fullmatch(r"mp-\d+").all()


def test_units_against_handbooks(frame):
    energy = frame.set_index("formula")["formation_energy_ev_atom"]
    for formula, expected in HANDBOOK.items():
        n_atoms = sum(parse_formula(formula).values())
        assert energy[formula] * n_atoms * KJ_MOL == pytest.approx(expected, rel=0.006)


def test_against_pymatgen_atom_counts(frame):
    composition = pytest.importorskip("pymatgen.core").Composition
    with gzip.open(PymatgenExpt()._path, "rt") as file:
        rows = json.load(file)
    for source, target in (
        ("exp energy", "formation_energy_ev_atom"),
        ("uncertainty", "formation_energy_uncertainty_ev_atom"),
    ):
        expected = [row[source] / composition(row["formula"]).num_atoms for row in rows]
        np.testing.assert_array_equal(frame[target], expected)


def test_against_the_calorimetry_it_was_compiled_from(frame, shared_data):
    kim = pd.read_parquet(shared_data / "expt" / "intermetallic_formation_enthalpy.parquet")
    kim["key"] = kim["formula"].map(canonical_formula)
    kim = kim.groupby("key")["formation_enthalpy_expt_ev_atom"].agg(["mean", "size"])
    mine = frame.assign(key=frame["formula"].map(canonical_formula)).set_index("key")
    both = mine.join(kim[kim["size"] == 1], how="inner")
    assert len(both) > 500
    difference = (both["formation_energy_ev_atom"] - both["mean"]).abs()
    assert difference.median() < 0.002
    assert (difference < 0.1).mean() > 0.95


def test_uncertainties_are_small_and_positive(frame):
    uncertainty = frame["formation_energy_uncertainty_ev_atom"].dropna()
    assert (uncertainty >= 0).all()
    assert uncertainty.median() < 0.1


def test_schema_and_terms():
    table = PymatgenExpt().read()
    for name in ("formation_energy_ev_atom", "formation_energy_uncertainty_ev_atom"):
        assert table.schema.field(name).metadata[b"unit"] == b"eV/atom"
        assert pc.sum(pc.is_nan(table[name])).as_py() == 0  # missing is null, not NaN
    source = SOURCES["pymatgen-expt"]()
    assert "10.1038/s41598-021-94550-5" in source.citation
    assert source.licence
    assert set(source.fingerprint()) == {"source", "package", "sha256"}


def test_damaged_file(tmp_path):
    source = PymatgenExpt()
    source._path = tmp_path / "exp.json.gz"
    for data in (b"no gzip", gzip.compress(b"[{}]"), gzip.compress(b"{")):
        source._path.write_bytes(data)
        with pytest.raises(SourceError, match=r"cannot read exp_compounds.json.gz of pymatgen"):
            source.read()


def test_pymatgen_without_the_file(monkeypatch):
    monkeypatch.setattr(module, "_PACKAGES", ("numpy", "no-such-package"))
    with pytest.raises(SourceError, match=r"no installed package .* install pymatgen anew"):
        PymatgenExpt()
