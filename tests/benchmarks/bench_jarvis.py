"""Rows per second and memory of a pull of JARVIS: an archive of 94,000 entries, made here.

Entries are as long as those of the real archive (some 3 kB, a third of them with tensors and
modes). The pull runs in a process of its own, from the file to a Parquet file.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from standins.crystals import made_crystals  # noqa: E402
from standins.figshare import FILE, Figshare, record  # noqa: E402

ENTRIES = 94_000
_DIFFERENT = 2000


def make_archive(path: Path, entries: int = ENTRIES) -> int:
    """Write an archive; returns the length of the JSON text in bytes."""
    draw = random.Random(1)
    rows = [_full(record(c, n), draw) for n, c in enumerate(made_crystals(_DIFFERENT, seed=2))]
    texts = [json.dumps({**row, "jid": "JVASP-{}"}).encode() for row in rows]
    length = 0
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        archive.open(FILE, "w", force_zip64=True) as file,
    ):
        for number in range(entries):
            text = texts[number % _DIFFERENT].replace(b"{}", str(number).encode(), 1)
            length += file.write((b", " if number else b"[") + text)
        file.write(b"]")
    return length


def _full(row: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    sites = len(row["atoms"]["elements"])
    row["raw_files"] = [
        f"FD-ELAST,JVASP-{draw.randint(1, 10**6)}.zip,https://ndownloader/files/1"
    ] * 4
    row["efg"] = [[draw.uniform(-9, 9) for _ in range(3)] for _ in range(sites)]
    for key in ("epsx", "epsy", "epsz", "mepsx", "n-Seebeck", "p-powerfact", "encut", "max_efg"):
        row[key] = draw.uniform(0, 1000)
    if draw.random() < 0.3:
        row["elastic_tensor"] = [
            [round(draw.uniform(0, 99), 1) for _ in range(6)] for _ in range(6)
        ]
        row["modes"] = [round(draw.uniform(-9, 999), 4) for _ in range(3 * sites)]
    return row


PULL = """
import time
from benchmarks.meters import memory_mib
from infra.pull.engine import pull
from infra.pull.http import Http
from infra.settings import settings
from infra.sources.jarvis import Jarvis
from infra.store import Store

database = Jarvis()
with Http("jarvis", settings()) as http:
    before = memory_mib()["peak"]
    begun = time.process_time()
    database.version(http)
    there = time.process_time()
    with Store(settings().store).staging("snapshots", "0" * 16) as staging:
        rows = pull(database, staging, http).counts["rows_pulled"]
    end = time.process_time()
print(rows, there - begun, end - there, before, memory_mib()["peak"])
"""


def pull(url: str, folder: Path) -> dict[str, float]:
    """Download an archive and pull from it into a folder, in a new process."""
    names = {"STORE": folder / "store", "JARVIS_STORE": folder, "JARVIS_URL": url}
    found = subprocess.run(
        [sys.executable, "-c", PULL],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "OMP_NUM_THREADS": "1",
            "HOME": str(folder),
            "IRNET_REQUEST_GAP_S": "0",
            **{f"IRNET_{name}": str(value) for name, value in names.items()},
        },
    )
    rows, download_s, pull_s, before, peak = map(float, found.stdout.split())
    return {
        "rows": rows,
        "download_s": download_s,
        "rows_s": rows / pull_s,
        "mib_before": before,
        "mib_peak": peak,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.zip"
        begun = time.perf_counter()
        length = make_archive(path)
        print(
            f"{ENTRIES:,} entries of {length / ENTRIES:,.0f} bytes each, {length / 2**20:,.0f} MiB "
            f"in {path.stat().st_size / 2**20:,.0f} MiB; "
            f"made in {time.perf_counter() - begun:.0f} s"
        )
        with Figshare(path.read_bytes()) as figshare:
            for turn in range(3):
                found = pull(figshare.url, Path(folder) / str(turn))
                print(
                    f"{found['rows']:,.0f} rows: {found['download_s']:.1f} s to download and "
                    f"verify, {found['rows_s']:,.0f} rows/s from zip to staged Parquet (processor "
                    f"time); memory at most {found['mib_peak']:,.0f} MiB, "
                    f"{found['mib_before']:,.0f} MiB before it began"
                )


if __name__ == "__main__":
    main()
