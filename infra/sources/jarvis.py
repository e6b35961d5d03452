"""JARVIS-DFT, from the archives that jarvis-tools reads.

* A data set is one zipped JSON file at figshare. Which file ``dft_3d`` means changes with the
  version of jarvis-tools, whose own registry is asked; the file's id and SHA-256 are the version.
* jarvis-tools keeps a broken download for ever and reads whatever lies in its folder. Here the file
  is checked against the MD5 that figshare's interface states, or, where there is none (a mirror),
  against the length that the server states and the checksums inside the zip; what is not right is
  replaced, also where jarvis-tools left it. Its ``data("dft_3d", store_dir=...)`` can then be used.
* The file is read as a stream, in the memory of a few hundred records.

Importing the registry takes most of a second, since jarvis.db.figshare imports matplotlib and
requests; it happens when a :class:`Jarvis` is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.pull.archive import check_zip, open_member
from infra.pull.download import Digests, Expected, fetch_file
from infra.pull.http import Arriving, Http, attempts_at_most, shown_url
from infra.pull.protocol import Unit, UnitCounts
from infra.pull.records import map_records
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.jarvis_rows import COLUMNS, decode, parse
from irnet_core import schema
from irnet_core.errors import SourceError

_DATASETS = re.compile(r"dft_[23]d(_\d{4})?")
_API_ATTEMPTS = 3  # a mirror may have no such interface


class Jarvis:
    """A data set of JARVIS-DFT.

    Parameters
    ----------
    dataset : str
        ``dft_3d``, ``dft_2d``, or one of a year, such as ``dft_3d_2021``.
    store : path, optional
        Folder for archives; by default that of the settings, else that of jarvis-tools.
    settings : Settings, optional
        From the environment by default.

    Raises
    ------
    SourceError
        If there is no such data set, or no jarvis-tools.
    """

    name = "jarvis"
    what = "Density functional theory of solids by OptB88vdW, JARVIS-DFT of NIST."
    licence = "NIST data, public; figshare states CC-BY-4.0 as a rule, see the record of the file"
    citation = (
        "K. Choudhary, The JARVIS infrastructure is all you need for materials design, "
        "Comput. Mater. Sci. 259, 114063 (2025), https://doi.org/10.1016/j.commatsci.2025.114063; "
        "K. Choudhary et al., npj Comput. Mater. 6, 173 (2020), "
        "https://doi.org/10.1038/s41524-020-00440-1"
    )
    columns = COLUMNS
    versioned = True

    def __init__(
        self,
        dataset: str = "dft_3d",
        *,
        store: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or current_settings()
        self.dataset = dataset
        url, self.file, self._article = _registered(dataset)
        self.file_id = url.rpartition("/")[2]
        base = self._settings.jarvis_url.rstrip("/")
        self.url = f"{base}/files/{self.file_id}"
        # ndownloader.figshare.com has its interface at api.figshare.com; a mirror may have none
        self._api = f"{base.replace('://ndownloader.', '://api.')}/v2"
        folder = Path(store or self._settings.jarvis_store or _usual_store()).expanduser()
        self.path = folder / f"{self.file}.zip"
        self._found: Digests | None = None

    def query(self) -> dict[str, Any]:
        """Data set and file."""
        return {"url": shown_url(self.url), "dataset": self.dataset, "file": self.file}

    def version(self, http: Http) -> dict[str, Any]:
        """Id, length and SHA-256 of the file, which is downloaded if it is not there.

        Raises
        ------
        SourceError
            If it cannot be had whole.
        """
        self._found = fetch_file(http, self.url, self.path, self._expected(http), self._look)
        return {
            "dataset": self.dataset,
            "file_id": self.file_id,
            "file": self.file,
            "bytes": self._found.bytes,
            "sha256": self._found.sha256,
        }

    def units(self, http: Http) -> list[Unit]:
        """One unit: the file."""
        return [Unit("records", {"file": self.file})]

    def tables(
        self, unit: Unit, http: Http, most_rows: int | None, counts: UnitCounts
    ) -> Iterator[pa.Table]:
        """All records, sorted by their ids; one that comes again under the same id is left out.

        Raises
        ------
        SourceError
            If the file is not what it should be.
        """
        if self._found is None:
            self.version(http)
        seen: set[str] = set()
        where = f"{self.file} in {self.path}"
        with open_member(self.path, self.file, self._settings) as stream:
            for part in map_records(stream, where, parse, decode=decode):
                fresh = _fresh(part, seen, most_rows)
                counts.duplicates += len(part) - len(fresh)
                yield part if len(fresh) == len(part) else part.take(fresh)
                if most_rows is not None and len(seen) >= most_rows:
                    return
        if not seen:
            raise SourceError(f"{where} has no record: tell those who keep it")
        counts.total, counts.passes = len(seen), 1

    def _look(self, path: Path) -> None:
        check_zip(path, self.file, self._settings)

    def _expected(self, http: Http) -> Expected:
        """What figshare's interface says of the file, else the length that comes before it."""
        try:
            with attempts_at_most(_API_ATTEMPTS):
                files = http.json(
                    f"{self._api}/articles/{self._article}/files", {"page_size": "1000"}, _no_files
                )
        except SourceError:  # a mirror, or barred: there are other ways to verify a file
            files = []
        for file in files:
            if str(file["id"]) == self.file_id:
                return Expected(file["size"], file["computed_md5"])
        return Expected(http.stream(self.url, _length))


def _fresh(part: pa.Table, seen: set[str], most_rows: int | None) -> pa.Array:
    """Places of the rows with an id not seen before, up to so many in all; adds to the seen."""
    fresh = []
    for place, id_ in enumerate(part.column(schema.SOURCE_ID.name).to_pylist()):
        if id_ not in seen and (most_rows is None or len(seen) < most_rows):
            seen.add(id_)
            fresh.append(place)
    return pa.array(fresh, pa.int64())


def _length(arriving: Arriving) -> int | None:
    """Length that a server states of a file, without taking the file."""
    length = arriving.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _no_files(value: Any) -> str | None:
    """Why an answer is no list of files."""
    if not isinstance(value, list) or not all(
        isinstance(file, dict)
        and isinstance(size := file.get("size"), int)
        and size > 0
        and re.fullmatch("[0-9a-fA-F]{32}", str(file.get("computed_md5")))
        and "id" in file
        for file in value
    ):
        return "JSON of another shape"
    return None


def _registered(dataset: str) -> tuple[str, str, str]:
    """URL, file and figshare article of a data set, as jarvis-tools has them."""
    try:
        from jarvis.db.figshare import get_db_info
    except ImportError as error:
        raise SourceError(
            f"jarvis needs jarvis-tools ({error}): pip install 'irnet-screening[databases]'"
        ) from error
    registry: dict[str, list[str]] = get_db_info()
    known = sorted(name for name in registry if _DATASETS.fullmatch(name))
    if dataset not in known:
        raise SourceError(f"jarvis: no data set {dataset!r}, choose among {', '.join(known)}")
    url, file, *_ = registry[dataset]
    newest = registry[dataset[: len("dft_3d")]]  # all years are versions of one article
    article = re.search(r"figshare\.(\d+)", " ".join(newest))
    return url, file, article[1] if article else ""


def _usual_store() -> str:
    from jarvis.core.utils import get_cache_dir

    return str(get_cache_dir("jarvis_data"))
