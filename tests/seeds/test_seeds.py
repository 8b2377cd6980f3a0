"""Every sentence of the documents that the project was created from is kept, or names why it changed."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import hub
from tests.seeds import calendar, columns, constraints, coordination, foundation, orchestrator, run_log
from tests.seeds.walk import SENTENCES, Walk, walking

__all__ = ["calendar", "columns", "constraints", "coordination", "foundation", "orchestrator", "run_log"]

pytestmark = pytest.mark.slow

DECISIONS = Path(hub.__file__).parent / "docs" / "decisions.md"
WALKS = {one.drive: f"{one.document}-{one.drive.__name__}" for one in SENTENCES}


@pytest.mark.parametrize("drive", WALKS, ids=WALKS.values())
async def test_the_hub_does_as_the_sentences_say(
    drive: Callable[[Walk], Awaitable[None]], tmp_path: Path
) -> None:
    async with walking(tmp_path) as walk:
        await drive(walk)


def test_every_sentence_not_kept_by_the_hub_names_the_decision() -> None:
    assert len(SENTENCES) >= 395
    assert [one.text for one in SENTENCES if not (one.lives or one.changed)] == []
    decisions = DECISIONS.read_text()
    assert [one.changed for one in SENTENCES if f"| {one.changed} |" not in decisions and one.changed] == []
