"""A model of band gaps, of which many are zero and none is negative, from training to ranking."""

import numpy as np
import pyarrow.csv as pa_csv
import pytest

METALS = ["Li", "Mg", "Fe", "Cu", "La", "Bi", "Ti", "Al"]
ALLOYS = [f"{a}{i}{b}" for a in METALS for b in METALS for i in range(1, 10) if a < b]
SALTS = [f"{a}{i}{b}" for a in METALS for b in ("O", "F", "S", "Cl") for i in range(1, 10)]


@pytest.fixture
def gaps(cli, store, tmp_path):
    """What training said, in a store that has the model `gaps`."""
    rng = np.random.default_rng(0)
    rows = [f"{formula},0" for formula in ALLOYS]
    rows += [f"{formula},{rng.uniform(0.5, 6):.3f}" for formula in SALTS]
    path = tmp_path / "gaps.csv"
    path.write_text("\n".join(["formula,gap_ev", *rows]) + "\n")
    options = ("--target", "gap_ev", "--name", "gaps", "--network", "16BARx1-1", "--epochs", "8")
    result = cli("train", "--data", path, *options)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_no_gap_is_negative(gaps, cli, tmp_path):
    assert "predictions are kept at 0 or above, where many training rows are" in gaps
    (tmp_path / "in.csv").write_text("\n".join(["formula", *ALLOYS]) + "\n")
    output = tmp_path / "out.csv"
    result = cli("predict", "--model", "gaps", "--input", tmp_path / "in.csv", "--output", output)
    assert result.exit_code == 0, result.output
    found = pa_csv.read_csv(output).to_pandas()
    assert found.prediction.min() == found.lower_90.min() == 0
    at_bound = found.formula[found.prediction == 0]
    assert len(at_bound) > 1
    said = cli("explain", at_bound.iloc[0], "--model", "gaps")
    assert ": gap_ev 0.0000" in said.stdout
    assert "the prediction is kept at the bound of the training rows" in said.output

    aim = ("--objective", "minimise gap_ev", "--elements", ",".join(METALS), "--max-atoms", "4")
    result = cli("screen", "binaries", "--model", "gaps", *aim, "--rules", "none", "--top", "30")
    assert result.exit_code == 0, result.output
    result = cli("top", "--limit", "30", "--output", tmp_path / "top.csv")
    assert result.exit_code == 0, result.output
    ranked = pa_csv.read_csv(tmp_path / "top.csv").to_pandas()
    assert ranked.gap_ev.min() == 0
    assert (ranked.gap_ev == 0).sum() > 1
    assert ranked.score.is_unique  # by what the network says, not by the order of candidates
    assert ranked.score.is_monotonic_increasing
