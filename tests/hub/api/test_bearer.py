"""Operators' tokens: which open something, and what happens to whoever shows others."""

import hashlib
import json
from collections.abc import AsyncIterator

import pytest

from hub.api.http.access import BearerTokens
from hub.base.roles import Principal, Role, Scope
from hub.links.failed_attempts import FailedAttempts
from protocol.errors import CodedError, ErrorCode
from protocol.ids import TokenId
from storage import audit
from storage.devices.attempts import AttemptLimits
from storage.devices.tokens import OPERATOR_TOKENS, OperatorTokenRow, list_agent_tokens
from storage.kernel.database import DatabaseUnavailable
from storage.store import ObservedDatabase
from tests.support.identity import IdentityBench, open_identity

HERE, THERE = "192.0.2.7", "198.51.100.4"
DAY_S = 86_400.0


@pytest.fixture
async def bench() -> AsyncIterator[IdentityBench]:
    async with open_identity() as bench:
        yield bench


def _bearer(bench: IdentityBench) -> BearerTokens:
    return BearerTokens(
        bench.store, clock=bench.clock, attempts=FailedAttempts(bench.store, bench.clock, kind="operator")
    )


async def _refused(bearer: BearerTokens, token: str, network: str = HERE) -> CodedError:
    with pytest.raises(CodedError) as refused:
        await bearer.principal(token, network)
    return refused.value


async def _row(bench: IdentityBench) -> OperatorTokenRow:
    (row,) = await bench.store.read(OPERATOR_TOKENS.page)
    return row


async def test_operator_token_yields_the_principal_with_role_scopes_and_user(bench: IdentityBench) -> None:
    token = await bench.token(Role.OPERATOR, [Scope.READ], user_id=bench.owner_id)
    principal = await _bearer(bench).principal(token, HERE)
    id = (await _row(bench)).id
    assert principal == Principal(
        f"token:{id}", Role.OPERATOR, frozenset({Scope.READ}), bench.owner_id, "test"
    )


async def test_token_row_with_scopes_beyond_the_role_is_cut_to_the_role(bench: IdentityBench) -> None:
    await bench.store.write(
        OPERATOR_TOKENS.create,
        id=TokenId("t-9"),
        token_hash=hashlib.sha256(b"hub_op_wide").digest(),
        name="wide",
        role="viewer",
        scopes=["read", "system", "nonsense"],
        user_id=None,
        last4="wide",
        actor="hub",
        at=bench.now_ms,
        expires_at=bench.now_ms + 1_000,
    )
    assert (await _bearer(bench).principal("hub_op_wide", HERE)).scopes == {Scope.READ}


async def test_unknown_revoked_and_expired_tokens_are_refused(bench: IdentityBench) -> None:
    bearer, token = _bearer(bench), await bench.token()
    assert "this token is unknown" in str(await _refused(bearer, token + "x"))
    bench.clock.advance(91 * DAY_S)
    assert "expired" in str(await _refused(bearer, token))
    later = await bench.token()
    first, second = await bench.store.read(OPERATOR_TOKENS.page)
    await bench.store.write(OPERATOR_TOKENS.revoke, second.id, at=bench.now_ms, actor="operator:0")
    assert "revoked" in str(await _refused(bearer, later))
    assert first.id != second.id


async def test_last_use_of_a_token_is_stored_once_a_minute(bench: IdentityBench) -> None:
    bearer, agent_id, begin = _bearer(bench), await bench.agent(), bench.now_ms
    tokens, used = [await bench.token(), await bench.agent_token(agent_id)], []
    for _ in range(3):
        for token in tokens:
            await bearer.principal(token, HERE)
        (row,) = await bench.store.read(list_agent_tokens, agent_id)
        used.append(((await _row(bench)).last_used_at, row.last_used_at))
        bench.clock.advance(30.0)
    assert used == [(begin, begin), (begin, begin), (begin + 60_000, begin + 60_000)]


async def test_token_is_accepted_by_a_hub_with_a_damaged_database(bench: IdentityBench) -> None:
    token, store = await bench.token(), ObservedDatabase(bench.store)
    store.health.failed(DatabaseUnavailable("a page is not what was written", "damaged"), is_write=False)
    attempts = FailedAttempts(store, bench.clock, kind="operator")
    principal = await BearerTokens(store, clock=bench.clock, attempts=attempts).principal(token, HERE)
    assert principal.role is Role.ADMIN
    assert (await _row(bench)).last_used_at is None


async def test_agent_token_yields_the_principal_of_the_agent_without_scopes(bench: IdentityBench) -> None:
    agent_id = await bench.agent()
    principal = await _bearer(bench).principal(await bench.agent_token(agent_id), HERE)
    assert principal == Principal.of_agent(agent_id, user_id=bench.owner_id, name="notes")
    assert (principal.actor, principal.role, principal.share) == (
        *(f"agent:{agent_id}", None),
        f"agents:{bench.owner_id}",
    )
    assert not any(principal.may(scope) for scope in Scope)


