"""``hub connect`` as people meet it: how it ends, and that it works with the hub we ship.

The device stores the newest configuration of its agents, and requests what it missed. It lets its owner sign
in: one answer with the right state goes to the hub, and nothing else.
"""

import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from subprocess import PIPE
from typing import Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx2
import pytest

from hub.base.clock import SystemClock
from hub.device.app import DeviceOptions, ReferenceDevice, run_device, serve_device
from hub.device.credentials import TokenCredential
from hub.device.known_hubs import KnownHubs, dialled
from hub.device.sign_in import SHOWN_A_MINUTE, Browser
from protocol.capabilities import CapabilityName
from protocol.coordination import Event, EventName, Method, Request, Response
from protocol.errors import CloseCode, ErrorCode
from protocol.frame import ErrorBody, Parameters, Values
from protocol.handshake import Error, Goodbye
from protocol.tool_calls import Action, Answer, ToolCall
from protocol.work import AgentAck, AgentComplete, AgentData, AgentManifest, AgentRun, RunConfig, RunMode
from tests.support.clock import FakeClock, SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.families import each
from tests.support.programs import ending
from tests.support.scripted_hub import Guest, ScriptedHub
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


async def test_interrupted_device_closes_the_connection_and_exits_with_0(tmp_path: Path) -> None:
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


async def test_new_address_of_a_known_hub_makes_no_second_key(tmp_path: Path) -> None:
    of_keys = []
    async with ScriptedHub().open() as hub:
        for url in (hub.url, hub.url.replace("127.0.0.1", "localhost")):
            async with _serving(url, tmp_path, token=None) as (told, _):
                await hub.welcomed()
                of_keys.append([line for line in told if line.startswith("the key of")])
    of_device, of_hub = of_keys[0]
    assert of_keys[1] == [f"{of_hub}, which this device knows at {dialled(hub.url)}", of_device]
    assert [file.name async for file in anyio.Path(tmp_path).glob("*.key")] == ["desk.key"]


async def test_refused_device_exits_with_the_code_of_the_reason(tmp_path: Path) -> None:
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


def test_foreign_database_as_device_file_exits_with_73(tmp_path: Path) -> None:
    lines: list[str] = []
    with closing(sqlite3.connect(tmp_path / "d.db")) as theirs:
        theirs.execute("CREATE TABLE precious (x)")
    options = DeviceOptions(urls=["ws://127.0.0.1:9"], roots=[tmp_path], db=tmp_path / "d.db", token="t")

    assert run_device(options, on_status=lines.append) == 73
    assert "is not a device's database" in lines[-1]


