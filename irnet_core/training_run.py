"""The state of a training run: an epoch at a time, and what a checkpoint holds of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irnet_core import checkpoint
from irnet_core.averaging import WeightAverage
from irnet_core.batches import forward
from irnet_core.checkpoint import Evaluation, Folder, Progress
from irnet_core.device import autocast
from irnet_core.dropout import Dropout
from irnet_core.errors import TrainingError
from irnet_core.networks import Network, decayed, take_over, take_over_output
from irnet_core.notation import notation_of, parse_notation, with_spread
from irnet_core.objective import losses
from irnet_core.recipes import Recipe
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler
from irnet_core.training_data import ScaledData, Start

_DRAWING = Lock()  # networks that train in threads share torch's generator


@dataclass(frozen=True)
class Status:
    """What a progress bar needs to know, handed out every second or so.

    Attributes
    ----------
    epoch, epochs : int
        The present epoch, from 1, and how many there will be at most.
    rows_done, rows_total : int
        Rows trained on over all epochs, so far and at most.
    train_loss : float
        Mean loss of the epoch so far; NaN on a GPU, which would have to be waited for.
    best_mae : float
        Validation error of the epoch kept so far, in the target's unit; before, infinite.
    best_epoch : int
        Its epoch, 0 before the first.
    """

    epoch: int
    epochs: int
    rows_done: int
    rows_total: int
    train_loss: float
    best_mae: float
    best_epoch: int


@dataclass(frozen=True)
class Fitted:
    """A trained network with what is needed to use and to judge it.

    Attributes
    ----------
    network : Network
        In evaluation mode, on the CPU, with the weights that were kept.
    inputs : Scaler
    target : TargetScaler
    progress : Progress
        Where training ended, and the validation errors on the way.
    epochs : int
        How many it was to have.
    resumed_at : int
        Epoch of the checkpoint that it went on from, 0 for none.
    """

    network: Network
    inputs: Scaler
    target: TargetScaler
    progress: Progress
    epochs: int
    resumed_at: int


class Run:
    """State of one training run; everything here is either fixed or in the checkpoint."""

    def __init__(
        self,
        data: ScaledData,
        notation: str,
        recipe: Recipe,
        seed: int,
        start: Start | None,
        choose: bool = True,
    ) -> None:
        n, n_inputs = data.train_x.shape
        self.data, self.recipe, self.seed, self.device = data, recipe, seed, data.device
        self.choose = choose
        self.epochs = recipe.epochs(n)
        self.batch = recipe.batch(n)
        self.steps = n // self.batch  # the rest of each shuffle waits for the next epoch
        self.rows_per_epoch = self.steps * self.batch
        self.evaluate_every = max(1, round(self.epochs / recipe.evaluations))

        n_outputs = parse_notation(notation_of(notation)).n_outputs
        if n_outputs != 1:
            raise TrainingError(f"network {notation!r} has {n_outputs} outputs: one target needs 1")
        notation = with_spread(notation_of(notation)) if recipe.spread else notation
        with _DRAWING:
            torch.manual_seed(seed)
            self.network = Network(notation, n_inputs).to(data.device)
        if self.network.elements is not None:
            self.network.elements.know(data.inputs)
        if start is not None:
            take_over(self.network, start.network)
            if start.same_target:
                take_over_output(self.network, start.network)
        spread = self.network.spread
        body = [p for part in self.network.body().values() for p in part.parameters()]
        body += self.network.output.parameters()
        self.clipped = [body] if spread is None else [body, list(spread.parameters())]
        self.average = copy.deepcopy(self.network)
        self.chance = torch.Generator(data.device)
        for part in self.network.modules():
            if isinstance(part, Dropout):
                part.begin(recipe.dropout, self.chance)
        self.averaging = WeightAverage(self.average, recipe.averaging, self.steps, self.epochs)
        self.best = {name: value.clone() for name, value in self._averaged_state().items()}
        self.optimizer = torch.optim.AdamW(
            decayed(self.network, recipe.weight_decay), recipe.learning_rate, fused=True
        )
        self.progress = Progress()
        self.kept = 0  # the epoch after which the last checkpoint was written

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or nothing has become better for too long."""
        waited = sum(e.epoch > self.progress.best_epoch for e in self.progress.history)
        return self.progress.epoch >= self.epochs or waited >= self.recipe.patience

    # one epoch ---------------------------------------------------------------------------

    def epoch(self) -> Iterator[tuple[float, int]]:
        """Run one epoch, yielding the running mean loss and the rows done after each step."""
        generator = torch.Generator().manual_seed(_mix(self.seed, self.progress.epoch))
        order = torch.randperm(len(self.data.train_x), generator=generator).to(self.device)
        self.chance.manual_seed(_mix(self.seed, self.progress.epoch, 1))
        self.network.train()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for i in range(self.steps):
            rows = order[i * self.batch : (i + 1) * self.batch]
            total += self._step(self.data.train_x[rows], self.data.train_y[rows])
            running = math.nan
            if self.device.type == "cpu":  # asking a GPU would make it wait in each step
                running = float(total) / (i + 1)
                if not math.isfinite(running):
                    raise self._diverged(f"the loss is {running}")
            yield running, (i + 1) * self.batch
        loss = float(total) / self.steps * float(self.data.target.scale)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        if not _all_finite(self.network):  # the last step may have spoilt them
            raise self._diverged("weights have become too large for float32")
        self.progress.epoch += 1
        if self.progress.epoch % self.evaluate_every == 0 or self.progress.epoch == self.epochs:
            self._evaluate(loss)

    def _diverged(self, what: str) -> TrainingError:
        """What went wrong in the current epoch, and what can still be had."""
        kept = ""
        if self.kept:
            kept = f"; the checkpoint after epoch {self.kept} is kept, and leads here again"
        remedy = "look for outlandish values among inputs and target"
        if not (self.recipe.scale_inputs and self.recipe.scale_target):
            remedy += ", or take the recipe modern, which scales them"
        return TrainingError(f"{what} in epoch {self.progress.epoch + 1}: {remedy}{kept}")

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        learning_rate = self.recipe.rate((self.progress.step + 0.5) / (self.epochs * self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with autocast(self.device, self.recipe.precision):
            loss, spread_loss = losses(self.network, x, y)
        self.optimizer.zero_grad(set_to_none=True)
        (loss if spread_loss is None else loss + spread_loss).backward()
        if self.recipe.gradient_clip:
            for part in self.clipped:
                nn.utils.clip_grad_norm_(part, self.recipe.gradient_clip)
        self.optimizer.step()
        self.progress.step += 1
        if self.recipe.averaging:
            self.averaging.update(self.network, self.progress.step)
        return loss.detach()

    # validation --------------------------------------------------------------------------

    def _averaged_state(self) -> dict[str, Tensor]:
        return (self.average if self.recipe.averaging else self.network).state_dict()

    def _evaluate(self, train_loss: float) -> None:
        network = self.average if self.recipe.averaging else self.network
        scaled = forward(network, self.data.validation_x, self.recipe.precision)
        error = (self.data.target.rest(scaled[:, 0].double()) - self.data.validation_y).abs().mean()
        mae = float(error)
        if mae < self.progress.best_mae or not self.choose:
            self.progress.best_mae, self.progress.best_epoch = mae, self.progress.epoch
            state = self._averaged_state()
            self.best = {name: value.clone() for name, value in state.items()}
        self.progress.history.append(Evaluation(self.progress.epoch, train_loss, mae))

    def status(self, loss: float, rows: int) -> Status:
        """Where the run stands, ``rows`` into the current epoch."""
        done = self.progress.epoch * self.rows_per_epoch + rows
        total = self.epochs * self.rows_per_epoch
        return Status(
            epoch=min(self.progress.epoch + 1, self.epochs),
            epochs=self.epochs,
            rows_done=min(done, total),
            rows_total=total,
            train_loss=loss,
            best_mae=self.progress.best_mae,
            best_epoch=self.progress.best_epoch,
        )

    # checkpoints -------------------------------------------------------------------------

    def save(self, folder: Folder) -> None:
        """Write all that the next step depends on."""
        groups = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
        }
        for i, state in self.optimizer.state_dict()["state"].items():
            groups[f"optimizer {i}"] = {k: torch.as_tensor(v) for k, v in state.items()}
        checkpoint.save(folder, groups, self.progress)
        self.kept = self.progress.epoch

    def restore(self, folder: Folder) -> int:
        """Continue the checkpoint in a folder, if any; return the epoch it was written after."""
        found = checkpoint.load(folder)
        if found is None:
            return 0
        groups, self.progress = found
        try:
            self.network.load_state_dict(groups["network"])
            self.average.load_state_dict(groups["average"])
            self.best = {name: value.to(self.device) for name, value in groups["best"].items()}
            self.optimizer.load_state_dict(self._optimizer_state(groups))
        except (KeyError, RuntimeError) as error:
            raise TrainingError(
                f"{checkpoint.CHECKPOINT} belongs to another network: {checkpoint.REMEDY}"
            ) from error
        self.kept = self.progress.epoch
        return self.kept

    def _optimizer_state(self, groups: checkpoint.Groups) -> dict[str, Any]:
        """What the optimiser was left in: a group for each parameter of the network."""
        whole = self.optimizer.state_dict()
        numbers = [i for group in whole["param_groups"] for i in group["params"]]
        whole["state"] = {i: groups[f"optimizer {i}"] for i in numbers}
        return whole

    def fitted(self, resumed_at: int) -> Fitted:
        """The network with the weights that were kept, in evaluation mode, on the CPU."""
        if not (self.progress.best_epoch and math.isfinite(self.progress.best_mae)):
            raise TrainingError(
                "no validation error was a finite number: look for such values in the validation "
                "rows, or lower the learning rate"
            )
        self.average.load_state_dict(self.best)
        network = self.average.cpu().eval()
        return Fitted(
            network, self.data.inputs, self.data.target, self.progress, self.epochs, resumed_at
        )


def _all_finite(network: Network) -> bool:
    return bool(
        torch.stack([value.isfinite().all() for value in network.state_dict().values()]).all()
    )


def _mix(*numbers: int) -> int:
    """A seed far from those of neighbouring numbers."""
    words = np.random.SeedSequence(numbers).generate_state(2, np.uint64)
    return int(words[0] >> np.uint64(1))
