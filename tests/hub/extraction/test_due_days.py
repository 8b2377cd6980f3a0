# ruff: noqa: RUF001 - signs between times
"""Days without a year in lists and sentences: a deadline of last week is found, the day of a noun is none."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.ruled import ToRead
from protocol.items import Unresolved
from protocol.tables import TableName
from tests.support.families import each

WRITTEN = datetime(2026, 11, 28, 17, tzinfo=UTC)
BERLIN = "Europe/Berlin"

# A row of work, and its day: one of last week, of last month, of the months before, and one ahead.
CASES = """
Pay the bill by Nov 27 | 2026-11-27
Pay the bill due 27/11 | 2026-11-27
Pay the bill due 11/27 | 2026-11-27
Pay the bill by 28 October | 2026-10-28
Pay the bill by 27 October | 2027-10-27
Pay the bill by 3 Feb | 2027-02-03
Pay the bill by 27 November 2026 | 2026-11-27
Write up the meeting of 27 November |
Ring Ann on the evening of 4 December | 2026-12-04
Pay the bill of last Friday |
Pay the bill (open since Friday) |
Pay the bill (it expired on 20 November) | 2026-11-20
The bill should have gone out 20/11 | 2026-11-20
Seal the shower Weds 2/12 | 2026-12-02
Die Rechnung hätte am 20.11. rausgehen sollen | 2026-11-20
La facture aurait dû partir le 20/11 | 2026-11-20
La factura tenía que haber salido el 20/11 | 2026-11-20
Счёт должен был уйти 20 ноября | 2026-11-20
账单11月20日就该付了 | 2026-11-20
Rechnung zahlen bis 27.11. | 2026-11-27
Rechnung zahlen bis zum 21. November | 2026-11-21
Rechnung zahlen, spätestens am 27.11. | 2026-11-27
Rechnung zahlen, fällig 28.10. | 2026-10-28
Rechnung zahlen, fällig 27.10. | 2027-10-27
Rechnung zahlen bis 3.2. | 2027-02-03
Rechnung vom 3.11. zahlen |
Rechnung zahlen (offen seit Mittwoch) |
Payer la facture avant le 27/11 | 2026-11-27
Payer la facture avant le 28 octobre | 2026-10-28
Payer la facture avant le 27 octobre | 2027-10-27
Payer la facture du 3 novembre |
Payer la facture (reçue depuis mercredi) |
Appeler Luc le soir du 4 décembre | 2026-12-04
Pagar la factura antes del 27/11 | 2026-11-27
Pagar la factura antes del 28 de octubre | 2026-10-28
Pagar la factura antes del 27 de octubre | 2027-10-27
Pagar la factura del 3 de noviembre |
Pagar la factura (pendiente desde el miércoles) |
Pagar la factura (venció el 18 de noviembre) | 2026-11-18
Llamar a Luis la noche del 4 de diciembre | 2026-12-04
Оплатить счёт до 27.11 | 2026-11-27
Оплатить счёт до 28 октября | 2026-10-28
Оплатить счёт до 27 октября | 2027-10-27
Оплатить счёт от 3 ноября |
Оплатить счёт (ждут с понедельника) |
11月27日前付款 | 2026-11-27
10月28日前付款 | 2026-10-28
10月27日前付款 | 2027-10-27
"""


def rows() -> list[tuple[str, str]]:
    return [
        (row.rpartition("|")[0].strip(), row.rpartition("|")[2].strip()) for row in CASES.split("\n")[1:-1]
    ]


def tasks_in(name: str, text: str) -> list[Item]:
    options = ExtractionOptions(data_types=tuple(TableName), timezone=BERLIN)
    document = Document(unit_key=name, text=text, content_hash="", modified_at=WRITTEN)
    items = ToRead(document=document, options=options, reads_prose=True).answer().items
    return [item for item in items if item.table == TableName.TASKS]


def day_of(item: Item) -> str:
    due = item.data.get("dueDate")
    return from_epoch_ms(due).astimezone(ZoneInfo(BERLIN)).date().isoformat() if isinstance(due, int) else ""


@each(("line", "expected"), rows())
def test_deadline_of_the_last_month_is_the_day_of_a_row_and_of_a_sentence(line: str, expected: str) -> None:
    (row,) = tasks_in("a.md", f"- [ ] {line}\n")
    assert (row.data["title"], day_of(row)) == (line, expected)
    for sentence in tasks_in("a.txt", f"{line}\n"):
        assert (day_of(sentence), sentence.data["title"] == line) == (expected, expected == "")


def test_past_day_that_is_no_deadline_stays_in_the_title_of_a_sentence() -> None:
    (task,) = tasks_in("a.txt", "Write up the meeting of 27 November for Ann by 4 December.\n")
    assert (task.data["title"], day_of(task)) == ("Write up the meeting of 27 November for Ann", "2026-12-04")


ORDERS = [
    ("book the vet 5/12", "pay the rent 28/11", "2026-12-05"),
    ("order the cake 12/5", "pick up Ann 11/28", "2026-12-05"),
    ("book the vet 5/12", "pay the rent Thu 3/12", "2026-12-05"),
    ("order the cake 12/5", "pick up Ann Thu 12/3", "2026-12-05"),
    ("order the cake 12/5", "pay the rent Mon 7/12", "2027-05-12"),
    ("order the cake 12/5", "visit the bank, open 24/7", ""),
    ("book the vet 5/12", "pay the rent 28/11\n- [ ] pick up Ann 11/28", ""),
    ("den Tierarzt am 5/12 anrufen", "und mit Anna zu der Bank gehen", "2026-12-05"),
    ("renew the pass by 5/12/26", "the visa is of 28/11/24", "2026-12-05"),
]


@each(("line", "other", "expected"), ORDERS)
def test_date_with_slashes_has_the_order_of_other_dates_in_its_text(
    line: str, other: str, expected: str
) -> None:
    first, *_ = tasks_in("a.md", f"- [ ] {line}\n- [ ] {other}\n")
    assert (first.data["title"], day_of(first)) == (line, expected)
    assert bool(first.unresolved) == (expected == "")


# A note, the zone of its writer, and the days of its items by their first words; "": unclear.
WRITERS = [
    (
        "Eye doctor 12/3 8:20am\nreturn the drill 12/2\nSat 12/12 swap 2pm",
        "America/New_York",
        "03.12. 02.12. 12.12.",
    ),
    (
        "Eye doctor 3/12 8.20am\nreturn the drill 2/12\nSat 12/12 swap 2pm",
        "Europe/London",
        "03.12. 02.12. 12.12.",
    ),
    ("Eye doctor 12/3 8:20am\nreturn the drill 12/2", "Europe/London", ""),
    ("Eye doctor 3/12 8:20am\nreturn the drill 2/12", "UTC", ""),
    ("Eye doctor 3/12 8:20am\nreturn the drill 5/12", "America/New_York", ""),
    ("Eye doctor 12/3 8:20am\nreturn the drill 12/2", "America/Toronto", ""),
    ("12/5 10am Young's farm", "Europe/Berlin", ""),
    ("12/5 10am Young's farm\nMon 12/7 8am the vet", "Europe/London", "05.12. 07.12."),
    ("**Sat** the tree?? 12/5 10am Young's farm", "Europe/London", "05.12."),
    ("**Thu** Ava orthodontist 12/3 at 8:20am", "UTC", "03.12."),
    ("- dentista 4/12 10:00\n- pagar la luz antes del 2/12", "America/Mexico_City", "04.12. 02.12."),
    ("- dentista 4/12 10:00\n- pagar la luz antes del 2/12", "America/New_York", "04.12. 02.12."),
    ("- dentiste 4/12 10h30\n- payer le loyer avant le 2/12", "America/Toronto", "04.12. 02.12."),
    ("- 12/4 14:00 牙医\n- 12/2前交房租", "Asia/Shanghai", "04.12. 02.12."),
    ("| What | When |\n|---|---|\n| Oil change | 12/3 8:30am |", "America/Chicago", "03.12."),
    ("| What | When |\n|---|---|\n| Oil change | 3/12 8:30am |", "Europe/London", "03.12."),
]


@each(("text", "zone", "expected"), WRITERS)
def test_date_with_slashes_has_the_order_of_weekdays_then_of_the_language_then_of_the_country(
    text: str, zone: str, expected: str
) -> None:
    options = ExtractionOptions(data_types=tuple(TableName), timezone=zone)
    document = Document(unit_key="a.md", text=text, content_hash="", modified_at=WRITTEN)
    items = ToRead(document=document, options=options, reads_prose=True).answer().items
    moments = [item.data.get("date", item.data.get("dueDate")) for item in items]
    instants = [from_epoch_ms(at) for at in moments if isinstance(at, int)]
    days = [f"{at.astimezone(ZoneInfo(zone)):%d.%m.}" for at in instants]
    assert " ".join(days) == expected


NAMED_AHEAD = [
    ("# Klassenfahrt (17.–21.05.2027)", "bis 11.12.", "2026-12-11"),
    ("# Trip (17-21 May 2027)", "by Friday", "2026-12-04"),
    ("# Mittwoch", "bis 11.12.", "2026-12-11"),
    ("# Wednesday", "by the end of the month", "2026-11-30"),
    ("# Wednesday", "by Friday", ""),
    ("# 17 May 2027", "by Friday", ""),
    ("# Minutes of 3 March 2025", "by 11 December", "2025-12-11"),
    ("# Minutes of 3 to 5 March 2025", "by 11 December", ""),
]


@each(("above", "words", "expected"), NAMED_AHEAD)
def test_day_of_a_month_below_an_unsure_heading_counts_from_the_day_of_the_file(
    above: str, words: str, expected: str
) -> None:
    (row,) = tasks_in("a.md", f"{above}\n\n- [ ] take out the bins {words}\n")
    assert day_of(row) == expected


# The name of a file, the headings above "take out the bins", and its day; the file was saved on Saturday.
PLANS = [
    ("2026-11-23.md", "## Thursday", "2026-11-26"),
    ("2026-11-23.md", "## Donnerstag", "2026-11-26"),
    ("2026-11-23.md", "## Jeudi", "2026-11-26"),
    ("2026-11-23.md", "## Jueves", "2026-11-26"),
    ("2026-11-23.md", "## Четверг", "2026-11-26"),
    ("2026-11-23.md", "## 星期四", "2026-11-26"),
    ("2026-11-23.md", "## Do 26.11.\n### Evening", "2026-11-26"),
    ("2026-11-23.md", "Friday:\n- [x] one", "2026-11-27"),
    ("2026-11-23.md", "**Friday**", "2026-11-27"),
    ("2026-11-22.md", "## Monday", "2026-11-23"),
    ("2026-11-30.md", "## Mittwoch", "2026-12-02"),  # written ahead
    ("a.md", "# Week of 23 November 2026\n## Monday", "2026-11-23"),
    ("a.md", "# 2026-11-23\n## Thursday", "2026-11-26"),
    ("a.md", "# KW 49\n## Freitag", "2026-12-04"),
    ("a.md", "## Thursday 3 Dec", "2026-12-03"),
    ("a.md", "## 2026-12-03", "2026-12-03"),
    ("a.md", "# Prep Monday 30 Nov", "2026-11-30"),
    ("a.md", "# Shopping list, Sat 5 Dec", "2026-12-05"),
    ("a.md", "# Plan Mo 30.11.2026", "2026-11-30"),
    ("a.md", "# Einkaufsliste für Sa., 5.12.", "2026-12-05"),
    ("a.md", "# Courses du samedi 5 décembre", "2026-12-05"),
    ("a.md", "# Preparación jueves 3 de diciembre", "2026-12-03"),
    ("a.md", "# Дела на понедельник 30 ноября", "2026-11-30"),
    ("a.md", "# 准备 11月30日", "2026-11-30"),
    ("a.txt", "Fr 4.12.", "2026-12-04"),
    ("a.md", "# Prep for the wedding, Sat 12 Dec", ""),  # an event, before which the work is done
    ("a.md", "# Christmas party 12 Dec", ""),
    ("a.md", "# Klassenfahrt (17.–21.05.)", ""),
    ("2026-11-25.md", "## Monday", ""),  # of this week, or of the next one
    ("2026-11-26.md", "# Thursday, 26 November 2026", ""),  # of writing
    ("2026-11-23.md", "## Thursday\n## Shopping", ""),
    ("2026-11-23.md", "Thursday:\n- [x] one\n\nShopping", ""),
    ("2026-11-23.md", "## Thursday club", ""),
    ("a.md", "## Thursday", ""),
]


@each(("name", "above", "expected"), PLANS)
def test_work_below_a_heading_of_a_day_is_due_on_the_day(name: str, above: str, expected: str) -> None:
    found = tasks_in(name, f"{above}\n- [ ] take out the bins\n")
    (row,) = [item for item in found if item.data.get("status") != "done"]
    assert (row.data["title"], day_of(row)) == ("take out the bins", expected)


# Open rows of a list with a past day, and the day of the work; none where it names a thing, or is over.
MISSED = """
Pay the milkman - Fri 27 Nov | 2026-11-27
Pay the gym 27/11 | 2026-11-27
Pay the club (27 Nov) | 2026-11-27
Pay the invoice, 27 Nov | 2026-11-27
Tue 24.11: send the contract | 2026-11-24
Paint the hall 20 December 2025 | 2025-12-20
Type the minutes 24 Nov |
Pay the invoice 24 Nov |
Answer the letter 24 Nov |
Send the 24 Nov figures to Ann |
Ring Ann, already done 24 Nov |
Miete zahlen – Fr 27.11. | 2026-11-27
Di 24.11.: Vertrag schicken | 2026-11-24
Protokoll 24.11. schreiben |
Payer le loyer 27/11 | 2026-11-27
Payer le loyer – vendredi 27 novembre | 2026-11-27
Pagar el alquiler 27/11 | 2026-11-27
Pagar el alquiler (viernes 27 de noviembre) | 2026-11-27
вт 24.11: отправить договор | 2026-11-24
Оплатить счёт – пт 27.11 | 2026-11-27
Отправить протокол 24.11 |
交房租（11月27日） | 2026-11-27
周二11/24：寄合同 | 2026-11-24
"""


@each(
    ("line", "expected"),
    [(row.rpartition("|")[0].strip(), row.rpartition("|")[2].strip()) for row in MISSED.split("\n")[1:-1]],
)
def test_past_day_at_an_edge_of_an_open_row_is_the_day_of_the_work(line: str, expected: str) -> None:
    (row,) = tasks_in("a.md", f"# Jobs\n\n- [ ] {line}\n")
    assert (row.data["title"], day_of(row)) == (line, expected)
    (done,) = tasks_in("a.md", f"# Jobs\n\n- [x] {line}\n")
    assert day_of(done) == ""


# Headings of the week of Monday, 30 November 2026, and spellings of its Wednesday in one language.
WEEKS = [
    (
        "w/c 30 Nov; Week of 30 November; Week 49; Week 30/11 - 6/12",
        "Wednesday; Weds 2nd; Wed 2/12; Wed 2 Dec",
    ),
    ("KW 49; Woche vom 30.11; KW 49 (30.11.-6.12.)", "Mittwoch; Mi; Mi 2.; Mi 2.12; Mittwoch, den 2.12."),
    ("Semaine du 30 novembre; Semaine 49; Semaine du 30/11 au 6/12", "Mercredi; Mercredi 2; Mer 2/12"),
    ("Semana del 30; Semana del 30 de noviembre; Semana 49/2026", "Miércoles; Miércoles 2; Mié 2/12"),
    ("Неделя 49; Неделя 30.11 - 6.12; Неделя с 30 ноября", "Среда; Ср; Ср 2.12; Среда, 2 декабря"),
    ("第49周; 11月30日这周; 本周（11月30日-12月6日）", "周三; 星期三; 周三 12/2; 周三（12月2日）"),
]
FORMS = ["## {}", "#### {}", "**{}**", "__{}:__", "{}:", "{}\n---", "{}"]


@each(
    ("week", "spelling", "form"),
    [
        (week, spelling, form)
        for weeks, spellings in WEEKS
        for nth, week in enumerate(weeks.split("; "))
        for spelling in spellings.split("; ")[: 1 if nth else None]
        for form in FORMS[: 1 if nth else None]
    ],
)
def test_weekday_below_a_week_is_the_day_of_the_work_in_each_form(
    week: str, spelling: str, form: str
) -> None:
    above, day = form.format("{}"), form.format(spelling)
    text = f"# {week}\n\n{above.format('Sat')}\n- [ ] one\n\n{day}\n- [ ] two\n- [ ] three\n"
    days = {str(item.data["title"]): day_of(item) for item in tasks_in("a.md", text)}
    assert days == {"one": "2026-12-05", "two": "2026-12-02", "three": "2026-12-02"}


# Lines of a text, with the days of its rows.
ENDS = [
    ("**Mon 30 Nov**|- [ ] a|**Tues 1st**|- [ ] b|**Weds 33rd**|- [ ] c", "2026-11-30 2026-12-01 -"),
    (
        "## Tue 8 Dec|- [ ] a|### Wed 9.12|- [ ] b|**10 Dec**|- [ ] c|11.12:|- [ ] d",
        "2026-12-08 2026-12-09 2026-12-10 2026-12-11",
    ),
    ("## Thursday 3 Dec|- [ ] a|### Fri 33rd|- [ ] b|## Shopping|- [ ] c", "2026-12-03 - -"),
    ("## Thursday 3 Dec|- [ ] a|### Evening|- [ ] b|10:30:|- [ ] c", "2026-12-03 2026-12-03 2026-12-03"),
    ("## Thursday 3 Dec|- [ ] a|## Friday|- [ ] b|## Monday|- [ ] c", "2026-12-03 2026-12-04 -"),
    ("# Week 49|**Thursday**|- [ ] a|**Shopping**|- [ ] b", "2026-12-03 -"),
    ("# Week 49|**Thursday**|- [ ] a||- [ ] b||Later:|- [ ] c", "2026-12-03 2026-12-03 -"),
    ("# Week 49|Thursday:||- [ ] a||- [ ] b", "2026-12-03 -"),
    ("# Week 3 of the course|## Monday|- [ ] a", "-"),
    ("# Week 30|## Monday|- [ ] a", "-"),
    ("# This week|## Monday|- [ ] a|## Thursday|- [ ] b", "- -"),
    ("## Thurs 26th|- [ ] a tomorrow|## Fri 27th|- [ ] b tomorrow", "2026-11-27 2026-11-28"),
]


@each(("lines", "expected"), ENDS)
def test_day_of_work_ends_at_the_next_heading_of_a_day(lines: str, expected: str) -> None:
    items = tasks_in("a.md", lines.replace("|", "\n") + "\n")
    assert " ".join(day_of(item) or "-" for item in sorted(items, key=lambda item: item.start)) == expected


# The first line of a note, and the Friday after the day of the note.
CONTACTS = [
    ("gaz rang 25/11 14:10, can come on Tuesday", "2026-11-27"),
    ("Email from Ann Lee 25 Nov", "2026-11-27"),
    ("# Spoke to Ann on 18 November", "2026-11-20"),
    ("Anruf von Frau Kern 25.11.", "2026-11-27"),
    ("Luc a appelé le 25/11", "2026-11-27"),
    ("llamó Luis el 25/11", "2026-11-27"),
    ("звонил Олег 25.11.", "2026-11-27"),
    ("11月25日老王来电", "2026-11-27"),
    ("Call with Ann 3 December", "2026-12-04"),  # ahead
    ("Project called Apollo, due 25/11", "2026-12-04"),
    ("Kitchen, started 25/11", "2026-12-04"),
]


@each(("above", "expected"), CONTACTS)
def test_past_day_of_a_call_in_the_first_line_is_the_day_of_the_note(above: str, expected: str) -> None:
    found = tasks_in("a.md", f"{above}\n\n- [ ] send the plan by Friday\n")
    assert [day_of(item) for item in found if item.data["title"] == "send the plan by Friday"] == [expected]


# Lines above "call Ann tomorrow", and the day of this row; the file was saved on Saturday.
DIARIES = [
    ("Di 24.11.\nmüde\n", "2026-11-25"),
    ("Mon 23 Nov\nrain\n\nTuesday, 24 November\n", "2026-11-25"),
    ("martes 24 de noviembre\n", "2026-11-25"),
    ("Вторник, 24 ноября\n", "2026-11-25"),
    ("Group of 24 children\n", "2026-11-29"),
    ("# Week of 16 Nov\nMon: rain\nWed: ", "2026-11-19"),
    ("# KW 47\n- **Mi:** ", "2026-11-19"),
    ("# Semaine du 16/11\nMercredi : ", "2026-11-19"),
    ("# Week of 16 Nov\nWed: rain\n\n", "2026-11-29"),
    ("Wed: ", "2026-11-29"),
]


@each(("above", "expected"), DIARIES)
def test_tomorrow_in_a_diary_counts_from_the_day_of_its_line(above: str, expected: str) -> None:
    found = tasks_in("a.md", f"{above}must call Ann tomorrow\n")
    assert [day_of(item) for item in found] == [expected]


def test_remark_about_a_date_of_two_readings_names_both() -> None:
    remark = Unresolved(field="dueDate", words="by 5/12")
    assert remark.sentence == "dueDate: the meaning of 'by 5/12' is unclear: 5 December or 12 May"


MONTHLY = [
    ("Pay rent on the 1st of every month", "2026-12-01"),
    ("Pay rent by the 28th of each month", "2026-11-28"),
    ("Miete zum 1. jeden Monats", "2026-12-01"),
    ("Miete am 15. eines jeden Monats", "2026-12-15"),
    ("Payer le loyer le 1er de chaque mois", "2026-12-01"),
    ("Pagar el alquiler el 1 de cada mes", "2026-12-01"),
    ("Платить аренду 1 числа каждого месяца", "2026-12-01"),
    ("每月1日交房租", "2026-12-01"),
    ("read the 1st draft", ""),
]


@each(("line", "expected"), MONTHLY)
def test_row_of_every_month_is_due_on_the_first_such_day(line: str, expected: str) -> None:
    (row,) = tasks_in("a.md", f"- [ ] {line}\n")
    assert (row.data["title"], day_of(row)) == (line, expected)


TIMES = [
    ("Di 1.12. Elternabend 19 Uhr", "2026-12-01 19:00"),
    ("mer. 2 déc. réunion parents 18h30", "2026-12-02 18:30"),
    ("19:00 dinner with Ann on 5 December", "2026-12-05 19:00"),
    ("ICE 1023 am 5.12. Berlin Hbf 8:34 – München 12:31", "2026-12-05 08:34"),
    ("2026-12-05 14:00-15:30 dentist", "2026-12-05 14:00"),
    ("2026-12-05 14:00 -0500 call", "2026-12-05 20:00"),
    ("dinner on 5 December", "2026-12-05 00:00"),
    ("dinner on 5 December at 3", "2026-12-05 00:00"),
]


@each(("line", "expected"), TIMES)
def test_time_beside_the_day_of_a_row_is_the_time_of_its_begin(line: str, expected: str) -> None:
    (row,) = tasks_in("a.md", f"- [ ] {line}\n")
    due = row.data["dueDate"]
    assert isinstance(due, int)
    assert f"{from_epoch_ms(due).astimezone(ZoneInfo(BERLIN)):%Y-%m-%d %H:%M}" == expected
    assert row.has_time == (not expected.endswith("00:00"))


# The nearest day counts, which has another weekday, and its words stay for a person.
UNCLEAR = [
    ("collect the doors Tue 2 Dec 14:30", "Tue 2 Dec 14:30"),
    ("die Türen abholen Di 2. Dez 14:30", "Di 2. Dez 14:30"),
    ("chercher les portes mar 2 déc 14h30", "mar 2 déc 14h30"),
    ("recoger las puertas mar 2 dic 14:30", "mar 2 dic 14:30"),
    ("забрать двери вт 2 дек 14:30", "вт 2 дек 14:30"),
    ("12月2日周二14:30去取门", "12月2日周二14:30"),
    ("send it by Thu 9 Dec", "by Thu 9 Dec"),
    ("die Karte bis Do 9.12. schicken", "bis Do 9.12."),
    ("envoyer la carte avant le jeu 9 déc", "avant le jeu 9 déc"),
    ("due: Thu 9 Dec", "Thu 9 Dec"),
]


@each(("line", "words"), UNCLEAR)
def test_day_with_another_weekday_is_the_nearest_and_its_words_stay_for_a_person(
    line: str, words: str
) -> None:
    (task,) = tasks_in("a.md", f"- [ ] {line}\n")
    day = "2026-12-09" if "9" in line else "2026-12-02"
    assert (task.data["title"], day_of(task), task.unresolved) == (line, day, {"dueDate": words})
    assert not (task.words or task.counted)
