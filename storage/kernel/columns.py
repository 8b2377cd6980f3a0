"""Column types for SQLite and PostgreSQL, and conversion of rows to structs.

Besides these types, tables use only ``sa.Text``, ``sa.REAL`` and ``sa.LargeBinary``; a STRICT table refuses
all others.

Fields of structs as columns: a field is spelled in its table and in its struct, and in no statement.

``columns_of`` selects a column for each field, ``struct_from`` makes the struct of such a row, ``values_of``
is the way back. ``paged`` reads a list in pages: the rows after a sort key, in the order of that key. A page
costs the same wherever it begins, and rows that are inserted or deleted between two pages neither repeat nor
hide other rows. The columns of a key are unique together and never NULL.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import cache, partial, wraps
from operator import le
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles

from protocol.errors import CodedError, ErrorCode, HubError
from protocol.items import folded
from protocol.secret_rules import redact_secrets
from storage.kernel.database import UnreadableRow
from storage.kernel.statements import NamedRow, ResultRows

IdT = TypeVar("IdT", bound=str)

Int = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # a STRICT table accepts only INTEGER
Real: sa.types.TypeEngine[float] = sa.Double().with_variant(
    sa.REAL(), "sqlite"
)  # eight bytes; PostgreSQL's REAL has four


class BrokenDocument(str):
    """Text of a JSON column that is not of its shape: ``struct_from`` refuses it, others find it empty."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def keys(self) -> tuple[()]:
        """Return no keys."""
        return ()

    def items(self) -> tuple[()]:
        """Return no items."""
        return ()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the default."""
        return default


def _as_text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


class Doc(sa.TypeDecorator[Any]):
    """A JSON value: JSONB on PostgreSQL, its text on SQLite. ``None`` is NULL; NaN becomes null.

    Text that is no JSON of the shape, which the hub never writes, is returned as a ``BrokenDocument``.

    Attributes:
        shape: what the hub writes there: a list or a dictionary, with the type of its values; or any value.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, shape: Any = Any) -> None:
        super().__init__()
        self.shape = shape
        self._kind = getattr(shape, "__origin__", None)
        value = Any if self._kind is None else shape.__args__[-1]
        self._value = None if value is Any else getattr(value, "__origin__", value)

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        on_postgresql = dialect.name == "postgresql"
        return dialect.type_descriptor(postgresql.JSONB(none_as_null=True) if on_postgresql else sa.Text())

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return super().bind_processor(dialect) if dialect.name == "postgresql" else _as_text

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        if value is None:
            return value
        found = value
        if dialect.name != "postgresql":
            try:
                found = msgspec.json.decode(value)
            except (msgspec.DecodeError, TypeError):
                return BrokenDocument(value)
        if self._kind is None or (
            isinstance(found, self._kind)
            and (
                self._value is None
                or all(
                    isinstance(member, self._value)
                    for member in (found.values() if isinstance(found, dict) else found)
                )
            )
        ):
            return found
        return BrokenDocument(value)


# PostgreSQL stores every character but U+0000, which a device may send. It becomes U+FFFD.
_NUL_IN_JSON = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def json_text(value: object) -> str:
    """Return *value* as JSON that JSONB accepts: NaN becomes null, U+0000 becomes U+FFFD."""
    text = msgspec.json.encode(value).decode()
    return _NUL_IN_JSON.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


def as_stored(c: sa.Connection, value: Any) -> Any:
    """Return the value that a ``Doc`` column of this database returns after *value* was written."""
    return msgspec.json.decode(
        json_text(value) if c.dialect.name == "postgresql" else msgspec.json.encode(value)
    )


class _KnownValues(dict[Any, Any]):
    """Values by their spelling; another spelling is its own value."""

    def __missing__(self, key: Any) -> Any:
        return key


_FLAGS: Final = _KnownValues({None: None, 0: False, 1: True})
_NUMBERS: Final = _KnownValues({None: None, False: 0, True: 1})


class Flag(sa.TypeDecorator[bool]):
    """True or false: BOOLEAN on PostgreSQL, 0 or 1 on SQLite."""

    impl = sa.Boolean
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.Integer() if dialect.name == "sqlite" else sa.Boolean())

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)
        return _NUMBERS.__getitem__

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        return _FLAGS.__getitem__ if dialect.name == "sqlite" else None


