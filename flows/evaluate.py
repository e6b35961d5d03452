"""Judge trained models on rows with known values: no flow, nothing goes into the store."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurizers.blocks import encode
from featurizers.canonical import canonical_formulas
from flows.dataset import split_rows, stated_unit
from flows.formulas import CHUNK, refuse_unusable, rows_left, usable
from flows.models import input_blocks, open_model
from flows.progress import progress
from flows.seen import seen_by
from flows.snapshot import is_snapshot, open_snapshot, source_of
from infra.artifact import DATA
from infra.settings import settings
from infra.sources.file import TableFile
from infra.store import Store
from infra.threads import use_threads
from irnet_core.bundle import Bundle
from irnet_core.device import pick_device
from irnet_core.errors import DataError, ModelError
from irnet_core.evaluation import Outputs, cost, evaluation, first_member, outputs
from irnet_core.inference import Predictor
from irnet_core.schema import AS_GIVEN, COMPOSITION, FORMULA, ROW
from irnet_core.split_rules import Rule
from irnet_core.split_texts import only_pair, parse_split


@dataclass(frozen=True)
class Judged:
    """Rows that models are judged on.

    Attributes
    ----------
    numbers, amounts : numpy.ndarray, (n, k)
        Atomic numbers, padded with 0, and amounts.
    compositions : numpy.ndarray of object, (n,)
    truth : numpy.ndarray, float64, (n,)
        In ``unit``.
    unit, source : str
    counts : dict
        How many rows the table has, and why some of them are not judged.
    """

    numbers: np.ndarray
    amounts: np.ndarray
    compositions: np.ndarray
    truth: np.ndarray
    unit: str
    source: str
    counts: dict[str, int]


def evaluate(
    models: Sequence[str],
    data: str,
    target: str,
    formula_column: str = FORMULA.name,
    rows: str | None = None,
    below: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge models on rows with known values.

    Parameters
    ----------
    models : sequence of str
        Names or ids in the store, or folders of bundles; at least one.
    data : str
        CSV or Parquet table, or id or name of a snapshot.
    target : str
        Column of the known values.
    formula_column : str
        Column of a table that holds the formulas.
    rows : str, optional
        Rule of :mod:`irnet_core.split_texts` whose validation rows are judged; by default all are.
        Clusters are those of the first model's inputs.
    below : float, optional
        Judge a second time without rows whose value is further from 0 than this.
    seed : int
        Of what the rule draws, as in training.

    Returns
    -------
    dict
        ``unit``, ``counts``, ``notes`` (sentences) and ``models``, each with ``all`` and ``below``
        of :func:`irnet_core.evaluation.evaluation`, ``cost``, ``seen`` and, for an ensemble,
        ``single``: its first member alone.

    Raises
    ------
    DataError
        If the table lacks a column, or no row can be judged.
    ModelError, StoreError
        If a model is damaged or not there, or predicts in another unit.
    """
    if below is not None and not 0 < below < math.inf:
        raise DataError(f"--below is {below:g}: give a positive number")
    rule = None if rows is None else parse_split(rows, seed)
    store = Store(settings().store)
    bundles = [(model, *open_model(model, store)) for model in models]
    blocks = [input_blocks(bundle) for _, bundle, _ in bundles]
    table, source = _table(data, formula_column, store)
    judged = _judged(table, source, formula_column, target, rule, blocks[0])
    near = np.arange(len(judged.truth))
    if below is not None:
        near = np.flatnonzero(np.abs(judged.truth) <= below)
        if not len(near):
            raise DataError(f"no value is within --below {below:g}", source=source, column=target)
    threads = use_threads(settings())
    notes: list[str] = []
    found = []
    for model, bundle, identity in bundles:
        label = Path(model).name
        _check_unit(bundle, judged.unit, f"column {target!r} of {judged.source}")
        _check_unit(
            bundle, bundles[0][1].card.unit, f"what model {Path(models[0]).name!r} predicts"
        )
        if judged.unit == AS_GIVEN != bundle.card.unit:
            notes.append(
                f"the unit of {target!r} is not stated: it is taken for {bundle.card.unit}, as "
                f"model {label!r} has it"
            )
        if bundle.card.target != target:
            notes.append(
                f"model {label!r} was trained on {bundle.card.target!r}, it is judged on {target!r}"
            )
        seen = seen_by(bundle.card, store)
        trained, validated = seen.among(judged.compositions)
        notes += _leaks(label, trained, validated, len(judged.truth), seen.unknown)
        single = first_member(bundle) if len(bundle.networks) > 1 else None
        found.append(
            {
                "model": model,
                "label": label,
                "identity": identity,
                "target": bundle.card.target,
                "network": bundle.card.network,
                "seen": {"trained": trained, "validated": validated, "unknown": seen.unknown},
                **_judge(bundle, judged, near, below, label),
                "single": single and _judge(single, judged, near, below, f"{label}, single"),
            }
        )
    return {
        "data": source,
        "target": target,
        "unit": judged.unit if judged.unit != AS_GIVEN else bundles[0][1].card.unit,
        "rule": rows,
        "seed": seed,
        "below": below,
        "counts": judged.counts | {"within_below": len(near)},
        "threads": threads,
        "models": found,
        "notes": notes,
    }


