import pandas as pd
import pyarrow as pa
import pytest

from infra.study.columns import CURVES, RESULTS
from infra.study.figures import CURVES as CURVES_PNG
from infra.study.figures import DEPTH, SIZE, figures
from infra.study.page import page
from infra.study.statements import recommendations, verdicts
from irnet_core.schema import arrow_schema

EPOCHS = {"plain": 10, "irnet": 10, "srnet": 10}


def cells(*rows, **common):
    made = []
    for i, (learner, depth, size, mae) in enumerate(rows):
        row = {
            "cell": f"{i:04}",
            "data": "oqmd",
            "target": "e_ev",
            "unit": "eV",
            "inputs": "composition",
            "learner": learner,
            "depth": depth,
            "recipe": "modern" if depth else None,
            "members": 1,
            "status": "done" if mae else "not run",
            "reason": "" if mae else "no time",
            "mae": mae,
            "train_rows": size,
            "rows_at_hand": size,
            "budget_rows": size,
            "budget_epochs": EPOCHS.get(learner),
        }
        made.append(row | common)
    return pa.Table.from_pylist(made, arrow_schema(RESULTS)).to_pandas()


def said(results):
    return [verdict.holds.partition(" (")[0] for verdict in verdicts(results)]


def test_the_paper_holds_where_results_are_the_papers():
    results = cells(
        *(("plain", 10, 100_000, 0.070), ("plain", 48, 100_000, 0.090)),
        *(("irnet", 10, 100_000, 0.050), ("irnet", 48, 100_000, 0.040)),
        *(("forest", None, 100_000, 0.075), ("forest", None, 3_000, 0.1)),
        ("irnet", 17, 3_000, 0.2),
    )
    assert said(results) == ["holds"] * 4
    assert recommendations(results).set_index("rows").recommended.to_dict() == {
        "0 to 2,000": "not run",
        "2,000 to 10,000": "forest",
        "10,000 to 50,000": "not run",
        "from 50,000": "irnet-48",
    }
    assert "irnet-48 0.0400, best classical forest 0.0750 eV (cut +47%)" in page("T", results, [])


def test_the_paper_does_not_hold_where_results_say_so():
    results = cells(
        *(("plain", 10, 100_000, 0.070), ("plain", 48, 100_000, 0.0701)),
        *(("irnet", 10, 100_000, 0.050), ("irnet", 48, 100_000, 0.060)),
        *(("forest", None, 100_000, 0.060), ("forest", None, 3_000, 0.3)),
        ("irnet", 17, 3_000, 0.2),
    )
    assert said(results) == ["does not hold"] * 4


def test_what_was_not_run_is_said():
    results = cells(("irnet", 17, 100_000, None), ("svm", None, 100_000, None))
    assert said(results) == ["not run"] * 4
    text = page("T", results, [])
    assert "| not run | oqmd | composition | 100,000 | no time | irnet, svm |" in text
    assert figures(results, pa.Table.from_pylist([], arrow_schema(CURVES)).to_pandas()) == {}


def test_classical_learners_alone():
    results = cells(("svm", None, 1000, 0.1), ("irnet", 17, 1000, None))
    curves = pa.Table.from_pylist([], arrow_schema(CURVES)).to_pandas()
    assert figures(results, curves) == {}
    assert said(results) == ["not run"] * 4
    assert "## Table 1: depth\n\nNot run." in page("T", results, [])


def test_other_data_and_sizes_are_not_compared():
    results = pd.concat(
        [
            cells(("irnet", 10, 100_000, 0.05)),
            cells(("irnet", 48, 90_000, 0.04)),
            cells(("forest", None, 100_000, 0.01), data="mp"),
            cells(("forest", None, 100_000, 0.01), inputs="both"),
        ]
    )
    assert said(results) == ["not run"] * 4


def test_samples_of_a_learner_are_marked():
    results = cells(("svm", None, 100_000, 0.1), ("irnet", 17, 100_000, 0.2))
    results.loc[0, "train_rows"] = 10_000
    assert "10,000 (sample)" in page("T", results, [])
    assert "classical svm on 10,000 rows 0.1000" in page("T", results, [])


def test_figures_are_pictures_and_repeat():
    results = cells(
        *((f, d, 1000, 0.1 * d) for f in ("plain", "srnet", "irnet") for d in (10, 17)),
        *(("forest", None, n, 100 / n) for n in (1000, 2000)),
    )
    curves = pd.DataFrame(
        [
            {"cell": c, "epoch": e, "train_loss": 1.0, "mae": 1 / e}
            for c in results.cell[:6]
            for e in (1, 2, 3)
        ]
    )
    drawn = figures(results, curves)
    assert set(drawn) == {DEPTH, SIZE, CURVES_PNG}
    assert all(image.startswith(b"\x89PNG") and len(image) < 100_000 for image in drawn.values())
    assert drawn == figures(results, curves)


