"""What a worker does with one range of candidates: screen it and leave its best in a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from featurizers.blocks import encode
from featurizers.filled import binaries, filled_phases
from featurizers.hulls import MAX_ELEMENTS
from featurizers.self_consistent import self_consistent
from flows.limits import compositions_of
from flows.models import input_blocks, open_model
from flows.screen_plan import HullPlan, Plan
from infra.folder import Folder
from infra.hulls import snapshot_facets
from infra.settings import settings
from infra.store import Store
from irnet_core.bundle import Bundle
from irnet_core.device import pick_device
from irnet_core.errors import ScreenError
from irnet_core.inference import Predictor
from irnet_core.schema import CANDIDATE, RANK, SCORE
from irnet_core.screening.candidates import Family
from irnet_core.screening.engine import CHUNK, Predicted, Screen
from irnet_core.screening.estimates import Estimate
from irnet_core.screening.hull import Hull
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.phases import Phases
from irnet_core.screening.ranking import TopK
from irnet_core.screening.stability import Stability

FUNNEL = b"funnel"
_FAR_ABOVE = 1e3  # eV/atom
_reading = Lock()


@dataclass(frozen=True)
class Shard:
    """A range of candidates, whole chemical systems, and the file for the best of them."""

    name: str
    start: int
    stop: int


class CompositionModel:
    """A trained model that sees compositions through the featurizers."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.blocks = input_blocks(bundle)
        self.predictor = Predictor(bundle, device)
        self.on_cpu = device.type == "cpu"

    def __call__(
        self, numbers: Tensor, amounts: Tensor, inputs: dict[tuple[str, ...], Tensor]
    ) -> Predicted:
        """Predict; see :class:`irnet_core.screening.engine.Model`."""
        if self.blocks not in inputs:
            if self.on_cpu:  # numpy is faster there
                x = encode(numbers.numpy(), amounts.numpy().astype(np.float64), self.blocks)
                inputs[self.blocks] = torch.from_numpy(x)
            else:
                inputs[self.blocks] = encode(numbers, amounts.double(), self.blocks)
        found = self.predictor.unbounded(inputs[self.blocks])
        below = None
        if found.std is not None:
            below = partial(self.predictor.probability_below, found.mean, found.std)
        values = (found.mean, found.std, found.lower_90, found.upper_90)
        estimate = Estimate(*values, below, self.predictor.target.within)
        return Predicted(estimate, found.domain_percentile)


def run_shard(
    shard: Shard,
    plan: Plan,
    staging: str,
    report: Callable[[int, int], None] | None = None,
) -> Counter[str]:
    """Screen a shard and write its best candidates.

    Parameters
    ----------
    shard : Shard
    plan : Plan
    staging : str
        Path or URL of the folder for the shard's file.
    report : callable, optional
        Called with the numbers of candidates done and predicted so far.

    Returns
    -------
    Counter
        The shard's funnel: how many candidates were left after each step.
    """
    screen = prepared(plan)
    if plan.hull is not None:
        stability = _stability(plan, plan.hull, shard, screen)
        screen = replace(screen, stability=stability)
    best, funnel = screen.run(shard.start, shard.stop, report)
    Folder(staging).write_table(shard.name, shard_table(best, funnel))
    return funnel


#: Staging folders of screens that have ended, whose tasks in threads of this process should too.
ENDED: set[str] = set()


def run_on_worker(shard: Shard, plan: Plan, staging: str) -> Counter[str]:
    """:func:`run_shard` as one of several tasks, each with one thread.

    Raises
    ------
    ScreenError
        If the screen has ended meanwhile, by the error of another task.
    """
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)

    def report(_: int, __: int) -> None:
        if staging in ENDED:
            raise ScreenError("the screen has ended")

    return run_shard(shard, plan, staging, report)


@lru_cache(maxsize=1)
def prepared(plan: Plan) -> Screen:
    """The screen of a plan, without hulls; a worker keeps it for the next shard."""
    store = Store(plan.store)
    device = pick_device(settings().device)
    models = {
        target: CompositionModel(open_model(ref, store)[0], device) for target, ref in plan.models
    }
    known = [compositions_of(store.open(id_, "snapshots")) for id_ in plan.known]
    return Screen(
        candidates=plan.limits.candidates(store),
        rules=plan.limits.chosen_rules(),
        models=models,
        aims=plan.aims,
        top=plan.pool,
        known=KnownCompositions.union(known) if known else None,
        keep_known=plan.keep_known,
        most_per_system=plan.most_per_system,
        most_percentile=plan.most_percentile,
        device=device,
    )


