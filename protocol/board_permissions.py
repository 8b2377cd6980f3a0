"""Permissions on boards: one table from the caller's role and the action to the allowed targets.

The role is the relation of the caller to the board. ``hub.coordination.board_access`` determines it; this
module contains only the rules.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from protocol.errors import ErrorCode


class Verb(StrEnum):
    """Operation on a board."""

    BOARD_READ = "board.read"
    NUDGE = "nudge"
    SOUL_READ = "soul.read"
    SOUL_WRITE = "soul.write"
    ASK_USER = "ask_user"
    LEAD_MESSAGE = "lead.message"
    ENSURE_LEAD = "lead.ensure"
    BROADCAST = "broadcast"
    MEMORY_READ = "memory.read"
    MEMORY_WRITE = "memory.write"
    QUESTION_READ = "question.read"
    QUESTION_ANSWER = "question.answer"


class BoardCallerRole(StrEnum):
    """Role of a caller on a board."""

    OPERATOR = "operator"  # or the person at a device: owner of the board, or of the hub
    LEAD = "lead"
    WORKER = "worker"  # any other member of the board
    GATEWAY_MAIN = "gateway_main"  # main agent of the board's own gateway
    STRANGER = "stranger"  # any other agent of the same user


class Whom(StrEnum):
    """Relation of the targeted agent to the board and the caller."""

    SELF = "self"
    LEAD = "lead"
    WORKER = "worker"
    MAIN = "main"  # main agent of the board's gateway
    OUTSIDER = "outsider"  # not on the board


class Denial(msgspec.Struct, frozen=True):
    """Reason for a refusal."""

    code: ErrorCode
    words: str


AIMED: Final = frozenset({Verb.NUDGE, Verb.SOUL_READ, Verb.SOUL_WRITE})  # operations that target one agent
MEMBERS: Final = frozenset({Whom.LEAD, Whom.WORKER})
ALL: Final = MEMBERS | {Whom.SELF, Whom.MAIN}  # for operations without a target
_R, _V, _W = BoardCallerRole, Verb, Whom

# Missing pairs are forbidden. The targets matter only for operations in AIMED.
LAW: Final[Mapping[tuple[BoardCallerRole, Verb], frozenset[Whom]]] = {
    **{(_R.OPERATOR, verb): ALL for verb in Verb},
    (_R.LEAD, _V.BOARD_READ): ALL,
    (_R.LEAD, _V.NUDGE): frozenset({_W.WORKER}),
    (_R.LEAD, _V.SOUL_READ): frozenset({_W.SELF, _W.WORKER}),
    (_R.LEAD, _V.SOUL_WRITE): frozenset({_W.SELF, _W.WORKER}),
    (_R.LEAD, _V.ASK_USER): ALL,
    (_R.LEAD, _V.MEMORY_READ): ALL,
    (_R.LEAD, _V.MEMORY_WRITE): ALL,
    (_R.LEAD, _V.QUESTION_READ): ALL,
    (_R.WORKER, _V.BOARD_READ): ALL,
    (_R.WORKER, _V.NUDGE): frozenset({_W.LEAD}),
    (_R.WORKER, _V.SOUL_READ): frozenset({_W.SELF}),
    (_R.WORKER, _V.MEMORY_READ): ALL,
    (_R.WORKER, _V.MEMORY_WRITE): ALL,
    (_R.GATEWAY_MAIN, _V.BOARD_READ): ALL,
    (_R.GATEWAY_MAIN, _V.LEAD_MESSAGE): ALL,
    (_R.GATEWAY_MAIN, _V.ENSURE_LEAD): ALL,
    (_R.GATEWAY_MAIN, _V.BROADCAST): ALL,
    (_R.GATEWAY_MAIN, _V.MEMORY_READ): ALL,
    (_R.GATEWAY_MAIN, _V.MEMORY_WRITE): ALL,
    (_R.GATEWAY_MAIN, _V.QUESTION_READ): ALL,
    (_R.GATEWAY_MAIN, _V.QUESTION_ANSWER): ALL,
}
OF_THE_MAIN: Final = frozenset({Verb.LEAD_MESSAGE, Verb.ENSURE_LEAD, Verb.BROADCAST, Verb.QUESTION_ANSWER})
_DOING: Final[Mapping[Verb, str]] = {
    Verb.BOARD_READ: "see the board",
    Verb.NUDGE: "nudge",
    Verb.SOUL_READ: "read the soul of",
    Verb.SOUL_WRITE: "write the soul of",
    Verb.ASK_USER: "ask the user",
    Verb.LEAD_MESSAGE: "send messages to leads",
    Verb.ENSURE_LEAD: "see to it that a board has a lead",
    Verb.BROADCAST: "send broadcasts to leads",
    Verb.MEMORY_READ: "read the board's memory",
    Verb.MEMORY_WRITE: "write into the board's memory",
    Verb.QUESTION_READ: "read the board's questions to its people",
    Verb.QUESTION_ANSWER: "answer for a person",
}
_CALLED: Final[Mapping[BoardCallerRole, str]] = {
    BoardCallerRole.OPERATOR: "an operator",
    BoardCallerRole.LEAD: "the lead of a board",
    BoardCallerRole.WORKER: "an agent that is not the lead",
    BoardCallerRole.GATEWAY_MAIN: "the main agent of a gateway",
    BoardCallerRole.STRANGER: "an agent of another board",
}
_AIM: Final[Mapping[Whom, str]] = {
    Whom.SELF: "itself",
    Whom.LEAD: "its lead",
    Whom.WORKER: "another agent of the board",
    Whom.MAIN: "the main agent of the gateway",
    Whom.OUTSIDER: "an agent of another board",
}


def denial(role: BoardCallerRole, verb: Verb, whom: Whom | None = None) -> Denial | None:
    """Return the reason why a caller in this role may not do it; ``None``: allowed.

    Args:
        whom: the targeted agent; ``None``: check only whether the operation is allowed at all.
    """
    if role is BoardCallerRole.STRANGER:
        return Denial(ErrorCode.NOT_YOUR_BOARD, "this is not the board of the agent that asks")
    allowed = LAW.get((role, verb))
    if allowed is None:
        if verb in OF_THE_MAIN:
            words = f"only the main agent of the board's gateway, or a person, may {_DOING[verb]}"
            return Denial(ErrorCode.NOT_GATEWAY_MAIN, words)
        anybody = " others" if verb in AIMED else ""
        return Denial(ErrorCode.FORBIDDEN, f"{_CALLED[role]} may not {_DOING[verb]}{anybody}")
    if verb not in AIMED or whom is None or whom in allowed:
        return None
    if whom in (Whom.OUTSIDER, Whom.MAIN):  # agents know only those of their own board
        return Denial(ErrorCode.UNKNOWN_AGENT, "there is no such agent on this board")
    return Denial(ErrorCode.FORBIDDEN, f"{_CALLED[role]} may not {_DOING[verb]} {_AIM[whom]}")
