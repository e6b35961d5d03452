from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from featurizers import build_element_table
from featurizers.elements import (
    MAGPIE_PROPERTIES,
    SYMBOLS,
    TABLE_SHA256,
    Z_OF,
    element_data,
    has_magpie_data,
)


def test_symbols_are_indexed_by_atomic_number() -> None:
    assert len(SYMBOLS) == 119
    assert (SYMBOLS[0], SYMBOLS[1], SYMBOLS[26], SYMBOLS[118]) == ("", "H", "Fe", "Og")
    assert all(SYMBOLS[z] == symbol for symbol, z in Z_OF.items())
    assert "D" not in Z_OF
    assert "T" not in Z_OF


def test_hash_is_that_of_the_file() -> None:
    content = build_element_table.TABLE_PATH.read_bytes()
    assert hashlib.sha256(content).hexdigest() == TABLE_SHA256


def test_regenerating_the_table_gives_the_committed_file() -> None:
    pytest.importorskip("matminer")
    committed = build_element_table.TABLE_PATH.read_text(encoding="utf-8")
    assert build_element_table.build_table() == committed


def test_main_replaces_the_table(tmp_path, monkeypatch) -> None:
    pytest.importorskip("matminer")
    target = tmp_path / "element_table.csv"
    committed = build_element_table.TABLE_PATH.read_bytes()
    monkeypatch.setattr(build_element_table, "TABLE_PATH", target)
    build_element_table.main()
    assert target.read_bytes() == committed
    assert list(tmp_path.iterdir()) == [target]


def test_only_the_last_six_elements_lack_all_magpie_data() -> None:
    lacking = [SYMBOLS[z] for z in range(1, 119) if not has_magpie_data(z)]
    assert lacking == ["Nh", "Fl", "Mc", "Lv", "Ts", "Og"]
    raw = element_data("nan").properties
    assert [SYMBOLS[z] for z in range(1, 119) if np.isnan(raw[z]).all()] == lacking
    assert not has_magpie_data(0)


def test_gaps_are_filled_as_matminer_fills_them() -> None:
    data = pytest.importorskip("matminer.utils.data")
    periodic_table = pytest.importorskip("pymatgen.core")
    magpie, pymatgen = data.MagpieData(impute_nan=True), data.PymatgenData(impute_nan=True)
    ours = element_data()
    for z in range(1, 119):
        element = periodic_table.Element.from_Z(z)
        expected = [magpie.get_elemental_property(element, name) for name in MAGPIE_PROPERTIES]
        np.testing.assert_allclose(ours.properties[z], expected, rtol=1e-14)
        x = pymatgen.get_elemental_property(element, "X")
        assert ours.electronegativity[z] == pytest.approx(x, rel=1e-14)
        states = ours.oxidation_states[z, : ours.oxidation_counts[z]]
        assert states.tolist() == sorted(pymatgen.get_oxidation_states(element))


def test_policy_nan_leaves_gaps() -> None:
    electronegativity = MAGPIE_PROPERTIES.index("Electronegativity")
    argon = Z_OF["Ar"]
    assert math.isnan(element_data("nan").properties[argon, electronegativity])
    assert element_data("matminer").properties[argon, electronegativity] == pytest.approx(1.715102)


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="'zero' is no policy"):
        element_data("zero")  # type: ignore[arg-type]


def test_arrays_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        element_data().properties[1, 0] = 0.0
