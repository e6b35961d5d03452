"""An S3-like object store over a local folder: GET with ranges, HEAD and ListObjectsV2."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote
from xml.sax.saxutils import escape

from standins.base import Reply, Request, StandIn

_DATE = "Mon, 13 Apr 2026 00:00:00 GMT"


class Buckets:
    """The files below a folder; its first level are the buckets.

    Attributes
    ----------
    missing : set of str
        Keys that are answered with 404 though they are there.
    spoilt : int
        Answers with (parts of) Parquet files whose last bytes are others.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing: set[str] = set()
        self.spoilt = 0

    def respond(self, request: Request) -> Reply:
        """Answer a request."""
        bucket, _, key = unquote(request.path).lstrip("/").partition("/")
        if "list-type" in request.params:
            return self._listing(bucket, request.params)
        path = self.folder / bucket / key
        if not key or key in self.missing or not path.is_file():
            body = f"<Error><Code>NoSuchKey</Code><Key>{escape(key)}</Key></Error>"
            return Reply(body.encode(), 404, {"Content-Type": "application/xml"})
        data = path.read_bytes()
        headers = {
            "Content-Type": "application/octet-stream",
            "Last-Modified": _DATE,
            "ETag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        if asked := re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "")):
            first, last = asked[1], asked[2]
            start = int(first) if first else len(data) - int(last)
            end = int(last) if first and last else len(data) - 1
            end = min(end, len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            body = data[start : end + 1]
            if self.spoilt and key.endswith(".parquet"):
                self.spoilt -= 1
                body = body[:-8] + b"spoilt!!"[-len(body) :]
            return Reply(body, 206, headers)
        return Reply(data, 200, headers)

    def _listing(self, bucket: str, asked: dict[str, str]) -> Reply:
        """At most 100 keys at a time, so that clients must go on with the token."""
        root, prefix = self.folder / bucket, asked.get("prefix", "")
        after = max(asked.get("start-after", ""), asked.get("continuation-token", ""))
        files = (p for p in root.rglob("*") if p.is_file())
        keys = sorted(str(path.relative_to(root)) for path in files)
        keys = [key for key in keys if key.startswith(prefix) and key > after]
        more = len(keys) > 100
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-04-13T00:00:00.000Z"
            f'</LastModified><ETag>"x"</ETag><Size>{(root / key).stat().st_size}</Size></Contents>'
            for key in keys[:100]
        )
        token = f"<NextContinuationToken>{escape(keys[99])}</NextContinuationToken>" if more else ""
        body = (
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{len(keys[:100])}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{entries}{token}</ListBucketResult>"
        )
        return Reply(body.encode(), 200, {"Content-Type": "application/xml"})


class S3StandIn(StandIn):
    """A server of buckets; faults hit the Parquet files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.buckets = Buckets(folder)

    def faulty(self, request: Request) -> bool:
        return request.path.endswith(".parquet")

    def respond(self, request: Request) -> Reply:
        return self.buckets.respond(request)
