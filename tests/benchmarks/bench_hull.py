"""Speed and agreement of the hulls beside pymatgen's PhaseDiagram, on this machine, in one run.

Run as ``make bench-hull``, or in the repository root as
``PYTHONPATH=tests python -m benchmarks.bench_hull [options]``. Times are processor times of one
core. Two tasks are given to both sides, each with the known phases read and at hand:

- compositions whose energy is known, from binaries to quinaries, nearly each in a chemical system
  of its own, so that building hulls is nearly all of the work;
- a screen: all ternary candidates of some chemical systems, with energies about the hull.

pymatgen is used as a user would: one diagram for each chemical system, and each candidate held
against it. Our own rates are then measured on more systems, and on a GPU if torch finds one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import time
import warnings
from importlib import metadata
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq
import torch
from benchmarks.hull_peer import Peer, distance, entry, system_of
from benchmarks.hull_samples import Sample, load_sample
from benchmarks.meters import memory_mib, rate, reset_peak_memory
from rich.console import Console
from rich.table import Table

from featurizers.hulls import build_facets
from irnet_core.screening.candidates import stoichiometries
from irnet_core.screening.facets import Facets
from irnet_core.screening.hull import Hull
from irnet_core.screening.phases import Phases

ARITIES = (2, 3, 4, 5)
Compositions = tuple[np.ndarray, np.ndarray, np.ndarray]


def both_sides(sample: Sample, phases: Phases, candidates: Compositions) -> dict[str, Any]:
    """Seconds of both sides for the same candidates, and the largest difference."""
    start = time.process_time()
    facets = build_facets(phases, candidates[0])
    built = time.process_time()
    ours = Hull(facets).above(*candidates).numpy()
    done = time.process_time()
    systems = [system_of(number) for number in candidates[0]]
    known = (sample.numbers, sample.amounts, sample.energies)
    peer = Peer(*(column[sample.known] for column in known), systems)
    entries = [entry(z.tolist(), a.tolist(), e) for z, a, e in zip(*candidates, strict=True)]
    peer_start = time.process_time()
    diagrams = {system: peer.diagram(system) for system in dict.fromkeys(systems)}
    peer_built = time.process_time()
    theirs = [distance(diagrams[s], one) for s, one in zip(systems, entries, strict=True)]
    peer_done = time.process_time()
    return {
        "candidates": len(ours),
        "systems": len(facets),
        "facets_s": built - start,
        "candidates_s": done - built,
        "pymatgen_facets_s": peer_built - peer_start,
        "pymatgen_candidates_s": peer_done - peer_built,
        "ratio_facets": (peer_built - peer_start) / (built - start),
        "ratio_candidates": (peer_done - peer_built) / (done - built),
        "ratio_all": (peer_done - peer_start) / (done - start),
        "ratio_facets_cached": (peer_done - peer_start) / (done - built),
        "max_difference_ev_atom": float(np.abs(ours - theirs).max()),
    }


def screen_of(phases: Phases, systems: np.ndarray, seed: int) -> Compositions:
    """All ternary candidates of up to 10 atoms, with energies about the hull's."""
    amounts = np.tile(stoichiometries(3, 10), (len(systems), 1))
    numbers = np.repeat(systems, len(amounts) // len(systems), axis=0)
    noise = np.random.default_rng(seed).normal(0.1, 0.2, len(numbers))
    hull = Hull(build_facets(phases, systems)).energies(numbers, amounts).numpy()
    return numbers, amounts, hull + noise


def own_rates(sample: Sample, phases: Phases, ternaries: np.ndarray, seed: int) -> dict[str, Any]:
    """Rates and memory on many systems, by number of elements."""
    rng = np.random.default_rng(seed)
    rates: dict[str, Any] = {}
    for arity in ARITIES:
        if arity == 3:
            systems = ternaries
        else:
            own = sample.numbers[sample.known & (sample.arity == arity), :arity]
            systems = rng.permutation(np.unique(own, axis=0))[:2000]
        reset_peak_memory()
        before = memory_mib()["now"]
        start = time.process_time()
        facets = build_facets(phases, systems)
        seconds = time.process_time() - start
        peak = memory_mib()["peak"]
        count = 500_000
        numbers = np.sort(systems[rng.integers(0, len(systems), count)], axis=1)
        amounts = rng.integers(1, 9, numbers.shape)
        hull = Hull(facets)
        rates[f"{arity} elements"] = {
            "systems": len(facets),
            "systems_per_s": len(facets) / seconds,
            "facets_per_system": len(facets.vertices) / len(facets),
            "most_facets": int(np.diff(facets.offsets).max()),
            "mib_facets": facets.nbytes / 2**20,
            "mib_peak_above_before": peak - before,
            "candidates_per_s": rate(count, lambda h=hull, c=(numbers, amounts): h.energies(*c), 2),
            "products_per_s": rate(
                20_000, lambda h=hull, c=(numbers[:20_000], amounts[:20_000]): h.products(*c), 2
            ),
            **(_file(facets) if arity == 3 else {}),
            **_cuda(facets, numbers, amounts),
        }
    return rates


def _file(facets: Facets) -> dict[str, float]:
    """Size of the facets' table as Parquet, and systems read and written per second."""
    file = io.BytesIO()

    def write() -> None:
        file.seek(0)
        pq.write_table(facets.to_tables()[0], file, compression="zstd")

    phases = facets.to_tables()[1]
    written = rate(len(facets), write, 1)
    data = file.getvalue()
    read = rate(len(facets), lambda: Facets.from_tables(pq.read_table(io.BytesIO(data)), phases), 1)
    return {"mib_file": len(data) / 2**20, "written_per_s": written, "read_per_s": read}


def _cuda(facets: Facets, numbers: np.ndarray, amounts: np.ndarray) -> dict[str, float]:
    """Candidates per second on a GPU, in its memory; nothing where there is none."""
    if not torch.cuda.is_available():
        return {}
    hull = Hull(facets, "cuda")
    there = [torch.as_tensor(part, device="cuda").repeat(40, 1) for part in (numbers, amounts)]
    best = float("inf")
    for _ in range(4):
        torch.cuda.synchronize()
        start = time.perf_counter()
        hull.energies(*there)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return {"cuda_candidates_per_s": len(there[0]) / best}


def report(figures: dict[str, Any]) -> None:
    """Print the figures as tables, one figure a line."""
    console = Console(width=100)
    compared, title = ("compositions", "screen"), f"beside pymatgen {figures['pymatgen']}"
    for names, parts, heading in (
        (compared, figures, f"{title}, {figures['source']}"),
        (list(figures["rates"]), figures["rates"], "our rates, one core"),
    ):
        table = Table("", *names, title=heading)
        for column in table.columns[1:]:
            column.justify = "right"
        for figure in dict.fromkeys(key for name in names for key in parts[name]):
            values = [parts[name].get(figure) for name in names]
            table.add_row(figure, *("" if v is None else _rounded(v) for v in values))
        console.print(table)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compositions", type=int, default=2000, help="from 2 to 5 elements")
    parser.add_argument("--screen", type=int, default=100, help="ternary systems of the screen")
    parser.add_argument("--systems", type=int, default=20_000, help="ternaries for our own rates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench_hull.json"), help="file of the figures"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="pymatgen")
    torch.set_num_threads(1)
    sample = load_sample()
    known = (sample.numbers, sample.amounts, sample.energies)
    start = time.process_time()
    phases = Phases.lowest(*(column[sample.known] for column in known))
    phases_s = time.process_time() - start
    elements = np.unique(sample.numbers[sample.numbers > 0])
    ternaries = np.array(list(combinations(elements, 3)), np.uint8)
    ternaries = np.random.default_rng(arguments.seed).permutation(ternaries)[: arguments.systems]
    rows = np.concatenate(
        [sample.draw(arity, arguments.compositions // 4, arguments.seed) for arity in ARITIES]
    )
    figures: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "pymatgen": metadata.version("pymatgen"),
        "source": sample.source,
        "phases": len(phases),
        "phases_s": phases_s,
        "rates": own_rates(sample, phases, ternaries, arguments.seed),
        "compositions": both_sides(sample, phases, tuple(column[rows] for column in known)),
        "screen": both_sides(
            sample, phases, screen_of(phases, ternaries[: arguments.screen], arguments.seed)
        ),
    }
    report(figures)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
