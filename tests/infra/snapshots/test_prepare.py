import json
from itertools import count

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurizers.elements import Z_OF, has_magpie_data
from infra.artifact import DATA, REJECTED_ROWS
from infra.snapshots.funnel import PAPER, STEPS, Steps
from infra.snapshots.prepare import Preparation, prepare, source_name, steps_named
from infra.snapshots.snapshot import build_snapshot
from infra.snapshots.split import Splitter
from infra.snapshots.usual_elements import USUAL
from infra.sources import TableFile
from infra.store import Store
from irnet_core.errors import DataError
from irnet_core.schema import BAND_GAP, FORMATION_ENERGY, FUNCTIONAL, SOURCE_ID

ENERGY, GAP = FORMATION_ENERGY.name, BAND_GAP.name
NO_STEPS = Steps(names=())
REQUESTS = count(1)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def taken(store, table, source="oqmd", meaning=None):
    """A snapshot of a table, as one of a database of this name."""
    fields = []
    for field in table.schema:
        known = {c.name: c for c in (FORMATION_ENERGY, BAND_GAP, SOURCE_ID, FUNCTIONAL)}
        column = known.get(field.name)
        field = field if column is None else column.field()
        if meaning and column in (FORMATION_ENERGY, BAND_GAP):
            field = field.with_metadata({**field.metadata, b"meaning": meaning.encode()})
        fields.append(field)
    table = pa.table(table.columns, schema=pa.schema(fields))
    splitter = Splitter(table.schema, source)
    data, rejected = splitter.split(table)
    with store.staging("snapshots", f"{next(REQUESTS):016x}") as staging:
        staging.write_table(DATA, data, row_group_size=max(2, len(table) // 3))
        staging.write_table(REJECTED_ROWS, rejected)
        parameters = {"source": source, "label": source}
        manifest = store.publish(
            staging,
            [DATA, REJECTED_ROWS],
            what="Rows.",
            parameters=parameters,
            rows=data.num_rows,
            licence=f"{source} licence",
            citation=f"{source} paper",
        )
    return store.open(manifest.id, "snapshots")


def rows_of(store, manifest):
    return store.open(manifest.id, "snapshots").read_table(DATA)


def funnel(manifest, source="oqmd"):
    return {name: number for name, number, _ in manifest.counts["funnel"][source]}


def polymorphs():
    return pa.table(
        {
            "formula": ["SiO2", "Si2O4", "NaCl", "Si", "UCl3", "KCl", "FeO", "He2O", "LiF", "CsF"],
            SOURCE_ID.name: list("abcdefghij"),
            ENERGY: [-3.0, -3.1, -2.1, 0.0, -30.0, None, np.nan, 1.0, -3.1, 7.0],
        }
    )


# one snapshot ------------------------------------------------------------------------------------


def test_the_steps_of_the_paper(store):
    snapshot = taken(store, polymorphs())
    made = prepare([snapshot], store, Preparation(), ["ready"])
    assert funnel(made) == {
        "rows_in": 10,
        "target": -2,
        "range": -2,
        "lowest": -1,
        "sigma": 0,
        "compounds": -1,
        "usual": -1,
        "rows": 3,
    }
    table = rows_of(store, made)
    assert table.to_pydict() == {
        "row": [0, 1, 2],
        "formula": ["NaCl", "LiF", "Si2O4"],
        "composition": ["ClNa", "FLi", "O2Si"],
        SOURCE_ID.name: ["c", "i", "b"],
        ENERGY: [-2.1, -3.1, -3.1],
    }
    assert table.schema.field(ENERGY).metadata[b"unit"] == b"eV/atom"
    dropped = store.open(made.id).read_table(REJECTED_ROWS).to_pylist()
    assert [row["formula"] for row in dropped] == [
        "SiO2",
        "Si",
        "UCl3",
        "KCl",
        "FeO",
        "He2O",
        "CsF",
    ]
    assert {row["snapshot"] for row in dropped} == {snapshot.id}
    assert dropped[0] == {
        "snapshot": snapshot.id,
        "row": 0,
        "formula": "SiO2",
        "reason": f"not kept by step 'lowest': lowest {ENERGY} of the composition",
    }
    assert dropped[2]["reason"].endswith(f"'range': {ENERGY} above -20 and below 5")
    assert (made.rows, made.inputs) == (3, {"oqmd": snapshot.id})
    assert (made.licence, made.citation) == ("oqmd licence", "oqmd paper")
    assert store.open("ready").id == store.open("snapshots/latest").id == made.id
    assert store.verify(made.id) == []
    assert json.loads(store.open(made.id).read_bytes("report.json"))["rows"] == 3


def test_the_same_again_is_found(store, monkeypatch):
    snapshot = taken(store, polymorphs())
    made = prepare([snapshot], store, Preparation())
    monkeypatch.setattr(
        "infra.snapshots.prepare.TrainingTable", lambda *_: pytest.fail("made again")
    )
    assert prepare([snapshot], store, Preparation(), ["mine"]) == made
    assert store.open("mine").id == made.id


def test_each_step_alone(store):
    snapshot = taken(store, polymorphs())
    found = {}
    for step in (*PAPER, "magpie"):
        made = prepare([snapshot], store, Preparation(steps=Steps(names=(step,))))
        found[step] = funnel(made)
        assert set(found[step]) == {"rows_in", "target", step, "rows"}
        assert sum(n for name, n in found[step].items() if name != "rows") == found[step]["rows"]
    assert {step: n[step] for step, n in found.items()} == {
        "range": -2,
        "lowest": -1,
        "sigma": 0,
        "compounds": -1,
        "usual": -1,
        "magpie": 0,
    }


def test_sigma_is_that_of_what_the_steps_before_leave(store):
    formulas = [f"Na{i}Cl" for i in range(1, 101)]
    energies = [*np.linspace(-1, 1, 99), 4.9]
    snapshot = taken(store, pa.table({"formula": formulas, ENERGY: energies}))
    assert np.abs((energies - np.mean(energies)) / np.std(energies)).max() > 5
    assert funnel(prepare([snapshot], store, Preparation()))["sigma"] == -1
    steps = Steps(names=("range", "sigma"), range=(-20.0, 4.0))
    assert funnel(prepare([snapshot], store, Preparation(steps=steps)))["sigma"] == 0


def test_lowest_by_another_column_than_the_target(store):
    table = polymorphs().append_column(GAP, pa.array([float(i) for i in range(10)]))
    made = prepare([taken(store, table)], store, Preparation(target=GAP))
    assert rows_of(store, made)[GAP].to_pylist() == [2.0, 8.0, 1.0]
    by_gap = prepare([taken(store, table)], store, Preparation(target=GAP, energy=GAP))
    quartz = rows_of(store, by_gap).to_pylist()[-1]
    assert (quartz["formula"], quartz[GAP]) == ("SiO2", 0.0)


def test_without_an_energy(store):
    table = pa.table({"formula": ["Si", "NaCl"], GAP: [1.1, 8.5]})
    snapshot = taken(store, table)
    with pytest.raises(DataError, match="oqmd: the steps range and lowest need an energy and none"):
        prepare([snapshot], store, Preparation(target=GAP))
    made = prepare([snapshot], store, Preparation(target=GAP, steps=Steps(("sigma", "compounds"))))
    assert (funnel(made)["compounds"], made.rows) == (-1, 1)


def test_ties_do_not_depend_on_the_order_of_rows(store):
    table = pa.table(
        {
            "formula": ["SiO2", "Si2O4", "O2Si", "SiO2"],
            ENERGY: [-3.0, -3.0, -3.0, -3.0],
            "phase": ["b", "a", "a", "a"],
            "frac_coords": pa.array([[0.0], [0.5], None, [0.25]], pa.list_(pa.float64())),
        }
    )
    found = set()
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        made = prepare([taken(store, table.take(pa.array(order)))], store, Preparation())
        found.add(str(rows_of(store, made).to_pylist()))
    assert len(found) == 1


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["SiO2", "Si2O4", "NaCl", "Fe", "He2O", "OgO", "K3Cl3"]),
        st.sampled_from([-30.0, -3.0, -1.5, 0.25, 7.0, None]),
        st.sampled_from([0.5, 1.0, None]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=8)
@given(
    ROWS,
    st.permutations(sorted(set(STEPS) - {"target", "functional"})),
    st.integers(0, 6),
    st.randoms(use_true_random=False),
)
def test_the_order_of_rows_and_steps_does_not_matter(tmp_path_factory, rows, steps, many, random):
    store = Store(tmp_path_factory.mktemp("prepared"))
    rows = [*rows, ("LiF", -3.2, 1.0)]  # what every step leaves

    def made(rows, names):
        columns = dict(zip(("formula", ENERGY, GAP), zip(*rows, strict=True), strict=True))
        table = pa.table({name: list(column) for name, column in columns.items()})
        snapshot = taken(store, table)
        manifest = prepare([snapshot], store, Preparation(steps=Steps(names=tuple(names))))
        lines = manifest.counts["funnel"]["oqmd"]
        assert sum(n for name, n, _ in lines[:-1]) == lines[-1][1] == manifest.rows
        dropped = store.open(manifest.id).read_table(REJECTED_ROWS)
        assert dropped.num_rows == len(rows) - manifest.rows
        return lines, rows_of(store, manifest)

    names = steps[:many]
    lines, table = made(rows, names)
    again, same = made(random.sample(rows, len(rows)), random.sample(names, len(names)))
    assert again == lines
    assert same.equals(table, check_metadata=True)
    if "lowest" in names:
        compositions = table["composition"].to_pylist()
        assert len(set(compositions)) == len(compositions)
    expected = oracle(pd.DataFrame(rows, columns=["formula", ENERGY, GAP]), names)
    assert sorted(table[ENERGY].to_pylist()) == sorted(expected[ENERGY])


def oracle(frame, names):
    """The steps of the paper in pandas."""
    same = {"Si2O4": "SiO2", "K3Cl3": "KCl"}
    frame = frame.assign(composition=frame["formula"].replace(same)).dropna(subset=[ENERGY])
    elements = frame["composition"].str.findall("[A-Z][a-z]?")
    if "range" in names:
        frame = frame[(frame[ENERGY] > -20) & (frame[ENERGY] < 5)]
    if "lowest" in names:
        frame = frame.sort_values(ENERGY).drop_duplicates("composition")
    if "sigma" in names:
        far = (frame[ENERGY] - frame[ENERGY].mean()).abs() > 5 * frame[ENERGY].std(ddof=0)
        frame = frame[~far]
    elements = elements[frame.index]
    if "compounds" in names:
        frame = frame[elements[frame.index].str.len() > 1]
    for step, known in (
        ("usual", set(USUAL)),
        ("magpie", {e for e, z in Z_OF.items() if has_magpie_data(z)}),
    ):
        if step in names:
            frame = frame[[set(e) <= known for e in elements[frame.index]]]
    return frame


def test_against_pandas_on_real_rows(store, shared_data):
    rows = pq.read_table(shared_data / "mp" / "matbench_mp_e_form.parquet").slice(0, 30_000)
    snapshot = taken(store, rows)
    made = prepare([snapshot], store, Preparation())
    frame = snapshot.read_table(DATA).to_pandas()
    frame = frame[(frame[ENERGY] > -20) & (frame[ENERGY] < 5)]
    lowest = frame.groupby("composition")[ENERGY].min()
    lowest = lowest[(lowest - lowest.mean()).abs() <= 5 * lowest.std(ddof=0)]
    elements = lowest.index.to_series().str.findall("[A-Z][a-z]?")
    usual = elements.map(lambda e: len(e) > 1 and set(e) <= set(USUAL))
    expected = lowest[usual.to_numpy()].sort_index()
    table = rows_of(store, made)
    assert table["composition"].to_pylist() == expected.index.tolist()
    assert table[ENERGY].to_pylist() == expected.tolist()
    assert table["row"].to_pylist() == list(range(len(expected)))


# roles -------------------------------------------------------------------------------------------


def many(n=200):
    return pa.table({"formula": [f"Na{i // 2 + 1}Cl" for i in range(n)], ENERGY: np.zeros(n)})


def test_roles_are_drawn_by_composition(store):
    snapshot = taken(store, many())
    wanted = Preparation(steps=NO_STEPS, validation=0.2, test=0.1, seed=3)
    made = prepare([snapshot], store, wanted)
    frame = rows_of(store, made).to_pandas()
    assert len(frame) == 200
    assert (frame.groupby("composition")["split"].nunique() == 1).all()
    assert made.counts["split"] == {"train": 140, "val": 40, "test": 20}
    assert frame["split"].value_counts().to_dict() == made.counts["split"]
    again = prepare(
        [snapshot], store, Preparation(steps=NO_STEPS, validation=0.2, test=0.1, seed=4)
    )
    assert rows_of(store, again)["split"].to_pylist() != frame["split"].to_list()
    shuffled = many().take(pa.array(np.random.default_rng(0).permutation(200)))
    other = rows_of(store, prepare([taken(store, shuffled)], store, wanted)).to_pandas()
    assert other[["composition", "split"]].equals(frame[["composition", "split"]])


def test_roles_of_the_snapshot_stay_or_are_replaced(store):
    table = many(20).append_column("split", pa.array(["train"] * 20))
    snapshot = taken(store, table)
    kept = rows_of(store, prepare([snapshot], store, Preparation()))
    assert set(kept["split"].to_pylist()) == {"train"}
    drawn = rows_of(store, prepare([snapshot], store, Preparation(validation=0.5)))
    assert sorted(drawn["split"].to_pylist()) == ["train"] * 5 + ["val"] * 5
    assert drawn.column_names.count("split") == 1


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0), (0.6, 0.4), (0, 0.1), (1, 0)])
def test_shares_that_leave_nothing(store, validation, test):
    snapshot = taken(store, many())
    with pytest.raises(DataError, match="leave nothing to train or to validate"):
        prepare([snapshot], store, Preparation(validation=validation, test=test))


