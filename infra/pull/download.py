"""A file from a server, kept only if it is whole.

It is written beside its place under another name, checked against every size and checksum that is
known and by a look inside, and renamed last: a file that lies in its place has been verified. A
download that breaks off goes on where it was if the server can do that and still has the same file,
and else begins anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from filelock import FileLock

from infra.pull.archive import Damaged
from infra.pull.http import Arriving, Http, shown_url
from infra.pull.protocol import Transient
from irnet_core.errors import SourceError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Digests:
    """What a file is known by.

    Attributes
    ----------
    bytes : int
        Its length.
    md5, sha256 : str
        In hexadecimal digits.
    """

    bytes: int
    md5: str
    sha256: str


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is there; None is not known."""

    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None

    def fault(self, found: Digests) -> str | None:
        """How a file differs, None if it does not.

        Examples
        --------
        >>> Expected(bytes=9).fault(Digests(4, "", ""))
        '4 bytes instead of 9'
        """
        if self.bytes is not None and found.bytes != self.bytes:
            return f"{found.bytes:,} bytes instead of {self.bytes:,}"
        if self.md5 is not None and found.md5 != self.md5.lower():
            return "another MD5 than the server states"
        if self.sha256 is not None and found.sha256 != self.sha256.lower():
            return "another SHA-256 than was stated"
        return None

    @property
    def sure(self) -> bool:
        """Whether a file without a fault must be the one that was meant."""
        return self.md5 is not None or self.sha256 is not None


def fetch_file(
    http: Http,
    url: str,
    path: Path,
    expected: Expected,
    look: Callable[[Path], None],
) -> Digests:
    """Have a file in its place: the one that is there if it is right, else a new one.

    Processes that want the same file wait for each other.

    Parameters
    ----------
    http : Http
        Client to ask with.
    url : str
        Where the file is.
    path : Path
        Where it is to be; its folder is made.
    expected : Expected
        What is known of it.
    look : callable
        Looks into the file; raises :class:`infra.pull.archive.Damaged` if it is not whole.

    Returns
    -------
    Digests

    Raises
    ------
    Unanswered
        If no whole file can be had.
    SourceError
        If it cannot be written, is larger than ``archive_most_bytes``, or is refused.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            return _there(path, expected, look) or _fetched(http, url, path, expected, look)
    except OSError as error:
        raise SourceError(
            f"cannot keep {path}: {error.strerror or error}; make room or choose another folder"
        ) from error


def digests(path: Path) -> Digests:
    """Length and checksums of a file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    sums = _Sums()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sums.add(chunk)
    return sums.digests()


# ---------------------------------------------------------------------------------------------
def _there(path: Path, expected: Expected, look: Callable[[Path], None]) -> Digests | None:
    """Digests of the file in its place, none if it is not there or not right."""
    try:
        state = path.stat()
        found = _known(path, state.st_ino, state.st_mtime_ns, state.st_size)
    except FileNotFoundError:
        return None
    if expected.fault(found):
        return None
    if not expected.sure:
        try:
            look(path)
        except SourceError:
            return None
    return found


@lru_cache(maxsize=8)
def _known(path: Path, *state: int) -> Digests:
    """Checksums of a file, remembered as long as it stays what it is."""
    return digests(path)


def _fetched(
    http: Http, url: str, path: Path, expected: Expected, look: Callable[[Path], None]
) -> Digests:
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with part.open("x+b") as file:
            download = _Download(file, http.settings.archive_most_bytes)

            def whole(arriving: Arriving) -> Digests:
                download.take(arriving)
                found = download.sums.digests()
                reason = expected.fault(found)
                if reason is None:
                    file.flush()
                    try:
                        look(part)
                    except Damaged as error:
                        if expected.sure:
                            raise SourceError(
                                f"{shown_url(url)} is what the server means it to be, and damaged "
                                f"all the same ({error}): tell those who keep it"
                            ) from error
                        reason = "damage"
                if reason is not None:
                    download.restart()
                    raise Transient(f"a file with {reason}")
                return found

            # the headers change from attempt to attempt
            found = http.stream(url, whole, headers=download.headers)
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return found


class _Sums:
    """Length and checksums of what has been added."""

    def __init__(self) -> None:
        self.length = 0
        self._md5, self._sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        self.length += len(chunk)
        self._md5.update(chunk)
        self._sha256.update(chunk)

    def digests(self) -> Digests:
        return Digests(self.length, self._md5.hexdigest(), self._sha256.hexdigest())


class _Download:
    """What has come of a file so far, over several attempts."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most
        self.headers = {"Accept-Encoding": "identity"}  # of the next attempt
        self.restart()

    def restart(self) -> None:
        """Forget what has come."""
        self._file.seek(0)
        self._file.truncate()
        self.sums, self._tag = _Sums(), ""
        for name in ("Range", "If-Range"):
            self.headers.pop(name, None)

    def take(self, arriving: Arriving) -> None:
        """Write what arrives, to its end."""
        if "html" in arriving.headers.get("content-type", "").lower():
            raise Transient("HTML instead of a file")
        tag = arriving.headers.get("etag", "")
        if not self._continues(arriving, tag):
            self.restart()
            self._tag = "" if tag.startswith("W/") else tag  # a weak one does not mean same bytes
        for chunk in arriving.chunks:
            if self.sums.length + len(chunk) > self._most:
                raise SourceError(
                    f"{shown_url(arriving.url)} is longer than {self._most:,} bytes: raise "
                    "IRNET_ARCHIVE_MOST_BYTES if that is right"
                )
            self._file.write(chunk)
            self.sums.add(chunk)
            if self._tag:  # ask for the rest only, if this breaks off
                self.headers |= {"Range": f"bytes={self.sums.length}-", "If-Range": self._tag}
        if not self.sums.length:
            raise Transient("an empty file")

    def _continues(self, arriving: Arriving, tag: str) -> bool:
        """Whether what arrives is what follows on what is there."""
        if arriving.status != 206:
            return False
        found = re.match(r"bytes (\d+)-", arriving.headers.get("content-range", ""))
        if found and int(found[1]) == self.sums.length and tag == self._tag != "":
            return True
        self.restart()
        raise Transient("another part of the file than was asked for")
