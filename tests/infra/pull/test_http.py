"""Every fault of the way over real sockets."""

import gzip
import logging
import random
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standins.base import FAULTS, Reply, StandIn

from infra.pull.answers import retry_after_s
from infra.pull.http import Http, Unanswered, attempts_at_most, shown_url
from infra.sources.base import Transient
from irnet_core.errors import SourceError

KEY = "s3cret/key+of-32-characters=0000"


class Echo(StandIn):
    """Answers with what it is asked, or with a reply that is set."""

    reply: Reply | None = None
    replies: list[Reply]

    def __init__(self):
        super().__init__()
        self.replies = []

    def respond(self, request):
        if self.replies:
            return self.replies.pop(0)
        return self.reply or Reply(b'{"path": "%s"}' % request.path.encode())


@pytest.fixture
def server():
    with Echo() as server:
        server.slow_s = 0.9
        server.retry_after_s = 0
        yield server


@pytest.fixture
def http(quick):
    with Http("test", quick(), secrets=[KEY]) as http:
        yield http


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("times", [1, 2])
def test_passing_fault(server, http, fault, times):
    server.order(fault, times=times)
    assert http.json(f"{server.url}/a") == {"path": "/a"}
    assert http.requests == times + 1
    assert sum(http.retries.values()) == times
    assert len(http.retries) == 1
    assert len(server.requests) == times + 1


REASONS = {
    "429": "HTTP 429",
    "429 with Retry-After": "HTTP 429",
    "reset": "connection reset",
    "timeout": "time-out",
    "truncated": "truncated answer",
    "empty 202": "HTTP 202 without data",
    "html 200": "HTML instead of JSON",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lasting_fault(server, http, fault):
    server.order(fault, times=-1)
    reason = REASONS.get(fault, f"HTTP {fault}")
    url = f"{server.url}/a?x=1"
    with pytest.raises(Unanswered) as caught:
        http.json(f"{server.url}/a", {"x": "1"})
    assert str(caught.value) == (
        f"test: asked 3 times, {url} gave no usable answer, the last time {reason}"
    )
    assert caught.value.reason == reason
    assert http.requests == 3
    assert http.retries == {reason: 2}


def test_nobody_listens(http):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unanswered, match="no connection .*refused"):
        http.json(f"http://127.0.0.1:{port}/a")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, "check the filter"),
        (401, "check the key"),
        (403, "check the key, or whether"),
        (404, "check the address"),
        (414, "ask for fewer fields"),
        (422, "check the filter"),
        (501, "check the filter"),
        (304, "check the address"),
    ],
)
def test_refusal_is_final(server, http, status, remedy):
    server.reply = Reply(b"<html><b>Too\nbad</b>, " + KEY.encode() + b"x" * 20_000, status)
    with pytest.raises(SourceError) as caught:
        http.json(f"{server.url}/a")
    assert not isinstance(caught.value, Unanswered)
    text = str(caught.value)
    assert f"test, {server.url}/a: HTTP {status}:" in text
    assert f"; {remedy}" in text
    assert KEY not in text
    assert len(text) < 400
    assert http.requests == 1


def test_waits_as_long_as_the_server_asks(server, http):
    server.order("429 with Retry-After")
    server.retry_after_s = 1
    begun = time.monotonic()
    http.json(server.url)
    assert time.monotonic() - begun >= 1
    assert http.waited_s >= 1


def test_does_not_wait_for_hours(server, http):
    server.order("429 with Retry-After", times=-1)
    server.retry_after_s = 86_400
    with pytest.raises(SourceError, match="asks to wait 86,400 s .*longer than IRNET_HTTP_MOST_WA"):
        http.json(server.url)
    assert http.requests == 1


def test_retry_after_dates():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after_s(format_datetime(now + timedelta(seconds=90)), now) == 90
    assert retry_after_s(format_datetime(now - timedelta(seconds=90)), now) == 0
    assert retry_after_s("Thu, 01 Jan 2026 00:01:00 -0000", now) == 60


