"""The command line ``irnet``: flows and look-ups, with errors in one sentence."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from flows.cli_prepare import prepare
from flows.cli_snapshot import app as snapshot_app
from flows.cli_study import study
from flows.output import err, made, one_sentence, out, rejected, say
from infra.settings import settings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Screen compositions for materials: **snapshot** a database, **prepare** and
**featurize** it, **train** an IRNet, **screen** millions of candidates, **query** the ranked table.

Results go into the store, `./data` or `$IRNET_STORE`. Every step finds what it made before, and
goes on where a killed run stopped. Try `irnet demo` first.""",
)

Model = Annotated[str, typer.Option(help="Name or id of a model, or the folder of a bundle.")]
FormulaColumn = Annotated[str, typer.Option(help="Column that holds the formulas.")]
Network = Annotated[
    str,
    typer.Option(help="irnet-N, srnet-N or plain-N with N of 10, 17, 24, 48; or a raw notation."),
]
Recipe = Annotated[str, typer.Option(help="modern, or paper for the published recipe.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's own number.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, order of rows and split.")
]
Top = Annotated[int, typer.Option(help="Candidates to keep.")]
MaxAtoms = Annotated[int, typer.Option(help="Most atoms in a reduced formula.")]


def main() -> None:
    """Entry point of the command ``irnet``."""
    try:
        app()
    except SystemExit as end:
        # Arrow may still be starting reader threads when a check has failed on what they read,
        # and the interpreter's own way out then aborts. A Prefect server waits for its last log.
        if end.code == 1 and "PREFECT_API_URL" not in os.environ:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)
        raise


@app.callback()
def _prepare() -> None:
    # Without a server of the user's, flows are plain functions here and Prefect only declares
    # them: keep its home out of the user's, its log quiet, and nothing sent anywhere.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if "PREFECT_API_URL" not in os.environ and not (Path.home() / ".prefect").exists():
        os.environ.setdefault("PREFECT_HOME", str(Path(".prefect").absolute()))
    # A failed run's traceback goes into the server's log; the user gets the sentence.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


app.add_typer(snapshot_app, name="snapshot")
app.command()(prepare)
app.command()(study)


@app.command()
def featurize(
    snapshot: Annotated[str, typer.Argument(help="Id or name of a snapshot.")] = "latest",
    features: Annotated[
        str | None,
        typer.Option(
            help="composition (145 attributes and element fractions), structure (126), or both; "
            "composition if nothing is said."
        ),
    ] = None,
    matminer: Annotated[
        list[str] | None,
        typer.Option(
            help="Featurizer of matminer, such as composition:BandCenter or "
            "structure:DensityFeatures; may be repeated."
        ),
    ] = None,
    missing: Annotated[
        str,
        typer.Option(
            help="Element properties that nobody knows: matminer (its values), nan, or reject (the "
            "row fails)."
        ),
    ] = "matminer",
) -> None:
    """Compute the features of a snapshot, in parallel: `irnet featurize latest`.

    Rows that fail, or take longer than IRNET_ROW_LIMIT_S seconds, are kept in failed.parquet with
    the reason. A run that was killed goes on where it stopped.
    """
    from flows.featurize import featurize as flow
    from flows.stage import run

    with one_sentence():
        id_ = run(flow, snapshot=snapshot, features=features, matminer=matminer, missing=missing)
        made("features", id_)


@app.command()
def train(
    data: Annotated[str, typer.Option(help="CSV or Parquet table, or id or name of a snapshot.")],
    target: Annotated[str, typer.Option(help="Column to learn.")],
    split_column: Annotated[
        str | None,
        typer.Option(
            help="Column with train, val and test (never read), or a rule: random:0.2, "
            "folds:COLUMN/0, element:Fe, system:Fe-O, cluster:10/3, time:year<2015. Without it, a "
            "random tenth of the compositions validates."
        ),
    ] = None,
    formula_column: FormulaColumn = "formula",
    network: Network = "irnet-17",
    recipe: Recipe = "modern",
    epochs: Epochs = None,
    seed: Seed = 0,
    name: Annotated[str, typer.Option(help="Name under which the model is found.")] = "default",
) -> None:
    """Train a model: `irnet train --data table.csv --target band_gap_ev --name gaps`."""
    from flows.stage import run
    from flows.train import train as flow

    with one_sentence():
        id_ = run(
            flow,
            data=data,
            target=target,
            split_column=split_column,
            formula_column=formula_column,
            network=network,
            recipe=recipe,
            epochs=epochs,
            seed=seed,
            name=name,
        )
        made("models", id_)
        _metrics(id_)


@app.command()
def predict(
    model: Model,
    input: Annotated[str, typer.Option(help="CSV or Parquet table with formulas.")],
    output: Annotated[str, typer.Option(help="File to write, .csv or .parquet.")],
    formula_column: FormulaColumn = "formula",
) -> None:
    """Add the column `prediction` to a table of formulas.

    For example `irnet predict --model gaps --input table.csv --output predicted.csv`.
    """
    from flows.predict import predict as work

    with one_sentence():
        predicted, rejected = work(model, input, output, formula_column)
    out.print(f"{predicted:,} rows predicted -> {output}", soft_wrap=True)
    if rejected:
        out.print(f"{rejected:,} rows have none, the column 'reason' says why")


