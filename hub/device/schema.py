"""SQL schema of a device's file: tables, constraints and its version.

Columns keep the camelCase names of the wire. Invariants are constraints of the file, so that they hold for
other programs that write to it, too.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from protocol.tables import MAX_TEXT_CHARS, TABLES, Column, DeviceTable, Kind

APPLICATION_ID: Final = 0x44487562  # "DHub": identifies a device's file
VERSION: Final = 7  # schema version in PRAGMA user_version

_CALLS: Final = """
CREATE TABLE calls (
    call_id TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    tbl TEXT,
    row_id TEXT,
    run_id TEXT,
    agent_id TEXT,
    source_path TEXT,
    source_sha256 TEXT,
    quote TEXT,
    quote_start INTEGER,
    quote_end INTEGER,
    answer TEXT NOT NULL CHECK (json_valid(answer)),
    at INTEGER NOT NULL,
    remarks TEXT CHECK (remarks IS NULL OR json_valid(remarks)),
    counter INTEGER,
    hub TEXT NOT NULL DEFAULT ''
) STRICT
"""

# Mark of this file: *counter* is that of the last call that changed a row. *hub_counter* is the counter up to
# which hub *hub_id* knew the file at the last connection.
_STORE: Final = """
CREATE TABLE store (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    id TEXT NOT NULL,
    counter INTEGER NOT NULL,
    hub_id TEXT,
    hub_counter INTEGER
) STRICT
"""

# Review state of a row that a hub wrote: the call that wrote it last, the content at that time, and the
# verdict that the hub has confirmed. *revision* counts the changes that a hub made or proposed; it
# invalidates labels listed before. *hub* is the key of the hub that wrote the row: a hub neither changes nor
# sees another hub's rows.
_REVIEWS: Final = """
CREATE TABLE reviews (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    written TEXT NOT NULL CHECK (json_valid(written)),
    reported TEXT CHECK (reported IN ('approved', 'edited', 'rejected')),
    revision INTEGER NOT NULL DEFAULT 1,
    hub TEXT NOT NULL DEFAULT '',
    UNIQUE (tbl, row_id)
) STRICT
"""

# Changes that a hub proposes for a row that its owner has approved or changed; never applied without consent.
# *data* is null for a deletion. A rejected proposal stays until the hub has confirmed the verdict.
_PROPOSALS: Final = """
CREATE TABLE proposals (
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    call_id TEXT NOT NULL,
    data TEXT NOT NULL CHECK (json_valid(data)),
    at INTEGER NOT NULL,
    is_rejected INTEGER NOT NULL DEFAULT 0 CHECK (is_rejected IN (0, 1)),
    PRIMARY KEY (tbl, row_id)
) STRICT
"""

# Rows with content of both owner and hub: hubs can neither change nor read them.
_OWNED: Final = """
CREATE TABLE owned (
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    PRIMARY KEY (tbl, row_id)
) STRICT
"""

# Owner's grants to a hub, identified by its key: ``protocol.calls``; *tables* of rows.read, or folders.
_OWNER_GRANTS: Final = """
CREATE TABLE owner_grants (
    hub TEXT NOT NULL,
    name TEXT NOT NULL,
    tables TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tables)),
    PRIMARY KEY (hub, name)
) STRICT
"""

# In a file of release 0.2, whose table takes two names alone.
ANY_GRANT: Final = (
    "ALTER TABLE owner_grants RENAME TO older_grants",
    _OWNER_GRANTS,
    "INSERT INTO owner_grants SELECT hub, name, tables FROM older_grants",
    "DROP TABLE older_grants",
)

_ROOTS: Final = """
CREATE TABLE roots (
    path TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT
"""

# Last known configuration of an agent.
_AGENT_CONFIGS: Final = """
CREATE TABLE agent_configs (
    agent_id TEXT PRIMARY KEY,
    rev INTEGER NOT NULL,
    configuration TEXT NOT NULL CHECK (json_valid(configuration)),
    at INTEGER NOT NULL
) STRICT
"""

# Messages to this device's agents. Answers by the owner or a program of theirs are sent to the hub;
# *reported*: the hub has confirmed the answer.
_MESSAGES: Final = """
CREATE TABLE messages (
    message_id TEXT PRIMARY KEY,
    agent_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    board TEXT,
    sender TEXT,
    correlation_id TEXT,
    received_at INTEGER NOT NULL,
    answer TEXT,
    answered_at INTEGER,
    reported INTEGER NOT NULL DEFAULT 0 CHECK (reported IN (0, 1))
) STRICT
"""

# Questions of agents to the owner, who answers by writing *answer* with any program. *state* and *settled_by*
# are set by the hub; *reported*: the hub has the answer, or another one.
_QUESTIONS: Final = """
CREATE TABLE questions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    question_id TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,
    board TEXT,
    asked_by TEXT,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'answered', 'withdrawn', 'expired')),
    asked_at INTEGER NOT NULL,
    expires_at INTEGER,
    answer TEXT CHECK (answer <> '' AND length(answer) <= 8192),
    answered_at INTEGER,
    settled_by TEXT,
    reported INTEGER NOT NULL DEFAULT 0 CHECK (reported IN (0, 1))
) STRICT
"""

# Text files of agents on this device, such as SOUL.md.
_AGENT_FILES: Final = """
CREATE TABLE agent_files (
    agent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (agent_id, name)
) STRICT
"""

# Rows at the places where approved rows go. *base*: the fields that both sides had last; null while the row
# is written for the first time. *digest*: of the row's fields at that time. *is_deleted*: deleted there.
# *link*: its http address there. The history has the fields of both sides before one was changed by the
# other. The state of a sink has its problem, *why* in a word for hubs, and the places that are *missing* with
# all their rows. *places*: where a row is, as its hub has confirmed it. An answer about a place of a sink is
# that of the place, which is asked what it is before its first row, or of its owner. A row of a sink waits
# alone if the place refused it, or a look missed it, which is no deletion yet. It waits until *until_ms*. A
# row that its owner moved out of the sink's file belongs to the sink as long as its former place, its *home*.
# A write has the fields that are being written to a place, as of *at_ms*, until the row is recorded: a
# process that died in between may have written them. *inode*: of the file that takes the place of another
# one, and is left if that did not end; then 1; at a server, a mark of the row before.
SINKS: Final = (
    """
