"""Pulls of a plain database: resumed, of one version, complete or nothing at all."""

import json
import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from standins.plain import KEY, PlainDatabase, PlainStandIn, made

from infra.pull.http import Http, Unanswered
from infra.settings import settings
from infra.snapshots import snapshot
from infra.snapshots.snapshot import build_snapshot
from infra.sources.base import Unit
from infra.store import Store
from irnet_core.errors import DataError, SourceError, StoreError


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def pull(store, quick):
    """Takes a snapshot of what a stand-in serves."""

    def take(server, store=store, limit=None, update=None, check=None, changes=None, **options):
        database = PlainDatabase(server.url, settings=quick(**changes or {}), **options)
        return build_snapshot(database, store, limit=limit, update=update, check=check)

    return take


def staged(store):
    files = (Path(store.root) / ".staging").rglob("*")
    return sorted(f.name for f in files if f.is_file() and f.suffix != ".lock")


def asked_units(server, since=0):
    """Units of the row requests, in order, each once."""
    units = [r.params["unit"] for r in server.requests[since:] if r.path == "/rows"]
    return [u for n, u in enumerate(units) if n == 0 or units[n - 1] != u]


def test_undisturbed(pull, store):
    rows = [row for unit in made(230, 3).values() for row in sorted(unit, key=lambda r: r["id"])]
    with PlainStandIn() as server:
        manifest = pull(server)
        requests = len(server.requests)
    artifact = store.open("plain", "snapshots")
    assert artifact.manifest == manifest == store.open("latest", "snapshots").manifest
    data = artifact.read_table("data.parquet")
    rejected = artifact.read_table("rejected.parquet")
    assert data.column_names == ["row", "formula", "composition", "source_id", "band_gap_ev"]
    assert rejected.column_names == ["row", "source_id", "formula", "reason"]
    # every row is in one of the two, at its place
    places = dict(zip(data["row"].to_pylist(), data["source_id"].to_pylist(), strict=True))
    places |= dict(zip(rejected["row"].to_pylist(), rejected["source_id"].to_pylist(), strict=True))
    assert [places[n] for n in range(230)] == [row["id"] for row in rows]
    gaps = {row["id"]: row["gap"] for row in rows}
    for id_, gap in zip(
        data["source_id"].to_pylist(), data["band_gap_ev"].to_pylist(), strict=True
    ):
        assert gaps[id_] == gap
    reasons = dict(
        zip(rejected["source_id"].to_pylist(), rejected["reason"].to_pylist(), strict=True)
    )
    assert reasons["p-36"] == "the gap is no number"
    assert "Xx" in reasons["p-8"]
    assert set(reasons) == {
        r["id"] for r in rows if r["formula"] in ("", "Xx2") or r["gap"] == "broken"
    }

    counts = manifest.counts
    assert counts["units"] == 3
    assert counts["server_total"] == counts["rows_pulled"] == counts["rows_in"] == 230
    assert counts["rows"] == manifest.rows == data.num_rows
    assert counts["rejected"] == rejected.num_rows == 230 - data.num_rows
    assert counts["distinct_compositions"] == 8
    assert counts["duplicates"] == 0
    assert counts["skipped"] == []
    assert counts["retries"] == {}
    assert counts["requests"] == requests - 3  # version twice, units
    assert manifest.parameters["query"]["url"].startswith("http://127.0.0.1:")
    assert manifest.parameters["version"] == {"version": 1, "rows": 230}
    assert (manifest.licence, manifest.citation) == ("CC0-1.0", "nobody")
    assert store.verify(manifest.id) == []
    assert staged(store) == []


def test_remote_store(pull, store, tmp_path):
    remote = Store(f"memory://{tmp_path.name}")
    with PlainStandIn() as server:
        server.order("503", at=9, times=-1)
        with pytest.raises(Unanswered, match="1 of 3 parts are kept"):
            pull(server, remote)
        server._faults.clear()
        manifest = pull(server, remote)
        assert manifest.id == pull(server, store).id
    assert remote.verify(manifest.id) == []


def test_row_groups_do_not_depend_on_units(pull, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "ROW_GROUP", 50)
    files = []
    for units in (1, 2, 7):
        with PlainStandIn(units=units) as server:
            # the same rows in the same order, divided otherwise
            rows = sorted(made(230, 1)["00"], key=lambda r: r["id"])
            cuts = [230 * n // units for n in range(units + 1)]
            server.units = {f"{n}": rows[cuts[n] : cuts[n + 1]] for n in range(units)}
            store = Store(tmp_path / f"s{units}")
            manifest = pull(server, store)
        files.append(tmp_path / f"s{units}" / "snapshots" / manifest.id / "data.parquet")
    groups = pq.ParquetFile(files[0]).metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)][:-1] == [50] * (
        groups.num_row_groups - 1
    )
    assert len({file.read_bytes() for file in files}) == 1


