"""hub.toml: its shape, its defaults, and everything that can be wrong with it, said at once.

The models are the shape; ``check_settings`` reads a file and reports each problem
where it stands. Only the daemon and the CLI read settings: everything
else takes plain arguments with units in their names.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from hub.clock import Clock, SystemClock
from hub.ops.address import Address
from hub.ops.agent_settings import AgentSettings
from hub.ops.locate import KeyPath, Located, Position
from hub.ops.problems import (
    Problem,
    SettingsInvalid,
    Severity,
    found_by_parser,
    found_by_validation,
    in_order,
    spell,
)
from hub.ops.schedule_settings import ScheduleTable
from hub.ops.secret import IN_THE_OPEN, REFER_TO_IT, SecretMissing, SecretRef, looks_secret
from hub.ops.storage_settings import IN_MEMORY, StorageSettings
from hub.ops.values import Days, Delay, Flag, Name, Seconds, Table, Whole, refusal

_CLOCK: Final = SystemClock()


def _address(value: object) -> object:
    if not isinstance(value, str):
        raise refusal("address", "an address is host:port", hint='as in "127.0.0.1:8770"')
    try:
        return Address.parse(value)
    except ValueError as error:
        raise refusal("address", str(error), hint='as in "127.0.0.1:8770"') from error


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refusal("url", "not the address of a web service", hint='as in "https://host/v1"')
    return url


Listening = Annotated[Address, BeforeValidator(_address)]


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
            raise refusal(
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
            raise refusal(
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
    waiting_runs_per_device: Whole = 1_000  # of all schedules together; further fires are dropped
    waiting_runs_per_schedule: Whole = 100
    connected_s: Delay = 5.0  # a device is there so long before it gets a run that nobody asked for
    device_grace_s: Delay = 15.0  # a device that is away no longer than this has not left its run
    cancel_grace_s: Delay = 30.0  # to let go of a cancelled run
    paused_days: Days = 7  # what a run waits for must come within these, or it has failed
    restart_hold_s: Delay = 600.0  # after starts with crashes between them, as hub.toml says
    drain_timeout_s: Seconds = 45.0
    operator_body_bytes: Whole = 1024 * 1024
    operator_requests: Whole = 64  # at once
    operator_event_streams: Whole = 16


class RetentionSettings(Table):
    """``[retention]``: how long what has ended is kept. What is live stays in any case."""

    runs_days: Days = 30
    failed_runs_days: Days = 90
    runs_kept: Whole = 50  # of each agent, those that ended last, at any age
    payload_days: Days = 7  # the text of items, after their run's end
    fires_days: Days = 90  # what became of each fire
    fires_kept: Whole = 10_000  # of each schedule, at most
    activity_days: Days = 90
    answers_days: Days = 30  # to requests that may come twice


class Settings(Table):
    """All of hub.toml."""

    hub: HubSettings = HubSettings()
    listen: Listen = Listen()
    storage: StorageSettings = StorageSettings()
    model: ModelSettings | None = None  # without one, rules alone find items
    agents: tuple[AgentSettings, ...] = ()
    limits: Limits = Limits()
    retention: RetentionSettings = RetentionSettings()


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


def check_settings(
    path: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    serving: bool = False,
    clock: Clock = _CLOCK,
) -> Reading:
    """Read a settings file and find all that is wrong with it.

    A secret that cannot be found is an error when *serving*, else a warning: who
    checks a file is often not who will serve with it.

    Args:
        clock: what lies in its past is a warning.
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
        problems += _found_in_schedules(settings, file, located, clock.now())
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
    if settings.storage.url == IN_MEMORY:
        yield problem(("storage", "url"), "in memory: nothing is left after the hub stops")
    missing = Severity.ERROR if serving else Severity.WARNING
    for path, secret, resolve in _secrets(settings):
        try:
            resolve(environ)
        except SecretMissing as error:
            yield problem(path, str(error), severity=missing)
        if secret.is_open_to_others():
            yield problem(path, f"others may read {secret.file}", f"chmod 600 {secret.file}")


def _found_in_schedules(settings: Settings, file: str, located: Located, now: datetime) -> Iterator[Problem]:
    """What a valid schedule says that its author may not mean."""
    for number, agent in enumerate(settings.agents):
        for key, message, hint in [] if agent.schedule is None else agent.schedule.warnings(now):
            whole: KeyPath = ("agents", number, "schedule")
            path = (*whole, key) if located.has((*whole, key)) else whole
            at = located.value(path)
            yield Problem(file, at.line, at.column, spell(path), message, hint, Severity.WARNING)


def _secrets(settings: Settings) -> Iterator[tuple[KeyPath, SecretRef, Callable[[Mapping[str, str]], str]]]:
    """Every reference, and what finds out where it leads."""
    if isinstance(settings.storage.url, SecretRef):
        yield ("storage", "url"), settings.storage.url, settings.storage.resolved
    if isinstance(settings.model, OpenAIModelSettings) and (key := settings.model.api_key) is not None:
        yield ("model", "api_key"), key, key.resolve


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
    ("storage", "url"): (SecretRef,),
    ("model",): (OpenAIModelSettings, LocalModelSettings),
    ("model", "api_key"): (SecretRef,),
    ("agents", 0): (AgentSettings,),
    ("agents", 0, "schedule"): (ScheduleTable,),
    ("limits",): (Limits,),
    ("retention",): (RetentionSettings,),
}


def _names_at(path: KeyPath) -> list[str]:
    """The keys that the table at *path* may have."""
    shape = tuple(0 if isinstance(part, int) else part for part in path)
    return [name for model in _TABLES.get(shape, ()) for name in model.model_fields]
