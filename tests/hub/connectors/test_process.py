"""Connectors by others: programs in a jail, what they can reach, and what becomes of their faults."""

import importlib.util
import json
import os
import platform
import re
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import msgspec
import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from hub.base.log.channel import fields_of
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.base.output_pace import OutputPace
from hub.cli.access import connectors as command
from hub.connectors import process
from hub.connectors.calling import (
    ConnectorFailure,
    CursorLost,
    FileUnusable,
    MessageUnreadable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    QuotaSpent,
    SignInNeeded,
    Unavailable,
)
from hub.connectors.conformance import ConnectorConformance, process_at
from hub.connectors.connector import Connector, documents_of
from hub.connectors.process import ProcessConnector, ProcessSettings
from hub.document import Document
from hub.text.confinement import landlock_version
from protocol.frame import check_value
from storage.agents.configs import Mailbox as MailboxConfig
from storage.store import Store
from tests.support.asgi import serving
from tests.support.clock import START, FakeClock
from tests.support.families import each
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.node_device import needs_node
from tests.support.programs import ending
from tests.support.runs import Bench, declare_agent, declare_connector, titles
from tests.support.runs import store as store

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        landlock_version() < 1 or platform.machine() not in ("x86_64", "aarch64"),
        reason="the jail is of Linux with Landlock, on x86-64 and ARM64",
    ),
]
ROOT = Path(__file__).parents[3]
KIT = Path(process.__file__).with_name("sdk")
SECRET = "tok-4711-secret"
# A connector that runs the code of its option, and reports what the code got, or which error it met.
PROBE = """
import ctypes, json, mmap, os, signal, socket, subprocess, sys, threading
from hub_connector import Connector, Failure, Message, Page, run

class Probe(Connector):
    name = "probe"
    options = {"code": {}}
    auth = AUTH
    origins = ORIGINS

    def check(self):
        names = globals() | {"ask": self.ask}
        try:
            exec(self.settings["code"], names)
            got = str(names.get("got", "passed"))
        except Failure as error:
            got = f"{error.code}: {error.message}"
        except BaseException as error:
            got = f"{type(error).__name__} {getattr(error, 'errno', '')}".strip()
        return {"name": "probe", "detail": got}

run(Probe)
"""
REFUSED = "PermissionError 1"  # by seccomp
CLOSED = "PermissionError 13"  # by Landlock


