"""Screens through the command line: stability, objectives, families, and what is refused."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

import flows.shard
from flows.models import open_model
from flows.screen import LEAST, SHARD, shards_of
from flows.screen_request import _column
from flows.snapshot import same_database
from infra.hulls import KnownPhases
from infra.query import RANKED
from infra.store import Store
from irnet_core.errors import ScreenError
from irnet_core.screening.candidates import Enumeration

pytestmark = pytest.mark.timeout(600)
ENERGY = "formation_energy_ev_atom"
SMALL = ("--model", "small")


@pytest.fixture
def ranked(filled, cli):
    """Run a screen and return its table."""

    def run(*arguments):
        result = cli("screen", *arguments, *(() if "--model" in arguments else SMALL))
        assert result.exit_code == 0, result.output
        return Store(filled).open("screens/latest").read_table(RANKED)

    return run


def phases(store):
    """Known phases: compositions and formation energies."""
    return Store(store).open("snapshots/latest").read_table("data.parquet", ["composition", ENERGY])


@pytest.fixture
def gaps(filled, cli, tmp_path):
    """A second model, of a band gap, trained on values made up of the measured enthalpies."""
    known = phases(filled)
    gap = np.abs(known[ENERGY].to_numpy()) * 2
    table = pa.table({"formula": known["composition"], "band_gap_ev": gap})
    pq.write_table(table.slice(0, 600), tmp_path / "gaps.parquet")
    arguments = ("--data", tmp_path / "gaps.parquet", "--target", "band_gap_ev", "--name", "gaps")
    result = cli("train", *arguments, "--network", "16BARx1-1", "--epochs", 3)
    assert result.exit_code == 0, result.output
    return "gaps"


def test_energies_and_products_are_those_of_pymatgen(filled, ranked):
    table = ranked("ternaries", "--elements", "Li,Mg,Al,O,S", "--max-atoms", 8).to_pylist()
    known = phases(filled)
    entries = [
        PDEntry(c, e * c.num_atoms)
        for c, e in zip(
            map(Composition, known["composition"].to_pylist()),
            known[ENERGY].to_pylist(),
            strict=True,
        )
        if {str(element) for element in c} <= {"Li", "Mg", "Al", "O", "S"}
    ]
    there = {str(e.composition.elements[0]) for e in entries if len(e.composition) == 1}
    entries += [PDEntry(s, 0.0) for s in {"Li", "Mg", "Al", "O", "S"} - there]
    diagram = PhaseDiagram(entries)
    assert len(table) > 20
    for row in table:
        composition = Composition(row["formula"])
        entry = PDEntry(composition, row[ENERGY] * composition.num_atoms)
        products, above = diagram.get_decomp_and_e_above_hull(
            entry, allow_negative=True, check_stable=False
        )
        assert row["energy_above_hull"] == pytest.approx(above, abs=1e-6)
        said = {}
        for part in row["decomposition"].split(" + "):
            share, formula = part.split()
            said[Composition(formula).reduced_composition] = float(share)
        expected = {e.composition.reduced_composition: s for e, s in products.items()}
        assert said == {c: pytest.approx(s, abs=6e-4) for c, s in expected.items()}
        assert row["energy_above_hull_std"] == pytest.approx(row[f"{ENERGY}_std"])
        assert 0 <= row["p_stable"] <= 1
        below = row["energy_above_hull_upper_90"] < 0
        assert not below or row["p_stable"] > 0.9


def test_several_properties_under_constraints(ranked, gaps):
    table = ranked(
        "ternaries", *SMALL, "--model", gaps, "--elements", "Li,Na,Mg,Al,O,S,F", "--max-atoms", 7,
        "--objective", "minimise energy_above_hull per 0.1",
        "--objective", "band_gap_ev in 1..3 per 0.5", "--constraint", "energy_above_hull <= 0.3",
    )  # fmt: skip
    hull, gap = (table[name].to_numpy() for name in ("energy_above_hull", "band_gap_ev"))
    outside = np.maximum(np.maximum(1 - gap, gap - 3), 0)
    np.testing.assert_allclose(table["score"].to_numpy(), hull / 0.1 + outside / 0.5, atol=1e-9)
    assert (np.diff(table["score"].to_numpy()) >= 0).all()
    assert hull.max() <= 0.3
    front = table["pareto_front"].to_numpy()
    better = (hull[:, None] <= hull) & (outside[:, None] <= outside)
    better &= (hull[:, None] < hull) | (outside[:, None] < outside)
    np.testing.assert_array_equal(front == 1, ~better.any(0))


def test_the_chance_of_being_stable_ranks_and_scores(ranked):
    arguments = ("ternaries", "--elements", "Li,Na,Mg,Al,O,S,F", "--max-atoms", 7)
    table = ranked(*arguments, "--risk", "probability", "--stable-below", 0.05)
    chance = table["p_stable"].to_numpy()
    np.testing.assert_allclose(table["score"].to_numpy(), -np.log(chance), atol=1e-9)
    mean = ranked(*arguments, "--objective", "energy_above_hull <= 0.05", "--stable-below", 0.05)
    assert sorted(mean["formula"].to_pylist()) == sorted(table["formula"].to_pylist())


def test_candidates_in_the_hulls_and_few_of_each_system(ranked):
    arguments = ("ternaries", "--elements", "Li,Na,Mg,Al,O,S,F", "--max-atoms", 7)
    plain = ranked(*arguments)
    table = ranked(*arguments, "--self-consistent", "--most-per-system", 1)
    chance = table["p_stable"].to_numpy()
    assert chance.max() > 0.9 > 0.3 > chance.min()
    distance = table["energy_above_hull"].to_numpy()
    assert (np.diff(distance) >= 0).all()
    before = dict(
        zip(plain["formula"].to_pylist(), plain["energy_above_hull"].to_numpy(), strict=True)
    )
    # other candidates lower the hulls: nothing lies further below them than before
    assert (distance >= [before[formula] - 1e-9 for formula in table["formula"].to_pylist()]).all()
    assert distance[0] < 0 < distance[-1]
    systems = table["chemical_system"].to_pylist()
    assert sorted(systems) == sorted(set(plain["chemical_system"].to_pylist()))
    best = table.slice(0, 1).to_pylist()[0]
    assert best["decomposition"] == f"1 {best['formula']}"


def test_a_list_keeps_its_known_rows_if_asked(ranked, tmp_path):
    (tmp_path / "mine.csv").write_text("formula\nLi3AlO3\nMgO\nMg2O2\nnonsense\nHe2\nFe0.5Mg0.5O\n")
    shared = ("list", "--from", tmp_path / "mine.csv", "--rules", "none")
    table = ranked(*shared, "--keep-known")
    found = dict(zip(table["formula"].to_pylist(), table["is_known"].to_pylist(), strict=True))
    assert found == {"AlLi3O3": False, "MgO": True, "FeMgO2": False}
    new = ranked(*shared)
    assert sorted(new["formula"].to_pylist()) == ["AlLi3O3", "FeMgO2"]


def test_a_list_may_hold_more_elements_than_hulls_can(filled, ranked, tmp_path):
    (tmp_path / "many.csv").write_text("formula\nLiNaKMgCaAlO8\nLi3AlO3\n")
    shared = ("list", "--from", tmp_path / "many.csv", "--rules", "none")
    assert ranked(*shared)["formula"].to_pylist() == ["AlLi3O3"]
    counts = Store(filled).open("screens/latest").manifest.counts
    assert (counts["predicted"], counts["not_finite"]) == (2, 1)
    rows = ranked(*shared, "--objective", f"minimise {ENERGY}").to_pylist()
    found = {row["formula"]: row["decomposition"] for row in rows}
    assert found["AlCaKLiMgNaO8"] is None
    assert found["AlLi3O3"]


def test_substitutions_into_known_compounds(filled, ranked):
    limits = ("--elements", "Li,Na,K,Mg,Ca,O,S,F,Cl", "--max-price", 100, "--no-toxic")
    table = ranked("substitutions", "--from", "latest", *limits)
    assert table.num_rows > 10
    assert set(np.concatenate(table["elements"].to_numpy(zero_copy_only=False))) <= {
        "Li", "Na", "K", "Mg", "Ca", "O", "S", "F", "Cl",
    }  # fmt: skip
    assert table["price_usd_kg"].to_numpy().max() <= 100
    counts = Store(filled).open("screens/latest").manifest.counts
    assert counts["generated"] >= counts["after_max_price"] >= counts["after_rules"]


def test_a_spread_keeps_its_distance(ranked):
    arguments = ("ternaries", "--elements", "Li,Mg,O,S,F", "--max-atoms", 8, "--rules", "none")
    table = ranked(*arguments, "--spread", 0.5, "--top", 30)
    fractions = [Composition(f).fractional_composition for f in table["formula"].to_pylist()]
    for i, one in enumerate(fractions):
        for other in fractions[:i]:
            gap = sum(abs(one[e] - other[e]) for e in {*one, *other})
            assert gap >= 0.5 - 1e-6
    assert table["rank"].to_pylist() == list(range(1, table.num_rows + 1))


def test_a_list_says_what_it_cannot_hold(ranked, cli, fails, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("formula\nLa0.67Sr0.33MnO3\nYBa2Cu3O6.93\nCoCrFeNiMnAlCuTiV\nLiFeO3\n")
    shared = ("list", "--from", mine, "--rules", "none", *SMALL)
    result = cli("screen", *shared)
    assert result.exit_code == 0, result.output
    said = "3 compositions of the list are left out: smallest whole amounts go to 255, elements of"
    assert said in result.stderr
    assert "screen 1 compositions of a list, of 76 elements, rules: none" in result.stderr
    mine.write_text("formula\nLiFeO3\nXy2\nLiFeO2\n")
    said = " ".join(cli("screen", *shared).stdout.split())
    assert "1 of 3 rows cannot be used: unknown element 'Xy' (1); see" in said
    mine.write_text("formula\nLi300FeO2\n")
    assert "none of the 1 compositions can be screened: smallest" in fails("screen", *shared)


def test_a_list_of_what_has_no_hull(ranked, tmp_path):
    (tmp_path / "mine.csv").write_text("formula\nCoCrFeNiMnAlCu\nCoCrFeNiMnAlTi\n")
    shared = ("list", "--from", tmp_path / "mine.csv", "--rules", "none")
    for more in ((), ("--self-consistent",)):
        rows = ranked(*shared, "--objective", f"minimise {ENERGY}", *more).to_pylist()
        assert [row["decomposition"] for row in rows] == [None, None]
    (tmp_path / "mine.csv").write_text("formula\nCoCrFeNiMnAlCu\nLi3AlO3\n")
    assert ranked(*shared, "--self-consistent")["formula"].to_pylist() == ["AlLi3O3"]


def test_a_bound_counts_with_all_of_its_digits(ranked, filled):
    some = ranked("ternaries", "--elements", "Li,Mg,O,F", "--max-atoms", 6)[ENERGY].to_numpy()
    bound = float(np.sort(some)[3])
    arguments = ("ternaries", "--elements", "Li,Mg,O,F", "--max-atoms", 6, "--constraint")
    at = ranked(*arguments, f"{ENERGY} <= {bound!r}")
    below = ranked(*arguments, f"{ENERGY} <= {bound - 1e-9!r}")
    assert (at.num_rows, below.num_rows) == (4, 3)


def test_the_same_rows_may_answer_another_question(ranked, filled):
    arguments = ("ternaries", "--elements", "Li,Mg,O,F", "--max-atoms", 6)
    first = ranked(*arguments)
    id_ = Store(filled).open("screens/latest").id
    second = ranked(*arguments, "--constraint", "energy_above_hull <= 1e3")
    assert first.to_pylist() == second.to_pylist()
    other = Store(filled).open("screens/latest")
    assert other.id != id_
    assert other.manifest.parameters["constraints"] == ["energy_above_hull in ..1000"]


def test_elements_that_nobody_knows_are_named(filled, cli, tmp_path):
    known = phases(filled).to_pandas()
    few = known[known.composition.str.fullmatch("(?:(?:Li|Mg|Fe|O|F|S|Cl)[0-9]*)+")]
    few.rename(columns={"composition": "formula"}).to_parquet(tmp_path / "few.parquet")
    arguments = ("--data", tmp_path / "few.parquet", "--target", ENERGY, "--name", "few")
    assert cli("train", *arguments, "--network", "16BARx1-1", "--epochs", 1).exit_code == 0
    screen = ("screen", "ternaries", "--model", "few", "--rules", "none", "--max-atoms", 4)
    result = cli(*screen, "--elements", "Li,Fe,O,F")
    assert "the model of" not in result.output
    result = cli(*screen, "--elements", "Li,O,Br,Zr")
    assert (
        f"no row that the model of {ENERGY} was trained on has 2 of the 4 elements (Br, Zr): it"
    ) in " ".join(result.output.split())
    assert "no phase of the hulls has 2 of the 4 elements (Br, Zr): any compound" in " ".join(
        result.output.split()
    )


def test_rules_of_smact_go_with_its_states(ranked, filled):
    arguments = ("ternaries", "--elements", "Fe,Mn,O,F", "--max-atoms", 6, "--rules", "smact")
    ranked(*arguments)
    by_default = Store(filled).open("screens/latest").id
    ranked(*arguments, "--states", "smact")
    assert Store(filled).open("screens/latest").id == by_default
    ranked(*arguments, "--states", "common")
    assert Store(filled).open("screens/latest").id != by_default


def test_targets_of_any_name(filled, cli, fails, ranked, tmp_path):
    """A blank is no matter, a column of the screen's own is."""
    known = phases(filled).slice(0, 200)
    for target, name in (("band gap (eV)", "blank"), ("price_usd_kg", "price")):
        table = pa.table({"formula": known["composition"], target: known[ENERGY]})
        pq.write_table(table, tmp_path / "table.parquet")
        options = ("--target", target, "--name", name, "--network", "16BARx1-1", "--epochs", 1)
        result = cli("train", "--data", tmp_path / "table.parquet", *options)
        assert result.exit_code == 0, result.output
    plain = ("binaries", "--elements", "Li,O,F", "--rules", "none", "--snapshot", "none")
    assert "band gap (eV)" in ranked(*plain, "--model", "blank").column_names
    bounded = ("--constraint", "band gap (eV) <= 100")
    assert ranked(*plain, "--model", "blank", *bounded).num_rows
    said = fails("screen", *plain, "--model", "price")
    assert said.startswith("the screen has a column 'price_usd_kg' of its own")


