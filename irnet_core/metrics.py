"""Error metrics of a regression, with the unit they are in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """Errors of predictions over ``rows`` rows, in the target's unit (``r2`` has none).

    ``mae_of_median`` is the error of always predicting the median: what a model must beat. Where
    the truth is constant there is no ``r2``.
    """

    rows: int
    mae: float
    rmse: float
    r2: float | None
    mae_of_median: float


def metrics(truth: np.ndarray, prediction: np.ndarray) -> Metrics:
    """Compare predictions with the truth, both (n,), finite.

    Examples
    --------
    >>> import numpy as np
    >>> metrics(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0])).mae
    1.0
    """
    truth = np.asarray(truth, dtype=np.float64)
    error = np.asarray(prediction, dtype=np.float64) - truth
    # the mean of equal values may differ from them by its rounding
    spread = 0.0 if np.ptp(truth) == 0 else float(((truth - truth.mean()) ** 2).sum())
    return Metrics(
        rows=len(truth),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        r2=1.0 - float((error**2).sum()) / spread if spread else None,
        mae_of_median=float(np.abs(truth - np.median(truth)).mean()),
    )
