"""Commands ``hub up`` and ``hub down``: hub and device as background processes of this machine.

Each process inherits a lock on a file with its process id, which ends with the process. While the lock is
held, the id is that of the process that ``hub up`` started, so ``hub down`` ends no other one.
"""

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Event
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from hub.base.atomic_file import write_atomically
from hub.base.clock import SystemClock
from hub.base.printable import shell_word
from hub.base.system.folders import real_path
from hub.base.version import command_here
from hub.cli import show
from hub.cli.access import listener_address, owners_link, show_link
from hub.cli.connect import device_file, device_name
from hub.cli.daemon import check_system, make_folder, new_settings, write_settings
from hub.cli.device import SETTINGS as DEVICE_SETTINGS
from hub.cli.device import database, default_settings
from hub.cli.device import write_settings as write_device_settings
from hub.cli.errors import CommandError, Exit, log_ending, using
from hub.cli.hub_client import HubClient, hub_status, open_client, path_of, start_command
from hub.cli.options import (
    SETTINGS,
    STATE,
    FilePathParam,
    default_state,
    example,
    state_option,
)
from hub.cli.review import open_page
from hub.cli.runs import show_found, sum_up, unread_languages
from hub.cli.zones import other_zone, usual_zone

if TYPE_CHECKING:
    import tomlkit

    from hub.device.settings import DeviceSettings

Found = TypeVar("Found")

START_S: Final = 60.0  # of the hub, on a slow disk
CONNECT_S: Final = 30.0
RUN_S: Final = 10.0  # a longer first run goes on without this command
_POLL_S: Final = 0.1
_DRAIN_S: Final = 30.0  # for files in progress, until a second signal
_KILL_S: Final = 10.0
_QUIET_S: Final = 3.0  # a wait that is longer is explained
_PORTS: Final = (8770, 8771)  # of the commented settings
_AGENT: Final = re.compile(r"^\[\[agents\]\]\n(?>(?:(?!timezone|\[).+\n)*)timezone = .*\n", re.MULTILINE)
_CODE: Final = re.compile(r"hub pair approve (\S+)")
_USUAL: Final = ("Documents", "Notes", "notes", "Obsidian")
_NAMED: Final = re.compile(r'^XDG_DOCUMENTS_DIR="\$HOME/([^"]+)"$', re.MULTILINE)
_MAX_OFFERED: Final = 5


