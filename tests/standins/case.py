"""What the fault matrix needs to know of a source: how it is stood in for, and what can go wrong.

Each ``tests/standins/<source>.py`` ends in ``CASES``, a tuple of these: one for each way that a
database is pulled by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.settings import Settings
from infra.sources.base import Database
from standins.base import FAULTS, StandIn

#: Faults that a stand-in has to commit itself, since they lie in what the server says.
QUIRKS = (
    "db fail 200",  # AFLOW's text with status 200
    "truncated zip",  # the file on the server is cut, or damaged, while its headers are fine
    "duplicate rows",  # rows that come again on other pages
    "changing order",  # another order for each request
    "negative counts",
    "endless next",  # always another page, or a `next` link, also past the end
    "short page",  # fewer rows than asked for, though there are more
    "version change",  # the server gets another version while it is asked
    "bad key",  # missing or expired
)
DISK_FULL = "disk full"
ALL_FAULTS = (*FAULTS, *QUIRKS, DISK_FULL)


@dataclass(frozen=True)
class Case:
    """A source, and how to disturb it.

    Attributes
    ----------
    name : str
        Of the source, ``oqmd``, and of the way if there are several, ``oqmd-optimade``.
    stand_in : callable
        Makes a stand-in, not yet started, with some hundreds of rows on several pages in two units
        or more (where the protocol has such), the same rows each time.
    database : callable
        Makes the database from the stand-in's URL, an empty folder for what a client caches, and
        settings.
    quirks : mapping
        By fault of :data:`QUIRKS`: a function of the stand-in, and whether the fault is to last
        (True) or to happen once (False); it arms the fault before the pull begins. Faults of
        :data:`standins.base.FAULTS` are ordered by the matrix itself, a full disk is made by it.
    cannot : mapping
        Why this protocol cannot have a fault, for all that are not in ``quirks``.
    environment : callable
        Environment variables that a real client needs, from the stand-in's URL.
    slow_s : float
        How long a server must be silent for a time-out, under a setting of one second.
    """

    name: str
    stand_in: Callable[[], StandIn]
    database: Callable[[str, Path, Settings], Database]
    quirks: Mapping[str, Callable[[Any, bool], None]]
    cannot: Mapping[str, str] = field(default_factory=dict)
    environment: Callable[[str], dict[str, str]] = lambda url: {}
    slow_s: float = 1.6

    def __post_init__(self) -> None:
        """Make sure that no fault is forgotten."""
        known = {*self.quirks, *self.cannot}
        if missing := [fault for fault in QUIRKS if fault not in known]:
            raise ValueError(f"{self.name} says nothing of {missing}")
        if unknown := [fault for fault in known if fault not in ALL_FAULTS]:
            raise ValueError(f"{self.name} speaks of {unknown}")
