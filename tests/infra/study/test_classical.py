import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from infra.study.classical import CLASSICAL, fit_classical


def table(n=240, seed=0):
    draw = np.random.default_rng(seed)
    x = (draw.normal(size=(n, 6)) * 10.0 ** np.arange(-3, 3)).astype(np.float32)
    y = 50 + 20 * x[:, 0] / 1e-3 + 5 * np.sin(x[:, 3])
    return x, y.astype(np.float64), draw.integers(0, n // 2, n).astype(str)


@pytest.mark.parametrize("name", CLASSICAL)
def test_every_learner_learns_and_repeats(name):
    x, y, groups = table()
    new_x, new_y, _ = table(seed=1)
    fits = [fit_classical(name, x, y, groups, tuning_rows=100, seed=3) for _ in range(2)]
    first, second = (fit.estimator.predict(new_x) for fit in fits)
    assert np.array_equal(first, second)
    assert np.abs(first - new_y).mean() < 0.6 * np.abs(np.median(y) - new_y).mean()
    assert fits[0].rows == 240
    assert fits[0].tuned_on == (0 if name == "linear" else 100)
    assert set(fits[0].parameters) == set(CLASSICAL[name].grid)


def test_ridge_is_that_of_the_whole_set_with_the_chosen_penalty():
    x, y, groups = table()
    fit = fit_classical("ridge", x, y, groups, tuning_rows=240, seed=0)
    scaled = (x - x.mean(0)) / x.std(0)
    # standardised targets differ by a factor and a shift, which ridge follows
    peer = RidgeCV([fit.parameters["alpha"]]).fit(scaled, y)
    assert fit.estimator.predict(x) == pytest.approx(peer.predict(scaled), rel=1e-3)


@pytest.mark.filterwarnings("error")
def test_attributes_that_depend_on_each_other_are_no_news():
    x, y, groups = table(2_000)
    x = np.tile(x, 40)
    fit = fit_classical("ridge", x, y, groups, tuning_rows=240, seed=0)
    assert np.abs(fit.estimator.predict(x) - y).mean() < 0.1 * y.std()


def test_what_cannot_take_the_size_gets_a_sample(monkeypatch):
    from dataclasses import replace

    small = replace(CLASSICAL["svm"], most_rows=50)
    monkeypatch.setitem(CLASSICAL, "svm", small)
    x, y, groups = table()
    fit = fit_classical("svm", x, y, groups, tuning_rows=1000, seed=0)
    assert (fit.rows, fit.tuned_on) == (50, 50)
    head = fit_classical("svm", x[:50], y[:50], groups[:50], tuning_rows=1000, seed=0)
    assert np.array_equal(fit.estimator.predict(x), head.estimator.predict(x))
