"""Join models that were trained alike to one ensemble, calibrated anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from flows.choices import check_members
from flows.dataset import Dataset, dataset
from flows.models import open_model, publish_model
from infra.manifest import request_digest, utc_now
from infra.refs import user_name
from infra.settings import settings
from infra.store import Artifact, Store
from infra.threads import use_threads
from irnet_core.bounds import bounds_of
from irnet_core.bundle import BOUNDS, Bundle, scaler_tensors, versions
from irnet_core.card import Card
from irnet_core.device import pick_device
from irnet_core.errors import ModelError
from irnet_core.hold_out import recorded_rules
from irnet_core.judging import judged


def join(models: Sequence[str], name: str, weights: str = "float32") -> str:
    """Publish the networks of several models as one ensemble; returns its id.

    Their mean is judged and its intervals and domain are calibrated on the validation rows, which
    they must have in common, as they must have inputs, target and kind of network; recipes and
    seeds may differ.

    Parameters
    ----------
    models : sequence of str
        Names or ids in the store, or folders of bundles; the snapshot and the features that they
        were trained on must be in the store.
    name : str
        Under which the ensemble is found.
    weights : {"float32", "bfloat16"}

    Raises
    ------
    ModelError
        If the models differ in more than seeds and recipes, or make too many members.
    StoreError
        If a model, or what it was trained on, is not there.
    """
    store = Store(settings().store)
    user_name(name)
    opened = [open_model(model, store) for model in models]
    labels = [Path(model).name for model in models]
    check_members(sum(len(made.networks) for made, _ in opened), weights)
    first = opened[0][0]
    if len(opened) < 2:
        raise ModelError(f"only model {labels[0]!r} is named: an ensemble is joined of two or more")
    for (i, (one, identity)), (j, (other, same)) in combinations(enumerate(opened), 2):
        if identity == same:
            raise ModelError(f"model {labels[j]!r} is named twice: its networks would count double")
        if differing := difference(one, other):
            raise ModelError(
                f"models {labels[i]!r} and {labels[j]!r} differ in their {differing}: only "
                "networks that were trained alike on the same rows can be joined"
            )
    inputs = {kind: str(first.card.data.get(kind)) for kind in ("snapshot", "features")}
    parameters = {"joined": [identity for _, identity in opened], "weights": weights}
    request = request_digest("models", inputs, parameters)
    if found := store.find("models", request):
        store.name(found, [name])
        return found.id
    started = utc_now()
    source = store.open(inputs["snapshot"], "snapshots")
    rows = _rows(first.card, source, store.open(inputs["features"], "features"))
    card = replace(
        first.card,
        name=name,
        members=[
            member
            | {"model": identity}
            | ({} if made.card.recipe == first.card.recipe else {"recipe": made.card.recipe})
            for made, identity in opened
            for member in members_of(made.card)
        ],
        data=first.card.data | {"rows": rows.counts},
        split=rows.split.description,
        parent=next((made.card.parent for made, _ in opened if made.card.parent), {}),
        weights=weights,
        versions=first.card.versions | versions(),
        created=started,
    )
    networks = tuple(network for made, _ in opened for network in made.networks)
    target = replace(first.target, bounds=bounds_of(rows.data.train_y))  # older models have none
    use_threads(settings())
    made = judged(
        replace(first, card=card, networks=networks, target=target),
        rows.data,
        device=pick_device(settings().device),
        seed=card.seed,
    )
    with store.staging("models", request) as staging:
        return publish_model(
            staging,
            store,
            made,
            source,
            what=f"{len(networks)} networks for {card.target}, joined of {', '.join(labels)}",
            inputs=inputs,
            parameters=parameters,
            started=started,
        ).id


def difference(one: Bundle, other: Bundle) -> str:
    """What two models differ in that members of an ensemble have in common; empty for nothing."""
    pairs = {
        "networks": (one.card.network, other.card.network),
        "targets": (one.card.target, other.card.target),
        "units": (one.card.unit, other.card.unit),
        "inputs": (one.card.inputs, other.card.inputs),
        "snapshots": (one.card.data.get("snapshot"), other.card.data.get("snapshot")),
        "features": (one.card.data.get("features"), other.card.data.get("features")),
        "splits": (one.card.split, other.card.split),
    }
    for what, (here, there) in pairs.items():
        if here != there:
            return what
    if one.card.parent and other.card.parent and one.card.parent != other.card.parent:
        return "parents"
    here, there = (scaler_tensors(made) for made in (one, other))
    for tensors in (here, there):
        tensors.pop(BOUNDS, None)
    alike = here.keys() == there.keys() and all(torch.equal(here[k], there[k]) for k in here)
    return "" if alike else "scaling"


def members_of(card: Card) -> list[dict[str, Any]]:
    """What a card says of each network; one of format 1 says it of the whole model."""
    own = {"seed": card.seed, "epochs": card.epochs, "best_epoch": card.best_epoch}
    return card.members or [own]


def _rows(card: Card, source: Artifact, features: Artifact) -> Dataset:
    """The rows that the models were trained and validated on, split again as their card says."""
    blocks = [str(block["name"]) for block in card.inputs]
    return dataset(source, features, blocks, card.target, *recorded_rules(card.split))
