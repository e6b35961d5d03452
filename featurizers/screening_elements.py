"""What the screening rules know of the elements, read from two frozen tables.

``screening_table.csv`` holds oxidation states, prices, abundances and toxicity,
``substitution_table.csv`` says which elements replace each other; their sources stand in
:mod:`featurizers.build_screening_tables`.
"""

from __future__ import annotations

import csv
import hashlib
import io
from functools import lru_cache
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from featurizers.elements import Z_OF, element_data, has_magpie_data
from irnet_core.errors import ScreenError
from irnet_core.screening.element_limits import ElementFacts
from irnet_core.screening.ions import ElementRules

COLUMNS = (
    "number",
    "symbol",
    "smact_oxidation_states",
    "smact_electronegativity",
    "metal",
    "mixed_valence",
    "radioactive",
    "atomic_weight",
    "price_usd_kg",
    "crustal_abundance_ppm",
    "toxic",
    "toxic_why",
)
SUBSTITUTION_COLUMNS = ("first", "second", "charge", "pair_correlation")

NOBLE = frozenset(Z_OF[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn"))

States = Literal["smact", "common"]
"""Oxidation states: ``"smact"`` are SMACT's default (ICSD 2024, three reports or more),
``"common"`` pymatgen's common ones as matminer's features use them."""


@lru_cache(maxsize=2)
def _read(name: str) -> tuple[list[dict[str, str]], str]:
    content = (files(__package__) / name).read_bytes()
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return rows, hashlib.sha256(content).hexdigest()


def table_digests() -> dict[str, str]:
    """SHA-256 of both tables, for manifests."""
    return {name: _read(name)[1] for name in ("screening_table.csv", "substitution_table.csv")}


def _column(name: str) -> NDArray[np.float64]:
    """A column by atomic number, (119,), NaN where the source has no value."""
    values = [float(row[name] or "nan") for row in _read("screening_table.csv")[0]]
    return np.array([np.nan, *values])


@lru_cache(maxsize=2)
def rules_data(states: States = "smact") -> ElementRules:
    """What the charge rules know of each element.

    Parameters
    ----------
    states : {"smact", "common"}
        Which oxidation states; the electronegativities come with them.

    Returns
    -------
    ElementRules

    Raises
    ------
    ScreenError
        If there are no states of that name.

    Examples
    --------
    >>> data = rules_data()
    >>> data.oxidation_states[26, : data.n_states[26]].tolist()
    [-4, 1, 2, 3, 4, 5, 6]
    """
    metal = np.nan_to_num(_column("metal")) == 1
    mixed = np.nan_to_num(_column("mixed_valence")) == 1
    if states == "smact":
        rows = _read("screening_table.csv")[0]
        lists = {
            int(row["number"]): [int(s) for s in row["smact_oxidation_states"].split()]
            for row in rows
        }
        order = _column("smact_electronegativity")
        base = ElementRules.from_lists(lists, {z: float(order[z]) for z in range(1, 119)})
        return ElementRules(
            base.oxidation_states, base.n_states, base.electronegativity, metal, mixed
        )
    if states == "common":
        data = element_data("nan")
        return ElementRules(
            data.oxidation_states, data.oxidation_counts, data.electronegativity, metal, mixed
        )
    raise ScreenError(f"there are no oxidation states {states!r}: choose smact or common")


@lru_cache(maxsize=1)
def element_facts() -> ElementFacts:
    """Prices, abundances, atomic weights and toxicity, as limits on candidates use them."""
    return ElementFacts(
        weight=_column("atomic_weight"),
        price_usd_kg=_column("price_usd_kg"),
        abundance_ppm=_column("crustal_abundance_ppm"),
        toxic=np.nan_to_num(_column("toxic")) == 1,
    )


def default_elements() -> tuple[int, ...]:
    """Elements with Magpie data that are neither radioactive nor noble: 76, H to Bi.

    Left out are the noble gases and every element without a stable isotope: Tc, Pm and all from
    Po on. Bismuth, whose half-life exceeds the age of the universe, stays.

    Examples
    --------
    >>> len(default_elements())
    76
    """
    radioactive = _column("radioactive")
    return tuple(
        z for z in range(1, 119) if radioactive[z] == 0 and z not in NOBLE and has_magpie_data(z)
    )


def similar_elements(min_correlation: float = 2.0) -> NDArray[np.bool_]:
    """Which elements replace each other in known compounds.

    Two elements are similar if two of their common ions, of equal charge, replace each other in
    known compounds at least `min_correlation` times as often as by chance (Hautier et al. 2011,
    doi:10.1021/ic102031h).

    Parameters
    ----------
    min_correlation : float
        Least pair correlation; 1 means as often as by chance. At 2 an element has 13 similar
        ones on average; oxygen has none, as no ion replaces it that often.

    Returns
    -------
    numpy.ndarray of bool, shape (119, 119)
        Symmetric, False on the diagonal.

    Examples
    --------
    >>> similar = similar_elements()
    >>> bool(similar[Z_OF["Fe"], Z_OF["Co"]]), bool(similar[Z_OF["Na"], Z_OF["Cl"]])
    (True, False)
    """
    similar = np.zeros((119, 119), np.bool_)
    for row in _read("substitution_table.csv")[0]:
        if float(row["pair_correlation"]) >= min_correlation:
            similar[Z_OF[row["first"]], Z_OF[row["second"]]] = True
    return similar | similar.T
