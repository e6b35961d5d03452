"""Flow ``retrain``: snapshot, features and model in one run, as a schedule wants it."""

from __future__ import annotations

from functools import partial

from prefect import flow

from flows.choices import check_members, network_and_parent
from flows.dataset import check_columns
from flows.featurize import featurize_stage
from flows.prepare import prepare_stage
from flows.snapshot import snapshot_stage
from flows.train import train_stage
from infra.refs import user_name
from infra.snapshots.funnel import Steps
from infra.snapshots.prepare import Preparation, steps_named
from irnet_core.schema import FORMATION_ENERGY, FORMULA
from irnet_core.split_texts import parse_split


@flow(name="retrain")
def retrain(
    source: str = "pymatgen-expt",
    path: str | None = None,
    target: str = FORMATION_ENERGY.name,
    steps: str | None = None,
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
) -> str:
    """Pull a source, prepare and featurize what is new, and train a model; nothing is done twice.

    Parameters are those of the flows ``snapshot`` and ``train``, steps those of ``prepare``.
    Without steps the rows of the source are trained on as they are, which those of a database, with
    several structures to a composition and values missing, do not allow. Give a parent another name
    than the model's: what continues itself is trained anew each time.

    Returns
    -------
    str
        Id of the model; that of the earlier one if the source has not changed.
    """
    network, parent = network_and_parent(network, parent, recipe, epochs, name)
    check_members(members, weights, seed)
    parse_split(split_column)
    wanted = None
    if steps is not None:
        user_name(f"{name}-table")
        wanted = Preparation(target=target, steps=Steps(steps_named(steps)))
    check = partial(check_columns, target=target, split_column=split_column)
    if wanted is None:
        snapshot = snapshot_stage(source, path, formula_column, check=check)
    else:
        pulled = snapshot_stage(source, path, formula_column)
        snapshot = prepare_stage([pulled], wanted, f"{name}-table")
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
    )
