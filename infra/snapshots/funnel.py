"""Rows of one database on their way to a training table: steps that drop rows, and count them.

The steps of :data:`STEPS` run in that order, whatever the order they are named in. They are those
of the reference code of IRNet (doi:10.1038/s41598-021-83193-1) and two that it does without. Every
row either passes all steps or is dropped by one of them, so the counts add up to the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from featurizers.elements import SYMBOLS, Z_OF, has_magpie_data
from infra import duck
from infra.artifact import DATA, Artifact
from infra.snapshots import usual_elements
from irnet_core.errors import DataError, StoreError
from irnet_core.schema import COMPOSITION, FORMULA, FUNCTIONAL, ROW, SOURCE_ID

TARGET, FUNCTIONALS, RANGE, LOWEST = "target", "functional", "range", "lowest"
SIGMA, COMPOUNDS, USUAL, MAGPIE = "sigma", "compounds", "usual", "magpie"
SIGMAS = 5.0

STEPS = {
    TARGET: "target and energy are numbers",
    FUNCTIONALS: "the level of theory asked for",
    RANGE: "energy within the range",
    LOWEST: "lowest energy of its composition",
    SIGMA: "target within 5 standard deviations of the mean",
    COMPOUNDS: "more than one element",
    USUAL: "only the 86 usual elements",
    MAGPIE: "only elements that Magpie has data for",
}
"""What the rows that each step leaves have in common."""
NOT_IN_ALL = "shared"
"""Last of all, where sources stand side by side: compositions that another source lacks."""
ALWAYS = (TARGET, FUNCTIONALS)
ROWS_IN, ROWS = "rows_in", "rows"
PAPER = (RANGE, LOWEST, SIGMA, COMPOUNDS, USUAL)

ALL = "all"
_ID, _SNAPSHOT = "irnet__id", "irnet__snapshot"
_MAGPIE = tuple(symbol for symbol in SYMBOLS[1:] if has_magpie_data(Z_OF[symbol]))


@dataclass(frozen=True)
class Steps:
    """What the steps are to do.

    Attributes
    ----------
    names : tuple of str
        Optional steps to take, of :data:`STEPS`.
    range : tuple of float
        Least and largest energy, in the unit of the energy; neither is kept itself.
    functional : str, optional
        Level of theory to keep, or ``all``.
    """

    names: tuple[str, ...] = PAPER
    range: tuple[float, float] = (-20.0, 5.0)
    functional: str | None = None


class Funnel:
    """The rows of one database, each with the step that drops it, in a table of DuckDB.

    Parameters
    ----------
    database : duckdb.DuckDBPyConnection
    name : str
        Of the source, as in names of columns.
    snapshots : sequence of Artifact
        Snapshots of that one source, whose rows are stacked.
    target, energy : str
        Columns; without an energy there is no lowest one and no range.
    steps : Steps

    Raises
    ------
    DataError
        If a column is missing or no number, the snapshots contradict each other in a unit, a type
        or a level of theory, hold the same entry twice, or no row is left.

    Attributes
    ----------
    counts : dict of int
        Rows that came in, rows that each step dropped, and rows that are left.
    fields : dict of pyarrow.Field
        Columns of the rows, by name.
    """

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        name: str,
        snapshots: Sequence[Artifact],
        target: str,
        energy: str | None,
        steps: Steps,
    ) -> None:
        self.name, self.target, self.energy, self.steps = name, target, energy, steps
        self.label = " and ".join(str(s.manifest.parameters["label"]) for s in snapshots)
        self._db, self._snapshots = database, snapshots
        self.fields = self._common_fields()
        self._check_columns()
        self._rows, self._steps = duck.name(f"{name}_rows"), duck.name(f"{name}_steps")
        self._stack()
        self.counts = self._run()

    @property
    def kept(self) -> str:
        """SQL for the rows that are left, in the columns of ``fields``."""
        passed = f"SELECT {_ID} FROM {self._steps} WHERE step IS NULL"
        return f"(SELECT * FROM {self._rows} WHERE {_ID} IN ({passed}))"

    @property
    def order(self) -> str:
        """SQL for the order of rows: by composition, energy, id, then whatever else there is.

        It does not depend on the order in which the rows came.
        """
        first = [COMPOSITION.name, self.energy, SOURCE_ID.name, FORMULA.name, self.target]
        rest = [n for n in sorted(self.fields) if n not in first and n != ROW.name]
        names = [n for n in first if n in self.fields] + rest
        return ", ".join(self._sortable(n) for n in dict.fromkeys(names))

    @property
    def dropped(self) -> str:
        """SQL for the rows that are not: snapshot, row, formula, reason."""
        ids = "".join(f" WHEN {i} THEN '{s.id}'" for i, s in enumerate(self._snapshots))
        reasons = "".join(
            f" WHEN {duck.text(step)} THEN "
            + duck.text(f"not kept by step {step!r}: {self.describe(step)}")
            for step in STEPS
        )
        return (
            f"SELECT CASE r.{_SNAPSHOT}{ids} END, r.{duck.name(ROW.name)}, "
            f"r.{duck.name(FORMULA.name)}, CASE s.step{reasons} END FROM {self._rows} r "
            f"JOIN {self._steps} s USING ({_ID}) WHERE s.step IS NOT NULL ORDER BY {_ID}"
        )

    def describe(self, step: str) -> str:
        """What the rows that a step leaves have in common, with the names of the columns."""
        low, high = self.steps.range
        return {
            TARGET: f"{' and '.join(dict.fromkeys(self._wanted))} finite",
            FUNCTIONALS: f"{FUNCTIONAL.name} {self.steps.functional or 'the same'}",
            RANGE: f"{self.energy} above {low:g} and below {high:g}",
            LOWEST: f"lowest {self.energy} of the composition",
            SIGMA: f"{self.target} within {SIGMAS:g} standard deviations of the mean",
            NOT_IN_ALL: "compositions that every source has",
            ROWS_IN: f"rows of {self.label}",
            ROWS: "rows left",
        }.get(step) or STEPS[step]

    def lines(self) -> list[list[str | int]]:
        """Rows in, rows that each step dropped (negative), rows left; and what each step keeps."""
        return [
            [name, count if name in (ROWS_IN, ROWS) else -count, self.describe(name)]
            for name, count in self.counts.items()
        ]

    # -------------------------------------------------------------------------------------
    @property
    def _wanted(self) -> list[str]:
        return [name for name in (self.target, self.energy) if name is not None]

    def _common_fields(self) -> dict[str, pa.Field]:
        """Columns of all snapshots, which must agree on types and units."""
        fields: dict[str, pa.Field] = {}
        for snapshot in self._snapshots:
            for field in duck.schema_of(snapshot.folder, DATA):
                known = fields.setdefault(field.name, field)
                if (known.type, duck.unit(known)) != (field.type, duck.unit(field)):
                    one, other = (
                        f"{f.type}, unit {duck.unit(f) or 'none'}" for f in (known, field)
                    )
                    raise DataError(
                        f"it is {one} in one snapshot and {other} in another: convert one of them",
                        source=self.label,
                        column=field.name,
                    )
                if field.name in self._wanted and known.metadata != field.metadata:
                    raise DataError(
                        "the snapshots hold values of different definition, "
                        f"{_meaning(known)!r} and {_meaning(field)!r}: prepare them apart",
                        source=self.label,
                        column=field.name,
                    )
        return fields

    def _check_columns(self) -> None:
        for column in self._wanted:
            if column not in self.fields or column in (ROW.name, FORMULA.name, COMPOSITION.name):
                there = [n for n, f in self.fields.items() if duck.is_number(f.type)]
                own = [n for n in there if n != ROW.name]
                raise DataError(
                    f"there is no such column of numbers: the snapshot has "
                    f"{', '.join(own) or 'none'}",
                    source=self.label,
                    column=column,
                )
            if not duck.is_number(self.fields[column].type):
                raise DataError(
                    f"it holds {self.fields[column].type}, but must hold numbers",
                    source=self.label,
                    column=column,
                )

    def _stack(self) -> None:
        """Rows of all snapshots, each entry once, in a view."""
        parts = [
            f"SELECT * EXCLUDE (file_row_number), {i} AS {_SNAPSHOT}, file_row_number + {i << 40} "
            f"AS {_ID} FROM {duck.scan(self._db, snapshot.folder, DATA)}"
            for i, snapshot in enumerate(self._snapshots)
        ]
        stacked = " UNION ALL BY NAME ".join(parts)
        self._db.execute(f"CREATE VIEW {self._rows} AS {stacked}")
        if len(parts) > 1 and SOURCE_ID.name in self.fields:
            id_ = duck.name(SOURCE_ID.name)
            twice = self._db.execute(
                f"SELECT {id_} FROM {self._rows} WHERE {id_} IS NOT NULL GROUP BY {id_} "
                f"HAVING count(DISTINCT {_SNAPSHOT}) > 1 ORDER BY {id_}"
            ).fetchall()
            if twice:
                raise DataError(
                    f"{len(twice)} entries, such as {twice[0][0]}, are in more than one of the "
                    "snapshots: give only the newest of them",
                    source=self.label,
                    column=SOURCE_ID.name,
                )

    def _run(self) -> dict[str, int]:
        """Let each step mark the rows that it drops; returns the counts."""
        run, table = self._db.execute, self._steps
        energy = "NULL" if self.energy is None else duck.name(self.energy)
        run(
            f"CREATE TABLE {table} AS SELECT {_ID}, {duck.name(COMPOSITION.name)}, "
            f"CAST({duck.name(self.target)} AS DOUBLE) AS x, CAST({energy} AS DOUBLE) AS e, "
            f"CAST(NULL AS VARCHAR) AS step FROM {self._rows}"
        )
        counts = {ROWS_IN: duck.one(self._db, f"SELECT count(*) FROM {table}")[0]}
        left = counts[ROWS_IN]
        for step in STEPS:
            if step not in (*ALWAYS, *self.steps.names):
                continue
            which = self._which(step)
            if which is None:
                continue
            run(f"UPDATE {table} SET step = {duck.text(step)} WHERE step IS NULL AND ({which})")
            (counts[step],) = duck.one(
                self._db, f"SELECT count(*) FROM {table} WHERE step = {duck.text(step)}"
            )
            left -= counts[step]
            if not left:
                raise DataError(
                    f"step {step!r} ({self.describe(step)}) leaves no row: choose other --steps, "
                    "or another target",
                    source=self.label,
                    column=self.target,
                )
        counts[ROWS] = duck.one(self._db, f"SELECT count(*) FROM {self.kept}")[0]
        if counts[ROWS] != left:
            raise StoreError(f"the steps lost rows ({counts}): verify the snapshots and run again")
        return counts

    def _which(self, step: str) -> str | None:
        """SQL for the rows that a step drops; none if the step does not apply."""
        low, high = self.steps.range
        if step == TARGET:
            energy = "" if self.energy is None else " AND isfinite(e)"
            return f"NOT coalesce(isfinite(x){energy}, false)"
        if step == FUNCTIONALS:
            return self._functionals()
        if step == RANGE:
            return f"NOT (e > {low!r} AND e < {high!r})"
        if step == SIGMA:
            return self._far()
        if step == LOWEST:
            return self._higher()
        return {
            COMPOUNDS: f"len({usual_elements.OF_ROW}) < 2",
            USUAL: f"NOT {usual_elements.within(usual_elements.USUAL)}",
            MAGPIE: f"NOT {usual_elements.within(_MAGPIE)}",
        }[step]

    def _higher(self) -> str:
        """Rows above the lowest energy of their composition, and all but one of those that tie."""
        key = duck.name(COMPOSITION.name)
        lowest = (
            f"SELECT {_ID}, {key}, e, min(e) OVER (PARTITION BY {key}) AS m FROM {self._steps} "
            "WHERE step IS NULL"
        )
        tied = (
            f"SELECT {_ID} FROM ({lowest}) WHERE e = m "
            f"QUALIFY count(*) OVER (PARTITION BY {key}) > 1"
        )
        # only rows that tie are compared in all columns, structures too
        places = (
            f"SELECT {_ID}, row_number() OVER (PARTITION BY {key} ORDER BY {self.order}) AS n "
            f"FROM {self._rows} WHERE {_ID} IN ({tied})"
        )
        return (
            f"{_ID} IN (SELECT {_ID} FROM ({lowest}) WHERE e > m) "
            f"OR {_ID} IN (SELECT {_ID} FROM ({places}) WHERE n > 1)"
        )

    def _functionals(self) -> str | None:
        """Rows of other levels of theory; several are never mixed without a word."""
        wanted = self.steps.functional
        if FUNCTIONAL.name not in self.fields:
            if wanted not in (None, ALL):
                raise DataError(
                    "the snapshot does not state levels of theory row by row: leave out "
                    "--functional",
                    source=self.label,
                )
            return None
        column = f"coalesce({duck.name(FUNCTIONAL.name)}, 'not stated')"
        found = self._db.execute(
            f"SELECT {column} AS f, count(*) FROM {self.kept} GROUP BY f ORDER BY 2 DESC, f"
        ).fetchall()
        names = [name for name, _ in found]
        there = ", ".join(f"{name} ({count:,} rows)" for name, count in found)
        if wanted == ALL or (wanted is None and len(names) == 1):
            return None
        if wanted is None:
            raise DataError(
                f"its rows are of different levels of theory, {there}: choose one with "
                f"--functional, or mix them knowingly with --functional {ALL}",
                source=self.label,
                column=FUNCTIONAL.name,
            )
        if wanted not in names:
            raise DataError(
                f"no row is of the level {wanted!r}: there are {there}",
                source=self.label,
                column=FUNCTIONAL.name,
            )
        return f"{_ID} IN (SELECT {_ID} FROM {self._rows} WHERE {column} <> {duck.text(wanted)})"

    def _far(self) -> str:
        """Rows beyond 5 standard deviations; sums over sorted values depend on no order."""
        left = self._db.execute(f"SELECT x FROM {self._steps} WHERE step IS NULL ORDER BY x")
        x = np.asarray(left.fetchnumpy()["x"], np.float64)
        with np.errstate(over="ignore"):
            mean, spread = float(x.mean()), float(x.std())
        if not np.isfinite([mean, spread]).all():
            raise DataError(
                "values are too large for a standard deviation: add the step 'range'",
                source=self.label,
                column=self.target,
            )
        return f"abs(x - {mean!r}) > {SIGMAS * spread!r}"

    def _sortable(self, column: str) -> str:
        """Structures sort by their hash, which no row's place enters."""
        quoted = duck.name(column)
        return f"hash({quoted})" if pa.types.is_nested(self.fields[column].type) else quoted


def _definition(field: pa.Field) -> str:
    return f"{field.type}, unit {duck.unit(field) or 'none'}"


def _meaning(field: pa.Field) -> str:
    return bytes((field.metadata or {}).get(b"meaning", b"")).decode()
