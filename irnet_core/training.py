"""Train one network on vectors: seeded, resumable, stopped by the validation rows alone.

The same data, recipe, seed, device type and number of threads give the same weights, whether or
not the run was killed and resumed: each epoch draws its order of rows from (seed, epoch), and a
checkpoint holds all that the following steps depend on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from irnet_core.checkpoint import Folder
from irnet_core.recipes import Recipe
from irnet_core.training_data import ScaledData, Start, TrainingData
from irnet_core.training_run import Fitted, Run, Status

__all__ = ["Fitted", "ScaledData", "Start", "Status", "TrainingData", "fit"]

SECONDS_BETWEEN_CHECKPOINTS = 60.0


def fit(
    data: TrainingData | ScaledData,
    notation: str,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    folder: Folder | None = None,
    start: Start | None = None,
    keep: bool = False,
    choose: bool = True,
    report: Callable[[Status], None] | None = None,
    seconds_between_checkpoints: float = SECONDS_BETWEEN_CHECKPOINTS,
) -> Fitted:
    """Train a network and return it, by default with the weights that did best in validation.

    Parameters
    ----------
    data : TrainingData or ScaledData
        Scaled data must be those of this recipe and, if there is one, of this start.
    notation : str
        Network by name or notation, see :mod:`irnet_core.notation`.
    recipe : Recipe
    seed : int
        Seed of the initial weights and of the order of rows.
    device : torch.device, optional
        By default the CPU; scaled data lie on theirs.
    folder : Folder, optional
        Where checkpoints go; a checkpoint found there is continued.
    start : Start, optional
        Network to continue from, of the same notation. Its output layer starts anew where it was
        trained for another target.
    keep : bool
        Write a checkpoint at the end too, from which a later call returns at once.
    choose : bool
        Return the weights of the epoch with the smallest validation error. Else those of the last:
        the validation rows are then rows like any others, and may judge. A folder's checkpoint is
        to be continued with the same choice.
    report : callable, optional
        Called with a :class:`Status` about once a second.
    seconds_between_checkpoints : float
        Least time between two checkpoints, which are written at the end of an epoch.

    Returns
    -------
    Fitted

    Raises
    ------
    TrainingError
        If there are too few rows, or the loss or every validation error is not finite.
    """
    if isinstance(data, TrainingData):
        data = ScaledData(data, recipe, device or torch.device("cpu"), start)
    run = Run(data, notation, recipe, seed, start, choose)
    resumed_at = run.restore(folder) if folder is not None else 0
    unsaved = not run.finished
    saved = reported = time.monotonic()
    while not run.finished:
        for loss, rows in run.epoch():
            if report is not None and time.monotonic() - reported > 1.0:
                reported = time.monotonic()
                report(run.status(loss, rows))
        if folder is not None and time.monotonic() - saved > seconds_between_checkpoints:
            run.save(folder)
            saved = time.monotonic()
    if folder is not None and keep and unsaved:
        run.save(folder)
    if report is not None:
        report(run.status(run.progress.history[-1].train_loss, run.rows_per_epoch))
    return run.fitted(resumed_at)
