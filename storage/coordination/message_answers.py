"""Answers to messages: text in the agent's own chat, or an item in the board's memory.

The first answer counts. The answer to a question or a handoff is in the memory in either case: it is there
already, or is added in the transaction that records the answer.
"""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from protocol.ids import MemoryId
from protocol.messages import MESSAGE, MessageEvent, MessageKind
from storage.coordination.board_memory import MemoryRow, NewMemory, add_memory
from storage.coordination.boards import lock_board
from storage.coordination.message_moves import move_message
from storage.coordination.message_rows import MessageRow, find_message, get_message
from storage.schema import messages

DEFAULT_TAGS: Final = ("gateway_main", "lead_reply")  # tags of a lead's answer in the board's memory
DEFAULT_SOURCE: Final = "lead_to_gateway_main"
REMEMBERED: Final = (MessageKind.QUESTION, MessageKind.HANDOFF)
BY_PERSON: Final = (MessageKind.ASK_USER, MessageKind.ANSWER)  # only people answer these

LOCK_MESSAGE: Final = (
    sa.select(messages.c.id).where(messages.c.id == sa.bindparam("message")).with_for_update(key_share=True)
)


def answer_by_memory(c: sa.Connection, memory: MemoryRow, *, at: int) -> MessageRow | None:
    """Answer the message that a new memory item replies to; ``None`` if it answers none.

    Called in the transaction that adds the item. Only the agent that got the message, or a person, can answer
    it; the first answer stays.
    """
    seen = None if memory.reply_to is None else find_message(c, memory.reply_to)
    if seen is None or seen.board_id != memory.board_id or seen.kind in BY_PERSON:
        return None
    c.execute(LOCK_MESSAGE, {"message": seen.id})  # waits for a concurrent move
    seen = get_message(c, seen.id)
    if memory.agent_id not in (None, seen.to_agent_id) or not MESSAGE.allows(
        seen.state, MessageEvent.ANSWERED
    ):
        return None
    return move_message(
        c,
        seen.id,
        MessageEvent.ANSWERED,
        seen_version=seen.version,
        at=at,
        proof={"memory": memory.id},
        answer=memory.content,
        memory_id=memory.id,
    )


def answer_message(
    c: sa.Connection,
    id: str,
    *,
    seen_version: int,
    text: str,
    proof: Mapping[str, Any],
    memory_id: MemoryId,
    at: int,
) -> MessageRow | None:
    """Record the agent's answer *text*. Return ``None`` if the message changed; nothing was written then.

    Args:
        memory_id: id of the new memory item, for the answer to a question or a handoff.

    Raises:
        UnknownMessage, IllegalTransition: nothing was written.
    """
    seen = get_message(c, id)
    if seen.kind in REMEMBERED and seen.board_id is not None:
        lock_board(c, seen.board_id)  # the board before the message, the order of all writers
    c.execute(LOCK_MESSAGE, {"message": id})  # otherwise a losing answer could leave an item behind
    seen = get_message(c, id)
    if seen.version != seen_version:
        return None
    item: MemoryRow | None = None
    if seen.kind in REMEMBERED and seen.board_id is not None:
        item, _ = add_memory(
            c,
            NewMemory(
                id=memory_id,
                board_id=seen.board_id,
                content=text,
                tags=seen.reply_tags or DEFAULT_TAGS,
                source=seen.reply_source or DEFAULT_SOURCE,
                correlation_id=seen.correlation_id,
                reply_to=seen.id,
                agent_id=seen.to_agent_id,
                actor=f"agent:{seen.to_agent_id}",
                dedupe_key=f"answer:{seen.id}",
                at=at,
            ),
        )
    return move_message(
        c,
        id,
        MessageEvent.ANSWERED,
        seen_version=seen_version,
        at=at,
        proof=proof,
        answer=text,
        memory_id=None if item is None else item.id,
    )
