"""Time screens end to end, and the way a user would do the same with today's tools, in one run.

The screens are those of the command line, in processes of their own: candidates, rules, novelty,
features, network, hulls, ranked table. The peer does the same to a sample, candidate by candidate:
SMACT's rules, matminer's 145 attributes beside element fractions, the same network in plain eager
float32 torch, pymatgen's phase diagrams.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from benchmarks.hull_peer import Peer, distance, entry, system_of
from benchmarks.peers import composition_peer
from rich.console import Console
from rich.table import Table

from featurizers.blocks import encode
from featurizers.formula import canonical_formulas, parse_formulas
from infra.store import Store
from irnet_core import bundle
from irnet_core.device import pick_device
from irnet_core.screening.candidates import Enumeration

SEED = 0


def irnet(arguments: Sequence[str], store: Path) -> tuple[float, float, float]:
    """Run the command line: seconds, processor seconds and peak GB of all its processes."""
    environment = os.environ | {"IRNET_STORE": str(store), "PREFECT_HOME": str(store / "prefect")}
    start, before = time.perf_counter(), _processor_seconds()
    process = subprocess.Popen(
        [Path(sys.executable).parent / "irnet", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        parent = psutil.Process(process.pid)
        while not done.wait(0.2):
            total = 0
            try:
                for one in (parent, *parent.children(recursive=True)):
                    total += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            peak = max(peak, total / 1e9)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, errors = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"irnet {' '.join(arguments)} failed:\n{errors[-2000:]}")
    return time.perf_counter() - start, _processor_seconds() - before, peak


def _processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def network_floor(model: bundle.Bundle, processes: int) -> tuple[float, float]:
    """The network alone, in as many processes of one thread as a screen has threads.

    Rows per second of all, and rows per processor second.
    """
    code = (
        "import sys, time, torch; from irnet_core import bundle; "
        "from irnet_core.inference import Predictor; torch.set_num_threads(1); "
        "p = Predictor(bundle.read(sys.argv[1])); x = torch.randn(16384, p.card.n_inputs); "
        "p.predict(x); s, c = time.perf_counter(), time.thread_time(); "
        "[p.predict(x) for _ in range(6)]; n = 6 * 16384; "
        "print(n / (time.perf_counter() - s), n / (time.thread_time() - c))"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, data in bundle.pack(model).items():
            (Path(folder) / name).write_bytes(data)
        running = [
            subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE)
            for _ in range(processes)
        ]
        rates = [process.communicate()[0].split() for process in running]
    return sum(float(rate) for rate, _ in rates), float(np.mean([float(rate) for _, rate in rates]))


def ours(store: Path, model: str, table: Path, more: Sequence[str]) -> dict[str, Any]:
    """One screen: its funnel, seconds, memory and rates."""
    seconds, processor, memory = irnet(
        ["screen", "ternaries", "--model", model, "--snapshot", str(table), *more], store
    )
    manifest = Store(store).open("screens/latest").manifest
    counts = manifest.counts
    return {
        "generated": counts["generated"],
        "predicted": counts["predicted"],
        "seconds": seconds,
        "processor_s": processor,
        "peak_gb": memory,
        "generated_per_s": counts["generated"] / seconds,
        "predicted_per_s": counts["predicted"] / seconds,
    }


def peer(model: bundle.Bundle, table: Path, target: str, sample: int) -> dict[str, float]:
    """Seconds per candidate of today's tools, step by step, on a sample of ternaries."""
    from smact import Element
    from smact.screening import smact_validity

    rng = np.random.default_rng(SEED)
    elements = sorted({int(z) for z in range(3, 84)} - {10, 18, 36, 43, 54, 61})
    family = Enumeration(elements, 3, 10)
    picked = np.sort(rng.choice(len(family), sample, replace=False))
    rows = [family.take(i, i + 1) for i in picked.tolist()]
    numbers = np.concatenate([row.numbers for row in rows])
    amounts = np.concatenate([row.amounts for row in rows])
    formulas = canonical_formulas(numbers, amounts.astype(float))[0]
    times: dict[str, float] = {}

    Element("Fe")  # SMACT reads its tables once
    start = time.perf_counter()
    passes = [smact_validity(formula, include_alloys=False) for formula in formulas]
    times["smact"] = (time.perf_counter() - start) / sample
    few = slice(0, min(sample, 200))  # the slow steps, on candidates as they come

    featurize = composition_peer()
    featurize(list(formulas[:2]))
    start = time.perf_counter()
    featurize(list(formulas[few]))
    n = len(formulas[few])
    times["matminer"] = (time.perf_counter() - start) / n

    network = model.networks[0].float().eval()
    blocks = [block["name"] for block in model.card.inputs]
    x = torch.from_numpy(encode(numbers, amounts.astype(float), blocks))
    x = model.inputs.forward(x.repeat(-(-8192 // len(x)), 1)[:8192])
    with torch.inference_mode():
        network(x[:1024])
        start = time.perf_counter()
        for part in x.split(1024):
            network(part)
        times["torch"] = (time.perf_counter() - start) / len(x)

    known = pq.read_table(table, columns=["formula", target])
    parsed = parse_formulas(known.column("formula").to_pylist())
    start = time.perf_counter()
    systems = {system_of(number) for number in numbers[few]}
    phases = Peer(parsed.numbers, parsed.amounts, known.column(target).to_numpy(), systems)
    diagrams = {system: phases.diagram(system) for system in systems}
    for number, amount in zip(numbers[few].tolist(), amounts[few].tolist(), strict=True):
        distance(diagrams[tuple(number)], entry(number, amount, -1.0))
    times["pymatgen"] = (time.perf_counter() - start) / n
    times["pass_rules"] = float(np.mean(passes))
    return times


def report(figures: dict[str, Any]) -> None:
    """Print what was measured."""
    console = Console(width=110)
    table = Table("screen", *figures["screens"], title="irnet screen, end to end")
    for key in next(iter(figures["screens"].values())):
        values = (screen[key] for screen in figures["screens"].values())
        table.add_row(key, *(f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in values))
    console.print(table)
    table = Table("step", "ms a candidate", title="today's tools, one after the other")
    for step in ("smact", "matminer", "torch", "pymatgen"):
        table.add_row(step, f"{1e3 * figures['peer'][step]:.3f}")
    console.print(table)
    for name, text in figures["summary"].items():
        console.print(f"{name}: {text}", soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help="name in --store, or a bundle's folder")
    parser.add_argument("--store", type=Path, default=Path(os.environ.get("IRNET_STORE", "data")))
    parser.add_argument(
        "--table", type=Path, default=Path("../shared/data/oqmd/formation_enthalpy.parquet")
    )
    parser.add_argument("--sample", type=int, default=2000, help="candidates of the peer")
    parser.add_argument("--free-atoms", type=int, default=7, help="atoms of the screen sans rules")
    parser.add_argument("--json", type=Path, default=Path("build/bench_screen.json"))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    from flows.models import open_model

    model = open_model(arguments.model, Store(arguments.store))[0]
    screens = {
        # the first call takes the snapshot and builds the hulls, the second finds them
        "strict rules, hulls built": ["--max-atoms", "10", "--top", "9999"],
        "strict rules": ["--max-atoms", "10"],
        "no rules": ["--max-atoms", str(arguments.free_atoms), "--rules", "none"],
    }
    found = {
        name: ours(arguments.store, arguments.model, arguments.table, more)
        for name, more in screens.items()
    }
    floor, alone = network_floor(model, os.cpu_count() or 1)
    times = peer(model, arguments.table, model.card.target, arguments.sample)
    free, strict = found["no rules"], found["strict rules"]
    # today, rules come first and what fails them costs nothing more
    after = times["matminer"] + times["torch"] + times["pymatgen"]
    today_free = 1 / after
    share = strict["predicted"] / strict["generated"]
    today_strict = 1 / (times["smact"] + share * after)
    figures = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "device": str(pick_device()),
        "model": {"network": model.card.network, "inputs": model.card.n_inputs},
        "screens": found,
        "network_rows_per_s": floor,
        "network_rows_per_processor_s": alone,
        "peer": times,
        "summary": {
            "the network alone": f"{floor:,.0f} rows/s",
            "share of the network in the screen without rules": (
                f"{free['predicted'] / floor / free['seconds']:.0%} of the time, "
                f"{free['predicted'] / alone / free['processor_s']:.0%} of the processors' time, "
                "which others on the machine do not lengthen"
            ),
            "candidates that reach the network, ratio to today's tools": (
                f"{free['predicted_per_s'] / today_free:,.0f} times "
                f"({free['predicted_per_s']:,.0f} against {today_free:,.0f} per second)"
            ),
            "candidates generated under strict rules, ratio": (
                f"{strict['generated_per_s'] / today_strict:,.0f} times "
                f"({strict['generated_per_s']:,.0f} against {today_strict:,.0f} per second)"
            ),
        },
    }
    report(figures)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
