from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from standins.oqmd import OqmdStandIn, made_rows

from infra.pull.engine import pull
from infra.pull.http import Http
from infra.settings import Settings
from infra.sources.base import UnitCounts
from infra.sources.oqmd import Oqmd, oqmd_database
from infra.sources.oqmd_optimade import OqmdOptimade
from infra.sources.oqmd_rows import COLUMNS, parse
from infra.store import Store
from irnet_core.errors import SourceError
from irnet_core.schema import REASON, arrow_schema

N = 240
ROWS = made_rows(N)


def quick(stand_in: OqmdStandIn, **others: Any) -> Settings:
    return Settings(
        oqmd_url=stand_in.url,
        request_gap_s=0,
        http_timeout_s=1,
        http_attempts=3,
        http_backoff_s=0.01,
        **others,
    )


@pytest.fixture
def server() -> Any:
    with OqmdStandIn(made_rows(N)) as stand_in:
        yield stand_in


def pulled(database: Any, settings: Settings) -> tuple[list[dict[str, Any]], list[UnitCounts]]:
    """Rows of all units, and what was counted."""
    rows, counts = [], []
    with Http(database.name, settings) as http:
        for unit in database.units(http):
            counts.append(UnitCounts())
            for table in database.tables(unit, http, None, counts[-1]):
                assert table.schema.equals(arrow_schema([*database.columns, REASON]))
                rows += table.to_pylist()
    return rows, counts


def by_id(rows: list[dict[str, Any]]) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(row["source_id"], row["reason"]): row for row in rows}


def truth() -> dict[tuple[str, str | None], dict[str, Any]]:
    return by_id(parse(ROWS).to_pylist())


# what comes -----------------------------------------------------------------------------------
def test_every_row_of_the_database_comes_once_with_its_values(server: OqmdStandIn) -> None:
    rows, counts = pulled(Oqmd(page_size=50, settings=quick(server)), quick(server))
    assert len(rows) == N == counts[0].total
    kept = {row["source_id"]: row for row in rows if row["reason"] is None}
    for given in ROWS:
        made = kept[str(given["entry_id"])]
        if given["entry_id"] == ROWS[4]["entry_id"]:  # has two formation energies
            given = min(ROWS[3:5], key=lambda row: row["delta_e"])
        assert made["formation_energy_ev_atom"] == given["delta_e"]
        assert made["energy_above_hull_ev_atom"] == given["stability"]
        assert made["band_gap_ev"] == given["band_gap"]
        assert made["prototype"] == given["prototype"]
        assert made["duplicate_of"] == str(given["duplicate_entry_id"])
        assert made["source_url"] == f"https://oqmd.org/materials/entry/{given['entry_id']}"
        if made["lattice"] is not None:
            assert np.allclose(np.reshape(made["lattice"], (3, 3)), given["unit_cell"])
            assert np.allclose(
                np.reshape(made["frac_coords"], (-1, 3)), given["frac_coords"], rtol=6e-3, atol=1e-9
            )
            assert made["n_sites"] == given["natoms"]
            cell = abs(np.linalg.det(given["unit_cell"]))
            assert made["volume_a3_atom"] == pytest.approx(cell / given["natoms"], rel=1e-6)


def test_a_few_rows_cost_a_few_requests(server: OqmdStandIn, tmp_path: Path) -> None:
    settings = quick(server)
    database = Oqmd(settings=settings)
    request = "0" * 16
    with Http("oqmd", settings) as http, Store(tmp_path).staging("snapshots", request) as staging:
        made = pull(database, staging, http, limit=7)
        assert [staging.read_table(file).num_rows for file in made.files] == [7]
    assert sum(server.seen.values()) <= 6


def test_of_several_formation_energies_of_an_entry_the_lowest_is_kept() -> None:
    made = truth()
    pair = sorted(ROWS[3:5], key=lambda row: row["delta_e"])
    id_ = str(pair[0]["entry_id"])
    other = f"formation energy {pair[1]['formationenergy_id']} of the entry is not its lowest"
    assert made[id_, None]["formation_energy_ev_atom"] == pair[0]["delta_e"]
    assert made[id_, other]["formation_energy_ev_atom"] == pair[1]["delta_e"]
    assert sum(row["source_id"] == id_ for row in made.values()) == 2


