"""The paper's figures of a study, as PNG: error against depth, against size, validation curves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infra.drawing import finish, panels, png
from infra.study.statements import comparable, paper_networks
from irnet_core.notation import FAMILIES, NAMED

DEPTH, SIZE, CURVES = "depth.png", "size.png", "curves.png"
_COLOURS = {"plain": "#b3432b", "srnet": "#c9962b", "irnet": "#1f5fa8"}
_LABELS = {"plain": "plain", "srnet": "SRNet", "irnet": "IRNet"}
_MOST_PANELS, _MOST_CURVES = 6, 3


def figures(results: pd.DataFrame, curves: pd.DataFrame) -> dict[str, bytes]:
    """PNG files by name, those for which there are results.

    Parameters
    ----------
    results : pandas.DataFrame
        Columns of :data:`infra.study.columns.RESULTS`.
    curves : pandas.DataFrame
        Columns of :data:`infra.study.columns.CURVES`.
    """
    done = comparable(results)
    drawn = {DEPTH: _depth(done), SIZE: _size(done), CURVES: _curves(done, curves)}
    return {name: png(figure) for name, figure in drawn.items() if figure is not None}


def _depth(done: pd.DataFrame) -> Figure | None:
    several = (found for found in _panels(paper_networks(done)) if found[1].depth.nunique() > 1)
    shown = list(several)[:_MOST_PANELS]
    if not shown:
        return None
    figure, axes = panels(len(shown))
    for axis, (key, cells) in zip(axes, shown, strict=False):
        for family in FAMILIES:
            line = cells[cells.learner == family].sort_values("depth")
            if len(line):
                axis.plot(
                    line.depth,
                    line.mae,
                    marker="o",
                    color=_COLOURS[family],
                    label=_LABELS[family],
                )
        axis.set_xticks(sorted(cells.depth.unique()))
        _finish(axis, key, "layers", cells.unit.iloc[0])
    return figure


def _size(done: pd.DataFrame) -> Figure | None:
    shown = [
        (f"{data}, {inputs}", cells)
        for (data, inputs), cells in done.groupby(["data", "inputs"])
        if cells.rows_at_hand.nunique() > 1
    ]
    if not shown:
        return None
    # those with most sizes say most
    shown = sorted(shown, key=lambda found: (-found[1].rows_at_hand.nunique(), found[0]))
    shown = shown[:_MOST_PANELS]
    figure, axes = panels(len(shown))
    for axis, (key, cells) in zip(axes, shown, strict=False):
        single = cells[cells.members == 1]
        for family in FAMILIES:
            _best(axis, _alike(single[single.learner == family]), family, _COLOURS[family])
        for name in NAMED:
            _best(axis, _alike(single[single.learner == name]), name, "#2a8f5c")
        _best(axis, cells[cells.classical], "best classical", "#444444")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.tick_params(axis="y", which="both", labelsize=7)
        sizes = sorted(cells.rows_at_hand.unique())
        axis.set_xticks(sizes, [f"{int(n):,}" for n in sizes])
        axis.set_xticks([], minor=True)
        _finish(axis, key, "training rows", cells.unit.iloc[0])
    return figure


def _curves(done: pd.DataFrame, curves: pd.DataFrame) -> Figure | None:
    nets = paper_networks(done)
    nets = nets[nets.cell.isin(curves.cell)]
    shown = sorted(_panels(nets), key=lambda found: (-len(found[1]), found[0]))[:_MOST_CURVES]
    if not shown:
        return None
    figure, axes = panels(len(shown))
    for axis, (key, cells) in zip(axes, shown, strict=False):
        depths = sorted(cells.depth.unique())
        for _, cell in cells.sort_values(["learner", "depth"]).iterrows():
            line = curves[curves.cell == cell.cell]
            styles = ["-", "--", "-.", ":"]
            axis.plot(
                line.epoch,
                line.mae,
                styles[depths.index(cell.depth) % 4],
                color=_COLOURS[cell.learner],
                linewidth=1,
                label=cell["name"],
            )
        _finish(axis, key, "epoch", cells.unit.iloc[0])
        top = float(np.nanquantile(curves[curves.cell.isin(cells.cell)].mae, 0.9))
        low = float(cells.mae.min())
        axis.set_ylim(low * 0.9, max(top, low * 1.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(fontsize=6, ncols=2, framealpha=0.5)
    return figure


def _panels(nets: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Cells that differ in family and depth alone, with a title."""
    if nets.empty:  # pandas cannot group nothing by columns that may be blank
        return
    keys = ["data", "inputs", "budget_rows", "recipe", "budget_epochs"]
    for (data, inputs, _, recipe, epochs), cells in nets.groupby(keys, dropna=False):
        rows = int(cells.train_rows.max())
        budget = "" if pd.isna(epochs) else f", {int(epochs)} epochs"
        yield f"{data}, {inputs}\n{rows:,} rows, {recipe}{budget}", cells


def _alike(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells of the depth, recipe and epochs that were run at most sizes.

    Others at other sizes would mislead.
    """
    if cells.empty:
        return cells
    budgets = list(cells.groupby(["depth", "recipe", "budget_epochs"], dropna=False))
    return max(budgets, key=lambda found: found[1].rows_at_hand.nunique())[1]


def _best(axis: Axes, cells: pd.DataFrame, label: str, colour: str) -> None:
    if len(cells):
        label = label if cells.depth.isna().any() else f"{label}-{int(cells.depth.iloc[0])}"
        best = cells.loc[cells.groupby("rows_at_hand").mae.idxmin()].sort_values("rows_at_hand")
        axis.plot(best.rows_at_hand, best.mae, marker="o", color=colour, label=label)


def _finish(axis: Axes, title: str, x: str, unit: str) -> None:
    finish(axis, title, x, f"validation MAE, {unit}")