def _stability(plan: Plan, hull: HullPlan, shard: Shard, screen: Screen) -> Stability:
    """Hulls for the chemical systems of a shard, which are read if they were built before."""
    store = Store(plan.store)
    snapshot = store.open(hull.snapshot, "snapshots")
    if hull.self_consistent:
        phases = _phases(plan)

        def hulls(
            numbers: NDArray[np.uint8], amounts: NDArray[np.uint8], energies: NDArray[np.float64]
        ) -> tuple[Hull, NDArray[np.float64] | None]:
            # what has no finite energy is no phase: far above every hull it changes nothing
            usable = np.where(np.isfinite(energies), energies, _FAR_ABOVE)
            facets, others = self_consistent(phases, numbers, amounts, usable)
            return Hull(facets, screen.device), others

    else:
        systems = systems_of(screen.candidates, shard.start, shard.stop)
        facets = snapshot_facets(
            store, snapshot, systems, hull.phases, lambda: _phases(plan), hull.filled
        )
        hull_of_shard = Hull(facets, screen.device)

        def hulls(
            numbers: NDArray[np.uint8], amounts: NDArray[np.uint8], energies: NDArray[np.float64]
        ) -> tuple[Hull, NDArray[np.float64] | None]:
            return hull_of_shard, None

    return Stability(hull.energy, hulls, hull.stable_below)


def _phases(plan: Plan) -> Phases:
    """Known phases, with what fills them, which a worker keeps for the next shard."""
    with _reading:  # where shards run in threads, one of them reads
        return _read_phases(plan)


@lru_cache(maxsize=1)
def _read_phases(plan: Plan) -> Phases:
    hull = plan.hull
    if hull is None:
        raise ScreenError("a screen without hulls has no phases")
    snapshot = Store(plan.store).open(hull.snapshot, "snapshots")
    phases = hull.phases.read(snapshot)
    if not hull.filled:
        return phases
    return filled_phases(
        phases,
        KnownCompositions.union([compositions_of(snapshot)]),
        snapshot.manifest.rows or 0,
        binaries(plan.limits.elements, plan.limits.max_atoms),
        prepared(plan).models[hull.energy],
    )


def systems_of(candidates: Family, start: int, stop: int) -> NDArray[np.uint8]:
    """Chemical systems (s, k) of a range of candidates that hulls can be built for, each once."""
    found = []
    for first in range(start, stop, CHUNK):
        numbers, _ = candidates.take(first, min(first + CHUNK, stop))
        changes = np.concatenate([[True], (numbers[1:] != numbers[:-1]).any(1)])
        found.append(numbers[changes])
    systems = np.unique(np.concatenate(found), axis=0)
    return systems[(systems > 0).sum(1) <= MAX_ELEMENTS]


def shard_table(best: TopK, funnel: Counter[str]) -> pa.Table:
    """The kept rows of a shard, its funnel in the metadata."""
    arrays = {
        name: pa.array(values)
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        for name, values in best.table().items()
        if name != RANK.name  # a shard's own ranks mean nothing once it is merged
    }
    return pa.table(arrays).replace_schema_metadata({FUNNEL: json.dumps(funnel)})


def merge_shard(table: pa.Table, best: TopK, funnel: Counter[str]) -> None:
    """Add the rows and the funnel of a shard's table to those of the screen.

    Parameters
    ----------
    table : pyarrow.Table
        Of one shard.
    best : TopK
        Best rows of the shards so far; takes those of this one.
    funnel : collections.Counter
        Candidates that passed each step; takes those of this shard.
    """
    for step, count in json.loads(table.schema.metadata[FUNNEL]).items():
        funnel[step] += count  # not update(): steps with 0 count too, in their order
    if table.num_rows:  # else the columns beside the score are missing
        columns = {name: _array(table.column(name)) for name in table.column_names}
        best.push(columns.pop(SCORE.name), columns.pop(CANDIDATE.name), **columns)


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    """Column of numbers (n,) or of lists of one length (n, length)."""
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    flat = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(-1, column.type.list_size)
