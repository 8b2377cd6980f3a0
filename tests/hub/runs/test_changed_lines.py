"""Lines of approved events that are moved, called off, or deleted: proposals and marks."""
# ruff: noqa: RUF001

from datetime import UTC, datetime

import msgspec
import pytest

from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.extraction.ruled import ToExtract
from hub.runs.changed_lines import MAX_ROWS
from hub.runs.found_items import found_items
from hub.runs.matching import decide
from protocol.frame import Record
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.lifecycles import CallState
from protocol.tables import TABLES, TableName
from storage.runs.items import Decision, Finder, FoundItem, ItemRow, KnownItem, KnownItems, Verdict
from tests.support.families import each

WRITTEN = datetime(2026, 11, 29, tzinfo=UTC)
FINDER = Finder(
    user_id=UserId("u"),
    agent_id=AgentId("a"),
    device_id=DeviceId("desk"),
    run_id=RunId("r"),
    unit_key="notes/a.md",
    config_fingerprint="f",
    at=int(WRITTEN.timestamp() * 1_000),
)


def document_of(text: str) -> Document:
    digest = f"{len(text):064}"
    return Document(unit_key="notes/a.md", text=text, content_hash=digest, modified_at=WRITTEN)


def read(document: Document) -> list[FoundItem]:
    options = ExtractionOptions(data_types=(TableName.TASKS, TableName.TIMELINES), prompt="x", timezone="UTC")
    items = ToExtract(document=document, options=options, reads_prose=True).answer().items
    return found_items(document, items, "UTC", TABLES)


def decisions(text: str, here: list[ItemRow]) -> list[Decision]:
    known = [KnownItem(row=row, call_state=CallState.ACKED) for row in here]
    return decide(
        KnownItems(finder=FINDER, here=tuple(known), elsewhere=()),
        found=read(document_of(text)),
        timezone="UTC",
        can_update=True,
        document=document_of(text),
        is_absent=lambda row: False,
    )


def decided(text: str, verdict: Verdict = "approved") -> list[ItemRow]:
    """Return the rows of a text, which their owner has decided about."""
    rows = [one.after for one in decisions(text, []) if one.after is not None]
    return [msgspec.structs.replace(row, verdict=verdict, row_id=row.id, answered_at=1) for row in rows]


def changes(text: str, here: list[ItemRow]) -> list[Record]:
    calls = [one.call for one in decisions(text, here) if one.call is not None]
    assert all(call.action == "update" for call in calls), "of the row, with nothing new beside"
    return [call.payload["data"] for call in calls]


def at(day: int, hour: int) -> int:
    return int(datetime(2026, 12, day, hour, tzinfo=UTC).timestamp() * 1_000)


MOVED = {
    "Dinner with Ana on 3 December at 14:00": [
        "Dinner with Ana on 3 December at 14:00 moved to 4 December at 15:00",
        "Dinner with Ana on 4 December at 15:00 (moved)",
        "Dinner with Ana on 4 December at 15:00",
    ],
    "3.12. 14 Uhr Foto Stadtwerke": [
        "3.12. 14 Uhr Foto Stadtwerke verschoben auf 4.12. 15 Uhr",
        "4.12. 15 Uhr Foto Stadtwerke (verschoben)",
        "3.12. 14 Uhr Foto Stadtwerke -> 4.12. 15 Uhr",
    ],
    "Réunion avec Ana le 3 décembre à 14 h": [
        "Réunion avec Ana le 3 décembre à 14 h reportée au 4 décembre à 15 h",
        "Réunion avec Ana le 4 décembre à 15 h (reportée)",
    ],
    "Reunión con Ana el 3 de diciembre a las 14:00": [
        "Reunión con Ana el 3 de diciembre a las 14:00 aplazada al 4 de diciembre a las 15:00",
        "Reunión con Ana el 4 de diciembre a las 15:00 (aplazada)",
    ],
    "Встреча с Анной 3 декабря в 14:00": [
        "Встреча с Анной 3 декабря в 14:00 перенесена на 4 декабря в 15:00",
        "Встреча с Анной 4 декабря в 15:00 (перенесена)",
    ],
    "12月3日14:00开会讨论预算": ["12月3日14:00开会讨论预算，改到12月4日15:00"],
}
CALLED_OFF = {
    "Dinner with Ana on 3 December at 14:00": [
        "Dinner with Ana on 3 December at 14:00 is cancelled",
        "Cancelled: Dinner with Ana on 3 December at 14:00",
        "~~Dinner with Ana on 3 December at 14:00~~",
    ],
    "3.12. 14 Uhr Foto Stadtwerke": [
        "3.12. 14 Uhr Foto Stadtwerke fällt aus",
        "Foto Stadtwerke (3.12. 14 Uhr) entfällt",
        "- ~~3.12. 14 Uhr Foto Stadtwerke~~",
    ],
    "Réunion avec Ana le 3 décembre à 14 h": ["Réunion avec Ana le 3 décembre à 14 h annulée"],
    "Reunión con Ana el 3 de diciembre a las 14:00": [
        "Reunión con Ana el 3 de diciembre a las 14:00 cancelada"
    ],
    "Встреча с Анной 3 декабря в 14:00": ["Встреча с Анной 3 декабря в 14:00 отменяется"],
    "12月3日14:00开会讨论预算": ["12月3日14:00开会讨论预算取消了"],
}


@each(("before", "after"), [(before, after) for before, lines in MOVED.items() for after in lines])
def test_day_that_the_line_of_an_approved_event_moves_to_changes_the_row(before: str, after: str) -> None:
    rows = decided(before)
    assert [row.data["date"] for row in rows] == [at(3, 14)]
    (changed,) = changes(after, rows)
    assert changed["date"] == at(4, 15)


