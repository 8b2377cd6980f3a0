"""Tables ``[[agents]]``, ``[[templates]]`` and ``[[connectors]]`` of hub.toml: agents and what they read."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from semver import Version

from hub.agents.documents import BadDocument, DocumentTooLarge, document
from hub.schedules.trigger import Trigger, trigger_of
from hub.settings.schedule_settings import ScheduleSettings, SlotTable, TriggerTable
from hub.settings.secret import SecretRef
from hub.settings.values import REQUIRED, Flag, Name, Table, TimeZone, Usd, live, refusal, shaped
from protocol.configs import BadConfig, check_key, text_of, type_of
from protocol.locks import BadLockName, lock_names
from protocol.requirements import CAPABILITY, BadRequirement, parse_requirement
from protocol.semver import BadVersion, parse_version
from protocol.tables import TableName
from storage.agents.capabilities import Capability

# Of one config in the file; over the API, [limits] capability_config_bytes applies.
CAPABILITY_CONFIG_BYTES: Final = 16 * 1024
MOST_CAPABILITIES: Final = 256


def _capability_name(written: str) -> str:
    if CAPABILITY.fullmatch(written) is None:
        told = "1 to 128 letters, digits and _ . : - are expected"
        raise refusal("capability", told, hint='as in "file.read"')
    return written


def _capability_version(written: str) -> str:
    try:
        return str(parse_version(written))
    except BadVersion as error:
        raise refusal("version", str(error)) from error


def _capability_config(written: dict[str, Any]) -> dict[str, Any]:
    try:
        return document("config", written, most=CAPABILITY_CONFIG_BYTES, limit="capability_config_bytes")
    except (BadDocument, DocumentTooLarge) as error:
        raise refusal("capability", str(error)) from error


class CapabilitySettings(Table):
    """Capability of an agent, in one version."""

    name: Annotated[str, AfterValidator(_capability_name)] = live(
        REQUIRED, 'What it is called, as in "file.read".'
    )
    version: Annotated[str, AfterValidator(_capability_version)] = live(
        "1.0.0", 'A semantic version, as in "2.0.0-beta.1".'
    )
    enabled: Flag | None = live(None, "By default the newest version of a name is.")
    config: Annotated[dict[str, Any], AfterValidator(_capability_config)] = live(
        {}, "What its program knows it by."
    )
    description: Annotated[str, Field(max_length=4_096)] | None = live(None, "What it is, for people.")


def check_versions(written: Sequence[CapabilitySettings]) -> None:
    """Check that each version of a name occurs once, and that at most one version is enabled.

    Raises:
        PydanticCustomError: a version is repeated, or several versions are enabled.
    """
    for place, one in enumerate(written):
        for other in written[:place]:
            if other.name != one.name:
                continue
            if other.version == one.version:
                told = f"{one.name} {one.version} stands here twice"
                raise refusal("capability", told, key=f"capabilities.{place}.version")
            if one.enabled and other.enabled:
                told = f"{one.name} is enabled in {other.version} already"
                hint = "of each name one version is enabled"
                raise refusal("capability", told, key=f"capabilities.{place}.enabled", hint=hint)


def declared_capabilities(written: Sequence[CapabilitySettings]) -> tuple[Capability, ...]:
    """Convert capabilities to their rows; without an explicit choice, the newest version is enabled."""
    parsed = [(one, parse_version(one.version)) for one in written]
    chosen: dict[str, Version] = {}
    for one, version in sorted(parsed, key=lambda told: (told[0].enabled is True, told[1])):
        if one.enabled is not False:
            chosen[one.name] = version  # the last one wins: the explicitly enabled version, else the newest
    return tuple(
        Capability(
            name=one.name,
            version=version,
            enabled=chosen.get(one.name) == version,
            config=one.config,
            description=one.description,
        )
        for one, version in parsed
    )


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
    file_extensions: tuple[Annotated[str, AfterValidator(_dotted), shaped(r"^\.[^/]+$", ".md")], ...] = live(
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
    capabilities: Annotated[tuple[CapabilitySettings, ...], Field(max_length=MOST_CAPABILITIES)] = live(
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


class TemplateTable(Table):
    """Settings of a template without its name."""

    description: Told | None = live(None, "What it is for, for people.")
    type: WrittenType = live("CUSTOM", 'What kind of colleagues they are, as in "RESEARCHER".')
    configuration_schema: Document = live({}, "What an agent's configuration has to be: JSON Schema 2020-12.")
    default_configuration: Document = live({}, "What an agent's configuration is where it says nothing.")
    prompt: Prompt | None = live(
        None, "The prompt of agents that have none of their own. {{ name }} is a variable."
    )


class TemplateSettings(TemplateTable):
    """Settings of a template."""

    name: Name = live(REQUIRED, "What agents call it.")


MOST_CONNECTORS: Final = 200  # each needs a client and a rate limiter in memory
MOST_CONNECTOR_SETTINGS: Final = 64

Provider = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
ClientId = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class ConnectorSettings(Table):
    """Settings of an account; its provider checks *settings*."""

    name: Name = live(REQUIRED, "What people call it.")
    provider: Provider = live(REQUIRED, "gmail, outlook, teams, imap, webhook, or a plug-in's.")
    user: Name = live("owner", "Whose it is; who is named first is made.")
    secret: SecretRef | None = live(
        None, "Where its password, app password or signing secret is found; none where somebody signs in."
    )
    previous_secret: SecretRef | None = live(
        None, "The signing secret before this one; good beside it while senders change."
    )
    client_id: ClientId | None = live(None, "The OAuth client that the provider knows the hub by.")
    client_secret: SecretRef | None = live(None, "Where that client's secret is found, if it has one.")
    settings: Annotated[dict[str, Any], Field(max_length=MOST_CONNECTOR_SETTINGS)] = live(
        {}, "What its provider has to know, as its server."
    )


Connectors = Annotated[tuple[ConnectorSettings, ...], Field(max_length=MOST_CONNECTORS)]
