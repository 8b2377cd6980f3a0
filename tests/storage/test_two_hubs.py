"""Schedules, agents, messages and questions that two hubs write at the same time. PostgreSQL alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from protocol.agent_messages import MessageEvent, MessageKind, MessageState
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, BoardId, MemoryId, MessageId
from protocol.lifecycles import RunEvent
from storage.agents import config_changes, state_moves
from storage.agents.agent_snapshot import check_setup
from storage.agents.config_changes import NewConfig
from storage.coordination import board_memory, boards, message_rows, messages, questions
from storage.coordination.board_memory import MemoryLimits, NewMemory
from storage.coordination.boards import BoardLimits, TooManyOfBoards, get_board
from storage.coordination.message_rows import MessageRow
from storage.coordination.messages import NewMessage
from storage.coordination.questions import Replied, ReplyIds, add_reply
from storage.devices.tokens import TooManyAgentTokens, list_agent_tokens
from storage.effects import fire_decisions, retention
from storage.executing_runs import FencedRun
from storage.kernel.database import Database
from storage.runs import run_moves
from storage.runs.calls import mark_sent
from storage.runs.items import PlannedCall
from storage.schedules import schedule_rows, schedules, wakes
from storage.schema import run_calls
from tests.storage import test_board_memory, test_tokens
from tests.storage.jobs import uncommitted, while_the_other_waits
from tests.storage.rows import AT, ME, calls, claim, make_agent, plan, running, some
from tests.storage.scheduled import HOUR, HOURLY, decision, lead, make_schedule
from tests.storage.test_agent_snapshot import NOTES, RESEARCHER, needs_a_project, put, take_up, wants
from tests.storage.test_agents import MAIL, edit, make
from tests.storage.test_boards import INBOX as BOARD_INBOX
from tests.storage.test_boards import NOTES as BOARD_NOTES
from tests.storage.test_boards import add
from tests.storage.test_boards import make as make_board
from tests.storage.test_questions import BOARD, DAY, WEST, a_board, ask, remembered, reply, said
from tests.storage.test_run_locks import make_locking_run
from tests.support import stored
from tests.support.postgres import Postgres

INBOX = AgentId("agent-inbox")
ID = "schedule-inbox"


def decide_the_first(c: sa.Connection) -> None:
    fire_decisions.decide(c, lead(c), [decision(c, runs=[AT + HOUR])], AT + HOUR)


def edit_schedule(c: sa.Connection) -> bool:
    new = msgspec.structs.replace(HOURLY, overlap="allow")
    return schedules.declare(c, INBOX, new, fresh_id="another", at=AT + HOUR - 5)


def enable(c: sa.Connection) -> bool:
    return schedules.set_enabled(c, ID, True, at=AT + 5)


async def test_schedule_edit_does_not_move_back_a_cursor_moved_by_the_leader(
    postgres: Postgres, hubs: list[Database], url: str
) -> None:
    await hubs[0].write(lambda c: make_schedule(c) and None)
    assert await while_the_other_waits(postgres, url, hubs, decide_the_first, edit_schedule)
    edited = await hubs[0].read(schedule_rows.get_schedule, ID)
    assert (edited.overlap, edited.cursor_at) == ("allow", AT + HOUR)


async def test_schedule_resume_does_not_move_back_a_cursor_moved_by_an_edit(
    postgres: Postgres, hubs: list[Database], url: str
) -> None:
    def pause(c: sa.Connection) -> None:
        make_schedule(c)
        schedules.set_enabled(c, ID, False, at=AT + 1)

    await hubs[0].write(pause)
    assert await while_the_other_waits(postgres, url, hubs, edit_schedule, enable)
    enabled = await hubs[0].read(schedule_rows.get_schedule, ID)
    assert (enabled.enabled, enabled.cursor_at) == (True, AT + HOUR - 5)


def an_old_run_and_a_new_one(c: sa.Connection, of: list[PlannedCall]) -> FencedRun:
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
async def test_call_adopted_during_pruning_keeps_row_and_payload(
    postgres: Postgres, hubs: list[Database], url: str, clean: Callable[[sa.Connection], int]
) -> None:
    of = calls("call-1")
    held = await hubs[0].write(an_old_run_and_a_new_one, of)
    await while_the_other_waits(postgres, url, hubs, lambda c: plan(c, held, of=of, at=AT + 10), clean)
    (call,) = await hubs[0].read(
        lambda c: c.execute(sa.select(run_calls.c.run_id, run_calls.c.payload)).all()
    )
    assert (call.run_id, call.payload) == ("live", of[0].payload)


async def test_device_is_notified_of_a_slot_by_a_single_hub_of_two(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    def come(c: sa.Connection) -> wakes.WakeRow:
        make_agent(c)
        slot = msgspec.structs.replace(HOURLY, action="wake", label="standup", duration_ms=HOUR)
        schedules.declare_slots(c, INBOX, [slot], at=AT)
        (row,) = schedule_rows.slots_of(c, INBOX)
        fire_decisions.decide(c, lead(c), [decision(c, row.id, runs=[AT + HOUR])], AT + HOUR)
        (wake,) = wakes.wakes_of(c, INBOX, 1)
        return wake

    wake = await hubs[0].write(come)
    tell = partial(wakes.claim_wake, wake=wake, at=AT + HOUR, next_at=AT + 2 * HOUR)
    assert not await while_the_other_waits(postgres, url, hubs, tell, tell)
    (told,) = await hubs[0].read(wakes.wakes_of, INBOX, 1)
    assert (told.state, told.sends) == ("sent", 1)


LEAD = AgentId("agent-inbox")
CONSUMED, ACCEPTED = MessageEvent.CONSUMED, MessageEvent.ACCEPTED


def a_question(c: sa.Connection) -> None:
    """The board's lead is asked something, and its device has acknowledged it."""
    a_board(c, has_gateway=True)
    new = NewMessage(
        id=MessageId("m-1"),
        user_id=ME,
        kind=MessageKind.QUESTION,
        board_id=BOARD,
        actor="operator:7",
        to_agent_id=LEAD,
        gateway_id=WEST,
        content="When?",
        trace_id="0" * 32,
        not_before=AT,
        expires_at=AT + DAY,
        at=AT,
    )
    messages.add_message(c, new)
    for version, event in enumerate((MessageEvent.SENT, ACCEPTED), 1):
        assert moved(c, event, version) is not None


