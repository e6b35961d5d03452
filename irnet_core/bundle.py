"""A trained model as two files: ``weights.safetensors`` and ``card.json``. No pickle.

A bundle is untrusted input: the card is validated field by field, and the weights must be exactly
the tensors that the card's networks have, by name, shape and type. Format 2 holds one or more
networks, their interval calibration and domain; format 1, one bare network, is still read.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from irnet_core.calibration import N_LEVELS, Calibration
from irnet_core.domain import N_QUANTILES, Domain
from irnet_core.errors import FeatureSchemaError, ModelError, NotationError
from irnet_core.networks import Network
from irnet_core.scaling import Scaler
from irnet_core.schema import FeatureSchema

WEIGHTS, CARD = "weights.safetensors", "card.json"
FORMAT = 2
MAX_MEMBERS = 64
#: Types the matrices of the networks may be stored in; vectors, small, are always float32.
WEIGHT_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MAX_CARD_BYTES = 4 * 2**20
MAX_WEIGHTS_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Card:
    """What a model is, what it was trained on and how well it did.

    Attributes
    ----------
    name : str
    network : str
        Full notation.
    target, unit : str
        Column it predicts and its unit.
    inputs : list of dict
        Feature blocks in order: ``name``, ``hash``, ``columns`` (their number).
    recipe : dict
    seed, epochs, best_epoch : int
    data : dict
        Ids and digests of snapshot and features, rows, source, licence, citation.
    split : dict
    metrics : dict
        Validation metrics in ``unit``.
    history : list of dict
        Validation error during training, of the first member.
    members : list of dict
        For each network its ``seed``, ``epochs``, ``best_epoch`` and ``validation_mae``.
    weights : {"float32", "bfloat16"}
        Type the matrices are stored in.
    calibration : dict
        ``scores``, ``floor`` and ``rows`` of :class:`irnet_core.calibration.Calibration`; empty
        where intervals were not calibrated.
    domain : dict
        ``rows`` that the domain was fitted on; empty where it was not.
    parent : dict
        ``model`` and ``target`` that training continued from; empty where it started from scratch.
    versions : dict
    created : str
        Date and time, UTC. It does not enter the model's digest, and neither does the name.
    """

    name: str
    network: str
    target: str
    unit: str
    inputs: list[dict[str, Any]]
    recipe: dict[str, Any]
    seed: int
    epochs: int
    best_epoch: int
    data: dict[str, Any]
    split: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    members: list[dict[str, Any]] = field(default_factory=list)
    weights: str = "float32"
    calibration: dict[str, Any] = field(default_factory=dict)
    domain: dict[str, Any] = field(default_factory=dict)
    parent: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def n_inputs(self) -> int:
        """Number of input columns."""
        return sum(int(block["columns"]) for block in self.inputs)

    def to_json(self) -> str:
        """Indented JSON with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    def digest(self) -> str:
        """SHA-256 over everything but the name and the date: these do not change a model."""
        outside = ("name", "created")
        fields = {key: value for key, value in asdict(self).items() if key not in outside}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """Networks with their scalers, card and, if fitted, domain; the calibration is in the card."""

    card: Card
    networks: tuple[Network, ...]
    inputs: Scaler
    target: Scaler
    domain: Domain | None = None

    @property
    def calibration(self) -> Calibration | None:
        """Calibration of the intervals, if there is one."""
        table = self.card.calibration
        if not table:
            return None
        scores = np.array(table["scores"], dtype=np.float64)
        return Calibration(scores, float(table["floor"]), int(table["rows"]))

    def check_inputs(self, schemas: list[FeatureSchema]) -> None:
        """Make sure that features were made by the definitions the model was trained on.

        Raises
        ------
        FeatureSchemaError
            Naming the first block that differs.
        """
        here = {s.name: f"{len(s.columns)} of schema {s.hash}" for s in schemas}
        for block in self.card.inputs:
            name, trained = block["name"], f"{block['columns']} of schema {block['hash']}"
            if here.get(name) != trained:
                raise FeatureSchemaError(
                    f"model {self.card.name!r} was trained on other {name} features ({trained}) "
                    f"than there are here ({here.get(name, 'none')}): train the model anew, or use "
                    "the version of the package it was trained with"
                )


