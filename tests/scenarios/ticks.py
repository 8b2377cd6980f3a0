"""Ticks at places of a device that is killed between a place and its own file, or restored from a backup.

``python -m tests.scenarios.ticks`` (``make soak``) draws 1,000 ticks at files of five kinds, a calendar, a
task list, and lines that their owner wrote in a file of a place, or in a note that is ticked once. Each look
at a place is a process that kills itself at a drawn point: before or after a statement of SQLite, a request,
or the exchange of a file. Then the owner goes on.

Each item must be as its owner left it, at both sides. The owner acts as the side shows it: what is open there
is ticked, and what is done is opened again. Between two looks that end, an item is opened at one side only;
it may then be ticked at the other one. Files are saved in place, and by programs that replace them.
"""

import os
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

import msgspec

from hub.base.clock import IdFactory, SystemClock
from hub.device import rows
from hub.device.device_file import open_device_store
from hub.device.owner import approve
from hub.device.sinks.caldav import CalDavTarget
from hub.device.sinks.file_ticks import tick_sources
from hub.device.sinks.rest import Rest
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import synchronize
from hub.device.sinks.target import Snapshot, Target, Written
from hub.device.sinks.text_file import TextFile
from hub.text.rows.lines import Markdown
from hub.text.rows.row import Put
from hub.text.rows.row_keys import key_of
from protocol.frame import Record
from protocol.items import ItemSource, Provenance, ProvenanceOrigin
from protocol.tables import SUGGESTED, TABLES, DeviceTable
from protocol.tool_calls import Action, ToolCall
from tests.hub.device.sinks.bench import SinkBench
from tests.hub.device.sinks.conftest import caldav_place, rest_place
from tests.hub.device.sinks.places import FILES, CalDavPlace, FilePlace, Place, RestPlace
from tests.scenarios.program import Verdict, run
from tests.support.clock import SeededChance
from tests.support.radicale import running_radicale

KINDS: Final = (*FILES, "caldav", "rest", "lines", "notes")
TASKS: Final = TABLES["tasks"]
DONE: Final[Record] = {"status": "done"}
OWN: Final = Provenance(origin=ProvenanceOrigin.OWN, trusted=True)
MAX_ROWS: Final = 12  # of a device, before it starts anew
# Points of a look, each with the number of times that it may be passed before the kill.
POINTS: Final[Mapping[str, int]] = {
    "read": 1,
    "execute": 12,
    "write": 1,
    "asked": 6,
    "temporary": 1,
    "written": 1,
    "recorded": 8,
}
_FOLDERS: Final[Any] = import_module("hub.base.system.folders")  # whose exchange of files is a point
_TO_DO: Final = re.compile("BEGIN:VTODO\n.*?END:VTODO\n", re.DOTALL)
_STATE: Final = re.compile("^STATUS:(NEEDS-ACTION|COMPLETED)\n", re.MULTILINE)
_ENDED: Final = re.compile("^(?:COMPLETED|PERCENT-COMPLETE):.*\n", re.MULTILINE)


class Fall(msgspec.Struct):
    """Point at which a process kills itself: the time *left* that a point *name* is passed."""

    name: str
    left: int

    def passed(self, name: str) -> None:
        if name == self.name:
            self.left -= 1
            if self.left < 0:
                self.end()

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class FallingTarget:
    """Target of a process that may kill itself before or after a step."""

    def __init__(self, target: Target, fall: Fall) -> None:
        self._target, self._fall = target, fall
        if isinstance(target, CalDavTarget | Rest):
            ask = target._web.ask

            def asked(*words: Any, **options: Any) -> Any:
                answer = ask(*words, **options)
                if words[0] in ("PUT", "POST"):
                    fall.passed("asked")
                return answer

            target._web.ask = asked  # type: ignore[method-assign]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def read(self, places: Collection[str], tables: Mapping[str, DeviceTable]) -> Snapshot:
        snapshot = self._target.read(places, tables)
        self._fall.passed("read")
        return snapshot

    def write(
        self, snapshot: Snapshot, puts: Sequence[Put], removed: Collection[str]
    ) -> Mapping[str, Written]:
        self._fall.passed("write")
        results = self._target.write(snapshot, puts, removed)
        self._fall.passed("written")
        if self._fall.name == "recorded":
            self._fall.name = "execute"
        return results


