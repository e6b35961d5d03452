import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import DATA, REJECTED_ROWS
from infra.manifest import content_id
from infra.snapshots.quality import LIMITS, REPORT, REPORT_TEXT, write_report
from infra.snapshots.quality_text import markdown
from infra.snapshots.split import Splitter
from infra.snapshots.usual_elements import USUAL
from infra.store import Store
from irnet_core.schema import BAND_GAP, FORMATION_ENERGY, NOTE, SHEAR_MODULUS, SOURCE_ID, VOLUME

ENERGY = FORMATION_ENERGY.name
SKIPPED = [{"unit": "0007", "offset": 40, "count": 2, "reason": "HTTP 500"}]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path / "s" if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture
def publish(store):
    """Publishes a snapshot of a table with its report; returns the artifact."""

    def run(table, request="0" * 16, previous=None, counts=None, parameters=None, source="here"):
        splitter = Splitter(table.schema, source)
        data, rejected = splitter.split(table)
        with store.staging("snapshots", request) as staging:
            staging.write_table(DATA, data)
            staging.write_table(REJECTED_ROWS, rejected)
            content = write_report(
                staging,
                source=source,
                counts={**splitter.counts(), **(counts or {})},
                parameters=parameters or {},
                previous=previous,
            )
            manifest = store.publish(
                staging,
                [DATA, REJECTED_ROWS, *content],
                what="Rows.",
                parameters={**(parameters or {}), "label": source},
                content=content,
            )
        return store.open(manifest.id, "snapshots")

    return run


def report_of(artifact):
    return json.loads(artifact.read_bytes(REPORT))


def small(**changes):
    columns = {
        "formula": ["NaCl", "Na2Cl2", "Xx", "LiFeO2", "O2"],
        SOURCE_ID.name: ["a", "b", "c", "d", "e"],
        ENERGY: [-2.0, 7.0, 0.0, None, math.nan],
        BAND_GAP.name: [8.5, -0.5, 1.0, 2.0, math.inf],
        VOLUME.name: [0.0, 22.0, 1.0, 20.0, 300.0],
        NOTE.name: [None, "natoms: 'x' is no number; volume: 'y' is none", None, "natoms: 1", None],
    } | changes
    table = pa.table(columns)
    place = table.schema.get_field_index(NOTE.name)
    return table.cast(table.schema.set(place, NOTE.field())) if place >= 0 else table


@pytest.mark.parametrize("note", [["1"], [1], [True], ["natoms: 'x' is no number"]])
def test_a_note_of_a_users_own_is_no_note(publish, note):
    table = pa.table({"formula": ["NaCl"], NOTE.name: note})
    assert report_of(publish(table))["noted"] == {}


def test_what_is_counted(publish):
    found = report_of(publish(small(), counts={"skipped": SKIPPED}))
    assert (found["rows"], found["rejected"], found["skipped"]) == (4, 1, SKIPPED)
    assert found["reasons"] == {"unknown element 'Xx'": 1}
    assert found["noted"] == {"natoms": 2, "volume": 1}
    energy = found["columns"][ENERGY]
    assert (energy["missing"], energy["not_finite"]) == (1, 1)
    assert (energy["min"], energy["median"], energy["max"]) == (-2.0, 2.5, 7.0)
    assert found["columns"][SOURCE_ID.name] == {"type": "string", "unit": "", "missing": 0}
    assert "row" not in found["columns"]
    assert found["elements"] == {"Cl": 2, "Na": 2, "O": 2, "Fe": 1, "Li": 1}
    assert set(found["usual_elements_missing"]) == set(USUAL) - {"Cl", "Na", "O", "Fe", "Li"}
    assert found["systems"] == {
        "1": {"rows": 1, "systems": 1, "compositions": 1},
        "2": {"rows": 2, "systems": 1, "compositions": 1},
        "3": {"rows": 1, "systems": 1, "compositions": 1},
    }
    assert found["compositions"] == {
        "distinct": 3,
        "repeated": 1,
        "rows_beyond_the_first": 1,
        "most_repeated": {"ClNa": 2},
    }
    assert found["previous"] is None


