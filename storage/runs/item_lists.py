"""Lists of items: filters, search, pages, and counts per value.

A page is read in the order of an index. A filter that no index has is checked item by item, of
``MAX_EXAMINED`` items at most: the next page goes on behind them. A list in another order has parts of
``MAX_EXAMINED`` items, each in an order of its own: by day, those that are due first, of all items, else the
newest ones. Counts are of the newest ``MAX_COUNTED`` items.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from protocol.grants import NO_LIMITS, TokenLimits
from protocol.ids import AgentId, DeviceId, RunId, UserId
from protocol.items import RankedOrder, has_each, order_key, sought_in
from storage.kernel.columns import (
    IN_LIST,
    Int,
    Key,
    execute_among,
    foreign_key,
    in_parts,
    listed_keys,
    narrowed,
    paged,
    readable,
    readable_page,
    struct_from,
    texts,
    unindexed,
)
from storage.kernel.database import UnreadableRow
from storage.runs.item_words import SearchTerm, in_columns, in_index, words_in
from storage.runs.items import _NAMED, ITEMS, VERDICTS, ItemRow, Verdict, _timezone, within
from storage.schema import agents, devices, item_proposals, item_words, items

ANY, NONE = "any", "none"  # items with some warning, or without one


MAX_EXAMINED: Final = 2_500
MAX_COUNTED: Final = 1_000
MAX_VALUES: Final = 50
MAX_SORTED_MS: Final = 31 * 86_400_000  # of the days of items that a file sorts for a page
_FEW: Final = (items.c.target_table, items.c.device_id, items.c.agent_id, items.c.unit_key, items.c.warnings)


class ItemFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of items; None lets all through.

    Attributes:
        verdict: of items; "approved": also those that were edited; None: all but those that the hub holds.
        run_id: only items whose newest call this run planned.
        warning: the name of one, ``ANY`` or ``NONE``.
        apart: True: only items that their agents list apart; False: without them.
        path: of a file, or its name; of a folder with all below it, if it ends in a slash.
        text: in a value, the quote, the author or the path, whatever the case and the marks of its letters.
        since: only items found from then on, epoch milliseconds.
        proposed: True: only items with an open proposal; False: without one.
        without: ids of items that are left out.
    """

    user_id: UserId | None = None
    limits: TokenLimits = NO_LIMITS
    agent_id: AgentId | None = None
    verdict: Verdict | None = None
    run_id: RunId | None = None
    table: str | None = None
    device_id: DeviceId | None = None
    warning: str | None = None
    apart: bool | None = None
    path: str | None = None
    text: str | None = None
    since: int | None = None
    proposed: bool | None = None
    without: frozenset[str] = frozenset()


class ListedItem(msgspec.Struct, frozen=True):
    """Item with the names of its agent and device, and the zone in which its days begin.

    *key*: sort key of the list.
    """

    row: ItemRow
    agent: str
    device: str | None
    timezone: str | None
    key: Key


class ItemPage(msgspec.Struct, frozen=True):
    """Items, newest first. *rest*: key of the last one that was examined, if others may follow it."""

    items: list[ListedItem]
    rest: Key | None = None


_is_proposed: Final = sa.exists().where(
    item_proposals.c.item_id == items.c.id, sa.text("item_proposals.state = 'open'")
)
_KEY: Final = sa.select(items.c.created_at, items.c.id)


def list_items(
    c: sa.Connection, chosen: ItemFilter, *, limit: int | None = None, after: Key | None = None
) -> ItemPage:
    """Return a page of items, newest first.

    Args:
        after: ``(created_at, id)`` of the last item of the previous page.
    """
    indexed, parts = _indexed(chosen)
    checked = list(_checked(chosen))
    last = None
    if checked and chosen.run_id is None:
        last = _last_examined(c, indexed, parts, after)
    if last is not None:
        checked.append(sa.tuple_(items.c.created_at, items.c.id) >= sa.tuple_(*map(sa.literal, last)))
    query = paged(
        *(_NAMED, items.c.created_at, items.c.id),
        limit=limit,
        after=after,
        descending=True,
        only=[*indexed, *checked],
        parts=parts,
    )

    found = readable_page(c, partial(_listed, chosen), query, limit)
    return ItemPage(found, last if limit is None or len(found) < limit else None)


