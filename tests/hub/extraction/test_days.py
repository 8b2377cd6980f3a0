"""Days in lines of six languages: the words that are understood, the moment, and what is left as a title.

A row is a line, its words for days, the moment of the first by the clock of Berlin (a day alone without an
hour; ``?`` if it is unknown), and the title. A line without words for a day has only itself.
"""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from hub.extraction.tokens import Tokens, without
from hub.extraction.when.days import find_days
from hub.extraction.when.language import Index, Language, SayingMatch, has_han
from hub.extraction.when.resolve import DateContext
from hub.extraction.wording.languages import languages
from tests.support.families import each

ZONE = "Europe/Berlin"
FRIDAY = datetime(2026, 11, 20, 9, tzinfo=UTC)  # of writing

LINES = """
send the map 2026-12-03T10:00 to Ann Berg | 2026-12-03T10:00 | 2026-12-03 10:00 | send the map to Ann Berg
send the map 2026-12-03T10:00:00Z to Ann | 2026-12-03T10:00:00Z | 2026-12-03 11:00 | send the map to Ann
call Bob 2026-12-03T10:00-05:00 | 2026-12-03T10:00-05:00 | 2026-12-03 16:00 | call Bob
Dinner on 4 December 2026 at 7:30pm | on 4 December 2026 at 7:30pm | 2026-12-04 19:30 | Dinner
call Bob on 3 December 2026 at 11:15am. | on 3 December 2026 at 11:15am | 2026-12-03 11:15 | call Bob.
Dinner on 4 December at 7.30 pm with Ann | on 4 December at 7.30 pm | 2026-12-04 19:30 | Dinner with Ann
Dinner on 4 December at 7 p.m. with Ann | on 4 December at 7 p.m. | 2026-12-04 19:00 | Dinner with Ann
Call at 2pm EST on Friday about it | at 2pm EST on Friday | 2026-11-27 20:00 | Call about it
Call on 27 November 10:00 MST | on 27 November 10:00 MST | 2026-11-27 18:00 | Call
Call on 27 November 10:00 CDT | on 27 November 10:00 CDT | 2026-11-27 17:00 | Call
Call on 27 November 10:00 CST | on 27 November 10:00 CST | ? | Call
upgrade the server to Ubuntu 20.04.
Needs Ruby 3.6.
Upgrade Django to 4.2.
Update Python 3.10.12 before the release
install node 18.12. and npm
Read section 4.2. of the manual
4.2. Install the server
see step 3/14 of the guide
Tasks done: 5/20
The score was 3/15 in the end
Close ticket 12/24 soon
call 0171 301 12 26
pay 30.11 EUR to Ann
fixed in v1.12. by Bob
open http://a.example/2026-12-04 and read
run `backup 2026-12-04` again
pay the rent by 11/30 | by 11/30 | 2026-11-30 | pay the rent
11/30 pay the rent | 11/30 | 2026-11-30 | pay the rent
pay the rent 28/11 | 28/11 | 2026-11-28 | pay the rent
pay the rent 12/5 | 12/5 | ? | pay the rent
pay the rent Sat 5/12 | Sat 5/12 | 2026-12-05 | pay the rent
pay the rent Sat 12/5 | Sat 12/5 | 2026-12-05 | pay the rent
watch lecture 5/12
hotline open 24/7
Dentist on Friday at 9.20 | on Friday at 9.20 | 2026-11-27 09:20 | Dentist
bulbs at 12.50 each on Friday | on Friday | 2026-11-27 | bulbs at 12.50 each
confirm the date by Friday | by Friday | 2026-11-27 | confirm the date
Next deadline: 4 December | 4 December | 2026-12-04 | Next deadline
Pay rent (due 12/15/2026) | due 12/15/2026 | 2026-12-15 | Pay rent
2026-12-03 (Thursday): call Ann | 2026-12-03 (Thursday) | 2026-12-03 | call Ann
Call Ann (Thu, 3 Dec) about it | Thu, 3 Dec | 2026-12-03 | Call Ann about it
Call Ann on Thursday, 3 December, about it | on Thursday, 3 December, | 2026-12-03 | Call Ann about it
Pay the rent (📅 2026-12-04) | 2026-12-04 | 2026-12-04 | Pay the rent
Put the bins out before 📅 2026-12-03. | 2026-12-03 | 2026-12-03 | Put the bins out before.
Water the plants (@2026-12-05) | 2026-12-05 | 2026-12-05 | Water the plants
send it by Dec. 4 to Ann | by Dec. 4 | 2026-12-04 | send it to Ann
Zoë: naïve “résumé” — due 4th December | due 4th December | 2026-12-04 | Zoë: naïve “résumé”
call\u00a0Ann on\u00a04\u00a0December please | on\u00a04\u00a0December | 2026-12-04 | call\u00a0Ann please
send the report by the end of May | by the end of May | 2027-05-31 | send the report
finish it by the end of next month | by the end of next month | 2026-12-31 | finish it
write the report next week | next week | ? | write the report
write the report in week 50 | in week 50 | 2026-12-07 | write the report
write the report (week 50) | week 50 | 2026-12-07 | write the report
write the report by the end of week 50 | by the end of week 50 | 2026-12-11 | write the report
write the report w/c 7 Dec | w/c 7 Dec | 2026-12-07 | write the report
write up week 3 of the course by Monday | by Monday | 2026-11-23 | write up week 3 of the course
learn the lesson for week 4 | for week 4 | ? | learn the lesson
ring Ann tomorrow by 10.45 | tomorrow by 10.45 | 2026-11-21 10:45 | ring Ann
choir on Tue 24 Nov, 19.45 | on Tue 24 Nov, 19.45 | 2026-11-24 19:45 | choir
pay Sam by Friday 10.45 euros | by Friday | 2026-11-27 | pay Sam 10.45 euros
sell the shares at 12.50 by Friday | by Friday | 2026-11-27 | sell the shares at 12.50
meet on 24 Nov at half seven in the evening | on 24 Nov at half seven in the evening | 2026-11-24 19:30 | meet
visit on 24 Nov at a quarter to nine am | on 24 Nov at a quarter to nine am | 2026-11-24 08:45 | visit
sweep the yard tomorrow morning | tomorrow morning | 2026-11-21 | sweep the yard
send it by Fri to Bob | by Fri | 2026-11-27 | send it to Bob
sit in the sun
prepare today's report
prepare Monday\u2019s slides
note of [[Dec 4th, 2026]] kept | of [[Dec 4th, 2026]] | 2026-12-04 | note kept
Hier gibt es nur den Plan der Küche
Bericht bis 30.11. Bescheid geben | bis 30.11. | 2026-11-30 | Bericht Bescheid geben
Bericht am 4.12. um 14.30 Uhr abgeben | am 4.12. um 14.30 Uhr | 2026-12-04 14:30 | Bericht abgeben
Django auf 4.2. heben
Treffen am 4.12. um 14.30 im Hof | am 4.12. um 14.30 | 2026-12-04 14:30 | Treffen im Hof
Abfahrt Freitag gegen 7.45 Uhr | Freitag gegen 7.45 Uhr | 2026-11-27 07:45 | Abfahrt
Probe am Freitag von 10.30 bis 12.30 Uhr | am Freitag von 10.30 bis 12.30 Uhr | 2026-11-27 10:30 | Probe
Termin: 10.12. | 10.12. | 2026-12-10 | Termin
Abgabe: 10.12. | 10.12. | 2026-12-10 | Abgabe
Tür streichen (bis Freitag) | bis Freitag | 2026-11-27 | Tür streichen
Papier bestellen, 50. KW | 50. KW | 2026-12-07 | Papier bestellen
Papier in der Woche vom 7.12. bestellen | in der Woche vom 7.12. | 2026-12-07 | Papier bestellen
Chor Mo 30.11 19.45 | Mo 30.11 19.45 | 2026-11-30 19:45 | Chor
So 6.12. 10:00 Beginn | So 6.12. 10:00 | 2026-12-06 10:00 | Beginn
Bitte bis Freitag die 10.45 zahlen | bis Freitag | 2026-11-27 | Bitte die 10.45 zahlen
Treffen 4. Dez um dreiviertel neun morgens | 4. Dez um dreiviertel neun morgens | 2026-12-04 08:45 | Treffen
Müll rausstellen, Mo, 30.11.2026 | Mo, 30.11.2026 | 2026-11-30 | Müll rausstellen
Siehe Kapitel 3.12. zum Thema
14.12. Zahnarzt anrufen | 14.12. | 2026-12-14 | Zahnarzt anrufen
Anruf am Freitag um 15h30 bei Öztürk | am Freitag um 15h30 | 2026-11-27 15:30 | Anruf bei Öztürk
übermorgen Äpfel holen | übermorgen | 2026-11-22 | Äpfel holen
Treffen am 3. Dez. im Büro | am 3. Dez. | 2026-12-03 | Treffen im Büro
appeler Zoé le 4 décembre à 19h30 | le 4 décembre à 19h30 | 2026-12-04 19:30 | appeler Zoé
envoyer le devis avant le 4/12 à Léa | avant le 4/12 | 2026-12-04 | envoyer le devis à Léa
ranger les pièces à partir du jeu
mettre Django à 4.2. demain | demain | 2026-11-21 | mettre Django à 4.2.
livrer le bois vendredi 16 h | vendredi 16 h | 2026-11-27 16:00 | livrer le bois
livrer le bois vendredi à 14.30 | vendredi à 14.30 | 2026-11-27 14:30 | livrer le bois
Échéance : 10/12 | 10/12 | 2026-12-10 | Échéance
rendre les clés vendredi prochain | vendredi prochain | 2026-11-27 | rendre les clés
ver a Íñigo el 4 de diciembre a las 19:30 | el 4 de diciembre a las 19:30 | 2026-12-04 19:30 | ver a Íñigo
regar las plantas pasado mañana | pasado mañana | 2026-11-22 | regar las plantas
actualizar Django a 4.2.
llamar el viernes a las 17.30 horas | el viernes a las 17.30 horas | 2026-11-27 17:30 | llamar
llamar el viernes 17 h | el viernes 17 h | 2026-11-27 17:00 | llamar
Plazo: 10/12 | 10/12 | 2026-12-10 | Plazo
pagar antes del viernes 27 de noviembre | antes del viernes 27 de noviembre | 2026-11-27 | pagar
позвонить Юле до 4 декабря | до 4 декабря | 2026-12-04 | позвонить Юле
сдать отчёт в пятницу в 15:30 | в пятницу в 15:30 | 2026-11-27 15:30 | сдать отчёт
встреча 4.12 в 12.30 | 4.12 в 12.30 | 2026-12-04 12:30 | встреча
сдать отчёт до 5/12 | до 5/12 | 2026-12-05 | сдать отчёт
Срок: 10.12. | 10.12. | 2026-12-10 | Срок
сдать отчёт до пт | до пт | 2026-11-27 | сдать отчёт
обновить Django до 4.2.
полить цветы послезавтра | послезавтра | 2026-11-22 | полить цветы
12月4日下午3点开会 | 12月4日下午3点 | 2026-12-04 15:00 | 开会
请周五前提交报告 | 周五前 | 2026-11-27 | 请提交报告
把 API 升级到 4.2.
send it by Thu 26.11 to Bob | by Thu 26.11 | 2026-11-26 | send it to Bob
send it by Thursday, 26/11, to Bob | by Thursday, 26/11, | 2026-11-26 | send it to Bob
send it by Thu 27.11 to Bob | by Thu 27.11 | 2026-11-27? | send it to Bob
Karte bis Donnerstag 26.11 schicken | bis Donnerstag 26.11 | 2026-11-26 | Karte schicken
Karte bis Donnerstag, 10.12 schicken | bis Donnerstag, 10.12 | 2026-12-10 | Karte schicken
Karte bis Donnerstag 27.11 schicken | bis Donnerstag 27.11 | 2026-11-27? | Karte schicken
Heft bis 3.12 abgeben | bis 3.12 | 2026-12-03 | Heft abgeben
Heft zum 8.12. abgeben | zum 8.12. | 2026-12-08 | Heft abgeben
Heft abgeben, Frist 27.11 | Frist 27.11 | 2026-11-27 | Heft abgeben
Heft bis 3.12 Euro kaufen
Python 3.8 bis 3.12 testen
rendre la carte avant jeudi 26.11 | avant jeudi 26.11 | 2026-11-26 | rendre la carte
rendre la carte jusqu'à jeudi 26/11 | jusqu'à jeudi 26/11 | 2026-11-26 | rendre la carte
rendre la carte avant le 3.12 | avant le 3.12 | 2026-12-03 | rendre la carte
entregar la carta hasta el jueves 26/11 | hasta el jueves 26/11 | 2026-11-26 | entregar la carta
entregar la carta antes del jueves 26.11 | antes del jueves 26.11 | 2026-11-26 | entregar la carta
entregar la carta antes del 3.12 | antes del 3.12 | 2026-12-03 | entregar la carta
сдать карту до четверга 26.11 | до четверга 26.11 | 2026-11-26 | сдать карту
сдать карту в чт 26.11 | в чт 26.11 | 2026-11-26 | сдать карту
сдать карту в четверг, 10.12 | в четверг, 10.12 | 2026-12-10 | сдать карту
сдать карту до воскресенья 29.11. | до воскресенья 29.11. | 2026-11-29 | сдать карту
сдать карту до чт 27.11 | до чт 27.11 | 2026-11-27? | сдать карту
сдать карту до 3.12 | до 3.12 | 2026-12-03 | сдать карту
сдать карту к 8.12. | к 8.12. | 2026-12-08 | сдать карту
сдать карту, срок 27.11 | срок 27.11 | 2026-11-27 | сдать карту
сдать карту, срок: 27.11 | срок: 27.11 | 2026-11-27 | сдать карту
обновить сервер до 3.12
проверить Django до 3.12
周四11/26前交卡 | 周四11/26前 | 2026-11-26 | 交卡
周四11.26交卡 | 周四11.26 | 2026-11-26 | 交卡
12/3前交卡 | 12/3前 | 2026-12-03 | 交卡
"""


