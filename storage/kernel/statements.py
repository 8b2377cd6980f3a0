"""Execution of statements: compiled once, bound as tuples, read as named tuples.

SQLAlchemy makes a cache key, an execution context, a dictionary of parameters and a proxy of the result for
each execution. That is more work than SQLite has with a row. ``KernelConnection`` does it once a statement,
which is a constant of a module mostly, and hands tuples to the driver. A statement that is built for a call
is found by SQLAlchemy's own cache key.

Whatever is not a plain statement goes SQLAlchemy's way: DDL, text of the driver, results in parts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary, ref

import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase

Values: TypeAlias = tuple[Any, ...]
_Convert: TypeAlias = Callable[[Any], Any]
_Bind: TypeAlias = Callable[[dict[str, Any]], Values]

_NUMERIC: Final = 1700  # PostgreSQL's type of a sum of big integers, a Decimal in Python
PART: Final = 512  # values of a list; its length is rounded up, so that the driver prepares few texts


class NamedRow(tuple[Any, ...]):
    """Row of a result: a tuple of its values, which are attributes by the names of their columns."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    def _asdict(self) -> dict[str, Any]:
        """Return the values by the names of their columns, as revisions of releases ask for them."""
        return dict(zip(self._fields, self, strict=True))

    @property
    def _mapping(self) -> dict[str, Any]:
        return self._asdict()


class ResultRows:
    """Result of a statement, read as a whole: the methods of SQLAlchemy's result that the hub uses."""

    __slots__ = ("_rows", "rowcount")
    returns_rows = True  # none, of a statement that has none

    def __init__(self, rows: Sequence[Any], rowcount: int = -1) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        """Return all rows."""
        return list(self._rows)

    def first(self) -> Any:
        """Return the first row, or None."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """Return the row. Raises NoResultFound, MultipleResultsFound."""
        if not self._rows:
            raise sa.exc.NoResultFound("No row was found when one was required")
        return self.one_or_none()

    def one_or_none(self) -> Any:
        """Return the row, or None. Raises MultipleResultsFound."""
        if len(self._rows) > 1:
            raise sa.exc.MultipleResultsFound("Multiple rows were found when one was required")
        return self._rows[0] if self._rows else None

    def scalar(self) -> Any:
        """Return the first value of the first row, or None."""
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        """Return the first value of the row. Raises NoResultFound, MultipleResultsFound."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """Return the first value of the row, or None. Raises MultipleResultsFound."""
        return None if self.one_or_none() is None else self._rows[0][0]

    def scalars(self) -> "ResultRows":
        """Return the first value of each row."""
        return ResultRows([row[0] for row in self._rows])

    def mappings(self) -> "ResultRows":
        """Return each row as a dictionary by the names of its columns."""
        return ResultRows([row._mapping for row in self._rows])


class _Shape:
    """Text of a compiled statement, with the conversions of its parameters and columns.

    Attributes:
        lists: names of the parameters that are lists.
        is_single: the statement is not for many rows.
        is_plain: no value is a part of the text, and no list has tuples.
    """

    def __init__(self, compiled: SQLCompiler, *, is_single: bool) -> None:
        self.lists = sorted(compiled.bind_names[bind] for bind in compiled.post_compile_params)
        self.is_single = is_single or bool(self.lists)
        has_tuples = any(bind.type._is_tuple_type for bind in compiled.post_compile_params)
        self.is_plain = not (compiled.literal_execute_params or has_tuples)
        self._compiled = compiled
        self._texts: dict[tuple[int, ...], tuple[str, _Bind]] = {}
        self._read: Callable[[Sequence[Any]], list[NamedRow]] | None = None

    def text(self, lengths: tuple[int, ...]) -> tuple[str, _Bind]:
        """Return the text for lists of these lengths, and the function that binds its parameters."""
        found = self._texts.get(lengths)
        if found is None:
            found = self._texts[lengths] = self._spelled(lengths)
        return found

    def _spelled(self, lengths: tuple[int, ...]) -> tuple[str, _Bind]:
        compiled = self._compiled
        converts: dict[str, Any] = dict(compiled._bind_processors)
        text = compiled.string
        names: Sequence[str] = compiled.positiontup or ()
        members: Mapping[str, Sequence[str]] = {}
        if self.lists:
            given: dict[str, Any] = dict.fromkeys(compiled.bind_names.values())
            given |= {name: range(length) for name, length in zip(self.lists, lengths, strict=True)}
            state = compiled._process_parameters_for_postcompile(given)
            text, names, members = state.statement, state.positiontup or (), state.parameter_expansion
            converts |= state.processors
        bind = _binder(names, converts, members)
        return text, _without_nul(bind) if compiled.dialect.name == "postgresql" else bind

    def rows(self, description: Sequence[Sequence[Any]], found: Sequence[Any]) -> list[NamedRow]:
        """Return the driver's rows as named tuples of converted values."""
        if self._read is None:
            self._read = self._reader(description)
        return self._read(found)

    def _reader(self, description: Sequence[Sequence[Any]]) -> Callable[[Sequence[Any]], list[NamedRow]]:
        compiled = self._compiled
        columns = compiled._result_columns
        names = [str(column.keyname) for column in columns] or [part[0] for part in description]
        fields = {name: property(itemgetter(number)) for number, name in reversed([*enumerate(names)])}
        kind: type[NamedRow] = type(
            "NamedRow", (NamedRow,), {"__slots__": (), "_fields": tuple(names), **fields}
        )
        readers = [
            _whole
            if part[1] == _NUMERIC and isinstance(column.type, sa.Integer)
            else column.type._cached_result_processor(compiled.dialect, part[1])
            for column, part in zip(columns, description, strict=False)
        ]
        converts = [(number, convert) for number, convert in enumerate(readers) if convert is not None]
        if not converts:
            return lambda found: list(map(kind, found))

        def read(found: Sequence[Any]) -> list[NamedRow]:
            rows = []
            for row in found:
                values = list(row)
                for number, convert in converts:
                    values[number] = convert(values[number])
                rows.append(kind(values))
            return rows

        return read