CREATE TABLE IF NOT EXISTS sink_rows (
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    place TEXT NOT NULL,
    base TEXT CHECK (base IS NULL OR json_valid(base)),
    digest TEXT NOT NULL DEFAULT '',
    is_deleted INTEGER NOT NULL DEFAULT 0 CHECK (is_deleted IN (0, 1)),
    at_ms INTEGER NOT NULL,
    link TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (sink, key)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX IF NOT EXISTS sink_rows_row ON sink_rows (row_id)",
    """
CREATE TABLE IF NOT EXISTS sink_history (
    number INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    sink TEXT NOT NULL,
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    what TEXT NOT NULL,
    local TEXT NOT NULL CHECK (json_valid(local)),
    remote TEXT NOT NULL CHECK (json_valid(remote))
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS sink_states (
    sink TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    problem TEXT NOT NULL,
    why TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL DEFAULT '',
    missing TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(missing))
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS sink_answers (
    sink TEXT NOT NULL,
    place TEXT NOT NULL,
    question TEXT NOT NULL,
    is_yes INTEGER NOT NULL CHECK (is_yes IN (0, 1)),
    PRIMARY KEY (sink, place, question)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS sink_waits (
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('refused', 'missed')),
    reason TEXT NOT NULL DEFAULT '',
    tries INTEGER NOT NULL DEFAULT 1,
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS sink_moves (
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    home TEXT NOT NULL,
    PRIMARY KEY (sink, key)
) STRICT, WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS sink_writes (
    sink TEXT NOT NULL,
    key TEXT NOT NULL,
    fields TEXT NOT NULL CHECK (json_valid(fields)),
    at_ms INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    PRIMARY KEY (sink, key)
) STRICT, WITHOUT ROWID
""",
    "CREATE INDEX IF NOT EXISTS sink_history_row ON sink_history (row_id)",
    """
CREATE TABLE IF NOT EXISTS place_reports (
    tbl TEXT NOT NULL,
    row_id TEXT NOT NULL,
    places TEXT NOT NULL CHECK (json_valid(places)),
    PRIMARY KEY (tbl, row_id),
    FOREIGN KEY (tbl, row_id) REFERENCES reviews (tbl, row_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID
""",
)


def statements() -> list[str]:
    """Return the statements that create the schema in an empty file, to be run in one transaction."""
    return [
        *(_create(table) for table in TABLES.values()),
        _CALLS,
        "CREATE INDEX calls_at ON calls (at)",
        "CREATE UNIQUE INDEX calls_counter ON calls (counter) WHERE counter IS NOT NULL",
        "CREATE INDEX calls_row ON calls (row_id) WHERE row_id IS NOT NULL",
        _STORE,
        _ROOTS,
        _REVIEWS,
        "CREATE INDEX reviews_of_hub ON reviews (hub)",
        _OWNER_GRANTS,
        _AGENT_CONFIGS,
        _MESSAGES,
        _QUESTIONS,
        _AGENT_FILES,
        _PROPOSALS,
        _OWNED,
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {VERSION}",
    ]


