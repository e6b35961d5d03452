"""Voronoi tessellation of a crystal: one Delaunay triangulation, faces by array code.

Qhull, through scipy, does the geometry. It works in double precision, is what matminer's values
rest on too, has a free licence, wheels for every Python and platform, and many maintainers. The
wrappers of voro++ were weighed against it: ``pyvoro``, ``tess`` and ``multivoro`` take orthogonal
boxes only and hand over Python lists cell by cell (``tess`` without wheels, ``multivoro`` as an
alpha release), and ``freud`` keeps coordinates in single precision, where the faces of a symmetric
crystal that ought to vanish come out as noise.

The area of a Voronoi face follows from the triangles around its Delaunay edge. With ``l`` the
distance between the circumcentres of the two tetrahedra that share a triangle, and ``t`` the
triangle's angle opposite the edge ``e``, the triangle adds ``l * |e| * cot(t) / 4``. No polygon is
ever ordered, and where more than four points lie on a sphere, so that the triangulation is not
unique, Qhull gives the tetrahedra on it one common circumcentre: ``l`` is 0, and a face that does
not exist gets no area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

from featurizers.periodic import Cloud, Crystal, surround
from irnet_core.errors import DataError

FACE_TOLERANCE = 1e-9
"""Faces smaller than this fraction of a site's largest face are numerical noise."""

MIN_DISTANCE = 0.5
"""Atoms nearer to each other than this, in Å, overlap; pymatgen's limit for a valid structure."""

# First guess of the neighbours' distance in units of the cube root of the volume per site: enough
# for most close-packed and ionic crystals. Only speed depends on it.
_FIRST_REACH = 2.0
_GROWTH = 1.5
_LARGEST_STEP = 2.0
_ATTEMPTS = 12

# the triangle opposite each corner of a tetrahedron
_OPPOSITE = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


@dataclass(frozen=True)
class Faces:
    """Voronoi faces of the sites of one or more crystals, ordered by site.

    Attributes
    ----------
    site, neighbour : ndarray, int64, shape (f,)
        Site whose cell the face bounds, and the site on its other side.
    image : ndarray, int64, shape (f, 3)
        Lattice translation of the neighbour.
    area : ndarray, float64, shape (f,)
        Area of the face in Å^2.
    distance : ndarray, float64, shape (f,)
        Distance between the site and the neighbour in Å, twice that to the face.
    """

    site: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    image: NDArray[np.int64]
    area: NDArray[np.float64]
    distance: NDArray[np.float64]

    @property
    def volume(self) -> NDArray[np.float64]:
        """Volume in Å^3 of the pyramid between each face and its site."""
        return self.area * self.distance / 6


def tessellate(crystal: Crystal) -> Faces:
    """Voronoi faces of all sites of a crystal.

    Parameters
    ----------
    crystal : Crystal

    Returns
    -------
    Faces

    Raises
    ------
    DataError
        Atoms overlap, or the crystal cannot be tessellated.

    Examples
    --------
    >>> faces = tessellate(Crystal(np.eye(3) * 3.0, np.zeros((1, 3))))
    >>> len(faces.area), round(float(faces.volume.sum()), 9)
    (6, 27.0)
    """
    n = len(crystal.frac_coords)
    reach = np.full(n, _FIRST_REACH * np.cbrt(crystal.volume / n))
    for _ in range(_ATTEMPTS):
        cloud = surround(crystal, reach)
        if cloud is None:
            raise DataError("the cell is too thin for its length to be tessellated")
        if cloud.nearest < MIN_DISTANCE:
            raise DataError(f"atoms overlap: two are {cloud.nearest:.3f} Å apart")
        cells = _cells(cloud, n) if len(cloud.points) > 4 else None
        if cells is None:  # a cell is open: some neighbours are still missing
            reach = reach * _GROWTH
            continue
        faces, radius = cells
        # Only a point within twice the distance of a cell's farthest corner can cut that cell.
        if (2 * radius <= reach * (1 + 1e-9)).all():
            return faces
        # Corners at the edge of too small a cloud can lie arbitrarily far out.
        reach = np.clip(2 * radius * (1 + 1e-6), reach, reach * _LARGEST_STEP)
    raise DataError("the Voronoi cells do not close")


