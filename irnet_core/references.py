"""A target measured from its elements: what a sum over them explains is taken off first.

The total energy of a compound is mostly that of its atoms, its volume mostly theirs: a value for
each element, weighted by fractions, explains three quarters of either, and a network that has
learned the elements' values has little of its precision left for how they bond. So the values are
fitted beforehand, and the network learns the rest. Potentials for molecular dynamics do the same
(atomic reference energies, e.g. Batatia et al., arXiv 2206.07697).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irnet_core.elements import N_ELEMENTS
from irnet_core.errors import TrainingError
from irnet_core.scaling import Scaler

#: References are kept where they leave less than this share of the median absolute deviation: half
#: of all band gaps or energies above the hull are zero, and a sum over elements only blurs them.
MOST_LEFT = 0.8
RIDGE = 0.1  # rows of a pure element that say its value is that of all
ROUNDS = 6
BLOCK = 16_384  # rows at a time, so that no second table of fractions is held
OUTLIER = 15.0  # median absolute residuals; such rows say nothing of their elements
LARGEST = 1e30  # center and scale, and the reciprocal of the scale: beyond, float32 overflows


@dataclass(frozen=True)
class TargetScaler:
    """``y = references . fractions + center + scale * output``.

    Attributes
    ----------
    center, scale : torch.Tensor, float32, (1,)
        Median and mean absolute deviation of what the references leave.
    references : torch.Tensor, float32, (112,), or None
        By atomic number, in the target's unit; the fractions are the last columns of the inputs.
    bounds : torch.Tensor, float64, (2,), or None
        Of :func:`irnet_core.bounds.bounds_of`, in the target's unit.
    """

    center: Tensor
    scale: Tensor
    references: Tensor | None = None
    bounds: Tensor | None = None

    @classmethod
    def identity(cls) -> TargetScaler:
        """A scaler that changes nothing."""
        return cls(torch.zeros(1), torch.ones(1))

    @classmethod
    def fit(cls, y: np.ndarray, fractions: np.ndarray | None = None) -> TargetScaler:
        """Scaler for a target y (n,), with references if fractions (n, 112) explain enough of it.

        Deaf to single outliers, which the tables of all databases have.

        Raises
        ------
        TrainingError
            If its values are too large or too small for single precision.
        """
        found = None if fractions is None else _references(y, fractions)
        return cls._of(y, fractions, found)

    @classmethod
    def keeping(
        cls, y: np.ndarray, fractions: np.ndarray | None, references: Tensor | None
    ) -> TargetScaler:
        """Scaler for a network that has learned what other references leave of another target.

        They are kept where they explain this target too, and none are fitted: a network that knows
        the whole of a target would have to unlearn what they say.

        Parameters
        ----------
        y : numpy.ndarray, (n,)
            The new target.
        fractions : numpy.ndarray, (n, 112), or None
        references : torch.Tensor, (112,), or None
            Those that the network was trained with.
        """
        if fractions is None or references is None:
            return cls._of(y, None, None)
        found = references.numpy()
        rest = y - fractions @ found
        explains = _is_little(np.abs(rest - np.median(rest)), y)
        return cls._of(y, fractions, found if explains else None)

    @classmethod
    def _of(
        cls, y: np.ndarray, fractions: np.ndarray | None, references: np.ndarray | None
    ) -> TargetScaler:
        if fractions is None:
            references = None
        rest = Scaler.robust(y if references is None else y - fractions @ references)
        center, scale = float(rest.center), float(rest.scale)
        if not (abs(center) < LARGEST and 1 / LARGEST < scale < LARGEST):
            raise TrainingError(
                f"the target has median {np.median(y):g} and mean absolute deviation {scale:g}, "
                "out of reach of single precision: give it in another unit"
            )
        found = None if references is None else torch.from_numpy(references)
        return cls(rest.center, rest.scale, found)

    def to(self, to: torch.device | torch.dtype) -> TargetScaler:
        """The same on a device, or in another precision."""
        parts = (self.references, self.bounds)
        references, bounds = (None if part is None else part.to(to) for part in parts)
        return TargetScaler(self.center.to(to), self.scale.to(to), references, bounds)

    def explained(self, x: Tensor) -> Tensor:
        """What the references say (n,), float64, of raw inputs (n, n_inputs)."""
        if self.references is None:
            return x.new_zeros(len(x), dtype=torch.float64)
        return x[:, -N_ELEMENTS:].double() @ self.references.double()

    def rest(self, outputs: Tensor) -> Tensor:
        """What outputs of a network, of any shape, say beyond the references."""
        return outputs * self.scale.to(outputs) + self.center.to(outputs)

    def value(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Target (..., n), float64, for outputs (..., n) of raw inputs (n, n_inputs).

        Total energies of all electrons are so large that their sum in single precision would lose
        what tells compounds apart.
        """
        return self.rest(outputs.double()) + self.explained(x)

    def within(self, values: Tensor) -> Tensor:
        """Values of the target, of any shape; those beyond a bound are put at it."""
        if self.bounds is None:
            return values
        low, high = self.bounds.to(values)
        return values.clamp(low, high)

    def scaled(self, rest: Tensor) -> Tensor:
        """What a network is trained on: a target less :meth:`explained`, scaled."""
        return (rest - self.center.to(rest)) / self.scale.to(rest)


def _references(y: np.ndarray, fractions: np.ndarray) -> np.ndarray | None:
    """Values (112,), float32, by ridge regression on all but outliers; None if they explain little.

    An element's value is its distance from the median of all, and 0 where it has no row. How much
    is left is judged on rows that are left out, one at a time.
    """
    shifted = y - np.median(y)
    kept = np.ones(len(y), bool)
    left = np.abs(shifted)
    values = np.zeros(N_ELEMENTS)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(y), BLOCK)]
    for _ in range(ROUNDS):
        square, moment = RIDGE * np.eye(N_ELEMENTS), np.zeros(N_ELEMENTS)
        for rows in blocks:
            shares = fractions[rows][kept[rows]].astype(np.float64)
            square += shares.T @ shares
            moment += shares.T @ shifted[rows][kept[rows]]
        inverse = np.linalg.inv(square)
        values = inverse @ moment
        for rows in blocks:
            shares = fractions[rows].astype(np.float64)
            leverage = np.where(kept[rows], ((shares @ inverse) * shares).sum(1), 0.0)
            left[rows] = np.abs(shifted[rows] - shares @ values) / np.maximum(1 - leverage, RIDGE)
        kept = left <= OUTLIER * np.median(left)
    return values.astype(np.float32) if _is_little(left, y) else None


def _is_little(left: np.ndarray, y: np.ndarray) -> bool:
    """Whether absolute residuals are small beside the target's deviation."""
    return bool(np.median(left) < MOST_LEFT * np.median(np.abs(y - np.median(y))))
