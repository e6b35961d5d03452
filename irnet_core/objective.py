"""What training minimises: the mean absolute error and, beside it, the likelihood of its residuals.

A recipe with ``spread`` adds an output, the logarithm of a Laplace scale for each row, fitted to
the residuals by maximum likelihood (Nix and Weigend, doi 10.1109/ICNN.1994.374138). It takes the
layers it looks at as given: no gradient of it reaches them, and the prediction, trained on the mean
absolute error, is bit by bit the same as without.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irnet_core.networks import Network

# natural logarithm of the spread in mean absolute deviations of the target
LOG_SPREAD = (-7.0, 7.0)


def losses(network: Network, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
    """What training minimises: of the mean, and of the spread where the network has one.

    Parameters
    ----------
    network : Network
    x : torch.Tensor, (n, n_inputs)
        Scaled inputs.
    y : torch.Tensor, (n, 1)
        Scaled targets.

    Returns
    -------
    error : torch.Tensor, ()
        Mean absolute error.
    likelihood : torch.Tensor, (), or None
        Mean negative logarithm, but for a constant, of the Laplace likelihood of the residuals
        under the spread; it moves the layers of the spread alone.
    """
    hidden, tapped = network.features(x)
    mean = network.output(hidden).float()
    loss = nn.functional.l1_loss(mean, y)
    if network.spread is None:
        return loss, None
    log_spread = network.spread(tapped.detach()).float().clamp(*LOG_SPREAD)
    residual = (mean.detach() - y).abs()
    return loss, (residual * torch.exp(-log_spread) + log_spread).mean()
