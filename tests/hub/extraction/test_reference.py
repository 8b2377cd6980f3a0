# ruff: noqa: RUF001 - letters of other alphabets
"""Texts of reference: what tells them from texts that give people something to do."""

import pytest

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions
from hub.extraction.model import Models
from tests.hub.extraction.test_prose import ALL, WEDNESDAY

REFERENCE = [
    "# Change Log\n\n- Send the mail twice\n- Fix the lamp",
    "# Lampe\n\n## 2.1.0\n\n- Send the mail twice\n\n## 2.0.3\n\n- Fix the lamp",
    "Mietordnung\n\n1.1 Please close the door.\n1.2 You must pay the rent.\n1.3 Wash the stairs.",
    "# Boat\n\n## Contributing\n\nPlease write a test.\n\n## License\n\nYou must keep this text.",
    "How to clean a lamp\n\nUnplug the lamp. Wash the shade. Dry the shade.",
    "# Kürbissuppe\n\n## Zutaten\n\n- Kürbis\n\n## Zubereitung\n\n1. Bitte den Kürbis schneiden.",
    "Règlement intérieur\n\nVous devez fermer la porte. Veuillez ranger les chaises.",
    "Manual de la caldera\n\nHay que purgar los radiadores. Por favor, llame al técnico.",
    "Памятка для жильцов\n\nНужно закрыть окна. Пожалуйста, сдайте ключи.",
    "新员工手册\n\n请提交照片。请登记车牌。",
    'Mooring licence\n\n4.1. Fair use\n4.4. Notices\n5.2. Repairs of all kinds\n10.3. "Other" boats',
    "Assembly instructions\n\n1. Turn the wheel.\n2. Attach the bell to the frame.",
    "Bedienung der Pumpe\n\n1. Den Hebel an der Seite befestigen.\n2. Bitte den Deckel schließen.",
    "Montaje de la mesa\n\n1. Hay que girar la rueda. Por favor, cierre la tapa.",
    "Сборка стола\n\n1. Нужно закрепить ножки.\n2. Пожалуйста, закройте крышку.",
]


async def _titles(text: str, name: str = "a.md") -> list[object]:
    document = Document(unit_key=name, text=text, content_hash="", modified_at=WEDNESDAY)
    options: ExtractionOptions = ALL
    extraction = await Extractor(Models(), secret=bytes(32)).extract(document, options)
    return [item.data.get("title") for item in extraction.items]


@pytest.mark.parametrize("text", REFERENCE)
async def test_text_of_reference_gives_no_task(text: str) -> None:
    assert await _titles(text) == []


@pytest.mark.parametrize("text", REFERENCE)
async def test_work_of_a_person_on_a_day_and_a_check_box_count_in_a_text_of_reference(text: str) -> None:
    more = f"{text}\n\n- [ ] ask the notary\n\nRosa will print the copies by 6 March 2026."
    assert await _titles(more) == ["ask the notary", "print the copies"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Invoice 77\nMend the sail 1 90.00\nTotal 90.00\nPlease pay it by 6 April 2026.", "pay it"),
        ("Rechnung Nr. 77\nSegel flicken 90,00\nSumme 90,00\nBitte bis 6.4.2026 überweisen.", "überweisen"),
        (
            "Facture n° 77\nCoudre la voile 90,00\nTotal 90,00\nMerci de payer avant le 6 avril.",
            "payer",
        ),
        (
            "Factura n.º 77\nCoser la vela 90,00\nTotal 90,00\nPor favor, páguela antes del 6 de abril.",
            "páguela",
        ),
        ("Счёт № 77\nПочинить парус 90,00\nИтого 90,00\nПрошу оплатить счёт до 6 апреля.", "оплатить счёт"),
        ("发票号码：77\n修补船帆 90.00\n合计 90.00\n请于4月6日前付款。", "付款"),
    ],
)
async def test_only_what_is_due_on_a_day_counts_in_an_invoice(text: str, title: str) -> None:
    assert await _titles(text) == [title]


@pytest.mark.parametrize(
    "text",
    [
        "Write the manual by Friday.\nCall the printer.",
        "# 12.5 Meeting\n\nPlease call the printer.\n\n# 14.5 Walk\n\nPlease buy a map.",
        "10.15 Please call the printer.\n10.17 Please buy a map.\n11.05 Please water the plants.",
    ],
)
async def test_words_of_a_title_in_other_places_make_no_text_of_reference(text: str) -> None:
    assert len(await _titles(text)) > 1


LONG = "The weather was fine and the sea was blue.\n\n" * 60 + "Please paint the boat.\n"


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("Please paint the boat.", "boat.txt", 1),
        ("Please paint the boat.", "notes.txt", 1),
        ("Please paint the boat.", "newsletter.txt", 1),
        ("Please paint the boat.", "docs/LICENSE", 0),
        ("Please paint the boat.", "CHANGELOG_V2.md", 0),
        ("Please paint the boat.", "News.txt", 0),
        (LONG, "boat.txt", 0),
        (f"Notes of 3 March 2026\n\n{LONG}", "boat.txt", 1),
        (LONG, "2026-03-03.txt", 1),
        (f"Dear Ida,\n\n{LONG}", "boat.txt", 1),
        (f"# Boat\n\n## To do\n\n- Please paint the boat\n\n## Weather\n\n{LONG[:-23]}", "boat.md", 1),
    ],
)
async def test_long_text_without_a_day_or_a_list_of_work_is_one_of_reference(
    text: str, name: str, count: int
) -> None:
    assert len(await _titles(text, name)) == count
