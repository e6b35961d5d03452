"""Judge trained networks on the validation rows, and calibrate what they say of new ones."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from irnet_core.bundle import Bundle, rounded
from irnet_core.calibration import MIN_ROWS, Calibration, honest_coverage
from irnet_core.domain import Domain, error_by_percentile
from irnet_core.inference import Predictor
from irnet_core.metrics import metrics
from irnet_core.training import TrainingData

MOST_DOMAIN_ROWS = 100_000


def judged(bundle: Bundle, data: TrainingData, *, device: torch.device, seed: int) -> Bundle:
    """A bundle with its metrics, interval calibration and domain filled in.

    Parameters
    ----------
    bundle : Bundle
        Just trained; its networks are rounded to the card's type of weights first.
    data : TrainingData
        The rows it was trained and validated on.
    device : torch.device
    seed : int
        Draws the half of the validation rows that calibrates where coverage is measured, and the
        training rows of the domain where there are more than 100,000.

    Returns
    -------
    Bundle
        ``card.metrics`` holds ``validation`` (of the mean of all members), ``coverage`` (measured
        on rows that did not calibrate), ``domain`` (error by percentile) and, for rounded weights,
        the error before rounding. Intervals are calibrated on all validation rows; fewer than 40
        are too few, and the bundle then has none.
    """
    truth = data.validation_y
    found: dict[str, Any] = {}
    if bundle.card.weights != "float32":
        before = Predictor(bundle, device)(data.validation_x).cpu().numpy()
        found["validation_mae_before_rounding"] = float(np.abs(before - truth).mean())
        networks = tuple(rounded(network, bundle.card.weights) for network in bundle.networks)
        bundle = replace(bundle, networks=networks)

    predictor = Predictor(bundle, device)
    rows = np.arange(len(data.train_x))
    if len(rows) > MOST_DOMAIN_ROWS:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_DOMAIN_ROWS])
    domain = Domain.fit(predictor.raw(data.train_x[rows]).hidden)

    raw = predictor.raw(data.validation_x)
    mean = raw.mean.cpu().numpy()
    spread = None if raw.spread is None else raw.spread.cpu().numpy()
    bounded = bundle.target.within(torch.from_numpy(mean)).numpy()
    found["validation"] = asdict(metrics(truth, bounded))
    percentile = domain.percentile(raw.hidden.cpu()).numpy()
    found["domain"] = error_by_percentile(bounded - truth, percentile)
    calibration: dict[str, Any] = {}
    if len(truth) >= MIN_ROWS:
        fitted = Calibration.fit(truth, mean, spread)
        calibration = {
            "scores": fitted.scores.tolist(),
            "floor": fitted.floor,
            "rows": fitted.rows,
        }
        if coverage := honest_coverage(truth, mean, spread, bundle.target, seed):
            found["coverage"] = coverage
    card = replace(bundle.card, metrics=found, calibration=calibration, domain={"rows": len(rows)})
    return replace(bundle, card=card, domain=domain)
