"""Which parts of a long text are read, by its shape and its author, and what is said of the rest."""

import math
from datetime import UTC, datetime
from functools import cache
from itertools import count, product
from typing import Final

import msgspec
import pytest

from hub.document import Document
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.reading_cost import OTHERS_STEPS, OWN_STEPS, parts_to_read, steps_until
from hub.extraction.ruled import ToExtract, part_of
from hub.text.files import CHAT, MAIL
from protocol.items import Provenance, ProvenanceOrigin
from protocol.tables import TABLES
from tests.support.calls import calls_of
from tests.support.families import each

OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")
OWN: Final = Provenance(origin=ProvenanceOrigin.OWN, trusted=True)
KNOWN: Final = Provenance(origin=ProvenanceOrigin.MAIL, author="ana@example.org", trusted=True)
STRANGER: Final = Provenance(origin=ProvenanceOrigin.MAIL, author="x@example.org", trusted=False)
CHARS: Final = 100_000
CALLS_PER_STEP: Final = 5
# One unit of each shape, repeated with a number.
SHAPES: Final[dict[str, tuple[str, str]]] = {
    "prose": ("a.txt", "Please send report {} to Ann by Friday. It rained all day, and nobody came.\n"),
    "one line": ("a.txt", "Call the plumber about flat {} next week. "),
    "no blanks": ("a.txt", "x{}y"),
    "days": ("a.txt", "2031-03-12 tree {}\n"),
    "times": ("a.txt", "9:00-10:30 {} abc\n"),
    "short sentences": ("a.txt", "Ab{}. "),
    "fields": ("a.txt", "Ab: {}\n"),
    "han": ("a.txt", "请在周五之前把第{}份报告发给李明。"),
    "headings": ("a.md", "## Next steps {}\nCall Ann.\n"),
    "table": ("a.md", "| Call Ann {} | 2031-03-01 | Bob |\n"),
    "boxes": ("a.md", "- [ ] call Ann about the flat\n"),
    "quotation": ("a.txt", "> > Please call Ann {} by Friday.\n"),
    "html": ("a.html", "<p>Call Ann {}.</p>"),
    "calendar": (
        "a.ics",
        "BEGIN:VEVENT\r\nUID:{}\r\nSUMMARY:Dinner\r\nDTSTART:20310520T190000Z\r\nEND:VEVENT\r\n",
    ),
    "line ends": ("a.txt", "\n"),
}
each_shape = pytest.mark.parametrize("shape", SHAPES)


@cache
def text_of(shape: str, chars: int) -> str:
    path, unit = SHAPES[shape]
    units, size, numbers = list[str](), 0, count()
    while size < chars:
        units.append(unit.format(next(numbers)))
        size += len(units[-1])
    return ("BEGIN:VCALENDAR\r\n" if path.endswith(".ics") else "") + "".join(units)


def long_text(shape: str, by: Provenance | None, chars: int = CHARS) -> Document:
    path, text = SHAPES[shape][0], text_of(shape, chars)
    written = datetime(2026, 5, 6, 12, tzinfo=UTC)
    return Document(unit_key=path, text=text, content_hash="0" * 64, modified_at=written, provenance=by)


def extract(document: Document) -> Extraction:
    return ToExtract(document=document, options=OPTIONS, reads_prose=True).answer()


@each_shape
@each(("by", "most"), [(OWN, OWN_STEPS), (KNOWN, OWN_STEPS), (STRANGER, OTHERS_STEPS)])
def test_read_parts_of_a_long_text_have_the_steps_of_its_author(
    shape: str, by: Provenance, most: int
) -> None:
    document = long_text(shape, by)
    (start, end), (stop, resume) = parts_to_read(document, reads_prose=True)
    most = max(most, 16 * len(document.text)) if by.trusted else most

    def steps(start: int, end: int, *, reads_prose: bool) -> float:
        return steps_until(part_of(document, start, end), float("inf"), reads_prose=reads_prose)

    marks = steps(start, end, reads_prose=False)
    sentences = [
        steps(*place, reads_prose=True) - steps(*place, reads_prose=False)
        for place in ((start, stop), (resume, end))
        if place[1] - place[0] > 2_000
    ]
    assert marks + sum(sentences) <= most
    assert end - start == len(document.text) or marks > most / 3


@each("head", ["---\nsource: https://x.example\n---\n", "From: Eve\nSubject: Tea\n\n"])
def test_page_or_mail_in_a_note_of_the_owner_has_the_steps_of_others(head: str) -> None:
    own, others = long_text("prose", OWN), long_text("prose", STRANGER)
    copied, same = (msgspec.structs.replace(one, text=head + one.text) for one in (own, others))
    parts = [parts_to_read(one, reads_prose=True) for one in (own, copied, same)]
    assert parts[0] != parts[1] == parts[2]


@each_shape
def test_read_parts_of_a_text_by_others_do_not_depend_on_the_rest(shape: str) -> None:
    first, second = (
        parts_to_read(long_text(shape, STRANGER, chars), reads_prose=True) for chars in (CHARS, 3 * CHARS)
    )
    assert (first[0], first[1][0]) == (second[0], second[1][0])


