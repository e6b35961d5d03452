"""Probability that a candidate is stable, from its distance to the hull and that one's error."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from irnet_core.errors import DataError


def probability_below(
    distance: ArrayLike | Tensor, std: ArrayLike | Tensor, threshold: float = 0.0
) -> Tensor:
    """Probability that the true distance from the hull is at most a threshold.

    The prediction's error is taken as normal, and the hull itself as exact.

    Parameters
    ----------
    distance : array_like or torch.Tensor of float, shape (n,)
        Predicted distances from the hull in eV/atom, negative below it.
    std : array_like or torch.Tensor of float, shape (n,) or scalar
        Standard deviations in eV/atom, calibrated; 0 stands for certainty.
    threshold : float
        In eV/atom; 0 asks for stable phases.

    Returns
    -------
    torch.Tensor of float64, shape (n,)
        On the device of `distance`.

    Raises
    ------
    DataError
        If a standard deviation is negative.

    Examples
    --------
    >>> probability_below([0.0, -0.1, 0.02], [0.05, 0.05, 0.0]).numpy().round(3).tolist()
    [0.5, 0.977, 0.0]
    """
    value = torch.as_tensor(distance, dtype=torch.float64)
    spread = torch.as_tensor(std, dtype=torch.float64, device=value.device)
    if (spread < 0).any():
        raise DataError("a standard deviation is negative; give the positive square root")
    margin = threshold - value
    certain = torch.where(torch.isnan(margin), margin, (margin >= 0).double())
    return torch.where(spread > 0, torch.special.ndtr(margin / spread), certain)
