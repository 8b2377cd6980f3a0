"""Typed functions for a gateway's methods: chat, history, agents and files.

Reading is lenient: unknown fields are ignored, and a missing required field raises ``GatewayInvalid``.
Nothing is retried here, and messages of errors are never interpreted.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from hub.openclaw.frames import MAX_FRAME_BYTES, MAX_LISTED, Word
from hub.openclaw.gateway_client import Gateway
from hub.openclaw.gateway_errors import FileConflict, GatewayInvalid, GatewayRefused
from protocol.agent_messages import QueueMode

_SPARE_S: Final = 15.0  # additional time for the answer, beyond the gateway's own time limit

T = TypeVar("T")
Text = Annotated[str, Meta(max_length=MAX_FRAME_BYTES)]


class ChatAck(msgspec.Struct, frozen=True, rename="camel"):
    """A gateway's acknowledgement of a message, which does not prove delivery to a busy agent.

    *status* is started, in_flight or ok, which is also used for a waiting message. A text that the gateway
    interprets as its own command is answered without *run_id* and *status*.
    """

    run_id: Word
    status: Word


class TranscriptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a session's transcript.

    Attributes:
        text: the text parts of the content.
        key: for a user's row, the idempotency key of its ``chat.send`` followed by ``:user``.
        run_id: for an agent's row, the run that wrote it.
        source: for a row written by a program on behalf of a person, the program.
        kind: for a row that neither a person nor the agent wrote, its kind.
    """

    role: str
    text: str
    id: str | None = None
    key: str | None = None
    run_id: str | None = None
    stop_reason: str | None = None
    source: str | None = None
    kind: str | None = None
    timestamp_ms: float | None = None


class PendingInput(msgspec.Struct, frozen=True, rename="camel"):
    """An accepted message that no turn has read: *state* is queued, interrupted or cancelled."""

    state: Word
    run_id: Word | None = None
    id: Word | None = None
    accepted_at: float | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A session's newest rows, oldest first, and its pending inputs.

    Attributes:
        pending: the newest, at most 20; older ones are before *pending_before*.
        next_offset: offset of older rows; None if there are none.
        in_flight_run: the active run, according to the gateway, which reports the newest.
        receipts: states of the requested keys that no turn has read: pending.
    """

    messages: list[TranscriptMessage]
    pending: list[PendingInput]
    pending_before: int | None = None
    next_offset: int | None = None
    in_flight_run: str | None = None
    is_running: bool = False
    receipts: Mapping[str, str] = {}

    def place(self, key: str) -> int | None:
        """Return the index of the user's row with this idempotency key, or None."""
        requested = f"{key}:user"
        return next((n for n, row in enumerate(self.messages) if row.key == requested), None)

    def waiting(self, key: str) -> PendingInput | None:
        """Return the pending message with this idempotency key, or None."""
        return next((item for item in self.pending if item.run_id == key), None)


class AgentWait(msgspec.Struct, frozen=True, kw_only=True):
    """Result of ``agent.wait``.

    Attributes:
        status: ok, error, timeout (still running or unknown) or pending (waiting for its turn).
        reply: the answer; None unless the run itself answered.
    """

    run_id: str
    status: str
    reply: str | None = None
    error: str | None = None
    stop_reason: str | None = None
    timeout_phase: str | None = None
    liveness: str | None = None


class _Pending(msgspec.Struct, frozen=True, rename="camel"):
    items: Annotated[list[PendingInput], Meta(max_length=MAX_LISTED)] = []
    next_before: int | None = None


class _Receipt(msgspec.Struct, frozen=True, rename="camel"):
    run_id: Word
    state: Word


class _InFlight(msgspec.Struct, frozen=True, rename="camel"):
    run_id: Word | None = None


class _SessionInfo(msgspec.Struct, frozen=True, rename="camel"):
    has_active_run: bool = False


