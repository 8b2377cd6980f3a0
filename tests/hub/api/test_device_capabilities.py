"""What a device says and asks of what its own agents can do."""

from typing import Any

from protocol.errors import ErrorCode
from protocol.frame import Values
from protocol.ids import RunId
from storage import audit
from storage.agents import configs
from storage.agents.configs import CapabilityRow
from tests.support.link import FakeLink
from tests.support.requests import ask
from tests.support.runs import MODERN, Bench, agent, bench, store

__all__ = ["agent", "bench", "store"]


async def put(bench: Bench, version: str, **said: Any) -> Values:
    told = await ask(bench, "capabilities.put", agent_id="notes", name="file.read", version=version, **said)
    assert told.result is not None, told.error
    return told.result


async def kept(bench: Bench) -> list[CapabilityRow]:
    return await bench.store.read(configs.list_capabilities, bench.agent.id)


async def test_a_device_registers_what_its_agent_can_do_and_the_newest_version_is_enabled(
    bench: Bench,
) -> None:
    await put(bench, "1.2.0", config={"root": {"paths": ["/a", "/b"]}}, description="reads files")
    assert (await put(bench, "1.3.0"))["disabled"] == "1.2.0"
    listed = (await ask(bench, "capabilities.list", agent_id="notes")).result
    assert listed is not None
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


async def test_a_device_removes_one_version_or_all(bench: Bench) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        await put(bench, version)
    one = await ask(bench, "capabilities.remove", agent_id="notes", name="file.read", version="1.1.0")
    assert one.result == {"removed": ["1.1.0"]}
    all_of_them = await ask(bench, "capabilities.remove", agent_id="notes", name="file.read")
    assert all_of_them.result == {"removed": ["1.2.0", "1.0.0"]}
    assert await kept(bench) == []


async def test_what_a_device_registers_is_no_matter_for_the_audit_log(bench: Bench) -> None:
    await put(bench, "1.0.0")
    assert await bench.store.read(audit.list_entries, limit=9) == []


async def test_a_device_that_starts_a_run_gets_its_unmet_needs(bench: Bench) -> None:
    link = bench.connect(capabilities={**dict.fromkeys(MODERN, "1.0.0"), "file.read": "1.1.0"})
    needs = ["file.read >= 1.2", "agent_ack"]
    told = await ask(bench, "runs.start", link, agent_id="notes", needs=needs, task_id="t-7")
    assert told.result is not None, told.error
    assert told.result["unmet"] == ["file.read >= 1.2"]
    run: Any = told.result["run"]
    assert run["context"] == {"task_id": "t-7"}
    assert (await bench.row(RunId(run["run_id"]))).needs == tuple(needs)


async def test_another_device_gets_no_answer(bench: Bench) -> None:
    await put(bench, "1.0.0")
    stranger = FakeLink("another")
    for method in ("capabilities.list", "capabilities.remove"):
        stranger.sent.clear()
        refused = await ask(bench, method, stranger, agent_id=bench.agent.id, name="file.read")
        assert refused.error is not None and refused.error.code == ErrorCode.UNKNOWN_AGENT
    assert len(await kept(bench)) == 1
