"""``hub up`` and ``hub down`` as a newcomer types them: real processes in a home of their own."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest

from hub.base.version import command_here
from tests.scenarios.first_run import SHORT
from tests.scenarios.scene import rows
from tests.support.handbook import README, blocks
from tests.support.processes import POLL_S, ROOT
from tests.support.programs import free_port

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
NOTE = "# Call with Rossi\n\n- [ ] Water the plants\n- [ ] Send the quote\n"
LINK = re.compile(r"(http://\S+)/login/review#(\S+)")
WAITS = re.compile("waiting for the hub's answer to .*\n")  # said after a second, on a busy machine
DEVICES, OPERATOR = "HUB__LISTEN__DEVICES__ADDRESS", "HUB__LISTEN__OPERATOR__ADDRESS"
HUB = (sys.executable, "-m", "hub")


class Home:
    """Home of a person with a folder ``~/notes``, in which commands of ``hub`` are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.state, self.settings = folder / "state" / "hub", folder / "config" / "hub"
        self.notes.mkdir()
        (self.notes / "rossi.md").write_text(NOTE)
        hidden = {"DISPLAY", "WAYLAND_DISPLAY", "STATE_DIRECTORY"}
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden} | {
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PYTHONPATH": str(ROOT),
            # The usual ports, or one that is free while settings are written, may be another test's.
            DEVICES: f"127.0.0.1:{free_port()}",
            OPERATOR: f"127.0.0.1:{free_port()}",
        }

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Type a command without waiting for its end."""
        pipe, env = subprocess.PIPE, self.environment
        return subprocess.Popen(
            [*HUB, *words],
            cwd=self.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def hub(self, *words: str, code: int = 0) -> str:
        """Type a command that ends with *code*; return what it printed."""
        done = self.begin(*words)
        out, err = done.communicate(timeout=PATIENCE_S)
        assert done.returncode == code, f"hub {' '.join(words)}: {done.returncode}\n{out}{err}"
        return out + WAITS.sub("", err)

    def json(self, *words: str) -> Any:
        return json.loads(self.hub(*words, "--json"))

    def pids(self) -> list[int]:
        """Return the processes that were started last, the hub's first."""
        return [int((self.state / "up" / f"{name}.pid").read_text()) for name in ("hub", "device")]

    def tasks(self, where: str = "TRUE") -> set[str]:
        (device,) = (self.state / "devices").glob("*.db")
        return {title for (title,) in rows(device, f"SELECT title FROM tasks WHERE {where}")}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path)
    yield found
    found.hub("down")
    assert not any(runs(int(file.read_text())) for file in found.state.glob("up/*.pid"))


def runs(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid))


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / POLL_S)):
        if is_so():
            return
        Event().wait(POLL_S)
    raise AssertionError("it is not so in time")


def test_up_delivers_items_and_restarts_killed_processes_alone(home: Home) -> None:
    (block,) = (one for one in blocks(README, "sh") if one.text.startswith(SHORT))
    up, review, down = (shlex.split(line, comments=True)[1:] for line in block.text.splitlines())
    first = home.hub(*(word.replace("~", str(home.folder)) for word in up))
    assert re.search("success: 1 read|the first run goes on", first)
    until(lambda: home.tasks() == {"Water the plants", "Send the quote"})
    assert "Water the plants" in home.hub(*review)

    link = LINK.search(first)
    assert link is not None
    headers = {"authorization": f"Bearer {link[2]}", "x-hub-request": "1"}
    with httpx2.Client(base_url=link[1]) as browser:
        assert browser.post("/v1/sessions", headers=headers).is_success
        me = browser.get("/v1/me").json()
        assert (me["is_owner"], me["role"], me["missing"]) == (True, "admin", [])
        listed = browser.get("/v1/items", params={"table": "tasks"}).json()["items"]
    assert {one["title"] for one in listed} == home.tasks()
    home.hub("items", "approve", listed[0]["id"])
    until(lambda: home.tasks("isApproved = 1") == {listed[0]["title"]})

    before = home.pids()
    assert LINK.search(home.hub("up", "--no-browser"))
    assert home.pids() == before

    kill(before[1])
    home.hub("up")
    after = home.pids()
    assert after[0] == before[0]
    assert after[1] != before[1]

    kill(after[0])
    home.hub("up", str(home.notes))
    assert home.pids()[0] != after[0]
    assert home.pids()[1] == after[1]
    assert len(home.json("agents", "ls")["agents"]) == 1
    assert len(home.json("runs", "ls")["runs"]) == 1

    assert home.hub(*down).splitlines() == ["the hub has ended", "the device has ended"]
    assert not any(map(runs, home.pids()))
    assert home.hub("down") == "nothing runs that hub up started\n"


