"""Typed configs of an agent, with their history.

The same table holds configs that the hub itself uses (``storage.agents.agent_configs``); they are excluded
here. All keys of one change are written, or none.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from protocol.configs import RESERVED, ConfigType, value_in
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId
from storage.kernel.columns import in_parts
from storage.kernel.keyset import Key, paged
from storage.kernel.rows import columns_of, fill
from storage.schema import agent_config_history, agent_configs

FILE = "file"  # source of configs that hub.toml declares; otherwise "api"


class UnknownConfig(HubError):
    """Error: the agent has no such config, or no change with that number; nothing was written."""

    code = ErrorCode.UNKNOWN_CONFIG


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
        """Decoded value."""
        return value_in(self.type, self.text)


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
CONFIGS_OF = CONFIGS.where(agent_configs.c.agent_id == sa.bindparam("agent"))
CONFIGS_OF_SEVERAL = CONFIGS.where(agent_configs.c.agent_id.in_(sa.bindparam("listed", expanding=True)))
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


def list_configs(c: sa.Connection, agent_id: AgentId) -> list[ConfigRow]:
    """Return the agent's configs, by key."""
    return [fill(ConfigRow, row) for row in c.execute(CONFIGS_OF, {"agent": agent_id})]


def configuration_of(c: sa.Connection, agent_id: AgentId) -> dict[str, Any]:
    """Return the agent's own configs as one object, without the defaults of its template."""
    return {row.key: row.value for row in list_configs(c, agent_id)}


def configurations_of(c: sa.Connection, agent_ids: Sequence[AgentId]) -> dict[AgentId, dict[str, Any]]:
    """Return the own configs of several agents; an empty object for agents without any."""
    found: dict[AgentId, dict[str, Any]] = {agent_id: {} for agent_id in agent_ids}
    for part in in_parts(agent_ids):
        for row in c.execute(CONFIGS_OF_SEVERAL, {"listed": list(part)}):
            found[AgentId(row.agent_id)][row.key] = value_in(ConfigType(row.type), row.text)
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
    return [fill(ConfigMove, row) for row in c.execute(query, {"agent": agent_id} | about)]


def moves_after(c: sa.Connection, agent_id: AgentId, seq: int) -> list[ConfigMove]:
    """Return every change after number *seq*, newest first."""
    return [fill(ConfigMove, row) for row in c.execute(MOVES_AFTER, {"agent": agent_id, "seq_after": seq})]
