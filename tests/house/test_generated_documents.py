"""What is generated from the code and checked in is what the code says now."""

from pathlib import Path

import pytest

from tests.support.documents import documents
from tests.support.events import ROOT

CURRENT = documents()


@pytest.mark.parametrize("path", CURRENT, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_document_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == CURRENT[path], "run 'make documents'"
