"""Elements that a screen asks for and that its models, or the hulls, know nothing of."""

from __future__ import annotations

import numpy as np

from featurizers.elements import SYMBOLS
from flows.limits import ENUMERATED, compositions_of
from flows.models import open_model
from flows.screen_plan import Plan
from infra.store import Store
from irnet_core.inference import unseen_elements

_MOST = 12  # that are named


def unknown_elements(plan: Plan, store: Store) -> list[str]:
    """Warnings of elements that a model or the hulls know nothing of, a sentence for each.

    Lists and substitutions are made of compounds, not of elements that somebody has named.
    """
    asked = np.array(plan.limits.elements)
    if plan.limits.family not in ENUMERATED:
        return []
    said = []
    for target, model in plan.models:
        unseen = np.intersect1d(asked, unseen_elements(open_model(model, store)[0]).numpy() + 1)
        if len(unseen):
            said.append(
                f"no row that the model of {target} was trained on has {_named(unseen, asked)}: it "
                "guesses there, and marks candidates with them as out of its domain"
            )
    if plan.hull is not None:
        phases, _ = compositions_of(store.open(plan.hull.snapshot, "snapshots"))
        absent = np.setdiff1d(asked, phases)
        if len(absent):
            said.append(
                f"no phase of the hulls has {_named(absent, asked)}: any compound of these seems "
                "stable, since nothing but the elements competes; leave them out by --exclude"
            )
    return said


def _named(numbers: np.ndarray, asked: np.ndarray) -> str:
    """Some of the elements asked for, by their symbols."""
    names = ", ".join(SYMBOLS[z] for z in numbers[:_MOST].tolist())
    more = " and others" if len(numbers) > _MOST else ""
    return f"{len(numbers)} of the {len(asked)} elements ({names}{more})"
