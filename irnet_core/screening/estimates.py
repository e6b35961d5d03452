"""Predicted properties with their uncertainty, as a ranking asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from irnet_core.schema import LOWER, STD, UPPER


def _unchanged(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True, eq=False)
class Estimate:
    """One property of n candidates; what its model was not calibrated for is None.

    Attributes
    ----------
    mean : torch.Tensor of float64, shape (n,)
        In the property's unit, like all others here.
    std, lower, upper : torch.Tensor of float64, shape (n,), or None
        Calibrated standard deviation, and the bounds of the 90 % interval.
    below : callable or None
        Maps thresholds (n,) to the probabilities (n,) that the property is at or below them.
    bounded : callable
        Brings values (n,) within the bounds that the property has. Mean and interval are before
        them, so that a ranking tells apart what lies at a bound.

    Examples
    --------
    >>> energy = Estimate(torch.tensor([-1.0]), upper=torch.tensor([-0.9]))
    >>> hull = torch.tensor([-1.25])
    >>> above = energy.minus(hull)
    >>> above.mean.tolist(), above.std is None
    ([0.25], True)
    """

    mean: Tensor
    std: Tensor | None = None
    lower: Tensor | None = None
    upper: Tensor | None = None
    below: Callable[[Tensor], Tensor] | None = None
    bounded: Callable[[Tensor], Tensor] = _unchanged

    def minus(self, exact: Tensor) -> Estimate:
        """The difference to a quantity that is known exactly, shape (n,)."""
        below, bounded = self.below, self.bounded
        return replace(
            self,
            mean=self.mean - exact,
            lower=None if self.lower is None else self.lower - exact,
            upper=None if self.upper is None else self.upper - exact,
            below=None if below is None else lambda threshold: below(threshold + exact),
            bounded=lambda values: bounded(values + exact) - exact,
        )

    def within(self, low: float, high: float) -> Tensor:
        """Probability (n,) that the property lies between two bounds, which may be infinite.

        Call it only where :attr:`below` is there.
        """
        if self.below is None:
            raise TypeError("an estimate without a calibrated distribution has no probabilities")
        upper = self.below(torch.full_like(self.mean, high)) if high < torch.inf else 1.0
        lower = self.below(torch.full_like(self.mean, low)) if low > -torch.inf else 0.0
        # a prediction that is no number stays none
        return torch.where(torch.isnan(self.mean), torch.nan, (upper - lower) + 0 * self.mean)

    def columns(self, name: str) -> dict[str, Tensor]:
        """Columns of a ranked table, those that there are, within bounds."""
        ends = {"": self.mean, LOWER: self.lower, UPPER: self.upper}
        every = {suffix: None if end is None else self.bounded(end) for suffix, end in ends.items()}
        every[STD] = self.std
        return {name + suffix: value for suffix, value in every.items() if value is not None}
