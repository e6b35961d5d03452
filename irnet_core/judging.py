"""From trained networks to a model: judged on the validation rows, calibrated for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from irnet_core.bundle import Bundle, Card, rounded, versions
from irnet_core.calibration import MIN_ROWS, Calibration, honest_coverage
from irnet_core.domain import Domain, error_by_percentile
from irnet_core.feature_schema import FeatureSchema
from irnet_core.inference import Predictor
from irnet_core.metrics import metrics
from irnet_core.networks import Network
from irnet_core.recipes import Recipe
from irnet_core.training import Fitted, TrainingData

MOST_DOMAIN_ROWS = 100_000


def assembled(
    fits: Sequence[Fitted],
    recipe: Recipe,
    inputs: Sequence[FeatureSchema],
    *,
    name: str,
    target: str,
    unit: str,
    seed: int,
    data: dict[str, Any],
    split: dict[str, Any],
    created: str,
    weights: str = "float32",
    parent: dict[str, Any] | None = None,
    code: dict[str, str] | None = None,
) -> Bundle:
    """Networks that were trained together, with their card, not judged yet.

    Parameters
    ----------
    fits : sequence of Fitted
        With seeds from ``seed`` on.
    recipe : Recipe
    inputs : sequence of FeatureSchema
        Blocks that the networks see, in order.
    name, target, unit, data, split, created, weights, parent
        As in :class:`irnet_core.card.Card`.
    code : dict, optional
        Versions beside those of :func:`irnet_core.bundle.versions`.
    """
    first = fits[0]
    card = Card(
        name=name,
        network=first.network.notation,
        target=target,
        unit=unit,
        inputs=[
            {"name": schema.name, "hash": schema.hash, "columns": len(schema.columns)}
            for schema in inputs
        ],
        recipe=asdict(recipe),
        seed=seed,
        epochs=first.progress.epoch,
        best_epoch=first.progress.best_epoch,
        data=data,
        split=split,
        metrics={},
        history=[asdict(evaluation) for evaluation in first.progress.history],
        versions=versions() | (code or {}),
        created=created,
        members=[
            {
                "seed": seed + i,
                "epochs": fitted.progress.epoch,
                "best_epoch": fitted.progress.best_epoch,
                "validation_mae": fitted.progress.best_mae,
            }
            for i, fitted in enumerate(fits)
        ],
        weights=weights,
        parent=parent or {},
    )
    return Bundle(card, tuple(f.network for f in fits), first.inputs, first.target)


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
        on rows that did not calibrate), ``domain`` (error by percentile) and, where rounding
        changed weights, the error before it. Intervals are calibrated on all validation rows; fewer
        than 40 are too few, and the bundle then has none.
    """
    truth = data.validation_y
    found: dict[str, Any] = {}
    networks = tuple(rounded(network, bundle.card.weights) for network in bundle.networks)
    if not all(map(_same, networks, bundle.networks)):
        before = Predictor(bundle, device)(data.validation_x).cpu().numpy()
        found["validation_mae_before_rounding"] = float(np.abs(before - truth).mean())
        bundle = replace(bundle, networks=networks)

    predictor = Predictor(bundle, device)
    rows = np.arange(len(data.train_x))
    if len(rows) > MOST_DOMAIN_ROWS:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_DOMAIN_ROWS])
    domain = Domain.fit(predictor.raw(data.train_x[rows]).hidden)

    raw = predictor.raw(data.validation_x)
    predictor.refuse_infinite(raw.mean, raw.spread)
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
        if fitted.power != 1:
            ends = {"low": fitted.low, "high": fitted.high}
            calibration |= {"power": fitted.power} | ends
        if coverage := honest_coverage(truth, mean, spread, bundle.target, seed):
            found["coverage"] = coverage
    card = replace(bundle.card, metrics=found, calibration=calibration, domain={"rows": len(rows)})
    return replace(bundle, card=card, domain=domain)


def _same(one: Network, other: Network) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(here, there) for here, there in pairs)
