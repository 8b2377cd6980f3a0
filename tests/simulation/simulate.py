"""Simulation of one seed, from the first boot to the final check of the rows."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from protocol.errors import HubError
from storage.kernel.database import StorageError
from tests.simulation.dice import Dice
from tests.simulation.faults import Faults
from tests.simulation.laws import Violation
from tests.simulation.loop import Stuck, run
from tests.simulation.scene import DAY_S, HOUR_S, draw_scene
from tests.simulation.world import Ways, World, told

QUIET_S = HOUR_S
PATIENCE_S = DAY_S  # the longest pauses of agents and runs end within it
CHECK_EVERY_S = 300.0

# Events that tell of a fault in the hub itself.
NOBODY_EXPECTS = frozenset(
    {
        "run.broke",
        "unit.broke",
        "fire.refused",
        "schedule.broken",
        "router.handler_failed",
        "roster.listener_failed",
    }
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a seed."""

    seed: int
    violations: list[Violation]
    totals: dict[str, float]


def simulate(seed: int, *, say: Say | None = None, ways: Ways | None = None) -> Report:
    """Simulate the world of *seed*.

    Args:
        say: called with each line of the trace.
        ways: replacements for the hubs' database and links; see ``Ways``.
    """
    dice = Dice(f"loop {seed}")
    ways = ways or Ways()
    gc.disable()  # the time of a collection does not depend on the seed
    try:
        return run(lambda: _simulate(seed, say, ways), dice)
    finally:
        gc.enable()


async def _simulate(seed: int, say: Say | None, ways: Ways) -> Report:
    scene = draw_scene(seed, hubs=ways.hubs)
    world = World(scene, say=say, ways=ways)
    faults = Faults(world)
    with _listening(world):
        async with world.opened():
            faults.plan()
            await world.live(scene.tempo.span_s)
            faults.end()
            await world.live(world.time.now_s + QUIET_S)
            given_up_s = world.time.now_s + PATIENCE_S
            witness = world.witness
            while witness.left_over() and not witness.has_seen_enough and world.time.now_s < given_up_s:
                await world.live(world.time.now_s + CHECK_EVERY_S)
            if not witness.has_seen_enough:
                for left in witness.left_over():
                    witness.findings.add("I11", f"a day of quiet later, run {left.id} is left: {left}")
                witness.at_the_end()
    return Report(seed, world.witness.violations, world.totals())


class _Listener(logging.Handler):
    """Log handler that adds the hub's log to the trace and reports unexpected errors."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        fields = " ".join(f"{name}={value}" for name, value in getattr(record, "_hub_fields", {}).items())
        error = record.exc_info[1] if record.exc_info else None
        because = "" if error is None else f" ({told(error)})"
        self._world.say("log", f"{record.levelname.lower()} {record.getMessage()} {fields}{because}")
        is_bug = record.getMessage() in NOBODY_EXPECTS and not isinstance(error, StorageError)
        if is_bug or (error is not None and not isinstance(error, HubError)):
            self._world.witness.findings.add("hub", f"{record.getMessage()} {fields}{because}")


@contextmanager
def _listening(world: World) -> Iterator[None]:
    listener = _Listener(world)
    loggers = [logging.getLogger(name) for name in ("hub", "asyncio")]  # which tells of broken callbacks
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(listener)
        logger.propagate = False
        logger.setLevel(logging.ERROR)
    if world.is_traced:
        loggers[0].setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, (level, propagates) in zip(loggers, before, strict=True):
            logger.removeHandler(listener)
            logger.propagate = propagates
            logger.setLevel(level)


__all__ = ["Report", "Stuck", "simulate"]