def scaffold(folder: Path, language: str) -> Path:
    """Write a connector as ``hub connectors new`` does, and return its folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        result = CliRunner().invoke(command, ["new", "notes", "--process", language])
    finally:
        os.chdir(before)
    assert (result.exit_code, "settings.command" in result.output) == (0, True), result.output
    return folder / "notes"


@pytest.fixture(scope="module", params=["python", pytest.param("node", marks=needs_node)])
def scaffolded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A new connector: the class of its own tests, as they were written."""
    folder = scaffold(tmp_path_factory.mktemp("kit"), request.param)
    spec = importlib.util.spec_from_file_location(f"of_{request.param}", folder / "test_connector.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TestConnector()


class TestScaffold(ConnectorConformance):
    """A new connector passes the tests of the contract as it was written, in each language."""

    @pytest.fixture(autouse=True)
    def tests(self, scaffolded: Any) -> None:
        self.place = scaffolded.place  # type: ignore[method-assign]


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    async with OutboundClient(OutboundRules()) as opened:
        yield opened


Write = Callable[..., ProcessConnector]


@pytest.fixture
async def write(tmp_path: Path, client: OutboundClient) -> AsyncIterator[Write]:
    """Write a program with its SDK, and open it as a connector; those opened are closed in the end."""
    folder, opened = tmp_path / "probe", []
    folder.mkdir()
    (folder / "hub_connector.py").write_text((KIT / "hub_connector.py").read_text())

    def make(source: str, **settings: Any) -> ProcessConnector:
        (folder / "connector.py").write_text(source)
        opened.append(process_at(client, folder, ["python", "connector.py"], **settings))
        return opened[-1]

    yield make
    for connector in opened:
        await connector.aclose()


def probe(write: Write, code: str, auth: str = "none", **settings: Any) -> ProcessConnector:
    """Return a connector that runs *code* when it is checked."""
    origins = settings.get("origins", ())
    source = PROBE.replace("AUTH", json.dumps({"kind": auth})).replace("ORIGINS", repr(origins))
    return write(source, options={"code": code}, **settings)


SYSCALL = """
libc = ctypes.CDLL(None, use_errno=True)
got = [(libc.syscall(n, {arguments}), ctypes.get_errno()) for n in {numbers}]
"""
# ptrace, process_vm_readv, pidfd_open, pidfd_send_signal, io_uring_setup, bpf, keyctl, shmget, memfd_create
OF_X86 = (101, 310, 434, 424, 425, 321, 250, 29, 319)
OF_ARM64 = (117, 270, 434, 424, 425, 280, 219, 194, 279)
NUMBERS = OF_X86 if platform.machine() == "x86_64" else OF_ARM64
ATTACKS = {  # in this order: the last one uses up what a program has
    "the settings of the hub": ("got = open('../hub.toml').read()", CLOSED),
    "the settings of the hub by a link": ("got = open('link').read()", CLOSED),
    "the database": ("got = open('../state/hub.db', 'rb').read()", CLOSED),
    "the users of the machine": ("got = open('/etc/passwd').read()", CLOSED),
    "a list of all folders": ("got = os.listdir('/')", CLOSED),
    "the folder of others for passing files": ("got = os.listdir('/tmp')", CLOSED),
    "the environment": ("got = sorted(os.environ.keys() - {'LC_CTYPE'})", "[]"),
    "the environment of the hub": ("got = open(f'/proc/{os.getppid()}/environ').read()", CLOSED),
    "the memory of the hub": ("got = open(f'/proc/{os.getppid()}/mem', 'rb').read(1)", CLOSED),
    "what the kernel lists of itself": ("got = open('/proc/self/environ').read()", CLOSED),
    "a TCP socket": ("socket.socket(socket.AF_INET, socket.SOCK_STREAM)", REFUSED),
    "a UDP socket": ("socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)", REFUSED),
    "a Unix socket": ("socket.socket(socket.AF_UNIX)", REFUSED),
    "a socket of the kernel": ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", REFUSED),
    "a pair of sockets that take addresses": ("socket.socketpair(type=socket.SOCK_DGRAM)", REFUSED),
    "a signal to the hub": ("os.kill(os.getppid(), signal.SIGTERM)", REFUSED),
    "system calls on others and on the kernel": (
        SYSCALL.format(numbers=NUMBERS, arguments="os.getppid(), 0, 0, 0, 0"),
        str([(-1, 1)] * len(NUMBERS)),
    ),
    "a file in its own folder": ("open('new', 'w')", CLOSED),
    "a file for all": ("open('/dev/shm/new', 'w')", CLOSED),
    "another version of itself": ("os.unlink('connector.py')", REFUSED),
    "a folder": ("os.mkdir('new')", REFUSED),
    "a process": ("os.fork()", REFUSED),
    "a process by a library": ("subprocess.run(['/bin/true'])", REFUSED),
    "another program in its place": ("os.execv('/usr/bin/env', ['env'])", CLOSED),
    "a descriptor of the hub": (
        "import fcntl\n"
        "def is_open(number):\n"
        "    try: return fcntl.fcntl(number, fcntl.F_GETFD) >= 0\n"
        "    except OSError: return False\n"
        "got = [number for number in range(4096) if is_open(number)]",
        "[0, 1, 2]",
    ),
    "10 GB of memory": ("bytearray(10 << 30)", "MemoryError"),
    "memory that no limit counts": ("mmap.mmap(-1, 4096)", REFUSED),
    "threads without an end": (
        "while True: threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "RuntimeError",
    ),
}


async def test_jailed_connector_process_reaches_no_outside_resource(write: Write, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for file in ("hub.toml", "state/hub.db"):
        (tmp_path / file).write_text("secret")
    (tmp_path / "probe" / "link").symlink_to("../hub.toml")
    connector = probe(write, "")
    answers = {}
    for attempt, (code, _) in ATTACKS.items():
        connector.settings.options["code"] = code
        answers[attempt] = (await connector.check()).detail
    assert answers == {attempt: answer for attempt, (_, answer) in ATTACKS.items()}


# It tries the same in JavaScript, whose runtime makes other calls.
IN_JAVASCRIPT = """
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { Connector, run } from "./hub_connector.mjs";

const errorOf = (attempt) => { try { attempt(); return "passed"; } catch (error) { return error.code; } };

class Probe extends Connector {
  static spec = { name: "probe" };

  async check() {
    const connected = await new Promise((resolve) => {
      net.connect(80, "127.0.0.1").on("error", (error) => resolve(error.code)).on("connect", resolve);
    });
    const read = errorOf(() => fs.readFileSync("/etc/passwd"));
    const written = errorOf(() => fs.writeFileSync("new", ""));
    const started = spawnSync("/bin/true").error?.code;
    const known = Object.keys(process.env).length;
    return { name: "probe", detail: [connected, read, written, started, known, "cut \\ud83d"].join(" ") };
  }
}

await run(Probe);
"""


@needs_node
async def test_jailed_javascript_connector_is_confined_and_replaces_half_surrogates(
    tmp_path: Path, client: OutboundClient
) -> None:
    (tmp_path / "hub_connector.mjs").write_text((KIT / "hub_connector.mjs").read_text())
    (tmp_path / "connector.mjs").write_text(IN_JAVASCRIPT)
    connector = process_at(client, tmp_path, ["node", "connector.mjs"])
    assert (await connector.check()).detail == "EPERM EACCES EACCES EPERM 0 cut \ufffd"
    await connector.aclose()


async def test_connector_process_ends_on_close_although_sigterm_is_ignored(write: Write) -> None:
    connector = probe(write, "signal.signal(signal.SIGTERM, signal.SIG_IGN); got = os.getpid()")
    descriptor = os.pidfd_open(int((await connector.check()).detail))
    await connector.aclose()
    assert select.select([descriptor], [], [], 0.0)[0] == [descriptor]  # it has ended
    os.close(descriptor)


class Site:
    """A server that repeats what it is sent, and counts."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        sent = request.headers.get("authorization", "")
        self.requests.append((request.method, request.url.path, sent))
        answer: Response = JSONResponse({"sent": dict(request.headers)}, headers={"X-Sent": sent})
        if request.url.path == "/away":
            answer = RedirectResponse(request.query_params["to"], 302)
        await answer(scope, receive, send)


@asynccontextmanager
async def sites() -> AsyncIterator[tuple[str, Site, str, Site]]:
    here, elsewhere = Site(), Site()
    async with serving(here) as url, serving(elsewhere) as other:
        yield url, here, other, elsewhere


async def test_hub_adds_the_secret_to_requests_without_showing_the_secret_to_the_connector(
    write: Write,
) -> None:
    async with sites() as (url, here, _, _):
        for auth, sent in (("header", f"Bearer {SECRET}"), ("basic", "Basic OnRvay00NzExLXNlY3JldA==")):
            code = (
                f"a = ask('{url}/', headers={{'authorization': 'mine', 'Host': 'other', 'X-Own': 'yes'}})\n"
                "got = json.dumps([a.headers, a.json()])"
            )
            detail = (await probe(write, code, auth, secret=SECRET, origins=[url]).check()).detail
            assert here.requests.pop() == ("GET", "/", sent)
            headers, body = json.loads(detail)
            assert sent.split()[1] not in detail and "[secret]" in headers["x-sent"]
            assert (body["sent"]["host"], body["sent"]["x-own"]) == (url.removeprefix("http://"), "yes")


async def test_answer_with_the_secret_in_another_spelling_is_not_shown_and_no_part_is_asked_for(
    write: Write,
) -> None:
    ranges = []

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        ranges.append({"range", "if-range", "accept-encoding"} & {*request.headers.keys()})
        escaped = "".join(f"\\u{ord(sign):04x}" for sign in request.headers["authorization"])
        answer = Response(f'{{"sent": "{escaped}"}}', media_type="application/json")
        if request.url.path == "/head":
            answer = Response("", headers={"X-Sent": quote(SECRET.replace("-", "%2D"))})
        await answer(scope, receive, send)

    async with serving(site) as url:
        for path in ("/", "/head"):
            parts = "{'Range': 'bytes=0-9', 'If-Range': 'x', 'Accept-Encoding': 'x-own'}"
            code = f"got = ask('{url}{path}', headers={parts})"
            connector = probe(write, code, "header", secret=SECRET, origins=[url])
            detail = (await connector.check()).detail
            assert detail == "unreadable: the answer repeats the secret in another spelling; it is not shown"
    assert ranges == [{"accept-encoding"}] * 2, "the client's own"


REFUSALS = {
    "ask('{other}/')": "bad_settings: the provider points to an address not its own; nothing was sent",
    "ask('{url}/away', query={{'to': '{other}/'}})": "unavailable: the provider answered 302",
    "ask(ask('{url}/away', query={{'to': '{other}/'}}, accept=[302]).headers['location'])": "bad_settings",
    "ask('file:///etc/passwd')": "bad_settings: the provider points to an address not its own",
    "ask('{url}/', method='DELETE')": "bad_settings: the connector sends DELETE, which settings.methods",
}


async def test_request_not_allowed_by_hub_toml_is_not_sent(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.connectors.calling.TRIES", 1)
    async with sites() as (url, here, other, elsewhere):
        connector = probe(write, "", origins=[url])
        for code, answer in REFUSALS.items():
            connector.settings.options["code"] = code.format(url=url, other=other)
            assert (await connector.check()).detail.startswith(answer)
        assert elsewhere.requests == [] and {path for _, path, _ in here.requests} == {"/away"}


SPEC = {"id": 1, "result": {"name": "probe", "api": [1, 1]}}


def saying(*lines: Any, then: str = "") -> str:
    """Return a program that writes these lines, one for each line that it reads, and then runs code."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return (
        f"import os, sys, time\nsys.stdout.reconfigure(errors='surrogateescape')\nfor text in {texts!r}:\n"
        "    sys.stdin.readline(); sys.stdout.write(text + '\\n'); sys.stdout.flush()\n"
        f"sys.stdin.readline()\n{then}"
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (saying(then="while True: sys.stdout.write('x' * 65536)"), "wrote a line of more than"),
        (saying(then="time.sleep(60)"), "did not answer within"),
        (saying('{"id": 1, "result": ' + "[" * 100_000), "is none of the protocol"),
        (saying('{"id": 1, "result": [' + "{}, " * 20_000 + "{}]}"), "20003 lists and objects, the most is"),
        (saying({"id": 7, "result": {}}), "answered a call that was not made"),
        (saying({"id": 1}), "it has no result, item, error or http"),
        (saying(SPEC, then='while True: print(\'{"id": 2, "item": {"key": "a"}}\')'), "too many lines"),
        (saying(SPEC, then="os._exit(3)"), "program ended (3)"),
        (saying(SPEC, then="os.close(0); os.close(1); time.sleep(60)"), "program ended (-9)"),
        (saying(SPEC, {"id": 2, "result": {"name": 5}}), "Expected `str`"),
    ],
)
async def test_connector_process_violating_the_protocol_is_ended_as_unavailable(
    source: str, reason: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SILENCE_S", 2.0)
    connector = write(source)
    with pytest.raises(Unavailable) as caught:
        await connector.check()
    assert reason in str(caught.value)
    assert connector._jailed is None


FAILURES: dict[str, type[ConnectorFailure]] = {
    "sign_in": SignInNeeded,
    "forbidden": PermissionMissing,
    "bad_settings": Misconfigured,
    "wait": ProviderBusy,
    "quota": QuotaSpent,
    "cursor_lost": CursorLost,
    "unreadable": MessageUnreadable,
    "unavailable": Unavailable,
    "no such code": Unavailable,
}


async def test_error_code_of_a_connector_process_is_mapped_to_a_failure(write: Write) -> None:
    error = {"code": "quota", "message": "because\n\x1b[1m"}
    with pytest.raises(QuotaSpent, match=r"^because \\x1b\[1m$"):
        await write(saying(SPEC, {"id": 2, "error": error})).check()
    found = {code: process._Failed(code, seconds=90).failure(START) for code in FAILURES}
    assert {code: type(failure) for code, failure in found.items()} == FAILURES
    assert isinstance(found["wait"], ProviderBusy) and found["wait"].retry_at == START + timedelta(seconds=90)


@each(
    ("spec", "settings", "reason"),
    [
        ({"api": [2, 3]}, {}, "knows versions 2 to 3 of the lines, not 1"),
        (
            {"origins": ["https://a.example"]},
            {},
            "write settings.origins if you allow it: probe asks https://a.example:443",
        ),
        ({"origins": ["settings.url"], "settings": {"url": {}}}, {"url": "x"}, "no address of a server"),
        ({"methods": ["GET", "POST"]}, {}, "write settings.methods if you allow it: probe sends POST"),
        ({"auth": {"kind": "header"}}, {}, "needs a secret"),
        ({"settings": {"n": {"type": "integer", "required": True}}}, {}, "missing required field `n`"),
        (
            {"settings": {"n": {"type": "integer"}}},
            {"n": True},
            "Expected `int | null`, got `bool` - at `$.n`",
        ),
        (
            {"settings": {"n": {"type": "strings"}}},
            {"n": ["a", 1]},
            "Expected `str`, got `int` - at `$.n[1]`",
        ),
        ({}, {"n": 1}, "contains unknown field `n`"),
    ],
)
def test_settings_unfit_for_the_connector_are_refused(
    spec: dict[str, Any], settings: dict[str, Any], reason: str
) -> None:
    described = msgspec.convert({"name": "probe", "api": [1, 1], **spec}, process.ProcessSpec)
    given = ProcessSettings(folder=KIT, command=("python",), options=settings)
    with pytest.raises(Misconfigured, match=re.escape(reason)):
        described.check(given, has_secret=False)


async def listed(connector: Connector) -> list[tuple[str, str]]:
    found = []
    async for page in connector.pages(None, connector.context.clock.now()):
        async for message, content in documents_of(connector, page.messages):
            found.append((message.key, content.text if isinstance(content, Document) else content.reason))
    return found


async def test_broken_message_of_a_connector_process_leaves_other_messages_readable(write: Write) -> None:
    messages: list[Any] = [
        {"key": "a"},
        {"key": "b", "received_at": "2026-01-01T00:00:00"},
        {"key": "d", "received_at": "9999-12-31T23:59:59-12:00"},
        {"subject": "c"},
        {"key": "e", "subject": "\udcff"},  # written as a byte that is no UTF-8
        5,
    ]
    page = json.dumps({"id": 2, "result": {"messages": messages}}, ensure_ascii=False)
    items = "".join(
        json.dumps({"id": 3, "item": item}) + "\n"
        for item in ({"key": "a", "html": "<p>text</p><script>x</script>"}, {"key": "unknown", "text": "x"})
    )
    connector = write(saying(SPEC, page, items + json.dumps({"id": 3, "result": {}})))
    found = await listed(connector)
    assert [text for key, text in found if key == "a"] == ["text"]
    faults = [text for key, text in found if key.startswith("broken:")]
    assert len(faults) == 5 and all("listed it wrongly" in fault for fault in faults)


async def test_hundred_connector_pages_without_new_messages_end_the_stream(write: Write) -> None:
    pages = [
        {"id": 2 + at, "result": {"messages": [{"key": key} for key in ("a", "b")[at % 3 :]], "next": at}}
        for at in range(150)
    ]
    connector = write(saying(SPEC, *pages))
    with pytest.raises(Unavailable, match="listed 100 pages without a new message"):
        async for _ in connector.pages(None, connector.context.clock.now()):
            pass


async def test_invalid_page_of_a_connector_process_ends_the_stream(write: Write) -> None:
    for result, reason in (
        ({"messages": [{"key": "a"}] * 101}, "Expected `array` of length <= 100"),
        ({"cursor": {"a": "x" * 70_000}}, "a cursor of more than"),
        ({"messages": [], "next": 1}, "program ended"),
    ):
        connector = write(saying(SPEC, {"id": 2, "result": result}))
        with pytest.raises(Unavailable, match=reason):
            await listed(connector)


# It reads texts of a site, and ends in the middle of a page at the text "crash".
CRASHING = """
import os
from hub_connector import Connector, Message, Page, run

class Crashing(Connector):
    name = "crashing"
    origins = ORIGINS

    def page(self, cursor, since, next):
        texts = self.ask(f"{self.origins[0]}/").json()
        after = next or (cursor or {"after": 0})["after"]
        messages = [Message(key=f"m{at}", place=text) for at, text in enumerate(texts)][after:after + 3]
        last = after + len(messages)
        return Page(messages=messages, cursor={"after": last}, next=last if last < len(texts) else None)

    def read(self, messages):
        for message in messages:
            if message["place"] == "crash":
                os._exit(1)
            yield {"key": message["key"], "text": message["place"]}

run(Crashing)
"""


class ProgramDesk(ListDesk):
    """A ``mailbox_visit.Desk`` of one program."""

    def __init__(self, make: Callable[[], Connector], clock: FakeClock) -> None:
        super().__init__(Mailbox(), clock)
        self._make = make

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        return self._make()


async def test_messages_are_read_once_despite_a_connector_crash_within_a_page(
    store: Store, write: Write
) -> None:
    texts = ["- [ ] a", "- [ ] b", "crash", "- [ ] d", "- [ ] e"]

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(texts)(scope, receive, send)

    async with serving(site) as url:
        await declare_connector(store, "home", "process")
        mailbox = MailboxConfig(connector="home", filter={})
        agent = await declare_agent(store, name="dates", data_types=("tasks",), mailbox=mailbox)
        clock, source = FakeClock(), CRASHING.replace("ORIGINS", repr([url]))
        desk = ProgramDesk(lambda: write(source, origins=[url]), clock)
        bench = Bench(store, agent, clock=clock, desk=desk)
        link = bench.connect()
        await bench.run()
        assert titles(link) == ["a", "b", "d", "e"]
        texts[2] = "- [ ] c"
        clock.advance(60)
        await bench.run()
        await bench.run()
    assert sorted(map(str, titles(link))) == ["a", "b", "c", "d", "e"]


HUB = """
import sys
from pathlib import Path
import anyio
from hub.connectors.conformance import process_at

async def main():
    connector = process_at(None, Path(sys.argv[1]), ["python", "connector.py"], options={"code": sys.argv[2]})
    print((await connector.check()).detail, flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


def test_connector_process_ends_when_the_hub_is_killed(tmp_path: Path) -> None:
    (tmp_path / "hub_connector.py").write_text((KIT / "hub_connector.py").read_text())
    source = PROBE.replace("AUTH", "{}").replace("ORIGINS", "()")
    (tmp_path / "connector.py").write_text(source)
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); got = os.getpid()"
    argv = [sys.executable, "-c", HUB, str(tmp_path), code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as hub, ending(hub):
        assert hub.stdout is not None
        descriptor = os.pidfd_open(int(hub.stdout.readline()))
        hub.kill()
        assert select.select([descriptor], [], [], 10.0)[0] == [descriptor]  # it has ended
        os.close(descriptor)


async def test_standard_error_of_a_connector_process_is_logged_up_to_a_limit(
    write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAX_LOGGED", 5)
    caplog.set_level("INFO")
    result = json.dumps({"id": 2, "result": {"name": "me"}})
    source = saying(SPEC, then=f"sys.stderr.write('line\\n' * 100_000); print({result!r}, flush=True)")
    connector = write(source + "\nsys.stdin.readline()")
    assert (await connector.check()).name == "me"
    await connector.aclose()
    events = [record.getMessage() for record in caplog.records]
    assert events.count("connector.wrote") == 5
    (dropped,) = [fields_of(one) for one in caplog.records if one.getMessage() == "connector.wrote_too_much"]
    assert dropped is not None and dropped["dropped_bytes"] in range(1, 5 * 100_000 - 5 * 5 + 1)


FLOODS = {
    "control characters": b"\x00" * 65_536,
    "empty lines": b"\n" * 65_536,
    "no text": b"\xff" * 65_536,
    "wide characters": "\U0001f4a3\u202e".encode() * 9_000,
}
FLOOD_PIECES = 64
FLOOD = """
import threading
def flood():
    for _ in range({pieces}):
        os.write(2, {data!r})
flooding = threading.Thread(target=flood)
flooding.start()
for _ in range({pieces}):
    print({item!r}, flush=True)
flooding.join()
print({result!r}, flush=True)
sys.stdin.readline()
"""
MAX_PIECE_BYTES = 65_536  # read of an output before the event loop has a turn


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": loop}) for loop in (False, True)])
@pytest.mark.parametrize("flood", FLOODS)
async def test_flood_of_output_of_a_connector_process_is_read_in_small_pieces_with_a_pause_after_each(
    write: Write, flood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[OutputPace, list[int]] = {}

    async def pause(pace: OutputPace, size: int) -> None:
        sizes.setdefault(pace, []).append(size)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(OutputPace, "pause", pause)
    data, item = FLOODS[flood], json.dumps({"id": 2, "item": {"key": "a", "text": "x" * 10_000}})
    result = json.dumps({"id": 2, "result": {"name": "me"}})
    then = FLOOD.format(pieces=FLOOD_PIECES, data=data, item=item, result=result)
    connector = write(saying(SPEC, then=then))
    assert (await connector.check()).name == "me"
    await connector.aclose()

    errors, lines = sorted(sizes.values(), key=sum, reverse=True)
    assert lines.count(len(item)) == FLOOD_PIECES
    assert sum(errors) >= FLOOD_PIECES * len(data) / 2  # pipe and transport hold less than 1 MB of the rest
    assert max(errors) <= MAX_PIECE_BYTES


LINE_BYTES = process.MAX_LINE_BYTES - 1_000
HEAVY_LINES = {  # with the reason that refuses the line
    "lone surrogates": ('{"id": 2, "result": {"name": "%s"}}' % ("\\ud83d" * (LINE_BYTES // 6)), "surrogate"),
    "lone surrogates in a field that is skipped": (
        '{"id": 2, "result": {"name": "me"}, "x": "%s"}' % ("\\ud83d" * (LINE_BYTES // 6)),
        "surrogate",
    ),
    "numbers": ('{"id": 2, "result": [%s1]}' % ("1," * (LINE_BYTES // 2)), "values, the most is"),
    "names": ('{"id": 2, "result": {%s"a":1}}' % ('"name":1,' * (LINE_BYTES // 9)), "texts of more than"),
}


@pytest.mark.parametrize("line", HEAVY_LINES)
async def test_line_of_a_connector_process_with_too_much_to_decode_is_refused(
    write: Write, tmp_path: Path, line: str
) -> None:
    text, reason = HEAVY_LINES[line]
    (tmp_path / "probe" / "line").write_text(text)
    connector = write(saying(SPEC, then="print(open('line').read(), flush=True)"))
    with pytest.raises(Unavailable, match=reason):
        await connector.check()


async def test_loop_has_a_turn_between_the_check_and_the_decoding_of_a_line(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    pause, decoded = OutputPace.pause, process._decoded

    async def paused(pace: OutputPace, size: int) -> None:
        steps.append("turn")
        await pause(pace, size)

    def checked(data: bytes) -> None:
        steps.append("check")
        check_value(data)

    def noted(data: bytes | msgspec.Raw, kind: type[Any]) -> Any:
        steps.append("decode")
        return decoded(data, kind)

    monkeypatch.setattr(OutputPace, "pause", paused)
    monkeypatch.setattr(process, "check_value", checked)
    monkeypatch.setattr(process, "_decoded", noted)
    connector = write(saying(SPEC, then="""print('{"id": 2, "result": {"name": "me"}}', flush=True)"""))
    await connector.check()
    assert steps[:3] == ["check", "turn", "decode"]


@pytest.mark.parametrize(
    ("language", "argv"),
    [
        ("python", ["python", "connector.py"]),
        pytest.param("node", ["node", "--jitless", "connector.mjs"], marks=needs_node),
    ],
)
async def test_connector_process_starts_under_memory_deny_write_execute(
    language: str, argv: list[str], tmp_path: Path, client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path / "main.py"
    main.write_text(
        f"import ctypes, sys; sys.path.insert(3, {str(ROOT)!r})\n"
        "from hub.connectors import process_main\n"
        "ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)\n"  # PR_SET_MDWE; without it, this proves little
        "process_main.main()"
    )
    monkeypatch.setattr(process, "_MAIN", main)
    async with sites() as (url, _, _, _):
        folder = scaffold(tmp_path, language)
        connector = process_at(client, folder, argv, origins=[url], options={"url": url})
        assert (await connector.check()).name == url
        await connector.aclose()


async def test_program_without_a_jail_starts_only_if_hub_toml_accepts_the_missing_jail(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path / "main.py"
    main.write_text(
        f"import sys; sys.path.insert(3, {str(ROOT)!r})\n"
        "from hub.connectors import process_main\nfrom hub.text import confinement\n"
        "confinement.leave_files = lambda readable: False\nprocess_main.main()"
    )
    monkeypatch.setattr(process, "_MAIN", main)
    with pytest.raises(FileUnusable, match="this machine has no Landlock"):
        await probe(write, "got = 1").check()
    assert (await probe(write, "got = 1", accept_weaker_jail=True).check()).detail == "1"


async def test_missing_connector_program_or_interpreter_is_a_file_fault_of_the_node(
    tmp_path: Path, client: OutboundClient
) -> None:
    settings = ProcessSettings(folder=tmp_path, command=("no-such-program",))
    assert settings.problem_of_files() == "there is no program 'no-such-program' here"
    assert ProcessSettings(folder=tmp_path / "no", command=("python",)).problem_of_files() is not None
    (tmp_path / "script").write_text("#!/usr/bin/env python3\n")
    (tmp_path / "script").chmod(0o755)
    connector = process_at(client, tmp_path, ["./script"])
    with pytest.raises(FileUnusable, match="cannot be started in its jail: Permission denied"):
        await connector.check()


def test_connector_folder_containing_hub_toml_is_refused(tmp_path: Path) -> None:
    for folder in (".", "..", "/"):
        with pytest.raises(ValidationError, match=r"hub\.toml lies in it"):
            ProcessSettings.model_validate(
                {"command": ["python"], "folder": folder}, context={"base": tmp_path}
            )
