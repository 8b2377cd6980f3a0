"""Fields of structs as columns: a field is spelled in its table and in its struct, and in no statement.

``columns_of`` selects a column for each field, ``fill`` makes the struct of such a row, ``values_of`` is the
way back.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import UNSET

from storage.kernel.database import UnreadableRow

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R")


def columns_of(
    kind: type[msgspec.Struct], /, *tables: sa.FromClause, prefix: str = "", **spelled: Any
) -> list[sa.ColumnElement[Any]]:
    """Return a column for each field of the struct *kind*, labelled with the field's name.

    Args:
        tables: the first one that has a column of the field's name gives it.
        prefix: put before each label, where a row holds several structs; see ``fill``.
        spelled: columns of another name, and expressions, by field; ``None``: ``fill`` gets the field.

    Raises:
        KeyError: no table has a column for a field.
    """
    columns = []
    for name in kind.__struct_fields__:
        if name in spelled:
            column = spelled[name]
        else:
            column = next((table.c[name] for table in tables if name in table.c), None)
            if column is None:
                raise KeyError(f"{kind.__name__}.{name}: no column")
        if column is not None:
            columns.append(column.label(prefix + name) if column.key != prefix + name else column)
    return columns


def fill(kind: type[T], source: Any, /, *, prefix: str = "", **own: Any) -> T:
    """Return a struct *kind* of the fields of *source*; those that it lacks have their defaults.

    Args:
        source: a row, another struct, or a dictionary of fields.
        prefix: of the columns in the row.
        own: fields that are not in *source*, or in another form.

    Raises:
        UnreadableRow: a value is not of the field's type.
    """
    if isinstance(source, dict):
        fields = source | own
    else:
        named = ((name, getattr(source, prefix + name, UNSET)) for name in kind.__struct_fields__)
        fields = {name: value for name, value in named if value is not UNSET} | own
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        id = f" {fields['id']}" if "id" in fields else ""
        raise UnreadableRow(f"cannot read the row {kind.__name__}{id}: {error}") from error


def values_of(struct: msgspec.Struct, table: sa.Table, **own: Any) -> dict[str, Any]:
    """Return the fields of *struct* that are columns of *table*, and *own*, as a row to insert."""
    return {name: value for name, value in msgspec.structs.asdict(struct).items() if name in table.c} | own


def readable(convert: Callable[[Any], R], rows: Iterable[Any]) -> list[R]:
    """Return the converted rows without unreadable ones, for lists; ``hub migrate verify`` names those."""
    found: list[R] = []
    for row in rows:
        with suppress(UnreadableRow):
            found.append(convert(row))
    return found
