"""The command line ``irnet``: flows and look-ups, with errors in one sentence."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from flows.cli_evaluate import evaluate
from flows.cli_models import join, predict, train
from flows.cli_prepare import prepare
from flows.cli_query import explain, query, top
from flows.cli_screen import screen, show
from flows.cli_snapshot import app as snapshot_app
from flows.cli_study import study
from flows.output import err, made, one_sentence, out, say
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


def main() -> None:
    """Entry point of the command ``irnet``."""
    try:
        app()
    except SystemExit as end:
        # Arrow may still be starting reader threads when a check has failed on what they read,
        # and the interpreter's own way out then aborts. A Prefect server waits for its last log.
        if end.code == 1 and not _has_server():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)
        raise


def _has_server() -> bool:
    """Whether a Prefect server is told what happens; where Prefect was not needed, none is."""
    found = sys.modules.get("prefect.settings")
    return found is not None and bool(found.PREFECT_API_URL.value())


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
app.command()(query)
app.command()(top)
app.command()(explain)
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


app.command()(train)
app.command()(join)
app.command()(predict)
app.command()(evaluate)


app.command()(screen)


@app.command()
def demo() -> None:
    """Run the whole pipeline, in minutes, on 2,135 measured formation enthalpies."""
    from flows.demo import demo as flow
    from flows.stage import run

    with one_sentence():
        show(run(flow), 20)
    irnet = _command()
    out.print(
        f'\nGo on with\n  {irnet} query "SELECT rank, formula, energy_above_hull, decomposition '
        "FROM ranked WHERE list_contains(elements, 'O') LIMIT 10\"\n"
        f"  {irnet} screen ternaries --model demo --elements Li,Na,Mg,Al,Si,P,S,O,F --max-atoms 12",
        soft_wrap=True,
    )


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
