"""What `irnet evaluate` draws."""

import pytest
from matplotlib.figure import Figure

from flows import evaluate_figure


def model(label, domain, coverage):
    return {"label": label, "all": {"domain": domain, "coverage": coverage}, "below": None}


DOMAIN = [
    {"from": 0.0, "to": 10.0, "rows": 5, "mae": 0.1},
    {"from": 90.0, "to": 100.0, "rows": 2, "mae": 0.4},
]
COVERAGE = [{"level": 0.5, "covered": 0.48}, {"level": 0.9, "covered": 0.91}]


@pytest.fixture
def drawn(monkeypatch):
    """The figure that was drawn last, before it became a file."""
    kept: list[Figure] = []
    real = evaluate_figure.png
    monkeypatch.setattr(evaluate_figure, "png", lambda figure: kept.append(figure) or real(figure))
    return kept


def test_lines_are_the_figures(drawn):
    models = [model("a", DOMAIN, COVERAGE), model("plain", None, None)]
    found = {"models": models, "counts": {"judged": 1234}, "rule": "cluster:5/2", "below": None}
    content = evaluate_figure.figure(found | {"target": "gap_ev", "unit": "eV"})
    assert content.startswith(b"\x89PNG")
    domain, intervals = drawn[0].axes
    (line,) = domain.lines
    assert line.get_xydata().tolist() == [[5.0, 0.1], [95.0, 0.4]]
    assert domain.get_title() == "1,234 rows, cluster:5/2"
    assert domain.get_ylabel() == "MAE of gap_ev, eV"
    assert [line.get_label() for line in intervals.lines] == ["a", "as promised"]
    assert intervals.lines[0].get_xydata().tolist() == [[50.0, 48.0], [90.0, 91.0]]


def test_models_without_a_domain_leave_an_empty_panel(drawn):
    found = {"models": [model("plain", None, None)], "counts": {"judged": 3}, "rule": None}
    found["below"] = None
    assert evaluate_figure.figure(found | {"target": "y", "unit": "as given"})
    assert not drawn[0].axes[0].lines


def test_faulty_rows_that_were_named_are_not_drawn(drawn):
    one = model("a", DOMAIN, COVERAGE) | {"below": {"domain": DOMAIN[1:], "coverage": None}}
    found = {"models": [one], "counts": {"judged": 9}, "rule": None, "below": 10.0}
    evaluate_figure.figure(found | {"target": "y", "unit": "eV"})
    domain, intervals = drawn[0].axes
    assert domain.lines[0].get_xydata().tolist() == [[95.0, 0.4]]
    assert domain.get_title() == "9 rows, without those beyond 10"
    assert [line.get_label() for line in intervals.lines] == ["as promised"]
