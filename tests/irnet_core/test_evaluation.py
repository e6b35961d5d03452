import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from irnet_core.bundle import Bundle, Card
from irnet_core.calibration import Calibration
from irnet_core.domain import Domain
from irnet_core.errors import DataError
from irnet_core.evaluation import LEVELS, Outputs, cost, evaluation, first_member, outputs
from irnet_core.inference import Predictor
from irnet_core.networks import Network
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler

NOTATION = "8BARx1-1"
UNBOUNDED = TargetScaler.identity()


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    n = 6000
    spread = rng.uniform(0.1, 1, n)
    truth = rng.normal(size=n)
    mean = truth + spread * rng.normal(size=n)
    return truth, Outputs(mean, spread, rng.uniform(0, 100, n))


def test_errors_are_those_of_scikit_learn(found):
    truth, outputs_ = found
    judged = evaluation(truth, outputs_, None, UNBOUNDED)
    assert judged["rows"] == len(truth)
    assert judged["mae"] == pytest.approx(mean_absolute_error(truth, outputs_.mean))
    assert judged["rmse"] == pytest.approx(root_mean_squared_error(truth, outputs_.mean))
    assert judged["r2"] == pytest.approx(r2_score(truth, outputs_.mean))
    always = np.full(len(truth), np.median(truth))
    assert judged["mae_of_median"] == pytest.approx(mean_absolute_error(truth, always))
    assert judged["coverage"] is None


def test_intervals_cover_what_they_say_on_rows_drawn_alike_and_less_on_others(found):
    truth, outputs_ = found
    first, rest = np.arange(3000), np.arange(3000, 6000)
    fitted = outputs_.of(first)
    calibration = Calibration.fit(truth[first], fitted.mean, fitted.spread)
    judged = evaluation(truth[rest], outputs_.of(rest), calibration, UNBOUNDED)
    assert [entry["level"] for entry in judged["coverage"]] == list(LEVELS)
    for entry in judged["coverage"]:
        assert entry["covered"] == pytest.approx(entry["level"], abs=0.025)
    # by hand, for one level
    low, high = calibration.quantile(0.05), calibration.quantile(0.95)
    scale = outputs_.spread[rest] + calibration.floor
    if calibration.power != 1:
        ends = calibration.low, calibration.high
        scale = scale * (scale.clip(*ends) / math.sqrt(math.prod(ends))) ** (calibration.power - 1)
    error = truth[rest] - outputs_.mean[rest]
    covered = (low * scale <= error) & (error <= high * scale)
    assert judged["coverage"][2]["covered"] == pytest.approx(covered.mean(), abs=1e-3)
    assert judged["coverage"][2]["mean_width"] == pytest.approx(((high - low) * scale).mean())
    shifted = evaluation(truth[rest] + 2, outputs_.of(rest), calibration, UNBOUNDED)
    assert shifted["coverage"][2]["covered"] < 0.5


def test_deciles_of_the_domain(found):
    truth, outputs_ = found
    error, percentile = np.abs(outputs_.mean - truth), outputs_.percentile
    for i, entry in enumerate(evaluation(truth, outputs_, None, UNBOUNDED)["domain"]):
        rows = (percentile >= 10 * i) & (percentile < 10 * (i + 1))
        assert (entry["from"], entry["rows"]) == (10 * i, rows.sum())
        assert entry["mae"] == pytest.approx(error[rows].mean())


@pytest.mark.parametrize("truth", [[], [1.0, np.nan]])
def test_rows_without_values_are_refused(truth):
    with pytest.raises(DataError, match="at least one row, each with a finite value"):
        evaluation(np.array(truth), Outputs(np.ones(len(truth)), None, None), None, UNBOUNDED)


@pytest.fixture(scope="module")
def ensemble():
    torch.manual_seed(0)
    networks = tuple(Network(NOTATION, 3).eval() for _ in range(3))
    inputs = [{"name": "one", "hash": "00", "columns": 3}]
    card = Card(
        *("small", NOTATION, "gap_ev", "eV", inputs, {}, 0, 1, 1, {}, {}, {}),
        members=[{"seed": i} for i in range(3)],
        domain={"rows": 100},
    )
    one = Scaler(torch.zeros(3), torch.ones(3))
    target = TargetScaler(torch.zeros(1), torch.ones(1))
    domain = Domain.fit(torch.randn(100, networks[0].n_hidden))
    return Bundle(card, networks, one, target, domain)


def test_batches_do_not_matter(ensemble):
    x = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    predictor = Predictor(ensemble, precision="fp32")
    whole, parts = outputs(predictor, [x]), outputs(predictor, [x[:7], x[7:]])
    for one, other in zip(vars(whole).values(), vars(parts).values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    members = [
        Predictor(replace(ensemble, networks=(n,)), precision="fp32") for n in ensemble.networks
    ]
    each = np.stack([member(x).numpy() for member in members])
    np.testing.assert_allclose(whole.mean, each.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.spread, each.std(0, ddof=1), rtol=1e-4, atol=1e-6)


def test_cost_of_a_single_and_of_all(ensemble, monkeypatch):
    monkeypatch.setattr("irnet_core.evaluation.TIMED_ROWS", 64)
    x = np.zeros((5, 3), np.float32)
    single = first_member(ensemble)
    assert len(single.card.members) == 1
    all_, one = (cost(b, Predictor(b), x) for b in (ensemble, single))
    # 3 x 8 weights and 8 biases, batch norm 2 x 8, a shortcut of 3 x 8 + 8, and 8 + 1 at the end
    assert one["parameters"] == 32 + 16 + 32 + 9
    assert all_["parameters"] == 3 * one["parameters"]
    assert (one["members"], all_["members"]) == (1, 3)
    assert one["weights_bytes"] < all_["weights_bytes"]
    assert one["rows_per_second"] > 0
    assert one["threads"] == torch.get_num_threads()
