"""Each law reports the violation that is planted for it, in a world without other violations."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa

from hub.api.resources.items import NewVerdictsView, NewVerdictView
from hub.base.log import bind
from hub.extraction.model import ModelRequest, PromptMessage
from hub.runs.asking import question_of
from protocol.handshake import DeviceHello
from protocol.ids import AgentId, RunId
from protocol.items import ItemSource, ReviewVerdict, RowReview
from protocol.lifecycles import RunState
from protocol.tables import TableName
from protocol.tool_calls import Action, ToolCall
from storage.agents import agents, state_moves
from storage.agents.declared_agents import DeclaredAgent
from storage.executing_runs import FencedRun
from storage.leases import Term
from storage.runs import calls
from storage.runs.calls import ReportedVerdict
from storage.schedules.schedule_rows import DeclaredSchedule
from tests.simulation.breaks import BREAKS
from tests.simulation.dice import Dice
from tests.simulation.hub import SimHub
from tests.simulation.loop import run
from tests.simulation.scene import EPOCHS, TEMPI, Scene, Settings
from tests.simulation.world import OWNER, Ways, World

SENT_AGAIN = """
    INSERT INTO run_calls (call_id, run_id, unit_key, ordinal, target_table, state, updated_at)
    SELECT 'again', run_id, unit_key, 99, target_table, 'SENT', 1 FROM run_calls LIMIT 1"""

Plant = Callable[[World], Awaitable[None]] | tuple[str, ...]  # a tuple: statements

LIVED_S = 1_900.0  # three fires of the agent
AGENT = DeclaredAgent(
    name="first",
    device_name="desk",
    paths=("notes",),
    data_types=(TableName.TASKS,),
    prompt="Look for doors.",
    schedule=DeclaredSchedule(kind="cron", expr="*/10 * * * *"),
)
SCENE = Scene(
    seed=0,
    epoch=EPOCHS[2],
    tempo=TEMPI[0],
    machines=("hub-a",),
    devices=("desk",),
    settings=Settings(
        agents=(AGENT, msgspec.structs.replace(AGENT, name="second", schedule=None)),
        per_device=1,
        total=1,
    ),
)


SHARED = replace(SCENE, machines=("hub-a", "hub-b"))


def found(
    plant: Plant | None, *, guarded: bool = False, ways: Ways | None = None, scene: Scene = SCENE
) -> set[str]:
    """Return the laws that are violated after *plant*, once the first run has ended."""

    async def live() -> set[str]:
        world = World(scene, guarded=guarded, ways=ways)
        async with world.opened():
            world.calm()
            await world.live(LIVED_S)
            assert world.witness.violations == []
            if isinstance(plant, tuple):
                write(world, *plant, run=newest(world))
            elif plant is not None:
                await plant(world)
            world.witness.at_the_end()
        return {violation.law for violation in world.witness.violations}

    return run(live, Dice("planted"))


def write(world: World, *statements: str, **values: Any) -> None:
    """Write to the database as another process."""

    def job(c: sa.Connection) -> None:
        for statement in statements:
            c.execute(sa.text(statement), values)

    world.disk.write(job)


def newest(world: World, state: str = "COMPLETED") -> str:
    """Return the newest run in a state."""
    return str(world.disk.one("SELECT max(id) FROM runs WHERE state = ?", state)[0])


def copy_of_run(world: World, run_id: str, **changed: Any) -> None:
    """Insert a copy of a run with the columns in *changed* replaced."""
    names = [row[1] for row in world.disk.rows("PRAGMA table_info(runs)")]
    columns = ", ".join(f":{name}" if name in changed else name for name in names)
    write(world, f"INSERT INTO runs SELECT {columns} FROM runs WHERE id = :of", of=run_id, **changed)


def the_agent(world: World, name: str = "first") -> AgentId:
    return AgentId(world.disk.one("SELECT id FROM agents WHERE name = ?", name)[0])


def the_hub(world: World) -> SimHub:
    hub = world.machines[0].live
    assert hub is not None
    return hub


async def starts_a_run_that_stalls(world: World) -> str:
    """Start a run that executes without end, and return its id."""
    world.devices[0].habits.stalls = 1.0
    hub = the_hub(world)
    await hub.control.submit(await hub.store.read(agents.get_agent, the_agent(world, "second")))
    await world.live(world.time.now_s + 5.0)
    return newest(world, "RUNNING")


def test_no_violation_is_found_in_a_guarded_world() -> None:
    assert found(None, guarded=True) == set()


STATEMENTS = {
    "cursor goes back": ("I1", "UPDATE schedules SET cursor_at = cursor_at - 60000"),
    "cursor passes over fires": (
        "I1",
        "UPDATE schedules SET cursor_at = cursor_at + 1300000, next_fire_at = NULL",
    ),
    "fire is covered twice": (
        "I1",
        "INSERT INTO schedule_fires (schedule_id, fire_at, first_at, decision, decided_at)"
        " SELECT id, cursor_at + 1, cursor_at, 'coalesced', 1 FROM schedules",
    ),
    "finished run goes on": ("I4", "UPDATE runs SET state = 'QUEUED', outcome = NULL WHERE id = :run"),
    "run skips a state": (
        "I4",
        "INSERT INTO run_state_history (run_id, seq, old_state, new_state, attempt, fence, actor, at)"
        " SELECT id, state_seq + 1, 'QUEUED', 'COMPLETED', 1, fence, 'x', 1 FROM runs WHERE id = :run",
        "UPDATE runs SET state_seq = state_seq + 1 WHERE id = :run",
    ),
    "fence falls": ("I5", "UPDATE runs SET fence = fence - 1 WHERE id = :run"),
    "ledger has other titles": ("I6", "UPDATE items SET data = json_object('title', 'something else')"),
    "run ends with an open call": (
        "I6",
        "UPDATE run_calls SET state = 'SENT'",
        "UPDATE runs SET updated_at = 1 WHERE state = 'COMPLETED'",
    ),
    "run has spent more than its calls": ("I14", "UPDATE runs SET model_requests = 99 WHERE id = :run"),
    "counter is wrong": ("I12", "UPDATE agent_states SET runs_waiting = 5"),
    "run is tried too often": ("I12", "UPDATE runs SET attempt = 6 WHERE id = :run"),
}


async def a_fire_is_told_that_never_was(world: World) -> None:
    def decide(c: sa.Connection) -> None:
        c.execute(sa.text("UPDATE schedules SET cursor_at = cursor_at + 300000"))
        c.execute(
            sa.text(
                "INSERT INTO schedule_fires (schedule_id, fire_at, first_at, decision, decided_at)"
                " SELECT id, cursor_at, cursor_at, 'coalesced', 1 FROM schedules"
            )
        )

    world.disk.write(decide)


# --- I2, I3: how many ---


async def a_fire_has_two_runs(world: World) -> None:
    copy_of_run(world, newest(world), id="another")


async def two_runs_wait_in_one_slot(world: World) -> None:
    for name in ("one", "two"):
        copy_of_run(
            world,
            newest(world),
            id=name,
            fire_key=name,
            state="QUEUED",
            fence=0,
            queue_slot="slot",
            outcome=None,
        )


async def too_many_runs_execute(world: World) -> None:
    for name in ("one", "two"):
        copy_of_run(world, newest(world), id=name, fire_key=name, state="RUNNING", outcome=None)


def run_of_hub(world: World, agent: str, boot_id: str) -> None:
    """Insert an executing run of a hub process, on a device of its own."""
    copy_of_run(
        world,
        newest(world),
        id=agent,
        fire_key=agent,
        agent_id=the_agent(world, agent),
        device_id=f"device of {agent}",
        schedule_id=None,
        state="RUNNING",
        outcome=None,
        completed_at=None,
        lease_boot_id=boot_id,
    )


async def a_hub_executes_more_runs_than_it_may(world: World) -> None:
    for agent in ("first", "second"):
        run_of_hub(world, agent, "of one hub")


async def each_hub_executes_as_many_runs_as_it_may(world: World) -> None:
    for agent in ("first", "second"):
        run_of_hub(world, agent, f"of the hub of {agent}")


# --- I4, I5: moves and fences ---


async def a_run_ends_with_another_outcome(world: World) -> None:
    copy_of_run(world, newest(world), id="one", fire_key="one", outcome="partial")


async def an_old_holder_writes(world: World) -> None:
    run_id = RunId(await starts_a_run_that_stalls(world))

    def advance(c: sa.Connection, held: FencedRun) -> None:
        c.execute(sa.text("UPDATE runs SET units_done = 7 WHERE id = :run"), {"run": held.id})

    world.disk.commit("hub-a boot 0", advance, (FencedRun(run_id, RunState.RUNNING, 0),), {})


async def an_old_leader_writes(world: World) -> None:
    def decide(c: sa.Connection, term: Term) -> None:
        c.execute(sa.text("UPDATE schedules SET updated_at = 1"))

    world.disk.commit("hub-a boot 0", decide, (Term("scheduler", "nobody", 0),), {})  # type: ignore[arg-type]


# --- I6, I7: deliveries to devices and questions to models ---


def call(world: World, call_id: str, run_id: str) -> ToolCall:
    row = world.devices[0].memory.rows[0]
    return ToolCall(
        id=call_id,
        action=Action.INSERT,
        table=TableName.TASKS,
        data={"title": row.title},
        run_id=run_id,
        agent_id=row.agent_id,
        source=ItemSource(path=row.path, quote=row.title, start=0, end=1, sha256=row.sha256),
    )


async def a_call_is_sent_that_was_never_planned(world: World) -> None:
    world.devices[0].do(call(world, "unknown", newest(world)))


async def an_item_comes_under_two_ids(world: World) -> None:
    write(world, SENT_AGAIN)
    world.devices[0].do(call(world, "again", world.devices[0].memory.rows[0].run_id))


async def a_rejected_item_comes_again(world: World) -> None:
    device = world.devices[0]
    row = device.memory.rows.pop()
    world.disk.commit(
        "hub-a boot 1",
        calls.record_verdicts,
        (device.id, [ReportedVerdict(row.call_id, "rejected")], world.time.epoch_ms),
        {},
    )
    write(world, SENT_AGAIN)
    device.memory.rows.insert(0, row)
    asked = call(world, "again", row.run_id)
    device.memory.rows.remove(row)
    device.do(asked)


async def a_row_is_lost(world: World) -> None:
    world.devices[0].memory.rows.pop()


async def a_settled_file_is_asked_about(world: World) -> None:
    run_id, path, fence = world.disk.one(
        "SELECT run_id, unit_key, fence FROM run_units JOIN runs ON runs.id = run_id"
        " WHERE run_units.state = 'DONE'"
    )
    question = ModelRequest(messages=(PromptMessage("user", f"{path} edition 1"),), schema={}, max_tokens=1)
    with bind(run_id=run_id, fence=fence):
        await world.model.answer(question)


async def an_answer_is_asked_for_again(world: World) -> None:
    run_id, agent_id = world.disk.one("SELECT id, agent_id FROM runs WHERE state = 'COMPLETED'")
    question = ModelRequest(messages=(PromptMessage("user", "a.md edition 1"),), schema={}, max_tokens=1)
    write(
        world,
        "INSERT INTO model_answers VALUES (:agent, :asked, 'simulated', 'whole', '{}', 1, 1)",
        agent=agent_id,
        asked=question_of(world.model.name, question),
    )
    with bind(run_id=run_id):
        await world.model.answer(question)


# --- verdicts of owners ---


async def a_verdict_comes_that_nobody_gave(world: World) -> None:
    device = world.devices[0]
    row = device.memory.rows[0]
    device.grants = {"review.remote": []}
    device.do(
        ToolCall(
            id="unknown",
            action=Action.REVIEW_APPLY,
            table=TableName.TASKS,
            where={"id": row.row_id},
            review=RowReview(verdict=ReviewVerdict.APPROVE, seen=row.call_id),
        )
    )


async def _let_the_device_take_verdicts(world: World) -> None:
    device = world.devices[0]
    device.grants, device.capabilities = {"review.remote": []}, device.capabilities | {"item.review"}
    device.disconnect()
    device.connect()
    await world.live(world.time.now_s + 30.0)


async def a_verdict_is_applied_to_another_row(world: World) -> None:
    device, hub = world.devices[0], the_hub(world)
    await _let_the_device_take_verdicts(world)
    item, device_row = world.disk.one("SELECT id, row_id FROM items WHERE answered_at IS NOT NULL")
    other = next(row for row in device.memory.rows if row.row_id != device_row)
    this = device.memory.find(device_row)
    assert this is not None
    device.memory.rows.remove(this)
    device.memory.put(replace(other, row_id=device_row, call_id=this.call_id), device_row)
    new = NewVerdictView(id=item, verdict="approve")
    await hub.items.seen_by(OWNER).give(NewVerdictsView(verdicts=[new]), "ana")
    await world.live(world.time.now_s + 30.0)


async def a_verdict_waits_for_ever(world: World) -> None:
    hub = the_hub(world)
    await _let_the_device_take_verdicts(world)
    hub.verdicts.loop.wake = lambda: None  # type: ignore[method-assign]
    (item,) = world.disk.one("SELECT id FROM items WHERE answered_at IS NOT NULL")
    new = NewVerdictView(id=item, verdict="approve")
    await hub.items.seen_by(OWNER).give(NewVerdictsView(verdicts=[new]), "ana")


async def the_hub_does_not_hear_of_a_decision(world: World) -> None:
    memory = world.devices[0].memory
    memory.put(replace(memory.rows[0], is_approved=True), memory.rows[0].row_id)


# --- I8 to I12: in time, and in numbers ---


async def nobody_heeds_a_cancel(world: World) -> None:
    run_id = await starts_a_run_that_stalls(world)
    hub = the_hub(world)
    hub.dispatcher.interrupt = lambda run_id, reason: True  # type: ignore[method-assign]
    write(world, "UPDATE runs SET cancel_requested_at = 1 WHERE id = :run", run=run_id)
    await world.live(world.time.now_s + 60.0)


async def a_run_executes_under_a_boot_that_is_gone(world: World) -> None:
    copy_of_run(
        world, newest(world), id="one", fire_key="one", state="RUNNING", outcome=None, lease_boot_id="ghost"
    )
    await world.live(world.time.now_s + 20.0)


async def a_run_starts_though_its_agent_is_paused(world: World) -> None:
    agent = the_agent(world)
    world.disk.write(state_moves.move, agent, "lifecycle", "paused", at=1, actor="x")
    copy_of_run(world, newest(world), id="one", fire_key="one", state="QUEUED", outcome=None)
    write(world, "UPDATE runs SET state = 'PREPARING' WHERE id = 'one'")


async def an_agent_is_not_let_go_on(world: World) -> None:
    hub = the_hub(world)
    hub.dispatcher.open_gates = no_gate  # type: ignore[method-assign]
    write(
        world,
        "UPDATE agent_states SET availability = 'exhausted', exhausted_at = 1, recovery_at = :at",
        at=hub.clock.now_ms() + 1_000,
    )
    await world.live(world.time.now_s + 60.0)


async def a_run_is_not_started(world: World) -> None:
    hub = the_hub(world)
    hub.dispatcher._claim = nothing  # type: ignore[assignment, method-assign]
    await world.live(world.time.now_s + 900.0)


async def a_run_is_not_started_while_another_hub_is_full(world: World) -> None:
    run_of_hub(world, "second", "of another hub")
    hub = the_hub(world)
    hub.dispatcher._claim = nothing  # type: ignore[assignment, method-assign]
    await hub.control.submit(await hub.store.read(agents.get_agent, the_agent(world)))
    await world.live(world.time.now_s + 30.0)


async def nothing(*_: object) -> None:
    await anyio.sleep(1)


async def no_gate() -> float:
    return 1.0


async def a_live_run_is_deleted(world: World) -> None:
    run_id = await starts_a_run_that_stalls(world)
    write(world, "DELETE FROM runs WHERE id = :run", run=run_id)


async def a_folder_counts_as_read_whose_files_the_ledger_lost(world: World) -> None:
    write(world, "DELETE FROM unit_ledger")
    await world.live(world.time.now_s + 1_800.0)


@pytest.mark.parametrize(
    ("law", "plant"),
    [
        *(pytest.param(law, tuple(given), id=name) for name, (law, *given) in STATEMENTS.items()),
        ("I13", a_fire_is_told_that_never_was),
        ("I2", a_fire_has_two_runs),
        ("I2", two_runs_wait_in_one_slot),
        ("I3", too_many_runs_execute),
        ("I3", a_hub_executes_more_runs_than_it_may),
        ("I4", a_run_ends_with_another_outcome),
        ("I5", an_old_holder_writes),
        ("I5", an_old_leader_writes),
        ("I6", a_call_is_sent_that_was_never_planned),
        ("I6", an_item_comes_under_two_ids),
        ("I6", a_rejected_item_comes_again),
        ("I6", a_row_is_lost),
        ("I6", a_folder_counts_as_read_whose_files_the_ledger_lost),
        ("I7", a_settled_file_is_asked_about),
        ("I14", an_answer_is_asked_for_again),
        ("verdicts", a_verdict_comes_that_nobody_gave),
        ("verdicts", a_verdict_is_applied_to_another_row),
        ("verdicts", a_verdict_waits_for_ever),
        ("verdicts", the_hub_does_not_hear_of_a_decision),
        ("I8", nobody_heeds_a_cancel),
        ("I9", a_run_executes_under_a_boot_that_is_gone),
        ("I10", a_run_starts_though_its_agent_is_paused),
        ("I10", an_agent_is_not_let_go_on),
        ("I11", a_run_is_not_started),
        ("I12", a_live_run_is_deleted),
    ],
    ids=lambda given: given if isinstance(given, str) else getattr(given, "__name__", None),
)
def test_each_planted_violation_of_a_law_is_detected(law: str, plant: Plant) -> None:
    assert law in found(plant)


# --- several hubs on one database ---


async def keep_awake(world: World) -> None:
    """Let a minute pass that the world does not sleep through."""
    world.machines[1].is_islanded = True
    await world.live(world.time.now_s + 60.0)


def the_owner(world: World) -> SimHub:
    """Return the hub that has the device."""
    (owner,) = [machine.live for machine in world.machines if machine.live and len(machine.live.roster)]
    return owner


async def a_run_is_claimed_from_another_hub(world: World) -> None:
    run_of_hub(world, "second", "hub-x")
    write(
        world,
        "UPDATE runs SET lease_boot_id = 'hub-y', fence = fence + 1 WHERE lease_boot_id = 'hub-x'",
    )


async def a_device_is_connected_to_two_hubs(world: World) -> None:
    owner = the_owner(world)
    link = owner.roster.local()[0]
    (other,) = [machine.live for machine in world.machines if machine.live and machine.live is not owner]
    other.roster.enter(link, DeviceHello())
    await keep_awake(world)


async def a_device_is_online_at_a_hub_that_does_not_have_it(world: World) -> None:
    owner = the_owner(world)
    world.devices[0].disconnect()
    await world.live(world.time.now_s + 20.0)
    write(world, "UPDATE devices SET boot_id = :boot", boot=owner.boot_id)
    await keep_awake(world)


async def a_connected_device_is_offline_by_its_row(world: World) -> None:
    write(world, "UPDATE devices SET boot_id = NULL")
    await keep_awake(world)


async def a_hub_forgets_its_run(world: World) -> None:
    write(
        world,
        "UPDATE runs SET lease_boot_id = :boot WHERE id = :run",
        run=await starts_a_run_that_stalls(world),
        boot=the_owner(world).boot_id,
    )
    the_owner(world).dispatcher._executing.clear()
    the_owner(world).dispatcher._take_back_strays = nothing  # type: ignore[assignment, method-assign]
    await world.live(world.time.now_s + 60.0)


@pytest.mark.parametrize(
    ("law", "plant"),
    [
        ("one claim", a_run_is_claimed_from_another_hub),
        ("one owner", a_device_is_connected_to_two_hubs),
        ("ghost", a_device_is_online_at_a_hub_that_does_not_have_it),
        ("same answer", a_connected_device_is_offline_by_its_row),
        ("same answer", a_hub_forgets_its_run),
    ],
)
def test_each_planted_violation_of_a_law_by_several_hubs_is_detected(law: str, plant: Plant) -> None:
    ways = replace(BREAKS["no_eviction"], only=law)
    assert law in found(plant, ways=ways, scene=SHARED)


def test_no_violation_is_found_in_a_guarded_world_of_several_hubs() -> None:
    assert found(None, guarded=True, scene=SHARED) == set()


def test_run_limit_law_applies_to_each_hub_and_not_to_the_sum() -> None:
    assert "I3" not in found(each_hub_executes_as_many_runs_as_it_may)


def test_run_not_started_by_a_free_hub_is_a_violation() -> None:
    # The full hub has a boot that no process has; enough findings of that would end the world before.
    assert found(a_run_is_not_started_while_another_hub_is_full, ways=Ways(only="I11")) == {"I11"}
