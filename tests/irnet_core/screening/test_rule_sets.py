"""Named rule sets: mixed valence against brute force, branches, limits, funnel."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from thorough import few_or_all

from featurizers.elements import Z_OF
from featurizers.formula import parse_formulas
from featurizers.screening_elements import element_facts, rules_data
from irnet_core.errors import ScreenError
from irnet_core.schema import RULE_BRANCHES
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.element_limits import ElementLimits, composition_price
from irnet_core.screening.rules import SETS, ElementRules, Rules


def rows(*formulas: str) -> tuple[np.ndarray, np.ndarray]:
    parsed = parse_formulas(formulas)
    return parsed.numbers, parsed.amounts.astype(np.uint8)


def branch(name: str, *formulas: str) -> list[str]:
    verdicts = Rules(name, rules_data()).apply(*rows(*formulas))
    return [RULE_BRANCHES[code] for code in verdicts.branch]


def test_known_compounds_pass_by_the_branch_that_explains_them() -> None:
    formulas = ("NaCl", "Fe3O4", "Cu3Al", "Na2Cl", "Cu", "LiFePO4")
    assert branch("strict", *formulas) == ["neutral", "", "", "", "neutral", "neutral"]
    assert branch("permissive", *formulas) == [
        "neutral", "mixed valence", "intermetallic", "", "neutral", "neutral"
    ]  # fmt: skip
    assert branch("intermetallic", "NaCl", "Cu3Al") == ["", "intermetallic"]


def test_magnetite_is_of_mixed_valence_with_states_two_and_three() -> None:
    data = ElementRules.from_lists({8: [-2], 26: [2, 3]}, {8: 3.44, 26: 1.83})
    data.mixed_valence[26] = True
    verdicts = Rules("permissive", data).apply(*rows("Fe3O4", "FeO", "Fe4O3"))
    assert [RULE_BRANCHES[code] for code in verdicts.branch] == ["mixed valence", "neutral", ""]
    assert verdicts.states.tolist() == [[-2, 2], [-2, 2], [0, 0]]
    assert verdicts.second_states.tolist() == [[-2, 3], [-2, 2], [0, 0]]
    assert not Rules("strict", data).apply(*rows("Fe3O4")).passes[0]


def brute_mixed(
    numbers: list[int], amounts: list[int], data: ElementRules
) -> set[tuple[tuple[int, ...], ...]]:
    """Every choice of states, as the states of each element's atoms, written down row by row."""
    order = [data.electronegativity[z] for z in numbers]
    if np.isnan(order).any():
        return set()
    own = []
    for z, atoms in zip(numbers, amounts, strict=True):
        states = data.oxidation_states[z, : data.n_states[z]].tolist()
        if data.mixed_valence[z]:
            own.append(list(combinations_with_replacement(states, atoms)))
        else:
            own.append([(state,) * atoms for state in states])
    fitting = set()
    for choice in product(*own):
        if sum(map(sum, choice)):
            continue
        cations = [e for s, e in zip(choice, order, strict=True) if max(s) > 0]
        anions = [e for s, e in zip(choice, order, strict=True) if min(s) < 0]
        if max(cations, default=-9) < min(anions, default=9):
            fitting.add(choice)
    return fitting


