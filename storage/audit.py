"""Audit log: entries with the hash of the previous entry, filters, and detection of changed entries.

An entry is written in the transaction of the change that it describes. ``check_part`` detects edited, removed
and reordered entries. Two more records help it. The table ``hub`` also has the end of the chain, so that
missing entries at the end are detected. An entry ``audit.pruned`` names the deleted old entries, so that the
chain may begin after them. An entry ``audit.erased`` names entries without what they said about an erased
user, or without names of the user: their hashes stay, and it has digests of what is left. Entry 1 records the
hub's creation before its first use: a hub in use without it has lost its chain. An attacker who can write the
database can also rewrite the whole chain. Only a copy of its end elsewhere reveals that, such as the log, to
which the hub writes it daily.

A large log is checked in small parts over time: ``ChainProgress`` is how far that came, so that a start reads
only a bounded number of entries (``hub.health.records``).

The activity log, also here, is the list of events that people read; it has no chain.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar

import msgspec
import sqlalchemy as sa

from protocol.ids import AgentId, DeviceId, RunId, UserId, trace_id_of
from protocol.secret_rules import redact_secrets
from protocol.status_vocabularies import EVENT_ALIASES, EventAlias
from storage.kernel.columns import (
    Key,
    columns_of,
    execute_among,
    fetch_page,
    narrowed,
    now_ms,
    paged,
    unindexed,
)
from storage.kernel.database import address_of, translation
from storage.schema import (
    activity_log,
    agent_templates,
    agents,
    audit_log,
    boards,
    browser_sessions,
    connectors,
    devices,
    gateways,
    hub,
    nodes,
    operator_tokens,
    users,
)

P = ParamSpec("P")
T = TypeVar("T")

FIRST: Final = bytes(32)  # hash before the first entry
CREATED: Final = "hub.created"  # event of entry 1
PRUNED: Final = "audit.pruned"  # event that records a deletion
ERASED: Final = "audit.erased"  # event that records which entries lost their content
USER_ERASED: Final = "user.erased"  # event of the decision to erase a user; *subject*: the user's id
ROWS: Final = 500  # examined or deleted in one transaction
PRUNE_EVERY_MS: Final = 7 * 86_400_000  # so that entries about pruning stay few

BACKUP_MADE: Final = "backup.made"  # event of a completed backup
OLD: Final = ".old"  # at the end of a detail's name: the value before
LONGEST: Final = 500  # characters of a value in ``changed``
_SETTLED: Final = "audit.settled"  # key in a connection's info: whether the job has answered for its entry
_HEAD: Final = "audit.head"  # key in the table hub
_CHECKED: Final = "audit.checked"  # key in the table hub
# of PostgreSQL: concurrent writers would link two entries to the same predecessor
_CHAIN_LOCK: Final = 0x4155444954

Detail = Mapping[str, str | int | bool | None]


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a new entry.

    Attributes:
        at: epoch milliseconds.
        actor: ``operator:UID``, ``token:ID``, ``device:ID``, ``agent:ID`` or ``hub``.
        event: stable dotted name, such as ``token.created``.
        subject: id of the object concerned.
        detail: never contains a secret.
    """

    at: int
    actor: str
    event: str
    subject: str | None = None
    outcome: Literal["done", "refused"] = "done"
    detail: Detail = {}


class AuditRow(msgspec.Struct, frozen=True):
    """Entry of the chain. *detail*: canonical JSON, exactly as hashed."""

    seq: int
    at: int
    actor: str
    event: str
    subject: str | None
    outcome: str
    detail: str
    prev_hash: bytes
    hash: bytes


def read_detail(text: str) -> dict[str, Any]:
    """Return the details of an entry: none of an erased one, and those that are unreadable as they are.

    Every reader of details gets them from here, and works without any of them.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | bool | None])
    except (msgspec.DecodeError, UnicodeError, TypeError):
        return {"unreadable": str(text)}


class Link(msgspec.Struct, frozen=True):
    """Position in the chain: an entry's number and its hash."""

    seq: int
    hash: bytes


START: Final = Link(0, FIRST)  # position before entry 1


class AuditBreak(msgspec.Struct, frozen=True):
    """A break of the chain: the number of the entry, and what is wrong there."""

    seq: int
    what: str


class ChainPart(msgspec.Struct, frozen=True):
    """Checked part of the chain, up to *end*; *is_last*: no entries follow."""

    entries: int
    breaks: tuple[AuditBreak, ...]
    end: Link | None
    is_last: bool


