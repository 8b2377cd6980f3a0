"""Who may come in, as operators decide it: devices, pairings, invitations, tokens, users."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import anyio
import pytest

from hub.api.resources.tokens import IdentityLimits
from hub.base import tokens
from hub.base.roles import Principal, Role, Scope, scopes_of
from hub.base.tokens import TokenKind
from protocol.errors import CloseCode, CodedError, ErrorCode, HubError
from protocol.handshake import StoreMark
from storage import audit
from storage.devices import keys
from storage.devices.devices import UnknownDevice
from storage.devices.tokens import OPERATOR_TOKENS
from storage.runs import agreement
from tests.support.clock import START
from tests.support.coded import coded
from tests.support.identity import CODE, IdentityBench, open_identity
from tests.support.presence import BOOT, open_session

ME = "operator:7"
ADMIN = Principal.of_uid(7)
WRONG = "22222222"


@pytest.fixture
async def bench() -> AsyncIterator[IdentityBench]:
    async with open_identity(IdentityLimits(users=3, invitations=2, operator_tokens=2)) as opened:
        yield opened


async def audited(bench: IdentityBench) -> list[tuple[str, str, str]]:
    """What the audit tells: event, actor, outcome."""
    rows = await bench.store.read(lambda c: c.execute(audit.ONWARDS, {"after": 0}).all())
    return [(row.event, row.actor, row.outcome) for row in rows]


async def test_device_is_reported_with_all_keys_and_tokens(bench: IdentityBench) -> None:
    waiting = await bench.asks("desk")
    await bench.identity.pairings.approve(code=CODE, actor=ME)
    made = await bench.identity.tokens.create(device="desk", ttl_s=3_600, actor=ME)
    assert (tokens.check(made.token, TokenKind.DEVICE), made.expires_at) == (None, START + timedelta(hours=1))

    told = await bench.identity.devices.get("desk")

    assert (told.name, told.user, told.connected) == ("desk", "owner", False)
    assert [key.fingerprint.replace("-", "")[:13] for key in told.keys] == [waiting.key_id[:13]]
    assert [(token.id, token.last4, token.created_by) for token in told.tokens] == [
        (made.id, made.token[-4:], ME)
    ]
    assert await bench.identity.devices.get(told.id) == told


async def test_revoked_device_is_disconnected_and_cannot_reconnect(
    bench: IdentityBench,
) -> None:
    device = await bench.device("desk")
    link = await bench.connect(device)

    assert (await bench.identity.devices.revoke("desk", actor=ME)).revoked_at == START
    assert link.ended == ("revoked", CloseCode.REVOKED)
    with pytest.raises(UnknownDevice):
        await bench.store.write(open_session, device.id, boot_id=BOOT, platform=None, at=bench.now_ms)
    assert (await bench.identity.devices.revoke(device.id, actor=ME)).revoked_at == START
    assert await audited(bench) == [("device.revoked", ME, "done")]


async def test_kicked_device_is_disconnected_and_can_reconnect(bench: IdentityBench) -> None:
    device = await bench.device("desk")
    with pytest.raises(CodedError, check=coded(ErrorCode.DEVICE_OFFLINE), match="'desk' is not connected"):
        await bench.identity.devices.kick("desk", actor=ME)
    link = await bench.connect(device)
    await bench.identity.devices.kick("desk", actor=ME)
    assert link.ended is not None
    assert link.ended[0] == "kicked"
    assert CloseCode(link.ended[1]).may_return
    assert await audited(bench) == [("device.kicked", ME, "done")]


async def test_revoking_a_device_token_ends_only_connections_of_the_revoked_token(
    bench: IdentityBench,
) -> None:
    first = await bench.identity.tokens.create(device="desk", actor=ME)
    other = await bench.identity.tokens.create(device="desk", actor=ME)
    link = await bench.connect(await bench.device("desk"), credential=f"token:{first.id}")

    await bench.identity.tokens.revoke(other.id, actor=ME)
    assert link.ended is None
    assert (await bench.identity.tokens.revoke(first.id, actor=ME)).revoked_at == START
    assert link.ended == ("revoked", CloseCode.REVOKED)


async def test_operator_token_lasts_ninety_days_with_the_scopes_of_the_role(
    bench: IdentityBench,
) -> None:
    made = await bench.identity.operator_tokens.create(name="backup", role=Role.OPERATOR, caller=ADMIN)
    assert tokens.check(made.token, TokenKind.OPERATOR) is None
    assert set(made.scopes) == scopes_of(Role.OPERATOR)
    assert made.expires_at == START + timedelta(days=90)
    found = await bench.store.read(OPERATOR_TOKENS.find, tokens.hash_token(made.token))
    assert found is not None
    assert (found.id, found.created_by) == (made.id, ME)


async def test_operator_token_beyond_the_rights_of_the_creator_is_refused(bench: IdentityBench) -> None:
    mint = bench.identity.operator_tokens.create
    narrow = Principal("token:t-9", Role.ADMIN, frozenset({Scope.READ, Scope.TOKENS}), None, "script")
    with pytest.raises(
        CodedError, check=coded(ErrorCode.FORBIDDEN), match="what you do not have: devices, run"
    ):
        await mint(name="more", role=Role.OPERATOR, caller=narrow)
    with pytest.raises(CodedError, check=coded(ErrorCode.FORBIDDEN), match="viewer does not bring run"):
        await mint(name="wide", role=Role.VIEWER, scopes=(Scope.RUN,), caller=ADMIN)
    made = await mint(name="same", role=Role.ADMIN, scopes=(Scope.READ,), caller=narrow)
    assert made.scopes == (Scope.READ,)
    assert await audited(bench) == [("operator_token.created", "token:t-9", "done")]


async def test_operator_tokens_are_limited_and_revocation_frees_a_place(bench: IdentityBench) -> None:
    mint = bench.identity.operator_tokens
    first = await mint.create(name="one", role=Role.VIEWER, caller=ADMIN)
    await mint.create(name="two", role=Role.VIEWER, caller=ADMIN)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="operator_tokens"):
        await mint.create(name="three", role=Role.VIEWER, caller=ADMIN)
    await mint.revoke(first.id, actor=ME)
    await mint.create(name="three", role=Role.VIEWER, caller=ADMIN)
    assert b'hub_limits_reached_total{limit="operator_tokens"} 1.0' in bench.metrics.render()


@pytest.fixture
async def narrow() -> AsyncIterator[IdentityBench]:
    limits = IdentityLimits(invitations_per_user=1, device_tokens_per_user=1, operator_tokens_per_user=1)
    async with open_identity(limits) as opened:
        yield opened


async def test_tokens_and_invitations_of_a_user_are_limited_to_a_share(
    narrow: IdentityBench,
) -> None:
    anna, everybody = await narrow.user("anna"), narrow.identity
    invite = everybody.invitations.seen_by(anna)
    first = await invite.create(actor=ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="invitations_per_user"):
        await invite.create(actor=ME)
    give = everybody.tokens.seen_by(anna)
    await give.create(device="desk", actor=ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="device_tokens_per_user"):
        await give.create(device="lab", actor=ME)
    mint = everybody.operator_tokens.seen_by(anna)
    await mint.create(name="one", role=Role.VIEWER, caller=ADMIN)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="operator_tokens_per_user"):
        await mint.create(name="two", role=Role.VIEWER, caller=ADMIN)

    await everybody.invitations.create(actor=ME)
    await everybody.tokens.create(device="lab", actor=ME)
    await everybody.operator_tokens.create(name="all", role=Role.VIEWER, caller=ADMIN)
    await invite.revoke(first.id, actor=ME)
    await invite.create(actor=ME)
    told = narrow.metrics.registry.get_sample_value
    assert told("hub_limits_reached_total", {"limit": "invitations_per_user"}) == 1


async def test_a_user_is_made_once_and_up_to_the_limit(bench: IdentityBench) -> None:
    await bench.identity.users.create(name="anna", actor=ME)
    await bench.identity.users.create(name="otto", actor=ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.LIMIT_REACHED), match="users"):
        await bench.identity.users.create(name="paul", actor=ME)
    assert [user.name for user in await bench.identity.users.all()] == ["anna", "otto", "owner"]


async def test_devices_tokens_and_pairings_of_another_user_are_unknown(bench: IdentityBench) -> None:
    anna = await bench.user("anna")
    device = await bench.device("desk")
    token = await bench.identity.tokens.create(device="desk", actor=ME)
    invitation = await bench.identity.invitations.create(actor=ME)
    waiting = await bench.asks()
    seen = bench.identity

    resources = (seen.devices, seen.tokens, seen.invitations, seen.pairings)
    assert [await resource.seen_by(anna).all() for resource in resources] == [[]] * 4
    assert [user.name for user in await seen.users.seen_by(anna).all()] == ["anna"]
    hers = seen.devices.seen_by(anna)
    for code, asked in (
        *((ErrorCode.UNKNOWN_DEVICE, hers.get(called)) for called in ("desk", device.id)),
        *((ErrorCode.UNKNOWN_DEVICE, hers.revoke(called, actor=ME)) for called in ("desk", device.id)),
        (ErrorCode.UNKNOWN_TOKEN, seen.tokens.seen_by(anna).revoke(token.id, actor=ME)),
        (ErrorCode.UNKNOWN_INVITATION, seen.invitations.seen_by(anna).revoke(invitation.id, actor=ME)),
        (ErrorCode.UNKNOWN_PAIRING, seen.pairings.seen_by(anna).deny(waiting.id, actor=ME)),
    ):
        with pytest.raises(HubError, check=coded(code)):
            await asked
    assert (await seen.devices.get("desk")).revoked_at is None


async def test_pairing_code_admits_the_device_showing_the_code(bench: IdentityBench) -> None:
    waiting = await bench.asks("laptop")
    (listed,) = await bench.identity.pairings.all()
    assert (listed.id, listed.label, listed.network) == (waiting.id, "laptop", "192.0.2.7")
    assert CODE not in repr(listed)

    paired = await bench.identity.pairings.approve(code=" k7qf 2m9x", actor=ME)

    assert (paired.device, paired.user, paired.pairing.fingerprint) == (
        "laptop",
        "owner",
        listed.fingerprint,
    )
    owner = await bench.store.read(keys.find_key, waiting.key_id)
    assert owner is not None
    assert (owner.device_name, await bench.identity.pairings.all()) == ("laptop", [])
    (entry,) = await bench.store.read(audit.list_entries, limit=5, event="pairing.approved")
    assert f'"key":"{listed.fingerprint}"' in entry.detail, "as the person compared it"


async def test_dry_run_of_a_pairing_approval_names_the_device_without_admitting(bench: IdentityBench) -> None:
    waiting = await bench.asks("laptop")
    tried = await bench.identity.pairings.approve(code=CODE, name="desk", dry_run=True, actor=ME)
    assert (tried.device, tried.dry_run, tried.pairing.label) == ("desk", True, "laptop")
    assert await bench.store.read(keys.find_key, waiting.key_id) is None
    assert len(await bench.identity.pairings.all()) == 1


async def test_pairing_approval_with_a_used_device_name_is_refused(
    bench: IdentityBench,
) -> None:
    await bench.identity.tokens.create(device="laptop", actor=ME)
    await bench.asks("laptop")
    for dry_run in (True, False):
        with pytest.raises(CodedError, match=r"'laptop' already") as taken:
            await bench.identity.pairings.approve(code=CODE, dry_run=dry_run, actor=ME)
        assert "hub devices revoke laptop; else choose another name" in taken.value.hint
    assert (await bench.identity.pairings.approve(code=CODE, name="laptop", actor=ME)).device == "laptop"


async def test_pairing_approved_by_a_user_belongs_to_the_user(bench: IdentityBench) -> None:
    anna = await bench.user("anna")
    await bench.asks("laptop")
    assert (await bench.identity.pairings.seen_by(anna).approve(code=CODE, actor=ME)).user == "anna"
    assert [device.name for device in await bench.identity.devices.seen_by(anna).all()] == ["laptop"]


async def test_five_wrong_pairing_codes_block_only_the_guessing_operator_for_ten_minutes(
    bench: IdentityBench,
) -> None:
    await bench.asks()
    approve = bench.identity.pairings.approve
    for dry_run in (True, False, True, False, True):
        with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
            await approve(code=WRONG, dry_run=dry_run, actor=ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.RATE_LIMITED), match="try again in 600 s"):
        await approve(code=CODE, actor=ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.RATE_LIMITED)):
        await bench.identity.pairings.seen_by(bench.owner_id).approve(code=CODE, actor=ME)

    assert (await approve(code=CODE, dry_run=True, actor="operator:8")).device == "laptop"
    assert ("auth.refused", ME, "refused") in await audited(bench)
    assert b'hub_limits_reached_total{limit="wrong_codes"} 1.0' in bench.metrics.render()

    bench.clock.advance(600)
    await bench.asks("laptop", key=b"l" * 32)
    assert (await approve(code=CODE, actor=ME)).device == "laptop"


async def test_concurrent_wrong_pairing_codes_are_counted_exactly(
    bench: IdentityBench,
) -> None:
    looked_at: list[bool] = []
    approve = partial(bench.identity.pairings.approve, actor="operator:8")
    await bench.asks()

    async def guess() -> None:
        with pytest.raises(CodedError) as refusal:
            await bench.identity.pairings.approve(code=WRONG, actor=ME)
        looked_at.append(refusal.value.code is ErrorCode.UNKNOWN_PAIRING)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(guess)
        for _ in range(20):
            tasks.start_soon(
                partial(bench.identity.pairings.approve, code=CODE, dry_run=True, actor="operator:8")
            )
    assert (sum(looked_at), (await approve(code=CODE)).device) == (5, "laptop")


async def test_malformed_pairing_code_is_not_counted_as_a_wrong_code(bench: IdentityBench) -> None:
    await bench.asks()
    for _ in range(9):
        with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="never has '0' in it"):
            await bench.identity.pairings.approve(code="00000000", actor=ME)
    await bench.identity.pairings.approve(code=CODE, actor=ME)


async def test_pairing_is_denied_by_id(bench: IdentityBench) -> None:
    waiting = await bench.asks()
    denied = await bench.identity.pairings.deny(waiting.id, actor=ME)
    assert (denied.decision, denied.decided_by) == ("denied", ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        await bench.identity.pairings.approve(code=CODE, actor=ME)
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_PAIRING)):
        await bench.identity.pairings.deny(waiting.id, actor=ME)


async def test_invitation_is_of_the_invited_user_and_lasts_ten_minutes(bench: IdentityBench) -> None:
    anna = await bench.user("anna")
    made = await bench.identity.invitations.seen_by(anna).create(device="desk", actor=ME)
    assert tokens.check(made.token, TokenKind.INVITATION) is None
    assert (made.user, made.uses_left, made.expires_at) == ("anna", 1, START + timedelta(minutes=10))
    assert [one.device for one in await bench.identity.invitations.all()] == ["desk"]


async def test_invitation_for_several_devices_with_a_device_name_is_refused(bench: IdentityBench) -> None:
    with pytest.raises(CodedError, check=coded(ErrorCode.BAD_PARAMS), match="for one device"):
        await bench.identity.invitations.create(device="desk", uses=2, actor=ME)


async def test_resync_disconnects_the_device_and_resets_the_compared_mark(bench: IdentityBench) -> None:
    device = await bench.device("desk")
    link = await bench.connect(device)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.CALL_UNSUPPORTED), match="cannot tell which rows it has"
    ):
        await bench.identity.devices.resync("desk", actor=ME)
    mark = StoreMark(id="s", counter=7)
    await bench.store.write(agreement.greet, device.id, mark, bench.now_ms)
    await bench.store.write(
        agreement.take_rows,
        [],
        device_id=device.id,
        epoch=link.epoch,
        mark=mark,
        is_last=True,
        at=bench.now_ms,
    )
    await bench.identity.devices.resync("desk", actor=ME)
    compared = await bench.store.read(agreement.find_store, device.id)
    assert compared is not None
    assert agreement.mark_of(compared) == StoreMark(id="s", counter=0), "by which its device tells it apart"
    assert link.ended is not None
    assert CloseCode(link.ended[1]).may_return
    told = (await bench.identity.devices.get("desk")).agreement
    assert told is not None
    assert (told.cause, told.agreed_at) == ("asked", None)
    assert await audited(bench) == [("device.resynced", ME, "done")]
