"""The command ``irnet study``."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.output import made, one_sentence, out
from irnet_core.errors import DataError


def study(
    grid: Annotated[
        str | None,
        typer.Option(
            help="paper (the whole grid, days on two cores), depth (50,000 rows), small, peers, "
            "or a TOML, YAML or JSON file."
        ),
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="The same as --grid small: 20 minutes at most.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder that holds the grid's tables; without it only embedded data are used."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Begin no cell after this long; 0 reports what there is."),
    ] = None,
) -> None:
    """Compare networks and classical learners: `irnet study --small --data ../shared/data`.

    Every finished cell is kept: a study that was stopped goes on where it was. At the end a page
    says what holds, with tables and figures, and what was not run.
    """
    from flows.stage import run
    from flows.study import PAGE
    from flows.study import study as flow

    with one_sentence():
        if small and grid not in (None, "small"):
            raise DataError("--small is a grid of its own: leave out one of --small and --grid")
        chosen = grid or ("small" if small else "paper")
        id_ = run(flow, grid=chosen, data=data, minutes=minutes)
        artifact = made("studies", id_)
    text = artifact.read_bytes(PAGE).decode()
    out.print(text.partition("## Figures")[0].strip(), soft_wrap=True)
    out.print(f"report: {artifact.path(PAGE)}", soft_wrap=True)
