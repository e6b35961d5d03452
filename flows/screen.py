"""Flow ``screen``: rank generated compositions with a trained model.

The enumeration is cut into shards of candidate indices. Each finished shard leaves its best
candidates in the staging folder, so a run after a kill goes on with the next shard, and the
merged ranking does not depend on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pyarrow as pa
from prefect import flow

from featurizers.blocks import BLOCKS, encode
from featurizers.elements import element_data
from flows.limits import Limits, compositions_of, limits_of
from flows.models import open_model
from flows.progress import Update, progress, say
from flows.ranked import ranked_table
from flows.snapshot import open_snapshot
from flows.stage import stage
from infra.compute import use_threads
from infra.manifest import request_digest, utc_now
from infra.query import RANKED
from infra.settings import settings
from infra.store import Artifact, Staging, Store
from irnet_core.bundle import Bundle
from irnet_core.device import pick_device
from irnet_core.errors import ScreenError, StoreError
from irnet_core.inference import Predictor
from irnet_core.schema import CANDIDATE, PREDICTION, RANK
from irnet_core.screening.engine import RULE_SETS, Funnel, Screen
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.ranking import TopK
from irnet_core.screening.rules import ElementRules

SHARD = 1_048_576  # candidates generated per shard


def _known(store: Store, known: str | None, bundle: Bundle) -> Artifact | None:
    """Snapshot of the known compositions: the one asked for, else the model's own."""
    if known == "none":
        return None
    if known:
        return open_snapshot(known, store)
    if not (own := bundle.card.data.get("snapshot")):
        return None
    try:
        return store.open(own, "snapshots")
    except StoreError as error:
        raise StoreError(
            f"snapshot {own}, which model {bundle.card.name!r} was trained on, is not in "
            f"{store.root}: name another one with --known, or leave nothing out with --known none"
        ) from error


def _prepare(bundle: Bundle, known: Artifact | None, limits: Limits) -> Screen:
    data = element_data()
    blocks = [block["name"] for block in bundle.card.inputs]
    bundle.check_inputs([BLOCKS[name].schema for name in blocks if name in BLOCKS])
    device = pick_device(settings().device)
    return Screen(
        candidates=limits.candidates,
        rules=RULE_SETS[limits.rules],
        elements=ElementRules(data.oxidation_states, data.oxidation_counts, data.electronegativity),
        known=None if known is None else KnownCompositions(*compositions_of(known)),
        encode=lambda numbers, amounts: encode(numbers, amounts.astype(np.float64), blocks),
        predictor=Predictor(bundle, device),
        top=limits.top,
        descending=limits.descending,
    )


def _shards(screen: Screen, staging: Staging, update: Update) -> tuple[TopK, Funnel]:
    """Run all shards that are not there yet and merge them."""
    total = len(screen.candidates)
    best, funnel = TopK(screen.top, screen.descending), Funnel()
    for start in range(0, total, SHARD):
        stop = min(start + SHARD, total)
        name = f"shard-{start // SHARD:06d}.parquet"
        if not staging.has(name):
            found, counts = screen.run(start, stop, _report(update, start, funnel.predicted))
            staging.write_table(name, _shard_table(found, counts))
        table = staging.read_table(name)
        funnel += Funnel(**json.loads(table.schema.metadata[b"funnel"]))
        if table.num_rows:  # else the columns beside the prediction are missing
            columns = {c: _array(table.column(c)) for c in table.column_names}
            best.push(columns.pop(PREDICTION.name), columns.pop(CANDIDATE.name), **columns)
        update(stop, f"{funnel.predicted:,} predicted")
    return best, funnel


def _report(update: Update, start: int, predicted: int) -> Callable[[int, int], None]:
    """Progress within a shard, given where it starts and what was predicted before it."""
    return lambda done, now: update(start + done, f"{predicted + now:,} predicted")


def _shard_table(best: TopK, funnel: Funnel) -> pa.Table:
    arrays = {
        name: pa.array(values)
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        for name, values in best.table().items()
        if name != RANK.name  # a shard's own ranks mean nothing once it is merged
    }
    return pa.table(arrays).replace_schema_metadata({"funnel": json.dumps(asdict(funnel))})


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """Column of numbers (n,) or of lists of one length (n, length)."""
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    flat = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(-1, column.type.list_size)


@stage("screen")
def screen_stage(
    model: str,
    known: str | None,
    family: str,
    elements: list[str] | None,
    exclude: list[str] | None,
    max_atoms: int,
    rules: str,
    top: int,
    descending: bool,
) -> str:
    """Publish a ranked table; returns its id."""
    store = Store(settings().store)
    bundle, model_id = open_model(model, store)
    snapshot = _known(store, known, bundle)
    limits = limits_of(snapshot, family, elements, exclude, max_atoms, rules, top, descending)
    inputs = {"model": model_id} | ({"known": snapshot.id} if snapshot else {})
    request = request_digest("screens", inputs, limits.parameters() | {"shard": SHARD})
    if found := store.find("screens", request):
        store.name(found)
        return found.id
    started = utc_now()
    screen = _prepare(bundle, snapshot, limits)
    total = len(screen.candidates)
    use_threads(settings())
    say(
        f"screen {total:,} {family} of {len(limits.elements)} elements with up to {max_atoms} "
        f"atoms, rules: {', '.join(RULE_SETS[rules]) or 'none'}"
    )
    with store.staging("screens", request) as staging, progress("screen", total) as update:
        best, funnel = _shards(screen, staging, update)
        if funnel.predicted == funnel.not_finite:
            staging.discard()
            raise ScreenError(
                f"no candidate is left of {funnel.generated:,}: {funnel.after_rules:,} pass the "
                f"rules, {funnel.after_known:,} of them are new, {funnel.not_finite:,} of these "
                "have no finite prediction; allow more elements or atoms, or take --rules none"
            )
        ranked = ranked_table(best, bool(screen.rules))
        staging.write_table(RANKED, ranked, row_group_size=10_000)
        return store.publish(
            staging,
            [RANKED],
            what=f"{family.capitalize()} ranked by {bundle.card.name} ({bundle.card.target})",
            inputs=inputs,
            parameters=limits.parameters()
            | {"target": bundle.card.target, "unit": bundle.card.unit},
            rows=ranked.num_rows,
            counts=asdict(funnel),
            licence=bundle.card.data.get("licence", ""),
            citation=bundle.card.data.get("citation", ""),
            started=started,
        ).id


@flow(name="screen")
def screen(
    model: str = "default",
    family: str = "ternaries",
    elements: list[str] | None = None,
    exclude: list[str] | None = None,
    max_atoms: int = 10,
    top: int = 10_000,
    rules: str = "strict",
    known: str | None = None,
    descending: bool = False,
) -> str:
    """Rank generated compositions by what a model predicts for them.

    Parameters
    ----------
    model : str
        Name or id of a model in the store, or the folder of a bundle.
    family : str
        One of :data:`FAMILIES`.
    elements, exclude : list of str, optional
        Symbols; by default the elements of the known compounds, without noble gases.
    max_atoms : int
        Most atoms in a reduced formula.
    top : int
        Candidates to keep.
    rules : str
        One of :data:`irnet_core.screening.engine.RULE_SETS`.
    known : str, optional
        Snapshot whose compositions are left out, ``none`` for none; by default the one the model
        was trained on.
    descending : bool
        Whether large predictions are best.

    Returns
    -------
    str
        Id of the screen.
    """
    return screen_stage(model, known, family, elements, exclude, max_atoms, rules, top, descending)
