"""Evaluate a network batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from irnet_core.device import autocast
from irnet_core.networks import Network

# on a CPU the activations of the widest layer should fit the cache
_ROWS = {"cpu": 1024, "cuda": 65_536}


def batch_rows(device: torch.device) -> int:
    """Rows that a network evaluates at a time on a device."""
    return _ROWS.get(device.type, 8192)


def forward(network: Network, x: Tensor, precision: str) -> Tensor:
    """Outputs of a network, which is put into evaluation mode, batch by batch.

    Parameters
    ----------
    network : Network
    x : torch.Tensor, (n, n_inputs)
        Scaled inputs, on the network's device.
    precision : {"auto", "fp32"}
        See :func:`irnet_core.device.autocast`.

    Returns
    -------
    torch.Tensor, float32, (n, outputs)
    """
    network.eval()
    with torch.inference_mode(), autocast(x.device, precision):
        batches = x.split(batch_rows(x.device))
        parts = [network(batch).float() for batch in batches]
    return torch.cat(parts)
