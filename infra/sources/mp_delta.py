"""The Materials Project's whole collection ``summary``, through its client's path for such.

Without any criteria the client reads a Delta table in open S3 storage and writes Parquet files into
a cache folder, which it believes for ever after. Here it gets an empty folder each time, in a
process of its own (``python -m infra.sources.mp_delta``): it holds gigabytes, and the interpreter's
lock while it waits for S3. Its files are then cut down to the columns of a snapshot and sorted into
units by ranges of ids, in which order the REST interface gives the rows, too; and they count only
if they are of the version that the REST interface states, and as many as it says.

The client leaves out the GNoME batch unless the key's owner has accepted its terms. Here it is left
out unless it is asked for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.folder import Folder
from infra.manifest import request_digest
from infra.pull.collection import no_collection
from infra.pull.http import Http
from infra.pull.protocol import Database, Transient, Unit, UnitCounts
from infra.settings import Settings
from infra.sources.mp import UNIT_ROWS, MaterialsProject
from infra.sources.mp_client import rester_class
from infra.sources.mp_delta_rows import batches, date_of, documents_table, newest, wanted
from infra.sources.mp_table import FIELDS
from infra.staging import exclusive
from irnet_core.errors import SourceError
from irnet_core.schema import SOURCE_ID

_FLUSH_BYTES = 256 << 20  # the client keeps ten times as much in memory before it writes
_FILTERED = ["material_id", "deprecated", "builder_meta"]  # what decides which rows are wanted
_MARK = "units.json"  # written last into a folder of units


class MaterialsProjectDelta(MaterialsProject):
    """The whole of the Materials Project's summaries.

    Parameters
    ----------
    filter : str, optional
        ``include_gnome=true`` or nothing; the tables are taken whole.
    unit_rows : int
        Rows of a unit.
    folder : path, optional
        For the tables until the snapshot is published; by default in the settings' ``cache``. Only
        one pull at a time has it.
    settings : Settings, optional
        As for :class:`infra.sources.mp.MaterialsProject`.

    Raises
    ------
    SourceError
        If there is no key, or another filter.
    """

    via = "delta"

    def __init__(
        self,
        filter: str | None = None,
        *,
        unit_rows: int = UNIT_ROWS,
        folder: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(filter, unit_rows=unit_rows, settings=settings)
        if set(self.arguments) > {"include_gnome"}:
            raise SourceError(
                f"--via delta takes the collection whole, not {self.filter!r}: leave out --via to "
                "use the filter, or --filter"
            )
        root = Path(folder) if folder is not None else Path(self._settings.cache).expanduser()
        self.folder = root / "mp-delta"
        self._kept: Path | None = None

    @contextmanager
    def cached(self) -> Iterator[None]:
        """Keep other pulls from the tables, which go once the snapshot is published.

        Raises
        ------
        StoreError
            If another pull has them, or their folder cannot be made.
        """
        what = f"tables of the Materials Project in {self.folder}"
        with exclusive(Folder(str(self.folder)), what):
            yield
            shutil.rmtree(self.folder, ignore_errors=True)

    def units(self, http: Http) -> list[Unit]:
        """Ranges of ids.

        Raises
        ------
        SourceError
            If the tables cannot be had, are of another version than the REST interface states, or
            not as many rows as it counts.
        """
        self._kept = self._fetched(http)
        try:
            units = json.loads((self._kept / _MARK).read_text())["units"]
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        return [Unit(unit["name"], unit) for unit in units]

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """Rows of a range of ids."""
        counts.total, counts.duplicates = unit.query["rows"], unit.query["duplicates"]
        counts.passes = 1
        if self._kept is None:  # the pull goes on where an earlier one ended
            self._kept = self._fetched(http)
        try:
            with pa.memory_map(str(self._kept / f"{unit.name}.arrow")) as file:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches):
                    yield pa.Table.from_batches([reader.get_batch(number)])
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error

    # -------------------------------------------------------------------------------------
    def _unreadable(self, error: Exception) -> SourceError:
        return SourceError(
            f"cannot read the Materials Project's tables in {self._kept} "
            f"({type(error).__name__}): delete that folder and run the same command again"
        )

    def _fetched(self, http: Http) -> Path:
        """Folder with the units of the present version, which are fetched if they are not there."""
        version = self.version(http)
        name = request_digest("mp-delta", {}, {**self.query(), **version, "rows": self.unit_rows})
        kept = self.folder / name
        if (kept / _MARK).is_file():
            return kept
        try:
            shutil.rmtree(self.folder, ignore_errors=True)  # other versions, and half a download
            kept.mkdir(parents=True)
            client = Path(tempfile.mkdtemp(prefix="client-", dir=self.folder))
            heartbeat = self._heartbeat(http)
            files = http.call(
                lambda: self._download(client, heartbeat, http), "the Delta table of summaries"
            )
            with no_collection():
                self._sort(files, kept, version)
            shutil.rmtree(client)
        except OSError as error:
            raise SourceError(
                f"cannot keep the Materials Project's tables in {self.folder}: "
                f"{error.strerror or error}; make room, or set IRNET_CACHE to another folder"
            ) from error
        return kept

    def _download(self, folder: Path, heartbeat: dict[str, Any], http: Http) -> list[str]:
        """Let the client write its files into an empty folder; returns their paths."""
        shutil.rmtree(folder)
        folder.mkdir()
        wanted = {
            "endpoint": self.endpoint,
            "heartbeat": heartbeat,
            "timeout": max(1, round(http.settings.http_timeout_s)),
            "folder": str(folder),
        }
        environment = {
            **os.environ,
            "MP_API_KEY": self._key,  # not among the arguments, which everybody can list
            "MPRESTER_DATASET_FLUSH_THRESHOLD": str(_FLUSH_BYTES),
            "PYTHONWARNINGS": "ignore",
        }
        done = subprocess.run(
            [sys.executable, "-m", "infra.sources.mp_delta"],
            input=json.dumps(wanted),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            # files have other names each time
            reason = re.sub(r"\S+\.parquet", "a file", lines[-1].rpartition("External: ")[2])
            raise Transient(http.redacted(reason)[:200])
        return list(json.loads(done.stdout.splitlines()[-1]))

    def _sort(self, files: list[str], folder: Path, version: dict[str, Any]) -> None:
        """Rows of the client's files as one Arrow file per range of ids."""
        files, versions = newest(sorted(files))
        distinct = self._checked_ids(files, versions, version)
        firsts = distinct[:: self.unit_rows]
        names = [f"{number * self.unit_rows:08d}" for number in range(len(firsts))]
        rows, duplicates = np.zeros((2, len(names)), np.int64)
        seen: set[str] = set()
        gnome = self.arguments["include_gnome"]
        with ExitStack() as stack:
            writers: list[pa.ipc.RecordBatchFileWriter] = []
            for batch in batches(files, [*FIELDS, "deprecated"]):
                table = documents_table(wanted(batch, gnome))
                if not writers:
                    writers = [
                        stack.enter_context(
                            pa.ipc.new_file(str(folder / f"{name}.arrow"), table.schema)
                        )
                        for name in names
                    ]
                keys = np.array(table[SOURCE_ID.name].to_pylist(), dtype=object)
                where = np.searchsorted(firsts, keys, "right") - 1
                fresh = _fresh(keys, seen)
                for number in np.unique(where).tolist():
                    writers[number].write_table(table.filter(pa.array(fresh & (where == number))))
                rows += np.bincount(where[fresh], minlength=len(names))
                duplicates += np.bincount(where[~fresh], minlength=len(names))
        units = [
            {"name": name, "rows": n, "duplicates": again}
            for name, n, again in zip(names, rows.tolist(), duplicates.tolist(), strict=True)
        ]
        mark = {"versions": versions, "units": units}
        (folder / _MARK).write_text(json.dumps(mark))

    def _checked_ids(
        self, files: list[str], versions: list[str], version: dict[str, Any]
    ) -> NDArray[np.object_]:
        """Ids of the documents that are wanted, sorted: of the version and as many as REST says."""
        if versions and date_of(versions[-1]) != date_of(version["db_version"]):
            raise SourceError(
                f"the Materials Project's Delta table is of version {versions[-1]}, but its REST "
                f"interface of version {version['db_version']}; try again later, or without --via "
                "delta"
            )
        gnome = self.arguments["include_gnome"]
        ids = [wanted(batch, gnome)["material_id"] for batch in batches(files, _FILTERED)]
        distinct = np.unique(np.array([id_ for part in ids for id_ in part.to_pylist()], object))
        if len(distinct) != version["rows"]:
            raise SourceError(
                f"the Materials Project's Delta table (version {', '.join(versions)}) has "
                f"{len(distinct):,} documents that are wanted, but its REST interface counts "
                f"{version['rows']:,} (version {version['db_version']}); try again later, or "
                "without --via delta"
            )
        return distinct


