"""The calendar document: an agent with one runtime status, by which a calendar wakes it."""

from typing import Final

import anyio

from protocol.lifecycles import AgentStatus, RunState
from protocol.tool_calls import Answer
from tests.seeds.walk import OF_WALK, Document, Walk
from tests.support.hub import over_tcp
from tests.support.wire import until

calendar = Document("calendar")
AS: Final = "agents/notes/as/calendar"
PATCH: Final = "PATCH /v1/agents/{name}/as/calendar"


@calendar(
    "class AgentStatus: idle, on_call, exhausted, offline", lives=f"{PATCH}, status.set, hub agents status"
)
async def words_are_read_as_written(walk: Walk) -> None:
    for word in ("on_call", "idle", "exhausted", "offline", "idle"):
        assert (await walk.patch(AS, {"status": word}))["status"] == word
        assert (await walk.get(AS))["status"] == word
        document = await walk.ask("status.get", agent_id="notes", **{"as": "calendar"})
        assert document["agent"]["status"] == word
        assert (await walk.cli("agents", "status", "notes", "--as", "calendar"))["status"] == word
    await walk.ask("status.set", agent_id="notes", **{"as": "calendar", "set": {"status": "on_call"}})
    assert (await walk.get(AS))["status"] == "on_call"
    await walk.refused(
        "PATCH", AS, {"status": "asleep"}, status=422, says="idle, on_call, busy, exhausted, offline"
    )
    await walk.cli_refused(
        "agents",
        "status",
        "notes",
        "--as",
        "calendar",
        "--set",
        "status=asleep",
        says="has no value 'asleep'",
    )


@calendar("AgentStatus.BUSY", lives="derived from the runs of the agent")
async def busy_is_an_agent_that_executes_a_run(walk: Walk) -> None:
    await walk.hub.run("r-1")
    assert (await walk.get(AS))["status"] == "idle"
    await walk.hub.move("r-1", RunState.RUNNING)
    assert (await walk.get(AS))["status"] == "busy"
    await walk.refused("PATCH", AS, {"status": "idle", "mood": 1}, status=422, says="mood")
    await walk.hub.move("r-1", RunState.COMPLETED)
    await walk.refused("PATCH", AS, {"status": "busy"}, status=409, says="legal: idle, on_call")


@calendar("AgentStatus.OFFLINE", lives="agent_states.connectivity, agent_states.reported_connectivity")
@calendar("managed by heartbeat / calendar wakeup logic", lives="agent_states.availability")
async def offline_is_of_one_agent_until_it_is_taken_back(walk: Walk) -> None:
    await walk.post("agents", {"name": "mail", "device": "desk"} | OF_WALK)
    await walk.patch(AS, {"status": "offline"})
    assert (await walk.get("agents/mail/as/calendar"))["status"] == "idle"
    desk = await walk.hub.device("desk")
    await walk.hub.disconnect(desk)
    await walk.hub.connect(desk)
    assert (await walk.get(AS))["status"] == "offline"
    assert (await walk.patch(AS, {"status": "idle"}))["status"] == "idle"
    await walk.hub.disconnect(desk)
    assert (await walk.patch(AS, {"status": "on_call"}))["status"] == "offline"
    await walk.hub.connect(desk)
    assert (await walk.get(AS))["status"] == "on_call"