@given(st.text(max_size=30))
def test_any_retry_after(text):
    seconds = retry_after_s(text, datetime(2026, 1, 1, tzinfo=UTC))
    assert seconds is None or 0 <= seconds < float("inf")


def test_backoff_doubles_and_is_capped(server, quick, monkeypatch):
    slept = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    server.order("503", times=-1)
    with Http("test", quick(http_backoff_s=1, http_attempts=6, http_most_wait_s=5)) as http:
        with pytest.raises(Unanswered):
            http.json(server.url)
        assert slept == [1, 2, 4, 5, 5]
        assert http.waited_s == 17


def test_jitter(server, quick, monkeypatch):
    slept = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    server.order("503", times=-1)
    settings = quick(http_backoff_s=1, http_attempts=30, http_most_wait_s=1)
    with Http("test", settings) as http, pytest.raises(Unanswered):
        http.json(server.url)
    assert len(set(slept)) == 29
    assert all(0.5 <= wait <= 1 for wait in slept)


def test_gap_between_requests(server, quick):
    with Http("test", quick(request_gap_s=0.1)) as http:
        begun = time.monotonic()
        for _ in range(4):
            http.json(server.url)
        assert time.monotonic() - begun >= 0.3
    gaps = '{"test": 0.0}'
    with Http("test", quick(request_gap_s=9, request_gaps_s=gaps)) as http:
        begun = time.monotonic()
        http.json(server.url)
        http.json(server.url)
        assert time.monotonic() - begun < 5


def test_body_longer_than_allowed(server, quick):
    server.reply = Reply(b"[" + b" " * 5000 + b"]")
    with Http("test", quick(http_most_bytes=1000)) as http:
        with pytest.raises(SourceError, match="longer than 1,000 bytes; raise IRNET_HTTP_MOST_BYT"):
            http.json(server.url)
        assert http.requests == 1


def test_compressed_bomb(server, quick):
    body = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    assert len(body) < 100_000
    server.reply = Reply(body, headers={"Content-Encoding": "gzip"})
    with (
        Http("test", quick(http_most_bytes=1_000_000)) as http,
        pytest.raises(SourceError, match="longer than 1,000,000 bytes"),
    ):
        http.json(server.url)


@pytest.mark.parametrize("status", [200, 302, 404, 503])
@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd"])
def test_what_could_unpack_to_any_length_is_not_unpacked(server, http, status, coding):
    headers = {"Content-Encoding": coding, "Location": f"{server.url}/b"}
    server.reply = Reply(gzip.compress(gzip.compress(b" " * 1_000_000)), status, headers)
    with pytest.raises(SourceError, match=f"/a: the answer is packed as '{coding}', which is more"):
        http.json(f"{server.url}/a", {"key": "secret"})
    assert [r.headers["accept-encoding"] for r in server.requests] == ["gzip"]


def test_a_signed_address_that_was_led_to_is_not_shown(server, http):
    signed = server.url.replace("127.0.0.1", "localhost") + "/b?X-Amz-Signature=0123"
    server.replies = [Reply(b"", 302, {"Location": signed}), Reply(b"Denied", 403)]
    with pytest.raises(SourceError, match="/a: HTTP 403 at localhost: Denied; ") as caught:
        http.json(f"{server.url}/a")
    assert "Signature" not in str(caught.value)


def test_damaged_compression(server, http):
    server.replies = [Reply(b"no gzip", headers={"Content-Encoding": "gzip"})]
    assert http.json(f"{server.url}/a") == {"path": "/a"}
    assert http.retries == {"damaged compression": 1}


