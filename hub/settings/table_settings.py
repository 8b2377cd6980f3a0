"""Tables ``[[tables]]`` of hub.toml: kinds of items that devices and agents use beyond those of the hub."""

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import (
    Field,
    StringConstraints,
)

from hub.base.toml.values import REQUIRED, Flag, SettingsTable, live, shaped
from protocol.similar_names import did_you_mean
from protocol.tables import (
    MAX_FIELDS,
    MAX_TABLES,
    MAX_TEXT_CHARS,
    MAX_TITLE_CHARS,
    REFERENCES,
    Column,
    DeviceTable,
    Kind,
    Tables,
    tables_with,
)

_KINDS: Final = {
    "text": Kind.TEXT,
    "number": Kind.NUMBER,
    "date": Kind.EPOCH_MS,
    "boolean": Kind.FLAG,
    "list": Kind.NAMES,
}


_DEFAULT_CHARS: Final = 2_000


_Name = Annotated[
    str, StringConstraints(min_length=1, max_length=100), shaped("^[a-z][A-Za-z0-9]{0,39}$", "contacts")
]


class FieldSettings(SettingsTable):
    """Field of a table."""

    name: _Name = live(REQUIRED, "Name, a small letter first: letters and digits.")
    type: Literal["text", "number", "date", "boolean", "list"] = live(
        "text", "Type; a date may have a time of day, and a list has texts."
    )
    description: str = live("", "Meaning, for the model and for people.")
    required: Flag = live(False, "Leave out records without it.")
    choices: Annotated[tuple[str, ...], Field(min_length=1)] | None = live(
        None, "The only values of a text, if it has some."
    )
    max_length: Annotated[int, Field(strict=True, ge=1, le=MAX_TEXT_CHARS)] | None = live(
        None, "Most characters of a text, or of each text of a list; by default 2000, 500 of a name of a row."
    )


class TableSettings(SettingsTable):
    """Table of a device, which agents may name in *data_types*."""

    name: _Name = live(REQUIRED, 'Name, as in "contacts".')
    description: str = live(REQUIRED, "What a row is, for the model and for people.")
    fields: Annotated[tuple[FieldSettings, ...], Field(min_length=1, max_length=MAX_FIELDS)] = live(
        REQUIRED, "What a row has."
    )
    key: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_FIELDS)] = live(
        REQUIRED, "Fields that make two rows the same; the first one is a text that names a row."
    )
    needs: Annotated[tuple[str, ...], Field(max_length=MAX_FIELDS)] = live(
        (), "What an approval needs: fields, or project or task, which the owner chooses."
    )

    @property
    def declaration(self) -> DeviceTable:
        """The table as all parts of the hub and its devices know it."""
        title = self.key[0]
        columns = [
            Column(
                name=field.name,
                kind=_KINDS[field.type],
                required=field.required or field.name == title,
                required_to_approve=field.name in self.needs,
                choices=field.choices or (),
                max_length=field.max_length or (MAX_TITLE_CHARS if field.name == title else _DEFAULT_CHARS),
                about=field.description,
            )
            for field in self.fields
        ]
        columns += [REFERENCES[name] for name in dict.fromkeys(self.needs) if name in REFERENCES]
        return DeviceTable(
            name=self.name, about=self.description, title=title, key=self.key, fields=tuple(columns)
        )


DeclaredTables = Annotated[tuple[TableSettings, ...], Field(max_length=MAX_TABLES)]


def tables_of(declared: Sequence[TableSettings]) -> Tables:
    """Return the built-in tables and those that are declared."""
    return tables_with(tuple(table.declaration for table in declared))


def unknown_tables(names: Collection[str], tables: Collection[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield the place of each name that no table has, with a message and a hint."""
    for place, name in enumerate(names):
        if name not in tables:
            near = did_you_mean(name, tables)
            hint = near or f"there are {', '.join(tables)}; declare others in [[tables]]"
            yield place, (f"there is no table {name!r}", hint)
