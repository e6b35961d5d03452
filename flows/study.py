"""Flow ``study``: a declared grid of learners on data sets, to a report of what holds.

Cells are run in the order of the grid, one stage for neighbours of one data set and kind of inputs.
The result of each is a file in the store, written when the cell is finished; so a study goes on
where it was stopped, and computes no cell twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import metadata
from itertools import groupby
from pathlib import Path

from prefect import flow
from prefect.context import FlowRunContext

from flows.featurize import featurize_stage
from flows.progress import progress, say
from flows.snapshot import snapshot_stage
from flows.stage import stage
from flows.study_cells import blocks_of, load_table, run_cell
from infra.content import file_digest
from infra.manifest import request_digest, utc_now
from infra.settings import settings
from infra.staging import BusyError
from infra.store import Store
from infra.study.figures import figures
from infra.study.grid import Cell, DataSet, Grid, read_grid
from infra.study.page import REPORT_VERSION, page
from infra.study.results import Result, Results, Row, as_csv, cell_key, curves_table, results_table
from infra.threads import use_threads
from irnet_core.errors import DataError, IRNetError

RESULTS, RESULTS_CSV, CURVES, PAGE = "results.parquet", "results.csv", "curves.parquet", "study.md"
NO_TABLE = "its table is not in the folder of tables: name that with --data"
NO_TIME = "the study's time was up: run it again to go on"
AT_WORK = "another study was at it: run this one again when that has ended"


@stage("study-cells")
def cells_stage(
    grid: Grid,
    data: str,
    cells: Sequence[tuple[str, Cell]],
    snapshot: str,
    features: str,
    end: float,
) -> int:
    """Run cells on one table, all of one kind of inputs; returns how many were run.

    Parameters
    ----------
    grid : Grid
    data : str
        Name of the data set.
    cells : sequence of (str, Cell)
        With the keys of their results.
    snapshot, features : str
        Ids.
    end : float
        Moment, in seconds since 1970, after which no further cell is begun.
    """
    store = Store(settings().store)
    results = Results(store)
    source, made = store.open(snapshot, "snapshots"), store.open(features, "features")
    inputs = cells[0][1].inputs
    try:
        table = load_table(source, made, grid.data_set(data), inputs, grid.seed)
    except IRNetError as error:  # other tables may be sound
        _failed(results, [key for key, _ in cells], f"{data}, {inputs}", error)
        return 0
    threads = use_threads(settings())
    train, validation = table.pairs[0]
    folds = f" in the first of {len(table.pairs)} folds" if len(table.pairs) > 1 else ""
    say(
        f"{data}, {inputs}: {len(train):,} rows to train, {len(validation):,} to validate{folds}; "
        f"{threads} threads"
    )
    run = 0
    with progress(f"{data}, {inputs}", len(cells)) as update:
        for done, (key, cell) in enumerate(cells):
            if time.time() >= end:
                break

            def report(share: float, note: str, done: int = done, name: str = cell.name) -> None:
                update(done + share, f"{name} {note}")

            with results.at_work(key) as folder:
                if folder is None or _is_done(results.get(key)):
                    say(f"{data}, {inputs}, {cell.name}: left to another study, which is at it")
                    continue
                report(0, f"on {cell.size or 'all'} rows")
                result = run_cell(cell, table, folder, report)
                results.put(key, result)
                folder.remove_all()
            run += 1
            found = result.reason if result.mae is None else f"MAE {result.mae:.4f}"
            say(f"{data}, {inputs}, {cell.name}, {result.rows_at_hand or '-'} rows: {found}")
    return run


@stage("study-report", makes="studies")
def report_stage(grid: Grid, rows: Sequence[Row], inputs: dict[str, str]) -> str:
    """Publish results, figures and the page; returns their id.

    Parameters
    ----------
    grid : Grid
    rows : sequence
        Key, cell, data set and result of all cells.
    inputs : dict
        Ids of the snapshots that results are of, by data set.
    """
    started, store = utc_now(), Store(settings().store)
    results, curves = results_table(rows), curves_table(rows)
    request = request_digest(
        "studies",
        inputs,
        {"grid": grid.model_dump(), "results": results.to_pylist(), "report": REPORT_VERSION},
    )
    if found := store.find("studies", request):
        store.name(found)
        return found.id
    frame = results.to_pandas()
    images = figures(frame, curves.to_pandas())
    # `failed` alone would be rows that were left out
    counts = {f"cells {status}": int(n) for status, n in frame.status.value_counts().items()}
    with store.staging("studies", request) as staging:
        staging.write_table(RESULTS, results)
        staging.write_table(CURVES, curves)
        staging.write_bytes(RESULTS_CSV, as_csv(results))
        text = page(grid.title, frame, list(images))
        staging.write_bytes(PAGE, text.encode())
        for name, image in images.items():
            staging.write_bytes(name, image)
        manifest = store.publish(
            staging,
            [RESULTS, CURVES, RESULTS_CSV, PAGE, *images],
            what=f"{grid.title}: {counts.get('cells done', 0)} of {len(rows)} cells done",
            inputs=inputs,
            parameters={"grid": grid.model_dump()},
            rows=len(rows),
            counts=counts,
            started=started,
        )
    if FlowRunContext.get() is not None:
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(text, key="study", description=f"studies/{manifest.id}")
    return manifest.id


@flow(name="study")
def study(grid: str = "paper", data: str | None = None, minutes: float | None = None) -> str:
    """Run what is missing of a grid, and report on all of it.

    Parameters
    ----------
    grid : str
        ``depth``, ``paper``, ``peers``, ``small``, or a TOML, YAML or JSON file, see
        :mod:`infra.study.grid`.
    data : str, optional
        Folder below which the grid's tables lie; without it only data sets that are embedded run.
    minutes : float, optional
        No cell is begun after this long; by default the grid says. 0 only reports.

    Returns
    -------
    str
        Id of the study.
    """
    declared = read_grid(grid)
    limit = declared.minutes if minutes is None else minutes
    end = time.time() + (60 * limit if limit is not None else 10**9)
    results = Results(Store(settings().store))
    paths = {d.name: _path(d, data) for d in declared.data}
    contents = {d.name: c for d in declared.data if (c := _content(d, paths[d.name]))}
    if not contents:
        raise DataError(
            "no table of the grid is there: name the folder that holds them with --data",
            source=data or grid,
        )
    cells = [(_key(cell, declared, contents), cell) for cell in declared.cells()]
    pending = [
        (key, cell)
        for key, cell in cells
        if cell.data in contents and not _is_done(results.get(key))
    ]
    made: dict[str, tuple[str, str]] = {}
    # neighbours share a table; to sort them by table would not keep to the order of the grid
    for (name, _), neighbours in groupby(pending, key=lambda one: (one[1].data, one[1].inputs)):
        if time.time() >= end:
            break
        try:
            made[name] = made.get(name) or _make(declared, name, paths[name])
        except BusyError as error:
            say(f"{name}: left to another study ({error})")
            continue
        except IRNetError as error:
            _failed(results, [key for key, _ in neighbours], name, error)
            continue
        cells_stage(declared, name, list(neighbours), *made[name], end)
    rows: list[Row] = []
    unfinished = NO_TIME if time.time() >= end else AT_WORK
    for key, cell in cells:
        reason = unfinished if cell.data in contents else NO_TABLE
        result = results.get(key) or Result(status="not run", reason=reason)
        rows.append((key, cell, declared.data_set(cell.data), result))
    return report_stage(declared, rows, contents)


def _failed(results: Results, keys: Sequence[str], what: str, error: IRNetError) -> None:
    """Keep why no cell of a table can be run."""
    say(f"{what}: {error}")
    for key in keys:
        results.put(key, Result(status="failed", reason=str(error)[:500]))


def _make(grid: Grid, name: str, path: Path | None) -> tuple[str, str]:
    """Ids of the snapshot and the features of a data set."""
    data = grid.data_set(name)
    snapshot = snapshot_stage(
        "file" if path else str(data.source), str(path) if path else None, data.formula_column
    )
    return snapshot, featurize_stage(snapshot, _features(grid, name))


def _path(data: DataSet, folder: str | None) -> Path | None:
    if data.table is None:
        return None
    return Path(folder or "") / data.table


def _content(data: DataSet, path: Path | None) -> str | None:
    """Digest of a table, None if it is not there."""
    if path is None:
        return f"{data.source} of pymatgen {metadata.version('pymatgen')}"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file_digest(file)[1]


def _key(cell: Cell, grid: Grid, contents: dict[str, str]) -> str:
    hashes = [_features(grid, cell.data), *(block.hash for block in blocks_of(cell))]
    return cell_key(cell, grid.data_set(cell.data), contents.get(cell.data, "not there"), hashes)


def _features(grid: Grid, data: str) -> str:
    """Features to compute of a data set: those of its structures for all of its cells or none.

    So that cells which differ in their inputs alone have the same rows.
    """
    inputs = {cell.inputs for cell in grid.cells() if cell.data == data}
    return "composition" if inputs == {"composition"} else "both"


def _is_done(result: Result | None) -> bool:
    return result is not None and result.status == "done"
