"""The reference device keeps how its agents are configured: the newest, and what it missed it asks for."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from protocol.coordination import Event, EventName, Method, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody, Values
from protocol.handshake import CapabilityName
from tests.support.clock import FakeClock
from tests.support.device import RunningDevice, open_device
from tests.support.scripted_hub import Guest, ScriptedHub
from tests.support.wire import until


def about(agent_id: str, rev: int, **configuration: Any) -> Values:
    return {"agent_id": agent_id, "rev": rev, "configuration": configuration}


def event(seq: int, data: Values, name: str = EventName.AGENT_CONFIG) -> Event:
    return Event(event=name, seq=seq, data=data)


async def keeps(device: RunningDevice, *wanted: tuple[str, int, dict[str, Any]]) -> None:
    def stored() -> list[tuple[str, int, dict[str, Any]]]:
        with closing(sqlite3.connect(device.db)) as db:
            found = db.execute("SELECT agent_id, rev, configuration FROM agent_configs ORDER BY agent_id")
            return [(agent_id, rev, json.loads(text)) for agent_id, rev, text in found]

    await until(lambda: stored() == list(wanted))


async def told(guest: Guest, *events: Event) -> None:
    for one in events:
        await guest.say(one)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_a_device_keeps_the_configuration_of_each_agent_and_says_so(
    tmp_path: Path, codec: Literal["json", "msgpack"]
) -> None:
    deep = {"a": [[[[[[[[[["as deep as it likes"]]]]]]]]]], "n": None}
    async with ScriptedHub().open() as hub, open_device(hub.url, tmp_path, codec=codec) as device:
        guest = await hub.guest()
        assert CapabilityName.AGENT_CONFIG in {one.name for one in (await guest.welcome()).capabilities}
        await told(guest, event(1, about("a-1", 7, limit=5, deep=deep)), event(2, about("a-2", 1)))
        await keeps(device, ("a-1", 7, {"limit": 5, "deep": deep}), ("a-2", 1, {}))
        await until(lambda: any("configuration of a-1: revision 7, 2 keys" in line for line in device.told))


async def test_a_revision_never_goes_back_within_a_connection(device: RunningDevice, guest: Guest) -> None:
    await told(
        guest,
        event(1, about("a-1", 7, limit=7)),
        event(2, about("a-1", 6, limit=6)),
        event(3, about("a-2", 1)),
    )
    await keeps(device, ("a-1", 7, {"limit": 7}), ("a-2", 1, {}))


async def test_a_new_connection_is_believed_though_its_hub_was_restored_from_a_backup(
    hub: ScriptedHub, device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await told(guest, event(1, about("a-1", 7, limit=7)))
    await keeps(device, ("a-1", 7, {"limit": 7}))
    await guest.cut()
    await until(lambda: any("again" in line or "broke" in line for line in device.told))
    clock.advance(120)
    guest = await hub.welcomed()
    await told(guest, event(1, about("a-1", 3, limit=3)))
    await keeps(device, ("a-1", 3, {"limit": 3}))


async def test_a_gap_makes_it_ask_for_all_of_its_agents(device: RunningDevice, guest: Guest) -> None:
    await told(guest, event(1, about("a-1", 1)), event(3, {}, EventName.AGENT_MOVED))
    asked = await guest.hear(Request)
    assert asked.method == Method.AGENTS_LIST
    listed = [{"agent_id": "a-1", "name": "one"}, {"agent_id": "a-2", "name": "two"}]
    await guest.say(Response(id=asked.id, result={"agents": listed}))
    for agent_id, rev in (("a-1", 2), ("a-2", 8)):
        asked = await guest.hear(Request)
        assert (asked.method, asked.params) == (Method.CONFIG_GET, {"agent_id": agent_id})
        more: Values = {"configs": [{"key": "limit"}]}
        await guest.say(Response(id=asked.id, result={**about(agent_id, rev, limit=9), **more}))
    await keeps(device, ("a-1", 2, {"limit": 9}), ("a-2", 8, {"limit": 9}))


async def test_a_hub_that_refuses_the_question_is_asked_again_at_the_next_gap(
    device: RunningDevice, guest: Guest
) -> None:
    for seq in (5, 9):
        await told(guest, event(seq, {}, EventName.AGENT_MOVED))
        asked = await guest.hear(Request)
        assert asked.method == Method.AGENTS_LIST
        busy = ErrorBody(code=ErrorCode.OVERLOADED, message="later", retryable=True)
        await guest.say(Response(id=asked.id, error=busy))
    await told(guest, event(10, about("a-1", 1)))
    await keeps(device, ("a-1", 1, {}))


@pytest.mark.parametrize(
    "data",
    [{}, {"agent_id": 5, "rev": 1, "configuration": {}}, {"agent_id": "a", "rev": 1, "configuration": []}],
)
async def test_what_cannot_be_understood_is_left_alone(
    device: RunningDevice, guest: Guest, data: Values
) -> None:
    await told(guest, event(1, data), event(2, {}, "nobody.knows"), event(3, about("a-1", 1)))
    await keeps(device, ("a-1", 1, {}))