def test_the_figure_of_sizes_joins_what_differs_in_size_alone(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "infra.study.figures.Axes.plot",
        lambda axis, x, y, **style: drawn.append((style["label"], list(x), list(y))),
    )
    many = [cells(("irnet", 17, n, 0.1)) for n in (100, 200, 300)]
    longer = [cells(("irnet", 17, 200, 0.05), budget_epochs=100)]
    # all rows there are, asked for in two ways: one size
    small = [
        cells(("ridge", None, n, 0.3), data="a", rows_at_hand=50, train_rows=50) for n in (50, 90)
    ]
    two = [cells(("ridge", None, n, 0.2), data="b") for n in (10, 20)]
    every = pd.concat([*small, *two, *many, *longer], ignore_index=True)
    figures(every, pa.table({"cell": []}).to_pandas())
    lines = [line for line in drawn if line[0] in ("irnet-17", "best classical")]
    assert lines == [
        ("irnet-17", [100, 200, 300], [0.1, 0.1, 0.1]),
        ("best classical", [10, 20], [0.2, 0.2]),
    ]


@pytest.mark.parametrize("value", ["a|b", "a\nb"])
def test_reasons_stay_in_their_cell(value):
    results = cells(("svm", None, 10, None), reason=value)
    assert page("T", results, []).count("| failed |") == 0
    line = [row for row in page("T", results, []).splitlines() if row.startswith("| not run |")]
    assert len(line) == 1
    assert line[0].replace("\\|", "").count("|") == 7


def test_ensembles_and_other_networks_are_named_and_compared():
    results = cells(
        ("irnet-elements", None, 100_000, 0.04),
        ("forest", None, 100_000, 0.07),
        ("irnet-elements", None, 100_000, 0.038),
        recipe="modern",
    )
    results.loc[2, "members"] = 2
    assert said(results)[2] == "holds"
    shown = page("Study", results, [])
    assert "irnet-elements (2x) 0.0380" in shown
    assert "| irnet-elements |" in shown


def test_published_errors_stand_beside_ours_where_there_are_any():
    ours = cells(("irnet", 17, 3_000, 0.2), ("forest", None, 3_000, 0.1))
    assert "published" not in page("T", ours, [])
    beside = cells(
        ("irnet", 17, 3_000, 0.2), ("forest", None, 3_000, 0.1), peer="CrabNet", peer_mae=0.25
    )
    text = page("T", beside, []).partition("## Beside published errors")[2]
    table = text.partition("## Budgets")[0]
    assert "| oqmd | irnet-17 | 3,000 | 10 | - | - | 0.2 | CrabNet | 0.25 | eV | 0.8 |" in table
    assert "forest" not in table


def test_inputs_are_compared_within_one_budget():
    results = pd.concat(
        [
            cells(("irnet", 17, 3_000, 0.30), budget_epochs=5),
            cells(("irnet", 17, 3_000, 0.10), budget_epochs=50),
            cells(("irnet", 17, 3_000, 0.20), budget_epochs=50, inputs="structure"),
        ],
        ignore_index=True,
    )
    table = page("T", results, []).partition("## Table 3")[2].partition("## Budgets")[0]
    assert "| oqmd | 3,000 | irnet-17 | modern | 5 | eV | 0.3 | - |" in table
    assert "| oqmd | 3,000 | irnet-17 | modern | 50 | eV | 0.1 | 0.2 |" in table


def test_recommended_is_what_wins_most_and_then_what_is_nearest():
    results = pd.concat(
        [
            cells(*(("irnet", 17, n, 0.100), ("forest", None, n, 0.101), ("svm", None, n, 0.2)))
            for n in (3_000, 4_000)
        ]
        + [cells(("irnet", 17, 5_000, 0.11), ("forest", None, 5_000, 0.1))],
        ignore_index=True,
    )
    found = recommendations(results).set_index("rows").loc["2,000 to 10,000"]
    assert found.to_dict() == {"recommended": "forest", "won": "forest 3 of 3; irnet-17 2 of 3"}
    found = recommendations(results[results.budget_rows < 5_000]).set_index("rows")
    assert found.recommended["2,000 to 10,000"] == "irnet-17"


def test_linear_learners_alone_are_no_classical_side():
    results = cells(("irnet", 17, 60_000, 0.1), ("linear", None, 60_000, 0.5))
    assert said(results)[2] == "not run"
    assert recommendations(results).recommended.tolist() == ["not run"] * 4


def test_a_finished_cell_without_an_error_is_passed_over():
    results = cells(("irnet", 17, 60_000, 0.1), ("forest", None, 60_000, 0.5))
    results.loc[1, "mae"] = float("nan")
    assert said(results)[2] == "not run"
