from contextlib import suppress

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn import functional

from irnet_core.errors import NotationError
from irnet_core.networks import Network
from irnet_core.notation import FAMILIES, PLAIN, Stack, notation_of, parse_notation


def randomised(notation, n_inputs):
    """A network whose running statistics are not those of a new one."""
    torch.manual_seed(0)
    network = Network(notation, n_inputs)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_mean", "norm.weight", "norm.bias")):
                tensor.uniform_(-1.0, 1.0)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "n_inputs", "millions"),
    [
        ("plain-17", 145, 4.71),
        ("srnet-17", 145, 5.55),
        ("irnet-17", 145, 5.55),
        ("srnet-17", 271, 5.81),
        ("irnet-17", 271, 5.81),
        ("irnet-24", 145, 5.91),
        ("irnet-48", 145, 11.53),
        ("irnet-48", 271, 11.78),
    ],
)
def test_published_parameter_counts(name, n_inputs, millions):
    with torch.device("meta"):
        network = Network(name, n_inputs)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", PLAIN)
def test_named_networks(family, depth):
    notation = notation_of(f"{family}-{depth}")
    _, stacks, n_outputs = parse_notation(notation)
    assert sum(stack.count for stack in stacks) + 1 == depth
    assert n_outputs == 1
    shortcut_everywhere = {
        "plain": not any(s.residual_layer or s.residual_stack for s in stacks),
        "srnet": all(s.residual_stack or (s.residual_layer and s.count == 1) for s in stacks),
        "irnet": all(s.residual_layer for s in stacks),
    }
    assert shortcut_everywhere[family]
    assert all(stack.batch_norm and stack.activation for stack in stacks)


# semantics: layer = relu(bn(fc)) + shortcut -------------------------------------------------------


def layer(state, prefix, x, training=False):
    """relu(bn(fc)) written out."""
    y = x @ state[f"{prefix}.linear.weight"].T + state[f"{prefix}.linear.bias"]
    if training:
        mean, variance = y.mean(0), y.var(0, unbiased=False)
    else:
        mean, variance = (state[f"{prefix}.norm.running_{what}"] for what in ("mean", "var"))
    y = (y - mean) / torch.sqrt(variance + 1e-5)
    return functional.relu(y * state[f"{prefix}.norm.weight"] + state[f"{prefix}.norm.bias"])


def shortcut(state, prefix, x):
    """A biased linear map where the widths differ, else the identity."""
    if f"{prefix}.shortcut.weight" not in state:
        return x
    return x @ state[f"{prefix}.shortcut.weight"].T + state[f"{prefix}.shortcut.bias"]


def output(state, x):
    return x @ state["output.weight"].T + state["output.bias"]


