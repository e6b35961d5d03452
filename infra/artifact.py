"""A published artifact: its manifest, its files to read, and the check that they are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from infra.folder import Folder
from infra.guards import store_errors
from infra.manifest import MANIFEST, Manifest
from irnet_core.errors import StoreError

if TYPE_CHECKING:
    import pyarrow.dataset as pads

DATA = "data.parquet"
"""Rows of a snapshot."""
REJECTED_ROWS = "rejected.parquet"
FAILED_ROWS = "failed.parquet"
LEFT_OUT = (REJECTED_ROWS, FAILED_ROWS)
"""Rows of a source that could not be used, and rows of a snapshot that have no features; no part
of :meth:`Artifact.dataset`."""


class Artifact:
    """A published artifact.

    Attributes
    ----------
    manifest : Manifest
        What it is.
    folder : Folder
        Where it lies.
    """

    def __init__(self, manifest: Manifest, folder: Folder) -> None:
        self.manifest, self.folder = manifest, folder

    def __repr__(self) -> str:
        return f"Artifact({self.manifest.kind}/{self.manifest.id})"

    @classmethod
    def load(cls, folder: Folder, kind: str, id_: str) -> Artifact:
        """Read the manifest of the artifact in a folder.

        Raises
        ------
        StoreError
            If there is none, or it is damaged or that of another artifact.
        """
        where = f"{folder.url}/{MANIFEST}"
        manifest = Manifest.from_json(folder.read_bytes(MANIFEST), where)
        if (manifest.kind, manifest.id) != (kind, id_):
            raise StoreError(f"{where} belongs to {manifest.kind}/{manifest.id}: move it there")
        return cls(manifest, folder)

    @property
    def id(self) -> str:
        """Content id."""
        return self.manifest.id

    @property
    def url(self) -> str:
        """Local path or URL of the folder."""
        return self.folder.url

    def path(self, name: str) -> str:
        """Local path or URL of a file.

        Raises
        ------
        StoreError
            If the artifact has no such file.
        """
        if name not in self.manifest.files:
            raise StoreError(
                f"{self.manifest.kind}/{self.id} has no file {name!r}: take one of "
                f"{', '.join(sorted(self.manifest.files))}"
            )
        return f"{self.url}/{name}"

    def read_bytes(self, name: str) -> bytes:
        """Everything in a file."""
        self.path(name)
        return self.folder.read_bytes(name)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Table in a Parquet file, or some of its columns."""
        self.path(name)
        return self.folder.read_table(name, columns)

    def dataset(self) -> pads.Dataset:
        """All Parquet files except :data:`LEFT_OUT` as one dataset, in order of names."""
        import pyarrow.dataset as pads  # imports pandas, which most callers do without

        names = [name for name in sorted(self.manifest.files) if name.endswith(".parquet")]
        paths = [f"{self.folder.path}/{name}" for name in names if name not in LEFT_OUT]
        with store_errors("read", self.url):
            return pads.dataset(paths, format="parquet", filesystem=self.folder.fs)


def problems(folder: Folder, kind: str, id_: str, *, deep: bool) -> list[str]:
    """What is wrong with an artifact, one sentence each.

    Parameters
    ----------
    folder : Folder
        Where it should lie.
    kind, id_ : str
        What it should be.
    deep : bool
        Hash every file and look for files that do not belong there; else only lengths are
        compared.
    """
    if not folder.has(MANIFEST):
        return [f"{folder.url} has no {MANIFEST}"]
    try:
        files = Artifact.load(folder, kind, id_).manifest.files
    except StoreError as error:
        return [str(error)]
    found = []
    for name, record in sorted(files.items()):
        size = folder.size(name)
        if size is None:
            found.append(f"{name} is missing")
        elif size != record.bytes:
            found.append(f"{name} has {size} bytes instead of {record.bytes}")
        elif deep:
            try:
                if folder.describe(name, record.content) != record:
                    found.append(f"{name} has another content than when it was published")
            except StoreError as error:
                found.append(str(error))
    if deep:
        extra = set(folder.entries()) - set(files) - {MANIFEST}
        found.extend(f"{name} does not belong there" for name in sorted(extra))
    return found
