"""hub.toml: its shape, its defaults, and everything that can be wrong with it, said at once.

The models are the shape; ``check_settings`` reads a file and reports each problem
where it stands. Only the daemon and the CLI read settings: everything
else takes plain arguments with units in their names.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from hub.ops.address import Address
from hub.ops.locate import KeyPath, Located, Position
from hub.ops.problems import (
    Problem,
    SettingsInvalid,
    Severity,
    did_you_mean,
    found_by_parser,
    found_by_validation,
    in_order,
    spell,
)
from hub.ops.schedule_text import BadSchedule, parse_cron
from hub.ops.secret import IN_THE_OPEN, REFER_TO_IT, SecretMissing, SecretRef, looks_secret
from protocol.tables import TableName


def _refusal(kind: str, message: str, **context: str) -> PydanticCustomError:
    # As a format with one field: a brace in the message is then no placeholder.
    return PydanticCustomError(kind, "{said}", {"said": message, **context})


def _address(value: object) -> object:
    if not isinstance(value, str):
        raise _refusal("address", "an address is host:port", hint='as in "127.0.0.1:8770"')
    try:
        return Address.parse(value)
    except ValueError as error:
        raise _refusal("address", str(error), hint='as in "127.0.0.1:8770"') from error


def _dotted(extension: str) -> str:
    if not extension.startswith(".") or "/" in extension or len(extension) < 2:
        raise _refusal("extension", "a file extension begins with a dot", hint='as in ".md"')
    return extension


def _schedule(text: str) -> str:
    try:
        parse_cron(text)
    except BadSchedule as error:
        raise _refusal("schedule", error.message, hint=error.hint) from error
    return text


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        hint = did_you_mean(name, available_timezones()) or 'as in "Europe/Berlin"'
        raise _refusal("timezone", "no such time zone", hint=hint) from error
    return name


def _database_url(url: str) -> str:
    if url != "sqlite://" and not url.startswith("sqlite:///"):
        raise _refusal("database", "only SQLite is served by now", hint='as in "sqlite:///hub.db"')
    return url


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refusal("url", "not the address of a web service", hint='as in "https://host/v1"')
    return url


Name = Annotated[
    str, StringConstraints(pattern=r"^\w[\w.-]{0,63}$")
]  # it stands in URLs and on command lines
Listening = Annotated[Address, BeforeValidator(_address)]
Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=1, le=2**53)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=7 * 86_400)]


class Table(BaseModel):
    """A table of hub.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSettings(Table):
    """``[hub]``: what people call this hub."""

    name: Name = "home"


class Listener(Table):
    """What both listeners have: without TLS they serve this machine, unless told otherwise."""

    address: Listening
    insecure: Flag = False

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        if not self.address.is_loopback and not self.insecure:
            raise _refusal(
                "not_loopback",
                "other machines could reach this address without TLS",
                key="address",
                hint="use 127.0.0.1 behind a proxy with TLS, or write insecure = true",
            )
        return self


class DeviceListener(Listener):
    """``[listen.devices]``: where devices connect. *origins* may open it from a web page."""

    address: Listening = Address("127.0.0.1", 8770)
    compression: Flag = False
    origins: tuple[str, ...] = ()


class OperatorListener(Listener):
    """``[listen.operator]``: where operators read, beside hub.sock in the state folder."""

    address: Listening = Address("127.0.0.1", 8771)


class Listen(Table):
    """``[listen]``."""

    devices: DeviceListener = DeviceListener()
    operator: OperatorListener = OperatorListener()


class StorageSettings(Table):
    """``[storage]``: a relative path lies in the state folder; ``sqlite://`` keeps nothing."""

    url: Annotated[str, AfterValidator(_database_url)] = "sqlite:///hub.db"


class ModelTuning(Table):
    """What both kinds of model can be told."""

    timeout_s: Seconds = 60.0  # the longest silence of the endpoint while it thinks
    concurrency: Whole = 8  # questions at once, of all runs together
    chunk_tokens: Whole | None = None  # of text in one question; by default what suits the kind of model


