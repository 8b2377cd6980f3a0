"""Statements for many rows: compiled once to the text of the driver, and executed with tuples.

SQLAlchemy builds a dictionary of parameters for each row and looks up the type of each value: more work than
SQLite has with the row.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql  # both databases take its form of ON CONFLICT

_Bind = tuple[str, Callable[[Any], Any] | None, Any]
_MOST: Final = 256  # statements in one shape of their parameters; there are about ten


def execute_for_each(c: sa.Connection, statement: sa.UpdateBase, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute *statement* for each of *rows*, which all have the same keys.

    Args:
        statement: a constant of a module, because its text is cached by its identity.
    """
    if not rows:
        return
    text, binds = _compiled(statement, c.dialect, tuple(rows[0]))
    c.exec_driver_sql(
        text,
        [
            tuple(
                [
                    row.get(name, usual) if convert is None else convert(row.get(name, usual))
                    for name, convert, usual in binds
                ]
            )
            for row in rows
        ],
    )


def put(table: sa.Table) -> postgresql.Insert:
    """Return a statement that inserts a row of *table*, or replaces the row with the same primary key."""
    insert = postgresql.insert(table)
    others = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[*table.primary_key], set_=others)


def put_first(table: sa.Table) -> postgresql.Insert:
    """Return a statement that inserts a row of *table*, unless there is one with the same primary key."""
    return postgresql.insert(table).on_conflict_do_nothing(index_elements=[*table.primary_key])


@lru_cache(maxsize=_MOST)
def _compiled(
    statement: sa.UpdateBase, dialect: sa.Dialect, keys: tuple[str, ...]
) -> tuple[str, tuple[_Bind, ...]]:
    """Return the text of *statement*, and its parameters in order: name, conversion and usual value."""
    columns = keys if isinstance(statement, sa.Insert) else None
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
    assert compiled.positiontup is not None, f"{dialect.name} numbers its parameters"
    binds = []
    for name in compiled.positiontup:
        type_ = compiled.binds[name].type.dialect_impl(dialect)
        binds.append((name, type_.bind_processor(dialect), compiled.params[name]))
    return str(compiled), tuple(binds)
