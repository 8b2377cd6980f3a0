"""Several hubs on one PostgreSQL database, each writing at the same time as the others."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from protocol.coordination import MetricType
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BootId, CallId, DeviceId, RunId
from protocol.lifecycles import CallEvent, RunEvent, RunState
from storage import audit
from storage.agents import agents, config_changes, configs, measurements
from storage.agents.agents import AgentRow
from storage.agents.config_changes import NewConfig
from storage.agents.declared_agents import DeclaredAgent
from storage.agents.measurements import HOUR_MS, BucketRetention, SampleRow, SeriesLimits, Sketch
from storage.devices import idempotency
from storage.executing_runs import FencedRun, StaleRun
from storage.kernel.database import Conflict, Database
from storage.kernel.postgres import open_postgres
from storage.runs import run_claims, run_moves, runs, units
from storage.runs.calls import ReportedVerdict, mark_sent, open_calls, record_verdicts
from storage.runs.run_claims import Gates
from storage.runs.runs import RunRow
from storage.schema import agent_states, items, metric_series
from storage.schema import agents as agent_table
from storage.schema import runs as run_table
from tests.storage import test_items
from tests.storage.jobs import at_once, while_the_other_waits
from tests.storage.rows import AT, PROMPT_1, calls, declare, make_agent, make_run, plan, running, settle_call
from tests.support import stored
from tests.support.filling import fill
from tests.support.postgres import Postgres
from tests.support.presence import appear, open_session

HUBS = 4
EAST, WEST = BootId("east"), BootId("west")
AGENTS, RUNS_EACH, BOOTS = 16, 4, 4


def queue_up(c: sa.Connection, each: int = 2) -> None:
    """Runs that are ready, so many of each of the agents, which may do many at once."""
    names = [f"agent-{n}" for n in range(AGENTS)]
    declare(c, *(DeclaredAgent(name=name, device_name=name, paths=("notes",)) for name in names))
    c.execute(sa.update(agent_table).values(max_concurrent_runs=RUNS_EACH))
    for name in names:
        agent = agents.get_agent(c, AgentId(f"agent-{name}"))
        for n in range(each):
            make_run(c, f"{name}-{n}", agent=agent)


async def connect_to_boots(hub: Database) -> dict[BootId, frozenset[DeviceId]]:
    """Connect the agents' devices to the hubs; which has which."""
    shares = {
        BootId(f"boot-{boot}"): frozenset(DeviceId(f"device-agent-{n}") for n in range(boot, AGENTS, BOOTS))
        for boot in range(BOOTS)
    }
    for boot_id, share in shares.items():
        await hub.write(appear, share, boot_id)
    return shares


@pytest.mark.soak
async def test_workers_claim_each_of_many_runs_once(hubs: list[Database]) -> None:
    await hubs[0].write(queue_up, RUNS_EACH)
    shares = await connect_to_boots(hubs[0])
    claimed: list[RunRow] = []

    async def work(hub: Database, boot_id: BootId) -> None:
        gates = Gates(online=shares[boot_id], per_device=RUNS_EACH, total=AGENTS * RUNS_EACH)
        while taken := await hub.write(
            run_claims.claim_runs, boot_id=boot_id, gates=gates, lease_ms=30_000, at=AT, most=20
        ):
            claimed.extend(taken)

    async with anyio.create_task_group() as workers:
        for n in range(BOOTS):
            workers.start_soon(work, hubs[n % HUBS], BootId(f"boot-{n}"))
    assert (Counter(run.id for run in claimed).most_common(1)[0][1], len(claimed)) == (1, AGENTS * RUNS_EACH)
    assert {run.fence for run in claimed} == {1}
    waiting, executing = await hubs[0].read(
        lambda c: c.execute(
            sa.select(sa.func.sum(agent_states.c.runs_waiting), sa.func.sum(agent_states.c.runs_executing))
        ).one()
    )
    assert (waiting, executing) == (0, AGENTS * RUNS_EACH)