BINARIES = ("binaries", "--elements", "Li,O,F")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*BINARIES, "--objective", "minimise gap"), "'minimise gap' asks for gap, which is not"),
        ((*BINARIES, "--objective", "gap"), "'gap' is no objective: write, for example"),
        ((*BINARIES, "--constraint", "energy_above_hull <= -9"), "no candidate is left: "),
        ((*BINARIES, "--top", 0), "--top is 0: keep at least 1 candidate"),
        ((*BINARIES, "--stable-below", "nan"), "--stable-below is nan: give a number in eV/atom"),
        ((*BINARIES, "--stable-below", "-inf"), "--stable-below is -inf: give a number in eV/atom"),
        ((*BINARIES, "--spread", 3), "--spread is 3: element fractions differ by 0 to 2"),
        ((*BINARIES, "--contains", "S"), "S is in --contains and not in --elements"),
        ((*BINARIES, "--max-price", 0.0001), "no candidate is left: "),
        (("binaries", "--contains", "Pb", "--no-toxic"), "elements [82] must occur but are toxic"),
        ((*BINARIES, "--no-hull", "--self-consistent"), "--self-consistent wants hulls and"),
        ((*BINARIES, "--snapshot", "none", "--hull"), "there is no snapshot to take hulls from"),
        (("list",), "list need --from, a snapshot or a table of compositions: name one"),
        ((*BINARIES, "--from", "latest"), "binaries are generated from elements: leave out --from"),
        ((*BINARIES, "--risk", "brave"), "there is no attitude to risk 'brave'"),
        ((*BINARIES, *SMALL, *SMALL), "two models predict formation_energy_ev_atom"),
        ((*BINARIES, "--rules", "kind"), "there are no rules 'kind': choose among none, neutral"),
        ((*BINARIES, "--states", "x"), "there are no oxidation states 'x': choose smact or common"),
    ],
)
def test_what_cannot_be_screened(filled, fails, arguments, message):
    model = () if "--model" in arguments else SMALL
    assert fails("screen", *arguments, *model).startswith(message)


