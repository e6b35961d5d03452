"""What a user may ask of training, checked before any work."""

from __future__ import annotations

import numpy as np

from featurizers.blocks import schemas
from flows.models import in_store, open_model
from infra.refs import user_name
from infra.settings import settings
from infra.sources import DATABASES
from infra.store import Store
from irnet_core.bundle import MAX_MEMBERS, WEIGHT_TYPES, Bundle
from irnet_core.card import is_number
from irnet_core.device import pick_device
from irnet_core.errors import ModelError, NotationError
from irnet_core.notation import FRACTIONS, check_blocks, notation_of, parse_notation
from irnet_core.recipes import Recipe
from irnet_core.recipes import recipe as recipe_of
from irnet_core.training_data import TrainingData

LARGEST_SEED = 2**63 - 1 - MAX_MEMBERS
MOST_TIMES = 100.0  # that values of one quantity vary more, or less, from one table to another


def default_network(recipe: str) -> str:
    """The network that is trained by a recipe where none is named.

    Raises
    ------
    TrainingError
        If there is no such recipe.
    """
    return "irnet-elements" if recipe_of(recipe).inputs[-1] == FRACTIONS else "irnet-17"


def check_choices(network: str, recipe: str, epochs: int | None, name: str) -> tuple[str, Recipe]:
    """Make sure, before any work, that a model can be trained and named as the user asked.

    Parameters
    ----------
    network : str
        Name or notation.
    recipe : str
    epochs : int, optional
        Instead of the recipe's own number.
    name : str
        Under which the model is to be found.

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
    chosen = recipe_of(recipe)
    notation = notation_of(network)
    n_outputs = parse_notation(notation).n_outputs
    if n_outputs != 1:
        raise NotationError(f"network {network!r} has {n_outputs} outputs: end it in -1")
    check_blocks(notation, chosen.inputs)
    pick_device(settings().device)
    user_name(name)
    return notation, chosen if epochs is None else chosen.with_epochs(epochs)


def check_members(members: int, weights: str, seed: int = 0) -> None:
    """Make sure, before any work, that an ensemble can be made.

    Parameters
    ----------
    members : int
        How many networks it has.
    weights : str
        Type that their matrices are stored in.
    seed : int
        Of the first member; the others follow on it.

    Raises
    ------
    ModelError
        Saying which of the choices cannot be used.
    """
    if not 0 < members <= MAX_MEMBERS:
        raise ModelError(f"an ensemble has 1 to {MAX_MEMBERS} members, not {members}")
    if weights not in WEIGHT_TYPES:
        raise ModelError(f"weights {weights!r} are not known: choose {' or '.join(WEIGHT_TYPES)}")
    if not 0 <= seed <= LARGEST_SEED:
        raise ModelError(f"a seed is a whole number from 0 to {LARGEST_SEED}, not {seed}")


def check_database(database: str | None) -> None:
    """Make sure that a database is one that snapshots are pulled from.

    Raises
    ------
    ModelError
        If it is not.
    """
    if database is not None and database not in DATABASES:
        raise ModelError(f"{database!r} is no database: choose among {', '.join(DATABASES)}")


def check_parent(model: str, network: str | None, recipe: Recipe) -> tuple[Bundle, str, str]:
    """Make sure that training can continue a model.

    Parameters
    ----------
    model : str
        Its name, id or folder.
    network : str, optional
        The network that the user asked for.
    recipe : Recipe
        By which training goes on.

    Returns
    -------
    parent : Bundle
    identity : str
        Of :func:`flows.models.open_model`.
    network : str
        Notation of its networks, without the spread.

    Raises
    ------
    ModelError, FeatureSchemaError
        If the model is damaged, or has another network or other inputs than those asked for.
    """
    parent, identity = open_model(model, Store(settings().store))
    names = [block["name"] for block in parent.card.inputs]
    if names != list(recipe.inputs):
        raise ModelError(
            f"model {parent.card.name!r} was trained on {', '.join(names)}, recipe "
            f"{recipe.name!r} trains on {', '.join(recipe.inputs)}: choose the model's own recipe"
        )
    parent.check_inputs(schemas(recipe.inputs))
    hidden = parent.card.network.rpartition("-")[0]
    if network is not None and notation_of(network).rpartition("-")[0] != hidden:
        raise ModelError(
            f"model {parent.card.name!r} has network {hidden}-1, not {network}: leave out --network"
        )
    return parent, identity, f"{hidden}-1"


def network_and_parent(
    network: str | None, parent: str | None, recipe: str, epochs: int | None, name: str
) -> tuple[str, str | None]:
    """Network to train and model to continue, checked before any work.

    Parameters
    ----------
    network, parent, recipe, epochs, name
        As those of the flow ``train``.

    Returns
    -------
    network : str
        The one asked for, else the parent's, else the recipe's.
    parent : str, optional
        By its id where it is in the store, so that its name may move meanwhile.

    Raises
    ------
    NotationError, TrainingError, ModelError, FeatureSchemaError, StoreError
        As :func:`check_choices` and :func:`check_parent`.
    """
    _, chosen = check_choices(network or default_network(recipe), recipe, epochs, name)
    if parent is not None:
        _, identity, network = check_parent(parent, network, chosen)
        parent = identity if in_store(identity, Store(settings().store)) else parent
    return network or default_network(recipe), parent


def check_same_quantity(parent: Bundle, target: str, unit: str, data: TrainingData) -> None:
    """Make sure that a target of the name that a model predicts is what it predicts.

    Such a model lends its output and its scaling, which would hardly learn values a thousand times
    larger.

    Parameters
    ----------
    parent : Bundle
        The model that is continued.
    target, unit : str
        What is to be learned, and the unit that its column states.
    data : TrainingData
        Its values.

    Raises
    ------
    ModelError
        If the units differ, or the values by far, as eV from meV.
    """
    card = parent.card
    if card.target != target:
        return
    advice = "convert the column, or learn it under another name"
    if card.unit != unit:
        raise ModelError(
            f"model {card.name!r} predicts {target} in {card.unit}, here its unit is {unit}: "
            f"{advice}"
        )
    found = card.metrics.get("validation")
    known = found.get("mae_of_median") if isinstance(found, dict) else None
    varies = float(np.abs(data.train_y - np.median(data.train_y)).mean())
    if not (is_number(known) and known > 0 and varies > 0):
        return  # nothing to compare
    times = varies / known
    if not 1 / MOST_TIMES < times < MOST_TIMES:
        raise ModelError(
            f"the values of {target} vary {times:.2g} times as much as those that model "
            f"{card.name!r} was trained on, as in another unit: {advice}"
        )
