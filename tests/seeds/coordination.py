"""The coordination document: messages between agents, souls, and questions to the user, over a gateway."""

from functools import partial
from typing import Any, Final

import anyio
import httpx2
import pytest

from protocol.errors import CodedError
from tests.seeds.walk import Document, Walk
from tests.support.gateway import DEFAULT_SOUL, FakeGateway
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
LETTER: Final = "the text of chat.send: hub.coordination.gateway_delivery.letter"
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


in_garden = partial(coordination.after, garden)


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


@in_garden("nudge: deliver=True", lives="messages.deliver")
@in_garden(
    "_dispatch_gateway_message: session_key=target.openclaw_session_id", lives="gateway_agents.session_key"
)
@in_garden("nudge_board_agent(board, actor_agent, target_agent_id, message, correlation_id)", lives=MESSAGES)
@in_garden("_board_agent_or_404: the target is an agent of the board, else 404", lives=MESSAGES)
@in_garden(
    "a target without a board is one of any board: target.board_id and target.board_id != board.id",
    lives=MESSAGES,
    changed="an agent of no board is no agent of this one: any board could read and write it otherwise",
)
@in_garden("Agent.objects.by_id, Board.objects.by_id: by id", lives="names or ids in every path")
@in_garden("422: Target agent has no session key", lives="refusal no_session")
async def a_nudge_reaches_an_agent_of_the_board_in_its_session(walk: Walk, gateway: FakeGateway) -> None:
    await walk.post(NUDGE, {"message": "a"})
    assert sent(gateway)[-1]["deliver"] is True
    await walk.post(NUDGE, {"message": "b", "deliver": False})
    assert not sent(gateway)[-1].get("deliver")
    await walk.refused("POST", NUDGE, {"message": "a", "deliver": "yes"}, status=422, says="body.deliver")
    await walk.post(NUDGE, {"message": "a"})
    assert sent(gateway)[-1]["sessionKey"] == "agent:digger:main"
    await walk.post(LEAD, {"content": "b"})
    board, agent = (await walk.get("boards/garden"))["id"], (await walk.agent("digger")).id
    assert sent(gateway)[-1]["sessionKey"] == f"agent:lead-{board}:main"
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
    await walk.refusals(
        ("POST", NUDGE, {"message": 7}, 422, "body.message: expected text"),
        ("POST", NUDGE, {"message": "a", "content": "b"}, 422, "another name of content"),
        ("POST", NUDGE, {}, 422, "body.content: missing"),
        ("POST", NUDGE, {"message": " "}, 422, "content"),
        ("POST", NUDGE, {"message": "a", "correlation_id": "x" * 129}, 422, "128"),
    )
    await walk.post("boards", {"name": "kitchen"})
    await walk.post("gateways/office/agents", {"name": "cook", "remote_id": None})
    await walk.post("boards/kitchen/agents", {"agent": "cook"})
    for name in ("nobody", "cook"):
        path = f"boards/garden/agents/{name}/nudge"
        await walk.refused("POST", path, {"message": "a"}, status=404, says=name)
    await walk.refusals(
        ("POST", "boards/garden/agents/notes/nudge", {"message": "a"}, 404, "notes"),
        ("GET", "boards/garden/agents/notes/soul", None, 404, "notes"),
    )
    said = await walk.post(f"boards/{board}/agents/{agent}/nudge", {"message": "a"})
    assert (said["board"], said["agent"]) == ("garden", "digger")
    await walk.refused(
        "POST", f"boards/{agent}/agents/{board}/nudge", {"message": "a"}, status=404, says=agent
    )
    await walk.post("boards/garden/agents", {"agent": "notes"})
    await walk.sql("UPDATE agents SET device_id = NULL WHERE name = 'notes'")
    answer = await walk.send("POST", "boards/garden/agents/notes/nudge", {"message": "a"})
    assert answer.status_code >= 400 and answer.json()["code"] == "no_session", answer.text


