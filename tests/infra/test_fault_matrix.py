"""The cells of the fault matrix, as far as time allows; ``make fault-matrix`` runs all.

Those of the plain database are quick enough for every day. The slow ones are those of each database
under passing faults, and under a server of which nothing can be had.
"""

import fault_matrix
import pytest
from fault_matrix import COMPLETE, PASSING, REFUSED, WRONG, Outcome, cases, cells
from standins.base import FAULTS
from standins.case import ALL_FAULTS, DISK_FULL, Case
from standins.plain import PlainDatabase, PlainStandIn


def _is_quick(cell):
    return cell.case.name == "plain" and cell.fault != "timeout"


def _is_run(cell):
    """Not the tables on S3, each of whose cells starts the client anew."""
    return cell.case.name != "mp-delta" and (
        cell.how == PASSING or cell.fault in ("500", "bad key")
    )


ALL = [
    pytest.param(cell, id=str(cell), marks=[] if _is_quick(cell) else [pytest.mark.slow])
    for case in cases().values()
    for cell in cells(case)
    if _is_quick(cell) or _is_run(cell)
]


@pytest.mark.parametrize("cell", ALL)
def test_complete_and_equal_or_an_error_and_nothing(cell):
    outcome = fault_matrix.run(cell)
    assert outcome.kind != WRONG, outcome.text
    if cell.how == PASSING and cell.fault in FAULTS:
        assert outcome.kind == COMPLETE
    if cell.fault == DISK_FULL:
        assert outcome.kind == REFUSED


def test_every_source_is_in_it():
    names = {name.partition("-")[0] for name in cases()}
    assert {"plain", "oqmd", "aflow", "mp", "jarvis", "optimade", "matminer"} <= names


def test_nothing_is_forgotten():
    for case in cases().values():
        there = {cell.fault for cell in cells(case)}
        assert there | set(case.cannot) == set(ALL_FAULTS)
    with pytest.raises(ValueError, match="says nothing of"):
        Case("x", PlainStandIn, lambda *_: PlainDatabase(""), {})


class Forgetful(PlainDatabase):
    """Loses a row where the server is in trouble."""

    def tables(self, unit, http, most_rows, counts):
        for table in super().tables(unit, http, most_rows, counts):
            lost = bool(http.retries)
            counts.total -= lost
            yield table.slice(int(lost))


def test_a_wrong_cell_is_found(monkeypatch):
    forgetful = Case(
        "forgetful",
        PlainStandIn,
        lambda url, folder, settings: Forgetful(url, settings=settings),
        cases()["plain"].quirks,
        cases()["plain"].cannot,
    )
    monkeypatch.setattr(fault_matrix, "cases", lambda: {"forgetful": forgetful})
    cell = fault_matrix.Cell(forgetful, "503", PASSING)
    assert fault_matrix.run(cell).kind == WRONG
    text = fault_matrix.markdown({("forgetful", "503", PASSING): Outcome(WRONG)}, ["forgetful"])
    assert "**WRONG**" in text
