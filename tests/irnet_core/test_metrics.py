import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irnet_core.metrics import metrics

numbers = st.floats(-1e3, 1e3)
pairs = arrays(np.float64, (2, 9), elements=numbers)


@given(pairs)
def test_agrees_with_scikit_learn(pair):
    oracle = pytest.importorskip("sklearn.metrics")
    truth, prediction = pair
    found = metrics(truth, prediction)
    assert found.rows == 9
    assert found.mae == pytest.approx(oracle.mean_absolute_error(truth, prediction))
    assert found.rmse == pytest.approx(oracle.root_mean_squared_error(truth, prediction))
    if np.ptp(truth) > 1e-3:
        assert found.r2 == pytest.approx(oracle.r2_score(truth, prediction))
    assert found.mae <= found.rmse * (1 + 1e-12) or found.mae == pytest.approx(found.rmse)


@given(pairs, st.permutations(range(9)))
def test_order_of_rows_does_not_matter(pair, order):
    one, other = metrics(*pair), metrics(*pair[:, order])
    assert one.mae == pytest.approx(other.mae)
    assert one.mae_of_median == pytest.approx(other.mae_of_median)


def test_perfect_and_median():
    truth = np.array([1.0, 2.0, 4.0])
    assert metrics(truth, truth).__dict__ == {
        "rows": 3,
        "mae": 0.0,
        "rmse": 0.0,
        "r2": 1.0,
        "mae_of_median": 1.0,
    }
    median = metrics(truth, np.full(3, 2.0))
    assert median.mae == median.mae_of_median == 1.0


def test_constant_truth_has_no_r2():
    assert metrics(np.full(50, 0.1), np.full(50, 0.2)).r2 is None  # whose mean is not quite 0.1
    found = metrics(np.ones(3), np.array([1.0, 2.0, 3.0]))
    assert found.r2 is None
    assert (found.mae, found.mae_of_median) == (1.0, 0.0)


def test_float32_predictions_are_summed_in_float64():
    n = 100_000
    found = metrics(np.zeros(n), np.full(n, 0.1, np.float32))
    assert found.mae == pytest.approx(float(np.float32(0.1)), rel=1e-12)
