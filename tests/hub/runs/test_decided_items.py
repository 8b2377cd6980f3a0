"""Items that their owner has decided about are found again by the rules of a later release."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hub.document import Document
from hub.extraction.items import Item
from hub.runs.found_items import found_items
from hub.runs.matching import decide
from protocol.lifecycles import CallState
from protocol.tables import TABLES, TableName
from storage.runs.items import Decision, FoundItem, KnownItem, KnownItems
from tests.hub.runs.test_matching import FINDER
from tests.support.families import each

NAMES = ("Anna Berg", "Bo", "Cy Kern", "the lab", "Dr. Ito", "our bank", "Eve", "the office", "Gil", "Hana")
THINGS = ("map", "offer", "plan for the roof", "slides", "keys", "bill", "contract", "photo", "list", "form")

# (line of the text, title and quote of an earlier release, title and quote of this one); N: a number
KINDS: dict[str, tuple[str, tuple[str, str], tuple[str, str]]] = {
    "an order is cut short": (
        "Please send the THING to NAME (if you don't mind. It is N).",
        ("Send the THING to NAME", "send the THING to NAME (if you don't mind."),
        (
            "send the THING to NAME (if you don't mind. It is N)",
            "Please send the THING to NAME (if you don't mind. It is N).",
        ),
    ),
    "a letter is lost": (
        "Can somebody bring the THING to NAME by Friday? Room N.",
        ("bring the THING o NAME", "bring the THING to NAME by Friday?"),
        ("Can somebody bring the THING to NAME", "Can somebody bring the THING to NAME by Friday?"),
    ),
    "marks of emphasis stay": (
        "- [ ] **check** the `THING` of NAME, part N",
        ("**check** the `THING` of NAME, part N", "- [ ] **check** the `THING` of NAME, part N"),
        ("check the THING of NAME, part N", "**check** the `THING` of NAME, part N"),
    ),
    "a stamp stays": (
        "[2026-11-30 10:15:N] Bob: NAME, print the THING and the cover N",
        ("[2026-11-30 10:15:N] Bob: NAME, print the THING and the cover N",) * 2,
        ("print the THING and the cover N", "NAME, print the THING and the cover N"),
    ),
}
VERDICTS = ("approved", "edited", "rejected")
Rules = Callable[[int], tuple[str, str]]


def line_of(nth: int, words: str) -> str:
    name, thing = NAMES[nth % 10], THINGS[nth // 10 % 10]
    return words.replace("NAME", name).replace("THING", thing).replace("N", str(nth))


def text_of(kinds: list[str], count: int) -> str:
    return "".join(f"{line_of(nth, KINDS[kinds[nth % len(kinds)]][0])}\n" for nth in range(count))


def read(text: str, kinds: list[str], release: int) -> list[FoundItem]:
    """Return the items that the rules of a release find in the text, of each line one."""
    items, at = [], 0
    for nth, line in enumerate(text.splitlines(keepends=True)):
        title, quote = (line_of(nth, words) for words in KINDS[kinds[nth % len(kinds)]][release])
        start = text.index(quote, at, at + len(line))
        items.append(item(title, quote, start))
        at += len(line)
    return found_items(document(text), items, None, TABLES)


def item(title: str, quote: str, start: int) -> Item:
    end = start + len(quote)
    return Item(
        table=TableName.TASKS, data={"title": title}, quote=quote, start=start, end=end, origin="rule"
    )


def document(text: str) -> Document:
    return Document(unit_key=FINDER.unit_key, text=text, content_hash="0" * 64)


def choose(found: list[FoundItem], here: list[KnownItem], *, rules: str) -> list[Decision]:
    finder = msgspec.structs.replace(FINDER, config_fingerprint=rules)
    known = KnownItems(finder=finder, here=tuple(here), elsewhere=())
    return decide(known, found=found, timezone="UTC", can_update=True)


def judged(decisions: list[Decision], verdicts: tuple[str, ...] = VERDICTS) -> list[KnownItem]:
    """Return the items as their owner has decided about them, in turn."""
    here = []
    for nth, decision in enumerate(decisions):
        row, verdict = decision.after or decision.before, verdicts[nth % len(verdicts)]
        assert row is not None
        now: dict[str, Any] = {"answered_at": 2, "row_id": f"row-{nth}", "verdict": verdict, "verdict_at": 3}
        now |= {"source": None} if verdict == "rejected" else {}
        here.append(KnownItem(row=msgspec.structs.replace(row, **now), call_state=CallState.ACKED))
    return here


@each(("kinds", "number"), [*(([kind], 100) for kind in KINDS), ([*KINDS], 500)])
def test_hundreds_of_decided_items_of_a_file_are_neither_suggested_again_nor_changed(
    kinds: list[str], number: int
) -> None:
    text = text_of(kinds, number)
    here = judged(choose(read(text, kinds, 1), [], rules="1"))
    again = choose(read(text, kinds, 2), here, rules="2")
    assert [decision for decision in again if decision.call is not None] == []
    rows = [decision.after or decision.before for decision in again]
    shown = [(row.id, row.data, row.verdict, row.version, row.call_id) for row in rows if row is not None]
    assert shown == [
        (one.row.id, one.row.data, one.row.verdict, one.row.version, one.row.call_id) for one in here
    ]
    assert all(decision.call is None for decision in choose(read(text, kinds, 2), here, rules="2"))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_second_task_of_a_line_is_suggested_though_the_first_was_decided(verdict: str) -> None:
    text = "Please call Anna about the rent, and send the plan to Bo.\n"
    first, second = "call Anna about the rent", "send the plan to Bo"
    old = found_items(document(text), [item("Call Anna", text[7:31], 7)], None, TABLES)
    here = judged(choose(old, [], rules="1"), (verdict,))
    new = [item(first, text[:31], 0), item(second, second, text.index(second))]
    known, other = choose(found_items(document(text), new, None, TABLES), here, rules="2")
    assert (known.before, known.call) == (here[0].row, None)
    assert other.is_new and other.after is not None and other.after.data == {"title": second}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_two_decided_tasks_of_a_line_stay_two(verdict: str) -> None:
    text = "Please call Anna about the rent, and send the plan to Bo.\n"
    line = text.strip()
    old = [item(title, line, 0) for title in ("Call Anna", "send the plan")]
    here = judged(choose(found_items(document(text), old, None, TABLES), [], rules="1"), (verdict,))
    new = [item(title, line, 0) for title in ("send the plan to Bo", "call Anna about the rent")]
    again = choose(found_items(document(text), new, None, TABLES), here, rules="2")
    assert [decision.call for decision in again] == [None, None]
    assert {decision.before.id for decision in again if decision.before} == {one.row.id for one in here}


def test_task_with_another_number_than_a_decided_one_is_not_left_out() -> None:
    text = "send the invoice 13 to Anna\n"
    old = found_items(document(text), [item("send the invoice 12 to Anna", "x", 900)], None, TABLES)
    here = judged(choose(old, [], rules="1"), ("approved",))
    new = found_items(document(text), [item(text.strip(), text.strip(), 0)], None, TABLES)
    (decision,) = choose(new, here, rules="2")
    assert decision.call is not None


@each("verdict", VERDICTS)
@each(
    ("title", "line"),
    [
        ("send 2 copies of letter 1 to Anna", "send 2 copies of letter 2 to Anna"),
        ("send 2 copies of letter 12 to Anna", "send 12 copies of letter 2 to Anna"),
        ("paint the old door 2 of house 2", "paint the blue door 0 of house 2"),
        ("send the report to Anna", "send the report to Bob"),
        ("call Anna about the rent", "call Anna about the flat today"),
        ("Anna pays Bob", "Bob pays Anna"),
    ],
    ids=[
        "a number that repeats",
        "numbers in another order",
        "a number instead of one that repeats",
        "another person",
        "another topic",
        "words in another order",
    ],
)
def test_task_with_a_title_like_a_decided_one_of_other_work_is_sent(
    title: str, line: str, verdict: str
) -> None:
    old = found_items(document(line), [item(title, "x", 900)], None, TABLES)
    here = judged(choose(old, [], rules="1"), (verdict,))
    new = found_items(document(line), [item(line, line, 0)], None, TABLES)
    (decision,) = choose(new, here, rules="2")
    assert decision.call is not None