def _table(data: str, formula_column: str, store: Store) -> tuple[pa.Table, str]:
    """A table with formulas and row numbers, and how messages name it."""
    if is_snapshot(data):
        snapshot = open_snapshot(data, store)
        return snapshot.read_table(DATA), source_of(snapshot)
    table = TableFile(data, formula_column).read()
    rows = pa.array(np.arange(table.num_rows), ROW.type)
    for column in (ROW, COMPOSITION):
        if column.name in table.column_names:
            table = table.drop_columns([column.name])
    return table.append_column(ROW.field(), rows), data


def _judged(
    table: pa.Table,
    source: str,
    formula_column: str,
    target: str,
    rule: Rule | None,
    blocks: Sequence[str],
) -> Judged:
    """The rows of a table that a rule validates on, with features and a value."""
    own = [n for n in table.column_names if n not in (ROW.name, FORMULA.name, COMPOSITION.name)]
    for column in (target, *(() if rule is None else rule.columns)):
        if column not in own:
            raise DataError(
                f"there is no such column: the table has {', '.join(own) or 'no other column'}",
                source=source,
                column=column,
            )
    field = table.schema.field(target)
    if not (pa.types.is_floating(field.type) or pa.types.is_integer(field.type)):
        raise DataError(
            f"known values must be numbers, this column holds {field.type}: correct the table or "
            "choose another column",
            source=source,
            column=target,
        )
    parsed, bad = usable(table.column(FORMULA.name).to_pylist())
    refuse_unusable(table.num_rows, bad, source, formula_column)
    good = rows_left(table.num_rows, bad)
    numbers, amounts = parsed.numbers[good], parsed.amounts[good]
    compositions = canonical_formulas(numbers, amounts)[0]
    rows = np.arange(len(good))
    if rule is not None:
        x = encode(numbers, amounts, blocks) if rule.kind == "cluster" else None
        seen = table.select(list(dict.fromkeys((ROW.name, *rule.columns)))).take(pa.array(good))
        seen = seen.append_column(COMPOSITION.field(), pa.array(compositions, COMPOSITION.type))
        rows = only_pair(rule, split_rows(seen, x, source)).validation
    truth = table.column(target).to_numpy().astype(np.float64)[good[rows]]
    finite = np.isfinite(truth)
    if not finite.any():
        raise DataError(
            f"none of the {len(rows)} rows to be judged has a finite value: choose other rows or "
            "another column",
            source=source,
            column=target,
        )
    counts = {
        "table": table.num_rows,
        "without_features": len(bad),
        "outside_rule": len(good) - len(rows),
        "without_value": int((~finite).sum()),
        "judged": int(finite.sum()),
    }
    rows, truth = rows[finite], truth[finite]
    unit = stated_unit(field)
    return Judged(numbers[rows], amounts[rows], compositions[rows], truth, unit, source, counts)


def _check_unit(bundle: Bundle, unit: str, what: str) -> None:
    own = bundle.card.unit
    if AS_GIVEN not in (own, unit) and own != unit:
        raise ModelError(
            f"model {bundle.card.name!r} predicts in {own}, {what} is in {unit}: convert the "
            "column or choose another"
        )


def _leaks(label: str, trained: int, validated: int, rows: int, unknown: str) -> list[str]:
    """What has to be said of rows that a model has met."""
    met = []
    if trained:
        met.append(f"was trained on the compositions of {trained:,}")
    if validated:
        met.append(f"chose its epoch and its intervals by those of {validated:,}")
    notes = []
    if met:
        notes.append(
            f"model {label!r} {' and '.join(met)} of the {rows:,} judged rows: on new compositions "
            "its errors are larger"
        )
    if unknown:
        notes.append(
            f"whether model {label!r} has met {'more of ' if met else ''}the judged rows in "
            f"training could not be checked ({unknown})"
        )
    return notes


def _judge(
    bundle: Bundle, judged: Judged, near: np.ndarray, below: float | None, label: str
) -> dict[str, Any]:
    """Errors, intervals, domain and cost of one model."""
    predictor = Predictor(bundle, pick_device(settings().device))
    blocks = input_blocks(bundle)
    n = len(judged.truth)
    with progress(f"evaluate {label}", n) as update:

        def batches() -> Iterator[np.ndarray]:
            for start in range(0, n, CHUNK):
                rows = slice(start, start + CHUNK)
                yield encode(judged.numbers[rows], judged.amounts[rows], blocks)
                update(min(start + CHUNK, n), "")

        found: Outputs = outputs(predictor, batches())
        timed = encode(judged.numbers[:CHUNK], judged.amounts[:CHUNK], blocks)
        paid = cost(bundle, predictor, timed)
    without = None
    if below is not None:
        without = evaluation(judged.truth[near], found.of(near), bundle.calibration, bundle.target)
    return {
        "all": evaluation(judged.truth, found, bundle.calibration, bundle.target),
        "below": without,
        "cost": paid,
    }
