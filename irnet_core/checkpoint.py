"""Training state that survives a kill: tensors and a few numbers in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Protocol

import safetensors
import safetensors.torch
from torch import Tensor

from irnet_core.errors import TrainingError

CHECKPOINT = "checkpoint.safetensors"


class Folder(Protocol):
    """Where checkpoints are kept: named byte strings, each replaced atomically."""

    def has(self, name: str) -> bool: ...  # noqa: D102

    def read_bytes(self, name: str) -> bytes: ...  # noqa: D102

    def write_bytes(self, name: str, data: bytes) -> object: ...  # noqa: D102


@dataclass(frozen=True)
class Prefixed:
    """A folder within a folder: each name is written with a prefix."""

    folder: Folder
    prefix: str

    def has(self, name: str) -> bool:  # noqa: D102
        return self.folder.has(self.prefix + name)

    def read_bytes(self, name: str) -> bytes:  # noqa: D102
        return self.folder.read_bytes(self.prefix + name)

    def write_bytes(self, name: str, data: bytes) -> object:  # noqa: D102
        return self.folder.write_bytes(self.prefix + name, data)


@dataclass(frozen=True)
class Evaluation:
    """Validation error after some epochs, in the target's unit."""

    epoch: int
    train_loss: float
    validation_mae: float


@dataclass
class Progress:
    """Everything about a training run that is not a tensor."""

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_mae: float = float("inf")
    history: list[Evaluation] = field(default_factory=list)


Groups = dict[str, dict[str, Tensor]]
"""Tensors of the parts of a run, by the names of the parts, which have no full stop."""


REMEDY = "delete the run's folder in the store's .staging, and start anew"


def save(folder: Folder, groups: Groups, progress: Progress) -> None:
    """Write a checkpoint; the previous one stays valid until the new one is whole.

    Parameters
    ----------
    folder : Folder
    groups : dict of dict of torch.Tensor
        Tensors by part and name, see :data:`Groups`.
    progress : Progress
    """
    metadata = {"progress": json.dumps(asdict(progress))}
    data = {
        f"{group}.{name}": tensor.detach().cpu().contiguous()
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }
    folder.write_bytes(CHECKPOINT, safetensors.torch.save(data, metadata=metadata))


def load(folder: Folder) -> tuple[Groups, Progress] | None:
    """The last checkpoint, or None if there is none yet.

    Raises
    ------
    TrainingError
        If the file is damaged.
    """
    if not folder.has(CHECKPOINT):
        return None
    data = folder.read_bytes(CHECKPOINT)
    try:
        tensors = safetensors.torch.load(data)
        # the header: eight bytes of length, then JSON
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        state = json.loads(header["__metadata__"]["progress"])
        history = [Evaluation(**entry) for entry in state.pop("history")]
        groups: Groups = {}
        for name, tensor in tensors.items():
            group, _, key = name.partition(".")
            groups.setdefault(group, {})[key] = tensor
        return groups, Progress(**state, history=history)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{CHECKPOINT} is damaged ({error}): {REMEDY}") from error
