"""Predict with a trained model."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from irnet_core.bundle import Bundle
from irnet_core.device import pick_device
from irnet_core.errors import ModelError
from irnet_core.networks import Layer, Network
from irnet_core.scaling import Scaler
from irnet_core.training import forward


class Predictor:
    """A model on a device, ready for inputs of any number of rows.

    Parameters
    ----------
    bundle : Bundle
    device : torch.device, optional
    precision : {"auto", "fp32"}
        ``auto`` multiplies in bfloat16 where the hardware does so natively.
    """

    def __init__(
        self, bundle: Bundle, device: torch.device | None = None, precision: str = "auto"
    ) -> None:
        self.device = device or pick_device("cpu")
        self.card = bundle.card
        self.precision = precision
        self.network = folded(bundle.network).to(self.device)
        self.inputs = _to(bundle.inputs, self.device)
        self.target = _to(bundle.target, self.device)

    def __call__(self, x: np.ndarray | Tensor) -> Tensor:
        """Predictions (n,) float64 on the device, in the target's unit, for inputs (n, n_inputs).

        Raises
        ------
        ModelError
            If the number of input columns is not the model's.
        """
        x = torch.as_tensor(x, dtype=torch.float32).to(self.device)
        if x.ndim != 2 or x.shape[1] != self.network.n_inputs:
            raise ModelError(
                f"model {self.card.name!r} takes inputs of shape (n, {self.network.n_inputs}), "
                f"not {tuple(x.shape)}"
            )
        scaled = forward(self.network, self.inputs.forward(x), self.precision)
        return self.target.inverse(scaled)[:, 0].double()


def folded(network: Network) -> Network:
    """A copy for inference whose batch norms are folded into the linear layers before them."""
    copied = copy.deepcopy(network).eval()
    for layer in copied.modules():
        if isinstance(layer, Layer) and isinstance(layer.norm, nn.BatchNorm1d):
            layer.linear = fuse_linear_bn_eval(layer.linear, layer.norm)
            layer.norm = nn.Identity()
    return copied


def _to(scaler: Scaler, device: torch.device) -> Scaler:
    return Scaler(scaler.center.to(device), scaler.scale.to(device))
