"""Members that train side by side are what they are alone."""

import threading
import time

import numpy as np
import pytest
import torch
from standins.memory import Memory

from irnet_core import ensemble
from irnet_core.elements import N_ELEMENTS
from irnet_core.ensemble import fit_members
from irnet_core.errors import TrainingError
from irnet_core.recipes import RECIPES
from irnet_core.training import TrainingData, fit

RECIPE = RECIPES["modern"].with_epochs(2)
NETWORKS = ["16Ex1-16BARx2-1", "16BARx3-1"]


def data(n=400):
    """Rows of two to five elements, so that a step has sets of several sizes."""
    random = np.random.default_rng(0)
    fractions = np.zeros((n, N_ELEMENTS), np.float32)
    for i, row in enumerate(fractions):
        chosen = random.permutation(20)[: 2 + i % 4]
        amounts = random.integers(1, 5, len(chosen))
        row[chosen] = amounts / amounts.sum()
    y = fractions[:, :20] @ np.linspace(-2, 2, 20)
    x = np.column_stack([random.normal(size=(n, 3)), fractions]).astype(np.float32)
    return TrainingData(x[: n - 80], y[: n - 80], x[n - 80 :], y[n - 80 :])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def train(notation, members=2, folder=None, report=lambda member, status: None):
    return fit_members(
        data(),
        notation,
        RECIPE,
        seed=3,
        members=members,
        device=torch.device("cpu"),
        folder=Memory() if folder is None else folder,
        report=report,
    )


@pytest.mark.parametrize("notation", NETWORKS)
def test_members_are_what_they_are_alone(notation, two_threads, monkeypatch):
    monkeypatch.setattr("irnet_core.device.has_native_bf16", lambda device: True)
    torch.set_num_threads(1)
    alone = [fit(data(), notation, RECIPE, seed=3 + member) for member in range(2)]
    torch.set_num_threads(2)
    for _ in range(4):
        for one, other in zip(alone, train(notation), strict=True):
            expected = one.network.state_dict()
            for name, value in other.network.state_dict().items():
                assert torch.equal(value, expected[name]), name
    assert torch.get_num_threads() == 2


def test_members_share_their_rows(two_threads, monkeypatch):
    made = []

    class Spy(ensemble.ScaledData):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(ensemble, "ScaledData", Spy)
    one, other = train(NETWORKS[1])
    (scaled,) = made
    assert one.inputs is other.inputs is scaled.inputs
    assert one.target is other.target is scaled.target


def test_finished_members_are_not_trained_again(two_threads):
    folder, epochs = Memory(), []
    first = train(NETWORKS[1], folder=folder)
    again = train(
        NETWORKS[1], folder=folder, report=lambda member, status: epochs.append(status.rows_done)
    )
    assert [fitted.resumed_at for fitted in first + again] == [0, 0, 2, 2]


def test_the_error_of_one_member_stops_the_others(two_threads, monkeypatch):
    seen = threading.Event()

    def one(data, notation, recipe, *, seed, report, **rest):
        if seed == 4:
            raise TrainingError("the loss is nan")
        for _ in range(1000):
            report(None)
            time.sleep(0.01)
        seen.set()

    monkeypatch.setattr(ensemble, "fit", one)
    begun = time.monotonic()
    with pytest.raises(TrainingError, match="the loss is nan"):
        train(NETWORKS[1])
    assert time.monotonic() - begun < 5
    assert not seen.is_set()
