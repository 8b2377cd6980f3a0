"""Our sign-ins, tokens and keys before a certified OAuth server of others (npm ``oidc-provider``)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

from hub.accounts.sign_in import SignInFailed
from hub.base.outbound.client import OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors.calling import SignInNeeded
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector
from storage.store import open_store
from tests.connectors.oidc import OidcMail, click_through, running_oidc, why_no_oidc
from tests.hub.accounts.bench import ID, Bench
from tests.support.clock import FakeClock, SeededChance
from tests.support.oauth import CLIENT, OAuthServer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(why_no_oidc() is not None, reason=str(why_no_oidc())),
]

PATIENCE_S = 30.0


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """Accounts, at that server."""
    clock = FakeClock()
    async with (
        running_oidc(folder, ttl_s=3_600) as base,
        open_store("sqlite://") as store,
        OutboundClient(OutboundRules.parse([])) as client,
    ):
        one = DeclaredConnector(name="work", user_name="owner", provider="mail", needs_grant=True)
        await store.write(connectors.reconcile_connectors, declared=[one], at=1, fresh_ids=[ID, "user-1"])
        nobody = OAuthServer(lambda: 0.0)
        yield Bench(nobody, base, store, client, folder, clock, SeededChance(), kind=OidcMail)


async def sign_in(b: Bench) -> None:
    begun = await b.sign_ins.begin("work", actor="me")
    assert begun.url is not None
    ended = await click_through(begun.url)
    assert (await b.sign_ins.pasted(ended)).outcome == "done"


async def whose(b: Bench) -> str:
    return (await (await b.accounts.open(ID, {})).check()).name


async def test_browser_sign_in_succeeds_and_a_superseded_sign_in_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        begun = await b.sign_ins.begin("work", actor="me")
        assert begun.url is not None
        ended = await click_through(begun.url)
        await b.sign_ins.begin("work", actor="eve")  # which ends the first one
        with pytest.raises(SignInFailed):
            await b.sign_ins.pasted(ended)
        await sign_in(b)
        assert await whose(b) == "ana@example.org"


async def test_device_code_sign_in_succeeds_and_the_code_is_redeemed_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as b, anyio.create_task_group() as tasks:
        await tasks.start(b.sign_ins.serve)
        begun = await b.sign_ins.begin("work", way="code", actor="me")
        assert begun.url is not None
        assert begun.user_code is not None
        b.clock.advance(6)  # it is asked before anybody has typed it
        await click_through(begun.url, user_code=begun.user_code)
        with anyio.fail_after(PATIENCE_S):
            while (await b.sign_ins.find(begun.id)).outcome is None:
                b.clock.advance(1)
                await anyio.sleep(0.005)
        assert (await b.sign_ins.find(begun.id)).outcome == "done"
        for _ in range(20):
            b.clock.advance(10)
            await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()
        # Shown once more, a code that was used ends the whole grant there.
        assert await whose(b) == "ana@example.org"
        assert await b.token(rejected=await b.token())


async def test_refresh_token_is_used_once_and_the_successor_kept(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await sign_in(b)
        tokens = [await b.token()]
        for _ in range(3):
            tokens.append(await b.token(rejected=tokens[-1]))
        assert len(set(tokens)) == 4
        assert await whose(b) == "ana@example.org"


async def test_ended_sign_in_is_reported_once_and_sends_no_further_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as b:
        await sign_in(b)
        told = len(b.told)
        # Somebody else shows an old refresh token: the server ends everything that came of it.
        row = await b.store.read(connectors.find_credential, ID)
        assert row is not None
        stolen = (await b.accounts.book.open(row)).refresh_token
        token = await b.token(rejected=await b.token())
        form = {"grant_type": "refresh_token", "refresh_token": stolen, "client_id": CLIENT}
        async with httpx2.AsyncClient() as thief:
            assert (await thief.post(f"{b.base}/token", data=form)).status_code == 400
        with pytest.raises(SignInNeeded):
            await b.token(rejected=token)
        monkeypatch.setattr(b.client, "post", None)  # whoever asks now fails by it
        for _ in range(3):
            with pytest.raises(SignInNeeded):
                await b.token(rejected=token)
        assert [row.state for row in b.told[told:]] == ["sign_in"]


async def test_revoked_token_is_refused_by_the_provider(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await sign_in(b)
        token = await b.token()
        assert await b.accounts.forget("work", actor="me")
        answer = await b.client.request("GET", f"{b.base}/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401


async def test_keys_are_rotated_between_two_refreshes(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await sign_in(b)
        other = b.process("process-2")
        token = await b.token(other)
        assert await b.accounts.rotate() == 1
        assert await b.token(other, rejected=token) != token
        assert await whose(b) == "ana@example.org"
