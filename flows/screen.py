"""Flow ``screen``: rank generated compositions with a trained model.

The enumeration is cut into shards of candidate indices. Each finished shard leaves its best
candidates in the staging folder, so a run after a kill goes on with the next shard, and the
merged ranking does not depend on where it was interrupted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import flow

from featurizers.blocks import BLOCKS, encode
from featurizers.elements import SYMBOLS, TABLE_SHA256, Z_OF, element_data, has_magpie_data
from featurizers.formula import canonical_formulas, parse_formulas
from flows.models import open_model
from flows.progress import progress, say
from flows.stage import stage
from infra.compute import use_threads
from infra.manifest import request_digest, utc_now
from infra.settings import settings
from infra.snapshot import DATA
from infra.store import Artifact, Staging, Store
from irnet_core.bundle import Bundle
from irnet_core.device import pick_device
from irnet_core.errors import ScreenError
from irnet_core.inference import Predictor
from irnet_core.schema import (
    CANDIDATE,
    CHEMICAL_SYSTEM,
    COMPOSITION,
    FORMULA,
    N_ATOMS,
    OXIDATION_STATES,
    PREDICTION,
    RANK,
    arrow_schema,
)
from irnet_core.screening.candidates import Enumeration
from irnet_core.screening.engine import RULE_SETS, Funnel, Screen
from irnet_core.screening.known import KnownCompositions
from irnet_core.screening.ranking import TopK
from irnet_core.screening.rules import RULES, ElementRules

RANKED = "ranked.parquet"
FAMILIES = {"binaries": 2, "ternaries": 3, "quaternaries": 4}
SHARD = 1_048_576  # candidates generated per shard
RANKED_COLUMNS = (
    RANK,
    CANDIDATE,
    FORMULA,
    CHEMICAL_SYSTEM,
    N_ATOMS,
    PREDICTION,
    OXIDATION_STATES,
)


@dataclass(frozen=True)
class Limits:
    """What is screened, as the manifest records it."""

    family: str
    elements: tuple[int, ...]
    max_atoms: int
    rules: str
    top: int
    descending: bool

    @property
    def candidates(self) -> Enumeration:
        """All candidates, in their order."""
        return Enumeration(self.elements, FAMILIES[self.family], self.max_atoms)

    def parameters(self) -> dict[str, Any]:
        """For people and for the request digest."""
        return asdict(self) | {
            "elements": [SYMBOLS[z] for z in self.elements],
            "rules": {name: RULES[name] for name in RULE_SETS[self.rules]},
            "element_table": TABLE_SHA256,
            "shard": SHARD,
        }


def limits_of(
    known: Artifact | None,
    family: str,
    elements: list[str] | None,
    exclude: list[str] | None,
    max_atoms: int,
    rules: str,
    top: int,
    descending: bool,
) -> Limits:
    """Check what the user asked for; by default the elements are those of the known compounds.

    Raises
    ------
    ScreenError
        Naming the element or limit that cannot be used.
    """
    if family not in FAMILIES:
        raise ScreenError(f"there is no family {family!r}: choose among {', '.join(FAMILIES)}")
    if rules not in RULE_SETS:
        raise ScreenError(f"there are no rules {rules!r}: choose among {', '.join(RULE_SETS)}")
    if top < 1:
        raise ScreenError(f"--top is {top}: keep at least 1 candidate")
    for symbol in (*(elements or ()), *(exclude or ())):
        if symbol not in Z_OF:
            raise ScreenError(f"there is no element {symbol!r}: write symbols such as Li,Fe,O")
        if not has_magpie_data(Z_OF[symbol]):
            raise ScreenError(f"there is no Magpie data for element {symbol!r}: leave it out")
    both = set(elements or ()) & set(exclude or ())
    if both:
        raise ScreenError(f"{', '.join(sorted(both))} is in --elements and in --exclude")
    if elements:
        chosen = {Z_OF[symbol] for symbol in elements}
    elif known is not None:
        chosen = _elements_of(known)
    else:
        raise ScreenError("name --elements: there is no snapshot to take them from")
    chosen -= {Z_OF[symbol] for symbol in exclude or ()}
    limits = Limits(family, tuple(sorted(chosen)), max_atoms, rules, top, descending)
    if not len(limits.candidates):
        raise ScreenError("these limits leave no candidate: allow more elements or atoms")
    return limits


def _compositions(known: Artifact) -> tuple[np.ndarray, np.ndarray]:
    formulas = known.read_table(DATA, [COMPOSITION.name]).column(COMPOSITION.name)
    parsed = parse_formulas(formulas.unique().to_pylist())
    return parsed.numbers, parsed.amounts.astype(np.int64)  # canonical amounts are whole


def _elements_of(known: Artifact) -> set[int]:
    """Elements of a snapshot that have data, but for the noble gases, which bond to nothing."""
    noble = {Z_OF[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")}
    present = set(np.unique(_compositions(known)[0]).tolist()) - {0} - noble
    return {z for z in present if has_magpie_data(z)}


def _prepare(bundle: Bundle, known: Artifact | None, limits: Limits) -> Screen:
    data = element_data()
    blocks = [block["name"] for block in bundle.card.inputs]
    bundle.check_inputs([BLOCKS[name].schema for name in blocks if name in BLOCKS])
    device = pick_device(settings().device)
    return Screen(
        candidates=limits.candidates,
        rules=RULE_SETS[limits.rules],
        elements=ElementRules(data.oxidation_states, data.oxidation_counts, data.electronegativity),
        known=None if known is None else KnownCompositions(*_compositions(known)),
        encode=lambda numbers, amounts: encode(numbers, amounts.astype(np.float64), blocks),
        predictor=Predictor(bundle, device),
        top=limits.top,
        descending=limits.descending,
    )


def _shards(screen: Screen, staging: Staging, update: Any) -> tuple[TopK, Funnel]:
    """Run all shards that are not there yet and merge them."""
    total = len(screen.candidates)
    best, funnel = TopK(screen.top, screen.descending), Funnel()
    for start in range(0, total, SHARD):
        stop = min(start + SHARD, total)
        name = f"shard-{start // SHARD:06d}.parquet"
        if not staging.has(name):
            found, counts = screen.run(
                start,
                stop,
                lambda done, start=start: update(start + done, f"{funnel.predicted:,} predicted"),
            )
            staging.write_table(name, _shard_table(found, counts))
        table = staging.read_table(name)
        funnel += Funnel(**json.loads(table.schema.metadata[b"funnel"]))
        columns = {c: _array(table.column(c)) for c in table.column_names}
        best.push(columns.pop(PREDICTION.name), columns.pop(CANDIDATE.name), **columns)
        update(stop, f"{funnel.predicted:,} predicted")
    return best, funnel


def _shard_table(best: TopK, funnel: Funnel) -> pa.Table:
    arrays = {
        name: pa.array(values)
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        for name, values in best.table().items()
        if name != RANK.name  # a shard's own ranks mean nothing once it is merged
    }
    return pa.table(arrays).replace_schema_metadata({"funnel": json.dumps(asdict(funnel))})


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """Column of numbers (n,) or of lists of one length (n, length)."""
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    flat = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(-1, column.type.list_size)


def ranked_table(best: TopK, screened: bool) -> pa.Table:
    """The table that users query: best first, with formulas and, under rules, charges."""
    rows = best.table()
    numbers, amounts = rows["numbers"], rows["amounts"]
    formulas, _ = canonical_formulas(numbers, amounts.astype(np.float64))
    symbols = np.array(SYMBOLS, dtype=object)[numbers]  # (n, arity)
    # the formula's elements are in alphabetical order, the arrays' in order of atomic number
    order = np.argsort(symbols.astype(str), axis=1)
    symbols = np.take_along_axis(symbols, order, axis=1)
    states = np.take_along_axis(rows["oxidation_states"], order, axis=1)
    columns = {
        RANK.name: np.arange(1, len(formulas) + 1),
        CANDIDATE.name: rows[CANDIDATE.name],
        FORMULA.name: formulas,
        CHEMICAL_SYSTEM.name: ["-".join(row) for row in symbols],
        N_ATOMS.name: amounts.sum(axis=1),
        PREDICTION.name: rows[PREDICTION.name],
        OXIDATION_STATES.name: states.tolist() if screened else [None] * len(formulas),
    }
    return pa.table(
        [pa.array(columns[column.name], column.type) for column in RANKED_COLUMNS],
        schema=arrow_schema(RANKED_COLUMNS),
    )


@stage("screen")
def screen_stage(
    model: str,
    known: str | None,
    family: str,
    elements: list[str] | None,
    exclude: list[str] | None,
    max_atoms: int,
    rules: str,
    top: int,
    descending: bool,
) -> str:
    """Publish a ranked table; returns its id."""
    store = Store(settings().store)
    bundle, model_id = open_model(model, store)
    known = known or bundle.card.data.get("snapshot")
    snapshot = None if known in (None, "none") else store.open(known, "snapshots")
    limits = limits_of(
        snapshot, family, elements, exclude, max_atoms, rules, top, descending
    )
    inputs = {"model": model_id} | ({"known": snapshot.id} if snapshot else {})
    request = request_digest("screens", inputs, limits.parameters())
    if found := store.find("screens", request):
        store.name(found)
        return found.id
    started = utc_now()
    screen = _prepare(bundle, snapshot, limits)
    total = len(screen.candidates)
    use_threads(settings())
    say(
        f"screen {total:,} {family} of {len(limits.elements)} elements with up to {max_atoms} "
        f"atoms, rules: {', '.join(RULE_SETS[rules]) or 'none'}"
    )
    with store.staging("screens", request) as staging, progress("screen", total) as update:
        best, funnel = _shards(screen, staging, update)
        if not funnel.predicted:
            raise ScreenError(
                f"no candidate is left of {funnel.generated:,}: {funnel.after_rules:,} pass the "
                f"rules, {funnel.after_known:,} of them are new; allow more elements or atoms, or "
                "take --rules none"
            )
        staging.write_table(RANKED, ranked_table(best, bool(screen.rules)), row_group_size=10_000)
        return store.publish(
            staging,
            [RANKED],
            what=f"{family.capitalize()} ranked by {bundle.card.name} ({bundle.card.target})",
            inputs=inputs,
            parameters=limits.parameters()
            | {"target": bundle.card.target, "unit": bundle.card.unit},
            rows=min(top, funnel.predicted),
            counts=asdict(funnel),
            licence=bundle.card.data.get("licence", ""),
            citation=bundle.card.data.get("citation", ""),
            started=started,
        ).id


@flow(name="screen")
def screen(
    model: str = "default",
    family: str = "ternaries",
    elements: list[str] | None = None,
    exclude: list[str] | None = None,
    max_atoms: int = 10,
    top: int = 10_000,
    rules: str = "strict",
    known: str | None = None,
    descending: bool = False,
) -> str:
    """Rank generated compositions by what a model predicts for them.

    Parameters
    ----------
    model : str
        Name or id of a model in the store, or the folder of a bundle.
    family : str
        One of :data:`FAMILIES`.
    elements, exclude : list of str, optional
        Symbols; by default the elements of the known compounds, without noble gases.
    max_atoms : int
        Most atoms in a reduced formula.
    top : int
        Candidates to keep.
    rules : str
        One of :data:`irnet_core.screening.engine.RULE_SETS`.
    known : str, optional
        Snapshot whose compositions are left out, ``none`` for none; by default the one the model
        was trained on.
    descending : bool
        Whether large predictions are best.

    Returns
    -------
    str
        Id of the screen.
    """
    return screen_stage(
        model, known, family, elements, exclude, max_atoms, rules, top, descending
    )
