import json

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from infra.ranked import ranked_table
from infra.screens import write_screen
from infra.store import Store, request_digest

pytestmark = pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine
COLUMNS = {
    "numbers": [[3, 8, 26], [3, 8, 0], [8, 12, 0], [3, 8, 17]],
    "amounts": [[1, 2, 1], [2, 1, 0], [1, 1, 0], [1, 4, 1]],
    "energy_above_hull": [0.0, 0.01, 0.02, 0.3],
    "band_gap_ev": [2.0, 5.0, 4.5, 2.5],
    "band_gap_ev_std": [0.25, 0.5, 0.5, 0.5],
    "oxidation_states": [[1, -2, 3], [1, -2, 0], [-2, 2, 0], [1, -2, 7]],
    "rule_branch": [1, 1, 1, 1],
}


@pytest.fixture
def screened(store):
    made = Store(store)
    table = ranked_table(COLUMNS, {"band_gap_ev": "eV"})
    with made.staging("screens", request_digest("screens", {}, {})) as staging:
        return made.publish(staging, write_screen(staging, [table]), what="Four.", rows=4).id


@pytest.mark.parametrize(
    ("arguments", "formulas"),
    [
        ((), ["FeLiO2", "Li2O", "MgO", "ClLiO4"]),
        (("--elements", "Li, O"), ["FeLiO2", "Li2O", "ClLiO4"]),
        (("--elements", "O,Li", "--only"), ["Li2O"]),
        (("--elements", "Li,O", "--max-hull", 0.05, "--gap", "1..3"), ["FeLiO2"]),
        (("--gap", "2.5.."), ["Li2O", "MgO", "ClLiO4"]),
        (("--property", "n_atoms=..3", "--property", "band_gap_ev=4.9.."), ["Li2O"]),
        (("--property", "band_gap_ev=..3", "--gap", "1.."), ["FeLiO2", "ClLiO4"]),
        (("--property", "n_atoms=..6", "--property", "n_atoms=3.."), ["FeLiO2", "Li2O", "ClLiO4"]),
        (("--where", "n_atoms = 2 OR n_atoms = 6", "--limit", 1), ["MgO"]),
    ],
)
def test_hits(screened, cli, tmp_path, arguments, formulas):
    for name, read in (("a.csv", pa_csv.read_csv), ("a.parquet", pq.read_table)):
        result = cli("top", "--screen", screened, *arguments, "--output", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert read(tmp_path / name)["formula"].to_pylist() == formulas
    printed = cli("top", *arguments).stdout
    assert [word for word in printed.split() if word in formulas] == formulas
    assert ("2.000 ± 0.250" in printed) == ("FeLiO2" in formulas)
    assert ("+1 -2" in printed) == bool({"Li2O", "FeLiO2"} & {*formulas})


def test_lists_are_texts_in_csv(screened, cli, tmp_path):
    assert cli("top", "--limit", 1, "--output", tmp_path / "a.csv").exit_code == 0
    (row,) = pa_csv.read_csv(tmp_path / "a.csv").to_pylist()
    assert (row["elements"], row["oxidation_states"]) == ("Fe Li O", "3 1 -2")


def test_no_hit(screened, cli):
    assert cli("top", "--max-hull", -1).stdout == "none of the 4 rows fulfils all conditions\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--min-p-stable", 0.5), "column 'p_stable': there is no such column, take one of rank"),
        (("--gap", "3"), "--gap takes a range such as 1..3, 1.. or ..3, not '3'"),
        (("--gap", "a..3"), "--gap takes a range"),
        (("--property", "n_atoms"), "--property n_atoms= takes a range"),
        (("--output", "a.txt"), "a.txt: name a file that ends in .csv or .parquet"),
        (("--elements", "Li,Xy"), "'Xy' is no element: give symbols such as Li,Fe,O"),
        (("--screen", "none"), "no artifact among the screens"),
    ],
)
def test_what_cannot_be_asked(screened, fails, arguments, message):
    assert message in fails("top", *arguments)


