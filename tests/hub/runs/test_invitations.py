"""Mails about one event: it is one row, which its organizer changes and calls off, and no one else."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
import pytest

from hub.connectors.connector import Address
from hub.text.convert import convert
from hub.text.files import MAIL
from protocol.capabilities import CapabilityName
from protocol.frame import Record
from protocol.lifecycles import RunOutcome, RunState
from protocol.tool_calls import Action, ToolCall
from storage.agents.configs import Mailbox as MailboxConfig
from storage.connectors import seen_messages
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.postgres import Postgres
from tests.support.runs import MODERN, Bench, declare_agent, declare_connector

pytestmark = pytest.mark.anyio
INES, PAUL, EVE = "ines@x.example", "paul@x.example", "eve@y.example"
TENTH, ELEVENTH = 1_804_669_200_000, 1_804_755_600_000  # at ten in Berlin
CANCELLED = "Cancelled: Tasting"


def event(sequence: int, day: int = 10, *, organizer: str = INES, **fields: str) -> str:
    """Return an event of the day in March 2027."""
    values = {
        "UID": "tasting@x",
        "DTSTAMP": f"202703{sequence + 1:02}T080000Z",
        "SEQUENCE": sequence,
        'ORGANIZER;CN="Moor: Ines"': f"mailto:{organizer}",
        "SUMMARY": "Tasting",
        "DTSTART;TZID=W. Europe Standard Time": f"202703{day}T100000",
    } | {name.replace("_", "-"): value for name, value in fields.items()}
    lines = "\r\n".join(f"{name}:{value}" for name, value in values.items() if value)
    return f"BEGIN:VEVENT\r\n{lines}\r\nEND:VEVENT"


def mail(method: str, *events: str, copies: int = 1) -> str:
    """Return the text of a mail with a calendar, which is in *copies* of its parts."""
    calendar = "\r\n".join(["BEGIN:VCALENDAR", f"METHOD:{method}", *events, "END:VCALENDAR"])
    kinds = (f"text/calendar; method={method}; name=invite.ics", "application/ics; name=invite.ics")
    parts = "".join(f"\r\n--x\r\nContent-Type: {kind}\r\n\r\n{calendar}" for kind in kinds[:copies])
    head = "Subject: Tasting\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n"
    return convert(f"{head}See the calendar.{parts}\r\n--x--\r\n".encode(), path="a.eml").text


def invitation(method: str, sequence: int, day: int = 10, *, organizer: str = INES, **fields: str) -> str:
    """Return the text of a mail about one event."""
    return mail(method, event(sequence, day, organizer=organizer, **fields))


@pytest.fixture
def mailbox() -> Mailbox:
    mailbox = Mailbox(page=10)
    mailbox.media_type = MAIL
    return mailbox


@pytest.fixture
async def bench(store: Store, mailbox: Mailbox) -> Bench:
    return await bench_over(store, mailbox)


async def bench_over(store: Store, mailbox: Mailbox, trusted: Collection[str] = ()) -> Bench:
    await declare_connector(store)
    config = MailboxConfig(connector="work", filter={})
    agent = await declare_agent(store, name="mail", mailbox=config, data_types=("timelines",))
    clock = FakeClock()
    return Bench(store, agent, clock=clock, desk=ListDesk(mailbox, clock), trusted=trusted)


async def changes(bench: Bench, mailbox: Mailbox, *mails: tuple[str, str]) -> list[tuple[Action, Record]]:
    """Return the calls of runs over mails of these senders, in order, until no mail is left."""
    link = bench.connect(capabilities=(*MODERN, CapabilityName.TOOL_UPDATE))
    for sender, text in mails:
        key = f"mid:{len(mailbox.messages)}"
        mailbox.add(key, text, sender=Address(sender))
    keys, seen = [message.key for message in mailbox.messages], 0
    while seen < len(keys):
        run = await bench.run()
        assert (run.state, run.outcome) == (RunState.COMPLETED, RunOutcome.SUCCESS)
        before, seen = seen, len(await bench.store.read(seen_messages.seen_of, bench.agent.id, keys))
        assert seen > before
    return list(map(_said, link.calls))


def _said(call: ToolCall) -> tuple[Action, Record]:
    return call.action, {name: call.data[name] for name in ("title", "date") if name in call.data}


FIRST = (Action.INSERT, {"title": "Tasting", "date": TENTH})
REQUEST, MOVED = invitation("REQUEST", 0), invitation("REQUEST", 1, 11)
CANCEL = invitation("CANCEL", 2, 11, STATUS="CANCELLED")
LATER = (Action.UPDATE, {"date": ELEVENTH})
THEN = (Action.INSERT, {"title": "Tasting", "date": ELEVENTH})


@pytest.mark.parametrize(
    ("mails", "expected"),
    [
        pytest.param([(INES, REQUEST)], [FIRST], id="request"),
        pytest.param([(INES, REQUEST), (INES, MOVED)], [FIRST, LATER], id="update"),
        pytest.param(
            [(INES, MOVED), (INES, REQUEST)], [(Action.INSERT, FIRST[1] | LATER[1])], id="late request"
        ),
        pytest.param([(INES, REQUEST), (PAUL, REQUEST)], [FIRST], id="forwarded"),
        pytest.param(
            [(INES, REQUEST), (PAUL, invitation("COUNTER", 0, 11)), (PAUL, invitation("REPLY", 0))],
            [FIRST],
            id="answers",
        ),
        pytest.param(
            [(INES, REQUEST), (INES, MOVED), (INES, CANCEL)],
            [FIRST, LATER, (Action.UPDATE, {"title": CANCELLED})],
            id="cancel",
        ),
        pytest.param([(INES, CANCEL), (INES, REQUEST), (INES, MOVED)], [], id="cancel comes first"),
        pytest.param([(INES, REQUEST), (EVE, CANCEL)], [FIRST], id="cancel by another"),
        pytest.param(
            [
                (INES, REQUEST),
                (EVE, invitation("CANCEL", 3, organizer=EVE)),
                (INES, MOVED),
            ],
            [FIRST, LATER],
            id="cancel by another organizer",
        ),
        pytest.param(
            [(EVE, invitation("REQUEST", 9, organizer=EVE)), (INES, MOVED)], [FIRST, THEN], id="borrowed UID"
        ),
        pytest.param(
            [(INES, REQUEST), (INES, invitation("REQUEST", 3, SUMMARY="Tea with the harbour master"))],
            [FIRST, (Action.UPDATE, {"title": "Tea with the harbour master"})],
            id="other title",
        ),
        pytest.param(
            [(INES, REQUEST), (INES, invitation("REQUEST", 1, 11, RECURRENCE_ID="20270310T090000Z"))],
            [FIRST, THEN],
            id="one date of several",
        ),
        pytest.param(
            [(INES, REQUEST), (INES, CANCEL), (INES, invitation("REQUEST", 3))],
            [
                FIRST,
                (Action.UPDATE, {"title": CANCELLED, "date": ELEVENTH}),
                (Action.UPDATE, {"title": "Tasting", "date": TENTH}),
            ],
            id="again",
        ),
    ],
)
async def test_invitation_mails_about_the_same_event_change_a_single_row(
    bench: Bench, mailbox: Mailbox, mails: list[tuple[str, str]], expected: list[tuple[Action, Record]]
) -> None:
    assert await changes(bench, mailbox, *mails) == expected


def at(day: int, title: str = "Tasting") -> tuple[Action, Record]:
    """Return the call that inserts a date at ten in Berlin."""
    return Action.INSERT, {"title": title, "date": TENTH + (day - 10) * 86_400_000}


def moved(day: int) -> tuple[Action, Record]:
    return Action.UPDATE, {"date": at(day)[1]["date"]}


WEEKLY = {"RRULE": "FREQ=WEEKLY;COUNT=4", "EXDATE": "20270331T080000Z", "RDATE": "20270402T080000Z"}
SEVENTEENTH, IN_UTC = {"RECURRENCE-ID;TZID=W. Europe Standard Time": "20270317T100000"}, "20270317T090000Z"
SERIES = mail("REQUEST", event(0, 10, **WEEKLY), event(0, 18, **SEVENTEENTH))
CALLED_OFF = (Action.UPDATE, {"title": CANCELLED})


@pytest.mark.parametrize(
    ("mails", "expected"),
    [
        pytest.param([(INES, SERIES)], [FIRST, at(18)], id="with a date that differs"),
        pytest.param([(INES, mail("REQUEST", event(0), copies=2))], [FIRST], id="in two parts of a mail"),
        pytest.param(
            [(INES, SERIES), (INES, invitation("REQUEST", 1, 19, RECURRENCE_ID=IN_UTC))],
            [FIRST, at(18), moved(19)],
            id="the date moves again",
        ),
        pytest.param(
            [(INES, SERIES), (INES, invitation("CANCEL", 1, 18, **SEVENTEENTH))],
            [FIRST, at(18), CALLED_OFF],
            id="the date is called off",
        ),
        pytest.param(
            [(INES, SERIES), (INES, invitation("CANCEL", 1, 24, RECURRENCE_ID="20270324T090000Z"))],
            [FIRST, at(18), at(24, CANCELLED)],
            id="another date is called off",
        ),
        pytest.param(
            [
                (INES, SERIES),
                (
                    INES,
                    mail(
                        "CANCEL",
                        event(1, 24, RECURRENCE_ID="20270324T090000Z").replace(
                            "DTSTART;TZID=W. Europe Standard Time:20270324T100000\r\n", ""
                        ),
                    ),
                ),
            ],
            [FIRST, at(18), at(24, CANCELLED)],
            id="another date is called off without its time",
        ),
        pytest.param(
            [(INES, SERIES), (INES, mail("REQUEST", event(1, 18, STATUS="CANCELLED", **SEVENTEENTH)))],
            [FIRST, at(18), CALLED_OFF],
            id="the date has the state of one called off",
        ),
        pytest.param(
            [(INES, SERIES), (INES, mail("REQUEST", event(1, 11, **WEEKLY), event(1, 18, **SEVENTEENTH)))],
            [FIRST, at(18), LATER],
            id="the series moves",
        ),
        pytest.param(
            [(INES, SERIES), (INES, mail("REQUEST", event(0, 10, **WEEKLY), event(1, 19, **SEVENTEENTH)))],
            [FIRST, at(18), moved(19)],
            id="only the date is newer",
        ),
        pytest.param(
            [
                (INES, invitation("REQUEST", 2, 19, **SEVENTEENTH)),
                (INES, SERIES),
                (INES, invitation("REQUEST", 1, 20, **SEVENTEENTH)),
            ],
            [at(19), FIRST],
            id="out of order",
        ),
        pytest.param(
            [(INES, invitation("CANCEL", 1, 17, **SEVENTEENTH)), (INES, SERIES)],
            [at(17, CANCELLED), FIRST],
            id="a date is called off first",
        ),
        pytest.param(
            [
                (INES, SERIES),
                (INES, invitation("CANCEL", 3, STATUS="CANCELLED")),
                (INES, invitation("REQUEST", 2, 20, **SEVENTEENTH)),
            ],
            [FIRST, at(18), CALLED_OFF, CALLED_OFF],
            id="the series is called off",
        ),
        pytest.param(
            [
                (INES, SERIES),
                (EVE, invitation("CANCEL", 1, 18, **SEVENTEENTH)),
                (PAUL, invitation("REQUEST", 1, 20, **SEVENTEENTH)),
            ],
            [FIRST, at(18)],
            id="by another",
        ),
        pytest.param(
            [(INES, mail("REQUEST", event(0), event(0, 12, UID="tea@x", SUMMARY="Tea")))],
            [FIRST, at(12, "Tea")],
            id="two events are no series",
        ),
    ],
)
async def test_event_series_is_a_row_plus_a_row_per_differing_date(
    bench: Bench, mailbox: Mailbox, mails: list[tuple[str, str]], expected: list[tuple[Action, Record]]
) -> None:
    assert await changes(bench, mailbox, *mails) == expected


@pytest.mark.soak
async def test_event_is_a_single_row_on_postgresql(postgres: Postgres, mailbox: Mailbox) -> None:
    with postgres.database() as url:
        async with open_store(url) as store:
            bench = await bench_over(store, mailbox)
            assert await changes(bench, mailbox, (INES, REQUEST), (EVE, CANCEL), (INES, MOVED)) == [
                FIRST,
                LATER,
            ]


async def test_invitation_copies_in_other_folders_are_skipped(bench: Bench, mailbox: Mailbox) -> None:
    for copy in ("INBOX", "Archive"):
        mailbox.add(f"mid:{copy}", REQUEST, sender=Address(INES), copy=copy)
        mailbox.messages[-1] = msgspec.structs.replace(mailbox.messages[-1], key="mid:1")
    mailbox.texts["mid:1"] = REQUEST
    link = bench.connect()
    run = await bench.run()

    assert (len(link.calls), run.units_done, run.units_skipped) == (1, 1, 1)


def only(method: str, *events: str) -> str:
    """Return the text of a mail that is nothing but a calendar."""
    calendar = "\r\n".join(["BEGIN:VCALENDAR", f"METHOD:{method}", *events, "END:VCALENDAR"])
    head = f"Subject: Tasting\r\nContent-Type: text/calendar; method={method}\r\n\r\n"
    return convert(f"{head}{calendar}\r\n".encode(), path="a.eml").text


SPOOFED: Final = {
    "move": ("REQUEST", event(24, 25), at(25)),
    "cancel": ("CANCEL", event(24, 25, STATUS="CANCELLED"), None),
}


@pytest.mark.parametrize("place", [0, pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("spoofed", SPOOFED)
@pytest.mark.parametrize("form", [mail, only])
@pytest.mark.parametrize("trusted", [(), (INES,)])
async def test_mail_with_the_address_of_the_organizer_changes_no_event_of_verified_mails(
    store: Store, mailbox: Mailbox, trusted: tuple[str, ...], form: Any, spoofed: str, place: int
) -> None:
    bench = await bench_over(store, mailbox, trusted)
    method, about, its_own = SPOOFED[spoofed]
    mails = [
        (form("REQUEST", event(0)), True),
        (form("REQUEST", event(1, 11)), True),
        (form("CANCEL", event(2, 11, STATUS="CANCELLED")), True),
    ]
    mails.insert(place, (form(method, about), False))
    link = bench.connect(capabilities=(*MODERN, CapabilityName.TOOL_UPDATE))
    for number, (text, is_verified) in enumerate(mails):
        mailbox.add(f"mid:{number}", text, sender=Address(INES), is_verified=is_verified)
        await bench.run()
    expected = [FIRST, LATER, CALLED_OFF]
    expected[place:place] = [] if its_own is None else [its_own]
    assert list(map(_said, link.calls)) == expected
    known = [call.source.provenance for call in link.calls if call.source and _said(call) != its_own]
    assert [one.trusted for one in known if one] == 3 * [bool(trusted)]


async def test_event_cancellation_by_another_sender_is_noted_and_not_applied(
    bench: Bench, mailbox: Mailbox
) -> None:
    await changes(bench, mailbox, (INES, REQUEST))
    mailbox.add("mid:x", CANCEL, sender=Address(EVE))
    run = await bench.run()

    unit = (await bench.units(run.id))["mid:x"]
    assert unit.notes is not None and unit.notes["parts"] == {"text/calendar by another": 1}
