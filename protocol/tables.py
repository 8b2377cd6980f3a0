"""Tables of a device: columns, allowed values, who fills a column, and tables that a hub declares.

A column declares who fills it: the *model* (or a rule) extracts it from a document, the *hub* sets it on
every insert, the *device* sets it itself. Ids, flags and foreign keys are never taken from a model.

Five tables are built in; an operator may declare more of them, in the same way.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocol.frame import Field, Name, Record, Text


class TableName(StrEnum):
    """Names of the built-in tables."""

    TASKS = "tasks"
    NOTES = "notes"
    TIMELINES = "timelines"
    PROJECTS = "projects"
    TASK_COMMENTS = "taskComments"


class Kind(StrEnum):
    """Type of a column's value, on the wire and in the device's SQLite file."""

    TEXT = "text"
    NUMBER = "number"  # with or without decimals
    EPOCH_MS = "epoch_ms"  # UTC epoch milliseconds
    NAMES = "names"  # a JSON array of strings; stored as its JSON text
    FLAG = "flag"  # 0 or 1


class Filler(StrEnum):
    """Party that fills a column."""

    MODEL = "model"
    HUB = "hub"
    DEVICE = "device"
    PERSON = "person"  # the owner, at the latest when approving


MAX_NUMBER = 1e300  # JSON has neither infinity nor NaN


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Column. *required* applies to a suggestion, *required_to_approve* to an approved row."""

    name: Name
    kind: Kind
    filler: Filler = Filler.MODEL
    required: bool = False
    required_to_approve: bool = False
    choices: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    default: str | int | None = None
    max_length: int = 2_000  # characters; for NAMES, of each name
    refers_to: Name | None = None  # a table
    about: Text = ""


_ID = Column(name="id", kind=Kind.TEXT, filler=Filler.DEVICE, required=True, about="the row's own id")
_STAMPS = (
    Column(name="createdAt", kind=Kind.EPOCH_MS, filler=Filler.DEVICE, required=True),
    Column(name="updatedAt", kind=Kind.EPOCH_MS, filler=Filler.DEVICE, required=True),
)
_REVIEW = (
    Column(name="isAiSuggested", kind=Kind.FLAG, filler=Filler.HUB, required=True, default=0),
    Column(name="isApproved", kind=Kind.FLAG, filler=Filler.HUB, required=True, default=1),
)
SUGGESTED: Record = {"isAiSuggested": 1, "isApproved": 0}  # on every insert, set after the model


def person_in(data: Mapping[str, object]) -> str | None:
    """Return the people that a row is for, or its author; None if it names no person."""
    found = data.get("assignee") or data.get("author")
    names = found if isinstance(found, (list, tuple)) else [found] if found else []
    return ", ".join(map(str, names)) or None


class DeviceTable(msgspec.Struct, frozen=True, kw_only=True, dict=True, omit_defaults=True, cache_hash=True):
    """Declaration of a table.

    Attributes:
        about: purpose of the table, for the model and for people.
        title: the column that names a row for people.
        key: columns that make two rows the same.
        fields: columns of the table itself, in order; ``columns`` has those that every table has, too.
    """

    name: Name
    about: Text = ""
    title: Name
    key: Annotated[tuple[Name, ...], Meta(max_length=64)]
    fields: Annotated[tuple[Column, ...], Meta(max_length=64)]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns with those of every table, in the order of the device's schema."""
        found: tuple[Column, ...] = self.__dict__["columns"]
        return found

    @property
    def lists(self) -> tuple[str, ...]:
        """Names of the columns whose values are lists."""
        found: tuple[str, ...] = self.__dict__["lists"]
        return found

    @property
    def days(self) -> tuple[str, ...]:
        """Names of the columns with a day or time that a model extracts."""
        found: tuple[str, ...] = self.__dict__["days"]
        return found

    def day_in(self, data: Mapping[str, object]) -> int | None:
        """Return the day that a row is about in UTC epoch milliseconds, or None if it has no day."""
        return next((day for day in map(data.get, self.days) if isinstance(day, int)), None)

    def column(self, name: str) -> Column | None:
        """Return the column with that name, if any."""
        found: Column | None = self.__dict__["by_name"].get(name)
        return found

    def __post_init__(self) -> None:
        columns = (_ID, *self.fields, *_REVIEW, *_STAMPS)
        self.__dict__["columns"] = columns
        self.__dict__["lists"] = tuple(column.name for column in columns if column.kind is Kind.NAMES)
        self.__dict__["days"] = tuple(
            column.name
            for column in columns
            if column.kind is Kind.EPOCH_MS and column.filler is Filler.MODEL
        )
        self.__dict__["by_name"] = {column.name: column for column in columns}


