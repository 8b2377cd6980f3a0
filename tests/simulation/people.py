"""Simulated operators, who start, stop, pause and repair at any time, and repeat themselves."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from hub.api.resources.items import NewVerdictsView, NewVerdictView
from protocol.ids import AgentId, RunId
from storage.agents import agents
from storage.runs.item_verdicts import GivenVerdict
from storage.schedules import schedule_rows
from tests.simulation.device import SimDevice
from tests.simulation.dice import Dice
from tests.simulation.hub import Machine, SimHub
from tests.simulation.scene import changed_agents
from tests.simulation.world import OWNER, World

ACTOR: Final = "somebody"
LOST_COUNT: Final = 3  # keys of an impatient person's requests


class People:
    """Operators of a world."""

    def __init__(self, world: World, dice: Dice) -> None:
        self._world = world
        self._dice = dice
        self._deeds: list[Callable[[], None]] = [
            self._start_run,
            self._start_run,
            self._cancel_run,
            self._cancel_run,
            self._pause_run,
            self._resume_run,
            self._rerun,
            self._pause_agent,
            self._resume_agent,
            self._pause_schedule,
            self._enable_schedule,
            self._backfill,
            self._edit,
            self._save_file,
            self._save_file,
            self._review,
            self._review,
        ]

    def act(self) -> None:
        """Perform one random action."""
        if self._world.witness.facts.agents:  # else the hub has lost its rows, and does not run yet
            self._dice.choice(self._deeds)()

    def let_go_on(self) -> None:
        """Resume everything that an operator paused."""
        for agent_id in sorted(self._world.witness.facts.agents):
            self._resume(AgentId(agent_id))
        for run_id in sorted(self._world.witness.facts.live):
            self._resumer(RunId(run_id))()

    # --- runs ---

    def _start_run(self) -> None:
        agent = self._some_agent()
        key = f"key {self._dice.below(LOST_COUNT)}" if self._dice.says(0.3) else None

        async def start(hub: SimHub) -> None:
            row = await hub.store.read(agents.get_agent, agent)
            await hub.control.submit(row, key=key, actor=ACTOR)

        self._ask("start run", start)

    def _cancel_run(self) -> None:
        run = self._some_run()
        if run is not None:
            self._ask("cancel run", lambda hub: hub.control.cancel(run, actor=ACTOR, reason="enough"))

    def _pause_run(self) -> None:
        run = self._some_run()
        if run is not None:
            self._ask("pause run", lambda hub: hub.control.pause(run, actor=ACTOR))
            if self._dice.says(0.7):
                resume = self._resumer(run)
                self._world.after(self._dice.uniform(0.5, 400.0), resume)

    def _resume_run(self) -> None:
        run = self._some_run()
        if run is not None:
            self._resumer(run)()

    def _resumer(self, run: RunId) -> Callable[[], None]:
        return lambda: self._ask("resume run", lambda hub: hub.control.resume(run, actor=ACTOR))

    def _rerun(self) -> None:
        runs = sorted(self._world.witness.facts.runs)
        if runs:
            run = RunId(self._dice.choice(runs))
            self._ask("rerun", lambda hub: hub.control.rerun(run, actor=ACTOR))

    # --- agents and schedules ---

    def _pause_agent(self) -> None:
        agent = self._some_agent()
        self._ask("pause agent", lambda hub: hub.control.pause_agent(agent, actor=ACTOR))
        if self._dice.says(0.8):
            self._world.after(self._dice.uniform(1.0, 3_000.0), lambda: self._resume(agent))

    def _save_file(self) -> None:
        """Let the hub hear of a changed file of an agent, whether or not there is one."""
        agent = self._some_agent()

        async def hint(hub: SimHub) -> None:
            row = await hub.store.read(agents.get_agent, agent)
            if row.device_id is not None:
                await hub.files.hint(row.device_id, [agent])

        self._ask("save file", hint)

    def _resume_agent(self) -> None:
        self._resume(self._some_agent())

    def _resume(self, agent: AgentId) -> None:
        self._ask("resume agent", lambda hub: hub.control.resume_agent(agent, actor=ACTOR))

    def _pause_schedule(self) -> None:
        schedule = self._some_schedule()
        if schedule is None:
            return

        async def pause(hub: SimHub) -> None:
            await hub.scheduler.pause(await hub.store.read(schedule_rows.get_schedule, schedule), actor=ACTOR)

        self._ask("pause schedule", pause)
        if self._dice.says(0.8):
            self._world.after(
                self._dice.uniform(1.0, self._world.scene.tempo.span_s / 3), lambda: self._enable(schedule)
            )

    def _enable_schedule(self) -> None:
        schedule = self._some_schedule()
        if schedule is not None:
            self._enable(schedule)

    def _enable(self, schedule: str) -> None:
        catch_up = self._dice.says(0.5)

        async def enable(hub: SimHub) -> None:
            row = await hub.store.read(schedule_rows.get_schedule, schedule)
            await hub.scheduler.enable(row, catch_up=catch_up, actor=ACTOR)

        self._ask("enable schedule", enable)

    def _backfill(self) -> None:
        schedule = self._some_schedule()
        if schedule is None:
            return
        facts = self._world.witness.facts.schedules[schedule]
        last = facts.cursor_at
        first = last - int(self._dice.uniform(0.0, 0.3) * self._world.scene.tempo.span_s * 1_000)
        self._ask(
            "backfill", lambda hub: hub.scheduler.backfill(schedule, first, last, actor=ACTOR, dry_run=False)
        )

    def _edit(self) -> None:
        """Edit the settings file; the hub reloads it at once, or reads it at its next start."""
        world = self._world
        world.settings = changed_agents(
            world.settings if self._dice.says(0.7) else world.scene.settings, world.scene.tempo, self._dice
        )
        if self._dice.says(0.5):
            self._ask("reload", lambda hub: hub.reload(world.settings))
        else:
            world.stop(self._dice.choice(world.machines))

    def _review(self) -> None:
        self._dice.choice(self._world.devices).review()

    # --- choosing ---

    def _some_machine(self) -> Machine:
        return self._dice.choice(self._world.machines)

    def _some_agent(self) -> AgentId:
        return AgentId(self._dice.choice(sorted(self._world.witness.facts.agents)))

    def _some_run(self) -> RunId | None:
        facts = self._world.witness.facts
        executing = [run.id for run in facts.live.values() if run.is_executing]
        known = sorted(executing) or sorted(facts.live) or sorted(facts.runs)
        return RunId(self._dice.choice(known)) if known else None

    def _some_schedule(self) -> str | None:
        known = sorted(self._world.witness.facts.schedules)
        return self._dice.choice(known) if known else None

    def _ask(self, what: str, job: Callable[[SimHub], Awaitable[object]]) -> None:
        self._world.ask(self._some_machine(), what, job)


VERDICTS: Final[tuple[GivenVerdict, ...]] = ("approve", "approve", "edit", "reject")
UNDO: Final[GivenVerdict] = "undo"
ITEMS: Final = """
    SELECT id, version, device_id, row_id FROM items WHERE device_id IS NOT NULL AND row_id IS NOT NULL"""
WAITING: Final = f"{ITEMS} AND verdict = 'open' AND answered_at IS NOT NULL"
DONE: Final = f"{ITEMS} AND id IN (SELECT item_id FROM item_verdicts WHERE state = 'done')"


class Owners:
    """Owners of a world's items."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = world.dice.fork("owners")
        for device in world.devices:
            if device.mark is not None:
                device.capabilities |= {"item.review"}
            if self._dice.says(0.9):
                device.regrant()

    def plan(self) -> None:
        """Add all verdicts to the world's agenda, most of them during work."""
        for _ in range(self._dice.between(6, 14)):
            step = self._judge if self._dice.says(0.8) else self._undo
            at_s = self._dice.uniform(10.0, self._world.scene.tempo.span_s)
            if self._dice.says(0.85):
                step = partial(self._world.during_work, step)
            self._world.at(at_s, step)

    def _judge(self) -> None:
        """Judge an item that waits, or now and then any."""
        item = self._some(WAITING if self._dice.says(0.8) else ITEMS)
        if item is None:
            return
        self._give(item, self._dice.choice(VERDICTS))
        if self._dice.says(0.3):  # in two minds, or two people
            again = self._dice.choice((*VERDICTS, UNDO, UNDO, UNDO))
            self._world.after(self._dice.uniform(0.0, 40.0), partial(self._give, item, again))

    def _undo(self) -> None:
        item = self._some(DONE)
        if item is not None:
            self._give(item, UNDO)

    def _some(self, query: str) -> Any:
        """Return an item, mostly of a device that takes verdicts."""
        found = self._world.disk.rows(f"{query} ORDER BY id")
        takers = {device.id for device in self._world.devices if "item.review" in device.capabilities}
        if self._dice.says(0.95):
            found = [item for item in found if item[2] in takers]
        return self._dice.choice(found) if found else None

    def _give(self, item: Any, verdict: GivenVerdict) -> None:
        """Give a verdict at one of the hubs; meanwhile, the device may be in trouble, or its owner at it."""
        item_id, version, device_id, row_id = item
        new = NewVerdictView(
            id=item_id,
            verdict=verdict,
            data={"description": "of its owner, elsewhere"} if verdict == "edit" else {},
            version=version if verdict != UNDO and self._dice.says(0.7) else None,
        )

        async def give(hub: SimHub) -> None:
            await hub.items.seen_by(OWNER).give(NewVerdictsView(verdicts=[new]), ACTOR)

        device = next(one for one in self._world.devices if one.id == device_id)
        self._world.ask(self._dice.choice(self._world.machines), f"{verdict} {item_id}", give)
        match self._dice.below(20):
            case 0:
                self._world.after(self._dice.uniform(0.0, 2.0), partial(device.review, row_id))
            case 1:
                device.dies_in = self._dice.between(1, 2)
            case 2 if device.wire is not None:
                device.wire.frames_left = self._dice.between(1, 4)
            case 3:
                self._trouble_hub(device)
            case 4:
                self._world.after(self._dice.uniform(0.0, 1.0), device.regrant)

    def _trouble_hub(self, device: SimDevice) -> None:
        """Let the hub that has the device die at one of its next writes."""
        for machine in self._world.machines:
            hub = machine.live
            if hub is not None and hub.roster.find(device.id) is not None:
                hub.weather.dies_in = self._dice.between(1, 4)
                hub.weather.dies_before = self._dice.says(0.5)
