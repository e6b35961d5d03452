import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from irnet_core import bundle
from irnet_core.bundle import CARD, REFERENCES, WEIGHTS, Bundle, Card
from irnet_core.domain import Domain
from irnet_core.elements import N_ELEMENTS
from irnet_core.errors import FeatureSchemaError, ModelError
from irnet_core.feature_schema import FeatureSchema
from irnet_core.networks import Network
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler

SCHEMAS = [
    FeatureSchema("one", ("a", "b", "c"), 1, "00", "mean"),
    FeatureSchema("two", ("d",), 1, "00", "mean"),
]


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    card = Card(
        name="small",
        network="8BARx2-4BAx2R-1S",
        target="gap_ev",
        unit="eV",
        inputs=[{"name": s.name, "hash": s.hash, "columns": len(s.columns)} for s in SCHEMAS],
        recipe={"name": "modern"},
        seed=0,
        epochs=3,
        best_epoch=2,
        data={"snapshot": "00ff", "rows": {"train": 9}},
        split={"kind": "random"},
        metrics={"validation": {"mae": 0.5}},
        versions=bundle.versions(),
        created="2026-01-01T00:00:00+00:00",
        members=[{"seed": 0}, {"seed": 1}],
        calibration={"scores": np.linspace(-1, 1, 201).tolist(), "floor": 0.1, "rows": 500},
        domain={"rows": 9},
    )
    networks = (Network(card.network, 4).eval(), Network(card.network, 4).eval())
    inputs = Scaler(torch.randn(4), torch.rand(4) + 0.5)
    target = TargetScaler(torch.tensor([1.5]), torch.tensor([2.0]))
    return Bundle(card, networks, inputs, target, Domain.fit(torch.randn(50, 4)))


@pytest.fixture
def files(made):
    return bundle.pack(made)


def with_card(files, **changes):
    return files | {CARD: json.dumps(json.loads(files[CARD]) | changes).encode()}


def with_weights(files, change):
    tensors = safetensors.torch.load(files[WEIGHTS])
    change(tensors)
    return files | {WEIGHTS: safetensors.torch.save(tensors)}


def fails(files, message):
    with pytest.raises(ModelError, match=message) as caught:
        bundle.unpack(files, "here")
    assert "\n" not in str(caught.value)


def test_round_trip_is_exact(made, files, tmp_path):
    assert files.keys() == {CARD, WEIGHTS}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    found = bundle.read(tmp_path)
    assert found.card == made.card
    assert found.card.n_inputs == 4
    for i in range(2):
        for name, tensor in made.networks[i].state_dict().items():
            assert torch.equal(found.networks[i].state_dict()[name], tensor)
    assert not torch.equal(found.networks[0].output.weight, found.networks[1].output.weight)
    assert torch.equal(found.domain.whitening, made.domain.whitening)
    assert found.calibration.rows == 500
    assert torch.equal(found.inputs.center, made.inputs.center)
    assert torch.equal(found.target.scale, made.target.scale)
    assert not found.networks[0].training
    assert bundle.pack(found) == files


def test_references_go_with_fractions(made):
    blocks = [{"name": "fractions", "hash": "00", "columns": N_ELEMENTS}]
    network = Network(made.card.network, N_ELEMENTS).eval()
    target = replace(made.target, references=torch.randn(N_ELEMENTS))
    with_fractions = Bundle(
        replace(made.card, inputs=blocks, members=[{"seed": 0}], domain={}),
        (network,),
        Scaler.identity(N_ELEMENTS),
        target,
    )
    files = bundle.pack(with_fractions)
    assert torch.equal(bundle.unpack(files, "here").target.references, target.references)
    for wrong in (torch.zeros(N_ELEMENTS - 1), torch.zeros(N_ELEMENTS).half()):
        changed = with_weights(files, lambda t, wrong=wrong: t.update({REFERENCES: wrong}))
        fails(changed, "'target.references' is .*, not")
    fails(with_weights(files, lambda t: t[REFERENCES][3].fill_(float("nan"))), "not finite")


def test_fractions_are_scaled_in_one_way(made):
    blocks = [{"name": "fractions", "hash": "00", "columns": N_ELEMENTS}]
    network = Network("8Ex1-8BARx1-1", N_ELEMENTS).eval()
    inputs = Scaler(torch.rand(N_ELEMENTS), torch.rand(N_ELEMENTS) + 0.5)
    network.elements.know(inputs)
    card = replace(
        made.card, inputs=blocks, network=network.notation, members=[{"seed": 0}], domain={}
    )
    files = bundle.pack(Bundle(card, (network,), inputs, made.target))
    assert torch.equal(bundle.unpack(files, "here").networks[0].elements.scale, inputs.scale)
    for name in ("members.0.elements.scale", "inputs.center"):
        changed = with_weights(files, lambda t, name=name: t[name][7].fill_(2.0))
        fails(changed, "scales fractions in two ways, in 'members.0.elements.")


