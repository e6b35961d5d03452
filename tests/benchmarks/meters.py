"""Clocks and gauges: rows per second of processor time, peak memory, memory bandwidth."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_STATUS = Path("/proc/self/status")


def rate(rows: int, action: Callable[[], Any], repeats: int = 5) -> float:
    """Rows per second of processor time, best of some repeats.

    Processor time, so that other work on the machine disturbs little.
    """
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        action()
        best = min(best, time.process_time() - start)
    return rows / best


def reset_peak_memory() -> None:
    """Forget the peak so far, where the system can (Linux)."""
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def memory_mib() -> dict[str, float]:
    """Resident memory of this process in MiB, libraries included: at its peak, and now.

    On Linux the peak is the one since :func:`reset_peak_memory`. ``ru_maxrss``, which is taken
    elsewhere, also knows that of the parent from before the program was started.
    """
    if _STATUS.exists():
        lines = dict(
            line.split(":", 1) for line in _STATUS.read_text(encoding="ascii").splitlines()
        )
        return {
            "peak": int(lines["VmHWM"].split()[0]) / 1024,
            "now": int(lines["VmRSS"].split()[0]) / 1024,
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 1024
    return {"peak": peak_mib, "now": peak_mib}


def bandwidth_gb_per_s() -> float:
    """Memory bandwidth of one core in GB/s, bytes read and bytes written counted, best of two.

    A copy and a STREAM triad, ``a = b + s * c`` in the two passes that NumPy makes of it, over
    arrays far larger than the caches.
    """
    n = 16_000_000  # 128 MB each
    a, b, c = np.zeros(n), np.ones(n), np.ones(n)

    def triad() -> None:
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)

    copy_rate = rate(2 * a.nbytes, lambda: np.copyto(a, b), 7)
    triad_rate = rate(5 * a.nbytes, triad, 7)
    return max(copy_rate, triad_rate) / 1e9
