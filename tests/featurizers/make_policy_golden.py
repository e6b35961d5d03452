"""Write ``policy_golden.json``: matminer's attributes where element properties are missing.

Run by hand as ``PYTHONPATH=tests python tests/featurizers/make_policy_golden.py``, with matminer
installed. Formulas and crystals are invented; each is there with gaps imputed (policy
``matminer``) and left as they are (policy ``nan``, null in the file).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from benchmarks.peers import composition_peer, structure_peer

GOLDEN = Path(__file__).with_name("policy_golden.json")

FORMULAS = [
    "Fe2O3", "NaCl", "H", "C60", "Sm2Co17", "UO2", "Ag0.5GePb1.75S4", "YBa2Cu3O6.93", "CrMnFeCoNi",
    "LiNa2BeMg3BAlCSiNPOSFClKCaScTiZnGa0.5", "HeNe", "ArF2", "Ar2Na", "KrF2", "XeF6", "RnO",
    "FrCl", "AtH", "BkCl3", "CfO2", "EsN", "LrF3", "RfCl4", "CnO2",
]  # fmt: skip

CRYSTALS = [  # cesium chloride and perovskite with elements that lack a property
    (4.1, [18, 17], [[0.0, 0, 0], [0.5, 0.5, 0.5]]),
    (4.3, [87, 85], [[0.0, 0, 0], [0.48, 0.5, 0.5]]),
    (3.9, [98, 56, 8, 8, 8], [[0.5] * 3, [0.0, 0, 0], [0.5, 0, 0.01], [0, 0.5, 0], [0, 0, 0.5]]),
]


def rounded(values: np.ndarray) -> list[float | None]:
    """Nine digits, more than float32 has."""
    return [None if np.isnan(value) else float(f"{value:.9g}") for value in values]


def main() -> None:
    """Compute and write."""
    golden: dict[str, dict[str, list]] = {}
    for policy in ("matminer", "nan"):
        compositions = composition_peer(impute=policy == "matminer")(FORMULAS)
        crystals = structure_peer(impute=policy == "matminer")
        golden[policy] = {
            "formulas": [rounded(row) for row in compositions],
            "crystals": [
                rounded(crystals(edge * np.eye(3), numbers, frac))
                for edge, numbers, frac in CRYSTALS
            ],
        }
    content = {"formulas": FORMULAS, "crystals": CRYSTALS, **golden}
    text = json.dumps(content, separators=(",", ":")).replace("],", "],\n")
    GOLDEN.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