@pytest.mark.parametrize("outputs", ["1", "1S"])
def test_format_1_is_still_read(made, files, outputs):
    since = ("members", "weights", "calibration", "domain", "parent")
    card = {k: v for k, v in json.loads(files[CARD]).items() if k not in since}
    card |= {"format": 1, "network": f"8BARx2-4BAx2R-{outputs}"}
    network = Network(card["network"], 4).eval()
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {"inputs.center": made.inputs.center, "inputs.scale": made.inputs.scale}
    tensors |= {"target.center": made.target.center, "target.scale": made.target.scale}
    old = {CARD: json.dumps(card).encode(), WEIGHTS: safetensors.torch.save(tensors)}
    found = bundle.unpack(old, "here")
    assert torch.equal(found.networks[0].output.weight, network.output.weight)
    assert len(found.networks) == 1
    assert found.calibration is None
    assert found.domain is None


def test_bfloat16_weights_are_half_as_large_and_round_trip(made):
    torch.manual_seed(0)
    big = (Network("256BARx4-1", 4).eval(),)
    card = replace(made.card, network="256BARx4-1", members=[{}], domain={})
    whole = bundle.pack(Bundle(card, big, made.inputs, made.target))
    card = replace(card, weights="bfloat16")
    half = bundle.pack(Bundle(card, big, made.inputs, made.target))
    assert len(half[WEIGHTS]) < 0.55 * len(whole[WEIGHTS])
    found = bundle.unpack(half, "here")
    expected = bundle.rounded(big[0], "bfloat16").state_dict()
    state = found.networks[0].state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert not torch.equal(state["blocks.1.linear.weight"], big[0].blocks[1].linear.weight)
    assert torch.equal(state["blocks.1.linear.bias"], big[0].blocks[1].linear.bias)
    assert bundle.pack(found) == half


def test_digests(made, files, tmp_path):
    later = replace(made.card, created="2027-01-01T00:00:00+00:00")
    assert later.digest() == made.card.digest()
    assert replace(made.card, name="other").digest() == made.card.digest()
    assert replace(made.card, seed=1).digest() != made.card.digest()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    first = bundle.digest(tmp_path)
    assert len(first) == 16
    (tmp_path / WEIGHTS).write_bytes(files[WEIGHTS][:-1] + b"x")
    assert bundle.digest(tmp_path) != first


def test_feature_schemas(made):
    made.check_inputs(SCHEMAS)
    made.check_inputs(SCHEMAS[::-1])
    other = replace(SCHEMAS[1], version=2)
    message = (
        rf"^model 'small' was trained on other two features \(1 of schema {SCHEMAS[1].hash}\) than "
        rf"there are here \(1 of schema {other.hash}\): train the model anew, or use the version"
    )
    with pytest.raises(FeatureSchemaError, match=message):
        made.check_inputs([SCHEMAS[0], other])
    with pytest.raises(FeatureSchemaError, match=r"there are here \(none\): train the model anew"):
        made.check_inputs(SCHEMAS[:1])


# files that are not there or too large ------------------------------------------------------------


@pytest.mark.parametrize("missing", [CARD, WEIGHTS])
def test_missing_file(files, tmp_path, missing):
    for name, data in files.items():
        if name != missing:
            (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"is no model: it has no {missing}"):
        bundle.read(tmp_path)


@pytest.mark.parametrize("large", [CARD, WEIGHTS])
def test_files_too_large_are_not_read(files, tmp_path, large, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_WEIGHTS_BYTES", 10_000)
    monkeypatch.setattr("irnet_core.card.MAX_CARD_BYTES", 10_000)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data + b" " * 10_000 * (name == large))
    with pytest.raises(ModelError, match=f"{large} is larger than 10000 bytes and is not read"):
        bundle.read(tmp_path)


# damaged weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 4, 8, 100, -4])
def test_truncated_weights(files, length):
    fails(files | {WEIGHTS: files[WEIGHTS][:length]}, f"^here/{WEIGHTS} is damaged: ")


def test_weights_that_are_something_else(files):
    fails(files | {WEIGHTS: b"\x80\x04\x95" + bytes(100)}, "is damaged")  # a pickle
    fails(files | {WEIGHTS: struct.pack("<Q", 2**60) + b"{}"}, "is damaged")


@pytest.mark.parametrize("type_", ["F4", "F8_E8M0", "C64", "BOOL", "odd"])
def test_weights_of_odd_types(files, type_):
    header = {"x": {"dtype": type_, "shape": [8], "data_offsets": [0, 64 if type_ == "C64" else 8]}}
    if type_ == "F4":
        header["x"]["data_offsets"] = [0, 4]
    text = json.dumps(header).encode()
    data = bytes(header["x"]["data_offsets"][1])
    fails(files | {WEIGHTS: struct.pack("<Q", len(text)) + text + data}, f"^here/{WEIGHTS} ")


