"""Find a model by name, id or folder."""

from __future__ import annotations

from pathlib import Path

from infra.store import Store
from irnet_core import bundle
from irnet_core.bundle import Bundle


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
    """
    if (Path(model) / bundle.CARD).is_file():
        return bundle.read(model), bundle.digest(model)
    artifact = store.open(model, "models")
    files = {name: artifact.read_bytes(name) for name in (bundle.CARD, bundle.WEIGHTS)}
    return bundle.unpack(files, artifact.url), artifact.id