async def test_each_of_many_hubs_claims_runs_up_to_the_own_limit(hubs: list[Database]) -> None:
    await hubs[0].write(queue_up)
    shares = await connect_to_boots(hubs[0])

    def claim(n: int) -> Callable[[sa.Connection], list[RunRow]]:
        boot_id = BootId(f"boot-{n}")
        gates = Gates(online=shares[boot_id], per_device=1, total=3)
        return partial(run_claims.claim_runs, boot_id=boot_id, gates=gates, lease_ms=30_000, at=AT, most=7)

    await at_once(hubs, claim, number=BOOTS)
    executing = await hubs[0].read(runs.list_runs, states=[RunState.PREPARING], limit=1_000)
    assert set(Counter(run.lease_boot_id for run in executing).values()) == {3}
    assert max(Counter(run.device_id for run in executing).values()) == 1


async def test_agent_claimed_by_several_hubs_executes_up_to_max_concurrent_runs(hubs: list[Database]) -> None:
    await hubs[0].write(queue_up)
    shares = await connect_to_boots(hubs[0])

    def share_agents(c: sa.Connection) -> None:
        c.execute(sa.update(agent_table).values(max_concurrent_runs=1))
        c.execute(sa.update(run_table).values(agent_id="agent-agent-0"))

    def claim(n: int) -> Callable[[sa.Connection], list[RunRow]]:
        boot_id = BootId(f"boot-{n}")
        gates = Gates(online=shares[boot_id])
        return partial(run_claims.claim_runs, boot_id=boot_id, gates=gates, lease_ms=30_000, at=AT)

    await hubs[0].write(share_agents)
    assert sum(map(len, await at_once(hubs, claim, number=BOOTS))) == 1


async def test_fire_seen_by_many_hubs_makes_a_single_run(hubs: list[Database]) -> None:
    agent = await hubs[0].write(make_agent)
    fired: dict[str, Any] = {
        "agent": agent,
        "fire_key": "s:daily:7",
        "at": AT,
        "config_fingerprint": PROMPT_1,
    }
    made = await at_once(hubs, lambda n: partial(run_moves.create_run, id=RunId(f"run-{n}"), **fired))
    assert (len({run.id for run in made}), len(made)) == (1, HUBS)
    assert (await hubs[0].read(agents.get_agent, agent.id)).runs_waiting == 1


async def test_call_planned_by_two_concurrent_runs_belongs_to_a_single_run(
    postgres: Postgres, hubs: list[Database], url: str
) -> None:
    def two_runs(c: sa.Connection) -> list[FencedRun]:
        earlier = make_run(c, "run-0", state=RunState.RUNNING)
        plan(c, earlier.held, of=calls("call-1"))
        run_moves.move(c, earlier.held, RunEvent.FAILED, at=AT, actor="hub", reason="broken")
        return [running(c, name, agent=make_agent(c, name, device=name)) for name in ("run-1", "run-2")]

    def refused(c: sa.Connection) -> None:
        with pytest.raises(Conflict, match="call call-1 is held by run run-1"):
            plan(c, second, of=calls("call-1"))

    first, second = await hubs[0].write(two_runs)
    await while_the_other_waits(postgres, url, hubs, lambda c: plan(c, first, of=calls("call-1")), refused)
    assert [call.call_id for call in await hubs[0].read(open_calls, first.id)] == ["call-1"]


def _answered(c: sa.Connection, call_id: CallId) -> None:
    settle_call(c, call_id, CallEvent.ACKED, {}, AT, row_id="row-1")


def _rejected(c: sa.Connection, call_id: CallId) -> None:
    record_verdicts(c, test_items.DESK, [ReportedVerdict(call_id, "rejected")], AT)


@pytest.mark.parametrize("second", [_answered, _rejected])
async def test_call_answer_written_by_two_hubs_at_once_counts_once(
    postgres: Postgres, hubs: list[Database], url: str, second: Callable[[sa.Connection, CallId], None]
) -> None:
    def begin(c: sa.Connection) -> tuple[FencedRun, CallId]:
        held = running(c)
        found = map(test_items.item, ("call Anna", "call Bob"))
        call, _ = test_items.plan(c, held, test_items.as_new(*found)).open_calls
        mark_sent(c, held, [call.call_id], AT)
        return held, call.call_id

    held, call_id = await hubs[0].write(begin)
    await while_the_other_waits(
        postgres, url, hubs, lambda c: _answered(c, call_id), lambda c: second(c, call_id)
    )
    (unit,) = await hubs[0].read(units.list_units, held.id)
    run = await hubs[0].read(runs.get_run, held.id)
    assert (unit.calls_planned, unit.calls_settled, run.items_created) == (2, 1, 1)


