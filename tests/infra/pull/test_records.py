"""A streamed JSON array against json.loads, and everything that can be wrong with one."""

from __future__ import annotations

import gc
import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.pull import records as module
from infra.pull.records import Rejected, map_records
from irnet_core.errors import SourceError


def read(text: bytes | str) -> list[Any]:
    text = text.encode() if isinstance(text, str) else text
    parts = list(map_records(io.BytesIO(text), "x.json", lambda records, number: (number, records)))
    numbers = [len(records) for _, records in parts]
    assert [number for number, _ in parts] == [sum(numbers[:i]) for i in range(len(numbers))]
    return [record for _, records in parts for record in records]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.lists(st.dictionaries(st.text(), values, max_size=5), max_size=8),
    st.sampled_from([None, 2]),
    st.integers(1, 70),
    st.booleans(),
)
def test_any_array_is_read_as_json_reads_it(
    rows: list[dict[str, Any]], indent: int | None, block: int, ascii_: bool
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)  # records lie over the borders of blocks
        assert read(text) == rows


@pytest.mark.parametrize("block", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    "row",
    [
        {"a": "} ] [ {"},
        {"a": 'x"}, {"y": "'},
        {"a\\": "\\"},
        {"a": '\\\\"', "b": '\\"'},
        {"": [[], {}, [{}]]},
        {"a": "Y_y\x7f"},
    ],
)
def test_brackets_and_quotes_in_texts_are_none(
    row: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    assert read(json.dumps([row, row, {}, row])) == [row, row, {}, row]


def test_not_a_number_is_null_but_not_in_texts() -> None:
    text = '[{"a": NaN, "b": [Infinity, -Infinity, -1], "NaN": "is NaN, -Infinity \\" NaN"}]'
    assert read(text) == [{"a": None, "b": [None, None, -1], "NaN": 'is NaN, -Infinity " NaN'}]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"a": 1 "b": 2}', "it is no JSON, "),
        ('{"a": ]}', None),
        ('{"a": tru}', "it is no JSON, "),
        ("[1, 2]", "it is a list, no object"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "it is nested more than 32 deep"),
        ('{"a": "' + "x" * 100_001 + '"}', "it holds a text of more than 100,000 bytes"),
        ('{"' + "x" * 100_001 + '": 1}', "it holds a text of more than 100,000 bytes"),
        ('{"a": "\\ud800"}', "it is no JSON, "),
    ],
)
def test_a_bad_record_costs_no_other(bad: str, reason: str | None) -> None:
    text = f'[{{"jid": "a"}}, {bad}, {{"jid": "b"}}]'
    if reason is None:  # its brackets do not match: what follows cannot be told
        with pytest.raises(SourceError):
            read(text)
        return
    first, rejected, last = read(text)
    assert (first, last) == ({"jid": "a"}, {"jid": "b"})
    assert isinstance(rejected, Rejected)
    assert rejected.number == 1
    assert rejected.reason.startswith(reason)
    assert bad.encode().startswith(rejected.head)


def test_what_is_just_within_the_limits_is_read() -> None:
    deep = '{"a": ' + "[" * 31 + "]" * 31 + "}"
    long = '{"a": "' + "x" * 100_000 + '"}'
    assert not any(isinstance(r, Rejected) for r in read(f"[{deep}, {long}]"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends within or behind record 0"),
        ("[", "ends within or behind record 0"),
        ('[{"a": 1}', "ends within or behind record 1"),
        ('[{"a": 1},', "ends within or behind record 1"),
        ('[{"a": 1}, {"a": [1, 2', "ends within or behind record 1"),
        ('[{"a": "', "ends within or behind record 0"),
        ('{"a": [{}]}', "is no JSON array, it begins with b'{\"a\": [{}]}'"),
        ("<html>", "is no JSON array, it begins with b'<html>'"),
        ("[1, 2]", "has b'[1, 2' in front of record 0 or its end"),
        ('[{"a": 1} {"a": 2}]', "has b' ' in front of record 1"),
        ('[{"a": 1}, "b", {"a": 2}]', "in front of record 1"),
        ('[{"a": 1},, {"a": 2}]', "in front of record 1"),
        ('[{"a": 1},]', "has b',' in front of record 1 or its end, where nothing should be"),
        ('[, {"a": 1}]', "has b'[, ' in front of record 0"),
        ("[{}] []", "goes on behind its end with b'[]'"),
        ("[{}] x", "goes on behind its end with b'x'"),
        ("\ufeff[{}]", "is no JSON array"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 19])
def test_what_is_no_whole_array_is_an_error(
    text: str, said: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    with pytest.raises(SourceError) as error:
        read(text)
    if block > 1:  # how much of it is shown depends on the block
        assert said in str(error.value)
    assert str(error.value).endswith("delete the file and pull again")


@pytest.mark.parametrize("end", ["", "  ", "\n" * 2_000_000])
def test_an_empty_array_and_spaces_around_it(end: str) -> None:
    assert read(f" \n\t[ ]{end}") == []
    assert read(f"  [\n{{}}\n ,\r\n{{}} ]{end}") == [{}, {}]


def test_a_record_that_never_ends_is_refused_in_bounded_memory() -> None:
    class Endless:
        def __init__(self) -> None:
            self.given = 0

        def read(self, size: int, /) -> bytes:
            self.given += size
            return b'[{"a": "' if self.given == size else b"x" * size

    stream = Endless()
    tracemalloc.start()
    with pytest.raises(SourceError, match="record 0 of x.json has more than 8,388,608 bytes"):
        list(map_records(stream, "x.json", lambda records, number: 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.given < 20 << 20
    assert peak < 200 << 20


def test_garbage_collection_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 4)
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            for paused in map_records(io.BytesIO(b"[{}, {}]"), "x", lambda *_: not gc.isenabled()):
                assert paused
                assert gc.isenabled() is enabled
            with pytest.raises(ZeroDivisionError):
                list(map_records(io.BytesIO(b"[{}, {}]"), "x", lambda *_: 1 / 0))
            assert gc.isenabled() is enabled
        finally:
            gc.enable()


def test_rejected_records_give_no_name_that_is_none() -> None:
    assert Rejected(0, "", b'{"jid": "a\\"b"').peek("jid") is None
    assert Rejected(0, "", b'{"jid": 12, "x": "y"').peek("jid") is None
    assert Rejected(0, "", b'{"jid": "' + b"x" * 101 + b'"').peek("jid") is None
    assert Rejected(0, "", b'{"n-Seebeck": "a"').peek("n-Seebeck") == "a"
