"""Texts of messages as agents read them in their sessions. Pure functions.

A letter names the sender, the board, and how to answer. It never has a token: the agent has its own. The text
is stored with the first attempt to send it, so that later attempts send the same text.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from protocol.asking import without_answers
from protocol.messages import MessageKind
from storage.coordination.message_rows import MessageRow

LEAD_TAGS: Final = ("gateway_main", "lead_reply")
LEAD_SOURCE: Final = "lead_to_gateway_main"
USER_TAGS: Final = ("gateway_main", "user_reply")
USER_SOURCE: Final = "user_via_gateway_main"

# Without a real id, so that quoting the letter does not count as an answer.
ANSWER_LINE: Final = "ANSWER QUESTION_ID: what the user said"

_TITLES: Final = {
    MessageKind.NUDGE: "NUDGE",
    MessageKind.QUESTION: "QUESTION TO THE LEAD",
    MessageKind.HANDOFF: "HANDOFF TO THE LEAD",
    MessageKind.ASK_USER: "A LEAD ASKS THE USER",
    MessageKind.ANSWER: "ANSWER OF THE USER",
}


def letter(row: MessageRow, *, reply_url: str | None, preferred_channel: str | None = None) -> str:
    """Return the letter of a message.

    Args:
        reply_url: the hub's address for agents over HTTP; None if they cannot reach it.
        preferred_channel: channel over which the person prefers to be asked.
    """
    head = [
        _TITLES[row.kind],
        *_line("Board", row.board),
        *_line("Board ID", row.board_id),
        *_line("From", _sender(row)),
        *_line("Correlation ID", row.correlation_id),
        *_line("Question ID", row.question_id),
        *_line("Preferred channel", preferred_channel),
        *_line("Message ID", row.id),
    ]
    content = row.content.strip()
    # quoting the content must not count as an answer to another question
    if row.kind is MessageKind.ASK_USER:
        content = without_answers(content)
    parts = ["\n".join(head), content, *_ending(row, reply_url)]
    return "\n\n".join(parts)


def _sender(row: MessageRow) -> str:
    if row.kind is MessageKind.ANSWER:
        return "the user"
    if row.from_agent_id is None:
        return "the user of this hub"
    role = "lead " if row.kind is MessageKind.ASK_USER else "agent "
    return role + (row.from_agent or row.from_agent_id)


def _line(name: str, value: str | None) -> list[str]:
    return [f"{name}: {value.strip()}"] if value and value.strip() else []


def _ending(row: MessageRow, reply_url: str | None) -> list[str]:
    match row.kind:
        case MessageKind.NUDGE:
            return ["If this wants an answer, give it in this chat."]
        case MessageKind.QUESTION | MessageKind.HANDOFF:
            if reply_url is None or row.board_id is None:
                return ["Give your answer to the gateway's main agent in this chat: it is brought there."]
            item = _item(row, row.id, LEAD_TAGS, LEAD_SOURCE)
            return [
                "Answer the gateway's main agent with a memory item of this board that is no chat:",
                f"{_post(row, reply_url)}\n{item}",
                "Put the answer there and not into this chat.",
            ]
        case MessageKind.ASK_USER:
            asked = "Ask the user over the channels that you have (Slack, SMS, mail and the like)."
            if reply_url is None or row.board_id is None or row.question_id is None:
                return [
                    asked,
                    "As soon as the user has answered, write a line of its own in this chat,"
                    " with the question's ID as it stands above:",
                    ANSWER_LINE,
                ]
            item = _item(row, row.question_id, USER_TAGS, USER_SOURCE)
            return [
                f"{asked} Whom you cannot reach there, you ask in the chat of this board.",
                "As soon as the user has answered, write a memory item of this board that is no chat:",
                f"{_post(row, reply_url)}\n{item}",
                "Put the answer there and not into this chat.",
            ]
        case MessageKind.ANSWER:
            return []


def _post(row: MessageRow, reply_url: str) -> str:
    return f"POST {reply_url.rstrip('/')}/v1/agent/boards/{row.board_id}/memory"


def _item(row: MessageRow, reply_to: str, tags: Sequence[str], source: str) -> str:
    body = {
        "content": "...",
        "tags": list(row.reply_tags or tags),
        "source": row.reply_source or source,
        "reply_to": reply_to,
    }
    return f"Body: {msgspec.json.encode(body).decode()}"
