"""Generation of ``hub/docs/vocabularies.md``, with an agent's axes and every name of the seeds. Pure."""

from collections.abc import Iterator
from typing import Final

from hub.agents.vocabularies import CHAPTERS
from hub.agents.vocabularies.places import Chapter
from protocol.agent_status import TABLES, VALUES, Activity, Axis, legal_moves
from protocol.vocabularies import Vocabulary

_SEEDS: Final = {
    Vocabulary.CALENDAR: "The words of a calendar: one runtime status, by which a calendar wakes an agent.",
    Vocabulary.ORCHESTRATOR: "The words of an orchestrator: status, finer state, templates, executions.",
    Vocabulary.FOUNDATION: "The words of a foundation layer: configs, states, capabilities and metrics.",
    Vocabulary.RUN_LOG: "The words of a run log: what became of each run.",
}
_KINDS: Final = {"value": "Values", "column": "Columns", "constraint": "Constraints", "index": "Indexes"}
_ACTIVITIES: Final = {
    Activity.IDLE: "no live run",
    Activity.WAITING: "live runs, none of them RUNNING",
    Activity.PROCESSING: "at least one RUNNING",
    Activity.SATURATED: "as many RUNNING as `max_concurrent_runs` allows",
}
_HEAD: Final = """\
# Vocabularies

What other programs call the status of an agent, and where each name is kept.

<!-- Generated from hub/agents/vocabularies and protocol/vocabularies.py: make documents -->

Four vocabularies describe agents, each in words of its own. The hub stores none of those words. An agent
has a value on each of four axes, and a fifth axis is derived from its runs. The words of a vocabulary are
read from the axes, and written to them, by the rules below.

- **Read**: `GET /v1/agents/{name}/as/{vocabulary}` returns an agent in the words of that vocabulary.
- **Write**: `PATCH` of the same, as in `{"status": "on_call"}`. A write moves the agent on its axes. The hub
  refuses a write that the tables do not allow, or after which another word would still be read; the refusal
  names the axis that is in the way and the moves that it allows.
- A device does the same for its own agents with `status.get` and `status.set`.
- `hub agents status NAME --as VOCABULARY` shows the words, `--set FIELD=VALUE` writes them.

## The axes

| axis | value | may go to |
|---|---|---|
"""


def page() -> str:
    """Return the document."""
    return _HEAD + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    for axis, table in TABLES.items():
        for value in VALUES[axis]:
            to = ", ".join(legal_moves(axis, value)) or "nowhere: it is final"
            first = " (at first)" if value is table.initial else ""
            yield f"| {axis} | `{value}`{first} | {to} |"
    for activity, means in _ACTIVITIES.items():
        yield f"| {Axis.ACTIVITY} | `{activity}` | derived: {means} |"
    for vocabulary in Vocabulary:
        yield ""
        yield f"## {vocabulary}"
        yield ""
        yield _SEEDS[vocabulary]
        for chapter in CHAPTERS:
            if chapter.vocabulary is vocabulary:
                yield from _chapter(chapter)


def _chapter(chapter: Chapter) -> Iterator[str]:
    yield ""
    yield f"### {chapter.title}: {_KINDS[chapter.kind].lower()}"
    yield ""
    yield "| name | lives in | read | written |"
    yield "|---|---|---|---|"
    for place in chapter.places:
        lives = ", ".join(f"`{column}`" for column in place.lives) or "nowhere"
        yield f"| `{place.name}` | {lives} | {place.read} | {place.written} |"
