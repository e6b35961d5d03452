"""Judge trained models on rows with known values: errors, what intervals cover, domain, cost.

Numbers only; :mod:`flows.evaluate` brings the rows and prints them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from irnet_core.bundle import Bundle, weights_bytes
from irnet_core.calibration import Calibration
from irnet_core.device import has_native_bf16
from irnet_core.domain import error_by_percentile
from irnet_core.errors import DataError
from irnet_core.inference import Predictor
from irnet_core.metrics import metrics
from irnet_core.references import TargetScaler

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Nominal coverages of the intervals that are judged."""

TIMED_ROWS = 16_384
TIMED_SECONDS = 0.5


@dataclass(frozen=True)
class Outputs:
    """What a model says of n rows, before its intervals and bounds.

    Attributes
    ----------
    mean : numpy.ndarray, float64, (n,)
        In the target's unit.
    spread : numpy.ndarray, float64, (n,), or None
    percentile : numpy.ndarray, float64, (n,), or None
        Place in the model's domain, in per cent; None where the model has none.
    """

    mean: np.ndarray
    spread: np.ndarray | None
    percentile: np.ndarray | None

    def of(self, rows: np.ndarray) -> Outputs:
        """Outputs of some of the rows."""
        parts = (None if one is None else one[rows] for one in (self.spread, self.percentile))
        return Outputs(self.mean[rows], *parts)


def outputs(predictor: Predictor, batches: Iterable[np.ndarray | Tensor]) -> Outputs:
    """A model's outputs for inputs that come in batches (rows, n_inputs), at least one."""
    means, spreads, percentiles = [], [], []
    for x in batches:
        raw = predictor.raw(x)
        placed = predictor.percentile(x, raw.hidden)
        predictor.refuse_infinite(raw.mean, raw.spread, placed)
        means.append(raw.mean.cpu().numpy())
        if raw.spread is not None:
            spreads.append(raw.spread.cpu().numpy())
        if placed is not None:
            percentiles.append(placed.cpu().numpy())
    return Outputs(
        np.concatenate(means),
        np.concatenate(spreads) if spreads else None,
        np.concatenate(percentiles) if percentiles else None,
    )


def evaluation(
    truth: np.ndarray, found: Outputs, calibration: Calibration | None, target: TargetScaler
) -> dict[str, Any]:
    """Errors of a model, what its intervals really cover, and its error along its domain.

    Parameters
    ----------
    truth : numpy.ndarray, (n,)
        In the target's unit.
    found : Outputs
        Of the same rows.
    calibration : Calibration or None
    target : TargetScaler
        Whose bounds predictions and intervals keep to.

    Returns
    -------
    dict
        ``rows``, ``mae``, ``rmse``, ``r2`` and ``mae_of_median`` as in
        :class:`irnet_core.metrics.Metrics`; ``coverage``, for each of :data:`LEVELS` a dict of
        ``level``, ``covered`` and ``mean_width``; and ``domain``, deciles as in
        :func:`irnet_core.domain.error_by_percentile`. What the model was not calibrated for is
        None. Rows beyond the training rows' range of distances are in the last decile.

    Raises
    ------
    DataError
        If there are no rows, or some value is not finite.
    """
    if not len(truth) or not np.isfinite(truth).all():
        raise DataError("a model is judged on at least one row, each with a finite value")
    coverage = None
    if calibration is not None:
        mean = torch.from_numpy(found.mean)
        spread = None if found.spread is None else torch.from_numpy(found.spread)
        scale = calibration.scale(mean, spread)
        coverage = []
        for level in LEVELS:
            ends = calibration.interval(mean, scale, level)
            low, high = (target.within(end).numpy() for end in ends)
            covered = float(((low <= truth) & (truth <= high)).mean())
            width = float((high - low).mean())
            coverage.append({"level": level, "covered": covered, "mean_width": width})
    predicted = target.within(torch.from_numpy(found.mean)).numpy()
    domain = None
    if found.percentile is not None:
        domain = error_by_percentile(predicted - truth, found.percentile)
    return {**asdict(metrics(truth, predicted)), "coverage": coverage, "domain": domain}


def first_member(bundle: Bundle) -> Bundle:
    """An ensemble's first network as a model of its own.

    Its intervals and members are not known: both belong to the ensemble.
    """
    card = replace(bundle.card, members=bundle.card.members[:1], calibration={})
    return replace(bundle, card=card, networks=bundle.networks[:1])


def cost(bundle: Bundle, predictor: Predictor, x: np.ndarray) -> dict[str, Any]:
    """What a model costs: its size, and how fast it is here and now.

    Parameters
    ----------
    bundle : Bundle
    predictor : Predictor
        Of this bundle.
    x : numpy.ndarray, (n, n_inputs)
        At least one row; repeated, or cut, to 16,384.

    Returns
    -------
    dict
        ``members``, ``parameters`` of all of them, ``weights_bytes`` of their tensors,
        ``rows_per_second`` of the networks alone, measured for half a second after a first pass
        that does not count, and under which ``device``, ``products`` and ``threads``.
    """
    fast = predictor.precision == "auto" and has_native_bf16(predictor.device)
    return {
        "members": len(bundle.networks),
        "parameters": sum(p.numel() for network in bundle.networks for p in network.parameters()),
        "weights_bytes": weights_bytes(bundle),
        "rows_per_second": rows_per_second(predictor, x[np.arange(TIMED_ROWS) % len(x)]),
        "device": str(predictor.device),
        "products": "bfloat16" if fast else "float32",
        "threads": torch.get_num_threads(),
    }


def rows_per_second(predictor: Predictor, x: np.ndarray) -> float:
    """Rows that a model predicts in a second, in passes over inputs (n, n_inputs)."""
    predictor(x[:1024]).cpu()
    begun, done = time.perf_counter(), 0
    while not done or time.perf_counter() - begun < TIMED_SECONDS:
        predictor(x).cpu()  # to the host, so that a GPU's work is over
        done += len(x)
    return done / (time.perf_counter() - begun)
