"""Trained models that come with the package, one folder each: a bundle, ready to use."""

from __future__ import annotations

from pathlib import Path

from irnet_core.card import CARD

_HERE = Path(__file__).parent


def pretrained_names() -> list[str]:
    """Names of the models, sorted."""
    return sorted(card.parent.name for card in _HERE.glob(f"*/{CARD}"))


def pretrained_folder(name: str) -> Path | None:
    """Folder of a model's bundle, None if there is no such model.

    Examples
    --------
    >>> pretrained_folder("no such model") is None
    True
    """
    return _HERE / name if name in pretrained_names() else None
