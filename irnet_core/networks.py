"""Plain, stack-residual (SRNet) and individual-residual (IRNet) networks for vector inputs.

The families of Jha et al. (Sci Rep 11, 4244, 2021, doi 10.1038/s41598-021-83193-1), built from the
notation of :mod:`irnet_core.notation`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from irnet_core.elements import N_ELEMENTS, ElementSet
from irnet_core.errors import NotationError, TrainingError
from irnet_core.notation import Stack, has_spread, notation_of, parse_notation

#: Width of the layer that the spread is made of.
SPREAD_WIDTH = 64


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
        stack = Stack(
            width=SPREAD_WIDTH,
            count=1,
            batch_norm=True,
            activation=True,
            residual_layer=False,
            residual_stack=False,
        )
        self.layer = Layer(n_in, stack)
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
        Name or notation, see :mod:`irnet_core.notation`.
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
    elements : ElementSet or None
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
        set_of_elements, stacks, self.n_outputs = parse_notation(self.notation)
        width, self.elements = n_inputs, None
        if set_of_elements is not None:
            if n_inputs < N_ELEMENTS:
                raise NotationError(
                    f"network {notation!r} needs the {N_ELEMENTS} element fractions among its "
                    f"inputs: {n_inputs} inputs are too few"
                )
            self.elements = ElementSet(*set_of_elements)
            width += self.elements.n_outputs
        blocks: list[nn.Module] = []
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

    def body(self) -> dict[str, nn.Module]:
        """Parts that another target can be learned with, by name."""
        found: dict[str, nn.Module] = {"blocks": self.blocks}
        return found if self.elements is None else {"elements": self.elements} | found

    def joined(self, x: Tensor) -> Tensor:
        """What the first block takes: the inputs and, if there is one, the set of elements."""
        if self.elements is None:
            return x
        return torch.cat([x, self.elements(x[:, -N_ELEMENTS:]).to(x.dtype)], 1)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Penultimate layer (n, n_hidden), and the first stack's output."""
        return self.deeper(self.joined(x))

    def deeper(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`features` returns, from what :meth:`joined` does."""
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


def decayed(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of parameters for an optimiser: matrices decay, biases and scales of norms do not."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


def take_over(network: Network, start: Network) -> None:
    """Copy the body of a trained network; the output layer keeps its new weights."""
    own, body = network.body(), start.body()
    for name, part in body.items():
        state = part.state_dict()
        shapes = {k: v.shape for k, v in own[name].state_dict().items()} if name in own else {}
        if own.keys() != body.keys() or {k: v.shape for k, v in state.items()} != shapes:
            raise TrainingError(
                f"network {network.notation!r} cannot continue {start.notation!r} with "
                f"{start.n_inputs} inputs: leave out the network, or train from scratch"
            )
        own[name].load_state_dict(state)


def take_over_output(network: Network, start: Network) -> None:
    """Copy the output layers too, from a network for the same target under the same scaling."""
    network.output.load_state_dict(start.output.state_dict())
    if network.spread is not None and start.spread is not None:
        network.spread.load_state_dict(start.spread.state_dict())