def test_two_concurrent_ups_start_a_single_hub_and_device_and_share_further_folders_if_asked(
    home: Home,
) -> None:
    both = [home.begin("up", "notes") for _ in range(2)]
    printed = [one.communicate(timeout=PATIENCE_S * 2) for one in both]
    assert [one.returncode for one in both] == [0, 0], printed
    assert sum("waiting for its end" in err for _, err in printed) == 1
    assert sum(err.count("wrote ") for _, err in printed) == 2
    assert len(home.json("devices", "ls")["devices"]) == 1

    other = home.folder / "other"
    other.mkdir()
    (other / "a.md").write_text("- [ ] Prune the tree\n")
    assert f"share {other}, too?" in home.hub("up", "other", code=2)
    assert str(other) not in (home.settings / "device.toml").read_text()
    assert f"the device shares {other}, too" in home.hub("up", "other", "--yes")
    until(lambda: "Prune the tree" in home.tasks())
    assert [one["paths"] for one in home.json("agents", "ls")["agents"]] == [[str(home.notes)], [str(other)]]


@pytest.mark.parametrize(
    "hosts",
    ["", pytest.param('\nhosts = ["desk.local"]', marks=pytest.mark.soak)],
    ids=["addresses", "names"],
)
def test_device_of_up_follows_a_hub_with_the_certificate_of_tls_init_and_back(home: Home, hosts: str) -> None:
    home.hub("up", str(home.notes))
    own, plain = home.settings / "device.toml", (home.state / "hub.toml").read_text()
    before = own.read_text()
    line = re.search("tls = .*", home.hub("tls", "init"))
    assert line is not None
    with_tls = re.sub(r"(?m)^(address = .*)$", rf"\1\n{line[0]}{hosts}", plain, count=2)
    (home.state / "hub.toml").write_text(with_tls)
    home.hub("down")

    assert f"the device connects to wss://{home.environment[DEVICES]} now" in home.hub("up")
    assert own.read_text() == before.replace("ws://", "wss://", 1)
    (device,) = home.json("devices", "ls")["devices"]
    assert device["connected"]

    (home.state / "hub.toml").write_text(plain)
    home.hub("down")
    home.hub("up")
    assert own.read_text() == before


