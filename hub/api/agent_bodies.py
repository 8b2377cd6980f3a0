"""Request bodies that describe agents, validated by the same rules as hub.toml."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import UNSET
from pydantic import BeforeValidator, Field, ValidationError

from hub.api.binding import bad_request
from hub.api.errors import MAX_REFUSALS, refused_parts, table_refusals
from hub.api.resource import View
from hub.base.toml.values import Flag, Name, live
from hub.settings.agent_settings import AgentSettings, ScheduleSettings, SlotTable
from hub.settings.declared import declared_agent
from hub.settings.settings import Settings
from hub.settings.table_settings import tables_of, unknown_tables
from hub.text.redaction import problem_of
from protocol.errors import CodedError
from protocol.ids import AgentId, DeviceId, UserId
from protocol.secret_rules import RedactionRule
from protocol.similar_names import did_you_mean
from protocol.tables import TABLES, Tables
from storage.agents import agents
from storage.agents.declared_agents import DeclaredAgent
from storage.devices import pairings
from storage.store import Connection

_MODEL_USE: Final = ("allow_cloud", "outside", "redact", "batch", "budget_usd", "learn")
# Fields of ``DeclaredAgent`` that a key of a body sets, where the names differ.
_FIELDS_OF_KEY: Final[Mapping[str, tuple[str, ...]]] = {
    "device": ("device_name",),
    "type": ("type", "subtype"),
    "connector": ("mailbox",),
    "filter": ("mailbox",),
    "push": ("mailbox",),
} | dict.fromkeys(_MODEL_USE, ())


_AS_THEY_ARE: Final[Mapping[str, str]] = MappingProxyType({})
# Keys that may be changed of an agent at a gateway.
_AT_GATEWAY: Final = frozenset(
    {"name", "title", "description", "type", "external_id", "instance_id", "project_id"}
)


def _with_instants(value: object) -> object:
    """Parse the *at* of a schedule, which is text in JSON, as an instant."""
    match value:
        case dict() if isinstance(text := value.get("at"), str):
            try:
                return value | {"at": datetime.fromisoformat(text)}
            except ValueError:
                return value
        case list():
            return [_with_instants(element) for element in value]
    return value


class AgentBody(AgentSettings):
    """Body of a request that creates an agent, by the rules of hub.toml."""

    user: Name | None = live(None, "Owner; by default the user of the caller, or the hub's owner.")  # type: ignore[assignment]
    schedule: Annotated[ScheduleSettings | None, BeforeValidator(_with_instants)] = live(
        None, "Schedule of its runs; without one, runs are started by hand."
    )
    slots: Annotated[tuple[SlotTable, ...], Field(max_length=64), BeforeValidator(_with_instants)] = live(
        (), "Calendar: times at which its device is asked to wake the agent."
    )
    start: Flag = live(True, "Start working at once; otherwise the agent is READY until it is resumed.")


class _Changes(View):
    """Changes of an agent. An omitted key stays unchanged, and null removes its value.

    Each key is as in the body that creates an agent, and is validated together with the unchanged keys.
    *config* changes only the keys that it names.
    """

    @property
    def given(self) -> dict[str, Any]:
        """Values of the keys that the request has."""
        return {key: value for key, value in msgspec.structs.asdict(self).items() if value is not UNSET}


# Its keys are those of ``AgentSettings``, except those that other requests change.
if TYPE_CHECKING:
    AgentChanges = _Changes
else:
    AgentChanges = msgspec.defstruct(
        "AgentChanges",
        [(key, Any, UNSET) for key in AgentSettings.model_fields if key not in ("user", "capabilities")],
        bases=(_Changes,),
        namespace={"__doc__": _Changes.__doc__},
        module=__name__,
        forbid_unknown_fields=True,
    )


class CommonAgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of hub.toml for every agent: time limit of a run in seconds, redaction patterns, tables."""

    run_wall_s: float = 3_600.0
    patterns: Mapping[str, str] = MappingProxyType({})
    tables: Tables = TABLES


def common_settings_of(settings: Settings) -> CommonAgentSettings:
    """Return the settings that hold for every agent."""
    return CommonAgentSettings(
        run_wall_s=settings.limits.run_wall_s,
        patterns=settings.redaction.patterns,
        tables=tables_of(settings.tables),
    )


def body_of(given: Mapping[str, Any], columns: Mapping[str, str] = _AS_THEY_ARE) -> AgentBody:
    """Validate the body of a request that creates an agent.

    Args:
        columns: names of keys in the request, where they differ, for refusals.

    Raises:
        CodedError (BAD_PARAMS): the body is invalid.
    """
    if wrong := refused_parts(given, "agent"):
        raise bad_request([message for message, _ in wrong], ())
    try:
        return AgentBody.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, columns) from error


