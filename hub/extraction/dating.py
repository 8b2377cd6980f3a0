"""Date of writing of each passage, as the reference for "tomorrow". Pure functions.

A passage is dated by its heading ("## 2025-01-06"), by a list item around it ("- 2025-01-06"), by a stamp
("[2025-01-06 14:22] Anna: ..."), by the line above a quoted mail ("On ... wrote:") or by a field of minutes
("Date: ..."). A document is dated by its own fields, by its name ("2025-01-06.md") or by its file. Each mail
of an mbox is a document in this respect, and messages of a chat have dates of their own.

Each date has its evidence, which is shown with the days that count from it.

A date counts if it contains the year, has one reading, and is neither later than the file nor contradicts the
surrounding passage. Otherwise the date is unknown, and relative dates stay unresolved.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache, cached_property, lru_cache, partial
from itertools import islice, takewhile
from pathlib import PurePosixPath
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.items import Item, front_matter, lines_of
from hub.extraction.prose_layout import is_evident, lexicon_in
from hub.extraction.tokens import fold
from hub.extraction.when.resolve import (
    Anchor,
    DateContext,
    DateWords,
    NearDay,
    ResolvedTime,
    dates_in,
    local_day,
    read_date,
    resolve,
)
from hub.extraction.wording.languages import languages, languages_in, script_of
from hub.extraction.wording.names import is_person
from hub.extraction.wording.recognition import TextLanguages, unread_languages
from hub.text.archives import messages_in
from hub.text.files import CHAT, MAIL, is_named
from hub.text.header_values import date_in
from hub.text.quotations import MAIL_FIELD, fields_below, lines_above
from protocol.items import CountedDay, EvidenceKind

_LINE_CHARS: Final = 200  # examined in a line
# Different lines parsed by the lexicon, 2 ms each; dates in further lines are ignored.
_MAX_READ: Final = 2_000
_DAY: Final = timedelta(days=1)

_HEADING: Final = re.compile(r" {0,3}(#{1,6}|={1,6})[ \t]+(?=\S)(|.*?(?<![#= \t]))[#= \t]*+$")
_ORG_HEADING: Final = re.compile(r"(\*{1,6})[ \t]+(?=\S)(.*)$")
_UNDERLINE: Final = re.compile(r" {0,3}(={3,}|-{3,})[ \t]*$")
_FENCE: Final = re.compile(r" {0,3}(?:```|~~~)")
_QUOTED: Final = re.compile(r"[ \t]*(?:>[ \t]?)*")
_OWN_LINE_LEVEL: Final = 7  # level of a line that is only a date: any heading ends its passage
_DECORATION: Final = " \t*_~=[]<>()|:-\u2013\u2014#\u2060"

_NUMBERS: Final = r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./](?:\d{4}|\d{2})"
_WORDS: Final = (
    r"(?:den |le |el )?\d{1,2}(?:\.|er)? (?:de )?[^\W\d_]{3,12}\.?,? (?:del? )?\d{4}"
    r"|[^\W\d_]{3,12}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4}"
    r"|\d{4} ?年 ?\d{1,2} ?月 ?\d{1,2} ?日"
)
_WEEKDAY: Final = r"(?:[^\W\d_]{2,12}\.?,? )?"
_AT: Final = r"(?:,? (?:at |um |à |a las |в )?)"
_TIME: Final = (
    r"\d{1,2}[:.h]\d{2}(?::\d{2})?(?:[.,]\d{1,6})?"
    r"(?:[ \u202f]?[ap]\.?m\.?)?(?: ?(?:uhr|z|utc|[+-]\d\d:?\d\d))?"
)
_MOMENT: Final = rf"\*{{0,2}}{_WEEKDAY}(?P<day>{_NUMBERS}|{_WORDS})(?:{_AT}|t)(?P<time>{_TIME})(?!\w)"
_DIGIT: Final = re.compile(r"\d")
_LIST_MARK: Final = r"(?:[-*+] )?"
_STAMPS: Final = (
    # [2025-01-06 14:22] Anna: ...; 06.01.25, 14:22 - Anna: ...
    re.compile(rf"{_LIST_MARK}[\[(<]?{_MOMENT}", re.IGNORECASE),
    # Anna, [6 Jan 2025 14:22]
    re.compile(rf"{_LIST_MARK}(?:\*\*)?[^\W\d_][^\[\](),:]{{0,40}},? ?[\[(]{_MOMENT}[\])]", re.IGNORECASE),
)
_CLOCK: Final = re.compile(
    r"(?P<h>\d{1,2})[:.h](?P<min>\d{2}(?::\d{2})?)[.,\d]*"
    r"[ \u202f]?(?:(?P<half>[ap])\.?m\.?)?(?: ?uhr)?(?: ?(?P<zone>z|utc|[+-]\d\d:?\d\d))?",
    re.IGNORECASE,
)
_HOUR: Final = re.compile(rf"{_LIST_MARK}[\[(](?P<h>\d{{1,2}}):(?P<min>\d\d)(?::\d\d)?[\])]\s+\S")
_ENTRY: Final = re.compile(
    rf"{_LIST_MARK}(?P<stamp>[\[(]?{_WEEKDAY}(?P<day>{_NUMBERS})[\])]?(?:[:|]| [-\u2013\u2014])"
    rf"|(?P<bold>\*\*|__){_WEEKDAY}(?P<bold_day>{_NUMBERS}|{_WORDS})[:.]?(?P=bold)[:.]?) +\S",
    re.IGNORECASE,
)
# A day without a year behind its weekday, as above an entry of a diary: "Di 24.11.", "Tue 24 Nov".
_YEARLESS: Final = (
    r"[^\W\d_]{2,12}\.?,? (?:den |le |el )?(?:\d{1,2}[./]\d{1,2}\.?"
    r"|\d{1,2}(?:\.|er|st|nd|rd|th)? (?:of |de )?[^\W\d_]{3,12}\.?|[^\W\d_]{3,12}\.? \d{1,2}(?:st|nd|rd|th)?)"
)
_OWN_LINE: Final = re.compile(
    rf"{_YEARLESS}"
    rf"|{_WEEKDAY}(?:{_NUMBERS}|{_WORDS})(?: ?г\.?)?(?: ?\(?(?:星期|周|礼拜)\w\)?)?(?:{_AT}{_TIME})?",  # noqa: RUF001
    re.IGNORECASE,
)
_PLACE: Final = r"[^\W\d_]{2,30}(?:[ .'-]+[^\W\d_]{1,30}){0,3}"
# The place and day of a letter: "Passau, den 12. Januar 2027".
_LETTER: Final = re.compile(
    rf"\s*(?P<place>{_PLACE}), ?(?:the |a )?(?P<day>{_NUMBERS}|{_WORDS})(?: ?г)?\.?\s*",  # noqa: RUF001
    re.IGNORECASE,
)
_HEAD_LINES: Final = 5  # of a paragraph; fewer are a title, with names above and below it
_SENTENCE: Final = re.compile(r"(?<! г)[.!?;。！？]\s*$")  # noqa: RUF001
_ITEM: Final = re.compile(r"(?:[-*+]|\d{1,3}[.)])[ \t]+")
_FIELD: Final = re.compile(
    r"[\s|*_-]*(?:(?:meeting |session )?date(?: of (?:the )?(?:meeting|session))?|date de (?:la )?réunion"
    r"|(?:sitzungs|besprechungs)?datum(?: der (?:sitzung|besprechung))?"
    r"|fecha(?: de (?:la )?(?:reunión|sesión))?|дата(?: (?:встречи|совещания|проведения))?"
    r"|(?:会议|會議)?(?:日期|时间|時間))[\s*_]*[:：|][\s*_]*(?P<value>\S.*)",  # noqa: RUF001
    re.IGNORECASE,
)

# Words by which the first line of a note tells when it was written: "Gaz rang 25/11".
CONTACT: Final = re.compile(
    r"\b(?:rang|(?<!project )called(?! off)|phoned|spoke|met|(?:e-?)?mailed|texted|wrote|visited"
    r"|came (?:by|round)|(?:phone )?call (?:with|from)"
    r"|(?:e-?mail|message|letter|text|voicemails?|visit)(?: from| to|\b(?= ?\d))"
    r"|rief|angerufen|anruf|telefoniert|telefonat|gesprochen|getroffen|schrieb|geschrieben|besuch (?:bei|von)"
    r"|(?:e-?mail|mail|brief|nachricht) von|a (?:appelé|téléphoné|écrit)|appel (?:de|avec)|parlé (?:à|avec)"
    r"|rencontré|vu avec|(?:mail|courriel|message|lettre|visite) d[eu]|llamó|escribió|hablé|hablado"
    r"|llamada (?:de|con)|(?:correo|mensaje|carta|visita) del?|(?:по)?звонил[аи]?|звонок|(?:по)?говорил[аи]?"
    r"|встретил(?:ся|ась|и)?|(?:на)?писал[аи]?|(?:письмо|сообщение) от)\b"
    r"|来过?电|打来|来信|电话|通话|见了|见面",
    re.IGNORECASE,
)
_POINTED: Final = re.compile(r" (?=\d{1,2}\.\d{1,2}\.?$)")
_NUMERIC: Final = re.compile(r"(\d{1,4})([-./])(\d{1,2})\2(\d{1,4})")
_STROKES: Final = re.compile(r"\d/\d")
_ORDERED: Final = re.compile(  # dates with slashes of one reading
    r"(?<![\d/])(?:(?P<day>1[3-9]|2\d|3[01])/(?:0?[1-9]|1[0-2])|(?:0?[1-9]|1[0-2])/(?:1[3-9]|2\d|3[01]))(?!\d)"
)
_ORDERING: Final = re.compile(rf"{_ORDERED.pattern}|[^\W\d_]{{2}}\.?,? \d{{1,2}}/\d")
_MAX_ORDERED: Final = 100  # lines, and dates in them
_WEEKDAY_ROW: Final = re.compile(  # "**Sat** cut the tree 12/5"
    r"[ \t>*+\[\]_-]{0,12}(?P<name>[^\W\d_]{2,12})\b[^/\n]{1,150}?(?<![\d/.])"
    r"(?P<day>\d{1,2}/\d{1,2})(?![\d/.])"
)
_HALF_DAY: Final = re.compile(r"(?<=\d) ?[ap]\.?m\b", re.IGNORECASE)
_NEAR_DAYS: Final = 92
_MONTH_FIRST: Final = re.compile(  # zones in which English dates begin with the month
    r"US/|Asia/Manila|Pacific/(?:Honolulu|Guam|Saipan|Pago_Pago)"
    r"|America/(?:New_York|Chicago|Denver|Los_Angeles|Phoenix|Detroit|Boise|Anchorage|Juneau|Sitka|Nome|Adak"
    r"|Metlakatla|Yakutat|Menominee|Puerto_Rico|Indiana/|Kentucky/|North_Dakota/|Louisville|Indianapolis)"
)
_DAY_FIRST: Final = re.compile(  # and those in which they begin with the day; Canada has both
    r"Europe/(?:London|Dublin|Belfast|Jersey|Guernsey|Isle_of_Man|Malta|Gibraltar)|GB|Eire|NZ|Australia/|Africa/"
    r"|Pacific/(?:Auckland|Fiji)|Asia/(?:Kolkata|Calcutta|Singapore|Hong_Kong|Karachi|Dhaka|Colombo|Dubai)"
    r"|America/(?:Mexico_City|Monterrey|Tijuana|Cancun|Sao_Paulo|Bogota|Lima|Santiago|Caracas|Montevideo"
    r"|Argentina/|Buenos_Aires|Jamaica|Barbados|Port_of_Spain)"
)
_DAY_LABEL: Final = re.compile(
    r"(?:[-*+] )?\**([^\W\d_]{1,12})\.?(?:\*\* ?)?(?: ?[:\uff1a]| [-\u2013\u2014])"
)
_GERMAN_WEEK: Final = re.compile(r"\b(?:kw|woche)\b")
_GERMAN_DAYS: Final = {"mo": 0, "di": 1, "mi": 2, "do": 3, "fr": 4, "sa": 5, "so": 6}
_WEEK: Final = re.compile(
    r"\b(?:weeks?|wk|w/[cb]|woche|kw|semaine|semana|недел\w*)\b|[这本]?周", re.IGNORECASE
)
_WEEK_NUMBER: Final = re.compile(  # folded: "неделя 49", "第49周"; not a day: "semana 30 nov", "неделя 30.11"
    r"\b(?:week|wk|woche|kw|semaine|semana|неделя) ?(?P<after>5[0-3]|[1-4]\d|0?[1-9])"
    r"(?!\d| ?[-./]? ?(?!20\d\d)\d| ?[^\W\d_]{2})"
    r"|(?P<before>5[0-3]|[1-4]\d|0?[1-9])(?:-?я неделя|周$)"
)
_WEEK_DAY: Final = re.compile(
    r"(?:\b(?:del?|du|of|the|vom|\u0441|from)|/[cb]) (?P<day>3[01]|[12]\d|[1-9])(?:st|nd|rd|th)?(?![\d./-])"
)
_UNPOINTED: Final = re.compile(r"(?<![\d.])(\d{1,2}\.(?:1[0-2]|0[1-9]|(?<=[12]\d\.|3[01]\.)[1-9]))(?![\d.])")
_NEAR_WEEKS: Final = timedelta(weeks=9)  # of a week without a year
_WEEKDAY_CHARS, _OWN_CHARS, _SATURDAY = 40, 60, 5  # of a line that is a weekday, or a day
_LINE_DAY: Final = re.compile(
    r"(?P<name>(?:周|星期|礼拜)[一二三四五六日天]|[^\W\d_]+)(?:[.,: ]+|$|(?<=[一二三四五六日天]))(?P<rest>.*)"
)
_DAY_WORDS: Final = re.compile(r"[^\W\d_]+")
_DAY_NUMBER: Final = re.compile(r"(?:the |den |le |el )?(?P<day>\d{1,2})(?:\.(?P<month>\d{1,2}))?\.?")
_AMID_DATES: Final = frozenset(
    ("the", "of", "den", "der", "dem", "le", "el", "de", "del", "d", "st", "nd", "rd", "th", "er")
) | frozenset(("\u0433\u043e", "\u0435", "\u0433", "年", "月", "日", "号"))
_ENGLISH_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Folded names of lists of work, beside a day: "Prep for", "Einkaufsliste".
_WORK_LIST: Final = re.compile(
    r"(?:(?:my |our )?(?:prep(?:aration)?s?|plan|jobs|chores|errands|tasks?|to ?-?do|shopping)(?: list)?|list"
    r"|vorbereitung(?:en)?|vorbereiten|(?:tages|einkaufs|aufgaben|to-?do-?)?(?:plan|liste)|einkaufe?"
    r"|einkaufszettel|erledigungen|aufgaben|zu (?:erledigen|tun)|(?:liste |plan )?(?:(?:de |des )?courses"
    r"|(?:de |des )?taches|a faire|prepa(?:ration|ratifs)?|mise en place|liste)"
    r"|(?:lista |plan )?(?:de )?(?:la )?(?:preparacion|preparativos|lista|compras?|tareas|pendientes)"
    r"|(?:список |план )?(?:дела?|дел|задачи?|подготовка|заготовки|покупки|покупок|план|список|сделать)"
    r"|准备|备料|备菜|计划|清单|待办(?:事项|清单)?|任务|采购|购物清单|要做的事)"
    r"(?: (?:for|on|by|fur|zum|am|bis|pour|du|le|de|para|el|del|на|к|ко))?"
)
_RECORD: Final = re.compile(  # folded
    r"tagebuch|protokoll|logbuch|journal|diary|diaries|changelog|\b(?:log|logs|minutes|diario|bitacora|acta|actas"
    r"|registro|historial|compte[- ]rendu|proces[- ]verbal)\b|дневник|журнал|протокол|日记|日志|纪要|记录"
)
_LIST_SIGNS: Final = " \t>-*+[]"
_LIST_NAME_ENDS: Final = " .,:;()|/-\u2013\u2014\u3000\uff0c\uff1a"
_NAMED: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_. ]?(\d\d)[-_. ]?(\d\d)(?!\d)")
_YEAR: Final = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_TO: Final = "(?:-|to|bis|au|al|по|至|到)"
_INTERVAL: Final = re.compile(
    rf"(?<![\d:./-])\d{{1,2}}\.? ?{_TO} ?\d{{1,2}}(?![\d:])| {_TO} (?!\d{{1,2}}[:.h]\d\d(?![.\d]))"
)
# Folded words next to a date that is not the day of writing, but of a period or a plan.
_OTHER_DAYS: Final = re.compile(
    r"\b(?:weeks?|wk|sprint|months?|quarter|plan\w*|for|from|since|until|till|release\w*|deadline|due|version"
    r"|woche|kw|monat|quartal|fur|ab|seit|bis|frist|fallig\w*|semaine|mois|trimestre|pour|depuis|jusqu\w*"
    r"|echeance|semana|mes|para|desde|hasta|plazo|vence|недел\w*|месяц\w*|план\w*|срок\w*|до|к)\b"
    r"|周|月份|计划|截止|之前"
)


class _NoDate:
    """Marker for a line without any date of writing."""


_NO_DATE: Final = _NoDate()
_LineDate = Anchor | None | _NoDate  # None: a date exists, but it is ambiguous


class DateEvidence(msgspec.Struct, frozen=True, array_like=True):
    """Evidence of a date of writing. *words*: the line that has it, or the file's name; empty: no words."""

    by: EvidenceKind
    words: str = ""