@dataclass
class _LocalProcess:
    """Process that ``hub up`` starts. *is_ours*: this or an earlier ``hub up`` started the one that runs."""

    name: str
    folder: Path
    is_ours: bool = False

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def pid(self) -> int | None:
        """Return the id of the process that ``hub up`` started, or None if it has ended."""
        with suppress(FileNotFoundError), self._lock.open("rb") as file:
            return None if _take_lock(file) else int(file.read())
        return None

    def start(self, *words: str) -> None:
        """Start ``hub`` with *words* in a session of its own."""
        with self._lock.open("wb") as lock, self.log.open("wb") as log:
            _take_lock(lock)
            subprocess.Popen(
                [sys.executable, "-m", "hub", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=[lock.fileno()],
                preexec_fn=partial(_write_id, lock.fileno()),
            )
        self.is_ours = True

    def until(self, read: Callable[[], Found | None], timeout_s: float, next_step: str) -> Found:
        """Call *read* until it returns a result.

        Raises:
            Failure: the process has ended, or the result takes too long.
        """
        clock = SystemClock()
        gives_up_at = clock.monotonic() + timeout_s
        while not (has_ended := self.is_ours and self.pid() is None) and clock.monotonic() < gives_up_at:
            if (found := read()) is not None:
                return found
            Event().wait(_POLL_S)
        problem = "has ended" if has_ended else f"is not ready after {timeout_s:g} s"
        if self.is_ours:
            problem += f": {log_ending(self.log)}"
            next_step = f"its log is {self.log}; {next_step}"
        raise CommandError(f"the {self.name} {problem}", Exit.UNAVAILABLE, next_step=next_step)

    def stop(self) -> bool:
        """End the process that ``hub up`` started; return False if there is none."""
        if (pid := self.pid()) is None:
            return False
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(process, signal.SIGTERM)
                if not select.select([process], [], [], _QUIET_S)[0]:
                    show.report(f"the {self.name} finishes the files that it reads: {_DRAIN_S:g} s at most")
                for number, wait_s in (
                    (0, _DRAIN_S),
                    (signal.SIGTERM, _KILL_S),
                    (signal.SIGKILL, _KILL_S),
                ):
                    if self.pid() != pid:  # it ended before, and the id may be of another process
                        break
                    signal.pidfd_send_signal(process, number)
                    select.select([process], [], [], wait_s)
            finally:
                os.close(process)
        show.report(f"the {self.name} has ended")
        return True

    @property
    def _lock(self) -> Path:
        return self.folder / f"{self.name}.pid"


def _take_lock(file: IO[Any], *, waits: bool = False) -> bool:
    """Lock a file until it is closed here and in all processes that inherit it; False: another one has it."""
    import fcntl  # which Windows has not

    try:
        fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_id(file: int) -> None:
    os.write(file, str(os.getpid()).encode())


@click.command(epilog=example("hub up /home/anna/notes"))
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=FilePathParam())
@click.option(
    "--config", type=FilePathParam(), help="The hub's settings [default: hub.toml in the state folder]."
)
@click.option(
    "--yes",
    is_flag=True,
    help="Share a further FOLDER, or one that was renamed, without a question.",
)
@click.option("--no-browser", is_flag=True, help="Print the link to the page only.")
@state_option
@click.pass_context
def up(
    ctx: click.Context,
    folders: tuple[Path, ...],
    config: Path | None,
    yes: bool,
    no_browser: bool,
    state: Path,
) -> None:
    """Start a hub and the device of this machine, and open the page for review.

    Writes the settings that are missing, pairs the device, makes an agent that reads FOLDERs every hour, and
    starts its first run. What runs already, and what is set already, stays as it is.

    Both go on without the terminal, until hub down or the machine stops.
    """
    check_system()
    from hub.device.daemon import why_paused
    from hub.device.device_file import RUN_LOCK, is_in_use
    from hub.device.settings import check_device_file
    from protocol.tables import TABLES

    ctx.meta[STATE] = str(state)
    shared = _checked(folders, state)
    device_config = default_settings()
    with _alone(state) as (hub, device):
        written = check_device_file(device_config).usable() if device_config.exists() else None
        if not shared and written is None:
            shared = _checked(_offered(ctx.command_path, asks=not yes and sys.stdin.isatty()), state)
        make_folder(device_config.parent)
        if written is None and not os.access(device_config.parent, os.W_OK):
            next_step = "make its folder writable, or name another one: XDG_CONFIG_HOME=DIR hub up ..."
            raise CommandError(f"cannot write {device_config}", Exit.CANNOT_CREATE, next_step=next_step)
        status = hub_status(state)
        if status is None:
            if not hub.is_ours:  # else it starts just now
                _start_hub(hub, state, config or state / SETTINGS)
            show.report("the hub starts")
            status = hub.until(partial(hub_status, state), START_S, f"then: {start_command(state)}")
        with open_client(state) as asked:
            url = listener_address(asked, "devices").replace("http", "ws", 1)
            if written is not None:
                url = _own_address(device_config, written, url)
            roots, moved = _device_roots(ctx, device_config, written, url, shared, yes=yes)
            db = database(ctx, device_config)
            if url.startswith("wss:"):
                _trust_own(asked, db)
            if paused := why_paused(db, SystemClock()):
                raise CommandError(
                    f"the device is {paused}", Exit.FAILED, next_step="hub device resume, then: hub up"
                )
            if not (device.is_ours or is_in_use(db, RUN_LOCK)):
                device.start("device", "run", "--config", str(device_config), "--state", str(state))
                show.report("the device starts")
            # True where hub, device and login are one person's.
            is_own = hub.is_ours and _is_of_this_login(state, device_config.parent)
            grants = ("+review.remote=marked,approved", f"+rows.read={','.join(TABLES)}", "+places")
            let_in = partial(_let_in, asked, db, url, roots, grants if is_own else ())
            name = device.until(let_in, CONNECT_S, "hub device status shows more")
            run = _first_run(asked, name, shared, roots, _follow(asked, name, moved))
            _report(asked.get("/v1/status"), hub, device, name, roots)
            if run is not None:
                sum_up(run)
                show_found(asked, run, state)
                _report_extras(run, has_places=written is not None and bool(written.sinks))
            made = owners_link(asked, name) if is_own else None
            link = made and f"{listener_address(asked)}{made['path']}"
    where = "" if state == default_state() else f" --state {shell_word(state)}"
    show.report(f"see more: hub status{where}, hub device status{where}; end both: hub down{where}")
    if link is None:
        open_page(db, "review", no_open=no_browser)
    else:
        show_link(link, state, "review", no_open=no_browser, within="ten minutes")


