import numpy as np
import pytest

from featurizers.clusters import cluster_labels
from irnet_core.errors import DataError


def test_blobs_are_found_whatever_their_scale():
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(4, 6)) * 50
    truth = draw.integers(0, 4, 400)
    x = ((centres[truth] + draw.normal(size=(400, 6))) * 10.0 ** np.arange(6)).astype(np.float32)
    found = cluster_labels(x, 4, seed=1)
    assert found.tolist() == cluster_labels(x, 4, seed=1).tolist()
    for label in range(4):
        assert len(set(truth[found == label])) == 1
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.parametrize("count", [1, 5])
def test_too_few_rows(count):
    with pytest.raises(DataError, match=f"4 rows cannot be put into {count} clusters"):
        cluster_labels(np.zeros((4, 2), np.float32), count)


def test_features_that_are_missing():
    with pytest.raises(DataError, match="not finite"):
        cluster_labels(np.array([[0.0], [np.nan], [1.0]], np.float32), 2)


def test_any_seed_that_splits_take_is_taken():
    rows = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    for seed in (2**32, 2**63 - 1):
        labels = cluster_labels(rows, 3, seed)
        assert set(labels) == {0, 1, 2}
        np.testing.assert_array_equal(labels, cluster_labels(rows, 3, seed))
