"""One cell of a study: what its learner is handed, and how far it says it is."""

from dataclasses import replace

import numpy as np
import pytest

from featurizers.blocks import encode
from flows.study_cells import Table, run_cell
from infra.study.grid import Cell

ROWS = 240
BLOCKS = {"magpie": slice(0, 145), "fractions": slice(145, 257)}


class InMemory(dict):
    """A folder of checkpoints."""

    has, read_bytes, write_bytes = dict.__contains__, dict.__getitem__, dict.__setitem__


@pytest.fixture
def additive():
    """Two folds of ternaries whose target is a sum over the elements, each with its own value."""
    draw = np.random.default_rng(0)
    numbers = np.array([draw.choice(np.arange(3, 31), 3, replace=False) for _ in range(ROWS)])
    amounts = draw.integers(1, 6, (ROWS, 3)).astype(float)
    values = draw.normal(size=120)
    y = (values[numbers] * amounts).sum(1) / amounts.sum(1)
    x = np.asarray(encode(numbers, amounts, tuple(BLOCKS)))
    order = draw.permutation(ROWS)
    folds = [(np.setdiff1d(order, part), np.sort(part)) for part in np.split(order, 2)]
    return Table(x, y, order.astype(object), folds, BLOCKS)


def cell(**changes):
    given = {"data": "a", "inputs": "composition", "learner": "irnet", "depth": 10}
    given |= {"recipe": "modern", "size": None, "epochs": 2, "tuning_rows": None, "seed": 0}
    return Cell(**given | changes)


def test_networks_are_told_that_their_inputs_end_in_fractions(additive):
    """So references explain what is a sum over the elements, long before a network learns it."""
    found = run_cell(cell(), additive, InMemory(), lambda share, note: None)
    assert (found.status, found.folds, found.n_inputs) == ("done", 2, 257)
    assert found.validation_rows == ROWS
    assert found.mae < 0.1 * found.mae_of_median


@pytest.mark.parametrize("members", [1, 2])
def test_progress_is_that_of_all_folds_and_members(additive, members):
    heard = []
    found = run_cell(
        cell(learner="plain", epochs=3, members=members),
        additive,
        InMemory(),
        lambda share, note: heard.append((share, note)),
    )
    shares = [share for share, _ in heard]
    assert (found.single_mae is None) == (members == 1)
    assert min(shares) > 0
    assert (max(shares), shares[-1]) == (1.0, 1.0)
    if members == 1:  # several speak side by side
        assert shares == sorted(shares)
        assert 0.5 in shares
    assert heard[-1][1].startswith("epoch 3/3, best MAE ")


def test_rows_of_folds_judge_and_choose_no_epoch(additive):
    """On noise the first epochs have the smallest errors, which would flatter a network."""
    noise = replace(additive, y=np.random.default_rng(1).normal(size=ROWS))
    one = replace(noise, pairs=noise.pairs[:1])
    for table, chosen in ((one, True), (noise, False)):
        found = run_cell(cell(recipe="paper", epochs=8), table, InMemory(), lambda *_: None)
        errors = {epoch: mae for epoch, _, mae in found.history}
        assert min(errors, key=errors.get) < 8
        assert found.best_epoch == (min(errors, key=errors.get) if chosen else 8)
        if chosen:
            assert found.mae == pytest.approx(min(errors.values()))