class OpenAIModelSettings(ModelTuning):
    """``[model] kind = "openai"``: any endpoint that speaks that interface."""

    kind: Literal["openai"]
    base_url: Annotated[str, AfterValidator(_web_address)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    api_key: SecretRef | None = None
    insecure: Flag = False

    @model_validator(mode="after")
    def _is_encrypted_on_its_way(self) -> Self:
        parts = urlsplit(self.base_url)
        if parts.scheme == "http" and not Address(parts.hostname or "", 0).is_loopback and not self.insecure:
            raise _refusal(
                "not_encrypted",
                "documents and key would cross the network unencrypted",
                key="base_url",
                hint="use https, or write insecure = true",
            )
        return self


class LocalModelSettings(ModelTuning):
    """``[model] kind = "local"``: the small model of the extra ``[local]``, served by the hub itself."""

    kind: Literal["local"]
    timeout_s: Seconds = 300.0  # one thread of a small machine is slow
    concurrency: Whole = 1


ModelSettings = Annotated[OpenAIModelSettings | LocalModelSettings, Field(discriminator="kind")]


class AgentSettings(Table):
    """``[[agents]]``: what to read where, and what to find in it."""

    name: Name
    device: Name
    paths: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=4096)], ...], Field(min_length=1)
    ]
    file_extensions: tuple[Annotated[str, AfterValidator(_dotted)], ...] = ()  # none: every file
    data_types: Annotated[tuple[TableName, ...], Field(min_length=1)]
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=32_768)]
    schedule: Annotated[str, AfterValidator(_schedule)] | None = None
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"


class Limits(Table):
    """``[limits]``: each one ends in a named error, never in a hub that falls over."""

    handshake_timeout_s: Seconds = 5.0  # to finish the upgrade to a WebSocket
    ping_interval_s: Seconds = 15.0
    ping_timeout_s: Seconds = 10.0
    pending_calls: Whole = 64  # per device
    write_timeout_s: Seconds = 10.0  # how long a device may leave its outgoing queue full
    call_timeout_s: Seconds = 30.0
    call_sends: Whole = 5  # before a call without an answer is given up
    run_files: Whole = 2_000
    run_bytes: Whole = 64 * 1024 * 1024
    run_wall_s: Seconds = 3_600.0
    runs: Whole = 32  # at once
    runs_per_device: Whole = 1
    drain_timeout_s: Seconds = 45.0
    operator_body_bytes: Whole = 1024 * 1024
    operator_requests: Whole = 64  # at once
    operator_event_streams: Whole = 16


class Settings(Table):
    """All of hub.toml."""

    hub: HubSettings = HubSettings()
    listen: Listen = Listen()
    storage: StorageSettings = StorageSettings()
    model: ModelSettings | None = None  # without one, rules alone find items
    agents: tuple[AgentSettings, ...] = ()
    limits: Limits = Limits()


class Reading(NamedTuple):
    """What a file says: *settings* where they can be used, and every problem in order."""

    settings: Settings | None
    problems: list[Problem]


