"""Rows of a plan of days: times and words below a heading of a day, or behind their own day.

``- Zahnarzt 8:15`` below ``## Donnerstag`` is an event, and ``3.12. Zahnarzt 8:15 / 14h Stadtwerke`` has two.
The time of a row with work alone is that of the work. Lists of times that are no appointments, such as
timetables, logs and diaries, are recognized by their words, their minutes and their past. Pure functions.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import groupby
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import epoch_ms
from hub.document import Document
from hub.extraction.blocks import COVER, STRUCK, STRUCK_WORDS, is_code
from hub.extraction.chunk import Passage
from hub.extraction.dating import PassageDates, weekday_of
from hub.extraction.items import Evidence, ExtractionOptions, Item, RulesForm, blanked, lines_of, make_item
from hub.extraction.prose_layout import ENDS, lexicon_in
from hub.extraction.text_kinds import is_invoice, is_reference
from hub.extraction.titles import EDGES, title_of
from hub.extraction.when.days import find_days
from hub.extraction.when.resolve import date_ms, is_sure_clock, local_day, open_clock_in, resolve, time_in
from hub.extraction.wording.languages import Lexicon, languages_in, script_of
from hub.text.files import CHAT, MAIL, MBOX, OFFICE
from hub.text.places import Place, merged, place_at
from protocol.frame import Field
from protocol.tables import TableName

_MAX_CHARS: Final = 160  # of a row
_FEW: Final = 2  # rows that tell a list
_DAY: Final = timedelta(days=1)
_AHEAD: Final = 183  # days in which the day of a row without a year is
_BULLET: Final = re.compile(r"[ \t]*(?:(?:[-*+\u2022\u2013]|\d{1,2}\))[ \t]+)?[*_]{0,2}")
_BOX: Final = re.compile(r"[ \t]*(?:[-*+][ \t]*)?(?:\[.?\]|[\u2610-\u2612])")
_SIGNS: Final = re.compile(
    "\\d|halb|half|midi|noon|mittag|mediod|\u043f\u043e\u043b|[\u4e00-\u5341\u5348]", re.IGNORECASE
)
_ROW_DAY: Final = re.compile(  # "3.12. ", "Thu 3 ", "Do 3.12: "
    r"(?:(?P<name>[^\W\d_]{2,12})\.?,? )?"
    r"(?P<day>\d{1,2})(?:(?P<point>[./])(?P<month>\d{1,2})\.?|\.|st|nd|rd|th)?"
    r"(?::|,)? (?=\S)"
)
_JOINT: Final = re.compile(r" / |[;,] |[\uff0c\uff1b\u3001]| [-\u2013\u2014] (?!\d)|[.!] (?!\d{1,2}[ .)]*$)")
_POINT: Final = re.compile(
    r"(?<![\d.,:/\u20ac$\u00a3])(?P<h>1?\d|2[0-3])\.(?P<m>[03]0|15|45)(?![\d.,:/]| ?[\u20ac$\u00a3%])"
)
_TO: Final = re.compile(
    r" ?(?:[-\u2013\u2014]|\b(?:to|till|until|bis|\u00e0|al?|\u0434\u043e)\b|[\u5230\u81f3]) ?"
    r"(?:[01]?\d|2[0-4])(?:[:.h][0-5]\d|h\b)?(?: ?(?:uhr|[ap]\.?m)\b\.?)?(?![\d.:])",
    re.IGNORECASE,
)
_LASTS: Final = re.compile(
    r"(?:\u00b0|(?<=[:.]\d\d) ?(?:min|std|hours?|hrs?|h\b|km|kg|\u043c\u0438\u043d|\u5206))", re.IGNORECASE
)
_SCORE: Final = re.compile(r"(?<![\d:])\d{1,2}:\d(?![\d:])")
_ROW_START: Final = re.compile(r"(?:[^\W\d_]{1,12}\.?,? (?:den |le |el )?)?\d|[\u4e00-\u9fff]{2,4}\d")
_MINUTES: Final = re.compile(r"(\d{1,2})[:h](\d\d)")
_TURN: Final = re.compile(r"[ \t]*+(?:[-*][ \t]*+)?\d{1,2}:\d\d[ \t]+[^\W\d_]+: ")
_CELL_ENDS: Final = re.compile(r"(?:(?<![ \t])[ \t]++)?\|[ \t]*+")
_INTERVAL: Final = re.compile(r"\d[^\d:.]*[-\u2013\u2014] ?\d")
_OPEN_HOURS: Final = 7  # of the morning or the evening
_CELLS: Final = re.compile(r"[ \t]*\|(?P<cells>[^\r\n]+)\|[ \t]*")


class _Row(NamedTuple):
    """Row with its day, and the words for it; *text* has blanks for these."""

    text: str
    start: int
    day: date
    words: str
    lexicon: Lexicon
    of_heading: bool


class _TimedClause(NamedTuple):
    """Clause of a row, with the place of its time.

    Attributes:
        clock: words for the time, as ``resolve`` reads them; empty, if the hour may be two.
        interval: words for the time and its end.
    """

    start: int
    end: int
    clock: str
    clock_start: int
    clock_end: int
    interval: str

    @property
    def has_time(self) -> bool:
        """True with a time, also with one that may be two."""
        return self.clock_start >= 0


def with_day_rows(
    items: Sequence[Item],
    document: Document,
    form: RulesForm,
    dates: PassageDates,
    options: ExtractionOptions,
) -> list[Item]:
    """Return items with the events of rows that have a day and a time, and with the times of work in them."""
    known, passages = [*items], form.prose
    if document.media_type in (CHAT, MAIL, MBOX) or not passages or is_code(document):
        return known
    text = form.view or document.text
    struck = (STRUCK_WORDS if document.media_type in OFFICE else STRUCK).finditer(text)
    unread = dates.languages.unread(len(text))
    text = blanked(text, [*dates.stamps, *unread, *(match.span() for match in struck)])
    written = document.modified_at and local_day(document.modified_at, ZoneInfo(options.timezone))
    found = _rows(text, written, passages, dates, options)
    rows = [row for row in found if written is None or row.day >= written]
    if not rows:
        return known
    titles = {title for passage in passages for title in passage.headings}
    first = next((line for line in text[:_MAX_CHARS].splitlines() if line.strip()), "")
    is_known = is_reference(document.unit_key, document.text, passages, has_day=dates.has_day)
    if is_known or is_invoice(document.text) or any(map(_is_of_timetable, (first, *titles))):
        return known
    if not any(time_in(row.text) for row in rows):  # else "12.30" may be a price
        rows = [row for row in rows if not _POINT.search(row.text)]
    order = sorted(range(len(items)), key=lambda nth: items[nth].start)
    starts = [items[nth].start for nth in order]
    for _, some in groupby(rows, key=lambda row: row.day if row.of_heading else None):
        section = list(some)
        for row in section if _is_of_plan(section) else ():
            begin = bisect_left(starts, row.start - _MAX_CHARS)
            end = bisect_left(starts, row.start + len(row.text))
            _read_row(known, order[begin:end], row, document, options)
    return known


def _is_of_timetable(words: str) -> bool:
    """Return True for the title or a row of a timetable, of opening hours or of a programme."""
    return any(lexicon.has("timetables", words) for lexicon in languages_in(script_of(words)))


def _rows(
    text: str,
    written: date | None,
    passages: Sequence[Passage],
    dates: PassageDates,
    options: ExtractionOptions,
) -> Iterator[_Row]:
    """Yield the rows with a day and a sign of a time, without those with a box."""
    read = merged((passage.start, passage.end) for passage in passages)
    headings = {start for start, _ in dates.plans}
    whole = lexicon_in(text[:20_000], None)
    for line in lines_of(text):
        row = _CELL_ENDS.sub(_cell_end, line.text) if _CELLS.fullmatch(line.text) else line.text
        bullet = _BULLET.match(row)
        content = row[bullet.end() :] if bullet else row
        start = line.start + len(row) - len(content)
        is_row = (
            len(row) <= _MAX_CHARS and "\t" not in content and _SIGNS.search(content) and not _BOX.match(row)
        )
        is_read = line.start not in headings and (row != line.text or place_at(read, start) is not None)
        plan = dates.plan_at(line.start) if is_row and is_read else None
        if not (is_row and is_read and (plan or _ROW_START.match(content))):
            continue
        lexicon = lexicon_in(content, whole, 1)
        if lexicon is None:
            continue
        context = dates.context_at(line.start, options.timezone)
        near = date.fromisoformat(plan.day) - _DAY if plan else context.anchor
        days = find_days(content, context._replace(anchor=near), lexicon)
        sure = (day for day in days if not day.unclear_words)
        own = next((day for day in sure if plan or not content[: day.start].strip()), None)
        if own is not None and own.at is not None:
            bare = own.words.partition(clock)[0] if (clock := _clock_behind(own.words)) else own.words
            blanks = content[: own.start] + " " * len(bare) + content[own.start + len(bare) :]
            day = local_day(own.at, context.zone)
            is_plan = plan is not None and plan.day == day.isoformat()
            yield _Row(
                blanks, start, day, plan.words if plan and is_plan else bare.strip(), lexicon, bool(plan)
            )
        elif plan is not None:
            yield _Row(content, start, date.fromisoformat(plan.day), plan.words, lexicon, True)
        elif (match := _ROW_DAY.match(content)) and (
            coming := _day_of_row(match, context.today or written, lexicon)
        ):
            blanks = " " * match.end() + content[match.end() :]
            yield _Row(blanks, start, coming, match[0].strip(" :,"), lexicon, False)


def _cell_end(match: re.Match[str]) -> str:
    return "; ".ljust(len(match[0])) if match.start() else " " * len(match[0])


def _clock_behind(words: str) -> str | None:
    """Return the time behind the day in words for both."""
    parts = words.split()
    return next(filter(None, (time_in(" ".join(parts[nth:])) for nth in range(1, len(parts)))), None)


def _day_of_row(match: re.Match[str], today: date | None, lexicon: Lexicon) -> date | None:
    """Return the next day that the first words of a row name: by its month, by its weekday, or by both."""
    weekday = weekday_of(match["name"], is_german=lexicon.code == "de") if match["name"] else None
    is_day = match["name"] is not None or match["point"] == "."  # else "3/12" has two readings
    if today is None or (match["name"] and weekday is None) or not is_day:
        return None
    month = match["month"] or 0
    return next(
        (
            day
            for day in (today + nth * _DAY for nth in range(_AHEAD))
            if day.day == int(match["day"])
            and int(month) in (0, day.month)
            and weekday in (None, day.weekday())
        ),
        None,
    )


def _is_of_plan(rows: Sequence[_Row]) -> bool:
    """Return False for the rows of a log, a diary, a timetable or a transcript."""
    odd = sum(any(int(minutes) % 5 for _, minutes in _MINUTES.findall(row.text)) for row in rows)
    turns = sum(_TURN.match(row.text) is not None for row in rows)
    past = sum(
        any(row.lexicon.has(name, row.text) for name in ("past", "settled"))
        and not row.lexicon.has("called_off", row.text)
        for row in rows
    )
    has_score = any(_SCORE.search(row.text) for row in rows)
    return not has_score and max(odd, turns) < _FEW and (past < _FEW or 2 * past <= len(rows))


def _clauses(text: str, lexicon: Lexicon) -> Iterator[_TimedClause]:
    """Yield the clauses of a row with their times."""
    at = 0
    for start, end in [*(match.span() for match in _JOINT.finditer(text)), (len(text), len(text))]:
        part = text[at:start]
        clock, shown = time_in(part), ""
        if clock is None and (pointed := _POINT.search(part)):
            is_open = int(pointed["h"]) <= _OPEN_HOURS
            clock, shown = pointed[0], "" if is_open else f"{pointed['h']}:{pointed['m']}"
        elif clock is None:
            clock = time_in(part, is_sure=False)
        else:
            shown = "" if lexicon.has("evenings", text) and open_clock_in(clock) else clock
        begin = part.find(clock) if clock else -1
        is_none = (
            begin < 0
            or part.startswith("0:", begin)
            or _LASTS.match(part, begin + len(clock or ""))
            or "\u00b0" in part
        )
        to = _TO.match(part, begin + len(clock or ""))
        stop = to.end() if to else begin + len(clock or "")
        interval = part[begin:stop].strip() if to or _INTERVAL.search(shown) else ""
        yield _TimedClause(
            at, start, *(("", -1, -1, "") if is_none else (shown, at + begin, at + stop, interval))
        )
        at = end


def _read_row(
    known: list[Item], near: Sequence[int], row: _Row, document: Document, options: ExtractionOptions
) -> None:
    """Add the events of a row, and the times of its work."""
    lexicon, text = row.lexicon, row.text
    is_sentence = not row.of_heading and (text.rstrip().endswith((*ENDS, ":")) or lexicon.has("unreal", text))
    if is_sentence or lexicon.has("called_off", text) or _is_of_timetable(text):
        return
    clauses = list(_clauses(text, lexicon))
    taken = [(nth, *_place_of(known[nth], row)) for nth in near]
    used = set[int]()
    inside = range(row.start, row.start + len(text))
    read_times = {known[nth].data.get("date") for nth in near if known[nth].start in inside}
    for nth, clause in enumerate(clauses):
        if not clause.has_time or nth in used:
            continue
        clock = clause.clock
        if clock[1:2] == ":" and is_sure_clock(clock, lexicon):
            clock = f"0{clock}"  # of the 24-hour clock in this language, and not in all
        moment = clock and resolve(f"{row.day} {clock}", anchor=None, timezone=options.timezone)
        at = epoch_ms(moment.at) if moment else date_ms(row.day.isoformat(), options.timezone)
        first = last = nth
        if not any(map(str.isalpha, _title(row, clauses[nth : nth + 1]))):
            is_before = nth + 1 == len(clauses) or clauses[nth + 1].has_time
            first, last = (nth - 1, nth) if is_before else (nth, nth + 1)
        if first < 0 or first in used or at in read_times:
            continue
        start, end = row.start + clauses[first].start, row.start + clauses[last].end
        within = [n for n, begin, stop in taken if begin < end and start < stop]
        used.update(range(first, last + 1))
        if within:
            _set_time(known, within, at, row, bool(moment))
            continue
        while last + 1 < len(clauses) and not clauses[last + 1].has_time:
            begin, stop = row.start + clauses[last + 1].start, row.start + clauses[last + 1].end
            words = text[clauses[last + 1].start : clauses[last + 1].end]
            if any(a < stop and begin < b for _, a, b in taken) or lexicon.match("listed", words.strip()):
                break
            last += 1
            used.add(last)
        title = _title(row, clauses[first : last + 1])
        words = text[clauses[first].start : clauses[nth].end]
        names = ("past", "settled", "absent")
        is_over = any(lexicon.has(name, shown) for name in names for shown in (words, title))
        if is_over or not any(map(str.isalpha, title)):
            continue
        is_work = lexicon.match("listed", title) is not None and not lexicon.has("events", title)
        table, field = (TableName.TASKS, "dueDate") if is_work else (TableName.TIMELINES, "date")
        title += f" ({clause.interval})" if clause.interval and not is_work else ""
        end = row.start + clauses[last].end
        evidence = Evidence(mark="heading" if row.of_heading else "words", rule="day.row")
        fields: dict[str, Field] = {"title": title, field: at}
        item = make_item(table, fields, document.text, start, end, options, evidence)
        if item is not None:
            about = {field: row.words}
            known.append(msgspec.structs.replace(item, words=about, has_time=bool(moment), is_of_prose=True))


def _place_of(item: Item, row: _Row) -> Place:
    """Return the place of an item's title in a row, else that of its quote."""
    at = row.text.find(str(item.data.get("title")))
    inside = row.start <= item.start < row.start + len(row.text)
    return (
        (row.start + at, row.start + at + len(str(item.data["title"])))
        if inside and at >= 0
        else (item.start, item.end)
    )


def _set_time(known: list[Item], within: Sequence[int], at: int | None, row: _Row, has_time: bool) -> None:
    """Give work without a day of its own the day and the time of its row."""
    for nth in within:
        item = known[nth]
        if item.table == TableName.TASKS and "dueDate" not in item.data and not item.unresolved:
            data = item.data | {"dueDate": at}
            known[nth] = msgspec.structs.replace(
                item, data=data, words={"dueDate": row.words}, has_time=has_time
            )


def _title(row: _Row, clauses: Sequence[_TimedClause]) -> str:
    """Return the words of clauses as a title, without a time that is known."""
    start, end = clauses[0].start, clauses[-1].end
    words, at = "", start
    for clause in clauses:
        if clause.clock:
            words, at = f"{words}{row.text[at : clause.clock_start]} ", clause.clock_end
    parts = title_of(f"{words}{row.text[at:end]}".replace(COVER, "").replace(" ; ", " ")).split(" ")
    dangling = row.lexicon.dangling_words | row.lexicon.time.words_before_days
    while len(parts) > 1 and parts[-1].lower().strip(EDGES) in dangling:
        parts.pop()
    while len(parts) > 1 and not any(map(str.isalnum, parts[0])):
        del parts[0]
    return title_of(" ".join(parts))
