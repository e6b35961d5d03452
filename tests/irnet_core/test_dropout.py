"""Values are dropped by a chance that belongs to one network."""

import numpy as np
import pytest
import torch
from standins.memory import Memory

from irnet_core.dropout import Dropout
from irnet_core.elements import N_ELEMENTS
from irnet_core.recipes import recipe
from irnet_core.training import TrainingData, fit


def dropping(share, seed=0):
    part = Dropout()
    part.begin(share, torch.Generator().manual_seed(seed))
    return part


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_mean_stays(share, dtype):
    x = torch.rand(333, 3, 101).to(dtype)
    y = dropping(share)(x)
    assert y.dtype == dtype
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=0.01)
    assert y.float().mean().item() == pytest.approx(x.float().mean().item(), rel=0.03)
    kept = y != 0
    assert torch.allclose(y[kept].float(), x[kept].float() / (1 - share), rtol=0.03)


def test_gradients_flow_where_values_do():
    x = torch.rand(50, 7, requires_grad=True)
    y = dropping(0.3)(x)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)


def test_nothing_is_dropped_before_it_begins_nor_in_evaluation():
    x = torch.rand(20, 5)
    assert Dropout()(x) is x
    assert dropping(0.0)(x) is x
    assert dropping(0.5).eval()(x) is x


def test_chance_is_the_networks_own():
    x = torch.rand(64, 5)
    torch.manual_seed(1)
    one = dropping(0.5)
    first, second = one(x), one(x)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(dropping(0.5)(x), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert not torch.equal(dropping(0.5, seed=1)(x), first)


def test_a_network_that_drops_goes_on_where_it_was_stopped():
    random = np.random.default_rng(0)
    fractions = np.zeros((240, N_ELEMENTS), np.float32)
    fractions[np.arange(240)[:, None], random.integers(0, 9, (240, 2))] = 0.5
    y = fractions[:, :9] @ np.arange(9.0)
    data = TrainingData(fractions[:200], y[:200], fractions[200:], y[200:])
    chosen = recipe("modern").with_epochs(4)
    assert chosen.dropout > 0

    class Stopping(Memory):
        def write_bytes(self, name, data):
            super().write_bytes(name, data)
            raise KeyboardInterrupt

    def train(folder=None):
        return fit(data, "8Ex1-8BARx1-1", chosen, folder=folder, seconds_between_checkpoints=-1.0)

    whole, folder = train(), Stopping()
    with pytest.raises(KeyboardInterrupt):
        train(folder)
    resumed = train(Memory(folder))
    assert resumed.resumed_at == 1
    assert resumed.progress == whole.progress
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