def test_pulled_again_where_versions_mean_nothing(pull, store):
    with PlainStandIn() as server:
        first = pull(server)
        before = len(server.requests)
        assert pull(server) == first
        assert len(server.requests) > before + 10
        server.units["00"][0]["gap"] = 9.0
        assert pull(server).id != first.id
    assert len(store.list()) == 2


def test_versioned_is_found_again(pull, store):
    with PlainStandIn() as server:
        first = pull(server, versioned=True)
        before = len(server.requests)
        assert pull(server, versioned=True) == first
        assert [r.path for r in server.requests[before:]] == ["/version"]
        # another request is another pull, and so is another version
        assert pull(server, versioned=True, limit=10).rows < 10
        server.versions = [2]
        server.units["00"][0]["gap"] = 9.0
        second = pull(server, versioned=True)
        assert second.id != first.id
        assert second.parameters["version"]["version"] == 2
        server.versions = [3]  # with the same content
        assert pull(server, versioned=True).id == second.id
        before = len(server.requests)
        assert pull(server, versioned=True).id == second.id
        assert len(server.requests) == before + 1
    assert store.open("latest", "snapshots").id == second.id


@pytest.mark.parametrize("versioned", [True, False])
def test_resumes_with_the_unit_that_failed(pull, store, tmp_path, versioned):
    with PlainStandIn() as server:
        whole = pull(server, Store(tmp_path / "other"))
        server.order("503", at=len(server.requests) + 9, times=-1)
        text = r"plain: asked 3 times, .*/rows\?.* HTTP 503; 1 of 3 parts are kept, run the same "
        with pytest.raises(Unanswered, match=text):
            pull(server)
        assert store.list() == []
        assert [n for n in staged(store) if n.endswith(".parquet")] == ["unit-00.parquet"]
        server._faults.clear()
        before = len(server.requests)
        assert pull(server, versioned=versioned).id == whole.id
        # without a version, the unit that is kept is compared with what the server gives now
        assert asked_units(server, before) == [*([] if versioned else ["00"]), "01", "02"]
    assert staged(store) == []


def test_resumes_only_where_the_unit_that_is_kept_is_the_same(pull, store):
    with PlainStandIn() as server:
        server.order("503", at=9, times=-1)
        with pytest.raises(Unanswered):
            pull(server)
        server._faults.clear()
        for row in server.units["00"] + server.units["01"] + server.units["02"]:
            row["gap"] = 7.0  # another release of as many rows
        before = len(server.requests)
        manifest = pull(server)
        assert asked_units(server, before) == ["00", "01", "02"]
    gaps = store.open(manifest.id).read_table("data.parquet")["band_gap_ev"]
    assert set(gaps.to_pylist()) == {7.0}


def test_a_version_that_cannot_be_told_contradicts_none(pull, store):
    with PlainStandIn() as server:
        server.versions = [5, None]  # at the end it is not known
        assert pull(server).parameters["version"] == {"version": 5, "rows": 230}
        assert asked_units(server) == ["00", "01", "02"]
        server.units["00"][0]["gap"] = 9.0
        server.order("503", at=len(server.requests) + 9, times=-1)
        server.versions = [5]
        with pytest.raises(Unanswered):
            pull(server)
        server._faults.clear()
        server.versions = [None]
        before = len(server.requests)
        assert pull(server).parameters["version"]["version"] == 5
        assert asked_units(server, before)[-2:] == ["01", "02"]


def test_a_version_that_was_misread_at_the_end_costs_one_unit(pull):
    with PlainStandIn() as server:
        server.versions = [1, 2, 1]
        assert pull(server).parameters["version"]["version"] == 1
        assert asked_units(server) == ["00", "01", "02", "00"]


def test_resumes_only_the_same_version(pull, store):
    with PlainStandIn() as server:
        server.order("503", at=9, times=-1)
        with pytest.raises(Unanswered):
            pull(server)
        server._faults.clear()
        server.versions = [2]
        before = len(server.requests)
        manifest = pull(server)
        assert asked_units(server, before) == ["00", "01", "02"]
    assert manifest.parameters["version"]["version"] == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "json", "nonsense"])
