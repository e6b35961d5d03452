"""AFLOW from a stand-in for AFLUX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from standins.aflow import AflowStandIn, row, rows
from standins.base import Reply, Request
from standins.crystals import made_crystals

from infra.pull.aflux import filter_terms, read_page
from infra.pull.engine import pull
from infra.pull.http import Answer, Http
from infra.pull.protocol import Transient, UnitCounts
from infra.settings import Settings
from infra.sources.aflow import Aflow
from infra.sources.aflow_rows import COLUMNS, parse
from infra.store import Store
from irnet_core import schema
from irnet_core.errors import SourceError

N = 48  # entries
WHOLE = 1000  # a limit that lets all of them come as one unit, in 12 pages


@pytest.fixture
def quick() -> Settings:
    return Settings(http_timeout_s=2, http_attempts=3, http_backoff_s=0.001, request_gap_s=0)


def aflow(stand_in: AflowStandIn, settings: Settings, **given: Any) -> Aflow:
    given = {"page_size": 4, **given}
    return Aflow(**given, settings=settings.model_copy(update={"aflow_url": stand_in.url}))


def pulled(
    stand_in: AflowStandIn,
    settings: Settings,
    tmp_path: Path,
    limit: int | None = None,
    **given: Any,
) -> tuple[pa.Table, dict[str, Any]]:
    """Everything by the engine."""
    database = aflow(stand_in, settings, **given)
    store = Store(tmp_path / "store")
    with Http("aflow", settings) as http, store.staging("snapshots", "0" * 16) as staging:
        found = pull(database, staging, http, limit=limit)
        made = pa.concat_tables([staging.read_table(file) for file in found.files])
        staging.discard()
    return made, found.counts


def ids(table: pa.Table) -> list[str]:
    return table["source_id"].to_pylist()


def summonses(stand_in: AflowStandIn) -> list[str]:
    return [request.query[0][0] for request in stand_in.requests]


# the whole way ---------------------------------------------------------------------------
def test_a_few_rows_cost_a_few_requests(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        table, _ = pulled(stand_in, quick, tmp_path, limit=3)
        assert len(table) == 3
        assert len(stand_in.requests) <= 6


def test_every_entry_arrives(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        table, counts = pulled(stand_in, quick, tmp_path)
        sent = sorted(stand_in.rows, key=lambda r: r["auid"])
    assert ids(table) == [r["auid"] for r in sent]
    units = len({r["auid"][6] for r in sent})
    assert (counts["server_total"], counts["units"], counts["duplicates"]) == (N, units, 0)
    assert table.schema.remove_metadata().equals(
        schema.arrow_schema([*COLUMNS, schema.REASON]).remove_metadata()
    )
    for given, made in zip(sent, table.to_pylist(), strict=True):
        assert made["formula"] == given["compound"]
        for column, key in (
            ("formation_energy_ev_atom", "enthalpy_formation_atom"),
            ("energy_ev_atom", "energy_atom"),
            ("band_gap_ev", "Egap"),
            ("volume_a3_atom", "volume_atom"),
            ("bulk_modulus_gpa", "ael_bulk_modulus_vrh"),
            ("shear_modulus_gpa", "ael_shear_modulus_vrh"),
            ("magnetization_mu_b_cell", "spin_cell"),
        ):
            assert made[column] == (None if given[key] is None else float(given[key]))
        assert made["space_group"] == int(given["spacegroup_relax"])
        assert made["functional"] == "PAW_PBE"
        assert made["source_url"] == "http://" + given["aurl"].replace(":", "/")
        assert made["note"] is None
        # the cell is turned, but its volume and the sites in it are the same
        volume = abs(np.linalg.det(np.reshape(made["lattice"], (3, 3)))) / made["n_sites"]
        assert volume == pytest.approx(float(given["volume_atom"]), rel=1e-6)


def test_lattices_have_the_lengths_and_angles_of_the_crystals() -> None:
    crystals = made_crystals(50)
    table = parse([row(crystal, n) for n, crystal in enumerate(crystals)])
    for crystal, made in zip(crystals, table.to_pylist(), strict=True):
        ours, theirs = np.reshape(made["lattice"], (3, 3)), np.array(crystal.lattice)
        np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(np.reshape(made["frac_coords"], (-1, 3)), crystal.frac_coords)


def test_requests_are_as_documented(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        pulled(stand_in, quick, tmp_path, filter="Egap(0*),$nspecies(2*)")
        asked = summonses(stand_in)
    assert asked[0] == "auid('aflow:'*),$Egap(0*),$nspecies(2*),$catalog(icsd),paging(1,1)"
    assert asked[1].startswith("aflowlib_date(*),")
    assert asked[1].endswith(",paging(-1,64)")
    page = next(a for a in asked if "geometry" in a)
    assert page.startswith("auid('aflow:0'*),enthalpy_formation_atom,")
    assert page.endswith("Egap(0*),$nspecies(2*),$catalog(icsd),paging(1,4)")
    assert len(re.findall("Egap", page)) == 1


def test_a_filter_is_applied_and_its_keyword_still_returned(
    tmp_path: Path, quick: Settings
) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        table, _ = pulled(stand_in, quick, tmp_path, filter="Egap(0.5*)")
        wanted = [r["auid"] for r in stand_in.rows if float(r["Egap"]) >= 0.5]
    assert ids(table) == sorted(wanted)
    assert 0 < len(wanted) < N
    assert min(table["band_gap_ev"].to_pylist()) >= 0.5


@pytest.mark.parametrize(
    "filter", ["spacegroup_relax(1*)", "compound(*)", "aurl('aflowlib'*)", "natoms(1*)"]
)
def test_what_comes_unasked_comes_also_where_it_is_filtered_by(
    tmp_path: Path, quick: Settings, filter: str
) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        whole, _ = pulled(stand_in, quick, tmp_path)
        table, _ = pulled(stand_in, quick, tmp_path, filter=filter)
    kept = pc.is_valid(whole["formula"]) if filter.startswith("compound") else [True] * N
    assert table.equals(whole.filter(kept))


def test_a_limit_needs_no_division(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        table, _ = pulled(stand_in, quick, tmp_path, limit=20)
        assert table.num_rows == 20
        assert len(stand_in.requests) < 12


def test_large_catalogs_are_cut_into_256(quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in, Http("aflow", quick) as http:
        units = aflow(stand_in, quick, unit_rows=2).units(http)
    assert sum(unit.query["rows"] for unit in units) == N
    assert all(len(unit.name) == 2 for unit in units)
    assert [unit.name for unit in units] == sorted(unit.name for unit in units)


# what the server does --------------------------------------------------------------------
@pytest.mark.parametrize("empty", [b"{}", b"[]", b"", b"null"])
def test_every_empty_page_is_one(tmp_path: Path, quick: Settings, empty: bytes) -> None:
    with AflowStandIn(rows(17)) as stand_in:  # some units are empty
        stand_in.empty = empty
        table, counts = pulled(stand_in, quick, tmp_path)
    assert (table.num_rows, counts["server_total"]) == (17, 17)


@pytest.mark.parametrize("text", ["DB Fail!null", "Lux Fail", "Count Fail 3", "<html>busy</html>"])
def test_failures_with_status_200_are_asked_again(
    tmp_path: Path, quick: Settings, text: str
) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        stand_in.fails, stand_in.fail_200 = text, 2
        table, _ = pulled(stand_in, quick, tmp_path, WHOLE)
        assert table.num_rows == N
        stand_in.fail_200 = -1
        with pytest.raises(
            SourceError, match="asked 3 times.*" + ("HTML" if "<" in text else text[:7])
        ):
            pulled(stand_in, quick, tmp_path, WHOLE)


def test_bare_lists_have_no_count_and_are_not_trusted(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        stand_in.bare = True
        with pytest.raises(SourceError, match="no count of rows"):
            pulled(stand_in, quick, tmp_path)


def test_pages_as_bare_lists_are_checked_by_the_count_of_the_unit(quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in, Http("aflow", quick) as http:
        database = aflow(stand_in, quick)
        unit = database.units(http)[3]
        stand_in.bare = True
        counts = UnitCounts()
        table = pa.concat_tables(database.tables(unit, http, None, counts))
    assert table.num_rows == unit.query["rows"] == counts.total


@pytest.mark.parametrize("fault", ["doubled", "restless", "negative", "short"])
@pytest.mark.parametrize("times", [1, 2])
def test_pages_that_cannot_be_trusted(
    tmp_path: Path, quick: Settings, fault: str, times: int
) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        wanted, _ = pulled(stand_in, quick, tmp_path, WHOLE)
        setattr(stand_in, fault, times)
        table, _ = pulled(stand_in, quick, tmp_path, WHOLE)
    assert table.equals(wanted)


@pytest.mark.parametrize("limit", [None, WHOLE])
@pytest.mark.parametrize("times", [1, -1])
def test_a_row_in_place_of_another_on_the_only_page_of_a_unit(
    tmp_path: Path, quick: Settings, times: int, limit: int | None
) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        stand_in.doubled = times
        if times > 0:
            table, counts = pulled(stand_in, quick, tmp_path, limit, page_size=N)
            assert (table.num_rows, counts["server_total"]) == (N, N)
        else:
            with pytest.raises(SourceError, match="in 4 passes it gave"):
                pulled(stand_in, quick, tmp_path, limit, page_size=N)


def test_endless_pages_end(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        stand_in.endless = True
        assert pulled(stand_in, quick, tmp_path, WHOLE)[0].num_rows == N


def test_entries_of_several_paths_are_kept_once(tmp_path: Path, quick: Settings) -> None:
    entries = rows(N)
    again = [{**r, "aurl": r["aurl"].replace("FCC", "ZZZ")} for r in entries[:30]]
    with AflowStandIn([*again, *entries]) as stand_in:
        table, counts = pulled(stand_in, quick, tmp_path)
    assert ids(table) == sorted(r["auid"] for r in entries)
    assert not any("ZZZ" in url for url in table["source_url"].to_pylist())
    assert counts["duplicates"] >= 30  # ties may also come again on the next page
    assert counts["server_total"] == N


def test_a_limit_may_fall_among_entries_of_several_paths(tmp_path: Path, quick: Settings) -> None:
    entries = rows(N)
    again = [{**r, "aurl": r["aurl"].replace("FCC", "ZZZ")} for r in entries]
    with AflowStandIn([*again, *entries]) as stand_in:
        table, _ = pulled(stand_in, quick, tmp_path, limit=20)
    assert 10 <= table.num_rows <= 20
    assert len(set(ids(table))) == table.num_rows


@pytest.mark.parametrize("limit", [None, WHOLE])
def test_rows_that_the_server_itself_repeats_and_counts_twice(
    tmp_path: Path, quick: Settings, limit: int | None
) -> None:
    entries = rows(N)
    with AflowStandIn([*entries, *entries[:10]]) as stand_in:
        table, counts = pulled(stand_in, quick, tmp_path, limit)
    assert ids(table) == sorted(r["auid"] for r in entries)
    assert counts["server_total"] == N


def test_a_poisoned_entry_costs_only_itself(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        bad = stand_in.rows[17]["auid"]
        stand_in.poisoned = {bad}
        table, counts = pulled(stand_in, quick, tmp_path)
    assert len(ids(table)) == N - 1
    assert bad not in ids(table)
    (skipped,) = counts["skipped"]
    assert (skipped["unit"], skipped["count"], skipped["reason"]) == (bad[6], 1, "DB Fail")


def test_a_database_that_grows_meanwhile_is_pulled_anew(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        new = row(made_crystals(1, seed=9)[0], 9999)
        stand_in.gained_after = {30: new}
        table, _ = pulled(stand_in, quick, tmp_path)
    assert table.num_rows == N + 1
    assert new["auid"] in ids(table)


def test_parts_that_are_not_the_whole_are_refused(tmp_path: Path, quick: Settings) -> None:
    entries = rows(30)
    entries[3]["auid"] = "aflow:z123"
    with (
        AflowStandIn(entries) as stand_in,
        pytest.raises(SourceError, match="16 parts .* have 29 entries together, but it has 30"),
    ):
        pulled(stand_in, quick, tmp_path)


def test_nothing_found_is_said(tmp_path: Path, quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in:
        with pytest.raises(SourceError, match="no entries of catalog lib2 that meet the filter ''"):
            pulled(stand_in, quick, tmp_path, catalog="LIB2")
        with pytest.raises(SourceError, match=r"the filter 'Egap\(1000\*\)'"):
            pulled(stand_in, quick, tmp_path, filter="Egap(1000*)")


def test_version_is_count_and_newest_date(quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in, Http("aflow", quick) as http:
        database = aflow(stand_in, quick)
        dates = [r["aflowlib_date"] for r in stand_in.rows]
        newest = max(d if isinstance(d, str) else d[0] for d in dates)
        assert database.version(http) == {"rows": N, "newest": newest}
        stand_in.dates = ["2030"]
        assert database.version(http) == {"rows": N, "newest": "2030"}


def test_one_empty_answer_to_a_count_is_no_count_of_0(quick: Settings) -> None:
    class Dropping(AflowStandIn):
        """Answers some questions for a count with nothing at all."""

        left = 0

        def respond(self, request: Request) -> Reply:
            if "paging(1,1)" in request.query[0][0] and self.often("left"):
                return Reply(b"")
            return super().respond(request)

    with Dropping(rows(N)) as stand_in, Http("aflow", quick) as http:
        for stand_in.left, count in ((0, N), (1, N), (2, 0)):
            assert aflow(stand_in, quick).version(http)["rows"] == count


@pytest.mark.parametrize("fault", ["a date that is not told", "a count of nothing", None])
def test_kept_parts_are_not_lost_to_a_version_that_is_not_told(
    tmp_path: Path, quick: Settings, fault: str | None
) -> None:
    class Dropping(AflowStandIn):
        fault: str | None = None

        def respond(self, request: Request) -> Reply:
            words = request.query[0][0]
            if self.fault == "a date that is not told" and "paging(-1" in words:
                return Reply(b"DB Fail!null")
            if self.fault == "a count of nothing" and "paging(1,1)" in words:
                return Reply(b"")
            return super().respond(request)

    with (
        Dropping(rows(N)) as stand_in,
        Http("aflow", quick) as http,
        Store(tmp_path).staging("snapshots", "0" * 16) as staging,
    ):
        stand_in.dates = ["20260101"]
        last = max(r["auid"] for r in stand_in.rows)
        stand_in.poisoned = {last}
        one_less = quick.model_copy(update={"most_skipped_rows": 0})
        with pytest.raises(SourceError, match="parts are kept"):
            pull(aflow(stand_in, one_less), staging, http)
        kept = staging.names()
        stand_in.poisoned, stand_in.fault = set(), fault
        before = len(stand_in.requests)
        if fault == "a count of nothing":
            with pytest.raises(SourceError, match="no entries"):
                pull(aflow(stand_in, quick), staging, http)
            assert staging.names() == kept
            return
        assert pull(aflow(stand_in, quick), staging, http).version["newest"] == "20260101"
        pages = [words for words in summonses(stand_in)[before:] if "geometry" in words]
        assert {re.search("aflow:(.)", words)[1] for words in pages} == {  # type: ignore[index]
            min(r["auid"] for r in stand_in.rows)[6],
            last[6],
        }


def test_a_server_that_does_not_sort_tells_no_date(quick: Settings) -> None:
    with AflowStandIn(rows(N)) as stand_in, Http("aflow", quick) as http:
        stand_in.restless = -1
        versions = [aflow(stand_in, quick).version(http) for _ in range(3)]
        assert versions == [{"rows": N, "newest": None}] * 3


# filters ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Egap(1*,*3)", [("Egap", "(1*,*3)")]),
        ("Egap((1*,*1.01):(2*,*2.01))", [("Egap", "((1*,*1.01):(2*,*2.01))")]),
        ("$nspecies(3), species(Cr,!O)", [("nspecies", "(3)"), ("species", "(Cr,!O)")]),
        ("Pearson_symbol_relax('c'*)", [("Pearson_symbol_relax", "('c'*)")]),
        ("Egap(!*-0.5)", [("Egap", "(!*-0.5)")]),
    ],
)
def test_filters_of_the_matchbook(text: str, terms: list[tuple[str, str]]) -> None:
    assert filter_terms(text) == terms
    Aflow(text, settings=Settings())


@pytest.mark.parametrize(
    "text",
    [
        "paging(0)",
        "$paging(1,10)",
        "PAGING(0)",
        "Egap(1*),paging(0)",
        "Egap(1*),$ paging(0)",
        "Egap(1*)paging(0)",
        "Egap(1*):paging(0)",
        "Egap(1*)(2)",
        "Egap(1*),format(html)",
        "catalog(lib3)",
        "schema",
        "help(Egap)",
        "Egap(1*",
        "Egap)1*(",
        "Egap(1*)),paging(0",
        "prototype('a)",
        "prototype('a),paging(0),x('b')",
        "prototype('a(b')",
        "Egap",
        "auid('aflow:0'*)",
        "Egap(1*)&format=html",
        "Egap(1*)#",
        "Egap(1*)%2Cpaging(0)",
        "Egap(1*\n)",
        "Egap(1*),,Egap(2*)",
        "Egap(1*),",
        ",",
        "Egap($paging(0))",
        "Egap(é)",
        "Egap(1*)?",
        "x(" + "1" * 3000 + ")",
    ],
)
def test_a_filter_cannot_be_more_than_a_filter(text: str) -> None:
    with pytest.raises(SourceError, match="the filter .* cannot be used, .*: give conditions"):
        Aflow(text, settings=Settings())


@pytest.mark.parametrize("catalog", ["", "all", "icsd)", "icsd,paging(0)", "lib0", "lib10"])
def test_unknown_catalogs_are_refused(catalog: str) -> None:
    with pytest.raises(SourceError, match="no catalog"):
        Aflow(catalog=catalog, settings=Settings())
    assert Aflow(catalog="LIB1:lib2", settings=Settings()).query()["catalog"] == "lib1:lib2"


# answers and rows ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"DB Fail!null", "DB Fail"),
        (b'"Lux Fail"', "Lux Fail"),
        (b'[{"auid": "aflow:1"}]DB Fail', "DB Fail"),
        (b"<html>", "HTML instead of JSON"),
        (b'[{"auid"', "damaged JSON"),
        (b"17", "'17' instead of JSON"),
        (b'{"error": {"auid": "x"}}', "JSON of another shape"),
        (b"[1, 2]", "rows of another shape"),
        (b'[{"compound": "NaCl"}]', "rows of another shape"),
    ],
)
def test_answers_that_are_no_pages(body: bytes, reason: str) -> None:
    with pytest.raises(Transient) as error:
        read_page(Answer(200, {}, body, ""))
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("keys", "total"),
    [
        (["1 of 862", "2 of 862"], 862),
        (["1 of 2", "2 of 2"], 2),
        (["1 of -862", "2 of -862"], None),
        (["1 of 1", "2 of 1"], None),
        (["1 of 862", "2 of 863"], None),
    ],
)
def test_counts_that_make_no_sense_are_none(keys: list[str], total: int | None) -> None:
    body = orjson.dumps({key: {"auid": f"aflow:{key}"} for key in keys})
    assert read_page(Answer(200, {}, body, "")).total == total


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"geometry": [4, 4, 4, 90, 90]}, "geometry has 5 numbers, not 6"),
        ({"geometry": [4, 4, 4, 10, 20, 150]}, "no cell has the angles"),
        ({"geometry": [4, 4, 4, 90, 90, 0]}, "no cell has the angles"),
        ({"geometry": "4,x"}, "structure: "),
        ({"geometry": None}, "no list"),
        ({"composition": [1, 1, 1, 1, 1, 1, 1]}, "composition [1, 1, 1, 1, 1, 1, 1] of species"),
        ({"composition": [10**9]}, "structure: "),
        ({"positions_fractional": [[0, 0, 0]] * 99}, "99 positions of"),
        ({"geometry": None, "positions_fractional": None}, "none given"),
        ({"species": ["Xx"], "composition": [1], "positions_fractional": [[0, 0, 0]]}, "Xx"),
    ],
)
def test_rows_without_a_usable_structure_stay(change: dict[str, Any], said: str) -> None:
    (crystal,) = made_crystals(1)
    made = parse([{**row(crystal, 0), **change}]).to_pylist()[0]
    assert said in made["note"]
    assert (made["lattice"], made["numbers"], made["frac_coords"]) == (None, None, None)
    assert made["energy_ev_atom"] == crystal.known["energy"]
    assert made["reason"] is None


def test_ids_and_addresses_are_only_text() -> None:
    made = parse([{"auid": "../../x/y", "compound": "N" * 10**6, "aurl": "javascript:x"}])
    (only,) = made.to_pylist()
    assert (only["source_id"], only["source_url"]) == ("../../x/y", None)


def test_rows_do_not_depend_on_what_is_parsed_with_them() -> None:
    given = [row(crystal, n) for n, crystal in enumerate(made_crystals(40))]
    given[3]["geometry"], given[9]["Egap"] = None, "?"
    one_by_one = pa.concat_tables([parse([r]) for r in given])
    assert parse(given).combine_chunks().equals(one_by_one.combine_chunks())