# several snapshots -------------------------------------------------------------------------------


def two(store):
    oqmd = pa.table(
        {
            "formula": ["NaCl", "Si2O4", "SiO2", "LiF"],
            SOURCE_ID.name: ["1", "2", "3", "4"],
            ENERGY: [-2.0, -3.0, -2.9, -3.1],
        }
    )
    mp = pa.table(
        {
            "formula": ["NaCl", "SiO2", "KCl", "Na2Cl2"],
            SOURCE_ID.name: ["mp-1", "mp-2", "mp-3", "mp-4"],
            ENERGY: [-2.1, -3.2, -2.2, -2.0],
        }
    )
    return taken(store, oqmd), taken(store, mp, "mp")


def test_several_are_never_mixed_without_a_word(store):
    with pytest.raises(DataError, match=r"sources: oqmd, mp\) have their own references and func"):
        prepare(two(store), store, Preparation())
    with pytest.raises(DataError, match="name --source or --column, not both"):
        prepare(two(store), store, Preparation(source="mp", columns={"mp": ENERGY, "oqmd": ENERGY}))
    with pytest.raises(DataError, match="no snapshot is of source 'aflow': there are oqmd, mp"):
        prepare(two(store), store, Preparation(source="aflow"))
    with pytest.raises(DataError, match="--column must name a column for each source and no other"):
        prepare(two(store), store, Preparation(columns={"mp": ENERGY}))
    with pytest.raises(DataError, match="joined by composition: keep the step 'lowest'"):
        prepare(two(store), store, Preparation(source="mp", steps=NO_STEPS))
    assert [m.what for m in store.list()] == ["Rows."] * len(store.list())