class Tables(Mapping[str, DeviceTable]):
    """Declarations by name: the built-in tables, and *own* ones of an operator."""

    def __init__(self, built_in: tuple[DeviceTable, ...], own: tuple[DeviceTable, ...] = ()) -> None:
        self.own = own
        self._by_name = {table.name: table for table in (*built_in, *own)}

    def __getitem__(self, name: str) -> DeviceTable:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def of(self, name: str) -> DeviceTable:
        """Return the declaration of a table, or one without fields if it is not declared any more."""
        return self._by_name.get(name) or DeviceTable(name=name, title="", key=(), fields=())


_PROJECT = Column(name="projectId", kind=Kind.TEXT, filler=Filler.PERSON, refers_to=TableName.PROJECTS)


def _title(name: str, about: str) -> Column:
    return Column(name=name, kind=Kind.TEXT, required=True, max_length=500, about=about)


_BUILT_IN = (
    DeviceTable(
        name=TableName.TASKS,
        about="something a person has to do",
        title="title",
        key=("title",),
        fields=(
            _title("title", "what to do, in a few words"),
            Column(name="description", kind=Kind.TEXT, max_length=10_000, about="more about it"),
            Column(name="status", kind=Kind.TEXT, choices=("todo", "in_progress", "done"), default="todo"),
            Column(name="priority", kind=Kind.TEXT, choices=("high", "medium", "low"), default="medium"),
            Column(name="assignee", kind=Kind.NAMES, max_length=200, about="who is to do it"),
            Column(name="dueDate", kind=Kind.EPOCH_MS, about="when it is due"),
            _PROJECT,
        ),
    ),
    DeviceTable(
        name=TableName.NOTES,
        about="something worth remembering",
        title="title",
        key=("title",),
        fields=(
            _title("title", "what it is about"),
            Column(name="content", kind=Kind.TEXT, max_length=100_000, about="the note itself, as Markdown"),
            _PROJECT,
        ),
    ),
    DeviceTable(
        name=TableName.TIMELINES,
        about="something that happens on a date",
        title="title",
        key=("title",),
        fields=(
            _title("title", "what happens"),
            _PROJECT,
            Column(name="date", kind=Kind.EPOCH_MS, required=True, about="when it happens"),
        ),
    ),
    DeviceTable(
        name=TableName.PROJECTS,
        about="an undertaking with a name",
        title="name",
        key=("name",),
        fields=(
            _title("name", "what it is called"),
            Column(name="clientId", kind=Kind.TEXT, filler=Filler.PERSON),
        ),
    ),
    DeviceTable(
        name=TableName.TASK_COMMENTS,
        about="a remark on a task",
        title="content",
        key=("author", "content"),
        fields=(
            Column(
                name="taskId",
                kind=Kind.TEXT,
                filler=Filler.PERSON,
                required_to_approve=True,
                refers_to=TableName.TASKS,
            ),
            Column(name="author", kind=Kind.TEXT, max_length=200, about="who said it"),
            Column(name="content", kind=Kind.TEXT, required=True, max_length=10_000, about="what was said"),
        ),
    ),
)
TABLES = Tables(_BUILT_IN)


ExportedState = Literal["suggested", "approved", "rejected"]


class ExportedPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Place of an approved item outside of its device's file; see ``RowPlace``."""

    name: str
    kind: str
    state: str
    since: str
    problem: str | None = None
    link: str | None = None


class ExportedItem(msgspec.Struct, frozen=True, kw_only=True):
    """Item of an export, from a hub or from a device's own file. Times are RFC 3339 texts in UTC.

    Attributes:
        id: of the item at its hub; in the export of a device, that of the row.
        state: of an item that its owner approved or changed: ``approved``.
        is_edited: whether its owner changed it, of which a hub knows not the values but a device does.
        data: fields of its table. A day is a text, as 2027-02-03, and so is a time, as 2027-02-03T14:00:00Z.
        user, device, decided_at: unknown to a device. *agent*: its name; in the export of a device, its id.
        path: of its source, where the words *quote* are.
        row_id: of its row at the device.
        places: where it is outside of the device's file; in the export of a device, links may be any file.
    """

    id: str
    table: str
    state: ExportedState
    is_edited: bool
    title: str
    data: dict[str, Any]
    user: str | None = None
    agent: str | None = None
    device: str | None = None
    run_id: str | None = None
    row_id: str | None = None
    path: str | None = None
    quote: str | None = None
    found_by: str | None = None
    found_at: str
    decided_at: str | None = None
    places: list[ExportedPlace] = []


