"""The device's SQLite file: execution of the hub's calls once each, locks, and checks of the file.

A changed row and the call's answer are written in one transaction. So after a crash either both exist or
neither; a repeated call is answered from the file and changes nothing again.

A refusal that follows from the call itself is stored like any answer. A temporary failure (a full disk, a
locked file) is raised and not stored.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from hub.base.atomic_file import write_atomically
from hub.base.clock import Clock, IdFactory, epoch_ms, now_ms
from hub.base.dates import dates_as_texts
from hub.device import (
    addresses,
    agenda,
    declared_tables,
    digests,
    grants,
    messages,
    moved_files,
    proposals,
    review_calls,
    rows,
    schema,
    sending_log,
    text_files,
    verdicts,
)
from hub.device.call_history import list_known, list_rows, note_confirmed, note_welcome, read_mark
from hub.device.messages import OwnerReply
from hub.device.review_calls import is_of_marked
from hub.device.rows import CallRefusal
from hub.device.sinks import reports
from hub.device.sinks.reports import Placed
from hub.device.titled_rows import titles_of_referred
from hub.device.verdicts import RowVerdict
from protocol.errors import ErrorCode, HubError
from protocol.frame import ErrorBody
from protocol.handshake import Welcome
from protocol.ids import CallId
from protocol.owner_grants import refused_by_owner
from protocol.tables import DeviceTable
from protocol.tool_calls import Action, Answer, ToolCall

# For calls that changed nothing. The answer to a change is kept as long as the file: a hub restored from a
# backup may repeat a call of any age, which must not create a second row.
KEEP_CALLS: Final = timedelta(days=30)
# Calls whose answers are not stored: reads, and the declaration of a table, which may change back.
_NOT_STORED: Final = frozenset(
    {Action.FILE_GET, Action.ROWS_LIST, Action.ROWS_KNOWN, Action.ROWS_AGENDA, Action.TABLE_DECLARE}
)
_CHANGES: Final = frozenset({Action.INSERT, Action.UPDATE, Action.DELETE})
_PRUNE_EVERY_MS: Final = 24 * 3600 * 1000
BUSY_TIMEOUT_S: Final = 5.0  # another program may use the file concurrently
_LOCK_TIMEOUT_S: Final = 0.2  # longer than another program tries whether a lock is free
_REFUSAL_CHARACTERS: Final = 2_000  # of a refusal; an error frame holds twice that

_answers: Final = msgspec.json.Decoder(Answer)


class DeviceFileError(HubError):
    """Unusable device file, or a number of no row in it; nothing in it was changed."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.DATABASE_UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code


class Configuration(msgspec.Struct, frozen=True):
    """Configuration of one agent. *rev* grows with each change; the *paths* it reads are not stored."""

    agent_id: str
    rev: int
    configuration: dict[str, Any]
    paths: list[str] = []


