"""Explain one prediction: what moved it, what is known nearby, and what it would decompose into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from featurizers.blocks import BLOCKS, encode, without_data
from featurizers.elements import SYMBOLS
from featurizers.formula import canonical_formulas, parse_formulas
from featurizers.hulls import MAX_ELEMENTS
from flows.models import input_blocks, open_model
from flows.snapshot import open_snapshot, same_database, source_of
from infra.artifact import DATA, Artifact
from infra.duck import schema_of
from infra.hulls import KnownPhases, snapshot_facets
from infra.ranked import decompositions
from infra.screens import open_screen
from infra.settings import settings
from infra.store import Store
from irnet_core.bundle import Bundle
from irnet_core.errors import DataError, FormulaError, StoreError
from irnet_core.explain import Attribution, attribution, nearest
from irnet_core.inference import Predictor
from irnet_core.scaling import Scaler
from irnet_core.schema import COMPOSITION, FORMATION_ENERGIES, FORMULA
from irnet_core.screening.hull import Hull

CHUNK = 16_384


@dataclass(frozen=True)
class Neighbour:
    """A known compound close by.

    Attributes
    ----------
    formula : str
        Canonical.
    distance : float
        Root mean square of the differences of scaled inputs, 0 for the compound itself.
    value : float or None
        The target in the snapshot, the mean where there are several rows.
    rows : int
        Rows of this composition.
    """

    formula: str
    distance: float
    value: float | None
    rows: int


@dataclass(frozen=True)
class Explanation:
    """What is known of one prediction.

    Attributes
    ----------
    formula, target, unit, model : str
    prediction : float
        As ``irnet predict`` gives it, in full precision.
    std, lower, upper : float or None
        Standard deviation and ends of the 90 % interval, where the model is calibrated.
    attribution : Attribution
        Shares of the inputs, which sum to the prediction, before the target's bounds, less that of
        the baseline.
    baseline : str
        What the baseline is.
    inputs : list of str
        Names of the inputs, ``values`` and ``means`` their values here and at the baseline.
    snapshot : str
        Id of the snapshot, empty if none was found.
    neighbours : list of Neighbour
    hull, above : float or None
        Energy of the known phases' hull at the composition in eV/atom, and the prediction less it
        if that is a formation energy.
    decomposition : str
        Products on the hull with their shares of the atoms.
    ranked : dict
        The row of the screen, empty if it holds none.
    notes : list of str
        What could not be said, and why.
    """

    formula: str
    target: str
    unit: str
    model: str
    prediction: float
    std: float | None
    lower: float | None
    upper: float | None
    attribution: Attribution
    baseline: str
    inputs: list[str]
    values: np.ndarray
    means: np.ndarray
    snapshot: str = ""
    neighbours: list[Neighbour] = field(default_factory=list)
    hull: float | None = None
    above: float | None = None
    decomposition: str = ""
    ranked: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def explain(
    formula: str,
    model: str = "default",
    snapshot: str | None = None,
    screen: str | None = None,
    neighbours: int = 5,
    energies: str | None = None,
) -> Explanation:
    """Explain what a model predicts for a formula.

    Parameters
    ----------
    formula : str
    model : str
        Name or id in the store, or a bundle's folder.
    snapshot : str, optional
        Whose rows are the known compounds; by default those the model was trained on.
    screen : str, optional
        Name or id of a screen, to show its row of the formula.
    neighbours : int
        Known compounds to name at most.
    energies : str, optional
        The snapshot's column of formation energies in eV/atom, for the convex hull; by default one
        of :data:`irnet_core.schema.FORMATION_ENERGIES`.

    Returns
    -------
    Explanation
        What is known; its ``notes`` say what could not be told, and why.

    Raises
    ------
    FormulaError
        If the formula cannot be read, or an element has no data.
    FeatureSchemaError, ModelError, StoreError
        If model, snapshot or screen cannot be used.
    """
    store = Store(settings().store)
    numbers, amounts, canonical = _composition(formula)
    bundle, identity = open_model(model, store)
    blocks = input_blocks(bundle)
    x = np.asarray(encode(numbers, amounts, blocks))
    center = bundle.inputs.center.numpy()
    scaled = bool(np.any(center)) or bool((bundle.inputs.scale != 1).any())
    notes: list[str] = []
    source = _snapshot(store, snapshot, bundle, notes)
    near, hull, above, products = [], None, None, ""
    found = Predictor(bundle, precision="fp32").predict(x)
    prediction = float(found.mean[0])
    std, lower, upper = (
        None if part is None else float(part[0])
        for part in (found.std, found.lower_90, found.upper_90)
    )
    share = attribution(bundle, x[0])
    if bundle.target.bounds is not None and prediction in bundle.target.bounds:
        notes.append(
            f"the shares lead to {share.prediction:.4f}: the prediction is kept at the bound of "
            "the training rows"
        )
    if source is not None:
        near = _neighbours(source, bundle, x[0], blocks, neighbours, scaled, notes)
        column = _energies(source, energies, notes)
        if column is not None:
            hull, products = _hull(store, source, column, numbers, amounts, notes)
        if hull is not None and {bundle.card.target, column} <= {column, *FORMATION_ENERGIES}:
            above = prediction - hull
            if not same_database(bundle.card, source):
                trained = bundle.card.data.get("source", "unknown data")
                notes.append(
                    f"the model was trained on {trained}, the hull is of {source_of(source)}: "
                    "energies of different databases are not on one scale"
                )
    return Explanation(
        formula=canonical,
        target=bundle.card.target,
        unit=bundle.card.unit,
        model=f"{bundle.card.name} ({identity})",
        prediction=prediction,
        std=std,
        lower=lower,
        upper=upper,
        attribution=share,
        baseline="what it says of the training rows' mean inputs" if scaled else "all inputs 0",
        inputs=[name for block in blocks for name in BLOCKS[block].schema.columns],
        values=x[0],
        means=center,
        snapshot="" if source is None else source.id,
        neighbours=near,
        hull=hull,
        above=above,
        decomposition=products,
        ranked={} if screen is None else _ranked(store, screen, numbers, canonical, notes),
        notes=notes,
    )


def _composition(formula: str) -> tuple[np.ndarray, np.ndarray, str]:
    parsed = parse_formulas([formula])
    if reason := (parsed.reasons | without_data(parsed.numbers)).get(0):
        raise FormulaError(f"formula {formula!r:.60} cannot be used ({reason}): correct it")
    spelled, reduced = canonical_formulas(parsed.numbers, parsed.amounts)
    return parsed.numbers, reduced.astype(np.float64), str(spelled[0])


def _snapshot(
    store: Store, snapshot: str | None, bundle: Bundle, notes: list[str]
) -> Artifact | None:
    if snapshot is not None:
        return open_snapshot(snapshot, store)
    if not (own := bundle.card.data.get("snapshot")):
        notes.append("the model names no snapshot: name one with --snapshot for known compounds")
        return None
    try:
        return store.open(own, "snapshots")
    except StoreError:
        notes.append(
            f"snapshot {own}, which the model was trained on, is not in the store: name another "
            "one with --snapshot for known compounds"
        )
        return None


def _neighbours(
    source: Artifact,
    bundle: Bundle,
    x: np.ndarray,
    blocks: Sequence[str],
    n: int,
    scaled: bool,
    notes: list[str],
) -> list[Neighbour]:
    target = bundle.card.target
    there = target in schema_of(source.folder, DATA).names
    table = source.read_table(DATA, [COMPOSITION.name, *([target] if there else [])])
    if not there:
        notes.append(f"snapshots/{source.id} has no column {target}: compounds without values")
    wanted = [(target, "mean")] if there else []
    groups = table.group_by(COMPOSITION.name, use_threads=False).aggregate(
        [*wanted, (COMPOSITION.name, "count")]
    )
    formulas = groups.column(COMPOSITION.name)

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, groups.num_rows, CHUNK):
            parsed = parse_formulas(formulas.slice(start, CHUNK).to_pylist())
            inputs = np.asarray(encode(parsed.numbers, parsed.amounts, blocks))
            unusable = [*parsed.reasons, *without_data(parsed.numbers)]
            inputs[unusable] = np.nan
            yield inputs

    scaler = bundle.inputs
    if not scaled:  # a network of raw inputs: the spread of the first rows stands for that of all
        first = next(chunks())
        scaler = Scaler.standard(first[np.isfinite(first).all(1)])
    rows, distances = nearest(x, chunks(), scaler, n)
    found = groups.take(pa.array(rows)).to_pylist()
    return [
        Neighbour(
            formula=row[COMPOSITION.name],
            distance=float(distance),
            value=row.get(f"{target}_mean"),
            rows=row[f"{COMPOSITION.name}_count"],
        )
        for row, distance in zip(found, distances, strict=True)
    ]


def _energies(source: Artifact, wanted: str | None, notes: list[str]) -> str | None:
    """The column of formation energies, if the snapshot has one."""
    there = schema_of(source.folder, DATA).names
    if wanted is not None and wanted not in there:
        raise DataError(
            f"there is no such column, take one of {', '.join(there)}",
            source=f"snapshots/{source.id}",
            column=wanted,
        )
    found = [wanted] if wanted else [name for name in FORMATION_ENERGIES if name in there]
    if not found:
        notes.append(
            f"snapshots/{source.id} has no {' or '.join(FORMATION_ENERGIES)}: name the column of "
            "formation energies with --energies for the convex hull"
        )
        return None
    return found[0]


def _hull(
    store: Store,
    source: Artifact,
    column: str,
    numbers: np.ndarray,
    amounts: np.ndarray,
    notes: list[str],
) -> tuple[float | None, str]:
    """Energy of the hull at the composition and its products, as far as the snapshot allows."""
    if (numbers > 0).sum() > MAX_ELEMENTS:
        notes.append(f"no convex hull of more than {MAX_ELEMENTS} elements")
        return None, ""
    try:
        facets = snapshot_facets(store, source, numbers, KnownPhases(column))
    except DataError as error:  # a table without a single energy
        notes.append(f"no convex hull: {error}")
        return None, ""
    hull = Hull(facets)
    products = hull.products(numbers, amounts)
    text = decompositions(facets.phases, products.phases.numpy(), products.fractions.numpy())
    return float(hull.energies(numbers, amounts)[0]), str(text[0].as_py())


def _ranked(
    store: Store, screen: str, numbers: np.ndarray, formula: str, notes: list[str]
) -> dict[str, object]:
    """Row of a screen; its chemical system leads to the few row groups that can hold it."""
    opened = open_screen(screen, store)
    rows = opened.top(
        1,
        elements=[SYMBOLS[z] for z in numbers[0] if z],
        only=True,
        where=f"{FORMULA.name} = '{formula}'",
    )
    if not rows.num_rows:
        notes.append(f"screens/{opened.manifest.id} does not hold {formula}")
        return {}
    return dict(rows.to_pylist()[0])
