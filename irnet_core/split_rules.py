"""Splits as values: rules that say who trains and who validates.

A rule is frozen and yields named pairs of row numbers. All of them go by composition: no
composition may sit on both sides of a pair, since a network that has seen it knows the answer.
:mod:`irnet_core.split_texts` reads rules from texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from irnet_core.errors import DataError
from irnet_core.splits import Split, among, given_split, random_split, shared_compositions

ALL = "*"
"""In place of a name: each group is left out in turn."""


@dataclass(frozen=True)
class SplitRows:
    """What rules may look at.

    Attributes
    ----------
    compositions : numpy.ndarray of object, (n,)
        Canonical compositions, which are the groups.
    column : callable
        Values (n,) of a column of the table by name; raises `DataError` where there is none.
    clusters : callable
        Labels (n,), 0 to k - 1, of k clusters of the features, by k and seed.
    source : str, optional
        Where the rows are from, for messages.
    rows : numpy.ndarray, (n,), optional
        Their rows there, if other than 0 to n - 1.
    """

    compositions: np.ndarray
    column: Callable[[str], np.ndarray]
    clusters: Callable[[int, int], np.ndarray]
    source: str | None = None
    rows: np.ndarray | None = None


class Rule(Protocol):
    """A way to split; every rule is a frozen dataclass with these."""

    kind: ClassVar[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that the rule reads."""
        ...

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """Names and row numbers of each pair of training and validation rows."""
        ...


@dataclass(frozen=True)
class Given:
    """A column that holds train, val and, never read, test: ``given:split``."""

    column: str
    kind: ClassVar[str] = "given"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of roles."""
        return (self.column,)

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """The one pair."""
        labels = rows.column(self.column)
        split = given_split(labels, column=self.column, source=rows.source, rows=rows.rows)
        yield self.column, _checked(split, rows, self.column)


@dataclass(frozen=True)
class Random:
    """A random share of the compositions validates: ``random:0.1``."""

    share: float = 0.1
    seed: int = 0
    kind: ClassVar[str] = "random"
    columns: ClassVar[tuple[str, ...]] = ()

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """The one pair."""
        groups = rows.compositions
        yield (
            f"{self.share:g}",
            random_split(groups, share=self.share, seed=self.seed, source=rows.source),
        )


@dataclass(frozen=True)
class Folds:
    """Each given fold validates in turn, or one of them: ``folds:fold``, ``folds:fold/3``.

    Published folds may hold a composition twice: those that validate stay as given, and their
    other rows train nothing.
    """

    column: str
    which: str = ALL
    kind: ClassVar[str] = "folds"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of folds."""
        return (self.column,)

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """One pair a fold."""
        labels = _texts(rows.column(self.column), self.column, rows)
        for name, split in _leave_out(self, labels, self.which, rows):
            known = among(rows.compositions[split.train], rows.compositions[split.validation])
            more = {"training_rows_of_validated_compositions_left_out": int(known.sum())}
            left = Split(split.train[~known], split.validation, {**split.description, **more})
            yield name, _filled(self, left, rows)


@dataclass(frozen=True)
class System:
    """One chemical system validates: ``system:Fe-O``; ``system:*`` for each in turn."""

    which: str
    kind: ClassVar[str] = "system"
    columns: ClassVar[tuple[str, ...]] = ()

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """One pair a chemical system."""
        which = self.which if self.which == ALL else "-".join(sorted(self.which.split("-")))
        yield from _leave_out(self, chemical_systems(rows.compositions), which, rows)


@dataclass(frozen=True)
class Element:
    """All that holds an element validates: ``element:Fe``; ``element:*`` for each in turn."""

    which: str
    kind: ClassVar[str] = "element"
    columns: ClassVar[tuple[str, ...]] = ()

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """One pair an element."""
        systems = pa.array(chemical_systems(rows.compositions), pa.string())
        there = sorted(set("-".join(pc.unique(systems).to_pylist()).split("-")))
        for symbol in _chosen(self, there, self.which, rows):
            pattern = f"(^|-){re.escape(symbol)}(-|$)"
            held_out = pc.match_substring_regex(systems, pattern).to_numpy(zero_copy_only=False)
            yield symbol, _sides(self, held_out, rows, symbol)


