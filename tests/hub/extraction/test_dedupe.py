"""What is said once in a document is suggested once."""

from hypothesis import given
from hypothesis import strategies as st

from hub.extraction import dedupe
from hub.extraction.items import Item
from protocol.tables import TableName


def item(title: str, start: int, end: int, table: TableName = TableName.TASKS) -> Item:
    return Item(
        table=table, data={"title": title}, quote="x" * (end - start), start=start, end=end, origin="model"
    )


def test_the_first_of_two_that_say_the_same_of_the_same_place_is_kept() -> None:
    first = item("Call Bob", 0, 10)
    kept, doubles = dedupe.once([first, item("call  bob", 5, 12)])
    assert kept == (first,)
    assert [double.reason for double in doubles] == ["duplicate"]


def test_the_same_words_at_another_place_are_another_item() -> None:
    items = [item("Call Bob", 0, 10), item("Call Bob", 10, 20)]
    assert dedupe.once(items) == (tuple(items), ())


def test_two_records_of_one_sentence_are_two_items() -> None:
    items = [item("Call Bob", 0, 10), item("Pay rent", 0, 10), item("Call Bob", 0, 10, TableName.NOTES)]
    assert dedupe.once(items) == (tuple(items), ())


def test_the_same_words_in_every_row_of_a_long_table_are_items_soon() -> None:
    items = [item("Call Bob", at * 10, at * 10 + 10) for at in range(100_000)]
    assert dedupe.once(items) == (tuple(items), ())


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8))))
def test_what_overlaps_nothing_kept_is_kept_in_whatever_order_it_comes(places: list[tuple[int, int]]) -> None:
    items = [item("Call Bob", start, start + length) for start, length in places]
    kept: list[Item] = []
    for one in items:
        if not any(one.start < other.end and other.start < one.end for other in kept):
            kept.append(one)
    assert dedupe.once(items)[0] == tuple(kept)
