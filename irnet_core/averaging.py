"""Weight averaging: what is validated and kept is a moving average of the weights trained.

Averages of weights along the way generalise better than the last ones (Izmailov et al., arXiv
1803.05407); this one is exponential, with a half-life that is a share of all steps.
"""

from __future__ import annotations

import torch

from irnet_core.networks import Network

STEPS_BETWEEN = 8  # or each epoch; each step would move more memory for nothing


class WeightAverage:
    """Moving average of the weights of a network.

    Parameters
    ----------
    network : Network
        Its copy to average into.
    half_life : float
        As a share of all steps; 0 is no average: the network's own weights stand for it.
    steps, epochs : int
        Of the whole training: steps an epoch, epochs.
    """

    def __init__(self, network: Network, half_life: float, steps: int, epochs: int) -> None:
        self.network = network
        self.every = min(STEPS_BETWEEN, steps)
        self.half_life = max(1.0, half_life * epochs * steps / self.every)

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in the weights that a step has left, if it is the turn of one."""
        if step % self.every:
            return
        weights = network.state_dict()
        # early on the average spans what there is, so that the first weights are soon forgotten
        weight = max(1 - 0.5 ** (1 / self.half_life), self.every / step)
        averages = self.network.state_dict()
        names = [name for name, value in weights.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [averages[name] for name in names], [weights[name] for name in names], weight
        )