def versions() -> dict[str, str]:
    """Versions that a trained model depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


def rounded(network: Network, weights: str) -> Network:
    """The network as it is read back from matrices stored in a type of :data:`WEIGHT_TYPES`."""
    stored = WEIGHT_TYPES[weights]
    state = network.state_dict()
    copied = Network(network.notation, network.n_inputs)
    copied.load_state_dict({k: v.to(stored) if v.ndim == 2 else v for k, v in state.items()})
    return copied.eval()


def pack(bundle: Bundle) -> dict[str, bytes]:
    """Files of a bundle, by name."""
    stored = WEIGHT_TYPES[bundle.card.weights]
    tensors = _scaler_tensors(bundle)
    for i, network in enumerate(bundle.networks):
        for key, value in network.state_dict().items():
            tensors[f"members.{i}.{key}"] = value.to(stored) if value.ndim == 2 else value
    if bundle.domain is not None:
        tensors["domain.center"] = bundle.domain.center
        tensors["domain.whitening"] = bundle.domain.whitening
        tensors["domain.quantiles"] = bundle.domain.quantiles
    data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return {WEIGHTS: safetensors.torch.save(data), CARD: bundle.card.to_json().encode()}


def _scaler_tensors(bundle: Bundle) -> dict[str, Tensor]:
    return {
        "inputs.center": bundle.inputs.center,
        "inputs.scale": bundle.inputs.scale,
        "target.center": bundle.target.center,
        "target.scale": bundle.target.scale,
    }


def read(folder: str | Path) -> Bundle:
    """Bundle in a local folder.

    Raises
    ------
    ModelError
        If a file is missing, too large or damaged.
    """
    files = {}
    for name, limit in ((CARD, MAX_CARD_BYTES), (WEIGHTS, MAX_WEIGHTS_BYTES)):
        path = Path(folder) / name
        if not path.is_file():
            raise ModelError(f"{folder} is no model: it has no {name}")
        if path.stat().st_size > limit:
            raise ModelError(f"{path} is larger than {limit} bytes and is not read")
        files[name] = path.read_bytes()
    return unpack(files, str(folder))


def digest(folder: str | Path) -> str:
    """Identity of a bundle in a folder: 16 hexadecimal digits over its card and weights."""
    sums = (hashlib.sha256((Path(folder) / name).read_bytes()) for name in (CARD, WEIGHTS))
    return hashlib.sha256(b"".join(sum_.digest() for sum_ in sums)).hexdigest()[:16]


def unpack(files: dict[str, bytes], where: str) -> Bundle:
    """Bundle from its files; ``where`` names them in errors."""
    card = _card(files[CARD], where)
    try:
        with torch.device("meta"):
            expected = Network(card.network, card.n_inputs)
    except NotationError as error:
        raise ModelError(f"{where}/{CARD}: {error}") from error
    if expected.n_outputs != 1:
        raise ModelError(
            f"{where}/{CARD}: network {card.network!r} has {expected.n_outputs} outputs, not 1"
        )
    try:
        tensors = safetensors.torch.load(files[WEIGHTS])
    except (safetensors.SafetensorError, KeyError) as error:  # KeyError: a type torch has not
        raise ModelError(f"{where}/{WEIGHTS} is damaged: {error}") from error

    prefixes = [f"members.{i}." for i in range(len(card.members))] if card.members else ["network."]
    shapes = _expected(card, expected, prefixes)
    found = {k: (tuple(v.shape), v.dtype) for k, v in tensors.items()}
    if found != shapes:
        wrong = sorted(k for k in shapes.keys() | found.keys() if shapes.get(k) != found.get(k))
        raise ModelError(
            f"{where}/{WEIGHTS} does not hold the networks of its card: tensor {wrong[0]!r} is "
            f"{found.get(wrong[0], 'missing')}, not {shapes.get(wrong[0], 'part of it')}"
        )
    bad = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise ModelError(f"{where}/{WEIGHTS} holds numbers that are not finite, in {bad[0]!r}")
    _positive(tensors, where)

    networks = []
    for prefix in prefixes:
        network = Network(card.network, card.n_inputs)
        network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        networks.append(network.eval())
    domain = None
    if card.domain:
        domain = Domain(*(tensors[f"domain.{k}"] for k in ("center", "whitening", "quantiles")))
    return Bundle(
        card,
        tuple(networks),
        Scaler(tensors["inputs.center"], tensors["inputs.scale"]),
        Scaler(tensors["target.center"], tensors["target.scale"]),
        domain,
    )


def _expected(
    card: Card, network: Network, prefixes: list[str]
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of every tensor that the weights of a card must hold."""
    stored = WEIGHT_TYPES[card.weights]
    single = torch.float32
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    for key, value in network.state_dict().items():
        type_ = stored if value.ndim == 2 else value.dtype
        shapes |= {f"{prefix}{key}": (tuple(value.shape), type_) for prefix in prefixes}
    shapes |= {f"inputs.{k}": ((card.n_inputs,), single) for k in ("center", "scale")}
    shapes |= {f"target.{k}": ((1,), single) for k in ("center", "scale")}
    if card.domain:
        n = network.n_hidden
        shapes |= {
            "domain.center": ((n,), single),
            "domain.whitening": ((n, n), single),
            "domain.quantiles": ((N_QUANTILES,), single),
        }
    return shapes