def test_damaged_staging_is_pulled_anew(pull, store, damage):
    with PlainStandIn() as server:
        server.order("503", at=9, times=-1)
        with pytest.raises(Unanswered):
            pull(server)
        server._faults.clear()
        (unit,) = (Path(store.root) / ".staging").rglob("unit-00.parquet")
        (info,) = (Path(store.root) / ".staging").rglob("pull.json")
        if damage == "cut":
            unit.write_bytes(unit.read_bytes()[:-20])
        elif damage == "empty":
            unit.write_bytes(b"")
        else:
            info.write_text("[" if damage == "json" else '{"units": 3}')
        before = len(server.requests)
        manifest = pull(server)
        assert asked_units(server, before) == ["00", "01", "02"]
    assert manifest.counts["rows_in"] == 230


def test_version_that_changes_once(pull, tmp_path):
    with PlainStandIn() as server:
        whole = pull(server, Store(tmp_path / "other"))
        server.versions = [1, 2]
        before = len(server.requests)
        manifest = pull(server)
        assert asked_units(server, before) == ["00", "01", "02"] * 2
    assert manifest.id == whole.id
    assert manifest.parameters["version"]["version"] == 2


def test_version_that_changes_always(pull, store):
    with PlainStandIn() as server:
        server.versions = list(range(100))
        with pytest.raises(
            SourceError, match="data changed twice while it was pulled, .*run the sa"
        ):
            pull(server)
        assert asked_units(server) == ["00", "01", "02"] * 2
    assert store.list() == []
    assert staged(store) == []


def test_same_id_in_two_units(pull):
    with PlainStandIn() as server:
        server.units["02"] += server.units["00"][:7]
        server.units["01"].append({**server.units["00"][0], "gap": 1e9})  # the first one stays
        manifest = pull(server)
    assert manifest.counts["rows_in"] == 230
    assert manifest.counts["rows_pulled"] == manifest.counts["server_total"] == 238
    assert manifest.counts["duplicates"] == 8


def test_order_of_rows_and_units_does_not_matter(pull, tmp_path):
    ids = set()
    for n in range(3):
        with PlainStandIn() as server:
            for unit in server.units.values():
                server.random.seed(n)
                server.random.shuffle(unit)
            server.units = dict(reversed(server.units.items())) if n else server.units
            ids.add(pull(server, Store(tmp_path / str(n))).id)
    assert len(ids) == 1


def test_poisoned_rows(pull, store):
    with PlainStandIn() as server:
        server.poisoned = {"p-3", "p-100"}
        manifest = pull(server)
    counts = manifest.counts
    assert counts["rows_in"] == 228
    assert counts["server_total"] == 230
    assert [(s["unit"], s["count"], s["reason"]) for s in counts["skipped"]] == [
        ("00", 1, "HTTP 500"),
        ("01", 1, "HTTP 500"),
    ]
    assert counts["retries"]["HTTP 500"] > 4
    ids = store.open(manifest.id).read_table("data.parquet")["source_id"].to_pylist()
    assert not {"p-3", "p-100"} & set(ids)


def test_too_many_poisoned_rows_in_all_units_together(pull, store):
    with PlainStandIn() as server:
        server.poisoned = {"p-3", "p-100"}
        with pytest.raises(
            SourceError, match="2 rows cannot be had .* more than 1; .*2 of 3 parts"
        ):
            pull(server, changes={"most_skipped_rows": 1})
    assert store.list() == []


