"""Archives that are whole, broken, or built to do harm."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import stat
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

from infra.pull.archive import Damaged, check_zip, open_gzip, open_member
from infra.settings import Settings
from irnet_core.errors import SourceError

NAME = "data.json"
TEXT = json.dumps([{"jid": f"JVASP-{n}", "value": n / 7} for n in range(2000)]).encode()


def made(
    path: Path,
    *members: tuple[str, bytes],
    method: int = zipfile.ZIP_DEFLATED,
    mode: int = 0o644,
    before: str | None = None,
) -> Path:
    """A zip archive; the member `before` is written with a link's or a device's mode."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.filename = name  # also what ZipInfo would clean
            info.external_attr = (mode if name == before else stat.S_IFREG | 0o644) << 16
            info.compress_type = method
            archive.writestr(info, data)
    return path


def all_of(path: Path, settings: Settings | None = None) -> bytes:
    with open_member(path, NAME, settings or Settings()) as file:
        return file.read()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [-1, 1000, 1 << 20])
def test_a_member_is_read_whole(tmp_path: Path, method: int, size: int) -> None:
    path = made(tmp_path / "x.zip", ("other/readme.txt", b"hello"), (NAME, TEXT), method=method)
    check_zip(path, NAME, Settings())
    with open_member(path, NAME, Settings()) as file:
        assert b"".join(iter(lambda: file.read(size), b"")) == TEXT


def test_nothing_is_written_to_disk(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT))
    all_of(path)
    assert os.listdir(tmp_path) == ["x.zip"]


# broken ----------------------------------------------------------------------------------
@pytest.mark.parametrize("cut", [0, 1, 21, 100, -1, -22, -100])
def test_a_cut_archive_is_damaged(tmp_path: Path, cut: int) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(Damaged, match="is damaged .*: delete it and pull again"):
        check_zip(path, NAME, Settings())


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_flipped_byte_never_goes_unnoticed(tmp_path: Path, place: int) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT))
    data = bytearray(path.read_bytes())
    data[place * len(data) // 100] ^= 0xFF
    path.write_bytes(data)
    with contextlib.suppress(SourceError):
        assert all_of(path) == TEXT  # flags, times and the like, which say nothing of the data


def test_html_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"<html>" * 27)
    with pytest.raises(Damaged, match="not a zip file"):
        check_zip(path, NAME, Settings())


def test_errors_of_the_reader_stay_what_they_are(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT))
    with pytest.raises(ValueError, match="mine"), open_member(path, NAME, Settings()):
        raise ValueError("mine")


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read .*none.zip: No such file"):
        check_zip(tmp_path / "none.zip", NAME, Settings())


# built to do harm ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["../data.json", "a/../../b", "/etc/passwd", "\\etc\\passwd", "..\\x", "C:\\x", "c:x"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT), (name, b"x"))
    with pytest.raises(SourceError, match="is not opened, its member .* lies outside of it"):
        all_of(path)


def test_names_with_control_characters_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT), ("a\nb", b"x"))
    with pytest.raises(SourceError, match="control characters"):
        all_of(path)


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
@pytest.mark.parametrize("name", [NAME, "other"])
def test_links_and_devices_are_refused(tmp_path: Path, mode: int, name: str) -> None:
    members = {NAME: TEXT, name: b"/etc/passwd"}
    path = made(tmp_path / "x.zip", *members.items(), mode=mode, before=name)
    with pytest.raises(SourceError, match="is a link or a device"):
        all_of(path)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT))
    data = bytearray(path.read_bytes())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        data[data.index(mark) + (6 if mark.endswith(b"\x04") else 8)] |= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match="is encrypted"):
        all_of(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT), method=method)
    with pytest.raises(SourceError, match="not by deflate"):
        all_of(path)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(NAME, "w") as file,
    ):
        for _ in range(100):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(SourceError, match="unpacks to more than 67,108,864 bytes: raise IRNET_"):
        check_zip(path, NAME, Settings())
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    check_zip(path, NAME, Settings(archive_most_ratio=2000))
    with pytest.raises(SourceError, match="unpacks to more than 1,000 bytes"):
        check_zip(path, NAME, Settings(archive_most_bytes=1000))


def test_a_member_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", (NAME, TEXT))
    data = path.read_bytes()
    said = len(TEXT).to_bytes(4, "little")
    assert data.count(said) == 2
    path.write_bytes(data.replace(said, (100).to_bytes(4, "little")))
    with pytest.raises(Damaged, match="CRC"):
        all_of(path)


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", (NAME, os.urandom(50_000)), ("b", b""))
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 20 : second + 24] = (50_000).to_bytes(4, "little")  # its packed length
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"Overlapped|longer than itself|damaged"):
        all_of(path)


def test_a_member_must_be_there_once(tmp_path: Path) -> None:
    path = made(tmp_path / "x.zip", ("b.json", TEXT))
    with pytest.raises(SourceError, match="'data.json' is not in it, but 'b.json'"):
        all_of(path)
    path = made(tmp_path / "y.zip", (NAME, TEXT), (NAME, b"[]"))
    with pytest.raises(SourceError, match="'data.json' is 2 times in it"):
        all_of(path)
    path = made(tmp_path / "z.zip", *((f"{n}", b"") for n in range(1001)))
    with pytest.raises(SourceError, match="it has 1,001 members"):
        all_of(path)
    path = made(tmp_path / "e.zip")
    with pytest.raises(SourceError, match="not in it, but nothing"):
        all_of(path)


# gzip ------------------------------------------------------------------------------------
def test_gzip_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(TEXT))
    with open_gzip(path, Settings()) as file:
        assert file.read(10) + file.read() == TEXT


@pytest.mark.parametrize("cut", [0, 5, 100, -4, -9])
def test_cut_gzip_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.json.gz"
    data = gzip.compress(TEXT)
    path.write_bytes(data[:cut] if cut else b"<html>")
    with pytest.raises(Damaged), open_gzip(path, Settings()) as file:
        file.read()


def test_a_gzip_with_another_checksum_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    data = bytearray(gzip.compress(TEXT))
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="CRC"), open_gzip(path, Settings()) as file:
        file.read()


def test_a_gzip_bomb_is_refused_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    path.write_bytes(buffer.getvalue())
    with (
        open_gzip(path, Settings()) as stream,
        pytest.raises(SourceError, match="unpacks to more than 67,108,864 bytes"),
    ):
        all(iter(lambda: stream.read(1 << 20), b""))
