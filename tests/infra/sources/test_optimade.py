from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standins.optimade import PROPERTIES, ROWS, Disturbed, PlainOptimade, made_entries

from infra.guards import NAME
from infra.pull import optimade_pages
from infra.pull.engine import pull
from infra.pull.http import Http
from infra.settings import Settings
from infra.sources.base import UnitCounts
from infra.sources.optimade import COLUMNS, Optimade
from infra.store import Store
from irnet_core.errors import SourceError
from irnet_core.schema import REASON, arrow_schema

ENTRIES = made_entries(ROWS)
STANDARD = (*ENTRIES[0]["attributes"], "id", "type")
INFO = {name: {"unit": PROPERTIES.get(name)} for name in STANDARD}


def quick(**others: Any) -> Settings:
    times = {"http_timeout_s": 10, "http_attempts": 3, "http_backoff_s": 0.01}
    return Settings(**{"request_gap_s": 0, **times, **others})


def pulled(database: Optimade) -> tuple[list[dict[str, Any]], list[UnitCounts]]:
    """Rows of all units, and what was counted."""
    rows, counts = [], []
    with Http(database.name, quick()) as http:
        for unit in database.units(http):
            counts.append(UnitCounts())
            for table in database.tables(unit, http, None, counts[-1]):
                assert table.schema.equals(arrow_schema([*COLUMNS, REASON]))
                rows += table.to_pylist()
    return rows, counts


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["source_id"] for row in rows)


def all_ids(entries: list[dict[str, Any]] = ENTRIES) -> list[str]:
    return sorted(str(entry["id"]) for entry in entries)


@pytest.fixture
def reference() -> Any:
    pytest.importorskip("optimade", reason="needs the reference server, pip install optimade")
    pytest.importorskip("mongomock", reason="needs the reference server's database, mongomock")
    with Disturbed() as server:
        yield server


@pytest.fixture
def plain() -> Any:
    with PlainOptimade(ENTRIES, INFO) as server:
        yield server


# the reference server ---------------------------------------------------------------------------
def test_every_entry_of_the_reference_server_comes_with_its_values(reference: Disturbed) -> None:
    rows, counts = pulled(Optimade(url=reference.url, page_size=80, settings=quick()))
    assert [c.total for c in counts] == [ROWS]
    made = {row["source_id"]: row for row in rows}
    assert sorted(made) == all_ids()
    for number, entry in enumerate(ENTRIES):
        row, given = made[entry["id"]], entry["attributes"]
        assert row["formula"] == given["chemical_formula_reduced"] or number == 7
        assert row["formation_energy_ev_atom"] == given["_exmpl_formation_energy_per_atom"]
        assert row["energy_above_hull_ev_atom"] == pytest.approx(
            given["_exmpl_hull_distance"] / 1000, abs=1e-12
        )
        assert row["band_gap_ev"] == given["_exmpl_band_gap"]
        assert row["reason"] is None
        if number in (3, 4, 5, 6):
            continue
        cell = np.reshape(row["lattice"], (3, 3))
        assert np.array_equal(cell, given["lattice_vectors"])
        assert np.allclose(
            np.reshape(row["frac_coords"], (-1, 3)) @ cell, given["cartesian_site_positions"]
        )
        assert row["n_sites"] == given["nsites"] == len(row["numbers"])
        volume = abs(np.linalg.det(given["lattice_vectors"])) / given["nsites"]
        assert row["volume_a3_atom"] == pytest.approx(volume)
        assert row["note"] is None


def test_structures_that_are_no_plain_crystals_are_noted(reference: Disturbed) -> None:
    rows, _ = pulled(Optimade(url=reference.url, settings=quick()))
    made = {row["source_id"]: row for row in rows}
    species = [entry["attributes"]["species_at_sites"] for entry in ENTRIES]
    notes = {
        3: f"structure: species {species[3][0]!r} is disordered or not described",
        4: "structure: site 0 holds 'vacancy', which is no element",
        5: "structure: it has implicit atoms",
        6: "structure: none given",
    }
    for number, note in notes.items():
        row = made[ENTRIES[number]["id"]]
        assert (row["note"], row["lattice"], row["n_sites"]) == (note, None, None)
    assert sum(row["lattice"] is None for row in rows) == 4


