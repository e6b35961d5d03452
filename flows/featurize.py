"""Flow ``featurize``: a snapshot's rows to feature columns, partition by partition.

One stage, one Dask graph inside it: each Dask task computes one partition (see
:mod:`flows.part`), writes one Parquet part into the staging folder and returns two numbers.
A part that is there was written whole, so a run after a kill computes only the missing ones.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast, get_args

import pyarrow as pa
from distributed import as_completed
from prefect import flow

from featurizers.blocks import schemas
from featurizers.elements import Missing
from featurizers.passthrough import passthrough_schema
from featurizers.structure import structure_schema
from flows.part import featurize_part
from flows.partition import Part, Work, plan
from flows.progress import progress, say
from flows.snapshot import open_snapshot, source_of
from flows.stage import stage
from infra.artifact import FAILED_ROWS
from infra.compute import cluster_errors, dask_client
from infra.manifest import request_digest, utc_now
from infra.settings import settings
from infra.store import Artifact, Staging, Store
from irnet_core.errors import DataError
from irnet_core.feature_schema import FeatureSchema
from irnet_core.schema import FORMULA, REASON, ROW, STAGE

#: What ``--features`` may name: 145 composition attributes beside element fractions, 126 structure
#: attributes, or all of them.
FEATURES = {
    "composition": Work(blocks=("magpie", "fractions")),
    "structure": Work(structures=True),
    "both": Work(blocks=("magpie", "fractions"), structures=True),
}
_MOST_REASONS = 20
_DISTANCE = re.compile(r"[\d.e-]+ Å")  # each overlap has its own: they are counted as one reason


def work_of(features: str | None, matminer: Sequence[str], missing: str) -> Work:
    """What to compute, as the user asked; the parameters are those of the flow ``featurize``.

    Raises
    ------
    DataError
        If there are no such features, or two columns would have one name.
    """
    if features is None and not matminer:
        features = "composition"
    if features is not None and features not in FEATURES:
        raise DataError(f"there are no {features!r} features: choose among {', '.join(FEATURES)}")
    if missing not in get_args(Missing):
        choices = ", ".join(get_args(Missing))
        raise DataError(f"there is no policy {missing!r}: choose among {choices}")
    work = replace(
        FEATURES[features] if features else Work(),
        matminer=tuple(matminer),
        missing=cast(Missing, missing),
        row_limit_s=settings().row_limit_s,
        memory=int(settings().dask_memory_limit),
    )
    names = Counter(field.name for field in work.fields())
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError("two features have this name, leave one out", column=twice[0])
    return work


def _schemas(work: Work) -> list[FeatureSchema]:
    found = schemas(work.blocks, work.missing)
    if work.structures:
        found.append(structure_schema(work.missing))
    return found + [passthrough_schema(name) for name in work.matminer]


def _compute(snapshot: Artifact, staging: Staging, parts: list[Part], work: Work) -> None:
    """Compute all parts that are not there yet."""
    missing = [part for part in parts if not staging.has(part.features)]
    if not missing:
        return
    done, rows, failed = len(parts) - len(missing), 0, 0
    source = source_of(snapshot)
    again = "run this again, finished parts are kept"
    # the memory limit is part of what is asked for where rows are isolated
    raised = "run this again, from the start" if any(work.sites) else again
    with (
        progress("featurize", len(parts)) as update,
        cluster_errors(f"one part of {source}", f"while it featurized {source}", again, raised),
        dask_client(settings(), most_workers=len(missing), say=say) as client,
    ):
        futures = client.map(
            featurize_part,
            missing,
            snapshot=snapshot.url,
            staging=staging.url,
            work=work,
            pure=False,
        )
        for future in as_completed(futures, loop=client.loop):
            part_rows, part_failed = future.result()
            rows, failed, done = rows + part_rows, failed + part_failed, done + 1
            update(done, f"{rows:,} rows" + (f", {failed:,} failed" if failed else ""))


def _instead(stage: str, work: Work) -> str:
    """What to take where every row fails as the first one does."""
    if stage in work.matminer:
        return "another featurizer, or a table that this one can be computed of"
    return "a table with " + ("other structures" if work.needs_structures else "other elements")


@stage("featurize", makes="features")
def featurize_stage(
    snapshot: str,
    features: str | None = "composition",
    matminer: Sequence[str] = (),
    missing: str = "matminer",
) -> str:
    """Publish the features of a snapshot; returns their id.

    Parameters are those of the flow ``featurize``.
    """
    work = work_of(features, matminer, missing)
    store = Store(settings().store)
    source = open_snapshot(snapshot, store)
    inputs = {"snapshot": source.id}
    blocks = _schemas(work)
    parameters = {
        "missing": missing,
        "blocks": {schema.name: schema.hash for schema in blocks},
        # what failed for want of time or memory may succeed with more
        **({"row_limit_s": work.row_limit_s, "memory": work.memory} if any(work.sites) else {}),
    }
    request = request_digest("features", inputs, parameters)
    if found := store.find("features", request):
        store.name(found)
        return found.id
    started = utc_now()
    parts = plan(source.folder, source_of(source), work)
    with store.staging("features", request) as staging:
        _compute(source, staging, parts, work)
        failed = pa.concat_tables(staging.read_table(part.failed) for part in parts)
        rows = source.manifest.rows or 0
        if failed.num_rows == rows:
            first = failed.slice(0, 1).to_pylist()[0]
            staging.discard()
            raise DataError(
                f"no row has features, the first because: {first[REASON.name].rstrip('.')}; take "
                + _instead(first[STAGE.name], work),
                source=source_of(source),
                column=FORMULA.name,
                row=first[ROW.name],
            )
        staging.write_table(FAILED_ROWS, failed)
        reasons = Counter(_DISTANCE.sub("… Å", r) for r in failed.column(REASON.name).to_pylist())
        names = ", ".join(schema.name for schema in blocks)
        return store.publish(
            staging,
            [*(part.features for part in parts), FAILED_ROWS],
            what=f"{len(work.fields())} features ({names}) of {source_of(source)}",
            inputs=inputs,
            parameters=parameters,
            rows=rows - failed.num_rows,
            counts={
                "failed": failed.num_rows,
                "reasons": dict(reasons.most_common(_MOST_REASONS)),
                "stages": dict(Counter(failed.column(STAGE.name).to_pylist()).most_common()),
                "parts": len(parts),
            },
            licence=source.manifest.licence,
            citation=source.manifest.citation,
            started=started,
        ).id


@flow(name="featurize")
def featurize(
    snapshot: str = "latest",
    features: str | None = None,
    matminer: list[str] | None = None,
    missing: str = "matminer",
) -> str:
    """Compute the features of a snapshot.

    Parameters
    ----------
    snapshot : str
        Id or name of a snapshot.
    features : str, optional
        Which features, one of :data:`FEATURES`; by default those of compositions, unless some of
        matminer's are named.
    matminer : list of str, optional
        Featurizers of matminer, such as ``composition:BandCenter``.
    missing : {"matminer", "nan", "reject"}
        What becomes of element properties that nobody knows: matminer's own values, NaN, or a
        failure of the row.

    Returns
    -------
    str
        Id of the features.
    """
    return featurize_stage(snapshot, features, matminer or (), missing)
