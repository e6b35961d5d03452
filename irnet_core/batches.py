"""Evaluate a network batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from irnet_core.device import autocast
from irnet_core.networks import Network

#: Rows at a time: on a CPU the activations of the widest layer should fit the cache.
EVALUATION_BATCH = {"cpu": 1024, "cuda": 65_536}


def forward(network: Network, x: Tensor, precision: str) -> Tensor:
    """The network's outputs for scaled inputs (n, n_inputs), in evaluation mode, in batches."""
    network.eval()
    with torch.inference_mode(), autocast(x.device, precision):
        batches = x.split(EVALUATION_BATCH.get(x.device.type, 8192))
        parts = [network(batch).float() for batch in batches]
    return torch.cat(parts) if parts else network(x)
