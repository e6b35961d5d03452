import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from infra.store import Store
from irnet_core.errors import StoreError

REPOSITORY = Path(__file__).parents[2]
REQUEST = "0123456789abcdef"


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path / "s" if request.param == "local" else f"memory://{tmp_path.name}")


def test_files_survive_for_the_same_request(store):
    with store.staging("features", REQUEST) as staging:
        staging.write_bytes("a", b"1")
        staging.write_table("t.parquet", pa.table({"n": [1]}))
        url = staging.url
    with store.staging("features", REQUEST) as staging:
        assert staging.url == url
        assert staging.names() == ["a", "t.parquet"]
        assert staging.has("a")
        assert not staging.has("b")
        assert staging.read_bytes("a") == b"1"
        assert staging.read_table("t.parquet", ["n"]).to_pydict() == {"n": [1]}
    with store.staging("models", REQUEST) as other:
        assert other.names() == []
    with store.staging("features", "f" * 16) as other:
        assert other.names() == []


def test_discard(store):
    with store.staging("features", REQUEST) as staging:
        staging.write_bytes("a", b"1")
        staging.discard()
    with store.staging("features", REQUEST) as staging:
        assert staging.names() == []


def test_manifest_cannot_be_staged(store):
    with (
        store.staging("features", REQUEST) as staging,
        pytest.raises(StoreError, match="choose another file name"),
    ):
        staging.write_bytes("manifest.json", b"{}")


def test_second_holder_is_refused_in_the_same_process(tmp_path):
    store = Store(tmp_path)
    with store.staging("features", REQUEST):
        with pytest.raises(StoreError, match=r"another run is making the features .* wait until"):
            store.staging("features", REQUEST)
        with store.staging("models", REQUEST):
            pass
    with store.staging("features", REQUEST):
        pass


def test_lock_of_a_killed_process_is_free_and_its_files_are_there(tmp_path):
    code = (
        "import sys, time; from infra.store import Store\n"
        f"staging = Store(sys.argv[1]).staging('features', '{REQUEST}')\n"
        "staging.write_bytes('a', b'1'); print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (tmp_path / ".staging" / "features" / REQUEST / ".tmp-b-0").write_bytes(b"half")
        with pytest.raises(StoreError, match="another run is making the features"):
            Store(tmp_path).staging("features", REQUEST)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Store(tmp_path).staging("features", REQUEST) as staging:
        assert list(staging.folder.entries()) == ["a"]


@pytest.mark.parametrize("request_", ["", "x", "..", "0" * 15, "0" * 17, "../" + "0" * 13])
def test_request_is_checked(tmp_path, request_):
    with pytest.raises(StoreError, match="is no request"):
        Store(tmp_path).staging("features", request_)
