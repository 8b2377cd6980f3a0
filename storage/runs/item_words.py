"""Full-text index of items: words, search terms, and limits, on both databases.

Each item has a row of its words, written in the transaction of each change of what is shown of the item.
Letters are folded here, so that a database only splits words at blanks. The words of the owner's edits count
in place of those that were found. A file keeps its index of the words by triggers, a server in a column that
it generates; see ``storage.kernel.migrate``.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from protocol.errors import CodedError, ErrorCode
from protocol.items import folded, parts_in
from protocol.tables import TABLES
from storage.kernel.columns import FIRST_INSTANT, IN_LIST, LAST_INSTANT, execute_for_each, in_parts
from storage.schema import item_verdicts, item_words, items

MAX_WORDS: Final = 10_000  # of one column of an item; a server knows no places behind 16,383
MAX_LETTERS: Final = 64  # of one word
MAX_TERMS: Final = 50  # of one question
MIN_BEGIN: Final = 3  # letters of a word that is the beginning of others, too
APART: Final = "ꙮ"  # a letter of no language between the texts of an item, which no phrase leads across

# Scripts without blanks: each letter is a word.
_ALONE: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
# Digits are words of their own: a server takes 1e5x for a number.
_WORD: Final = re.compile(rf"\d+|(?=[^\W\d_])[{_ALONE}]|[^\W\d_{_ALONE}]+")
_PLAIN: Final = re.compile("[0-9]+|[a-z]+")

Column = Literal["title", "project", "person", "body"]
_COLUMNS: Final[Mapping[str, Column]] = {
    "projectId": "project",
    "assignee": "person",
    "author": "person",
}
_DAYS: Final = dict.fromkeys(("dueDate", "date")).keys()
# Their few values are no words that anyone looks for.
_NOT_WORDS: Final = {
    column.name for table in TABLES.values() for column in table.columns if column.choices
} | {"taskId"}


def words_in(text: str) -> list[str]:
    """Return the words of a text, without case and without marks on letters."""
    if text.isascii():
        return [word[:MAX_LETTERS] for word in _PLAIN.findall(text.lower())]
    return [word[:MAX_LETTERS] for word in _WORD.findall(folded(text))]


def words_of(item: Any, edited: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Return the row of an item's words. *edited*: values that its owner gave to fields."""
    table = TABLES.get(item.target_table)
    data = {**item.data, **edited}
    texts: dict[str, list[str]] = {"title": [], "project": [], "person": [], "body": []}
    title = next((name for name, one in data.items() if isinstance(one, str)), "")
    title = title if table is None else table.title
    for name, value in data.items():
        if value is not None and name not in _NOT_WORDS:
            column = "title" if name == title else _COLUMNS.get(name, "body")
            texts[column] += [value] if isinstance(value, str) else _texts(value)
    source = item.source or {}
    texts["person"] += _texts((source.get("provenance") or {}).get("author"))
    texts["body"] += [*_texts(source.get("quote")), *_texts(item.unit_key)]
    days = (
        day for day in map(data.get, _DAYS) if isinstance(day, int) and FIRST_INSTANT <= day <= LAST_INSTANT
    )
    found_day = None if edited.keys() & _DAYS else item.date_ms
    return {"item_id": item.id, "user_id": item.user_id, "due": next(days, found_day)} | {
        name: " ".join(islice(chain.from_iterable([*words_in(word), APART] for word in found), MAX_WORDS))
        for name, found in texts.items()
    }


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a value: itself, each of a list, or the title of a row that it names."""
    for part in value if isinstance(value, list) else [value]:
        text = part.get("title") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text


_NAMES: Final = [column.name for column in item_words.c if column.name != "number"]
_CHANGING: Final = [name for name in _NAMES if name != "item_id"]
# All rows in one statement: before each statement, FTS5 writes to the file what its index has in memory.
PUT_IN_FILE: Final = f"""INSERT INTO item_words (number, {", ".join(_NAMES)})
SELECT (SELECT max(coalesce(max(number), 0), 0) + 1 FROM item_words) + key,
{", ".join(f"value ->> '{name}'" for name in _NAMES)} FROM json_each(?) WHERE TRUE
ON CONFLICT (item_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)}
WHERE ({", ".join(_CHANGING)}) IS NOT ({", ".join(f"excluded.{name}" for name in _CHANGING)})"""
# Numbers of new rows, above those before them: two hubs that share a server wait for nothing there.
_put = postgresql.insert(item_words).values(
    number=sa.text("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")
)
PUT = _put.on_conflict_do_update(
    index_elements=["item_id"],
    set_={name: _put.excluded[name] for name in _CHANGING},
    where=sa.or_(*(item_words.c[name].is_distinct_from(_put.excluded[name]) for name in _CHANGING)),
)
OF_ITEMS = sa.select(
    *(items.c[name] for name in ("id", "user_id", "unit_key", "target_table", "data", "source", "date_ms")),
    items.c.verdict,
    items.c.call_id,
)
BY_ID = OF_ITEMS.where(items.c.id.in_(sa.bindparam("ids", expanding=True)))
BY_CALL = OF_ITEMS.where(items.c.call_id.in_(sa.bindparam("ids", expanding=True)))
GIVEN = sa.select(
    *(item_verdicts.c[name] for name in ("item_id", "verdict", "data", "seen_call")),
).where(item_verdicts.c.item_id.in_(sa.bindparam("ids", expanding=True)), item_verdicts.c.state == "done")
GIVEN = GIVEN.order_by(item_verdicts.c.created_at, item_verdicts.c.id)


def edited_values(c: sa.Connection, rows: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return the values that approvals and edits at the hub gave to items, by item, unless undone."""
    judged = {row.id: row.call_id for row in rows if row.verdict in ("approved", "edited")}
    given = (row for part in in_parts(sorted(judged)) for row in c.execute(GIVEN, {"ids": part}))
    values: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)  # of each verdict, in their order
    for row in given:
        if row.verdict == "undo":
            values[row.item_id] = values[row.item_id][:-1]
        else:
            is_newest = row.verdict in ("approve", "edit") and row.seen_call == judged[row.item_id]
            values[row.item_id].append(row.data if is_newest else {})
    merged = {id: {name: value for data in of for name, value in data.items()} for id, of in values.items()}
    return {id: data for id, data in merged.items() if data}


