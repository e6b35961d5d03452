"""Plain, stack-residual (SRNet) and individual-residual (IRNet) networks for vector inputs.

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
keep is nearly the prediction alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

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

# A notation comes from a command line or a model card: these bounds keep a typing error, or a
# hostile card, from asking for a terabyte of weights.
MAX_WIDTH = 16_384
MAX_LAYERS = 1_024

# few digits, and no others than 0-9: int() takes more of both, or fails on them
_STACK = re.compile(r"([0-9]{1,9})(B?)(A?)(R?)(?:x([0-9]{1,9}))?(R?)")
#: Width of the layer that the spread is made of.
SPREAD_WIDTH = 64
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
        ``plain-N``, ``srnet-N`` or ``irnet-N`` with N in 10, 17, 24, 48; anything else is
        returned as it stands.

    Examples
    --------
    >>> notation_of("irnet-10")
    '1024BARx2-512BARx2-256BARx2-128BARx1-64BARx1-32BARx1-1'
    """
    family, _, depth = name.partition("-")
    if family not in FAMILIES:
        return name
    if not _NUMBER.fullmatch(depth) or int(depth) not in PLAIN:
        depths = ", ".join(str(d) for d in PLAIN)
        raise NotationError(f"network {name!r} is not known: {family} comes with {depths} layers")
    *hidden, output = PLAIN[int(depth)].split("-")
    if family == "srnet":
        hidden = [f"{term}R" for term in hidden]
    elif family == "irnet":
        hidden = [term.replace("BA", "BAR") for term in hidden]
    return "-".join([*hidden, output])


def parse_notation(notation: str) -> tuple[list[Stack], int]:
    """Split a notation into its hidden stacks and the width of the output.

    Returns
    -------
    stacks : list of Stack
    n_outputs : int

    Raises
    ------
    NotationError
        If a term cannot be read, names the term and its position.
    """
    *hidden, output = notation.replace(" ", "").removesuffix("S").split("-")
    stacks: list[Stack] = []
    for position, term in enumerate(hidden, 1):
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
    return stacks, int(output)


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


def _shortcut(n_in: int, n_out: int) -> nn.Module:
    """Shortcut round a block: the identity, or a linear map where the widths differ."""
    return nn.Identity() if n_in == n_out else nn.Linear(n_in, n_out)


class Layer(nn.Module):
    """``relu(norm(linear(x)))``, plus ``shortcut(x)`` where the notation has ``R``."""

    def __init__(self, n_in: int, stack: Stack) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, stack.width)
        self.norm = nn.BatchNorm1d(stack.width) if stack.batch_norm else nn.Identity()
        self.activation = nn.ReLU() if stack.activation else nn.Identity()
        self.shortcut = _shortcut(n_in, stack.width) if stack.residual_layer else None

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, n_in) to outputs (n, width)."""
        y: Tensor = self.activation(self.norm(self.linear(x)))
        return y if self.shortcut is None else y + self.shortcut(x)


class ResidualStack(nn.Module):
    """Layers of equal width with one shortcut round them all (SRNet)."""

    def __init__(self, n_in: int, stack: Stack) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layers(n_in, stack))
        self.shortcut = _shortcut(n_in, stack.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, n_in) to outputs (n, width)."""
        y: Tensor = self.layers(x) + self.shortcut(x)
        return y


def _layers(n_in: int, stack: Stack) -> list[Layer]:
    return [Layer(n_in if i == 0 else stack.width, stack) for i in range(stack.count)]


class Spread(nn.Module):
    """Logarithm of the spread (n, 1) from the first stack's output (n, n_in)."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.layer = Layer(n_in, Stack(SPREAD_WIDTH, 1, True, True, False, False))
        self.output = nn.Linear(SPREAD_WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, n_in) to the logarithm (n, 1)."""
        y: Tensor = self.output(self.layer(x))
        return y


class Network(nn.Module):
    """A network built from its notation.

    Parameters
    ----------
    notation : str
        Name or notation, see :func:`notation_of`.
    n_inputs : int
        Number of input features.

    Attributes
    ----------
    notation : str
        The full notation, also for a network asked for by name.
    n_outputs : int
        Number of outputs, the spread not counted.
    n_hidden : int
        Width of the penultimate layer, the output of ``blocks``.
    tap : int
        Index of the block that the spread is made from.
    spread : Spread or None

    Examples
    --------
    >>> sum(p.numel() for p in Network("irnet-17", 145).parameters()) / 1e6
    5.55...
    """

    def __init__(self, notation: str, n_inputs: int) -> None:
        super().__init__()
        self.notation = notation_of(notation)
        self.n_inputs = n_inputs
        stacks, self.n_outputs = parse_notation(self.notation)
        blocks: list[nn.Module] = []
        width = n_inputs
        for stack in stacks:
            if stack.residual_stack:
                blocks.append(ResidualStack(width, stack))
            else:
                blocks.extend(_layers(width, stack))
            width = stack.width
        self.n_hidden = width
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, self.n_outputs)
        self.tap = 0 if stacks[0].residual_stack else stacks[0].count - 1
        self.spread = Spread(stacks[0].width) if has_spread(self.notation) else None

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Penultimate layer (n, n_hidden), and the first stack's output."""
        tapped = x
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == self.tap:
                tapped = x
        return x, tapped

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, n_inputs) to outputs (n, n_outputs), the spread's after them if any."""
        hidden, tapped = self.features(x)
        y: Tensor = self.output(hidden)
        return y if self.spread is None else torch.cat([y, self.spread(tapped)], 1)