def materials_project(
    filter: str | None = None, *, via: str = "rest", settings: Settings | None = None
) -> Database:
    """The Materials Project by one of its two ways.

    Parameters
    ----------
    filter : str, optional
        See :func:`infra.sources.mp_filter.search_arguments`.
    via : str
        ``rest``, page by page, or ``delta``, the whole collection from S3.
    settings : Settings, optional
        From the environment by default.

    Raises
    ------
    SourceError
        If there is no such way, no key, or the filter is none.
    """
    if via == MaterialsProject.via:
        return MaterialsProject(filter, settings=settings)
    if via == MaterialsProjectDelta.via:
        return MaterialsProjectDelta(filter, settings=settings)
    raise SourceError(f"there is no way {via!r} to the Materials Project: --via rest or delta")


def _fresh(keys: NDArray[np.object_], seen: set[str]) -> NDArray[np.bool_]:
    """Which keys have not been seen before; adds them to the seen."""
    fresh = np.zeros(len(keys), np.bool_)
    for place, key in enumerate(keys):
        if key not in seen:
            seen.add(key)
            fresh[place] = True
    return fresh


def _main() -> None:
    """Download with the client, in a process of its own."""
    wanted = json.load(sys.stdin)
    rester = rester_class(wanted["heartbeat"])(
        api_key=os.environ["MP_API_KEY"],
        endpoint=wanted["endpoint"],
        use_document_model=False,
        mute_progress_bars=True,
        local_dataset_cache=wanted["folder"],
        timeout=wanted["timeout"],
    )
    try:
        dataset = rester.search()
    except Exception as error:  # noqa: BLE001 - what reads Delta tables raises bare Exceptions
        sys.exit(" ".join(str(error).split())[:2000] or type(error).__name__)
    sys.stdout.write(f"\n{json.dumps(list(dataset.pyarrow_dataset.files))}\n")


if __name__ == "__main__":
    _main()
