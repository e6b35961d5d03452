"""Find a model by name, id or folder, in the store or among those of the package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from featurizers.blocks import BLOCKS
from infra.manifest import Manifest
from infra.staging import Staging
from infra.store import Artifact, Store
from irnet_core import bundle
from irnet_core.bundle import Bundle
from irnet_core.errors import ModelError, StoreError
from irnet_core.pretrained import pretrained_folder, pretrained_names


def open_model(model: str, store: Store) -> tuple[Bundle, str]:
    """A model and what identifies it.

    Parameters
    ----------
    model : str
        A folder with a bundle, a name or id in the store, or else the name or digest of a model
        that comes with the package.
    store : Store

    Returns
    -------
    bundle : Bundle
    identity : str
        Id of the model, or the digest of the bundle's card and weights.

    Raises
    ------
    StoreError, ModelError
        If there is no such model, or it is damaged.
    """
    if _is_bundle(model):
        return bundle.read(model), bundle.digest(model)
    name = model.removeprefix("models/")
    try:
        artifact = store.open(name, "models")
    except StoreError as error:
        folders = [folder for folder in map(pretrained_folder, pretrained_names()) if folder]
        ours = {folder.name: folder for folder in folders}
        ours |= {bundle.digest(folder): folder for folder in folders}
        if (folder := ours.get(name)) is not None:
            return bundle.read(folder), bundle.digest(folder)
        there = ", ".join(pretrained_names())
        raise StoreError(f"{error}; the package has {there}" if there else str(error)) from error
    files = {name: artifact.read_bytes(name) for name in (bundle.CARD, bundle.WEIGHTS)}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != artifact.manifest.files[name].sha256:
            raise ModelError(
                f"{artifact.path(name)} has another content than when it was published: remove "
                f"{artifact.url} and train the model again"
            )
    return bundle.unpack(files, artifact.url), artifact.id


def input_blocks(bundle: Bundle) -> tuple[str, ...]:
    """Blocks of features that a model sees, in order.

    Raises
    ------
    FeatureSchemaError
        If it was trained on other definitions of them than today's.
    """
    names = tuple(str(block["name"]) for block in bundle.card.inputs)
    bundle.check_inputs([BLOCKS[name].schema for name in names if name in BLOCKS])
    return names


def _is_bundle(model: str) -> bool:
    try:
        return (Path(model) / bundle.CARD).is_file()
    except OSError:  # too long for a path, or in a folder that is closed to us
        return False


def in_store(identity: str, store: Store) -> bool:
    """Whether what :func:`open_model` says identifies a model is its id in the store."""
    return store.folder.child("models", identity).has(bundle.CARD)


def publish_model(
    staging: Staging,
    store: Store,
    made: Bundle,
    source: Artifact,
    *,
    what: str,
    inputs: dict[str, str],
    parameters: dict[str, Any],
    started: str,
) -> Manifest:
    """Publish a judged model under the name on its card, with the licence of its snapshot.

    Parameters
    ----------
    staging, store : Staging, Store
    made : Bundle
        The model.
    source : Artifact
        The snapshot it was trained on.
    what, inputs, parameters, started
        For the :class:`infra.manifest.Manifest`.

    Raises
    ------
    ModelError
        If nobody could read the model.
    """
    files = bundle.pack(made)
    bundle.unpack(files, staging.url)  # what nobody could read is not published
    for file, content in files.items():
        staging.write_bytes(file, content)
    card = made.card
    return store.publish(
        staging,
        list(files),
        what=what,
        inputs=inputs,
        parameters=parameters,
        counts=card.data["rows"] | {"validation_mae": card.metrics["validation"]["mae"]},
        licence=source.manifest.licence,
        citation=source.manifest.citation,
        started=started,
        names=[card.name],
        content={bundle.CARD: card.digest()},
    )