@calendar("exhausted_at: when the agent entered EXHAUSTED state", lives="agent_states.exhausted_at")
@calendar("class ExhaustReason: rate_limit, billing", lives=f"agent_states.exhaust_reason; {PATCH}")
@calendar("exhaust_reason: nullable=True", lives="agent_states.exhaust_reason")
@calendar("recovery_at: estimated recovery time from EXHAUSTED to IDLE", lives="agent_states.recovery_at")
@calendar("recovery_at: nullable", lives="agent_states.recovery_at, agent_states.probe_at; hub agents status")
@calendar("exhaust_reason: rate_limit, billing", lives="PATCH /v1/agents/{name}/status, status.set")
async def an_exhaustion_has_a_reason_a_start_and_a_recovery_time(walk: Walk) -> None:
    assert (await walk.get(AS))["exhausted_at"] is None
    assert (await walk.patch(AS, {"status": "exhausted"}))["exhausted_at"] is not None
    assert (await walk.patch(AS, {"status": "idle"}))["exhausted_at"] is None
    await walk.refused(
        "PATCH", AS, {"exhausted_at": "2100-01-01T00:00:00Z"}, status=422, says="is not written here"
    )
    for reason in ("rate_limit", "billing"):
        written = await walk.patch(AS, {"status": "exhausted", "exhaust_reason": reason})
        assert (written["status"], written["exhaust_reason"]) == ("exhausted", reason)
    await walk.sql_refused("UPDATE agent_states SET exhaust_reason = 'tired'")
    await walk.patch(AS, {"status": "idle"})
    assert (await walk.patch(AS, {"status": "exhausted"}))["exhaust_reason"] is None
    assert (await walk.patch(AS, {"exhaust_reason": None}))["status"] == "exhausted"
    until = "2100-01-01T00:00:00.000Z"
    assert (await walk.patch(AS, {"status": "exhausted", "recovery_at": until}))["recovery_at"] == until
    says = "belong to an exhausted agent"
    await walk.patch(AS, {"status": "idle"})
    await walk.refusals(
        ("PATCH", AS, {"recovery_at": until}, 422, says),
        ("PATCH", AS, {"recovery_at": "soon"}, 422, "expected an instant with its zone"),
    )
    past = {"status": "exhausted", "recovery_at": "2001-01-01T00:00:00Z"}
    await walk.refused(
        "PATCH",
        AS,
        past,
        status=422,
        says="it lies in the past; give a later time, or make the agent available (idle)",
    )
    assert (await walk.get(AS))["probe_at"] is None
    await walk.sql(
        "UPDATE agent_states SET availability = 'exhausted', exhaust_reason = 'billing',"
        " exhausted_at = 1000, probe_at = 2000"
    )
    document = await walk.get(AS)
    assert (document["recovery_at"], document["probe_at"]) == (None, "1970-01-01T00:00:02.000Z")
    assert (await walk.get("agents/notes/status"))["probe_at"] == "1970-01-01T00:00:02Z"
    await walk.refused("PATCH", AS, {"probe_at": None}, status=422, says="probe_at is not written here")
    written = {"availability": "exhausted", "exhaust_reason": None}
    assert (await walk.patch("agents/notes/status", written))["exhaust_reason"] is None
    for reason in ("budget", "tired"):
        says = "expected one of rate_limit, billing, or null"
        await walk.refused("PATCH", AS, {"exhaust_reason": reason}, status=422, says=says)
        answer = await walk.send("PATCH", "agents/notes/status", {"exhaust_reason": reason})
        assert answer.status_code == 422 and "rate_limit" in answer.text, answer.text
    await walk.sql("UPDATE agent_states SET exhaust_reason = 'budget'")
    assert (await walk.get(AS))["exhaust_reason"] == "billing"


@calendar("created_at: server_default=func.now()", lives="agents.created_at")
@calendar("status: default=AgentStatus.IDLE", lives="agent_states.availability")
@calendar("user_id: one-to-one FK to users.id", lives="agents.user_id, [limits] agents_per_user")
@calendar(
    "last_heartbeat: most recent heartbeat received from this agent", lives="agent_states.last_heartbeat_at"
)
async def an_agent_belongs_to_a_user_is_idle_at_first_and_keeps_its_creation(walk: Walk) -> None:
    assert (await walk.get(AS))["created_at"].endswith("Z")
    await walk.sql_refused("UPDATE agents SET created_at = NULL")
    await walk.post("agents", {"name": "mail", "device": "desk"} | OF_WALK)
    assert (await walk.get("agents/mail/as/calendar"))["status"] == "idle"
    assert await walk.sql("SELECT count(*) FROM agents WHERE user_id IS NULL") == [(0,)]
    await walk.sql_refused("UPDATE agents SET user_id = NULL", "UPDATE agents SET user_id = 'nobody'")
    assert (await walk.get(AS))["last_heartbeat"] is None
    await walk.sql("UPDATE agent_states SET last_heartbeat_at = 1000")
    assert (await walk.get(AS))["last_heartbeat"] == "1970-01-01T00:00:01.000Z"
    await walk.refused("PATCH", AS, {"last_heartbeat": None}, status=422, says="heartbeats of the device")


