"""Faults of a world, drawn from its seed before it begins.

Most faults wait for an event, because in the hours between events there is nothing to disturb.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from protocol.ids import DeviceId
from tests.simulation.clock import SimClock
from tests.simulation.device import SimDevice
from tests.simulation.hub import Machine, SimHub
from tests.simulation.memory import Memory
from tests.simulation.people import Owners, People
from tests.simulation.world import LATE_S, World

LEASE_S: Final = 15.0
WRITES: Final = ("decide", "claim_runs", "plan_units", "mark_sent", "settle_answers", "settle_unit", "move")
CHANGES: Final = 30  # how often people write their files, in one world
SHARED_WRITES: Final = (*WRITES, "open_sessions", "close_session", "note_taken", "recover")
STEPS_S: Final = (3 * 3_600.0, -2 * 3_600.0, -20 * 3_600.0, 86_400.0, 40.0, -40.0, 1.5)
WHEN: Final = ("during work", "during work", "during work", "at a moment", "at any time")


class Faults:
    """Generator of a world's faults."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = world.dice.fork("faults")
        self._bus_dice = world.dice.fork("faults of the bus")
        self._answer_dice = world.dice.fork("half-answered calls")
        self._requests = 0
        self._people = People(world, world.dice.fork("people"))
        self._owners = Owners(world)
        self._stores: dict[DeviceId, list[Memory]] = {}  # older copies
        self._kinds: list[Callable[[], None]] = [
            self._hub_dies,
            self._hub_dies_at_a_commit,
            self._hub_dies_at_a_commit,
            self._hub_dies_at_a_step,
            self._hub_dies_at_a_step,
            self._hub_stops,
            self._hub_is_halted,
            self._hub_is_halted_at_a_step,
            self._hub_is_halted_before_a_write,
            self._hub_is_halted_before_a_write,
            self._database_is_away,
            self._device_dies,
            self._device_dies,
            self._device_is_cut,
            self._device_is_cut_at_a_frame,
            self._device_is_cut_at_a_frame,
            self._device_is_mute,
            self._device_flaps,
            self._device_goes_away,
            self._states_are_kept,
            self._states_are_kept,
            self._states_are_kept,
            self._hub_is_restored,
            self._hub_is_lost,
            self._device_is_restored,
            self._device_is_lost,
            self._clock_jumps,
            self._model_has_a_mood,
            self._model_has_a_mood,
            self._people.act,
            self._people.act,
            self._people.act,
            self._people.act,
            self._people.act,
        ]
        self._writes: tuple[str, ...] = WRITES
        if world.scene.is_shared:
            self._writes = SHARED_WRITES
            self._kinds += [
                self._hub_is_halted,
                self._hub_is_halted_at_a_step,
                self._hub_is_halted_before_a_write,
                self._hub_is_halted_before_a_write,
                self._hub_dies,
                self._hub_is_islanded,
                self._hub_is_islanded,
                self._database_is_away,
                self._database_is_away,
                self._device_moves,
                self._device_moves,
                self._device_moves,
                self._hub_loses_its_devices,
            ]

    def plan(self) -> None:
        """Add all faults to the world's agenda."""
        span_s = self._world.scene.tempo.span_s
        for _ in range(self._dice.between(16, 34)):
            kind = self._dice.choice(self._kinds)
            at_s = self._dice.uniform(10.0, span_s)
            strike = partial(self._strike, kind)
            when = self._dice.choice(WHEN)
            if when == "during work":
                self._world.at(at_s, partial(self._world.during_work, strike))
            elif when == "at a moment":
                self._world.at(at_s, partial(self._at_a_moment, strike))
            else:
                self._world.at(at_s, strike)
        self._plan_half_answers()
        self._files_change()
        self._owners.plan()
        if self._world.scene.is_shared and self._world.nats.is_there:
            self._plan_for_bus()

    def end(self) -> None:
        """End all faults, and resume every halted process."""
        self._world.calm()
        self._people.let_go_on()

    def _plan_for_bus(self) -> None:
        """Add the faults of the bus, and requests over it; of their own dice, most of them during work."""
        kinds = (self._bus_is_cut, self._bus_is_cut, self._bus_stops, self._node_asks, self._node_asks)
        for _ in range(self._bus_dice.between(6, 16)):
            at_s = self._bus_dice.uniform(10.0, self._world.scene.tempo.span_s)
            strike = partial(self._strike, self._bus_dice.choice(kinds))
            if self._bus_dice.says(0.5):
                strike = partial(self._world.during_work, strike)
            self._world.at(at_s, strike)

    def _plan_half_answers(self) -> None:
        """Let devices with many changed files die with some of their calls answered; of their own dice."""
        for _ in range(self._answer_dice.between(2, 8)):
            at_s = self._answer_dice.uniform(10.0, self._world.scene.tempo.span_s)
            self._world.at(at_s, partial(self._strike, self._device_dies_answering))

    def _strike(self, kind: Callable[[], None]) -> None:
        self._world.say("fault", kind.__name__.strip("_").replace("_", " "))
        kind()

    def _at_a_moment(self, kind: Callable[[], None]) -> None:
        moment_s = self._world.next_moment_s() + self._dice.uniform(-0.5, 12.0)
        self._world.at(min(moment_s, self._world.scene.tempo.span_s), kind)

    # --- hubs ---

    def _machine(self) -> Machine:
        """Return a machine, preferably one that executes runs, and how long it stays down."""
        boots = {run.lease_boot_id for run in self._world.witness.facts.live.values()}
        busy = [one for one in self._world.machines if one.hub is not None and one.hub.boot_id in boots]
        machine = self._dice.choice(busy or self._world.machines)
        is_short = self._dice.says(0.8)
        machine.down_s = self._dice.uniform(0.2, 15.0) if is_short else self._dice.uniform(60.0, 5_000.0)
        return machine

    def _hub_dies(self) -> None:
        self._world.kill(self._machine())

    def _hub_dies_at_a_commit(self) -> None:
        hub = self._machine().live
        if hub is not None:
            hub.weather.dies_in = self._dice.between(1, 30)
            hub.weather.dies_before = self._dice.says(0.5)

    def _hub_dies_at_a_step(self) -> None:
        hub = self._machine().live
        if hub is not None:
            hub.process.strike_in(self._dice.between(1, 300), partial(self._world.kill, hub.machine))

    def _hub_stops(self) -> None:
        self._world.stop(self._machine())

    def _hub_is_halted(self) -> None:
        hub = self._machine().live
        if hub is not None:
            self._halt(hub)

    def _hub_is_halted_at_a_step(self) -> None:
        hub = self._machine().live
        if hub is not None:
            hub.process.strike_in(self._dice.between(1, 300), partial(self._halt, hub))

    def _hub_is_halted_before_a_write(self) -> None:
        hub = self._machine().live
        if hub is not None:
            hub.weather.before = (self._dice.choice(self._writes), partial(self._halt, hub))

    def _halt(self, hub: SimHub) -> None:
        if hub.process.is_halted or hub.process.is_killed:  # a step of its end may set this off
            return
        is_starved = self._dice.says(0.3)
        self._world.say(hub.process.name, "is starved" if is_starved else "is halted")
        self._world.halt(hub, with_children=not is_starved)
        self._world.after(self._dice.uniform(1.0, 4 * LEASE_S), lambda: self._world.resume(hub))

    def _database_is_away(self) -> None:
        hub = self._machine().live
        if hub is None:
            return
        self._world.say(hub.process.name, "cannot reach the database")
        hub.weather.is_cut_off = True
        self._world.after(self._dice.uniform(0.5, 4 * LEASE_S), lambda: self._world.reconnect(hub))

    def _hub_is_islanded(self) -> None:
        machine = self._machine()
        self._world.island(machine)
        self._world.after(self._dice.uniform(1.0, 4 * LEASE_S), lambda: self._world.rejoin(machine))

    # --- the bus ---

    def _bus_is_cut(self) -> None:
        name = self._bus_dice.choice(self._world.machines).name
        self._world.nats.cut(name)
        seconds = self._bus_dice.uniform(0.5, 4 * LEASE_S)
        self._world.after(seconds, partial(self._world.nats.rejoin, name))

    def _bus_stops(self) -> None:
        self._world.nats.stop()
        self._world.after(self._bus_dice.uniform(0.1, 2 * LEASE_S), self._world.nats.start)

    def _node_asks(self) -> None:
        machine, other = (self._bus_dice.choice(self._world.machines) for _ in range(2))
        if other.live is not None and other is not machine:
            self._requests += 1
            path, boot_id = f"/request-{self._requests}", other.live.boot_id
            self._world.ask(machine, f"request {path}", lambda hub: hub.ask(boot_id, path))

    # --- clocks ---

    def _clock_jumps(self) -> None:
        machine = self._dice.choice(self._world.machines)
        is_server = machine.server is not None and self._dice.says(0.5)
        clock = machine.server if is_server and machine.server is not None else machine.source
        by_s = self._dice.choice(STEPS_S)
        name = "server" if is_server else machine.name
        self._set_clock(name, clock, by_s)
        if self._dice.says(0.3):
            back = partial(self._set_clock, name, clock, -by_s)
            self._world.after(self._dice.uniform(1.0, 900.0), back)

    def _set_clock(self, name: str, clock: SimClock, by_s: float) -> None:
        self._world.say(name, f"has its clock set by {by_s} s")
        clock.jump(by_s)
        self._world.witness.around.clock_set()

    # --- older copies ---

    def _states_are_kept(self) -> None:
        self._world.keep_rows()
        for device in self._world.devices:
            self._stores.setdefault(device.id, []).append(device.keep_store())

    def _hub_is_restored(self) -> None:
        if self._world.can_be_restored:
            self._world.restore_rows(self._dice.choice(self._world.backups))

    def _hub_is_lost(self) -> None:
        """Replace the hub: its devices are paired again, and its agents are new."""
        if self._world.can_be_restored:
            self._world.restore_rows(self._world.backups[0])

    def _device_is_restored(self) -> None:
        device = self._device()
        if device.mark is not None and (copies := self._stores.get(device.id)):
            self._world.restore_device(device, self._dice.choice(copies))

    def _device_is_lost(self) -> None:
        device = self._device()
        if device.mark is not None:
            self._world.restore_device(device, None)

    # --- devices ---

    def _device(self) -> SimDevice:
        """Return a device, preferably one that executes a run."""
        live = self._world.witness.facts.live.values()
        working = {run.device_id for run in live if run.is_executing}
        busy = [device for device in self._world.devices if device.id in working]
        return self._dice.choice(busy or self._world.devices)

    def _device_dies(self) -> None:
        device = self._device()
        if self._dice.says(0.6):
            device.dies_in = self._dice.between(1, 6)
        else:
            device.crash()

    def _device_dies_answering(self) -> None:
        device = self._answer_dice.choice(self._world.devices)
        device.folder.change_many()
        device.dies_answering = True

    def _device_is_cut(self) -> None:
        device = self._device()
        if device.wire is not None:
            hub_after_s = self._dice.choice((0.0, 0.1, 3.0, 30.0))
            device.wire.cut(hub_after_s=hub_after_s, device_after_s=self._dice.choice((0.0, 0.2, 5.0)))

    def _device_moves(self) -> None:
        """Let a device leave its hub, which notices it late, if at all before another hub has the device."""
        device = self._device()
        if device.wire is not None:
            device.wire.cut(hub_after_s=self._dice.choice(LATE_S), device_after_s=0.0, is_read=True)

    def _hub_loses_its_devices(self) -> None:
        hub = self._machine().live
        for wire in [] if hub is None else hub.wires:
            wire.cut(hub_after_s=self._dice.choice(LATE_S), device_after_s=0.0)

    def _device_is_cut_at_a_frame(self) -> None:
        device = self._device()
        if device.wire is not None:
            device.wire.frames_left = self._dice.between(1, 40)

    def _device_is_mute(self) -> None:
        device = self._device()
        wire = device.wire
        if wire is not None:
            wire.is_mute = True
            seconds = self._dice.uniform(1.0, 45.0)
            self._world.after(seconds, lambda: wire.cut(hub_after_s=0.0, device_after_s=0.1))

    def _device_flaps(self) -> None:
        device = self._device()
        for _ in range(self._dice.between(3, 8)):
            self._world.after(self._dice.uniform(0.0, 60.0), device.crash)

    def _device_goes_away(self) -> None:
        device = self._device()
        device.disconnect(hub_after_s=self._dice.choice((0.0, 20.0)))
        longest_s = self._world.scene.tempo.span_s / 2
        away_s = (
            self._dice.uniform(1.0, 30.0) if self._dice.says(0.5) else self._dice.uniform(30.0, longest_s)
        )
        self._world.after(away_s, device.connect)

    def _files_change(self) -> None:
        """Change files. This is no fault, but otherwise runs would find nothing new."""
        for device in self._world.devices:
            if self._dice.says(0.7):
                device.folder.change()
        again_s = self._dice.uniform(0.2, 1.8) * self._world.scene.tempo.span_s / CHANGES
        self._world.after(again_s, self._files_change)

    # --- the model ---

    def _model_has_a_mood(self) -> None:
        self._world.model.mood = self._dice.choice(("rate_limit", "rate_limit", "billing", "away"))
        seconds = self._dice.uniform(1.0, 60.0) if self._dice.says(0.6) else self._dice.uniform(60.0, 3_000.0)
        self._world.after(seconds, self._model_is_fine)

    def _model_is_fine(self) -> None:
        self._world.model.mood = "fine"
