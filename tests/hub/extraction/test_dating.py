"""What a relative date counts from: the passage that it stands in, wherever that tells its day."""

import json
from datetime import UTC, date, datetime, timedelta
from types import FunctionType
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest

from hub.base.clock import epoch_ms
from hub.document import Document
from hub.extraction import chunk, structured
from hub.extraction.dating import PassageDates
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions, Item
from hub.extraction.model import Finish, ModelAnswer, ModelRequest, Models, Price
from hub.lab.planted import Lots
from hub.text.convert import convert
from hub.text.files import CHAT, MBOX
from protocol.tables import TableName
from protocol.work import Usage
from tests.support.families import each

SAVED = datetime(2025, 11, 30, 9, tzinfo=UTC)  # long after all that is written in these files
TASKS = ExtractionOptions(data_types=(TableName.TASKS,), timezone="Europe/Berlin")
FRIDAY = 4


class Language(NamedTuple):
    """How people write of days; *tomorrow*, *in_three_days* and *friday* count from the day of writing."""

    months: str
    heading: str
    attribution: str
    field: str
    who_does: str
    tomorrow: str
    in_three_days: str
    friday: str


LANGUAGES = {
    "en": Language(
        "January February March April May June July August September",
        "{d} {month} {y}",
        "On {d} {month} {y} at 14:22, Anna Berg <anna@example.org> wrote:",
        "Date",
        "Anna sends report {n} {when}.",
        "tomorrow",
        "in three days",
        "on Friday",
    ),
    "de": Language(
        "Januar Februar März April Mai Juni Juli August September",
        "{d}. {month} {y}",
        "Am {d}.{m:02}.{y} um 14:22 schrieb Anna Berg <anna@example.org>:",
        "Datum",
        "Anna schickt Bericht {n} {when}.",
        "morgen",
        "in drei Tagen",
        "am Freitag",
    ),
    "fr": Language(
        "janvier février mars avril mai juin juillet août septembre",
        "{d} {month} {y}",
        "Le {d} {month} {y} à 14:22, Anna Berg <anna@example.org> a écrit :",
        "Date",
        "Anna envoie le rapport {n} {when}.",
        "demain",
        "dans trois jours",
        "vendredi",
    ),
    "es": Language(
        "enero febrero marzo abril mayo junio julio agosto septiembre",
        "{d} de {month} de {y}",
        "El {d} {month} {y} a las 14:22, Anna Berg (<anna@example.org>) escribió:",
        "Fecha",
        "Anna envía el informe {n} {when}.",
        "mañana",
        "en tres días",
        "el viernes",
    ),
    "ru": Language(
        "января февраля марта апреля мая июня июля августа сентября",
        "{d} {month} {y} г.",  # noqa: RUF001
        "{d} {month} {y} г. в 14:22, Анна Берг <anna@example.org> пишет:",  # noqa: RUF001
        "Дата",
        "Анна отправит отчёт {n} {when}.",
        "завтра",
        "через три дня",
        "в пятницу",
    ),
    "zh": Language(
        "1 2 3 4 5 6 7 8 9",
        "{y}年{month}月{d}日",
        "在 {y}年{month}月{d}日 14:22，Anna <anna@example.org> 写道：",  # noqa: RUF001
        "日期",
        "安娜{when}发送第{n}号报告。",
        "明天",
        "三天后",
        "周五",
    ),
}
STAMPS = (
    "[{y}-{m:02}-{d:02} 14:22] Anna: {said}",
    "{d:02}.{m:02}.{yy:02}, 14:22 - Anna: {said}",
    "{y}-{m:02}-{d:02}T14:22:05Z Anna: {said}",
    "Anna, [{d:02}.{m:02}.{y} 14:22]\n{said}",
    "Anna ({y}-{m:02}-{d:02} 14:22): {said}",
    "[{d:02}/{m:02}/{y}, 14:22:05] Anna: {said}",
)


class Written(NamedTuple):
    """A sentence with a relative date, and the day that it means."""

    said: str
    words: str
    day: date


