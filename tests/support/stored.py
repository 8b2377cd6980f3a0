"""Reads and writes of the database that only tests need, made of those of the product."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from protocol.errors import HubError
from protocol.ids import AgentId, KeyId
from storage.agents import configs, state_history
from storage.agents.state_history import AgentMove
from storage.devices import keys
from storage.runs.calls import CallAnswer, judge_answers, write_settled
from storage.schedules import schedule_rows
from storage.schedules.schedule_rows import ScheduleRow


def configuration_of(c: sa.Connection, agent_id: AgentId) -> dict[str, Any]:
    """Return the agent's own configs as one object, without the defaults of its template."""
    return configs.configurations_of(c, [agent_id])[agent_id]


def agent_history(c: sa.Connection, agent_id: AgentId) -> list[AgentMove]:
    """Return every state change of the agent, oldest first."""
    return state_history.history_page(c, agent_id)[::-1]


def list_schedules(c: sa.Connection) -> list[ScheduleRow]:
    """Return every schedule, by agent name, including slots and those of archived agents."""
    found = schedule_rows.schedules_in(c.execute(schedule_rows.SCHEDULES))
    return sorted(found, key=lambda row: (row.agent_name, row.id))


def revoke_key(c: sa.Connection, id: KeyId, *, at: int) -> bool:
    """Revoke the key of a device. Return True if it was valid."""
    given = {"key": id, "now": at, "next_key": None}
    return c.execute(keys.REVOKE_KEY, given).one_or_none() is not None


def settle_calls(c: sa.Connection, answers: Sequence[CallAnswer], at: int) -> list[bool | HubError]:
    """Settle calls by their answers, but not their units. Return the outcome of each answer."""
    outcomes, settled = judge_answers(c, answers)
    write_settled(c, settled, at)
    return outcomes
