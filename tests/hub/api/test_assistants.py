"""Assistants that speak MCP: their tools and calls, resources and news of them, and the card of an item."""

import json as stdlib_json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from getpass import getuser
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx2
import pytest
import sqlalchemy as sa
from anyio.streams.memory import MemoryObjectReceiveStream
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.extension import advertise
from mcp.client.streamable_http import streamable_http_client
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CallToolResult,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
    RequestParamsMeta,
    ResourceUpdatedNotification,
    TextResourceContents,
)
from msgspec import json

from hub import docs
from hub.api.application import references
from hub.api.http import assistant_sessions, assistants
from hub.api.http.assistants import CARD, DATA, MAX_BYTES, MAX_ROWS, META_KEY, ROWS, all_tools, hint_for
from hub.base.printable import NOT_QUOTED
from hub.base.roles import ROUTES, Role, Scope
from hub.cli.mcp import CALLED
from protocol.lifecycles import RunState
from tests.hub.api.test_items import keep
from tests.support.families import each
from tests.support.hub import ServedHub, over_tcp, over_unix, serving

REVISIONS = ("legacy", "2026-07-28")  # the first: of 2025-11-25, with a session


# Tools by the scope that they need, written down a second time: a tool that is added or moved was meant to.
READING = """
activity_entries agents_all agents_get connectors_all costs_spent devices_all devices_get issues_all
items_counts items_get items_newest overviews_get proposals_propose proposals_withdraw questions_get
questions_page runs_get runs_newest runs_units schedule_all schedules_next_fires summary_get system_me
tables_all why_explain
"""


RUNNING = "agents_pause agents_resume agents_start_run runs_cancel"


TOOLS = {
    Scope.READ: READING.split(),
    Scope.RUN: RUNNING.split(),
    Scope.REVIEW: ["items_choices", "items_give"],
    Scope.ANSWER: ["questions_answer"],
    Scope.ROWS: ["device_calls_query"],
    Scope.FILES: ["device_calls_list_files", "device_calls_read_file"],
}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ServedHub]:
    """A hub that serves assistants."""
    async with serving(tmp_path, assistants=True, body_bytes=100_000) as opened:
        yield opened