class FallingConnection:
    """Connection of a process that may kill itself before a statement."""

    def __init__(self, db: sqlite3.Connection, fall: Fall) -> None:
        self._db, self._fall = db, fall

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, *words: Any) -> sqlite3.Cursor:
        self._fall.passed("execute")
        return self._db.execute(*words)


def save(path: Path, content: bytes, *, replaces: bool) -> None:
    """Save a file as its owner, in place or by a program that replaces it."""
    file = path.with_name(f"{path.name}.new") if replaces else path
    file.write_bytes(content)
    os.replace(file, path)


class Rows(Protocol):
    """Rows of a place, one by one, as their owner sees and changes them there.

    *replaces*: the owner's program replaces files.
    """

    replaces: bool = False

    def look(self, bench: SinkBench, fall: Fall) -> None:
        """Synchronize both sides."""

    def is_done(self, key: str) -> bool | None:
        """Return whether a row is done; None: it is not there, or more than once."""

    def change(self, key: str, *, is_done: bool) -> None:
        """Tick a row, or open it again."""


class SinkRows(Rows):
    """Rows that the device writes to a place."""

    def __init__(self, place: Place) -> None:
        self._place, self._kind = place, place.settings()["kind"]

    def look(self, bench: SinkBench, fall: Fall) -> None:
        with bench.open() as db:
            falling: Any = FallingConnection(db, fall)
            target: Any = FallingTarget(self._place.open(), fall)
            synchronize(falling, Sink("there", target, ("tasks",)), bench.clock.now())

    def is_done(self, key: str) -> bool | None:
        if (text := self._text(key)) is None:
            return None
        signs = {"markdown": "[x]", "todo.txt": "x ", "ics": "STATUS:COMPLETED", "caldav": "STATUS:COMPLETED"}
        return text.startswith("x ") if self._kind == "todo.txt" else signs.get(self._kind, "done") in text

    def change(self, key: str, *, is_done: bool) -> None:
        place, text = self._place, self._text(key)
        assert text is not None
        if isinstance(place, RestPlace):
            place.tasks.change(self._task(key)["id"], {"checked": is_done})
            return
        changed = _CHANGES[self._kind](text, is_done)
        assert changed != text, text
        if isinstance(place, CalDavPlace):
            place._put(f"{key}.ics", _modified(changed))
        else:
            assert isinstance(place, FilePlace)
            whole = place.path.read_bytes().decode().replace("\r\n", "\n")
            save(place.path, whole.replace(text, changed).encode(), replaces=self.replaces)

    def _text(self, key: str) -> str | None:
        """Return the part of the place that is a row."""
        if isinstance(self._place, RestPlace):
            task = self._task(key)
            return None if task is None else "done" if task["checked"] else "todo"
        if isinstance(self._place, CalDavPlace):
            text = self._place.save().get(f"{key}.ics")
            return None if text is None else text.replace("\r\n", "\n")
        assert isinstance(self._place, FilePlace)
        text = self._place.path.read_bytes().decode().replace("\r\n", "\n")
        if self._kind != "ics":
            lines = [line for line in text.split("\n") if key in line]
        else:
            lines = [part for part in _TO_DO.findall(text) if key in part]
        return lines[0] if len(lines) == 1 else None

    def _task(self, key: str) -> Any:
        assert isinstance(self._place, RestPlace)
        found = [task for task in self._place.tasks.tasks.values() if key in task["description"]]
        return found[0] if len(found) == 1 else None


