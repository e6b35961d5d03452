"""Rows per second of a pull: fetch, parse, normalise and write Parquet, for each source.

Run as ``make bench-pull``, or in the repository root as
``PYTHONPATH=tests python -m benchmarks.bench_pull [options]``. The server is a process of its own
that answers from memory: a first pull lets it render every page, later ones are measured and the
fastest counts. What is pulled is made up: rows as long as real ones, with structures where the
source has them.

Where a client of others does the fetching in a process of its own (the Delta tables of the
Materials Project), its time is told apart: rows per second are those of our part, from its files
to ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
from benchmarks.meters import memory_mib, reset_peak_memory
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from standins.base import Reply, Request, StandIn

from infra.manifest import request_digest
from infra.pull.engine import pull
from infra.pull.http import Http
from infra.settings import Settings
from infra.snapshots.snapshot import build_snapshot
from infra.store import Store

TARGET_ROWS_PER_S = 20_000
SETTINGS = {"request_gap_s": 0.0, "http_timeout_s": 600.0}
LISTING = "dataset_metadata"  # name under which the stand-in of matminer's files serves its list


@dataclass(frozen=True)
class Subject:
    """A source to measure.

    Attributes
    ----------
    stand_in : callable
        Makes its server, with so many rows.
    database : callable
        Makes the database from a URL, a folder for what it caches, and settings.
    environment : callable
        Environment variables that its client needs, from the URL.
    client : str, optional
        Method of the database that only runs the client of others.
    """

    stand_in: Callable[[int], StandIn]
    database: Callable[[str, Path, Settings], Any]
    environment: Callable[[str], dict[str, str]] = lambda url: {}
    client: str | None = None


@dataclass(frozen=True)
class Figures:
    """What was measured of a source.

    Attributes
    ----------
    rows, bytes : int
        Pulled rows, and bytes that were received for them.
    pull_s, pull_cpu_s : float
        Time on the clock, and processor time, from the first request to the last unit's file.
    snapshot_s, snapshot_cpu_s : float
        The same up to the published snapshot: canonical compositions, report, digests.
    memory_mib : float
        Peak of the pulling process during the pull.
    client_s : float
        Time on the clock in a client that runs in a process of its own, part of ``pull_s``.
    """

    rows: int
    bytes: int
    pull_s: float
    pull_cpu_s: float
    snapshot_s: float
    snapshot_cpu_s: float
    memory_mib: float
    client_s: float = 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows per second on the clock, without the client's own time."""
        return self.rows / (self.pull_s - self.client_s)

    @property
    def rows_per_cpu_s(self) -> float:
        """Rows per second of processor time, which other work on the machine disturbs little."""
        return self.rows / self.pull_cpu_s