def test_the_target_of_one_source_and_the_others_beside_it(store):
    made = prepare(two(store), store, Preparation(source="mp"))
    table = rows_of(store, made)
    assert table.select(["composition", SOURCE_ID.name, ENERGY]).to_pydict() == {
        "composition": ["ClK", "ClNa", "O2Si"],
        SOURCE_ID.name: ["mp-3", "mp-1", "mp-2"],
        ENERGY: [-2.2, -2.1, -3.2],
    }
    assert table[f"oqmd_{ENERGY}"].to_pylist() == [None, -2.0, -3.0]
    assert table["oqmd_source_id"].to_pylist() == [None, "1", "2"]
    meaning = table.schema.field(f"oqmd_{ENERGY}").metadata[b"meaning"].decode()
    assert meaning.endswith(", from oqmd")
    assert table.schema.field(f"oqmd_{ENERGY}").metadata[b"unit"] == b"eV/atom"
    assert funnel(made, "mp")["rows"] == made.rows == 3
    assert (made.licence, made.citation) == ("oqmd licence; mp licence", "oqmd paper; mp paper")


def test_a_column_for_each_source(store):
    made = prepare(two(store), store, Preparation(columns={"oqmd": ENERGY, "mp": ENERGY}))
    table = rows_of(store, made)
    assert table.drop(["row", "formula"]).to_pydict() == {
        "composition": ["ClNa", "O2Si"],
        "oqmd_source_id": ["1", "2"],
        f"oqmd_{ENERGY}": [-2.0, -3.0],
        "mp_source_id": ["mp-1", "mp-2"],
        f"mp_{ENERGY}": [-2.1, -3.2],
    }
    assert ENERGY not in table.column_names
    for source in ("oqmd", "mp"):
        lines = made.counts["funnel"][source]
        assert [line[:2] for line in lines[-2:]] == [["shared", -1], ["rows", 2]]
        assert sum(n for _, n, _ in lines[:-1]) == 2


