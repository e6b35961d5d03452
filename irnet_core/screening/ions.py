"""What the charge rules know of the elements, checked once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from irnet_core.errors import DataError
from irnet_core.screening.candidates import N_ATOMIC_NUMBERS

MAX_STATE = 15  # charges of eight elements of 255 atoms each are then exact in float32


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
    metal, mixed_valence : numpy.ndarray of bool, shape (119,)
        Elements that form intermetallics with each other, and elements that may have two states
        in one compound; none by default.

    Raises
    ------
    DataError
        If a shape is wrong or an oxidation state exceeds 15 in size.
    """

    oxidation_states: NDArray[np.int8]
    n_states: NDArray[np.integer]
    electronegativity: NDArray[np.float64]
    metal: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(N_ATOMIC_NUMBERS, np.bool_))
    mixed_valence: NDArray[np.bool_] = field(
        default_factory=lambda: np.zeros(N_ATOMIC_NUMBERS, np.bool_)
    )

    def __post_init__(self) -> None:
        width = self.oxidation_states.shape[1] if self.oxidation_states.ndim == 2 else 0
        if self.oxidation_states.shape != (N_ATOMIC_NUMBERS, width) or width == 0:
            raise DataError(
                f"shape {self.oxidation_states.shape} should be ({N_ATOMIC_NUMBERS}, states)",
                column="oxidation_states",
            )
        for name in ("n_states", "electronegativity", "metal", "mixed_valence"):
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

    def digest(self) -> str:
        """SHA-256 of what the rules know, for manifests."""
        used = np.arange(self.oxidation_states.shape[1]) < self.n_states[:, None]
        text = [np.where(used, self.oxidation_states, 0).tolist(), self.n_states.tolist()]
        text += [self.electronegativity.tolist(), self.metal.tolist(), self.mixed_valence.tolist()]
        return hashlib.sha256(repr(text).encode()).hexdigest()

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
