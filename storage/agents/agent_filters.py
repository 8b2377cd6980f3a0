"""Filters of agents: by axes, by status words of a vocabulary, by what they are and by what they can do."""

from collections.abc import Iterator, Mapping

import msgspec
import sqlalchemy as sa

from protocol.agent_status import Axis, Kind, Vocabulary
from protocol.requirements import Requirement
from storage.agents import capabilities
from storage.agents.agent_states import AXES_OF_AGENTS, words_in_sql
from storage.schema import agents


class AgentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filter of agents, each condition of which has to hold.

    Attributes:
        axes: values on axes.
        words: words in status columns of *vocabulary*.
        needed: a capability that the agent itself has; those of its device do not count.
        kind: its type; with a subtype, only agents that have it.
    """

    axes: Mapping[Axis, str] = {}
    vocabulary: Vocabulary = Vocabulary.CALENDAR
    words: Mapping[str, str] = {}
    needed: Requirement | None = None
    kind: Kind | None = None
    project_id: str | None = None


def conditions_of(c: sa.Connection, filters: AgentFilter) -> Iterator[sa.ColumnElement[bool]]:
    """Yield the conditions of a filter, for queries that join agents with their states."""
    for axis, value in filters.axes.items():
        yield AXES_OF_AGENTS[axis] == value
    columns = words_in_sql(filters.vocabulary, AXES_OF_AGENTS, agents.c.max_concurrent_runs)
    for column, word in filters.words.items():
        yield columns[column] == word
    if filters.needed is not None:
        yield capabilities.having(c, filters.needed)
    if filters.kind is not None:
        yield agents.c.type == str(filters.kind.type)
        if filters.kind.subtype is not None:
            yield agents.c.subtype == str(filters.kind.subtype)
    if filters.project_id is not None:
        yield agents.c.project_id == filters.project_id
