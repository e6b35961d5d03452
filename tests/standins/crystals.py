"""Crystals for stand-ins to serve: real ones where the shared data are there, else made ones."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurizers.elements import SYMBOLS
from featurizers.formula import canonical_formulas, parse_formulas

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Crystal:
    """A structure, its sites grouped by element, and what is known of it."""

    lattice: list[list[float]]
    symbols: list[str]
    frac_coords: list[list[float]]
    name: str = ""  # identifier in the data set, if it has one
    known: dict[str, float] = field(default_factory=dict)

    @property
    def formula(self) -> str:
        """Elements in alphabetical order with their numbers in the cell."""
        return "".join(f"{s}{self.symbols.count(s)}" for s in sorted(set(self.symbols)))


@cache
def aflow_crystals(n: int) -> list[Crystal]:
    """Structures with moduli of AFLOW, and gaps and energies of the same formulas."""
    path = SHARED / "structures" / "aflow_elastic_thermal.parquet"
    if not path.exists():
        return made_crystals(n)
    columns = {"bulk_modulus_gpa": "bulk", "shear_modulus_gpa": "shear"}
    crystals = _read(path, n, columns)
    for key, file, column in (
        ("gap", "band_gap", "band_gap_ev"),
        ("energy", "energy_per_atom", "energy_ev_atom"),
    ):
        table = pq.read_table(SHARED / "aflow" / f"{file}.parquet", columns=["formula", column])
        _join(crystals, key, table["formula"].to_pylist(), table[column].to_pylist())
    return crystals


@cache
def jarvis_crystals(n: int) -> list[Crystal]:
    """Structures of JARVIS, with properties of the same formulas."""
    path = SHARED / "structures" / "jarvis_supercon.parquet"
    if not path.exists():
        return made_crystals(n)
    crystals = _read(path, n, {})
    table = pq.read_table(SHARED / "jarvis" / "properties_long.parquet")
    for key, property_ in (
        ("formation", "formation_energy"),
        ("hull", "e_above_hull"),
        ("gap", "band_gap_optb88vdw"),
        ("mbj", "band_gap_mbj"),
        ("bulk", "bulk_modulus_kv"),
        ("shear", "shear_modulus_gv"),
        ("moment", "magmom_oszicar"),
    ):
        rows = table.filter(pc.equal(table["property"].cast("string"), property_))
        _join(crystals, key, rows["formula"].to_pylist(), rows["value"].to_pylist())
    return crystals


@cache
def _canonical(formulas: tuple[str, ...]) -> list[str]:
    parsed = parse_formulas(formulas)
    return list(canonical_formulas(parsed.numbers, parsed.amounts)[0])


def _join(crystals: list[Crystal], key: str, formulas: list[str], values: list[float]) -> None:
    by_formula = dict(zip(_canonical(tuple(formulas)), values, strict=True))
    for crystal, formula in zip(
        crystals, _canonical(tuple(c.formula for c in crystals)), strict=True
    ):
        if formula in by_formula:
            crystal.known[key] = by_formula[formula]


def _read(path: Path, n: int, columns: dict[str, str]) -> list[Crystal]:
    crystals = []
    for row in pq.read_table(path).slice(0, n).to_pylist():
        sites = sorted(
            zip([SYMBOLS[z] for z in row["numbers"]], _threes(row["frac_coords"]), strict=True),
            key=lambda site: site[0],
        )
        crystals.append(
            Crystal(
                lattice=_threes(row["lattice"]),
                symbols=[symbol for symbol, _ in sites],
                frac_coords=[xyz for _, xyz in sites],
                name=row.get("jarvis_id", ""),
                known={k: row[c] for c, k in columns.items() if row[c] is not None},
            )
        )
    return crystals


def _threes(values: list[float]) -> list[list[float]]:
    return [values[i : i + 3] for i in range(0, len(values), 3)]


def made_crystals(n: int, seed: int = 1) -> list[Crystal]:
    """Structures of no meaning, the same ones for the same arguments."""
    draw = random.Random(seed)
    crystals = []
    for number in range(n):
        elements = sorted(draw.sample([*SYMBOLS[1:84]], draw.randint(1, 4)))
        symbols = [symbol for symbol in elements for _ in range(draw.randint(1, 4))]
        lattice = [[round(draw.uniform(-1, 1), 6) for _ in range(3)] for _ in range(3)]
        for i in range(3):
            lattice[i][i] = round(4 + 4 * draw.random(), 6)
        crystals.append(
            Crystal(
                lattice=lattice,
                symbols=symbols,
                frac_coords=[[round(draw.random(), 6) for _ in range(3)] for _ in symbols],
                name=f"JVASP-{100 + number}",
                known={
                    "formation": round(draw.uniform(-4, 1), 5),
                    "energy": round(draw.uniform(-9, -1), 5),
                    "hull": round(draw.uniform(0, 1), 4),
                    "gap": round(max(draw.uniform(-3, 6), 0.0), 3),
                    **({"bulk": round(draw.uniform(10, 300), 2)} if number % 3 == 0 else {}),
                    **({"shear": round(draw.uniform(10, 200), 2)} if number % 3 == 0 else {}),
                    **({"mbj": round(draw.uniform(0, 7), 3)} if number % 4 == 0 else {}),
                    **({"moment": round(draw.uniform(0, 9), 3)} if number % 2 == 0 else {}),
                },
            )
        )
    return crystals
