"""Targets measured from their elements: the fit beside scikit-learn, outliers, whole trainings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from irnet_core.elements import N_ELEMENTS
from irnet_core.errors import TrainingError
from irnet_core.recipes import recipe
from irnet_core.references import MOST_LEFT, RIDGE, TargetScaler
from irnet_core.training import Start, TrainingData, fit

VALUES = np.random.default_rng(7).normal(-5, 3, N_ELEMENTS)


def shares(n, seed=0, known=40):
    """Fractions (n, 112) of up to four of the first elements."""
    random = np.random.default_rng(seed)
    found = np.zeros((n, N_ELEMENTS), np.float32)
    for i, row in enumerate(found):
        chosen = random.permutation(known)[: 1 + i % 4]
        amounts = random.integers(1, 9, len(chosen))
        row[chosen] = amounts / amounts.sum()
    return found


def test_values_are_those_of_a_ridge_regression():
    x = shares(600)
    y = x @ VALUES + np.random.default_rng(1).normal(0, 0.1, len(x))
    found = TargetScaler.fit(y, x)
    ridge = Ridge(RIDGE, fit_intercept=False).fit(x.astype(float), y - np.median(y))
    np.testing.assert_allclose(found.references, ridge.coef_, rtol=1e-4, atol=1e-5)
    assert not found.references[40:].any()
    assert float(found.scale) < 0.2


def test_outliers_say_nothing():
    x = shares(600)
    y = x @ VALUES + np.random.default_rng(1).normal(0, 0.1, len(x))
    clean = TargetScaler.fit(y, x).references
    y[::100] += 500
    np.testing.assert_allclose(TargetScaler.fit(y, x).references, clean, atol=0.1)


def test_only_what_explains_much_is_kept():
    x = shares(400)
    noise = np.random.default_rng(1).normal(0, 1, len(x))
    assert TargetScaler.fit(noise, x).references is None
    assert TargetScaler.fit(noise, None).references is None
    half_zero = np.maximum(x @ VALUES - np.median(x @ VALUES), 0)
    assert TargetScaler.fit(half_zero, x).references is None


def test_as_many_elements_as_rows_explain_nothing():
    """In the rows they were fitted on they would; rows are judged by the others."""
    x = shares(60, known=100)
    y = np.random.default_rng(1).normal(0, 1, len(x))
    inside = Ridge(RIDGE, fit_intercept=False).fit(x, y - np.median(y)).predict(x)
    shifted = y - np.median(y)
    assert np.median(np.abs(shifted - inside)) < MOST_LEFT * np.median(np.abs(shifted))
    assert TargetScaler.fit(y, x).references is None


def test_rows_left_out_one_at_a_time():
    """The residual of a row is the one of a regression without it."""
    x = shares(80, known=20)
    y = x @ VALUES + np.random.default_rng(1).normal(0, 0.5, len(x))
    shifted = y - np.median(y)
    left = []
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        ridge = Ridge(RIDGE, fit_intercept=False).fit(x[others].astype(float), shifted[others])
        left.append(abs(shifted[i] - ridge.predict(x[i : i + 1])[0]))
    for factor, kept in ((1.001, True), (0.999, False)):
        share = factor * np.median(left) / np.median(np.abs(shifted))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("irnet_core.references.MOST_LEFT", share)
            assert (TargetScaler.fit(y, x).references is not None) == kept


@pytest.mark.parametrize("unit", [1e-47, 1e35, 1e42])
def test_values_beyond_single_precision_are_refused(unit):
    y = np.random.default_rng(0).normal(size=50) * unit
    with pytest.raises(TrainingError, match="single precision: give it in another unit"):
        TargetScaler.fit(y)


def test_value_undoes_scaled():
    x = shares(50)
    y = x @ VALUES
    scaler = TargetScaler.fit(y, x)
    raw, truth = torch.from_numpy(x), torch.from_numpy(y)
    outputs = scaler.scaled(truth - scaler.explained(raw))
    torch.testing.assert_close(scaler.value(outputs, raw), truth)
    two = scaler.value(outputs.expand(2, -1), raw)  # members of an ensemble
    torch.testing.assert_close(two, truth.expand(2, -1))


@pytest.mark.parametrize("center", [1e4, 1e7])
def test_a_spread_of_one_round_a_large_value(center):
    """As total energies of all electrons have it; networks' outputs are in single precision."""
    x = shares(200)
    y = center * (1 + x @ VALUES) + np.random.default_rng(0).normal(size=len(x))
    scaler = TargetScaler.fit(y, x)
    assert scaler.references is not None
    raw, truth = torch.from_numpy(x), torch.from_numpy(y)
    outputs = scaler.scaled(truth - scaler.explained(raw)).float()
    assert (scaler.value(outputs, raw) - truth).abs().max() < 1e-5 * scaler.scale.item()


def test_without_references_it_is_a_scaler():
    x = torch.rand(5, 3)
    scaler = TargetScaler.identity()
    assert torch.equal(scaler.value(x[:, 0], x), x[:, 0])
    assert torch.equal(scaler.scaled(x[:, 0]), x[:, 0])


@pytest.mark.parametrize("fractions", [True, False])
def test_training_takes_them_off_the_target(fractions):
    """A network of one epoch knows the elements only if it was told."""
    x = shares(900)
    rest = np.sin(9 * x[:, 3]).astype(float)
    y = x @ VALUES + 0.1 * rest
    data = TrainingData(x[:700], y[:700], x[700:], y[700:], fractions)
    chosen = recipe("modern").with_epochs(1)
    fitted = fit(data, "16BARx1-1", chosen)
    assert (fitted.target.references is not None) == fractions
    assert (fitted.progress.best_mae < 0.2) == fractions
    off = fit(data, "16BARx1-1", replace(chosen, references=False))
    assert off.target.references is None


@pytest.mark.parametrize(
    ("told", "factor", "kept"),
    [
        (True, 1.0, True),  # a related target
        (True, -1.0, False),  # what they say of this one is wrong
        (False, 1.0, False),  # the network has learned the whole of its target
    ],
)
def test_a_network_that_is_continued_keeps_its_references(told, factor, kept):
    x = shares(900)
    y = x @ VALUES + 0.1 * np.sin(9 * x[:, 3])
    data = TrainingData(x[:700], y[:700], x[700:], y[700:], True)
    chosen = recipe("modern").with_epochs(1)
    first = fit(data, "16BARx1-1", replace(chosen, references=told))
    other = TrainingData(x[:100], factor * y[:100] + 2, x[700:], factor * y[700:] + 2, True)
    start = Start(first.network, first.inputs, first.target)
    second = fit(other, "16BARx1-1", chosen.for_transfer(same_target=False), start=start)
    assert (second.target.references is not None) == kept
    if kept:
        assert torch.equal(second.target.references, first.target.references)
