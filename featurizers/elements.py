"""Properties of the chemical elements, read once from ``element_table.csv``.

Rows are atomic numbers: index 0 stands for "no element" and holds NaN, so that an array of atomic
numbers indexes every table here directly.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Missing = Literal["matminer", "nan", "reject"]
"""Policy for single values that an element lacks, such as the electronegativity of argon:
``"matminer"`` puts the mean over all elements that have one, ``"nan"`` leaves NaN, and
``"reject"`` refuses every row with such an element."""

MAGPIE_PROPERTIES = (
    "Number",
    "MendeleevNumber",
    "AtomicWeight",
    "MeltingT",
    "Column",
    "Row",
    "CovalentRadius",
    "Electronegativity",
    "NsValence",
    "NpValence",
    "NdValence",
    "NfValence",
    "NValence",
    "NsUnfilled",
    "NpUnfilled",
    "NdUnfilled",
    "NfUnfilled",
    "NUnfilled",
    "GSvolume_pa",
    "GSbandgap",
    "GSmagmom",
    "SpaceGroupNumber",
)
"""The 22 element properties of Magpie's general-purpose set, in matminer's order."""

TABLE_COLUMNS = (
    "number",
    "symbol",
    *MAGPIE_PROPERTIES,
    "pauling_electronegativity",
    "common_oxidation_states",
)


def _read_table() -> tuple[list[dict[str, str]], str]:
    content = (files(__package__) / "element_table.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    return rows, hashlib.sha256(content).hexdigest()


try:
    _ROWS, TABLE_SHA256 = _read_table()
except FileNotFoundError:  # only while build_element_table writes it for the first time
    _ROWS, TABLE_SHA256 = [], ""

SYMBOLS: tuple[str, ...] = ("", *(row["symbol"] for row in _ROWS))
"""Element symbols by atomic number; index 0 is empty."""

Z_OF: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}
"""Atomic numbers by element symbol."""


@dataclass(frozen=True)
class ElementData:
    """Element properties as read-only arrays indexed by atomic number, 0 to 118.

    Attributes
    ----------
    properties : ndarray, float64, shape (119, 22)
        Magpie properties in the order of :data:`MAGPIE_PROPERTIES`, in Magpie's units.
    electronegativity : ndarray, float64, shape (119,)
        Pauling electronegativity.
    oxidation_states : ndarray, int8, shape (119, 9)
        Common oxidation states in ascending order, padded with 0 on the right.
    oxidation_counts : ndarray, int64, shape (119,)
        How many of them are real; 0 for most noble gases.
    """

    properties: NDArray[np.float64]
    electronegativity: NDArray[np.float64]
    oxidation_states: NDArray[np.int8]
    oxidation_counts: NDArray[np.int64]


@lru_cache(maxsize=3)
def element_data(missing: Missing = "matminer") -> ElementData:
    """Element properties under a policy for missing values.

    Parameters
    ----------
    missing : {"matminer", "nan", "reject"}
        What stands for a value that the source lacks, NaN under all policies but the first; see
        :data:`Missing`.

    Returns
    -------
    ElementData

    Raises
    ------
    ValueError
        The policy has another name.

    Examples
    --------
    >>> float(element_data().electronegativity[Z_OF["O"]])
    3.44
    """
    if missing not in get_args(Missing):
        raise ValueError(f"missing={missing!r} is no policy; choose one of {get_args(Missing)}.")
    properties = np.full((119, len(MAGPIE_PROPERTIES)), np.nan)
    electronegativity = np.full(119, np.nan)
    states = [[int(s) for s in row["common_oxidation_states"].split()] for row in _ROWS]
    counts = np.array([0, *map(len, states)], np.int64)
    oxidation_states = np.zeros((119, counts.max()), np.int8)
    for z, row in enumerate(_ROWS, start=1):
        properties[z] = [float(row[name] or "nan") for name in MAGPIE_PROPERTIES]
        electronegativity[z] = float(row["pauling_electronegativity"] or "nan")
        oxidation_states[z, : counts[z]] = sorted(states[z - 1])
    if missing == "matminer":
        for column in (*properties[1:].T, electronegativity[1:]):
            column[np.isnan(column)] = np.nanmean(column)
    arrays: tuple[NDArray[Any], ...] = (properties, electronegativity, oxidation_states, counts)
    for array in arrays:
        array.flags.writeable = False
    return ElementData(properties, electronegativity, oxidation_states, counts)


LAST_WITH_MAGPIE_DATA = 112
"""Copernicium; Magpie's files hold nothing at all on Nh, Fl, Mc, Lv, Ts and Og."""


def has_magpie_data(z: int) -> bool:
    """Whether Magpie holds any property of the element with this atomic number.

    Examples
    --------
    >>> has_magpie_data(Z_OF["Cn"]), has_magpie_data(Z_OF["Og"])
    (True, False)
    """
    return 1 <= z <= LAST_WITH_MAGPIE_DATA


@lru_cache(maxsize=3)
def refused(missing: Missing = "matminer") -> dict[int, str]:
    """Elements that cannot be featurized under a policy for missing values, with the reasons.

    Parameters
    ----------
    missing : {"matminer", "nan", "reject"}
        See :data:`Missing`.

    Returns
    -------
    dict of int to str
        By atomic number. The six elements of which Magpie holds nothing are refused under every
        policy; ``"reject"`` adds those that lack any property.

    Raises
    ------
    ValueError
        The policy has another name.

    Examples
    --------
    >>> refused()[Z_OF["Og"]], refused("reject")[Z_OF["Ar"]]
    ("no Magpie data for element 'Og'", "Magpie has no Electronegativity for element 'Ar'")
    """
    gaps = np.isnan(element_data(missing).properties)  # (119, 22)
    reasons = {}
    for z in range(1, len(SYMBOLS)):
        if not has_magpie_data(z):
            reasons[z] = f"no Magpie data for element {SYMBOLS[z]!r}"
        elif missing == "reject" and gaps[z].any():
            names = ", ".join(MAGPIE_PROPERTIES[i] for i in np.flatnonzero(gaps[z]))
            reasons[z] = f"Magpie has no {names} for element {SYMBOLS[z]!r}"
    return reasons


def without_data(
    numbers: NDArray[np.integer[Any]], missing: Missing = "matminer"
) -> dict[int, str]:
    """Rows that hold an element refused under a policy for missing values, each with the reason.

    Parameters
    ----------
    numbers : ndarray of integers, shape (n, k)
        Atomic numbers, 0 to 118; 0 is padding.
    missing : {"matminer", "nan", "reject"}
        See :data:`Missing`.

    Returns
    -------
    dict of int to str
        By row, in ascending order; the first element at fault is named.

    Examples
    --------
    >>> without_data(np.array([[18, 11], [17, 11]]), "reject")
    {0: "Magpie has no Electronegativity for element 'Ar'"}
    """
    reasons = refused(missing)
    hits = np.isin(np.arange(len(SYMBOLS)), [*reasons])[numbers]  # (n, k)
    return {
        int(row): reasons[int(numbers[row][hits[row]][0])]
        for row in np.flatnonzero(hits.any(axis=1))
    }
