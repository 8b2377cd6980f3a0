"""Who asks, and what it is towards a board: looked up here, judged by the table of ``protocol.authority``."""

from dataclasses import dataclass
from typing import Self

from protocol.authority import AGENT, AIMED, Denial, Standing, Verb, Whom, denial
from protocol.errors import ErrorCode, HubError
from protocol.ids import AgentId, GatewayId, UserId
from storage.agents import agents
from storage.agents.agents import AgentRow, UnknownAgent
from storage.coordination import board_members, boards
from storage.coordination.board_members import Place
from storage.coordination.boards import BoardRow, UnknownBoard
from storage.store import Store


class NotAllowed(HubError):
    """The table says no; nothing was done."""

    code = ErrorCode.FORBIDDEN


class NoSuchMember(UnknownAgent):
    """No agent of that name is on the board; nothing was done."""

    def __init__(self, named: str, board: BoardRow) -> None:
        super().__init__(f"there is no {named} on board {board.name!r}")
        self.hint = f"'hub boards show {board.name}' lists who is on it"


class NotYourBoard(NotAllowed):
    """It is the board of other agents."""

    code = ErrorCode.NOT_YOUR_BOARD


class NotGatewayMain(NotAllowed):
    """This is for the main agent of the board's gateway."""

    code = ErrorCode.NOT_GATEWAY_MAIN


@dataclass(frozen=True)
class Caller:
    """Who asks for something on a board.

    Attributes:
        actor: as history and audit tell it: ``operator:UID``, ``token:ID``, ``device:ID``, ``agent:ID``.
        user_id: whose things it sees; None: everybody's. Always told of an agent.
        agent_id: the agent that asks; None: an operator, or the person at a device.
    """

    actor: str
    user_id: UserId | None
    agent_id: AgentId | None = None

    @classmethod
    def of_agent(cls, agent_id: AgentId, user_id: UserId) -> Self:
        """An agent in its own name."""
        return cls(f"{AGENT}{agent_id}", user_id, agent_id)


class Authority:
    """Says what is allowed; whoever does something on a board asks here before."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def board(self, caller: Caller, given: str) -> BoardRow:
        """The board of that id or name, if it is one of those that the caller's user has.

        Raises:
            UnknownBoard, AmbiguousBoard
        """
        return await self._store.read(boards.find_board, given, user_id=caller.user_id)

    async def board_for(self, caller: Caller, verb: Verb, given: str) -> BoardRow:
        """``board``, and ``require`` of it what is aimed at no agent.

        Raises:
            UnknownBoard, AmbiguousBoard, NotAllowed
        """
        board = await self.board(caller, given)
        await self.require(caller, verb, board)
        return board

    async def target(
        self, caller: Caller, verb: Verb, board_given: str, agent_given: str
    ) -> tuple[BoardRow, AgentRow]:
        """Both as they were named, once the caller is known to be allowed to do it to this agent.

        Raises:
            UnknownBoard, AmbiguousBoard, UnknownAgent, NotAllowed
        """
        board = await self.board(caller, board_given)
        await self.require(caller, verb, board)  # who may not do it to anybody is not told who is there
        agent = await self._agent(board, agent_given)
        await self.require(caller, verb, board, agent)
        return board, agent

    async def require(
        self, caller: Caller, verb: Verb, board: BoardRow, target: AgentRow | None = None
    ) -> None:
        """Let pass what is allowed.

        Args:
            target: the agent that it is aimed at; left away, it is asked whether there may be any.

        Raises:
            UnknownBoard: it is another user's.
            NotYourBoard, NotGatewayMain, NotAllowed: not for this caller.
            UnknownAgent: the target is not on the board.
        """
        if caller.user_id not in (None, board.user_id):
            raise UnknownBoard(f"there is no board {board.id}")
        standing = await self.standing(caller, board)
        whom = None
        if verb in AIMED and target is not None:
            whom = await self._whom(caller, board, target)
        if (denied := denial(standing, verb, whom)) is not None:
            raise _refusal(denied, board, target)

    async def standing(self, caller: Caller, board: BoardRow) -> Standing:
        """What the caller is towards the board."""
        if caller.agent_id is None:
            return Standing.OPERATOR
        return standing_of(await self.place(caller), board)

    async def place(self, caller: Caller) -> Place:
        """Where the agent that asks stands; of anybody else: nowhere.

        Raises:
            UnknownAgent: it was removed.
        """
        assert caller.agent_id is not None, "an operator stands on no board"
        place = await self._store.read(board_members.place_of, caller.agent_id)
        if place is None or place.user_id != caller.user_id:
            raise UnknownAgent(f"there is no agent {caller.agent_id}")
        return place

    async def main_of(self, caller: Caller) -> GatewayId:
        """The gateway whose main agent asks.

        Raises:
            NotGatewayMain: nobody's.
        """
        if caller.agent_id is not None and (place := await self.place(caller)).main_of is not None:
            return place.main_of
        raise NotGatewayMain("only the main agent of a gateway may ask this")

    async def boards_of(self, caller: Caller) -> list[BoardRow]:
        """The boards that the caller may see: an agent its own, a main agent those of its gateway."""
        if caller.agent_id is None:
            return await self._store.read(boards.list_boards, user_id=caller.user_id)
        place = await self.place(caller)
        if place.main_of is not None:
            return await self._store.read(boards.list_boards, user_id=place.user_id, gateway_id=place.main_of)
        if place.board_id is None:
            return []
        return [await self._store.read(boards.get_board, place.board_id)]

    async def _agent(self, board: BoardRow, given: str) -> AgentRow:
        """The agent of that id or name among those of the board's user."""
        found = await self._store.read(agents.find_agent, given, user_id=board.user_id)
        if found is None:
            raise NoSuchMember(f"agent {given!r}", board)
        return found

    async def _whom(self, caller: Caller, board: BoardRow, target: AgentRow) -> Whom:
        place = await self._store.read(board_members.place_of, target.id)
        if place is None or place.user_id != board.user_id:
            return Whom.OUTSIDER
        if target.id == caller.agent_id:
            return Whom.SELF
        match standing_of(place, board):
            case Standing.LEAD:
                return Whom.LEAD
            case Standing.WORKER:
                return Whom.WORKER
            case Standing.GATEWAY_MAIN:
                return Whom.MAIN
            case _:
                return Whom.OUTSIDER


def standing_of(place: Place, board: BoardRow) -> Standing:
    """What an agent that stands there is towards the board."""
    if place.user_id != board.user_id:
        return Standing.STRANGER
    if place.board_id == board.id:
        return Standing.LEAD if place.is_lead else Standing.WORKER
    if place.main_of is not None and place.main_of == board.gateway_id:
        return Standing.GATEWAY_MAIN
    return Standing.STRANGER


def _refusal(denied: Denial, board: BoardRow, target: AgentRow | None) -> HubError:
    match denied.code:
        case ErrorCode.UNKNOWN_AGENT:
            named = "such agent" if target is None else f"agent {target.name!r}"
            return NoSuchMember(named, board)
        case ErrorCode.NOT_YOUR_BOARD:
            return NotYourBoard(denied.words)
        case ErrorCode.NOT_GATEWAY_MAIN:
            return NotGatewayMain(denied.words)
        case _:
            return NotAllowed(denied.words)