def _claim_of_east(c: sa.Connection, gates: Gates) -> RunRow:
    (run,) = run_claims.claim_runs(c, boot_id=EAST, gates=gates, lease_ms=30_000, at=AT)
    return run


def _send_of_east(c: sa.Connection, gates: Gates) -> RunRow:
    mark_sent(c, FencedRun(RunId("run-1"), RunState.RUNNING, 1), [CallId("call-1")], AT)
    return runs.get_run(c, RunId("run-1"))


def _settle_of_east(c: sa.Connection, gates: Gates) -> RunRow:
    settle_call(c, "call-1", CallEvent.ACKED, {}, AT)
    return runs.get_run(c, RunId("run-1"))


@pytest.mark.parametrize("write", [_claim_of_east, _send_of_east, _settle_of_east])
async def test_run_follows_a_device_moving_during_a_write(
    hubs: list[Database], write: Callable[[sa.Connection, Gates], RunRow]
) -> None:
    def begin(c: sa.Connection) -> Gates:
        agent = make_agent(c)
        assert agent.device_id is not None
        open_session(c, agent.device_id, boot_id=EAST, at=AT)
        make_run(c, "run-1", agent=agent)
        gates = Gates(online={agent.device_id})
        if write is not _claim_of_east:
            held = run_moves.move(
                c, _claim_of_east(c, gates).held, RunEvent.ACKNOWLEDGED, at=AT, actor="device"
            )
            plan(c, held, of=calls("call-1"))
        if write is _settle_of_east:
            mark_sent(c, held, [CallId("call-1")], AT)
        return gates

    gates = await hubs[0].write(begin)
    is_written, may_commit = anyio.Event(), anyio.Event()
    of_east: list[RunRow] = []

    def write_slowly(c: sa.Connection) -> None:
        of_east.append(write(c, gates))
        is_written.set()
        await_only(may_commit.wait())

    def come_to_west(c: sa.Connection) -> None:
        for device_id in gates.online:
            open_session(c, device_id, boot_id=WEST, at=AT, is_shared=True)

    async with anyio.create_task_group() as writing:
        writing.start_soon(hubs[0].write, write_slowly)
        await is_written.wait()
        await hubs[1].write(come_to_west)
        may_commit.set()
    await hubs[1].write(run_moves.recover, boot_id=WEST, at=AT, is_alone=False)
    (run,) = await hubs[1].write(run_claims.claim_runs, boot_id=WEST, gates=gates, lease_ms=30_000, at=AT)
    assert (run.lease_boot_id, run.fence, run.crash_count) == (WEST, of_east[0].fence + 1, 0)
    with pytest.raises(StaleRun):
        await hubs[0].write(mark_sent, of_east[0].held, [CallId("call-1")], AT)
    with pytest.raises(StaleRun):
        await hubs[0].write(plan, of_east[0].held, "b.txt", of=calls("call-2"))


def deadlocks(server: Postgres, url: str) -> int:
    """How often jobs in that database waited for each other in a circle."""
    statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = $1"
    return int(server.sql(statement, url.rpartition("/")[2])[0][0])


async def test_concurrent_answers_and_sends_of_calls_do_not_deadlock(postgres: Postgres, url: str) -> None:
    ids = [CallId(f"call-{n:02}") for n in range(20)]
    before = deadlocks(postgres, url)
    async with open_postgres(url) as hub:

        def planned(c: sa.Connection) -> FencedRun:
            held = running(c)
            plan(c, held, of=calls(*ids))
            mark_sent(c, held, ids, AT)
            return held

        held = await hub.write(planned)
        async with anyio.create_task_group() as going_on:
            for call_id in ids:
                going_on.start_soon(hub.write, mark_sent, held, ids, AT)
                going_on.start_soon(hub.write, settle_call, call_id, CallEvent.ACKED, {}, AT)
        assert await hub.read(open_calls, held.id) == []
        assert (await hub.read(runs.get_run, held.id)).items_created == len(ids)
    assert deadlocks(postgres, url) == before


