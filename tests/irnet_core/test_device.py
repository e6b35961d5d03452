"""Devices by name; no test here needs a GPU."""

import pytest
import torch

from irnet_core.device import pick_device
from irnet_core.errors import ModelError


def test_devices_that_are_there(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert pick_device() == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ModelError, match="'cuda:2' is not there: the last is cuda:1"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["meta", "mps", "xpu", "tpu", "gpu0", ""])
def test_devices_that_are_none(name):
    with pytest.raises(ModelError, match=f"device {name!r} is not known: use auto, cpu, cuda or"):
        pick_device(name)


def test_no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device() == torch.device("cpu")
    with pytest.raises(ModelError, match="no CUDA device can be used, take cpu"):
        pick_device("cuda")
