import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from infra.content import short_digest
from infra.manifest import request_digest
from infra.refs import user_name
from infra.store import Store
from irnet_core.errors import StoreError

REPOSITORY = Path(__file__).parents[2]
TABLE = pa.table({"n": [1, 2, 3]})


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path / "s" if request.param == "local" else f"memory://{tmp_path.name}")


def publish(store, values=(1, 2, 3), kind="features", text=b"text", **options):
    request = request_digest(kind, {}, {"values": values, "note": options.pop("note", "")})
    with store.staging(kind, request) as staging:
        staging.write_table("data.parquet", pa.table({"n": list(values)}))
        staging.write_bytes("note.txt", text)
        staging.write_bytes("part-0", b"left behind")
        return store.publish(
            staging, ["data.parquet", "note.txt"], what="A test.", rows=len(values), **options
        )


def home(store, manifest):
    return store.folder.child(manifest.kind, manifest.id)


def put(store, manifest, name, data):
    with store.folder.fs.open(f"{home(store, manifest).path}/{name}", "wb") as file:
        file.write(data)


def test_publish_and_open(store):
    manifest = publish(
        store,
        inputs={"snapshot": "0" * 16},
        parameters={"k": 1},
        counts={"mean": float("nan")},
        names=["first"],
        licence="CC0",
    )
    assert home(store, manifest).names() == ["data.parquet", "manifest.json", "note.txt"]
    for ref in (manifest.id, manifest.id[:4], "latest", "first", "features/first"):
        assert store.open(ref).manifest == manifest
    artifact = store.open("first", "features")
    assert artifact.read_table("data.parquet").equals(TABLE)
    assert artifact.read_bytes("note.txt") == b"text"
    assert artifact.dataset().to_table().equals(TABLE)
    assert artifact.path("note.txt") == f"{store.root}/features/{manifest.id}/note.txt"
    assert store.verify("first") == []
    assert store.list() == store.list("features") == [manifest]
    assert store.list("models") == []
    assert store.names("features") == {"first": manifest.id, "latest": manifest.id}
    assert manifest.counts == {"mean": None}
    with pytest.raises(StoreError, match=r"has no file 'x': take one of data.parquet, note.txt"):
        artifact.path("x")
    with store.staging("features", manifest.request) as staging:
        assert staging.names() == []


def test_same_content_is_published_once(store):
    first = publish(store, note="one")
    before = home(store, first).read_bytes("manifest.json")
    second = publish(store, note="two", names=["again"], parameters={"other": True})
    assert second == first
    assert home(store, first).read_bytes("manifest.json") == before
    assert store.open("again").id == first.id
    for note in ("one", "two"):
        request = request_digest("features", {}, {"values": (1, 2, 3), "note": note})
        assert store.find("features", request) == first


def test_names_move_on(store):
    first = publish(store, (1,), names=["best"])
    second = publish(store, (2,), names=["best"])
    assert store.open("best").id == store.open("latest").id == second.id
    store.name(first, ["best"])
    assert store.open("best").id == store.open("latest").id == first.id


def test_content_digest_given_by_the_maker(store):
    one = publish(store, note="1", text=b"made on Monday", content={"note.txt": "c" * 64})
    two = publish(store, note="2", text=b"made on Tuesday", content={"note.txt": "c" * 64})
    assert one.id == two.id
    assert store.verify(one.id) == []
    with pytest.raises(StoreError, match="takes no content digest"):
        publish(store, note="3", content={"data.parquet": "c" * 64})


def test_find_wants_whole_files(store):
    assert store.find("features", "0" * 16) is None
    manifest = publish(store)
    assert store.find("features", manifest.request) == manifest
    home(store, manifest).remove("note.txt")
    assert store.find("features", manifest.request) is None
    assert store.verify(manifest.id) == ["note.txt is missing"]
    assert publish(store).id == manifest.id  # and repairs it
    assert store.verify(manifest.id) == []
    assert store.find("features", manifest.request) is not None


