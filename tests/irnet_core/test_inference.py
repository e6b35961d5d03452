import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from irnet_core.bundle import Bundle, Card
from irnet_core.domain import Domain
from irnet_core.elements import N_ELEMENTS
from irnet_core.engine import folded
from irnet_core.errors import ModelError
from irnet_core.evaluation import outputs
from irnet_core.inference import Predictor
from irnet_core.networks import Layer, Network
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler


@pytest.fixture(scope="module", params=["16BARx3-8BARx1-1", "16BAx3R-8BAx2R-1", "16BAx2-8A-1"])
def bundle(request):
    torch.manual_seed(1)
    network = Network(request.param, 3)
    network.train()
    for _ in range(20):  # so that the running statistics are some
        network(torch.randn(64, 3) * 2 + 1)
    card = Card(
        "small",
        request.param,
        "gap_ev",
        "eV",
        [{"name": "one", "hash": "00", "columns": 3}],
        *({}, 0, 1, 1, {}, {}, {}),
    )
    inputs = Scaler(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.5, 1.0]))
    return Bundle(
        card, (network.eval(),), inputs, TargetScaler(torch.tensor([10.0]), torch.tensor([3.0]))
    )


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)


def test_prediction_written_out(bundle, x):
    with torch.no_grad():
        scaled = (torch.from_numpy(x) - bundle.inputs.center) / bundle.inputs.scale
        expected = bundle.networks[0](scaled)[:, 0].double() * 3 + 10
    predictor = Predictor(bundle, precision="fp32")
    found = predictor(x)
    assert found.dtype == torch.float64
    assert found.shape == (1500,)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(predictor(torch.from_numpy(x)), found)


def test_prediction_with_references(bundle):
    """What the elements explain is added to each member, on both precisions' way out."""
    torch.manual_seed(0)
    network = Network("8BARx2-1S", N_ELEMENTS).eval()
    target = TargetScaler(torch.ones(1), torch.full((1,), 2.0), torch.randn(N_ELEMENTS))
    card = replace(bundle.card, inputs=[{"name": "fractions", "hash": "0", "columns": N_ELEMENTS}])
    made = Bundle(card, (network, network), Scaler.identity(N_ELEMENTS), target)
    x = torch.rand(7, N_ELEMENTS)
    with torch.no_grad():
        outputs = network(x)
    found = Predictor(made, precision="fp32").raw(x)
    expected = outputs[:, 0] * 2 + 1 + x @ target.references
    torch.testing.assert_close(found.mean, expected.double(), rtol=1e-5, atol=1e-5)
    spread = outputs[:, 1].exp() * 2 * math.sqrt(2)
    torch.testing.assert_close(found.spread, spread.double(), rtol=1e-5, atol=1e-5)


def test_folding_keeps_the_original(bundle, x):
    before = copy.deepcopy(bundle.networks[0].state_dict())
    network = folded(bundle.networks[0])
    assert not any(isinstance(m, nn.BatchNorm1d) for m in network.modules())
    layers = [m for m in network.modules() if isinstance(m, Layer)]
    assert layers
    after = bundle.networks[0].state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert Predictor(bundle)(x).equal(Predictor(bundle)(x))


def test_a_row_does_not_depend_on_the_others(bundle, x):
    predictor = Predictor(bundle)
    together = predictor(x)
    other = x.copy()
    other[1:] = 50 * other[:0:-1]
    assert predictor(other)[0] == together[0]
    alone = torch.cat([predictor(x[i : i + 1]) for i in range(20)])
    torch.testing.assert_close(alone, together[:20], rtol=1e-5, atol=1e-5)


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 1500), max_size=4))
def test_rows_may_come_in_any_pieces(bundle, x, cuts):
    predictor = Predictor(bundle)
    parts = np.split(x, sorted(cuts))
    pieces = torch.cat([predictor(part) for part in parts])
    torch.testing.assert_close(pieces, predictor(x), rtol=1e-5, atol=1e-5)


def test_no_rows(bundle):
    assert Predictor(bundle)(np.empty((0, 3), np.float32)).shape == (0,)


@pytest.mark.parametrize("shape", [(5, 4), (5, 2), (3,), (1, 5, 3)])
def test_wrong_shape(bundle, shape):
    message = r"^model 'small' takes inputs of shape \(n, 3\), not "
    with pytest.raises(ModelError, match=message):
        Predictor(bundle)(np.zeros(shape, np.float32))


def test_float64_inputs_are_taken(bundle, x):
    torch.testing.assert_close(Predictor(bundle)(x.astype(np.float64)), Predictor(bundle)(x))


def test_numbers_that_are_not_finite_are_no_predictions(bundle, x):
    """Weights may be finite, and yet be too large."""
    broken = copy.deepcopy(bundle.networks[0])
    broken.output.weight.data.fill_(3e38)
    predictor = Predictor(replace(bundle, networks=(broken,)), precision="fp32")
    with pytest.raises(ModelError, match=r"no finite number for [0-9,]+ of 1,500 rows: its"):
        predictor.predict(x)
    with pytest.raises(ModelError, match="predicts no finite number"):
        outputs(predictor, [x])
    assert not predictor.unbounded(x).mean.isfinite().all()  # a screen counts them


def test_a_place_in_the_domain_that_is_no_number(bundle, x):
    first = bundle.networks[0]
    n = first.n_hidden
    signs = (-1.0) ** torch.arange(n)[:, None]
    far = Domain(torch.full((n,), 3e38), 3e38 * signs.expand(n, n), torch.linspace(0, 1, 101))
    with pytest.raises(ModelError, match="predicts no finite number for 1,500 of 1,500 rows"):
        Predictor(replace(bundle, domain=far)).predict(x)


def test_bfloat16_only_where_it_is_native(bundle, x, monkeypatch):
    exact = Predictor(bundle, precision="fp32")(x)
    monkeypatch.setattr("irnet_core.engine.has_native_bf16", lambda device: True)
    rounded = Predictor(bundle)(x)
    assert rounded.dtype == torch.float64
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.5)
    assert torch.equal(Predictor(bundle, precision="fp32")(x), exact)
    # errors and intervals of a model trained in float32, on inputs not scaled, are of float32
    paper = replace(bundle, card=replace(bundle.card, recipe={"precision": "fp32"}))
    assert torch.equal(Predictor(paper)(x), exact)
