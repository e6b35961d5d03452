"""Every column the project reads or writes: name, type, unit and meaning.

Those of features are in :mod:`irnet_core.feature_schema`, those of a study in
:mod:`infra.study.columns`. Nobody types a column's name twice: code takes it from there, and
:func:`arrow_schema` writes the unit and the meaning into the field metadata of each Parquet file,
where any reader finds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 1
AS_GIVEN = "as given"
"""Unit of a column that states none."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : str
        Name in the file.
    type : pyarrow.DataType
        Arrow type.
    unit : str
        Unit, ``"1"`` for pure numbers, empty for text and labels.
    meaning : str
        One sentence for a reader who meets the column alone.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str

    def field(self) -> pa.Field:
        """Arrow field with unit and meaning as metadata."""
        return pa.field(self.name, self.type, metadata={"unit": self.unit, "meaning": self.meaning})


# identity of a row -------------------------------------------------------------------------
ROW = Column("row", pa.int64(), "1", "row of the source table, counted from 0")
FORMULA = Column("formula", pa.string(), "", "chemical formula as the source gives it")
COMPOSITION = Column(
    "composition",
    pa.string(),
    "",
    "canonical composition: smallest whole amounts, elements in alphabetical order",
)
REASON = Column("reason", pa.string(), "", "why the row cannot be used")
NOTE = Column(
    "note", pa.string(), "", "what the source gave for the row that could not be used, and why"
)
ID = Column(
    "id", pa.string(), "", "identifier in the source database, else the row of the source table"
)
STAGE = Column("stage", pa.string(), "", "what the row failed at")
SOURCE_ID = Column("source_id", pa.string(), "", "identifier in the source database")
FUNCTIONAL = Column(
    "functional", pa.string(), "", "functional or level of theory of the row's energies, as stated"
)
SOURCE_URL = Column("source_url", pa.string(), "", "page of the entry in the source database")
DUPLICATE_OF = Column(
    "duplicate_of",
    pa.string(),
    "",
    "entry that the source prefers among those of one structure; the row's own where it is that",
)

# structure ---------------------------------------------------------------------------------
N_SITES = Column("n_sites", pa.int32(), "1", "sites of the cell")
LATTICE = Column(
    "lattice", pa.list_(pa.float64()), "Å", "lattice vectors as rows, nine numbers: a, b, c"
)
NUMBERS = Column("numbers", pa.list_(pa.uint8()), "1", "atomic number of each site")
FRAC_COORDS = Column(
    "frac_coords", pa.list_(pa.float64()), "1", "fractional coordinates, x y z of each site"
)
SPACE_GROUP = Column("space_group", pa.int16(), "1", "number of the space group")
PROTOTYPE = Column("prototype", pa.string(), "", "structure type, as the source names it")
STRUCTURE = (LATTICE, NUMBERS, FRAC_COORDS)

# properties --------------------------------------------------------------------------------
FORMATION_ENERGY = Column(
    "formation_energy_ev_atom", pa.float64(), "eV/atom", "formation energy per atom"
)
FORMATION_ENERGIES = (FORMATION_ENERGY.name, "delta_e_ev_atom")
"""Columns of formation energies in eV/atom; the second is named so in published OQMD tables."""
FORMATION_ENERGY_UNCERTAINTY = Column(
    "formation_energy_uncertainty_ev_atom",
    pa.float64(),
    "eV/atom",
    "uncertainty of the formation energy per atom, as the source states it",
)
ENERGY = Column("energy_ev_atom", pa.float64(), "eV/atom", "total energy per atom")
ENERGY_ABOVE_HULL = Column(
    "energy_above_hull_ev_atom", pa.float64(), "eV/atom", "energy above the convex hull per atom"
)
BAND_GAP = Column("band_gap_ev", pa.float64(), "eV", "band gap, with the functional of the source")
BAND_GAP_MBJ = Column(
    "band_gap_mbj_ev", pa.float64(), "eV", "band gap by the modified Becke-Johnson potential"
)
BAND_GAP_HSE = Column("band_gap_hse_ev", pa.float64(), "eV", "band gap by the HSE06 functional")
VOLUME = Column("volume_a3_atom", pa.float64(), "A^3/atom", "volume per atom")
DENSITY = Column("density_g_cm3", pa.float64(), "g/cm^3", "mass density")
BULK_MODULUS = Column("bulk_modulus_gpa", pa.float64(), "GPa", "bulk modulus")
SHEAR_MODULUS = Column("shear_modulus_gpa", pa.float64(), "GPa", "shear modulus")
MAGNETIZATION_ATOM = Column(
    "magnetization_mu_b_atom", pa.float64(), "Bohr magnetons per atom", "magnetic moment per atom"
)
MAGNETIZATION_CELL = Column(
    "magnetization_mu_b_cell",
    pa.float64(),
    "Bohr magnetons per cell",
    "magnetic moment of the calculated cell",
)
MAGNETIZATION_OUTCAR = Column(
    "magnetization_outcar_mu_b_cell",
    pa.float64(),
    "Bohr magnetons per cell",
    "magnetic moment of the calculated cell as the source reads it from VASP's OUTCAR",
)

