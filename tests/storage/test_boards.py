"""A board has a name, agents and one lead; an agent is on one board at most."""

import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, UserId
from storage import audit
from storage.agents import agents
from storage.agents.declared_agents import DeclaredAgent
from storage.coordination import boards
from storage.coordination.boards import BoardLimits, BoardRow, TooManyOfBoards, UnknownBoard
from storage.devices import users
from storage.schema import board_members as rows_of_members
from tests.storage.rows import AT, ME, declare, some
from tests.storage.test_gateways import OFFICE, put, worker
from tests.support.coded import coded

ANNA = "operator:7"
INBOX, NOTES, PLANS = (AgentId(f"agent-{name}") for name in ("inbox", "notes", "plans"))


def three_agents() -> list[DeclaredAgent]:
    """Inbox, notes and plans, on a laptop."""
    names = ("inbox", "notes", "plans")
    return [DeclaredAgent(name=name, device_name="laptop", paths=("notes",)) for name in names]


@pytest.fixture(autouse=True)
def _three_agents(c: sa.Connection) -> None:
    declare(c, *three_agents())


def make(c: sa.Connection, name: str = "garden", *, user_id: UserId = ME, **about: object) -> BoardRow:
    """A board; its id tells its name and whose it is."""
    id = BoardId(f"board-{name}" if user_id == ME else f"board-{name}-{user_id}")
    return boards.create_board(c, id=id, user_id=user_id, name=name, at=AT, actor=ANNA, **about)  # type: ignore[arg-type]


def add(c: sa.Connection, board: BoardRow, agent_id: AgentId, **about: object) -> None:
    boards.add_member(c, board.id, agent_id, at=AT, actor=ANNA, **about)  # type: ignore[arg-type]


def lead(c: sa.Connection, board: BoardRow, agent_id: AgentId | None) -> BoardRow:
    return boards.set_lead(c, board.id, agent_id, at=AT, actor=ANNA)


def members(c: sa.Connection, board: BoardRow) -> list[tuple[str, bool]]:
    return [(row.name, row.is_lead) for row in boards.list_members(c, board.id)]


@pytest.fixture
def garden(c: sa.Connection) -> BoardRow:
    """A board."""
    return make(c)


@pytest.fixture
def led(c: sa.Connection, garden: BoardRow) -> None:
    """The agent ``inbox`` leads the board."""
    add(c, garden, INBOX, is_lead=True)


def test_board_is_found_by_id_and_by_name(c: sa.Connection) -> None:
    made = make(c, description="What grows.")
    assert (made.name, made.description, made.user_name, made.members, made.lead_id) == (
        *("garden", "What grows.", "me"),
        *(0, None),
    )
    for given in ("garden", made.id):
        assert (boards.find_board(c, given, user_id=ME), boards.find_board(c, given)) == (made, made)
    with pytest.raises(UnknownBoard, match="there is no board 'garten'"):
        boards.find_board(c, "garten")


def test_board_of_another_user_is_unknown_by_name_and_by_id(c: sa.Connection) -> None:
    made, eve = make(c), users.ensure_user(c, UserId("eve"), "eve", AT)
    for given in ("garden", made.id):
        with pytest.raises(UnknownBoard):
            boards.find_board(c, given, user_id=eve)
    eves = make(c, user_id=eve)
    assert boards.find_board(c, "garden", user_id=eve) == eves
    assert [row.id for row in boards.list_boards(c, user_id=eve)] == [eves.id]
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match=r"say whose: \?user=NAME"):
        boards.find_board(c, "garden")


def test_board_of_a_taken_name_or_beyond_the_limit_is_refused(c: sa.Connection) -> None:
    make(c)
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN)):
        make(c)
    with pytest.raises(TooManyOfBoards, match="boards_per_user") as refused:
        make(c, "kitchen", limits=BoardLimits(boards_per_user=1))
    assert refused.value.limit == "boards_per_user"


def test_board_edit_refuses_a_taken_name_and_leaves_omitted_fields(c: sa.Connection) -> None:
    board, _ = make(c, description="What grows."), make(c, "kitchen")
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN)):
        boards.edit_board(c, board.id, name="kitchen", at=AT, actor=ANNA)
    changed = boards.edit_board(c, board.id, name="yard", at=AT + 5, actor=ANNA)
    assert (changed.name, changed.description, changed.updated_at) == ("yard", "What grows.", AT + 5)
    assert boards.edit_board(c, board.id, description=None, at=AT, actor=ANNA).description is None
    same = boards.edit_board(c, board.id, name="yard", at=AT, actor=ANNA)
    assert same.name == "yard", "its own name is not taken"


def test_boards_are_listed_by_name_in_pages_and_by_gateway(c: sa.Connection) -> None:
    put(c, OFFICE)
    for name in ("c", "a", "b"):
        make(c, name, gateway_id="gw-office" if name == "b" else None)
    assert [row.name for row in boards.list_boards(c)] == ["a", "b", "c"]
    assert [row.name for row in boards.list_boards(c, after=("a", "board-a"), limit=1)] == ["b"]
    (served,) = boards.list_boards(c, gateway_id=boards.get_board(c, BoardId("board-b")).gateway_id)
    assert (served.name, served.gateway_name) == ("b", "office")