def _binder(
    names: Sequence[str], converts: Mapping[str, _Convert], lists: Mapping[str, Sequence[str]]
) -> _Bind:
    """Return the function that picks the values of these parameters from a dictionary, which it changes.

    Args:
        converts: conversions by name of the parameter.
        lists: names of the members of each list.
    """
    converted = [(number, converts[name]) for number, name in enumerate(names) if name in converts]
    pick: _Bind = (
        itemgetter(*names) if len(names) > 1 else lambda given: tuple([given[name] for name in names])
    )
    if not converted and not lists:
        return pick

    def bind(given: dict[str, Any]) -> Values:
        for name, members in lists.items():
            given.update(zip(members, given[name], strict=True))
        values = list(pick(given))
        for number, convert in converted:
            values[number] = convert(values[number])
        return tuple(values)

    return bind


def _without_nul(bind: _Bind) -> _Bind:
    """Return *bind* with U+FFFD for U+0000, which a device may send, and PostgreSQL stores in no text."""

    def cleaned(given: dict[str, Any]) -> Values:
        values = bind(given)
        if not any(isinstance(value, str) and "\0" in value for value in values):
            return values
        return tuple(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in values)

    return cleaned


# Shape of a statement and the values that it has itself, by dialect and names of the values to write.
# SQLAlchemy's cache keeps the shape with the compiled statement, which refers to the statement.
_PLANS: Final[
    WeakKeyDictionary[sa.Executable, dict[tuple[str, ...], tuple[ref[_Shape], Mapping[str, Any]]]]
] = WeakKeyDictionary()