def _in_calendar(text: str, is_done: bool) -> str:
    state = "STATUS:COMPLETED\n" if is_done else "STATUS:NEEDS-ACTION\n"
    return _STATE.sub(state, _ENDED.sub("", text))


def _in_todo_txt(text: str, is_done: bool) -> str:
    return f"x {text}" if is_done else re.sub(r"\Ax (\d{4}-\d\d-\d\d )?", "", text)


def _in_line(marks: tuple[str, str], text: str, is_done: bool) -> str:
    before, after = marks if is_done else marks[::-1]
    return text.replace(before, after, 1)


def _modified(text: str) -> str:
    """Return the text of a calendar object that was changed now; clocks of calendars have whole seconds."""
    at = SystemClock().now() + timedelta(seconds=2)
    return re.sub("LAST-MODIFIED:.*", f"LAST-MODIFIED:{at:%Y%m%dT%H%M%SZ}", text)


_CHANGES: Final[Mapping[str, Callable[[str, bool], str]]] = {
    "markdown": partial(_in_line, ("[ ]", "[x]")),
    "todo.txt": _in_todo_txt,
    "csv": partial(_in_line, ("todo", "done")),
    "jsonl": partial(_in_line, ("todo", "done")),
    "ics": _in_calendar,
    "caldav": _in_calendar,
}


class OwnLines(Rows):
    """Lines that the owner wrote in a file of a sink, and in which the tasks were found.

    *is_place*: False: the file is none of a sink, but below a folder whose lines are ticked once.
    """

    is_place = True

    def __init__(self, folder: Path, bench: SinkBench, tasks_of_line: int = 1) -> None:
        self._path, self._bench = folder / "notes" / "plan.md", bench
        self._path.parent.mkdir(parents=True)
        titles = [f"Item {number:03}x" for number in range(MAX_ROWS)]
        self._path.write_text("".join(f"- [ ] {title}\n" for title in titles))
        calls = []
        for number in range(tasks_of_line * MAX_ROWS):
            title = titles[number % MAX_ROWS]
            quote = f"- [ ] {title}"
            at = number % MAX_ROWS * (len(quote) + 1)
            source = ItemSource(
                path="notes/plan.md", quote=quote, start=at, end=at + len(quote), provenance=OWN
            )
            data: Record = {"title": title, **SUGGESTED}
            call = ToolCall(id=f"c{number}", action=Action.INSERT, table="tasks", data=data, source=source)
            calls.append(call)
        self.apply(calls)
        approve(bench.path, range(1, MAX_ROWS + 1), at_ms=1)
        with bench.open() as db:
            found = dict(db.execute("SELECT id, title FROM tasks ORDER BY rowid").fetchall())
        self.ids = [*found]
        self._titles = {key_of("tasks", row_id): title for row_id, title in found.items()}

    def apply(self, calls: Sequence[ToolCall]) -> None:
        ids = IdFactory(self._bench.clock, SeededChance())
        with open_device_store(self._bench.path, clock=self._bench.clock, ids=ids) as store:
            store.name_roots([str(self._path.parent)])
            store.apply(calls)

    def look(self, bench: SinkBench, fall: Fall) -> None:
        replace = _FOLDERS.replace
        with bench.open() as db:
            falling: Any = FallingConnection(db, fall)
            sink = Sink("own", TextFile(self._path, Markdown()), ("tasks",), kind="markdown")
            below = () if self.is_place else (self._path.parent,)

            def exchange(*words: Any) -> None:
                replace(*words)
                fall.passed("written")
                if fall.name == "recorded":
                    fall.name = "execute"

            _FOLDERS.replace = exchange
            try:
                if self.is_place:
                    synchronize(falling, sink, bench.clock.now())
                tick_sources(falling, below, bench.clock.now(), sinks=[sink][: self.is_place])
            finally:
                _FOLDERS.replace = replace

    def is_done(self, key: str) -> bool | None:
        (line,) = (line for line in self._path.read_text().split("\n") if self._titles[key] in line)
        return "[x]" in line

    def change(self, key: str, *, is_done: bool) -> None:
        signs, title = ("[x]", "[ ]") if is_done else ("[ ]", "[x]"), self._titles[key]
        text = self._path.read_text()
        assert f"- {signs[1]} {title}" in text
        changed = text.replace(f"- {signs[1]} {title}", f"- {signs[0]} {title}")
        save(self._path, changed.encode(), replaces=self.replaces)


