"""Initial state of a world: its devices, hubs, agents and schedules."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from protocol.tables import TableName
from storage.agents.declared_agents import DeclaredAgent
from storage.schedules.schedule_rows import Coalesce, DeclaredSchedule, Overlap
from tests.simulation.dice import Dice

HOUR_S: Final = 3_600.0
DAY_S: Final = 24 * HOUR_S

# Around nights on which clocks are changed somewhere, and once in the quiet of summer.
EPOCHS: Final = tuple(
    datetime(2026, month, day, 6, 0, tzinfo=UTC)
    for month, day in ((3, 6), (3, 27), (6, 1), (10, 23), (10, 30))
)
OVERLAP: Final[tuple[Overlap, ...]] = ("skip", "skip", "queue_one", "queue_all", "cancel_running", "allow")
COALESCE: Final[tuple[Coalesce, ...]] = ("latest", "latest", "earliest", "all")
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


@dataclass(frozen=True, slots=True)
class Tempo:
    """Frequency of events, which determines how long a world runs."""

    span_s: float
    crons: tuple[str, ...]
    every_s: tuple[int, ...]


TEMPI: Final = (
    Tempo(1.2 * HOUR_S, ("*/10 * * * *", "5-59/15 * * * *", "*/20 * * * *"), (700, 1_300)),
    Tempo(0.5 * DAY_S, ("7 * * * *", "0 */2 * * *", "30 8-20 * * *"), (5_000, 9_000)),
    Tempo(3.0 * DAY_S, ("30 7 * * *", "0 2 * * *", "15 9,17 * * 1-5", "0 */6 * * *"), (40_000,)),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of hub.toml."""

    agents: tuple[DeclaredAgent, ...]
    per_device: int
    total: int


@dataclass(frozen=True, slots=True)
class Scene:
    """World before its first event."""

    seed: int
    epoch: datetime
    tempo: Tempo
    machines: tuple[str, ...]
    devices: tuple[str, ...]
    settings: Settings

    @property
    def is_shared(self) -> bool:
        """Return True if several hubs use the database."""
        return len(self.machines) > 1


def draw_scene(seed: int, *, hubs: int | None = None) -> Scene:
    """Return the scene of a seed.

    Args:
        hubs: number of hubs, at most eight, instead of a random number from one to two.
    """
    dice = Dice(f"scene {seed}")
    tempo = dice.choice(TEMPI)
    count = hubs or (2 if dice.says(0.35) else 1)
    devices = tuple(f"device-{number}" for number in range(dice.between(2, 4)))
    agents = tuple(
        _draw_agent(f"agent-{number}", dice.choice(devices), tempo, dice)
        for number in range(dice.between(2, 4))
    )
    calendar = Dice(f"calendar {seed}")  # of its own, so that earlier worlds stay the same
    agents = tuple(
        msgspec.structs.replace(agent, slots=tuple(_draw_slots(tempo, calendar))) for agent in agents
    )
    connects = Dice(f"first connects {seed}")
    agents = tuple(_with_first_connect(agent) if connects.says(0.5) else agent for agent in agents)
    return Scene(
        seed=seed,
        epoch=dice.choice(EPOCHS),
        tempo=tempo,
        machines=tuple(f"hub-{'abcdefgh'[number]}" for number in range(count)),
        devices=devices,
        settings=Settings(agents=agents, per_device=2 if dice.says(0.2) else 1, total=dice.between(2, 4)),
    )


def _draw_agent(name: str, device: str, tempo: Tempo, dice: Dice) -> DeclaredAgent:
    return DeclaredAgent(
        name=name,
        device_name=device,
        paths=("notes",),
        data_types=(TableName.TASKS,),
        prompt="Look for doors.",
        schedule=None if dice.says(0.1) else draw_schedule(tempo, dice),
        priority=dice.below(2),
        max_concurrent_runs=2 if dice.says(0.2) else 1,
    )


def _with_first_connect(agent: DeclaredAgent) -> DeclaredAgent:
    schedule = agent.schedule and msgspec.structs.replace(agent.schedule, on_first_connect=True)
    return msgspec.structs.replace(agent, schedule=schedule)


def draw_schedule(tempo: Tempo, dice: Dice) -> DeclaredSchedule:
    """Return a random schedule that suits the tempo."""
    coalesce: Coalesce = dice.choice(COALESCE)
    window_ms = (
        None if coalesce != "all" and dice.says(0.6) else int(dice.uniform(0.0, 0.5) * tempo.span_s) * 1_000
    )
    schedule = DeclaredSchedule(
        kind="cron",
        expr=dice.choice(tempo.crons),
        tz=dice.choice(ZONES),
        overlap=dice.choice(OVERLAP),
        coalesce=coalesce,
        catchup_window_ms=window_ms,
        max_catchup=dice.between(1, 4),
        start_deadline_ms=int(tempo.span_s * 100) if dice.says(0.2) else None,
        jitter_ms=60_000 if dice.says(0.2) else 0,
        pause_after_failures=dice.choice((0, 2, 5)),
    )
    if dice.says(0.25):
        every_ms = dice.choice(tempo.every_s) * 1_000
        return msgspec.structs.replace(schedule, kind="every", expr=None, every_ms=every_ms)
    return schedule


def _draw_slots(tempo: Tempo, dice: Dice) -> Iterator[DeclaredSchedule]:
    """Return the slots of an agent's calendar: none, one or two."""
    for number in range(dice.choice((0, 1, 1, 2))):
        duration_ms = int(dice.uniform(0.002, 0.1) * tempo.span_s) * 1_000
        yield DeclaredSchedule(
            kind="cron",
            action="wake",
            label=f"slot {number}",
            duration_ms=duration_ms,
            expr=dice.choice(tempo.crons),
            tz=dice.choice(ZONES),
            overlap=dice.choice(OVERLAP),
            catchup_window_ms=duration_ms,
        )


def changed_agents(settings: Settings, tempo: Tempo, dice: Dice) -> Settings:
    """Return the agents after an edit of the file: another schedule or prompt, or one agent less."""
    agents = list(settings.agents)
    number = dice.below(len(agents))
    agent = agents[number]
    match dice.below(6):
        case 0:
            agents[number] = msgspec.structs.replace(agent, prompt=f"{agent.prompt} All of them.")
        case 1:
            agents[number] = msgspec.structs.replace(agent, schedule=None)
        case 2 if len(agents) > 1:
            del agents[number]
        case _:
            agents[number] = msgspec.structs.replace(agent, schedule=draw_schedule(tempo, dice))
    return Settings(agents=tuple(agents), per_device=settings.per_device, total=settings.total)
