"""What a device asks and writes about how its own agents stand."""

from typing import Any

from protocol.agent_status import Axis
from protocol.errors import ErrorCode
from storage.agents import agent_states
from tests.support.link import FakeLink
from tests.support.requests import refused
from tests.support.requests import result as ask
from tests.support.runs import Bench, agent, bench, store

__all__ = ["agent", "bench", "store"]


async def test_a_device_reads_the_status_of_its_agent(bench: Bench) -> None:
    await bench.control.submit(bench.agent)
    status = (await ask(bench, "status.get", agent_id="notes"))["status"]
    assert (status["lifecycle"], status["activity"], status["runs_waiting"]) == ("active", "waiting", 1)


async def test_a_device_writes_the_status_of_its_agent_in_its_own_name(bench: Bench) -> None:
    change = {"health": "error", "reason": "no disk"}
    told = await ask(bench, "status.set", agent_id=bench.agent.id, set=change)
    assert told["status"]["health_reason"] == "no disk"
    last = (await bench.store.read(agent_states.agent_history, bench.agent.id))[-1]
    assert (last.axis, last.actor) == (Axis.HEALTH, f"device:{bench.agent.device_id}")


async def test_a_device_says_why_and_until_when_its_agent_is_exhausted(bench: Bench) -> None:
    change = {
        "availability": "exhausted",
        "exhaust_reason": "rate_limit",
        "recovery_at": "2200-01-01T00:00:00Z",
    }
    told = (await ask(bench, "status.set", agent_id="notes", set=change))["status"]
    assert (told["exhaust_reason"], told["recovery_at"]) == ("rate_limit", 7_258_118_400_000)


async def test_a_device_speaks_the_words_of_another_vocabulary(bench: Bench) -> None:
    words = {"agent_id": "notes", "as": "orchestrator"}
    told = await ask(bench, "status.set", **words, set={"status": "MAINTENANCE"})
    assert told["agent"]["status"] == "MAINTENANCE"
    assert await ask(bench, "status.get", **words) == told


async def test_a_device_neither_sees_nor_writes_agents_of_others(bench: Bench) -> None:
    stranger = FakeLink("another")
    asked_for: dict[str, dict[str, Any]] = {"status.get": {}, "status.set": {"set": {"health": "error"}}}
    for method, params in asked_for.items():
        why = await refused(bench, method, stranger, agent_id="notes", **params)
        assert why.code == ErrorCode.UNKNOWN_AGENT
        stranger.sent.clear()
    assert (await bench.store.read(agent_states.find_state, bench.agent.id)).health == "ok"


async def test_a_write_that_is_refused_is_answered_with_the_legal_moves(bench: Bench) -> None:
    why = await refused(bench, "status.set", agent_id="notes", set={"lifecycle": "created"})
    assert why.code == ErrorCode.BAD_STATUS
    assert "legal moves: ready, paused, maintenance, terminated" in why.message