@pytest.mark.parametrize("arity", [2, 3])
def test_mixed_valence_is_that_of_brute_force(arity: int) -> None:
    data = rules_data()
    family = Enumeration((1, 8, 16, 22, 26, 29, 50, 92), arity, 8)
    every = max(1, len(family) // 300)
    numbers, amounts = (column[::every] for column in family.take(0, len(family)))
    strict = Rules("strict", data).apply(numbers, amounts)
    found = Rules("permissive", data).apply(numbers, amounts)
    wanted = np.zeros(len(numbers), np.bool_)
    for row in np.flatnonzero(~strict.passes):
        fitting = brute_mixed(numbers[row].tolist(), amounts[row].tolist(), data)
        wanted[row] = bool(fitting)
        ends = zip(found.states[row].tolist(), found.second_states[row].tolist(), strict=True)
        spans = {tuple((min(states), max(states)) for states in choice) for choice in fitting}
        assert not fitting or tuple(ends) in spans
        assert not fitting or (found.states[row] != found.second_states[row]).sum() == 1
    np.testing.assert_array_equal(found.branch == RULE_BRANCHES.index("mixed valence"), wanted)
    assert wanted.any()
    assert not wanted.all()


def mixed_rules(iron: list[int], copper: list[int], anion: list[int]) -> ElementRules:
    data = ElementRules.from_lists({9: anion, 26: iron, 29: copper}, {9: 3.98, 26: 1.83, 29: 1.9})
    data.mixed_valence[[26, 29]] = True
    return data


def test_neighbouring_states_of_one_element_are_preferred() -> None:
    data = mixed_rules([4, 2, 3, 1], [1, 2], [-1])
    verdicts = Rules("permissive", data).apply(*rows("Fe3F8", "Fe2Cu2F9", "Cu2F3"))
    assert [RULE_BRANCHES[code] for code in verdicts.branch] == ["mixed valence"] * 3
    assert verdicts.states.tolist() == [[-1, 2, 0], [-1, 2, 2], [-1, 1, 0]]
    assert verdicts.second_states.tolist() == [[-1, 3, 0], [-1, 3, 2], [-1, 2, 0]]


def test_atoms_of_mixed_valence_may_take_more_than_two_states() -> None:
    data = mixed_rules([1, 2, 5], [1, 3], [-1])
    verdicts = Rules("permissive", data).apply(*rows("Fe3F8", "Fe2Cu2F7", "Fe2Cu2F11"))
    assert verdicts.passes.all()
    assert verdicts.states.tolist() == [[-1, 1, 0], [-1, 1, 1], [-1, 2, 1]]
    assert verdicts.second_states.tolist() == [[-1, 5, 0], [-1, 2, 3], [-1, 5, 3]]


def test_verdicts_do_not_depend_on_how_rows_are_given() -> None:
    family = Enumeration((3, 8, 16, 26, 29), 3, 9)
    numbers, amounts = family.take(0, len(family))
    shuffled = np.random.default_rng(0).permutation(len(family))
    for name in SETS:
        rules = Rules(name, rules_data())
        whole = rules.apply(numbers, amounts)
        mixed = rules.apply(numbers[shuffled], amounts[shuffled])
        wide = rules.apply(*(np.pad(column, ((0, 0), (0, 2))) for column in (numbers, amounts)))
        for field in ("passes", "branch", "states", "second_states"):
            np.testing.assert_array_equal(getattr(whole, field)[shuffled], getattr(mixed, field))
        np.testing.assert_array_equal(whole.states, wide.states[:, :3])
        np.testing.assert_array_equal(whole.branch, wide.branch)
        quick = rules.apply(numbers, amounts, with_states=False)
        np.testing.assert_array_equal(whole.branch, quick.branch)
        assert whole.survivors == {name: int(whole.passes.sum())}


def test_limits_count_in_order_and_bind() -> None:
    limits = ElementLimits(
        exclude=(Z_OF["Cl"],), must_contain=(8,), max_price=20, min_abundance=1, no_toxic=True
    )
    rules = Rules("strict", rules_data(), element_facts(), limits)
    formulas = ("NaCl", "MgS", "PbO", "Ag2O", "MgO", "Sc2O3", "MgO3")
    verdicts = rules.apply(*rows(*formulas))
    assert verdicts.passes.tolist() == [False, False, False, False, True, False, False]
    assert verdicts.survivors == {
        "elements": 6, "no_toxic": 5, "min_abundance": 4, "must_contain": 3, "max_price": 2,
        "strict": 1,
    }  # fmt: skip
    described = rules.describe()
    assert described["limits"] == limits.describe()
    assert set(described["meaning"]) == set(SETS["strict"])
    assert (
        described["elements_sha256"]
        != Rules("strict", rules_data("common")).describe()["elements_sha256"]
    )


def test_price_is_by_mass() -> None:
    facts = element_facts()
    (price,) = composition_price(*rows("Li2O"), facts)
    lithium, oxygen = 2 * facts.weight[3], facts.weight[8]
    expected = (lithium * facts.price_usd_kg[3] + oxygen * facts.price_usd_kg[8]) / (
        lithium + oxygen
    )
    assert price == pytest.approx(expected, rel=1e-12)


def test_an_element_without_a_price_is_not_cheap() -> None:
    facts = element_facts()
    unpriced = int(np.flatnonzero(np.isnan(facts.price_usd_kg))[1])
    row = np.array([[unpriced]], np.uint8), np.array([[1]], np.uint8)
    rules = Rules("none", rules_data(), facts, ElementLimits(max_price=1e12))
    assert not rules.apply(*row).passes[0]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"include": (3, 8), "exclude": (8,)}, "included and excluded"),
        ({"must_contain": (8,), "exclude": (8,)}, "must occur but are excluded"),
        ({"must_contain": (8,), "include": (3,)}, "must occur but are not included"),
        ({"include": ()}, "no element is included"),
        ({"exclude": (119,)}, "119 is not an atomic number"),
        ({"max_price": float("nan")}, "max_price is nan"),
        ({"min_abundance": -1.0}, "min_abundance is -1"),
        ({"must_contain": (82,), "no_toxic": True}, "must occur but are toxic"),
        ({"min_abundance": 1e9}, "leave no element"),
    ],
)
def test_contradictory_limits_are_refused(limits: dict[str, object], message: str) -> None:
    with pytest.raises(ScreenError, match=message):
        Rules("strict", rules_data(), element_facts(), ElementLimits(**limits))  # type: ignore[arg-type]