class _HistoryAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Wire format of the answer to ``chat.history``."""

    messages: Annotated[list[dict[str, Any]], Meta(max_length=MAX_LISTED)]
    pending_inputs: _Pending = _Pending()
    next_offset: int | None = None
    input_receipts: Annotated[list[_Receipt], Meta(max_length=MAX_LISTED)] = []
    in_flight_run: _InFlight | None = None
    session_info: _SessionInfo = _SessionInfo()


class _Reply(msgspec.Struct, frozen=True):
    text: Text | None = None


class _WaitAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Wire format of the answer to ``agent.wait``."""

    run_id: Word
    status: Word
    terminal_reply: _Reply | None = None
    error: Any = None
    stop_reason: Word | None = None
    timeout_phase: Word | None = None
    liveness_state: Word | None = None


def message_text(content: Any) -> str:
    """Return the text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in parts if isinstance(text, str))


def _message(row: Mapping[str, Any]) -> TranscriptMessage:
    reported, origin = _object(row.get("__openclaw")), _object(row.get("provenance"))
    stamp = row.get("timestamp")
    return TranscriptMessage(
        role=_text(row.get("role")) or "",
        text=message_text(row.get("content")),
        id=_text(reported.get("id")),
        key=_text(row.get("idempotencyKey")) or _text(reported.get("idempotencyKey")),
        run_id=_text(reported.get("runId")),
        stop_reason=_text(row.get("stopReason")),
        source=_text(origin.get("sourceTool")) or _text(origin.get("kind")),
        kind=_text(row.get("customType")) or _text(reported.get("kind")),
        timestamp_ms=stamp if isinstance(stamp, int | float) else None,
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


# --- agents ---


class AgentEntry(msgspec.Struct, frozen=True):
    """An agent of a gateway."""

    id: Word


class AgentsList(msgspec.Struct, frozen=True):
    """Agents of a gateway."""

    agents: Annotated[list[AgentEntry], Meta(max_length=MAX_LISTED)]

    def find(self, agent_id: str) -> AgentEntry | None:
        """Return the agent with this id, or None."""
        return next((agent for agent in self.agents if agent.id == agent_id), None)


class CreatedAgent(msgspec.Struct, frozen=True, rename="camel"):
    """A newly created agent."""

    agent_id: Word


class AgentFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file of an agent's workspace. *hash* is the SHA-256 of the content, hex; None if missing."""

    name: Word
    missing: bool = False
    updated_at_ms: float | None = None
    hash: Word | None = None
    content: Text | None = None


class _FileAnswer(msgspec.Struct, frozen=True):
    file: AgentFile


async def agents_list(gateway: Gateway) -> AgentsList:
    """Return all agents of the gateway."""
    return _read(gateway, "agents.list", await gateway.call("agents.list"), AgentsList)


async def create_agent(gateway: Gateway, name: str, *, trace: str | None = None) -> CreatedAgent:
    """Create an agent with a new workspace. Its id is *name* in lower case, at most 64 characters.

    Raises:
        GatewayRefused: refused, possibly because the agent exists; the gateway does not say, so check with
            ``agents_list``.
    """
    payload = await gateway.call("agents.create", {"name": name}, trace=trace, needs="operator.admin")
    return _read(gateway, "agents.create", payload, CreatedAgent)


async def file_get(gateway: Gateway, agent_id: str, name: str, *, trace: str | None = None) -> AgentFile:
    """Return a file of an agent; ``missing`` is True if it does not exist."""
    payload = await gateway.call("agents.files.get", {"agentId": agent_id, "name": name}, trace=trace)
    file = _read(gateway, "agents.files.get", payload, _FileAnswer).file
    if not file.missing and (file.content is None or file.hash is None):
        raise _invalid(gateway, "agents.files.get", "content or hash is not there")
    return file


