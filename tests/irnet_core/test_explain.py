import numpy as np
import pytest
import torch

from irnet_core.bundle import Bundle
from irnet_core.errors import ModelError
from irnet_core.explain import integrated_gradients, nearest, target_function
from irnet_core.networks import Network
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler

RANDOM = np.random.default_rng(0)


@pytest.fixture
def bundle():
    torch.manual_seed(0)
    network = Network("32BARx2-16BARx1-1", 12)
    network.train()
    for _ in range(20):  # so that batch norm has seen rows
        network(torch.randn(64, 12))
    rows = RANDOM.normal(3, 2, (100, 12))
    return Bundle(None, (network.eval(),), Scaler.standard(rows), TargetScaler.fit(rows[:, 0]))


@pytest.mark.parametrize("seed", range(5))
def test_shares_sum_to_the_difference(bundle, seed):
    x = np.random.default_rng(seed).normal(3, 3, 12)
    center = bundle.inputs.center.numpy()
    function = target_function(bundle)
    found = integrated_gradients(function, x, center, tolerance=1e-5)
    values = function(torch.from_numpy(np.stack([x, center]))).numpy()
    assert (found.prediction, found.baseline) == pytest.approx(tuple(values))
    assert found.values.sum() == pytest.approx(values[0] - values[1], abs=1e-5 * abs(values).max())
    assert abs(found.gap) <= 1e-5 * abs(values).max()


def test_the_function_is_the_model(bundle):
    x = torch.randn(7, 12)
    wanted = bundle.target.value(bundle.networks[0](bundle.inputs.forward(x))[:, 0], x)
    found = target_function(bundle)(x.double())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert next(bundle.networks[0].parameters()).dtype == torch.float32  # a copy was made double


def test_shares_are_those_of_many_small_steps(bundle):
    x, center = RANDOM.normal(3, 3, 12), bundle.inputs.center.double()
    function = target_function(bundle)
    way = torch.from_numpy(x) - center
    steps = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    points = (center + steps[:, None] * way).requires_grad_(True)
    (gradients,) = torch.autograd.grad(function(points).sum(), points)
    wanted = (gradients.mean(0) * way).numpy()
    found = integrated_gradients(function, x, center.numpy(), tolerance=1e-6)
    np.testing.assert_allclose(found.values, wanted, atol=1e-3 * np.abs(wanted).max())


def test_inputs_without_a_part_have_no_share():
    found = integrated_gradients(lambda x: 3 * x[:, 1] ** 2, np.array([9.0, 2.0]), np.zeros(2))
    assert found.values == pytest.approx([0, 12], abs=0.02)
    assert found.largest(1).tolist() == [1]


def test_a_prediction_that_is_not_finite():
    with pytest.raises(ModelError, match="not finite"):
        integrated_gradients(lambda x: x[:, 0] / 0, np.ones(1), np.zeros(1))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_nearest_is_what_all_distances_say(size):
    rows = RANDOM.normal(size=(50, 4))
    rows[3] = np.nan
    rows[20] = rows[10]
    scaler = Scaler.standard(RANDOM.normal(2, 3, (30, 4)))
    chunks = (rows[start : start + size] for start in range(0, 50, size))
    found, distances = nearest(rows[10], chunks, scaler, 6)
    scaled = (rows - rows[10]) / scaler.scale.numpy()
    every = np.sqrt((scaled**2).mean(1))
    assert found.tolist() == np.argsort(every, kind="stable")[:6].tolist()
    assert found[:2].tolist() == [10, 20]
    np.testing.assert_allclose(distances, np.sort(every)[:6], atol=1e-6)
