import copy

import pytest
import torch

from irnet_core import engine
from irnet_core.engine import Engine
from irnet_core.networks import Network

NETWORKS = [
    "16BARx3-8BARx1-1",
    "16BAx3R-8BAx2R-1S",
    "16BAx2-8A-1",
    "16B-8R-8BR-1S",
    "16x2R-8Ax2R-1",
    "irnet-10",
]


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(2)
    made = Network(request.param, 5)
    for _ in range(10):  # so that the running statistics are some
        made(torch.randn(64, 5) * 2 + 1)
    return made.eval()


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 7, 1024, 1500])
def test_engine_is_the_network(network, rows, onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(engine, "_has_onednn", lambda dtype: False)
    before = copy.deepcopy(network.state_dict())
    x = torch.randn(rows, 5)
    kept = x.clone()
    made = Engine(network, torch.device("cpu"), "fp32")
    with torch.inference_mode():
        outputs, hidden = made(x)
        torch.testing.assert_close(outputs, network(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(hidden, network.blocks(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(x, kept)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("onednn", [True, False])
def test_bfloat16_is_close(network, onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(engine, "_has_onednn", lambda dtype: False)
    monkeypatch.setattr(engine, "has_native_bf16", lambda device: True)
    made = Engine(network, torch.device("cpu"), "auto")
    assert made.dtype == torch.bfloat16
    x = torch.randn(300, 5)
    with torch.inference_mode():
        outputs, hidden = made(x)
        expected = network(x)
    assert outputs.dtype == hidden.dtype == torch.float32
    assert not torch.equal(outputs, expected)
    assert (outputs - expected).abs().mean() < 0.05 * expected.std()


def test_this_torch_has_the_products():
    # without them the engine is right but slow: a new version of torch must not lose them silently
    assert engine._has_onednn(torch.float32) == torch.backends.mkldnn.is_available()
