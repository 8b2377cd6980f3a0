"""Ticks of lines in the files that tasks were found in.

Only the tick changes, and only while the line is the one that was quoted; a line of several tasks is done
with the last. Below the folders that its owner agrees to, the line of a done task is ticked once. In a sink's
own file, a line and its task follow each other, whichever was changed since both last agreed. A tick that a
killed device wrote is known as its own, and no word of its owner. A box that an older release found in what
counts as words of others now stays as it is, and ``remarks`` tells its owner.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import groupby, product
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.device import proposals, rows
from hub.device.exclusion import why_private
from hub.device.items import sources_of
from hub.device.moved_files import note_replaced
from hub.device.schema import transaction
from hub.device.sinks import answers
from hub.device.sinks.recorded_rows import LINES_WRITTEN, settle_unfinished
from hub.device.sinks.reports import OWN_LINE
from hub.device.sinks.sink import Sink
from hub.device.sinks.sync import Synced
from hub.device.sinks.text_file import bytes_of, content_of, replace_content, require_writable, text_in
from hub.device.verdicts import read_remarks
from hub.text.folding import words_of
from hub.text.quotations import others_at
from hub.text.rows.row import TargetFailed
from hub.text.rows.row_keys import key_of
from hub.text.rows.same_things import author_of
from hub.text.rows.ticks import Tick, tick_of
from protocol.tables import TABLES, TableName

SOURCES: Final = ""  # no sink of the settings has this name
_SEARCH_MS: Final = 600_000  # between two searches for the same missing file
_TASKS: Final = """
SELECT tasks.id, tasks.status = 'done', tasks."isApproved", calls.source_path, calls.quote, calls.quote_start,
    json_remove(base, '$.inode'), digest, calls.remarks
