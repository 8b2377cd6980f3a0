"""State of one message at its gateway, read from the agent's history. Pure functions.

The history has a message under the key with which it was sent. Its answer is the first text after it that
ends a turn. The run id does not always identify that turn. A message may be added to another turn, or be
processed in a new run after a restart of the gateway.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from hub.openclaw import Gateway, methods
from hub.openclaw.methods import History, Message, PendingInput

RESUMED: Final = "main_session_restart_recovery"  # source of a row that continues a turn after a restart
SILENT: Final = "NO_REPLY"  # text of an agent that chooses not to answer
NAMELESS: Final = ""  # run of a row without run id; two such rows may have different runs
_UNFINISHED: Final = ("toolUse",)  # stop reasons after which the agent continues
_BROKEN: Final = ("error", "aborted")
_UNHEARD: Final = "run-failed-before-reply"  # kind of row for a turn that ended before any model was asked


class Progress(StrEnum):
    """Progress of a message at its agent."""

    ABSENT = "absent"  # unknown to the gateway
    PENDING = "pending"  # accepted, but its turn has not begun
    INTERRUPTED = "interrupted"  # dropped before the agent read it
    CANCELLED = "cancelled"  # withdrawn at the gateway before the agent read it
    CONSUMED = "consumed"  # part of the history


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """State of a message according to the history.

    Attributes:
        proof: the row that proves the state.
        answer: the agent's answer; None if there is none yet.
        failure: why the turn failed; None if it did not.
        end_proof: the row of the answer or the failure.
        is_unheard: True if the turn failed before any model was asked.
        is_busy: True if the agent is working, on this message or another.
    """

    progress: Progress
    proof: dict[str, Any] = {}
    answer: str | None = None
    failure: str | None = None
    end_proof: dict[str, Any] = {}
    is_unheard: bool = False
    is_busy: bool = False


def shown_of(key: str, history: History) -> Shown:
    """Return the state of the message sent under *key*, according to *history*."""
    is_busy = history.is_running or history.in_flight_run is not None
    if (at := history.place(key)) is not None:
        return _consumed(key, history.messages, at, is_busy)
    if history.receipts.get(key) == "consumed":  # further back than the pages that were read
        proof = {"receipt": {"runId": key, "state": "consumed"}}
        return Shown(progress=Progress.CONSUMED, proof=proof, is_busy=is_busy)
    if (item := history.waiting(key)) is not None:
        progress = _PENDING.get(item.state, Progress.PENDING)
        return Shown(progress=progress, proof={"pending": _proof_of(item)}, is_busy=is_busy)
    if history.receipts.get(key) == "pending":
        proof = {"receipt": {"runId": key, "state": "pending"}}
        return Shown(progress=Progress.PENDING, proof=proof, is_busy=is_busy)
    return Shown(progress=Progress.ABSENT, is_busy=is_busy)


_PENDING: Final = {"interrupted": Progress.INTERRUPTED, "cancelled": Progress.CANCELLED}


def _consumed(key: str, rows: list[Message], at: int, is_busy: bool) -> Shown:
    # An earlier run may have included the message. A run that begins after the next input answers that input.
    ours = {key, *(_run(row) for row in rows[: at + 1])} - {NAMELESS}
    is_alone = True
    answer, failure, is_unheard = None, None, False
    end: Message | None = None
    for row in rows[at + 1 :]:
        run = _run(row)
        if row.role == "user":
            if row.source == RESUMED:
                ours |= {run} - {NAMELESS} if is_alone else set()
            else:
                is_alone = False
                ours.discard(run)
        elif row.kind == _UNHEARD and run == key and failure is None:
            failure, is_unheard, end = row.text.strip() or "the gateway could not ask the model", True, row
        elif row.role == "assistant" and (is_alone or run in ours):
            ours |= {run} - {NAMELESS}
            if row.stop_reason in _BROKEN:  # the run may have retried and answered
                failure, is_unheard, end = row.text.strip() or row.stop_reason, False, row
            elif row.stop_reason not in _UNFINISHED and (words := words_of(row.text)):
                answer, failure, is_unheard, end = words, None, False, row
                break
    return Shown(
        progress=Progress.CONSUMED,
        proof={"history": _proof_of(rows[at])},
        answer=answer,
        failure=failure,
        end_proof={} if end is None else {"history": _proof_of(end)},
        is_unheard=is_unheard,
        is_busy=is_busy,
    )


def words_of(text: str | None) -> str | None:
    """Return an agent's text, or None if it is empty or says that the agent does not answer."""
    words = (text or "").strip()
    return words if words and words != SILENT else None


def _run(row: Message) -> str:
    """Return the run of a row; for an input, the run that it started."""
    return row.run_id or (row.key or "").rpartition(":")[0]


def _proof_of(row: Message | PendingInput) -> dict[str, Any]:
    """Return the part of a row kept as proof: everything except its text."""
    fields = msgspec.structs.asdict(row)
    return {name: value for name, value in fields.items() if name != "text" and value is not None}


ROWS: Final = 200  # per page of a history
PAGES: Final = 5  # a message older than 1,000 rows cannot be found, and fails


async def find(gateway: Gateway, session_key: str | None, key: str) -> tuple[Shown, bool]:
    """Return the state of the message sent under *key*, and whether the lookup was complete.

    Raises:
        GatewayError: the gateway could not be asked.
    """
    assert session_key is not None, "its home is known"
    history = await methods.chat_history(gateway, session_key, limit=ROWS, about=(key,))
    rows, pending = list(history.messages), list(history.pending)
    offset, before = history.next_offset, history.pending_before
    for _ in range(PAGES - 1):
        shown = shown_of(key, msgspec.structs.replace(history, messages=rows, pending=pending))
        if shown.progress is not Progress.ABSENT or (offset is None and before is None):
            return shown, True
        history = await methods.chat_history(
            gateway, session_key, limit=ROWS, offset=offset, about=(key,), pending_before=before
        )
        if offset is not None:  # otherwise the page repeats the newest rows
            rows = [*history.messages, *rows]
            offset = history.next_offset
        if before is not None:
            pending = [*history.pending, *pending]
            before = history.pending_before
    shown = shown_of(key, msgspec.structs.replace(history, messages=rows, pending=pending))
    return shown, offset is None
