"""Issues of models, connectors and gateways."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial

import pytest

from hub.app.gateway_checks import check_gateway_agents, check_gateways
from hub.connectors.calling import (
    NEEDS_A_PERSON,
    ConnectorFailure,
    CursorLost,
    MessageUnreadable,
    Misconfigured,
    PermissionMissing,
    ProviderBusy,
    QuotaSpent,
    SignInNeeded,
    Unavailable,
)
from hub.extraction.circuit_breaker import Breaker, Circuit, EndpointRefused
from hub.extraction.model import ModelError, ModelExhausted, ModelUnavailable
from hub.health.external import DAY_MS, FAILURES, check_bus, check_connectors, check_models, check_reach
from hub.health.issues import Finding, Severity
from hub.openclaw import GatewayHealth, GatewayProblem, GatewayState
from protocol.causes import ACCOUNT, AT_ONCE, MODEL
from protocol.errors import LASTING, ErrorCode
from protocol.ids import AgentId, TokenId, UserId
from protocol.lifecycles import PauseReason, RunEvent, RunState
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.coordination import gateways
from storage.coordination.gateways import DeclaredGateway
from storage.devices import users
from storage.devices.tokens import create_agent_token
from storage.runs import run_moves, run_resumes
from storage.store import Store, open_store
from tests.storage.rows import make_run
from tests.support.clock import START, FakeClock
from tests.support.families import each
from tests.support.gateway_rows import set_state

OWNER = UserId("owner-id")
AT = int(START.timestamp() * 1000)

pytestmark = pytest.mark.anyio


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


async def gateway_findings(
    store: Store,
    state: GatewayState,
    problem: GatewayProblem | None = None,
    *,
    lost_s: float = 0,
    admin: GatewayProblem | None = None,
) -> list[Finding]:
    health = GatewayHealth(name="office", state=state, since=START, problem=problem, admin_problem=admin)
    lost: datetime | None = None if state == "ready" else START - timedelta(seconds=lost_s)
    return list(await check_gateways(store, lambda: [health], lambda _: lost, START))


async def test_ready_or_restarting_gateway_is_not_reported(store: Store) -> None:
    away = GatewayProblem("connection_refused", "nothing listens at 127.0.0.1:1", "is the gateway running?")
    assert await gateway_findings(store, "ready") == []
    assert await gateway_findings(store, "waiting", away, lost_s=299) == []
    assert await gateway_findings(store, "connecting", away, lost_s=42) == []


async def test_long_unreachable_gateway_is_reported_with_the_consequence(store: Store) -> None:
    away = GatewayProblem("connection_refused", "nothing listens at 127.0.0.1:1", "is the gateway running?")
    (told,) = await gateway_findings(store, "waiting", away, lost_s=360)
    assert (told.severity, told.id, told.subject, told.user_id) == (
        "error",
        "gateway.unreachable",
        "office",
        OWNER,
    )
    assert told.explanation == (
        "gateway office is away for 6 min: nothing listens at 127.0.0.1:1; messages to its agents wait"
    )
    assert (told.fix, told.since) == ("is the gateway running?", START - timedelta(seconds=360))


@each(
    ("state", "code", "id"),
    [
        ("parked", "PAIRING_REQUIRED", "gateway.pairing_needed"),
        ("refused", "AUTH_TOKEN_MISMATCH", "gateway.credentials_refused"),
        ("refused", "DEVICE_AUTH_SIGNATURE_EXPIRED", "gateway.credentials_refused"),
        ("refused", "PROTOCOL_MISMATCH", "gateway.other_version"),
        ("refused", "certificate_not_trusted", "gateway.refused"),
    ],
)
async def test_gateway_problem_requiring_a_person_is_reported_at_once(
    store: Store, state: GatewayState, code: str, id: str
) -> None:
    (told,) = await gateway_findings(store, state, GatewayProblem(code, "no", "do this"))
    assert (told.id, told.fix) == (id, "do this")
    assert [fix.command for fix in told.fixes] == ["hub gateways reconnect office"]


async def test_ready_gateway_without_admin_rights_is_reported(store: Store) -> None:
    (told,) = await gateway_findings(
        store, "ready", admin=GatewayProblem("PAIRING_REQUIRED", "more scopes", "approve")
    )
    assert (told.id, told.fix) == ("gateway.no_admin_rights", "approve")
    assert "no soul written there" in told.explanation
    assert [fix.command for fix in told.fixes] == ["hub gateways reconnect office"]


async def test_uncreatable_agent_is_reported_with_the_reason(store: Store) -> None:
    main = AgentId("main-office")
    await store.write(set_state, main, "failed", "no room")
    (told,) = await check_gateway_agents(store, lambda: None, START)
    assert told.explanation == "agent office-main could not be made at gateway office: no room"
    assert [fix.path for fix in told.fixes] == ["/v1/gateways/gw-office/reconnect"]


async def test_agents_with_tokens_and_without_a_reply_url_are_reported(store: Store) -> None:
    look = partial(check_gateway_agents, store, lambda: None)
    assert list(await look(START)) == []
    await store.write(
        create_agent_token,
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
    assert list(await check_gateway_agents(store, lambda: "https://hub.example", START)) == []


async def well() -> str | None:
    return None


async def ill() -> str | None:
    return "http://127.0.0.1:1/v1 does not answer"


async def test_unreachable_model_endpoint_is_reported_with_the_error() -> None:
    assert list(await check_reach({"one": well, "two": well}, START)) == []
    (found,) = await check_reach({"one": well, "two": ill}, START)
    assert found.subject == "two"
    asked = "the model two was asked at 2026-01-05 09:00 UTC"
    assert found.explanation == f"{asked}: http://127.0.0.1:1/v1 does not answer"


async def test_model_without_quota_is_reported_with_next_attempt_and_substitute(
    store: Store,
) -> None:
    clock = FakeClock()
    breakers = {"first": Breaker(clock), "second": Breaker(clock)}
    look = partial(check_models, store, breakers, lambda *, allow_cloud: None)
    assert list(await look(clock.now())) == []
    breakers["first"].failed(ModelExhausted("no quota is left", reason="rate_limit", retry_after_s=90.0))
    (found,) = await look(clock.now())
    assert found.subject == "first"
    assert found.explanation == (
        "no quota is left; it is not asked before 09:01:30 UTC, and until then second is asked instead"
    )
    clock.advance(90)
    (found,) = await look(clock.now())
    assert "the next document finds out whether it is over" in found.explanation
    breakers["first"].succeeded()
    assert list(await look(clock.now())) == []
    clock.advance(15 * 3_600 - 120)  # shortly before midnight
    breakers["first"].failed(ModelExhausted("no quota is left", reason="rate_limit", retry_after_s=90.0))
    (found,) = await look(clock.now())
    assert "it is not asked before 2026-01-06 00:01 UTC, and" in found.explanation


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (EndpointRefused("the key is refused"), "model_refused"),
        (ModelExhausted("the bill is not paid", reason="billing"), "billing"),
        (ModelExhausted("too many questions", reason="rate_limit", retry_after_s=9.0), "rate_limit"),
        (ModelUnavailable("no answer"), "model_unavailable"),
    ],
)
async def test_cause_of_a_model_is_an_issue_at_the_first_failure_with_the_declared_remedy(
    store: Store, failure: ModelError, word: str
) -> None:
    breaker, clock = Breaker(FakeClock()), FakeClock()
    breaker.failed(failure)
    (found,) = await check_models(store, {"only": breaker}, lambda *, allow_cloud: None, clock.now())
    lasts = word in ("model_refused", "billing")
    assert (found.severity, found.fix) == (Severity.ERROR if lasts else Severity.WARNING, MODEL[word].remedy)
    assert found.explanation.startswith(str(failure))


async def test_unanswering_model_is_a_single_finding_from_the_first_failure_until_an_answer(
    store: Store,
) -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    look = partial(check_models, store, {"only": breaker}, lambda *, allow_cloud: "no answer")
    breaker.failed(ModelUnavailable("no answer (HTTP 500)"))
    (found,) = await look(clock.now())
    assert (breaker.circuit, found.id, found.since) == (Circuit.CLOSED, "model.away", START)
    assert found.explanation == (
        "no answer (HTTP 500); the next document finds out whether it is over,"
        " and until then no document is read by a model"
    )
    breaker.failed(ModelUnavailable("no answer (HTTP 500)"))
    breaker.failed(ModelUnavailable("no answer (HTTP 500)"))
    assert breaker.wait_s, "which a hub without another endpoint does not keep to"
    assert list(await look(clock.now())) == [found]
    run = await store.write(make_run, state=RunState.RUNNING)
    await store.write(run_moves.move, run.held, RunEvent.MODEL_AWAY, at=AT, actor="hub")
    (waited,) = await look(clock.now())
    assert waited.explanation == (
        "no answer (HTTP 500); it is tried again and again,"
        " and until then no document is read by a model; 1 run waits"
    )
    clock.advance(60)
    await store.write(run_resumes.resume_runs, PauseReason.MODEL_AWAY, at=AT)
    breaker.failed(ModelUnavailable("no answer (HTTP 500)"))
    (tried,) = await look(clock.now())  # while the run asks again
    assert (tried.id, tried.subject, tried.since) == (waited.id, waited.subject, START)
    breaker.succeeded()
    assert list(await look(clock.now())) == []


async def declare(store: Store) -> None:
    one = DeclaredConnector(name="work", user_name="owner", provider="gmail", needs_grant=True)
    await store.write(connectors.reconcile_connectors, declared=[one], at=AT, fresh_ids=["c-1", "u-1"])


async def grant(store: Store, at: int) -> None:
    change = partial(
        connectors.grant_connector,
        sealed=b"s",
        key_id="k",
        scopes=[],
        expires_at=None,
        at=at,
        actor="me",
        activity_id=f"g-{at}",
    )
    await store.write(change, "c-1")


async def end(store: Store, version: int, at: int) -> None:
    change = partial(
        connectors.refuse_connector,
        credential_version=version,
        state="sign_in",
        reason="sign_in_needed",
        detail="the provider ended the sign-in",
        at=at,
        activity_id=f"e-{at}",
    )
    await store.write(change, "c-1")


async def connector_findings(store: Store, clock: FakeClock) -> list[Finding]:
    return list(await check_connectors(store, lambda name: "browser", clock.now()))


async def test_required_connector_sign_in_is_reported_with_the_command() -> None:
    async with open_store("sqlite://") as store:
        await declare(store)
        (one,) = await connector_findings(store, FakeClock())
        assert (one.id, one.fix) == ("connector.sign_in", "hub connectors login work")
        assert [(fix.verb, fix.path) for fix in one.fixes] == [("GET", "/connectors/work")]
        (one,) = await check_connectors(store, lambda name: None, START)
        assert one.fix == "correct the one that hub.toml names; then: hub connectors test work"
        assert [fix.path for fix in one.fixes] == ["/v1/connectors/c-1/test"]
        await grant(store, AT)
        assert await connector_findings(store, FakeClock()) == []


CAUSES: dict[
    type[ConnectorFailure], bool
] = {  # of connectors: whether a cause lasts, so that the first failure is an issue
    SignInNeeded: True,
    PermissionMissing: True,
    Misconfigured: True,
    QuotaSpent: True,
    MessageUnreadable: True,
    ProviderBusy: False,
    CursorLost: False,
    Unavailable: False,
}


def test_each_cause_of_a_connector_is_declared_as_lasting_or_passing() -> None:
    lasts = {cause.code: lasts for cause, lasts in CAUSES.items()}
    assert {cause.code: cause.code in LASTING for cause in CAUSES} == lasts
    words = {code if code != ErrorCode.SIGN_IN_NEEDED else "sign_in": code for code in lasts}
    assert {words[word]: ACCOUNT[word].lasts_after_s == AT_ONCE for word in words} == lasts
    assert all(cause in CAUSES for cause in NEEDS_A_PERSON)
    assert all(CAUSES[cause] for cause in NEEDS_A_PERSON)


@pytest.mark.parametrize("was_reached", [True, False])
@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause not in NEEDS_A_PERSON])
async def test_lasting_cause_of_a_connector_is_an_issue_at_the_first_failure(
    cause: type[ConnectorFailure], was_reached: bool
) -> None:
    lasts = CAUSES[cause] or (cause is Unavailable and not was_reached)
    async with open_store("sqlite://") as store:
        await declare(store)
        await grant(store, AT)
        if was_reached:
            await store.write(partial(connectors.note_success, at=AT), "c-1")
        for failures in range(1, FAILURES + 1):
            note = partial(connectors.note_failure, reason=cause.code, detail="the cause", at=AT)
            await store.write(note, "c-1")
            found = [one.id for one in await connector_findings(store, FakeClock())]
            lasting = ["connector.blocked"] if lasts else []
            passing = ["connector.failing"] if failures == FAILURES else []
            assert found == (lasting or passing), failures


@each(("lasted_days", "is_told"), [(7, True), (3, False), (30, False)])
async def test_weekly_connector_sign_in_is_reported_from_the_fifth_day(
    lasted_days: int, is_told: bool
) -> None:
    clock = FakeClock()
    async with open_store("sqlite://") as store:
        await declare(store)
        began = AT - lasted_days * DAY_MS
        await grant(store, began)
        await end(store, 1, AT)
        await grant(store, AT)
        clock.advance(5 * 86_400 - 1)
        assert await connector_findings(store, clock) == []
        clock.advance(1)
        assert [one.id for one in await connector_findings(store, clock)] == ["connector.ends_soon"] * is_told


def test_lost_bus_is_reported_immediately_and_not_during_the_first_connection() -> None:
    assert list(check_bus(None, "")) == []
    assert list(check_bus(START, "")) == []
    (found,) = check_bus(START, "not authorized")
    assert (found.id, found.since) == ("bus.away", START)
    assert found.explanation.endswith("is refused: not authorized")
