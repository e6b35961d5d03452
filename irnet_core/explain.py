"""Why a network predicts what it predicts: attributions to inputs, and the nearest known rows.

Integrated gradients (Sundararajan, Taly and Yan, ICML 2017, arXiv:1703.01365) share out the
difference between the prediction and that of a baseline among the inputs: each gets its own
distance from the baseline times the mean gradient on the straight way between them. The shares sum
to the difference, a property called completeness.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irnet_core.bundle import Bundle
from irnet_core.elements import N_ELEMENTS
from irnet_core.errors import ModelError
from irnet_core.networks import Network
from irnet_core.scaling import Scaler

BATCH = 1024  # points at a time
FIRST_PIECES = 128
MAX_ROUNDS = 16  # pieces as short as 1e-7 of the way; more than four are hardly ever needed
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Shares of the inputs in a prediction.

    Attributes
    ----------
    values : numpy.ndarray of float64, shape (n_inputs,)
        In the target's unit; they sum to ``prediction - baseline``, up to ``gap``.
    prediction, baseline : float
        What the network predicts for the row and for the baseline.
    """

    values: NDArray[np.float64]
    prediction: float
    baseline: float

    @property
    def gap(self) -> float:
        """What completeness is missed by."""
        return self.prediction - self.baseline - float(self.values.sum())

    def largest(self, n: int) -> NDArray[np.intp]:
        """Positions of the n inputs of largest share in size, the largest first."""
        return np.argsort(-np.abs(self.values), kind="stable")[:n]


def target_function(bundle: Bundle) -> Function:
    """A model as a differentiable function of raw inputs (n, n_inputs), in double precision.

    Returns
    -------
    callable
        Predictions (n,) in the target's unit.
    """
    networks = _exact(bundle)
    inputs, target = bundle.inputs.to(torch.float64), bundle.target.to(torch.float64)

    def predict(x: Tensor) -> Tensor:
        scaled = inputs.forward(x)
        outputs = torch.stack([network(scaled)[:, 0] for network in networks])
        return target.value(outputs.mean(0), x)

    return predict


def attribution(bundle: Bundle, x: NDArray[np.floating]) -> Attribution:
    """Integrated gradients of a model from the mean of its training rows.

    The fraction of an element gets the share of the element's vector too, where networks have a
    set of elements: that set is a sum over elements, which all stand at their mean in the baseline.

    Parameters
    ----------
    bundle : Bundle
    x : numpy.ndarray of float, shape (n_inputs,)
        Raw inputs.

    Returns
    -------
    Attribution

    Raises
    ------
    ModelError
        If a value is not finite.
    """
    center = bundle.inputs.center.double()
    row = torch.as_tensor(np.asarray(x, np.float64))
    networks = _exact(bundle)
    sets = [network.elements for network in networks if network.elements is not None]
    if not sets:
        return integrated_gradients(target_function(bundle), x, center.numpy())
    inputs, target = bundle.inputs.to(torch.float64), bundle.target.to(torch.float64)
    n, width = len(row), sets[0].n_outputs

    def function(joined: Tensor) -> Tensor:
        scaled = inputs.forward(joined[:, :n])
        outputs = []
        for i, network in enumerate(networks):
            own = joined[:, n + i * width : n + (i + 1) * width]
            outputs.append(network.output(network.deeper(torch.cat([scaled, own], 1))[0])[:, 0])
        return target.value(torch.stack(outputs).mean(0), joined[:, :n])

    fractions = inputs.forward(row[None])[0, -N_ELEMENTS:]
    with torch.no_grad():
        found = [part.contributions(fractions) for part in sets]
    vectors = torch.cat([parts.sum(0) for _, parts in found])
    baseline = torch.cat([center, torch.zeros_like(vectors)])
    whole = integrated_gradients(function, torch.cat([row, vectors]).numpy(), baseline.numpy())
    values = torch.from_numpy(whole.values)
    slopes = torch.where(vectors == 0, 0.0, values[n:] / vectors)
    shares = values[:n].clone()
    for i, (elements, parts) in enumerate(found):
        shares[n - N_ELEMENTS + elements] += parts @ slopes[i * width : (i + 1) * width]
    return Attribution(shares.numpy(), whole.prediction, whole.baseline)


