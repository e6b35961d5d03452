"""Publishing: staged files become an artifact at once, or not at all.

Locally the files are linked into a folder that, complete with its manifest, is renamed to its final
place. Remotely they are copied, and the manifest, without which nothing is there for readers, is
last. Either way the staging stays whole, with all that the step could go on from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from infra.artifact import problems
from infra.folder import Folder, sync_folder
from infra.guards import store_errors
from infra.manifest import MANIFEST, FileRecord, Manifest
from infra.staging import Staging
from irnet_core.errors import StoreError


def verified(
    staging: Staging, files: list[str], content: Mapping[str, str]
) -> dict[str, FileRecord]:
    """Records of staged files, read anew and compared with what was written.

    Parameters
    ----------
    staging : Staging
    files : list of str
        Names of the files to publish.
    content : mapping of str to str
        Content digests of files other than Parquet, where these leave something out.

    Raises
    ------
    StoreError
        If a file is missing or has changed, or a digest is given for one that takes none.
    """
    there = staging.names()
    if missing := [name for name in files if name not in there]:
        raise StoreError(f"{staging.url} has no file {missing[0]!r}: run the step again")
    if not files:
        raise StoreError(f"{staging.url}: no file was named to publish, name at least one")
    if odd := [name for name in content if name not in files or name.endswith(".parquet")]:
        raise StoreError(f"{odd[0]!r} takes no content digest: give it for other published files")
    records = {}
    for name in files:
        record = records[name] = staging.folder.describe(name, content.get(name))
        written = staging.records.get(name, record)
        if written.sha256 != record.sha256:
            raise StoreError(
                f"{staging.url}/{name} has changed since it was written: remove it, check "
                "the disk and run again"
            )
    return records


def put_in_place(source: Folder, home: Folder, manifest: Manifest) -> None:
    """Make staged files the home of an artifact.

    Parameters
    ----------
    source : Folder
        Where the files are staged.
    home : Folder
        Where the artifact is to lie; an artifact that is there already is damaged.
    manifest : Manifest
        Names the files.

    Raises
    ------
    StoreError
        If they cannot be put there.
    """
    if not source.local:
        home.remove(MANIFEST)  # before the files it speaks of
        home.remove_all()
        with store_errors("publish", home.url):
            for name in manifest.files:
                source.fs.cp_file(f"{source.path}/{name}", f"{home.path}/{name}")
        home.write_bytes(MANIFEST, manifest.to_json())
        return

    def damaged() -> bool:
        return bool(problems(home, manifest.kind, manifest.id, deep=True))

    parent = Folder(os.path.dirname(home.path))
    parent.make()
    whole, aside = Folder(f"{source.path}.whole"), Folder(f"{source.path}.damaged")
    whole.remove_all()  # both of a run that was killed here
    aside.remove_all()
    whole.make()
    with store_errors("publish", home.url):
        for name in manifest.files:
            _link(f"{source.path}/{name}", f"{whole.path}/{name}")
        whole.write_bytes(MANIFEST, manifest.to_json())
        if os.path.isdir(home.path) and damaged():
            os.rename(home.path, aside.path)
            aside.remove_all()
        try:
            os.rename(whole.path, home.path)
        except OSError:
            # Another request with the same content may have come first; that is as good.
            if damaged():
                raise
            whole.remove_all()
        sync_folder(parent.path)


def _link(old: str, new: str) -> None:
    """Give a file a second name, or copy it where the file system knows no such thing."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
        with open(new, "rb") as file:
            os.fsync(file.fileno())