def test_sources_that_share_nothing(store):
    one = taken(store, pa.table({"formula": ["NaCl"], ENERGY: [-2.0]}))
    other = taken(store, pa.table({"formula": ["KCl"], ENERGY: [-2.0]}), "mp")
    with pytest.raises(DataError, match="no composition is in all of oqmd, mp: prepare them apart"):
        prepare([one, other], store, Preparation(columns={"oqmd": ENERGY, "mp": ENERGY}))


def parts(store, unit="eV/atom", meaning=None, ids=("3", "4")):
    first = pa.table(
        {"formula": ["NaCl", "SiO2"], SOURCE_ID.name: ["1", "2"], ENERGY: [-2.0, -3.0]}
    )
    second = pa.table({"formula": ["NaCl", "KCl"], SOURCE_ID.name: list(ids), ENERGY: [-2.1, -2.2]})
    made = taken(store, first, "aflow"), taken(store, second, "aflow", meaning)
    if unit != "eV/atom":
        table = made[1].read_table(DATA)
        field = table.schema.field(ENERGY).with_metadata({"unit": unit})
        place = table.column_names.index(ENERGY)
        made[1].folder.write_table(DATA, table.set_column(place, field, table[ENERGY]))
    return made


def test_parts_of_one_source_are_stacked_if_asked(store):
    snapshots = parts(store)
    with pytest.raises(DataError, match="of several snapshots"):
        prepare(snapshots, store, Preparation())
    made = prepare(snapshots, store, Preparation(source="aflow"))
    assert rows_of(store, made).select(["composition", SOURCE_ID.name]).to_pydict() == {
        "composition": ["ClK", "ClNa", "O2Si"],
        SOURCE_ID.name: ["4", "3", "2"],
    }
    assert funnel(made, "aflow")["lowest"] == -1
    dropped = store.open(made.id).read_table(REJECTED_ROWS).to_pylist()
    assert [(row["snapshot"], row["row"]) for row in dropped] == [(snapshots[0].id, 0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"unit": "meV/atom"},
            "it is double, unit eV/atom in one snapshot and double, unit meV/at",
        ),
        ({"meaning": "by r2SCAN"}, "different definition, 'formation energy per atom' and 'by r2S"),
        ({"ids": ("2", "4")}, "1 entries, such as 2, are in more than one of the snapshots: give"),
    ],
)
def test_parts_that_contradict_each_other(store, changes, message):
    with pytest.raises(DataError, match=message):
        prepare(parts(store, **changes), store, Preparation(source="aflow"))


