import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from infra.ranked import ranked_table
from infra.screen_files import HEAD_GROUP, QUESTION
from infra.screens import RANKED, REST, open_screen, write_screen
from infra.store import Store, request_digest
from irnet_core.errors import DataError, ScreenError, StoreError

ROWS, HEAD = 30_000, 12_000
REQUEST = request_digest("screens", {}, {"n": ROWS})


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    pairs = np.array([(a, b) for a in range(3, 17) for b in range(a + 1, 17)], np.uint8)
    columns = {
        "numbers": pairs[random.integers(0, len(pairs), ROWS)],
        "amounts": random.integers(1, 9, (ROWS, 2)),
        "score": np.arange(ROWS) / 7,
        "band_gap_ev": random.random(ROWS) * 6,
        "band_gap_ev_std": random.random(ROWS),
        "energy_above_hull": np.where(random.random(ROWS) < 0.1, np.nan, random.random(ROWS)),
        "oxidation_states": random.integers(-2, 3, (ROWS, 2)),
    }
    return ranked_table(columns, {"band_gap_ev": "eV"})


def blocks(table, size):
    return (table.slice(start, size) for start in range(0, table.num_rows, size))


def publish(store, table, size=5_000, head=HEAD):
    with store.staging("screens", REQUEST) as staging:
        files = write_screen(
            staging, blocks(table, size), {"model": "abc", "counts": {"n": 3}}, head
        )
        return store.publish(staging, files, what="Pairs.", rows=table.num_rows)


@pytest.fixture(scope="module")
def screen(table, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("screens"))
    publish(store, table)
    return open_screen(store=store)


@pytest.mark.parametrize("size", [977, 7_001, ROWS])
def test_bytes_do_not_depend_on_the_blocks(table, screen, tmp_path, size):
    found = publish(Store(tmp_path), table, size)
    assert found.files == screen.manifest.files
    assert found.files.keys() == {RANKED, REST, QUESTION}


