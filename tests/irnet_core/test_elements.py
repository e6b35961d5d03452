"""Sets of elements: invariances, agreement of rows of all sizes, engine, explanation, transfer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.utils._python_dispatch import TorchDispatchMode

from irnet_core.bundle import Bundle
from irnet_core.element_properties import element_properties
from irnet_core.elements import N_ELEMENTS, WIDTHS, ElementSet, KnownVectors, attend, by_size
from irnet_core.engine import Engine
from irnet_core.errors import NotationError
from irnet_core.explain import attribution, target_function
from irnet_core.networks import Network
from irnet_core.recipes import RECIPES
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler
from irnet_core.training import Start, TrainingData, fit

NETWORKS = ["16Ex2-32BARx2-16BARx1-1S", "16EPx2-32BARx2-16BARx1-1S"]
N_ATTRIBUTES = 5


def compositions(n: int, seed: int = 0, most: int = 12) -> np.ndarray:
    """Fractions (n, 112) of 1 to `most` elements."""
    random = np.random.default_rng(seed)
    fractions = np.zeros((n, N_ELEMENTS), np.float32)
    for i, row in enumerate(fractions):
        chosen = random.permutation(N_ELEMENTS)[: 1 + i % most]
        amounts = random.integers(1, 9, len(chosen))
        row[chosen] = amounts / amounts.sum()
    return fractions


def inputs(n: int, seed: int = 0) -> np.ndarray:
    attributes = np.random.default_rng(seed).normal(3, 2, (n, N_ATTRIBUTES))
    return np.column_stack([attributes, compositions(n, seed)]).astype(np.float32)


@pytest.fixture(scope="module")
def scaler():
    return Scaler.standard(inputs(500, 1))


@pytest.fixture(scope="module", params=NETWORKS)
def network(scaler, request):
    torch.manual_seed(0)
    made = Network(request.param, N_ATTRIBUTES + N_ELEMENTS)
    made.elements.know(scaler)
    made.train()
    for seed in range(10):
        made(scaler.forward(torch.from_numpy(inputs(64, seed))))
    return made.eval()


def test_each_row_is_what_it_is_alone(network, scaler):
    """Rows of few and many elements, also of more than any padded width but the last, together."""
    x = inputs(60)
    x[-1, N_ATTRIBUTES:] = 1 / N_ELEMENTS
    scaled = scaler.forward(torch.from_numpy(x))
    with torch.no_grad():
        together = network(scaled)
        alone = torch.cat([network(row[None]) for row in scaled])
    assert {int((row > 0).sum()) for row in x[:, N_ATTRIBUTES:]} >= {1, *WIDTHS[:3], 12, 112}
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


class Called(TorchDispatchMode):
    """Names of the operators that were called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.add(operator._schema.name)
        return operator(*args, **(kwargs or {}))


