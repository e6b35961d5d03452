"""Does the ranking find stable compounds? Real answers, from phases that the models never saw.

(a) Materials Project: models learn the formation and the decomposition energies of the ground
states marked ``train``, the hull is theirs, and the rows marked ``val`` are hidden among generated
compositions of the same chemical systems. Three routes call a composition stable: its predicted
decomposition energy, its predicted formation energy against the hull, and the mean of both; by the
prediction alone, or by the calibrated probability.

(b) WBM: hypothetical compounds as new chemistry, errors and intervals of the formation energy.

Everything runs through the command line, in a store of its own; nothing is trained twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from featurizers.elements import has_magpie_data
from featurizers.formula import canonical_formulas, parse_formulas
from infra.screens import open_screen
from infra.store import Store
from irnet_core.screening.candidates import stoichiometries

FORMATION, DECOMPOSITION = "formation_energy_ev_atom", "decomposition_energy_ev_atom"
ABOVE = "energy_above_hull"
MAX_ATOMS = {2: 10, 3: 10, 4: 8}  # of generated compositions, by their number of elements


def tables(data: Path, folder: Path, seed: int) -> dict[str, pd.DataFrame]:
    """Write the tables of the benchmark: all rows, those of known phases, and the haystack."""
    mp = data / "mp"
    rows = pd.read_parquet(mp / "ground_state_formation_energy.parquet")
    other = pd.read_parquet(mp / "ground_state_decomposition_energy.parquet")
    rows = rows.merge(other, on=["formula", "split"], validate="one_to_one")
    train, val = (rows[rows.split == role].reset_index(drop=True) for role in ("train", "val"))
    hay = pd.DataFrame({"formula": generated(val.formula, train.formula, seed)})
    hay = pd.concat([val[["formula"]], hay], ignore_index=True)
    wbm = pd.read_parquet(data / "structures" / "wbm10k.parquet")[["formula", FORMATION]]
    wbm["formula"] = canonical(wbm.formula)
    wbm = wbm.groupby("formula", as_index=False).min()
    wbm = wbm[~wbm.formula.isin(canonical(rows.formula))].reset_index(drop=True)
    made = {"mp": rows, "known": train, "hay": hay, "wbm": wbm}
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in made.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    return made | {"val": val}


def canonical(formulas: pd.Series) -> np.ndarray:
    """Canonical compositions of formulas."""
    parsed = parse_formulas(formulas.tolist())
    return canonical_formulas(parsed.numbers, parsed.amounts)[0]


def generated(val: pd.Series, train: pd.Series, seed: int) -> np.ndarray:
    """Compositions of the chemical systems of ``val`` that no table holds."""
    numbers = np.sort(parse_formulas(val.tolist()).numbers, axis=1)[:, ::-1]  # empty slots last
    systems = np.unique(numbers, axis=0)
    usable = np.array([z == 0 or has_magpie_data(z) for z in range(256)])
    systems = systems[usable[systems].all(1)]
    found = []
    for arity, atoms in MAX_ATOMS.items():
        chosen = systems[(systems > 0).sum(1) == arity][:, :arity]
        chosen = np.random.default_rng(seed).permutation(chosen)[:1000]
        table = stoichiometries(arity, atoms)
        z = np.repeat(chosen, len(table), axis=0)
        found.append(canonical_formulas(z, np.tile(table, (len(chosen), 1)).astype(float))[0])
    every = set(np.concatenate(found).tolist())
    return np.array(sorted(every - {*canonical(val), *canonical(train)}), dtype=object)


def irnet(store: Path, *arguments: object) -> None:
    """Run the command line, its progress to the terminal."""
    environment = os.environ | {"IRNET_STORE": str(store)}
    command = [Path(sys.executable).parent / "irnet", *map(str, arguments)]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def confusion(stable: np.ndarray, called: np.ndarray) -> dict[str, float]:
    """Scores of a classification; the discovery acceleration factor is precision / prevalence."""
    hits = int((stable & called).sum())
    precision = hits / max(int(called.sum()), 1)
    recall = hits / int(stable.sum())
    return {
        "called": int(called.sum()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * hits / int(called.sum() + stable.sum()),
        "false_positive_rate": int((called & ~stable).sum()) / int((~stable).sum()),
        "acceleration": precision / stable.mean(),
    }


def best_call(probability: np.ndarray) -> np.ndarray:
    """Whom to call stable for the largest expected F1, from the probabilities alone.

    The most likely ones, down to where one more would lower 2 * sum(p called) / (called + sum(p))
    (Lipton et al. 2014, doi:10.1007/978-3-662-44851-9_15); no label is looked at.
    """
    order = np.argsort(-probability, kind="stable")
    taken = np.cumsum(probability[order])
    expected = 2 * taken / (np.arange(1, len(order) + 1) + probability.sum())
    called = np.zeros(len(order), bool)
    called[order[: int(np.argmax(expected)) + 1]] = True
    return called


def enrichment(stable: np.ndarray, order: np.ndarray) -> dict[str, float]:
    """Stable ones among the first of a ranking, and how many times more than by chance."""
    found: dict[str, float] = {}
    for k in (100, 1000):
        share = stable[order[:k]].mean()
        found[f"top {k}"] = float(share)
        found[f"top {k}, times chance"] = float(share / stable.mean())
    return found


def discovery(store: Path, folder: Path, made: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Part (a)."""
    every = len(made["hay"])
    shared = (
        "screen", "list", "--from", folder / "hay.parquet", "--rules", "none", "--keep-known",
        "--model", "mp-formation", "--model", "mp-decomposition", "--force",
        "--snapshot", folder / "known.parquet", "--known", "none", "--top", every,
    )  # fmt: skip
    scores: dict[str, pd.Series] = {}
    for name, objective in (("direct", f"{DECOMPOSITION} <= 0"), ("hull", f"{ABOVE} <= 0")):
        irnet(store, *shared, "--objective", objective, "--risk", "probability")
        frame = open_screen("latest", Store(store)).pandas().set_index("formula")
        scores[name] = np.exp(-frame["score"])
    hay = pd.DataFrame(
        {
            "direct": frame[DECOMPOSITION],
            "hull": frame[ABOVE],
            "p_direct": scores["direct"].reindex(frame.index),
            "p_hull": scores["hull"],
        }
    )
    hay["both"] = (hay.direct + hay.hull) / 2
    hay["p_both"] = (hay.p_direct + hay.p_hull) / 2
    val = made["val"].assign(formula=canonical(made["val"].formula)).set_index("formula")
    hay = hay.join(val[[FORMATION, DECOMPOSITION]])
    stable = (hay[DECOMPOSITION] <= 0).to_numpy()  # generated ones have no answer: not counted in
    answered = hay[hay[DECOMPOSITION].notna()]
    truth = (answered[DECOMPOSITION] <= 0).to_numpy()
    found: dict[str, Any] = {
        "val": len(answered),
        "stable": int(truth.sum()),
        "hidden among": len(hay),
        "mae": {
            "decomposition energy": float((answered.direct - answered[DECOMPOSITION]).abs().mean()),
            "against the hull": float((answered.hull - answered[DECOMPOSITION]).abs().mean()),
            "mean of both": float((answered.both - answered[DECOMPOSITION]).abs().mean()),
        },
        "routes": {},
    }
    for route in ("direct", "hull", "both"):
        chance = answered[f"p_{route}"].to_numpy()
        for how, called, column, sign in (
            ("prediction", (answered[route] <= 0).to_numpy(), route, 1),
            ("probability", best_call(chance), f"p_{route}", -1),
        ):
            within = np.argsort(sign * answered[column].to_numpy(), kind="stable")
            among = np.argsort(sign * hay[column].to_numpy(), kind="stable")
            found["routes"][f"{route}, {how}"] = {
                **confusion(truth, called),
                **{f"val, {k}": v for k, v in enrichment(truth, within).items()},
                **{f"hidden, {k}": v for k, v in enrichment(stable, among).items()},
            }
    return found


