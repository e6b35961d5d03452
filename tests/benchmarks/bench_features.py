"""Rows per second of the composition features beside matminer, in one run.

Run as ``python tests/benchmarks/bench_features.py [--rows N] [--oracle-rows N] [--json FILE]``.
Both sides take the same formulas and one core. Without the shared data, formulas are drawn at
random. Processor time is measured, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
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

from featurizers.composition import element_fractions, featurize_arrays  # noqa: E402
from featurizers.elements import SYMBOLS  # noqa: E402
from featurizers.formula import canonical_formulas, parse_formulas  # noqa: E402


def load_formulas(rows: int) -> tuple[list[str], str]:
    """Formulas of the shared OQMD table, or random ternaries, and where they come from."""
    path = REPOSITORY.parent / "shared" / "data" / "oqmd" / "formation_enthalpy.parquet"
    if path.exists():
        import pyarrow.parquet as pq

        return pq.read_table(path, columns=["formula"])["formula"].to_pylist()[:rows], "OQMD"
    draw = random.Random(0)
    formulas = [
        "".join(f"{s}{draw.randint(1, 8)}" for s in draw.sample(SYMBOLS[1:95], 3))
        for _ in range(rows)
    ]
    return formulas, "random ternaries"


def rate(rows: int, action: Callable[[], Any], repeats: int = 3) -> float:
    """Rows per second of processor time, best of some repeats."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        action()
        best = min(best, time.process_time() - start)
    return rows / best


def matminer_action(formulas: list[str]) -> Callable[[], np.ndarray]:
    """The same 145 attributes by matminer, from formulas."""
    from matminer.featurizers.base import MultipleFeaturizer
    from matminer.featurizers.composition import (
        ElementProperty,
        IonProperty,
        Stoichiometry,
        ValenceOrbital,
    )
    from pymatgen.core import Composition

    warnings.simplefilter("ignore")
    peer = MultipleFeaturizer(
        [
            Stoichiometry(),
            ElementProperty.from_preset("magpie"),
            ValenceOrbital(props=["avg"]),
            IonProperty(fast=True),
        ]
    )
    return lambda: np.array([peer.featurize(Composition(f)) for f in formulas])


def measure(rows: int, oracle_rows: int) -> dict[str, Any]:
    """All figures of the benchmark."""
    formulas, source = load_formulas(rows)
    rows = len(formulas)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parsed = parse_formulas(formulas)
    numbers, amounts = parsed.numbers, parsed.amounts
    result: dict[str, Any] = {
        "formulas": source,
        "rows": rows,
        "oracle_rows": oracle_rows,
        "parse_rows_per_s": rate(rows, lambda: parse_formulas(formulas)),
        "canonical_rows_per_s": rate(rows, lambda: canonical_formulas(numbers, amounts)),
        "fractions_rows_per_s": rate(rows, lambda: element_fractions(numbers, amounts)),
        "features_rows_per_s": rate(rows, lambda: featurize_arrays(numbers, amounts)),
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result["peak_memory_mib"] = peak / 1024
    result["peak_memory_above_start_mib"] = (peak - before) / 1024
    result["output_mib"] = rows * 145 * 4 / 2**20
    some = formulas[:: max(1, rows // oracle_rows)][:oracle_rows]
    result["formula_to_features_rows_per_s"] = 1 / (
        1 / result["parse_rows_per_s"] + 1 / result["features_rows_per_s"]
    )
    result["matminer_rows_per_s"] = rate(len(some), matminer_action(some), repeats=1)
    result["ratio"] = result["formula_to_features_rows_per_s"] / result["matminer_rows_per_s"]
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000, help="formulas for our side")
    parser.add_argument("--oracle-rows", type=int, default=1000, help="formulas for matminer")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    result = measure(arguments.rows, arguments.oracle_rows)
    table = Table(title=f"Composition features, {result['rows']:,} formulas ({result['formulas']})")
    table.add_column("step")
    table.add_column("rows/s of one core", justify="right")
    for name, label in (
        ("parse_rows_per_s", "formulas to arrays"),
        ("canonical_rows_per_s", "canonical formulas"),
        ("fractions_rows_per_s", "112 element fractions"),
        ("features_rows_per_s", "145 attributes from arrays"),
        ("formula_to_features_rows_per_s", "145 attributes from formulas"),
        ("matminer_rows_per_s", "matminer, 145 attributes from formulas"),
    ):
        table.add_row(label, f"{result[name]:,.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"{result['ratio']:,.0f} times matminer; peak memory {result['peak_memory_mib']:,.0f} MiB, "
        f"of which output {result['output_mib']:,.0f} MiB"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
