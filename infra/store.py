"""The store: artifacts named by their content, published whole or not at all.

Layout under the root, a local path or any fsspec URL::

    snapshots|features|models|screens|studies/<id>/   files and manifest.json
    refs/<kind>/<name>.json                   names that point to ids, replaced atomically
    .staging/<kind>/<request>/                work in progress, resumed by the same request

A folder without ``manifest.json`` does not exist for readers.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

from infra.artifact import Artifact, problems
from infra.content import plain
from infra.folder import Folder
from infra.manifest import (
    KINDS,
    MANIFEST,
    FileRecord,
    Manifest,
    code_version,
    content_id,
    library_versions,
    request_digest,
    utc_now,
)
from infra.publish import put_in_place, verified
from infra.refs import ID, LATEST, Refs, request_name, user_name
from infra.staging import Staging, exclusive
from irnet_core.errors import StoreError

__all__ = [
    "KINDS",
    "Artifact",
    "FileRecord",
    "Manifest",
    "Staging",
    "Store",
    "request_digest",
]

_PREFIX = re.compile(r"[0-9a-f]{4,16}")
_Strings = list[str]  # inside Store, `list` is a method
_Manifests = list[Manifest]


class Store:
    """A place for artifacts.

    Parameters
    ----------
    root : str or os.PathLike
        Local path or any fsspec URL (``s3://bucket/folder``, ``memory://name``).

    Raises
    ------
    StoreError
        If the root is a file, or its file system is unknown.

    Examples
    --------
    >>> import pyarrow as pa
    >>> store = Store("memory://store-example")
    >>> request = request_digest("snapshots", {}, {"n": 1})
    >>> with store.staging("snapshots", request) as staging:
    ...     _ = staging.write_table("data.parquet", pa.table({"n": [1]}))
    ...     manifest = store.publish(staging, ["data.parquet"], what="One row.", rows=1)
    >>> store.open("latest", "snapshots").read_table("data.parquet").num_rows
    1
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.folder = Folder(root)
        self.refs = Refs(self.folder.child("refs"))
        if self.folder.local and os.path.exists(self.folder.path) and not os.path.isdir(self.root):
            raise StoreError(f"the store {self.root} is a file: set IRNET_STORE to a folder")

    @property
    def root(self) -> str:
        """Absolute local path or URL."""
        return self.folder.url

    # making ------------------------------------------------------------------------------
    def staging(self, kind: str, request: str) -> Staging:
        """Open the staging folder of a request, with whatever an earlier run left in it.

        Raises
        ------
        StoreError
            If another process works on this request, or the store cannot be written.
        """
        if not ID.fullmatch(request):
            raise StoreError(f"{request!r} is no request: use request_digest() to make one")
        return Staging(self.folder.child(".staging", _checked_kind(kind), request), kind, request)

    def lock(self, kind: str, name: str) -> AbstractContextManager[None]:
        """Keep other processes from doing the same, beyond a single request; only locally.

        Raises
        ------
        StoreError
            If another process is at it.
        """
        folder = self.folder.child(".staging", _checked_kind(kind), user_name(name))
        return exclusive(folder, f"{kind} of {name}")

    def find(self, kind: str, request: str) -> Manifest | None:
        """Manifest of the artifact that answered a request before, if it is still whole.

        Only presence and sizes of the files are checked, see :meth:`verify`. Whatever a run that
        was killed after publishing left of its staging is deleted.
        """
        id_ = self.refs.get(_checked_kind(kind), request_name(request), damaged=True)
        if id_ is None or problems(self._home(kind, id_), kind, id_, deep=False):
            return None
        if self.folder.child(".staging", kind, request).entries():
            with suppress(StoreError):  # another run's, or not ours to delete: it costs disk alone
                self.staging(kind, request).discard()
        return self._load(kind, id_).manifest

    def publish(
        self,
        staging: Staging,
        files: Iterable[str],
        *,
        what: str,
        inputs: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        rows: int | None = None,
        counts: Mapping[str, Any] | None = None,
        licence: str = "",
        citation: str = "",
        started: str | None = None,
        names: Iterable[str] = (),
        content: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Make some staged files an artifact, all at once; the rest of the staging is deleted.

        If an artifact of the same content is there already, it stays as it is and only the names
        are set. The name ``latest`` is always set.

        Parameters
        ----------
        staging : Staging
            Its files were read back and hashed; they are hashed again here.
        files : iterable of str
            Names of the files to publish.
        what, inputs, parameters, rows, counts, licence, citation, started
            For the :class:`infra.manifest.Manifest`.
        names : iterable of str
            Names to point to the artifact.
        content : mapping, optional
            Content digests of files other than Parquet, where these leave something out.

        Raises
        ------
        StoreError
            If a file is missing or has changed since it was written, or the store cannot be
            written. Nothing half-done becomes visible.
        """
        kind = staging.kind
        names = [user_name(name) for name in names]
        records = verified(staging, sorted(set(files)), content or {})
        id_ = content_id(kind, records)
        home = self._home(kind, id_)
        if problems(home, kind, id_, deep=True):
            now = utc_now()
            manifest = Manifest(
                id=id_,
                kind=kind,
                what=what,
                request=staging.request,
                inputs=dict(inputs or {}),
                parameters=plain(parameters or {}),
                rows=rows,
                counts=plain(counts or {}),
                files=records,
                code_version=code_version(),
                libraries=library_versions(),
                started=started or now,
                finished=now,
                licence=licence,
                citation=citation,
            )
            put_in_place(staging.folder, home, manifest)
        published = self._load(kind, id_).manifest
        self.name(published, names)
        # The request comes after them: whoever finds it finds the names set as well.
        self.refs.set(kind, request_name(staging.request), id_)
        staging.discard()  # what a killed run would go on from goes when nothing is left to do
        return published

    def name(self, manifest: Manifest, names: Iterable[str] = ()) -> None:
        """Let names, and ``latest``, point to an artifact, wherever they pointed before."""
        self._load(manifest.kind, manifest.id)
        for name in [*map(user_name, names), LATEST]:
            self.refs.set(manifest.kind, name, manifest.id)

    def answer(self, manifest: Manifest, request: str) -> None:
        """Let another request find an artifact as its answer."""
        self._load(manifest.kind, manifest.id)
        self.refs.set(manifest.kind, request_name(request), manifest.id)

    # reading -----------------------------------------------------------------------------
    def open(self, ref: str, kind: str | None = None) -> Artifact:
        """Open an artifact by name, id, or the first four or more digits of its id.

        The kind may also stand in front, as in ``models/latest``.

        Raises
        ------
        StoreError
            If nothing or more than one thing answers to it; the message lists candidates.
        """
        if kind is None and ref.partition("/")[0] in KINDS:
            kind, _, ref = ref.partition("/")
        kinds = KINDS if kind is None else (_checked_kind(kind),)
        found = {(k, id_) for k in kinds if (id_ := self.refs.get(k, ref)) is not None}
        if not found and _PREFIX.fullmatch(ref):
            found = {(k, id_) for k in kinds for id_ in self._ids(k) if id_.startswith(ref)}
        if len(found) == 1:
            return self._load(*found.pop())
        if found:
            candidates = ", ".join(f"{k}/{id_}" for k, id_ in sorted(found))
            raise StoreError(f"{ref!r} is ambiguous in {self.root}, name one of: {candidates}")
        there = [f"{k}/{n}" for k in kinds for n in (*self.names(k), *self._ids(k))]
        among = f"there are {', '.join(there[:12])}" if there else "it is empty, run a flow first"
        more = f" and {len(there) - 12} more" if len(there) > 12 else ""
        what = "artifact" if kind is None else f"artifact among the {kind}"
        raise StoreError(f"no {what} in {self.root} answers to {ref!r}: {among}{more}")

    def list(self, kind: str | None = None) -> _Manifests:
        """Manifests of what is there, by kind and time; damaged ones are left out and warned of."""
        manifests = []
        for one_kind in KINDS if kind is None else (_checked_kind(kind),):
            for id_ in self._ids(one_kind):
                try:
                    manifests.append(self._load(one_kind, id_).manifest)
                except StoreError as error:
                    warnings.warn(str(error), stacklevel=2)
        return sorted(manifests, key=lambda m: (KINDS.index(m.kind), m.finished, m.id))

    def names(self, kind: str) -> dict[str, str]:
        """Names of a kind and the ids they point to, without those of requests."""
        names = self.refs.names(_checked_kind(kind))
        return {name: id_ for name in names if (id_ := self.refs.get(kind, name)) is not None}

    def verify(self, ref: str) -> _Strings:
        """Hash every file of an artifact again and return what is wrong, one sentence each."""
        manifest = self.open(ref).manifest
        home = self._home(manifest.kind, manifest.id)
        return problems(home, manifest.kind, manifest.id, deep=True)

    # -------------------------------------------------------------------------------------
    def _ids(self, kind: str) -> _Strings:
        ids = self.folder.child(kind).folders()
        return [i for i in ids if ID.fullmatch(i) and self.folder.child(kind, i).has(MANIFEST)]

    def _home(self, kind: str, id_: str) -> Folder:
        return self.folder.child(kind, id_)

    def _load(self, kind: str, id_: str) -> Artifact:
        return Artifact.load(self._home(kind, id_), kind, id_)


def _checked_kind(kind: str) -> str:
    if kind not in KINDS:
        raise StoreError(f"{kind!r} is no kind of artifact: take one of {', '.join(KINDS)}")
    return kind
