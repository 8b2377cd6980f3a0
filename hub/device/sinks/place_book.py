"""Places of a device's settings: listed, tested, added, changed and removed in device.toml.

A person at the machine may name any file. A hub to which the owner grants ``places`` reaches few files: see
``check_reach``. A password is in a file of its own next to device.toml, and in no answer.
"""

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
import tomlkit
from tomlkit.items import Table

from hub.base.atomic_file import write_atomically
from hub.base.clock import epoch_ms
from hub.base.printable import shell_word
from hub.base.system.files import create_private
from hub.base.system.folders import is_hidden
from hub.device import declared_tables
from hub.device.addresses import is_local
from hub.device.device_file import DeviceFileError, connect_shared
from hub.device.settings import AnySink, CalDavSink, DeviceSettings, check_device_file
from hub.device.sinks.approved_rows import approved_rows
from hub.device.sinks.configured import sink_of, sinks_of
from hub.device.sinks.listed_sources import listed_already
from hub.device.sinks.states import State, forget_problem, states
from hub.device.sinks.target import WrongPlace
from hub.device.sinks.text_file import TextFile
from hub.device.sinks.web import public_addresses
from protocol.calls import PlaceProblem
from protocol.errors import HubError
from protocol.places import MAX_SINKS, KnownPlace, PlaceFields, PlaceOrder, PlacesAnswer
from protocol.tables import TABLES

_ENDINGS: Final[Mapping[str, Collection[str]]] = {
    "markdown": (".md", ".markdown"),
    "todo.txt": (".txt",),
    "ics": (".ics",),
}
# Notes that assistants obey, by their names up to the first dot: a row in them would be an order.
_OBEYED: Final = frozenset(
    {
        *("agent", "agents", "claude", "copilot-instructions", "gemini", "qwen", "memory", "skill", "skills"),
        *("bootstrap", "boot", "heartbeat", "identity", "soul", "tools", "user"),  # of OpenClaw
    }
)
_OBEYED_KINDS: Final = frozenset({"agent", "chatmode", "instructions", "prompt"})  # as in tone.prompt.md
_ABOUT: Final = {"path": "place", "url": "place", "password_file": "password"}
_REPLACED: Final = frozenset({"kind", "path", "url", "user", "password_file", "password_env", "public"})
_PASSWORD_FILE: Final = re.compile(r"-[0-9a-f]{16}\.password$")  # of this module
_CHANGED: Final = "the settings were changed meanwhile: look again, then repeat it"
_ORDERED: Final = "as the hub "  # begins the comment at a place that a hub asked for


class PlaceRefused(HubError):
    """Refusal of a place, which is *about* a field."""

    def __init__(self, message: str, about: str = "place") -> None:
        super().__init__(message)
        self.about = about


class _Tested(NamedTuple):
    """Approved rows and tables that go to a place, and the tables that it does not take."""

    rows: int = 0
    tables: Sequence[str] = ()
    left_out: Sequence[str] = ()


