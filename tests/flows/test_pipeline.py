import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from featurizers.formula import canonical_formula, parse_formula
from infra.query import RANKED
from infra.store import KINDS, Store
from irnet_core.bundle import CARD, WEIGHTS
from irnet_core.device import has_native_bf16

pytestmark = pytest.mark.timeout(600)  # many processes, on a busy machine
TRAIN = ("--target", "energy_ev", "--network", "8BARx1-1", "--epochs", 2, "--split-column", "role")


@pytest.fixture
def opened(pipeline):
    return Store(pipeline[0])


@pytest.fixture
def ranked(opened):
    return opened.open("screens/latest").read_table(RANKED)


def test_commands_say_what_they_made(pipeline, opened):
    _, said = pipeline
    ids = {kind: opened.open("latest", kind).id for kind in KINDS}
    assert said["snapshot"].startswith(f"snapshots/{ids['snapshots']}: Measured standard formation")
    assert "pymatgen, 2,135 rows" in said["snapshot"]
    assert said["featurize"].startswith(f"features/{ids['features']}: 257 features (magpie, ")
    assert said["train"].startswith(f"models/{ids['models']}: 32BARx2-16BARx1-1 for formation_")
    assert "over 214 rows, unit eV/atom (always their median: MAE 0." in said["train"]
    assert "minimise energy_above_hull (risk: mean)" in said["screen"]
    assert opened.open("screens/latest").path(RANKED) in said["screen"]


def test_a_second_run_makes_nothing(pipeline, commands, filled, cli):
    def state():
        return {path: path.stat().st_mtime_ns for path in filled.rglob("*") if path.is_file()}

    before = state()
    for name, arguments in commands.items():
        result = cli(name, *arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.replace(str(filled), "") == pipeline[1][name].replace(
            str(pipeline[0]), ""
        )
        assert "done in" not in result.stderr
    assert state() == before


def test_metrics_are_those_of_the_model(opened):
    card = json.loads(opened.open("models/small").read_bytes(CARD))
    found = card["metrics"]["validation"]
    assert found["rows"] == 214
    assert found["mae"] < 0.6 * found["mae_of_median"]
    best = [e["validation_mae"] for e in card["history"] if e["epoch"] == card["best_epoch"]]
    # training and inference cast weights to bfloat16 at other places, where the CPU has it
    rounding = 5e-3 if has_native_bf16(torch.device("cpu")) else 1e-5
    assert found["mae"] == pytest.approx(best[0], rel=rounding)
    assert (card["data"]["rows"], card["split"]["kind"]) == (
        {"train": 1921, "validation": 214},
        "random",
    )
    assert "10.1038/s41598-021-94550-5" in card["data"]["citation"]


def test_funnel_adds_up(opened, ranked):
    manifest = opened.open("screens/latest").manifest
    counts = manifest.counts
    # 56 systems of three among eight elements, 34 ternary stoichiometries of up to 7 atoms
    assert counts["generated"] == 56 * 34
    assert counts["generated"] > counts["after_rules"] > counts["after_known"] > manifest.rows
    assert counts["after_known"] == counts["after_rules"] - counts["known"]
    assert counts["predicted"] == counts["after_known"] == counts["after_constraints"]
    assert counts["not_finite"] == 0
    assert manifest.rows == ranked.num_rows == counts["kept"] == 50
    snapshot = opened.open("snapshots/latest").id
    assert manifest.inputs == {
        "model formation_energy_ev_atom": opened.open("models/small").id,
        "known 0": snapshot,
        "hull": snapshot,
    }


def test_ranked_table(opened, ranked):
    for field in ranked.schema:
        assert field.metadata[b"meaning"], field.name
        assert b"unit" in field.metadata, field.name
    assert ranked.schema.field("n_atoms").metadata[b"unit"] == b"1"
    rows = ranked.to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, 51))
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores) == [row["energy_above_hull"] for row in rows]
    formulas = [row["formula"] for row in rows]
    assert len(set(formulas)) == 50
    snapshot = opened.open("snapshots/latest").read_table("data.parquet", ["composition"])
    assert not set(formulas) & set(snapshot["composition"].to_pylist())
    for row in rows:
        amounts = parse_formula(row["formula"])
        assert canonical_formula(row["formula"]) == row["formula"]
        assert row["chemical_system"] == "-".join(sorted(amounts))
        assert row["n_atoms"] == sum(amounts.values()) <= 7
        # states stand in the order of the formula's elements, which is alphabetical
        charges = [
            amounts[e] * s for e, s in zip(sorted(amounts), row["oxidation_states"], strict=True)
        ]
        assert sum(charges) == 0
        assert any(charges)


