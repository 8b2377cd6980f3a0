"""Agents as they are written over the API: by the rules of hub.toml, and as the rows keep them."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from hub.extraction.items import RedactionRule
from hub.extraction.redaction import problem_of
from hub.settings.agent_settings import AgentSettings
from hub.settings.declared import declared_agent
from hub.settings.problems import did_you_mean, spell
from hub.settings.reload_policy import live
from hub.settings.schedule_settings import ScheduleSettings, SlotTable
from hub.settings.sentences import sentence
from hub.settings.settings import Settings
from hub.settings.values import Flag, Name
from protocol.errors import ErrorCode, HubError
from storage.agents.agents import DeclaredAgent

_MODEL_USE: Final = ("allow_cloud", "redact", "batch", "budget_usd")
# What of a declared agent each key of a body says, where they are not called the same.
_SAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "device": ("device_name",),
    "type": ("type", "subtype"),
    "connector": ("mailbox",),
    "filter": ("mailbox",),
    "push": ("mailbox",),
} | dict.fromkeys(_MODEL_USE, ())


# What is said of an agent that lives at a gateway; and what stands in for the rest of a body's rules.
_AT_GATEWAY: Final = frozenset({"name", "description", "type", "external_id", "instance_id", "project_id"})
_OF_ANY_DEVICE: Final = {"device": "none", "paths": ["/"], "data_types": ["tasks"], "prompt": "none"}


class BadAgent(HubError):
    """An agent cannot be as it was written: the message tells every key. Nothing was written."""

    code = ErrorCode.BAD_PARAMS

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _with_instants(value: object) -> object:
    """JSON has no points in time: the *at* of a schedule comes as text."""
    match value:
        case dict() if isinstance(text := value.get("at"), str):
            try:
                return value | {"at": datetime.fromisoformat(text)}
            except ValueError:
                return value
        case list():
            return [_with_instants(one) for one in value]
    return value


class AgentBody(AgentSettings):
    """An agent to be made, by the rules of hub.toml."""

    user: Name | None = live(None, "Whose it is; by default of who asks, or the owner.")  # type: ignore[assignment]
    schedule: Annotated[ScheduleSettings | None, BeforeValidator(_with_instants)] = live(
        None, "When it runs by itself; without one, by hand."
    )
    slots: Annotated[tuple[SlotTable, ...], Field(max_length=64), BeforeValidator(_with_instants)] = live(
        (), "Its calendar: when its device is told to wake it."
    )
    start: Flag = live(True, "It works at once; else it is ready, and works once it is resumed.")


class AgentChanges(BaseModel):
    """What of an agent is to be another; what is left out stays, and null takes away.

    Each key is as in an agent to be made, and is checked together with what stays.
    *config* changes the keys that it names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: JsonValue = None
    device: JsonValue = None
    description: JsonValue = None
    type: JsonValue = None
    template: JsonValue = None
    external_id: JsonValue = None
    instance_id: JsonValue = None
    project_id: JsonValue = None
    paths: JsonValue = None
    file_extensions: JsonValue = None
    connector: JsonValue = None
    filter: JsonValue = None
    push: JsonValue = None
    data_types: JsonValue = None
    prompt: JsonValue = None
    needs: JsonValue = None
    locks: JsonValue = None
    schedule: JsonValue = None
    slots: JsonValue = None
    timezone: JsonValue = None
    priority: JsonValue = None
    max_concurrent_runs: JsonValue = None
    config: JsonValue = None
    allow_cloud: JsonValue = None
    redact: JsonValue = None
    batch: JsonValue = None
    budget_usd: JsonValue = None

    @property
    def said(self) -> dict[str, Any]:
        """The keys that were given."""
        return {key: getattr(self, key) for key in self.model_fields_set}


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What of hub.toml holds for every agent: how long a run may take, and the patterns of redaction."""

    run_wall_s: float = 3_600.0
    patterns: Mapping[str, str] = MappingProxyType({})


def rules_of(settings: Settings) -> Rules:
    """What these settings say of every agent."""
    return Rules(run_wall_s=settings.limits.run_wall_s, patterns=settings.redaction.patterns)


def body_of(given: Mapping[str, Any]) -> AgentBody:
    """An agent to be made, as a device sent it.

    Raises:
        BadAgent: it cannot be.
    """
    try:
        return AgentBody.model_validate(given)
    except ValidationError as error:
        raise _told(error) from error


def made_of(body: AgentBody, rules: Rules) -> DeclaredAgent:
    """What an agent to be made is in the rows.

    Raises:
        BadAgent: what is to be hidden of its documents has no pattern.
    """
    for name in body.redact:
        if wrong := problem_of(RedactionRule(name, rules.patterns.get(name))):
            raise BadAgent(f"redact: {name!r}: {wrong}", "patterns stand in [redaction] of hub.toml")
    return declared_agent(body, run_wall_s=rules.run_wall_s, patterns=rules.patterns)


def changed_by(
    changes: Mapping[str, Any], now: DeclaredAgent, rules: Rules, *, gateway: str | None = None
) -> DeclaredAgent:
    """What an agent is in the rows once *changes* are made to what it is *now*.

    Args:
        gateway: where it lives; then it reads nothing on a device, and has no runs.

    Raises:
        BadAgent: it cannot be so.
    """
    unknown = sorted(set(changes) - set(AgentChanges.model_fields))
    if unknown:
        known = ", ".join(AgentChanges.model_fields)
        told = "; ".join(f"{key}: there is no such field" for key in unknown)
        near = [meant for key in unknown if (meant := did_you_mean(key, AgentChanges.model_fields))]
        raise BadAgent(told, "; ".join(near) or f"known are {known}")
    if gateway is not None and (elsewhere := sorted(set(changes) - _AT_GATEWAY)):
        told = "; ".join(f"{key}: the agent lives at gateway {gateway!r}" for key in elsewhere)
        raise BadAgent(told, f"what can be changed of it here: {', '.join(sorted(_AT_GATEWAY))}")
    whole = _whole(now) if gateway is None else {"name": now.name, **_OF_ANY_DEVICE}
    new = made_of(body_of(whole | dict(changes)), rules)
    said = {field: getattr(new, field) for key in changes for field in _SAYS.get(key, (key,))}
    if used := set(changes).intersection(_MODEL_USE):
        fields = {"budget_nanos" if key == "budget_usd" else key for key in used}
        uses = {field: getattr(new.model_use, field) for field in fields}
        said["model_use"] = msgspec.structs.replace(now.model_use, **uses)
    if "timezone" in changes:
        if "schedule" not in changes and now.schedule is not None:
            said["schedule"] = msgspec.structs.replace(now.schedule, tz=new.timezone)
        if "slots" not in changes:
            said["slots"] = tuple(msgspec.structs.replace(one, tz=new.timezone) for one in now.slots)
    said.setdefault("config", ())
    return msgspec.structs.replace(now, **said)


def _whole(now: DeclaredAgent) -> dict[str, Any]:
    """As much of an agent as a change is checked together with."""
    return {
        "name": now.name,
        "device": now.device_name,
        "paths": list(now.paths) or None,
        "data_types": list(now.data_types),
        "prompt": now.prompt or None,
        "template": now.template,
        "timezone": now.timezone,
    } | (
        {}
        if now.mailbox is None
        else {
            "connector": now.mailbox.connector,
            "filter": now.mailbox.filter,
            "push": now.mailbox.push,
        }
    )


def _told(error: ValidationError) -> BadAgent:
    wrong: list[str] = []
    hints: dict[str, None] = {}
    for found in error.errors(include_url=False):
        context = found.get("ctx", {})
        path = (*found["loc"], *str(context.get("key", "")).split(".")) if "key" in context else found["loc"]
        what = sentence(found["type"], found["msg"], found["input"], context)
        wrong.append(f"{spell(path)}: {what.message}")
        hints |= {what.hint: None} if what.hint else {}
    return BadAgent("; ".join(wrong), "; ".join(hints))
