"""Flow ``train``: features and a target to a model bundle."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from prefect import flow

from featurizers.blocks import schemas
from flows.dataset import check_columns, load
from flows.featurize import featurize_stage
from flows.progress import progress, say
from flows.snapshot import snapshot_of, source_of
from flows.stage import stage
from infra.compute import use_threads
from infra.manifest import code_version, request_digest, utc_now
from infra.refs import user_name
from infra.settings import settings
from infra.store import Store
from irnet_core import bundle
from irnet_core.bundle import Bundle, Card
from irnet_core.device import has_native_bf16, pick_device
from irnet_core.errors import NotationError
from irnet_core.inference import Predictor
from irnet_core.metrics import metrics
from irnet_core.networks import notation_of, parse_notation
from irnet_core.recipes import Recipe
from irnet_core.recipes import recipe as recipe_of
from irnet_core.training import Status, fit


def check_choices(network: str, recipe: str, epochs: int | None, name: str) -> tuple[str, Recipe]:
    """Make sure, before any work, that a model can be trained and named as the user asked.

    Returns
    -------
    notation : str
        Of the network.
    recipe : Recipe

    Raises
    ------
    NotationError, TrainingError, ModelError, StoreError
        Saying which of the choices, or the device in the settings, cannot be used.
    """
    notation = notation_of(network)
    _, n_outputs = parse_notation(notation)
    if n_outputs != 1:
        raise NotationError(f"network {network!r} has {n_outputs} outputs: end it in -1")
    chosen = recipe_of(recipe)
    pick_device(settings().device)
    user_name(name)
    return notation, chosen if epochs is None else chosen.with_epochs(epochs)


@stage("train")
def train_stage(
    snapshot: str,
    features: str,
    target: str,
    split_column: str | None,
    network: str,
    recipe: str,
    epochs: int | None,
    seed: int,
    name: str,
) -> str:
    """Publish a model trained on published features; returns its id."""
    store = Store(settings().store)
    notation, chosen = check_choices(network, recipe, epochs, name)
    device = pick_device(settings().device)
    source, table = store.open(snapshot, "snapshots"), store.open(features, "features")
    inputs = {"snapshot": source.id, "features": table.id}
    parameters = {
        "target": target,
        "split_column": split_column,
        "network": notation,
        "recipe": asdict(chosen),
        "seed": seed,
    }
    request = request_digest("models", inputs, parameters)
    if found := store.find("models", request):
        store.name(found, [name])
        return found.id

    started = utc_now()
    dataset = load(source, table, chosen.inputs, target, split_column, seed)
    data, split = dataset.data, dataset.split
    threads = use_threads(settings())
    fast = "bfloat16" if chosen.precision == "auto" and has_native_bf16(device) else "float32"
    say(
        f"train {network} on {len(data.train_y):,} rows, validate on {len(data.validation_y):,}; "
        f"{device} in {fast}, {threads} threads"
    )
    with store.staging("models", request) as staging:
        rows = len(data.train_y)
        batch = chosen.batch(rows)
        with progress("train", chosen.epochs(rows) * (rows // batch) * batch) as update:

            def report(status: Status) -> None:
                best = f"{status.best_mae:.4f} {dataset.unit}" if status.best_epoch else "-"
                note = f"epoch {status.epoch}/{status.epochs}, best validation MAE {best}"
                update(status.rows_done, note)

            fitted = fit(
                data, notation, chosen, seed=seed, device=device, folder=staging, report=report
            )
        card = Card(
            name=name,
            network=notation,
            target=target,
            unit=dataset.unit,
            inputs=[
                {"name": schema.name, "hash": schema.hash, "columns": len(schema.columns)}
                for schema in schemas(chosen.inputs)
            ],
            recipe=asdict(chosen),
            seed=seed,
            epochs=fitted.progress.epoch,
            best_epoch=fitted.progress.best_epoch,
            data={
                "source": source_of(source),
                "snapshot": source.id,
                "features": table.id,
                "rows": {"train": len(data.train_y), "validation": len(data.validation_y)},
                "licence": source.manifest.licence,
                "citation": source.manifest.citation,
            },
            split=split.description,
            metrics={},
            history=[asdict(evaluation) for evaluation in fitted.progress.history],
            versions=bundle.versions() | {"irnet-screening": code_version()},
            created=started,
        )
        made = Bundle(card, fitted.network, fitted.inputs, fitted.target)
        predicted = Predictor(made, device, chosen.precision)(data.validation_x).cpu().numpy()
        card.metrics["validation"] = asdict(metrics(data.validation_y, predicted))
        files = bundle.pack(made)
        for file, content in files.items():
            staging.write_bytes(file, content)
        return store.publish(
            staging,
            list(files),
            what=f"{network} for {target}, trained on {source_of(source)}",
            inputs=inputs,
            parameters=parameters,
            counts=card.data["rows"] | {"validation_mae": card.metrics["validation"]["mae"]},
            licence=source.manifest.licence,
            citation=source.manifest.citation,
            started=started,
            names=[name],
            content={bundle.CARD: card.digest()},
        ).id


@flow(name="train")
def train(
    data: str = "latest",
    target: str = "formation_energy_ev_atom",
    split_column: str | None = None,
    formula_column: str = "formula",
    network: str = "irnet-17",
    recipe: str = "modern",
    epochs: int | None = None,
    seed: int = 0,
    name: str = "default",
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
    network, recipe : str
        See :mod:`irnet_core.networks` and :mod:`irnet_core.recipes`.
    epochs : int, optional
        Instead of the recipe's.
    seed : int
    name : str
        Name under which the model is found.

    Returns
    -------
    str
        Id of the model.
    """
    check_choices(network, recipe, epochs, name)
    check = partial(check_columns, target=target, split_column=split_column)
    snapshot = snapshot_of(data, formula_column, check)
    features = featurize_stage(snapshot, "composition")
    return train_stage(
        snapshot, features, target, split_column, network, recipe, epochs, seed, name
    )