@in_garden(
    "gateway.main.lead_broadcast.sent: Broadcast {payload.kind} to {sent} board leads (failed: {failed}).",
    lives=ACTIVITY,
)
@in_garden(
    "GatewayLeadBroadcastResponse(ok=True, sent, failed, results)",
    lives="answer of POST /v1/broadcasts",
    changed="ok is false where a lead did not get it, and the event of one that reached nobody is failed",
)
@in_garden("agent.nudge.sent: Nudge sent to {target.name}., agent_id=actor_agent.id", lives=ACTIVITY)
@in_garden("agent.nudge.failed: Nudge failed for {target.name}: {exc}", lives=ACTIVITY)
@in_garden(
    "gateway.main.lead_message.sent: Sent {payload.kind} to lead for board: {board.name}.", lives=ACTIVITY
)
@in_garden("gateway.main.lead_message.failed: Lead message failed for {board.name}: {exc}", lives=ACTIVITY)
@in_garden(
    "gateway.lead.ask_user.sent: Lead requested user info via gateway agent for board: {board.name}.",
    lives=ACTIVITY,
)
@in_garden("gateway.lead.ask_user.failed: Lead user question failed for {board.name}: {exc}", lives=ACTIVITY)
async def each_message_that_is_sent_or_fails_is_an_event(walk: Walk, gateway: FakeGateway) -> None:
    await by(walk, "office-main", "POST", "broadcasts?wait_s=60", {"content": "a", "boards": ["garden", "x"]})
    main = (await walk.agent("office-main")).id
    events = await happened(walk, "gateway.main.lead_broadcast.sent")
    assert events == [("Broadcast question to 1 board leads (failed: 1).", main)]
    assert await happened(walk, "gateway.main.lead_message.") == []
    assert (await walk.post("broadcasts?wait_s=60", {"content": "a"}))["ok"] is True
    missed = await walk.post("broadcasts?wait_s=60", {"content": "a", "board_ids": ["nowhere"]})
    assert (missed["ok"], missed["sent"], missed["failed"]) == (False, 0, 1)
    ((message, _),) = await happened(walk, "gateway.main.lead_broadcast.failed")
    assert "reached no board lead" in message
    answer = await by(walk, "garden-lead", "POST", NUDGE, {"message": "the beds first"})
    assert answer.status_code == 201, answer.text
    lead = (await walk.agent("garden-lead")).id
    assert await happened(walk, "agent.nudge.sent") == [("Nudge sent to digger.", lead)]
    assert (await walk.cli("activity", "--event", "agent.nudge."))["activity"][0]["agent_id"] == lead
    await walk.refusals(
        ("GET", "activity?event=a%20b", None, 422, "query.event"),
        ("GET", "activity?agent=nobody", None, 404, "nobody"),
        ("GET", "activity?level=info", None, 422, "there is no such parameter"),
    )
    gateway.fault("chat.send", "refused", GONE)
    answer = await by(walk, "garden-lead", "POST", NUDGE, {"message": "a"})
    assert (answer.status_code, answer.json()["code"]) == (502, "gateway_refused"), answer.text
    ((message, agent),) = await happened(walk, "agent.nudge.failed")
    assert message.startswith("Nudge failed for digger: ") and "no longer exists" in message
    assert agent == lead
    assert (await by(walk, "office-main", "POST", LEAD, {"content": "a"})).status_code == 201
    events = await happened(walk, "gateway.main.lead_message.sent")
    assert events == [("Sent question to lead for board: garden.", main)]
    gateway.fault("chat.send", "refused", GONE)
    await walk.refused("POST", LEAD, {"content": "a"}, status=502, says="gateway_refused")
    ((message, _),) = await happened(walk, "gateway.main.lead_message.failed")
    assert message.startswith("Lead message failed for garden: ")
    asked = (await by(walk, "garden-lead", "POST", ASK, {"content": "Which hedge?"})).json()
    await walk.coordination.sent.delivered(asked["message_id"], 60.0)
    events = await happened(walk, "gateway.lead.ask_user.sent")
    assert events == [("Lead requested user info via gateway agent for board: garden.", lead)]
    gateway.fault("chat.send", "refused", GONE)
    asked = await walk.post(ASK, {"content": "Which hedge?"})
    with pytest.raises(CodedError):
        await walk.coordination.sent.delivered(asked["message_id"], 60.0)
    ((message, _),) = await happened(walk, "gateway.lead.ask_user.failed")
    assert message.startswith("Lead user question failed for garden: ")


@in_garden(
    "event_type=...: the events of the document find the entries of the audit log", lives="GET /v1/audit"
)
async def entries_of_the_audit_log_are_found_by_the_names_of_the_document(
    walk: Walk, _gateway: FakeGateway
) -> None:
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


@in_garden("_with_gateway_retry: coordination calls are retried", lives="messages.attempt, messages.sends")
@in_garden(
    "the retried call makes a new message each time",
    lives="messages.id as idempotency key",
    changed="each attempt bears the same idempotency key, so that a lost answer makes no second message",
)
@in_garden(
    "(OpenClawGatewayError, TimeoutError): a gateway that is away is an error of the caller",
    lives="messages.state",
    changed=KEPT,
)
async def a_message_is_retried_and_arrives_once(walk: Walk, gateway: FakeGateway) -> None:
    busy = {"code": "UNAVAILABLE", "message": "The server is busy.", "retryable": True}
    gateway.fault("chat.send", "refused", busy, times=2)
    said = await walk.post(f"{NUDGE}?wait_s=60", {"message": "the beds first"})
    assert said["state"] in ("consumed", "answered")
    assert len(gateway.said("agent:digger:main")) == 1
    gateway.fault("chat.send", "after")
    await walk.post(f"{NUDGE}?wait_s=60", {"message": "and the hedge"})
    assert len(gateway.said("agent:digger:main")) == 2
    await gateway.stop()
    said = await walk.post(f"{NUDGE}?wait_s=0", {"message": "the beds first"})
    assert said["state"] == "waiting"
    await gateway.start()
    row = await walk.coordination.sent.delivered(said["id"], 120.0)
    assert row.state in ("consumed", "answered"), row
    assert len(gateway.said("agent:digger:main")) == 3


@in_garden(
    "map_gateway_error_to_http_exception(GatewayOperation.NUDGE_AGENT, exc): 502",
    lives="the refusal names the message: message_id",
)
async def the_error_of_a_gateway_says_what_it_refused_and_which_message(
    walk: Walk, gateway: FakeGateway
) -> None:
    for error, status, code in ((GONE, 502, "gateway_refused"), (SCOPED, 502, "gateway_forbidden")):
        gateway.fault("chat.send", "refused", error)
        answer = await walk.send("POST", NUDGE, {"message": "a"})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), answer.text
        assert (await walk.get(f"messages/{problem['message_id']}"))["state"] == "failed"


