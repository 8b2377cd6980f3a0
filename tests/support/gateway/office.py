"""What a gateway has on its disk: agents, files, transcripts, devices. It survives each restart."""

import hashlib
from dataclasses import dataclass, field
from itertools import count
from typing import Any

DEFAULT_SOUL = "# SOUL.md - Who You Are\n\n_You're not a chatbot. You're becoming someone._\n"
FILES = ("AGENTS.md", "SOUL.md", "IDENTITY.md", "USER.md", "BOOTSTRAP.md", "MEMORY.md")

_numbers = count(1)


def fresh(what: str) -> str:
    """An id that looks like none of ours, and is another one each time."""
    return f"{what}-{next(_numbers):06d}"


@dataclass
class Row:
    """A row of a transcript."""

    role: str
    text: str
    key: str | None = None  # of a user's row: the idempotency key and ":user"
    run_id: str | None = None  # of an agent's row
    stop_reason: str | None = None
    provenance: dict[str, Any] | None = None
    custom_type: str | None = None  # of a row that is neither a person's nor the agent's
    kind: str | None = None  # of a row of the session itself
    id: str = field(default_factory=lambda: fresh("row"))
    at_ms: int = 0

    def frame(self, seq: int) -> dict[str, Any]:
        inner: dict[str, Any] = {"id": self.id, "seq": seq}
        row: dict[str, Any] = {"role": self.role, "timestamp": self.at_ms, "__openclaw": inner}
        if self.role == "user":
            row["content"] = self.text
        elif self.custom_type is not None:
            row |= {"content": self.text, "customType": self.custom_type, "display": True}
        elif self.kind is not None:
            row["content"] = [{"type": "text", "text": self.text}]
            inner["kind"] = self.kind
        else:
            row["content"] = [{"type": "text", "text": self.text}]
            row["stopReason"] = self.stop_reason or "stop"
        if self.key is not None:
            row["idempotencyKey"] = inner["idempotencyKey"] = self.key
        if self.run_id is not None:
            inner["runId"] = self.run_id
        if self.provenance is not None:
            row["provenance"] = self.provenance
        return row


@dataclass
class Pending:
    """A message that was taken and that no turn has read."""

    key: str
    text: str
    state: str = "queued"
    id: str = field(default_factory=lambda: fresh("pending"))
    at_ms: int = 0

    def frame(self) -> dict[str, Any]:
        message = {"role": "user", "content": self.text, "timestamp": self.at_ms}
        return {
            "id": self.id,
            "acceptedAt": self.at_ms,
            "state": self.state,
            "message": message,
            "runId": self.key,
        }


@dataclass
class Session:
    """One conversation."""

    key: str
    id: str = field(default_factory=lambda: fresh("session"))
    rows: list[Row] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    interrupted_run: str | None = None  # a turn that was under way when the gateway was killed

    @property
    def agent_id(self) -> str:
        return self.key.split(":")[1]

    def reset(self, at_ms: int) -> None:
        """Leave one row of the session, and drop messages that no turn has read, without a trace."""
        self.rows[:] = [Row("system", "Reset", kind="reset", at_ms=at_ms)]
        self.pending.clear()

    def find(self, key: str) -> Row | None:
        return next((row for row in self.rows if row.key == f"{key}:user"), None)

    def take(self, key: str) -> Pending | None:
        """The pending message *key*, which is not pending any more."""
        item = next((item for item in self.pending if item.key == key), None)
        if item is not None:
            self.pending.remove(item)
        return item


@dataclass
class Agent:
    """An agent and its workspace."""

    id: str
    workspace: str
    files: dict[str, str] = field(
        default_factory=lambda: {"SOUL.md": DEFAULT_SOUL, "AGENTS.md": "# Agents\n"}
    )

    def frame(self) -> dict[str, Any]:
        return {"id": self.id, "workspace": self.workspace, "workspaceGit": False}

    def file(self, name: str) -> dict[str, Any]:
        content = self.files.get(name)
        path = f"{self.workspace}/{name}"
        if content is None:
            return {"name": name, "path": path, "missing": True, "expectedAbsent": True}
        return {
            "name": name,
            "path": path,
            "missing": False,
            "size": len(content.encode()),
            "updatedAtMs": 1,
            "hash": digest(content),
            "content": content,
        }


@dataclass
class Device:
    """A device that was approved."""

    id: str
    scopes: set[str]
    token: str


@dataclass
class Office:
    """All of it."""

    agents: dict[str, Agent] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    requests: dict[str, tuple[str, set[str]]] = field(default_factory=dict)  # pairing: id -> device, scopes

    def session(self, key: str) -> Session:
        return self.sessions.setdefault(key, Session(key))


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
