"""The ten classical learners of the paper, and histogram gradient boosting, by scikit-learn.

Each comes with a small grid of hyper-parameters like the paper's; they are chosen on a fifth of the
training rows that is held out by composition. Learners whose cost grows faster than their rows get
a sample of these, as the results say.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, LinearRegression, Ridge, SGDRegressor
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

HELD_OUT = 0.2


@dataclass(frozen=True)
class Learner:
    """A classical learner.

    Attributes
    ----------
    make : callable
        A fresh estimator by seed.
    grid : dict
        Values to try for some of its parameters.
    most_rows : int
        Training rows it can take in reasonable time.
    scaled : bool
        Whether it needs inputs and target standardised.
    """

    make: Callable[[int], Any]
    grid: dict[str, list[Any]] = field(default_factory=dict)
    most_rows: int = 1_000_000
    scaled: bool = True


CLASSICAL: dict[str, Learner] = {
    "linear": Learner(lambda seed: LinearRegression()),
    "ridge": Learner(lambda seed: Ridge(), {"alpha": [0.01, 1.0, 100.0]}),
    "elastic-net": Learner(
        lambda seed: ElasticNet(max_iter=2_000, random_state=seed),
        {"alpha": [0.001, 0.01, 0.1], "l1_ratio": [0.2, 0.8]},
        50_000,
    ),
    "sgd": Learner(
        lambda seed: SGDRegressor(random_state=seed, learning_rate="adaptive", eta0=0.001),
        {"loss": ["squared_error", "huber"], "alpha": [1e-5, 1e-3]},
    ),
    "adaboost": Learner(
        lambda seed: AdaBoostRegressor(
            DecisionTreeRegressor(max_depth=8, random_state=seed), random_state=seed
        ),
        {"n_estimators": [25], "loss": ["linear", "exponential"]},
        50_000,
        scaled=False,
    ),
    "svm": Learner(
        lambda seed: SVR(kernel="rbf", epsilon=0.05, cache_size=500), {"C": [1.0, 10.0]}, 10_000
    ),
    "nearest": Learner(
        lambda seed: KNeighborsRegressor(weights="distance"), {"n_neighbors": [3, 5, 10]}, 100_000
    ),
    "tree": Learner(
        lambda seed: DecisionTreeRegressor(random_state=seed),
        {"min_samples_leaf": [1, 5, 20]},
        scaled=False,
    ),
    "forest": Learner(
        lambda seed: RandomForestRegressor(100, random_state=seed),
        {"max_features": [0.15, 0.33]},
        100_000,
        scaled=False,
    ),
    "extra-trees": Learner(
        lambda seed: ExtraTreesRegressor(100, random_state=seed),
        {"max_features": [0.33, 0.66]},
        100_000,
        scaled=False,
    ),
    "hist-gradient-boosting": Learner(
        lambda seed: HistGradientBoostingRegressor(max_iter=300, random_state=seed),
        # where half of the values are one, the absolute error never leaves their median
        {"loss": ["absolute_error", "squared_error"], "max_leaf_nodes": [31, 63]},
        scaled=False,
    ),
}
"""By name; the first ten are the paper's."""


@dataclass(frozen=True)
class Fit:
    """A fitted learner, what was chosen for it, and the rows it has seen."""

    estimator: Any
    parameters: dict[str, Any]
    rows: int
    tuned_on: int


def fit_classical(
    name: str,
    x: NDArray[np.float32],
    y: NDArray[np.float64],
    groups: NDArray[Any],
    *,
    tuning_rows: int,
    seed: int,
) -> Fit:
    """Choose hyper-parameters, then fit.

    Parameters
    ----------
    name : str
        One of :data:`CLASSICAL`.
    x, y : numpy.ndarray, (n, k) and (n,)
        Training rows alone, in random order: samples are taken from the top.
    groups : numpy.ndarray, (n,)
        Compositions.
    tuning_rows : int
        Rows that choosing may use.
    seed : int

    Returns
    -------
    Fit
    """
    with warnings.catch_warnings():
        # some values to try are bad ones, a penalty too small for attributes that depend on each
        # other among them: choosing is what the errors are for
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        return _fit(CLASSICAL[name], x, y, groups, tuning_rows, seed)


def _fit(
    learner: Learner,
    x: NDArray[np.float32],
    y: NDArray[np.float64],
    groups: NDArray[Any],
    tuning_rows: int,
    seed: int,
) -> Fit:
    x, y, groups = x[: learner.most_rows], y[: learner.most_rows], groups[: learner.most_rows]
    model, prefix = learner.make(seed), ""
    if learner.scaled:
        model = TransformedTargetRegressor(
            make_pipeline(StandardScaler(), model), transformer=StandardScaler()
        )
        step = model.regressor.steps[-1][0]
        prefix = f"regressor__{step}__"
    chosen: dict[str, Any] = {key: values[0] for key, values in learner.grid.items()}
    n = min(tuning_rows, len(x))
    tuned = any(len(values) > 1 for values in learner.grid.values())
    if tuned and len(np.unique(groups[:n])) > 1:
        search = GridSearchCV(
            model,
            {prefix + key: values for key, values in learner.grid.items()},
            scoring="neg_mean_absolute_error",
            cv=GroupShuffleSplit(1, test_size=HELD_OUT, random_state=seed),
            refit=False,
            error_score="raise",
        )
        search.fit(x[:n], y[:n], groups=groups[:n])
        chosen = {key.removeprefix(prefix): v for key, v in search.best_params_.items()}
    else:
        n = 0
    final = clone(model).set_params(**{prefix + key: value for key, value in chosen.items()})
    final.fit(x, y)
    return Fit(final, chosen, len(x), n)