@click.command(epilog=example("hub down"))
@state_option
def down(state: Path) -> None:
    """Stop the hub and the device that hub up started.

    Their settings and data stay.
    """
    check_system()
    with _alone(state) as services:
        ended = [service.stop() for service in services]
    if not any(ended):
        show.report("nothing runs that hub up started")
    if hub_status(state) is not None:
        show.report("a hub runs that hub up did not start; to end it: hub drain")


@contextmanager
def _alone(state: Path) -> Iterator[tuple[_LocalProcess, _LocalProcess]]:
    """Wait until no other ``hub up`` or ``hub down`` is at work; yield the hub and the device."""
    folder = state / "up"
    make_folder(folder)
    with (folder / "lock").open("w") as lock:
        if not _take_lock(lock):
            show.report("another hub up or hub down is at work here: waiting for its end")
            _take_lock(lock, waits=True)
        hub, device = _LocalProcess("hub", folder), _LocalProcess("device", folder)
        for service in (hub, device):
            service.is_ours = service.pid() is not None
        yield hub, device


def _is_of_this_login(*folders: Path) -> bool:
    return all(folder.stat().st_uid == os.getuid() for folder in folders)


def _offered(command: str, *, asks: bool) -> list[Path]:
    """Return those of the usual folders of notes that are there and that the owner agrees to share.

    Raises:
        Failure: there is none, or no terminal to ask at.
    """
    home = Path.home()
    vaults = [settings.parent for depth in ("*", "*/*") for settings in home.glob(f"{depth}/.obsidian")]
    lists = [file.parent for depth in ("*", "*/*") for file in home.glob(f"{depth}/todo.txt")]
    usual = [folder for folder in (*_documents(home), *(home / name for name in _USUAL)) if folder.is_dir()]
    found: list[Path] = []
    for folder in sorted({*usual, *vaults, *lists}):
        if not any(part.startswith(".") for part in folder.relative_to(home).parts) and not any(
            folder.is_relative_to(above) for above in found
        ):
            found.append(folder)
    chosen = [folder for folder in found[:_MAX_OFFERED] if asks and show.ask(f"share {folder}?")]
    if not chosen:
        named = " ".join(map(shell_word, found[:_MAX_OFFERED])) if found else "~/notes"
        problem, next_step = "this machine shares no folder yet", f"name one: {command} {named}"
        raise CommandError(problem, Exit.USAGE, next_step=next_step)
    return chosen


def _documents(home: Path) -> Iterator[Path]:
    """Yield the folder of documents as the desktop names it in the language of its user."""
    with suppress(OSError, UnicodeDecodeError):
        text = (default_settings().parents[1] / "user-dirs.dirs").read_text("utf-8")
        named = [Path(os.path.normpath(f"{home}/{name}")) for name in _NAMED.findall(text)]
        yield from (folder for folder in named if home in folder.parents)


def _report_extras(run: Mapping[str, Any], *, has_places: bool) -> None:
    """Report what could be added after the first run."""
    if run["left_out"].get("not_convertible") and find_spec("kreuzberg") is None:
        show.report(f"to read pdf and office documents too: {command_here('files')}")
    if not has_places:
        show.report(
            "what you approve stays here; to have it in your calendar, vault or todo.txt: hub places add"
        )


def _checked(folders: Sequence[Path], state: Path) -> list[Path]:
    """Return the real paths of folders. Raises Failure: one cannot be shared."""
    from hub.device.shared import declare

    try:
        shared = [Path(path) for path, _ in declare(folders)]
    except ValueError as error:
        next_step = "name a folder that exists, as in: hub up ~/notes"
        raise CommandError(str(error), Exit.USAGE, next_step=next_step) from error
    own = Path(real_path(str(state)))
    for folder in shared:
        if own.is_relative_to(folder) or folder.is_relative_to(own):
            next_step = "share a folder without it, as in: hub up ~/notes; or move the state: --state DIR"
            raise CommandError(
                f"{folder} has the hub's own state in it, {own}", Exit.USAGE, next_step=next_step
            )
    return shared


