"""Each shell block of README and handbook, typed at a terminal beside a hub, a device, a board and a mailbox.

A block that no test can type is in ``DECLARED`` with the reason; its calls of ``hub`` are parsed nonetheless.
A new block is typed: where it needs another value in the place of a name, ``Person.values`` has them.
"""

import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from os import environ
from pathlib import Path
from shutil import which
from typing import Final

import anyio
import click
import pytest

from hub import docs
from hub.lab.planted import planted_documents
from tests.hub.cli.test_eval import written
from tests.scenarios.test_readme_first_run import FIRST_RUN
from tests.support.documents import device_program
from tests.support.dovecot import PASSWORD, running_dovecot, why_no_dovecot
from tests.support.gateway import fake_gateway
from tests.support.handbook import README, WRITTEN, Block, blocks, commands, parse
from tests.support.oracle.reader import Reader
from tests.support.processes import POLL_S, ROOT, HubProcess, Program, model_at
from tests.support.programs import free_port
from tests.support.terminal import Terminal, terminal

INSTALLS: Final = "it installs packages from the network"
IS_ROOT: Final = "it changes the machine as root, by systemd"
SERVER: Final = "it needs a PostgreSQL server of the operator"
REPOSITORY: Final = "it is typed in the repository, whose files it changes, and needs the network"
CONTAINER: Final = "it needs a registry of images; tests.release.container runs the image"
# By page and first words. What is here is not typed, so a reader alone would notice that it is wrong.
DECLARED: Final = {
    ("README", "make demo"): "it is the demo and the whole test suite",
    ("README", "python3 -m venv"): INSTALLS,
    ("first-run", "python3 -m venv"): INSTALLS,
    ("upgrade", "hub backup"): f"{INSTALLS}; {IS_ROOT}",
    ("service", "hub install-unit"): IS_ROOT,
    ("models", "pip install"): INSTALLS,
    ("service", "pip install"): f"{INSTALLS}; {SERVER}",
    ("service", "hub migrate copy"): SERVER,
    ("backup", "pg_dump"): SERVER,
    ("access", "hub devices files"): "it needs a folder that its owner grants",
    ("device", "mv ~/notes"): "it needs a hub that hub up started; test_up types it",
    ("notify", "hub notify test"): "it needs a receiver on the internet",
    ("notify", "hub notify deliveries"): "it shows the deliveries of that receiver",
    **{
        ("container", words): CONTAINER
        for words in ("podman build", "podman exec -", "podman exec device-hub hub b", "podman stop", "cd ")
    },
    **{
        ("release", words): REPOSITORY
        for words in ("make release V", "python -m tests.f", "make release-check", "curl -O")
    },
    ("cluster", "hub keys share"): "it seals keys for a second node of a PostgreSQL server",
    ("mailboxes", "hub connectors login"): "it needs an account of a provider and a browser",
    ("manifests", "hub connectors new"): "it asks a service that the reader names",
}
MAIL: Final = {("mailboxes", "hub connectors test"), ("mailboxes", "hub run mail")}  # need an IMAP server
# Blocks that begin with an empty machine are typed by test_readme_first_run.
TYPED_ALONE: Final = {README, FIRST_RUN}
LONG: Final = docs.FOLDER / "evaluate.md"  # hundreds of questions
SHORT: Final = [page for page in WRITTEN if page not in {*TYPED_ALONE, LONG}]
MIN_TYPED: Final = 0.65
# What a program prints that goes on until it is stopped, by its first words.
LASTING: Final = {
    "hub connect ": "connected as|its pairing code is",
    "hub review --web": r"http://\S+",
    "python device.py": r"\[1\]",
}
ELSEWHERE: Final = ("hub connect ", "hub restore")  # typed at another machine, or at one whose hub is stopped
PATIENCE_S: Final = 60.0
# What the hub knows soon after a line, by its first words: a path of REST, and a part of the answer.
FOLLOWS: Final = {
    "hub grants +rows.read": ("/v1/devices/desk", '"name": "rows.read"'),
    "hub grants +review.remote": ("/v1/devices/desk", '"name": "review.remote"'),
    "hub grants +review.remote=marked": ("/v1/devices/desk", '"marked"'),
    "hub grants +places": ("/v1/devices/desk", '"name": "places"'),
    "python device.py": ("/v1/devices/mine", '"connected": true'),
}
ENDED: Final = r"exit-code=(\d+)"
ASKS: Final = r"\[[yY]/[nN]\]"
SETTINGS: Final = """\
[hub]
name = "test"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
[listen.webhooks]
address = "127.0.0.1:{hooks}"
{model}
[[fallback_models]]
{endpoint}
name = "small"
[[fallback_models]]
{endpoint}
name = "other-model"
[[gateways]]
name = "office"
url = "{gateway}"
token = {{ file = "gateway.token" }}
[[templates]]
name = "reader"
prompt = "Find what is promised about {{{{ project }}}}."
[[agents]]
name = "planner"
[[agents]]
name = "notes"
device = "desk"
paths = ["{home}/notes"]
data_types = ["tasks", "notes"]
prompt = "Find what I promised to do."
[[connectors]]
name = "builds"
provider = "webhook"
secret = {{ file = "builds.secret" }}
settings = {{ source = "standard" }}
[[agents]]
name = "builds"
device = "desk"
connector = "builds"
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
MAILBOX: Final = """\
[[connectors]]
name = "work"
provider = "imap"
secret = {{ file = "imap.password" }}
settings = {{ host = "127.0.0.1", port = {port}, tls = "none", username = "ana" }}
[[agents]]
name = "mail"
device = "desk"
connector = "work"
data_types = ["tasks"]
prompt = "Find what somebody wants me to do."
"""
# The only prose that the model finds anything in; the rest is found by rules.
PROSE: Final = planted_documents(count=1, facts=45)[0]


FILES: Final = {
    "builds.secret": "a-secret-of-both-sides",
    "imap.password": PASSWORD,
    "gold.jsonl": written(PROSE),
    "labelled-files/kitchen.md": "- [ ] order tiles by 2026-12-04\n",
    "labelled-files/expected.json": '{"kitchen.md": {"items": [{"table": "tasks", "title": "order tiles"}]}}',
    "new.txt": "Find errands.",
    "shorter.txt": "Find tasks.",
    "device.py": device_program(),
}


def key_of(block: Block) -> tuple[str, str] | None:
    """Return the entry of ``DECLARED`` or ``MAIL`` that is about *block*."""
    known = (*DECLARED, *MAIL)
    return next(
        (key for key in known if key[0] == block.page.stem and block.text.lstrip().startswith(key[1])), None
    )


def why_not_typed(block: Block) -> str:
    """Return the reason why no test types *block*, or an empty string."""
    key = key_of(block)
    return (DECLARED.get(key) or why_no_dovecot() or "") if key is not None else ""


class Person:
    """A person with a terminal in the folder of hub.toml, who types what a page shows."""

    def __init__(
        self, home: Path, hub: HubProcess, newcomer: Program, typed: Terminal, ports: dict[str, str]
    ) -> None:
        self._hub = hub
        self._newcomer = newcomer
        self._typed = typed
        self._home = home
        self._named: dict[str, str] = {}
        self._machines = 0
        # A pattern of what a page shows, and what stands there for this reader.
        self.values: dict[str, str | Callable[[str], Awaitable[str]]] = {
            r"wss?://(hub\.example|127\.0\.0\.1):8770": ports["devices"],
            r"https?://(hub\.example|127\.0\.0\.1):8771": ports["operator"],
            r"http://127\.0\.0\.1:8772": ports["hooks"],
            "/mnt/other-disk": str(home / "other-disk"),
            "pip install websockets": "python -c 'import websockets'",  # it is installed
            r"\bP5MP-NBY4\b": self._pairing_code,
            r"\bFINGERPRINT\b": self._fingerprint,
            r"\bREMOTE_ID\b": "digger",
            r"(?<=answer )ID\b": self._question,
            r"(?<=(approve|.reject) )\d( \d)*$": self._numbers,
            r"\b[0-9a-f]{6}\b": self._item,
        }

    async def knows(self, path: str, part: str) -> None:
        """Wait until the hub's answer at *path* has *part* in it."""
        with anyio.fail_after(PATIENCE_S):
            while part not in json.dumps((await self._hub.ask("GET", path)).json()):
                await anyio.sleep(POLL_S)

    async def give_up(self) -> None:
        """Interrupt what the terminal waits for."""
        self._typed.type("\x03\necho given up")
        await self._typed.shows("given up")

    async def type(self, block: Block) -> None:
        """Type the lines of *block*, one after the other; each has to end well.

        Raises:
            AssertionError: a line ended with another exit code than 0.
        """
        self._named.clear()
        await self.knows("/v1/devices/desk", '"connected": true')  # a device connects anew for new grants
        for line in block.text.replace("\\\n", " ").splitlines():
            if shown := line.partition("  #")[0].strip():
                await self._type(shown, await self._filled(shown))

    async def _type(self, shown: str, line: str) -> None:
        before = len(self._typed.shown)
        if shown.startswith(ELSEWHERE):
            self._machines += 1
            line = f"STATE_DIRECTORY={self._home}/machine{self._machines} {line}"
        lasting = next((ready for words, ready in LASTING.items() if shown.startswith(words)), None)
        if lasting is not None:
            self._typed.type(f"{line} &")
            await self._typed.shows(lasting, within_s=PATIENCE_S)
            await self._follows(shown)
            self._typed.type("kill %%; wait %%")
            return
        self._typed.type(f"{line}; echo exit-code=$?")
        if "cat >" in shown:
            await self._reads_what_is_typed(line)
            self._typed.type(f"{PASSWORD}\n\x04")
        while (said := await self._typed.shows(f"{ENDED}|{ASKS}", within_s=PATIENCE_S))[1] is None:
            self._typed.type("y")
        assert said[1] == "0", f"{shown!r} ended with {said[1]}: {self._typed.shown[before:]}"
        await self._follows(shown)

    async def _follows(self, shown: str) -> None:
        for words, (path, part) in FOLLOWS.items():
            if shown.startswith(words):
                await self.knows(path, part)

    async def _reads_what_is_typed(self, line: str) -> None:
        """Wait until ``cat`` has emptied the file that it writes: the terminal passes lines by then."""
        file = self._home / "hub" / line.partition("cat > ")[2].rstrip(")")
        with anyio.fail_after(PATIENCE_S):
            while file.stat().st_size:
                await anyio.sleep(POLL_S)

    async def _filled(self, line: str) -> str:
        for pattern, value in self.values.items():
            start = 0
            while (found := re.compile(pattern).search(line, start)) is not None:
                real = value if isinstance(value, str) else await value(found[0])
                line = line[: found.start()] + real + line[found.end() :]
                start = found.start() + len(real)
        return line

    async def _pairing_code(self, shown: str) -> str:
        await self._newcomer.says("hub pair approve")
        return self._newcomer.log().partition("hub pair approve ")[2].split()[0]

    async def _fingerprint(self, shown: str) -> str:
        return str((await self._hub.get("/v1/status"))["key"])

    async def _question(self, shown: str) -> str:
        return str((await self._hub.get("/v1/questions"))["questions"][0]["id"])

    async def _numbers(self, shown: str) -> str:
        """Return as many numbers of open items at the device as are *shown*."""
        listed = await anyio.run_process(
            [sys.executable, "-m", "hub", "--state", str(self._home / "hub"), "review", "ls", "--json"]
        )
        items = json.loads(listed.stdout)["items"]
        return " ".join(str(item["number"]) for item in items[: len(shown.split())])

    async def _item(self, shown: str) -> str:
        """Return the short id of an open task, for an id that a block shows twice the same one."""
        if shown not in self._named:
            open_ones = (await self._hub.get("/v1/items?table=tasks&verdict=open&limit=50"))["items"]
            ids = [item["id"][-6:] for item in open_ones]
            self._named[shown] = next(id for id in ids if id not in self._named.values())
        return self._named[shown]