def test_outliers(publish):
    found = {o["column"]: o for o in report_of(publish(small()))["outliers"]}
    assert found.keys() == {ENERGY, BAND_GAP.name, VOLUME.name}
    assert (found[ENERGY]["below"], found[ENERGY]["above"]) == (0, 1)
    assert found[ENERGY]["worst"] == [{"id": "b", "formula": "Na2Cl2", "value": 7.0}]
    assert found[ENERGY]["credible"] == "from -5 to 5 eV/atom"
    assert (found[BAND_GAP.name]["below"], found[BAND_GAP.name]["above"]) == (1, 1)
    assert (found[VOLUME.name]["below"], found[VOLUME.name]["above"]) == (1, 1)
    assert [w["id"] for w in found[VOLUME.name]["worst"]] == ["e", "a"]  # the farthest first


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.column.name)
def test_every_limit_is_reported_where_it_is_passed(publish, limit):
    values = [limit.low, limit.high, limit.high + 1, limit.low - 1, (limit.low + limit.high) / 2]
    if pa.types.is_integer(limit.column.type):
        values = [int(value) for value in values]
    column = pa.array(values, limit.column.type)
    table = pa.table({"formula": ["C"] * 5, limit.column.name: column})
    (found,) = report_of(publish(table))["outliers"]
    assert (found["below"], found["above"]) == (2 if limit.above else 1, 1)


def test_a_users_own_column_of_a_known_name(publish):
    table = pa.table({"formula": ["C"], SHEAR_MODULUS.name: ["soft"]})
    assert report_of(publish(table))["outliers"] == []


def test_numbers_that_overflow(publish):
    table = pa.table({"formula": ["C"] * 3, ENERGY: [1e308, -1e308, 1e308], "nothing": [None] * 3})
    found = report_of(publish(table))["columns"]
    assert (found[ENERGY]["max"], found[ENERGY]["beyond_5_sigma"]) == (1e308, 0)
    assert found["nothing"] == {"type": "null", "unit": "as given", "missing": 3} or (
        found["nothing"]["missing"] == 3
    )


def test_the_report_is_no_part_of_the_id(publish, store):
    first = publish(small())
    assert store.verify(first.id) == []
    changed = publish(small(**{ENERGY: [-2.0, 6.0, 0.0, None, 1.0]}), "1" * 16, previous=first)
    back = publish(small(), "2" * 16, previous=changed, counts={"skipped": SKIPPED})
    assert back.id == first.id != changed.id
    assert report_of(back)["previous"] is None  # the report made when the rows were first seen
    assert report_of(changed)["previous"]["id"] == first.id
    files = first.manifest.files
    assert files[REPORT].content == files[REPORT_TEXT].content
    assert content_id("snapshots", files) == first.id


def test_a_report_that_was_changed_is_found(publish, store, tmp_path):
    artifact = publish(small())
    artifact.folder.write_bytes(REPORT_TEXT, b"all is well")
    assert any(REPORT_TEXT in problem for problem in store.verify(artifact.id))


def test_since_the_previous_snapshot(publish):
    first = publish(small(), parameters={"query": {"filter": "x"}, "limit": None, "sha256": "1"})
    other = small(
        formula=["NaCl", "Na2Cl2", "Xx", "LiFeO2", "Si"],
        **{SOURCE_ID.name: ["a", "b", "c", "d", "f"], ENERGY: [-2.5, 7.0, 0.0, None, 1.0]},
    )
    asked = {"query": {"filter": "x"}, "limit": 5, "sha256": "2"}
    second = publish(other, "1" * 16, previous=first, parameters=asked)
    found = report_of(second)["previous"]
    assert (found["added"], found["removed"], found["changed"], found["unchanged"]) == (1, 1, 1, 2)
    assert found["columns"][ENERGY]["largest"] == 0.5
    assert found["asked_differently"] == {"limit": [None, 5]}
    text = second.read_bytes(REPORT_TEXT).decode()
    assert f"Against {first.id}, rows matched by source_id: 1 added, 1 removed, 1 changed" in text
    assert "asked for differently: limit was None, is 5" in text


