"""The 145 composition attributes of Magpie, for many rows at once.

The values are those of matminer's ``Stoichiometry``, ``ElementProperty("magpie")``,
``ValenceOrbital(props=["avg"])`` and ``IonProperty(fast=True)``, side by side. One implementation
serves numpy arrays and torch tensors on any device: the operations used have the same name and
meaning in both libraries, and the few that do not are in :mod:`featurizers.arrays`.

References
----------
Ward et al., npj Comput. Mater. 2, 16028 (2016), doi 10.1038/npjcompumats.2016.28.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers.arrays import Array, backend
from featurizers.elements import (
    MAGPIE_PROPERTIES,
    TABLE_SHA256,
    Missing,
    element_data,
    refused,
    without_data,
)
from featurizers.formula import parse_formulas
from featurizers.grouping import blocks_of_one_size
from featurizers.neutrality import can_be_neutral
from irnet_core.errors import FormulaError
from irnet_core.feature_schema import FeatureSchema

NORMS = (0, 2, 3, 5, 7, 10)
STATISTICS = ("minimum", "maximum", "range", "mean", "avg_dev", "mode")
ORBITALS = ("s", "p", "d", "f")

FEATURE_NAMES: tuple[str, ...] = (
    *(f"{p}-norm" for p in NORMS),
    *(f"MagpieData {s} {name}" for name in MAGPIE_PROPERTIES for s in STATISTICS),
    *(f"avg {orbital} valence electrons" for orbital in ORBITALS),
    "compound possible",
    "max ionic char",
    "avg ionic char",
)
"""Names of the 145 attributes, as matminer names and orders them."""


def feature_schema(missing: Missing = "matminer") -> FeatureSchema:
    """Definition of the 145 attributes under a policy for missing element properties."""
    return FeatureSchema("magpie", FEATURE_NAMES, 1, TABLE_SHA256, missing)


# where the blocks begin
_PROPERTIES_AT = len(NORMS)
_ORBITALS_AT = _PROPERTIES_AT + len(MAGPIE_PROPERTIES) * len(STATISTICS)
_IONIC_AT = _ORBITALS_AT + len(ORBITALS)
_VALENCE_MEANS_AT = tuple(
    FEATURE_NAMES.index(f"MagpieData mean N{orbital}Valence") for orbital in ORBITALS
)

# matminer takes amounts for equal by numpy.isclose(amount, largest); here relative to the largest
_TIE = 1e-5 + 1e-8


def featurize(formulas: Sequence[str], missing: Missing = "matminer") -> NDArray[np.float32]:
    """The 145 attributes of some formulas.

    Parameters
    ----------
    formulas : sequence of str, length n
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties, see :data:`featurizers.elements.Missing`.

    Returns
    -------
    ndarray, float32, shape (n, 145)
        Columns as in :data:`FEATURE_NAMES`.

    Raises
    ------
    FormulaError
        A formula cannot be read, or holds an element that Magpie knows nothing of, or too little
        for the policy.

    Examples
    --------
    >>> x = featurize(["NaCl", "Fe2O3"])
    >>> x.shape, float(x[1, FEATURE_NAMES.index("MagpieData mean Number")])
    ((2, 145), 15.199999809265137)
    """
    parsed = parse_formulas(formulas)
    reasons = without_data(parsed.numbers, missing) | parsed.reasons
    if reasons:
        row = min(reasons)
        raise FormulaError(
            f"Formula {formulas[row]!r:.60} in row {row} cannot be used: {reasons[row]}; "
            "correct or remove it."
        )
    return np.asarray(featurize_arrays(parsed.numbers, parsed.amounts, missing))


def featurize_arrays(numbers: Array, amounts: Array, missing: Missing = "matminer") -> Array:
    """The 145 attributes of compositions given as arrays.

    Parameters
    ----------
    numbers : ndarray or torch.Tensor of integers, shape (n, k)
        Atomic numbers, each at most once in a row, 0 for padding anywhere.
    amounts : ndarray or torch.Tensor of floats, shape (n, k), on the same device
        Amounts, to any scale; slots with amount 0 count as padding.
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties.

    Returns
    -------
    ndarray or torch.Tensor, float32, shape (n, 145)
        On the device of `numbers`. Rows without elements, or with an element that Magpie knows
        nothing of (Nh to Og), are NaN; those that the policy rejects as well.

    Raises
    ------
    FormulaError
        A row has more than 32 elements.

    Examples
    --------
    >>> x = featurize_arrays(np.array([[8, 26]]), np.array([[3.0, 2.0]]))
    >>> float(x[0, FEATURE_NAMES.index("compound possible")])
    1.0
    """
    xp = backend(numbers)
    tables = _tables(xp, missing)
    out = xp.full((len(numbers), len(FEATURE_NAMES)), float("nan"), xp.float32)
    work = _workspace(xp, min(len(numbers), xp.block_rows))
    for rows, z, a in blocks_of_one_size(xp, numbers, amounts, tables.rejected):
        work.take_shape(*z.shape)
        _featurize_block(xp, tables, work, z, a)
        out[rows] = work.attributes.T
    return out


class _Tables:
    """Element tables on one device.

    Attributes
    ----------
    properties : float64, shape (22, 119)
    complete : bool
        No property of an element up to Cn is NaN.
    ionic : float64, shape (119 * 119,)
        Ionic character of each pair of elements.
    rejected : bool, shape (119,), or None
        Elements that the policy does not admit.
    """

    def __init__(self, xp: Any, missing: Missing) -> None:
        data = element_data(missing)
        x = data.electronegativity
        self.properties = xp.asarray(np.ascontiguousarray(data.properties.T), xp.float64)
        self.complete = not np.isnan(data.properties[1:]).any()
        self.ionic = xp.asarray(-np.expm1(-0.25 * (x[:, None] - x) ** 2).ravel(), xp.float64)
        rejected = np.isin(np.arange(len(x)), [*refused(missing)])
        self.rejected = xp.asarray(rejected) if missing == "reject" else None


@lru_cache(maxsize=8)
def _tables(xp: Any, missing: Missing) -> _Tables:
    return _Tables(xp, missing)


class _Workspace:
    """Buffers for blocks of at most `rows` compositions.

    Attributes run along the first axis while computing.
    """

    def __init__(self, xp: Any, rows: int) -> None:
        self._xp, self.rows = xp, rows
        self._attributes = xp.empty((len(FEATURE_NAMES) * rows,), xp.float32)
        self._buffers: list[Array] = []

    def take_shape(self, c: int, m: int) -> None:
        """Prepare for m compositions of c elements each."""
        n = len(MAGPIE_PROPERTIES)
        while len(self._buffers) < c + 3:
            self._buffers.append(self._xp.empty((n * self.rows,), self._xp.float64))
        self.attributes = self._attributes[: len(FEATURE_NAMES) * m].reshape(-1, m)
        views = [buffer[: n * m].reshape(n, m) for buffer in self._buffers[: c + 3]]
        self.first, self.second, self.term = views[:3]
        self.properties = views[3:]  # of each element


_kept = threading.local()


def _workspace(xp: Any, rows: int) -> _Workspace:
    """Buffers of this thread, kept between calls where fresh memory is slow."""
    if not xp.keeps_buffers:
        return _Workspace(xp, rows)
    work: _Workspace | None = getattr(_kept, "work", None)
    if work is None or work.rows < rows:
        work = _kept.work = _Workspace(xp, rows)
    return work


def _featurize_block(xp: Any, tables: _Tables, work: _Workspace, z: Array, a: Array) -> None:
    """Fill ``work.attributes`` (145, m) for compositions z, a (c, m) of c elements each."""
    f = a / a.sum(0)
    attributes = work.attributes
    _norms(xp, f, attributes[:_PROPERTIES_AT])
    _property_statistics(xp, tables, work, z, a, f)
    for orbital, mean_at in enumerate(_VALENCE_MEANS_AT):
        attributes[_ORBITALS_AT + orbital] = attributes[mean_at]
    attributes[_IONIC_AT] = can_be_neutral(xp, z, f)
    _ionic_character(xp, tables, z, f, attributes[_IONIC_AT + 1 :])


def _norms(xp: Any, f: Array, out: Array) -> None:
    square = f * f
    cube = square * f
    fifth = square * cube
    out[0] = len(f)
    out[1] = xp.sqrt(square.sum(0))
    out[2] = cube.sum(0) ** (1 / 3)
    out[3] = fifth.sum(0) ** (1 / 5)
    out[4] = (square * fifth).sum(0) ** (1 / 7)
    out[5] = (fifth * fifth).sum(0) ** (1 / 10)


def _property_statistics(
    xp: Any, tables: _Tables, work: _Workspace, z: Array, a: Array, f: Array
) -> None:
    """The 22 x 6 statistics; f are the atomic fractions (c, m)."""
    p, first, second, term = work.properties, work.first, work.second, work.term
    # (6, 22, m): the file's order is property by property, so statistics are strided
    out = [work.attributes[_PROPERTIES_AT + s : _ORBITALS_AT : len(STATISTICS)] for s in range(6)]
    others = range(1, len(z))
    for j in range(len(z)):
        xp.take_columns(tables.properties, z[j], p[j])

    low, high = p[0], p[0]
    for j in others:
        low = xp.minimum(low, p[j], out=first)
        high = xp.maximum(high, p[j], out=second)
    out[0][:] = low
    out[1][:] = high
    xp.subtract(high, low, out=out[2])

    mean = xp.multiply(p[0], f[0], out=first)
    for j in others:
        mean += xp.multiply(p[j], f[j], out=term)
    out[3][:] = mean
    deviation = second
    deviation[:] = 0.0
    for j in range(len(z)):
        xp.subtract(p[j], mean, out=term)
        xp.absolute(term, out=term)
        xp.multiply(term, f[j], out=term)
        deviation += term
    out[4][:] = deviation

    tied = xp.amax(a, 0) - a <= _TIE * xp.amax(a, 0)
    penalty = xp.where(tied, 0.0, float("inf"))
    mode = second
    mode[:] = float("inf")
    for j in range(len(z)):
        if tables.complete:
            xp.add(p[j], penalty[j], out=term)
        else:  # the NaN of an element in the minority must not spread
            term[:] = xp.where(tied[j], p[j], float("inf"))
        xp.minimum(mode, term, out=mode)
    out[5][:] = mode


def _ionic_character(xp: Any, tables: _Tables, z: Array, f: Array, out: Array) -> None:
    """Largest and mean ionic character over the pairs of elements; 0 for a single element."""
    largest, mean = f[0] * 0.0, f[0] * 0.0
    for i in range(len(z)):
        for j in range(i + 1, len(z)):
            ionic = tables.ionic[z[i] * 119 + z[j]]
            xp.maximum(largest, ionic, out=largest)
            mean += f[i] * f[j] * ionic
    out[0] = largest
    out[1] = mean