async def file_set(
    gateway: Gateway,
    agent_id: str,
    name: str,
    content: str,
    *,
    expected_hash: str | None = None,
    trace: str | None = None,
) -> AgentFile:
    """Write a file of an agent.

    Args:
        expected_hash: hash of the version to replace; None for any version.

    Raises:
        FileConflict: another version is stored; nothing was written.
        GatewayInvalid: the answer lacks the new hash; the file may have been written.
    """
    asked = {"agentId": agent_id, "name": name, "content": content}
    if expected_hash is not None:
        asked["expectedHash"] = expected_hash
    try:
        payload = await gateway.call("agents.files.set", asked, trace=trace, needs="operator.admin")
    except GatewayRefused as refused:
        details = refused.details
        reason = details.get("type")
        if reason != "agent_file_conflict":
            raise
        raise FileConflict(
            str(refused), gateway=gateway.name, dispatched=False, reason=reason, details=details
        ) from refused
    file = _read(gateway, "agents.files.set", payload, _FileAnswer).file
    if file.hash is None:
        raise _invalid(gateway, "agents.files.set", "the hash is not there")
    return file


# --- messages ---


async def chat_send(
    gateway: Gateway,
    session_key: str,
    message: str,
    *,
    key: str,
    deliver: bool = False,
    queue_mode: QueueMode | None = None,
    trace: str | None = None,
) -> ChatAck:
    """Send *message* to a session.

    Args:
        key: idempotency key. A repeated key with another text is refused (``reason`` chat-request-conflict).
            It becomes the run's id.
        deliver: True to forward the agent's answer to its channel.
    """
    asked = {"sessionKey": session_key, "message": message, "deliver": deliver, "idempotencyKey": key}
    if queue_mode is not None:
        asked["queueMode"] = str(queue_mode)
    payload = await gateway.call("chat.send", asked, trace=trace, needs="operator.write")
    return _read(gateway, "chat.send", payload, ChatAck)


async def chat_history(
    gateway: Gateway,
    session_key: str,
    *,
    limit: int | None = None,
    offset: int | None = None,
    about: Sequence[str] = (),
    pending_before: int | None = None,
) -> History:
    """Return the newest rows of a session; an unknown session has none.

    Args:
        limit: number of rows, at most 1,000; also limits ``pending``.
        offset: number of newest rows to skip.
        about: idempotency keys to report in ``receipts``, wherever their rows are; at most 50.
        pending_before: continuation of ``pending`` from an earlier answer.
    """
    asked: dict[str, Any] = {"sessionKey": session_key}
    more = {"limit": limit, "offset": offset, "pendingBefore": pending_before}
    asked |= {name: value for name, value in more.items() if value is not None}
    if about:
        asked["inputRunIds"] = list(dict.fromkeys(about))
    payload = await gateway.call("chat.history", asked)
    answer = _read(gateway, "chat.history", payload, _HistoryAnswer)
    return History(
        messages=[_message(row) for row in answer.messages],
        pending=answer.pending_inputs.items,
        pending_before=answer.pending_inputs.next_before,
        next_offset=answer.next_offset,
        in_flight_run=answer.in_flight_run.run_id if answer.in_flight_run else None,
        is_running=answer.session_info.has_active_run,
        receipts={receipt.run_id: receipt.state for receipt in answer.input_receipts},
    )


async def agent_wait(gateway: Gateway, run_id: str, *, timeout_ms: int) -> AgentWait:
    """Wait at the gateway for the end of a run, up to *timeout_ms*; occupies one of few slots."""
    asked = {"runId": run_id, "timeoutMs": timeout_ms}
    timeout_s = timeout_ms / 1000 + _SPARE_S
    payload = await gateway.call("agent.wait", asked, timeout_s=timeout_s, needs="operator.write")
    answer = _read(gateway, "agent.wait", payload, _WaitAnswer)
    return AgentWait(
        run_id=answer.run_id,
        status=answer.status,
        reply=answer.terminal_reply.text if answer.terminal_reply else None,
        error=answer.error if isinstance(answer.error, str) else None,
        stop_reason=answer.stop_reason,
        timeout_phase=answer.timeout_phase,
        liveness=answer.liveness_state,
    )


# --- parsing ---


def _read(gateway: Gateway, method: str, payload: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(payload, kind)
    except msgspec.ValidationError as error:
        raise _invalid(gateway, method, str(error)) from error


def _invalid(gateway: Gateway, method: str, why: str) -> GatewayInvalid:
    message = f"gateway {gateway.name}: its answer to {method} cannot be read: {why}"
    return GatewayInvalid(message, gateway=gateway.name, dispatched=True)