async def test_shared_folder_retains_the_name_if_the_parent_folder_is_shared_too(
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
async def test_reference_device_runs_and_inserts_with_the_real_hub(tmp_path: Path, mode: RunMode) -> None:
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


def config(agent_id: str, rev: int, **configuration: Any) -> Values:
    return {"agent_id": agent_id, "rev": rev, "configuration": configuration}


def event(seq: int, data: Values, name: str = EventName.AGENT_CONFIG) -> Event:
    return Event(event=name, seq=seq, data=data)


async def keeps(device: RunningDevice, *wanted: tuple[str, int, dict[str, Any]]) -> None:
    def stored() -> list[tuple[str, int, dict[str, Any]]]:
        with closing(sqlite3.connect(device.db)) as db:
            found = db.execute("SELECT agent_id, rev, configuration FROM agent_configs ORDER BY agent_id")
            return [(agent_id, rev, json.loads(text)) for agent_id, rev, text in found]

    await until(lambda: stored() == list(wanted))


async def tell(guest: Guest, *events: Event) -> None:
    for one in events:
        await guest.say(one)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_device_stores_and_reports_the_configuration_of_each_agent(
    tmp_path: Path, codec: Literal["json", "msgpack"]
) -> None:
    deep = {"a": [[[[[[[[[["as deep as it likes"]]]]]]]]]], "n": None}
    async with ScriptedHub().open() as hub, open_device(hub.url, tmp_path, codec=codec) as device:
        guest = await hub.guest()
        assert CapabilityName.AGENT_CONFIG in {one.name for one in (await guest.welcome()).capabilities}
        await tell(
            guest,
            event(1, config("a-1", 7, limit=5, deep=deep)),
            event(2, config("a-2", 1)),
        )
        await keeps(device, ("a-1", 7, {"limit": 5, "deep": deep}), ("a-2", 1, {}))
        await until(lambda: any("configuration of a-1: revision 7, 2 keys" in line for line in device.told))


async def test_older_config_revision_within_a_connection_is_ignored(
    device: RunningDevice, guest: Guest
) -> None:
    await tell(
        guest,
        event(1, config("a-1", 7, limit=7)),
        event(2, config("a-1", 6, limit=6)),
        event(3, config("a-2", 1)),
    )
    await keeps(device, ("a-1", 7, {"limit": 7}), ("a-2", 1, {}))


async def test_device_accepts_a_lower_config_revision_over_a_new_connection(
    hub: ScriptedHub, device: RunningDevice, guest: Guest, clock: FakeClock
) -> None:
    await tell(guest, event(1, config("a-1", 7, limit=7)))
    await keeps(device, ("a-1", 7, {"limit": 7}))
    await guest.cut()
    await until(lambda: any("again" in line or "broke" in line for line in device.told))
    clock.advance(120)
    guest = await hub.welcomed()
    await tell(guest, event(1, config("a-1", 3, limit=3)))
    await keeps(device, ("a-1", 3, {"limit": 3}))


async def test_event_gap_makes_the_device_fetch_all_agent_configs(
    device: RunningDevice, guest: Guest
) -> None:
    await tell(guest, event(1, config("a-1", 1)), event(3, {}, EventName.AGENT_MOVED))
    asked = await guest.hear(Request)
    assert asked.method == Method.AGENTS_LIST
    listed = [{"agent_id": "a-1", "name": "one"}, {"agent_id": "a-2", "name": "two"}]
    await guest.say(Response(id=asked.id, result={"agents": listed}))
    for agent_id, rev in (("a-1", 2), ("a-2", 8)):
        asked = await guest.hear(Request)
        assert (asked.method, asked.params) == (Method.CONFIG_GET, {"agent_id": agent_id})
        more: Values = {"configs": [{"key": "limit"}]}
        await guest.say(Response(id=asked.id, result={**config(agent_id, rev, limit=9), **more}))
    await keeps(device, ("a-1", 2, {"limit": 9}), ("a-2", 8, {"limit": 9}))


async def test_device_asks_for_the_agents_again_at_each_event_gap(
    device: RunningDevice, guest: Guest
) -> None:
    for seq in (5, 9):
        await tell(guest, event(seq, {}, EventName.AGENT_MOVED))
        asked = await guest.hear(Request)
        assert asked.method == Method.AGENTS_LIST
        busy = ErrorBody(code=ErrorCode.OVERLOADED, message="later", retryable=True)
        await guest.say(Response(id=asked.id, error=busy))
    await tell(guest, event(10, config("a-1", 1)))
    await keeps(device, ("a-1", 1, {}))


async def test_device_ignores_malformed_config_events(device: RunningDevice, guest: Guest) -> None:
    wrong: list[Values] = [
        {},
        {"agent_id": 5, "rev": 1, "configuration": {}},
        {"agent_id": "a", "rev": 1, "configuration": []},
    ]
    events = [event(seq, data) for seq, data in enumerate(wrong, 1)]
    await tell(guest, *events, event(4, {}, "nobody.knows"), event(5, config("a-1", 1)))
    await keeps(device, ("a-1", 1, {}))


URL = "https://op.example/authorize?state=s"


class HubLine:
    """A line to a hub that answers requests in the order of *answers*."""

    def __init__(self, *answers: ErrorBody | None) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def request(self, method: Method, params: Parameters) -> Response:
        self.asked.append(Request(id="r", method=method, params=params))
        error = self.answers.pop(0)
        return Response(id="r", error=error) if error else Response(id="r", result={})


class Desk:
    """A device whose owner *agrees*, or does not, to what they are asked."""

    def __init__(self, *, agrees: bool = True) -> None:
        self.told: list[str] = []
        self.asked: list[str] = []
        self.opened: list[str] = []
        self.agrees = agrees
        self.browser = Browser(SystemClock(), self.told.append, self._ask, self._open)

    async def _ask(self, question: str) -> bool:
        self.asked.append(question)
        return self.agrees

    def _open(self, url: str) -> bool:
        self.opened.append(url)
        return True

    async def call(self, **data: Any) -> Answer:
        said = {"sign_in_id": "one", "account": "work"} | data
        frame = ToolCall(id="c-1", action=Action.BROWSER_OPEN, data=said)
        return await self.browser.done(frame)

    async def listen(self, id: str = "one") -> str:
        answer = await self.call(sign_in_id=id, listen=True, state="s")
        assert isinstance(answer.result, dict)
        return f"http://127.0.0.1:{answer.result['port']}"


async def get_page(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=10) as browser:
        return await browser.get(url)


async def test_redirect_with_the_right_state_is_forwarded_once_and_the_listener_is_closed() -> None:
    desk = Desk()
    at = await desk.listen()
    assert await desk.listen() == at  # the call came twice
    assert ((await desk.call(url=URL)).result, desk.opened) == ({"opened": False}, [])
    hub: Any = HubLine(None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.browser.serve, hub)
        for wrong in ("/", "/?state=x&code=y", "/?state=s", "/favicon.ico"):
            assert (await get_page(at + wrong)).status_code == 404
        page = await get_page(at + "/?state=s&code=the-code")
        tasks.cancel_scope.cancel()
    assert desk.opened == [URL]
    assert "Signed in" in page.text
    assert "the-code" not in page.text + repr(desk.told)
    (asked,) = hub.asked
    assert (asked.method, asked.params) == (
        "sign_ins.answer",
        {"sign_in_id": "one", "state": "s", "code": "the-code"},
    )
    with pytest.raises(httpx2.TransportError):
        await get_page(at + "/?state=s&code=again")


async def test_a_redirect_is_forwarded_over_the_next_connection() -> None:
    desk = Desk()
    at = await desk.listen()
    pages: list[httpx2.Response] = []

    async def browse() -> None:
        pages.append(await get_page(at + "/?state=s&error=access_denied"))

    refused = ErrorBody(code="sign_in_failed", message="it was <not> allowed", retryable=False)
    hub: Any = HubLine(refused)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(browse)
        await anyio.sleep(0.1)  # no hub is connected
        async with anyio.create_task_group() as connection:
            connection.start_soon(desk.browser.serve, hub)
            while not pages:  # noqa: ASYNC110 - a thread answers
                await anyio.sleep(0.02)
            connection.cancel_scope.cancel()
    assert "it was &lt;not&gt; allowed" in pages[0].text
    assert hub.asked[0].params["error"] == "access_denied"


@each("agrees", [True, False])
async def test_the_owner_is_shown_the_address_and_asked_before_a_browser_is_opened(agrees: bool) -> None:
    desk = Desk(agrees=agrees)
    await desk.listen()
    for _ in range(2):  # a call that comes again is asked once
        assert (await desk.call(url=URL)).result == {"opened": False}
    assert desk.told == [f"the hub asks you to sign in to work: {URL}"]
    hub: Any = HubLine()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.browser.serve, hub)
        with anyio.fail_after(5):
            while desk.browser._doors["one"].url is not None:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert (desk.asked, desk.opened) == (["open op.example in the browser?"], ([URL] if agrees else []))


