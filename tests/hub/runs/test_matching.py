"""What becomes of found items, by what the ledger knows: the rules of the ledger, one by one."""

from datetime import UTC, date, datetime
from itertools import product
from typing import Any

import msgspec
import pytest

from hub.base.clock import epoch_ms
from hub.base.dates import begin_of, dates_as_texts
from hub.document import Document
from hub.extraction.duplicates import significant_words
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.ruled import ToRead
from hub.runs import matching as elsewhere_of_device
from hub.runs.found_items import found_items
from hub.runs.matching import MAX_COMPARED, decide
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.lifecycles import CallState
from protocol.tables import TABLES, TableName
from storage.runs.items import Decision, Finder, FoundItem, ItemRow, KnownItem, KnownItems
from tests.support.families import each

DAY = 86_400_000
FRIDAY = 20_000 * DAY + 9 * 3_600_000
FINDER = Finder(
    user_id=UserId("u"),
    agent_id=AgentId("a"),
    device_id=DeviceId("desk"),
    run_id=RunId("r-2"),
    unit_key="notes/a.md",
    config_fingerprint="prompt-1",
    at=1_000,
)


def item(title: str, quote: str | None = None, *, table: TableName = TableName.TASKS, **data: Any) -> Item:
    named = {} if table is TableName.TASK_COMMENTS else {"title": title}
    said = quote or f"We have to {title}."
    return Item(table=table, data=named | data, quote=said, start=0, end=len(said), origin="model")


def found(*items: Item, path: str = "notes/a.md", text: str = "") -> list[FoundItem]:
    return found_items(Document(unit_key=path, text=text, content_hash="0" * 64), items, None, TABLES)


def decisions(
    *items: Item,
    here: list[KnownItem] | None = None,
    elsewhere: list[KnownItem] | None = None,
    timezone: str = "UTC",
    can_update: bool = True,
    finder: Finder = FINDER,
    text: str = "",
    learns: bool = False,
) -> list[Decision]:
    known = KnownItems(finder=finder, here=tuple(here or ()), elsewhere=tuple(elsewhere or ()))
    new = found(*items, text=text)
    return decide(known, found=new, timezone=timezone, can_update=can_update, learns=learns)


def known(
    one: Item,
    *,
    verdict: str = "open",
    told: bool = True,
    row_id: str | None = "row-1",
    state: CallState | None = CallState.ACKED,
    held_by: str | None = None,
    call_unit: str | None = None,
    unit: str = "notes/a.md",
    text: str = "",
    **changed: Any,
) -> KnownItem:
    """The item in the ledger, as an earlier run of the same agent left it."""
    finder = msgspec.structs.replace(FINDER, run_id=RunId("r-1"), unit_key=unit, at=1)
    (decision,) = decisions(one, finder=finder, text=text)
    row = decision.after
    assert row is not None
    now: dict[str, Any] = {"answered_at": 2 if told else None, "row_id": row_id if told else None}
    now |= {"verdict": verdict, "verdict_at": None if verdict == "open" else 3}
    return KnownItem(
        row=msgspec.structs.replace(row, **(now | changed)),
        call_state=state,
        call_unit=call_unit,
        held_by=None if held_by is None else RunId(held_by),
    )


def sent(decision: Decision) -> tuple[str, dict[str, Any]]:
    assert decision.call is not None
    return decision.call.action, decision.call.payload["data"]


def stored(decision: Decision) -> ItemRow:
    assert decision.after is not None
    return decision.after


# --- two agents with different time zones ---

CALENDAR = """BEGIN:VCALENDAR
BEGIN:VEVENT
SUMMARY:Street fair
DTSTART{day}
END:VEVENT
END:VCALENDAR
"""
ZONES = ("Europe/Berlin", "America/New_York")


def read_in(zone: str, text: str, *, path: str = "notes/a.ics") -> list[FoundItem]:
    document = Document(unit_key=path, text=text, content_hash="0" * 64)
    options = ExtractionOptions(data_types=tuple(TABLES), timezone=zone)
    items = ToRead(document=document, options=options, reads_prose=False).answer().items
    return found_items(document, items, zone, TABLES)


def decided(
    zone: str,
    here: list[KnownItem],
    text: str,
    *,
    elsewhere: tuple[KnownItem, ...] = (),
    agent: str | None = None,
    path: str = "notes/a.ics",
) -> Decision:
    """The decision of an agent with this time zone about the only item of a text."""
    finder = msgspec.structs.replace(FINDER, agent_id=AgentId(agent or zone), config_fingerprint=zone)
    (decision,) = decide(
        KnownItems(finder=finder, here=tuple(here), elsewhere=elsewhere),
        found=read_in(zone, text, path=path),
        timezone=zone,
        can_update=True,
    )
    return decision


