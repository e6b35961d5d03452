"""Databases and files that snapshots are taken from, by name in :data:`SOURCES`."""

from __future__ import annotations

from collections.abc import Callable

from infra.sources.base import Source
from infra.sources.file import TableFile
from infra.sources.pymatgen_expt import PymatgenExpt

__all__ = ["SOURCES", "PymatgenExpt", "Source", "TableFile"]

SOURCES: dict[str, Callable[..., Source]] = {
    "file": TableFile,
    "pymatgen-expt": PymatgenExpt,
}
"""What makes a source, by its name; arguments differ (a file has a path, a database has limits)."""