def _start_hub(hub: _LocalProcess, state: Path, config: Path) -> None:
    """Start the hub; write its settings first if it never had any."""
    if not config.exists():
        if (state / "hub.db").exists():
            problem = f"a hub has its state in {state}, and its settings elsewhere: there is no {config}"
            next_step = "name them: hub up --config FILE; or begin anew: hub up --state DIR"
            raise CommandError(problem, Exit.SETTINGS, next_step=next_step)
        text = _AGENT.sub(lambda found: re.sub("^(?!#)", "# ", found[0], flags=re.MULTILINE), _new_settings())
        make_folder(config.absolute().parent)
        write_settings(config, text)
        show.report(f"wrote {config}")
    hub.start("serve", "--config", str(config.absolute()), "--state", str(state))


def _new_settings() -> str:
    """Return new settings with the model that is installed, and with ports that are free."""
    text = new_settings(local=_has_model())
    for default in _PORTS:
        text = text.replace(f'"127.0.0.1:{default}"', f'"127.0.0.1:{_free_port(default)}"', 1)
    return text


def _has_model() -> bool:
    """Return True if the small model of this machine is installed."""
    from hub.extraction.local_model import find_weights
    from hub.extraction.model import ModelUnavailable

    with suppress(ModelUnavailable):
        return find_weights().is_file()
    return False


def _free_port(preferred: int) -> int:
    with suppress(OSError), socket.create_server(("127.0.0.1", preferred)):
        return preferred
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _own_address(config: Path, settings: "DeviceSettings", url: str) -> str:
    """Return the address by which the device reaches *url* on this machine; write it if TLS came or went."""
    import tomlkit

    from hub.device.addresses import is_local

    for number, known in enumerate(settings.hub):
        if is_local(known) and urlsplit(known).port == urlsplit(url).port:
            now = urlsplit(known)._replace(scheme=urlsplit(url).scheme).geturl()
            if now != known:
                doc = tomlkit.parse(config.read_text("utf-8"))
                doc["hub"][number] = now
                _rewrite(config, doc)
                show.report(f"the device connects to {now} now, as the hub serves there: see hub of {config}")
            return now
    return url


def _trust_own(hub: HubClient, db: Path) -> None:
    """Copy the certificates of the hub to its device, to trust: the authority of hub tls init is one."""
    from hub.device.client import AUTHORITY

    tls = hub.get("/v1/config")["settings"]["listen"]["devices"].get("tls")
    make_folder(db.parent)
    with suppress(OSError):  # of another user: then those that this machine trusts count
        if tls:
            write_atomically(db.with_suffix(AUTHORITY), Path(tls["certificate"]).read_bytes(), mode=0o600)


def _rewrite(config: Path, doc: "tomlkit.TOMLDocument") -> None:
    """Write the settings of the device, with the rights that the file has."""
    import tomlkit

    with using(config, "write", Exit.CANNOT_CREATE):
        file = config.resolve()
        write_atomically(file, tomlkit.dumps(doc).encode(), mode=file.stat().st_mode & 0o777)