class Echo:
    """A model that tells every one of *sentences* that it is shown, with the words of its date."""

    name, chunk_tokens, in_flight, is_literal, price = "echo", 1_500, 1, False, Price()

    def __init__(self, sentences: list[Written]) -> None:
        self._sentences = sentences

    async def reach(self) -> str | None:
        return None

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        shown = request.messages[-1].content
        records = [
            {"table": "tasks", "quote": one.said, "title": one.said, "dueDate": one.words}
            for one in self._sentences
            for _ in range(shown.count(one.said))
        ]
        return ModelAnswer(text=json.dumps({"items": records}), finish=Finish.WHOLE, usage=Usage(1, 10, 5))


class Writer:
    """Writes notes from a seed, and remembers what it meant."""

    def __init__(self, seed: str) -> None:
        self._lots = Lots(seed)
        self.sentences: list[Written] = []

    def day(self) -> date:
        return date(2025, 1, 1) + timedelta(days=13 + self._lots.below(227))

    def sentence(self, language: Language, written: date) -> str:
        to_friday = (FRIDAY - written.weekday()) % 7 or 7
        meant = {language.tomorrow: 1, language.in_three_days: 3, language.friday: to_friday}
        words = self._lots.choose(list(meant))
        said = language.who_does.format(n=len(self.sentences) + 1, when=words)
        self.sentences.append(Written(said, words, written + timedelta(days=meant[words])))
        return said


def spelled(form: str, day: date, language: Language, **more: str) -> str:
    month = language.months.split()[day.month - 1]
    return form.format(d=day.day, m=day.month, y=day.year, yy=day.year % 100, month=month, **more)


def headings(writer: Writer, language: Language) -> str:
    parts = ["# Notes"]
    for form in ("{y}-{m:02}-{d:02}", language.heading, "{y}-{m:02}-{d:02} \u2013 Standup"):
        day = writer.day()
        parts += [f"## {spelled(form, day, language)}", writer.sentence(language, day)]
    return "\n\n".join(parts)


def chat(writer: Writer, language: Language) -> str:
    days = [date(2025, 2, 13), *(writer.day() for _ in STAMPS[1:])]  # a 13th tells the order of strokes
    pairs = zip([STAMPS[5], *STAMPS[:5]], days, strict=True)
    return "\n".join(spelled(form, day, language, said=writer.sentence(language, day)) for form, day in pairs)


def mail(writer: Writer, language: Language) -> str:
    first, second = sorted((writer.day(), writer.day()))
    lines = [
        writer.sentence(language, SAVED.date()),
        "",
        spelled(language.attribution, second, language),
        f"> {writer.sentence(language, second)}",
        ">",
        f"> {spelled(language.attribution, first, language)}",
        f"> > {writer.sentence(language, first)}",
        "",
    ]
    return "\n".join(lines)


def minutes(writer: Writer, language: Language) -> str:
    day = writer.day()
    head = f"# Jour fixe\n\n**{language.field}:** {spelled(language.heading, day, language)}\n\n"
    return f"{head}{writer.sentence(language, day)}\n\n## 2\n\n{writer.sentence(language, day)}\n"


async def extract(text: str, sentences: list[Written], name: str = "notes.md") -> Extraction:
    document = Document(unit_key=name, text=text, content_hash="0" * 64, modified_at=SAVED)
    model = Echo(sentences)
    extraction = await Extractor(Models(model, model), secret=bytes(32)).extract(document, TASKS)
    assert all(text[item.start : item.end] == item.quote for item in extraction.items)
    return extraction


def day_ms(day: date) -> int:
    return epoch_ms(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("Europe/Berlin")))


@each("write", [headings, chat, mail, minutes])
@each("tongue", LANGUAGES)
async def test_relative_dates_count_from_the_date_of_the_passage(write: FunctionType, tongue: str) -> None:
    writer = Writer(f"{write.__name__}-{tongue}")
    text = write(writer, LANGUAGES[tongue])
    found = {item.quote: item for item in (await extract(text, writer.sentences)).items}
    told = {one.said: found[one.said].data.get("dueDate") for one in writer.sentences}
    assert told == {one.said: day_ms(one.day) for one in writer.sentences}


