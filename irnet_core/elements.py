"""Learned vectors of the elements of a composition, made aware of each other.

Attributes describe a composition by statistics over its elements; which elements they are, a
network has to guess. This part of one sees them: each element is a learned vector into which its
fraction is written, layers of attention let the elements look at each other in proportion to their
fractions, and their mean, weighted by fractions, joins the attributes. One shortcut goes round
every layer, as in the rest of the network. Neither the order of the elements nor the multiple in
which a formula is written matters.

Attention is that of Vaswani et al. (arXiv 1706.03762); Roost (Goodall and Lee, doi
10.1038/s41467-020-19964-7) and CrabNet (Wang et al., doi 10.1038/s41524-021-00545-1) brought such
sets of elements to compositions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from irnet_core.device import has_amx
from irnet_core.dropout import Dropout
from irnet_core.element_properties import element_properties
from irnet_core.scaling import Scaler

#: Columns of the block of fractions, the last ones of a network's inputs: atomic numbers 1 to 112.
N_ELEMENTS = 112
HEADS = 4
WAVES = 4  # sines and cosines of a fraction
N_SHARE = 3 + 2 * WAVES
# rows of up to so many elements are padded to that many
WIDTHS = (3, 4, 8, 16, 32, N_ELEMENTS)
# and so many sets at a time: oneDNN writes a kernel for each number of rows, which takes it longer
# than the product
AT_A_TIME = 16
# elements: sums of products are quicker than matrix products, and small enough, where there are no
# matrix units
FEW = 8
LEAST = 1e-9  # stands for a fraction of zero where its logarithm is needed
ABSENT = 1e-5  # smaller fractions are what scaling there and back has left of zero


class Attention(nn.Module):
    """Elements look at each other; then each looks at itself. A shortcut round both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.looks = nn.Linear(width, 3 * width)
        self.mixes = nn.Linear(width, width)
        self.norm_own = nn.LayerNorm(width)
        self.widens = nn.Linear(width, 4 * width)
        self.narrows = nn.Linear(2 * width, width)
        self.dropout = Dropout()

    def forward(self, h: Tensor, log_share: Tensor) -> Tensor:
        """Map vectors (n, k, width), given logarithms of fractions (n, k)."""
        h = h + self.dropout(self.mixes(attend(self.looks(self.norm(h)), log_share)))
        y: Tensor = h + self.dropout(self.narrows(gated(self.widens(self.norm_own(h)))))
        return y


class KnownVectors(nn.Module):
    """Vectors of the elements: their known properties, mapped, and a small learned correction.

    Elements of few training rows start where similar ones are.
    """

    table: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.tensor(element_properties()))
        self.known = nn.Linear(self.table.shape[1], width)
        self.learned = nn.Embedding(N_ELEMENTS, width)
        nn.init.normal_(self.known.weight)
        nn.init.normal_(self.learned.weight, std=0.1)

    def forward(self, element: Tensor) -> Tensor:
        """Vectors (..., width) of elements (...), by their columns."""
        return nn.functional.embedding(element, self.known(self.table) + self.learned.weight)


