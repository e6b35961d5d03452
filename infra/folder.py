"""A folder, on the local disk or at any fsspec URL, whose files appear whole or not at all.

Writing goes to a temporary file first. On a local disk that file is synchronised and renamed;
remotely it is sent in one piece, which object stores make visible only when it is complete.
A folder is known by its URL alone, which is all that a Dask worker is handed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import fsspec  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq

from infra.content import file_digest, parquet_digest
from infra.guards import NAME, check_name, store_errors
from infra.manifest import FileRecord
from irnet_core.errors import DataError, StoreError

_TEMPORARY = ".tmp-"


class Folder:
    """A folder of the store.

    Parameters
    ----------
    url : str or os.PathLike
        Local path, ``file://`` URL, or URL of any file system that fsspec knows.

    Attributes
    ----------
    url : str
        Absolute local path, or the URL; enough to open the folder in another process.
    local : bool
        Whether it lies on the local disk.
    fs, path
        The fsspec file system, and the folder's path in it.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        text = os.fspath(url).removeprefix("file://")
        self.local = "://" not in text
        if self.local:
            text = os.path.abspath(os.path.expanduser(text))
        try:
            if not self.local and not text.partition("://")[2].strip("/"):
                raise ValueError("it names no bucket or folder")
            # Listings are never cached: other processes publish while this one runs.
            self.fs, path = fsspec.core.url_to_fs(text, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"cannot open the store {text}: {error}; install what it needs or set IRNET_STORE"
            ) from error
        self.path: str = path.rstrip("/") or "/"
        self.url: str = text.rstrip("/") or "/"

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    def child(self, *names: str) -> Folder:
        """Folder further down."""
        return Folder("/".join((self.url, *names)))

    # reading -----------------------------------------------------------------------------
    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return bool(self.size(name) is not None)

    def size(self, name: str) -> int | None:
        """Length of a file in bytes, None if there is no such file."""
        with store_errors("read", self._url(name)):
            try:
                info = self.fs.info(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return int(info["size"]) if info["type"] == "file" else None

    def entries(self) -> dict[str, bool]:
        """Everything in the folder, temporary files too: names, sorted, and whether a file."""
        with store_errors("list", self.url):
            try:
                infos = self.fs.ls(self.path, detail=True)
            except FileNotFoundError:
                return {}
        found = {i["name"].rstrip("/").rsplit("/", 1)[-1]: i["type"] == "file" for i in infos}
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        """Names of the files, sorted, without temporary ones."""
        return [name for name, is_file in self.entries().items() if is_file and NAME.match(name)]

    def folders(self) -> list[str]:
        """Names of the folders in it, sorted."""
        return [name for name, is_file in self.entries().items() if not is_file]

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file for reading."""
        with store_errors("read", self._url(name)), self.fs.open(self._path(name), "rb") as file:
            yield file

    def read_bytes(self, name: str) -> bytes:
        """Everything in a file."""
        with self.open(name) as file:
            data: bytes = file.read()
        return data

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Table in a Parquet file, or some of its columns.

        Raises
        ------
        StoreError
            If the file is missing or damaged.
        DataError
            If it lacks a column.
        """
        with self.open(name) as file, pq.ParquetFile(file) as parquet:
            there = parquet.schema_arrow.names
            if missing := [column for column in columns or [] if column not in there]:
                raise DataError(
                    f"there is no such column, take one of {', '.join(there)}",
                    source=self._url(name),
                    column=missing[0],
                )
            return parquet.read(columns=columns)

    def describe(self, name: str, content: str | None = None) -> FileRecord:
        """Record of a file as it lies there: length and digests, read anew.

        Parameters
        ----------
        name : str
            File name.
        content : str, optional
            Content digest of a file other than Parquet; by default the SHA-256 of its bytes.
        """
        with self.open(name) as file:
            return _describe(file, name, content)

    # writing -----------------------------------------------------------------------------
    def write(self, name: str, fill: Callable[[IO[bytes]], Any]) -> FileRecord:
        """Write a file whole or not at all, replacing one of the same name.

        Parameters
        ----------
        name : str
            File name.
        fill : callable
            Gets a binary file, open for writing, and writes to it.

        Raises
        ------
        StoreError
            If it cannot be written; nothing of it is left then.
        """
        target = self._path(name)
        with store_errors("write", self._url(name)):
            if self.local:
                self.make()
                temporary = os.path.join(self.path, f"{_TEMPORARY}{name}-{uuid.uuid4().hex}")
            else:
                handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY)
                os.close(handle)
            try:
                with open(temporary, "wb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                with open(temporary, "rb") as file:
                    record = _describe(file, name)
                if self.local:
                    os.replace(temporary, target)
                    sync_folder(self.path)
                else:
                    self.fs.put_file(temporary, target)
            finally:
                if os.path.exists(temporary):
                    os.remove(temporary)
        return record

    def write_bytes(self, name: str, data: bytes) -> FileRecord:
        """Write bytes as a file, see :meth:`write`."""
        return self.write(name, lambda file: file.write(data))

    def write_table(
        self, name: str, table: pa.Table, row_group_size: int | None = None
    ) -> FileRecord:
        """Write a table as a Parquet file (zstd), see :meth:`write`."""
        return self.write(name, parquet_filler(name, table, row_group_size))

    def make(self) -> None:
        """Create the folder and those above it; nothing to do remotely."""
        if not self.local or os.path.isdir(self.path):
            return
        with store_errors("create", self.url):
            missing, parent = [], self.path
            while not os.path.isdir(parent):
                missing.append(parent)
                parent = os.path.dirname(parent)
            for folder in reversed(missing):
                os.makedirs(folder, exist_ok=True)
                sync_folder(os.path.dirname(folder))

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        with store_errors("remove", self._url(name)):
            if self.fs.exists(self._path(name)):
                self.fs.rm_file(self._path(name))

    def remove_all(self) -> None:
        """Delete the folder and everything in it."""
        with store_errors("remove", self.url):
            if self.local:
                if os.path.isdir(self.path):
                    shutil.rmtree(self.path)
            elif self.fs.exists(self.path):
                self.fs.rm(self.path, recursive=True)

    def keep(self, names: Collection[str]) -> None:
        """Delete everything but the files of these names."""
        for name in self.entries():
            if name not in names:
                with store_errors("remove", self._url(name)):
                    self.fs.rm(f"{self.path}/{name}", recursive=True)

    def clean(self, age_s: float = 0.0) -> None:
        """Delete temporary files that a killed process left behind.

        Parameters
        ----------
        age_s : float
            Spare younger ones, in seconds, where another process may be writing.
        """
        if not self.local:
            return
        for name in self.entries():
            path = os.path.join(self.path, name)
            if name.startswith(_TEMPORARY):
                with store_errors("clean", self.url), suppress(FileNotFoundError):
                    if time.time() - os.path.getmtime(path) >= age_s:
                        os.remove(path)

    # -------------------------------------------------------------------------------------
    def _path(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{check_name(name)}"

    def _url(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"


def parquet_filler(
    name: str, table: pa.Table, row_group_size: int | None = None
) -> Callable[[IO[bytes]], None]:
    """What :meth:`Folder.write` needs to write a table as Parquet.

    Raises
    ------
    StoreError
        Unless the name ends in ``.parquet``, by which readers know the format.
    """
    if not name.endswith(".parquet"):
        raise StoreError(f"{name!r} is to hold a table: let its name end in .parquet")
    return lambda file: pq.write_table(
        table, file, row_group_size=row_group_size, compression="zstd"
    )


def _describe(file: IO[bytes], name: str, content: str | None = None) -> FileRecord:
    length, sha256 = file_digest(file)
    if not name.endswith(".parquet"):
        return FileRecord(name=name, bytes=length, sha256=sha256, content=content or sha256)
    file.seek(0)
    rows, digest = parquet_digest(file)
    return FileRecord(name=name, bytes=length, sha256=sha256, content=digest, rows=rows)


def sync_folder(path: str) -> None:
    """Make renames and new files in a local folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
