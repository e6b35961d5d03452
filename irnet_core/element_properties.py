"""Properties of atoms and of elemental substances, for a network to begin with.

``element_properties.safetensors`` is written by :mod:`featurizers.build_element_properties`, which
names the sources.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

#: The file, and its one tensor.
PATH = Path(__file__).with_name("element_properties.safetensors")
TENSOR = "properties"


@lru_cache(maxsize=1)
def element_properties() -> np.ndarray:
    """Properties (112, n) of the elements H to Cn, float32, read-only.

    Each column has mean 0 and standard deviation 1 over H to Pu, divided by the root of the number
    of columns of its source, so that all sources count alike. What is not known is 0.
    """
    table: np.ndarray = load_file(PATH)[TENSOR]
    table.setflags(write=False)
    return table
