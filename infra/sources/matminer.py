"""The data sets that matminer lists, by name.

* matminer's list, which is read without importing matminer, gives each file's address, SHA-256,
  columns and references. The file is verified against the SHA-256 every time before it is read,
  and replaced if it is damaged. It lies where matminer's own
  ``load_dataset(name, data_home=...)`` finds it.
* Columns whose name and description leave no doubt about quantity and unit become those of the
  schema; others keep their names. What kind of values they hold is found by reading the file once.
* Structures become lattice, numbers and coordinates; a second structure of a row is left out. A
  data set without formulas gets them from its structures.
* Rows are named by their number in the file, since few data sets have identifiers that are unique.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.pull.collection import no_collection
from infra.pull.download import Digests, Expected, fetch_file
from infra.pull.http import Http, shown_url
from infra.pull.protocol import Unit, UnitCounts
from infra.pull.split_frames import SplitFrame
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.matminer_rows import Block, Plan, kind_of, taken_in, types_of
from irnet_core import schema
from irnet_core.errors import SourceError
from irnet_core.schema import Column

_LIST = "dataset_metadata.json"
_MOST_KEPT = 64 << 20  # bytes of a file whose rows are kept in memory until they are pulled


class Matminer:
    """A data set of matminer's list.

    Parameters
    ----------
    dataset : str
        Such as ``expt_gap`` or ``jarvis_dft_3d``.
    folder : path, optional
        Where the file is kept; by default ``MATMINER_DATA``, else in the settings' ``cache``.
    listing : path, optional
        Another list than that of the installed matminer.
    settings : Settings, optional
        From the environment by default.

    Raises
    ------
    SourceError
        If there is no such data set, or no matminer.
    """

    versioned = True

    def __init__(
        self,
        dataset: str,
        *,
        folder: str | Path | None = None,
        listing: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or current_settings()
        self.dataset, self._about = dataset, _listed(dataset, listing)
        self.name = f"matminer-{dataset}"
        home = folder or os.environ.get("MATMINER_DATA") or Path(self._settings.cache) / "matminer"
        self.data_home = Path(home).expanduser()
        file = f"{dataset}.{self._about['file_type']}"
        self._file = self.data_home / file
        if (mirror := self._settings.matminer_url) is not None:
            self.url = f"{mirror.rstrip('/')}/{file}"
        else:  # figshare.com is guarded by challenges to browsers, its file server is not
            self.url = self._about["url"].replace(
                "https://figshare.com/ndownloader/", "https://ndownloader.figshare.com/"
            )
        self._plan: Plan | None = None
        self._blocks: list[Block] | None = None  # rows that were read to learn of the columns

    @property
    def what(self) -> str:
        """One sentence for people."""
        return f"{' '.join(self._about['description'].split()).partition('. ')[0].rstrip('.')}."

    @property
    def licence(self) -> str:
        """Terms, as far as they are known."""
        return "not stated by matminer; see the reference of the data set"

    @property
    def citation(self) -> str:
        """Reference as matminer states it, and its BibTeX entries."""
        given = [self._about["reference"], *self._about["bibtex_refs"]]
        return "\n".join(" ".join(text.split()) for text in dict.fromkeys(given))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns; until the version has been asked, those that every data set has."""
        if self._plan is None:
            return (schema.SOURCE_ID, schema.FORMULA, schema.NOTE)
        return self._plan.columns

    def query(self) -> dict[str, Any]:
        """Address of the file."""
        return {"url": shown_url(self.url), "dataset": self.dataset}

    def version(self, http: Http) -> dict[str, Any]:
        """SHA-256 of the file, which is downloaded if it is not there.

        Raises
        ------
        SourceError
            If it cannot be had as matminer lists it.
        """
        sha256 = self._about["hash"]
        found = fetch_file(http, self.url, self._file, Expected(sha256=sha256), lambda _: None)
        if self._plan is None:
            self._plan = Plan(self.dataset, self._about["columns"], self._kinds(found))
        return {"dataset": self.dataset, "sha256": found.sha256, "rows": self._plan.rows}

    def units(self, http: Http) -> list[Unit]:
        """One unit: the file."""
        return [Unit("rows", {"dataset": self.dataset})]

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Rows in the order of the file.

        Raises
        ------
        SourceError
            If the file is not what it should be.
        """
        if self._plan is None:
            self.version(http)
        plan, number = self._plan, 0
        if plan is None:
            raise SourceError(f"{self.name} has no file")
        counts.total, counts.passes = plan.rows, 1
        blocks, self._blocks = self._blocks or self._taken_in(), None
        for block in blocks:
            made = plan.table(block)
            yield made if most_rows is None else made.slice(0, most_rows - number)
            number += block.size
            if most_rows is not None and number >= most_rows:
                return

    # -------------------------------------------------------------------------------------
    def _kinds(self, found: Digests) -> dict[str, Any]:
        """Kinds of the columns and number of rows, from a note beside the file or from the file."""
        note = self._file.with_name(f"{self._file.name}.kinds.json")
        try:
            kept: dict[str, Any] = json.loads(note.read_text())
            if kept["sha256"] == found.sha256:
                return kept
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there is none yet, or it is of another file
        types: dict[str, set[type]] = {}
        n, self._blocks = 0, [] if found.bytes <= _MOST_KEPT else None
        with no_collection():
            for block in self._taken_in():
                n += block.size
                for name, values in block.values.items():
                    types.setdefault(name, set()).update(map(type, values))
                if self._blocks is not None:
                    self._blocks.append(block)
        if not n:
            raise SourceError(f"{self._file} has no rows: tell those who keep it")
        kinds = dict.fromkeys(SplitFrame(self._file, self._settings).columns, "objects")
        kinds |= {name: kind_of(found) for name, found in types.items()}
        kept = {"sha256": found.sha256, "rows": n, "kinds": kinds}
        part = note.with_name(f"{note.name}.part")
        try:
            part.write_text(json.dumps(kept))
            os.replace(part, note)
        except OSError as error:
            raise SourceError(f"cannot write {note}: {error.strerror}; make room") from error
        return kept

    def _taken_in(self) -> Iterator[Block]:
        """The rows of the file, some hundreds at a time."""
        frame, number = SplitFrame(self._file, self._settings), 0
        for rows in frame.rows(types_of(frame.columns)):
            yield taken_in(rows, frame.columns, number)
            number += len(rows)


def _listed(dataset: str, listing: str | Path | None) -> dict[str, Any]:
    """What matminer's list says of a data set."""
    text = Path(listing).read_text(encoding="utf-8") if listing is not None else _installed_list()
    known: dict[str, dict[str, Any]] = json.loads(text)
    if dataset not in known:
        raise SourceError(
            f"matminer lists no data set {dataset!r}: choose --dataset among "
            f"{', '.join(sorted(known))}"
        )
    return known[dataset]


def _installed_list() -> str:
    """The list of the installed matminer, without importing it, which takes seconds."""
    try:
        files = metadata.files("matminer") or []
    except metadata.PackageNotFoundError as error:
        raise SourceError(
            "the data sets are listed in matminer, which is not installed: pip install matminer"
        ) from error
    for file in files:
        if file.name == _LIST:
            return file.read_text(encoding="utf-8")
    raise SourceError(f"the installed matminer has no {_LIST}: install it anew")