@pytest.mark.parametrize("breaking", ["rename", "request"])
def test_publishing_that_breaks_off_leaves_what_the_step_goes_on_from(
    tmp_path, monkeypatch, breaking
):
    """A checkpoint of hours is not thrown away before the artifact is there and found again."""
    store, request = Store(tmp_path), "0123456789abcdef"

    def broken(*_):
        raise OSError(28, "No space left on device")

    with store.staging("models", request) as staging:
        staging.write_bytes("weights", b"1")
        staging.write_bytes("checkpoint", b"2")
        with monkeypatch.context() as patch:
            if breaking == "rename":
                patch.setattr("infra.publish.os.rename", broken)
            else:
                patch.setattr(store.refs, "set", broken)
            with pytest.raises((StoreError, OSError), match="No space left"):
                store.publish(staging, ["weights"], what="x")
    assert store.find("models", request) is None
    with store.staging("models", request) as staging:
        assert staging.read_bytes("checkpoint") == b"2"
        manifest = store.publish(staging, ["weights"], what="x")
    assert store.find("models", request) == manifest
    assert store.verify(manifest.id) == []
    assert os.listdir(tmp_path / "models") == [manifest.id]
    left = [path.name for path in (tmp_path / ".staging" / "models").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []


def test_files_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("infra.publish.os.link", no_links)
    store = Store(tmp_path)
    assert store.verify(publish(store).id) == []


def test_remote_publishing_that_breaks_off_shows_nothing(tmp_path, monkeypatch):
    store = Store(f"memory://{tmp_path.name}")
    copy = type(store.folder.fs).cp_file
    copied = []

    def break_off(self, source, target, **options):
        if copied:
            raise ConnectionError("the line is dead")
        copied.append(target)
        copy(self, source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(store.folder.fs), "cp_file", break_off)
        with pytest.raises(StoreError, match="cannot publish .*: the line is dead; check that"):
            publish(store)
    assert store.folder.fs.exists(copied[0])
    assert store.list() == []
    assert store.names("features") == {}
    manifest = publish(store)
    assert store.list() == [manifest]
    assert store.verify(manifest.id) == []


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("data.parquet", lambda d: d[:9] + bytes([d[9] ^ 1]) + d[10:], "data.parquet"),
        ("note.txt", lambda d: b"tixt", "note.txt has another content"),
        ("note.txt", lambda d: d + b"!", "note.txt has 5 bytes instead of 4"),
        ("more.txt", lambda d: b"", "more.txt does not belong there"),
        ("manifest.json", lambda d: d.replace(b'"rows": 3', b'"rows": 4', 1), None),
        ("manifest.json", lambda d: d.replace(b'"rows"', b'"raws"', 99), None),
    ],
)
def test_verify(store, name, change, problem):
    manifest = publish(store)
    folder = home(store, manifest)
    data = folder.read_bytes(name) if folder.has(name) else b""
    put(store, manifest, name, change(data))
    found = store.verify(manifest.id)
    if problem is None:
        assert name == "manifest.json"
    else:
        assert len(found) == 1
        assert problem in found[0]
    publish(store)
    if problem is not None:
        assert store.verify(manifest.id) == []


def test_damaged_manifest(store):
    manifest = publish(store)
    other = publish(store, (9,))
    put(store, manifest, "manifest.json", b"{")
    with pytest.raises(StoreError, match=r"manifest.json is damaged"):
        store.open(manifest.id)
    with pytest.warns(UserWarning, match=r"manifest.json is damaged"):
        assert store.list() == [other]
    assert store.find("features", manifest.request) is None
    assert publish(store).id == manifest.id
    assert store.open(manifest.id).manifest.id == manifest.id


def test_manifest_of_another_artifact(store):
    one, two = publish(store, (1,)), publish(store, (2,))
    put(store, one, "manifest.json", home(store, two).read_bytes("manifest.json"))
    with pytest.raises(StoreError, match="belongs to"):
        store.open(one.id)


def test_damaged_name(store):
    manifest = publish(store, names=["n"])
    with store.folder.fs.open(f"{store.folder.path}/refs/features/n.json", "wb") as file:
        file.write(b'{"id": "../../x"}')
    with pytest.raises(StoreError, match=r"n.json is damaged: remove it"):
        store.open("n")
    store.name(manifest, ["n"])
    assert store.open("n").id == manifest.id


def test_leftovers_beside_names_are_cleaned_once_they_are_old(tmp_path):
    store = Store(tmp_path)
    publish(store)
    old, new = (tmp_path / "refs" / "features" / f".tmp-{age}" for age in ("old", "new"))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    publish(store, names=["n"])
    assert not old.exists()
    assert new.exists()
    assert store.names("features").keys() == {"latest", "n"}


def test_folder_without_manifest_does_not_exist(store):
    manifest = publish(store)
    home(store, manifest).remove("manifest.json")
    assert store.list() == []
    assert store.find("features", manifest.request) is None
    with pytest.raises(StoreError, match=r"no artifact .* answers to"):
        store.open(manifest.id[:6])


def test_unknown_and_ambiguous(store):
    with pytest.raises(StoreError, match="answers to 'latest': it is empty, run a flow first"):
        store.open("latest")
    one = publish(store, kind="features")
    two = publish(store, kind="models", names=["m"])
    with pytest.raises(StoreError, match=r"'latest' is ambiguous .* features/.*, models/"):
        store.open("latest")
    assert store.open("models/latest").id == two.id
    with pytest.raises(StoreError, match=f"'none': there are .*features/{one.id}.*models/m"):
        store.open("none")
    with pytest.raises(StoreError, match="no artifact among the screens"):
        store.open("m", "screens")
    with pytest.raises(StoreError, match="'song' is no kind of artifact"):
        store.open("m", "song")
    with pytest.raises(StoreError, match="answers to"):  # three digits are too few
        store.open(one.id[:3])


