"""Predicted binaries in hulls: which of them join."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featurizers.filled import binaries, filled_phases
from irnet_core.screening.engine import Predicted
from irnet_core.screening.estimates import Estimate
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.phases import Phases

LITHIUM, OXYGEN, FLUORINE = 3, 8, 9
FAMILY = binaries((LITHIUM, OXYGEN, FLUORINE), 4)
FIRST = 100


def model(energies, upper=0.1):
    """Predicts the energies of some compositions, 1 eV/atom for all others."""

    def predict(numbers, amounts, inputs):
        rows = [*zip(numbers.tolist(), amounts.tolist(), strict=True)]
        mean = [energies.get(str((tuple(z), tuple(a))), 1.0) for z, a in rows]
        mean = torch.tensor(mean, dtype=torch.float64)
        return Predicted(Estimate(mean, upper=None if upper is None else mean + upper), None)

    return predict


def with_binaries(energies, upper=0.1):
    numbers, amounts = (
        np.array([[LITHIUM, OXYGEN], [LITHIUM, FLUORINE]]),
        np.array([[2, 1], [1, 2]]),
    )
    known = Phases.lowest(numbers, amounts, [-2.0, -1.0])
    compositions = KnownCompositions(numbers, amounts)
    return filled_phases(known, compositions, FIRST, FAMILY, model(energies, upper))


def phase(found, elements):
    rows = (found.numbers[:, :2] == elements).all(1)
    return found.fractions[rows, 0].round(4).tolist(), found.energies[rows], found.rows[rows]


def test_binaries_surely_below_the_hull_join():
    found = with_binaries({"((3, 9), (1, 1))": -3.0, "((8, 9), (1, 1))": -0.05})
    fractions, energies, rows = phase(found, [LITHIUM, FLUORINE])
    assert fractions == [0.3333, 0.5]
    assert energies == pytest.approx([-1.0, -2.9])  # the upper end of the interval
    numbers, amounts = FAMILY.take(0, len(FAMILY))
    index = int(np.argmax((numbers == [LITHIUM, FLUORINE]).all(1) & (amounts == 1).all(1)))
    assert rows.tolist() == [1, FIRST + index]
    assert phase(found, [OXYGEN, FLUORINE])[0] == []  # -0.05 + 0.1 is above the elements
    assert len(found) == 3 + 118  # Li2O, LiF2 and LiF; elements at 0


def test_without_intervals_the_mean_counts():
    assert phase(with_binaries({"((8, 9), (1, 1))": -0.05}, upper=None), [OXYGEN, FLUORINE])[1] == [
        -0.05
    ]


def test_a_known_composition_keeps_its_energy():
    found = with_binaries({"((3, 8), (2, 1))": -9.0, "((3, 9), (1, 2))": float("nan")})
    assert phase(found, [LITHIUM, OXYGEN])[1] == [-2.0]
    assert phase(found, [LITHIUM, FLUORINE])[1] == [-1.0]


def test_nothing_to_fill():
    assert len(with_binaries({})) == 2 + 118