def load_settings(path: Path, *, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings to serve with: every secret that they refer to is there.

    Raises:
        SettingsInvalid: with all problems that are errors.
    """
    settings, problems = check_settings(path, environ=environ, serving=True)
    if settings is None:
        raise SettingsInvalid(problem for problem in problems if problem.severity is Severity.ERROR)
    return settings


def check_settings(path: Path, *, environ: Mapping[str, str] = os.environ, serving: bool = False) -> Reading:
    """Read a settings file and find all that is wrong with it.

    A secret that cannot be found is an error when *serving*, else a warning: who
    checks a file is often not who will serve with it.
    """
    file = str(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        hint = "'hub init' writes one" if isinstance(error, FileNotFoundError) else ""
        return Reading(None, [Problem(file, 1, 1, "", error.strerror or "cannot be read", hint)])
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode().split("\n")
        return Reading(None, [Problem(file, len(before), len(before[-1]) + 1, "", "not UTF-8")])
    try:
        doc = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Reading(None, [found_by_parser(str(error), file=file, text=text)])
    located = Located(text)
    settings, problems = None, list(_found_by_looking(doc, file, located))
    try:
        settings = Settings.model_validate(doc, context={"base": path.parent})
    except ValidationError as error:
        problems += found_by_validation(error, file=file, doc=doc, located=located, names_at=_names_at)
    else:
        problems += _found_beyond(settings, file, located, environ, serving)
    if any(problem.severity is Severity.ERROR for problem in problems):
        settings = None
    return Reading(settings, in_order(problems))


def _found_by_looking(doc: Mapping[str, Any], file: str, located: Located) -> Iterator[Problem]:
    """What can be seen in any document, valid or not: agents of one name, secrets in the open."""
    seen: dict[str, Position] = {}
    agents = doc.get("agents")
    for number, agent in enumerate(agents if isinstance(agents, list) else []):
        name = agent.get("name") if isinstance(agent, dict) else None
        if isinstance(name, str):
            at = located.value(("agents", number, "name"))
            if name in seen:
                message = "another agent has this name"
                hint = f"the other one stands in line {seen[name].line}"
                yield Problem(file, at.line, at.column, f"agents.{number}.name", message, hint)
            seen.setdefault(name, at)
    for path, text in _strings(doc):
        if looks_secret(text) or path == ("model", "api_key"):
            at = located.value(path)
            yield Problem(file, at.line, at.column, spell(path), IN_THE_OPEN, REFER_TO_IT)


def _found_beyond(
    settings: Settings, file: str, located: Located, environ: Mapping[str, str], serving: bool
) -> Iterator[Problem]:
    """What valid settings may still lack, or say that a reader may not expect."""

    def problem(
        path: KeyPath, message: str, hint: str = "", severity: Severity = Severity.WARNING
    ) -> Problem:
        at = located.value(path)
        return Problem(file, at.line, at.column, spell(path), message, hint, severity)

    for name, listener in (("devices", settings.listen.devices), ("operator", settings.listen.operator)):
        if listener.insecure and not listener.address.is_loopback:
            yield problem(("listen", name, "insecure"), "other machines reach this address without TLS")
    devices, operator = settings.listen.devices.address, settings.listen.operator.address
    if devices == operator and devices.port:
        yield problem(
            ("listen", "operator", "address"),
            "devices and operators cannot share a port",
            "give each its own, as in 8770 and 8771",
            Severity.ERROR,
        )
    if settings.storage.url == "sqlite://":
        yield problem(("storage", "url"), "in memory: nothing is left after the hub stops")
    for number, agent in enumerate(settings.agents):
        if agent.schedule and (warning := parse_cron(agent.schedule).warning):
            yield problem(("agents", number, "schedule"), warning)
    if isinstance(settings.model, OpenAIModelSettings) and settings.model.api_key is not None:
        key = settings.model.api_key
        path: KeyPath = ("model", "api_key")
        try:
            key.resolve(environ)
        except SecretMissing as error:
            yield problem(path, str(error), severity=Severity.ERROR if serving else Severity.WARNING)
        if key.is_open_to_others():
            yield problem(path, f"others may read {key.file}", f"chmod 600 {key.file}")


def _strings(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, inner in value.items():
                yield from _strings(inner, (*path, key))
        case list():
            for number, inner in enumerate(value):
                yield from _strings(inner, (*path, number))


_TABLES: dict[KeyPath, tuple[type[BaseModel], ...]] = {
    (): (Settings,),
    ("hub",): (HubSettings,),
    ("listen",): (Listen,),
    ("listen", "devices"): (DeviceListener,),
    ("listen", "operator"): (OperatorListener,),
    ("storage",): (StorageSettings,),
    ("model",): (OpenAIModelSettings, LocalModelSettings),
    ("model", "api_key"): (SecretRef,),
    ("agents", 0): (AgentSettings,),
    ("limits",): (Limits,),
}


def _names_at(path: KeyPath) -> list[str]:
    """The keys that the table at *path* may have."""
    shape = tuple(0 if isinstance(part, int) else part for part in path)
    return [name for model in _TABLES.get(shape, ()) for name in model.model_fields]
