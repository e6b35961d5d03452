import gzip
import json
import math
import re

import pyarrow.parquet as pq
import pytest
from matminer.datasets import load_dataset
from matminer.utils.io import store_dataframe_as_json
from pymatgen.core import Composition
from standins.matminer import GAPS, MatminerStandIn

from featurizers.formula import canonical_formula
from infra.pull.http import Http, Unanswered
from infra.pull.split_frames import SplitFrame
from infra.settings import Settings
from infra.snapshots.snapshot import build_snapshot
from infra.sources import SOURCES
from infra.sources import matminer as module
from infra.sources.base import UnitCounts
from infra.sources.matminer import Matminer
from infra.sources.matminer_rows import certain_column
from infra.store import Store
from irnet_core.errors import SourceError

QUICK = {
    "http_timeout_s": 0.5,
    "http_attempts": 2,
    "http_backoff_s": 0.01,
    "request_gap_s": 0.0,
}


@pytest.fixture
def server(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(f"IRNET_{name.upper()}", str(value))
    with MatminerStandIn() as server:
        yield server


@pytest.fixture
def make(server, tmp_path):
    listing = server.write_list(tmp_path)

    def make(dataset, **changes):
        settings = Settings(**{**QUICK, "matminer_url": server.url, **changes})
        return Matminer(dataset, folder=tmp_path / "home", listing=listing, settings=settings)

    return make


def pulled(database, tmp_path):
    store = Store(tmp_path / "store")
    manifest = build_snapshot(database, store)
    with store.open(manifest.id).folder.open("data.parquet") as file:
        return pq.read_table(file), manifest


def test_measured_gaps(make, tmp_path):
    table, manifest = pulled(make("expt_gap"), tmp_path)
    assert table["formula"].to_pylist() == [formula for formula, _ in GAPS[:-1]]
    found = table["band_gap_ev"].to_pylist()
    assert found == [None if math.isnan(gap) else gap for _, gap in GAPS[:-1]]
    field = table.schema.field("band_gap_ev")
    assert field.metadata[b"unit"] == b"eV"
    assert b"experimentally" in field.metadata[b"meaning"]
    assert table["source_id"].to_pylist()[:2] == ["expt_gap-0000000", "expt_gap-0000001"]
    assert manifest.counts["rejected"] == 1
    assert manifest.counts["server_total"] == len(GAPS)
    assert "Somebody, somewhere" in manifest.citation


def test_matminers_own_loader_reads_the_verified_file(make, tmp_path):
    table, _ = pulled(make("jarvis_dft_3d"), tmp_path)
    home = str(tmp_path / "home")
    oracle = load_dataset("jarvis_dft_3d", data_home=home, download_if_missing=False)
    assert len(oracle) == len(table)
    for row, (_, wanted) in zip(table.to_pylist(), oracle.iterrows(), strict=True):
        assert row["jid"] == wanted["jid"]
        assert row["is_even"] is wanted["is_even"]
        energy, gap = wanted["e_form"], wanted["gap opt"]
        assert row["formation_energy_ev_atom"] == (
            None if math.isnan(energy) else pytest.approx(energy, abs=0)
        )
        assert row["band_gap_ev"] == (None if math.isnan(gap) else gap)
        structure = wanted["structure"]
        assert row["lattice"] == structure.lattice.matrix.ravel().tolist()
        assert row["numbers"] == list(structure.atomic_numbers)
        assert row["frac_coords"] == structure.frac_coords.ravel().tolist()
        assert row["volume_a3_atom"] == pytest.approx(structure.volume / len(structure))
        assert row["composition"] == canonical_formula(structure.composition.formula)
    assert "bulk modulus" in table.column_names  # the list does not state its unit
    assert "structure initial" not in table.column_names


def test_a_data_set_without_formulas_gets_them_from_its_structures(make, tmp_path):
    table, _ = pulled(make("matbench_mp_gap"), tmp_path)
    home = str(tmp_path / "home")
    oracle = load_dataset("matbench_mp_gap", data_home=home, download_if_missing=False)
    for formula, structure in zip(table["formula"].to_pylist(), oracle["structure"], strict=True):
        assert Composition(formula) == structure.composition


def test_what_matminer_writes_is_read(make, tmp_path):
    pulled(make("jarvis_dft_3d"), tmp_path)
    frame = load_dataset("jarvis_dft_3d", data_home=str(tmp_path / "home"))
    path = tmp_path / "written.json.gz"
    store_dataframe_as_json(frame, str(path), pbar=False)
    again = SplitFrame(path, Settings())
    assert again.columns == list(frame.columns)
    [rows] = list(again.rows())
    assert [row[3] for row in rows] == frame["jid"].tolist()


def test_rows_that_are_none_are_rejected_with_a_reason(server, make, tmp_path):
    split = b'{"columns": ["formula", "gap expt"], "data": [["CuBr", 3.08], ["ZnO"], {"a": 1}]}'
    server.sets["expt_gap"]["file"] = gzip.compress(split)
    server.write_list(tmp_path)
    database = make("expt_gap")
    http = Http(database.name, Settings(**QUICK))
    database.version(http)
    [table] = database.tables(database.units(http)[0], http, None, UnitCounts())
    reasons = table["reason"].to_pylist()
    assert reasons == [None, "1 values, not 2", "it is an object, no list"]
    assert table["source_id"].null_count == 0
    assert len(pulled(make("expt_gap"), tmp_path)[0]) == 1


# the file --------------------------------------------------------------------------------------
@pytest.mark.parametrize("poison", [b"", b"<html>", "half"])
def test_a_poisoned_file_is_healed(make, server, tmp_path, poison):
    whole = server.sets["expt_gap"]["file"]
    path = tmp_path / "home" / "expt_gap.json.gz"
    path.parent.mkdir()
    path.write_bytes(whole[: len(whole) // 2] if poison == "half" else poison)
    with pytest.raises((EOFError, ValueError, OSError)):  # matminer believes it
        load_dataset("expt_gap", data_home=str(path.parent))
    table, _ = pulled(make("expt_gap"), tmp_path)
    assert len(table) == len(GAPS) - 1
    assert path.read_bytes() == whole


def test_another_file_than_listed_is_not_taken(make, server, tmp_path):
    server.other, server.other_times = server.sets["matbench_mp_gap"]["file"], 100
    with pytest.raises(Unanswered, match="another SHA-256 than was stated"):
        pulled(make("expt_gap"), tmp_path)
    assert not Store(tmp_path / "store").list()
    assert not list((tmp_path / "home").glob("*.gz"))


def test_a_download_that_fails_once_is_made_again(make, server, tmp_path):
    server.other, server.other_times = b"DB Fail!null", 1
    table, _ = pulled(make("expt_gap"), tmp_path)
    assert len(table) == len(GAPS) - 1


def test_the_same_file_is_downloaded_and_pulled_once(make, server, tmp_path):
    _, first = pulled(make("expt_gap"), tmp_path)
    _, second = pulled(make("expt_gap"), tmp_path)
    assert first.id == second.id
    assert server.seen["/expt_gap.json.gz"] == 1


def test_a_note_on_columns_of_another_file_is_not_believed(make, tmp_path):
    database = make("expt_gap")
    note = tmp_path / "home" / "expt_gap.json.gz.kinds.json"
    note.parent.mkdir()
    note.write_text(json.dumps({"sha256": "0" * 64, "rows": 1, "kinds": {"formula": "number"}}))
    assert len(pulled(database, tmp_path)[0]) == len(GAPS) - 1
    assert json.loads(note.read_text())["rows"] == len(GAPS)


def test_a_limit_stops_early(make, server):
    database = make("jarvis_dft_3d")
    http = Http(database.name, Settings(**QUICK))
    database.version(http)
    [unit] = database.units(http)
    assert sum(t.num_rows for t in database.tables(unit, http, 5, UnitCounts())) == 5


def test_the_address_is_that_of_the_list_without_a_mirror(tmp_path):
    database = Matminer("superconductivity2018", folder=tmp_path, settings=Settings())
    assert database.url == "https://ndownloader.figshare.com/files/31614956"


# the list --------------------------------------------------------------------------------------
def test_every_data_set_of_the_real_list_can_be_asked_for(tmp_path):
    names = json.loads(module._installed_list())
    assert len(names) == 45
    for name in names:
        database = Matminer(name, folder=tmp_path, settings=Settings())
        assert re.fullmatch("[0-9a-f]{64}", database._about["hash"])
        assert database.url.endswith((".json.gz", database.url.rpartition("/")[2]))
        assert database.citation
        assert database.what


def test_columns_that_are_certain():
    names = json.loads(module._installed_list())
    found = {
        (name, column): certain.name
        for name, about in names.items()
        for column, meaning in about["columns"].items()
        if (certain := certain_column(name, column, meaning)) is not None
    }
    assert found["expt_gap", "gap expt"] == "band_gap_ev"
    assert found["jarvis_dft_3d", "gap tbmbj"] == "band_gap_mbj_ev"
    assert found["jarvis_dft_3d", "e_form"] == "formation_energy_ev_atom"
    assert found["matbench_mp_e_form", "e_form"] == "formation_energy_ev_atom"
    assert found["mp_all_20181018", "e_hull"] == "energy_above_hull_ev_atom"
    assert found["mp_all_20181018", "bulk modulus"] == "bulk_modulus_gpa"
    assert found["wolverton_oxides", "vpa"] == "volume_a3_atom"
    assert found["tholander_nitrides", "E_vasp_per_atom"] == "energy_ev_atom"
    for doubtful in (
        ("castelli_perovskites", "e_form"),  # of the cell
        ("matbench_perovskites", "e_form"),
        ("wolverton_oxides", "e_form"),  # eV, of what is not said
        ("jarvis_dft_3d", "bulk modulus"),  # no unit
        ("heusler_magnetic", "mu_b"),
    ):
        assert doubtful not in found


@pytest.mark.parametrize("dataset", ["nonesuch", ""])
def test_an_unknown_name_is_answered_with_the_known(dataset):
    with pytest.raises(SourceError, match="choose --dataset among .*expt_gap, .*jarvis_dft_3d"):
        SOURCES["matminer"](dataset=dataset)


def test_without_matminer_the_error_says_so(monkeypatch):
    def missing(name):
        raise module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "files", missing)
    with pytest.raises(SourceError, match="pip install matminer"):
        Matminer("expt_gap")


# frames ----------------------------------------------------------------------------------------
ROWS = [["NaCl", 1.5], ['A],"index": [', None], ["x" * 50, -2.0]]


@pytest.mark.parametrize(
    "order", [("index", "columns", "data"), ("columns", "data", "index"), ("data", "columns")]
)
@pytest.mark.parametrize("n", [3, 60_000])
def test_frames_are_read_in_any_order_of_their_parts(tmp_path, order, n):
    made = {"index": list(range(n)), "columns": ["formula", "data"], "data": ROWS * (n // 3)}
    path = tmp_path / "frame.json.gz"
    text = json.dumps({part: made[part] for part in order})
    path.write_bytes(gzip.compress(text.encode(), 1))
    frame = SplitFrame(path, Settings())
    assert frame.columns == ["formula", "data"]
    assert [row for rows in frame.rows() for row in rows] == made["data"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no list called data"),
        ('{"columns": ["a"], "data": [[1], [2]', "ends within its rows"),
        ('{"columns": "a", "data": [[1]]}', "no list of columns"),
        ('{"columns": ["a", "data": [[1]]}', "no data frame as JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "frame.json.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(SourceError, match=message):
        list(SplitFrame(path, Settings()).rows())


def test_a_column_of_formulas_that_is_empty_leaves_them_to_the_structures(server, make, tmp_path):
    made = server.sets["matbench_mp_gap"]
    split = json.loads(gzip.decompress(made["file"]))
    split["columns"].append("formula")
    split["data"] = [[*row, None] for row in split["data"]]
    wanted = pulled(make("matbench_mp_gap"), tmp_path / "a")[0]["formula"]
    made["file"] = gzip.compress(json.dumps(split).encode())
    server.write_list(tmp_path)
    assert pulled(make("matbench_mp_gap"), tmp_path / "b")[0]["formula"] == wanted


def test_rows_are_the_same_whether_they_are_kept_or_read_twice(make, tmp_path, monkeypatch):
    first, _ = pulled(make("jarvis_dft_3d"), tmp_path / "a")  # kept
    second, _ = pulled(make("jarvis_dft_3d"), tmp_path / "b")  # the kinds are known
    monkeypatch.setattr(module, "_MOST_KEPT", 0)
    (tmp_path / "home" / "jarvis_dft_3d.json.gz.kinds.json").unlink()
    third, _ = pulled(make("jarvis_dft_3d"), tmp_path / "c")  # too large to be kept
    assert first == second == third
