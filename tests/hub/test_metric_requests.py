"""What a device reports of its agents' doings, and asks about them."""

from typing import Any

from hub.clock import epoch_ms
from protocol.errors import ErrorCode
from tests.support.link import FakeLink
from tests.support.requests import ask
from tests.support.runs import Bench, agent, bench, store

__all__ = ["agent", "bench", "store"]

HOUR_MS = 3_600_000


def sample(value: float = 1, **about: Any) -> dict[str, Any]:
    return {"agent_id": "notes", "name": "load", "value": value} | about


async def test_a_device_reads_back_what_it_reported(bench: Bench) -> None:
    samples = [sample(3, type="counter", tags={"kind": "a"}), sample(4, tags={"kind": "b"})]
    reported = await ask(bench, "metrics.report", samples=samples)
    assert reported.result == {"taken": 2, "known": 0}
    listed = await ask(bench, "metrics.query", agent_id=bench.agent.id)
    now = epoch_ms(bench.clock.now())
    about = {"name": "load", "type": "counter", "last_at_ms": now}
    assert listed.result == {
        "series": [about | {"tags": {"kind": "a"}, "last": 3}, about | {"tags": {"kind": "b"}, "last": 4}]
    }
    told = await ask(
        bench,
        "metrics.query",
        agent_id="notes",
        name="load",
        by="kind",
        since_ms=now - HOUR_MS,
        until_ms=now + HOUR_MS,
        step_ms=HOUR_MS,
    )
    assert told.result is not None
    assert told.result["lines"] == [
        {"tag": "a", "whole": 3, "values": [None, 3]},
        {"tag": "b", "whole": 4, "values": [None, 4]},
    ]
    assert (told.result["since_ms"], told.result["step_ms"]) == (now - HOUR_MS, HOUR_MS)


async def test_a_report_that_is_sent_again_is_known(bench: Bench) -> None:
    for taken in (1, 0):
        told = await ask(bench, "metrics.report", report_id="r-1", samples=[sample(5)])
        assert told.result == {"taken": taken, "known": 1 - taken}
    other = await ask(bench, "metrics.report", report_id="r-1", samples=[sample(6)])
    assert other.error is not None and other.error.code == ErrorCode.KEY_USED


async def test_a_device_measures_and_sees_its_own_agents_only(bench: Bench) -> None:
    await ask(bench, "metrics.report", samples=[sample()])
    for method, params in (
        ("metrics.report", {"samples": [sample()]}),
        ("metrics.query", {"agent_id": "notes"}),
        ("metrics.query", {"agent_id": bench.agent.id, "name": "load"}),
    ):
        told = await ask(bench, method, FakeLink("another"), **params)
        assert told.error is not None and told.error.code == ErrorCode.UNKNOWN_AGENT


async def test_a_bad_sample_is_named_by_its_place_and_field(bench: Bench) -> None:
    told = await ask(bench, "metrics.report", samples=[sample(), sample() | {"value": None}])
    assert told.error is not None
    assert told.error.message.startswith("samples[1].value: expected a number")
