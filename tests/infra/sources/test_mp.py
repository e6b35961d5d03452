import gzip
import logging
import sys
import tracemalloc
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pymatgen.analysis.magnetism import Ordering
from pymatgen.core import Structure
from standins.base import Reply, StandIn
from standins.crystals import SHARED
from standins.mp import ALWAYS, GNOME, KEY, MaterialsProjectStandIn, mp_settings, summary_rows

from infra.pull.http import Http, Unanswered
from infra.settings import Settings
from infra.snapshots.snapshot import build_snapshot
from infra.sources import SOURCES
from infra.sources.base import UnitCounts
from infra.sources.mp import MaterialsProject
from infra.sources.mp_client import checked_key
from infra.sources.mp_filter import search_arguments
from infra.store import Store
from irnet_core.errors import SourceError

QUICK = {
    "http_timeout_s": 0.5,
    "http_attempts": 3,
    "http_backoff_s": 0.01,
    "request_gap_s": 0.0,
}
OTHER_KEY = "an0therKeyThatIsNotTheRightOne00"


@pytest.fixture(scope="module")
def rows():
    return summary_rows(SHARED if SHARED.is_dir() else None, 300)


@pytest.fixture
def server(rows):
    with MaterialsProjectStandIn([{**row} for row in rows]) as server:
        server.retry_after_s = 0
        yield server


@pytest.fixture
def make(server, monkeypatch):
    """Makes the database, and sets the environment to quick settings."""
    for name, value in QUICK.items():
        monkeypatch.setenv(f"IRNET_{name.upper()}", str(value))

    def make(filter=None, *, key=KEY, unit_rows=100, page_rows=50, **changes):
        settings = mp_settings(Settings(**{**QUICK, **changes}), server.url, key)
        return MaterialsProject(filter, unit_rows=unit_rows, page_rows=page_rows, settings=settings)

    return make


def http_for(database):
    return Http("mp", database._settings, secrets=database.secrets)


def pulled(database, tmp_path, **options):
    """The snapshot's rows by id, and its manifest."""
    store = Store(tmp_path / "store")
    manifest = build_snapshot(database, store, **options)
    with store.open(manifest.id).folder.open("data.parquet") as file:
        table = pq.read_table(file)
    return {row["source_id"]: row for row in table.to_pylist()}, manifest


def open_rows(rows):
    return {row["material_id"]: row for row in rows if row["builder_meta"]["license"] == "BY-C"}


# what comes out --------------------------------------------------------------------------------
def test_every_row_with_every_value(make, rows, tmp_path):
    found, manifest = pulled(make(), tmp_path)
    sent = open_rows(rows)
    assert found.keys() == sent.keys()
    for id_, document in sent.items():
        row, n = found[id_], document["nsites"]
        assert row["formula"] == document["formula_pretty"]
        assert row["formation_energy_ev_atom"] == document["formation_energy_per_atom"]
        assert row["energy_ev_atom"] == document["energy_per_atom"]
        assert row["energy_above_hull_ev_atom"] == document["energy_above_hull"]
        assert row["band_gap_ev"] == document["band_gap"]
        assert row["density_g_cm3"] == document["density"]
        assert row["volume_a3_atom"] == pytest.approx(document["volume"] / n)
        moment = document["total_magnetization"]
        assert row["magnetization_mu_b_cell"] == moment
        assert row["magnetization_mu_b_atom"] == (None if moment is None else moment / n)
        bulk = document["bulk_modulus"]
        assert row["bulk_modulus_gpa"] == (None if bulk is None else bulk["vrh"])
        assert row["space_group"] == document["symmetry"]["number"]
        assert row["is_stable"] is document["is_stable"]
        assert row["theoretical"] is document["theoretical"]
        assert row["licence"] == "BY-C"
        assert row["source_url"].endswith(f"/{id_}")
        assert row["n_sites"] == n
    assert manifest.counts["server_total"] == len(sent)
    assert manifest.counts["units"] == 3
    version = {"db_version": "2026.04.13", "rows": len(sent)}
    assert manifest.parameters["version"] == version


