"""Schedules, and what is old, where another hub writes the same rows at the same time. PostgreSQL alone."""

from collections.abc import Callable
from functools import partial

import msgspec
import pytest
import sqlalchemy as sa

from protocol.ids import AgentId
from protocol.lifecycles import RunEvent
from storage import retention
from storage.kernel.database import Database
from storage.runs import run_moves
from storage.runs.calls import mark_sent
from storage.runs.items import PlannedCall
from storage.runs.runs import HeldRun
from storage.schedules import calendar_wakeups, fires, schedule_rows, schedules
from storage.schema import run_calls
from tests.storage.jobs import while_the_other_waits
from tests.storage.rows import AT, calls, make_agent, plan, running
from tests.storage.scheduled import HOUR, HOURLY, decision, lead, make_schedule
from tests.support.postgres import Postgres

INBOX = AgentId("agent-inbox")
ID = "schedule-inbox"


def decide_the_first(c: sa.Connection) -> None:
    fires.decide(c, lead(c), [decision(c, runs=[AT + HOUR])], AT + HOUR)


def edit(c: sa.Connection) -> bool:
    new = msgspec.structs.replace(HOURLY, overlap="allow")
    return schedules.declare(c, INBOX, new, fresh_id="another", at=AT + HOUR - 5)


def enable(c: sa.Connection) -> bool:
    return schedules.set_enabled(c, ID, True, at=AT + 5)


async def test_an_edit_does_not_move_a_cursor_back_that_the_leader_moves(
    postgres: Postgres, hubs: list[Database], url: str
) -> None:
    await hubs[0].write(lambda c: make_schedule(c) and None)
    assert await while_the_other_waits(postgres, url, hubs, decide_the_first, edit)
    edited = await hubs[0].read(schedule_rows.get_schedule, ID)
    assert (edited.overlap, edited.cursor_at) == ("allow", AT + HOUR)


async def test_an_end_of_a_pause_does_not_move_a_cursor_back_that_an_edit_moves(
    postgres: Postgres, hubs: list[Database], url: str
) -> None:
    def pause(c: sa.Connection) -> None:
        make_schedule(c)
        schedules.set_enabled(c, ID, False, at=AT + 1)

    await hubs[0].write(pause)
    assert await while_the_other_waits(postgres, url, hubs, edit, enable)
    enabled = await hubs[0].read(schedule_rows.get_schedule, ID)
    assert (enabled.enabled, enabled.cursor_at) == (True, AT + HOUR - 5)


def an_old_run_and_a_new_one(c: sa.Connection, of: list[PlannedCall]) -> HeldRun:
    """The old one has planned the call and ended; another one ended after it."""
    for name in ("old", "newer"):
        held = running(c, name)
        if name == "old":
            plan(c, held, of=of)
            mark_sent(c, held, [of[0].call_id], AT)
        run_moves.move(c, held, RunEvent.FAILED, at=AT + (name == "newer"), actor="hub", reason="broken")
    return running(c, "live")


@pytest.mark.parametrize(
    "clean",
    [
        partial(
            retention.prune_runs, agent_ids=[INBOX], before=AT + 1, failed_before=AT + 1, retained=1, rows=1
        ),
        partial(retention.forget_payloads, before=AT + 1, at=AT + 1),
    ],
)
async def test_a_call_that_a_live_run_adopts_meanwhile_keeps_its_row_and_what_it_carries(
    postgres: Postgres, hubs: list[Database], url: str, clean: Callable[[sa.Connection], int]
) -> None:
    of = calls("call-1")
    held = await hubs[0].write(an_old_run_and_a_new_one, of)
    await while_the_other_waits(postgres, url, hubs, lambda c: plan(c, held, of=of, at=AT + 10), clean)
    (call,) = await hubs[0].read(
        lambda c: c.execute(sa.select(run_calls.c.run_id, run_calls.c.payload)).all()
    )
    assert (call.run_id, call.payload) == ("live", of[0].payload)


async def test_of_two_hubs_one_notifies_a_device_of_a_slot(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    def come(c: sa.Connection) -> calendar_wakeups.WakeRow:
        make_agent(c)
        slot = msgspec.structs.replace(HOURLY, action="wake", label="standup", duration_ms=HOUR)
        schedules.declare_slots(c, INBOX, [slot], at=AT)
        (row,) = schedule_rows.slots_of(c, INBOX)
        fires.decide(c, lead(c), [decision(c, row.id, runs=[AT + HOUR])], AT + HOUR)
        (wake,) = calendar_wakeups.wakes_of(c, INBOX, 1)
        return wake

    wake = await hubs[0].write(come)
    tell = partial(calendar_wakeups.take, wake=wake, at=AT + HOUR, next_at=AT + 2 * HOUR)
    assert not await while_the_other_waits(postgres, url, hubs, tell, tell)
    (told,) = await hubs[0].read(calendar_wakeups.wakes_of, INBOX, 1)
    assert (told.state, told.sends) == ("sent", 1)