_DAY: Final = sa.case((item_words.c.number > 0, item_words.c.due), else_=items.c.date_ms)
_WITH_WORDS: Final = items.outerjoin(item_words, item_words.c.item_id == items.c.id)
_SORTED: Final = sa.select(
    *(items.c.id, items.c.unit_key, items.c.warnings, items.c.source), _DAY.label("day")
).select_from(_WITH_WORDS)
_ABOVE: Final = (2**62, "")  # sort key of the list, above those of all items
_BELOW: Final = (-(2**62), "")
# The earliest day is first where the newest item would be; one without a day is last.
_BY_DAY: Final = sa.func.coalesce(-_DAY, sa.literal(_BELOW[0], Int)), items.c.id
_KEY_OF_DAY: Final = sa.select(*_BY_DAY).select_from(_WITH_WORDS)
_FROM_THE_TOP: Final = (-1, "", 0, "")  # place in a part that was not read yet


def list_in_order(
    c: sa.Connection, chosen: ItemFilter, *, order: RankedOrder, limit: int, after: Key | None = None
) -> ItemPage:
    """Return a page of items in an order other than by time.

    Each page reads the ranks of ``MAX_EXAMINED`` items, without their content; by day, the days of all, some
    0.1 s for 100,000.

    Args:
        after: ``key`` of the last item of the previous page: the ends of its part, and its rank.
    """
    place = after or (*_ABOVE, *_BELOW, *_FROM_THE_TOP)
    if [*map(type, place)] != [int, str, int, str, int, str, int, str]:
        raise foreign_key()
    top, bottom, done = place[:2], place[2:4], place[4:]
    query, by = (_KEY_OF_DAY, _BY_DAY) if order == "day" else (_KEY, (items.c.created_at, items.c.id))
    key, (indexed, parts) = sa.tuple_(*by), _indexed(chosen)
    is_begun = done != _FROM_THE_TOP
    # A part keeps its ends from its first page on, however many items are new by then.
    indexed += [] if after is None else [key < sa.tuple_(*map(sa.literal, top))]
    indexed += [key >= sa.tuple_(*map(sa.literal, bottom))] if is_begun else []
    keys = c.execute(
        paged(query, *by, limit=MAX_EXAMINED, descending=not is_begun, only=indexed, parts=parts)
    ).all()
    if not is_begun and len(keys) == MAX_EXAMINED:
        bottom = tuple(keys[-1])
    query = _SORTED.where(*_checked(chosen))
    rows = (
        row
        for ids in in_parts([key.id for key in keys])
        for row in c.execute(query.where(items.c.id.in_(ids)))
    )
    ranked = sorted(rank for rank in readable(partial(_rank, order), rows) if rank > done)
    keys_of = {rank[-1]: (*top, *bottom, *rank) for rank in ranked}
    found: list[ListedItem] = []
    many = limit if chosen.text is None else IN_LIST  # the file lets more through than the ones with a text
    at = 0
    while at < len(ranked) and len(found) < limit:
        ids = [rank[-1] for rank in ranked[at : at + many]]
        listed = (row for part in in_parts(ids) for row in c.execute(_NAMED.where(items.c.id.in_(part))))
        found += (
            msgspec.structs.replace(item, key=keys_of[item.row.id])
            for item in readable(partial(_listed, chosen), listed)
        )
        at += many
    found = sorted(found, key=lambda item: item.key)
    if at < len(ranked) or len(found) > limit:
        return ItemPage(found[:limit], found[limit - 1].key)
    return ItemPage(found, None if bottom == _BELOW else (*bottom, *_BELOW, *_FROM_THE_TOP))


def _rank(order: RankedOrder, row: Any) -> tuple[int, str, int, str]:
    source = row.source if isinstance(row.source, dict) else {}
    return (
        *order_key(order, marks=texts(row.warnings), day=row.day, path=row.unit_key, source=source),
        row.id,
    )


def _listed(chosen: ItemFilter, row: Any) -> ListedItem:
    item = struct_from(ItemRow, row)
    if chosen.text is not None and not _has_text(chosen.text, item):
        raise UnreadableRow("the filter does not let it through")
    return ListedItem(item, row.agent_name, row.device_name, _timezone(row), (item.created_at, item.id))