def _cells(cloud: Cloud, n: int) -> tuple[Faces, NDArray[np.float64]] | None:
    """Faces of the first n points and their cells' radii (n,) in Å; None if a cell is open."""
    try:
        mesh = Delaunay(cloud.points)
    except QhullError:  # all points in one plane
        return None
    corners = mesh.simplices  # (t, 4)
    # Only what touches a site of the cell counts. Others may be flat, at the cloud's surface.
    touching = np.flatnonzero((corners < n).any(1))
    corner_is_site = corners[touching] < n  # (t', 4)
    if np.bincount(corners[touching][corner_is_site], minlength=n).min() == 0:
        return None
    # Of the lifted hyperplane a.x + b (scale |x|^2 + shift) + c = 0 the centre is -a / (2 b scale).
    plane = mesh.equations
    if (plane[touching, 3] == 0).any():  # a flat one: its centre is at infinity
        return None
    centers = np.full((len(corners), 3), np.nan)
    centers[touching] = plane[touching, :3] / (-2 * mesh.paraboloid_scale * plane[touching, 3:4])

    beside = mesh.neighbors[touching]  # (t', 4)
    triangles = corners[touching][:, _OPPOSITE]  # (t', 4, 3)
    relevant = corner_is_site[:, _OPPOSITE].any(2)  # (t', 4)
    if (beside[relevant] < 0).any():
        return None
    once = relevant & (touching[:, None] < beside)
    triangle = triangles[once]  # (r, 3)
    step = centers[touching][np.nonzero(once)[0]] - centers[beside[once]]
    quarter = 0.25 * np.sqrt(np.einsum("ij,ij->i", step, step))

    points = cloud.points
    a, b, c = triangle.T
    ab, ac = points[b] - points[a], points[c] - points[a]
    ab2, ac2, dot = (np.einsum("ij,ij->i", u, v) for u, v in ((ab, ab), (ac, ac), (ab, ac)))
    double_area = np.sqrt(np.maximum(ab2 * ac2 - dot * dot, 1e-300))
    scale = quarter / double_area
    # per edge: area of its face over its length
    start = np.concatenate([a, a, b])
    end = np.concatenate([b, c, c])
    share = np.concatenate([scale * (ac2 - dot), scale * (ab2 - dot), scale * dot])
    radii = _radii(cloud, n, corners[touching], centers[touching])
    return _collect(cloud, n, start, end, share), radii


def _collect(
    cloud: Cloud,
    n: int,
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    share: NDArray[np.float64],
) -> Faces:
    """Faces of the first n points: shares summed over the edges between the same two points."""
    m = len(cloud.points)
    out, back = start < n, end < n
    keys = np.concatenate([start[out] * m + end[out], end[back] * m + start[back]])
    sums = np.bincount(keys, weights=np.concatenate([share[out], share[back]]), minlength=n * m)
    edges = np.flatnonzero(sums)
    site, other = np.divmod(edges, m)
    step = cloud.points[other] - cloud.points[site]
    distance = np.sqrt(np.einsum("ij,ij->i", step, step))
    area = sums[edges] * distance
    largest = np.maximum.reduceat(area, np.flatnonzero(np.diff(site, prepend=-1)))
    real = area > FACE_TOLERANCE * largest[site]
    other = other[real]
    return Faces(site[real], cloud.sites[other], cloud.images[other], area[real], distance[real])


def _radii(
    cloud: Cloud, n: int, corners: NDArray[np.int64], centers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of the farthest corner of each cell from its site, (n,), in Å."""
    step = centers - cloud.points[corners[:, 0]]
    radius = np.sqrt(np.einsum("ij,ij->i", step, step))
    farthest = np.zeros(n)
    for corner in corners.T:
        mine = corner < n
        np.maximum.at(farthest, corner[mine], radius[mine])
    return farthest
