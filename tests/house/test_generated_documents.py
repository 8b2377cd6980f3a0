"""What is generated from the code and checked in is what the code says now."""

from pathlib import Path

from tests.support.documents import documents
from tests.support.families import each


@each(("path", "text"), lambda: documents().items())
def test_a_generated_document_is_current(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run 'make documents'"
