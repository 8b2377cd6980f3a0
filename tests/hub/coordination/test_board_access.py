"""Who may do what on a board: the whole matrix, by the table alone and over a real store."""

from collections.abc import AsyncIterator

import pytest

from hub.coordination import board_access
from hub.coordination.board_access import Caller
from protocol.board_permissions import AIMED, LAW, BoardCallerRole, Verb, Whom, denial
from protocol.errors import CodedError, ErrorCode, HubError
from protocol.ids import UserId
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.coordination import boards
from storage.coordination.boards import UnknownBoard
from storage.store import open_store
from tests.hub.coordination.garden import AGENTS, CALLERS, EVE, Garden, open_garden
from tests.support.coded import coded
from tests.support.families import each

# Written down a second time, so that a change of the law was meant. By verb and target: what the
# operator, the lead, another agent of the board, the main agent of its gateway, an agent of another
# board and the main agent of another gateway are answered.
OK, FORBIDDEN, MAIN_ONLY, NOT_YOURS, NOBODY = (
    *("ok", "forbidden", "not_gateway_main", "not_your_board", "unknown_agent"),
)
_STRANGERS = (NOT_YOURS, NOT_YOURS)
MATRIX: dict[tuple[Verb, str], tuple[str, ...]] = {
    (Verb.BOARD_READ, ""): (OK, OK, OK, OK, *_STRANGERS),
    (Verb.NUDGE, "worker"): (OK, OK, FORBIDDEN, FORBIDDEN, *_STRANGERS),
    (Verb.NUDGE, "lead"): (OK, FORBIDDEN, OK, FORBIDDEN, *_STRANGERS),
    (Verb.NUDGE, "main"): (OK, NOBODY, NOBODY, FORBIDDEN, *_STRANGERS),
    (Verb.NUDGE, "stranger"): (NOBODY, NOBODY, NOBODY, FORBIDDEN, *_STRANGERS),
    (Verb.NUDGE, "foreign_main"): (NOBODY, NOBODY, NOBODY, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_READ, "worker"): (OK, OK, OK, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_READ, "lead"): (OK, OK, FORBIDDEN, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_READ, "main"): (OK, NOBODY, NOBODY, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_READ, "stranger"): (NOBODY, NOBODY, NOBODY, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_WRITE, "worker"): (OK, OK, FORBIDDEN, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_WRITE, "lead"): (OK, OK, FORBIDDEN, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_WRITE, "main"): (OK, NOBODY, FORBIDDEN, FORBIDDEN, *_STRANGERS),
    (Verb.SOUL_WRITE, "stranger"): (NOBODY, NOBODY, FORBIDDEN, FORBIDDEN, *_STRANGERS),
    (Verb.ASK_USER, ""): (OK, OK, FORBIDDEN, FORBIDDEN, *_STRANGERS),
    (Verb.LEAD_MESSAGE, ""): (OK, MAIN_ONLY, MAIN_ONLY, OK, *_STRANGERS),
    (Verb.ENSURE_LEAD, ""): (OK, MAIN_ONLY, MAIN_ONLY, OK, *_STRANGERS),
    (Verb.BROADCAST, ""): (OK, MAIN_ONLY, MAIN_ONLY, OK, *_STRANGERS),
    (Verb.MEMORY_READ, ""): (OK, OK, OK, OK, *_STRANGERS),
    (Verb.MEMORY_WRITE, ""): (OK, OK, OK, OK, *_STRANGERS),
    (Verb.QUESTION_READ, ""): (OK, OK, FORBIDDEN, OK, *_STRANGERS),
    (Verb.QUESTION_ANSWER, ""): (OK, MAIN_ONLY, MAIN_ONLY, OK, *_STRANGERS),
}
ROLES = dict(
    zip(
        CALLERS,
        (
            *(
                BoardCallerRole.OPERATOR,
                BoardCallerRole.LEAD,
                BoardCallerRole.WORKER,
                BoardCallerRole.GATEWAY_MAIN,
            ),
            *(BoardCallerRole.STRANGER, BoardCallerRole.STRANGER),
        ),
        strict=True,
    )
)
WHOM = {
    "": None,
    "lead": Whom.LEAD,
    "worker": Whom.WORKER,
    "main": Whom.MAIN,
    "stranger": Whom.OUTSIDER,
    "foreign_main": Whom.OUTSIDER,
}
CELLS = [
    pytest.param(caller, verb, target, answers[column], id=f"{caller} {verb} {target}".strip())
    for (verb, target), answers in MATRIX.items()
    for column, caller in enumerate(CALLERS)
]


@pytest.fixture(scope="module")
async def garden() -> AsyncIterator[Garden]:
    async with open_store("sqlite://") as store:
        yield await open_garden(store)


def test_every_verb_has_a_row_in_the_matrix() -> None:
    assert {verb for verb, _ in MATRIX} == set(Verb)
    for verb in AIMED:
        assert {target for of, target in MATRIX if of is verb} >= {"worker", "lead", "main", "stranger"}


def test_every_board_role_except_stranger_has_permission_rules() -> None:
    assert {role for role, _ in LAW} == set(BoardCallerRole) - {BoardCallerRole.STRANGER}
    assert all(LAW.values())


@each(("caller", "verb", "target", "answer"), CELLS)
def test_permission_table_yields_the_expected_answer(
    caller: str, verb: Verb, target: str, answer: str
) -> None:
    whom = Whom.SELF if caller == target else WHOM[target]
    denied = denial(ROLES[caller], verb, whom)
    assert ("ok" if denied is None else denied.code) == answer
    if denied is not None:
        assert denied.words