@pytest.mark.parametrize("shape", [[0, 2**40, 2**40], [0, 2**63]])
def test_an_empty_tensor_of_a_shape_that_torch_cannot_have(files, shape):
    text = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    fails(files | {WEIGHTS: struct.pack("<Q", len(text)) + text}, f"^here/{WEIGHTS} is damaged")


def test_a_file_that_cannot_be_read(files, tmp_path, monkeypatch):
    (tmp_path / CARD).write_bytes(files[CARD])

    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", closed)
    with pytest.raises(ModelError, match=f"{CARD} cannot be read: Permission denied; change its"):
        bundle.read(tmp_path)


def test_bytes_of_weights(made, files):
    header = struct.unpack("<Q", files[WEIGHTS][:8])[0]
    assert bundle.weights_bytes(made) == len(files[WEIGHTS]) - 8 - header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("members.1.output.bias"),
            "'members.1.output.bias' is mi",
        ),
        (lambda t: t.update(extra=torch.zeros(1)), "'extra' is .* not part of it"),
        (
            lambda t: t.update({"members.0.output.bias": torch.zeros(3)}),
            "'members.0.output.bias' is",
        ),
        (
            lambda t: t.update({"inputs.scale": torch.ones(4).double()}),
            "'inputs.scale' is .*float64",
        ),
        (lambda t: t["inputs.center"].fill_(float("nan")), "not finite, in 'inputs.center'"),
        (
            lambda t: t["members.1.output.weight"][0, 0].fill_(float("inf")),
            "not finite, in 'members.1.o",
        ),
        (lambda t: t["members.0.blocks.0.norm.running_var"][0].fill_(float("nan")), "not finite"),
        (lambda t: t.pop("domain.center"), "'domain.center' is missing"),
        (lambda t: t.update({"domain.whitening": torch.ones(4, 3)}), "'domain.whitening' is"),
        (lambda t: t["domain.quantiles"].fill_(float("inf")), "not finite, in 'domain.quantiles'"),
        (lambda t: t["domain.quantiles"][50].fill_(-1.0), "'domain.quantiles' that do not rise"),
        (lambda t: t["target.scale"].zero_(), "too small, in 'target.scale'"),
        (lambda t: t["inputs.scale"][1].fill_(-1.0), "too small, in 'inputs.scale'"),
        (lambda t: t["inputs.scale"][1].fill_(1e-44), "too small, in 'inputs.scale'"),
        (lambda t: t["members.0.blocks.0.norm.running_var"][0].fill_(-1.0), "too small, in 'mem"),
        (
            lambda t: t.update({"target.references": torch.zeros(N_ELEMENTS)}),
            "'target.references' is .* not part of it",  # no fractions among the inputs
        ),
    ],
)
def test_weights_that_are_not_the_card_s(files, change, message):
    fails(with_weights(files, change), f"^here/{WEIGHTS} .*{message}")


ENDS = {"low": 0.5, "high": 2}
CALIBRATION = {"scores": [0.0] * 201, "floor": 0.1, "rows": 50}


# hostile cards ------------------------------------------------------------------------------------


def deep(levels):
    """Objects in each other, below the card and a field of it."""
    found = {}
    for _ in range(levels):
        found = {"in": found}
    return found


