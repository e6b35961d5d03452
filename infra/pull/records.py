"""Records of a JSON array of any size, one block of bytes at a time.

The brackets and quotes of a block are found with array operations, which cuts the array into its
records; each is then parsed by orjson: twice as fast as ijson, which parses as it goes. Memory
stays that of one block, however long the array is, and one bad record costs no other: it becomes a
:class:`Rejected`. An array that is cut short, or no array, is an error.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from infra.pull.archive import Readable
from infra.pull.collection import no_collection
from irnet_core.errors import SourceError

_BLOCK = 1 << 19  # bytes read at once; what is made of them should fit into the caches
_HEAD = 2000  # bytes that are kept of a rejected record
_SPACES = b" \t\r\n"
_REMEDY = "delete the file and pull again"
_NO_NUMBERS = (re.compile(rb"NaN\b"), re.compile(rb"Infinity\b"))  # apart: each is sought fast

_STEPS = np.zeros(256, np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


@dataclass(frozen=True)
class Limits:
    """What a record may be.

    Attributes
    ----------
    bytes : int
        Its size.
    depth : int
        Brackets inside each other, its own being the first.
    text : int
        Bytes of one text in it.
    """

    bytes: int = 8 << 20
    depth: int = 32
    text: int = 100_000


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be used.

    Attributes
    ----------
    number : int
        Its place in the array, counted from 0.
    reason : str
        What is wrong.
    head : bytes
        Its first bytes.
    """

    number: int
    reason: str
    head: bytes

    def peek(self, key: str) -> str | None:
        """Short text that its first bytes give for a key, to name the record by.

        Examples
        --------
        >>> Rejected(0, "too deep", b'{"jid": "JVASP-1", "atoms": [[[').peek("jid")
        'JVASP-1'
        """
        pattern = rb'"%s"\s*:\s*"([^"\\\x00-\x1f]{1,100})"' % re.escape(key.encode())
        found = re.search(pattern, self.head)
        return None if found is None else found[1].decode(errors="replace")


LIMITS = Limits()
T = TypeVar("T")


def read_records(
    stream: Readable,
    where: str,
    limits: Limits = LIMITS,
    kind: type = dict,
    decode: Callable[[memoryview], Any] | None = None,
) -> Iterator[list[Any]]:
    """Records of a JSON array, in order, in lists of some hundreds; see :func:`map_records`.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO(b'[{"n": 1}, {"n": NaN}, {"n"}]')
    >>> [[a, b, c]] = read_records(file, "example")
    >>> a, b, c.number, c.head
    ({'n': 1}, {'n': None}, 2, b'{"n"}')
    """
    return map_records(stream, where, lambda records, _: records, limits, kind, decode)


def map_records(
    stream: Readable,
    where: str,
    use: Callable[[list[Any], int], T],
    limits: Limits = LIMITS,
    kind: type = dict,
    decode: Callable[[memoryview], Any] | None = None,
) -> Iterator[T]:
    """What is made of the records of a JSON array, of some hundreds at a time.

    ``NaN`` and ``Infinity``, which Python writes and JSON does not know, are read as null.

    Parameters
    ----------
    stream : Readable
        Read to its end.
    where : str
        Name for messages.
    use : callable
        Makes something of a list of records, each of ``kind`` or :class:`Rejected`, and the place
        of the first in the array. The records should die there: the garbage collector,
        which would walk through them again and again, is paused meanwhile.
    limits : Limits
        A record beyond them is rejected.
    kind : type
        What records are: ``dict`` or ``list``; the other is rejected.
    decode : callable, optional
        Reads a record instead of orjson, such as one that leaves out what is not wanted. Where it
        raises a ValueError, orjson reads the record after all.

    Yields
    ------
    object
        What ``use`` returns.

    Raises
    ------
    SourceError
        If this is no array of objects or lists, or it does not end.
    """
    rest, number, ended = b"", 0, False  # `rest` begins behind the last record

    def read(raw: memoryview, number: int, fault: str | None) -> Any:
        if decode is not None and fault is None:
            try:
                return decode(raw)
            except ValueError:  # let orjson say what is wrong, if anything is
                pass
        return _parsed(raw, number, fault, kind)

    while block := stream.read(max(_BLOCK, len(rest))):
        buffer = rest + block
        if ended or not number:
            buffer = buffer.lstrip(_SPACES)
        if buffer and (ended or (not number and buffer[:1] != b"[")):
            place = "goes on behind its end" if ended else "is no JSON array, it begins"
            raise SourceError(f"{where} {place} with {buffer[:40]!r}: {_REMEDY}")
        cut = _cut(buffer, 1 if number else 0, limits)
        view, behind = memoryview(buffer), 0
        with no_collection():
            records: list[Any] = []
            for start, end, fault in cut.records:
                _check_gap(buffer[behind:start], b"," if number else b"[", number, where)
                raw = view[start:end] if not cut.holes else _cured(buffer, start, end, cut.holes)
                records.append(read(raw, number, fault))
                number, behind = number + 1, end
            made = [use(records, number - len(records))] if records else []
            del records
        rest = buffer[behind:]
        if cut.closed is not None:
            gap, rest = buffer[behind : cut.closed], buffer[cut.closed + 1 :].strip(_SPACES)
            _check_gap(gap, b"" if number else b"[", number, where)
            if rest:
                raise SourceError(f"{where} goes on behind its end with {rest[:40]!r}: {_REMEDY}")
            ended = True
        if len(rest) > limits.bytes:
            raise SourceError(
                f"record {number} of {where} has more than {limits.bytes:,} bytes, which no entry "
                "of a database should have: look at the file before you use it"
            )
        yield from made
    if not ended:
        raise SourceError(f"{where} ends within or behind record {number}: {_REMEDY}")