FROM tasks JOIN reviews ON reviews.tbl = 'tasks' AND reviews.row_id = tasks.id
JOIN calls ON calls.call_id = reviews.call_id
LEFT JOIN sink_rows ON sink_rows.sink = '' AND sink_rows.row_id = tasks.id
WHERE calls.quote IS NOT NULL ORDER BY calls.source_path
"""
_RECORD: Final = """
INSERT OR REPLACE INTO sink_rows (sink, key, tbl, row_id, place, base, digest, at_ms)
VALUES ('', ?, 'tasks', ?, ?, json_patch(?, json_object('inode', ?)), ?, ?)
"""
_TABLE: Final = TABLES[TableName.TASKS]
_State = tuple[str | None, str | None]  # what is recorded of a line: base and digest
BY_OTHERS: Final = "quote"  # digest of a box in what counts as words of others
_STATES: Final = {False: '{"status":"todo"}', True: '{"status":"done"}'}  # also of 0 and 1


class _LineTask(NamedTuple):
    """Task with the line that it was found in, and what is recorded of the line."""

    id: str
    is_done: int
    is_approved: int
    path: str
    quote: str
    start: int | None
    base: str | None
    digest: str | None
    remarks: str | None


def tick_sources(
    db: sqlite3.Connection,
    folders: Collection[Path],
    now: datetime,
    searches: dict[str, tuple[int, Sequence[str]]] | None = None,
    sinks: Sequence[Sink] = (),
) -> Synced:
    """Mark the lines of done tasks in files below *folders*, and both ways in the own files of *sinks*.

    A line in a file of a sink is that row there: what its owner ticks or opens again is done or open here.

    Args:
        searches: when each missing file was searched, in epoch ms, and what was found, by its path; a search
            is repeated after ``_SEARCH_MS``, and once a found file is missing.
    """
    settle_unfinished(db, ())
    ticks = _Ticks(db, folders, epoch_ms(now), {} if searches is None else searches, sinks)
    tasks = map(_LineTask._make, db.execute(_TASKS).fetchall())
    for path, of_file in groupby(tasks, attrgetter("path")):
        ticks.follow(path, list(of_file))
    return ticks.synced


class _Ticks:
    """Comparison of tasks with their lines; *synced* has the result."""

    def __init__(
        self,
        db: sqlite3.Connection,
        folders: Collection[Path],
        at_ms: int,
        searches: dict[str, tuple[int, Sequence[str]]],
        sinks: Sequence[Sink],
    ) -> None:
        self.synced = Synced()
        self._db, self._at_ms, self._searches = db, at_ms, searches
        self._folders = [os.path.realpath(folder) for folder in folders]
        self._sinks = [sink for sink in sinks if _TABLE.name in sink.tables]
        self._sources = sources_of(db)

    def follow(self, path: str, tasks: Sequence[_LineTask]) -> None:
        """Change lines of a file, or their tasks, to the other's state; a problem is in the result."""
        file = self._sources.file(path)
        if file is None:
            return
        sink, file = self._find_sink(file)
        try:
            if sink and sink.back:
                self._follow_both_ways(path, file, tasks, sink)
            else:
                self._tick_once(path, file, tasks, sink)
        except TargetFailed as error:  # the next look tries again
            consent = answers.request_consent(self._db, sink.name if sink else SOURCES, error)
            self.synced.problem = f"{error}{consent}"

    def _follow_both_ways(self, path: str, file: Path, tasks: Sequence[_LineTask], sink: Sink) -> None:
        """Copy the newer state: of tasks to their lines in the sink's file, or of the lines here."""
        line = f"{OWN_LINE}{sink.name}"
        due = {task.id for task in tasks if task.is_approved or task.digest == line}
        if not due:
            return
        self.synced.places |= {str(file)}
        if not os.path.lexists(file):
            return  # the sink says so
        note = self._open(path, file, tasks, sink.kind, sink)
        with transaction(self._db):
            self.synced.taken_back += note.take_back(self._db, line, self._at_ms)
            self._record(tasks, note.states((), line) | note.by_others, file)
        self._replace(note, note.changed(due, is_opened=True), line, path, file, sink.name)

    def _tick_once(self, path: str, file: Path, tasks: Sequence[_LineTask], sink: Sink | None) -> None:
        """Mark the lines of done tasks, also in a file that was moved to another allowed place."""
        due = {task.id for task in tasks if task.is_approved and task.is_done and task.base != _STATES[True]}
        if not due or not (sink or self._is_allowed(file)):
            return
        if not os.path.lexists(file):
            moved = self._moved(path)
            found = self._sources.file(moved[0]) if len(moved) == 1 else file
            if found is None or not self._is_allowed(found):
                return
            if len(moved) > 1:
                self.synced.problem = (
                    f"{path} is missing, no box is ticked: it may be {' or '.join(moved)}; remove all but one"
                )
                return
            file = found
        note = self._open(path, file, tasks, sink.kind if sink else _kind_of(file), sink)
        with_box = {task.id for of_line in note.lines.values() for task in of_line}
        without_box = dict.fromkeys(due - with_box, (_STATES[True], ""))  # these are done with
        unticked = _STATES[False], BY_OTHERS
        by_others = {key: state for key, state in note.by_others.items() if key in due and state == unticked}
        self.synced.places |= {str(file)} if by_others else set()
        self._record(tasks, note.states((), "") | without_box | by_others, file)
        ticks = note.changed(due, is_opened=False)
        self._replace(note, ticks, "", path, file, sink.name if sink else SOURCES)

    def _find_sink(self, file: Path) -> tuple[Sink | None, Path]:
        """Return the sink whose own file this is, and its path there."""
        names = product(self._sinks, (file, Path(os.path.realpath(file))))
        return next(((sink, path) for sink, path in names if sink.target.owns(str(path))), (None, file))

    def _is_allowed(self, file: Path) -> bool:
        real = Path(os.path.realpath(file))  # unlike ``resolve``, also of a link to itself
        below = [real.relative_to(folder) for folder in self._folders if real.is_relative_to(folder)]
        return any(not any(map(why_private, path.parts)) for path in below)

    def _moved(self, path: str) -> Sequence[str]:
        """Return the files that a missing file may be now, by their source paths."""
        searched_ms, moved = self._searches.get(path, (-_SEARCH_MS, ()))
        is_found_still = all(os.path.lexists(self._sources.file(other) or "") for other in moved)
        if not is_found_still or not 0 <= self._at_ms - searched_ms < _SEARCH_MS:
            moved = self._sources.moved(path)
            self._searches[path] = self._at_ms, moved
        return moved

    def _open(
        self, path: str, file: Path, tasks: Sequence[_LineTask], kind: str, sink: Sink | None
    ) -> "_TickedFile":
        """Read a file with the ticks of its tasks. Raises TargetFailed: it cannot be read."""
        # What its owner named as a place is no page; one that was clipped may have the name of a day.
        is_place = sink is not None and sink.target.fresh_place(from_epoch_ms(0)) == str(file)
        note = _TickedFile(file, tasks, kind, self._at_ms, is_place=is_place)
        if not note.lines and not os.path.exists(file):
            self.synced.problem = f"{path} is missing, no box is ticked there"
        return note

    def _replace(
        self, note: "_TickedFile", ticks: Collection[Tick], line: str, path: str, file: Path, sink: str
    ) -> None:
        """Write the other state of ticks. Raises TargetFailed: the file cannot be written now.

        It is recorded before the exchange, until whose end the record has the inode of the new file.
        """
        tasks = [task for tick in ticks for task in note.lines[tick]]

        def record(inode: int) -> None:
            with transaction(self._db):
                self._record(tasks, note.states(ticks, line), file, inode)

        if ticks:
            settle_unfinished(self._db, [str(file)])
            agreed = answers.confirmed(self._db, sink)
            require_writable(file, agreed)
            note.replace(ticks, agreed, record)
            self._db.execute(LINES_WRITTEN, (str(file),))
            note_replaced(self._db, str(file), path)

    def _record(
        self, tasks: Sequence[_LineTask], states: Mapping[str, _State], file: Path, inode: int | None = None
    ) -> None:
        """Record states that have changed, or those that the new file with an *inode* will have."""
        for task in tasks:
            base, digest = states.get(task.id, (None, None))
            if digest is not None and (inode or (base, digest) != (task.base, task.digest)):
                key = key_of(_TABLE.name, task.id)
                self._db.execute(_RECORD, (key, task.id, str(file), base, inode, digest, self._at_ms))