@asynccontextmanager
async def person_at(home: Path) -> AsyncIterator[Person]:
    """Start a hub with all that the pages speak of, and a terminal in its folder."""
    folder = home / "hub"
    for part in (folder, home / "notes" / "old", home / "other-disk"):
        part.mkdir(parents=True)
    for name in ("monday.md", "old/beds.md"):
        rows = "".join(f"- [ ] Water bed {number} of {name}\n" for number in range(20))
        (home / "notes" / name).write_text(f"# Garden\n\n{rows}")
    async with AsyncExitStack() as opened:
        gateway = await opened.enter_async_context(fake_gateway("office", agents=("main", "digger")))
        group = await opened.enter_async_context(anyio.create_task_group())
        opened.callback(group.cancel_scope.cancel)
        model = model_at(await group.start(Reader([PROSE, *planted_documents()]).serve))
        hooks = free_port()
        settings = SETTINGS.format(
            hooks=hooks,
            model=model,
            endpoint="\n".join(model.splitlines()[1:3]),
            gateway=gateway.url,
            home=home,
        )
        if why_no_dovecot() is None:
            server = opened.enter_context(running_dovecot())
            settings += MAILBOX.format(port=server.port)
        _write(folder, FILES | {"gateway.token": gateway.token})
        hub = HubProcess(folder, settings=settings)
        opened.push_async_callback(hub.close)
        await hub.start()
        url = await hub.device_url()
        _write(folder, {"desk.token": await hub.token()})
        shared = ["connect", url, "--root", str(home / "notes"), "--name"]
        words = [*shared, "desk", "--token-file", str(folder / "desk.token")]
        desk = Program(home, "desk.log", words, state=folder)
        newcomer = Program(home, "laptop.log", [*shared, "laptop"], state=home / "laptop")
        for device in (desk, newcomer):
            opened.push_async_callback(device.close)
            await device.start()
        await hub.post("/v1/users", {"name": "anna"})
        environment = environ | {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "STATE_DIRECTORY": str(folder),
            "BROWSER": "true",
            "TOKEN": (await hub.post("/v1/agents/planner/tokens"))["token"],
        }
        (home / ".curlrc").write_text("fail-with-body\n")
        ports = {
            "devices": url,
            "operator": f"http://{(await hub.get('/v1/status'))['listeners']['operator']}",
            "hooks": f"http://127.0.0.1:{hooks}",
        }
        typed = await opened.enter_async_context(terminal(folder, environment))
        person = Person(home, hub, newcomer, typed, ports)
        await person.knows("/v1/gateways/office", '"state": "ready"')
        await person.knows("/v1/devices/desk", '"connected": true')
        await hub.ended(await hub.start_run())
        yield person


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