def test_predict_agrees_with_the_ranked_table(filled, cli, ranked, tmp_path):
    pq.write_table(ranked.select(["formula"]), tmp_path / "a.parquet")
    arguments = ("--input", tmp_path / "a.parquet", "--output", tmp_path / "b.parquet")
    assert cli("predict", "--model", "small", *arguments).exit_code == 0
    again = pq.read_table(tmp_path / "b.parquet")
    for mine, other in (
        ("", "prediction"),
        ("_std", "prediction_std"),
        ("_lower_90", "lower_90"),
        ("_upper_90", "upper_90"),
    ):
        column = ranked[f"formation_energy_ev_atom{mine}"].to_numpy()
        np.testing.assert_allclose(again[other].to_numpy(), column, atol=1e-5)
    percentile = ranked["domain_percentile"].to_numpy()
    np.testing.assert_allclose(again["domain_percentile"].to_numpy(), percentile, atol=1e-3)
    assert ranked["out_of_domain"].to_pylist() == (percentile > 99).tolist()


def test_screen_descending_without_rules_and_known(filled, cli):
    limits = ("--elements", "Li,O,F", "--max-atoms", 4, "--rules", "none", "--snapshot", "none")
    result = cli("screen", "ternaries", "--model", "small", *limits, "--descending")
    assert result.exit_code == 0, result.output
    assert "4 generated, 4 pass rules, 4 were predicted; 4 kept" in result.stdout
    assert "without hulls" in result.stdout
    table = Store(filled).open("screens/latest").read_table(RANKED)
    predictions = table["formation_energy_ev_atom"].to_pylist()
    assert predictions == sorted(predictions, reverse=True)
    assert set(table["formula"].to_pylist()) == {"FLiO", "F2LiO", "FLi2O", "FLiO2"}
    assert "oxidation_states" not in table.column_names


def test_a_shard_without_survivors(filled, cli, monkeypatch):
    monkeypatch.setattr("flows.screen.SHARD", 4)  # one system; there is no anion in Li-Na-K
    limits = ("--elements", "Li,Na,K,O,F", "--max-atoms", 4, "--known", "none")
    result = cli("screen", "ternaries", "--model", "small", *limits)
    assert result.exit_code == 0, result.output
    assert "40 generated" in result.stdout


def test_verify_finds_a_flipped_byte(filled, cli):
    for kind in KINDS:
        result = cli("verify", f"{kind}/latest")
        assert result.exit_code == 0, result.output
        assert "files are as published" in result.stdout
    model = Store(filled).open("models/small")
    path = Path(model.path(WEIGHTS))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = cli("verify", "models/small")
    assert result.exit_code == 1
    assert f"damaged: {WEIGHTS} has another content than when it was published" in result.stderr
    assert f"remove {model.url} and run the command that made it again" in result.stderr


def test_ls(filled, cli):
    result = cli("ls")
    assert result.exit_code == 0
    store = Store(filled)
    for kind in KINDS:
        assert store.open("latest", kind).id in result.stdout
    assert "latest, small" in result.stdout
    assert "2,135" in result.stdout
    assert "features" not in cli("ls", "models").stdout