@calendar("agent_id: the $AGENT_ID value from OpenClaw, globally unique", lives="agents.external_id, UNIQUE")
@calendar("agent_id, claw_identifier: String(128)", lives="agents.external_id, agents.instance_id")
async def the_identifiers_of_an_agent_are_unique_and_have_at_most_128_characters(walk: Walk) -> None:
    await walk.post("agents", {"name": "mail", "device": "desk", "external_id": "claw-7"} | OF_WALK)
    assert (await walk.get("agents/mail/as/calendar"))["agent_id"] == "claw-7"
    assert (await walk.get("agents/external:claw-7"))["name"] == "mail"
    other = {"name": "more", "device": "desk", "external_id": "claw-7"} | OF_WALK
    await walk.refused("POST", "agents", other, status=409, says="external_id: the agent 'mail'")
    await walk.sql_refused("UPDATE agents SET external_id = 'claw-7'")
    await walk.patch("agents/mail", {"external_id": "x" * 128, "instance_id": "y" * 128})
    assert (await walk.get("agents/mail/as/calendar"))["claw_identifier"] == "y" * 128
    await walk.refusals(
        *(("PATCH", "agents/mail", {key: "z" * 129}, 422, key) for key in ("external_id", "instance_id"))
    )


@calendar(
    "uses Agent status to decide whether to wake an agent for scheduled slots",
    lives="schedules, calendar_wakeups",
)
async def slots_of_an_agent_are_listed_with_the_reason_why_it_is_not_woken(walk: Walk) -> None:
    slot = {"label": "standup", "at": "2100-01-01T08:00:00+00:00", "duration_s": 900}
    await walk.post("agents", {"name": "mail", "device": "desk", "slots": [slot]} | OF_WALK)
    assert "2100-01-01" in str(await walk.get("agents/mail/slots"))
    over = {"name": "late", "device": "desk", "slots": [slot | {"at": "2001-01-01T08:00:00+00:00"}]} | OF_WALK
    await walk.refused("POST", "agents", over, status=422, says="slots.0.at: it is in the past")


@calendar("agent_id: $AGENT_ID, by which an agent is woken", lives="agent.wake, agents.external_id")
async def a_wake_names_the_agent_as_its_program_does(walk: Walk) -> None:
    slot = {"label": "standup", "every_s": 3600, "duration_s": 900}
    given = {"name": "mail", "device": "desk", "external_id": "claw-7", "slots": [slot]}
    mail = await walk.post("agents", given | OF_WALK)
    yes = Answer(result={"woken": True})
    link = await walk.hub.connect(await walk.hub.device("desk"), capabilities=["agent.wake"], answers=[yes])
    async with anyio.create_task_group() as tasks:
        await tasks.start(walk.hub.work.wakes.serve)
        await walk.hub.pass_days(1)
        walk.hub.work.wakes.recheck()
        await until(lambda: bool(link.calls))
        tasks.cancel_scope.cancel()
    (call,) = link.calls[:1]
    named = {name: call.data[name] for name in ("external_id", "agent_id")}
    assert (call.action, named) == ("agent.wake", {"external_id": "claw-7", "agent_id": mail["id"]})


