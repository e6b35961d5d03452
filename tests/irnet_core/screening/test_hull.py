"""Many candidates of many systems: products make up their energies, bad rows are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.hull_samples import generated_sample
from hypothesis import given, settings
from standins.phases import phase_tables

from featurizers.hulls import build_facets
from irnet_core.errors import DataError, ScreenError
from irnet_core.screening import hull as hull_module
from irnet_core.screening.hull import NO_PRODUCT, Hull
from irnet_core.screening.phases import Phases, sorted_compositions

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def sample() -> tuple[Hull, Table]:
    rows = generated_sample(3000, n_elements=7)
    table = (rows.numbers, rows.amounts, rows.energies)
    known = Phases.lowest(*(column[rows.known] for column in table))
    return Hull(build_facets(known, rows.numbers)), table


@settings(max_examples=60)
@given(phase_tables())
def test_products_make_up_composition_and_energy(table: Table) -> None:
    hull = Hull(build_facets(Phases.lowest(*table), table[0]))
    check_products(hull, table)


def test_products_of_many(sample: tuple[Hull, Table]) -> None:
    check_products(*sample)


def check_products(hull: Hull, table: Table) -> None:
    phases, fractions = (part.numpy() for part in hull.products(*table[:2]))
    known = hull.facets.phases
    used = phases >= 0
    assert (phases[~used] == NO_PRODUCT).all()
    assert (fractions[used] > 0).all()
    assert (fractions[~used] == 0).all()
    assert (np.diff(fractions, axis=1) <= 0).all()
    np.testing.assert_allclose(fractions.sum(1), 1)
    energies = (known.energies[phases] * fractions).sum(1)
    np.testing.assert_allclose(energies, hull.energies(*table[:2]), rtol=0, atol=1e-7)
    made, asked = np.zeros((len(phases), 119)), np.zeros((len(phases), 119))
    for slot in range(phases.shape[1]):
        share = np.where(used, fractions, 0)[:, slot, None] * known.fractions[phases[:, slot]]
        np.add.at(made, (np.arange(len(made))[:, None], known.numbers[phases[:, slot]]), share)
    number, fraction = sorted_compositions(*table[:2])
    np.add.at(asked, (np.arange(len(asked))[:, None], number), fraction)
    np.testing.assert_allclose(made, asked, rtol=0, atol=1e-7)


def test_order_width_blocks_and_tensors_do_not_matter(
    sample: tuple[Hull, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    hull, (numbers, amounts, energies) = sample
    expected = hull.above(numbers, amounts, energies)
    assert expected.dtype == torch.float64
    turned = hull.above(
        np.pad(numbers, ((0, 0), (2, 1)))[:, ::-1],
        np.pad(amounts * 3, ((0, 0), (2, 1)))[:, ::-1],
        energies,
    )
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-12)
    tensors = hull.above(*map(torch.as_tensor, (numbers, amounts, energies)))
    assert tensors.equal(expected)
    monkeypatch.setitem(hull_module.BLOCK, "cpu", 64)
    assert hull.above(numbers, amounts, energies).equal(expected)


def test_narrow_candidates_meet_wide_hulls() -> None:
    known = Phases.lowest([[8, 12, 0]], [[1, 1, 0]], [-3.0])
    hull = Hull(build_facets(known, [[3, 8, 12], [8, 12, 0], [8, 0, 0]]))
    assert hull.energies([[12, 8]], [[1, 1]]).tolist() == [-3.0]
    assert hull.energies([[8]], [[2]]).tolist() == [0.0]
    assert np.isnan(hull.above([[12, 8]], [[1, 1]], [np.nan]).item())
    assert len(hull.energies(np.empty((0, 2), int), np.empty((0, 2)))) == 0


@pytest.mark.parametrize(
    ("numbers", "amounts", "error", "message"),
    [
        ([[8, 12], [8, 3]], [[1, 1], [1, 1]], ScreenError, r"row 1 has the elements \[3, 8\]"),
        ([[8, 12, 3]], [[1, 1, 1]], ScreenError, r"row 0 has the elements \[3, 8, 12\]"),
        ([[8, 12], [8, 8]], [[1, 1], [1, 1]], DataError, "row 1: a composition is empty"),
        ([[8, 12], [8, 12]], [[1, 1], [0, 0]], DataError, "row 1: a composition is empty"),
        ([[8, 12], [8, 12]], [[1, 1], [-1, 3]], DataError, "row 1: .* out of range"),
        ([[8, 12], [8, 12]], [[1, 1], [np.nan, 3]], DataError, "row 1: .* out of range"),
        ([[8, 12], [0, 12]], [[1, 1], [1, 3]], DataError, "row 1: .* out of range"),
        ([[8, 12]], [[1]], DataError, "one shape"),
    ],
)
def test_rows_without_a_hull_are_named(
    numbers: list[list[int]], amounts: list[list[float]], error: type[Exception], message: str
) -> None:
    hull = Hull(build_facets(Phases.lowest([[8, 12]], [[1, 1]], [-3.0]), [[8, 12]]))
    with pytest.raises(error, match=message):
        hull.energies(numbers, amounts)
    with pytest.raises(DataError, match="should have 1 rows"):
        hull.above([[8, 12]], [[1, 1]], [1.0, 2.0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_agrees(sample: tuple[Hull, Table]) -> None:
    hull, table = sample
    there = Hull(hull.facets, "cuda")
    torch.testing.assert_close(there.above(*table).cpu(), hull.above(*table), rtol=0, atol=1e-12)
    ours, theirs = hull.products(*table[:2]), there.products(*table[:2])
    torch.testing.assert_close(theirs.fractions.cpu(), ours.fractions, rtol=0, atol=1e-7)
