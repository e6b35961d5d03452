"""Rows to train and to validate on, and the same as a network sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from irnet_core.errors import TrainingError
from irnet_core.recipes import Recipe
from irnet_core.scaling import Scaler


@dataclass(frozen=True)
class TrainingData:
    """Training and validation rows.

    Attributes
    ----------
    train_x, validation_x : numpy.ndarray, float32, (n, n_inputs)
    train_y, validation_y : numpy.ndarray, float64, (n,)
    """

    train_x: np.ndarray
    train_y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray


class ScaledData:
    """Rows on a device, scaled as a recipe says; the members of an ensemble share them.

    Parameters
    ----------
    data : TrainingData
    recipe : Recipe
    device : torch.device
    inputs : Scaler, optional
        Of a network to continue from.

    Attributes
    ----------
    inputs, target : Scaler
    train_x, validation_x : torch.Tensor, float32, (n, n_inputs)
        Scaled.
    train_y : torch.Tensor, float32, (n, 1)
        Scaled.
    validation_y : torch.Tensor, float64, (n,)
        As given.

    Raises
    ------
    TrainingError
        If there are too few rows.
    """

    def __init__(
        self, data: TrainingData, recipe: Recipe, device: torch.device, inputs: Scaler | None = None
    ) -> None:
        n, n_inputs = data.train_x.shape
        if n < 2 or len(data.validation_x) < 1:
            raise TrainingError(
                f"training needs at least 2 training rows and 1 validation row, not {n} and "
                f"{len(data.validation_x)}: choose another split"
            )
        self.device = device
        if inputs is not None:
            self.inputs = inputs
        elif recipe.scale_inputs:
            self.inputs = Scaler.standard(data.train_x)
        else:
            self.inputs = Scaler.identity(n_inputs)
        self.target = Scaler.robust(data.train_y) if recipe.scale_target else Scaler.identity(1)
        self.train_x = self._scaled(self.inputs, data.train_x)
        self.train_y = self._scaled(self.target, data.train_y[:, None])
        self.validation_x = self._scaled(self.inputs, data.validation_x)
        self.validation_y = torch.from_numpy(data.validation_y).to(device)

    def _scaled(self, scaler: Scaler, values: np.ndarray) -> Tensor:
        scaled = scaler.forward(torch.from_numpy(values.astype(np.float32, copy=False)))
        return scaled.to(self.device)