@contextmanager
def open_device_store(path: Path, *, clock: Clock, ids: IdFactory) -> Iterator["DeviceStore"]:
    """Open or create the file at *path* and lock it against other devices.

    Blocks, as do all methods of ``DeviceStore``.

    Raises:
        DeviceFileError, DeviceFileError: another device serves the file, or a newer version wrote it.
        DeviceFileError: the file is not a device's, or the disk fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with held(path), closing(_connect(path)) as db:
            _prepare(db, path)
            store = DeviceStore(db, clock=clock, ids=ids, path=path)
            store.prune()
            yield store
    except (sqlite3.Error, OSError) as error:
        raise DeviceFileError(f"{path}: {error}") from error


class DeviceStore:
    """Open device file. Its methods block and must not run in two threads at the same time.

    *mark* is the current mark of the file, as a hello contains it; it may be read at any time.
    """

    def __init__(self, db: sqlite3.Connection, *, clock: Clock, ids: IdFactory, path: Path) -> None:
        self._db = db
        self._path = path
        self._opened: list[tuple[int, int] | None] = []
        self._roots: dict[str, str] = {}  # names of the folders that are shared now, by their paths
        self._placed: list[Placed] = []  # to be reported; found together, since all rows are looked at
        self._clock = clock
        self._ids = ids
        self._pruned_ms = 0
        self.hub = ""
        # by asker: last data_version, which changes with each write of another connection
        self._seen: dict[str, int] = {}
        with self._transaction():
            if db.execute("SELECT 1 FROM store").fetchone() is None:
                db.execute(
                    "INSERT INTO store (only, id, counter) SELECT 1, ?, coalesce(max(counter), 0) FROM calls",
                    (ids.fresh(),),
                )
        self._opened = _identities(path)
        sending_log.clear_fault(path, sending_log.FILE_FAULT)
        self.mark = read_mark(db)

    def note_welcome(self, welcome: Welcome) -> str | None:
        """Store the counter up to which the hub knows this file. Return a message for the owner, or None."""
        with self._transaction():
            message = note_welcome(self._db, welcome, self._ids.fresh())
        self.mark = read_mark(self._db)
        return message

    def keep_addresses(self, named: Sequence[str], last: str) -> None:
        """Store the addresses of the current hub, and the *last* one that it answered at."""
        with self._transaction():
            addresses.keep_addresses(self._db, self.hub, named, last)

    def addresses(self, hub: str) -> tuple[list[str], str]:
        """Return the addresses that *hub* named, and the one of its last welcome, or an empty text."""
        return addresses.read_addresses(self._db, hub)

    def meet(self, hub: str, *, predecessor: str | None = None) -> None:
        """Assign further calls to *hub*, identified by its key.

        The hub takes over the rows of *predecessor*, which it replaces by the owner's decision.
        """
        if predecessor is not None:
            with self._transaction():
                for table in ("calls", "reviews"):
                    self._db.execute(f"UPDATE {table} SET hub = ? WHERE hub = ?", (hub, predecessor))
        self.hub, self._placed = hub, []

    def granted(self, changes: Sequence[str] = ()) -> dict[str, list[str]]:
        """Change the owner's grants to the hub as ``grants.changed`` does, and return the result."""
        if not changes:
            return grants.of_hub(self._db, self.hub)
        with self._transaction():
            return grants.change(self._db, self.hub, changes)

    def apply(self, calls: Sequence[ToolCall]) -> list[Answer]:
        """Execute *calls* in order and store their answers, all in one transaction.

        A known call id is answered from the file. A refused call changes nothing and does not affect the
        others.

        Raises:
            sqlite3.Error: nothing was executed; the same calls may be sent again.
        """
        if now_ms(self._clock) - self._pruned_ms > _PRUNE_EVERY_MS:
            self.prune()
        with self._transaction():
            mark = read_mark(self._db)
            granted, counter = grants.of_hub(self._db, self.hub), mark.counter
            answers = []
            for call in calls:
                answer, counter = self._settle(call, granted, counter)
                answers.append(answer)
            if counter != mark.counter:
                self._db.execute("UPDATE store SET counter = ?", (counter,))
        self.mark = read_mark(self._db)
        return answers

    def prune(self) -> None:
        """Delete answers older than KEEP_CALLS whose calls are safe to execute again."""
        now = self._clock.now()
        with self._transaction():
            self._db.execute(
                "DELETE FROM calls WHERE at < ?"
                " AND (action IN ('query', 'agent.wake', 'user.ask')"
                " OR json_extract(answer, '$.error') IS NOT NULL)",
                (epoch_ms(now - KEEP_CALLS),),
            )
            review_calls.forget(self._db, epoch_ms(now - KEEP_CALLS))
        self._pruned_ms = epoch_ms(now)

    def is_changed(self, asker: str) -> bool:
        """Return True if another connection wrote to the file since the last call by *asker*."""
        self._check_file()
        (seen,) = self._db.execute("PRAGMA data_version").fetchone()
        before, self._seen[asker] = self._seen.get(asker), int(seen)
        return before != self._seen[asker]

    def unreported(self, most: int) -> list[RowVerdict]:
        """Return at most *most* verdicts of the owner that the hub has not confirmed, and note them as sent.

        Those that were taken back come first and alone: a hub of an older release refuses their word.
        """
        found = [*verdicts.unreported(self._db, self.hub), *proposals.unreported(self._db, self.hub)]
        report = ([verdict for verdict in found if verdict.verdict == "open"] or found)[:most]
        if report:
            with suppress(sqlite3.Error), self._transaction():  # a full disk is reported by the confirmation
                verdicts.note_sent(self._db, report)
        return report

    def note_reported(self, report: Sequence[RowVerdict]) -> None:
        """Mark verdicts as confirmed by the hub."""
        with self._transaction():
            verdicts.note_reported(self._db, report)
            proposals.note_reported(self._db, report)
            note_confirmed(self._db, [verdict.call_id for verdict in report])
        self.mark = read_mark(self._db)

    def unreported_places(self, most: int) -> Sequence[Placed]:
        """Return at most *most* rows whose places the hub has not confirmed.

        What changed since rows were found is found after these.
        """
        self._placed = self._placed or reports.unreported(self._db, self.hub, self._roots)
        return reports.fitting(self._placed, most)

    def note_places(self, report: Sequence[Placed]) -> None:
        """Mark the places of rows as confirmed by the hub."""
        with self._transaction():
            reports.note_reported(self._db, report)
            note_confirmed(self._db, [reported.call_id for reported in report])
        done = {reported.call_id for reported in report}
        self._placed = [placed for placed in self._placed if placed.call_id not in done]
        self.mark = read_mark(self._db)

    def unreported_replies(self, most: int) -> list[OwnerReply]:
        """Return at most *most* answers to messages that the hub has not confirmed."""
        return messages.unreported(self._db, most)

    def note_reply(self, reply: OwnerReply) -> None:
        """Mark an answer to a message as confirmed, or as refused by the hub."""
        with self._transaction():
            messages.note_reported(self._db, reply, now_ms(self._clock))

    def unreported_answers(self, most: int) -> list[OwnerReply]:
        """Return at most *most* answers of the owner that the hub has not confirmed."""
        return messages.unreported_answers(self._db, most)

    def note_answer(self, answer: OwnerReply, *, counts: bool) -> None:
        """Mark an answer to a question as confirmed, or as superseded by another answer."""
        with self._transaction():
            messages.note_answer(self._db, answer, now_ms(self._clock), counts=counts)

    def keep_configurations(self, received: Iterable[Configuration]) -> None:
        """Store configurations of agents that the hub sent."""
        with self._transaction():
            for configuration in received:
                self._db.execute(
                    "INSERT INTO agent_configs VALUES (?1, ?2, ?3, ?4)"
                    " ON CONFLICT (agent_id) DO UPDATE SET rev = ?2, configuration = ?3, at = ?4",
                    (
                        configuration.agent_id,
                        configuration.rev,
                        msgspec.json.encode(configuration.configuration).decode(),
                        now_ms(self._clock),
                    ),
                )

    def known_roots(self) -> list[str]:
        """Return the paths of all folders that ever got a name by ``name_roots``."""
        return [path for (path,) in self._db.execute("SELECT path FROM roots ORDER BY rowid")]

    def name_roots(self, paths: Iterable[str]) -> list[str]:
        """Return the wire names of shared folders, in the order of *paths*; new names are stored for good.

        A name is the folder's own name; if it is taken, with the parent folder in brackets. The hub
        identifies files by these names, so they must not depend on the other shared folders or their order.
        What was found in a folder that was renamed is of its new name.
        """
        with self._transaction():
            paths = list(paths)
            missing = [path for path in self.known_roots() if path not in paths and not os.path.isdir(path)]
            for path in paths:
                for before in missing:
                    if moved_files.is_renamed(self._db, Path(before), Path(path)):
                        take_place(self._db, before, path)
            known: dict[str, str] = dict(self._db.execute("SELECT path, name FROM roots"))
            for path in paths:
                if path not in known:
                    known[path] = _fresh_name(Path(path), set(known.values()))
                    self._db.execute("INSERT INTO roots VALUES (?, ?)", (path, known[path]))
        self._roots, self._placed = {path: known[path] for path in paths}, []
        return [*self._roots.values()]

    def _settle(
        self, call: ToolCall, granted: Mapping[str, Sequence[str]], counter: int
    ) -> tuple[Answer, int]:
        """Execute one call. Return its answer, and the change counter after it."""
        known = self._db.execute("SELECT answer, hub FROM calls WHERE call_id = ?", (call.id,)).fetchone()
        # A verdict that was applied has its answer, whatever is granted since: its hub may have lost it.
        is_known_verdict = known is not None and call.action is Action.REVIEW_APPLY
        is_marked = is_of_marked(self._db, call)
        if not is_known_verdict and (why := refused_by_owner(call, granted, is_marked=is_marked)) is not None:
            # not stored: the owner may grant it later
            return Answer(error=ErrorBody(code=ErrorCode.NOT_GRANTED, message=why)), counter
        if known is not None and known["hub"] != self.hub:
            message = f"another hub of this device has made a call {call.id!r}"
            return Answer(error=ErrorBody(code=ErrorCode.DUPLICATE_ID, message=message)), counter
        if known is not None:
            return _answers.decode(known["answer"]), counter
        row_id, answer = self._do(call)
        if call.action in _NOT_STORED:
            return answer, counter  # a repeated call returns the current state
        if call.action in _CHANGES and answer.error is None:
            counter += 1
            answer = msgspec.structs.replace(answer, counter=counter)
        own_counter = answer.counter
        if call.action is Action.REVIEW_APPLY and answer.error is None:
            counter += 1
            answer = msgspec.structs.replace(answer, counter=counter)
            self._db.execute(  # the call that last wrote the row, as a new verdict does
                "UPDATE calls SET counter = ? WHERE counter IS NOT NULL"
                " AND call_id = (SELECT call_id FROM reviews WHERE tbl = ? AND row_id = ?)",
                (counter, call.table, call.where["id"]),
            )
        source = call.source
        if source is not None and answer.error is None:
            moved_files.note_source(self._db, source.path)
        self._db.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                CallId(call.id),
                call.action.value,
                call.table,
                row_id,
                call.run_id,
                call.agent_id,
                source.path if source else None,
                source.sha256 if source else None,
                source.quote if source else None,
                source.start if source else None,
                source.end if source else None,
                msgspec.json.encode(answer).decode(),
                now_ms(self._clock),
                verdicts.remarks_of(source),
                own_counter,
                self.hub,
            ),
        )
        return answer, counter

    def _do(self, call: ToolCall) -> tuple[str | None, Answer]:
        is_single = call.action is Action.INSERT  # refused by its first statement, or not at all
        if not is_single:
            self._db.execute("SAVEPOINT one_call")
        try:
            row_id, result = self._change(call)
            answer = Answer(result=result)
        except CallRefusal as refusal:
            if not is_single:
                self._db.execute("ROLLBACK TO one_call")
            row_id = None
            answer = Answer(error=ErrorBody(code=refusal.code, message=str(refusal)[:_REFUSAL_CHARACTERS]))
        if not is_single:
            self._db.execute("RELEASE one_call")
        return row_id, answer

    def _change(self, call: ToolCall) -> tuple[str | None, object]:
        at_ms = now_ms(self._clock)
        match call.action:
            case Action.AGENT_WAKE:
                # Stored like any answer, so that a repeated call wakes no agent twice.
                return None, {"woken": True}
            case Action.USER_ASK:
                return None, messages.take_question(self._db, call)
            case Action.MESSAGE_DELIVER:
                return None, messages.take_message(self._db, call, at_ms)
            case Action.FILE_GET:
                return None, text_files.read_file(self._db, call)
            case Action.FILE_PUT:
                return None, text_files.write_file(self._db, call, at_ms)
            case Action.ROWS_LIST:
                return None, list_rows(self._db, call, self.hub, self._roots)
            case Action.ROWS_KNOWN:
                return None, list_known(self._db, call, self.hub)
            case Action.ROWS_AGENDA:
                return None, msgspec.to_builtins(agenda.answer(self._db, call))
            case Action.TABLE_DECLARE:
                return None, declared_tables.declare(self._db, call)
        table = declared_tables.table_of(self._db, call.table)
        match call.action:
            case Action.INSERT:
                row_id = self._ids.fresh()
                row = rows.insert(self._db, table, row_id, call.data, at_ms)
                verdicts.note_written(self._db, table, row_id, row, call.id, hub=self.hub)
                if is_approved := self._is_approved_ahead(table, call):
                    rows.update(self._db, table, row_id, {"isApproved": 1}, at_ms)
                return row_id, {"id": row_id} | ({"isApproved": 1} if is_approved else {})
            case Action.UPDATE:
                return None, proposals.change(self._db, table, call, at_ms, hub=self.hub)
            case Action.DELETE:
                return None, proposals.remove(self._db, table, call, at_ms, hub=self.hub)
            case Action.QUERY:
                is_of_approved = call.data.get("approved") is True
                sees = proposals.approved if is_of_approved else proposals.seen_by(self._db, table, self.hub)
                found = rows.query(self._db, table, call.where, call.limit, call.data, sees=sees)
                return None, {"rows": found}
            case Action.REVIEW_APPLY:
                return None, review_calls.apply(self._db, table, call, at_ms, hub=self.hub)
        raise CallRefusal(ErrorCode.CALL_UNSUPPORTED, f"{call.action} is nothing that a table does")

    def _is_approved_ahead(self, table: DeviceTable, call: ToolCall) -> bool:
        """Return True if the owner has approved the item that a call brings, as the call has it."""
        if (source := call.source) is None:
            return False
        data = dates_as_texts(table, call.data, source.timezone)
        titles = titles_of_referred(self._db, table, data)
        seen = verdicts.seen_ahead(
            table.name, data, source.quote, source.warnings, titles=titles, marks=source.marks
        )
        return verdicts.is_approved_ahead(self._db, call.id, seen)

    def _check_file(self) -> None:
        """Raise sqlite3.Error, and note it for other programs, if the path leads to another file now."""
        if self._opened and _identities(self._path) != self._opened:
            # SQLite would write into a file without a name, and other programs see nothing of it
            why = f"{self._path} or its log was replaced: start the device again"
            if not self._path.with_suffix(sending_log.FILE_FAULT).exists():
                sending_log.note_fault(self._path, sending_log.FILE_FAULT, why)
            raise sqlite3.OperationalError(why)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._check_file()
        with schema.transaction(self._db):
            yield


