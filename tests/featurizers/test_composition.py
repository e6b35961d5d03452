from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import few_or_all

from featurizers.arrays import backend
from featurizers.composition import (
    FEATURE_NAMES,
    feature_schema,
    featurize,
    featurize_arrays,
)
from featurizers.elements import LAST_WITH_MAGPIE_DATA, SYMBOLS, Z_OF, element_data
from featurizers.formula import parse_formulas
from featurizers.neutrality import can_be_neutral
from irnet_core.errors import FormulaError

USABLE = SYMBOLS[1 : LAST_WITH_MAGPIE_DATA + 1]
COMPOSITION = st.dictionaries(st.sampled_from(USABLE), st.integers(1, 40), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def matminer_features():
    """The oracle: formulas to a float64 array (n, 145), under either policy for missing values."""
    pytest.importorskip("matminer")
    from benchmarks.peers import composition_peer

    peers = {impute: composition_peer(impute) for impute in (True, False)}
    return lambda formulas, impute=True: peers[impute](formulas)


def assert_same_features(found: np.ndarray, expected: np.ndarray, formulas: list[str]) -> None:
    """Relative difference at most 1e-5 in every column, and no column left out by being zero."""
    assert found.shape == expected.shape == (len(formulas), 145)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    # 1e-9 admits the rounding noise of a deviation that is zero; 1e-6 of values near 1e-3
    off = np.abs(found - expected) > 1e-5 * np.abs(expected) + 1e-9
    worst = [
        (formulas[r], FEATURE_NAMES[c], found[r, c], expected[r, c]) for r, c in np.argwhere(off)
    ]
    assert not worst, worst[:5]


def usable(texts: list[str]) -> list[str]:
    reasons = parse_formulas(texts).reasons
    return [text for row, text in enumerate(texts) if row not in reasons]


# against matminer ------------------------------------------------------------------------------

FORMULAS = [
    "NaCl", "Fe2O3", "Fe3O4", "CsCl", "BaTiO3", "Ag0.5GePb1.75S4", "CuSO4(H2O)5", "LiFePO4",
    "NiTi", "Ni1.00001Ti", "Ni1.0001Ti", "CaMgSi", "Cs2AgBiBr6", "C60", "CH4", "CO2", "NH4NO3",
    "ArF2", "HeNe", "XeF6", "KrF2", "RnO", "UO2", "PuO2", "BkCl3", "CfO2", "EsN", "LrF3", "RfCl4",
    "CnO2", "FrCl", "AtH", "Fe0.620C0.000953Mn0.000521Si0.00102Cr0.000110Ni0.192Co0.146",
    "YBa2Cu3O6.93", "La1.85Sr0.15CuO4", "CrMnFeCoNi", "Ti0.2V0.2Nb0.2Zr0.2Hf0.2",
    "KAl(SO4)2(H2O)12", "HCNOPSFeMnNaK", "Li2FeSiO4", "Hg0.7Cd0.3Te", "FeCoNiCrMnAl0.3Ti0.1",
]  # fmt: skip


def test_matminer_agrees_on_chosen_formulas(matminer_features) -> None:
    formulas = [*FORMULAS, *USABLE]
    assert_same_features(featurize(formulas), matminer_features(formulas), formulas)


def test_matminer_agrees_where_values_stay_missing(matminer_features) -> None:
    formulas = [*FORMULAS, "ArNa2", "Ar2Na", "ArNa", "HeCl", "ArKr", "Cn", "Ar"]
    expected = matminer_features(formulas, impute=False)
    assert np.isnan(expected).any()
    assert_same_features(featurize(formulas, missing="nan"), expected, formulas)


def test_matminer_agrees_on_many_elements(matminer_features) -> None:
    rng = np.random.default_rng(0)
    some = ["".join(f"{s}{rng.integers(1, 9) / 4}" for s in rng.choice(USABLE, k, replace=False))
            for k in (2, 3, 4, 5, 6, 7, 8, 10, 12) for _ in range(10)]  # fmt: skip
    # matminer tries every combination of oxidation states: 20 elements of one or two each
    states = element_data().oxidation_counts
    few = [symbol for symbol in USABLE if 1 <= states[Z_OF[symbol]] <= 2]
    single = [symbol for symbol in few if states[Z_OF[symbol]] == 1]
    some += ["".join(f"{s}{rng.integers(1, 9) / 4}" for s in rng.choice(single, 20, replace=False))
             for _ in range(20)]  # fmt: skip
    some += ["".join(f"{s}{rng.integers(1, 9) / 4}" for s in rng.choice(few, 14, replace=False))
             for _ in range(5)]  # fmt: skip
    assert_same_features(featurize(some), matminer_features(some), some)


def test_matminer_agrees_on_shared_data(shared_data, matminer_features) -> None:
    table = pq.read_table(shared_data / "oqmd" / "formation_enthalpy.parquet", columns=["formula"])
    formulas = usable(table["formula"].to_pylist()[::726])
    for name, step in (("band_gap_zhuo_all", 90), ("supercon_tc", 190), ("matbench_steels", 60)):
        table = pq.read_table(shared_data / "expt" / f"{name}.parquet", columns=["formula"])
        formulas += usable(table["formula"].to_pylist()[::step])
    assert len(formulas) > 500
    assert_same_features(featurize(formulas), matminer_features(formulas), formulas)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_matminer_agrees_on_thousands_of_formulas(shared_data, matminer_features) -> None:
    table = pq.read_table(shared_data / "oqmd" / "formation_enthalpy.parquet", columns=["formula"])
    formulas = table["formula"].to_pylist()[:: few_or_all(193, 58)]
    for name, step in (("band_gap_zhuo_all", 5), ("supercon_tc", 15), ("matbench_steels", 8)):
        table = pq.read_table(shared_data / "expt" / f"{name}.parquet", columns=["formula"])
        formulas += usable(table["formula"].to_pylist()[::step])
    assert len(formulas) > few_or_all(3500, 7000)
    assert_same_features(featurize(formulas), matminer_features(formulas), formulas)


# without an oracle -----------------------------------------------------------------------------


def test_names_and_schemas() -> None:
    assert len(FEATURE_NAMES) == len(set(FEATURE_NAMES)) == 145
    assert FEATURE_NAMES[:3] == ("0-norm", "2-norm", "3-norm")
    assert FEATURE_NAMES[6:8] == ("MagpieData minimum Number", "MagpieData maximum Number")
    assert FEATURE_NAMES[-1] == "avg ionic char"
    assert feature_schema().name == "magpie"
    assert feature_schema().columns == FEATURE_NAMES
    assert feature_schema("nan").hash != feature_schema().hash


def test_golden_values() -> None:
    x = dict(zip(FEATURE_NAMES, featurize(["Fe2O3"])[0].tolist(), strict=True))
    golden = {
        "0-norm": 2.0,
        "2-norm": math.sqrt(0.4**2 + 0.6**2),
        "10-norm": (0.4**10 + 0.6**10) ** 0.1,
        "MagpieData minimum Number": 8.0,
        "MagpieData maximum Number": 26.0,
        "MagpieData range Number": 18.0,
        "MagpieData mean Number": 0.4 * 26 + 0.6 * 8,
        "MagpieData avg_dev Number": 2 * 0.4 * 0.6 * 18,
        "MagpieData mode Number": 8.0,
        "MagpieData mean Electronegativity": 0.4 * 1.83 + 0.6 * 3.44,
        "avg d valence electrons": 0.4 * 6,
        "avg p valence electrons": 0.6 * 4,
        "compound possible": 1.0,
        "max ionic char": 1 - math.exp(-0.25 * (3.44 - 1.83) ** 2),
        "avg ionic char": 0.4 * 0.6 * (1 - math.exp(-0.25 * (3.44 - 1.83) ** 2)),
    }
    assert {name: x[name] for name in golden} == pytest.approx(golden, rel=1e-6)


def column(name: str, formulas: list[str]) -> list[float]:
    return featurize(formulas)[:, FEATURE_NAMES.index(name)].tolist()


def test_mode_takes_the_smallest_value_of_tied_elements() -> None:
    found = column("MagpieData mode Number", ["NaCl", "NaCl2", "Cl1.000001Na", "Cl1.0001Na"])
    assert found == [11.0, 17.0, 11.0, 17.0]


@pytest.mark.parametrize(
    ("formula", "possible"),
    [
        ("NaCl", True),
        ("Na2Cl", False),
        ("Fe2O3", True),
        ("FeO", True),
        ("Fe3O4", False),  # one state per element
        ("Fe", True),
        ("FeAl", False),
        ("HeO", False),  # helium has no state
        ("CH4", True),
        ("CO2", True),
        ("Na0.333333333333Cl0.333333333333", True),
        ("Na1000Cl1000", True),
        ("Na100000Cl99999", False),
        ("BaTiO3", True),
        ("CsPbBr3", True),
        ("HCNOFSiPSClMnAsSeBrTeIGeSnCrFeXe", True),
    ],
)
def test_compound_possible(formula: str, possible: bool) -> None:
    assert column("compound possible", [formula]) == [float(possible)]


def test_halving_the_elements_finds_what_trying_all_states_finds() -> None:
    from itertools import product

    data = element_data()
    rng = np.random.default_rng(1)
    several = [Z_OF[s] for s in ("H", "C", "N", "O", "F", "S", "Cl", "Fe", "Mn", "Na", "Ca", "Si")]
    z = np.array([rng.choice(several, 6, replace=False) for _ in range(300)]).T
    amounts = rng.integers(1, 30, z.shape)
    amounts[:, ::2] *= 7919  # far from small integers
    found = can_be_neutral(backend(z), z, amounts / amounts.sum(0))
    for row in range(z.shape[1]):
        states = [data.oxidation_states[e, : data.oxidation_counts[e]] for e in z[:, row]]
        charges = (np.dot(c, amounts[:, row]) for c in product(*map(list, states)))
        assert found[row] == any(charge == 0 for charge in charges)
    assert 50 < found.sum() < 250


def test_the_bounded_memory_of_the_charge_search(monkeypatch) -> None:
    from featurizers import neutrality

    formulas = ["CH4", "NaCl", "HCNOFSiPS", "FeAl", "C3N4S2Cl5H7", "Na2Cl"] * 5
    expected = column("compound possible", formulas)
    monkeypatch.setattr(neutrality, "_LIMIT", 10)
    assert column("compound possible", formulas) == expected


def test_single_elements() -> None:
    x = featurize(["Fe", "Fe7", "Fe0.01"])
    np.testing.assert_array_equal(x[0], x[1])
    np.testing.assert_array_equal(x[0], x[2])
    deviations = [i for i, name in enumerate(FEATURE_NAMES) if "range" in name or "avg_dev" in name]
    assert not x[0, deviations].any()
    assert x[0, -3:].tolist() == [1.0, 0.0, 0.0]
    assert x[0, :6].tolist() == [1.0] * 6


@given(COMPOSITION, st.sampled_from([1e-3, 1 / 3, 2.0, 1e3]), st.randoms(use_true_random=False))
def test_scale_order_and_splitting_do_not_matter(amounts, scale: float, random) -> None:
    formula = "".join(f"{s}{a}" for s, a in amounts.items())
    shuffled = list(amounts.items())
    random.shuffle(shuffled)
    scaled = "".join(f"{s}{a * scale!r}" for s, a in shuffled)
    split = "".join(f"{s}{a / 2!r}" for s, a in shuffled)
    x = featurize([formula, scaled, split + split]).astype(np.float64)
    np.testing.assert_allclose(x[1:], x[[0, 0]], rtol=1e-6, atol=1e-9)


@given(COMPOSITION)
def test_statistics_keep_their_bounds(amounts) -> None:
    x = featurize(["".join(f"{s}{a}" for s, a in amounts.items())])[0].astype(np.float64)
    low, high, spread, mean, deviation, mode = x[6:138].reshape(22, 6).T
    slack = 1e-6 * np.abs(high)
    assert (low <= mode).all()
    assert (mode <= high).all()
    assert (low - slack <= mean).all()
    assert (mean <= high + slack).all()
    assert (deviation >= 0).all()
    assert (deviation <= spread / 2 + slack).all()
    np.testing.assert_allclose(spread, high - low, atol=1e-6 * np.abs(high).max())
    assert (np.diff(x[1:6]) <= 1e-6).all()  # p-norms fall with p
    assert 0 <= x[144] <= x[143] < 1


def test_padding_may_stand_anywhere() -> None:
    numbers = [[0, 26, 0, 8], [8, 26, 0, 0], [26, 11, 8, 17], [26, 8, 0, 0]]
    amounts = [[9, 2, 0, 3], [3, 2, 0, 0], [2, 0, 3, 0], [2, 3, 0, 0]]
    x = featurize_arrays(np.array(numbers), np.array(amounts, float))
    np.testing.assert_allclose(x[1:], x[[0, 0, 0]], rtol=1e-6)
    assert not np.isnan(x).any()


def test_unusable_rows_are_nan() -> None:
    parsed = parse_formulas(["NaCl", "Xx", "OgF2", "NaCl"])
    values = featurize_arrays(parsed.numbers, parsed.amounts)
    assert np.isnan(values).all(axis=1).tolist() == [False, True, True, False]
    assert np.isnan(values).any(axis=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("formulas", "message"),
    [
        (["NaCl", "Xx", "Yy"], "'Xx' in row 1 cannot be used: unknown element 'Xx'"),
        (["NaCl", "OgF2", "Xx"], "'OgF2' in row 1 cannot be used: no Magpie data for element 'Og'"),
        ([None], "None in row 0 cannot be used: no formula given"),
    ],
)
def test_first_bad_formula_is_named(formulas, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        featurize(formulas)


def test_too_many_elements_are_refused() -> None:
    with pytest.raises(FormulaError, match="Row 1 has 33 elements"):
        featurize_arrays(
            np.array([[1] + [0] * 32, list(range(1, 34))]),
            np.array([[1.0] + [0.0] * 32, [1.0] * 33]),
        )


def test_empty_table() -> None:
    assert featurize([]).shape == (0, 145)


def test_blocks_do_not_matter(monkeypatch) -> None:
    formulas = [*FORMULAS, *reversed(FORMULAS)]
    expected = featurize(formulas)
    monkeypatch.setattr(backend(expected), "block_rows", 3)
    np.testing.assert_array_equal(featurize(formulas), expected)


def test_threads_do_not_share_their_buffers() -> None:
    expected = featurize(FORMULAS)
    with ThreadPoolExecutor(4) as pool:
        for part in pool.map(lambda step: featurize(FORMULAS[::step]), [1, 2, 3, 5] * 25):
            step = -(-len(FORMULAS) // len(part))
            np.testing.assert_array_equal(part, expected[::step])


@pytest.mark.parametrize("missing", ["matminer", "nan", "reject"])
def test_torch_gives_what_numpy_gives(missing) -> None:
    compare_with_torch("cpu", missing)


@pytest.mark.gpu
def test_cuda_gives_what_numpy_gives() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    for missing in ("matminer", "nan", "reject"):
        compare_with_torch("cuda", missing)


def compare_with_torch(device: str, missing) -> None:
    torch = pytest.importorskip("torch")
    parsed = parse_formulas([*FORMULAS, "Og", "Xx"])
    numbers = torch.tensor(parsed.numbers, device=device)
    amounts = torch.tensor(parsed.amounts, device=device)
    ours = featurize_arrays(parsed.numbers, parsed.amounts, missing)
    theirs = featurize_arrays(numbers, amounts, missing)
    assert theirs.dtype == torch.float32
    assert theirs.device.type == device
    np.testing.assert_allclose(theirs.cpu().numpy(), ours, rtol=1e-6, atol=1e-12)


@settings(max_examples=30)
@given(
    st.lists(COMPOSITION, min_size=1, max_size=6), st.sampled_from(["matminer", "nan", "reject"])
)
def test_torch_and_numpy_on_any_compositions(compositions, missing) -> None:
    torch = pytest.importorskip("torch")
    parsed = parse_formulas(["".join(f"{s}{a}" for s, a in c.items()) for c in compositions])
    ours = featurize_arrays(parsed.numbers, parsed.amounts, missing)
    theirs = featurize_arrays(torch.tensor(parsed.numbers), torch.tensor(parsed.amounts), missing)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-6, atol=1e-12)


def test_numpy_is_all_it_imports() -> None:
    code = (
        "import sys; from featurizers.composition import featurize; featurize(['NaCl']);"
        "print(*{'matminer', 'pymatgen', 'torch', 'pandas', 'scipy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
