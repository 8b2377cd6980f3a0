"""Sentences of all reasons get the reason that they were planted for: over REST, and by the command."""

from pathlib import Path

from tests.scenarios import why


async def test_each_planted_sentence_is_explained_by_the_reason_and_remedy(
    tmp_path: Path,
) -> None:
    assert await why.prove(tmp_path, each=1, typed=2) == 0