@pytest.mark.parametrize(
    ("number", "note"),
    [
        (7, "structure: site 0 holds '(Fe,Co)', which is no element"),
        (8, "structure: none given"),
        (10, "spacegroup: 'Q99' is no space group"),
    ],
)
def test_what_of_a_row_is_unusable_is_noted_and_the_rest_kept(number: int, note: str) -> None:
    made = truth()[str(ROWS[number]["entry_id"]), None]
    assert made["note"] == note
    assert made["formation_energy_ev_atom"] == ROWS[number]["delta_e"]
    assert (made["lattice"] is None) == ("structure" in note)
    assert made["volume_a3_atom"] == pytest.approx(ROWS[number]["volume"] / ROWS[number]["natoms"])


def test_a_row_without_an_entry_stays_with_a_reason() -> None:
    made = parse([{**ROWS[0], "entry_id": None}]).to_pylist()[0]
    assert made["source_id"] is None
    assert made["reason"] == f"formation energy {ROWS[0]['formationenergy_id']} has no entry_id"


def test_no_rows_make_an_empty_table() -> None:
    assert parse([]).num_rows == 0
    assert parse([]).schema.equals(arrow_schema([*COLUMNS, REASON]))


def test_a_filter_is_handed_on_and_its_rows_alone_come(server: OqmdStandIn) -> None:
    database = Oqmd("element_set=O AND natoms<12", unit_rows=20, settings=quick(server))
    rows, _ = pulled(database, quick(server))
    wanted = [r for r in ROWS if "O_" in r["element_list"] and r["natoms"] < 12]
    assert len(wanted) > 40
    assert sorted(r["source_id"] for r in rows) == sorted(str(r["entry_id"]) for r in wanted)


def test_a_wrong_filter_is_an_error_with_the_servers_words(server: OqmdStandIn) -> None:
    database = Oqmd("natoms ~~ 3", settings=quick(server))
    with (
        Http("oqmd", quick(server)) as http,
        pytest.raises(
            SourceError, match="HTTP 400.*Check for grammatical errors.*check the filter"
        ),
    ):
        database.units(http)


# slices ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("unit_rows", [100, 25, 6])
def test_units_are_small_and_together_the_database(server: OqmdStandIn, unit_rows: int) -> None:
    server.rows = server.rows[:120]
    server.rows[0] |= {"natoms": None}  # meets neither natoms<k nor natoms>=k
    server.rows[1] |= {"natoms": 900}
    database = Oqmd(unit_rows=unit_rows, settings=quick(server))
    with Http("oqmd", quick(server)) as http:
        units = database.units(http)
    assert all(unit.query["rows"] <= unit_rows for unit in units)
    assert len(units) >= 120 / unit_rows
    assert sum(unit.query["rows"] for unit in units) == 120
    assert [unit.name for unit in units] == sorted(unit.name for unit in units)
    rows, counts = pulled(database, quick(server))
    assert by_id(rows) == by_id(parse(server.rows).to_pylist())
    assert [c.total for c in counts] == [unit.query["rows"] for unit in units]


def test_formation_energies_of_an_entry_come_in_one_unit(server: OqmdStandIn) -> None:
    rows, _ = pulled(Oqmd(unit_rows=10, settings=quick(server)), quick(server))
    id_ = str(ROWS[4]["entry_id"])
    assert sorted(row["reason"] is None for row in rows if row["source_id"] == id_) == [False, True]