class Reported(sa.TypeDecorator[str]):
    """Text in the words of others, such as an error or a reason: it is stored without secrets."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return redact_secrets(value) if isinstance(value, str) else value


class Choice(sa.TypeDecorator[StrEnum]):
    """Enum column: text in the row, the member in code. A CHECK constraint enforces the values.

    Another text, which the hub never writes, is returned as it is: ``struct_from`` names its row.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, choices: type[StrEnum]) -> None:
        super().__init__()
        self.choices = choices

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        spelled: dict[str | None, str | None] = {None: None}
        return (spelled | {member.value: member.value for member in self.choices}).__getitem__

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        members: dict[Any, Any] = {member.value: member for member in self.choices}
        return _KnownValues(members | {None: None}).__getitem__


class now_ms(sa.sql.functions.FunctionElement[int]):
    """Current time of the database's own clock, UTC epoch milliseconds, equal for all hubs that share it.

    The clock advances within a transaction. On SQLite it is a function that
    ``storage.kernel.sqlite.set_clock`` registers on each connection.
    """

    type = Int
    inherit_cache = True
    name = "now_ms"


@compiles(now_ms)
def _ask_sqlite(element: now_ms, compiler: sa.sql.compiler.SQLCompiler, **_: Any) -> str:
    return "hub_now_ms()"


@compiles(now_ms, "postgresql")
def _ask_postgresql(element: now_ms, compiler: sa.sql.compiler.SQLCompiler, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


class folded_text(sa.sql.functions.FunctionElement[str]):
    """Text without case and without marks on letters: ``protocol.items.folded`` in a statement.

    On SQLite it is that function. PostgreSQL runs none of Python, and folds no case before release 18. There
    the marks are those that the function leaves out, and the locale of the database lowers letters. Three
    that it does not fold are replaced: the final sigma, the iota below, and the sharp s.
    """

    type = sa.Text()
    inherit_cache = True
    name = "folded_text"


@compiles(folded_text)
def _folded_in_file(element: folded_text, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    return f"hub_folded({compiler.process(element.clauses, **asked)})"


@compiles(folded_text, "postgresql")
def _folded_on_server(element: folded_text, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    text = compiler.process(element.clauses, **asked)
    letters = f"lower(regexp_replace(normalize({text}, NFKD), '[{_marks()}]', '', 'g'))"
    return f"replace(translate({letters}, '\u03c2\u0345', '\u03c3\u03b9'), 'ß', 'ss')"


@cache
def _marks() -> str:
    return "".join(mark for mark in map(chr, range(0x300, 0x20000)) if not folded(mark))


class _each_text(sa.sql.functions.FunctionElement[str]):
    """Table function: a row for each text of a JSON list, in a column ``value``."""

    inherit_cache = True
    name = "each_text"


@compiles(_each_text)
def _each_of_sqlite(element: _each_text, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **asked)})"


@compiles(_each_text, "postgresql")
def _each_of_postgresql(element: _each_text, compiler: sa.sql.compiler.SQLCompiler, **asked: Any) -> str:
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **asked)} AS JSONB))"


def listed(texts: sa.BindParameter[Any]) -> sa.Select[Any]:
    """Select the texts of a list that is bound as one value of any length: ``column.in_(listed(...))``."""
    each = _each_text(sa.type_coerce(texts, Doc())).table_valued("value")
    return sa.select(each.c.value)


def texts_in(column: sa.Column[Any]) -> sa.Select[Any]:
    """Select the texts of the list in a row's ``Doc`` column: ``literal(text).in_(texts_in(column))``."""
    each = _each_text(column).table_valued("value")
    return sa.select(each.c.value).correlate(column.table)


def spelled(words: Iterable[str]) -> str:
    """Return the words as SQL literals: ``'a', 'b'``."""
    return ", ".join(f"'{word}'" for word in words)


def one_of(column: str, words: Iterable[str], *, or_null: bool = False) -> sa.CheckConstraint:
    listed = f"{column} IN ({spelled(words)})"
    return sa.CheckConstraint(f"{column} IS NULL OR {listed}" if or_null else listed, name=column)


# beginning of the year 1, and end of the year 9999, in epoch milliseconds
FIRST_INSTANT, LAST_INSTANT = -62_135_596_800_000, 253_402_300_799_999
Rule: TypeAlias = Callable[[Any], bool]
_WORDS = re.compile(r"(?:\w+ IS NULL OR )?(\w+) IN \(('\w+'(?:, '\w+')*)\)")
_LEAST = re.compile(r"(?:\w+ IS NULL OR )?(\w+) >= (\d+)")
_BETWEEN = re.compile(r"(\w+) BETWEEN (\d+) AND (\d+)")


