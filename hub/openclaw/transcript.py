"""Data of a gateway's session: transcript, pending inputs and results of runs."""

from collections.abc import Mapping
from typing import Any

import msgspec


class ChatAck(msgspec.Struct, frozen=True, rename="camel"):
    """A gateway's acknowledgement of a message, which does not prove delivery to a busy agent.

    *status* is started, in_flight or ok, which is also used for a waiting message. A text that the gateway
    interprets as its own command is answered without *run_id* and *status*.
    """

    run_id: str
    status: str
    interrupted_active_run: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a session's transcript.

    Attributes:
        text: the text parts of the content.
        key: for a user's row, the idempotency key of its ``chat.send`` followed by ``:user``.
        run_id: for an agent's row, the run that wrote it.
        source: for a row written by a program on behalf of a person, the program.
        kind: for a row of the role custom, its kind.
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

    state: str
    run_id: str | None = None
    id: str | None = None
    accepted_at: float | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A session's newest rows, oldest first, and its pending inputs.

    Attributes:
        pending: at most 20, the newest of *pending_total*; older ones are before *pending_before*.
        next_offset: offset of older rows; None if there are none.
        in_flight_run: the active run, according to the gateway, which reports the newest.
        receipts: states of the requested keys that no turn has read: pending.
    """

    session_key: str
    messages: list[Message]
    pending: list[PendingInput]
    pending_total: int = 0
    pending_before: int | None = None
    next_offset: int | None = None
    has_more: bool = False
    in_flight_run: str | None = None
    is_running: bool = False
    session_id: str | None = None
    receipts: Mapping[str, str] = {}

    def place(self, key: str) -> int | None:
        """Return the index of the user's row with this idempotency key, or None."""
        wanted = f"{key}:user"
        return next((n for n, row in enumerate(self.messages) if row.key == wanted), None)

    def waiting(self, key: str) -> PendingInput | None:
        """Return the pending message with this idempotency key, or None."""
        return next((item for item in self.pending if item.run_id == key), None)


class RunWait(msgspec.Struct, frozen=True, kw_only=True):
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
    items: list[PendingInput] = []
    total: int = 0
    next_before: int | None = None


class _Receipt(msgspec.Struct, frozen=True, rename="camel"):
    run_id: str
    state: str


class _InFlight(msgspec.Struct, frozen=True, rename="camel"):
    run_id: str | None = None


class _SessionInfo(msgspec.Struct, frozen=True, rename="camel"):
    has_active_run: bool = False


class HistoryAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Wire format of the answer to ``chat.history``."""

    session_key: str
    messages: list[dict[str, Any]]
    pending_inputs: _Pending = _Pending()
    has_more: bool = False
    next_offset: int | None = None
    input_receipts: list[_Receipt] = []
    in_flight_run: _InFlight | None = None
    session_info: _SessionInfo = _SessionInfo()
    session_id: str | None = None


class _Reply(msgspec.Struct, frozen=True):
    text: str | None = None


class WaitAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Wire format of the answer to ``agent.wait``."""

    run_id: str
    status: str
    terminal_reply: _Reply | None = None
    error: Any = None
    stop_reason: str | None = None
    timeout_phase: str | None = None
    liveness_state: str | None = None


def history_of(answer: HistoryAnswer) -> History:
    """Convert a session from its wire format."""
    return History(
        session_key=answer.session_key,
        messages=[_message(row) for row in answer.messages],
        pending=answer.pending_inputs.items,
        pending_total=answer.pending_inputs.total,
        pending_before=answer.pending_inputs.next_before,
        next_offset=answer.next_offset,
        has_more=answer.has_more,
        in_flight_run=answer.in_flight_run.run_id if answer.in_flight_run else None,
        is_running=answer.session_info.has_active_run,
        session_id=answer.session_id,
        receipts={receipt.run_id: receipt.state for receipt in answer.input_receipts},
    )


def wait_of(answer: WaitAnswer) -> RunWait:
    """Convert a run's result from its wire format."""
    return RunWait(
        run_id=answer.run_id,
        status=answer.status,
        reply=answer.terminal_reply.text if answer.terminal_reply else None,
        error=answer.error if isinstance(answer.error, str) else None,
        stop_reason=answer.stop_reason,
        timeout_phase=answer.timeout_phase,
        liveness=answer.liveness_state,
    )


def message_text(content: Any) -> str:
    """Return the text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in parts if isinstance(text, str))


def _message(row: Mapping[str, Any]) -> Message:
    told, origin = _object(row.get("__openclaw")), _object(row.get("provenance"))
    stamp = row.get("timestamp")
    return Message(
        role=_text(row.get("role")) or "",
        text=message_text(row.get("content")),
        id=_text(told.get("id")),
        key=_text(row.get("idempotencyKey")) or _text(told.get("idempotencyKey")),
        run_id=_text(told.get("runId")),
        stop_reason=_text(row.get("stopReason")),
        source=_text(origin.get("sourceTool")) or _text(origin.get("kind")),
        kind=_text(row.get("customType")),
        timestamp_ms=stamp if isinstance(stamp, int | float) else None,
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
