import json
import struct
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from irnet_core import bundle
from irnet_core.bundle import CARD, WEIGHTS, Bundle, Card
from irnet_core.errors import FeatureSchemaError, ModelError
from irnet_core.networks import Network
from irnet_core.scaling import Scaler
from irnet_core.schema import FeatureSchema

SCHEMAS = [
    FeatureSchema("one", ("a", "b", "c"), 1, "00", "mean"),
    FeatureSchema("two", ("d",), 1, "00", "mean"),
]


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    card = Card(
        name="small",
        network="8BARx2-4BAx2R-1",
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
    )
    network = Network(card.network, 4).eval()
    inputs = Scaler(torch.randn(4), torch.rand(4) + 0.5)
    return Bundle(card, network, inputs, Scaler(torch.tensor([1.5]), torch.tensor([2.0])))


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
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor)
    assert torch.equal(found.inputs.center, made.inputs.center)
    assert torch.equal(found.target.scale, made.target.scale)
    assert not found.network.training
    assert bundle.pack(found) == files


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
    monkeypatch.setattr(bundle, "MAX_CARD_BYTES", 10_000)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("output.bias", t.pop("network.output.bias")),
            "'network.output.bias' is mi",
        ),
        (lambda t: t.update(extra=torch.zeros(1)), "'extra' is .* not part of it"),
        (lambda t: t.update({"network.output.bias": torch.zeros(2)}), "'network.output.bias' is"),
        (
            lambda t: t.update({"inputs.scale": torch.ones(4).double()}),
            "'inputs.scale' is .*float64",
        ),
        (lambda t: t["inputs.center"].fill_(float("nan")), "not finite, in 'inputs.center'"),
        (
            lambda t: t["network.output.weight"][0, 0].fill_(float("inf")),
            "not finite, in 'network.o",
        ),
        (lambda t: t["network.blocks.0.norm.running_var"][0].fill_(float("nan")), "not finite"),
    ],
)
def test_weights_that_are_not_the_card_s(files, change, message):
    fails(with_weights(files, change), f"^here/{WEIGHTS} .*{message}")


# hostile cards ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name must be of type str"),
        ({"network": ["8BAR-1"]}, "network must be of type str"),
        ({"inputs": {}}, "inputs must be of type list"),
        ({"seed": "0"}, "seed must be of type int"),
        ({"seed": None}, "seed must be of type int"),
        ({"metrics": []}, "metrics must be of type dict"),
        ({"format": 2}, "is of format 2, this version reads 1"),
        ({"surprise": 1}, "must have the fields"),
        ({"network": "nonsense"}, "must end in the number of outputs"),
        ({"network": "99999BARx4-1"}, "outside 1-16384 units"),
        ({"network": "9" * 5000 + "BAR-1"}, "not of the form"),
        ({"network": "8BAR-²"}, "must end in the number of outputs"),
        ({"network": "8BAR-2"}, "has 2 outputs, not 1"),
        ({"network": "16384BARx1024-1"}, "does not hold the network of its card"),
        ({"inputs": []}, "inputs must name at least one block"),
        ({"inputs": [1]}, "each input needs a name, a hash and its columns"),
        ({"inputs": [{"name": "one", "hash": "x"}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x", "columns": 0}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x", "columns": 10**6}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x", "columns": 2.0}]}, "each input needs"),
        ({"inputs": [{"name": [], "hash": "x", "columns": 4}]}, "each input needs"),
        ({"inputs": [{"name": "one", "hash": "x", "columns": 10**5}] * 10**4}, "does not hold"),
        ({"data": {"snapshot": ["a"]}}, "data.snapshot must be of type str"),
        ({"data": {"licence": 1}}, "data.licence must be of type str"),
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
    fails(files | {CARD: json.dumps(values).encode()}, "must have the fields .*'unit'")


def test_huge_card_is_not_parsed(files, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_CARD_BYTES", 100)
    fails(files, "card.json is larger than 100 bytes")
