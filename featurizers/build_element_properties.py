"""Write ``irnet_core/element_properties.safetensors`` from the element table and mendeleev.

Run as ``python -m featurizers.build_element_properties``. Networks read the file, and need neither
mendeleev nor the table.

References
----------
Magpie properties: Ward et al., npj Comput. Mater. 2, 16028 (2016),
doi 10.1038/npjcompumats.2016.28, as :mod:`featurizers.elements` has them.
Atoms and elemental substances: mendeleev (MIT licence), doi 10.5281/zenodo.5233824, whose
documentation names the source of each column; Miedema's parameters are de Boer et al.,
"Cohesion in Metals" (1988).
"""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save

from featurizers.elements import element_data
from irnet_core.element_properties import PATH, TENSOR
from irnet_core.elements import N_ELEMENTS

SCALED_BY = 94  # H to Pu: of the others little is known
#: Columns of mendeleev's table of elements.
ATOMS = (
    "atomic_radius",
    "density",
    "dipole_polarizability",
    "electron_affinity",
    "evaporation_heat",
    "fusion_heat",
    "lattice_constant",
    "specific_heat_capacity",
    "thermal_conductivity",
    "vdw_radius",
    "covalent_radius_cordero",
    "covalent_radius_pyykko",
    "covalent_radius_pyykko_double",
    "covalent_radius_pyykko_triple",
    "en_pauling",
    "en_allen",
    "en_ghosh",
    "en_miedema",
    "en_gunnarsson_lundqvist",
    "en_robles_bartolotti",
    "heat_of_formation",
    "c6_gb",
    "vdw_radius_alvarez",
    "vdw_radius_uff",
    "atomic_radius_rahm",
    "metallic_radius_c12",
    "mendeleev_number",
    "pettifor_number",
    "glawe_number",
    "miedema_molar_volume",
    "miedema_electron_density",
)
LOGARITHMS = ("density", "dipole_polarizability", "c6_gb", "thermal_conductivity")
IONIZATIONS = [1, 2, 3]


def build() -> bytes:
    """Content of the file."""
    parts = [_magpie(), _atoms()]
    table = np.concatenate([_scaled(part) for part in parts], axis=1).astype(np.float32)
    return save({TENSOR: np.ascontiguousarray(table)})


def _magpie() -> np.ndarray:
    """Magpie's properties (112, 22), with gaps."""
    return element_data("nan").properties[1 : N_ELEMENTS + 1]


def _atoms() -> np.ndarray:
    """Mendeleev's properties (112, 34), with gaps."""
    from mendeleev.fetch import fetch_ionization_energies, fetch_table

    table = fetch_table("elements").set_index("atomic_number")
    numbers = range(1, N_ELEMENTS + 1)
    values = table.loc[numbers, list(ATOMS)].astype(float)
    values[list(LOGARITHMS)] = np.log(values[list(LOGARITHMS)])
    energies = fetch_ionization_energies(degree=IONIZATIONS).reindex(numbers)
    return np.column_stack([values.to_numpy(), energies.to_numpy(dtype=float)])


def _scaled(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1, over the root of their number; gaps are 0."""
    common = values[:SCALED_BY]
    scale = np.nanstd(common, axis=0) * np.sqrt(values.shape[1])
    return np.nan_to_num((values - np.nanmean(common, axis=0)) / scale)


def main() -> None:
    """Replace the file, in one step."""
    temporary = PATH.with_suffix(".tmp")
    temporary.write_bytes(build())
    temporary.replace(PATH)


if __name__ == "__main__":
    main()