async def test_sign_in_addresses_beyond_the_rate_per_minute_are_refused() -> None:
    desk = Desk()
    answers = []
    for number in range(SHOWN_A_MINUTE + 1):
        await desk.listen(str(number))
        answers.append((await desk.call(sign_in_id=str(number), url=URL)).error)
    *shown, refused = answers
    assert shown == [None] * SHOWN_A_MINUTE
    assert refused is not None and refused.code == ErrorCode.RATE_LIMITED
    assert len(desk.told) == SHOWN_A_MINUTE


@each(
    "url",
    [
        *("file:///etc/passwd", "http://example.org/", "javascript:1", "", "https://"),
        *("http://127.0.0.1:8771/v1/agents", "https://127.0.0.1/", "https://[::1]/", "https://localhost/"),
        *("https://192.168.1.1/", "https://169.254.169.254/latest", "https://router/", "https://nas.local/"),
        *(
            "https://127.1/",
            "https://0x7f.1/",
            "https://[::ffff:127.0.0.1]/",
            "https://[x]/",
            "https://nas.lan",
        ),
        *(
            r"https://evil.example\@op.example/",
            "https://op.example@evil.example/",
            "https://127.0.0.1\\@a.b/",
        ),
        *(
            "https://op.example/\x00",
            "https://\u0430.example/",
            "https://op.example/ x",
            "https://a.b/" + "x" * 3_000,
        ),
    ],
)
async def test_sign_in_address_other_than_a_remote_web_page_is_refused(url: str) -> None:
    desk = Desk()
    await desk.listen()
    assert (await desk.call(url=url)).error is not None
    assert desk.told == []


async def test_no_page_is_opened_for_a_sign_in_without_a_listener() -> None:
    assert (await Desk().call(url=URL)).error is not None
