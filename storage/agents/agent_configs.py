"""Configs of an agent that the hub itself uses: a row for each, its value as JSON.

The agent's runs are configured by them. Configs under other keys are in ``storage.agents.configs``.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.configs import RESERVED
from protocol.errors import ErrorCode
from protocol.ids import AgentId
from storage.kernel.database import UnreadableRow
from storage.schema import agent_configs, agents


class Redacted(msgspec.Struct, frozen=True):
    """Text to redact before a model sees it; without *regex* the name of a built-in pattern."""

    name: str
    regex: str | None = None


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for the use of models by an agent.

    *batch*: answers may come hours later, at half the price. *budget_nanos*: maximum cost of a day, in
    billionths of a US dollar.
    """

    allow_cloud: bool = True
    redact: tuple[Redacted, ...] = ()
    batch: bool = False
    budget_nanos: int | None = None


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """Mailbox that an agent reads instead of files of its device.

    Attributes:
        connector: name of the connector.
        filter: filter in the syntax of the provider; empty: the provider's default.
        push: also read as soon as the provider notifies the hub of new messages.
    """

    connector: str
    filter: dict[str, Any] = {}
    push: bool = False


_of = {key: agent_configs.alias(f"of_{key}") for key in RESERVED}
COLUMNS: dict[str, Any] = {key: alias.c.config_value.label(key) for key, alias in _of.items()}
DELETE_RESERVED = sa.delete(agent_configs).where(
    agent_configs.c.agent_id == sa.bindparam("agent"), agent_configs.c.config_key.in_(RESERVED)
)


def with_configs(query: sa.Select[Any]) -> sa.Select[Any]:
    """Join *query*, which selects ``COLUMNS`` from agents, with the config rows that hold them."""
    for key, alias in _of.items():
        query = query.outerjoin(alias, sa.and_(alias.c.agent_id == agents.c.id, alias.c.config_key == key))
    return query


class UnreadableConfig(UnreadableRow):
    """Error: a config of the agent is unreadable for this release; a newer one or a person wrote it."""

    code = ErrorCode.BAD_SETTINGS


# Type and default of each config.
_CONFIGS: dict[str, tuple[Any, Any]] = {
    "paths": (tuple[str, ...], ()),
    "file_extensions": (tuple[str, ...], ()),
    "timezone": (str, "UTC"),
    "model_use": (ModelUse, ModelUse()),
    "mailbox": (Mailbox, None),
}


def configs_in(row: sa.Row[Any]) -> dict[str, Any]:
    """Return the decoded configs of a row that has ``COLUMNS``, by key.

    Raises:
        UnreadableConfig: a value has another shape.
    """
    return {key: read_config(key, getattr(row, key)) for key in RESERVED}


def read_config(key: str, value: str | None) -> Any:
    """Return the decoded config *key*, or its default if the agent has none.

    Raises:
        UnreadableConfig: the value has another shape.
    """
    kind, default = _CONFIGS[key]
    try:
        return default if value is None else msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as exc:
        raise UnreadableConfig(f"a config of its agent cannot be read: {exc}") from exc


def write_configs(c: sa.Connection, agent_id: AgentId, configs: Mapping[str, Any], at: int) -> None:
    """Replace the agent's configs with keys in ``RESERVED`` by *configs*."""
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
