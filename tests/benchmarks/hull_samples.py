"""Known phases and candidates of known energy for hulls: real ones if there, else generated."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from featurizers.formula import canonical_formulas, parse_formulas

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY.parent / "shared" / "data" / "mp" / "ground_state_formation_energy.parquet"


class Sample(NamedTuple):
    """Compositions with formation energies in eV/atom, and which of them are known phases."""

    formulas: np.ndarray
    numbers: np.ndarray
    amounts: np.ndarray
    energies: np.ndarray
    known: np.ndarray
    source: str

    @property
    def arity(self) -> np.ndarray:
        """Elements of each row."""
        return (self.numbers > 0).sum(1)

    def draw(self, arity: int, count: int, seed: int = 0) -> np.ndarray:
        """Rows of some candidates, which are no known phases."""
        rows = np.flatnonzero(~self.known & (self.arity == arity))
        return np.random.default_rng(seed).permutation(rows)[:count]


def load_sample() -> Sample:
    """Ground states of the Materials Project, split ``train`` known, else generated phases."""
    if not REAL.is_file():
        return generated_sample(20_000)
    table = pq.read_table(REAL)
    formulas = np.array(table["formula"].to_pylist(), dtype=object)
    parsed = parse_formulas(formulas.tolist())
    return Sample(
        formulas,
        parsed.numbers,
        parsed.amounts,
        table["formation_energy_ev_atom"].to_numpy(),
        np.array(table["split"].to_pylist()) == "train",
        f"{len(formulas)} ground states of the Materials Project",
    )


def generated_sample(n: int, n_elements: int = 12, seed: int = 0) -> Sample:
    """Phases of two to five elements that attract each other more or less, a fifth not known."""
    rng = np.random.default_rng(seed)
    arity = rng.integers(2, 6, n)
    order = np.argsort(rng.random((n, n_elements)), axis=1)[:, :5]
    used = np.arange(5) < arity[:, None]
    numbers = np.where(used, order + 3, 0)
    amounts = np.where(used, rng.integers(1, 9, (n, 5)), 0)
    attraction = rng.normal(-1.0, 1.0, (n_elements, n_elements))
    share = np.zeros((n, n_elements))
    np.put_along_axis(share, order, amounts / amounts.sum(1, keepdims=True), axis=1)
    energies = np.einsum("ni,ij,nj->n", share, attraction, share) + rng.normal(0, 0.1, n)
    formulas, reduced = canonical_formulas(numbers, amounts)
    return Sample(
        formulas,
        numbers.astype(np.uint8),
        reduced.astype(np.float64),
        energies,
        rng.random(n) < 0.8,
        f"{n} generated phases, as ../shared/data is not there",
    )