@in_garden(
    "resolve_trace_id(correlation_id, prefix='coord.nudge')",
    lives="messages.trace_id, messages.correlation_id",
    changed="a trace id is that of W3C trace context, and the correlation id is kept beside it",
)
async def a_message_has_a_trace_and_keeps_the_correlation_id(walk: Walk, gateway: FakeGateway) -> None:
    said = await walk.post(NUDGE, {"message": "a", "correlation_id": " order-17 "})
    assert said["correlation_id"] == "order-17"
    (asked,) = [one for one in gateway.asked if one.method == "chat.send"]
    assert asked.traceparent is not None and asked.traceparent.split("-")[1] == said["trace_id"]


@in_garden(
    "logger: gateway.coordination.nudge.start, .success, .failed with trace_id, board_id, ids",
    lives="log event message.moved",
    changed="one event for each state of a message, with the same ids",
)
async def the_log_has_each_move_of_a_message_with_its_ids(walk: Walk, _gateway: FakeGateway) -> None:
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


@in_garden("a message to a lead: deliver=False", lives="messages.deliver")
@in_garden(
    "GatewayLeadMessageResponse(board_id, lead_agent_id, lead_agent_name, lead_created)",
    lives="answer of POST /v1/boards/{board}/lead/message",
)
@in_garden(
    "_build_gateway_lead_message: header GATEWAY MAIN QUESTION or GATEWAY MAIN HANDOFF",
    lives=LETTER,
    changed=ITS_OWN_WORDS,
)
@in_garden("Board: {board.name}, Board ID: {board.id}, From agent: {actor_agent_name}", lives=LETTER)
@in_garden("correlation_line: Correlation ID, where it is not blank", lives=LETTER)
@in_garden("content.strip()", lives=LETTER)
@in_garden(
    "POST {base_url}/api/v1/agent/boards/{board.id}/memory, base_url or 'http://localhost:8000'",
    lives="[coordination] reply_url, POST /v1/agent/boards/{board}/memory",
    changed="routes begin with /v1; without reply_url the answer is given in the chat",
)
@in_garden(
    "reply_tags or ['gateway_main', 'lead_reply'], reply_source or 'lead_to_gateway_main'",
    lives="messages.reply_tags, messages.reply_source",
)
async def a_letter_to_a_lead_has_kind_board_sender_and_where_to_answer(
    walk: Walk, gateway: FakeGateway
) -> None:
    await walk.post(LEAD, {"content": "a"})
    await walk.post("broadcasts", {"content": "b"})
    assert [one.get("deliver", False) for one in sent(gateway)] == [False, False]
    wrong = {"content": "a", "deliver": True}
    await walk.refused("POST", LEAD, wrong, status=422, says="there is no such field")
    named = await walk.post(LEAD, {"content": "a"})
    lead = await walk.agent("garden-lead")
    board = (await walk.get("boards/garden"))["id"]
    assert [named[name] for name in ("board_id", "lead_agent_id", "lead_agent_name", "lead_created")] == [
        *(board, lead.id, lead.name, False)
    ]
    assert (await letter(walk, gateway, LEAD)).startswith("QUESTION TO THE LEAD\n")
    assert (await letter(walk, gateway, LEAD, kind="handoff")).startswith("HANDOFF TO THE LEAD\n")
    assert (await walk.cli("messages", "lead", "garden", "the hedge", "--handoff"))["message"][
        "kind"
    ] == "handoff"
    wrong = {"content": "a", "kind": "order"}
    await walk.refused("POST", LEAD, wrong, status=422, says="expected one of handoff, question")
    answer = await by(walk, "office-main", "POST", LEAD, {"content": "a"})
    assert answer.status_code == 201, answer.text
    lines = str(sent(gateway)[-1]["message"]).splitlines()
    assert {"Board: garden", f"Board ID: {board}", "From: agent office-main"} <= set(lines)
    assert "Correlation ID: order-17\n" in await letter(walk, gateway, LEAD, correlation_id=" order-17 ")
    assert "Correlation ID" not in await letter(walk, gateway, LEAD, correlation_id="  ")
    assert "Correlation ID" not in await letter(walk, gateway, LEAD)
    await walk.refused("POST", LEAD, {"content": "a", "correlation_id": "x" * 129}, status=422, says="128")
    for path in (NUDGE, LEAD):
        assert "\n\nthe beds first\n\n" in await letter(walk, gateway, path)
    await walk.refusals(
        *(("POST", path, {"content": " \n"}, 422, "content") for path in (NUDGE, LEAD, ASK, "broadcasts"))
    )
    assert "in this chat" in await letter(walk, gateway, LEAD)
    settings = walk.hub.settings.read_text()
    walk.hub.settings.write_text(f'{settings}[coordination]\nreply_url = "http://127.0.0.1:8000/"\n')
    await walk.post("reload")
    text = await letter(walk, gateway, LEAD)
    assert f"POST http://127.0.0.1:8000/v1/agent/boards/{board}/memory" in text
    assert text.endswith("Put the answer there and not into this chat.")
    walk.hub.settings.write_text(f'{settings}[coordination]\nreply_url = "hub"\n')
    await walk.refused("POST", "reload", status=422, says="reply_url")
    walk.coordination.courier.to_gateway.reply_url = "http://hub:8000"
    text = await letter(walk, gateway, LEAD)
    assert '"tags":["gateway_main","lead_reply"],"source":"lead_to_gateway_main"' in text
    text = await letter(walk, gateway, LEAD, reply_tags=["hedge"], reply_source="lead")
    assert '"tags":["hedge"],"source":"lead"' in text
    wrong = {"content": "a", "reply_tags": ["x" * 65]}
    await walk.refused("POST", LEAD, wrong, status=422, says="64 characters")
    wrong = {"content": "a", "reply_source": "x" * 129}
    await walk.refused("POST", LEAD, wrong, status=422, says="reply_source")