def test_a_filter_and_small_units_on_the_reference_server(reference: Disturbed) -> None:
    database = Optimade("nelements>1", url=reference.url, unit_rows=60, settings=quick())
    with Http(database.name, quick()) as http:
        units = database.units(http)
    assert len(units) > 2
    assert all(unit.query["rows"] <= 60 and unit.query["page_size"] == 100 for unit in units)
    rows, _ = pulled(database)
    assert ids(rows) == all_ids([e for e in ENTRIES if e["attributes"]["nelements"] > 1])


@pytest.mark.parametrize(
    "switches",
    [{"shifted": 3}, {"shuffled": 4}, {"no_count": 1}, {"endless": True}, {"short": 3}],
    ids=str,
)
def test_disturbed_pages_still_give_every_entry(
    reference: Disturbed, switches: dict[str, Any]
) -> None:
    for name, value in switches.items():
        setattr(reference, name, value)
    rows, _ = pulled(Optimade(url=reference.url, page_size=80, settings=quick()))
    assert ids(rows) == all_ids()


def test_a_change_of_the_count_begins_the_pull_anew(reference: Disturbed, tmp_path: Path) -> None:
    reference.more_for = 6
    with (
        Http("optimade", quick()) as http,
        Store(str(tmp_path)).staging("snapshots", "0" * 16) as staging,
    ):
        done = pull(Optimade(url=reference.url, page_size=80, settings=quick()), staging, http)
        rows = pa.concat_tables([staging.read_table(f) for f in done.files]).to_pylist()
    assert ids(rows) == all_ids()
    assert done.version["rows"] == ROWS
    assert done.version["fields"]["energy_above_hull_ev_atom"] == "_exmpl_hull_distance"


def test_a_wrong_filter_is_an_error_with_the_servers_words(reference: Disturbed) -> None:
    database = Optimade("nelements >< 3", url=reference.url, settings=quick())
    with (
        Http(database.name, quick()) as http,
        pytest.raises(SourceError, match="HTTP 400.*check the filter"),
    ):
        database.version(http)


# ways of counting pages -------------------------------------------------------------------------
@pytest.mark.parametrize("way", ["page_offset", "page_number", "page_cursor"])
@pytest.mark.parametrize("object_links", [False, True])
@pytest.mark.parametrize("forgetful", [False, True])
def test_pages_are_found_however_they_are_counted(
    plain: PlainOptimade, way: str, object_links: bool, forgetful: bool
) -> None:
    plain.way, plain.object_links, plain.forgetful = way, object_links, forgetful
    rows, counts = pulled(
        Optimade("nsites>3", url=plain.url, page_size=20, unit_rows=90, settings=quick())
    )
    assert ids(rows) == all_ids([e for e in ENTRIES if e["attributes"]["nsites"] > 3])
    assert len(counts) > 1
    assert all(row["formation_energy_ev_atom"] is not None for row in rows)
    hosts = {request.headers["host"] for request in plain.requests}
    assert hosts == {plain.url.removeprefix("http://")}


def test_a_circle_of_next_pages_is_an_error(plain: PlainOptimade) -> None:
    plain.way, plain.circle = "page_cursor", True
    with pytest.raises(SourceError, match="go round in a circle"):
        pulled(Optimade(url=plain.url, page_size=20, settings=quick()))