def test_ambiguous_prefix(store):
    by_prefix: dict[str, str] = {}
    for value in range(2000):  # 16 ** 4 prefixes: a pair comes soon enough
        files = {"x": f"{value:064x}"}
        id_ = short_digest(["models", files])
        if id_[:4] in by_prefix:
            break
        by_prefix[id_[:4]] = f"{value:064x}"
    for content in (by_prefix[id_[:4]], f"{value:064x}"):
        with store.staging("models", request_digest("models", {}, {"c": content})) as staging:
            staging.write_bytes("x", b"1")
            manifest = store.publish(staging, ["x"], what="x", content={"x": content})
    with pytest.raises(StoreError, match=f"{id_[:4]!r} is ambiguous"):
        store.open(id_[:4])
    assert store.open(id_[:8]).id == manifest.id == id_


@pytest.mark.parametrize("ref", ["../x", "..", "", "/etc/passwd", "models/../../x", "a\0b", "é"])
def test_refs_cannot_lead_out(store, ref):
    with pytest.raises(StoreError, match="is no name"):
        store.open(ref)
    with pytest.raises(StoreError, match="is no name"):
        publish(store, names=[ref])
    assert store.list() == []


@pytest.mark.parametrize("name", ["latest", "request-0123456789abcdef", "0123456789abcdef"])
def test_names_of_the_store_are_kept(name):
    with pytest.raises(StoreError, match="choose another name"):
        user_name(name)


def test_publish_checks_what_is_staged(store):
    with store.staging("features", "0" * 16) as staging:
        staging.write_bytes("a", b"1")
        with pytest.raises(StoreError, match="has no file 'b': run the step again"):
            store.publish(staging, ["a", "b"], what="x")
        with pytest.raises(StoreError, match="no file was named"):
            store.publish(staging, [], what="x")
        with store.folder.fs.open(f"{staging.folder.path}/a", "wb") as file:
            file.write(b"2")
        with pytest.raises(StoreError, match="a has changed since it was written"):
            store.publish(staging, ["a"], what="x")
    assert store.list() == []


def test_root_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file: set IRNET_STORE to a folder"):
        Store(tmp_path / "file")
    below = Store(tmp_path / "file" / "below")
    with pytest.raises(StoreError, match="a file lies where a folder should be"):
        below.staging("features", "0" * 16)


def test_missing_root(tmp_path):
    store = Store(tmp_path / "absent")
    assert store.list() == []
    assert store.find("models", "0" * 16) is None
    with pytest.raises(StoreError, match="it is empty"):
        store.open("latest")
    assert not (tmp_path / "absent").exists()


def test_relative_root_is_kept_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("data")
    monkeypatch.chdir("/")
    assert store.root == str(tmp_path / "data")


def test_manifest_on_disk_has_sorted_keys_and_no_paths(tmp_path):
    manifest = publish(Store(tmp_path))
    text = (tmp_path / "features" / manifest.id / "manifest.json").read_text()
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert str(tmp_path) not in text


RACE = """
import os, sys, time
import pyarrow as pa
from infra.store import Store
from irnet_core.errors import StoreError
store, request, start = Store(sys.argv[1]), sys.argv[2], sys.argv[3]
print("ready", flush=True)
while not os.path.exists(start):
    time.sleep(0.001)
done = refused = 0
while done < 5:
    try:
        with store.staging("features", request) as staging:
            staging.write_table("data.parquet", pa.table({"n": list(range(1000))}))
            id_ = store.publish(staging, ["data.parquet"], what="x").id
        done += 1
    except StoreError as error:
        assert "another run is making" in str(error), error
        refused += 1
print(id_, refused)
"""


@pytest.mark.parametrize("same_request", [True, False])
def test_two_processes_race(tmp_path, same_request):
    start = tmp_path / "start"
    requests = ["0" * 16, "0" * 16 if same_request else "1" * 16]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "s"), request, str(start)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for request in requests
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    start.touch()
    outputs = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    store = Store(tmp_path / "s")
    (manifest,) = store.list()
    assert {output[0] for output in outputs} == {manifest.id}
    assert store.verify("latest") == []
    assert os.listdir(tmp_path / "s" / "features") == [manifest.id]


def test_lock_keeps_others_out(tmp_path):
    store = Store(tmp_path)
    with store.lock("snapshots", "oqmd"):
        with store.lock("snapshots", "aflow"):
            pass
        with (
            pytest.raises(StoreError, match="another run is making the snapshots of oqmd: wait"),
            Store(tmp_path).lock("snapshots", "oqmd"),
        ):
            pass
    with store.lock("snapshots", "oqmd"):
        pass
    with pytest.raises(StoreError, match="'../x'"), store.lock("snapshots", "../x"):
        pass


def test_another_request_for_the_same_answer(tmp_path):
    store = Store(tmp_path)
    request, other = "0123456789abcdef", "fedcba9876543210"
    with store.staging("snapshots", request) as staging:
        staging.write_bytes("a", b"1")
        manifest = store.publish(staging, ["a"], what="x")
    assert store.find("snapshots", other) is None
    store.answer(manifest, other)
    assert store.find("snapshots", other) == store.find("snapshots", request) == manifest
    assert set(store.names("snapshots")) == {"latest"}