@in_garden("Reply by writing a NON-chat memory item on this board", lives="board_memory, messages.answer")
async def an_item_of_the_boards_memory_answers_the_letter(walk: Walk, gateway: FakeGateway) -> None:
    board = (await walk.get("boards/garden"))["id"]
    gateway.hold(f"agent:lead-{board}:main")
    said = (await walk.post(LEAD, {"content": "a"}))["message"]
    item = {"content": "done", "tags": ["gateway_main", "lead_reply"], "source": "lead_to_gateway_main"}
    answer = await by(walk, "garden-lead", "POST", "boards/garden/memory", item | {"reply_to": said["id"]})
    assert (answer.status_code, answer.json()["answered_message"]) == (201, said["id"]), answer.text
    assert answer.json()["is_chat"] is False
    assert ((await walk.get(f"messages/{said['id']}"))["answer"]) == "done"
    (kept,) = (await walk.get("boards/garden/memory", tag="lead_reply"))["memory"]
    assert (kept["content"], kept["source"]) == ("done", "lead_to_gateway_main")
    await walk.refused("POST", "boards/garden/memory", {"content": ""}, status=422, says="content")
    foreign = await by(walk, "digger", "POST", "boards/kitchen/memory", {"content": "a"})
    assert foreign.status_code == 404, foreign.text
    gateway.release(f"agent:lead-{board}:main")


async def _leaves(walk: Walk, message: str) -> None:
    """Wait until a message was sent: no agent answers one before."""
    with anyio.fail_after(10):
        while (await walk.get(f"messages/{message}"))["state"] == "waiting":
            await anyio.lowlevel.checkpoint()


@in_garden(
    'Body: {"content":"...","tags":{tags_json},"source":"{source}"}',
    lives="board_memory, messages.answer, questions.answer",
)
async def the_memory_body_of_the_letter_answers_the_open_message_and_question(
    walk: Walk, gateway: FakeGateway
) -> None:
    board = (await walk.get("boards/garden"))["id"]
    gateway.hold(f"agent:lead-{board}:main")
    body = {"content": "done", "tags": ["gateway_main", "lead_reply"], "source": "lead_to_gateway_main"}
    said = (await walk.post(LEAD, {"content": "a"}))["message"]
    await _leaves(walk, said["id"])
    chat = await by(walk, "garden-lead", "POST", "boards/garden/memory", body | {"is_chat": True})
    other = await by(walk, "garden-lead", "POST", "boards/garden/memory", body | {"tags": ["beds"]})
    foreign = await by(walk, "digger", "POST", "boards/garden/memory", body)
    assert [one.json()["answered_message"] for one in (chat, other, foreign)] == [None] * 3
    answer = await by(walk, "garden-lead", "POST", "boards/garden/memory", body)
    assert (answer.status_code, answer.json()["answered_message"]) == (201, said["id"]), answer.text
    assert (await walk.get(f"messages/{said['id']}"))["answer"] == "done"
    again = await by(walk, "garden-lead", "POST", "boards/garden/memory", body)
    assert again.json()["answered_message"] is None
    sent = [
        (await walk.post(LEAD, {"content": "a", "kind": kind}))["message"] for kind in ("question", "handoff")
    ]
    for message in sent:  # the question first, then the handoff
        await _leaves(walk, message["id"])
        answer = await by(walk, "garden-lead", "POST", "boards/garden/memory", body)
        assert answer.json()["answered_message"] == message["id"], answer.text
    gateway.release(f"agent:lead-{board}:main")
    asked = await walk.post(ASK, {"content": "Which hedge?"})
    reply = {
        "content": "The left.",
        "tags": ["gateway_main", "user_reply"],
        "source": "user_via_gateway_main",
    }
    foreign = await by(walk, "digger", "POST", "boards/garden/memory", reply)
    assert foreign.json()["answered_question"] is None
    note = await by(walk, "office-main", "POST", "boards/garden/memory", {"content": "The left."})
    assert note.json()["answered_question"] is None, "without tags and source it is a note"
    answer = await by(walk, "office-main", "POST", "boards/garden/memory", reply)
    assert answer.json()["answered_question"] == asked["id"], answer.text
    assert (await walk.get(f"questions/{asked['id']}"))["answer"] == "The left."
    asked = await walk.post(ASK, {"content": "Which hedge?"})
    assert (await walk.post("boards/garden/memory", reply))["answered_question"] == asked["id"], "by a person"
    for _ in range(2):
        await walk.post(ASK, {"content": "Which hedge?"})
    answer = await by(walk, "office-main", "POST", "boards/garden/memory", reply)
    assert (answer.status_code, answer.json()["answered_question"]) == (201, None), "it could be of either"


