"""``[[agents]]`` of hub.toml: what to read where, what to find in it, and when."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from hub.ops.effect import REQUIRED, live
from hub.ops.model_settings import Usd
from hub.ops.schedule_settings import ScheduleSettings, ScheduleTable
from hub.ops.values import Flag, Name, Table, TimeZone, refusal
from hub.schedules.trigger import Trigger, trigger_of
from protocol.tables import TableName


def _dotted(extension: str) -> str:
    if not extension.startswith(".") or "/" in extension or len(extension) < 2:
        raise refusal("extension", "a file extension begins with a dot", hint='as in ".md"')
    return extension


Path = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]


class AgentSettings(Table):
    """One agent."""

    name: Name = live(REQUIRED, "What people call it.")
    device: Name = live(REQUIRED, "The name of the device it works on.")
    user: Name = live("owner", "Whose the agent and its device are; who is named first is made.")
    paths: Annotated[tuple[Path, ...], Field(min_length=1)] = live(
        REQUIRED, "What it reads on the device, inside what that shares."
    )
    file_extensions: tuple[Annotated[str, AfterValidator(_dotted)], ...] = live(
        (), 'Which files it reads, as in ".md"; none: every file.'
    )
    data_types: Annotated[tuple[TableName, ...], Field(min_length=1)] = live(
        REQUIRED, "What kinds of record it finds."
    )
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=32_768)] = live(
        REQUIRED, "What the model is asked to find."
    )
    schedule: ScheduleSettings | None = live(None, "When it runs by itself; without one, by hand.")
    timezone: TimeZone = live("UTC", 'Where its schedule\'s time of day is meant, as in "Europe/Berlin".')
    priority: Annotated[int, Field(strict=True, ge=-1_000, le=1_000)] = live(
        0, "The greater goes first where slots are few."
    )
    max_concurrent_runs: Annotated[int, Field(strict=True, ge=1, le=64)] = live(1, "Runs of it at once.")
    allow_cloud: Flag = live(True, "Models that are not local may read its documents.")
    redact: tuple[Annotated[str, StringConstraints(min_length=1, max_length=40)], ...] = live(
        (), "What no model sees: email, phone, iban, card, ip, address, or names of [redaction]."
    )
    batch: Flag = live(False, "Its answers may come hours later, at half the price.")
    budget_usd: Usd | None = live(None, "US dollars of its runs in a day, which ends in its time zone.")

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