def test_levels_of_theory_are_never_mixed_without_a_word(store):
    table = polymorphs().append_column(FUNCTIONAL.name, pa.array(["PBE"] * 8 + ["LDA"] * 2))
    snapshot = taken(store, table)
    with pytest.raises(DataError, match=r"PBE \(6 rows\), LDA \(2 rows\): choose one with --func"):
        prepare([snapshot], store, Preparation())
    made = prepare([snapshot], store, Preparation(steps=Steps(functional="PBE")))
    assert (funnel(made)["functional"], made.rows) == (-2, 2)
    mixed = prepare([snapshot], store, Preparation(steps=Steps(functional="all")))
    assert mixed.rows == 3
    with pytest.raises(DataError, match="no row is of the level 'SCAN': there are PBE"):
        prepare([snapshot], store, Preparation(steps=Steps(functional="SCAN")))
    plain = taken(store, polymorphs())
    with pytest.raises(DataError, match="leave out --functional"):
        prepare([plain], store, Preparation(steps=Steps(functional="PBE")))


# what cannot be used -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Preparation(target="gap"), "oqmd, column 'gap': there is no such column of numbers: the"),
        (Preparation(target=SOURCE_ID.name), "column 'source_id': it holds string, but must hold"),
        (Preparation(energy="e"), "oqmd, column 'e': there is no such column of numbers"),
        (Preparation(steps=Steps(range=(5.0, -20.0))), "the range from 5 to -20 is empty: give"),
        (
            Preparation(steps=Steps(range=(50.0, 60.0))),
            r"step 'range' \(.*\) leaves no row: choose",
        ),
    ],
)
def test_what_cannot_be_prepared(store, wanted, message):
    snapshot = taken(store, polymorphs())
    with pytest.raises(DataError, match=message):
        prepare([snapshot], store, wanted)
    assert store.list() == [snapshot.manifest]


