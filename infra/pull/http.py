"""A polite HTTP client that asks again until an answer can be used, or says why there is none.

What makes an answer usable is decided by its body as well as by its status: databases send
``DB Fail``, HTML or nothing at all with status 200.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import orjson

from infra.manifest import code_version
from infra.pull.answers import (
    CODINGS,
    Answer,
    Arriving,
    Unanswered,
    broken,
    not_json,
    odd_coding,
    retry_after_s,
    shown_url,
)
from infra.pull.patience import Patient, attempts_at_most
from infra.pull.protocol import Transient
from infra.settings import Settings
from irnet_core.errors import SourceError

__all__ = ["Answer", "Arriving", "Http", "Unanswered", "attempts_at_most", "shown_url"]

T = TypeVar("T")

_FINAL_5XX = (501, 505)  # "not implemented" stays so
_ODD_4XX = (408, 425, 429)
_SLOWEST = 10  # an answer may take so many time-outs in all
_REMEDIES = {
    400: "check the filter and the fields",
    401: "check the key",
    403: "check the key, or whether the server bars this machine",
    404: "check the address",
    414: "ask for fewer fields or a shorter filter",
    422: "check the filter and the fields",
    501: "check the filter",
}


class Http(Patient):
    """Client for one source; use it in a ``with`` statement.

    Parameters
    ----------
    name : str
        Name of the source, for messages and for its politeness in the settings.
    settings : Settings
        Time-outs, attempts, waits and limits.
    secrets : collection of str
        Texts that no message may hold, such as a key.
    """

    def __init__(self, name: str, settings: Settings, *, secrets: Collection[str] = ()) -> None:
        super().__init__(name, settings, secrets)
        for logger in map(logging.getLogger, ("httpx", "httpcore")):  # they would log every URL
            logger.setLevel(max(logger.getEffectiveLevel(), logging.WARNING))
        self._client = httpx.Client(
            headers={
                "User-Agent": f"irnet-screening/{code_version()}",
                "Accept-Encoding": CODINGS[-1],
            },
            timeout=httpx.Timeout(
                settings.http_timeout_s, connect=min(settings.http_timeout_s, 30)
            ),
            follow_redirects=True,
            event_hooks={"response": [self._check_coding]},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(
        self,
        url: str,
        read: Callable[[Answer], T],
        params: Mapping[str, str] | str | None = None,
    ) -> T:
        """Ask for something until ``read`` can make sense of the answer.

        Parameters
        ----------
        url : str
            Absolute address.
        read : callable
            Makes a value of an answer. It raises :class:`infra.pull.protocol.Transient` where the
            answer cannot be used now, and so, in effect, does stumbling over its shape.
        params : mapping or str, optional
            Query; a text goes as it is.

        Raises
        ------
        Unanswered
            If attempts are used up.
        SourceError
            If asking again is no use: the server refuses, asks for too long a wait, or sends more
            than ``http_most_bytes``.
        """

        def use(arriving: Arriving) -> T:
            body = self._whole(arriving)
            answer = Answer(arriving.status, arriving.headers, body, arriving.url)
            return read(answer)

        return self.stream(url, use, params)

    def json(
        self,
        url: str,
        params: Mapping[str, str] | str | None = None,
        check: Callable[[Any], str | None] | None = None,
    ) -> Any:
        """Ask for JSON.

        Parameters
        ----------
        url, params
            As for :meth:`get`.
        check : callable, optional
            Returns why a value cannot be used, so that it is asked for again, or None.

        Raises
        ------
        Unanswered, SourceError
            As for :meth:`get`.
        """

        def read(answer: Answer) -> Any:
            try:
                value = orjson.loads(answer.body)
            except orjson.JSONDecodeError as error:
                raise Transient(not_json(answer.body)) from error
            if check is not None and (reason := check(value)) is not None:
                raise Transient(reason)
            return value

        return self.get(url, read, params)

    def stream(
        self,
        url: str,
        use: Callable[[Arriving], T],
        params: Mapping[str, str] | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Ask for something and use it as it comes in.

        Parameters
        ----------
        url, params
            As for :meth:`get`.
        use : callable
            Makes a value of an answer while it arrives; it starts anew with each attempt.
        headers : mapping, optional
            Beside the client's own, read anew for each attempt.

        Raises
        ------
        Unanswered, SourceError
            As for :meth:`get`; there is no limit to the length.
        """
        full = self._full(url, params)
        where = self.redacted(shown_url(full))

        def attempt() -> T:
            with self._answer(full, headers) as arriving:
                return use(arriving)

        return self.call(attempt, where)

    # -------------------------------------------------------------------------------------
    @contextmanager
    def _answer(self, url: str, headers: Mapping[str, str] | None) -> Iterator[Arriving]:
        """An answer of a status that promises well; what is wrong on the way is Transient."""
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                self._check_status(response, url)
                yield Arriving(response.status_code, response.headers, url, self._chunks(response))
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise self._final(f"{error}; check the address", url) from None
        except httpx.TimeoutException:
            raise Transient("time-out") from None
        except httpx.RequestError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise self._final(f"{error}; check the address or the certificates", url) from None
            raise Transient(broken(error)) from None

    def _check_coding(self, response: httpx.Response) -> None:
        """Refuse what could unpack to any length at once, redirections included."""
        if reason := odd_coding(response.headers.get("content-encoding")):
            url = str(response.request.url.copy_with(query=None))
            raise self._final(f"{reason}; tell those who keep the server", url)

    def _check_status(self, response: httpx.Response, url: str) -> None:
        status = response.status_code
        if status in _ODD_4XX or (500 <= status < 600 and status not in _FINAL_5XX):
            after = retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
            raise Transient(f"HTTP {status}", after)
        if status == 202:  # "accepted" comes from guards before the server, without data
            raise Transient("HTTP 202 without data")
        if not 200 <= status < 300:
            text = " ".join(self._head(response).split())[:200]
            remedy = _REMEDIES.get(status, "check the address")
            # not the address that was led to, which may be a signed one
            led = "" if response.url.host == httpx.URL(url).host else f" at {response.url.host}"
            raise self._final(f"HTTP {status}{led}: {text or 'no text'}; {remedy}", url)

    def _head(self, response: httpx.Response) -> str:
        """Beginning of the body of a refusal."""
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > 10_000:
                break
        return re.sub(r"<[^>]*>", " ", body.decode(errors="replace"))

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        begun = time.monotonic()
        for chunk in response.iter_bytes():
            yield chunk
            if time.monotonic() - begun > _SLOWEST * self.settings.http_timeout_s:
                raise Transient("too slow")

    def _whole(self, arriving: Arriving) -> bytes:
        body = bytearray()
        for chunk in arriving.chunks:
            body += chunk
            if len(body) > (most := self.settings.http_most_bytes):
                raise self._final(
                    f"the answer is longer than {most:,} bytes; raise IRNET_HTTP_MOST_BYTES if "
                    "that is right",
                    arriving.url,
                )
        return bytes(body)

    def _full(self, url: str, params: Mapping[str, str] | str | None) -> str:
        try:
            if isinstance(params, str):  # as it is: AFLOW's has no names
                return str(httpx.URL(f"{url}?{params}"))
            return str(httpx.URL(url, params=dict(params)) if params else httpx.URL(url))
        except httpx.InvalidURL as error:
            raise self._final(f"{error}; check the address", url) from None

    def _final(self, text: str, url: str) -> SourceError:
        return SourceError(self.redacted(f"{self.name}, {shown_url(url)}: {text}"))
