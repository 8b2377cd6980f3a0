"""Keys ``schedule`` and ``slots`` of an agent in hub.toml: when it runs, and when it is woken."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from hub.schedules.cron import BadSchedule, parse_cron
from hub.schedules.second_reading import check_reading
from hub.settings.values import (
    REQUIRED,
    WEEK_S,
    YEAR_S,
    Delay,
    Flag,
    Instant,
    Seconds,
    Table,
    live,
    refusal,
    shaped,
)

# The top of the hour is the most common time; without jitter, all runs would start at once.
TOP_OF_HOUR_JITTER_S = 120.0
CRON = r"^\s*(@[a-z]+|\S+(\s+\S+){4})\s*$"
Kind = Literal["cron", "every", "at"]


def _cron(text: str) -> str:
    try:
        check_reading(parse_cron(text))
    except BadSchedule as error:
        raise refusal("schedule", error.message, hint=error.hint) from error
    return text


# Five fields, or a name such as @daily.
Cron = Annotated[str, AfterValidator(_cron), shaped(CRON, "0 7 * * 1-5", "@hourly")]


def _as_table(value: object) -> object:
    """Convert the short form, ``schedule = "0 9 * * 1-5"``, to its table."""
    if isinstance(value, str):
        return {"cron": value}
    if not isinstance(value, dict):
        hint = 'as in "0 9 * * 1-5" or { every_s = 900 }'
        raise refusal("schedule", "a cron expression or a table is expected", hint=hint)
    return value


class TriggerTable(Table):
    """Trigger: either *cron*, *every_s* or *at*, and how its fires are handled."""

    cron: Cron | None = live(None, 'minute hour day month weekday, as in "0 9 * * 1-5".')
    every_s: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=5, le=YEAR_S)] | None = live(
        None, "Seconds between fires."
    )
    at: Instant | None = live(None, "Time of the only fire.")
    overlap: Literal["skip", "queue_one", "queue_all", "cancel_running", "allow"] = live(
        "skip", "What a fire does while the previous run has not ended."
    )
    catch_up: Literal["latest", "earliest", "all", "none"] = live(
        "latest", "Missed fires that are caught up."
    )
    catch_up_window_s: Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=YEAR_S)] | None = (
        live(None, "Maximum age of a missed fire that is caught up; by default any age.")
    )
    max_catch_up: Annotated[int, Field(strict=True, ge=1, le=1_000)] = live(
        10, 'Maximum number of runs with catch_up = "all".'
    )
    jitter_s: Delay | None = live(
        None, "Random delay of each run, up to this; by default 120 at the top of an hour, else 0."
    )
    exact: Flag = live(False, "No default jitter.")

    @model_validator(mode="after")
    def _fires_in_one_way(self) -> Self:
        given = [key for key in ("cron", "every_s", "at") if getattr(self, key) is not None]
        if len(given) > 1:
            raise refusal("schedule", f"there is {given[0]} already", key=given[1], hint="keep one of them")
        if not given:
            raise refusal("schedule", "when it fires is missing", hint="give one of cron, every_s and at")
        return self

    @model_validator(mode="after")
    def _catches_up_what_it_can(self) -> Self:
        window = self.catch_up_window_s
        if self.catch_up == "all" and window is None:
            hint = "give catch_up_window_s too"
            raise refusal("schedule", "how old a fire may be is missing", key="catch_up", hint=hint)
        if self.catch_up == "none" and window is not None:
            hint = 'leave it out, or write catch_up = "latest"'
            raise refusal("schedule", "nothing is caught up", key="catch_up_window_s", hint=hint)
        return self

    @model_validator(mode="after")
    def _is_exact_or_has_jitter(self) -> Self:
        if self.exact and self.jitter_s:
            raise refusal(
                "schedule", "exact and jitter_s exclude each other", key="exact", hint="keep one of them"
            )
        return self

    def warnings(self, now: datetime) -> Iterator[tuple[str, str, str]]:
        """Yield key, message and hint of settings that are probably unintended, as of *now*."""
        if self.cron is not None and (warning := parse_cron(self.cron).warning):
            yield "cron", warning, ""
        if self.at is not None and self.at <= now:
            yield "at", "is in the past and will not fire", ""
        if self.catch_up == "all" and self.overlap not in ("queue_all", "allow"):
            message = f'with overlap = "{self.overlap}" one run replaces all missed fires'
            yield "catch_up", message, 'write overlap = "queue_all" too, for a run for each fire'

    @property
    def kind(self) -> Kind:
        """Kind of the trigger."""
        if self.cron is not None:
            return "cron"
        return "every" if self.every_s is not None else "at"

    @property
    def jitter(self) -> float:
        """Seconds over which its runs are spread; by default only at the top of the hour."""
        if self.jitter_s is not None:
            return self.jitter_s
        return TOP_OF_HOUR_JITTER_S if not self.exact and _is_top_of_hour(self.cron or "") else 0.0


class ScheduleTable(TriggerTable):
    """Schedule of an agent's runs."""

    start_deadline_s: Seconds | None = live(
        None, "A run that has not started this long after its fire is cancelled."
    )
    run_timeout_s: Seconds | None = live(None, "Time limit of a run; by default run_wall_s of [limits].")
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = live(
        5, "Maximum number of attempts of a run."
    )
    pause_after_failures: Annotated[int, Field(strict=True, ge=0, le=1_000)] = live(
        5, "Consecutive failures after which the schedule pauses; 0: never."
    )
    on_first_connect: Flag = live(
        False, "Also start a run when the device first connects, if the agent has never run."
    )


class SlotTable(TriggerTable):
    """Slot of an agent's calendar: when its device is asked to wake it, and when the slot ends."""

    label: Annotated[str, StringConstraints(min_length=1, max_length=255)] = live(
        REQUIRED, "Unique label of the slot among the agent's slots."
    )
    duration_s: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=10, le=WEEK_S)] = live(
        REQUIRED, "Length of the slot; an agent that does not answer before its end is not woken."
    )

    @model_validator(mode="after")
    def _is_caught_up_within_itself(self) -> Self:
        window = self.catch_up_window_s
        if window is not None and window > self.duration_s:
            hint = "leave it out: a slot is caught up until it ends"
            raise refusal("slot", "the slot is over by then", key="catch_up_window_s", hint=hint)
        return self

    @property
    def jitter(self) -> float:
        """Seconds over which its wakes are spread; by default 0."""
        return self.jitter_s or 0.0


ScheduleSettings = Annotated[
    ScheduleTable, BeforeValidator(_as_table, json_schema_input_type=Cron | ScheduleTable)
]


def _is_top_of_hour(cron: str) -> bool:
    """Return True if a cron expression fires at minute 0 of many hours, like most others."""
    fields = cron.split()
    return cron == "@hourly" or (len(fields) == 5 and fields[0] == "0" and fields[1].startswith("*"))