# roles -------------------------------------------------------------------------------------
SPLIT = Column("split", pa.string(), "", "role of the row: train, val, or test, never read")
SNAPSHOT = Column("snapshot", pa.string(), "", "id of the snapshot that the row is from")

# screening ---------------------------------------------------------------------------------
PREDICTION = Column(
    "prediction", pa.float64(), "unit of the model's target", "value the model predicts"
)
PREDICTION_STD = Column(
    "prediction_std",
    pa.float64(),
    "unit of the model's target",
    "half the interval that covers 68.27 % of validation rows alike",
)
LOWER_90 = Column(
    "lower_90", pa.float64(), "unit of the model's target", "lower end of the 90 % interval"
)
UPPER_90 = Column(
    "upper_90", pa.float64(), "unit of the model's target", "upper end of the 90 % interval"
)
RANK = Column("rank", pa.int64(), "1", "place in the ranking, 1 is the best")
CANDIDATE = Column("candidate", pa.int64(), "1", "index of the candidate in its enumeration")
CHEMICAL_SYSTEM = Column(
    "chemical_system", pa.string(), "", "elements in alphabetical order, joined by hyphens"
)
N_ATOMS = Column("n_atoms", pa.int16(), "1", "atoms in the reduced formula")
OXIDATION_STATES = Column(
    "oxidation_states",
    pa.list_(pa.int8()),
    "elementary charges",
    "oxidation states, in the order of the formula's elements, that make the formula neutral",
)
SCORE = Column("score", pa.float64(), "1", "single figure that the ranking is by")
ELEMENTS = Column("elements", pa.list_(pa.string()), "", "symbols in alphabetical order")
HULL_DISTANCE = Column(
    "energy_above_hull",
    pa.float64(),
    "eV/atom",
    "predicted formation energy above the convex hull of the known phases and of what else the "
    "screen puts there, negative below it",
)
P_STABLE = Column(
    "p_stable",
    pa.float64(),
    "1",
    "probability that the energy above hull is at most the screen's threshold, 0 eV/atom if it "
    "states none",
)
DECOMPOSITION = Column(
    "decomposition",
    pa.string(),
    "",
    "phases of the hull at this composition, each with its share of the atoms, the largest first",
)
RULE_BRANCH = Column(
    "rule_branch", pa.string(), "", "which branch of the chemical rules the composition passed"
)
SECOND_STATES = Column(
    "second_oxidation_states",
    pa.list_(pa.int8()),
    "elementary charges",
    "the same, but the highest state of an element of mixed valence instead of its lowest",
)
IS_KNOWN = Column("is_known", pa.bool_(), "1", "whether a snapshot holds the composition")
DOMAIN_PERCENTILE = Column(
    "domain_percentile",
    pa.float64(),
    "percent",
    "share of the training rows that lie closer to the centre of what the model has learned from; "
    "100 where no training row has one of the elements; of several models the largest",
)
OUT_OF_DOMAIN = Column(
    "out_of_domain", pa.bool_(), "1", "whether the model is asked beyond what it has learned from"
)
PARETO_FRONT = Column(
    "pareto_front",
    pa.int32(),
    "1",
    "1 if no candidate is better in every objective, 2 if only those of 1 are, and so on",
)
PRICE = Column("price_usd_kg", pa.float64(), "USD/kg", "price of the elements")

