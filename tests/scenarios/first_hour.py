"""A newcomer's first hour: a fresh clone, the README as it stands, files of many kinds, and what goes wrong.

``python -m tests.scenarios.first_hour`` types the README in a clone, reads a folder with files of 12 kinds,
and then breaks one thing after the other. What a person runs next must say it on one screen, with the command
that mends it. The script takes that command as it was printed, with the placeholders filled in, and checks
that the next run succeeds. It prints a table, and exits with 1 if something was not said or not mended.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread, Timer
from typing import Any, Final, NamedTuple

import anyio
from rich.console import Console
from rich.table import Table

from tests.scenarios.first_run import first_run, type_first_run
from tests.support import odd_files
from tests.support.handbook import README
from tests.support.processes import ROOT
from tests.support.programs import free_port
from tests.support.terminal import Terminal, terminal

LINES, COLUMNS = 24, 80  # of a screen
PATIENCE_S: Final = 45.0
FOLLOW: Final = ("run", "notes", "--follow")
RESUMES: Final = "the run resumes by itself"  # what is said of a paused run: nobody waits for its end
PATHS: Final = r"hub config set 'agents\.notes\.paths=\[\"PATH\"\]'"
RIGHT_KEY: Final = "sk-right"
TASK: Final = "Dave must send the signed contract to Anna by Friday.\n"
TEXTS: Final = {
    "rossi.md": "# Call with Rossi\n\n- [ ] Water the plants\n",
    "plan.txt": TASK,
    "garden.org": "* TODO Prune the apple tree\n",
    "todo.txt": "(A) Pay the rent due:2027-02-03\n",
    "errands.csv": "task,due\nBuy stamps,2027-02-03\n",
    "mail.eml": f"From: ann@example.org\nTo: me@example.org\nSubject: Contract\n\n{TASK}",
    "calendar.ics": "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20270203T150000Z\r\n"
    "SUMMARY:Opening party\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    "page.html": f"<html><body><p>{TASK}</p></body></html>",
    "notes.json": json.dumps({"note": TASK}),
    ".hidden.md": TASK,
}
BYTES: Final = {
    "letter.docx": odd_files.docx(TASK),
    "report.pdf": odd_files.pdf(TASK),
    "cat.png": b"\x89PNG\r\n\x1a\n" + bytes(64),
}
RIDDLE: Final = "We spoke for long about what comes next. Perhaps the roof, or was it the cellar? "
ANSWER: Final = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "planted",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"items": []}'},
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
}


class Endpoint(ThreadingHTTPServer):
    """Model endpoint on loopback; without the right key, or with another *status*, it refuses."""

    daemon_threads = True

    def __init__(self) -> None:
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        assert isinstance(self.server, Endpoint)
        has_key = self.headers["authorization"] == f"Bearer {RIGHT_KEY}"
        status = self.server.status if has_key or self.server.status != 200 else 401
        body = json.dumps(ANSWER if status == 200 else {"error": {"message": "planted"}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class Screen(NamedTuple):
    """Command that was typed, its exit code, and what it printed."""

    command: str
    code: int
    text: str

    @property
    def folded(self) -> str:
        """The text in one line."""
        return " ".join(self.text.split())

    @property
    def lines(self) -> int:
        """Lines on a terminal, which breaks long ones."""
        return sum(max(1, -(-len(line) // COLUMNS)) for line in self.text.splitlines())


class Row(NamedTuple):
    """Wrong thing, the command that said it, and the remedy that it printed."""

    wrong: str
    where: str
    remedy: str


class Missed(Exception):
    """Thing that was not said, or whose remedy does not work."""


@dataclass
class Newcomer:
    """Person at a terminal in which the README was typed, with a second shell beside it.

    Attributes:
        connects: the line of the README that connects the device.
    """

    home: Path
    environment: Mapping[str, str]
    terminal: Terminal
    endpoint: Endpoint
    connects: str
    console: Console
    rows: list[tuple[Row, str]] = field(default_factory=list)
    misses: int = 0

    async def types(self, *words: str, until: str = "", **more: str) -> Screen:
        """Return what ``hub`` with *words* prints to its end, or until *until* is said; then Ctrl-C."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.terminal.read_on)
            screen = await anyio.to_thread.run_sync(self._type, words, until, more)
            tasks.cancel_scope.cancel()
        return screen

    def _type(self, words: Sequence[str], until: str, more: Mapping[str, str]) -> Screen:
        told = ""
        with subprocess.Popen(
            [sys.executable, "-m", "hub", *words],
            cwd=self.home / "hub",
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            late = Timer(PATIENCE_S, process.kill)  # it never holds up the hour
            late.start()
            for line in process.stdout:
                told += line
                if until and until in line:
                    process.send_signal(signal.SIGINT)
            late.cancel()
        return Screen(f"hub {shlex.join(words)}", process.returncode, told)

    async def finds(self, said: str, remedy: str, *commands: Sequence[str]) -> Screen:
        """Type *commands* until one says what is wrong, and the pattern *remedy*, on one screen."""
        seen: list[Screen] = []
        with anyio.move_on_after(PATIENCE_S):
            while True:
                for words in commands:
                    screen = await self.types(*words, until=RESUMES)
                    if said in screen.folded and re.search(remedy, screen.folded):
                        if screen.lines > LINES:
                            raise Missed(f"{screen.lines} lines of {screen.command}:\n{screen.text}")
                        return screen
                    seen.append(screen)
                await anyio.sleep(0.5)
        shown = "\n".join(f"{one.command}\n{one.text}" for one in seen[-len(commands) :])
        raise Missed(f"nothing says {said!r} with {remedy!r}:\n{shown}")

    async def takes(self, screen: Screen, command: str, *, until: str = "", **filled: str) -> Screen:
        """Type the *command* (a pattern) that *screen* printed; a placeholder is *filled*, or a variable."""
        found = re.search(command, screen.folded)
        if found is None:
            raise Missed(f"{screen.command} does not print {command}:\n{screen.text}")
        line = found[0]
        for name in [name for name in filled if name in line]:
            line = line.replace(name, filled.pop(name))
        done = await self.types(*shlex.split(line)[1:], until=until, **filled)
        if done.code and not until:
            raise Missed(f"{line} exits with {done.code}:\n{done.text}")
        return done

    async def succeeds(self) -> None:
        """Run the agent, and see that the run succeeds and that no issue is left."""
        run = await self.types("run", "notes", "--follow", until=RESUMES)
        if "success: " not in run.text:
            raise Missed(f"the run after the remedy:\n{run.text}")
        await self.finds("no problems found", "", ("doctor",))

    def write(self, name: str) -> None:
        """Write a file that no rule reads, so that a model is asked."""
        (self.home / "notes" / f"{name}.md").write_text(f"{name}. {RIDDLE * 9}\n")

    async def lives(self, case: Callable[["Newcomer"], Awaitable[Row]]) -> None:
        """Live through *case*, and record its row."""
        name = case.__name__.strip("_").replace("_", " ")
        try:
            row, works = await case(self), "yes"
        except (Missed, AssertionError) as miss:
            row, works = Row(name, "-", "-"), "no"
            self.misses += 1
            self.console.print(f"MISS {name}: {miss}", markup=False)
        self.rows.append((row, works))
        self.console.print(*row, works, sep=" | ", markup=False)


async def _files_of_12_kinds(person: Newcomer) -> Row:
    notes = person.home / "notes"
    for name, text in TEXTS.items():
        (notes / name).write_text(text)
    for name, content in BYTES.items():
        (notes / name).write_bytes(content)
    screen = await person.types("run", "notes", "--follow")
    (run,) = json.loads((await person.types("runs", "--limit", "1", "--json")).text)["runs"]
    counted = run["units_done"] + run["units_skipped"] + run["units_failed"]
    is_right = counted == len(TEXTS) + len(BYTES) and run["left_out"] == {"hidden": 1, "not_convertible": 1}
    if not is_right or screen.code:
        raise Missed(f"{screen.text}\n{run}")
    (summary,) = (line for line in screen.text.splitlines() if line.startswith("success"))
    return Row("none: files of 12 kinds, a hidden one, a picture", screen.command, summary)


async def _another_model_is_not_in_use(person: Newcomer) -> Row:
    """Replace the small model by an endpoint, as a person who edits hub.toml."""
    key = person.home / "key"
    key.write_text(f"{RIGHT_KEY}\n")
    key.chmod(0o600)
    table = f'kind = "openai"\nname = "planted"\nbase_url = "{person.endpoint.url}"\n'
    settings = person.home / "hub" / "hub.toml"
    text = settings.read_text()
    assert 'kind = "local"' in text
    settings.write_text(text.replace('kind = "local"', f'{table}api_key = {{ file = "{key}" }}', 1))
    screen = await person.finds("model", "hub drain; when it has ended: hub serve", ("doctor",))
    await person.takes(screen, "hub drain")
    person.terminal.type("wait %?serve; hub serve &")
    await person.terminal.shows("is ready")
    await person.finds("1 of 1 connected", "planted", ("status",))
    await person.succeeds()
    return Row("another model is not in use", screen.command, "hub drain; hub serve")


async def _model_answers_500(person: Newcomer) -> Row:
    person.write("later")
    person.endpoint.status = 500
    screen = await person.finds("HTTP 500", "hub doctor --online", FOLLOW, ("status",), ("doctor",))
    asked = await person.finds("HTTP 500", "start it, .* then hub doctor --online", ("doctor", "--online"))
    person.endpoint.status = 200
    if "model.unreachable" in (await person.takes(asked, "hub doctor --online", until="never")).text:
        await person.finds("no problems found", "", ("doctor", "--online"))
    await person.succeeds()
    return Row("model answers 500", screen.command, "hub doctor --online; start it")


async def _model_refuses_connections(person: Newcomer) -> Row:
    wrong = f"http://127.0.0.1:{free_port()}/v1"
    await person.types("config", "set", f"model.base_url={wrong}")
    person.write("sooner")
    screen = await person.finds(
        f"planted at {wrong} gave no answer", "hub doctor --online", FOLLOW, ("status",), ("doctor",)
    )
    asked = await person.finds(f"{wrong} does not answer", "hub config edit", ("doctor", "--online"))
    await person.takes(asked, "hub config edit", VISUAL=f"sed -i s|{wrong}|{person.endpoint.url}|")
    await person.succeeds()
    return Row("model refuses connections", screen.command, "hub doctor --online; hub config edit")


async def _model_refuses_the_key(person: Newcomer) -> Row:
    (person.home / "key").write_text("sk-wrong\n")
    await person.types("reload")
    person.write("never")
    screen = await person.finds("HTTP 401", "correct api_key in .* hub reload", FOLLOW)
    (person.home / "key").write_text(f"{RIGHT_KEY}\n")
    await person.takes(screen, "hub reload")
    await person.succeeds()
    return Row("model refuses the key (401)", screen.command, "the right key; hub reload")


async def _folder_does_not_exist(person: Newcomer) -> Row:
    await person.types("config", "set", 'agents.notes.paths=["~/notes/nowhere"]')
    screen = await person.finds("device desk has no ~/notes/nowhere", PATHS, FOLLOW)
    await person.takes(screen, PATHS, PATH="~/notes")
    await person.succeeds()
    return Row("folder does not exist", screen.command, "hub config set 'agents.notes.paths=[...]'")


async def _folder_is_not_shared(person: Newcomer) -> Row:
    elsewhere = person.home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "shed.md").write_text("- [ ] Buy a spade\n")
    await person.types("config", "set", 'agents.notes.paths=["~/elsewhere"]')
    screen = await person.finds("device desk shares", "start it with one more --root FOLDER", FOLLOW)
    person.terminal.type("kill %?connect; wait %?connect; echo it has ended")
    await person.terminal.shows("\nit has ended")
    person.terminal.type(person.connects.replace(" --name", " --root ~/elsewhere --name"))
    await person.finds("1 of 1 connected", "", ("status",))
    await person.succeeds()
    await person.takes(screen, PATHS, PATH="~/notes")  # the other remedy that it printed
    await person.succeeds()
    return Row("folder is not shared", screen.command, "hub connect with one more --root, or the paths")


