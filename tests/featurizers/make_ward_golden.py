"""Write ``ward_golden.json``: matminer's structure attributes of invented prototype cells.

Run by hand as ``PYTHONPATH=tests python tests/featurizers/make_ward_golden.py [--structures N]``,
with matminer installed. Each prototype comes ideal, where many cell corners coincide, and strained
at random.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from benchmarks.peers import structure_peer

GOLDEN = Path(__file__).with_name("ward_golden.json")
CUBE = np.eye(3)
FCC = 0.5 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
BCC = 0.5 * np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]])
HEX = np.array([[1.0, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 1.633]])
SKEWED = np.array([[1.0, 0, 0], [3.0, 1, 0], [-2.0, 5.0, 1]])  # a cube, in an awkward basis
LAYERS = np.diag([1.0, 1.0, 3.0])
THIRDS = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
PEROVSKITE = [[0.5] * 3, [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]

# lattice, edge in Å, atomic numbers, fractional coordinates
PROTOTYPES = [
    (CUBE, 3.3, [84], [[0, 0, 0]]),
    (FCC, 3.6, [29], [[0, 0, 0]]),
    (BCC, 2.9, [26], [[0, 0, 0]]),
    (HEX, 3.2, [12, 12], THIRDS),
    (FCC, 5.4, [14, 14], [[0, 0, 0], [0.25] * 3]),
    (CUBE, 4.1, [55, 17], [[0, 0, 0], [0.5] * 3]),
    (FCC, 5.6, [11, 17], [[0, 0, 0], [0.5] * 3]),
    (FCC, 5.4, [30, 16], [[0, 0, 0], [0.25] * 3]),
    (FCC, 5.5, [20, 9, 9], [[0, 0, 0], [0.25] * 3, [0.75] * 3]),
    (FCC, 5.9, [22, 28, 50], [[0, 0, 0], [0.25] * 3, [0.5] * 3]),
    (HEX, 4.0, [28, 33], [[1 / 3, 2 / 3, 0.25], [0, 0, 0]]),
    (SKEWED, 3.9, [38, 8], [[0, 0, 0], [0.5] * 3]),
    (CUBE, 3.7, [29, 29, 29, 79], [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0, 0]]),
    (CUBE, 3.9, [22, 56, 8, 8, 8], PEROVSKITE),
    (
        HEX,
        3.8,
        [30, 8, 30, 8],
        [*THIRDS[:1], [1 / 3, 2 / 3, 0.63], *THIRDS[1:], [2 / 3, 1 / 3, 0.13]],
    ),
    (LAYERS, 3.1, [3, 27, 8], [[0, 0, 0], [0.5, 0.5, 0.31], [0, 0, 0.52]]),
]


def structures() -> list[tuple[np.ndarray, list[int], np.ndarray]]:
    """Ideal prototypes first, then strained ones with displaced sites."""
    random = np.random.default_rng(2017)
    made = [(edge * cell, numbers, np.array(frac)) for cell, edge, numbers, frac in PROTOTYPES]
    for round_ in range(6):
        size = (0.001, 0.02, 0.05, 1e-7, 0.1, 0.15)[round_]
        for cell, edge, numbers, frac in PROTOTYPES:
            strain = np.eye(3) + size * random.normal(size=(3, 3))
            moved = np.array(frac) + 0.3 * size * random.normal(size=(len(numbers), 3))
            species = random.permutation([*range(1, 95)])[: len(set(numbers))]
            swap = dict(zip(sorted(set(numbers)), species.tolist(), strict=True))
            made.append((edge * cell @ strain, [swap[z] for z in numbers], moved % 1.0))
    return made


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=int, default=100)
    count = parser.parse_args().structures
    peer = structure_peer()
    lines = []
    for lattice, numbers, frac in structures()[:count]:
        values = peer(lattice, numbers, frac)
        record = {
            "lattice": lattice.tolist(),
            "numbers": numbers,
            "frac_coords": frac.tolist(),
            "values": [float(f"{value:.9g}") for value in values],
        }
        lines.append(json.dumps(record, separators=(",", ":")))
        GOLDEN.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
