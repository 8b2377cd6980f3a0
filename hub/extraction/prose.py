"""Rules for prose: which sentences become tasks, events, decisions or facts. Pure functions.

A sentence is split into clauses, and each is compared with the patterns of its language
(``hub.extraction.wording``). The layout (``prose_layout``) decides with them: in minutes, the present tense
names work; in a list, a verb does; in a chat, "I" is the speaker. What is done, cancelled, asked or only
thought of is none.

Every sentence is read once and by itself, and a longer one in pieces, so the work grows with the text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from functools import cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import epoch_ms
from hub.extraction.chunk import Passage
from hub.extraction.dating import is_weekday
from hub.extraction.items import Evidence, EvidenceMark, ExtractionOptions, Item, make_item
from hub.extraction.outline import people_above
from hub.extraction.prose_layout import (
    DIGIT,
    ENDS,
    SPEAKER,
    TICKS,
    PassageLayout,
    Section,
    SentenceLine,
    lexicon_in,
    lines_in,
    section_of,
    speakers_in,
)
from hub.extraction.prose_view import view_of_prose
from hub.extraction.titles import EDGES, closed_span, title_of
from hub.extraction.tokens import fold
from hub.extraction.when.days import FoundDay, find_days, resolve_ahead
from hub.extraction.when.language import has_han
from hub.extraction.when.resolve import DateContext, local_day, open_clock_in, read_date, time_in
from hub.extraction.wording.languages import Lexicon, is_label, is_line_of, languages, mail_fields, way_fields
from hub.extraction.wording.names import is_person, split_names
from hub.text.quotations import others_at
from protocol.frame import Field
from protocol.tables import TABLES, TableName

_NUMBERING: Final = re.compile(
    r"^[\d.)\s]+|^[\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341]+\u3001"
)
_WORD: Final = re.compile(r"[^\W\d_]+")
_NO_TOPIC: Final = re.compile(r"\d|[.!?,;\u2026\u3002\uff01\uff1f]\s*$")
_TWO: Final = 2  # people of a chat, one of whom asks the other; clauses of a row: its day and its event
_VALUE_END: Final = re.compile("[,;(\uff0c\u2013-]")
_VALUE: Final = re.compile('[\\d"\u201c\u00abA-Z\u00c4-\u00dc\u0410-\u042f\u4e00-\u9fff]')
_REMARK: Final = re.compile(
    r"(?P<who>[^:\uff1a(\[,\d]{1,40}?)(?:,? ?[(\[][^()\[\]]{1,30}[)\]]|, [^:\uff1a]{1,20}(?::\d\d)?)?"
    r"[:\uff1a](?!(?<=\d:)\d)\s*(?P<what>\S.*)"
)
# Between a name and a value; the colon of "14:00", "3:1", "http://" or ":smile:" is part of a word.
_COLON: Final = re.compile(r"[:\uff1a](?!(?<=\d:)\d|(?<=\s:)\S|//)")
_DASHED: Final = re.compile(
    r"(?P<who>[^\W\d_][^:,;.!?()\u2013\u2014]{0,40}?) [\u2013\u2014-] (?=\S)"
)  # "Ann - tables"
_INITIALS: Final = re.compile("[A-Z\u00c4-\u00dc\u0410-\u042f]{2,3}")
_ASIDE: Final = re.compile(r"\s?[(\uff08][^()\uff08\uff09]*[)\uff09]\s?(?=[^\W_])")  # words follow it
_REMARK_BEHIND: Final = re.compile("[(\uff08][^()\uff08\uff09]*[)\uff09]")
_BRACKETS: Final = {"(": ")", "\uff08": "\uff09"}
_BREAK: Final = re.compile(r" [\u2013\u2014-] |; ")  # before a question that ends a longer sentence
_PUNCTUATION: Final = re.compile("[,;:.!?\uff0c\u3002\uff1b\uff1a\uff01\uff1f]")
_NEGATION: Final = re.compile(
    r"(?i:\b(?:no|not|don't|didn't|never|nicht|ne|n'|jamais|sin|\u043d\u0435)|[\u4e0d\u522b])\W*$"
)
_NEGATION_CHARS: Final = 10
_CLAUSE_NUMBER: Final = re.compile(r"^[ \t]*+\d{1,2}\.\d{1,2}\.?(?=[ \t])", re.MULTILINE)  # and no day
_WITH_OBJECT: Final = re.compile(r"\S+ (?:the|an?|les?|la|une?|des|el|los|las|una)\b|\S+ l'")
_AUTHOR: Final = re.compile(r'From: "?(?P<name>[^<>"@]{1,60}?)"? <')  # above a mail
_SELF: Final = re.compile(r"(?:I|ich|je|j'|yo|\u044f)\b|\u6211(?!\u4eec)", re.IGNORECASE)
_MENTION: Final = re.compile(r"@(?P<who>[\w.-]*\w)[,:]?[ \t]+(?=\S)")
# A person behind work, in brackets or behind an arrow, with a day or without: "(Ann, by Friday)", "-> Ann".
_TAIL: Final = re.compile(
    r"(?:(?<!\s)\s++)?(?:[(\[\uff08](?P<inner>[^()\[\]\uff08\uff09]{2,40})[)\]\uff09]"
    r"|(?:\u2192|->|=>)[ \t]*+(?P<arrow>[^()\[\]\u2192>]{2,40})"
    r"|(?<![\w.-])@(?P<mention>[\w.-]{1,30}\w))[.;!\s]*$"
)
_TAIL_CHARS: Final = 60
_NAME_END: Final = re.compile(r"[,;:\u2013\uff0c]| (?=[^\W\d_]*[^\W\d_A-Z])")
_MENTIONED: Final = re.compile(r"(?<![\w@.])@([^\W\d_][\w-]{1,30})")
_SPEECH: Final = re.compile(
    '["\u201c\u201e\u00ab\u300c](?=(?:\\w+\\W+){2}\\w|[\u4e00-\u9fff]{4})|[\u2014\u2013] ?[^\\W\\d_]'
)
_IN_PLACE: Final = ("reports", "listed")  # work by the layout, or by a person who does it
_SPANNING: Final = ("promises", "requests", "spanning")  # the work may be in a later clause than the request
_TO: Final = "[-\u2013\u2014\u81f3\u5230]|bis|to|until|till|\u00e0|al?|\u0434\u043e|\u043f\u043e"
_NUMBER_OF_TIME: Final = r"\d{1,2}(?:[:.h]\d{2}|h\b)?\.?"
_INTERVAL: Final = re.compile(
    rf"(?<![\d./-]){_NUMBER_OF_TIME} ?(?:{_TO}) ?(?!00|2[5-9]|[3-9]\d){_NUMBER_OF_TIME}(?![\d/-]|\.\d)"
)  # "14:00-15:30"
_ARROW: Final = re.compile(  # before the new day of an event
    r"\s(?:->|\u2192|=>)\s?(?:(?:now|new|neu|jetzt|maintenant|ahora|nuevo|\u0442\u0435\u043f\u0435\u0440\u044c)\b:?)?",
    re.IGNORECASE,
)
_PARTICULARS: Final = 6  # words of a part of a row without a sentence of its own
_AGENDAS: Final = frozenset(
    (
        *("agenda", "tagesordnung", "ordre du jour", "orden del d\u00eda", "\u8bae\u7a0b"),
        *(
            "\u043f\u043e\u0432\u0435\u0441\u0442\u043a\u0430",
            "\u043f\u043e\u0432\u0435\u0441\u0442\u043a\u0430 \u0434\u043d\u044f",
        ),
    )
)
_MAY_END: Final = re.compile("hasta|bis|\u0434\u043e", re.IGNORECASE)  # an event, or a deadline
_UNTIL: Final = re.compile("until|till|jusqu", re.IGNORECASE)  # it may end then
_CONTINUED: Final = ("more", "gapped")  # work behind other work of its sentence
_ANYWHERE: Final = ("promises", "requests", "spanning", "duties")  # of which a clause may have words before


class _Clause(NamedTuple):
    text: str
    start: int  # in the sentence
    is_more: bool  # after "and"

    @property
    def end(self) -> int:
        """Place after the clause in the sentence."""
        return self.start + len(self.text)


class _Owners(NamedTuple):
    """People behind the words of a row, and the days between them."""

    names: Sequence[str]
    days: Sequence["FoundDay"]
    end: int  # in the document


class _AssigneeQuestion(NamedTuple):
    """Question who does a work, which the next sentence may answer."""

    title: str
    start: int
    end: int
    day: FoundDay | None


def read(
    text: str,
    passages: Sequence[Passage],
    options: ExtractionOptions,
    *,
    context_at: Callable[[int], DateContext],
    quoted: str,
    is_reference: bool = False,
    is_invoice: bool = False,
    written_at: datetime | None = None,
) -> list[Item]:
    """Extract items from the prose of *passages*.

    Args:
        text: text to read, of the same length as *quoted*, from which the quotes are.
        context_at: returns how words for days at a place are read.
        is_reference: only the work of a person on a day counts.
        is_invoice: only what is due on a day counts.
        written_at: time before which all events were past when a passage without a date was written.
    """
    view, is_sparse = view_of_prose(text), (is_reference, is_invoice)
    view = _CLAUSE_NUMBER.sub(_blanks, view) if is_reference else view
    return _ProseReader(view, quoted, options, context_at, is_sparse, written_at).read(passages)


class _ProseReader:
    def __init__(
        self,
        text: str,
        quoted: str,
        options: ExtractionOptions,
        context_at: Callable[[int], DateContext],
        is_sparse: tuple[bool, bool],
        written_at: datetime | None,
    ) -> None:
        self._text = text
        self._quoted = quoted
        self._options = options
        self._context_at = context_at
        self._is_reference, self._is_invoice = is_sparse
        self._zone = ZoneInfo(options.timezone)
        self._written = None if written_at is None else local_day(written_at, self._zone)
        self._items: list[Item] = []
        self._days: dict[tuple[object, ...], list[FoundDay]] = {}
        self._meanings: set[tuple[object, ...]] = set()  # each is suggested once, and once in a quotation
        self._is_by_others = others_at(quoted, is_own=True) or (lambda place: False)
        self._lexicon: Lexicon | None = None  # of all passages
        self._people = {name.lower() for name in _MENTIONED.findall(text)}
        self.author = ""  # of a mail, who says "I"
        self.asked: _AssigneeQuestion | None = None  # by the sentence before
        self.offered: tuple[int, int] = 0, 0  # items of the sentence before, whose work a person may take
        self.offered_by = ""  # speaker of that sentence
        self.called_off = ""  # event of a mail, whose new day may follow

    def read(self, passages: Sequence[Passage]) -> list[Item]:
        if len(passages) > 1:
            self._lexicon = lexicon_in(self._text[:20_000], None)  # of a text, which tell its language
        read = [(passage, list(lines_in(self._text, passage))) for passage in passages]
        for _, lines in read:
            self._people.update(speakers_in(lines))
        for passage, lines in read:
            if lines:
                self._read_passage(lines, passage)
        return self._items

    def is_person(self, name: str) -> bool:
        """Return True for a known name, and for one of a speaker, a participant or a mention."""
        is_known = not self._people.isdisjoint((name.lower(), name.split(" ")[0].lower()))
        return is_person(name) or (is_known and not is_weekday(name))

    # --- layout ---

    def _is_after_list(self, last: SentenceLine, line: SentenceLine) -> bool:
        """Return True for a line below the rows of a list and a blank line."""
        between = self._text[last.start + len(last.text) : line.start]
        return last.is_bullet and line.is_first and not line.is_bullet and between.count("\n") > 1

    def _is_indented(self, line: SentenceLine) -> bool:
        return self._text[max(line.start - 1, 0) : line.start] in (" ", "\t")

    def _read_passage(self, lines: Sequence[SentenceLine], passage: Passage) -> None:
        rows = [line.start for line in lines if line.is_first and (line.is_bullet or self._is_indented(line))]
        people = people_above(self._text, passage.start, rows, passage.headings)
        lines = [
            line._replace(owners=people.by_place.get(line.start, ()))
            for line in lines
            if line.start not in people.labels
        ]
        if not lines:
            return
        author = next(filter(None, map(_AUTHOR.match, passage.headings)), None)
        self.author, self.called_off = author["name"] if author else "", ""
        about = PassageLayout(lines, self._lexicon)
        section = Section.PLAIN
        for title in passage.headings:
            section = section_of(about.lexicon, title) or section
        if about.is_calendar and any(
            title.strip(EDGES).lower() == "agenda" for title in passage.headings[-1:]
        ):
            section = Section.PLAIN  # a calendar, as in French and Spanish
        is_agenda = any(map(_is_agenda, passage.headings[-1:]))
        since, topic, heading = 0, None, passage.headings[-1] if passage.headings else ""
        for nth, line in enumerate(lines):
            lexicon = lexicon_in(line.text, about.lexicon, 1)
            if lexicon is None:
                continue
            line = line._replace(text=lexicon.patterns("inserted")[0].sub(_blanks, line.text))
            # What a pronoun may refer to: the sentence before, in a chat the line before.
            before = lines[nth - 1] if nth and (about.is_chat or not line.is_first) else None
            below = lines[nth + 1] if nth + 1 < len(lines) else None
            if line.is_first:
                # A short first sentence of a row names what the others are about.
                topic = line if line.is_bullet and len(line.text.split()) <= 2 else None
                if topic is not None and below is not None and not below.is_first:
                    continue
            # A short line may name the event of the next one.
            is_topic = nth and line.is_first and len(line.text) < 40 and not _NO_TOPIC.search(line.text)
            above, heading = heading, line.text.strip(EDGES) if is_topic else ""
            new = _section_at(about, lexicon, section, line, below)
            if new is not None:
                section, heading, is_agenda = new, "", _is_agenda(line.text)
                continue
            if nth and section is not Section.PLAIN and self._is_after_list(lines[nth - 1], line):
                section = Section.OTHER
            is_heading = nth == 0 and below is not None and about.is_heading(line, below)
            heading = line.text.strip(EDGES) if is_heading else heading
            if is_heading or line.start in people.topics:
                continue
            count = self.count
            is_work = about.is_work and section is Section.PLAIN and (nth or line.is_bullet)
            kind = Section.TO_DO if is_work else section
            is_sentence = (below is not None and not below.is_first) or (
                line.text.rstrip().endswith(ENDS) and not about.is_short
            )
            if is_sentence and not line.is_bullet:
                kind = Section.PLAIN if kind is Section.TO_DO else kind  # a paragraph, and no row
            if (
                kind is Section.TALK
                and is_agenda
                and not line.is_bullet
                and line.text.rstrip().endswith(ENDS)
            ):
                kind = Section.PLAIN
            sentence = _Sentence(self, about, lexicon, line, kind, topic or before, above)
            sentence.read()
            if self.count > count:
                self.offered, self.offered_by, since = (count, self.count), line.speaker, nth
            elif nth - since >= 3:  # sentences between the name of a work and the offer to do it
                self.offered = 0, 0

    # --- items ---

    def add(
        self,
        table: TableName,
        fields: dict[str, Field],
        start: int,
        end: int,
        evidence: Evidence,
        day: FoundDay | None = None,
    ) -> bool:
        """Add an item with the quote ``[start:end]``. Return False if its table is not selected.

        Args:
            day: when it is due, or happens; words for an unknown day stay for a person.
        """
        date = "dueDate" if table is TableName.TASKS else "date"
        is_ones = self._is_invoice or table is TableName.TIMELINES or fields.get("assignee")
        is_sparse = self._is_reference or self._is_invoice
        if is_sparse and not (is_ones and day and self.is_ahead(day, start)):
            return False
        if day is not None and day.at is not None:
            fields[date] = epoch_ms(day.at)
        while end > start and self._text[end - 1] in " \t\r\n,;:":
            end -= 1
        while start < end and self._text[start].isspace():
            start += 1
        item = make_item(table, fields, self._quoted, start, end, self._options, evidence)
        if item is not None:
            title = fold(str(item.data.get(TABLES[table].title)))
            meaning = table, title, item.data.get(date), self._is_by_others(start)
            if meaning not in self._meanings:
                self._meanings.add(meaning)
                worded = {} if day is None else {date: day.words}
                words, unresolved = ({}, worded) if day is None or day.unclear_words else (worded, {})
                has_time = day is not None and day.has_time
                self._items.append(
                    msgspec.structs.replace(
                        item, has_time=has_time, unresolved=unresolved, words=words, is_of_prose=True
                    )
                )
        return item is not None

    def is_offered_to(self, who: str) -> bool:
        """Return True if the sentence before names work without a person, and another one wrote it."""
        tasks = [item for item in self._items[slice(*self.offered)] if item.table == TableName.TASKS]
        is_others = not who or who != self.offered_by
        return is_others and any(not task.data.get("assignee") for task in tasks)

    def take_over(self, who: str, day: FoundDay | None) -> None:
        """Name the person who offers to do the work of the sentence before, and when."""
        for nth in range(*self.offered):
            item = self._items[nth]
            if item.table == TableName.TASKS:
                data: dict[str, Field] = dict(item.data)
                if who and not data.get("assignee"):
                    data["assignee"] = [who]
                words = item.words
                if day is not None and day.at is not None and "dueDate" not in data:
                    data["dueDate"], words = epoch_ms(day.at), {"dueDate": day.words}
                self._items[nth] = msgspec.structs.replace(item, data=data, words=words)

    @property
    def count(self) -> int:
        """Number of items until now."""
        return len(self._items)

    def days_of(self, clause: str, place: int, lexicon: Lexicon) -> list[FoundDay]:
        """Return the days in a clause that can be resolved, in order."""
        context = self._context_at(place)
        key = clause, context, type(context.anchor)  # a day near that of writing is another one
        if key not in self._days:
            if len(self._days) > 1_000:
                self._days.clear()
            self._days[key] = find_days(clause, context, lexicon)
        return self._days[key]

    def at_time(self, day: FoundDay, clock: str, place: int) -> FoundDay:
        """Return the day with a time that other words of its sentence tell."""
        moment = resolve_ahead(f"{day.words} {clock}", self._context_at(place))
        return day._replace(at=moment.at, has_time=True) if moment and moment.has_time else day

    def on_day(self, day: FoundDay) -> FoundDay:
        """Return the day without its time."""
        begin = day.at and local_day(day.at, self._zone).isoformat()
        return day._replace(at=read_date(begin or "", self._options.timezone), has_time=False)

    def is_ahead(self, day: FoundDay, place: int) -> bool:
        """Return True if the day is known, no week, and not before the text was written."""
        return not day.is_week and day._replace(is_due=False).counts(
            self._today(place) or self._written, self._zone
        )

    def counts(self, day: FoundDay, place: int) -> bool:
        """Return True if the day is known, and ahead or a deadline."""
        return day.counts(self._today(place) or self._written, self._zone)

    def is_today(self, day: FoundDay, place: int) -> bool:
        """Return True for the day on which the text was written."""
        return day.at is not None and local_day(day.at, self._zone) == self._today(place)

    def _today(self, place: int) -> date | None:
        return self._context_at(place).today


def _is_agenda(title: str) -> bool:
    """Return True for the title of a plan of a meeting or of days, below which sentences may name work."""
    return title.strip(EDGES).lower() in _AGENDAS


def _section_at(
    about: PassageLayout, lexicon: Lexicon, section: Section, line: SentenceLine, below: SentenceLine | None
) -> Section | None:
    """Return the section that begins below a heading; None for another line, and a topic of a meeting."""
    if about.is_chat:
        return None
    has_rows = below is not None and below.is_bullet
    is_whole = line.is_first and (below is None or below.is_first)
    if not is_whole or (about.is_minutes and line.is_bullet and not has_rows):
        return None
    is_own = has_rows and not line.is_bullet and line.text.rstrip().endswith((":", "\uff1a"))
    other = Section.OTHER if is_own and section is not Section.PLAIN else None  # another list
    return section_of(lexicon, f"{line.speaker} {line.text}" if line.speaker else line.text) or other


def _blanked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return the text with blanks at *spans*."""
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _blanks(match: re.Match[str]) -> str:
    return " " * len(match.group())


