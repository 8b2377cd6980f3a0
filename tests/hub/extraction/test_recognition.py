"""Languages of texts, and which words tell days in them: no word of another language does."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.ruled import ToExtract
from hub.extraction.wording.recognition import TextLanguages, unread_languages
from protocol.tables import TABLES
from tests.support.families import each

BERLIN = ZoneInfo("Europe/Berlin")
WRITTEN = datetime(2026, 11, 28, 9, tzinfo=UTC)
# Lines of notes and mails in six languages that are not read, and the days of their figures and months.
LINES = [
    (code, line, frozenset(filter(None, days.split(","))))
    for code, line, days in (
        row.split("\t")
        for row in Path(__file__).with_name("unread_lines.tsv").read_text("utf-8").splitlines()
    )
]
MARCH = "mar 2027: wymiana opon, po zimie"  # alone, it tells no language, and March is right


def extraction_of(name: str, text: str) -> Extraction:
    document = Document(unit_key=name, text=text, content_hash="", modified_at=WRITTEN)
    options = ExtractionOptions(data_types=tuple(TABLES), timezone=BERLIN.key)
    return ToExtract(document=document, options=options, reads_prose=True).answer()


def days_in(name: str, text: str) -> set[str]:
    dates = (
        item.data.get(field) for item in extraction_of(name, text).items for field in ("dueDate", "date")
    )
    return {from_epoch_ms(at).astimezone(BERLIN).date().isoformat() for at in dates if isinstance(at, int)}


@each(("code", "line", "days"), [row for row in LINES if row[1] != MARCH])
def test_line_of_an_unread_language_has_no_day_of_another_languages_word(
    code: str, line: str, days: frozenset[str]
) -> None:
    assert days_in("a.md", f"- [ ] {line}\n") <= days
    assert days_in("a.txt", f"{line}\n") <= days


@each("code", ["cs", "is", "it", "nl", "pl", "pt"])
def test_file_in_an_unread_language_is_recognized_and_has_no_day_of_another_languages_word(code: str) -> None:
    lines = [(line, days) for language, line, days in LINES if language == code]
    text = "".join(f"- [ ] {line}\n" for line, _ in lines)
    assert TextLanguages.of(text).whole == code
    assert days_in("a.md", text) <= frozenset().union(*(days for _, days in lines))
    prose = extraction_of("a.txt", "".join(f"{line}.\n\n" for line, _ in lines))
    assert prose.items == ()
    assert prose.notes.unread_languages == {unread_languages()[code].name: 1}


SHORT = [  # a line with a short name of a day, the text around it, the day
    ("- [ ] Do 10.12. Zahnarzt", "Die Rechnung ist noch nicht bezahlt.", "2026-12-10"),
    ("- [ ] Do 10.12. Zahnarzt", "", "2026-12-10"),  # it is a Thursday
    ("- [ ] do 10.12 raport", "Trzeba jeszcze zapłacić czynsz i kupić chleb.", ""),
    ("- [ ] do 9.12", "", ""),  # a Wednesday
    ("- [ ] di 8.12 regali", "Devo comprare il pane e chiamare la nonna domani.", ""),
    ("- [ ] so 6.12. Chor", "Heute ist die Probe mit der Gruppe.", "2026-12-06"),
    ("- [ ] so 6.12. sraz", "Musíme ještě koupit dárek pro babičku.", ""),
    ("- [ ] 4 december bellen", "Ik heb de rekening nog niet betaald.", "2026-12-04"),
    ("- [ ] 7 grudnia lekarz", "Trzeba jeszcze zapłacić czynsz i kupić chleb.", "2026-12-07"),
    ("- [ ] morgen bellen", "Ik heb de rekening nog niet betaald.", ""),
    ("- [ ] morgen anrufen", "Die Rechnung ist noch nicht bezahlt.", "2026-11-29"),
]


@each(("line", "around", "day"), SHORT)
def test_short_name_of_a_day_counts_in_its_language_alone(line: str, around: str, day: str) -> None:
    assert days_in("a.md", f"{around}\n\n{line}\n") == {day} - {""}


@each(
    ("text", "code"),
    [
        ("Please send me the report by Friday.", "en"),
        ("Bitte schick mir den Bericht bis Freitag.", "de"),
        ("Envoie-moi le rapport avant vendredi, merci.", "fr"),
        ("Por favor, envíame el informe antes del viernes.", "es"),
        ("Пришли мне отчёт до пятницы, пожалуйста.", "ru"),
        ("请在周五之前把报告发给我。", "zh"),
        ("Proszę, wyślij mi raport do piątku.", "pl"),
        ("Prosím, pošli mi zprávu do pátku.", "cs"),
        ("Per favore, mandami la relazione entro venerdì.", "it"),
        ("Não te esqueças de me enviar o relatório até sexta.", "pt"),
        ("Stuur mij het rapport graag voor vrijdag.", "nl"),
        ("Надішли мені звіт до п'ятниці, будь ласка, це важливо.", "uk"),
        ("金曜日までにレポートを送ってください。よろしくお願いします。", "ja"),
        ("Mo 30.11. Müll\nDi 1.12. Chor", "de"),
        ("12 x 4", ""),
        ("", ""),
    ],
)
def test_language_of_a_text_is_known_by_its_words_and_signs(text: str, code: str) -> None:
    assert TextLanguages.of(text, WRITTEN.date()).whole == code


def test_block_in_another_language_has_its_own() -> None:
    german = "Die Rechnung ist noch nicht bezahlt, und wir haben heute keine Zeit.\n"
    polish = "Trzeba jeszcze zapłacić czynsz i kupić chleb, nie mam dziś czasu.\n"
    more = (
        "Morgen soll der Handwerker kommen, aber ich bin bis mittags bei der Arbeit. Kannst du ihm öffnen?\n"
    )
    text = f"{german}\n{more}\n{polish}\n{german}"
    languages = TextLanguages.of(text)
    assert [languages.at(text.index(block)) for block in (german, more, polish)] == ["de", "de", "pl"]
    assert (languages.whole, languages.at(len(text))) == ("de", "de")
    assert languages.unread(len(text)) == [(text.index(polish), text.rindex(german))]
