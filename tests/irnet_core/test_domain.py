import numpy as np
import pytest
import torch

from irnet_core.domain import Domain, error_by_percentile

# far from singular, else the smallest variance counts as rounding
MIX = torch.eye(6) + 0.2 * torch.triu(torch.ones(6, 6), 1)


@pytest.fixture(scope="module")
def hidden():
    torch.manual_seed(0)
    return torch.randn(5000, 6) @ MIX + torch.arange(6.0)


def test_distance_is_that_of_mahalanobis(hidden):
    domain = Domain.fit(hidden)
    values = hidden.double()
    delta = values - values.mean(0)
    inverse = torch.linalg.inv(delta.T @ delta / len(values))
    expected = torch.einsum("ni,ij,nj->n", delta, inverse, delta).sqrt()
    torch.testing.assert_close(domain.distance(hidden).double(), expected, rtol=1e-3, atol=1e-3)


def test_percentiles_of_training_rows_are_even(hidden):
    found = Domain.fit(hidden).percentile(hidden).numpy()
    assert found.min() == 0
    assert found.max() == pytest.approx(100, abs=1e-3)
    np.testing.assert_allclose(np.sort(found), np.linspace(0, 100, 5000), atol=0.6)


def test_percentile_rises_with_the_distance_and_ends_at_100(hidden):
    domain = Domain.fit(hidden)
    direction = torch.ones(6)
    line = domain.center + torch.linspace(0, 100, 50)[:, None] * direction
    found = domain.percentile(line)
    assert (found.diff() >= 0).all()
    assert found[0] == 0
    assert found[-1] == 100


def test_a_linear_map_of_the_features_changes_nothing(hidden):
    mixed = hidden @ MIX.T
    one, other = Domain.fit(hidden).percentile(hidden), Domain.fit(mixed).percentile(mixed)
    assert float((one - other).abs().max()) < 1.5


def test_dead_features_are_no_direction(hidden):
    # a feature that is constant in training hardly counts where rounding moves it
    dead = torch.cat([hidden, torch.full((5000, 1), 3.0)], 1)
    domain = Domain.fit(dead)
    moved = dead.clone()
    moved[:, 6] += 0.004  # the error of bfloat16
    assert float((domain.percentile(moved) - domain.percentile(dead)).abs().max()) < 2
    assert domain.whitening.isfinite().all()


@pytest.mark.parametrize("n", [2, 3])
def test_few_rows_and_constant_rows(n):
    domain = Domain.fit(torch.ones(n, 4))
    assert domain.percentile(torch.ones(2, 4)).isfinite().all()
    assert domain.whitening.isfinite().all()
    assert domain.percentile(torch.full((1, 4), 9.0))[0] == 100


def test_error_by_percentile():
    percentile = np.array([0.0, 9.99, 10.0, 55.0, 95.0, 100.0])
    found = error_by_percentile(np.array([1.0, -3.0, 5.0, -7.0, 2.0, 4.0]), percentile)
    assert found == [
        {"from": 0.0, "to": 10.0, "rows": 2, "mae": 2.0},
        {"from": 10.0, "to": 20.0, "rows": 1, "mae": 5.0},
        {"from": 50.0, "to": 60.0, "rows": 1, "mae": 7.0},
        {"from": 90.0, "to": 100.0, "rows": 2, "mae": 3.0},
    ]