class PlannedDay(msgspec.Struct, frozen=True, array_like=True):
    """Day by ISO 8601 that a heading names for the work below it, and from when its words count.

    Attributes:
        is_over: it has passed, and only an open box below it is work of that day.
    """

    day: str
    words: str
    since: str
    evidence: DateEvidence
    is_over: bool = False


class PassageDates(msgspec.Struct, frozen=True):
    """Dates of writing of a document's passages.

    Attributes:
        places: where a new date begins, in ascending order.
        written: for each place a day or a moment by ISO 8601; None: it is unknown or ambiguous. With
            "~", the day of the whole, where a heading makes that of the passage unknown.
        evidence: for each place what tells it.
        stamps: places of the words that tell when something was written, which are no prose.
        has_day: a line of the text, or the name of its file, tells a day, or it has messages.
        is_day_first: order of dates with slashes; None: it is unknown.
        plans: days of the work below headings, by the place where each begins; None: it ends there.
        languages: those of the text.
    """

    places: list[int]
    written: list[str | None]
    evidence: list[DateEvidence]
    stamps: list[tuple[int, int]]
    has_day: bool
    is_day_first: bool | None = None
    plans: list[tuple[int, PlannedDay | None]] = []
    languages: TextLanguages = TextLanguages()

    @classmethod
    def of(
        cls,
        document: Document,
        *,
        date: datetime | None,
        timezone: str,
        like: "PassageDates | None" = None,
    ) -> "PassageDates":
        """Return the dates of a document.

        Args:
            date: that of the whole.
            like: dates of a longer text, of which the document is the beginning: it has their order and
                languages.
        """
        messages, since = messages_in(document.text, document.media_type), date or document.modified_at
        if like is None:
            order = order_of(document.text, date, timezone)
            languages = TextLanguages.of(document.text, since and local_day(since, ZoneInfo(timezone)))
        else:
            order, languages = like.is_day_first, like.languages
        if not messages:
            whole = _DateReader(document, date, timezone, order, language_at=languages.at)
            begins, days = whole.read()
            has_day = whole.has_days or document.media_type == MAIL
            return cls(begins, *_columns(days), whole.stamps, has_day, order, whole.plans, languages)
        places: list[int] = [0]
        dates: list[tuple[Anchor | None, DateEvidence]] = [(None, DateEvidence("message"))]
        stamps: list[tuple[int, int]] = []
        left = _MAX_READ
        for message in messages:
            if document.media_type == CHAT:
                places.append(message.start)
                words = f"{message.written} {message.author or ''}".strip()
                dates.append((read_date(message.written, timezone), DateEvidence("message", words)))
                continue
            body = document.text[message.body : message.end]
            mail = msgspec.structs.replace(document, text=body, media_type=MAIL)
            written = date_in(message.written)
            by = DateEvidence("message", message.written)
            places.append(message.start)  # its subject
            dates.append((written, by))
            reader = _DateReader(
                mail,
                written,
                timezone,
                order_of(mail.text, written, timezone),
                most_read=left,
                by=by,
                language_at=partial(_shifted, languages, message.body),
            )
            inner, of_inner = reader.read()
            places += (message.body + place for place in inner)
            dates += of_inner
            stamps += ((message.body + start, message.body + end) for start, end in reader.stamps)
            left -= reader.read_lines
        return cls(places, *_columns(dates), stamps, has_day=True, is_day_first=order, languages=languages)

    def at(self, place: int) -> Anchor | None:
        """Return the reference date for *place*, or None if it is unknown or ambiguous."""
        written = self.written[bisect_right(self.places, place) - 1]
        if written is None or written[0] == "~":
            return NearDay.fromisoformat(written[1:]) if written else None
        return datetime.fromisoformat(written) if "T" in written else date.fromisoformat(written)

    def context_at(self, place: int, timezone: str) -> DateContext:
        """Return how words for days at *place* are read. *timezone*: IANA name of the reader's."""
        return DateContext(self.at(place), timezone, self.is_day_first, self.languages.at(place))

    def plan_at(self, place: int, *, is_box: bool = False) -> PlannedDay | None:
        """Return the day of the work at *place* by a heading above it, such as "Thursday".

        Args:
            is_box: it may have passed.
        """
        nth = bisect_right(self.plans, place, key=lambda plan: plan[0])
        plan = self.plans[nth - 1][1] if nth else None
        return None if plan is None or (plan.is_over and not is_box) else plan

    def counted(self, item: Item, timezone: str) -> tuple[CountedDay, ...]:
        """Return why fields of an item have their days, where its words count from the day of its passage.

        Words that mean the same on any day explain themselves.
        """
        context = self.context_at(item.start, timezone)
        if (plan := self.plan_at(item.start, is_box=True)) and plan.words in item.words.values():
            by, words, since = plan.evidence, plan.words, plan.since
            field = "dueDate" if "dueDate" in item.words else "date"
            return (CountedDay(field=field, words=words, since=since, by=by.by, evidence=by.words),)
        if context.today is None:
            return ()
        by, since = self.evidence[bisect_right(self.places, item.start) - 1], context.today.isoformat()
        days = {name: at for name in item.words if isinstance(at := item.data.get(name), int)}
        return tuple(
            CountedDay(field=name, words=item.words[name], since=since, by=by.by, evidence=by.words)
            for name, at in days.items()
            if local_day(from_epoch_ms(at), context.zone) in _days_counted(item.words[name], *context)
        )


