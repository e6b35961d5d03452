"""All rows of a unit from a server whose pages cannot be trusted.

Servers sort rows anew for each page, repeat pages, shorten them, count wrongly, fail on single
rows, and name a next page for ever. So pages are stepped through by counters of our own, rows are
told apart by their key, and the pages are gone through again until the rows are as many as the
server itself counts. Pure logic: it sees the server only through ``fetch`` and the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from infra.pull.http import Unanswered, attempts_at_most
from infra.pull.protocol import Page, UnitCounts
from irnet_core.errors import SourceError

Row = dict[str, Any]

MOST_ROWS = 2_000_000  # of a unit, which is held in memory
_PASSES = 4
_GROWTH = 4  # of pages from pass to pass: fewer pages, fewer chances for rows to slip through
_MOST_ODD = 3  # pages in a row that are empty, repeated or without a count before a pass ends
_SPLIT_ATTEMPTS = 2  # requests for each part of a page that has used up its attempts as a whole
_MOST_SPLIT_S = 1800.0  # spent on such pages, per unit
_LEAST_CAP = 20  # a page shorter than this part of what was asked is no upper limit of the server


def collect(
    fetch: Callable[[int, int], Page],
    key: Callable[[Row], str],
    *,
    where: str,
    page_size: int,
    most_page_size: int,
    counts: UnitCounts,
    most_skipped: int,
    most_rows: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Row]:
    """All rows of a unit, each once, sorted by key.

    A page that stays unanswered while the server answers others is taken apart, down to single
    rows; those that still cannot be had are recorded in ``counts.skipped``.

    Parameters
    ----------
    fetch : callable
        Gives the page at an offset, of so many rows. The offset is always a multiple of the number,
        so that servers that count pages can be asked as well.
    key : callable
        Unique key of a row.
    where : str
        Name of source and unit, for messages.
    page_size, most_page_size : int
        Rows to ask for at first, and at most in later passes. Small prime factors let a page be
        taken apart evenly.
    counts : UnitCounts
        Filled in.
    most_skipped : int
        Rows that may be skipped.
    most_rows : int, optional
        Stop after so many.
    clock : callable
        Seconds, to limit the time spent on pages that fail.

    Raises
    ------
    Unanswered
        If the server does not answer at all any more.
    SourceError
        If rows and the server's own count do not agree in the end, there is no such count, or too
        many rows cannot be had.

    Examples
    --------
    >>> rows = [{"id": f"{n}"} for n in range(5)]
    >>> counts = UnitCounts()
    >>> found = collect(
    ...     lambda offset, limit: Page(rows[offset : offset + limit], len(rows)),
    ...     lambda row: row["id"],
    ...     where="example", page_size=2, most_page_size=2, counts=counts, most_skipped=0,
    ... )
    >>> found == rows, counts.total, counts.passes
    (True, 5, 1)
    """
    size = page_size if most_rows is None else max(min(page_size, most_rows), 1)
    most = max(size, most_page_size if most_rows is None else min(most_page_size, most_rows))
    unit = _Unit(fetch, key, where, size, most, counts, most_skipped, most_rows, clock)
    for _ in range(_PASSES):
        unit.go_through()
        if unit.complete():
            return unit.result()
        wrong = unit.shortfall()
        unit.grow()
    raise SourceError(wrong)


@dataclass
class _Unit:
    """The rows so far, and what is known of the server."""

    fetch: Callable[[int, int], Page]
    key: Callable[[Row], str]
    where: str
    size: int
    most_size: int
    counts: UnitCounts
    most_skipped: int
    most_rows: int | None
    clock: Callable[[], float]
    rows: dict[str, Row] = field(default_factory=dict)
    total: int | None = None
    moved: bool = False  # whether the count changed during this pass
    seen: set[str] = field(default_factory=set)  # keys in this pass
    skipped: list[dict[str, Any]] = field(default_factory=list)  # ranges in this pass
    good: int | None = None  # offset that the server answered for
    split_s: float = 0.0  # time spent on pages that failed

    # a pass ------------------------------------------------------------------------------
    def go_through(self) -> None:
        """Ask for every page once, and for odd ones twice."""
        self.counts.passes += 1
        self.moved, self.seen, self.skipped = False, set(), []
        offset = odd = pages = 0
        first_size = self.size
        before: list[str] = []
        while odd < _MOST_ODD and not self.at_end(offset):
            known = len(self.rows)
            try:
                keys, step = self.take(offset, before)
            except Unanswered as error:
                step = self.rescue(offset, error)
            else:
                # under a limit no count is needed, as long as there are new rows
                enough = self.most_rows is not None and len(self.rows) > known
                is_odd = not keys or keys == before or (self.total is None and not enough)
                odd, before = odd + 1 if is_odd else 0, keys
            offset, pages = offset + step, pages + 1
        if self.total is None and not self.complete():
            raise SourceError(
                f"{self.where}: the server does not say how many rows there are, so nobody could "
                "tell whether all have come; narrow the filter or try another way of access"
            )
        if self.most_rows is None and self.total:
            if pages == 1 and len(self.rows) == self.total:
                self.look_behind(self.total, self.total)
            elif self.total == first_size:
                self.look_behind(offset, self.size)

    def at_end(self, offset: int) -> bool:
        """Whether this pass need go no further."""
        return self.complete() or (self.total is not None and offset >= self.total)

    def take(self, offset: int, before: list[str]) -> tuple[list[str], int]:
        """Take in one page; returns its keys and the way to the next."""
        begun, size = self.clock(), self.size
        try:
            page = self.ask(offset, size)
        except Unanswered:
            self.split_s += self.clock() - begun
            raise
        keys = self.add(offset, page.rows)
        short = len(page.rows) < self.expected(offset)
        if short or self.total is None or (keys and keys == before):
            again = self.ask(offset, size).rows
            repeated = self.add(offset, again, again=True)
            if keys == before or not keys:
                keys = repeated
            if offset == 0 and len(again) == len(page.rows):
                self.learn_limit(len(again))
                size = self.size
        return keys, size

    def look_behind(self, offset: int, size: int) -> None:
        """See whether there are rows behind the last: some servers give a page's size as count.

        That may be the size asked for, or that of the page that came, if the server caps it. What
        it counts where there is nothing does not matter.
        """
        try:
            with attempts_at_most(_SPLIT_ATTEMPTS):
                self.add(offset, self.fetch(offset, size).rows)
        except SourceError:  # there is no such page, as it should be
            return

    def expected(self, offset: int) -> int:
        """Rows that a page should have."""
        return 0 if self.total is None else min(self.size, max(self.total - offset, 0))

    def learn_limit(self, length: int) -> None:
        """The first page was as short twice: take it that the server gives no more at once."""
        if length < self.expected(0) and length * _LEAST_CAP >= self.size:
            self.size = self.most_size = length

    def ask(self, offset: int, size: int) -> Page:
        """A page from the server; its count, if it is one, is noted."""
        page = self.fetch(offset, size)
        if page.rows or self.good is None:
            self.good = offset
        total = page.total
        if total is not None and total >= 0:
            if total > MOST_ROWS and (self.most_rows or total) > MOST_ROWS:
                raise SourceError(
                    f"{self.where}: the server counts {total:,} rows, more than the {MOST_ROWS:,} "
                    "that are pulled in one part; narrow the filter"
                )
            self.moved |= self.total is not None and total != self.total
            self.total = total
        return page

    def add(self, offset: int, rows: list[Row], again: bool = False) -> list[str]:
        """Keep rows by their key, and count duplicates unless they were asked for again."""
        keys = [self.key_of(row, offset) for row in rows]
        known = len(self.seen)
        self.seen.update(keys)
        if not again:
            self.counts.duplicates += len(keys) - (len(self.seen) - known)
        for key, row in zip(keys, rows, strict=True):
            old = self.rows.setdefault(key, row)
            if old is not row and old != row:  # whichever came first, the same one stays
                self.rows[key] = min(old, row, key=_canonical)
        return keys

    def key_of(self, row: Row, offset: int) -> str:
        """Key of a row."""
        try:
            key = self.key(row)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError):
            key = ""
        if not key:
            raise SourceError(
                f"{self.where}: a row after row {offset} has no identifier, so that rows cannot be "
                "told apart; the server has changed, report it"
            )
        return key

    # the end -----------------------------------------------------------------------------
    def complete(self) -> bool:
        """Whether the rows are as many as the server says, but for those it could not give."""
        if self.most_rows is not None and len(self.rows) >= self.most_rows:
            return True
        if self.total is None or self.moved:
            return False
        missing = self.total - len(self.rows)
        return missing in (0, self.n_skipped())

    def n_skipped(self) -> int:
        """Rows that could not be had in this pass."""
        return sum(part["count"] for part in self.skipped)

    def result(self) -> list[Row]:
        """The rows, sorted by key."""
        keys = list(self.rows)[: self.most_rows]
        self.counts.total = self.total
        enough = len(keys) == self.total or len(keys) == self.most_rows
        self.counts.skipped = [] if enough else self.skipped
        return [self.rows[key] for key in sorted(keys)]

    def grow(self) -> None:
        """Prepare another pass: larger pages, and from scratch if the data seems to change."""
        self.size = min(self.size * _GROWTH, self.most_size)
        if self.moved or (self.total is not None and len(self.rows) > self.total):
            self.rows.clear()
            self.total = None  # or an old count of 0 would be thought fulfilled

    def shortfall(self) -> str:
        """What is wrong after the last pass."""
        skipped = f" and {self.n_skipped():,} that it cannot give" if self.skipped else ""
        if self.moved:
            return (
                f"{self.where}: the server's count of rows changes from page to page, the last is "
                f"{self.total:,}; try again later"
            )
        return (
            f"{self.where}: the server counts {self.total:,} rows, but in {_PASSES} passes it gave "
            f"{len(self.rows):,} different ones{skipped}; try again later or narrow the filter"
        )

    # pages that fail ---------------------------------------------------------------------
    def rescue(self, offset: int, error: Unanswered) -> int:
        """Get what can be had of a page that stays unanswered; returns the way to the next."""
        size, skipped, begun = self.size, self.n_skipped(), self.clock()
        if not self.alive(offset + size):
            raise error
        with attempts_at_most(_SPLIT_ATTEMPTS):
            self.add(offset, self.split(offset, size, error, begun))
        self.split_s += self.clock() - begun
        if self.n_skipped() == skipped and size > 1:  # no row is bad: the page was too large
            self.size = self.most_size = _part(size)
        return size

    def split(self, offset: int, size: int, error: Unanswered, begun: float) -> list[Row]:
        """Rows of a range, asked for in parts."""
        if self.split_s + self.clock() - begun > _MOST_SPLIT_S:
            raise SourceError(
                f"{self.where}: rows {offset:,} and after fail ({error.reason}), and half an hour "
                "has gone into telling bad rows from good ones; try again later"
            )
        if size == 1:
            return self.last_try(offset, error)
        rows: list[Row] = []
        part = _part(size)
        for start in range(offset, offset + size, part):
            if self.total is not None and start >= self.total:
                break
            try:
                rows += self.ask(start, part).rows
            except Unanswered as failure:
                rows += self.split(start, part, failure, begun)
        return rows

    def last_try(self, offset: int, error: Unanswered) -> list[Row]:
        """One row once more, if the server answers otherwise; else it is skipped."""
        if not self.alive(offset + 1):
            raise error
        try:
            return self.ask(offset, 1).rows
        except Unanswered as failure:
            self.skip(offset, failure.reason)
            return []

    def skip(self, offset: int, reason: str) -> None:
        """Record a row that cannot be had."""
        nothing: dict[str, Any] = {"offset": -1, "count": 0, "reason": ""}
        last = self.skipped[-1] if self.skipped else nothing
        if last["offset"] + last["count"] == offset and last["reason"] == reason:
            last["count"] += 1
        else:
            self.skipped.append({"offset": offset, "count": 1, "reason": reason})
        if self.n_skipped() > self.most_skipped:
            raise SourceError(
                f"{self.where}: more than {self.most_skipped} rows cannot be had ({reason}); try "
                "again later, or raise IRNET_MOST_SKIPPED_ROWS to do without them"
            )

    def alive(self, other: int) -> bool:
        """Whether the server, asked with full patience, answers for what it should have."""
        with attempts_at_most(None):
            for offset in [other, 0, 1] if self.good is None else [self.good]:
                try:
                    self.ask(offset, 1)
                except Unanswered:
                    continue
                except SourceError:  # refused, so there is a server
                    return True
                return True
        return False


def _part(size: int) -> int:
    """Size of the parts that a page is cut into: as large as possible, and dividing it evenly."""
    return next(size // n for n in range(2, size + 1) if size % n == 0)


def _canonical(row: Row) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS, default=repr)
