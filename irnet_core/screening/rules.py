"""Chemical rules that tell which compositions could be ionic compounds.

The test is SMACT's (Davies et al., Chem 2016, doi:10.1016/j.chempr.2016.09.010; SMACT,
doi:10.21105/joss.01361): give each element one oxidation state so that the charges cancel and,
if electronegativities count, every cation is less electronegative than every anion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from irnet_core.errors import DataError, ScreenError

N_ATOMIC_NUMBERS = 119  # row 0 stands for no element
MAX_STATE = 15  # four elements of 255 atoms each then still fit int16
CHUNK_ROWS = 32_768  # the arrays of a chunk stay in cache

RULES = {
    "charge_neutrality": (
        "One oxidation state per element can be chosen so that the charges of all atoms cancel."
    ),
    "electronegativity": (
        "In the same choice every cation has a lower Pauling electronegativity than every anion."
    ),
}
"""Names of the rules, as manifests record them, and what each demands."""


@dataclass(frozen=True, eq=False)
class ElementRules:
    """What the rules know of each element, by atomic number.

    Attributes
    ----------
    oxidation_states : numpy.ndarray of int8, shape (119, s)
        Oxidation states in order of preference, from column 0; entries beyond `n_states` are
        ignored. A state of 0 is neither cation nor anion.
    n_states : numpy.ndarray of int, shape (119,)
        Number of oxidation states; 0 if none is known, and the element then fails every rule.
    electronegativity : numpy.ndarray of float64, shape (119,)
        Pauling electronegativity; NaN if unknown, and the element then fails that rule.

    Raises
    ------
    DataError
        If a shape is wrong or an oxidation state exceeds 15 in size.
    """

    oxidation_states: NDArray[np.int8]
    n_states: NDArray[np.integer]
    electronegativity: NDArray[np.float64]

    def __post_init__(self) -> None:
        width = self.oxidation_states.shape[1] if self.oxidation_states.ndim == 2 else 0
        if self.oxidation_states.shape != (N_ATOMIC_NUMBERS, width) or width == 0:
            raise DataError(
                f"shape {self.oxidation_states.shape} should be ({N_ATOMIC_NUMBERS}, states)",
                column="oxidation_states",
            )
        for name in ("n_states", "electronegativity"):
            if getattr(self, name).shape != (N_ATOMIC_NUMBERS,):
                raise DataError("give one value per atomic number, 0 to 118", column=name)
        bad = (self.n_states < 0) | (self.n_states > width)
        if bad.any():
            raise DataError(
                f"should lie between 0 and the {width} columns of oxidation_states",
                column="n_states",
                row=int(np.argmax(bad)),
            )
        used = np.arange(width) < self.n_states[:, None]
        too_large = np.abs(self.oxidation_states.astype(np.int16)) > MAX_STATE
        bad = np.any(used & too_large, axis=1)
        if bad.any():
            raise DataError(
                f"oxidation states beyond {MAX_STATE} do not exist; correct the table",
                column="oxidation_states",
                row=int(np.argmax(bad)),
            )

    @classmethod
    def from_lists(
        cls,
        oxidation_states: Mapping[int, Sequence[int]],
        electronegativity: Mapping[int, float],
    ) -> ElementRules:
        """Rules from oxidation states and electronegativities keyed by atomic number.

        Examples
        --------
        >>> data = ElementRules.from_lists({3: [1], 8: [-2, -1]}, {3: 0.98, 8: 3.44})
        >>> data.n_states[[3, 8, 26]].tolist()
        [1, 2, 0]
        """
        width = max((len(states) for states in oxidation_states.values()), default=0)
        table = np.zeros((N_ATOMIC_NUMBERS, max(width, 1)), np.int64)
        n_states = np.zeros(N_ATOMIC_NUMBERS, np.int64)
        values = np.full(N_ATOMIC_NUMBERS, np.nan)
        for number in {*oxidation_states, *electronegativity}:
            if not 0 < number < N_ATOMIC_NUMBERS:
                raise DataError(f"{number} is not an atomic number; correct the table")
        for number, states in oxidation_states.items():
            table[number, : len(states)] = states
            n_states[number] = len(states)
        for number, value in electronegativity.items():
            values[number] = value
        # clipped values are still out of range, and refused as such
        return cls(np.clip(table, -128, 127).astype(np.int8), n_states, values)


def neutral_assignments(
    numbers: NDArray[np.uint8],
    amounts: NDArray[np.uint8],
    data: ElementRules,
    electronegativity: bool = True,
) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Oxidation states that make each composition neutral.

    Assignments are tried by the signs of their states: those with fewest zeros first, then those
    with fewest anions, then those whose cations come first. For given signs the states are tried
    in the order of `data`, the last element's changing fastest. An assignment of zeros only is
    neutral, as in SMACT.

    Parameters
    ----------
    numbers : numpy.ndarray of uint8, shape (n, arity)
        Atomic numbers, 2 to 4 columns.
    amounts : numpy.ndarray of uint8, shape (n, arity)
        Atoms of each element.
    data : ElementRules
        Oxidation states and electronegativities.
    electronegativity : bool
        Whether the rule ``"electronegativity"`` holds beside ``"charge_neutrality"``.

    Returns
    -------
    passes : numpy.ndarray of bool, shape (n,)
        Whether some assignment satisfies the rules.
    states : numpy.ndarray of int8, shape (n, arity)
        The first such assignment, zeros where there is none.

    Raises
    ------
    ScreenError
        If the arrays are not two uint8 tables of the same shape with 2 to 4 columns.

    Examples
    --------
    >>> data = ElementRules.from_lists({3: [1], 8: [-2, -1]}, {3: 0.98, 8: 3.44})
    >>> lithium_oxides = np.array([[3, 8], [3, 8], [3, 8]], np.uint8)
    >>> passes, states = neutral_assignments(
    ...     lithium_oxides, np.array([[2, 1], [1, 1], [3, 1]], np.uint8), data
    ... )
    >>> passes.tolist(), states.tolist()
    ([True, True, False], [[1, -2], [1, -1], [0, 0]])
    """
    if numbers.dtype != np.uint8 or amounts.dtype != np.uint8:
        raise ScreenError(
            f"numbers and amounts are {numbers.dtype} and {amounts.dtype}; give uint8 arrays"
        )
    if numbers.shape != amounts.shape or numbers.ndim != 2 or not 2 <= numbers.shape[1] <= 4:
        raise ScreenError(
            f"numbers {numbers.shape} and amounts {amounts.shape} should have one shape with"
            " 2 to 4 columns"
        )
    if numbers.size and numbers.max() >= N_ATOMIC_NUMBERS:
        raise ScreenError(f"atomic number {numbers.max()} exceeds {N_ATOMIC_NUMBERS - 1}")
    by_sign = {sign: _states_of_sign(data, sign) for sign in (1, -1, 0)}
    patterns = _sign_patterns(numbers.shape[1], with_zero=bool(by_sign[0][1].any()))
    # an element without electronegativity fails even where its own charge is 0
    usable = np.full(N_ATOMIC_NUMBERS, True)
    if electronegativity:
        usable = ~np.isnan(data.electronegativity)

    passes = np.zeros(len(numbers), bool)
    states = np.zeros(numbers.shape[::-1], np.int8)  # (arity, n)
    for start in range(0, len(numbers), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        number, amount = numbers[chunk].T.astype(np.intp), amounts[chunk].T
        undecided = np.all(usable[number], axis=0)
        has = {sign: (count > 0)[number] for sign, (_, count) in by_sign.items()}
        order = data.electronegativity[number]
        for signs in patterns:
            possible = undecided.copy()
            for position, sign in enumerate(signs):
                possible &= has[sign][position]
            if electronegativity:
                possible &= _cations_below_anions(signs, order)
            rows = np.flatnonzero(possible)
            if len(rows) == 0:
                continue
            choices = []
            for sign, z in zip(signs, number[:, rows], strict=True):
                table, count = by_sign[sign]
                choices.append(table[: count[z].max()].take(z, axis=1))
            found, chosen = _balance(choices, amount[:, rows])
            rows = rows[found]
            undecided[rows] = False
            passes[start + rows] = True
            states[:, start + rows] = chosen
    return passes, states.T


def _sign_patterns(arity: int, with_zero: bool) -> list[tuple[int, ...]]:
    """Signs of charges that can cancel, in the order in which they are tried."""
    signs = (1, -1, 0) if with_zero else (1, -1)
    patterns = [p for p in product(signs, repeat=arity) if (1 in p) == (-1 in p)]
    return sorted(patterns, key=lambda p: (p.count(0), p.count(-1)))


def _states_of_sign(data: ElementRules, sign: int) -> tuple[NDArray[np.int16], NDArray[np.intp]]:
    """Each element's states of one sign, (slots, 119), and how many there are, (119,).

    Short columns are filled up with their last state: that repeats assignments, but adds none
    and does not change which comes first.
    """
    width = data.oxidation_states.shape[1]
    keep = np.arange(width) < data.n_states[:, None]
    keep &= np.sign(data.oxidation_states) == sign
    count = keep.sum(1)
    slots = np.minimum(np.arange(width), np.maximum(count - 1, 0)[:, None])
    order = np.take_along_axis(np.argsort(~keep, axis=1, kind="stable"), slots, axis=1)
    return np.take_along_axis(data.oxidation_states, order, axis=1).T.astype(np.int16), count


def _cations_below_anions(
    signs: tuple[int, ...], electronegativity: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether the highest cation of each column (arity, n) lies strictly below the lowest anion."""
    cations = [e for e, sign in zip(electronegativity, signs, strict=True) if sign > 0]
    anions = [e for e, sign in zip(electronegativity, signs, strict=True) if sign < 0]
    below = np.ones(electronegativity.shape[1], bool)
    for cation, anion in product(cations, anions):
        below &= cation < anion
    return below


def _balance(
    states: list[NDArray[np.int16]], amount: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.int16]]:
    """Columns whose charges cancel for some choice of states, and the first choice of each.

    `states` holds one (slots, n) array per element, `amount` is (arity, n); the results are
    (found,) and (arity, found).
    """
    charges = [state * a for state, a in zip(states, amount, strict=True)]
    shape = [len(state) for state in states]
    place = math.prod(shape)
    first = np.full(amount.shape[1], -1, np.int32)
    # backwards, so that the first choice is the last to be written
    for slots in reversed(list(np.ndindex(*shape[:-1]))):
        needed = np.negative(charges[0][slots[0]])
        for charge, slot in zip(charges[1:], slots[1:], strict=False):
            needed -= charge[slot]
        for charge in charges[-1][::-1]:
            place -= 1
            np.copyto(first, place, where=charge == needed)
    found = np.flatnonzero(first >= 0)
    chosen = np.unravel_index(first[found], shape)
    return found, np.stack([s[slot, found] for s, slot in zip(states, chosen, strict=True)])
