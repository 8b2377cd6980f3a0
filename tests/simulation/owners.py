"""Simulated owners, who give verdicts on items at a hub, undo them, and decide at the device, too."""

from functools import partial
from typing import Any, Final

from hub.api.nouns.items import NewVerdictsView, NewVerdictView
from storage.runs.item_verdicts import GivenVerdict
from tests.simulation.device import SimDevice
from tests.simulation.hub import SimHub
from tests.simulation.people import ACTOR
from tests.simulation.world import OWNER, World

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
