"""The data-quality report of a snapshot: what is in it, what is missing, what looks wrong.

The report lies in the snapshot as ``report.json`` and ``report.md``, so that there is no snapshot
without one. It also tells what has changed since the previous snapshot of the same source, which
the rows do not determine; the content digest of both files is therefore that of an empty file, and
the id of a snapshot remains a digest of its rows alone: the same rows pulled again are the same
snapshot, whose report is the one made when they were first seen.

Every figure comes from DuckDB over the Parquet files, one column at a time, in bounded memory. None
depends on the order of the rows, on time or on the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from infra import duck
from infra.artifact import DATA, REJECTED_ROWS, Artifact
from infra.content import plain
from infra.snapshots import usual_elements
from infra.snapshots.difference import compare
from infra.snapshots.quality_text import markdown
from infra.staging import Staging
from infra.store import Store
from irnet_core import schema
from irnet_core.errors import StoreError
from irnet_core.schema import COMPOSITION, FORMULA, NOTE, REASON, ROW, SOURCE_ID, Column

REPORT, REPORT_TEXT = "report.json", "report.md"
NO_CONTENT = hashlib.sha256(b"").hexdigest()
# parameters of a snapshot that say what was asked for, and not what was there to be had
QUERY = ("query", "limit")
MOST = 20  # lines of a list in the report
EXAMPLES = 5
SIGMAS = 5.0
_LARGE = 1e100  # squares of larger numbers overflow
_VIEWS = ("data", "rejected")


@dataclass(frozen=True)
class Limit:
    """What is credible for a property of a solid.

    Attributes
    ----------
    column : Column
    low, high : float
        Credible values, in the column's unit; inclusive unless ``above`` is set.
    above : bool
        Whether ``low`` itself is not credible.
    """

    column: Column
    low: float
    high: float
    above: bool = False

    def __str__(self) -> str:
        bounds = f"{'above' if self.above else 'from'} {self.low:g} to {self.high:g}"
        return bounds if self.column.unit in ("", "1") else f"{bounds} {self.column.unit}"


LIMITS = (
    Limit(schema.FORMATION_ENERGY, -5, 5),  # of stable ones, ThF4 has about -4.4
    Limit(schema.FORMATION_ENERGY_UNCERTAINTY, 0, 1),
    Limit(schema.ENERGY, -200, 1),  # r2SCAN energies of heavy elements are low
    Limit(schema.ENERGY_ABOVE_HULL, 0, 5),
    Limit(schema.BAND_GAP, 0, 20),  # solid neon has 21.7
    Limit(schema.BAND_GAP_MBJ, 0, 25),
    Limit(schema.BAND_GAP_HSE, 0, 25),
    Limit(schema.VOLUME, 0, 200, above=True),  # caesium has 117
    Limit(schema.DENSITY, 0, 25, above=True),  # osmium has 22.6
    Limit(schema.BULK_MODULUS, 0, 600, above=True),  # diamond has 443
    Limit(schema.SHEAR_MODULUS, 0, 600, above=True),  # diamond has 535
    Limit(schema.MAGNETIZATION_ATOM, -10, 10),  # gadolinium has 7.6
    Limit(schema.N_SITES, 1, 10_000),
    Limit(schema.SPACE_GROUP, 1, 230),
)
"""Rows outside these are reported as outliers; no row is dropped for it."""


def previous(store: Store, name: str) -> Artifact | None:
    """The snapshot that bore a name before, if it can be read."""
    try:
        return store.open(name, "snapshots")
    except StoreError:
        return None


def write_report(
    staging: Staging,
    *,
    source: str,
    counts: Mapping[str, Any],
    parameters: Mapping[str, Any],
    previous: Artifact | None,
) -> dict[str, str]:
    """Write the report of the snapshot that lies in a staging folder.

    Parameters
    ----------
    staging : Staging
        With ``data.parquet`` and ``rejected.parquet``.
    source : str
        What the snapshot was taken of, as people call it.
    counts, parameters : mapping
        As for the snapshot's manifest; ``counts["skipped"]`` lists ranges of rows that the server
        could not give.
    previous : Artifact, optional
        The snapshot before this one; left aside if it was taken of something else.

    Returns
    -------
    dict
        Names of the files written, and the content digests to publish them with.

    Raises
    ------
    StoreError
        If a file cannot be read or written, or a comparison does not add up.
    """
    report: dict[str, Any] = {"source": source, "skipped": list(counts.get("skipped", ()))}
    with duck.bounded("report on the snapshot") as database:
        report |= _contents(database, staging)
    if previous is not None and previous.manifest.parameters.get("label") != source:
        previous = None
    report["previous"] = None if previous is None else _changes(staging, parameters, previous)
    report = plain(report)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    staging.write_bytes(REPORT, text.encode())
    staging.write_bytes(REPORT_TEXT, markdown(report).encode())
    return {REPORT: NO_CONTENT, REPORT_TEXT: NO_CONTENT}


# contents ------------------------------------------------------------------------------------


def _contents(database: duckdb.DuckDBPyConnection, staging: Staging) -> dict[str, Any]:
    fields = duck.schema_of(staging.folder, DATA)
    for view, file in (("data", DATA), ("rejected", REJECTED_ROWS)):
        database.execute(
            f"CREATE VIEW {view} AS SELECT * FROM {duck.scan(database, staging.folder, file)}"
        )
    rows, rejected = (duck.one(database, f"SELECT count(*) FROM {v}")[0] for v in _VIEWS)
    reasons = _counted(database, f"SELECT {duck.name(REASON.name)} FROM rejected")
    return {
        "rows": rows,
        "rejected": rejected,
        "reasons": dict(reasons[:MOST]),
        "noted": _notes(database, fields),
        "columns": {f.name: _column(database, f, rows) for f in fields if f.name != ROW.name},
        "outliers": _outliers(database, fields),
        **_chemistry(database),
    }


def _column(database: duckdb.DuckDBPyConnection, field: pa.Field, rows: int) -> dict[str, Any]:
    """Missing values of a column, and the range of its finite numbers."""
    column = duck.name(field.name)
    found: dict[str, Any] = {"type": str(field.type), "unit": duck.unit(field)}
    if not duck.is_number(field.type):
        ((there,),) = database.execute(f"SELECT count({column}) FROM data").fetchall()
        return found | {"missing": rows - there}
    finite = f"SELECT CAST({column} AS DOUBLE) AS x FROM data WHERE isfinite({column}::DOUBLE)"
    ((there, numbers, low, median, high),) = database.execute(
        f"SELECT (SELECT count({column}) FROM data), count(*), min(x), median(x), max(x) "
        f"FROM ({finite})"
    ).fetchall()
    far = 0
    if numbers and max(-low, high) < _LARGE:
        ((mean, spread),) = database.execute(
            f"SELECT favg(x), stddev_pop(x) FROM ({finite})"
        ).fetchall()
        (far,) = duck.one(
            database,
            f"SELECT count(*) FROM ({finite}) WHERE abs(x - {mean!r}) > {SIGMAS * spread!r}",
        )
    return found | {
        "missing": rows - there,
        "not_finite": there - numbers,
        "min": low,
        "median": median,
        "max": high,
        "beyond_5_sigma": far,
    }


def _outliers(database: duckdb.DuckDBPyConnection, fields: pa.Schema) -> list[dict[str, Any]]:
    """Rows outside the limits, the worst as examples."""
    found = []
    id_ = SOURCE_ID.name if SOURCE_ID.name in fields.names else ROW.name
    for limit in LIMITS:
        if limit.column.name not in fields.names:
            continue
        if not duck.is_number(fields.field(limit.column.name).type):
            continue  # a user's table may use the name for something else
        x = f"{duck.name(limit.column.name)}::DOUBLE"
        low = f"{x} {'<=' if limit.above else '<'} {limit.low!r}"
        high = f"{x} > {limit.high!r} AND NOT isnan({x})"
        below, above = duck.one(
            database,
            f"SELECT count(*) FILTER ({low}), count(*) FILTER ({high}) FROM data",
        )
        if not below + above:
            continue
        worst = database.execute(
            f"SELECT CAST({duck.name(id_)} AS VARCHAR), {duck.name(FORMULA.name)}, {x} FROM data "
            f"WHERE {low} OR ({high}) "
            f"ORDER BY greatest({limit.low!r} - {x}, {x} - {limit.high!r}) DESC, 1, 2 "
            f"LIMIT {EXAMPLES}"
        ).fetchall()
        found.append(
            {
                "column": limit.column.name,
                "credible": str(limit),
                "below": below,
                "above": above,
                "worst": [{"id": i, "formula": f, "value": v} for i, f, v in worst],
            }
        )
    return found


def _chemistry(database: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Elements, chemical systems, and compositions that occur more than once."""
    composition = duck.name(COMPOSITION.name)
    database.execute(
        f"CREATE TABLE compositions AS SELECT {composition}, count(*) AS times, "
        f"{usual_elements.OF_ROW} AS elements FROM data GROUP BY {composition}"
    )
    by_element = dict(_counted(database, f"SELECT unnest({usual_elements.OF_ROW}) FROM data"))
    systems = database.execute(
        "SELECT len(elements) AS n, sum(times)::BIGINT, count(DISTINCT array_to_string(elements, "
        "'-')), count(*) FROM compositions GROUP BY n ORDER BY n"
    ).fetchall()
    distinct, repeated, extra = duck.one(
        database,
        "SELECT count(*), count(*) FILTER (times > 1), sum(times - 1)::BIGINT FROM compositions",
    )
    most = database.execute(
        f"SELECT {composition}, times FROM compositions WHERE times > 1 "
        f"ORDER BY times DESC, {composition} LIMIT {EXAMPLES}"
    ).fetchall()
    return {
        "elements": by_element,
        "usual_elements_missing": [e for e in usual_elements.USUAL if e not in by_element],
        "systems": {
            str(n): {"rows": rows, "systems": systems, "compositions": compositions}
            for n, rows, systems, compositions in systems
        },
        "compositions": {
            "distinct": distinct,
            "repeated": repeated,
            "rows_beyond_the_first": extra,
            "most_repeated": dict(most),
        },
    }