def _kind_of(file: Path) -> str:
    """Return the format of a note's ticks: that of a todo.txt by its name, else of Markdown."""
    is_named = any(word.startswith("todo") for word in words_of(file.stem.replace("_", " ")))
    return "todo.txt" if is_named and file.suffix.lower() == ".txt" else "markdown"


class _TickedFile:
    """Text of a file with the ticks of tasks, of which a line may have several.

    Raises TargetFailed: it cannot be read.

    Attributes:
        by_others: what is recorded of approved tasks whose boxes are in what counts as words of others.
    """

    def __init__(
        self, file: Path, tasks: Sequence[_LineTask], kind: str, at_ms: int, *, is_place: bool
    ) -> None:
        self._file, self._content = file, content_of(file)[0]
        self._text, self._newline = text_in(str(file), self._content, "\n")
        self.lines: dict[Tick, list[_LineTask]] = {}
        self.by_others: dict[str, _State] = {}
        is_by_others = others_at(self._text, is_own=is_place)
        for task in tasks:
            is_own = author_of(read_remarks(task.remarks).provenance) == ""
            at = (task.quote, task.start, kind, at_ms)
            tick = tick_of(self._text, *at, is_by_others if is_own else None)
            if tick is not None:
                self.lines.setdefault(tick, []).append(task)
            elif is_own and task.is_approved and (box := tick_of(self._text, *at)):
                self.by_others[task.id] = _STATES[box.is_done], BY_OTHERS

    def take_back(self, db: sqlite3.Connection, line: str, at_ms: int) -> int:
        """Change the approved tasks whose lines their owner ticked or opened; return their number."""
        count = 0
        for tick, tasks in self.lines.items():
            for number, task in enumerate(tasks):
                was_done = task.base == _STATES[True] and task.digest in (line, OWN_LINE)
                if task.is_approved and tick.is_done not in (was_done, task.is_done):
                    tasks[number] = task._replace(is_done=tick.is_done)
                    rows.update(db, _TABLE, task.id, {"status": "done" if tick.is_done else "todo"}, at_ms)
                    proposals.drop_done(db, _TABLE, task.id)
                    count += 1
        return count

    def changed(self, due: Collection[str], *, is_opened: bool) -> Collection[Tick]:
        """Return the ticks that are to change: a line is done once all approved tasks of it are."""
        return {
            tick
            for tick, tasks in self.lines.items()
            if any(task.is_approved and task.id in due for task in tasks) and (is_opened or not tick.is_done)
            if all(task.is_done for task in tasks if task.is_approved) != tick.is_done
        }

    def replace(
        self, ticks: Collection[Tick], agreed: Collection[tuple[str, str]], note: Callable[[int], None]
    ) -> None:
        """Write the other state of ticks. Raises TargetFailed: the file cannot be written now."""
        text = self._text
        for tick in sorted(ticks, key=attrgetter("start"), reverse=True):
            text = text[: tick.start] + tick.other + text[tick.end :]
        content = bytes_of(text, self._newline, self._content)
        replace_content(self._file, self._content, content, agreed, note)

    def states(self, changed: Collection[Tick], line: str) -> dict[str, _State]:
        """Return what is recorded of each task with a tick, by id.

        Of a suggestion, it is a tick that this device wrote: such a tick is no word of its owner.
        """
        found: dict[str, _State] = {}
        for tick, tasks in self.lines.items():
            is_done = tick.is_done != (tick in changed)
            for task in tasks:
                if not task.is_approved:
                    base = _STATES[is_done] if tick in changed or not is_done else task.base
                    found |= {task.id: (base, OWN_LINE)} if tick in changed or task.base else {}
                elif line or (is_done and task.is_done):
                    found[task.id] = _STATES[is_done], line
        return found