def rule_of(column: sa.Column[Any]) -> Rule | None:
    """Return what the constraints of the column alone require of a value that is not NULL, if anything."""
    if is_instant(column):
        return partial(_is_between, FIRST_INSTANT, LAST_INSTANT)
    (declared,) = column.base_columns  # where the table has another name
    for constraint in declared.table.constraints if isinstance(declared, sa.Column) else ():
        check = getattr(constraint.sqltext, "text", "") if isinstance(constraint, sa.CheckConstraint) else ""
        if (words := _WORDS.fullmatch(check)) and words[1] == column.name:
            return frozenset(re.findall(r"\w+", words[2])).__contains__
        if (least := _LEAST.fullmatch(check)) and least[1] == column.name:
            return partial(le, int(least[2]))
        if (both := _BETWEEN.fullmatch(check)) and both[1] == column.name:
            return partial(_is_between, int(both[2]), int(both[3]))
    return None


def is_instant(column: sa.ColumnElement[Any]) -> bool:
    """Return True if the column has UTC epoch milliseconds, by its name."""
    return column.key is not None and (column.key == "at" or column.key.endswith("_at"))


def _is_between(low: int, high: int, value: float) -> bool:
    return low <= value <= high


def zero_or_one(column: str) -> sa.CheckConstraint:
    return _in_file(f"{column} IN (0, 1)", column)


def text(name: str, default: str | None = None) -> sa.Column[str]:
    """Create a text column that is NOT NULL."""
    server_default = None if default is None else sa.text(f"'{default}'")
    return sa.Column(name, sa.Text, nullable=False, server_default=server_default)


# Effect of a step of the hub's clock on an instant; see ``storage.effects.clock_steps``.
# ``HAPPENED``, where nothing else is declared: the time of an event. One later than now was written by a
# clock that was ahead, and moves back with it. ``WAITS``: a time counted from the moment of its writing,
# which moves with the clock. ``EXPIRES``: the end of a right, which stays; but what has ended does not come
# back. ``NOMINAL``: it stays, or moves with its schedule.
Instant = Literal["happened", "waits", "expires", "nominal"]


Info: TypeAlias = dict[Any, Any]  # of a column
NOMINAL: Info = {"nominal": ""}
HAPPENED: Info = {"happened": ""}
HISTORY_OF: Final = "history_of"  # in the info of a table: the column of what its rows are the history of


def waits(where: str = "TRUE", *, happened: bool = False) -> Info:
    """Declare an instant that waits, in rows with the condition *where*; in others it may have happened."""
    return {"waits": where} | (HAPPENED if happened else {})


def expires(born: str = "created_at") -> Info:
    """Declare the end of a right. *born*: name of the column with its begin."""
    return {"expires": born}


def instants(kind: Instant) -> Iterator[tuple[sa.Table, str, list[sa.Column[Any]]]]:
    """Return the columns of a kind, by table and by what was declared with them."""
    for table in metadata.sorted_tables:
        found: dict[str, list[sa.Column[Any]]] = {}
        for column in table.columns:
            usual = {} if column.primary_key or not is_instant(column) else HAPPENED
            declared = column.info or usual
            if kind in declared:
                found.setdefault(declared[kind], []).append(column)
        for where, columns in found.items():
            yield table, where, columns


def number(name: str, default: int | None = None, *, info: Info | None = None) -> sa.Column[int]:
    """Create an integer column that is NOT NULL; an instant if the name ends in ``_at``."""
    server_default = None if default is None else sa.text(str(default))
    return sa.Column(name, Int, nullable=False, server_default=server_default, info=info or {})


def key(name: str, *, of: str | None = None) -> sa.Column[str]:
    """Create a text column of the primary key. *of*: column of the row that this row is deleted with."""
    references = () if of is None else (sa.ForeignKey(of, ondelete="CASCADE"),)
    return sa.Column(name, sa.Text, *references, primary_key=True)


def doc(name: str, default: str, shape: Any = None) -> sa.Column[Any]:
    """Create a JSON column that is NOT NULL: by its default a list of texts, or a dictionary."""
    usual = list[str] if default.startswith("[") else dict[str, Any]
    return sa.Column(
        name, Doc(usual if shape is None else shape), nullable=False, server_default=sa.text(f"'{default}'")
    )