@lru_cache(maxsize=10_000, typed=True)  # the same words in many rows
def _days_counted(
    words: str, anchor: Anchor | None, timezone: str, is_day_first: bool | None, language: str | None
) -> set[date]:
    """Return the days that *words* may mean; none if they mean one without the anchor."""
    context = DateContext(anchor, timezone, is_day_first, language)
    if resolve(words, *context._replace(anchor=None)) is not None:
        return set()
    moments = [
        resolve(text, *context, is_due=is_due)
        for text in (words, f"{words}.")  # "27.11" of a sentence with "27.11."
        for is_due in (False, True)
    ]
    return {local_day(moment.at, context.zone) for moment in moments if moment is not None}


def order_of(text: str, since: Anchor | None = None, timezone: str = "UTC") -> bool | None:
    """Return True if the day comes first in dates with slashes; None if nothing tells.

    Dates of one reading tell it, else weekdays beside dates or at the start of their rows. Else the language
    does, and for English the country of the writer. The last does not count against a date of the next
    months.

    Args:
        since: time of writing, from which a weekday tells the order, and which days are near.
        timezone: IANA name of the writer's.
    """
    days = _days_of_lines(_ORDERING, text)
    orders = {pair["day"] is not None for day in days if (pair := _ORDERED.search(day.words))}
    orders = orders or {order for day in days if (order := _order_by_weekday(day, since)) is not None}
    orders = orders or {
        order
        for row in islice(filter(None, map(_WEEKDAY_ROW.match, text.split("\n"))), _MAX_ORDERED)
        if fold(row["name"]) in _weekdays()
        for day in dates_in(f"{row['name']} {row['day']}")
        if (order := _order_by_weekday(day, since)) is not None
    }
    if orders or not _STROKES.search(text):
        return orders.pop() if len(orders) == 1 else None
    begin = _HALF_DAY.sub(" ", text[:20_000])
    lexicon = lexicon_in(begin, None)
    if lexicon is None:
        return None
    if lexicon.time.is_day_first is not None and is_evident(lexicon, begin):
        return lexicon.time.is_day_first
    order = _order_of_zone(timezone)
    if order is None and not _HALF_DAY.search(text):
        order = lexicon.time.is_day_first
    if order is None:
        return None
    days = _days_of_lines(_STROKES, text)
    nearness = [[_is_near(day.words, since, is_first) for is_first in (order, not order)] for day in days]
    return None if [False, True] in nearness else order


