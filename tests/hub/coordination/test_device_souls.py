"""Souls on our own devices: the same words, the same hashes, and no gateway anywhere."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from hub.base.tokens import hash_token
from hub.coordination.messages import NoSession
from hub.coordination.souls import DeviceRefused
from hub.links.device_link import DeviceLink
from protocol.coordination import SoulWriteState
from protocol.errors import CallTimedOut, CodedError, DeviceOffline, ErrorCode, LinkLost
from protocol.frame import ErrorBody
from protocol.ids import DeviceId, TokenId
from protocol.tool_calls import Action, Answer, ToolCall
from storage.coordination import souls
from storage.devices.tokens import DEVICE_TOKENS
from tests.hub.coordination.souls import AT_DESK, OPERATOR, SoulBench, open_souls
from tests.support.coded import coded
from tests.support.device import RunningDevice, open_device
from tests.support.families import each
from tests.support.link import FakeLink
from tests.support.wire import open_port, until

DESK = DeviceId("device-desk")
TOKEN = "hub_dev_desk"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[SoulBench]:
    async with open_port() as port, open_souls(tmp_path, port=port) as opened:
        await port.store.write(
            DEVICE_TOKENS.create, id=TokenId("t-1"), device_id=DESK, token_hash=hash_token(TOKEN), at=1
        )
        yield opened


@pytest.fixture
async def device(bench: SoulBench, tmp_path: Path) -> AsyncIterator[RunningDevice]:
    assert bench.port is not None
    async with open_device(bench.port.url, tmp_path, TOKEN) as running:
        await connected(bench)
        yield running


async def connected(bench: SoulBench) -> None:
    port = bench.port
    assert port is not None
    await until(lambda: port.roster.find(DESK) is not None)


def written_there(device: RunningDevice, content: str) -> None:
    """The owner, or a program of theirs, writes the soul."""
    with closing(sqlite3.connect(device.db, isolation_level=None)) as db:
        row = (AT_DESK, "SOUL.md", content, souls.digest(content), 1)
        db.execute("REPLACE INTO agent_files VALUES (?, ?, ?, ?, ?)", row)


def calls_kept(device: RunningDevice) -> list[str]:
    with closing(sqlite3.connect(device.db)) as db:
        return [action for (action,) in db.execute("SELECT action FROM calls ORDER BY rowid")]


class Losing:
    """A link to a real device that loses answers: the device has done it, and nobody is told."""

    def __init__(self, link: DeviceLink, errors: list[Exception]) -> None:
        self._link = link
        self._errors = errors
        self.device_id = link.device_id

    async def call(self, frame: ToolCall) -> Answer:
        answer = await self._link.call(frame)
        if frame.action is Action.FILE_PUT and self._errors:
            raise self._errors.pop(0)
        return answer


async def test_device_agent_has_a_soul_after_the_first_write(bench: SoulBench, device: RunningDevice) -> None:
    assert await bench.read(AT_DESK) is None

    write = await bench.put("be brief", "", agent=AT_DESK)

    sight = await bench.souls.read(OPERATOR, "garden", "desk")
    assert (write.state, sight.where) == (SoulWriteState.DONE, f"device:{DESK}")
    assert sight.soul is not None
    assert (sight.soul.content, sight.soul.sha256) == ("be brief", souls.digest("be brief"))
    assert "SOUL.md of agent-desk was written" in device.told


async def test_conflicting_soul_write_on_a_device_is_refused_with_both_hashes(
    bench: SoulBench, device: RunningDevice
) -> None:
    await bench.put("be brief", "", agent=AT_DESK)
    written_there(device, "be long")

    with pytest.raises(CodedError, check=coded(ErrorCode.SOUL_CONFLICT)) as refused:
        await bench.put("be quick", souls.digest("be brief"), agent=AT_DESK)

    members = refused.value.members
    assert (members["expected_sha256"], members["found_sha256"]) == (
        souls.digest("be brief"),
        souls.digest("be long"),
    )
    assert await bench.history(AT_DESK) == [
        ("written", "be brief", "operator:1000"),
        ("seen", "be long", f"device:{DESK}"),
        ("refused", "be quick", "operator:1000"),
    ]


@each("content", ["x" * 262_144, '\n"' * 131_072, "ä€𝄞" * 20_000])
async def test_long_device_soul_is_read_completely_in_parts(
    bench: SoulBench, device: RunningDevice, content: str
) -> None:
    before = len(calls_kept(device))
    write = await bench.put(content, agent=AT_DESK)

    assert write.state is SoulWriteState.DONE
    assert await bench.read(AT_DESK) == content.strip()
    assert calls_kept(device)[before:] == ["file.put"]  # looks are not kept


async def test_soul_write_with_a_lost_device_answer_is_done_once(
    bench: SoulBench, device: RunningDevice
) -> None:
    assert bench.port is not None
    lost: list[Exception] = [LinkLost("cut", dispatched=True), CallTimedOut("late")]
    bench.links[DESK] = Losing(bench.port.link(DESK), lost)  # type: ignore[assignment]  # all that is asked of it

    write = await bench.put("be brief", agent=AT_DESK)

    assert (write.state, write.sends, calls_kept(device)) == (SoulWriteState.DONE, 1, ["file.put"])


async def test_device_remembers_the_hub_write_as_earlier_than_a_write_of_another_author(
    bench: SoulBench, device: RunningDevice
) -> None:
    assert bench.port is not None
    link = Losing(bench.port.link(DESK), [LinkLost("cut", dispatched=True)])
    bench.links[DESK] = link  # type: ignore[assignment]  # all that is asked of it
    waiting = await bench.put("be brief", agent=AT_DESK, wait_s=0)
    await until(lambda: not link._errors)
    await bench.kill()
    written_there(device, "be long")

    bench.start()
    write = await bench.writer.settled_or(waiting.id, 120)

    assert write.state is SoulWriteState.DONE
    assert [(kind, text) for kind, text, _ in await bench.history(AT_DESK)] == [
        ("written", "be brief"),
        ("seen", "be long"),
    ]


async def test_soul_write_waits_until_the_device_is_connected(bench: SoulBench, tmp_path: Path) -> None:
    assert bench.port is not None
    with pytest.raises(DeviceOffline, match="device desk of agent desk is not connected"):
        await bench.read(AT_DESK)
    waiting = await bench.put("be brief", agent=AT_DESK, wait_s=10)
    assert (waiting.state, waiting.reason_code) == (SoulWriteState.WAITING, ErrorCode.DEVICE_OFFLINE)

    async with open_device(bench.port.url, tmp_path, TOKEN):
        await connected(bench)
        bench.writer.recheck()
        write = await bench.writer.settled_or(waiting.id, 120)

    assert write.state is SoulWriteState.DONE


@each(
    ("answer", "told"),
    [
        (Answer(result={"name": "SOUL.md"}), "cannot be read"),
        (Answer(error=ErrorBody(code="bad_params", message="no")), "no"),
        (
            Answer(result={"name": "SOUL.md", "sha256": "0" * 64, "content": "x"}),
            "does not match its hash",
        ),
        (
            Answer(result={"name": "SOUL.md", "sha256": "0" * 64, "content": "x", "next_offset": 9}),
            "do not make a text",
        ),
    ],
)
async def test_invalid_soul_answer_of_a_device_is_refused(
    bench: SoulBench, answer: Answer, told: str
) -> None:
    bench.links[DESK] = FakeLink(DESK, capabilities=["file.get", "file.put"], answers=[answer, answer])
    with pytest.raises(DeviceRefused, match=told):
        await bench.read(AT_DESK)

    with pytest.raises(CodedError, match=told) as refused:
        await bench.put("be brief", agent=AT_DESK)

    assert refused.value.code is ErrorCode.DEVICE_ERROR


async def test_soul_write_of_an_agent_without_gateway_or_device_is_refused(bench: SoulBench) -> None:
    await bench.store.write(lambda c: c.exec_driver_sql("UPDATE agents SET device_id = NULL"))

    with pytest.raises(NoSession, match="lives on no gateway and on no device"):
        await bench.put("be brief", agent=AT_DESK)


async def test_concurrent_device_soul_writes_have_a_single_winner_and_the_loser_gets_both_hashes(
    bench: SoulBench, device: RunningDevice
) -> None:
    base = ""
    for number in range(4):
        winner = await bench.contend(number, base, agent=AT_DESK)
        base = souls.digest(winner)
    assert await bench.read(AT_DESK) == winner