def test_names_of_elements_that_begin_alike_are_kept_apart(server: OqmdStandIn) -> None:
    # the server replaces element_set=C in element_set=Cs, were it written first
    for row, elements in zip(
        server.rows, ["C", "Cs", "C_O", "Cs_O", "Ca", "Cu_C"] * 40, strict=True
    ):
        row |= {"element_list": f"{elements}_", "ntypes": 2, "natoms": 4}
    database = Oqmd(unit_rows=40, settings=quick(server))
    with Http("oqmd", quick(server)) as http:
        assert [unit.query["rows"] for unit in database.units(http)] == [40] * 6


def test_where_elements_are_refused_the_database_is_cut_by_energy(server: OqmdStandIn) -> None:
    server.refuses = "element_set"
    server.rows = [row | {"ntypes": 3, "natoms": 10} for row in server.rows]
    server.rows[50]["delta_e"] = server.rows[51]["delta_e"]
    server.rows[60]["delta_e"] = 0.0  # on the boundary of a cut
    database = Oqmd(unit_rows=30, settings=quick(server))
    with Http("oqmd", quick(server)) as http:
        units = database.units(http)
    assert all(unit.query["rows"] <= 30 for unit in units)
    assert any("delta_e" in unit.query["filter"] for unit in units)
    rows, _ = pulled(database, quick(server))
    assert len(rows) == N
    assert {r["source_id"] for r in rows} == {str(r["entry_id"]) for r in server.rows}


def test_parts_that_do_not_add_up_are_not_taken(server: OqmdStandIn) -> None:
    class Careless(OqmdStandIn):
        """Takes NOT for nothing and says so to nobody."""

        def found(self, filter_: str | None, keys: dict[str, str]) -> list[Any]:
            return super().found((filter_ or "").replace("NOT ", ""), keys)

    with Careless([row | {"ntypes": 3, "natoms": 10} for row in ROWS]) as careless:
        database = Oqmd(unit_rows=30, settings=quick(careless))
        rows, _ = pulled(database, quick(careless))
    assert len(rows) == N
    assert {r["source_id"] for r in rows} == {str(r["entry_id"]) for r in ROWS}


# what goes wrong ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "switches",
    [
        {"shuffled": -1},
        {"shifted": -1},
        {"shifted": -1, "shuffled": -1},
        {"cap": 17},
        {"endless": True},
        {"short": 3},
        {"no_count": 2},
    ],
    ids=str,
)
def test_pages_that_cannot_be_trusted_still_give_every_row(
    server: OqmdStandIn, switches: dict[str, Any]
) -> None:
    for name, value in switches.items():
        setattr(server, name, value)
    database = Oqmd(unit_rows=150, page_size=30, settings=quick(server))
    rows, _ = pulled(database, quick(server))
    assert by_id(rows) == truth()


def test_a_count_that_is_never_one_is_an_error(server: OqmdStandIn) -> None:
    server.no_count = -1
    with (
        Http("oqmd", quick(server)) as http,
        pytest.raises(SourceError, match="no count of rows"),
    ):
        Oqmd(settings=quick(server)).units(http)


def test_a_poisoned_row_is_skipped_and_recorded_and_no_other(server: OqmdStandIn) -> None:
    server.poisoned = {ROWS[100]["formationenergy_id"]}
    settings = quick(server)
    rows, counts = pulled(Oqmd(page_size=60, settings=settings), settings)
    expected = truth()
    del expected[str(ROWS[100]["entry_id"]), None]
    assert by_id(rows) == expected
    assert counts[0].skipped == [{"offset": 100, "count": 1, "reason": "HTTP 500"}]


def test_a_change_of_the_count_begins_the_pull_anew(server: OqmdStandIn, tmp_path: Path) -> None:
    server.late, server.late_for = [made_rows(N + 1)[-1]], 9
    settings = quick(server)
    with (
        Http("oqmd", settings) as http,
        Store(str(tmp_path)).staging("snapshots", "0" * 16) as staging,
    ):
        done = pull(Oqmd(unit_rows=150, page_size=30, settings=settings), staging, http)
        tables = [staging.read_table(file) for file in done.files]
    assert by_id(pa.concat_tables(tables).to_pylist()) == truth()
    assert done.version == {"rows": N, "release": "not stated"}