ENTRIES = sa.select(*columns_of(AuditRow, audit_log))
ONWARDS = ENTRIES.where(audit_log.c.seq > sa.bindparam("after")).order_by(audit_log.c.seq)


class _Head(msgspec.Struct, frozen=True):
    """Serialized end of the chain in the table ``hub``."""

    seq: int
    hash: str


def append(
    c: sa.Connection,
    *,
    at: int,
    actor: str,
    event: str,
    subject: str | None = None,
    outcome: Literal["done", "refused"] = "done",
    detail: Detail | None = None,
) -> int:
    """Append an entry to the chain and return its number. See ``AuditEntry`` for the arguments."""
    c.info[_SETTLED] = True
    _lock_chain(c)
    head, last = _stored_head(c), _last(c)
    # If entries are missing at the end, the new one is linked to the recorded end, which reveals the gap.
    end = max(filter(None, (head, last)), key=lambda link: link.seq, default=START)
    row = AuditRow(
        seq=end.seq + 1,
        at=at,
        actor=actor,
        event=event,
        subject=subject,
        outcome=outcome,
        detail=_canonical(detail or {}),
        prev_hash=end.hash,
        hash=b"",
    )
    own = hash_of(row)
    c.execute(sa.insert(audit_log), msgspec.structs.asdict(row) | {"hash": own})
    spelled = msgspec.json.encode(_Head(row.seq, own.hex())).decode()
    if head is None:
        c.execute(sa.insert(hub), {"key": _HEAD, "value": spelled})
    else:
        c.execute(sa.update(hub).where(hub.c.key == _HEAD).values(value=spelled))
    return row.seq


def begin_chain(c: sa.Connection, *, at: int, subject: str) -> bool:
    """Write entry 1, before a hub's first boot.

    A lost chain is not restarted, so that ``check_part`` reports it. Returns True if the entry was written.

    Args:
        subject: the hub's id.
    """
    _lock_chain(c)
    if _stored_head(c) is not None or _last(c) is not None or _is_in_use(c):
        return False
    append(c, at=at, actor="hub", event=CREATED, subject=subject)
    return True


def continues(c: sa.Connection, seq: int, digest: str) -> bool:
    """Return True if the chain ended with this entry before, or begins after it by now.

    Args:
        digest: the hash of the entry, in hexadecimal.
    """
    known = c.execute(sa.select(audit_log.c.hash).where(audit_log.c.seq == seq)).scalar_one_or_none()
    if known is not None:
        return bool(known.hex() == digest)
    first = c.execute(sa.select(sa.func.min(audit_log.c.seq))).scalar_one()
    return seq < (first or 1)


def append_entry(c: sa.Connection, entry: AuditEntry) -> int:
    """Append *entry* to the chain and return its number."""
    return append(c, **msgspec.structs.asdict(entry))


def append_entries(c: sa.Connection, entries: Sequence[AuditEntry]) -> None:
    """Append *entries* to the chain, in their order."""
    for entry in entries:
        append_entry(c, entry)


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, str | None]:
    """Return details of an entry about fields that differ: each with its new value, and ``FIELD.old``."""
    found: dict[str, str | None] = {}
    for name in after:
        if before.get(name) != after[name]:
            found |= {name: _shortened(after[name]), f"{name}{OLD}": _shortened(before.get(name))}
    return found


