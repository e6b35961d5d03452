"""Training recipes: every hyper-parameter in one frozen object, written into each model card."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from irnet_core.errors import TrainingError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    name : str
        Name of the recipe this one started from.
    inputs : tuple of str
        Blocks of feature columns the network sees, in order.
    scale_inputs, scale_target : bool
        Standardise the inputs (mean 0, standard deviation 1) and the target (median 0, mean
        absolute deviation 1) over the training rows.
    references : bool
        Take off the target what a value for each element explains of it, where that is much, see
        :mod:`irnet_core.references`; for inputs that end in element fractions.
    learning_rate, weight_decay : float
        Peak learning rate of Adam and decoupled weight decay (0 is plain Adam).
    schedule : {"constant", "one-cycle"}
        Learning rate over training: constant, or a warm-up over ``warmup`` of all steps followed
        by a cosine to zero.
    batch_size : int
        Most rows per step ...
    min_steps : int
        ... halved, down to 32, until an epoch has at least this many steps.
    row_visits : int
        Epochs are chosen so that training sees about this many rows ...
    min_epochs, max_epochs : int
        ... but no fewer and no more epochs than these.
    evaluations : int
        Evaluations on the validation rows, spread evenly over the epochs.
    patience : int
        Stop after this many evaluations without a better validation error.
    averaging : float
        Half-life of the weight average as a share of all steps; 0 validates and ships the raw
        weights.
    gradient_clip : float
        Largest norm of the gradient; 0 is no limit.
    precision : {"auto", "fp32"}
        ``auto`` multiplies matrices in bfloat16 where the hardware does that natively.
    dropout : float
        Share of the values dropped after each layer of a set of elements, in training alone.
    spread : bool
        Add an output for the spread of each prediction, see :mod:`irnet_core.objective`.
    transfer_rate, same_target_rate : float
        Share of the learning rate that remains where training continues a model of another
        target, or of the same one.
    """

    name: str
    inputs: tuple[str, ...]
    scale_inputs: bool
    scale_target: bool
    learning_rate: float
    weight_decay: float
    schedule: Literal["constant", "one-cycle"]
    warmup: float
    batch_size: int
    min_steps: int
    row_visits: int
    min_epochs: int
    max_epochs: int
    evaluations: int
    patience: int
    averaging: float
    gradient_clip: float
    precision: Literal["auto", "fp32"]
    references: bool = False
    dropout: float = 0.0
    spread: bool = False
    transfer_rate: float = 0.3
    same_target_rate: float = 0.1

    def epochs(self, n_rows: int) -> int:
        """Number of passes over ``n_rows`` training rows."""
        return min(max(round(self.row_visits / n_rows), self.min_epochs), self.max_epochs)

    def batch(self, n_rows: int) -> int:
        """Rows per step for ``n_rows`` training rows."""
        size = self.batch_size
        while size > 32 and n_rows // size < self.min_steps:
            size //= 2
        return min(size, n_rows)

    def rate(self, share: float) -> float:
        """Learning rate after a share of all steps."""
        if self.schedule == "constant":
            return self.learning_rate
        if share < self.warmup:
            return self.learning_rate * share / self.warmup
        rest = (share - self.warmup) / (1 - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))

    def with_epochs(self, epochs: int) -> Recipe:
        """The same recipe for a given number of epochs."""
        if epochs < 1:
            raise TrainingError(f"training needs at least 1 epoch, not {epochs}")
        return replace(self, min_epochs=epochs, max_epochs=epochs)

    def for_transfer(self, same_target: bool) -> Recipe:
        """The same recipe, at the lower learning rate that keeps what a network has learned."""
        share = self.same_target_rate if same_target else self.transfer_rate
        return replace(self, learning_rate=self.learning_rate * share)


RECIPES = {
    # Hyper-parameters of the 2021 paper. Unlike its reference code, batch norm uses its running
    # statistics at evaluation, rows are reshuffled every epoch, and no test row is ever read.
    "paper": Recipe(
        name="paper",
        inputs=("magpie",),
        scale_inputs=False,
        scale_target=False,
        learning_rate=1e-4,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.0,
        batch_size=32,
        min_steps=1,
        row_visits=10**12,
        min_epochs=1,
        max_epochs=1000,
        evaluations=1000,
        patience=200,
        averaging=0.0,
        gradient_clip=0.0,
        precision="fp32",
    ),
    "modern": Recipe(
        name="modern",
        inputs=("magpie", "fractions"),
        scale_inputs=True,
        scale_target=True,
        learning_rate=1.2e-3,
        weight_decay=0.1,
        schedule="one-cycle",
        warmup=0.1,
        batch_size=512,
        min_steps=8,
        row_visits=10_500_000,
        min_epochs=20,
        max_epochs=100,
        evaluations=25,
        patience=25,
        averaging=0.02,
        gradient_clip=1.0,
        precision="auto",
        references=True,
        dropout=0.1,
        spread=True,
    ),
}


def recipe(name: str) -> Recipe:
    """Recipe by name.

    Raises
    ------
    TrainingError
        If there is no recipe of that name.
    """
    if name not in RECIPES:
        raise TrainingError(f"recipe {name!r} is not known: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