async def test_token_with_the_prefix_of_another_kind_is_unknown(bench: IdentityBench) -> None:
    bearer = _bearer(bench)
    operators, agents = await bench.token(), await bench.agent_token(await bench.agent())
    assert "this token is unknown" in str(await _refused(bearer, operators.replace("hub_op_", "hub_agt_")))
    assert "this token is unknown" in str(await _refused(bearer, agents.replace("hub_agt_", "hub_op_")))


async def test_ten_wrong_tokens_in_a_minute_block_wrong_tokens_of_the_network(
    bench: IdentityBench,
) -> None:
    bearer, agents = _bearer(bench), await bench.agent_token(await bench.agent())
    for guess in range(10):
        kind, network = ("hub_op", HERE) if guess % 2 else ("hub_agt", f"::ffff:{HERE}")
        refused = await _refused(bearer, f"{kind}_{guess}", network)
        is_agents = kind == "hub_agt"
        assert (refused.code, "agents token" in refused.hint) == (ErrorCode.AUTH_FAILED, is_agents)
    entries = await bench.store.read(audit.list_entries, event="auth.refused", limit=9)
    assert {json.loads(entry.detail)["door"] for entry in entries} == {"agent"}, "one a minute"
    principals = [await bearer.principal(token, HERE) for token in (await bench.token(), agents)]
    assert [principal.role for principal in principals] == [Role.ADMIN, None], "good ones are let in"
    for token in ("hub_op_more", "hub_agt_more"):
        refused = await _refused(bearer, token)
        assert (refused.code, round(refused.retry_after_s or 0)) == (ErrorCode.RATE_LIMITED, 300)
    assert (await _refused(bearer, "hub_op_else", THERE)).code is ErrorCode.AUTH_FAILED
    bench.clock.advance(300.0)
    assert (await _refused(bearer, "hub_op_again")).code is ErrorCode.AUTH_FAILED


async def test_configured_limit_of_failed_attempts_is_enforced_and_counted(bench: IdentityBench) -> None:
    attempts, reached = (
        FailedAttempts(bench.store, bench.clock, kind="operator", limits=AttemptLimits(failures=2)),
        [],
    )
    bearer = BearerTokens(
        bench.store, clock=bench.clock, attempts=attempts, on_limit=lambda: reached.append(1)
    )
    answers = [(await _refused(bearer, f"hub_op_{n}")).code for n in range(4)]

    assert (answers, len(reached)) == ([ErrorCode.AUTH_FAILED] * 2 + [ErrorCode.RATE_LIMITED] * 2, 2)
    assert [network for network, _ in attempts.waiting()] == [HERE]


async def test_wrong_token_shown_from_many_networks_is_rate_limited(bench: IdentityBench) -> None:
    bearer = _bearer(bench)
    for host in range(10):
        await _refused(bearer, "hub_op_leaked", f"192.0.2.{host}")
    assert (await _refused(bearer, "hub_op_leaked", THERE)).code is ErrorCode.RATE_LIMITED


async def test_refused_tokens_are_audited_once_a_minute_with_the_count(bench: IdentityBench) -> None:
    bearer = _bearer(bench)
    for guess in range(5):
        await _refused(bearer, f"hub_op_{guess}")
    bench.clock.advance(60.0)
    await _refused(bearer, "hub_op_later")
    entries = await bench.store.read(audit.list_entries, event="auth.refused", limit=50)
    told = [json.loads(entry.detail) for entry in sorted(entries, key=lambda entry: entry.seq)]
    assert [(one["network"], one["reason"], one["count"]) for one in told] == [
        (HERE, "unknown", 1),
        (HERE, "unknown", 5),
    ]
    assert "hub_op" not in str(entries)


async def test_accepted_principal_remains_valid_while_the_database_is_unavailable() -> None:
    async with open_identity() as bench:
        bearer = _bearer(bench)
        principal = await bearer.principal(await bench.token(), HERE)
        assert await bearer.still_counts(principal)
    assert await bearer.still_counts(principal), "the database is closed"


async def test_forbidden_requests_of_very_many_tokens_are_audited_as_the_hub(bench: IdentityBench) -> None:
    bearer = _bearer(bench)
    for number in range(102):
        await bearer.report_forbidden(_viewer(number), HERE, "needs the scope 'run'")
    entries = await bench.store.read(audit.list_entries, event="auth.refused", limit=200, oldest_first=True)
    assert [entry.actor for entry in entries] == [*(f"token:t-{number}" for number in range(100)), "hub"]
    assert {entry.outcome for entry in entries} == {"refused"}


async def test_refusal_is_logged_if_the_audit_entry_cannot_be_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_identity() as bench:
        bearer = _bearer(bench)
    await bearer.report_forbidden(_viewer(1), HERE, "needs the scope 'run'")  # the database is closed
    assert [record.message for record in caplog.records] == ["operator.refused", "audit.not_written"]


def _viewer(number: int) -> Principal:
    return Principal(f"token:t-{number}", Role.VIEWER, frozenset({Scope.READ}), None, "test")
