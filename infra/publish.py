"""Publishing: staged files become an artifact at once, or not at all.

Locally a staging folder that is complete, manifest included, is renamed to its final place.
Remotely the files are copied and the manifest, without which nothing is there for readers, is last.
"""

from __future__ import annotations

import os
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
    """Records of staged files, read anew and compared with what was written."""
    there = staging.names()
    if missing := [name for name in files if name not in there]:
        raise StoreError(f"{staging.local_dir} has no file {missing[0]!r}: run the step again")
    if not files:
        raise StoreError(f"{staging.local_dir}: no file was named to publish, name at least one")
    if odd := [name for name in content if name not in files or name.endswith(".parquet")]:
        raise StoreError(f"{odd[0]!r} takes no content digest: give it for other published files")
    records = {}
    for name in files:
        record = records[name] = staging.folder.describe(name, content.get(name))
        written = staging.records.get(name, record)
        if written.sha256 != record.sha256:
            raise StoreError(
                f"{staging.local_dir}/{name} has changed since it was written: remove it, check "
                "the disk and run again"
            )
    return records


def move_in(source: Folder, home: Folder, manifest: Manifest) -> None:
    """Make a staging folder the home of an artifact; what is there already is damaged."""
    source.keep(manifest.files)
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

    source.write_bytes(MANIFEST, manifest.to_json())
    parent = Folder(os.path.dirname(home.path))
    parent.make()
    with store_errors("publish", home.url):
        if os.path.isdir(home.path) and damaged():
            aside = Folder(f"{source.path}.damaged")
            aside.remove_all()
            os.rename(home.path, aside.path)
            aside.remove_all()
        try:
            os.rename(source.path, home.path)
        except OSError:
            # Another request with the same content may have come first; that is as good.
            if damaged():
                raise
        sync_folder(parent.path)
