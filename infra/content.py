"""Digests of content: what a file says, apart from how a library's version wrote it down.

Two Parquet files with the same table differ in bytes as soon as the writer's version, the
compression or the row groups differ. :func:`table_digest` depends on none of these: it hashes the
names, types and values of the columns, each as one continuous stream.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_BATCH_ROWS = 65_536
_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, no NaN.

    Raises
    ------
    TypeError, ValueError
        If the value holds something that JSON has no notation for.

    Examples
    --------
    >>> canonical_json({"b": [1, 2], "a": None})
    '{"a":null,"b":[1,2]}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def plain(value: Any) -> Any:
    """The value in JSON's own types: NumPy numbers as numbers, NaN and infinity as null.

    Examples
    --------
    >>> plain({"loss": float("nan"), "layers": (8, 4)})
    {'loss': None, 'layers': [8, 4]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def short_digest(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(plain(value)).encode()).hexdigest()[:16]


def file_digest(file: IO[bytes]) -> tuple[int, str]:
    """Length in bytes and SHA-256 (hexadecimal) of a file from its present position on."""
    length, digest = 0, hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        length += len(chunk)
        digest.update(chunk)
    return length, digest.hexdigest()


def parquet_digest(file: IO[bytes]) -> tuple[int, str]:
    """Rows and content digest of a Parquet file, read batch by batch.

    Raises
    ------
    pyarrow.ArrowException
        If the file is not a readable Parquet file.
    """
    with pq.ParquetFile(file) as parquet:
        batches = parquet.iter_batches(batch_size=_BATCH_ROWS)
        return parquet.metadata.num_rows, table_digest(parquet.schema_arrow, batches)


def table_digest(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> str:
    """SHA-256 of a table's column names, types and values.

    Metadata, batch boundaries, dictionary encoding and the undefined memory under nulls do not
    enter; the order of rows and columns does.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns of the table.
    batches : iterable of pyarrow.RecordBatch
        Its rows.

    Examples
    --------
    >>> table = pa.table({"a": [1, None, 3]})
    >>> table_digest(table.schema, table.to_batches()) == table_digest(
    ...     table.schema, table.to_batches(max_chunksize=1)
    ... )
    True
    """
    streams: dict[str, Any] = {}
    for position, field in enumerate(schema):  # a stream for every column, even without rows
        _feed(streams, str(position), pa.nulls(0, field.type))
    for batch in batches:
        for position, column in enumerate(batch.columns):
            _feed(streams, str(position), column)
    whole = hashlib.sha256()
    for field in schema:
        whole.update(canonical_json([field.name, _type_name(field.type)]).encode())
    for path in sorted(streams):
        whole.update(path.encode() + b"\0" + streams[path].digest())
    return whole.hexdigest()


def _plain_type(type_: pa.DataType) -> pa.DataType:
    """The type that remains once encodings (dictionary, view, extension) are taken off."""
    if pa.types.is_dictionary(type_):
        return _plain_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return _plain_type(type_.storage_type)
    if type_ in (pa.string(), pa.large_string(), pa.string_view()):
        return pa.large_string()
    if type_ in (pa.binary(), pa.large_binary(), pa.binary_view()):
        return pa.large_binary()
    return type_


def _type_name(type_: pa.DataType) -> str:
    """Name of a type without the names that writers give to the items of lists and maps."""
    plain = _plain_type(type_)
    if isinstance(plain, pa.ListType | pa.LargeListType):
        return f"list<{_type_name(plain.value_type)}>"
    if isinstance(plain, pa.FixedSizeListType):
        return f"list<{_type_name(plain.value_type)}>[{plain.list_size}]"
    if isinstance(plain, pa.MapType):
        return f"map<{_type_name(plain.key_type)}, {_type_name(plain.item_type)}>"
    if isinstance(plain, pa.StructType):
        return f"struct<{', '.join(f'{field.name}: {_type_name(field.type)}' for field in plain)}>"
    return str(plain)


def _feed(streams: dict[str, Any], path: str, array: pa.Array) -> None:
    """Append an array to the streams of its column; nested types have a stream per level."""

    def append(part: str, data: Any) -> None:
        streams.setdefault(f"{path}.{part}", hashlib.sha256()).update(data)

    plain = _plain_type(array.type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.type != plain:
        array = array.cast(plain)
    kind = pa.types
    append("valid", array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False))
    if kind.is_null(plain):
        return
    if kind.is_list(plain) or kind.is_large_list(plain):
        lengths = array.value_lengths().cast(pa.int64()).fill_null(-1)
        append("length", lengths.to_numpy(zero_copy_only=False))
        _feed(streams, f"{path}.item", array.flatten())
    elif kind.is_struct(plain):
        for position, child in enumerate(array.flatten()):
            _feed(streams, f"{path}.{position}", child)
    elif plain in (pa.large_string(), pa.large_binary()):
        binary = array.cast(pa.large_binary()).drop_null()
        lengths = pc.binary_length(binary).to_numpy(zero_copy_only=False)
        append("length", lengths)
        append("value", b"".join(binary.to_pylist()))
    elif kind.is_primitive(plain) or kind.is_decimal(plain) or kind.is_fixed_size_binary(plain):
        values = array.drop_null()
        if kind.is_boolean(plain):
            values = values.cast(pa.uint8())
        width = values.type.bit_width // 8
        data = values.buffers()[1]
        start = values.offset * width
        append("value", memoryview(data)[start : start + len(values) * width] if data else b"")
    else:  # maps and fixed-size lists: rare, so the slow way will do
        append("value", b"".join(f"{value!r}\n".encode() for value in array.to_pylist()))