def tables_with(own: tuple[DeviceTable, ...]) -> Tables:
    """Return the built-in tables and *own* ones."""
    return Tables(_BUILT_IN, own) if own else TABLES


def plain_choice(text: str) -> str:
    """Return *text* as choices are compared: without regard to case, blanks and hyphens."""
    return re.sub(r"[\s_-]+", "_", text.strip().lower())


def problems_of(
    table: DeviceTable, data: Mapping[str, Field], fillers: frozenset[Filler], *, is_partial: bool = False
) -> list[str]:
    """Return the problems of *data* as a row of *table* by *fillers*; empty if valid.

    Checked: unknown fields, fields of other fillers, types, lengths, choices, and required fields of these
    fillers.

    Args:
        is_partial: *data* contains only the fields to change.
    """
    found: list[str] = []
    for name, value in data.items():
        column = table.column(name)
        if column is None:
            found.append(f"{table.name}.{name}: there is no such field")
        elif column.filler not in fillers:
            found.append(f"{table.name}.{name}: filled by the {column.filler}, not here")
        elif value is not None and (wrong := problem_of(column, value)):
            found.append(f"{table.name}.{name}: {wrong}")
    found.extend(
        f"{table.name}.{column.name}: is required"
        for column in table.columns
        if column.required
        and not is_partial
        and column.filler in fillers
        and column.default is None
        and data.get(column.name) in (None, "")
    )
    return found


def problem_of(column: Column, value: Field) -> str | None:
    """Return the problem of a value, or ``None``."""
    match column.kind:
        case Kind.TEXT:
            if not isinstance(value, str):
                return f"expected text, got {type(value).__name__}"
            if len(value) > column.max_length:
                return f"longer than {column.max_length} characters"
            if column.choices and value not in column.choices:
                return f"expected one of {', '.join(column.choices)}, got {value[:40]!r}"
        case Kind.NAMES:
            names = value if isinstance(value, list) else [value]
            if not all(isinstance(name, str) for name in names):
                return "expected a list of names"
            if any(isinstance(name, str) and len(name) > column.max_length for name in names):
                return f"a name is longer than {column.max_length} characters"
        case Kind.FLAG:
            if value not in (0, 1):
                return f"expected 0 or 1, got {str(value)[:40]!r}"
        case Kind.NUMBER:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return f"expected a number, got {type(value).__name__}"
            if not -MAX_NUMBER <= value <= MAX_NUMBER:
                return f"expected a number from -{MAX_NUMBER:g} to {MAX_NUMBER:g}"
        case Kind.EPOCH_MS:
            if isinstance(value, bool) or not isinstance(value, int):
                return f"expected a whole number, got {type(value).__name__}"
            if not 0 <= value <= 253_402_300_799_999:
                return "expected UTC epoch milliseconds between 1970 and 9999"
    return None


MAX_TABLES: Final = 10  # with the built-in ones as many as a run names in one frame
MAX_FIELDS: Final = 24  # each costs tokens in every question
MAX_CHOICES: Final = 32
MAX_CHOICE_CHARS: Final = 60
MAX_ABOUT_CHARS: Final = 300  # of a description: part of every question
MAX_TEXT_CHARS: Final = 100_000
MAX_TITLE_CHARS: Final = 500

