import json

import pytest
import safetensors.torch
import torch
from standins.memory import Memory

from irnet_core import checkpoint
from irnet_core.checkpoint import CHECKPOINT, Evaluation, Progress
from irnet_core.errors import TrainingError

GROUPS = {
    "network": {"layer.weight": torch.randn(3, 2), "transposed": torch.randn(2, 3).T},
    "optimizer 0": {"step": torch.tensor(4.0)},
    "average": {"count": torch.tensor(7)},
}
PROGRESS = Progress(3, 12, 2, 0.1, [Evaluation(2, 0.25, 0.1), Evaluation(3, 0.2, float("nan"))])


@pytest.fixture
def folder():
    memory = Memory()
    checkpoint.save(memory, GROUPS, PROGRESS)
    return memory


def test_round_trip_is_exact(folder):
    groups, progress = checkpoint.load(folder)
    assert groups.keys() == GROUPS.keys()
    for group, tensors in GROUPS.items():
        assert groups[group].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(groups[group][name], tensor)
            assert groups[group][name].dtype == tensor.dtype
    assert str(progress) == str(PROGRESS)  # NaN is not equal to itself


def test_no_evaluation_yet(folder):
    checkpoint.save(folder, GROUPS, Progress(epoch=1))
    assert checkpoint.load(folder)[1] == Progress(epoch=1)
    assert checkpoint.load(folder)[1].best_mae == float("inf")


def test_none_yet():
    assert checkpoint.load(Memory()) is None


def test_it_is_one_file_without_pickle(folder):
    assert list(folder) == [CHECKPOINT]
    assert safetensors.torch.load(folder[CHECKPOINT]).keys() == {
        "network.layer.weight",
        "network.transposed",
        "optimizer 0.step",
        "average.count",
    }


def with_progress(text):
    return safetensors.torch.save(
        {"x": torch.zeros(1)}, None if text is None else {"progress": text}
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:50],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: with_progress(None),
        lambda data: with_progress("{"),
        lambda data: with_progress("[]"),
        lambda data: with_progress(json.dumps({"history": [{"epoch": 1}]})),
        lambda data: with_progress(json.dumps({"history": [], "unknown": 1})),
        lambda data: with_progress(json.dumps({"history": 3})),
    ],
)
def test_damage(folder, damage):
    folder[CHECKPOINT] = damage(folder[CHECKPOINT])
    with pytest.raises(
        TrainingError, match=f"^{CHECKPOINT} is damaged .*: delete the run's folder"
    ):
        checkpoint.load(folder)
