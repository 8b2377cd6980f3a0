"""The coordination document: messages between agents, souls, and questions to the user, over a gateway."""

from typing import Any, Final

import httpx2

from tests.seeds.walk import Document, Walk
from tests.support.gateway import FakeGateway
from tests.support.hub import over_tcp
from tests.support.log import opened_log

coordination = Document("coordination")
AGENT: Final = "boards/garden/agents/digger"
NUDGE, SOUL, LEAD, ASK = (
    f"{AGENT}/nudge",
    f"{AGENT}/soul",
    "boards/garden/lead/message",
    "boards/garden/ask-user",
)
MESSAGES: Final = "messages, POST /v1/boards/{board}/agents/{agent}/nudge"
BROADCASTS: Final = "broadcasts, POST /v1/broadcasts"
SOULS: Final = "soul_writes, /v1/boards/{board}/agents/{agent}/soul"
QUESTIONS: Final = "questions, POST /v1/boards/{board}/ask-user"
ACTIVITY: Final = "activity_log, GET /v1/activity"
LETTER: Final = "the text of chat.send: hub.coordination.to_gateway.letter"
KEPT: Final = (
    "a message is kept before it is sent, so that a restart of either side neither loses nor repeats it"
)
ITS_OWN_WORDS: Final = "a letter has the words of this hub; it says the same"
SCOPED: Final = {"code": "FORBIDDEN", "message": "missing scope: operator.write"}
GONE: Final = {"code": "INVALID_REQUEST", "message": 'Agent "ghost" no longer exists in configuration'}


async def garden(walk: Walk) -> FakeGateway:
    """Open a gateway and a board ``garden`` with a lead and the agent ``digger``, who live there."""
    gateway = await walk.gateway()
    gateway.add_agent("digger")
    await walk.post("boards", {"name": "garden", "gateway": "office"})
    await walk.post("boards/garden/lead/ensure")
    await walk.post("gateways/office/agents", {"name": "digger", "remote_id": "digger"})
    await walk.post("boards/garden/agents", {"agent": "digger"})
    return gateway


async def by(walk: Walk, agent: str, verb: str, path: str, body: Any = None) -> httpx2.Response:
    """Return the answer to a request of an agent in its own name."""
    token = (await walk.post(f"agents/{agent}/tokens", {}))["token"]
    async with over_tcp(walk.hub, token) as client:
        return await client.request(verb, f"/v1/agent/{path}", json=body)


async def happened(walk: Walk, event: str) -> list[tuple[str, str | None]]:
    """Return the messages and agents of the entries of the activity log with this event."""
    entries = (await walk.get("activity", event=event))["activity"]
    return [(entry["message"], entry["agent_id"]) for entry in entries]


def sent(gateway: FakeGateway) -> list[dict[str, Any]]:
    """Return the parameters of every chat.send that came to the gateway."""
    return [asked.params for asked in gateway.asked if asked.method == "chat.send"]


async def letter(walk: Walk, gateway: FakeGateway, path: str, **body: Any) -> str:
    """Send a request and return the text that its receiver got."""
    await walk.post(path, {"content": "  the beds first  "} | body)
    return str(sent(gateway)[-1]["message"])


