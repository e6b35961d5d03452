"""Mixtures of many elements, beyond hulls; test_hulls.py compares them with facets."""

from __future__ import annotations

import numpy as np
import pytest

from featurizers.mixtures import lowest_mixtures
from irnet_core.errors import ScreenError
from irnet_core.screening.phases import Phases


def test_nine_elements_separate_into_their_binaries() -> None:
    z = np.arange(3, 12)
    binaries = np.stack([z[:8:2], z[1:8:2]], axis=1)
    phases = Phases.lowest(binaries, np.ones((4, 2)), [-1.0, -2.0, -3.0, -4.0])
    assert lowest_mixtures(phases, [z], [np.ones(9)]) == pytest.approx([-20 / 9])


def test_phases_can_be_left_out() -> None:
    known = Phases.lowest([[8, 12], [8, 12]], [[1, 1], [2, 1]], [-3.0, -2.4])
    place = int(np.flatnonzero(known.rows == 0)[0])
    rows = [[8, 12]] * 2, [[1, 1]] * 2
    assert lowest_mixtures(known, *rows, np.array([-1, place])) == pytest.approx([-3.0, -1.8])


def test_elements_that_nothing_is_known_of_are_named() -> None:
    known = Phases.lowest([[8, 12]], [[1, 1]], [-3.0], "refuse")
    with pytest.raises(ScreenError, match="no phase of the elements O, Mg"):
        lowest_mixtures(known, [[8, 12]], [[1, 1]])
