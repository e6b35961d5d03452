"""Predicted binaries in hulls: which of them join, and what screens make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flows.filled import MARK, binaries, filled_phases
from infra.query import RANKED
from infra.store import Store
from irnet_core.screening.engine import Predicted
from irnet_core.screening.estimates import Estimate
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.phases import Phases

pytestmark = pytest.mark.timeout(600)
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


def test_a_screen_with_filled_hulls(filled, cli):
    def ranked(*options):
        command = ("screen", "ternaries", "--model", "small", "--elements", "Li,Mg,O,F")
        result = cli(*command, "--max-atoms", 5, "--rules", "none", "--hull", *options)
        assert result.exit_code == 0, result.output
        return Store(filled).open("screens/latest").read_table(RANKED).to_pandas()

    plain, other = ranked().set_index("formula"), ranked("--fill-hulls").set_index("formula")
    assert set(plain.index) == set(other.index)
    both = plain.join(other, rsuffix="_filled")
    rise = both.energy_above_hull_filled - both.energy_above_hull
    assert (rise > -1e-9).all()  # hulls only go down
    marked = both.decomposition_filled.str.contains(MARK, regex=False)
    assert not both.decomposition.str.contains(MARK, regex=False).any()
    assert marked.any()
    assert (rise[~marked].abs() < 1e-9).all()


def test_families_that_are_not_filled(filled, fails):
    assert fails("screen", "binaries", "--model", "small", "--fill-hulls").startswith(
        "--fill-hulls fills the hulls of ternaries and quaternaries, not of binaries"
    )
    assert fails("screen", "ternaries", "--model", "small", "--fill-hulls", "--no-hull").startswith(
        "--fill-hulls wants hulls and --no-hull none"
    )


def test_a_table_of_elements_alone_is_filled(filled, cli, tmp_path):
    (tmp_path / "elements.csv").write_text("formula,formation_energy_ev_atom\nLi,0.0\nO,0.0\n")
    command = ("screen", "ternaries", "--model", "small", "--elements", "Li,Mg,O,F")
    options = ("--snapshot", tmp_path / "elements.csv", "--force", "--fill-hulls")
    result = cli(*command, "--max-atoms", 5, "--rules", "none", *options)
    assert result.exit_code == 0, result.output
