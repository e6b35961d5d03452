"""IRNet as scikit-learn knows regressors, on formulas: for notebooks and cross-validation.

No server takes part, and the store only where a model is loaded by its name there. What is saved is
the bundle that ``irnet predict`` reads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from featurizers.blocks import encode, schemas
from featurizers.canonical import canonical_formulas
from featurizers.clusters import cluster_labels
from flows.choices import check_choices, check_members, default_network
from flows.formulas import OUTPUTS, Predicted, predict_formulas, usable
from flows.models import input_blocks, open_model
from infra.manifest import code_version, utc_now
from infra.settings import settings
from infra.store import Store
from irnet_core.bundle import Bundle, pack
from irnet_core.device import pick_device
from irnet_core.ensemble import fit_members
from irnet_core.errors import DataError, ModelError
from irnet_core.inference import Predictor
from irnet_core.judging import assembled, judged
from irnet_core.notation import FRACTIONS
from irnet_core.schema import AS_GIVEN, FORMULA, PREDICTION, PREDICTION_STD, REASON
from irnet_core.split_rules import Given, Rule, SplitRows
from irnet_core.split_texts import only_pair, parse_split
from irnet_core.training import TrainingData

ROLES = "roles"


class IRNetRegressor(RegressorMixin, BaseEstimator):
    """Learn a property from chemical formulas.

    Formulas are strings, or objects with a ``formula`` such as pymatgen's compositions, in a list,
    an array or a pandas Series. Composition attributes and element fractions are computed inside.

    Parameters
    ----------
    network : str, optional
        See :mod:`irnet_core.notation`; by default irnet-elements, or for a recipe without element
        fractions irnet-17.
    recipe : {"modern", "paper"}
    epochs : int, optional
        Instead of the recipe's.
    members : int
        Networks of an ensemble, with seeds from ``random_state`` on.
    validation : str
        Who of the rows fitted on chooses the epoch and calibrates intervals instead of training: a
        rule as for ``irnet train --split-column``.
    random_state : int
        Seed of the split, the first weights and the order of rows.
    device : {"auto", "cpu", "cuda"}

    Attributes
    ----------
    bundle_ : Bundle
        Networks and scalers, with a card that holds the errors on the validation rows.

    Examples
    --------
    >>> model = IRNetRegressor.load("oqmd-formation-enthalpy")
    >>> bool(-2.2 < model.predict(["NaCl"])[0] < -1.7)  # eV/atom
    True
    """

    def __init__(
        self,
        network: str | None = None,
        recipe: str = "modern",
        epochs: int | None = None,
        members: int = 1,
        validation: str = "random:0.1",
        random_state: int = 0,
        device: str = "auto",
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.epochs = epochs
        self.members = members
        self.validation = validation
        self.random_state = random_state
        self.device = device

    def fit(self, formulas: Iterable[Any], y: ArrayLike, roles: ArrayLike | None = None) -> Self:
        """Train on some of the rows, and choose and calibrate by the others.

        Parameters
        ----------
        formulas : iterable, n
        y : array_like, (n,)
            The target. The name of a pandas Series becomes that of the target.
        roles : array_like of str, (n,), optional
            ``train``, ``val`` or ``test`` for each row instead of the rule ``validation``; test
            rows are left out.

        Returns
        -------
        IRNetRegressor
            Itself.

        Raises
        ------
        DataError
            Naming the first row whose formula or value cannot be used, or if a composition is to
            train and to validate.
        TrainingError, NotationError, ModelError
            If a parameter cannot be used, or the loss is not finite.
        """
        name = self.network or default_network(self.recipe)
        notation, recipe = check_choices(name, self.recipe, self.epochs, "regressor")
        check_members(self.members, "float32", self.random_state)
        device, started = pick_device(self.device), utc_now()
        texts = _texts(formulas)
        target = _target(y, len(texts))
        parsed, reasons = usable(texts)
        if reasons:
            first = min(reasons)
            raise DataError(
                f"{len(reasons):,} of {len(texts):,} formulas cannot be used, the first, "
                f"{texts[first]!r}, because: {reasons[first]}; leave these rows out",
                row=first,
            )
        x = encode(parsed.numbers, parsed.amounts, recipe.inputs)
        columns = {} if roles is None else {ROLES: np.asarray(roles, object)}
        rule = Given(ROLES) if columns else parse_split(self.validation, self.random_state)
        compositions = canonical_formulas(parsed.numbers, parsed.amounts)[0]
        split = only_pair(rule, _split_rows(rule, compositions, x, columns))
        train, held = split.train, split.validation
        fractions = recipe.inputs[-1] == FRACTIONS
        data = TrainingData(x[train], target[train], x[held], target[held], fractions)
        fits = fit_members(
            data,
            notation,
            recipe,
            seed=self.random_state,
            members=self.members,
            device=device,
            folder=None,
            report=lambda member, status: None,
        )
        made = assembled(
            fits,
            recipe,
            schemas(recipe.inputs),
            name="regressor",
            target=str(getattr(y, "name", None) or "y"),
            unit=AS_GIVEN,
            seed=self.random_state,
            data={"rows": {"train": len(train), "validation": len(held)}},
            split=split.description,
            created=started,
            code={"irnet-screening": code_version()},
        )
        self.bundle_ = judged(made, data, device=device, seed=self.random_state)
        return self

    def predict(
        self, formulas: Iterable[Any], return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict the property of formulas.

        Parameters
        ----------
        formulas : iterable, n
        return_std : bool
            Whether the calibrated standard deviation is wanted too.

        Returns
        -------
        mean : numpy.ndarray, float64, (n,)
        std : numpy.ndarray, float64, (n,)
            With ``return_std`` alone.

        Raises
        ------
        DataError
            Naming the first row whose formula cannot be used; :meth:`predict_table` keeps them.
        ModelError
            If a standard deviation is asked for that the model was not calibrated for.
        """
        texts = _texts(formulas)
        values, reasons = self._predicted(texts)
        if reasons:
            first = min(reasons)
            raise DataError(
                f"{texts[first]!r} cannot be used: {reasons[first]}; leave the row out, or use "
                "predict_table, which keeps it with the reason",
                row=first,
            )
        if not return_std:
            return values[PREDICTION.name]
        if PREDICTION_STD.name not in values:
            raise ModelError(
                "the model has no calibrated standard deviation: fit it with more validation rows"
            )
        return values[PREDICTION.name], values[PREDICTION_STD.name]

    def predict_table(self, formulas: Iterable[Any]) -> pd.DataFrame:
        """All that the model says, a row for each formula, as ``irnet predict`` writes it.

        Returns
        -------
        pandas.DataFrame
            ``formula``, ``prediction``, ``prediction_std``, ``lower_90``, ``upper_90``,
            ``domain_percentile``, without those that the model was not calibrated for, and
            ``reason`` where a row cannot be used. A Series' index is kept.
        """
        texts = _texts(formulas)
        values, reasons = self._predicted(texts)
        names = [column.name for column in OUTPUTS if column.name in values]
        table = {FORMULA.name: texts} | {name: values[name] for name in names}
        if reasons:
            table[REASON.name] = [reasons.get(row) for row in range(len(texts))]
        index = formulas.index if isinstance(formulas, pd.Series | pd.DataFrame) else None
        return pd.DataFrame(table, index=index)

    def save(self, folder: str | Path) -> None:
        """Write the model to a new folder, which ``irnet predict --model FOLDER`` takes.

        Raises
        ------
        ModelError
            If there is something of that name already, or its folder is not there.
        """
        check_is_fitted(self)
        folder = Path(folder)
        if folder.exists() or not folder.parent.is_dir():
            why = "is there already" if folder.exists() else "lies in a folder that is not there"
            raise ModelError(f"{folder} {why}: name another")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
            whole = Path(made) / folder.name
            whole.mkdir()
            for name, content in pack(self.bundle_).items():
                (whole / name).write_bytes(content)
            os.replace(whole, folder)

    @classmethod
    def load(cls, model: str | Path) -> Self:
        """A fitted regressor from a folder, from the store by name or id, or from the package.

        Raises
        ------
        StoreError, ModelError
            If there is no such model, or it is damaged.
        """
        bundle, _ = open_model(str(model), Store(settings().store))
        card = bundle.card
        recipe = str(card.recipe.get("name", "modern"))
        made = cls(card.network, recipe, None, len(bundle.networks), random_state=card.seed)
        made.bundle_ = bundle
        return made

    def _predicted(self, texts: list[str | None]) -> Predicted:
        check_is_fitted(self)
        bundle: Bundle = self.bundle_
        predictor = Predictor(bundle, pick_device(self.device))
        return predict_formulas(predictor, input_blocks(bundle), pa.array(texts, pa.string()))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def _texts(formulas: Iterable[Any]) -> list[str | None]:
    """Formulas as strings; what is none becomes None, which later gets a reason."""
    if isinstance(formulas, str):
        raise DataError(f"{formulas!r} is one formula: give a list of them")
    if isinstance(formulas, pd.DataFrame):
        formulas = formulas.to_numpy()
    if isinstance(formulas, np.ndarray):
        if formulas.shape[1:] not in ((), (1,)):
            raise DataError(f"formulas are one column, not {formulas.shape[1]}: give that one")
        formulas = formulas.ravel()
    texts = [getattr(value, "formula", value) for value in formulas]
    return [str(text) if isinstance(text, str) else None for text in texts]


def _target(y: ArrayLike, rows: int) -> np.ndarray:
    """Values (n,) to learn."""
    values = np.asarray(y)
    if values.size != rows:
        raise DataError(f"{rows:,} formulas have {values.size:,} values: give one for each")
    try:
        values = values.astype(np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise DataError(f"the values to learn must be numbers: {error}") from error
    if not (finite := np.isfinite(values)).all():
        row = int(np.argmin(finite))
        raise DataError(
            f"{int((~finite).sum()):,} of {rows:,} values are not finite numbers: leave these rows "
            "out",
            row=row,
        )
    return values


def _split_rows(
    rule: Rule, compositions: np.ndarray, x: np.ndarray, columns: dict[str, np.ndarray]
) -> SplitRows:
    """What the rule sees."""
    for column in rule.columns:
        if len(columns.get(column, ())) != len(x):
            raise DataError(
                f"the rule of validation needs a column {column!r} of {len(x):,} values: choose "
                "another rule, or give fit the roles"
            )
    return SplitRows(
        compositions,
        columns.__getitem__,
        lambda count, seed: cluster_labels(x, count, seed),
    )
