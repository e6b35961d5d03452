"""A user's own table: CSV or Parquet with a column of formulas."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from infra.content import file_digest
from infra.sources.base import described
from irnet_core.errors import DataError, SourceError
from irnet_core.schema import DUPLICATE_OF, FORMULA, ID, SOURCE_ID

_READING = "2"  # another one where the same file is read to other values
_DELIMITERS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_IDENTIFIERS = (SOURCE_ID, DUPLICATE_OF)  # text, whatever they look like
_PADDED = "^0[0-9]+$"
_NO_WHOLE_NUMBER = "^0[0-9]|[^0-9]"
_FORMATS = (*_DELIMITERS, ".parquet")


class TableFile:
    """A CSV, TSV or Parquet file; its own columns keep their names and types.

    Parameters
    ----------
    path : str or os.PathLike
        Local file; ``.csv``, ``.csv.gz``, ``.tsv``, ``.tsv.gz`` or ``.parquet``.
    formula_column : str
        Column that holds the formulas; it is called ``formula`` in the snapshot.
    as_text : bool
        Whether all columns of a CSV or TSV file are left as the text they are.
    """

    name = "file"
    licence = citation = "not stated"

    def __init__(
        self,
        path: str | os.PathLike[str],
        formula_column: str = FORMULA.name,
        *,
        as_text: bool = False,
    ) -> None:
        self.path, self.formula_column = Path(path), formula_column
        self.as_text = as_text

    @property
    def what(self) -> str:
        """One sentence for people."""
        return f"Rows of {self.path.name}."

    def fingerprint(self) -> dict[str, str]:
        """Hash of the file, and how it is read.

        Raises
        ------
        SourceError
            If there is no such file, or it cannot be read.
        """
        format_ = self._format()
        try:
            with self.path.open("rb") as file:
                _, sha256 = file_digest(file)
        except OSError as error:
            raise self._unreadable(error) from error
        return {
            "source": self.name,
            "sha256": sha256,
            "format": format_,
            "formula_column": self.formula_column,
            "reading": _READING,
        }

    def read(self) -> pa.Table:
        """All rows; formulas as text in the column ``formula``.

        Raises
        ------
        SourceError
            If there is no such file, or it cannot be read.
        DataError
            If it has no rows, no column of formulas, or columns of the same name.
        """
        format_ = self._format()
        try:
            table = self._read_parquet() if format_ == ".parquet" else self._read_csv(format_)
        except OSError as error:
            raise self._unreadable(error) from error
        except UnicodeDecodeError as error:
            raise SourceError(
                f"the names of columns in {self.path} are not UTF-8: save the file in that encoding"
            ) from error
        except pa.ArrowException as error:
            raise SourceError(
                f"cannot read {self.path} as {format_}: {_one_line(error)}; correct the file or "
                "its name"
            ) from error
        return self._checked(table)

    def _format(self) -> str:
        if not self.path.exists():
            raise SourceError(f"there is no file {self.path}: check the path")
        if self.path.is_dir():
            raise SourceError(f"{self.path} is a folder: name one file in it")
        if format_ := _format_of(self.path.name):
            return format_
        raise SourceError(f"{self.path} is none of {', '.join(_FORMATS)}: convert or rename it")

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(
            f"cannot read {self.path}: {error.strerror or _one_line(error)}; check the file and "
            "its permissions"
        )

    def _read_csv(self, format_: str) -> pa.Table:
        self._refuse_other_separators(format_)
        # Text is never taken for a missing value: NaN is sodium and nitrogen.
        text = {self.formula_column, *(column.name for column in _IDENTIFIERS)}
        if self.as_text:
            with self._unpacked(format_) as file:
                text.update(pa_csv.open_csv(file, **_options(format_)).schema.names)
        table = self._parsed(format_, text)
        if padded := self._padded(table.schema, format_):
            table = self._parsed(format_, text | padded)
        columns = map(self._text, table.schema, table.columns)
        return pa.table(list(columns), names=table.column_names)

    def _refuse_other_separators(self, format_: str) -> None:
        """Spreadsheets of many countries write semicolons, and commas in numbers."""
        with self._unpacked(format_) as file:
            head = file.read(4096).partition(b"\n")[0].decode(errors="replace")
        mark = next((mark for mark in ";\t|" if mark in head), None)
        if mark is not None and _DELIMITERS[format_] not in head:
            raise DataError(
                f"it is separated by {mark!r}, save it with commas between columns and full stops "
                "in numbers",
                source=str(self.path),
            )

    def _parsed(self, format_: str, text: Collection[str]) -> pa.Table:
        """The table; columns of text, and whatever else is not UTF-8, are bytes as yet."""
        with self._unpacked(format_) as file:
            options = _options(format_, column_types=dict.fromkeys(text, pa.binary()))
            return pa_csv.read_csv(file, **options)

    def _padded(self, schema: pa.Schema, format_: str) -> set[str]:
        """Columns of numbers with zeros in front, such as 007: these are identifiers.

        A column ``id`` is one also where it merely looks like other numbers, such as 12E4.
        """
        names = [
            field.name
            for field in schema
            if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        ]
        if not names or len(set(schema.names)) < len(schema.names):
            return set()
        types = dict.fromkeys(names, pa.string())
        found: set[str] = set()
        with self._unpacked(format_) as file:
            options = _options(format_, include_columns=names, column_types=types)
            for batch in pa_csv.open_csv(file, **options):
                for name, column in zip(names, batch.columns, strict=True):
                    pattern = _NO_WHOLE_NUMBER if name == ID.name else _PADDED
                    if pc.any(pc.match_substring_regex(column, pattern)).as_py():
                        found.add(name)
        return found

    def _text(self, field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column's bytes as the text they are; other columns stay."""
        if not pa.types.is_binary(field.type):
            return column
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid:
            row = next(n for n, value in enumerate(column.to_pylist()) if _is_no_utf8(value))
            raise DataError(
                "it is not UTF-8, save the file in that encoding",
                source=str(self.path),
                column=field.name,
                row=row,
            ) from None

    def _unpacked(self, format_: str) -> pa.NativeFile:
        return pa.input_stream(self.path, compression="gzip" if format_.endswith(".gz") else None)

    def _read_parquet(self) -> pa.Table:
        with pq.ParquetFile(self.path) as parquet:
            return parquet.read()

    def _checked(self, table: pa.Table) -> pa.Table:
        """The table with its formulas under the name ``formula`` and its fields described."""
        source = str(self.path)
        names = [name or f"column_{position}" for position, name in enumerate(table.column_names)]
        if repeated := [name for name, times in Counter(names).items() if times > 1]:
            raise DataError(
                "two columns have this name, rename one", source=source, column=repeated[0]
            )
        if self.formula_column not in names:
            raise DataError(
                f"there is no such column of formulas, name one of {', '.join(names)}",
                source=source,
                column=self.formula_column,
            )
        if self.formula_column != FORMULA.name and FORMULA.name in names:
            raise DataError(
                f"this column is beside the formulas in {self.formula_column!r}, rename it",
                source=source,
                column=FORMULA.name,
            )
        if table.num_rows == 0:
            raise DataError("there are no rows, nothing can be done with it", source=source)
        place = names.index(self.formula_column)
        try:
            formulas = table.column(place).cast(FORMULA.type)
        except pa.ArrowException:
            formulas = None
        if formulas is None or not _is_text(table.schema.field(place).type):
            raise DataError(
                f"it holds {table.schema.field(place).type}, but formulas are text; name another",
                source=source,
                column=self.formula_column,
            )
        meaning = f"column of {self.path.name}"
        fields = [
            described(field.with_name(name), meaning)
            for field, name in zip(table.schema, names, strict=True)
        ]
        fields[place] = FORMULA.field()
        columns = [*table.columns[:place], formulas, *table.columns[place + 1 :]]
        return pa.table(columns, schema=pa.schema(fields))


def is_table(name: str) -> bool:
    """Whether a file of this name would be a table by its ending."""
    return _format_of(name) is not None


def _format_of(name: str) -> str | None:
    return next((format_ for format_ in _FORMATS if name.lower().endswith(format_)), None)


def _options(format_: str, **convert: Any) -> dict[str, Any]:
    """How a CSV or TSV file is read."""
    return {
        "parse_options": pa_csv.ParseOptions(
            delimiter=_DELIMITERS[format_], newlines_in_values=True
        ),
        "convert_options": pa_csv.ConvertOptions(**convert),
    }


def _is_no_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return True
    return False


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return type_ in (pa.string(), pa.large_string(), pa.string_view())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
