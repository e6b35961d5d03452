"""Blocks of composition features that a network can take as inputs, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featurizers.composition import FRACTION_SCHEMA, SCHEMA, element_fractions, featurize_arrays
from featurizers.elements import SYMBOLS, has_magpie_data
from irnet_core.errors import FeatureSchemaError
from irnet_core.schema import FeatureSchema


@dataclass(frozen=True)
class Block:
    """Feature columns computed together.

    Attributes
    ----------
    schema : FeatureSchema
        Names of the columns and the hash that identifies their definition.
    compute : callable
        Maps atomic numbers and amounts, both (n, k), to float32 (n, number of columns).
    """

    schema: FeatureSchema
    compute: Callable[[Any, Any], Any]


BLOCKS: dict[str, Block] = {
    block.schema.name: block
    for block in (Block(SCHEMA, featurize_arrays), Block(FRACTION_SCHEMA, element_fractions))
}


def schemas(names: Sequence[str]) -> list[FeatureSchema]:
    """Schemas of some blocks.

    Raises
    ------
    FeatureSchemaError
        If there is no block of a name.
    """
    unknown = [name for name in names if name not in BLOCKS]
    if unknown:
        raise FeatureSchemaError(
            f"there is no feature block {unknown[0]!r}: choose among {', '.join(BLOCKS)}"
        )
    return [BLOCKS[name].schema for name in names]


def encode(numbers: Any, amounts: Any, names: Sequence[str]) -> Any:
    """Inputs of a network: the columns of some blocks side by side.

    Parameters
    ----------
    numbers, amounts : numpy.ndarray or torch.Tensor, (n, k)
        Atomic numbers, padded with 0, and amounts.
    names : sequence of str
        Blocks in order.

    Returns
    -------
    numpy.ndarray or torch.Tensor, float32, (n, n_inputs)
        Of the kind that was handed in.

    Examples
    --------
    >>> encode(np.array([[8, 26]]), np.array([[3.0, 2.0]]), ["magpie", "fractions"]).shape
    (1, 257)
    """
    schemas(names)
    parts = [BLOCKS[name].compute(numbers, amounts) for name in names]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=1)
    import torch  # only those who hand in tensors need it

    return torch.cat(parts, dim=1)


def without_data(numbers: NDArray[np.uint8]) -> dict[int, str]:
    """Rows (n, k) that hold an element without Magpie data, each with the reason."""
    lacking = np.array([z > 0 and not has_magpie_data(z) for z in range(len(SYMBOLS))])
    hits = lacking[numbers]  # (n, k)
    return {
        int(row): f"no Magpie data for element {SYMBOLS[numbers[row][hits[row]][0]]!r}"
        for row in np.flatnonzero(hits.any(axis=1))
    }
