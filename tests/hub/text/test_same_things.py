"""Near repeats among waiting items: labelled pairs, groups, and bounds of the comparison."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from hub.base.clock import epoch_ms
from hub.base.dates import begin_of
from hub.text.rows import same_things as same_things_module
from hub.text.rows.same_things import MAX_SAME, Thing, author_of, others_in, rough_words, same_things
from protocol.items import Provenance, ProvenanceOrigin
from protocol.tables import TABLES
from storage.runs.item_words import words_in
from tests.support.families import each

ZONE = "Europe/Berlin"


def thing(
    title: str, at: str = "", path: str = "", table: str = "tasks", *, id: str = "", **more: Any
) -> Thing:
    data: dict[str, Any] = {"title": title, **more.pop("data", {})}
    if at:
        is_day = len(at) == 10
        instant = datetime.fromisoformat(f"{at}:00+01:00") if not is_day else None
        at_ms = begin_of(date.fromisoformat(at), ZONE) if instant is None else epoch_ms(instant)
        data["dueDate" if table == "tasks" else "date"] = at_ms
    named = {"owner": "anna desk", "table": TABLES[table], "timezone": ZONE, **more}
    return Thing(id=id or title + path + table, data=data, path=path or f"notes/{table}.md", **named)


T, J = "todo.txt", "journal.md"
DUE = "2027-06-01"
SAME = {
    "of a list and a journal": (thing("Call Anna", path=T), thing("call Anna", path=J)),
    "with small words": (thing("Call Anna about the offer", path=T), thing("call Anna about offer", path=J)),
    "of politeness": (thing("Please send the draft to Rossi", path=T), thing("Send draft to Rossi!", path=J)),
    "of which one has a day": (
        thing("Call the printer about brochures", "2027-02-03", T),
        thing("call printer about brochures", path=J),
    ),
    "of which one says its day": (
        thing("Renew the certificate of the shop", "2027-02-03", T),
        thing("Renew certificate of the shop by 3 February", "2027-02-03", J),
    ),
    "of which one says its time": (
        thing("Train to Berlin at 14:05", "2027-02-03T14:05", T, "timelines"),
        thing("Train to Berlin Wednesday", "2027-02-03", J),
    ),
    "of which one has a status": (
        thing("Call Anna", path=T, data={"status": "todo", "priority": "high"}),
        thing("Call Anna", path=J),
    ),
    "short, of one day": (thing("Pay rent", "2027-02-01", T), thing("pay the rent", "2027-02-01", J)),
    "task and event of one file": (
        thing("Train to Berlin", "2027-02-03", "mail.md"),
        thing("Train to Berlin", "2027-02-03T14:05", "mail.md", "timelines"),
    ),
    "event by midnight of another zone": (
        thing("Train to Berlin", "2027-02-03", T),
        thing("Train to Berlin", "2027-02-03T00:30", J, "timelines"),
    ),
    "events at one time, of which one has a name": (
        thing("Zahnarzt um 8h", "2027-02-03T08:00", T, "timelines"),
        thing("Zahnarzt", "2027-02-03T08:00", J, "timelines"),
    ),
    "events at one time, of which one has a place": (
        thing("кардиолог", "2027-02-03T14:20", T, "timelines"),
        thing("мама: кардиолог Озолиня", "2027-02-03T14:20", J, "timelines"),
    ),
    "German": (thing("Anna das Angebot schicken", path=T), thing("Anna Angebot schicken", path=J)),
    "Chinese": (thing("给王明打电话", path=T), thing("给王明打电话。", path="b.md")),
    "Russian": (thing("Позвонить Анне", path=T), thing("позвонить Анне", path=J)),
    "of dated files, with one day": (
        thing("Pay rent", "2027-02-01", "2027-01.md"),
        thing("Pay rent", "2027-02-01", "2027-02.md"),
    ),
}
OTHER = {
    "names that differ in a letter": (thing("call Anna", path=T), thing("call Anne", path=J)),
    "names with other endings": (thing("call Martin", path=T), thing("call Martina", path=J)),
    "names in another order": (thing("tell Anna Bob agreed", path=T), thing("tell Bob Anna agreed", path=J)),
    "numbers": (thing("Pay invoice 4711", path=T), thing("Pay invoice 4712", path=J)),
    "amounts": (thing("Pay Rossi 1,200 EUR", path=T), thing("Pay Rossi 1,300 EUR", path=J)),
    "letters of plans": (thing("Send plan A to Rossi", path=T), thing("Send plan B to Rossi", path=J)),
    "letter and none": (thing("Order some vitamin D", path=T), thing("Order some vitamin", path=J)),
    "negation": (thing("do not call Anna Rossi", path=T), thing("call Anna Rossi", path=J)),
    "weekly meetings": (
        thing("Team meeting Rossi", "2027-02-01T09:00", T, "timelines"),
        thing("Team meeting Rossi", "2027-02-08T09:00", J, "timelines"),
    ),
    "times of one day": (
        thing("Train to Berlin", "2027-02-03T14:05", T, "timelines"),
        thing("Train to Berlin", "2027-02-03T16:05", J, "timelines"),
    ),
    "events at one time with other names": (
        thing("Team meeting Rossi", "2027-02-01T09:00", T, "timelines"),
        thing("Team meeting Bianchi", "2027-02-01T09:00", J, "timelines"),
    ),
    "events at two times with words more": (
        thing("Zahnarzt", "2027-02-01T09:00", T, "timelines"),
        thing("Zahnarzt Dr. Kern", "2027-02-01T10:00", J, "timelines"),
    ),
    "event of a day and one with words more": (
        thing("Zahnarzt", "2027-02-01", T, "timelines"),
        thing("Zahnarzt Dr. Kern", "2027-02-01", J, "timelines"),
    ),
    "tasks at one time with words more": (
        thing("Pay rent", "2027-02-01T09:00", T),
        thing("Pay rent Garage", "2027-02-01T09:00", J),
    ),
    "events at one time, one called off": (
        thing("Probe", "2027-02-01T09:00", T, "timelines"),
        thing("keine Probe", "2027-02-01T09:00", J, "timelines"),
    ),
    "events at one time with numbers": (
        thing("Exam", "2027-02-01T09:00", T, "timelines"),
        thing("Exam 2", "2027-02-01T09:00", J, "timelines"),
    ),
    "events at one time with letters": (
        thing("Match", "2027-02-01T09:00", T, "timelines"),
        thing("Match B", "2027-02-01T09:00", J, "timelines"),
    ),
    "rent of two months": (thing("Pay rent", "2027-01-31", T), thing("Pay rent", "2027-02-28", J)),
    "rent of files of months, without days": (
        thing("Pay the rent of Hill Street", path="2027-01.md"),
        thing("Pay the rent of Hill Street", path="2027-02.md"),
    ),
    "short titles without days": (
        thing("send the quote", path="a/todo.md"),
        thing("Send quote", path="b/x.md"),
    ),
    "short titles of which one has a day": (
        thing("send the quote", "2027-02-03", T),
        thing("Send quote", path=J),
    ),
    "one file twice": (thing("Call Anna", path=T, id="1"), thing("call Anna", path=T, id="2")),
    "people": (
        thing("Write the report of May", path=T, data={"assignee": ["Anna"]}),
        thing("Write the report of May", path=J, data={"assignee": ["Ben"]}),
    ),
    "projects": (
        thing("Write the report of May", path=T, data={"projectId": "1"}),
        thing("Write the report of May", path=J, data={"projectId": "2"}),
    ),
    "states": (
        thing("Call Anna", path=T, data={"status": "todo"}),
        thing("Call Anna", path=J, data={"status": "in_progress"}),
    ),
    "words more": (thing("Call Anna", path=T), thing("Call Anna back", path=J)),
    "tables of notes": (
        thing("Wifi of the office", path=T, table="notes"),
        thing("Wifi of the office", table="notes"),
    ),
    "authors": (thing("Call Anna", path=T), thing("Call Anna", path=J, by="mail eve@example.org")),
    "marked": (thing("Call Anna", path=T), thing("Call Anna", path=J, is_marked=True)),
    "owners": (thing("Call Anna", path=T), thing("Call Anna", path=J, owner="ben desk")),
    "only small words": (thing("to do", path=T), thing("to do", path=J)),
    "descriptions": (
        thing("Pay Rossi", DUE, T, data={"description": "IBAN DE1"}),
        thing("Pay Rossi", DUE, J, data={"description": "IBAN XX9"}),
    ),
    "description and none": (
        thing("Pay Rossi", DUE, T, data={"description": "IBAN DE1"}),
        thing("Pay Rossi", DUE, J),
    ),
    "priorities": (
        thing("Pay Rossi", DUE, T, data={"priority": "high"}),
        thing("Pay Rossi", DUE, J, data={"priority": "low"}),
    ),
    "day of a file in another folder": (
        thing("Send the signed contract to Lena", path="notes/a.md"),
        thing("Send the signed contract to Lena", "2099-01-01", "notes/Downloads/x.pdf"),
    ),
    "day of a title alone": (
        thing("Renew the certificate of the shop by 3 February", "2027-02-03", T),
        thing("Renew the certificate of the shop", path=J),
    ),
    "day of one mail of an author": (
        thing("Pay invoice 4711 to Bank", path="mail/1", by="mail bank"),
        thing("Pay invoice 4711 to Bank", DUE, path="mail/2", by="mail bank"),
    ),
}
TITLES = (  # of two things, also on one day, that differ in a few characters
    ("Review the report of January", "Review the report of February"),
    ("Pay the invoice of 2027-01-15", "Pay the invoice of 2027-02-15"),
    ("Book a ticket for 12. March", "Book a ticket for 19. March"),
    ("Call Mr. March", "Call Mr. April"),
    ("Lunch with April", "Lunch with June"),
    ("Cancel order 12 March", "Cancel order 14 March"),
    ("Order the cake for Monday", "Order the cake for Tuesday"),
    ("Renew by 1 June 2026", "Renew by 1 June 2025"),
    ("Set up the C# server", "Set up the C server"),
    ("Pay $50 rent", "Pay €50 rent"),
    ("Raise the limit to -5", "Raise the limit to 5"),
    ("Turn power on at the flat", "Turn power at the flat"),
    ("Log on to the power plant", "Log to the power plant"),
    ("Buy some milk \U0001f95b", "Buy some milk \U0001f4a3"),
    ("Meeting at 9:30 in the room", "Meeting at 14:30 in the room"),
    ("Ship the box to Bob", "Ship the box for Bob"),
    ("Sign the plan (A)", "Sign the plan (an)"),
    ("Sign the plan A", "Sign the plan"),
    ("Pay Bob 1.5 EUR", "Pay Bob 15 EUR"),
    ("Move files from A to B", "Move files from B to A"),
    ("Отправить письмо на Киев", "Отправить письмо в Киев"),
    ("不要付款", "付款"),
)


@each("pair", SAME.values(), ids=SAME)
def test_items_of_one_thing_are_joined(pair: tuple[Thing, Thing]) -> None:
    assert len(same_things(pair)) == 1
    ((first, _),), ((again, _),) = same_things(pair), same_things(pair[::-1])
    assert first is again or pair[0].at == pair[1].at


@each("titles", TITLES)
@each("day", ["", DUE])
def test_items_whose_titles_differ_in_a_character_stay_apart(titles: tuple[str, str], day: str) -> None:
    one, other = (thing(title, day, path) for title, path in zip(titles, (T, J), strict=True))

    assert same_things([one, other]) == []


@each("pair", OTHER.values(), ids=OTHER)
def test_items_of_two_things_stay_apart(pair: tuple[Thing, Thing]) -> None:
    assert same_things(pair) == []


def test_first_of_same_things_has_a_time_or_a_day() -> None:
    plain = thing("Train to Berlin", path=T)
    day = thing("Train to Berlin", "2027-02-03", J)
    event = thing("Train to Berlin", "2027-02-03T14:05", "mail.md", "timelines")

    assert same_things([plain, day, event]) == [[event, day, plain]]


def test_item_without_day_is_joined_with_none_of_two_days() -> None:
    plain = thing("Call Anna about offer", path=T)
    first = thing("Call Anna about offer", "2027-02-03", J)
    second = thing("Call Anna about offer", "2027-02-04", "a.md")
    again = thing("call Anna about the offer", "2027-02-04", "b.md")

    assert same_things([plain, first, second, again]) == [[second, again]]


def test_items_in_more_files_than_the_limit_stay_apart() -> None:
    many = [thing("Call Anna", path=f"{'x' * n}.md") for n in range(MAX_SAME + 1)]

    assert same_things(many) == []
    assert len(same_things(many[1:])) == 1


def test_comparisons_of_many_items_grow_with_their_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    agree = same_things_module._agree

    def counting(one: Thing, other: Thing) -> bool:
        nonlocal compared
        compared += 1
        return agree(one, other)

    monkeypatch.setattr(same_things_module, "_agree", counting)
    for count in (500, 1_000):
        compared = 0
        titles = [f"Call Anna about offer {n // 2}" for n in range(count)]
        assert (
            len(same_things(thing(title, path="xy"[n % 2]) for n, title in enumerate(titles))) == count // 2
        )
        assert compared <= count
        assert same_things(thing("Call Anna", path=f"{'x' * n}.md") for n in range(count)) == []
        assert compared <= count


def test_things_of_one_group_have_the_same_rough_words() -> None:
    for name, pair in SAME.items():
        if name.startswith("events at one time"):  # found by their time
            continue
        one, other = (rough_words(words_in(item.title)) for item in pair)
        assert one == other


def test_each_of_a_group_has_the_others() -> None:
    one, two, three = (thing("Call Anna", path=path) for path in "abc")

    assert others_in([[one, two, three]]) == {
        one.id: [two, three],
        two.id: [one, three],
        three.id: [one, two],
    }


def test_author_is_the_owner_only_in_files_of_the_owner_alone() -> None:
    def by(origin: ProvenanceOrigin, *, trusted: bool) -> str:
        return author_of(Provenance(origin=origin, author="Eve", trusted=trusted))

    assert author_of(None) == by(ProvenanceOrigin.OWN, trusted=True) == ""
    assert by(ProvenanceOrigin.MAIL, trusted=True) == by(ProvenanceOrigin.MAIL, trusted=False) == "mail Eve"
    assert by(ProvenanceOrigin.SHARED, trusted=True) and by(ProvenanceOrigin.OWN, trusted=False)


def test_time_of_an_unknown_zone_counts_in_utc() -> None:
    at = {"date": epoch_ms(datetime(2027, 2, 3, 23, 30, tzinfo=UTC))}
    event = thing("Fair", table="timelines", data=at, timezone="Mars/Base")

    assert event.at and event.at.date() == date(2027, 2, 3)