class PlaceBook:
    """Places of the settings file *config* of the device with the database *db*.

    Args:
        now: returns the time.
        by_hub: words about the hub that asks; empty: the owner asks at the machine.
        readable: tables whose rows the hub may read.
        is_late: returns whether no answer is awaited any more: a test ends then, and nothing is written.
    """

    def __init__(
        self,
        config: Path,
        db: Path,
        now: Callable[[], datetime],
        by_hub: str = "",
        is_late: Callable[[], bool] = lambda: False,
        readable: Collection[str] = (),
    ) -> None:
        self._is_late, self._readable = is_late, readable
        self._config, self._db, self._now, self._by_hub = config.absolute(), db, now, by_hub

    def answer(self, order: PlaceOrder) -> PlacesAnswer:
        """List, test, save or remove a place; a problem is in the answer. Blocks."""
        try:
            tested = _Tested() if order.do == "list" else self._carry_out(order)
            return self._listed(tested)
        except (HubError, OSError) as error:
            is_denied = getattr(error, "why", None) is PlaceProblem.DENIED
            about = getattr(error, "about", "password" if is_denied else "place")
            problem = getattr(error, "short", str(error))[:4_000]
            return PlacesAnswer(problem=problem, about=about, calendars=[*getattr(error, "others", ())])

    def _carry_out(self, order: PlaceOrder) -> "_Tested":
        """Return what goes to the place of an order. Raises HubError, OSError."""
        content = self._config.read_bytes()
        settings = check_device_file(self._config, content).usable()
        is_seen = order.version == _version(content) or not (self._by_hub or order.version)
        if order.do != "test" and not is_seen:
            raise PlaceRefused(_CHANGED, "")
        before = next((sink for sink in settings.sinks if sink.name == order.name), None)
        if order.do == "remove" or order.fields is None:
            if before is None:
                known = ", ".join(sink.name for sink in settings.sinks) or "none"
                raise PlaceRefused(f"there is no place called {order.name!r}; known: {known}", "name")
            if order.do != "remove":
                return self._tested(before, None)
            doc = tomlkit.parse(content.decode())
            doc["sinks"].remove(next(table for table in doc["sinks"] if table["name"] == order.name))
            if not doc["sinks"]:
                del doc["sinks"]  # else an empty list at the top
            self._replace(content, tomlkit.dumps(doc))
            return _Tested()
        if order.kind == "caldav" and not {".", ":"}.isdisjoint(order.place.partition("/")[0][:-1]):
            scheme = "http" if is_local(f"http://{order.place}") else "https"
            order = msgspec.structs.replace(order, place=f"{scheme}://{order.place}")
        assert order.fields is not None
        calendars = [sink for sink in settings.sinks if isinstance(sink, CalDavSink)]
        if not (self._by_hub or order.name):  # the owner may name the server of a hub's place
            before = next((sink for sink in calendars if sink.public and sink.url == order.place), None)
        servers = {_server(sink.url) for sink in calendars if not sink.public}
        is_public = bool(self._by_hub) and _server(order.fields.place) not in servers
        if self._by_hub:
            roots = [Path(os.path.expanduser(root)) for root in settings.roots]
            secrets = [getattr(sink, "password_file", None) for sink in settings.sinks]
            files = [self._config, *filter(None, secrets)]
            check_reach(order.fields, roots, private=[self._db.parent, *files], known=servers)
        password = order.fields.password
        secret = (lambda: password) if password else None
        change = partial(
            self._changed, before.name if before else order.name, order.fields, is_public=is_public
        )
        text, chosen = change(content, before)
        tables = chosen.tables
        try:
            tested = self._tested(chosen, secret)
        except WrongPlace as wrong:
            if not wrong.tables:
                raise
            text, chosen = change(content, before, wrong.tables)
            tested = self._tested(chosen, secret)
        if self._by_hub:
            self._check_readable(chosen, settings)
        placed = {
            *chosen.tables,
            *(name for sink in settings.sinks if sink is not before for name in sink.tables),
        }
        tested = tested._replace(left_out=[name for name in tables if name not in placed])
        if order.do == "save":
            self._check_time()
            if password and isinstance(chosen, CalDavSink) and chosen.password_file is not None:
                chosen.password_file.unlink(missing_ok=True)  # of a save that was killed
                with create_private(chosen.password_file) as file:
                    file.write(password.encode())
            self._replace(content, text)
            with suppress(DeviceFileError), connect_shared(self._db) as db:
                forget_problem(db, chosen.name)
        return tested

    def _check_readable(self, chosen: AnySink, settings: DeviceSettings) -> None:
        """Check that a hub sends rows that it may read, or that go to this place. Raises PlaceRefused."""
        same = [sink for sink in settings.sinks if _destination(sink) == _destination(chosen)]
        sent = {*self._readable, *(name for sink in same for name in sink.tables)}
        if tables := ",".join(name for name in chosen.tables if name not in sent):
            remedy = (
                f"at the device: {_command(chosen.kind, chosen.place)}; or hub grants +rows.read={tables}"
            )
            raise PlaceRefused(f"a hub sends what it may not read itself ({tables}) nowhere else; {remedy}")

    def _changed(
        self,
        name: str,
        fields: PlaceFields,
        content: bytes,
        before: AnySink | None,
        taken: Sequence[str] = (),
        *,
        is_public: bool,
    ) -> tuple[str, AnySink]:
        """Return the settings with a place, and this place. Raises PlaceRefused: its fields are wrong.

        Args:
            taken: tables that the place takes, if they are not all that belong there.
        """
        doc = tomlkit.parse(content.decode())
        if not doc.get("sinks"):
            doc.pop("sinks", None)
            doc["sinks"] = tomlkit.aot()
        tables = doc["sinks"]
        name = name or _free_name(fields, {str(table["name"]) for table in tables})
        entry: dict[str, Any] = {"name": name, "kind": fields.kind, "path": fields.place}
        replaced = _REPLACED
        if fields.kind == "caldav":
            entry = {"name": name, "kind": fields.kind, "url": fields.place, "user": fields.user}
            if is_public:
                entry["public"] = True
            if fields.password:
                entry["password_file"] = f"{name}-{_version(content)}.password"
            elif isinstance(before, CalDavSink) and (_server(before.url), before.user) == (
                _server(fields.place),
                fields.user,
            ):
                replaced -= {"password_file", "password_env"}
            else:  # the stored one goes to no other server
                raise PlaceRefused("the password of this user at this server is needed", "password")
        if before is None:
            tables.append({"name": name})
        table = next(table for table in tables if table["name"] == name)
        if self._by_hub and isinstance(table, Table):
            table.comment(f"as {self._by_hub} asked on {self._now():%Y-%m-%d}")
        if taken:
            entry["tables"] = [*taken]
        is_moved = before is not None and before.kind != fields.kind
        is_moved |= isinstance(before, CalDavSink) and before.url != fields.place
        is_moved &= not self._by_hub  # to which the tables of the owner stay
        for key in replaced | ({"tables"} if is_moved else frozenset()):
            table.pop(key, None)
        table.update(entry)
        text = tomlkit.dumps(doc)
        reading = check_device_file(self._config, text.encode())
        for problem in reading.problems:
            field = problem.path.rpartition(".")[2]
            raise PlaceRefused("; ".join(filter(None, problem[4:6])), _ABOUT.get(field, field))
        sinks_of(self._config, self._db, reading.usable())
        return text, next(sink for sink in reading.usable().sinks if sink.name == name)

    def _tested(self, chosen: AnySink, password: Callable[[], str] | None) -> "_Tested":
        """Examine a place, and write there on trial."""
        sink, rows = sink_of(chosen, password), 0
        tables = [table for table in TABLES.values() if table.name in sink.tables]
        place = sink.target.fresh_place(self._now())
        with suppress(DeviceFileError), connect_shared(self._db) as db:
            tables = [table for table in declared_tables.tables_of(db).values() if table.name in sink.tables]
            approved = approved_rows(db, sink.tables, {}, has_marks=False)
            rows = len(approved.keys() - listed_already(db, sink, approved, place))
        if (end_when := getattr(sink.target, "end_when", None)) is not None:
            end_when(self._is_late)
        if (examine := getattr(sink.target, "examine", None)) is not None:
            examine(place, tables, ())
        if isinstance(sink.target, TextFile):
            sink.target.try_to_write(place)
        return _Tested(rows, [*sink.tables])

    def _replace(self, before: bytes, after: str) -> None:
        """Replace device.toml if it is as *before*; delete passwords that no settings beside it name."""
        self._check_time()
        if self._config.read_bytes() != before:
            raise PlaceRefused(_CHANGED, "")
        file = self._config.resolve()
        write_atomically(file, after.encode(), mode=stat.S_IMODE(file.stat().st_mode))
        folder = self._config.parent  # also those of a save that was killed
        with suppress(OSError):
            named = "".join(path.read_text("utf-8", "replace") for path in folder.glob("*.toml"))
            for secret in folder.glob("*.password"):
                if _PASSWORD_FILE.search(secret.name) and secret.name not in named:
                    secret.unlink(missing_ok=True)

    def _check_time(self) -> None:
        if self._is_late():
            raise PlaceRefused("the test took too long, and nothing was saved: try it again", "")

    def _listed(self, tested: "_Tested") -> PlacesAnswer:
        content, known = self._config.read_bytes(), dict[str, State]()
        settings, asked = (
            check_device_file(self._config, content).usable(),
            orders_of_hubs(content, self._by_hub),
        )
        with suppress(DeviceFileError), connect_shared(self._db) as db:
            known = states(db)
        places = []
        for sink in settings.sinks[:MAX_SINKS]:
            state = known.get(sink.name, State("", 0, 0))
            places.append(
                KnownPlace(
                    name=sink.name,
                    kind=sink.kind,
                    place=_shown(sink.place)[:1_000],
                    user=sink.user if isinstance(sink, CalDavSink) else "",
                    tables=[*sink.tables],
                    rows=state.rows,
                    waiting=state.waiting,
                    deleted=len(state.deleted),
                    written_ms=state.written_ms,
                    problem=state.problem[:2_000],
                    remedy=state.remedy(sink.name),
                    is_lasting=state.is_lasting(epoch_ms(self._now())),
                    asked=asked.get(sink.name, ""),
                )
            )
        found = [*_candidates(settings)][:MAX_SINKS]
        return PlacesAnswer(version=_version(content), places=places, candidates=found, **tested._asdict())


