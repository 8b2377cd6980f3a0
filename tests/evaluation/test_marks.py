"""Figures of lines with a mark, and of those without, are counted apart."""

from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.extraction.ruled import ToExtract
from hub.lab.gold import GoldDocument, Label, Tally
from protocol.tables import TABLES
from tests.evaluation.marks import WITH_MARK, WITHOUT_MARK, by_mark, is_marked
from tests.support.families import each


def gold(text: str, name: str = "a.md", *titles: str) -> GoldDocument:
    labels = tuple(Label(table="tasks", data={"title": title}, places=((0, len(text)),)) for title in titles)
    return GoldDocument(id="a", text=text, labels=labels, date=None, name=name, words={})


@each(
    ("line", "name", "expected"),
    [
        ("- [ ] call Ann", "a.md", True),
        ("> 2) [x] call Ann", "a.txt", True),
        ("* TODO call Ann", "a.org", True),
        ("call Ann due:2031-05-01", "a.txt", True),
        ("- call Ann @due(2031-05-01)", "a.md", True),
        ("call Ann", "todo.txt", True),
        ("SUMMARY:Call Ann", "a.ics", True),
        ("- call Ann", "a.taskpaper", True),
        ("- call Ann by 3 May", "a.md", False),
        ("Please call Ann [now].", "a.md", False),
        ("Todos for Ann", "a.md", False),
        ("3 May: call Ann", "a.txt", False),
    ],
)
def test_line_has_a_mark_by_its_sign_or_the_form_of_its_file(line: str, name: str, expected: bool) -> None:
    document = gold(f"- [ ] first\n{line}\n- [ ] last\n", name)
    assert is_marked(document, len("- [ ] first\n") + len(line) // 2) is expected


def test_items_and_missed_labels_count_by_the_marks_of_their_lines() -> None:
    text = "- [ ] call Ann\n- [ ] water the tree\nPlease send the report to Ben by Friday.\nAnd the cups?\n"
    document = gold(text, "a.md", "call Ann", "send the report to Ben", "cups")
    request = ToExtract(
        document=Document(unit_key="a.md", text=text, content_hash="0" * 64),
        options=ExtractionOptions(data_types=tuple(TABLES)),
        reads_prose=True,
    )
    assert by_mark(document, request.answer().items) == {
        WITH_MARK: Tally(right=1, found=2, labelled=1),
        WITHOUT_MARK: Tally(right=1, found=1, labelled=2),
    }
