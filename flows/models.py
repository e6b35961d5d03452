"""Find a model by name, id or folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from infra.store import Store
from irnet_core import bundle
from irnet_core.bundle import Bundle
from irnet_core.errors import ModelError


def open_model(model: str, store: Store) -> tuple[Bundle, str]:
    """A model and what identifies it.

    Parameters
    ----------
    model : str
        Name or id in the store, or a folder with a bundle.
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
    if (Path(model) / bundle.CARD).is_file():
        return bundle.read(model), bundle.digest(model)
    artifact = store.open(model.removeprefix("models/"), "models")
    files = {name: artifact.read_bytes(name) for name in (bundle.CARD, bundle.WEIGHTS)}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != artifact.manifest.files[name].sha256:
            raise ModelError(
                f"{artifact.path(name)} has another content than when it was published: remove "
                f"{artifact.url} and train the model again"
            )
    return bundle.unpack(files, artifact.url), artifact.id