def test_a_card_as_deep_as_it_may_be(files):
    files = with_card(files, metrics=deep(48))
    assert bundle.pack(bundle.unpack(files, "here"))[CARD]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name must be of type str"),
        ({"network": ["8BAR-1"]}, "network must be of type str"),
        ({"inputs": {}}, "inputs must be of type list"),
        ({"seed": "0"}, "seed must be of type int"),
        ({"seed": None}, "seed must be of type int"),
        ({"metrics": []}, "metrics must be of type dict"),
        ({"format": 3}, "is of format 3, this version reads 1 and 2"),
        ({"format": 1}, "is of format 1 and has fields of format 2"),
        ({"seed": True}, "seed must be of type int"),
        ({"members": []}, "members must be 1 to 64"),
        ({"members": [{}] * 65}, "members must be 1 to 64"),
        ({"members": [1, 2]}, "each member must be of type dict"),
        ({"members": [{}]}, "'members.1.*' is .*, not part of it"),
        ({"members": [{}] * 3}, "'members.2.*' is missing"),
        ({"weights": "pickle"}, "weights must be one of float32, bfloat16"),
        ({"weights": "bfloat16"}, "float32.*, not .*bfloat16"),
        ({"domain": {}}, "'domain.center' is .*, not part of it"),
        ({"calibration": {"scores": [0.0] * 201}}, "calibration needs 201 rising"),
        ({"calibration": CALIBRATION | {"extra": 1}}, "calibration needs 201 rising"),
        ({"calibration": CALIBRATION | {"scores": [0.0] * 200}}, "calibration needs 201 rising"),
        ({"calibration": CALIBRATION | {"scores": [0.0] * 200 + [-1]}}, "calibration needs"),
        ({"calibration": CALIBRATION | {"scores": [0.0] * 200 + ["a"]}}, "calibration needs"),
        ({"calibration": CALIBRATION | {"scores": [0.0] * 200 + [10**400]}}, "calibration needs"),
        ({"calibration": CALIBRATION | {"scores": [float("nan")] * 201}}, "calibration needs"),
        ({"calibration": CALIBRATION | {"scores": [[]] * 201}}, "calibration needs"),
        ({"calibration": CALIBRATION | {"floor": 0}}, "calibration needs 201 rising"),
        ({"calibration": CALIBRATION | {"power": -1} | ENDS}, "a power from 0 to 10"),
        ({"calibration": CALIBRATION | {"power": "2"} | ENDS}, "a power from 0 to 10"),
        ({"calibration": CALIBRATION | {"power": 2}}, "between two positive ends"),
        ({"calibration": CALIBRATION | {"power": 2, "low": 2, "high": 1}}, "two positive ends"),
        ({"calibration": CALIBRATION | {"floor": float("inf")}}, "calibration needs"),
        ({"calibration": CALIBRATION | {"rows": True}}, "calibration needs 201 rising"),
        ({"calibration": CALIBRATION | {"rows": 1.5}}, "calibration needs 201 rising"),
        ({"surprise": 1}, "must have the fields .* it has 'surprise', which it must not"),
        ({"x" * 10**6: 1}, "it has 'x{50}', which"),
        ({"metrics": deep(49)}, "nested deeper than 50 levels"),
        ({"network": "nonsense"}, "must end in the number of outputs"),
        ({"network": "99999BARx4-1"}, "outside 1-16384 units"),
        ({"network": "9" * 500 + "BAR-1"}, "not of the form"),
        ({"network": "8BAR-" * 999 + "1"}, "network must have at most 1000 characters"),
        ({"name": "\x1b[31m"}, "name must have at most 1000 characters that can be seen"),
        ({"network": "8BAR-²"}, "must end in the number of outputs"),
        ({"network": "8BAR-2"}, "has 2 outputs, not 1"),
        ({"network": "8BAR-2S"}, "has 2 outputs, not 1"),
        ({"network": "16384BARx1024-1"}, "does not hold the networks of its card"),
        ({"inputs": []}, "inputs must name at least one block"),
        ({"inputs": [1]}, "each input needs a name, a hash and its columns"),
        ({"inputs": [{"name": "one", "hash": "x"}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x", "columns": 0}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x", "columns": 10**6}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x", "columns": 2.0}]}, "each input needs"),
        ({"inputs": [{"name": [], "hash": "x", "columns": 4}]}, "each input needs"),
        ({"inputs": [{"name": "a\x1b[2J", "hash": "x", "columns": 4}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x\x07", "columns": 4}]}, "each input needs"),
        (
            {"inputs": [{"name": "one", "hash": "x", "columns": 10**5}] * 10**4},
            "each block of features once",
        ),
        ({"data": {"snapshot": ["a"]}}, "data.snapshot must be of type str"),
        ({"data": {"licence": 1}}, "data.licence must be of type str"),
        ({"data": {"source": "\x1b[31m"}}, "data.source must be text without control codes"),
        ({"data": {"licence": "CC\rBY"}}, "data.licence must be text without control codes"),
        ({"unit": "\x1b]0;title\x07"}, "unit must be a short text without control codes"),
        ({"target": "gap\n(eV)"}, "target must be a short text without control codes"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"name": "\ud800"}, "is no JSON"),
    ],
)
def test_hostile_card(files, changes, message):
    fails(with_card(files, **changes), f"^here/.*{message}")


@pytest.mark.parametrize(
    "card",
    [b"", b"{", b"[]", b"null", b"3", b"[" * 100_000, b"\xff\xfe\x00", b'{"seed": ' + b"9" * 5000],
)
def test_card_that_is_none(files, card):
    fails(files | {CARD: card}, f"^here/{CARD} (is no JSON|must have the fields)")


def test_missing_field(files):
    values = json.loads(files[CARD])
    del values["unit"]
    fails(files | {CARD: json.dumps(values).encode()}, "must have the fields .*: it lacks 'unit'")


def test_huge_card_is_not_parsed(files, monkeypatch):
    monkeypatch.setattr("irnet_core.card.MAX_CARD_BYTES", 100)
    fails(files, "card.json is larger than 100 bytes")
