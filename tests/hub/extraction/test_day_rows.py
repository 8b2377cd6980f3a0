# ruff: noqa: RUF001 - signs between times
"""Rows of plans of days: which have events, which have times of work, and which lists of times have none."""

from collections.abc import Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.ruled import ToExtract
from protocol.tables import TableName
from tests.support.families import each

WRITTEN = datetime(2026, 11, 29, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"

# Rows with their items: day and time, a sign of the table, title.
PLANS = {
    "# KW 49\n\n## Donnerstag\n- Zahnarzt 8:15\n- 14h Shooting Stadtwerke, Südvorstadt\n- Müll": (
        "3 08:15 e Zahnarzt",
        "3 14:00 e Shooting Stadtwerke, Südvorstadt",
    ),
    "# KW 49\n\n## Montag\n- 9:30-11 Vorbesprechung Müller, Café Grundmann\n"
    "- halb acht Bandprobe\n- Zug 7:15": (
        "30 09:30 e Vorbesprechung Müller, Café Grundmann (9:30-11)",
        "30 00:00 e halb acht Bandprobe",
        "30 07:15 e Zug",
    ),
    "# Неделя 49\n\n## Вторник\n- вокал 18:30, распечатать ноты\n- сдать анализы 8:15\n\n"
    "## Четверг\n- созвон в чт 17:00 с Ольгой": (
        "1 18:30 e вокал",
        "1 00:00 t распечатать ноты",
        "1 08:15 t сдать анализы 8:15",
        "3 17:00 e созвон с Ольгой",
    ),
    "**Wed 2 Dec**\n* Isla nativity 1.45pm - angel costume must be ironed\n"
    "* choir 7.30\n* [ ] blood test 8:15": (
        "2 13:45 e Isla nativity",
        "2 00:00 t angel costume must be ironed",
        "2 00:00 e choir 7.30",
        "2 08:15 t blood test 8:15",
    ),
    "## Friday 4 December\n\n| Time | What |\n|---|---|\n| 9:30 | Call |\n| 16:00 | Review |": (
        "4 09:30 e Call",
        "4 16:00 e Review",
    ),
    "### Jeudi 3 décembre\n9:00 kiné\n11h-12h visio équipe": (
        "3 09:00 e kiné",
        "3 11:00 e visio équipe (11h-12h)",
    ),
    "Miércoles 2 de diciembre\n- 9:30 fisioterapia\n- comida con Ana 14:00": (
        "2 09:30 e fisioterapia",
        "2 14:00 e comida con Ana",
    ),
    "# 第49周\n\n## 星期二\n- 9:30 例会\n- 牙医 14:00": ("1 09:30 e 例会", "1 14:00 e 牙医"),
    "1.12. Probe 19:30\n3.12. Zahnarzt 8:15 / 14h Stadtwerke\n8.12. Probe fällt aus": (
        "1 19:30 e Probe",
        "3 08:15 e Zahnarzt",
        "3 14:00 e Stadtwerke",
    ),
    "Thu 3 dentist 4.10pm\nFri 4 swimming 5.15pm": ("3 16:10 e dentist", "4 17:15 e swimming"),
    "# Zeiten\n\nKonzert So 6.12. um halb neun im Park\nZahnarzttermin Do 10.12. um halb neun": (
        "6 00:00 e Konzert im Park (um halb neun)",
        "10 08:30 e Zahnarzttermin",
    ),
}
LISTS = {
    "trains": "# KW 49\n\n## Samstag\n- 8:12 Leipzig ab\n- 9:31 Berlin an\n- 9:45 Berlin ab",
    "hours": "# w/c 30 Nov\n\n## Tuesday\nGalleries open 10:00-17:30\nCafé closes 16:45",
    "programme": "# Fernsehprogramm KW 49\n\n## Sonntag\n20:00 Tagesschau\n20:15 Tatort",
    "log": "# w/c 30 Nov\n\n## Monday\n10:42 server restarted\n10:44 disk check\n11:02 back up",
    "oven": "# KW 49\n\n## Sonntag\n- Teig 180°, 8:30 min\n- Brot 1:30 h",
    "diary": "# KW 49\n\n## Montag\n8:15 aufgestanden, Kaffee.\n19:30 war bei der Probe",
    "results": "# KW 49\n\n## Samstag\n- Union – Hertha 3:2\n- Mainz – Bayern 1:10",
    "verses": "# w/c 30 Nov\n\n## Sunday\n- John 3:16\n- Romans 8:28",
    "transcript": "# w/c 30 Nov\n\n## Monday\n10:15 Ann: hello all\n12:40 Bob: the budget is done",
    "prices": "# w/c 30 Nov\n\n## Friday\n- fish 8.50\n- chips 3.20\n- wine 12.30",
    "past": "# KW 47\n\n## Donnerstag\n- Zahnarzt 8:15",
    "quotation": "On 6 December 2026 at 14:22, Bob wrote:",
}


def found_in(text: str) -> list[str]:
    """Return the items of a text that have a day."""
    return days_of(items_of(text))


def items_of(text: str) -> tuple[Item, ...]:
    """Return the items of a text."""
    document = Document(
        unit_key="plan.md", text=text, content_hash="", media_type="text/markdown", modified_at=WRITTEN
    )
    return ToExtract(document=document, options=options_of(), reads_prose=True).answer().items


def options_of() -> ExtractionOptions:
    """Return the options of a reader in Berlin for tasks and events."""
    return ExtractionOptions(data_types=(TableName.TASKS, TableName.TIMELINES), timezone=BERLIN)


def days_of(items: Iterable[Item]) -> list[str]:
    """Return day and time, table and title of the items that have a day."""
    days = [(item, item.data.get("date", item.data.get("dueDate"))) for item in items]
    return [
        f"{from_epoch_ms(at).astimezone(ZoneInfo(BERLIN)):%-d %H:%M} "
        f"{'e' if item.table == TableName.TIMELINES else 't'} {item.data['title']}"
        for item, at in days
        if isinstance(at, int)
    ]


@pytest.mark.parametrize(("text", "expected"), PLANS.items())
def test_row_with_a_day_and_a_time_is_an_event_or_work_at_the_time(
    text: str, expected: tuple[str, ...]
) -> None:
    assert sorted(found_in(text)) == sorted(expected)


@each("text", LISTS.values(), ids=LISTS)
def test_list_of_times_without_appointments_has_no_events(text: str) -> None:
    assert found_in(text) == []
