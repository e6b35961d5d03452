"""Every source under every fault: a complete snapshot equal to the undisturbed one, or an error.

``make fault-matrix`` runs all of it, prints the table and writes it to ``docs/fault-matrix.md``;
it fails if in a single cell something else is published, or a fault that passes is not survived.
Names of sources as arguments restrict it, and then nothing is written. It takes ten minutes on an
idle machine, half of it spent by the client of the Delta tables on retries of its own; with
``--kept FILE`` a run that was stopped goes on with the cells that are not in the file.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import pkgutil
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import standins
from standins.base import StandIn
from standins.case import ALL_FAULTS, DISK_FULL, QUIRKS, Case
from standins.disk import small_disk

from infra.settings import Settings
from infra.snapshots.snapshot import build_snapshot
from infra.store import Store
from irnet_core.errors import IRNetError

SETTINGS = {
    "http_timeout_s": 1.0,
    "http_attempts": 3,
    "http_backoff_s": 0.01,
    "request_gap_s": 0.0,
}
PASSING, LASTING = "once", "for ever"
COMPLETE, REFUSED, WRONG = "complete", "error", "WRONG"
_PLACES = (0, 7, 20)  # requests that a passing fault hits, and then every 15th
_LASTING_FROM = 4  # request from which on a lasting fault hits; a second pull has it from the first
DOCUMENT = Path(__file__).parents[1] / "docs" / "fault-matrix.md"


@dataclass(frozen=True)
class Cell:
    """A source, a fault, and whether it passes.

    Attributes
    ----------
    case : Case
    fault : str
    how : str
        :data:`PASSING` or :data:`LASTING`.
    """

    case: Case
    fault: str
    how: str

    def __str__(self) -> str:
        return f"{self.case.name}, {self.fault}, {self.how}"


@dataclass(frozen=True)
class Outcome:
    """What a pull came to.

    Attributes
    ----------
    kind : str
        :data:`COMPLETE`, :data:`REFUSED` or :data:`WRONG`.
    text : str
        The error, or what is wrong.
    """

    kind: str
    text: str = ""


@cache
def cases() -> dict[str, Case]:
    """What the modules of :mod:`standins` offer, by name."""
    found = {}
    for module in pkgutil.iter_modules(standins.__path__):
        for case in getattr(importlib.import_module(f"standins.{module.name}"), "CASES", ()):
            found[case.name] = case
    return dict(sorted(found.items()))


def cells(case: Case) -> list[Cell]:
    """All that can happen to a source. A full disk stays full until somebody tidies up."""
    return [
        Cell(case, fault, how)
        for fault in ALL_FAULTS
        if fault not in case.cannot
        for how in (PASSING, LASTING)
        if not (fault == DISK_FULL and how == PASSING)
    ]


def run(cell: Cell) -> Outcome:
    """Pull under a fault and compare."""
    whole, size = undisturbed(cell.case.name)
    if cell.fault == DISK_FULL:
        return _disk_full(cell.case, whole, size)
    if cell.fault in QUIRKS:
        return _disturbed(cell, whole, None)
    if cell.how == PASSING:
        outcome = _disturbed(cell, whole, _PLACES)
        if outcome.kind == REFUSED:
            return Outcome(WRONG, f"a passing fault was not survived: {outcome.text}")
        return outcome
    # some pulls are over before the later one begins; that of an error tells more
    outcomes = [_disturbed(cell, whole, (start,)) for start in (_LASTING_FROM, 0)]
    return next(o for kind in (WRONG, REFUSED, COMPLETE) for o in outcomes if o.kind == kind)


@cache
def undisturbed(name: str) -> tuple[str, int]:
    """Id of the snapshot without a fault, and KiB that the pull needs on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        with _standing_in(cases()[name], Path(folder)) as (_, database, settings):
            store = Store(Path(folder) / "store")
            id_ = build_snapshot(database(), store).id
            del settings
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return id_, size // 1024


def _disturbed(cell: Cell, whole: str, places: tuple[int, ...] | None) -> Outcome:
    lasting = cell.how == LASTING
    with (
        tempfile.TemporaryDirectory() as folder,
        _standing_in(cell.case, Path(folder)) as (stand_in, database, _),
    ):
        if places is None:
            cell.case.quirks[cell.fault](stand_in, lasting)
        elif lasting:
            stand_in.order(cell.fault, at=places[0], times=-1)
        else:
            for place in (*places, *range(places[-1] + 15, 1000, 15)):
                stand_in.order(cell.fault, at=place)
        return _pull(database, Store(Path(folder) / "store"), whole)