@calendar(
    "agent_id, claw_identifier: nullable=False", lives=f"agents.external_id, agents.instance_id; {PATCH}"
)
async def identifiers_are_written(walk: Walk) -> None:
    read = await walk.get(AS)
    assert (read["agent_id"], read["claw_identifier"]) == (read["id"], "")
    given = {"agent_id": "claw-7", "claw_identifier": "server-1"}
    assert (await walk.patch(AS, given)).items() >= given.items()
    assert (await walk.get("agents/external:claw-7"))["instance_id"] == "server-1"
    assert (await walk.patch(AS, {"claw_identifier": ""}))["claw_identifier"] == ""
    for name in given:
        await walk.refusals(
            ("PATCH", AS, {name: None}, 422, f"{name}: may not be null"),
            ("PATCH", AS, {name: "x" * 129}, 422, f"{name}: "),
            ("PATCH", AS, {name: "nul\0"}, 422, f"{name}: a text has no character"),
        )
    await walk.refused("PATCH", AS, {"user_id": "eve"}, status=422, says="user_id is not written here")
    assert (await walk.patch(AS, {"user_id": read["user_id"]}))["user_id"] == read["user_id"]


@calendar(
    "user_id = Column(ForeignKey, nullable=False): an agent is created with its user",
    lives="agents.user_id, POST /v1/agents/as/calendar",
)
async def an_agent_is_created_with_the_user_of_the_caller(walk: Walk) -> None:
    own = {"user_id": (await walk.get(AS))["user_id"]}
    given = own | {"agent_id": "claw-8", "claw_identifier": "server-1"}
    assert (await walk.post("agents/as/calendar", given)).items() >= given.items()
    asked = given | {"agent_id": "claw-9", "as": "calendar"}
    assert (await walk.ask("agents.create", **asked))["agent"]["user_id"] == own["user_id"]
    other = given | {"agent_id": "claw-10", "user_id": await walk.hub.user("eve")}
    says = "user_id is not written here"
    await walk.refused("POST", "agents/as/calendar", other, status=422, says=says)
    await walk.ask_refused("agents.create", says=says, **other | {"as": "calendar"})


@calendar("an agent is written as it was read", lives=PATCH)
async def a_whole_agent_that_is_sent_back_stays_as_it_is(walk: Walk) -> None:
    await walk.patch(AS, {"status": "exhausted", "recovery_at": "2100-01-01T00:00:00Z"})
    read = await walk.get(AS)
    moments = {"exhausted_at": "2026-01-05T10:00:00+01:00", "recovery_at": "2100-01-01T01:00:00+01:00"}
    assert await walk.patch(AS, read | moments) == read
    assert (await walk.patch(AS, read | {"status": "idle"}))["recovery_at"] is None
    desk = await walk.hub.device("desk")
    await walk.hub.disconnect(desk)
    away = await walk.get(AS)
    assert (away["status"], await walk.patch(AS, away | {"claw_identifier": "x"})) == (
        "offline",
        away | {"claw_identifier": "x"},
    )
    await walk.hub.connect(desk)
    assert (await walk.get(AS))["status"] == "idle"


