"""Databases and files that snapshots are taken from, by name in :data:`SOURCES`."""

from __future__ import annotations

from collections.abc import Callable

from infra.sources.aflow import Aflow
from infra.sources.base import Database, Source
from infra.sources.file import TableFile
from infra.sources.jarvis import Jarvis
from infra.sources.matminer import Matminer
from infra.sources.mp_delta import materials_project
from infra.sources.optimade import Optimade
from infra.sources.oqmd import oqmd_database
from infra.sources.pymatgen_expt import PymatgenExpt

__all__ = ["DATABASES", "SOURCES", "PymatgenExpt", "Source", "TableFile"]

SOURCES: dict[str, Callable[..., Source | Database]] = {
    "aflow": Aflow,
    "file": TableFile,
    "jarvis": Jarvis,
    "matminer": Matminer,
    "mp": materials_project,
    "optimade": Optimade,
    "oqmd": oqmd_database,
    "pymatgen-expt": PymatgenExpt,
}
"""What makes a source, by its name; arguments differ (a file has a path, a database has limits)."""

DATABASES = ("aflow", "jarvis", "mp", "oqmd")
"""Sources whose energies are on one scale each."""