@each(
    "above",
    [
        "## Week of 6 January 2025",
        "## 6-10 January 2025",
        "## 2025-01-06 \u2013 2025-01-10",
        "## 1/6/2025",
        "## Monday",
        "## 6 January",
        "## Release 2025-01-06",
        "## 2026-02-02",  # later than the file: a plan
        "# 2025-01-06\n\n## 2025-01-07",
        "## 2025-01-06\n\nText.\n\n## Other things",
        "1/6/25, 14:22 - Anna:",
        "[2025-01-06 23:50] Bob: Hello.\n[00:10] Anna:",
        "Thanks!\n\nOn 1/6/2025 at 14:22, Bob <bob@example.org> wrote:\n>",
        "On 6 January 2025 at 14:22, Bob <bob@example.org> wrote:\n> Hello\n> >",
        "# Party\n\nDate: 6 June 2026\n\n",
    ],
)
async def test_relative_date_in_a_passage_of_unsure_day_is_unresolved(above: str) -> None:
    said = "Anna sends report 7 tomorrow."
    glue = " " if above.endswith((":", ">")) else "\n\n"
    (item,) = (await extract(f"{above}{glue}{said}\n", [Written(said, "tomorrow", SAVED.date())])).items
    assert "dueDate" not in item.data
    assert item.unresolved == {"dueDate": "tomorrow"}


@pytest.mark.parametrize(
    ("name", "head", "day"),
    [
        ("journal/2025-01-06.md", "", date(2025, 1, 6)),
        ("2025_01_06.md", "", date(2025, 1, 6)),
        ("20250106 standup.txt", "", date(2025, 1, 6)),
        ("06.01.2025.txt", "", date(2025, 1, 6)),
        ("2025-01-06.md", "# 2025-01-06", date(2025, 1, 6)),
        ("2025-01-06.md", "# 2025-01-07", None),
        ("2025-01-06.md", "---\ndate: 2025-01-08\n---", None),
        ("notes.md", "---\ndate: 2025-01-08\n---", date(2025, 1, 8)),
        ("report-17.md", "", SAVED.date()),
        ("notes.md", "> [!note]\n> Read this.", SAVED.date()),
    ],
)
def test_file_with_a_date_in_the_name_is_dated_by_the_name(name: str, head: str, day: date | None) -> None:
    text = f"{head}\n\nAnna calls tomorrow."
    document = Document(unit_key=name, text=text, content_hash="0" * 64, modified_at=SAVED)
    own = datetime(2025, 1, 8, tzinfo=UTC) if "date:" in head else SAVED
    at = PassageDates.of(document, date=own, timezone="UTC").at(text.index("Anna"))
    assert (at.date() if isinstance(at, datetime) else at) == day


SAID = (
    "Minutes of the meeting held on 6 January 2025",
    "Memo recorded 6 January 2025, 07:40",
    "Protokoll der Sitzung vom 6. Januar 2025",
    "Compte rendu de la réunion du 6 janvier 2025",
    "Acta de la reunión celebrada el 6 de enero de 2025",
    "Протокол совещания от 6 января 2025 г.",  # noqa: RUF001
    "2025年1月6日例会纪要",
    "---\ndate: 2025-01-06\n---\n\nNotes",
    "Whitby, 6 January 2025\n\nDear Clara,",
    "Huber GmbH\nAm Markt 3\n\nPassau, den 6. Januar 2025\n\nSehr geehrte Frau Ott,",
    "Lyon, le 6 janvier 2025\n\nMadame,",
    "Madrid, a 6 de enero de 2025\n\nEstimada Clara:",
    "Москва, 6 января 2025 г.\n\nДорогая Клара!",  # noqa: RUF001
    "TSV Ober e. V.\nProtokoll der Sitzung vom Montag, 06.01.2025\nBeginn 19:30, Ende 21:10",
    "Garden Association\n6 January 2025\n\nDear members,",
    "---\ndate: 2025-01-06\n---\n\n# Week 2 (written on 6 January 2025)",
    "---\ndate: 2025-01-06\n---\n\n## Lundi",
    "Old things\n\n**2025-01-06** Rain.",
    "Old things\n\n__6 January 2025:__ Rain.",
)
NOT_SAID = (
    "The letter of 6 January 2025 says that they pay.",
    "- Answer the letter of 6 January 2025",
    "Rain\n\nMonday, 6 January 2025",
    "The letter of 6 January 2025\nsays that they pay. I have read it\nand answered",
    "---\ndate: 2025-11-30\n---\n\n# Week 2 (written on 6 January 2025)",
    "---\ndate: 2025-11-30\n---\n\n## Lundi",
    "Minutes of the meeting on 6 January 2027",  # later than the file: a plan
    "Insurance\n\nThe letter of 6 January 2025 is lost",
    "Anna, 6 January 2025 is a Monday.",
)