def _disk_full(case: Case, whole: str, size: int) -> Outcome:
    """A pull on a disk half as large as it needs, and another when there is room."""
    with (
        tempfile.TemporaryDirectory() as folder,
        small_disk(Path(folder) / "disk", max(size // 2, 8)) as lift,
        _standing_in(case, Path(folder) / "disk") as (_, database, _),
    ):
        store = Store(Path(folder) / "disk" / "store")
        outcome = _pull(database, store, whole)
        lift()
        again = _pull(database, store, whole)
        if again.kind != COMPLETE:
            return Outcome(WRONG, f"with room on the disk: {again.text}")
        if outcome.kind == COMPLETE:
            return Outcome(WRONG, "the disk was not full")
        return Outcome(outcome.kind, outcome.text.replace(folder, ""))


def _pull(database: Any, store: Store, whole: str) -> Outcome:
    try:
        manifest = build_snapshot(database(), store)
    except IRNetError as error:
        if store.list() or store.names("snapshots"):
            return Outcome(WRONG, f"published in spite of: {error}")
        return Outcome(REFUSED, str(error))
    except Exception as error:  # noqa: BLE001 - whatever escapes is the cell's result
        return Outcome(WRONG, f"{type(error).__name__}: {error}")
    if problems := store.verify(manifest.id):
        return Outcome(WRONG, "; ".join(problems))
    if manifest.id != whole:
        return Outcome(WRONG, f"published something else, of {manifest.rows} rows")
    return Outcome(COMPLETE)


@contextlib.contextmanager
def _standing_in(case: Case, folder: Path) -> Iterator[tuple[StandIn, Any, Settings]]:
    """A stand-in that runs, and what makes the database, under settings that do not wait."""
    cache_folder = folder / "cache"
    cache_folder.mkdir()
    with case.stand_in() as stand_in:
        stand_in.slow_s, stand_in.retry_after_s = case.slow_s, 0
        values = {f"IRNET_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        with _environment({**values, **case.environment(stand_in.url)}):
            settings = Settings()
            yield stand_in, lambda: case.database(stand_in.url, cache_folder, settings), settings


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# the table -----------------------------------------------------------------------------------
def markdown(outcomes: dict[tuple[str, str, str], Outcome], names: list[str]) -> str:
    """The matrix, the reasons of its dashes and an example of each error."""
    lines = [
        "# Fault matrix",
        "",
        "Each database is pulled from a stand-in server that speaks its protocol, once while a "
        "fault happens now and then (left of the stroke) and once while it lasts (right). Written "
        "by `make fault-matrix`.",
        "",
        "- **=** a complete snapshot with the same content id as the undisturbed one",
        "- **E** an error in one sentence, and nothing published",
        "- **–** the protocol cannot have this fault, see below",
        "",
        "| fault | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    signs = {COMPLETE: "=", REFUSED: "E", WRONG: "**WRONG**"}
    for fault in ALL_FAULTS:
        row = []
        for name in names:
            found = [outcomes.get((name, fault, how)) for how in (PASSING, LASTING)]
            row.append(" / ".join(signs[o.kind] for o in found if o is not None) or "–")
        lines.append(f"| {fault} | " + " | ".join(row) + " |")
    lines += ["", "## What a protocol cannot have", ""]
    for name in names:
        whys = [f"{fault}: {why}" for fault, why in cases()[name].cannot.items()]
        lines.append(f"- **{name}**: {'; '.join(whys) or 'it can have everything'}")
    lines += ["", "## What the errors say", "", "One example for each fault that lasts.", ""]
    for number, fault in enumerate(ALL_FAULTS):
        turn = number % len(names)  # another source for each
        for name in [*names[turn:], *names[:turn]]:
            outcome = outcomes.get((name, fault, LASTING))
            if outcome is not None and outcome.kind != COMPLETE:
                lines.append(f"- {fault}, {name}: `{_the_same_in_every_run(outcome.text)}`")
                break
    return "\n".join(lines) + "\n"


def _the_same_in_every_run(text: str) -> str:
    """A message without ports, and without digests, which depend on these."""
    text = re.sub(r"127\.0\.0\.1-\d+-[0-9a-f]{8}", "127.0.0.1", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text)
    text = re.sub(r"\b[0-9a-f]{16,64}\b", "0123456789abcdef", text)
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"


def _kept(path: Path | None) -> dict[tuple[str, str, str], Outcome]:
    """Outcomes of an earlier run."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {tuple(line["cell"]): Outcome(line["kind"], line["text"]) for line in lines}


def main(arguments: list[str]) -> int:
    """Run the cells and write the table; 1 if one is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sources", nargs="*", choices=[[], *cases()], metavar="source")
    parser.add_argument("--kept", type=Path, help="file of outcomes, to go on with")
    chosen = parser.parse_args(arguments)
    names = chosen.sources or list(cases())
    outcomes = _kept(chosen.kept)
    for cell in (cell for name in names for cell in cells(cases()[name])):
        key = (cell.case.name, cell.fault, cell.how)
        if key in outcomes:
            continue
        begun = time.monotonic()
        outcome = outcomes[key] = run(cell)
        seconds = time.monotonic() - begun
        print(f"{cell}: {outcome.kind} ({seconds:.1f} s)  {outcome.text[:300]}", flush=True)
        if chosen.kept:
            with chosen.kept.open("a") as file:
                file.write(json.dumps({"cell": key, **asdict(outcome)}) + "\n")
    text = markdown(outcomes, names)
    print(f"\n{text}")
    if not chosen.sources:
        DOCUMENT.write_text(text)
    wrong = [key for key, outcome in outcomes.items() if outcome.kind == WRONG]
    print(f"{len(outcomes)} cells, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