@in_garden(
    "require_gateway_main_actor: 403 Only the dedicated gateway agent may call this endpoint.",
    lives="refusal not_gateway_main",
)
async def only_the_main_agent_of_the_gateway_speaks_to_leads(walk: Walk, _gateway: FakeGateway) -> None:
    for agent in ("digger", "garden-lead"):
        for path in (LEAD, "broadcasts"):
            answer = await by(walk, agent, "POST", path, {"content": "a"})
            assert (answer.status_code, answer.json()["code"]) == (403, "not_gateway_main"), answer.text
    answer = await by(walk, "notes", "POST", "broadcasts", {"content": "a"})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_gateway_main")
    answer = await by(walk, "office-main", "POST", "broadcasts", {"content": "a"})
    assert answer.status_code == 201, answer.text


@in_garden(
    "422: Gateway url is required; GatewayClientConfig(url=gateway.url, token=gateway.token)",
    lives="[[gateways]] url, token",
    changed="a gateway is declared in hub.toml: one without a URL is refused there",
)
async def a_gateway_has_a_url_and_a_token(walk: Walk, gateway: FakeGateway) -> None:
    assert (await walk.get("gateways/office"))["state"] == "ready"
    settings = walk.hub.settings.read_text()
    walk.hub.settings.write_text(settings.replace(f'url = "{gateway.url}"\n', ""))
    await walk.refused("POST", "reload", status=422, says="gateways.office.url: missing")
    walk.hub.settings.write_text(settings.replace(gateway.url, "http://office"))
    await walk.refused("POST", "reload", status=422, says="ws")


@in_garden(
    "require_gateway_board: 404 Board not found, 403 of another gateway",
    lives="refusals unknown_board, not_your_board",
)
async def a_board_is_known_and_of_the_gateway(walk: Walk, _gateway: FakeGateway) -> None:
    await walk.post("boards", {"name": "kitchen"})
    for board, status, code in (("nowhere", 404, "unknown_board"), ("kitchen", 403, "not_your_board")):
        answer = await by(walk, "office-main", "POST", f"boards/{board}/lead/message", {"content": "a"})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@coordination(
    "_ensure_and_message_board_lead: the lead is made where there is none; lead_created",
    lives="POST /v1/boards/{board}/lead/ensure",
)
async def a_board_without_a_lead_gets_one_with_the_first_message(walk: Walk) -> None:
    gateway = await walk.gateway()
    board = (await walk.post("boards", {"name": "garden", "gateway": "office"}))["id"]
    first = await walk.post(LEAD, {"content": "a"})
    assert first["lead_created"] and f"lead-{board}" in gateway.agents
    again = await walk.post(LEAD, {"content": "b"})
    assert (again["lead_created"], again["lead_agent_id"]) == (False, first["lead_agent_id"])
    assert (await walk.post("boards/garden/lead/ensure"))["state"] == "ready"
    assert (await walk.sql("SELECT count(*) FROM board_members WHERE is_lead")) == [(1,)]
    await walk.sql_refused(
        "INSERT INTO board_members (agent_id, board_id, is_lead, joined_at)"
        " SELECT id, :board, true, 0 FROM agents WHERE name = 'notes'",
        board=board,
    )


@coordination("422: Lead agent has no session key", lives="refusal no_session")
async def a_lead_without_a_session_gets_no_message(walk: Walk) -> None:
    await walk.gateway()
    await walk.post("boards", {"name": "desk"})
    await walk.post("boards/desk/agents", {"agent": "notes", "is_lead": True})
    await walk.sql("UPDATE agents SET device_id = NULL WHERE name = 'notes'")
    answer = await walk.send("POST", "boards/desk/lead/message", {"content": "a"})
    assert answer.status_code >= 400 and answer.json()["code"] == "no_session", answer.text