@each("head", [*SAID, *NOT_SAID])
def test_only_first_lines_naming_the_day_of_a_document_date_the_document(head: str) -> None:
    glue = " " if head.endswith("Rain.") else "\n\n"
    text = f"{head}{glue}Anna calls tomorrow."
    document = Document(unit_key="notes.md", text=text, content_hash="0" * 64, modified_at=SAVED)
    own = structured.read(document, TASKS).date
    at = PassageDates.of(document, date=own, timezone=TASKS.timezone).at(text.index("Anna calls"))
    day = at.astimezone(ZoneInfo(TASKS.timezone)).date() if isinstance(at, datetime) else at
    is_dated = day == date(2025, 1, 6)
    assert is_dated == (head in SAID)


@pytest.mark.parametrize(
    "head",
    [
        *(
            "# Choir\n\nMonday, 6 January 2025\n\n## Present\n\n- Rosa",
            "Choir\n=====\n\n6.1.2025\n\n## Here\n\n- Rosa",
        ),
        *("# Coro\n6 de enero de 2025\n\n## Asistentes\n\n- Rosa", "Chor\n6. Januar 2025\n\n# Da\n\n- Rosa"),
        *(
            "# Собрание\n\n6 января 2025\n\n## Были\n\n- Рита",
            "# 合唱团\n\n2025年1月6日\n\n## 出席\n\n- 小王",
        ),
    ],
)
def test_day_below_the_title_dates_the_passages_of_later_headings(head: str) -> None:
    text = f"{head}\n\n## Points\n\n- Anna calls tomorrow\n"
    document = Document(unit_key="notes.md", text=text, content_hash="0" * 64, modified_at=SAVED)
    dates = PassageDates.of(document, date=SAVED, timezone=TASKS.timezone)
    assert dates.at(text.index("Anna calls")) == date(2025, 1, 6)


def test_date_stamps_of_writing_are_excluded_from_prose() -> None:
    text = (
        "Whitby, 6 January 2025\n\n**2025-01-07** Anna came.\n\nDate: 2025-01-07\nThe fair is on 2025-03-01."
    )
    document = Document(unit_key="notes.md", text=text, content_hash="0" * 64, modified_at=SAVED)
    dates = PassageDates.of(document, date=SAVED, timezone="UTC")
    assert [text[start:end] for start, end in dates.stamps] == ["Whitby, 6 January 2025", "**2025-01-07**"]


async def test_same_sentence_under_two_dated_headings_yields_two_due_dates() -> None:
    said = "Anna calls tomorrow."
    text = f"## 2025-01-06\n\n{said}\n\n## 2025-01-07\n\n{said}\n"
    found = await extract(text, [Written(said, "tomorrow", SAVED.date())])
    assert [item.data["dueDate"] for item in found.items] == [
        day_ms(date(2025, 1, 7)),
        day_ms(date(2025, 1, 8)),
    ]


@pytest.mark.parametrize(
    ("head", "meant"),
    [("## 2025-01-06\n\n", None), ("[2025-01-06 14:22] Anna: ", datetime(2025, 1, 6, 15, 22, tzinfo=UTC))],
)
async def test_relative_hours_resolve_only_from_a_passage_with_a_time(
    head: str, meant: datetime | None
) -> None:
    said = "Bob calls back in two hours."
    (item,) = (await extract(f"{head}{said}\n", [Written(said, "in two hours", SAVED.date())])).items
    assert item.data.get("dueDate") == (epoch_ms(meant) if meant else None)
    assert ("dueDate" in item.unresolved) == (meant is None)


async def test_model_date_for_a_passage_of_unknown_day_is_unresolved() -> None:
    said = "Anna calls tomorrow."
    (item,) = (await extract(f"## Monday\n\n{said}", [Written(said, "2025-12-01", SAVED.date())])).items
    assert ("dueDate" in item.data, item.unresolved) == (False, {"dueDate": "tomorrow"})


