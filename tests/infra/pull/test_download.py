"""Downloads that break off, are cut, or are something else."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
from pathlib import Path

import pytest
from standins.figshare import FILE_ID, Figshare

from infra.pull.archive import Damaged
from infra.pull.download import Digests, Expected, digests, fetch_file
from infra.pull.http import Http, Unanswered
from infra.settings import Settings
from irnet_core.errors import SourceError

CONTENT = os.urandom(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RIGHT = Digests(len(CONTENT), MD5, SHA256)
NOTHING = Expected()


@pytest.fixture
def http() -> Http:
    return Http(
        "files", Settings(http_timeout_s=2, http_attempts=4, http_backoff_s=0.01, request_gap_s=0)
    )


def no_look(path: Path) -> None:
    pass


def fetch(
    figshare: Figshare, http: Http, path: Path, expected: Expected = NOTHING, look=no_look
) -> Digests:
    return fetch_file(http, f"{figshare.url}/files/{FILE_ID}", path, expected, look)


def left(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


def ranges(figshare: Figshare) -> list[str]:
    """Parts that were asked for, of requests for the file itself."""
    asked = [r for r in figshare.requests if r.path.startswith("/signed")]
    return [r.headers.get("range", "") for r in asked]


def test_a_file_is_downloaded_through_a_redirect(tmp_path: Path, http: Http) -> None:
    path = tmp_path / "new" / "file.zip"
    with Figshare(CONTENT) as figshare:
        assert fetch(figshare, http, path) == RIGHT == digests(path)
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == ["file.zip"]


def test_it_goes_on_where_it_broke_off(tmp_path: Path, http: Http) -> None:
    with Figshare(CONTENT) as figshare:
        figshare.cut_at = [100_000, 50_000, 0]
        found = fetch(figshare, http, tmp_path / "f", Expected(len(CONTENT), MD5, SHA256))
        assert ranges(figshare) == ["", "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert found == RIGHT
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert sum(http.retries.values()) == 3


@pytest.mark.parametrize("lacking", ["ranges", "tagged"])
def test_it_begins_anew_where_the_server_cannot(tmp_path: Path, http: Http, lacking: str) -> None:
    with Figshare(CONTENT) as figshare:
        setattr(figshare, lacking, False)
        figshare.cut_at = [100_000, 50_000]
        assert fetch(figshare, http, tmp_path / "f") == RIGHT


def test_a_file_that_changes_on_the_way_is_not_patched_together(tmp_path: Path, http: Http) -> None:
    other = os.urandom(200_000)
    with Figshare(other) as figshare:
        figshare.sent, figshare.sent_times, figshare.cut_at = CONTENT, 1, [100_000]
        fetch(figshare, http, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == other


@pytest.mark.parametrize(
    "what", [{"bytes": len(CONTENT)}, {"md5": MD5.upper()}, {"sha256": SHA256}]
)
def test_what_is_not_as_expected_is_asked_for_again(
    tmp_path: Path, http: Http, what: dict[str, object]
) -> None:
    with Figshare(CONTENT) as figshare:
        figshare.sent, figshare.sent_times = CONTENT[:-1], 2  # its headers fit, all the same
        assert fetch(figshare, http, tmp_path / "f", Expected(**what)) == RIGHT  # type: ignore[arg-type]
        assert len(ranges(figshare)) == 3

        figshare.sent_times = -1
        with pytest.raises(Unanswered, match=r"a file with (299,999 bytes instead|another)"):
            fetch(figshare, http, tmp_path / "g", Expected(**what))  # type: ignore[arg-type]
    assert left(tmp_path) == ["f"]


def test_what_does_not_stand_a_look_is_asked_for_again(tmp_path: Path, http: Http) -> None:
    looks: list[str] = []

    def look(path: Path) -> None:
        looks.append(path.name)
        if path.read_bytes() != CONTENT:
            raise Damaged("no zip")

    with Figshare(CONTENT) as figshare:
        figshare.sent, figshare.sent_times = b"PK", 1
        assert fetch(figshare, http, tmp_path / "f", look=look) == RIGHT
        assert looks == ["f.part", "f.part"]
        figshare.sent, figshare.sent_times = b"PK", -1
        with pytest.raises(Unanswered, match="a file with damage"):
            fetch(figshare, http, tmp_path / "g", look=look)
        # the checksum says that this is the file: asking again is no use
        expected = Expected(md5=hashlib.md5(b"PK").hexdigest())
        before = len(ranges(figshare))
        with pytest.raises(SourceError, match="damaged all the same") as error:
            fetch(figshare, http, tmp_path / "g", expected, look)
        assert not isinstance(error.value, Unanswered)
        assert len(ranges(figshare)) == before + 1
    assert left(tmp_path) == ["f"]


@pytest.mark.parametrize("fault", ["empty 202", "html 200", "503", "reset", "truncated", "429"])
def test_faults_on_the_way(tmp_path: Path, http: Http, fault: str) -> None:
    with Figshare(CONTENT) as figshare:
        figshare.order(fault, at=1, times=2)  # the redirect, then the file
        assert fetch(figshare, http, tmp_path / "f", Expected(md5=MD5)) == RIGHT
    with Figshare(CONTENT) as figshare:
        figshare.order(fault, at=1, times=-1)
        with pytest.raises(Unanswered, match="asked 4 times"):
            fetch(figshare, http, tmp_path / "g", Expected(md5=MD5))
    assert left(tmp_path) == ["f"]


def test_a_file_that_is_right_is_kept(tmp_path: Path, http: Http) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    with Figshare(b"another") as figshare:
        assert fetch(figshare, http, tmp_path / "f", Expected(sha256=SHA256)) == RIGHT
        assert not figshare.requests
        fetch(figshare, http, tmp_path / "f", Expected(bytes=7))
    assert (tmp_path / "f").read_bytes() == b"another"


def test_a_file_that_cannot_be_had_leaves_the_old_one(tmp_path: Path, http: Http) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with Figshare(CONTENT) as figshare:
        figshare.order("500", times=-1)
        with pytest.raises(Unanswered):
            fetch(figshare, http, tmp_path / "f", Expected(md5=MD5))
    assert (tmp_path / "f").read_bytes() == b"old"


def test_what_an_earlier_process_left_is_not_trusted(tmp_path: Path, http: Http) -> None:
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    with Figshare(CONTENT) as figshare:
        assert fetch(figshare, http, tmp_path / "f") == RIGHT
        (tmp_path / "elsewhere").write_text("keep")
        (tmp_path / "g.part").symlink_to(tmp_path / "elsewhere")
        assert fetch(figshare, http, tmp_path / "g") == RIGHT
    assert (tmp_path / "elsewhere").read_text() == "keep"
    assert left(tmp_path) == ["elsewhere", "f", "g"]


def test_there_is_a_limit_to_its_length(tmp_path: Path) -> None:
    few = Settings(archive_most_bytes=1000, request_gap_s=0)
    with (
        Figshare(CONTENT) as figshare,
        Http("files", few) as http,
        pytest.raises(SourceError, match="longer than 1,000 bytes: raise IRNET_ARCHIVE_MOST_BYTES"),
    ):
        fetch(figshare, http, tmp_path / "f")
    assert left(tmp_path) == []


def test_a_password_in_the_address_is_not_shown(tmp_path: Path) -> None:
    def damaged(path: Path) -> None:
        raise Damaged("no zip")

    with Figshare(CONTENT) as figshare:
        url = f"{figshare.url.replace('://', '://me:s3cret@')}/files/{FILE_ID}"
        for expected, most, said in (
            (NOTHING, 1000, "longer than"),
            (Expected(md5=MD5), 1_000_000, "damaged all the same"),
        ):
            settings = Settings(archive_most_bytes=most, request_gap_s=0)
            with Http("files", settings) as http, pytest.raises(SourceError, match=said) as error:
                fetch_file(http, url, tmp_path / "f", expected, damaged)
            assert f"{figshare.url}/files" in str(error.value)
            assert "s3cret" not in str(error.value)


def test_a_full_disk_is_said_and_nothing_left(tmp_path: Path, http: Http) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # writing more fails
    try:
        with (
            Figshare(CONTENT) as figshare,
            pytest.raises(SourceError, match="cannot keep .*f: File too large; make room"),
        ):
            fetch(figshare, http, tmp_path / "f")
        assert len(ranges(figshare)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, http: Http) -> None:
    (tmp_path / "file").write_text("")
    with Figshare(CONTENT) as figshare, pytest.raises(SourceError, match="cannot keep"):
        fetch(figshare, http, tmp_path / "file" / "f")


def test_two_that_want_the_same_file_download_it_once(tmp_path: Path) -> None:
    found: list[Digests] = []

    def one() -> None:
        with Http("files", Settings(request_gap_s=0)) as http:
            found.append(fetch(figshare, http, tmp_path / "f", Expected(md5=MD5)))

    with Figshare(CONTENT) as figshare:
        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ranges(figshare)) == 1
    assert found == [RIGHT] * 3