def _shortened(value: object) -> str | None:
    """Return a value as a text of at most LONGEST characters; None stays."""
    if value is None:
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def audited(
    fn: Callable[Concatenate[sa.Connection, P], T], entry_of: Callable[[T], AuditEntry | None]
) -> Callable[Concatenate[sa.Connection, P], T]:
    """Wrap *fn* with an audit entry in the same transaction: ``store.write(audited(fn, tell), ...)``.

    Args:
        entry_of: builds the entry from the result of *fn*; ``None`` if nothing changed.
    """

    def job(c: sa.Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        done = fn(c, *args, **kwargs)
        entry = entry_of(done)
        c.info[_SETTLED] = True
        if entry is not None:
            append_entry(c, entry)
        return done

    return job


class PendingAuditEntry:
    """Entry of a request that changes something: appended in the transaction of its first change.

    A job that appends an entry itself, or is ``audited``, has answered for it. So does the first change: what
    a request writes later has no entry of its own. On a server, rows that a job has locked count as a change.

    Attributes:
        is_paid: whether a committed job has answered for the entry.
    """

    def __init__(self, actor: str, event: str, detail: Detail) -> None:
        self.is_paid = False
        self._is_settled = False  # by the last attempt to run a job
        self._entry = {"actor": actor, "event": event, "detail": detail}

    def append(self, c: sa.Connection) -> None:
        """Append the entry, at the time of the database."""
        append(c, at=c.execute(sa.select(now_ms())).scalar_one(), **self._entry)  # type: ignore[arg-type]

    def run(self, c: sa.Connection, job: Callable[[], T]) -> T:
        """Run a job, and append the entry if the job changed something and has not answered for it."""
        before = _changes(c)
        c.info[_SETTLED] = False
        done = job()
        if not c.info[_SETTLED] and _changes(c) != before:
            self.append(c)
        self._is_settled = c.info.pop(_SETTLED)
        return done

    def settle(self) -> None:
        """Note that the job that ran last is committed."""
        self.is_paid = self._is_settled


# entry of the request for which the task writes; None: the hub writes for itself
OWED: Final[ContextVar[PendingAuditEntry | None]] = ContextVar("owed", default=None)


def _changes(c: sa.Connection) -> Any:
    """Return a value that differs after a change in the transaction."""
    is_server = c.dialect.name == "postgresql"
    asked = "SELECT pg_current_xact_id_if_assigned()::text" if is_server else "SELECT total_changes()"
    return c.execute(sa.text(asked)).scalar_one()


def list_entries(
    c: sa.Connection,
    *,
    limit: int | None = None,
    after: Key | None = None,
    oldest_first: bool = False,
    event: str | None = None,
    actor: str | None = None,
    subject: str | None = None,
    since: int | None = None,
    until: int | None = None,
) -> list[AuditRow]:
    """Return entries, newest first or oldest first.

    Args:
        event: exact name or alias, or a prefix of them that ends in a dot.
        since, until: epoch milliseconds; the first is included, the second is not.
    """
    query = paged(ENTRIES, audit_log.c.seq, limit=limit, after=after, descending=not oldest_first)
    if event is not None:
        aliases = [alias for alias in EVENT_ALIASES if _is_called(alias.name, event)]
        query = query.where(sa.or_(_called(audit_log.c.event, event), *map(_of_alias, aliases)))
    if actor is not None:
        query = query.where(audit_log.c.actor == actor)
    if subject is not None:
        query = query.where(audit_log.c.subject == subject)
    if since is not None:
        query = query.where(audit_log.c.at >= since)
    if until is not None:
        query = query.where(audit_log.c.at < until)
    return _rows(c, query)


def _is_called(name: str, event: str) -> bool:
    return name.startswith(event) if event.endswith(".") else name == event


def _called(column: sa.ColumnElement[str], event: str) -> sa.ColumnElement[bool]:
    """Return the condition that a name is *event*, or begins so if that ends in a dot."""
    return column.startswith(event, autoescape=True) if event.endswith(".") else column == event


def _of_alias(alias: EventAlias) -> sa.ColumnElement[bool]:
    is_event = sa.and_(audit_log.c.event == alias.event, audit_log.c.outcome == "done")
    if not alias.kind:
        return is_event
    kind = _canonical({"kind": alias.kind})[1:-1]
    return sa.and_(is_event, audit_log.c.detail.contains(kind, autoescape=True))


LAST_BACKUP = (
    sa.select(audit_log.c.at)
    .where(audit_log.c.event == BACKUP_MADE)
    .order_by(audit_log.c.seq.desc())
    .limit(1)
)


_NAMED: Final = tuple(
    sa.select(named.c.id, named.c.name).where(named.c.id.in_(sa.bindparam("ids", expanding=True)))
    for named in (
        agents,
        boards,
        browser_sessions,
        connectors,
        devices,
        gateways,
        nodes,
        operator_tokens,
        agent_templates,
        users,
    )
)
NAMES: Final = sa.union_all(*_NAMED)


def names_in(c: sa.Connection, rows: Sequence[AuditRow]) -> dict[str, str]:
    """Return the present names of the subjects and the actors of entries."""
    subjects = names_of(c, {row.subject for row in rows if row.subject})
    return subjects | names_of_actors(c, {row.actor for row in rows})


def names_of_actors(c: sa.Connection, actors: Iterable[str]) -> dict[str, str]:
    """Return the names of actors, those that have one: of ``token:ID``, and the login of ``operator:UID``.

    That of ``assistant:UID:NAME`` is ``NAME of LOGIN``.
    """
    parted = {actor: actor.partition(":") for actor in actors if isinstance(actor, str)}
    names = names_of(c, {id for kind, _, id in parted.values() if kind not in _OF_LOGINS})
    found = {
        actor: _OF_LOGINS[kind](id) if kind in _OF_LOGINS else names.get(id)
        for actor, (kind, _, id) in parted.items()
    }
    return {actor: name for actor, name in found.items() if name}


def _login(uid: str) -> str | None:
    try:
        import pwd  # imported here: Windows has none

        return pwd.getpwuid(int(uid)).pw_name
    except (ImportError, KeyError, ValueError):  # a container's user need not be in its passwd file
        return None


def _assistant(id: str) -> str:
    uid, _, name = id.partition(":")
    return f"{name} of {_login(uid) or f'user {uid}'}".strip()


_OF_LOGINS: Final[Mapping[str, Callable[[str], str | None]]] = {"operator": _login, "assistant": _assistant}


def names_of(c: sa.Connection, ids: Iterable[str]) -> dict[str, str]:
    """Return the present names of ids, those that have one."""
    rows = execute_among(c, NAMES, "ids", sorted({id for id in ids if isinstance(id, str)}))
    return {id: name for id, name in rows if name}


def actor_names(c: sa.Connection, actors: Collection[str]) -> dict[str, str]:
    """Return the display names of actors: ``device desk``, ``assistant tidy of anna``; others unchanged."""
    names = names_of_actors(c, actors)
    return {a: f"{a.partition(':')[0]} {names[a]}" if a in names else a for a in actors}


def actor_name(c: sa.Connection, actor: str) -> str:
    """Return the display name of an actor."""
    return actor_names(c, [actor])[actor]


def list_named_entries(c: sa.Connection, /, **asked: Any) -> tuple[list[AuditRow], dict[str, str]]:
    """Return entries as ``list_entries`` does, and the names of their ids."""
    rows = list_entries(c, **asked)
    return rows, names_in(c, rows)


def last_backup_at(c: sa.Connection) -> int | None:
    """Return the time of the last backup on record, epoch milliseconds; ``None`` without one."""
    return c.execute(LAST_BACKUP).scalar_one_or_none()


def end_of_chain(c: sa.Connection) -> Link | None:
    """Return the last entry as written; ``None`` without entries."""
    return _stored_head(c) or _last(c)


def check_part(c: sa.Connection, after: Link | None = None, *, rows: int = ROWS) -> ChainPart:
    """Check the entries after *after*, or from the beginning, at most *rows* of them.

    Repeat with the ``end`` of the previous part until ``is_last``. Entries may be added and pruned meanwhile.
    """
    stand = after or START
    found = _rows(c, ONWARDS.limit(rows), after=stand.seq)
    breaks: list[AuditBreak] = []
    for row in found:
        breaks += _wrong_with(c, row, stand)
        stand = Link(row.seq, row.hash)
    is_last = len(found) < rows
    if is_last:
        breaks += _wrong_at_end(_stored_head(c), stand, is_in_use=_is_in_use(c))
    return ChainPart(len(found), tuple(breaks), stand if stand.seq else None, is_last)


class ChainProgress(msgspec.Struct, frozen=True):
    """Progress of the checks of the chain, stored in the table ``hub``.

    Attributes:
        newest: last entry that was checked after it was written.
        place: last entry of the pass over the whole chain; ``None``: no pass is under way.
        began_at: start of the last pass, epoch milliseconds.
    """

    newest: Link = START
    place: Link | None = None
    began_at: int = 0


def find_checked(c: sa.Connection) -> ChainProgress:
    """Return the stored progress; that of a chain that was never checked also if it is unreadable."""
    stored = c.execute(sa.select(hub.c.value).where(hub.c.key == _CHECKED)).scalar_one_or_none()
    try:
        return ChainProgress() if stored is None else msgspec.json.decode(stored, type=ChainProgress)
    except msgspec.DecodeError:
        return ChainProgress()


def note_checked(c: sa.Connection, checked: ChainProgress) -> None:
    """Store the progress of the checks."""
    value = msgspec.json.encode(checked).decode()
    if c.execute(sa.update(hub).where(hub.c.key == _CHECKED).values(value=value)).rowcount == 0:
        c.execute(sa.insert(hub), {"key": _CHECKED, "value": value})


def check_known(c: sa.Connection, known: Link) -> AuditBreak | None:
    """Compare the chain with a position that was saved elsewhere; ``None`` if the entry is unchanged."""
    row = c.execute(ENTRIES.where(audit_log.c.seq == known.seq)).one_or_none()
    if row is None:
        return AuditBreak(known.seq, f"entry {known.seq} is not there: it was removed, or pruned as too old")
    if bytes(row.hash) != known.hash:
        return AuditBreak(
            known.seq, f"entry {known.seq} is another one than it was: the chain was written anew"
        )
    return None


def hash_of(row: AuditRow) -> bytes:
    """Return the SHA-256 over the previous entry's hash and all other columns as a JSON array."""
    content = msgspec.json.encode(
        [row.seq, row.at, row.actor, row.event, row.subject, row.outcome, row.detail]
    )
    return hashlib.sha256(row.prev_hash + content).digest()


class _Pruned(msgspec.Struct, frozen=True):
    """Detail of an entry about pruning: entries up to *through* were deleted; *hash*: hash of the last."""

    entries: int
    hash: str
    through: int


def prune_audit(c: sa.Connection, *, before: int, at: int, rows: int = ROWS) -> int:
    """Delete entries older than *before*, and record that in the chain. Return the number of deleted entries.

    Starts when the oldest entry is a week older than that. An entry after a younger one is not deleted, so
    the chain keeps a single beginning.
    """
    dated = audit_log.c.at <= at  # a clock ahead has dated the others later: they go with their neighbours
    oldest = c.execute(
        sa.select(audit_log.c.seq, audit_log.c.at).where(dated).order_by(audit_log.c.seq).limit(1)
    ).one_or_none()
    if oldest is None or oldest.at >= before - PRUNE_EVERY_MS:
        return 0
    below = oldest.seq + rows
    young = sa.select(sa.func.min(audit_log.c.seq)).where(
        audit_log.c.seq < below, audit_log.c.at >= before, dated
    )
    below = c.execute(young).scalar_one() or below
    last = c.execute(
        sa.select(audit_log.c.seq, audit_log.c.hash)
        .where(audit_log.c.seq < below)
        .order_by(audit_log.c.seq.desc())
        .limit(1)
    ).one_or_none()
    if last is None:
        return 0
    went = c.execute(sa.delete(audit_log).where(audit_log.c.seq <= last.seq)).rowcount
    pruned = _Pruned(entries=went, hash=bytes(last.hash).hex(), through=last.seq)
    append(c, at=at, actor="hub", event=PRUNED, detail=msgspec.structs.asdict(pruned))
    return went


def erase_entries(
    c: sa.Connection, numbers: Collection[int], masked: Iterable[Mapping[str, Any]] = (), *, at: int
) -> int:
    """Take what entries say away, and record that in the chain. Return their number.

    Args:
        numbers: of entries that lose actor, subject and detail.
        masked: other entries, with the subjects and details that they are to have from now on.
    """
    _lock_chain(c)
    whole = _rows(c, ENTRIES.where(audit_log.c.seq.in_(numbers)))
    left = [msgspec.structs.replace(row, actor=ERASED, subject=None, detail="{}") for row in whole]
    for entry in masked:
        spelled = {**entry, "detail": _canonical(entry["detail"])}
        left.append(_row_in(*(spelled[name] for name in AuditRow.__struct_fields__)))
    digests = []
    for row in sorted(left, key=lambda row: row.seq):
        changed = {"actor": row.actor, "subject": row.subject, "detail": row.detail}
        is_other = sa.or_(*(audit_log.c[name].is_distinct_from(value) for name, value in changed.items()))
        if c.execute(
            sa.update(audit_log).where(audit_log.c.seq == row.seq, is_other).values(changed)
        ).rowcount:
            digests.append(_digest_of(row))
    if digests:
        append(c, at=at, actor="hub", event=ERASED, detail={"entries": f" {' '.join(digests)} "})
    return len(digests)


def _digest_of(left: AuditRow) -> str:
    """Return the number of an entry without content, with the beginning of its own hash."""
    return f"{left.seq}:{hash_of(left).hex()[:24]}"


def _was_erased(c: sa.Connection, row: AuditRow) -> bool:
    """Return True if the chain records that the entry lost words, and it is as it was left."""
    later = sa.select(audit_log.c.seq).where(
        audit_log.c.event == ERASED,
        audit_log.c.seq > row.seq,
        audit_log.c.detail.contains(f" {_digest_of(row)} ", autoescape=True),
    )
    return c.execute(later.limit(1)).first() is not None


def _wrong_with(c: sa.Connection, row: AuditRow, before: Link) -> Sequence[AuditBreak]:
    """Return the breaks at *row*, whose predecessor is *before*."""
    wrong: list[AuditBreak] = []
    if hash_of(row) != row.hash and not _was_erased(c, row):
        wrong.append(AuditBreak(row.seq, f"entry {row.seq} was edited: its hash does not fit what it says"))
    if row.seq != before.seq + 1:
        if not _was_pruned(c, row):
            wrong.append(AuditBreak(before.seq + 1, _missing(before.seq + 1, row.seq - 1)))
    elif row.prev_hash != before.hash:
        what = f"entry {row.seq} does not follow entry {before.seq}: one of them is not what was written"
        if before.seq == 0:
            what = "entry 1 does not begin the chain: it is not what was written"
        wrong.append(AuditBreak(row.seq, what))
    if row.seq == 1 and row.event != CREATED and _is_in_use(c):
        wrong.append(AuditBreak(1, "entry 1 does not tell of the hub's creation: the chain was begun anew"))
    return wrong


def _was_pruned(c: sa.Connection, row: AuditRow) -> bool:
    """Return True if all entries before *row* were pruned."""
    detail = c.execute(
        sa.select(audit_log.c.detail)
        .where(audit_log.c.event == PRUNED)
        .order_by(audit_log.c.seq.desc())
        .limit(1)
    ).scalar_one_or_none()
    if detail is None:
        return False
    try:
        pruned = msgspec.json.decode(detail, type=_Pruned)
    except msgspec.DecodeError:
        return False  # edited: detected at its own position
    return pruned.through == row.seq - 1 and pruned.hash == row.prev_hash.hex()


def _wrong_at_end(head: Link | None, last: Link, *, is_in_use: bool) -> Sequence[AuditBreak]:
    if head is None and last == START:
        return [AuditBreak(1, "entry 1 is missing: the whole chain is gone")] if is_in_use else []
    if head is None:
        return [AuditBreak(last.seq, "the end of the chain is not on record any more")]
    if head.seq > last.seq:
        return [AuditBreak(last.seq + 1, _missing(last.seq + 1, head.seq))]
    if head != last:
        return [
            AuditBreak(last.seq, f"the chain ends in entry {last.seq}, and entry {head.seq} was written last")
        ]
    return []


def _lock_chain(c: sa.Connection) -> None:
    """Lock the chain until the transaction ends. A SQLite database has only one writer anyway."""
    if c.dialect.name == "postgresql":
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(_CHAIN_LOCK)))


