"""World of hubs, devices and a database, created from a seed.

Its agenda holds the planned events. When nothing is due for a while, the world sleeps (see ``clock``), so
that days pass in a moment.
"""

import contextvars
import heapq
import math
import sqlite3
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any

import anyio
from anyio.abc import TaskGroup

from hub.base.tokens import hash_token
from hub.links.connection import OpenLink
from hub.runs.agreement import Agreements
from protocol.errors import HubError
from protocol.ids import DeviceId, TokenId, UserId
from storage import leases
from storage.devices import devices, users
from storage.devices.tokens import DEVICE_TOKENS
from storage.kernel.database import StorageError
from storage.runs import item_verdicts
from storage.runs.run_claims import Gates
from storage.store import Store
from tests.simulation.clock import DatabaseClock, SimClock, WorldTime
from tests.simulation.device import BATCHING, FIRST_DAYS, MODERN, PAGING, REDIAL_S, SimDevice
from tests.simulation.dice import Dice
from tests.simulation.facts import EXECUTING
from tests.simulation.hub import Machine, SimHub
from tests.simulation.invariants import Witness
from tests.simulation.loop import Process
from tests.simulation.memory import Memory
from tests.simulation.model import SimModel
from tests.simulation.nats import SimNats
from tests.simulation.scene import Scene
from tests.simulation.store import Commit, Door, Weather, fresh_disk
from tests.simulation.wire import Tally, Traffic, Wire

Step = Callable[[], None]