def new_chemistry(store: Path, folder: Path, wbm: pd.DataFrame) -> dict[str, float]:
    """Part (b)."""
    output = folder / "wbm_predicted.parquet"
    irnet(store, "predict", "--model", "mp-formation", "--input", folder / "wbm.parquet",
          "--output", output)  # fmt: skip
    frame = pd.read_parquet(output)
    frame = frame[frame.prediction.notna()]
    error = (frame.prediction - frame[FORMATION]).abs()
    inside = (frame[FORMATION] >= frame.lower_90) & (frame[FORMATION] <= frame.upper_90)
    far = frame.domain_percentile > 99
    return {
        "compositions": len(frame),
        "mae": float(error.mean()),
        "median error": float(error.median()),
        "inside the 90 % interval": float(inside.mean()),
        "mean width of the interval": float((frame.upper_90 - frame.lower_90).mean()),
        "beyond percentile 99 of the domain": float(far.mean()),
        "mae there": float(error[far].mean()),
        "rank correlation of error and std": float(
            error.corr(frame.prediction_std, method="spearman")
        ),
    }


def report(figures: dict[str, Any]) -> None:
    """Print the figures as tables."""
    console = Console(width=120)
    a = figures["materials project"]
    table = Table("", *a["routes"], title=f"{a['val']:,} val rows, {a['stable']:,} stable, hidden "
                  f"among {a['hidden among']:,} compositions")  # fmt: skip
    for key in next(iter(a["routes"].values())):
        values = (route[key] for route in a["routes"].values())
        table.add_row(key, *(f"{v:,}" if isinstance(v, int) else f"{v:.3f}" for v in values))
    console.print(table)
    for title, part in (("MAE, eV/atom", a["mae"]), ("WBM", figures["wbm"])):
        table = Table(title, "")
        for key, value in part.items():
            table.add_row(key, f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("build/discovery"))
    parser.add_argument("--network", default="irnet-elements")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("build/bench_discovery.json"))
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    store = folder / "store"
    made = tables(arguments.data, folder, arguments.seed)
    for name, target in (("mp-formation", FORMATION), ("mp-decomposition", DECOMPOSITION)):
        irnet(store, "train", "--data", folder / "mp.parquet", "--target", target,
              "--split-column", "split", "--members", arguments.members,
              "--network", arguments.network, "--epochs", arguments.epochs,
              "--seed", arguments.seed, "--name", name)  # fmt: skip
    figures = {
        "network": arguments.network,
        "members": arguments.members,
        "epochs": arguments.epochs,
        "materials project": discovery(store, folder, made),
        "wbm": new_chemistry(store, folder, made["wbm"]),
    }
    report(figures)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