def moved(c: sa.Connection, event: MessageEvent, version: int = 3) -> MessageRow | None:
    return message_rows.move_message(c, "m-1", event, seen_version=version, at=AT)


def remember(c: sa.Connection) -> Replied:
    """The lead writes its answer into the board's memory."""
    item = NewMemory(
        id=MemoryId("item"),
        board_id=BOARD,
        content="At noon.",
        reply_to="m-1",
        agent_id=LEAD,
        actor=f"agent:{LEAD}",
        at=AT,
    )
    ids = ReplyIds(activity_id="act", message_id=MessageId("m-2"), message_expires_at=AT + DAY)
    return add_reply(c, item, ids, limits=None)


def hear(c: sa.Connection) -> MessageRow | None:
    """The courier hears how the lead has ended its turn."""
    return message_rows.answer_message(
        c, "m-1", seen_version=3, text="I wrote it down.", proof={}, memory_id=MemoryId("heard"), at=AT
    )


async def test_memory_reply_counts_although_the_message_is_moved_at_the_same_time(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)
    replied = await while_the_other_waits(postgres, url, hubs, lambda c: moved(c, CONSUMED), remember)
    assert replied.message is not None
    assert (replied.message.state, replied.message.answer) == (MessageState.ANSWERED, "At noon.")


async def test_second_answer_to_a_message_writes_no_memory_item(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)
    assert await while_the_other_waits(postgres, url, hubs, remember, hear) is None
    assert [item.content for item in await hubs[0].read(remembered)] == ["At noon."]


async def test_message_moved_at_the_same_time_is_cancelled_in_the_new_state(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_question)

    def cancel(c: sa.Connection) -> MessageRow:
        return messages.cancel_message(c, "m-1", at=AT, actor="operator:7")

    queued = MessageEvent.QUEUED
    cancelled = await while_the_other_waits(postgres, url, hubs, lambda c: moved(c, queued), cancel)
    assert (cancelled.state, cancelled.version) == (MessageState.FAILED, 5)


def an_open_question(c: sa.Connection) -> None:
    a_board(c)
    ask(c)


