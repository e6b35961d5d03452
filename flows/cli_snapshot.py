"""The commands ``irnet snapshot``: one for each source, and ``diff``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from flows.cli_models import FormulaColumn
from flows.output import made, one_sentence, out, output_path, user_file
from infra.settings import settings
from irnet_core.errors import IRNetError
from irnet_core.schema import FORMULA

if TYPE_CHECKING:
    from infra.artifact import Artifact
    from infra.snapshots.difference import Comparison, Difference


class _Sources(TyperGroup):
    """What is no source is a table: ``irnet snapshot table.csv``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["file", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Sources,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"ignore_unknown_options": True},
    subcommand_metavar="SOURCE|TABLE",
    help="""Take a snapshot of a database or a table: `irnet snapshot oqmd`.

A snapshot is complete or it is not published. A pull that was cut off goes on where it stopped
when the same command is run again; the same data are the same snapshot. Each holds `report.md`,
which says what is in it, what is missing, what looks wrong and what has changed since the last.

`irnet snapshot SOURCE --help` says which filters a source understands, and on which terms its
data may be used; `irnet snapshot table.csv` takes your own table.""",
)

# What a command does not know is refused in one sentence, in _take.
_LOOSE = {"ignore_unknown_options": True, "allow_extra_args": True}

Limit = Annotated[int | None, typer.Option(help="Pull so many rows at most, to try it out.")]
Filter = Annotated[str | None, typer.Option(help="Which entries; see above.")]


@app.command(context_settings=_LOOSE)
def oqmd(
    ctx: typer.Context,
    limit: Limit = None,
    filter: Filter = None,
    via: Annotated[
        str | None, typer.Option(help="rest (all energies in full) or optimade.")
    ] = None,
) -> None:
    """Open Quantum Materials Database: 1.2 million PBE(+U) calculations; CC BY 4.0, no key.

    Formation energies, hull distances, band gaps, volumes, structures.

    Filters are OQMD's own, without spaces round the operators within a condition:
    `--filter 'element_set=(Fe-Mn),O AND stability<0.1'` (comma is and, hyphen is or). Keys:
    element_set, generic, prototype, spacegroup, natoms, ntypes, volume, band_gap, delta_e (eV/atom)
    and stability (eV/atom). With `--via optimade` they are those of OPTIMADE.
    """
    _take(ctx, "oqmd", limit, filter=filter, via=via)


@app.command(context_settings=_LOOSE)
def aflow(
    ctx: typer.Context,
    limit: Limit = None,
    filter: Filter = None,
    catalog: Annotated[
        str | None,
        typer.Option(
            help="icsd (60,000 entries, the default), lib1 to lib9 (hypothetical ones, millions), "
            "or several, lib1:lib2."
        ),
    ] = None,
) -> None:
    """AFLOW: 3.5 million PBE(+U) calculations; for non-commercial purposes only, no key.

    Formation enthalpies, energies, band gaps, volumes, densities, elastic moduli, structures.

    Filters are AFLUX matchbooks: `--filter 'species(Fe,O),nspecies(2),Egap(0.1*)'` are iron oxides
    with a band gap of at least 0.1 eV. Comma is and, colon is or, `!` is not; `Egap(1*,*3)` is a
    range.
    """
    _take(ctx, "aflow", limit, filter=filter, catalog=catalog)


@app.command(context_settings=_LOOSE)
def mp(
    ctx: typer.Context,
    limit: Limit = None,
    filter: Filter = None,
    via: Annotated[
        str | None,
        typer.Option(help="rest (pages), or delta (the whole collection in one, without filter)."),
    ] = None,
) -> None:
    """Materials Project; CC BY 4.0. It needs your own key in the variable MP_API_KEY.

    Formation and total energies, hull distances, band gaps, densities, elastic moduli,
    magnetization, structures. The key is free at materialsproject.org and is never written down.

    Filters are the arguments of the client's `materials.summary.search`, ranges with a colon:
    `--filter 'elements=Fe,O,band_gap=0.5:3,is_stable=true'`. The GNoME entries, which must not be
    used commercially, are left out unless the filter says `include_gnome=true`.
    """
    _take(ctx, "mp", limit, filter=filter, via=via)


