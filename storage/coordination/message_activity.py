"""Activity entries about messages: whether the agent has the message, or will never get it."""

from typing import Final

import sqlalchemy as sa

from protocol.messages import DELIVERED, MessageKind, MessageState
from storage.audit import activity
from storage.coordination.message_rows import MessageRow

_EVENTS: Final = {
    MessageKind.NUDGE: "agent.nudge",
    MessageKind.QUESTION: "gateway.main.lead_message",
    MessageKind.HANDOFF: "gateway.main.lead_message",
    MessageKind.ASK_USER: "gateway.lead.ask_user",
    MessageKind.ANSWER: "agent.answer",
}
_UNDELIVERED: Final = (MessageState.FAILED, MessageState.EXPIRED)


def tell(c: sa.Connection, before: MessageState, row: MessageRow) -> None:
    """Record the activity for the move of *row* out of *before*, if people need to know.

    Messages of a broadcast are skipped: the broadcast has one entry for all of them.
    """
    if row.broadcast_id is not None:
        return
    if row.state in DELIVERED and before not in DELIVERED:
        outcome, level, message = "sent", "info", _sent(row)
    elif row.state in _UNDELIVERED and before not in DELIVERED:
        outcome, level = "failed", "warning"
        message = f"{_failed(row)}: {row.reason or row.state}"
    else:
        return
    activity.record(
        c,
        id=f"{row.id}:{row.version}",  # unique, so that a repeated transaction adds one entry
        at=row.updated_at,
        event_type=f"{_EVENTS[row.kind]}.{outcome}",
        message=message,
        actor=row.actor,
        agent_id=row.from_agent_id or row.to_agent_id,
        device_id=row.device_id,
        level=level,
        data={"message_id": row.id, "board_id": row.board_id, "to_agent_id": row.to_agent_id},
        trace_id=row.trace_id,
    )


def _sent(row: MessageRow) -> str:
    match row.kind:
        case MessageKind.NUDGE:
            return f"Nudge sent to {row.to_agent}."
        case MessageKind.QUESTION | MessageKind.HANDOFF:
            return f"Sent {row.kind} to lead for board: {row.board}."
        case MessageKind.ASK_USER:
            return f"Lead requested user info via gateway agent for board: {row.board}."
        case MessageKind.ANSWER:
            return f"Sent the user's answer to {row.to_agent}."


def _failed(row: MessageRow) -> str:
    match row.kind:
        case MessageKind.NUDGE:
            return f"Nudge failed for {row.to_agent}"
        case MessageKind.QUESTION | MessageKind.HANDOFF:
            return f"Lead message failed for {row.board}"
        case MessageKind.ASK_USER:
            return f"Lead user question failed for {row.board}"
        case MessageKind.ANSWER:
            return f"The user's answer did not reach {row.to_agent}"