def _is_in_use(c: sa.Connection) -> bool:
    """Return True if a hub has started on this database."""
    return bool(c.execute(sa.select(sa.exists().select_from(nodes))).scalar_one())


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"


def _stored_head(c: sa.Connection) -> Link | None:
    """Return the end of the chain recorded in the table ``hub``; ``None`` also if it is unreadable."""
    stored = c.execute(sa.select(hub.c.value).where(hub.c.key == _HEAD)).scalar_one_or_none()
    if stored is None:
        return None
    try:
        head = msgspec.json.decode(stored, type=_Head)
        return Link(head.seq, bytes.fromhex(head.hash))
    except ValueError:  # includes msgspec's errors
        return None


def _last(c: sa.Connection) -> Link | None:
    row = c.execute(
        sa.select(audit_log.c.seq, audit_log.c.hash).order_by(audit_log.c.seq.desc()).limit(1)
    ).one_or_none()
    return None if row is None else Link(row.seq, bytes(row.hash))


def _rows(c: sa.Connection, query: sa.Select[*tuple[object, ...]], **values: int) -> list[AuditRow]:
    return [_row_in(*row) for row in c.execute(query, values)]


def _row_in(*row: Any) -> AuditRow:
    seq, at, actor, event, subject, outcome, detail, before, own = row
    return AuditRow(seq, at, actor, event, subject, outcome, detail, _hash_in(before), _hash_in(own))