def test_the_version_is_the_count_and_the_release_of_the_settings(server: OqmdStandIn) -> None:
    settings = quick(server, oqmd_release="v1_6__112023")
    with Http("oqmd", settings) as http:
        version = Oqmd("ntypes<3", settings=settings).version(http)
    wanted = sum(row["ntypes"] < 3 for row in ROWS)
    assert version == {"rows": wanted, "release": "v1_6__112023"}


# the other way --------------------------------------------------------------------------------
@pytest.mark.parametrize("unit_rows", [1000, 50])
def test_optimade_gives_the_same_entries(server: OqmdStandIn, unit_rows: int) -> None:
    settings = quick(server)
    rows, _ = pulled(OqmdOptimade(unit_rows=unit_rows, page_size=40, settings=settings), settings)
    made, native = by_id(rows), truth()
    assert {key for key in made if key[1] is None} == {key for key in native if key[1] is None}
    assert len(rows) == N
    for (id_, reason), row in made.items():
        if reason is not None:
            continue
        other = native[id_, None]
        if other["formation_energy_ev_atom"] is not None:
            assert row["formation_energy_ev_atom"] == round(other["formation_energy_ev_atom"], 4)
        assert row["space_group"] == other["space_group"]
        assert row["source_url"] == other["source_url"]
        assert row["numbers"] == other["numbers"]
        if row["lattice"] is not None:
            assert np.allclose(row["frac_coords"], other["frac_coords"], atol=6e-4, rtol=6e-3)
            assert row["volume_a3_atom"] == pytest.approx(other["volume_a3_atom"], rel=1e-6)


def test_optimade_notes_sites_of_two_elements(server: OqmdStandIn) -> None:
    rows, _ = pulled(OqmdOptimade(settings=quick(server)), quick(server))
    row = by_id(rows)[str(ROWS[7]["entry_id"]), None]
    assert row["lattice"] is None
    assert row["note"] == "structure: site 0 holds 'Co0.5Fe0.5', which is no element"


def test_the_way_is_chosen_by_name(server: OqmdStandIn) -> None:
    assert isinstance(oqmd_database(), Oqmd)
    assert isinstance(oqmd_database(via="optimade"), OqmdOptimade)
    with pytest.raises(SourceError, match="via rest or optimade, not 'ftp'"):
        oqmd_database(via="ftp")


# the stand-in has the faults of the server ------------------------------------------------------
def test_the_stand_in_has_the_documented_faults(server: OqmdStandIn) -> None:
    url = f"{server.url}/oqmdapi/formationenergy"
    get = lambda **params: httpx.get(url, params=params).json()  # noqa: E731
    last = get(limit=50, offset=200)
    assert last["links"]["next"] is None
    assert last["meta"]["more_data_available"] is True
    assert get(limit=50, offset=97_240)["meta"]["data_returned"] == -97_000
    assert len(get()["data"]) == 50
    ordered = get(limit=10, sort_by="delta_e")
    assert (ordered["meta"]["data_available"], ordered["links"]["next"]) == (10, None)
    assert get(limit=2)["links"]["next"].startswith("http://oqmd.org/")
    assert httpx.get(url, params={"filter": "natoms<"}).status_code == 400
    assert get(filter="stability=0")["meta"]["data_available"] == sum(
        row["stability"] == 0 for row in ROWS
    )


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize(
    ("made", "filter"), [(Oqmd, "ntypes=12"), (OqmdOptimade, "nelements=12")], ids=["rest", "opt"]
)
def test_a_filter_that_nothing_meets_is_said(
    server: OqmdStandIn, tmp_path: Path, made: Any, filter: str, limit: int | None
) -> None:
    settings = quick(server)
    with (
        Http("oqmd", settings) as http,
        Store(tmp_path).staging("snapshots", "0" * 16) as staging,
        pytest.raises(SourceError, match=f"oqmd: no entry meets the filter '{filter}'; loosen it"),
    ):
        pull(made(filter, settings=settings), staging, http, limit=limit)
