"""Functions of rows that hang, crash or eat memory, for processes that start anew."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from featurizers.rows import structure_rows
from infra.isolation import Isolated
from irnet_core.errors import IRNetError

MURDEROUS = 27
"""Cobalt: structures of it alone end the process that works on them."""


def work(rows: list[object]) -> list[object]:
    """The rows themselves, unless one is an order."""
    for row in rows:
        if row == "sleep":
            time.sleep(1000)
        elif row == "spin":
            while True:
                pass
        elif row == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif row == "exit":
            os._exit(3)
        elif row == "eat":
            bytearray(1 << 40)
        elif row == "bug":
            raise KeyError("bug")
        elif isinstance(row, Path) and not row.exists():  # dies the first time
            row.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        elif row == "wait":
            Path(os.environ["ISOLATED_PID"]).write_text(str(os.getpid()))
            time.sleep(1000)
    return rows


def slow_start(rows: list[object]) -> list[object]:
    """The rows themselves, after a second of what a new process has to load."""
    if not _LOADED:
        time.sleep(1)
        _LOADED.append(True)
    return rows


_LOADED: list[bool] = []


def isolate(queue: Any) -> None:
    """Isolate rows in this process, and put the error into a queue."""
    try:
        Isolated(work, seconds=1, memory=2**30)
    except IRNetError as error:
        queue.put(str(error))


def dying_rows(structures: list[Any], missing: str) -> list[Any]:
    """Rows of structures, but for the one that ends the process."""
    if any(list(numbers) == [MURDEROUS] for _, numbers, _ in structures):
        os.kill(os.getpid(), signal.SIGKILL)
    return structure_rows(structures, missing)
