"""Runs over connectors that a manifest describes, and over a folder of mails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hub.connectors.connector import Connector
from hub.extraction.model import Models
from protocol.handshake import CapabilityName
from protocol.lifecycles import RunOutcome, UnitState
from protocol.work import Action
from storage.agents.configs import Mailbox as MailboxConfig
from storage.runs.units import units_of
from storage.store import Store
from tests.hub.connectors.manifest_rig import Rig, rig
from tests.hub.connectors.test_maildir import Box
from tests.support.clock import FakeClock
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.runs import MODERN, Bench, declare_agent, declare_connector

pytestmark = pytest.mark.anyio


class AnyDesk(ListDesk):
    """A ``mailbox_visit.Desk`` of one connector."""

    def __init__(self, source: Rig | Box, clock: FakeClock) -> None:
        super().__init__(Mailbox(), clock)
        self._source = source

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        return self._source.open(**filter)


async def bench_over(store: Store, source: Rig | Box, *, has_model: bool = False) -> Bench:
    await declare_connector(store, "home", "todoist")
    mailbox = MailboxConfig(connector="home", filter={})
    agent = await declare_agent(store, name="tasks", data_types=("tasks",), mailbox=mailbox)
    clock = FakeClock()
    bench = Bench(store, agent, clock=clock, desk=AnyDesk(source, clock))
    if not has_model:
        bench.asking.models = Models()
    return bench


async def test_tasks_of_a_service_become_items_without_a_model_and_an_edit_changes_its_item(
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


async def test_a_mail_of_a_folder_is_read_once_whatever_its_name(store: Store, tmp_path: Path) -> None:
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
