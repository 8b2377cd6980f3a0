"""Each state of the database that a hub may meet, and the way out that its texts name, followed by the word.

``python -m tests.scenarios.database_states`` makes each state under a hub of its own, or between two starts
of it. It prints what ``hub doctor``, ``hub backup``, SIGTERM and ``hub serve`` do then, runs the commands
that the texts name until the hub takes work again, and prints which data it has. Names of states as
arguments choose some.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from hashlib import sha256
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

import httpx2
from sqlalchemy import create_engine

from tests.support.database import overwrite
from tests.support.old_tables import make_old
from tests.support.processes import START_TIMEOUT_S, ask_hub, forked
from tests.support.remedies import commands_in

SETTINGS: Final = """\
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:0"
"""
# The user of the hub is root in many test environments, who may do what no service may.
AS_SERVICE: Final = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
INSIDE: Final = "--inside"
DRAIN_S: Final = 45.0  # drain_timeout_s of [limits]
ROUNDS: Final = 4
NOTICED_S: Final = 30.0
VIEWS: Final = ("/readyz", "/v1/issues", "/v1/status", "/metrics")
NAMED: Final = re.compile(r'"(database|folder)\.')
POLL_S: Final = 0.1


class Place:
    """A person's machine: a folder with hub.toml, the default state folder, and the program ``hub``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state/hub"
        self.file = self.state / "hub.db"
        (folder / "hub.toml").write_text(SETTINGS)
        self._environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        self.hub: ForkServerProcess | None = None

    def command(self, *words: str, within_s: float = 60.0) -> tuple[int, str]:
        """Run a command to its end. Return its exit code and what it wrote."""
        if words[1] == "restore":
            words = (*words, "--yes")  # a person answers the question
        output = self.folder / "output"
        output.unlink(missing_ok=True)
        process = forked(list(words), output, environ=self._environ, folder=self.folder)
        process.join(within_s)
        process.kill()
        process.join()
        return process.exitcode or 0, output.read_text()

    def serve(self) -> tuple[int | None, str]:
        """Start the hub. Return None once it listens, else its exit code or -1, and its texts for people."""
        log = self.folder / "hub.log"
        log.unlink(missing_ok=True)
        self.hub = forked(["hub", "serve"], log, environ=self._environ, folder=self.folder)
        ends_at = monotonic() + START_TIMEOUT_S
        while monotonic() < ends_at and self.hub.is_alive():
            if (answer := self.ask("GET", "/readyz")) is not None:
                return None, f"answers {answer.status_code}"
            self.hub.join(POLL_S)
        lines = log.read_text().splitlines()
        said = "\n".join(line for line in lines if not line.startswith("{"))
        return -1 if self.hub.is_alive() else self.hub.exitcode, said

    def ask(self, method: str, path: str, body: Any = None) -> httpx2.Response | None:
        """Send a request over the hub's socket; None: it does not answer."""
        with suppress(httpx2.TransportError, OSError):
            return ask_hub(self.state / "hub.sock", method, path, body, timeout_s=10.0)
        return None

    def add_agent(self, name: str) -> None:
        """Write a row whose presence shows which data a hub has."""
        answer = self.ask("POST", "/v1/agents", {"name": name})
        assert answer is not None and answer.is_success, answer and answer.text

    def agents(self) -> list[str]:
        """Return the names of the agents of the running hub."""
        answer = self.ask("GET", "/v1/agents")
        return (
            sorted(agent["name"] for agent in answer.json()["agents"]) if answer and answer.is_success else []
        )

    def is_ready(self) -> bool:
        """Return True if the hub takes work."""
        answer = self.ask("GET", "/readyz")
        return answer is not None and answer.status_code == 200

    def wait_until(self, is_ready: bool) -> None:
        """Wait for some seconds until the hub takes work, or takes none any more."""
        assert self.hub is not None
        ends_at = monotonic() + NOTICED_S
        while monotonic() < ends_at and self.hub.is_alive() and self.is_ready() is not is_ready:
            self.hub.join(POLL_S)

    def faults(self) -> list[dict[str, Any]]:
        """Return the issues of ``hub doctor`` about the database or its folder."""
        _, text = self.command("hub", "doctor", "--json")
        issues = json.loads(text[text.index("{") :])["issues"] if "{" in text else []
        return [issue for issue in issues if issue["id"].partition(".")[0] in ("database", "folder")]

    def silent_views(self) -> list[str]:
        """Return the views of a hub that answers in which no issue is of the database or its folder."""
        answers = {view: self.ask("GET", view) for view in VIEWS}
        return [
            view for view, answer in answers.items() if answer is not None and not NAMED.search(answer.text)
        ]

    def terminate(self) -> tuple[float, int | None]:
        """End the hub by SIGTERM. Return the seconds that it took, and its exit code."""
        assert self.hub is not None
        began = monotonic()
        self.hub.terminate()
        self.hub.join(180)
        return round(monotonic() - began, 1), self.hub.exitcode

    def kill(self) -> None:
        """End the hub at once, if it runs."""
        if self.hub is not None:
            self.hub.kill()
            self.hub.join()


