from __future__ import annotations

from typing import Any

import pytest
import spglib

from infra.pull.space_groups import NUMBERS, space_groups
from infra.pull.values import Notes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_standard_symbols_are_those_of_spglib() -> None:
    settings = [spglib.get_spacegroup_type(hall) for hall in range(1, 531)]
    of_spglib = {s.international_short.replace("_", "").split(" ")[0]: s.number for s in settings}
    ours = {symbol: number for symbol, number in NUMBERS.items() if symbol in of_spglib}
    assert ours == {symbol: of_spglib[symbol] for symbol in ours}
    assert sorted({*ours.values()}) == list(range(1, 231))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("Fd-3m", 227),
        ("F d -3 m", 227),
        ("Fd-3m:2", 227),
        ("P2_1/c", 14),
        ("Abm2", 39),
        ("Aem2", 39),
        (225, 225),
        ("225", 225),
        (None, None),
        ("", None),
    ],
)
def test_symbols_and_numbers_are_known(value: Any, number: int | None) -> None:
    notes = Notes()
    assert space_groups(["P1", value], "sg", notes).to_pylist() == [1, number]
    assert notes.column(2).to_pylist() == [None, None]


@pytest.mark.parametrize("value", ["Q99", 0, 231, "231", "²", [], 1.5, True, "x" * 10**6, -1])
def test_others_are_null_with_a_note(value: Any) -> None:
    notes = Notes()
    assert space_groups([value, "P1", value], "sg", notes).to_pylist() == [None, 1, None]
    first, none, last = notes.column(3).to_pylist()
    assert first == last
    assert first.endswith("is no space group")
    assert len(first) < 80
    assert none is None
