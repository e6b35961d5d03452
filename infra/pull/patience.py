"""Asking again: politely, with growing waits, until an answer can be used or enough is enough."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar
from urllib.parse import quote, quote_plus

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from infra.pull.answers import Unanswered
from infra.pull.protocol import Transient
from infra.settings import Settings
from irnet_core.errors import IRNetError, SourceError

T = TypeVar("T")

_MOST_ATTEMPTS: ContextVar[int | None] = ContextVar("most_attempts", default=None)


@contextmanager
def attempts_at_most(attempts: int | None) -> Iterator[None]:
    """Let every request in the ``with`` block be made at most so often; None is as usual."""
    token = _MOST_ATTEMPTS.set(attempts)
    try:
        yield
    finally:
        _MOST_ATTEMPTS.reset(token)


class Patient:
    """Makes requests to one source, by whatever client, until they succeed.

    Parameters
    ----------
    name : str
        Name of the source, for messages and for its politeness in the settings.
    settings : Settings
        Attempts, waits and limits.
    secrets : collection of str
        Texts that no message may hold, such as a key.

    Attributes
    ----------
    requests : int
        Requests made, repeated ones included.
    retries : Counter
        Times that something was asked again, by reason.
    waited_s : float
        Time spent waiting before asking again.
    """

    def __init__(self, name: str, settings: Settings, secrets: Collection[str] = ()) -> None:
        self.name, self.settings = name, settings
        self.requests, self.waited_s = 0, 0.0
        self.retries: Counter[str] = Counter()
        forms = {f for s in secrets if s for f in (s, quote(s, safe=""), quote_plus(s))}
        self._secrets = sorted(forms, key=len, reverse=True)
        self._gap_s = settings.request_gaps_s.get(name, settings.request_gap_s)
        self._next = 0.0  # when the next request may start

    def call(self, function: Callable[[], T], what: str) -> T:
        """Call a function until it does not raise Transient, politely and with growing waits.

        Parameters
        ----------
        function : callable
            Makes one request, by whatever client.
        what : str
            What is asked for, for messages.

        Raises
        ------
        Unanswered
            If attempts are used up.
        SourceError
            If asking again is no use, or the server asks for too long a wait.
        """
        attempts = self.settings.http_attempts
        if (most := _MOST_ATTEMPTS.get()) is not None:
            attempts = min(attempts, most)
        retrying = Retrying(
            stop=stop_after_attempt(attempts),
            retry=retry_if_exception_type(Transient),
            wait=self._wait_s,
            before_sleep=self._note,
            reraise=True,
        )

        def polite() -> T:
            now = time.monotonic()
            if now < self._next:
                time.sleep(self._next - now)
            self._next = time.monotonic() + self._gap_s
            self.requests += 1
            try:
                return function()
            except IRNetError as error:
                if str(error) != (text := self.redacted(str(error))):
                    raise type(error)(text) from None
                raise
            except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
                text = self.redacted(
                    f"an answer of another shape ({type(error).__name__}: {error})"
                )
                raise Transient(text[:200]) from None

        try:
            return retrying(polite)
        except Transient as error:
            times = "once" if attempts == 1 else f"{attempts} times"
            reason = self.redacted(error.reason)
            raise Unanswered(
                f"{self.name}: asked {times}, {what} gave no usable answer, the last time {reason}",
                reason,
            ) from None

    def redacted(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _wait_s(self, state: RetryCallState) -> float:
        """Seconds to wait: what the server asks for, else doubling with a random part."""
        backoff = self.settings.http_backoff_s * 2.0 ** (state.attempt_number - 1)
        wait = min(backoff, self.settings.http_most_wait_s) * random.uniform(0.5, 1.0)
        asked = _transient(state).retry_after_s
        if asked is not None and asked > self.settings.http_most_wait_s:
            raise SourceError(
                f"{self.name}: the server asks to wait {asked:,.0f} s before the next request, "
                f"longer than IRNET_HTTP_MOST_WAIT_S; run again after that"
            )
        return max(wait, asked or 0.0)

    def _note(self, state: RetryCallState) -> None:
        self.retries[self.redacted(_transient(state).reason)] += 1
        self.waited_s += state.upcoming_sleep


def _transient(state: RetryCallState) -> Transient:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, Transient) else Transient("unknown")