def answered(decision: Decision, verdict: str = "open") -> KnownItem:
    now: dict[str, Any] = {"answered_at": 2, "row_id": "row-1", "before": None, "verdict": verdict}
    row = decision.after or decision.before
    assert row is not None
    return KnownItem(row=msgspec.structs.replace(row, **now), call_state=CallState.ACKED)


@pytest.mark.parametrize("verdict", ["open", "rejected"])
@pytest.mark.parametrize(
    "day",
    [";VALUE=DATE:20260501", ":20260501T100000", ":20260501T100000Z", ";TZID=Asia/Tokyo:20260501T100000"],
)
def test_event_read_by_agents_of_two_time_zones_retains_the_date(day: str, verdict: str) -> None:
    text = CALENDAR.format(day=day)
    one = answered(decided(ZONES[0], [], text), verdict)
    first = one.row.data["date"]
    for zone in (ZONES[1], ZONES[0], ZONES[1]):
        decision = decided(zone, [one], text)
        assert decision.call is None
        one = answered(decision, verdict)
        assert one.row.data["date"] == first
        assert (one.row.source or {}).get("timezone") in (ZONES[0], None)


@pytest.mark.parametrize(
    ("day", "verdict", "sends"),
    [
        (":20260501T100000", "open", ("update", {"date": 1_777_644_000_000})),  # 10:00 in New York
        (":20260501T100000", "rejected", None),
        (":20260501T100000", "approved", None),
        (":20260501T100000Z", "open", None),
        (";TZID=Asia/Tokyo:20260501T100000", "open", None),
        (";VALUE=DATE:20260501", "open", None),
    ],
)
def test_open_time_of_an_agent_whose_time_zone_was_changed_is_read_anew(
    day: str, verdict: str, sends: tuple[str, dict[str, Any]] | None
) -> None:
    text = CALENDAR.format(day=day)
    before = answered(decided(ZONES[0], [], text, agent="a"), verdict)
    after = decided(ZONES[1], [before], text, agent="a")
    assert (None if after.call is None else sent(after)) == sends
    again = decided(ZONES[1], [answered(after, verdict)], text, agent="a")
    assert again.call is None


NEXT_TEXTS = tuple(
    f"- {text} by {{}}\n"
    for text in ("[x] call Anna", "[ ] call Anna and Ben", "[x] call Anna and Ben", "[ ] call Anna")
)
OTHER_ZONES = (
    ("UTC", "Europe/Madrid"),
    ("UTC", "America/New_York"),
    ("America/Santiago", "Asia/Kathmandu"),
    ("Pacific/Auckland", "Asia/Kolkata"),
    ("Europe/Berlin", "UTC"),
)
SOME_DAYS = ("2026-12-04", "2026-03-29", "2026-11-01", "2026-09-06")  # most are changes of clocks