def test_folder_named_in_place_of_a_missing_one_is_read_by_the_same_agent(home: Home) -> None:
    home.hub("up", str(home.notes))
    until(lambda: home.tasks() == {"Water the plants", "Send the quote"})
    home.hub("places", "add", "vault", f"{home.notes}/todo.md", "--yes")
    own = home.settings / "device.toml"
    own.write_text(own.read_text().replace("# tick_in = []", f'tick_in = ["{home.notes}"]'))
    vault = home.notes.rename(home.folder / "vault")

    assert f"missing: {home.notes}; put it back, or name its new path: hub up FOLDER" in home.hub("up")
    assert f"not done: {home.notes} is not there: does {vault} replace it?" in home.hub(
        "up", str(vault), code=2
    )
    said = home.hub("up", str(vault), "--yes")

    assert f"{vault} replaces {home.notes}" in said
    (agent,) = home.json("agents", "ls")["agents"]
    assert (agent["name"], agent["paths"]) == ("notes", [str(vault)])
    assert f'path = "{vault}/todo.md"' in own.read_text()
    assert f'tick_in = ["{vault}"]' in own.read_text()
    (vault / "rossi.md").write_text(NOTE.replace("[ ] Water", "[x] Water"))
    home.hub("run", "notes")
    until(lambda: home.tasks("status = 'done'") == {"Water the plants"})
    assert "vault/rossi.md" in home.hub("review", "ls", "--all")
    items = home.json("items", "ls", "--all")["items"]
    assert {item["path"] for item in items} == {"vault/rossi.md"}
    assert home.tasks() == {"Water the plants", "Send the quote"}

    vault.rename(home.folder.parent / "away")  # as with a disk that is away
    other = home.folder / "other"
    other.mkdir()
    (other / "a.md").write_text("- [ ] Prune the tree\n")
    assert f"{vault} stays shared: its disk may be away" in home.hub("up", str(other), "--yes")
    settings = (home.settings / "device.toml").read_text()
    assert all(f'"{folder}"' in settings for folder in (vault, other))
    assert [agent["paths"] for agent in home.json("agents", "ls")["agents"]] == [[str(vault)], [str(other)]]


@pytest.mark.parametrize("name", ["hub", "device"])
def test_up_after_a_killed_up_continues_with_the_processes(home: Home, name: str) -> None:
    started = home.state / "up" / f"{name}.pid"
    first = home.begin("up", "notes")
    until(lambda: started.exists() and started.read_text() != "")
    first.kill()
    first.communicate()
    before = started.read_text()
    home.hub("up", "notes")
    assert started.read_text() == before
    until(lambda: home.tasks() == {"Water the plants", "Send the quote"})


def test_down_spares_a_hub_started_without_up_and_a_process_with_a_reused_id(home: Home) -> None:
    home.hub("up", "notes")
    home.hub("down")
    settings = str(home.state / "hub.toml")
    hub = subprocess.Popen(
        [*HUB, "serve", "--config", settings], env=home.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert hub.stderr is not None
        assert next(line for line in hub.stderr if "is ready" in line)
        (home.state / "up" / "hub.pid").write_text(str(hub.pid))
        assert "runs without hub up" in home.hub("up")
        assert home.hub("down").splitlines() == [
            "the device has ended",
            "a hub runs that hub up did not start; to end it: hub drain",
        ]
        assert hub.poll() is None
    finally:
        hub.terminate()
        hub.communicate(timeout=PATIENCE_S)


def test_up_names_broken_settings_and_continues_without_a_missing_folder(home: Home) -> None:
    work = home.folder / "work"
    work.mkdir()
    home.hub("up", "notes", "work")
    home.hub("down")
    work.rename(home.folder / "moved")
    with (home.state / "hub.toml").open("a") as settings:
        settings.write("[modle]\n")
    printed = home.hub("up")
    assert f"shared: {home.notes}; " in printed
    assert f"not shared, because it is missing: {work}; put it back" in printed
    assert "error: hub.toml is broken, so the hub uses the last good settings" in printed


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        ((), 2, ("this machine shares no folder yet", "name one: hub up /")),
        (("none",), 2, ("none is not a folder\n", "name a folder that exists")),
        (("notes", "my", "own", "notes"), 2, ("my is not a folder; ", "in quotes: 'my own notes'\n")),
        (("/",), 2, ("the whole disk cannot be shared",)),
        ((".",), 2, ("has the hub's own state in it", "share a folder without it")),
        (("notes", "--state", "notes/state"), 2, ("has the hub's own state in it", "--state DIR")),
    ],
)
def test_unshareable_folder_is_named_with_a_remedy(
    home: Home, words: tuple[str, ...], code: int, shown: tuple[str, ...]
) -> None:
    (home.folder / "my own notes").mkdir()
    printed = home.hub("up", *words, code=code)
    assert all(part in printed for part in shown), printed
    assert not home.settings.exists()


