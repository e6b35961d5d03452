"""Sets of reachable charges, against Python's own integers and against all choices of states."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from irnet_core.screening.ions import ElementRules
from irnet_core.screening.reach import by_words, first_anions, repeated, shifted
from irnet_core.screening.sites import NEVER, element_sites, mixed_sites


def as_bits(values: list[int], words: int) -> np.ndarray:
    """Sets (words, n) of integers whose bits are their members."""
    mask = 2**64 - 1
    return np.array([[v >> 64 * w & mask for v in values] for w in range(words)], np.uint64)


def as_integers(bits: np.ndarray) -> list[int]:
    return [sum(int(w) << 64 * i for i, w in enumerate(column)) for column in bits.T]


@settings(deadline=None)
@given(
    words=st.integers(1, 5),
    data=st.data(),
    by=st.lists(
        st.integers(0, 400) | st.sampled_from([0, 63, 64, 65, 128, 192, NEVER, 255 * NEVER]),
        min_size=1,
        max_size=6,
    ),
)
def test_shifts_are_those_of_integers(words: int, data: st.DataObject, by: list[int]) -> None:
    size = 64 * words
    values = data.draw(
        st.lists(st.integers(0, 2**size - 1), min_size=len(by), max_size=len(by)), label="sets"
    )
    shifts = np.array(by, np.uint64)
    found = as_integers(shifted(as_bits(values, words), shifts))
    assert found == [(v << s) % 2**size for v, s in zip(values, by, strict=True)]
    below = -shifts[shifts > 0]  # shifts below 0 leave nothing
    assert not shifted(as_bits(values, words)[:, shifts > 0], below).any()


def test_atoms_that_choose_on_their_own_add_up() -> None:
    bits = as_bits([1, 1, 1], 1)
    shifts = np.array([[1, 1, 2], [3, 3, NEVER]], np.uint64)
    one, two, three = (
        as_integers(s) for s in repeated(bits, shifts, np.array([1, 3, 2], np.uint64))
    )
    assert one == [2**1 + 2**3, 2**1 + 2**3, 2**2]
    assert two == [one[0], 2**2 + 2**4 + 2**6, 2**4]
    assert three == [one[0], 2**3 + 2**5 + 2**7 + 2**9, 2**4]


@given(st.lists(st.integers(0, 40_000), max_size=40))
def test_each_row_is_given_words_enough_once(reach: list[int]) -> None:
    given_words = np.zeros(len(reach), int)
    for words, rows in by_words(np.array(reach, np.int64)):
        assert not given_words[rows].any()
        given_words[rows] = words
    assert (np.array(reach) < 64 * given_words).all()
    assert ((np.array(reach) >= 32 * given_words) | (given_words == 1)).all()


states = st.lists(st.integers(-3, 5).filter(bool), min_size=1, max_size=3, unique=True)


@settings(deadline=None, max_examples=60)
@given(
    own=st.lists(states, min_size=4, max_size=4),
    order=st.lists(st.sampled_from([0.8, 1.6, 2.5, float("nan")]), min_size=4, max_size=4),
    amounts=st.lists(st.lists(st.integers(1, 4), min_size=3, max_size=3), min_size=1, max_size=6),
)
def test_mixed_valence_lets_every_atom_choose(
    own: list[list[int]], order: list[float], amounts: list[list[int]]
) -> None:
    data = ElementRules.from_lists(dict(enumerate(own, 1)), dict(enumerate(order, 1)))
    data.mixed_valence[[1, 3]] = True
    mixed = mixed_sites(data)
    numbers = np.array([[1, 2, 3], [1, 3, 4]] * len(amounts), np.uint8)[: len(amounts)]
    atoms = np.array(amounts, np.uint8)
    found = first_anions(mixed.sites, mixed.every[numbers], atoms) >= 0
    plain = first_anions(element_sites(data), numbers, atoms) >= 0
    assert not (plain & ~found).any()
    for row in range(len(atoms)):
        elements = numbers[row].tolist()
        values = [order[z - 1] for z in elements]
        sums = []
        for z, a in zip(elements, amounts[row], strict=True):
            choices = own[z - 1]
            free = bool(data.mixed_valence[z])
            each = product(choices, repeat=a) if free else [(s,) * a for s in choices]
            sums.append({(sum(x), min(x), max(x)) for x in each})
        expected = False
        for choice in product(*sums):
            cations = [v for v, (_, _, most) in zip(values, choice, strict=True) if most > 0]
            anions = [v for v, (_, least, _) in zip(values, choice, strict=True) if least < 0]
            in_order = max(cations, default=-9) < min(anions, default=9)
            expected |= in_order and sum(total for total, _, _ in choice) == 0
        assert found[row] == (expected and not np.isnan(values).any())