def items_of_rows(c: sa.Connection, device_id: DeviceId, row_ids: Sequence[str]) -> dict[str, ListedItem]:
    """Return the items whose rows a device has under these ids, by id of the row."""
    of_device = _NAMED.where(items.c.device_id == device_id)
    found = (c.execute(of_device.where(items.c.row_id.in_(part))) for part in in_parts(row_ids))
    listed = (_listed(ItemFilter(), row) for rows in found for row in rows)
    return {str(item.row.row_id): item for item in listed}


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """Words that items are to have. *due_since*, *due_until*: of their days, in epoch milliseconds."""

    terms: Sequence[SearchTerm] = ()
    due_since: int | None = None
    due_until: int | None = None


_FIRST: Final = 2**62  # above all numbers
# For each statement, a file merges all words with a beginning: so one, whose rows are read step by step.
_STEPS: Final = {"stream_results": True}
_INDEX: Final = sa.table("item_search", sa.column("rowid", Int))  # of a file
_WORDS: Final = sa.select(item_words.c.number, item_words.c.item_id)
_MATCHING: Final = {
    "sqlite": _WORDS.join_from(_INDEX, item_words, item_words.c.number == _INDEX.c.rowid)
    .where(sa.text("item_search MATCH :question"), _INDEX.c.rowid < sa.bindparam("behind", type_=Int))
    .order_by(_INDEX.c.rowid.desc()),
    # The words are in the text of the statement: how rare they are decides how the server goes about it.
    "postgresql": _WORDS.where(
        sa.text("item_words.search @@ CAST(:question AS tsquery)").bindparams(
            sa.bindparam("question", type_=sa.Text, literal_execute=True)
        ),
        item_words.c.number < sa.bindparam("behind", type_=Int),
    ).order_by(item_words.c.number.desc()),
}
# On a server, which knows how rare words are in each column; of a column without a word, that it is empty.
_IN_COLUMN: Final = {
    name: sa.text(
        f"item_words.{name} <> '' AND to_tsvector('simple', item_words.{name}) @@ CAST(:{name} AS tsquery)"
    ).bindparams(sa.bindparam(name, type_=sa.Text, literal_execute=True))
    for name in ("title", "project", "person")
}
# The same of a row that is read anyway, a tenth of the time; to the server's estimate it makes no difference.
_IN_ROW: Final = sa.text(
    "NULLIF(item_words.search @@ CAST(:question AS tsquery), FALSE) IS NOT NULL"
).bindparams(sa.bindparam("question", type_=sa.Text, literal_execute=True))
_ANY: Final = _WORDS.where(item_words.c.number < sa.bindparam("behind", type_=Int)).order_by(
    item_words.c.number.desc()
)


