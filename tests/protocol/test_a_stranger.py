"""The device at the top of PROTOCOL.md: nothing of ours on its side, and it works just as it stands."""

import sys
from pathlib import Path
from typing import NamedTuple

import anyio

from protocol.errors import CloseCode
from protocol.frame import Frame
from protocol.handshake import Goodbye
from protocol.tool_calls import Action, Answer, ToolCall
from protocol.work import AgentComplete, AgentData, AgentRun, FilePiece, RunConfig
from tests.support.documents import device_program
from tests.support.scripted_hub import ScriptedHub

CALL = ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "Send the invoice"})


class Walk(NamedTuple):
    """A device's life with a hub: what it showed, sent, answered and printed."""

    token: str | None
    frames: list[Frame]
    answers: list[Answer]
    printed: str


async def live(folder: Path) -> Walk:
    """Give the device a run and a call, the call twice, and end its program by a goodbye."""
    printed = list[bytes]()

    async def run_device(url: str) -> None:
        command = [sys.executable, *(str(folder / name) for name in ("device.py", "desk.token", "notes"))]
        command.insert(2, url)
        done = await anyio.run_process(command, check=False)
        assert done.returncode == 0, done.stderr.decode()
        printed.append(done.stdout)

    with anyio.fail_after(20):
        async with ScriptedHub().open() as hub, anyio.create_task_group() as tasks:
            tasks.start_soon(run_device, f"{hub.url}/v1/device")
            guest = await hub.welcomed()
            wanted = RunConfig(file_extensions=[".md"], data_types=["tasks"])
            await guest.say(AgentRun(run_id="r-1", fence=3, agent_id="a-1", config=wanted))
            frames = [await guest.hear(AgentData), await guest.hear(AgentComplete)]
            for _ in range(2):
                await guest.say(CALL)
            answers = [await guest.answer(CALL.id) for _ in range(2)]
            await guest.dismiss(Goodbye(reason="stopping"), CloseCode.STOPPING)
    return Walk(guest.session.token, frames, answers, printed[0].decode())


async def test_example_device_reads_files_and_inserts_an_item_once(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    note = tmp_path / "notes" / "week.MD"
    note.write_text("- [ ] Send the invoice\n")
    (tmp_path / "notes" / "picture.png").write_bytes(b"\x89PNG")
    device = tmp_path / "device.py"
    device.write_text(device_program())
    (tmp_path / "desk.token").write_text("hub_dev_secret\n")

    first = await live(tmp_path)
    content = FilePiece(path=str(note), content="- [ ] Send the invoice\n")
    read = [AgentData(run_id="r-1", fence=3, files=[content]), AgentComplete(run_id="r-1", fence=3)]
    answers = [Answer(result={"id": "row-1"})] * 2
    assert first == Walk("hub_dev_secret", read, answers, "insert tasks {'title': 'Send the invoice'}\n")
    assert await live(tmp_path) == first._replace(printed=""), "after a new start"


def test_example_device_has_at_most_24_lines() -> None:
    assert len([line for line in device_program().splitlines() if line.strip()]) <= 24
    assert "protocol" not in device_program().replace("subprotocols", "")
