"""Where matminer's files are downloaded, with files made here and a list that knows them."""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from infra.sources.matminer import Matminer
from standins.base import Reply, Request, StandIn
from standins.case import Case
from standins.crystals import SHARED
from standins.mp import ALWAYS, summary_rows

GAPS = [
    *(("Hg0.7Cd0.3Te", 0.35), ("CuBr", 3.08), ("LuP", 1.3), ("Cu3SbSe4", 0.4), ("ZnO", 3.44)),
    *(("PtSb2", 0.08), ("Fe2O3", float("nan")), ("NoFormula?", 1.0)),
]


def frame(columns: list[str], rows: list[list[Any]]) -> bytes:
    """A file as matminer's ``store_dataframe_as_json`` writes it."""
    split = {"index": list(range(len(rows))), "columns": columns, "data": rows}
    return gzip.compress(json.dumps(split).encode(), mtime=0)


def data_sets(n: int = 60, *, shared: bool = True) -> dict[str, dict[str, Any]]:
    """Files by the name of a data set, with what the list says of their columns.

    Structures are real ones if the shared data are there and ``shared`` is true.
    """
    cells = summary_rows(SHARED if shared and SHARED.is_dir() else None, n)
    crystals = []
    for i, row in enumerate(cells):
        composition = {"@module": "pymatgen.core.composition", "@class": "Composition"}
        crystals.append(
            [
                row["bulk_modulus"] and row["bulk_modulus"]["vrh"],
                composition | row["composition"],
                float("nan") if i % 7 == 3 else row["band_gap"],
                f"JVASP-{i}",
                row["formation_energy_per_atom"],
                row["structure"],
                row["structure"],
                i % 2 == 0,
            ]
        )
    return {
        "expt_gap": {
            "file": frame(["formula", "gap expt"], [list(gap) for gap in GAPS]),
            "columns": {
                "formula": "chemical formula",
                "gap expt": "band gap (in eV) measured experimentally",
            },
        },
        "jarvis_dft_3d": {
            "file": frame(
                [
                    *("bulk modulus", "composition", "gap opt", "jid", "e_form", "structure"),
                    *("structure initial", "is_even"),
                ],
                crystals,
            ),
            "columns": {
                "bulk modulus": "VRH average calculation of bulk modulus",
                "composition": "A Pymatgen Composition descriptor of the material",
                "gap opt": "Band gap calculated with OptB88vDW functional, in eV",
                "jid": "JARVIS ID",
                "e_form": "formation energy per atom, in eV/atom",
                "structure": "Description of the crystal structure of the material",
                "structure initial": "Initial structure description",
            },
        },
        "matbench_mp_gap": {
            "file": frame(
                ["structure", "gap pbe"], [[row["structure"], row["band_gap"]] for row in cells]
            ),
            "columns": {
                "structure": "Pymatgen Structure of the material.",
                "gap pbe": "Target variable. The band gap as calculated by PBE DFT, in eV.",
            },
        },
    }


class MatminerStandIn(StandIn):
    """Serves the files as ``/<name>.json.gz``.

    Attributes
    ----------
    other : bytes
        What is sent instead of a file.
    other_times : int
        How often.
    """

    def __init__(self, sets: dict[str, dict[str, Any]] | None = None) -> None:
        super().__init__()
        self.sets = sets or data_sets()
        self.other, self.other_times = b"", 0

    def write_list(self, folder: Path) -> Path:
        """A list of the data sets as the package has it."""
        listing = {
            name: {
                "url": f"{self.url}/{name}.json.gz",
                "hash": hashlib.sha256(made["file"]).hexdigest(),
                "file_type": "json.gz",
                "columns": made["columns"],
                "num_entries": 0,
                "description": f"The data set {name}. More of it.",
                "reference": "Somebody, somewhere",
                "bibtex_refs": ["@article{x}"],
            }
            for name, made in self.sets.items()
        }
        path = folder / "dataset_metadata.json"
        path.write_text(json.dumps(listing))
        return path

    def respond(self, request: Request) -> Reply:
        made = self.sets.get(request.path.strip("/").removesuffix(".json.gz"))
        if made is None:
            return Reply(b"", 404)
        body = made["file"]
        if self.other_times:
            self.other_times -= 1
            body = self.other
        return Reply(body, headers={"Content-Type": "application/octet-stream"})


def _cut(stand_in: MatminerStandIn, lasting: bool) -> None:
    whole = stand_in.sets["jarvis_dft_3d"]["file"]
    stand_in.other, stand_in.other_times = whole[: len(whole) // 2], ALWAYS if lasting else 1


def _fail(stand_in: MatminerStandIn, lasting: bool) -> None:
    stand_in.other, stand_in.other_times = b"DB Fail!null", ALWAYS if lasting else 1


def _renew(stand_in: MatminerStandIn, lasting: bool) -> None:
    stand_in.other = stand_in.sets["matbench_mp_gap"]["file"]
    stand_in.other_times = ALWAYS if lasting else 1


def _database(url: str, folder: Path, settings: Any) -> Matminer:
    stand_in = MatminerStandIn()  # for its list; the same files each time
    with tempfile.TemporaryDirectory() as place:
        listing = stand_in.write_list(Path(place))
        mirror = settings.model_copy(update={"matminer_url": url})
        return Matminer("jarvis_dft_3d", folder=folder, listing=listing, settings=mirror)


_FILE = "one file, known by its checksum"
CASES = (
    Case(
        "matminer",
        MatminerStandIn,
        _database,
        {"truncated zip": _cut, "db fail 200": _fail, "version change": _renew},
        {
            "duplicate rows": _FILE,
            "changing order": _FILE,
            "negative counts": _FILE,
            "endless next": _FILE,
            "short page": _FILE,
            "bad key": "there is no key",
        },
    ),
)
