"""Tables of devices: the built-in ones, and those that hub.toml declares."""

from collections.abc import Callable

from hub.api.door.roles import Scope
from hub.api.noun import ALL, Noun, Part, command, listed
from hub.api.view import View
from protocol.tables import TABLES, DeviceTable, Filler, Kind, Tables
from storage.store import Store


class TableField(View):
    """Field of a table that a document or the owner fills.

    *is_required*: a suggestion has it. *is_needed*: an approval needs it. *choices*: its only values, if
    it has some. *refers_to*: the table whose rows it may refer to.
    """

    name: str
    kind: Kind
    about: str = ""
    is_required: bool = False
    is_needed: bool = False
    choices: tuple[str, ...] = ()
    refers_to: str | None = None


class TableView(View):
    """Table. *title*: the field that names a row. *key*: fields that make two rows the same."""

    name: str
    about: str
    is_built_in: bool
    title: str
    key: tuple[str, ...]
    fields: tuple[TableField, ...]


class DeviceTables(Noun):
    """Tables that agents may find items for."""

    name, path = "tables", "/v1/tables"

    def __init__(self, store: Store, tables: Callable[[], Tables]) -> None:
        self._store = store
        self._tables = tables

    @command(
        "tables ls",
        example="hub tables ls",
        json="tables",
        table=("name as table", "about as rows", "key as same by", "fields|field_names as fields"),
        empty="no tables",
    )
    @listed("", Scope.READ, key=lambda table: (table.name,))
    async def all(self, part: Part = ALL) -> list[TableView]:
        """List the tables that an agent may name in data_types, with their fields."""
        views = [
            TableView(
                name=str(table.name),
                about=table.about,
                is_built_in=table.name in TABLES,
                title=table.title,
                key=table.key,
                fields=fields_of(table),
            )
            for table in self._tables().values()
        ]
        return part.of(views, lambda table: (table.name,))


def fields_of(table: DeviceTable) -> tuple[TableField, ...]:
    """Return the fields of a table that a document or the owner fills."""
    return tuple(
        TableField(
            name=column.name,
            kind=column.kind,
            about=column.about,
            is_required=column.required,
            is_needed=column.required_to_approve,
            choices=column.choices,
            refers_to=column.refers_to,
        )
        for column in table.fields
        if column.filler is Filler.MODEL or column.refers_to is not None
    )