async def test_hubs_starting_at_once_create_each_declared_agent_once(hubs: list[Database]) -> None:
    declared = [DeclaredAgent(name=f"agent-{n}", device_name="desk", paths=("notes",)) for n in range(5)]
    await at_once(hubs, lambda _: lambda c: declare(c, *declared))
    there: list[AgentRow] = await hubs[0].read(agents.list_agents)
    assert [agent.name for agent in there] == [agent.name for agent in declared]


async def test_first_idempotency_answer_of_several_hubs_is_stored(hubs: list[Database]) -> None:
    kept = await at_once(
        hubs,
        lambda n: partial(
            idempotency.keep_answer, scope="runs", key="key", request_hash="h", response=f"answer {n}", at=AT
        ),
    )
    assert (len({answer.response for answer in kept}), len(kept)) == (1, HUBS)


EACH = 5


async def test_concurrent_config_changes_are_all_stored_with_consecutive_numbers(
    hubs: list[Database],
) -> None:
    agent = await hubs[0].write(make_agent)

    async def work(number: int, hub: Database) -> None:
        for value in range(EACH):
            puts = [NewConfig(key=f"of-{number}", value=value), NewConfig(key="of-all", value=number)]
            await hub.write(config_changes.change, agent.id, puts, at=AT, actor=f"operator:{number}")

    async with anyio.create_task_group() as tasks:
        for number, hub in enumerate(hubs):
            tasks.start_soon(work, number, hub)

    now = await hubs[0].read(stored.configuration_of, agent.id)
    assert {key: value for key, value in now.items() if key != "of-all"} == {
        f"of-{number}": EACH - 1 for number in range(HUBS)
    }
    moves = await hubs[0].read(configs.config_history, agent.id, limit=1_000)
    assert [move.seq for move in moves] == list(range(len(moves), 0, -1))
    was = None
    for move in reversed([move for move in moves if move.key == "of-all"]):
        assert move.old_text == was, "each change saw the one before it"
        was = move.new_text


async def test_several_config_changes_of_the_same_revision_have_a_single_success(
    hubs: list[Database],
) -> None:
    agent = await hubs[0].write(make_agent)
    done: list[int] = []

    async def work(number: int, hub: Database) -> None:
        try:
            await hub.write(
                config_changes.change,
                agent.id,
                [NewConfig(key="who", value=number)],
                at=AT,
                actor="operator:7",
                expected_rev=agent.config_rev,
            )
        except CodedError as error:
            assert error.code is ErrorCode.CHANGED_MEANWHILE
            return
        done.append(number)

    async with anyio.create_task_group() as tasks:
        for number, hub in enumerate(hubs):
            tasks.start_soon(work, number, hub)
    assert (await hubs[0].read(stored.configuration_of, agent.id), len(done)) == ({"who": done[0]}, 1)


KEPT = BucketRetention(minutes_from=0, hours_from=0)
WRITERS, REPORTS = 4, 4


async def test_concurrent_samples_of_several_hubs_in_the_same_bucket_all_count(hubs: list[Database]) -> None:
    agents = [await hubs[0].write(make_agent, name) for name in ("one", "two")]
    samples = [
        SampleRow(agent_id=agent.id, name="load", type=MetricType.HISTOGRAM, value=value, at=AT)
        for agent in agents
        for value in (1, 2, 3)
    ]
    report = partial(
        measurements.report, scope="desk", digest="d", at=AT, retention=KEPT, limits=SeriesLimits()
    )

    async def work(hub: Database, writer: int) -> None:
        mine = samples if writer % 2 else samples[::-1]
        for n in range(REPORTS):
            await hub.write(report, mine, report_id=f"{writer}-{n}")
            await hub.write(report, mine, report_id=f"{writer}-{n}")  # its answer was lost

    async with anyio.create_task_group() as writers:
        for writer in range(WRITERS):
            writers.start_soon(work, hubs[writer % len(hubs)], writer)
    for agent in agents:
        (series,) = await hubs[0].read(measurements.list_series, agent.id)
        (hour,) = await hubs[0].read(
            measurements.list_buckets,
            [series.id],
            size_ms=HOUR_MS,
            since=0,
            until=AT + HOUR_MS,
            with_sketches=True,
        )
        assert (hour.n, hour.sum, hour.sketch) == (
            WRITERS * REPORTS * 3,
            WRITERS * REPORTS * 6,
            Sketch.of([1, 2, 3] * WRITERS * REPORTS).document(),
        )


