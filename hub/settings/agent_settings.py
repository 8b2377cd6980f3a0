"""Tables of hub.toml about agents and templates: schedules, capabilities, needs, and warnings."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from hub.base.printable import spelled
from hub.base.toml.values import (
    REQUIRED,
    WEEK_S,
    YEAR_S,
    Delay,
    Flag,
    Instant,
    Name,
    Seconds,
    SettingsTable,
    TimeZone,
    Usd,
    accepted,
    live,
    refusal,
    shaped,
)
from hub.schedules.cron import BadSchedule, parse_cron
from hub.schedules.cron_comparison import check_reading
from hub.schedules.trigger import Trigger, trigger_of
from protocol.configs import BadConfig, check_key, text_of, type_of
from protocol.coordination import lock_names
from protocol.requirements import CAPABILITY, parse_requirement, parse_version

# The top of the hour is the most common time; without jitter, all runs would start at once.
TOP_OF_HOUR_JITTER_S = 120.0
CRON = r"^\s*(@[a-z]+|\S+(\s+\S+){4})\s*$"


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


class TriggerTable(SettingsTable):
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
    def kind(self) -> Literal["cron", "every", "at"]:
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


# Of one config in the file; over the API, [limits] capability_config_bytes applies.


def _capability_name(written: str) -> str:
    if CAPABILITY.fullmatch(written) is None:
        message = "1 to 255 letters, digits and _ . : - are expected"
        raise refusal("capability", message, hint='as in "file.read"')
    return written


def _checked_config(config: dict[str, Any]) -> dict[str, Any]:
    from hub.agents.json_objects import (
        validated_object,  # imported here: it imports the database, a device has none
    )

    return validated_object("config", config, most=16 * 1024, limit="capability_config_bytes")


class CapabilitySettings(SettingsTable):
    """Capability of an agent, in one version."""

    name: Annotated[str, AfterValidator(_capability_name)] = live(REQUIRED, 'Name, as in "file.read".')
    version: Annotated[str, accepted(lambda text: str(parse_version(text)), "version")] = live(
        "1.0.0", 'Semantic version, as in "2.0.0-beta.1".'
    )
    enabled: Flag | None = live(
        None, "Enabled; by default only the newest version of a name, and no pre-release."
    )
    config: Annotated[dict[str, Any], accepted(_checked_config, "capability")] = live(
        {}, "Configuration for its program."
    )
    description: Annotated[str, Field(max_length=10_000)] | None = live(None, "Description, for people.")


def check_versions(written: Sequence[CapabilitySettings]) -> None:
    """Check that each version of a name occurs once, and that at most one version is enabled.

    Raises:
        PydanticCustomError: a version is repeated, or several versions are enabled.
    """
    for place, capability in enumerate(written):
        for other in written[:place]:
            if other.name != capability.name:
                continue
            if other.version == capability.version:
                message = f"{capability.name} {capability.version} is listed twice"
                raise refusal("capability", message, key=f"capabilities.{place}.version")
            if capability.enabled and other.enabled:
                message = f"{capability.name} is enabled in {other.version} already"
                hint = "of each name one version is enabled"
                raise refusal("capability", message, key=f"capabilities.{place}.enabled", hint=hint)


def _dotted(extension: str) -> str:
    if not extension.startswith(".") or "/" in extension or len(extension) < 2:
        raise refusal("extension", "a file extension begins with a dot", hint='as in ".md"')
    return extension


ALL_CONFIG_BYTES: Final = 256 * 1024  # of all its values in the file
CONFIG_BYTES: Final = 64 * 1024  # of one value in the file; over the API, [limits] config_value_bytes applies


def _text(written: str) -> str:
    # PostgreSQL stores no such character.
    if "\0" in written:
        raise refusal("text", "a text has no character U+0000")
    return written


Path = Annotated[str, StringConstraints(min_length=1, max_length=4_096), AfterValidator(_text)]
Description = Annotated[str, StringConstraints(min_length=1, max_length=10_000), AfterValidator(_text)]


def _title(written: str) -> str:
    if not written.strip() or spelled(written) != written:
        raise refusal("title", "a line of visible characters is expected", hint='as in "Reader of notes"')
    return written


Title = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_title)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_text)]
# In another system.
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_text)]
Need = Annotated[
    str,
    StringConstraints(min_length=1, max_length=512),
    accepted(lambda text: str(parse_requirement(text)), "need"),
]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=32_768), AfterValidator(_text)]
# The shared types and their subtypes: TYPE_NAMES of protocol.agent_status.
WrittenType = Literal[
    "COORDINATOR",
    "ASSISTANT",
    "RESEARCHER",
    "DEVELOPER",
    "DESIGNER",
    "SPECIALIST",
    "AUDITOR",
    "CUSTOM",
    "PLANNER",
    "REVIEWER",
    "MANAGER",
    "TOOL_CURATOR",
    "DEPLOYMENT",
]


# Tables: tasks, notes, timelines, projects, taskComments, and those of [[tables]].
DataType = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    shaped("^[a-z][A-Za-z0-9]{0,39}$", "tasks", "timelines"),
]


class AgentSettings(SettingsTable):
    """Settings of an agent. Only runs need a device, something to read, kinds of records and a prompt."""

    name: Name = live(REQUIRED, "Name.")
    title: Title | None = live(None, "Name for people, with blanks; by default the name.")
    device: Name | None = live(
        None,
        "Name of the device that the agent works on; with a connector, by default the first connected device"
        " of its user.",
    )
    user: Name = live("owner", "Owner of the agent and its device; a new name creates a user.")
    file_extensions: tuple[Annotated[str, AfterValidator(_dotted), shaped(r"^\.[^/]+$", ".md")], ...] = live(
        (), 'Extensions of the files to read, as in ".md"; by default all files.'
    )
    connector: Name | None = live(None, "One of [[connectors]], to read instead of files.")
    filter: Annotated[dict[str, Any], Field(max_length=64)] = live(
        {}, "Filter of the connector's messages; 'hub connectors ls' lists the keys of its provider."
    )
    paths: Annotated[tuple[Path, ...], Field(min_length=1)] | None = live(
        None, "Paths on the device to read, within its shared folders."
    )
    push: Flag = live(False, "Also start a run when the connector reports a new message.")
    data_types: Annotated[tuple[DataType, ...], Field(min_length=1, max_length=16)] | None = live(
        None, "Kinds of records to extract: tables."
    )
    prompt: Prompt | None = live(
        None, "What the model has to extract; by default the template's prompt. {{ name }} is a variable."
    )
    description: Description | None = live(None, "Purpose, for people.")
    type: WrittenType | None = live(
        None, 'Type of agent, as in "RESEARCHER"; by default the template\'s type, or CUSTOM.'
    )
    template: Name | None = live(None, "Template of the agent.")
    external_id: Identifier | None = live(None, "Unique id of the agent in another system.")
    instance_id: Identifier | None = live(None, "Id of the program instance that the agent represents.")
    project_id: Word | None = live(None, "Project of the agent.")
    needs: Annotated[tuple[Need, ...], Field(max_length=32)] = live(
        (), 'Capabilities that a run requires to start, as in "file.read >= 1.2".'
    )
    capabilities: Annotated[tuple[CapabilitySettings, ...], Field(max_length=256)] = live(
        (), "Capabilities of the agent, in addition to those of its device."
    )
    locks: Annotated[tuple[str, ...], accepted(lock_names, "lock")] = live(
        (), "Locks that each run of the agent holds."
    )
    schedule: ScheduleSettings | None = live(
        None, "Schedule of its runs; without one, runs are started by hand."
    )
    slots: Annotated[tuple[SlotTable, ...], Field(max_length=64)] = live(
        (), "Calendar: times at which its device is asked to wake the agent."
    )
    config: Annotated[dict[str, Any], Field(max_length=256)] = live(
        {}, "Configuration for its device and its prompt: texts, numbers, flags, lists and tables."
    )
    timezone: TimeZone = live("UTC", 'Time zone of its schedule, as in "Europe/Berlin".')
    priority: Annotated[int, Field(strict=True, ge=-1_000, le=1_000)] = live(
        0, "Runs of greater priority start first."
    )
    max_concurrent_runs: Annotated[int, Field(strict=True, ge=1, le=64)] = live(
        1, "Concurrent runs of the agent."
    )
    allow_cloud: Flag = live(True, "Allow models that are not local to read its documents.")
    outside: Literal["mark", "separate", "drop"] = live(
        "mark", "Items of authors that are not known and verified: marked, also listed apart, or left out."
    )
    redact: tuple[Annotated[str, StringConstraints(min_length=1, max_length=40)], ...] = live(
        (), "Data hidden from models: email, phone, iban, card, ip, address, or names of [redaction]."
    )
    batch: Flag = live(False, "Use the batch interface: answers up to hours later, at half the price.")
    learn: Flag = live(False, "Let your verdicts on its items decide which similar ones it suggests later.")
    budget_usd: Usd | None = live(None, "Spending limit per day in its time zone, in US dollars.")

    @model_validator(mode="after")
    def _configs_can_be(self) -> Self:
        total = 0
        for key, value in self.config.items():
            try:
                text = text_of(check_key(key), type_of(value), value)
            except BadConfig as bad:
                raise refusal("config", bad.problem, key=f"config.{key}") from None
            if len(text.encode()) > CONFIG_BYTES:
                message = f"a value of at most {CONFIG_BYTES} bytes is expected"
                raise refusal("config", message, key=f"config.{key}")
            total += len(key) + len(text.encode())
        if total > ALL_CONFIG_BYTES:
            message = f"all configs of an agent together have at most {ALL_CONFIG_BYTES} bytes, these {total}"
            raise refusal("config", message, key="config", hint="a device receives them in one message")
        return self

    @model_validator(mode="after")
    def _one_version_of_each_is_enabled(self) -> Self:
        check_versions(self.capabilities)
        return self

    @model_validator(mode="after")
    def _reads_one_thing(self) -> Self:
        if self.connector is not None:
            for key in ("paths", "file_extensions"):
                if getattr(self, key):
                    message = f"it reads the connector {self.connector!r} instead of files"
                    raise refusal("connector", message, key=key, hint=f"leave out {key}, or connector")
        else:
            for key in ("filter", "push"):
                if getattr(self, key):
                    raise refusal("connector", "it reads no connector", key=key, hint="write connector")
        return self

    @model_validator(mode="after")
    def _jitter_leaves_fires_apart(self) -> Self:
        slots = [(f"slots.{place}", slot) for place, slot in enumerate(self.slots)]
        for key, table in [*slots, *([] if self.schedule is None else [("schedule", self.schedule)])]:
            if not table.jitter or table.kind == "at":
                continue
            period_s = trigger_in(table, self.timezone).period_ms() / 1_000
            if 2 * table.jitter >= period_s:
                raise refusal(
                    "jitter",
                    "the runs of two fires could change their order",
                    key=f"{key}.jitter_s",
                    hint=f"less than half of {timedelta(seconds=period_s)}, its shortest time between two",
                )
        return self

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> Self:
        labels = [slot.label for slot in self.slots]
        for place, label in enumerate(labels):
            if label in labels[:place]:
                hint = "a slot is known by its label"
                message = f"another slot is called {label!r}"
                raise refusal("slot", message, key=f"slots.{place}.label", hint=hint)
        return self


def trigger_in(schedule: TriggerTable, timezone: str) -> Trigger:
    """Return the trigger of *schedule*; intervals are counted from the epoch."""
    return trigger_of(
        kind=schedule.kind,
        expr=schedule.cron,
        every_ms=None if schedule.every_s is None else round(schedule.every_s * 1_000),
        at_ms=None if schedule.at is None else round(schedule.at.timestamp() * 1_000),
        tz=timezone,
        anchor_ms=0,
    )


def _as_document(value: object) -> object:
    """Convert the JSON text of an object to a table; schemas often exist as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise refusal("json", "is no JSON", hint="a table, or the text of a JSON object") from error
    if not isinstance(value, dict):
        raise refusal("json", "a table is expected", hint="or the text of a JSON object")
    return value


Document = Annotated[
    dict[str, JsonValue], BeforeValidator(_as_document, json_schema_input_type=str | dict[str, Any])
]


class TemplateTable(SettingsTable):
    """Settings of a template without its name."""

    description: Description | None = live(None, "Purpose, for people.")
    type: WrittenType = live("CUSTOM", 'Type of its agents, as in "RESEARCHER".')
    configuration_schema: Document = live({}, "Schema of an agent's configuration: JSON Schema 2020-12.")
    default_configuration: Document = live({}, "Default values of an agent's configuration.")
    prompt: Prompt | None = live(None, "Prompt of agents without their own. {{ name }} is a variable.")


class TemplateSettings(TemplateTable):
    """Settings of a template."""

    name: Annotated[Name, StringConstraints(max_length=50)] = live(REQUIRED, "Name.")
