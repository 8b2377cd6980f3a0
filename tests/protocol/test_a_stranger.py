"""The device at the top of PROTOCOL.md: nothing of ours on its side, and it works just as it stands."""

import sys
from pathlib import Path

import anyio
from websockets.asyncio.server import ServerConnection, serve

from protocol.codec import SUBPROTOCOLS, for_subprotocol
from protocol.errors import CloseCode
from protocol.frame import Frame
from protocol.handshake import Goodbye
from protocol.ids import CallId, ConnectionId, DeviceId, UserId
from protocol.session import Answered, Ended, HelloReceived, HubSession, Received, SessionEvent
from protocol.work import Action, AgentComplete, AgentData, AgentRun, Answer, FilePiece, RunConfig, ToolCall
from tests.support.documents import device_program
from tests.support.script import NONCE, OPENED_AT, TS_MS

CALL = ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "Send the invoice"})


class SmallHub:
    """A hub that knows one device, gives it one run and one call, the call twice, and says goodbye."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.heard: list[SessionEvent] = []

    async def talk(self, socket: ServerConnection) -> None:
        session = HubSession(
            codec=for_subprotocol(socket.subprotocol), hub_id="hub-1", nonce=NONCE, now=OPENED_AT, ts_ms=TS_MS
        )
        await self._send(socket, session)
        async for message in socket:
            for event in session.receive_data(message, OPENED_AT):
                self.heard.append(event)
                ended = self._react(session, event)
                await self._send(socket, session)
                if ended is not None:
                    await socket.close(ended.code, ended.reason_text)

    def _react(self, session: HubSession, event: SessionEvent) -> Ended | None:
        match event:
            case HelloReceived():
                self.token = session.token
                session.accept(
                    user_id=UserId("user-1"),
                    device_id=DeviceId("device-1"),
                    connection_id=ConnectionId("connection-1"),
                    epoch=1,
                    ts_ms=TS_MS,
                    now=OPENED_AT,
                )
                wanted = RunConfig(file_extensions=[".md"], data_types=["tasks"])
                session.send(AgentRun(run_id="r-1", fence=3, agent_id="a-1", config=wanted))
            case Received(AgentComplete()):
                session.send(CALL)
                session.send(CALL)
            case Answered() if sum(isinstance(heard, Answered) for heard in self.heard) == 2:
                return session.end(Goodbye(reason="stopping"), CloseCode.STOPPING)
            case Ended():
                return event
        return None

    async def _send(self, socket: ServerConnection, session: HubSession) -> None:
        for data in session.data_to_send():
            await socket.send(data.decode() if session.codec.is_text else data)


async def live(hub: SmallHub, folder: Path) -> tuple[str, list[Answered]]:
    """Run the device until the hub says goodbye; return what it printed, and its answers."""
    with anyio.fail_after(20):
        async with serve(hub.talk, "127.0.0.1", 0, subprotocols=SUBPROTOCOLS) as server:  # type: ignore[arg-type]
            port = next(iter(server.sockets)).getsockname()[1]
            url = f"ws://127.0.0.1:{port}/v1/device"
            command = [sys.executable, *(str(folder / name) for name in ("device.py", "desk.token", "notes"))]
            command.insert(2, url)
            done = await anyio.run_process(command, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), [event for event in hub.heard if isinstance(event, Answered)]


async def test_example_device_reads_files_and_inserts_an_item_once(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    note = tmp_path / "notes" / "week.MD"
    note.write_text("- [ ] Send the invoice\n")
    (tmp_path / "notes" / "picture.png").write_bytes(b"\x89PNG")
    device = tmp_path / "device.py"
    device.write_text(device_program())
    (tmp_path / "desk.token").write_text("hub_dev_secret\n")

    hub = SmallHub()
    printed, answers = await live(hub, tmp_path)
    assert hub.token == "hub_dev_secret"
    said: list[Frame] = [event.frame for event in hub.heard if isinstance(event, Received)]
    content = FilePiece(path=str(note), content="- [ ] Send the invoice\n")
    assert said == [AgentData(run_id="r-1", fence=3, files=[content]), AgentComplete(run_id="r-1", fence=3)]
    answered = Answered(CallId("c-1"), Answer(result={"id": "row-1"}))
    assert answers == [answered, answered]
    assert printed.splitlines() == ["insert tasks {'title': 'Send the invoice'}"]
    assert await live(SmallHub(), tmp_path) == ("", [answered, answered]), "after a new start"


def test_example_device_has_at_most_24_lines() -> None:
    assert len([line for line in device_program().splitlines() if line.strip()]) <= 24
    assert "protocol" not in device_program().replace("subprotocols", "")