async def test_each_run_and_verdict_is_measured_by_a_single_hub(hubs: list[Database]) -> None:
    agents = [await hubs[0].write(make_agent, f"agent-{n}") for n in range(len(hubs))]

    def end(c: sa.Connection) -> None:
        for n in range(16):
            make_run(c, f"run-{n}", agent=agents[n % len(agents)], state=RunState.CANCELLED)

    def decide(c: sa.Connection) -> None:
        fill(c, {"users": 1, "devices": 1, "agents": 1, "items": 12})
        for n, id in enumerate(c.execute(sa.select(items.c.id)).scalars().all()):
            at = AT - measurements.SETTLED_MS - n
            c.execute(sa.update(items).where(items.c.id == id).values(verdict="approved", verdict_at=at))

    measured: list[int] = []

    async def work(hub: Database) -> None:
        while await hub.read(measurements.has_unmeasured, at=AT, retention=KEPT):
            measured.append((await hub.write(measurements.measure, at=AT, retention=KEPT, most=3)).rows)

    for happen in (decide, end):
        await hubs[0].write(happen)
        async with anyio.create_task_group() as workers:
            for hub in hubs:
                workers.start_soon(work, hub)
    assert sum(measured) == 12 + 16
    sums = {}
    for owner in (agents[0].id, None):
        for series in await hubs[0].read(measurements.list_series, owner):
            (hour,) = await hubs[0].read(
                measurements.list_buckets, [series.id], size_ms=HOUR_MS, since=0, until=AT + HOUR_MS
            )
            sums[owner, series.name] = hour.sum
    assert sums == {(agents[0].id, "hub.runs"): 4, (None, "hub.runs"): 16, (None, "hub.verdicts"): 12}


async def test_sample_of_a_series_pruned_at_the_same_time_is_not_lost(hubs: list[Database]) -> None:
    agent = await hubs[0].write(make_agent)
    sample = partial(SampleRow, agent_id=agent.id, name="load", value=1)
    record = partial(measurements.record, at=AT, retention=KEPT)
    await hubs[0].write(record, [sample(at=AT)])
    await hubs[0].write(measurements.prune_buckets, size_ms=HOUR_MS, before=AT + 2 * HOUR_MS)
    await hubs[0].write(measurements.prune_buckets, size_ms=60_000, before=AT + 2 * HOUR_MS)
    later = AT + 3 * HOUR_MS
    async with anyio.create_task_group() as both:
        both.start_soon(partial(hubs[0].write, measurements.prune_series, before=AT + HOUR_MS))
        both.start_soon(hubs[1].write, record, [sample(at=later)])
    (series,) = await hubs[0].read(measurements.list_series, agent.id)
    assert (series.last_at, series.last) == (later, 1)
    count = sa.select(sa.func.count()).select_from(metric_series)
    assert await hubs[0].read(lambda c: c.execute(count).scalar_one()) == 1


async def test_concurrent_audit_entries_form_a_single_valid_chain(hubs: list[Database]) -> None:
    def entry(n: int) -> Callable[[sa.Connection], int]:
        return partial(audit.append, at=1, actor=f"operator:{n % HUBS}", event="run.started")

    await at_once(hubs, entry, number=60)
    part = await hubs[0].read(audit.check_part)
    assert (part.entries, part.breaks, part.is_last) == (60, (), True)
