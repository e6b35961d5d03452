"""Answers of servers: what they are, and what is wrong with those that are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

import httpx

from irnet_core.errors import SourceError

CODINGS = ("identity", "gzip")
"""Ways that an answer may be packed: one at a time, since what is packed twice unpacks to a million
times its length before anybody can count."""

_LONGEST = 300  # characters of a URL that are shown


class Unanswered(SourceError):
    """A server gave no usable answer, however often it was asked.

    Attributes
    ----------
    reason : str
        What was wrong the last time, in a few words.
    """

    def __init__(self, message: str, reason: str = "no usable answer") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes
    ----------
    status : int
        Below 300.
    headers : mapping
        By name in any case.
    body : bytes
    url : str
        Where it came from in the end.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(frozen=True)
class Arriving:
    """An answer whose body is still on its way.

    Attributes
    ----------
    status, headers, url
        As for :class:`Answer`.
    chunks : iterator of bytes
        The body, decompressed. A cut-off raises :class:`infra.pull.protocol.Transient`.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    chunks: Iterator[bytes]


def retry_after_s(text: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, from a number or a date.

    Examples
    --------
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> retry_after_s("2", now), retry_after_s("Thu, 01 Jan 2026 00:00:30 GMT", now)
    (2.0, 30.0)
    >>> retry_after_s("soon", now)
    """
    text = (text or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max((then - now).total_seconds(), 0.0)


def shown_url(url: str) -> str:
    """A URL for people and manifests: without user name and password, cut to 300 characters.

    Examples
    --------
    >>> shown_url("https://me:secret@mirror.org/api?x=1")
    'https://mirror.org/api?x=1'
    """
    try:
        parts = urlsplit(url)
        text = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:  # no URL
        text = url.rpartition("@")[2]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def odd_coding(header: str | None) -> str | None:
    """What is wrong with a ``Content-Encoding``, none if nothing is.

    Examples
    --------
    >>> odd_coding("gzip"), odd_coding(None)
    (None, None)
    >>> odd_coding("gzip, gzip")
    "the answer is packed as 'gzip, gzip', which is more than the gzip asked for"
    """
    if not header or header.strip().lower() in CODINGS:
        return None
    return f"the answer is packed as {header[:60]!r}, which is more than the gzip asked for"


def broken(error: httpx.RequestError) -> str:
    """Why an answer did not arrive, in words that are the same for the same reason."""
    if isinstance(error, httpx.ConnectError):
        return f"no connection ({error})"[:200]
    if isinstance(error, httpx.RemoteProtocolError):
        return "truncated answer" if "body" in str(error) else "connection closed"
    if isinstance(error, httpx.DecodingError):
        return "damaged compression"
    return "connection reset"


def not_json(body: bytes) -> str:
    """What a body is that is no JSON."""
    text = " ".join(body[:200].decode(errors="replace").split())
    if not text:
        return "an empty answer"
    if text.startswith("<"):
        return "HTML instead of JSON"
    if text[0] in "[{":
        return "damaged JSON"
    return f"{text[:60]!r} instead of JSON"
