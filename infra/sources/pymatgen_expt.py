"""Measured formation enthalpies that come with pymatgen: 2,135 inorganic solids.

The file ``exp_compounds.json.gz`` is the set that the Materials Project's energy corrections were
fitted to (doi:10.1038/s41598-021-94550-5), compiled from Kubaschewski's "Materials Thermochemistry"
(1993), the NIST-JANAF tables (doi:10.18434/T42S31) and Kim et al. (doi:10.1038/sdata.2017.162). It
gives standard formation enthalpies at 298 K and their uncertainties in eV per formula unit; here
both are divided by the number of atoms in the formula.
"""

from __future__ import annotations

import gzip
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa

from featurizers.formula import parse_formulas
from infra.content import file_digest
from irnet_core.errors import SourceError
from irnet_core.schema import (
    FORMATION_ENERGY,
    FORMATION_ENERGY_UNCERTAINTY,
    FORMULA,
    SOURCE_ID,
    arrow_schema,
)

_FILE = "exp_compounds.json.gz"
_PACKAGES = ("pymatgen", "pymatgen-core")  # parts of pymatgen move to the latter
_REMEDY = "install pymatgen anew"


class PymatgenExpt:
    """The measured formation enthalpies in the installed pymatgen."""

    name = "pymatgen-expt"
    what = "Measured standard formation enthalpies of inorganic solids, from pymatgen."
    licence = "MIT, as part of pymatgen; terms of the tables it was compiled from not established"
    citation = (
        "A. Wang, R. Kingsbury, M. McDermott, M. Horton, A. Jain, S. P. Ong, S. Dwaraknath, "
        "K. A. Persson, A framework for quantifying uncertainty in DFT energy corrections, "
        "Sci. Rep. 11, 15496 (2021), doi:10.1038/s41598-021-94550-5"
    )

    def __init__(self) -> None:
        self._package, self._path = _locate()

    def fingerprint(self) -> dict[str, str]:
        """Version of the package and hash of the file."""
        with self._path.open("rb") as file:
            _, sha256 = file_digest(file)
        return {
            "source": self.name,
            "package": f"{self._package} {metadata.version(self._package)}",
            "sha256": sha256,
        }

    def read(self) -> pa.Table:
        """Formula, mp-id, formation enthalpy and its uncertainty, both in eV/atom.

        Raises
        ------
        SourceError
            If the file is not what it has been.

        Examples
        --------
        >>> PymatgenExpt().read().num_rows
        2135
        """
        try:
            with gzip.open(self._path, "rt", encoding="utf-8") as file:
                rows = json.load(file)
            formulas = [row["formula"] for row in rows]
            energy, uncertainty = (
                np.array([row[key] for row in rows], dtype=np.float64)  # eV/formula unit, (n,)
                for key in ("exp energy", "uncertainty")
            )
            ids = pa.array([row["mpid"] for row in rows], SOURCE_ID.type)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise SourceError(f"cannot read {_FILE} of pymatgen ({error!r}): {_REMEDY}") from error
        atoms = parse_formulas(formulas).amounts.sum(axis=1)  # 0 where the formula is no formula
        per_atom = np.where(atoms > 0, atoms, np.nan)
        return pa.table(
            [
                pa.array(formulas, FORMULA.type),
                ids,
                pa.array(energy / per_atom, from_pandas=True),  # NaN becomes null
                pa.array(uncertainty / per_atom, from_pandas=True),
            ],
            schema=arrow_schema(
                [FORMULA, SOURCE_ID, FORMATION_ENERGY, FORMATION_ENERGY_UNCERTAINTY]
            ),
        )


def _locate() -> tuple[str, Path]:
    """Package that holds the file, and the file; without importing pymatgen, which takes long."""
    for package in _PACKAGES:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == _FILE:
                return package, Path(str(file.locate()))
    raise SourceError(f"no installed package among {', '.join(_PACKAGES)} has {_FILE}: {_REMEDY}")
