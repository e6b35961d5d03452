"""The manifest: what an artifact is, what it was made from, and what its files hold.

An artifact's id is a digest of its content alone. Times, parameters and the bytes a library's
version happens to write do not enter, so the same content has the same id on every machine.
The request is a digest of what was asked for; it finds a finished answer before work starts.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.content import short_digest
from irnet_core.errors import StoreError
from irnet_core.schema import SCHEMA_VERSION

KINDS = ("snapshots", "features", "models", "screens", "studies")
MANIFEST = "manifest.json"
_LIBRARIES = ("numpy", "pandas", "pyarrow", "torch", "pymatgen")


class FileRecord(BaseModel):
    """One file of an artifact.

    Attributes
    ----------
    name : str
        File name.
    bytes : int
        Length.
    sha256 : str
        SHA-256 of the bytes, hexadecimal.
    content : str
        Digest that enters the artifact's id: :func:`infra.content.table_digest` for Parquet,
        ``sha256`` for others unless the maker gave one that leaves out, say, a date.
    rows : int, optional
        Rows, for Parquet.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    sha256: str
    content: str
    rows: int | None = None


class Manifest(BaseModel):
    """Description of an artifact, stored beside its files as ``manifest.json``.

    Attributes
    ----------
    id, kind : str
        Content id (16 hexadecimal digits) and one of :data:`KINDS`.
    what : str
        One sentence for people.
    request : str
        Digest of what was asked for, see :func:`request_digest`.
    inputs : dict
        Ids of the artifacts it was made from, by role.
    parameters, counts : dict
        What was chosen, and what was counted on the way.
    rows : int, optional
        Rows of the main table.
    files : dict of FileRecord
        By file name.
    code_version, schema_version, libraries
        What made it.
    started, finished : str
        UTC, ISO 8601.
    licence, citation : str
        Terms of the data and whom to cite.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    what: str
    request: str
    inputs: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    rows: int | None = None
    counts: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, FileRecord]
    code_version: str
    schema_version: int = SCHEMA_VERSION
    libraries: dict[str, str] = Field(default_factory=dict)
    started: str
    finished: str
    licence: str = ""
    citation: str = ""

    def to_json(self) -> bytes:
        """Indented JSON with sorted keys."""
        text = json.dumps(
            self.model_dump(), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
        )
        return (text + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Read a manifest and check that its id follows from its files.

        Raises
        ------
        StoreError
            If the text is no manifest, or belongs to other files.
        """
        remedy = "remove the folder it lies in and run the step that made it again"
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "text"
            raise StoreError(f"{where} is damaged ({place}: {first['msg']}): {remedy}") from error
        if manifest.id != content_id(manifest.kind, manifest.files):
            raise StoreError(f"{where} is damaged (its id is not that of its files): {remedy}")
        return manifest


def content_id(kind: str, files: Mapping[str, FileRecord]) -> str:
    """Id of an artifact: 16 hexadecimal digits of a SHA-256 over kind and content digests."""
    return short_digest([kind, {name: record.content for name, record in files.items()}])


def request_digest(
    kind: str,
    inputs: Mapping[str, str],
    parameters: Mapping[str, Any],
    version: str | None = None,
) -> str:
    """Digest of what is asked for, by which a finished artifact is found again.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    inputs : mapping
        Ids of the artifacts to work on, by role.
    parameters : mapping
        Choices, as JSON types.
    version : str, optional
        Version of the code and schemas that answer; by default those of this project, so a new
        release answers anew.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> request_digest("features", {"snapshot": "00ff"}, {"set": "magpie"}, version="1")
    '58c61720e8879bd0'
    """
    if version is None:
        version = f"{code_version()}/{SCHEMA_VERSION}"
    return short_digest([kind, dict(inputs), dict(parameters), version])


def code_version() -> str:
    """Version of the installed project, ``"0"`` if it is run without being installed."""
    return _version("irnet-screening") or "0"


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that numbers can depend on."""
    found = {name: version for name in _LIBRARIES if (version := _version(name))}
    return {"python": platform.python_version(), **found}


def utc_now() -> str:
    """The present time, UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
