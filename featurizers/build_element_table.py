"""Write ``element_table.csv`` from the data files of matminer and pymatgen.

Run as ``python -m featurizers.build_element_table``. This is the only module here that imports
matminer or pymatgen; everything else reads the table, so neither is needed at run time.

Values are raw: a blank cell is a value that the source lacks. Filling gaps is the business of
:func:`featurizers.elements.element_data`.

References
----------
Magpie properties: Ward et al., npj Comput. Mater. 2, 16028 (2016),
doi 10.1038/npjcompumats.2016.28.
Electronegativity and oxidation states: Ong et al., Comput. Mater. Sci. 68, 314 (2013),
doi 10.1016/j.commatsci.2012.10.028.
"""

from __future__ import annotations

import csv
import io
import math
import os
import warnings
from pathlib import Path

from featurizers.elements import MAGPIE_PROPERTIES, TABLE_COLUMNS

TABLE_PATH = Path(__file__).with_name("element_table.csv")


def build_table() -> str:
    """Text of the element table, one row per element from H to Og.

    Returns
    -------
    str
        CSV with the columns of :data:`featurizers.elements.TABLE_COLUMNS`; floats by ``repr``, so
        that reading them back loses nothing.
    """
    from matminer.utils.data import MagpieData, PymatgenData
    from pymatgen.core import Element

    magpie = MagpieData(impute_nan=False)
    pymatgen = PymatgenData(impute_nan=False)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pymatgen warns of noble gases
        for number in range(1, 119):
            element = Element.from_Z(number)
            values = [magpie.get_elemental_property(element, name) for name in MAGPIE_PROPERTIES]
            values.append(pymatgen.get_elemental_property(element, "X"))
            states = pymatgen.get_oxidation_states(element)
            writer.writerow(
                [number, element.symbol, *map(_cell, values), " ".join(map(str, states))]
            )
    return text.getvalue()


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def main() -> None:
    """Replace the table beside this module, in one step."""
    temporary = TABLE_PATH.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(build_table())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(TABLE_PATH)


if __name__ == "__main__":
    main()
