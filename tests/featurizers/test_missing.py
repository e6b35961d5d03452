"""The three policies for missing element properties: matminer's own, NaN, and rejection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from featurizers.blocks import BLOCKS, blocks, encode, schemas, without_data
from featurizers.composition import FEATURE_NAMES, feature_schema, featurize, featurize_arrays
from featurizers.elements import SYMBOLS, Z_OF, Missing, element_data, refused
from featurizers.formula import parse_formulas
from featurizers.structure import (
    FEATURE_NAMES_STRUCTURE,
    featurize_structure,
    featurize_structures,
    structure_schema,
)
from irnet_core.errors import DataError, FormulaError

GOLDEN = json.loads(Path(__file__).with_name("policy_golden.json").read_text(encoding="utf-8"))
POLICIES: tuple[Missing, ...] = ("matminer", "nan", "reject")
NOISE = 1e-6  # of values that are zero by symmetry

# of the golden file, the formulas that the policy "reject" refuses, and all that Magpie lacks
REJECTED = {
    "HeNe": "Magpie has no MeltingT, Electronegativity for element 'He'",
    "ArF2": "Magpie has no Electronegativity for element 'Ar'",
    "Ar2Na": "Magpie has no Electronegativity for element 'Ar'",
    "RnO": "Magpie has no Electronegativity, SpaceGroupNumber for element 'Rn'",
    "FrCl": "Magpie has no MeltingT, SpaceGroupNumber for element 'Fr'",
    "AtH": "Magpie has no SpaceGroupNumber for element 'At'",
    "BkCl3": "Magpie has no CovalentRadius for element 'Bk'",
    "CfO2": "Magpie has no CovalentRadius for element 'Cf'",
    "EsN": "Magpie has no CovalentRadius, SpaceGroupNumber for element 'Es'",
    "LrF3": "Magpie has no CovalentRadius, Electronegativity, SpaceGroupNumber for element 'Lr'",
    "RfCl4": "Magpie has no MendeleevNumber, MeltingT, CovalentRadius, Electronegativity, "
    "SpaceGroupNumber for element 'Rf'",
    "CnO2": "Magpie has no MendeleevNumber, MeltingT, CovalentRadius, Electronegativity, "
    "SpaceGroupNumber for element 'Cn'",
}


def golden(policy: str, kind: str) -> np.ndarray:
    """Matminer's values under a policy of its own, with NaN for gaps."""
    return np.array(GOLDEN[policy][kind], np.float64)


def crystals() -> tuple[list, list, list]:
    edges, numbers, frac_coords = zip(*GOLDEN["crystals"], strict=True)
    return [edge * np.eye(3) for edge in edges], list(numbers), list(frac_coords)


@pytest.mark.parametrize("policy", ["matminer", "nan"])
def test_golden_values_of_compositions(policy: Missing) -> None:
    expected = golden(policy, "formulas")
    np.testing.assert_allclose(featurize(GOLDEN["formulas"], policy), expected, 1e-5, 1e-9)
    assert np.isnan(expected).any() == (policy == "nan")


@pytest.mark.parametrize("policy", ["matminer", "nan"])
def test_golden_values_of_structures(policy: Missing) -> None:
    expected = golden(policy, "crystals")
    found = featurize_structures(*crystals(), policy)
    assert found.reasons == {}
    np.testing.assert_allclose(found.values, expected, 1e-5, NOISE)
    assert np.isnan(expected).any() == (policy == "nan")


def test_golden_rejections_of_compositions() -> None:
    parsed = parse_formulas(GOLDEN["formulas"])
    reasons = without_data(parsed.numbers, "reject")
    assert {GOLDEN["formulas"][row]: reason for row, reason in reasons.items()} == REJECTED
    values = featurize_arrays(parsed.numbers, parsed.amounts, "reject")
    assert np.flatnonzero(np.isnan(values).all(axis=1)).tolist() == [*reasons]
    kept = np.setdiff1d(np.arange(len(values)), [*reasons])
    np.testing.assert_allclose(values[kept], golden("matminer", "formulas")[kept], 1e-5, 1e-9)


