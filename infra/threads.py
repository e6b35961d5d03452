"""Threads that torch computes on. Stages import this; the command line alone needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from infra.settings import Settings


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes on the calling thread alone, as do threads that start meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_threads(settings: Settings) -> int:
    """Set and return the number of threads that torch uses in this process."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return torch.get_num_threads()
