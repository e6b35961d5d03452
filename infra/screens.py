"""Published screens for users of Python: Arrow, pandas, SQL and the best hits under conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from featurizers.elements import Z_OF
from infra import duck
from infra.artifact import Artifact
from infra.guards import store_errors
from infra.manifest import Manifest
from infra.query import connect, failed, scan_of, select
from infra.screen_files import FILES, HEAD, RANKED, REST, origin, write_screen
from infra.settings import settings
from infra.store import Store
from irnet_core.errors import DataError, ScreenError
from irnet_core.schema import CHEMICAL_SYSTEM, HULL_DISTANCE, P_STABLE, PROPERTY_PARTS, RANK

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as pads

__all__ = ["FILES", "HEAD", "RANKED", "REST", "Screen", "met", "open_screen", "write_screen"]

Range = tuple[float | None, float | None]
"""Lowest and highest value, both included; None leaves an end open."""
GAP_PREFIX = "band_gap"


class Screen:
    """A published screen; make one with :func:`open_screen`.

    Attributes
    ----------
    manifest : Manifest
        What it is: inputs, parameters, the counts of its funnel.
    artifact : Artifact
    schema : pyarrow.Schema
        Columns with units and meanings.
    """

    def __init__(self, store: Store, artifact: Artifact) -> None:
        self.store, self.artifact = store, artifact
        self.manifest: Manifest = artifact.manifest
        self.schema = duck.schema_of(artifact.folder, RANKED)

    def __repr__(self) -> str:
        return f"Screen({self.manifest.id}, {self.manifest.rows} rows)"

    @property
    def origin(self) -> dict[str, Any]:
        """Digests, parameters and counts as the files themselves state them."""
        return origin(self.schema)

    def arrow(
        self, columns: Sequence[str] | None = None, filter: pads.Expression | None = None
    ) -> pa.Table:
        """Rows as an Arrow table, best first.

        Parameters
        ----------
        columns : sequence of str, optional
            By default all.
        filter : pyarrow.dataset.Expression, optional
            Such as ``pc.field("energy_above_hull") < 0.05``; row groups that cannot hold a hit
            are not read.

        Raises
        ------
        DataError
            If there is no such column.
        StoreError
            If a file cannot be read.
        """
        import pyarrow.dataset as pads  # imports pandas, which `irnet top` does without

        wanted = [self._column(name) for name in columns or self.schema.names]
        folder = self.artifact.folder
        paths = [f"{folder.path}/{name}" for name in FILES if name in self.manifest.files]
        with store_errors("read", self.artifact.url):
            rows = pads.dataset(paths, format="parquet", filesystem=folder.fs)
            table = rows.to_table(columns=[*dict.fromkeys([*wanted, RANK.name])], filter=filter)
        return table.sort_by(RANK.name).select(wanted)

    def pandas(
        self, columns: Sequence[str] | None = None, filter: pads.Expression | None = None
    ) -> pd.DataFrame:
        """Rows as a pandas data frame, best first; see :meth:`arrow`."""
        return self.arrow(columns, filter).to_pandas()

    def query(self, sql: str) -> pa.Table:
        """Answer of one SELECT, in which the view ``ranked`` is this screen.

        The other views are those of ``irnet query``.

        Raises
        ------
        StoreError
            If the statement cannot be run, or does anything but read.
        """
        connection = connect(self.store, self.artifact)
        relation = select(connection, sql)
        try:
            return relation.to_arrow_table()
        except duckdb.Error as error:
            raise failed(connection, error) from error

    def top(
        self,
        limit: int = 20,
        *,
        elements: Sequence[str] = (),
        only: bool = False,
        max_hull: float | None = None,
        min_p_stable: float | None = None,
        gap: Range | None = None,
        properties: Mapping[str, Range] | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The best rows under conditions, all of which they fulfil, best first.

        Parameters
        ----------
        limit : int
            Rows at most.
        elements : sequence of str
            Symbols that the composition holds.
        only : bool
            Whether it holds no others, which makes `elements` one chemical system.
        max_hull : float, optional
            Most energy above hull, in eV/atom.
        min_p_stable : float, optional
            Least probability of being stable.
        gap : tuple of float, optional
            Range of the predicted property whose name begins with ``band_gap``.
        properties : mapping of str to tuple of float, optional
            Ranges of numeric columns by name.
        where : str, optional
            A further condition in SQL.
        columns : sequence of str, optional
            By default all.

        Returns
        -------
        pyarrow.Table
            A column that a condition is on and the screen has not is an error, no empty table.

        Raises
        ------
        DataError
            If there is no such column.
        ScreenError
            If a condition cannot be read.
        StoreError
            If the condition in SQL cannot be run.
        """
        if limit < 1:
            raise ScreenError(f"limit is {limit}; ask for 1 row at least")
        ranges = dict(properties or {})
        if gap is not None:
            ranges[self._gap()] = met(ranges.get(self._gap()), gap)
        if max_hull is not None:
            ranges[HULL_DISTANCE.name] = met(ranges.get(HULL_DISTANCE.name), (None, max_hull))
        if min_p_stable is not None:
            ranges[P_STABLE.name] = met(ranges.get(P_STABLE.name), (min_p_stable, None))
        conditions = _of_elements(elements, only)
        for name, limits in ranges.items():
            conditions += _between(self._number(name), limits)
        if where is not None:
            conditions.append(f"({where}\n)")  # a comment in it ends with its line
        chosen = ", ".join(duck.name(self._column(c)) for c in columns or self.schema.names)
        # The best rows come first, so that hits among them need no look at the others.
        parts = [(RANKED,), (REST,)] if REST in self.manifest.files else [(RANKED,)]
        tables: list[pa.Table] = []
        for files in parts:
            missing = limit - sum(table.num_rows for table in tables)
            if missing > 0:
                tables.append(self._hits(chosen, files, conditions, missing))
        fields = [self.schema.field(name) for name in columns or self.schema.names]
        return pa.concat_tables(tables).cast(pa.schema(fields))

    # -------------------------------------------------------------------------------------
    def _hits(
        self, chosen: str, files: Sequence[str], conditions: Sequence[str], limit: int
    ) -> pa.Table:
        connection = duck.reading()
        if not self.store.folder.local:
            connection.register_filesystem(self.store.folder.fs)
        condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        rank, scan = duck.name(RANK.name), scan_of(self.artifact, *files)
        sql = f"SELECT {chosen} FROM {scan} AS ranked{condition} ORDER BY {rank} LIMIT {limit:d}"
        choice = f"the columns are {', '.join(self.schema.names)}"
        relation = select(connection, sql, choice)
        try:
            return relation.to_arrow_table()
        except duckdb.Error as error:
            raise failed(connection, error, choice) from error

    def _column(self, name: str) -> str:
        if name not in self.schema.names:
            raise DataError(
                f"there is no such column, take one of {', '.join(self.schema.names)}",
                source=f"screens/{self.manifest.id}",
                column=name,
            )
        return name

    def _number(self, name: str) -> str:
        if not duck.is_number(self.schema.field(self._column(name)).type):
            raise DataError(
                "it holds no numbers, of which a range could be asked for; write a condition in"
                " SQL instead",
                source=f"screens/{self.manifest.id}",
                column=name,
            )
        return name

    def _gap(self) -> str:
        parts = tuple(part for part in PROPERTY_PARTS if part)
        names = [n for n in self.schema.names if n.startswith(GAP_PREFIX)]
        gaps = [name for name in names if not name.endswith(parts)]
        if len(gaps) != 1:
            found = f"the columns {', '.join(gaps)}" if gaps else "no column"
            raise DataError(
                f"the screen has {found} beginning with {GAP_PREFIX!r}: name a property with its"
                f" range instead, one of {', '.join(gaps or self.schema.names)}",
                source=f"screens/{self.manifest.id}",
            )
        return gaps[0]


