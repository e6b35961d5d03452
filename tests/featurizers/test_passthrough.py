"""Matminer's featurizers by name: what they are given, and what their hash follows."""

from importlib import metadata

import numpy as np
import pytest

from featurizers.passthrough import passthrough_fields, passthrough_rows, passthrough_schema
from irnet_core.errors import DataError

CSCL = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def test_sites_outside_the_cell_are_moved_into_it():
    rows = [
        (np.eye(3) * 4.12, [55, 17], coords)
        for coords in (CSCL, CSCL - 1, CSCL + np.array([0, 0, 7]))
    ]
    inside, *outside = passthrough_rows("structure:ChemicalOrdering", rows)
    assert len(inside) == 3
    assert outside == [inside, inside]


def test_text_columns_are_found_by_a_probe_once(monkeypatch):
    types = [str(field.type) for field in passthrough_fields("structure:GlobalSymmetryFeatures")]
    assert types == ["float", "string", "float", "float", "float"]
    monkeypatch.setattr("featurizers.passthrough._PROBES", {})
    assert len(passthrough_fields("structure:GlobalSymmetryFeatures")) == 5


def test_the_hash_follows_both_libraries(monkeypatch):
    before = passthrough_schema("composition:BandCenter").hash
    versions = {"matminer": metadata.version("matminer"), "pymatgen": "0"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    assert passthrough_schema("composition:BandCenter").hash != before


def test_a_featurizer_that_needs_another_package():
    with pytest.raises(DataError, match="matminer cannot make structure:SiteStats.*DScribe"):
        passthrough_schema("structure:SiteStatsFingerprint:SOAP_formation_energy")


def test_oxidation_states_are_guessed_where_asked_for():
    (bare,) = passthrough_rows("composition:ElectronegativityDiff", ["Fe2O3"])
    assert "Oxidation states" in bare.reason
    labels = passthrough_schema("composition_oxid:ElectronegativityDiff").columns
    (found,) = passthrough_rows("composition_oxid:ElectronegativityDiff", ["Fe2O3"])
    assert dict(zip(labels, found, strict=True))["mean EN difference"] == pytest.approx(1.61)
    rows = [(np.eye(3) * 4.12, [55, 17], CSCL)]
    (found,) = passthrough_rows("structure_oxid:EwaldEnergy", rows)
    assert -4.0 < found[0] < -3.0  # eV/atom; CsCl's Madelung energy is -6.2 eV per formula unit