@in_garden(
    "payload.board_ids: where(col(Board.id).in_(payload.board_ids)); without them all boards of the gateway",
    lives=BROADCASTS,
)
@in_garden(
    "an id of board_ids that is no board of the gateway is left out",
    lives=BROADCASTS,
    changed="it is refused by its name among the results, as a slip of the pen would go unseen otherwise",
)
@in_garden(
    "GatewayLeadBroadcastBoardResult(board_id, lead_agent_id, lead_agent_name, ok, error); failed += 1",
    lives="answer of POST /v1/broadcasts",
)
async def a_broadcast_goes_to_the_boards_that_are_named_or_to_all(walk: Walk, gateway: FakeGateway) -> None:
    hedge = (await walk.post("boards", {"name": "hedge", "gateway": "office"}))["id"]
    await walk.post("boards/hedge/lead/ensure")
    gateway.fault("chat.send", "refused", GONE)
    found = await walk.post("broadcasts?wait_s=60", {"content": "a"})
    assert (found["sent"], found["failed"]) == (1, 1)
    good, bad = sorted(found["results"], key=lambda one: not one["ok"])
    assert (good["lead_agent_name"], good["error"], good["lead_agent_id"]) == (
        f"{good['board']}-lead",
        None,
        (await walk.agent(good["lead_agent_name"])).id,
    )
    assert "no longer exists" in bad["error"]
    assert (await walk.post(f"broadcasts/{found['id']}/resume?wait_s=60"))["sent"] == 2
    named = await walk.post("broadcasts?wait_s=60", {"content": "a", "board_ids": [hedge]})
    assert [one["board_id"] for one in named["results"]] == [hedge]
    assert (await walk.get(f"broadcasts/{named['id']}"))["boards"] == 1
    everybody = await walk.post("broadcasts?wait_s=60", {"content": "b"})
    assert [one["board"] for one in everybody["results"]] == ["garden", "hedge"]
    printed = await walk.cli("messages", "broadcast", "c", "--board", "hedge")
    assert [one["board"] for one in printed["results"]] == ["hedge"]
    for wrong in ("hedge", [7], []):
        body: dict[str, Any] = {"content": "a", "board_ids": wrong}
        await walk.refused("POST", "broadcasts", body, status=422, says="body.board_ids")
    both = {"content": "a", "board_ids": [hedge], "boards": ["garden"]}
    await walk.refused("POST", "broadcasts", both, status=422, says="another name of boards")
    await walk.post("users", {"name": "anna"})
    foreign = (await walk.send("POST", "boards?user=anna", {"name": "hers"})).json()["id"]
    body = {"content": "a", "board_ids": ["garden", "nowhere", foreign]}
    results = {one["board"]: one for one in (await walk.post("broadcasts?wait_s=60", body))["results"]}
    assert results["garden"]["ok"] and set(results) == {"garden", "nowhere", foreign}
    for name in ("nowhere", foreign):
        assert (results[name]["ok"], results[name]["code"]) == (False, "unknown_board")
        assert repr(name) in results[name]["error"]
    await walk.post("boards", {"name": "kitchen"})
    answer = await by(walk, "office-main", "POST", "broadcasts", {"content": "a", "board_ids": ["kitchen"]})
    (result,) = answer.json()["results"]
    assert (result["ok"], result["code"]) == (False, "not_your_board")


@coordination(
    "order_by(col(Board.created_at).desc())",
    lives="order of the results",
    changed="results are in the order of the boards' names",
)
async def the_results_of_a_broadcast_are_in_the_order_of_names(walk: Walk) -> None:
    await walk.gateway()
    for name in ("beds", "alley", "yard"):
        await walk.post("boards", {"name": name, "gateway": "office"})
    found = await walk.post("broadcasts?wait_s=0", {"content": "a"})
    assert [one["board"] for one in found["results"]] == ["alley", "beds", "yard"]


@in_garden("422: content is required", lives="refusal bad_params of a soul")
@in_garden("get_agent_soul: agents.files.get {agentId: agent_key(target), name: SOUL.md}", lives=SOULS)
@in_garden(
    "_gateway_file_content: a text, content, or file.content; else 502 Invalid gateway response",
    lives="refusal gateway_invalid",
)
@in_garden("normalized_content = content.strip()", lives="soul_writes.content")
@in_garden("update_agent_soul: agents.files.set {agentId, name: SOUL.md, content}", lives=SOULS)
@in_garden("GatewayOperation.SOUL_WRITE: 502", lives="refusal gateway_refused")
@in_garden("GatewayOperation.SOUL_READ: 502", lives="refusal gateway_refused")
async def a_soul_is_read_and_written_where_its_agent_lives(walk: Walk, gateway: FakeGateway) -> None:
    await walk.refusals(
        *(("PUT", SOUL, {"content": content}, 422, "may not be empty") for content in ("", " \n\t")),
        ("PUT", SOUL, {}, 422, "body.content: missing"),
    )
    assert gateway.agents["digger"].files["SOUL.md"] == DEFAULT_SOUL
    gateway.agents["digger"].files["SOUL.md"] = "I dig."
    assert (await walk.get(SOUL))["content"] == "I dig."
    asked = [one.params for one in gateway.asked if one.method == "agents.files.get"]
    assert asked[-1] == {"agentId": "digger", "name": "SOUL.md"}
    assert (await by(walk, "garden-lead", "GET", SOUL)).json()["content"] == "I dig."
    assert (await by(walk, "digger", "GET", "boards/garden/agents/garden-lead/soul")).status_code == 403
    await walk.refused("GET", "boards/garden/agents/nobody/soul", status=404, says="nobody")
    for payload in (None, {"agentId": "digger"}, {"file": {"content": 7}}):
        gateway.answer_once("agents.files.get", payload)
        await walk.refused("GET", SOUL, status=502, says="gateway_invalid")
    await walk.put(SOUL, {"content": " \n I dig deep.\n\n"})
    assert gateway.agents["digger"].files["SOUL.md"] == "I dig deep."
    assert (await walk.put(SOUL, {"content": "I dig."}))["state"] == "done"
    assert gateway.agents["digger"].files["SOUL.md"] == "I dig."
    asked = [one.params for one in gateway.asked if one.method == "agents.files.set"]
    assert (asked[-1]["agentId"], asked[-1]["name"], asked[-1]["content"]) == ("digger", "SOUL.md", "I dig.")
    wrong = {"content": "a", "expected_sha256": "0" * 64}
    await walk.refused("PUT", SOUL, wrong, status=409, says="soul_conflict")
    assert (await by(walk, "digger", "PUT", SOUL, {"content": "I rest."})).status_code == 403
    gateway.fault("agents.files.set", "refused", GONE)
    await walk.refused("PUT", SOUL, {"content": "I water."}, status=502, says="no longer exists")
    ((message, _),) = await happened(walk, "agent.soul.failed")
    assert "no longer exists" in message
    gateway.fault("agents.files.get", "refused", GONE)
    await walk.refused("GET", SOUL, status=502, says="no longer exists")
    await gateway.stop()
    await walk.refused("GET", SOUL, status=503, says="gateway_unreachable")