@calendar(
    "Agent.status == AgentStatus.IDLE: agents by status",
    lives="GET /v1/agents?status=, GET /v1/agents/as/calendar?status=, hub agents ls --status",
)
async def agents_of_a_status_are_read_in_one_question(walk: Walk) -> None:
    for name in ("busy", "exhausted", "idle", "offline", "on_call"):
        await walk.post("agents", {"name": name, "device": "desk"} | OF_WALK)
        if name == "busy":
            await walk.hub.run("r-1", agent=name)
            await walk.hub.move("r-1", RunState.RUNNING)
        elif name != "idle":
            await walk.patch(f"agents/{name}/as/calendar", {"status": name})
    for word in AgentStatus:
        expected = sorted({str(word), *(["notes"] if word is AgentStatus.IDLE else ())})
        documents = await walk.pages("agents/as/calendar", "agents", status=str(word), limit=1)
        assert [one["status"] for one in documents] == [word] * len(expected)
        assert [one["id"] for one in documents] == [(await walk.agent(name)).id for name in expected]
        for query in ({"status": str(word)}, {"status": str(word), "as": "calendar"}):
            assert [one["name"] for one in await walk.pages("agents", "agents", limit=1, **query)] == expected
        listed = await walk.cli("agents", "ls", "--status", word)
        assert [one["name"] for one in listed["agents"]] == expected
    assert (await walk.get("agents/notes/as/calendar")) in (await walk.get("agents/as/calendar"))["agents"]
    known = "values: idle, on_call, busy, exhausted, offline"
    await walk.refusals(
        *(
            ("GET", wrong, None, 404 if "no vocabulary" in says else 422, says)
            for wrong, says in (
                ("agents?status=asleep", f"calendar.status has no value 'asleep'; {known}"),
                ("agents/as/calendar?status=asleep", known),
                ("agents/as/calendar?state_detail=READY", "query.state_detail: agents have none in calendar"),
                (
                    "agents/as/runlog?status=idle",
                    "agents have none in runlog, but in: calendar, orchestrator",
                ),
                ("agents?status=idle&as=klingon", "query.as: expected one of"),
                ("agents/as/klingon", "there is no vocabulary 'klingon'"),
                ("agents/as/calendar?as=calendar", "query.as: there is no such parameter"),
                ("agents/as/calendar?limit=0", "query.limit"),
            )
        )
    )


@calendar("class Agent(Base): agent_id, claw_identifier, status", lives="POST /v1/agents/as/calendar")
async def an_agent_is_created_in_the_words_of_the_document(walk: Walk) -> None:
    given = {"agent_id": "claw:7", "claw_identifier": "server-1"}
    made = await walk.post("agents/as/calendar", given)
    assert made.items() >= given.items()
    assert (await walk.get("agents/claw-7"))["external_id"] == "claw:7"
    assert await walk.get("agents/external:claw:7/as/calendar") == made
    again = given | {"agent_id": "claw:8", "status": "exhausted", "exhaust_reason": "billing"}
    assert (await walk.ask("agents.create", **{"as": "calendar"}, **again))["agent"].items() >= again.items()
    await walk.refusals(
        ("POST", "agents/as/calendar", given, 409, "is called that already"),
        *(
            ("POST", "agents/as/calendar", given | {"agent_id": "c-9"} | wrong, 422, says)
            for wrong, says in (
                ({"agent_id": None}, "agent_id: missing"),
                ({"agent_id": "x" * 129}, "agent_id: "),
                ({"claw_identifier": None}, "claw_identifier: missing"),
                ({"status": "asleep"}, "status"),
                ({"user_id": "eve"}, "user_id is not written here"),
            )
        ),
    )


PLANNER: Final = "agents/planner/as/calendar"


async def _reads(walk: Walk, status: str) -> None:
    """Wait until the agent ``planner`` has this status."""
    with anyio.fail_after(10):
        while (await walk.get(PLANNER))["status"] != status:
            await anyio.lowlevel.checkpoint()


