"""A pause of Python's garbage collector while many objects are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Do without cyclic collection in the ``with`` block.

    Parsed JSON has no cycles, yet its many new objects set the collector off again and again, each
    time over all that there is; parsing is several times faster without.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