RULE_BRANCHES = ("", "neutral", "mixed valence", "intermetallic")
"""Texts of the column ``rule_branch`` by the code of the branch; 0 is none."""

# a model's target, and what comes with it ----------------------------------------------------
STD, LOWER, UPPER = "_std", "_lower_90", "_upper_90"
PROPERTY_PARTS = {
    "": "value that the model predicts",
    STD: "standard deviation of the prediction, calibrated",
    LOWER: "lower end of the calibrated 90 % interval",
    UPPER: "upper end of the calibrated 90 % interval",
}
"""Endings of a predicted property's columns, and what they mean."""


def property_columns(name: str, unit: str) -> tuple[Column, ...]:
    """Columns of a predicted property: value, standard deviation and 90 % interval.

    Parameters
    ----------
    name : str
        The model's target column.
    unit : str
        Its unit.

    Examples
    --------
    >>> [column.name for column in property_columns("band_gap_ev", "eV")]
    ['band_gap_ev', 'band_gap_ev_std', 'band_gap_ev_lower_90', 'band_gap_ev_upper_90']
    """
    return tuple(
        Column(name + part, pa.float64(), unit or AS_GIVEN, f"{name}: {meaning}")
        for part, meaning in PROPERTY_PARTS.items()
    )


# convex hulls ------------------------------------------------------------------------------
ATOMIC_NUMBERS = Column(
    "atomic_numbers", pa.list_(pa.uint8()), "1", "atomic numbers of the elements, ascending"
)
FRACTIONS = Column(
    "fractions", pa.list_(pa.float64()), "1", "atomic fraction of each element, in that order"
)
PHASE_ROW = Column(
    "phase_row",
    pa.int64(),
    "1",
    "row of the phase in the known table, -1 for an element that counts as 0 eV/atom",
)
VERTICES = Column(
    "vertices",
    pa.list_(pa.int32()),
    "1",
    "phases at the corners of each facet of the hull, one facet after the other, as rows of the "
    "table of phases",
)
CHEMICAL_POTENTIALS = Column(
    "chemical_potentials_ev_atom",
    pa.list_(pa.float64()),
    "eV/atom",
    "heights of each facet's plane at the pure elements, one facet after the other",
)

REJECTED = (ROW, FORMULA, REASON)
FAILED = (ID, ROW, FORMULA, STAGE, REASON)

#: Units of a user's own columns, read off the end of their names, longest first.
UNIT_SUFFIXES = {
    "_kcal_mol": "kcal/mol",
    "_mev_atom": "meV/atom",
    "_ev_atom": "eV/atom",
    "_a3_atom": "A^3/atom",
    "_mu_b_atom": "Bohr magnetons per atom",
    "_mu_b_cell": "Bohr magnetons per cell",
    "_kj_mol": "kJ/mol",
    "_g_cm3": "g/cm^3",
    "_mev": "meV",
    "_gpa": "GPa",
    "_ev": "eV",
    "_k": "K",
}


def unit_of(name: str) -> str:
    """Unit that the end of a column's name states, else ``"as given"``.

    Examples
    --------
    >>> unit_of("delta_e_ev_atom"), unit_of("hardness")
    ('eV/atom', 'as given')
    """
    for suffix, unit in UNIT_SUFFIXES.items():
        if name.endswith(suffix):
            return unit
    return AS_GIVEN


def arrow_schema(columns: Iterable[Column], metadata: dict[str, str] | None = None) -> pa.Schema:
    """Arrow schema of some columns, with the schema version in its metadata.

    Examples
    --------
    >>> arrow_schema([FORMATION_ENERGY]).field(0).metadata[b"unit"]
    b'eV/atom'
    """
    return pa.schema(
        [column.field() for column in columns],
        metadata={"schema_version": str(SCHEMA_VERSION), **(metadata or {})},
    )
