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
]


async def _titles(text: str) -> list[object]:
    document = Document(unit_key="a.md", text=text, content_hash="", modified_at=WEDNESDAY)
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
    "text",
    [
        "Write the manual by Friday.\nCall the printer.",
        "# 12.5 Meeting\n\nPlease call the printer.\n\n# 14.5 Walk\n\nPlease buy a map.",
        "10.15 Please call the printer.\n10.17 Please buy a map.\n11.05 Please water the plants.",
    ],
)
async def test_words_of_a_title_in_other_places_make_no_text_of_reference(text: str) -> None:
    assert len(await _titles(text)) > 1
