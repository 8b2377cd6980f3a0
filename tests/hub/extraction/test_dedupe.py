"""What is said once in a document is suggested once."""

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
