"""From training to predictions on each device that there is; on the CPU, the same in bfloat16."""

import numpy as np
import pytest
import torch

from irnet_core.bundle import Bundle, Card
from irnet_core.checkpoint import CHECKPOINT
from irnet_core.elements import N_ELEMENTS
from irnet_core.inference import Predictor
from irnet_core.judging import judged
from irnet_core.recipes import recipe
from irnet_core.training import ScaledData, TrainingData, fit
from irnet_core.training_run import Run

NETWORK = "16EPx2-32BARx2-16BARx1-1"
N_INPUTS = 3 + N_ELEMENTS
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)


class InMemory(dict):
    """A folder of checkpoints."""

    has, read_bytes, write_bytes = dict.__contains__, dict.__getitem__, dict.__setitem__


@pytest.fixture(scope="module")
def data():
    """Ternaries of 20 elements, whose target is a sum over them."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1200, N_INPUTS)).astype(np.float32)
    x[:, 3:] = 0
    for row in x:
        row[3 + draw.choice(20, 3, replace=False)] = draw.dirichlet([2, 2, 2])
    y = x[:, 3:] @ draw.normal(size=N_ELEMENTS) + 0.1 * np.tanh(x[:, 0])
    return TrainingData(x[:900], y[:900], x[900:], y[900:], fractions=True)


@pytest.fixture(scope="module", params=["cpu", CUDA])
def device(request):
    return torch.device(request.param)


@pytest.fixture(scope="module")
def model(data, device):
    chosen = recipe("modern").with_epochs(6)
    fits = [fit(data, NETWORK, chosen, device=device, seed=seed) for seed in range(2)]
    assert {p.device.type for one in fits for p in one.network.parameters()} == {"cpu"}
    inputs = [
        {"name": "one", "hash": "00", "columns": 3},
        {"name": "fractions", "hash": "01", "columns": N_ELEMENTS},
    ]
    card = Card(
        *("small", fits[0].network.notation, "y", "eV", inputs, {}, 0, 6, 6, {}, {}, {}),
        members=[{"seed": seed} for seed in range(2)],
        weights="bfloat16",
    )
    made = Bundle(card, tuple(one.network for one in fits), fits[0].inputs, fits[0].target)
    return judged(made, data, device=device, seed=0)


def test_it_learns_there(model, data):
    always = np.abs(data.validation_y - np.median(data.train_y)).mean()
    assert model.card.metrics["validation"]["mae"] < 0.3 * always
    assert model.card.metrics["coverage"]["coverage_90"] == pytest.approx(0.9, abs=0.08)


def test_predictions_there_are_those_of_the_cpu(model, data, device):
    here = Predictor(model, torch.device("cpu"), "fp32").predict(data.validation_x)
    for precision, tolerance in (("fp32", 1e-3), ("auto", 0.1)):
        there = Predictor(model, device, precision)
        found = there.predict(data.validation_x)
        typical = float(here.std.median())
        for column, wanted in zip(found[:4], here[:4], strict=True):
            assert column.device.type == device.type
            far = (column.cpu() - wanted).abs().mean()
            assert float(far) < tolerance * typical
        chance = there.probability_below(found.mean, found.std, 0.0)
        assert ((chance >= 0) & (chance <= 1)).all()
        percentile = (found.domain_percentile.cpu() - here.domain_percentile).abs().mean()
        assert float(percentile) < 20 * tolerance


def test_a_checkpoint_goes_on_there(data, device):
    chosen = recipe("modern").with_epochs(4)
    scaled = ScaledData(data, chosen, device, None)
    first = Run(scaled, NETWORK, chosen, 0, None)
    for _ in range(2):
        for _ in first.epoch():
            pass
    folder = InMemory()
    first.save(folder)
    second = Run(scaled, NETWORK, chosen, 0, None)
    assert second.restore(folder) == 2
    written = folder[CHECKPOINT]
    second.save(folder)
    assert folder[CHECKPOINT] == written  # nothing is lost: not the optimiser's state either
    for run in (first, second):
        while not run.finished:
            for _ in run.epoch():
                pass
    one, other = (run.fitted(0).progress for run in (first, second))
    assert one.step == other.step
    # on a GPU sums come in any order
    tolerance = 0.0 if device.type == "cpu" else 0.1
    assert other.best_mae == pytest.approx(one.best_mae, rel=tolerance, abs=0)