def reference(name: str, target: str, *, ondelete: str, nullable: bool = False) -> sa.Column[str]:
    """Create a foreign key column. *ondelete*: action on this row when the referenced row is deleted."""
    return sa.Column(name, sa.Text, sa.ForeignKey(target, ondelete=ondelete), nullable=nullable)


# ids in one IN list: SQLite binds at most 32,766 values, and prepares a statement for each length
IN_LIST = 500


def in_parts(ids: Sequence[IdT]) -> Iterator[Sequence[IdT]]:
    """Split *ids* into parts that fit into one IN list."""
    for start in range(0, len(ids), IN_LIST):
        yield ids[start : start + IN_LIST]


def execute_among(
    c: sa.Connection,
    statement: Any,
    name: str,
    ids: Sequence[str],
    given: Mapping[str, Any] | None = None,
) -> ResultRows:
    """Execute *statement* with *ids* as its list *name*, in parts. Return all rows; their order is by part.

    Args:
        given: its other parameters.
    """
    results = [c.execute(statement, {**(given or {}), name: part}) for part in in_parts(ids)]
    returned = [row for result in results if result.returns_rows for row in result]
    return ResultRows(returned, sum(result.rowcount for result in results))


def index(name: str, *columns: str, where: str | None = None, unique: bool = False) -> sa.Index:
    """Create an index of the table that it is a part of, on the rows for which *where* holds."""
    predicate = None if where is None else sa.text(where)
    return sa.Index(name, *columns, unique=unique, sqlite_where=predicate, postgresql_where=predicate)


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def table(name: str, *parts: sa.schema.SchemaItem, rowid: bool = True) -> sa.Table:
    """Create a table. *rowid*: False for a table whose rows are read only by primary key."""
    documents = [part.name for part in parts if isinstance(part, sa.Column) and isinstance(part.type, Doc)]
    return sa.Table(
        name, metadata, *parts, *map(is_json, documents), sqlite_strict=True, sqlite_with_rowid=rowid
    )


def is_json(column: str) -> sa.CheckConstraint:
    """Create the constraint of a ``Doc`` column on SQLite, where it is a text."""
    return _in_file(f"{column} IS NULL OR json_valid({column})", f"{column}_json")


def _in_file(check: str, name: str) -> sa.CheckConstraint:
    constraint = sa.CheckConstraint(check, name=name, info={"dialect": "sqlite"})
    return constraint.ddl_if(dialect="sqlite")


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
        prefix: put before each label, where a row holds several structs; see ``struct_from``.
        spelled: columns of another name, and expressions, by field; ``None``: ``struct_from`` gets the field.

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


def struct_from(kind: type[T], source: Any, /, *, prefix: str = "", **own: Any) -> T:
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
    elif isinstance(source, NamedRow) and not prefix:
        fields = source._mapping | own
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


def struct_or_none(kind: type[T], row: Any) -> T | None:
    """Return ``fill(kind, row)``, or ``None`` without a row."""
    return None if row is None else struct_from(kind, row)


def values_of(struct: msgspec.Struct, table: sa.Table, **own: Any) -> dict[str, Any]:
    """Return the fields of *struct* that are columns of *table*, and *own*, as a row to insert."""
    others = _not_in_table(type(struct), table)
    values = msgspec.structs.asdict(struct) | own
    for name in others:
        del values[name]
    return values


@cache
def _not_in_table(kind: type[msgspec.Struct], table: sa.Table) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in table.c)


def readable(convert: Callable[[Any], R], rows: Iterable[Any]) -> list[R]:
    """Return the converted rows without unreadable ones, for lists; ``hub migrate verify`` names those."""
    found: list[R] = []
    for row in rows:
        with suppress(UnreadableRow):
            found.append(convert(row))
    return found


def is_readable(convert: Callable[[Any], Any], row: Any) -> bool:
    """Return True if *convert* reads the row."""
    return bool(readable(lambda value: (convert(value),), [row]))


def texts(document: Any) -> list[str]:
    """Return a stored list of texts, empty in a broken row, which is refused where it is read as a whole."""
    is_whole = isinstance(document, list) and all(isinstance(member, str) for member in document)
    return document if is_whole else []


def structs_from(kind: type[T], rows: Iterable[Any]) -> list[T]:
    """Return ``fill(kind, row)`` of the rows, without unreadable ones; see ``readable``."""
    return readable(partial(struct_from, kind), rows)


