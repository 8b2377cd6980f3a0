"""A token is refreshed by one for all, kept before it is used, and a dead grant is told of once."""

from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.responses import JSONResponse, Response

from hub.accounts import access_tokens
from hub.accounts.connector_accounts import Accounts
from hub.accounts.grants import AccountConfig
from hub.accounts.key_sharing import KeySharing
from hub.accounts.sealing_keys import FILE, BadKeys
from hub.base.clock import SystemClock
from hub.connectors.calling import (
    FileUnusable,
    Misconfigured,
    NeedsOtherNode,
    PermissionMissing,
    SignInNeeded,
    Unavailable,
)
from hub.connectors.imap import Imap
from hub.connectors.imap_settings import ImapSettings
from hub.health.external import check_files, check_keys
from protocol.ids import BootId, NodeId
from storage import leases
from storage.connectors import connectors
from storage.devices import nodes
from storage.runs import excerpts
from storage.runs.excerpts import SealedExcerpt
from tests.hub.accounts.bench import ID, Bench, bench
from tests.support.filling import fill
from tests.support.log import opened_log

pytestmark = pytest.mark.anyio


class AheadClock(SystemClock):
    """The machine's clock, set ahead by the test."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)


async def test_four_processes_with_ten_tasks_each_refresh_an_expired_token_once(tmp_path: Path) -> None:
    clock = AheadClock()
    async with bench(tmp_path, clock=clock) as b:
        await b.signed_in()
        processes = [b.process(f"process-{number}") for number in range(4)]

        async def work(accounts: Accounts) -> None:
            assert (await (await accounts.open(ID, {})).check()).name == "ana@example.org"

        for refreshed in range(3):
            async with anyio.create_task_group() as tasks:
                for accounts in processes * 10:
                    tasks.start_soon(work, accounts)
            assert b.op.refreshes == [200] * refreshed
            clock.ahead_s += b.op.ttl_s
        assert [family.is_alive for family in b.op.families] == [True]
        assert await b.state_of() == "ok"


async def test_access_token_is_reused_until_shortly_before_expiry(b: Bench) -> None:
    first = await b.signed_in()
    b.clock.advance(3_290)
    assert await b.token() == first
    b.clock.advance(11)
    assert await b.token() != first
    assert b.op.refreshes == [200]


async def test_refresh_token_is_reused_if_the_provider_omits_a_new_token(tmp_path: Path) -> None:
    async with bench(tmp_path, rotates=False) as b:
        first = await b.signed_in()
        b.op.omits_refresh = True
        second = await b.token(rejected=first)
        assert await b.token(rejected=second) not in (first, second)


async def test_the_end_of_a_grant_is_reported_once_and_the_provider_is_not_asked_again(b: Bench) -> None:
    first = await b.signed_in()
    b.told.clear()
    b.op.families[0].is_alive = False
    others = [b.process(f"process-{number}") for number in range(4)]
    ended: list[SignInNeeded] = []

    async def work(accounts: Any) -> None:
        try:
            await b.token(accounts, rejected=first)
        except SignInNeeded as failure:
            ended.append(failure)
            await accounts.refused(ID, failure)

    async with anyio.create_task_group() as tasks:
        for accounts in others * 5:
            tasks.start_soon(work, accounts)
        for _ in range(50):
            await anyio.sleep(0.01)
            b.clock.advance(0.2)
    assert (len(ended), b.op.posts, [row.state for row in b.told]) == (20, 1, ["sign_in"])
    with pytest.raises(SignInNeeded):
        await b.accounts.open(ID, {})
    assert b.op.posts == 1
    await b.signed_in()
    assert await b.state_of() == "ok"


async def test_refusal_of_an_older_credential_does_not_block_a_new_sign_in(b: Bench) -> None:
    await b.signed_in()
    await b.signed_in()
    assert not await b.accounts.refused(ID, SignInNeeded("old", version=1))
    assert await b.state_of() == "ok"
    assert await b.accounts.refused(ID, SignInNeeded("now", version=2))
    assert await b.state_of() == "sign_in"


async def test_token_is_not_refreshed_under_a_lease_outlasted_by_a_suspension(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await b.signed_in()
    lease = connectors.lease_credential

    def suspended(*args: Any, **kwargs: Any) -> bool:
        b.clock.suspended_s += 60.0  # another process may have refreshed the token meanwhile
        return lease(*args, **kwargs)

    monkeypatch.setattr(connectors, "lease_credential", suspended)
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(Unavailable):
                await b.token(rejected=first)
            tasks.cancel_scope.cancel()

        tasks.start_soon(ask)
        while True:
            await anyio.sleep(0.01)
            b.clock.advance(5.0)
    assert b.op.refreshes == []


async def test_sign_in_during_a_token_refresh_wins_over_the_refresh(b: Bench) -> None:
    first = await b.signed_in()
    b.op.hold = anyio.Event()
    got: list[str] = []

    async def ask() -> None:
        got.append(await b.token(rejected=first))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await b.op.is_asked.wait()
        theirs = await b.signed_in()
        b.op.hold.set()
    assert got == [theirs]


async def test_token_refresh_is_stored_although_the_caller_was_cancelled(b: Bench) -> None:
    first = await b.signed_in()
    b.op.hold = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(b.token, rejected=first))
        await b.op.is_asked.wait()
        tasks.cancel_scope.cancel()
        b.op.hold.set()
    row = await b.store.read(connectors.find_credential, ID)
    assert row is not None
    assert row.version == 2
    assert row.lease_owner is None
    assert b.op.is_good(await b.token())
    assert b.op.refreshes == [200]


async def test_token_refresh_waits_for_a_foreign_lease_for_a_limited_time(b: Bench) -> None:
    first = await b.signed_in()
    lease = partial(connectors.lease_credential, version=1, owner="another", ttl_ms=60_000)
    assert await b.store.write(lease, ID)
    assert await b.token() == first  # good enough meanwhile
    b.clock.advance(3_600)
    caught: list[Unavailable] = []

    async def ask() -> None:
        try:
            await b.token()
        except Unavailable as failure:
            caught.append(failure)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while not caught:
            await anyio.sleep(0.01)
            b.clock.advance(10)
    assert b.op.posts == 0
    assert access_tokens.PATIENCE_S * 1_000 > access_tokens.LEASE_MS


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (400, {"error": "invalid_client"}, Misconfigured),
        (401, {"error": "unauthorized_client"}, Misconfigured),
        (400, {"error": "invalid_grant", "error_codes": [700082]}, SignInNeeded),
        (400, {"error": "invalid_grant", "error_description": "AADSTS65001: x"}, PermissionMissing),
        (401, {"error": "invalid_client", "error_codes": [7000222]}, Misconfigured),
        (400, {"error": "interaction_required", "error_codes": [53003]}, PermissionMissing),
        (503, {}, Unavailable),
        (200, {}, Unavailable),
    ],
)
async def test_refused_token_refresh_raises_the_matching_failure_once(
    b: Bench, status: int, told: dict[str, Any], kind: type[Exception]
) -> None:
    first = await b.signed_in()
    b.op.next = [JSONResponse(told, status)]
    with pytest.raises(kind) as caught:
        await b.token(rejected=first)
    assert first not in str(caught.value)
    assert b.op.posts == 1
    row = await b.store.read(connectors.find_credential, ID)
    assert row is not None
    assert row.lease_owner is None


async def test_token_refresh_of_unknown_outcome_is_not_resent_automatically(b: Bench) -> None:
    first = await b.signed_in()
    b.op.next = [
        Response(b"<html>", 502),
        Response(b'{"access_to', 200),
        Response(b'{"access_token": "\xff"}', 200),
    ]
    for _ in range(3):
        with pytest.raises(Unavailable):
            await b.token(rejected=first)
    assert b.op.posts == 3
    assert await b.state_of() == "ok"
    assert await b.token(rejected=first) != first


async def test_stored_credential_and_log_show_no_token(b: Bench) -> None:
    with opened_log("debug") as opened:
        first = await b.signed_in()
        second = await b.token(rejected=first)
        row = await b.store.read(connectors.find_credential, ID)
        assert row is not None
        kept = await b.accounts.book.open(row)
        refresh = kept.refresh_token
        assert refresh is not None
        b.op.families[0].is_alive = False
        with pytest.raises(SignInNeeded) as caught:
            await b.token(rejected=second)
        shown = repr((kept, row, b.told, caught.value))
    lines = opened.lines()
    assert any("connector.refused" in line for line in lines)
    for secret in (first, second, refresh):
        assert secret not in "".join(lines) + shown
        assert secret.encode() not in row.sealed


async def test_forgotten_sign_in_is_revoked_and_deleted(b: Bench) -> None:
    first = await b.signed_in()
    assert b.op.is_good(first)
    assert await b.accounts.forget("work", actor="me")
    assert not b.op.is_good(first)
    assert await b.store.read(connectors.find_credential, ID) is None
    with pytest.raises(SignInNeeded):
        await b.token()


async def test_keys_are_rotated_while_agents_read(b: Bench) -> None:
    token = await b.signed_in()
    old = (await b.accounts.keys.ring()).newest.id
    other = b.process("process-2")  # has read the old key
    assert await b.token(other) == token
    assert await b.accounts.rotate() == 1
    assert old not in await b.store.read(connectors.keys_in_use)
    assert await b.token(other) == token
    await b.token(other, rejected=token)
    new = (await other.keys.ring()).newest.id
    assert await b.store.read(connectors.keys_in_use) == {new: 1}
    assert new != old
    await b.accounts.keys.remove(old)
    assert b.op.is_good(await b.token(other))


async def test_key_in_use_cannot_be_removed_before_rotation(b: Bench) -> None:
    await b.signed_in()
    old = (await b.accounts.keys.ring()).newest.id
    await b.accounts.keys.add()
    with pytest.raises(BadKeys, match="seals 1"):
        await b.accounts.remove_key(old)
    await b.accounts.rotate()
    await b.accounts.remove_key(old)
    assert old not in [key.id for key, *_ in await b.accounts.list_keys()]


async def test_key_rotation_reseals_excerpts_and_deletes_unopenable_ones(b: Bench) -> None:
    old = await b.accounts.keys.ring()
    sealed = [
        SealedExcerpt(f"id-{n:06}", *old.seal(n, row=f"id-{n:06}", owner=f"id-{n:06}")) for n in range(3)
    ]
    lost = SealedExcerpt("id-000003", "gone", b"")
    await b.store.write(fill, {"users": 1, "agents": 1, "devices": 1, "items": 4})
    await b.store.write(excerpts.put_excerpts, {one.item_id: one for one in [*sealed, lost]}, at=1)
    await b.accounts.keys.add()
    with pytest.raises(BadKeys, match="seals 3"):
        await b.accounts.remove_key(old.newest.id)
    await _lives(b, "process-1", "process-2")
    await b.accounts.rotate()
    ring = await b.accounts.keys.ring()
    assert await b.store.read(excerpts.keys_of_excerpts) == {ring.newest.id: 3, "gone": 1}
    (found,) = (await b.store.read(excerpts.find_excerpts, ["id-000002"])).values()
    assert ring.open(found.sealed, int, row=found.item_id, owner=found.item_id, key_id=found.key_id) == 2
    assert (await b.accounts.list_keys())[0][1:] == (0, 3)

    ended = "UPDATE leases SET expires_at = 0 WHERE holder_boot_id = 'process-2'"
    await b.store.write(lambda c: c.exec_driver_sql(ended).rowcount)
    await b.accounts.rotate()
    newest = (await b.accounts.keys.ring()).newest.id
    assert await b.store.read(excerpts.keys_of_excerpts) == {newest: 3}


async def _lives(b: Bench, *boots: str) -> None:
    for boot in boots:
        node = NodeId(f"node of {boot}")
        await b.store.write(nodes.begin_boot, node, BootId(boot), 1)
        await b.store.write(leases.beat, node, BootId(boot), ttl_ms=30_000)


async def test_unusable_key_file_is_a_health_issue_without_sealed_rows(b: Bench) -> None:
    assert list(await check_keys(b.accounts, b.clock.now())) == []
    await anyio.Path(b.accounts.keys.place).chmod(0o644)
    (issue,) = await check_keys(b.accounts, b.clock.now())
    assert (issue.id, "can be read by others: chmod 600 it" in issue.explanation) == (
        "keys.unusable",
        True,
    )


async def test_node_without_the_credential_key_leaves_the_connector_to_another_node(tmp_path: Path) -> None:
    (folder := tmp_path / "west").mkdir()
    async with bench(tmp_path) as b:
        token = await b.signed_in()
        west = b.process("process-2", folder)
        await _lives(b, "process-1", "process-2")
        ((key_id, rows),) = (await west.missing_keys()).items()
        ((issue,), none) = await check_keys(west, b.clock.now()), await check_keys(b.accounts, b.clock.now())
        assert (rows, list(none), issue.id) == (1, [], "keys.missing")
        lacks = f"lacks the key {key_id}: at a node that has it: hub keys share NODE {west.keys.code()}"
        with pytest.raises(NeedsOtherNode, match=lacks) as refused:
            await b.token(west)
        assert not await west.refused(ID, refused.value)
        for attempt in (b.signing(west).begin(ID, actor="me"), west.rotate()):
            with pytest.raises(BadKeys, match=lacks):
                await attempt
        assert (await b.state_of(), await b.token()) == ("ok", token)

        east, there = (
            KeySharing(b.store, one.keys, node_id=NodeId(f"node of {boot}"), clock=b.clock)
            for one, boot in ((b.accounts, "process-1"), (west, "process-2"))
        )
        await east.share("node of process-2", west.keys.code(), actor="me")
        await there.receive_keys()
        assert (await west.missing_keys(), await b.token(west)) == ({}, token)
        assert (await west.keys.ring()).newest.id == key_id, "both seal with the same key"
        assert list(await check_keys(west, b.clock.now())) == []


async def test_node_without_a_settings_file_leaves_the_connector_to_another_node(
    b: Bench, tmp_path: Path
) -> None:
    await b.signed_in()
    settings = ImapSettings(host="localhost", username="anna", ca_file=tmp_path / "ca.pem")
    west = b.process("process-2")
    west.apply(
        [AccountConfig(name="work", provider="imap", kind=Imap, settings=settings, secret=lambda: "-")]
    )
    await _lives(b, "process-1", "process-2")
    opened = await west.open(ID, {})
    with pytest.raises(FileUnusable) as refused:
        await opened.check()
    left = await west.judged(refused.value)
    assert isinstance(left, NeedsOtherNode)
    lacks = f"ca_file {settings.ca_file} cannot be used here: No such file or directory"
    assert str(left) == f"node NODE: {lacks}"
    await west.test_failed(ID, refused.value)
    assert await b.state_of() == "ok"
    (issue,) = await check_files(b.store, west, b.clock.now())
    assert (issue.id, issue.subject, lacks in issue.explanation) == ("connector.file", "work", True)
    assert list(await check_files(b.store, b.accounts, b.clock.now())) == []

    ended = "UPDATE leases SET expires_at = 0 WHERE holder_boot_id = 'process-1'"
    await b.store.write(lambda c: c.exec_driver_sql(ended).rowcount)
    await west.test_failed(ID, refused.value)
    assert await b.state_of() == "blocked", "no other node may have the file"


async def test_lost_key_without_another_live_node_requires_a_new_sign_in(b: Bench, tmp_path: Path) -> None:
    await b.signed_in()
    await _lives(b, "process-1")
    (tmp_path / FILE).unlink()
    with pytest.raises(SignInNeeded, match="is gone"):
        await b.token()
    assert (await b.signing(b.accounts).begin(ID, actor="me")).connector == "work"