# Who asks, and whom it concerns, is found out in the same way for each verb.
@each(
    ("caller", "verb", "target", "answer"),
    [cell for cell in CELLS if cell.values[1] in (Verb.NUDGE, Verb.ENSURE_LEAD)],
)
async def test_authority_permits_each_verb_by_the_role_of_the_caller(
    garden: Garden, caller: str, verb: Verb, target: str, answer: str
) -> None:
    agent = await garden.agent(target) if target else None
    assert await _answer(garden, garden.callers[caller], verb, agent) == answer
    if agent is not None:
        assert await _named(garden, garden.callers[caller], verb, agent) == answer


async def test_board_is_unknown_to_another_user(garden: Garden) -> None:
    eves = await garden.agent("eves")
    for caller in (Caller("token:eves", EVE), Caller.of_agent(eves.id, EVE)):
        for verb in Verb:
            assert await _answer(garden, caller, verb, None) == "unknown_board"
        for given in ("roses", garden.board.id):
            with pytest.raises(UnknownBoard):
                await garden.store.read(board_access.board, caller, given)


async def test_operator_of_all_users_is_permitted_every_verb(garden: Garden) -> None:
    worker = await garden.agent("worker")
    for verb in Verb:
        assert await _answer(garden, Caller("operator:0", None), verb, worker) == "ok"


async def test_an_agent_of_another_user_is_not_on_the_board(garden: Garden) -> None:
    eves = await garden.agent("eves")
    assert await _answer(garden, garden.callers["user"], Verb.NUDGE, eves) == NOBODY
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        await garden.store.read(board_access.target, garden.callers["user"], Verb.NUDGE, "roses", eves.id)


async def test_caller_without_permission_cannot_tell_existing_from_missing_agents(garden: Garden) -> None:
    for given in ("worker", "nobody at all"):
        with pytest.raises(HubError) as refused:
            await garden.store.read(board_access.target, garden.callers["main"], Verb.NUDGE, "roses", given)
        assert refused.value.code == FORBIDDEN


@pytest.mark.parametrize(
    ("caller", "boards"),
    [
        ("user", ["lawn", "roses", "shed", "weeds"]),
        ("lead", ["roses"]),
        ("worker", ["roses"]),
        ("main", ["roses", "weeds"]),
        ("stranger", ["weeds"]),
        ("foreign_main", ["lawn"]),
        ("idle", []),
    ],
)
async def test_caller_sees_only_the_boards_of_the_role_or_gateway(
    garden: Garden, caller: str, boards: list[str]
) -> None:
    seen = await garden.store.read(board_access.boards_of, garden.callers[caller])
    assert [board.name for board in seen] == boards


async def test_only_the_gateway_main_agent_is_recognized_as_main(garden: Garden) -> None:
    assert await garden.store.read(board_access.main_of, garden.callers["main"]) == garden.board.gateway_id
    for caller in ("user", "lead", "worker", "stranger", "idle"):
        with pytest.raises(CodedError, check=coded(ErrorCode.NOT_GATEWAY_MAIN)):
            await garden.store.read(board_access.main_of, garden.callers[caller])


async def test_board_role_of_an_agent_follows_lead_and_membership_changes() -> None:
    async with open_store("sqlite://") as store:
        garden = await open_garden(store)
        worker = await garden.agent("worker")
        caller = garden.callers["worker"]
        assert await garden.store.read(board_access.role, caller, garden.board) is BoardCallerRole.WORKER
        await store.write(boards.set_lead, garden.board.id, worker.id, at=1, actor="anna")
        assert await garden.store.read(board_access.role, caller, garden.board) is BoardCallerRole.LEAD
        assert (
            await garden.store.read(board_access.role, garden.callers["lead"], garden.board)
            is BoardCallerRole.WORKER
        )
        await store.write(boards.drop_member, garden.board.id, worker.id, at=1, actor="anna")
        assert await garden.store.read(board_access.role, caller, garden.board) is BoardCallerRole.STRANGER


async def test_removed_agent_is_denied_every_verb() -> None:
    async with open_store("sqlite://") as store:
        garden = await open_garden(store)
        await garden.remove("worker")
        for verb in Verb:
            assert await _answer(garden, garden.callers["worker"], verb, None) == NOBODY
        target = await store.read(agents.find_agent_by_name, "worker")
        assert target is not None and target.archived_at is not None
        assert await _answer(garden, garden.callers["user"], Verb.NUDGE, target) == NOBODY


async def test_agent_acting_for_another_user_is_denied(garden: Garden) -> None:
    lead = await garden.agent("lead")
    with pytest.raises(HubError):
        await garden.store.read(
            board_access.require, Caller.of_agent(lead.id, UserId("eve")), Verb.NUDGE, garden.board
        )
    assert set(AGENTS) >= set(CALLERS) - {"user"}


async def _answer(garden: Garden, caller: Caller, verb: Verb, target: AgentRow | None) -> str:
    try:
        await garden.store.read(board_access.require, caller, verb, garden.board, target)
    except HubError as refused:
        assert str(refused)
        return str(refused.code)
    return OK


async def _named(garden: Garden, caller: Caller, verb: Verb, target: AgentRow) -> str:
    """The same, as a route asks it: by names."""
    try:
        board, agent = await garden.store.read(board_access.target, caller, verb, "roses", target.name)
    except HubError as refused:
        return str(refused.code)
    assert (board.id, agent.id) == (garden.board.id, target.id)
    return OK
