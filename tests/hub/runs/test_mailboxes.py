"""A run over a mailbox: every message is read once and none is passed over, whatever fails in between."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from hub.base.clock import epoch_ms
from hub.base.toml.limits import BudgetSettings
from hub.connectors.calling import (
    ConnectorFailure,
    FileUnusable,
    Misconfigured,
    NeedsOtherNode,
    PermissionMissing,
    ProviderBusy,
    QuotaSpent,
    SignInNeeded,
    Unavailable,
)
from hub.connectors.connector import Address, Connector, Message
from hub.extraction.model import ModelError, Models, ModelUnavailable, OddAnswer
from hub.runs.interrupt import Interrupt
from hub.text.files import MAIL
from protocol.capabilities import CapabilityName
from protocol.errors import CallTimedOut, ErrorCode, LinkLost
from protocol.ids import DeviceId, UserId
from protocol.lifecycles import PauseReason, RunEvent, RunOutcome, RunState
from protocol.tool_calls import Action, Answer, ToolCall
from storage.agents import agents, declared_agents
from storage.agents.configs import Mailbox as MailboxConfig
from storage.connectors import connectors, seen_messages
from storage.connectors.connectors import DeclaredConnector
from storage.devices.devices import revoke_device
from storage.runs import excerpts, item_lists, run_resumes, runs
from storage.runs.item_lists import ItemFilter
from storage.runs.run_devices import NoDevice
from storage.runs.runs import RunRow
from storage.schema import devices, items, run_calls
from storage.store import Store
from tests.hub.runs.test_invitations import invitation
from tests.support.clock import START, FakeClock
from tests.support.link import FakeLink
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.presence import live
from tests.support.runs import MODERN, TAKEN, Bench, declare_agent, declare_connector, titles

pytestmark = pytest.mark.anyio


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


async def bench_over(store: Store, mailbox: Mailbox, **filter: Any) -> Bench:
    """A hub with an agent that reads *mailbox* for the device desk."""
    await declare_connector(store)
    agent = await declare_agent(store, name="mail", mailbox=MailboxConfig(connector="work", filter=filter))
    clock = FakeClock()
    return Bench(store, agent, clock=clock, desk=ListDesk(mailbox, clock))


@pytest.fixture
async def bench(store: Store, mailbox: Mailbox) -> Bench:
    return await bench_over(store, mailbox)


async def cursor(bench: Bench) -> Any:
    row = await bench.store.read(seen_messages.find_cursor, bench.agent.id)
    return None if row is None else row.cursor


async def state_of(bench: Bench, key: str) -> tuple[str, int] | None:
    seen = (await bench.store.read(seen_messages.seen_of, bench.agent.id, [key])).get(key)
    return None if seen is None else (seen.state, seen.attempts)


def desk_of(bench: Bench) -> ListDesk:
    assert isinstance(bench.desk, ListDesk)
    return bench.desk


def shown(run: RunRow) -> tuple[RunState, RunOutcome | None]:
    return run.state, run.outcome


DONE = (RunState.COMPLETED, RunOutcome.SUCCESS)


async def test_messages_become_device_items_without_quotes_and_advance_the_cursor(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1")
    mailbox.add("t2")
    mailbox.add("t3")
    link = bench.connect()
    assert (shown(await bench.run()), sorted(map(str, titles(link)))) == (DONE, ["t1", "t2", "t3"])
    assert await cursor(bench) == {"at": 3}
    assert next(call.source.link for call in link.calls if call.source) == "https://mail.example/t1"
    assert mailbox.opened == mailbox.closed == 1
    found = await bench.store.read(item_lists.list_items, ItemFilter())
    assert {(one.row.source or {}).get("quote") for one in found.items} == {""}, "no part of a mail is kept"
    sealed = await bench.store.read(excerpts.find_excerpts, [one.row.id for one in found.items])
    opened = bench.seals.open(sealed).values()
    assert {one.after for one in opened} == {"t1", "t2", "t3"}, "but sealed, until the verdict"
    calls = await bench.store.read(lambda c: c.execute(sa.select(run_calls.c.payload)).scalars().all())
    assert [(one["data"]["title"], one["source"]["quote"]) for one in calls] == [
        ("t1", ""),
        ("t2", ""),
        ("t3", ""),
    ], "nor in the calls that the device has answered"


async def test_first_mailbox_run_reads_back_by_lookback_days(store: Store, mailbox: Mailbox) -> None:
    bench = await bench_over(store, mailbox, lookback_days=3)
    bench.connect()
    await bench.run()
    assert mailbox.asked_since == [bench.clock.now() - timedelta(days=3)]


@pytest.mark.parametrize(
    ("bulk", "gone", "read", "ended", "at"),
    [
        ([], [], [], [], None),
        ([True, False], [], ["t2"], [1, 1], {"at": 2}),
        ([False], ["t1"], [], [1, 0], {"at": 1}),
    ],
    ids=["empty mailbox", "not for the filter", "removed meanwhile"],
)
async def test_bulk_and_deleted_messages_are_skipped_without_failure(
    bench: Bench,
    mailbox: Mailbox,
    bulk: list[bool],
    gone: list[str],
    read: list[str],
    ended: list[int],
    at: Any,
) -> None:
    for number, is_bulk in enumerate(bulk, 1):
        mailbox.add(f"t{number}", is_bulk=is_bulk)
    mailbox.gone |= set(gone)
    bench.connect()
    run = await bench.run()
    assert (shown(run), mailbox.read, await cursor(bench)) == (DONE, read, at)
    assert [run.units_skipped, run.units_done] == (ended or [0, 0])


# --- what fails ---


async def test_unreadable_message_stops_the_cursor_but_no_other_message(
    bench: Bench, mailbox: Mailbox
) -> None:
    for key in ("t1", "t2", "t3", "t4", "t5"):
        mailbox.add(key)
    mailbox.unreadable.add("t3")
    link = bench.connect()
    assert shown(await bench.run()) == (RunState.COMPLETED, RunOutcome.PARTIAL)
    assert (await cursor(bench), sorted(map(str, titles(link)))) == ({"at": 2}, ["t1", "t2", "t4", "t5"])
    mailbox.read.clear()
    mailbox.unreadable.clear()
    assert (shown(await bench.run()), mailbox.read, titles(link)[4:]) == (DONE, ["t3"], ["t3"])
    assert (await state_of(bench, "t3"), mailbox.cursors) == (("planned", 0), [None, {"at": 2}])


async def test_unreadable_message_is_dead_after_three_runs_and_the_cursor_advances(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1")
    mailbox.add("t2")
    mailbox.unreadable.add("t1")
    link = bench.connect()
    for _ in range(3):
        await bench.run()
    assert (await state_of(bench, "t1"), await cursor(bench)) == (("dead", 3), {"at": 2})
    await bench.run()
    assert (mailbox.read.count("t1"), titles(link)) == (3, ["t2"])


async def test_message_alone_causing_pauses_is_dead_after_ten_runs_and_the_cursor_advances(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1")
    mailbox.busy.add("t1")
    link = bench.connect()
    for number in range(2, 12):
        assert await cursor(bench) is None
        mailbox.add(f"t{number}")
        await bench.run()
    assert (await state_of(bench, "t1"), await cursor(bench)) == (("dead", 10), {"at": 11})
    assert (mailbox.read.count("t1"), titles(link)) == (10, [f"t{number}" for number in range(2, 12)])


@pytest.mark.parametrize(
    ("failure", "at"),
    [(SignInNeeded("x"), "open"), (PermissionMissing("x"), "page"), (Misconfigured("x"), "open")],
    ids=repr,
)
async def test_a_required_action_of_a_person_is_reported_and_the_run_waits(
    bench: Bench, mailbox: Mailbox, failure: Any, at: str
) -> None:
    mailbox.add("t1")
    if at == "open":
        desk_of(bench).failures.append(failure)
    else:
        mailbox.failures[0] = [failure]
    bench.connect()
    assert (await bench.run()).state is RunState.QUEUED
    assert desk_of(bench).refusals == [failure]
    assert shown(await bench.run()) == DONE


async def test_connector_waiting_for_a_person_starts_no_run(bench: Bench) -> None:
    bench.connect()
    row = await bench.store.read(connectors.get_connector, "work")
    moved: dict[str, Any] = {
        "version": row.version,
        "state": "sign_in",
        "reason": "sign_in_needed",
        "detail": "x",
        "at": 2,
    }
    assert await bench.store.write(connectors.move_connector, row.id, **moved)
    with pytest.raises(AssertionError, match="nothing can be claimed"):
        await bench.run()
    await bench.store.write(connectors.allow_connector, row.id, at=3)
    assert shown(await bench.run()) == DONE


async def test_parallel_refusals_move_the_connector_once(bench: Bench) -> None:
    row = await bench.store.read(connectors.get_connector, "work")
    moved: dict[str, Any] = {"version": row.version, "state": "sign_in", "at": 2}
    told = [await bench.store.write(connectors.move_connector, row.id, **moved) for _ in range(3)]
    assert told == [True, False, False]


PAUSE_S = 120
BUSY = ProviderBusy("slow down", retry_at=START + timedelta(seconds=PAUSE_S))
FOREVER = ProviderBusy("slow down", retry_at=datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("at", "failure", "reason", "back_in_s", "words"),
    [
        ("t1", BUSY, "rate_limit", PAUSE_S, ""),
        ("t1", FOREVER, "rate_limit", 86_400, "days was requested"),  # shortened, and said
        (0, QuotaSpent("the day is spent"), "billing", None, ""),
    ],
    ids=["pause", "pause beyond a day", "quota"],
)
async def test_provider_asking_for_a_pause_or_without_quota_exhausts_the_agent(
    bench: Bench,
    mailbox: Mailbox,
    at: Any,
    failure: ConnectorFailure,
    reason: str,
    back_in_s: int | None,
    words: str,
) -> None:
    mailbox.add("t1")
    mailbox.failures[at] = [failure]
    bench.connect()
    run = await bench.run()
    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.EXHAUSTED)
    agent = await bench.store.read(agents.get_agent, bench.agent.id)
    assert (agent.availability, agent.exhaust_reason) == ("exhausted", reason)
    assert back_in_s is None or agent.recovery_at == epoch_ms(START) + back_in_s * 1_000
    assert words in (run.reason or "")


async def test_transient_connector_errors_increase_the_wait_and_fail_no_run(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1")
    mailbox.failures[0] = [Unavailable("away")] * 12  # a visit opens the connection twice
    bench.connect()
    waits = []
    for _ in range(6):
        began = bench.clock.now()
        assert (await bench.run()).state is RunState.QUEUED
        row = await bench.store.read(connectors.get_connector, "work")
        assert row.retry_at is not None
        assert (row.state, row.detail) == ("ok", "away")
        waits.append(row.retry_at / 1_000 - began.timestamp())
        bench.clock.advance(waits[-1] + 1)
    assert waits[0] <= 30
    assert waits[-1] >= 16 * waits[0]
    assert shown(await bench.run()) == DONE
    row = await bench.store.read(connectors.get_connector, "work")
    assert (row.failures, row.retry_at, row.detail) == (0, None, None)


@pytest.mark.parametrize(
    "failure", [NeedsOtherNode("the key is elsewhere"), FileUnusable("there is no file")]
)
async def test_run_failing_at_a_node_is_soon_eligible_for_another_node(
    bench: Bench, mailbox: Mailbox, failure: ConnectorFailure
) -> None:
    desk_of(bench).has_others = True
    mailbox.add("t1")
    mailbox.failures[0] = [failure] * 4
    bench.connect()
    for _ in range(4):
        began = epoch_ms(bench.clock.now())
        run = await bench.run()
        assert run.state is RunState.QUEUED
        assert run.eligible_at - began <= 10_000
        row = await bench.store.read(connectors.get_connector, "work")
        assert (row.state, row.failures, row.retry_at) == ("ok", 0, None)
        bench.clock.advance(11)
    assert shown(await bench.run()) == DONE


@pytest.mark.parametrize("at", [1, "t3", "t4"], ids=str)
async def test_mailbox_connection_lost_after_progress_is_reopened_within_the_visit(
    bench: Bench, mailbox: Mailbox, at: int | str
) -> None:
    for key in ("t1", "t2", "t3", "t4", "t5"):
        mailbox.add(key)
    mailbox.failures[at] = [Unavailable("cut")]
    link = bench.connect()
    assert (shown(await bench.run()), sorted(map(str, titles(link)))) == (
        DONE,
        [f"t{n}" for n in range(1, 6)],
    )
    assert sorted(mailbox.read) == ["t1", "t2", "t3", "t4", "t5"]
    assert len(mailbox.cursors) == 2 and await cursor(bench) == {"at": 5}


async def test_second_connection_loss_without_progress_ends_the_visit_with_an_advanced_cursor(
    bench: Bench, mailbox: Mailbox
) -> None:
    for key in ("t1", "t2", "t3", "t4"):
        mailbox.add(key)
    mailbox.failures["t3"] = [Unavailable("cut")] * 4
    link = bench.connect()
    await bench.store.write(connectors.note_failure, "work", reason="x", detail="before", at=0, retry_at=0)
    began = bench.clock.now()
    assert (await bench.run()).state is RunState.QUEUED
    assert (await cursor(bench), mailbox.failures["t3"]) == ({"at": 2}, [mailbox.failures["t3"][0]])
    row = await bench.store.read(connectors.get_connector, "work")
    assert row.retry_at is not None and row.failures == 1, "waits grow without progress alone"
    assert row.retry_at / 1_000 - began.timestamp() <= 30
    mailbox.failures["t3"] = []
    bench.clock.advance(60)
    assert (shown(await bench.run()), sorted(map(str, titles(link)))) == (DONE, ["t1", "t2", "t3", "t4"])
    assert sorted(mailbox.read) == ["t1", "t2", "t3", "t4"]


@pytest.mark.parametrize("most", [3, 5])
async def test_messages_read_before_a_lost_connection_count_once_for_max_messages(
    store: Store, mailbox: Mailbox, most: int
) -> None:
    bench = await bench_over(store, mailbox, max_messages=most)
    for n in range(5):
        mailbox.add(f"t{n}")
    mailbox.failures["t2"] = [Unavailable("cut")]
    link = bench.connect()
    await bench.run()
    assert len(titles(link)) == most


async def test_run_after_a_lost_cursor_rereads_a_day_without_duplicates(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1")
    link = bench.connect()
    await bench.run()
    ended = bench.clock.now()
    bench.clock.advance(30 * 86_400)
    mailbox.add("t2")
    mailbox.has_lost_cursor = True
    assert (shown(await bench.run()), mailbox.asked_since[-1]) == (DONE, ended - timedelta(hours=24))
    assert (mailbox.read, titles(link)) == (["t1", "t2"], ["t1", "t2"])


async def test_run_after_a_lost_cursor_searches_back_to_the_failed_message(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1")
    link = bench.connect()
    await bench.run()
    bench.clock.advance(60 * 86_400)
    mailbox.add("t2")
    mailbox.unreadable.add("t2")
    for _ in range(2):
        mailbox.has_lost_cursor = True
        await bench.run()
        mailbox.unreadable.clear()
    assert (mailbox.asked_since[-1], titles(link)) == (mailbox.asked_since[2], ["t1", "t2"])


async def test_cursor_is_discarded_after_a_change_of_the_connector_account(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1")
    bench.connect()
    await bench.run()
    other = DeclaredConnector(name="work", user_name="owner", provider="listed", origin="you")
    again: dict[str, Any] = {"declared": [other], "at": 2, "fresh_ids": ["x", "y"]}
    await bench.store.write(connectors.reconcile_connectors, **again)
    await bench.run()
    assert mailbox.cursors == [None, None]


async def test_run_after_a_sign_in_rereads_a_day_without_duplicates(bench: Bench, mailbox: Mailbox) -> None:
    async def sign_in(at: int) -> None:
        told: dict[str, Any] = {"sealed": b"", "key_id": "k", "scopes": [], "expires_at": None, "actor": "me"}
        await bench.store.write(connectors.grant_connector, "work-id", at=at, activity_id=f"a-{at}", **told)

    mailbox.add("t1")
    link = bench.connect()
    await sign_in(1)
    await bench.run()
    ended = bench.clock.now()
    await bench.run()
    bench.clock.advance(30 * 86_400)
    mailbox.add("t2")
    await sign_in(2)
    assert (shown(await bench.run()), mailbox.cursors) == (DONE, [None, {"at": 1}, None])
    assert (mailbox.asked_since[-1], mailbox.read) == (ended - timedelta(hours=24), ["t1", "t2"])
    assert titles(link) == ["t1", "t2"]


async def test_message_in_two_folders_is_read_once(bench: Bench, mailbox: Mailbox) -> None:
    mailbox.add("t1")
    mailbox.messages.append(mailbox.messages[0])
    mailbox.add("t2")
    mailbox.messages.append(mailbox.messages[0])
    link = bench.connect()
    await bench.run()
    assert sorted(map(str, titles(link))) == ["t1", "t2"]
    assert await cursor(bench) == {"at": 4}


async def test_edited_message_is_read_again(bench: Bench, mailbox: Mailbox) -> None:
    mailbox.add("t1", "- [ ] call Ana\n", version="1")
    link = bench.connect()
    await bench.run()
    mailbox.add("t1", "- [ ] call Ana\n- [ ] call Bob\n", version="2")
    await bench.run()
    assert titles(link) == ["call Ana", "call Bob"]


async def test_run_at_max_messages_is_followed_by_another_run_at_once(store: Store, mailbox: Mailbox) -> None:
    bench = await bench_over(store, mailbox, max_messages=3)
    for number in range(1, 8):
        mailbox.add(f"t{number}")
    link = bench.connect()
    ended = [shown(await bench.run())]
    while await bench.store.read(runs.list_runs, states=[RunState.QUEUED]):
        ended.append(shown(await bench.run()))
    assert (ended, sorted(map(str, titles(link)))) == ([DONE] * 3, [f"t{number}" for number in range(1, 8)])
    assert len(mailbox.read) == 7
    made = await store.read(runs.list_runs)
    named = [(run.result or {}).get("followed_by") for run in made]
    assert {*named} == {*(run.id for run in made if run.trigger_kind == "wake"), None}
    assert len({*named}) == 3


async def test_mailbox_run_meeting_the_budget_at_max_messages_is_not_followed(
    store: Store, mailbox: Mailbox
) -> None:
    bench = await bench_over(store, mailbox, max_messages=2)
    bench.budgets.limits = BudgetSettings(run_tokens=1)
    for number in range(1, 4):
        mailbox.add(f"t{number}", "Please pay the bill until Sunday.\n")
    bench.connect()
    run = await bench.run()
    assert {error.code for error in run.errors} == {ErrorCode.BUDGET_REACHED}
    assert await store.read(runs.count_runs, 9) == 1


# --- the device is away ---


async def test_mailbox_is_read_without_the_device_and_delivered_in_order_at_reconnect(
    bench: Bench, mailbox: Mailbox
) -> None:
    keys = [f"t{number}" for number in (3, 1, 2, 5, 4)]
    for key in keys:
        mailbox.add(key)
    run = await bench.run()
    assert (run.state, run.pause_reason) == (RunState.PAUSED, PauseReason.DEVICE_OFFLINE)
    assert sorted(mailbox.read) == sorted(keys)
    assert await cursor(bench) == {"at": 5}
    link = bench.connect()
    resumed = await bench.store.write(
        run_resumes.resume_runs, PauseReason.DEVICE_OFFLINE, devices=set(bench.links), at=bench.now_ms
    )
    assert resumed == [run.id]
    assert (shown(await bench.run()), titles(link), len(mailbox.read)) == (DONE, keys, 5)


@pytest.mark.parametrize("event", [RunEvent.CANCELLED, RunEvent.FAILED])
async def test_items_planned_by_an_ended_run_are_delivered_by_the_next_run(
    bench: Bench, mailbox: Mailbox, event: RunEvent
) -> None:
    mailbox.add("t1")
    mailbox.add("t2")
    run = await bench.run()
    assert run.state is RunState.PAUSED
    outcome = RunOutcome.ERROR if event is RunEvent.FAILED else None
    await bench.lifecycle.move(run.held, event, reason="swept", outcome=outcome)
    link = bench.connect()
    assert (shown(await bench.run()), sorted(map(str, titles(link)))) == (DONE, ["t1", "t2"])
    assert sorted(mailbox.read) == ["t1", "t2"]


async def test_next_mailbox_run_repeats_an_unanswered_insert_with_the_same_id(
    store: Store, mailbox: Mailbox
) -> None:
    bench = await bench_over(store, mailbox)
    mailbox.add("t1")
    silent = bench.connect(answers=[CallTimedOut("silence")] * 5)
    assert shown(await bench.run()) == (RunState.FAILED, RunOutcome.ERROR)
    link = bench.connect()
    assert (shown(await bench.run()), len(silent.calls) > 1) == (DONE, True)
    assert [call.id for call in link.calls] == [*{call.id for call in silent.calls}]


# --- the hub dies ---


class Killed(Exception):
    """The hub dies here."""


WRITES = (
    *("plan_units", "move_cursor", "leave_out", "settle_answers", "settle_unit", "mark_sent"),
    "adopt_left",
)


def dying(store: Store, at: str, number: int, *, after: bool) -> Any:
    """``store.write`` that dies at the *number*-th write of that name, before or after its commit."""
    real, seen = store.write, 0

    async def write(fn: Any, *args: Any, **named: Any) -> Any:
        nonlocal seen
        is_it = getattr(getattr(fn, "func", fn), "__name__", "") == at
        if seen < number and not (is_it and seen == number - 1 and not after):
            done = await real(fn, *args, **named)
            seen += is_it
            if seen < number:
                return done
        seen = number  # nothing is written any more, not even what is tried again
        raise Killed

    return write


async def run_until_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a visit in which the hub may die, undo what kills it, and end the run as the next hub does."""
    await bench.control.submit(bench.agent)
    order = await bench.claim()
    with contextlib.suppress(Killed):
        await bench.runner.run(order, Interrupt())
    monkeypatch.undo()
    row = await bench.row(order.run_id)
    if row.state is RunState.RUNNING:
        await bench.lifecycle.move(row.held, RunEvent.HUB_LOST)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.soak)])