def rows() -> list[list[str]]:
    written = (
        line.replace("\\u00a0", "\u00a0").replace("\\u2019", "\u2019") for line in LINES.strip().split("\n")
    )
    return [[cell.strip(" ") for cell in line.split("|")] for line in written]


@each("row", rows())
def test_days_of_a_line_are_cut_out_of_the_title_at_the_places_read(row: list[str]) -> None:
    line, words, moment, title = (*row, "", "", row[0])[:4] if len(row) == 1 else row
    days = find_days(line, DateContext(FRIDAY, ZONE))
    assert (
        [line[day.start : day.end] for day in days]
        == [day.words for day in days]
        == words.split("; ") * bool(words)
    )
    assert without(line, [(day.start, day.end) for day in days]) == title
    for day in days[:1]:
        local = day.at and day.at.astimezone(ZoneInfo(ZONE))
        shown = f"{local:%Y-%m-%d %H:%M}"[: 16 if day.has_time else 10] if local else ""
        assert shown + "?" * bool(day.unclear_words) == moment


@each(
    "text",
    [
        *(
            "version 3.1.19",
            "§ 4.2.7",
            "10.11.12.13",
            "BX-2027-01-04",
            "2027/118-C",
            "ISBN 978-3-12-201126-4",
        ),
        *("Nr. 11.12.2027-07", "04.12.20-77", "0171 301 12 26", "+49 30 901820-26", "20270104-1112"),
        *("30.11.26,4", "1.204,26 EUR", "12.11 kg", "£120", "http://a.example/2027-01-04"),
    ],
)
def test_counting_numbers_are_covered_in_the_line_of_a_text(text: str) -> None:
    assert not any(map(str.isdigit, Tokens(f"Paid: {text}, until May").line.replace("\u00a7 ", "")))


