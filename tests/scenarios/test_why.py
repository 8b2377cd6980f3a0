"""Sentences of all reasons get the reason that they were planted for: over REST, and by the command."""

from pathlib import Path

import pytest

from tests.scenarios import why


async def test_each_planted_sentence_is_explained_by_the_reason_and_remedy(
    tmp_path: Path,
) -> None:
    assert await why.prove(tmp_path, each=1, typed=2) == 0


@pytest.mark.soak
async def test_three_hundred_planted_sentences_are_explained_by_their_reasons(
    tmp_path: Path,
) -> None:
    assert await why.prove(tmp_path, each=why.EACH, typed=len(why.REMEDIES)) == 0
