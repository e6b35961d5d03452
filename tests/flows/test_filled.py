"""Predicted binaries in hulls: what screens make of them."""

from __future__ import annotations

import pytest

from featurizers.filled import MARK
from infra.query import RANKED
from infra.store import Store

pytestmark = pytest.mark.timeout(600)


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