def test_structures_are_those_that_pymatgen_reads(make, rows, tmp_path):
    found, _ = pulled(make(), tmp_path)
    for id_, document in list(open_rows(rows).items())[:20]:
        row, oracle = found[id_], Structure.from_dict(document["structure"])
        assert row["lattice"] == oracle.lattice.matrix.ravel().tolist()
        assert row["numbers"] == list(oracle.atomic_numbers)
        assert row["frac_coords"] == oracle.frac_coords.ravel().tolist()


def test_disordered_and_broken_structures_leave_the_rest(make, server, tmp_path):
    disordered, broken, absent = server.rows[0], server.rows[1], server.rows[2]
    disordered["structure"] = {**disordered["structure"]}
    sites = [{**site} for site in disordered["structure"]["sites"]]
    sites[0]["species"] = [{"element": "Fe", "occu": 0.5}, {"element": "Co", "occu": 0.5}]
    disordered["structure"]["sites"] = sites
    broken["structure"] = {"lattice": "?"}
    absent["structure"] = None
    found, _ = pulled(make(), tmp_path)
    notes = ["it is disordered", "it is not what pymatgen writes", "none given"]
    for document, note in zip((disordered, broken, absent), notes, strict=True):
        row = found[document["material_id"]]
        assert note in row["note"]
        assert row["lattice"] is None
        assert row["band_gap_ev"] == document["band_gap"]


def test_a_limit_stops_early(make, server, tmp_path):
    found, manifest = pulled(make(), tmp_path, limit=7)
    assert len(found) == 7
    assert manifest.rows == 7
    asked = [r.params for r in server.requests if "structure" in r.params.get("_fields", "")]
    assert [r["_per_page"] for r in asked] == ["7"]


def test_units_of_exactly_one_page(make, rows, tmp_path):
    found, _ = pulled(make(unit_rows=50), tmp_path)
    assert found.keys() == open_rows(rows).keys()


def test_a_limit_that_ends_in_another_unit(make, tmp_path):
    found, _ = pulled(make(), tmp_path, limit=103)
    assert len(found) == 103


def test_requests_are_sorted_pages_without_deprecated_documents(make, server, tmp_path):
    server.rows[5]["deprecated"] = True
    found, _ = pulled(make(), tmp_path)
    assert server.rows[5]["material_id"] not in found
    for request in server.requests:
        if "structure" in request.params.get("_fields", ""):
            assert request.params["_sort_fields"] == "material_id"
            assert request.params["deprecated"] == "False"
            assert request.headers["user-agent"].startswith("mp-api/")


# licences --------------------------------------------------------------------------------------
def test_the_gnome_batch_is_left_out_and_that_is_recorded(make, server, rows, tmp_path):
    server.accepted_terms = True
    found, manifest = pulled(make(), tmp_path)
    assert found.keys() == open_rows(rows).keys()
    assert "left out" in manifest.licence
    assert manifest.parameters["query"]["include_gnome"] is False
    asked = [r.params for r in server.requests if r.path.endswith("/summary/")]
    assert all(params["batch_id_not_eq"] == GNOME for params in asked)


def test_the_gnome_batch_comes_when_asked_for(make, server, rows, tmp_path):
    server.accepted_terms = True
    found, manifest = pulled(make("include_gnome=true"), tmp_path)
    assert len(found) == len(rows)
    closed = [row for row in found.values() if row["licence"] == "BY-NC"]
    assert len(closed) == sum(row["builder_meta"]["license"] == "BY-NC" for row in rows) > 0
    assert "CC BY-NC" in manifest.licence