# As a name in SQL, in JSON and on a command line. Without "_", names of other tables of a device's file with
# one stay free.
NAME: Final = re.compile(r"[a-z][A-Za-z0-9]{0,39}")
# Tables of the reference device's file; SQLite does not distinguish case.
DEVICE_OWN: Final = frozenset(
    ("calls", "digests", "messages", "owned", "proposals", "questions", "reviews", "roots", "store")
)
_BUILT_IN_NAMES: Final = frozenset(name.lower() for name in TABLES)
# Columns of every table, and keys of a record in the answer of a model.
_RESERVED: Final = frozenset(
    (
        *("id", "createdat", "updatedat", "isaisuggested", "isapproved", "rowid"),
        *("items", "quote", "table", "data", "project", "task", "projectid", "taskid"),
    )
)
_FIELD_KINDS: Final = frozenset({Kind.TEXT, Kind.NUMBER, Kind.EPOCH_MS, Kind.FLAG, Kind.NAMES})
REFERENCES: Final = {  # rows that the owner chooses, by what a declaration calls them
    column.removesuffix("Id"): Column(
        name=column, kind=Kind.TEXT, filler=Filler.PERSON, required_to_approve=True, refers_to=table
    )
    for column, table in (("projectId", "projects"), ("taskId", "tasks"))
}


def problems_in(table: DeviceTable) -> Iterator[tuple[str, str]]:
    """Yield the problems of a declaration: the key of a setting, as ``fields.2.name``, and a message."""
    if NAME.fullmatch(table.name) is None:
        yield "name", "a small letter, then at most 39 letters and digits are expected"
    elif table.name.lower() in _BUILT_IN_NAMES:
        yield "name", f"{table.name} is a built-in table"
    elif table.name.lower() in DEVICE_OWN:
        yield "name", f"a device has a table {table.name} of its own"
    if len(table.about) > MAX_ABOUT_CHARS:
        yield "description", f"at most {MAX_ABOUT_CHARS} characters are expected"
    own = [column for column in table.fields if column not in REFERENCES.values()]
    if not 1 <= len(own) <= MAX_FIELDS:
        yield "fields", f"a table has 1 to {MAX_FIELDS} fields"
    known: set[str] = set()
    for number, column in enumerate(own):
        if column.name.lower() in known:
            yield f"fields.{number}.name", f"another field is called {column.name}"
        known.add(column.name.lower())
        for key, message in _problems_of(column):
            yield f"fields.{number}.{key}", message
    yield from _problems_of_key(table, {column.name: column for column in own})


def _problems_of(column: Column) -> Iterator[tuple[str, str]]:
    if NAME.fullmatch(column.name) is None:
        yield "name", "a small letter, then at most 39 letters and digits are expected"
    elif column.name.lower() in _RESERVED:
        yield "name", f"{column.name} is reserved"
    if column.kind not in _FIELD_KINDS or column.refers_to is not None:
        yield "type", "text, number, date, boolean or list is expected"
    if column.filler is not Filler.MODEL or column.default is not None:
        yield "type", "a field is filled from documents, and has no default"
    if len(column.about) > MAX_ABOUT_CHARS:
        yield "description", f"at most {MAX_ABOUT_CHARS} characters are expected"
    if not 1 <= column.max_length <= MAX_TEXT_CHARS:
        yield "max_length", f"1 to {MAX_TEXT_CHARS} characters are expected"
    if column.choices and column.kind is not Kind.TEXT:
        yield "choices", "only a text has choices"
    if len(column.choices) > MAX_CHOICES:
        yield "choices", f"at most {MAX_CHOICES} choices are expected"
    for choice in column.choices:
        if not 1 <= len(choice) <= MAX_CHOICE_CHARS or choice != " ".join(choice.split()):
            yield "choices", f"a choice has 1 to {MAX_CHOICE_CHARS} characters, without line feeds"
            break
    if len({*map(plain_choice, column.choices)}) < len(column.choices):
        yield "choices", "two choices are the same, without regard to case"


def _problems_of_key(table: DeviceTable, fields: dict[str, Column]) -> Iterator[tuple[str, str]]:
    if not table.key or table.title != table.key[0]:
        yield "key", "the fields that make two rows the same are expected, the name of a row first"
        return
    for number, name in enumerate(table.key):
        if name not in fields:
            yield f"key.{number}", f"there is no field {name!r}"
        elif name in table.key[:number]:
            yield f"key.{number}", f"{name} is listed twice"
    title = fields.get(table.title)
    if title is not None and (title.kind is not Kind.TEXT or title.choices):
        yield "key.0", f"{title.name} names a row, so it is a text without choices"
    elif title is not None and not title.required:
        yield "key.0", f"{title.name} names a row, so it is required"
    elif title is not None and title.max_length > MAX_TITLE_CHARS:
        yield "key.0", f"{title.name} names a row, so it has at most {MAX_TITLE_CHARS} characters"
