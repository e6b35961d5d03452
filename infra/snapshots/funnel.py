"""Rows of one database on their way to a training table: steps that drop rows, and count them.

The steps of :data:`STEPS` run in that order, whatever the order they are named in. They are those
of the reference code of IRNet (doi:10.1038/s41598-021-83193-1) and two that it does without. Every
row either passes all steps or is dropped by one of them, so the counts add up to the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from featurizers.elements import SYMBOLS, Z_OF, has_magpie_data
from infra import duck
from infra.snapshots import usual_elements
from infra.snapshots.stacked import ID, SNAPSHOT_NUMBER, Stacked
from irnet_core.errors import DataError, StoreError
from irnet_core.schema import COMPOSITION, FORMULA, FUNCTIONAL, ROW

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
    rows : Stacked
        Without an energy there is no lowest one and no range.
    steps : Steps

    Raises
    ------
    DataError
        If the rows are of several levels of theory, or none is left.

    Attributes
    ----------
    counts : dict of int
        Rows that came in, rows that each step dropped, and rows that are left.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, rows: Stacked, steps: Steps) -> None:
        self.rows, self.steps, self._db = rows, steps, database
        self._marks = duck.name(f"{rows.name}_steps")
        self.counts = self._run()

    @property
    def kept(self) -> str:
        """SQL for the rows that are left, in all columns of the rows."""
        passed = f"SELECT {ID} FROM {self._marks} WHERE step IS NULL"
        return f"(SELECT * FROM {self.rows.view} WHERE {ID} IN ({passed}))"

    @property
    def dropped(self) -> str:
        """SQL for the rows that are not: snapshot, row, formula, reason."""
        ids = "".join(f" WHEN {i} THEN '{s.id}'" for i, s in enumerate(self.rows.snapshots))
        reasons = "".join(
            f" WHEN {duck.text(step)} THEN "
            + duck.text(f"not kept by step {step!r}: {self.describe(step)}")
            for step in STEPS
        )
        return (
            f"SELECT CASE r.{SNAPSHOT_NUMBER}{ids} END, r.{duck.name(ROW.name)}, "
            f"r.{duck.name(FORMULA.name)}, CASE s.step{reasons} END FROM {self.rows.view} r "
            f"JOIN {self._marks} s USING ({ID}) WHERE s.step IS NOT NULL ORDER BY {ID}"
        )

    def describe(self, step: str) -> str:
        """What the rows that a step leaves have in common, with the names of the columns."""
        low, high = self.steps.range
        return {
            TARGET: f"{' and '.join(dict.fromkeys(self.rows.wanted))} finite",
            FUNCTIONALS: f"{FUNCTIONAL.name} {self.steps.functional or 'the same'}",
            RANGE: f"{self.rows.energy} above {low:g} and below {high:g}",
            LOWEST: f"lowest {self.rows.energy} of the composition",
            SIGMA: f"{self.rows.target} within {SIGMAS:g} standard deviations of the mean",
            NOT_IN_ALL: "compositions that every source has",
            ROWS_IN: f"rows of {self.rows.label}",
            ROWS: "rows left",
        }.get(step) or STEPS[step]

    def lines(self) -> list[list[str | int]]:
        """Rows in, rows that each step dropped (negative), rows left; and what each step keeps."""
        return [
            [name, count if name in (ROWS_IN, ROWS) else -count, self.describe(name)]
            for name, count in self.counts.items()
        ]

    # -------------------------------------------------------------------------------------
    def _run(self) -> dict[str, int]:
        """Let each step mark the rows that it drops; returns the counts."""
        run, table = self._db.execute, self._marks
        energy = "NULL" if self.rows.energy is None else duck.name(self.rows.energy)
        run(
            f"CREATE TABLE {table} AS SELECT {ID}, {duck.name(COMPOSITION.name)}, "
            f"CAST({duck.name(self.rows.target)} AS DOUBLE) AS x, CAST({energy} AS DOUBLE) AS e, "
            f"CAST(NULL AS VARCHAR) AS step FROM {self.rows.view}"
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
                    source=self.rows.label,
                    column=self.rows.target,
                )
        counts[ROWS] = duck.one(self._db, f"SELECT count(*) FROM {self.kept}")[0]
        if counts[ROWS] != left:
            raise StoreError(f"the steps lost rows ({counts}): verify the snapshots and run again")
        return counts

    def _which(self, step: str) -> str | None:
        """SQL for the rows that a step drops; none if the step does not apply."""
        low, high = self.steps.range
        if step == TARGET:
            energy = "" if self.rows.energy is None else " AND isfinite(e)"
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
            f"SELECT {ID}, {key}, e, min(e) OVER (PARTITION BY {key}) AS m FROM {self._marks} "
            "WHERE step IS NULL"
        )
        tied = (
            f"SELECT {ID} FROM ({lowest}) WHERE e = m "
            f"QUALIFY count(*) OVER (PARTITION BY {key}) > 1"
        )
        # only rows that tie are compared in all columns, structures too
        places = (
            f"SELECT {ID}, row_number() OVER (PARTITION BY {key} ORDER BY {self.rows.order}) AS n "
            f"FROM {self.rows.view} WHERE {ID} IN ({tied})"
        )
        return (
            f"{ID} IN (SELECT {ID} FROM ({lowest}) WHERE e > m) "
            f"OR {ID} IN (SELECT {ID} FROM ({places}) WHERE n > 1)"
        )

    def _functionals(self) -> str | None:
        """Rows of other levels of theory; several are never mixed without a word."""
        wanted = self.steps.functional
        if FUNCTIONAL.name not in self.rows.fields:
            if wanted not in (None, ALL):
                raise DataError(
                    "the snapshot does not state levels of theory row by row: leave out "
                    "--functional",
                    source=self.rows.label,
                )
            return None
        column = f"coalesce({duck.name(FUNCTIONAL.name)}, 'not stated')"
        found = self._db.execute(
            f"SELECT {column}, count(*) FROM {self.kept} GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
        names = [name for name, _ in found]
        there = ", ".join(f"{name} ({count:,} rows)" for name, count in found)
        if wanted == ALL or (wanted is None and len(names) == 1):
            return None
        if wanted is None:
            raise DataError(
                f"its rows are of different levels of theory, {there}: choose one with "
                f"--functional, or mix them knowingly with --functional {ALL}",
                source=self.rows.label,
                column=FUNCTIONAL.name,
            )
        if wanted not in names:
            raise DataError(
                f"no row is of the level {wanted!r}: there are {there}",
                source=self.rows.label,
                column=FUNCTIONAL.name,
            )
        return f"{ID} IN (SELECT {ID} FROM {self.rows.view} WHERE {column} <> {duck.text(wanted)})"

    def _far(self) -> str:
        """Rows beyond 5 standard deviations; sums over sorted values depend on no order."""
        left = self._db.execute(f"SELECT x FROM {self._marks} WHERE step IS NULL ORDER BY x")
        x = np.asarray(left.fetchnumpy()["x"], np.float64)
        with np.errstate(over="ignore"):
            mean, spread = float(x.mean()), float(x.std())
        if not np.isfinite([mean, spread]).all():
            raise DataError(
                "values are too large for a standard deviation: add the step 'range'",
                source=self.rows.label,
                column=self.rows.target,
            )
        return f"abs(x - {mean!r}) > {SIGMAS * spread!r}"
