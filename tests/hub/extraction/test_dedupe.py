"""What is said once in a document is suggested once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction import validate
from hub.extraction.items import Item
from protocol.frame import Field
from protocol.tables import TableName


def item(title: str, start: int, end: int, table: TableName = TableName.TASKS) -> Item:
    return Item(
        table=table, data={"title": title}, quote="x" * (end - start), start=start, end=end, origin="model"
    )


FIRST = item("Call Bob", 0, 10)


@pytest.mark.parametrize(
    ("items", "doubles"),
    [
        ([FIRST, item("call  bob", 5, 12)], 1),
        ([FIRST, item("Call Bob", 10, 20)], 0),
        ([FIRST, item("Pay rent", 0, 10), item("Call Bob", 0, 10, TableName.NOTES)], 0),
        ([item("Call Bob", at * 10, at * 10 + 10) for at in range(30_000)], 0),
        ([item(f"do work {nth}", 0, 40) for nth in range(5_000)], 0),
    ],
    ids=["one place", "two places", "one sentence", "rows of a table", "thousands of one place"],
)
def test_the_same_words_about_one_place_are_one_item(items: list[Item], doubles: int) -> None:
    kept, dropped = validate.once(items)
    assert (kept, [one.reason for one in dropped]) == (
        tuple(items[: len(items) - doubles]),
        ["duplicate"] * doubles,
    )


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8))))
def test_item_without_overlap_is_kept_in_any_order(places: list[tuple[int, int]]) -> None:
    items = [item("Call Bob", start, start + length) for start, length in places]
    kept: list[Item] = []
    for one in items:
        if not any(one.start < other.end and other.start < one.end for other in kept):
            kept.append(one)
    assert validate.once(items)[0] == tuple(kept)


def said(title: str, place: tuple[int, int] = (0, 40), **data: Field) -> Item:
    return Item(
        table=TableName.TASKS,
        data={"title": title, **data},
        quote="x" * (place[1] - place[0]),
        start=place[0],
        end=place[1],
        origin="model",
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (said("Send the quote"), said("send quote", (20, 60))),
        (said("sending the quotes"), said("Please send a quote")),
        (said("Anna: send the quote", assignee=["Anna"]), said("send the quote", assignee=["anna"])),
        (said("send the quote", dueDate=5), said("Send quote", dueDate=5)),
        (said("Angebote schicken"), said("das Angebot schicken")),
        (said("отправить смету"), said("отправить сметы")),
        (said("寄报价单"), said("请寄报价单")),
    ],
)
def test_nearly_the_same_words_about_one_place_are_one_item(first: Item, second: Item) -> None:
    kept, doubles = validate.once([first, second])
    assert len(kept) == len(doubles) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (said("send the report to Anna"), said("send the report to Bob")),
        (said("send the quote", dueDate=5), said("send the quote", dueDate=6)),
        (said("send the quote", assignee=["Anna"]), said("send the quote", assignee=["Bob"])),
        (said("send the quote"), said("do not send the quote")),
        (said("call room 101"), said("call room 1011")),
        (said("call Bob"), said("call Bob back")),
        (said("call Maria"), said("call Marie")),
        (said("send quote", (0, 40)), said("send the quote", (40, 80))),
    ],
)
def test_items_that_differ_in_a_word_a_day_or_a_person_are_kept(first: Item, second: Item) -> None:
    assert validate.once([first, second]) == ((first, second), ())


def test_item_with_more_fields_replaces_its_double() -> None:
    short, full = said("send quote"), said("send the quote", dueDate=5)
    later = said("call Bob", (50, 60))
    assert validate.once([short, later, full])[0] == (full, later)


def test_item_of_a_rule_is_not_replaced_by_an_item_of_a_model() -> None:
    rule = msgspec.structs.replace(said("send quote"), origin="rule")
    assert validate.once([rule, said("send the quote", dueDate=5)])[0] == (rule,)
