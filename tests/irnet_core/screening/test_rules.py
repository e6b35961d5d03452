"""Charge neutrality and electronegativity order, against brute force and against SMACT."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening import choices, reach
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.charges import find_neutral
from irnet_core.screening.rules import RULES, SETS, ElementRules, Rules
from irnet_core.screening.sites import element_sites


def neutral_assignments(
    numbers: np.ndarray, amounts: np.ndarray, data: ElementRules, electronegativity: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    found = find_neutral(numbers, amounts, element_sites(data), electronegativity)
    return found.passes, found.states


def brute_first(
    numbers: list[int], amounts: list[int], data: ElementRules, electronegativity: bool
) -> tuple[int, ...] | None:
    """First passing assignment, written down from the docstring, one row at a time."""
    choices = [data.oxidation_states[z, : data.n_states[z]].tolist() for z in numbers]
    order = [data.electronegativity[z] for z in numbers]
    passing = []
    for states in product(*choices):
        if sum(s * a for s, a in zip(states, amounts, strict=True)):
            continue
        if electronegativity and np.isnan(order).any():
            continue
        pairs = combinations(zip(states, order, strict=True), 2)
        if electronegativity and any(
            s * t < 0 and not (x < y if s > 0 else y < x) for (s, x), (t, y) in pairs
        ):
            continue
        passing.append(states)
    sign_place = {1: 0, -1: 1, 0: 2}

    def pattern(states: tuple[int, ...]) -> tuple[int, int, list[int]]:
        signs = np.sign(states).tolist()
        return signs.count(0), signs.count(-1), [sign_place[sign] for sign in signs]

    return min(passing, key=pattern, default=None)  # min keeps the first of equals


elements = st.lists(st.integers(-4, 7), max_size=4, unique=True)
order = st.sampled_from([0.8, 1.6, 1.6, 2.5, 3.4, float("nan")])


@settings(deadline=None, max_examples=50)
@given(
    states=st.lists(elements, min_size=8, max_size=8),
    order=st.lists(order, min_size=8, max_size=8),
    arity=st.integers(2, 4),
    max_atoms=st.integers(4, 7),
    electronegativity=st.booleans(),
)
def test_verdicts_and_states_are_those_of_brute_force(
    states: list[list[int]],
    order: list[float],
    arity: int,
    max_atoms: int,
    electronegativity: bool,
) -> None:
    data = ElementRules.from_lists(dict(enumerate(states, 1)), dict(enumerate(order, 1)))
    enumeration = Enumeration(tuple(range(1, 9)), arity, max_atoms)
    every = max(1, len(enumeration) // 40)
    numbers, amounts = (a[::every] for a in enumeration.take(0, len(enumeration)))
    passes, found = neutral_assignments(numbers, amounts, data, electronegativity)
    for row in range(len(numbers)):
        expected = brute_first(
            numbers[row].tolist(), amounts[row].tolist(), data, electronegativity
        )
        assert passes[row] == (expected is not None)
        assert tuple(found[row].tolist()) == (expected or (0,) * arity)


CHARGES = st.lists(
    st.integers(-4, 6) | st.sampled_from([-15, 15]), min_size=1, max_size=4, unique=True
)


@settings(deadline=None, max_examples=60)
@given(
    states=st.lists(CHARGES, min_size=6, max_size=6),
    order=st.lists(st.sampled_from([0.8, 1.6, 1.6, 2.5, 3.4]), min_size=6, max_size=6),
    rows=st.lists(
        st.tuples(
            st.lists(st.integers(1, 5), min_size=1, max_size=6), st.sampled_from([1, 3, 17, 51])
        ),
        min_size=1,
        max_size=8,
    ),
    electronegativity=st.booleans(),
    seed=st.integers(0, 99),
)
def test_scattered_rows_of_many_atoms_are_those_of_brute_force(
    states: list[list[int]],
    order: list[float],
    rows: list[tuple[list[int], int]],
    electronegativity: bool,
    seed: int,
) -> None:
    """Charges of up to thousands, rows of different lengths, each of a system of its own."""
    data = ElementRules.from_lists(dict(enumerate(states, 1)), dict(enumerate(order, 1)))
    rng = np.random.default_rng(seed)
    numbers, amounts = np.zeros((2, len(rows), 6), np.uint8)
    for i, (atoms, times) in enumerate(rows):  # multiples, for these cancel more often
        numbers[i, : len(atoms)] = np.sort(rng.choice(6, len(atoms), replace=False) + 1)
        amounts[i, : len(atoms)] = np.array(atoms) * times
    passes, found = neutral_assignments(numbers, amounts, data, electronegativity)
    for i, (atoms, _) in enumerate(rows):
        z, a = numbers[i, : len(atoms)].tolist(), amounts[i, : len(atoms)].tolist()
        expected = brute_first(z, a, data, electronegativity)
        assert passes[i] == (expected is not None)
        assert tuple(found[i].tolist()) == (expected or (0,) * len(z)) + (0,) * (6 - len(z))


def smact_rules(attribute: str) -> ElementRules:
    """SMACT's own oxidation states and electronegativities."""
    smact = pytest.importorskip("smact")
    table = {z: smact.Element(s) for z, s in enumerate(smact.ordered_elements(1, 103), 1)}
    return ElementRules.from_lists(
        {z: getattr(element, attribute) or [] for z, element in table.items()},
        {z: e.pauling_eneg for z, e in table.items() if e.pauling_eneg is not None},
    )