def test_hulls_of_another_database_must_be_insisted_on(filled, fails, ranked, tmp_path):
    table = pa.table({"formula": ["Li2O", "LiF"], ENERGY: [-2.0, -3.0]})
    pq.write_table(table, tmp_path / "other.parquet")
    other = (*BINARIES, "--snapshot", tmp_path / "other.parquet")
    assert "energies of different databases are not on one scale" in fails("screen", *other, *SMALL)
    forced = ranked(*other, "--force", "--rules", "none")
    assert not {"Li2O", "FLi"} & set(forced["formula"].to_pylist())
    assert all(math.isfinite(e) for e in forced["energy_above_hull"].to_pylist())


def test_a_model_that_knows_its_database_fits_snapshots_of_it(filled):
    snapshot = Store(filled).open("latest", "snapshots")
    card = open_model("small", Store(filled))[0].card
    elsewhere = {**card.data, "snapshot": "f" * 16, "source": "oqmd/table.parquet"}
    assert not same_database(replace(card, data=elsewhere), snapshot)
    named = {**elsewhere, "database": "pymatgen-expt"}
    assert same_database(replace(card, data=named), snapshot)
    columns = ["formula", "delta_e_ev_atom"]
    assert _column("formation_energy_ev_atom", columns) == "delta_e_ev_atom"
    assert _column("delta_e_ev_atom", ["formation_energy_ev_atom"]) == "formation_energy_ev_atom"
    assert _column("band_gap_ev", columns) is None


