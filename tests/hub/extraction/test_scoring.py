"""What counts as found."""

from datetime import UTC, datetime

from hub.clock import epoch_ms
from hub.extraction.items import Item
from hub.extraction.scoring import Label, Said, Tally, added, in_all, score
from protocol.frame import Field
from protocol.tables import TableName

TEXT = "Greta orders the new badges and Otto books the van; both by Wednesday. Greta orders the cake."
SENTENCE = (0, 70)
LATER = (71, 94)


def task(title: str, *, at: tuple[int, int] = SENTENCE, **others: Said) -> Label:
    return Label(table=TableName.TASKS, data={"title": title, **others}, places=(at,))


def found(
    title: str, *, at: tuple[int, int] = SENTENCE, table: TableName = TableName.TASKS, **others: Field
) -> Item:
    start, end = at
    data = {"title": title, **others}
    return Item(table=table, data=data, quote=TEXT[start:end], start=start, end=end, origin="model")


def scored(labels: list[Label], items: list[Item], timezone: str = "UTC") -> Tally:
    return in_all(score(labels, items, timezone=timezone))


def test_an_item_with_the_words_of_its_label_at_its_place_is_right() -> None:
    assert scored([task("order the new badges")], [found("Order new badges")]) == Tally(
        right=1, found=1, labelled=1
    )


def test_the_same_words_elsewhere_in_the_text_are_not() -> None:
    tally = scored([task("order the badges")], [found("order the badges", at=LATER)])
    assert (tally.right, tally.f1) == (0, 0.0)


def test_the_same_words_in_another_table_are_not() -> None:
    item = found("order the new badges", table=TableName.TIMELINES)
    scores = score([task("order the new badges")], [item], timezone="UTC")
    assert scores == {TableName.TASKS: Tally(labelled=1), TableName.TIMELINES: Tally(found=1)}


def test_one_word_in_common_is_too_little() -> None:
    assert scored([task("book the van")], [found("order the new badges")]).right == 0


def test_of_two_tasks_in_one_sentence_each_gets_its_own() -> None:
    labels = [task("order the new badges", assignee=["Greta"]), task("book the van", assignee=["Otto"])]
    items = [found("book the new van", assignee=["Otto"]), found("order the badges", assignee=["Greta"])]
    tally = scored(labels, items)
    assert (tally.right, tally.right_fields, tally.fields) == (2, 2, 2)


def test_a_label_is_found_once_however_often_it_is_told() -> None:
    tally = scored([task("book the van")], [found("book the van"), found("book the van")])
    assert (tally.right, tally.precision, tally.recall) == (1, 0.5, 1.0)


def test_a_quote_that_stands_twice_may_be_found_at_either_place() -> None:
    label = Label(table=TableName.TASKS, data={"title": "order the cake"}, places=(SENTENCE, LATER))
    assert scored([label], [found("order the cake", at=LATER)]).right == 1


def test_in_a_script_without_blanks_a_character_is_a_word() -> None:
    label, item = task("把修改后的报价单发给海宁公司"), found("发送报价单给海宁公司")
    assert scored([label], [item]).right == 1
    assert scored([label], [found("核对运费")]).right == 0


def test_a_note_is_known_by_its_title_or_its_content() -> None:
    label = Label(
        table=TableName.NOTES, data={"title": "gas meter", "content": "reads 10482"}, places=(SENTENCE,)
    )
    item = found("Meter", content="the gas meter reads 10482", table=TableName.NOTES)
    assert scored([label], [item]).right == 1


def test_a_date_is_right_on_the_same_day_where_the_agent_is() -> None:
    label = task("book the van", dueDate="2026-06-03")
    midnight_there = epoch_ms(datetime(2026, 6, 2, 22, tzinfo=UTC))
    item = found("book the van", dueDate=midnight_there)
    assert scored([label], [item], "Europe/Berlin").field_share == 1.0
    assert scored([label], [item], "UTC").field_share == 0.0


def test_where_the_label_tells_a_time_the_time_counts() -> None:
    label = task("book the van", dueDate="2026-06-03T15:00")
    at = epoch_ms(datetime(2026, 6, 3, 15, tzinfo=UTC))
    assert scored([label], [found("book the van", dueDate=at)]).field_share == 1.0
    assert scored([label], [found("book the van", dueDate=at + 60_000)]).field_share == 0.0


def test_a_field_that_the_label_does_not_tell_is_not_asked_for() -> None:
    tally = scored([task("book the van")], [found("book the van", assignee=["Otto"])])
    assert (tally.fields, tally.field_share) == (0, None)


def test_nothing_found_where_nothing_is_has_no_figures() -> None:
    tally = scored([], [])
    assert (tally.precision, tally.recall, tally.f1) == (None, None, None)


def test_sums_are_by_table() -> None:
    one = score([task("book the van")], [], timezone="UTC")
    other = score([], [found("A day", table=TableName.TIMELINES)], timezone="UTC")
    assert added(one, other) == {TableName.TASKS: Tally(labelled=1), TableName.TIMELINES: Tally(found=1)}
    assert in_all(added(one, other)) == Tally(found=1, labelled=1)
