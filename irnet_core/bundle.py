"""A trained model as two files: ``weights.safetensors`` and ``card.json``. No pickle.

A bundle is untrusted input: the card is validated field by field, and the weights must be exactly
the tensors that the card's networks have, by name, shape and type. Format 2 holds one or more
networks, their interval calibration and domain; format 1, one bare network, is still read.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from irnet_core import card as card_file
from irnet_core.calibration import Calibration
from irnet_core.card import CARD, FORMAT, MAX_MEMBERS, WEIGHT_TYPES, Card, read_card
from irnet_core.domain import N_QUANTILES, Domain
from irnet_core.elements import N_ELEMENTS
from irnet_core.errors import FeatureSchemaError, ModelError, NotationError
from irnet_core.feature_schema import FeatureSchema
from irnet_core.networks import Network
from irnet_core.notation import FRACTIONS, check_blocks
from irnet_core.references import LARGEST, TargetScaler
from irnet_core.scaling import Scaler

__all__ = [
    "CARD",
    "FORMAT",
    "MAX_MEMBERS",
    "WEIGHTS",
    "WEIGHT_TYPES",
    "Bundle",
    "Card",
    "digest",
    "pack",
    "read",
    "rounded",
    "scaler_tensors",
    "unpack",
    "versions",
    "weights_bytes",
]

WEIGHTS = "weights.safetensors"
REFERENCES = "target.references"  # a target need not have them
BOUNDS = "target.bounds"  # nor these
MAX_WEIGHTS_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Bundle:
    """Networks with their scalers, card and, if fitted, domain; the calibration is in the card."""

    card: Card
    networks: tuple[Network, ...]
    inputs: Scaler
    target: TargetScaler
    domain: Domain | None = None

    @property
    def calibration(self) -> Calibration | None:
        """Calibration of the intervals, if there is one."""
        table = self.card.calibration
        if not table:
            return None
        scores = np.array(table["scores"], dtype=np.float64)
        power = (float(table.get(name, 1)) for name in ("power", "low", "high"))
        return Calibration(scores, float(table["floor"]), int(table["rows"]), *power)

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
    return {
        WEIGHTS: safetensors.torch.save(_tensors(bundle)),
        CARD: bundle.card.to_json().encode(),
    }


def weights_bytes(bundle: Bundle) -> int:
    """Bytes of a bundle's tensors as they are stored."""
    return sum(tensor.nbytes for tensor in _tensors(bundle).values())


def _tensors(bundle: Bundle) -> dict[str, Tensor]:
    stored = WEIGHT_TYPES[bundle.card.weights]
    tensors = scaler_tensors(bundle)
    for i, network in enumerate(bundle.networks):
        for key, value in network.state_dict().items():
            tensors[f"members.{i}.{key}"] = value.to(stored) if value.ndim == 2 else value
    if bundle.domain is not None:
        tensors["domain.center"] = bundle.domain.center
        tensors["domain.whitening"] = bundle.domain.whitening
        tensors["domain.quantiles"] = bundle.domain.quantiles
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def scaler_tensors(bundle: Bundle) -> dict[str, Tensor]:
    """Scalers of a bundle, by the names of their tensors."""
    tensors = {
        "inputs.center": bundle.inputs.center,
        "inputs.scale": bundle.inputs.scale,
        "target.center": bundle.target.center,
        "target.scale": bundle.target.scale,
        REFERENCES: bundle.target.references,
        BOUNDS: bundle.target.bounds,
    }
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def read(folder: str | Path) -> Bundle:
    """Bundle in a local folder.

    Raises
    ------
    ModelError
        If a file is missing, too large or damaged.
    """
    files = {}
    for name, limit in ((CARD, card_file.MAX_CARD_BYTES), (WEIGHTS, MAX_WEIGHTS_BYTES)):
        path = Path(folder) / name
        try:
            if not path.is_file():
                raise ModelError(f"{folder} is no model: it has no {name}")
            if path.stat().st_size > limit:
                raise ModelError(f"{path} is larger than {limit} bytes and is not read")
            files[name] = path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"{path} cannot be read: {error.strerror}; change its permissions or name another "
                "model"
            ) from error
    return unpack(files, str(folder))


def digest(folder: str | Path) -> str:
    """Identity of a bundle in a folder: 16 hexadecimal digits over its card and weights."""
    sums = (hashlib.sha256((Path(folder) / name).read_bytes()) for name in (CARD, WEIGHTS))
    return hashlib.sha256(b"".join(sum_.digest() for sum_ in sums)).hexdigest()[:16]


def unpack(files: dict[str, bytes], where: str) -> Bundle:
    """Bundle from its files; ``where`` names them in errors."""
    card = read_card(files[CARD], where)
    try:
        check_blocks(card.network, [str(block["name"]) for block in card.inputs])
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
    # the others are of torch: a type or a shape that it cannot have
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]  # torch adds its own calls
        raise ModelError(f"{where}/{WEIGHTS} is damaged: {why}") from error

    prefixes = [f"members.{i}." for i in range(len(card.members))] if card.members else ["network."]
    shapes = _expected(card, expected, prefixes)
    found = {k: (tuple(v.shape), v.dtype) for k, v in tensors.items()}
    if REFERENCES in found and str(card.inputs[-1]["name"]) == FRACTIONS:
        shapes[REFERENCES] = (N_ELEMENTS,), torch.float32
    if BOUNDS in found:
        shapes[BOUNDS] = (2,), torch.float64
    if found != shapes:
        wrong = sorted(k for k in shapes.keys() | found.keys() if shapes.get(k) != found.get(k))
        raise ModelError(
            f"{where}/{WEIGHTS} does not hold the networks of its card: tensor {wrong[0]!r} is "
            f"{found.get(wrong[0], 'missing')}, not {shapes.get(wrong[0], 'part of it')}"
        )
    bad = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise ModelError(f"{where}/{WEIGHTS} holds numbers that are not finite, in {bad[0]!r}")
    _plausible(tensors, where)

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
        TargetScaler(
            tensors["target.center"],
            tensors["target.scale"],
            tensors.get(REFERENCES),
            tensors.get(BOUNDS),
        ),
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


def _plausible(tensors: dict[str, Tensor], where: str) -> None:
    """Make sure that no scale or variance makes predictions infinite, and that quantiles rise."""
    least = {"inputs.scale": 1e-8, "target.scale": 1 / LARGEST, ".running_var": 0.0}
    for name, values in tensors.items():
        for ending, bound in least.items():
            if name.endswith(ending) and not (values >= bound).all():
                raise ModelError(f"{where}/{WEIGHTS} holds numbers that are too small, in {name!r}")
        for part in ("center", "scale"):  # both tell fractions from scaled ones
            fractions = tensors[f"inputs.{part}"][-N_ELEMENTS:]
            if name.endswith(f".elements.{part}") and not torch.equal(values, fractions):
                raise ModelError(f"{where}/{WEIGHTS} scales fractions in two ways, in {name!r}")
    for name in ("domain.quantiles", BOUNDS):
        if name in tensors and (tensors[name].diff() < 0).any():
            raise ModelError(f"{where}/{WEIGHTS} holds {name!r} that do not rise")
