"""The notation of networks for vector inputs: one line that says all of their shape.

The three families of Jha et al. (Sci Rep 11, 4244, 2021, doi 10.1038/s41598-021-83193-1; KDD
2019, arXiv 1907.03222) are one notation apart::

    1024BAx4 -512BAx3 -1      plain    four layers of width 1024, then three of 512, then the output
    1024BAx4R-512BAx3R-1      SRNet    one shortcut round each stack of equal layers
    1024BARx4-512BARx3-1      IRNet    one shortcut round every single layer

``B`` is batch normalisation, ``A`` the activation (ReLU), ``R`` a shortcut. A layer is
``relu(norm(W x + b)) + shortcut(x)``: the shortcut joins *after* the activation, and where widths
differ it is a biased linear map. The last number is a linear layer without activation. An ``S``
after it, as in ``-1S``, adds one output: the logarithm of the spread of each prediction, from a
small layer of its own on the output of the first stack. Later layers know little of it: what they
keep is nearly the prediction alone. A first term ``128Ex3`` has the network take its last inputs,
the element fractions, as a set of elements: three layers of attention over vectors of width 128,
see :mod:`irnet_core.elements`, whose result joins the other inputs. In ``128EPx3`` these vectors
begin with what is known of the elements, their properties, instead of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from irnet_core.elements import HEADS
from irnet_core.errors import NotationError

#: Stacks of the plain networks; SRNet and IRNet are derived by placing ``R``. Depths 17, 24 and
#: 48 are published; the widths of the 10-layer network are an interpretation (its table is not
#: in the reference repository).
PLAIN = {
    10: "1024BAx2-512BAx2-256BAx2-128BAx1-64BAx1-32BAx1-1",
    17: "1024BAx4-512BAx3-256BAx3-128BAx3-64BAx2-32BAx1-1",
    24: "1024BAx4-512BAx4-256BAx4-128BAx4-64BAx3-32BAx2-16BAx2-1",
    48: (
        "1024BAx4-1024BAx4-512BAx4-512BAx4-256BAx4-256BAx4-128BAx4-128BAx4"
        "-64BAx4-64BAx4-32BAx4-16BAx3-1"
    ),
}
FAMILIES = ("plain", "srnet", "irnet")
#: The block of features that holds element fractions.
FRACTIONS = "fractions"
#: Networks by names of their own.
NAMED = {"irnet-elements": "128EPx3-512BARx4-256BARx3-128BARx3-64BARx2-32BARx1-1"}

# A notation comes from a command line or a model card: these bounds keep a typing error, or a
# hostile card, from asking for a terabyte of weights.
MAX_WIDTH = 16_384
MAX_LAYERS = 1_024
MAX_ELEMENT_WIDTH = 1_024

# few digits, and no others than 0-9: int() takes more of both, or fails on them
_STACK = re.compile(r"([0-9]{1,9})(B?)(A?)(R?)(?:x([0-9]{1,9}))?(R?)")
_ELEMENTS = re.compile(r"([0-9]{1,9})E(P?)x([0-9]{1,9})")
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Stack:
    """Equal layers in a row: one term of the notation."""

    width: int
    count: int
    batch_norm: bool
    activation: bool
    residual_layer: bool
    residual_stack: bool

    def __str__(self) -> str:
        return (
            f"{self.width}{'B' * self.batch_norm}{'A' * self.activation}"
            f"{'R' * self.residual_layer}x{self.count}{'R' * self.residual_stack}"
        )


def notation_of(name: str) -> str:
    """Notation of a network given by name (``irnet-17``) or by its notation.

    Parameters
    ----------
    name : str
        ``plain-N``, ``srnet-N`` or ``irnet-N`` with N in 10, 17, 24, 48, or ``irnet-elements``;
        anything else is returned as it stands.

    Examples
    --------
    >>> notation_of("irnet-10")
    '1024BARx2-512BARx2-256BARx2-128BARx1-64BARx1-32BARx1-1'
    """
    if name in NAMED:
        return NAMED[name]
    family, _, depth = name.partition("-")
    if family not in FAMILIES:
        return name
    if not _NUMBER.fullmatch(depth) or int(depth) not in PLAIN:
        depths = ", ".join(str(d) for d in PLAIN)
        raise NotationError(
            f"network {name!r} is not known: {family} comes with {depths} layers, and there is "
            f"{', '.join(NAMED)}"
        )
    *hidden, output = PLAIN[int(depth)].split("-")
    if family == "srnet":
        hidden = [f"{term}R" for term in hidden]
    elif family == "irnet":
        hidden = [term.replace("BA", "BAR") for term in hidden]
    return "-".join([*hidden, output])


class Elements(NamedTuple):
    """A first term: ``128Ex3``, with properties ``128EPx3``.

    Attributes
    ----------
    width : int
        Of the elements' vectors.
    layers : int
        Of attention.
    properties : bool
        Whether the vectors begin with known properties of the elements.
    """

    width: int
    layers: int
    properties: bool


class Parsed(NamedTuple):
    """What a notation says, but for the spread."""

    elements: Elements | None
    stacks: list[Stack]
    n_outputs: int


def parse_notation(notation: str) -> Parsed:
    """Split a notation into the set of elements, if any, hidden stacks and width of the output.

    Raises
    ------
    NotationError
        If a term cannot be read, names the term and its position.
    """
    *hidden, output = notation.replace(" ", "").removesuffix("S").split("-")
    stacks: list[Stack] = []
    elements = None
    for position, term in enumerate(hidden, 1):
        if position == 1 and (match := _ELEMENTS.fullmatch(term)):
            elements = _elements(notation, match)
            continue
        match = _STACK.fullmatch(term)
        if match is None:
            raise NotationError(
                f"term {position} of network {notation!r} is {term!r}, "
                "which is not of the form 1024BARx4 (width, B, A, R, xCOUNT, R)"
            )
        width, norm, activation, each, count, whole = match.groups()
        stack = Stack(
            int(width), int(count or 1), bool(norm), bool(activation), bool(each), bool(whole)
        )
        if not (0 < stack.width <= MAX_WIDTH and 0 < stack.count <= MAX_LAYERS):
            raise NotationError(
                f"term {term!r} of network {notation!r} is outside 1-{MAX_WIDTH} units "
                f"and 1-{MAX_LAYERS} layers"
            )
        if stack.residual_layer and stack.residual_stack:
            raise NotationError(
                f"term {term!r} of network {notation!r} has a shortcut round each layer and "
                "round the stack: keep one R"
            )
        # Without a repeat, 64BAR and 64BAx1R are the same layer: read both as one shortcut.
        if stack.count == 1 and stack.residual_stack:
            stack = replace(stack, residual_layer=True, residual_stack=False)
        stacks.append(stack)
    if not _NUMBER.fullmatch(output) or not 0 < int(output) <= MAX_WIDTH:
        raise NotationError(
            f"network {notation!r} must end in the number of outputs, such as -1, not {output!r}"
        )
    if not stacks:
        raise NotationError(f"network {notation!r} has no hidden layer")
    if sum(stack.count for stack in stacks) > MAX_LAYERS:
        raise NotationError(f"network {notation!r} has more than {MAX_LAYERS} layers")
    return Parsed(elements, stacks, int(output))


def _elements(notation: str, term: re.Match[str]) -> Elements:
    width, properties, count = int(term[1]), bool(term[2]), int(term[3])
    if not (0 < width <= MAX_ELEMENT_WIDTH and width % HEADS == 0 and 0 < count <= MAX_LAYERS):
        raise NotationError(
            f"term {term[0]!r} of network {notation!r} must have a width up to "
            f"{MAX_ELEMENT_WIDTH} that {HEADS} divides, and 1-{MAX_LAYERS} layers"
        )
    return Elements(width, count, properties)


def with_spread(notation: str) -> str:
    """Notation of a network whose one output is joined by its spread.

    Examples
    --------
    >>> with_spread("64BARx2-1")
    '64BARx2-1S'
    """
    return notation if has_spread(notation) else f"{notation}S"


def has_spread(notation: str) -> bool:
    """Whether a notation ends in ``S``."""
    return notation.endswith("S")


def check_blocks(notation: str, blocks: Sequence[str]) -> None:
    """Make sure that a network with a set of elements finds their fractions where it looks.

    Parameters
    ----------
    notation : str
    blocks : sequence of str
        Names of the blocks of features, in order.

    Raises
    ------
    NotationError
        If the last block is another one.

    Examples
    --------
    >>> check_blocks("128Ex3-64BAR-1", ("magpie", "fractions"))
    """
    if parse_notation(notation).elements is not None and list(blocks)[-1:] != [FRACTIONS]:
        raise NotationError(
            f"network {notation!r} needs element fractions as its last inputs, not "
            f"{', '.join(blocks)}: choose another recipe, such as modern, or another network"
        )
