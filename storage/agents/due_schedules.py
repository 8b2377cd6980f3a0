"""Due schedules with their agents' settings, as the scheduler reads them."""

from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from storage.agents import configs
from storage.agents.configs import Mailbox, ModelUse
from storage.kernel.columns import columns_of, readable, reader, struct_from
from storage.kernel.database import UnreadableRow
from storage.schedules.schedule_rows import (
    IS_PLANNED,
    SCHEDULES,
    ScheduleRow,
    next_due_at,
    read_schedule,
    unplanned,
)
from storage.schema import agent_states, agent_templates, agents, schedules


class DueSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Schedule with the current settings of its agent's runs."""

    schedule: ScheduleRow
    paths: tuple[str, ...]
    file_extensions: tuple[str, ...]
    data_types: tuple[str, ...]
    prompt: str
    mailbox: Mailbox | None = None
    needs: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    timezone: str
    model_use: ModelUse = ModelUse()
    priority: int
    config_rev: int


class UnreadableSchedule(msgspec.Struct, frozen=True):
    """Due schedule whose agent's settings cannot be read; *why*: explanation for people."""

    schedule: ScheduleRow
    why: str


class Agenda(msgspec.Struct, frozen=True):
    """Pending work of a scheduler; *next_due_at*: time of the next work after this.

    *connected*: schedules whose agent gets a run because its device connected for the first time.
    """

    unplanned: tuple[ScheduleRow, ...]
    due: tuple[DueSchedule, ...]
    next_due_at: int | None
    unreadable: tuple[UnreadableSchedule, ...] = ()
    connected: tuple[DueSchedule, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if nothing is to be done now."""
        return not (self.unplanned or self.due or self.unreadable or self.connected)


WITH_SETTINGS = configs.with_configs(
    SCHEDULES.add_columns(
        *columns_of(
            DueSchedule,
            agents,
            schedule=None,
            prompt=sa.func.coalesce(agents.c.prompt_template, agent_templates.c.prompt_template, ""),
            **configs.COLUMNS,
        )
    ).outerjoin(agent_templates, agent_templates.c.id == agents.c.template_id)
)
DUE = (
    WITH_SETTINGS.where(IS_PLANNED, schedules.c.due_at <= sa.bindparam("now"), agents.c.deleted_at.is_(None))
    .order_by(schedules.c.due_at)  # no other key, so that ten thousand of one minute need no sorting
    .limit(sa.bindparam("most", type_=sa.Integer))
)
# A schedule that is due or not planned yet decides its missed fires first: one of them may start a run.
CONNECTED = (
    WITH_SETTINGS.where(
        sa.text("schedules.first_connect = 'due' AND schedules.enabled"),
        schedules.c.due_at > sa.bindparam("now"),
        agents.c.deleted_at.is_(None),
        agent_states.c.lifecycle == "active",
    )
    .order_by(schedules.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def due(c: sa.Connection, at: int, limit: int) -> list[DueSchedule]:
    """Return readable schedules with a fire to decide, longest waiting first."""
    return _with_readable_settings(c, DUE, at, limit)[0]


def agenda(c: sa.Connection, at: int, limit: int) -> Agenda:
    """Return the scheduler's pending work at this moment."""
    found, unreadable = _with_readable_settings(c, DUE, at, limit)
    connected, unreadable_too = _with_readable_settings(c, CONNECTED, at, limit)
    return Agenda(
        tuple(unplanned(c, limit)),
        tuple(found),
        next_due_at(c, at),
        (*unreadable, *unreadable_too),
        tuple(connected),
    )


def with_settings(c: sa.Connection, id: str) -> DueSchedule:
    """Return the schedule, due or not, with the current settings of its agent's runs.

    Raises:
        CodedError (BAD_PARAMS): no schedule has the id.
        UnreadableConfig: the settings cannot be read.
    """
    row = c.execute(WITH_SETTINGS.where(schedules.c.id == id)).one_or_none()
    if row is None:
        raise CodedError(ErrorCode.BAD_PARAMS, f"there is no schedule {id}")
    return _with_settings(row)


def _with_readable_settings(
    c: sa.Connection, query: sa.Select[Any], at: int, limit: int
) -> tuple[list[DueSchedule], list[UnreadableSchedule]]:
    """Read schedules row by row, so that an unreadable one does not block the others."""
    most = limit
    while True:
        found: list[DueSchedule] = []
        unreadable: list[UnreadableSchedule] = []
        rows = c.execute(query, {"now": at, "most": most}).all()
        for row in rows:
            try:
                found.append(_with_settings(row))
            except UnreadableRow as exc:
                unreadable += [
                    UnreadableSchedule(schedule, str(exc)) for schedule in readable(read_schedule, [row])
                ]
        if found or unreadable or len(rows) < most:
            return found, unreadable
        most *= 2  # all of them are broken: others take their places


@reader
def _with_settings(row: Any) -> DueSchedule:
    return struct_from(DueSchedule, row, schedule=read_schedule(row), **configs.configs_in(row))