@each("shape", ["prose", "one line", "days", "times", "han", "boxes", "html"])
def test_marks_in_a_long_text_of_the_owner_are_read_to_its_end(shape: str) -> None:
    document = long_text(shape, OWN)
    assert parts_to_read(document, reads_prose=True)[0] == (0, len(document.text))


@pytest.mark.parametrize("shape", ["prose", "one line", "days", "headings", "han"])
def test_long_text_by_others_has_the_items_of_the_read_part(shape: str) -> None:
    document = long_text(shape, STRANGER)
    _, (stop, _) = parts_to_read(document, reads_prose=True)
    found, alone = extract(document), extract(part_of(document, 0, stop))
    assert [item.data for item in found.items] == [item.data for item in alone.items]
    assert alone.notes.unread_chars == 0
    rest = document.text[stop:]
    assert (found.notes.unread_chars, found.notes.unread_lines) == (len(rest), len(rest.splitlines()))


@each("shape", ["prose", "headings", "days", "boxes"])
@each("by", [OWN, STRANGER])
def test_read_parts_end_with_a_line(shape: str, by: Provenance) -> None:
    document = long_text(shape, by)
    parts = parts_to_read(document, reads_prose=True)
    assert {document.text[place - 1] for part in parts for place in part if place} == {"\n"}


@each("provenance", [OWN, KNOWN, None])
def test_list_of_boxes_of_a_known_author_is_read_as_a_whole(provenance: Provenance | None) -> None:
    document = long_text("boxes", provenance)
    part, (stop, resume) = parts_to_read(document, reads_prose=True)
    assert (part, resume - stop) == ((0, len(document.text)), 0)


def test_calendar_with_an_unread_end_is_not_cut_off() -> None:
    notes = extract(long_text("calendar", STRANGER)).notes
    assert (notes.is_cut_off, notes.unread_chars > 0) == (False, True)


@each("name", ["a.org", "a.ics", "a.taskpaper", "a.csv"])
@each("shape", ["times", "days", "one line"])
def test_prose_in_a_file_of_rows_costs_as_much_as_in_any_other(shape: str, name: str) -> None:
    document = long_text(shape, STRANGER)
    steps = [
        steps_until(msgspec.structs.replace(document, unit_key=key), math.inf, reads_prose=True)
        for key in ("a.txt", name)
    ]
    assert steps[0] == steps[1]


@each(
    ("unit", "name"),
    [
        ("Call Ann about {}. | By 3 May! | ", "a.md"),
        ("Call Ann about {}; Ben, by 3 May! ", "a.csv"),
        ("Ann calls Ben, and {} comes by Friday, too.\n", "a.csv"),
        ("Ann,Ben;{} go\nCall Ann,Ben,Cem by Friday\nDan\nCem,Ann,Eli,Fay by 3 May\n", "a.csv"),
        ("| Call Ann about {} | by 3 May |\n\n", "a.md"),
        ("Call Ann about {} | by | Friday\n", "a.taskpaper"),
        ("> We meet on Monday at {}.\n", "a.md"),
    ],
)
def test_prose_with_signs_of_rows_costs_as_much_as_without_them(unit: str, name: str) -> None:
    text = "".join(map(unit.format, range(200)))
    documents = [
        msgspec.structs.replace(long_text("prose", STRANGER, 0), unit_key=key, text=words)
        for key, words in ((name, text), ("a.txt", text.replace("|", "/").replace(">", "/")))
    ]
    steps = [steps_until(document, math.inf, reads_prose=True) for document in documents]
    assert steps[0] == steps[1]


@each(
    ("name", "begin"),
    [
        *product(("a.txt", "a.csv", "a.ics", "a.srt", "a.eml"), ("# ", "[-] ", "> [ ] ")),
        *product(("a.csv", "a.ics", "a.rst", "a.vtt", "x"), ("- [ ] ", "1. [x] ")),
        *product(("a.ics", "a.ical"), (" ", "\t", "NOTE: ", "NOTE;X=1:")),
        *product(("a.org",), (": ", ":ID: ", "#")),
        *product(("a.md", "a.txt", "a.org"), ("00:00:01,000 --> 00:00:02,000 ",)),
        *product(("todo.txt",), ("- ", "* ", "# ")),
        ("a.taskpaper", "1. [x] "),
    ],
)
def test_row_of_another_format_costs_as_much_as_prose(name: str, begin: str) -> None:
    lines = (f"{begin}Please send report {nth} to Ann by Friday.\n" for nth in range(200))
    text = "".join(("BEGIN:VCALENDAR\n and a fold\n", *lines))  # no calendar, as a reader unfolds that line
    document = msgspec.structs.replace(
        long_text("prose", STRANGER, 0), text=text, media_type=MAIL if name == "x" else ""
    )
    steps = [
        steps_until(msgspec.structs.replace(document, unit_key=key), math.inf, reads_prose=True)
        for key in (name, "a.rst")
    ]
    assert steps[0] == steps[1]