@dataclass(frozen=True)
class _Cut:
    """What is found in a buffer.

    Attributes
    ----------
    records : list of tuple
        Start, end and fault of each record.
    closed : int, optional
        Where the array is closed, if it is.
    holes : list of tuple
        Start and end of each NaN or Infinity, in order.
    """

    records: list[tuple[int, int, str | None]]
    closed: int | None
    holes: list[tuple[int, int]]


def _cut(buffer: bytes, depth: int, limits: Limits) -> _Cut:
    """Find the records that end in a buffer, which begins `depth` brackets deep outside texts."""
    codes = np.frombuffer(buffer, np.uint8)
    # [ ] { } and Y _ y DEL, whose steps are 0, are 127 with these bits set: faster than a table
    at = np.flatnonzero(((codes | 0x26) == 0x7F) | (codes == ord('"')))
    kind = codes[at]
    quote = kind == ord('"')
    if b"\\" in buffer:
        quote &= ~np.isin(at, _escaped(codes))
    inside = np.cumsum(quote, dtype=np.uint8) & 1
    step = _STEPS[kind] * (inside ^ 1).view(np.int8)  # brackets in texts are none
    depths = np.cumsum(step, dtype=np.int32) + depth  # behind each mark
    closed = at[(depths == 0) & (step < 0)]
    if len(closed):
        keep = at <= closed[0]
        at, step, depths, quote = at[keep], step[keep], depths[keep], quote[keep]
    ends = at[(step < 0) & (depths == 1)] + 1
    starts = at[(step > 0) & (depths == 2)][: len(ends)]
    faults: list[str | None] = [None] * len(ends)
    texts = at[quote]
    texts = texts[: len(texts) // 2 * 2].reshape(-1, 2)  # opening and closing quotes
    length = texts[:, 1] - texts[:, 0] - 1
    for what, most, where, fault in (
        (length, limits.text, texts[:, 0], f"it holds a text of more than {limits.text:,} bytes"),
        (depths, limits.depth + 1, at, f"it is nested more than {limits.depth} deep"),
    ):
        if what.max(initial=0) > most:
            for record in np.unique(np.searchsorted(ends, where[what > most], "right")).tolist():
                if record < len(ends):
                    faults[record] = fault
    records = list(zip(starts.tolist(), ends.tolist(), faults, strict=True))
    holes = sorted(match.span() for name in _NO_NUMBERS for match in name.finditer(buffer))
    if holes:
        before = np.searchsorted(at[quote], [start for start, _ in holes])  # quotes before each
        holes = [span for span, n in zip(holes, before.tolist(), strict=True) if n % 2 == 0]
    return _Cut(records, int(closed[0]) if len(closed) else None, holes)


def _cured(buffer: bytes, start: int, end: int, holes: list[tuple[int, int]]) -> memoryview:
    """A part of a buffer with null in place of what is no number in JSON."""
    parts = []
    for first, last in holes[bisect_left(holes, (start, 0)) : bisect_left(holes, (end, 0))]:
        parts.append(buffer[start:first].removesuffix(b"-"))
        start = last
    return memoryview(b"null".join([*parts, buffer[start:end]]))


def _escaped(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Places behind an odd number of backslashes."""
    at = np.flatnonzero(codes == ord("\\"))
    first = np.flatnonzero(np.diff(at, prepend=-2) != 1)  # of each run of them
    length = np.diff(first, append=len(at))
    places: NDArray[np.int64] = (at[first] + length)[length % 2 == 1]
    return places


def _check_gap(gap: bytes, expected: bytes, number: int, where: str) -> None:
    """Check that there is a comma, or whatever is due, and nothing else around records."""
    if gap != expected and gap.strip(_SPACES) != expected:
        raise SourceError(
            f"{where} has {gap[:40]!r} in front of record {number} or its end, where "
            f"{expected.decode() or 'nothing'} should be: {_REMEDY}"
        )


def _parsed(raw: memoryview, number: int, fault: str | None, kind: type) -> Any:
    if fault is None:
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            fault = f"it is no JSON, {error}"
        else:
            if isinstance(value, kind):
                return value
            fault = "it is a list, no object" if kind is dict else "it is an object, no list"
    return Rejected(number, fault, bytes(raw[:_HEAD]))