def _notes(database: duckdb.DuckDBPyConnection, fields: pa.Schema) -> dict[str, int]:
    """Values that the source gave and that could not be used, by what they were given for."""
    if NOTE.name not in fields.names or not _is_note(fields.field(NOTE.name)):
        return {}
    notes = f"SELECT unnest(string_split({duck.name(NOTE.name)}, '; ')) AS note FROM data"
    return dict(_counted(database, f"SELECT split_part(note, ':', 1) FROM ({notes})")[:MOST])


def _is_note(field: pa.Field) -> bool:
    """Whether a column holds what was noted on reading rows, and is not of a user's own table."""
    meaning = (field.metadata or {}).get(b"meaning", b"").decode()
    return field.type == NOTE.type and meaning == NOTE.meaning


def _counted(database: duckdb.DuckDBPyConnection, select: str) -> list[tuple[str, int]]:
    """What a query of one column gives how often, most often first."""
    found = database.execute(f"SELECT x, count(*) FROM ({select}) AS t(x) GROUP BY x").fetchall()
    return sorted(((str(x), int(n)) for x, n in found), key=lambda pair: (-pair[1], pair[0]))


def _changes(staging: Staging, parameters: Mapping[str, Any], previous: Artifact) -> dict[str, Any]:
    """What has changed since the previous snapshot, and whether both were asked for alike."""
    with compare(previous.folder, staging.folder) as comparison:
        found = comparison.summary.as_dict()
    before, now = previous.manifest.parameters, plain(parameters)
    asked = {
        key: [before.get(key), now.get(key)]
        for key in sorted(before.keys() | now.keys())
        if key in QUERY and before.get(key) != now.get(key)
    }
    return {"id": previous.id, "asked_differently": asked, **found}
