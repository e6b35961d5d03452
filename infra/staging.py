"""Work in progress: the folder in which an artifact's files gather before it is published.

A staging folder belongs to a request. It survives the death of the process, and the next run of
the same request finds the files that were complete. Only one process at a time may hold it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
from filelock import FileLock, Timeout

from infra.folder import Folder, parquet_filler
from infra.guards import store_errors
from infra.manifest import MANIFEST, FileRecord
from irnet_core.errors import StoreError


class BusyError(StoreError):
    """Another process holds the lock."""


class Staging:
    """Files of one request on their way into the store; use it in a ``with`` statement.

    Leaving the ``with`` block releases the lock and keeps the files, so that the next run goes
    on from there; :meth:`infra.store.Store.publish` and :meth:`discard` remove them.

    Parameters
    ----------
    folder : Folder
        Where the files lie.
    kind : str
        Kind of the artifact to be.
    request : str
        Digest of what was asked for.

    Raises
    ------
    StoreError
        If another process works on the same request, or the folder cannot be made.
    """

    def __init__(self, folder: Folder, kind: str, request: str) -> None:
        self.folder, self.kind, self.request = folder, kind, request
        self.records: dict[str, FileRecord] = {}
        self._lock: FileLock | None = None
        if folder.local:
            Folder(os.path.dirname(folder.path)).make()
            self._lock = _lock(folder.path, f"{kind} for request {request}")
        try:
            folder.make()
            folder.clean()
        except StoreError:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Local path or URL of the folder, for :class:`infra.folder.Folder` in a worker."""
        return self.folder.url

    def has(self, name: str) -> bool:
        """Whether a file is there, complete."""
        return self.folder.has(name)

    def names(self) -> list[str]:
        """Names of the files that are there, sorted."""
        return [name for name in self.folder.names() if name != MANIFEST]

    def write(self, name: str, fill: Callable[[IO[bytes]], Any]) -> FileRecord:
        """Let ``fill`` write a file that appears whole or not at all."""
        if name == MANIFEST:
            raise StoreError(f"{MANIFEST} is written on publishing: choose another file name")
        self.records[name] = self.folder.write(name, fill)
        return self.records[name]

    def write_bytes(self, name: str, data: bytes) -> FileRecord:
        """Write bytes as a file."""
        return self.write(name, lambda file: file.write(data))

    def write_table(
        self, name: str, table: pa.Table, row_group_size: int | None = None
    ) -> FileRecord:
        """Write a table as a Parquet file."""
        return self.write(name, parquet_filler(name, table, row_group_size))

    def read_bytes(self, name: str) -> bytes:
        """Everything in a file."""
        return self.folder.read_bytes(name)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Table in a Parquet file, or some of its columns."""
        return self.folder.read_table(name, columns)

    def discard(self) -> None:
        """Delete the files and release the lock."""
        try:
            self.folder.remove_all()
        finally:
            self.close()

    def close(self) -> None:
        """Release the lock; the files stay for the next run."""
        if self._lock is not None:
            self._lock.release(force=True)
            self._lock = None

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def exclusive(folder: Folder, what: str) -> Iterator[None]:
    """Hold the lock beside a folder; remotely there is none.

    Raises
    ------
    BusyError
        If another process holds it.
    """
    if not folder.local:
        yield
        return
    Folder(os.path.dirname(folder.path)).make()
    lock = _lock(folder.path, what)
    try:
        yield
    finally:
        lock.release(force=True)


def _lock(path: str, what: str) -> FileLock:
    """Take the lock beside a local staging folder; the system frees it if the process dies."""
    lock = FileLock(f"{path}.lock", timeout=0, thread_local=False)
    with store_errors("lock", path):
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"another run is making the {what}: wait until it has ended, or stop it, and run "
                "again"
            ) from error
    return lock
