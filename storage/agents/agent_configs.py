"""What the hub itself keeps among the configs of an agent: one row for each, its value as JSON.

Its runs are made with them. Configs by other keys are in ``storage.agents.configs``.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from protocol.configs import RESERVED
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from storage.schema import agent_configs, agents

T = TypeVar("T")


class Redacted(msgspec.Struct, frozen=True):
    """What is replaced before a model is asked; without *regex* it is a pattern that the hub has."""

    name: str
    regex: str | None = None


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """How models may be used for an agent.

    *batch*: answers may come hours later, at half the price. *budget_nanos*: what it may
    spend in a day, in billionths of a US dollar.
    """

    allow_cloud: bool = True
    redact: tuple[Redacted, ...] = ()
    batch: bool = False
    budget_nanos: int | None = None


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent reads instead of files of its device.

    Attributes:
        connector: its name.
        filter: as its provider checks it; empty: the provider's own.
        push: read as soon as the provider tells that something is new, too.
    """

    connector: str
    filter: dict[str, Any] = {}
    push: bool = False


_of = {key: agent_configs.alias(f"of_{key}") for key in RESERVED}
COLUMNS = tuple(alias.c.config_value.label(key) for key, alias in _of.items())
DELETE_RESERVED = sa.delete(agent_configs).where(
    agent_configs.c.agent_id == sa.bindparam("agent"), agent_configs.c.config_key.in_(RESERVED)
)


def with_configs(query: sa.Select[Any]) -> sa.Select[Any]:
    """*query*, which selects ``COLUMNS`` from agents, with the rows that these stand in."""
    for key, alias in _of.items():
        query = query.outerjoin(alias, sa.and_(alias.c.agent_id == agents.c.id, alias.c.config_key == key))
    return query


class UnreadableConfig(HubError):
    """A config of the agent is not what this release takes it for: a newer one wrote it, or a hand."""

    code = ErrorCode.BAD_SETTINGS


def names_in(value: str | None) -> tuple[str, ...]:
    """A list of names; an agent without the config has none.

    Raises:
        UnreadableConfig: it is something else.
    """
    return () if value is None else _read(value, tuple[str, ...])


def zone_in(value: str | None) -> str:
    """A time zone; an agent without the config lives in UTC.

    Raises:
        UnreadableConfig: it is something else.
    """
    return "UTC" if value is None else _read(value, str)


def model_use_in(value: str | None) -> ModelUse:
    """How models may be used; an agent without the config has no wishes.

    Raises:
        UnreadableConfig: it is something else.
    """
    return ModelUse() if value is None else _read(value, ModelUse)


def mailbox_in(value: str | None) -> Mailbox | None:
    """What it reads; an agent without the config reads its device.

    Raises:
        UnreadableConfig: it is something else.
    """
    return None if value is None else _read(value, Mailbox)


def _read(value: str, type: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=type)
    except msgspec.DecodeError as exc:
        raise UnreadableConfig(f"a config of its agent cannot be read: {exc}") from exc


def write_configs(c: sa.Connection, agent_id: AgentId, configs: Mapping[str, Any], at: int) -> None:
    """These of ``RESERVED`` and no others of them."""
    c.execute(DELETE_RESERVED, {"agent": agent_id})
    c.execute(
        sa.insert(agent_configs),
        [
            {
                "agent_id": agent_id,
                "config_key": key,
                "config_type": "json",
                "config_value": msgspec.json.encode(value).decode(),
                "created_at": at,
                "updated_at": at,
            }
            for key, value in configs.items()
        ],
    )
