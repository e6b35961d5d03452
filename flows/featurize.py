"""Flow ``featurize``: a snapshot's compositions to feature columns, partition by partition.

One stage, one Dask graph inside it: each Dask task reads one row group of the snapshot, writes
one Parquet part into the staging folder and returns a small record. A part that is there was
written whole, so a run after a kill computes only the missing ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import KilledWorker, as_completed
from prefect import flow

from featurizers.blocks import BLOCKS, encode, schemas, without_data
from featurizers.formula import parse_formulas
from flows.progress import progress
from flows.snapshot import open_snapshot, source_of
from flows.stage import stage
from infra.artifact import REJECTED_ROWS
from infra.compute import dask_client
from infra.folder import Folder
from infra.manifest import request_digest, utc_now
from infra.settings import settings
from infra.snapshot import DATA
from infra.store import Artifact, Staging, Store
from irnet_core.errors import DataError, IRNetError
from irnet_core.schema import (
    COMPOSITION,
    FORMULA,
    REASON,
    REJECTED,
    ROW,
    SCHEMA_VERSION,
    arrow_schema,
)

#: What ``--features`` may name, and the blocks of columns behind it.
FEATURES = {"composition": ("magpie", "fractions")}


@dataclass(frozen=True)
class Part:
    """One partition: a row group of the snapshot and the names of what becomes of it."""

    index: int
    snapshot: str
    staging: str
    blocks: tuple[str, ...]

    @property
    def features(self) -> str:
        """File of the rows with features."""
        return f"part-{self.index:05d}.parquet"

    @property
    def rejected(self) -> str:
        """File of the rows without."""
        return f"rejected-{self.index:05d}.parquet"


def featurize_part(part: Part) -> int:
    """Compute one partition on a Dask worker; returns its number of rows."""
    with Folder(part.snapshot).open(DATA) as file, pq.ParquetFile(file) as parquet:
        table = parquet.read_row_group(
            part.index, columns=[ROW.name, FORMULA.name, COMPOSITION.name]
        )
    parsed = parse_formulas(table.column(FORMULA.name).to_pylist())
    reasons = dict(sorted((parsed.reasons | without_data(parsed.numbers)).items()))
    bad = np.fromiter(reasons, np.int64, len(reasons))
    good = np.setdiff1d(np.arange(table.num_rows), bad)
    values = encode(parsed.numbers[good], parsed.amounts[good], part.blocks)

    staging = Folder(part.staging)
    rejected = table.take(pa.array(bad)).select([ROW.name, FORMULA.name])
    staging.write_table(
        part.rejected,
        rejected.append_column(REASON.field(), pa.array(list(reasons.values()), REASON.type)).cast(
            arrow_schema(REJECTED)
        ),
    )
    fields = [field for name in part.blocks for field in BLOCKS[name].schema.arrow_fields()]
    kept = table.take(pa.array(good))
    staging.write_table(
        part.features,
        pa.table(
            [
                kept.column(ROW.name),
                kept.column(COMPOSITION.name),
                *(pa.array(column) for column in np.ascontiguousarray(values.T)),
            ],
            schema=pa.schema(
                [ROW.field(), COMPOSITION.field(), *fields],
                metadata={"schema_version": str(SCHEMA_VERSION)},
            ),
        ),
    )
    return table.num_rows


def _compute(snapshot: Artifact, staging: Staging, blocks: tuple[str, ...]) -> list[Part]:
    """Compute all parts that are not there yet."""
    with snapshot.folder.open(DATA) as file, pq.ParquetFile(file) as parquet:
        count = parquet.num_row_groups
    parts = [Part(i, snapshot.url, staging.local_dir, blocks) for i in range(count)]
    missing = [part for part in parts if not staging.has(part.features)]
    if not missing:
        return parts
    done = len(parts) - len(missing)
    with (
        progress("featurize", len(parts)) as update,
        dask_client(settings(), most_workers=len(missing)) as client,
    ):
        rows = 0
        futures = client.map(featurize_part, missing, pure=False)
        for future in as_completed(futures, loop=client.loop):
            try:
                rows += future.result()
            except KilledWorker as error:
                raise IRNetError(
                    f"a Dask worker died again and again on one part of {source_of(snapshot)}: "
                    "raise IRNET_DASK_MEMORY_LIMIT and run this again"
                ) from error
            done += 1
            update(done, f"{rows:,} rows")
    return parts


@stage("featurize")
def featurize_stage(snapshot: str, features: str) -> str:
    """Publish the features of a snapshot; returns their id."""
    store = Store(settings().store)
    source = open_snapshot(snapshot, store)
    blocks = FEATURES[features]
    inputs = {"snapshot": source.id}
    parameters = {
        "features": features,
        "blocks": {schema.name: schema.hash for schema in schemas(blocks)},
    }
    request = request_digest("features", inputs, parameters)
    if found := store.find("features", request):
        store.name(found)
        return found.id
    started = utc_now()
    with store.staging("features", request) as staging:
        parts = _compute(source, staging, blocks)
        rejected = pa.concat_tables(staging.read_table(part.rejected) for part in parts)
        rows = source.manifest.rows or 0
        if rejected.num_rows == rows:
            first = rejected.slice(0, 1).to_pylist()[0]
            staging.discard()
            raise DataError(
                f"no row has features, the first because: {first[REASON.name]}; take a table with "
                "other elements",
                source=source_of(source),
                column=FORMULA.name,
                row=first[ROW.name],
            )
        staging.write_table(REJECTED_ROWS, rejected)
        reasons = Counter(rejected.column(REASON.name).to_pylist())
        return store.publish(
            staging,
            [*(part.features for part in parts), REJECTED_ROWS],
            what=f"{features.capitalize()} features of {source_of(source)}",
            inputs=inputs,
            parameters=parameters,
            rows=rows - rejected.num_rows,
            counts={
                "rejected": rejected.num_rows,
                "reasons": dict(reasons.most_common(20)),
                "parts": len(parts),
            },
            licence=source.manifest.licence,
            citation=source.manifest.citation,
            started=started,
        ).id


@flow(name="featurize")
def featurize(snapshot: str = "latest", features: str = "composition") -> str:
    """Compute the features of a snapshot.

    Parameters
    ----------
    snapshot : str
        Id or name of a snapshot.
    features : str
        Which features, one of :data:`FEATURES`.

    Returns
    -------
    str
        Id of the features.
    """
    if features not in FEATURES:
        raise DataError(f"there are no {features!r} features: choose among {', '.join(FEATURES)}")
    return featurize_stage(snapshot, features)
