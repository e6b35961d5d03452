"""The exceptions of the project, one sentence each: what failed, on what, and what to do next.

Every error a user can meet derives from :class:`IRNetError`; the command line prints its text
and exits with status 1. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations


class IRNetError(Exception):
    """Base of all errors that a user can act on."""


class FormulaError(IRNetError, ValueError):
    """A chemical formula cannot be read or holds an element without data."""


class DataError(IRNetError, ValueError):
    """A table lacks a column, or holds rows that cannot be used.

    Parameters
    ----------
    message : str
        What is wrong and what to do about it.
    source : str, optional
        File or artifact the table came from.
    column : str, optional
        Column concerned.
    row : int, optional
        First row concerned, counted from 0 as in the table.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        column: str | None = None,
        row: int | None = None,
    ) -> None:
        where = [
            part
            for part in (
                source,
                f"column {column!r}" if column is not None else None,
                f"row {row}" if row is not None else None,
            )
            if part
        ]
        super().__init__(f"{', '.join(where)}: {message}" if where else message)
        self.source, self.column, self.row = source, column, row


class NotationError(IRNetError, ValueError):
    """A network's notation, such as ``1024BARx4-...-1``, cannot be read."""


class FeatureSchemaError(IRNetError, ValueError):
    """Features were made by another definition than the one a model was trained on."""


class ModelError(IRNetError):
    """A model bundle is missing, damaged, or unfit for the request."""


class TrainingError(IRNetError):
    """Training cannot start or has diverged."""


class ScreenError(IRNetError, ValueError):
    """A screen's limits contradict each other or leave no candidate."""


class StoreError(IRNetError):
    """The store cannot be read or written, or does not hold what was asked for."""


class SourceError(IRNetError):
    """A database or file cannot be pulled completely."""
