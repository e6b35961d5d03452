"""What the commands print: results on stdout, errors and warnings in one sentence on stderr."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer
from rich.console import Console

from infra.settings import settings
from irnet_core.errors import DataError, IRNetError

if TYPE_CHECKING:
    from infra.artifact import Artifact

# Names and paths may hold [brackets] and :colons:, so nothing is read as markup or emoji.
# Tables in a log or a pipe need not fit an 80-column terminal.
out = Console(
    highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120
)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Print errors a user can act on as one sentence and exit with status 1; warnings too."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: say("warning:", "yellow", message)
        try:
            yield
        except IRNetError as error:
            say("error:", "red", error)
            raise typer.Exit(1) from error


def decimals(value: float | None) -> str:
    """An error with four decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def say(what: str, style: str, message: object) -> None:
    """One line on stderr that begins with a coloured word."""
    err.print(what, style=style, end=" ")
    err.print(str(message), soft_wrap=True)


def made(kind: str, id_: str) -> Artifact:
    """Say what a command made, or found made; returns it."""
    from infra.store import Store

    artifact = Store(settings().store).open(id_, kind)
    out.print(headline(artifact), soft_wrap=True)
    rejected(artifact)
    return artifact


def headline(artifact: Artifact) -> str:
    """What something is, in one line."""
    manifest = artifact.manifest
    rows = "" if manifest.rows is None else f", {manifest.rows:,} rows"
    return f"{manifest.kind}/{manifest.id}: {manifest.what.rstrip('.')}{rows}"


def rejected(artifact: Artifact) -> None:
    """Say how many rows of something were left out, and why."""
    if said := left_out(artifact):
        out.print(said, soft_wrap=True)


def left_out(artifact: Artifact) -> str:
    """How many rows of something were left out, and why; nothing where all are in."""
    from infra.artifact import LEFT_OUT

    counts, rows = artifact.manifest.counts, artifact.manifest.rows or 0
    if number := counts.get("rejected", counts.get("failed")):
        file = next(name for name in LEFT_OUT if name in artifact.manifest.files)
        most = sorted(counts.get("reasons", {}).items(), key=lambda item: -item[1])[:3]
        often = ", ".join(f"{reason} ({count})" for reason, count in most)
        return (
            f"{number:,} of {rows + number:,} rows cannot be used: {often}; see "
            f"{artifact.path(file)}"
        )
    return ""


def output_path(output: str, *suffixes: str) -> Path:
    """Path of a file that a command is to write, checked before any work.

    Parameters
    ----------
    output : str
        As the user named it.
    *suffixes : str
        Endings that the file may have.

    Raises
    ------
    DataError
        If it has another ending, or its folder does not exist.
    """
    path = Path(output)
    if path.suffix not in suffixes:
        raise DataError(f"name a file that ends in {' or '.join(suffixes)}", source=output)
    _check_folder(path)
    return path


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise DataError("its folder does not exist: make it first", source=str(path))


@contextmanager
def user_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file where the user wants it, whole or not at all.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    _check_folder(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"the file cannot be written ({error.strerror or error}): choose another --output",
            source=str(path),
        ) from error
    finally:
        with suppress(OSError):  # where nothing can be written, nothing can be deleted either
            temporary.unlink(missing_ok=True)
