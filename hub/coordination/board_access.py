"""Which boards an agent or person may see, and what each may do on a board."""

from dataclasses import dataclass
from typing import Self

from protocol.board_permissions import AIMED, BoardCallerRole, Denial, Verb, Whom, denial
from protocol.coordination import AGENT
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import AgentId, GatewayId, UserId
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.coordination import boards
from storage.coordination.boards import BoardPlacement, BoardRow, UnknownBoard
from storage.kernel.columns import Key
from storage.store import Connection


@dataclass(frozen=True)
class Caller:
    """Requester of an operation on a board.

    Attributes:
        actor: name in history and audit log: ``operator:UID``, ``token:ID``, ``device:ID``, ``agent:ID``.
        user_id: user whose data the caller sees; None for all users. Always set for an agent.
        agent_id: the calling agent; None for an operator or a person at a device.
    """

    actor: str
    user_id: UserId | None
    agent_id: AgentId | None = None

    @classmethod
    def of_agent(cls, agent_id: AgentId, user_id: UserId) -> Self:
        """Return the caller for an agent acting in its own name."""
        return cls(f"{AGENT}{agent_id}", user_id, agent_id)


def board(c: Connection, caller: Caller, given: str) -> BoardRow:
    """Return the board with this id or name, among the boards of the caller's user.

    Raises:
        UnknownBoard, CodedError
    """
    return boards.find_board(c, given, user_id=caller.user_id)


def board_for(c: Connection, caller: Caller, verb: Verb, given: str) -> BoardRow:
    """Return the board after checking that the caller may do *verb* on it, without a target agent.

    Raises:
        UnknownBoard, CodedError
    """
    found = board(c, caller, given)
    require(c, caller, verb, found)
    return found


def target(
    c: Connection, caller: Caller, verb: Verb, board_given: str, agent_given: str
) -> tuple[BoardRow, AgentRow]:
    """Return board and agent after checking that the caller may do *verb* to the agent.

    Raises:
        UnknownBoard, CodedError,
    """
    found = board(c, caller, board_given)
    # first without the target, so that a forbidden caller cannot probe which agents exist
    require(c, caller, verb, found)
    agent = agents.find_agent(c, agent_given, user_id=found.user_id)
    if agent is None:
        raise _no_member(f"agent {agent_given!r}", found)
    require(c, caller, verb, found, agent)
    return found, agent


def require(
    c: Connection, caller: Caller, verb: Verb, board: BoardRow, target: AgentRow | None = None
) -> None:
    """Check that the caller may do *verb*.

    Args:
        target: the affected agent; None checks only whether the caller may affect any agent.

    Raises:
        UnknownBoard: the board belongs to another user.
        CodedError: the caller lacks the permission.
        CodedError (UNKNOWN_AGENT): the target is not on the board.
    """
    if caller.user_id not in (None, board.user_id):
        raise UnknownBoard(f"there is no board {board.id}")
    whom = _whom(c, caller, board, target) if verb in AIMED and target is not None else None
    if (denied := denial(role(c, caller, board), verb, whom)) is not None:
        raise _refusal(denied, board, target)


def role(c: Connection, caller: Caller, board: BoardRow) -> BoardCallerRole:
    """Return the caller's role towards the board."""
    return BoardCallerRole.OPERATOR if caller.agent_id is None else role_of(place(c, caller), board)


def place(c: Connection, caller: Caller) -> BoardPlacement:
    """Return the calling agent's place: its board, its role and its gateway.

    Raises:
        CodedError (UNKNOWN_AGENT): the agent was removed.
    """
    assert caller.agent_id is not None, "an operator is not a member of a board"
    found = boards.place_of(c, caller.agent_id)
    if found is None or found.user_id != caller.user_id:
        raise CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no agent {caller.agent_id}")
    return found


def main_of(c: Connection, caller: Caller) -> GatewayId:
    """Return the gateway whose main agent is the caller.

    Raises:
        CodedError: the caller is not a main agent.
    """
    if caller.agent_id is not None and (gateway_id := place(c, caller).main_of) is not None:
        return gateway_id
    raise CodedError(ErrorCode.NOT_GATEWAY_MAIN, "only the main agent of a gateway may ask this")


def boards_of(
    c: Connection, caller: Caller, *, limit: int | None = None, after: Key | None = None
) -> list[BoardRow]:
    """Return the boards visible to the caller, by name: an agent's own, or a main agent's gateway's."""
    if caller.agent_id is None:
        return boards.list_boards(c, user_id=caller.user_id, limit=limit, after=after)
    own = place(c, caller)
    if own.main_of is not None:
        return boards.list_boards(c, user_id=own.user_id, gateway_id=own.main_of, limit=limit, after=after)
    return [] if own.board_id is None or after is not None else [boards.get_board(c, own.board_id)]


def _whom(c: Connection, caller: Caller, board: BoardRow, target: AgentRow) -> Whom:
    found = boards.place_of(c, target.id)
    if found is None or found.user_id != board.user_id:
        return Whom.OUTSIDER
    if target.id == caller.agent_id:
        return Whom.SELF
    match role_of(found, board):
        case BoardCallerRole.LEAD:
            return Whom.LEAD
        case BoardCallerRole.WORKER:
            return Whom.WORKER
        case BoardCallerRole.GATEWAY_MAIN:
            return Whom.MAIN
        case _:
            return Whom.OUTSIDER


def role_of(place: BoardPlacement, board: BoardRow) -> BoardCallerRole:
    """Return the role of an agent with this place towards the board."""
    if place.user_id != board.user_id:
        return BoardCallerRole.STRANGER
    if place.board_id == board.id:
        return BoardCallerRole.LEAD if place.is_lead else BoardCallerRole.WORKER
    if place.main_of is not None and place.main_of == board.gateway_id:
        return BoardCallerRole.GATEWAY_MAIN
    return BoardCallerRole.STRANGER


def _refusal(denied: Denial, board: BoardRow, target: AgentRow | None) -> HubError:
    if denied.code is ErrorCode.UNKNOWN_AGENT:
        return _no_member("such agent" if target is None else f"agent {target.name!r}", board)
    return CodedError(denied.code, denied.words)


def _no_member(named: str, board: BoardRow) -> CodedError:
    hint = f"'hub boards show {board.name}' lists its agents"
    return CodedError(ErrorCode.UNKNOWN_AGENT, f"there is no {named} on board {board.name!r}", hint=hint)