@pytest.mark.parametrize("at", WRITES)
@pytest.mark.parametrize("has_device", [True, pytest.param(False, marks=pytest.mark.soak)])
async def test_hub_killed_during_a_mailbox_run_loses_and_doubles_no_item(
    store: Store,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    has_device: bool,
    at: str,
    number: int,
    after: bool,
) -> None:
    bench = await bench_over(store, mailbox) if has_device else await roaming(store, mailbox, "desk")
    for key in ("t1", "t2", "t3", "t4", "t5"):
        mailbox.add(key, is_bulk=key == "t3")
    taken: dict[str, Any] = {}

    def answer(call: Any) -> Any:
        is_first = call.data["title"] not in taken.values()
        taken[call.id] = call.data["title"]
        if is_first:
            raise CallTimedOut("the answer is lost, and the row is there")
        return TAKEN

    bench.connect(answers=answer)
    monkeypatch.setattr(bench.store, "write", dying(bench.store, at, number, after=after))
    await run_until_killed(bench, monkeypatch)
    bench.clock.advance(3_600)
    while (await bench.run()).state is not RunState.COMPLETED:
        bench.clock.advance(3_600)
    await bench.run()
    assert sorted(taken.values()) == ["t1", "t2", "t4", "t5"]
    assert (await cursor(bench), mailbox.opened) == ({"at": 5}, mailbox.closed)


