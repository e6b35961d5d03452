"""One side of the comparison in a process of its own, so that its peak memory is its own.

Run as ``python -m benchmarks.sides SIDE REQUEST OUTPUT``: SIDE is a name in :data:`SIDES`, REQUEST
a JSON object of the benchmark's arguments; figures go to ``OUTPUT/SIDE.json``, values to
``OUTPUT/SIDE.npy``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.meters import bandwidth_gb_per_s, memory_mib, rate, reset_peak_memory
from benchmarks.peers import composition_peer, structure_values
from benchmarks.samples import load_formulas, load_structures

from featurizers.composition import featurize, featurize_arrays
from featurizers.formula import canonical_formulas, parse_formulas
from featurizers.fractions import element_fractions
from featurizers.structure import featurize_structures

Side = Callable[[dict[str, Any]], tuple[dict[str, Any], np.ndarray | None]]


def composition_ours(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Our side: the rows that matminer takes as well, then many."""
    many, source = load_formulas(request["rows"])
    same = many[: request["same_rows"]]
    featurize(same[:10])  # tables
    before, values = _peak(lambda: featurize(same))
    figures: dict[str, Any] = {
        "source": source,
        "same_rows": len(same),
        "rows_per_s": rate(len(same), lambda: featurize(same), 9),
        "memory_mib": before,
        "rows": len(many),
    }
    figures["many_memory_mib"], _ = _peak(lambda: featurize(many))
    parsed = parse_formulas(many)
    numbers, amounts = parsed.numbers, parsed.amounts
    for name, action in (
        ("many", lambda: featurize(many)),
        ("parse", lambda: parse_formulas(many)),
        ("canonical", lambda: canonical_formulas(numbers, amounts)),
        ("fractions", lambda: element_fractions(numbers, amounts)),
        ("arrays", lambda: featurize_arrays(numbers, amounts)),
    ):
        figures[f"{name}_rows_per_s"] = rate(len(many), action)
    # what must move at least: numbers and amounts in, attributes out
    moved = numbers[0].nbytes + amounts[0].nbytes + values[0].nbytes
    bandwidth = bandwidth_gb_per_s()
    figures["bytes_per_row"] = moved
    figures["bandwidth_gb_per_s"] = bandwidth
    figures["bandwidth_limit_rows_per_s"] = bandwidth * 1e9 / moved
    figures["bandwidth_fraction"] = figures["arrays_rows_per_s"] * moved / bandwidth / 1e9
    return figures, values


def composition_matminer(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Matminer's side: a pass over some rows."""
    formulas = load_formulas(request["rows"])[0][: request["same_rows"]]
    peer = composition_peer()
    peer(formulas[:10])
    start = time.process_time()
    memory, values = _peak(lambda: peer(formulas))
    seconds = time.process_time() - start
    return {"rows_per_s": len(formulas) / seconds, "memory_mib": memory}, values


def composition_cuda(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    """Our side on a GPU, compositions and attributes in its memory; nothing where there is none."""
    if not find_spec("torch"):
        return {}, None
    import torch

    if not torch.cuda.is_available():
        return {}, None
    parsed = parse_formulas(load_formulas(request["rows"])[0])
    repeats = -(-2_000_000 // len(parsed.numbers))
    numbers = torch.tensor(parsed.numbers, device="cuda").repeat(repeats, 1)
    amounts = torch.tensor(parsed.amounts, device="cuda").repeat(repeats, 1)
    best = float("inf")
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        values = featurize_arrays(numbers, amounts)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    figures = {
        "device": torch.cuda.get_device_name(),
        "rows": len(numbers),
        "rows_per_s": len(numbers) / best,
    }
    return figures, values[: request["same_rows"]].cpu().numpy()


def structure_ours(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Our side on all structures at once."""
    structures, source = load_structures(request["structures"])
    columns = list(zip(*structures.values(), strict=True))
    featurize_structures(*(column[:1] for column in columns))  # imports and tables
    memory, result = _peak(lambda: featurize_structures(*columns))
    sites = sum(len(numbers) for numbers in columns[1])
    keys = list(structures)
    figures = {
        "source": source,
        "keys": keys,
        "structures": len(structures),
        "sites": sites,
        "sites_per_s": rate(sites, lambda: featurize_structures(*columns)),
        "refused": {keys[row]: reason for row, reason in result.reasons.items()},
        "memory_mib": memory,
    }
    return figures, result.values


def structure_matminer(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Matminer's side, one structure after the other; NaN where it fails."""
    structures, _ = load_structures(request["structures"])
    cache = Path(request["cache"]) if request["cache"] else None
    known = cache is not None and cache.exists()
    memory, found = _peak(lambda: structure_values(structures, cache))
    seconds = {key: record["seconds"] for key, record in found.items()}
    slowest = max(seconds, key=lambda key: seconds[key])
    sites = sum(len(numbers) for _, numbers, _ in structures.values())
    figures = {
        "sites_per_s": sites / sum(seconds.values()),
        "failures": {key: r["error"] for key, r in found.items() if "error" in r},
        "slowest": {"structure": slowest, "seconds": seconds[slowest]},
        "memory_mib": None if known else memory,  # values of an earlier run needed none now
        "times_from_earlier_run": known,
    }
    missing = [float("nan")] * 126
    return figures, np.array([record.get("values", missing) for record in found.values()])


SIDES: dict[str, Side] = {
    "composition_ours": composition_ours,
    "composition_matminer": composition_matminer,
    "composition_cuda": composition_cuda,
    "structure_ours": structure_ours,
    "structure_matminer": structure_matminer,
}


def _peak(action: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Memory at its peak during an action and before it, in MiB, and what the action returns."""
    reset_peak_memory()
    before = memory_mib()["now"]
    result = action()
    return {"peak": memory_mib()["peak"], "before": before}, result


def main(side: str, request: str, output: str) -> None:
    """Measure one side and write what was found."""
    figures, values = SIDES[side](json.loads(request))
    folder = Path(output)
    if values is not None:
        np.save(folder / f"{side}.npy", values)
    (folder / f"{side}.json").write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