@pytest.mark.parametrize("training", [False, True])
def test_irnet_forward(training):
    network = randomised("16BARx2-8BARx2-1", 5).train(training)
    state = {k: v.clone() for k, v in network.state_dict().items()}
    x = y = torch.randn(40, 5)
    for i in range(4):
        y = layer(state, f"blocks.{i}", y, training) + shortcut(state, f"blocks.{i}", y)
    assert sum("shortcut" in name for name in state) == 2 * 2  # 5 to 16 and 16 to 8
    torch.testing.assert_close(network(x), output(state, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_srnet_forward(training):
    network = randomised("16BAx3R-16BAx2R-8BAx1R-1", 5).train(training)
    state = {k: v.clone() for k, v in network.state_dict().items()}
    x = y = torch.randn(40, 5)
    for block, count in (("blocks.0", 3), ("blocks.1", 2)):
        inside = y
        for i in range(count):
            inside = layer(state, f"{block}.layers.{i}", inside, training)
        y = inside + shortcut(state, block, y)
    y = layer(state, "blocks.2", y, training) + shortcut(state, "blocks.2", y)
    torch.testing.assert_close(network(x), output(state, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_plain_forward(training):
    network = randomised("16BAx2-8BAx1-1", 5).train(training)
    state = {k: v.clone() for k, v in network.state_dict().items()}
    assert not any("shortcut" in name for name in state)
    x = y = torch.randn(40, 5)
    for i in range(3):
        y = layer(state, f"blocks.{i}", y, training)
    torch.testing.assert_close(network(x), output(state, y), rtol=1e-5, atol=1e-5)


def test_letters_switch_parts_off():
    x = torch.randn(7, 5)
    network = Network("5-5R-1", 5).eval()
    state = network.state_dict()
    y = functional.linear(x, state["blocks.0.linear.weight"], state["blocks.0.linear.bias"])
    y = y + functional.linear(y, state["blocks.1.linear.weight"], state["blocks.1.linear.bias"])
    torch.testing.assert_close(network(x), output(state, y))


@pytest.mark.parametrize("notation", ["16BARx3-8BARx1-1", "16BAx3R-8BAx1R-1", "16BAx3-8BAx1-1"])
def test_a_row_does_not_depend_on_the_others(notation):
    network = randomised(notation, 5)
    x = torch.randn(32, 5)
    with torch.no_grad():
        together = network(x)
        others = torch.cat([x[:1], 100 * torch.randn(31, 5)])
        assert torch.equal(network(others)[0], together[0])
        one_by_one = torch.cat([network(row) for row in x.split(1)])
    torch.testing.assert_close(one_by_one, together, rtol=1e-5, atol=1e-5)


# notations ----------------------------------------------------------------------------------------

stacks = st.builds(
    Stack,
    width=st.integers(1, 40),
    count=st.integers(1, 4),
    batch_norm=st.booleans(),
    activation=st.booleans(),
    residual_layer=st.booleans(),
    residual_stack=st.just(False),
) | st.builds(
    Stack,
    width=st.integers(1, 40),
    count=st.integers(2, 4),
    batch_norm=st.booleans(),
    activation=st.booleans(),
    residual_layer=st.just(False),
    residual_stack=st.booleans(),
)


@given(st.lists(stacks, min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 9))
def test_notation_round_trip(hidden, n_outputs, n_inputs):
    notation = "-".join([*map(str, hidden), str(n_outputs)])
    assert parse_notation(notation) == (None, hidden, n_outputs)
    assert parse_notation(f" {notation.replace('-', ' - ')} ") == (None, hidden, n_outputs)
    network = Network(notation, n_inputs).eval()
    assert network(torch.zeros(2, n_inputs)).shape == (2, n_outputs)
    expected, width = 0, n_inputs
    for stack in hidden:
        inside = width
        for _ in range(stack.count):
            expected += inside * stack.width + stack.width  # linear
            expected += 2 * stack.width * stack.batch_norm
            if stack.residual_layer and inside != stack.width:
                expected += inside * stack.width + stack.width
            inside = stack.width
        if stack.residual_stack and width != stack.width:
            expected += width * stack.width + stack.width
        width = stack.width
    expected += (width + 1) * n_outputs
    assert sum(p.numel() for p in network.parameters()) == expected


_NEAR_NOTATIONS = st.lists(
    st.sampled_from(["1", "8", "16", "²", "٣", "E", "B", "A", "R", "S", "b", "x2", "-", " ", "\n"]),
    max_size=10,
).map("".join)


@given(_NEAR_NOTATIONS | st.text(max_size=20))
@example("1-1")
@example("16Ex2-8BAR-1")
def test_any_text_is_a_notation_or_an_error(text):
    with suppress(NotationError):
        parsed = parse_notation(notation_of(text))
        assert parsed.stacks
        assert parsed.n_outputs > 0


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("", "must end in the number of outputs, such as -1, not ''"),
        ("1", "has no hidden layer"),
        ("16BARx2", "must end in the number of outputs, such as -1, not '16BARx2'"),
        ("16BARx2-", "must end in the number of outputs"),
        ("16BARx2-0", "must end in the number of outputs"),
        ("16BARx2-²", "must end in the number of outputs"),
        ("16BARx2-99999", "must end in the number of outputs"),
        ("16BARX2-1", "term 1 of network '16BARX2-1' is '16BARX2', which is not of the form"),
        ("16BARx2-8BRAx2-1", "term 2 .* is '8BRAx2', which is not of the form 1024BARx4"),
        ("16BARx2--1", "term 2 .* is ''"),
        ("0BA-1", "term '0BA' .* is outside 1-16384 units"),
        ("16BAx0-1", "outside 1-16384 units and 1-1024 layers"),
        ("16385BA-1", "outside 1-16384 units"),
        ("16BAx1025-1", "1-1024 layers"),
        ("16BAx1024-16BA-1", "more than 1024 layers"),
        ("9" * 5000 + "BA-1", "not of the form"),
        ("16BARx2R-1", "a shortcut round each layer and round the stack: keep one R"),
        ("irnet-18", "network 'irnet-18' is not known: irnet comes with 10, 17, 24, 48 layers"),
        ("irnet-", "comes with 10, 17, 24, 48 layers"),
        ("srnet-²", "comes with 10, 17, 24, 48 layers"),
        ("resnet-17", "term 1 .* is 'resnet'"),
    ],
)
def test_notation_errors(notation, message):
    with pytest.raises(NotationError, match=message):
        parse_notation(notation_of(notation))
