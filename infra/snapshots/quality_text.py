"""The data-quality report of a snapshot as text for people, see :mod:`infra.snapshots.quality`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from infra.snapshots import usual_elements

_SKIPPED = ("unit", "offset", "count", "reason")
_STATISTICS = ("missing", "not_finite", "min", "median", "max", "beyond_5_sigma")


def markdown(report: Mapping[str, Any]) -> str:
    """The report for people, as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    compositions = report["compositions"]
    yield f"# Data quality of {_cell(report['source'])}"
    yield ""
    yield (
        f"{report['rows']:,} rows, {compositions['distinct']:,} distinct compositions; "
        f"{report['rejected']:,} rows rejected, {len(report['skipped'])} ranges skipped."
    )
    if report["reasons"]:
        yield from _table("Rejected", ("reason", "rows"), report["reasons"].items())
    if report["skipped"]:
        rows = [[s.get(k) for k in _SKIPPED] for s in report["skipped"]]
        yield from _table("Skipped: the server could not give these rows", _SKIPPED, rows)
    if report["noted"]:
        heads = ("given for", "values")
        yield from _table("Values that could not be used", heads, report["noted"].items())
    yield from _table(
        "Columns",
        ("column", "unit", "missing", "not finite", "min", "median", "max", "beyond 5 sigma"),
        [
            [n, c["unit"], *(c.get(k, "") for k in _STATISTICS)]
            for n, c in report["columns"].items()
        ],
    )
    if report["outliers"]:
        yield from _table(
            "Outliers",
            ("column", "credible", "below", "above", "worst"),
            [
                [o["column"], o["credible"], o["below"], o["above"], "; ".join(_worst(o))]
                for o in report["outliers"]
            ],
        )
    else:
        yield from ("", "## Outliers", "", "None outside the limits.")
    yield from _table(
        "Chemical systems",
        ("elements", "rows", "systems", "compositions"),
        [[n, *counts.values()] for n, counts in report["systems"].items()],
    )
    found = ", ".join(f"{e} {n:,}" for e, n in report["elements"].items())
    missing = ", ".join(report["usual_elements_missing"]) or "none"
    yield from ("", f"## Elements: {len(report['elements'])}", "", found)
    yield from ("", f"Missing of the {len(usual_elements.USUAL)} usual ones: {missing}.")
    yield from ("", "## Repeated compositions", "")
    yield (
        f"{compositions['repeated']:,} compositions have more than one row, "
        f"{compositions['rows_beyond_the_first']:,} rows beyond the first of each."
    )
    if most := compositions["most_repeated"]:
        yield f"Most often: {', '.join(f'{c} ({n:,} rows)' for c, n in most.items())}."
    yield from _since(report["previous"])


def _worst(outlier: Mapping[str, Any]) -> list[str]:
    return [f"{w['id']} {w['formula']} {_cell(w['value'])}" for w in outlier["worst"]]


def _since(previous: Mapping[str, Any] | None) -> Iterator[str]:
    """The section on the previous snapshot."""
    yield from ("", "## Since the previous snapshot", "")
    if previous is None:
        yield "There is none of this source."
        return
    yield (
        f"Against {previous['id']}, rows matched by {previous['key']}: "
        f"{previous['added']:,} added, {previous['removed']:,} removed, "
        f"{previous['changed']:,} changed, "
        f"{previous['unchanged']:,} unchanged."
    )
    for key, (before, now) in previous["asked_differently"].items():
        yield from ("", f"The two were asked for differently: {key} was {before}, is {now}.")
    for what in ("columns_added", "columns_removed"):
        if previous[what]:
            yield from ("", f"{what.replace('_', ' ').capitalize()}: {', '.join(previous[what])}.")
    for name, (before, now) in previous["redefined"].items():
        yield from ("", f"Column {name} was {before}, is {now}.")
    if previous["columns"]:
        yield from _table(
            "Changed values",
            ("column", "unit", "rows", "emptied", "filled", "median change", "largest change"),
            [
                [name, *(c[k] for k in ("unit", "rows", "emptied", "filled", "median", "largest"))]
                for name, c in previous["columns"].items()
            ],
        )


def _table(title: str, heads: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    heads = tuple(heads)
    yield from ("", f"## {title}", "")
    for row in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(value: object) -> str:
    """A value that cannot break a table."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split()).replace("|", "\\|")
