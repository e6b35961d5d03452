"""Sites per second of the structure features beside matminer, and how far the values agree.

Run as ``python tests/benchmarks/bench_structure.py [--structures N] [--cache FILE] [--json FILE]``.
Both sides take the same structures and one core; processor time is measured, so that other work on
the machine disturbs little. Without the shared data, prototypes of the tests are taken. Agreement
at large takes ``--structures 1000``: matminer needs a quarter of an hour, its values and times are
kept in the file that ``--cache`` names, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from featurizers.structure import (  # noqa: E402
    FEATURE_NAMES_STRUCTURE,
    featurize_structures,
)

SETS = ("perov5", "wbm10k", "mp20", "mpts52")
GROUPS = {
    "coordination number": slice(0, 4),
    "heterogeneity": slice(4, 12),
    "chemical ordering": slice(12, 15),
    "packing efficiency": slice(15, 16),
    "local differences": slice(16, 126),
}
# Below this, a column is zero by symmetry on both sides, and what is left of it is rounding.
ZERO = 1e-6
OUTLIER = 1e-4


def load_structures(count: int) -> dict[str, tuple[Any, Any, Any]]:
    """Structures by name, from all shared sets in turn, or prototypes without those."""
    folder = REPOSITORY.parent / "shared" / "data" / "structures"
    if not folder.is_dir():
        golden = REPOSITORY / "tests" / "featurizers" / "ward_golden.json"
        records = {f"prototype:{i}": r for i, r in enumerate(json.loads(golden.read_text()))}
    else:
        import pyarrow.parquet as pq

        records = {}
        for name in SETS:
            table = pq.read_table(folder / f"{name}.parquet")
            rows = np.random.default_rng(0).permutation(len(table))[: -(-count // len(SETS))]
            for row, record in zip(rows, table.take(rows).to_pylist(), strict=True):
                records[f"{name}:{row}"] = record
    return {
        key: (
            np.reshape(r["lattice"], (3, 3)).astype(float),
            np.array(r["numbers"], int),
            np.reshape(r["frac_coords"], (-1, 3)) % 1.0,
        )
        for key, r in list(records.items())[:count]
    }


def matminer_action() -> Callable[[Any, Any, Any], list[float]]:
    """The same 126 attributes by matminer, for one structure."""
    from matminer.featurizers.base import MultipleFeaturizer
    from matminer.featurizers.structure import (
        ChemicalOrdering,
        MaximumPackingEfficiency,
        SiteStatsFingerprint,
        StructuralHeterogeneity,
    )
    from pymatgen.core import Structure

    warnings.simplefilter("ignore")
    peer = MultipleFeaturizer(
        [
            SiteStatsFingerprint.from_preset("CoordinationNumber_ward-prb-2017"),
            StructuralHeterogeneity(),
            ChemicalOrdering(),
            MaximumPackingEfficiency(),
            SiteStatsFingerprint.from_preset("LocalPropertyDifference_ward-prb-2017"),
        ]
    )
    columns = [peer.feature_labels().index(name) for name in FEATURE_NAMES_STRUCTURE]

    def action(lattice: Any, numbers: Any, frac: Any) -> list[float]:
        values = peer.featurize(Structure(lattice, numbers, frac))
        return [float(values[column]) for column in columns]

    return action


def oracle(structures: dict[str, tuple[Any, Any, Any]], cache: Path | None) -> dict[str, Any]:
    """Matminer's values, or its error, and processor seconds of each structure."""
    known: dict[str, Any] = {}
    if cache and cache.exists():
        known = {r["key"]: r for r in map(json.loads, cache.read_text().splitlines())}
    action = matminer_action()
    for key, parts in structures.items():
        if key in known:
            continue
        start = time.process_time()
        record: dict[str, Any] = {"key": key}
        try:
            record["values"] = action(*parts)
        except (RuntimeError, ValueError) as error:  # infinite cells, no neighbours
            record["error"] = str(error)
        record["seconds"] = time.process_time() - start
        known[key] = record
        if cache:
            with cache.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
    return {key: known[key] for key in structures}


def measure(count: int, cache: Path | None) -> dict[str, Any]:
    """All figures of the benchmark."""
    structures = load_structures(count)
    columns = list(zip(*structures.values(), strict=True))
    featurize_structures(*([values[0]] for values in columns))  # imports and tables
    repeats = max(1, 200 // len(structures))
    start = time.process_time()
    for _ in range(repeats):
        ours = featurize_structures(*columns)
    seconds = (time.process_time() - start) / repeats
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peer = oracle(structures, cache)
    sites = sum(len(numbers) for _, numbers, _ in structures.values())
    peer_seconds = sum(r["seconds"] for r in peer.values())
    keys = list(structures)
    both = [
        i for i, key in enumerate(keys) if "values" in peer[key] and i not in ours.reasons
    ]  # rows
    expected = np.array([peer[keys[i]]["values"] for i in both])
    difference = np.abs(ours.values[both] - expected)
    relative = difference / np.maximum(np.abs(expected), ZERO)
    relative[np.maximum(np.abs(expected), np.abs(ours.values[both])) < ZERO] = 0.0
    medians = np.median(relative, axis=0)
    return {
        "structures": len(structures),
        "sites": sites,
        "sites_per_s": sites / seconds,
        "ms_per_site": 1e3 * seconds / sites,
        "matminer_sites_per_s": sites / peer_seconds,
        "ratio": peer_seconds / seconds,
        "peak_memory_mib": peak,
        "refused": {keys[i]: reason for i, reason in ours.reasons.items()},
        "matminer_failures": {k: r["error"] for k, r in peer.items() if "error" in r},
        "compared": len(both),
        "groups": {
            name: {
                "largest_median": float(medians[group].max()),
                "largest": float(relative[:, group].max()),
                "largest_absolute": float(difference[:, group].max()),
            }
            for name, group in GROUPS.items()
        },
        "outliers": [
            {
                "structure": keys[both[row]],
                "column": FEATURE_NAMES_STRUCTURE[column],
                "ours": float(ours.values[both[row], column]),
                "matminer": float(expected[row, column]),
            }
            for row, column in np.argwhere(relative > OUTLIER)
        ],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=int, default=20, help="structures for both sides")
    parser.add_argument("--cache", type=Path, help="keep matminer's values in this JSON lines file")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    result = measure(arguments.structures, arguments.cache)
    console = Console()
    table = Table(title=f"{result['structures']:,} structures of {result['sites']:,} sites")
    for heading in ("columns", "median relative difference", "largest", "largest absolute"):
        table.add_column(heading, justify="left" if heading == "columns" else "right")
    for name, group in result["groups"].items():
        table.add_row(name, *(f"{value:.1e}" for value in group.values()))
    console.print(table)
    console.print(
        f"{result['sites_per_s']:,.0f} sites/s, matminer {result['matminer_sites_per_s']:,.1f}: "
        f"{result['ratio']:,.0f} times; peak memory {result['peak_memory_mib']:,.0f} MiB; "
        f"{len(result['refused'])} refused, matminer fails on {len(result['matminer_failures'])}; "
        f"{len(result['outliers'])} values differ by more than {OUTLIER:g}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
