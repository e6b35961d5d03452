"""Neighbour shells of sites: weighted walks over Voronoi faces that never come back to a site.

A walk steps from site to site through their common faces; its weight is the product of the weights
of its steps. Shell k of a site holds where its walks of k steps end. They are not enumerated: all
walks are counted by products with the neighbour matrix, and those that come back are subtracted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featurizers.tessellation import Faces

_SPAN = 1 << 12  # lattice translations fit easily: no neighbour is thousands of cells away
_HALF = _SPAN // 2


def shell_weights(
    faces: Faces, starts: NDArray[np.int64], types: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weight of each type of site in the first three shells of each site.

    The weight of a step is the face's area over that of the site's largest face, as pymatgen's
    ``VoronoiNN(weight="area")`` gives it, and walks are those of its ``get_nn_shell_info``.

    Parameters
    ----------
    faces : Faces
        Ordered by site; each site has one.
    starts : ndarray, int64, shape (n,)
        First face of each site.
    types : ndarray, float64, shape (n, k)
        1 for the type of each site, else 0.

    Returns
    -------
    ndarray, float64, shape (3, n, k)

    References
    ----------
    Ward et al., Phys. Rev. B 96, 024104 (2017), doi 10.1103/PhysRevB.96.024104.
    """
    site, neighbour = faces.site, faces.neighbour
    largest = np.maximum.reduceat(faces.area, starts)  # (n,)
    ahead = faces.area / largest[site]  # weight of the step across each face, (f,)
    back = faces.area / largest[neighbour]  # and of the step back

    def step(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at the neighbours, weighted and summed over each site's faces."""
        return np.add.reduceat(ahead[:, None] * values[neighbour], starts, axis=0)

    first = step(types)
    returns = np.add.reduceat(ahead * back, starts)[:, None]  # there and back, (n, 1)
    second = step(first) - returns * types
    # s-a-s-b, s-a-b-a (s-a-s-a belongs to both) and s-a-b-s
    there_back_there = np.add.reduceat((ahead**2 * back)[:, None] * types[neighbour], starts)
    triangles = _triangles(faces, starts, ahead, back)[:, None]
    third = (
        step(step(first))
        - returns * first
        - step(returns * types)
        + there_back_there
        - triangles * types
    )
    return np.stack([first, second, third])


def _triangles(
    faces: Faces,
    starts: NDArray[np.int64],
    ahead: NDArray[np.float64],
    back: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weight of the walks of three steps that end where they began, (n,)."""
    counts = np.diff(starts, append=len(faces.site))  # faces per site
    # every pair of faces of the same site: out through one, home through the other
    out = np.repeat(np.arange(len(faces.site)), counts[faces.site])
    home = np.arange(len(out)) - np.repeat(
        np.concatenate([[0], np.cumsum(counts[faces.site])[:-1]]), counts[faces.site]
    )
    home += starts[faces.site[out]]
    across = faces.image[home] - faces.image[out]
    n = len(starts)
    keys = _keys(faces.site, faces.neighbour, faces.image, n)
    order = np.argsort(keys)
    wanted = _keys(faces.neighbour[out], faces.neighbour[home], across, n)
    place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    face = order[place]
    weight = np.where(keys[face] == wanted, ahead[out] * ahead[face] * back[home], 0.0)
    pairs = counts**2  # of faces of each site, (n,); they stand in order of the site
    return np.add.reduceat(weight, np.cumsum(pairs) - pairs)


def _keys(
    site: NDArray[np.int64], neighbour: NDArray[np.int64], image: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """One number per pair of sites and lattice translation."""
    keys = site * n + neighbour
    for axis in range(3):
        keys = keys * _SPAN + (image[:, axis] + _HALF)
    return keys