# filters ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("band_gap=1:2", {"band_gap": (1.0, 2.0)}),
        ("band_gap=:2, is_stable=False", {"band_gap": (None, 2.0), "is_stable": False}),
        ("num_sites=4", {"num_sites": (4, 4)}),
        ("elements=Fe,O,theoretical=true", {"elements": ["Fe", "O"], "theoretical": True}),
        ("formula=Fe2O3", {"formula": "Fe2O3"}),
        ("spacegroup_number=225", {"spacegroup_number": 225}),
        ("magnetic_ordering=FM", {"magnetic_ordering": Ordering.FM}),
        ("crystal_system=Cubic", {"crystal_system": "Cubic"}),
    ],
)
def test_filters_are_arguments_of_the_clients_search(text, arguments):
    assert search_arguments(text) == arguments


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("band_gab=1:2", "did you mean band_gap"),
        ("band_gap=wide", "band_gap is a range of numbers, not 'wide': write 1:2, 1: or :2"),
        ("band_gap=a:b", "band_gap is a range of numbers, not 'a:b': write 1:2, 1: or :2"),
        ("band_gap=1:2,3:4", "a range of numbers, not '1:2,3:4'"),
        ("spacegroup_number=225,221", "one number, not '225,221': take a snapshot for each"),
        ("spacegroup_number=Fm-3m", "spacegroup_number is a number, not 'Fm-3m'"),
        ("magnetic_ordering=up", "magnetic_ordering is one of FM, AFM, .*, not 'up'"),
        ("is_stable=maybe", "true or false"),
        ("Fe", "no name=value"),
        ("deprecated=true", "not asked by 'deprecated'"),
        ("_page=2", "not asked by '_page'"),
        ("fields=material_id", "not asked by 'fields'"),
        ("band_gap=1:2,band_gap=3:4", "twice"),
    ],
)
def test_filters_that_the_client_does_not_know_are_refused(text, message):
    with pytest.raises(SourceError, match=message):
        search_arguments(text)


def test_a_filter_reaches_the_server(make, server, rows, tmp_path):
    found, manifest = pulled(make("band_gap=0.1:,theoretical=true"), tmp_path)
    wanted = {
        id_ for id_, row in open_rows(rows).items() if row["band_gap"] >= 0.1 and row["theoretical"]
    }
    assert 0 < len(wanted) < 200
    assert found.keys() == wanted
    assert server.requests[-1].params["band_gap_min"] == "0.1"
    assert manifest.parameters["query"]["filter"] == "band_gap=0.1:,theoretical=true"


def test_a_filter_that_nothing_fits_says_so(make, tmp_path):
    with pytest.raises(SourceError, match="no document that fits 'band_gap=900:'"):
        pulled(make("band_gap=900:"), tmp_path)


# keys ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", [None, "", "  ", "short", "x" * 33, "é" * 32])
def test_a_key_that_cannot_be_one_is_refused_without_a_request(make, server, key):
    with pytest.raises(SourceError, match="MP_API_KEY") as caught:
        make(key=key)
    assert not server.requests
    if key and key.strip():
        assert key not in str(caught.value)


def test_the_key_may_be_surrounded_by_space():
    assert checked_key(f" {KEY}\n") == KEY


@pytest.mark.parametrize("state", ["wrong", "expired"])
def test_a_refused_key_is_one_clear_sentence(make, server, tmp_path, state):
    server.expired = state == "expired"
    key = KEY if state == "expired" else OTHER_KEY
    with pytest.raises(SourceError, match="refuses the key in MP_API_KEY") as caught:
        pulled(make(key=key), tmp_path)
    assert key not in str(caught.value)  # though the server repeats it
    assert ("HTTP 403" if state == "expired" else "HTTP 401") in str(caught.value)
    assert server.seen["/materials/summary/"] == 1  # not asked again
    assert not Store(tmp_path / "store").list()


