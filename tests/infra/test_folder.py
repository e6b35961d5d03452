import os
import subprocess
import uuid

import pyarrow as pa
import pytest

from infra.folder import Folder
from irnet_core.errors import DataError, StoreError

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})


@pytest.fixture(params=["local", "file", "memory"])
def folder(request, tmp_path):
    """An empty folder on the local disk, by path or by URL, and one that counts as remote."""
    if request.param == "memory":
        return Folder(f"memory://{uuid.uuid4().hex}")
    return Folder(f"{'file://' if request.param == 'file' else ''}{tmp_path}/root")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte, and the means to make it read-only."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_write_and_read(folder):
    child = folder.child("deep", "er")
    assert child.names() == []
    assert not child.has("t.parquet")
    record = child.write_table("t.parquet", TABLE, row_group_size=2)
    assert record.rows == 3
    assert record == child.describe("t.parquet")
    assert child.read_table("t.parquet").equals(TABLE)
    assert child.read_table("t.parquet", ["b"]).column_names == ["b"]
    assert child.size("t.parquet") == record.bytes
    child.write_bytes("b.txt", b"one")
    child.write_bytes("b.txt", b"two")
    assert child.read_bytes("b.txt") == b"two"
    assert child.names() == ["b.txt", "t.parquet"]
    assert folder.folders() == ["deep"]
    child.remove("b.txt")
    child.remove("b.txt")
    assert child.names() == ["t.parquet"]
    child.remove_all()
    child.remove_all()
    assert child.names() == []


def test_functions_for_workers(folder):
    there = Folder(folder.url)
    record = there.write_table("t.parquet", TABLE)
    assert record == Folder(folder.url).describe("t.parquet")
    assert there.read_table("t.parquet", ["a"]).equals(TABLE.select(["a"]))
    there.write_bytes("b", b"1")
    assert there.read_bytes("b") == b"1"
    assert there.has("b")
    assert not there.has("c")


def test_failed_write_leaves_nothing(folder):
    folder.write_bytes("kept", b"before")

    def fail(file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    for name in ("kept", "new"):
        with pytest.raises(KeyboardInterrupt):
            folder.write(name, fail)
    assert list(folder.entries()) == ["kept"]
    assert folder.read_bytes("kept") == b"before"


def test_leftovers_are_passed_over_and_cleaned(tmp_path):
    folder = Folder(tmp_path)
    folder.write_bytes("kept", b"1")
    (tmp_path / ".tmp-kept-0123").write_bytes(b"half")
    assert folder.names() == ["kept"]
    folder.clean()
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0b", "a\nb", "a" * 201, "ä"]
)
def test_names_cannot_lead_out(folder, name):
    for use in (folder.has, folder.read_bytes, folder.remove, folder.describe):
        with pytest.raises(StoreError, match="is no file name"):
            use(name)
    with pytest.raises(StoreError, match="is no file name"):
        folder.write_bytes(name, b"")


def test_table_needs_its_ending(folder):
    with pytest.raises(StoreError, match=r"let its name end in \.parquet"):
        folder.write_table("t.csv", TABLE)


def test_missing_column_lists_those_there(folder):
    folder.write_table("t.parquet", TABLE)
    with pytest.raises(DataError, match="column 'c': there is no such column, take one of a, b"):
        folder.read_table("t.parquet", ["a", "c"])


def test_missing_and_damaged_files(folder):
    with pytest.raises(StoreError, match="No such file or directory; check IRNET_STORE"):
        folder.read_bytes("absent")
    folder.write_bytes("t.txt", b"PAR1 and nonsense")
    data = folder.read_bytes("t.txt")
    with folder.fs.open(f"{folder.path}/t.parquet", "wb") as file:
        file.write(data)
    with pytest.raises(StoreError, match="the file is damaged"):
        folder.read_table("t.parquet")


def test_unknown_file_system():
    with pytest.raises(StoreError, match="cannot open the store nowhere://x"):
        Folder("nowhere://x")


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folder("~/x").url == f"{tmp_path}/x"


def test_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="a file lies where a folder should be"):
        Folder(tmp_path / "file" / "below").write_bytes("a", b"")
    assert not Folder(tmp_path / "file" / "below").has("a")


def test_full_disk(small_disk):
    folder = Folder(small_disk / "store")
    folder.write_bytes("small", b"1")
    with pytest.raises(StoreError, match="No space left on device; free some space"):
        folder.write_bytes("big", bytes(2_000_000))
    noise = os.urandom(2_000_000)
    with pytest.raises(StoreError, match="No space left on device; free some space"):
        folder.write_table("big.parquet", pa.table({"a": [noise[i::2] for i in (0, 1)]}))
    assert list(folder.entries()) == ["small"]


def test_read_only_disk(small_disk):
    folder = Folder(small_disk)
    folder.write_bytes("a", b"1")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for change in (
        lambda: folder.write_bytes("b", b""),
        lambda: folder.child("new").write_bytes("b", b""),
        lambda: folder.remove("a"),
    ):
        with pytest.raises(StoreError, match="Read-only file system; set IRNET_STORE to a folder"):
            change()
    assert folder.read_bytes("a") == b"1"


@pytest.mark.parametrize("url", ["memory://", "memory:///", "s3://"])
def test_a_url_without_a_folder(url):
    with pytest.raises(StoreError, match=f"cannot open the store {url}: it names no bucket or"):
        Folder(url)
