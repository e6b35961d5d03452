"""Rows of a data frame that was written as JSON, some at a time.

The layout is that of ``DataFrame.to_dict(orient="split")``: an object with ``index``, ``columns``
and ``data``, the last being a list of rows, each a list. Such a file may be larger than memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from infra.pull.archive import Readable, open_gzip
from infra.pull.records import Rejected, read_records
from infra.settings import Settings
from irnet_core.errors import SourceError

_ROWS_BEGIN = re.compile(rb'[{,]\s*"data"\s*:\s*(?=\[)')
_ROWS_END = re.compile(rb'\](?=\s*,\s*"(?:index|columns)"\s*:\s*\[|\s*\}\s*\Z)')
_CHUNK = 1 << 20
_MOST_AROUND = 8 << 20  # bytes in front of the rows, and behind them


class SplitFrame:
    """A gzipped file of this layout.

    Parameters
    ----------
    path : Path
    settings : Settings
        ``archive_most_bytes`` and ``archive_most_ratio`` are its limits.

    Attributes
    ----------
    columns : list of str
        Names of the columns.

    Raises
    ------
    SourceError
        If it is not in this layout.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        with open_gzip(path, settings) as file:
            rows = _Rows(file, path)
            around = rows.head
            if "columns" not in around:
                while rows.read(_CHUNK):
                    pass
                around = rows.tail
        columns = around.get("columns")
        if not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
            raise SourceError(f"{path} has no list of columns: it is no data frame as JSON")
        self.columns: list[str] = columns

    def rows(
        self, types: Mapping[str, Any] | None = None
    ) -> Iterator[list[list[Any] | tuple[Any, ...] | Rejected]]:
        """Rows in order; values in the order of :attr:`columns`.

        Parameters
        ----------
        types : mapping, optional
            Types by column, for msgspec, which leaves out what has no place in them; a row that
            does not fit comes as JSON has it.

        Raises
        ------
        SourceError
            If the file is not in this layout to its end.
        """
        wanted = types or {}
        decode = msgspec.json.Decoder(
            tuple.__class_getitem__(tuple(wanted.get(name, Any) for name in self.columns))
        ).decode
        with open_gzip(self.path, self.settings) as file:
            yield from read_records(
                _Rows(file, self.path),
                self.path.name,
                kind=list,
                decode=decode if wanted else None,
            )


class _Rows:
    """The list of rows as a stream of its own; what stands around it is put aside."""

    def __init__(self, file: Readable, path: Path) -> None:
        self._file, self._path = file, path
        start = bytearray()  # whose front is cut off without copying the rest
        while (found := _ROWS_BEGIN.search(start)) is None:
            chunk = file.read(_CHUNK)
            start += chunk
            if not chunk or len(start) > _MOST_AROUND:
                raise SourceError(f"{path} has no list called data: it is no data frame as JSON")
        self.head = self._parsed(bytes(start[: found.start()]).strip().removeprefix(b"{"))
        self.tail: dict[str, Any] = {}
        del start[: found.end()]
        self._held, self._ended = start, False

    def read(self, size: int, /) -> bytes:
        """Some bytes of the list, none behind its end."""
        while not self._ended and len(self._held) < size + _MOST_AROUND:
            chunk = self._file.read(size)
            self._held += chunk
            if not chunk:
                self._end()
        with memoryview(self._held) as held:
            sent = bytes(held[:size])
        del self._held[:size]
        return sent

    def _end(self) -> None:
        """Cut off what stands behind the list, all of which is held by now."""
        found = _ROWS_END.search(self._held)
        if found is None:
            raise SourceError(f"{self._path} ends within its rows: delete it and run again")
        behind = bytes(self._held[found.end() :]).strip().removesuffix(b"}").strip()
        self.tail = self._parsed(behind.removeprefix(b","))
        del self._held[found.end() :]
        self._ended = True

    def _parsed(self, members: bytes) -> dict[str, Any]:
        try:
            found: dict[str, Any] = orjson.loads(b"{" + members + b"}")
        except orjson.JSONDecodeError as error:
            raise SourceError(
                f"{self._path} is no data frame as JSON ({error}): delete it and run again"
            ) from error
        return found
