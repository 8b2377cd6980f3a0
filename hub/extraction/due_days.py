"""Days of tasks in lists, from the words of their titles and fields. Pure functions."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Final

import msgspec

from hub.base.clock import epoch_ms
from hub.extraction.dating import CONTACT, PassageDates
from hub.extraction.items import Item, RulesForm
from hub.extraction.when.days import FoundDay, find_days, resolve_ahead
from hub.extraction.when.resolve import date_ms, resolve, time_in
from hub.extraction.wording.languages import languages_in, script_of
from protocol.tables import TableName

_ADDRESS: Final = re.compile(r"\w{2,10}://\S+")
_DUE: Final = "dueDate"
_BEFORE: Final = "(-\u2013\u2014,;:|\uff08\uff0c\uff1a"  # a day at the end of a row
_BEHIND: Final = ("-", "\u2013", "\u2014", ":", "\uff1a")  # a day at its start
_EDGES: Final = " .,;:!)\uff09*_"


def with_due_days(form: RulesForm, dates: PassageDates, timezone: str) -> Iterator[Item]:
    """Yield items of lists; a task without a day gets the first one that its words denote, else the form's.

    Words for a day that is unknown, or not of its weekday, stay for a person.
    """
    for item in form.items:
        is_open = item.table == TableName.TASKS and item.data.get("status") != "done"
        if is_open and not item.is_exact and _DUE not in item.data:
            for at, has_time, words, is_unclear in islice(_days_of(item, dates, timezone), 1):
                data = item.data | ({} if at is None else {_DUE: epoch_ms(at)})
                unresolved, known = ({_DUE: words}, {}) if is_unclear else ({}, {_DUE: words})
                item = msgspec.structs.replace(
                    item, data=data, unresolved=unresolved, words=known, has_time=has_time
                )
            if form.due and _DUE not in item.data and not item.unresolved:
                item = msgspec.structs.replace(item, data=item.data | {_DUE: date_ms(form.due, timezone)})
        yield item


def with_planned_days(items: Iterable[Item], dates: PassageDates, timezone: str) -> Iterator[Item]:
    """Yield items; open work without a day gets that of the heading above it, a box also a past one."""
    for item in items:
        status = item.data.get("status")
        plan = dates.plan_at(item.start, is_box=status is not None)
        is_open = item.table == TableName.TASKS and status != "done"
        if plan is not None and is_open and not item.unresolved and _DUE not in item.data:
            clock = time_in(str(item.data["title"]))
            moment = clock and resolve(f"{plan.day} {clock}", anchor=None, timezone=timezone)
            due = epoch_ms(moment.at) if moment else date_ms(plan.day, timezone)
            item = msgspec.structs.replace(
                item, data=item.data | {_DUE: due}, words={_DUE: plan.words}, has_time=bool(moment)
            )
        yield item


def _days_of(
    item: Item, dates: PassageDates, timezone: str
) -> Iterator[tuple[datetime | None, bool, str, bool]]:
    """Yield the days of a field or a title, of past ones the deadlines, and words for unknown days.

    Each comes with whether it has a time, its words, and whether these are unclear.
    """
    context = dates.context_at(item.start, timezone)
    if (words := item.unresolved.get(_DUE)) is not None:
        read = partial(resolve, words, *context, is_due=True)
        found = (sure := read()) or read(is_checked=False)
        yield found.at if found else None, found is not None and found.has_time, words, sure is None
        return
    title = _ADDRESS.sub(lambda address: " " * len(address[0]), str(item.data["title"]))
    for day in find_days(title, context):
        is_ahead = day.at is None or day.counts(context.today, context.zone)
        if not day.is_of and (is_ahead or _is_missed(title, day)):
            # "Di 1.12. Elternabend 19 Uhr"
            rest = f"{title[day.end :]}, {title[: day.start]}"
            clock = None if day.has_time or not day.at else time_in(rest)
            timed = f"{day.words} {clock}"
            moment = resolve_ahead(timed, context) if clock else None
            at, has_time = (moment.at, moment.has_time) if moment else (day.at, day.has_time)
            yield at, has_time, day.words, bool(day.unclear_words)


def _is_missed(title: str, day: FoundDay) -> bool:
    """Return True for the past day of open work: at an edge of its row, and not of a thing that it names.

    "Pay the milkman - Sat 28 Nov", "Tue 24.11: send it", and not "type the minutes 24 Nov".
    """
    before, after = title[: day.start].rstrip(" *_"), title[day.end :].strip()
    lexicons = languages_in(script_of(title))
    has_figures = any(map(str.isdecimal, day.words))
    is_over = any(lexicon.has(name, title) for lexicon in lexicons for name in ("settled", "past"))
    if is_over or not has_figures:
        return False
    if not before:
        return after.startswith(_BEHIND) or day.words.endswith(_BEHIND)
    noun = before[-4:] if script_of(title) == "han" else " ".join(before.split()[-2:])
    names = ("events", "minutes", "invoices")
    is_named = any(lexicon.has(name, noun) for lexicon in lexicons for name in names)
    is_named = is_named or CONTACT.search(f"{before} {day.words}") is not None
    return not after.strip(_EDGES) and (before[-1] in _BEFORE or not is_named)
