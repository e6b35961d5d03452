"""The Materials Project's own client ``mp-api``, made fit for pulls that nobody watches.

The client is used as it is but for two methods, see :func:`rester_class`; what happens around it
is ours:

* It is given a session without retries. The session's answers are looked at before the client
  sees them: their status, their length, and that rows and count are there. For the client takes a
  count that is missing for 1 and one that is negative for an offset, and drops rows without a word.
* The version of the database is read by ourselves: the client reads it without a time-out, once
  per process.
* The list of fields, which the client derives from its model at each call, is derived once.
* The key goes into a header of requests to the endpoint, and nowhere else.
"""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any

from infra.pull.answers import odd_coding, retry_after_s
from infra.pull.http import Http, shown_url
from infra.pull.protocol import Transient
from irnet_core.errors import SourceError

if TYPE_CHECKING:
    import requests

KEY_PAGE = "https://next-gen.materialsproject.org/api"
_KEY_LENGTH = 32
_TOTAL = re.compile(rb'"total_doc"\s*:\s*(-?\d+)')
_CHUNK = 1 << 16  # bytes before they are unpacked, to at most a thousand times as many
_MOST_TEXT = 10_000  # bytes of a refusal that are read
_COLOURS = re.compile(r"\x1b\[\d+m")


def rester_class(heartbeat: dict[str, Any]) -> Any:
    """The client's class for summaries, spared what we do for it.

    Parameters
    ----------
    heartbeat : dict
        What the endpoint says of itself; the client would ask without a time-out.

    Raises
    ------
    SourceError
        If the client is not installed.
    """
    real = client_class()

    # The client takes no session or time-out for its heartbeat and no list of fields: without the
    # first override a silent server would hang the pull, and a process would know one version for
    # ever; without the second a page of 1,000 rows would take a quarter of a second more, since
    # the client builds its model's JSON schema anew for each field that is asked for.
    class Summaries(real):  # type: ignore[misc, valid-type]
        @cached_property
        def available_fields(self) -> list[str]:
            return list(super().available_fields)

        @staticmethod
        def _get_heartbeat_info(endpoint: str) -> tuple[str, list[str]]:
            return heartbeat["db_version"], heartbeat["access_controlled_batch_ids"]

    return Summaries