def add_words(c: sa.Connection, fresh: Sequence[Any]) -> None:
    """Write the words of items that were added, and have no verdict."""
    _put_words(c, [words_of(item) for item in fresh])


def follow(c: sa.Connection, ids: Sequence[str], query: sa.Select[Any] = BY_ID) -> None:
    """Write the words of items that changed. *ids*: of the items, or of what else *query* finds them by."""
    for part in in_parts(sorted(ids)):
        found = c.execute(query, {"ids": part}).all()
        edited = edited_values(c, found)
        _put_words(c, [words_of(item, edited.get(item.id, {})) for item in found])


def _put_words(c: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    if c.dialect.name == "postgresql":
        execute_for_each(c, PUT, rows)
    elif rows:
        c.exec_driver_sql(PUT_IN_FILE, (msgspec.json.encode(rows).decode(),))


EARLIER = (
    sa.select(item_words.c.item_id)
    .where(item_words.c.number < 0)
    .order_by(item_words.c.number.desc())
    .limit(IN_LIST)
)
MERGED_PAGES: Final = 256  # of the index, in one transaction
_CHANGES: Final = sa.text("SELECT total_changes()")
_MERGE: Final = sa.text("INSERT INTO item_search (item_search, rank) VALUES ('merge', :pages)")
DROP = sa.delete(item_words).where(item_words.c.item_id.in_(sa.bindparam("ids", expanding=True)))


def index_earlier(c: sa.Connection) -> int:
    """Write the words of some items from before there were words. Return their number."""
    ids = c.execute(EARLIER).scalars().all()
    if ids:
        c.execute(DROP, {"ids": ids})
        follow(c, ids)
    return len(ids)


def merge_index(c: sa.Connection, *, begins: bool) -> bool:
    """Merge a part of a file's index, so that words of deleted items leave it.

    Until then such words stay in the index, beside marks that they do not count.

    Args:
        begins: begin to merge the whole index.

    Returns:
        False once nothing is left to merge.
    """
    if c.dialect.name != "sqlite":
        return False
    before = c.scalar(_CHANGES) or 0
    c.execute(_MERGE, {"pages": -MERGED_PAGES if begins else MERGED_PAGES})
    return (c.scalar(_CHANGES) or 0) - before > 1  # the command itself is a change


class SearchTerm(NamedTuple):
    """Words that follow each other in an item. *column*: where; None: anywhere."""

    words: tuple[str, ...]
    column: Column | None = None
    is_begin: bool = False  # the last word is the beginning of others, too


def terms_in(question: str, column: Column | None = None, *, name: str = "q") -> list[SearchTerm]:
    """Return what a question asks for: plain words, and phrases in quotes.

    Args:
        name: of the question in errors.

    Raises:
        CodedError (BAD_PARAMS): it has no words, or too many.
    """
    terms = []
    for text, is_phrase in parts_in(question):
        if words := tuple(words_in(text)):
            is_begin = not is_phrase and len(words[-1]) >= MIN_BEGIN
            terms.append(SearchTerm(words, column, is_begin))
    if not terms or sum(len(term.words) for term in terms) > MAX_TERMS:
        why = (
            f"has more than {MAX_TERMS} words; ask for fewer"
            if terms
            else (f'has no words: {question[:40]!r}; write words to look for, as: offer "by friday"')
        )
        raise CodedError(ErrorCode.BAD_PARAMS, f"query.{name}: {why}")
    return terms


def in_index(terms: Sequence[SearchTerm], dialect: str, *, in_title: bool | None = None) -> str:
    """Return a question in the language of a database's index.

    Args:
        in_title: True: only items with all of it in their titles; False: without them.
    """
    spelled = _on_server_spelled if dialect == "postgresql" else _in_file_spelled
    both, other = (" & ", " & !") if dialect == "postgresql" else (" AND ", " NOT ")
    anywhere = both.join(map(spelled, terms))
    if in_title is None:
        return anywhere
    titled = both.join(spelled(term._replace(column=term.column or "title")) for term in terms)
    return titled if in_title else f"({anywhere}){other}({titled})"


def _in_file_spelled(term: SearchTerm) -> str:
    where = "" if term.column is None else f"{term.column} : "
    return f'{where}"{" ".join(term.words)}"{" *" if term.is_begin else ""}'


_WEIGHTS: Final[Mapping[Column | None, str]] = {
    None: "",
    "title": "A",
    "project": "B",
    "person": "C",
    "body": "D",
}


def in_columns(terms: Sequence[SearchTerm], *, in_title: bool) -> dict[Column, str]:
    """Return a question in the language of a server's index of columns, by the column that it is about.

    Args:
        in_title: True: what is asked for anywhere is asked for in titles; False: it is left out.
    """
    found: dict[Column, list[str]] = {}
    for term in terms:
        if (column := term.column or ("title" if in_title else None)) is not None:
            found.setdefault(column, []).append(_on_server_spelled(term._replace(column=None)))
    return {column: " & ".join(spelled) for column, spelled in found.items()}


def _on_server_spelled(term: SearchTerm) -> str:
    weight = _WEIGHTS[term.column]
    marks = [weight] * (len(term.words) - 1) + [f"{'*' if term.is_begin else ''}{weight}"]
    words = (f"'{word}'{':' if mark else ''}{mark}" for word, mark in zip(term.words, marks, strict=True))
    return f"({' <-> '.join(words)})"
