"""Prediction intervals from the errors on validation rows: normalised split conformal prediction.

The score of a row is its signed error over its scale, ``(truth - mean) / (spread + floor)``. A
spread is learned on rows whose errors training has made small, and tells rows apart too little;
where the errors of other rows bear it out, the scale is a power of that sum. The quantiles of the
scores of rows that were not trained on, multiplied by the scale of a new row, give its interval;
with the finite-sample correction a 90 % interval covers a new row drawn alike with a probability of
at least 90 % (Lei et al., doi 10.1080/01621459.2017.1307116), but for what floor and power owe to
the same rows. Intervals, standard deviations and probabilities come from this one table: tails as
heavy as those seen, none assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irnet_core.errors import ModelError
from irnet_core.references import TargetScaler

N_LEVELS = 201
LEVELS = np.linspace(0, 1, N_LEVELS)
MIN_ROWS = 40  # with 38 or fewer, the corrected 2.5 % quantile lies beyond the smallest score
# share of the median absolute error that is added to each spread: none is taken for certain
FLOOR = 0.1
# powers of the scale that are tried, by 0 spreads say nothing, and the least gain in log-likelihood
# for one other than 1
POWERS = np.linspace(0, 2, 41)
LEAST_GAIN = 4.0
# errors are taken for at most so many usual ones of their scale, as one in a thousand of Laplace's
# exceeds: one faulty row must not sway the power
BELIEVED = 10.0
# quantiles of the scales between which the power holds
ENDS = (0.005, 0.995)
# half the central 68.27 % of the scores: one standard deviation, were they normal
ONE_SIGMA = (0.158655, 0.841345)


@dataclass(frozen=True)
class Calibration:
    """Distribution of the scores, and what turns a spread into a scale.

    Attributes
    ----------
    scores : numpy.ndarray, float64, (201,)
        Quantiles of the signed scores at the levels 0, 0.005, ... 1.
    floor : float
        Added to each spread, in the target's unit.
    rows : int
        Rows the quantiles are from.
    power : float
        Of the sum of spread and floor.
    low, high : float
        Ends of the sums that most calibration rows have. The power holds between them; beyond, the
        scale grows as the sum does, so that no row is taken for certain.
    """

    scores: np.ndarray
    floor: float
    rows: int
    power: float = 1.0
    low: float = 1.0
    high: float = 1.0

    @classmethod
    def fit(cls, truth: np.ndarray, mean: np.ndarray, spread: np.ndarray | None) -> Calibration:
        """Calibrate on rows that were not trained on.

        Parameters
        ----------
        truth, mean : numpy.ndarray, (n,)
        spread : numpy.ndarray, (n,), optional
            Without it all rows have the same scale.

        Raises
        ------
        ModelError
            If there are fewer than 40 rows, too few for a 90 % interval.
        """
        n = len(truth)
        if n < MIN_ROWS:
            raise ModelError(
                f"{n} validation rows are too few to calibrate intervals on, which takes "
                f"{MIN_ROWS}: validate on more rows"
            )
        error = np.asarray(truth, np.float64) - mean
        typical = float(np.median(np.abs(error)))
        # where most errors are 0, a trace of the target itself; and of 1, where that is constant
        floor = typical or 1e-12 * float(np.abs(truth - np.median(truth)).mean()) or 1e-12
        power, low, high, scale = 1.0, 1.0, 1.0, np.full(n, floor)
        if spread is not None:
            floor *= FLOOR
            scale = spread + floor
            first, last = (float(end) for end in np.quantile(scale, ENDS))
            inside = np.clip(scale, first, last) / math.sqrt(first * last)
            power = _likeliest_power(error, scale, inside)
            if power != 1:
                low, high = first, last
                scale = scale * inside ** (power - 1)
        scores = np.sort(error / scale)
        # the k-th smallest of n scores exceeds a new one with probability k / (n + 1): outwards to
        # the next whole k on either side of the median
        k = LEVELS * (n + 1)
        k = np.where(LEVELS < 0.5, np.floor(k + 1e-9), np.ceil(k - 1e-9))
        return cls(scores[np.clip(k, 1, n).astype(np.int64) - 1], floor, n, power, low, high)

    def quantile(self, level: float) -> float:
        """Score that a share ``level`` of all scores lies below."""
        return float(np.interp(level, LEVELS, self.scores))

    @property
    def std_per_scale(self) -> float:
        """Half the central 68.27 % interval of the scores."""
        low, high = (self.quantile(level) for level in ONE_SIGMA)
        return max((high - low) / 2, 1e-12)

    def scale(self, mean: Tensor, spread: Tensor | None) -> Tensor:
        """Scale (n,) of each row, in the target's unit."""
        if spread is None:
            return torch.full_like(mean, self.floor)
        scale = spread + self.floor
        if self.power == 1:
            return scale
        inside = scale.clamp(self.low, self.high) / math.sqrt(self.low * self.high)
        return scale * inside ** (self.power - 1)

    def interval(self, mean: Tensor, scale: Tensor, coverage: float) -> tuple[Tensor, Tensor]:
        """Lower and upper end (n,) of the intervals that cover a share of the truth.

        Parameters
        ----------
        mean : torch.Tensor, (n,)
            As predicted.
        scale : torch.Tensor, (n,)
            Of :meth:`scale`.
        coverage : float
            The share, such as 0.9.
        """
        low, high = self.quantile((1 - coverage) / 2), self.quantile((1 + coverage) / 2)
        return mean + low * scale, mean + high * scale

    def probability_below(self, mean: Tensor, std: Tensor, threshold: Tensor | float) -> Tensor:
        """Probability (n,) that the truth lies below a threshold.

        Parameters
        ----------
        mean, std : torch.Tensor, (n,)
            As predicted.
        threshold : torch.Tensor, (n,) or float
            In the target's unit.

        Returns
        -------
        torch.Tensor, float64
            Beyond the smallest and largest of the ``rows`` scores, which are taken for quantiles
            of 1 / (rows + 1) from the ends, the rest falls as the reciprocal of the distance: rows
            keep their order, and none is certain.
        """
        z = ((threshold - mean) / (std / self.std_per_scale)).double()
        end = 1 / (self.rows + 1)
        table = torch.from_numpy(np.array(self.scores)).to(z.device)
        levels = torch.from_numpy(LEVELS.clip(end, 1 - end)).to(z.device)
        right = torch.searchsorted(table, z).clamp(1, len(table) - 1)
        low, high = table[right - 1], table[right]
        share = ((z - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
        inside = torch.lerp(levels[right - 1], levels[right], share)
        # one scale further out, half of what is left is gone
        below = end / (1 + (table[0] - z).clamp_min(0))
        above = end / (1 + (z - table[-1]).clamp_min(0))
        outside = torch.where(z < table[0], below, 1 - above)
        return torch.where((z < table[0]) | (z > table[-1]), outside, inside)


def _likeliest_power(error: np.ndarray, scale: np.ndarray, inside: np.ndarray) -> float:
    """Power under which errors (n,) are likeliest, were they Laplace's.

    Parameters
    ----------
    error, scale : numpy.ndarray, (n,)
    inside : numpy.ndarray, (n,)
        Scales within their ends, over a usual one: for a power p the scale is
        ``scale * inside ** (p - 1)``.
    """
    size = np.abs(error) / scale
    if not size.any():
        return 1.0
    size = np.minimum(size, BELIEVED * np.median(size[size > 0]))
    logs = np.log(inside)
    powers = np.array([1.0, *POWERS])
    loss = [np.log(np.mean(size * np.exp(-p * logs))) + p * logs.mean() for p in powers - 1]
    best = int(np.argmin(loss))
    gain = len(error) * (loss[0] - loss[best])
    return float(powers[best]) if gain > LEAST_GAIN else 1.0


def honest_coverage(
    truth: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray | None,
    target: TargetScaler,
    seed: int,
) -> dict[str, float | int]:
    """Coverage of intervals calibrated on one half of the rows, measured on the other.

    The target's bounds hold for the intervals.

    Parameters
    ----------
    truth, mean : numpy.ndarray, (n,)
    spread : numpy.ndarray, (n,), optional
        As for :meth:`Calibration.fit`.
    target : TargetScaler
        Whose bounds are kept to.
    seed : int
        Draws the half that calibrates.

    Returns
    -------
    dict
        ``rows`` measured on, ``coverage_90``, ``coverage_68``, ``mean_width_90`` and, of the
        tenth of the rows with the smallest and the largest spread, their ``coverage_90``. Empty
        where half the rows are too few to calibrate on.
    """
    order = np.random.default_rng(seed).permutation(len(truth))
    fitted, rest = order[: len(order) // 2], order[len(order) // 2 :]
    if len(fitted) < MIN_ROWS:
        return {}
    calibration = Calibration.fit(
        truth[fitted], mean[fitted], None if spread is None else spread[fitted]
    )
    y, m = truth[rest], torch.from_numpy(mean[rest])
    scale = calibration.scale(m, None if spread is None else torch.from_numpy(spread[rest]))
    found: dict[str, float | int] = {"rows": len(rest)}
    for coverage in (0.6827, 0.9):
        ends = calibration.interval(m, scale, coverage)
        low, high = (target.within(end).numpy() for end in ends)
        covered = (low <= y) & (y <= high)
        found[f"coverage_{math.floor(100 * coverage)}"] = float(covered.mean())
    found["mean_width_90"] = float((high - low).mean())
    if spread is not None:
        tenth = max(1, len(rest) // 10)
        by_spread = covered[np.argsort(spread[rest], kind="stable")]
        found["coverage_90_of_smallest_spreads"] = float(by_spread[:tenth].mean())
        found["coverage_90_of_largest_spreads"] = float(by_spread[-tenth:].mean())
    return found
