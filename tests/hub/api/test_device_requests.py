"""Requests of devices about their agents: creation, configuration, status, samples and boards."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from hub.agents.config_writing import ConfigWriter
from hub.api import device
from hub.api.resources.agent_configs import AgentConfigsResource as ConfigsResource
from hub.api.resources.device_events import ConnectionsResource
from hub.base.clock import epoch_ms
from hub.links.key_rotation import KeyRotation
from protocol.agent_status import Axis
from protocol.codec import JSON
from protocol.coordination import EventName, Response
from protocol.errors import ErrorCode, LocalProtocolError
from protocol.frame import Frame
from protocol.ids import BoardId, RunId, UserId
from protocol.lifecycles import RunState
from protocol.work import RunCheckpoint
from storage import audit
from storage.agents import agent_states, agents, capabilities, checkpoints, configs
from storage.agents.config_changes import ConfigLimits
from storage.coordination import boards
from storage.devices import users
from storage.runs import runs
from storage.runs.runs import RunRow
from tests.support import stored
from tests.support.hearing import Hearers
from tests.support.link import FakeLink
from tests.support.requests import ask, refused, result
from tests.support.runs import MODERN, Bench, agent, bench, folder, store

__all__ = ["agent", "bench", "store"]


MAIL: dict[str, Any] = {
    "name": "mail",
    "paths": ["mail"],
    "data_types": ["tasks"],
    "prompt": "Find {{ project }}.",
    "config": {"project": "apollo"},
    "type": "PLANNER",
}


async def test_agent_created_by_a_device_runs_on_the_device(bench: Bench) -> None:
    made = (await result(bench, "agents.create", **MAIL))["agent"]
    assert (made["name"], made["type"], made["source"]) == ("mail", "PLANNER", "api")
    assert (made["lifecycle"], made["configuration"]) == ("active", {"project": "apollo"})
    row = await bench.store.read(agents.get_agent, made["agent_id"])
    assert (row.device_id, row.user_id) == (bench.agent.device_id, bench.agent.user_id)
    (entry, *_) = await bench.store.read(audit.list_entries, limit=1)
    assert (entry.event, entry.actor) == ("agent.created", f"device:{bench.agent.device_id}")


async def test_device_updates_and_deletes_the_created_agent(bench: Bench) -> None:
    made = (await result(bench, "agents.create", **MAIL))["agent"]
    told = await result(bench, "agents.update", agent_id="mail", priority=3, rev=made["rev"])
    late = await refused(bench, "agents.update", agent_id="mail", priority=4, rev=made["rev"])
    assert late.code == ErrorCode.CHANGED_MEANWHILE
    assert (told["agent"]["priority"], told["agent"]["prompt"]) == (3, "Find {{ project }}.")
    assert (await result(bench, "agents.get", agent_id=made["agent_id"])) == told
    assert (await result(bench, "agents.delete", agent_id="mail"))["agent"]["name"] == "mail"
    assert (await refused(bench, "agents.get", agent_id="mail")).code == ErrorCode.UNKNOWN_AGENT
    assert len((await result(bench, "agents.list"))["agents"]) == 1


async def test_agent_of_hub_toml_is_returned_completely_and_not_changed(bench: Bench) -> None:
    told = (await result(bench, "agents.get", agent_id="notes"))["agent"]
    assert (told["source"], told["rev"], told["configuration"]) == ("file", 1, {})
    for method in ("agents.update", "agents.delete"):
        answer = await refused(bench, method, agent_id="notes")
        assert answer.code == ErrorCode.MANAGED_BY_FILE
        assert "hub.toml" in answer.message


async def test_device_request_for_an_agent_with_an_invalid_field_is_refused(bench: Bench) -> None:
    for about, code, word in (
        ({"device": "phone"}, ErrorCode.BAD_PARAMS, "device"),
        ({"user": "anna"}, ErrorCode.BAD_PARAMS, "user"),
        ({"name": "notes"}, ErrorCode.NAME_TAKEN, "'notes'"),
        ({"config": {}}, ErrorCode.BAD_CONFIG, "'project'"),
        ({"paths": []}, ErrorCode.BAD_PARAMS, "paths"),
        ({"template": "no"}, ErrorCode.UNKNOWN_TEMPLATE, "'no'"),
    ):
        answer = await refused(bench, "agents.create", **(MAIL | about))
        assert (answer.code, word in answer.message) == (code, True), answer
    assert len(await bench.store.read(agents.list_agents)) == 1


async def register(bench: Bench, version: str, **about: Any) -> Any:
    return await result(
        bench, "capabilities.put", agent_id="notes", name="file.read", version=version, **about
    )


async def test_device_registers_capabilities_and_the_newest_version_is_enabled(
    bench: Bench,
) -> None:
    await register(bench, "1.2.0", config={"root": {"paths": ["/a", "/b"]}}, description="reads files")
    assert (await register(bench, "1.3.0"))["disabled"] == "1.2.0"
    listed = await result(bench, "capabilities.list", agent_id="notes")
    assert await bench.store.read(audit.list_entries, limit=9) == []
    assert listed["capabilities"] == [
        {
            "name": "file.read",
            "version": "1.3.0",
            "enabled": True,
            "source": "device",
            "config": {},
            "description": None,
        },
        {
            "name": "file.read",
            "version": "1.2.0",
            "enabled": False,
            "source": "device",
            "config": {"root": {"paths": ["/a", "/b"]}},
            "description": "reads files",
        },
    ]


async def test_device_removes_a_single_version_of_a_capability_or_all(bench: Bench) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        await register(bench, version)
    of: dict[str, Any] = {"agent_id": "notes", "name": "file.read"}
    assert await result(bench, "capabilities.remove", **of, version="1.1.0") == {"removed": ["1.1.0"]}
    assert await result(bench, "capabilities.remove", **of) == {"removed": ["1.2.0", "1.0.0"]}
    assert await bench.store.read(capabilities.list_capabilities, bench.agent.id) == []


async def test_run_start_of_a_device_returns_the_unmet_needs(bench: Bench) -> None:
    link = bench.connect(capabilities={**dict.fromkeys(MODERN, "1.0.0"), "file.read": "1.1.0"})
    needs = ["file.read >= 1.2", "agent_ack"]
    told = await ask(bench, "runs.start", link, agent_id="notes", needs=needs, task_id="t-7")
    assert told.result is not None, told.error
    assert told.result["unmet"] == ["file.read >= 1.2"]
    run: Any = told.result["run"]
    assert (run["context"], run["task_id"]) == ({}, "t-7")
    assert (await bench.row(RunId(run["run_id"]))).needs == tuple(needs)


async def put(bench: Bench, sequence: int, **about: Any) -> Response:
    fields: dict[str, Any] = {"agent_id": "notes", "sequence": sequence, "state": {"page": sequence}}
    return await ask(bench, "checkpoints.put", **fields | about)


async def test_checkpoint_written_by_a_device_is_read_back(bench: Bench) -> None:
    state = {"seen": {"inbox": ["m-1", "m-2"]}, "cursor": None}
    assert (await put(bench, 3, state=state)).error is None
    kept = (await result(bench, "checkpoints.get", agent_id="notes"))["checkpoint"]
    assert (kept["scope"], kept["sequence"], kept["state"]) == ("agent", 3, state)


async def test_run_is_sent_with_the_recoverable_checkpoint_of_the_agent(bench: Bench) -> None:
    await put(bench, 3)
    await put(bench, 9, scope="mailbox")
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.control.submit(bench.agent)
    await bench.run()
    assert link.streams[0].run.checkpoint == RunCheckpoint(sequence=3, state={"page": 3})
    await put(bench, 4, is_recoverable=False)
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    assert link.streams[0].run.checkpoint is None


async def executing(bench: Bench) -> RunRow:
    """A run that is handed out to the device."""
    bench.connect()
    run = await bench.control.submit(bench.agent)
    await bench.claim()
    return await bench.row(run.id)


async def test_checkpoint_write_with_an_old_fence_or_ended_run_is_refused(bench: Bench) -> None:
    run = await executing(bench)
    assert (await put(bench, 1, run_id=run.id, fence=run.fence)).error is None
    refused = await put(bench, 2, run_id=run.id, fence=run.fence - 1)
    assert refused.error is not None and refused.error.code == ErrorCode.STALE_RUN
    await bench.control.cancel(run.id, actor="me", reason="enough")
    refused = await put(bench, 2, run_id=run.id, fence=run.fence)
    assert refused.error is not None and refused.error.code == ErrorCode.STALE_RUN
    assert (await bench.store.read(checkpoints.get_checkpoint, bench.agent.id)).sequence == 1


async def test_clearing_a_checkpoint_returns_the_removed_checkpoint(bench: Bench) -> None:
    await put(bench, 3)
    assert (await result(bench, "checkpoints.clear", agent_id="notes"))["cleared"]["sequence"] == 3
    gone = await refused(bench, "checkpoints.get", agent_id="notes")
    assert gone.code == ErrorCode.UNKNOWN_CHECKPOINT


async def test_progress_reported_by_a_device_is_stored_in_the_run(bench: Bench) -> None:
    run = await executing(bench)
    about: dict[str, Any] = {"run_id": run.id, "fence": run.fence}
    await result(bench, "runs.report", **about, progress=40, message="reading mails", context={"page": 2})
    row = await bench.row(run.id)
    assert (row.progress, row.status_message, row.context) == (40.0, "reading mails", {"page": 2})
    late = await refused(bench, "runs.report", run_id=run.id, fence=run.fence + 1, message="late")
    assert late.code == ErrorCode.STALE_RUN
    assert (await bench.row(run.id)).status_message == "reading mails"


async def test_device_receives_context_and_task_of_a_run(bench: Bench) -> None:
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    started = await ask(bench, "runs.start", link, agent_id="notes", context={"why": "asked"}, task_id="t-7")
    assert started.error is None
    row = await bench.run()
    assert row.state is RunState.COMPLETED
    assert link.streams[0].run.context == {"why": "asked", "task_id": "t-7"}
    assert row.result is not None and row.result["items"]["by_table"] == {"tasks": 1}


async def test_device_reads_the_status_of_an_own_agent(bench: Bench) -> None:
    await bench.control.submit(bench.agent)
    status = (await result(bench, "status.get", agent_id="notes"))["status"]
    assert (status["lifecycle"], status["activity"], status["runs_waiting"]) == ("active", "waiting", 1)


async def test_status_written_by_a_device_records_the_device_as_actor(bench: Bench) -> None:
    change = {"health": "error", "reason": "no disk"}
    told = await result(bench, "status.set", agent_id=bench.agent.id, set=change)
    assert told["status"]["health_reason"] == "no disk"
    last = (await bench.store.read(stored.agent_history, bench.agent.id))[-1]
    assert (last.axis, last.actor) == (Axis.HEALTH, f"device:{bench.agent.device_id}")


async def test_device_sets_exhaustion_reason_and_recovery_time_of_an_agent(bench: Bench) -> None:
    change = {
        "availability": "exhausted",
        "exhaust_reason": "rate_limit",
        "recovery_at": "2200-01-01T00:00:00Z",
    }
    told = (await result(bench, "status.set", agent_id="notes", set=change))["status"]
    assert (told["exhaust_reason"], told["recovery_at"]) == ("rate_limit", 7_258_118_400_000)


async def test_device_reads_and_writes_the_status_in_another_vocabulary(bench: Bench) -> None:
    words = {"agent_id": "notes", "as": "orchestrator"}
    told = await result(bench, "status.set", **words, set={"status": "MAINTENANCE"})
    assert told["agent"]["status"] == "MAINTENANCE"
    assert await result(bench, "status.get", **words) == told


async def test_device_sets_reads_and_unsets_configs_of_an_own_agent(bench: Bench) -> None:
    values = {"limit": 5, "where": {"folder": ["a", {"b": None}]}, "share": 1}
    done = await result(bench, "config.set", agent_id="notes", values=values, types={"share": "float"})
    assert done["changed"] == ["limit", "share", "where"]
    told = await result(bench, "config.get", agent_id="notes")
    assert told["configuration"] == values and told["agent_id"] == bench.agent.id
    assert told["rev"] == done["rev"]
    assert [(one["key"], one["type"], one["source"]) for one in told["configs"]] == [
        ("limit", "integer", "api"),
        ("share", "float", "api"),
        ("where", "json", "api"),
    ]
    gone = await result(bench, "config.unset", agent_id="notes", keys=["share", "where"], rev=told["rev"])
    assert (gone["configuration"], gone["rev"]) == ({"limit": 5}, told["rev"] + 1)
    history = await bench.store.read(configs.config_history, bench.agent.id, limit=9)
    assert {move.actor for move in history} == {f"device:{bench.agent.device_id}"}


REFUSED_CONFIGS: tuple[tuple[str, dict[str, Any], ErrorCode, str], ...] = (
    ("config.set", {}, ErrorCode.BAD_PARAMS, "values: missing"),
    ("config.set", {"values": {}}, ErrorCode.BAD_PARAMS, "values: expected an object"),
    ("config.set", {"values": [1]}, ErrorCode.BAD_PARAMS, "values: expected an object"),
    ("config.set", {"values": {"a": 1}, "types": 5}, ErrorCode.BAD_PARAMS, "types: expected an object"),
    (
        "config.set",
        {"values": {"a": 1}, "types": {"b": "integer"}},
        ErrorCode.BAD_PARAMS,
        "types: 'b' is not among the values",
    ),
    (
        "config.set",
        {"values": {"a": 1}, "types": {"a": "int"}},
        ErrorCode.BAD_PARAMS,
        "types.a: expected one of string, integer, float, boolean, json, not 'int'",
    ),
    (
        "config.set",
        {"values": {"a": 1}, "types": {"a": []}},
        ErrorCode.BAD_PARAMS,
        "types.a: expected text, not a list",
    ),
    (
        "config.set",
        {"values": {"a": 1}, "rev": "7"},
        ErrorCode.BAD_PARAMS,
        "rev: expected a whole number",
    ),
    (
        "config.set",
        {"values": {"a": 1}, "rev": True},
        ErrorCode.BAD_PARAMS,
        "rev: expected a whole number",
    ),
    ("config.set", {"values": {"a": 1}, "rev": 0}, ErrorCode.CHANGED_MEANWHILE, "not 0; read it again"),
    (
        "config.set",
        {"values": {"a": "5"}, "types": {"a": "integer"}},
        ErrorCode.BAD_CONFIG,
        "a: expected integer, not the text '5'",
    ),
    ("config.set", {"values": {"timezone": "UTC"}}, ErrorCode.BAD_CONFIG, "a setting of the agent"),
    ("config.unset", {}, ErrorCode.BAD_PARAMS, "keys: missing"),
    ("config.unset", {"keys": [1]}, ErrorCode.BAD_PARAMS, "keys[0]: expected text, not a whole number"),
    ("config.unset", {"keys": ["gone"]}, ErrorCode.UNKNOWN_CONFIG, "has no config 'gone'"),
)


async def test_invalid_config_request_is_refused_and_changes_nothing(bench: Bench) -> None:
    for method, params, code, told in REFUSED_CONFIGS:
        error = await refused(bench, method, agent_id="notes", **params)
        found = (error.code, told in error.message, bool(error.hint))
        assert found == (code, True, True), error.message
    assert await bench.store.read(configs.list_configs, bench.agent.id) == []


async def test_exceeded_config_limit_is_named_and_counted(bench: Bench) -> None:
    service = ConfigWriter(bench.store, clock=bench.clock, metrics=bench.metrics)
    service.limits = ConfigLimits(value_bytes=4)
    resource = ConfigsResource(bench.store, service)
    answer = await ask(bench, "config.set", None, [resource], agent_id="notes", values={"a": "12345"})
    assert answer.error is not None and answer.error.code == ErrorCode.LIMIT_REACHED
    assert answer.error.message == "a: a value has at most 4 bytes, this one 5 (config_value_bytes)"
    assert bench.metrics.reached() == {"config_value_bytes": 1}


class NarrowLink(FakeLink):
    """A connection whose messages are short."""

    async def send(self, frame: Frame) -> None:
        size = len(JSON.encode(frame))
        if size > 1_000:
            raise LocalProtocolError(f"response has {size} bytes, the other side takes 1000")
        await super().send(frame)


async def test_config_response_too_large_for_the_device_is_refused(bench: Bench) -> None:
    await result(bench, "config.set", agent_id="notes", values={"text": "x" * 2_000})
    narrow = NarrowLink(str(bench.agent.device_id))
    error = await refused(bench, "config.get", narrow, agent_id="notes")
    assert error.code == ErrorCode.RESULT_TOO_LARGE and "the other side takes 1000" in error.message
    assert (await result(bench, "config.unset", agent_id="notes", keys=["text"]))["changed"] == ["text"]


async def test_device_selects_the_events_to_receive(bench: Bench) -> None:
    hearers = Hearers(bench.clock)
    link, other = hearers.enter(str(bench.agent.device_id)), hearers.enter("another")
    rotation = KeyRotation(bench.store, hub_id="h-1", clock=bench.clock, metrics=bench.metrics)
    resource = ConnectionsResource(hearers.events, rotation)

    async def selected(method: str, *events: str) -> object:
        link.sent.clear()
        return (await ask(bench, method, link, [resource], events=[*events])).result

    chosen = ["agent.moved", "run.moved", "run.queued"]
    assert await selected("subscribe", "run.*", "agent.moved") == {"events": chosen}
    found = [hearers.events.is_subscribed(one.device_id, EventName.RUN_MOVED) for one in (link, other)]
    assert found == [True, False]
    assert await selected("unsubscribe", "run.queued", "agent.changed") == {"events": chosen[:2]}
    assert await selected("unsubscribe") == {"events": chosen[:2]}
    assert await selected("unsubscribe", "*") == {"events": []}


async def test_run_carries_the_config_revision_of_the_agent(bench: Bench) -> None:
    rev = (await result(bench, "config.set", agent_id="notes", values={"limit": 5}))["rev"]
    now = await bench.store.read(agents.get_agent, bench.agent.id)
    await bench.control.submit(now)
    link = bench.connect(runs=folder(a="- [ ] call Anna"))
    await bench.run()
    assert link.streams[0].run.config_rev == rev


HOUR_MS = 3_600_000


SAMPLE: dict[str, Any] = {"agent_id": "notes", "name": "load", "value": 1}


async def test_device_reads_the_samples_of_an_own_report(bench: Bench) -> None:
    samples = [
        SAMPLE | {"value": 3, "type": "counter", "tags": {"kind": "a"}},
        SAMPLE | {"value": 4, "tags": {"kind": "b"}},
    ]
    assert await result(bench, "metrics.report", samples=samples) == {"taken": 2, "known": 0}
    listed = await result(bench, "metrics.query", agent_id=bench.agent.id)
    now = epoch_ms(bench.clock.now())
    about = {"name": "load", "type": "counter", "last_at_ms": now}
    assert listed == {
        "series": [about | {"tags": {"kind": "a"}, "last": 3}, about | {"tags": {"kind": "b"}, "last": 4}]
    }
    told = await result(
        bench,
        "metrics.query",
        agent_id="notes",
        name="load",
        by="kind",
        since_ms=now - HOUR_MS,
        until_ms=now + HOUR_MS,
        step_ms=HOUR_MS,
    )
    assert told["lines"] == [
        {"tag": "a", "whole": 3, "values": [None, 3]},
        {"tag": "b", "whole": 4, "values": [None, 4]},
    ]
    assert (told["since_ms"], told["step_ms"]) == (now - HOUR_MS, HOUR_MS)


async def test_repeated_report_of_samples_is_counted_as_known(bench: Bench) -> None:
    for taken in (1, 0):
        told = await result(bench, "metrics.report", report_id="r-1", samples=[SAMPLE | {"value": 5}])
        assert told == {"taken": taken, "known": 1 - taken}
    other = await refused(bench, "metrics.report", report_id="r-1", samples=[SAMPLE | {"value": 6}])
    assert other.code == ErrorCode.KEY_USED


# Requests about an agent and a run of another device, apart from those for a list of its own.
OF_OTHERS: tuple[tuple[str, dict[str, Any], ErrorCode], ...] = (
    ("agents.create", MAIL, ErrorCode.UNKNOWN_DEVICE),
    ("runs.start", {}, ErrorCode.UNKNOWN_AGENT),
    ("runs.get", {}, ErrorCode.UNKNOWN_RUN),
    ("runs.cancel", {}, ErrorCode.UNKNOWN_RUN),
    ("runs.report", {"fence": 1, "message": "not mine"}, ErrorCode.UNKNOWN_RUN),
    ("status.get", {}, ErrorCode.UNKNOWN_AGENT),
    ("status.set", {"set": {"health": "error"}}, ErrorCode.UNKNOWN_AGENT),
    ("config.get", {}, ErrorCode.UNKNOWN_AGENT),
    ("config.set", {"values": {"limit": 6}}, ErrorCode.UNKNOWN_AGENT),
    ("config.unset", {"keys": ["limit"]}, ErrorCode.UNKNOWN_AGENT),
    ("capabilities.list", {}, ErrorCode.UNKNOWN_AGENT),
    ("capabilities.remove", {"name": "file.read"}, ErrorCode.UNKNOWN_AGENT),
    ("metrics.report", {"samples": [SAMPLE]}, ErrorCode.UNKNOWN_AGENT),
    ("metrics.query", {"name": "load"}, ErrorCode.UNKNOWN_AGENT),
)


async def test_device_neither_sees_nor_changes_agents_and_runs_of_another_device(bench: Bench) -> None:
    run = await bench.control.submit(bench.agent)
    await register(bench, "1.0.0")
    await result(bench, "config.set", agent_id="notes", values={"limit": 5})
    await result(bench, "metrics.report", samples=[SAMPLE])
    for name in ("notes", bench.agent.id):
        for method, params, code in OF_OTHERS:
            error = await refused(bench, method, FakeLink("another"), agent_id=name, run_id=run.id, **params)
            assert error.code == code, method
    assert (await ask(bench, "agents.list", FakeLink("another"))).result == {"agents": []}
    assert [row.state for row in await bench.store.read(runs.list_runs)] == [RunState.QUEUED]
    assert (await bench.store.read(agent_states.find_state, bench.agent.id)).health == "ok"
    assert await bench.store.read(stored.configuration_of, bench.agent.id) == {"limit": 5}
    assert len(await bench.store.read(capabilities.list_capabilities, bench.agent.id)) == 1
    assert len(await bench.store.read(agents.list_agents)) == 1


_AT: Mapping[str, Any] = {"at": 1, "actor": "operator:0"}


@pytest.fixture
async def on_boards(bench: Bench) -> None:
    """The boards roses, on which the agent notes is, and lawn; eve has one that is called eves."""
    mine, eve = bench.agent.user_id, await bench.store.write(users.ensure_user, UserId("eve"), "eve", 1)
    for name, user_id in (("roses", mine), ("lawn", mine), ("eves", eve)):
        id = BoardId(f"board-{name}")
        await bench.store.write(boards.create_board, id=id, user_id=user_id, name=name, **_AT)
    await bench.store.write(boards.add_member, BoardId("board-roses"), bench.agent.id, **_AT)


ON_BOARDS: Final = pytest.mark.usefixtures("on_boards")


async def refusal(bench: Bench, method: str, **params: Any) -> str:
    return (await refused(bench, method, **params)).code


async def remember(bench: Bench, content: str, **about: Any) -> Any:
    bench.clock.advance(1)
    return await result(bench, "memory.add", board="roses", content=content, **about)


def contents(listed: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    return [item["content"] for item in listed["memory"]]


@ON_BOARDS
async def test_device_lists_boards_of_the_user_or_of_an_agent(bench: Bench) -> None:
    listed = await result(bench, "boards.list")
    assert [board["name"] for board in listed["boards"]] == ["lawn", "roses"]
    own = await result(bench, "boards.list", agent_id="notes")
    assert [board["board_id"] for board in own["boards"]] == ["board-roses"]


@ON_BOARDS
async def test_device_writes_memory_only_on_boards_of_the_own_user(bench: Bench) -> None:
    for board in ("roses", "lawn"):
        added = await result(bench, "memory.add", board=board, content="cut them", tags=["weeds"])
        assert (added["memory"]["actor"], added["memory"]["agent_id"]) == (
            f"device:{bench.agent.device_id}",
            None,
        )
    assert await refusal(bench, "memory.add", board="eves", content="cut them") == "unknown_board"
    assert await refusal(bench, "memory.list", board="board-eves") == "unknown_board"


@ON_BOARDS
async def test_agent_of_a_device_writes_memory_only_on_the_own_board(bench: Bench) -> None:
    added = await remember(bench, "done", agent_id="notes")
    assert (added["memory"]["agent_id"], added["memory"]["agent"]) == (bench.agent.id, "notes")
    about = {"board": "lawn", "agent_id": "notes"}
    assert await refusal(bench, "memory.add", content="done", **about) == "not_your_board"
    assert await refusal(bench, "memory.list", **about) == "not_your_board"
    assert await refusal(bench, "memory.list", board="roses", agent_id="nobody") == "unknown_agent"


@ON_BOARDS
async def test_board_memory_is_listed_by_tags_and_in_pages(bench: Bench) -> None:
    for n in range(3):
        await remember(bench, f"item {n}", tags=["weeds"] if n else [])
    assert contents(await result(bench, "memory.list", board="roses", tags=["weeds"])) == ["item 2", "item 1"]
    first = await result(bench, "memory.list", board="roses", limit=2)
    assert contents(first) == ["item 2", "item 1"]
    second = await result(bench, "memory.list", board="roses", limit=2, cursor=first["cursor"])
    assert (contents(second), second["cursor"]) == (["item 0"], None)


@ON_BOARDS
async def test_page_of_memory_fits_a_frame_however_long_the_items_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "ANSWER_BYTES", 10)
    for n in range(3):
        await remember(bench, f"item {n}")
    cursor, pages = None, []
    while page := await result(bench, "memory.list", board="roses", **({"cursor": cursor} if cursor else {})):
        pages.append(contents(page))
        if (cursor := page["cursor"]) is None:
            break
    assert pages == [["item 2"], ["item 1"], ["item 0"]]


@ON_BOARDS
async def test_memory_with_a_known_key_is_written_once(bench: Bench) -> None:
    first = await remember(bench, "once", idempotency_key="k")
    assert (await remember(bench, "once", idempotency_key="k"))["memory"] == first["memory"]
    other = await remember(bench, "once", idempotency_key="k", agent_id="notes")
    assert other["memory"]["memory_id"] != first["memory"]["memory_id"], "who asks has keys of their own"


@ON_BOARDS
async def test_sent_message_has_the_same_form_in_the_list(bench: Bench) -> None:
    sent = (await result(bench, "messages.nudge", board="roses", agent="notes", content="cut them"))[
        "message"
    ]
    assert (sent["agent_id"], sent["agent"], sent["state"]) == (bench.agent.id, "notes", "waiting")
    assert (sent["board"], sent["kind"], sent["at_ms"]) == ("roses", "nudge", bench.now_ms)
    assert (await result(bench, "messages.list"))["messages"] == [sent]
    assert (await result(bench, "messages.list", agent_id="notes", states=["answered"]))["messages"] == []


@ON_BOARDS
async def test_person_at_a_device_asks_and_answers_questions(bench: Bench) -> None:
    put = (await result(bench, "questions.ask", board="roses", content="Which?", correlation_id="c-1"))[
        "question"
    ]
    assert put == {
        "question_id": put["question_id"],
        "content": "Which?",
        "board": "roses",
        "correlation_id": "c-1",
        "asked_at": bench.now_ms,
        "expires_at": put["expires_at"],
    }
    assert (await result(bench, "questions.list"))["questions"] == [put]
    by_device = {"question_id": put["question_id"], "answer": "the red ones", "agent_id": "notes"}
    answered = (await result(bench, "questions.answer", **by_device))["question"]
    assert (answered["state"], answered["answer"]) == ("answered", "the red ones")
    assert (await result(bench, "questions.list"))["questions"] == []
    assert (await result(bench, "questions.list", states=["answered"]))["questions"] == [answered]