def texts_below(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


@pytest.mark.parametrize("trouble", ["none", "resets", "refused", "poisoned"])
def test_the_key_is_nowhere_but_in_a_header(
    make, server, tmp_path, caplog, capfd, monkeypatch, trouble
):
    monkeypatch.setenv("MP_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    key = OTHER_KEY if trouble == "refused" else KEY
    text = ""
    if trouble == "resets":
        for at in range(1, 40, 3):
            server.order("reset", at=at)
    if trouble == "poisoned":
        server.poisoned = {server.rows[40]["material_id"]}
    try:
        pulled(make(key=key), tmp_path)
    except SourceError as error:
        text = repr(error) + repr(error.__cause__) + repr(error.__context__)
    assert (trouble == "refused") == bool(text)
    said = text + caplog.text + "".join(capfd.readouterr())
    for secret in (KEY, OTHER_KEY):
        assert secret not in said
        for path, content in texts_below(tmp_path):
            assert secret.encode() not in content, path
        for request in server.requests:
            assert secret not in request.raw_query + request.path
    summaries = [r for r in server.requests if r.path.endswith("/summary/")]
    assert {r.headers.get("x-api-key") for r in summaries} == {key}
    assert all("x-api-key" not in r.headers for r in server.requests if r not in summaries)


class Elsewhere(StandIn):
    def respond(self, request):
        return Reply(b"{}")


def test_a_redirect_does_not_carry_the_key_away(make, server, tmp_path):
    with Elsewhere() as elsewhere:
        there = {"Location": f"{elsewhere.url}/materials/summary/"}
        answer = server.respond

        def respond(request):
            return Reply(b"", 307, there) if "summary" in request.path else answer(request)

        server.respond = respond
        with pytest.raises(SourceError, match="set MP_API_ENDPOINT"):
            pulled(make(), tmp_path)
        assert not elsewhere.requests


@pytest.mark.parametrize("trouble", ["redirect", "long"])
def test_a_password_in_the_endpoint_and_a_query_in_a_redirect_are_not_shown(make, server, trouble):
    database = make()
    database.endpoint = database.endpoint.replace("://", "://me:s3cret@")
    answer = server.respond

    def respond(request):
        there = {"Location": "https://you:s3cret@elsewhere.org/x?signature=s3cret"}
        return Reply(b"", 302, there) if "summary" in request.path else answer(request)

    http = http_for(database)
    database._client_for(http)
    if trouble == "redirect":
        server.respond = respond
    else:
        http.settings = http.settings.model_copy(update={"http_most_bytes": 10})
    with pytest.raises(SourceError, match="elsewhere.org/x|longer than 10 bytes") as caught:
        database._count(http)
    assert server.url in str(caught.value)
    assert "s3cret" not in str(caught.value)


# servers in a bad mood -------------------------------------------------------------------------
def test_a_blocked_machine_waits_and_goes_on(make, server, rows, tmp_path):
    server.blocked = 2
    found, _ = pulled(make(), tmp_path)
    assert found.keys() == open_rows(rows).keys()


def test_what_a_blocked_machine_is_told_is_counted(make, server):
    server.blocked = 2
    database = make()
    http = http_for(database)
    database.version(http)
    assert http.retries == {"HTTP 429 (this machine is blocked)": 2}


def test_retry_after_is_minded(make, server):
    server.retry_after_s = 1
    server.order("429 with Retry-After")
    database = make()
    http = http_for(database)
    database.version(http)
    assert http.waited_s >= 1


def test_a_poisoned_row_is_skipped_and_recorded(make, server, rows, tmp_path):
    ids = sorted(open_rows(rows))
    server.poisoned = {ids[137]}
    found, manifest = pulled(make(), tmp_path)
    assert found.keys() == set(ids) - {ids[137]}
    [part] = manifest.counts["skipped"]
    assert (part["offset"], part["count"]) == (37, 1)
    assert part["unit"] == "00000100"


def test_a_unit_does_not_begin_with_a_poisoned_row(make, server, rows, tmp_path):
    ids = sorted(open_rows(rows))
    server.poisoned = {ids[100]}
    found, manifest = pulled(make(), tmp_path)
    assert found.keys() == set(ids) - {ids[100]}
    assert manifest.counts["units"] == 2


def test_too_many_poisoned_rows_end_the_pull(make, server, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("IRNET_MOST_SKIPPED_ROWS", "1")
    server.poisoned = set(sorted(open_rows(rows))[10:12])
    with pytest.raises(SourceError, match="IRNET_MOST_SKIPPED_ROWS"):
        pulled(make(most_skipped_rows=1), tmp_path)


def test_a_row_of_another_unit_does_not_pass_for_one_of_this(make, server, tmp_path):
    # each page begins with the last row of the one before and lacks its own last
    server.repeats = ALWAYS
    with pytest.raises(SourceError, match="the server counts 100 rows, but in 4 passes"):
        pulled(make(), tmp_path)
    assert not Store(tmp_path / "store").list()


def test_a_row_that_comes_twice_is_made_up_for(make, server, rows, tmp_path):
    server.repeats = 1  # where the first row of the second unit is asked for
    found, _ = pulled(make(), tmp_path)
    assert found.keys() == open_rows(rows).keys()
    database, counts = make(), UnitCounts()
    with http_for(database) as http:
        units = database.units(http)
        server.repeats = 1  # on the second page of the first unit
        [table] = database.tables(units[0], http, None, counts)
    assert table.num_rows == counts.total == 100
    assert counts.duplicates > 0


def test_rows_in_an_order_of_their_own_each_time_are_refused(make, server, tmp_path):
    database = make()
    ids = iter(f"mp-{n}" for n in range(100))
    with http_for(database) as http, pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_page", lambda *_: [{"material_id": next(ids)}])
        with pytest.raises(SourceError, match="another document for row 100 each time"):
            database.units(http)


@pytest.mark.filterwarnings("ignore")
def test_the_unmodified_client_sees_the_same_rows(make, server, rows, tmp_path, monkeypatch):
    from mp_api.client import MPRester

    monkeypatch.setenv("MP_API_ENDPOINT", f"{server.url}/")
    found, _ = pulled(make("num_sites=1:8"), tmp_path)
    with MPRester(KEY, endpoint=f"{server.url}/", mute_progress_bars=True) as client:
        documents = client.materials.summary.search(
            num_sites=(1, 8),
            include_gnome=False,
            deprecated=False,
            fields=["material_id", "structure", "band_gap"],
        )
    assert {str(d.material_id) for d in documents} == found.keys()
    assert len(documents) > 20
    for document in documents:
        row = found[str(document.material_id)]
        assert row["band_gap_ev"] == document.band_gap
        assert row["numbers"] == [z.Z for z in document.structure.species]


def test_a_page_that_is_too_short_once_is_made_up_for(make, server, rows, tmp_path):
    server.short = 3
    found, _ = pulled(make(), tmp_path)
    assert found.keys() == open_rows(rows).keys()


@pytest.mark.parametrize(
    "count", [lambda n: n - 1000, lambda n: ..., lambda n: 5, lambda n: None, lambda n: "many"]
)
def test_counts_that_make_the_client_drop_rows_are_asked_for_again(
    make, server, rows, tmp_path, count
):
    database = make()
    http = http_for(database)
    units = database.units(http)
    server.count, server.counts = count, 2
    tables = [t for unit in units for t in database.tables(unit, http, None, UnitCounts())]
    assert sum(table.num_rows for table in tables) == len(open_rows(rows))
    server.counts = ALWAYS
    with pytest.raises(Unanswered):
        list(database.tables(units[0], http, None, UnitCounts()))


def test_an_answer_that_is_too_long_ends_the_pull(make, tmp_path, monkeypatch):
    monkeypatch.setenv("IRNET_HTTP_MOST_BYTES", "3000")
    with pytest.raises(SourceError, match="IRNET_HTTP_MOST_BYTES"):
        pulled(make(), tmp_path)


@pytest.mark.parametrize("status", [400, 401, 503])
def test_of_a_refusal_only_the_beginning_is_unpacked(make, server, status):
    packed = gzip.compress(b" " * 100_000_000)
    answer = server.respond

    def respond(request):
        if "summary" not in request.path:
            return answer(request)
        return Reply(packed, status, {"Content-Encoding": "gzip"})

    database = make()
    with http_for(database) as http:
        database.version(http)  # all that is imported
        server.respond = respond
        tracemalloc.start()
        try:
            with pytest.raises(SourceError, match=f"HTTP {status}"):
                database._count(http)
            assert tracemalloc.get_traced_memory()[1] < 30_000_000
        finally:
            tracemalloc.stop()


def test_what_could_unpack_to_any_length_is_not_unpacked(make, server):
    server.respond = lambda request: (
        Reply(gzip.compress(gzip.compress(b" ")), 200, {"Content-Encoding": "gzip, gzip"})
        if "summary" in request.path
        else MaterialsProjectStandIn.respond(server, request)
    )
    database = make()
    with pytest.raises(SourceError, match="is packed as 'gzip, gzip', which is more than the gzip"):
        database._count(http_for(database))
    assert server.requests[-1].headers["accept-encoding"] == "gzip"


def test_html_with_status_200_for_ever_is_an_error(make, server, tmp_path):
    server.order("html 200", times=-1)
    with pytest.raises(Unanswered, match="no JSON with a count of documents"):
        pulled(make(), tmp_path)


def test_a_request_the_server_does_not_take_is_said_so(make, server, tmp_path):
    with pytest.raises(SourceError, match="Request contains query parameters.*efermi_min"):
        pulled(make("efermi=1:2"), tmp_path)


# versions --------------------------------------------------------------------------------------
def test_the_same_version_is_not_pulled_again(make, server, tmp_path):
    _, first = pulled(make(), tmp_path)
    before = len(server.requests)
    _, second = pulled(make(), tmp_path)
    assert second.id == first.id
    again = [r.params.get("_fields") for r in server.requests[before:]]
    assert not any("structure" in (fields or "") for fields in again)


def test_a_new_version_in_one_process_is_seen(make, server, tmp_path):
    _, first = pulled(make(), tmp_path)
    server.versions = ["2026.05.01"]
    server.rows[3]["band_gap"] = 9.5
    server._text.cache_clear()
    found, second = pulled(make(), tmp_path)
    assert second.parameters["version"]["db_version"] == "2026.05.01"
    assert second.id != first.id
    assert found[server.rows[3]["material_id"]]["band_gap_ev"] == 9.5


def test_a_version_that_changes_on_the_way_begins_anew(make, server, rows, tmp_path):
    server.versions = ["2026.04.01", "2026.04.01", "2026.04.02"]
    found, manifest = pulled(make(), tmp_path)
    assert found.keys() == open_rows(rows).keys()
    assert manifest.parameters["version"]["db_version"] == "2026.04.02"


def test_a_heartbeat_without_version_is_no_version(make, server):
    server.versions = [""]
    database = make()
    with pytest.raises(Unanswered, match="without a version"):
        database.version(http_for(database))


# the client ------------------------------------------------------------------------------------
def test_without_the_client_the_error_says_how_to_get_it(make, server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mp_api.client.routes.materials.summary", None)
    with pytest.raises(SourceError, match=r"pip install 'irnet-screening\[databases\]'"):
        pulled(make(), tmp_path)


def test_nothing_is_written_into_the_home_folder(make, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    pulled(make(), tmp_path)
    assert not list(Path(home).rglob("*"))


def test_the_source_is_known_by_its_name(server, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.setenv("MP_API_ENDPOINT", server.url)
    database = SOURCES["mp"](filter="band_gap=1:2")
    assert database.query()["via"] == "rest"
    assert database.query()["url"] == f"{server.url}/"
    with pytest.raises(SourceError, match="--via rest or delta"):
        SOURCES["mp"](via="ftp")
