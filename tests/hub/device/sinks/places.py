"""Places of each kind with data of others in them, as targets; the plays of a target are the same for all."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from hub.device.sinks.caldav import CalDavTarget
from hub.device.sinks.rest import Rest
from hub.device.sinks.target import Target
from hub.device.sinks.task_list_manifest import SHIPPED, SinkManifest
from hub.device.sinks.text_file import TextFile, spliced
from hub.device.sinks.web import Web, basic_authorization
from hub.text.rows.calendar import CalendarFormat
from hub.text.rows.lines import Markdown, TodoTxt
from hub.text.rows.records import Csv, JsonLines
from hub.text.rows.row_format import Format
from protocol.tables import TABLES
from tests.hub.device.sinks.servers import TOKEN, Proxy, Reply, Tasks
from tests.support.radicale import PASSWORD, Radicale

# Text of others around the rows, and how a person ticks a task off.
FILES: Final[dict[str, tuple[Callable[[], Format], str, str, tuple[str, str]]]] = {
    "markdown": (Markdown, "# Mine\n\n- [ ] of others ^abc\n\ttext\n", "", ("[ ] Call", "[x] Call")),
    "todo.txt": (TodoTxt, "(B) of others +x due:2027-01-01\nx done\n", "", ("Call", "x Call")),
    "csv": (
        Csv,
        'id,title,mine,status,priority,dueDate\n1,"of\nothers",7,a,b,c\n',
        "",
        ("todo", "done"),
    ),
    "jsonl": (JsonLines, '{"id": 1, "title": "of others"}\nno json\n', "", ("todo", "done")),
    "ics": (
        CalendarFormat,
        "BEGIN:VCALENDAR\nVERSION:2.0\nX-MINE:1\nBEGIN:VTODO\nUID:1\nSUMMARY:of\n  others\nEND:VTODO\n",
        "END:VCALENDAR\n",
        ("STATUS:NEEDS-ACTION", "STATUS:COMPLETED"),
    ),
}
KINDS: Final = (*FILES, "caldav", "rest")


def sink_text(name: str, settings: Mapping[str, str]) -> str:
    """Return the entry of a place in device.toml."""
    lines = (f"{key} = {json.dumps(value)}" for key, value in {"name": name, **settings}.items())
    return "\n".join(("[[sinks]]", *lines, ""))


class Place(Protocol):
    """Place with data of others, and what other programs and people do there."""

    target: Target
    link: str  # with which the link of a row begins

    def open(self) -> Target:
        """Return a target of a process of its own."""

    def settings(self) -> Mapping[str, str]:
        """Return the settings of the place in device.toml."""

    def read_only(self) -> Target:
        """Return a target that cannot be written."""

    @property
    def text(self) -> str:
        """All rows, and data of others."""

    def rename(self, old: str, new: str) -> None:
        """Replace words in a row."""

    def tick(self) -> None:
        """Mark the only row as done."""

    def save(self) -> Any:
        """Return all data, for ``restore``."""

    def restore(self, saved: Any) -> None:
        """Replace all data."""

    def vanish(self) -> None:
        """Lose all data."""

    def change_others(self) -> None:
        """Change data of others, as another program does."""

    def others(self) -> str:
        """Return the data of others."""


class FilePlace:
    """File of a kind with text of others."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.form, self.head, self.tail, self._tick = FILES[kind]
        self._kind = kind
        self.path = folder / f"there.{kind}"
        self.link = f"own/there.{kind}"
        self.path.write_text(self.head + self.tail)
        self.target: Target = self.open()

    def open(self) -> Target:
        return TextFile(self.path, self.form())

    def settings(self) -> Mapping[str, str]:
        return {"kind": self._kind, "path": str(self.path)}

    def read_only(self) -> Target:
        return TextFile(Path("/sys/there"), self.form())

    @property
    def text(self) -> str:
        return self.path.read_text() if self.path.exists() else ""

    def rename(self, old: str, new: str) -> None:
        assert old in self.text
        self.path.write_text(self.text.replace(old, new, 1))

    def tick(self) -> None:
        self.rename(*self._tick)

    def save(self) -> str:
        return self.text

    def restore(self, saved: str) -> None:
        self.path.write_text(saved)

    def vanish(self) -> None:
        self.path.unlink()

    def change_others(self) -> None:
        self.rename("of", "of all")

    def others(self) -> str:
        keys = dict.fromkeys(re.findall("hub-[a-z2-7]{16}", self.text), TABLES["tasks"])
        return spliced(self.form(), self.text, (), keys, keys)


