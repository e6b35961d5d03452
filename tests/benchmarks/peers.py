"""Matminer's featurizers behind the 145 and the 126 attributes, as tests and benchmarks call them.

Matminer is imported when a peer is made, so that whoever does not ask for one need not have it.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featurizers.composition import FEATURE_NAMES
from featurizers.segments import SITE_STATISTICS
from featurizers.structure import FEATURE_NAMES_STRUCTURE


def composition_peer(impute: bool = True) -> Callable[[list[str]], np.ndarray]:
    """A function from formulas to the 145 attributes (n, 145), with gaps imputed or NaN."""
    from matminer.featurizers.base import MultipleFeaturizer
    from matminer.featurizers.composition import (
        ElementProperty,
        IonProperty,
        Stoichiometry,
        ValenceOrbital,
    )
    from pymatgen.core import Composition

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = MultipleFeaturizer(
            [
                Stoichiometry(),
                ElementProperty.from_preset("magpie", impute_nan=impute),
                ValenceOrbital(props=["avg"], impute_nan=impute),
                IonProperty(fast=True, impute_nan=impute),
            ]
        )
    if tuple(peer.feature_labels()) != FEATURE_NAMES:
        raise ValueError("this version of matminer has other composition attributes")

    def featurize(formulas: list[str]) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noble gases have no electronegativity
            return np.array([peer.featurize(Composition(f)) for f in formulas], np.float64)

    return featurize


def structure_peer(impute: bool = True) -> Callable[[Any, Any, Any], np.ndarray]:
    """A function from lattice, numbers and fractional coordinates to the 126 attributes (126,)."""
    from matminer.featurizers.base import MultipleFeaturizer
    from matminer.featurizers.site import LocalPropertyDifference
    from matminer.featurizers.structure import (
        ChemicalOrdering,
        MaximumPackingEfficiency,
        SiteStatsFingerprint,
        StructuralHeterogeneity,
    )
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = MultipleFeaturizer(
            [
                SiteStatsFingerprint.from_preset("CoordinationNumber_ward-prb-2017"),
                StructuralHeterogeneity(),
                ChemicalOrdering(),
                MaximumPackingEfficiency(),
                # SiteStatsFingerprint's preset of this name, which knows no gaps
                SiteStatsFingerprint(
                    LocalPropertyDifference.from_preset("ward-prb-2017", impute_nan=impute),
                    stats=SITE_STATISTICS,
                ),
            ]
        )
    # without the two ranges that the publication does not have
    columns = [peer.feature_labels().index(name) for name in FEATURE_NAMES_STRUCTURE]
    if columns != sorted(columns):
        raise ValueError("this version of matminer orders the structure attributes differently")

    def featurize(lattice: Any, numbers: Any, frac_coords: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.array(peer.featurize(Structure(lattice, numbers, frac_coords)))[columns]

    return featurize


def structure_values(structures: dict[str, Any], cache: Path | None = None) -> dict[str, Any]:
    """Matminer's values or error, and processor seconds, of each structure, small ones first.

    Parameters
    ----------
    structures : dict
        By name, as :func:`benchmarks.samples.load_structures` gives them.
    cache : Path, optional
        File of JSON lines that is read first and grows with each structure, so that a run that
        was stopped goes on.

    Returns
    -------
    dict of str to dict
        By name, in the order of `structures`: ``values`` (126,) or ``error``, and ``seconds``.
    """
    known: dict[str, Any] = {}
    if cache and cache.exists():
        lines = cache.read_text(encoding="utf-8").splitlines()
        known = {record["key"]: record for record in map(json.loads, lines)}
    peer = structure_peer()
    for key in sorted(structures.keys() - known.keys(), key=lambda k: (len(structures[k][1]), k)):
        start = time.process_time()
        record: dict[str, Any] = {"key": key}
        try:
            record["values"] = peer(*structures[key]).tolist()
        except (RuntimeError, ValueError) as error:  # infinite cells, no neighbours
            record["error"] = str(error)
        record["seconds"] = time.process_time() - start
        known[key] = record
        if cache:
            with cache.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
    return {key: known[key] for key in structures}
