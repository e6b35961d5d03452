"""What a screen is asked for, and what becomes of it once everything has been looked up.

A request holds names as the user gave them. A plan holds ids, has been checked, and is all that a
Dask worker needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.limits import Limits, limits_of
from flows.models import in_store, open_model
from flows.screen_plan import HullPlan, Plan
from flows.snapshot import open_snapshot, same_database, snapshot_of, source_of
from infra.artifact import DATA, Artifact
from infra.content import short_digest
from infra.duck import schema_of
from infra.hulls import KnownPhases
from infra.ranked import COLUMNS as RANKED
from infra.store import Store
from irnet_core.bundle import Bundle, Card
from irnet_core.errors import ScreenError, StoreError
from irnet_core.schema import FORMATION_ENERGIES, HULL_DISTANCE
from irnet_core.screening.candidates import AMOUNTS, NUMBERS
from irnet_core.screening.objectives import Aims, Objective, aims
from irnet_core.screening.ranking import GROUP
from irnet_core.screening.stability import PRODUCTS, SHARES

NONE = "none"
SMACT, COMMON = "smact", "common"
_RESERVED = {column.name for column in RANKED} | {NUMBERS, AMOUNTS, GROUP, PRODUCTS, SHARES}
_EV_ATOM = "eV/atom"


@dataclass(frozen=True)
class Request:
    """Parameters of the flow ``screen``, which documents them."""

    model: str | list[str] = "default"
    family: str = "ternaries"
    elements: list[str] | None = None
    exclude: list[str] | None = None
    contains: list[str] | None = None
    max_atoms: int = 10
    base: str | None = None
    rules: str = "strict"
    states: str | None = None
    max_price: float | None = None
    min_abundance: float | None = None
    no_toxic: bool = False
    snapshot: str | None = None
    known: list[str] | None = None
    keep_known: bool = False
    hull: bool | None = None
    self_consistent: bool = False
    fill_hulls: bool = False
    stable_below: float = 0.0
    objectives: list[str] | None = None
    constraints: list[str] | None = None
    risk: str = "mean"
    descending: bool = False
    most_per_system: int | None = None
    spread: float | None = None
    most_percentile: float | None = None
    top: int = 10_000
    force: bool = False


@dataclass(frozen=True)
class Looked:
    """A plan with what the publishing needs to know of its models.

    Attributes
    ----------
    cards : dict of str to Card
        By property.
    inputs : dict of str to str
        Ids of what the screen is made from, by role.
    """

    plan: Plan
    cards: dict[str, Card]
    inputs: dict[str, str]


def look_up(request: Request, store: Store) -> Looked:
    """Find and check everything that a request names.

    Raises
    ------
    IRNetError
        In a sentence that names what cannot be found, used, or combined.
    """
    if not math.isfinite(request.stable_below):
        raise ScreenError(f"--stable-below is {request.stable_below}: give a number in eV/atom")
    names = [request.model] if isinstance(request.model, str) else list(request.model)
    bundles: dict[str, Bundle] = {}
    ids: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        bundle, identity = open_model(name, store)
        target = bundle.card.target
        if target in bundles:
            raise ScreenError(f"two models predict {target}: name one of them")
        bundles[target], ids[target] = bundle, identity
        folders[target] = identity if in_store(identity, store) else name
    base = _snapshot(request, bundles, store)
    known = _known(request, base, store)
    hull = _hull(request, base, bundles)
    for target in bundles:
        if target in _RESERVED - ({HULL_DISTANCE.name} if hull is None else set()):
            raise ScreenError(
                f"the screen has a column {target!r} of its own, beside which nobody could tell "
                "what the model predicts: train it under another name"
            )
    limits = limits_of(
        request.family,
        elements=request.elements,
        exclude=request.exclude,
        contains=request.contains,
        max_atoms=request.max_atoms,
        base=_base(request, store),
        rules=request.rules,
        states=request.states or (SMACT if request.rules == SMACT else COMMON),
        max_price=request.max_price,
        min_abundance=request.min_abundance,
        no_toxic=request.no_toxic,
    )
    if hull is not None and request.fill_hulls:
        hull = replace(hull, filled=_filling(limits, hull, ids[hull.energy]))
    wanted = _aims(request, list(bundles), hull)
    calibrated = {name: bool(bundle.card.calibration) for name, bundle in bundles.items()}
    if hull is not None:
        calibrated[HULL_DISTANCE.name] = calibrated[hull.energy]
    wanted.check(calibrated)
    _check_what_is_kept(request, bundles)
    plan = Plan(
        store=store.root,
        models=tuple(folders.items()),
        limits=limits,
        aims=wanted,
        known=tuple(artifact.id for artifact in known),
        keep_known=request.keep_known,
        hull=hull,
        most_per_system=request.most_per_system,
        spread=request.spread,
        most_percentile=request.most_percentile,
        top=request.top,
    )
    inputs = {f"model {name}": id_ for name, id_ in ids.items()}
    inputs |= {f"known {i}": id_ for i, id_ in enumerate(plan.known)}
    if hull is not None:
        inputs["hull"] = hull.snapshot
    if limits.base is not None:
        inputs["base"] = limits.base
    return Looked(plan, {name: bundle.card for name, bundle in bundles.items()}, inputs)


def _check_what_is_kept(request: Request, bundles: dict[str, Bundle]) -> None:
    """Raise ScreenError where a limit of the hits is out of range, or no model can judge it."""
    for what, value in (("--most-per-system", request.most_per_system), ("--top", request.top)):
        if value is not None and value < 1:
            raise ScreenError(f"{what} is {value}: keep at least 1 candidate")
    if request.spread is not None and not 0 < request.spread <= 2:
        raise ScreenError(
            f"--spread is {request.spread:g}: element fractions differ by 0 to 2, give a number "
            "between"
        )
    if request.most_percentile is not None:
        if not 0 < request.most_percentile <= 100:
            raise ScreenError(f"--max-domain is {request.most_percentile:g}: give a percentile")
        if not any(bundle.card.domain for bundle in bundles.values()):
            raise ScreenError(
                "no model has statistics of its domain: train one anew, or leave out --max-domain"
            )


def _snapshot(request: Request, bundles: dict[str, Bundle], store: Store) -> Artifact | None:
    """The snapshot of known phases: the one asked for, else that of the first model's training."""
    if request.snapshot == NONE:
        return None
    if request.snapshot is not None:
        return store.open(snapshot_of(request.snapshot), "snapshots")
    card = next(iter(bundles.values())).card
    if not (own := card.data.get("snapshot")):
        return None
    try:
        return store.open(own, "snapshots")
    except StoreError as error:
        raise StoreError(
            f"snapshot {own}, which model {card.name!r} was trained on, is not in {store.root}: "
            "name another one with --snapshot, or do without known phases: --snapshot none"
        ) from error


