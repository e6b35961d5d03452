"""The frozen tables of the rules are what their sources say."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import featurizers
from featurizers.elements import SYMBOLS, Z_OF
from featurizers.screening_elements import (
    default_elements,
    element_facts,
    rules_data,
    similar_elements,
    table_digests,
)

FOLDER = Path(featurizers.__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_tables_are_what_the_builder_writes() -> None:
    pytest.importorskip("smact")
    pytest.importorskip("mendeleev")
    from featurizers import build_screening_tables as build

    for name, text in (
        ("screening_table.csv", build.screening_table()),
        ("substitution_table.csv", build.substitution_table()),
    ):
        assert (FOLDER / name).read_text(encoding="utf-8") == text


def test_default_elements_are_stable_and_bond() -> None:
    elements = default_elements()
    assert len(elements) == 76
    assert not {Z_OF[s] for s in ("He", "Ar", "Xe", "Tc", "Pm", "Po", "U")} & set(elements)
    assert {Z_OF[s] for s in ("H", "Bi", "La", "Lu")} <= set(elements)


def test_states_are_smacts_and_common_ones() -> None:
    data = rules_data()
    iron = data.oxidation_states[26, : data.n_states[26]].tolist()
    assert {2, 3} <= set(iron)
    assert data.n_states[Z_OF["He"]] == 0
    assert data.metal[26]
    assert not data.metal[8]
    assert data.mixed_valence[26]
    assert not data.mixed_valence[3]
    common = rules_data("common")
    assert common.oxidation_states[26, : common.n_states[26]].tolist() == [2, 3]
    assert common.digest() != data.digest()


def test_facts_are_plausible() -> None:
    facts = element_facts()
    assert facts.price_usd_kg[Z_OF["Au"]] > 1e4 > 10 > facts.price_usd_kg[Z_OF["Fe"]]
    assert facts.abundance_ppm[Z_OF["O"]] == np.nanmax(facts.abundance_ppm)
    assert not np.isnan(facts.price_usd_kg[list(default_elements())]).any()
    with (FOLDER / "screening_table.csv").open(encoding="utf-8", newline="") as file:
        why = {row["symbol"]: row["toxic_why"] for row in csv.DictReader(file) if row["toxic_why"]}
    assert {"Pb", "Cd", "Hg", "As", "Tl", "Be", "U"} <= why.keys()
    assert "Fe" not in why
    assert {Z_OF[symbol] for symbol in why} == set(np.flatnonzero(facts.toxic).tolist())


def test_similar_elements_are_symmetric_and_fewer_for_a_higher_limit() -> None:
    loose, strict = similar_elements(1.0), similar_elements(4.0)
    np.testing.assert_array_equal(loose, loose.T)
    assert not loose.diagonal().any()
    assert (loose | strict == loose).all()
    assert 0 < strict.sum() < loose.sum()
    assert loose[Z_OF["Na"], Z_OF["K"]]
    assert len(SYMBOLS) == len(loose)


def test_digests_are_of_the_files() -> None:
    assert all(len(digest) == 64 for digest in table_digests().values())
