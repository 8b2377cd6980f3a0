"""What a device may ask about the configs of its own agents, and what it wants to hear of."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub.agents.writing import AgentConfigs
from hub.api.nouns.agent_configs import AgentConfigs as ConfigsNoun
from hub.api.nouns.devices import Connections
from hub.links.auth import KeyRotation
from hub.links.roster import RequestReceived
from protocol.codec import JSON
from protocol.coordination import EventName, Request, Response
from protocol.errors import ErrorCode, LocalProtocolError
from protocol.frame import Frame, Parameters
from storage.agents import agents, configs
from storage.agents.config_changes import ConfigLimits
from storage.store import Store, open_store
from tests.support.hearing import Hearers, HearingLink, served
from tests.support.requests import make_requests
from tests.support.runs import Bench, agent, bench, folder
from tests.support.wire import until

__all__ = ["agent", "bench"]


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite://") as store:
        yield store


class Desk:
    """The device that the agent ``notes`` works on, and another one."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.hearers = Hearers(bench.clock)
        assert bench.agent.device_id is not None
        self.link = self.hearers.enter(bench.agent.device_id)
        self.other = self.hearers.enter("another")
        self.configs = AgentConfigs(bench.store, clock=bench.clock, metrics=bench.metrics)
        rotation = KeyRotation(bench.store, hub_id="h-1", clock=bench.clock, metrics=bench.metrics)
        self.requests = make_requests(
            bench, ConfigsNoun(bench.store, self.configs), Connections(self.hearers.events, rotation)
        )

    async def ask(self, method: str, link: HearingLink | None = None, /, **params: Any) -> Response:
        link = link or self.link
        link.sent.clear()
        told: Parameters = params
        self.requests.take(RequestReceived(link, Request(id="q-1", method=method, params=told)))
        async with served(self.requests):
            await until(lambda: bool(link.sent))
        (response,) = link.sent
        assert isinstance(response, Response)
        return response

    async def result(self, method: str, /, **params: Any) -> Any:
        answer = await self.ask(method, agent_id="notes", **params)
        assert answer.error is None, answer.error
        return answer.result


@pytest.fixture
def desk(bench: Bench) -> Desk:
    return Desk(bench)


async def test_a_device_sets_reads_and_unsets_configs_of_its_agent(desk: Desk) -> None:
    values = {"limit": 5, "where": {"folder": ["a", {"b": None}]}, "share": 1}
    done = await desk.result("config.set", values=values, types={"share": "float"})
    assert done["changed"] == ["limit", "share", "where"]
    told = await desk.result("config.get")
    assert told["configuration"] == values and told["agent_id"] == desk.bench.agent.id
    assert told["rev"] == done["rev"]
    assert [(one["key"], one["type"], one["source"]) for one in told["configs"]] == [
        ("limit", "integer", "api"),
        ("share", "float", "api"),
        ("where", "json", "api"),
    ]
    gone = await desk.result("config.unset", keys=["share", "where"], rev=told["rev"])
    assert (gone["configuration"], gone["rev"]) == ({"limit": 5}, told["rev"] + 1)
    history = await desk.bench.store.read(configs.config_history, desk.bench.agent.id, limit=9)
    assert {move.actor for move in history} == {f"device:{desk.link.device_id}"}


async def test_a_device_neither_sees_nor_changes_configs_of_others(desk: Desk) -> None:
    await desk.result("config.set", values={"limit": 5})
    for method, params in (
        ("config.get", {}),
        ("config.set", {"values": {"limit": 6}}),
        ("config.unset", {"keys": ["limit"]}),
    ):
        for name in ("notes", desk.bench.agent.id):
            refused = await desk.ask(method, desk.other, agent_id=name, **params)
            assert refused.error is not None and refused.error.code == ErrorCode.UNKNOWN_AGENT
    assert await desk.bench.store.read(configs.configuration_of, desk.bench.agent.id) == {"limit": 5}


REFUSED: tuple[tuple[str, dict[str, Any], ErrorCode, str], ...] = (
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


async def test_invalid_config_request_is_refused_and_changes_nothing(desk: Desk) -> None:
    for method, params, code, told in REFUSED:
        refused = (await desk.ask(method, agent_id="notes", **params)).error
        assert refused is not None and refused.hint, params
        assert (refused.code, told in refused.message) == (code, True), refused.message
    assert await desk.bench.store.read(configs.list_configs, desk.bench.agent.id) == []


async def test_exceeded_config_limit_is_named_and_counted(desk: Desk) -> None:
    desk.configs.limits = ConfigLimits(value_bytes=4)
    refused = await desk.ask("config.set", agent_id="notes", values={"a": "12345"})
    assert refused.error is not None and refused.error.code == ErrorCode.LIMIT_REACHED
    assert refused.error.message == "a: a value has at most 4 bytes, this one 5 (config_value_bytes)"
    assert desk.bench.metrics.reached() == {"config_value_bytes": 1}


class NarrowLink(HearingLink):
    """A connection whose messages are short."""

    async def send(self, frame: Frame) -> None:
        size = len(JSON.encode(frame))
        if size > 1_000:
            raise LocalProtocolError(f"response has {size} bytes, the other side takes 1000")
        await super().send(frame)


async def test_config_response_too_large_for_the_device_is_refused(desk: Desk) -> None:
    await desk.result("config.set", values={"text": "x" * 2_000})
    narrow = NarrowLink(desk.link.device_id)
    refused = await desk.ask("config.get", narrow, agent_id="notes")
    assert refused.error is not None and refused.error.code == ErrorCode.RESULT_TOO_LARGE
    assert "the other side takes 1000" in refused.error.message
    assert (await desk.result("config.unset", keys=["text"]))["changed"] == ["text"]


async def test_device_selects_the_events_it_receives(desk: Desk) -> None:
    answer = await desk.ask("subscribe", events=["run.*", "agent.moved"])
    assert answer.result == {"events": ["agent.moved", "run.moved", "run.queued"]}
    assert desk.hearers.events.is_subscribed(desk.link.device_id, EventName.RUN_MOVED)
    assert not desk.hearers.events.is_subscribed(desk.other.device_id, EventName.RUN_MOVED)
    answer = await desk.ask("unsubscribe", events=["run.queued", "agent.changed"])
    assert answer.result == {"events": ["agent.moved", "run.moved"]}
    assert (await desk.ask("unsubscribe", events=[])).result == {"events": ["agent.moved", "run.moved"]}
    assert (await desk.ask("unsubscribe", events=["*"])).result == {"events": []}


async def test_invalid_list_of_events_is_refused(desk: Desk) -> None:
    for events in (None, "agent.moved", [5], ["agent.moved", None], ["nothing"], ["*"] * 99):
        for method in ("subscribe", "unsubscribe"):
            refused = (await desk.ask(method, **({} if events is None else {"events": events}))).error
            assert refused is not None and refused.code == ErrorCode.BAD_PARAMS, events
            assert refused.message.startswith("events"), events


async def test_a_run_says_which_revision_it_was_made_with(desk: Desk) -> None:
    rev = (await desk.result("config.set", values={"limit": 5}))["rev"]
    now = await desk.bench.store.read(agents.get_agent, desk.bench.agent.id)
    await desk.bench.control.submit(now)
    link = desk.bench.connect(runs=folder(a="- [ ] call Anna"))
    await desk.bench.run()
    assert link.streams[0].run.config_rev == rev
