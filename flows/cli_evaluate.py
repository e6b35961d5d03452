"""The command ``irnet evaluate``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from flows.cli_models import FormulaColumn
from flows.output import decimals, one_sentence, out, output_path, say, user_file
from irnet_core.schema import FORMULA


def evaluate(
    model: Annotated[
        list[str],
        typer.Option(help="Name or id of a model, or the folder of a bundle; may be repeated."),
    ],
    data: Annotated[
        str, typer.Option(help="CSV or Parquet table with known values, or a snapshot.")
    ],
    target: Annotated[str, typer.Option(help="Column of the known values.")],
    rows: Annotated[
        str | None,
        typer.Option(
            help="Rule as in irnet train --hold-out, such as given:split or cluster:5/2, whose "
            "validation rows are judged; without it, all are."
        ),
    ] = None,
    below: Annotated[
        float | None,
        typer.Option(help="Judge also without rows whose value is further from 0 than this."),
    ] = None,
    formula_column: FormulaColumn = FORMULA.name,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the rule, as in training.")
    ] = 0,
    output: Annotated[str | None, typer.Option(help="File of all figures, .json.")] = None,
    figure: Annotated[
        str | None,
        typer.Option(help="Picture, .png: error along the domain, and what intervals cover."),
    ] = None,
) -> None:
    """Judge models on rows with known values, side by side with what they cost.

    Errors, what intervals really cover, the error along the domain, size and speed. It warns where
    a model has met the rows in training.

    For example `irnet evaluate --model gaps --data new.csv --target gap_ev`.
    """
    from flows.evaluate import evaluate as work

    with one_sentence():
        path = None if output is None else output_path(output, ".json")
        picture = None if figure is None else output_path(figure, ".png")
        found = work(model, data, target, formula_column, rows, below, seed)
        if path is not None:
            with user_file(path) as file:
                file.write(json.dumps(found, indent=2).encode() + b"\n")
        if picture is not None:
            from flows.evaluate_figure import figure as draw

            with user_file(picture) as file:
                file.write(draw(found))
    for note in found["notes"]:
        say("warning:", "yellow", note)
    show(found)
    if path is not None:
        out.print(f"all figures -> {path}", soft_wrap=True)
    if picture is not None:
        out.print(f"picture -> {picture}", soft_wrap=True)


def show(found: dict[str, Any]) -> None:
    """Print what :func:`flows.evaluate.evaluate` found."""
    counts, unit = found["counts"], found["unit"]
    left = {
        "outside the rule": counts["outside_rule"],
        "without features": counts["without_features"],
        "without a value": counts["without_value"],
    }
    more = ", ".join(f"{number:,} {what}" for what, number in left.items() if number)
    of = f", of {counts['table']:,} ({more})" if more else ""
    rule = f", {found['rule']}" if found["rule"] else ""
    out.print(
        f"{found['target']} of {found['data']}{rule}: {counts['judged']:,} rows{of}", soft_wrap=True
    )
    out.print(_errors(found, "all", f"errors in {unit}"))
    if found["below"] is not None:
        gone = counts["judged"] - counts["within_below"]
        title = f"without {gone:,} rows beyond ±{found['below']:g} {unit}"
        out.print(_errors(found, "below", title))
    models = found["models"]
    if any(one["all"]["coverage"] for one in models):
        out.print(_intervals(models, unit))
    if any(one["all"]["domain"] for one in models):
        out.print(_domain(models, unit))
    out.print(_costs(models))


def _table(title: str, first: str, *numbers: str) -> Table:
    """Begin a table, whose title goes out at once."""
    out.print(title, style="bold", soft_wrap=True)  # a table's own title wraps at its width
    table = Table(first, box=box.SIMPLE_HEAD)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.columns[0].overflow = "fold"  # no name is cut off
    return table


def _lines(models: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each model, and below an ensemble its first member."""
    lines = []
    for one in models:
        lines.append((one["label"], one))
        if one["single"]:
            lines.append(("  single", one["single"]))
    return lines


def _errors(found: dict[str, Any], which: str, title: str) -> Table:
    table = _table(title, "model", "MAE", "RMSE", "R2", "networks", "rows/s")
    for label, one in _lines(found["models"]):
        figures, cost = one[which], one["cost"]
        errors = (decimals(figures[key]) for key in ("mae", "rmse", "r2"))
        table.add_row(label, *errors, str(cost["members"]), f"{cost['rows_per_second']:,.0f}")
    median = found["models"][0][which]["mae_of_median"]
    table.add_row("always their median", f"{median:.4f}")
    return table


def _intervals(models: list[dict[str, Any]], unit: str) -> Table:
    levels = [f"{100 * level:.0f} %" for level in _levels(models)]
    title = "rows that intervals cover, in %, and mean width of the 90 % interval"
    table = _table(title, "model", *levels, f"width, {unit}")
    for one in models:
        if coverage := one["all"]["coverage"]:
            width = next(entry["mean_width"] for entry in coverage if entry["level"] == 0.9)
            shares = (f"{100 * entry['covered']:.1f}" for entry in coverage)
            table.add_row(one["label"], *shares, f"{width:.4f}")
    return table


def _levels(models: list[dict[str, Any]]) -> list[float]:
    coverage = next(one["all"]["coverage"] for one in models if one["all"]["coverage"])
    return [entry["level"] for entry in coverage]


def _domain(models: list[dict[str, Any]], unit: str) -> Table:
    known = [one for one in models if one["all"]["domain"]]
    title = f"MAE by percentile of the training rows' distance, {unit} (rows)"
    table = _table(title, "percentile", *(one["label"] for one in known))
    bins = [{entry["from"]: entry for entry in one["all"]["domain"]} for one in known]
    ends = {entry["from"]: entry["to"] for found in bins for entry in found.values()}
    for start, end in sorted(ends.items()):
        cells = [found.get(start) for found in bins]
        texts = (f"{cell['mae']:.4f} ({cell['rows']:,})" if cell else "" for cell in cells)
        table.add_row(f"{start:.0f} to {end:.0f}", *texts)
    return table


def _costs(models: list[dict[str, Any]]) -> Table:
    first = models[0]["cost"]
    count = first["threads"]
    threads = f", {count} thread{'s'[: count > 1]}" if first["device"] == "cpu" else ""
    title = f"cost; rows/s of the networks alone, measured now on {first['device']}{threads}"
    table = _table(title, "model", "networks", "parameters", "weights, MB", "products", "rows/s")
    for label, one in _lines(models):
        cost = one["cost"]
        table.add_row(
            label,
            str(cost["members"]),
            f"{cost['parameters']:,}",
            f"{cost['weights_bytes'] / 1e6:.2f}",
            cost["products"],
            f"{cost['rows_per_second']:,.0f}",
        )
    return table