def _identities(path: Path) -> list[tuple[int, int] | None]:
    """Return device and inode of the file and of its log; None for a missing one."""
    found: list[tuple[int, int] | None] = []
    for name in (path, Path(f"{path}-wal")):
        try:
            stat = name.stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((stat.st_dev, stat.st_ino))
    return found


LOCK: Final = ".lock"
RUN_LOCK: Final = ".kept"  # lock of a process that keeps a device, also while it is disconnected


def is_in_use(path: Path, suffix: str = LOCK) -> bool:
    """Return True if a process holds the lock *suffix* of the device's file at *path*.

    Raises:
        DeviceFileError: the lock cannot be tried.
    """
    if not _lock_file(path, suffix).exists():
        return False
    with _lock(path, suffix) as is_held:
        return not is_held


def file_of_settings(folder: Path, settings: Path) -> Path | None:
    """Return the device's file in a folder that a settings file kept last, whatever its name is now."""
    for lock in sorted(folder.glob(f"*{RUN_LOCK}")):
        file = lock.with_name(lock.name.removesuffix(RUN_LOCK))
        if lock.read_bytes().partition(b"\n")[2] == os.fsencode(settings) and file.exists():
            return file
    return None


def forget_settings(folder: Path, settings: Path) -> None:
    """Forget the device of a settings file, so that its next name gets a file of its own."""
    if (file := file_of_settings(folder, settings)) is not None:
        file.with_name(f"{file.name}{RUN_LOCK}").write_bytes(b"")  # not removed: a process may hold it


