"""Statements for many rows: compiled once to the text of the driver, and executed with tuples.

SQLAlchemy builds a dictionary of parameters for each row and looks up the type of each value: more work than
SQLite has with the row.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

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
