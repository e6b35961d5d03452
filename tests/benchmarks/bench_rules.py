"""Speed and agreement of the charge rules beside SMACT's, on this machine, in one run.

Run as ``make bench-rules``, or in the repository root as
``PYTHONPATH=tests python -m benchmarks.bench_rules [options]``. Times are processor times of one
core. Both sides judge the same compositions by the same rules, from parsed input: SMACT from
pymatgen compositions, ours from arrays. The compositions are of as many chemical systems, nearly;
our rate on generated ternaries, where systems are shared, is measured beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.rules_sample import SMACT_OPTIONS, formulas_of, sample
from pymatgen.core import Composition
from rich.console import Console
from rich.table import Table
from smact.screening import smact_validity

from featurizers.screening_elements import default_elements, rules_data
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.rules import Rules

Rows = tuple[np.ndarray, np.ndarray]


def rate_of(rules: Rules, rows: Rows, repeats: int = 3) -> float:
    """Rows per second, the best of some passes."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        rules.apply(*rows)
        best = min(best, time.process_time() - start)
    return len(rows[0]) / best


def beside_smact(name: str, mixed: Rows, screen: Rows, share: int) -> dict[str, float]:
    """Rates of both sides on both samples, and on how many rows they differ."""
    rules = Rules(name, rules_data())
    figures: dict[str, float] = {}
    rng = np.random.default_rng(0)
    few = rng.choice(len(screen[0]), min(share, len(screen[0])), replace=False)
    for label, rows, drawn in (
        ("compositions", mixed, slice(None)),
        ("ternaries", screen, few),
    ):
        parsed = [Composition(f) for f in formulas_of(rows[0][drawn], rows[1][drawn])]
        smact_validity(parsed[0], **SMACT_OPTIONS[name])  # its tables are read now
        start = time.process_time()
        theirs = [smact_validity(one, **SMACT_OPTIONS[name]) for one in parsed]
        seconds = time.process_time() - start
        ours = rules.apply(*rows)
        rate = rate_of(rules, rows)
        figures |= {
            f"{label}": len(rows[0]),
            f"{label}_passing": float(ours.passes.mean()),
            f"{label}_held_against_smact": len(parsed),
            f"{label}_differing": int((ours.passes[drawn] != np.array(theirs)).sum()),
            f"{label}_per_s": rate,
            f"{label}_smact_per_s": len(parsed) / seconds,
            f"{label}_ratio": rate * seconds / len(parsed),
        }
    return figures


def report(figures: dict[str, Any]) -> None:
    """Print the figures as a table, one figure a line."""
    parts = figures["rules"]
    table = Table("", *parts, title=f"beside SMACT {figures['smact']}, {figures['source']}")
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in dict.fromkeys(key for part in parts.values() for key in part):
        values = [part.get(figure) for part in parts.values()]
        table.add_row(figure, *("" if v is None else _rounded(v) for v in values))
    Console(width=100).print(table)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compositions", type=int, default=20_000, help="half of them real")
    parser.add_argument("--ternaries", type=int, default=1_000_000, help="for the rate of a screen")
    parser.add_argument("--share", type=int, default=2000, help="ternaries that SMACT judges too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--json", type=Path, default=Path("build/bench_rules.json"), help="file of the figures"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="smact")
    warnings.filterwarnings("ignore", module="pymatgen")
    numbers, amounts, source = sample(arguments.compositions, arguments.seed)
    family = Enumeration(default_elements(), 3, 10)
    first = (len(family) - arguments.ternaries) // 2
    screen = family.take(first, first + arguments.ternaries)
    permissive = Rules("permissive", rules_data())
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "smact": metadata.version("smact"),
        "source": source,
        "rules": {
            name: beside_smact(name, (numbers, amounts), screen, arguments.share)
            for name in SMACT_OPTIONS
        },
    }
    figures["rules"]["permissive"] = {
        "compositions_per_s": rate_of(permissive, (numbers, amounts), 1),
        "ternaries_per_s": rate_of(permissive, screen, 1),
    }
    report(figures)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
