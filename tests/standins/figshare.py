"""Figshare as a stand-in: its interface, the redirect to a signed address, and the file there."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from infra.settings import Settings
from infra.sources.base import Database
from infra.sources.jarvis import Jarvis
from standins.base import Reply, Request, StandIn
from standins.case import Case
from standins.crystals import Crystal, jarvis_crystals

FILE_ID = "64391379"
NAMELESS = 40  # place of the record without an id
FILE = "jdft_3d-9-24-2025.json"
ARTICLE = "6815699"
#: Keys of a record of dft_3d that nothing is said of here.
_OTHERS = (
    "slme spillage elastic_tensor effective_masses_300K kpoint_length_unit maxdiff_mesh maxdiff_bz "
    "encut epsx epsy epsz mepsx mepsy mepsz modes max_efg avg_elec_mass avg_hole_mass icsd "
    "dfpt_piezo_max_eij dfpt_piezo_max_dij dfpt_piezo_max_dielectric "
    "dfpt_piezo_max_dielectric_electronic dfpt_piezo_max_dielectric_ionic max_ir_mode min_ir_mode "
    "n-Seebeck p-Seebeck n-powerfact p-powerfact ncond pcond nkappa pkappa Tc_supercon efg "
    "exfoliation_energy poisson raw_files hse_gap"
)


def record(crystal: Crystal, number: int) -> dict[str, Any]:
    """A record of ``dft_3d`` with its 64 keys and its mixed types."""
    known = crystal.known
    made: dict[str, Any] = dict.fromkeys(_OTHERS.split(), "na")
    made |= {"icsd": "", "raw_files": [], "effective_masses_300K": {"p": "na", "n": "na"}}
    return made | {
        "jid": crystal.name,
        "spg_number": 225 if number % 2 else "62",
        "spg_symbol": "Fm-3m",
        "formula": crystal.formula,
        "formation_energy_peratom": known.get("formation", "na"),
        "optb88vdw_total_energy": known.get("energy", "na"),
        "func": "OptB88vdW",
        "optb88vdw_bandgap": known.get("gap", 0),
        "mbj_bandgap": known.get("mbj", "na"),
        "bulk_modulus_kv": known.get("bulk", "na"),
        "shear_modulus_gv": known.get("shear", ""),
        "ehull": known.get("hull", "na"),
        "magmom_oszicar": known.get("moment", "na"),
        "magmom_outcar": str(known.get("moment", "na")),
        "nat": len(crystal.symbols),
        "density": 5.956,
        "crys": "cubic",
        "spg": "225",
        "dimensionality": "3D-bulk",
        "typ": "bulk",
        "reference": "mp-1080455",
        "search": "-As-Cu-Si-Ti",
        "xml_data_link": "JVASP.xml",
        "atoms": atoms(crystal, cartesian=number % 5 == 0),
    }


def atoms(crystal: Crystal, cartesian: bool = False) -> dict[str, Any]:
    """A structure as jarvis-tools writes it."""
    lattice, coords = crystal.lattice, crystal.frac_coords
    if cartesian:
        coords = [
            [
                sum(x * vector[axis] for x, vector in zip(xyz, lattice, strict=True))
                for axis in range(3)
            ]
            for xyz in coords
        ]
    return {
        "lattice_mat": lattice,
        "coords": coords,
        "elements": crystal.symbols,
        "abc": [5.0, 5.0, 5.0],
        "angles": [90.0, 90.0, 90.0],
        "cartesian": cartesian,
        "props": [""] * len(coords),
    }


def records(n: int = 300) -> list[dict[str, Any]]:
    """Records in no order, two of which cannot be used: no id, and no text for a formula."""
    made = [record(crystal, number) for number, crystal in enumerate(jarvis_crystals(n - 2))]
    return [
        *made[:NAMELESS],
        {**made[0], "jid": None},
        *made[NAMELESS:],
        {**made[0], "jid": "JVASP-0", "formula": None},
    ]


def zipped(data: Any, name: str = FILE) -> bytes:
    """A zip archive with a JSON file; bytes are taken as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        text = data if isinstance(data, bytes) else json.dumps(data).encode()
        archive.writestr(zipfile.ZipInfo(name, (2025, 9, 24, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class Figshare(StandIn):
    """Serves one file, whatever its id, and what figshare's interface says of it.

    Attributes
    ----------
    file : bytes
        What the file is.
    sent : bytes, optional
        What is sent in its place, for ``sent_times`` times (-1 is for ever).
    states_md5 : bool
        Whether there is an interface; a mirror has none.
    cut_at : list of int
        Answers, in turn, break off after so many bytes.
    ranges, tagged : bool
        Whether parts of the file can be asked for; whether answers have an ETag.
    """

    def __init__(self, file: bytes | None = None) -> None:
        super().__init__()
        self.file = zipped(records()) if file is None else file
        self.sent, self.sent_times = b"", 0
        self.cut_at: list[int] = []  # answers that break off after so many bytes, in turn
        self.states_md5, self.ranges, self.tagged = True, True, True
        self.states_size = True  # else a negative number
        self.changes = 0  # times that the interface is asked with another file each time, but first
        self._listings = 0

    def respond(self, request: Request) -> Reply:
        if re.fullmatch(r"/v2/articles/\d+/files", request.path):
            return self._listing()
        if found := re.fullmatch(r"/files/(\d+)", request.path):
            where = f"{self.url}/signed/{found[1]}?X-Amz-Signature=0123abcd"
            return Reply(b"", 302, {"Location": where, "Content-Type": "text/html"})
        if request.path.startswith("/signed/") and "X-Amz-Signature" in request.params:
            return self._sent(request)
        return Reply(b"no such thing", 404, {"Content-Type": "text/plain"})

    def _listing(self) -> Reply:
        if not self.states_md5:
            return Reply(b'{"message": "Entity not found"}', 404)
        self._listings += 1
        if self.changes and self._listings > 1:
            self.changes -= 1
            self.file = packed_otherwise(self.file, self._listings)
        file = {
            "id": int(FILE_ID),
            "name": f"{FILE}.zip",
            "size": len(self.file) if self.states_size else -1,
            "computed_md5": hashlib.md5(self.file).hexdigest(),
            "download_url": f"{self.url}/files/{FILE_ID}",
        }
        return Reply(json.dumps([{**file, "id": 1, "name": "old.zip"}, file]).encode())

    def _sent(self, request: Request) -> Reply:
        body = self.file
        if self.sent_times:
            self.sent_times -= 1
            body = self.sent
        headers = {"Content-Type": "application/zip"}
        if self.tagged:
            headers["ETag"] = f'"{hashlib.md5(body).hexdigest()}"'
        status, start = 200, 0
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if self.ranges and asked and request.headers.get("if-range", "") == headers.get("ETag", ""):
            status, start = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        body = body[start:]
        if self.cut_at:  # closing the connection early
            headers |= {"Content-Length": str(len(body)), "Connection": "close"}
            body = body[: self.cut_at.pop(0)]
        return Reply(body, status, headers)


def packed_otherwise(file: bytes, number: int) -> bytes:
    """An archive of the same records, but other bytes."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return zipped(archive.read(FILE) + b" " * number)


# for the fault matrix --------------------------------------------------------------------
def _database(url: str, folder: Path, settings: Settings) -> Database:
    return Jarvis(store=folder, settings=settings.model_copy(update={"jarvis_url": url}))


def _truncated(stand_in: Figshare, lasting: bool) -> None:
    stand_in.sent = stand_in.file[: len(stand_in.file) // 2]
    stand_in.sent_times = -1 if lasting else 1


def _duplicates(stand_in: Figshare, lasting: bool) -> None:
    made = records()
    stand_in.file = zipped([*made, *made[: NAMELESS if lasting else 1]])


def _reversed(stand_in: Figshare, lasting: bool) -> None:
    made = records()
    nameless = made.pop(NAMELESS)  # it is named after its place
    stand_in.file = zipped([*(made := made[::-1])[:NAMELESS], nameless, *made[NAMELESS:]])


def _negative(stand_in: Figshare, lasting: bool) -> None:
    stand_in.states_size = False


def _changes(stand_in: Figshare, lasting: bool) -> None:
    stand_in.changes = 10 if lasting else 1


CASES = (
    Case(
        "jarvis",
        Figshare,
        _database,
        quirks={
            "truncated zip": _truncated,
            "duplicate rows": _duplicates,
            "changing order": _reversed,
            "negative counts": _negative,
            "version change": _changes,
        },
        cannot={
            "db fail 200": "a text of AFLOW",
            "endless next": "one file, no pages",
            "short page": "one file, no pages; see the truncated zip",
            "bad key": "there is no key",
        },
    ),
)
