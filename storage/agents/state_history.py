"""History of agents' status changes: pages, and changes as status words."""

from collections.abc import Iterable
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.agent_status import DETAILED_AXES, Axes, Axis
from protocol.ids import AgentId, DeviceId
from storage.agents.status_sql import _axes_after, _axes_before, pair_in_sql
from storage.kernel.columns import Key, columns_of, fetch_page, in_parts, paged, structs_from
from storage.schema import MAY_CHANGE_WORDS, agent_state_history, agents, devices

_words_before, _words_after = pair_in_sql(_axes_before), pair_in_sql(_axes_after)
# Conditions of moves that changed a word of the orchestrator; the first one is that of an index.
CHANGED_WORDS: Final = (
    sa.text(f"({MAY_CHANGE_WORDS})"),
    sa.or_(
        agent_state_history.c.old_value.is_(None),
        *(_words_before[column] != _words_after[column] for column in _words_after),
    ),
)


class AgentMove(msgspec.Struct, frozen=True):
    """Row of an agent's history: a change on one axis.

    *snapshot*: the axes after the change. *old_detail*: ``state_detail`` before the change.
    """

    seq: int
    axis: str
    old_value: str | None
    new_value: str
    reason: str | None
    actor: str
    at: int
    snapshot: Axes = Axes()
    old_detail: str | None = None

    @property
    def axes_before(self) -> Axes | None:
        """Axes before the change; None: it created the agent."""
        if self.old_value is None:
            return None
        axes = self.snapshot.after(Axis(self.axis), self.old_value)
        if self.axis in DETAILED_AXES:
            axes = msgspec.structs.replace(axes, state_detail=self.old_detail)
        return axes


HISTORY = sa.select(*columns_of(AgentMove, agent_state_history)).where(
    agent_state_history.c.agent_id == sa.bindparam("agent")
)
MAX_SEQ: Final = 2**63 - 1
WORD_CHANGES = HISTORY.where(*CHANGED_WORDS)


_reader = agents.alias("reader")
_first_reader = (
    sa.select(sa.func.min(_reader.c.id))
    .where(_reader.c.device_id == devices.c.id, _reader.c.deleted_at.is_(None))
    .scalar_subquery()
)
LEFT_BECAUSE = sa.select(
    devices.c.id,
    sa.select(agent_state_history.c.reason)
    .where(agent_state_history.c.agent_id == _first_reader, agent_state_history.c.axis == Axis.CONNECTIVITY)
    .order_by(agent_state_history.c.seq.desc())
    .limit(1)
    .scalar_subquery()
    .label("reason"),
).where(devices.c.id.in_(sa.bindparam("devices", expanding=True)))


def why_left(c: sa.Connection, device_ids: Iterable[DeviceId]) -> dict[DeviceId, str | None]:
    """Return why these devices last went away, by id, as the history of the first agent of each says."""
    return {
        DeviceId(row.id): row.reason
        for part in in_parts(sorted(set(device_ids)))
        for row in c.execute(LEFT_BECAUSE, {"devices": part})
    }


def history_page(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    axis: Axis | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[AgentMove]:
    """Return state changes of the agent, or those on one axis, newest first."""
    query = paged(HISTORY, agent_state_history.c.seq, limit=limit, after=after, descending=True)
    if axis is not None:
        query = query.where(agent_state_history.c.axis == sa.bindparam("on_axis", str(axis)))
    return fetch_page(c, AgentMove, query, limit, {"agent": agent_id})


def word_changes(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[AgentMove]:
    """Return the changes of the agent that changed a status word of the orchestrator, newest first."""
    newest = after or (MAX_SEQ,)  # without a bound SQLite would not use the index of these moves
    query = paged(WORD_CHANGES, agent_state_history.c.seq, limit=limit, after=newest, descending=True)
    return structs_from(AgentMove, c.execute(query, {"agent": agent_id}))
