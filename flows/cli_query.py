"""Commands that look things up: ``query``, ``top`` and ``explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from flows.output import one_sentence, out, output_path, user_file
from infra.settings import settings
from irnet_core.errors import DataError, ScreenError
from irnet_core.schema import (
    CANDIDATE,
    CHEMICAL_SYSTEM,
    DOMAIN_PERCENTILE,
    ELEMENTS,
    FORMULA,
    N_ATOMS,
    PARETO_FRONT,
    PROPERTY_PARTS,
    RANK,
    SCORE,
    STD,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.explain import Explanation


#: Columns, or endings of them, that a printed table leaves out; files have them all.
HIDDEN = (
    *(part for part in PROPERTY_PARTS if part),
    *(CANDIDATE.name, SCORE.name, CHEMICAL_SYSTEM.name, ELEMENTS.name, N_ATOMS.name),
    *(DOMAIN_PERCENTILE.name, PARETO_FRONT.name),
)


def query(
    sql: Annotated[str, typer.Argument(help="A SELECT, for example over the view ranked.")],
    rows: Annotated[int, typer.Option(min=1, help="Most rows to print.")] = 100,
    output: Annotated[
        str | None,
        typer.Option(help="Write all rows to this file, .csv or .parquet, instead of printing."),
    ] = None,
) -> None:
    """Query the store with SQL (DuckDB).

    For example `irnet query "SELECT formula, score FROM ranked LIMIT 10"`. The views: ranked
    is the latest screen and snapshot the latest snapshot; the others are screen_ID and
    snapshot_ID.
    """
    from infra.query import query as run_query
    from infra.query import query_table
    from infra.store import Store

    if output is not None:
        with one_sentence():
            path = output_path(output, ".csv", ".parquet")
            found = query_table(Store(settings().store), sql)
            _write(found, path)
        out.print(f"{found.num_rows:,} rows -> {path}", soft_wrap=True)
        return
    with one_sentence():
        names, values = run_query(Store(settings().store), sql, rows + 1)
    table = Table(*names)
    for row in values[:rows]:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    out.print(table)
    if len(values) > rows:
        out.print(f"only the first {rows} rows are shown, take more with --rows")


def top(
    screen: Annotated[str, typer.Option(help="Name or id of a screen.")] = "latest",
    elements: Annotated[
        str | None, typer.Option(help="Symbols that the composition holds, such as Li,O.")
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="No other elements: hits of one chemical system.")
    ] = False,
    max_hull: Annotated[
        float | None, typer.Option(help="Most energy above hull, in eV/atom.")
    ] = None,
    min_p_stable: Annotated[
        float | None, typer.Option(help="Least probability of being stable.")
    ] = None,
    gap: Annotated[
        str | None, typer.Option(help="Range of the predicted band gap in eV, such as 1..3.")
    ] = None,
    property: Annotated[
        list[str] | None,
        typer.Option(help="Range of a column, such as bulk_modulus_gpa=100..; may be repeated."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help='A further condition in SQL, such as "n_atoms < 6".')
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Hits at most.")] = 20,
    output: Annotated[
        str | None, typer.Option(help="File for the hits, .csv or .parquet, instead of print.")
    ] = None,
) -> None:
    """The best hits of a screen: `irnet top --elements Li,O --max-hull 0.05 --gap 1..3`.

    A printed table has the main columns, `--output FILE` all of them.
    """
    from infra.screens import open_screen

    with one_sentence():
        path = None if output is None else output_path(output, ".csv", ".parquet")
        opened = open_screen(screen)
        hits = opened.top(
            limit,
            elements=[part.strip() for part in (elements or "").split(",") if part.strip()],
            only=only,
            max_hull=max_hull,
            min_p_stable=min_p_stable,
            gap=None if gap is None else _range(gap, "--gap"),
            properties=_properties(property or []),
            where=where,
        )
        if path is not None:
            _write(hits, path)
    if path is not None:
        out.print(f"{hits.num_rows:,} hits of {opened} -> {path}", soft_wrap=True)
    elif hits.num_rows:
        out.print(_table(hits))
    else:
        out.print(f"none of the {opened.manifest.rows:,} rows fulfils all conditions")


def explain(
    formula: Annotated[str, typer.Argument(help="A formula, such as LiFeO2.")],
    model: Annotated[
        str, typer.Option(help="Name or id of a model, or the folder of a bundle.")
    ] = "default",
    snapshot: Annotated[
        str | None,
        typer.Option(
            help="Name or id of the known compounds; by default what the model was trained on."
        ),
    ] = None,
    screen: Annotated[
        str | None, typer.Option(help="Name or id of a screen, to show its row of the formula.")
    ] = None,
    energies: Annotated[
        str | None,
        typer.Option(help="The snapshot's column of formation energies in eV/atom, for the hull."),
    ] = None,
    features: Annotated[int, typer.Option(min=1, help="Features to show.")] = 10,
    neighbours: Annotated[int, typer.Option(min=1, help="Known compounds to show.")] = 5,
) -> None:
    """Explain a prediction: `irnet explain LiFeO2 --model default`.

    What moved it, by integrated gradients; the nearest known compounds; the convex hull there.
    """
    from flows.explain import explain as work

    with one_sentence():
        found = work(formula, model, snapshot, screen, neighbours, energies)
    _explained(found, features)


def _range(text: str, what: str) -> tuple[float | None, float | None]:
    """Both ends of ``LO..HI``, either of which may be left out."""
    low, dots, high = text.partition("..")
    try:
        ends = tuple(float(end) if end.strip() else None for end in (low, high))
    except ValueError:
        ends = (None, None)
    if not dots or ends == (None, None):
        raise ScreenError(f"{what} takes a range such as 1..3, 1.. or ..3, not {text!r}")
    return ends[0], ends[1]


def _properties(texts: list[str]) -> dict[str, tuple[float | None, float | None]]:
    """Ranges by column; one that is named several times must meet all of its ranges."""
    from infra.screens import met

    ranges: dict[str, tuple[float | None, float | None]] = {}
    for name, limits in map(_property, texts):
        ranges[name] = met(ranges.get(name), limits)
    return ranges


def _property(text: str) -> tuple[str, tuple[float | None, float | None]]:
    name, _, limits = text.partition("=")
    return name.strip(), _range(limits, f"--property {name.strip()}=")


def _table(hits: pa.Table) -> Table:
    """Hits with the columns that fit a line, values with their standard deviations."""
    from infra import duck

    shown = [field for field in hits.schema if not field.name.endswith(HIDDEN)]
    units = {f.name: duck.unit(f) for f in shown}
    table = Table(*(f"{n} ({u})" if u not in ("", "1") else n for n, u in units.items()))
    for row in hits.to_pylist():
        spreads = (row.get(name + STD) for name in units)
        table.add_row(
            *(
                _shown(row[name]) + (f" ± {spread:.3f}" if spread is not None else "")
                for name, spread in zip(units, spreads, strict=True)
            )
        )
    return table


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(f"{item:+d}" for item in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _write(hits: pa.Table, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    try:
        with user_file(path) as file:
            if path.suffix == ".parquet":
                pq.write_table(hits, file, compression="zstd")
            else:
                pa_csv.write_csv(_flat(hits), file)
    except pa.ArrowException as error:
        why = str(error).splitlines()[0]
        raise DataError(
            f"a column has values that {path.suffix} cannot hold ({why}): cast it in the query",
            source=str(path),
        ) from error


def _flat(hits: pa.Table) -> pa.Table:
    """Lists as texts, which CSV can hold."""
    import pyarrow as pa

    for position, column in enumerate(hits.schema):
        if pa.types.is_list(column.type):
            texts = [
                None if row is None else " ".join(map(str, row))
                for row in hits.column(position).to_pylist()
            ]
            hits = hits.set_column(position, column.name, pa.array(texts, pa.string()))
    return hits


def _explained(found: Explanation, features: int) -> None:
    unit = found.unit
    sure = ""
    if found.std is not None:
        sure = f" ± {found.std:.4f}, 90 %: {found.lower:.4f} to {found.upper:.4f}"
    predicted = f"{found.prediction:.4f}{sure}"
    out.print(
        f"{found.formula}: {found.target} {predicted} {unit} by {found.model}", soft_wrap=True
    )
    share = found.attribution
    out.print(
        f"\nwhat moved it from {share.baseline:.4f} {unit} ({found.baseline}), integrated "
        "gradients:",
        soft_wrap=True,
    )
    largest = share.largest(features)
    moved = Table("feature", "here", "baseline", f"moves it by ({unit})")
    for i in largest:
        moved.add_row(
            found.inputs[i],
            f"{found.values[i]:.4g}",
            f"{found.means[i]:.4g}",
            f"{share.values[i]:+.4f}",
        )
    others = len(share.values) - len(largest)
    if others:
        rest = float(share.values.sum() - share.values[largest].sum())
        moved.add_row(f"{others} others together", "", "", f"{rest:+.4f}")
    out.print(moved)
    if found.neighbours:
        out.print(f"\nnearest compounds of snapshots/{found.snapshot}, by scaled features:")
        near = Table("composition", "distance", f"{found.target} ({unit})", "rows")
        for one in found.neighbours:
            value = "" if one.value is None else f"{one.value:.4f}"
            near.add_row(one.formula, f"{one.distance:.3f}", value, str(one.rows))
        out.print(near)
    if found.hull is not None:
        out.print(f"\nhull of the known phases: {found.hull:.4f} eV/atom at {found.formula}")
        if found.above is not None:
            side = "above" if found.above >= 0 else "below"
            out.print(f"predicted {abs(found.above):.4f} eV/atom {side} it")
        out.print(f"decomposes into: {found.decomposition}", soft_wrap=True)
    if found.ranked:
        out.print(f"\nrank {found.ranked[RANK.name]:,} of the screen:", soft_wrap=True)
        row = Table("column", "value")
        for name, entry in found.ranked.items():
            if name not in (ELEMENTS.name, FORMULA.name, RANK.name):
                row.add_row(name, _shown(entry))
        out.print(row)
    for note in found.notes:
        out.print(f"\nnote: {note}", soft_wrap=True)
