"""Row 35: questions about the words of 100,000 items, and what their index costs, on both databases."""

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from random import Random  # noqa: TID251  # the same words each time
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Final

import pytest
import sqlalchemy as sa

from storage.kernel.migrate import upgrade
from storage.kernel.sqlite import set_clock
from storage.runs import item_lists, items
from storage.runs.item_lists import ItemFilter, Sought
from storage.runs.item_words import terms_in
from storage.runs.items import Decision, ItemRow
from storage.schema import items as item_table
from tests.bench.rounds import Ratio, spread_of
from tests.bench.rows import Goal, Row
from tests.storage.rows import make_agent
from tests.storage.test_item_words import row
from tests.support.blocking import blocking_engine
from tests.support.postgres import running_postgres, why_no_postgres

ROWS: Final = frozenset({35})
_DISK: Final = "/var/tmp"  # as row 13
_ITEMS, _PART = 100_000, 20  # documents have few items
_COMPARED: Final = 200
_TRIES: Final = 5
_PAGE: Final = 51
_SIZE_IN_FILE: Final = """SELECT sum(pgsize) FROM dbstat
WHERE name LIKE 'item_search%' OR name LIKE '%item_words%'"""
_SIZE_ON_SERVER: Final = "SELECT pg_total_relation_size('item_words')"
_SYLLABLES: Final = ("ka", "ro", "ti", "mu", "len", "sta", "bri", "con", "der", "ung", "tion", "al", "pre")


class _Words:
    """Words as frequent as those of a language: the second one half as frequent as the first, and so on."""

    def __init__(self) -> None:
        self._chance = Random(1)
        self._known = ["".join(self._chance.choices(_SYLLABLES, k=2 + n // 5_000)) for n in range(20_000)]
        self._sums = [*accumulate(1 / (n + 5) for n in range(len(self._known)))]

    def some(self, count: int) -> str:
        return " ".join(self._chance.choices(self._known, cum_weights=self._sums, k=count))

    def item(self, number: int) -> ItemRow:
        path = f"notes/{self.some(1)}/{self.some(1)}.md"
        of = {"quote": self.some(18), "author": self.some(1), "data": {"assignee": [self.some(1)]}}
        return row(f"{number:012}", self.some(6), unit_key=path, **of)

    def questions(self) -> list[str]:
        return [self.some(1 + n % 2) for n in range(18)] + [f'"{self.some(2)}"', self._known[0]]


def run(echo: Callable[[str], None]) -> list[Row]:
    """Measure row 35, in this process."""
    with TemporaryDirectory(dir=_DISK, prefix="hub-bench-") as directory:
        path = Path(directory) / "hub.db"
        upgrade(path)
        engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(engine, "connect", _open)
        rows = _rows(engine, "SQLite", echo)
    if (why := why_no_postgres()) is not None:
        echo(f"not on PostgreSQL: {why}")
        return rows
    with running_postgres(Path(_DISK), buffers="128MB") as server, server.database() as url:
        return rows + _rows(blocking_engine(url, server.portal), "PostgreSQL", echo)


def _open(driver: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    set_clock(driver)  # type: ignore[arg-type]
    with closing(driver.cursor()) as cursor:
        for pragma in ("journal_mode=wal", "synchronous=normal", "foreign_keys=on"):
            cursor.execute(f"PRAGMA {pragma}")


def _rows(engine: sa.Engine, database: str, echo: Callable[[str], None]) -> list[Row]:
    # The work of a server is not in the processor time of this process.
    clock, unit = (process_time, "CPU") if database == "SQLite" else (perf_counter, "wall")
    words = _Words()
    echo(f"{_ITEMS:,} items on {database}")
    with engine.connect() as c:
        make_agent(c)
        costs, of_words, bare = [], 0.0, 0.0
        for at in range(0, _ITEMS, _PART):
            made = [words.item(n) for n in range(at, at + _PART)]
            is_compared = at % _COMPARED == 0
            bare += _write_bare(c, made, clock) if is_compared else 0
            costs.append(_write(c, made, clock))
            of_words += costs[-1] if is_compared else 0
        if database == "PostgreSQL":
            c.exec_driver_sql("ANALYZE")
        c.commit()
        size = c.exec_driver_sql(_SIZE_IN_FILE if database == "SQLite" else _SIZE_ON_SERVER).scalar_one()
        waits = [_ask(c, question) for question in words.questions() for _ in range(_TRIES)]
    engine.dispose()
    worst = sorted(waits)[-1 - len(waits) // 100]
    echo(f"p99 {worst:.1f} ms; {int(size) / _ITEMS:.0f} bytes an item")
    micros = [1e6 * cost / _PART for cost in costs]
    return [
        Row("35", f"ms of a question about words, {database}", None, _of(waits), unit="ms"),
        Row("35", f"p99 of them, {database}", None, _of([worst]), unit="ms"),
        Row("35", f"bytes of the index an item, {database}", None, _of([int(size) / _ITEMS]), False, "B"),
        Row("35", f"{unit} us to write an item and its words, {database}", None, _of(micros), False, "us"),
        Row("35", f"... with words / without, {database}", Goal(1.1, is_most=True), _of([of_words / bare])),
    ]


def _write(c: sa.Connection, made: Sequence[ItemRow], clock: Callable[[], float]) -> float:
    began = clock()
    items.write_items(c, [Decision(after=one) for one in made])
    c.commit()
    return clock() - began


def _write_bare(c: sa.Connection, made: Sequence[ItemRow], clock: Callable[[], float]) -> float:
    """Return the time to write items without their words; they are deleted again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "add_words", lambda c, fresh: None)
        cost = _write(c, made, clock)
    c.execute(sa.delete(item_table).where(item_table.c.id.in_([one.id for one in made])))
    c.commit()
    return cost


def _ask(c: sa.Connection, question: str) -> float:
    began = perf_counter()
    item_lists.find_items(c, ItemFilter(), sought=Sought(terms=terms_in(question)), limit=_PAGE)
    return 1_000 * (perf_counter() - began)


def _of(values: Sequence[float]) -> Ratio:
    return Ratio(spread_of(values), True, 0.0)