@each(
    ("zones", "day", "text", "verdict", "agent"),
    [  # with each of both agents in turn, so that every zone, day, text and verdict has both
        (*case, "ab"[(nth + nth // 4) % 2])
        for nth, case in enumerate(
            product(OTHER_ZONES, SOME_DAYS, NEXT_TEXTS, ("open", "approved", "edited", None))
        )
    ],
)
def test_day_of_a_task_remains_the_day_after_a_change_of_time_zone(
    zones: tuple[str, str], day: str, text: str, verdict: str | None, agent: str
) -> None:
    before, after = zones
    words = f"{date.fromisoformat(day):%-d %B %Y}"
    first, text = f"- [ ] call Anna by {words}\n", text.format(words)
    known = answered(decided(before, [], first, agent="a", path="notes/a.md"))
    row = msgspec.structs.replace(known.row, verdict=verdict or "open")
    known = msgspec.structs.replace(known, row=row)
    if verdict is None:  # the device has no answer to the call yet
        row = msgspec.structs.replace(row, answered_at=None, row_id=None)
        known = KnownItem(row=row, call_state=CallState.PLANNED)
    for zone, read in ((after, first), (after, text), (before, text)):
        decision = decided(zone, [known], read, agent=agent, path="notes/a.md")
        row = decision.after or known.row
        # here, and on the device before and after its owner takes the change
        shown = [(row.data, row.source or {}), (known.row.data, row.source or {})]
        if decision.call is not None:
            payload = decision.call.payload
            shown.append((known.row.data | payload["data"], payload["source"]))
        for data, source in shown:
            assert dates_as_texts(TABLES["tasks"], data, source["timezone"])["dueDate"] == day
        known = answered(decision, verdict or "open")


def test_moved_event_is_updated_once_by_the_first_of_two_agents() -> None:
    one = answered(decided(ZONES[0], [], CALENDAR.format(day=";VALUE=DATE:20260501")))
    moved = CALENDAR.format(day=";VALUE=DATE:20260502")
    decision = decided(ZONES[1], [one], moved)
    assert sent(decision) == ("update", {"date": 1_777_672_800_000})  # 2 May in Berlin, as its row has days
    assert (stored(decision).source or {})["timezone"] == ZONES[0]
    assert decided(ZONES[0], [answered(decision)], moved).call is None


@each(
    ("verdict", "changed", "is_elsewhere"),
    [
        ("rejected", {"quote_hash": "of a", "place_hash": "release"}, False),  # of an earlier release
        ("open", {"quote_hash": "another", "place_hash": "line"}, False),
        ("open", {"unit_key": "notes/b.ics", "quote_hash": "another", "place_hash": "line"}, True),
    ],
)
def test_all_day_event_is_the_same_event_for_agents_of_two_time_zones(
    verdict: str, changed: dict[str, Any], *, is_elsewhere: bool
) -> None:
    text = CALENDAR.format(day=";VALUE=DATE:20260501")
    one = answered(decided(ZONES[0], [], text), verdict)
    one = msgspec.structs.replace(one, row=msgspec.structs.replace(one.row, **changed))
    for zone in ZONES:
        here, there = ([], (one,)) if is_elsewhere else ([one], ())
        assert decided(zone, here, text, elsewhere=there).call is None


# --- new ---


def test_done_task_is_not_suggested_but_sets_a_suggested_task_to_done() -> None:
    done = item("call Anna", "Anna was called.", status="done")
    assert decisions(done) == []
    before = known(item("call Anna", "Call Anna.", status="todo"), verdict="approved")
    (decision,) = decisions(done, here=[before])
    assert sent(decision) == ("update", {"status": "done"})
    assert len(decisions(item("call Anna", table=TableName.NOTES, content="status: done"), done)) == 1


@pytest.mark.parametrize(
    ("title", "before", "line", "is_sent"),
    [
        ("buy strings", "(A) 2026-11-20 buy strings", "x 2026-11-29 2026-11-20 buy strings", True),
        ("buy strings", "- [ ] buy strings", "- [x] buy strings", True),
        ("buy strings", "buy strings by Friday", "- [x] buy strings by Friday", True),
        ("buy strings", "We have to buy strings soon.", "- [x] We have to buy strings soon.", True),
        ("sell strings", "We sell strings.", "- [x] buy strings", False),
    ],
)
def test_tick_of_a_line_changes_only_the_state_of_its_task(
    title: str, before: str, line: str, is_sent: bool
) -> None:
    row = known(item(title, before, priority="high", dueDate=FRIDAY), verdict="approved", text=before)
    words = line.removeprefix("- [x] ").removeprefix("x 2026-11-29 2026-11-20 ")
    done = msgspec.structs.replace(item(words, line, status="done"), origin="rule")
    new = found_items(Document(unit_key="notes/a.md", text=line, content_hash="1" * 64), [done], None, TABLES)
    given = decide(
        KnownItems(finder=FINDER, here=(row,), elsewhere=()), found=new, timezone="UTC", can_update=True
    )
    assert [sent(one) for one in given] == [("update", {"status": "done"})] * is_sent


def test_the_same_item_has_the_same_ids_in_every_run_at_any_time() -> None:
    later = msgspec.structs.replace(FINDER, run_id=RunId("r-9"), at=9_999)
    (one,), (other,) = decisions(item("call Anna")), decisions(item("Call  ANNA"), finder=later)
    assert stored(one).id == stored(other).id
    (again,) = decisions(item("call Anna"), finder=later)
    assert stored(again).call_id == stored(one).call_id


@pytest.mark.parametrize("title", ["call\x85Anna", "call\u2028Anna", "call \r\n Anna", "call\u202e Anna\x1b"])
def test_item_of_a_release_keeping_line_ends_in_titles_is_not_sent_again(title: str) -> None:
    one = item(title, "We have to call Anna.")
    before = known(one, data={"title": title})
    assert before.row.id == stored(decisions(one)[0]).id
    (decision,) = decisions(one, here=[before])
    assert (decision.call, found(one)[0].data["title"]) == (None, "call Anna")
    (unanswered,) = decisions(one, here=[known(one, data={"title": title}, told=False, state=CallState.SENT)])
    assert unanswered.call is not None
    assert (unanswered.call.call_id, sent(unanswered)) == (before.row.call_id, ("insert", {"title": title}))


def test_two_found_items_with_the_same_title_are_two_items() -> None:
    meetings = [item("team meeting", f"Team meeting on day {n}", date=FRIDAY + n * DAY) for n in (1, 8)]
    first, second = decisions(*meetings)
    assert stored(first).id != stored(second).id
    assert sent(second)[1]["date"] == FRIDAY + 8 * DAY


def test_item_ids_of_a_list_of_equal_titles_are_derived_once_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    class Counted(dict[tuple[str, int], str]):
        def __missing__(self, key: tuple[str, int]) -> str:
            made.append(f"i-{key}")
            return made[-1]

    monkeypatch.setitem(vars(FINDER), "item_ids", Counted())
    decided = decisions(*(item("do it", f"- [ ] do it ({n})") for n in range(300)))
    assert ([stored(decision).id for decision in decided], len(set(made))) == (made, 300)


def test_quote_of_a_message_is_sent_to_the_device_and_not_stored() -> None:
    known = KnownItems(finder=FINDER, here=(), elsewhere=())
    one = found(item("call Anna"))
    (decision,) = decide(known, found=one, timezone="UTC", can_update=True, with_quotes=False)
    assert stored(decision).source == one[0].source | {"quote": ""}
    assert decision.call is not None
    assert decision.call.payload["source"]["quote"] == "We have to call Anna."


# --- known in the same unit ---


def test_item_of_a_dated_table_has_a_time_zone_except_at_midnight() -> None:
    document = Document(unit_key="a.md", text="", content_hash="0" * 64)
    day = begin_of(date(2024, 10, 4), "Europe/Berlin")
    midnight = msgspec.structs.replace(item("call Ben", dueDate=day), has_time=True)
    timed = msgspec.structs.replace(item("call Eve", dueDate=day + 3_600_000), has_time=True)
    note = item("be kind", table=TableName.NOTES)
    told = found_items(
        document, [item("call Anna", dueDate=day), midnight, timed, note], "Europe/Berlin", TABLES
    )
    assert [one.source.get("timezone") for one in told] == ["Europe/Berlin", None, "Europe/Berlin", None]


def test_reworded_item_of_the_same_sentence_by_another_prompt_is_not_sent() -> None:
    before = known(item("call Anna", "Anna is to be called."), config_fingerprint="prompt-0")
    (decision,) = decisions(item("ring up Mrs. Smith", "Anna is to be called."), here=[before])
    assert (decision.call, stored(decision).config_fingerprint) == (None, "prompt-1")


def test_second_item_of_a_known_sentence_is_inserted() -> None:
    quote = "Anna pays the rent and Bob calls Carl."
    decided = decisions(
        item("pay the rent", quote), item("call Carl", quote), here=[known(item("pay the rent", quote))]
    )
    assert [decision.call is None for decision in decided] == [True, False]


def test_a_changed_source_updates_the_row_with_the_difference() -> None:
    before = known(item("call Anna", "Call Anna by Friday.", dueDate=FRIDAY), verdict="approved")
    (decision,) = decisions(item("call Anna", "Call Anna by Saturday.", dueDate=FRIDAY + DAY), here=[before])
    assert sent(decision) == ("update", {"dueDate": FRIDAY + DAY})
    assert decision.call is not None
    assert decision.call.payload["where"] == {"id": "row-1"}
    assert decision.call.payload["source"]["changed"] == [
        {"field": "dueDate", "before": FRIDAY, "after": FRIDAY + DAY}
    ]
    row = stored(decision)
    assert (row.version, row.before, row.answered_at) == (2, before.row.data, None)
    assert row.call_id != before.row.call_id


def test_reworded_sentence_of_an_equal_item_updates_only_the_quote_hash() -> None:
    before = known(item("call Anna", "Call Anna."))
    (decision,) = decisions(item("call Anna", "Please call Anna."), here=[before])
    assert decision.call is None
    assert stored(decision).quote_hash != before.row.quote_hash


NOTE = "The week was long. We have to call Anna about the rent by Friday, says Bob. More later."


def quoted(quote: str, title: str, text: str = NOTE) -> Item:
    """An item of a model that copied *quote* from a text."""
    start = text.index(quote)
    return msgspec.structs.replace(item(title, quote), start=start, end=start + len(quote))


@each("title", ["call Anna", "call Anna about rent", "ring up the landlady"])
def test_rejected_item_remains_rejected_if_another_prompt_quotes_part_of_the_sentence(title: str) -> None:
    before = known(
        quoted("We have to call Anna about the rent by Friday", "call Anna about the rent"),
        verdict="rejected",
        config_fingerprint="prompt-0",
        text=NOTE,
    )
    (decision,) = decisions(quoted("call Anna about the rent", title), here=[before], text=NOTE)
    assert (decision.call, stored(decision).verdict) == (None, "rejected")


def test_single_word_title_does_not_match_two_longer_titles() -> None:
    calls = [item(title, title) for title in ("call the plumber", "call the office")]
    both = decisions(*calls, here=[known(item("call", "call"))])
    assert {sent(decision)[0] for decision in both} == {"insert"}


def test_title_similar_to_an_item_with_a_present_sentence_is_inserted() -> None:
    one = item("send the report to Anna", "Send the report to Anna.")
    decided = decisions(one, item("send the report to Annie", "And one to Annie."), here=[known(one)])
    assert ([decision.call is None for decision in decided], sent(decided[1])[0]) == ([True, False], "insert")


def test_similarity_comparison_of_titles_is_bounded() -> None:
    many = int(MAX_COMPARED**0.5) + 1
    here = [known(item(f"task number {n}", f"Old sentence {n}.")) for n in range(many)]
    decided = decisions(*(item(f"task numbers {n}", f"New sentence {n}.") for n in range(many)), here=here)
    assert {sent(decision)[0] for decision in decided} == {"insert"}


def test_items_with_equal_titles_are_matched_by_date() -> None:
    meetings = [item("team meeting", f"Meeting {n}.", date=FRIDAY + n * DAY) for n in range(3)]
    here = [known(meetings[1]), known(meetings[2], id="other", row_id="row-2")]
    decided = decisions(*meetings, here=here)
    assert [decision.call is None for decision in decided] == [False, True, True]
    assert sent(decided[0]) == ("insert", {"title": "team meeting", "date": FRIDAY})
    assert stored(decided[0]).id not in {one.row.id for one in here}


def test_device_without_updates_gets_a_new_row_naming_the_replaced_row() -> None:
    before = known(item("call Anna", "First.", dueDate=FRIDAY))
    (decision,) = decisions(
        item("call Anna", "Second.", dueDate=FRIDAY + DAY), here=[before], can_update=False
    )
    assert sent(decision) == ("insert", {"title": "call Anna", "dueDate": FRIDAY + DAY})
    assert decision.call is not None
    assert decision.call.payload["source"]["replaces"] == "row-1"


# --- not answered yet ---


@each("state", [CallState.PLANNED, CallState.SENT, CallState.UNKNOWN, CallState.REJECTED, None])
def test_unanswered_call_of_an_item_is_repeated_with_the_same_id(state: CallState | None) -> None:
    one = item("call Anna")
    before = known(one, told=False, state=state)
    (decision,) = decisions(one, here=[before])
    assert decision.call is not None
    assert (decision.call.call_id, decision.is_behind) == (before.row.call_id, False)


@each("state", [CallState.SENT, CallState.UNKNOWN, None])
def test_call_of_unknown_effect_is_repeated_before_the_newer_text_is_sent(
    state: CallState | None,
) -> None:
    before = known(item("call Anna", "First.", dueDate=FRIDAY), told=False, state=state)
    (decision,) = decisions(item("call Anna", "Second.", dueDate=FRIDAY + DAY), here=[before])
    assert decision.call is not None
    assert (decision.call.call_id, sent(decision)[1]["dueDate"]) == (before.row.call_id, FRIDAY)
    assert decision.is_behind


@each("state", [CallState.PLANNED, CallState.REJECTED])
def test_changed_item_at_no_device_is_inserted_with_a_new_call(state: CallState) -> None:
    before = known(item("call Anna", "First.", dueDate=FRIDAY), told=False, state=state)
    (decision,) = decisions(item("call Anna", "Second.", dueDate=FRIDAY + DAY), here=[before])
    assert sent(decision) == ("insert", {"title": "call Anna", "dueDate": FRIDAY + DAY})
    assert stored(decision).call_id != before.row.call_id


def test_source_reverted_after_a_refused_change_needs_no_call() -> None:
    first = item("paint the old door", "Paint the old door.")
    second = item("paint the unwelcome door", "Paint the unwelcome door.")
    change: dict[str, Any] = {"answered_at": None, "before": first.data, "row_id": "row-1"}
    refused = known(second, state=CallState.REJECTED, **change)
    other = known(item("paint the small door", "Paint the small door."), row_id="row-2")
    (decision,) = decisions(first, here=[other, refused])
    assert decision.call is None
    after = stored(decision)
    assert (after.row_id, after.data, after.before, after.answered_at) == (
        "row-1",
        first.data,
        None,
        FINDER.at,
    )


@each("state", [CallState.PLANNED, CallState.SENT, CallState.UNKNOWN, None])
def test_source_reverted_during_an_open_change_updates_the_same_row(
    state: CallState | None,
) -> None:
    first = item("paint the green door 1", "Paint the green door 1.")
    second = item("paint the unwelcome door 1", "Paint the unwelcome door 1.")
    change: dict[str, Any] = {"answered_at": None, "before": first.data, "row_id": "row-1"}
    on_its_way = known(second, state=state, **change)
    other = known(item("paint the green door 4", "Paint the green door 4."), row_id="row-2")
    (decision,) = decisions(first, here=[other, on_its_way])
    assert decision.call is not None
    assert (decision.call.action, decision.call.payload["where"]) == ("update", {"id": "row-1"})
    is_settled_first = state is not CallState.PLANNED
    assert decision.is_behind is is_settled_first
    assert stored(decision).data == (second if is_settled_first else first).data


def test_item_with_a_call_held_by_another_run_is_awaited() -> None:
    one = item("call Anna")
    before = known(one, told=False, state=CallState.SENT, held_by="r-1")
    (decision,) = decisions(one, here=[before])
    assert (decision.call, decision.awaits) == (None, before.row.id)


# --- known in another source ---


def elsewhere(one: Item, **options: Any) -> list[KnownItem]:
    return [known(one, unit="mail/b.eml", **options)]


def test_the_same_item_in_another_source_is_not_sent() -> None:
    there = elsewhere(item("call Anna", "Fwd: call Anna!"), verdict="rejected")
    (decision,) = decisions(item("call Anna"), elsewhere=there)
    assert (decision.call, decision.after, decision.awaits) == (None, None, None)


@each("state", [CallState.PLANNED, CallState.SENT, CallState.UNKNOWN, None])
def test_undelivered_item_of_another_source_is_sent_with_the_same_call_id(
    state: CallState | None,
) -> None:
    there = elsewhere(item("call Anna"), told=False, state=state)
    first, second = decisions(item("call Anna"), item("call Anna", "Again."), elsewhere=there)
    assert first.call is not None
    assert (first.call.call_id, first.call.item_id) == (there[0].row.call_id, there[0].row.id)
    assert (second.call, second.awaits) == (None, there[0].row.id)
    planned = elsewhere(item("call Anna"), told=False, state=state, held_by="r-2", call_unit="notes/a.md")
    assert decisions(item("call Anna"), elsewhere=planned)[0].call == first.call


@each(
    "case",
    [
        ("Zahnarzt 8:15", "Zahnarzt", "approved", 0, True),
        ("Zahnarzt", "Zahnarzt Kern", "approved", 0, True),
        ("Zahnarzt Kern", "Zahnarzt", "open", 0, True),
        ("Zahnarzt", "Zahnarzt Kern", "open", 0, False),
        ("Zahnarzt Kern", "Zahnarzt Rossi", "approved", 0, False),
        ("Zahnarzt Kern", "Zahnarzt", "approved", 1, False),
        ("keine Probe", "Probe", "approved", 0, False),
        ("Exam 2", "Exam", "approved", 0, False),
    ],
)
def test_event_at_the_time_of_a_known_one_with_words_more_is_not_sent(
    case: tuple[str, str, str, int, bool],
) -> None:
    known_title, title, verdict, hours, is_known = case
    at = epoch_ms(datetime(2027, 2, 3, 8, 15, tzinfo=UTC))
    there = elsewhere(item(known_title, table=TableName.TIMELINES, date=at), verdict=verdict)
    one = item(title, table=TableName.TIMELINES, date=at + hours * 3_600_000)
    (decision,) = decisions(one, elsewhere=there)
    assert (decision.call is None) is is_known


def test_item_rejected_for_another_source_is_tried_as_a_new_item() -> None:
    there = elsewhere(item("call Anna"), told=False, state=CallState.REJECTED)
    (decision,) = decisions(item("call Anna"), elsewhere=there)
    assert stored(decision).id != there[0].row.id


def test_item_being_sent_for_another_source_is_awaited() -> None:
    there = elsewhere(item("call Anna"), told=False, state=CallState.SENT, held_by="r-2")
    (decision,) = decisions(item("call Anna"), elsewhere=there)
    assert (decision.call, decision.awaits) == (None, there[0].row.id)


def test_changed_item_of_another_device_is_inserted_as_a_new_row() -> None:
    before = known(item("call Anna", "Call Anna on Friday.", dueDate=FRIDAY), device_id=DeviceId("laptop"))
    moved = item("call Anna", "Call Anna on Saturday.", dueDate=FRIDAY + DAY)
    (decision,) = decisions(moved, here=[before])
    assert sent(decision)[0] == "insert"
    assert (stored(decision).device_id, stored(decision).row_id) == (FINDER.device_id, None)


def test_significant_words_of_each_title_of_a_day_are_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []

    def counted(title: str, people: object = None) -> tuple[str, ...]:
        looked.append(title)
        return significant_words(title, people)

    there = [
        known(item(f"water tree {number}", dueDate=FRIDAY), unit="notes/b.md", row_id=f"row-{number}")
        for number in range(40)
    ]
    monkeypatch.setattr(elsewhere_of_device, "significant_words", counted)
    found_now = [item(f"paint tree {number}", dueDate=FRIDAY) for number in range(30)]
    assert all(decision.call is not None for decision in decisions(*found_now, elsewhere=there))
    assert len(looked) == 40 + 30


# --- titles that were rejected often ---


def rejections(*verdicts: str, agent: str = "a") -> list[KnownItem]:
    """The same title in other files, each on another day, with these verdicts."""
    return [
        known(
            item("team meeting", f"Team meeting on day {day}", dueDate=FRIDAY + day * DAY),
            verdict=verdict,
            unit=f"notes/{day}.md",
            agent_id=AgentId(agent),
        )
        for day, verdict in enumerate(verdicts, 30)
    ]


NEW = item("call Anna")
MEETING = item("Team  meeting", "Team meeting on Monday", dueDate=FRIDAY)
RENT = "We have to call Anna about the rent"
MORE = NOTE.replace(f"{RENT} by Friday", f"There is no hurry. {RENT} and the heating")
TIMELINE = {"table": TableName.TIMELINES}
LATE, EARLY = 20_000 * DAY - 7_200_000, 20_000 * DAY + 3_600_000  # 22:00 and 01:00 UTC
REVIEW = elsewhere(item("review", "Review of the plan."))


def note(title: str, content: str) -> Item:
    return item(title, table=TableName.NOTES, content=content)


def comment(author: str) -> Item:
    said = "looks good to me"
    return item(said, said, table=TableName.TASK_COMMENTS, author=author, content=said)


# A found item, what is known beside it, and whether it is sent.
SENT: dict[str, tuple[Item, dict[str, Any], bool]] = {
    **{
        f"same quote, {verdict}": (NEW, {"here": [known(NEW, verdict=verdict)]}, False)
        for verdict in ("open", "approved", "edited", "rejected")
    },
    "other blanks and case": (
        item("call Anna", "WE have to\n call  Anna."),
        {"here": [known(NEW, verdict="rejected")]},
        False,
    ),
    "another part of the same sentence": (
        msgspec.structs.replace(
            quoted("call Anna about the rent by Friday", "call Anna"),
            data={"title": "call Anna", "dueDate": FRIDAY},
        ),
        {"here": [known(quoted(RENT, "call Anna"), verdict="approved", text=NOTE)], "text": NOTE},
        False,
    ),
    "rejected, and its sentence says more": (
        quoted(f"{RENT} and the heating", "call Anna", MORE),
        {"here": [known(quoted(RENT, "call Anna"), verdict="rejected", text=NOTE)], "text": MORE},
        True,
    ),
    "nearly the same title on the same day": (
        item("Meeting with Anna project", date=20_000 * DAY, **TIMELINE),
        {"elsewhere": elsewhere(item("project meeting with Anna", date=FRIDAY, **TIMELINE))},
        False,
    ),
    **{
        f"one telling word differs: {said}": (
            item(said, dueDate=FRIDAY),
            {"elsewhere": elsewhere(item(there, dueDate=FRIDAY))},
            True,
        )
        for said, there in (
            ("book room 0012 for the workshop", "book room 0345 for the workshop"),
            ("send the final quote to Anna today", "send the final invoice to Anna today"),
            ("do not sign the contract with Rossi", "sign the contract with Rossi"),
        )
    },
    **{
        f"day and its hour around midnight in {zone}": (
            item("meet Anna", date=EARLY, **TIMELINE),
            {"elsewhere": elsewhere(item("meet Anna", date=LATE, **TIMELINE)), "timezone": zone},
            is_sent,
        )
        for zone, is_sent in (("UTC", True), ("Europe/Berlin", False))
    },
    **{
        f"{title} {hours} hours later on the same day": (
            item(title, date=FRIDAY + hours * 3_600_000, **TIMELINE),
            {"elsewhere": elsewhere(item("Physio", date=FRIDAY, **TIMELINE))},
            hours > 0,
        )
        for title in ("Physio", "the physio")
        for hours in (0, 6)
    },
    **{
        f"says more than elsewhere: {more}": (item("call Anna", **more), {"elsewhere": elsewhere(NEW)}, True)
        for more in ({"dueDate": FRIDAY}, {"assignee": ["Bob"]}, {"projectId": "p-2"})
    },
    "says less than elsewhere": (
        item("call Anna", assignee=["bob"]),
        {"elsewhere": elsewhere(item("call Anna", dueDate=FRIDAY, assignee=["Bob", "Eve"]))},
        False,
    ),
    "notes of other texts": (
        note("weekly summary", "The cellar is wet and cold."),
        {"elsewhere": elsewhere(note("weekly summary", "The roof is done."))},
        True,
    ),
    "notes of another number": (
        note("side door", "The code of the side door is 4712."),
        {"elsewhere": elsewhere(note("side door", "The code of the side door is 4711."))},
        True,
    ),
    "title of one word, another quote": (item("review", "Another review."), {"elsewhere": REVIEW}, True),
    "title of one word, the same quote": (
        item("review", "Review of the plan."),
        {"elsewhere": REVIEW},
        False,
    ),
    "comment of the same author": (comment("Anna"), {"elsewhere": elsewhere(comment("Anna"))}, False),
    "comment of another author": (comment("Bob"), {"elsewhere": elsewhere(comment("Anna"))}, True),
    "rejected twice": (MEETING, {"elsewhere": rejections("rejected", "rejected"), "learns": True}, True),
    "rejected three times": (MEETING, {"elsewhere": rejections(*["rejected"] * 3), "learns": True}, False),
    "rejected three times, an agent that does not learn": (
        MEETING,
        {"elsewhere": rejections(*["rejected"] * 3)},
        True,
    ),
    "rejected and kept once": (
        MEETING,
        {"elsewhere": rejections(*["rejected"] * 3, "approved"), "learns": True},
        True,
    ),
    "rejected, one waits": (
        MEETING,
        {"elsewhere": rejections(*["rejected"] * 3, "open"), "learns": True},
        True,
    ),
    "rejected, of another agent": (
        MEETING,
        {"elsewhere": rejections(*["rejected"] * 3, agent="another"), "learns": True},
        True,
    ),
}


@each("case", SENT)
def test_item_in_the_ledger_or_rejected_by_the_owner_is_not_sent(case: str) -> None:
    new, options, is_sent = SENT[case]
    (decision,) = decisions(new, **options)
    assert (decision.call is not None) is is_sent
    assert (decision.skipped == "unwanted") is (case == "rejected three times")


# A found item, the item in the ledger, and the call.
CALLS: dict[str, tuple[Item, list[KnownItem], tuple[str, dict[str, Any]]]] = {
    "new": (NEW, [], ("insert", {"title": "call Anna"})),
    "a field that the source no longer has gets its default": (
        item("call Anna", "Second."),
        [known(item("call Anna", "First.", dueDate=FRIDAY, priority="high"))],
        ("update", {"dueDate": None, "priority": "medium"}),
    ),
    "rejected, and its sentence is another": (
        item("call Anna", "Do call Anna, it is urgent."),
        [known(item("call Anna", "Call Anna."), verdict="rejected")],
        ("insert", {"title": "call Anna"}),
    ),
    "a changed title": (
        item("send the reports to Anna", "Send the reports to Anna."),
        [known(item("send the report to Anna", "Send the report to Anna."))],
        ("update", {"title": "send the reports to Anna"}),
    ),
    "a title of one word made longer": (
        item("milk, 2 litres", "milk, 2 litres"),
        [known(item("milk", "milk"))],
        ("update", {"title": "milk, 2 litres"}),
    ),
}


@each("case", CALLS)
def test_new_item_is_inserted_and_a_changed_item_updated(case: str) -> None:
    new, here, expected = CALLS[case]
    (decision,) = decisions(new, here=here)
    row = stored(decision)
    assert (sent(decision), row.answered_at) == (expected, None)
    assert row.verdict == (here[0].row.verdict if here else "open")
    assert ([one.row.id for one in here], row.version) == ([row.id] * len(here), 1 + len(here))


# Titles and quotes of one task by the rules of two releases, in a text that stays as it is.
MOVED_RULES: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "the sentence ends later": (
        ("call Anna about the rent", "We have to call Anna about the rent by Friday"),
        ("call Anna about the rent", "We have to call Anna about the rent by Friday, says Bob."),
    ),
    "the title is the whole sentence": (
        ("call Anna", "call Anna"),
        ("call Anna about the rent, says Bob", "We have to call Anna about the rent by Friday, says Bob."),
    ),
    "the title keeps its words, in another quote": (
        ("call Anna about the rent", "We have to call Anna about the rent by Friday"),
        ("Anna about the rent: call", "call Anna about the rent"),
    ),
}


@each("verdict", ["approved", "edited", "rejected"])
@each("text", [NOTE, f"{NOTE} Even more."])
@each("case", MOVED_RULES)
def test_decided_item_is_found_again_by_other_rules_and_not_sent(case: str, text: str, verdict: str) -> None:
    (title, quote), (later, longer) = MOVED_RULES[case]
    one = msgspec.structs.replace(quoted(quote, title), origin="rule")
    before = known(one, verdict=verdict, config_fingerprint="rules-0", text=NOTE)
    of_text = {"sha256": ("0" if text == NOTE else "1") * 64}
    source = None if verdict == "rejected" else (before.row.source or {}) | of_text
    before = msgspec.structs.replace(before, row=msgspec.structs.replace(before.row, source=source))
    data = {"title": later, "dueDate": FRIDAY}
    again = msgspec.structs.replace(quoted(longer, later, text), origin="rule", data=data)
    (decision,) = decisions(again, here=[before], text=text)
    assert (decision.before, decision.call) == (before.row, None)
    assert (stored(decision).data, stored(decision).verdict) == (before.row.data, verdict)
    (once_more,) = decisions(again, here=[answered(decision, verdict)], text=text)
    assert once_more.call is None


def test_task_that_is_ticked_after_a_change_of_rules_updates_its_row() -> None:
    task = msgspec.structs.replace(quoted("call Anna", "call Anna", NOTE), origin="rule")
    before = known(
        msgspec.structs.replace(task, data=task.data | {"status": "todo"}),
        verdict="approved",
        config_fingerprint="rules-0",
        text=NOTE,
    )
    ticked = msgspec.structs.replace(task, data=task.data | {"status": "done"})
    new = found_items(
        Document(unit_key="notes/a.md", text=NOTE, content_hash="1" * 64), [ticked], None, TABLES
    )
    (decision,) = decide(
        KnownItems(finder=FINDER, here=(before,), elsewhere=()), found=new, timezone="UTC", can_update=True
    )
    assert sent(decision) == ("update", {"status": "done"})
