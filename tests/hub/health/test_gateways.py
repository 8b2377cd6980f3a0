"""What a person is told of gateways: which is away, which does not let us in, and what to do."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from hub.health.gateways import check_gateway_agents, check_gateways
from hub.health.issues import Finding
from hub.openclaw import GatewayHealth, GatewayState, Problem
from protocol.ids import AgentId, TokenId, UserId
from storage.agents import agent_tokens
from storage.coordination import gateway_agents, gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import users
from storage.store import Store, open_store
from tests.support.clock import START

OWNER = UserId("owner-id")
AT = int(START.timestamp() * 1000)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("sqlite://") as store:
        await store.write(users.ensure_user, OWNER, "owner", AT)
        await store.write(
            gateways.reconcile_gateways,
            owner_id=OWNER,
            declared=[DeclaredGateway(name="office", user_name="owner")],
            at=AT,
            fresh_ids=["gw-office", "main-office", "nobody"],
        )
        yield store


async def found(
    store: Store,
    state: GatewayState,
    problem: Problem | None = None,
    *,
    lost_s: float = 0,
    admin: Problem | None = None,
) -> list[Finding]:
    health = GatewayHealth(name="office", state=state, since=START, problem=problem, admin_problem=admin)
    lost: datetime | None = None if state is GatewayState.READY else START - timedelta(seconds=lost_s)
    return list(await check_gateways(store, lambda: [health], lambda _: lost)(START))


async def test_a_gateway_that_is_ready_or_starts_anew_is_nobodys_matter(store: Store) -> None:
    away = Problem("connection_refused", "nothing listens at 127.0.0.1:1", "is the gateway running?")
    assert await found(store, GatewayState.READY) == []
    assert await found(store, GatewayState.WAITING, away, lost_s=299) == []
    assert await found(store, GatewayState.CONNECTING, away, lost_s=42) == []


async def test_a_gateway_that_is_away_for_long_is_told_with_what_waits(store: Store) -> None:
    away = Problem("connection_refused", "nothing listens at 127.0.0.1:1", "is the gateway running?")
    (told,) = await found(store, GatewayState.WAITING, away, lost_s=360)
    assert (told.severity, told.id, told.subject, told.user_id) == (
        "error",
        "gateway.unreachable",
        "office",
        OWNER,
    )
    assert told.explanation == (
        "gateway office is away for 6 min: nothing listens at 127.0.0.1:1; messages to its agents wait"
    )
    assert told.fix == "is the gateway running?"
    assert told.since == START - timedelta(seconds=360)


@pytest.mark.parametrize(
    ("state", "code", "id"),
    [
        (GatewayState.PARKED, "PAIRING_REQUIRED", "gateway.pairing_needed"),
        (GatewayState.REFUSED, "AUTH_TOKEN_MISMATCH", "gateway.credentials_refused"),
        (GatewayState.REFUSED, "DEVICE_AUTH_SIGNATURE_EXPIRED", "gateway.credentials_refused"),
        (GatewayState.REFUSED, "PROTOCOL_MISMATCH", "gateway.other_version"),
        (GatewayState.REFUSED, "certificate_not_trusted", "gateway.refused"),
    ],
)
async def test_what_somebody_has_to_change_is_told_at_once(
    store: Store, state: GatewayState, code: str, id: str
) -> None:
    (told,) = await found(store, state, Problem(code, "no", "do this"))
    assert (told.id, told.fix) == (id, "do this")


async def test_a_gateway_that_gives_no_admin_rights_is_told_though_it_is_ready(store: Store) -> None:
    (told,) = await found(
        store, GatewayState.READY, admin=Problem("PAIRING_REQUIRED", "more scopes", "approve")
    )
    assert (told.id, told.fix) == ("gateway.no_admin_rights", "approve")
    assert "no soul written there" in told.explanation


async def test_an_agent_that_could_not_be_made_is_told_with_why(store: Store) -> None:
    main = AgentId("main-office")
    await store.write(
        gateway_agents.move_gateway_agent, main, before="wanted", after="failed", problem="no room", at=AT
    )
    (told,) = await check_gateway_agents(store, lambda: None)(START)
    assert told.explanation == "agent office-main could not be made at gateway office: no room"


async def test_agents_with_tokens_and_no_address_to_answer_at_are_told(store: Store) -> None:
    look = check_gateway_agents(store, lambda: None)
    assert list(await look(START)) == []
    await store.write(
        agent_tokens.create_agent_token,
        id=TokenId("t"),
        token_hash=b"hash",
        agent_id=AgentId("main-office"),
        last4="abcd",
        most=5,
        at=AT,
        expires_at=AT + 1000,
        actor="anna",
    )
    (told,) = await look(START)
    assert told.id == "coordination.no_reply_url"
    assert list(await look(START + timedelta(seconds=2))) == []
    assert list(await check_gateway_agents(store, lambda: "https://hub.example")(START)) == []
