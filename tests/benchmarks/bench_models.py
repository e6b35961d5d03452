"""Rows per second of training and inference beside the same network in plain eager torch.

Run as ``make bench-models``, or in the repository root as
``PYTHONPATH=tests python -m benchmarks.bench_models [options]``. The plain side is what one would
write first: the network as it is, in float32, called on batches of the same size; for training with
AdamW, its usual loop and the mean absolute error. Both sides run in turns in one process and the
fastest turn of each counts; ``--clock cpu`` divides by processor time instead of time on the wall,
which a machine shared with others disturbs less.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from irnet_core.batches import batch_rows
from irnet_core.bundle import Bundle, Card
from irnet_core.device import has_native_bf16
from irnet_core.elements import N_ELEMENTS
from irnet_core.inference import Predictor
from irnet_core.networks import Network
from irnet_core.notation import notation_of, with_spread
from irnet_core.recipes import recipe
from irnet_core.references import TargetScaler
from irnet_core.scaling import Scaler
from irnet_core.training_data import ScaledData, TrainingData
from irnet_core.training_run import Run

N_ATTRIBUTES = 145
N_INPUTS = N_ATTRIBUTES + N_ELEMENTS
KNOWN = 94  # elements that compositions are drawn from


def inputs(rows: int, seed: int = 0) -> np.ndarray:
    """Random attributes, and fractions of one to five elements, (rows, 257)."""
    rng = np.random.default_rng(seed)
    x = np.zeros((rows, N_INPUTS), np.float32)
    x[:, :N_ATTRIBUTES] = rng.normal(size=(rows, N_ATTRIBUTES))
    shares = rng.exponential(size=(rows, KNOWN))
    rank = rng.random((rows, KNOWN)).argsort(axis=1)
    shares[rank >= rng.integers(1, 6, (rows, 1))] = 0
    x[:, N_ATTRIBUTES : N_ATTRIBUTES + KNOWN] = shares / shares.sum(1, keepdims=True)
    return x


def fastest(
    sides: dict[str, Callable[[], int]], turns: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Rows per second of each side, the fastest of some turns taken in alternation."""
    best = dict.fromkeys(sides, 0.0)
    for side in sides.values():
        side()  # warm-up
    for _ in range(turns):
        for name, side in sides.items():
            start = clock()
            rows = side()
            best[name] = max(best[name], rows / (clock() - start))
    return best


def inference(
    network: str, members: int, rows: int, device: torch.device, turns: int, clock: Any
) -> dict[str, float]:
    """Rates of one pass over some rows: plain, ours in float32 and in the fast precision."""
    torch.manual_seed(0)
    notation = with_spread(notation_of(network))
    networks = tuple(Network(notation, N_INPUTS).eval() for _ in range(members))
    blocks = [{"name": "all", "hash": "00", "columns": N_INPUTS}]
    card = Card(
        "bench", notation, "y", "eV", blocks, {}, 0, 1, 1, {}, {}, {}, members=[{}] * members
    )
    bundle = Bundle(card, networks, Scaler.identity(N_INPUTS), TargetScaler.identity())
    x = torch.from_numpy(inputs(rows)).to(device)
    plain = [Network(notation, N_INPUTS).to(device).eval() for _ in range(members)]
    batch = batch_rows(device)

    def eager() -> int:
        with torch.no_grad():
            means = [torch.cat([one(part)[:, 0] for part in x.split(batch)]) for one in plain]
            float(torch.stack(means).mean())
        return rows

    def ours(predictor: Predictor) -> Callable[[], int]:
        def work() -> int:
            float(predictor.predict(x).mean.mean())
            return rows

        return work

    sides = {
        "plain eager fp32": eager,
        "ours fp32": ours(Predictor(bundle, device, "fp32")),
    }
    if has_native_bf16(device):
        sides["ours bf16"] = ours(Predictor(bundle, device))
    return fastest(sides, turns, clock)


def training(
    network: str, rows: int, device: torch.device, turns: int, clock: Any
) -> dict[str, float]:
    """Rates of an epoch in the modern recipe, evaluation included, and in a plain loop.

    Neither side counts its start: the network, optimiser and scaled rows are there already.
    """
    x = inputs(rows + 1)
    y = x[:, 0].astype(np.float64)
    data = TrainingData(x[:rows], y[:rows], x[rows:], y[rows:])
    chosen = replace(recipe("modern").with_epochs(turns + 1), min_steps=1)
    batch = chosen.batch(rows)
    run = Run(ScaledData(data, chosen, device, None), network, chosen, 0, None)
    model = Network(network, N_INPUTS).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 8e-4)
    on_device = torch.from_numpy(x[:rows]).to(device), torch.from_numpy(y[:rows]).float().to(device)

    def eager() -> int:
        model.train()
        done = 0
        for part in torch.randperm(rows).to(device).split(batch):
            loss = nn.functional.l1_loss(model(on_device[0][part])[:, 0], on_device[1][part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += len(part)
        loss.item()
        return done

    def ours() -> int:
        for _ in run.epoch():
            pass
        return run.rows_per_epoch

    return fastest({"plain eager fp32": eager, "modern recipe": ours}, turns, clock)


def _devices() -> Iterator[torch.device]:
    yield torch.device("cpu")
    if torch.cuda.is_available():
        yield torch.device("cuda")


def main() -> None:
    """Measure, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--network", default="irnet-17")
    parser.add_argument("--rows", type=int, default=8192, help="on a GPU 100 times as many")
    parser.add_argument("--members", type=int, default=4, help="of the ensemble")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--json", type=Path, default=Path("build/bench-models.json"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    clock = time.perf_counter if chosen.clock == "wall" else time.process_time
    results: dict[str, Any] = {
        "network": chosen.network,
        "inputs": N_INPUTS,
        "threads": chosen.threads,
        "clock": chosen.clock,
        "torch": torch.__version__,
        "devices": {},
    }
    console = Console()
    for device in _devices():
        rows = chosen.rows if device.type == "cpu" else 100 * chosen.rows
        common = (device, chosen.turns, clock)
        found = {
            "inference, 1 network": inference(chosen.network, 1, rows, *common),
            f"inference, {chosen.members} members": inference(
                chosen.network, chosen.members, rows, *common
            ),
            "training": training(chosen.network, rows, *common),
        }
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        results["devices"][name] = found
        table = Table("", "side", "rows/s", "ratio", title=f"{chosen.network} on {name}")
        for task, rates in found.items():
            for side, value in rates.items():
                ratio = value / rates["plain eager fp32"]
                table.add_row(task, side, f"{value:,.0f}", f"{ratio:.2f}")
        console.print(table)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"-> {chosen.json}")


if __name__ == "__main__":
    main()
