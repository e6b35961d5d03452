"""A disk that is full: a small file system of its own, or a limit on the size of files."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Callable[[], None]]:
    """Let a folder have little room; what is yielded gives it plenty.

    Where this process may not mount file systems, no file it writes may be longer than that.
    """
    folder.mkdir(parents=True)
    mounted = _mount(folder, f"size={kibibytes}k", "-t", "tmpfs", "tmpfs")
    if mounted:
        try:
            yield lambda: _grow(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))

    resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes * 1024, hard))
    try:
        yield lift
    finally:
        lift()
        signal.signal(signal.SIGXFSZ, handler)


def _mount(folder: Path, options: str, *what: str) -> bool:
    command = ["mount", "-o", options, *what, str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _grow(folder: Path) -> None:
    if not _mount(folder, "remount,size=64m"):
        raise OSError(f"cannot enlarge {folder}")