def open_screen(ref: str = "latest", store: Store | None = None) -> Screen:
    """Open a screen by name, id, or the first digits of its id.

    Parameters
    ----------
    ref : str
    store : Store, optional
        By default that of ``IRNET_STORE``.

    Raises
    ------
    StoreError
        If there is no such screen.

    Examples
    --------
    >>> from infra.ranked import ranked_table
    >>> from infra.store import request_digest
    >>> store = Store("memory://screens-example")
    >>> block = ranked_table(
    ...     {"numbers": [[3, 8], [8, 12]], "amounts": [[2, 1], [1, 1]], "band_gap_ev": [5.0, 4.0]},
    ...     {"band_gap_ev": "eV"},
    ... )
    >>> with store.staging("screens", request_digest("screens", {}, {})) as staging:
    ...     _ = store.publish(staging, write_screen(staging, [block]), what="Two oxides.", rows=2)
    >>> open_screen(store=store).arrow(["formula", "rank"]).to_pylist()
    [{'formula': 'Li2O', 'rank': 1}, {'formula': 'MgO', 'rank': 2}]
    """
    store = store or Store(settings().store)
    return Screen(store, store.open(ref.removeprefix("screens/"), "screens"))


def _of_elements(elements: Sequence[str], only: bool) -> list[str]:
    if unknown := [symbol for symbol in elements if symbol not in Z_OF]:
        raise ScreenError(f"{unknown[0]!r} is no element: give symbols such as Li,Fe,O")
    if only and not elements:
        raise ScreenError("'only' needs elements: name those of the chemical system")
    system = duck.name(CHEMICAL_SYSTEM.name)
    if only:
        return [f"{system} = {duck.text('-'.join(sorted(set(elements))))}"]
    # not list_contains on the column of lists: texts are fewer bytes and several times faster
    return [f"'-' || {system} || '-' LIKE '%-{symbol}-%'" for symbol in sorted(set(elements))]


def _between(name: str, limits: Range) -> list[str]:
    low, high = limits
    if not all(end is None or math.isfinite(end) for end in limits):
        raise ScreenError(f"the range of {name!r} is not finite: leave an end open instead")
    if low is not None and high is not None and low > high:
        raise ScreenError(f"the range of {name!r}, {low:g} to {high:g}, is empty: swap its ends")
    bounds = [(">=", low), ("<=", high)]
    return [f"{duck.name(name)} {sign} {float(end)!r}" for sign, end in bounds if end is not None]


def met(first: Range | None, second: Range) -> Range:
    """What lies in both ranges."""
    low, high = first or (None, None)
    lows = [end for end in (low, second[0]) if end is not None]
    highs = [end for end in (high, second[1]) if end is not None]
    return max(lows, default=None), min(highs, default=None)
