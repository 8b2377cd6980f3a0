"""What operators are told, read off the rows, and what they can do."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.agents.measurements import MeasurementService
from hub.agents.writing import AgentWriter
from hub.api.agent_bodies import CommonAgentSettings
from hub.api.binding import ResponseHead
from hub.api.resource import PageRequest, ResourceRegistry
from hub.api.resources.agents import AgentsResource, RunRequest
from hub.api.resources.gateways import GatewaysResource
from hub.api.resources.issues import IssuesResource
from hub.api.resources.runs import RunListFilter, RunsResource
from hub.api.resources.schedules import SchedulesResource
from hub.api.resources.system import HubInfo, ListenerAddresses, Readiness, SystemResource
from hub.api.wait_reasons import WaitReasons
from hub.base.clock import epoch_ms, from_epoch_ms
from hub.base.loop_lag import LoopLag
from hub.base.outbound.rules import OutboundRules
from hub.base.supervisor import Drain
from hub.base.toml.values import HostPort
from hub.coordination.gateway_watch import GatewayMonitor
from hub.extraction.extractor import Extractor
from hub.extraction.model import Models
from hub.health.issues import Finding
from hub.health.issues import IssueRegistry as FoundIssues
from hub.health.machine_and_load import full_disk
from hub.health.work import check_hold
from hub.links.roster import Roster
from hub.openclaw import Fleet
from hub.runs.leadership import Leadership
from hub.runs.scheduler import Scheduler
from hub.runs.wait_sentences import CrashHold, describe_hold
from hub.settings.reading import FileLines
from protocol.errors import CodedError, ErrorCode, IllegalTransition
from protocol.ids import ConnectionId, KeyId, PairingId, RunId, UserId, trace_id_of
from protocol.lifecycles import RunOutcome, RunState
from protocol.skipped_files import SkippedFile
from protocol.work import AgentComplete
from storage.agents.declared_agents import AgentLimits
from storage.devices import devices, pairings, users
from storage.devices.devices import UnknownDevice
from storage.devices.pairings import PairingAsk
from storage.runs import run_moves
from storage.schedules import schedule_rows, schedules
from storage.schedules.schedule_rows import DeclaredSchedule
from tests.support import stored
from tests.support.clock import START, SeededChance
from tests.support.coded import coded
from tests.support.presence import live, never_connect, open_session
from tests.support.requests import file_watch_of
from tests.support.runs import BOOT, Bench, agent, bench, folder, store
from tests.support.services import running
from tests.support.settings import SettingsBench

__all__ = ["agent", "bench", "store"]

DAY = timedelta(days=1)


@pytest.fixture
def scheduler(bench: Bench) -> Scheduler:
    return Scheduler(
        store=bench.store,
        extractor=Extractor(Models(bench.model, bench.model), secret=bytes(32)),
        clock=bench.clock,
        ids=bench.ids,
        metrics=bench.metrics,
        boot_id=BOOT,
        on_queued=bench.dispatcher.recheck,
        on_cancel=lambda run_id: None,
    )


@pytest.fixture
async def operate(bench: Bench, scheduler: Scheduler, tmp_path: Path) -> Callable[..., ResourceRegistry]:
    """Make the resources of the bench; a hold and a meter of the loop may be given."""
    await bench.store.write(users.ensure_user, UserId("u"), "owner", 1)
    roster = Roster(lambda event: None, metrics=bench.metrics)
    reloader = SettingsBench(tmp_path).reloader

    def make(hold: CrashHold | None = None, lag: LoopLag | None = None, *stops: Finding) -> ResourceRegistry:
        store, clock = bench.store, bench.clock
        waiting = WaitReasons(dispatcher=bench.dispatcher, clock=clock, hold=hold)
        schedules = SchedulesResource(store=store, scheduler=scheduler)
        runs = RunsResource(
            store=store,
            dispatcher=bench.dispatcher,
            control=bench.control,
            waiting=waiting,
            watch=bench.watch,
            clock=clock,
        )
        agents = AgentsResource(
            store=store,
            control=bench.control,
            files=file_watch_of(bench),
            runs=runs,
            schedules=schedules,
            writer=AgentWriter(store, clock=clock, ids=bench.ids, metrics=bench.metrics),
            rules=CommonAgentSettings,
            lines=FileLines(lambda: reloader.reading),
        )
        hub = ResourceRegistry(store, clock)
        found = FoundIssues(clock=clock, metrics=bench.metrics)
        found.watch(lambda now: stops)
        found.watch(partial(check_hold, lambda now: describe_hold(hold, now) if hold else None))
        system = SystemResource(
            hub,
            store,
            about=HubInfo(hub_id="hub-1", key="EH7DDX5", name="home", model=lambda: None, database=""),
            clock=clock,
            roster=roster,
            dispatcher=bench.dispatcher,
            drain=Drain(),
            reloader=reloader,
            issues=found,
            lag=lag,
        )
        issues = IssuesResource(found, bench.store, clock)
        fleet = Fleet(
            folder=tmp_path,
            rules=OutboundRules,
            clock=clock,
            chance=SeededChance(),
            metrics=bench.metrics,
            version="0",
        )
        monitor = GatewayMonitor(
            store, fleet, lease=Leadership(store, "gateways", BOOT, clock=clock), clock=clock
        )
        gateways = GatewaysResource(
            store,
            fleet,
            monitor,
            lambda _: None,
            view_of=agents.view,
            limits=AgentLimits,
            clock=clock,
            ids=bench.ids,
            metrics=bench.metrics,
        )
        hub.add(agents, runs, schedules, system, issues, gateways)
        return hub

    return make


@pytest.fixture
def operations(operate: Callable[..., ResourceRegistry]) -> ResourceRegistry:
    return operate()


async def _declare(bench: Bench, **about: object) -> str:
    """A schedule of the agent: weekdays at seven, unless *about* says otherwise. Its id."""
    given: dict[str, object] = {"kind": "cron", "expr": "0 7 * * *", "tz": "Europe/Berlin"} | about
    declared = DeclaredSchedule(**given)  # type: ignore[arg-type]
    at = epoch_ms(bench.clock.now())
    await bench.store.write(schedules.declare, bench.agent.id, declared, fresh_id="s", at=at)
    return "s"


async def _pass_days(bench: Bench, scheduler: Scheduler, days: int, *, day: timedelta = DAY) -> None:
    """So many days go by, one at a time, and every fire of theirs is decided."""

    async def decided() -> None:
        while True:
            (row,) = await bench.store.read(stored.list_schedules)
            if row.next_fire_at is not None and row.next_fire_at > epoch_ms(bench.clock.now()):
                return
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(10):
        async with running(scheduler):
            await decided()
            for _ in range(days):
                bench.clock.advance(day.total_seconds())
                await decided()


async def _failed_run_of(bench: Bench, schedule_id: str) -> None:
    await bench.store.write(schedules.count_outcome, schedule_id, RunOutcome.ERROR, epoch_ms(START))


async def test_run_details_report_counts_units_outcome_and_history(
    bench: Bench, operations: ResourceRegistry
) -> None:
    bench.connect(runs=folder(a="- [ ] one\n- [ ] two", b="nothing"))
    done = await bench.run()

    told = await operations.resource(RunsResource).get(done.id)

    assert (told.agent, told.device, told.state, told.items_created) == ("notes", "desk", "COMPLETED", 2)
    assert (told.outcome, told.because, told.trace_id) == (RunOutcome.SUCCESS, None, trace_id_of(done.id))
    assert told.model_requests == bench.model.asked == 1
    assert [(unit.path, unit.items) for unit in told.units] == [("a.md", 2), ("b.md", 0)]
    assert all(unit.read_at and unit.planned_at and unit.settled_at for unit in told.units)
    assert [move.after for move in told.history] == ["QUEUED", "PREPARING", "RUNNING", "COMPLETED"]
    assert (await operations.resource(RunsResource).newest(RunListFilter(agent="notes")))[0].id == done.id
    assert (await operations.resource(AgentsResource).get("notes")).last_run is not None


async def test_runs_are_filtered_by_outcome_device_and_time(
    bench: Bench, operations: ResourceRegistry
) -> None:
    first = await bench.control.submit(bench.agent)
    await bench.control.cancel(first.id, actor="operator:0", reason="wrong folder")
    bench.clock.advance(60.0)
    second = await bench.control.submit(bench.agent)
    created = from_epoch_ms(second.created_at)

    async def ids(**wanted: Any) -> list[str]:
        return [run.id for run in (await operations.resource(RunsResource).newest(RunListFilter(**wanted)))]

    assert await ids(outcome="cancelled") == [first.id]
    assert await ids(outcome="failed") == await ids(outcome="success") == []
    assert (await ids(since=created), await ids(until=created)) == ([second.id], [first.id])
    assert await ids(device=bench.agent.device_name) == [second.id, first.id]
    with pytest.raises(UnknownDevice, match="there is no device 'dsk'"):
        await ids(device="dsk")


async def test_run_is_found_by_an_unambiguous_end_of_the_run_id(
    bench: Bench, operations: ResourceRegistry
) -> None:
    first = await operations.resource(AgentsResource).start_run("notes", RunRequest(), "me")
    assert (await operations.resource(RunsResource).get(first.id[-6:])).id == first.id
    for name in ("", "nothing", "%" + first.id[-6:], first.id[:8]):
        with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_RUN)):
            await operations.resource(RunsResource).get(name)

    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="too short"):
        await operations.resource(RunsResource).get(first.id[-5:])

    twin = RunId("f" + first.id[1:])
    await bench.store.write(
        run_moves.create_run, id=twin, agent=bench.agent, fire_key="m:twin", at=1, config_fingerprint="c"
    )
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="give more of one"):
        await operations.resource(RunsResource).get(first.id[-8:])
    assert (await operations.resource(RunsResource).get(twin)).id == twin


async def test_waiting_run_reports_the_cause_of_the_wait(bench: Bench, operations: ResourceRegistry) -> None:
    run = await operations.resource(AgentsResource).start_run("notes", RunRequest(), "me")
    assert run.waiting_for == "device desk is offline, last seen 1970-01-01 00:00 UTC"

    await operations.resource(AgentsResource).pause("notes", actor="me")
    assert (await operations.resource(RunsResource).get(run.id)).waiting_for == "agent is paused"

    await operations.resource(AgentsResource).resume("notes", "me")
    paused = await operations.resource(RunsResource).pause(run.id, actor="me")
    assert (paused.state, paused.waiting_for) == (RunState.PAUSED, "paused by hand")

    again = await operations.resource(RunsResource).resume(run.id, actor="me")
    (desk,) = await bench.store.read(devices.list_devices)
    await bench.store.write(devices.revoke_device, desk.id, at=epoch_ms(bench.clock.now()), actor="me")
    waiting = (await operations.resource(RunsResource).get(again.id)).waiting_for
    assert (
        waiting
        == "device desk was revoked; let it in again: hub connect URL --root DIR --name desk --new-key"
    )


async def test_waiting_run_names_the_settling_device_and_the_stop_of_the_dispatcher(
    bench: Bench, operations: ResourceRegistry, scheduler: Scheduler
) -> None:
    await _declare(bench)
    await _pass_days(bench, scheduler, 1)
    assert bench.agent.device_id is not None
    at = epoch_ms(bench.clock.now())
    await bench.store.write(live, BOOT)
    await bench.store.write(open_session, bench.agent.device_id, boot_id=BOOT, platform=None, at=at)
    link = bench.connect()

    async def waiting_for() -> str | None:
        (run,) = await operations.resource(RunsResource).newest()
        return run.waiting_for and run.waiting_for.split(" at ")[0]

    assert link.device_id in bench.dispatcher.arrivals.settling
    assert await waiting_for() == "just connected; starts"
    bench.clock.advance(60)
    assert await waiting_for() == "next in line"
    bench.stopped = "disk is nearly full"
    assert await waiting_for() == "disk is nearly full"


async def test_scheduled_runs_are_held_back_after_starts_with_crashes(
    bench: Bench, operate: Callable[..., ResourceRegistry], scheduler: Scheduler
) -> None:
    await _declare(bench)
    bench.clock.advance(2 * DAY.total_seconds())  # while the hub is down
    until = bench.clock.now() + timedelta(minutes=10)
    operations = operate(hold=CrashHold(until, starts=4, within_s=600))
    await _pass_days(bench, scheduler, 0)
    assert bench.agent.device_id is not None
    at = epoch_ms(bench.clock.now())
    await bench.store.write(live, BOOT)
    await bench.store.write(open_session, bench.agent.device_id, boot_id=BOOT, platform=None, at=at)

    (caught_up,) = await operations.resource(RunsResource).newest()
    asked_for = await operations.resource(AgentsResource).start_run("notes", RunRequest(), "me")

    assert (caught_up.trigger, asked_for.waiting_for) == ("catchup", "next in line")
    assert caught_up.waiting_for is not None
    assert caught_up.waiting_for.startswith("held back until ")
    assert "after 4 starts with crashes between them" in caught_up.waiting_for
    worst = {one.id: one.explanation for one in (await operations.resource(SystemResource).status()).worst}
    assert worst["hub.held"] == f"schedules are {caught_up.waiting_for}"
    bench.clock.advance(600)
    assert "hub.held" not in {one.id for one in (await operations.resource(SystemResource).status()).worst}


async def test_pairing_device_is_named_by_runs_and_status_until_code_expiry(
    bench: Bench, operations: ResourceRegistry
) -> None:
    run = await operations.resource(AgentsResource).start_run("notes", RunRequest(), "me")
    await bench.store.write(never_connect)
    await shows_code(bench, "desk", until=epoch_ms(bench.clock.now()) + 600_000)
    waiting_for = "device desk waits for pairing: hub pair approve CODE, as the device shows it"
    assert (await operations.resource(RunsResource).get(run.id)).waiting_for == waiting_for
    assert (await operations.resource(SystemResource).status()).pairing == ("desk",)
    bench.clock.advance(600)
    assert (
        await operations.resource(RunsResource).get(run.id)
    ).waiting_for == "device desk has not connected yet"
    assert (await operations.resource(SystemResource).status()).pairing == ()


async def shows_code(bench: Bench, label: str, *, until: int) -> None:
    """A device that nobody knows asks for access."""
    asking = PairingAsk(
        id=PairingId("p-1"),
        code_hash=b"code",
        known_code_hash=None,
        key_id=KeyId("k-1"),
        public_key=b"key",
        label=label,
        platform="linux",
        network="192.0.2.7",
        connection_id=ConnectionId("c-1"),
    )
    await bench.store.write(pairings.ask, asking, at=1, expires_at=until, most=1, most_per_network=1)


async def test_pausing_run_is_reported_and_cannot_be_resumed_yet(
    bench: Bench, operations: ResourceRegistry
) -> None:
    asked, bench.model.may_answer = anyio.Event(), anyio.Event()
    bench.model.on_ask = asked.set
    bench.connect(runs=folder(a="Dave must send the report."))
    run = await operations.resource(AgentsResource).start_run("notes", RunRequest(), "me")
    async with running(bench.dispatcher):
        with anyio.fail_after(10):
            await asked.wait()
        pausing = await operations.resource(RunsResource).pause(run.id, actor="me")
        with pytest.raises(IllegalTransition, match="not paused yet"):
            await operations.resource(RunsResource).resume(run.id, actor="me")
        bench.model.may_answer.set()

    assert (pausing.state, pausing.is_pausing) == (RunState.RUNNING, True)
    assert pausing.waiting_for == "pauses when the files in hand are done"
    assert not (await operations.resource(RunsResource).get(run.id)).is_pausing


async def test_agent_details_list_next_fires_with_shifts_of_daylight_saving(
    bench: Bench, operations: ResourceRegistry
) -> None:
    bench.clock.set_wall(START.replace(month=3, day=27))
    await _declare(bench, expr="30 2 * * *", jitter_ms=120_000)

    told = await operations.resource(AgentsResource).get("notes")

    (schedule,) = told.schedules
    assert (told.schedule, schedule.expr, schedule.enabled) == ("every day at 02:30", "30 2 * * *", True)
    assert 0 <= schedule.offset_s <= schedule.jitter_s == 120
    assert told.next_fires == schedule.next_fires
    assert [fire.at.isoformat() for fire in told.next_fires[:3]] == [
        "2026-03-28T01:30:00+00:00",
        "2026-03-29T01:00:00+00:00",
        "2026-03-30T00:30:00+00:00",
    ]
    assert [fire.shift for fire in told.next_fires[:3]] == [
        None,
        "02:30 does not exist that night; fires at 03:00",
        None,
    ]
    assert (await operations.resource(AgentsResource).all(), told.user) == ([told], "owner")
    assert (await operations.resource(SchedulesResource).next_fires("notes")).schedules == (schedule,)


async def test_schedule_paused_by_failures_is_reported_and_resumed_with_the_agent(
    bench: Bench, operations: ResourceRegistry
) -> None:
    schedule_id = await _declare(bench, pause_after_failures=2)
    await _failed_run_of(bench, schedule_id)
    await _failed_run_of(bench, schedule_id)

    told = await operations.resource(AgentsResource).get("notes")
    (paused,) = told.schedules
    assert (told.schedule, paused.said) == (
        "every day at 07:00",
        "every day at 07:00",
    )  # it is declared all the same
    assert (paused.enabled, paused.paused_because) == (False, "paused after 2 failed runs in a row")
    assert paused.next_fires == ()

    (again,) = (await operations.resource(AgentsResource).resume("notes", "me")).schedules
    assert (again.enabled, again.paused_because, len(again.next_fires)) == (True, None, 5)


async def test_finished_schedule_remains_disabled_when_the_agent_is_resumed(
    bench: Bench, operations: ResourceRegistry
) -> None:
    at = epoch_ms(START)
    once = await _declare(bench, kind="at", expr=None, at_ms=at)
    finished = schedule_rows.FINISHED
    await bench.store.write(schedules.set_enabled, once, False, at=at, reason=finished)

    (schedule,) = (await operations.resource(AgentsResource).resume("notes", "me", catch_up=True)).schedules
    assert (schedule.enabled, schedule.paused_because) == (False, "its time 2026-01-05 09:00 UTC is over")


async def test_past_fire_without_a_run_reports_the_reason(
    bench: Bench, operations: ResourceRegistry, scheduler: Scheduler
) -> None:
    await _declare(bench)
    await _pass_days(bench, scheduler, 3)

    fires = (await operations.resource(SchedulesResource).past_fires("notes", PageRequest())).items
    assert [fire.said for fire in fires] == [
        "one run covers it: device desk was offline",
        "one run covers it: device desk was offline",
        "a run was queued",
    ]
    (waiting,) = await operations.resource(RunsResource).newest()
    assert (waiting.missed, waiting.missed_because) == (2, "2 missed: device desk was offline")
    assert waiting.waiting_for == "device desk is offline, last seen 1970-01-01 00:00 UTC"


async def test_returning_device_gets_a_single_run_for_all_missed_fires_within_six_seconds(
    bench: Bench, operations: ResourceRegistry, scheduler: Scheduler
) -> None:
    await _declare(bench)
    await _pass_days(bench, scheduler, 3)
    back = bench.clock.now()
    link = bench.connect(runs=folder(a="- [ ] one"))
    await bench.store.write(live, BOOT)
    await bench.store.write(open_session, link.device_id, boot_id=BOOT, platform=None, at=epoch_ms(back))
    await bench.dispatcher.open_gates()
    (waiting,) = await operations.resource(RunsResource).newest()
    assert (waiting.waiting_for or "").startswith("just connected; starts at ")

    bench.clock.advance(6)
    async with running(bench.dispatcher):
        await bench.comes_to(RunState.COMPLETED)

    (done,) = await operations.resource(RunsResource).newest()
    assert done.started_at is not None
    assert (done.started_at - back).total_seconds() <= 6
    assert (done.missed_because, done.items_created) == ("2 missed: device desk was offline", 1)


async def test_partial_run_reports_the_reasons_and_number_of_skipped_files(
    bench: Bench, operations: ResourceRegistry
) -> None:
    frames = folder(a="- [ ] one")[0]
    reasons = {"b": "too_deep: 108", "c": "changed", "d": "too_deep: 99", "e": "hidden"}
    skipped = [SkippedFile(path=f"{name}.md", reason=reason) for name, reason in reasons.items()]
    frames[-1] = AgentComplete(run_id="r", skipped=skipped)
    bench.connect(runs=[frames])
    await bench.run()
    (told,) = await operations.resource(RunsResource).newest()
    counted = "3 failed: 2 too_deep, 1 changed; first: b.md lies in too many folders"
    assert (told.outcome, (told.because or "")[: len(counted)]) == (RunOutcome.PARTIAL, counted)
    assert told.fix is not None and told.fix.startswith("move it up")


async def test_runs_without_news_and_corresponding_fires_are_folded_into_a_single_entry(
    bench: Bench, operations: ResourceRegistry, scheduler: Scheduler
) -> None:
    count, minute = 6, timedelta(minutes=1)
    await _declare(bench, kind="every", expr=None, every_ms=60_000, tz="UTC")
    bench.connect(runs=folder(a="- [ ] one") * count)
    work = MeasurementService(bench.store, clock=bench.clock, metrics=bench.metrics)
    for _ in range(count):
        await _pass_days(bench, scheduler, 1, day=minute)
        assert (await bench.run()).outcome is RunOutcome.SUCCESS
        await work.measure_work()
    newest, first_without_news, with_news = await operations.resource(RunsResource).newest()
    assert (newest.folded, newest.fire_at) == (count - 3, START + count * minute)
    assert newest.folded_since is not None
    assert newest.because == f"nothing new, as in the 3 runs since {newest.folded_since:%Y-%m-%d %H:%M} UTC"
    assert (first_without_news.folded, first_without_news.because, with_news.items_created) == (0, None, 1)
    counts = await operations.resource(RunsResource).counts(RunListFilter())
    assert (counts.total, counts.outcomes, counts.is_complete) == (count, {"success": count}, True)
    fires = (await operations.resource(SchedulesResource).past_fires("notes", PageRequest())).items
    assert [(fire.fires, fire.run) for fire in fires] == [
        (count - 2, newest.id),
        (1, first_without_news.id),
        (1, with_news.id),
    ]
    assert fires[0].said == "a run was queued for each; the newest represents those without news"
    first, last = START + minute, START + count * minute
    tried = await operations.resource(SchedulesResource).backfill("notes", first, last, "me", dry_run=True)
    assert (tried.fires, tried.wanted) == (count, 0)


async def test_dry_run_of_a_backfill_counts_the_missed_fires(
    bench: Bench, operations: ResourceRegistry, scheduler: Scheduler
) -> None:
    await _declare(bench, catchup_window_ms=0)
    bench.clock.advance(3 * DAY.total_seconds())  # while the hub is down
    await _pass_days(bench, scheduler, 0)
    (missed,) = (await operations.resource(SchedulesResource).past_fires("notes", PageRequest())).items
    assert (missed.fires, missed.said) == (3, "not caught up: older than the catch-up window")
    backfill = partial(operations.resource(SchedulesResource).backfill, "notes", START, START + 3 * DAY, "me")

    tried = await backfill(dry_run=True)
    assert (tried.fires, tried.wanted, tried.runs) == (3, 3, ())
    assert (await operations.resource(RunsResource).newest(RunListFilter(agent="notes"))) == []

    done = await backfill()
    assert (done.first_at, done.last_at) == (START.replace(day=6, hour=6), START.replace(day=8, hour=6))
    queued = await operations.resource(RunsResource).newest(RunListFilter(agent="notes"))
    assert {run.id for run in queued} == set(done.runs)
    assert {run.trigger for run in queued} == {"backfill"}

    again = await backfill(dry_run=True)
    assert (again.fires, again.wanted) == (3, 0)


async def test_backfill_of_an_agent_without_a_schedule_is_refused(operations: ResourceRegistry) -> None:
    assert (await operations.resource(AgentsResource).get("notes")).next_fires == ()
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="'notes' has no schedule"):
        await operations.resource(SchedulesResource).backfill("notes", START, START, "me")


async def test_hub_is_not_ready_while_starting_or_with_a_full_disk(
    operate: Callable[..., ResourceRegistry],
) -> None:
    full = full_disk("no room")
    assert full is not None
    readiness = await operate(None, None, full).resource(SystemResource).readiness(ResponseHead())
    assert not readiness.ready
    known = {one.id: one.explanation for one in readiness.issues}
    assert known == {"disk.full": "no room", "hub.starting": "the hub is starting: it does not listen yet"}


async def test_hub_with_held_schedules_is_ready_and_degraded(
    bench: Bench, operate: Callable[..., ResourceRegistry]
) -> None:
    system = operate(CrashHold(START + timedelta(minutes=10), starts=3, within_s=600.0)).resource(
        SystemResource
    )
    system._where = lambda: ListenerAddresses(("127.0.0.1", 1), HostPort("127.0.0.1", 2), Path("hub.sock"))
    readiness = await system.readiness(ResponseHead())
    assert (readiness.ready, readiness.degraded) == (True, True)
    assert [(one.id, one.explanation) for one in readiness.issues] == [("hub.held", None)]
    bench.clock.advance(600)
    assert await system.readiness(ResponseHead()) == Readiness(ready=True)
