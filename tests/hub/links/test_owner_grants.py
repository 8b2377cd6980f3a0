"""What a device's owner does not grant, the hub does not even ask for."""

import anyio
import pytest

from protocol.errors import CallNotGranted, ErrorCode
from protocol.frame import Record
from protocol.work import Action, Answer, ReviewVerdict, RowReview, ToolCall
from tests.support.wire import call_into, open_port

APPROVED: Record = {"approved": True}
READ_TASKS = {"name": "rows.read", "tables": ["tasks"]}


def query(table: str) -> ToolCall:
    return ToolCall(id=f"q-{table}", action=Action.QUERY, table=table, data=APPROVED)


async def test_a_call_that_the_owner_does_not_grant_is_refused_before_it_is_sent() -> None:
    async with open_port() as port, port.connect() as device:
        await device.greet(
            await port.pair(),
            capabilities=[{"name": "item.review"}],
            grants=[READ_TASKS, {"name": "of.later"}],
        )
        link = port.link()
        assert set(link.owner_grants) == {"rows.read", "of.later"}
        approval = RowReview(verdict=ReviewVerdict.APPROVE, seen="c-1")
        verdict = ToolCall(id="v-1", action=Action.REVIEW_APPLY, table="tasks", review=approval)
        for call, named in ((verdict, "'review.remote'"), (query("notes"), "'rows.read' of notes")):
            with pytest.raises(CallNotGranted, match=named) as refused:
                await link.call(call)
            assert refused.value.code == ErrorCode.NOT_GRANTED

        outcomes: list[Answer | Exception] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_into, link, query("tasks"), outcomes)
            sent = await device.answer_call()
        assert (sent["id"], len(outcomes)) == ("q-tasks", 1), "and nothing else was sent before it"
