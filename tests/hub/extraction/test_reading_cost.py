"""Which part of a long text is read, by its shape and its author, and what is said of the rest."""

from datetime import UTC, datetime
from itertools import count
from typing import Final

import pytest

from hub.document import Document
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.reading_cost import OTHERS_STEPS, OWN_STEPS, readable_chars, steps_until
from hub.extraction.ruled import ToExtract, beginning_of
from protocol.items import Provenance, ProvenanceOrigin
from protocol.tables import TABLES
from tests.support.families import each

OPTIONS: Final = ExtractionOptions(data_types=tuple(TABLES), timezone="Europe/Berlin")
OWN: Final = Provenance(origin=ProvenanceOrigin.OWN, trusted=True)
KNOWN: Final = Provenance(origin=ProvenanceOrigin.MAIL, author="ana@example.org", trusted=True)
STRANGER: Final = Provenance(origin=ProvenanceOrigin.MAIL, author="x@example.org", trusted=False)
CHARS: Final = 100_000
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


def long_text(shape: str, by: Provenance | None, chars: int = CHARS) -> Document:
    path, unit = SHAPES[shape]
    units, size, numbers = list[str](), 0, count()
    while size < chars:
        units.append(unit.format(next(numbers)))
        size += len(units[-1])
    text = ("BEGIN:VCALENDAR\r\n" if path.endswith(".ics") else "") + "".join(units)
    written = datetime(2026, 5, 6, 12, tzinfo=UTC)
    return Document(unit_key=path, text=text, content_hash="0" * 64, modified_at=written, provenance=by)


def extract(document: Document) -> Extraction:
    return ToExtract(document=document, options=OPTIONS, reads_prose=True).answer()


@each_shape
@each(("by", "most"), [(OWN, OWN_STEPS), (KNOWN, OWN_STEPS), (STRANGER, OTHERS_STEPS)])
def test_read_part_of_a_long_text_has_the_steps_of_its_author(shape: str, by: Provenance, most: int) -> None:
    document = long_text(shape, by)
    chars = readable_chars(document, reads_prose=True)
    steps, _ = steps_until(beginning_of(document, chars), float("inf"), reads_prose=True)
    assert steps <= max(most, 15 * len(document.text) if by.trusted else 0)
    assert chars == len(document.text) or chars <= 2_000 or steps > most / 2


@each_shape
def test_part_that_is_read_of_a_text_by_others_is_the_same_whatever_follows(shape: str) -> None:
    parts = {
        readable_chars(long_text(shape, STRANGER, chars), reads_prose=True) for chars in (CHARS, 3 * CHARS)
    }
    assert len(parts) == 1


@pytest.mark.parametrize("shape", ["prose", "one line", "days", "headings", "han"])
def test_items_of_a_long_text_by_others_are_those_of_the_part_that_is_read(shape: str) -> None:
    document = long_text(shape, STRANGER)
    chars = readable_chars(document, reads_prose=True)
    found, alone = extract(document), extract(beginning_of(document, chars))
    assert found.items == alone.items
    rest = document.text[chars:]
    assert (found.notes.unread_chars, found.notes.unread_lines) == (len(rest), len(rest.splitlines()))
    assert (alone.notes.unread_chars, alone.notes.unread_lines) == (0, 0)


@pytest.mark.parametrize("shape", ["prose", "headings", "days", "boxes"])
def test_part_that_is_read_ends_with_a_line(shape: str) -> None:
    document = long_text(shape, STRANGER)
    assert document.text[readable_chars(document, reads_prose=True) - 1] == "\n"


@pytest.mark.parametrize("provenance", [OWN, KNOWN, None])
def test_list_of_boxes_of_a_known_author_is_read_as_a_whole(provenance: Provenance | None) -> None:
    document = long_text("boxes", provenance)
    assert readable_chars(document, reads_prose=True) == len(document.text)


def test_calendar_of_which_the_end_is_not_read_is_not_cut_off() -> None:
    notes = extract(long_text("calendar", STRANGER)).notes
    assert (notes.is_cut_off, notes.unread_chars > 0) == (False, True)


def test_prose_that_a_model_reads_costs_the_rules_fewer_steps() -> None:
    document = long_text("prose", STRANGER)
    by_rules = readable_chars(document, reads_prose=True)
    assert readable_chars(document, reads_prose=False) > 3 * by_rules
