from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurizers.elements import SYMBOLS, Z_OF
from featurizers.formula import (
    MAX_ELEMENTS,
    MAX_LENGTH,
    canonical_formula,
    canonical_formulas,
    parse_formula,
    parse_formulas,
)
from irnet_core.errors import FormulaError, IRNetError

SYMBOL = st.sampled_from(SYMBOLS[1:])
WHOLE = st.integers(1, 60)
DECIMAL = st.integers(1, 9_999_999).map(lambda i: i / 1e4)


def compositions(amount, max_size: int = 8):
    return st.dictionaries(SYMBOL, amount, min_size=1, max_size=max_size)


def written(amounts) -> str:
    """Formula as most tables write it."""
    return "".join(f"{s}{a if isinstance(a, int) else repr(a)}" for s, a in amounts.items())


GOOD = {
    "NaCl": {"Na": 1, "Cl": 1},
    "CO": {"C": 1, "O": 1},
    "Co": {"Co": 1},
    "HF": {"H": 1, "F": 1},
    "Hf": {"Hf": 1},
    "NaN": {"Na": 1, "N": 1},
    "Ag0.5GePb1.75S4": {"Ag": 0.5, "Ge": 1, "Pb": 1.75, "S": 4},
    "Fe0.620C0.000953": {"Fe": 0.62, "C": 0.000953},
    "La1.85Sr.15CuO4": {"La": 1.85, "Sr": 0.15, "Cu": 1, "O": 4},
    "Nb1e-05Fe2": {"Nb": 1e-5, "Fe": 2},
    "Cl1 Na1": {"Na": 1, "Cl": 1},
    " Fe 2 O 3 ": {"Fe": 2, "O": 3},
    "Fe₂O₃": {"Fe": 2, "O": 3},
    "La₀.₅O": {"La": 0.5, "O": 1},
    "CH3CH2OH": {"C": 2, "H": 6, "O": 1},
    "FeNi0": {"Fe": 1},
    "Fe02": {"Fe": 2},
    # brackets
    "Al2(SO4)3": {"Al": 2, "S": 3, "O": 12},
    "Ag(AuS)2": {"Ag": 1, "Au": 2, "S": 2},
    "K4[Fe(CN)6]": {"K": 4, "Fe": 1, "C": 6, "N": 6},
    "{[(Fe)2]3}0.5": {"Fe": 3},
    "Ca(OH)0Cl": {"Ca": 1, "Cl": 1},
    # leading numbers and dots between parts
    "2H2O": {"H": 4, "O": 2},
    "0.5H2O": {"H": 1, "O": 0.5},
    "1.5H2O": {"H": 3, "O": 1.5},
    "CuSO4·5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "3CdSO4·8H2O": {"Cd": 3, "S": 3, "O": 20, "H": 16},
    "CuSO4 · 5 H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "Na2CO3·Na2O·2SiO2": {"Na": 4, "C": 1, "O": 8, "Si": 2},
    "(CaSO4·2H2O)2": {"Ca": 2, "S": 2, "O": 12, "H": 8},
    # full stops between parts
    "CuSO4.5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4.5(H2O)": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4 .5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4 . 5H2O": {"Cu": 1, "S": 1, "O": 9, "H": 10},
    "CuSO4.H2O": {"Cu": 1, "S": 1, "O": 5, "H": 2},
    "KAl(SO4)2.12H2O": {"K": 1, "Al": 1, "S": 2, "O": 20, "H": 24},
    "NaCl.2H2O": {"Na": 1, "Cl": 1, "H": 4, "O": 2},
    "NiCl2.6NH3": {"Ni": 1, "Cl": 2, "N": 6, "H": 18},
    "CuSO4.2H2O.2NH3": {"Cu": 1, "S": 1, "O": 6, "H": 10, "N": 2},
    "(CaSO4.2H2O)2": {"Ca": 2, "S": 2, "O": 12, "H": 8},
    "CaSO4.0.5H2O": {"Ca": 1, "S": 1, "O": 4.5, "H": 1},
    "CoO2.1.3H2O": {"Co": 1, "O": 3.3, "H": 2.6},
    "CuCO3.Cu(OH)2": {"Cu": 2, "C": 1, "O": 5, "H": 2},
    # full stops that are decimal points
    "Na0.5H2O": {"Na": 0.5, "H": 2, "O": 1},
    "FeO1.25H2O": {"Fe": 1, "O": 2.25, "H": 2},
    "FeO4.5H2": {"Fe": 1, "O": 4.5, "H": 2},
    "FeO4.5H2OCl": {"Fe": 1, "O": 5.5, "H": 2, "Cl": 1},
    "YBa2Cu3O6.5": {"Y": 1, "Ba": 2, "Cu": 3, "O": 6.5},
    "CuSO4·1.5H2O": {"Cu": 1, "S": 1, "O": 5.5, "H": 3},
}

