"""What a gateway shows of one message: read out of the agent's own history. Pure.

A message stands in the history under the key that it was sent with. What the agent said to it is the first
word that it ended a turn with after that; whose turn it was is not always told by the run, for a message
may be taken into another one's turn, or be worked on under a fresh run when its gateway was restarted.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from hub.openclaw.methods import History, Message, PendingInput

RESUMED: Final = "main_session_restart_recovery"  # the source of a row that lets a turn go on after a restart
SILENT: Final = "NO_REPLY"  # what an agent says to say nothing
NAMELESS: Final = ""  # the run of a row that does not tell any; of two such rows it is not known to be one
_UNFINISHED: Final = ("toolUse",)  # the agent goes on after these
_BROKEN: Final = ("error", "aborted")
_UNHEARD: Final = "run-failed-before-reply"  # the kind of row that says that no model was even asked


class Standing(StrEnum):
    """How far a message has come at its agent."""

    ABSENT = "absent"  # the gateway shows nothing of it
    PENDING = "pending"  # taken on; its turn has not come
    INTERRUPTED = "interrupted"  # dropped before its agent had it
    CANCELLED = "cancelled"  # taken back at the gateway before its agent had it
    CONSUMED = "consumed"  # it stands in the history


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What the history shows of a message.

    Attributes:
        proof: the row that shows it.
        answer: what the agent said to it; ``None``: nothing yet.
        failure: why its turn came to nothing; ``None``: it did not.
        end_proof: the row of either.
        is_unheard: the turn came to nothing before any model was asked.
        is_busy: the agent is at work, on this or on something else.
    """

    standing: Standing
    proof: dict[str, Any] = {}
    answer: str | None = None
    failure: str | None = None
    end_proof: dict[str, Any] = {}
    is_unheard: bool = False
    is_busy: bool = False


def shown_of(key: str, history: History) -> Shown:
    """What *history* shows of the message that was sent under *key*."""
    is_busy = history.is_running or history.in_flight_run is not None
    if (at := history.place(key)) is not None:
        return _consumed(key, history.messages, at, is_busy)
    if history.receipts.get(key) == "consumed":  # further back than was looked
        proof = {"receipt": {"runId": key, "state": "consumed"}}
        return Shown(standing=Standing.CONSUMED, proof=proof, is_busy=is_busy)
    if (item := history.waiting(key)) is not None:
        standing = _PENDING.get(item.state, Standing.PENDING)
        return Shown(standing=standing, proof={"pending": _told(item)}, is_busy=is_busy)
    if history.receipts.get(key) == "pending":
        proof = {"receipt": {"runId": key, "state": "pending"}}
        return Shown(standing=Standing.PENDING, proof=proof, is_busy=is_busy)
    return Shown(standing=Standing.ABSENT, is_busy=is_busy)


_PENDING: Final = {"interrupted": Standing.INTERRUPTED, "cancelled": Standing.CANCELLED}


def _consumed(key: str, rows: list[Message], at: int, is_busy: bool) -> Shown:
    # A run that went on from before may have taken the message in; one that began after the next
    # thing was said to the agent is an answer to that.
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
            if row.stop_reason in _BROKEN:  # the run may have tried again, and answered
                failure, is_unheard, end = row.text.strip() or row.stop_reason, False, row
            elif row.stop_reason not in _UNFINISHED and (said := words_of(row.text)):
                answer, failure, is_unheard, end = said, None, False, row
                break
    return Shown(
        standing=Standing.CONSUMED,
        proof={"history": _told(rows[at])},
        answer=answer,
        failure=failure,
        end_proof={} if end is None else {"history": _told(end)},
        is_unheard=is_unheard,
        is_busy=is_busy,
    )


def words_of(text: str | None) -> str | None:
    """What an agent said, unless it said nothing in so many words."""
    said = (text or "").strip()
    return said if said and said != SILENT else None


def _run(row: Message) -> str:
    """The run that a row is of; of what was said to the agent, the run that it began."""
    return row.run_id or (row.key or "").rpartition(":")[0]


def _told(row: Message | PendingInput) -> dict[str, Any]:
    """What is kept of a row as proof: everything but its words."""
    told = msgspec.structs.asdict(row)
    return {name: value for name, value in told.items() if name != "text" and value is not None}
