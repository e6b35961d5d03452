import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.manifest import FileRecord, Manifest, content_id, library_versions, request_digest
from irnet_core.errors import StoreError

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)


def record(name: str, content: str = "c" * 64, **changes) -> FileRecord:
    return FileRecord(
        **{"name": name, "bytes": 1, "sha256": "5" * 64, "content": content, **changes}
    )


def manifest(**changes) -> Manifest:
    files = {"a.txt": record("a.txt")}
    values = {
        "id": content_id("models", files),
        "kind": "models",
        "what": "A test.",
        "request": "0" * 16,
        "files": files,
        "code_version": "0",
        "started": "2020-01-01T00:00:00+00:00",
        "finished": "2020-01-01T00:00:01+00:00",
    }
    return Manifest(**values | changes)


@given(st.dictionaries(st.sampled_from("abcdef"), DIGESTS, min_size=1), st.randoms())
def test_id_depends_on_kind_names_and_content_alone(contents, random):
    files = {name: record(name, content) for name, content in contents.items()}
    shuffled = list(files)
    random.shuffle(shuffled)
    others = {
        name: files[name].model_copy(update={"sha256": "0" * 64, "bytes": random.randrange(99)})
        for name in shuffled
    }
    assert content_id("models", files) == content_id("models", others)
    assert content_id("models", files) != content_id("screens", files)
    name = shuffled[0]
    changed = {**files, name: record(name, "f" * 63 + "g")}
    assert content_id("models", changed) != content_id("models", files)
    renamed = {**files, name + "x": files[name]}
    del renamed[name]
    assert content_id("models", renamed) != content_id("models", files)


def test_request_depends_on_all_that_is_asked():
    base = request_digest("features", {"snapshot": "1"}, {"a": 1, "b": 2})
    assert base == request_digest("features", {"snapshot": "1"}, {"b": 2, "a": 1})
    assert len(base) == 16
    others = [
        request_digest("models", {"snapshot": "1"}, {"a": 1, "b": 2}),
        request_digest("features", {"snapshot": "2"}, {"a": 1, "b": 2}),
        request_digest("features", {"snapshot": "1"}, {"a": 1, "b": 3}),
        request_digest("features", {"snapshot": "1"}, {"a": 1, "b": 2}, version="next"),
    ]
    assert len({base, *others}) == 5


def test_round_trip_is_byte_identical():
    first = manifest(parameters={"z": [1, 2], "a": None}, counts={"rows": 3})
    data = first.to_json()
    again = Manifest.from_json(data, "x")
    assert again == first
    assert again.to_json() == data
    assert list(json.loads(data)) == sorted(json.loads(data))


def test_fields_of_later_versions_are_passed_over():
    later = json.loads(manifest().to_json()) | {"colour": "green"}
    assert Manifest.from_json(json.dumps(later).encode(), "x") == manifest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        manifest().to_json()[:-20],
        manifest().to_json().replace(b"cccc", b"cccd", 1),
        manifest().to_json().replace(b'"what"', b'"whit"'),
        manifest(id="0" * 16).to_json(),
    ],
)
def test_damage_is_found(data):
    with pytest.raises(StoreError, match=r"^here/manifest.json is damaged .* run the step"):
        Manifest.from_json(data, "here/manifest.json")


def test_library_versions():
    found = library_versions()
    assert {"python", "numpy", "pyarrow"} <= set(found)
