"""Dropout whose chance belongs to one network.

``torch.nn.Dropout`` draws from the generator of the process: networks that train in threads side by
side would disturb each other, and a resumed run would go on elsewhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Set values to zero by chance while a network trains, and raise the others in turn.

    Srivastava et al., J. Mach. Learn. Res. 15, 1929 (2014). Nothing is dropped before
    :meth:`begin`, nor in evaluation mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0
        self.generator: torch.Generator | None = None

    def begin(self, share: float, generator: torch.Generator) -> None:
        """Drop a share of the values, in 256ths, by a generator on the network's device."""
        self.share, self.generator = share, generator

    def forward(self, x: Tensor) -> Tensor:
        """Values of the same shape."""
        least = round(self.share * 256)
        if not (self.training and least):
            return x
        # a byte of chance decides on a value: generators are slow, and give eight at a time
        chance = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        chance.random_(-(2**63), None, generator=self.generator)
        dropped = chance.view(torch.uint8)[: x.numel()].view(x.shape) < least
        return (x * (256 / (256 - least))).masked_fill(dropped, 0)
