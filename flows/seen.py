"""Which compositions a model has met in training, made again from what its card records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featurizers.blocks import schemas
from flows.dataset import Dataset, load_features, matching, split_rows
from flows.models import open_model
from flows.snapshot import source_of
from infra.refs import ID
from infra.store import Store
from irnet_core.card import Card
from irnet_core.errors import IRNetError, ModelError, StoreError
from irnet_core.hold_out import recorded_rules, split_without
from irnet_core.splits import among

_MOST_PARENTS = 8


@dataclass(frozen=True)
class Seen:
    """Compositions that a model, or one that it continues, has met.

    Attributes
    ----------
    trained, validated : numpy.ndarray of object
        Distinct compositions of the rows that it was fitted on, and of those that chose its epoch
        and calibrated its intervals.
    unknown : str
        Why that is not all, in words; empty where it is.
    """

    trained: np.ndarray
    validated: np.ndarray
    unknown: str = ""

    def among(self, compositions: np.ndarray) -> tuple[int, int]:
        """How many rows (n,) have compositions trained on, and others validated on."""
        trained = among(compositions, self.trained)
        validated = among(compositions, self.validated) & ~trained
        return int(trained.sum()), int(validated.sum())


def seen_by(card: Card, store: Store) -> Seen:
    """What a model has met, its ancestors included; what cannot be found out is said, not raised.

    Parameters
    ----------
    card : Card
        From anywhere: nothing in it is relied upon.
    store : Store
        Where snapshot and features of the training are looked for.
    """
    trained, validated = [np.array([], object)], [np.array([], object)]
    unknown = ""
    for _ in range(1 + _MOST_PARENTS):
        try:
            train, validation = _split_of(card, store)
            trained.append(train)
            validated.append(validation)
            if not card.parent:
                break
            parent = str(card.parent.get("model"))
            if not ID.fullmatch(parent):  # no path that a stranger's card may choose
                raise ModelError(f"its card says that it continues {parent!r}, which is no id")
            card = open_model(parent, store)[0].card
        except IRNetError as error:
            unknown = str(error)
            break
    else:
        unknown = f"it continues more than {_MOST_PARENTS} models"
    return Seen(np.unique(np.concatenate(trained)), np.unique(np.concatenate(validated)), unknown)


def check_parent_has_not_seen(card: Card, dataset: Dataset, store: Store) -> dict[str, object]:
    """What a model to continue from has met of the rows that judge the new one.

    Parameters
    ----------
    card : Card
        Of the model to continue.
    dataset : Dataset
        Rows of the new one.
    store : Store
        Where snapshot and features of the earlier training are looked for.

    Returns
    -------
    dict
        Validation rows whose compositions it was trained on, or why that is not known, for the
        new model's card.

    Raises
    ------
    ModelError
        If it has met compositions that are to be held out, or may have.
    """
    seen = seen_by(card, store)
    remedy = "train it anew with the same --hold-out, or train from scratch"
    trained, validated = seen.among(dataset.held_out)
    if trained + validated:
        raise ModelError(
            f"model {card.name!r} was trained on {trained} of the {len(dataset.held_out)} rows to "
            f"be held out, and validated on {validated}: {remedy}"
        )
    if seen.unknown and len(dataset.held_out):
        raise ModelError(
            f"whether model {card.name!r} has met rows to be held out is not known "
            f"({seen.unknown}): {remedy}"
        )
    if seen.unknown:
        return {"not_checked": seen.unknown}
    return {"validation_rows_it_trained_on": seen.among(dataset.validated)[0]}


def _split_of(card: Card, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Compositions that trained and validated one model."""
    ids = {kind: str(card.data.get(kind)) for kind in ("snapshot", "features")}
    try:
        snapshot = store.open(ids["snapshot"], "snapshots")
    except StoreError as error:
        raise ModelError(f"its snapshot {ids['snapshot']} is not in the store") from error
    try:
        features = store.open(ids["features"], "features")
    except StoreError as error:
        raise ModelError(
            f"its features {ids['features']} are not in the store: run irnet featurize "
            f"{snapshot.id}"
        ) from error
    rule, outer = recorded_rules(card.split)
    rules = [rule] if outer is None else [rule, outer]
    columns = {column for each in rules for column in each.columns}
    kinds = {each.kind for each in rules}
    blocks = schemas([str(block["name"]) for block in card.inputs]) if "cluster" in kinds else []
    x, row = load_features(features, blocks)
    rows = split_rows(matching(snapshot, features, row, sorted(columns)), x, source_of(snapshot))
    split = split_without(rule, outer, rows)
    return np.unique(rows.compositions[split.train]), np.unique(rows.compositions[split.validation])