def orders_of_hubs(content: bytes, asker: str = "") -> dict[str, str]:
    """Return where a place was set and when, by the places' names, from the comments of device.toml.

    *asker*: words about the hub that asks, whose own orders name no key.
    """
    tables = [table for table in tomlkit.parse(content.decode()).get("sinks", ()) if isinstance(table, Table)]
    comments = {str(table["name"]): table.trivia.comment.lstrip("# ") for table in tables}
    orders = {name: text for name, text in comments.items() if text.startswith(_ORDERED)}
    found = {name: text.removeprefix(_ORDERED).rpartition("asked on ") for name, text in orders.items()}
    keys = {name: key.strip() for name, (key, *_) in found.items()}
    ends = {name: f", whose key begins {key}" for name, key in keys.items() if key not in asker}
    return {
        name: f"set through the hub on {day}{ends.get(name, '')}"[:200] for name, (*_, day) in found.items()
    }


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _shown(path: str) -> str:
    """Return a path as people write it, with ~ for the home folder."""
    home = os.path.expanduser("~")
    return f"~{path[len(home) :]}" if path.startswith(f"{home}{os.sep}") else path


def _server(url: str) -> tuple[str, str]:
    """Return scheme, host and port."""
    return urlsplit(url)[:2]


def _destination(sink: AnySink) -> tuple[str, str]:
    return sink.place, sink.user if isinstance(sink, CalDavSink) else ""