@coordination(
    "nudge_board_agent(board, actor_agent, target_agent_id, message, correlation_id)", lives=MESSAGES
)
async def a_nudge_has_a_message_and_a_correlation_id(walk: Walk) -> None:
    gateway = await garden(walk)
    said = await walk.post(NUDGE, {"message": "the beds first", "correlation_id": "order-17"})
    assert (said["content"], said["correlation_id"], said["agent"]) == (
        "the beds first",
        "order-17",
        "digger",
    )
    assert "the beds first" in sent(gateway)[-1]["message"]
    assert [one["id"] for one in (await walk.get("messages", correlation_id="order-17"))["messages"]] == [
        said["id"]
    ]
    asked = await walk.ask("messages.nudge", board="garden", agent="digger", message="and the hedge")
    assert asked["message"]["content"] == "and the hedge"
    assert (await walk.cli("messages", "nudge", "garden", "digger", "and water"))["content"] == "and water"
    await walk.refused("POST", NUDGE, {"message": 7}, status=422, says="body.message: expected text")
    await walk.refused(
        "POST", NUDGE, {"message": "a", "content": "b"}, status=422, says="another name of content"
    )
    await walk.refused("POST", NUDGE, {}, status=422, says="body.content: missing")
    await walk.refused("POST", NUDGE, {"message": " "}, status=422, says="content")
    await walk.refused("POST", NUDGE, {"message": "a", "correlation_id": "x" * 129}, status=422, says="128")


@coordination("_board_agent_or_404: the target is an agent of the board, else 404", lives=MESSAGES)
async def agents_that_are_not_on_the_board_are_unknown(walk: Walk) -> None:
    await garden(walk)
    await walk.post("boards", {"name": "kitchen"})
    await walk.post("gateways/office/agents", {"name": "cook", "remote_id": None})
    await walk.post("boards/kitchen/agents", {"agent": "cook"})
    for agent in ("nobody", "cook"):
        path = f"boards/garden/agents/{agent}/nudge"
        await walk.refused("POST", path, {"message": "a"}, status=404, says=agent)


@coordination(
    "a target without a board is one of any board: target.board_id and target.board_id != board.id",
    lives=MESSAGES,
    changed="an agent of no board is no agent of this one: any board could read and write it otherwise",
)
async def an_agent_of_no_board_is_unknown_on_a_board(walk: Walk) -> None:
    await garden(walk)
    await walk.refused("POST", "boards/garden/agents/notes/nudge", {"message": "a"}, status=404, says="notes")
    await walk.refused("GET", "boards/garden/agents/notes/soul", status=404, says="notes")


@coordination("422: Target agent has no session key", lives="refusal no_session")
async def an_agent_without_a_session_is_not_nudged(walk: Walk) -> None:
    await garden(walk)
    await walk.post("boards/garden/agents", {"agent": "notes"})
    await walk.sql("UPDATE agents SET device_id = NULL WHERE name = 'notes'")
    answer = await walk.send("POST", "boards/garden/agents/notes/nudge", {"message": "a"})
    assert answer.status_code >= 400 and answer.json()["code"] == "no_session", answer.text


@coordination("nudge: deliver=True", lives="messages.deliver")
async def the_answer_to_a_nudge_is_delivered_to_the_agents_channel(walk: Walk) -> None:
    gateway = await garden(walk)
    await walk.post(NUDGE, {"message": "a"})
    assert sent(gateway)[-1]["deliver"] is True
    await walk.post(NUDGE, {"message": "b", "deliver": False})
    assert not sent(gateway)[-1].get("deliver")
    await walk.refused("POST", NUDGE, {"message": "a", "deliver": "yes"}, status=422, says="body.deliver")


@coordination(
    "_dispatch_gateway_message: session_key=target.openclaw_session_id", lives="gateway_agents.session_key"
)
async def a_message_goes_to_the_session_of_its_agent(walk: Walk) -> None:
    gateway = await garden(walk)
    await walk.post(NUDGE, {"message": "a"})
    assert sent(gateway)[-1]["sessionKey"] == "agent:digger:main"
    await walk.post(LEAD, {"content": "b"})
    board = (await walk.get("boards/garden"))["id"]
    assert sent(gateway)[-1]["sessionKey"] == f"agent:lead-{board}:main"


