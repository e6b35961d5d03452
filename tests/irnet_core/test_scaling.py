import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irnet_core.scaling import Scaler

tables = arrays(np.float32, (7, 3), elements=st.floats(-1e4, 1e4, width=32))


def test_standard_agrees_with_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 4)) * [2e-2, 1.0, 50.0, 3.0] + [100.0, 0.0, -7.0, 1e3]).astype("f4")
    ours = Scaler.standard(x).forward(torch.from_numpy(x)).numpy()
    theirs = preprocessing.StandardScaler().fit_transform(x.astype(np.float64))
    np.testing.assert_allclose(ours, theirs, atol=1e-2)  # float32 against an offset of 5000 spreads
    np.testing.assert_allclose(ours.mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(ours.std(0), 1, atol=1e-2)


def test_constant_columns_are_centred_and_not_scaled():
    x = np.array([[3.0, 1e6, 0.0]] * 5, np.float32)
    scaler = Scaler.standard(x)
    assert scaler.scale.tolist() == [1.0, 1.0, 1.0]
    # a value the training rows never had stays moderate
    assert scaler.forward(torch.tensor([[4.0, 1e6, 1.0]])).tolist() == [[1.0, 0.0, 1.0]]


def test_columns_that_hardly_vary_do_not_throw_new_rows_far_out():
    x = np.zeros((1000, 1), np.float32)
    x[3] = 2e-5
    scaler = Scaler.standard(x)
    assert scaler.scale.item() == pytest.approx(0.01)
    assert scaler.forward(torch.tensor([[1.5]])).item() == pytest.approx(150, rel=1e-3)


def test_rounding_noise_counts_as_constant():
    x = np.full((100, 1), 1e4, np.float64)
    x[0] += 1e-9
    assert Scaler.standard(x).scale.item() == 1.0


def test_robust():
    y = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    scaler = Scaler.robust(y)
    assert (scaler.center.item(), scaler.scale.item()) == (3.0, pytest.approx(11 / 5))
    assert Scaler.robust(np.full(4, 2.5)).scale.item() == 1.0
    far = Scaler.robust(np.append(np.tile(y, 200), 1e3))
    assert far.center.item() == 3.0
    assert far.scale.item() == pytest.approx(11 / 5)
    gaps = np.array([0.0] * 890 + [2.0] * 109 + [1e5])  # most are 0, one is a mistake
    assert Scaler.robust(gaps).scale.item() == pytest.approx(0.2, rel=0.1)
    long_tail = np.random.default_rng(0).exponential(size=5000) ** 3
    mean = np.abs(long_tail - np.median(long_tail)).mean()
    assert Scaler.robust(long_tail).scale.item() == pytest.approx(mean)
    assert Scaler.robust(np.array([0.0] * 999 + [1.0])).scale.item() == pytest.approx(0.001)


def test_identity():
    x = torch.randn(3, 4)
    assert torch.equal(Scaler.identity(4).forward(x), x)


@given(tables, st.permutations(range(7)))
def test_order_of_rows_does_not_matter(x, order):
    one, other = Scaler.standard(x), Scaler.standard(x[order])
    torch.testing.assert_close(one.center, other.center, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(one.scale, other.scale, rtol=1e-6, atol=1e-3)
    assert Scaler.robust(x[:, 0]).center == Scaler.robust(x[order, 0]).center