def _positive(tensors: dict[str, Tensor], where: str) -> None:
    """Make sure that no scale is zero or negative and that quantiles rise."""
    for name in ("inputs.scale", "target.scale"):
        if not (tensors[name] > 0).all():
            raise ModelError(f"{where}/{WEIGHTS} holds numbers that are not positive, in {name!r}")
    quantiles = tensors.get("domain.quantiles")
    if quantiles is not None and (quantiles.diff() < 0).any():
        raise ModelError(f"{where}/{WEIGHTS} holds 'domain.quantiles' that do not rise")


_FIELDS: dict[str, type] = {
    "name": str,
    "network": str,
    "target": str,
    "unit": str,
    "inputs": list,
    "recipe": dict,
    "seed": int,
    "epochs": int,
    "best_epoch": int,
    "data": dict,
    "split": dict,
    "metrics": dict,
    "history": list,
    "versions": dict,
    "created": str,
    "members": list,
    "weights": str,
    "calibration": dict,
    "domain": dict,
    "parent": dict,
    "format": int,
}
# what format 1 has not
_SINCE_2: dict[str, Any] = {
    "members": [],
    "weights": "float32",
    "calibration": {},
    "domain": {},
    "parent": {},
}


def _card(data: bytes, where: str) -> Card:
    """Validate a card field by field."""
    if len(data) > MAX_CARD_BYTES:
        raise ModelError(f"{where}/{CARD} is larger than {MAX_CARD_BYTES} bytes and is not read")
    try:
        values = json.loads(data)
        json.dumps(values, ensure_ascii=False).encode()  # fails where a text cannot be written
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}/{CARD} is no JSON: {error}") from error
    old = isinstance(values, dict) and values.get("format") == 1
    if old and not values.keys() & _SINCE_2.keys():
        values |= _SINCE_2 | {"format": FORMAT}
    if not isinstance(values, dict) or values.keys() != _FIELDS.keys():
        found = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise ModelError(f"{where}/{CARD} must have the fields {sorted(_FIELDS)}, not {found}")
    for name, kind in _FIELDS.items():
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            raise ModelError(f"{where}/{CARD}: {name} must be of type {kind.__name__}")
    if values["format"] != FORMAT:
        raise ModelError(
            f"{where}/{CARD} is of format {values['format']}, this version reads 1 and {FORMAT}"
        )
    if not (old or 0 < len(values["members"]) <= MAX_MEMBERS):
        raise ModelError(f"{where}/{CARD}: members must be 1 to {MAX_MEMBERS}")
    if not all(isinstance(member, dict) for member in values["members"]):
        raise ModelError(f"{where}/{CARD}: each member must be of type dict")
    if values["weights"] not in WEIGHT_TYPES:
        raise ModelError(f"{where}/{CARD}: weights must be one of {', '.join(WEIGHT_TYPES)}")
    _check_calibration(values["calibration"], where)
    for name in ("snapshot", "licence", "citation"):
        if not isinstance(values["data"].get(name, ""), str):
            raise ModelError(f"{where}/{CARD}: data.{name} must be of type str")
    if not values["inputs"]:
        raise ModelError(f"{where}/{CARD}: inputs must name at least one block of features")
    for block in values["inputs"]:
        if (
            not isinstance(block, dict)
            or not isinstance(block.get("name"), str)
            or not isinstance(block.get("hash"), str)
            or not isinstance(block.get("columns"), int)
            or not 0 < block["columns"] <= 100_000
        ):
            raise ModelError(f"{where}/{CARD}: each input needs a name, a hash and its columns")
    return Card(**values)


def _check_calibration(table: dict[str, Any], where: str) -> None:
    """Make sure that a calibration, if there is one, is what it has to be."""
    if not table:
        return
    scores, floor, rows = (table.get(key) for key in ("scores", "floor", "rows"))
    usable = (
        table.keys() == {"scores", "floor", "rows"}
        and isinstance(scores, list)
        and len(scores) == N_LEVELS
        and all(_number(x) and abs(x) < 1e30 for x in scores)
        and scores == sorted(scores)
        and _number(floor)
        and 0 < floor < 1e30
        and isinstance(rows, int)
        and _number(rows)
        and 0 < rows < 2**53
    )
    if not usable:
        raise ModelError(
            f"{where}/{CARD}: calibration needs {N_LEVELS} rising, finite scores, a positive floor "
            "and its rows"
        )


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
