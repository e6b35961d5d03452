"""Compositions to hold the rules against SMACT's: half real, half generated."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from benchmarks.samples import SHARED

from featurizers.elements import SYMBOLS
from featurizers.formula import canonical_formulas, parse_formulas
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.ions import ElementRules

REAL = ("mp/ground_state_formation_energy.parquet", "oqmd/formation_enthalpy.parquet")
LAST = 103  # SMACT knows no heavier element
MAX_ELEMENTS = 6

#: Options of ``smact_validity`` that mean our rule sets.
SMACT_OPTIONS = {
    "neutral": {"use_pauling_test": False, "include_alloys": False},
    "strict": {"use_pauling_test": True, "include_alloys": False},
    "smact": {"use_pauling_test": True, "include_alloys": True},
    "permissive": {"use_pauling_test": True, "include_alloys": True, "mixed_valence": True},
}


def sample(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, str]:
    """Atomic numbers and amounts (n, 6), zeros for padding, and a phrase on where they are from."""
    rng = np.random.default_rng(seed)
    parts = []
    files = [SHARED / name for name in REAL if (SHARED / name).exists()]
    for file in files:
        formulas = pq.read_table(file, columns=["formula"])["formula"].to_pylist()
        drawn = rng.choice(len(formulas), rows, replace=False)
        parsed = parse_formulas([formulas[i] for i in drawn])
        _, whole = canonical_formulas(parsed.numbers, parsed.amounts)
        fits = (whole.sum(axis=1) > 0) & (whole <= 255).all(axis=1)
        fits &= ((parsed.numbers > 0).sum(axis=1) <= MAX_ELEMENTS) & (parsed.numbers <= LAST).all(1)
        numbers, amounts = parsed.numbers[fits][:, :MAX_ELEMENTS], whole[fits][:, :MAX_ELEMENTS]
        chosen = slice(rows // 2 // len(files))
        parts.append((numbers[chosen], amounts[chosen].astype(np.uint8)))
    rest = rows - sum(len(numbers) for numbers, _ in parts)
    for arity, count in ((2, rest // 3), (3, rest // 3), (4, rest - 2 * (rest // 3))):
        family = Enumeration(tuple(range(1, LAST + 1)), arity, 10)
        taken = [family.take(i, i + 1) for i in rng.integers(0, len(family), count).tolist()]
        parts.append(tuple(np.concatenate(column) for column in zip(*taken, strict=True)))
    padded = [
        [np.pad(column, ((0, 0), (0, MAX_ELEMENTS - column.shape[1]))) for column in part]
        for part in parts
    ]
    numbers, amounts = (np.concatenate(column) for column in zip(*padded, strict=True))
    source = "half of the Materials Project and OQMD, half generated" if files else "generated"
    return numbers, amounts, source


def few_choices(
    numbers: np.ndarray, amounts: np.ndarray, data: ElementRules, most: int = 10_000
) -> np.ndarray:
    """Rows of at most that many choices of states if each atom of mixed valence chooses alone.

    SMACT tries them one by one, and lets a composition fail that has more than a million.
    """
    own = data.n_states[numbers].astype(float)
    own = np.where(data.mixed_valence[numbers], own**amounts, own)
    return np.flatnonzero(np.where(numbers > 0, own, 1).prod(axis=1) <= most)


def formulas_of(numbers: np.ndarray, amounts: np.ndarray) -> list[str]:
    """Formulas as SMACT reads them."""
    return [
        "".join(f"{SYMBOLS[z]}{a}" for z, a in zip(row, atoms, strict=True) if z)
        for row, atoms in zip(numbers.tolist(), amounts.tolist(), strict=True)
    ]
