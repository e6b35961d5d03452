import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from irnet_core import bundle
from irnet_core.bundle import Bundle, Card
from irnet_core.errors import ModelError
from irnet_core.inference import Predictor
from irnet_core.judging import judged
from irnet_core.networks import Network
from irnet_core.notation import with_spread
from irnet_core.recipes import recipe
from irnet_core.training import Start, TrainingData, fit

NETWORK = "32BARx2-16BARx1-1"
CPU = torch.device("cpu")
FP32 = {"precision": "fp32"}  # of a recipe


def make(n, n_validation, seed=0):
    """Rows whose noise grows tenfold with the second input."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + n_validation, 3)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) + np.where(x[:, 1] > 0, 0.3, 0.03) * rng.laplace(size=len(x))
    return TrainingData(x[:n], y[:n].copy(), x[n:], y[n:].copy())


def bundle_of(fits, weights="float32"):
    notation = fits[0].network.notation
    inputs = [{"name": "one", "hash": "00", "columns": 3}]
    card = Card(
        *("small", notation, "gap_ev", "eV", inputs, FP32, 0, 1, 1, {}, {}, {}),
        members=[{"seed": i} for i in range(len(fits))],
        weights=weights,
    )
    return Bundle(card, tuple(one.network for one in fits), fits[0].inputs, fits[0].target)


@pytest.fixture(scope="module")
def data():
    return make(4000, 2000)


@pytest.fixture(scope="module")
def fits(data):
    chosen = recipe("modern").with_epochs(12)
    return [fit(data, NETWORK, chosen, seed=seed) for seed in range(2)]


@pytest.fixture(scope="module", params=[1, 2])
def model(request, fits, data):
    made = bundle_of(fits[: request.param])
    return judged(made, data, device=CPU, seed=0)


def test_intervals_cover_rows_never_seen(model):
    new = make(0, 4000, seed=9)
    found = Predictor(model, precision="fp32").predict(new.validation_x)
    y = torch.from_numpy(new.validation_y)
    covered = (found.lower_90 <= y) & (y <= found.upper_90)
    assert float(covered.double().mean()) == pytest.approx(0.9, abs=0.025)
    # quiet and noisy rows have intervals of their own width
    noisy = torch.from_numpy(new.validation_x[:, 1] > 0.3)
    quiet = torch.from_numpy(new.validation_x[:, 1] < -0.3)
    width = found.upper_90 - found.lower_90
    assert width[noisy].mean() > 1.5 * width[quiet].mean()
    assert float(covered[noisy].double().mean()) == pytest.approx(0.9, abs=0.06)
    assert model.card.metrics["coverage"]["coverage_90"] == pytest.approx(0.9, abs=0.03)
    assert model.card.metrics["coverage"]["rows"] == 1000


def test_predictions_are_what_the_metrics_say(model, data):
    predictor = Predictor(model, precision="fp32")
    found = predictor.predict(data.validation_x)
    mae = np.abs(found.mean.numpy() - data.validation_y).mean()
    assert model.card.metrics["validation"]["mae"] == pytest.approx(mae, rel=1e-6)
    assert torch.equal(predictor(data.validation_x), found.mean)
    assert all(value.dtype == torch.float64 for value in found)
    assert (found.std > 0).all()
    bins = model.card.metrics["domain"]
    assert sum(one["rows"] for one in bins) == 2000
    assert sum(one["mae"] * one["rows"] for one in bins) / 2000 == pytest.approx(mae, rel=1e-6)


def test_rows_far_away_are_outside_the_domain(model, data):
    predictor = Predictor(model, precision="fp32")
    inside = predictor.predict(data.train_x).domain_percentile
    assert float(inside.mean()) == pytest.approx(50, abs=2)
    assert (predictor.predict(30 * data.train_x[:200]).domain_percentile > 99).double().mean() > 0.9


def test_probability_below(model, data):
    predictor = Predictor(model, precision="fp32")
    mean, std, low, _, _ = predictor.predict(data.validation_x)
    found = predictor.probability_below(mean, std, low)
    torch.testing.assert_close(found, torch.full_like(found, 0.05))
    below = predictor.probability_below(mean, std, 0.5)
    truth = data.validation_y < 0.5
    assert float(below.mean()) == pytest.approx(truth.mean(), abs=0.03)
    bare = replace(model, card=replace(model.card, calibration={}))
    with pytest.raises(ModelError, match=r"^model 'small' has no calibrated intervals, so no prob"):
        Predictor(bare).probability_below(mean, std, 0.5)


def test_judging_survives_packing(model, data):
    again = bundle.unpack(bundle.pack(model), "here")
    one = Predictor(model).predict(data.validation_x)
    other = Predictor(again).predict(data.validation_x)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_spread_of_an_ensemble_written_out(fits, data):
    scaled = fits[0].inputs.forward(torch.from_numpy(data.validation_x))
    with torch.no_grad():
        outputs = [one.network(scaled).double() for one in fits]
    unit, center = float(fits[0].target.scale), float(fits[0].target.center)
    means = torch.stack([out[:, 0] for out in outputs]) * unit + center
    within = torch.stack([2 * (out[:, 1].exp() * unit) ** 2 for out in outputs]).mean(0)
    between = ((means - means.mean(0)) ** 2).sum(0)  # of two members, one degree of freedom
    raw = Predictor(bundle_of(fits), precision="fp32").raw(data.validation_x)
    torch.testing.assert_close(raw.mean, means.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(raw.spread, (within + between).sqrt(), rtol=1e-3, atol=1e-4)


def test_bfloat16_weights_hardly_change_the_error(fits, data):
    found = judged(bundle_of(fits[:1], "bfloat16"), data, device=CPU, seed=0)
    metrics = found.card.metrics
    before = metrics["validation_mae_before_rounding"]
    assert metrics["validation"]["mae"] == pytest.approx(before, rel=0.005)
    assert metrics["validation"]["mae"] != before
    again = bundle.unpack(bundle.pack(found), "here")
    one = Predictor(found).predict(data.validation_x).mean
    assert torch.equal(one, Predictor(again).predict(data.validation_x).mean)


def test_without_spread_all_rows_have_one_width(data):
    chosen = replace(recipe("modern").with_epochs(3), spread=False)
    found = judged(bundle_of([fit(data, NETWORK, chosen)]), data, device=CPU, seed=0)
    prediction = Predictor(found, precision="fp32").predict(data.validation_x)
    width = prediction.upper_90 - prediction.lower_90
    torch.testing.assert_close(width, width[:1].expand_as(width))
    assert Predictor(found).raw(data.validation_x).spread is None


def test_a_network_that_predicts_no_numbers_gets_no_card(fits, data):
    made = bundle_of([replace(fits[0], network=copy.deepcopy(fits[0].network))])
    with torch.no_grad():
        made.networks[0].output.bias.fill_(torch.nan)
    with pytest.raises(ModelError, match="predicts no finite number for 2,000 of 2,000 rows"):
        judged(made, data, device=CPU, seed=0)


def test_too_few_validation_rows_calibrate_nothing():
    few = make(300, 39)
    made = bundle_of([fit(few, NETWORK, recipe("modern").with_epochs(2))])
    found = judged(made, few, device=CPU, seed=0)
    assert found.card.calibration == {}
    assert "coverage" not in found.card.metrics
    prediction = Predictor(found).predict(few.validation_x)
    assert prediction.std is prediction.lower_90 is prediction.upper_90 is None
    assert prediction.domain_percentile is not None
    bundle.unpack(bundle.pack(found), "here")


@pytest.mark.slow
def test_continuing_a_model_of_a_related_target_helps_few_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9000, 6)).astype(np.float32)
    y = np.sin(2 * x[:, 0]) * x[:, 1] + np.abs(x[:, 2]) * x[:, 3]
    wide = "64BARx3-32BARx1-1"
    parent = fit(
        TrainingData(x[:8000], y[:8000], x[8000:], y[8000:]), wide, recipe("modern").with_epochs(20)
    )
    assert parent.network.notation == with_spread(wide)
    few = TrainingData(x[:150], 3 * y[:150] + 5, x[8000:], 3 * y[8000:] + 5)
    chosen = recipe("modern").with_epochs(40)
    scratch = fit(few, wide, chosen)
    start = Start(parent.network, parent.inputs, parent.target)
    continued = fit(few, wide, chosen.for_transfer(same_target=False), start=start)
    assert continued.progress.best_mae < 0.7 * scratch.progress.best_mae


def test_rounding_touches_matrices_alone():
    network = Network(with_spread(NETWORK), 3).eval()
    found = bundle.rounded(network, "bfloat16")
    for name, value in network.state_dict().items():
        expected = value.bfloat16().float() if value.ndim == 2 else value
        assert torch.equal(found.state_dict()[name], expected)
