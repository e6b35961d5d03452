"""Which rows train and which validate: a given column, or a random share of the compositions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irnet_core.errors import DataError

TRAIN, VALIDATION, TEST = "train", "val", "test"


@dataclass(frozen=True)
class Split:
    """Row numbers of the two roles that training may read, and how they were found.

    Attributes
    ----------
    train, validation : numpy.ndarray, int64
    description : dict
        Recorded in the model card.
    """

    train: np.ndarray
    validation: np.ndarray
    description: dict[str, object]


def given_split(
    labels: np.ndarray, *, column: str, source: str | None = None, rows: np.ndarray | None = None
) -> Split:
    """Split by a column that holds ``train``, ``val`` and, never read here, ``test``.

    Parameters
    ----------
    labels : numpy.ndarray, (n,)
    column, source : str
        Where the labels are from, for messages.
    rows : numpy.ndarray, (n,), optional
        Their rows there, if other than 0 to n - 1.

    Raises
    ------
    DataError
        If a label is none of the three, or train or val has no row.
    """
    labels = np.asarray(labels, dtype=object)
    known = np.isin(labels.astype(str), [TRAIN, VALIDATION, TEST])
    if not known.all():
        row = int(np.argmin(known))
        raise DataError(
            f"{labels[row]!r} is no role: a split column holds {TRAIN}, {VALIDATION} or {TEST}",
            source=source,
            column=column,
            row=row if rows is None else int(rows[row]),
        )
    roles = {role: np.flatnonzero(labels == role) for role in (TRAIN, VALIDATION, TEST)}
    for role in (TRAIN, VALIDATION):
        if not len(roles[role]):
            raise DataError(
                f"no row is marked {role!r}: mark some, or leave out --split-column for a "
                "random split",
                source=source,
                column=column,
            )
    description = {"kind": "given", "column": column, "test_rows_left_out": len(roles[TEST])}
    return Split(roles[TRAIN], roles[VALIDATION], description)


def random_split(
    groups: np.ndarray, *, share: float = 0.1, seed: int = 0, source: str | None = None
) -> Split:
    """Hold out a random share of the groups, so that no composition sits on both sides.

    Parameters
    ----------
    groups : numpy.ndarray, (n,)
        Group of each row, e.g. its canonical composition.
    share : float
        Share of the groups that validates; at least one.
    seed : int
    source : str, optional
        Where the rows are from, for messages.

    Raises
    ------
    DataError
        If there are fewer than two groups.
    """
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"the rows hold {len(names)} distinct compositions: a split needs at least 2",
            source=source,
        )
    held_out = np.zeros(len(names), dtype=bool)
    count = min(max(1, round(share * len(names))), len(names) - 1)
    held_out[np.random.default_rng(seed).permutation(len(names))[:count]] = True
    validation = held_out[members]
    description = {"kind": "random", "by": "composition", "share": share, "seed": seed}
    return Split(np.flatnonzero(~validation), np.flatnonzero(validation), description)


def among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each of some texts (n,) is one of those known, by their hashes.

    NumPy compares each with each where texts are objects: hours for two large tables.
    """
    wanted = set(known.tolist())
    return np.fromiter((value in wanted for value in values.tolist()), bool, len(values))


def shared_compositions(split: Split, compositions: np.ndarray) -> np.ndarray:
    """Compositions that sit on both sides of a split: each makes the validation error too good."""
    return np.intersect1d(compositions[split.train], compositions[split.validation])