def test_explain(filled, cli):
    formula = "FLiMgO"  # nobody has measured it
    result = cli("explain", formula, "--model", "small", "--features", 3)
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert text.startswith("FLiMgO: formation_energy_ev_atom -")
    assert "integrated gradients:" in text
    assert "254 others together" in text
    assert "nearest compounds of snapshots/" in text
    assert "hull of the known phases: -" in text
    assert "decomposes into: 0.5 " in text


def test_explanation_adds_up_and_its_neighbours_are_known(filled):
    from flows.explain import explain

    found = explain("Mg2O2", "small", screen="latest")
    assert found.formula == "MgO"
    share = found.attribution
    assert share.prediction == pytest.approx(found.prediction, abs=1e-4)
    wanted = share.prediction - share.baseline
    assert share.values.sum() == pytest.approx(wanted, abs=2e-3 * abs(share.prediction))
    nearest, *others = found.neighbours
    assert (nearest.formula, nearest.distance) == ("MgO", pytest.approx(0, abs=1e-6))
    table = Store(filled).open("snapshots/latest").read_table("data.parquet")
    known = dict(
        zip(
            table["composition"].to_pylist(),
            table["formation_energy_ev_atom"].to_pylist(),
            strict=True,
        )
    )
    assert all(one.value == pytest.approx(known[one.formula]) for one in found.neighbours)
    assert all(one.distance > 0 for one in others)
    # MgO is the only phase of its composition and stable: its own energy is the hull's
    assert (found.hull, found.decomposition) == (pytest.approx(known["MgO"]), "1 MgO")
    assert found.above == pytest.approx(found.prediction - found.hull)
    assert found.ranked == {}
    assert "does not hold MgO" in found.notes[-1]


def test_explain_shows_the_row_of_a_screen(filled, cli):
    store = Store(filled)
    row = store.open("screens/latest").read_table("ranked.parquet").slice(3, 1).to_pylist()[0]
    text = cli("explain", row["formula"], "--model", "small", "--screen", "latest").stdout
    assert "rank 4 of the screen" in text
    assert row["chemical_system"] in text


def test_a_model_whose_snapshot_is_gone(filled, cli):
    import shutil

    card = json.loads(Store(filled).open("models/small").read_bytes("card.json"))
    shutil.rmtree(filled / "snapshots" / card["data"]["snapshot"])
    result = cli("explain", "MgO", "--model", "small")
    assert result.exit_code == 0
    assert "is not in the store: name another one with --snapshot" in result.stdout
    assert "hull" not in result.stdout


def test_a_hull_of_another_database_is_noted(filled, cli, tmp_path):
    (tmp_path / "other.csv").write_text("formula,formation_energy_ev_atom\nMgO,-3.0\nO,0.0\n")
    assert cli("snapshot", tmp_path / "other.csv").exit_code == 0
    printed = cli("explain", "MgO2", "--model", "small", "--snapshot", "file").stdout
    assert "energies of different databases are not on one scale" in printed
    own = Store(filled).open("pymatgen-expt", "snapshots").id
    printed = cli("explain", "MgO2", "--model", "small", "--snapshot", own).stdout
    assert "not on one scale" not in printed


def test_energies_that_are_no_numbers_make_no_hull(filled, cli):
    result = cli("explain", "MgO", "--model", "small", "--energies", "formula")
    assert result.exit_code == 0
    assert "no convex hull: " in result.stdout
    assert "it holds string, but formation energies are numbers" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Xx2",), "formula 'Xx2' cannot be used (unknown element 'Xx'): correct it"),
        (("MgO", "--model", "none"), "no artifact among the models"),
        (("MgO", "--snapshot", "none"), "no artifact among the snapshots"),
        (("MgO", "--energies", "none"), "column 'none': there is no such column, take one of"),
    ],
)
def test_what_cannot_be_explained(filled, fails, arguments, message):
    assert message in fails("explain", *arguments[:1], "--model", "small", *arguments[1:])