BAD = {
    None: "no formula given",
    "": "no formula given",
    "   ": "no formula given",
    float("nan"): "nan is not text",
    12: "12 is not text",
    b"Fe": "b'Fe' is not text",
    "Xx2O3": "unknown element 'Xx'",
    "D2O": "unknown element 'D'",
    "T2O": "unknown element 'T'",
    "None": "unknown element 'None'",
    "nan": "unexpected character 'n'",
    "fe2o3": "unexpected character 'f'",
    "FeO10=z": "unexpected character '='",
    "FeO6+d": "unexpected character '+'",
    "Fe3+": "unexpected character '+'",
    "O6,225": "unexpected character ','",
    "Fe-2O3": "unexpected character '-'",
    "Fe\nO": "unexpected character '\\n'",
    "Fe\x00O": "unexpected character '\\x00'",
    "鉄": "unexpected character '鉄'",
    "Fe²⁺": "unexpected character '²'",
    "Fe0": "no element has an amount above zero",
    "(FeO)0": "no element has an amount above zero",
    "Fe1e-12": "no element has an amount above zero",
    "(Fe": "a bracket lacks its ')'",
    "Fe)": "unbalanced bracket ')'",
    "Fe[O)": "unbalanced bracket ')'",
    "Fe()": "no element between brackets or dots, or beside a number",
    "()": "no element between brackets or dots, or beside a number",
    "12": "no element between brackets or dots, or beside a number",
    "CuSO4·": "no element between brackets or dots, or beside a number",
    "·Fe": "no element between brackets or dots, or beside a number",
    "Fe··O": "no element between brackets or dots, or beside a number",
    "Fe2*3": "no element between brackets or dots, or beside a number",
    "Fe.": "a full stop without digits behind it",
    "Fe2O4.": "a full stop without digits behind it",
    ".": "a full stop without digits behind it",
    "NaCl 2H2O": "unclear what the number 2 after a space belongs to",
    "La1.85 .15CuO4": "two numbers in a row",
    "CuSO4 5H2O": "two numbers in a row",
    "Fe1e7": "the amount of Fe exceeds 1e+06",
    "Fe1e999O": "the amount of Fe exceeds 1e+06",
    "Fe99999999999999999999O": "the amount of Fe exceeds 1e+06",
    "Fe600000Fe600000": "the amount of Fe exceeds 1e+06",
    "H" * 10**6: f"longer than {MAX_LENGTH} characters",
    "(" * 400 + "Fe" + ")" * 399: "a bracket lacks its ')'",
    "".join(SYMBOLS[1 : MAX_ELEMENTS + 2]): f"more than {MAX_ELEMENTS} elements",
}


@pytest.mark.parametrize(("text", "amounts"), GOOD.items())
def test_good_formulas(text: str, amounts: dict[str, float]) -> None:
    assert parse_formula(text) == pytest.approx(amounts, rel=1e-15)


@pytest.mark.parametrize(("text", "reason"), BAD.items(), ids=lambda value: f"{value!r:.30}")
def test_bad_formulas_have_a_reason(text: object, reason: str) -> None:
    parsed = parse_formulas(["NaCl", text, "Fe2O3"])  # type: ignore[list-item]
    assert parsed.reasons == {1: reason}
    assert not parsed.numbers[1].any()
    assert not parsed.amounts[1].any()
    assert parsed.numbers[0, :2].tolist() == [11, 17]
    with pytest.raises(FormulaError) as caught:
        parse_formula(text)  # type: ignore[arg-type]
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 200
    assert isinstance(caught.value, IRNetError)