@coordination("agent.nudge.sent: Nudge sent to {target.name}., agent_id=actor_agent.id", lives=ACTIVITY)
async def a_nudge_that_was_sent_is_an_event_of_the_agent_that_sent_it(walk: Walk) -> None:
    await garden(walk)
    answer = await by(walk, "garden-lead", "POST", NUDGE, {"message": "the beds first"})
    assert answer.status_code == 201, answer.text
    lead = (await walk.agent("garden-lead")).id
    assert await happened(walk, "agent.nudge.sent") == [("Nudge sent to digger.", lead)]
    assert (await walk.cli("activity", "--event", "agent.nudge."))["activity"][0]["agent_id"] == lead
    assert await happened(walk, "agent.nudge.failed") == []
    await walk.refused("GET", "activity?event=a%20b", status=422, says="query.event")
    await walk.refused("GET", "activity?agent=nobody", status=404, says="nobody")
    await walk.refused("GET", "activity?level=info", status=422, says="there is no such parameter")


@coordination("agent.nudge.failed: Nudge failed for {target.name}: {exc}", lives=ACTIVITY)
async def a_nudge_that_failed_is_an_event_and_an_error(walk: Walk) -> None:
    gateway = await garden(walk)
    gateway.fault("chat.send", "refused", GONE)
    answer = await by(walk, "garden-lead", "POST", NUDGE, {"message": "a"})
    assert (answer.status_code, answer.json()["code"]) == (502, "gateway_refused"), answer.text
    ((message, agent),) = await happened(walk, "agent.nudge.failed")
    assert message.startswith("Nudge failed for digger: ") and "no longer exists" in message
    assert agent == (await walk.agent("garden-lead")).id
    assert await happened(walk, "agent.nudge.sent") == []


@coordination(
    "event_type=...: the events of the document find the entries of the audit log", lives="GET /v1/audit"
)
async def entries_of_the_audit_log_are_found_by_the_names_of_the_document(walk: Walk) -> None:
    await garden(walk)
    await walk.post(NUDGE, {"message": "a"})
    await walk.post(LEAD, {"content": "b"})
    await walk.post("broadcasts", {"content": "c"})
    await walk.post(ASK, {"content": "d"})
    await walk.put(SOUL, {"content": "I dig."})
    for alias, event in (
        ("agent.nudge.sent", "message.sent"),
        ("gateway.main.lead_message.sent", "message.sent"),
        ("gateway.main.lead_broadcast.sent", "broadcast.sent"),
        ("gateway.lead.ask_user.sent", "question.asked"),
        ("agent.soul.updated", "soul.updated"),
    ):
        (entry,) = (await walk.get("audit", event=alias))["entries"]
        assert (entry["event"], entry["alias"]) == (event, alias)
        assert (await walk.cli("audit", "--event", alias))["entries"] == [entry]
    assert [one["alias"] for one in (await walk.get("audit", event="board.created"))["entries"]] == [None]
    assert (await walk.get("audit", event="agent.nudge.lost"))["entries"] == []
    await walk.refused("GET", "audit?event=a%20b", status=422, says="query.event")


@coordination("_with_gateway_retry: coordination calls are retried", lives="messages.attempt, messages.sends")
async def a_message_that_a_busy_gateway_turned_away_is_sent_again(walk: Walk) -> None:
    gateway = await garden(walk)
    busy = {"code": "UNAVAILABLE", "message": "The server is busy.", "retryable": True}
    gateway.fault("chat.send", "refused", busy, times=2)
    said = await walk.post(f"{NUDGE}?wait_s=60", {"message": "the beds first"})
    assert said["state"] in ("consumed", "answered")
    assert len(gateway.said("agent:digger:main")) == 1


@coordination(
    "the retried call makes a new message each time",
    lives="messages.id as idempotency key",
    changed="each attempt bears the same idempotency key, so that a lost answer makes no second message",
)
async def a_message_whose_answer_was_lost_is_there_once(walk: Walk) -> None:
    gateway = await garden(walk)
    gateway.fault("chat.send", "after")
    await walk.post(f"{NUDGE}?wait_s=60", {"message": "the beds first"})
    assert len(gateway.said("agent:digger:main")) == 1