async def test_parallel_reading_of_messages_queries_the_device_rows_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = Mailbox(*(f"t{number}" for number in range(6)), page=6)
    bench = await bench_over(store, mailbox)
    link = bench.connect(capabilities=(*MODERN, CapabilityName.TOOL_QUERY))
    at_once = link.call

    async def slow(call: ToolCall) -> Answer:
        await anyio.wait_all_tasks_blocked()  # the others have begun by then
        return await at_once(call)

    monkeypatch.setattr(link, "call", slow)
    assert shown(await bench.run()) == DONE
    asked = [call.id for call in link.calls if call.action is Action.QUERY]
    assert len(asked) == len(set(asked)) == 1


async def test_mailbox_without_a_model_is_read_by_rules_and_each_message_once(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1", "Please call the roofer by 4 December 2026.\n")
    link = bench.connect()
    models = bench.asking.models
    bench.asking.models = bench.extractor.models = Models()
    assert (shown(await bench.run()), titles(link)) == (DONE, ["call the roofer"])
    bench.asking.models = bench.extractor.models = models  # for mail that comes
    mailbox.add("t2")
    assert (shown(await bench.run()), titles(link)) == (DONE, ["call the roofer", "t2"])


def sent(by: str, *, is_verified: bool = True) -> dict[str, Any]:
    return {"sender": Address(by, "Anna"), "is_verified": is_verified}


def trusted(link: FakeLink) -> dict[str, bool]:
    sources = [call.source for call in link.calls if call.source is not None]
    return {one.path: one.provenance is not None and one.provenance.trusted for one in sources}


async def test_a_verified_sender_whom_the_settings_name_is_trusted(bench: Bench, mailbox: Mailbox) -> None:
    assert bench.mailboxes is not None
    bench.mailboxes.trusted = ("anna@example.org", "example.com")
    mailbox.add("named", **sent("anna@example.org"))
    mailbox.add("of a domain", **sent("ben@example.com"))
    mailbox.add("forged", **sent("anna@example.org", is_verified=False))
    mailbox.add("other", **sent("eve@example.org"))
    mailbox.add("below the domain", **sent("eve@mail.example.com"))
    link = bench.connect()
    assert shown(await bench.run()) == DONE
    assert trusted(link) == {
        "named": True,
        "of a domain": True,
        "forged": False,
        "other": False,
        "below the domain": False,
    }


async def test_verified_sender_of_an_approved_item_is_trusted_afterwards(
    bench: Bench, mailbox: Mailbox
) -> None:
    mailbox.add("t1", **sent("anna@example.org"))
    link = bench.connect()
    await bench.run()
    assert trusted(link) == {"t1": False}
    await bench.store.write(approve_all)
    mailbox.add("t2", **sent("anna@example.org"))
    mailbox.add("t3", **sent("anna@example.org", is_verified=False))
    assert (shown(await bench.run()), trusted(link)) == (DONE, {"t1": False, "t2": True, "t3": False})


def approve_all(c: sa.Connection) -> None:
    c.execute(items.update().values(verdict="approved", verdict_at=1))


# --- the agent has no device of its own ---


async def roaming(store: Store, mailbox: Mailbox, *names: str, **filter: Any) -> Bench:
    """A hub with an agent that reads *mailbox* for the devices of these names, none of which is connected."""
    await declare_connector(store)
    config = MailboxConfig(connector="work", filter=filter)
    tables = ("tasks", "timelines")
    agent = await declare_agent(store, name="mail", mailbox=config, device_name=None, data_types=tables)
    await store.write(live)
    await store.write(admit, *names)
    clock = FakeClock()
    return Bench(store, agent, clock=clock, desk=ListDesk(mailbox, clock))


def admit(c: sa.Connection, *names: str) -> None:
    rows = [{"id": name, "user_id": "u", "name": name, "last_seen_at": 1, "created_at": 1} for name in names]
    if rows:
        c.execute(sa.insert(devices), rows)


async def connect(bench: Bench, name: str, **options: Any) -> FakeLink:
    given: dict[str, Any] = {"user_id": "u", "capabilities": MODERN, "answers": lambda call: TAKEN}
    link = bench.links[DeviceId(name)] = FakeLink(name, **given | options)
    await bench.store.write(
        run_resumes.resume_runs, PauseReason.DEVICE_OFFLINE, devices={DeviceId(name)}, at=bench.now_ms
    )
    return link


async def leave(bench: Bench, name: str) -> None:
    bench.clock.advance(60)
    del bench.links[DeviceId(name)]
    await bench.store.write(lambda c: c.execute(sa.update(devices).values(boot_id=None)) and None)


async def test_items_go_to_the_first_connected_device_of_the_user(store: Store, mailbox: Mailbox) -> None:
    bench = await roaming(store, mailbox, "attic", "desk", "tablet")
    tablet = await connect(bench, "tablet")
    mailbox.add("t1")
    assert (await bench.run()).device_id == "tablet"
    desk = await connect(bench, "desk")
    mailbox.add("t2")
    assert ((await bench.run()).device_id, titles(tablet), titles(desk)) == ("desk", ["t1"], ["t2"])


async def test_planned_items_wait_for_their_device_while_others_go_to_another(
    store: Store, mailbox: Mailbox
) -> None:
    bench = await roaming(store, mailbox, "desk", "tablet")
    mailbox.add("t1")
    first = await bench.run()
    assert (first.device_id, first.pause_reason) == ("desk", PauseReason.DEVICE_OFFLINE)
    tablet = await connect(bench, "tablet")
    mailbox.add("t2")
    assert shown(await bench.run()) == DONE
    desk = await connect(bench, "desk")
    assert shown(await bench.run()) == DONE
    assert (titles(tablet), titles(desk), sorted(mailbox.read)) == (["t2"], ["t1"], ["t1", "t2"])


@pytest.mark.parametrize("event", [RunEvent.CANCELLED, RunEvent.FAILED])
async def test_items_of_an_ended_run_are_delivered_to_their_device_alone(
    store: Store, mailbox: Mailbox, event: RunEvent
) -> None:
    bench = await roaming(store, mailbox, "attic", "desk")
    mailbox.add("t1")
    desk = await connect(bench, "desk", answers=[LinkLost("gone", dispatched=True)] * 2)
    run = await bench.run()
    outcome = RunOutcome.ERROR if event is RunEvent.FAILED else None
    await bench.lifecycle.move(run.held, event, reason="swept", outcome=outcome)
    await leave(bench, "desk")
    attic = await connect(bench, "attic")
    assert (shown(await bench.run()), titles(attic)) == (DONE, [])
    again = await connect(bench, "desk")
    assert ((await bench.run()).device_id, titles(attic)) == ("desk", [])
    assert [call.id for call in again.calls] == [desk.calls[0].id]


async def test_changed_message_is_read_only_for_the_device_of_the_items(
    store: Store, mailbox: Mailbox
) -> None:
    bench = await roaming(store, mailbox, "attic", "desk", max_messages=1)
    desk = await connect(bench, "desk")
    mailbox.add("t1")
    await bench.run()
    await leave(bench, "desk")
    attic = await connect(bench, "attic")
    mailbox.add("t1", "- [ ] t1\n- [ ] call Bob\n", version="2")
    mailbox.add("t2")
    for _ in range(2):
        assert shown(await bench.run()) == DONE
    assert (titles(attic), mailbox.read) == (["t2"], ["t1", "t2"])
    desk = await connect(bench, "desk")
    run = await bench.run()
    assert (run.device_id, titles(attic), titles(desk)) == ("desk", ["t2"], ["call Bob"])


async def test_manual_run_without_an_admitted_device_is_refused_and_a_scheduled_run_waits(
    store: Store, mailbox: Mailbox
) -> None:
    bench = await roaming(store, mailbox)
    with pytest.raises(NoDevice, match="no device of owner is admitted"):
        await bench.control.submit(bench.agent)
    assert await store.read(runs.list_runs) == []


async def test_mails_about_an_event_of_an_offline_device_start_no_futile_runs(
    store: Store, mailbox: Mailbox
) -> None:
    mailbox.media_type = MAIL
    bench = await roaming(store, mailbox, "attic", "desk", max_messages=1)
    ines = Address("ines@x.example")
    desk = await connect(bench, "desk")
    mailbox.add("mid:0", invitation("REQUEST", 0), sender=ines)
    await bench.run()
    await leave(bench, "desk")
    attic = await connect(bench, "attic")
    for number in (1, 2):
        mailbox.add(f"mid:{number}", invitation("REQUEST", number, 10 + number), sender=ines)
    assert shown(await bench.run()) == DONE
    assert await store.read(runs.list_runs, states=[RunState.QUEUED]) == []
    again = await connect(bench, "desk")
    assert (await bench.run()).device_id == "desk"
    for _ in range(3):  # one goes on for another device, and leaves the second mail, too
        bench.clock.advance(60)
        await bench.run()
    assert (len(desk.calls), len(again.calls), titles(attic)) == (1, 2, [])


async def _remove_connector(store: Store) -> None:
    await store.write(connectors.reconcile_connectors, declared=[], at=2, fresh_ids=[])


async def _remove_agent(store: Store) -> None:
    await store.write(
        declared_agents.reconcile_declared, user_id=UserId("u"), declared=[], at=2, fresh_ids=[]
    )


async def _revoke_device(store: Store) -> None:
    (device,) = await store.read(lambda c: c.execute(sa.select(devices.c.id)).scalars().all())
    await store.write(revoke_device, DeviceId(device), at=2, actor="ana")


@pytest.mark.parametrize("remove", [_remove_connector, _remove_agent, _revoke_device])
@pytest.mark.parametrize("moment", ["open", "read", "close"])
async def test_run_whose_connector_agent_or_device_is_removed_meanwhile_is_no_fault_of_the_hub(
    store: Store,
    mailbox: Mailbox,
    remove: Callable[[Store], Awaitable[None]],
    moment: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = await bench_over(store, mailbox)
    mailbox.add("t1")
    desk = bench.desk
    assert isinstance(desk, ListDesk)
    opened = desk.open

    async def open(connector_id: str, filter: Mapping[str, Any]) -> Connector:
        if moment == "open":
            await remove(store)
            await store.read(connectors.get_connector, connector_id)
        connector = await opened(connector_id, filter)
        read = connector.read

        async def removing(messages: Sequence[Message]) -> AsyncIterator[Any]:
            if moment == "read":
                await remove(store)
            async for one in read(messages):
                yield one
            if moment == "close":
                await remove(store)

        connector.read = removing  # type: ignore[method-assign,assignment]
        return connector

    desk.open = open  # type: ignore[method-assign]
    row = await bench.run()
    assert "run.broke" not in [record.getMessage() for record in caplog.records]
    if remove is _remove_connector and moment == "open":
        assert (row.state, row.outcome) == (RunState.FAILED, RunOutcome.ERROR)
        assert [error.code for error in row.errors] == ["unknown_connector"]
        assert row.reason == "what the run uses was removed meanwhile: there is no connector 'work-id'"
    else:
        assert row.state is RunState.PAUSED, "what was found waits for the device"


@pytest.mark.parametrize("parts", [1, 20])
@pytest.mark.parametrize("error", [ModelUnavailable("HTTP 500"), OddAnswer("a page")])
async def test_message_without_an_answer_of_the_model_fails_alone_and_is_asked_about_by_the_next_run(
    bench: Bench, mailbox: Mailbox, error: ModelError, parts: int
) -> None:
    mailbox.add("t1")
    prose = "The weather of that day was rather fine in all of the valley. " * parts
    mailbox.add("t2", f"- [ ] t2\n\n# One\n\nA riddle to read.\n\n# Two\n\n{prose}")
    mailbox.add("t3")
    bench.model.chunk_tokens = 60
    bench.model.errors["riddle"], bench.model.answers_control = error, True
    link = bench.connect()
    run = await bench.run()
    assert (shown(run), run.attempt) == ((RunState.COMPLETED, RunOutcome.PARTIAL), 1)
    (failed,) = run.errors
    assert (failed.unit_key, str(error) in failed.message) == ("t2", True)
    assert (titles(link), await state_of(bench, "t2")) == (["t1", "t3"], ("failed", 1))

    bench.model.errors.clear()
    assert shown(await bench.run()) == DONE
    assert titles(link) == ["t1", "t3", "t2"]
