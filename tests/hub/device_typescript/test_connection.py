"""The connection of the device in TypeScript: greeting, runs, calls of programs, and what each end means."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.coordination import Request
from protocol.errors import CloseCode, ErrorCode
from protocol.handshake import Error, Goodbye, Limits
from protocol.skipped_files import SkipReason
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall, ToolCalls
from protocol.work import (
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
    RunConfig,
    RunMode,
)
from tests.support.node_device import NodeDevice, needs_node
from tests.support.scripted_hub import Guest, ScriptedHub

pytestmark = [needs_node, pytest.mark.slow]  # Node as a process
INSERT = ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "Call Ana", **SUGGESTED})
TEXT = "- [ ] write to Zoë 🌍\n" * 20
MANIFEST = AgentRun(
    run_id="r-1",
    fence=3,
    agent_id="a-1",
    config=RunConfig(paths=["notes/2026", "~/elsewhere"], file_extensions=[".md", "env"]),
    mode=RunMode.MANIFEST,
    paged=True,
    credit=2,
)


@asynccontextmanager
async def device_at(hub: ScriptedHub, folder: Path, **options: Any) -> AsyncIterator[NodeDevice]:
    """Start a device over a few files at a hub that a test plays."""
    for name, text in (("2026/week.md", TEXT), ("2026/.git/a.md", ""), ("2026/b.env", ""), ("old.md", "")):
        (path := folder / "notes" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "notes" / "2026" / "broken.md").write_bytes(b"\xff\xfe")
    (folder / "notes" / "2026" / "key.md").write_text("-----BEGIN PRIVATE KEY-----")
    (folder / "notes" / "2026" / "link.md").symlink_to(folder / "notes" / "old.md")
    device = NodeDevice(folder, hub.url, **options)
    await device.start()
    try:
        yield device
    finally:
        await device.close()


async def pieces_of(guest: Guest, number: int) -> Sequence[AgentData]:
    return [await guest.hear(AgentData) for _ in range(number)]


async def test_run_lists_shared_files_and_sends_pieces_on_credit_alone(tmp_path: Path) -> None:
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path):
        guest = await hub.guest()
        hello = await guest.welcome(limits=Limits(max_piece_bytes=200))
        assert hello.identity is not None
        assert [root.rpartition("/")[2] for root in hello.roots] == ["notes"]
        await guest.say(MANIFEST)
        assert (await guest.hear(AgentAck)).accepted
        manifest = await guest.hear(AgentManifest)
        assert [file.path for file in manifest.files] == [
            f"notes/2026/{name}.md" for name in ("broken", "key", "week")
        ]
        digest = hashlib.sha256(TEXT.encode()).hexdigest()
        assert (manifest.last, manifest.files[2].sha256) == (True, digest)
        await guest.say(AgentFetch(run_id="r-1", fence=3, paths=[file.path for file in manifest.files]))
        data = [*await pieces_of(guest, 2)]
        assert (await guest.call(INSERT)).error is None  # while the run waits for credit
        await guest.say(AgentCredit(run_id="r-1", fence=3, pieces=100))
        (first,) = data[0].files
        data += await pieces_of(guest, first.pieces - 2)
        assert "".join(piece.content for frame in data for piece in frame.files) == TEXT
        assert all(len(piece.content.encode()) <= 200 for frame in data for piece in frame.files)
        complete = await guest.hear(AgentComplete)
        assert (complete.files, complete.error) == (1, None)
        assert {one.path: one.reason for one in complete.skipped} == {
            "~/elsewhere": SkipReason.OUTSIDE_SHARED,
            "notes/2026/broken.md": SkipReason.NOT_CONVERTIBLE,
            "notes/2026/key.md": SkipReason.SECRET,
            "*": SkipReason.KEY_FILE,
        }


@pytest.mark.soak
async def test_device_ends_a_cancelled_or_reassigned_run(tmp_path: Path) -> None:
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path):
        guest = await hub.welcomed(limits=Limits(max_piece_bytes=200))
        stream = AgentRun(run_id="r-2", fence=1, agent_id="a-1", config=RunConfig(), credit=1)
        await guest.say(stream)
        await guest.hear(AgentAck)
        await guest.hear(AgentData)
        await guest.say(AgentRun(run_id="r-2", fence=2, agent_id="a-1", config=RunConfig(), credit=1))
        assert (await guest.hear(AgentAck)).fence == 2
        assert (await guest.hear(AgentData)).fence == 2
        await guest.say(AgentCancel(run_id="r-2", fence=2, reason="enough"))
        complete = await guest.hear(AgentComplete)
        assert (complete.fence, complete.error and complete.error.code) == (2, "cancelled")  # type: ignore[union-attr]
        await guest.say(stream)  # an older fence is dropped
        assert (await guest.call(INSERT)).error is None


async def test_repeated_call_after_a_device_kill_returns_the_stored_answer(tmp_path: Path) -> None:
    wake = ToolCall(id="w-1", action=Action.AGENT_WAKE, data={"wake_id": "w-1"})
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path, tools=["agent.wake"]) as device:
        guest = await hub.guest()
        hello = await guest.welcome()
        assert {"agent.wake", "tool.insert", "tool_calls"} <= {one.name for one in hello.capabilities}
        assert "message.deliver" not in {one.name for one in hello.capabilities}
        woken = await guest.call(wake)
        await guest.say(ToolCalls(calls=[INSERT, ToolCall(id="c-2", action=Action.INSERT, table="tea")]))
        (_, inserted), (_, refused) = await guest.answers()
        assert refused.error is not None
        assert refused.error.code == ErrorCode.UNKNOWN_TABLE
        await device.kill()
        await device.start()
        guest = await hub.welcomed()
        assert await guest.call(wake) == woken
        assert await guest.call(INSERT) == inserted
        assert len(device.events("tool")) == 1
        assert len(device.kept()) == 1


@pytest.mark.soak
async def test_program_receives_events_of_written_changed_and_proposed_rows(tmp_path: Path) -> None:
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path) as device:
        guest = await hub.welcomed()
        where: Any = (await guest.call(INSERT)).result
        changed: Any = {"table": "tasks", "where": where, "data": {"title": "Call Bo"}}
        await guest.call(ToolCall(id="c-2", action=Action.UPDATE, **changed))
        (item,) = await device.happens("suggestion", 2)
        assert (item["row"]["title"], item["state"], item["proposal"]) == ("Call Bo", "open", None)
        await guest.call(ToolCall(id="c-3", action=Action.DELETE, table="tasks", where=where))
        assert (await device.happens("withdrawn"))[0] == where
        own: Any = (await guest.call(msgspec.structs.replace(INSERT, id="c-4"))).result
        assert await device.does("edit", own["id"], {"priority": "low"}) is None
        assert (await guest.hear(Request)).params["verdicts"] == [{"call_id": "c-4", "verdict": "edited"}]
        await guest.say(ToolCall(id="c-5", action=Action.UPDATE, **{**changed, "where": own}))
        (item,) = await device.happens("suggestion", 4)
        assert (item["row"]["title"], item["state"], item["proposal"]) == (
            "Call Ana",
            "edited",
            {"title": "Call Bo"},
        )


async def test_call_whose_answer_cannot_be_stored_is_not_answered_and_may_be_repeated(
    tmp_path: Path,
) -> None:
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path) as device:
        guest = await hub.welcomed()
        full = tmp_path / "desk.jsonl.full"
        full.touch()
        await guest.say(INSERT)
        assert await guest.left() == 1000
        assert "no space left" in (await device.happens("warning"))[0]["message"]
        full.unlink()
        guest = await hub.welcomed()
        unsupported = ToolCall(id="m-1", action=Action.MESSAGE_DELIVER, data={"message_id": "m-1"})
        refused = (await guest.call(unsupported)).error
        assert refused is not None
        assert refused.code == ErrorCode.CALL_UNSUPPORTED
        assert (await guest.call(INSERT)).counter == 1
        assert len(device.kept()) == 1


@pytest.mark.parametrize(
    ("close", "comes_back"),
    [
        pytest.param(CloseCode.RESTARTING, True, marks=pytest.mark.soak),
        (CloseCode.REPLACED, False),
        pytest.param(CloseCode.REVOKED, False, marks=pytest.mark.soak),
        pytest.param(CloseCode.OVERLOADED, True, marks=pytest.mark.soak),
    ],
)
async def test_close_code_decides_whether_a_device_reconnects(
    tmp_path: Path, close: CloseCode, comes_back: bool
) -> None:
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path) as device:
        guest = await hub.welcomed()
        await guest.dismiss(Goodbye(reason="stopping", message="for a reason"), close)
        if comes_back:
            await hub.welcomed()
            assert (await device.happens("disconnected"))[0]["reason"].startswith("for a reason")
        else:
            (closed,) = await device.happens("closed")
            assert (closed["code"], closed["reason"][:12]) == (close, "for a reason")
            assert closed["meaning"]


async def test_device_closes_the_connection_to_a_hub_with_another_key(tmp_path: Path) -> None:
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path) as device:
        await hub.welcomed()
        await device.kill()
        hub.key = type(hub.key)(bytes([9]) * 32)
        await device.start()
        guest = await hub.guest()
        assert await guest.challenged() == 1000
        (closed,) = await device.happens("closed")
        assert "has another key than before" in closed["reason"]


@pytest.mark.soak
async def test_pairing_code_is_shown_once_while_the_device_repeats_the_hello(tmp_path: Path) -> None:
    async with ScriptedHub().open() as hub, device_at(hub, tmp_path) as device:
        keys = set()
        for code in ("K7QF; id", "K7QF-2M9X", "K7QF-2M9X"):
            error = Error(code=ErrorCode.PAIRING_REQUIRED, pairing_code=code, retry_after_ms=1)
            guest = await hub.guest()
            hello = await guest.hello()
            assert hello.identity is not None
            keys.add(hello.identity.public_key)
            await guest.refuse(error, CloseCode.PAIRING_REQUIRED)
        await hub.welcomed()
        (shown,) = device.events("pairing")
        assert (shown[0]["code"], len(keys)) == ("K7QF-2M9X", 1)