def _base(request: Request, store: Store) -> Artifact | None:
    """The snapshot that candidates are made from, where they are."""
    if request.base is None:
        return None
    return store.open(snapshot_of(request.base), "snapshots")


def _known(request: Request, base: Artifact | None, store: Store) -> list[Artifact]:
    """Snapshots whose compositions are not new; by default that of the known phases."""
    if request.known is None:
        return [] if base is None else [base]
    return [open_snapshot(ref, store) for ref in request.known if ref != NONE]


def _hull(request: Request, base: Artifact | None, bundles: dict[str, Bundle]) -> HullPlan | None:
    """Hulls, where the snapshot has the formation energies that a model predicts."""
    if request.hull is False:
        for option, chosen in (
            ("--self-consistent", request.self_consistent),
            ("--fill-hulls", request.fill_hulls),
        ):
            if chosen:
                raise ScreenError(f"{option} wants hulls and --no-hull none: drop one")
        return None
    must = request.hull or request.self_consistent or request.fill_hulls
    if base is None:
        if must:
            raise ScreenError("there is no snapshot to take hulls from: name one with --snapshot")
        return None
    columns = schema_of(base.folder, DATA).names
    energies = {
        target: bundle.card
        for target, bundle in bundles.items()
        if bundle.card.unit == _EV_ATOM and _is_formation(target) and _column(target, columns)
    }
    if not energies:
        if must:
            raise ScreenError(
                f"{source_of(base)} has no formation energy in eV/atom that one of the models "
                f"({', '.join(bundles)}) predicts: hulls need both; name another snapshot or "
                "model, or take --no-hull"
            )
        return None
    energy, card = next(iter(energies.items()))
    if not request.force and not same_database(card, base):
        trained = card.data.get("source", "unknown data")
        raise ScreenError(
            f"model {card.name!r} was trained on {trained}, and the hulls would be of "
            f"{source_of(base)}: energies of different databases are not on one scale; name a "
            "snapshot of the model's own, or insist with --force"
        )
    phases = KnownPhases(column=str(_column(energy, columns)))
    return HullPlan(base.id, phases, energy, request.self_consistent, request.stable_below)


def _filling(limits: Limits, hull: HullPlan, model: str) -> str:
    """Digest of what says which binaries are predicted to fill the hulls."""
    if limits.family not in ("ternaries", "quaternaries"):
        raise ScreenError(
            f"--fill-hulls fills the hulls of ternaries and quaternaries, not of {limits.family}: "
            "leave it out"
        )
    elements = list(limits.elements)
    return short_digest(
        {"model": model, "elements": elements, "max_atoms": limits.max_atoms, "column": hull.energy}
    )


def _column(target: str, columns: list[str]) -> str | None:
    """The snapshot's column of what a model predicts; formation energies have two names."""
    names = FORMATION_ENERGIES if target in FORMATION_ENERGIES else ()
    return next((name for name in (target, *names) if name in columns), None)


def _is_formation(target: str) -> bool:
    """Whether a column's name says formation energy: total energies have another zero."""
    return "formation" in target or target.startswith("delta_e")


def _aims(request: Request, targets: Sequence[str], hull: HullPlan | None) -> Aims:
    """What to look for; by default stability, else small (or large) values of the first model."""
    objectives = request.objectives
    if objectives and request.descending:
        raise ScreenError("--descending goes with no --objective: say 'maximise COLUMN' in it")
    if not objectives:
        column = targets[0] if hull is None or request.descending else HULL_DISTANCE.name
        default = Objective(column, -1 if request.descending else 1)
        if request.risk == "probability" and hull is not None:
            default = Objective(column, 0, high=hull.stable_below)
        return aims([default], request.constraints or (), request.risk)
    return aims(objectives, request.constraints or (), request.risk)