async def test_second_of_two_concurrent_answers_to_a_question_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(an_open_question)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: questions.answer(c, "q-1", said("Red.")),
        refusal(CodedError, lambda c: questions.answer(c, "q-1", said("Blue.", by="device:d"))),
    )
    assert (await hubs[0].read(questions.get_question, "q-1")).answer == "Red."
    assert [item.content for item in await hubs[0].read(remembered)] == ["Red."]


async def test_memory_item_concurrent_with_another_answer_does_not_answer_the_question(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(an_open_question)
    replied = await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: questions.answer(c, "q-1", said("Red.")),
        lambda c: reply(c, agent_id=None, reply_to="q-1"),
    )
    assert (replied, {item.content for item in await hubs[0].read(remembered)}) == (None, {"Red.", "Green."})


async def test_second_of_two_concurrent_questions_beyond_the_limit_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(a_board)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: ask(c, "q-1", most=1),
        refusal(ErrorCode.LIMIT_REACHED, lambda c: ask(c, "q-2", most=1)),
    )


MADE = AgentId("a-1")
DECLARED = AgentId("agent-notes")


def refusal(
    of: type[HubError] | ErrorCode, fn: Callable[[sa.Connection], object]
) -> Callable[[sa.Connection], bool]:
    """Return a function that is True if *fn* raises *of*, or an error with that code."""

    def is_refused(c: sa.Connection) -> bool:
        try:
            with c.begin_nested():
                fn(c)
        except HubError as error:
            if of is error.code or (not isinstance(of, ErrorCode) and isinstance(error, of)):
                return True
            raise
        return False

    return is_refused


def set_config(c: sa.Connection, agent_id: AgentId, key: str, value: int) -> None:
    config_changes.change(c, agent_id, [NewConfig(key=key, value=value)], at=AT, actor="ben", check=_judged)


def _judged(c: sa.Connection, agent_id: AgentId, new: Mapping[str, Any]) -> None:
    check_setup(c, agent_id, new, check=needs_a_project)


async def test_second_of_two_concurrent_writes_of_a_template_version_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    read = (await hubs[0].write(lambda c: put(c))).template
    longer, shorter = (
        msgspec.structs.replace(RESEARCHER, description=told) for told in ("Longer.", "Short.")
    )
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: put(c, longer, version=read.version),
        refusal(ErrorCode.CHANGED_MEANWHILE, lambda c: put(c, shorter, version=read.version)),
    )


async def test_config_write_is_checked_by_a_concurrently_changed_template(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(lambda c: take_up(c, NOTES, of=(RESEARCHER,)) and None)

    def change_template(c: sa.Connection) -> None:
        take_up(c, NOTES, of=(msgspec.structs.replace(RESEARCHER, description="x"),), check=wants("depth"))

    assert not await while_the_other_waits(
        postgres,
        url,
        hubs,
        change_template,
        refusal(ErrorCode.BAD_CONFIG, lambda c: set_config(c, DECLARED, "depth", 3)),
    )
    assert (await hubs[0].read(stored.configuration_of, DECLARED))["depth"] == 3


async def test_agent_edit_concurrent_with_another_edit_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    read = await hubs[0].write(make)
    longer, shorter = (msgspec.structs.replace(MAIL, description=told) for told in ("Longer.", "Short."))
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: edit(c, longer, revision=read.config_rev),
        refusal(ErrorCode.CHANGED_MEANWHILE, lambda c: edit(c, shorter, revision=read.config_rev)),
    )


async def test_agent_edit_concurrent_with_a_config_change_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    read = await hubs[0].write(make)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: config_changes.change(c, MADE, [NewConfig(key="depth", value=9)], at=AT, actor="ben"),
        refusal(ErrorCode.CHANGED_MEANWHILE, lambda c: edit(c, MAIL, revision=read.config_rev)),
    )


async def test_config_revert_undoes_a_concurrent_config_change(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    agent = await hubs[0].write(make_agent)
    await hubs[0].write(config_changes.change, agent.id, [NewConfig(key="a", value=1)], at=AT, actor="ben")
    await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: config_changes.change(c, agent.id, [NewConfig(key="b", value=2)], at=AT, actor="ben"),
        lambda c: config_changes.revert(c, agent.id, to=1, at=AT, actor="anna"),
    )
    assert await hubs[0].read(stored.configuration_of, agent.id) == {"a": 1}


