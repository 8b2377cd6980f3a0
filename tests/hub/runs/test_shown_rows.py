"""The rows of the device that a run shows its model."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from hub.base.clock import epoch_ms
from hub.runs.found_items import likeness_of
from hub.runs.interrupt import Interrupt
from hub.runs.run_order import RunOrder
from hub.runs.shown_rows import MAX_JUDGED, MAX_ROWS, judged_titles, references_of
from hub.text.folding import fold
from protocol.capabilities import CapabilityName
from protocol.errors import CallTimedOut, ErrorCode, LinkLost
from protocol.frame import ErrorBody
from protocol.tables import TableName
from protocol.tool_calls import Action, Answer, ToolCall
from storage.runs.items import DAY_MS
from storage.schema import items
from storage.store import Connection
from tests.support.link import FakeLink
from tests.support.runs import MODERN, Bench, declare_agent, folder

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
    assert (call.table, call.where, call.limit) == ("projects", {"isApproved": 1}, MAX_ROWS)
    assert call.data == {"newest_first": True, "fields": ["id", "name"]}


async def test_model_is_shown_projects_without_ids_and_may_reference_a_project(bench: Bench) -> None:
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


async def test_reference_queries_for_comments_ask_tasks_and_share_the_row_limit(order: RunOrder) -> None:
    link = link_that(rows())
    await references_of(link, about(order, TableName.TASK_COMMENTS, TableName.NOTES))
    assert [(call.table, call.limit) for call in link.calls] == [
        ("tasks", MAX_ROWS // 2),
        ("projects", MAX_ROWS // 2),
    ]


async def test_no_rows_are_queried_for_tables_without_references(order: RunOrder) -> None:
    link = link_that(rows(HOUSE))
    assert (await references_of(link, about(order, TableName.PROJECTS)), link.calls) == ((), [])


async def test_device_not_listing_queries_is_not_asked(order: RunOrder) -> None:
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
async def test_malformed_query_answer_drops_the_references_and_not_the_run(
    order: RunOrder, answer: Answer | Exception
) -> None:
    assert await references_of(link_that([answer]), order) == ()


async def test_query_rows_beyond_the_limit_are_dropped(order: RunOrder) -> None:
    many = [{"id": f"p-{n}", "name": f"Project {n}"} for n in range(3 * MAX_ROWS)]
    assert len(await references_of(link_that(rows(*many)), order)) == MAX_ROWS


async def test_the_end_of_a_connection_is_reported(order: RunOrder) -> None:
    link = link_that(rows())
    link.cut()
    with pytest.raises(LinkLost):
        await references_of(link, order)


# --- an agent that learns shows its model what its owner has kept and rejected, and suggests less of it ---


BOXES = "- [ ] pay the invoice\n- [ ] join the meeting\n"


async def decided(bench: Bench, title: str, verdict: str, *, at: int, **changed: object) -> None:
    """The owner's verdict on the items of this title, at a time."""
    values: dict[str, object] = {"verdict": verdict, "verdict_at": at} | changed
    if verdict == "rejected":
        values["source"] = None

    def write(c: Connection) -> None:
        chosen = items.c.likeness == likeness_of(TableName.TASKS, fold(title))
        assert c.execute(sa.update(items).where(chosen).values(values)).rowcount >= 1

    await bench.store.write(write)


async def learning(bench: Bench, **files: str) -> RunOrder:
    """The order of a run of an agent that learns, after a run over these files a day before."""
    bench.connect(runs=folder(**files))
    await bench.run()
    bench.agent = await declare_agent(
        bench.store, at=2, model_use=msgspec.structs.replace(bench.agent.model_use, learn=True)
    )
    bench.clock.advance(86_400.0)
    bench.connect(runs=folder(**files))
    await bench.control.submit(bench.agent)
    return await bench.claim()