def test_a_next_page_for_ever_without_rows_ends(plain: PlainOptimade) -> None:
    class Empty(PlainOptimade):
        """Has a next page after each, and nothing on it, as AFLOW once did."""

        def answer(self, params: Any, found: Any, start: int, limit: int) -> Any:
            value = super().answer(params, found, start, limit)
            if start >= 100:
                value["data"] = []
            value["links"]["next"] = f"http://inside/structures?page_cursor=c{start + limit}"
            return value

    with Empty(ENTRIES, INFO) as empty:
        empty.way = "page_cursor"
        with pytest.raises(SourceError, match="one after another"):
            pulled(Optimade(url=empty.url, page_size=20, settings=quick()))
        assert len(empty.requests) < 60


def test_the_largest_page_that_the_server_takes_is_found(plain: PlainOptimade) -> None:
    plain.most = 50
    database = Optimade(url=plain.url, settings=quick())
    with Http(database.name, quick()) as http:
        assert {unit.query["page_size"] for unit in database.units(http)} == {50}
    assert ids(pulled(database)[0]) == all_ids()


def limited(database: Optimade, limit: int, folder: Path) -> list[str]:
    request = "0" * 16
    store = Store(folder)
    with (
        Http(database.name, quick()) as http,
        store.staging("snapshots", request) as staging,
    ):
        made = pull(database, staging, http, limit=limit)
        tables = [staging.read_table(file) for file in made.files]
        return [id_ for table in tables for id_ in table["source_id"].to_pylist()]


def test_a_few_rows_cost_a_few_requests(plain: PlainOptimade, tmp_path: Path) -> None:
    found = limited(Optimade(url=plain.url, settings=quick()), 7, tmp_path)
    assert sorted(found) == all_ids(ENTRIES[:7])
    assert sum(plain.seen.values()) <= 6
    assert all(int(r.params.get("page_limit", 1)) <= 500 for r in plain.requests)


def test_a_limit_beyond_the_first_rows_that_servers_give_divides_the_list(
    plain: PlainOptimade, tmp_path: Path
) -> None:
    database = Optimade(url=plain.url, unit_rows=60, settings=quick())
    assert len(set(limited(database, 100, tmp_path))) == 100
    assert any("nelements" in r.params.get("filter", "") for r in plain.requests)


@pytest.mark.parametrize("limit", [7, 150])
@pytest.mark.parametrize("said", [None, 10_000])
def test_the_first_rows_of_a_list_that_is_never_counted(
    plain: PlainOptimade, tmp_path: Path, limit: int, said: int | None
) -> None:
    plain.counts = lambda count, filter_: said
    found = limited(Optimade(url=plain.url, page_size=20, settings=quick()), limit, tmp_path)
    assert sorted(found) == all_ids(ENTRIES[:limit])


@pytest.mark.parametrize("root", ["", "/v1"])
def test_the_version_of_the_interface_may_be_in_the_url_or_not(
    plain: PlainOptimade, root: str
) -> None:
    plain.root = root
    urls = [plain.url, f"{plain.url}/", *([f"{plain.url}/v1"] if root else [])]
    for url in urls:
        assert ids(pulled(Optimade(url=url, settings=quick()))[0]) == all_ids()


def test_no_server_of_optimade_is_an_error(plain: PlainOptimade) -> None:
    plain.root = "/elsewhere"
    with pytest.raises(SourceError, match="HTTP 404"):
        pulled(Optimade(url=plain.url, settings=quick()))


# counts -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("said", [None, 10_000, 100_000])
def test_large_lists_without_a_true_count_are_divided_all_the_same(
    plain: PlainOptimade, said: int | None
) -> None:
    plain.counts = lambda count, filter_: said if count > 100 else count
    if said is not None:  # a part is too large as well, and the server says so by its limit
        plain.counts = lambda count, filter_: said if not filter_ else count
    rows, counts = pulled(Optimade(url=plain.url, unit_rows=90, settings=quick()))
    assert ids(rows) == all_ids()
    assert sum(c.total or 0 for c in counts) == ROWS


