"""The paper's statements, each held against the results of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from infra.study.classical import CLASSICAL
from irnet_core.notation import FAMILIES, NAMED

LARGE_ROWS = 50_000
SMALL_ROWS = 5_000
CUT = 1 / 3
TIE = 0.02
"""Relative differences up to this, between single runs, are none."""
IRNETS = ("irnet", *NAMED)
LINEAR = ("linear", "ridge", "elastic-net", "sgd")
BANDS = ((0, 2_000), (2_000, 10_000), (10_000, LARGE_ROWS), (LARGE_ROWS, 10**9))

# Learners are compared where they were asked for the same rows of the same data.
GROUP = ["data", "inputs", "budget_rows"]


@dataclass(frozen=True)
class Verdict:
    """A statement and what the results say about it."""

    statement: str
    holds: str
    evidence: tuple[str, ...]


def comparable(results: pd.DataFrame) -> pd.DataFrame:
    """Finished cells, with their classes and the names of networks with their depths."""
    done = results[(results.status == "done") & results.mae.notna()].copy()
    done["classical"] = done.learner.isin(CLASSICAL)
    depth = done.depth.map(lambda layers: "" if pd.isna(layers) else f"-{int(layers)}")
    several = done.members.map(lambda members: f" ({members}x)" if members > 1 else "")
    done["name"] = done.learner + depth + several
    done["budget_rows"] = done.budget_rows.fillna(-1).astype(int)  # -1: all
    return done


def paper_networks(done: pd.DataFrame) -> pd.DataFrame:
    """Cells of single networks of the paper's families."""
    return done[done.learner.isin(FAMILIES) & (done.members == 1)]


def groups(done: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Name, training rows and cells of each group of comparable cells."""
    for (data, inputs, _), cells in done.groupby(GROUP, sort=True):
        rows = int(cells.rows_at_hand.max())
        yield f"{data}, {inputs}, {rows:,} rows", rows, cells


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """All statements, each held against a table of :data:`infra.study.columns.RESULTS`."""
    done = comparable(results)
    return [
        _judge("Plain networks get worse with depth", _plain, done),
        _judge("IRNet does not get worse with depth", _irnet, done),
        _judge(
            f"IRNet cuts the best classical error by a third or more from {LARGE_ROWS:,} training "
            "rows on",
            _cut,
            done,
        ),
        _judge(
            f"On a few thousand rows (up to {SMALL_ROWS:,}) the classical learners win",
            _small,
            done,
        ),
    ]


def recommendations(results: pd.DataFrame) -> pd.DataFrame:
    """Which learner does best for a number of training rows.

    Returns
    -------
    pandas.DataFrame
        ``rows``, ``recommended`` and ``won``, the comparisons in which each learner came within
        :data:`TIE` of the smallest error; bands where networks and classical learners were not
        both run have no recommendation.
    """
    found = []
    every = [(rows, cells) for _, rows, cells in groups(comparable(results)) if _both(cells)]
    for low, high in BANDS:
        inside = [_relative(cells) for rows, cells in every if low <= rows < high]
        label = f"from {low:,}" if high == BANDS[-1][1] else f"{low:,} to {high:,}"
        if not inside:
            found.append({"rows": label, "recommended": "not run", "won": ""})
            continue
        errors = pd.concat(inside, axis=1)  # by name; blank where a learner was not run
        wins = (errors <= 1 + TIE).sum(axis=1)
        # names last: the index is sorted, and so is what is equal otherwise
        ranked = pd.DataFrame({"wins": wins, "error": errors.mean(axis=1)}).sort_index()
        ranked = ranked.sort_values(["wins", "error"], ascending=[False, True], kind="stable")
        won = ranked.wins[ranked.wins > 0]
        told = "; ".join(f"{name} {n} of {len(inside)}" for name, n in won.items())
        found.append({"rows": label, "recommended": ranked.index[0], "won": told})
    return pd.DataFrame(found)


def _relative(cells: pd.DataFrame) -> pd.Series:
    """Smallest error of each learner, by its name, over the smallest of all."""
    errors = cells.groupby("name").mae.min()
    return errors / errors.min()


Judge = Callable[[str, int, pd.DataFrame], Iterator[tuple[bool, str]]]


def _judge(statement: str, judge: Judge, done: pd.DataFrame) -> Verdict:
    found = [line for name, rows, cells in groups(done) for line in judge(name, rows, cells)]
    if not found:
        return Verdict(statement, "not run", ())
    held = sum(ok for ok, _ in found)
    word = {len(found): "holds", 0: "does not hold"}.get(held, "holds in part")
    return Verdict(
        statement, f"{word} ({held} of {len(found)} comparisons)", tuple(text for _, text in found)
    )


def _plain(name: str, rows: int, cells: pd.DataFrame) -> Iterator[tuple[bool, str]]:
    yield from _depth(name, cells, "plain", lambda change: change > TIE)


def _irnet(name: str, rows: int, cells: pd.DataFrame) -> Iterator[tuple[bool, str]]:
    yield from _depth(name, cells, "irnet", lambda change: change <= TIE)


def _depth(
    name: str, cells: pd.DataFrame, family: str, fine: Callable[[float], bool]
) -> Iterator[tuple[bool, str]]:
    nets = paper_networks(cells)
    nets = nets[nets.learner == family]
    if nets.empty:  # pandas cannot group nothing by columns that may be blank
        return
    for (recipe, epochs), run in nets.groupby(["recipe", "budget_epochs"], dropna=False):
        run = run.sort_values("depth")
        if run.depth.nunique() < 2:
            continue
        first, last = run.iloc[0], run.iloc[-1]
        change = last.mae / first.mae - 1
        budget = f"{recipe}, " + ("own epochs" if pd.isna(epochs) else f"{int(epochs)} epochs")
        yield (
            fine(change),
            f"{name} ({budget}): {first['name']} {first.mae:.4f}, {last['name']} {last.mae:.4f} "
            f"{last.unit} ({change:+.0%})",
        )


def _both(cells: pd.DataFrame) -> bool:
    """Whether networks and classical learners, not only linear ones, can be compared."""
    curved = cells.classical & ~cells.learner.isin(LINEAR)
    return bool(cells.learner.isin(IRNETS).any() and curved.any())


def _contest(name: str, cells: pd.DataFrame, irnets_only: bool) -> tuple[float, str]:
    nets = cells[cells.learner.isin(IRNETS) if irnets_only else ~cells.classical]
    classical = cells[cells.classical]
    net, other = nets.loc[nets.mae.idxmin()], classical.loc[classical.mae.idxmin()]
    cut = 1 - net.mae / other.mae
    seen = f" on {other.train_rows:,.0f} rows" if other.train_rows < other.rows_at_hand else ""
    return cut, (
        f"{name}: best {'IRNet' if irnets_only else 'network'} {net['name']} {net.mae:.4f}, best "
        f"classical {other['name']}{seen} {other.mae:.4f} {net.unit} (cut {cut:+.0%})"
    )


def _cut(name: str, rows: int, cells: pd.DataFrame) -> Iterator[tuple[bool, str]]:
    if rows >= LARGE_ROWS and _both(cells):
        cut, text = _contest(name, cells, True)
        yield cut >= CUT, text


def _small(name: str, rows: int, cells: pd.DataFrame) -> Iterator[tuple[bool, str]]:
    if rows <= SMALL_ROWS and _both(cells):
        cut, text = _contest(name, cells, False)
        yield cut < -TIE, text
