"""Pages as bad as servers send them, without a socket."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra.pull.http import Unanswered
from infra.pull.paging import collect
from infra.sources.base import Page, UnitCounts
from irnet_core.errors import SourceError

NOBODY = Unanswered("nobody answers", "HTTP 500")


def made(n):
    return [{"id": f"{number:05d}", "value": number / 7} for number in range(n)]


@dataclass
class Server:
    """Answers from a list; what is wrong with it is set by its fields."""

    rows: list = field(default_factory=lambda: made(100))
    shuffled: random.Random | None = None  # another order for each request
    most: int = 10**9  # rows per page, whatever is asked for
    heaviest: int = 10**9  # rows per page that it manages
    poisoned: frozenset = frozenset()  # places of rows that it fails on
    total: object = None  # what it counts, instead of the truth; or a function of offset and number
    ignore_offset: bool = False
    alter: object = None  # a function of offset, number of the request and the rows of a page
    down_from: int = 10**9  # the request from which on nobody answers
    refuse_behind: bool = False
    asked: list = field(default_factory=list)

    def fetch(self, offset, limit):
        assert limit >= 1
        assert offset % limit == 0
        number = len(self.asked)
        self.asked.append((offset, limit))
        if number >= self.down_from or limit > self.heaviest:
            raise NOBODY
        if self.refuse_behind and offset >= len(self.rows):
            raise SourceError("HTTP 404")
        rows = self.rows
        if self.shuffled:
            rows = self.shuffled.sample(rows, len(rows))
        elif self.poisoned.intersection(range(offset, offset + limit)):
            raise NOBODY
        start = 0 if self.ignore_offset else offset
        page = rows[start : start + min(limit, self.most)]
        if self.alter:
            page = self.alter(offset, number, page)
        total = len(rows) if self.total is None else self.total
        return Page(page, total(offset, number) if callable(total) else total)

    def collect(self, counts=None, size=10, most_size=40, **options):
        return collect(
            self.fetch,
            lambda row: row["id"],
            where="test, unit 1",
            page_size=size,
            most_page_size=most_size,
            counts=counts if counts is not None else UnitCounts(),
            **{"most_skipped": 10, **options},
        )

    def outcome(self, *args):
        """The rows, or what is wrong."""
        try:
            return self.collect(*args), None
        except SourceError as error:
            return None, str(error)


@given(
    n=st.integers(0, 60),
    size=st.integers(1, 70),
    most_size=st.integers(1, 100),
    reverse=st.booleans(),
)
def test_good_server(n, size, most_size, reverse):
    rows = made(n)
    server, counts = Server(rows[::-1] if reverse else rows), UnitCounts()
    assert server.collect(counts, size, most_size) == rows
    assert counts == UnitCounts(total=n, passes=1)
    assert len(server.asked) <= max(-(-n // size), 1) + (0 < n <= size)


@given(
    n=st.integers(0, 60),
    size=st.integers(1, 30),
    seed=st.integers(0, 2**32),
    doubled=st.integers(0, 5),
    shortened=st.floats(0, 1),
    most=st.integers(3, 80),
)
def test_any_order_duplicates_and_short_pages(n, size, seed, doubled, shortened, most):
    """The same rows whatever the order, or an error; with large enough pages always the rows."""
    random_ = random.Random(seed)

    def worse(offset, number, page):
        page = page + random_.sample(page, min(doubled, len(page)))
        random_.shuffle(page)
        cut = random_.random() < shortened and number % 3 == 0
        return page[: len(page) // 2] if cut else page

    server = Server(made(n), shuffled=random_, alter=worse, most=most)
    counts = UnitCounts()
    found, error = server.outcome(counts, size, 80)
    if found is None:
        assert "different ones" in error
        assert counts.passes == 4
        assert len(server.asked) <= 3 * 4 * n + 20
    else:
        assert found == made(n)
        assert counts.total == n
        assert counts.skipped == []


def test_duplicates_over_pages_are_counted_once():
    def overlap(offset, number, page):
        return [made(100)[offset - 1], *page] if offset else page

    counts = UnitCounts()
    assert Server(alter=overlap).collect(counts) == made(100)
    assert (counts.duplicates, counts.passes) == (9, 1)


def test_changing_order_ends_when_a_page_holds_all():
    counts = UnitCounts()
    server = Server(shuffled=random.Random(0))
    assert server.collect(counts, 10, 1000) == made(100)
    assert 1 < counts.passes <= 3
    assert counts.duplicates > 0


@given(st.integers(0, 2**32))
def test_the_same_of_two_different_rows_stays(seed):
    rows = [{"id": "a", "value": 2}, {"id": "b"}, {"id": "a", "value": 1, "x": None}]
    random.Random(seed).shuffle(rows)
    found = Server(rows, total=2).collect(size=2)
    assert found == [{"id": "a", "value": 1, "x": None}, {"id": "b"}]


@pytest.mark.parametrize("wrong", [99, 101, 0, 64])
def test_wrong_count(wrong):
    with pytest.raises(
        SourceError, match=rf"test, unit 1: the server counts {wrong} rows, but in "
    ):
        Server(total=wrong).collect()


def test_size_of_a_page_for_the_count():
    with pytest.raises(SourceError, match="counts 10 rows, but in 4 passes it gave "):
        Server(total=10).collect(most_size=10)
    # the size of the page that came, where the server cuts pages without saying so
    with pytest.raises(SourceError, match="counts 4 rows, but in 4 passes it gave 8 "):
        Server(total=4, most=4).collect()
    # and if that is all there is, looking behind it does no harm
    assert Server(made(10)).collect() == made(10)
    assert Server(made(10), refuse_behind=True).collect() == made(10)


@pytest.mark.parametrize("total", [-1, -97000, None])
def test_no_count(total):
    server = Server()
    server.total = lambda offset, number: total
    with pytest.raises(SourceError, match="does not say how many rows there are"):
        server.collect()
    assert len(server.asked) <= 6


@pytest.mark.parametrize("total", [-5, None])
def test_count_on_another_page(total):
    server = Server(total=lambda offset, number: 100 if number > 1 else total)
    counts = UnitCounts()
    assert server.collect(counts) == made(100)
    assert counts.total == 100
    server = Server(total=lambda offset, number: 100 if number == 0 else total)
    assert server.collect() == made(100)
    assert len(server.asked) == 10


def test_count_that_changes_once_begins_anew():
    server = Server(total=lambda offset, number: 99 if number < 3 else 100)
    counts = UnitCounts()
    assert server.collect(counts) == made(100)
    assert (counts.passes, counts.total) == (2, 100)


def test_rows_that_vanish_are_not_kept():
    server = Server()

    def shrink(offset, number, page):
        server.rows = made(100) if number < 5 else made(90)
        return page

    server.alter = shrink
    assert server.collect() == made(90)


def test_count_that_always_changes():
    server = Server(total=lambda offset, number: 100 + number)
    with pytest.raises(SourceError, match="count of rows changes from page to page"):
        server.collect()


@pytest.mark.parametrize("most", [7, 8, 9])
def test_limit_of_the_server_is_learnt(most):
    server, counts = Server(most=most), UnitCounts()
    assert server.collect(counts) == made(100)
    assert (counts.passes, counts.duplicates) == (1, 0)
    assert server.asked[2] == (most, most)
    assert len(server.asked) == 1 + -(-100 // most)


@pytest.mark.parametrize("where", [0, 50, 90])
@pytest.mark.parametrize("length", [0, 1, 9])
def test_page_short_once(where, length):
    hits = Counter()

    def short(offset, number, page):
        hits[offset] += 1
        return page[:length] if offset == where and hits[offset] == 1 else page

    server, counts = Server(alter=short), UnitCounts()
    assert server.collect(counts) == made(100)
    assert (counts.passes, counts.duplicates) == (1, 0)
    assert len(server.asked) == 11


def test_page_short_for_ever():
    server = Server(alter=lambda offset, number, page: page[:-1] if offset == 50 else page)
    counts = UnitCounts()
    assert server.collect(counts) == made(100)  # in larger pages, where it does not end
    assert counts.passes == 2
    with pytest.raises(SourceError, match="counts 100 rows, but in 4 passes it gave 99 different"):
        Server(alter=lambda offset, number, page: [r for r in page if r["id"] != "00050"]).collect()


def test_repeated_page_and_endless_rows():
    # a page that comes in place of the next, once
    def repeat(offset, number, page):
        return made(100)[10:20] if number == 2 else page

    assert Server(alter=repeat).collect() == made(100)
    # for ever, with a count that promises much
    server = Server(ignore_offset=True, total=1_000_000)
    with pytest.raises(SourceError, match="counts 1,000,000 rows, but in 4 passes it gave 40 diff"):
        server.collect()
    assert len(server.asked) < 40
    # nothing for ever
    server = Server(made(0), total=1_000_000)
    with pytest.raises(SourceError, match="gave 0 different ones"):
        server.collect()
    assert len(server.asked) < 40


def test_too_many_rows_for_one_unit():
    with pytest.raises(SourceError, match="counts 3,000,000 rows, more than the 2,000,000 that"):
        Server(total=3_000_000).collect()
    assert len(Server(total=3_000_000).collect(most_rows=20)) == 20


@pytest.mark.parametrize("limit", [1, 9, 10, 11, 99, 100, 101, 1000])
def test_limit(limit):
    counts = UnitCounts()
    server = Server()
    assert server.collect(counts, most_rows=limit) == made(100)[:limit]
    assert counts.total == 100
    assert len(server.asked) <= -(-limit // 10) + 1


def test_row_without_key():
    server = Server([{"id": "1"}, {"name": "x"}])
    with pytest.raises(SourceError, match="a row after row 0 has no identifier"):
        server.collect()
    with pytest.raises(SourceError, match="has no identifier"):
        Server([{"id": ""}]).collect()


# pages that fail -----------------------------------------------------------------------------
@example(n=17, size=16, poisoned=frozenset({0, 16}))  # the first rows of both pages
@given(
    n=st.integers(1, 80),
    size=st.sampled_from([1, 2, 7, 10, 16, 60, 100]),
    poisoned=st.frozensets(st.integers(0, 79), max_size=6),
)
def test_poisoned_rows_are_skipped_and_recorded(n, size, poisoned):
    poisoned = frozenset(place for place in poisoned if place < n)
    server, counts = Server(made(n), poisoned=poisoned), UnitCounts()
    try:
        found = server.collect(counts, size, size)
    except Unanswered:  # no row at all was answered for
        assert {0, 1} <= poisoned or poisoned >= {*range(n)} or n == 1
        return
    assert found == [row for place, row in enumerate(made(n)) if place not in poisoned]
    places = [part["offset"] + number for part in counts.skipped for number in range(part["count"])]
    assert places == sorted(poisoned)
    assert {part["reason"] for part in counts.skipped} <= {"HTTP 500"}
    assert (counts.total, counts.passes) == (n, 1)
    assert len(server.asked) <= -(-n // size) + len(poisoned) * 40 + 2


def test_neighbours_are_one_range():
    counts = UnitCounts()
    Server(poisoned=frozenset({31, 32, 33, 70})).collect(counts)
    assert counts.skipped == [
        {"offset": 31, "count": 3, "reason": "HTTP 500"},
        {"offset": 70, "count": 1, "reason": "HTTP 500"},
    ]


def test_too_many_skipped():
    with pytest.raises(SourceError, match="more than 3 rows cannot be had .HTTP 500.; try again"):
        Server(poisoned=frozenset(range(20, 24))).collect(most_skipped=3)
    with pytest.raises(SourceError, match="more than 0 rows"):
        Server(poisoned=frozenset({5})).collect(most_skipped=0)


@pytest.mark.parametrize("number", range(12))
def test_server_that_is_down_is_not_bisected(number):
    server = Server(down_from=number)
    if number >= 10:
        assert server.collect() == made(100)
        return
    with pytest.raises(Unanswered):
        server.collect()
    assert len(server.asked) - number <= 4


@pytest.mark.parametrize("number", range(6, 40))
def test_server_that_goes_down_during_bisecting(number):
    """No row is skipped because the server happens to be down."""
    server, counts = Server(poisoned=frozenset({33, 37}), down_from=number), UnitCounts()
    try:
        assert len(server.collect(counts)) == 98
    except Unanswered:
        assert len(server.asked) - number <= 4
    else:
        assert counts.skipped[0]["offset"] == 33
        assert len(server.asked) <= number


def test_bad_row_that_is_good_again():
    server, counts = Server(poisoned=frozenset({33})), UnitCounts()

    def heal(offset, number, page):
        if server.asked[-1] == (30, 1):  # the question whether the server is alive
            server.poisoned = frozenset()
        return page

    server.alter = heal
    assert server.collect(counts) in (made(100), made(33) + made(100)[34:])


def test_too_large_pages_are_made_smaller_for_good():
    server, counts = Server(heaviest=5), UnitCounts()
    assert server.collect(counts, 40, 80) == made(100)
    assert counts.skipped == []
    assert {limit for _, limit in server.asked[-8:]} == {5}
    assert len(server.asked) < 40


def test_time_for_bad_pages_is_limited():
    now = [0.0]

    def clock():
        now[0] += 200.0
        return now[0]

    with pytest.raises(SourceError, match=r"rows \d+ and after fail .HTTP 500., and half an hour"):
        Server(poisoned=frozenset(range(40, 50))).collect(most_skipped=100, clock=clock)


def test_poisoned_and_shuffled():
    """A row that is bad wherever it stands, while the order changes with each request."""
    random_ = random.Random(3)

    def fail(offset, number, page):
        if any(row["id"] == "00042" for row in page):
            raise NOBODY
        return page

    counts = UnitCounts()
    server = Server(shuffled=random_, alter=fail)
    found, error = server.outcome(counts, 20, 100)
    if found is None:
        assert "different ones" in error
    else:
        assert found == [row for row in made(100) if row["id"] != "00042"]
        assert sum(part["count"] for part in counts.skipped) == 1
