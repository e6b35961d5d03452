"""The card of a model: what it is, what it was trained on, and how well it did.

A card comes with weights from anywhere: it is untrusted input, validated field by field.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import asdict, dataclass, field
from typing import Any, TypeGuard, get_origin, get_type_hints

import torch

from irnet_core.calibration import N_LEVELS
from irnet_core.errors import ModelError

CARD = "card.json"
FORMAT = 2
MAX_MEMBERS = 64
#: Types the matrices of the networks may be stored in; vectors, small, are always float32.
WEIGHT_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MAX_CARD_BYTES = 4 * 2**20
MAX_DEPTH = 50  # of lists and objects in each other
MAX_TEXT = 1000  # characters of a name, a network, a target or a unit


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
        For each network its ``seed``, ``epochs``, ``best_epoch`` and ``validation_mae``; of the
        package's, ``continues`` tells the seed and epochs of the one that it was before.
    weights : {"float32", "bfloat16"}
        Type the matrices are stored in.
    calibration : dict
        ``scores``, ``floor``, ``rows`` and, where the power is not 1, ``power``, ``low`` and
        ``high`` of :class:`irnet_core.calibration.Calibration`; empty where intervals were not
        calibrated.
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

    @property
    def precision(self) -> str:
        """Precision of the recipe, ``auto`` or ``fp32``: errors and intervals are of that."""
        return "fp32" if self.recipe.get("precision") == "fp32" else "auto"

    def to_json(self) -> str:
        """Indented JSON with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    def digest(self) -> str:
        """SHA-256 over everything but the name and the date: these do not change a model."""
        outside = ("name", "created")
        fields = {key: value for key, value in asdict(self).items() if key not in outside}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def is_harmless(text: str, most: int = MAX_TEXT) -> bool:
    """Whether a text can be printed: a terminal would obey control codes."""
    return len(text) <= most and not any(unicodedata.category(one) == "Cc" for one in text)


# by name, in the order of the class: str, int, list or dict
_FIELDS: dict[str, type] = {
    name: get_origin(kind) or kind for name, kind in get_type_hints(Card).items()
}
# what format 1 has not
_SINCE_2: dict[str, Any] = {
    "members": [],
    "weights": "float32",
    "calibration": {},
    "domain": {},
    "parent": {},
}


def read_card(data: bytes, where: str) -> Card:
    """Card from the bytes of its file, validated field by field; ``where`` names it in errors.

    Raises
    ------
    ModelError
        Naming the field that is not as it must be.
    """
    if len(data) > MAX_CARD_BYTES:
        raise ModelError(f"{where}/{CARD} is larger than {MAX_CARD_BYTES} bytes and is not read")
    try:
        values = json.loads(data)
        json.dumps(values, ensure_ascii=False).encode()  # fails where a text cannot be written
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}/{CARD} is no JSON: {error}") from error
    if _deeper(values, MAX_DEPTH):
        raise ModelError(f"{where}/{CARD} is nested deeper than {MAX_DEPTH} levels and is not read")
    old = isinstance(values, dict) and values.get("format") == 1
    if old and not values.keys() & _SINCE_2.keys():
        values |= _SINCE_2 | {"format": FORMAT}
    if not isinstance(values, dict) or values.keys() != _FIELDS.keys():
        there = values.keys() if isinstance(values, dict) else set()
        missing, more = sorted(_FIELDS.keys() - there), sorted(there - _FIELDS.keys())
        wrong = f"lacks {missing[0]!r}" if missing else f"has {more[0][:50]!r}, which it must not"
        raise ModelError(
            f"{where}/{CARD} must have the fields {', '.join(_FIELDS)} and no others: it {wrong}"
        )
    for name, kind in _FIELDS.items():
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            raise ModelError(f"{where}/{CARD}: {name} must be of type {kind.__name__}")
    if values["seed"] < 0:
        raise ModelError(f"{where}/{CARD}: seed must be at least 0")
    for name in ("target", "unit"):
        if not is_harmless(values[name]):
            raise ModelError(f"{where}/{CARD}: {name} must be a short text without control codes")
    for name in ("name", "network"):
        if not (len(values[name]) <= MAX_TEXT and values[name].isprintable()):
            raise ModelError(
                f"{where}/{CARD}: {name} must have at most {MAX_TEXT} characters that can be seen"
            )
    if old and values["format"] != FORMAT:
        raise ModelError(f"{where}/{CARD} is of format 1 and has fields of format {FORMAT}")
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
    for name in ("snapshot", "source", "licence", "citation"):
        text = values["data"].get(name, "")
        if not isinstance(text, str):
            raise ModelError(f"{where}/{CARD}: data.{name} must be of type str")
        if not is_harmless(text.replace("\n", " "), 10 * MAX_TEXT):
            raise ModelError(f"{where}/{CARD}: data.{name} must be text without control codes")
    _check_inputs(values["inputs"], where)
    return Card(**values)


def _check_inputs(inputs: list[Any], where: str) -> None:
    """Make sure that the blocks of features are what they have to be, each named once."""
    if not inputs:
        raise ModelError(f"{where}/{CARD}: inputs must name at least one block of features")
    for block in inputs:
        if (
            not isinstance(block, dict)
            or not all(_is_label(block.get(key)) for key in ("name", "hash"))
            or not isinstance(block.get("columns"), int)
            or not 0 < block["columns"] <= 100_000
        ):
            raise ModelError(f"{where}/{CARD}: each input needs a name, a hash and its columns")
    names = [block["name"] for block in inputs]
    if len(set(names)) < len(names):
        raise ModelError(f"{where}/{CARD}: inputs must name each block of features once")


def _check_calibration(table: dict[str, Any], where: str) -> None:
    """Make sure that a calibration, if there is one, is what it has to be."""
    if not table:
        return
    scores, floor, rows = (table.get(key) for key in ("scores", "floor", "rows"))
    more = {"power", "low", "high"}
    power, low, high = (table.get(key, 1) for key in ("power", "low", "high"))
    usable = (
        table.keys() - more == {"scores", "floor", "rows"}
        and table.keys() & more in (set(), more)
        and isinstance(scores, list)
        and len(scores) == N_LEVELS
        and all(is_number(x) and abs(x) < 1e30 for x in scores)
        and scores == sorted(scores)
        and is_number(floor)
        and 0 < floor < 1e30
        and is_number(power)
        and 0 <= power < 10
        and is_number(low)
        and is_number(high)
        and 0 < low <= high < 1e30
        and isinstance(rows, int)
        and is_number(rows)
        and 0 < rows < 2**53
    )
    if not usable:
        raise ModelError(
            f"{where}/{CARD}: calibration needs {N_LEVELS} rising, finite scores, a positive "
            "floor, its rows and, if any, a power from 0 to 10 between two positive ends"
        )


def _is_label(value: object) -> bool:
    return isinstance(value, str) and is_harmless(value, 100)


def _deeper(value: object, levels: int) -> bool:
    """Whether lists and objects lie in each other deeper than so many levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a card is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
