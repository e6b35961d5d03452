"""The few array operations that numpy and torch name differently.

Code that runs on both takes its operations from ``backend(array)``; all other names are the
library's own. Torch is imported only once a tensor has been handed in.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    Array = NDArray[Any] | torch.Tensor
else:
    Array = Any


class _Numpy:
    """Operations on numpy arrays."""

    # Rows handled at once: enough to spread numpy's overhead, few enough for the caches, and no
    # power of two, which would map a column to few cache lines and transpose five times slower.
    block_rows = 6000
    # The system hands out zeroed pages, which for a few thousand rows takes half of the time.
    keeps_buffers = True
    bool, int64, float32, float64 = np.bool_, np.int64, np.float32, np.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def nonzero(mask: Any) -> Any:
        return np.flatnonzero(mask)

    @staticmethod
    def amax(values: Any, axis: int) -> Any:
        return values.max(axis)

    @staticmethod
    def ascontiguous(values: Any) -> Any:
        return np.ascontiguousarray(values)

    @staticmethod
    def sort_values(values: Any) -> Any:
        return np.sort(values, kind="stable")  # mostly sorted already

    @staticmethod
    def take_columns(table: Any, index: Any, out: Any) -> Any:
        # clip: checking the bounds would need a copy of out
        return np.take(table, index, axis=1, out=out, mode="clip")


class _Torch:
    """Operations on torch tensors of one device."""

    keeps_buffers = False  # on a GPU torch does so itself

    def __init__(self, device: Any) -> None:
        import torch

        self.torch, self.device = torch, device
        self.block_rows = _Numpy.block_rows if device.type == "cpu" else 200_000
        self.bool, self.int64 = torch.bool, torch.int64
        self.float32, self.float64 = torch.float32, torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch, name)

    def asarray(self, values: Any, dtype: Any = None) -> Any:
        if isinstance(values, np.ndarray):
            values = values.copy()  # tables are read-only, which torch warns of
        return self.torch.as_tensor(values, dtype=dtype, device=self.device)

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Any:
        return self.torch.full(shape, value, dtype=dtype, device=self.device)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.torch.empty(shape, dtype=dtype, device=self.device)

    def arange(self, stop: int) -> Any:
        return self.torch.arange(stop, device=self.device)

    @staticmethod
    def nonzero(mask: Any) -> Any:
        return mask.nonzero()[:, 0]

    @staticmethod
    def ascontiguous(values: Any) -> Any:
        return values.contiguous()

    @staticmethod
    def sort_values(values: Any) -> Any:
        return values.sort().values

    def take_along_axis(self, values: Any, index: Any, axis: int) -> Any:
        return self.torch.take_along_dim(values, index, axis)

    def take_columns(self, table: Any, index: Any, out: Any) -> Any:
        return self.torch.index_select(table, 1, index, out=out)

    def repeat(self, values: Any, counts: Any) -> Any:
        return self.torch.repeat_interleave(values, counts)


_NUMPY = _Numpy()
_torch_backend = lru_cache(maxsize=None)(_Torch)


def backend(array: Array) -> Any:
    """Operations for an array: the same object for all arrays of one library and device."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return _torch_backend(array.device)
    return _NUMPY