class ElementSet(nn.Module):
    """A vector (n, 2 width) for scaled fractions (n, 112).

    Parameters
    ----------
    width : int
        Of the elements' vectors, a multiple of 4.
    count : int
        Layers of attention.
    properties : bool
        Begin with what is known of the elements.

    Attributes
    ----------
    center, scale : torch.Tensor, (112,)
        Of the inputs' scaler: the fractions are ``scaled * scale + center``.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, width: int, count: int, properties: bool = False) -> None:
        super().__init__()
        self.n_outputs = 2 * width
        self.register_buffer("center", torch.zeros(N_ELEMENTS))
        self.register_buffer("scale", torch.ones(N_ELEMENTS))
        self.vectors = KnownVectors(width) if properties else nn.Embedding(N_ELEMENTS, width)
        self.share = nn.Linear(N_SHARE, width)
        self.layers = nn.ModuleList(Attention(width) for _ in range(count))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, self.n_outputs)
        # like any other input: mean 0 and standard deviation 1 over the training rows
        self.scaling = nn.BatchNorm1d(self.n_outputs, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map scaled fractions (n, 112) to vectors (n, 2 width)."""
        sets = list(by_size(self.fractions(x)))
        if not sets:
            return x.new_empty(0, self.n_outputs)
        order = torch.cat([rows for rows, _, _ in sets]).argsort()
        means = [
            pooled(self.described(element, share), share)[: len(rows)]
            for rows, element, share in sets
        ]
        y: Tensor = self.scaling(torch.cat(means)[order])
        return y

    def know(self, inputs: Scaler) -> None:
        """Take over the scaler of the network's inputs, whose last columns are the fractions."""
        self.center.copy_(inputs.center[-N_ELEMENTS:])
        self.scale.copy_(inputs.scale[-N_ELEMENTS:])

    def fractions(self, x: Tensor) -> Tensor:
        """Fractions (n, 112) from scaled ones."""
        found = x * self.scale + self.center
        return found.masked_fill(found < ABSENT, 0)

    def described(self, element: Tensor, share: Tensor) -> Tensor:
        """Vectors (n, k, 2 width) of elements (n, k), by their columns, and their fractions."""
        h = self.start(element, share)
        log_share = share.clamp_min(LEAST).log()
        for layer in self.layers:
            h = layer(h, log_share)
        return torch.relu(self.output(self.norm(h)))

    def start(self, element: Tensor, share: Tensor) -> Tensor:
        """Vectors (n, k, width) before elements have looked at each other."""
        h: Tensor = self.vectors(element) + self.share(share_features(share))
        return h

    def contributions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What each element of one composition adds to its vector.

        Parameters
        ----------
        x : torch.Tensor, (112,)
            Scaled fractions.

        Returns
        -------
        elements : torch.Tensor of int64, (k,)
            Columns of the fractions.
        parts : torch.Tensor, (k, 2 width)
            In evaluation mode they sum to :meth:`forward`.
        """
        fractions = self.fractions(x[None])
        share, element = fractions.topk(int((fractions > 0).sum()), dim=1)
        vectors = self.described(element, share)[0]
        mean, variance = self.scaling.running_mean, self.scaling.running_var
        if mean is not None and variance is not None:
            vectors = (vectors - mean) / (variance + self.scaling.eps).sqrt()
        return element[0], vectors * share[0, :, None]


def by_size(fractions: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows of similar numbers of elements together, without a trace of the others.

    Yields
    ------
    rows : torch.Tensor of int64, (m,)
    element : torch.Tensor of int64, (n, k)
        Columns of the fractions, the largest first; beyond the m rows there are sets of nothing.
    share : torch.Tensor, (n, k)
        Zero for padding.
    """
    count = (fractions > 0).sum(1)
    fits = torch.stack([count <= width for width in WIDTHS])
    order = (~fits).sum(0).argsort(stable=True)
    ends = fits.sum(1).tolist()  # the one answer that a GPU is waited for
    for start, end, width in zip([0, *ends], ends, WIDTHS, strict=False):
        if start < end:
            rows = order[start:end]
            share, element = fractions[rows].topk(width, dim=1)
            more = (0, 0, 0, -len(rows) % AT_A_TIME)
            yield rows, nn.functional.pad(element, more), nn.functional.pad(share, more)


def share_features(share: Tensor) -> Tensor:
    """Fractions (n, k) as (n, k, 11): themselves, roots, logarithms, waves."""
    x = share[..., None]
    angle = math.pi * x * torch.arange(1, WAVES + 1, device=x.device, dtype=x.dtype)
    logarithm = 0.3 * x.clamp_min(1e-6).log()
    return torch.cat([x, x.sqrt(), logarithm, angle.sin(), angle.cos()], -1)


def attend(looks: Tensor, log_share: Tensor) -> Tensor:
    """Attention of sets (n, k, 3 width) whose elements weigh as much as their fractions."""
    n, k, width = looks.shape
    each = width // (3 * HEADS)
    query, key, value = looks.view(n, k, 3, HEADS, each).unbind(2)
    units = looks.dtype == torch.bfloat16 and looks.device.type == "cpu" and has_amx()
    sums = k <= FEW and not units
    if sums:
        match = (query[:, :, None] * key[:, None]).sum(-1)
    else:
        match = torch.einsum("nihd,njhd->nijh", query, key)
    logits = (match / math.sqrt(each)).to(log_share.dtype) + log_share[:, None, :, None]
    weight = logits.softmax(2).to(value.dtype)
    if sums:
        seen = (weight[..., None] * value[:, None]).sum(2)
    else:
        seen = torch.einsum("nijh,njhd->nihd", weight, value)
    return seen.reshape(n, k, width // 3)


def gated(x: Tensor) -> Tensor:
    """Half of the columns, opened and shut by the others (SwiGLU, Shazeer, arXiv 2002.05202)."""
    opened, gate = x.chunk(2, -1)
    return nn.functional.silu(gate) * opened


def pooled(vectors: Tensor, share: Tensor) -> Tensor:
    """Mean (n, width) of vectors (n, k, width), weighted by shares (n, k)."""
    return (vectors * share[..., None]).sum(1)