def is_of_old_grants(db: sqlite3.Connection) -> bool:
    """Return whether the table of grants is that of release 0.2."""
    (sql,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'owner_grants'").fetchone()
    return "CHECK (name" in sql


def create_own(table: DeviceTable) -> str:
    """Return the statement that creates a table of an operator.

    Its columns check types only: the other rules of a declaration may change, so ``guards`` has them.
    """
    return _create(table, own=True)


def added(column: Column) -> str:
    """Return the definition of a column that is added to a table of an operator."""
    return _column(msgspec.structs.replace(_open(column), required=False))


def guards(table: DeviceTable) -> list[str]:
    """Return the statements that replace the triggers by which the file keeps the rules of a table.

    A value is checked when it is written, so rows of an earlier declaration can still be approved.
    """
    checks = [check for column in table.fields for check in _rules(table, column)]
    statements = []
    for event in ("INSERT", "UPDATE"):
        name = quoted(f"{table.name}.{event.lower()}")
        raised = "".join(
            f" SELECT RAISE(ABORT, {_literal(message)}) WHERE {wrong}"
            + (f" AND ({changed});" if event == "UPDATE" else ";")
            for wrong, changed, message in checks
        )
        statements.append(f"DROP TRIGGER IF EXISTS {name}")
        statements.append(
            f"CREATE TRIGGER {name} BEFORE {event} ON {quoted(table.name)} BEGIN{raised or ' SELECT 1;'} END"
        )
    return statements


def _rules(table: DeviceTable, column: Column) -> Iterator[tuple[str, str, str]]:
    """Yield for each rule of a column: what breaks it, when an update is checked, and a message."""
    where, new = f"{table.name}.{column.name}", f"NEW.{quoted(column.name)}"
    changed = f"{new} IS NOT OLD.{quoted(column.name)}"
    if column.choices:
        listed = ", ".join(_literal(choice) for choice in column.choices)
        yield f"{new} NOT IN ({listed})", changed, f"{where}: is none of its choices"
    if column.kind is Kind.TEXT:
        long = f"{where}: longer than {column.max_length} characters"
        yield f"length({new}) > {column.max_length}", changed, long
    if column.required:
        yield f"coalesce({new}, '') = ''", changed, f"{where}: is required"
    if column.required_to_approve:
        lacks = f"NEW.\"isApproved\" = 1 AND coalesce({new}, '') IN ('', '[]')"
        yield lacks, f'OLD."isApproved" = 0 OR {changed}', f"{where}: is required to approve"


def quoted(name: str) -> str:
    """Quote a table's or column's name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _create(table: DeviceTable, *, own: bool = False) -> str:
    parts = [_column(_open(column) if own and column in table.fields else column) for column in table.columns]
    for column in () if own else table.columns:
        if column.required_to_approve:
            constraint = quoted(f"{table.name}.{column.name}: is required to approve")
            name = quoted(column.name)
            parts.append(f'CONSTRAINT {constraint} CHECK ("isApproved" = 0 OR {name} IS NOT NULL)')
    body = ",\n    ".join(parts)
    return f"CREATE TABLE {quoted(table.name)} (\n    {body}\n) STRICT"


def _column(column: Column) -> str:
    name = quoted(column.name)
    is_text = column.kind in (Kind.TEXT, Kind.NAMES)
    parts = [name, "TEXT" if is_text else "REAL" if column.kind is Kind.NUMBER else "INTEGER"]
    if column.name == "id":
        parts.append("PRIMARY KEY")
    if column.required or column.default is not None:
        parts.append("NOT NULL")
    if column.default is not None:
        parts.append(f"DEFAULT {_literal(column.default)}")
    parts.extend(f"CHECK ({check})" for check in _checks(column, name))
    if column.refers_to is not None:
        parts.append(f"REFERENCES {quoted(column.refers_to)} (id)")
    return " ".join(parts)


def _open(column: Column) -> Column:
    """Return a column of an operator's table without the rules that ``guards`` has."""
    return msgspec.structs.replace(column, choices=(), max_length=MAX_TEXT_CHARS, required=False)


def _checks(column: Column, name: str) -> list[str]:
    # NULL passes every CHECK, as an absent value should.
    match column.kind:
        case Kind.TEXT if column.choices:
            return [f"{name} IN ({', '.join(_literal(choice) for choice in column.choices)})"]
        case Kind.TEXT:
            not_empty = [f"{name} <> ''"] if column.required else []
            return [*not_empty, f"length({name}) <= {column.max_length}"]
        case Kind.NAMES:
            return [f"{name} IS NULL OR (json_valid({name}) AND json_type({name}) = 'array')"]
        case Kind.FLAG:
            return [f"{name} IN (0, 1)"]
        case Kind.EPOCH_MS:
            return [f"{name} BETWEEN 0 AND 253402300799999"]
        case Kind.NUMBER:
            return []


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, or none of it if the block or the commit fails."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # on a full disk, SQLite rolls back by itself
            db.execute("ROLLBACK")
        raise
