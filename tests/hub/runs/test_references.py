"""The rows of the device that a run shows its model."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from hub.runs.mailbox_visit import MOST_ROWS, references_of
from hub.runs.run_order import RunOrder
from protocol.errors import CallTimedOut, ErrorCode, LinkLost
from protocol.frame import ErrorBody
from protocol.handshake import CapabilityName
from protocol.tables import TableName
from protocol.work import Action, Answer, ToolCall
from tests.support.link import FakeLink
from tests.support.runs import MODERN, Bench, folder

CAPABILITIES = (*MODERN, CapabilityName.TOOL_QUERY)
HOUSE = {"id": "p-1", "name": "House"}


def link_that(answers: Any) -> FakeLink:
    return FakeLink("desk", capabilities=CAPABILITIES, answers=answers)


def rows(*found: dict[str, Any]) -> Callable[[ToolCall], Answer]:
    """A device with these projects, and a row for every insert."""
    return lambda call: Answer(result={"rows": list(found)} if call.action is Action.QUERY else {"id": "row"})


@pytest.fixture
async def order(bench: Bench) -> RunOrder:
    bench.connect()
    await bench.control.submit(bench.agent)
    return await bench.claim()


def about(order: RunOrder, *tables: TableName) -> RunOrder:
    settings = msgspec.structs.replace(order.settings, data_types=tables)
    return msgspec.structs.replace(order, settings=settings)


async def test_a_run_asks_for_the_newest_approved_projects(order: RunOrder) -> None:
    link = link_that(rows(HOUSE, {"id": "p-2", "name": " Long \u200bwalk\n"}))

    found = await references_of(link, order)

    assert [(row.table, row.id, row.title) for row in found] == [
        ("projects", "p-1", "House"),
        ("projects", "p-2", "Long walk"),
    ]
    (call,) = link.calls
    assert (call.table, call.where, call.limit) == ("projects", {"isApproved": 1}, MOST_ROWS)
    assert call.data == {"newest_first": True, "fields": ["id", "name"]}


async def test_the_model_is_shown_them_and_an_item_may_name_one(bench: Bench) -> None:
    bench.connect(runs=folder(a="Paint the fence."), capabilities=CAPABILITIES, answers=rows(HOUSE))
    shown: list[str] = []
    answer = bench.model.answer

    async def listening(request: Any) -> Any:
        shown.extend(message.content for message in request.messages)
        return await answer(request)

    bench.model.answer = listening  # type: ignore[method-assign]
    bench.model.said = (
        '{"items": [{"table": "tasks", "title": "Paint the fence", "quote": "Paint the fence.",'
        ' "project": "P1"}]}'
    )
    await bench.run()

    link = bench.links[bench.agent.device_id]  # type: ignore[index]
    assert isinstance(link, FakeLink)
    assert "House" in "\n".join(shown)
    assert "p-1" not in "\n".join(shown)
    inserts = [call.data for call in link.calls if call.action is Action.INSERT]
    assert [data.get("projectId") for data in inserts] == ["p-1"]


async def test_the_same_run_asks_with_the_same_ids_and_gets_the_same_rows(order: RunOrder) -> None:
    first, second = link_that(rows(HOUSE)), link_that(rows(HOUSE))
    await references_of(first, order)
    await references_of(second, msgspec.structs.replace(order, fence=order.fence + 1))
    assert [call.id for call in first.calls] == [call.id for call in second.calls]


async def test_comments_may_belong_to_tasks_and_all_tables_share_the_room(order: RunOrder) -> None:
    link = link_that(rows())
    await references_of(link, about(order, TableName.TASK_COMMENTS, TableName.NOTES))
    assert [(call.table, call.limit) for call in link.calls] == [
        ("tasks", MOST_ROWS // 2),
        ("projects", MOST_ROWS // 2),
    ]


async def test_nothing_is_asked_where_nothing_can_belong(order: RunOrder) -> None:
    link = link_that(rows(HOUSE))
    assert (await references_of(link, about(order, TableName.PROJECTS)), link.calls) == ((), [])


async def test_a_device_that_does_not_list_queries_is_not_asked(order: RunOrder) -> None:
    link = FakeLink("desk", capabilities=MODERN, answers=rows(HOUSE))
    assert (await references_of(link, order), link.calls) == ((), [])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(error=ErrorBody(code=ErrorCode.RESULT_TOO_LARGE, message="too many")),
        Answer(result=None),
        Answer(result={"rows": "none"}),
        Answer(result={"rows": [{"id": 7, "name": "House"}, {"id": "p-1", "name": ""}, {}]}),
        CallTimedOut("no answer"),
    ],
)
async def test_a_device_that_answers_otherwise_costs_the_references_and_not_the_run(
    order: RunOrder, answer: Answer | Exception
) -> None:
    assert await references_of(link_that([answer]), order) == ()


async def test_more_rows_than_were_asked_for_are_cut(order: RunOrder) -> None:
    many = [{"id": f"p-{n}", "name": f"Project {n}"} for n in range(3 * MOST_ROWS)]
    assert len(await references_of(link_that(rows(*many)), order)) == MOST_ROWS


async def test_the_end_of_a_connection_is_reported(order: RunOrder) -> None:
    link = link_that(rows())
    link.cut()
    with pytest.raises(LinkLost):
        await references_of(link, order)