def test_golden_rejections_of_structures() -> None:
    lattices, numbers, frac_coords = crystals()
    found = featurize_structures(
        [*lattices, lattices[0]], [*numbers, [55, 17]], [*frac_coords, frac_coords[0]], "reject"
    )
    assert found.reasons == {
        0: "Magpie has no Electronegativity for element 'Ar'",
        1: "Magpie has no SpaceGroupNumber for element 'At'",
        2: "Magpie has no CovalentRadius for element 'Cf'",
    }
    assert np.isnan(found.values[:3]).all()
    assert np.isfinite(found.values[3]).all()
    with pytest.raises(DataError, match="no Electronegativity for element 'Ar'"):
        featurize_structure(lattices[0], numbers[0], frac_coords[0], "reject")


def test_gaps_reach_only_the_columns_of_their_property() -> None:
    x = dict(zip(FEATURE_NAMES, featurize(["RnO"], "nan")[0], strict=True))
    lacking = {
        name.split(maxsplit=2)[2] for name, v in x.items() if name[:6] == "Magpie" and v != v
    }
    assert lacking == {"Electronegativity", "SpaceGroupNumber"}
    y = featurize_structure(*(column[0] for column in crystals()), missing="nan")
    of_gap = ["Electronegativity" in name for name in FEATURE_NAMES_STRUCTURE]
    np.testing.assert_array_equal(np.isnan(y), of_gap)


def test_a_rejected_formula_is_named() -> None:
    with pytest.raises(FormulaError, match="'ArF2' in row 1 .* no Electronegativity .* 'Ar'"):
        featurize(["NaCl", "ArF2"], "reject")


def test_what_is_kept_has_no_imputed_value() -> None:
    """Electronegativity of pymatgen, for the ionic columns, lacks no more than Magpie's."""
    data = element_data("nan")
    kept = [z for z in range(1, len(SYMBOLS)) if z not in refused("reject")]
    assert np.isfinite(data.properties[kept]).all()
    assert np.isfinite(data.electronegativity[kept]).all()
    assert len(kept) == 90
    assert sorted(refused()) == sorted(refused("nan")) == [*range(113, 119)]


def test_amount_zero_and_padding_are_not_rejected() -> None:
    numbers, amounts = (
        np.array([[11, 17, 18, 0], [18, 0, 0, 0]]),
        np.array([[1, 1, 0, 9], [1.0] * 4]),
    )
    x = featurize_arrays(numbers, amounts, "reject")
    np.testing.assert_array_equal(x[0], featurize(["NaCl"])[0])
    assert np.isnan(x[1]).all()


def test_torch_rejects_what_numpy_rejects() -> None:
    torch = pytest.importorskip("torch")
    parsed = parse_formulas([*GOLDEN["formulas"], "Og"])
    ours = featurize_arrays(parsed.numbers, parsed.amounts, "reject")
    theirs = featurize_arrays(torch.tensor(parsed.numbers), torch.tensor(parsed.amounts), "reject")
    np.testing.assert_allclose(theirs.numpy(), ours, 1e-6, 1e-12)


def test_the_policy_is_part_of_the_schema() -> None:
    for schema in (feature_schema, structure_schema):
        assert len({schema(policy).hash for policy in POLICIES}) == 3
        assert [schema(policy).missing for policy in POLICIES] == [*POLICIES]
    # of features in stores and of models: these must not change by accident
    assert [block.schema.hash for block in BLOCKS.values()] == [
        "435b785733905298",
        "4d3e82f43d02fd1a",
    ]
    assert structure_schema().hash == "8152a03dab4338c3"


@pytest.mark.parametrize("policy", POLICIES)
def test_blocks_take_the_policy(policy: Missing) -> None:
    parsed = parse_formulas(["NaCl", "ArF2"])
    names = ["fractions", "magpie"]
    x = encode(parsed.numbers, parsed.amounts, names, policy)
    np.testing.assert_array_equal(
        x[:, 112:], featurize_arrays(parsed.numbers, parsed.amounts, policy)
    )
    assert np.isfinite(x[:, :112]).all()
    magpie, fractions = blocks(policy)["magpie"].schema, BLOCKS["fractions"].schema
    assert schemas(names, policy) == [fractions, magpie]
    assert magpie == feature_schema(policy)


def test_unknown_policy_is_refused() -> None:
    for action in (blocks, refused, lambda policy: featurize(["NaCl"], policy)):
        with pytest.raises(ValueError, match="'zero' is no policy"):
            action("zero")


def test_elements_are_refused_with_a_reason() -> None:
    assert without_data(np.array([[Z_OF["Og"], 1], [1, 0]], np.uint8)) == {
        0: "no Magpie data for element 'Og'"
    }
    assert without_data(np.zeros((0, 3), np.uint8), "reject") == {}