def _command(kind: str, place: str) -> str:
    """Return the command that adds a place at the device."""
    named = {"caldav": "calendar", "ics": "calendar"}.get(kind, kind)
    return f"hub places add {named} {shell_word(place)}"


def _free_name(fields: PlaceFields, taken: Collection[str]) -> str:
    """Return a name for a new place, after its file or its calendar."""
    last = fields.place.rstrip("/").rpartition("/")[2]
    stem = last if fields.kind == "caldav" else last.rpartition(".")[0].replace("{date}", "daily")
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:40] or fields.kind
    return next(
        free for nth in range(1, len(taken) + 2) if (free := name + f"-{nth}" * (nth > 1)) not in taken
    )


def check_reach(
    fields: PlaceFields,
    roots: Collection[Path],
    private: Collection[Path],
    known: Collection[tuple[str, str]] = (),
) -> None:
    """Check that a place is a calendar at a server, or a file that a hub may make a place of rows.

    The file has the ending of its kind. It is in a shared folder or the home folder, without a link or a
    hidden folder on the way. A text file has the name of a list of tasks. A calendar is at a public address.
    *private*: files and folders of the device's own data. *known*: servers that the owner named, which
    may be elsewhere, also without https.

    Raises:
        PlaceRefused, NotPublic: it is another one.
    """
    if fields.kind == "caldav":
        if _server(fields.place) in known:
            return
        here = f"name it at the device: {_command(fields.kind, fields.place)}"
        if not fields.place.startswith("https://"):
            problem = "write https://, as in https://cloud.example.org/calendars/ana/tasks/"
            raise PlaceRefused(f"{problem}; or {here}" if "://" in fields.place else problem)
        with suppress(OSError, ValueError):  # then the settings or the test have the words
            public_addresses(fields.place)
        return
    if not fields.place.isprintable():
        raise PlaceRefused("write the whole path in one line")
    home, path = Path.home(), Path(re.sub("^~(?=/)", os.path.expanduser("~"), fields.place))
    bases = [base for base in (*roots, home) if base != Path(base.anchor) and path.is_relative_to(base)]
    base = bases[0] if bases else path
    real, stem = Path(os.path.realpath(path)), path.stem.lower()
    way = [part for part in (path, *path.parents) if part != base and part.is_relative_to(base)]
    problems = {
        "write the whole path, as in ~/notes/todo.md": not path.is_absolute()
        or os.path.normpath(path) != str(path),
        "a file of this kind is named at the device: hub places add": fields.kind not in _ENDINGS,
        f"its name must end with {' or '.join(_ENDINGS.get(fields.kind, ()))}": path.suffix.lower()
        not in _ENDINGS.get(fields.kind, ()),
        "its name must have todo in it, as in todo.txt": fields.kind == "todo.txt" and "todo" not in stem,
        "assistants obey notes with this name": _is_obeyed(path.name),
        "it is in no shared folder, and not in the home folder": not bases,
        "it is hidden": any(
            part.name.startswith(".") or (os.path.lexists(part) and is_hidden(part.lstat())) for part in way
        ),
        "a link leads there: write the path of the file itself": real
        != Path(os.path.realpath(base), path.relative_to(base)),
        "it is among the device's own data": any(
            real.is_relative_to(os.path.realpath(folder)) for folder in private
        ),
    }
    for problem, is_so in problems.items():
        if is_so:
            raise PlaceRefused(problem)


def _is_obeyed(name: str) -> bool:
    first, *kinds = (part.strip() for part in unicodedata.normalize("NFKC", name).casefold().split("."))
    return first in _OBEYED or not _OBEYED_KINDS.isdisjoint(kinds)


def _candidates(settings: DeviceSettings) -> Iterator[PlaceFields]:
    """Yield likely files in shared folders and folders there: a note in a vault, a todo.txt."""
    used = {sink.place for sink in settings.sinks}
    patterns = {
        "*/.obsidian": "Todo.md",
        ".obsidian": "Todo.md",
        "todo.txt": "todo.txt",
        "*/todo.txt": "todo.txt",
    }
    for (pattern, name), root in product(patterns.items(), settings.roots):
        for found in Path(os.path.expanduser(root)).glob(pattern):
            if str(file := found.with_name(name)) not in used:
                kind: Literal["markdown", "todo.txt"] = "todo.txt" if found == file else "markdown"
                yield PlaceFields(kind=kind, place=_shown(str(file)))