class Toll(msgspec.Struct):
    """Result: acts and kills, and the items that are not as their owner left them.

    Attributes:
        lost: items that were ticked, and are open at a side.
        unasked: items that were opened again, or never ticked, and are done at a side.
        left: temporary files of the device.
        first: what happened to the first of these items.
    """

    ticks: int = 0
    openings: int = 0
    kills: Counter[str] = msgspec.field(default_factory=Counter)
    restored: int = 0
    lost: int = 0
    unasked: int = 0
    left: int = 0
    first: str = ""

    @property
    def is_well(self) -> bool:
        return self.kills.total() > 0 and not self.lost and not self.unasked and not self.left


def fall_of(chance: SeededChance, names: Sequence[str] = tuple(POINTS)) -> Fall:
    """Draw a point among those of these *names*."""
    name = names[int(chance.uniform(0, len(names)))]
    return Fall(name, int(chance.uniform(0, POINTS[name])))


def look_apart(there: Rows, bench: SinkBench, fall: Fall) -> bool:
    """Look in another process; return whether it was killed."""
    child = os.fork()
    if not child:
        code = 1
        try:
            replace = _FOLDERS.replace

            def exchange(*words: Any) -> None:
                fall.passed("temporary")
                replace(*words)

            _FOLDERS.replace = exchange
            there.look(bench, fall)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


def play_note(folder: Path, seed: int, toll: Toll, chance: SeededChance) -> None:
    """Tick tasks of a note whose lines are ticked once, each with a suggestion of the same line beside.

    A line is as its owner left it behind the device's tick. A suggestion, which a hub calls done once a tick
    is read, is approved by ticks of the owner alone.
    """
    folder.mkdir()
    bench = SinkBench(folder, seed)
    note, done, opened, words = OwnLines(folder / "vault", bench, 2), set[str](), set[str](), set[str]()
    note.is_place = False
    tasks, suggestions = note.ids[:MAX_ROWS], note.ids[MAX_ROWS:]
    for _ in range(3):
        for row_id in tasks:
            key, is_chosen = key_of("tasks", row_id), chance.uniform(0, 1) < 0.3
            if is_chosen and row_id not in done | words:
                bench.change(row_id, {"status": "done"})
                done.add(row_id)
                opened.discard(row_id)
                toll.ticks += 1
        fall = fall_of(chance, ("execute", "temporary", "written"))
        toll.kills[fall.name] += look_apart(note, bench, fall)
        for row_id in tasks:
            key, note.replaces = key_of("tasks", row_id), chance.uniform(0, 1) < 0.5
            is_done = bool(note.is_done(key))
            if chance.uniform(0, 1) < 0.3 and (is_done or row_id not in done):
                note.change(key, is_done=not is_done)
                (opened if is_done else words).add(row_id)
                (words if is_done else opened).discard(row_id)
                toll.ticks += not is_done
                toll.openings += is_done
    for _ in range(2):
        look_apart(note, bench, Fall("", 0))
    for row_id, suggestion in zip(tasks, suggestions, strict=True):
        is_done = bool(note.is_done(key_of("tasks", row_id)))
        is_left_done = row_id in (done | words) - opened
        toll.lost += is_left_done and not is_done
        toll.unasked += is_done and not is_left_done
        where: Record = {"id": suggestion}
        update = ToolCall(id=f"u{suggestion}", action=Action.UPDATE, table="tasks", where=where, data=DONE)
        note.apply([update] if is_done else [])
        toll.unasked += bool(bench.row(suggestion)["isApproved"]) and row_id not in words
    toll.left += sum(1 for file in folder.rglob(".*"))