class KernelConnection(sa.Connection):
    """Connection whose ``execute`` costs little more than the driver's.

    The execution option ``begin`` is the text that begins a transaction.
    """

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Execute *statement*; see ``sa.Connection.execute``. The result is read as a whole."""
        many = parameters if isinstance(parameters, (list, tuple)) and parameters else None
        first = (many[0] if many else parameters) or {}
        plan = None if execution_options else self._plan(statement, first, is_many=many is not None)
        if plan is None:
            return super().execute(statement, parameters, execution_options=execution_options)
        shape, usual = plan
        text = ""
        values: Values | list[Values] | None = None
        self._check_usable()
        cursor = self._cursor(statement)
        try:
            given = {**usual, **first} if usual or shape.lists else first
            for name in shape.lists:
                given[name] = padded(given[name])
            text, bind = shape.text(tuple([len(given[name]) for name in shape.lists]))
            values = bind(given) if many is None else [bind({**usual, **row}) for row in many]
            if self._has_events or self.engine._has_events:
                for listener in self.dispatch.before_cursor_execute:
                    listener(self, cursor, text, values, None, many is not None)
            if many is None:
                cursor.execute(text, values)
            else:
                cursor.executemany(text, values)
            rows: Sequence[Any] = ()
            if (description := cursor.description) is not None:
                rows = shape.rows(description, cursor.fetchall())
            result = ResultRows(rows, cursor.rowcount)
            cursor.close()
        except BaseException as error:
            self._handle_dbapi_exception(error, text, values, cursor, None)
        return result

    def _cursor(self, statement: Any) -> Any:
        return self.connection.cursor()

    def _begin_impl(self, transaction: sa.RootTransaction) -> None:
        super()._begin_impl(transaction)
        if text := self._execution_options.get("begin"):
            try:
                self.connection.cursor().execute(text)
            except BaseException as error:
                self._handle_dbapi_exception(error, text, None, None, None)

    def _check_usable(self) -> None:
        """Begin a transaction if there is none. Raises PendingRollbackError after a lost connection."""
        transaction, nested = self._transaction, self._nested_transaction
        if (transaction and not transaction.is_active) or (nested and not nested.is_active):
            self._invalid_transaction()
        if self._trans_context_manager:
            self._trans_context_manager._trans_ctx_check(self)
        if transaction is None:
            self._autobegin()

    def _plan(
        self, statement: Any, first: Mapping[str, Any], *, is_many: bool
    ) -> tuple[_Shape, Mapping[str, Any]] | None:
        """Return the shape of a statement and its own values, or None if it is no plain one."""
        names = (self.dialect.name, *(first if getattr(statement, "is_dml", False) else ()))
        try:
            found, usual = _PLANS[statement][names]
            shape = found()
        except (KeyError, TypeError):
            shape = None
        if shape is None:
            if not _is_plain(statement):
                return None
            shape, usual = self._compiled(statement, names[1:])
            _PLANS.setdefault(statement, {})[names] = ref(shape), usual
        return None if not shape.is_plain or (is_many and shape.is_single) else (shape, usual)

    def _compiled(self, statement: Any, names: Sequence[str]) -> tuple[_Shape, Mapping[str, Any]]:
        """Compile a statement, or find it compiled in SQLAlchemy's cache."""
        returns = bool(getattr(statement, "_returning", ()))
        compiled, extracted, collected, _ = statement._compile_w_cache(
            self.dialect,
            compiled_cache=self.engine._compiled_cache,
            column_keys=sorted(names),
            # otherwise an INSERT returns its key, too
            for_executemany=isinstance(statement, sa.Insert) and not returns,
        )
        shape = vars(compiled).get("kernel_shape") or _Shape(compiled, is_single=returns)
        vars(compiled)["kernel_shape"] = shape
        usual = compiled.construct_params(
            extracted_parameters=extracted, escape_names=False, _check=False, _collected_params=collected
        )
        required = {name for bind, name in compiled.bind_names.items() if bind.required}
        return shape, {name: value for name, value in usual.items() if name not in required}


def _is_plain(statement: Any) -> bool:
    has_options = bool(getattr(statement, "_execution_options", ()))
    return isinstance(statement, SelectBase | UpdateBase | sa.TextClause) and not has_options


def _whole(value: Any) -> int | None:
    """Return a sum of integers as an integer."""
    return None if value is None else int(value)


def padded(values: Iterable[Any]) -> list[Any]:
    """Return the values with the last one repeated: up to a power of two, or a multiple of PART for many."""
    members = list(values)
    count = len(members)
    missing = -count % PART if count > PART else (1 << (count - 1).bit_length()) - count if count else 0
    return members + members[-1:] * missing
