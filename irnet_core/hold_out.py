"""Rows that are left out altogether, so that a model can be judged on what it never met.

What a rule of :mod:`irnet_core.split_texts` would validate on is held out: it neither trains nor
validates, calibrates or scales. The split proper is drawn among the rule's training rows, so that
what the rule leaves out of both sides, such as ``test`` rows, stays out. Clusters are those of the
features of all rows: their borders know the held-out features, never a target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from irnet_core.errors import DataError
from irnet_core.split_rules import (
    Cluster,
    Element,
    Folds,
    Given,
    Rule,
    SplitRows,
    System,
    Time,
)
from irnet_core.split_texts import only_pair, parse_split
from irnet_core.splits import Split

HOLD_OUT = "hold_out"
"""Where the description of a split records what is held out."""

#: Rules whose sides can be told row by row, whatever other compositions there are.
BY_ROW = (Given, Folds, Element, System, Time)
_TEXTS = {
    "given": "given:{column}",
    "random": "random:{share}",
    "folds": "folds:{column}/{which}",
    "element": "element:{which}",
    "system": "system:{which}",
    "cluster": "cluster:{count}/{which}",
    "time": "time:{column}<{before}",
}


def split_without(rule: Rule, hold_out: Rule | None, rows: SplitRows) -> Split:
    """The one pair of a rule among the rows that another rule does not hold out.

    Parameters
    ----------
    rule : Rule
        Who trains and who validates.
    hold_out : Rule or None
        Its validation side is left out; None leaves out nothing.
    rows : SplitRows

    Returns
    -------
    Split
        Row numbers among all rows; its description records the rule that holds out, and its rows.

    Raises
    ------
    DataError
        If a rule cannot be used, or makes more than one pair.
    """
    if hold_out is None:
        return only_pair(rule, rows)
    outer = only_pair(hold_out, rows)
    kept = outer.train
    inner = only_pair(rule, among(rows, kept))
    held: dict[str, object] = {**outer.description, "rows": len(outer.validation)}
    if isinstance(hold_out, Cluster):
        held["clusters_of"] = "the features of all rows"
    return Split(kept[inner.train], kept[inner.validation], {**inner.description, HOLD_OUT: held})


def among(rows: SplitRows, kept: np.ndarray) -> SplitRows:
    """What rules see of some rows (k,) alone; clusters remain those of all rows."""
    return SplitRows(
        rows.compositions[kept],
        lambda name: rows.column(name)[kept],
        lambda count, seed: rows.clusters(count, seed)[kept],
        rows.source,
        kept if rows.rows is None else rows.rows[kept],
    )


def recorded_rule(description: Mapping[str, Any]) -> Rule:
    """The rule that a split's description in a model card tells of.

    Parameters
    ----------
    description : mapping
        From anywhere: nothing in it is relied upon.

    Raises
    ------
    DataError
        If it tells of none.

    Examples
    --------
    >>> recorded_rule({"kind": "random", "by": "composition", "share": 0.1, "seed": 3})
    Random(share=0.1, seed=3)
    """
    kind, seed = description.get("kind"), description.get("seed", 0)
    text = _TEXTS.get(kind) if isinstance(kind, str) else None
    if text is None or not isinstance(seed, int) or seed < 0:
        raise DataError(f"{kind!r} with seed {seed!r} is no recorded split: train the model anew")
    try:
        return parse_split(text.format_map(description), seed)
    except KeyError as error:
        raise DataError(
            f"the recorded split of kind {kind!r} has no {error.args[0]}: train the model anew"
        ) from error


def recorded_rules(description: Mapping[str, Any]) -> tuple[Rule, Rule | None]:
    """The rule that a split's description tells of, and the one that holds rows out, if any.

    Raises
    ------
    DataError
        If it tells of none.
    """
    held = description.get(HOLD_OUT)
    if held is not None and not isinstance(held, Mapping):
        raise DataError(f"{held!r} is no recorded hold-out: train the model anew")
    return recorded_rule(description), None if held is None else recorded_rule(held)
