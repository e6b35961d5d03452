"""Applicability domain: how far a row lies from those trained on, in the penultimate layer.

The Mahalanobis distance to the training rows' mean, in the features that the network itself made
(Lee et al., arXiv 1807.03888), is turned into the percentile of the training rows that lie closer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

N_QUANTILES = 101
BINS = 10  # of the percentile, whose errors are told apart
# directions of less than this share of the mean variance hold rounding errors of bfloat16
LEAST_VARIANCE = 1e-3


@dataclass(frozen=True)
class Domain:
    """Mean and whitening of the features of the training rows, and their distances.

    Attributes
    ----------
    center : torch.Tensor, float32, (n_hidden,)
    whitening : torch.Tensor, float32, (n_hidden, n_hidden)
        ``(x - center) @ whitening`` has the unit matrix for covariance.
    quantiles : torch.Tensor, float32, (101,)
        Percentiles 0, 1, ... 100 of the distances of the training rows.
    """

    center: Tensor
    whitening: Tensor
    quantiles: Tensor

    @classmethod
    def fit(cls, hidden: Tensor) -> Domain:
        """Fit to the features (n, n_hidden) of the training rows."""
        values = hidden.double()
        center = values.mean(0)
        covariance = torch.atleast_2d((values - center).T.cov(correction=0))
        variance, directions = torch.linalg.eigh(covariance)
        least = max(float(variance.clamp_min(0).mean()) * LEAST_VARIANCE, 1e-12)
        whitening = directions / variance.clamp_min(least).sqrt()
        fitted = cls(center.float(), whitening.float(), torch.zeros(N_QUANTILES))
        distances = fitted.distance(hidden).double().cpu().numpy()
        quantiles = np.quantile(distances, np.linspace(0, 1, N_QUANTILES))
        return cls(fitted.center.cpu(), fitted.whitening.cpu(), torch.from_numpy(quantiles).float())

    def to(self, device: torch.device) -> Domain:
        """The same on a device."""
        return Domain(self.center.to(device), self.whitening.to(device), self.quantiles.to(device))

    def distance(self, hidden: Tensor) -> Tensor:
        """Mahalanobis distance (n,) of features (n, n_hidden)."""
        return torch.linalg.vector_norm((hidden.float() - self.center) @ self.whitening, dim=1)

    def percentile(self, hidden: Tensor) -> Tensor:
        """Share of the training rows, in per cent, that lie closer than features (n, n_hidden)."""
        distance = self.distance(hidden).contiguous()
        right = torch.searchsorted(self.quantiles, distance).clamp(1, N_QUANTILES - 1)
        low, high = self.quantiles[right - 1], self.quantiles[right]
        share = ((distance - low) / (high - low).clamp_min(1e-30)).clamp(0, 1)
        return ((right - 1) + share).double() * (100 / (N_QUANTILES - 1))


def error_by_percentile(error: np.ndarray, percentile: np.ndarray) -> list[dict[str, float | int]]:
    """Mean absolute error in tenths of the percentile; one without rows is left out.

    Parameters
    ----------
    error, percentile : numpy.ndarray, (n,)

    Returns
    -------
    list of dict
        ``from`` and ``to`` in per cent, ``rows`` and ``mae``.
    """
    edges = np.linspace(0, 100, BINS + 1)
    member = np.clip(np.searchsorted(edges, percentile, side="right") - 1, 0, BINS - 1)
    rows = np.bincount(member, minlength=BINS)
    total = np.bincount(member, np.abs(error), minlength=BINS)
    return [
        {
            "from": float(edges[i]),
            "to": float(edges[i + 1]),
            "rows": int(rows[i]),
            "mae": float(total[i] / rows[i]),
        }
        for i in range(BINS)
        if rows[i]
    ]
