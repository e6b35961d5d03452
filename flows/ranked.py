"""Publish the ranked table of a screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from flows.ranking import Rows, ranked_columns
from flows.screen_request import Looked
from infra.ranked import ranked_table
from infra.screen_files import write_screen
from infra.store import Staging, Store
from irnet_core.schema import HULL_DISTANCE, RANK
from irnet_core.screening.candidates import Family

BLOCK = 250_000  # rows of the table made at a time


def publish_ranked(
    store: Store,
    staging: Staging,
    looked: Looked,
    rows: Rows,
    funnel: Counter[str],
    candidates: Family,
    started: str,
) -> str:
    """Write the merged ranking as files and publish them; returns the id of the screen.

    Parameters
    ----------
    store, staging : Store, Staging
    looked : Looked
        What was asked for.
    rows : dict of str to numpy.ndarray
        Of :meth:`irnet_core.screening.ranking.TopK.table`.
    funnel : Counter
        How many candidates were left after each step.
    candidates : Family
        What the ranking is of.
    started : str
        When the screen was begun.
    """
    plan, cards = looked.plan, looked.cards
    columns = ranked_columns(rows, plan, store, candidates)
    n = len(columns.pop(RANK.name))
    counts = {**funnel, "kept": n}
    parameters = plan.parameters()
    units = {name: card.unit for name, card in cards.items()}
    if plan.hull is not None:
        units[HULL_DISTANCE.name] = HULL_DISTANCE.unit
    files = write_screen(
        staging,
        _blocks(columns, units, n),
        {"inputs": looked.inputs, "parameters": parameters, "counts": counts},
    )
    first = next(iter(cards.values()))
    models = " and ".join(card.name for card in cards.values())
    licences = dict.fromkeys(card.data.get("licence", "") for card in cards.values())
    citations = dict.fromkeys(card.data.get("citation", "") for card in cards.values())
    return store.publish(
        staging,
        files,
        what=f"{plan.limits.family.capitalize()} ranked by {models}",
        inputs=looked.inputs,
        parameters=parameters | {"target": first.target, "units": units},
        rows=n,
        counts=counts,
        licence="; ".join(filter(None, licences)),
        citation="; ".join(filter(None, citations)),
        started=started,
    ).id


def _blocks(columns: dict[str, Any], units: dict[str, str], n: int) -> Iterator[pa.Table]:
    for start in range(0, n, BLOCK):
        block = {name: column[start : start + BLOCK] for name, column in columns.items()}
        yield ranked_table(block, units, start + 1)
