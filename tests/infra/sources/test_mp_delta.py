import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from standins.crystals import SHARED
from standins.mp import KEY, DeltaStandIn, mp_settings, summary_rows, write_delta

from infra.pull.http import Http, Unanswered
from infra.pull.pymatgen_dicts import parts, structure_columns
from infra.pull.values import Notes
from infra.settings import Settings
from infra.snapshots.snapshot import build_snapshot
from infra.sources import SOURCES
from infra.sources.base import Unit, UnitCounts
from infra.sources.mp import MaterialsProject
from infra.sources.mp_delta import MaterialsProjectDelta
from infra.sources.mp_delta_rows import newest, structures
from infra.store import Store
from irnet_core.errors import SourceError, StoreError

QUICK = {
    "http_timeout_s": 2.0,
    "http_attempts": 2,
    "http_backoff_s": 0.01,
    "request_gap_s": 0.0,
}


@pytest.fixture(scope="module")
def rows():
    rows = summary_rows(SHARED if SHARED.is_dir() else None, 300)
    rows[17]["structure"] = None
    rows[21]["deprecated"] = True
    return rows


@pytest.fixture(scope="module")
def environment():
    """Quick settings for the module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUICK.items():
            patch.setenv(f"IRNET_{name.upper()}", str(value))
        yield patch


@pytest.fixture(scope="module")
def server(rows, environment):
    with DeltaStandIn(rows) as server:
        environment.setenv("AWS_ENDPOINT_URL", server.url)
        environment.setenv("AWS_ALLOW_HTTP", "true")
        server.accepted_terms = True  # so that the client takes the GNoME batch, too
        yield server


def database(server, folder, filter=None, **changes):
    settings = mp_settings(Settings(**{**QUICK, **changes}), server.url)
    return MaterialsProjectDelta(filter, unit_rows=100, folder=folder, settings=settings)


@pytest.fixture(scope="module")
def pulled(server, tmp_path_factory):
    """Folder with a store and a cache after a pull, the snapshot, and what was asked for."""
    folder = tmp_path_factory.mktemp("pulled")
    server.requests.clear()
    manifest = build_snapshot(database(server, folder / "cache"), Store(folder / "store"))
    return folder, manifest, list(server.requests)


def data(manifest, folder):
    with Store(folder / "store").open(manifest.id).folder.open("data.parquet") as file:
        return pq.read_table(file)


def http_for(database):
    return Http("mp", database._settings, secrets=database.secrets)


def from_s3(requests):
    return [r for r in requests if r.path.endswith(".parquet")]


# through the client ----------------------------------------------------------------------------
def test_the_tables_and_the_pages_give_the_same_snapshot(server, pulled, rows, tmp_path):
    folder, delta, requests = pulled
    assert from_s3(requests)
    asked = [r.params for r in requests if r.path.endswith("/summary/")]
    assert not any("structure" in params.get("_fields", "") for params in asked)
    server.requests.clear()
    settings = mp_settings(Settings(**QUICK), server.url)
    by_pages = MaterialsProject(unit_rows=100, page_rows=50, settings=settings)
    rest = build_snapshot(by_pages, Store(tmp_path / "store"))
    assert not from_s3(server.requests)
    assert data(delta, folder).equals(data(rest, tmp_path))
    open_rows = [r for r in rows if r["builder_meta"]["license"] == "BY-C"]
    assert delta.rows == len(open_rows) - 1 == delta.counts["server_total"]  # one is deprecated
    assert delta.parameters["query"]["via"] == "delta"


def test_the_gnome_batch_is_left_out_though_the_client_took_it(pulled):
    folder, manifest, _ = pulled
    assert set(data(manifest, folder)["licence"].to_pylist()) == {"BY-C"}
    assert manifest.parameters["query"]["include_gnome"] is False
    assert "left out" in manifest.licence


def test_the_key_is_in_no_file_and_goes_to_no_bucket(pulled):
    folder, _, requests = pulled
    for path in folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    for request in requests:
        assert KEY not in request.raw_query + request.path
        if "materialsproject-" in request.path:
            assert KEY not in str(request.headers)


def test_what_was_fetched_is_not_fetched_again_until_it_is_published(server, pulled, tmp_path):
    _, manifest, _ = pulled
    cache, store = tmp_path / "cache", Store(tmp_path / "store")
    killed = database(server, cache)

    def die(done, *_):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_snapshot(killed, store, update=die)
    assert len(list(killed.folder.iterdir())) == 1  # the client's own files are gone
    server.requests.clear()
    assert build_snapshot(database(server, cache), store).id == manifest.id
    assert not from_s3(server.requests)
    assert not killed.folder.exists()


def test_two_pulls_do_not_delete_each_others_tables(server, pulled, tmp_path):
    _, manifest, _ = pulled
    cache, refused = tmp_path / "cache", []

    def other(done, *_):
        if done and not refused:  # the first pull has its first unit
            with pytest.raises(StoreError, match="another run is making the tables .* wait") as no:
                build_snapshot(
                    database(server, cache, "include_gnome=true"), Store(tmp_path / "other")
                )
            refused.append(no)

    assert build_snapshot(database(server, cache), Store(tmp_path), update=other).id == manifest.id
    assert refused


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_tables_that_cannot_be_read_are_an_error(server, rows, tmp_path, damage):
    units, wanted = sorted_units(server, rows, tmp_path, 269)
    wanted._kept = wanted.folder
    file = wanted.folder / f"{units[1]['name']}.arrow"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:1000])
    unit = Unit(units[1]["name"], units[1])
    with pytest.raises(SourceError, match="cannot read the .*tables in .*: delete that folder"):
        list(wanted.tables(unit, http_for(wanted), None, UnitCounts()))


def test_a_file_of_the_table_that_is_not_there_is_an_error(server, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    root = server.buckets.folder / "materialsproject-build"
    [file] = root.rglob("*.parquet")
    server.buckets.missing = {str(file.relative_to(root))}
    wanted = database(server, tmp_path / "cache", http_attempts=1)
    http = Http("mp", Settings(**{**QUICK, "http_attempts": 1}), secrets=wanted.secrets)
    with pytest.raises(Unanswered, match="Delta table of summaries .* a file not found") as caught:
        wanted.units(http)
    server.buckets.missing = set()
    said = repr(caught.value) + caplog.text + "".join(capfd.readouterr())
    assert KEY not in said


# what is made of the client's files ------------------------------------------------------------
def sorted_units(server, rows, tmp_path, total, filter=None, stated="2026.05.01.post1"):
    """Units of a table with these rows, without the client."""
    write_delta(rows, tmp_path / "table", "2026-05-01")
    files = [str(path) for path in (tmp_path / "table").rglob("*.parquet")]
    wanted = database(server, tmp_path / "cache", filter)
    wanted.folder.mkdir(parents=True)
    wanted._sort(files, wanted.folder, {"rows": total, "db_version": stated})
    return json.loads((wanted.folder / "units.json").read_text())["units"], wanted


def test_tables_that_lack_rows_are_refused(server, rows, tmp_path):
    with pytest.raises(SourceError, match="has 26. documents .* counts 269 .* later, or without"):
        sorted_units(server, rows[:-3], tmp_path, 269)
    assert not list((tmp_path / "cache").rglob("units.json"))


@pytest.mark.parametrize("stated", ["2026.04.13", "2026.05.02"])
def test_tables_of_another_version_are_refused(server, rows, tmp_path, stated):
    text = f"is of version 2026-05-01, but its REST interface of version {stated}; try again later"
    with pytest.raises(SourceError, match=text):
        sorted_units(server, rows, tmp_path, 269, stated=stated)
    assert not list((tmp_path / "cache").rglob("units.json"))


def test_the_gnome_batch_comes_when_asked_for(server, rows, tmp_path):
    units, wanted = sorted_units(server, rows, tmp_path, 299, "include_gnome=true")
    assert sum(unit["rows"] for unit in units) == len(rows) - 1
    assert "CC BY-NC" in wanted.licence


def test_rows_that_come_twice_and_in_any_order_are_told_apart(server, rows, tmp_path):
    once, first = sorted_units(server, rows, tmp_path / "a", 269)
    twice, second = sorted_units(server, [*reversed(rows), *rows[:20]], tmp_path / "b", 269)
    assert sum(unit["duplicates"] for unit in twice) == 18  # the others are of the GNoME batch
    assert [unit["rows"] for unit in twice] == [unit["rows"] for unit in once] == [100, 100, 69]
    last = ""
    for unit in once:
        tables = []
        for wanted in (first, second):
            with pa.memory_map(str(wanted.folder / f"{unit['name']}.arrow")) as file:
                tables.append(pa.ipc.open_file(file).read_all().sort_by("source_id"))
        assert tables[0].equals(tables[1])
        ids = tables[0]["source_id"].to_pylist()
        assert last < ids[0]
        last = ids[-1]


def test_other_filters_are_refused(server, tmp_path):
    with pytest.raises(SourceError, match="takes the collection whole, not 'band_gap=1:2'"):
        database(server, tmp_path, "band_gap=1:2")


def test_it_is_known_by_its_way(server, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", KEY)
    assert SOURCES["mp"](via="delta").query()["via"] == "delta"


def test_the_newest_version_counts():
    files = ["a/version=2026-04-13/x.parquet", "a/version=2026-05-01/x.parquet"]
    assert newest(files) == (files[1:], ["2026-04-13", "2026-05-01"])
    assert newest(["a/x.parquet"]) == (["a/x.parquet"], [])


@pytest.mark.parametrize("odd", ["nothing", "disordered", "none", "no site", "no element"])
def test_structures_of_tables_are_those_of_pages(rows, tmp_path, odd):
    some = [row["structure"] for row in rows[30:50]]
    first, *others = some[0]["sites"]
    changed = {
        "disordered": [
            {**first, "species": [{"element": e, "occu": 0.5} for e in ("Fe", "Co")]},
            *others,
        ],
        "no site": [],
        "no element": [{**first, "species": [{"element": "Q", "occu": 1}]}, *others],
    }
    if odd in changed:
        some[0] = {**some[0], "sites": changed[odd]}
    if odd == "none":
        some[3] = None
    write_delta([{**r, "structure": s} for r, s in zip(rows[30:50], some, strict=True)], tmp_path)
    [file] = tmp_path.rglob("*.parquet")
    column = pq.ParquetFile(file).read(["structure"])["structure"].combine_chunks()
    assert isinstance(column, pa.StructArray)
    notes, other_notes = Notes(), Notes()
    found = structures(column, notes)
    wanted = structure_columns([parts(structure) for structure in some], other_notes)
    assert found.columns() == wanted.columns()
    assert found.volume == wanted.volume
    assert notes.column(20) == other_notes.column(20)
    assert (notes.column(20).null_count == 20) == (odd == "nothing")
