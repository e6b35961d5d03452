"""Blocks of composition features that a network can take as inputs, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from featurizers.composition import feature_schema, featurize_arrays
from featurizers.elements import Missing, without_data
from featurizers.fractions import FRACTION_SCHEMA, element_fractions
from irnet_core.errors import FeatureSchemaError
from irnet_core.feature_schema import FeatureSchema

__all__ = ["BLOCKS", "Block", "blocks", "encode", "schemas", "without_data"]


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


@lru_cache(maxsize=3)
def blocks(missing: Missing = "matminer") -> Mapping[str, Block]:
    """All blocks by name, under a policy for missing element properties.

    The policy is part of the hash of the block ``magpie``. Element fractions need no property and
    are the same under each.

    Parameters
    ----------
    missing : {"matminer", "nan", "reject"}
        See :data:`featurizers.elements.Missing`.

    Raises
    ------
    ValueError
        The policy has another name.

    Examples
    --------
    >>> blocks("reject")["magpie"].schema.missing
    'reject'
    """
    without_data(np.zeros((0, 1), np.uint8), missing)  # refuses an unknown policy at once
    every = (
        Block(feature_schema(missing), partial(featurize_arrays, missing=missing)),
        Block(FRACTION_SCHEMA, element_fractions),
    )
    return MappingProxyType({block.schema.name: block for block in every})


BLOCKS = blocks()
"""The blocks under matminer's own policy."""


def schemas(names: Sequence[str], missing: Missing = "matminer") -> list[FeatureSchema]:
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
    return [blocks(missing)[name].schema for name in names]


def encode(numbers: Any, amounts: Any, names: Sequence[str], missing: Missing = "matminer") -> Any:
    """Inputs of a network: the columns of some blocks side by side.

    Parameters
    ----------
    numbers, amounts : numpy.ndarray or torch.Tensor, (n, k)
        Atomic numbers, padded with 0, and amounts.
    names : sequence of str
        Blocks in order.
    missing : {"matminer", "nan", "reject"}
        Policy for missing element properties. Rows of which :func:`without_data` gives a reason
        under it have NaN in the block ``magpie``.

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
    parts = [blocks(missing)[name].compute(numbers, amounts) for name in names]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=1)
    import torch  # only those who hand in tensors need it

    return torch.cat(parts, dim=1)