@contextmanager
def isolating_broken_row(c: sa.Connection) -> Iterator[None]:
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
            with isolating_broken_row(c):
                c.execute(statement, change)
                written.append(change)
        return written


Key: TypeAlias = tuple[str | int, ...]


def foreign_key() -> CodedError:
    """Return the error for a sort key that does not fit the columns that order the list."""
    message = "cursor: it came from another list; take it from next_cursor of the page before"
    return CodedError(ErrorCode.BAD_PARAMS, message)


def unindexed(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a text column so that SQLite, which has no figures to choose by, uses no index of it."""
    return sa.func.coalesce(column, "")


def listed_keys(table: sa.Table) -> sa.ColumnElement[bool]:
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
        CodedError (BAD_PARAMS): *after* is a key of another list.
    """
    order = [column.desc() if descending else column for column in by]
    found = query.where(*only)
    if after is not None:
        if [type(part) for part in after] != [column.type.python_type for column in by]:
            raise foreign_key()
        row, key = sa.tuple_(*by), sa.tuple_(*map(sa.literal, after, (column.type for column in by)))
        found = found.where(row < key if descending else row > key)
    if len(parts) > 1 and limit is not None:
        most = sa.bindparam(_MOST, limit, type_=sa.Integer)
        keys = found.with_only_columns(*by, maintain_column_froms=True).order_by(*order).limit(most)
        merged = sa.union_all(*(sa.select(keys.where(part).subquery()) for part in parts)).subquery()
        *_, id = columns = [*merged.c]
        newest = sa.select(id).order_by(*(column.desc() if descending else column for column in columns))
        found = query.where(by[-1].in_(newest.limit(most)))
    elif parts:
        found = found.where(sa.or_(*parts))
    return found.order_by(*order).limit(limit)


_END: Final = re.compile(r"[0-9a-f-]{6,35}")  # of an id: its end is chance, its beginning may be a time
_SHORT_END: Final = re.compile(r"[0-9a-f]{4,5}")  # what people type, as of a commit
_MAX_ALIKE: Final = 20


def whole_id(
    c: sa.Connection,
    table: sa.Table,
    given: str,
    *,
    user_id: str | None = None,
    only: Iterable[sa.ColumnElement[bool]] = (),
) -> str:
    """Return the only id of *table* that ends with *given*, six or more characters; *given* if none does.

    All ids are read, 0.1 ms for a thousand: an index of their ends would cost each row that is written.

    Args:
        user_id: only of rows of this user.
        only: further conditions of the rows that may be named.

    Raises:
        CodedError (BAD_PARAMS): several ids end so; it names them. Or *given* is no id, and too short an end.
    """
    exact = sa.select(table.c.id).where(table.c.id == given)
    if _SHORT_END.fullmatch(given) and c.execute(exact).first() is None:
        raise CodedError(ErrorCode.BAD_PARAMS, f"{given!r} is too short: an end of an id has six characters")
    if not _END.fullmatch(given):
        return given
    query = sa.select(table.c.id).where(table.c.id.endswith(given), *only).order_by(table.c.id)
    query = query if user_id is None else query.where(table.c.user_id == user_id)
    found = c.execute(query.limit(_MAX_ALIKE)).scalars().all()
    if len(found) > 1 and given not in found:
        raise CodedError(
            ErrorCode.BAD_PARAMS, f"several ids end in {given!r}: {', '.join(found)}; give more of one"
        )
    return given if given in found or not found else found[0]


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


def fetch_page(
    c: sa.Connection,
    kind: type[T],
    query: sa.Select[Any],
    limit: int | None,
    given: Mapping[str, Any] | None = None,
) -> list[T]:
    """Return ``fill(kind, row)`` of up to *limit* rows of a ``paged`` query; see ``readable_page``."""
    return readable_page(c, partial(struct_from, kind), query, limit, given)


def execute_for_each(c: sa.Connection, statement: sa.UpdateBase, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute *statement* for each of *rows*, which all have the same keys; for none of no rows."""
    if rows:
        c.execute(statement, rows)


def upsert(table: sa.Table) -> postgresql.Insert:
    """Return a statement that inserts a row of *table*, or replaces the row with the same primary key."""
    insert = postgresql.insert(table)
    others = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[*table.primary_key], set_=others)


def insert_if_absent(table: sa.Table) -> postgresql.Insert:
    """Return a statement that inserts a row of *table*, unless there is one with the same primary key."""
    return postgresql.insert(table).on_conflict_do_nothing(index_elements=[*table.primary_key])