class Agenda:
    """Planned steps, ordered by the second at which they are due, then by the order of ``add``."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, int, Step]] = []
        self._added = 0

    def add(self, second: float, step: Step) -> None:
        """Add a step."""
        self._added += 1
        heapq.heappush(self._steps, (second, self._added, step))

    def take(self, now_s: float) -> Step | None:
        """Remove and return the next due step, or None."""
        return heapq.heappop(self._steps)[2] if self.next_s <= now_s else None

    @property
    def next_s(self) -> float:
        """Return the second at which the next step is due."""
        return self._steps[0][0] if self._steps else math.inf

    def clear(self) -> None:
        """Remove all steps."""
        self._steps.clear()


OWNER = UserId("owner")
MIN_STEP_S = 0.001  # less is below the precision of a float
LOOK_EVERY_S = 2.0  # awake: how often the world looks at itself
WAKE_EARLY_S = 1.5  # before the next thing that happens, the world is awake again
STILL_S = 1.5  # nothing was committed for so long: the world may sleep
WORK_S = 8.0  # duration of most runs
AWAITED_S = 70.0  # upper bound of all waits; the longest is the settling time of a device
PINGS_S = 5.0, 10.0  # until a device with several addresses leaves a hub that does not answer
GIVE_UP_S = 10.0  # until such a device leaves a hub that does not welcome it
LATE_S = 0.0, 0.5, 10.0, 45.0  # until a hub notices that a device has left it
HURRY_S = 0.05, 1.5  # until a device tries the next of several addresses
OPEN_VERDICTS = f"SELECT device_id FROM item_verdicts WHERE {item_verdicts.IS_OPEN}"
LEASE_JOBS = frozenset(  # commits that are no sign of life
    job.__name__ for job in (leases.acquire_lease, leases.renew_lease, leases.resign_lease, leases.beat)
)


@dataclass(frozen=True, slots=True)
class Ways:
    """Replacements for parts of a hub, which tests use to check that laws detect faults.

    Attributes:
        door_of: wraps each hub's door to the disk.
        link: class of its links.
        agreements: class of the reconciliation between hub and device.
        hubs: number of hubs on the database, instead of the seed's.
        only: required text of a reported violation, because others would hide it.
    """

    door_of: "Callable[[Store, World], Store]" = lambda door, world: door
    link: type[OpenLink] = OpenLink
    agreements: type[Agreements] = Agreements
    hubs: int | None = None
    only: str | None = None


class World:
    """Simulated world.

    Args:
        guarded: create the constraints of the schema.
        say: called with each line of the trace.
        ways: replacements for the hubs' database and links; see ``Ways``.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        guarded: bool = True,
        say: Callable[[str], None] | None = None,
        ways: Ways | None = None,
    ) -> None:
        self.scene = scene
        self.dice = Dice(f"world {scene.seed}")
        self.time = WorldTime(scene.epoch)
        self.tally = Tally()
        self.traffic = Traffic(self.dice.fork("traffic"), self.tally)
        self.nats = SimNats(self.dice.fork("nats"), self.tally)
        self.disk = fresh_disk(guarded=guarded)
        self.settings = scene.settings
        self.machines = [Machine(name, self.time) for name in scene.machines]
        self.devices: list[SimDevice] = []
        self.is_calm = False
        self._say = say
        self._ways = ways or Ways()
        self._context = contextvars.copy_context()
        self._agenda = Agenda()
        self._during_work: deque[Step] = deque()
        self._still_since = 0.0
        self._tasks: TaskGroup | None = None
        self.backups: list[sqlite3.Connection] = []  # the first is of the first day
        self.witness = Witness(self.disk, self.time, self.machines, self.devices, scene, only=self._ways.only)
        self.model = SimModel(self.dice.fork("model"), self.witness.asked)
        self.disk.on_commit = self._committed
        self._found()

    def _found(self) -> None:
        """Create the database and the devices."""
        self.server = SimClock(self.time)
        for machine in self.machines:
            machine.on_step = self.witness.around.clock_set
            machine.server = self.server if self.scene.is_shared else None
        self.database_clock = DatabaseClock(
            self.time,
            lambda: self.server.ahead_s if self.scene.is_shared else self.machines[0].clock.ahead_s,
        )
        self.disk.set_clock(self.database_clock.now_ms, has_others=self.scene.is_shared)
        at = self.time.epoch_ms
        self.disk.write(users.ensure_user, OWNER, "owner", at)
        for name in self.scene.devices:
            device_id = DeviceId(name)
            self.disk.write(devices.ensure_device, id=device_id, user_id=OWNER, name=name, at=at)
            self.disk.write(
                DEVICE_TOKENS.create,
                id=TokenId(f"token of {name}"),
                device_id=device_id,
                token_hash=hash_token(f"token of {name}"),
                at=at,
            )
            dice = self.dice.fork(name)
            self.devices.append(
                SimDevice(
                    device_id,
                    dice=dice,
                    capabilities=dice.choice((FIRST_DAYS, MODERN, PAGING, BATCHING, BATCHING)),
                    context=self._context,
                    dial=self._dial_any if self.scene.is_shared else self._dial,
                    redial_s=HURRY_S if self.scene.is_shared else REDIAL_S,
                    on_row=self.witness.row_made,
                    on_review=self.witness.reviewed,
                    on_decision=self.witness.decided,
                )
            )

        self.keep_rows()

    def say(self, who: str, what: str) -> None:
        """Write a line to the trace."""
        if self._say is not None:
            self._say(f"{self.time.now_s:12.4f} {self.time.awake_s:10.4f} {who}: {what}")

    @property
    def is_traced(self) -> bool:
        """Return True if the trace is read."""
        return self._say is not None

    def totals(self) -> dict[str, float]:
        """Return the counters."""
        rows = self.disk.one(
            "SELECT (SELECT coalesce(sum(missed_count + 1), 0) FROM schedule_fires),"
            " (SELECT count(*) FROM runs), (SELECT count(*) FROM run_calls),"
            " (SELECT count(*) FROM run_calls WHERE action = 'update'),"
            " (SELECT coalesce(sum(items_known), 0) FROM runs),"
            " (SELECT count(*) FROM items WHERE verdict = 'rejected'),"
            " (SELECT count(*) FROM item_verdicts),"
            " (SELECT count(*) FROM item_verdicts WHERE state = 'done'),"
            " (SELECT count(*) FROM item_verdicts WHERE state = 'done' AND verdict = 'undo'),"
            " (SELECT count(*) FROM item_verdicts WHERE reason = 'changed_meanwhile')"
        )
        return {
            "hub crashes": self.tally.hub_crashes,
            "hub stops": self.tally.hub_stops,
            "hub restores": self.tally.hub_restores,
            "device restores": self.tally.device_restores,
            "device crashes": sum(device.crashes for device in self.devices),
            "frames": self.tally.frames,
            "frames lost": self.tally.lost,
            "frames doubled": self.tally.doubled,
            "frames late": self.tally.delayed,
            "frames stale": self.tally.stale,
            "bus messages": self.tally.bus_messages,
            "bus dropped": self.tally.bus_dropped,
            "bus delayed": self.tally.bus_delayed,
            "bus doubled": self.tally.bus_doubled,
            "bus cuts": self.tally.bus_cuts,
            "bus requests": self.tally.bus_requests,
            "questions": self.model.asked,
            "fires": rows[0],
            "runs": rows[1],
            "calls": rows[2],
            "updates": rows[3],
            "items known": rows[4],
            "items rejected": rows[5],
            "verdicts": rows[6],
            "verdicts done": rows[7],
            "verdicts undone": rows[8],
            "verdicts refused": rows[9],
            "commits": self.disk.commits,
            "virtual days": self.time.now_s / 86_400,
            "awake hours": self.time.awake_s / 3_600,
        }

    # --- time ---

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Start the world, yield it, and stop it at the end of the block."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for machine in self.machines:
                self.boot(machine)
            for device in self.devices:
                self.after(self.dice.uniform(0.0, 3.0), device.connect)
            try:
                yield
            finally:
                with anyio.CancelScope(shield=True):
                    for machine in self.machines:
                        if machine.hub is not None:
                            machine.hub.process.kill()
                            await machine.hub.process.unwind()
                tasks.cancel_scope.cancel()

    async def live(self, until_s: float) -> None:
        """Advance the time to second *until_s*, or stop after too many violations."""
        while self.time.now_s < until_s and not self.witness.has_seen_enough:
            while (step := self._agenda.take(self.time.now_s)) is not None:
                step()
                self._still_since = self.time.awake_s
            self.witness.look()
            next_s = min(until_s, self._agenda.next_s)
            if self._is_still():
                self._sleep(next_s)
            await anyio.sleep(max(MIN_STEP_S, min(next_s - self.time.now_s, LOOK_EVERY_S)))

    def at(self, second: float, step: Step) -> None:
        """Schedule *step* for a second of the world; a past step is run at once."""
        self._agenda.add(second, step)

    def after(self, seconds: float, step: Step) -> None:
        """Schedule *step* after a delay in seconds."""
        self.at(self.time.now_s + seconds, step)

    def during_work(self, step: Step) -> None:
        """Schedule *step* for the next run: soon after it has started."""
        self._during_work.append(step)

    def next_moment_s(self) -> float:
        """Return when the next event according to the rows is due, or the time in one day."""
        ahead_s = max(machine.clock.ahead_s for machine in self.machines)
        now_ms = self.time.epoch_ms + int((self.time.now_s + ahead_s) * 1_000)
        (next_ms,) = self.disk.one(
            "SELECT min(at) FROM ("
            " SELECT due_at AS at FROM schedules WHERE enabled"
            " UNION ALL SELECT eligible_at FROM runs WHERE state = 'QUEUED'"
            " UNION ALL SELECT start_deadline_at FROM runs WHERE state = 'QUEUED'"
            " UNION ALL SELECT coalesce(recovery_at, probe_at) FROM agent_states"
            ") WHERE at > ?",
            now_ms,
        )
        return self.time.now_s + (86_400.0 if next_ms is None else (next_ms - now_ms) / 1_000)

    def _is_still(self) -> bool:
        """Return True if no work is in progress or about to begin."""
        still_s = self.time.awake_s - self._still_since
        if still_s < STILL_S:
            return False
        if self.scene.is_shared and any(machine.is_away for machine in self.machines):
            return False  # its lease expires meanwhile
        if all(machine.hub is None for machine in self.machines):
            return True
        if any(run.state in EXECUTING for run in self.witness.facts.live.values()):
            return False
        for machine in self.machines:
            hub = machine.hub
            if hub is not None and not hub.is_quiet:
                return False
        for device in self.devices:
            if device.is_wanted and not device.is_welcome and any(machine.live for machine in self.machines):
                return False
        return still_s > AWAITED_S or not self._is_awaited()

    def _is_awaited(self) -> bool:
        """Return True if the hub has work that is due: a run, a verdict to bring, or an agent to recover."""
        there = {device.id for device in self.devices if device.is_welcome}
        if not there.isdisjoint(id for (id,) in self.disk.rows(OPEN_VERDICTS)):
            return True
        now_ms = min(machine.clock.now_ms() for machine in self.machines)
        agents = self.witness.facts.agents
        if any(0 < (agent.recovery_at or agent.probe_at or 0) <= now_ms for agent in agents.values()):
            return True
        return any(
            run.state == "QUEUED"
            and run.device_id in there
            and run.eligible_at <= now_ms
            and agents[run.agent_id].lifecycle == "active"
            and agents[run.agent_id].availability != "exhausted"
            for run in self.witness.facts.live.values()
        )

    def _sleep(self, next_s: float) -> None:
        until_s = min(next_s, self.next_moment_s()) - self.dice.uniform(0.2, WAKE_EARLY_S)
        if until_s > self.time.now_s + 1.0:
            self.say("world", f"sleeps {until_s - self.time.now_s:.3f} s")
            self.time.sleep(until_s - self.time.now_s)
            self.witness.around.clocks_changed()
            for machine in self.machines:
                if machine.live is not None:
                    machine.live.recheck()

    def _committed(self, commit: Commit) -> None:
        if commit.name not in LEASE_JOBS:
            self._still_since = self.time.awake_s
        if self._say is not None:
            touched = commit.touched
            rows = ", ".join(f"{table} {' '.join(ids)}" for table, ids in touched.ids.items())
            self.say(commit.by, f"{commit.name}({given(commit)}): {rows or '-'}")
        self.witness.committed(commit)
        while commit.name == "claim_runs" and self._during_work and self.dice.says(0.7):
            self.after(self.dice.uniform(0.0, WORK_S), self._during_work.popleft())

    # --- hubs ---

    def boot(self, machine: Machine) -> None:
        """Start a hub on a machine without one."""
        if machine.hub is not None:
            return
        machine.boots += 1
        machine.starts += self.dice.fork(f"start {machine.name} {machine.boots}").says(0.2)
        process = Process(f"{machine.name} boot {machine.boots}")
        weather = Weather()
        weather.is_calm = self.is_calm
        dice = self.dice.fork(process.name)
        door = Door(
            self.disk,
            process,
            dice.fork("door"),
            weather,
            is_shared=self.scene.is_shared,
            on_death=lambda: self.kill(machine),
        )
        hub = machine.hub = SimHub(
            machine,
            process,
            self.settings,
            self._ways.door_of(door, self),
            weather,
            self.model,
            dice.fork("hub"),
            self.traffic,
            self.nats,
            self._ways.link,
            self._ways.agreements,
        )
        self.say(process.name, f"boots as {hub.boot_id}")
        self.witness.around.disturb()
        self._start(self._life, hub)

    def kill(self, machine: Machine) -> None:
        """Kill the hub, as by SIGKILL or a power failure."""
        hub = machine.hub
        if hub is None:
            return
        self.say(hub.process.name, "is killed")
        self.tally.hub_crashes += 1
        machine.hub = None
        hub.is_serving = False
        hub.process.kill()
        hub.drop_all(self.dice)
        self.witness.around.disturb()
        self._start(hub.process.unwind)
        self._boot_later(machine)

    @property
    def can_be_restored(self) -> bool:
        """Return True if all devices can list their rows; otherwise a restore would repeat items."""
        return all(device.mark is not None for device in self.devices)

    def keep_rows(self) -> None:
        """Return a backup of the hub's database."""
        self.backups.append(self.disk.snapshot())

    def restore_rows(self, backup: sqlite3.Connection) -> None:
        """Stop all hubs, and replace their database by *backup*."""
        self.say("world", "the hub's database is restored")
        self.tally.hub_restores += 1
        for machine in self.machines:
            self.kill(machine)
        sent = self.disk.rows(
            "SELECT call_id FROM run_calls WHERE state <> 'PLANNED'"
            " UNION SELECT call_id FROM items WHERE answered_at IS NOT NULL"
        )
        self.disk.put_back(backup)
        self.model.wordings += 1
        self.witness.restored(sent={call_id for (call_id,) in sent})

    def restore_device(self, device: SimDevice, memory: Memory | None) -> None:
        """Replace the store of a device by an older copy, or an empty store."""
        self.say(device.id, "has an older store" if memory else "has lost its store")
        self.tally.device_restores += 1
        device.put_store_back(memory)
        self.witness.restored()

    def resume(self, hub: SimHub) -> None:
        """Resume a halted hub."""
        if hub.process.is_halted and not hub.process.is_killed:
            self.say(hub.process.name, "goes on")
            hub.process.resume()

    def halt(self, hub: SimHub, *, with_children: bool) -> None:
        """Halt a hub. Devices that know several hubs leave it, which it notices late."""
        hub.process.halt(with_children=with_children)
        for device in self.devices if self.scene.is_shared else ():
            if device.wire in hub.wires:
                self.after(self.dice.uniform(*PINGS_S), partial(self._leave_halted, device, device.wire, hub))

    def _leave_halted(self, device: SimDevice, wire: Wire, hub: SimHub) -> None:
        if hub.process.is_halted and device.wire is wire:
            wire.cut(hub_after_s=self.dice.choice(LATE_S), device_after_s=0.0, is_read=True)

    def island(self, machine: Machine) -> None:
        """Separate a hub from all devices; either end of a connection notices when its pings fail."""
        self.say(machine.name, "is cut off from all devices")
        machine.is_islanded = True
        for wire in [] if machine.hub is None else machine.hub.wires:
            wire.is_mute = True
            wire.cut(hub_after_s=self.dice.uniform(1.0, 45.0), device_after_s=self.dice.uniform(*PINGS_S))

    def rejoin(self, machine: Machine) -> None:
        """Let devices reach a hub again."""
        if machine.is_islanded:
            self.say(machine.name, "is reached by devices again")
            machine.is_islanded = False

    def reconnect(self, hub: SimHub) -> None:
        """Restore a hub's access to the database."""
        if hub.weather.is_cut_off:
            self.say(hub.process.name, "reaches the database again")
            hub.weather.is_cut_off = False

    def calm(self) -> None:
        """End all faults: every hub and device is running, and the agenda is empty."""
        self.say("world", "is calm")
        self.is_calm = True
        self._agenda.clear()
        self._during_work.clear()
        self.traffic.calm()
        self.nats.calm()
        self.model.calm()
        self.witness.around.clocks_changed()
        for machine in self.machines:
            machine.down_s = 0.5
            self.rejoin(machine)
            hub = machine.hub
            if hub is None:
                self.after(machine.down_s, lambda machine=machine: self.boot(machine))  # type: ignore[misc]
                continue
            hub.weather.calm()
            self.reconnect(hub)
            self.resume(hub)
            hub.process.steps_left = 0
        for device in self.devices:
            device.habits.mend()
            device.dies_in = 0
            device.dies_answering = False
            if device.wire is not None and device.wire.is_mute:
                device.wire.cut(hub_after_s=0.0, device_after_s=0.0)
            self.after(1.0, device.connect)

    def stop(self, machine: Machine) -> None:
        """Request the hub to stop; it drains."""
        hub = machine.live
        if hub is not None:
            self.say(hub.process.name, "is told to stop")
            self.tally.hub_stops += 1
            hub.is_serving = False
            hub.tell_to_stop()

    async def _life(self, hub: SimHub) -> None:
        machine = hub.machine
        try:
            await hub.serve(OWNER)
        except anyio.get_cancelled_exc_class():
            if not hub.process.is_killed:
                raise
        except StorageError as exc:
            if hub.was_serving and not hub.scope.cancel_called:
                self.witness.findings.add("hub", f"{hub.process.name} died of {told(exc)}")
            self.say(hub.process.name, f"does not start: {told(exc)}")
        except Exception as exc:
            if not hub.process.is_killed:
                self.witness.findings.add("hub", f"{hub.process.name} died by itself: {told(exc)}")
        finally:
            hub.is_serving = False
            if machine.hub is hub:
                self.say(hub.process.name, "has ended")
                machine.hub = None
                self._boot_later(machine)

    def _boot_later(self, machine: Machine) -> None:
        self.after(machine.down_s, lambda: self.boot(machine))

    def ask(self, machine: Machine, what: str, job: Callable[[SimHub], Awaitable[object]]) -> None:
        """Send a person's request to the hub; the trace shows a refusal."""
        hub = machine.live
        if hub is not None:
            self._start(self._asked, hub, what, job)

    async def _asked(self, hub: SimHub, what: str, job: Callable[[SimHub], Awaitable[object]]) -> None:
        hub.process.enter()
        try:
            await job(hub)
            self.say("person", what)
        except HubError as exc:
            self.say("person", f"{what}: {exc.code}")
        except anyio.get_cancelled_exc_class():
            if not hub.process.is_killed:
                raise
        except Exception as exc:
            self.witness.findings.add("hub", f"{what} ended in {told(exc)}")

    def _start(self, job: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Start a task that belongs to no process."""
        assert self._tasks is not None
        start = partial(self._tasks.start_soon, job, *args)
        self._context.copy().run(start)

    def _dial(self, device: SimDevice) -> Wire | None:
        """Connect a device to a random reachable hub, or return None."""
        open_ = [machine.live for machine in self.machines if machine.live is not None]
        reachable = [hub for hub in open_ if not hub.process.is_halted]
        return self.dice.choice(reachable).knock(device) if reachable else None

    def _dial_any(self, device: SimDevice) -> Wire | None:
        """Connect a device to one of its addresses, or return None if nothing listens there."""
        machine = self.dice.choice(self.machines)
        hub = machine.live
        wire = None if hub is None or machine.is_islanded else hub.knock(device)
        if wire is not None:
            self.after(GIVE_UP_S, partial(self._give_up, device, wire))
        return wire

    def _give_up(self, device: SimDevice, wire: Wire) -> None:
        if device.wire is wire and not device.is_welcome:
            wire.cut(hub_after_s=self.dice.choice(LATE_S), device_after_s=0.0, is_read=True)


MAX_TOLD = 160  # characters of an argument


def given(commit: Commit) -> str:
    """Format the arguments of a job, shortened to fit a line."""
    given = [*commit.args, *(f"{name}={_told_value(value)}" for name, value in commit.kwargs.items())]
    return ", ".join(_told_value(value)[:MAX_TOLD] for value in given)


def _told_value(value: object) -> str:
    """Format a value with a sorted order of sets, because their order differs between processes."""
    match value:
        case Gates():
            return f"Gates({sorted(value.online)}, settling {sorted(value.settling)})"
        case frozenset() | set():
            return str(sorted(value))
        case partial():
            return f"{value.func.__name__}(...)"  # its own words tell where it lies in memory
        case FunctionType():
            return value.__name__  # likewise
        case _:
            return str(value)


def told(exc: BaseException) -> str:
    """Format an error with its nested errors, and where in the hub it was raised."""
    if isinstance(exc, BaseExceptionGroup):
        return " and ".join(told(inner) for inner in exc.exceptions)
    places = [
        f"{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(exc.__traceback__)
        if "/hub/" in frame.filename or "/storage/" in frame.filename
    ]
    return f"{type(exc).__name__}: {exc} ({' > '.join(places)})"