class State(NamedTuple):
    """State of the database.

    Attributes:
        cause: brings it about; given the place.
        is_running: under a running hub; else between two starts.
        data: agents that the hub has at the end: *now* where nothing was lost, *backup* those of the backup.
        undo: what a person does who was told what is wrong outside of the hub.
        is_felt: False: a running hub works on with the files that it has open.
    """

    name: str
    cause: Callable[[Place], object]
    is_running: bool
    data: tuple[str, ...]
    undo: Callable[[Place], object] | None = None
    is_felt: bool = True


NOW: Final = ("after", "before")
BACKUP: Final = ("before",)


def checkpoint(place: Place) -> Path:
    """Move the log into the file, so that the file has everything. Return the file."""
    with closing(sqlite3.connect(place.file, timeout=30)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return place.file


def delete(place: Place) -> None:
    for file in place.state.glob("hub.db*"):
        if not file.name.endswith(".lock"):
            file.unlink()


def cut(place: Place) -> None:
    file = checkpoint(place)
    os.truncate(file, file.stat().st_size // 2)


def damage_pages(place: Place) -> None:
    """Overwrite six pages behind the first one."""
    file = checkpoint(place)
    with closing(sqlite3.connect(file, timeout=30)) as database:
        (size,) = database.execute("PRAGMA page_size").fetchone()
    pages = file.stat().st_size // size
    with file.open("r+b") as out:
        for page in sorted(range(1, pages), key=lambda page: sha256(bytes(page)).digest())[:6]:
            out.seek(page * size)
            out.write(b"\xa5" * size)


def put(content: Callable[[Place], bytes], *, is_renamed: bool) -> Callable[[Place], None]:
    """Return the cause that other content is in the place of the database."""

    def cause(place: Place) -> None:
        new = content(place)
        if is_renamed:
            (place.state / "other").write_bytes(new)
            (place.state / "other").replace(place.file)
        else:
            place.file.write_bytes(new)

    return cause


def older_copy(place: Place) -> bytes:
    """Return the database as it was at the backup."""
    return (place.folder / "older.db").read_bytes()


def of_another_hub(place: Place) -> bytes:
    folder = place.folder / "another"
    folder.mkdir(exist_ok=True)
    other = Place(folder)
    other.serve()
    other.terminate()
    return checkpoint(other).read_bytes()


def of_another_program(place: Place) -> bytes:
    with closing(sqlite3.connect(place.folder / "x.db")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS songs (title TEXT)")
    return (place.folder / "x.db").read_bytes()


def of_an_older_release(place: Place) -> None:
    engine = create_engine(f"sqlite:///{place.folder}/old.db")
    with engine.begin() as connection:
        make_old(connection)
        hub_id = (place.state / "hub_id").read_text().strip()
        connection.exec_driver_sql("INSERT INTO hub (key, value) VALUES ('hub_id', ?)", (hub_id,))
    engine.dispose()
    delete(place)
    shutil.copy(place.folder / "old.db", place.file)


def of_a_newer_release(place: Place) -> None:
    with closing(sqlite3.connect(checkpoint(place))) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")


def remove_log(place: Place) -> None:
    (place.state / "hub.db-wal").unlink()


def remove_folder(place: Place) -> None:
    """Remove the state folder, of which the hub writes the log meanwhile."""
    removed = place.folder / "removed"
    place.state.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def protect(place: Place) -> None:
    for path in (*place.state.glob("hub.db*"), place.state):
        path.chmod(path.stat().st_mode & ~0o222)


def unprotect(place: Place) -> None:
    for path in (place.state, *place.state.glob("hub.db*")):
        path.chmod(path.stat().st_mode | 0o200)


def give_away(place: Place) -> None:
    for path in place.state.glob("hub.db*"):
        os.chown(path, 12345, 12345)


def take_back(place: Place) -> None:
    for path in place.state.glob("hub.db*"):
        os.chown(path, os.getuid(), os.getgid())


def fill(place: Place) -> None:
    """Let no file of the hub grow: what it sees of a full disk."""
    assert place.hub is not None
    subprocess.run(["prlimit", "--pid", str(place.hub.pid), "--fsize=4096:unlimited"], check=True)


def make_room(place: Place) -> None:
    assert place.hub is not None
    if place.hub.is_alive():
        subprocess.run(["prlimit", "--pid", str(place.hub.pid), "--fsize=unlimited"], check=True)


def move(place: Place) -> None:
    for file in place.state.glob("hub.db*"):
        if not file.name.endswith(".lock"):
            file.rename(place.folder / file.name)


def move_back(place: Place) -> None:
    for file in place.folder.glob("hub.db*"):
        file.rename(place.state / file.name)


def _both(name: str, cause: Callable[[Place], object], running: tuple[str, ...], **more: Any) -> list[State]:
    """Return the state under a running hub, and between two starts, where the backup is all there is."""
    stopped = more.pop("stopped", BACKUP)
    return [State(name, cause, True, running, **more), State(name, cause, False, stopped, **more)]


STATES: Final = (
    *_both("deleted", delete, NOW),
    State("deleted alone", lambda place: place.file.unlink(), True, NOW),
    *_both("emptied", lambda place: os.truncate(place.file, 0), BACKUP),
    *_both("truncated", cut, BACKUP),
    *_both("damaged pages", damage_pages, BACKUP),
    *_both("damaged table of the start", lambda place: overwrite("nodes", 0)(place.file), BACKUP),
    *_both("not a database", put(lambda place: b"\xa5" * 8192, is_renamed=False), BACKUP),
    *_both("replaced by another hub's", put(of_another_hub, is_renamed=True), NOW),
    *_both("replaced by another program's", put(of_another_program, is_renamed=True), NOW),
    *_both("replaced by an older copy", put(older_copy, is_renamed=True), NOW),
    State("log deleted", remove_log, True, NOW),
    *_both("moved, put back", move, NOW, undo=move_back, stopped=NOW),
    *_both("moved", move, NOW),
    *_both("folder removed", remove_folder, NOW, stopped=()),
    *_both("read-only", protect, NOW, undo=unprotect, stopped=NOW, is_felt=False),
    *_both("wrong owner", give_away, NOW, undo=take_back, stopped=NOW),
    State("no room", fill, True, NOW, undo=make_room),
    State("older release", of_an_older_release, False, ("notes",)),
    State("newer release", of_a_newer_release, False, BACKUP),
)


def steps_of(text: str) -> list[list[str]]:
    """Return the commands of a text; of alternatives, the first one that a person can type."""
    steps: list[list[str]] = []
    is_untypeable = False
    for part in text.split("; "):
        if part.startswith("or ") and not is_untypeable:
            continue
        commands = list(commands_in(part))
        is_untypeable = any("FILE" in command for command in commands)
        steps += [] if is_untypeable else commands
    return steps


def follow(place: Place, told: dict[str, Any]) -> None:
    """Run what the texts name, until the hub takes work or they name nothing more."""
    seen, failed = told.setdefault("followed", []), told.setdefault("failed steps", [])
    for _ in range(ROUNDS):
        if place.is_ready():
            return
        faults = place.faults()
        seen += map(_line, faults)
        steps = steps_of(next((issue["fix"] for issue in faults if issue["severity"] == "error"), ""))
        is_up = place.ask("GET", "/healthz") is not None
        for step in [*steps, *([] if is_up or ["hub", "serve"] in steps else [["hub", "serve"]])]:
            if step == ["hub", "serve"]:
                place.terminate()  # one that lost its socket
                code, said = place.serve()
                place.wait_until(is_ready=True)
            else:
                code, said = place.command(*step)
                if step == ["hub", "drain"] and place.hub is not None:
                    place.hub.join(2 * DRAIN_S)  # as the text says
            failed += [" ".join(step)] if code else []
            seen.append(f"$ {' '.join(step)} -> {code}: {said.strip()}")


def play(state: State, folder: Path) -> dict[str, Any]:
    """Bring the state about, and follow the texts; return what was seen."""
    place = Place(folder)
    told: dict[str, Any] = {"state": f"{state.name} ({'running' if state.is_running else 'stopped'})"}
    try:
        code, said = place.serve()
        assert code is None, said
        place.add_agent("before")
        answer = place.ask("POST", "/v1/backups")
        assert answer is not None and answer.is_success
        shutil.copy(checkpoint(place), folder / "older.db")
        place.add_agent("after")
        if not state.is_running:
            place.terminate()
        state.cause(place)
        if state.is_running:
            place.wait_until(is_ready=False)
        else:
            told["serve"] = place.serve()
        told["ready"] = getattr(place.ask("GET", "/readyz"), "status_code", None)
        told["silent"] = place.silent_views() if state.is_running and state.is_felt else []
        told["doctor"] = [*map(_line, place.faults())]
        told["backup"] = place.command("hub", "backup", str(folder / "mine.backup"))
        if state.undo is not None:
            state.undo(place)
            place.wait_until(is_ready=True)
        follow(place, told)
        told["data"] = place.agents()
        is_right = place.is_ready() and tuple(told["data"]) == state.data and not told["failed steps"]
        is_right &= not told["silent"]
        if state.is_running and place.is_ready():
            state.cause(place)
            place.wait_until(is_ready=False)
            told["sigterm"] = place.terminate()
            is_right &= told["sigterm"][0] <= DRAIN_S
        told["right"] = is_right
    finally:
        place.kill()
    return told


def _line(issue: dict[str, Any]) -> str:
    return f"{issue['id']}: {issue['explanation']} | {issue['fix']}"


def _new(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def main(chosen: list[str]) -> bool:
    """Play the states, and print what was seen of each. Return True if each way out led out."""
    wrong: list[bool] = []
    with tempfile.TemporaryDirectory() as name:
        for number, state in enumerate(STATES):
            kind = f"{state.name} ({'running' if state.is_running else 'stopped'})"
            if chosen and not any(kind.startswith(word) for word in chosen):
                continue
            told = play(state, _new(Path(name, str(number))))
            wrong.append(not told["right"])
            print(json.dumps(told, indent=1), flush=True)  # noqa: T201  # for the person who runs it
    print(f"{len(wrong)} states: {sum(wrong)} without a way out")  # noqa: T201
    return not any(wrong)


if __name__ == "__main__":
    if os.getuid() == 0 and INSIDE not in sys.argv:
        os.execvp(AS_SERVICE[0], [*AS_SERVICE, sys.executable, "-m", __spec__.name, INSIDE, *sys.argv[1:]])
    sys.exit(0 if main([word for word in sys.argv[1:] if word != INSIDE]) else 1)