def test_what_was_taken_of_another_file_is_no_previous_snapshot(publish):
    first = publish(small(), source="a.csv")
    second = publish(small(**{ENERGY: [1.0] * 5}), "1" * 16, previous=first, source="b.csv")
    assert report_of(second)["previous"] is None


def test_text_is_the_report(publish):
    formulas = ["NaCl", "Na2Cl2", "X|x\n# y", "LiFeO2", "O2"]
    artifact = publish(small(formula=formulas), counts={"skipped": SKIPPED})
    text = artifact.read_bytes(REPORT_TEXT).decode()
    assert text == markdown(report_of(artifact))
    lines = text.splitlines()
    assert "4 rows, 3 distinct compositions; 1 rows rejected, 1 ranges skipped." in lines
    assert "| 0007 | 40 | 2 | HTTP 500 |" in lines
    assert f"| {ENERGY} | eV/atom | 0 | 1 | b Na2Cl2 7 |" not in lines
    assert f"| {ENERGY} | from -5 to 5 eV/atom | 0 | 1 | b Na2Cl2 7 |" in lines
    assert [line for line in lines if line.startswith("# ")] == ["# Data quality of here"]
    for title in ("Rejected", "Columns", "Outliers", "Chemical systems", "Repeated compositions"):
        assert f"## {title}" in lines


def test_the_order_of_rows_does_not_matter(publish):
    rng = np.random.default_rng(0)
    n = 3000
    formulas = [f"{a}{b}" for a in ("Na", "Li", "Fe") for b in ("Cl", "O2", "F3", "S")]
    table = pa.table(
        {
            "formula": rng.choice(formulas, n),
            SOURCE_ID.name: [str(i) for i in range(n)],
            ENERGY: rng.standard_cauchy(n),
        }
    )
    one = publish(table)
    two = publish(table.take(pa.array(rng.permutation(n))), "1" * 16)
    assert one.id != two.id
    assert one.read_bytes(REPORT) == two.read_bytes(REPORT)


def test_against_pandas_on_real_rows(publish, shared_data):
    path = shared_data / "mp" / "properties_by_mp_id.parquet"
    table = pq.read_table(path).slice(0, 20_000)
    artifact = publish(table)
    found = report_of(artifact)
    frame = artifact.read_table(DATA).to_pandas()
    assert found["rows"] == len(frame)
    for name in ("formation_energy_ev_atom", "k_vrh_gpa", "band_gap_ev"):
        column, mine = frame[name], found["columns"][name]
        assert mine["missing"] == column.isna().sum()
        assert (mine["min"], mine["max"]) == (column.min(), column.max())
        assert mine["median"] == pytest.approx(column.median(), rel=1e-12)
        far = (column - column.mean()).abs() > 5 * column.std(ddof=0)
        assert mine["beyond_5_sigma"] == far.sum()
    elements = frame["composition"].str.findall("[A-Z][a-z]?")
    assert found["elements"] == elements.explode().value_counts().to_dict()
    by_size = elements.str.len().value_counts().to_dict()
    assert {int(n): c["rows"] for n, c in found["systems"].items()} == by_size
    systems = pd.DataFrame({"n": elements.str.len(), "system": elements.str.join("-")})
    distinct = systems.groupby("n")["system"].nunique().to_dict()
    assert {int(n): c["systems"] for n, c in found["systems"].items()} == distinct
    times = frame["composition"].value_counts()
    assert found["compositions"]["distinct"] == len(times)
    assert found["compositions"]["repeated"] == (times > 1).sum()
    assert found["compositions"]["rows_beyond_the_first"] == (times - 1).sum()