def test_unknown_sets_and_missing_facts_are_refused() -> None:
    with pytest.raises(ScreenError, match="choose among none"):
        Rules("lenient", rules_data())
    with pytest.raises(ScreenError, match="table of the elements"):
        Rules("strict", rules_data(), limits=ElementLimits(no_toxic=True))
    with pytest.raises(ScreenError, match="smact or common"):
        rules_data("icsd")  # type: ignore[arg-type]


def smact_verdicts(name: str, numbers: np.ndarray, amounts: np.ndarray) -> list[bool]:
    samples = pytest.importorskip("benchmarks.rules_sample")
    screening = pytest.importorskip("smact.screening")
    options = samples.SMACT_OPTIONS[name]
    return [screening.smact_validity(f, **options) for f in samples.formulas_of(numbers, amounts)]


@pytest.mark.parametrize("name", ["neutral", "strict", "smact"])
@pytest.mark.parametrize("n", [600, pytest.param(few_or_all(8000, 20_000), marks=pytest.mark.slow)])
def test_verdicts_are_those_of_smact_validity(name: str, n: int) -> None:
    samples = pytest.importorskip("benchmarks.rules_sample")
    numbers, amounts, _ = samples.sample(n, seed=1)
    assert len(numbers) == n
    passes = Rules(name, rules_data()).apply(numbers, amounts).passes
    assert passes.tolist() == smact_verdicts(name, numbers, amounts)
    assert 0.1 < passes.mean() < 0.9


@pytest.mark.parametrize("n", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_permissive_is_smact_validity_with_mixed_valence(n: int) -> None:
    """Where SMACT tries all choices: it gives up beyond a million of them, and is slow before."""
    samples = pytest.importorskip("benchmarks.rules_sample")
    data = rules_data()
    numbers, amounts, _ = samples.sample(2 * n, seed=2)
    few = samples.few_choices(numbers, amounts, data)
    chosen = np.random.default_rng(0).permutation(few)[:n]
    assert len(chosen) == n
    verdicts = Rules("permissive", data).apply(numbers[chosen], amounts[chosen])
    assert verdicts.passes.tolist() == smact_verdicts(
        "permissive", numbers[chosen], amounts[chosen]
    )
    assert (verdicts.branch == RULE_BRANCHES.index("mixed valence")).any()