def test_folder_of_documents_is_offered_under_its_name_in_the_language_of_the_desktop(home: Home) -> None:
    documents = home.folder / "Dokumente"
    documents.mkdir()
    home.settings.parent.mkdir(exist_ok=True)
    named = '# XDG_DOCUMENTS_DIR="$HOME/x"\nXDG_DOCUMENTS_DIR="$HOME/Dokumente"\nXDG_MUSIC_DIR="$HOME/"\n'
    named += "".join(f'XDG_DOCUMENTS_DIR="$HOME/{name}"\n' for name in ("/etc", "..", "../..", "./"))
    (home.settings.parent / "user-dirs.dirs").write_text(named)
    assert f"name one: hub up {documents} {home.notes}\n" in home.hub("up", code=2)


@pytest.mark.parametrize(
    ("file", "text", "code", "shown"),
    [
        ("state", "", 73, ("cannot make the folder", "a part of the path is a file")),
        ("config", "", 73, ("cannot make the folder", "a part of the path is a file")),
        ("config/hub/device.toml", "roots = [", 78, ("device.toml:1:", "error")),
        (
            "config/hub/device.toml",
            'hub = ["ws://h:1"]\nroots = ["~/notes"]',
            78,
            ("names another hub", "write hub"),
        ),
        (
            "state/hub/hub.toml",
            "[hub]\nnmae = 1\n",
            69,
            ("the hub has ended", "hub.nmae: unknown key", "hub.log"),
        ),
        ("state/hub/hub.db", "", 78, ("its settings elsewhere", "hub up --config FILE")),
        (
            "state/hub/hub.toml",
            '[listen.devices]\naddress = "127.0.0.1:{taken}"\n',
            69,
            ("the hub has ended", "cannot listen on 127.0.0.1:", "change address in [listen.devices]"),
        ),
    ],
)
def test_file_in_the_place_of_a_folder_is_named_with_a_remedy(
    home: Home, file: str, text: str, code: int, shown: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        path = home.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{taken}", str(other.getsockname()[1])))
        if "listen" in text:
            del home.environment[DEVICES]
        printed = home.hub("up", "notes", code=code)
        assert all(part in printed for part in shown), printed
        path.unlink()


def test_new_settings_avoid_ports_of_other_programs_and_a_missing_model(home: Home) -> None:
    home.environment |= {
        "PYTHONPATH": f"{ROOT / 'tests' / 'support' / 'lacking'}:{ROOT}",
        "HUB_WITHOUT": "xllamacpp",
    }
    with ExitStack() as other:
        with suppress(OSError):  # a program of this machine has it already
            other.enter_context(socket.create_server(("127.0.0.1", 8770)))
        assert f"to add the small model, 200 MB: {command_here('local')}" in home.hub("up", "notes")
    assert '"127.0.0.1:8770"' not in (home.state / "hub.toml").read_text()
    assert home.json("status")["listeners"]["operator"] == home.environment[OPERATOR]


def test_page_of_up_is_that_of_the_device_once_the_hub_has_several_users(home: Home) -> None:
    def opened() -> dict[str, Any]:
        link = LINK.search(home.hub("up", "--no-browser"))
        assert link is not None
        headers = {"authorization": f"Bearer {link[2]}", "x-hub-request": "1"}
        with httpx2.Client(base_url=link[1]) as browser:
            assert browser.post("/v1/sessions", headers=headers).is_success
            return dict(browser.get("/v1/me").json())

    (home.folder / "Documents" / "vault" / ".obsidian").mkdir(parents=True)
    refused = home.hub("up", code=2)  # nothing is shared without a question
    assert f"hub up {home.folder}/Documents {home.notes}" in refused
    home.hub("up", str(home.notes))
    home.hub("grants", "-places")
    until(lambda: [one["command"] for one in opened()["missing"]] == ["hub grants +places"])
    home.hub("users", "create", "anna")
    me = opened()
    assert (me["is_owner"], me["role"], me["user"] is not None) == (True, "operator", True)
    assert me["missing"][0] == {
        "what": "add agents and devices, add accounts, change settings",
        "command": "hub dashboard",
    }