async def shown(bench: Bench, order: RunOrder) -> list[tuple[str, bool]]:
    return [(one.title, one.is_approved) for one in await judged_titles(bench.store, order)]


async def test_verdicts_before_the_day_of_the_run_are_shown(bench: Bench) -> None:
    order = await learning(bench, a=BOXES)
    day = order.created_at - order.created_at % DAY_MS
    assert order.settings.learn
    await decided(bench, "pay the invoice", "edited", at=day - 1)
    await decided(bench, "join the meeting", "rejected", at=day - 1)
    assert sorted(await shown(bench, order)) == [("join the meeting", False), ("pay the invoice", True)]
    await decided(bench, "join the meeting", "rejected", at=day)
    assert await shown(bench, order) == [("pay the invoice", True)]
    assert day <= epoch_ms(bench.clock.now())


async def test_only_titles_from_the_owners_own_unmarked_text_are_shown(bench: Bench) -> None:
    order = await learning(bench, a=BOXES)
    rejected = {"verdict": "rejected", "at": 1}
    for changed in (
        {"warnings": ("instruction",)},
        {"unit_key": "mail.eml", "warnings": ()},
        {"unit_key": "page.html"},
        {"unit_key": "mid:a.md@example.org"},
        {"unit_key": "AAMkAD"},
        {"unit_key": "a.md", "agent_id": None},
    ):
        # of an older release
        await decided(bench, "join the meeting", **rejected, **changed, rank=None)  # type: ignore[arg-type]
        assert await shown(bench, order) == [], changed
    source = {"path": "a.md", "quote": "q", "provenance": {"origin": "mail", "author": "x", "trusted": False}}
    await decided(bench, "pay the invoice", "approved", at=1, source=source, rank=None)
    assert await shown(bench, order) == []
    await decided(bench, "join the meeting", **rejected, agent_id=order.agent_id)  # type: ignore[arg-type]
    assert await shown(bench, order) == [("join the meeting", False)]


@pytest.mark.parametrize("other", [{"rank": 0}, {"agent_id": None}], ids=["of a stranger", "of another"])
async def test_verdicts_about_others_push_no_title_of_the_owner_out(
    bench: Bench, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.runs.items.MAX_JUDGED", 4)
    boxes = "".join(f"- [ ] call person {number:02} of the house\n" for number in range(9))
    order = await learning(bench, a=boxes)
    for number in range(9):
        changed = other if number else {}
        await decided(bench, f"call person {number:02} of the house", "rejected", at=number + 1, **changed)
    assert await shown(bench, order) == [("call person 00 of the house", False)]


async def test_the_newest_titles_of_each_verdict_are_shown_and_no_more(bench: Bench) -> None:
    boxes = "".join(f"- [ ] call person {number:02} of the house\n" for number in range(20))
    order = await learning(bench, a=boxes)
    for number in range(20):
        verdict = "rejected" if number % 2 else "approved"
        await decided(bench, f"call person {number:02} of the house", verdict, at=number + 1)
    found = await judged_titles(bench.store, order)
    kept = [one.title for one in found if one.is_approved]
    assert (len(kept), len(found), kept[-1]) == (MAX_JUDGED, 2 * MAX_JUDGED, "call person 18 of the house")
    assert all(one.table == TableName.TASKS for one in found)


async def test_only_new_documents_are_asked_about_with_rejected_examples(
    bench: Bench,
) -> None:
    order = await learning(bench, a=BOXES + "\nSome prose.")
    await decided(bench, "join the meeting", "rejected", at=1)
    await bench.runner.run(order, Interrupt())
    assert bench.model.asked == 1  # before anything was learnt
    bench.connect(runs=folder(a=BOXES + "\nSome prose.", b="Other prose."))
    await bench.run()
    assert bench.model.asked == 2
    before, after = (request.messages[0].content for request in bench.model.requests)
    assert "did not want" not in before
    assert after.endswith("Leave out records of the same kinds:\n- tasks: join the meeting")