class Trickle:
    """Sends a byte now and then for ever, so that no single wait is long."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.close()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.05)
            except OSError:
                if self.socket.fileno() < 0:
                    return


def test_server_that_trickles(quick):
    with Trickle() as server, Http("test", quick(http_timeout_s=0.1, http_attempts=2)) as http:
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        with pytest.raises(Unanswered, match="the last time too slow"):
            http.json(url)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"DB Fail!null", "'DB Fail!null' instead of JSON"),
        (b"", "an empty answer"),
        (b'{"a": 1', "damaged JSON"),
        (b" <!DOCTYPE html>", "HTML instead of JSON"),
        (b"\xff\xfe", "instead of JSON"),
        (b"[" * 100_000, "damaged JSON"),
    ],
)
def test_body_that_is_no_json(server, http, body, reason):
    server.replies = [Reply(body)]
    assert http.json(f"{server.url}/a") == {"path": "/a"}
    (found,) = http.retries
    assert reason in found


def test_value_that_cannot_be_used(server, http):
    server.replies = [Reply(b'{"error": 1}'), Reply(b"[1]")]

    def check(value):
        return None if "path" in value else "no path"

    assert http.json(f"{server.url}/a", check=check) == {"path": "/a"}
    assert http.retries == {"no path": 2}
    # what stumbles over the shape says the same in another way
    server.replies = [Reply(b"[1]"), Reply(b'{"path": null}')]
    assert http.get(f"{server.url}/a", lambda answer: len(orjson.loads(answer.body)["path"])) == 2
    assert sum("another shape" in reason for reason in http.retries) == 2


def test_error_of_the_reader_is_final(server, http):
    def refuse(answer):
        raise SourceError(f"no use, {KEY}")

    with pytest.raises(SourceError, match=r"^no use, \*\*\*$"):
        http.get(server.url, refuse)
    assert http.requests == 1


def test_foreign_client(http):
    answers = iter([Transient("busy", 0.05), Transient(f"busy, {KEY}"), None])

    def ask():
        if error := next(answers):
            raise error
        return 7

    assert http.call(ask, "rows") == 7
    assert http.requests == 3
    assert http.retries == {"busy": 1, "busy, ***": 1}


def test_stream_begins_anew(server, http):
    server.order("truncated")
    server.reply = Reply(b"0123456789" * 100_000)
    seen = []

    def use(arriving):
        seen.append(b"")
        for chunk in arriving.chunks:
            seen[-1] += chunk
        return arriving.status

    assert http.stream(server.url, use, headers={"Range": "bytes=0-"}) == 200
    assert len(seen) == 2
    assert seen[1] == server.reply.body
    assert server.requests[-1].headers["range"] == "bytes=0-"


def test_attempts_at_most(server, http):
    server.order("500", times=-1)
    with attempts_at_most(1), pytest.raises(Unanswered, match="asked once"):
        http.json(server.url)
    with attempts_at_most(1), attempts_at_most(None), pytest.raises(Unanswered, match="3 times"):
        http.json(server.url)


def test_text_query_is_left_alone(server, http):
    summons = "auid('aflow:0'*),Egap(1*,*3),$catalog(icsd),paging(1,1000)"
    http.json(f"{server.url}/API/aflux/", summons)
    assert server.requests[-1].raw_query == summons
    http.json(server.url, {"filter": "a=1 AND b<2", "x": "ä&"})
    assert server.requests[-1].params == {"filter": "a=1 AND b<2", "x": "ä&"}


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "nonsense", "http://h:x/", "http://[::1"])
def test_address_that_is_none(http, url):
    with pytest.raises(SourceError, match="check the address"):
        http.json(url)
    assert http.requests <= 1


def test_secrets_are_in_no_message(server, http, caplog, capfd):
    caplog.set_level(logging.INFO)
    server.order("500", times=-1)
    with pytest.raises(Unanswered) as caught:
        http.json(f"{server.url}/{KEY}", {"key": KEY})
    for secret in (KEY, "s3cret"):
        assert secret not in str(caught.value) + repr(caught.value) + caplog.text
        assert secret not in "".join(capfd.readouterr())
    assert "HTTP Request" not in caplog.text


def test_endless_redirects(server, http):
    server.reply = Reply(b"", 302, {"Location": server.url})
    with pytest.raises(SourceError, match="redirects"):
        http.json(server.url)


def test_shown_url():
    assert shown_url("https://u:p@h.org:1/a?b=c#d") == "https://h.org:1/a?b=c#d"
    assert len(shown_url("https://h.org/" + "x" * 1000)) < 320