def _days_of_lines(having: re.Pattern[str], text: str) -> list[DateWords]:
    """Return the first words for days in the first lines that have a pattern."""
    lines = islice(filter(having.search, text.split("\n")), _MAX_ORDERED)
    days = (day for line in lines for day in dates_in(line[:_LINE_CHARS].lstrip(_LIST_SIGNS)))
    return [*islice(days, _MAX_ORDERED)]


def _is_near(words: str, since: Anchor | None, is_day_first: bool) -> bool:
    """Return True if words with a date with slashes mean a day of the next months, or of the last weeks."""
    if since is None or "/" not in words:
        return False
    moment = resolve(words, anchor=since, timezone="UTC", is_day_first=is_day_first)
    today = since.date() if isinstance(since, datetime) else since
    return moment is not None and -_NEAR_DAYS / 3 <= (moment.at.date() - today).days <= _NEAR_DAYS


def _shifted(languages: TextLanguages, start: int, place: int) -> str:
    """Return the language at a place of a part of a text, which begins at *start*."""
    return languages.at(start + place)


def _order_of_zone(timezone: str) -> bool | None:
    """Return True if those who write English in a time zone put the day first; None if both are in use."""
    if _MONTH_FIRST.match(timezone):
        return False
    return True if _DAY_FIRST.match(timezone) else None


def _order_by_weekday(words: DateWords, since: Anchor | None) -> bool | None:
    """Return True if the day comes first in a date with slashes by the weekday beside it, else None."""
    moment = resolve(words.words, anchor=since, timezone="UTC") if words.parts.weekday is not None else None
    figures = words.parts.figures or ()
    if moment is None or len(figures) < 2 or figures[0][1] == figures[0][2]:
        return None
    return (moment.at.month, moment.at.day) == figures[0][1:]


def _columns(
    dates: Iterable[tuple[Anchor | None, DateEvidence]],
) -> tuple[list[str | None], list[DateEvidence]]:
    """Return the dates by ISO 8601, and their evidence."""
    pairs = [
        (f"{'~' * isinstance(anchor, NearDay)}{anchor.isoformat()}" if anchor else None, by)
        for anchor, by in dates
    ]
    return [written for written, _ in pairs], [by for _, by in pairs]


_Dated = tuple[_LineDate, DateEvidence]


class _Section(NamedTuple):
    """Content below a heading.

    Attributes:
        is_day: its date comes from a line of the document, or from its name.
        is_open: that line tells no certain day, such as "Monday", and contradicts none.
        week: the first day of the week that it names, with its evidence.
        is_listed: its plan ends at a blank line below a row.
    """

    level: int
    anchor: _LineDate
    by: DateEvidence
    is_day: bool = False
    is_open: bool = False
    year: int | None = None
    week: tuple[date, DateEvidence] | None = None
    plan: PlannedDay | None = None
    is_listed: bool = False


class _Heading(NamedTuple):
    """Line that may date the passage below it.

    Attributes:
        is_sure: a date in it applies to its passage.
    """

    level: int
    title: str
    by: EvidenceKind = "heading"
    is_sure: bool = True

    @property
    def is_marked(self) -> bool:
        """True if its layout makes it a heading, and not its date."""
        return self.by == "heading"


