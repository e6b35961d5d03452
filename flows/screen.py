"""Flow ``screen``: rank generated compositions with trained models.

The candidates are cut into shards of whole chemical systems. Shards run as Dask tasks on CPU
workers, one after the other on a GPU. Each leaves its best candidates in the staging folder, so a
run after a kill goes on with the shards that are missing, and the merged ranking does not depend
on where it was interrupted.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

from distributed import as_completed
from prefect import flow

from flows.progress import Update, progress, say
from flows.ranked import publish_ranked
from flows.screen_plan import Plan
from flows.screen_request import Request, look_up
from flows.shard import ENDED, Shard, merge_shard, prepared, run_on_worker, run_shard
from flows.stage import stage
from flows.unknown import unknown_elements
from infra.compute import cluster_errors, dask_client
from infra.manifest import request_digest, utc_now
from infra.settings import settings
from infra.store import Staging, Store
from infra.threads import one_thread, use_threads
from irnet_core.device import pick_device
from irnet_core.errors import ScreenError
from irnet_core.schema import RANK
from irnet_core.screening.candidates import Family
from irnet_core.screening.engine import whole_systems
from irnet_core.screening.ranking import TopK

SHARD = 262_144  # candidates of a shard at most, about
LEAST = 32_768  # and at least, seconds of work
SHARE = 8  # of what is left a shard takes an eighth, so that workers end at about the same time


def shards_of(candidates: Family) -> list[Shard]:
    """Ranges that hold whole chemical systems, :data:`SHARD` candidates and in the end fewer."""
    shards: list[Shard] = []
    start, total = 0, len(candidates)
    while start < total:
        size = min(max((total - start) // SHARE, LEAST), SHARD)
        stop = whole_systems(candidates, min(start + size, total))
        shards.append(Shard(f"shard-{len(shards):06d}.parquet", start, stop))
        start = stop
    return shards


def _alone(shards: list[Shard]) -> bool:
    """Whether this process runs the shards itself, with all its threads: one, or on a GPU."""
    return len(shards) == 1 or pick_device(settings().device).type != "cpu"


def _run(plan: Plan, shards: list[Shard], staging: Staging, update: Update) -> None:
    """Run all shards that are not there yet."""
    total = shards[-1].stop
    missing = [shard for shard in shards if not staging.has(shard.name)]
    done = total - sum(shard.stop - shard.start for shard in missing)
    predicted = 0
    if not missing:
        return
    # one shard, or one GPU, is no work for several processes; how many shards are missing plays
    # no part, so that a run after a kill computes as the first one did
    if _alone(shards):
        for shard in missing:

            def report(here: int, now: int, done: int = done, predicted: int = predicted) -> None:
                update(done + here, f"{predicted + now:,} predicted")

            funnel = run_shard(shard, plan, staging.url, report)
            done, predicted = done + shard.stop - shard.start, predicted + funnel["predicted"]
        return
    with (
        cluster_errors(
            "one shard", "during the screen", "run this again, finished shards are kept"
        ),
        dask_client(settings(), most_workers=len(missing), native=True, say=say) as client,
    ):
        ENDED.discard(staging.url)
        try:
            futures = {
                client.submit(run_on_worker, shard, plan, staging.url, pure=False): shard
                for shard in missing
            }
            for future in as_completed(list(futures), loop=client.loop):
                predicted += future.result()["predicted"]
                shard = futures.pop(future)
                done += shard.stop - shard.start
                update(done, f"{predicted:,} predicted")
        finally:
            ENDED.add(staging.url)


def _merged(plan: Plan, shards: list[Shard], staging: Staging) -> tuple[TopK, Counter[str]]:
    best, funnel = TopK(plan.pool, plan.most_per_system), Counter[str]()
    for shard in shards:
        merge_shard(staging.read_table(shard.name), best, funnel)
    return best, funnel


@stage("screen", makes="screens")
def screen_stage(request: Request) -> str:
    """Publish a ranked table; returns its id."""
    store = Store(settings().store)
    looked = look_up(request, store)
    plan = looked.plan
    candidates = plan.limits.candidates(store)
    if not len(candidates):
        raise ScreenError("these limits leave no candidate: allow more elements or atoms")
    parameters = plan.parameters()
    digest = request_digest(
        "screens", looked.inputs, parameters | {"shards": [SHARD, LEAST, SHARE]}
    )
    if found := store.find("screens", digest):
        store.name(found)
        return found.id
    started = utc_now()
    total = len(candidates)
    shards = shards_of(candidates)
    if _alone(shards):
        use_threads(settings())
    with nullcontext() if _alone(shards) else one_thread():
        prepared(plan)  # what cannot be used should fail here, not in a worker
        say(
            f"screen {total:,} {plan.limits.describe()}; "
            + "; ".join(parameters["objectives"] + parameters["constraints"])
        )
        if left_out := plan.limits.left_out(store):
            say(left_out)
        for warning in unknown_elements(plan, store):
            say(warning)
        with store.staging("screens", digest) as staging:
            with progress("screen", total) as update:
                _run(plan, shards, staging, update)
            best, funnel = _merged(plan, shards, staging)
            rows = best.table()
            if not len(rows[RANK.name]):
                staging.discard()
                raise ScreenError(_nothing_left(funnel))
            return publish_ranked(store, staging, looked, rows, funnel, candidates, started)


def _nothing_left(funnel: Counter[str]) -> str:
    steps = ", ".join(f"{count:,} {step.replace('_', ' ')}" for step, count in funnel.items())
    return (
        f"no candidate is left: {steps}; allow more elements or atoms, other rules, or weaker "
        "constraints"
    )


@flow(name="screen")
def screen(
    model: str | list[str] = "default",
    family: str = "ternaries",
    elements: list[str] | None = None,
    exclude: list[str] | None = None,
    contains: list[str] | None = None,
    max_atoms: int = 10,
    base: str | None = None,
    rules: str = "strict",
    states: str | None = None,
    max_price: float | None = None,
    min_abundance: float | None = None,
    no_toxic: bool = False,
    snapshot: str | None = None,
    known: list[str] | None = None,
    keep_known: bool = False,
    hull: bool | None = None,
    self_consistent: bool = False,
    fill_hulls: bool = False,
    stable_below: float = 0.0,
    objectives: list[str] | None = None,
    constraints: list[str] | None = None,
    risk: str = "mean",
    descending: bool = False,
    most_per_system: int | None = None,
    spread: float | None = None,
    most_percentile: float | None = None,
    top: int = 10_000,
    force: bool = False,
) -> str:
    """Rank generated compositions by what models predict for them.

    Parameters
    ----------
    model : str or list of str
        Names or ids of models in the store, or folders of bundles; one for each property.
    family : str
        One of :data:`flows.limits.FAMILIES`.
    elements, exclude, contains : list of str, optional
        Symbols to choose from, to leave out, and of which a candidate must have all.
    max_atoms : int
        Most atoms in a reduced formula.
    base : str, optional
        Snapshot, or table, that substitutions start from or that lists the candidates.
    rules : str
        One of :data:`irnet_core.screening.rules.SETS`.
    states : {"common", "smact"}, optional
        Table of oxidation states that the rules use; by default that of SMACT for SMACT's rules.
    max_price : float, optional
        Most that the elements of a candidate may cost, in USD/kg.
    min_abundance : float, optional
        Least abundance of each element in the Earth's crust, in ppm by mass.
    no_toxic : bool
        Whether toxic elements are left out.
    snapshot : str, optional
        Snapshot, or table, of the known phases, for hulls and novelty; ``none`` for none; by
        default the one that the first model was trained on.
    known : list of str, optional
        Snapshots whose compositions are known, instead of that one; ``none`` for none.
    keep_known : bool
        Whether known compositions are flagged, not dropped.
    hull : bool, optional
        Whether to hold candidates against convex hulls; by default, if snapshot and model have the
        same formation energy.
    self_consistent : bool
        Whether the candidates' own predictions are part of the hulls.
    fill_hulls : bool
        Whether predicted binaries are part of the hulls where known phases are missing, see
        :mod:`featurizers.filled`.
    stable_below : float
        Energy above the hull, in eV/atom, at or below which a phase counts as stable.
    objectives, constraints : list of str, optional
        See :mod:`irnet_core.screening.objectives`; by default the energy above the hull is
        minimised, or without hulls what the first model predicts.
    risk : {"mean", "bound", "probability"}
        How uncertainty counts.
    descending : bool
        Whether large predictions of the first model are best, where no objective is given.
    most_per_system : int, optional
        Candidates of one chemical system to keep at most.
    spread : float, optional
        Least difference between the element fractions of two candidates that are kept.
    most_percentile : float, optional
        Candidates further from the training data than this percentile of it are dropped.
    top : int
        Candidates to keep.
    force : bool
        Whether model and hulls may be of different databases.

    Returns
    -------
    str
        Id of the screen.
    """
    given: dict[str, Any] = dict(locals())
    return screen_stage(Request(**given))
