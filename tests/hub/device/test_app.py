"""``hub connect`` as people meet it: how it ends, and that it works with the hub we ship."""

import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from subprocess import PIPE

import anyio
import pytest

from hub.device.app import DeviceOptions, ReferenceDevice, run_device, serve_device
from hub.device.credentials import KnownHubs, TokenCredential, dialled
from protocol.errors import CloseCode, ErrorCode
from protocol.handshake import Error, Goodbye
from protocol.work import AgentAck, AgentComplete, AgentData, AgentManifest, AgentRun, RunConfig, RunMode
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import open_device
from tests.support.programs import ending
from tests.support.scripted_hub import ScriptedHub
from tests.support.wire import make_call, open_port, until

_CONNECT = """
import sys
from pathlib import Path
from hub.device.app import DeviceOptions, run_device

url, state = sys.argv[1], Path(sys.argv[2])
options = DeviceOptions(urls=[url], roots=[state / "notes"], db=state / "desk.db", token="t", name="desk")
sys.exit(run_device(options, on_status=lambda line: print(line, flush=True)))
"""


@asynccontextmanager
async def _serving(
    url: str, state: Path, token: str | None = "t"
) -> AsyncIterator[tuple[list[str], list[int]]]:
    """Serve a device until it ends, or until the block ends; yield its messages, and its exit code then."""
    (state / "notes").mkdir(exist_ok=True)
    options = DeviceOptions(
        urls=[url], roots=[state / "notes"], db=state / "desk.db", token=token, name="desk"
    )
    told, codes = list[str](), list[int]()

    async def serve() -> None:
        codes.append(await serve_device(options, on_status=told.append))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        yield told, codes
        tasks.cancel_scope.cancel()


async def test_an_interrupted_device_says_goodbye_and_is_done(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    root = Path(__file__).parents[3]
    async with ScriptedHub().open() as hub:
        command = [sys.executable, "-c", _CONNECT, hub.url, str(tmp_path)]
        async with await anyio.open_process(command, stdout=PIPE, stderr=None, cwd=root) as process:
            with ending(process), anyio.fail_after(30):
                guest = await hub.welcomed()
                process.send_signal(signal.SIGTERM)
                assert await guest.left() == CloseCode.NORMAL
                assert process.stdout is not None
                told = b"".join([block async for block in process.stdout]).decode().splitlines()
                assert (await process.wait(), told[-1]) == (0, "stopped")


async def test_a_new_address_of_a_known_hub_is_told_as_one_and_makes_no_second_key(tmp_path: Path) -> None:
    of_keys = []
    async with ScriptedHub().open() as hub:
        for url in (hub.url, hub.url.replace("127.0.0.1", "localhost")):
            async with _serving(url, tmp_path, token=None) as (told, _):
                await hub.welcomed()
                of_keys.append([line for line in told if line.startswith("the key of")])
    of_device, of_hub = of_keys[0]
    assert of_keys[1] == [f"{of_hub}, which this device knows at {dialled(hub.url)}", of_device]
    assert [file.name async for file in anyio.Path(tmp_path).glob("*.key")] == ["desk.key"]


async def test_a_device_that_is_turned_away_ends_with_the_exit_code_of_the_reason(tmp_path: Path) -> None:
    async with ScriptedHub().open() as hub:
        async with _serving(hub.url, tmp_path) as (told, codes):
            guest = await hub.guest()
            assert (await guest.hello()).roots == [str(tmp_path / "notes")]
            await guest.refuse(Error(code=ErrorCode.REVOKED, message="token revoked"), CloseCode.REVOKED)
            await until(lambda: codes == [77])
        reason = "not coming back by itself: device or token revoked: token revoked; with a key"
        assert (told[-1].startswith(reason), "--name desk --new-key" in told[-1]) == (True, True)

        async with _serving(hub.url, tmp_path) as (_, codes):
            await (await hub.welcomed()).dismiss(Goodbye(reason="replaced"), CloseCode.REPLACED)
            await until(lambda: codes == [1])


@pytest.mark.parametrize(
    ("url", "root", "token", "told"),
    [
        ("http://x", ".", "t", "no address"),
        ("ws://127.0.0.1:9", "nowhere", "t", "is not a folder"),
        ("ws://127.0.0.1:9", ".", "", "the token is empty"),
    ],
)
def test_wrong_arguments_are_a_usage_error(
    tmp_path: Path, url: str, root: str, token: str, told: str
) -> None:
    lines: list[str] = []
    options = DeviceOptions(urls=[url], roots=[tmp_path / root], db=tmp_path / "d.db", token=token)

    assert run_device(options, on_status=lines.append) == 2
    assert told in lines[-1]


def test_a_file_that_cannot_be_used_ends_with_73(tmp_path: Path) -> None:
    lines: list[str] = []
    with closing(sqlite3.connect(tmp_path / "d.db")) as theirs:
        theirs.execute("CREATE TABLE precious (x)")
    options = DeviceOptions(urls=["ws://127.0.0.1:9"], roots=[tmp_path], db=tmp_path / "d.db", token="t")

    assert run_device(options, on_status=lines.append) == 73
    assert "is not a device's database" in lines[-1]


async def test_a_shared_folder_keeps_its_name_when_the_one_around_it_is_shared_too(
    tmp_path: Path, clock: FakeClock
) -> None:
    (tmp_path / "docs/notes").mkdir(parents=True)

    async def names(*folders: str) -> set[str]:
        told: list[str] = []
        roots = [tmp_path / folder for folder in folders]
        device = ReferenceDevice(
            DeviceOptions(urls=["ws://127.0.0.1:9"], roots=roots, db=tmp_path / "d.db"),
            TokenCredential("t"),
            clock=clock,
            chance=SeededChance(),
            on_status=told.append,
            hubs=KnownHubs(tmp_path / "d.hubs", tmp_path / "d.key"),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(device.serve)
            await until(lambda: "next try in" in "".join(told[-1:]))
            tasks.cancel_scope.cancel()
        return {line.rpartition(" as ")[2] for line in told if line.startswith("sharing")}

    assert await names("docs/notes") == {"notes"}
    assert await names("docs/notes", "docs") == {"notes", "docs"}
    assert await names("docs") == {"notes", "docs"}


@pytest.mark.parametrize("mode", list(RunMode))
async def test_it_works_with_the_hub_we_ship(tmp_path: Path, mode: RunMode) -> None:
    async with open_port() as port:
        token = await port.pair("desk")
        async with open_device(port.url, tmp_path, token) as device:
            device.write("a.md", "call Ana")
            await until(lambda: len(port.roster.connected()) == 1)
            link = port.link("desk")
            run = AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig(), mode=mode)
            kinds = []
            async with link.open_run(run) as stream:
                async for frame in stream:
                    kinds.append(type(frame))
                    if isinstance(frame, AgentManifest):
                        await stream.fetch([file.path for file in frame.files], last=True)
                    if isinstance(frame, AgentData):
                        await stream.grant(len(frame.files))
            answer = await link.call(make_call())

            offered = [AgentManifest] if mode is RunMode.MANIFEST else []
            assert kinds == [AgentAck, *offered, AgentData, AgentComplete]
            (item,) = device.items()
            assert answer.result == {"id": item.row_id}