@pytest.mark.parametrize("unit_rows", [50, 100, 1000])
def test_parts_whose_counts_stop_at_a_cap_are_divided_further(
    plain: PlainOptimade, monkeypatch: pytest.MonkeyPatch, unit_rows: int
) -> None:
    monkeypatch.setattr(optimade_pages, "CAPS", (100,))
    plain.counts = lambda count, filter_: min(count, 100)
    rows, counts = pulled(Optimade(url=plain.url, unit_rows=unit_rows, settings=quick()))
    assert ids(rows) == all_ids()
    assert sum(c.total or 0 for c in counts) == ROWS


def test_parts_that_cannot_be_counted_or_divided_are_refused(plain: PlainOptimade) -> None:
    plain.understands_not = False
    plain.counts = lambda count, filter_: min(count, 10_000) if "<" in filter_ else 10_000
    with (
        Http("optimade", quick()) as http,
        pytest.raises(SourceError, match="does not say how many rows meet '.*'.*give a filter"),
    ):
        Optimade("nsites>=1", url=plain.url, settings=quick()).units(http)


def test_a_list_that_is_never_counted_is_refused(plain: PlainOptimade) -> None:
    plain.counts = lambda count, filter_: None
    with pytest.raises(SourceError, match="does not say how many rows"):
        pulled(Optimade(url=plain.url, settings=quick()))


def test_a_server_that_knows_no_not_is_pulled_in_larger_parts(plain: PlainOptimade) -> None:
    plain.understands_not = False
    plain.entries = [
        {**entry, "attributes": {**entry["attributes"], "nelements": 2, "nsites": 4}}
        for entry in ENTRIES
    ]
    rows, counts = pulled(Optimade(url=plain.url, unit_rows=50, settings=quick()))
    assert [c.total for c in counts] == [ROWS]
    assert ids(rows) == all_ids()


# fields -----------------------------------------------------------------------------------------
def test_only_what_the_server_has_is_asked_for(plain: PlainOptimade) -> None:
    plain.properties = {n: INFO[n] for n in INFO if not n.startswith(("_", "structure_f"))}
    rows, _ = pulled(Optimade(url=plain.url, settings=quick()))
    asked = [r.params["response_fields"] for r in plain.requests if "info" not in r.path]
    assert "structure_features" not in asked[-1]
    assert all(row["formation_energy_ev_atom"] is None for row in rows)


def test_the_materials_project_has_values_by_functional(plain: PlainOptimade) -> None:
    values: list[Any] = [
        {"r2scan": {"formation_energy_per_atom": -1.5, "energy_above_hull": 0.25}},
        {
            "gga_gga+u": {"formation_energy_per_atom": -1.0, "energy_above_hull": 0.5},
            "gga_gga+u_r2scan": {"formation_energy_per_atom": -2.0, "energy_above_hull": 0.0},
        },
        {},
        None,
        {"r2scan": "odd"},
    ]
    plain.entries = [
        {**entry, "attributes": {**entry["attributes"], "_mp_stability": value}}
        for entry, value in zip(ENTRIES[10:], values, strict=False)
    ]
    plain.properties = {
        **{name: INFO[name] for name in INFO if not name.startswith("_")},
        "_mp_stability": {"type": "dictionary", "unit": None},
    }
    rows, _ = pulled(Optimade(url=plain.url, settings=quick()))
    made = {row["source_id"]: row for row in rows}
    got = [
        (
            made[e["id"]]["functional"],
            made[e["id"]]["formation_energy_ev_atom"],
            made[e["id"]]["energy_above_hull_ev_atom"],
        )
        for e in plain.entries
    ]
    assert got == [
        ("r2scan", -1.5, 0.25),
        ("gga_gga+u_r2scan", -2.0, 0.0),
        (None, None, None),
        (None, None, None),
        ("r2scan", None, None),
    ]


