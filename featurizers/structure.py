"""The 126 structure attributes of Ward (2017), from one Voronoi tessellation per structure.

The values are those of matminer's presets: coordination number
(``SiteStatsFingerprint("CoordinationNumber_ward-prb-2017")``), ``StructuralHeterogeneity``,
``ChemicalOrdering``, ``MaximumPackingEfficiency`` and
``SiteStatsFingerprint("LocalPropertyDifference_ward-prb-2017")``, side by side, less the two ranges
that the publication does not have. All faces weigh by their area. Why the tessellation is Qhull's
is told in :mod:`featurizers.tessellation`.

References
----------
Ward et al., Phys. Rev. B 96, 024104 (2017), doi 10.1103/PhysRevB.96.024104.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers.elements import MAGPIE_PROPERTIES, TABLE_SHA256, Missing, element_data
from featurizers.periodic import Crystal
from featurizers.segments import SITE_STATISTICS, Segments
from featurizers.structure_input import MAX_SITES, read_structure
from featurizers.tessellation import Faces, tessellate
from featurizers.walks import shell_weights
from irnet_core.errors import DataError
from irnet_core.feature_schema import FeatureSchema

_NO_RANGE = [0, 1, 3, 4]
SHELLS = (1, 2, 3)

FEATURE_NAMES_STRUCTURE: tuple[str, ...] = (
    *(f"{SITE_STATISTICS[s]} CN_VoronoiNN" for s in _NO_RANGE),
    "mean absolute deviation in relative bond length",
    "max relative bond length",
    "min relative bond length",
    *(f"{SITE_STATISTICS[s]} neighbor distance variation" for s in _NO_RANGE),
    "mean absolute deviation in relative cell size",
    *(f"mean ordering parameter shell {shell}" for shell in SHELLS),
    "max packing efficiency",
    *(f"{s} local difference in {name}" for name in MAGPIE_PROPERTIES for s in SITE_STATISTICS),
)
"""Names of the 126 attributes, as matminer names and orders them."""


def structure_schema(missing: Missing = "matminer") -> FeatureSchema:
    """Definition of the 126 attributes under a policy for missing element properties."""
    return FeatureSchema("ward2017", FEATURE_NAMES_STRUCTURE, 1, TABLE_SHA256, missing)


# Sites whose attributes are computed at once: enough to spread numpy's overhead over many small
# structures, few enough to stay in the caches.
_BLOCK_SITES = 256


@dataclass(frozen=True)
class StructureFeatures:
    """Attributes of a list of structures.

    Attributes
    ----------
    values : ndarray, float32, shape (n, 126)
        Columns as in :data:`FEATURE_NAMES_STRUCTURE`; rows of structures that cannot be used
        are NaN.
    reasons : dict of int to str
        Why, by row, for each of those.
    stages : dict of int to str
        And what they failed at: ``"structure"`` if it makes no sense, or ``"tessellation"``.
    """

    values: NDArray[np.float32]
    reasons: dict[int, str]
    stages: dict[int, str]


def featurize_structure(
    lattice: Any, numbers: Any, frac_coords: Any, missing: Missing = "matminer"
) -> NDArray[np.float32]:
    """The 126 attributes of one structure.

    Parameters
    ----------
    lattice : array_like, shape (3, 3)
        Lattice vectors as rows, in Å.
    numbers : array_like of int, shape (n,)
        Atomic number of each site.
    frac_coords : array_like, shape (n, 3)
        Fractional coordinates.
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties, see :data:`featurizers.elements.Missing`.

    Returns
    -------
    ndarray, float32, shape (126,)
        Columns as in :data:`FEATURE_NAMES_STRUCTURE`.

    Raises
    ------
    DataError
        The structure cannot be used; the message says why.

    Examples
    --------
    >>> x = featurize_structure(np.eye(3) * 4.2, [55, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> x.shape, round(float(x[FEATURE_NAMES_STRUCTURE.index("max packing efficiency")]), 4)
    ((126,), 0.6802)
    """
    result = featurize_structures([lattice], [numbers], [frac_coords], missing)
    if result.reasons:
        raise DataError(f"The structure cannot be featurized: {result.reasons[0]}.")
    return result.values[0]


def featurize_structures(
    lattices: Sequence[Any],
    numbers: Sequence[Any],
    frac_coords: Sequence[Any],
    missing: Missing = "matminer",
    max_sites: int = MAX_SITES,
) -> StructureFeatures:
    """The 126 attributes of many structures; none of them can stop the others.

    Parameters
    ----------
    lattices, numbers, frac_coords : sequences of length n
        Of each structure, as for :func:`featurize_structure`.
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties.
    max_sites : int
        Structures with more sites are refused.

    Returns
    -------
    StructureFeatures

    Raises
    ------
    ValueError
        The sequences differ in length.

    Examples
    --------
    >>> cell = np.eye(3) * 3.0
    >>> result = featurize_structures([cell, cell * 0], [[29], [29]], [[[0, 0, 0]]] * 2)
    >>> result.values.shape, result.reasons
    ((2, 126), {1: 'the cell has no volume'})
    """
    values = np.full((len(lattices), len(FEATURE_NAMES_STRUCTURE)), np.nan, np.float32)
    reasons: dict[int, str] = {}
    stages: dict[int, str] = {}
    rows: list[int] = []
    block = _Block()
    for row, parts in enumerate(zip(lattices, numbers, frac_coords, strict=True)):
        stage = "structure"
        try:
            crystal, z = read_structure(*parts, missing=missing, max_sites=max_sites)
            stage = "tessellation"
            block.add(crystal, z, tessellate(crystal))
        except DataError as error:
            reasons[row], stages[row] = str(error), stage
            continue
        rows.append(row)
        if block.n_sites >= _BLOCK_SITES:
            values[rows] = block.attributes(missing)
            rows, block = [], _Block()
    if rows:
        values[rows] = block.attributes(missing)
    return StructureFeatures(values, reasons, stages)


class _Block:
    """Tessellated structures whose attributes are computed together."""

    def __init__(self) -> None:
        self.n_sites = 0
        self.offsets: list[int] = []  # first site of each structure
        self.volumes: list[float] = []
        self.numbers: list[NDArray[np.int64]] = []
        self.faces: list[Faces] = []

    def add(self, crystal: Crystal, numbers: NDArray[np.int64], faces: Faces) -> None:
        self.offsets.append(self.n_sites)
        self.volumes.append(crystal.volume)
        self.numbers.append(numbers)
        self.faces.append(faces)
        self.n_sites += len(numbers)

    def attributes(self, missing: Missing) -> NDArray[np.float64]:
        """The 126 attributes of each structure, (m, 126)."""
        offsets = np.array(self.offsets)
        sizes = np.diff(offsets, append=self.n_sites)
        shift = np.repeat(offsets, [len(f.site) for f in self.faces])
        faces = Faces(
            _joined(f.site for f in self.faces) + shift,
            _joined(f.neighbour for f in self.faces) + shift,
            _joined(f.image for f in self.faces),
            _joined(f.area for f in self.faces),
            _joined(f.distance for f in self.faces),
        )
        starts = np.flatnonzero(np.diff(faces.site, prepend=-1))
        numbers = np.concatenate(self.numbers)
        over = Segments(offsets, sizes)
        local = _local_differences(faces, starts, element_data(missing).properties[numbers])
        packing = np.add.reduceat(np.minimum.reduceat(faces.distance, starts) ** 3, offsets)
        return np.concatenate(
            [
                over.statistics(_coordination(faces, starts)[:, None])[:, 0, _NO_RANGE],
                _heterogeneity(faces, starts, over),
                _ordering(faces, starts, numbers, over),
                (np.pi / 6 * packing / np.array(self.volumes))[:, None],
                over.statistics(local).reshape(len(sizes), -1),
            ],
            axis=1,
        )


def _joined(parts: Iterable[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(list(parts))


def _coordination(faces: Faces, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Effective coordination number of each site, (n,): (sum A)^2 / sum A^2."""
    total = np.add.reduceat(faces.area, starts)
    return total**2 / np.add.reduceat(faces.area**2, starts)


def _heterogeneity(faces: Faces, starts: NDArray[np.int64], over: Segments) -> NDArray[np.float64]:
    """Spread of bond lengths and of cell volumes, (m, 8)."""
    total = np.add.reduceat(faces.area, starts)
    length = np.add.reduceat(faces.area * faces.distance, starts) / total
    deviation = faces.area * np.abs(faces.distance - length[faces.site])
    variation = np.add.reduceat(deviation, starts) / total / length
    relative = length / over.spread(over.mean(length))
    cell = np.add.reduceat(faces.volume, starts)
    return np.concatenate(
        [
            over.deviation(relative)[:, None],
            np.maximum.reduceat(relative, over.offsets)[:, None],
            np.minimum.reduceat(relative, over.offsets)[:, None],
            over.statistics(variation[:, None])[:, 0, _NO_RANGE],
            (over.deviation(cell) / over.mean(cell))[:, None],
        ],
        axis=1,
    )


def _ordering(
    faces: Faces, starts: NDArray[np.int64], numbers: NDArray[np.int64], over: Segments
) -> NDArray[np.float64]:
    """Mean absolute Warren-Cowley parameter of each shell, (m, 3); 0 for a single element."""
    # elements numbered within each structure: (structure, element) pairs in ascending order
    pairs, pair = np.unique(
        over.spread(np.arange(len(over.sizes))) * 256 + numbers, return_inverse=True
    )
    kinds = np.bincount(pairs // 256)  # elements in each structure
    kind = pair - over.spread(np.cumsum(kinds) - kinds)  # (n,)
    types = (kind[:, None] == np.arange(kinds.max())).astype(np.float64)  # (n, k)
    fractions = over.spread(over.mean(types))  # (n, k)
    weights = shell_weights(faces, starts, types)  # (3, n, k)
    share = weights / weights.sum(2, keepdims=True)
    order = np.where(fractions > 0, 1 - share / np.where(fractions > 0, fractions, 1), 0.0)
    per_site = np.abs(order).sum(2) / over.spread(kinds)  # (3, n)
    return np.where(kinds[:, None] == 1, 0.0, over.mean(per_site.T))


def _local_differences(
    faces: Faces, starts: NDArray[np.int64], properties: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area-weighted mean difference of each property (n, 22) to the neighbours', (n, 22)."""
    difference = properties[faces.neighbour]
    difference -= properties[faces.site]
    np.abs(difference, out=difference)
    difference *= faces.area[:, None]
    total = np.add.reduceat(faces.area, starts)
    return np.add.reduceat(difference, starts, axis=0) / total[:, None]