def test_many_at_once_agree_with_one_at_a_time() -> None:
    texts = [*GOOD, *BAD, *GOOD]
    parsed = parse_formulas(texts)  # type: ignore[arg-type]
    assert parsed.numbers.dtype == np.uint8
    assert parsed.amounts.dtype == np.float64
    for row, text in enumerate(texts):
        found = {
            SYMBOLS[z]: float(a)
            for z, a in zip(parsed.numbers[row], parsed.amounts[row], strict=True)
            if z
        }
        expected = parse_formula(text) if text in GOOD else {}  # type: ignore[arg-type]
        assert found == expected
        assert list(found) == list(expected)  # ascending atomic number
        assert (row in parsed.reasons) == (text not in GOOD)


def test_empty_and_hopeless_tables() -> None:
    assert parse_formulas([]).numbers.shape[0] == 0
    parsed = parse_formulas(["", ".", "?"])
    assert sorted(parsed.reasons) == [0, 1, 2]
    assert not parsed.numbers.any()


def test_a_single_string_is_refused() -> None:
    with pytest.raises(TypeError, match="sequence"):
        parse_formulas("NaCl")


def test_arrays_of_strings_are_taken() -> None:
    parsed = parse_formulas(np.array(["NaCl", "Fe2O3"], object))  # type: ignore[arg-type]
    assert parsed.numbers.tolist() == [[11, 17], [8, 26]]


@given(compositions(st.one_of(WHOLE, DECIMAL)))
def test_what_is_written_is_read(amounts: dict[str, float]) -> None:
    expected = dict(sorted(amounts.items(), key=lambda item: Z_OF[item[0]]))
    parsed = parse_formulas([written(amounts), f"({written(amounts)})"])
    assert not parsed.reasons
    for row in range(2):  # array path, grammar path
        assert [SYMBOLS[z] for z in parsed.numbers[row]] == list(expected)
        assert parsed.amounts[row].tolist() == [*map(float, expected.values())]


@given(st.lists(st.text(alphabet="FeONaClH0123456789.()[]{}·* -+eEx\n₂", max_size=20), max_size=8))
def test_any_text_is_read_or_refused(texts: list[str]) -> None:
    parsed = parse_formulas(texts)
    for row, text in enumerate(texts):
        found = {
            SYMBOLS[z]: float(a)
            for z, a in zip(parsed.numbers[row], parsed.amounts[row], strict=True)
            if z
        }
        assert bool(found) != (row in parsed.reasons)
        if row in parsed.reasons:
            with pytest.raises(FormulaError):
                parse_formula(text)
        else:
            assert found == parse_formula(text)


@given(st.text(max_size=30))
def test_unicode_never_breaks_it(text: str) -> None:
    parsed = parse_formulas([text, "NaCl"])
    assert set(parsed.reasons) <= {0}
    assert parsed.numbers[1, :2].tolist() == [11, 17]


@given(compositions(WHOLE), st.integers(1, 9))
def test_pymatgen_reads_the_same(amounts: dict[str, int], count: int) -> None:
    core = pytest.importorskip("pymatgen.core")
    for text in (written(amounts), f"O2({written(amounts)}){count}", f"[{written(amounts)}]0.5Fe"):
        expected = core.Composition(text).get_el_amt_dict()
        assert parse_formula(text) == pytest.approx(expected, rel=1e-12)


def test_pymatgen_reads_shared_formulas_the_same(shared_data) -> None:
    core = pytest.importorskip("pymatgen.core")
    for name in ("band_gap_zhuo_all", "supercon_tc", "matbench_steels", "matbench_expt_gap"):
        table = pq.read_table(shared_data / "expt" / f"{name}.parquet", columns=["formula"])
        texts = table["formula"].to_pylist()[::9]
        parsed = parse_formulas(texts)
        for row, text in enumerate(texts):
            if row in parsed.reasons:
                continue
            found = {
                SYMBOLS[z]: a
                for z, a in zip(parsed.numbers[row], parsed.amounts[row], strict=True)
                if z
            }
            assert found == pytest.approx(core.Composition(text).get_el_amt_dict(), rel=1e-12)


