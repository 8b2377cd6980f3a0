"""Boards without a lead get one, made once at their gateway, whoever asks and whatever breaks meanwhile."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import anyio
import pytest

from hub.coordination.messages import ToLead
from hub.coordination.provisioning import CHANGED, CONFIG_POLL_S, MAX_S, QUIET_S, ConfigDebounce
from hub.openclaw import GatewayEvent, GatewayRefused, Reconnected
from protocol.ids import AgentId, GatewayId
from storage import audit
from storage.agents import agents
from storage.coordination import boards, gateway_agents
from storage.store import Store, open_store
from tests.hub.coordination.leading import (
    BOARD,
    GARDENER,
    OPERATOR,
    OWNER,
    PATIENCE_S,
    LeadingHub,
    declare,
    main_of,
    make_board,
    open_leading,
)
from tests.hub.coordination.souls import FastClock, open_fleet
from tests.support.clock import FakeClock
from tests.support.gateway import DEFAULT_SOUL, FakeGateway, fake_gateway
from tests.support.postgres import Postgres

STEPS = ("claimed", "created", "SOUL.md")
REFUSED = {"code": "INVALID_REQUEST", "message": "no"}


async def test_lead_is_created_at_the_gateway_of_a_board_without_a_lead(
    store: Store, hub: LeadingHub, gateway: FakeGateway
) -> None:
    found = await hub.lead()

    assert found.is_created and found.is_ready and found.lead.name == "garden-lead"
    assert found.home is not None
    assert (found.home.remote_id, found.home.role, found.home.state) == (GARDENER, "lead", "ready")
    files = gateway.agents[GARDENER].files
    assert "You lead the board garden" in files["SOUL.md"]
    assert "Board ID: board-garden" in files["AGENTS.md"]
    assert "Name: garden-lead" in files["IDENTITY.md"]
    board = await store.read(boards.get_board, BOARD)
    assert (board.lead_name, board.members) == ("garden-lead", 1)
    assert "agent.made" in [one.event_type for one in await store.read(audit.list_activity)]


async def test_board_with_a_lead_gets_no_new_lead_and_no_overwritten_files(
    hub: LeadingHub, gateway: FakeGateway
) -> None:
    first = await hub.lead()
    gateway.agents[GARDENER].files["SOUL.md"] = "I have become somebody else."
    asked = gateway.count("agents.files.set")

    again = await hub.lead()

    assert (again.lead.agent_id, again.is_created) == (first.lead.agent_id, False)
    assert (gateway.count("agents.create"), gateway.count("agents.files.set")) == (1, asked)


async def test_ten_concurrent_requests_create_a_single_lead(hub: LeadingHub, gateway: FakeGateway) -> None:
    found = []

    async def ask() -> None:
        found.append(await hub.lead())

    async with anyio.create_task_group() as askers:
        for _ in range(10):
            askers.start_soon(ask)

    assert len({one.lead.agent_id for one in found}) == 1
    assert [one.is_created for one in found].count(True) == 1
    await hub.has_ready()
    assert gateway.count("agents.create") == 1
    assert [row.remote_id for row in await hub.gateway_agents()] == [GARDENER]


async def test_concurrent_requests_of_two_hubs_create_a_single_lead(
    tmp_path: Path, postgres: Postgres
) -> None:
    clock = FastClock()
    async with AsyncExitStack() as opened:
        west = await opened.enter_async_context(fake_gateway("west"))
        url = opened.enter_context(postgres.database())
        hubs = []
        tasks = await opened.enter_async_context(anyio.create_task_group())
        for number in (1, 2):
            store = await opened.enter_async_context(open_store(url))
            fleet = await opened.enter_async_context(open_fleet(tmp_path / str(number), clock, [west]))
            hubs.append(LeadingHub(store, fleet, clock=clock, boot=f"boot-{number}"))
        await declare(hubs[0].store, hubs[0].at)
        await make_board(hubs[0].store)
        for hub in hubs:
            await hub.serve(tasks)
        found = []

        async def ask(hub: LeadingHub) -> None:
            found.append(await hub.lead())

        async with anyio.create_task_group() as askers:
            for hub in (*hubs, *hubs):
                askers.start_soon(ask, hub)

        assert len({one.lead.agent_id for one in found}) == 1
        assert [one.is_created for one in found].count(True) == 1
        await hubs[0].has_ready()  # an asker need not live to see it: a busy machine's gateway may be slow
        assert west.count("agents.create") == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("last", STEPS)
async def test_lead_creation_interrupted_by_a_hub_kill_ends_with_a_single_lead(
    tmp_path: Path, store: Store, last: str
) -> None:
    stopped = anyio.Event()

    async def stop(step: str) -> None:
        if step == last:
            stopped.set()
            await anyio.sleep_forever()

    async with fake_gateway("west") as west:
        async with (
            open_leading(tmp_path / "1", store, west, after_step=stop, is_served=False) as hub,
            anyio.create_task_group() as first,
        ):
            first.start_soon(hub.leads.ensure, BOARD)
            await stopped.wait()
            first.cancel_scope.cancel()

        clock = FastClock()
        async with (
            open_fleet(tmp_path / "2", clock, [west]) as fleet,
            anyio.create_task_group() as tasks,
        ):
            second = LeadingHub(store, fleet, clock=clock, boot="boot-2")
            await second.serve(tasks)  # nobody asks it to: the row says what is wanted
            await second.has_ready()
            tasks.cancel_scope.cancel()

        assert west.count("agents.create") == 1
        assert "You lead the board garden" in west.agents[GARDENER].files["SOUL.md"]
        assert "Board ID" in west.agents[GARDENER].files["AGENTS.md"]


@pytest.mark.parametrize(
    ("method", "when"),
    [
        ("agents.list", "before"),
        ("agents.create", "before"),
        ("agents.create", "after"),
        ("agents.files.set", "after"),
        ("chat.send", "after"),
    ],
)
async def test_lead_creation_survives_a_cut_gateway_connection(
    method: str, when: Literal["before", "after"], hub: LeadingHub, gateway: FakeGateway
) -> None:
    gateway.fault(method, when)
    said = await hub.to_leads.send(OPERATOR, "garden", ToLead(content="Who are you?"), wait_s=0)

    row = await hub.delivered(said.message.id)

    assert row.is_delivered, row.reason
    assert [row.remote_id for row in await hub.gateway_agents()] == [GARDENER]
    assert gateway.agents[GARDENER].files["SOUL.md"] != DEFAULT_SOUL
    assert len(gateway.said(f"agent:{GARDENER}:main")) == 1


async def test_messages_to_a_board_without_a_lead_create_a_lead_and_arrive_in_order(
    hub: LeadingHub, gateway: FakeGateway
) -> None:
    said = [
        await hub.to_leads.send(main_of("west"), "garden", ToLead(content=f"number {n}"), wait_s=0)
        for n in range(5)
    ]
    for one in said:
        await hub.settled(one.message.id)

    heard = gateway.said(f"agent:{GARDENER}:main")
    assert [text.split("\n\n")[1] for text in heard] == [f"number {n}" for n in range(5)]
    assert gateway.count("agents.create") == 1


async def test_a_refusal_of_a_gateway_is_reported_and_the_next_request_tries_again(
    store: Store, hub: LeadingHub, gateway: FakeGateway
) -> None:
    gateway.fault("agents.create", "refused", REFUSED)

    with pytest.raises(GatewayRefused):
        await hub.lead()
    (row,) = await hub.gateway_agents()
    assert (row.state, row.problem) == ("failed", "gateway west: agents.create: no")
    assert "agent.not_made" in [one.event_type for one in await store.read(audit.list_activity)]

    assert (await hub.lead()).is_ready


async def test_lead_lost_by_the_gateway_is_created_again(hub: LeadingHub, gateway: FakeGateway) -> None:
    first = await hub.lead()
    del gateway.agents[GARDENER]

    again = await hub.lead()

    assert (again.lead.agent_id, again.is_created, again.is_ready) == (
        first.lead.agent_id,
        False,
        True,
    )
    assert "You lead the board garden" in gateway.agents[GARDENER].files["SOUL.md"]


async def test_lead_is_created_at_the_new_gateway_of_a_moved_board(tmp_path: Path, store: Store) -> None:
    async with (
        fake_gateway("west") as west,
        fake_gateway("east") as east,
        open_leading(tmp_path, store, west, east) as hub,
    ):
        first = await hub.lead()
        at = hub.at
        gateway_id = GatewayId("gateway-east")
        await store.write(boards.edit_board, BOARD, gateway_id=gateway_id, at=at, actor="test")

        again = await hub.lead()

        assert again.lead.agent_id == first.lead.agent_id
        assert again.home is not None and again.home.gateway_name == "east"
        assert GARDENER in east.agents


async def test_removed_lead_becomes_lead_of_the_board_again_on_request(
    store: Store, hub: LeadingHub, gateway: FakeGateway
) -> None:
    first = await hub.lead()
    at = hub.at
    await store.write(boards.drop_member, BOARD, first.lead.agent_id, at=at, actor="test")

    again = await hub.lead()

    assert (again.lead.agent_id, again.is_created) == (first.lead.agent_id, False)
    assert gateway.count("agents.create") == 1


async def test_worker_refused_by_the_gateway_is_created_on_retry(
    store: Store, hub: LeadingHub, gateway: FakeGateway
) -> None:
    gateway.fault("agents.create", "refused", REFUSED)
    row = await store.write(
        gateway_agents.make_gateway_agent,
        gateway_id=GatewayId("gateway-west"),
        user_id=OWNER,
        name="digger",
        fresh_id=AgentId("agent-digger"),
        at=hub.at,
        actor="test",
    )
    hub.making.schedule(row)
    with anyio.fail_after(PATIENCE_S):
        while (await hub.gateway_agents())[0].state != gateway_agents.FAILED:
            await hub.clock.sleep(0.2)

    hub.making.retry("west")
    await hub.has_ready()

    assert "Name: digger" in gateway.agents["mc-agent-digger"].files["IDENTITY.md"]
    assert (await store.read(agents.get_agent, AgentId("agent-digger"))).gateway_role == "worker"


@pytest.mark.parametrize(
    ("agents", "is_other", "expected"),
    [
        (("main", "clerk"), False, "main"),
        (("clerk",), False, "mc-gateway-gateway-west"),
        (("main", "clerk"), True, "mc-gateway-gateway-west"),
    ],
    ids=["the gateway has one", "it has none", "it is another agent of the hub"],
)
async def test_existing_main_agent_of_the_gateway_is_used_as_main_agent(
    tmp_path: Path, store: Store, agents: tuple[str, ...], *, is_other: bool, expected: str
) -> None:
    main = AgentId("main-west")
    async with fake_gateway("west", agents=agents) as west, open_leading(tmp_path, store, west) as hub:
        await declare(store, hub.at, main_agent="clerk")
        if is_other:
            await store.write(
                gateway_agents.make_gateway_agent,
                gateway_id=GatewayId("gateway-west"),
                user_id=OWNER,
                name="digger",
                remote_id="main",
                fresh_id=AgentId("agent-digger"),
                at=hub.at,
                actor="test",
            )
        await declare(store, hub.at, main_agent=None)

        row = await hub.making.ready(main)
        await declare(store, hub.at, main_agent=None)  # at the next start

        assert (row.remote_id, row.session_key) == (expected, f"agent:{expected}:main")
        assert await store.read(gateway_agents.find_main_agent, GatewayId("gateway-west")) == row
        texts = {name: agent.files.get("SOUL.md") for name, agent in west.agents.items()}
        assert texts.get("main", DEFAULT_SOUL) == DEFAULT_SOUL
        assert (west.count("agents.create"), west.count("agents.files.set") > 0) == (
            (0, False) if expected == "main" else (1, True)
        )


async def test_agent_file_conflict_at_the_gateway_is_resolved_on_lead_creation(
    tmp_path: Path, store: Store
) -> None:
    async def write(step: str) -> None:
        if step == "listed":
            west.fault("agents.files.set", "refused", CONFLICT)

    CONFLICT = {
        "code": "INVALID_REQUEST",
        "message": "changed",
        "details": {"type": "agent_file_conflict", "name": "SOUL.md", "currentHash": "0" * 64},
    }
    async with fake_gateway("west") as west, open_leading(tmp_path, store, west, after_step=write) as hub:
        found = await hub.lead()

        assert found.is_ready
        assert west.count("agents.files.set") >= 2


async def test_dedupe_key_of_lead_messages_applies_per_board(store: Store, hub: LeadingHub) -> None:
    await make_board(store, "orchard")
    keyed = ToLead(content="Good morning.", dedupe_key="k-1")
    sent = [
        (await hub.to_leads.send(OPERATOR, board, keyed, wait_s=0)).message
        for board in ("garden", "orchard", "garden")
    ]
    assert [message.board for message in sent] == ["garden", "orchard", "garden"]
    assert sent[2].id == sent[0].id


WEST = "west"


def test_messages_are_not_held_without_gateway_configuration_changes() -> None:
    quiet = ConfigDebounce(FakeClock())
    quiet.on_news(Reconnected(gateway=WEST, boot_id="1", is_restart=False))
    quiet.on_news(GatewayEvent(gateway=WEST, name="tick", payload={}))
    assert quiet.held_s(WEST) == 0


def test_messages_are_held_during_agent_creation_and_shortly_afterwards() -> None:
    clock = FakeClock()
    quiet = ConfigDebounce(clock)
    with quiet.making(WEST):
        clock.advance(QUIET_S * 2)
        assert (quiet.held_s(WEST), quiet.held_s("east")) == (CONFIG_POLL_S, 0)
        quiet.changed(WEST)
    clock.advance(1)
    assert quiet.held_s(WEST) == QUIET_S - 1
    clock.advance(QUIET_S - 1)
    assert quiet.held_s(WEST) == 0


def test_gateway_configuration_change_by_another_client_holds_messages() -> None:
    clock = FakeClock()
    quiet = ConfigDebounce(clock)
    quiet.on_news(GatewayEvent(gateway=WEST, name=CHANGED, payload={"hash": "1"}))
    clock.advance(2)
    quiet.on_news(GatewayEvent(gateway=WEST, name=CHANGED, payload={"hash": "2"}))
    assert quiet.held_s(WEST) == QUIET_S
    clock.advance(QUIET_S)
    assert quiet.held_s(WEST) == 0


def test_messages_are_held_for_a_limited_time_during_agent_creation() -> None:
    clock = FakeClock()
    quiet = ConfigDebounce(clock)
    with quiet.making(WEST):
        clock.advance(MAX_S)
        assert quiet.held_s(WEST) == 0
    assert quiet.held_s(WEST) == 0
    quiet.changed(WEST)
    assert quiet.held_s(WEST) == QUIET_S
