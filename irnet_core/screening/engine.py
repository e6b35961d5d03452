"""Screen a range of candidates: generate, apply rules, drop the known, predict, keep the best.

Everything is array code on chunks, so memory does not depend on the number of candidates. How a
composition becomes a network's inputs is handed in as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from irnet_core.inference import Predictor
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.ranking import TopK
from irnet_core.screening.rules import ElementRules, neutral_assignments

CHUNK = 65_536  # candidates generated at a time
BATCH = 16_384  # candidates that reach the network at a time

#: Rule sets by name: which of the rules a candidate must pass.
RULE_SETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "neutral": ("charge_neutrality",),
    "strict": ("charge_neutrality", "electronegativity"),
}

Encode = Callable[[Any, Any], Any]


@dataclass
class Funnel:
    """How many candidates were left after each step; ``predicted`` is what the network saw."""

    generated: int = 0
    after_rules: int = 0
    after_known: int = 0
    predicted: int = 0
    not_finite: int = 0

    def __add__(self, other: Funnel) -> Funnel:
        mine, others = asdict(self), asdict(other)
        return Funnel(**{name: mine[name] + others[name] for name in mine})


@dataclass(frozen=True)
class Screen:
    """A screen to be run range by range.

    Attributes
    ----------
    candidates : Enumeration
    rules : tuple of str
        One of :data:`RULE_SETS`.
    elements : ElementRules
        What the rules know of the elements.
    known : KnownCompositions or None
        Compositions to leave out.
    encode : callable
        Maps numbers and amounts (n, arity) to inputs (n, n_inputs).
    predictor : Predictor
    top : int
        Candidates to keep.
    descending : bool
        Whether large predictions are best.
    """

    candidates: Enumeration
    rules: tuple[str, ...]
    elements: ElementRules
    known: KnownCompositions | None
    encode: Encode
    predictor: Predictor
    top: int
    descending: bool = False

    def run(
        self, start: int, stop: int, report: Callable[[int, int], None] | None = None
    ) -> tuple[TopK, Funnel]:
        """Screen candidates ``start`` to ``stop - 1``.

        Parameters
        ----------
        start, stop : int
            Range of candidate indices.
        report : callable, optional
            Called with the numbers of candidates done and predicted so far.

        Returns
        -------
        best : TopK
            With the columns ``numbers``, ``amounts`` and ``oxidation_states``, (n, arity) each.
        funnel : Funnel
        """
        best, funnel = TopK(self.top, self.descending), Funnel()
        for index, numbers, amounts, states in self._batches(start, stop, funnel, report):
            values = self.predictor(self.encode(numbers, amounts)).cpu().numpy()
            funnel.predicted += len(values)
            best.push(values, index, numbers=numbers, amounts=amounts, oxidation_states=states)
        funnel.not_finite = best.n_nan
        return best, funnel

    def _batches(
        self, start: int, stop: int, funnel: Funnel, report: Callable[[int, int], None] | None
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Survivors of the filters, gathered so that the network sees full batches."""
        waiting: list[tuple[np.ndarray, ...]] = []
        count = 0
        for first in range(start, stop, CHUNK):
            last = min(first + CHUNK, stop)
            survivors = self._survivors(first, last, funnel)
            waiting.append(survivors)
            count += len(survivors[0])
            if count >= BATCH or last == stop:
                columns = [np.concatenate(column) for column in zip(*waiting, strict=True)]
                for i in range(0, count, BATCH):
                    yield tuple(column[i : i + BATCH] for column in columns)
                waiting, count = [], 0
            if report is not None:
                report(last - start, funnel.predicted)

    def _survivors(self, first: int, last: int, funnel: Funnel) -> tuple[np.ndarray, ...]:
        """Index, numbers, amounts and oxidation states of candidates that pass the filters."""
        numbers, amounts = self.candidates.take(first, last)
        states = np.zeros(numbers.shape, np.int8)
        rows: tuple[np.ndarray, ...] = (np.arange(first, last), numbers, amounts, states)
        funnel.generated += len(numbers)
        if self.rules:
            passes, states = neutral_assignments(
                numbers, amounts, self.elements, "electronegativity" in self.rules
            )
            rows = _where(passes, (*rows[:3], states))
        funnel.after_rules += len(rows[0])
        if self.known is not None:
            rows = _where(~self.known.contains(rows[1], rows[2]), rows)
        funnel.after_known += len(rows[0])
        return rows


def _where(mask: np.ndarray, rows: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    keep = np.flatnonzero(mask)
    return tuple(column[keep] for column in rows)
