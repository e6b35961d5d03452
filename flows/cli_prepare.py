"""The command ``irnet prepare``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from flows.output import made, one_sentence, out
from irnet_core.errors import DataError
from irnet_core.schema import FORMATION_ENERGY


def prepare(
    snapshots: Annotated[
        list[str], typer.Argument(help="Names or ids of snapshots, or a CSV or Parquet table.")
    ],
    target: Annotated[
        str, typer.Option(help="Column to learn; rows without a finite value are dropped.")
    ] = FORMATION_ENERGY.name,
    energy: Annotated[
        str | None,
        typer.Option(
            help="Column that tells the most stable entry of a composition, or none. By default "
            "the formation energy, else the target if it is in eV/atom."
        ),
    ] = None,
    steps: Annotated[
        str,
        typer.Option(
            help="Steps to take: range, lowest, sigma, compounds, usual (together: paper), magpie; "
            "or none."
        ),
    ] = "paper",
    range_: Annotated[
        str, typer.Option("--range", help="Bounds of the energy in the step range.")
    ] = "-20,5",
    functional: Annotated[
        str | None,
        typer.Option(help="Level of theory to keep where rows state theirs; all mixes them."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Of several sources, the one to learn from; the others stand beside it."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="SOURCE=COLUMN, once for each of several sources: a column for each."),
    ] = None,
    validation: Annotated[
        float, typer.Option(help="Share of the compositions with the role val in column split.")
    ] = 0.0,
    test: Annotated[
        float, typer.Option(help="Share of the compositions with the role test.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of these roles.")] = 0,
    name: Annotated[str, typer.Option(help="Name under which the table is found.")] = "prepared",
) -> None:
    """Make a training table of snapshots: `irnet prepare oqmd --name oqmd-ready`.

    One row per composition: the lowest in energy. The steps, in this order, are those of the IRNet
    paper: **range** drops energies that no solid has, **lowest** all but the most stable entry,
    **sigma** targets beyond 5 standard deviations, **compounds** pure elements, **usual** all but
    the 86 usual elements; **magpie** drops elements without Magpie data. Each is counted, and
    `rejected.parquet` holds what it dropped.

    Values of different databases are never mixed. `irnet prepare oqmd mp --source oqmd` takes rows
    and target of OQMD, and puts those of the Materials Project beside them in columns of their own;
    `irnet prepare oqmd mp --column oqmd=band_gap_ev --column mp=band_gap_ev` gives both a column,
    for the compositions that both have.

    The table is a snapshot: go on with `irnet train --data prepared --target COLUMN`.
    """
    from flows.prepare import prepare as flow
    from flows.stage import run

    with one_sentence():
        low, high = _bounds(range_)
        id_ = run(
            flow,
            snapshots=snapshots,
            target=target,
            energy=energy,
            steps=steps,
            low=low,
            high=high,
            functional=functional,
            source=source,
            columns=_columns(column or []),
            validation=validation,
            test=test,
            seed=seed,
            name=name,
        )
        artifact = made("snapshots", id_)
    table = Table("source", "step", "rows", "what is kept")
    for name_, lines in artifact.manifest.counts["funnel"].items():
        for step, rows, what in lines:
            table.add_row(name_, step, f"{rows:,}", what)
    out.print(table)
    if roles := artifact.manifest.counts.get("split"):
        order = sorted(roles, key=["train", "val", "test"].index)
        out.print("roles: " + ", ".join(f"{roles[role]:,} {role}" for role in order))


def _bounds(text: str) -> tuple[float, float]:
    """Two numbers from ``LOW,HIGH``."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise DataError(f"--range is {text!r}: give two numbers, such as -20,5") from error
    return low, high


def _columns(texts: list[str]) -> dict[str, str]:
    """Columns by source from ``SOURCE=COLUMN``."""
    pairs = [text.partition("=") for text in texts]
    if bad := [text for text, (_, equals, name) in zip(texts, pairs, strict=True) if not name]:
        raise DataError(f"--column is {bad[0]!r}: write SOURCE=COLUMN")
    columns = {source: name for source, _, name in pairs}
    if len(columns) < len(texts):
        raise DataError("--column names a source twice: name one column for each source")
    return columns
