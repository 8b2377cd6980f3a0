"""Calendars as programs write them: folds, line ends, durations, entries without a title."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from hub.connectors.calendar_feeds import calendar_entries
from hub.document import Document
from hub.extraction import structured
from hub.extraction.items import ExtractionOptions, RulesForm
from hub.extraction.letters import invitation_in
from hub.text.calendars import unfold_names
from protocol.tables import TABLES
from tests.support.families import each

OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), prompt="", timezone="Europe/Berlin")
ENTRIES: Final = (
    'BEGIN:VTODO\r\nSUMMARY;LANGUAGE=en;X-A="a:b;c":Pay the rent\r\n'
    "DUE;TZID=Europe/Berlin:20260403T100000\r\nSTATUS:NEEDS-ACTION\r\nEND:VTODO\r\n"
    "BEGIN:VEVENT\r\nSUMMARY:Fair\r\nDTSTART:20260404T080000Z\r\nEND:VEVENT\r\n"
)


def calendar(entries: str) -> str:
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{entries}END:VCALENDAR\r\n"


def todo(*lines: str) -> str:
    return calendar("".join(f"{line}\r\n" for line in ("BEGIN:VTODO", *lines, "END:VTODO")))


def read(text: str, name: str = "c.ics") -> RulesForm:
    return structured.read(Document(unit_key=name, text=text, content_hash="0" * 64), OPTIONS)


def rows(text: str) -> list[dict[str, Any]]:
    return [item.data for item in read(text).items]


ROWS: Final = rows(calendar(ENTRIES))


def test_entries_are_the_same_wherever_a_line_is_folded() -> None:
    text = calendar(ENTRIES)
    inside = [at for at in range(1, len(text)) if text[at - 1] not in "\r\n" and text[at] not in "\r\n"]
    for fold in ("\r\n ", "\n\t"):
        found = {at for at in inside if rows(f"{text[:at]}{fold}{text[at:]}") == ROWS}
        assert [text[:at].rpartition("\n")[2] for at in inside if at not in found] == []
    everywhere = "".join(f"{char}\r\n " if at + 1 in inside else char for at, char in enumerate(text))
    assert rows(everywhere) == ROWS
    titles = [item.quote.replace("\r\n ", "") for item in read(everywhere).items]
    assert titles == ["Pay the rent", "Fair"], "the quote is at its place"
    assert len(unfold_names(everywhere)) == len(everywhere)


@each(
    ("name", "text"),
    [
        ("LF", calendar(ENTRIES).replace("\r\n", "\n")),
        ("CR", calendar(ENTRIES).replace("\r\n", "\r")),
        ("CR CR LF", calendar(ENTRIES).replace("\r\n", "\r\r\n")),
        ("BOM", f"\ufeff{calendar(ENTRIES)}"),
        ("BOM and no calendar around", f"\ufeff{ENTRIES}"),
        ("blank lines", calendar(ENTRIES).replace("\r\n", "\r\n\r\n")),
        ("lower case", calendar(ENTRIES).replace("SUMMARY", "summary").replace("BEGIN:VTODO", "begin:vtodo")),
    ],
)
def test_entries_are_the_same_with_other_line_ends_and_cases(name: str, text: str) -> None:
    assert rows(text) == ROWS


def test_entries_of_several_calendars_in_a_file_are_judged_by_their_own_method() -> None:
    off = calendar(f"METHOD:CANCEL\r\n{ENTRIES}")
    form = read(off + calendar(ENTRIES) + off)
    assert [item.data for item in form.items] == ROWS
    assert form.parts == {"VTODO cancelled": 2, "VEVENT cancelled": 2}


BERLIN: Final = ";TZID=Europe/Berlin:"


@each(
    ("start", "duration", "due"),
    [
        (":20260403T100000Z", "PT1H", "2026-04-03T11:00Z"),
        (":20260403T100000Z", "P1DT2H30M", "2026-04-04T12:30Z"),
        (":20260403T100000Z", "+P2W", "2026-04-17T10:00Z"),
        (":20260403T100000Z", "PT0S", "2026-04-03T10:00Z"),
        (f"{BERLIN}20260328T120000", "P1D", "2026-03-29T10:00Z"),  # a day of 23 hours
        (f"{BERLIN}20260329T013000", "PT2H", "2026-03-29T02:30Z"),
        (f"{BERLIN}20261024T120000", "P1DT1H", "2026-10-25T12:00Z"),
        (";VALUE=DATE:20260403", "P1D", "2026-04-03T22:00Z"),
        (";VALUE=DATE:20260403", "P1W", "2026-04-09T22:00Z"),
        (":20260403T100000", "PT1H", "2026-04-03T09:00Z"),
        (":20260403T100000Z", "-PT15M", None),
        (":20260403T100000Z", "soon", None),
        (":99991231T230000Z", "P14D", None),
    ],
)
def test_a_todo_with_start_and_duration_is_due_at_their_sum(
    start: str, duration: str, due: str | None
) -> None:
    (item,) = read(todo("SUMMARY:Pay", f"DTSTART{start}", f"DURATION:{duration}")).items
    if due is None:
        assert duration in item.unresolved["dueDate"]
    else:
        assert datetime.fromtimestamp(item.data["dueDate"] / 1_000, UTC) == datetime.fromisoformat(due)  # type: ignore[operator]


def test_the_due_time_counts_where_a_todo_has_a_duration_too() -> None:
    (row,) = rows(todo("SUMMARY:Pay", "DTSTART:20260403T100000Z", "DURATION:P9D", "DUE:20260404T100000Z"))
    assert row["dueDate"] == 1_775_296_800_000
    (item,) = read(todo("SUMMARY:Pay", "DTSTART;TZID=Mars:20260403T100000", "DURATION:PT1H")).items
    assert item.unresolved == {"dueDate": "2026-04-03 11:00 Mars"}


ALARM: Final = ("BEGIN:VALARM", "ACTION:DISPLAY", "SUMMARY:Bell", "DESCRIPTION:Reminder", "END:VALARM")


@each(
    ("lines", "title"),
    [
        (("DESCRIPTION:Pay the rent\\nby bank",), "Pay the rent"),
        (("SUMMARY:", "COMMENT:Pay", "LOCATION:Room A"), "Pay"),
        (("LOCATION:Room A",), "Room A"),
        ((*ALARM, "SUMMARY:Pay"), "Pay"),
        (ALARM, None),
        (("SUMMARY:  ",), None),
        (("CATEGORIES:Home",), None),
    ],
)
def test_an_entry_without_a_title_has_another_text_or_is_counted(
    lines: tuple[str, ...], title: str | None
) -> None:
    for kind, day in (("VTODO", "DUE"), ("VEVENT", "DTSTART")):
        form = read(todo(*lines, f"{day}:20260403").replace("VTODO", kind))
        assert [item.data["title"] for item in form.items] == ([] if title is None else [title])
        assert [item.quote.partition("\\n")[0] for item in form.items] == ([] if title is None else [title])
        assert form.parts == ({f"{kind} no text": 1} if title is None else {})


def test_an_invitation_and_a_feed_with_folded_names_are_known() -> None:
    event = "UID:a\r\nDTSTAMP:20260101T000000Z\r\nORGANIZER:mailto:ana@example.org\r\n"
    lines = f"METHOD:REQUEST\r\nBEGIN:VEVENT\r\n{event}DTSTART:20260403\r\nSUMMARY:Fair\r\nEND:VEVENT\r\n"
    text = calendar(lines)
    folded = text.replace("METHOD:REQ", "MET\r\n HOD:RE\r\n Q").replace("BEGIN:VEV", "BEGIN:V\r\n EV")
    head = "Subject: Fair\n\nCome.\n\n[attachment: text/calendar]\n"
    assert invitation_in(head + folded) == invitation_in(head + text) is not None
    (entry,) = calendar_entries(folded.encode())
    assert [row["title"] for row in rows(entry.text)] == ["Fair"]


def test_truncated_feed_or_attachment_is_marked_as_cut_off() -> None:
    cut = calendar(ENTRIES).partition("DTSTART")[0]
    assert [read(entry.text).is_cut_off for entry in calendar_entries(cut.encode())] == [False, True]
    text = f"Subject: Fair\n\n[attachment: c.ics, text/calendar]\n{cut}"
    mail = Document(unit_key="a.eml", text=text, content_hash="", media_type="message/rfc822")
    form = structured.read(mail, OPTIONS)
    assert ([item.data["title"] for item in form.items], form.parts) == (
        ["Pay the rent"],
        {"text/calendar cut off": 1},
    )


def test_file_or_attachment_without_a_calendar_is_counted_as_unreadable() -> None:
    assert read("Pay the rent.").parts == {"text/calendar unreadable": 1}
    text = "Subject: Fair\n\n[attachment: c.ics, text/calendar]\nPay the rent."
    mail = Document(unit_key="a.eml", text=text, content_hash="", media_type="message/rfc822")
    assert structured.read(mail, OPTIONS).parts["text/calendar unreadable"] == 1


@pytest.mark.parametrize(
    ("entries", "parts"),
    [
        ("", {"text/calendar empty": 1}),
        ("BEGIN:VFREEBUSY\r\nFREEBUSY:19970308T160000Z/PT8H\r\nEND:VFREEBUSY\r\n", {"VFREEBUSY no text": 1}),
        ("BEGIN:VTODO\r\nSUMMARY:Pay\r\nSTATUS:CANCELLED\r\nEND:VTODO\r\n", {"VTODO cancelled": 1}),
        ("BEGIN:VTODO\r\nSUMMARY:Pay\r\nBEGIN:VALARM\r\nEND:VTODO\r\n", {"VTODO unreadable": 1}),
    ],
)
def test_unread_calendar_entries_are_counted_by_their_kind(entries: str, parts: dict[str, int]) -> None:
    form = read(calendar(entries))
    assert (form.items, {name: count for name, count in form.parts.items() if count}) == ([], parts)


@pytest.mark.parametrize(
    ("lines", "is_suggested"),
    [
        (("DTSTART:20260505T090000Z",), False),
        (("DTSTART;VALUE=DATE:20260505",), False),
        (("DTSTART:20260506T010000Z",), True),
        (("DTSTART:20260601T090000Z",), True),
        (("DTSTART:20200101T090000Z", "RRULE:FREQ=YEARLY"), True),
    ],
)
def test_single_event_before_the_day_of_the_file_is_counted_as_past(
    lines: tuple[str, ...], is_suggested: bool
) -> None:
    text = calendar("\r\n".join(("BEGIN:VEVENT", "SUMMARY:Fair", *lines, "END:VEVENT", "")))
    saved = datetime(2026, 5, 6, 12, tzinfo=UTC)
    document = Document(unit_key="c.ics", text=text, content_hash="0" * 64, modified_at=saved)
    form = structured.read(document, OPTIONS)
    assert (len(form.items), form.parts) == ((1, {}) if is_suggested else (0, {"VEVENT past": 1}))


@pytest.mark.parametrize(
    ("lines", "description", "marks"),
    [
        (("DESCRIPTION:All of it", "LOCATION:Garden"), "All of it\nGarden", ()),
        (("RRULE:FREQ=WEEKLY;INTERVAL=2",), "rec:+2w", ("rec:+2w",)),
        (("LOCATION:Garden", "RRULE:INTERVAL=3;FREQ=MONTHLY"), "Garden\nrec:+3m", ("rec:+3m",)),
        (("RRULE:FREQ=WEEKLY;BYDAY=MO,WE",), "RRULE:FREQ=WEEKLY;BYDAY=MO,WE", ()),
        (("RRULE:FREQ=DAILY;COUNT=3",), "RRULE:FREQ=DAILY;COUNT=3", ()),
        (("RRULE:FREQ=NEVER",), None, ()),
        (("LOCATION:Pay",), None, ()),
        (("DESCRIPTION:rec:1d",), "rec:1d", ()),
    ],
)
def test_place_and_repetition_of_a_to_do_are_in_its_description(
    lines: tuple[str, ...], description: str | None, marks: tuple[str, ...]
) -> None:
    (item,) = read(todo("SUMMARY:Pay", "DUE;VALUE=DATE:20260403", *lines)).items
    assert (item.data.get("description"), item.marks) == (description, marks)