def test_shards_of_a_screen_that_has_ended_end_too(monkeypatch):
    monkeypatch.setattr(flows.shard, "run_shard", lambda shard, plan, staging, report: report(1, 1))
    monkeypatch.setattr(flows.shard, "ENDED", {"other"})
    flows.shard.run_on_worker(None, None, "staging")
    flows.shard.ENDED.add("staging")
    with pytest.raises(ScreenError, match="the screen has ended"):
        flows.shard.run_on_worker(None, None, "staging")


def test_an_error_ends_the_other_shards(filled, fails, monkeypatch):
    def broken(shard, *_):
        raise ScreenError("the shard is broken")

    ended = set()
    monkeypatch.setattr("flows.screen.run_on_worker", broken)
    monkeypatch.setattr("flows.screen.ENDED", ended)
    monkeypatch.setattr("flows.screen._alone", lambda shards: False)
    said = fails("screen", *BINARIES, *SMALL, "--rules", "none")
    assert said.startswith("the shard is broken")
    assert len(ended) == 1


def test_an_empty_hull_is_refused(filled, fails, tmp_path):
    (tmp_path / "empty.csv").write_text(f"formula,{ENERGY}\nLi2O,\nLiF,\n")
    arguments = ("--snapshot", tmp_path / "empty.csv", "--force")
    assert "no row has an energy" in fails("screen", *BINARIES, *SMALL, *arguments)


