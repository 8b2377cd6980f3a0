"""Mapping of each enum value, table, column, constraint and index of the seed documents.

The data from which ``hub/docs/vocabularies.md`` is generated. Tests check that no name of the
seeds is missing, and that every named column exists.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from hub.agents.vocabularies.calendar import CALENDAR
from hub.agents.vocabularies.foundation import FOUNDATION
from hub.agents.vocabularies.laws import LAWS
from hub.agents.vocabularies.orchestrator import ORCHESTRATOR
from hub.agents.vocabularies.places import Chapter, Place
from hub.agents.vocabularies.run_log import RUN_LOG
from protocol.vocabularies import Vocabulary

__all__ = ["CHAPTERS", "Chapter", "Place", "columns_of", "places"]

CHAPTERS: Final[tuple[Chapter, ...]] = (*CALENDAR, *ORCHESTRATOR, *FOUNDATION, *LAWS, *RUN_LOG)
# The table of each vocabulary whose columns are the top level of its documents.
_TOP: Final[Mapping[Vocabulary, str]] = {
    Vocabulary.CALENDAR: "agents",
    Vocabulary.ORCHESTRATOR: "agent",
    Vocabulary.FOUNDATION: "agent_states",
    Vocabulary.RUN_LOG: "agent",
}


def columns_of(vocabulary: Vocabulary) -> dict[str, str]:
    """Return the top-level columns of a vocabulary's document, with how each is written."""
    return {
        place.name.partition(".")[2]: place.written
        for chapter in CHAPTERS
        if (chapter.vocabulary, chapter.title, chapter.kind) == (vocabulary, _TOP[vocabulary], "column")
        for place in chapter.places
    }


def places() -> Iterator[tuple[Vocabulary, Place]]:
    """Yield every name of every seed, once for each chapter with it."""
    for chapter in CHAPTERS:
        for place in chapter.places:
            yield chapter.vocabulary, place