async def test_agent_move_does_not_wait_for_an_uncommitted_config_change(hubs: list[Database]) -> None:
    agent = await hubs[0].write(make_agent)
    puts = [NewConfig(key="a", value=1)]
    async with uncommitted(hubs[0], lambda c: config_changes.change(c, agent.id, puts, at=AT, actor="ben")):
        await hubs[1].write(
            state_moves.move, agent.id, "health", "error", at=AT, actor="anna", reason="waits for nobody"
        )


async def test_claim_with_locks_does_not_wait_for_a_locked_agent_state(
    hubs: list[Database],
) -> None:
    def two_runs(c: sa.Connection) -> AgentId:
        make_locking_run(c, "run-1", "mailbox")
        return make_agent(c).id

    agent_id = await hubs[0].write(two_runs)
    async with uncommitted(hubs[0], lambda c: state_moves.locked_state(c, agent_id)):
        assert await hubs[1].write(lambda c: claim(c)) is None
    assert some(await hubs[1].write(lambda c: claim(c))).id == "run-1"


GARDEN = BoardId("board-garden")
ONE = BoardLimits(members_per_board=1)


def _a_board(c: sa.Connection, *names: str) -> None:
    """The agents inbox and notes, and boards of these names with nobody on them."""
    for name in ("inbox", "notes"):
        make_agent(c, name)
    for name in names:
        make_board(c, name)


def _two_on_a_board(c: sa.Connection) -> None:
    _a_board(c, "garden")
    for agent_id in (BOARD_INBOX, BOARD_NOTES):
        add(c, get_board(c, GARDEN), agent_id)


async def test_board_has_a_single_lead_after_two_concurrent_appointments(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_two_on_a_board)
    first = partial(boards.set_lead, board_id=GARDEN, agent_id=BOARD_INBOX, at=1, actor="anna")
    second = partial(boards.set_lead, board_id=GARDEN, agent_id=BOARD_NOTES, at=2, actor="ben")
    assert (await while_the_other_waits(postgres, url, hubs, first, second)).lead_name == "notes"
    told = await hubs[0].read(boards.list_members, GARDEN)
    assert [(row.name, row.is_lead) for row in told] == [("notes", True), ("inbox", False)]


async def test_agent_added_to_two_boards_at_once_is_on_a_single_board(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board, "garden", "kitchen")
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: boards.add_member(c, GARDEN, BOARD_INBOX, at=1, actor="anna"),
        refusal_of_a_second_board,
    )


def refusal_of_a_second_board(c: sa.Connection) -> bool:
    """Not in a savepoint, as ``refusal``: what comes second is looked at again by the database itself."""
    try:
        boards.add_member(c, BoardId("board-kitchen"), BOARD_INBOX, at=2, actor="ben")
    except CodedError as error:
        return error.code is ErrorCode.ILLEGAL_TRANSITION
    return False


async def test_last_member_place_of_a_board_is_given_to_a_single_agent(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board, "garden")
    come = partial(boards.add_member, board_id=GARDEN, limits=ONE, at=1, actor="anna")
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: come(c, agent_id=BOARD_INBOX),
        refusal(TooManyOfBoards, lambda c: come(c, agent_id=BOARD_NOTES)),
    )


async def test_second_of_two_concurrent_boards_of_the_same_name_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board)
    assert await while_the_other_waits(
        postgres, url, hubs, make_board, refusal(ErrorCode.NAME_TAKEN, make_board)
    )


async def test_second_of_two_concurrent_memory_items_beyond_the_limit_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board, "garden")
    full = MemoryLimits(memory_items_per_board=1)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: board_memory.add_memory(c, test_board_memory.new("m-1"), full),
        refusal(TooManyOfBoards, lambda c: board_memory.add_memory(c, test_board_memory.new("m-2"), full)),
    )


async def test_second_of_two_concurrent_agent_tokens_beyond_the_limit_is_refused(
    postgres: Postgres, url: str, hubs: list[Database]
) -> None:
    await hubs[0].write(_a_board)
    assert await while_the_other_waits(
        postgres,
        url,
        hubs,
        lambda c: test_tokens.make(c, most=1),
        refusal(
            TooManyAgentTokens,
            lambda c: test_tokens.make(c, "t-2", token_hash=b"\x02" * 32, most=1),
        ),
    )
    assert len(await hubs[0].read(list_agent_tokens, BOARD_INBOX)) == 1
