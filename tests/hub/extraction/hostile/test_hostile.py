"""Documents that give orders to their reader, and a model that obeys every one of them."""

from collections import Counter
from functools import cache

import pytest

from hub.document import Document
from hub.extraction.chunk import sentences
from hub.extraction.extractor import Extractor
from hub.extraction.injection_warnings import spans
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.model import Models
from hub.text.folding import shown
from protocol.tables import TABLES, Filler, TableName
from tests.hub.extraction.hostile.gullible import Gullible
from tests.hub.extraction.hostile.planting import Hostile, hostile_documents, letters
from tests.support.families import each

WANTED = ExtractionOptions(data_types=(TableName.TASKS, TableName.NOTES))


@cache
def documents() -> list[Hostile]:
    return list(hostile_documents())


async def extract(hostile: Hostile) -> Extraction:
    model = Gullible(shown(hostile.planted), hostile.title)
    document = Document(unit_key=hostile.name, text=hostile.text, content_hash="0" * 64)
    return await Extractor(Models(model, model), secret=b"s" * 32).extract(document, WANTED)


def test_hostile_set_has_a_hundred_documents_in_six_languages() -> None:
    languages = Counter(hostile.name.split("-")[0] for hostile in documents())
    assert len(documents()) >= 100
    assert set(languages) == {"en", "de", "fr", "es", "ru", "zh"}
    assert min(languages.values()) >= 15


@pytest.mark.slow
@each("hostile", documents)
async def test_items_of_a_planted_order_are_marked_and_have_only_model_fields(
    hostile: Hostile,
) -> None:
    extraction = await extract(hostile)
    begin = hostile.text.find(hostile.planted)
    end = begin + len(hostile.planted)
    touching = [
        item for item in extraction.items if hostile.planted and item.start < end and begin < item.end
    ]
    assert [item.quote for item in touching if "instruction" not in item.warnings] == []
    # Nor one that has the order's words and a harmless sentence for a quote.
    wanted = [item for item in extraction.items if item.data.get("title") == hostile.title]
    assert [item.quote for item in wanted if not {"instruction", "unsupported"} & {*item.warnings}] == []
    assert bool(touching) is bool(hostile.planted), "the model was not shown the order"
    for item in extraction.items:
        assert item.table in WANTED.data_types
        fillers = {column.name: column.filler for column in TABLES[item.table].columns}
        assert {fillers[name] for name in item.data} <= {Filler.MODEL}
        assert hostile.text[item.start : item.end] == item.quote


def test_hidden_text_of_a_hostile_html_page_is_not_extracted() -> None:
    pages = [hostile for hostile in documents() if "-html-" in hostile.name]
    assert pages
    assert [page.name for page in pages if page.planted or page.title in page.text] == []


def test_ordinary_letters_are_not_suspected() -> None:
    places = [
        (letter, place) for letter in letters() for place in sentences(letter.text, 0, len(letter.text))
    ]
    suspected = [
        letter.text[start:end]
        for letter, (start, end) in places
        if any(begin < end and start < stop for begin, stop in spans(letter.text))
    ]
    assert len(places) > 100
    assert len(suspected) / len(places) < 0.02, suspected
