"""Screen a range of candidates: generate, apply rules, drop the known, predict, keep the best.

Everything is array code on groups of candidates, so memory does not depend on their number. What
the candidates are, which rules they must pass and how a composition becomes a network's inputs is
handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irnet_core.schema import (
    DOMAIN_PERCENTILE,
    HULL_DISTANCE,
    IS_KNOWN,
    OXIDATION_STATES,
    P_STABLE,
    PRICE,
    RULE_BRANCH,
    SECOND_STATES,
)
from irnet_core.screening.candidates import AMOUNTS, NUMBERS, Family
from irnet_core.screening.element_limits import composition_price
from irnet_core.screening.estimates import Estimate
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.objectives import Aims
from irnet_core.screening.phases import system_keys
from irnet_core.screening.ranking import GROUP, TopK
from irnet_core.screening.rules import Rules
from irnet_core.screening.stability import Stability

CHUNK = 16_384  # candidates generated at a time; their inputs, 17 MB, still fit into a cache
BATCH = 8_192  # candidates that reach the network at a time, at least

COST = "cost_"  # + position: cost of each objective, for the Pareto fronts


class Model(Protocol):
    """What the engine asks of a trained model."""

    def __call__(
        self, numbers: Tensor, amounts: Tensor, inputs: dict[tuple[str, ...], Tensor]
    ) -> Predicted:
        """Predict for candidates.

        Parameters
        ----------
        numbers, amounts : torch.Tensor of uint8, shape (n, k)
            Atomic numbers, zeros for padding, and atoms of each.
        inputs : dict of tuple of str to torch.Tensor
            Inputs that other models of the same blocks of features have computed; filled in.
        """
        ...


class Predicted(NamedTuple):
    """A property of n candidates, and how far they are from what the model was trained on.

    Attributes
    ----------
    estimate : Estimate
    domain_percentile : torch.Tensor of float, shape (n,), or None
    """

    estimate: Estimate
    domain_percentile: Tensor | None


@dataclass(frozen=True, eq=False)
class Batch:
    """Candidates on their way through the funnel; all arrays have n rows."""

    index: NDArray[np.int64]
    numbers: NDArray[np.uint8]
    amounts: NDArray[np.uint8]
    branch: NDArray[np.uint8]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: NDArray[np.intp]) -> Batch:
        """Some of the rows."""
        return Batch(
            self.index[rows],
            self.numbers[rows],
            self.amounts[rows],
            self.branch[rows],
            self.known[rows],
        )

    @classmethod
    def together(cls, parts: Sequence[Batch]) -> Batch:
        """The rows of some batches."""
        return cls(
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.amounts for part in parts]),
            np.concatenate([part.branch for part in parts]),
            np.concatenate([part.known for part in parts]),
        )


@dataclass(frozen=True)
class Screen:
    """A screen to be run range by range.

    Attributes
    ----------
    candidates : Family
    rules : Rules
    models : mapping of str to Model
        By the property that they predict.
    aims : Aims
    top : int
        Candidates to keep.
    known : KnownCompositions, optional
        Known compositions, dropped unless `keep_known`, else flagged.
    keep_known : bool
    stability : Stability, optional
        Holds one of the properties, a formation energy, against the hulls of known phases.
    most_per_system : int, optional
        Candidates of one chemical system to keep at most.
    most_percentile : float, optional
        Candidates further from the training data are dropped.
    device : torch.device
    """

    candidates: Family
    rules: Rules
    models: Mapping[str, Model]
    aims: Aims
    top: int
    known: KnownCompositions | None = None
    keep_known: bool = False
    stability: Stability | None = None
    most_per_system: int | None = None
    most_percentile: float | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def ranking(self) -> TopK:
        """An empty ranking."""
        return TopK(self.top, self.most_per_system)

    def run(
        self, start: int, stop: int, report: Callable[[int, int], None] | None = None
    ) -> tuple[TopK, Counter[str]]:
        """Screen candidates ``start`` to ``stop - 1``.

        Parameters
        ----------
        start, stop : int
            Range of candidate indices. Hulls that hold the other candidates' predictions, and a
            limit per chemical system, want it to hold whole chemical systems.
        report : callable, optional
            Called with the numbers of candidates done and predicted so far.

        Returns
        -------
        best : TopK
        funnel : Counter
            How many candidates were left after each step, in order.
        """
        best, funnel = self.ranking(), Counter[str]()
        for batch, done in self._batches(start, stop, funnel):
            if len(batch):
                self._judge(batch, best, funnel)
            if report is not None:
                report(done, funnel["predicted"])
        return best, funnel

    # the filters -------------------------------------------------------------------------

    def _batches(self, start: int, stop: int, funnel: Counter[str]) -> Iterator[tuple[Batch, int]]:
        """Survivors of the filters, gathered so that the network sees full batches."""
        waiting: list[Batch] = []
        first = start
        while first < stop:
            last = min(whole_systems(self.candidates, first + CHUNK), stop)
            waiting.append(self._survivors(first, last, funnel))
            if sum(map(len, waiting)) >= BATCH or last == stop:
                yield Batch.together(waiting), last - start
                waiting = []
            first = last

    def _survivors(self, first: int, last: int, funnel: Counter[str]) -> Batch:
        """Candidates that pass the rules and are new."""
        numbers, amounts = self.candidates.take(first, last)
        funnel["generated"] += len(numbers)
        verdicts = self.rules.apply(numbers, amounts, with_states=False)
        for name, count in verdicts.survivors.items():  # limits first, the rule set last
            funnel["after_rules" if name == self.rules.name else f"after_{name}"] += count
        rows = np.flatnonzero(verdicts.passes)
        known = np.zeros(len(numbers), bool)
        if self.known is not None:
            known[rows] = self.known.contains(numbers[rows], amounts[rows])
            funnel["known"] += int(known.sum())
            if not self.keep_known:
                rows = rows[~known[rows]]
        funnel["after_known"] += len(rows)
        index = np.arange(first, last)
        return Batch(index, numbers, amounts, verdicts.branch, known).take(rows)

    # what is predicted -------------------------------------------------------------------

    def _judge(self, batch: Batch, best: TopK, funnel: Counter[str]) -> None:
        """Predict a batch and offer it to the ranking."""
        values, percentile = self._predicted(batch)
        funnel["predicted"] += len(batch)
        held = None
        if self.stability is not None:
            energy = values[self.stability.energy]
            held = self.stability.of(batch.numbers, batch.amounts, batch.index, energy)
            values[HULL_DISTANCE.name] = held.above
        costs = self.aims.costs(values)
        score = costs.sum(1)
        usable = torch.isfinite(score)
        funnel["not_finite"] += len(score) - int(usable.sum())
        if (allowed := self.aims.allowed(values)) is not None:
            usable &= allowed
        funnel["after_constraints"] += int(usable.sum())
        if self.most_percentile is not None and percentile is not None:
            usable &= percentile <= self.most_percentile
        funnel["after_domain"] += int(usable.sum())
        scores = torch.where(usable, score, torch.nan).cpu().numpy()
        rows = best.hopeful(scores)
        if not len(rows):
            return
        columns = {COST + str(i): cost for i, cost in enumerate(costs.T)}
        for name, value in values.items():
            columns |= value.columns(name)
        if percentile is not None:
            columns[DOMAIN_PERCENTILE.name] = percentile
        if held is not None and (stable := held.p_stable) is not None:
            columns[P_STABLE.name] = stable
        at = torch.from_numpy(rows).to(self.device)
        kept = {name: column[at].cpu().numpy() for name, column in columns.items()}
        if held is not None:
            kept |= held.columns(rows)
        batch = batch.take(rows)
        best.push(scores[rows], batch.index, **kept, **self._described(batch))

    def _predicted(self, batch: Batch) -> tuple[dict[str, Estimate], Tensor | None]:
        """What the models say of each property, and how far candidates are from their data."""
        numbers, amounts = self._tensor(batch.numbers), self._tensor(batch.amounts)
        shared: dict[tuple[str, ...], Tensor] = {}
        values: dict[str, Estimate] = {}
        percentile: Tensor | None = None
        for name, model in self.models.items():
            values[name], distance = model(numbers, amounts, shared)
            if distance is not None:  # of several models, the one that knows least
                percentile = distance if percentile is None else torch.maximum(percentile, distance)
        return values, percentile

    def _described(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Columns of a ranking that need no prediction."""
        columns: dict[str, NDArray[Any]] = {
            NUMBERS: batch.numbers,
            AMOUNTS: batch.amounts,
            RULE_BRANCH.name: batch.branch,
            IS_KNOWN.name: batch.known,
        }
        if self.rules.charged:
            verdicts = self.rules.apply(batch.numbers, batch.amounts)
            columns[OXIDATION_STATES.name] = verdicts.states
            columns[SECOND_STATES.name] = verdicts.second_states
        if self.rules.facts is not None:
            columns[PRICE.name] = composition_price(batch.numbers, batch.amounts, self.rules.facts)
        if self.most_per_system is not None:
            columns[GROUP] = system_keys(batch.numbers)
        return columns

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def whole_systems(candidates: Family, stop: int) -> int:
    """The first index from `stop` on at which another chemical system begins, or the end."""
    total = len(candidates)
    step = 256
    while stop < total:
        numbers, _ = candidates.take(stop - 1, min(stop + step, total))
        other = (numbers[1:] != numbers[0]).any(1)
        if other.any():
            return stop + int(np.argmax(other))
        stop += step
    return total
