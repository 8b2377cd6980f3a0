"""Last known configuration of this device's agents: plain functions over the file."""

import sqlite3
from typing import Any

import msgspec


class Configuration(msgspec.Struct, frozen=True):
    """Configuration of one agent. *rev* grows with each change."""

    agent_id: str
    rev: int
    configuration: dict[str, Any]


def keep(db: sqlite3.Connection, received: Configuration, at_ms: int) -> None:
    """Store the newest configuration of an agent."""
    db.execute(
        "INSERT INTO agent_configs VALUES (?1, ?2, ?3, ?4)"
        " ON CONFLICT (agent_id) DO UPDATE SET rev = ?2, configuration = ?3, at = ?4",
        (received.agent_id, received.rev, msgspec.json.encode(received.configuration).decode(), at_ms),
    )


def stored(db: sqlite3.Connection) -> list[Configuration]:
    """Return the stored configuration of each agent."""
    found = db.execute("SELECT agent_id, rev, configuration FROM agent_configs ORDER BY agent_id")
    return [Configuration(id, rev, msgspec.json.decode(text)) for id, rev, text in found]
