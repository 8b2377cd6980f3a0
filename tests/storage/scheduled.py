"""Schedules for tests of storage, and decisions about their fires."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from protocol.errors import CodedError
from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunEvent, RunState
from storage import leases
from storage.agents import due_schedules
from storage.agents.agents import AgentRow, get_agent
from storage.effects import fire_decisions
from storage.effects.fire_decisions import CoveredFireRow, DecidedFires, FireDecision
from storage.effects.fire_runs import FreshRun
from storage.leases import Term
from storage.runs import run_moves
from storage.schedules import fires, schedule_rows, schedules
from storage.schedules.fires import FireRow
from storage.schedules.schedule_rows import DeclaredSchedule, ScheduleRow
from storage.schedules.schedules import NextFire
from tests.storage.rows import AT, BOOT, claim, make_agent, some

HOUR = 3_600_000
HOURLY = DeclaredSchedule(kind="every", every_ms=HOUR)


def make_schedule(
    c: sa.Connection, name: str = "inbox", *, planned: int | None = AT + HOUR, at: int = AT, **fields: Any
) -> ScheduleRow:
    """A schedule of the agent of that name, which is made where it is not there; *fields* as declared.

    Args:
        planned: its next fire, known already.
    """
    agent = _agent(c, name)
    declared = msgspec.structs.replace(HOURLY, **fields)
    schedules.declare(c, agent.id, declared, fresh_id=f"schedule-{name}", at=at)
    made = schedule_rows.get_schedule(c, f"schedule-{name}")
    if planned is None:
        return made
    schedules.plan_next(c, lead(c), [NextFire(made.id, made.rev, planned, planned)], at)
    return schedule_rows.get_schedule(c, made.id)


def _agent(c: sa.Connection, name: str) -> AgentRow:
    try:
        return get_agent(c, AgentId(f"agent-{name}"))
    except CodedError:
        return make_agent(c, name)


def lead(c: sa.Connection) -> Term:
    """The right to decide fires."""
    return some(leases.acquire_lease(c, "scheduler", BOOT, ttl_ms=60_000))


def decision(
    c: sa.Connection,
    schedule_id: str = "schedule-inbox",
    *,
    runs: Sequence[int],
    covered: Sequence[CoveredFireRow] = (),
    cursor_at: int | None = None,
    kind: Literal["schedule", "catchup"] = "schedule",
    next_fire_at: int | Literal["an hour later"] | None = "an hour later",
    **made_with: Any,
) -> FireDecision:
    """What is to become of these fires of a schedule as it is now; runs are called after their fire."""
    due = due_schedules.with_settings(c, schedule_id)
    cursor_at = cursor_at or max([*runs, *(part.fire_at for part in covered)])
    then = cursor_at + HOUR if next_fire_at == "an hour later" else next_fire_at
    return FireDecision(
        due=due,
        cursor_at=cursor_at,
        next_fire_at=then,
        due_at=then,
        runs=tuple(FreshRun(RunId(f"{schedule_id}-{fire_at}"), fire_at) for fire_at in runs),
        covered=tuple(covered),
        trigger_kind=kind,
        config_fingerprint=made_with.pop("fingerprint", "fingerprint-1"),
        settings=made_with or {"prompt": "Find tasks."},
    )


def fire(
    c: sa.Connection, *at: int, schedule_id: str = "schedule-inbox", **details: Any
) -> list[DecidedFires]:
    """Decide these fires of a schedule at the time of the last of them; each deserves a run."""
    return fire_decisions.decide(c, lead(c), [decision(c, schedule_id, runs=at, **details)], at[-1])


def begin(c: sa.Connection, state: RunState = RunState.RUNNING) -> RunId:
    """Claim the run whose turn it is, and lead it into *state*."""
    claimed = some(claim(c, at=AT + 1_000 * HOUR))
    held = claimed.held
    if state is not RunState.PREPARING:
        held = run_moves.move(c, held, RunEvent.ACKNOWLEDGED, at=AT, actor="device")
    if state is RunState.PAUSED:
        run_moves.move(c, held, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    return claimed.id


def told(c: sa.Connection, agent: str = "inbox") -> list[FireRow]:
    """What was decided about an agent's fires, oldest first."""
    return fires.list_fires(c, AgentId(f"agent-{agent}"), 1_000)[::-1]