def client_class() -> Any:
    """The client's own class for summaries, ``SummaryRester``.

    Raises
    ------
    SourceError
        If the client is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that it imports
            from mp_api.client.routes.materials.summary import SummaryRester
    except ImportError as error:
        raise SourceError(
            f"the Materials Project is read by its own client mp-api, which cannot be imported "
            f"({error}): pip install 'irnet-screening[databases]'"
        ) from error
    return SummaryRester


def checked_key(key: str | None) -> str:
    """A key that may be one.

    Raises
    ------
    SourceError
        If there is none, or it is too long or too short; the message does not hold it.
    """
    key = (key or "").strip()
    if not key:
        raise SourceError(
            f"the Materials Project wants a key: take yours from {KEY_PAGE} and export it as "
            "MP_API_KEY"
        )
    if len(key) != _KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise SourceError(
            f"MP_API_KEY has {len(key)} characters, and a key of the Materials Project has "
            f"{_KEY_LENGTH} plain ones: copy it anew from {KEY_PAGE}"
        )
    return key


class Client:
    """The real client for one endpoint.

    Parameters
    ----------
    key, endpoint : str
        Endpoint with a slash at its end.
    heartbeat : dict
        What the endpoint says of itself.
    http : Http
        For its settings, and to redact what the server says.

    Raises
    ------
    SourceError
        If the client is not installed or does not like its parameters.
    """

    def __init__(self, key: str, endpoint: str, heartbeat: dict[str, Any], http: Http) -> None:
        import requests

        self.endpoint, self.http = endpoint, http
        self._shown = shown_url(endpoint)
        self.session = requests.Session()
        self.session.headers["x-api-key"] = key
        self.session.headers["accept-encoding"] = "gzip"
        self.session.headers["user-agent"] = (
            f"mp-api/{metadata.version('mp-api')} {requests.utils.default_user_agent()}"
        )
        self.session.hooks["response"].append(self._arrived)
        self._total = self._sent = 0
        self._rester = rester_class(heartbeat)(
            api_key=key,
            endpoint=endpoint,
            use_document_model=False,
            mute_progress_bars=True,
            session=self.session,
            timeout=http.settings.http_timeout_s,
        )

    def search(
        self, what: str, expected: int | None = None, **arguments: Any
    ) -> tuple[list[dict[str, Any]], int]:
        """Documents and the server's count of all that fit.

        Parameters
        ----------
        what : str
            What is asked for, for messages.
        expected : int, optional
            The server's count, which no answer may contradict.
        **arguments
            For ``SummaryRester.search``; one page of them must be meant.

        Raises
        ------
        Unanswered, SourceError
            As for :meth:`infra.pull.http.Http.get`.
        """
        from mp_api.client.core.exceptions import MPRestError

        def ask() -> tuple[list[dict[str, Any]], int]:
            try:
                rows = self._rester.search(**arguments)
            except MPRestError as error:
                raise self._explained(error) from None
            if len(rows) != self._sent:
                raise Transient("a count that is less than the rows that came with it")
            if expected is not None and self._total != expected:
                raise Transient("another count of documents than before")
            if not all(isinstance(row["material_id"], str) and row["material_id"] for row in rows):
                raise Transient("a document without material_id")
            return rows, self._total

        where = shown_url(f"{self.endpoint}materials/summary/")
        return self.http.call(ask, f"{where} ({what})")

    # -------------------------------------------------------------------------------------
    def _arrived(self, response: requests.Response, **_: Any) -> None:
        """Look at an answer before the client does."""
        status = response.status_code
        if reason := odd_coding(response.headers.get("content-encoding")):
            raise SourceError(f"{self._shown}: {reason}; tell those who keep the server")
        if status in (408, 425, 429) or status >= 500:
            after = retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
            blocked = " (this machine is blocked)" if "blocked" in self._text(response, 500) else ""
            raise Transient(f"HTTP {status}{blocked}", after)
        if status in (401, 403):
            raise SourceError(
                f"the Materials Project refuses the key in MP_API_KEY (HTTP {status}: "
                f"{self._text(response)}): copy it anew from {KEY_PAGE}"
            )
        if 300 <= status < 400:
            host = shown_url(response.headers.get("location", "nowhere").partition("?")[0])
            raise SourceError(
                f"{self._shown} redirects to {host}, where the key is not sent: set "
                "MP_API_ENDPOINT to the address that answers"
            )
        if status >= 400:
            raise SourceError(
                f"the Materials Project does not take the request (HTTP {status}: "
                f"{self._text(response)}): check the filter, or install another mp-api"
            )
        if status != 200:
            raise Transient(f"HTTP {status} without data")
        self._read(response)
        found = _TOTAL.search(response.content, max(response.content.rfind(b'"total_doc"'), 0))
        if found is None:
            raise Transient("no JSON with a count of documents")
        self._total, self._sent = int(found[1]), response.content.count(b'"material_id"')
        if self._total < 0:
            raise Transient("a negative count of documents")

    def _read(self, response: requests.Response) -> None:
        """Take the body, but not more than is allowed."""
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > (most := self.http.settings.http_most_bytes):
                raise SourceError(
                    f"{self._shown}: an answer is longer than {most:,} bytes; raise "
                    "IRNET_HTTP_MOST_BYTES if that is right"
                )
        response._content = bytes(body)  # where the client will find it

    def _text(self, response: requests.Response, most: int = 200) -> str:
        """Beginning of a refusal in words."""
        body = bytearray()
        for chunk in response.iter_content(_MOST_TEXT):
            body += chunk
            if len(body) >= _MOST_TEXT:
                break
        response.close()
        text = re.sub(r"<[^>]*>", " ", body[:_MOST_TEXT].decode(errors="replace"))
        return self.http.redacted(" ".join(text.split()))[:most] or "no text"

    def _explained(self, error: Exception) -> Exception:
        """What the client's error means: it wraps those of requests."""
        import requests

        cause = error.__context__
        if isinstance(cause, requests.exceptions.SSLError):
            return SourceError(f"{self._shown}: {cause}; check the address or the certificates")
        if isinstance(cause, requests.Timeout):
            return Transient("time-out")
        if isinstance(cause, requests.exceptions.ChunkedEncodingError):
            return Transient("truncated answer")
        if isinstance(cause, requests.exceptions.ContentDecodingError):
            return Transient("damaged compression")
        if isinstance(cause, requests.ConnectionError):
            return Transient("connection reset")
        text = " ".join(_COLOURS.sub("", str(error)).split())
        return SourceError(f"mp-api refuses the request: {text[:300]}; check the filter")