def _device_roots(
    ctx: click.Context,
    config: Path,
    settings: "DeviceSettings | None",
    url: str,
    shared: Sequence[Path],
    *,
    yes: bool,
) -> tuple[list[Path], tuple[Path, Path] | None]:
    """Return the folders of the device; write its *settings* if there are none, and add *shared* to them.

    Returns, too, the only missing folder with the only new one that takes its place, if its owner agrees.

    Raises:
        Failure: the device has another hub, or its owner does not share a folder.
    """
    import tomlkit

    from hub.device.device_file import DeviceFileError, connect_shared, take_place
    from hub.device.known_hubs import dialled
    from hub.device.moved_files import is_renamed
    from hub.device.settings import device_text

    if settings is None:
        known = list(device_file(ctx, DEVICE_SETTINGS).parent.glob("*.db"))
        name = known[0].stem if len(known) == 1 else device_name(None)
        write_device_settings(ctx, config, device_text((url,), tuple(shared), name))
        return [*shared], None
    if dialled(url) not in map(dialled, settings.hub):
        problem = f"{config} names another hub, {', '.join(settings.hub)}, and the one here is {url}"
        raise CommandError(
            problem, Exit.SETTINGS, next_step=f'write hub = ["{url}"] into it, or move it away'
        )
    roots = [Path(real_path(str(root))) for root in settings.roots]
    new = [folder for folder in shared if not any(folder.is_relative_to(root) for root in roots)]
    missing = [root for root in roots if not root.is_dir()]
    moved: tuple[Path, Path] | None = None
    if len(missing) == len(shared) == 1:
        (before,), (after,) = missing, shared
        question = f"{before} is not there: does {after} replace it?"
        is_moved = False
        with suppress(DeviceFileError), connect_shared(database(ctx, config)) as db:
            is_moved = is_renamed(db, before, after)
        if is_moved and not (yes or sys.stdin.isatty()):
            show.confirm(question)  # what --yes would do
        if is_moved if yes else sys.stdin.isatty() and show.ask(question):
            moved = before, after
        elif yes:
            show.report(
                f"{before} stays shared: its disk may be away; if {after} replaces it, leave out --yes"
            )
    if new or moved:
        named = ", ".join(map(str, new))
        if not yes and moved is None:
            show.confirm(f"share {named}, too?")
        doc = tomlkit.parse(config.read_text("utf-8"))
        for number in reversed(range(len(roots))):
            if moved is not None and roots[number] == moved[0]:
                del doc["roots"][number]
        doc["roots"].extend(map(str, new))
        if moved is not None:  # what was found in the folder, places and boxes follow
            before, after = moved
            with suppress(DeviceFileError), connect_shared(database(ctx, config)) as db:
                take_place(db, before.as_posix(), after.as_posix())
            for number, sink in enumerate(settings.sinks):
                file = Path(real_path(str(getattr(sink, "path", ""))))
                if file.is_relative_to(before):
                    doc["sinks"][number]["path"] = str(after / file.relative_to(before))
            for number, folder in enumerate(settings.tick_in):
                if (file := Path(real_path(str(folder)))).is_relative_to(before):
                    doc["tick_in"][number] = str(after / file.relative_to(before))
        _rewrite(config, doc)
        if moved is None:
            show.report(f"the device shares {named}, too: see roots of {config}")
        else:
            show.report(f"{moved[1]} replaces {moved[0]}: see roots of {config}")
    return [root for root in (*roots, *new) if moved is None or root != moved[0]], moved


def _follow(hub: HubClient, device: str, moved: tuple[Path, Path] | None) -> set[str]:
    """Give agents of a folder that moved its new place; return their names."""
    changed = set()
    for agent in hub.get_all("/v1/agents", "agents")["agents"] if moved is not None else ():
        assert moved is not None
        before, after = moved
        paths = [Path(real_path(path)) for path in agent["paths"]]
        if agent["device"] != device or not any(path.is_relative_to(before) for path in paths):
            continue
        now = [
            str(after / path.relative_to(before)) if path.is_relative_to(before) else str(path)
            for path in paths
        ]
        hub.send("PATCH", path_of("agents", agent["name"]), body={"paths": [*dict.fromkeys(now)]})
        changed.add(agent["name"])
        show.report(f"agent {agent['name']} reads {', '.join(now)} now")
    return changed


def _let_in(hub: HubClient, db: Path, url: str, roots: Sequence[Path], grants: Sequence[str]) -> str | None:
    """Approve the device if it waits for that, and let it grant the hub *grants*.

    Returns its name at the hub once it is connected and shares its folders, else None.
    """
    from hub.device.credentials import read_identity
    from hub.device.daemon import last_message
    from hub.device.known_hubs import SUFFIX, KnownHubs, dialled
    from hub.device.owner import change_grants
    from hub.device.owner_requests import SUFFIX as SOCKET
    from hub.device.owner_requests import ask_hub
    from protocol.coordination import Method

    known = KnownHubs(db.with_suffix(SUFFIX), db.with_suffix(".key"))
    if (at := known.at_addresses().get(dialled(url))) is None:
        return None
    key = read_identity(known.path_of(at)).shown
    waiting = (pairing["fingerprint"] for pairing in hub.get_all("/v1/pairings", "pairings")["pairings"])
    if key in waiting and (code := _CODE.search(last_message(db))):
        change_grants(db, at.public_key, grants)
        hub.post("/v1/pairings/approve", {"code": code[1]})
    for listed in hub.get_all("/v1/devices", "devices")["devices"]:
        found: dict[str, Any] = (
            hub.get(path_of("devices", listed["id"])) if listed["connected"] else {"keys": ()}
        )
        if any(each["fingerprint"] == key for each in found["keys"]):
            paths = {Path(real_path(root)) for root in found["roots"]}
            name: str = found["name"]
            if paths.issuperset(root for root in roots if root.is_dir()):
                with suppress(OSError):  # else it does not pass on requests for links yet
                    ask_hub(db.with_suffix(SOCKET), Method.RECEIPTS_LIST, {})
                    return name
    return None


