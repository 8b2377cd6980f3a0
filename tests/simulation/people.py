"""Simulated operators, who start, stop, pause and repair at any time, and repeat themselves."""

from collections.abc import Awaitable, Callable
from typing import Final

from protocol.ids import AgentId, RunId
from storage.agents import agents
from storage.schedules import schedule_rows
from tests.simulation.dice import Dice
from tests.simulation.hub import Machine, SimHub
from tests.simulation.scene import changed_agents
from tests.simulation.world import World

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
