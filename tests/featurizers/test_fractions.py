from __future__ import annotations

import numpy as np
import pytest

from featurizers.formula import parse_formulas
from featurizers.fractions import FRACTION_NAMES, FRACTION_SCHEMA, element_fractions


def test_names_and_schema() -> None:
    assert len(FRACTION_NAMES) == 112
    assert FRACTION_SCHEMA.name == "fractions"
    assert FRACTION_SCHEMA.columns == FRACTION_NAMES


def test_fractions() -> None:
    parsed = parse_formulas(["Fe2O3", "H", "Cn2H6"])
    x = element_fractions(parsed.numbers, parsed.amounts)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.sum(axis=1), 1, rtol=1e-6)
    assert (x > 0).sum(axis=1).tolist() == [2, 1, 2]
    assert x[2, FRACTION_NAMES.index("fraction Cn")] == 0.25
    assert x[0, FRACTION_NAMES.index("fraction Fe")] == np.float32(0.4)


def test_unusable_rows_are_nan() -> None:
    parsed = parse_formulas(["NaCl", "Xx", "OgF2", "NaCl"])
    x = element_fractions(parsed.numbers, parsed.amounts)
    assert np.isnan(x).all(axis=1).tolist() == [False, True, True, False]
    assert np.isnan(x).any(axis=1).tolist() == [False, True, True, False]
    assert element_fractions(np.zeros((0, 2), np.uint8), np.zeros((0, 2))).shape == (0, 112)


def test_torch_gives_what_numpy_gives() -> None:
    torch = pytest.importorskip("torch")
    parsed = parse_formulas(["Fe2O3", "H", "Cn2H6", "Og", "Xx", "YBa2Cu3O6.93"])
    ours = element_fractions(parsed.numbers, parsed.amounts)
    theirs = element_fractions(torch.tensor(parsed.numbers), torch.tensor(parsed.amounts))
    assert theirs.dtype == torch.float32
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-6, atol=1e-12)
