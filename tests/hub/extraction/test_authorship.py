"""Items in text of unknown authors are marked, listed apart or dropped, whatever the words are."""

import hashlib

import pytest

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions, Outside
from hub.extraction.model import Models
from protocol.tables import TableName
from protocol.work import Provenance, ProvenanceOrigin

pytestmark = pytest.mark.anyio
KNOWN = Provenance(origin=ProvenanceOrigin.MAIL, author="Anna <anna@example.org>", trusted=True)
UNKNOWN = Provenance(origin=ProvenanceOrigin.MAIL, author="Eve <eve@example.org>", trusted=False)


async def read(text: str, provenance: Provenance | None, outside: Outside = "mark") -> Extraction:
    digest = hashlib.sha256(text.encode()).hexdigest()
    document = Document(
        unit_key="a.md", text=text, content_hash=digest, media_type="text/markdown", provenance=provenance
    )
    options = ExtractionOptions(data_types=(TableName.TASKS,), outside=outside)
    return await Extractor(Models(), secret=bytes(32)).extract(document, options)


@pytest.mark.parametrize(("outside", "marks"), [("mark", ("outside",)), ("separate", ("outside", "apart"))])
async def test_an_item_of_an_unknown_author_is_marked(outside: Outside, marks: tuple[str, ...]) -> None:
    found = await read("- [ ] call Ana\n", UNKNOWN, outside)
    assert [item.warnings for item in found.items] == [marks]
    assert not found.dropped


async def test_dropped_items_are_counted_in_the_notes() -> None:
    found = await read("- [ ] call Ana\n- [ ] pay\n", UNKNOWN, "drop")
    assert not found.items
    assert found.notes.dropped == {"outside": 2}


@pytest.mark.parametrize("outside", ["mark", "separate", "drop"])
@pytest.mark.parametrize("provenance", [KNOWN, Provenance(origin=ProvenanceOrigin.OWN, trusted=True), None])
async def test_an_item_of_a_trusted_author_is_not(outside: Outside, provenance: Provenance | None) -> None:
    found = await read("- [ ] call Ana\n", provenance, outside)
    assert [item.warnings for item in found.items] == [()]


async def test_quoted_and_attached_text_of_a_trusted_mail_is_of_unknown_authors() -> None:
    text = "- [ ] call Ana\n\n> - [ ] pay Eve\n\n[attachment: a.md, text/markdown]\n- [ ] buy cards\n"
    found = await read(text, KNOWN)
    assert {str(item.data["title"]): item.warnings for item in found.items} == {
        "call Ana": (),
        "pay Eve": ("outside",),
        "buy cards": ("outside",),
    }
    authors = [
        Document(unit_key="a", text=text, content_hash="", provenance=KNOWN).provenance_at(item.start)
        for item in found.items
    ]
    assert [one and one.author for one in authors] == [KNOWN.author, None, None]
