"""Fields of structs as columns: a field is spelled in its table and in its struct, and in no statement.

``columns_of`` selects a column for each field, ``fill`` makes the struct of such a row, ``values_of`` is the
way back. ``paged`` reads a list in pages: the rows after a sort key, in the order of that key. A page costs
the same wherever it begins, and rows that are inserted or deleted between two pages neither repeat nor hide
other rows. The columns of a key are unique together and never NULL.

Statements for many rows: compiled once to the text of the driver, and executed with tuples.

SQLAlchemy builds a dictionary of parameters for each row and looks up the type of each value: more work than
SQLite has with the row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, partial, wraps
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.dialects import postgresql

from protocol.errors import ErrorCode, HubError
from storage.kernel.columns import Rule, rule_of
from storage.kernel.database import UnreadableRow

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R")
P = ParamSpec("P")


# Rules of the fields of a struct, from the constraints of their columns: where these were switched off, a
# row may have values that no code expects. Set by ``columns_of``.
_RULES: dict[type[msgspec.Struct], dict[str, Rule]] = {}


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
            if isinstance(column, sa.Column) and (rule := rule_of(column)) is not None:
                _RULES.setdefault(kind, {})[name] = rule
            columns.append(column.label(prefix + name) if column.key != prefix + name else column)
    return columns


def fill(kind: type[T], source: Any, /, *, prefix: str = "", **own: Any) -> T:
    """Return a struct *kind* of the fields of *source*; those that it lacks have their defaults.

    Args:
        source: a row, another struct, or a dictionary of fields.
        prefix: of the columns in the row.
        own: fields that are not in *source*, or in another form.

    Raises:
        UnreadableRow: a value is not of the field's type, or violates a constraint of its column.
    """
    if isinstance(source, dict):
        fields = source | own
    else:
        named = ((name, getattr(source, prefix + name, UNSET)) for name in kind.__struct_fields__)
        fields = {name: value for name, value in named if value is not UNSET} | own
    try:
        filled = msgspec.convert(fields, kind)
        for name, rule in _RULES.get(kind, {}).items():
            if (value := fields.get(name)) is not None and not rule(value):
                raise msgspec.ValidationError(f"Invalid value {value!r} - at `$.{name}`")
    except msgspec.ValidationError as error:
        id = f" {fields['id']}" if "id" in fields else ""
        raise UnreadableRow(f"cannot read the row {kind.__name__}{id}: {error}") from error
    return filled


def reader(convert: Callable[P, R]) -> Callable[P, R]:
    """Return *convert* so that it raises ``UnreadableRow`` for a row that it cannot compute with."""

    @wraps(convert)
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return convert(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise UnreadableRow(f"cannot read a row ({convert.__name__}): {error}") from error

    return read


def filled(kind: type[T], row: Any) -> T | None:
    """Return ``fill(kind, row)``, or ``None`` without a row."""
    return None if row is None else fill(kind, row)


def values_of(struct: msgspec.Struct, table: sa.Table, **own: Any) -> dict[str, Any]:
    """Return the fields of *struct* that are columns of *table*, and *own*, as a row to insert."""
    names = _in_table(type(struct), table)
    return {name: getattr(struct, name) for name in names} | own


@cache
def _in_table(kind: type[msgspec.Struct], table: sa.Table) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name in table.c)


def readable(convert: Callable[[Any], R], rows: Iterable[Any]) -> list[R]:
    """Return the converted rows without unreadable ones, for lists; ``hub migrate verify`` names those."""
    found: list[R] = []
    for row in rows:
        with suppress(UnreadableRow):
            found.append(convert(row))
    return found


def is_readable(convert: Callable[[Any], Any], row: Any) -> bool:
    """Return True if *convert* reads the row."""
    return bool(readable(lambda one: (convert(one),), [row]))


def texts(document: Any) -> list[str]:
    """Return a stored list of texts, empty in a broken row, which is refused where it is read as a whole."""
    is_whole = isinstance(document, list) and all(isinstance(one, str) for one in document)
    return document if is_whole else []


def fill_each(kind: type[T], rows: Iterable[Any]) -> list[T]:
    """Return ``fill(kind, row)`` of the rows, without unreadable ones; see ``readable``."""
    return readable(partial(fill, kind), rows)


@contextmanager
def sparing(c: sa.Connection) -> Iterator[None]:
    """Undo what the block wrote if a broken row ends it; the row stays as it is until it is corrected.

    For work on many rows, of which one broken row must not keep the others from theirs.
    """
    try:
        with c.begin_nested():
            yield
    except (HubError, sa.exc.IntegrityError):
        return


Change = TypeVar("Change", bound=Mapping[str, Any])


def write_each(c: sa.Connection, statement: sa.UpdateBase, changes: Sequence[Change]) -> list[Change]:
    """Execute *statement* for each of *changes*, except those whose row breaks a constraint already.

    Returns:
        the changes that were written.
    """
    if not changes:
        return []
    try:
        with c.begin_nested():
            c.execute(statement, changes)
            return list(changes)
    except sa.exc.IntegrityError:
        written: list[Change] = []
        for change in changes:
            with sparing(c):
                c.execute(statement, change)
                written.append(change)
        return written


Key: TypeAlias = tuple[str | int, ...]


class ForeignKey(HubError):
    """Error: a sort key does not fit the columns that order the list."""

    code = ErrorCode.BAD_PARAMS

    def __init__(self) -> None:
        super().__init__("cursor: it came from another list; take it from next_cursor of the page before")


def unindexed(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a text column so that SQLite, which has no figures to choose by, uses no index of it."""
    return sa.func.coalesce(column, "")