class World:
    """Device with a place, and what the owner did with each row."""

    def __init__(self, kind: str, there: Rows, bench: SinkBench, toll: Toll, chance: SeededChance) -> None:
        self._kind, self._there, self._bench = kind, there, bench
        self._toll, self._chance = toll, chance
        self._done: dict[str, bool] = {}  # as the owner left each row, by its id
        self._sides: dict[str, set[str]] = {}  # at which a row was changed since the last look that ended
        self._acts: dict[str, list[str]] = {}
        self._numbers = count()
        self._saved: tuple[bytes, dict[str, bool]] | None = None
        if isinstance(there, OwnLines):
            self._done = dict.fromkeys(there.ids, False)

    def play(self, ticks: int) -> None:
        """Act until so many ticks are done, with kills, and with restored files of the device."""
        ends_at = self._toll.ticks + ticks
        while self._toll.ticks < ends_at:
            if self._kind != "lines" and self._chance.uniform(0, 1) < 0.1:
                self._save()
            if self._kind != "lines" and len(self._done) < MAX_ROWS:
                self._approve(f"{next(self._numbers):032x}", "todo")
            for _ in range(1 + int(self._chance.uniform(0, 2))):
                self._act(3)
                self._fall()
                self._act(2)
            if self._saved is not None and self._is_known() and self._chance.uniform(0, 1) < 0.1:
                self._end_looks()
                self._restore()
            self._end_looks()
            self._compare()

    def _approve(self, row_id: str, status: str) -> None:
        flags: Record = {"isAiSuggested": 1, "isApproved": 1}
        data: Record = {"title": f"Item {int(row_id, 16):03}x", "status": status}
        with self._bench.open() as db:
            rows.insert(db, TASKS, row_id, data, self._now(), flags=flags)
        self._done[row_id] = status == "done"
        self._note(row_id, f"approved {status}")

    def _now(self) -> int:
        self._bench.clock.set_wall(SystemClock().now())
        return self._bench.at_ms

    def _note(self, row_id: str, what: str) -> None:
        self._acts.setdefault(row_id, []).append(what)

    def _act(self, times: int) -> None:
        """Tick or open rows at a side that shows them so."""
        for _ in range(times):
            row_id = [*self._done][int(self._chance.uniform(0, len(self._done)))]
            side = "device" if self._chance.uniform(0, 1) < 0.5 else "place"
            is_done = self._is_done(row_id, side)
            if is_done is None:
                continue
            sides = self._sides.setdefault(row_id, set())
            if is_done and sides - {side}:
                continue
            sides.add(side)
            self._toll.openings += is_done
            self._toll.ticks += not is_done
            self._done[row_id] = not is_done
            self._note(row_id, f"{side} {'opened' if is_done else 'ticked'}")
            if side == "place":
                self._there.replaces = self._chance.uniform(0, 1) < 0.5
                self._there.change(key_of("tasks", row_id), is_done=not is_done)
            else:
                with self._bench.open() as db:
                    status: Record = {"status": "todo" if is_done else "done"}
                    rows.update(db, TASKS, row_id, status, self._now())

    def _is_done(self, row_id: str, side: str) -> bool | None:
        if side == "place":
            return self._there.is_done(key_of("tasks", row_id))
        return self._bench.row(row_id)["status"] == "done"

    def _fall(self) -> None:
        """Look in a process that kills itself at some point, if it comes there."""
        fall = fall_of(self._chance)
        name = fall.name
        what = f"{name} {fall.left}"
        if self._look(fall):
            self._toll.kills[name] += 1
            for acts in self._acts.values():
                acts.append(f"killed at {what}")

    def _look(self, fall: Fall) -> bool:
        """Look in another process; return whether it was killed."""
        self._now()
        return look_apart(self._there, self._bench, fall)

    def _end_looks(self) -> None:
        for _ in range(3):  # the last ones write what those before them read
            self._look(Fall("", 0))
        self._sides = {}
        for acts in self._acts.values():
            acts.append("looked")

    def _save(self) -> None:
        with self._bench.open() as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._saved = self._bench.path.read_bytes(), dict(self._done)

    def _is_known(self) -> bool:
        """Return False for a task list and a file without the ids of all rows: it lists no done items."""
        assert self._saved is not None
        return self._kind != "rest" or self._saved[1].keys() == self._done.keys()

    def _restore(self) -> None:
        """Restore the device's file; the rows that it had not yet are delivered and approved again."""
        assert self._saved is not None
        content, known = self._saved
        for name in ("-wal", "-shm"):
            Path(f"{self._bench.path}{name}").unlink(missing_ok=True)
        self._bench.path.write_bytes(content)
        left = dict(self._done)
        for row_id in left.keys() - known.keys():
            self._approve(row_id, "todo")
        self._done = left
        self._toll.restored += 1
        for acts in self._acts.values():
            acts.append("restored")

    def _compare(self) -> None:
        for row_id, is_done in self._done.items():
            sides = {side: self._is_done(row_id, side) for side in ("device", "place")}
            if [*sides.values()] != [is_done, is_done]:
                self._toll.lost += is_done
                self._toll.unasked += not is_done
                told = f"{self._kind} {row_id[-3:]}: left {is_done}, is {sides}: {self._acts[row_id][-12:]}"
                self._toll.first = self._toll.first or told
                self._done[row_id] = bool(sides["device"])  # it goes on from there
        self._acts = {row_id: acts[-12:] for row_id, acts in self._acts.items()}


