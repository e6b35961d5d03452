"""Formulas and structures for benchmarks and agreement tests: real ones where the data lie."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from featurizers.elements import SYMBOLS

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"
STRUCTURE_SETS = ("perov5", "wbm10k", "mp20", "mpts52")

Structure = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Lattice (3, 3) in Å, atomic numbers (n,), fractional coordinates (n, 3)."""


def load_formulas(rows: int) -> tuple[list[str], str]:
    """Formulas of the shared OQMD table, or random ternaries, and a phrase on where they are from.

    They are drawn at random, so that the first of them are a sample of all.
    """
    path = SHARED / "oqmd" / "formation_enthalpy.parquet"
    if path.exists():
        import pyarrow.parquet as pq

        formulas = pq.read_table(path, columns=["formula"])["formula"].to_pylist()
        random.Random(0).shuffle(formulas)
        return formulas[:rows], "OQMD formulas"
    draw = random.Random(0)
    formulas = [
        "".join(f"{s}{draw.randint(1, 8)}" for s in draw.sample(SYMBOLS[1:95], 3))
        for _ in range(rows)
    ]
    return formulas, "random ternaries, as ../shared/data is not there"


def load_structures(count: int, seed: int = 0) -> tuple[dict[str, Structure], str]:
    """Structures by name, as many of each shared set, and a phrase on where they are from.

    Without the shared data they are the invented prototypes of the tests. Fewer structures are
    the first of more, in every set.
    """
    records: dict[str, Any] = {}
    folder = SHARED / "structures"
    if folder.is_dir():
        import pyarrow.parquet as pq

        source = f"structures of {', '.join(STRUCTURE_SETS)}"
        for name in STRUCTURE_SETS:
            columns = ["lattice", "numbers", "frac_coords"]
            table = pq.read_table(folder / f"{name}.parquet", columns=columns)
            rows = np.random.default_rng(seed).permutation(len(table))
            rows = rows[: max(1, count // len(STRUCTURE_SETS))]
            for row, record in zip(rows, table.take(rows).to_pylist(), strict=True):
                records[f"{name}:{row}"] = record
    else:
        source = "prototypes of the tests, as ../shared/data is not there"
        golden = REPOSITORY / "tests" / "featurizers" / "ward_golden.json"
        prototypes = json.loads(golden.read_text(encoding="utf-8"))[:count]
        records = {f"prototype:{i}": record for i, record in enumerate(prototypes)}
    structures = {
        key: (
            np.reshape(r["lattice"], (3, 3)).astype(float),
            np.array(r["numbers"], int),
            np.reshape(r["frac_coords"], (-1, 3)) % 1.0,
        )
        for key, r in records.items()
    }
    return structures, source
