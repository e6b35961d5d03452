"""Speed and agreement of the charge rules beside SMACT's, on this machine, in one run.

Run as ``make bench-rules``, or in the repository root as
``PYTHONPATH=tests python -m benchmarks.bench_rules [options]``. Times are processor times of one
core, means over passes. Both sides judge the same compositions by the same rules, from parsed
input: SMACT from pymatgen compositions, ours from arrays, after each has read its tables. The
ratio is of verdicts alone, for that is all that ``smact_validity`` returns; our rate with
oxidation states stands beside it. The compositions are of as many chemical systems, nearly; the
ternaries are generated, and SMACT judges some of them.
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
from benchmarks.rules_sample import SMACT_OPTIONS, few_choices, formulas_of, sample
from pymatgen.core import Composition
from rich.console import Console
from rich.table import Table
from smact.screening import smact_validity

from featurizers.screening_elements import default_elements, rules_data
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.rules import Rules

Rows = tuple[np.ndarray, np.ndarray]


def rate_of(rules: Rules, rows: Rows, with_states: bool, seconds: float = 1.0) -> float:
    """Rows per second, over as many passes as take some time."""
    rules.apply(*rows, with_states)
    passes, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        rules.apply(*rows, with_states)
        passes += 1
    return passes * len(rows[0]) / spent


def beside_smact(name: str, mixed: Rows, screen: Rows, share: int) -> dict[str, float]:
    """Rates of both sides on both samples, and on how many rows they differ."""
    rules = Rules(name, rules_data())
    figures: dict[str, float] = {}
    some = np.random.default_rng(0).permutation(len(screen[0]))[:share]
    for label, rows, drawn in (
        ("compositions", mixed, np.arange(len(mixed[0]))),
        ("ternaries", screen, some),
    ):
        if name == "permissive":  # the others are out of SMACT's reach
            drawn = drawn[few_choices(rows[0][drawn], rows[1][drawn], rules.data)]
            if label == "compositions":
                rows, drawn = (rows[0][drawn], rows[1][drawn]), np.arange(len(drawn))
        parsed = [Composition(f) for f in formulas_of(rows[0][drawn], rows[1][drawn])]
        smact_validity(parsed[0], **SMACT_OPTIONS[name])  # its tables are read now
        start = time.process_time()
        theirs = [smact_validity(one, **SMACT_OPTIONS[name]) for one in parsed]
        smact = len(parsed) / (time.process_time() - start)
        passes = rules.apply(*rows).passes
        rate, with_states = (rate_of(rules, rows, wanted) for wanted in (False, True))
        figures |= {
            f"{label}": len(rows[0]),
            f"{label}_passing": float(passes.mean()),
            f"{label}_held_against_smact": len(parsed),
            f"{label}_differing": int((passes[drawn] != np.array(theirs)).sum()),
            f"{label}_smact_per_s": smact,
            f"{label}_per_s": rate,
            f"{label}_ratio": rate / smact,
            f"{label}_with_states_per_s": with_states,
            f"{label}_with_states_ratio": with_states / smact,
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
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "smact": metadata.version("smact"),
        "source": source,
        "rules": {
            name: beside_smact(name, (numbers, amounts), screen, arguments.share)
            for name in SMACT_OPTIONS
        },
    }
    report(figures)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