class CalDavPlace:
    """Calendar of radicale with a to-do of others, behind a proxy."""

    def __init__(self, radicale: Radicale, proxy: Proxy, port: int, folder: Path) -> None:
        self._user = radicale.fresh_user()
        self._radicale, self._folder = radicale, folder
        self.proxy = proxy
        self.authorization = basic_authorization(self._user, PASSWORD)
        self.path = f"/{self._user}/todo/"
        self.url = self.link = f"http://127.0.0.1:{port}{self.path}"
        radicale.make_calendar(self._user, "todo")
        radicale.put(self._user, "todo", "other", "SUMMARY:of others", "X-MINE:1")
        self.target: Target = self.open()

    def open(self, silence_s: float = 10.0, password: str = PASSWORD) -> Target:
        web = Web(self.url, lambda: basic_authorization(self._user, password), silence_s=silence_s)
        return CalDavTarget(web, self.url, poll_s=0)

    def settings(self) -> Mapping[str, str]:
        file = self._folder / "password"
        file.write_text(f"{PASSWORD}\n")
        file.chmod(0o600)
        return {"kind": "caldav", "url": self.url, "user": self._user, "password_file": str(file)}

    def read_only(self) -> Target:
        return _forbidden(self)

    @property
    def text(self) -> str:
        return "".join(self.save().values())

    def rename(self, old: str, new: str) -> None:
        for name, text in self.save().items():
            if old in text:
                text = re.sub("LAST-MODIFIED:.*", "LAST-MODIFIED:20990101T000000Z", text.replace(old, new, 1))
                self._put(name, text.replace("\r\n", "\n"))

    def tick(self) -> None:
        self.rename("STATUS:NEEDS-ACTION", "STATUS:COMPLETED")

    def save(self) -> dict[str, str]:
        folder = self._radicale.folder / "collections/collection-root" / self.path.strip("/")
        return {file.name: file.read_bytes().decode() for file in sorted(folder.glob("*.ics"))}

    def restore(self, saved: dict[str, str]) -> None:
        if self.path.strip("/").partition("/")[2] and not self.save():
            self._radicale.make_calendar(self._user, "todo")
        for name in self.save().keys() - saved.keys():
            self._radicale.ask(self._user, "DELETE", self.path + name)
        for name, text in saved.items():
            if self.save().get(name) != text:
                self._put(name, text)

    def _put(self, name: str, text: str) -> None:
        self._radicale.ask(self._user, "PUT", self.path + name, text, kind="text/calendar")

    def vanish(self) -> None:
        self._radicale.ask(self._user, "DELETE", self.path)

    def change_others(self) -> None:
        self.rename("of", "of all")

    def others(self) -> str:
        return "".join(text for name, text in self.save().items() if not name.startswith("hub-"))


class RestPlace:
    """Task list of a stand-in server with tasks of others, behind a proxy."""

    def __init__(self, tasks: Tasks, proxy: Proxy, port: int, folder: Path) -> None:
        self.tasks, self.proxy = tasks, proxy
        self.link = "https://app.todoist.com/app/task/"
        self.authorization = f"Bearer {TOKEN}"
        self._folder = folder
        for number in range(4):
            tasks.add(f"of others {number}", description="mine", labels=["x"])
        self.manifest = manifest_at(f"http://127.0.0.1:{port}/api/v1")
        self.target: Target = self.open()

    def open(self, silence_s: float = 10.0, password: str = TOKEN) -> Target:
        web = Web(self.manifest.url, lambda: f"Bearer {password}", silence_s=silence_s)
        return Rest(web, self.manifest, poll_s=0)

    def settings(self) -> Mapping[str, str]:
        file, manifest = self._folder / "token", self._folder / "tasks.toml"
        file.write_text(TOKEN)
        file.chmod(0o600)
        text = (SHIPPED / "todoist.toml").read_text()
        manifest.write_text(text.replace("https://api.todoist.com/api/v1", self.manifest.url))
        return {"kind": "rest", "manifest": str(manifest), "password_file": str(file)}

    def read_only(self) -> Target:
        return _forbidden(self)

    @property
    def text(self) -> str:
        return "\n".join(map(json.dumps, self.tasks.tasks.values()))

    def rename(self, old: str, new: str) -> None:
        for task in self.tasks.tasks.values():
            if old in task["content"]:
                self.tasks.change(task["id"], {"content": task["content"].replace(old, new, 1)})
                return
        raise AssertionError(old)

    def tick(self) -> None:
        for task in self.tasks.tasks.values():
            if "hub-" in task["description"]:
                self.tasks.change(task["id"], {"checked": True})

    def save(self) -> dict[str, Any]:
        return {name: dict(task) for name, task in self.tasks.tasks.items()}

    def restore(self, saved: dict[str, Any]) -> None:
        self.tasks.tasks = {name: dict(task) for name, task in saved.items()}

    def vanish(self) -> None:
        self.tasks.tasks = {}

    def change_others(self) -> None:
        self.rename("of", "of all")

    def others(self) -> str:
        return "\n".join(line for line in self.text.splitlines() if "hub-" not in line)


def _forbidden(place: CalDavPlace | RestPlace) -> Target:
    place.proxy.only = ("PUT", "POST", "DELETE")
    place.proxy.faults = [Reply(403)] * 9
    return place.open()


def manifest_at(url: str) -> SinkManifest:
    doc = tomllib.loads((SHIPPED / "todoist.toml").read_text())
    return SinkManifest.model_validate(doc | {"url": url})