@app.command()
def screen(
    family: Annotated[str, typer.Argument(help="binaries, ternaries or quaternaries.")],
    model: Model = "default",
    elements: Annotated[
        str | None,
        typer.Option(help="Symbols, such as Li,Fe,O; by default those of the known compounds."),
    ] = None,
    exclude: Annotated[str | None, typer.Option(help="Symbols to leave out, such as Tc,U.")] = None,
    max_atoms: MaxAtoms = 10,
    top: Top = 10_000,
    rules: Annotated[
        str,
        typer.Option(help="strict (neutral, electronegativity order), neutral, or none."),
    ] = "strict",
    known: Annotated[
        str | None,
        typer.Option(
            help="Snapshot whose compositions are left out, or none; by default the one the model "
            "was trained on."
        ),
    ] = None,
    descending: Annotated[
        bool, typer.Option("--descending", help="Large predictions are best, not small ones.")
    ] = False,
) -> None:
    """Rank generated compositions: `irnet screen ternaries --model default --max-atoms 8`."""
    from flows.screen import screen as flow
    from flows.stage import run

    with one_sentence():
        id_ = run(
            flow,
            model=model,
            family=family,
            elements=_symbols(elements),
            exclude=_symbols(exclude),
            max_atoms=max_atoms,
            top=top,
            rules=rules,
            known=known,
            descending=descending,
        )
        _ranked(id_, 20)


@app.command()
def demo() -> None:
    """Run the whole pipeline, in minutes, on 2,135 measured formation enthalpies."""
    from flows.demo import demo as flow
    from flows.stage import run

    with one_sentence():
        _ranked(run(flow), 20)
    irnet = _command()
    out.print(
        f'\nGo on with\n  {irnet} query "SELECT rank, formula, prediction FROM ranked '
        "WHERE chemical_system LIKE '%-O' LIMIT 10\"\n"
        f"  {irnet} screen ternaries --model demo --elements Li,Na,Mg,Al,Si,P,S,O,F --max-atoms 12",
        soft_wrap=True,
    )


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A SELECT, for example over the view ranked.")],
    rows: Annotated[int, typer.Option(min=1, help="Most rows to print.")] = 100,
) -> None:
    """Query the store with SQL (DuckDB).

    For example `irnet query "SELECT formula, prediction FROM ranked LIMIT 10"`. The views: ranked
    is the latest screen and snapshot the latest snapshot; the others are screen_ID and
    snapshot_ID.
    """
    from infra.query import query as run_query
    from infra.store import Store

    with one_sentence():
        names, values = run_query(Store(settings().store), sql, rows + 1)
    table = Table(*names)
    for row in values[:rows]:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    out.print(table)
    if len(values) > rows:
        out.print(f"only the first {rows} rows are shown, take more with --rows")


@app.command()
def verify(
    ref: Annotated[str, typer.Argument(help="Id or name, such as models/default.")],
) -> None:
    """Hash the files of something in the store again and compare with its manifest."""
    from infra.store import Store

    with one_sentence():
        store = Store(settings().store)
        artifact = store.open(ref)
        problems = store.verify(ref)
    where = f"{artifact.manifest.kind}/{artifact.id}"
    for problem in problems:
        say("damaged:", "red", problem)
    if problems:
        err.print(f"remove {artifact.url} and run the command that made it again", soft_wrap=True)
        raise typer.Exit(1)
    out.print(f"{where}: {len(artifact.manifest.files)} files are as published")


@app.command(name="ls")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="snapshots, features, models, screens or studies.")
    ] = None,
) -> None:
    """List what is in the store."""
    from infra.store import Store

    table = Table("kind", Column("id", no_wrap=True), "names", "rows", "finished", "what")
    with one_sentence():
        store = Store(settings().store)
        for manifest in store.list(kind):
            named = [n for n, id_ in store.names(manifest.kind).items() if id_ == manifest.id]
            rows = "" if manifest.rows is None else f"{manifest.rows:,}"
            table.add_row(
                manifest.kind,
                manifest.id,
                ", ".join(named),
                rows,
                manifest.finished[:16].replace("T", " "),
                manifest.what,
            )
    out.print(table if table.row_count else "the store is empty, try irnet demo")


def _command() -> str:
    """How the user calls this program from here."""
    called = Path(sys.argv[0]).absolute()
    if shutil.which("irnet") == str(called):
        return "irnet"
    here = Path.cwd()
    return str(called.relative_to(here)) if called.is_relative_to(here) else str(called)


def _symbols(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _metrics(id_: str) -> None:
    """Say which rows a model could not learn from, and how well it learned the others."""
    from flows.models import open_model
    from infra.store import Store

    store = Store(settings().store)
    card = open_model(id_, store)[0].card
    for kind, used in (("snapshots", "snapshot"), ("features", "features")):
        rejected(store.open(card.data[used], kind))
    found = card.metrics["validation"]
    out.print(
        f"validation: MAE {found['mae']:.4f}, RMSE {found['rmse']:.4f}, R2 {found['r2']:.4f} over "
        f"{found['rows']:,} rows, unit {card.unit} (always the median: MAE "
        f"{found['mae_of_median']:.4f}); best epoch {card.best_epoch} of {card.epochs}",
        soft_wrap=True,
    )


def _ranked(id_: str, rows: int) -> None:
    """Print the head of a ranked table, its funnel and its path."""
    from infra.query import RANKED
    from infra.store import Store

    artifact = Store(settings().store).open(id_, "screens")
    manifest = artifact.manifest
    table = Table(
        "rank",
        "formula",
        "system",
        f"{manifest.parameters['target']} ({manifest.parameters['unit']})",
    )
    for row in artifact.read_table(RANKED).slice(0, rows).to_pylist():
        table.add_row(
            str(row["rank"]), row["formula"], row["chemical_system"], f"{row['prediction']:.3f}"
        )
    out.print(table)
    counts = manifest.counts
    out.print(
        f"{counts['generated']:,} generated, {counts['after_rules']:,} pass the rules, "
        f"{counts['after_known']:,} of them are new and were ranked; {manifest.rows:,} kept"
    )
    out.print(f"ranked table: {artifact.path(RANKED)}", soft_wrap=True)
