"""Souls as the hub knows them: a write has one end, and every version is kept, refused ones too."""

from typing import Any, Final

import msgspec
import pytest
import sqlalchemy as sa

from protocol.coordination import SoulWriteState
from protocol.errors import CodedError, ErrorCode
from protocol.ids import AgentId, BoardId, SoulWriteId
from storage import audit
from storage.agents import agent_snapshot
from storage.agents.agents import AgentRow
from storage.coordination import boards, souls
from storage.coordination.souls import (
    ABSENT,
    NewSoulWrite,
    NewVersion,
    SoulBusy,
    SoulEnd,
    SoulOutcome,
    SoulWriteRow,
    digest,
)
from storage.schema import soul_versions
from tests.storage.rows import AT, make_agent, some
from tests.support.coded import coded

INBOX = AgentId("agent-inbox")
DONE: Final = SoulWriteState.DONE
CONFLICT: Final = SoulWriteState.CONFLICT
FAILED: Final = SoulWriteState.FAILED
KEPT = 200
TRACE = "0" * 32


def ask(c: sa.Connection, content: str = "ours", number: int = 1, **about: Any) -> SoulWriteRow:
    """A write of the soul of ``inbox`` that was asked for."""
    given: dict[str, Any] = {"board_id": None, "expected_sha256": None, "actor": "operator:1", "at": AT}
    new = NewSoulWrite(
        id=SoulWriteId(f"w-{number}"),
        agent_id=INBOX,
        content=content,
        trace_id=TRACE,
        **given | about,
    )
    return souls.add_write(c, new)


def outcome(to: SoulEnd, number: int = 1, *, found: str | None = None, **about: Any) -> SoulOutcome:
    return SoulOutcome(
        to=to,
        place="gateway:west",
        agent="inbox",
        activity_id=f"a-{number}",
        at=AT + number,
        found=found,
        **about,
    )


def end(c: sa.Connection, write: SoulWriteRow, to: SoulEnd, number: int = 1, **about: Any) -> SoulWriteRow:
    return some(souls.settle(c, write, outcome(to, number, **about), most_versions=KEPT))


def see(c: sa.Connection, content: str, **about: Any) -> bool:
    return souls.note_seen(c, INBOX, content, actor="gateway:west", at=AT, most_versions=KEPT, **about)


def history(c: sa.Connection) -> list[tuple[str, str]]:
    """Kind and text of every version, oldest first."""
    found = souls.list_versions(c, INBOX, limit=1_000)[::-1]
    return [(version.kind, souls.get_version(c, INBOX, version.seq)[1]) for version in found]


@pytest.fixture
def write(c: sa.Connection, agent: AgentRow) -> SoulWriteRow:
    """A write that was asked for."""
    return ask(c)


@pytest.mark.usefixtures("agent")
def test_find_place_returns_the_device_of_the_agent_of_a_soul(c: sa.Connection) -> None:
    place = some(souls.find_place(c, INBOX))
    assert (place.agent, place.executor, place.device, place.gateway) == ("inbox", "device", "laptop", None)
    assert souls.find_place(c, AgentId("nobody")) is None


@pytest.mark.usefixtures("agent")
def test_soul_write_is_due_until_settled(c: sa.Connection, write: SoulWriteRow) -> None:
    assert (write.state, write.sends, write.sha256) == (SoulWriteState.WAITING, 0, digest("ours"))
    assert (souls.due_writes(c, AT, 10), souls.due_writes(c, AT, 10, after="w-1")) == (["w-1"], [])
    assert souls.next_due(c) == AT

    settled = end(c, write, DONE)
    assert (settled.state, settled.settled_at, settled.content) == (DONE, AT + 1, "")
    assert (souls.due_writes(c, AT + 9, 10), souls.next_due(c)) == ([], None)
    assert history(c) == [("written", "ours")]


@pytest.mark.usefixtures("agent")
def test_repeated_soul_write_returns_the_existing_write(c: sa.Connection) -> None:
    first = ask(c, dedupe_key="k")
    assert ask(c, number=2) == first
    with pytest.raises(SoulBusy):
        ask(c, number=3, actor="operator:2")
    end(c, first, DONE)
    assert (ask(c, number=4, dedupe_key="k").id, ask(c, number=5).id) == ("w-1", "w-5")


