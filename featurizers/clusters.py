"""Clusters of rows by their features, to leave out whole families of materials."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from irnet_core.errors import DataError

LARGEST_SEED = 2**32 - 1  # of scikit-learn


def cluster_labels(features: NDArray[np.float32], count: int, seed: int = 0) -> NDArray[np.int64]:
    """k-means clusters of standardised features (Sculley, doi 10.1145/1772690.1772862).

    Parameters
    ----------
    features : numpy.ndarray, (n, k)
    count : int
        Clusters.
    seed : int

    Returns
    -------
    numpy.ndarray, int64, (n,)
        Labels from 0.

    Raises
    ------
    DataError
        If there are fewer rows than clusters, or some feature is not finite.

    Examples
    --------
    >>> labels = cluster_labels(np.array([[0.0], [0.1], [9.0], [9.1]], np.float32), 2)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    if not 2 <= count <= len(features):
        raise DataError(
            f"{len(features)} rows cannot be put into {count} clusters: take 2 to {len(features)}"
        )
    if not np.isfinite(features).all():
        raise DataError("some features are not finite: featurize with the policy of matminer")
    # a second of importing, which only those who ask for clusters wait for
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(np.asarray(features, np.float32))
    if seed > LARGEST_SEED:
        seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    model = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=4096)
    return np.asarray(model.fit_predict(scaled), np.int64)