def blocks_of(pages: Iterable[Path]) -> list[Block]:
    return [block for page in pages for block in blocks(page, "sh")]


def name_of(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}: {block.text.strip().splitlines()[0]}"


def test_each_block_of_the_handbook_is_typed_or_parsed_with_a_reason() -> None:
    found = blocks_of(WRITTEN)
    rows = [f"{why_not_typed(block) or 'typed':70} {name_of(block)}\n" for block in found]
    typed = sum(not why_not_typed(block) for block in found) / len(found)
    sys.stdout.write("".join([*rows, f"{typed:.0%} of {len(found)} blocks are typed\n"]))
    assert typed > MIN_TYPED or why_no_dovecot()

    declared = [block for block in found if key_of(block) is not None]
    assert sorted(key_of(block) or () for block in declared) == sorted([*DECLARED, *MAIL])
    for words in (words for block in declared for words in commands(block.text)):
        try:
            parse(words)
        except click.UsageError as error:
            pytest.fail(f"{' '.join(words)}: {error.format_message()}")


@pytest.mark.skipif(which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    "found",
    [
        pytest.param(blocks_of(SHORT[::2]), id="odd"),
        pytest.param(blocks_of(SHORT[1::2]), id="even"),
        *(pytest.param([one], id=f"long{one.line}", marks=pytest.mark.soak) for one in blocks_of([LONG])),
    ],
)
async def test_each_block_of_the_handbook_can_be_typed_by_the_reader(
    tmp_path: Path, found: list[Block]
) -> None:
    failed = []
    async with person_at(tmp_path) as person:
        for block in found:
            if why_not_typed(block):
                continue
            try:
                await person.type(block)
            except (AssertionError, LookupError, TimeoutError) as error:
                failed.append(f"{name_of(block)}\n  {error}")
                await person.give_up()
    assert not failed, "\n".join(
        [*failed, "Correct the page, or say in DECLARED of this test why a block cannot be typed."]
    )
