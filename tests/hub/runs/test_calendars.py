"""A run over calendars: what says what it is becomes items without a model."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest

from hub.connectors.caldav import CalDav
from hub.connectors.connector import Connector, Message, Unread
from hub.document import Document
from hub.extraction.model import Models
from protocol.handshake import CapabilityName
from protocol.lifecycles import RunOutcome, RunState
from protocol.tables import TableName
from protocol.work import Action
from storage.agents.configs import Mailbox as MailboxConfig
from storage.store import Store
from tests.hub.connectors.caldav_rig import Rig, rig
from tests.support.clock import FakeClock
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.radicale import Radicale
from tests.support.runs import MODERN, Bench, declare_agent, declare_connector

pytestmark = pytest.mark.anyio


class CalendarDesk(ListDesk):
    """A ``mailbox_visit.Desk`` of one person's calendars."""

    def __init__(self, home: Rig, clock: FakeClock) -> None:
        super().__init__(Mailbox(), clock)
        self._home = home

    kind = CalDav

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        made = self._home.open(**filter)
        return self.kind(made.context, made.settings, made.filter)


async def test_without_a_model_to_dos_and_events_become_items_and_a_change_updates_its_item(
    store: Store, radicale: Radicale
) -> None:
    user = radicale.fresh_user()
    radicale.make_calendar(user, "work")
    async with rig(radicale.url, user) as home:
        await see_items_come_and_change(store, radicale, home)


async def bench_over(store: Store, home: Rig) -> Bench:
    """A hub without a model, with an agent that reads those calendars."""
    await declare_connector(store, "home", "caldav")
    mailbox = MailboxConfig(connector="home", filter={})
    agent = await declare_agent(store, name="dates", data_types=("tasks", "timelines"), mailbox=mailbox)
    clock = FakeClock()
    bench = Bench(store, agent, clock=clock, desk=CalendarDesk(home, clock))
    bench.asking.models = Models()
    return bench


async def see_items_come_and_change(store: Store, radicale: Radicale, home: Rig) -> None:
    bench = await bench_over(store, home)
    user = home.settings.username
    radicale.put(user, "work", "t", "SUMMARY:Pay the rent", "DUE:20261201T090000Z")
    radicale.put(user, "work", "e", "SUMMARY:Moving day", f"DTSTART:{home.day(9)}", kind="VEVENT")
    link = bench.connect(capabilities=(*MODERN, CapabilityName.TOOL_UPDATE))
    run = await bench.run()
    assert (run.state, run.outcome) == (RunState.COMPLETED, RunOutcome.SUCCESS)
    calls = {call.data["title"]: call for call in link.calls}
    assert {title: call.table for title, call in calls.items()} == {
        "Pay the rent": TableName.TASKS,
        "Moving day": TableName.TIMELINES,
    }

    radicale.put(user, "work", "t", "SUMMARY:Pay the rent", "DUE:20261203T090000Z")
    radicale.delete(user, "work", "e")
    await bench.run()
    (changed,) = link.calls[2:]
    assert (changed.action, changed.table) == (Action.UPDATE, TableName.TASKS)


class Flaky(CalDav):
    """It cannot read some of what it lists."""

    unreadable = frozenset({"flaky"})

    async def read(self, messages: Sequence[Message]) -> AsyncGenerator[tuple[Message, Document | Unread]]:
        async for message, said in super().read(messages):
            is_bad = message.subject in self.unreadable
            yield message, Unread(reason="half an answer") if is_bad else said


async def test_what_failed_on_a_page_without_a_cursor_is_met_again(store: Store, radicale: Radicale) -> None:
    user = radicale.fresh_user()
    radicale.make_calendar(user, "work")
    radicale.put(user, "work", "g", "SUMMARY:good")
    radicale.put(user, "work", "f", "SUMMARY:flaky")
    async with rig(radicale.url, user) as home:
        bench = await bench_over(store, home)
        link = bench.connect()
        assert isinstance(bench.desk, CalendarDesk)
        bench.desk.kind = Flaky
        await bench.run()
        bench.desk.kind = CalDav
        await bench.run()
    assert {call.data["title"] for call in link.calls} == {"good", "flaky"}