def made_of(body: AgentBody, rules: CommonAgentSettings) -> DeclaredAgent:
    """Convert the body of a new agent to its stored form.

    Raises:
        CodedError (BAD_PARAMS): a redaction rule of the agent has no valid pattern, or a table is not
            declared.
    """
    for place, (message, hint) in unknown_tables(body.data_types or (), rules.tables):
        raise bad_request([f"data_types.{place}: {message}"], [hint])
    for name in body.redact:
        if wrong := problem_of(RedactionRule(name, rules.patterns.get(name))):
            raise bad_request([f"redact: {name!r}: {wrong}"], ["patterns stand in [redaction] of hub.toml"])
    return declared_agent(body, run_wall_s=rules.run_wall_s, patterns=rules.patterns)


def changed_by(
    changes: Mapping[str, Any],
    now: DeclaredAgent,
    rules: CommonAgentSettings,
    *,
    gateway: str | None = None,
    columns: Mapping[str, str] = _AS_THEY_ARE,
) -> DeclaredAgent:
    """Return the stored form of an agent after *changes* to its current form *now*.

    Args:
        gateway: name of the agent's gateway; such an agent has no device, no files and no runs.
        columns: as for ``body_of``.

    Raises:
        CodedError (BAD_PARAMS): a key is unknown or cannot be changed, or the changed agent is invalid.
    """
    unknown = sorted(set(changes) - set(AgentChanges.__struct_fields__))[:MAX_REFUSALS]
    if unknown:
        known = ", ".join(AgentChanges.__struct_fields__)
        wrong = [f"{key}: there is no such field" for key in unknown]
        near = [did_you_mean(key, AgentChanges.__struct_fields__) for key in unknown]
        raise bad_request(wrong, ["; ".join(filter(None, near)) or f"known are {known}"])
    if gateway is not None and (elsewhere := sorted(set(changes) - _AT_GATEWAY)):
        wrong = [f"{columns.get(key, key)}: the agent lives at gateway {gateway!r}" for key in elsewhere]
        raise bad_request(wrong, [f"what can be changed of it here: {', '.join(sorted(_AT_GATEWAY))}"])
    new = made_of(body_of(_whole(now) | dict(changes), columns), rules)
    changed = {field: getattr(new, field) for key in changes for field in _FIELDS_OF_KEY.get(key, (key,))}
    if used := set(changes).intersection(_MODEL_USE):
        fields = {"budget_nanos" if key == "budget_usd" else key for key in used}
        uses = {field: getattr(new.model_use, field) for field in fields}
        changed["model_use"] = msgspec.structs.replace(now.model_use, **uses)
    if "timezone" in changes:
        if "schedule" not in changes and now.schedule is not None:
            changed["schedule"] = msgspec.structs.replace(now.schedule, tz=new.timezone)
        if "slots" not in changes:
            changed["slots"] = tuple(msgspec.structs.replace(slot, tz=new.timezone) for slot in now.slots)
    changed.setdefault("config", ())
    return msgspec.structs.replace(now, **changed)


def _whole(now: DeclaredAgent) -> dict[str, Any]:
    """Return the keys of an agent that are validated together with a change."""
    return {
        "name": now.name,
        "device": now.device_name,
        "paths": list(now.paths) or None,
        "data_types": list(now.data_types) or None,
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


def _refusal(error: ValidationError, columns: Mapping[str, str]) -> CodedError:
    wrong = table_refusals(error)
    hints = [hint for _, hint in wrong if hint]
    return bad_request([_renamed(message, columns) for message, _ in wrong], hints)


def _renamed(message: str, columns: Mapping[str, str]) -> str:
    """Return a refusal with the name of its key in the request."""
    key = re.split("[.:]", message, maxsplit=1)[0]
    return columns.get(key, key) + message.removeprefix(key)


def ids_called(
    c: Connection,
    agent: str | None,
    device: str | None,
    *,
    user_id: UserId | None,
    at: int,
    only: Collection[DeviceId] = (),
) -> tuple[AgentId | None, DeviceId | None]:
    """Return the ids of an agent and a device that a list is filtered by, each given by its name or id.

    Args:
        only: if not empty, other devices do not exist for the caller, nor their agents.

    Raises:
        CodedError, UnknownDevice: none is called so among this user's, or all.
        CodedError (BAD_PARAMS): several are.
    """
    return (
        None if agent is None else agents.agent_called(c, agent, user_id, or_removed=True, devices=only).id,
        None if device is None else pairings.device_named(c, device, user_id=user_id, at=at, only=only).id,
    )