@pytest.mark.parametrize("electronegativity", [True, False])
@pytest.mark.parametrize("oxidation_states_set", ["icsd24", "smact14"])
@pytest.mark.parametrize(("arity", "n"), [(2, 900), (3, 900), (4, 200)])
def test_verdicts_are_those_of_smact(
    arity: int, n: int, oxidation_states_set: str, electronegativity: bool
) -> None:
    smact = pytest.importorskip("smact")
    screening = pytest.importorskip("smact.screening")
    data = smact_rules(f"oxidation_states_{oxidation_states_set}")
    symbols = ["", *smact.ordered_elements(1, 103)]
    # all elements, those without states or electronegativity too
    enumeration = Enumeration(tuple(range(1, 104)), arity, 9)
    chosen = np.random.default_rng(arity).choice(len(enumeration), n, replace=False)
    rows = [enumeration.take(i, i + 1) for i in chosen.tolist()]
    numbers = np.concatenate([row.numbers for row in rows])
    amounts = np.concatenate([row.amounts for row in rows])
    passes, _ = neutral_assignments(numbers, amounts, data, electronegativity)
    expected = [
        screening.smact_validity(
            "".join(f"{symbols[z]}{a}" for z, a in zip(z_row, a_row, strict=True)),
            use_pauling_test=electronegativity,
            include_alloys=False,
            oxidation_states_set=oxidation_states_set,
        )
        for z_row, a_row in zip(numbers.tolist(), amounts.tolist(), strict=True)
    ]
    assert passes.tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_a_system_passes_as_smact_filter_lists_it() -> None:
    smact = pytest.importorskip("smact")
    screening = pytest.importorskip("smact.screening")
    data = smact_rules("oxidation_states_icsd24")
    for symbols in (("Ti", "Cs", "Pb"), ("O", "Fe", "Ba"), ("N", "Si", "Pb"), ("S", "As", "I")):
        members = sorted((smact.Element(s) for s in symbols), key=lambda e: e.number)
        enumeration = Enumeration(tuple(e.number for e in members), 3, 24)
        numbers, amounts = enumeration.take(0, len(enumeration))
        small = (amounts <= 8).all(axis=1)
        passes, states = neutral_assignments(numbers[small], amounts[small], data)
        listed = screening.smact_filter(members, threshold=8, oxidation_states_set="icsd24")
        assert {tuple(row) for row in amounts[small][passes].tolist()} == {x[2] for x in listed}
        made = zip(states[passes].tolist(), amounts[small][passes].tolist(), strict=True)
        assert {(tuple(s), tuple(a)) for s, a in made} <= {x[1:] for x in listed}