def archive(text: str, path: str) -> Document:
    read = convert(text.encode(), path=path)
    return Document(
        unit_key=path,
        text=read.text,
        content_hash="0" * 64,
        media_type=read.media_type,
        modified_at=SAVED,
    )


@pytest.mark.parametrize("body", ["", "# Plan\n"], ids=["plain", "heading"])
async def test_relative_date_in_an_archive_counts_from_the_date_of_the_message(body: str) -> None:
    said = [Written(f"{who} calls back tomorrow.", "tomorrow", SAVED.date()) for who in ("Anna", "Bob")]
    first, second = (f"{body}{one.said}" for one in said)
    chat = f"06/01/2025, 23:22 - Anna: {first}\n28/01/2025, 14:22 - Bob: {second}\n"
    header = "Subject: x\nFrom: a@example.org\nDate: "
    mails = (
        f"From x\n{header}Mon, 6 Jan 2025 23:22:00 +0100\n\n{first}\n\n"
        f"From y\n{header}Tue, 28 Jan 2025 14:22:00 +0100\n\n{second}\n"
    )
    for path, text in {"chat.txt": chat, "mails.mbox": mails}.items():
        found = await Extractor(Models(Echo(said)), secret=b"s").extract(archive(text, path), TASKS)
        days = [item.data.get("dueDate") for item in found.items]
        assert days == [day_ms(date(2025, 1, 7)), day_ms(date(2025, 1, 29))], path


def test_chat_messages_of_ambiguous_date_have_no_passage_date() -> None:
    text = "1/6/25, 14:22 - Anna: Bob calls tomorrow.\n1/7/25, 14:22 - Bob: ok\n"
    document = archive(text, "chat.txt")
    assert PassageDates.of(document, date=SAVED, timezone="UTC").at(document.text.index("Bob")) is None


def test_each_mail_of_an_mbox_is_a_chunk_with_subject_and_sender() -> None:
    mails = "From x\nSubject: Rent\nFrom: Eve\n\nPlease pay.\n\nFrom y\nSubject: Plan\n\nPlease call.\n"
    document = archive(mails, "mails.mbox")
    pieces = chunk.split(document.text, structured.read(document, TASKS).prose, 1_500)
    assert [piece.headings for piece in pieces] == [("Rent", "From: Eve"), ("Plan",)]


@pytest.mark.parametrize(
    ("lines", "day"),
    [
        (["- 2025-01-06", "  - Anna calls tomorrow."], date(2025, 1, 7)),
        (["- [[2025-01-06]]", "\t- Work", "\t\t- Anna calls tomorrow."], date(2025, 1, 7)),
        (["1. Monday, 6 January 2025", "   Anna calls tomorrow."], date(2025, 1, 7)),
        (["- 2025-01-06", "  - Rain.", "- 2025-02-03", "  - Anna calls tomorrow."], date(2025, 2, 4)),
        (["## 2025-03-03", "- 2025-01-06", "  - Anna calls tomorrow."], None),
        (["## 2025-03-03", "- 2025-03-03", "  - Rain.", "- Anna calls tomorrow."], date(2025, 3, 4)),
        (["- 2025-01-06", "- Anna calls tomorrow."], date(2025, 12, 1)),
        (
            ["понедельник, 2025-01-06", "Rain.", "воскресенье, 2025-01-12", "Anna calls tomorrow."],
            date(2025, 1, 13),
        ),
    ],
)
async def test_list_item_with_a_date_dates_the_nested_items(lines: list[str], day: date | None) -> None:
    said = Written("Anna calls tomorrow.", "tomorrow", SAVED.date())
    (item,) = (await extract("\n".join(lines), [said])).items
    assert item.data.get("dueDate") == (None if day is None else day_ms(day))
    assert item.unresolved == ({"dueDate": "tomorrow"} if day is None else {})


PLANS = "Anna sends report 7 by Friday.\n"


