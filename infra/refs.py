"""Names that point to artifacts, like git's refs: small files, replaced atomically."""

from __future__ import annotations

import json
import re

from infra.folder import Folder
from infra.guards import check_name
from irnet_core.errors import StoreError

LATEST = "latest"
ID = re.compile(r"[0-9a-f]{16}")
_REQUEST = "request-"


class Refs:
    """The names of a store.

    Parameters
    ----------
    folder : Folder
        Holds ``<kind>/<name>.json``.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def get(self, kind: str, name: str, *, damaged: bool = False) -> str | None:
        """Id that a name points to, None if there is no such name.

        Parameters
        ----------
        kind, name : str
            Kind of the artifact, and the name.
        damaged : bool
            Whether a damaged file counts as none, because it is about to be replaced.

        Raises
        ------
        StoreError
            If the file of this name is damaged.
        """
        folder, file = self.folder.child(kind), f"{check_name(name, 'name')}.json"
        if not folder.has(file):
            return None
        try:
            id_ = json.loads(folder.read_bytes(file))["id"]
        except (ValueError, KeyError, TypeError):
            id_ = None
        if isinstance(id_, str) and ID.fullmatch(id_):
            return id_
        if damaged:
            return None
        raise StoreError(f"{folder.url}/{file} is damaged: remove it and name the artifact anew")

    def set(self, kind: str, name: str, id_: str) -> None:
        """Let a name point to an id; nothing is written where it does already."""
        check_name(name, "name")
        if self.get(kind, name, damaged=True) != id_:
            text = json.dumps({"id": id_, "kind": kind}, sort_keys=True) + "\n"
            folder = self.folder.child(kind)
            folder.write_bytes(f"{name}.json", text.encode())
            folder.clean(age_s=3600)  # there is no lock here, so spare what others may be writing

    def names(self, kind: str) -> list[str]:
        """Names of a kind, sorted, without those of requests."""
        files = (file.removesuffix(".json") for file in self.folder.child(kind).names())
        return [name for name in files if not name.startswith(_REQUEST)]


def request_name(request: str) -> str:
    """Name under which the answer to a request is found again."""
    return f"{_REQUEST}{request}"


def user_name(name: str) -> str:
    """Return a name that a person chose, if it cannot be mistaken for anything else.

    Raises
    ------
    StoreError
        If it looks like an id, is kept for the store, or leads out of its folder.
    """
    if ID.fullmatch(name) or name.startswith(_REQUEST) or name == LATEST:
        raise StoreError(f"{name!r} means something else to the store: choose another name")
    return check_name(name, "name")