@app.command(context_settings=_LOOSE)
def jarvis(
    ctx: typer.Context,
    limit: Limit = None,
    dataset: Annotated[
        str | None, typer.Option(help="dft_3d (the default), dft_2d, dft_3d_2021 and so on.")
    ] = None,
) -> None:
    """JARVIS-DFT: some 94,000 OptB88vdW calculations; NIST data, no key.

    Formation energies, hull distances, band gaps (OptB88vdW, MBJ, HSE), elastic moduli, magnetic
    moments, structures. One archive from figshare, checked before it is trusted; there are no
    filters, choose with `irnet query` or `irnet prepare` afterwards.
    """
    _take(ctx, "jarvis", limit, dataset=dataset)


@app.command(context_settings=_LOOSE)
def optimade(
    ctx: typer.Context,
    limit: Limit = None,
    filter: Filter = None,
    url: Annotated[
        str | None, typer.Option(help="Provider; by default that of IRNET_OPTIMADE_URL.")
    ] = None,
) -> None:
    """Any provider of OPTIMADE: `--url https://optimade.materialsproject.org`; its own terms.

    Structures, and the properties of the provider that are known here.

    Filters are OPTIMADE's: `--filter 'elements HAS ALL "Fe","O" AND nelements=2'`, the same for
    every provider; www.optimade.org/providers-dashboard lists them.
    """
    _take(ctx, "optimade", limit, filter=filter, url=url)


@app.command(context_settings=_LOOSE)
def matminer(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="Name, such as expt_gap.")] = None,
    limit: Limit = None,
) -> None:
    """A data set of matminer by its name: `irnet snapshot matminer --dataset expt_gap`; no key.

    For example expt_gap (measured band gaps), jarvis_dft_3d, matbench_mp_e_form. Terms and citation
    are those of the data set. There are no filters.
    """
    _take(ctx, "matminer", limit, dataset=dataset)


@app.command(name="pymatgen-expt", context_settings=_LOOSE)
def pymatgen_expt(ctx: typer.Context) -> None:
    """2,135 measured formation enthalpies that come with pymatgen; MIT, no network, no key."""
    _take(ctx, "pymatgen-expt", None)


@app.command(name="file", context_settings=_LOOSE)
def file(
    ctx: typer.Context,
    table: Annotated[str | None, typer.Argument(help="CSV, TSV or Parquet table.")] = None,
    path: Annotated[str | None, typer.Option(help="The same as an option.")] = None,
    formula_column: FormulaColumn = FORMULA.name,
) -> None:
    """Your own table: `irnet snapshot table.csv --formula-column composition`."""
    from flows.snapshot import make_source

    with one_sentence():
        _refuse_rest(ctx, "file")
        if table is not None and path is not None:
            raise IRNetError(
                f"file is given {table!r} and --path {path!r}: name one, and take the other after"
            )
        if table is not None and not Path(table).exists():
            make_source(table)  # says that there is neither such a file nor such a source
    _take(ctx, "file", None, path=path or table, formula_column=formula_column)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="Name or id of a snapshot.")],
    new: Annotated[str, typer.Argument(help="Name or id of a later one.")],
    by: Annotated[
        str | None,
        typer.Option(
            help="Column to match rows by; by default source_id, or else the composition."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Write the rows that differ to this .parquet file.")
    ] = None,
) -> None:
    """What has changed from one snapshot to another: `irnet snapshot diff OLD NEW`.

    Counts rows added, removed and changed, and for each column how many values changed and by how
    much. The order of rows does not matter.
    """
    from flows.snapshot import open_snapshot
    from infra.snapshots.difference import compare
    from infra.store import Store

    with one_sentence():
        store = Store(settings().store)
        one, other = open_snapshot(old, store), open_snapshot(new, store)
        path = None if output is None else output_path(output, ".parquet")
        with compare(one.folder, other.folder, by) as comparison:
            rows = 0 if path is None else _write_changes(comparison, path)
            _print_difference(one, other, comparison.summary)
            if path is not None:
                out.print(f"{rows:,} rows that differ -> {path}", soft_wrap=True)