class _DateReader:
    """Reader of one text, whose own date is *date*.

    *by*: what tells that date, if it is known; *language_at* returns the code of the language at a place.
    """

    def __init__(
        self,
        document: Document,
        date: datetime | None,
        timezone: str,
        is_day_first: bool | None,
        *,
        most_read: int = _MAX_READ,
        by: DateEvidence | None = None,
        language_at: Callable[[int], str],
    ) -> None:
        self._most_read = most_read
        self._zone = ZoneInfo(timezone)
        self._timezone = timezone
        self._name = PurePosixPath(document.unit_key.replace("\\", "/"))
        self._is_mail = document.media_type == MAIL or self._name.suffix.lower() == ".eml"
        self._is_org = self._name.suffix.lower() == ".org"
        self._date = date
        self._language_at, self._language = language_at, language_at(0)
        self._latest = local_day(document.modified_at, self._zone) + _DAY if document.modified_at else None
        self._read: dict[str, _LineDate] = {}
        self._known_dates = cache(dates_in)  # lines of a diary repeat
        self._lines = list(lines_of(document.text))
        self._texts = [line.text[:_LINE_CHARS] for line in self._lines]
        front, self._front = front_matter(self._lines)
        body = range(self._front, len(self._texts))
        self._first = next((nth for nth in body if self._texts[nth].strip()), -1)  # line with text
        self._head = self._end_of_head()
        self._is_day_first = is_day_first
        # A date from the file may be its last modification: it counts only if no other date exists.
        self._is_own = self._is_mail or (date is not None and date != document.modified_at)
        fields = (f"{key}: {text}" for key, text in front.items() if read_date(text, timezone) == date)
        by_file = (
            DateEvidence("front_matter", next(fields, "")) if self._is_own else DateEvidence("file_time")
        )
        self._by = by or (DateEvidence("message") if self._is_mail else by_file)  # of the whole
        self._sections = [_Section(0, _NO_DATE, self._by)]
        # Depth of quotation, date, whether it ends at a blank line, evidence.
        self._entry: tuple[int, _LineDate, bool, DateEvidence] | None = None
        self._quotes: dict[int, _Dated] = {}
        self._outline: list[tuple[int, _Dated]] = []  # days of enclosing list items, with their indents
        self._since_heading = 0
        self._places: list[int] = []
        self._line_dates: list[_Dated] = []
        self._is_dated = False  # by a line of its own
        self._above: set[int] = set()  # header lines of quoted mails
        self.plans: list[tuple[int, PlannedDay | None]] = []
        self._rows = 0  # lines below one that is a weekday
        self._is_apart = False  # the line before is blank
        self.stamps: list[tuple[int, int]] = []  # places of the words that tell a date of writing

    @property
    def read_lines(self) -> int:
        """Number of lines parsed by the lexicon."""
        return len(self._read)

    @property
    def has_days(self) -> bool:
        """True if a line of the text, a field or the name tells a day. Known once the text is read."""
        known = (anchor for anchor, _ in self._line_dates if not isinstance(anchor, NearDay))
        return self._is_own or any(map(self._day, known))

    def read(self) -> tuple[list[int], list[tuple[Anchor | None, DateEvidence]]]:
        """Return the places where a new date begins, and the dates with their evidence."""
        self._sections[0] = self._by_name()
        self._note(0, self._now(0))
        quoted_from = self._quoted_from()
        is_notes = sum(map(self._is_own_line, self._texts)) > 1
        is_code = False
        for nth, line in enumerate(self._lines[self._front :], self._front):
            text, self._language = self._texts[nth], self._language_at(line.start)
            marks = _QUOTED.match(text)
            content = text[marks.end() :] if marks else text
            depth = text[: marks.end()].count(">") if marks else 0
            if nth in quoted_from:
                scope, dated = quoted_from[nth]
                self._quotes = {deep: quoted for deep, quoted in self._quotes.items() if deep < scope} | {
                    scope: dated
                }
            if not content.strip():
                self._is_apart = True
                if self._rows and self._sections[-1].is_listed:
                    self._sections[-1] = self._sections[-1]._replace(plan=None)
                if self._entry is not None and self._entry[2]:
                    self._entry = None
                continue
            if _FENCE.match(content):
                is_code = not is_code
            elif nth in self._above:
                self._entry = None
            elif not is_code:
                self._take_item(nth, content, len(text[: marks.end()].expandtabs(4)) if marks else 0)
                self._read_line(nth, content, depth, is_notes)
            self._note(line.start, self._now(depth))
            plan, self._is_apart = self._sections[-1].plan, False
            if plan != (self.plans[-1][1] if self.plans else None):
                self.plans.append((line.start, plan))
        root = self._date if self._is_own or not self._is_dated else None
        return self._places, [
            (root, self._by) if isinstance(anchor, _NoDate) else (anchor, by)
            for anchor, by in self._line_dates
        ]

    def _take_item(self, nth: int, content: str, indent: int) -> None:
        """Update the days of the enclosing list items: an item that is a day dates the items below it."""
        while self._outline and indent <= self._outline[-1][0]:
            self._outline.pop()
        mark = _ITEM.match(content)
        if mark is None or not self._is_own_line(content[mark.end() :]):
            return
        below = next(filter(str.strip, self._texts[nth + 1 : nth + 3]), "").expandtabs(4)
        if len(below) - len(below.lstrip()) > indent:
            anchor = self._of_title(content[mark.end() :])
            self._is_dated = True
            dated = None if self._is_at_odds(anchor) else anchor, _shown("entry", content)
            self._outline.append((indent, dated))

    def _read_line(self, nth: int, content: str, depth: int, is_notes: bool) -> None:
        """Update the current date by one line."""
        self._since_heading += 1
        self._rows += 1
        start = self._lines[nth].start + len(self._texts[nth]) - len(content)
        if depth == 0 and (heading := self._heading(nth, content, is_notes)) is not None:
            self._open(heading)
            if not heading.is_marked and self._day(self._sections[-1].anchor) is not None:
                self.stamps.append((start, start + len(content)))
        elif depth == 0 and self._is_day_line(content):
            self._begin_weekday(content)
        elif depth == 0 and (day := self._labelled_day(content)) is not None:
            self._entry = depth, day, True, _shown("entry", content)
        elif (stamp := self._stamp(content, start)) is not None:
            anchor, ends, by = stamp
            if ends and self._is_at_odds(anchor):
                anchor = None
            self._is_dated = self._is_dated or not isinstance(anchor, _NoDate)
            self._entry = depth, anchor, ends, by
        elif (
            self._since_heading <= 10  # lines of a passage in which a date field is accepted
            and depth == 0
            and (field := _FIELD.match(content)) is not None
        ):
            anchor = self._of_field(field["value"])
            if not isinstance(anchor, _NoDate):
                top = self._sections[-1]
                around = self._texts[max(0, nth - 3) : nth + 4]
                is_of_mail = any(re.match(r"(?:From|To|Subject):", text) for text in around)
                is_other = self._is_at_odds(anchor) and not is_of_mail
                by, anchor = _shown("field", content), None if is_other else anchor
                self._sections[-1] = top._replace(anchor=anchor, by=by, is_day=True)
                if anchor is not None:
                    self.stamps.append((start, start + len(content)))
                self._is_dated = self._is_dated or len(self._sections) > 1
        elif self._entry is not None and self._entry[0] != depth:
            self._entry = None
        top = self._sections[-1]
        if top.level == _OWN_LINE_LEVEL and top.plan and self._since_heading and self._ends_day(content):
            self._sections[-1] = top._replace(plan=None)
        is_top = nth == self._first and depth == 0 and not (self._is_own or self._sections[-1].is_day)
        if is_top and CONTACT.search(content):
            self._open_contact(content.rstrip())

    def _ends_day(self, content: str) -> bool:
        """Return True for a line in bold, or a label below a blank line, that is no day."""
        is_title = not (_ITEM.match(content) or self._is_day_line(content) or self._is_own_line(content))
        is_bold = content.startswith(("**", "__")) and content.rstrip(" :").endswith(("**", "__"))
        is_label = content.rstrip().endswith((":", "\uff1a")) and self._is_apart
        return is_title and len(content) <= _OWN_CHARS and (is_bold or is_label)

    def _weekday_in(self, bare: str) -> tuple[int | None, str]:
        """Return the weekday with which a short line begins, and the folded words behind it."""
        name, rest = _first_word(bare) if len(bare) <= _WEEKDAY_CHARS else ("", "")
        weekday, week = self._weekdays.get(name), self._sections[-1].week
        is_of_week = week is not None and _GERMAN_WEEK.search(fold(week[1].words)) is not None
        is_german = is_of_week or self._language == "de" or bool(rest and self._weekdays)
        if weekday is None and name in _GERMAN_DAYS and is_german:
            weekday = _GERMAN_DAYS[name]
        return weekday, rest

    def _is_day_line(self, content: str) -> bool:
        """Return True for a line that is only a weekday, also with its date: "**Tues 1st**", "Freitag:"."""
        bare = content.strip(_DECORATION)
        if _ITEM.match(content) or content.startswith("["):
            return False
        weekday, rest = self._weekday_in(bare)
        is_marked = content.startswith(("**", "__")) or content.rstrip().endswith((":", "\uff1a"))
        if weekday is None and not (is_marked and len(bare) <= _WEEKDAY_CHARS and _DIGIT.search(bare)):
            return False
        words = _DAY_WORDS.findall(fold(bare) if weekday is None else rest)
        is_bare = all(word in _AMID_DATES or word in _months() for word in words)
        return is_bare and (weekday is not None or bool(words) or bool(self._dates_in(_pointed(bare))))

    @property
    def _weekdays(self) -> Mapping[str, int]:
        """Names of weekdays that count: those of all languages, in a text of one that is read."""
        return {} if self._language in unread_languages() else _weekdays()

    def _dates_in(self, text: str) -> list[DateWords]:
        return self._known_dates(text, language=self._language)

    def _moment(
        self, words: str, since: Anchor | None = None, is_day_first: bool | None = None
    ) -> ResolvedTime | None:
        return resolve(words, since, self._timezone, is_day_first, self._language)

    def _begin_weekday(self, content: str) -> None:
        """Begin the work of a line that is a weekday; unless it is in bold, it ends at a blank line."""
        sibling = self._close(_OWN_LINE_LEVEL)
        around = self._sections[-1]
        plan = self._planned(content, around, sibling)
        is_listed = not content.startswith(("**", "__"))
        section = around._replace(level=_OWN_LINE_LEVEL, plan=plan, is_listed=is_listed)
        if sibling is not None and sibling.is_day:
            section = section._replace(anchor=None, is_day=True, is_open=True)
        self._rows = 0
        self._sections.append(section)

    def _close(self, level: int) -> _Section | None:
        """Close the sections of *level* and below, and return the last one of the level."""
        closed = None
        while len(self._sections) > 1 and self._sections[-1].level >= level:
            closed = self._sections.pop()
        return closed

    def _open_contact(self, line: str) -> None:
        """Set the date of the text to the past day of a call or a mail in its first line."""
        # "Anruf von Ann 25.11."
        days = self._dates_in(line) or self._dates_in(_POINTED.sub(": ", line))
        order, since = self._is_day_first, self._date
        words = days[0].words if since and days and not any(day.parts.is_due for day in days) else ""
        moment = self._moment(words, since, order)
        if moment is not None and (day := self._checked(local_day(moment.at, self._zone))):
            by = _shown("line", line)
            self._sections[-1] = self._sections[-1]._replace(anchor=day, by=by, is_day=True)

    def _heading(self, nth: int, content: str, is_notes: bool) -> _Heading | None:
        if match := (_ORG_HEADING if self._is_org else _HEADING).match(content):
            return _Heading(len(match[1]), match[2])
        below = self._texts[nth + 1] if nth + 1 < len(self._texts) else ""
        if (line := _UNDERLINE.match(below)) and not _UNDERLINE.match(content) and not _FIELD.match(content):
            return _Heading(1 if line[1][0] == "=" else 2, content)
        title = self._letter_day(content) if nth - self._front < 20 else None
        if title is None and self._is_own_line(content):
            # A line that is only a date is a heading if there are several, or if it comes first; a single one
            # may refer to anything.
            is_below = self._is_below_title(nth)
            is_sure = is_notes or is_below or nth <= self._head or content.startswith(("**", "__"))
            level = self._sections[-1].level if is_below and not is_notes else _OWN_LINE_LEVEL
            return _Heading(level, content, "line", is_sure)
        kind: EvidenceKind = "line"  # of a letter
        if title is None and self._is_title(nth):
            title, kind = content, "title"
        is_week = title is not None and kind == "title" and self._week(title, self._sections[0]) is not None
        if title is None or self._is_dated or not (is_week or self._day(self._of_title(title))):
            return None
        return _Heading(1, title, kind)

    def _is_below_title(self, nth: int) -> bool:
        """Return True for the first line below that of the title, which dates all that the title names."""
        between = [text for text in self._texts[self._first + 1 : nth][:_HEAD_LINES] if text.strip()]
        is_first = self._first < nth <= self._first + _HEAD_LINES and all(map(_UNDERLINE.match, between))
        return is_first and (nth <= self._head or self._sections[-1].level > 0)

    def _letter_day(self, content: str) -> str | None:
        """Return the day behind the place of a letter; a weekday is no place."""
        letter = _LETTER.fullmatch(content)
        return letter["day"] if letter and not self._dates_in(letter["place"]) else None

    def _is_title(self, nth: int) -> bool:
        """Return True for a line that names the text: the first one, or that of minutes below a name."""
        text = self._texts[nth]
        is_alone = nth == self._first == self._head
        if nth > self._head or _SENTENCE.search(text):
            return False
        return is_alone or any(language.has("minutes", text) for language in languages_in(script_of(text)))

    def _end_of_head(self) -> int:
        """Return the last line of the first lines of a text, up to a blank one or to fields; -1: a list."""
        lines = self._texts[self._first :] if self._first >= 0 else []
        head = list(takewhile(lambda text: text.strip() and not MAIL_FIELD.match(text), lines[:_HEAD_LINES]))
        is_title = len(head) < _HEAD_LINES and all(len(text) <= 100 for text in head)
        has_items = any(_ITEM.match(text) and not self._is_own_line(text) for text in head)
        return self._first + len(head) - 1 if is_title and not has_items else -1

    def _is_own_line(self, line: str) -> bool:
        bare = line.strip(_DECORATION)
        is_day = _OWN_LINE.fullmatch(bare) is not None or (
            _DIGIT.search(bare) is not None and self._is_day_line(line)
        )
        return len(bare) <= _OWN_CHARS and line[:2] not in ("- ", "* ", "+ ") and is_day

    def _open(self, heading: _Heading) -> None:
        """Open the passage of a heading; without a date, it inherits that of the enclosing passage."""
        level, title = heading.level, heading.title
        sibling = self._close(level)
        around, anchor = self._sections[-1], self._of_title(title)
        planned = self._planned(title, around, sibling)
        plan = planned or (None if self._is_day_line(title) or self._is_own_line(title) else around.plan)
        around = around._replace(plan=plan, week=self._week(title, around), is_listed=False)
        self._entry, self._quotes, self._since_heading, self._outline = None, {}, 0, []
        years = set(map(int, _YEAR.findall(title)))
        year = years.pop() if len(years) == 1 else around.year
        if isinstance(anchor, _NoDate) or (anchor is None and self._is_about_days_ahead(title)):
            self._sections.append(around._replace(level=level, year=year))
            return
        self._is_dated = True
        is_known = heading.is_sure and not self._is_at_odds(anchor)
        by = _shown(heading.by, title)
        known = anchor if is_known else None
        section = _Section(level, known, by, is_day=True, year=year, week=around.week, plan=around.plan)
        section = section._replace(is_open=anchor is None)
        self._sections.append(section)

    def _is_about_days_ahead(self, title: str) -> bool:
        """Return True for a name with days after the file's, such as "Trip (17-21 May 2027)"."""
        latest, days = self._latest, [day for day in self._dates_in(title) if day.is_full]
        if latest is None:
            return False
        found = [self._moment(day.words) for day in days]
        bare = "".join(title[: day.start] + title[day.end :] for day in days[:1])
        are_ahead = all(moment is not None and local_day(moment.at, self._zone) > latest for moment in found)
        return are_ahead and any(map(str.isalpha, bare))

    def _week(self, title: str, around: _Section) -> tuple[date, DateEvidence] | None:
        """Return the week in a heading, such as "Week of 23 November" or "KW 48", else that around it."""
        since, folded = self._own_day or self._day(self._date), fold(title)
        named = _WEEK.search(title) if len(self._read) < self._most_read else None
        if named is None or since is None:
            return around.week
        number, year = _WEEK_NUMBER.search(folded), _YEAR.search(folded)
        rest = f"{title[: named.start()]} {title[named.end() :]}".strip()
        if number is not None:
            found = [f"week {number['after'] or number['before']} {year[0] if year else ''}"]
        else:
            dates = self._dates_in(_pointed(rest))
            found = [day.words for day in dates if self._names_day(day)]
        order = self._is_day_first
        moments = [self._moment(words, since, order) for words in found[:1]]
        if (alone := _WEEK_DAY.search(folded)) and not found:
            days = (
                near
                for near in (since + step * _DAY for step in range(-15, 16))
                if near.day == int(alone["day"])
            )
        else:
            days = (local_day(moment.at, self._zone) for moment in moments if moment is not None)
        for day in days:
            if year or abs(day - since) < _NEAR_WEEKS:
                return day - day.weekday() * _DAY, _shown("heading", title)
        return around.week

    def _names_day(self, words: DateWords) -> bool:
        """Return True for words with a day and its month."""
        return bool(words.is_full or words.parts.figures) or words.parts.about_day >= {"month", "day"}

    def _reference(self, around: _Section) -> tuple[date | None, DateEvidence]:
        """Return the day from which a heading counts: that around it, or of the file, also one ahead."""
        named, name = self._sections[0], _NAMED.search(self._name.stem)
        if around.is_day and (day := self._day(around.anchor)) is not None:
            return day, around.by
        if name and is_named(self._name.name):
            day = self._numeric(_NUMERIC.fullmatch("-".join(name.groups())))
            return day, named.by
        return self._own_day, named.by if self._day(named.anchor) else self._by

    def _planned(self, title: str, around: _Section, sibling: _Section | None = None) -> PlannedDay | None:
        """Return the day of a heading that is a day, or work and its day: one ahead, or one of its week.

        A weekday without a week counts from the day of the heading before it.
        """
        bare = title.strip(_DECORATION)
        if len(bare) > _OWN_CHARS or len(self._read) >= self._most_read:
            return None
        weekday, rest = self._weekday_in(bare)
        text = _pointed(bare)
        if weekday is not None and (number := _DAY_NUMBER.fullmatch(rest)):  # "Mi 2.", "Do 3.12"
            month = number["month"]
            text = f"{_ENGLISH_DAYS[weekday]} {number['day']}" + (f".{month}." if month else "th")
        is_alone = weekday is not None and not rest
        words = None if is_alone else next(iter(self._dates_in(text)), None)
        named = fold(f"{text[: words.start]} {text[words.end :]}").strip(_LIST_NAME_ENDS) if words else ""
        if (words is None and not is_alone) or (named and not _WORK_LIST.fullmatch(named)):
            return None
        about = words.parts.about_day if words else {"weekday"}
        weekday = weekday if words is None else words.parts.weekday
        since, by = self._reference(around)
        if about == {"weekday"} and weekday is not None:
            if sibling is not None and sibling.plan is not None:
                since, by = date.fromisoformat(sibling.plan.day), _shown("line", sibling.plan.words)
            since, by = around.week or (since, by)
            is_past = since is not None and not around.week and weekday < since.weekday() < _SATURDAY
            day = None if since is None or is_past else since + (weekday - since.weekday()) % 7 * _DAY
        else:
            since, by = (since, by) if since else (self._day(self._date), self._by)
            is_date = words is not None and (self._names_day(words) or about == {"weekday", "day"})
            order = self._is_day_first
            read = words.words if words else ""
            found = self._moment(read, since, order)
            day = local_day(found.at, self._zone) if found and is_date else None
        if since is None or day is None:
            return None
        is_of_week, is_over = around.week and about == {"weekday"}, self._is_overdue(day)
        if is_over and words is not None and words.is_full:  # of notes of that day
            return None
        if day <= since and not (is_over or is_of_week):
            return None
        is_over = is_over and not is_of_week
        shown = words.words if words and words.words in bare else bare
        return PlannedDay(day.isoformat(), shown, since.isoformat(), by, is_over)

    def _is_overdue(self, day: date) -> bool:
        """Return True for a day of the last weeks, in a text that is no record of what was done."""
        today = self._own_day or self._day(self._date)
        is_near = today is not None and today - _NEAR_WEEKS < day < today
        return is_near and not self._is_record

    @cached_property
    def _is_record(self) -> bool:
        """True for a diary, a log or minutes, by the name or the first line."""
        first = self._texts[self._first] if self._first >= 0 else ""
        return _RECORD.search(f"{self._name} {fold(first)}".lower()) is not None

    def _labelled_day(self, content: str) -> date | None:
        """Return the day of a row in a week with a date that begins with a weekday: "Tue: rang Ann"."""
        week, label = self._sections[-1].week, _DAY_LABEL.match(content)
        name = fold(label[1]) if week and label else ""
        short = _GERMAN_DAYS if week and _GERMAN_WEEK.search(fold(week[1].words)) else {}
        weekday = self._weekdays.get(name, short.get(name))
        return None if week is None or weekday is None else week[0] + weekday * _DAY

    def _stamp(self, content: str, start: int) -> tuple[_LineDate, bool, DateEvidence] | None:
        """Return the moment at the start of a line, and whether it applies only up to the next blank line."""
        match = _stamped(content) or _ENTRY.match(content)
        if match is not None and self._is_plan(match["day"] or match["bold_day"]):
            return None
        if match := _stamped(content):
            anchor = self._with_time(self._numeric_or_words(match["day"]), match["time"])
            return anchor, False, _shown("message", match[0])
        if match := _ENTRY.match(content):
            anchor = self._numeric_or_words(match["day"] or match["bold_day"])
            if anchor is not None:  # else it is not clear
                self.stamps.append((start + match.start("stamp"), start + match.end("stamp")))
            return anchor, True, _shown("entry", match["stamp"])
        if self._entry is not None and (match := _HOUR.match(content)):
            _, anchor, ends, by = self._entry
            if isinstance(anchor, datetime):
                return self._later_that_day(anchor, match), ends, by
        return None

    def _is_plan(self, words: str) -> bool:
        """Return True for a day after that of the file."""
        numbers = _NUMERIC.fullmatch(words)
        moment = None if numbers else self._moment(words)
        day = local_day(moment.at, self._zone) if moment else self._numeric(numbers)
        return day is not None and self._latest is not None and day > self._latest

    def _later_that_day(self, before: datetime, clock: re.Match[str]) -> _LineDate:
        """Return the moment of a message with an hour alone; an hour before the last is of another day."""
        last = before.astimezone(self._zone)
        is_later = (last.hour, last.minute) <= (int(clock["h"]), int(clock["min"]))
        return self._with_time(last.date(), f"{clock['h']}:{clock['min']}") if is_later else None

    def _with_time(self, day: _LineDate, time: str) -> _LineDate:
        if isinstance(day, _NoDate | datetime) or day is None or (clock := _CLOCK.match(time)) is None:
            return day
        hour, half = int(clock["h"]), (clock["half"] or "").lower()
        if half:
            hour = hour % 12 + 12 * (half == "p")
        zone = (clock["zone"] or "").upper().replace("UTC", "Z")
        return read_date(f"{day.isoformat()}T{hour:02}:{clock['min']}{zone}", self._timezone) or day

    def _numeric_or_words(self, text: str) -> _LineDate:
        if match := _NUMERIC.fullmatch(text):
            return self._checked(self._numeric(match))
        anchor = self._of_title(text)
        return None if isinstance(anchor, _NoDate) else anchor

    def _numeric(self, match: re.Match[str] | None) -> date | None:
        """Parse a numeric date; with slashes, in the order of the dates of the text."""
        if match is None:
            return None
        first, second, third = (int(match[group]) for group in (1, 3, 4))
        if len(match[1]) == 4:
            year, month, day = first, second, third
        else:
            is_day_first = match[2] == "." or first == second or self._is_day_first
            if is_day_first is None and max(first, second) > 12:
                is_day_first = first > 12
            if is_day_first is None:
                return None
            month, day = (second, first) if is_day_first else (first, second)
            year = third + 2000 if len(match[4]) == 2 else third
        try:
            return date(year, month, day)
        except ValueError:
            return None

    def _of_title(self, title: str) -> _LineDate:
        """Return the day in a heading, a name or a field."""
        bare = title.strip(_DECORATION)
        if match := _NUMERIC.fullmatch(bare):
            return self._checked(self._numeric(match))
        return self._once(f"{self._sections[-1].year or ''} {title}", lambda: self._by_lexicon(title))

    def _of_field(self, value: str) -> _LineDate:
        """Return the day in a field; one without a year is of the nearest, and ahead it is a plan."""
        anchor, days = self._of_title(value), self._dates_in(value)
        if anchor is not None or _YEAR.search(value) or any(day_words.is_full for day_words in days):
            return anchor
        near = {self._moment(day.words, self._date) for day in days[:1]}
        known = [local_day(moment.at, self._zone) for moment in near if moment]
        return next(filter(None, map(self._checked, known)), _NO_DATE)

    def _once(self, key: str, read: Callable[[], _LineDate]) -> _LineDate:
        """Return the lexicon's result for a line, cached for equal lines."""
        if key not in self._read:
            if len(self._read) >= self._most_read:
                return None
            self._read[key] = read()
        return self._read[key]

    def _by_lexicon(self, title: str) -> _LineDate:
        dates = [day_words for day_words in self._dates_in(title) if not day_words.parts.is_due]
        full = [day_words for day_words in dates if day_words.is_full]
        is_interval_of_years = not dates and len(_YEAR.findall(title)) > 1
        if is_interval_of_years:
            return None
        if not full:
            leading = [day_words for day_words in dates if not fold(title[: day_words.start])]
            return self._without_year(leading, title) if leading else _NO_DATE
        moments = {day_words.words: self._moment(day_words.words) for day_words in full}
        days = {local_day(moment.at, self._zone) if moment else None for moment in moments.values()}
        longest = max(full, key=lambda one: len(one.words))
        moment = moments[longest.words]
        before, after = fold(title[: longest.start]), fold(title[longest.end :]).strip(" .")
        has_other_days = (
            len(days) > 1
            or any(not any(day_words.words in whole.words for whole in full) for day_words in dates)
            or _OTHER_DAYS.search(f"{before} {after}") is not None
        )
        is_amid_words = bool(before and after)
        is_interval = _INTERVAL.search(fold(longest.words)) is not None
        is_own_day = days == {self._own_day}
        if moment is None or is_interval or (not is_own_day and (has_other_days or is_amid_words)):
            return None
        return self._checked(moment.at if moment.has_time else next(iter(days)))

    def _without_year(self, leading: Sequence[DateWords], title: str) -> _LineDate:
        """Resolve a day without a year by the year of a heading above, or by its weekday."""
        for day_words in leading:
            year, about = self._sections[-1].year, day_words.parts.about_day
            if about == {"weekday"} and (day := self._own_day) and self._is_weekday_of(day, day_words.words):
                return day
            is_date = about >= {"month", "day"} or day_words.parts.figures or about == {"weekday", "day"}
            if fold(title[day_words.end :]).strip(" .") or not is_date:
                continue
            near: Anchor | None = date(year, 7, 1) if year else self._date if "weekday" in about else None
            moment = near and self._moment(day_words.words, near)
            day = local_day(moment.at, self._zone) if moment else None
            if day is not None and year in (None, day.year):
                return self._checked(day)
        return None

    @property
    def _own_day(self) -> date | None:
        """Day of the whole document by its name or its fields; None: it is not known."""
        by_name = self._day(self._sections[0].anchor)
        return by_name or (self._day(self._date) if self._is_own else None)

    def _is_weekday_of(self, day: date, words: str) -> bool:
        moment = self._moment(words, day - _DAY)
        return moment is not None and local_day(moment.at, self._zone) == day

    def _checked(self, anchor: Anchor | None) -> Anchor | None:
        """Return the date, or None if it is later than the file: then it is a plan."""
        day = self._day(anchor)
        return None if day is None or (self._latest is not None and day > self._latest) else anchor

    def _day(self, anchor: _LineDate) -> date | None:
        if isinstance(anchor, _NoDate):
            return None
        return local_day(anchor, self._zone) if isinstance(anchor, datetime) else anchor

    def _is_at_odds(self, anchor: _LineDate) -> bool:
        """Return True if the current passage has another day."""
        around = self._sections[-1]
        is_of_mail = self._is_mail and isinstance(around.anchor, _NoDate)
        day = self._day(self._date if is_of_mail else around.anchor)
        has_day = (around.is_day or self._is_mail) and day is not None
        return has_day and day != self._day(anchor)

    def _by_name(self) -> _Section:
        """Return the section of the file with the day in its name."""
        by = DateEvidence("file_name", self._name.name)
        if self._is_mail or not is_named(self._name.name):
            return _Section(0, _NO_DATE, by)
        name = (
            _NAMED.sub(r" \1-\2-\3 ", self._name.stem).replace("_", " ").replace("- ", " ").replace(" -", " ")
        )
        anchor = self._of_title(name) if any(map(str.isdigit, name)) else _NO_DATE
        if anchor is None and not _YEAR.search(name):
            anchor = _NO_DATE
        if self._is_own and self._day(anchor) not in (None, self._day(self._date)):
            anchor = None
        return _Section(0, anchor, by, is_day=not isinstance(anchor, _NoDate))

    def _quoted_from(self) -> dict[int, tuple[int, _Dated]]:
        """Return quotation depth and date of each quoted mail, by the line at which it begins."""
        found: dict[int, tuple[int, _Dated]] = {}
        for first, last in lines_above(self._texts):
            self._above.update(range(first, last + 1))
            if self._is_mail and first == self._first:  # its own header, whose date is known
                continue
            below = next((at for at in range(last + 1, len(self._texts)) if _bare(self._texts[at])), None)
            if below is None:
                continue
            outer, inner = _depth(self._texts[first]), _depth(self._texts[below])
            if outer and inner < outer:
                continue
            lines = [*self._texts[first : last + 1], *fields_below(self._texts, last)]
            header = "\n".join(_QUOTED.sub("", line, count=1) for line in lines)
            anchor = self._once(header, partial(self._only_day, header))
            found[below] = inner, (anchor, _shown("message", _bare(lines[0])))
        return found

    def _only_day(self, header: str) -> _LineDate:
        """Return the only day with a year in the header lines of a mail, each of which has its language."""
        full = [
            day_words.words
            for line in header.split("\n")
            for day_words in self._dates_in(line)
            if day_words.is_full
        ]
        moments = [*map(self._moment, full)]
        days = {local_day(moment.at, self._zone) if moment else None for moment in moments}
        known = [moment for moment in moments if moment]
        if len(days) != 1 or not known:
            return None
        return self._checked(known[0].at if known[0].has_time else next(iter(days)))

    def _now(self, depth: int) -> _Dated:
        """Return the current date for a line with this quotation depth, and its evidence."""
        if self._entry is not None and self._entry[0] == depth:
            return self._entry[1], self._entry[3]
        if depth in self._quotes:
            return self._quotes[depth]
        if depth == 0 and self._outline:
            return self._outline[-1][1]
        top = self._sections[-1]
        near = self._own_day or self._day(self._date)
        if depth == 0 and top.is_open and near and (top.year or near.year) >= near.year:
            return NearDay(near.year, near.month, near.day), self._by
        return None if depth and (self._quotes or self._is_mail) else top.anchor, top.by

    def _note(self, place: int, dated: _Dated) -> None:
        if not self._line_dates or self._line_dates[-1] != dated:
            self._places.append(place)
            self._line_dates.append(dated)


