"""Random phases of a few elements, for hulls that are degenerate more often than in nature."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

ELEMENTS = (3, 8, 15, 26, 57)


@st.composite
def phase_tables(
    draw: st.DrawFn, max_elements: int = 5, max_rows: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, amounts (whole) and energies; few distinct energies make coplanar points usual."""
    arity = draw(st.integers(1, max_elements))
    amount = st.lists(st.integers(0, 4), min_size=arity, max_size=arity).filter(any)
    amounts = np.array(draw(st.lists(amount, min_size=1, max_size=max_rows)))
    energy = st.one_of(
        st.integers(-6, 2).map(lambda i: i / 2),
        st.floats(-4, 1, allow_nan=False).map(lambda e: round(e, 9)),
    )
    energies = np.array(draw(st.lists(energy, min_size=len(amounts), max_size=len(amounts))))
    numbers = np.where(amounts > 0, np.array(ELEMENTS[:arity]), 0)
    return numbers, amounts, energies
