"""Log events of messages' state changes; devices get their events from the log."""

from hub.log import Channel
from storage.coordination.message_rows import MessageRow

log = Channel(__name__)


def message_moved(row: MessageRow) -> None:
    """Log a new or changed message, after its commit."""
    log.info(
        "message.moved",
        message_id=row.id,
        kind=row.kind,
        state=row.state,
        user_id=row.user_id,
        board_id=row.board_id,
        agent_id=row.to_agent_id,
        from_agent_id=row.from_agent_id,
        attempt=row.attempt,
        sends=row.sends,
        reason=row.reason_code,
    )