@each(
    ("name", "head", "evidence"),
    [
        ("notes.md", "## Minutes of 6 January 2025\n\n", 'the heading "Minutes of 6 January 2025"'),
        (
            "a.txt",
            "Minutes of the meeting of 6 January 2025\n\n",
            'the title "Minutes of the meeting of 6 January 2025"',
        ),
        ("a.txt", "Garden Association\n6 January 2025\n\nDear members,\n\n", 'the line "6 January 2025"'),
        ("a.txt", "Whitby, 6 January 2025\n\nDear Clara,\n\n", 'the line "6 January 2025"'),
        ("notes.md", "# Party\n\nDate: 6 January 2025\n\n", 'the field "Date: 6 January 2025"'),
        ("notes.md", "**2025-01-06** ", 'the entry "2025-01-06"'),
        ("notes.md", "- 2025-01-06\n  - ", 'the entry "2025-01-06"'),
        ("notes.md", "[2025-01-06 14:22] Bob: ", 'the message "2025-01-06 14:22"'),
        (
            "notes.md",
            "On 6 January 2025 at 14:22, Bob <b@example.org> wrote:\n> ",
            'the message "On 6 January',
        ),
        ("notes.md", "---\ndate: 2025-01-06\n---\n\n", 'the front matter "date: 2025-01-06"'),
        ("2025-01-06.md", "", 'the name of the file "2025-01-06.md"'),
        ("2025-01-06.md", "## Work\n\n", 'the name of the file "2025-01-06.md"'),
        ("notes.md", "", "the time of the file"),
        ("notes.md", "## Work\n\n", "the time of the file"),
    ],
)
async def test_counted_date_names_the_evidence_of_the_passage_date(
    name: str, head: str, evidence: str
) -> None:
    (day,) = (await ruled(f"{head}{PLANS}", name))[0].counted
    since = "2025-11-30" if evidence.endswith("file") else "2025-01-06"
    assert day.sentence.startswith(f'dueDate: "by Friday", counted from {since}, {evidence}')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Anna sends report 7 by 10 January 2025.\n", []),
        ("- [ ] Call Bob tomorrow\n", ["tomorrow"]),
        ("### Thursday\n\n- [ ] Call Bob\n", ["Thursday"]),
        ("- [ ] Call Bob \U0001f4c5 2025-01-07\n", []),
        ("| task | due |\n|---|---|\n| Pay the rent | next Friday |\n", ["next Friday"]),
        ("| task | due |\n|---|---|\n| Pay the rent | 2025-01-07 |\n", []),
        ("Ann: who orders the paint?\nBob: I will, by Friday\nAnn: good\n", ["by Friday"]),
        ("Bitte geben Sie mir bis zum 27.3. Bescheid.\n", ["bis zum 27.3."]),
        ("Choir concert on 3 May.\n", ["on 3 May"]),
    ],
)
async def test_only_relative_date_words_have_a_counting_explanation(text: str, words: list[str]) -> None:
    found = await ruled(f"## 2025-01-06\n\n{text}")
    assert [day.words for item in found for day in item.counted] == words
    assert any("dueDate" in item.data or "date" in item.data for item in found)


async def test_due_date_of_a_model_record_is_explained_by_the_quoted_words() -> None:
    said = "Anna sends report 7 tomorrow."
    for written in ("tomorrow", "2025-01-07"):
        (item,) = (await extract(f"## 2025-01-06\n\n{said}\n", [Written(said, written, SAVED.date())])).items
        assert [(day.words, day.since, day.by) for day in item.counted] == [
            ("tomorrow", "2025-01-06", "heading")
        ]


@pytest.mark.parametrize(
    ("kind", "words"), [(CHAT, "2025-01-06 14:22 Bob"), (MBOX, "Mon, 6 Jan 2025 14:22:00 +0000")]
)
async def test_message_date_of_an_archive_is_the_evidence_of_counted_dates(kind: str, words: str) -> None:
    mail = f"From b@example.org Mon Jan  6 14:22:00 2025\nFrom: b@example.org\nDate: {words}\n\n{PLANS}"
    text = f"[2025-01-06 14:22] Bob: {PLANS}" if kind == CHAT else mail
    (day,) = (await ruled(text, "archive.txt", kind))[0].counted
    assert (day.by, day.evidence) == ("message", words)


async def ruled(text: str, name: str = "notes.md", media_type: str | None = None) -> tuple[Item, ...]:
    """Return what the rules alone find."""
    document = Document(
        unit_key=name, text=text, content_hash="0" * 64, modified_at=SAVED, media_type=media_type
    )
    options = msgspec.structs.replace(TASKS, data_types=(TableName.TASKS, TableName.TIMELINES))
    return (await Extractor(Models(), secret=bytes(32)).extract(document, options)).items
