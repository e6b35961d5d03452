"""What every stand-in server has: a thread that speaks HTTP, and faults to order."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit

HTML = b"<html><head><title>Bad gateway</title></head><body><h1>nginx</h1></body></html>"


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    query: list[tuple[str, str]]
    raw_query: str
    headers: dict[str, str]

    @property
    def params(self) -> dict[str, str]:
        """The last value of each parameter."""
        return dict(self.query)


@dataclass(frozen=True)
class Reply:
    """What the server says to it."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


#: Faults of the way from server to client, which a stand-in need know nothing of.
FAULTS = (
    "429",
    "429 with Retry-After",
    "500",
    "502",
    "503",
    "504",
    "reset",
    "timeout",
    "truncated",
    "empty 202",
    "html 200",
)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that have gone; other errors are the stand-in's own."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class StandIn:
    """A server on a free port of this machine, stopped at the end of a ``with`` block.

    Subclasses answer in :meth:`respond`. Requests are counted in ``seen`` by path. A fault hits the
    n-th request (counted from 0) of those for which :meth:`faulty` is true, and the following
    ``times - 1``; -1 is for ever.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.slow_s = 1.0  # how long a "timeout" keeps the client waiting
        self.retry_after_s = 1
        self._faults: list[list[int | str]] = []
        self._number = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def url(self) -> str:
        """Address without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def order(self, fault: str, at: int = 0, times: int = 1) -> None:
        """Let a fault of :data:`FAULTS` happen."""
        if fault not in FAULTS:
            raise ValueError(fault)
        self._faults.append([fault, at, times])

    def respond(self, request: Request) -> Reply:
        """Answer a request."""
        raise NotImplementedError

    def faulty(self, request: Request) -> bool:
        """Whether ordered faults may hit this request; by default all."""
        return True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -------------------------------------------------------------------------------------
    def _fault(self, request: Request) -> str | None:
        with self._lock:
            self.seen[request.path] += 1
            self.requests.append(request)
            if not self.faulty(request):
                return None
            number = self._number
            self._number += 1
            for fault, at, times in self._faults:
                if number >= at and (times == -1 or number < at + times):
                    return str(fault)
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # headers and body in one packet

            def log_message(self, *_: object) -> None:
                pass

            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                request = Request(
                    self.command,
                    parts.path,
                    parse_qsl(parts.query, keep_blank_values=True),
                    parts.query,
                    {name.lower(): value for name, value in self.headers.items()},
                )
                fault = stand_in._fault(request)
                if fault == "reset":
                    # closing with a linger of 0 seconds sends RST instead of FIN
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    self.close_connection = True
                    return
                if fault == "timeout":
                    time.sleep(stand_in.slow_s)
                if fault in (None, "timeout", "truncated"):
                    self.send(stand_in.respond(request), cut=fault == "truncated")
                elif fault == "empty 202":
                    challenge = {"x-amzn-waf-action": "challenge", "Content-Type": "text/html"}
                    self.send(Reply(b"", 202, challenge))
                elif fault == "html 200":
                    self.send(Reply(HTML, 200, {"Content-Type": "text/html"}))
                else:
                    headers = {"Content-Type": "text/html"}
                    if fault == "429 with Retry-After":
                        headers["Retry-After"] = str(stand_in.retry_after_s)
                    self.send(Reply(HTML, int(fault[:3]), headers))

            def send(self, reply: Reply, cut: bool = False) -> None:
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in reply.headers:
                        self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(reply.body[: len(reply.body) // 2] if cut else reply.body)
                    self.wfile.flush()
                except (BrokenPipeError, ConnectionResetError):  # the client has given up
                    self.close_connection = True
                if cut:
                    self.close_connection = True

            do_GET = do_POST = do_HEAD = handle_any

        return Handler
