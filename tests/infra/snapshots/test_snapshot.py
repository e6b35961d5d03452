import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.snapshots.snapshot import build_snapshot
from infra.snapshots.split import Splitter
from infra.sources import PymatgenExpt, TableFile
from infra.store import Store
from irnet_core.errors import DataError

CSV = "id,formula,gap\n7,Cl2Na2,8.5\n8,Xx,\n9,NaCl,8.4\n10,,1\n11,SiO2,9\n"


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text(CSV)
    return path


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path / "s" if request.param == "local" else f"memory://{tmp_path.name}")


def test_file(csv, store):
    manifest = build_snapshot(TableFile(csv), store)
    artifact = store.open("file", "snapshots")
    assert artifact.manifest == manifest
    data = artifact.read_table("data.parquet")
    assert data.to_pydict() == {
        "row": [0, 2, 4],
        "formula": ["Cl2Na2", "NaCl", "SiO2"],
        "composition": ["ClNa", "ClNa", "O2Si"],
        "id": [7, 9, 11],
        "gap": [8.5, 8.4, 9.0],
    }
    assert data.schema.field("composition").metadata[b"meaning"].startswith(b"canonical")
    assert data.schema.field("gap").metadata[b"unit"] == b"as given"
    assert data.schema.metadata[b"schema_version"] == b"1"
    rejected = artifact.read_table("rejected.parquet")
    assert rejected.column_names == ["row", "formula", "reason"]
    assert rejected["row"].to_pylist() == [1, 3]
    assert rejected["formula"].to_pylist() == ["Xx", ""]
    assert "Xx" in rejected["reason"].to_pylist()[0]
    assert manifest.rows == 3
    assert manifest.what == "Rows of gaps.csv."
    counts = manifest.counts
    assert (counts["rows_in"], counts["rows"], counts["rejected"]) == (5, 3, 2)
    assert counts["distinct_compositions"] == 2
    assert sum(counts["reasons"].values()) == 2
    assert artifact.dataset().count_rows() == 3  # rejected rows are apart
    assert store.verify(manifest.id) == []


def test_same_input_returns_at_once(csv, store, monkeypatch):
    first = build_snapshot(TableFile(csv), store)
    monkeypatch.setattr(TableFile, "read", lambda self: pytest.fail("read again"))
    assert build_snapshot(TableFile(csv), store, names=["mine"]) == first
    assert store.open("mine").id == first.id


def test_same_content_in_another_form_is_the_same_snapshot(csv, store, tmp_path):
    first = build_snapshot(TableFile(csv), store)
    crlf = tmp_path / "gaps.csv.new" / "gaps.csv"
    crlf.parent.mkdir()
    crlf.write_text(CSV.replace("\n", "\r\n"), newline="")
    assert build_snapshot(TableFile(crlf), store).id == first.id
    assert len(store.list()) == 1


def test_changed_input_is_another_snapshot(csv, store):
    first = build_snapshot(TableFile(csv), store)
    csv.write_text(CSV.replace("8.4", "8.3"))
    second = build_snapshot(TableFile(csv), store)
    assert second.id != first.id
    assert store.open("latest", "snapshots").id == second.id
    csv.write_text(CSV)
    assert build_snapshot(TableFile(csv), store).id == first.id
    assert store.open("latest", "snapshots").id == store.open("file", "snapshots").id == first.id


def test_two_stores_hold_the_same_bytes(csv, tmp_path):
    ids = []
    for name in ("one", "two"):
        store = Store(tmp_path / name)
        ids.append(build_snapshot(TableFile(csv), store).id)
    assert ids[0] == ids[1]
    for file in ("data.parquet", "rejected.parquet"):
        one, two = (tmp_path / name / "snapshots" / ids[0] / file for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_nothing_rejected(store, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"formula": ["Si"]}), path)
    manifest = build_snapshot(TableFile(path), store)
    rejected = store.open(manifest.id).read_table("rejected.parquet")
    assert rejected.num_rows == 0
    assert rejected.schema.types == [pa.int64(), pa.string(), pa.string()]


def test_all_rejected(csv, store):
    csv.write_text("formula\nXx2\n?\n")
    with pytest.raises(DataError, match=r"gaps.csv, column 'formula', row 0: no row .*'Xx'.*; cor"):
        build_snapshot(TableFile(csv), store)
    assert store.list() == []


@pytest.mark.parametrize("name", ["row", "composition"])
def test_clashing_column(csv, store, name):
    csv.write_text(f"formula,{name}\nSi,1\n")
    with pytest.raises(DataError, match=f"column '{name}': a snapshot has a column of its own"):
        build_snapshot(TableFile(csv), store)


def test_many_reasons_are_cut():
    table = pa.table({"formula": ["Si", *(f"Si{'?' * n}" for n in range(1, 60))]})
    splitter = Splitter(table.schema, "x")
    _, rejected = splitter.split(table)
    counts = splitter.counts()
    assert rejected.num_rows == counts["rejected"] == 59
    assert len(counts["reasons"]) <= 20


def test_pymatgen(store):
    manifest = build_snapshot(PymatgenExpt(), store)
    assert manifest.counts["rows_in"] == manifest.rows == 2135
    assert manifest.counts["rejected"] == 0
    assert "10.1038/s41598-021-94550-5" in manifest.citation
    assert build_snapshot(PymatgenExpt(), store) == manifest
    data = store.open("pymatgen-expt").read_table("data.parquet", ["formula", "composition"])
    assert data.num_rows == 2135
