"""The report of a study: one Markdown page of what was measured, and of what was not."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from infra.study.figures import CURVES, DEPTH, SIZE
from infra.study.statements import BANDS, TIE, comparable, paper_networks, recommendations, verdicts

REPORT_VERSION = 5  # raised when the same results would be shown otherwise
_CAPTIONS = {
    DEPTH: "Error against depth for plain networks, SRNet and IRNet",
    SIZE: "Error against training size: one depth of each family, and the best classical learner",
    CURVES: "Validation error over the epochs",
}


def page(title: str, results: pd.DataFrame, images: Collection[str]) -> str:
    """The page as Markdown.

    Parameters
    ----------
    title : str
    results : pandas.DataFrame
        Columns of :data:`infra.study.columns.RESULTS`.
    images : collection of str
        Names of the figures that lie beside the page.
    """
    done = comparable(results)
    counts = results.status.value_counts()
    said = ", ".join(f"{counts.get(s, 0)} {s}" for s in ("done", "not run", "failed"))
    parts = [
        f"# {title}",
        f"{len(results)} cells: {said}. Errors are mean absolute errors on validation rows. A "
        "network keeps the epoch that did best on these rows, as in the paper, or the last one "
        "where folds judge; classical learners choose their hyper-parameters on training rows "
        "alone. Each cell is one run with one seed: differences of a few percent mean little. "
        "Times are of a machine that may have had other work.",
        "## What holds",
        *_statements(results),
        "## Recommended learner by training rows",
        _table(recommendations(results)),
        "\nNetworks and classical learners are compared where both were run on the same rows. A "
        f"learner wins where its error is at most {TIE:.0%} above the smallest; of those that win "
        "as often, the one that is nearest to the smallest errors is recommended.",
        "## Figures",
        *(f"![{_CAPTIONS[name]}]({name})\n\n*{_CAPTIONS[name]}*" for name in sorted(images)),
        "## Table 1: depth",
        _depth_table(done),
        "## Table 2: classical learners and networks",
        _learner_table(done),
        "## Table 3: composition, structure, both",
        _inputs_table(done),
        *_published(done),
        "## Budgets, and what was not run",
        *_budgets(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _statements(results: pd.DataFrame) -> Iterable[str]:
    for verdict in verdicts(results):
        lines = "".join(f"\n  - {line}" for line in verdict.evidence)
        yield f"- **{verdict.statement}: {verdict.holds}.**{lines}"


def _depth_table(done: pd.DataFrame) -> str:
    nets = paper_networks(done)
    if nets.empty:
        return "Not run."
    wide = nets.pivot_table(
        index=["data", "inputs", "train_rows", "recipe", "budget_epochs", "unit", "learner"],
        columns="depth",
        values="mae",
        aggfunc="first",
        dropna=False,
        observed=True,
    ).dropna(how="all")
    wide.columns = [f"{int(depth)} layers" for depth in wide.columns]
    flat = wide.reset_index()
    flat["budget_epochs"] = flat.budget_epochs.map(_own)
    return _table(flat)


def _learner_table(done: pd.DataFrame) -> str:
    if done.empty:
        return "Not run."
    wanted = done.sort_values(["data", "inputs", "rows_at_hand", "mae"])
    flat = wanted[
        [
            *("data", "inputs", "rows_at_hand", "name", "recipe", "budget_epochs", "train_rows"),
            *("mae", "rmse", "r2", "seconds", "unit"),
        ]
    ].copy()
    few = flat.train_rows < flat.rows_at_hand
    flat["train_rows"] = [
        f"{int(n):,}{' (sample)' if sampled else ''}"
        for n, sampled in zip(flat.train_rows, few, strict=True)
    ]
    epochs = flat.budget_epochs.map(_own)
    flat["budget_epochs"] = epochs.where(flat.recipe.notna(), "")
    flat["recipe"] = flat.recipe.fillna("")
    flat["seconds"] = flat.seconds.round(1)
    return _table(flat)


def _inputs_table(done: pd.DataFrame) -> str:
    several = done.groupby("data").inputs.transform("nunique") > 1
    if not several.any():
        return "Not run on more than one kind of input."
    chosen = done[several].copy()
    chosen["budget_epochs"] = chosen.budget_epochs.map(_own).where(chosen.recipe.notna(), "")
    chosen["recipe"] = chosen.recipe.fillna("")
    wide = chosen.pivot_table(
        index=["data", "budget_rows", "name", "recipe", "budget_epochs", "unit"],
        columns="inputs",
        values="mae",
        aggfunc="first",
    ).reset_index()
    wide["budget_rows"] = wide.budget_rows.map(lambda n: "all" if n < 0 else f"{n:,}")
    return _table(wide)


def _published(done: pd.DataFrame) -> Iterable[str]:
    beside = done[done.peer_mae.notna() & ~done.classical]
    if beside.empty:
        return
    yield "## Beside published errors"
    yield (
        "The best model published on the table, judged on its `test` rows or folds; ours on the "
        "rows that validate. `ratio` below 1 is the smaller error."
    )
    ordered = beside.sort_values(["data", "mae"])
    shown = ["data", "name", "train_rows", "budget_epochs", "seconds", "single_mae", "mae"]
    flat = ordered[[*shown, "peer", "peer_mae", "unit"]].copy()
    flat["train_rows"] = flat.train_rows.astype(int)
    flat["budget_epochs"] = flat.budget_epochs.map(_own)
    flat["seconds"] = flat.seconds.round()
    flat["ratio"] = (flat.mae / flat.peer_mae).round(3)
    yield _table(flat)


def _own(epochs: float) -> str:
    """A budget of epochs, which may be the recipe's own."""
    return "own" if pd.isna(epochs) else f"{int(epochs)}"


def _budgets(results: pd.DataFrame) -> Iterable[str]:
    yield (
        "`budget_rows` and `budget_epochs` of each cell stand in results.parquet and results.csv; "
        "an empty one is no limit. "
        f"Sizes below {BANDS[0][1]:,} rows count as tiny, from {BANDS[-1][0]:,} on as large."
    )
    missing = results[results.status != "done"].copy()
    if missing.empty:
        yield "Every cell of the grid was run."
        return
    counted = (
        missing.assign(budget_rows=missing.budget_rows.map(_or_all))
        .groupby(["status", "data", "inputs", "budget_rows", "reason"], sort=False)
        .learner.agg(lambda names: ", ".join(dict.fromkeys(names)))
        .reset_index()
        .rename(columns={"learner": "learners"})
    )
    yield _table(counted)


def _or_all(rows: float | None) -> str:
    return "all" if rows is None or pd.isna(rows) else f"{int(rows):,}"


def _table(frame: pd.DataFrame) -> str:
    """A data frame as a Markdown table."""
    head = "| " + " | ".join(str(name).replace("_", " ") for name in frame.columns) + " |"
    rule = "|" + "---|" * len(frame.columns)
    lines = [
        "| " + " | ".join(_cell(value) for value in row) + " |"
        for row in frame.itertuples(index=False)
    ]
    return "\n".join([head, rule, *lines])


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    if isinstance(value, float):
        return f"{int(value):,}" if value.is_integer() and abs(value) >= 10 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")
