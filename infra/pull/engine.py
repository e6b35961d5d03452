"""Pulling a database into a staging folder: unit by unit, resumable, of one version only.

Each unit becomes a Parquet file that appears whole, with what was counted on the way in its schema
metadata, so that rows and counts cannot part. Whatever kills the process, the next pull of the same
request goes on with the first unit that is not there. Where a server has no version but its count,
the first unit that is kept is pulled once more, to see that it is still the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.content import canonical_json, plain
from infra.guards import NAME
from infra.pull.collection import no_collection
from infra.pull.http import Http, Unanswered
from infra.pull.protocol import Database, Undivided, Unit, UnitCounts
from infra.pull.unit_rows import content, sorted_rows, unit_schema
from infra.staging import Staging
from irnet_core.errors import SourceError, StoreError
from irnet_core.schema import REASON

PULL = "pull.json"
_COUNTS = b"pull"  # key in the schema metadata of a unit's file
_ROW_GROUP = 10_000  # rows that a reader of a unit holds at once

#: Called with the rows there are so far, about how many there will be, and a few words.
Update = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Pulled:
    """What lies in the staging folder after a pull.

    Attributes
    ----------
    files : tuple of str
        Names of the units' files, in order.
    version : dict
        The server's version of the data, the same before and after.
    counts : dict
        For the manifest: units, rows, the server's own total, duplicates, skipped ranges, passes,
        requests, retries by reason.
    """

    files: tuple[str, ...]
    version: dict[str, Any]
    counts: dict[str, Any]


def pull(
    database: Database,
    staging: Staging,
    http: Http,
    *,
    limit: int | None = None,
    update: Update | None = None,
) -> Pulled:
    """Pull a database, or go on where an earlier pull of the same request ended.

    Parameters
    ----------
    database : Database
        What to pull.
    staging : Staging
        Of this request; units that are there already are kept as long as the server's version is
        the one they came from.
    http : Http
        Client to ask with.
    limit : int, optional
        Stop after so many rows.
    update : callable
        Told of progress.

    Returns
    -------
    Pulled

    Raises
    ------
    SourceError
        If a unit cannot be had completely, too many rows cannot be had, or the version changes a
        second time. Units that are complete are kept.
    StoreError
        If the staging folder cannot be written.
    """
    for _ in range(2):
        job = _Job(database, staging, http, limit, update or (lambda *_: None))
        try:
            job.begin()
            job.pull_units()
            if job.unchanged():
                job.check_whole()
                return job.pulled()
        except SourceError as error:
            raise job.explained(error) from error
    staging.folder.keep(())
    raise SourceError(
        f"{database.name}: the server's data changed twice while it was pulled, from version "
        f"{canonical_json(plain(job.version))}; nothing is kept, run the same command again later"
    )


class _Job:
    """One go at all units."""

    def __init__(
        self, database: Database, staging: Staging, http: Http, limit: int | None, update: Update
    ) -> None:
        self.database, self.staging, self.http = database, staging, http
        self.limit, self.update = limit, update
        self.version: dict[str, Any] = {}
        self.units: list[Unit] = []
        self.counts: dict[str, dict[str, Any]] = {}  # by file, in order
        self.rows = 0

    def begin(self) -> None:
        """Settle version and units: those of an earlier pull if the version is still the same."""
        self.update(0, self.limit or 0, "asks for version and units")
        self.version = present = plain(self.database.version(self.http))
        if self.resume() and self.same_content():
            return
        self.version = present
        if (
            self.limit is not None
            and isinstance(self.database, Undivided)
            and self.limit <= self.database.whole_rows
        ):
            units = [self.database.whole(self.http)]
        else:
            units = sorted(self.database.units(self.http), key=lambda unit: unit.name)
        names = [unit.name for unit in units]
        if bad := [name for name in names if not NAME.fullmatch(f"unit-{name}.parquet")]:
            raise SourceError(f"{self.database.name}: {bad[0]!r} cannot be the name of a file")
        if len(set(names)) < len(names):
            raise SourceError(f"{self.database.name}: two units have the same name, of {names}")
        if self.version.get("rows") == 0:
            asked = self.database.query().get("filter")
            raise SourceError(
                f"{self.database.name}: no entry meets the filter {asked!r}; loosen it"
                if asked
                else f"{self.database.name}: the server has no entries; check its address"
            )
        self.staging.folder.keep(())
        self.units = [Unit(unit.name, plain(unit.query)) for unit in units]
        text = json.dumps({"version": self.version, "units": [asdict(u) for u in self.units]})
        self.staging.write_bytes(PULL, text.encode())

    def resume(self) -> bool:
        """Take over what an earlier pull settled; False if there is none or it is out of date."""
        if not self.staging.has(PULL):
            return False
        try:
            kept = json.loads(self.staging.read_bytes(PULL))
            units = [Unit(**unit) for unit in kept["units"]]
            version = _together(kept["version"], self.version)
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        if version is not None:
            self.units, self.version = units, version
        return version is not None

    def same_content(self) -> bool:
        """Whether the first unit that is kept is what the server gives today.

        Another release may have as many rows, and a server without a version tells nothing else.
        """
        files = ((f"unit-{unit.name}.parquet", unit) for unit in self.units)
        kept = next((pair for pair in files if self.kept(pair[0]) is not None), None)
        if self.database.versioned or kept is None:
            return True
        file, unit = kept
        table, _ = self.fetched(unit, 0)
        try:
            return content(table) == content(self.staging.read_table(file))
        except StoreError:  # damaged
            return False

    def unchanged(self) -> bool:
        """Whether the server's version is still the one that was settled."""
        return _together(self.version, plain(self.database.version(self.http))) is not None

    def pull_units(self) -> None:
        """Pull what is not there yet."""
        for number, unit in enumerate(self.units):
            if self.limit is not None and self.rows >= self.limit:
                break
            file = f"unit-{unit.name}.parquet"
            counts = self.kept(file)
            if counts is None:
                self.tell(number, 0)
                counts = self.pull_unit(unit, file, number)
            self.counts[file] = counts
            self.rows += counts["rows"]
            self.check_skipped()
            self.tell(number + 1, 0)

    def kept(self, file: str) -> dict[str, Any] | None:
        """Counts of a unit that is there; None if it is not, or is damaged."""
        if not self.staging.has(file):
            return None
        try:
            with self.staging.folder.open(file) as handle:
                counts = json.loads(pq.read_schema(handle).metadata[_COUNTS])
        except (StoreError, KeyError, TypeError, ValueError):
            return None
        return counts if isinstance(counts, dict) else None

    def pull_unit(self, unit: Unit, file: str, number: int) -> dict[str, Any]:
        """Pull one unit into its file; returns its counts."""
        table, found = self.fetched(unit, number)
        metadata = {**table.schema.metadata, _COUNTS: canonical_json(plain(found))}
        self.staging.write_table(file, table.replace_schema_metadata(metadata), _ROW_GROUP)
        return found

    def fetched(self, unit: Unit, number: int) -> tuple[pa.Table, dict[str, Any]]:
        """Rows of a unit, complete, and its counts."""
        counts = UnitCounts()
        requests, retries = self.http.requests, Counter(self.http.retries)
        most = None if self.limit is None else self.limit - self.rows
        with no_collection():
            rows = self.gathered(unit, most, counts, number)
            table, duplicates = sorted_rows(rows, unit_schema(self.database.columns), most)
        self.check_complete(unit, table.num_rows + duplicates, counts, most)
        found = {
            "rows": table.num_rows,
            "rejected": table.num_rows - table[REASON.name].null_count,
            "total": counts.total,
            "duplicates": counts.duplicates + duplicates,
            "skipped": [{"unit": unit.name, **part} for part in counts.skipped],
            "passes": counts.passes,
            "repeated": counts.repeated,
            "requests": self.http.requests - requests,
            "retries": dict(self.http.retries - retries),
        }
        return table, found

    def gathered(
        self, unit: Unit, most: int | None, counts: UnitCounts, number: int
    ) -> Iterator[pa.Table]:
        """Tables of a unit as they come."""
        rows = 0
        for table in self.database.tables(unit, self.http, most, counts):
            rows += table.num_rows
            self.tell(number, rows)
            yield table

    def check_complete(self, unit: Unit, rows: int, counts: UnitCounts, most: int | None) -> None:
        """Compare the rows of a unit with the server's count of them once more."""
        if counts.total is None:
            return
        wanted = counts.total if most is None else min(counts.total, most)
        found = rows + sum(part["count"] for part in counts.skipped)
        if (found != wanted) if most is None else (found < wanted):
            raise SourceError(
                f"{self.database.name}, unit {unit.name}: the server counts {counts.total:,} rows, "
                f"but there are {found:,}; try again later or narrow the filter"
            )

    def check_whole(self) -> None:
        """Compare the units with the server's count of all rows: some count those of a page."""
        whole = self.version.get("rows")
        totals = [counts["total"] for counts in self.counts.values()]
        if whole is None or self.limit is not None or None in totals:
            return
        found = sum(totals) + sum(counts.get("repeated", 0) for counts in self.counts.values())
        if found == whole:
            return
        self.staging.folder.keep(())  # complete by counts that cannot be right
        self.counts.clear()
        raise SourceError(
            f"{self.database.name}: the server counts {whole:,} rows in all, but {found:,} in its "
            "parts, so nobody could tell whether all have come; try again later or another way"
        )

    def check_skipped(self) -> None:
        """Stop once the server could not give too many rows."""
        skipped = sum(part["count"] for part in self.skipped())
        most = self.http.settings.most_skipped_rows
        if skipped > most:
            raise SourceError(
                f"{self.database.name}: {skipped} rows cannot be had from the server, more than "
                f"{most}; try again later, or raise IRNET_MOST_SKIPPED_ROWS to do without them"
            )

    def skipped(self) -> list[dict[str, Any]]:
        """Ranges that the server could not give."""
        return [part for counts in self.counts.values() for part in counts["skipped"]]

    def tell(self, number: int, more: int) -> None:
        """Tell of progress; ``number`` units are done, and ``more`` rows of the next are here."""
        done = float(self.rows + more)
        known = self.version.get("rows")
        if isinstance(known, int) and known >= done:
            total = float(known)
        else:
            total = done * len(self.units) / number if number else done
        if self.limit is not None:
            total = min(total, self.limit) if number else self.limit
        note = f"{number} of {len(self.units)} parts"
        if again := sum(self.http.retries.values()):
            note += f", {again} requests repeated"
        self.update(done, max(total, done), note)

    def explained(self, error: SourceError) -> SourceError:
        """The error with what is kept and what to do."""
        text = self.http.redacted(str(error))
        if self.counts:
            text += (
                f"; {len(self.counts)} of {len(self.units)} parts are kept, run the same command "
                "again to go on"
            )
        elif isinstance(error, Unanswered):
            text += "; nothing was published, run the same command again later"
        return (
            Unanswered(text, error.reason) if isinstance(error, Unanswered) else SourceError(text)
        )

    def pulled(self) -> Pulled:
        """What there is in the end."""
        all_counts = list(self.counts.values())
        totals = [counts["total"] for counts in all_counts]
        retries: Counter[str] = Counter()
        for counts in all_counts:
            retries.update(counts["retries"])
        return Pulled(
            tuple(self.counts),
            self.version,
            {
                "units": len(all_counts),
                "server_total": None if None in totals else sum(totals),
                "rows_pulled": self.rows,
                **{
                    name: sum(counts[name] for counts in all_counts)
                    for name in ("duplicates", "passes", "requests")
                },
                "skipped": self.skipped(),
                "retries": dict(sorted(retries.items())),
            },
        )


def _together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    """What two readings of a version know together, none if they contradict each other.

    A server may not be able to tell part of it, such as a date, at one of the two times.

    Examples
    --------
    >>> _together({"rows": 9, "newest": "2026"}, {"rows": 9, "newest": None})
    {'rows': 9, 'newest': '2026'}
    >>> _together({"rows": 9, "newest": "2026"}, {"rows": 8, "newest": None})
    """
    if one.keys() != other.keys():
        return None
    known = {name: other[name] if one[name] is None else one[name] for name in one}
    return known if all(other[name] in (None, value) for name, value in known.items()) else None