def find_items(
    c: sa.Connection, chosen: ItemFilter, *, sought: Sought, limit: int, after: Key | None = None
) -> ItemPage:
    """Return a page of items with certain words: first those with all of them in their titles.

    Within both parts the newest are first. Rejected items are only found if *chosen* asks for them. The words
    alone are asked of the index; of ``MAX_EXAMINED`` items at most the rest is checked.

    Args:
        after: ``key`` of the last item of the previous page.
    """
    if after is not None and [*map(type, after)] != [int, int]:
        raise foreign_key()
    part, behind = map(int, after or (0, _FIRST))
    dialect = c.dialect.name
    is_by_column = bool(sought.terms) and dialect == "postgresql"
    of_words = [] if chosen.user_id is None else [unindexed(item_words.c.user_id) == chosen.user_id]
    since, until = sought.due_since, sought.due_until
    is_short = since is not None and until is not None and until - since <= MAX_SORTED_MS
    is_in_order = dialect == "sqlite" and not is_short  # a file had to sort all items of a long time
    due = item_words.c.due + sa.literal_column("0") if is_in_order else item_words.c.due
    of_days = [*([] if since is None else [due >= since]), *([] if until is None else [due < until])]
    if dialect == "sqlite" and is_short and sought.terms:  # without a look at each row with the words
        numbers_of_days = sa.select(item_words.c.number).where(*of_days)
        of_days = [(_INDEX.c.rowid + sa.literal_column("0")).in_(numbers_of_days)]
    of_words += of_days
    others = [
        (items.c.agent_id, chosen.agent_id),
        (items.c.run_id, chosen.run_id),
    ]
    query = _NAMED.where(*_checked(chosen), *(column == one for column, one in others if one is not None))
    states = _alike(chosen.verdict) if chosen.verdict else ("open", *_alike("approved"))
    query = query.where(unindexed(items.c.verdict).in_(states))
    query = query if chosen.since is None else query.where(items.c.created_at >= chosen.since)
    found: list[ListedItem] = []
    examined, many = 0, limit
    with ExitStack() as opened:
        result: Any = None
        while part < (2 if any(term.column is None for term in sought.terms) else 1):
            given: dict[str, Any] = {"behind": behind}
            words = _ANY
            if sought.terms:
                words = _ANY.where(_IN_ROW) if is_by_column and part == 0 else _MATCHING[dialect]
                given["question"] = in_index(sought.terms, dialect, in_title=part == 0)
            if is_by_column:
                columns = in_columns(sought.terms, in_title=part == 0)
                words, given = words.where(*map(_IN_COLUMN.__getitem__, columns)), given | columns
            words = words.where(*of_words)
            if dialect == "postgresql":
                rows_of_words = c.execute(words.limit(many), given).all()
            else:
                if result is None:
                    words = words.limit(MAX_EXAMINED + IN_LIST)
                    result = opened.enter_context(closing(c.execute(words, given, execution_options=_STEPS)))
                rows_of_words = result.fetchmany(many)
            numbers = {row.item_id: row.number for row in rows_of_words}
            rows = (
                row for ids in in_parts([*numbers]) for row in c.execute(query.where(items.c.id.in_(ids)))
            )
            matching = (
                msgspec.structs.replace(item, key=(part, numbers[item.row.id]))
                for item in readable(partial(_listed, chosen), rows)
            )
            found += sorted(matching, key=lambda item: item.key, reverse=True)
            examined += len(numbers)
            if len(numbers) == many:
                behind = min(numbers.values())
            else:
                part, behind, result = part + 1, _FIRST, None
            if len(found) >= limit:
                return ItemPage(found[:limit])
            if examined >= MAX_EXAMINED:
                return ItemPage(found, (part, behind))
            many = min(max(examined, 2 * (limit - len(found))), IN_LIST)  # most pages lack a few
    return ItemPage(found)


def _indexed(chosen: ItemFilter) -> tuple[list[sa.ColumnElement[bool]], list[sa.ColumnElement[bool]]]:
    """Return the conditions that an index has, and the parts from which the list is merged."""
    states = _alike(chosen.verdict)
    only = narrowed(
        (items.c.run_id, chosen.run_id),
        (items.c.agent_id, chosen.agent_id),
        (items.c.user_id, chosen.user_id),
    )
    only += [items.c.agent_id.is_not(None), listed_keys(items)]
    only += [] if chosen.run_id is None else [unindexed(items.c.verdict).in_(states)]
    only += [] if chosen.since is None else [items.c.created_at >= chosen.since]
    return only, [items.c.verdict == state for state in states] if chosen.run_id is None else []


def _alike(verdict: Verdict | None) -> Sequence[str]:
    """Return the states of the items that a filter by *verdict* lets through."""
    return VERDICTS if verdict is None else (verdict, "edited") if verdict == "approved" else (verdict,)


def _checked(chosen: ItemFilter) -> Iterator[sa.ColumnElement[bool]]:
    """Yield the conditions that are checked item by item."""
    yield from within(chosen.limits)
    if chosen.table is not None:
        yield unindexed(items.c.target_table) == chosen.table
    if chosen.device_id is not None:
        yield unindexed(items.c.device_id) == chosen.device_id
    if chosen.warning is not None:
        warnings = sa.cast(items.c.warnings, sa.Text)
        if chosen.warning in (ANY, NONE):
            yield warnings != "[]" if chosen.warning == ANY else warnings == "[]"
        else:
            yield warnings.contains(f'"{chosen.warning}"', autoescape=True)
    if chosen.apart is not None:
        is_apart = sa.cast(items.c.warnings, sa.Text).contains('"apart"')
        yield is_apart if chosen.apart else sa.not_(is_apart)
    if chosen.proposed is not None:
        yield _is_proposed if chosen.proposed else ~_is_proposed
    if chosen.path is not None:
        path = unindexed(items.c.unit_key)
        is_folder = chosen.path.endswith("/")
        is_at = (sa.func.substr(path, 1, len(chosen.path)) if is_folder else path) == chosen.path
        is_named = path.endswith(f"/{chosen.path}", autoescape=True)
        yield is_at if "/" in chosen.path else sa.or_(is_at, is_named)
    if chosen.text is not None:
        yield from map(_may_have, sought_in(chosen.text))
    for part in in_parts(sorted(chosen.without)):
        yield items.c.id.not_in(part)


