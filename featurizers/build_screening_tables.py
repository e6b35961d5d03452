"""Write ``screening_table.csv`` and ``substitution_table.csv`` from SMACT, mendeleev and pymatgen.

Run as ``python -m featurizers.build_screening_tables``. Only this module imports those packages;
:mod:`featurizers.screening_elements` reads the tables, so they are not needed at run time. A blank
cell is a value that the source lacks.

References
----------
Oxidation states, electronegativities, metals and elements of mixed valence: SMACT (MIT licence),
doi:10.21105/joss.01361. The states are those of ``smact_validity`` by default: ions of the ICSD
of 2024 with three or more reports. Its Pauling electronegativities are those of the CRC Handbook.
Prices: mendeleev (MIT licence), whose source is Wikipedia, "Prices of chemical elements", revision
1262554464 of December 2024 (CC BY-SA 4.0); the lower end of a range.
Abundances in the crust and atomic weights: mendeleev, whose sources are the CRC Handbook, 95th
edition (Haynes 2014), and IUPAC.
Toxicity: :data:`TOXIC`, with the document and its year.
Substitutions: weights of Hautier et al., Inorg. Chem. 50, 656 (2011), doi:10.1021/ic102031h, as
pymatgen (MIT licence) ships them.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from featurizers.elements import SYMBOLS
from featurizers.screening_elements import COLUMNS, SUBSTITUTION_COLUMNS

FOLDER = Path(__file__).parent

#: Elements that are toxic in most of their compounds, and who says so.
TOXIC = {
    "Be": "IARC group 1 with its compounds (Monograph 100C, 2012)",
    "Ni": "IARC group 1 as nickel compounds (Monograph 100C, 2012)",
    "As": "IARC group 1 with its compounds (Monograph 100C, 2012); ICH Q3D(R2) class 1 (2022)",
    "Cd": "IARC group 1 with its compounds (Monograph 100C, 2012); ICH Q3D(R2) class 1 (2022)",
    "Hg": "ICH Q3D(R2) class 1 (2022); RoHS directive 2011/65/EU (2011)",
    "Pb": "ICH Q3D(R2) class 1 (2022); RoHS directive 2011/65/EU (2011)",
    "Tl": "EU CLP regulation 1272/2008, annex VI: thallium compounds, acute toxicity 2 (2008)",
}
RADIOACTIVE = "no stable isotope (IUPAC, through mendeleev)"


def screening_table() -> str:
    """Text of the table of elements, one row per element from H to Og."""
    import smact
    from mendeleev.fetch import fetch_table
    from smact.screening import MIXED_VALENCE_ELEMENTS, _get_icsd24_oxidation_dict

    states = _get_icsd24_oxidation_dict(include_zero=False, consensus=3, commonality="low")
    known = set(smact.ordered_elements(1, 103))
    table = fetch_table("elements").set_index("symbol")
    rows = []
    for number, symbol in enumerate(SYMBOLS[1:], start=1):
        facts = table.loc[symbol]
        order = smact.Element(symbol).pauling_eneg if symbol in known else None
        why = TOXIC.get(symbol, RADIOACTIVE if facts.is_radioactive else "")
        rows.append(
            [
                number,
                symbol,
                " ".join(map(str, states.get(symbol, ()))),
                _cell(order),
                int(symbol in smact.metals),
                int(symbol in MIXED_VALENCE_ELEMENTS),
                int(bool(facts.is_radioactive)),
                _cell(facts.atomic_weight),
                _cell(facts.price_per_kg),
                _cell(facts.abundance_crust),
                int(bool(why)),
                why,
            ]
        )
    return _text(COLUMNS, rows)


def substitution_table() -> str:
    """Text of the table of element pairs, each with the pair correlation of its closest ions.

    Ions in their elements' common oxidation states only.
    """
    from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

    model: Any = SubstitutionProbability()  # type: ignore[no-untyped-call]
    best: dict[tuple[int, int], tuple[float, int]] = {}
    place = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    # rare ions have correlations of chance: states pymatgen calls common only
    common = {ion for ion in model.species if ion.oxi_state in ion.element.common_oxidation_states}
    for first, second in combinations(sorted(common, key=str), 2):
        if first.oxi_state != second.oxi_state or first.symbol == second.symbol:
            continue  # one whole element for another keeps the charge only then
        low, high = sorted((place[first.symbol], place[second.symbol]))
        found = (float(model.pair_corr(first, second)), int(first.oxi_state))
        best[low, high] = max(found, best.get((low, high), found))
    rows = [
        [SYMBOLS[low], SYMBOLS[high], charge, f"{value:.6g}"]
        for (low, high), (value, charge) in sorted(best.items())
    ]
    return _text(SUBSTITUTION_COLUMNS, rows)


def _cell(value: Any) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def main() -> None:
    """Replace both tables beside this module, each in one step."""
    for name, content in (
        ("screening_table.csv", screening_table()),
        ("substitution_table.csv", substitution_table()),
    ):
        temporary = FOLDER / f"{name}.tmp"
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(FOLDER / name)


if __name__ == "__main__":
    main()