def _first_run(
    hub: HubClient,
    device: str,
    shared: Sequence[Path],
    roots: Sequence[Path],
    moved: Collection[str],
) -> Mapping[str, Any] | None:
    """Make an agent for folders that none reads, and run what never ran; return a run that has ended.

    Agents that follow their *moved* folder run, too. If none begins, a run that goes on is reported.
    """
    everything = hub.get_all("/v1/agents", "agents")["agents"]
    agents = [agent for agent in everything if agent["device"] == device and agent["paths"]]
    read = [Path(real_path(path)) for agent in agents for path in agent["paths"]]
    chosen = shared or ([] if agents else roots)
    new = [folder for folder in chosen if not any(folder.is_relative_to(path) for path in read)]
    if new:
        base = re.sub(r"[^a-z0-9]+", "-", new[0].name.lower()).strip("-") or "files"
        taken = {agent["name"] for agent in everything}
        name = next(free for n in count(1) if (free := base if n == 1 else f"{base}-{n}") not in taken)
        body = {
            "name": name,
            "device": device,
            "paths": list(map(str, new)),
            "data_types": ["tasks", "notes", "timelines"],
            "prompt": "Find what I promised to do.",
            "schedule": "0 * * * *",
            "timezone": usual_zone(everything),
        }
        agents.append(hub.post("/v1/agents", body))
        reads = f"{', '.join(map(str, new))} every hour, with times of {body['timezone']}"
        show.report(f"agent {name} reads {reads}: hub agents show {name}")
    for agent in agents:
        if found := other_zone(agent, everything):
            show.report("; ".join(found))
    started = [
        hub.post(path_of("agents", agent["name"], "runs"))
        for agent in agents
        if agent["last_run"] is None or agent["name"] in moved
    ]
    last_runs = filter(None, (agent["last_run"] for agent in agents))
    runs = started or [last_run for last_run in last_runs if last_run["state"] not in show.FINAL]
    clock = SystemClock()
    gives_up_at = clock.monotonic() + (RUN_S if started else 0)
    with show.following() as show_step:
        while runs:
            run: dict[str, Any] = hub.get(path_of("runs", runs[0]["id"]))
            if run["state"] in show.FINAL and run["followed_by"] is None:
                return run
            if run["followed_by"] is not None:
                show.report("; ".join(filter(None, (run["left_because"], unread_languages(run)))))
            runs[0] = {"id": run["followed_by"] or run["id"]}
            show_step({"run": run, "working_on": None})
            if clock.monotonic() > gives_up_at:
                command = f"hub runs show {show.short_id(run['id'])} --follow"
                so_far = f"{'the first run' if started else 'a run'} goes on, {show.progress_of(run)}"
                page = f"the page shows what is found: {command}"
                show.report("; ".join(filter(None, (so_far, _rest(hub, run), unread_languages(run), page))))
                break
            Event().wait(_POLL_S)
    return None


def _rest(hub: HubClient, run: Mapping[str, Any]) -> str:
    """Return how the files are read that a run may leave; empty where it is known to read all of them."""
    most = int(hub.get("/v1/config")["settings"]["limits"]["run_files"])
    is_whole = 0 < run["units_total"] <= most + run["units_skipped"]
    return "" if is_whole else f"a run reads at most {most:,} files, and the next run goes on at once"


def _report(
    status: Mapping[str, Any], hub: _LocalProcess, device: _LocalProcess, name: str, roots: Sequence[Path]
) -> None:
    for service, title in ((hub, f"the hub {status['name']}"), (device, f"the device {name}")):
        how = f"as process {service.pid()}, log {service.log}" if service.is_ours else "without hub up"
        show.report(f"{title} runs {how}")
    shared, missing = [root for root in roots if root.is_dir()], [root for root in roots if not root.is_dir()]
    show.report(f"shared: {', '.join(map(str, shared)) or 'nothing'}; what is offered: hub device preview")
    if missing:
        named = ", ".join(map(str, missing))
        show.report(
            f"not shared, because it is missing: {named}; put it back, or name its new path: hub up FOLDER"
        )
    if status["model"] is None:
        adds = "see hub help models" if _has_model() else command_here("local")
        show.report(f"rules alone read the files; to add the small model, 200 MB: {adds}")
    for issue in status["worst"]:
        if issue["severity"] == "error":
            show.report("\n".join(show.issue_lines(issue)))