@each(
    ("name", "unit"),
    [
        *product(
            ("a.txt", "a.org"),
            ("- [ ] tree {}\n", "- [ ] tree {} 12/3\n", "- [ ] tree {} 5/6.2031 31.1.\n"),
        ),
        *product(("a.txt", "a.tsv", "a.md"), ("** 11/10. {}\n", "11/10. {}:\n", "{} 1/2:\n")),
        *product(("a.txt", "todo.txt"), ("13h49 {} due\n---\n",)),
        ("todo.txt", "tree {} 5/6.2031 31.1.\n"),
        ("a.org", "* TODO tree {} 12/3\n"),
        ("a.md", "| tree {} | 12/3 |\n"),
        ("a.md", "- [ ] Di 7/11/{} ( mar -\n"),
        ("a.log", f"{{}} {'19-10.2031 10.11. 16/3/31 ' * 4}\n"),
        ("a.csv", "tree,{},2031-03-12\n"),
    ],
)
def test_marks_and_dates_are_read_within_the_calls_of_their_steps(name: str, unit: str) -> None:
    text = "".join(map(unit.format, range(80)))
    document = msgspec.structs.replace(long_text("prose", STRANGER, 0), unit_key=name, text=text)
    request = ToExtract(document=document, options=OPTIONS, reads_prose=False)
    request.answer()  # patterns are compiled
    assert calls_of(request.answer) <= CALLS_PER_STEP * steps_until(document, math.inf, reads_prose=False)


def test_empty_lines_cost_more_than_their_characters() -> None:
    document = long_text("line ends", STRANGER)
    assert steps_until(document, math.inf, reads_prose=False) > 8 * len(document.text)


def test_prose_for_a_model_costs_the_rules_fewer_steps() -> None:
    document = long_text("prose", STRANGER)
    by_rules, by_model = (parts_to_read(document, reads_prose=is_read)[1][0] for is_read in (True, False))
    assert by_model > 3 * by_rules


JOURNAL: Final = {
    "en": ("Dentist", "It rained all day, and the garden stayed closed. Nobody had seen the old boiler.\n"),
    "de": ("Zahnarzt", "Es regnete den ganzen Tag, der Garten blieb zu. Niemand hatte den Ofen gesehen.\n"),
    "fr": (
        "Dentiste",
        "Il a plu toute la journée, le jardin est resté fermé. Personne n'avait vu le four.\n",
    ),
    "es": ("Dentista", "Llovió todo el día, y el jardín se quedó cerrado. Nadie había visto la caldera.\n"),
    "ru": ("Стоматолог", "Весь день шёл дождь, и сад был закрыт. Никто не видел старый котёл.\n"),
    "zh": ("牙医", "昨天一直下雨，花园关着门。很多年没有人见过那个旧锅炉。\n"),  # noqa: RUF001
}


def journal(language: str, lines: int) -> Document:
    row, line = JOURNAL[language]
    text = (
        f"- [ ] call Anna\n\n## Mon 30.11.\n\n- {row} 8:15\n\n## Notes\n\n{line * lines}\n"
        f"## Wed 2.12.\n\n- [ ] call Ben\n\n## Notes\n\n{line * lines}\n"
        f"## Thu 3.12.\n\n- {row} 9:45\n\n## Fri 4.12.\n\n- [ ] call Cleo\n"
    )
    written = datetime(2026, 11, 28, 12, tzinfo=UTC)
    return Document(unit_key="a.md", text=text, content_hash="0" * 64, modified_at=written, provenance=OWN)


@pytest.mark.parametrize(
    "language",
    [
        language if language in ("en", "zh") else pytest.param(language, marks=pytest.mark.slow)
        for language in JOURNAL
    ],
)
def test_rows_at_both_ends_and_boxes_amid_a_long_journal_are_found(language: str) -> None:
    short, long = (
        extract(journal(language, lines)) for lines in (2, CHARS // 2 // len(JOURNAL[language][1]))
    )
    assert len(short.items) == len(JOURNAL[language]) + 3
    assert [(item.table, item.data) for item in long.items] == [
        (item.table, item.data) for item in short.items
    ]
    assert (short.notes.unread_chars, long.notes.unread_chars > CHARS / 2) == (0, True)


@each("by", [OWN, STRANGER])
def test_newest_message_of_a_long_chat_is_read(by: Provenance) -> None:
    old = "".join(
        f"[{1 + nth // 100:02}.10.26, 10:{nth % 60:02}:00] Ben: It rained all day, nobody came.\n"
        for nth in range(1_600)
    )
    text = f"{old}[28.11.26, 09:00:00] Ann: I will send the contract to Ben by 4 December.\n"
    document = Document(
        unit_key="a.txt",
        text=text,
        content_hash="0" * 64,
        media_type=CHAT,
        modified_at=datetime(2026, 11, 28, 12, tzinfo=UTC),
        provenance=by,
        authors=((0, "Ben"), (len(old), "Ann")),
    )
    found = extract(document)
    (item,) = found.items
    assert (item.table, item.data["assignee"]) == ("tasks", ["Ann"])
    assert item.quote == text[item.start : item.end]
    assert item.start >= len(old)
    assert found.notes.unread_chars > CHARS / 3