@contextmanager
def held(path: Path, suffix: str = LOCK, *, settings: Path | None = None) -> Iterator[None]:
    """Hold a lock of the device's file at *path*; a file next to it has the id of this process.

    Args:
        settings: settings file of the device, by which ``file_of_settings`` finds it again.

    Raises:
        DeviceFileError: another process holds it.
    """
    holder = path.with_name(f"{path.name}{suffix}")
    with _lock(path, suffix) as is_held:
        if not is_held:
            pid = holder.read_bytes().partition(b"\n")[0].decode(errors="replace") if holder.exists() else ""
            raise DeviceFileError(
                f"another device, process {pid or 'unknown'}, uses {path}; end it first, or give this one"
                " another name",
                code=ErrorCode.DATABASE_BUSY,
            )
        named = b"" if settings is None else os.fsencode(settings)
        write_atomically(holder, f"{os.getpid()}\n".encode() + named, mode=0o600)
        yield


@contextmanager
def _lock(path: Path, suffix: str) -> Iterator[bool]:
    """Take a lock, if it is free. SQLite has locks on every system, which end with their process."""
    file = _lock_file(path, suffix)
    with closing(_connected(file, timeout=_LOCK_TIMEOUT_S)) as lock:
        try:
            lock.execute("BEGIN IMMEDIATE")
            is_held = True
        except sqlite3.Error as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise DeviceFileError(f"{file}: {error}") from error
            is_held = False
        yield is_held


