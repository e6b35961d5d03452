"""An archive as large as that of JARVIS, 94,000 entries, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.bench_jarvis import ENTRIES, make_archive, pull
from standins.figshare import Figshare

MOST_MIB = 1024
LEAST_ROWS_S = 4000  # a fifth of what an idle machine does: this one may be busy


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_large_archive_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    length = make_archive(path)
    with Figshare(path.read_bytes()) as figshare:
        found = pull(figshare.url, tmp_path)
    print(found)  # noqa: T201
    assert found["rows"] == ENTRIES
    assert length > 200 << 20  # of JSON, which would come to several times that as Python objects
    assert found["mib_peak"] < MOST_MIB
    assert found["rows_s"] > LEAST_ROWS_S
