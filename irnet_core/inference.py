"""Predict with a trained model, with intervals and a place in its domain where it has them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from irnet_core.batches import batch_rows
from irnet_core.bundle import Bundle
from irnet_core.device import pick_device
from irnet_core.elements import N_ELEMENTS
from irnet_core.engine import Engine
from irnet_core.errors import ModelError
from irnet_core.notation import FRACTIONS
from irnet_core.objective import LOG_SPREAD


class Prediction(NamedTuple):
    """What a model says of n rows: float64 tensors (n,) on its device, in the target's unit.

    Attributes
    ----------
    mean : torch.Tensor
    std : torch.Tensor or None
        Half the interval that covers 68.27 % of validation rows, scaled to each row.
    lower_90, upper_90 : torch.Tensor or None
        Ends of the 90 % interval.
    domain_percentile : torch.Tensor or None
        Share of the training rows, in per cent, that lie closer to their centre; 100 where there is
        an element that none of them has.

    What the model was not calibrated for is None.
    """

    mean: Tensor
    std: Tensor | None
    lower_90: Tensor | None
    upper_90: Tensor | None
    domain_percentile: Tensor | None


class Raw(NamedTuple):
    """Outputs of the networks, before any calibration or bound.

    Attributes
    ----------
    mean : torch.Tensor, float64, (n,)
    spread : torch.Tensor, float64, (n,), or None
        Standard deviation within and between the members; None for a single network that has no
        spread.
    hidden : torch.Tensor, float32, (n, n_hidden)
        Penultimate layer of the first member.
    """

    mean: Tensor
    spread: Tensor | None
    hidden: Tensor


class Predictor:
    """A model on a device, ready for inputs of any number of rows.

    Parameters
    ----------
    bundle : Bundle
    device : torch.device, optional
    precision : {"auto", "fp32"}, optional
        ``auto`` multiplies in bfloat16 where the hardware does so natively; by default that of the
        model's recipe, which its errors and intervals are of.
    """

    def __init__(
        self, bundle: Bundle, device: torch.device | None = None, precision: str | None = None
    ) -> None:
        self.device = device or pick_device("cpu")
        self.card = bundle.card
        self.precision = precision or bundle.card.precision
        self.engines = [Engine(member, self.device, self.precision) for member in bundle.networks]
        first = bundle.networks[0]
        self.n_inputs, self.n_hidden = first.n_inputs, first.n_hidden
        self.n_columns = first.n_outputs + (first.spread is not None)
        self.inputs = bundle.inputs.to(self.device)
        self.target = bundle.target.to(self.device)
        self.calibration = bundle.calibration
        self.domain = None if bundle.domain is None else bundle.domain.to(self.device)
        self.unseen = unseen_elements(bundle).to(self.device)

    def __call__(self, x: np.ndarray | Tensor) -> Tensor:
        """Predictions (n,) float64 on the device, in the target's unit, for inputs (n, n_inputs).

        Raises
        ------
        ModelError
            If the number of input columns is not the model's.
        """
        return self.target.within(self.raw(x).mean)

    def predict(self, x: np.ndarray | Tensor) -> Prediction:
        """Predictions with all that the model was calibrated for, in one pass of its networks.

        Means and ends of intervals are within the target's bounds.

        Parameters
        ----------
        x : array_like, (n, n_inputs)

        Raises
        ------
        ModelError
            If the number of input columns is not the model's, or a number is not finite.
        """
        found = self.unbounded(x)
        self.refuse_infinite(*found)
        ends = (found.lower_90, found.upper_90)
        lower, upper = (None if end is None else self.target.within(end) for end in ends)
        return found._replace(mean=self.target.within(found.mean), lower_90=lower, upper_90=upper)

    def unbounded(self, x: np.ndarray | Tensor) -> Prediction:
        """Predictions before the target's bounds, finite or not; else as :meth:`predict`.

        By these a ranking tells candidates at a bound apart, and these are what
        :meth:`probability_below` takes.
        """
        x = torch.as_tensor(x, dtype=torch.float32).to(self.device)  # once for all that look at it
        raw = self.raw(x)
        std = lower = upper = None
        if self.calibration is not None:
            scale = self.calibration.scale(raw.mean, raw.spread)
            std = scale * self.calibration.std_per_scale
            lower, upper = self.calibration.interval(raw.mean, scale, 0.9)
        return Prediction(raw.mean, std, lower, upper, self.percentile(x, raw.hidden))

    def percentile(self, x: np.ndarray | Tensor, hidden: Tensor) -> Tensor | None:
        """Place (n,) in the domain of inputs (n, n_inputs) with penultimate layer (n, n_hidden).

        A network takes an element it has never met for something like another one, and its
        penultimate layer may show nothing of it: such rows are at 100.
        """
        if self.domain is None:
            return None
        placed = self.domain.percentile(hidden)
        if not len(self.unseen):
            return placed
        fractions = torch.as_tensor(x, device=self.device)[:, -N_ELEMENTS:]
        return placed.masked_fill((fractions[:, self.unseen] > 0).any(1), 100.0)

    def refuse_infinite(self, *columns: Tensor | None) -> None:
        """Raise ModelError where some numbers (n,) are not finite; screens count them instead."""
        there = torch.stack([column.isfinite() for column in columns if column is not None])
        if bad := int((~there).any(0).sum()):
            raise ModelError(
                f"model {self.card.name!r} predicts no finite number for {bad:,} of "
                f"{there.shape[1]:,} rows: its weights are damaged; take or train another"
            )

    def probability_below(self, mean: Tensor, std: Tensor, threshold: Tensor | float) -> Tensor:
        """Probability (n,) that the truth lies below a threshold.

        Parameters
        ----------
        mean, std : torch.Tensor, (n,)
            Of :meth:`unbounded`, or a shifted mean with the same std.
        threshold : torch.Tensor, (n,) or float
            In the target's unit, e.g. the hull's formation energy.

        Returns
        -------
        torch.Tensor, float64
            From the scores of the validation rows, no normal distribution.

        Raises
        ------
        ModelError
            If the model's intervals were not calibrated.
        """
        if self.calibration is None:
            raise ModelError(
                f"model {self.card.name!r} has no calibrated intervals, so no probabilities: train "
                "it anew, with enough validation rows"
            )
        return self.calibration.probability_below(mean, std, threshold)

    def raw(self, x: np.ndarray | Tensor) -> Raw:
        """Mean, spread and penultimate layer for inputs (n, n_inputs), in one pass."""
        x = torch.as_tensor(x, dtype=torch.float32).to(self.device)
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise ModelError(
                f"model {self.card.name!r} takes inputs of shape (n, {self.n_inputs}), "
                f"not {tuple(x.shape)}"
            )
        outputs, hidden = self._outputs(x)
        means = self.target.value(outputs[:, :, 0].double(), x)  # (members, n)
        variance = torch.zeros_like(means[0])
        if len(means) > 1:
            variance = means.var(0)
        if outputs.shape[2] == 2:
            # the variance of a Laplace distribution of this scale
            log_spread = outputs[:, :, 1].double().clamp(*LOG_SPREAD)
            scale = log_spread.exp() * self.target.scale.double()
            variance = variance + (2 * scale**2).mean(0)
        elif len(means) == 1:
            return Raw(means[0], None, hidden)
        return Raw(means.mean(0), variance.sqrt(), hidden)

    def _outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (members, n, 1 or 2), and the first member's features (n, n_hidden)."""
        outputs = x.new_empty(len(self.engines), len(x), self.n_columns)
        hidden = x.new_empty(len(x), self.n_hidden)
        size = batch_rows(self.device)
        with torch.inference_mode():
            for start in range(0, len(x), size):
                rows = slice(start, start + size)
                scaled = self.inputs.forward(x[rows])
                # one member after the other: each already keeps the device busy
                for i, engine in enumerate(self.engines):
                    outputs[i, rows], features = engine(scaled)
                    if i == 0:
                        hidden[rows] = features
        return outputs, hidden


def unseen_elements(bundle: Bundle) -> Tensor:
    """Elements that no training row has, as columns of the fractions, int64 (k,).

    The scaler keeps the means of the training rows, by which they are found. A model that sees no
    fractions, or sees them unscaled, tells of none.
    """
    mean = bundle.inputs.center[-N_ELEMENTS:]
    if bundle.card.inputs[-1]["name"] != FRACTIONS or not mean.any():
        return torch.zeros(0, dtype=torch.int64)
    return (mean == 0).nonzero()[:, 0]
