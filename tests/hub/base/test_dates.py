"""Dates in all time zones, and the clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from hub.base.clock import IdFactory, SystemClock, epoch_ms
from hub.base.dates import begin_of, dates_as_instants, dates_as_texts, day_at
from hub.cli.inbox import lines_of
from hub.cli.review import _as_json
from hub.device.device_file import open_device_store
from hub.device.items import read_items
from hub.device.owner import edit
from hub.device.review.views import detail_view
from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.extraction.structured import read
from hub.runs.found_items import CallPayload, found_items, frame_of
from protocol.codec import JSON
from protocol.ids import RunId
from protocol.items import ItemSource
from protocol.tables import TABLES
from protocol.tool_calls import ToolCall
from tests.support.clock import FakeClock, SeededChance

ZONES = (
    *("Pacific/Honolulu", "America/New_York", "UTC"),
    *("Europe/Berlin", "Pacific/Auckland", "Pacific/Kiritimati"),
)
DAYS = (  # with the days on which clocks of these zones change, and those before
    *("2026-03-07", "2026-03-08", "2026-03-29", "2026-04-05", "2026-09-27", "2026-10-25", "2026-11-01"),
    *("2026-12-31", "2027-01-01", "2028-02-29"),
)
TASKS = TABLES["tasks"]


@contextmanager
def machine_in(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as there:
        there.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


def documents() -> Iterator[tuple[str, str]]:
    """Yield files, by name, that have each of the days once."""
    yield "a.md", "".join(f"- [ ] pay {day} due:{day}\n" for day in DAYS)
    yield "todo.txt", "".join(f"pay {day} due:{day}\n" for day in DAYS)
    yield "a.csv", "task,due\n" + "".join(f"pay {day},{day}\n" for day in DAYS)
    events = (
        f"BEGIN:VEVENT\nSUMMARY:{day}\nDTSTART;VALUE=DATE:{day.replace('-', '')}\nEND:VEVENT\n"
        for day in DAYS
    )
    todos = (
        f"BEGIN:VTODO\nSUMMARY:{day}\nDUE;VALUE=DATE:{day.replace('-', '')}\nEND:VTODO\n" for day in DAYS
    )
    yield "a.ics", f"BEGIN:VCALENDAR\n{''.join(events)}{''.join(todos)}END:VCALENDAR\n"


def frames_of(name: str, text: str, zone: str) -> list[ToolCall]:
    """Return the calls that bring the items of a file to a device, as a hub sends them."""
    document = Document(unit_key=f"notes/{name}", text=text, content_hash="0" * 64)
    items = read(document, ExtractionOptions(data_types=tuple(TABLES), timezone=zone)).items
    return [
        frame_of(
            f"{name}-{found.ordinal}",
            found.table,
            CallPayload(data=found.data, source=msgspec.convert(found.source, ItemSource)),
            run_id=RunId("r-1"),
            agent_id=None,
            deadline_ms=1_000,
        )
        for found in found_items(document, items, zone, TABLES)
    ]


def test_a_date_is_the_same_day_in_all_zones_of_hub_agent_and_desktop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {name: [*DAYS, *DAYS] if name == "a.ics" else [*DAYS] for name, _ in documents()}
    compared = 0
    for agent in ZONES:
        sent: list[list[ToolCall]] = []
        for hub in ZONES:
            with machine_in(hub, monkeypatch):
                sent.append([frame for name, text in documents() for frame in frames_of(name, text, agent)])
        assert all(frames == sent[0] for frames in sent), agent
        for frame in sent[0]:  # over the wire, as a device that is no desktop of ours sees it
            got = msgspec.json.decode(JSON.encode(frame), type=ToolCall)
            assert got.source is not None and got.source.timezone == agent
        clock = FakeClock()
        file = tmp_path / f"{agent.replace('/', '-')}.db"
        with open_device_store(file, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
            assert all(answer.error is None for answer in store.apply(sent[0]))
        for machine in ZONES:
            with machine_in(machine, monkeypatch):
                found: dict[str, list[str]] = {name: [] for name in expected}
                for item in read_items(file):
                    column = "dueDate" if item.table == "tasks" else "date"
                    assert item.source_path is not None
                    day = _as_json(item)["data"][column]
                    found[item.source_path.removeprefix("notes/")].append(day)
                    assert f"{column} {day}" in "\n".join(lines_of(item, None)), (agent, machine)
                    assert detail_view(item, None)["data"][column] == day, (agent, machine)
                    compared += 1
                assert found == expected, (agent, machine)
    assert compared == len(ZONES) ** 2 * len(DAYS) * 5


def test_date_edited_by_an_owner_is_equal_in_all_time_zones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for agent in ZONES:
        clock = FakeClock()
        file = tmp_path / f"{agent.replace('/', '-')}.db"
        with open_device_store(file, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
            store.apply(frames_of("a.md", "- [ ] pay\n", agent))
        for typed_in in ZONES:
            with machine_in(typed_in, monkeypatch):
                edit(file, [1], {"dueDate": "2028-02-29"}, at_ms=1)
            for read_in in ZONES:
                with machine_in(read_in, monkeypatch):
                    (item,) = read_items(file)
                    assert "dueDate 2028-02-29" in "\n".join(lines_of(item, None)), (agent, typed_in, read_in)


def test_stored_dates_are_written_as_text_and_parsed_back() -> None:
    noon = epoch_ms(datetime(2026, 12, 1, 12, tzinfo=UTC))
    day = begin_of(date(2026, 12, 1), "Europe/Berlin")
    data: dict[str, Any] = {"title": "2026-12-01", "dueDate": day}
    cases = (
        (data, "Europe/Berlin", "2026-12-01"),
        (data, "America/New_York", "2026-11-30T23:00:00Z"),
        (data, None, "2026-11-30T23:00:00Z"),
        (data, "no/zone", "2026-11-30T23:00:00Z"),
        (data | {"dueDate": noon}, "Europe/Berlin", "2026-12-01T12:00:00Z"),
    )
    for stored, zone, text in cases:
        written = dates_as_texts(TASKS, stored, zone)
        assert written == {"title": "2026-12-01", "dueDate": text}, (stored, zone)
        assert dates_as_instants(TASKS, written, zone) == stored, (stored, zone)
    assert dates_as_instants(TASKS, {"dueDate": None}, "UTC") == {"dueDate": None}
    assert dates_as_instants(TASKS, {"dueDate": noon}, "UTC") == {"dueDate": noon}
    for wrong in ("soon", "2026-02-30", "2026-12-01 15:00", ""):
        with pytest.raises(ValueError, match="expected a day as 2027-02-03, or a time with its offset"):
            dates_as_instants(TASKS, {"dueDate": wrong}, "Europe/Berlin")
    with pytest.raises(ValueError, match="expected a day"):
        dates_as_instants(TASKS, {"dueDate": "2026-12-01"}, None)


def test_day_begins_at_a_valid_instant_where_midnight_is_skipped_or_doubled() -> None:
    for zone, day in (("America/Havana", date(2026, 3, 8)), ("Africa/Cairo", date(2026, 4, 24))):
        assert day_at(begin_of(day, zone), zone) == day
        assert day_at(begin_of(day, zone) + 60_000, zone) is None
    assert day_at(253_402_300_799_999, "Pacific/Kiritimati") is None  # of the year 10000 there


async def test_sleep_until_a_past_instant_returns_at_once() -> None:
    clock = SystemClock()
    with anyio.fail_after(30):
        await clock.sleep(clock.monotonic() - 10 - clock.monotonic())