@in_garden(
    "target.soul_template, target.updated_at: committed before it is written at the gateway",
    lives="soul_writes, soul_versions",
    changed="a written text is a version in the history; a write that cannot be done now is done later",
)
async def a_soul_for_a_gateway_that_is_away_is_kept_and_written_later(
    walk: Walk, gateway: FakeGateway
) -> None:
    await gateway.stop()
    answer = await walk.send("PUT", f"{SOUL}?wait_s=0", {"content": "I dig."})
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting"), answer.text
    await gateway.start()
    write = await walk.coordination.soul_writer.settled_or(answer.json()["id"], 120.0)
    assert (write.state, gateway.agents["digger"].files["SOUL.md"]) == ("done", "I dig.")
    (version, *_) = (await walk.get(f"{SOUL}/history"))["versions"]
    assert (version["kind"], version["write_id"]) == ("written", write.id)
    assert (await walk.get(f"{SOUL}/history/{version['seq']}"))["content"] == "I dig."


@in_garden(
    "agent.soul.updated: SOUL.md updated for {target.name}. Reason: {reason} Source: {source_url}",
    lives=ACTIVITY,
)
async def a_written_soul_is_an_event_of_its_writer_with_reason_and_source(
    walk: Walk, _gateway: FakeGateway
) -> None:
    lead = (await walk.agent("garden-lead")).id
    told = {"reason": " it was vague ", "source_url": " https://garden.example/rules "}
    answer = await by(walk, "garden-lead", "PUT", SOUL, {"content": "I dig."} | told)
    assert (answer.status_code, answer.json()["reason"]) == (200, "it was vague"), answer.text
    await walk.put(SOUL, {"content": "I dig and water.", "reason": " "})
    assert await happened(walk, "agent.soul.updated") == [
        ("SOUL.md updated for digger.", (await walk.agent("digger")).id),
        ("SOUL.md updated for digger. Reason: it was vague Source: https://garden.example/rules", lead),
    ]
    await walk.refused("PUT", SOUL, {"content": "a", "reason": "x" * 1_001}, status=422, says="reason")