@coordination(
    "(OpenClawGatewayError, TimeoutError): a gateway that is away is an error of the caller",
    lives="messages.state",
    changed=KEPT,
)
async def a_message_to_a_gateway_that_is_away_waits_for_it(walk: Walk) -> None:
    gateway = await garden(walk)
    await gateway.stop()
    said = await walk.post(f"{NUDGE}?wait_s=0", {"message": "the beds first"})
    assert said["state"] == "waiting"
    await gateway.start()
    await _until_said(walk, said["id"], "consumed", "answered")
    assert len(gateway.said("agent:digger:main")) == 1


async def _until_said(walk: Walk, id: str, *states: str) -> dict[str, Any]:
    sent = walk.hub.app.coordination.sent
    row = await sent.delivered(id, 120.0)
    assert row.state in states, row
    found: dict[str, Any] = await walk.get(f"messages/{id}")
    return found


@coordination(
    "map_gateway_error_to_http_exception(GatewayOperation.NUDGE_AGENT, exc): 502", lives="the refusal names the message: message_id"
)
async def the_error_of_a_gateway_says_what_it_refused_and_which_message(walk: Walk) -> None:
    gateway = await garden(walk)
    for error, status, code in ((GONE, 502, "gateway_refused"), (SCOPED, 502, "gateway_forbidden")):
        gateway.fault("chat.send", "refused", error)
        answer = await walk.send("POST", NUDGE, {"message": "a"})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), answer.text
        assert (await walk.get(f"messages/{problem['message_id']}"))["state"] == "failed"


@coordination(
    "resolve_trace_id(correlation_id, prefix='coord.nudge')",
    lives="messages.trace_id, messages.correlation_id",
    changed="a trace id is that of W3C trace context, and the correlation id is kept beside it",
)
async def a_message_has_a_trace_and_keeps_the_correlation_id(walk: Walk) -> None:
    gateway = await garden(walk)
    said = await walk.post(NUDGE, {"message": "a", "correlation_id": " order-17 "})
    assert said["correlation_id"] == "order-17"
    (asked,) = [one for one in gateway.asked if one.method == "chat.send"]
    assert asked.traceparent is not None and asked.traceparent.split("-")[1] == said["trace_id"]


@coordination(
    "logger: gateway.coordination.nudge.start, .success, .failed with trace_id, board_id, ids",
    lives="log event message.moved",
    changed="one event for each state of a message, with the same ids",
)
async def the_log_has_each_move_of_a_message_with_its_ids(walk: Walk) -> None:
    await garden(walk)
    with opened_log() as opened:
        said = await walk.post(NUDGE, {"message": "a"})
    moved = [line for line in opened.lines() if "message.moved" in line and said["id"] in line]
    assert moved and all(said["board_id"] in line and said["agent_id"] in line for line in moved)
    moves = [one["new_state"] for one in (await walk.get(f"messages/{said['id']}"))["moves"]]
    assert moves[:2] == ["waiting", "sent"] and len(moved) <= len(moves)


@coordination(
    "require_gateway_config_for_board: a board has a gateway",
    lives="boards.gateway_id",
    changed="agents live on devices as well, and are nudged there",
)
async def an_agent_on_a_device_needs_no_gateway(walk: Walk) -> None:
    await walk.gateway()
    await walk.post("boards", {"name": "desk"})
    await walk.post("boards/desk/agents", {"agent": "notes"})
    said = await walk.post("boards/desk/agents/notes/nudge?wait_s=0", {"message": "a"})
    assert (said["device"], said["gateway"]) == ("desk", None)
    await walk.refused("POST", "boards", {"name": "lost", "gateway": "nowhere"}, status=404, says="nowhere")
    await walk.post("boards", {"name": "empty"})
    await walk.refused("POST", "boards/empty/lead/message", {"content": "a"}, status=422, says="no gateway")
