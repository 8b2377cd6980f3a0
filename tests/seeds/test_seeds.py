"""Every sentence of the documents that the project was created from is kept, or names why it changed."""

from pathlib import Path

import pytest

from tests.seeds import calendar, foundation, run_log
from tests.seeds.walk import SENTENCES, Sentence, walking

__all__ = ["calendar", "foundation", "run_log"]


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda one: f"{one.document}-{one.drive.__name__}")
async def test_the_hub_does_as_a_sentence_says(sentence: Sentence, tmp_path: Path) -> None:
    async with walking(tmp_path) as walk:
        await sentence.drive(walk)
