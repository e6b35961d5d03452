"""Speed, agreement and memory of the features beside matminer, on this machine, in one run.

Run as ``make bench-features``, or in the repository root as
``PYTHONPATH=tests python -m benchmarks.bench_features [options]``. Both sides take the same
formulas and the same structures, each in a process of its own on one core; rates are per second of
processor time. A GPU is measured if torch finds one. Without the shared data, formulas are random
and structures are prototypes.

Agreement at large takes ``--structures 1000``: matminer needs a quarter of an hour. Its values and
times are kept in the file that ``--cache`` names, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.agreement import COMPOSITION_GROUPS, STRUCTURE_GROUPS, group_figures, outliers
from rich.console import Console
from rich.table import Table

from featurizers.structure import FEATURE_NAMES_STRUCTURE

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run_side(side: str, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    """Figures and values of one side, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.sides", side, json.dumps(request), folder],
            env={**os.environ, **ONE_CORE},
            check=True,
        )
        figures = json.loads(Path(folder, f"{side}.json").read_text(encoding="utf-8"))
        values = Path(folder, f"{side}.npy")
        return figures, np.load(values) if values.exists() else None


def measure(request: dict[str, Any], console: Console) -> dict[str, Any]:
    """All figures of the benchmark."""
    found, values = {}, {}
    for side in (
        "composition_ours",
        "composition_matminer",
        "composition_cuda",
        "structure_ours",
        "structure_matminer",
    ):
        console.print(f"[dim]{side.replace('_', ', ')} ...[/dim]")
        found[side], values[side] = run_side(side, request)
    composition = {"ours": found["composition_ours"], "matminer": found["composition_matminer"]}
    composition["ratio"] = composition["ours"]["rows_per_s"] / composition["matminer"]["rows_per_s"]
    composition["agreement"] = group_figures(
        values["composition_ours"], values["composition_matminer"], COMPOSITION_GROUPS
    )
    if found["composition_cuda"]:
        composition["cuda"] = found["composition_cuda"]
        composition["cuda"]["largest_difference_to_numpy"] = float(
            np.abs(values["composition_cuda"] - values["composition_ours"]).max()
        )

    structure = {"ours": found["structure_ours"], "matminer": found["structure_matminer"]}
    structure["ratio"] = structure["ours"]["sites_per_s"] / structure["matminer"]["sites_per_s"]
    both = ~np.isnan(values["structure_matminer"]).all(1) & ~np.isnan(values["structure_ours"]).all(
        1
    )
    ours, theirs = values["structure_ours"][both], values["structure_matminer"][both]
    keys = structure["ours"].pop("keys")
    names = [keys[row] for row in np.flatnonzero(both)]
    structure["compared"] = int(both.sum())
    structure["agreement"] = group_figures(ours, theirs, STRUCTURE_GROUPS)
    structure["outliers"] = outliers(ours, theirs, names, FEATURE_NAMES_STRUCTURE)
    return {
        "machine": {
            "processor": processor(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "scipy", "matminer", "pymatgen")},
        },
        "composition": composition,
        "structure": structure,
    }


def processor() -> str:
    """Name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(side: dict[str, Any]) -> str:
    """Peak memory of a side for the table; a dash where an earlier run did the work."""
    memory = side["memory_mib"]
    return f"{memory['peak']:,.0f} ({memory['before']:,.0f})" if memory else "–"


def show(result: dict[str, Any], console: Console) -> None:
    """Print the figures."""
    composition, structure = result["composition"], result["structure"]
    ours, theirs = composition["ours"], composition["matminer"]
    sites, their_sites = structure["ours"], structure["matminer"]

    table = Table(title="One core, same rows, same run")
    for heading in ("", "ours", "matminer", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row(
        f"145 attributes, {ours['same_rows']:,} formulas, rows/s",
        f"{ours['rows_per_s']:,.0f}",
        f"{theirs['rows_per_s']:,.0f}",
        f"{composition['ratio']:,.0f}",
    )
    table.add_row("  peak memory (before the work), MiB", peak_memory(ours), peak_memory(theirs))
    table.add_row(
        f"126 attributes, {sites['structures']:,} structures, sites/s",
        f"{sites['sites_per_s']:,.0f}",
        f"{their_sites['sites_per_s']:,.1f}",
        f"{structure['ratio']:,.0f}",
    )
    table.add_row(
        "  peak memory (before the work), MiB", peak_memory(sites), peak_memory(their_sites)
    )
    console.print(table)

    table = Table(title="Relative difference between ours and matminer's")
    for heading in ("columns", "", "worst median", "largest", "largest absolute"):
        table.add_column(heading, justify="left" if heading == "columns" else "right")
    for side in (composition, structure):
        for name, group in side["agreement"].items():
            differences = (group[k] for k in ("largest_median", "largest", "largest_absolute"))
            table.add_row(name, str(group["columns"]), *(f"{d:.1e}" for d in differences))
    console.print(table)

    table = Table(title=f"Ours alone, {ours['rows']:,} rows, rows/s of one core")
    table.add_column("step")
    table.add_column("rows/s", justify="right")
    for name, label in (
        ("parse", "formulas to arrays"),
        ("arrays", "arrays to 145 attributes"),
        ("many", "formulas to 145 attributes"),
        ("fractions", "arrays to 112 element fractions"),
        ("canonical", "arrays to canonical formulas"),
    ):
        table.add_row(label, f"{ours[f'{name}_rows_per_s']:,.0f}")
    if "cuda" in composition:
        cuda = composition["cuda"]
        table.add_row(f"arrays to 145 attributes on {cuda['device']}", f"{cuda['rows_per_s']:,.0f}")
    console.print(table)
    memory = ours["many_memory_mib"]
    console.print(
        f"Peak memory for {ours['rows']:,} formulas {memory['peak']:,.0f} MiB, of which "
        f"{ours['rows'] * 145 * 4 / 2**20:,.0f} MiB are the attributes and "
        f"{memory['before']:,.0f} MiB were there before.\n"
        f"{ours['bytes_per_row']} bytes must move per row; at the {ours['bandwidth_gb_per_s']:.1f} "
        f"GB/s of one core that allows {ours['bandwidth_limit_rows_per_s']:,.0f} rows/s. "
        f"{ours['bandwidth_fraction']:.1%} of it is reached from arrays: arithmetic limits, not "
        "memory.\n"
        f"Formulas: {ours['source']}. {sites['sites']:,} sites: {sites['source']}; "
        f"{structure['compared']:,} compared, {len(sites['refused'])} refused by us, "
        f"{len(their_sites['failures'])} failed in matminer, {len(structure['outliers'])} values "
        "differ by more than 1e-4."
    )
    if their_sites["times_from_earlier_run"]:
        console.print("Matminer's structure values and times are of an earlier run, as kept.")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000, help="formulas for our side alone")
    parser.add_argument("--same-rows", type=int, default=20_000, help="formulas for both sides")
    parser.add_argument("--structures", type=int, default=40, help="structures for both sides")
    parser.add_argument("--cache", help="keep matminer's structure values in this JSON lines file")
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench_features.json"), help="file of the figures"
    )
    arguments = vars(parser.parse_args())
    output: Path = arguments.pop("json")
    console = Console()
    result = {"request": arguments, **measure(arguments, console)}
    show(result, console)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures in {output}")


if __name__ == "__main__":
    main()