@in_garden(
    "ask_user_via_gateway_main: session_key=GatewayAgentIdentity.session_key(gateway), deliver=True",
    lives=QUESTIONS,
)
@in_garden(
    "LEAD REQUEST: ASK USER; Board, Board ID, From lead, Correlation ID, Preferred channel",
    lives=LETTER,
    changed=ITS_OWN_WORDS,
)
@in_garden(
    "payload.reply_tags or ['gateway_main', 'user_reply'], reply_source or 'user_via_gateway_main'",
    lives="questions.reply_tags, questions.reply_source",
)
@in_garden(
    "GatewayMainAskUserResponse(board_id, main_agent_id, main_agent_name)",
    lives="answer of POST /v1/boards/{board}/ask-user",
)
@in_garden(
    "Please reach the user via your configured OpenClaw channel(s) (Slack/SMS/etc), or in board chat",
    lives=LETTER,
)
async def a_question_to_the_user_goes_to_the_main_agent_with_lead_board_and_tags(
    walk: Walk, gateway: FakeGateway
) -> None:
    answer = await by(walk, "garden-lead", "POST", ASK, {"content": "Which hedge?"})
    assert answer.status_code == 201, answer.text
    await walk.coordination.sent.delivered(answer.json()["message_id"], 60.0)
    office = (await walk.get("gateways/office"))["id"]
    (question,) = sent(gateway)
    assert (question["sessionKey"], question["deliver"]) == (f"agent:mc-gateway-{office}:main", True)
    foreign = await by(walk, "digger", "POST", ASK, {"content": "a"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
    await walk.refused("POST", ASK, {}, status=422, says="body.content: missing")
    more = {"preferred_channel": " slack ", "correlation_id": "order-17"}
    asked = (await by(walk, "garden-lead", "POST", ASK, {"content": " Which hedge? "} | more)).json()
    await walk.coordination.sent.delivered(asked["message_id"], 60.0)
    text = str(sent(gateway)[-1]["message"])
    assert text.startswith(f"A LEAD ASKS THE USER\nBoard: garden\nBoard ID: {asked['board_id']}\n")
    lines = {"From: lead garden-lead", "Preferred channel: slack", "Correlation ID: order-17", "Which hedge?"}
    assert lines <= set(text.splitlines())
    plain = await walk.post(ASK, {"content": "And when?", "preferred_channel": " "})
    await walk.coordination.sent.delivered(plain["message_id"], 60.0)
    assert "Preferred channel" not in sent(gateway)[-1]["message"]
    wrong: dict[str, Any] = {"content": "a", "preferred_channel": "x" * 129}
    await walk.refused("POST", ASK, wrong, status=422, says="preferred_channel")
    asked = await walk.post(ASK, {"content": "Which hedge?"})
    assert (asked["reply_tags"], asked["reply_source"]) == (
        ["gateway_main", "user_reply"],
        "user_via_gateway_main",
    )
    own = await walk.post(ASK, {"content": "a", "reply_tags": ["hedge"], "reply_source": "user"})
    assert (own["reply_tags"], own["reply_source"]) == (["hedge"], "user")
    await walk.post(f"questions/{own['id']}/answer", {"answer": "The left one."})
    (item,) = (await walk.get("boards/garden/memory", tag="hedge"))["memory"]
    assert (item["content"], item["source"]) == ("The left one.", "user")
    wrong = {"content": "a", "reply_tags": [f"t{n}" for n in range(17)]}
    await walk.refused("POST", ASK, wrong, status=422, says="16")
    asked = await walk.post(ASK, {"content": "Which hedge?"})
    assert asked["board_id"] == (await walk.get("boards/garden"))["id"]
    assert (asked["main_agent_id"], asked["main_agent_name"]) == (
        (await walk.agent("office-main")).id,
        "office-main",
    )
    await walk.post("boards", {"name": "kitchen"})
    alone = await walk.post("boards/kitchen/ask-user", {"content": "a"})
    assert (alone["main_agent_id"], alone["main_agent_name"]) == (None, None)
    walk.coordination.courier.to_gateway.reply_url = "http://hub:8000"
    asked = await walk.post(ASK, {"content": "Which hedge?"})
    await walk.coordination.sent.delivered(asked["message_id"], 60.0)
    text = str(sent(gateway)[-1]["message"])
    assert "Ask the user over the channels that you have (Slack, SMS" in text
    assert "Whom you cannot reach there, you ask in the chat of this board." in text
    item = {"content": "The left one.", "tags": ["gateway_main", "user_reply"], "reply_to": asked["id"]}
    answer = await by(walk, "office-main", "POST", "boards/garden/memory", item)
    assert answer.json()["answered_question"] == asked["id"], answer.text
    assert (await walk.get(f"questions/{asked['id']}"))["answer"] == "The left one."
    await walk.refused(
        "POST", f"questions/{asked['id']}/answer", {"answer": "No."}, status=409, says="question_settled"
    )


@in_garden(
    "GatewayOperation.ASK_USER_DISPATCH: 502",
    lives="questions.state",
    changed="a question is shown on the devices of its user as well: it stays open without the gateway",
)
async def a_question_is_answered_without_the_gateway(walk: Walk, gateway: FakeGateway) -> None:
    await gateway.stop()
    asked = await walk.post(ASK, {"content": "Which hedge?"})
    assert asked["state"] == "open"
    await walk.ask("questions.answer", question_id=asked["id"], answer="The left one.")
    assert (await walk.cli("ask", "show", asked["id"]))["answer"] == "The left one."
    await walk.ask_refused("questions.answer", question_id=asked["id"], answer="No.", says="answer")


@in_garden(
    "Agent, Board and activity_events of an agent at a gateway", lives="GET /v1/agents/{name}/as/coordination"
)
async def an_agent_is_read_in_the_columns_of_the_document(walk: Walk, _gateway: FakeGateway) -> None:
    await walk.put(SOUL, {"content": "I dig."})
    board, office = (await walk.get("boards/garden"))["id"], (await walk.get("gateways/office"))["id"]
    document = await walk.get("agents/digger/as/coordination")
    assert (
        document["board_id"],
        document["gateway_id"],
        document["openclaw_session_id"],
        document["soul"],
    ) == (board, office, "agent:digger:main", {"soul_template": "I dig."})
    assert (
        document["boards"]["name"],
        document["boards"]["gateway_id"],
        document["activity_events"][0]["event_type"],
    ) == ("garden", office, "agent.soul.updated")
    assert (await walk.cli("agents", "status", "digger", "--as", "coordination"))["board_id"] == board
    own = (await walk.ask("status.get", agent_id="notes", **{"as": "coordination"}))["agent"]
    assert (own["board_id"], own["boards"], own["openclaw_session_id"]) == (None, None, None)
    path = "agents/digger/as/coordination"
    await walk.refused("PATCH", path, {"board_id": "b"}, status=422, says="POST /v1/boards/{board}/agents")
    events = f"{path}/activity_events"
    (event,) = (await walk.get(events, event_type="agent.soul."))["activity_events"]
    assert event["message"] == "SOUL.md updated for digger."
    await walk.refusals(
        ("GET", f"{events}?event_type=a%20b", None, 422, "query.event_type"),
        ("GET", f"{events}?state=FAILED", None, 422, "filters: event_type"),
        ("PATCH", path, {}, 422, "say what to write: name"),
    )
    assert (await walk.patch(path, {"name": "The digger"}))["name"] == "The digger"


@in_garden("an entry of activity_events is of an agent of one user", lives="GET /v1/activity")
async def the_activity_of_others_is_not_seen(walk: Walk, _gateway: FakeGateway) -> None:
    await walk.post(NUDGE, {"message": "a"})
    await walk.post("users", {"name": "anna"})
    mine = (await walk.get("activity", user="owner", event="agent.nudge."))["activity"]
    assert [one["message"] for one in mine] == ["Nudge sent to digger."]
    assert (await walk.get("activity", user="anna"))["activity"] == []
    token = (await walk.post("operator-tokens?user=anna", {"name": "hers", "role": "viewer"}))["token"]
    async with over_tcp(walk.hub, token) as client:
        assert (await client.get("/v1/activity")).json()["activity"] == []
        assert (await client.get("/v1/activity", params={"agent": "digger"})).status_code == 404