def _lock_file(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}-sqlite")


def _connect(path: Path) -> sqlite3.Connection:
    db = _connected(path, timeout=BUSY_TIMEOUT_S)
    db.row_factory = sqlite3.Row
    return db


def _connected(path: Path, *, timeout: float) -> sqlite3.Connection:
    with suppress(FileExistsError):  # an open file that is closed would take locks of this process with it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)


@contextmanager
def connect_shared(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a device's file that another program may serve; any thread may use it in turn.

    Raises:
        DeviceFileError: the file does not exist, or is not a device's file of this version, or the disk
            fails; without a commit, nothing was changed.
    """
    if not path.exists():
        raise DeviceFileError(f"there is no {path}; name the device's file with '--db FILE'")
    try:
        with closing(
            sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        ) as db:
            db.row_factory = sqlite3.Row
            check_file(db, path)
            db.execute("PRAGMA foreign_keys = ON")
            if not has_tables(db):
                with schema.transaction(db):
                    _add_tables(db)
            yield db
    except sqlite3.Error as error:
        raise DeviceFileError(f"{path}: {error}") from error


def check_file(db: sqlite3.Connection, path: Path) -> None:
    """Check that the file can be read without being served.

    Raises:
        DeviceFileError: the file is not a device's, or has another version.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != schema.APPLICATION_ID:
        raise DeviceFileError(f"{path} is not a device's database; choose another file with '--db FILE'")
    if version > schema.VERSION:
        raise DeviceFileError(
            f"{path} has version {version}, this program knows {schema.VERSION}: start the newer one",
            code=ErrorCode.DATABASE_FROM_THE_FUTURE,
        )
    if version < schema.VERSION:
        problem = f"{path} has version {version}, from before the first release"
        raise DeviceFileError(f"{problem}; choose another file with '--db FILE'")


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the schema in a new file, or check that of an existing one. Raises as ``check_file``."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    is_new = application == 0 and tables == 0
    if not is_new:
        check_file(db, path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a sent answer must survive a power failure
    with schema.transaction(db):  # a reader beside sees all tables, or none
        for statement in schema.statements() if is_new else ():
            db.execute(statement)
        _add_tables(db)
    db.execute("PRAGMA foreign_keys = ON")


def has_tables(db: sqlite3.Connection) -> bool:
    """Return True if a device of this release has served the file."""
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sink_writes'").fetchone() is not None


def _add_tables(db: sqlite3.Connection) -> None:
    """Create the tables that files of older releases lack, which ignore them."""
    for table in (
        digests.CREATE,
        addresses.CREATE,
        review_calls.CREATE,
        review_calls.CREATE_PROPOSALS,
        declared_tables.CREATE,
        verdicts.APPROVALS_AHEAD,
        verdicts.SENT,
        *schema.SINKS,
        *moved_files.CREATE,
    ):
        db.execute(table)
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'approved_ahead'").fetchone() is not None:
        for statement in verdicts.APPROVED_AHEAD:
            db.execute(statement)
    sending_log.prepare(db)


_FOLLOW: Final = """
UPDATE OR REPLACE {table} SET {column} = :after || substr({column}, length(:before) + 1)
WHERE {column} = :before OR ({column} > :before || '/' AND {column} < :before || '0')
"""


def take_place(db: sqlite3.Connection, before: str, after: str) -> None:
    """Note that a shared folder has another path: what was found below it has the names that it has there.

    The old name stays taken, as grants may have it.
    """
    known: dict[str, str] = dict(db.execute("SELECT path, name FROM roots"))
    name = known.get(after) or _fresh_name(Path(after), set(known.values()))
    db.execute("INSERT OR IGNORE INTO roots VALUES (?, ?)", (after, name))
    moves = [("digests", "folder", before, after)]
    for path, old in known.items():
        if path == before or path.startswith(f"{before}/"):
            new = f"{name}{path.removeprefix(before)}"
            moves += [("calls", "source_path", old, new), ("source_files", "path", old, new)]
    for table, column, old, new in moves:
        db.execute(_FOLLOW.format(table=table, column=column), {"before": old, "after": new})


def _fresh_name(path: Path, taken: set[str]) -> str:
    candidates = [path.name, f"{path.name} ({path.parent.name})"]
    candidates.extend(f"{path.name} ({number})" for number in range(2, len(taken) + 3))
    return next(name for name in candidates if name not in taken)