@each(
    "text",
    [
        *("2027-01-04", "2027-01-04t10:00:00+01:00", "12.11.2027", "bis 3.12. um 9:30", "3.-5.5.2027"),
        *("12/11/2027", "3 may 2027 at 10", "2027年1月4日14:00", "14:00-15:30", "3-5 may", "30.11."),
        *("release 12.12.2027", "am 12.3. 18 uhr"),
    ],
)
def test_numbers_of_dates_and_times_are_in_the_line_of_a_text(text: str) -> None:
    assert Tokens(text).line == text


@pytest.mark.parametrize(
    "text",
    [
        "Zoë\u2019s “naïve” café — 3.\u00a0Mai",
        "ﬁn du ½ jour, l'été\u0301",
        "請點 4號 (週五)",
        "a\u2028b  c\t\td",
    ],
)
def test_tokens_cover_all_but_blanks_of_the_original(text: str) -> None:
    tokens = Tokens(text)
    assert "".join(text[token.start : token.end] for token in tokens.tokens) == "".join(text.split())
    for first in range(len(tokens.line)):
        if tokens.line[first] != " ":
            start, end = tokens.place(first, first + 1)
            assert any(token.start == start for token in tokens.tokens)
            assert start < end <= len(text)


def test_index_finds_the_longest_saying_that_any_language_has_at_a_place() -> None:
    times = [lexicon.time for lexicon in languages() if lexicon.script == "latin"]
    times += [lexicon.time for lexicon in languages() if lexicon.script == "han"]
    index, found = Index(times), 0
    for row in rows():
        line = Tokens(row[0]).line
        starts = [match.start() for match in re.finditer(r"\b[^\W_]|[\u4e00-\u9fff]", line)]
        for at in starts:
            for language in times[-1:] if has_han(line) else times[:-1]:
                sayings = (one for one in language.all_sayings if "pt" not in one.pattern.groupindex)
                matches = (saying.pattern.match(line, at) for saying in sayings)
                end = max((match.end() for match in matches if match), default=at)
                begun = list(index.sayings(language, line, at))[:1]
                assert (begun[0].match.end() if begun else at) == end, (line[at:], language.code)
                found += end > at
    assert found > 300


@each("word", ["a", "à", "z", "pt", "est", "a la", "до"])
def test_index_with_a_line_of_a_repeated_word_has_linear_work(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    longest = Index._longest

    def counted(self: Index, language: Language, line: str, at: int, has_day: bool) -> SayingMatch | None:
        looked.append(at)
        return longest(self, language, line, at, has_day)

    monkeypatch.setattr(Index, "_longest", counted)
    index = Index([lexicon.time for lexicon in languages()])
    counts = []
    for times in (40, 80):
        looked.clear()
        list(index.runs(Tokens(f"{word} " * times).line))
        counts.append(len(looked))
    assert 0 < counts[1] <= 2.2 * counts[0]
