"""Flow ``train``: features and a target to a model bundle."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from threading import Lock

import torch
from prefect import flow

from featurizers.blocks import schemas
from flows.choices import (
    check_choices,
    check_database,
    check_members,
    check_parent,
    check_same_quantity,
    network_and_parent,
)
from flows.dataset import ROLES, Dataset, check_columns, load
from flows.featurize import featurize_stage
from flows.models import publish_model
from flows.progress import progress, say
from flows.seen import check_parent_has_not_seen
from flows.snapshot import snapshot_of, source_of
from flows.stage import stage
from infra.manifest import code_version, request_digest, utc_now
from infra.settings import settings
from infra.staging import Staging
from infra.store import Store
from infra.threads import use_threads
from irnet_core.bundle import Bundle
from irnet_core.device import has_native_bf16, pick_device
from irnet_core.ensemble import fit_members
from irnet_core.hold_out import HOLD_OUT
from irnet_core.judging import assembled, judged
from irnet_core.recipes import Recipe
from irnet_core.schema import FORMATION_ENERGY, FORMULA
from irnet_core.training import Fitted, Start, Status, TrainingData


@stage("train", makes="models")
def train_stage(
    snapshot: str,
    features: str,
    *,
    target: str,
    split_column: str | None,
    network: str,
    recipe: str,
    epochs: int | None,
    seed: int,
    name: str,
    members: int,
    weights: str,
    parent: str | None,
    hold_out: str | None = None,
    database: str | None = None,
) -> str:
    """Publish a model trained on published features; returns its id.

    Parameters
    ----------
    snapshot, features : str
        Ids of the rows and of what was computed of them.
    target, split_column, network, recipe, epochs, seed, name, members, weights, parent
        As those of :func:`train`.
    hold_out, database : str, optional
        As those of :func:`train`.

    Raises
    ------
    IRNetError
        In a sentence that names what cannot be found, used, or combined.
    """
    store = Store(settings().store)
    notation, chosen = check_choices(network, recipe, epochs, name)
    check_members(members, weights, seed)
    started_from: Bundle | None = None
    provenance: dict[str, object] = {}
    if parent is not None:
        started_from, identity, notation = check_parent(parent, network, chosen)
        chosen = chosen.for_transfer(started_from.card.target == target)
        provenance = {"model": identity, "target": started_from.card.target}
    device = pick_device(settings().device)
    source, table = store.open(snapshot, "snapshots"), store.open(features, "features")
    inputs = {"snapshot": source.id, "features": table.id}
    parameters = {
        "target": target,
        "split_column": split_column,
        "network": notation,
        "recipe": asdict(chosen),
        "seed": seed,
        "members": members,
        "weights": weights,
        "parent": provenance,
    }
    # without these, requests are those of earlier versions
    if hold_out is not None:
        parameters["hold_out"] = hold_out
    if database is not None:
        parameters["database"] = database
    request = request_digest("models", inputs, parameters)
    if found := store.find("models", request):
        store.name(found, [name])
        return found.id

    started = utc_now()
    dataset = load(source, table, chosen.inputs, target, split_column, seed, hold_out)
    data, split = dataset.data, dataset.split
    if started_from is not None:
        check_same_quantity(started_from, target, dataset.unit, data)
        met = check_parent_has_not_seen(started_from.card, dataset, store)
        say_what_continues(started_from, members, met, len(data.validation_y))
        provenance = provenance | met
    threads = use_threads(settings())
    fast = "bfloat16" if chosen.precision == "auto" and has_native_bf16(device) else "float32"
    _say_what_is_trained(network, dataset, hold_out, f"{device} in {fast}, {threads} threads")
    with store.staging("models", request) as staging:
        fits = _fit_members(
            data,
            notation,
            chosen,
            seed=seed,
            members=members,
            device=device,
            staging=staging,
            starts=starts_of(started_from, target),
            unit=dataset.unit,
        )
        made = assembled(
            fits,
            chosen,
            schemas(chosen.inputs),
            name=name,
            target=target,
            unit=dataset.unit,
            seed=seed,
            data={
                "source": source_of(source),
                "snapshot": source.id,
                "features": table.id,
                "rows": dataset.counts,
                "licence": source.manifest.licence,
                "citation": source.manifest.citation,
            }
            | ({} if database is None else {"database": database}),
            split=split.description,
            created=started,
            weights=weights,
            parent=provenance,
            code={"irnet-screening": code_version()},
        )
        made = judged(made, data, device=device, seed=seed)
        return publish_model(
            staging,
            store,
            made,
            source,
            what=f"{network} for {target}, trained on {source_of(source)}",
            inputs=inputs,
            parameters=parameters,
            started=started,
        ).id


def _say_what_is_trained(network: str, dataset: Dataset, hold_out: str | None, where: str) -> None:
    """Tell how many rows train, validate and are held out, and what may be amiss with them."""
    data, held = dataset.data, dataset.split.description.get(HOLD_OUT)
    without = f", hold out {held['rows']:,} ({hold_out})" if isinstance(held, dict) else ""
    say(
        f"train {network} on {len(data.train_y):,} rows, validate on {len(data.validation_y):,}"
        f"{without}; {where}"
    )
    if dataset.repeated:
        say(
            f"{dataset.repeated:,} compositions have more than one row, whose values may differ: "
            "irnet prepare keeps one of each"
        )
    if dataset.marked_test:
        say(
            f"{dataset.marked_test:,} of these rows are marked test in the column {ROLES}, which "
            "this split does not look at: the model cannot be judged on them any more"
        )


def say_what_continues(
    parent: Bundle, members: int, met: dict[str, object], n_validation: int
) -> None:
    """Tell which networks are continued, and what they have met of the rows that judge.

    Parameters
    ----------
    parent : Bundle
        The model that is continued.
    members : int
        Networks that are trained.
    met : dict
        Of :func:`flows.seen.check_parent_has_not_seen`.
    n_validation : int
        Validation rows.
    """
    name, there = parent.card.name, len(parent.networks)
    if members < there:
        say(f"continue {members} of the {there} networks of {name!r}: --members {there} takes all")
    if why := met.get("not_checked"):
        say(f"whether {name!r} was trained on validation rows is not known: {why}")
    if n_met := met.get("validation_rows_it_trained_on"):
        say(
            f"{n_met:,} of {n_validation:,} validation rows are compositions that {name!r} was "
            "trained on: errors on new ones may be larger"
        )


def starts_of(parent: Bundle | None, target: str) -> tuple[Start, ...]:
    """Networks to continue from; with their output where they were trained for this target."""
    if parent is None:
        return ()
    same = parent.card.target == target
    return tuple(Start(network, parent.inputs, parent.target, same) for network in parent.networks)


def _fit_members(
    data: TrainingData,
    notation: str,
    recipe: Recipe,
    *,
    seed: int,
    members: int,
    device: torch.device,
    staging: Staging,
    starts: tuple[Start, ...],
    unit: str,
) -> list[Fitted]:
    """Train the members and show how far they are."""
    n = len(data.train_y)
    rows = recipe.epochs(n) * (n // recipe.batch(n)) * recipe.batch(n)
    latest: dict[int, Status] = {}
    guard = Lock()
    with progress("train", members * rows) as update:

        def report(member: int, status: Status) -> None:
            with guard:
                latest[member] = status
                done = sum(one.rows_done for one in latest.values())
                found = [one.best_mae for one in latest.values() if one.best_epoch]
                best = f"{min(found):.4f} {unit}" if found else "-"
                which = f"member {member + 1}/{members}, " if members > 1 else ""
                epoch = f"epoch {status.epoch}/{status.epochs}"
                update(done, f"{which}{epoch}, best validation MAE {best}")

        return fit_members(
            data,
            notation,
            recipe,
            seed=seed,
            members=members,
            device=device,
            folder=staging,
            starts=starts,
            report=report,
        )


@flow(name="train")
def train(
    data: str = "latest",
    target: str = FORMATION_ENERGY.name,
    split_column: str | None = None,
    formula_column: str = FORMULA.name,
    network: str | None = None,
    recipe: str = "modern",
    epochs: int | None = None,
    seed: int = 0,
    name: str = "default",
    members: int = 1,
    weights: str = "float32",
    parent: str | None = None,
    hold_out: str | None = None,
    database: str | None = None,
) -> str:
    """Train a model, taking the snapshot and computing the features first if need be.

    Parameters
    ----------
    data : str
        A CSV or Parquet table, or the id or name of a snapshot.
    target : str
        Column to learn.
    split_column : str, optional
        Column that marks rows ``train`` and ``val``; without it a tenth of the compositions, drawn
        by ``seed``, validates.
    formula_column : str
        Column of the table that holds the formulas.
    network : str, optional
        See :mod:`irnet_core.notation`; by default that of ``parent``, irnet-elements, or for a
        recipe without element fractions irnet-17.
    recipe : str
        See :mod:`irnet_core.recipes`.
    epochs : int, optional
        Instead of the recipe's.
    seed : int
    name : str
        Name under which the model is found.
    members : int
        Networks of an ensemble, with seeds from ``seed`` on.
    weights : {"float32", "bfloat16"}
        Type the matrices are stored in.
    parent : str, optional
        Name, id or folder of a model to continue from.
    hold_out : str, optional
        Rule like that of ``split_column``, whose validation rows are left out altogether: neither
        trained nor validated on. The split is drawn among the others.
    database : str, optional
        Where the values of a file are from, one of :data:`infra.sources.DATABASES`: hulls of that
        database's snapshots fit the model.

    Returns
    -------
    str
        Id of the model.
    """
    network, parent = network_and_parent(network, parent, recipe, epochs, name)
    check_members(members, weights, seed)
    check_database(database)
    check = partial(check_columns, target=target, split_column=split_column, hold_out=hold_out)
    snapshot = snapshot_of(data, formula_column, check)
    features = featurize_stage(snapshot, "composition")
    return train_stage(
        snapshot,
        features,
        target=target,
        split_column=split_column,
        network=network,
        recipe=recipe,
        epochs=epochs,
        seed=seed,
        name=name,
        members=members,
        weights=weights,
        parent=parent,
        hold_out=hold_out,
        database=database,
    )
