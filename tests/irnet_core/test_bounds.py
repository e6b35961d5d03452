"""A target that its values' end bounds: no prediction and no interval lies beyond."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irnet_core import bundle
from irnet_core.bounds import OPEN, ROWS, bounds_of
from irnet_core.bundle import Bundle, Card
from irnet_core.calibration import honest_coverage
from irnet_core.errors import ModelError
from irnet_core.evaluation import evaluation, outputs
from irnet_core.inference import Predictor
from irnet_core.judging import judged
from irnet_core.recipes import recipe
from irnet_core.references import TargetScaler
from irnet_core.screening.estimates import Estimate
from irnet_core.screening.objectives import objective
from irnet_core.training import Start, TrainingData, fit


def of(*values, rows=1000):
    """Bounds of a target that has these values, and else rises from 1 to 2."""
    y = np.linspace(1, 2, rows)
    y[: len(values)] = values
    found = bounds_of(y)
    return None if found is None else found.tolist()


def test_an_end_that_many_rows_have_is_a_bound():
    assert of(*[0.1] * ROWS) == [0.1, OPEN]
    assert of(*[7.0] * ROWS) == [-OPEN, 7.0]
    assert of(*[0.1] * ROWS, *[7.0] * ROWS) == [0.1, 7.0]


def test_one_that_few_have_is_none():
    assert of() is None
    assert of(*[0.0] * (ROWS - 1)) is None
    assert of(*[0.0] * ROWS, rows=100 * ROWS + 100) is None  # less than a hundredth
    assert of(-1.0, *[0.0] * 500) is None  # one below: zero is no end
    assert bounds_of(np.full(100, 3.0)) is None
    assert bounds_of(np.linspace(0, 5, 900).round(1)) is None  # each value has many rows


def test_yes_and_no_are_bounds():
    assert bounds_of(np.repeat([0.0, 1.0], [60, 40])).tolist() == [0, 1]
    assert bounds_of(np.repeat([0.0, 1.0], [95, 5])).tolist() == [0, OPEN]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(-1e6, 1e6))
def test_no_row_of_the_target_is_out_of_its_bounds(some, end):
    y = np.array([*some, *[end] * ROWS])
    scaler = TargetScaler(torch.zeros(1), torch.ones(1), None, bounds_of(y))
    values = torch.from_numpy(y)
    assert torch.equal(scaler.within(values), values)


@pytest.fixture(scope="module")
def data():
    """Half of the values zero, the rest above."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1900, 3)).astype(np.float32)
    y = np.maximum(0, x[:, 0] + 0.1 * rng.normal(size=len(x)))
    return TrainingData(x[:1300], y[:1300], x[1300:], y[1300:])


@pytest.fixture(scope="module")
def made(data):
    fitted = fit(data, "16BARx2-1", recipe("modern").with_epochs(4))
    inputs = [{"name": "one", "hash": "00", "columns": 3}]
    card = Card(
        *("small", fitted.network.notation, "gap", "eV", inputs, {"precision": "fp32"}),
        *(0, 1, 1, {}, {}, {}),
        members=[{"seed": 0}],
    )
    return Bundle(card, (fitted.network,), fitted.inputs, fitted.target)


@pytest.fixture(scope="module")
def model(made, data):
    return judged(made, data, device=torch.device("cpu"), seed=0)


def test_predictions_and_intervals_keep_to_them(model, data):
    predictor = Predictor(model, precision="fp32")
    free = Predictor(replace(model, target=replace(model.target, bounds=None)), precision="fp32")
    found, raw = predictor.predict(data.validation_x), free.predict(data.validation_x)
    assert (raw.mean < 0).any()
    assert (raw.lower_90 < 0).any()
    for bounded, before in zip(found[:4], raw[:4], strict=True):
        assert torch.equal(bounded, before.clamp_min(0))  # the std, never negative, is the same
    assert torch.equal(predictor(data.validation_x), found.mean)
    for one, other in zip(predictor.unbounded(data.validation_x), raw, strict=True):
        assert torch.equal(one, other)