def listed(table: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition of indexes that are only for lists, which every row meets.

    SQLite has no figures to choose by, and would take such an index for other statements too.
    """
    return sa.func.length(table.c.id) > sa.literal_column("0")


def narrowed(*given: tuple[sa.Column[Any], Any]) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that columns have the values that are not None, for the index of the first one.

    Args:
        given: columns and values, from the column whose values have the fewest rows.
    """
    asked = [(column, value) for column, value in given if value is not None]
    conditions = [unindexed(column) == value for column, value in asked]
    if asked:
        column, value = asked[0]
        conditions[0] = column == value
    return conditions


_MOST = "rows_of_part"


def paged(
    query: sa.Select[Any],
    *by: sa.ColumnElement[Any],
    limit: int | None = None,
    after: Key | None = None,
    descending: bool = False,
    only: Iterable[sa.ColumnElement[bool]] = (),
    parts: Sequence[sa.ColumnElement[bool]] = (),
) -> sa.Select[Any]:
    """Order *query* by the columns *by*, and restrict it to *limit* rows after the sort key *after*.

    Args:
        only: further conditions of the rows.
        parts: conditions of which a row has to meet one. An index of each part in the order *by* suffices for
            a page: it is merged from a page of each part. The last column of *by* identifies a row then.

    Raises:
        ForeignKey: *after* is a key of another list.
    """
    order = [column.desc() if descending else column for column in by]
    found = query.where(*only)
    if after is not None:
        if [type(part) for part in after] != [column.type.python_type for column in by]:
            raise ForeignKey
        row, key = sa.tuple_(*by), sa.tuple_(*map(sa.literal, after, (column.type for column in by)))
        found = found.where(row < key if descending else row > key)
    if len(parts) > 1 and limit is not None:
        most = sa.bindparam(_MOST, limit, type_=sa.Integer)
        ids = found.with_only_columns(by[-1], maintain_column_froms=True).order_by(*order).limit(most)
        pages = [sa.select(ids.where(part).subquery()) for part in parts]
        found = query.where(by[-1].in_(sa.union_all(*pages)))
    elif parts:
        found = found.where(sa.or_(*parts))
    return found.order_by(*order).limit(limit)


def readable_page(
    c: sa.Connection,
    convert: Callable[[Any], R],
    query: sa.Select[Any],
    limit: int | None,
    given: Mapping[str, Any] | None = None,
) -> list[R]:
    """Return up to *limit* converted rows of a ``paged`` query; others take the places of unreadable ones."""
    most = limit
    while True:
        rows = c.execute(query.limit(most), {**(given or {}), _MOST: most}).all()
        found = readable(convert, rows)
        if limit is None or most is None or len(found) >= limit or len(rows) < most:
            return found[:limit]
        most *= 2


def fill_page(
    c: sa.Connection,
    kind: type[T],
    query: sa.Select[Any],
    limit: int | None,
    given: Mapping[str, Any] | None = None,
) -> list[T]:
    """Return ``fill(kind, row)`` of up to *limit* rows of a ``paged`` query; see ``readable_page``."""
    return readable_page(c, partial(fill, kind), query, limit, given)


_Bind = tuple[str, Callable[[Any], Any] | None, Any]
_MOST_ROWS: Final = 256  # statements in one shape of their parameters; there are about ten


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


@lru_cache(maxsize=_MOST_ROWS)
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
