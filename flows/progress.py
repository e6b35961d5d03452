"""Progress for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect import get_run_logger
from prefect.context import FlowRunContext
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flows.output import err

SECONDS_BETWEEN_LINES = 5.0

#: Called with the work done so far and a few words about it.
Update = Callable[[float, str], None]


def say(text: str) -> None:
    """One line to the log of the Prefect run, if there is one, and to people who watch."""
    recorded = FlowRunContext.get() is not None
    if recorded:
        get_run_logger().info(text)
    if not recorded or sys.stderr.isatty():
        err.print(text, soft_wrap=True)


@contextmanager
def progress(what: str, total: float) -> Iterator[Update]:
    """Show the progress of one stage; yields the function to call with what is done so far."""
    if sys.stderr.isatty():
        with _bar() as bar:
            job = bar.add_task(what, total=total, note="")

            def move(done: float, note: str) -> None:
                bar.update(job, completed=done, note=note)

            yield move
        return
    begun = said = time.monotonic()
    first: tuple[float, float] | None = None  # what an earlier run has left behind takes no time

    def update(done: float, note: str) -> None:
        nonlocal said, first
        now = time.monotonic()
        since, before = first = first or (now, done)
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            more, left = done - before, ""
            if done < total:
                seconds = (now - since) * (total - done) / more if more else None
                left = f", {_duration(seconds) if seconds is not None else 'unknown time'} left"
            say(f"{what}: {int(done):,} of {total:,.0f}{left}  {note}")

    yield update
    say(f"{what}: done in {time.monotonic() - begun:.1f} s")


#: Called with the rows there are, about how many there will be, and a few words.
PullUpdate = Callable[[float, float, str], None]


@contextmanager
def pulling(what: str) -> Iterator[PullUpdate]:
    """Show the progress of a pull, whose total is known only on the way: rows, rate, time left.

    The rate is that of this run: rows that an earlier one left behind do not count.
    """
    begun = said = time.monotonic()
    first: float | None = None

    def rate(done: float) -> float:
        nonlocal begun, first
        now = time.monotonic()
        if first is None or done < first:  # begun anew, since the server's data have changed
            begun, first = now, done
        return (done - first) / (now - begun) if now > begun else 0.0

    if sys.stderr.isatty():
        with _bar(rows=True) as bar:
            job = bar.add_task(what, total=None, note="")

            def move(done: float, total: float, note: str) -> None:
                note = f"{rate(done):,.0f} rows/s, {note}"
                bar.update(job, completed=done, total=total or None, note=note)

            yield move
        return

    def update(done: float, total: float, note: str) -> None:
        nonlocal said
        speed, now = rate(done), time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            left = f"{_duration((total - done) / speed)} left" if speed else "time left unknown"
            of = f" of about {total:,.0f}" if total > done else ""
            say(f"{what}: {done:,.0f}{of} rows, {speed:,.0f} rows/s, {left}, {note}")

    yield update


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    Examples
    --------
    >>> _duration(59), _duration(3500), _duration(90_000)
    ('59 s', '58 min', '25.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _bar(rows: bool = False) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f} rows") if rows else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=err,  # the one of warnings, which then come above the bar
    )