@calendar(
    "status: managed by heartbeat; last_heartbeat: received from this agent",
    lives="POST /v1/agents/{name}/heartbeat, POST /v1/agent/heartbeat, hub agents heartbeat",
)
async def an_agent_without_a_device_sends_its_heartbeats_over_http(walk: Walk) -> None:
    await walk.post("agents", {"name": "planner"})
    assert (await walk.get(PLANNER))["status"] == "offline"
    for status in ("idle", "on_call", "busy", "idle"):
        beat = await walk.post("agents/planner/heartbeat", {"status": status, "resource_usage": {"cpu": 0.5}})
        assert (beat["connectivity"], beat["offline_after_s"], beat["activity"]) == (
            "online",
            45.0,
            "saturated" if status == "busy" else "idle",
        )
        document = await walk.get(PLANNER)
        assert (document["status"], document["last_heartbeat"][:19]) == (
            status,
            beat["last_heartbeat_at"][:19],
        )
    assert (await walk.get("agents/planner/status"))["resource_usage"] == {"cpu": 0.5}
    walk.hub.clock.advance(46)
    await _reads(walk, "offline")
    beat = await walk.cli("agents", "heartbeat", "planner", "--status", "on_call")
    assert (beat["connectivity"], beat["availability"]) == ("online", "on_call")
    token = (await walk.post("agents/planner/tokens", {}))["token"]
    async with over_tcp(walk.hub, token) as planner:
        until = "2026-01-20T00:00:00Z"
        spent = {"status": "exhausted", "exhaust_reason": "billing", "recovery_at": until}
        answer = await planner.post("/v1/agent/heartbeat", json=spent)
        assert answer.is_success and answer.json()["recovery_at"] == until, answer.text
        assert (await planner.post("/v1/agents/planner/heartbeat")).status_code == 403
    document = await walk.get(PLANNER)
    assert (document["status"], document["exhaust_reason"]) == ("exhausted", "billing")
    await walk.refusals(
        *(
            ("POST", "agents/planner/heartbeat", body, code, says)
            for body, code, says in (
                ({"status": "asleep"}, 422, "idle"),
                ({"recovery_at": "2100-01-01T00:00:00Z"}, 422, "they belong to the status exhausted"),
                ({"status": "exhausted", "recovery_at": "2001-01-01T00:00:00Z"}, 422, "it lies in the past"),
                ({"resource_usage": {"log": "x" * 5_000}}, 413, "resource_usage_bytes"),
                ({"mood": "fine"}, 422, "mood"),
            )
        ),
        ("POST", "agents/notes/heartbeat", None, 422, "works at device 'desk'"),
        ("POST", "agents/nobody/heartbeat", None, 404, "there is no agent 'nobody'"),
        ("POST", "agent/heartbeat", None, 403, "agent"),
    )
    answers = [(await walk.send("POST", "agents/planner/heartbeat")).status_code for _ in range(40)]
    assert (answers[0], answers[-1]) == (200, 429)
    await walk.post("agents/planner/terminate")
    await walk.refused("POST", "agents/planner/heartbeat", status=409, says="terminated, for good")


@calendar(
    "user_id: unique=True, each user has at most one agent",
    lives="[limits] agents_per_user = 1",
    changed="an agent for each user is a setting: by default a user has up to 1000",
)
async def a_user_has_at_most_one_agent_if_the_limit_says_so(walk: Walk) -> None:
    limit = "[limits]\nagents_per_user = 1\n"
    settings = walk.hub.settings.read_text().replace("[limits]\n", limit)
    mine = '[[agents]]\nname = "a"\nuser = "owner"\n'
    hers = '[[agents]]\nname = "b"\nuser = "anna"\n'
    walk.hub.settings.write_text(f"{settings}{hers}")
    await walk.post("reload")
    for more in ({"name": "more"}, {"name": "more", "user": "anna"}):
        says = "agents of this user: 1, the most is 1; terminated ones count (agents_per_user)"
        await walk.refused("POST", "agents", more, status=409, says=says)
    walk.hub.settings.write_text(f"{settings}{hers}{mine}")
    says = "user 'owner' has 1 agents of the API, and would have more than 1"
    await walk.refused("POST", "reload", status=422, says=says)
    check = ("check", "--against-running", str(walk.hub.settings))
    await walk.cli_refused(*check, says="agents.a.name: user 'owner' has 1 agents of the API")
    walk.hub.settings.write_text(f"{settings}{hers}{hers.replace('b', 'c')}")
    says = "agents.c.name: user 'anna' has more than 1 agents (agents_per_user)"
    await walk.cli_refused("check", str(walk.hub.settings), says=says)
    await walk.refused("POST", "reload", status=422, says="user 'anna' has more than 1 agents")
    assert {agent["name"] for agent in (await walk.get("agents"))["agents"]} == {"b", "notes"}
    await walk.delete("agents/notes")
    walk.hub.settings.write_text(f"{settings}{hers}{mine}")
    await walk.post("reload")
    assert {agent["name"] for agent in (await walk.get("agents"))["agents"]} == {"a", "b"}
