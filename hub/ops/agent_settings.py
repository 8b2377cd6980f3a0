"""``[[agents]]`` of hub.toml: what to read where, what to find in it, and when."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from hub.ops.schedule_settings import ScheduleSettings, ScheduleTable
from hub.ops.values import Name, Table, TimeZone, refusal
from hub.schedules.trigger import Trigger, trigger_of
from protocol.tables import TableName


def _dotted(extension: str) -> str:
    if not extension.startswith(".") or "/" in extension or len(extension) < 2:
        raise refusal("extension", "a file extension begins with a dot", hint='as in ".md"')
    return extension


class AgentSettings(Table):
    """One agent. *priority*: the greater goes first where slots are few."""

    name: Name
    device: Name
    paths: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=4096)], ...], Field(min_length=1)
    ]
    file_extensions: tuple[Annotated[str, AfterValidator(_dotted)], ...] = ()  # none: every file
    data_types: Annotated[tuple[TableName, ...], Field(min_length=1)]
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=32_768)]
    schedule: ScheduleSettings | None = None
    timezone: TimeZone = "UTC"
    priority: Annotated[int, Field(strict=True, ge=-1_000, le=1_000)] = 0
    max_concurrent_runs: Annotated[int, Field(strict=True, ge=1, le=64)] = 1

    @model_validator(mode="after")
    def _jitter_leaves_fires_apart(self) -> Self:
        schedule = self.schedule
        if schedule is None or not schedule.jitter or schedule.kind == "at":
            return self
        period_s = trigger_in(schedule, self.timezone).period_ms() / 1_000
        if 2 * schedule.jitter >= period_s:
            raise refusal(
                "jitter",
                "the runs of two fires could change places",
                key="schedule.jitter_s",
                hint=f"less than half of {timedelta(seconds=period_s)}, its shortest time between two",
            )
        return self


def trigger_in(schedule: ScheduleTable, timezone: str) -> Trigger:
    """What says when *schedule* fires; an interval is counted from the epoch."""
    return trigger_of(
        kind=schedule.kind,
        expr=schedule.cron,
        every_ms=None if schedule.every_s is None else round(schedule.every_s * 1_000),
        at_ms=None if schedule.at is None else round(schedule.at.timestamp() * 1_000),
        tz=timezone,
        anchor_ms=0,
    )