def test_shapes_do_not_hang_on_values(network, scaler):
    """A GPU would be waited for at each such operator; `tolist`, once, is none."""
    scaled = scaler.forward(torch.from_numpy(inputs(60)))
    with Called() as called:
        network(scaled).sum().backward()
    assert "aten::topk" in called.names
    assert not called.names & {"aten::nonzero", "aten::masked_select", "aten::_local_scalar_dense"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_is_the_same_by_both_kinds_of_products(dtype, monkeypatch):
    torch.manual_seed(0)
    looks, share = torch.randn(7, 6, 3 * 16, dtype=dtype), torch.rand(7, 6, dtype=dtype)
    found = attend(looks, share.log())
    monkeypatch.setattr("irnet_core.elements.FEW", 3)
    torch.testing.assert_close(attend(looks, share.log()), found)


@pytest.mark.parametrize("amx", [False, True])
def test_attention_in_bfloat16(amx, monkeypatch):
    monkeypatch.setattr("irnet_core.elements.has_amx", lambda: amx)
    torch.manual_seed(0)
    looks, share = torch.randn(7, 6, 3 * 16), torch.rand(7, 6)
    found = attend(looks.bfloat16(), share.log())
    torch.testing.assert_close(found.float(), attend(looks, share.log()), rtol=0.03, atol=0.03)


def test_many_elements_take_memory_in_proportion(network):
    """What a layer of attention needs for 112 elements, not for their pairs times the width."""
    torch.manual_seed(0)
    sets = torch.rand(64, N_ELEMENTS)
    sets /= sets.sum(1, keepdim=True)
    with torch.profiler.profile(profile_memory=True) as profile, torch.no_grad():
        network.elements.described(*by_size_of(sets))
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest <= 4 * 64 * N_ELEMENTS * max(N_ELEMENTS * 4, 4 * 16)


def test_sets_come_in_few_sizes(network):
    """Each number of rows is another kernel for oneDNN; rows of nothing leave no trace."""
    rows = torch.zeros(37, N_ELEMENTS)
    rows[:, 7] = 1
    rows[:20, 25] = 0.5
    found = {tuple(share.shape): len(of) for of, _, share in by_size(rows)}
    assert found == {(48, 3): 37}
    alone, together = network.elements(rows[3:4]), network.elements(rows)
    torch.testing.assert_close(together[3:4], alone)
    assert len(together) == 37


def by_size_of(sets):
    ((_, element, share),) = by_size(sets)
    return element, share


def test_elements_are_told_apart_and_see_each_other():
    torch.manual_seed(1)
    part = ElementSet(8, 1).eval()
    iron, cobalt, oxygen = 25, 26, 7
    rows = torch.zeros(4, N_ELEMENTS)
    for row, (element, share) in zip(
        rows, [(iron, 0.5), (cobalt, 0.5), (iron, 0.25), (iron, 1)], strict=True
    ):
        row[element] = share
        row[oxygen] += 1 - share
    with torch.no_grad():
        found = part(rows)
    for i in range(4):
        for j in range(i):
            assert (found[i] - found[j]).abs().max() > 1e-3
    # a mean of elements that did not see each other would be linear in the fractions
    first, mixed = part.contributions(rows[3])[1], part.contributions(rows[0])[1]
    assert (mixed[0] - 0.5 * first[0]).abs().max() > 1e-3


def test_known_vectors_begin_with_what_is_alike():
    """Before any training praseodymium is nearer to neodymium than to oxygen."""
    for seed in range(5):
        torch.manual_seed(seed)
        vectors = KnownVectors(32)(torch.tensor([58, 59, 7])).detach()  # Pr, Nd, O
        alike, other = (vectors[1:] - vectors[0]).norm(dim=1)
        assert alike < 0.5 * other


def test_the_table_of_properties():
    table = element_properties()
    assert table.shape[0] == N_ELEMENTS
    assert np.isfinite(table).all()
    assert not table.flags.writeable
    known = table[:94]
    np.testing.assert_allclose(known.mean(0)[:22], 0, atol=0.02)  # gaps, few, are 0
    for columns in (slice(22), slice(22, None)):
        assert 0.8 < (known[:, columns] ** 2).sum(1).mean() < 1.01


@given(arrays(np.float64, 6, elements=st.floats(0.01, 1)), st.permutations(range(6)))
def test_the_order_of_elements_does_not_matter(amounts, order):
    """Whatever column an element has: the same vectors in other columns give the same."""
    torch.manual_seed(2)
    part, other = ElementSet(8, 2).eval(), ElementSet(8, 2).eval()
    other.load_state_dict(part.state_dict())
    order = list(order)
    with torch.no_grad():
        other.vectors.weight[:6] = part.vectors.weight[:6][order]
        x = torch.zeros(1, N_ELEMENTS)
        x[0, :6] = torch.from_numpy(amounts / amounts.sum())
        y = x.clone()
        y[0, :6] = x[0, :6][order]
        torch.testing.assert_close(part(x), other(y), rtol=1e-4, atol=1e-5)


def test_contributions_sum_to_the_vector(network, scaler):
    scaled = scaler.forward(torch.from_numpy(inputs(30)))[:, N_ATTRIBUTES:]
    with torch.no_grad():
        wanted = network.elements(scaled)
        for i, row in enumerate(scaled):
            elements, parts = network.elements.contributions(row)
            assert len(elements) == 1 + i % 12
            torch.testing.assert_close(parts.sum(0), wanted[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_engine_is_the_network(network, scaler, rows, monkeypatch):
    x = scaler.forward(torch.from_numpy(inputs(500, 3)[:rows]))
    cpu = torch.device("cpu")
    with torch.inference_mode():
        wanted = network(x)
        torch.testing.assert_close(Engine(network, cpu, "fp32")(x)[0], wanted, rtol=1e-4, atol=1e-4)
        monkeypatch.setattr("irnet_core.engine.has_native_bf16", lambda device: True)
        found = Engine(network, cpu, "auto")(x)[0]
    if rows:
        assert (found - wanted).abs().mean() < 0.05


@pytest.mark.parametrize("explained", [False, True])
def test_shares_sum_to_the_difference(network, scaler, explained):
    references = torch.linspace(-2, 3, N_ELEMENTS) if explained else None
    target = TargetScaler(torch.tensor([4.0]), torch.tensor([2.0]), references)
    bundle = Bundle(None, (network, network), scaler, target)
    for row in inputs(12):
        found = attribution(bundle, row)
        value = target_function(bundle)(torch.from_numpy(row[None]).double())
        assert found.prediction == pytest.approx(float(value[0]), abs=1e-5)
        assert abs(found.gap) <= 2e-3 * max(abs(found.prediction), abs(found.baseline))


def test_training_continues_from_another_target(tmp_path):
    x = inputs(400)
    y = x[:, N_ATTRIBUTES : N_ATTRIBUTES + 40] @ np.linspace(-1, 1, 40)
    data = TrainingData(x[:300], y[:300].astype(float), x[300:], y[300:].astype(float))
    recipe = RECIPES["modern"].with_epochs(2)
    first = fit(data, NETWORKS[0], recipe)
    assert first.progress.best_mae < np.abs(y - np.median(y)).mean()
    start = Start(first.network, first.inputs, first.target)
    second = fit(data, NETWORKS[0], recipe.for_transfer(same_target=False), start=start)
    vectors = second.network.elements.vectors.weight
    distance = (vectors - first.network.elements.vectors.weight).abs().mean()
    assert distance < 0.1 * vectors.abs().mean()


@pytest.mark.parametrize(
    ("notation", "n_inputs", "message"),
    [
        ("18Ex2-32BAR-1", 200, "18Ex2.*that 4 divides"),
        ("16Ex0-32BAR-1", 200, "1-1024 layers"),
        ("18EPx2-32BAR-1", 200, "18EPx2.*that 4 divides"),
        ("16PEx2-32BAR-1", 200, "term 1 of network"),
        ("1028Ex1-32BAR-1", 200, "a width up to 1024"),
        ("32BAR-16Ex2-1", 200, "term 2 of network"),
        ("16Ex2-1", 200, "no hidden layer"),
        ("16Ex2-32BAR-1", 111, "needs the 112 element fractions"),
    ],
)
def test_notations_that_are_refused(notation, n_inputs, message):
    with pytest.raises(NotationError, match=message):
        Network(notation, n_inputs)
