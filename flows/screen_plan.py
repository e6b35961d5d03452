"""A screen that can be run, as workers are handed it; they have no need of Prefect to read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from flows.limits import Limits
from infra.hulls import KnownPhases
from irnet_core.screening.objectives import Aims


@dataclass(frozen=True)
class HullPlan:
    """Which hulls candidates are held against.

    Attributes
    ----------
    snapshot : str
        Id of the snapshot whose rows are the known phases.
    phases : KnownPhases
    energy : str
        The predicted property that is the formation energy.
    self_consistent : bool
        Whether the candidates' own predictions are part of the hulls.
    stable_below : float
        Energy above the hull in eV/atom that counts as stable.
    filled : str
        Digest of what says which predicted binaries fill the hulls, see
        :mod:`featurizers.filled`; empty where none do.
    """

    snapshot: str
    phases: KnownPhases
    energy: str
    self_consistent: bool
    stable_below: float
    filled: str = ""


@dataclass(frozen=True)
class Plan:
    """A screen that can be run: by the engine's words, with ids instead of names.

    Attributes
    ----------
    store : str
        Root of the store.
    models : tuple of (str, str)
        Each property that is predicted and its model: an id, or the folder of a bundle.
    limits : Limits
    aims : Aims
    known : tuple of str
        Ids of snapshots whose compositions are known.
    """

    store: str
    models: tuple[tuple[str, str], ...]
    limits: Limits
    aims: Aims
    known: tuple[str, ...]
    keep_known: bool
    hull: HullPlan | None
    most_per_system: int | None
    spread: float | None
    most_percentile: float | None
    top: int

    @property
    def pool(self) -> int:
        """Candidates kept until the ranking is whole: a spread chooses among more."""
        return self.top if self.spread is None else 10 * self.top

    def parameters(self) -> dict[str, Any]:
        """For people and for the request digest."""
        hull = None if self.hull is None else asdict(self.hull) | {"energies": "eV/atom"}
        return {
            **self.limits.parameters(),
            **self.aims.describe(),
            "keep_known": self.keep_known,
            "hull": hull,
            "most_per_system": self.most_per_system,
            "spread": self.spread,
            "most_percentile": self.most_percentile,
            "top": self.top,
        }
