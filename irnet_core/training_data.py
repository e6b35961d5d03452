"""Rows to train and to validate on, and the same as a network sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from irnet_core.bounds import bounds_of
from irnet_core.elements import N_ELEMENTS
from irnet_core.errors import TrainingError
from irnet_core.networks import Network
from irnet_core.recipes import Recipe
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler


@dataclass(frozen=True)
class TrainingData:
    """Training and validation rows.

    Attributes
    ----------
    train_x, validation_x : numpy.ndarray, float32, (n, n_inputs)
    train_y, validation_y : numpy.ndarray, float64, (n,)
    fractions : bool
        Whether the last 112 inputs are the element fractions.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray
    fractions: bool = False


@dataclass(frozen=True)
class Start:
    """A trained network to continue from: its body and input scaler are taken over.

    Attributes
    ----------
    network : Network
    inputs : Scaler
    target : TargetScaler
        Its references are kept where they explain the new target too ...
    same_target : bool
        ... and all of it where that is the same one; the output layers then go along.
    """

    network: Network
    inputs: Scaler
    target: TargetScaler
    same_target: bool = False


class ScaledData:
    """Rows on a device, scaled as a recipe says; the members of an ensemble share them.

    Parameters
    ----------
    data : TrainingData
    recipe : Recipe
    device : torch.device
    start : Start, optional
        Network to continue from, whose scalers are taken over.

    Attributes
    ----------
    inputs : Scaler
    target : TargetScaler
    train_x, validation_x : torch.Tensor, float32, (n, n_inputs)
        Scaled.
    train_y : torch.Tensor, float32, (n, 1)
        Scaled.
    validation_y : torch.Tensor, float64, (n,)
        In the target's unit, less what references explain.

    Raises
    ------
    TrainingError
        If there are too few rows.
    """

    def __init__(
        self,
        data: TrainingData,
        recipe: Recipe,
        device: torch.device,
        start: Start | None = None,
    ) -> None:
        n, n_inputs = data.train_x.shape
        if n < 2 or len(data.validation_x) < 1:
            raise TrainingError(
                f"training needs at least 2 training rows and 1 validation row, not {n} and "
                f"{len(data.validation_x)}: choose another split"
            )
        self.device = device
        if start is not None:
            self.inputs = start.inputs
        elif recipe.scale_inputs:
            self.inputs = Scaler.standard(data.train_x)
        else:
            self.inputs = Scaler.identity(n_inputs)
        shares = None
        if recipe.references and data.fractions:
            shares = data.train_x[:, -N_ELEMENTS:]
        if start is not None and start.same_target:
            self.target = start.target
        elif not recipe.scale_target:
            self.target = TargetScaler.identity()
        elif start is not None:
            self.target = TargetScaler.keeping(data.train_y, shares, start.target.references)
        else:
            self.target = TargetScaler.fit(data.train_y, shares)
        self.target = replace(self.target, bounds=bounds_of(data.train_y))
        self.train_x = self._scaled(data.train_x)
        rest = self._rest(data.train_x, data.train_y)
        self.train_y = self.target.scaled(rest).float()[:, None].to(device)
        self.validation_x = self._scaled(data.validation_x)
        self.validation_y = self._rest(data.validation_x, data.validation_y).to(device)

    def _scaled(self, x: np.ndarray) -> Tensor:
        scaled = self.inputs.forward(torch.from_numpy(x.astype(np.float32, copy=False)))
        return scaled.to(self.device)

    def _rest(self, x: np.ndarray, y: np.ndarray) -> Tensor:
        """Targets (n,), float64, less what references explain."""
        return torch.from_numpy(y) - self.target.explained(torch.from_numpy(x))
