"""The command ``irnet screen``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from flows.output import one_sentence, out, rejected
from infra.settings import settings

_WHAT, _RULES, _HULL, _RANKING = (
    "What is screened",
    "Rules",
    "Known phases and stability",
    "Ranking",
)


def screen(
    family: Annotated[
        str,
        typer.Argument(
            help="binaries, ternaries, quaternaries; substitutions into known compounds; or list, "
            "your own compositions."
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or id of a model, or the folder of a bundle; repeat it for more properties. "
            "The model 'default' if nothing is said."
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(
            help="Symbols, such as Li,Fe,O; by default all with Magpie data but the radioactive "
            "ones and the noble gases.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(help="Symbols to leave out, such as Tc,U.", rich_help_panel=_WHAT),
    ] = None,
    contains: Annotated[
        str | None,
        typer.Option(
            help="Symbols that each candidate must have, all of them.", rich_help_panel=_WHAT
        ),
    ] = None,
    max_atoms: Annotated[
        int, typer.Option(help="Most atoms in a reduced formula.", rich_help_panel=_WHAT)
    ] = 10,
    base: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Snapshot or table: what substitutions start from, or the list of candidates.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    rules: Annotated[
        str,
        typer.Option(
            help="strict (neutral, electronegativity order), neutral, permissive (mixed valence "
            "and intermetallics too), intermetallic, smact (as SMACT decides), or none.",
            rich_help_panel=_RULES,
        ),
    ] = "strict",
    states: Annotated[
        str | None,
        typer.Option(
            help="Table of oxidation states: common, or smact, which goes with the rules smact.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    max_price: Annotated[
        float | None,
        typer.Option(help="Most that the elements may cost, USD/kg.", rich_help_panel=_RULES),
    ] = None,
    min_abundance: Annotated[
        float | None,
        typer.Option(
            help="Least abundance of each element in the Earth's crust, ppm by mass.",
            rich_help_panel=_RULES,
        ),
    ] = None,
    no_toxic: Annotated[
        bool,
        typer.Option("--no-toxic", help="Leave out toxic elements.", rich_help_panel=_RULES),
    ] = False,
    snapshot: Annotated[
        str | None,
        typer.Option(
            help="Snapshot or table of the known phases, or none; by default the one the first "
            "model was trained on.",
            rich_help_panel=_HULL,
        ),
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(
            help="Snapshot whose compositions are not new, instead of --snapshot; may be repeated; "
            "or none.",
            rich_help_panel=_HULL,
        ),
    ] = None,
    keep_known: Annotated[
        bool,
        typer.Option(
            "--keep-known", help="Flag known compositions, do not drop them.", rich_help_panel=_HULL
        ),
    ] = False,
    hull: Annotated[
        bool | None,
        typer.Option(
            "--hull/--no-hull",
            help="Hold candidates against convex hulls; by default, if snapshot and model have the "
            "same formation energy.",
            rich_help_panel=_HULL,
        ),
    ] = None,
    self_consistent: Annotated[
        bool,
        typer.Option(
            "--self-consistent",
            help="Put the candidates' own predictions into the hulls.",
            rich_help_panel=_HULL,
        ),
    ] = False,
    fill_hulls: Annotated[
        bool,
        typer.Option(
            "--fill-hulls",
            help="Put predicted binaries into the hulls where they surely lie below the known "
            "phases: a table that lacks YF3 makes every fluoride of yttrium look stable.",
            rich_help_panel=_HULL,
        ),
    ] = False,
    stable_below: Annotated[
        float,
        typer.Option(
            help="Energy above the hull, eV/atom, that counts as stable.", rich_help_panel=_HULL
        ),
    ] = 0.0,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Let model and hulls be of different databases.",
            rich_help_panel=_HULL,
        ),
    ] = False,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="'minimise energy_above_hull', 'maximise bulk_modulus_gpa per 50', "
            "'band_gap_ev in 1.1..1.7'; may be repeated, then each with its step (per).",
            rich_help_panel=_RANKING,
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as 'energy_above_hull <= 0.1'; may be repeated.", rich_help_panel=_RANKING
        ),
    ] = None,
    risk: Annotated[
        str,
        typer.Option(
            help="mean, bound (the worse end of the 90 % interval), or probability (of meeting "
            "all objectives).",
            rich_help_panel=_RANKING,
        ),
    ] = "mean",
    descending: Annotated[
        bool,
        typer.Option(
            "--descending",
            help="Large predictions of the first model are best, where no objective is given.",
            rich_help_panel=_RANKING,
        ),
    ] = False,
    most_per_system: Annotated[
        int | None,
        typer.Option(help="Candidates of one chemical system at most.", rich_help_panel=_RANKING),
    ] = None,
    spread: Annotated[
        float | None,
        typer.Option(
            help="Least difference of element fractions between candidates, 0 to 2.",
            rich_help_panel=_RANKING,
        ),
    ] = None,
    max_domain: Annotated[
        float | None,
        typer.Option(
            help="Drop candidates further from the training data than this percentile of it; "
            "beyond 99 they are flagged.",
            rich_help_panel=_RANKING,
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(help="Candidates to keep.", rich_help_panel=_RANKING)
    ] = 10_000,
) -> None:
    """Rank generated compositions: `irnet screen ternaries --model default --max-atoms 8`.

    Against the known phases of a snapshot each candidate gets its energy above the hull, what it
    decomposes into, and the probability that it is stable. A screen that was killed goes on with
    the shards that are missing.
    """
    from flows.screen import screen as flow
    from flows.stage import run

    with one_sentence():
        id_ = run(
            flow,
            model=model or "default",
            family=family,
            elements=symbols(elements),
            exclude=symbols(exclude),
            contains=symbols(contains),
            max_atoms=max_atoms,
            base=base,
            rules=rules,
            states=states,
            max_price=max_price,
            min_abundance=min_abundance,
            no_toxic=no_toxic,
            snapshot=snapshot,
            known=known,
            keep_known=keep_known,
            hull=hull,
            self_consistent=self_consistent,
            fill_hulls=fill_hulls,
            stable_below=stable_below,
            objectives=objective,
            constraints=constraint,
            risk=risk,
            descending=descending,
            most_per_system=most_per_system,
            spread=spread,
            most_percentile=max_domain,
            top=top,
            force=force,
        )
        show(id_, 20)


def symbols(text: str | None) -> list[str] | None:
    """Element symbols in a text such as ``Li,Fe,O``."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def show(id_: str, rows: int) -> None:
    """Print the head of a ranked table, its funnel and its path."""
    from infra.screens import RANKED, open_screen
    from infra.store import Store
    from irnet_core.schema import DECOMPOSITION, FORMULA, HULL_DISTANCE, P_STABLE, RANK, SCORE, STD

    store = Store(settings().store)
    screen = open_screen(id_, store)
    manifest = screen.manifest
    units: dict[str, str] = manifest.parameters["units"]
    head = screen.top(rows)
    # a single objective is the score
    alone = len(manifest.parameters["objectives"]) == 1 and manifest.parameters["risk"] == "mean"
    numbers = [*([] if alone else [SCORE.name]), *units, P_STABLE.name]
    numbers = [name for name in numbers if name in head.column_names]
    more = [DECOMPOSITION.name] if DECOMPOSITION.name in head.column_names else []
    table = Table(RANK.name, FORMULA.name, *(_title(name, units) for name in numbers), *more)
    for column in table.columns[2 : 2 + len(numbers)]:
        column.justify = "right"
    for row in head.to_pylist():
        values = (_with_std(row, name, STD) for name in numbers)
        table.add_row(str(row[RANK.name]), row[FORMULA.name], *values, *(row[n] for n in more))
    out.print(table)
    if base := manifest.inputs.get("base"):
        rejected(store.open(base, "snapshots"))
    objectives = manifest.parameters["objectives"] + manifest.parameters["constraints"]
    out.print(f"ranked by: {'; '.join(objectives)} (risk: {manifest.parameters['risk']})")
    out.print(funnel(manifest.counts), soft_wrap=True)
    if HULL_DISTANCE.name not in units:
        out.print("without hulls: a low energy alone says nothing of stability")
    out.print(f"ranked table: {screen.artifact.path(RANKED)}", soft_wrap=True)


def funnel(counts: dict[str, int]) -> str:
    """The counts of a screen as a sentence, step by step."""
    steps = [f"{counts['generated']:,} generated"]
    for name, count in counts.items():
        step = name.removeprefix("after_").replace("_", " ")
        if name.startswith("after_") and step not in ("known", "constraints", "domain"):
            steps.append(f"{count:,} pass {step}")
    if counts.get("known"):
        steps.append(f"{counts['known']:,} of them are known")
    steps.append(f"{counts['predicted']:,} were predicted")
    if counts["not_finite"]:
        steps.append(f"{counts['not_finite']:,} of these have no finite score")
    if counts["after_domain"] < counts["predicted"] - counts["not_finite"]:
        steps.append(f"{counts['after_domain']:,} meet the constraints")
    return ", ".join(steps) + f"; {counts['kept']:,} kept"


def _with_std(row: dict[str, Any], name: str, suffix: str) -> str:
    if row[name] is None:
        return ""
    std = row.get(name + suffix)
    return f"{row[name]:.3f}" + ("" if std is None else f" ± {std:.3f}")


def _title(name: str, units: dict[str, str]) -> str:
    return f"{name}\n{units[name]}" if name in units else name