def test_a_ranking_tells_apart_what_lies_at_a_bound(model, data):
    predictor = Predictor(model, precision="fp32")
    raw = predictor.unbounded(data.validation_x)
    found = Estimate(raw.mean, raw.std, raw.lower_90, raw.upper_90, None, predictor.target.within)
    columns, bounded = found.columns("gap"), predictor.predict(data.validation_x)
    assert torch.equal(columns["gap"], bounded.mean)
    assert torch.equal(columns["gap_lower_90"], bounded.lower_90)
    assert torch.equal(columns["gap_std"], raw.std)
    assert torch.equal(objective("minimise gap").cost(found, "mean"), raw.mean)
    assert (raw.mean < -0.01).any()
    inside = objective("gap in 0..0.5").met(found, "mean")
    assert torch.equal(inside, bounded.mean <= 0.5)
    shifted = found.minus(torch.ones_like(raw.mean)).columns("above")["above"]
    torch.testing.assert_close(shifted, bounded.mean - 1)


def test_a_network_that_continues_has_the_bounds_of_its_own_rows(data, made):
    start = Start(made.networks[0], made.inputs, made.target, same_target=True)
    below = replace(data, train_y=data.train_y - 1)
    fitted = fit(below, "16BARx2-1", recipe("modern").with_epochs(1), start=start)
    assert fitted.target.bounds.tolist() == [-1, OPEN]
    assert torch.equal(fitted.target.scale, made.target.scale)
    of_the_paper = fit(data, "16BARx2-1", recipe("paper").with_epochs(1))
    assert of_the_paper.target.bounds.tolist() == [0, OPEN]


def test_what_is_said_of_the_model_is_of_bounded_predictions(model, data):
    truth, predictor = data.validation_y, Predictor(model, precision="fp32")
    found = predictor.predict(data.validation_x)
    error = np.abs(found.mean.numpy() - truth).mean()
    assert model.card.metrics["validation"]["mae"] == pytest.approx(error)
    raw = outputs(predictor, [data.validation_x])
    said = evaluation(truth, raw, model.calibration, model.target)
    assert said["mae"] == pytest.approx(error)
    errors = sum(entry["rows"] * entry["mae"] for entry in said["domain"])
    assert errors == pytest.approx(error * len(truth))
    ninety = said["coverage"][2]
    width = (found.upper_90 - found.lower_90).numpy()
    assert ninety["mean_width"] == pytest.approx(width.mean())
    without = replace(model.target, bounds=None)
    free = evaluation(truth, raw, model.calibration, without)
    assert ninety["covered"] >= free["coverage"][2]["covered"]
    assert ninety["mean_width"] < free["coverage"][2]["mean_width"]
    bounded, before = (
        honest_coverage(truth, raw.mean, raw.spread, target, 0)
        for target in (model.target, without)
    )
    assert model.card.metrics["coverage"] == bounded
    assert bounded["mean_width_90"] < before["mean_width_90"]


def test_a_file_keeps_them(model):
    files = bundle.pack(model)
    assert torch.equal(bundle.unpack(files, "here").target.bounds, model.target.bounds)
    assert model.target.bounds.tolist() == [0, OPEN]
    without = bundle.pack(replace(model, target=replace(model.target, bounds=None)))
    assert bundle.unpack(without, "here").target.bounds is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.tensor([1.0, 0.0]).double(), "'target.bounds' that do not rise"),
        (torch.tensor([0.0, 1.0]), "'target.bounds' is .*float32.*, not .*float64"),
        (torch.zeros(3).double(), "'target.bounds' is .*, not"),
        (torch.tensor([0.0, float("inf")]).double(), "not finite, in 'target.bounds'"),
    ],
)
def test_others_in_a_file_are_refused(model, wrong, message):
    files = bundle.pack(replace(model, target=replace(model.target, bounds=wrong)))
    with pytest.raises(ModelError, match=message):
        bundle.unpack(files, "here")
