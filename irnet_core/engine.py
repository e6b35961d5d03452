"""One network as a chain of matrix products, made once for many rows.

Batch norms are folded into the linear layers before them, weights are cast to the precision of the
products once, and on a CPU they are also laid out the way oneDNN multiplies them, with bias, ReLU
and the sum with a linear shortcut done in the product itself. The last linear layers, small ones,
stay in float32: bfloat16 there would round predictions to three digits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from irnet_core.device import has_native_bf16
from irnet_core.elements import (
    LEAST,
    N_ELEMENTS,
    Attention,
    ElementSet,
    attend,
    by_size,
    gated,
    pooled,
)
from irnet_core.networks import Layer, Network, ResidualStack

#: Rows that weights are laid out for; other numbers work too.
ROWS = 1024


@dataclass(frozen=True)
class _Linear:
    """Weights of one product; ``packed`` where oneDNN has laid them out."""

    weight: Tensor
    bias: Tensor | None
    packed: bool

    def __call__(self, x: Tensor, relu: bool = False) -> Tensor:
        if self.packed:
            then = "relu" if relu else "none"
            y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, then, [], "")
            return y
        y = nn.functional.linear(x, self.weight, self.bias)
        return y.relu_() if relu else y

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        """``linear(x) + y``."""
        if self.packed:
            total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                x, y, self.weight, self.bias, "add"
            )
            return total
        return y.add_(nn.functional.linear(x, self.weight, self.bias))


@dataclass(frozen=True)
class _Block:
    """Linear layers in a row and the shortcut round them: True is the identity, None is none."""

    layers: tuple[_Block | tuple[_Linear, bool], ...]
    shortcut: _Linear | bool | None

    def __call__(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            if isinstance(layer, _Block):
                y = layer(y)
            else:
                linear, relu = layer
                y = linear(y, relu)
        if self.shortcut is None:
            return y
        return y.add_(x) if isinstance(self.shortcut, bool) else self.shortcut.plus(x, y)


@dataclass(frozen=True)
class _Attention:
    """Weights of one layer of a set of elements."""

    layer: Attention
    looks: _Linear
    mixes: _Linear
    widens: _Linear
    narrows: _Linear

    def __call__(self, h: Tensor, log_share: Tensor, dtype: torch.dtype) -> Tensor:
        seen = attend(self.looks(self.layer.norm(h).to(dtype)), log_share)
        h = h.add_(self.mixes(seen))
        return h.add_(self.narrows(gated(self.widens(self.layer.norm_own(h).to(dtype)))))


class _Elements:
    """A set of elements: products in the engine's precision, shortcuts summed in float32."""

    def __init__(self, elements: ElementSet, linear: Callable[[nn.Linear], _Linear]) -> None:
        self.elements = elements
        self.layers = [
            _Attention(
                layer,
                linear(layer.looks),
                linear(layer.mixes),
                linear(layer.widens),
                linear(layer.narrows),
            )
            for layer in elements.layers
            if isinstance(layer, Attention)
        ]
        self.output = linear(elements.output)

    def __call__(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Vectors (n, width) of scaled fractions (n, 112)."""
        means, order = [], []
        for rows, element, share in by_size(self.elements.fractions(x)):
            h = self.elements.start(element, share)
            log_share = share.clamp_min(LEAST).log()
            for layer in self.layers:
                h = layer(h, log_share, dtype)
            last = self.output(self.elements.norm(h).to(dtype), relu=True)
            means.append(pooled(last.float(), share)[: len(rows)])
            order.append(rows)
        if not means:
            return x.new_empty(0, self.elements.n_outputs)
        found: Tensor = self.elements.scaling(torch.cat(means)[torch.cat(order).argsort()])
        return found


class Engine:
    """A network for inference alone.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is copied.
    device : torch.device
    precision : {"auto", "fp32"}
        ``auto`` multiplies in bfloat16 where the device does so natively.

    Attributes
    ----------
    dtype : torch.dtype
        Of the products.
    """

    def __init__(self, network: Network, device: torch.device, precision: str) -> None:
        fast = precision == "auto" and has_native_bf16(device)
        self.dtype = torch.bfloat16 if fast else torch.float32
        self.device = device
        with torch.no_grad():
            copied = folded(network).to(device)
            self.elements: _Elements | None = None
            if copied.elements is not None:
                self.elements = _Elements(copied.elements.requires_grad_(False), self._linear)
            self.blocks = [self._block(block) for block in copied.blocks]
            self.output = copied.output.requires_grad_(False)
            self.tap = copied.tap
            self.spread: tuple[_Block, nn.Linear] | None = None
            if copied.spread is not None:
                last = copied.spread.output.requires_grad_(False)
                self.spread = self._block(copied.spread.layer), last

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, as the network's, and penultimate layer (n, n_hidden) of scaled inputs."""
        if self.elements is not None:
            x = torch.cat([x, self.elements(x[:, -N_ELEMENTS:], self.dtype)], 1)
        hidden = tapped = x.to(self.dtype)
        for i, block in enumerate(self.blocks):
            hidden = block(hidden)
            if i == self.tap:
                tapped = hidden
        hidden = hidden.float()
        outputs = self.output(hidden)
        if self.spread is not None:
            layer, last = self.spread
            outputs = torch.cat([outputs, last(layer(tapped).float())], 1)
        return outputs, hidden

    def _block(self, block: nn.Module) -> _Block:
        if isinstance(block, ResidualStack):
            layers = tuple(self._block(layer) for layer in block.layers)
            return _Block(layers, self._shortcut(block.shortcut))
        if not isinstance(block, Layer):
            raise TypeError(f"a network has no block of type {type(block).__name__}")
        relu = isinstance(block.activation, nn.ReLU)
        return _Block(((self._linear(block.linear), relu),), self._shortcut(block.shortcut))

    def _shortcut(self, shortcut: nn.Module | None) -> _Linear | bool | None:
        if isinstance(shortcut, nn.Linear):
            return self._linear(shortcut)
        return None if shortcut is None else True

    def _linear(self, linear: nn.Linear) -> _Linear:
        weight = linear.weight.detach().to(self.dtype).contiguous()
        bias = linear.bias.detach().to(self.dtype)
        packed = self.device.type == "cpu" and _has_onednn(self.dtype)
        if packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        return _Linear(weight, bias, packed)


def folded(network: Network) -> Network:
    """A copy for inference whose batch norms are folded into the linear layers before them."""
    copied = copy.deepcopy(network).eval()
    for layer in copied.modules():
        if isinstance(layer, Layer) and isinstance(layer.norm, nn.BatchNorm1d):
            layer.linear = fuse_linear_bn_eval(layer.linear, layer.norm)
            layer.norm = nn.Identity()
    return copied


def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether this build and this CPU have the products that torch's own compiler uses on CPUs."""
    operators = torch.ops.mkldnn
    there = torch.backends.mkldnn.is_available() and all(
        hasattr(operators, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )
    # laid out in bfloat16 they need AVX-512
    return there and (dtype != torch.bfloat16 or operators._is_mkldnn_bf16_supported())