def _hash_in(value: Any) -> bytes:
    """Return a stored hash; an empty one for another value, which breaks the chain."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


def _redacted(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return *detail* without the secrets in its texts."""
    return {name: redact_secrets(one) if isinstance(one, str) else one for name, one in detail.items()}


def _canonical(detail: Detail) -> str:
    return msgspec.json.encode(_redacted(detail), order="sorted").decode()


class ActivityEntry(msgspec.Struct, frozen=True):
    """Entry of the activity log. *event_type*: stable name; *message*: sentence for people."""

    id: str
    at: int
    event_type: str
    level: str  # "debug", "info", "warning" or "error"
    message: str
    agent_id: AgentId | None
    run_id: RunId | None
    device_id: DeviceId | None
    actor: str
    data: dict[str, Any]


ACTIVITY = sa.select(*columns_of(ActivityEntry, activity_log))
NEXT_NAME = sa.select(sa.func.min(activity_log.c.event_type)).where(
    activity_log.c.event_type > sa.bindparam("after")
)


def _owner(owned: sa.Table, parameter: str) -> sa.ScalarSelect[Any]:
    return sa.select(owned.c.user_id).where(owned.c.id == sa.bindparam(parameter)).scalar_subquery()


_RECORDED = (*ActivityEntry.__struct_fields__, "trace_id")
RECORD = sa.insert(activity_log).values(
    {name: sa.bindparam(f"new_{name}", type_=activity_log.c[name].type) for name in _RECORDED}
    | {"user_id": sa.func.coalesce(_owner(agents, "new_agent_id"), _owner(devices, "new_device_id"))}
)