_RuleMatch = tuple[str, re.Match[str]]  # with the attribute of its pattern


def _named(match: re.Match[str]) -> str:
    groups = match.groupdict()
    return groups.get("who") or groups.get("by") or ""


class _Task(NamedTuple):
    who: str
    what: int  # place of the title in the sentence
    start: int  # place of the quote
    end: int
    rule: str
    to: str = ""  # to whom it was promised


def _is_weekday(word: str) -> bool:
    """Return True for a day of the week in any language, also if it is shortened: "Mo"."""
    return any(
        name.startswith(word.lower())
        for language in languages()
        for name in language.time.weekdays.replace(",", " ").split()
    )


class _Sentence:
    """Sentence with what decides about it."""

    def __init__(
        self,
        reader: _ProseReader,
        about: PassageLayout,
        lexicon: Lexicon,
        line: SentenceLine,
        section: Section,
        before: SentenceLine | None,
        heading: str,
    ) -> None:
        self._reader = reader
        self._about = about
        self._lexicon = lexicon
        self._section = section
        self._line = line
        self._before = before
        self._heading = heading
        self._is_marked = False
        self._has_project = False
        self._has_aside = False  # an order that belongs to the event of its row
        self._lead = 0  # characters of a subject that the text has from the speaker
        self._called = ""
        self._people_of_label: list[str] = []
        self._moved = ""  # event of a mail that the sentence moves
        self._speaker, self._text, self._start = self._body()
        if mention := _MENTION.match(self._text):
            self._called = mention["who"]
            self._start, self._text = self._start + mention.end(), self._text[mention.end() :]
        elif (
            self._speaker
            and about.is_minutes
            and line.is_first
            and self._text[:1].islower()
            and lexicon.match("listed", self._text) is None
            and lexicon.match("articles", self._text) is None
        ):  # "Ann: will order the paint"
            self._lead = len(self._speaker) + 1
            self._start, self._text = self._start - self._lead, f"{self._speaker} {self._text}"
        self._owners = self._owners_behind()
        words = self._text.rstrip(" \"'\u201d\u00bb)")
        self._is_question = words.endswith(("?", "\uff1f")) or lexicon.has("questions", words)
        self._text = self._without_move()
        self._days = reader.days_of(self._text, self._start, lexicon)
        # What patterns are matched with: of the same length, in Chinese with blanks for days.
        self._alike = self._text.translate(lexicon.translation)
        for day in () if lexicon.time.is_spaced else self._days:
            self._alike = self._alike[: day.start] + " " * (day.end - day.start) + self._alike[day.end :]
        self._used: set[FoundDay] = set()
        self._state = self._without_past()

    def _without_move(self) -> str:
        """Return the text of an event that was moved, with blanks for its old day or time, and for the move.

        "Mon 23 Nov 14:00 Physio - moved to Thu 26 Nov" becomes "Physio Thu 26 Nov".
        """
        lexicon, text = self._lexicon, self._without_announcement()
        moves = [match for row in lexicon.patterns("moved") for match in row.finditer(text)]
        same = [match for match in moves if match.groupdict().get("same")]
        moves = [match for match in moves if match not in same] or [*filter(None, [_ARROW.search(text)])]
        whole = self._reader.days_of(text, self._start, lexicon) if moves else []
        for move in moves[:1]:
            start, end = move.span("new") if move.groupdict().get("new") else (move.end(), len(text))
            new = self._reader.days_of(text[start:end], self._start + start, lexicon)
            old = self._reader.days_of(text[: move.start()], self._start, lexicon)
            clock = "" if new else time_in(text[start:end]) or ""
            at = start + new[0].start if new else text.find(clock, start)
            is_next = bool(new or (clock and old)) and not text[start:at].strip(EDGES)
            first = move.end() - len(move[0].lstrip(EDGES))
            is_day = any(
                day.start <= first and start < day.end and day.at != new[0].at for day in new and whole
            )
            if is_day:
                continue  # "pasado ma\u00f1ana"
            if move.re is _ARROW:  # "Dinner, 5 Dec -> 6 Dec", and no way from one place to another
                is_next = is_next and bool(old) and bool(text[old[-1].end : move.start()].strip(EDGES))
                is_next = is_next and not text[start + new[0].end if new else end :].strip(EDGES)
            if not is_next:
                continue
            blanks, time = [(move.start(), start), (end, max(end, move.end()))], ""
            for day in old:
                at = self._place_of_time(day)
                time = f" {text[at : day.end].strip()}"
                blanks.append((day.start if new else at, day.end))
            for first, last in (*blanks, *(match.span() for match in same)):
                words = time if same and (first, last) == same[0].span() else ""
                text = text[:first] + words[: last - first].ljust(last - first) + text[last:]
        return text

    def _without_announcement(self) -> str:
        """Return the text of a mail that moves an event, without its old day, else that of the sentence.

        A sentence that calls an event off has none: "we have to cancel your appointment on Tuesday".
        """
        lexicon, text, reader = self._lexicon, self._text, self._reader
        if not reader.author or self._is_question:
            return text
        days = reader.days_of(text, self._start, lexicon)
        verb = next((found for row in lexicon.patterns("moving") if (found := row.search(text))), None)
        lead = next(
            (found for row in lexicon.patterns("announced") if verb and (found := row.search(text))), None
        )
        if verb is None or any(day.is_due for day in days):
            return text
        if verb.groupdict().get("passive") is not None:
            is_own = any(day.end <= verb.start() for day in days)  # "the visit on Friday has to be moved"
        else:
            is_own = lead is not None and self._is_of_event(text, lead.end(), verb, days)
        if not is_own:
            return text
        blanks = [verb.span(), *([lead.span()] if lead else [])]
        for row in lexicon.patterns("onto"):
            for onto in reversed([*row.finditer(text)]):
                new = reader.days_of(text[onto.end() :], self._start, lexicon)[:1]
                if new and not text[onto.end() : onto.end() + new[0].start].strip(EDGES):
                    old = reader.days_of(text[: onto.start()], self._start, lexicon)
                    blanks += [onto.span(), *map(self._span_of, old)]
                    shown = _blanked(text, blanks)
                    self._moved = self._event_in(shown[: onto.start()])
                    return shown
        if not days:
            return text
        reader.called_off = self._event_in(_blanked(text, [*blanks, *map(self._span_of, days)]))
        return " " * len(text)

    def _is_of_event(self, text: str, at: int, verb: re.Match[str], days: Sequence[FoundDay]) -> bool:
        """Return True if the object of a verb behind *at* is an event: "your appointment", "das Essen"."""
        lexicon, is_last = self._lexicon, text[at : verb.start()].strip(EDGES) != ""
        bare = _blanked(text, [self._span_of(day) for day in days])
        words = " ".join((bare[at : verb.start()] if is_last else bare[verb.end() :]).split())
        article = lexicon.patterns("articles")[0].match(words)
        noun = words[article.end() :] if article else words
        noun = " ".join(noun.split()[:2]) if lexicon.time.is_spaced else noun
        is_one = not is_last or lexicon.patterns("joints")[0].search(words) is None
        return article is not None and is_one and lexicon.has("events", noun)

    def _span_of(self, day: FoundDay) -> tuple[int, int]:
        """Return the place of words for a day without a noun that leads them: "appointment on 3 May"."""
        nouns = [word for word in day.words.split()[:-1] if self._lexicon.has("events", word)]
        at = day.words.find(nouns[0]) + len(nouns[0]) if nouns else 0
        return day.start + at, day.end

    def _event_in(self, text: str) -> str:
        """Return the words for an event in a text without its day."""
        for row in self._lexicon.patterns("called_off"):
            text = row.sub(" ", text)
        title = title_of(" ".join(text.split())) or ""
        article = self._lexicon.patterns("articles")[0].match(title)
        title = title[article.end() if article else 0 :].strip(EDGES)
        return title[:1].upper() + title[1:]

    def _place_of_time(self, day: FoundDay) -> int:
        """Return the place of the time in words for a day, or of their end."""
        words = day.words if day.has_time else ""
        while " " in words:
            words = words.rpartition(" ")[0]
            found = self._reader.days_of(words, self._start, self._lexicon)[:1]
            if any(other.at and not other.has_time and other.end == len(words) for other in found):
                return day.start + len(words)
        return day.end

    def _without_past(self) -> str:
        """Return the text in which words tell whether work is done, without those about its deadlines.

        Nor has it what tells since when something is so, and remarks about a past day, which are no days of
        work: "ring Tom (missed his call on Thursday)".
        """
        lexicon, state = self._lexicon, self._text
        for row in (*lexicon.patterns("undated"), *lexicon.patterns("lapses")):
            state = row.sub(_blanks, state)
        for remark in _REMARK_BEHIND.finditer(state):
            inside = [day for day in self._days if remark.start() < day.start and day.end <= remark.end()]
            is_past = any(lexicon.has(name, remark[0][1:]) for name in ("settled", "past"))
            if is_past and inside and not any(day.is_due for day in inside):
                self._days = [day for day in self._days if day not in inside]
                state = state[: remark.start()] + _blanks(remark) + state[remark.end() :]
        return state

    def _body(self) -> tuple[str, str, int]:
        """Return the speaker, the text, and its place in the document; a label of work is none of it."""
        line, about = self._line, self._about
        at = self._labelled() if line.is_first else 0
        match = SPEAKER.match(line.text, at) if line.is_first else None
        if match is None:
            is_spoken = not line.is_first and (about.is_chat or about.is_minutes)
            return line.speaker if is_spoken else "", line.text[at:], line.start + at
        who = match["who"].strip(" *_<>@")
        if who.lower() in mail_fields():
            return "", line.text[match.end() :], line.start + match.end()
        is_event = self._lexicon.has("events", who) and not line.text[match.end()].islower()
        is_words = is_label(self._lexicon, who) or self._lexicon.match("decisions", line.text) is not None
        is_speaker = not (is_words or is_event) and (
            about.is_chat
            or ((about.is_minutes or about.is_loose or at) and self._is_named(who))
            or (is_person(who) and self._has_deadline())
        )
        if not is_speaker:
            return "", line.text[at:], line.start + at
        return who, line.text[match.end() :], line.start + match.end()

    def _has_deadline(self) -> bool:
        """Return True if the line has a deadline."""
        days = self._reader.days_of(self._line.text, self._line.start, self._lexicon)
        return any(day.is_due for day in days)

    def _labelled(self) -> int:
        """Return the place behind a label of work, such as "Action (Ann):", or 0."""
        words = self._line.text
        if _COLON.search(words[:_TAIL_CHARS]) is None and " \u2013 " not in words and " - " not in words:
            return 0
        found = (language.match("marks", words) for language in languages())
        label = next(filter(None, found), None)
        if label is None or label.end() == len(words):
            return 0
        self._is_marked, self._section = True, Section.TO_DO
        self._people_of_label = self._persons(label["who"] or "")
        return label.end()

    def _owners_behind(self) -> _Owners:
        """Cut the people behind the text off, and return them with the days beside them."""
        text = self._text
        since = max(len(text) - _TAIL_CHARS, 0)
        tail = _TAIL.search(text, since)
        names = self._persons_before(tail) if tail is not None and tail.start() > 2 else []
        if tail is None or not names:
            return _Owners(self._people_of_label or self._line.owners, (), 0)
        days = self._reader.days_of(text, self._start, self._lexicon)
        self._text = text[: tail.start()]
        behind = [day for day in days if day.start >= tail.start()]
        return _Owners(names, behind, self._start + len(text.rstrip(" .;!")))

    def _persons_before(self, tail: re.Match[str]) -> list[str]:
        """Return the people with which the words of a tail begin."""
        if tail["mention"]:
            return [tail["mention"]]
        words = tail["inner"] or tail["arrow"]
        ends = [len(words), *(match.start() for match in _NAME_END.finditer(words))]
        found = (self._persons(words[:end], is_all=True) for end in ends)
        return next(filter(None, found), [])

    def _persons(self, words: str, *, is_all: bool = False) -> list[str]:
        """Return the people that a list of names contains; none if *is_all*, and some are no people."""
        names = [name for name in split_names(words) if name]
        known = [name for name in names if self._reader.is_person(name)]
        return [] if is_all and len(known) < len(names) else known

    def _is_named(self, label: str) -> bool:
        """Return True for a person before a colon: a known one, or two words with capital letters."""
        is_full = label.count(" ") == 1 and label.istitle() and not DIGIT.search(label)
        return self._is_name(label) and (is_full or self._reader.is_person(label))

    def _is_name(self, text: str) -> bool:
        pattern = self._lexicon.patterns("name")[0]
        words = text.split()
        first = next((word for word in words if word[0].isupper()), words[0] if words else "")
        return pattern.fullmatch(text) is not None and first.lower() not in self._lexicon.other_words

    def read(self) -> None:
        if self._section is Section.TALK or not self._text.strip():
            return
        if self._line.is_first and self._line.speaker.lower() in way_fields():
            return
        if self._about.is_ticket and self._line.start == self._about.start:
            return
        state = self._line.tag or (self._line.speaker if self._line.is_first else "")
        is_over = state in TICKS or is_line_of("settled", state)
        if state and is_over and not self._lexicon.match("requests", self._line.text):
            return
        if not self._is_marked and (self._answer() or self._comment() or self._value_row()):
            return
        is_other = self._line.speaker and is_line_of("metadata", self._line.text)  # of another language
        if is_other or self._lexicon.match("metadata", self._line.text):
            return
        ahead = any(self._reader.is_ahead(day, self._start) for day in self._days)
        orders = ("requests", "duties", *(["listed"] if self._lexicon.time.is_spaced else []))
        asks = any(self._lexicon.match(name, self._text) for name in orders)
        if not asks and self._lexicon.has("conditions", self._text):
            return
        lead = self._lexicon.patterns("leads")[0].match(self._text)
        words = self._text[lead.end() :] if lead else self._text
        if not (ahead or self._is_question) and self._lexicon.match("values", words):
            self._fact()
            return
        self._has_project = not self._is_question and self._project()
        if not (self._is_question or self._has_project):
            # "We agreed that Zoe will call" is shared work.
            shared = (self._lexicon.match(name, self._text) for name in ("promises", "spanning"))
            if not any(match and match.groupdict().get("who") for match in shared) and self._decision():
                return
        is_noun = self._lexicon.match("nominal", words) is not None and ahead
        found = self._row() or (not is_noun and self._tasks())
        if self._is_question:
            self._ask(found)
            return
        found = found or self._events()
        if not (found or self._has_project):
            self._fact()

    def _add(
        self,
        table: TableName,
        fields: dict[str, Field],
        start: int,
        end: int,
        rule: str,
        day: FoundDay | None = None,
    ) -> bool:
        """Add an item of the sentence with its evidence: its label, the heading above, or its words."""
        is_listed = table is TableName.TASKS and self._section is Section.TO_DO
        mark: EvidenceMark = "keyword" if self._is_marked else "heading" if is_listed else "words"
        evidence = Evidence(mark=mark, rule=f"prose.{rule}")
        return self._reader.add(table, fields, start, end, evidence, day)

    def _place(self, at: int) -> int:
        """Return the place of a character in the document; a subject from the speaker is there too."""
        return self._start + at if at >= self._lead else self._line.start

    def _value_row(self) -> bool:
        """Add the fact of a row such as ``Gate code: 4471``."""
        key, value = (*_COLON.split(self._text, 1), "")[:2]
        is_dated = self._is_event_row() or any(day.is_due for day in self._days)
        is_row = value.strip() and len(self._text) < 100 and not is_dated
        if not is_row or not (self._lexicon.has("facts", self._text) and _VALUE.search(value)):
            return False
        fields: dict[str, Field] = {"title": key.strip(EDGES), "content": value.strip(EDGES)}
        end = self._start + len(self._text)
        return self._add(TableName.NOTES, fields, self._place(0), end, "fact")

    # --- questions who does a work ---

    def _ask(self, found: bool) -> None:
        match = None if found else self._lexicon.match("asks", self._text)
        if match is not None:
            title = self._titled(self._shown(*match.span("what")))
            end = self._start + len(self._text)
            self._reader.asked = _AssigneeQuestion(
                title, self._place(0), end, self._days[0] if self._days else None
            )

    def _answer(self) -> bool:
        """Return True for a short answer, whose speaker does the work of the sentence before."""
        reader, lexicon = self._reader, self._lexicon
        asked, reader.asked = reader.asked, None
        bare = self._text.strip(EDGES)
        match = lexicon.match("answers", bare)
        lead = lexicon.patterns("leads")[0].match(bare)
        if match is None and lead is not None and lead.group().rstrip().endswith(","):  # "sure, I'll do it"
            match = lexicon.match("answers", bare[lead.end() :])
        who = self._speaker
        if match is None and (speaker := SPEAKER.match(bare)) is not None:  # "Ann's father: I will!"
            match, who = lexicon.match("answers", bare[speaker.end() :].strip(EDGES)), speaker["who"]
        if match is None and len(self._about.speakers) == _TWO:  # "sure", said by the other one
            match = lexicon.match("agreed", bare)
        if match is not None:
            named = _named(match)  # "Yes will do" names its speaker alone
            who = named if named and named.lower() not in lexicon.other_words else who
        elif asked is not None and self._is_name(bare):
            who = bare
        else:
            return False
        if asked is None and not reader.is_offered_to(who):
            return self._about.is_chat and lexicon.time.is_spaced  # in Chinese, it may name its work
        ahead = [day for day in self._days if reader.is_ahead(day, self._start)]
        day = ahead[0] if ahead else None
        if asked is not None:
            fields: dict[str, Field] = {"title": asked.title, "assignee": [who] if who else []}
            end = self._start + len(self._text)
            self._add(TableName.TASKS, fields, asked.start, end, "asks", day or asked.day)
        else:
            reader.take_over(who, day)
        return True

    # --- notes, projects, comments ---

    def _comment(self) -> bool:
        about, lexicon, line = self._about, self._lexicon, self._line
        if not line.is_first:
            return False
        match, who = lexicon.match("comments", line.text), ""
        start = line.start
        if match is None and about.is_chat:
            match = lexicon.match("comments", self._text)
            start = start if match is None else self._start
        if match is not None:
            who = match.groupdict().get("who") or self._speaker
        elif (
            about.is_ticket
            and line.start != about.start
            and (not about.is_about_task or line.start == about.second)
        ):
            match = _REMARK.match(line.text)
            who = match["who"].strip() if match else ""
            if match is not None and (not self._is_name(who) or is_label(lexicon, who)):
                match = None
            elif match is not None and not has_han(line.text) and match["what"].count(" ") < 2:
                return True  # "thanks"
        if match is None or self._is_question:
            return False
        fields: dict[str, Field] = {"content": match["what"].strip(EDGES + "."), "author": who.strip()}
        begin, end = start + match.start("what"), start + match.end("what")
        return self._add(TableName.TASK_COMMENTS, fields, begin, end, "comment")

    def _decision(self) -> bool:
        lexicon = self._lexicon
        match = lexicon.match("decisions", self._text.translate(lexicon.translation))
        if match is None and self._section is not Section.DECIDED:
            return False
        if match is None and self._has_day_ahead() and self._tasks():  # work that was decided
            return True
        start, end = match.span("what") if match else (0, len(self._text))
        title = self._shown(start, end, keep_days=True)
        end = self._start + len(self._text)
        return bool(title) and self._add(TableName.NOTES, {"title": title}, self._place(0), end, "decision")

    def _project(self) -> bool:
        lexicon = self._lexicon
        for pattern in lexicon.patterns("projects"):
            for match in pattern.finditer(self._text):
                fields: dict[str, Field] = {"name": match["name"].strip()}
                end = self._start + len(self._text)
                return self._add(TableName.PROJECTS, fields, self._place(0), end, "project")
        return False

    def _fact(self) -> None:
        lexicon, text = self._lexicon, self._text.strip()
        if lexicon.has("unreal", text) or self._is_question:
            return
        key, value = (part.strip(EDGES) for part in (*_COLON.split(text, 1), "")[:2])
        is_fact = lexicon.has("facts", text) or lexicon.match("values", text) is not None
        is_note = self._about.is_note and not (lexicon.has("settled", text) or lexicon.has("past", text))
        if is_note and not is_fact:
            is_row = bool(key and len(key) < 50 and not DIGIT.search(key) and _VALUE.search(value))
            is_row = is_row and key.lower() not in mail_fields()
            is_fact = is_row or (not value and lexicon.has("places", text))
        if is_fact and len(text) > 5:
            fields: dict[str, Field] = (
                {"title": key, "content": value} if key and value else {"title": text.strip(EDGES)}
            )
            self._add(TableName.NOTES, fields, self._place(0), self._start + len(self._text), "fact")

    # --- tasks ---

    def _clauses(self) -> list[_Clause]:
        """Split the sentence at its joints, except inside of the words for a day."""
        clauses: list[_Clause] = []
        at, is_more = 0, False
        for start, end in self._joints():
            if len(clauses) == 12:
                break
            if start < at or any(day.start < end and start < day.end for day in self._days):
                continue
            joint = self._text[start:end]
            before = self._text[at:start].strip(EDGES)
            if ":" in joint and before.rpartition(" ")[2].lower() in self._lexicon.dangling_words:
                continue  # "send it by: Friday"
            if any(map(str.isalpha, joint)) and self._is_name(before):
                continue  # "Ann and Ben will"
            if start > at:
                clauses.append(_Clause(self._text[at:start], at, is_more))
            at, is_more = end, any(map(str.isalpha, joint))
        if at < len(self._text):
            clauses.append(_Clause(self._text[at:], at, is_more))
        return clauses

    def _joints(self) -> list[tuple[int, int]]:
        """Return the places between clauses: also before requests, in a dictation without punctuation."""
        found = [match.span() for match in self._lexicon.patterns("joints")[0].finditer(self._text)]
        asides = [match.span() for match in _ASIDE.finditer(self._text)]
        joints = [match for match in found if not any(start <= match[0] < end for start, end in asides)]
        # A longer sentence without punctuation is a dictation.
        if len(self._text) > 100 and not _PUNCTUATION.search(self._text.rstrip(EDGES)):
            openers = self._lexicon.patterns("openers")[0].finditer(self._text)
            joints = sorted([*joints, *((match.start(), match.start()) for match in openers)])
        return joints

    def _row(self) -> bool:
        """Add the task of a row in a list of work, in all its words. Return False for other rows."""
        lexicon, line = self._lexicon, self._line
        if self._section is not Section.TO_DO or not line.is_first or self._is_question:
            return False
        if self._has_project or lexicon.has("facts", self._text) or self._is_event_row():
            return False
        if lexicon.has("settled", self._state):
            return True
        label = SPEAKER.match(self._text) or _DASHED.match(self._text)
        start, end, who = 0, len(self._text), self._called or self._speaker
        if label is not None and not is_label(lexicon, label["who"]):  # "cake: Ann", or "Ann: the cake"
            value = _VALUE_END.split(self._text[label.end() :])[0].strip(EDGES)
            who = value if self._persons(value, is_all=True) else ""
            end = label.end("who") if who else end
            before = [] if who else self._persons(label["who"], is_all=True)
            start, who = (label.end(), label["who"]) if before else (start, who)
        if not who and any(self._persons(match["who"]) for match in self._named_matches()):
            return False
        self._days = [day for day in self._days if not day.is_of]
        task = _Task(who, 0, 0, len(self._text), "listed")
        return self._add_task(task, [], title=self._shown(start, end))

    def _named_matches(self) -> Iterator[re.Match[str]]:
        """Yield the matches of the first clause that name a person who is to do its work."""
        for clause in self._clauses()[:1]:
            found = self._match(clause, self._called, is_after_task=False)
            if found is not None and found[1].groupdict().get("who"):
                yield found[1]

    def _tasks(self) -> bool:
        lexicon = self._lexicon
        clauses = self._clauses()
        vocative = self._called
        found: list[_Task] = []
        is_open = is_speaker = False
        called_at, done = -1, -1
        for nth, clause in enumerate(clauses):
            if nth <= done:
                continue
            bare = clause.text.strip(EDGES)
            marks = self._text[: clause.start].rstrip()[-1:], self._text[clause.end :].lstrip()[:1]
            is_called = not _BRACKETS.keys() & {*marks}
            if self._is_name(bare) and is_called and nth + 1 < len(clauses):
                vocative, is_open, is_speaker = bare, False, marks[1] in (":", "\uff1a")
                called_at = -1 if is_label(lexicon, bare) else clause.start
                continue
            if found and is_open and (taken := self._taker(bare)):
                found[-1] = found[-1]._replace(who=found[-1].who or taken, end=clause.end)
                continue
            rule, match = self._match(clause, vocative, is_after_task=bool(found) and is_open) or ("", None)
            is_about_last = bool(
                match is not None and found and is_open and lexicon.match("pronouns", match["what"])
            )
            if match is not None and is_about_last and match.groupdict().get("who"):
                found[-1] = found[-1]._replace(who=found[-1].who or match["who"], end=clause.end)
                continue
            if match is None or (is_about_last and clause.is_more):
                if found and is_open:
                    last = found[-1]
                    has_object = " " in self._text[last.what : last.end].strip()  # else "to pay: the rent"
                    ends = (";", "\uff1b", *([":"] if has_object else []))
                    if self._takes_back(clause):
                        found.pop()
                        is_open = False
                    elif self._text[last.end : clause.start].strip() not in ends:
                        found[-1] = last._replace(end=clause.end)
                continue
            # "we ask you, parents, to come"
            while match.start("what") >= clause.end and max(done, nth) + 1 < len(clauses):
                done = max(done, nth) + 1
                clause = _Clause(self._text[clause.start : clauses[done].end], clause.start, clause.is_more)
            groups = match.groupdict()
            is_aside = marks[0] in _BRACKETS
            if found and is_open and is_aside and not groups.get("who"):  # "fetch the tables (ask Ann!)"
                found[-1] = found[-1]._replace(end=clause.end)
                continue
            is_open = not self._is_void(clause, rule, match)
            if is_open:
                named = groups.get("who") or groups.get("np") or ""
                is_me = lexicon.match("me", named) is not None
                who = vocative if not named or (is_speaker and is_me) else named
                what = match.start("what")
                is_inside = rule == "duties" and not (lexicon.time.is_spaced or who)
                if is_inside and has_han(self._text[what - 1 : what]):
                    what = self._after_leads(clauses[0])
                first = _WORD.match(match["what"])
                is_subject = first is not None and first.group().lower() in lexicon.subjects
                if (
                    is_subject
                    and match["what"].count(" ") > 1
                    and not lexicon.match("articles", match["what"])
                ):
                    what = self._after_leads(clause)  # "make sure they are dry"
                if who and not (is_me or self._persons(who)):  # the words stay in the title
                    what = called_at if called_at >= 0 and not named else self._after_leads(clause)
                    who = ""
                if not who and clause.is_more and found:
                    who = found[-1].who
                # "By Friday, I will send it": the day is a clause of its own.
                is_dated = nth == 1 and marks[0] == "," and self._is_day(clauses[0])
                start = 0 if is_dated else clause.start
                found.append(_Task(who, what, start, clause.end, rule, groups.get("to") or ""))
        has_day_first = any(not self._text[: day.start].strip() for day in self._days)
        is_row = self._line.is_bullet or (self._is_row_alone() and has_day_first)
        # "Party on 5 May at 7 pm, bring a chair"
        self._has_aside = (
            bool(found and is_row)
            and self._is_event_row()
            and not any(
                task.who or not task.start or any(task.start <= day.start < task.end for day in self._days)
                for task in found
            )
        )
        found = [] if self._has_aside else found
        self._days = [day for day in self._days if not (day.is_of and found)]
        added = [self._add_task(task, clauses, is_alone=len(found) == 1) for task in found]
        return any(added)

    def _is_day(self, clause: _Clause) -> bool:
        """Return True for a clause that has no words but those of a day."""
        return any(
            not (self._text[clause.start : day.start] + self._text[day.end : clause.end]).strip(EDGES)
            for day in self._days
        )

    def _has_day(self, clause: _Clause) -> bool:
        return any(clause.start <= day.start < clause.end for day in self._days)

    def _takes_back(self, clause: _Clause) -> bool:
        """Return True for a clause that cancels the work before it, and has no subject of its own."""
        is_brief = len(clause.text) < 10 if has_han(clause.text) else len(clause.text.split()) <= 4
        return is_brief and self._lexicon.has("settled", clause.text)

    def _taker(self, words: str) -> str:
        """Return the person who offers in a clause to do the work of the clause before, or ""."""
        match = self._lexicon.match("answers", words)
        if match is not None:
            return _named(match) or self._speaker or match.group().split(" ")[0]
        return words if self._is_name(words) and self._reader.is_person(words) else ""

    def _is_void(self, clause: _Clause, rule: str, match: re.Match[str]) -> bool:
        """Return True if work is done, cancelled or only thought of; a request is judged by its object."""
        lexicon = self._lexicon
        if self._section is not Section.TO_DO:
            spoken = self._text, clause.text.lstrip()
            if not self._about.is_chat and any(map(_SPEECH.match, spoken)):  # of a story
                return True
            if not self._has_day_ahead() and lexicon.has("general", self._text):
                return True
        if match.groupdict().get("wish"):
            return lexicon.has("settled", clause.text)
        if rule == "promises":  # and kept, perhaps in a later clause
            return bool(match.groupdict().get("no")) or lexicon.has("settled", match["what"])
        if rule in ("requests", "addressed", "spanning"):
            return lexicon.has("settled", match["what"][: clause.end - match.start("what")])
        state = self._state[clause.start : clause.end]
        if self._has_day_ahead() and lexicon.has("called_off", clause.text):
            return True
        if lexicon.has("settled", state) or lexicon.has("negated", match["what"].partition(",")[0]):
            return True
        # "Ask whether" is an order, "we should perhaps" is none.
        is_order = match.start("what") == match.start() and not {"who", "np"} & match.groupdict().keys()
        if not (is_order and lexicon.is_past_nominal) and lexicon.has("past", state):
            return True
        # Words of doubt at the beginning of an order are about the order.
        return lexicon.has("unreal", clause.text[:8] if is_order else clause.text)

    def _has_day_ahead(self) -> bool:
        return any(self._reader.is_ahead(day, self._start) for day in self._days)

    def _match(self, clause: _Clause, vocative: str, *, is_after_task: bool) -> _RuleMatch | None:
        """Return the first match at a clause, with the attribute that it is of."""
        lexicon, about = self._lexicon, self._about
        attributes = ["requests", *(["addressed"] if vocative else [])]
        if not self._is_question or _BREAK.search(self._text, clause.end):
            attributes += ["spanning", "duties"]
            attributes.insert(0, "promises")
            is_dated = any(
                clause.start <= day.start
                and (day.start < clause.end or lexicon.time.is_spaced)
                and (self._reader.is_ahead(day, self._start) or (lexicon.time.is_spaced and not day.at))
                for day in self._days
            )
            is_heading = (
                not (lexicon.time.is_spaced or self._line.is_bullet)
                and about.is_short
                and self._line.start == about.start
            )
            is_row = self._section is Section.TO_DO
            if (about.is_minutes or about.is_terse or is_dated or is_row) and not is_heading:
                attributes.append("reports")
            is_list = about.is_loose and self._section is not Section.OTHER
            is_decided = self._section is Section.DECIDED and is_dated
            has_deadline = about.is_minutes or any(day.is_due for day in self._days)
            if is_row or is_list or is_decided or (self._speaker and has_deadline):
                attributes.append("listed")
            if is_after_task:
                attributes.append("gapped")
            if is_after_task and clause.is_more:
                attributes.append("more")
        at = self._after_leads(clause)
        text = self._alike[: clause.end]
        for attribute, match in self._matches(attributes, text, at):
            if attribute not in _IN_PLACE or self._is_report(match):
                return attribute, match
        attributes = [name for name in attributes if name in _ANYWHERE]
        for opener in lexicon.patterns("openers")[0].finditer(text, at + 1):
            if _NEGATION.search(text, max(opener.start() - _NEGATION_CHARS, at), opener.start()):
                continue
            for attribute, match in self._matches(attributes, text, opener.start()):
                if match.start("what") > match.start():
                    return attribute, match
        return None

    def _matches(self, attributes: Sequence[str], text: str, at: int) -> Iterator[tuple[str, re.Match[str]]]:
        for attribute in attributes:
            for match in self._lexicon.matches(
                attribute, self._alike if attribute in _SPANNING else text, at
            ):
                if self._may_be(match.groupdict().get("who")):
                    yield attribute, match

    def _is_event_row(self) -> bool:
        """Return True for a row with a day ahead and its time, or an event."""
        days = [day for day in self._days if self._reader.is_ahead(day, self._start)]
        text = self._text
        for day in days:  # "día" in "el día 29" is no event
            text = text[: day.start] + " " * (day.end - day.start) + text[day.end :]
        names = ("happens", "events")
        is_event = any(day.has_time for day in days) or any(self._lexicon.has(name, text) for name in names)
        return bool(days) and is_event

    def _is_report(self, match: re.Match[str]) -> bool:
        """Return True if a person does the work; others do so in minutes alone, and events happen."""
        about, lexicon, what = self._about, self._lexicon, match["what"]
        who = match.groupdict().get("who") or ""
        is_row = self._section is Section.DECIDED or lexicon.match("events", who)
        if is_row and who and not (self._persons(who) or lexicon.match("me", who)):
            return False  # "the fee rises", "cookery class": no person does work
        is_other = bool(match.groupdict().get("np"))
        names = ("happens", "events")
        is_event = any(lexicon.match(name, what) for name in names)
        is_event = is_event and (is_other or _WITH_OBJECT.match(what) is None)
        is_due = any(day.is_due for day in self._days)  # "print the invitation by Friday"
        if is_event and not is_due and self._has_day_ahead():
            return False
        is_work = about.is_minutes or about.is_loose or about.has_bullets or about.is_terse
        return is_work or self._section is Section.TO_DO or not (is_other or is_event)

    def _may_be(self, who: str | None) -> bool:
        return (
            who is None
            or who.split()[0].lower() not in self._lexicon.other_words
            or bool(self._lexicon.match("me", who) or self._lexicon.match("anyone", who))
        )

    def _after_leads(self, clause: _Clause) -> int:
        """Return the place after the words before a clause proper, and after a day that comes first."""
        at = clause.start
        for _ in range(4):
            before = at
            while at < clause.end and self._text[at] in " \"'(*_\u201c\u201e\u00ab\u00bf\u00a1":
                at += 1
            match = self._lexicon.patterns("leads")[0].match(self._text, at)
            lead = match.group().strip() if match is not None else ""
            # A short name is no word, as the Russian one for a service of a car: "\u0422\u041e".
            is_name = lead.isalpha() and lead.isupper() and 1 < len(lead) <= 3 and not self._text.isupper()
            if match is not None and match.end() < clause.end and not is_name:
                at = match.end()
            day = next((day for day in self._days if day.start == at and day.end < clause.end), None)
            if day is not None:
                at = day.end
                while at < clause.end and self._text[at] in " ,":
                    at += 1
            if at == before:
                break
        return at

    def _add_task(
        self, task: _Task, clauses: Sequence[_Clause], *, title: str = "", is_alone: bool = False
    ) -> bool:
        lexicon = self._lexicon
        if self._text[task.end : task.end + 1] in _BRACKETS.values():  # a joint, and the end of the title
            task = task._replace(end=task.end + 1)
        is_row = bool(title)
        title = lexicon.rewritten(title) if is_row else self._titled(self._shown(task.what, task.end))
        is_brief = not is_row and lexicon.match("brief", title) is not None
        is_spaced = lexicon.time.is_spaced
        if not is_row and len(title) < lexicon.least_title and (is_spaced or not is_brief):
            return False
        if task.to and task.to not in title:
            title = f"{title} ({task.to})"
        quote_from = self._place(task.start)
        # "Ann, please pay", and "the fair opens on 3 May, so register"
        has_day_before = any(day.start < task.start for day in self._days)
        if is_spaced and (has_day_before or self._text[: task.start].strip(EDGES) in ("", task.who)):
            is_brief = False
        if is_brief or (not is_row and lexicon.match("pronouns", title)):
            # "Lena to bring it": the clause before says what, or the sentence before.
            before = next((clause for clause in reversed(clauses) if clause.start < task.start), None)
            if before is not None and is_brief and is_alone and is_spaced:
                before = clauses[0]  # "copy of the licence, as agreed -> send to Ann"
                task = task._replace(who="" if task.who in self._text[: task.what] else task.who)
            if before is not None:
                title, task = self._shown(before.start, task.end), task._replace(start=before.start)
                quote_from = self._place(task.start)
            elif self._before is not None and not self._line.is_bullet:
                title = f"{title} ({self._before.text.strip(EDGES)})"
                quote_from = self._before.start
        elif is_spaced and is_alone and has_day_before and self._is_too_short(title):
            task = task._replace(start=0)  # "cover for 16 Dec, ask Bea"
            title, quote_from = self._shown(0, task.end), self._place(0)
        elif is_spaced and " " not in title and self._needs_words_before(task):
            title = self._shown(0, task.end)
        days = [day for day in self._days if task.start <= day.start < task.end] or [*self._owners.days]
        # In "the fair opens on 3 May please register by 3 April", the days before are of something else.
        own = [day for day in days if day.start >= task.what] or days
        day = next((day for day in own if day.at is None or self._reader.counts(day, self._start)), None)
        self._used.update(days)
        if day is not None and day.at is None and day.words.rstrip(".") not in title:
            title = f"{title} ({day.words})"  # it came first: "next week, send the figures"
        fields: dict[str, Field] = {
            "title": title,
            "assignee": self._people(task.who) or [*self._owners.names],
        }
        if lexicon.has("urgent", self._text):
            fields["priority"] = "high"
        end = max(self._place(task.end), self._owners.end if task.end == len(self._text) else 0)
        return self._add(TableName.TASKS, fields, quote_from, end, task.rule, day)

    def _is_too_short(self, title: str) -> bool:
        """Return True for work of two words in a row of more: without these, its title says nothing."""
        return len(title.split()) <= _TWO and self._is_row_alone()

    def _needs_words_before(self, task: _Task) -> bool:
        """Return True for more work of a sentence, and for that of a label ("insurance: renew")."""
        before = self._text[: task.start].rstrip()
        is_topic = before.endswith((":", "\uff1a")) and not self._about.is_chat and not task.who
        return task.rule in _CONTINUED or (is_topic and not is_label(self._lexicon, before))

    def _titled(self, words: str) -> str:
        """Return the title of a task, in the form of an order if the language has rules for it."""
        rewritten = self._lexicon.rewritten(words)
        if rewritten != words:
            return rewritten
        first, _, rest = words.partition(" ")
        return f"{self._lexicon.base_form(first)} {rest}".strip()

    def _people(self, who: str) -> list[str]:
        lexicon = self._lexicon
        if not self._speaker and self._reader.author and _SELF.match(who):
            return [self._reader.author]
        if (not who or lexicon.match("me", who)) and self._speaker:
            is_of_list = self._line.is_bullet or not self._about.is_chat
            is_known = self._reader.is_person(self._speaker) or _INITIALS.fullmatch(self._speaker) is not None
            is_ones = who or self._about.is_minutes or (is_of_list and is_known)
            return [self._speaker] if is_ones and not is_weekday(self._speaker) else []
        # "Lena Geburtstag, bitte Kuchen backen": the last word tells an event.
        lasts = {name: name.rpartition(" ")[2] for name in self._persons(who) if " " in name}
        return [name for name in self._persons(who) if not lexicon.match("events", lasts.get(name, ""))]

    def _shown(self, start: int, end: int, *, keep_days: bool = False) -> str:
        """Return a part of the sentence without the words for its days and fillers."""
        start, end = closed_span(self._text, start, end)
        parts, at = [], start
        for day in () if keep_days else self._days:
            is_in = start <= day.start and day.end <= end and not self._cuts_word(day)
            if is_in and self._reader.counts(day, self._start):  # else it is past, or its meaning unclear
                is_apart = self._text.startswith(",", day.end)  # "Concert: 3 April, in the hall"
                part = self._text[at : day.start].rstrip(" ,:-\u2013\u2014" if is_apart else "")
                head, _, last = part.rstrip().rpartition(" ")  # "the course is on 3 May, in the hall"
                if last.lower() in self._lexicon.each_words:
                    continue
                parts.append(head if is_apart and last.lower() in self._lexicon.copula_words else part)
                at = day.end + self._text.startswith(". ", day.end)
        blank = " " if self._lexicon.time.is_spaced else ""
        text = blank.join([*parts, self._text[at:end]])
        text = self._lexicon.patterns("fillers")[0].sub(" ", text)
        shown = title_of(text)
        words = shown.split(" ")
        copulas = self._lexicon.copula_words
        if not keep_days and len(words) > 1 and words[0].lower() in copulas:
            words = words[1:]
        if len(words) > 1 and words[-1].lower() in copulas:
            words = words[:-1]
        dangling, before_days = self._lexicon.dangling_words, self._lexicon.time.words_before_days
        while len(words) > 1 and words[-1].lower().strip(EDGES) in dangling:
            words.pop()
        if len(words) > 1 and words[0].lower() in dangling - before_days:
            words = words[1:]
        is_led = not keep_days and any(not self._text[: day.start].strip(EDGES) for day in self._days)
        if is_led and self._lexicon.match("inverted", " ".join(words)):
            return self._shown(0, end, keep_days=True)
        return " ".join(words)

    def _cuts_word(self, day: FoundDay) -> bool:
        """Return True for words of a day that begin or end in the middle of a word."""
        return self._lexicon.time.is_spaced and any(
            0 < at < len(self._text) and self._text[at - 1].isalnum() and self._text[at].isalnum()
            for at in (day.start, day.end)
        )

    # --- events ---

    def _events(self) -> bool:
        """Add the events on the days of the sentence that no task has."""
        lexicon, reader = self._lexicon, self._reader
        at = match.end() if (match := lexicon.patterns("articles")[0].match(self._text)) else 0
        word = _WORD.match(self._text, at)  # "the meeting of 3 May", not "after the meeting of"
        is_noun = word is not None and (
            word.group().lower() not in lexicon.opening_words or bool(lexicon.match("events", word.group()))
        )
        ahead = [
            day
            for day in self._days
            if day not in self._used
            and (day.is_open or (reader.counts(day, self._start) and not day.is_week))
            and (is_noun or not day.is_of)
        ]
        is_first = self._line.start == self._about.start
        if not ahead or ((is_first or not ahead[0].has_time) and reader.is_today(ahead[0], self._start)):
            return False
        # Many days may have the same words around them.
        clauses, end, shown, has = self._clauses(), len(self._text), cache(self._shown), cache(lexicon.has)
        words, is_apart = shown(0, end), self._text.startswith(",", ahead[0].end)
        is_named = any(map(str.isalnum, self._text[: ahead[0].start])) or has("events", words)
        is_list = self._about.is_calendar and not (self._about.is_minutes or is_apart)
        is_named = is_named or (is_list and any(map(str.isalpha, words)))
        if not is_named and has("events", self._heading) and not has("settled", self._text):
            title = _NUMBERING.sub("", self._heading)
            title += "" if is_apart or not words[:1].isupper() else f": {words}"
            return self._add_event(title, 0, end, ahead[0])
        for day in ahead:
            nth = next(
                (n for n, clause in enumerate(clauses) if clause.start <= day.start < clause.end), None
            )
            if nth is None:
                continue
            own, before, after = (nth, nth), (nth - 1, nth), (nth, nth + 1)
            is_row = self._is_row_alone() and self._is_day(clauses[nth])  # "Mon 14 Dec, 8.30: MRI, St Luke's"
            for first, last, by_time in (
                *((*span, False) for span in (own, before, after)),
                *((*span, True) for span in (own, before, *([after] if is_row else []))),
            ):
                if first < 0 or last >= len(clauses) or (by_time and not day.has_time):
                    continue
                start, end = clauses[first].start, clauses[last].end
                passage = self._state[start:end]
                if any(has(name, passage) for name in ("settled", "past", "unreal")):
                    return False
                at = self._after_leads(clauses[first]) if first == nth else start
                has_day_in_leads = at > day.end
                title_start = min(at, day.start) if has_day_in_leads else at
                title = shown(start if at >= end else title_start, end)
                others = shown(start, end)
                is_absent = has("absent", passage) or has("absent", others)
                is_condition = has("conditions", passage) or has("conditions", others)
                # "Mo-Sa 8-20 Uhr" tells when something is open
                is_open = self._text[: day.start].endswith(("-", "\u2013")) and _is_weekday(others)
                if is_condition or is_open:
                    return False
                if is_absent:
                    continue
                others_of_row = (other for n, other in enumerate(clauses) if not first <= n <= last)
                about = [other.text for other in others_of_row if not self._has_day(other)]
                if any(has("called_off", words) for words in (self._text[start:end], *about)):
                    reader.called_off = self._event_in(others)
                    continue
                is_event = has("events", others) or has("happens", others)
                # Words of a row that has an event beside its day.
                is_short = len(others) < 4 if has_han(others) else len(others.split()) <= 2
                if first == last > 0 and is_short and has("lapses", others):
                    continue  # "The Trial - return date 5 December"
                is_apart = not self._about.is_chat and (
                    len(clauses) == 1 or ("," not in others and self._is_day(clauses[last]))
                )
                has_day_first = self._about.is_calendar and not self._text[: day.start].strip()
                is_row = is_short and is_apart and last - first + 1 == len(clauses)
                is_row = is_row or (has_day_first and self._line.is_first and len(clauses) <= _TWO)
                is_row = is_row or (self._is_row_alone() and self._is_deadline(others, day))
                is_event = is_event or (is_row and others.lower() not in lexicon.other_words)
                if any(map(str.isalpha, others)) and (is_event or (by_time and not self._about.is_chat)):
                    if (behind := self._particulars(clauses, last)) > end:
                        title, end = shown(start if at >= end else title_start, behind), behind
                    return self._add_event(title or others, start, end, day)
        return False

    def _particulars(self, clauses: Sequence[_Clause], last: int) -> int:
        """Return the place behind the clauses after an event that are no sentence: its end, its place."""
        end = clauses[last].end
        for clause in clauses[last + 1 :]:
            is_other = clause.is_more or self._has_day(clause)
            if is_other or len(clause.text.split()) > _PARTICULARS:
                break
            is_own = self._has_aside or DIGIT.search(clause.text) or self._is_place(clause.text)
            end = clause.end if is_own else end
        return end

    def _is_place(self, words: str) -> bool:
        """Return True for a name or some nouns, such as a place: a sentence has words of its language."""
        lexicon, parts = self._lexicon, words.split()
        if not parts:  # a sentence that begins with a colon
            return False
        if has_han(words):
            opening = lexicon.opening_words
            return len(words) <= _PARTICULARS and opening.isdisjoint((*words, words[:2]))
        is_name = any(part[0].isupper() for part in parts) or 2 * len(parts) <= _PARTICULARS
        is_order = parts[0][0].islower() and lexicon.match("listed", words.strip()) is not None
        is_order = is_order or (self._reader.is_person(parts[0]) and any(map(str.islower, parts)))
        return is_name and not is_order and parts[0].lower() not in lexicon.opening_words

    def _is_row_alone(self) -> bool:
        """Return True for a row of a list, or of notes that each stand for themselves."""
        about, line = self._about, self._line
        is_row = line.is_bullet or about.is_loose or (self._speaker != "" and not about.is_chat)
        return line.is_first and is_row

    def _is_deadline(self, words: str, day: FoundDay) -> bool:
        """Return True for a day that is a deadline ("enrolment by 3 May"), and not the end of an event."""
        lexicon, is_row, is_end = self._lexicon, self._is_row_alone(), _MAY_END.match(day.words) is not None
        has_lapse = lexicon.has("lapses", self._text)
        is_work = is_row and (has_lapse or self._people("") != [])  # "Ann: slides for the workshop by 3 May"
        is_event = lexicon.has("events", words) and not is_work
        is_event = is_event or (is_end and lexicon.has("happens", self._state))
        if not is_row:  # a sentence may tell what happens then
            is_event = is_event or is_end or has_lapse or lexicon.has("happens", words)
        return day.is_due and not (is_event or _UNTIL.match(day.words))

    def _add_event(self, words: str, start: int, end: int, day: FoundDay) -> bool:
        """Add an event named by *words*; the sentence before may tell what "it" is."""
        lexicon = self._lexicon
        title, begin = lexicon.rewritten(words), self._place(start)
        if article := lexicon.patterns("articles")[0].match(title):
            title = title[article.end() :][:1].upper() + title[article.end() + 1 :]
        before = max((other.end for other in self._days if other.end <= start), default=0)
        above = self._text[before:start].strip(EDGES)  # of the sentence, else the sentence before
        is_topic = self._text[:start].rstrip().endswith((":", "\uff1a")) and self._is_place(above)
        is_topic = is_topic and not is_label(lexicon, above) and day.start >= start
        if is_topic or title.split()[0].lower() in lexicon.subjects:
            if above:
                title, begin = f"{above}: {title}", self._place(0)
            elif self._before is not None:
                title, begin = f"{self._before.text.strip(EDGES)}: {title}", self._before.start
        if new := next(filter(None, (row.match(title) for row in lexicon.patterns("renewed"))), None):
            title = f"{self._reader.called_off or new[0].strip(EDGES)}{title[new.end() :]}"
        elif self._moved:
            about = self._moved if " " in self._moved else f"{self._moved} ({self._reader.author})"
            title = "".join((about, *title.partition(",")[1:]))
        until = min(
            (following.start for following in self._days if following.start > day.start),
            default=len(self._text),
        )
        if self._heading and f"{title}:" in self._text and is_label(lexicon, title):
            title = f"{self._heading}: {title}"  # "Frist: 3.5.", below what it is for
        clock = None if day.has_time else time_in(self._text[day.end : until])
        if clock:
            day = self._reader.at_time(day, clock, self._start)
            between = self._text[day.end : self._text.find(clock, day.end)].partition(",")[2]
            is_apart = any(map(str.isalpha, between))  # "the trip, back at 15:00"
            is_begin = day.has_time and not (is_apart or _INTERVAL.search(clock))
            title = title_of(title.replace(clock, "", 1)) or title if is_begin else title
        if self._is_deadline(title, day):
            fields: dict[str, Field] = {"title": title, "assignee": self._people("") or [*self._owners.names]}
            return self._add(TableName.TASKS, fields, begin, self._start + end, "deadline", day)
        if day.is_open:  # a task, for a person to say on which day: an event has one
            return self._add(TableName.TASKS, {"title": title}, begin, self._start + end, "event", day)
        if not self._reader.is_ahead(day, self._start):
            return False
        if day.has_time and lexicon.has("evenings", title) and (clock := open_clock_in(day.words)):
            day, title = self._reader.on_day(day), f"{title} ({clock})"
        title += f" ({interval[0]})" if (interval := _INTERVAL.search(day.words)) else ""
        return self._add(TableName.TIMELINES, {"title": title}, begin, self._start + end, "event", day)
