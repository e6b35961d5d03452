"""Progress for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect import get_run_logger
from prefect.context import FlowRunContext
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False, markup=False, emoji=False)
SECONDS_BETWEEN_LINES = 5.0

#: Called with the work done so far and a few words about it.
Update = Callable[[float, str], None]


def say(text: str) -> None:
    """One line to the log of the Prefect run, if there is one, and to people who watch."""
    recorded = FlowRunContext.get() is not None
    if recorded:
        get_run_logger().info(text)
    if not recorded or sys.stderr.isatty():
        console.print(text, soft_wrap=True)


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

    def update(done: float, note: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            left = (now - begun) * (total - done) / done if done else float("nan")
            say(f"{what}: {done:,.0f} of {total:,.0f}, {left:,.0f} s left  {note}")

    yield update
    say(f"{what}: done in {time.monotonic() - begun:.1f} s")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )
