"""Table ``[[agents]]`` of hub.toml: sources, record types and schedule of each agent."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, model_validator

from hub.schedules.trigger import Trigger, trigger_of
from hub.settings.capability_settings import MOST, CapabilitySettings, check_versions
from hub.settings.model_settings import Usd
from hub.settings.reload_policy import REQUIRED, live
from hub.settings.schedule_settings import ScheduleSettings, SlotTable, TriggerTable
from hub.settings.values import Flag, Name, Table, TimeZone, refusal
from protocol.configs import BadConfig, check_key, text_of, type_of
from protocol.locks import BadLockName, lock_names
from protocol.requirements import BadRequirement, parse_requirement
from protocol.tables import TableName


def _dotted(extension: str) -> str:
    if not extension.startswith(".") or "/" in extension or len(extension) < 2:
        raise refusal("extension", "a file extension begins with a dot", hint='as in ".md"')
    return extension


ALL_CONFIG_BYTES: Final = 256 * 1024  # of all its values in the file
CONFIG_BYTES: Final = 64 * 1024  # of one value in the file; over the API, [limits] config_value_bytes applies
Path = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
Told = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]


def _reads_something(paths: tuple[str, ...] | None, told: ValidationInfo) -> tuple[str, ...]:
    if paths is None and told.data.get("connector") is None:
        raise refusal("paths", "missing", hint="write what it reads on its device, or the connector it reads")
    if paths is not None and not paths:
        raise refusal("paths", "may not be empty")
    return paths or ()


def _need(written: str) -> str:
    try:
        return str(parse_requirement(written))
    except BadRequirement as error:
        raise refusal("need", str(error)) from error


def _locks(written: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return lock_names(written)
    except BadLockName as error:
        raise refusal("lock", str(error)) from error


Word = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Need = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_need)]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=32_768)]
# The shared types and their subtypes: TYPE_NAMES of protocol.agent_types.
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


class AgentSettings(Table):
    """Settings of an agent."""

    name: Name = live(REQUIRED, "What people call it.")
    device: Name = live(REQUIRED, "The name of the device it works on.")
    user: Name = live("owner", "Whose the agent and its device are; who is named first is made.")
    file_extensions: tuple[Annotated[str, AfterValidator(_dotted)], ...] = live(
        (), 'Which files it reads, as in ".md"; none: every file.'
    )
    connector: Name | None = live(None, "One of [[connectors]], which it reads instead of files.")
    filter: Annotated[dict[str, Any], Field(max_length=64)] = live(
        {}, "What of its connector it reads; what can be said there is its provider's to tell."
    )
    paths: Annotated[
        tuple[Path, ...] | None, Field(validate_default=True), AfterValidator(_reads_something)
    ] = live(None, "What it reads on the device, inside what that shares.")
    push: Flag = live(False, "Read as soon as its connector tells of something new, too.")
    data_types: Annotated[tuple[TableName, ...], Field(min_length=1)] = live(
        REQUIRED, "What kinds of record it finds."
    )
    prompt: Prompt | None = live(
        None, "What the model is asked to find; by default what its template says. {{ name }} is a variable."
    )
    description: Told | None = live(None, "What it is for, for people.")
    type: WrittenType | None = live(
        None, 'What kind of colleague it is, as in "RESEARCHER"; by default as its template says, or CUSTOM.'
    )
    template: Name | None = live(None, "The template it is made from.")
    external_id: Word | None = live(None, "What another system calls it; no two agents share one.")
    instance_id: Word | None = live(None, "Which instance of a program stands behind it.")
    project_id: Word | None = live(None, "The project it works for.")
    needs: Annotated[tuple[Need, ...], Field(max_length=32)] = live(
        (), 'Capabilities without which none of its runs starts, as in "file.read >= 1.2".'
    )
    capabilities: Annotated[tuple[CapabilitySettings, ...], Field(max_length=MOST)] = live(
        (), "What it can do, in which versions, beside what its device can."
    )
    locks: Annotated[tuple[str, ...], AfterValidator(_locks)] = live(
        (), "Locks that each of its runs holds while it works."
    )
    schedule: ScheduleSettings | None = live(None, "When it runs by itself; without one, by hand.")
    slots: Annotated[tuple[SlotTable, ...], Field(max_length=64)] = live(
        (), "Its calendar: when its device is told to wake it."
    )
    config: Annotated[dict[str, Any], Field(max_length=256)] = live(
        {}, "What its device and its prompt know it by; texts, numbers, flags, lists and tables."
    )
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
    def _configs_can_be(self) -> Self:
        total = 0
        for key, value in self.config.items():
            try:
                text = text_of(check_key(key), type_of(value), value)
            except BadConfig as bad:
                raise refusal("config", bad.problem, key=f"config.{key}") from None
            if len(text.encode()) > CONFIG_BYTES:
                told = f"a value of at most {CONFIG_BYTES} bytes is expected"
                raise refusal("config", told, key=f"config.{key}")
            total += len(key) + len(text.encode())
        if total > ALL_CONFIG_BYTES:
            told = f"all configs of an agent together have at most {ALL_CONFIG_BYTES} bytes, these {total}"
            raise refusal("config", told, key="config", hint="a device is told them in one message")
        return self

    @model_validator(mode="after")
    def _one_version_of_each_is_enabled(self) -> Self:
        check_versions(self.capabilities)
        return self

    @model_validator(mode="after")
    def _has_a_prompt(self) -> Self:
        if self.prompt is None and self.template is None:
            hint = "write what the model is asked to find, or name a template that does"
            raise refusal("prompt", "missing", key="prompt", hint=hint)
        return self

    @model_validator(mode="after")
    def _reads_one_thing(self) -> Self:
        if self.connector is not None:
            for key in ("paths", "file_extensions"):
                if getattr(self, key):
                    told = f"it reads the connector {self.connector!r} instead of files"
                    raise refusal("connector", told, key=key, hint=f"leave out {key}, or connector")
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
                    "the runs of two fires could change places",
                    key=f"{key}.jitter_s",
                    hint=f"less than half of {timedelta(seconds=period_s)}, its shortest time between two",
                )
        return self

    @model_validator(mode="after")
    def _labels_tell_slots_apart(self) -> Self:
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