def test_result_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ElementRules.from_lists(
        {3: [1], 8: [-2, -1], 16: [-2, 4, 6], 26: [2, 3]}, {3: 0.98, 8: 3.44, 16: 2.58, 26: 1.83}
    )
    enumeration = Enumeration((3, 8, 16, 26), 3, 12)
    numbers, amounts = enumeration.take(0, len(enumeration))
    whole = neutral_assignments(numbers, amounts, data)
    monkeypatch.setattr(reach, "CHUNK", 7)
    monkeypatch.setattr(choices, "CHUNK", 5)
    parts = neutral_assignments(np.ascontiguousarray(numbers), amounts.copy(), data)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])
    charge = (whole[1].astype(int) * amounts).sum(axis=1)
    assert not charge.any()


def test_few_anions_are_preferred() -> None:
    data = ElementRules.from_lists({3: [1], 8: [-2], 16: [-2, 4, 6]}, {3: 0.98, 8: 3.44, 16: 2.58})
    lithium_sulfate = np.array([[3, 8, 16]], np.uint8), np.array([[2, 4, 1]], np.uint8)
    assert neutral_assignments(*lithium_sulfate, data)[1].tolist() == [[1, -2, 6]]


def test_extreme_charges_do_not_overflow() -> None:
    data = ElementRules.from_lists({1: [15], 2: [-15], 3: [15]}, {1: 1.0, 2: 2.0, 3: 1.5})
    numbers = np.array([[1, 2, 3]], np.uint8)
    assert not neutral_assignments(numbers, np.array([[255, 254, 255]], np.uint8), data)[0][0]
    assert neutral_assignments(numbers, np.array([[254, 255, 1]], np.uint8), data)[0][0]


def test_no_rows_give_no_rows() -> None:
    empty = np.empty((0, 3), np.uint8)
    passes, states = neutral_assignments(empty, empty, ElementRules.from_lists({}, {}))
    assert passes.shape == (0,)
    assert states.shape == (0, 3)


def test_every_rule_says_in_one_sentence_what_it_demands() -> None:
    assert set(RULES) == {rule for rules in SETS.values() for rule in rules}
    assert all(text.endswith(".") and text.count(".") == 1 for text in RULES.values())


def test_arrays_of_the_wrong_kind_are_refused() -> None:
    rules = Rules("strict", ElementRules.from_lists({}, {}))
    table = np.ones((2, 3), np.uint8)
    with pytest.raises(ScreenError, match="int64"):
        rules.apply(table.astype(np.int64), table)  # type: ignore[arg-type]
    with pytest.raises(ScreenError, match="1 to 8 columns"):
        rules.apply(np.ones((2, 9), np.uint8), np.ones((2, 9), np.uint8))
    with pytest.raises(ScreenError, match="1 to 8 columns"):
        rules.apply(table, table[:1])
    with pytest.raises(ScreenError, match="119"):
        rules.apply(table * np.uint8(119), table)


def test_element_tables_of_the_wrong_kind_are_refused() -> None:
    good = ElementRules.from_lists({3: [1]}, {3: 0.98})
    with pytest.raises(DataError, match="oxidation_states"):
        ElementRules(good.oxidation_states[:100], good.n_states, good.electronegativity)
    with pytest.raises(DataError, match="electronegativity"):
        ElementRules(good.oxidation_states, good.n_states, good.electronegativity[:100])
    with pytest.raises(DataError, match="row 3"):
        ElementRules(good.oxidation_states, good.n_states * 2, good.electronegativity)
    with pytest.raises(DataError, match="row 3"):
        ElementRules.from_lists({3: [16]}, {})
    with pytest.raises(DataError, match="119"):
        ElementRules.from_lists({119: [1]}, {})