def play_kind(kind: str, folder: Path, ticks: int, seed: int, toll: Toll) -> None:
    """Play with a place of a kind."""
    chance = SeededChance(seed)
    folder.mkdir()
    while kind == "notes" and toll.ticks < ticks:
        play_note(folder / str(toll.ticks), seed, toll, chance)
    if kind == "notes":
        return
    bench = SinkBench(folder, seed)
    with ExitStack() as opened:
        if kind == "lines":
            there: Rows = OwnLines(folder, bench)
        elif kind in FILES:
            there = SinkRows(FilePlace(kind, folder))
        elif kind == "caldav":
            radicale = opened.enter_context(running_radicale())
            there = SinkRows(opened.enter_context(caldav_place(radicale, folder)))
        else:
            place = opened.enter_context(rest_place(folder))
            place.tasks.page = 200
            place.tasks.now = lambda: SystemClock().now().isoformat()
            there = SinkRows(place)
        World(kind, there, bench, toll, chance).play(ticks)
        toll.left += sum(1 for file in folder.rglob(".*"))


async def play(folder: Path, *, ticks: int = 1_000, seed: int = 1, kind: str = "") -> Verdict:
    """Tick items at both sides while the device is killed and restored: none is lost."""
    began, lines, tolls = perf_counter(), list[str](), list[Toll]()
    for name in [kind] if kind else KINDS:
        toll = Toll()
        play_kind(name, folder / name, ticks if kind else ticks // len(KINDS), seed, toll)
        lines.append(f"  {name:9} {toll}")
        tolls.append(toll)
    sums = (
        f"{sum(getattr(toll, name) for toll in tolls)} {name}"
        for name in ("ticks", "restored", "lost", "unasked", "left")
    )
    kills = sum(toll.kills.total() for toll in tolls)
    lines.append(f"{len(tolls)} kinds: {', '.join(sums)}, {kills} kills, {perf_counter() - began:.0f} s")
    return "\n".join(lines), all(toll.is_well for toll in tolls)


if __name__ == "__main__":
    run(play)