def _may_have(text: str) -> sa.ColumnElement[bool]:
    """Return a condition of all items with folded *text*, also in their words.

    Letters whose case no database knows are left out.
    """
    of = item_words.alias()  # lists in an order join it, too
    words = of.c.title + " " + of.c.project + " " + of.c.person + " " + of.c.body
    has_words = sa.and_(sa.true(), *(words.contains(word, autoescape=True) for word in words_in(text)))
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "%" for letter in text)
    columns = (sa.cast(items.c.data, sa.Text), items.c.unit_key)
    in_words = sa.exists().where(of.c.item_id == items.c.id, has_words)
    return sa.or_(*(column.ilike(f"%{plain}%") for column in columns), in_words)


def _has_text(text: str, row: Any) -> bool:
    source = row.source if isinstance(row.source, dict) else {}
    author, quote = (source.get("provenance") or {}).get("author"), source.get("quote")
    lists = (value if isinstance(value, list) else [value] for value in (author, quote, *row.data.values()))
    found = (value for values in lists for value in values if isinstance(value, str))
    return has_each(sought_in(text), (row.unit_key, *found))


def _last_examined(
    c: sa.Connection,
    only: list[sa.ColumnElement[bool]],
    parts: list[sa.ColumnElement[bool]],
    after: Key | None,
) -> Key | None:
    """Return the key of the item at which a page ends, however few it has; None: all may be examined."""
    keys: list[Key] = []
    for part in parts or [sa.true()]:
        query = paged(
            *(_KEY, items.c.created_at, items.c.id),
            limit=1,
            after=after,
            descending=True,
            only=[*only, part],
        ).offset(MAX_EXAMINED - 1)
        keys += [(row.created_at, row.id) for row in c.execute(query)]
    return max(keys, default=None)


class ItemFacets(msgspec.Struct, kw_only=True):
    """Numbers of items by the values of a filter, each with the other filters.

    Attributes:
        total: with all filters.
        is_complete: False: older items were not counted.
        devices, agents, folders: those with the most items.
    """

    total: int
    is_complete: bool
    tables: dict[str, int]
    devices: dict[str, int]
    agents: dict[str, int]
    warnings: dict[str, int]
    folders: dict[str, int]


def count_items(c: sa.Connection, chosen: ItemFilter, *, most: int = MAX_COUNTED) -> ItemFacets:
    """Count the newest items of each table, device, agent, warning and folder, *most* in all."""
    indexed, parts = _indexed(chosen)
    columns = [*_FEW, items.c.id, sa.and_(sa.true(), *within(chosen.limits)).label("is_within")]
    columns += [] if chosen.text is None else [items.c.data, items.c.source]
    columns += [] if chosen.proposed is None else [_is_proposed.label("is_proposed")]
    query = paged(
        *(sa.select(*columns), items.c.created_at, items.c.id),
        limit=most,
        descending=True,
        only=indexed,
        parts=parts,
    )
    found: list[tuple[Any, Sequence[str], str]] = []  # with marks, and the only value that is filtered out
    counted = 0
    for row in c.execute(query):
        counted += 1
        is_proposed = chosen.proposed is None or bool(row.is_proposed) == chosen.proposed
        if not (is_proposed and row.is_within) or row.id in chosen.without:
            continue
        if chosen.text is None or (isinstance(row.data, dict) and _has_text(chosen.text, row)):
            warnings = dict.fromkeys(texts(row.warnings))
            marks = (ANY, *warnings) if warnings else (NONE,)
            failed = [*_failed(chosen, row, marks)]
            if len(failed) < 2:
                found.append((row, marks, "".join(failed)))

    def count(name: str, value: Callable[[Any], object]) -> Counter[Any]:
        return Counter(value(row) for row, _, failed in found if failed in ("", name))

    return ItemFacets(
        total=sum(not failed for _, _, failed in found),
        is_complete=counted < most,
        tables=_most(count("tables", lambda row: row.target_table)),
        devices=_most(_by_name(c, devices, count("devices", lambda row: row.device_id))),
        agents=_most(_by_name(c, agents, count("agents", lambda row: row.agent_id))),
        warnings=_most(
            Counter(mark for _, marks, failed in found if failed in ("", "warnings") for mark in marks)
        ),
        folders=_most(count("folders", lambda row: _folder_of(row.unit_key))),
    )