# a table of the user's own ------------------------------------------------------------------------


def table(rows):
    return "comp,energy_ev,role,note [x]\n" + "".join(
        f"{formula},{energy},{role},a\n" for formula, energy, role in rows
    )


ROWS = [(f"Na{i}Cl{i + 1}", i / 7, "train") for i in range(1, 60)]
ROWS += [(f"Mg{i}O{i + 1}", i / 9, "val") for i in range(1, 8)]


@pytest.fixture
def train(cli, store, cluster, monkeypatch, tmp_path):
    """Train on rows and return the model's files."""
    monkeypatch.setenv("IRNET_DASK_ADDRESS", cluster)

    def run(rows, *options):
        path = tmp_path / "table.csv"
        path.write_text(table(rows))
        result = cli("train", "--data", path, "--formula-column", "comp", *TRAIN, *options)
        assert result.exit_code == 0, result.output
        model = Store(store).open("models/latest")
        return model.read_bytes(WEIGHTS), json.loads(model.read_bytes(CARD)), result

    return run


def test_test_rows_are_never_read(train, store):
    test = [("KBr", 1.5, "test"), ("K2Br", 2.5, "test")]
    weights, card, _ = train(ROWS + test)
    # other formulas, values missing or huge; one more that has no features
    poison = [("CsI", "", "test"), ("Fe2O3", "1e30", "test"), ("OgO", "", "test")]
    poisoned, poisoned_card, _ = train(ROWS + poison)
    assert poisoned == weights
    assert poisoned_card["history"] == card["history"]
    assert poisoned_card["metrics"] == card["metrics"]
    assert card["split"] == {"kind": "given", "column": "role", "test_rows_left_out": 2}
    assert card["unit"] == "eV"
    features = Store(store).open("features/latest")
    rejected = features.read_table("failed.parquet").to_pylist()
    assert [(row["row"], row["reason"]) for row in rejected] == [
        (68, "no Magpie data for element 'Og'")
    ]


def test_rows_without_an_element_are_rejected_with_the_reason(train, store):
    _, card, result = train([("Xx2O", 1.0, "train"), ("OgO", 2.0, "train"), *ROWS])
    assert card["data"]["rows"] == {"train": 59, "validation": 7}
    store = Store(store)
    for kind, file, row, reason in (
        ("snapshots", "rejected.parquet", 0, "unknown element 'Xx'"),
        ("features", "failed.parquet", 1, "no Magpie data for element 'Og'"),
    ):
        rejected = store.open("latest", kind).read_table(file).to_pylist()
        assert [(r["row"], r["reason"]) for r in rejected] == [(row, reason)]
    assert "\n1 of 68 rows cannot be used: unknown element 'Xx' (1); see " in result.stdout
    assert (
        "\n1 of 67 rows cannot be used: no Magpie data for element 'Og' (1); see " in result.stdout
    )


def test_a_seed_is_another_model(train):
    weights, card, _ = train(ROWS)
    other, other_card, _ = train(ROWS, "--seed", 1)
    assert weights != other
    assert (card["seed"], other_card["seed"]) == (0, 1)


def test_another_name_is_the_same_model(train, store):
    weights, card, result = train(ROWS, "--name", "one")
    again, _, other = train(ROWS, "--name", "two")
    assert again == weights
    assert "train: done" in result.stderr
    assert "train: done" not in other.stderr
    assert Store(store).open("models/one").id == Store(store).open("models/two").id
    assert card["name"] == "one"


def test_progress_adds_up(train, monkeypatch):
    monkeypatch.setattr("flows.progress.SECONDS_BETWEEN_LINES", 0.0)
    *_, result = train(ROWS)
    lines = [line for line in result.stderr.splitlines() if line.startswith("train: ")]
    done, total = lines[-2].split()[1], lines[-2].split()[3]
    assert done == total.rstrip(",")