def test_more_than_there_are_is_all_of_them(ranked):
    table = ranked(*BINARIES, "--rules", "none", "--top", 10**7, "--max-atoms", 4)
    assert table.num_rows < 15


def test_shards_cover_all_systems_and_are_small_in_the_end():
    family = Enumeration(tuple(range(3, 84)), 3, 8)
    shards = shards_of(family)
    edges = [shard.start for shard in shards] + [shards[-1].stop]
    assert edges[0] == 0
    assert edges[-1] == len(family)
    assert edges[1:] == [shard.stop for shard in shards]
    assert not any(edge % family.n_stoichiometries for edge in edges)
    sizes = np.diff(edges)
    assert sizes[0] >= SHARD
    assert (np.diff(sizes) <= family.n_stoichiometries).all()
    # the last worker to end is alone for no longer than a small shard takes
    assert sizes[-1] <= LEAST + family.n_stoichiometries


def test_threads_and_processes_publish_the_same(filled, cli, files, monkeypatch, tmp_path):
    monkeypatch.setattr("flows.screen.SHARD", 600)
    limits = ("--elements", "Li,Na,Mg,Al,O,F,Cl", "--max-atoms", 8, "--rules", "none")
    found = []
    for few, workers in ((4, 1), (4, 2), (0, 2)):
        home = tmp_path / f"{few}-{workers}"
        shutil.copytree(filled, home)
        monkeypatch.setenv("IRNET_STORE", str(home))
        monkeypatch.setenv("IRNET_DASK_WORKERS", str(workers))
        monkeypatch.setattr("infra.compute.FEW", few)
        result = cli("screen", "ternaries", *SMALL, *limits, "--top", 200)
        assert result.exit_code == 0, result.output
        found.append(files(home / "screens"))
    assert found[0] == found[1] == found[2]


def test_known_phases_are_read_once_for_all_shards(filled, ranked, monkeypatch):
    calls = []
    read = KnownPhases.read
    monkeypatch.setattr(KnownPhases, "read", lambda *a: calls.append(1) or read(*a))
    monkeypatch.setattr("flows.screen.SHARD", 300)
    shutil.rmtree(filled / "hulls")
    flows.shard._read_phases.cache_clear()
    ranked("ternaries", "--elements", "Li,Mg,Al,O,F", "--max-atoms", 9)
    assert len(calls) == 1
    assert len(list((filled / "hulls").iterdir())) > 1