def record(
    c: sa.Connection,
    *,
    id: str,
    at: int,
    event_type: str,
    message: str,
    actor: str,
    agent_id: AgentId | None = None,
    run_id: RunId | None = None,
    device_id: DeviceId | None = None,
    level: str = "info",
    data: dict[str, Any] | None = None,
    trace_id: str | None = None,
) -> None:
    """Add an entry.

    Args:
        trace_id: trace of the entry; by default that of its run.

    Raises:
        Conflict: an entry has this id already.
    """
    data = _redacted(data or {})
    entry = ActivityEntry(id, at, event_type, level, message, agent_id, run_id, device_id, actor, data)
    trace_id = trace_id or (None if run_id is None else trace_id_of(run_id))
    row = msgspec.structs.asdict(entry) | {"trace_id": trace_id}
    c.execute(RECORD, {f"new_{name}": value for name, value in row.items()})


def list_activity(
    c: sa.Connection,
    *,
    user_id: UserId | None = None,
    agent_id: AgentId | None = None,
    run_id: RunId | None = None,
    event: str | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int | None = 100,
    after: Key | None = None,
) -> list[ActivityEntry]:
    """Return entries, newest first.

    Args:
        user_id: only about agents and devices of this user.
        event: exact name, or a prefix that ends in a dot.
        since, until: epoch milliseconds; the first is included, the second is not.
    """
    log = activity_log.c
    only = narrowed((log.run_id, run_id), (log.agent_id, agent_id), (log.user_id, user_id))
    column = unindexed(log.event_type) if only else log.event_type
    parts = [] if event is None else [column == name for name in _names(c, event)] or [sa.false()]
    if since is not None:
        only.append(log.at >= since)
    if until is not None:
        only.append(log.at < until)
    query = paged(ACTIVITY, log.at, log.id, limit=limit, after=after, descending=True, only=only, parts=parts)
    return fetch_page(c, ActivityEntry, query, limit)


def _names(c: sa.Connection, event: str) -> list[str]:
    """Return the names of events that are *event*, or begin so if that ends in a dot."""
    if not event.endswith("."):
        return [event]
    found: list[str] = []
    # name by name: a DISTINCT would read every entry
    while (name := c.execute(NEXT_NAME, {"after": found[-1] if found else event}).scalar()) is not None:
        if not name.startswith(event):
            break
        found.append(name)
    return found


def append_in_file(database: Path, entry: AuditEntry) -> None:
    """Append *entry* about the backup to the audit log of *database*, which a hub may have open.

    Raises:
        Busy, Unavailable: the entry was not written.
    """
    engine = sa.create_engine(address_of(database), poolclass=sa.NullPool, connect_args={"timeout": 30.0})
    sa.event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    with translation(), engine.begin() as c:
        append_entry(c, entry)