@dataclass(frozen=True)
class Cluster:
    """One of k clusters of the features validates: ``cluster:10/3``; ``cluster:10`` for each.

    A composition with several structures belongs to the cluster of the first of them.
    """

    count: int
    which: str = ALL
    seed: int = 0
    kind: ClassVar[str] = "cluster"
    columns: ClassVar[tuple[str, ...]] = ()

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """One pair a cluster."""
        labels = rows.clusters(self.count, self.seed)
        _, first, members = np.unique(rows.compositions, return_index=True, return_inverse=True)
        labels = labels[first[members]].astype(str).astype(object)
        yield from _leave_out(self, labels, self.which, rows)


@dataclass(frozen=True)
class Time:
    """What is new from a moment on validates: ``time:year<2010`` trains on the years before.

    A composition that was known before is not new: its later rows are left out.
    """

    column: str
    before: float
    kind: ClassVar[str] = "time"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of times."""
        return (self.column,)

    def pairs(self, rows: SplitRows) -> Iterator[tuple[str, Split]]:
        """The one pair."""
        times = rows.column(self.column)
        if len(times) and (times.dtype.kind not in "iuf" or not np.isfinite(times).all()):
            row = 0 if times.dtype.kind not in "iuf" else int(np.argmin(np.isfinite(times)))
            value = times[row : row + 1].tolist()[0]
            raise DataError(
                f"a split by time needs a number in each row, not {value!r}: choose another column",
                source=rows.source,
                column=self.column,
                row=row if rows.rows is None else int(rows.rows[row]),
            )
        early = times < self.before
        known = among(rows.compositions, rows.compositions[early])
        train, validation = np.flatnonzero(early), np.flatnonzero(~known)
        more = {"later_rows_of_known_compositions_left_out": int((known & ~early).sum())}
        split = Split(train, validation, {**described(self), **more})
        yield f"{self.column}<{self.before:g}", _filled(self, split, rows)


def described(rule: Rule) -> dict[str, object]:
    """The rule as the model card records it."""
    return {"kind": rule.kind, "by": "composition", **asdict(rule)}  # type: ignore[call-overload]


def chemical_systems(compositions: np.ndarray) -> np.ndarray:
    """Elements of canonical compositions (n,), joined by hyphens.

    Examples
    --------
    >>> chemical_systems(np.array(["Fe2O3", "ClNa"], dtype=object)).tolist()
    ['Fe-O', 'Cl-Na']
    """
    texts = pa.array(compositions, pa.string())
    spread = pc.replace_substring_regex(texts, "([A-Z][a-z]?)[0-9.]*", r"\1-")
    return np.asarray(pc.utf8_rtrim(spread, "-").to_pylist(), dtype=object)


def _texts(values: np.ndarray, column: str, rows: SplitRows) -> np.ndarray:
    missing = np.array([value is None or value != value for value in values])
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(
            "the row belongs to no fold: give it one or leave it out",
            source=rows.source,
            column=column,
            row=row if rows.rows is None else int(rows.rows[row]),
        )
    return values.astype(str).astype(object)


def _leave_out(
    rule: Rule, labels: np.ndarray, which: str, rows: SplitRows
) -> Iterator[tuple[str, Split]]:
    there = sorted(set(labels.tolist()), key=lambda name: (len(name), name))
    for name in _chosen(rule, there, which, rows):
        yield name, _sides(rule, labels == name, rows, name)


def _chosen(rule: Rule, there: list[str], which: str, rows: SplitRows) -> list[str]:
    if which == ALL:
        return there
    if which not in there:
        some = ", ".join(there[:12]) + (" and others" if len(there) > 12 else "")
        raise DataError(
            f"no row belongs to the {rule.kind} {which!r}: choose among {some}", source=rows.source
        )
    return [which]


def _sides(rule: Rule, held_out: np.ndarray, rows: SplitRows, name: str) -> Split:
    train, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return _filled(rule, Split(train, validation, {**described(rule), "held_out": name}), rows)


def _filled(rule: Rule, split: Split, rows: SplitRows) -> Split:
    for side, members in (("train", split.train), ("validate", split.validation)):
        if not len(members):
            raise DataError(
                f"the split {rule} leaves no row to {side}: choose another", source=rows.source
            )
    return split


def _checked(split: Split, rows: SplitRows, column: str) -> Split:
    shared = shared_compositions(split, rows.compositions)
    if len(shared):
        first = split.validation[rows.compositions[split.validation] == shared[0]][0]
        raise DataError(
            f"{len(shared)} compositions, such as {shared[0]}, are in train and in val, which "
            "makes the validation error too good: give each composition one role",
            source=rows.source,
            column=column,
            row=int(first if rows.rows is None else rows.rows[first]),
        )
    return split
