"""Commands ``irnet snapshot`` and ``irnet prepare`` on a stand-in of OQMD and on tables."""

import json
import re

import pyarrow.parquet as pq
import pytest
from standins.oqmd import OqmdStandIn, made_rows

from flows.progress import pulling
from infra.sources import SOURCES
from infra.store import Store
from irnet_core.errors import StoreError
from irnet_core.schema import FORMATION_ENERGY

ENERGY = FORMATION_ENERGY.name
N = 120


@pytest.fixture
def server(store, monkeypatch):
    with OqmdStandIn(made_rows(N)) as stand_in:
        quick = {"REQUEST_GAP_S": 0, "HTTP_BACKOFF_S": 0.01, "HTTP_ATTEMPTS": 3}
        for name, value in {**quick, "OQMD_URL": stand_in.url}.items():
            monkeypatch.setenv(f"IRNET_{name}", str(value))
        yield stand_in


@pytest.fixture
def take(cli, store):
    """Runs a command that makes something; returns it and the lines printed."""

    def run(*arguments):
        result = cli(*arguments)
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        id_ = re.match(r"snapshots/([0-9a-f]{16}): ", lines[0])[1]
        return Store(store).open(id_, "snapshots"), lines

    return run


def flat(text):
    """Text of a help page without boxes and line ends."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


# databases ---------------------------------------------------------------------------------------


def test_a_database_from_pull_to_difference(server, take, cli, store):
    first, lines = take("snapshot", "oqmd")
    assert first.manifest.counts["rows_pulled"] >= first.manifest.rows > 0
    assert lines[-1] == f"data quality: {first.path('report.md')}"
    assert f"{first.manifest.rows:,} rows" in lines[0]
    assert Store(store).open("oqmd").id == first.id
    assert Store(store).verify(first.id) == []

    again, _ = take("snapshot", "oqmd")
    assert again.id == first.id
    assert len(Store(store).list("snapshots")) == 1

    table = first.read_table("data.parquet")
    gone, changed = table["source_id"].to_pylist()[:2]
    server.rows = [row for row in server.rows if str(row["entry_id"]) != gone]
    for row in server.rows:
        if str(row["entry_id"]) == changed and row["delta_e"] is not None:
            row["delta_e"] -= 0.5
    second, lines = take("snapshot", "oqmd")
    assert second.id != first.id
    assert f"since {first.id}: 0 rows added, 1 removed, 1 changed" in lines
    report = json.loads(second.read_bytes("report.json"))
    assert report["previous"]["columns"][ENERGY]["largest"] == pytest.approx(0.5)

    output = store.parent / "my changes.parquet"
    result = cli("snapshot", "diff", first.id, "oqmd", "--output", output)
    assert result.exit_code == 0, result.output
    head = f"{first.id} -> {second.id}, rows matched by source_id: {table.num_rows} -> "
    assert result.stdout.startswith(head)
    assert "0 added, 1 removed, 1 changed" in result.stdout
    assert f"removed: {gone}\n" in result.stdout
    assert f"changed: {changed}\n" in result.stdout
    assert f"2 rows that differ -> {output}\n" in result.stdout
    rows = pq.read_table(output)
    assert dict(zip(rows["source_id"].to_pylist(), rows["change"].to_pylist(), strict=True)) == {
        gone: "removed",
        changed: "changed",
    }
    assert rows.schema.field(f"{ENERGY}_old").metadata[b"unit"] == b"eV/atom"
    assert [path.name for path in store.parent.glob("*changes*")] == ["my changes.parquet"]


def test_limit_and_filter_and_the_other_way(server, take):
    few, _ = take("snapshot", "oqmd", "--limit", 7)
    assert few.manifest.counts["rows_in"] == 7
    assert few.manifest.parameters["limit"] == 7
    binaries, _ = take("snapshot", "oqmd", "--filter", "ntypes=2")
    systems = binaries.read_table("data.parquet")["composition"].to_pylist()
    assert {len(re.findall("[A-Z]", composition)) for composition in systems} == {2}
    report = json.loads(binaries.read_bytes("report.json"))
    assert report["previous"]["id"] == few.id
    assert report["previous"]["asked_differently"]["limit"] == [7, None]
    other, _ = take("snapshot", "oqmd", "--via", "optimade", "--limit", 5)
    assert "optimade" in other.manifest.parameters["query"]["url"]


def test_one_pull_of_a_source_at_a_time(server, fails, take, store):
    """Also with another filter, since it would ask the same server."""
    with Store(store).lock("snapshots", "oqmd"):
        for arguments in ((), ("--filter", "ntypes=2"), ("--via", "optimade")):
            assert fails("snapshot", "oqmd", *arguments).startswith(
                "another run is making the snapshots of oqmd: wait until it has ended"
            )
        assert not server.requests
        take("snapshot", "pymatgen-expt")  # another source
    take("snapshot", "oqmd", "--limit", 3)


def test_a_server_that_fails_is_an_error_and_nothing_is_published(server, fails, store):
    server.order("500", times=-1)
    found = fails("snapshot", "oqmd")
    assert found.startswith("oqmd: ")
    assert "HTTP 500" in found
    assert Store(store).list() == []


# options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("oqmd", "--dataset", "x"),
            "oqmd has no option --dataset: its options are --limit, --fil",
        ),
        (("jarvis", "--filter=x"), "jarvis has no option --filter: its options are --limit, --dat"),
        (("oqmd", "--catalog", "x"), "oqmd has no option --catalog: "),
        (("aflow", "--catalog", "x"), "aflow: no catalog 'x', give icsd, lib1 to lib9 or several"),
        (("pymatgen-expt", "--limit", 3), "pymatgen-expt has no option --limit: its options are n"),
        (("optimade", "oqmd"), "optimade has no argument oqmd: its options are --limit, --filter,"),
        (("file", "a.csv", "--limit", "3"), "file has no option --limit: its options are --path, "),
        (
            ("a.csv", "--limit", "3"),
            "file has no option --limit: its options are --path, --formula",
        ),
        (("a.csv", "--path", "b.csv"), "file is given 'a.csv' and --path 'b.csv': name one"),
        (("matminer",), "the source 'matminer' needs --dataset NAME, such as expt_gap"),
        (("oqmd", "--limit", "0"), "--limit is 0: ask for at least 1 row"),
        (("oqmd", "--via", "mail"), "oqmd can be had via rest or optimade, not 'mail': name one"),
        (("oqdm",), "there is no file and no source 'oqdm': check the path, or choose among aflow"),
        (("mp",), "the Materials Project wants a key: "),
    ],
)
def test_options_that_a_source_does_not_know(fails, store, monkeypatch, arguments, message):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    assert fails("snapshot", *arguments).startswith(message)
    assert not store.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "oqmd", "dataset": "x"}, "oqmd has no option --dataset: its options are "),
        ({"source": "oqmd", "path": "x"}, "oqmd has no option --path: "),
        ({"source": "oqmd", "formula_column": "x"}, "oqmd has no option --formula-column: "),
        ({"source": "file", "path": "a.csv", "limit": 3}, "file has no option --limit: "),
        ({"source": "pymatgen-expt", "filter": "x"}, "pymatgen-expt has no option --filter: its o"),
    ],
)
def test_the_flow_refuses_them_as_well(store, options, message):
    from flows.snapshot import snapshot
    from irnet_core.errors import SourceError

    with pytest.raises(SourceError, match=re.escape(message)):
        snapshot.fn(**options)


def test_every_source_has_a_command_that_says_what_there_is_to_know(cli):
    listed = flat(cli("snapshot", "--help").stdout)
    for source in SOURCES:
        text = flat(cli("snapshot", source, "--help").stdout)
        assert text.startswith("Usage: root snapshot"), text
        assert source in listed
    for source, words in {
        "oqmd": ("element_set=(Fe-Mn),O", "CC BY 4.0", "no key", "--via"),
        "aflow": ("species(Fe,O),nspecies(2)", "non-commercial", "--catalog", "no key"),
        "mp": ("MP_API_KEY", "elements=Fe,O", "include_gnome=true", "CC BY 4.0"),
        "jarvis": ("NIST", "no filters", "--dataset", "no key"),
        "optimade": ('elements HAS ALL "Fe","O"', "--url", "its own terms"),
        "matminer": ("--dataset expt_gap", "Terms and citation"),
        "pymatgen-expt": ("MIT", "no key"),
    }.items():
        text = flat(cli("snapshot", source, "--help").stdout)
        for word in words:
            assert word in text, (source, word)


@pytest.mark.parametrize(
    "arguments",
    [
        ("TABLE", "--formula-column", "comp"),
        ("--formula-column", "comp", "TABLE"),
        ("file", "TABLE", "--formula-column", "comp"),
        ("file", "--path", "TABLE", "--formula-column", "comp"),
    ],
)
def test_tables(take, tmp_path, arguments):
    path = tmp_path / "a.csv"
    path.write_text("comp,gap\nNaCl,8.5\n")
    made, _ = take("snapshot", *[path if a == "TABLE" else a for a in arguments])
    assert made.read_table("data.parquet")["gap"].to_pylist() == [8.5]


def test_a_difference_of_different_sources_says_so(take, cli, tmp_path):
    made = []
    for name, gap in (("a", 8.5), ("b", 8.6), ("a", 8.7)):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"formula,gap\nNaCl,{gap}\n")
        made.append(take("snapshot", path)[0].id)
    result = cli("snapshot", "diff", made[0], made[1])
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    assert result.stdout.startswith(f"these are of different sources, {a} and {b}\n")
    result = cli("snapshot", "diff", made[0], made[2])
    assert result.stdout.startswith(f"{made[0]} -> {made[2]}, rows matched by composition: 1 -> 1")


def test_differences_of_what_is_not_there(fails, take, tmp_path):
    assert "answers to 'a'" in fails("snapshot", "diff", "a", "b")
    path = tmp_path / "a.csv"
    path.write_text("formula,gap\nNaCl,8.5\n")
    made, _ = take("snapshot", path)
    diff = ("snapshot", "diff", made.id, f"snapshots/{made.id}")
    assert fails(*diff, "--by", "nope").startswith("the old snapshot, column 'nope': there is no")
    assert fails(*diff, "--output", "a.csv") == "a.csv: name a file that ends in .parquet"
    nowhere = tmp_path / "a.csv" / "b.parquet"
    assert (
        fails(*diff, "--output", nowhere) == f"{nowhere}: its folder does not exist: make it first"
    )
    (tmp_path / "c.parquet").mkdir()
    assert "choose another --output" in fails(*diff, "--output", tmp_path / "c.parquet")
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix) == ["a.csv", "c.parquet"]


# progress ----------------------------------------------------------------------------------------


def test_progress_tells_rows_rate_and_time_left(monkeypatch, capsys):
    moments = iter([0.0, 1.0, 10.0, 20.0, 21.0, 40.0])
    monkeypatch.setattr("flows.progress.time.monotonic", lambda: clock[0])
    clock = [next(moments)]
    said = []
    monkeypatch.setattr("flows.progress.say", said.append)
    with pulling("oqmd") as update:
        for done, total in ((1000, 9000), (2000, 9000), (3000, 9000), (3000, 9000), (9000, 9000)):
            clock[0] = next(moments)
            update(done, total, f"{done // 1000} of 9 parts")
    assert said == [
        "oqmd: 2,000 of about 9,000 rows, 111 rows/s, 1 min left, 2 of 9 parts",
        "oqmd: 3,000 of about 9,000 rows, 105 rows/s, 57 s left, 3 of 9 parts",
        "oqmd: 9,000 rows, 205 rows/s, 0 s left, 9 of 9 parts",
    ]


# prepare -----------------------------------------------------------------------------------------


def test_from_a_snapshot_to_a_training_table_to_a_model(take, cli, cluster, monkeypatch, store):
    monkeypatch.setenv("IRNET_DASK_ADDRESS", cluster)
    take("snapshot", "pymatgen-expt")
    arguments = ("--range", "-20,-0.5", "--steps", "range,lowest,magpie", "--validation", "0.1")
    made, lines = take("prepare", "pymatgen-expt", *arguments, "--test", "0.2", "--name", "ready")
    text = "\n".join(lines)
    rows = [line.split("│")[2:4] for line in lines if line.startswith("│")]
    funnel = {step.strip(): int(number.replace(",", "")) for step, number in rows}
    assert list(funnel) == ["rows_in", "target", "range", "lowest", "magpie", "rows"]
    assert sum(list(funnel.values())[:-1]) == funnel["rows"] == made.manifest.rows
    assert funnel["rows_in"] == 2135 > funnel["rows"] > 1000
    roles = made.manifest.counts["split"]
    assert f"roles: {roles['train']:,} train, {roles['val']:,} val, {roles['test']:,} test" in text

    trained = cli(
        *("train", "--data", "ready", "--target", ENERGY, "--split-column", "split"),
        *("--network", "8BAx1-1", "--epochs", 1, "--name", "small"),
    )
    assert trained.exit_code == 0, trained.output
    model = Store(store).open("models/small")
    assert model.manifest.inputs["snapshot"] == made.id
    assert model.manifest.counts["train"] == roles["train"]
    assert model.manifest.counts["validation"] == roles["val"]


def test_prepare_takes_tables_and_gives_each_source_its_column(take, tmp_path):
    for name, rows in {"a": "NaCl,-2\nKCl,-1.9\n", "b": "NaCl,-2.1\nLiF,-3\n"}.items():
        (tmp_path / f"{name}.csv").write_text(f"formula,e_ev_atom\n{rows}")
    tables = (tmp_path / "a.csv", tmp_path / "b.csv")
    columns = ("--column", "a=e_ev_atom", "--column", "b=e_ev_atom")
    made, lines = take("prepare", *tables, *columns)
    assert made.read_table("data.parquet").drop(["row"]).to_pylist() == [
        {"formula": "NaCl", "composition": "ClNa", "a_e_ev_atom": -2.0, "b_e_ev_atom": -2.1}
    ]
    assert any("shared" in line and "-1" in line for line in lines)


def test_a_name_with_dots_is_a_name(take, cli, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take("snapshot", "pymatgen-expt")
    result = cli("prepare", "pymatgen-expt", "--name", "expt-v1.6")
    assert result.exit_code == 0, result.output
    assert cli("prepare", "expt-v1.6", "--name", "again").exit_code == 0
    assert "there is no file nowhere.csv" in fails("prepare", "nowhere.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "sgima"), "there is no step 'sgima': choose among paper, none, target"),
        (("--range", "5"), "--range is '5': give two numbers, such as -20,5"),
        (("--range", "a,b"), "--range is 'a,b': give two numbers, such as -20,5"),
        (("--column", "mp"), "--column is 'mp': write SOURCE=COLUMN"),
        (("--column", "a=b", "--column", "a=c"), "--column names a source twice: name one column"),
        (("--name", "latest"), "'latest' means something else to the store: choose another name"),
        (("--target", "nope"), "pymatgen-expt, column 'nope': there is no such column of numbers"),
        (("--source", "mp"), "no snapshot is of source 'mp': there are pymatgen_expt"),
    ],
)
def test_what_cannot_be_prepared(take, fails, store, arguments, message):
    made, _ = take("snapshot", "pymatgen-expt")
    assert fails("prepare", "pymatgen-expt", *arguments).startswith(message)
    assert [manifest.id for manifest in Store(store).list()] == [made.id]
    with pytest.raises(StoreError):
        Store(store).open("prepared")
