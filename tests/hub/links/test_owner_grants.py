"""What a device's owner does not grant, the hub does not even ask for."""

import pytest

from protocol.errors import CallNotGranted, ErrorCode
from protocol.frame import Record
from protocol.work import Action, ToolCall
from tests.support.wire import Port, RawDevice, calling

APPROVED: Record = {"approved": True}
READ_TASKS = {"name": "rows.read", "tables": ["tasks"]}


def query(table: str) -> ToolCall:
    return ToolCall(id=f"q-{table}", action=Action.QUERY, table=table, data=APPROVED)


async def test_a_call_that_the_owner_does_not_grant_is_refused_before_it_is_sent(
    port: Port, stranger: RawDevice
) -> None:
    await stranger.greet(await port.pair(), grants=[READ_TASKS, {"name": "of.later"}])
    link = port.link()
    assert set(link.owner_grants) == {"rows.read", "of.later"}
    with pytest.raises(CallNotGranted, match=r"'rows.read' of notes") as refused:
        await link.call(query("notes"))
    assert refused.value.code == ErrorCode.NOT_GRANTED
    async with calling(link, query("tasks")) as outcomes:
        sent = await stranger.answer_call()
    assert (sent["id"], len(outcomes)) == ("q-tasks", 1), "and nothing else was sent before it"
