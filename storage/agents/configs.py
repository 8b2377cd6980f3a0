"""Agents' configs in the database: reading of values and of their history.

All keys of one change are written, or none. How many changes the history has is decided in
``config_changes``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from protocol.configs import RESERVED, ConfigType, value_in
from protocol.errors import ErrorCode
from protocol.ids import AgentId
from protocol.secret_rules import RedactionRule
from storage.kernel.columns import (
    Key,
    columns_of,
    fetch_page,
    in_parts,
    paged,
    readable,
    readable_page,
    struct_from,
    structs_from,
)
from storage.kernel.database import UnreadableRow
from storage.schema import agent_config_history, agent_configs, agents


class ModelUse(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for what an agent does with texts.

    *outside*: handling of items of unknown authors. *batch*: answers may come hours later, at half the price.
    *budget_nanos*: maximum cost of a day, in billionths of a US dollar. *learn*: verdicts on its
    items decide about later ones.
    """

    allow_cloud: bool = True
    outside: Literal["mark", "separate", "drop"] = "mark"
    redact: tuple[RedactionRule, ...] = ()
    batch: bool = False
    budget_nanos: int | None = None
    learn: bool = False


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


def with_configs(query: sa.Select[Any]) -> sa.Select[Any]:
    """Join *query*, which selects ``COLUMNS`` from agents, with the config rows that hold them."""
    for key in _of:
        query = query.outerjoin(*joined(key))
    return query


def joined(key: str) -> tuple[sa.FromClause, sa.ColumnElement[bool]]:
    """Return what joins the config rows of *key* with agents."""
    alias = _of[key]
    return alias, sa.and_(alias.c.agent_id == agents.c.id, alias.c.config_key == key)


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
    c.execute(
        sa.delete(agent_configs).where(
            agent_configs.c.agent_id == agent_id, agent_configs.c.config_key.in_(RESERVED)
        )
    )
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


class ConfigRow(msgspec.Struct, frozen=True, kw_only=True):
    """Config of an agent. *source*: ``file`` or ``api``."""

    key: str
    type: ConfigType
    text: str
    description: str | None
    source: str
    created_at: int
    updated_at: int

    @property
    def value(self) -> Any:
        """Decoded value.

        Raises:
            UnreadableConfig: its text is not of its type.
        """
        try:
            return value_in(self.type, self.text)
        except (ValueError, msgspec.DecodeError) as error:
            raise UnreadableConfig(f"the config {self.key} is no {self.type}: {error}") from error


class ConfigMove(msgspec.Struct, frozen=True, kw_only=True):
    """Change of a config. A type of ``None``: the config did not exist before, or was deleted."""

    seq: int
    key: str
    old_type: ConfigType | None
    old_text: str | None
    new_type: ConfigType | None
    new_text: str | None
    actor: str
    at: int


CONFIGS = (
    sa.select(
        agent_configs.c.agent_id,
        *columns_of(
            ConfigRow,
            agent_configs,
            key=agent_configs.c.config_key,
            type=agent_configs.c.config_type,
            text=agent_configs.c.config_value,
        ),
    )
    .where(agent_configs.c.config_key.not_in(RESERVED))
    .order_by(agent_configs.c.agent_id, agent_configs.c.config_key)
)
LAST_MOVE = sa.select(sa.func.coalesce(sa.func.max(agent_config_history.c.seq), 0)).where(
    agent_config_history.c.agent_id == sa.bindparam("agent")
)
MOVES = sa.select(
    *columns_of(
        ConfigMove,
        agent_config_history,
        key=agent_config_history.c.config_key,
        old_text=agent_config_history.c.old_value,
        new_text=agent_config_history.c.new_value,
    )
).where(agent_config_history.c.agent_id == sa.bindparam("agent"))
MOVES_OF_KEY = MOVES.where(agent_config_history.c.config_key == sa.bindparam("named"))
MOVES_AFTER = MOVES.where(agent_config_history.c.seq > sa.bindparam("seq_after")).order_by(
    agent_config_history.c.seq.desc()
)


def list_configs(
    c: sa.Connection, agent_id: AgentId, *, limit: int | None = None, after: Key | None = None
) -> list[ConfigRow]:
    """Return the agent's configs, by key."""
    query = CONFIGS.order_by(None).where(agent_configs.c.agent_id == agent_id)
    query = paged(query, agent_configs.c.config_key, limit=limit, after=after)
    return [row for row, _ in readable_page(c, _with_value, query, limit)]


def _with_value(row: Any) -> tuple[ConfigRow, Any]:
    config = struct_from(ConfigRow, row)
    return config, config.value


def configurations_of(c: sa.Connection, agent_ids: Sequence[AgentId]) -> dict[AgentId, dict[str, Any]]:
    """Return the own configs of several agents; an empty object for agents without any."""
    found: dict[AgentId, dict[str, Any]] = {agent_id: {} for agent_id in agent_ids}
    for part in in_parts(agent_ids):
        query = CONFIGS.where(agent_configs.c.agent_id.in_(list(part)))
        for row in c.execute(query):
            for config, value in readable(_with_value, [row]):
                found[AgentId(row.agent_id)][config.key] = value
    return found


def config_history(
    c: sa.Connection,
    agent_id: AgentId,
    *,
    key: str | None = None,
    limit: int | None = None,
    after: Key | None = None,
) -> list[ConfigMove]:
    """Return changes of the agent's configs, or of *key*, newest first."""
    query, about = (MOVES, {}) if key is None else (MOVES_OF_KEY, {"named": key})
    query = paged(query, agent_config_history.c.seq, limit=limit, after=after, descending=True)
    return fetch_page(c, ConfigMove, query, limit, {"agent": agent_id} | about)


def moves_after(c: sa.Connection, agent_id: AgentId, seq: int) -> list[ConfigMove]:
    """Return every change after number *seq*, newest first."""
    return structs_from(ConfigMove, c.execute(MOVES_AFTER, {"agent": agent_id, "seq_after": seq}))
