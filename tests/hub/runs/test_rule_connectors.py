"""Runs over connectors that a manifest describes, a folder of mails, and calendars."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hub.connectors.caldav import CalDavConnector
from hub.connectors.calling import Unread
from hub.connectors.connector import Connector, Message
from hub.document import Document
from hub.extraction.model import Models
from protocol.capabilities import CapabilityName
from protocol.lifecycles import RunOutcome, UnitState
from protocol.tables import TableName
from protocol.tool_calls import Action
from storage.agents.configs import Mailbox as MailboxConfig
from storage.runs.units import units_of
from storage.store import Store
from tests.hub.connectors.caldav_rig import Rig as CalendarRig
from tests.hub.connectors.caldav_rig import rig as calendar_rig
from tests.hub.connectors.manifest_rig import Rig, rig
from tests.hub.connectors.test_maildir import Box
from tests.support.clock import FakeClock
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.radicale import Radicale
from tests.support.runs import MODERN, Bench, declare_agent, declare_connector


class AnyDesk(ListDesk):
    """A ``mailbox_visit.Desk`` of one connector."""

    def __init__(self, source: Rig | Box | CalendarRig, clock: FakeClock) -> None:
        super().__init__(Mailbox(), clock)
        self._source = source
        self.is_flaky = False

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        made = self._source.open(**filter)
        return Flaky(made.context, made.settings, made.filter) if self.is_flaky else made


async def bench_over(store: Store, source: Rig | Box | CalendarRig, *, has_model: bool = False) -> Bench:
    await declare_connector(store, "home", "todoist")
    mailbox = MailboxConfig(connector="home", filter={})
    agent = await declare_agent(store, name="tasks", data_types=("tasks", "timelines"), mailbox=mailbox)
    clock = FakeClock()
    bench = Bench(store, agent, clock=clock, desk=AnyDesk(source, clock))
    if not has_model:
        bench.asking.models = Models()
    return bench


async def test_tasks_of_a_rule_connector_become_items_updated_by_edits(
    store: Store,
) -> None:
    async with rig("todoist") as here:
        bench = await bench_over(store, here)
        for subject in ("Pay the rent", "Water the plants", "Call Ben"):
            here.arrive(subject)
        here.provider.entries[2].more = {"id": None}
        link = bench.connect(capabilities=(*MODERN, CapabilityName.TOOL_UPDATE))
        run = await bench.run()
        assert {call.data["title"] for call in link.calls} == {"Pay the rent", "Water the plants"}
        units = await store.read(units_of, run.id)
        (broken,) = [unit for unit in units if unit.state is UnitState.FAILED or unit.error]
        assert "fields.key: no value at id" in (broken.error or "")

        here.provider.entries[0].more = {"due": {"date": "2027-01-08"}}
        run = await bench.run()
        (changed,) = link.calls[2:]
        assert (run.outcome, changed.action) == (RunOutcome.SUCCESS, Action.UPDATE)
        assert (await bench.run()).outcome is RunOutcome.SUCCESS
        assert len(link.calls) == 3


async def test_maildir_mail_is_read_once_although_the_file_is_renamed(store: Store, tmp_path: Path) -> None:
    box = Box(tmp_path / "Maildir")
    bench = await bench_over(store, box, has_model=True)
    mail = box.put("first")
    bench.connect()

    async def read() -> list[str]:
        run = await bench.run()
        return [unit.unit_key for unit in await store.read(units_of, run.id)]

    assert await read() == ["mid:first@x"]
    mail.rename(box.path / "cur" / f"{mail.name}:2,S")
    box.put("second")
    assert (await read(), await read()) == (["mid:second@x"], [])


class Flaky(CalDavConnector):
    """A calendar of which one listed entry cannot be read."""

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        async for message, said in super().read(messages):
            yield message, Unread(reason="half an answer") if message.subject == "flaky" else said


@pytest.fixture
async def home(radicale: Radicale) -> AsyncIterator[CalendarRig]:
    user = radicale.fresh_user()
    radicale.make_calendar(user, "work")
    async with calendar_rig(radicale.url, user) as home:
        yield home


async def test_calendar_tasks_and_events_become_items_and_a_change_updates_the_item(
    store: Store, radicale: Radicale, home: CalendarRig
) -> None:
    bench, user = await bench_over(store, home), home.settings.username
    radicale.put(user, "work", "t", "SUMMARY:Pay the rent", "DUE:20261201T090000Z")
    radicale.put(user, "work", "e", "SUMMARY:Moving day", f"DTSTART:{home.day(9)}", kind="VEVENT")
    link = bench.connect(capabilities=(*MODERN, CapabilityName.TOOL_UPDATE))
    assert (await bench.run()).outcome is RunOutcome.SUCCESS
    assert {call.data["title"]: call.table for call in link.calls} == {
        "Pay the rent": TableName.TASKS,
        "Moving day": TableName.TIMELINES,
    }

    radicale.put(user, "work", "t", "SUMMARY:Pay the rent", "DUE:20261203T090000Z")
    radicale.delete(user, "work", "e")
    await bench.run()
    (changed,) = link.calls[2:]
    assert (changed.action, changed.table) == (Action.UPDATE, TableName.TASKS)


async def test_entry_failed_on_a_page_without_cursor_is_read_again(
    store: Store, radicale: Radicale, home: CalendarRig
) -> None:
    for summary in ("good", "flaky"):
        radicale.put(home.settings.username, "work", summary, f"SUMMARY:{summary}")
    bench = await bench_over(store, home)
    link = bench.connect()
    assert isinstance(bench.desk, AnyDesk)
    for bench.desk.is_flaky in (True, False):
        await bench.run()
    assert {call.data["title"] for call in link.calls} == {"good", "flaky"}
