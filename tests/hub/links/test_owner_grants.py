"""What a device's owner does not grant, the hub does not even ask for."""

import anyio
import pytest

from protocol.errors import CallNotGranted, ErrorCode
from protocol.frame import Record
from protocol.work import Action, Answer, ToolCall
from tests.support.wire import call_into, open_port

APPROVED: Record = {"approved": True}
READ_TASKS = {"name": "rows.read", "tables": ["tasks"]}


def query(table: str) -> ToolCall:
    return ToolCall(id=f"q-{table}", action=Action.QUERY, table=table, data=APPROVED)


async def test_a_call_that_the_owner_does_not_grant_is_refused_before_it_is_sent() -> None:
    async with open_port() as port, port.connect() as device:
        await device.greet(
            await port.pair(),
            grants=[READ_TASKS, {"name": "of.later"}],
        )
        link = port.link()
        assert set(link.owner_grants) == {"rows.read", "of.later"}
        with pytest.raises(CallNotGranted, match=r"'rows.read' of notes") as refused:
            await link.call(query("notes"))
        assert refused.value.code == ErrorCode.NOT_GRANTED

        outcomes: list[Answer | Exception] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_into, link, query("tasks"), outcomes)
            sent = await device.answer_call()
        assert (sent["id"], len(outcomes)) == ("q-tasks", 1), "and nothing else was sent before it"
