"""JARVIS from a stand-in for figshare, and by the real jarvis-tools."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standins.crystals import made_crystals
from standins.figshare import FILE, FILE_ID, NAMELESS, Figshare, atoms, record, records, zipped

from infra.pull.http import Http
from infra.pull.records import Rejected, map_records
from infra.settings import Settings
from infra.sources.base import UnitCounts
from infra.sources.jarvis import Jarvis
from infra.sources.jarvis_rows import COLUMNS, Atoms, Entry, decode, parse
from irnet_core import schema
from irnet_core.errors import SourceError


@pytest.fixture
def quick() -> Settings:
    return Settings(http_timeout_s=5, http_attempts=3, http_backoff_s=0.01, request_gap_s=0)


def jarvis(figshare: Figshare, folder: Path, settings: Settings) -> Jarvis:
    return Jarvis(store=folder, settings=settings.model_copy(update={"jarvis_url": figshare.url}))


def pulled(
    database: Jarvis, settings: Settings, most_rows: int | None = None
) -> tuple[dict[str, object], pa.Table, UnitCounts]:
    counts = UnitCounts()
    with Http("jarvis", settings) as http:
        version = database.version(http)
        (unit,) = database.units(http)
        rows = pa.concat_tables(database.tables(unit, http, most_rows, counts))
    return version, rows, counts


def test_the_folder_may_be_below_the_home_folder(
    quick: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    stored = quick.model_copy(update={"jarvis_store": "~/jv"})
    assert Jarvis(settings=stored).path.parent == tmp_path / "jv"


# the whole way ---------------------------------------------------------------------------
def test_every_record_arrives(tmp_path: Path, quick: Settings) -> None:
    with Figshare() as figshare:
        version, rows, counts = pulled(jarvis(figshare, tmp_path, quick), quick)
    sent = records()
    assert rows.num_rows == len(sent) == counts.total
    assert rows.schema.equals(schema.arrow_schema([*COLUMNS, schema.REASON]), check_metadata=True)
    assert version == {
        "dataset": "dft_3d",
        "file_id": FILE_ID,
        "file": FILE,
        "bytes": len(figshare.file),
        "sha256": hashlib.sha256(figshare.file).hexdigest(),
    }
    by_id = {row["source_id"]: row for row in rows.to_pylist()}
    for one in sent:
        if not one["jid"]:
            continue
        row = by_id[one["jid"]]
        assert row["formula"] == one["formula"]
        for column, key in (
            ("formation_energy_ev_atom", "formation_energy_peratom"),
            ("energy_above_hull_ev_atom", "ehull"),
            ("band_gap_ev", "optb88vdw_bandgap"),
            ("band_gap_mbj_ev", "mbj_bandgap"),
            ("bulk_modulus_gpa", "bulk_modulus_kv"),
            ("shear_modulus_gpa", "shear_modulus_gv"),
            ("magnetization_mu_b_cell", "magmom_oszicar"),
        ):
            assert row[column] == (None if one[key] in ("na", "") else one[key])
        assert row["space_group"] == int(one["spg_number"])
        cell = np.array(one["atoms"]["lattice_mat"])
        sites = len(one["atoms"]["elements"])
        assert row["volume_a3_atom"] == pytest.approx(abs(np.linalg.det(cell)) / sites)
        coords = np.array(row["frac_coords"]).reshape(-1, 3)
        there = coords @ cell if one["atoms"]["cartesian"] else coords
        np.testing.assert_allclose(there, one["atoms"]["coords"], atol=1e-9)
    assert {row["source_id"]: row["reason"] for row in by_id.values() if row["reason"]} == {
        f"record-{NAMELESS}": "its jid is None, no identifier"
    }


def test_all_64_keys_are_in_the_records_served() -> None:
    assert len(records(4)[0]) == 64


def test_the_real_jarvis_tools_reads_the_verified_archive(
    tmp_path: Path, quick: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    from jarvis.db.figshare import data

    with Figshare() as figshare:
        pulled(jarvis(figshare, tmp_path, quick), quick)
    assert data("dft_3d", store_dir=str(tmp_path)) == records()


@pytest.mark.parametrize("poison", ["empty", "cut", "html", "another"])
@pytest.mark.parametrize("states_md5", [True, False])
def test_a_poisoned_cache_is_healed(
    tmp_path: Path, quick: Settings, poison: str, states_md5: bool
) -> None:
    from jarvis.db.figshare import data

    with Figshare() as figshare:
        figshare.states_md5 = states_md5
        left = {
            "empty": b"",
            "cut": figshare.file[:-100],
            "html": b"<html>" * 27,
            "another": zipped(records(5)),
        }[poison]
        (tmp_path / f"{FILE}.zip").write_bytes(left)
        if poison != "another":
            with pytest.raises(zipfile.BadZipFile):
                data("dft_3d", store_dir=str(tmp_path))
        pulled(jarvis(figshare, tmp_path, quick), quick)
    assert data("dft_3d", store_dir=str(tmp_path)) == records()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [f"{FILE}.zip"]


def test_a_file_that_is_there_and_right_is_not_downloaded(tmp_path: Path, quick: Settings) -> None:
    with Figshare() as figshare:
        for _ in range(2):
            pulled(jarvis(figshare, tmp_path, quick), quick)
        signed = [path for path in figshare.seen if path.startswith("/signed")]
        assert figshare.seen[signed[0]] == 1


def test_a_file_that_changes_is_another_version(tmp_path: Path, quick: Settings) -> None:
    with Figshare() as figshare, Http("jarvis", quick) as http:
        figshare.changes = 1
        database = jarvis(figshare, tmp_path, quick)
        before, after, again = (database.version(http) for _ in range(3))
    assert before["sha256"] != after["sha256"]
    assert after == again


def test_records_that_come_twice_are_given_once(tmp_path: Path, quick: Settings) -> None:
    sent = records(60)
    with Figshare(zipped([*sent, *sent[:7], *sent[:7]])) as figshare:
        _, rows, counts = pulled(jarvis(figshare, tmp_path, quick), quick)
        # the record without an id is named after its place
        assert (rows.num_rows, counts.duplicates, counts.total) == (60, 14, 60)
        ids = rows["source_id"].to_pylist()
        assert len(set(ids)) == 60
        _, few, _ = pulled(jarvis(figshare, tmp_path, quick), quick, most_rows=10)
        assert few["source_id"].to_pylist() == ids[:10]


def test_hostile_records_are_rejected_by_themselves(tmp_path: Path, quick: Settings) -> None:
    good = [record(crystal, n) for n, crystal in enumerate(made_crystals(3))]
    deep = b'{"jid": "JVASP-7", "formula": "NaCl", "atoms": ' + b"[" * 900 + b"]" * 900 + b"}"
    long = json.dumps({**good[0], "jid": "JVASP-8", "formula": "Na" * 500_000}).encode()
    slash = json.dumps({**good[0], "jid": "../../etc/passwd"}).encode()
    text = b"[%s]" % b", ".join([*(json.dumps(g).encode() for g in good), deep, long, slash])
    with Figshare(zipped(text)) as figshare:
        _, rows, _ = pulled(jarvis(figshare, tmp_path, quick), quick)
    found = {row["source_id"]: row for row in rows.to_pylist()}
    assert len(found) == 6
    assert found["JVASP-7"]["reason"] == "it is nested more than 32 deep"
    assert found["JVASP-7"]["formula"] == "NaCl"
    assert found["JVASP-8"]["reason"] == "it holds a text of more than 100,000 bytes"
    assert found["JVASP-8"]["formula"] is None
    assert found["../../etc/passwd"]["source_url"] is None
    assert found["JVASP-100"]["source_url"].endswith("/JVASP-100.xml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "has no record"),
        (b"{}", "no JSON array"),
        (b'[{"jid": "JVASP-1"}', "ends within or behind record 1"),
    ],
)
def test_what_is_no_data_set_is_refused(
    tmp_path: Path, quick: Settings, content: bytes, said: str
) -> None:
    with Figshare(zipped(content)) as figshare, pytest.raises(SourceError, match=said):
        pulled(jarvis(figshare, tmp_path, quick), quick)


def test_a_server_of_another_archive_is_refused(tmp_path: Path, quick: Settings) -> None:
    said = "is not in it, but 'other.json'"
    with Figshare(zipped([], "other.json")) as figshare, pytest.raises(SourceError, match=said):
        pulled(jarvis(figshare, tmp_path, quick), quick)
    assert not (tmp_path / f"{FILE}.zip").exists()


def test_negative_sizes_are_not_believed(tmp_path: Path, quick: Settings) -> None:
    with Figshare() as figshare:
        figshare.states_size = False
        _, rows, _ = pulled(jarvis(figshare, tmp_path, quick), quick)
    assert rows.num_rows == len(records())


def test_unknown_data_sets_are_named() -> None:
    with pytest.raises(SourceError, match="choose among dft_2d, dft_2d_2021, dft_3d,"):
        Jarvis("dft_4d")
    assert Jarvis("dft_3d_2021")._article == Jarvis()._article == "6815699"
    assert Jarvis("dft_2d")._article == "6815705"


def test_interface_of_figshare_is_asked_at_its_own_host() -> None:
    assert Jarvis(settings=Settings())._api == "https://api.figshare.com/v2"
    assert Jarvis(settings=Settings(jarvis_url="http://mirror/x/"))._api == "http://mirror/x/v2"


# rows ------------------------------------------------------------------------------------
def test_values_of_wrong_types_are_noted_and_the_row_stays() -> None:
    (crystal,) = made_crystals(1)
    row = {**record(crystal, 1), "bulk_modulus_kv": "big", "spg_number": "na", "ehull": -0.5}
    made = parse([row]).to_pylist()[0]
    assert made["bulk_modulus_gpa"] is None
    assert made["note"] == "bulk_modulus_kv: 'big' is no number"
    assert (made["space_group"], made["energy_above_hull_ev_atom"]) == (None, -0.5)
    assert made["reason"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("na", "none given"),
        (None, "none given"),
        ([1], "atoms is [1]"),
        ({"cartesian": "False"}, "does not say whether its coordinates are cartesian"),
        (
            {"cartesian": False, "lattice_mat": "na", "coords": [[0, 0, 0]], "elements": ["H"]},
            "3 x 3",
        ),
    ],
)
def test_rows_without_a_structure_stay(given: object, said: str) -> None:
    (crystal,) = made_crystals(1)
    made = parse([{**record(crystal, 1), "atoms": given}]).to_pylist()[0]
    assert said in made["note"]
    assert (made["lattice"], made["numbers"], made["volume_a3_atom"]) == (None, None, None)
    assert made["formation_energy_ev_atom"] == crystal.known["formation"]


odd = st.sampled_from(
    [None, "na", "", "5", 5, 5.5, True, -(2**63), "NaCl", [], [1], {}, {"a": [None]}]
)


@given(
    st.dictionaries(st.sampled_from([*Entry.__struct_fields__, "efg", "modes"]), odd, max_size=4),
    st.dictionaries(st.sampled_from([*Atoms.__struct_fields__, "angles"]), odd, max_size=2),
)
def test_leaving_out_what_is_not_kept_makes_no_difference(
    changed: dict[str, object], atoms_changed: dict[str, object]
) -> None:
    (crystal,) = made_crystals(1)
    whole = record(crystal, 1)
    whole["atoms"] |= atoms_changed
    text = json.dumps([{**whole, **changed}]).encode()
    (short,) = map_records(io.BytesIO(text), "x", parse, decode=decode)
    (long,) = map_records(io.BytesIO(text), "x", parse)
    assert short.equals(long)


def test_what_is_kept_is_what_columns_are_made_of() -> None:
    assert decode(b'{"efg": [1], "jid": "JVASP-1"}') == Entry("JVASP-1")
    with pytest.raises(ValueError, match="atoms"):
        decode(b'{"atoms": "na"}')


def test_rows_do_not_depend_on_what_is_parsed_with_them() -> None:
    rows = [record(crystal, n) for n, crystal in enumerate(made_crystals(50))]
    rows[7]["atoms"], rows[9]["ehull"] = "na", "?"
    one_by_one = pa.concat_tables([parse([row]) for row in rows])
    assert parse(rows).combine_chunks().equals(one_by_one.combine_chunks())


def test_rejected_records_are_named_by_their_number() -> None:
    made = parse([Rejected(6, "it is no JSON", b'{"formula": "NaCl"')], 6).to_pylist()[0]
    assert (made["source_id"], made["formula"]) == ("record-6", "NaCl")
    assert made["reason"] == "it is no JSON"


def test_cartesian_and_fractional_coordinates_are_the_same_structure() -> None:
    (crystal,) = made_crystals(1, seed=5)
    two = [
        {**record(crystal, 1), "atoms": atoms(crystal, cartesian)} for cartesian in (False, True)
    ]
    a, b = (row["frac_coords"] for row in parse(two).to_pylist())
    np.testing.assert_allclose(a, b, atol=1e-12)
