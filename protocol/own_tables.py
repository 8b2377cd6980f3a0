"""Tables that an operator declares beside the built-in ones: limits, and the check of a declaration."""

import re
from collections.abc import Iterator
from typing import Final

from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, plain_choice

MOST_TABLES: Final = 10  # with the built-in ones as many as a run names in one frame
MOST_FIELDS: Final = 24  # each costs tokens in every question
MOST_CHOICES: Final = 32
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
_BUILT_IN: Final = frozenset(name.lower() for name in TABLES)
# Columns of every table, and keys of a record in the answer of a model.
_RESERVED: Final = frozenset(
    (
        *("id", "createdat", "updatedat", "isaisuggested", "isapproved", "rowid"),
        *("items", "quote", "table", "data", "project", "task", "projectid", "taskid"),
    )
)
_FIELD_KINDS: Final = frozenset({Kind.TEXT, Kind.NUMBER, Kind.EPOCH_MS, Kind.FLAG, Kind.NAMES})
REFERENCES: Final = {  # rows that the owner chooses, by what a declaration calls them
    one.removesuffix("Id"): Column(
        name=one, kind=Kind.TEXT, filler=Filler.PERSON, required_to_approve=True, refers_to=table
    )
    for one, table in (("projectId", "projects"), ("taskId", "tasks"))
}


def problems_in(table: DeviceTable) -> Iterator[tuple[str, str]]:
    """Yield the problems of a declaration: the key of a setting, as ``fields.2.name``, and a message."""
    if NAME.fullmatch(table.name) is None:
        yield "name", "a small letter, then at most 39 letters and digits are expected"
    elif table.name.lower() in _BUILT_IN:
        yield "name", f"{table.name} is a built-in table"
    elif table.name.lower() in DEVICE_OWN:
        yield "name", f"a device has a table {table.name} of its own"
    if len(table.about) > MAX_ABOUT_CHARS:
        yield "description", f"at most {MAX_ABOUT_CHARS} characters are expected"
    own = [column for column in table.fields if column not in REFERENCES.values()]
    if not 1 <= len(own) <= MOST_FIELDS:
        yield "fields", f"a table has 1 to {MOST_FIELDS} fields"
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
    if len(column.choices) > MOST_CHOICES:
        yield "choices", f"at most {MOST_CHOICES} choices are expected"
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
