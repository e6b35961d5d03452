"""Write a ranked table of ten million rows and time the usual questions of it, in one run.

``python -m benchmarks.bench_query --rows 10000000 --json figures.json``; needs 3 GB of disk.
Each question is asked through ``open_screen`` as ``irnet top`` and ``irnet query`` do, in a new
connection each time; the files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurizers.elements import element_data
from infra.ranked import ranked_table
from infra.screens import open_screen, write_screen
from infra.store import Store, request_digest
from irnet_core.screening.candidates import stoichiometries

BLOCK = 100_000
REPEATS = 5
FORMATION, GAP = "formation_energy_ev_atom", "band_gap_ev"
SYSTEM = "SELECT rank, formula, energy_above_hull FROM ranked"
QUESTIONS: dict[str, dict[str, Any] | str] = {
    "best 20 of all": {},
    "best 20 of Fe-Li-O": {"elements": ["Li", "Fe", "O"], "only": True},
    "SQL: WHERE chemical_system = 'Fe-Li-O'": f"{SYSTEM} WHERE chemical_system = 'Fe-Li-O' "
    "ORDER BY rank LIMIT 20",
    "with Li and O, hull < 0.05": {"elements": ["Li", "O"], "max_hull": 0.05},
    "with Li and O, hull < 0.05, gap 1..3": {
        "elements": ["Li", "O"],
        "max_hull": 0.05,
        "gap": (1.0, 3.0),
    },
    "gap 2.99999..3 (few, the whole table is read)": {"gap": (2.99999, 3.0)},
    "with Lu and Tm, hull < 0.001 (none or few)": {"elements": ["Lu", "Tm"], "max_hull": 0.001},
    "SQL: count and mean by rule branch": "SELECT rule_branch, count(*), avg(energy_above_hull) "
    "FROM ranked GROUP BY 1",
}


def blocks(rows: int, seed: int) -> Iterator[pa.Table]:
    """Ternaries up to 10 atoms, in random order, with the columns that a screen fills."""
    states = element_data().oxidation_counts
    elements = [z for z in range(1, 95) if states[z] > 0 and z not in (43, 61)]
    systems = np.array(list(combinations(elements, 3)), np.uint8)
    shapes = stoichiometries(3, 10)
    random = np.random.default_rng(seed)
    order = random.permutation(len(systems) * len(shapes))[:rows]
    for start in range(0, len(order), BLOCK):
        index = order[start : start + BLOCK]
        n = len(index)
        energy = start / rows * 2 - 3 + random.random(n) / 10
        hull = np.abs(random.normal(0, 0.3, n)) + start / rows
        columns = {
            "numbers": systems[index // len(shapes)],
            "amounts": shapes[index % len(shapes)],
            "score": energy,
            "candidate": index,
            FORMATION: energy,
            f"{FORMATION}_std": random.random(n) / 5,
            f"{FORMATION}_lower_90": energy - random.random(n),
            f"{FORMATION}_upper_90": energy + random.random(n),
            GAP: random.random(n) * 6,
            "energy_above_hull": hull,
            "p_stable": np.exp(-hull * 5),
            "rule_branch": random.integers(1, 4, n),
            "oxidation_states": random.integers(-3, 4, (n, 3)).astype(np.int8),
            "is_known": random.random(n) < 0.01,
            "domain_percentile": random.random(n) * 100,
            "out_of_domain": random.random(n) < 0.1,
        }
        yield ranked_table(columns, {FORMATION: "eV/atom", GAP: "eV"}, start + 1)


class Timed:
    """An iterator that knows how long its items took to make."""

    def __init__(self, items: Iterator[pa.Table]) -> None:
        self.items, self.seconds = items, 0.0

    def __iter__(self) -> Iterator[pa.Table]:
        return self

    def __next__(self) -> pa.Table:
        begin = time.perf_counter()
        try:
            return next(self.items)
        finally:
            self.seconds += time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--store", type=Path, help="Keep the table in this store.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="irnet-bench-") as folder:
        store = Store(options.store or folder)
        made = Timed(blocks(options.rows, options.seed))
        request = request_digest("screens", {}, {"rows": options.rows, "seed": options.seed})
        begin = time.perf_counter()
        with store.staging("screens", request) as staging:
            files = write_screen(staging, made)
            seconds = time.perf_counter() - begin - made.seconds
            rows = sum(staging.records[name].rows or 0 for name in files)
            manifest = store.publish(staging, files, what="Rows at random.", rows=rows)
        figures: dict[str, Any] = {
            "rows": rows,
            "bytes": {name: record.bytes for name, record in manifest.files.items()},
            "make_blocks_s": made.seconds,
            "write_s": seconds,
            "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "questions": {},
        }
        size = sum(figures["bytes"].values())
        print(f"{rows:,} rows, {size / 1e6:,.0f} MB, {size / rows:.0f} bytes a row")
        print(f"blocks {made.seconds:.1f} s, written in another {seconds:.1f} s, ", end="")
        print(f"peak {figures['peak_rss_gb']:.2f} GB")
        print(f"{'question':50} {'first s':>9} {'median s':>9} {'rows':>6}")
        for name, question in QUESTIONS.items():
            times = []
            for _ in range(REPEATS):
                begin = time.perf_counter()
                screen = open_screen(manifest.id, store)
                table = (
                    screen.query(question) if isinstance(question, str) else screen.top(**question)
                )
                times.append(time.perf_counter() - begin)
            median = statistics.median(times)
            figures["questions"][name] = {"first_s": times[0], "median_s": median}
            print(f"{name:50} {times[0]:9.3f} {median:9.3f} {table.num_rows:6,}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
