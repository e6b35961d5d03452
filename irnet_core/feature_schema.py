"""The definition of a block of feature columns, and the hash by which two of them agree."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import pyarrow as pa


@dataclass(frozen=True)
class FeatureSchema:
    """Definition of a block of feature columns, identified by a hash.

    Two feature tables can be mixed, or fed to the same model, if and only if their hashes agree.

    Attributes
    ----------
    name : str
        Name of the block, e.g. ``"magpie"``.
    columns : tuple of str
        Feature names in order.
    version : int
        Raised by hand whenever a definition changes.
    table_sha256 : str
        Hash of the element table that the values are computed from.
    missing : str
        Policy for elements whose properties are partly unknown.
    """

    name: str
    columns: tuple[str, ...]
    version: int
    table_sha256: str
    missing: str

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 over all attributes."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def arrow_fields(self) -> list[pa.Field]:
        """Float32 fields, each naming the block and its hash in the metadata."""
        metadata = {"unit": "", "meaning": f"{self.name} attribute", "feature_schema": self.hash}
        return [pa.field(name, pa.float32(), metadata=metadata) for name in self.columns]