@pytest.mark.parametrize("limit", [1, 5, 20, 77, 78, 229, 230, 1000])
def test_limit(pull, store, limit):
    with PlainStandIn() as server:
        for unit in server.units.values():
            for row in unit:
                row |= {"formula": "NaCl", "gap": 1.0}
        manifest = pull(server, limit=limit)
        assert manifest.rows == min(limit, 230)
        assert len(asked_units(server)) == -(-min(limit, 230) // 77)
        assert manifest.parameters["limit"] == limit
        whole = pull(server)
    assert whole.rows == 230


def test_progress(pull):
    told = []
    with PlainStandIn() as server:
        server.order("503", at=4)
        pull(server, update=lambda *values: told.append(values))
    done = [rows for rows, _, _ in told]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == 230
    assert {total for _, total, _ in told[1:]} == {230}
    assert len(told) > 6
    assert told[-1][2] == "3 of 3 parts, 1 requests repeated"


def test_two_pulls_of_one_source_do_not_meet(pull, store):
    with PlainStandIn() as server, store.lock("snapshots", "plain"):
        with pytest.raises(StoreError, match="another run is making the snapshots of plain"):
            pull(server)
        assert server.requests == []


def test_check_refuses_before_anything_is_named(pull, store):
    def check(folder):
        names = folder.read_table("data.parquet").column_names
        raise DataError(f"no target among {names}")

    with PlainStandIn() as server:
        with pytest.raises(DataError, match="no target among .*band_gap_ev"):
            pull(server, check=check)
        assert store.list() == []
        assert store.names("snapshots") == {}
        first = pull(server, versioned=True)
        server.versions = [2]
        server.units["00"][0]["gap"] = 9.0
        second = pull(server, versioned=True)
        server.versions = [1]
        with pytest.raises(DataError, match="no target"):  # also if it is there already
            pull(server, versioned=True, check=check)
        assert store.open("latest").id == second.id
        assert pull(server, versioned=True).id == first.id
        assert store.open("latest").id == first.id


def test_nothing_found(pull, store):
    with PlainStandIn() as server:
        server.units = {}
        with pytest.raises(SourceError, match="plain: the server has no entries; check its"):
            pull(server)
    assert store.list() == []


def test_units_with_bad_names(pull):
    with PlainStandIn() as server:
        server.units = {"../x": server.units["00"]}
        with pytest.raises(SourceError, match=r"'../x' cannot be the name of a file"):
            pull(server)


def test_units_of_one_name(pull, monkeypatch):
    monkeypatch.setattr(PlainDatabase, "units", lambda *_: [Unit("a"), Unit("a", {"x": 1})])
    with PlainStandIn() as server, pytest.raises(SourceError, match="two units have the same name"):
        pull(server)


def test_unit_that_counts_wrongly(pull, monkeypatch):
    """What a source makes of its rows is compared with the count as well."""
    table = PlainDatabase.table

    def lose(self, rows):
        return table(self, rows).slice(1)

    monkeypatch.setattr(PlainDatabase, "table", lose)
    with (
        PlainStandIn() as server,
        pytest.raises(SourceError, match="counts 77 rows, but there are"),
    ):
        pull(server)


@pytest.mark.parametrize("rows", [1, 229, 231])
def test_units_that_are_not_the_whole(pull, store, monkeypatch, rows):
    monkeypatch.setattr(PlainDatabase, "version", lambda *_: {"rows": rows})
    text = f"counts {rows} rows in all, but 230 in its parts"
    with PlainStandIn() as server:
        with pytest.raises(SourceError, match=text):
            pull(server)
        assert staged(store) == []
        assert pull(server, limit=1000).counts["rows_in"] == 230


class KeyedDatabase(PlainDatabase):
    """A database whose client sends a key of its own."""

    secrets = (KEY,)

    def mine(self):
        mine = Http(self.name, settings(), secrets=self.secrets)
        mine._client.headers["x-api-key"] = KEY
        return mine

    def version(self, http):
        with self.mine() as mine:
            return super().version(mine)

    def units(self, http):
        with self.mine() as mine:
            return super().units(mine)

    def tables(self, *args):
        with self.mine() as mine:
            yield from super().tables(args[0], mine, *args[2:])


@pytest.mark.parametrize("trouble", [None, "503", "401"])
def test_key_is_nowhere(store, quick, caplog, capfd, tmp_path, trouble):
    caplog.set_level(logging.DEBUG)
    quick()
    said = ""
    with PlainStandIn(key=KEY) as server:
        if trouble == "503":
            server.order("503", at=9, times=-1)
        elif trouble:
            server.key = "another"
        database = KeyedDatabase(server.url)
        if trouble is None:
            assert build_snapshot(database, store).rows
        else:
            with pytest.raises(SourceError, match=f"HTTP {trouble}") as caught:
                build_snapshot(database, store)
            said = str(caught.value)
            assert store.list() == []
        assert {r.headers["x-api-key"] for r in server.requests} == {KEY}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > (1 if trouble == "401" else 3)
    texts = [said, caplog.text, *capfd.readouterr()]
    texts += [path.read_text(errors="replace") + str(path) for path in files]
    assert not [text for text in texts if KEY in text]


def test_manifest_is_json(pull, store):
    with PlainStandIn() as server:
        server.order("503", at=3)
        manifest = pull(server)
    assert json.loads(manifest.to_json())["counts"]["retries"] == {"HTTP 503": 1}