@pytest.mark.usefixtures("agent")
def test_a_claimed_write_is_claimed_by_no_other_process(c: sa.Connection, write: SoulWriteRow) -> None:
    assert souls.claim_write(c, write, until=AT + 100) and not souls.claim_write(c, write, until=AT + 200)
    assert (souls.due_writes(c, AT, 10), souls.hurry(c, AT + 5)) == ([], 1)
    assert souls.due_writes(c, AT + 5, 10) == ["w-1"]


@pytest.mark.usefixtures("agent")
def test_hash_of_the_replaced_soul_is_stored_when_the_write_is_sent(
    c: sa.Connection, write: SoulWriteRow
) -> None:
    assert souls.begin_send(c, write, ABSENT) and not souls.begin_send(c, write, "other")
    sent = souls.get_write(c, write.id)
    assert (sent.sends, sent.expected_sha256) == (1, ABSENT)


@pytest.mark.usefixtures("agent")
def test_postponed_soul_write_has_a_reason_until_settled(c: sa.Connection, write: SoulWriteRow) -> None:
    assert souls.put_off(c, write, until=AT + 50, reason_code="gateway_unreachable", problem="away")
    waiting = souls.get_write(c, write.id)
    assert (waiting.not_before, waiting.reason_code, waiting.problem) == (
        AT + 50,
        "gateway_unreachable",
        "away",
    )
    assert (end(c, waiting, DONE).reason_code, history(c)) == (None, [("written", "ours")])


@pytest.mark.usefixtures("agent")
def test_soul_write_is_settled_once(c: sa.Connection, write: SoulWriteRow) -> None:
    end(c, write, DONE)
    assert souls.settle(c, write, outcome(FAILED, 2), most_versions=KEPT) is None
    assert not souls.put_off(c, write, until=AT, reason_code="x", problem="x")
    assert (history(c), len(audit.list_activity(c, agent_id=INBOX))) == ([("written", "ours")], 1)


@pytest.mark.usefixtures("agent")
def test_soul_conflict_with_a_missing_file_has_the_absent_hash(c: sa.Connection) -> None:
    settled = end(c, ask(c, expected_sha256=digest("before")), CONFLICT)
    assert (settled.found_sha256, history(c)) == (ABSENT, [("refused", "ours")])


@pytest.mark.usefixtures("agent")
def test_soul_written_and_replaced_by_others_is_listed_before_the_seen_text(c: sa.Connection) -> None:
    settled = end(c, ask(c), DONE, found="theirs")
    assert (settled.found_sha256, history(c)) == (None, [("written", "ours"), ("seen", "theirs")])


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("to", "event", "level", "told", "was"),
    [
        (
            DONE,
            "agent.soul.updated",
            "info",
            "SOUL.md updated for inbox. Reason: kinder Source: https://x.example",
            "done",
        ),
        (
            CONFLICT,
            "agent.soul.conflict",
            "warning",
            "SOUL.md of inbox was not updated: it had been changed in the meantime. Reason: kinder Source: "
            "https://x.example",
            "refused",
        ),
        (
            FAILED,
            "agent.soul.failed",
            "warning",
            "SOUL.md of inbox was not updated: no scope Reason: kinder Source: https://x.example",
            "refused",
        ),
    ],
)
def test_settled_soul_write_is_in_the_activity_and_in_the_audit_log(
    c: sa.Connection, to: SoulEnd, event: str, level: str, told: str, was: str
) -> None:
    write = ask(c, reason="kinder", source_url="https://x.example")
    why: dict[str, Any] = {"reason_code": "gateway_forbidden", "problem": "no scope"} if to is FAILED else {}
    end(c, write, to, **why)

    (entry,) = audit.list_activity(c, agent_id=INBOX)
    assert (entry.event_type, entry.level, entry.message, entry.actor) == (event, level, told, "operator:1")
    (row,) = audit.list_entries(c, limit=1, event="soul.updated")
    assert (row.actor, row.subject, row.outcome) == ("operator:1", INBOX, was)
    assert msgspec.json.decode(row.detail)["sha256"] == digest("ours")
    assert c.execute(sa.text("SELECT trace_id FROM activity_log")).scalars().all()[-1] == TRACE


@pytest.mark.usefixtures("agent")
def test_soul_text_written_by_others_is_recorded_once(c: sa.Connection) -> None:
    assert see(c, "a") and not see(c, "a") and see(c, "b")
    assert see(c, "a")
    assert history(c) == [("seen", "a"), ("seen", "b"), ("seen", "a")]


@pytest.mark.usefixtures("agent")
def test_soul_text_of_a_sent_write_is_not_recorded_as_seen(c: sa.Connection, write: SoulWriteRow) -> None:
    assert souls.begin_send(c, write, ABSENT) and not see(c, "ours")
    end(c, write, DONE)
    assert history(c) == [("written", "ours")]


@pytest.mark.usefixtures("agent")
def test_soul_text_read_before_a_newer_version_is_not_recorded(c: sa.Connection) -> None:
    since = souls.last_version(c, INBOX)
    end(c, ask(c), DONE)
    assert not see(c, "before", since=since)
    assert history(c) == [("written", "ours")]


@pytest.mark.usefixtures("agent")
def test_soul_text_with_a_nul_character_is_not_recorded(c: sa.Connection) -> None:
    assert not see(c, "a\0b")


def test_newest_soul_versions_and_writes_are_retained(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(souls, "MIN_WRITES", 4)
    make_agent(c)
    for number in range(1, 8):
        write = ask(c, f"text {number}", number, at=AT + number)
        assert souls.settle(c, write, outcome(DONE, number), most_versions=3) is not None
    assert history(c) == [("written", f"text {number}") for number in (5, 6, 7)]
    assert [row.id for row in souls.list_writes(c, INBOX, limit=10)] == ["w-7", "w-6", "w-5", "w-4"]
    assert [version.seq for version in souls.list_versions(c, INBOX, limit=2, after=(7,))] == [6, 5]
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_SOUL_VERSION)):
        souls.get_version(c, INBOX, 4)


@pytest.mark.usefixtures("agent")
def test_soul_versions_beyond_the_byte_limit_are_deleted_except_the_newest(
    c: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(souls, "HISTORY_BYTES", 10)
    for text in ("1234", "5678", "9", "x" * 99):
        souls.add_version(
            c, NewVersion(agent_id=INBOX, kind="seen", content=text, actor="test", at=AT), most_versions=KEPT
        )
        if text == "9":
            assert history(c) == [("seen", "1234"), ("seen", "5678"), ("seen", "9")]
    assert history(c) == [("seen", "x" * 99)]


@pytest.mark.usefixtures("agent")
def test_soul_writes_and_versions_are_deleted_with_their_agent(c: sa.Connection) -> None:
    end(c, ask(c), DONE)
    ask(c, "more", 2)
    c.execute(sa.text("DELETE FROM agents"))
    assert souls.list_writes(c, INBOX, limit=9) == []
    assert c.execute(sa.select(sa.func.count()).select_from(soul_versions)).scalar_one() == 0


def test_soul_of_an_agent_is_the_newest_unrefused_text(c: sa.Connection) -> None:
    agent = make_agent(c)
    assert agent_snapshot.soul_of(c, agent.id) is None
    for kind in ("seen", "written", "refused"):
        version = NewVersion(agent_id=agent.id, kind=kind, content=f"{kind}.", actor="hub", at=AT)
        souls.add_version(c, version, most_versions=KEPT)
    assert agent_snapshot.soul_of(c, agent.id) == "written."


def test_place_of_an_agent_in_the_snapshot_is_the_board(c: sa.Connection) -> None:
    agent = make_agent(c)
    assert agent_snapshot.place_of(c, agent) is None
    board = boards.create_board(c, id=BoardId("b"), user_id=agent.user_id, name="house", at=AT, actor="test")
    boards.add_member(c, board.id, agent.id, at=AT, actor="test")
    place = some(agent_snapshot.place_of(c, agent))
    assert (
        place.board_id,
        place.board,
        place.board_created_at,
        place.gateway_id,
        place.session_key,
        place.board_gateway_id,
    ) == ("b", "house", AT, None, None, None)
    assert [facts.place for facts in agent_snapshot.facts_of(c, [agent])] == [place]