def test_agent_is_on_a_single_board_at_most(c: sa.Connection) -> None:
    garden, kitchen = make(c), make(c, "kitchen")
    add(c, garden, INBOX)
    add(c, garden, INBOX)
    assert members(c, garden) == [("inbox", False)]
    with pytest.raises(
        CodedError,
        check=coded(ErrorCode.ILLEGAL_TRANSITION),
        match="on board 'garden': take it off that one first",
    ):
        add(c, kitchen, INBOX)
    boards.drop_member(c, garden.id, INBOX, at=AT, actor=ANNA)
    add(c, kitchen, INBOX)
    assert members(c, kitchen) == [("inbox", False)]


def test_board_refuses_an_agent_of_another_user(c: sa.Connection) -> None:
    eve = users.ensure_user(c, UserId("eve"), "eve", AT)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        add(c, make(c, user_id=eve), INBOX)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        add(c, make(c), AgentId("nobody"))


def test_the_main_agent_of_a_gateway_is_on_no_board(c: sa.Connection) -> None:
    put(c, OFFICE)
    garden = make(c, gateway_id="gw-office")
    with pytest.raises(CodedError, check=coded(ErrorCode.ILLEGAL_TRANSITION), match="it serves all of them"):
        add(c, garden, AgentId("main-office"))
    add(c, garden, worker(c, "weeds").agent_id)
    (member,) = boards.list_members(c, garden.id)
    assert (member.name, member.executor, member.gateway_name, member.device_name) == (
        *("weeds", "gateway"),
        *("office", None),
    )


def test_board_member_beyond_the_limit_is_refused(c: sa.Connection, garden: BoardRow) -> None:
    add(c, garden, INBOX)
    with pytest.raises(TooManyOfBoards, match="members_per_board"):
        add(c, garden, NOTES, limits=BoardLimits(members_per_board=1))
    add(c, garden, INBOX, limits=BoardLimits(members_per_board=1), is_lead=True)
    assert members(c, garden) == [("inbox", True)]


def test_new_lead_of_a_board_replaces_the_present_lead(c: sa.Connection, garden: BoardRow) -> None:
    add(c, garden, INBOX)
    add(c, garden, NOTES, is_lead=True)
    assert members(c, garden) == [("notes", True), ("inbox", False)]
    assert lead(c, garden, INBOX).lead_name == "inbox"
    assert (members(c, garden), lead(c, garden, None).lead_id) == ([("inbox", True), ("notes", False)], None)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_AGENT)):
        lead(c, garden, PLANS)


def test_database_constraint_refuses_a_second_lead_of_a_board(c: sa.Connection, garden: BoardRow) -> None:
    for agent_id in (INBOX, NOTES):
        add(c, garden, agent_id)
    lead(c, garden, INBOX)
    second = sa.update(rows_of_members).where(rows_of_members.c.agent_id == NOTES).values(is_lead=True)
    with pytest.raises(sa.exc.IntegrityError):
        c.execute(second)


def test_place_of_returns_the_board_and_role_of_an_agent(c: sa.Connection) -> None:
    put(c, OFFICE)
    garden = make(c, gateway_id="gw-office")
    add(c, garden, INBOX, is_lead=True)
    place = some(boards.place_of(c, INBOX))
    assert (place.board_id, place.is_lead, place.main_of, place.user_id) == (
        *(garden.id, True),
        *(None, ME),
    )
    main = some(boards.place_of(c, AgentId("main-office")))
    assert (main.board_id, main.is_lead, main.main_of) == (None, False, "gw-office")
    assert (some(boards.place_of(c, PLANS)).board_id, boards.place_of(c, AgentId("nobody"))) == (None, None)


@pytest.mark.usefixtures("led")
def test_removed_agent_leaves_the_board_and_frees_the_lead(c: sa.Connection, garden: BoardRow) -> None:
    add(c, garden, NOTES)
    declare(c, DeclaredAgent(name="notes", device_name="laptop", paths=("notes",)))
    assert (members(c, garden), boards.place_of(c, INBOX)) == ([("notes", False)], None)
    assert lead(c, garden, NOTES).lead_name == "notes"


@pytest.mark.usefixtures("led")
def test_removed_board_releases_the_agents(c: sa.Connection, garden: BoardRow) -> None:
    assert boards.remove_board(c, garden.id, at=AT, actor=ANNA).members == 1
    with pytest.raises(UnknownBoard):
        boards.get_board(c, garden.id)
    assert (some(boards.place_of(c, INBOX)).board_id, agents.get_agent(c, INBOX).archived_at) == (None, None)


@pytest.mark.usefixtures("led")
def test_decisions_about_a_board_are_in_the_audit_log(c: sa.Connection, garden: BoardRow) -> None:
    lead(c, garden, INBOX)  # it leads already
    boards.edit_board(c, garden.id, name="yard", at=AT, actor=ANNA)
    boards.drop_member(c, garden.id, INBOX, at=AT, actor=ANNA)
    boards.remove_board(c, garden.id, at=AT, actor=ANNA)
    told = [entry.event for entry in audit.list_entries(c, limit=100) if entry.subject == garden.id]
    expected = ["created", "joined", "lead", "changed", "left", "removed"]
    assert told[::-1] == [f"board.{event}" for event in expected]


def test_user_with_a_board_is_not_removed(c: sa.Connection) -> None:
    make(c, user_id=users.create_user(c, id=UserId("eve"), name="eve", at=AT, actor=ANNA).id)
    with pytest.raises(CodedError, check=coded(ErrorCode.ILLEGAL_TRANSITION), match=r"boards \(1\)"):
        users.remove_user(c, "eve", at=AT, actor=ANNA)
