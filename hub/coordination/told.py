"""What the log says of a message after the commit that moved it; from there devices hear of it."""

from hub.log import Channel
from storage.coordination.message_rows import MessageRow

log = Channel(__name__)


def message_moved(row: MessageRow) -> None:
    """A message is in another state, or came to be."""
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