def integrated_gradients(
    function: Function,
    x: NDArray[np.floating],
    baseline: NDArray[np.floating],
    tolerance: float = 1e-3,
) -> Attribution:
    """Integrated gradients of a function from a baseline to a row of inputs.

    A network of linear layers and ReLUs is linear between kinks. The way is therefore cut into
    pieces, and those in which the gradient at the middle does not explain the difference between
    the ends are halved, until the shares add up within the tolerance.

    Parameters
    ----------
    function : callable
        Differentiable, maps float64 (n, n_inputs) to (n,) row by row.
    x, baseline : numpy.ndarray of float, shape (n_inputs,)
        For the baseline, :attr:`irnet_core.scaling.Scaler.center` of the inputs is the mean of
        the training rows.
    tolerance : float
        Largest gap, as a share of the prediction or the baseline's, whichever is larger.

    Raises
    ------
    ModelError
        If a value is not finite.

    Examples
    --------
    >>> found = integrated_gradients(
    ...     lambda x: torch.relu(x[:, 0] - 1) + 2 * x[:, 1], np.array([3.0, 1.0]), np.zeros(2)
    ... )
    >>> found.values.round(2).tolist(), found.prediction
    ([2.0, 2.0], 4.0)
    """
    begin = torch.as_tensor(np.asarray(baseline, np.float64))
    way = torch.as_tensor(np.asarray(x, np.float64)) - begin
    edges = torch.linspace(0, 1, FIRST_PIECES + 1, dtype=torch.float64)
    left, right = edges[:-1], edges[1:]
    total, gap = torch.zeros_like(way), 0.0  # of the pieces that need no halving
    heights = _values(function, begin, way, edges)
    if not heights.isfinite().all():
        raise ModelError("the prediction is not finite: correct the inputs or train the model anew")
    low, high = heights[:-1], heights[1:]
    allowed = tolerance * max(abs(float(heights[0])), abs(float(heights[-1])))
    shares = torch.empty(0, len(way), dtype=torch.float64)
    for _ in range(MAX_ROUNDS):
        middle = (left + right) / 2
        between, gradients = _gradients(function, begin, way, middle)
        shares = gradients * ((right - left)[:, None] * way)
        missed = high - low - shares.sum(1)
        if abs(gap + float(missed.sum())) <= allowed:
            break
        halved = missed.abs() > allowed / (4 * len(missed))
        if not halved.any():  # what is missed was added up before: no halving can find it
            break
        total += shares[~halved].sum(0)
        gap += float(missed[~halved].sum())
        left, middle, right = left[halved], middle[halved], right[halved]
        low, between, high = low[halved], between[halved], high[halved]
        shares = shares[halved]
        left, right = torch.cat([left, middle]), torch.cat([middle, right])
        low, high = torch.cat([low, between]), torch.cat([between, high])
    return Attribution((total + shares.sum(0)).numpy(), float(heights[-1]), float(heights[0]))


def nearest(
    x: NDArray[np.floating],
    chunks: Iterable[NDArray[np.floating]],
    scaler: Scaler,
    n: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows nearest to one, by the root mean square of the differences of scaled inputs.

    Parameters
    ----------
    x : numpy.ndarray of float, shape (n_inputs,)
    chunks : iterable of numpy.ndarray of float, shape (rows, n_inputs)
        One after the other; rows with NaN are never near.
    scaler : Scaler
        Of the inputs, so that each counts in units of its spread over the training rows.
    n : int
        Rows to return at most.

    Returns
    -------
    rows : numpy.ndarray of int64, shape (<= n,)
        Positions over all chunks, the nearest first, of equal ones the first.
    distances : numpy.ndarray of float64
    """
    center = scaler.center.double().numpy()
    scale = scaler.scale.double().numpy()
    wanted = (np.asarray(x, np.float64) - center) / scale
    rows, distances = np.empty(0, np.int64), np.empty(0)
    start = 0
    for chunk in chunks:
        off = (np.asarray(chunk, np.float64) - center) / scale - wanted
        found = np.sqrt((off**2).mean(1))
        at = np.flatnonzero(np.isfinite(found))
        rows = np.concatenate([rows, start + at])
        distances = np.concatenate([distances, found[at]])
        order = np.lexsort((rows, distances))[:n]
        rows, distances = rows[order], distances[order]
        start += len(chunk)
    return rows, distances


def _exact(bundle: Bundle) -> list[Network]:
    """Copies of the networks in double precision."""
    networks = [copy.deepcopy(network).double().eval() for network in bundle.networks]
    for network in networks:
        network.requires_grad_(False)
    return networks


def _values(function: Function, begin: Tensor, way: Tensor, steps: Tensor) -> Tensor:
    with torch.no_grad():
        parts = [function(begin + part[:, None] * way) for part in steps.split(BATCH)]
    return torch.cat(parts)


def _gradients(
    function: Function, begin: Tensor, way: Tensor, steps: Tensor
) -> tuple[Tensor, Tensor]:
    """Values (n,) and gradients (n, n_inputs) at points of the way."""
    values, gradients = [], []
    for part in steps.split(BATCH):
        points = (begin + part[:, None] * way).requires_grad_(True)
        found = function(points)
        (gradient,) = torch.autograd.grad(found.sum(), points)
        values.append(found.detach())
        gradients.append(gradient)
    return torch.cat(values), torch.cat(gradients)