def test_head_is_best_first_and_the_rest_by_system(table, screen):
    folder = screen.artifact.folder
    head = folder.read_table(RANKED)
    assert head["rank"].to_pylist() == list(range(1, HEAD + 1))
    with folder.open(RANKED) as file:
        assert pq.ParquetFile(file).metadata.row_group(0).num_rows == HEAD_GROUP
    rest = folder.read_table(REST)
    keys = list(zip(rest["chemical_system"].to_pylist(), rest["rank"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert pa.concat_tables([head, rest]).sort_by("rank").equals(table)


def test_a_short_table_is_one_file_that_says_where_it_is_from(table, tmp_path):
    store = Store(tmp_path)
    manifest = publish(store, table, head=ROWS)
    assert manifest.files.keys() == {RANKED, QUESTION}
    screen = open_screen(manifest.id, store)
    assert screen.origin == {"model": "abc", "counts": {"n": 3}}
    assert screen.schema.field("band_gap_ev").metadata[b"unit"] == b"eV"


def test_arrow_is_all_rows_best_first(table, screen):
    assert screen.arrow().equals(table)
    near = pc.field("energy_above_hull") < 0.1
    assert screen.arrow(["formula"], near).equals(table.filter(near).select(["formula"]))
    assert screen.pandas(["rank"])["rank"].tolist() == table["rank"].to_pylist()
    with pytest.raises(DataError, match="no such column"):
        screen.arrow(["nothing"])


CONDITIONS = [
    ({}, lambda row: True),
    ({"elements": ["O", "Li"]}, lambda row: {"Li", "O"} <= set(row["elements"])),
    ({"elements": ["N"]}, lambda row: "N" in row["elements"]),  # and neither Na nor Ne
    ({"elements": ["P", "B"], "only": True}, lambda row: row["chemical_system"] == "B-P"),
    ({"max_hull": 0.001}, lambda row: (row["energy_above_hull"] or 1) <= 0.001),
    ({"gap": (5.9, None)}, lambda row: row["band_gap_ev"] >= 5.9),
    (
        {"properties": {"band_gap_ev": (2, 2.5), "n_atoms": (None, 3)}, "max_hull": 0.2},
        lambda row: 2 <= row["band_gap_ev"] <= 2.5
        and row["n_atoms"] <= 3
        and row["energy_above_hull"] is not None
        and row["energy_above_hull"] <= 0.2,
    ),
    ({"where": "n_atoms = 2 OR n_atoms = 16", "gap": (1, 2)}, lambda row: row["n_atoms"] in (2, 16)
        and 1 <= row["band_gap_ev"] <= 2),
]  # fmt: skip


@pytest.mark.parametrize(("conditions", "holds"), CONDITIONS)
@pytest.mark.parametrize("limit", [3, 100_000])
def test_top_is_what_a_look_at_every_row_finds(table, screen, conditions, holds, limit):
    wanted = [row for row in table.to_pylist() if holds(row)]
    assert wanted
    assert screen.top(limit, **conditions).to_pylist() == wanted[:limit]


def test_top_of_some_columns(screen):
    found = screen.top(2, columns=["formula", "band_gap_ev"])
    assert found.column_names == ["formula", "band_gap_ev"]
    assert found.schema.field("band_gap_ev").metadata[b"unit"] == b"eV"


@pytest.mark.parametrize(
    ("conditions", "error", "message"),
    [
        ({"elements": ["Xx"]}, ScreenError, "'Xx' is no element"),
        ({"only": True}, ScreenError, "needs elements"),
        ({"min_p_stable": 0.5}, DataError, "column 'p_stable': there is no such column"),
        ({"properties": {"formula": (1, 2)}}, DataError, "holds no numbers"),
        ({"gap": (3, 1)}, ScreenError, "is empty: swap its ends"),
        ({"gap": (np.nan, 1)}, ScreenError, "is not finite"),
        ({"limit": 0}, ScreenError, "at least"),
        ({"where": "nothing > 1"}, StoreError, "the columns are rank, score, formula"),
        ({"where": "1=1); DROP TABLE ranked; SELECT (1"}, StoreError, "only reads"),
        ({"where": "1 ="}, StoreError, "the query failed"),
    ],
)
def test_conditions_that_cannot_be_met(screen, conditions, error, message):
    with pytest.raises(error, match=message):
        screen.top(**conditions)


def test_gap_needs_one_column(table, tmp_path):
    store = Store(tmp_path)
    publish(store, table.drop_columns(["band_gap_ev", "band_gap_ev_std"]))
    with pytest.raises(DataError, match="no column beginning with 'band_gap'"):
        open_screen(store=store).top(gap=(1, 2))


def test_query_sees_both_files(table, screen):
    found = screen.query("SELECT count(*) AS n, max(rank) AS last FROM ranked").to_pylist()
    assert found == [{"n": ROWS, "last": ROWS}]
    assert screen.query("SELECT rank FROM ranked LIMIT 3")["rank"].to_pylist() == [1, 2, 3]
    with pytest.raises(StoreError, match="only reads"):
        screen.query("CREATE TABLE a (b INTEGER)")


def test_screens_of_one_file_from_before_are_read(table, screen, tmp_path):
    store = Store(tmp_path)
    old = table.select(["rank", "formula", "chemical_system"]).slice(0, 10)
    with store.staging("screens", REQUEST) as staging:
        staging.write_table(RANKED, old)
        store.publish(staging, [RANKED], what="Old.", rows=10)
    found = open_screen("latest", store)
    assert found.top(3).equals(old.slice(0, 3))
    assert found.origin == {}


def test_remote_stores(table):
    store = Store("memory://screens-test")
    publish(store, table)
    screen = open_screen(store=store)
    assert screen.arrow(["rank"]).num_rows == ROWS
    assert screen.top(1, elements=["Li", "O"], only=True)["chemical_system"].to_pylist() == ["Li-O"]


@pytest.mark.parametrize("start", [1, 2])
def test_ranks_count_on_from_one(table, tmp_path, start):
    wrong = [table.slice(start, 5)] if start == 1 else [table.slice(0, 2), table.slice(3, 2)]
    with (
        Store(tmp_path).staging("screens", REQUEST) as staging,
        pytest.raises(ScreenError, match="do not count on after"),
    ):
        write_screen(staging, wrong)


def test_no_row_and_blocks_that_differ(table, tmp_path):
    with Store(tmp_path).staging("screens", REQUEST) as staging:
        with pytest.raises(ScreenError, match="has no row"):
            write_screen(staging, [table.slice(0, 0)])
        with pytest.raises(ScreenError, match="make them alike"):
            write_screen(staging, [table.slice(0, 2), table.slice(2, 2).drop_columns(["score"])])


def test_a_damaged_file_is_named(table, tmp_path):
    store = Store(tmp_path)
    screen = open_screen(publish(store, table).id, store)
    shutil.copyfile(__file__, f"{tmp_path}/screens/{screen.manifest.id}/{REST}")
    with pytest.raises(StoreError, match="rest.parquet"):
        screen.top(1, max_hull=-1.0)
