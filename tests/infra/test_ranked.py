import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers.elements import SYMBOLS
from featurizers.formula import canonical_formula
from infra.ranked import decompositions, ranked_table
from irnet_core.errors import ScreenError
from irnet_core.schema import PROPERTY_PARTS
from irnet_core.screening.phases import Phases

COMPOSITION = st.dictionaries(st.integers(1, 94), st.integers(1, 9), min_size=1, max_size=4)


def arrays(rows):
    numbers, amounts = np.zeros((2, len(rows), 4), np.uint8)
    for i, row in enumerate(rows):
        for j, (z, amount) in enumerate(sorted(row.items())):
            numbers[i, j], amounts[i, j] = z, amount
    return {"numbers": numbers, "amounts": amounts}


@settings(max_examples=50, deadline=None)
@given(st.lists(COMPOSITION, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_rows_say_the_same_as_their_formulas_one_by_one(rows, random):
    columns = arrays(rows)
    columns["oxidation_states"] = np.where(columns["numbers"] > 0, columns["numbers"] % 7 - 3, 0)
    table = ranked_table(columns, {}, first_rank=5)
    for i, (row, found) in enumerate(zip(rows, table.to_pylist(), strict=True)):
        symbols = sorted(SYMBOLS[z] for z in row)
        assert found["rank"] == 5 + i
        assert found["formula"] == canonical_formula(
            "".join(f"{SYMBOLS[z]}{a}" for z, a in row.items())
        )
        assert found["chemical_system"] == "-".join(symbols)
        assert found["elements"] == symbols
        assert found["n_atoms"] == sum(row.values())
        states = [SYMBOLS.index(symbol) % 7 - 3 for symbol in symbols]
        assert found["oxidation_states"] == (states if any(states) else None)


def test_every_column_has_type_unit_and_meaning_and_its_place():
    columns = arrays([{3: 2, 8: 1}, {12: 1, 8: 1}]) | {
        "pareto_front": [1, 2],
        "energy_above_hull": [0.1, np.nan],
        "rule_branch": [1, 0],
        "decomposition": pa.array(["a", None]),
        "is_known": [True, False],
        "out_of_domain": [False, True],
        "score": np.float32([1, 2]),
        "candidate": [7, 9],
    }
    parts = {f"band_gap_ev{part}": [1.0, np.nan] for part in PROPERTY_PARTS}
    table = ranked_table(columns | parts, {"band_gap_ev": "eV"})
    assert table.column_names == [
        *("rank", "score", "candidate", "formula", "chemical_system", "elements", "n_atoms"),
        *parts,
        *("energy_above_hull", "decomposition", "rule_branch", "is_known", "out_of_domain"),
        "pareto_front",
    ]
    for field in table.schema:
        assert field.metadata[b"meaning"], field.name
    assert table.schema.field("band_gap_ev_lower_90").metadata[b"unit"] == b"eV"
    assert table["rule_branch"].to_pylist() == ["neutral", None]
    assert table["energy_above_hull"].to_pylist() == [0.1, None]
    assert table["band_gap_ev_std"].null_count == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonsense": [1.0]}, "cannot take a column 'nonsense'"),
        ({"rank": [1]}, "cannot take a column 'rank'"),
        ({"score": [1.0, 2.0]}, "column 'score' has 2 rows, not 1"),
        ({"rule_branch": [4]}, "codes from 0 to 3"),
        ({"amounts": [[1, 0]]}, "each atomic number needs an amount"),
        ({"oxidation_states": [[1]]}, "should be in slots"),
    ],
)
def test_columns_that_cannot_be_used(change, message):
    columns = {"numbers": [[3, 8]], "amounts": [[2, 1]]}
    with pytest.raises(ScreenError, match=message):
        ranked_table(columns | change, {})


def test_a_declared_property_needs_its_column():
    with pytest.raises(ScreenError, match="property 'band_gap_ev' has no column"):
        ranked_table({"numbers": [[3]], "amounts": [[1]]}, {"band_gap_ev": "eV"})


def test_decompositions_are_texts_of_shares():
    phases = Phases.lowest(
        [[3, 8], [8, 26], [26, 0]], [[2, 1], [3, 2], [1, 0]], [-2, -1.7, 0], "refuse"
    )
    at = {row: place for place, row in enumerate(phases.rows.tolist())}
    products = [[at[0], at[1], -1], [at[2], -1, -1], [at[1], at[0], at[2]], [-1, -1, -1]]
    shares = [[2 / 3, 1 / 3, 0], [1, 0, 0], [0.5, 0.49999, 1e-5], [0, 0, 0]]
    assert decompositions(phases, products, shares).to_pylist() == [
        "0.667 Li2O + 0.333 Fe2O3",
        "1 Fe",
        "0.5 Fe2O3 + 0.5 Li2O + 0.001 Fe",
        None,
    ]
