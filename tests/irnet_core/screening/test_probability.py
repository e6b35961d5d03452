"""Probabilities are the normal distribution's."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from irnet_core.errors import DataError
from irnet_core.screening.probability import probability_below


def test_normal_errors() -> None:
    distance = np.linspace(-0.3, 0.3, 13)
    found = probability_below(distance, 0.07, threshold=0.05)
    expected = [1 - NormalDist(0.05, 0.07).cdf(d) for d in distance]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_certainty_and_nothing_known() -> None:
    found = probability_below([-0.1, 0.0, 0.1, np.nan], [0.0, 0.0, 0.0, 0.1])
    np.testing.assert_array_equal(found, [1.0, 1.0, 0.0, np.nan])
    assert probability_below([np.nan], 0.0).isnan().all()


def test_negative_deviations_are_refused() -> None:
    with pytest.raises(DataError, match="standard deviation is negative"):
        probability_below([0.0], [-0.1])
