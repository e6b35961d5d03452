"""Archives from elsewhere, opened with suspicion: one member of a zip, or a gzipped file.

Nothing is ever unpacked to disk and nothing but the member asked for is read, as a stream. What is
built to do harm is refused before it is read: names that lead out of the archive, links, encrypted
members, overlapping ones, and bombs, which unpack to more than the settings allow.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from infra.settings import Settings
from irnet_core.errors import SourceError

_CHUNK = 1 << 20
_MOST_MEMBERS = 1000
_HARMLESS = 64 << 20  # bytes that may be unpacked however small the archive
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_BROKEN = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeError,
    ValueError,
)


class Readable(Protocol):
    """A stream of bytes, such as an open file."""

    def read(self, size: int, /) -> bytes:
        """Some bytes, none at the end."""
        ...


class Damaged(SourceError):
    """An archive that is cut short or corrupt, as after a broken download."""


class Unpacked:
    """What an archive unpacks to, as a readable stream that minds the limits.

    Attributes
    ----------
    name : str
        For messages.
    most : int
        Bytes after which it is refused.
    """

    def __init__(self, file: Readable, name: str, most: int) -> None:
        self._file, self.name, self.most, self._length = file, name, most, 0

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, all of them if it is negative; none at the end.

        Raises
        ------
        Damaged
            If the archive is cut short, or what it holds does not fit its checksum.
        SourceError
            If there is more than there may be.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        with _refusals(self.name):
            data = self._file.read(size)
        self._length += len(data)
        if self._length > self.most:
            raise _bomb(self.name, self.most)
        return data


@contextmanager
def open_member(path: Path, member: str, settings: Settings) -> Iterator[Unpacked]:
    """One member of a zip archive.

    Parameters
    ----------
    path : Path
        The archive.
    member : str
        Name of the member.
    settings : Settings
        ``archive_most_bytes`` and ``archive_most_ratio`` are its limits.

    Raises
    ------
    Damaged
        If it is no whole zip archive.
    SourceError
        If the member is not there or anything in the archive is not as it should be.
    """
    with ExitStack() as stack:
        with _refusals(str(path)):
            archive = stack.enter_context(zipfile.ZipFile(path))
            info = _checked(archive, path, member, settings)
            file = stack.enter_context(archive.open(info))
        yield Unpacked(file, f"{member} in {path}", info.file_size)


@contextmanager
def open_gzip(path: Path, settings: Settings) -> Iterator[Unpacked]:
    """What a gzipped file holds.

    Raises
    ------
    Damaged, SourceError
        As for :func:`open_member`; most of it only when it is read.
    """
    with ExitStack() as stack:
        with _refusals(str(path)):
            packed = os.path.getsize(path)
            file = stack.enter_context(gzip.open(path, "rb"))
        yield Unpacked(file, str(path), _most(packed, settings))


def check_zip(path: Path, member: str, settings: Settings) -> None:
    """Read a member of a zip archive through to its end, where its checksum is compared.

    Raises
    ------
    Damaged, SourceError
        As for :func:`open_member`.
    """
    with open_member(path, member, settings) as file:
        while file.read(_CHUNK):
            pass


# ---------------------------------------------------------------------------------------------
def _checked(
    archive: zipfile.ZipFile, path: Path, member: str, settings: Settings
) -> zipfile.ZipInfo:
    """The member's entry, if there is nothing wrong with any entry."""
    entries = archive.infolist()
    if len(entries) > _MOST_MEMBERS:
        raise _refused(path, f"it has {len(entries):,} members")
    for entry in entries:
        if reason := _fault(entry):
            raise _refused(path, f"its member {entry.orig_filename[:80]!r} {reason}")
    packed = sum(entry.compress_size for entry in entries)
    if packed > (size := os.path.getsize(path)):
        raise _refused(path, f"its members are longer than itself, {packed:,} bytes in {size:,}")
    most = _most(packed, settings)
    if sum(entry.file_size for entry in entries) > most:
        raise _bomb(str(path), most)
    found = [entry for entry in entries if entry.filename == member]
    if len(found) != 1:
        there = ", ".join(repr(entry.filename[:80]) for entry in entries[:5]) or "nothing"
        times = f"{len(found)} times" if found else "not"
        raise _refused(path, f"{member!r} is {times} in it, but {there}")
    return found[0]


def _most(packed: int, settings: Settings) -> int:
    """Bytes that an archive of some length may unpack to."""
    by_ratio = max(int(settings.archive_most_ratio * packed), _HARMLESS)
    return min(settings.archive_most_bytes, by_ratio)


def _fault(entry: zipfile.ZipInfo) -> str | None:
    """What makes a member suspicious, if anything does."""
    name = entry.orig_filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
        return "lies outside of it"
    if re.search(r"[\x00-\x1f]", name):
        return "has control characters in its name"
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if entry.compress_type not in _METHODS:
        return f"is packed by method {entry.compress_type}, not by deflate"
    return None


def _refused(path: Path, reason: str) -> SourceError:
    return SourceError(f"{path} is not opened, {reason}: look at where it comes from")


def _bomb(name: str, most: int) -> SourceError:
    return SourceError(
        f"{name} unpacks to more than {most:,} bytes: raise IRNET_ARCHIVE_MOST_RATIO or "
        "IRNET_ARCHIVE_MOST_BYTES if that is right"
    )


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Make errors of the libraries errors of the project."""
    try:
        yield
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise Damaged(f"{name} is damaged ({error}): delete it and pull again") from error
        raise SourceError(
            f"cannot read {name}: {error.strerror or error}; check the file and its permissions"
        ) from error
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Damaged(f"{name} is damaged ({reason}): delete it and pull again") from error