@asynccontextmanager
async def assistant(
    hub: ServedHub, token: str, mode: str = REVISIONS[1], **options: Any
) -> AsyncIterator[Client]:
    async with over_tcp(hub, token) as http:
        transport = streamable_http_client(f"http://{hub.listening.tcp}/mcp", http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


def told(result: CallToolResult) -> str:
    """The last text of a result."""
    text: str = result.content[-1].text  # type: ignore[union-attr]
    return text


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


async def stored(hub: ServedHub, table: str) -> int:
    return int(
        await hub.store.read(lambda c: c.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())
    )


def test_assistant_tools_have_the_scope_of_the_route_and_complete_schemas() -> None:
    tools = all_tools()
    by_scope: dict[Any, list[str]] = {}
    for name, tool in tools.items():
        by_scope.setdefault(ROUTES[tool.asked], []).append(name)
        assert tool.about
        for schema in (tool.arguments, tool.result):
            Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
            assert set(references(schema)) <= schema.get("$defs", {}).keys()
            assert b"#/components/" not in json.encode(schema)
    assert by_scope == TOOLS
    assert {name for name in re.findall(r"`(\w+)`", docs.page("assistants")) if "_" in name} >= tools.keys()
    assert sum(len(json.encode(tool.arguments)) for tool in tools.values()) < 24_500  # an assistant reads it


@each("mode", REVISIONS)
async def test_viewer_token_lists_only_reading_tools_and_is_refused_other_tools(
    hub: ServedHub, mode: str
) -> None:
    viewer, operator = await hub.token(Role.VIEWER), await hub.token(Role.OPERATOR)
    async with assistant(hub, operator, mode) as client:
        assert await names(client) == {*TOOLS[Scope.READ], *TOOLS[Scope.RUN]}
    async with assistant(hub, viewer, mode) as client:
        assert await names(client) == {*TOOLS[Scope.READ]}
        refused = await client.call_tool("agents_start_run", {"name": "notes"})
        assert refused.is_error
        assert json.decode(told(refused))["code"] == "forbidden"
        assert "needs the scope 'run'" in told(refused)
    assert await stored(hub, "runs") == 0
    assert await stored(hub, "audit_log WHERE event = 'auth.refused'") == 1 + REVISIONS.index(mode)


@each("mode", REVISIONS)
async def test_tool_result_equals_the_route_response_after_a_foreign_text_notice(
    hub: ServedHub, mode: str
) -> None:
    token = await hub.token()
    async with over_tcp(hub, token) as rest, assistant(hub, token, mode) as client:
        listed = await client.call_tool("agents_all", {})  # the client compares it with the schema
        assert listed.structured_content == (await rest.get("/v1/agents")).json()
        assert [one.text for one in listed.content] == [DATA, told(listed)]  # type: ignore[union-attr]
        assert json.decode(told(listed)) == listed.structured_content
        one = await client.call_tool("agents_get", {"name": "notes"})
        assert one.structured_content is not None and one.structured_content["name"] == "notes"


WRONG = [
    ("agents_get", {}, "name: missing"),
    ("agents_get", {"name": "nothing"}, "the tool agents_all lists"),
    ("agents_get", {"name": "../devices"}, "there is no agent '../devices'"),
    ("items_get", {"item_id": "counts"}, "/v1/items/counts: an argument in this path is empty, or a word"),
    ("devices_get", {"device_id": ""}, "/v1/devices/: an argument in this path is empty"),
    ("agents_all", {"nme": "notes"}, "query.nme: there is no such parameter"),
    ("agents_all", {"limit": "many"}, "query.limit"),
    ("agents_all", {"limit": -1}, "query.limit"),
    ("agents_start_run", {"name": "notes", "lock": 1}, "body.lock: there is no such field"),
    ("agents_start_run", {"name": "notes", "idempotency_key": "x" * 200}, "Idempotency-Key: 1 to 128"),
    ("runs_cancel", {"run_id": "unknown"}, "unknown_run"),
]


@each(("tool", "arguments", "message"), WRONG)
async def test_tool_call_with_wrong_arguments_returns_the_route_error(
    hub: ServedHub, tool: str, arguments: dict[str, Any], message: str
) -> None:
    async with assistant(hub, await hub.token()) as client:
        refused = await client.call_tool(tool, arguments)
    assert refused.is_error
    assert message in told(refused)


@each("mode", REVISIONS)
async def test_tool_call_key_in_arguments_or_meta_starts_a_single_run(hub: ServedHub, mode: str) -> None:
    async with assistant(hub, await hub.token(), mode) as client:
        asked = {"name": "notes"}
        keys = [cast(RequestParamsMeta, {META_KEY: key}) for key in ("k-1", "k-2")]
        runs = [
            await client.call_tool("agents_start_run", asked, meta=keys[0]),
            await client.call_tool("agents_start_run", asked | {"idempotency_key": "k-1"}),
            await client.call_tool("agents_start_run", asked, meta=keys[1]),
        ]
    ids = [one.structured_content["id"] for one in runs if one.structured_content]
    assert ids[0] == ids[1] != ids[2]
    assert await stored(hub, "runs") == 2 * (1 + REVISIONS.index(mode))


async def test_assistant_does_not_see_agents_and_items_of_another_user(hub: ServedHub) -> None:
    await hub.store.write(keep)
    token = await hub.token(Role.OPERATOR, user_id=await hub.user("eve"))
    async with assistant(hub, token) as client:
        assert (await client.list_resources()).resources == []
        for asked, message in (
            (client.read_resource("hub://items/i-0"), "unknown_item"),
            (client.list_resources(cursor="agents_all "), "nextCursor"),
        ):
            with pytest.raises(MCPError, match=message):
                await asked
        listed = await client.call_tool("agents_all", {})
        assert listed.structured_content == {"agents": [], "next_cursor": None}
        for tool in ("agents_get", "agents_pause", "agents_start_run"):
            assert (
                json.decode(told(await client.call_tool(tool, {"name": "notes"})))["code"] == "unknown_agent"
            )


async def test_limited_token_lists_only_tools_respecting_the_limits(hub: ServedHub) -> None:
    await fill(hub)
    async with over_tcp(hub, await hub.token()) as admin:
        body = {"name": "test", "role": "viewer", "limits": {"devices": ["lab"], "tables": ["notes"]}}
        made = (await admin.post("/v1/operator-tokens", json=body)).json()
    async with assistant(hub, made["token"]) as client:
        listed = await names(client)
        assert {"items_newest", "items_get", "proposals_propose"} <= listed
        assert not {"runs_newest", "costs_spent", "issues_all"} & listed
        found = (await client.call_tool("items_newest", {})).structured_content
        assert found is not None
        assert [one["id"] for one in found["items"]] == ["i-4"]
        assert "unknown_item" in told(await client.call_tool("items_get", {"item_id": "i-0"}))
        assert "token's limits" in told(await client.call_tool("runs_newest", {}))
        with pytest.raises(MCPError, match="limits"):
            async with client.listen(resource_subscriptions=["hub://items/i-0"]):
                pass


async def test_mcp_requests_of_strangers_agents_or_foreign_origins_are_refused(hub: ServedHub) -> None:
    agent = await hub.agent_token(await hub.agent("notes"))
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for token, headers, status in (
        (None, {}, 401),
        ("hub_op_wrong", {}, 401),
        (agent, {}, 403),
        (await hub.token(), {"origin": "https://evil.example"}, 403),
        (await hub.token(), {"host": "evil.example"}, 421),
        (await hub.token(), {"content-type": "text/plain"}, 415),
    ):
        async with over_tcp(hub, token) as client:
            answer = await client.post("/mcp", json=body, headers=headers)
            assert answer.status_code == status, answer.text
            assert "www-authenticate" in answer.headers or status != 401


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


ACCEPT = {"accept": "application/json, text/event-stream"}


JSON = {"content-type": "application/json"}


async def opened(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)


PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


async def test_mcp_message_with_invalid_utf8_is_refused_and_not_a_fault(hub: ServedHub) -> None:
    async with over_tcp(hub, await hub.token()) as client:
        session = {"mcp-session-id": (await opened(client)).headers["mcp-session-id"]}
        for headers in ({}, session):
            for body in (b'{"jsonrpc": "2.0", "id": "\xff", "method": "ping"}', b'{"method": "\xff"}'):
                answer = await client.post("/mcp", content=body, headers=ACCEPT | JSON | headers)
                assert answer.status_code == 400, answer.text


async def test_mcp_session_belongs_to_a_single_token_until_the_client_ends_the_session(
    hub: ServedHub,
) -> None:
    eve = await hub.user("eve")
    tokens = [await hub.token(user_id=eve), await hub.token(user_id=eve), await hub.token()]
    async with (
        over_tcp(hub, tokens[0]) as one,
        over_tcp(hub, tokens[1]) as two,
        over_tcp(hub, tokens[2]) as third,
    ):
        headers = ACCEPT | {"mcp-session-id": (await opened(one)).headers["mcp-session-id"]}
        for thief in (two, third):
            assert (await thief.post("/mcp", json=PING, headers=headers)).status_code == 404
        assert (await one.post("/mcp", json=PING, headers=headers)).status_code == 200
        assert (await one.delete("/mcp", headers=headers)).status_code == 200
        assert (await one.post("/mcp", json=PING, headers=headers)).status_code == 404


async def test_new_mcp_session_of_a_user_ends_only_the_longest_idle_session(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistant_sessions, "SESSIONS", 5)
    eve = await hub.user("eve")
    async with over_tcp(hub, await hub.token(user_id=eve)) as one, over_tcp(hub, await hub.token()) as other:

        async def begun(client: httpx2.AsyncClient) -> dict[str, str]:
            answer = await opened(client)
            assert answer.status_code == 200, answer.text
            return ACCEPT | {"mcp-session-id": answer.headers["mcp-session-id"]}

        async def is_open(client: httpx2.AsyncClient, session: dict[str, str]) -> bool:
            return (await client.post("/mcp", json=PING, headers=session)).status_code == 200

        foreign, streamed, first = await begun(other), await begun(one), await begun(one)
        async with one.stream("GET", "/mcp", headers=streamed):
            later = [await begun(one) for _ in range(3)]
            assert await is_open(one, first)  # used last, and so not the next one to go
            await begun(one)
            assert [await is_open(one, session) for session in (later[0], later[1], first)] == [
                False,
                True,
                True,
            ]
            for _ in range(20):  # starts of a client that ends none
                await begun(one)
            assert await is_open(one, streamed)
        assert await is_open(other, foreign)


async def test_mcp_session_opened_by_a_repeated_key_ends_for_a_new_session(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistant_sessions, "SESSIONS", 2)
    async with over_tcp(hub, await hub.token()) as client:
        first = (await opened(client)).request.content
        twice = first.replace(b'"method":', b'"method":"ping","method":', 1)  # the last one counts
        headers = ACCEPT | {"content-type": "application/json"}
        assert (await client.post("/mcp", content=twice, headers=headers)).status_code == 200
        for _ in range(4):
            assert (await opened(client)).status_code == 200


async def test_mcp_session_is_refused_while_all_of_the_user_have_open_streams(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistant_sessions, "SESSIONS", 1)
    async with over_tcp(hub, await hub.token()) as client:
        session = ACCEPT | {"mcp-session-id": (await opened(client)).headers["mcp-session-id"]}
        async with client.stream("GET", "/mcp", headers=session):
            assert (await opened(client)).status_code == 503
            assert (await client.post("/mcp", json=PING, headers=session)).status_code == 200


async def test_mcp_event_stream_ends_when_the_token_of_the_session_is_revoked(hub: ServedHub) -> None:
    async with over_tcp(hub, await hub.token()) as client:
        headers = ACCEPT | {"mcp-session-id": (await opened(client)).headers["mcp-session-id"]}
        async with client.stream("GET", "/mcp", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            listed = await hub.identity.operator_tokens.all()
            with anyio.fail_after(5):
                await hub.identity.operator_tokens.revoke(listed[-1].id, "operator:0")
                await answer.aread()


async def test_tool_result_is_limited_in_rows_and_in_bytes(hub: ServedHub) -> None:
    for number in range(MAX_ROWS + 5):
        await hub.agent(f"agent-{number:03}", prompt="Find it. " * 400)
    async with assistant(hub, await hub.token()) as client:
        for asked, most in (({}, ROWS), ({"limit": 1_000}, MAX_ROWS)):
            page = (await client.call_tool("agents_all", asked)).structured_content
            assert page is not None
            assert 0 < len(page["agents"]) <= most
            assert len(json.encode(page)) <= MAX_BYTES + 1_000
            after = await client.call_tool("agents_all", {"limit": 2, "cursor": page["next_cursor"]})
            assert after.structured_content is not None
            assert after.structured_content["agents"][0]["name"] > page["agents"][-1]["name"]


async def test_mcp_request_to_a_hub_without_assistants_is_answered_with_the_setting(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub, over_tcp(hub, await hub.token()) as client:
        answer = await opened(client)
    assert answer.status_code == 404
    assert "assistants = true" in answer.json()["hint"]


class Person:
    """Person behind an assistant: the questions, and the answers in turn; the last one is repeated."""

    def __init__(self, *answers: ElicitResult) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        self.asked.append(params.message)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


YES = ElicitResult(action="accept", content={"agrees": True})


TICKS: list[Any] = [False, None, "false", "true", "yes", 1, 1.0, ["true"]]
CONTENTS: list[dict[str, Any]] = [{}, {"agree": True}, *({"agrees": value} for value in TICKS)]
NO = [
    *(ElicitResult(action=action) for action in ("decline", "cancel", "accept")),
    *(ElicitResult(action=action, content={"agrees": True}) for action in ("decline", "cancel")),
    *(ElicitResult(action="accept", content=content) for content in CONTENTS),
]


def approve(*items: str, **more: Any) -> dict[str, Any]:
    return {"verdicts": [{"id": item, "verdict": "approve", **more} for item in items]}


async def reviewer(hub: ServedHub) -> str:
    return await hub.token(Role.OPERATOR, [Scope.READ, Scope.REVIEW, Scope.ANSWER])


async def fill(hub: ServedHub) -> None:
    """Store items without verdicts that were given."""
    if await stored(hub, "items") == 0:
        await hub.store.write(keep)
    await hub.store.write(lambda c: c.execute(sa.text("DELETE FROM item_verdicts")))


@each("mode", REVISIONS)
async def test_assistant_verdict_is_written_only_after_the_person_agrees(hub: ServedHub, mode: str) -> None:
    await fill(hub)
    person = Person(*NO, YES)
    async with assistant(hub, await reviewer(hub), mode, elicitation_callback=person) as client:
        assert {"items_give", "questions_answer"} <= await names(client)
        changed = approve("i-0", data={"title": "Call Ana\nand Ben"})
        for count, _ in enumerate(NO, 1):
            refused = await client.call_tool("items_give", changed)
            assert refused.is_error and "the person did not agree" in told(refused)
            assert (len(person.asked), await stored(hub, "item_verdicts")) == (count, 0)
        given = await client.call_tool("items_give", changed)
    assert given.structured_content is not None
    assert given.structured_content["results"][0]["state"] == "pending"
    assert await stored(hub, "item_verdicts") == 1
    question = person.asked[-1].splitlines()
    assert question[0] == "The assistant wants to act in your name:"
    assert question[1].startswith("approve 'task 0': table tasks of lab, found in notes/a.md")
    assert question[1].endswith(
        f"from the words 'task', changed title: 'task 0' to 'Call Ana\\nand Ben'{NOT_QUOTED}"
    )


async def test_pending_consent_questions_of_a_user_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistants, "QUESTIONS", 4)  # of which a user has half
    send, asked = anyio.create_memory_object_stream[None](4)
    thinking = anyio.Event()

    async def think(_: Any, __: Any) -> ElicitResult:
        await send.send(None)
        await thinking.wait()
        return YES

    async with serving(tmp_path, assistants=True, body_bytes=100_000) as hub, send, asked:
        await fill(hub)
        token = await reviewer(hub)
        async with (
            assistant(hub, token, "legacy", elicitation_callback=think) as one,
            assistant(hub, token, "legacy", elicitation_callback=think) as two,
        ):
            async with anyio.create_task_group() as tasks:
                for client in (one, two):
                    tasks.start_soon(client.call_tool, "items_give", approve("i-0"))
                    await asked.receive()
                refused = await one.call_tool("items_give", approve("i-4"))
                thinking.set()
            assert "no further question waits" in told(refused)
            assert not (await two.call_tool("items_give", approve("i-4"))).is_error


@each("mode", REVISIONS)
async def test_assistant_verdict_on_an_item_changed_during_consent_is_refused(
    hub: ServedHub, mode: str
) -> None:
    await fill(hub)
    person = Person(YES)

    async def change() -> None:
        await hub.store.write(lambda c: c.execute(sa.text("UPDATE items SET version = version + 1")))

    async with assistant(hub, await reviewer(hub), mode, elicitation_callback=person) as client:
        for version in ({}, {"version": None}, {"version": 1}):  # the assistant may name an older one
            person.meanwhile = None if version.get("version") else change
            given = await client.call_tool("items_give", approve("i-0", **version))
            assert given.structured_content is not None
            (result,) = given.structured_content["results"]
            assert (result["state"], result["error"]["status"]) == (None, 409)
    assert await stored(hub, "item_verdicts") == 0


@each("mode", REVISIONS)
async def test_assistant_without_elicitation_or_review_scope_can_only_propose(
    hub: ServedHub, mode: str
) -> None:
    await fill(hub)
    async with assistant(hub, await reviewer(hub), mode) as client:
        assert not {"items_give", "questions_answer"} & await names(client)
        refused = await client.call_tool("items_give", approve("i-0"))
        assert "cannot ask its person" in told(refused) and "proposals_propose" in told(refused)
    person = Person(YES)
    async with assistant(hub, await hub.token(Role.VIEWER), mode, elicitation_callback=person) as client:
        assert not {"items_give", "questions_answer"} & await names(client)
        assert "needs the scope 'review'" in told(await client.call_tool("items_give", approve("i-0")))
    assert (person.asked, await stored(hub, "item_verdicts")) == ([], 0)


BEYOND = [
    (approve(), "0 of them; a person is asked about 1 to 10"),
    (approve(*map(str, range(11))), "11 of them; a person is asked about 1 to 10"),
    (approve("i-unknown"), "unknown_item"),
    (approve(*["i-0"] * 10, data={"title": "x" * 450}), "too_large"),
    (approve("i-0", data={"title": "x" * 4_000}), "longer than 500 characters"),
    (approve("i-0", data={"title": 5}), "tasks.title"),
    (approve("i-0", data="x"), "body.verdicts[0].data"),
    (approve("i-0", data={"isApproved": True}), "bad_record"),
    (approve("i-0", version=7), "changed_meanwhile"),
    (approve("i-0", version="1"), "body.verdicts[0].version"),
    (approve("i-0", surprise=1), "body.verdicts[0].surprise: there is no such field"),
    ({"verdicts": [{"id": "i-0", "verdict": "agree"}]}, "body.verdicts[0].verdict"),
    ({"verdicts": [*approve("i-0")["verdicts"], *approve("i-unknown")["verdicts"]]}, "unknown_item"),
    ({"verdicts": ["i-0"]}, "expected a list of objects"),
    ({"verdicts": [{"verdict": "approve"}]}, "body.verdicts[0].id: expected, and it is missing"),
    (approve("i-0") | {"dry_run": True}, "there is no such field"),
    ({}, "0 of them"),
]


async def test_answer_of_no_known_form_and_a_refused_question_are_no_consent(hub: ServedHub) -> None:
    await fill(hub)
    nested = ElicitResult.model_construct(action="accept", content={"agrees": True, "more": {"a": 1}})
    person = Person(cast("ElicitResult", ErrorData(code=-1, message="no window")), nested)
    async with assistant(hub, await reviewer(hub), "legacy", elicitation_callback=person) as client:
        for count in (1, 2):
            refused = await client.call_tool("items_give", approve("i-0"))
            assert refused.is_error and "the person did not agree" in told(refused)
            assert (len(person.asked), await stored(hub, "item_verdicts")) == (count, 0)


@each(("arguments", "message"), BEYOND)
async def test_assistant_verdict_with_invalid_arguments_asks_the_person_nothing(
    hub: ServedHub, arguments: dict[str, Any], message: str
) -> None:
    await fill(hub)
    person = Person(YES)
    async with assistant(hub, await reviewer(hub), elicitation_callback=person) as client:
        refused = await client.call_tool("items_give", arguments)
    assert refused.is_error and message in told(refused)
    assert (person.asked, await stored(hub, "item_verdicts")) == ([], 0)


async def test_assistant_answer_is_checked_before_and_given_only_after_the_person_agrees(
    hub: ServedHub,
) -> None:
    token = await hub.token(Role.ADMIN, [*Scope])
    async with over_tcp(hub, token) as rest:
        await rest.post("/v1/boards", json={"name": "room"})
        asked = (await rest.post("/v1/boards/room/ask-user", json={"content": "Which colour?"})).json()
    given = {"question_id": asked["id"], "answer": "Red."}
    person = Person(NO[0], YES)
    async with assistant(hub, token, elicitation_callback=person) as client:
        for wrong in ({"answer": " "}, {"answer": "x" * 50_000}, {"answer": 1}, {"question_id": "unknown"}):
            assert (await client.call_tool("questions_answer", given | wrong)).is_error
        assert person.asked == []
        assert "did not agree" in told(await client.call_tool("questions_answer", given))
        assert await stored(hub, "questions WHERE settled_at IS NULL") == 1
        assert not (await client.call_tool("questions_answer", given)).is_error
        late = await client.call_tool("questions_answer", given | {"answer": "Blue."})
    assert "question_settled" in told(late)
    assert len(person.asked) == 2


async def test_consent_form_says_where_a_cut_value_is_read(hub: ServedHub) -> None:
    await fill(hub)
    long = json.encode({"title": "task 0", "description": "w" * 300 + "THE END"}).decode()
    await hub.store.write(
        lambda c: c.execute(sa.text("UPDATE items SET data = :data WHERE id = 'i-0'"), {"data": long})
    )
    person = Person(*NO)
    async with assistant(hub, await reviewer(hub), elicitation_callback=person) as client:
        await client.call_tool("items_give", approve("i-0"))
        await client.call_tool("items_give", approve("i-0", data={"description": "v" * 300 + "THE END"}))
    cut = f"{'w' * 200}'… (cut: 107 more characters; read them with 'hub items show i-0')"
    assert cut in person.asked[0]
    assert f"{'v' * 300}THE END" in person.asked[1]


async def test_consent_is_valid_only_for_the_same_call_and_token(hub: ServedHub) -> None:
    await fill(hub)
    tokens = await reviewer(hub), await reviewer(hub)
    async with assistant(hub, tokens[0], elicitation_callback=Person(YES)) as one:
        asked = await one.session.call_tool("items_give", approve("i-0"), allow_input_required=True)
        assert isinstance(asked, InputRequiredResult)
        again: dict[str, Any] = {"input_responses": {"consent": YES}, "request_state": asked.request_state}
        async with assistant(hub, tokens[1], elicitation_callback=Person(YES)) as other:
            for client, item, changed in (
                (one, "i-4", {}),
                (other, "i-0", {}),
                (one, "i-0", {"request_state": '[{"version":1}]'}),
            ):
                with pytest.raises(MCPError, match="requestState"):
                    await client.session.call_tool("items_give", approve(item), **again | changed)
        assert await stored(hub, "item_verdicts") == 0
        given = await one.session.call_tool("items_give", approve("i-0"), **again)
        assert isinstance(given, CallToolResult) and not given.is_error
    assert await stored(hub, "item_verdicts") == 1


async def test_consent_counts_once_but_for_the_same_call_sent_again(hub: ServedHub) -> None:
    await fill(hub)
    no = ElicitResult(action="decline")
    async with assistant(hub, await reviewer(hub), elicitation_callback=Person(YES)) as client:

        async def told_of(state: str | None, answer: ElicitResult, arguments: dict[str, Any]) -> str:
            more: dict[str, Any] = {"input_responses": {"consent": answer}, "request_state": state}
            given = await client.session.call_tool("items_give", arguments, **more)
            assert isinstance(given, CallToolResult)
            return told(given) if given.is_error else ""

        async def asked(arguments: dict[str, Any]) -> str | None:
            found = await client.session.call_tool("items_give", arguments, allow_input_required=True)
            assert isinstance(found, InputRequiredResult)
            return found.request_state

        state = await asked(approve("i-0"))
        assert await told_of(state, YES, approve("i-0")) == ""
        await fill(hub)  # its owner takes the verdict back
        assert "has answered this question already" in await told_of(state, YES, approve("i-0"))
        keyed = approve("i-0") | {"idempotency_key": "once"}
        refused = await asked(keyed)
        assert "did not agree" in await told_of(refused, no, keyed)
        assert "has answered this question already" in await told_of(refused, YES, keyed)
        assert await stored(hub, "item_verdicts") == 0
        state = await asked(keyed)
        assert [await told_of(state, YES, keyed) for _ in range(2)] == ["", ""]  # its response was lost
    assert await stored(hub, "item_verdicts") == 1


@each("mode", REVISIONS)
async def test_parallel_requests_with_the_same_id_are_each_answered_or_refused(
    hub: ServedHub, mode: str
) -> None:
    async with over_tcp(hub, await hub.token()) as client:
        headers, meta = dict(ACCEPT), dict[str, Any]()
        if mode == REVISIONS[0]:
            headers["mcp-session-id"] = (await opened(client)).headers["mcp-session-id"]
        else:
            about = {"protocolVersion": mode, "clientInfo": {"name": "x", "version": "1"}}
            meta = {f"io.modelcontextprotocol/{name}": value for name, value in about.items()}
            meta["io.modelcontextprotocol/clientCapabilities"] = {}
            headers |= {"mcp-protocol-version": mode, "mcp-method": "tools/call", "mcp-name": "agents_all"}
        params = {"name": "agents_all", "arguments": {}} | ({"_meta": meta} if meta else {})
        answers: list[httpx2.Response] = []

        async def post(id: int | str) -> None:
            body = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
            answers.append(await client.post("/mcp", json=body, headers=headers))

        of_ids: list[list[int | str]] = [[7, 7, "7", 7, "7"], [7]]  # free again once they are answered
        for ids in of_ids:
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    for id in ids:
                        tasks.start_soon(post, id)
        for answer in answers:
            is_refused = answer.status_code == 400 and answer.json()["error"]["code"] == -32600
            assert is_refused or '"nextCursor"' in answer.text or "next_cursor" in answer.text, answer.text
        assert len(answers) == 6
        assert sum(answer.status_code == 400 for answer in answers) == (4 if mode == REVISIONS[0] else 0)


LOGIN = getuser()
WHO = [
    ({}, f"assistant:{os.getuid()}", f"assistant of {LOGIN}"),
    ({CALLED: "tidy"}, f"assistant:{os.getuid()}:tidy", f"assistant tidy of {LOGIN}"),
    ({CALLED: "my own"}, f"assistant:{os.getuid()}:my own", f"assistant my own of {LOGIN}"),
]


@each(("headers", "actor", "by"), WHO)
async def test_records_of_a_local_assistant_have_the_name_and_never_the_user(
    tmp_path: Path, headers: dict[str, str], actor: str, by: str
) -> None:
    async with serving(tmp_path, assistants=True, body_bytes=100_000) as hub, over_unix(hub) as rest:
        await fill(hub)
        await rest.post("/v1/boards", json={"name": "room"})
        asked = (await rest.post("/v1/boards/room/ask-user", json={"content": "Which colour?"})).json()
        calls: list[tuple[str, dict[str, Any]]] = [
            ("proposals_propose", {"proposals": [{"item": "i-4", "verdict": "reject", "why": "Done."}]}),
            ("agents_start_run", {"name": "notes"}),
            ("questions_answer", {"question_id": asked["id"], "answer": "Red."}),
            ("items_give", approve("i-0")),
        ]
        async with over_unix(hub) as http:
            http.headers |= headers
            transport = streamable_http_client("http://hub/mcp", http_client=http)
            async with Client(transport, mode="legacy", elicitation_callback=Person(YES)) as client:
                results = [await client.call_tool(name, arguments) for name, arguments in calls]
        assert not any(one.is_error for one in results), [told(one) for one in results]
        given = (await rest.get("/v1/items/i-0")).json()["given"]
        (proposal,) = (await rest.get("/v1/items/i-4")).json()["proposals"]
        assert (given["actor"], given["by"]) == (proposal["actor"], proposal["by"]) == (actor, by)
        assert (await rest.get(f"/v1/questions/{asked['id']}")).json()["answered_by"] == by
        run = (await rest.get(f"/v1/runs/{json.decode(told(results[1]))['id']}")).json()
        assert [move["actor"] for move in run["history"]][:1] == [actor]
        entries = (await rest.get("/v1/audit?limit=50")).json()["entries"]
        done = {one["event"]: one["actor"] for one in entries}
        events = ("item.proposed", "run.started", "question.answered", "item.judged")
        assert [done.get(event) for event in events] == [actor] * 4, done
        assert proposal["why"] == "Done."


async def test_assistant_with_a_token_is_named_after_the_token(hub: ServedHub) -> None:
    await fill(hub)
    async with over_tcp(hub, await hub.token()) as http:
        http.headers[CALLED] = "the owner"
        transport = streamable_http_client(f"http://{hub.listening.tcp}/mcp", http_client=http)
        async with Client(transport, mode="legacy") as client:
            proposed = {"item": "i-4", "verdict": "reject", "why": "Done."}
            await client.call_tool("proposals_propose", {"proposals": [proposed]})
        (proposal,) = (await http.get("/v1/items/i-4")).json()["proposals"]
    assert proposal["actor"].startswith("token:") and "the owner" not in proposal["by"]


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CALLS: list[Any] = [
    *(None, 1, "x", [], {"name": 1}, {"name": "agents_all", "arguments": []}, {"name": "x" * 10_000}),
    {"name": "agents_all", "arguments": {"limit": 10**400}},
    {"name": "agents_all", "arguments": {"cursor": "\ud800"}},
    {"name": "agents_all", "arguments": {"cursor": "\x00"}},
    {"name": "agents_get", "arguments": {"name": "a\r\nx: y"}},
    {"name": "agents_get", "arguments": {"name": {"a": _deep(100)}}},
    {"name": "agents_start_run", "arguments": {"name": "notes", "idempotency_key": "a\r\nx: y"}},
    {"name": "agents_start_run", "arguments": {"name": "notes"}, "_meta": {META_KEY: {"a": 1}}},
    {"name": "agents_start_run", "arguments": {"name": "notes"}, "_meta": {META_KEY: "\ud83d\ude00"}},
    {"name": "proposals_propose", "arguments": {"proposals": _deep(100)}},
    {"name": "items_give", "arguments": {"verdicts": [{"id": {}, "verdict": []}]}},
    {"name": "items_give", "arguments": {"verdicts": [{}]}, "requestState": 1, "inputResponses": []},
    {"uri": 1},
    {"uri": "hub://items/%00"},
    {"uri": "hub://items/\ud800"},
    {"cursor": "items_get \ud800"},
    {"cursor": " "},
    {"notifications": 1},
]


OF_CALLS = 4  # so many methods get each of the calls, the others a part of them


METHODS = [
    *("tools/call", "tools/list", "resources/read", "resources/list", "resources/subscribe", "initialize"),
    *("notifications/cancelled", "server/discover", "logging/setLevel", "x" * 1_000),
]


@each("mode", REVISIONS)
async def test_arbitrary_mcp_messages_cause_no_internal_error(
    hub: ServedHub, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    asks: dict[str, Any] = {"elicitation": {"form": {}}}
    async with over_tcp(hub, await hub.token(Role.ADMIN, [*Scope])) as client:
        headers, meta = dict(ACCEPT), {}
        if mode == REVISIONS[0]:
            opening = {**cast(dict[str, Any], INITIALIZE["params"]), "capabilities": asks}
            answer = await client.post("/mcp", json=INITIALIZE | {"params": opening}, headers=ACCEPT)
            headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            assert (await client.post("/mcp", json=ready, headers=headers)).status_code == 202
            listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            assert "items_give" in (await client.post("/mcp", json=listing, headers=headers)).text
        else:
            about = {"protocolVersion": mode, "clientInfo": {"name": "x", "version": "1"}}
            meta = {f"io.modelcontextprotocol/{name}": value for name, value in about.items()}
            meta["io.modelcontextprotocol/clientCapabilities"] = asks
        for number, method in enumerate(METHODS):
            for params in CALLS if number < OF_CALLS else CALLS[number::OF_CALLS]:
                own = params.get("_meta", {}) if isinstance(params, dict) else {}
                sent = params | {"_meta": meta | own} if isinstance(params, dict) else params
                body = {"jsonrpc": "2.0", "id": 9, "method": method, "params": sent}
                named = params.get("name", params.get("uri", "")) if isinstance(params, dict) else ""
                spelled = named if isinstance(named, str) and named.isascii() and named.isprintable() else ""
                newer = {"mcp-protocol-version": mode, "mcp-method": method, "mcp-name": spelled}
                answer = await client.post(
                    "/mcp", content=stdlib_json.dumps(body), headers=headers | (newer if meta else {}) | JSON
                )
                assert answer.status_code < 500, (method, params, answer.text)
                assert "-32603" not in answer.text, (method, params, answer.text)
        for content in (b"", b"{", b"[]", b"[{}]", b"null", b"\xff", b"[" * 20_000):
            answer = await client.post("/mcp", content=content, headers=headers | JSON)
            assert 400 <= answer.status_code < 500, (content, answer.text)
    assert not [one for one in caplog.records if one.levelname == "ERROR"]
    assert await stored(hub, "item_verdicts") == 0


@each(
    ("hint", "shown"),
    [
        ("'hub agents' lists the agents there are", "the tool agents_all lists the agents there are"),
        ("'hub devices' lists the devices there are", "the tool devices_all lists the devices there are"),
        ("GET /v1/me has your limits", "the tool system_me has your limits"),
        ("try 'hub agents pause NAME'", "try the tool agents_pause"),
        (
            "the role: hub token create --role viewer",
            "for the person at the hub: the role: hub token create --role viewer",
        ),
        ("'hub doctor' says why", "for the person at the hub: 'hub doctor' says why"),
        ("its owner types on the device: hub grants +x", "its owner types on the device: hub grants +x"),
        ("update the older of the two: hub or device", "update the older of the two: hub or device"),
    ],
)
def test_error_hint_for_assistants_names_tools_or_addresses_a_person(hint: str, shown: str) -> None:
    assert hint_for(hint, all_tools()) == shown


@pytest.fixture
async def filled(hub: ServedHub) -> None:
    """Store five items and three runs."""
    await hub.store.write(keep)
    for number in range(3):
        await hub.run(f"r-{number}", RunState.CANCELLED)


TEMPLATES = [
    "hub://devices/{device_id}/tables/{table}",
    "hub://items/{item_id}",
    "hub://runs/{run_id}",
]


async def listed(client: Client) -> list[str]:
    """Addresses in all pages."""
    found, cursor = list[str](), None
    while True:
        page = await client.list_resources(cursor=cursor)
        found += [str(one.uri) for one in page.resources]
        if (cursor := page.next_cursor) is None:
            return found


@pytest.mark.usefixtures("filled")
@each("mode", REVISIONS)
async def test_item_and_run_resources_are_listed_in_pages_and_read_by_uri(
    hub: ServedHub, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistants, "MAX_ROWS", 2)
    token = await hub.token(Role.VIEWER)
    async with over_tcp(hub, token) as rest, assistant(hub, token, mode) as client:
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.uri_template for one in templates] == TEMPLATES
        found = await listed(client)
        assert sorted(found) == [
            *(f"hub://items/i-{n}" for n in range(5)),
            *(f"hub://runs/r-{n}" for n in range(3)),
        ]
        for uri in found:
            about, content = (await client.read_resource(uri)).contents
            assert about.text == DATA  # type: ignore[union-attr]
            shown, answer = json.decode(content.text), await rest.get(f"/v1/{uri.removeprefix('hub://')}")  # type: ignore[union-attr]
            assert shown | {"as_of": None} == answer.json() | {"as_of": None}


@pytest.mark.usefixtures("filled")
@each(
    ("uri", "message"),
    [
        ("hub://items/unknown", "unknown_item"),
        ("hub://runs/..%2Fagents", "unknown_run"),
        (
            "hub://agents/notes",
            "resources are hub://devices/{device_id}/tables/{table}, hub://items/{item_id}",
        ),
        ("hub://items", "there is no resource"),
        ("hub://items/", "there is no resource"),
        ("hub://items/i-0/", "there is no resource"),
        ("hub://items/counts", "a word of the path of another route"),
        ("http://items/i-0", "there is no resource"),
        ("hub://devices/desk/tables/tasks", "needs the scope 'rows'"),
        ("file:///etc/passwd", "there is no resource"),
    ],
)
async def test_unknown_resource_uri_is_refused(hub: ServedHub, uri: str, message: str) -> None:
    async with assistant(hub, await hub.token(Role.VIEWER)) as client:
        with pytest.raises(MCPError, match=message):
            await client.read_resource(uri)


@pytest.mark.usefixtures("filled")
async def test_resource_beyond_the_size_limit_is_refused_with_the_limit(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistants, "MAX_BYTES", 100)
    async with assistant(hub, await hub.token(Role.VIEWER)) as client:
        with pytest.raises(MCPError, match="a tool returns 100 at most"):
            await client.read_resource("hub://items/i-0")


async def _change(hub: ServedHub, item: str) -> None:
    await hub.store.write(
        lambda c: c.execute(sa.text("UPDATE items SET version = version + 1 WHERE id = :id"), {"id": item})
    )


@pytest.mark.usefixtures("filled")
async def test_listening_client_is_notified_only_of_subscribed_resources(hub: ServedHub) -> None:
    before = hub.clock.sleeping
    async with assistant(hub, await hub.token(Role.VIEWER)) as client:
        with anyio.fail_after(20):
            async with client.listen(resource_subscriptions=["hub://items/i-0"]) as events:
                await _change(hub, "i-4")
                await _change(hub, "i-0")
                await _follows(hub, before)
                hub.clock.advance(1)
                event: Any = await anext(aiter(events))
        assert event.uri == "hub://items/i-0"


@pytest.mark.usefixtures("filled")
@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_session_subscriber_is_notified_until_unsubscribing(hub: ServedHub) -> None:
    before = hub.clock.sleeping
    send, receive = anyio.create_memory_object_stream[str](10)

    async def note(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            await send.send(str(message.params.uri))

    async with send, receive, assistant(hub, await hub.token(), "legacy", message_handler=note) as client:
        for uri in ("hub://items/i-0", "hub://items/i-1"):
            await client.session.subscribe_resource(uri)
        await _follows(hub, before)
        await client.session.unsubscribe_resource("hub://items/i-1")
        for item in ("i-1", "i-0"):
            await _change(hub, item)
        assert await _notified(hub, receive) == "hub://items/i-0"


async def _notified(hub: ServedHub, receive: MemoryObjectReceiveStream[str]) -> str:
    with anyio.fail_after(20):
        while True:
            hub.clock.advance(1)
            with anyio.move_on_after(0.05):
                return await receive.receive()


@pytest.mark.usefixtures("filled")
@pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
async def test_unauthorized_requests_end_no_resource_subscription(
    hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assistants, "MAX_SUBSCRIBERS", 2)
    send, receive = anyio.create_memory_object_stream[str](10)
    sessions = set[str]()

    async def note(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            await send.send(str(message.params.uri))

    async def keep_session(response: httpx2.Response) -> None:
        sessions.add(response.headers.get("mcp-session-id", ""))

    async with send, receive, over_tcp(hub, await hub.token()) as http:
        http.event_hooks["response"] = [keep_session]
        transport = streamable_http_client(f"http://{hub.listening.tcp}/mcp", http_client=http)
        async with Client(transport, mode="legacy", message_handler=note) as client:
            await client.session.subscribe_resource("hub://items/i-0")
            async with over_tcp(hub, await hub.token(user_id=await hub.user("eve"))) as stranger:
                for method, session in [("GET", "a"), ("GET", "b"), *(("DELETE", one) for one in sessions)]:
                    headers = ACCEPT | {"mcp-session-id": session}
                    assert (await stranger.request(method, "/mcp", headers=headers)).status_code in (400, 404)
            await client.session.subscribe_resource("hub://items/i-1")
            await _change(hub, "i-1")
            assert await _notified(hub, receive) == "hub://items/i-1"


async def _follows(hub: ServedHub, before: int) -> None:
    """Wait until a stream has read the number of the newest change, and waits for the next one."""
    with anyio.fail_after(20):
        while hub.clock.sleeping <= before:
            await anyio.lowlevel.checkpoint()


APPS = advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})


OTHER = advertise(EXTENSION_ID, {"mimeTypes": ["text/html;profile=other"]})


@each("mode", REVISIONS)
async def test_only_a_client_with_the_apps_extension_gets_the_card(hub: ServedHub, mode: str) -> None:
    await fill(hub)
    token = await hub.token(Role.VIEWER)
    seen: list[dict[str, Any]] = []
    for extensions in ([APPS], [OTHER], []):
        async with assistant(hub, token, mode, extensions=extensions) as client:
            tools = {tool.name: tool.meta for tool in (await client.list_tools()).tools}
            listed = await client.call_tool("items_newest", {})
            seen.append({"result": listed.model_dump(exclude={"meta"}), "meta": listed.meta})
            is_shown = extensions == [APPS]
            shown = {"items_newest": {"ui": {"resourceUri": CARD}}} if is_shown else {}
            assert {name: meta for name, meta in tools.items() if meta} == shown
            (page,) = (await client.read_resource(CARD)).contents
    async with assistant(hub, token, "auto") as client:  # the older revision has no place for extensions
        assert client.server_capabilities.extensions == {EXTENSION_ID: {}}
    assert seen[0]["result"] == seen[1]["result"] == seen[2]["result"]
    ways = [(one["meta"] or {}).get("hub/verdicts") for one in seen]
    assert ways == ["proposed", None, None]
    assert isinstance(page, TextResourceContents)
    assert (page.uri, page.mime_type) == (CARD, APP_MIME_TYPE)
    assert page.meta is not None and not any(page.meta["ui"]["csp"].values())
    assert "default-src 'none'" in page.text and "http-equiv" in page.text


@each("mode", REVISIONS)
async def test_verdict_of_a_client_with_the_card_needs_personal_consent(hub: ServedHub, mode: str) -> None:
    person = Person(*NO)
    await fill(hub)
    token = await reviewer(hub)
    async with assistant(hub, token, mode, extensions=[APPS], elicitation_callback=person) as client:
        listed = await client.call_tool("items_newest", {})
        assert (listed.meta or {})["hub/verdicts"] == "given"
        for call in (
            "items_newest",
            "items_give",
            "items_give",
        ):  # an assistant that calls as the card does
            arguments = approve("i-0", version=1) if call == "items_give" else {}
            meta: Any = {"ui": {"resourceUri": CARD}, "hub/verdicts": "given"}
            result = await client.call_tool(call, arguments, meta=meta)
            assert result.is_error == (call == "items_give")
    async with assistant(hub, token, mode, extensions=[APPS]) as client:  # it asks no person
        listed = await client.call_tool("items_newest", {})
        assert (listed.meta or {})["hub/verdicts"] == "proposed"
        assert (await client.call_tool("items_give", approve("i-0"))).is_error
    assert (len(person.asked), await stored(hub, "item_verdicts")) == (2, 0)