async def _device_shows_a_wrong_token(person: Newcomer) -> Row:
    token = person.home / "token"
    token.touch(mode=0o600)
    token.write_text("dev_" + "x" * 43 + "\n")
    words = [*shlex.split(person.connects.rstrip(" &").replace("desk", "other"))[1:], "--token-file"]
    words = [word.replace("~", str(person.home)) for word in [*words, str(token)]]
    screen = await person.types(*words, until="not coming back")
    if screen.lines > LINES or "this token is unknown" not in screen.folded:
        raise Missed(screen.text)
    made = await person.takes(screen, "hub token create --device NAME", NAME="other")
    token.write_text(made.text.splitlines()[0] + "\n")
    again = await person.types(*words, until="connected as")
    if "connected as" not in again.text:
        raise Missed(again.text)
    await person.succeeds()
    return Row("device shows a wrong token", "hub connect", "hub token create --device NAME")


CASES: Final = (
    _files_of_12_kinds,
    _another_model_is_not_in_use,
    _model_refuses_the_key,
    _model_answers_500,
    _model_refuses_connections,
    _folder_does_not_exist,
    _folder_is_not_shared,
    _device_shows_a_wrong_token,
)


async def first_hour(home: Path, console: Console) -> int:
    """Live the hour below *home*. Return 1 if something was not said, or not mended by what was said."""
    clone = home / "clone"
    await anyio.run_process(["git", "clone", "--quiet", str(ROOT), str(clone)])
    (home / "notes").mkdir()
    for name in ("rossi.md", "calendar.ics"):
        (home / "notes" / name).write_text(TEXTS[name])
    devices = free_port()
    environment = os.environ | {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(clone),
        "COLUMNS": str(COLUMNS),
        "HUB__LISTEN__DEVICES__ADDRESS": f"127.0.0.1:{devices}",
        "HUB__LISTEN__OPERATOR__ADDRESS": f"127.0.0.1:{free_port()}",
    }
    (connects,) = (line for line in first_run(README) if line.startswith("hub connect"))
    async with terminal(clone, environment) as typed:
        await type_first_run(typed, README, port=devices, has_model=False)
        connects = connects.replace(":8770", f":{devices}")
        person = Newcomer(home, environment, typed, Endpoint(), connects, console)
        for case in CASES:
            await person.lives(case)
        person.endpoint.shutdown()
    table = Table("what is wrong", "where it is said", "what mends it", "works")
    for row, works in person.rows:
        table.add_row(*row, works)
    console.print(table)
    console.print(f"{len(person.rows)} things, {person.misses} misses")
    return int(person.misses > 0)


def main() -> int:
    """Run the scenario in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        return anyio.run(first_hour, Path(folder), Console(width=160, highlight=False))


if __name__ == "__main__":
    sys.exit(main())
