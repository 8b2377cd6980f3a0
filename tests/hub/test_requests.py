"""What a device may ask of its hub, and what it is answered."""

import pytest

from hub.links.roster import RequestReceived
from hub.requests import Requests
from protocol.coordination import Request, Response
from protocol.errors import ErrorCode
from protocol.frame import Parameter, Parameters
from protocol.lifecycles import RunState
from tests.support.link import FakeLink
from tests.support.runs import Bench, agent, bench, store

__all__ = ["agent", "bench", "store"]


async def ask(bench: Bench, method: str, link: FakeLink | None = None, **params: Parameter) -> Response:
    link = link or bench.connect()
    requests = Requests(store=bench.store, dispatcher=bench.dispatcher)
    await requests.answer(RequestReceived(link, Request(id="q-1", method=method, params=dict(params))))
    (response,) = link.sent
    assert isinstance(response, Response) and response.id == "q-1"
    return response


async def test_a_device_lists_its_own_agents_and_no_others(bench: Bench) -> None:
    mine = await ask(bench, "agents.list")
    theirs = await ask(bench, "agents.list", FakeLink("another"))
    assert mine.result is not None and theirs.result is not None
    assert [record["name"] for record in mine.result["agents"]] == ["notes"]  # type: ignore[union-attr,index]
    assert theirs.result["agents"] == []


async def test_a_device_starts_a_run_of_its_agent_once_for_a_key(bench: Bench) -> None:
    first = await ask(bench, "runs.start", agent_id="notes", idempotency_key="k")
    again = await ask(bench, "runs.start", agent_id=bench.agent.id, idempotency_key="k")
    assert first.result == again.result
    assert first.result is not None
    run = first.result["run"]
    assert isinstance(run, dict) and run["state"] == RunState.QUEUED


async def test_a_device_sees_and_cancels_its_own_runs_only(bench: Bench) -> None:
    row = await bench.dispatcher.submit(bench.agent)
    assert (await ask(bench, "runs.get", run_id=row.id)).error is None
    for method in ("runs.get", "runs.cancel"):
        refused = await ask(bench, method, FakeLink("another"), run_id=row.id)
        assert refused.error is not None and refused.error.code == ErrorCode.UNKNOWN_RUN
    assert (await bench.row(row.id)).state is RunState.QUEUED
    cancelled = await ask(bench, "runs.cancel", run_id=row.id)
    assert cancelled.error is None
    assert (await bench.row(row.id)).state is RunState.CANCELLED
    listed = (await ask(bench, "runs.list")).result
    assert listed is not None and len(listed["runs"]) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("locks.acquire", {}, ErrorCode.UNKNOWN_METHOD),
        ("no.such.thing", {}, ErrorCode.UNKNOWN_METHOD),
        ("runs.start", {}, ErrorCode.BAD_PARAMS),
        ("runs.start", {"agent_id": 7}, ErrorCode.BAD_PARAMS),
        ("runs.start", {"agent_id": "nobody"}, ErrorCode.UNKNOWN_AGENT),
        ("runs.get", {"run_id": "nothing"}, ErrorCode.UNKNOWN_RUN),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_words_with_a_hint(
    bench: Bench, method: str, params: Parameters, code: ErrorCode
) -> None:
    refused = await ask(bench, method, None, **params)
    assert refused.error is not None
    assert (refused.error.code, bool(refused.error.message), bool(refused.error.hint)) == (code, True, True)


async def test_an_answer_to_a_device_that_has_left_is_dropped(bench: Bench) -> None:
    link = bench.connect()
    link.cut()
    requests = Requests(store=bench.store, dispatcher=bench.dispatcher)
    await requests.answer(RequestReceived(link, Request(id="q", method="agents.list")))
    assert link.sent == []