# -------------------------------------------------------------------------------------------


def _take(ctx: typer.Context, source: str, limit: int | None, **options: str | None) -> None:
    """Take a snapshot and say what it is."""
    from flows.snapshot import snapshot as flow
    from flows.stage import run

    with one_sentence():
        _refuse_rest(ctx, source)
        given = {name: value for name, value in options.items() if value is not None}
        artifact = made("snapshots", run(flow, source=source, limit=limit, **given))
        _print_report(artifact)


def _refuse_rest(ctx: typer.Context, source: str) -> None:
    """Refuse what the command does not know."""
    if not ctx.args:
        return
    known = [name for p in ctx.command.params for name in p.opts if name.startswith("--")]
    options = ", ".join(name for name in known if name != "--help") or "none"
    what = "option" if ctx.args[0].startswith("-") else "argument"
    raise IRNetError(
        f"{source} has no {what} {ctx.args[0].partition('=')[0]}: its options are {options}"
    )


def _print_report(artifact: Artifact) -> None:
    """The report in a few lines, and where the whole of it lies."""
    from infra.snapshots.quality import REPORT, REPORT_TEXT

    if REPORT not in artifact.manifest.files:  # it was made before there were reports
        return
    report = json.loads(artifact.read_bytes(REPORT))
    if skipped := sum(part["count"] for part in report["skipped"]):
        out.print(f"{skipped:,} rows could not be had from the server")
    for outlier in report["outliers"]:
        rows = outlier["below"] + outlier["above"]
        out.print(f"{rows:,} rows with {outlier['column']} not {outlier['credible']}")
    if previous := report["previous"]:
        out.print(
            f"since {previous['id']}: {previous['added']:,} rows added, "
            f"{previous['removed']:,} removed, {previous['changed']:,} changed"
        )
    out.print(f"data quality: {artifact.path(REPORT_TEXT)}", soft_wrap=True)


def _print_difference(old: Artifact, new: Artifact, found: Difference) -> None:
    labels = [str(snapshot.manifest.parameters.get("label")) for snapshot in (old, new)]
    if labels[0] != labels[1]:
        out.print(f"these are of different sources, {' and '.join(labels)}", soft_wrap=True)
    out.print(
        f"{old.id} -> {new.id}, rows matched by {found.key}: {found.rows_old:,} -> "
        f"{found.rows_new:,} rows; {found.added:,} added, {found.removed:,} removed, "
        f"{found.changed:,} changed, {found.unchanged:,} unchanged",
        soft_wrap=True,
    )
    for what, keys in found.examples.items():
        out.print(f"{what}: {', '.join(keys)}{', ...' if len(keys) == 5 else ''}", soft_wrap=True)
    for what, names in (
        ("columns added", found.columns_added),
        ("columns removed", found.columns_removed),
    ):
        if names:
            out.print(f"{what}: {', '.join(names)}", soft_wrap=True)
    for name, (before, after) in found.redefined.items():
        out.print(f"column {name} was {before}, is {after}", soft_wrap=True)
    if not found.columns:
        return
    table = Table("column", "unit", "rows", "emptied", "filled", "median change", "largest change")
    for name, change in found.columns.items():
        sizes = ("" if size is None else f"{size:.4g}" for size in (change.median, change.largest))
        counts = (f"{n:,}" for n in (change.rows, change.emptied, change.filled))
        table.add_row(name, change.unit, *counts, *sizes)
    out.print(table)


def _write_changes(comparison: Comparison, path: Path) -> int:
    """Write the rows that differ; returns how many."""
    import pyarrow.parquet as pq

    changes, rows = comparison.changes(), 0
    with (
        user_file(path) as file,
        pq.ParquetWriter(file, changes.schema, compression="zstd") as writer,
    ):
        for batch in changes:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows
