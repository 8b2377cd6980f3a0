"""One text to the leads of many boards: each result is told, what failed can be said again, nothing twice."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest

from hub.coordination.board_access import Caller
from hub.coordination.broadcasts import BroadcastStatus
from hub.coordination.messages import ToLead
from protocol.agent_messages import MessageKind, MessageState
from protocol.errors import CodedError, ErrorCode, LimitReached
from protocol.ids import AgentId, UserId
from storage import audit
from storage.coordination import boards
from storage.coordination.messages import BoardResult
from storage.store import Store
from tests.hub.coordination.leading import (
    OPERATOR,
    OWNER,
    PATIENCE_S,
    LeadingHub,
    main_of,
    make_board,
    open_leading,
)
from tests.hub.coordination.souls import FastClock, open_fleet
from tests.support.coded import coded
from tests.support.gateway import FakeGateway, fake_gateway

NEWS = ToLead(content="The harvest is on Sunday.", kind=MessageKind.HANDOFF)
REFUSED = {"code": "INVALID_REQUEST", "message": "no"}
WAIT_S = 100.0  # of a clock that runs twenty times as fast


async def results(hub: LeadingHub, sent: BroadcastStatus) -> dict[str | None, BoardResult]:
    """What became of it, by the name of the board."""
    return {one.board: one for one in await hub.broadcasts.results(sent.row.id, limit=1_000)}


async def until(
    hub: LeadingHub, sent: BroadcastStatus, is_so: Callable[[BroadcastStatus], bool]
) -> BroadcastStatus:
    """How it stands, once it stands so."""
    with anyio.fail_after(PATIENCE_S):
        while not is_so(stands := await hub.broadcasts.get(OPERATOR, sent.row.id)):
            await hub.clock.sleep(0.5)
    return stands


async def send(
    hub: LeadingHub, caller: Caller, said: ToLead, named: Sequence[str] | None = None
) -> BroadcastStatus:
    """A broadcast that was sent, once it is settled."""
    return await until(hub, await hub.broadcasts.send(caller, said, named, wait_s=WAIT_S), is_settled)


async def resume(hub: LeadingHub, caller: Caller, id: str) -> BroadcastStatus:
    """A broadcast that was resumed, once it is settled."""
    return await until(hub, await hub.broadcasts.resume(caller, id, wait_s=WAIT_S), is_settled)


def is_settled(stands: BroadcastStatus) -> bool:
    return stands.row.settled_at is not None


def heard(gateway: FakeGateway, board: str) -> int:
    """How often the lead of a board was told."""
    return len(gateway.said(f"agent:lead-board-{board}:main"))


async def events(store: Store) -> Counter[str]:
    """What people were told of broadcasts, and how often."""
    told = [one.event_type for one in await store.read(audit.list_activity, limit=1_000)]
    return Counter(one.rpartition(".")[2] for one in told if "lead_broadcast" in one)


async def test_broadcast_of_a_main_agent_reaches_only_leads_of_the_same_gateway(
    tmp_path: Path, store: Store
) -> None:
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        open_leading(tmp_path, store, west, east) as hub,
    ):
        for name in ("roses", "weeds"):
            await make_board(store, name)
        await make_board(store, "lawn", "east")

        sent = await send(hub, main_of("west"), NEWS)

        assert sent.is_ok and (sent.tally.sent, sent.row.boards) == (3, 3)
        assert sent.row.settled_at is not None
        told = await results(hub, sent)
        assert list(told) == ["garden", "roses", "weeds"]
        assert all(one.lead_created and one.lead == f"{name}-lead" for name, one in told.items())
        assert [heard(west, name) for name in ("garden", "roses", "weeds")] == [1, 1, 1]
        assert east.count("chat.send") == 0
        assert await events(store) == {"sent": 1}
        assert [one.row.id for one in await hub.broadcasts.page(main_of("west"), limit=5)] == [sent.row.id]
        assert await hub.broadcasts.page(main_of("east"), limit=5) == []


async def test_broadcast_creates_all_leads_before_sending(
    store: Store, hub: LeadingHub, gateway: FakeGateway
) -> None:
    for number in range(2):
        await make_board(store, f"bed-{number}")

    sent = await send(hub, OPERATOR, NEWS)

    assert sent.is_ok
    order = [one.method for one in gateway.asked if one.method in ("agents.create", "chat.send")]
    assert order == ["agents.create"] * 3 + ["chat.send"] * 3


async def test_broadcast_reports_unknown_and_foreign_boards_as_refused(tmp_path: Path, store: Store) -> None:
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        open_leading(tmp_path, store, west, east) as hub,
    ):
        await make_board(store, "lawn", "east")
        named = ["garden", "nowhere", "lawn", "board-garden"]

        sent = await send(hub, main_of("west"), NEWS, named)

        assert not sent.is_ok
        assert (sent.tally.sent, sent.tally.failed, sent.row.boards) == (1, 2, 3)
        refused = {one.given: one.code for one in sent.row.refused}
        assert refused == {"nowhere": ErrorCode.UNKNOWN_BOARD, "lawn": ErrorCode.NOT_YOUR_BOARD}
        assert (heard(west, "garden"), east.count("chat.send")) == (1, 0)


async def test_unreachable_gateway_gets_broadcasts_later_and_delays_no_other_gateway(
    tmp_path: Path, store: Store
) -> None:
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        open_leading(tmp_path, store, west, east) as hub,
    ):
        for name in ("lawn", "pond"):
            await make_board(store, name, "east")
        await east.stop()

        sent = await hub.broadcasts.send(OPERATOR, NEWS, wait_s=0)

        stands = await until(hub, sent, lambda now: now.tally.sent == 1)
        assert not stands.is_ok
        assert (stands.tally.failed, stands.tally.waiting) == (0, 2)
        assert stands.row.settled_at is None and await events(store) == {}
        again = await hub.broadcasts.resume(OPERATOR, sent.row.id, wait_s=0)
        assert again.row.rounds == 1  # what waits is not said twice

        await east.start()
        stands = await until(hub, sent, is_settled)
        assert stands.is_ok and stands.tally.sent == 3
        assert [heard(west, "garden"), heard(east, "lawn"), heard(east, "pond")] == [1, 1, 1]
        assert await events(store) == {"sent": 1}


async def test_resumed_broadcast_repeats_only_failed_messages(
    store: Store, hub: LeadingHub, gateway: FakeGateway
) -> None:
    for name in ("roses", "weeds"):
        await make_board(store, name)
    await hub.lead()
    gateway.fault("agents.create", "refused", REFUSED, times=2)
    first = await send(hub, OPERATOR, NEWS, ["garden", "roses", "weeds", "pond"])
    assert (first.tally.sent, first.tally.failed) == (1, 3)
    told = await results(hub, first)
    assert told["roses"].state is MessageState.FAILED
    assert told["roses"].code == ErrorCode.GATEWAY_REFUSED and told["roses"].error
    await make_board(store, "pond")

    again = await resume(hub, OPERATOR, first.row.id)

    assert again.is_ok and (again.tally.sent, again.row.rounds, again.row.boards) == (4, 2, 4)
    assert again.row.refused == ()
    assert [heard(gateway, name) for name in ("garden", "roses", "weeds", "pond")] == [1, 1, 1, 1]
    assert await events(store) == {"sent": 2}
    third = await resume(hub, OPERATOR, first.row.id)
    assert third.row.rounds == 2 and third.row.settled_at is not None


async def test_broadcast_with_all_messages_cancelled_is_settled(
    hub: LeadingHub, gateway: FakeGateway
) -> None:
    await gateway.stop()
    sent = await hub.broadcasts.send(OPERATOR, NEWS, wait_s=0)
    (one,) = (await results(hub, sent)).values()

    await hub.sent.cancel(OPERATOR, one.message_id)

    assert (await until(hub, sent, is_settled)).tally.failed == 1


async def test_broadcast_interrupted_by_a_hub_kill_reaches_each_lead_once(
    tmp_path: Path, store: Store
) -> None:
    async with fake_gateway("west") as west:
        async with open_leading(tmp_path / "1", store, west) as first:
            for number in range(4):
                await make_board(store, f"bed-{number}")
            sent = await first.broadcasts.send(OPERATOR, NEWS, wait_s=0)
            while west.count("chat.send") < 2:
                await first.clock.sleep(0.1)
        clock = FastClock()
        async with (
            open_fleet(tmp_path / "2", clock, [west]) as fleet,
            anyio.create_task_group() as tasks,
        ):
            second = LeadingHub(store, fleet, clock=clock, boot="boot-2")
            await second.serve(tasks)
            stands = await until(second, sent, is_settled)
            tasks.cancel_scope.cancel()

        assert stands.is_ok and stands.tally.sent == 5
        assert [heard(west, f"bed-{number}") for number in range(4)] == [1] * 4
        assert west.count("agents.create") == 5


async def test_broadcast_with_a_known_dedupe_key_is_the_existing_broadcast(
    hub: LeadingHub, gateway: FakeGateway
) -> None:
    keyed = ToLead(content="Once.", dedupe_key="k-1")

    first = await send(hub, OPERATOR, keyed)
    second = await send(hub, OPERATOR, keyed)

    assert (first.row.id, heard(gateway, "garden")) == (second.row.id, 1)


async def test_removed_board_remains_a_failed_result_of_the_broadcast(
    store: Store, hub: LeadingHub, gateway: FakeGateway
) -> None:
    await gateway.stop()
    sent = await hub.broadcasts.send(OPERATOR, NEWS, wait_s=0)
    (one,) = (await results(hub, sent)).values()
    assert one.board_id is not None
    await store.write(boards.remove_board, one.board_id, at=hub.at, actor="test")
    await gateway.start()

    assert (await hub.settled(one.message_id)).reason_code == ErrorCode.UNKNOWN_BOARD
    again = await resume(hub, OPERATOR, sent.row.id)
    assert (again.tally.failed, again.row.boards, again.row.rounds) == (1, 1, 1)


async def test_only_main_agents_and_users_send_and_see_own_broadcasts(tmp_path: Path, store: Store) -> None:
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        open_leading(tmp_path, store, west, east) as hub,
    ):
        led = await hub.lead()
        lead = Caller.of_agent(AgentId(led.lead.agent_id), OWNER)
        with pytest.raises(CodedError, check=coded(ErrorCode.NOT_GATEWAY_MAIN)):
            await hub.broadcasts.send(lead, NEWS)
        sent = await hub.broadcasts.send(main_of("west"), NEWS, wait_s=0)
        for stranger in (main_of("east"), Caller("token:eve", UserId("eve"))):
            with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_BROADCAST)):
                await hub.broadcasts.get(stranger, sent.row.id)
            with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_BROADCAST)):
                await hub.broadcasts.resume(stranger, sent.row.id)


async def test_broadcast_beyond_a_limit_is_refused(store: Store, hub: LeadingHub) -> None:
    await make_board(store, "roses")
    hub.broadcasts.most_boards = 1
    with pytest.raises(LimitReached, match="boards_per_broadcast"):
        await hub.broadcasts.send(OPERATOR, NEWS)
    hub.broadcasts.most_boards = 2
    hub.sent.limits = type(hub.sent.limits)(open_messages_per_user=1)
    with pytest.raises(LimitReached, match="open_messages_per_user"):
        await hub.broadcasts.send(OPERATOR, NEWS)
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS)):
        await hub.broadcasts.send(main_of("west"), NEWS, [])
    assert await hub.broadcasts.page(OPERATOR, limit=5) == []