@cache
def _weekdays() -> dict[str, int]:
    """Return the folded names of weekdays in all languages, with their numbers."""
    days = [day for language in languages() for day in enumerate(language.time.weekdays.split(","))]
    return {fold(word): nth for nth, words in days for word in words.split() if len(word) > 1}


def weekday_of(name: str, *, is_german: bool) -> int | None:
    """Return the number of a weekday by its name, in German also by two letters."""
    return _weekdays().get(fold(name), _GERMAN_DAYS.get(fold(name)) if is_german else None)


def is_weekday(name: str) -> bool:
    """Return True for a weekday in any language, also by two letters, and no name: "Sam" may be one."""
    day = fold(name.strip(" ."))
    return (day in _weekdays() or day in _GERMAN_DAYS) and not is_person(name)


@lru_cache(maxsize=4_096)  # lines are looked at several times
def _first_word(bare: str) -> tuple[str, str]:
    """Return the folded word with which a line begins, and those behind it."""
    begin = _LINE_DAY.fullmatch(fold(bare))
    return (begin["name"], begin["rest"].strip(" .")) if begin else ("", "")


def _pointed(text: str) -> str:
    """Return a text with the last point of days such as "30.11"."""
    return _UNPOINTED.sub(r"\1.", text)


@cache
def _months() -> frozenset[str]:
    """Return the folded names of months in all languages."""
    names = (word for language in languages() for word in re.split(r"[,\s]+", language.time.months))
    return frozenset(map(fold, filter(None, names)))


def _shown(by: EvidenceKind, line: str) -> DateEvidence:
    """Return the evidence of a line without marks of headings and lists."""
    return DateEvidence(by, " ".join(line.strip(_DECORATION).split())[:100])


def _stamped(text: str) -> re.Match[str] | None:
    has_digit = _DIGIT.search(text) is not None
    return next(filter(None, (pattern.match(text) for pattern in _STAMPS)), None) if has_digit else None


def _bare(text: str) -> str:
    return text.strip(" \t>")


def _depth(text: str) -> int:
    marks = _QUOTED.match(text)
    return marks.group().count(">") if marks else 0