def _plain() -> Subject:
    from standins.plain import PlainDatabase, PlainStandIn

    return Subject(
        lambda rows: PlainStandIn(rows, max(rows // 20_000, 1)),
        lambda url, folder, settings: PlainDatabase(
            url, settings=settings, page_size=1000, most_page_size=1000
        ),
    )


def _oqmd() -> Subject:
    from standins.oqmd import OqmdStandIn, made_rows

    from infra.sources.oqmd import Oqmd

    return Subject(
        lambda rows: OqmdStandIn(made_rows(rows)),
        lambda url, folder, settings: Oqmd(settings=settings.model_copy(update={"oqmd_url": url})),
    )


def _oqmd_optimade() -> Subject:
    from standins.oqmd import OqmdStandIn, made_rows

    from infra.sources.oqmd import OqmdOptimade

    return Subject(
        lambda rows: OqmdStandIn(made_rows(rows)),
        lambda url, folder, settings: OqmdOptimade(
            settings=settings.model_copy(update={"oqmd_url": url})
        ),
    )


def _aflow() -> Subject:
    from standins.aflow import AflowStandIn, row
    from standins.crystals import made_crystals

    from infra.sources.aflow import Aflow

    return Subject(
        lambda rows: AflowStandIn([row(c, n) for n, c in enumerate(made_crystals(rows, seed=2))]),
        lambda url, folder, settings: Aflow(
            settings=settings.model_copy(update={"aflow_url": url})
        ),
    )


def _jarvis() -> Subject:
    from standins.crystals import made_crystals
    from standins.figshare import Figshare, record, zipped

    from infra.sources.jarvis import Jarvis

    def stand_in(rows: int) -> StandIn:
        made = Figshare()
        crystals = made_crystals(rows, seed=2)
        made.file = zipped([record(crystal, n) for n, crystal in enumerate(crystals)])
        return made

    return Subject(
        stand_in,
        lambda url, folder, settings: Jarvis(
            store=folder, settings=settings.model_copy(update={"jarvis_url": url})
        ),
    )


def _mp() -> Subject:
    from standins.mp import KEY, MaterialsProjectStandIn, summary_rows

    from infra.sources.mp import MaterialsProject

    return Subject(
        lambda rows: MaterialsProjectStandIn(summary_rows(None, rows)),
        lambda url, folder, settings: MaterialsProject(
            settings=settings.model_copy(
                update={"mp_api_endpoint": url, "mp_api_key": SecretStr(KEY)}
            )
        ),
    )


def _mp_delta() -> Subject:
    from standins.mp import DeltaStandIn, mp_settings, summary_rows

    from infra.sources.mp_delta import MaterialsProjectDelta

    return Subject(
        lambda rows: DeltaStandIn(summary_rows(None, rows)),
        lambda url, folder, settings: MaterialsProjectDelta(
            folder=folder, settings=mp_settings(settings, url)
        ),
        lambda url: {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"},
        "_download",
    )


def _optimade() -> Subject:
    from standins.optimade import PROPERTIES, PlainOptimade, made_entries

    from infra.sources.optimade import Optimade

    def stand_in(rows: int) -> StandIn:
        entries = made_entries(rows)
        plain = {name: {"description": "as specified"} for name in entries[0]["attributes"]}
        own = {name: {"description": name, "unit": unit} for name, unit in PROPERTIES.items()}
        return PlainOptimade(entries, plain | own)

    return Subject(
        stand_in,
        lambda url, folder, settings: Optimade(url=url, settings=settings),
    )


def _matminer() -> Subject:
    from standins.matminer import MatminerStandIn, data_sets

    from infra.sources.matminer import Matminer

    def database(url: str, folder: Path, settings: Settings) -> Any:
        listing = folder.parent / "dataset_metadata.json"
        if not listing.exists():
            listing.write_bytes(httpx.get(f"{url}/{LISTING}.json.gz", timeout=600).content)
        mirror = settings.model_copy(update={"matminer_url": url})
        return Matminer("jarvis_dft_3d", folder=folder, listing=listing, settings=mirror)

    def stand_in(rows: int) -> StandIn:
        made = MatminerStandIn(data_sets(rows, shared=False))
        with tempfile.TemporaryDirectory() as folder:
            made.sets[LISTING] = {"file": made.write_list(Path(folder)).read_bytes()}
        return made

    return Subject(stand_in, database)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "plain": _plain,
    "oqmd": _oqmd,
    "oqmd-optimade": _oqmd_optimade,
    "aflow": _aflow,
    "jarvis": _jarvis,
    "mp": _mp,
    "mp-delta": _mp_delta,
    "optimade": _optimade,
    "matminer": _matminer,
}


class Replay(StandIn):
    """Answers as another server would, the second time from memory."""

    def __init__(self, real: StandIn) -> None:
        super().__init__()
        self._real = real
        self._replies: dict[tuple[str, ...], Reply] = {}
        self.sent = 0

    def respond(self, request: Request) -> Reply:
        key = (request.method, request.path, request.raw_query, request.headers.get("range", ""))
        if key not in self._replies:
            self._replies[key] = self._real.respond(request)
        reply = self._replies[key]
        self.sent += len(reply.body)
        self.requests.clear()
        return reply


def _serve(name: str, rows: int, pipe: Connection) -> None:
    """The server's process: says its address, then how many bytes it has sent, when asked."""
    real = SUBJECTS[name]().stand_in(rows)
    with real, Replay(real) as server:
        answer = real.respond

        def counted(request: Request) -> Reply:
            """What clients are redirected to is not replayed, but counted."""
            reply = answer(request)
            server.sent += len(reply.body)
            return reply

        real.respond = counted  # type: ignore[method-assign]
        pipe.send(server.url)
        with contextlib.suppress(EOFError):
            while pipe.recv():
                pipe.send(server.sent)


@contextlib.contextmanager
def _server(name: str, rows: int) -> Iterator[tuple[str, Callable[[], int]]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(name, rows, there), daemon=True)
    process.start()
    there.close()

    def sent() -> int:
        here.send(True)
        return int(here.recv())

    try:
        yield here.recv(), sent
    finally:
        here.close()
        process.join(10)
        process.terminate()


def measure(name: str, rows: int, turns: int) -> Figures:
    """Figures of one source, those of the turn whose pull was fastest."""
    subject = SUBJECTS[name]()
    settings = Settings(**SETTINGS)
    with (
        tempfile.TemporaryDirectory() as folder,
        _server(name, rows) as (url, sent),
        mock.patch.dict(os.environ, subject.environment(url)),
    ):

        def database(cache: str) -> Any:
            made = Path(folder) / cache
            made.mkdir()
            return subject.database(url, made, settings)

        build_snapshot(database("first"), Store(Path(folder) / "first-store"))  # pages are rendered
        found = []
        for turn in range(turns):
            store = Store(Path(folder) / f"store{turn}")
            one = database(f"pull{turn}")
            client = _timed(one, subject.client)
            reset_peak_memory()
            before, begun, cpu = sent(), time.perf_counter(), time.process_time()
            request = request_digest("snapshots", {}, {"bench": name})
            with store.staging("snapshots", request) as staging, Http(name, settings) as http:
                pulled = pull(one, staging, http)
            pull_s, pull_cpu_s = time.perf_counter() - begun, time.process_time() - cpu
            memory, received = memory_mib()["peak"], sent() - before

            another = database(f"snapshot{turn}")
            begun, cpu = time.perf_counter(), time.process_time()
            build_snapshot(another, Store(Path(folder) / f"another{turn}"))
            found.append(
                Figures(
                    rows=pulled.counts["rows_pulled"],
                    bytes=received,
                    pull_s=pull_s,
                    pull_cpu_s=pull_cpu_s,
                    snapshot_s=time.perf_counter() - begun,
                    snapshot_cpu_s=time.process_time() - cpu,
                    memory_mib=memory,
                    client_s=sum(client),
                )
            )
        return max(found, key=lambda figures: figures.rows_per_s)


def _timed(database: Any, method: str | None) -> list[float]:
    """Seconds that calls of a method took, filled in as they are made."""
    took: list[float] = []
    if method is None:
        return took
    real = getattr(database, method)

    def timed(*arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return real(*arguments)
        finally:
            took.append(time.perf_counter() - begun)

    setattr(database, method, timed)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", choices=[[], *SUBJECTS], metavar="source")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    os.environ |= {f"IRNET_{name.upper()}": str(value) for name, value in SETTINGS.items()}
    found = {}
    table = Table(
        "source", "rows", "MB", "rows/s", "rows/s of CPU", "snapshot rows/s", "client s", "MiB"
    )
    console = Console()
    for name in arguments.sources or SUBJECTS:
        console.print(f"[dim]{name} ...[/dim]")
        figures = measure(name, arguments.rows, max(arguments.turns, 1))
        found[name] = {
            **asdict(figures),
            "rows_per_s": figures.rows_per_s,
            "rows_per_cpu_s": figures.rows_per_cpu_s,
            "target_rows_per_s": TARGET_ROWS_PER_S,
        }
        table.add_row(
            name,
            f"{figures.rows:,}",
            f"{figures.bytes / 1e6:.0f}",
            f"{figures.rows_per_s:,.0f}",
            f"{figures.rows_per_cpu_s:,.0f}",
            f"{figures.rows / figures.snapshot_s:,.0f}",
            f"{figures.client_s:.1f}" if figures.client_s else "",
            f"{figures.memory_mib:.0f}",
        )
    console.print(table)
    report = {"machine": platform.machine(), "python": platform.python_version(), "pulls": found}
    text = json.dumps(report, indent=2)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