# canonical form --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("PaCaAg2", "Ag2CaPa"),
        ("Fe2O3", "Fe2O3"),
        ("O", "O"),
        ("O2", "O"),
        ("Na2Cl2", "ClNa"),
        ("Ag0.5GePb1.75S4", "Ag2Ge4Pb7S16"),
        ("Li0.333333Fe0.666667", "Fe2Li"),
        ("Li0.666666Fe1.333334", "Fe2Li"),
        ("Li0.0333333Fe0.0666667", "Fe2Li"),
        ("Fe0.999Mn0.001", "Fe999Mn"),
        ("Fe0.9990Mn0.0011", "Fe908Mn"),  # 1/909 is within a part per million
        ("Fe1Mn0.0000001", "Fe999999Mn"),
        ("Fe1000000Mn", "Fe999999Mn"),
        ("CuSO4.5H2O", "CuH10O9S"),
        ("Al345Fe406", "Al345Fe406"),
    ],
)
def test_canonical_forms(text: str, canonical: str) -> None:
    assert canonical_formula(text) == canonical


def test_canonical_form_of_unusable_rows_is_empty() -> None:
    parsed = parse_formulas(["Xx", "NaCl", None])  # type: ignore[list-item]
    formulas, reduced = canonical_formulas(parsed.numbers, parsed.amounts)
    assert formulas.tolist() == ["", "ClNa", ""]
    assert reduced.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert canonical_formulas(np.zeros((0, 1)), np.zeros((0, 1)))[0].tolist() == []


def canonical(amounts: dict[str, float]) -> str:
    numbers = np.array([[Z_OF[s] for s in amounts]])
    return str(canonical_formulas(numbers, np.array([[*amounts.values()]]))[0][0])


@given(compositions(WHOLE), st.sampled_from([0.001, 0.1, 1 / 3, 0.5, 2.0, 7.0, 100.0]))
def test_canonical_form_ignores_scale_and_order(amounts, scale: float) -> None:
    total = math.gcd(*amounts.values())
    expected = "".join(
        s + (str(amounts[s] // total) if amounts[s] > total else "") for s in sorted(amounts)
    )
    assert canonical(amounts) == expected
    assert canonical({s: a * scale for s, a in amounts.items()}) == expected
    assert canonical(dict(reversed(amounts.items()))) == expected


@given(compositions(DECIMAL), st.sampled_from([0.001, 0.1, 1 / 3, 0.5, 2.0, 7.0, 100.0]))
def test_canonical_form_of_decimals(amounts, scale: float) -> None:
    form = canonical(amounts)
    assert canonical({s: a * scale for s, a in amounts.items()}) == form
    assert canonical_formula(form) == form  # the form of a form is itself
    reduced = parse_formula(form)
    assert set(reduced) == set(amounts)
    assert all(a == int(a) for a in reduced.values())
    total, whole = sum(amounts.values()), sum(reduced.values())
    for symbol, amount in amounts.items():
        assert abs(reduced[symbol] / whole - amount / total) <= 9e-6  # traces may take some ppm


@given(compositions(WHOLE))
def test_canonical_form_ignores_splitting(amounts) -> None:
    halves = "".join(f"{s}{a / 2!r}" for s, a in amounts.items())
    assert canonical_formula(halves + halves) == canonical(amounts)


@given(st.integers(1, 999), st.integers(1, 999))
def test_ratios_of_small_integers_are_found_from_six_decimals(p: int, q: int) -> None:
    p, q = min(p, 300), min(q, 300)
    share = Fraction(p, p + q)
    text = f"Fe{round(float(share), 6):.6f}Li{round(1 - float(share), 6):.6f}"
    divisor = math.gcd(p, q)
    tokens = [s + (str(a // divisor) if a > divisor else "") for s, a in (("Fe", p), ("Li", q))]
    assert canonical_formula(text) == "".join(tokens)


def test_amounts_of_the_form_keep_their_slots() -> None:
    formulas, reduced = canonical_formulas([[8, 26, 0], [11, 17, 0]], [[1.5, 1, 0], [0.5, 0.5, 9]])
    assert formulas.tolist() == ["Fe2O3", "ClNa"]
    assert reduced.tolist() == [[3, 2, 0], [1, 1, 0]]


def test_forms_are_distinct_for_distinct_compositions() -> None:
    texts = [f"Fe{i}O{j}" for i in range(1, 25) for j in range(1, 25)]
    parsed = parse_formulas(texts)
    forms = canonical_formulas(parsed.numbers, parsed.amounts)[0]
    ratios = [Fraction(i, j) for i in range(1, 25) for j in range(1, 25)]
    order = sorted(range(len(texts)), key=lambda k: ratios[k])
    for a, b in pairwise(order):
        assert (forms[a] == forms[b]) == (ratios[a] == ratios[b])