def _failed(chosen: ItemFilter, row: Any, marks: Sequence[str]) -> Iterator[str]:
    """Yield those values of an item, as ``ItemFacets`` names them, that the filter does not let through."""
    if chosen.table not in (None, row.target_table):
        yield "tables"
    if chosen.device_id not in (None, row.device_id):
        yield "devices"
    if chosen.warning not in (None, *marks) or chosen.apart not in (None, "apart" in marks):
        yield "warnings"
    if chosen.path is not None and not _is_at(row.unit_key, chosen.path):
        yield "folders"


def lets_through(chosen: ItemFilter, row: ItemRow) -> bool:
    """Return True if a filter that asks for no proposals lets a waiting item through."""
    marks = (ANY, *row.warnings) if row.warnings else (NONE,)
    values = ((chosen.agent_id, row.agent_id), (chosen.run_id, row.run_id))
    return (
        (chosen.verdict is None or row.verdict in _alike(chosen.verdict))
        and all(asked in (None, value) for asked, value in values)
        and (chosen.since is None or row.created_at >= chosen.since)
        and not any(_failed(chosen, row, marks))
        and (chosen.text is None or _has_text(chosen.text, row))
    )


_WAITING: Final = sa.select(
    items.c.id, items.c.user_id, items.c.device_id, items.c.date_ms, item_words.c.title
).join_from(items, item_words, item_words.c.item_id == items.c.id)


def waiting_titles(
    c: sa.Connection, chosen: ItemFilter, limit: int
) -> list[tuple[str, str, str, int | None]]:
    """Return the ids of the newest items of a filter, their owners, the words of their titles, and days."""
    only, parts = _indexed(chosen)
    only += within(chosen.limits)
    by = items.c.created_at, items.c.id
    query = paged(_WAITING, *by, limit=limit, descending=True, only=only, parts=parts)
    return [(row.id, f"{row.user_id} {row.device_id}", row.title, row.date_ms) for row in c.execute(query)]


def rows_of(c: sa.Connection, ids: Sequence[str]) -> dict[str, ItemRow]:
    """Return the items with these ids, in their order, by id."""
    query = ITEMS.where(items.c.id.in_(sa.bindparam("ids", expanding=True)))
    read = partial(struct_from, ItemRow)
    found = {row.id: row for row in readable(read, execute_among(c, query, "ids", ids))}
    return {id: found[id] for id in ids if id in found}


def _folder_of(path: object) -> str:
    folder = path.rpartition("/")[0] if isinstance(path, str) else ""
    return f"{folder}/" if folder else ""


def _by_name(c: sa.Connection, table: sa.Table, counts: Mapping[str | None, int]) -> Counter[Any]:
    """Return the numbers of these ids by their names; those without a name have none."""
    query = sa.select(table.c.id, table.c.name)
    ids = sorted(id for id in counts if id)
    names = dict(row for part in in_parts(ids) for row in c.execute(query.where(table.c.id.in_(part))))
    by_name: Counter[Any] = Counter()
    for id, count in counts.items():
        by_name[names.get(id)] += count
    return by_name


def _most(counts: Mapping[Any, int]) -> dict[str, int]:
    """Return the values with the highest numbers, in order; those that are no text or empty are left out."""
    named = Counter({value: count for value, count in counts.items() if value and isinstance(value, str)})
    return dict(sorted(named.most_common(MAX_VALUES)))


def _is_at(path: str, chosen: str) -> bool:
    """Return whether a file is that of a path, below the folder, or has the name if it is no path."""
    if chosen.endswith("/"):
        return path.startswith(chosen)
    return path == chosen or ("/" not in chosen and path.endswith(f"/{chosen}"))