def test_integer_ids_and_entries_without_attributes_are_rows() -> None:
    class Bare(PlainOptimade):
        def answer(self, params: Any, found: Any, start: int, limit: int) -> Any:
            value = super().answer(params, found, start, limit)
            for entry in value["data"]:
                if entry["id"] == 7:
                    entry["attributes"] = None
            return value

    entries = [{**entry, "id": number} for number, entry in enumerate(ENTRIES[:30])]
    with Bare(entries, INFO) as server:
        rows, _ = pulled(Optimade(url=server.url, settings=quick()))
    assert ids(rows) == sorted(str(number) for number in range(30))
    reasons = {row["source_id"]: row["reason"] for row in rows if row["reason"]}
    assert reasons == {"7": "the entry has no attributes"}


NUMBERS = (5, -1, 5.5, 1e308, 10**30, True)
LISTS = ([], [None], [1], ["H"], [{}], [[1, 2, 3]], [[None] * 3] * 3, [["a"] * 3] * 3)
odd = st.sampled_from([None, "", "na", "x" * 1000, {}, {"name": 1}, *NUMBERS, *LISTS])


@given(st.dictionaries(st.sampled_from(sorted(ENTRIES[0]["attributes"])), odd, max_size=3))
@settings(deadline=None)
def test_whatever_an_attribute_is_the_entry_stays_a_row(changed: dict[str, Any]) -> None:
    database = Optimade(url="http://x/v1", settings=quick())
    database._root, database._properties = "http://x/v1", INFO
    entry = {**ENTRIES[0], "attributes": {**ENTRIES[0]["attributes"], **changed}}
    made = database.parse([entry, ENTRIES[1]])
    assert made["source_id"].to_pylist() == [str(e["id"]) for e in ENTRIES[:2]]
    assert made.slice(1).equals(database.parse(ENTRIES[:2]).slice(1))


def test_each_provider_has_a_name_of_its_own() -> None:
    assert Optimade(url="https://oqmd.org/optimade/", settings=quick()).name == (
        "optimade-oqmd.org-optimade"
    )
    assert (
        Optimade(url="https://optimade.x.org", settings=quick()).name == "optimade-optimade.x.org"
    )


def test_providers_whose_addresses_look_alike_have_names_of_their_own() -> None:
    urls = [
        "http://a.org",
        "http://a.org:5001",
        "http://a.org:5002",
        "http://a.org/5001",
        "http://a.org/x-y",
        "http://a.org/x/y",
        "http://a.org/X/y",
        "http://a.org/x_y",
        "http://a.org/" + "z" * 90,
        "http://a.org/" + "z" * 91,
    ]
    names = [Optimade(url=url, settings=quick()).name for url in urls]
    assert len(set(names)) == len(urls)
    assert [names[0], names[3], names[5]] == [
        "optimade-a.org",
        "optimade-a.org-5001",
        "optimade-a.org-x-y",
    ]
    assert all(NAME.fullmatch(name) for name in names)
    for other in ("https://me:pw@A.org/", "http://a.org"):  # neither password nor case tell apart
        assert Optimade(url=other, settings=quick()).name == names[0]


@pytest.mark.parametrize("end", ["?api_key=s3cret", "/v1/?x=s3cret#y", "#s3cret"])
def test_an_address_with_a_query_is_refused(end: str) -> None:
    with pytest.raises(SourceError, match="the address .* has a query, .* give --url,") as error:
        Optimade(url=f"https://me:s3cret@x.org/optimade{end}", settings=quick())
    assert "s3cret" not in str(error.value)


def test_links_lead_to_the_entries_at_the_provider_or_at_its_public_address(
    plain: PlainOptimade,
) -> None:
    for public, base in ((None, f"{plain.url}/v1"), ("https://x.org/v1/", "https://x.org/v1")):
        rows, _ = pulled(Optimade(url=plain.url, public_url=public, settings=quick()))
        links = {row["source_id"]: row["source_url"] for row in rows}
        assert links["db/10"] == f"{base}/structures/db%2F10"
        assert links["1001"] == f"{base}/structures/1001"


def test_a_password_in_the_url_is_not_recorded() -> None:
    query = Optimade(url="https://me:secret@x.org/optimade", settings=quick()).query()
    assert "secret" not in str(query)
