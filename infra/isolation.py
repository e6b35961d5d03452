"""Rows worked on in a process of its own, so that none of them can stop the others.

Native code that hangs, crashes or eats all memory cannot be interrupted from within. So a Dask task
hands chunks of rows to one child process (Pebble keeps it) and takes the time; a chunk that fails
is worked on again row by row, and the row at fault ends as a :class:`~featurizers.rows.Failure`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from types import TracebackType
from typing import Any

from dask.utils import format_bytes
from pebble import ProcessExpired, ProcessPool

from featurizers.rows import Failure
from irnet_core.errors import IRNetError

_ATTEMPTS = 2  # somebody else may have killed the process the first time


class Isolated:
    """A function of rows in a child process; use it in a ``with`` statement.

    Parameters
    ----------
    function : callable
        Takes a list of rows and returns a list as long; of a module that a new process can import.
        Each new process calls it without rows first, so that what it imports and reads then counts
        towards no row's time.
    seconds : float
        Longest time for one row.
    memory : int
        Most bytes of data that the child may hold.

    Raises
    ------
    IRNetError
        If this process may not have children, as Dask workers started with
        ``distributed.worker.daemon`` may not.

    Examples
    --------
    >>> with Isolated(sorted, seconds=10, memory=2**30) as isolated:
    ...     isolated.run([3, 1, 2])
    [1, 2, 3]
    """

    def __init__(
        self, function: Callable[[list[Any]], list[Any]], seconds: float, memory: int
    ) -> None:
        if multiprocessing.current_process().daemon:
            raise IRNetError(
                "this Dask worker may not start a process of its own: start the workers with "
                "DASK_DISTRIBUTED__WORKER__DAEMON=False"
            )
        self.function, self.seconds, self.memory = function, seconds, memory
        self._pool = ProcessPool(
            max_workers=1,
            context=multiprocessing.get_context("spawn"),
            initializer=_prepare,
            initargs=(os.getpid(), memory, function),
        )

    def run(self, rows: Sequence[Any]) -> list[Any]:
        """Results of some rows, in their order; a :class:`Failure` for each row without one.

        The rows together must take far less than the limit for one row, else they are worked on
        one by one.
        """
        results = self._attempt(list(rows))
        if not isinstance(results, Failure):
            return results
        return [result for row in rows for result in self._alone(row)]

    def _alone(self, row: Any) -> list[Any]:
        for _ in range(_ATTEMPTS):
            results = self._attempt([row])
            if not isinstance(results, Failure):
                return results
            if results.stage != "worker":
                break
        return [results]

    def _attempt(self, rows: list[Any]) -> list[Any] | Failure:
        try:
            results: list[Any] = self._pool.schedule(
                self.function, args=[rows], timeout=self.seconds
            ).result()
        except Late:
            return Failure("time limit", f"it took longer than {self.seconds:g} s")
        except MemoryError:
            return Failure("memory", f"it needs more memory than {format_bytes(self.memory)}")
        except ProcessExpired as error:
            return Failure("worker", f"it ended its process ({_ending(error.exitcode)})")
        return results

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.stop()
        self._pool.join()


def _ending(code: int) -> str:
    """How a process ended, by its exit code."""
    if code < 0 and -code in {s.value for s in signal.Signals}:
        return signal.Signals(-code).name
    return f"status {code}"


def _prepare(parent: int, memory: int, function: Callable[[list[Any]], list[Any]]) -> None:
    """In the child: do not outlive the parent, hold no more memory than allowed, and warm up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        import resource
    except ImportError:  # not on Windows
        pass
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with suppress(Exception):  # it will come again with the first row, and is told then
        function([])