@pytest.mark.parametrize(
    ("before", "after"), [(before, after) for before, lines in CALLED_OFF.items() for after in lines]
)
def test_line_that_calls_an_approved_event_off_changes_its_title(before: str, after: str) -> None:
    rows = decided(before)
    assert changes(after, rows) == [{"title": f"Cancelled: {rows[0].data['title']}"}]


POLISH = (
    "Notatki ze spotkania. Proszę jeszcze sprawdzić, czy wszystko jest gotowe oraz dać znać, bo nie ma czasu."
)


def test_line_of_an_unread_language_names_no_day_by_a_word_of_another_language() -> None:
    (row,) = decided("Dinner with Ana on 4 December at 14:00")
    title, quote = "Kolacja z Anną", "Kolacja z Anną 4.12. o 14:00"
    rows = [
        msgspec.structs.replace(
            row, data=row.data | {"title": title}, source=(row.source or {}) | {"quote": quote}
        )
    ]
    assert changes(f"{POLISH}\n\n~~{quote}~~ otwarte do 15:00\n", rows) == [{"title": f"Cancelled: {title}"}]


@pytest.mark.parametrize("is_read", [True, False])
def test_row_moved_to_a_month_in_an_unread_language_changes_the_item(is_read: bool) -> None:
    above, title, day = (
        ("", "Fix car", "9 December 2026") if is_read else (POLISH, "Oddać auto", "9 grudnia 2026")
    )
    rows = decided(f"{above}\n\n- [ ] {title} 12.01.2027\n")
    (changed,) = changes(f"{above}\n\n- [ ] {title} {day}\n", rows)
    assert changed == {"title": f"{title} {day}", "dueDate": at(9, 0)}


def test_line_of_one_of_two_dates_that_is_called_off_changes_its_row_alone() -> None:
    text = "1.12. 20 Uhr Bandprobe\n8.12. 20 Uhr Bandprobe\n"
    rows = decided(text)
    off = text.replace("8.12. 20 Uhr Bandprobe", "8.12. 20 Uhr Bandprobe fällt aus")
    (decision,) = [one for one in decisions(off, rows) if one.call is not None]
    assert (decision.before or rows[0]).data["date"] == at(8, 20)
    assert changes(text.replace("\n8.12", " fällt aus\n8.12"), rows) == [{"title": "Cancelled: Bandprobe"}]


DINNER = "Dinner with Ana on 3 December at 14:00"
MANY = "".join(
    f"> Meeting {number} with Bob on 2 December at 9:{number:02}\n" for number in range(MAX_ROWS + 5)
)


@pytest.mark.parametrize(
    ("before", "quoted"),
    [
        ("", f"Bob wrote:\n> {DINNER}\n\n"),
        (f"Bob wrote:\n> {DINNER}\n\n", f"Bob wrote:\n> {DINNER}\n\n"),
        (f"Bob wrote:\n{MANY}\n", ""),
    ],
    ids=["quoted since", "quoted before", "many events were quoted"],
)
def test_line_calling_an_event_off_counts_beside_quotations(before: str, quoted: str) -> None:
    rows = decided(f"{before}- {DINNER}\n")
    assert changes(f"{quoted}- {DINNER} cancelled\n", rows) == [{"title": "Cancelled: Dinner with Ana"}]


def test_event_that_is_called_off_is_proposed_once_and_comes_back_with_its_line() -> None:
    text = "3.12. 14 Uhr Foto Stadtwerke"
    (decision,) = [one for one in decisions(f"{text} fällt aus", decided(text)) if one.call is not None]
    assert decision.after is not None
    off = [msgspec.structs.replace(decision.after, answered_at=1, before=None)]
    assert changes(f"{text} fällt leider aus", off) == []
    assert changes(text, off) == [{"title": "Foto Stadtwerke"}]


def test_change_that_waits_is_replaced_once_its_event_is_called_off() -> None:
    rows = decided("3.12. 14 Uhr Foto Stadtwerke")
    (moved,) = [one.after for one in decisions("4.12. 15 Uhr Foto Stadtwerke (verschoben)", rows) if one.call]
    assert moved is not None
    waits = [msgspec.structs.replace(moved, answered_at=1)]
    assert changes("4.12. 15 Uhr Foto Stadtwerke fällt aus", waits) == [
        {"title": "Cancelled: Foto Stadtwerke"}
    ]


@pytest.mark.parametrize(
    ("after", "verdict", "is_missing"),
    [
        ("Other words.", "approved", True),
        ("Other words.", "edited", True),
        ("Other words.", "open", True),
        ("Other words.", "rejected", False),
        ("3.12. 14 Uhr Foto Stadtwerke", "approved", False),
        ("Foto der Stadtwerke war gut.", "approved", False),
        ("Foto der Stadtwerke war gut.", "open", True),
    ],
)
def test_row_is_marked_while_the_text_lacks_its_line(after: str, verdict: Verdict, is_missing: bool) -> None:
    rows = decided("3.12. 14 Uhr Foto Stadtwerke", verdict)
    rows = [
        msgspec.structs.replace(row, source=None if verdict == "rejected" else row.source) for row in rows
    ]
    marked = [one.after or row for one, row in zip(decisions(after, rows), rows, strict=False)] or rows
    assert [row.warnings for row in marked] == [("missing",) if is_missing else ()]
    kept = [msgspec.structs.replace(row, answered_at=1) for row in marked]
    again = [one.after for one in decisions("3.12. 14 Uhr Foto Stadtwerke", kept) if one.after is not None]
    assert [row.warnings for row in again] == ([()] if is_missing else [])