def test_the_same_snapshot_twice(store):
    snapshot = taken(store, polymorphs())
    with pytest.raises(DataError, match=f"snapshot {snapshot.id} is named twice: name it once"):
        prepare([snapshot, snapshot], store, Preparation(source="oqmd"))


def test_names_of_columns_that_clash(store):
    oqmd, mp = two(store)
    table = oqmd.read_table(DATA).append_column(f"mp_{ENERGY}", pa.array([0.0] * 4))
    clash = taken(store, table.drop(["row", "composition"]))
    with pytest.raises(
        DataError, match=f"column 'mp_{ENERGY}': a snapshot has a column of its own"
    ):
        prepare([clash, mp], store, Preparation(source="oqmd"))


def test_names_of_steps():
    assert steps_named("paper") == PAPER
    assert steps_named("none") == steps_named("") == ()
    assert steps_named("magpie, range") == ("range", "magpie")
    with pytest.raises(DataError, match="there is no step 'sgima': choose among paper, none, targ"):
        steps_named("sgima")


def test_sources_are_named_after_files_and_databases(store, tmp_path):
    path = tmp_path / "My gaps (2024).v2.csv"
    path.write_text("formula,gap\nNaCl,8.5\n")
    manifest = build_snapshot(TableFile(path), store)
    assert source_name(store.open(manifest.id)) == "my_gaps__2024__v2"
    assert source_name(taken(store, polymorphs(), "pymatgen-expt")) == "pymatgen_expt"


def test_prepared_tables_keep_the_sources_they_were_made_of(store):
    ready = [
        store.open(prepare([one], store, Preparation(steps=Steps(names=("lowest",)))).id)
        for one in two(store)
    ]
    assert [source_name(one) for one in ready] == ["oqmd", "mp"]
    with pytest.raises(DataError, match=r"sources: oqmd, mp\) have their own references"):
        prepare(ready, store, Preparation())
    both = store.open(prepare(ready, store, Preparation(source="mp")).id)
    assert source_name(both) == "mp_oqmd"


def test_files_of_one_name_are_not_one_source(store, tmp_path):
    taken_of = []
    for folder, energy in (("a", -1.0), ("b", -2.0)):
        path = tmp_path / folder / "data.csv"
        path.parent.mkdir()
        path.write_text(f"formula,{ENERGY}\nNaCl,{energy}\n")
        taken_of.append(store.open(build_snapshot(TableFile(path), store).id))
    with pytest.raises(DataError, match=r"a/data.csv and .*b/data.csv would be one source"):
        prepare(taken_of, store, Preparation(source="data"))


def test_a_column_of_any_name_beside_functionals(store):
    table = polymorphs().append_column("f", pa.array(["x"] * len(polymorphs())))
    table = table.append_column(FUNCTIONAL.name, pa.array(["PBE"] * len(table)))
    assert prepare([taken(store, table)], store, Preparation()).rows


def test_a_name_that_leads_nowhere_is_given_anew(store):
    snapshot = taken(store, polymorphs())
    first = prepare([snapshot], store, Preparation(), names=["ready"])
    store.folder.child("snapshots", first.id).remove_all()
    second = prepare([snapshot], store, Preparation(), names=["ready"])
    assert store.open("ready", "snapshots").id == second.id == first.id


@pytest.mark.parametrize("shares", [(float("nan"), 0.0), (0.1, float("nan"))])
def test_shares_that_are_no_numbers(store, shares):
    wanted = Preparation(validation=shares[0], test=shares[1])
    with pytest.raises(DataError, match="leave nothing to train"):
        prepare([taken(store, polymorphs())], store, wanted)
